"""A table of figures: a row for each point, a column for each figure."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recurra import Ending, Followed, Point, Tracker
from recurra_trackers.options import CsvOptions
from recurra_trackers.places import place_of

FILE = "points.csv"
FIRST = ("step", "epoch", "split", "final")
"""The columns before those of figures; the last says 1 of what was measured in the end."""


class Csv(Tracker[CsvOptions]):
    """Writes `points.csv`: `step,epoch,split,final` and each figure, of which cells may be empty.

    The table is written anew where a figure comes that it has no column for, and where a run goes
    on; else it grows. At any moment it is a whole table.
    """

    def begin(self, run: Followed, state: Mapping[str, Any] | None, step: int) -> None:
        """Open the table; of one that is there keep the rows up to a step."""
        place = place_of(run, self.options.folder, state)
        self.path = place / FILE
        self.points: list[Point] = []
        if state is None:
            place.mkdir(parents=True, exist_ok=True)
        elif not self.path.exists():
            raise LookupError(f"{self.path} is gone")
        else:
            standing = self.read({"folder": str(place)})
            self.points = [each for each in standing if each.step <= step and not each.final]
        self.columns = [*FIRST]
        self._widen(self.points)
        self._rewrite()

    def log(self, points: Sequence[Point]) -> None:
        """Add rows."""
        self.points += points
        if self._widen(points):
            self._rewrite()
            return
        with self.path.open("a", encoding="utf-8", newline="") as file:
            self._write(file, points)

    def flush(self) -> Mapping[str, Any]:
        """Bring the table to the disk."""
        with self.path.open("rb+") as file:
            os.fsync(file.fileno())
        return {"folder": str(self.path.parent)}

    def end(self, how: Ending) -> Mapping[str, Any]:
        """Bring the table to the disk; it is closed already."""
        return self.flush()

    def read(self, state: Mapping[str, Any]) -> list[Point]:
        """Return the points of a table."""
        with (Path(state["folder"]) / FILE).open(encoding="utf-8", newline="") as file:
            return [_point(row) for row in csv.DictReader(file)]

    def _widen(self, points: Sequence[Point]) -> bool:
        """Add columns for the figures that have none; return whether there were such."""
        before = len(self.columns)
        known = {*self.columns}
        for point in points:
            for name in map(_column, point.figures):
                if name not in known:
                    known.add(name)
                    self.columns.append(name)
        return len(self.columns) > before

    def _rewrite(self) -> None:
        work = self.path.with_name(f".{FILE}.part")
        with work.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerow(self.columns)
            self._write(file, self.points)
            file.flush()
            os.fsync(file.fileno())
        work.replace(self.path)

    def _write(self, file: Any, points: Sequence[Point]) -> None:
        writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
        for point in points:
            first = (point.step, point.epoch, point.split, int(point.final))
            figures = {_column(name): repr(value) for name, value in point.figures.items()}
            writer.writerow({**dict(zip(FIRST, first, strict=True)), **figures})


def _column(figure: str) -> str:
    """Return the column of a figure, which is never one of the first."""
    return f"{figure}_" if figure.rstrip("_") in FIRST else figure


def _point(row: Mapping[str, str]) -> Point:
    figures = {}
    for column, cell in row.items():
        if cell and column not in FIRST:
            name = column[:-1] if column.rstrip("_") in FIRST else column
            figures[name] = float(cell)
    epoch = int(row["epoch"]) if row["epoch"] else None
    return Point(int(row["step"]), row["split"], figures, row["final"] == "1", epoch)
