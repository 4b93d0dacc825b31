"""One check of the contract suite: a law, the bound it must keep, and what was measured."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from recurra.testing.subjects.subject import Subject

SUITE = "1.1"
"""The version of the suite. A new check that must pass comes only with a new minor version."""

Level: TypeAlias = Literal["core", "full"]
"""`core` is quick, `full` is everything."""
LEVELS: tuple[Level, ...] = ("core", "full")

Verdict: TypeAlias = Literal["PASS", "FAIL", "WAIVED", "XPASS", "N/A", "ERROR"]
"""FAIL: the law is broken. WAIVED: it is, and the component says why. XPASS: it holds, against a
waiver. N/A: the component declares that it lacks what the check is about. ERROR: the suite itself
failed.
"""


@dataclass(frozen=True)
class Measured:
    """What a check found: it passes if `value` is at most `bound`, or, without a bound, always."""

    value: float | None = None
    bound: float | None = None
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law holds; a value that is not a number breaks it."""
        return self.bound is None or (self.value is not None and self.value <= self.bound)

    @property
    def margin(self) -> float:
        """How much of the bound is used: 1 is all of it."""
        if self.value is None or self.bound is None:
            return 0.0
        if self.bound == 0:
            return 0.0 if self.value == 0 else float("inf")
        return self.value / self.bound if self.value == self.value else float("inf")


class Broken(Exception):
    """A law that does not hold, where no number tells how much: a wrong shape, a needless error."""


class NotApplicable(Exception):
    """The component declares that it lacks what a check is about; the message says what."""


@dataclass(frozen=True)
class Check:
    """A law that a component of some kind must keep.

    `measure` takes a subject and returns what it found; it raises `Broken` where there is nothing
    to measure and `NotApplicable` where the component lacks what the law is about. Its docstring is
    what `explain` prints: the law, why it matters, how to mend. A `firm` check cannot be waived.
    `each` tells that it runs on every set of options, and not on the first alone.
    """

    id: str
    title: str
    kinds: tuple[str, ...]
    level: Level
    measure: Callable[[Any], Measured | None]
    firm: bool = False
    each: bool = True
    since: str = "1.0"

    @property
    def text(self) -> str:
        """The law on a line of its own, why it matters and how to mend what breaks it."""
        law, blank, rest = (inspect.getdoc(self.measure) or "").partition("\n\n")
        return " ".join(law.split()) + blank + rest


CHECKS: dict[str, Check] = {}
"""Every check by its id; `recurra.testing.suite.all_checks` fills it."""

Measure: TypeAlias = "Callable[[Subject[Any]], Measured | None]"


def check(
    id: str,
    title: str,
    *kinds: str,
    level: Level = "core",
    firm: bool = False,
    each: bool = True,
    since: str = "1.0",
) -> Callable[[Any], Any]:
    """Register a function as a check of components of these `kinds`."""

    def register(function: Any) -> Any:
        if id in CHECKS:
            raise ValueError(f"check {id} is defined twice")
        CHECKS[id] = Check(id, title, kinds, level, function, firm, each, since)
        return function

    return register
