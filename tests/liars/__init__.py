"""Components that are wrong on purpose: each must fail one check of the contract suite."""

from __future__ import annotations

from dataclasses import dataclass, field

from recurra.catalog import Entry, Plugin
from recurra.contracts.component import Component

CHILDREN = {"P02", "P03", "C21", "V09", "S04"}
"""Checks that start a process, which takes seconds: they run where they are what is tested."""


@dataclass(frozen=True)
class Liar:
    """A wrong component: the check that must name it, and others that cannot but fail with it."""

    check: str
    component: Component
    others: frozenset[str] = field(default=frozenset())

    @property
    def entry(self) -> Entry:
        """The component as the catalog would hold it."""
        return entry(self.component)


def entry(component: Component) -> Entry:
    """Return a component of the tests as the catalog would hold it."""
    return Entry(component, Plugin("liars", "recurra-liars", "1.0", "liars"))
