"""Cells of a table that cannot be read: the first are shown, the others counted."""

from __future__ import annotations

import json
import reprlib
from typing import TYPE_CHECKING, Any

from recurra import Element, InputError
from recurra_sources.cells import Place

if TYPE_CHECKING:
    from recurra_sources.table_options import RowOptions

SHOWN = 10
"""Faults that are listed before the rest is counted."""
NOTHING = {
    "na",
    "n/a",
    "#n/a",
    "n.a.",
    "n.a",
    "-",
    "--",
    "?",
    ".",
    "null",
    "none",
    "nil",
    "missing",
    "<na>",
    "nat",
    "#na",
    "#null!",
    "#div/0!",
    "#value!",
    "#ref!",
    "#name?",
    "#num!",
}
"""How others write that there is nothing, in small letters."""


class Faults:
    """Cells that cannot be read: the first are shown, the others counted."""

    def __init__(self, options: RowOptions, element: Element, where: str, unit: str) -> None:
        self.where, self.unit = where, unit
        self.settled = options.settled
        self.columns = options.columns
        self.beside: dict[str, set[str]] = {"label": {*options.labels}}
        roles = ("fold", "answer", "tags", "time", "group")
        self.beside |= {role: {getattr(options, role)} for role in roles}
        covariates = ("past_covariates", "future_covariates", "static_covariates")
        self.beside |= {role: {*getattr(options, role)} for role in covariates}
        self.count = 0
        self.names: set[str] = set()
        self.lines: list[str] = []
        self.missing = False
        self.markers: dict[str, None] = {}  # cells that others write for nothing
        # Whether missing = "forward" would mend all that is missing.
        self.forward = element != "text" and options.missing != "forward"
        self.policy = options.missing
        self.drops = options.may_drop
        self.keeps = element == "numbers" and options.missing != "keep"

    def add(self, place: Place, name: str, cell: Any, fault: str) -> None:
        """Take note of one cell."""
        self.count += 1
        self.names.add(name)
        if fault != "missing" and isinstance(cell, str) and cell.strip().lower() in NOTHING:
            self.markers[cell.strip()] = None
        if len(self.lines) == SHOWN:
            return

        content = "nothing" if cell is None or cell == "" else shortened(cell)
        line = f"{self.unit} {place}, column {name}: {content}"
        if fault == "missing":
            # What is written there stands for nothing, as the task says.
            fault = "is missing" if isinstance(cell, str) and cell else ""
        self.lines.append(f"{line} {fault}".rstrip())

    def note_missing(self, before: bool) -> None:
        """Take note that a cell is missing, and whether its sequence has a value `before` it."""
        self.missing = True
        self.forward = self.forward and before

    def raise_any(self, whole: int) -> None:
        """Raise `InputError` (RC042) if there was one, beside so many rows that are whole."""
        if not self.count:
            return

        cells = "1 cell" if self.count == 1 else f"{self.count} cells"
        heading = f"{self.where}: {cells} cannot be read"
        lines = [heading, *self.lines]
        if self.count > len(self.lines):
            lines.append(f"and {self.count - len(self.lines)} more")
        fact = "\n    ".join(lines)
        raise InputError.of("RC042", fact, key=f"source.{self._key()}", cure=self._cure(whole))

    def _key(self) -> str:
        """Return the option that names the columns of the faults."""
        for role, names in self.beside.items():
            if self.names <= names:
                return role
        return "columns"

    def _cure(self, whole: int) -> str:
        """Return what to do: of the policies for empty cells those alone that mend these."""
        cure = "mend the rows"
        if self.settled:
            return cure
        readable = [name for name in self.columns if name not in self.names]
        if readable and not whole and not self.missing and self.names <= {*self.columns}:
            cure += f"; or read others alone: source.columns = {json.dumps(readable)}"
        if self.markers:
            cure += f"; if there is nothing, set source.na = {json.dumps([*self.markers])}"
        if self.missing and whole:
            policies = ['"forward"'] if self.forward else []
            if self.drops:
                policies.append('"drop"')
            elif self.keeps and self.names <= {*self.columns}:
                policies.append('"keep"')
            if policies:
                cure += f"; for empty cells set source.missing = {' or '.join(policies)}"
        return cure


_SHORT = reprlib.Repr()
_SHORT.maxlist = _SHORT.maxtuple = _SHORT.maxdict = 30
_SHORT.maxstring = _SHORT.maxlong = 60


def shortened(cell: Any) -> str:
    """Return a cell as it is shown: no more than 60 characters of it.

    No more than that is made of one that is large.
    """
    if type(cell) is str:
        text = repr(cell[:61]) if cell.isprintable() else ascii(cell[:61])
    elif isinstance(cell, list | tuple | dict):
        text = _SHORT.repr(cell)
    else:
        text = repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."


def nothing_yet(where: str, place: Place, group: str | None) -> InputError:
    """Return the error of a series that begins at a place, and of which nothing has come."""
    whose = "the series" if group is None else f"group {group!r}"
    fact = f"{where}:{place}: no row of {whose} holds a value"
    fact += ", and nothing follows from covariates alone"
    cure = "give its past, or leave its rows out"
    return InputError.of("RC042", fact, key="source.columns", cure=cure)
