"""What is drawn into a plot: lines, bands, points, bars, maps of colours, rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from recurra.drawing.columns import Column
from recurra.drawing.thinning import Numbers, kept, numbers

Color: TypeAlias = int | Literal["ink", "faint"]
"""One of eight, of which 0 is the model's, or that of what came, or of what is beside the point."""


@dataclass(frozen=True)
class Line:
    """A line through points, which breaks where `y` is no number."""

    name: str
    x: ArrayLike | Sequence[Any]
    y: ArrayLike | Sequence[Any]
    color: Color = 0
    dashed: bool = False

    def points(self, most: int) -> tuple[Numbers, Numbers]:
        """Return its points, thinned to about so many."""
        x, y = pair(self.name, self.x, self.y)
        places = kept(np.where(np.isnan(x), np.nan, y), most)
        return x[places], y[places]


@dataclass(frozen=True)
class Points:
    """Points that nothing joins."""

    name: str
    x: ArrayLike | Sequence[Any]
    y: ArrayLike | Sequence[Any]
    color: Color = 0

    def points(self, most: int) -> tuple[Numbers, Numbers]:
        """Return its points, thinned to about so many."""
        x, y = pair(self.name, self.x, self.y)
        places = kept(y, most)
        return x[places], y[places]


@dataclass(frozen=True)
class Band:
    """What lies between two lines, as the bounds of an interval do."""

    name: str
    x: ArrayLike | Sequence[Any]
    low: ArrayLike | Sequence[Any]
    high: ArrayLike | Sequence[Any]
    color: Color = 0

    def points(self, most: int) -> tuple[Numbers, Numbers, Numbers]:
        """Return x, low and high, thinned to about so many by either bound."""
        x, low = pair(self.name, self.x, self.low)
        _, high = pair(self.name, self.x, self.high)
        places = np.union1d(kept(low, most // 2), kept(high, most // 2))
        return x[places], low[places], high[places]


@dataclass(frozen=True)
class Bars:
    """A bar for each value, at a place of the axis x, or of y where they lie across."""

    name: str
    at: ArrayLike | Sequence[Any]
    values: ArrayLike | Sequence[Any]
    color: Color = 0
    across: bool = False

    def points(self) -> tuple[Numbers, Numbers]:
        """Return places and values."""
        return pair(self.name, self.at, self.values)


@dataclass(frozen=True)
class HeatMap:
    """A map of colours: the value at row r and column c stands at y = r, x = c, row 0 on top.

    With `diverging` colours are of two hues about 0. `shown` writes each value into its cell. With
    `pick="rows"` a row may be picked on a page, and is drawn as a line below; a span of that line
    shows where else the same rows are as high.
    """

    name: str
    values: ArrayLike | Sequence[Sequence[Any]]
    diverging: bool = False
    low: float | None = None
    high: float | None = None
    unit: str = ""
    shown: bool = False
    pick: Literal["", "rows"] = ""

    def cells(self) -> Numbers:
        """Return the values, `[rows, columns]`. Raises `ValueError` for other shapes."""
        values = self.values
        if not isinstance(values, np.ndarray):
            values = np.array([[np.nan if v is None else v for v in row] for row in values])  # type: ignore[union-attr]
        if values.ndim != 2 or not values.size:
            raise ValueError(f"{self.name}: a map is of rows and columns, not {values.shape}")
        return numbers(values)

    def bounds(self) -> tuple[float, float]:
        """Return the values of the weakest and of the strongest colour."""
        cells = self.cells()
        finite = cells[~np.isnan(cells)]
        low = float(finite.min()) if len(finite) else 0.0
        high = float(finite.max()) if len(finite) else 1.0
        if self.diverging:
            most = max(abs(self.low or 0), abs(self.high or 0)) or max(abs(low), abs(high)) or 1.0
            return -most, most
        low = low if self.low is None else self.low
        high = high if self.high is None else self.high
        return (low, high) if high > low else (low, low + (abs(low) or 1.0))


@dataclass(frozen=True)
class Rule:
    """A line right through the plot, at a place of x or of y, named in the legend."""

    name: str
    x: float | None = None
    y: float | None = None
    color: Color = "ink"
    dashed: bool = True


Mark: TypeAlias = Line | Points | Band | Bars | HeatMap | Rule


def pair(name: str, x: Any, y: Any) -> tuple[Numbers, Numbers]:
    """Return two sides of points as numbers. Raises `ValueError` where they differ in number."""
    one, other = numbers(x), numbers(y)
    if one.shape != other.shape or one.ndim != 1:
        raise ValueError(f"{name}: {one.shape} places for {other.shape} values")
    return one, other


def table(marks: Sequence[Mark], x: str, unit: str, value: str, most: int) -> list[Column]:
    """Return the data of marks that share x: a row for each place, blank where a mark has none.

    Where a mark has several values at a place, a row stands for each point.
    """
    series: list[tuple[str, str, Numbers, Numbers]] = []
    for mark in marks:
        match mark:
            case Line() | Points():
                series.append((mark.name, value, *mark.points(most)))
            case Bars():
                series.append((mark.name, value, *mark.points()))
            case Band():
                places, low, high = mark.points(most)
                series.append((f"{mark.name}, low", value, places, low))
                series.append((f"{mark.name}, high", value, places, high))
    if any(len(np.unique(places)) < len(places) for _, _, places, _ in series):
        return _long(series, x, unit, value)

    every = [places[~np.isnan(places)] for _, _, places, _ in series]
    rows = np.unique(np.concatenate(every)) if every else np.array([])
    columns = [Column(x or "x", rows.tolist(), unit)]
    for name, of, places, values in series:
        known = dict(zip(places.tolist(), values.tolist(), strict=True))
        columns.append(Column(name or value or "y", [known.get(r) for r in rows.tolist()], of))
    return columns


def _long(
    series: Sequence[tuple[str, str, Numbers, Numbers]], x: str, unit: str, value: str
) -> list[Column]:
    names = [name for name, _, places, _ in series for _ in places]
    at = [place for _, _, places, _ in series for place in places.tolist()]
    values = [each for _, _, _, values in series for each in values.tolist()]
    return [Column("series", names), Column(x or "x", at, unit), Column("value", values, value)]
