"""Covariates of a table: numbers or names, of steps, of steps to come and of whole series."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra import Role
from recurra_sources.cells import Reader, Reading, is_missing
from recurra_sources.faults import NOTHING
from recurra_sources.table_options import RowOptions

if TYPE_CHECKING:
    from recurra_sources.pieces import Step

ROLES: tuple[Role, ...] = ("past_covariates", "future_covariates", "static_covariates")
MISSING = "missing"
NO_NAMES = NOTHING | {"inf", "infinity"}


class CovariateReader:
    """Reads a covariate: a number where its first cell is one, else the name of a category."""

    def __init__(
        self, name: str, number: Reader, named: Reader, is_names: bool | None, settled: bool
    ) -> None:
        self.name, self.number, self.named = name, number, named
        self.is_names, self.settled = is_names, settled

    def __call__(self, cell: Any) -> Reading:
        """Return the value of a cell, or what is wrong with it."""
        if is_missing(cell):
            return None, MISSING
        value, fault = (None, "") if self.is_names else self.number(cell)
        if self.is_names is None and fault != MISSING:
            # What is no number at all; one that is infinite is refused as such.
            self.is_names = bool(fault) and _is_name(cell)
        if self.is_names:
            return self.named(cell)
        if fault and fault != MISSING and not self.settled and _is_name(cell):
            fault += ", as the first cell is: for names set source.categorical ="
            fault += f" {json.dumps([self.name])}"
        return value, fault


def _is_name(cell: Any) -> bool:
    """Tell whether a cell may be a name: a text that neither looks like a number nor for nothing.

    A number that is written wrongly makes no column of categories, nor does `N/A`.
    """
    if not isinstance(cell, str):
        return False
    text = cell.strip().lower()
    return text not in NO_NAMES and text[:1] not in "+-.0123456789"


def roles(options: RowOptions) -> dict[Role, tuple[Any, ...]]:
    """Return the roles that covariates have which are named, and what they can be."""
    return {role: ("numbers", "text") for role in ROLES if getattr(options, role)}


def tables(options: RowOptions, steps: Sequence[Step], start: bool) -> Mapping[Role, Any]:
    """Return the covariates of some steps, and of their series where that starts with them."""
    said: dict[Role, Any] = {}
    first, past = len(options.columns), len(options.past_covariates)
    come = [step for step in steps if not step.ahead]
    if past:
        said["past_covariates"] = _table(options.past_covariates, come, first)
    if options.future_covariates:
        said["future_covariates"] = _table(options.future_covariates, steps, first + past)
    if options.static_covariates and start:
        said["static_covariates"] = dict(steps[0].static)
    return said


def _table(names: list[str], steps: Sequence[Step], first: int) -> dict[str, Any]:
    """Return the columns from a place on of some steps."""
    columns: dict[str, Any] = {}
    for index, name in enumerate(names, first):
        cells = [step.values[index] for step in steps]
        if any(isinstance(cell, str) for cell in cells):
            columns[name] = [cell if isinstance(cell, str) else None for cell in cells]
        else:
            columns[name] = np.array(cells, np.float64)
    return columns


def are_one(value: Any, other: Any) -> bool:
    """Tell whether a sequence says the same of itself twice; nothing is one with nothing."""
    return bool(value == other or (value != value and other != other))
