"""Cells of a table that cannot be read: the first are shown, the others counted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recurra import Element, InputError
from recurra_sources.cells import Place
from recurra_sources.names import readable

if TYPE_CHECKING:
    from recurra_sources.table_options import TableOptions

SHOWN = 10
"""Faults that are listed before the rest is counted."""


class Faults:
    """Cells that cannot be read: the first are shown, the others counted."""

    def __init__(self, options: TableOptions, element: Element) -> None:
        self.path, self.settled = options.path, options.settled
        self.count = 0
        self.missing = False
        self.beside = {"label": options.label, "fold": options.fold}
        self.names: set[str] = set()
        # Whether it mends them all.
        self.forward = element != "text" and options.missing != "forward"
        self.shown: list[str] = []

    def add(self, place: Place, name: str, cell: Any, fault: str) -> None:
        """Take note of one cell."""
        self.count += 1
        self.names.add(name)
        if len(self.shown) < SHOWN:
            said = "nothing" if cell is None or cell == "" else shortened(cell)
            self.shown.append(
                f"line {place}, column {name}: {said}{'' if fault == 'missing' else f' {fault}'}"
            )

    def note_missing(self, before: bool) -> None:
        """Take note that a cell is missing which has a value `before` it in its sequence, or
        none.
        """
        self.missing = True
        self.forward = self.forward and before

    def raise_any(self, kept: int) -> None:
        """Raise `InputError` (RC042) if there was one, beside so many rows that are whole."""
        if not self.count:
            return
        what = "1 cell" if self.count == 1 else f"{self.count} cells"
        more = [f"and {self.count - len(self.shown)} more"] if self.count > len(self.shown) else []
        heading = f"{readable(self.path)}: {what} cannot be read"
        fact = "\n    ".join([heading, *self.shown, *more])
        key = next((role for role, name in self.beside.items() if self.names == {name}), "columns")
        raise InputError.of("RC042", fact, key=f"source.{key}", cure=self._cure(kept))

    def _cure(self, kept: int) -> str:
        """Return what to do: of the policies for empty cells those alone that mend these."""
        if not self.missing or not kept or self.settled:
            return "mend the rows"
        policies = '"forward" or "drop"' if self.forward else '"drop"'
        return f"mend the rows; for empty cells set source.missing = {policies}"


def shortened(cell: Any) -> str:
    """Return a cell as it is shown: no more than 60 characters of it."""
    text = ascii(cell) if isinstance(cell, str) and not cell.isprintable() else repr(cell)
    return text if len(text) <= 60 else text[:57] + "..."
