"""A plot: axes, what is drawn between them, and a legend, laid out so that no text overlaps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recurra.drawing import heat
from recurra.drawing.columns import Column
from recurra.drawing.frame import Drawn, Frame, line, text
from recurra.drawing.marks import Band, Bars, HeatMap, Line, Mark, Points, Rule, table
from recurra.drawing.markup import Markup, joined, place, tag
from recurra.drawing.scales import Axis, Scale, Tick
from recurra.drawing.shapes import sample, shape
from recurra.drawing.thinning import numbers
from recurra.drawing.words import number, shortened, width

LINE_HEIGHT = 16.0
"""From one line of text to the next."""
ROW = 15.0
"""How high a row of a map is where its name stands beside it."""
NARROW, WIDE = 440.0, 920.0
"""How wide a plot is, in its own units, and one that has a row of the page for itself."""


@dataclass(frozen=True)
class Plot:
    """Marks between two axes; `height` is that of what lies between them.

    `notes` is a sentence below it; `data` stands for the columns that its marks have. A line has no
    more than about `most` points.
    """

    title: str
    x: Axis
    y: Axis
    marks: Sequence[Mark]
    height: float = 200.0
    wide: bool = False
    notes: str = ""
    data: Sequence[Column] | None = None
    most: int = 1000

    def columns(self) -> list[Column]:
        """Return the data of what is seen."""
        if self.data is not None:
            return list(self.data)
        shown = self._map()
        if shown is not None:
            return heat.columns(shown, self.x, self.y)
        if any(isinstance(mark, Bars) and mark.across for mark in self.marks):
            return _named(
                table(self.marks, self.y.label, self.y.unit, self.x.unit, self.most), self.y
            )
        return _named(table(self.marks, self.x.label, self.x.unit, self.y.unit, self.most), self.x)

    def digits(self) -> int:
        """Return how many digits of its numbers say something."""
        return 6 if self._map() is None else 4

    def remarks(self) -> str:
        """Return what is to be said below it: its notes, and how much is no number or left out."""
        said = [self.notes] if self.notes else []
        gaps = longest = 0
        for mark in self.marks:
            if isinstance(mark, Line | Points):
                values = numbers(mark.y)
                gaps += int(np.isnan(values).sum())
                longest = max(longest, len(values))
        if gaps:
            said.append(f"{gaps:,} value{'s are' if gaps > 1 else ' is'} no finite number: a gap.")
        if longest > self.most:
            said.append(
                f"Of {longest:,} points the lowest and the highest of each stretch are drawn."
            )
        return " ".join(said)

    def drawn(self, across: float | None = None) -> Drawn:
        """Return the picture, laid out anew for how wide it is to be."""
        across = across or (WIDE if self.wide else NARROW)
        shown = self._map()
        x, y = self._scales()
        legend, top = self._legend(across, shown)
        if self.y.heading:
            top += LINE_HEIGHT

        height = self.height
        if shown is not None and len(shown.cells()) <= 40:
            each = 20.0 if shown.shown else ROW
            height = max(height if len(shown.cells()) > 12 else 0, each * len(shown.cells()))
        y_ticks = y.ticks(self._rows(height))
        beside = [tick.text for tick in y_ticks]
        if shown is not None and shown.pick:
            beside += [number(bound, 3) for bound in shown.bounds()]
        left = max(map(width, beside), default=0.0) + 8
        right = across - 12
        x_ticks, upright = _fitting(x, right - left)
        if not upright and x_ticks and x.axis.names is None:  # names lie within their own places
            right -= max(width(x_ticks[-1].text) / 2 - 12, 0)

        frame = Frame(
            left, top + 4, right, top + 4 + height, x, y, shown is not None or self._lies_across()
        )
        parts = [legend]
        if self.y.heading:
            parts.append(tag("text", self.y.heading, x=0, y=place(top - 4), class_="faint"))
        if shown is None:
            parts.append(_grid(frame, y_ticks, x_ticks, self._lies_across()))
        else:
            parts.append(heat.drawn(shown, frame.left, frame.top, frame.right, frame.bottom))
        parts += [
            shape(mark, self.marks, frame, self.most) for mark in self.marks if mark is not shown
        ]
        parts.append(_y_labels(frame, y_ticks))
        below, bottom = _x_labels(frame, x_ticks, upright, self.x.heading)
        parts.append(below)
        if shown is not None and shown.pick:
            picked, bottom = heat.picked(shown, self.y, frame.left, frame.right, bottom)
            parts.append(picked)
        if x.empty or y.empty:
            middle = (frame.left + frame.right) / 2
            words = "no value is a finite number"
            parts.append(text(words, middle, frame.top + height / 2, "middle", "faint"))
        kind = "map" if shown is not None else "bars" if self._lies_across() else "lines"
        traits = frame.traits(kind) | self._places_of_rows()
        return Drawn(joined(*parts), across, bottom, traits)

    def _places_of_rows(self) -> dict[str, str]:
        """Return where the rows of its data stand, where they are named and no numbers."""
        if self.x.names is None or self._map() is not None or self._lies_across():
            return {}
        rows = table(self.marks, self.x.label, self.x.unit, self.y.unit, self.most)
        places = rows[1 if rows[0].name == "series" else 0].values
        return {"data_places": " ".join(f"{place:g}" for place in places)}

    def _map(self) -> HeatMap | None:
        return next((mark for mark in self.marks if isinstance(mark, HeatMap)), None)

    def _lies_across(self) -> bool:
        return any(isinstance(mark, Bars) and mark.across for mark in self.marks)

    def _rows(self, height: float) -> int:
        return int(height / (ROW - 1)) if self.y.names is not None else max(int(height / 38), 2)

    def _scales(self) -> tuple[Scale, Scale]:
        """Return both axes, which hold all that is drawn; bars begin at 0."""
        shown = self._map()
        if shown is not None:
            rows, columns = shown.cells().shape
            x = Scale(_cells(self.x, columns), np.array([]))
            return x, Scale(_cells(self.y, rows), np.array([]))

        xs, ys = [np.array([])], [np.array([])]
        for mark in self.marks:
            match mark:
                case Line() | Points():
                    x_values, y_values = mark.points(self.most)
                    # What has no place on one axis has none on the other.
                    there = ~(np.isnan(x_values) | np.isnan(y_values))
                    xs.append(x_values if not there.any() else x_values[there])
                    ys.append(y_values[there])
                case Band():
                    x_values, low, high = mark.points(self.most)
                    xs.append(x_values)
                    ys += [low, high]
                case Bars():
                    at, values = mark.points()
                    around = np.concatenate([at - 0.5, at + 0.5])
                    values = np.append(values, 0.0)
                    xs.append(values if mark.across else around)
                    ys.append(around if mark.across else values)
                case Rule():
                    xs.append(np.array([] if mark.x is None else [mark.x], np.float64))
                    ys.append(np.array([] if mark.y is None else [mark.y], np.float64))
        bars = any(isinstance(mark, Bars) for mark in self.marks)
        return (
            Scale(self.x, np.concatenate(xs), 0.0),
            Scale(self.y, np.concatenate(ys), 0.0 if bars else 0.04),
        )

    def _legend(self, across: float, shown: HeatMap | None) -> tuple[Markup, float]:
        """Return the names of what is drawn in lines, and how high they are."""
        if shown is not None:
            return heat.scale_of_colors(shown, across), LINE_HEIGHT + 4
        entries = {mark.name: mark for mark in self.marks if mark.name}
        if len(self.marks) < 2 and not any(isinstance(mark, Rule) for mark in self.marks):
            return joined(), 4.0

        parts, x, y = [], 0.0, 12.0
        for name, mark in entries.items():
            label = shortened(name, 40)
            needs = 22 + width(label) + 12
            if x and x + needs > across:
                x, y = 0.0, y + LINE_HEIGHT
            parts += [sample(mark, x, y - 4), text(label, x + 22, y)]
            x += needs
        return joined(*parts), y + 8 if parts else 4.0


def _cells(axis: Axis, count: int) -> Axis:
    """Return an axis of a map: it goes from the edge of the first cell to that of the last."""
    names = axis.names
    if names is not None and len(names) != count:
        raise ValueError(f"{axis.label}: {len(names)} names for {count} cells")
    return Axis(axis.label, axis.unit, "linear", -0.5, count - 0.5, names, whole=True)


def _named(columns: list[Column], axis: Axis) -> list[Column]:
    """Return columns with the names of places instead of their numbers, where they have names."""
    if axis.names is None:
        return columns
    index = 1 if columns[0].name == "series" else 0
    names = dict(enumerate(axis.names))
    values = [names.get(int(v), v) if v == v else None for v in columns[index].values]
    columns[index] = Column(columns[index].name, values)
    return columns


def _fitting(scale: Scale, room: float) -> tuple[list[Tick], bool]:
    """Return as many ticks of the axis x as fit beside each other, and whether they stand upright.

    Names that do not fit in a line stand upright, as many as fit then.
    """
    if scale.axis.names is not None:
        names = scale.ticks(len(scale.axis.names))
        each = room / max(len(scale.axis.names), 1)
        if not names or max(width(tick.text) for tick in names) + 6 <= each:
            return names, False
        if max(len(tick.text) for tick in names) > 3:
            return scale.ticks(max(int(room / 14), 1)), True
        widest = max(width(tick.text) for tick in names) + 6
        return scale.ticks(max(int(room / widest), 1)), False
    for most in (8, 7, 6, 5, 4, 3, 2):
        ticks = scale.ticks(most)
        at = scale.share(np.array([scale.low] + [tick.at for tick in ticks]))[1:] * room
        halves = [width(tick.text) / 2 + 4 for tick in ticks]
        gaps = [
            b - a - one - other
            for a, b, one, other in zip(at, at[1:], halves, halves[1:], strict=False)
        ]
        if all(gap >= 0 for gap in gaps):
            return ticks, False
    return ticks[:1], False


def _grid(frame: Frame, y_ticks: list[Tick], x_ticks: list[Tick], across: bool) -> Markup:
    """Return faint lines at the places that are written beside, and the axis itself."""
    parts = []
    if across:
        for x in frame.across(np.array([tick.at for tick in x_ticks])):
            parts.append(line(x, frame.top, x, frame.bottom, "thin grid"))
        parts.append(line(frame.left, frame.top, frame.left, frame.bottom, "thin faint"))
        return joined(*parts)
    if frame.y.axis.names is None:
        for y in frame.down(np.array([tick.at for tick in y_ticks])):
            parts.append(line(frame.left, y, frame.right, y, "thin grid"))
    parts.append(line(frame.left, frame.bottom, frame.right, frame.bottom, "thin faint"))
    return joined(*parts)


def _y_labels(frame: Frame, ticks: list[Tick]) -> Markup:
    places = frame.down(np.array([tick.at for tick in ticks]))
    return joined(
        *(
            text(t.text, frame.left - 6, y + 4, "end", "faint")
            for t, y in zip(ticks, places, strict=True)
        )
    )


def _x_labels(frame: Frame, ticks: list[Tick], upright: bool, heading: str) -> tuple[Markup, float]:
    """Return what is written below, and where that ends."""
    parts, bottom = [], frame.bottom + 16
    for tick, x in zip(ticks, frame.across(np.array([tick.at for tick in ticks])), strict=True):
        if upright:
            turned = f"rotate(-90 {place(x + 4)} {place(frame.bottom + 6)})"
            at = {"x": place(x + 4), "y": place(frame.bottom + 6)}
            words = tag(
                "text", tick.text, **at, text_anchor="end", class_="faint", transform=turned
            )
            parts.append(words)
        else:
            parts.append(text(tick.text, x, bottom, "middle", "faint"))
    if upright:
        bottom = frame.bottom + 8 + max(width(tick.text) for tick in ticks)
    if heading:
        bottom += LINE_HEIGHT
        parts.append(text(heading, (frame.left + frame.right) / 2, bottom - 1, "middle", "faint"))
    return joined(*parts), bottom + 5
