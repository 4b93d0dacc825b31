"""The pictures that there are, in the order of a page; each is loaded when it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias, cast

from recurra.drawing import Picture
from recurra.errors import InputError, RecurraError, nearest
from recurra.reporting.view import Left, View

Drawing: TypeAlias = Callable[[View], Picture]


@dataclass(frozen=True)
class Subject:
    """A picture by the name that it is asked for, what it is of, and the function that draws it.

    The function is named as `module:function`. It raises `Left` for a run to which it does not
    apply. One that is `layered` can be of one layer alone.
    """

    name: str
    title: str
    home: str
    layered: bool = False

    def picture(self, view: View) -> Picture:
        """Draw it. Raises `Left`."""
        module, _, function = self.home.partition(":")
        draw = cast(Drawing, getattr(import_module(module), function))
        try:
            return draw(view)
        except RecurraError as error:
            raise Left.by(error) from error


SUBJECTS: tuple[Subject, ...] = (
    Subject("figures", "Figures beside the baselines", "recurra.reporting.figures:picture"),
    Subject("curves", "Training", "recurra.reporting.curves:picture"),
    Subject("samples", "Samples by step", "recurra.reporting.samples:picture"),
    Subject("confusion", "Which classes are confused", "recurra.reporting.classes:confusion"),
    Subject("tags", "A sequence, tag by tag", "recurra.reporting.answers:tags"),
    Subject("completions", "What it answers to prompts", "recurra.reporting.answers:completions"),
    Subject("values", "Numbers answered", "recurra.reporting.answers:values"),
    Subject("forecast", "Forecasts beside what came", "recurra.reporting.forecasts:forecast"),
    Subject("horizon", "How far ahead it can see", "recurra.reporting.forecasts:horizon"),
    Subject("calibration", "Whether chances hold", "recurra.reporting.answers:calibration"),
    Subject("position", "By what it has read", "recurra.reporting.positions:position"),
    Subject("surprise", "Where it is surprised", "recurra.reporting.answers:surprise"),
    Subject("states", "What its units do", "recurra.reporting.states:picture", True),
    Subject("gates", "What its gates do", "recurra.reporting.states:gates", True),
    Subject("lags", "How far back it remembers", "recurra.reporting.lags:picture"),
    Subject("lengths", "Longer than it was trained on", "recurra.reporting.lengths:picture"),
    Subject("free-running", "By itself, and corrected", "recurra.reporting.free:picture"),
)


def pictures(view: View) -> Iterator[tuple[Subject, Picture | Left]]:
    """Give each picture of a run, or why it has none.

    What goes wrong in one, with a file that is not as recurra writes it, keeps no other away.
    """
    for subject in SUBJECTS:
        try:
            yield subject, subject.picture(view)
        except Left as why:
            yield subject, why
        except Exception as error:
            message = " ".join(str(error).split())[:200]
            yield subject, Left(f"it could not be drawn: {type(error).__name__}: {message}")


def picture(view: View, name: str) -> Picture:
    """Draw the picture of a name.

    Raises `InputError` (RC080) for a name that there is not, and for one that does not apply to
    this run: with the reason, and those that do.
    """
    named = {subject.name: subject for subject in SUBJECTS}
    if name not in named:
        cure = f"did you mean {close}?" if (close := nearest(name, named)) else ""
        fact = f"there is no picture {name!r}"
        raise InputError.of("RC080", fact, got=repr(name), allowed=", ".join(named), cure=cure)
    if view.layer is not None and not named[name].layered:
        able = ", ".join(subject.name for subject in SUBJECTS if subject.layered)
        fact = f"{name} is not of one layer"
        raise InputError.of("RC080", fact, key="layer", allowed=able, cure="leave layer out")
    try:
        return named[name].picture(view)
    except Left as why:
        if view.layer is not None:
            there = [subject.name for subject in SUBJECTS if subject.layered]
        else:
            there = [each.name for each, made in pictures(view) if isinstance(made, Picture)]
        fact = f"{view.path} has no picture of {name}: {why.why}"
        allowed = ", ".join(there) or "none"
        raise InputError.of("RC080", fact, allowed=allowed, cure=why.cure) from why
