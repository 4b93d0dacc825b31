"""A map of colours: its cells, the scale of its colours, and the row that is picked of it."""

from __future__ import annotations

import math

import numpy as np

from recurra.drawing.columns import Column
from recurra.drawing.frame import line, text
from recurra.drawing.marks import HeatMap
from recurra.drawing.markup import Markup, joined, place, tag
from recurra.drawing.png import FULL, indices, png_address
from recurra.drawing.scales import Axis
from recurra.drawing.thinning import Numbers
from recurra.drawing.words import number, shortened, width

CELLS = 400
"""Cells of which each is drawn; of more a PNG is made."""
DARK = 0.6
"""The share of the strongest colour above which what is written on it is white."""
PICKED = 72.0
"""How high the line of the row that is picked is."""


def columns(shown: HeatMap, x: Axis, y: Axis) -> list[Column]:
    """Return the values of a map as a table: a row for each row of it."""
    cells = shown.cells()
    rows = y.names if y.names is not None else [*range(len(cells))]
    names = x.names if x.names is not None else [*range(cells.shape[1])]
    if len(set(names)) < len(names):
        # A symbol that comes several times names no column.
        names = [f"{n} {name}" for n, name in enumerate(names)]
    made = [Column(y.label or "row", list(rows))]
    for n, name in enumerate(names):
        made.append(Column(f"{x.label} {name}".strip(), cells[:, n].tolist(), shown.unit))
    return made


def drawn(shown: HeatMap, left: float, top: float, right: float, bottom: float) -> Markup:
    """Return the cells of a map in a rectangle."""
    cells = shown.cells()
    low, high = shown.bounds()
    rows, count = cells.shape
    if cells.size > CELLS and not shown.shown:
        box = {"x": place(left), "y": place(top)}
        size = {"width": place(right - left), "height": place(bottom - top)}
        address = png_address(indices(cells, low, high), shown.diverging)
        crisp = {"preserveAspectRatio": "none", "style": "image-rendering:pixelated"}
        return tag("image", **box, **size, **crisp, href=address)

    across, down = (right - left) / count, (bottom - top) / rows
    parts = []
    for row in range(rows):
        parts += _row(cells[row], shown, low, high, left, top + row * down, across, down)
    if shown.shown:
        parts += _values(cells, shown, low, high, left, top, across, down)
    return joined(*parts)


def _row(
    values: Numbers,
    shown: HeatMap,
    low: float,
    high: float,
    left: float,
    top: float,
    across: float,
    down: float,
) -> list[Markup]:
    """Return the cells of a row; neighbours of one colour are one rectangle."""
    places = indices(values, low, high).astype(int)
    ends = np.flatnonzero(np.diff(places)) + 1
    parts = []
    for begin, end in zip([0, *ends], [*ends, len(places)], strict=True):
        class_, opacity = _color(int(places[begin]), shown.diverging)
        if opacity:
            box = {"x": place(left + begin * across), "y": place(top)}
            # A hair more, so that nothing shines through between two of them.
            size = {"width": place((end - begin) * across + 0.1), "height": place(down + 0.1)}
            parts.append(tag("rect", **box, **size, class_=class_, fill_opacity=opacity))
    return parts


def _color(index: int, diverging: bool) -> tuple[str, str]:
    """Return the class of a colour of the palette of `recurra.drawing.png`, and its opacity."""
    if not index:
        return "fill gap", "0.35"
    share = (index - 128) / 127 if diverging else (index - 1) / 254
    opacity = f"{abs(share) * FULL / 255:.2f}".rstrip("0").rstrip(".")
    return f"fill {'low' if share < 0 else 'high'}", "" if opacity == "0" else opacity


def _values(
    cells: Numbers,
    shown: HeatMap,
    low: float,
    high: float,
    left: float,
    top: float,
    across: float,
    down: float,
) -> list[Markup]:
    """Return the values of cells as text, where they fit into them; nothing for 0."""
    whole = bool(np.all(np.isnan(cells) | (cells == np.round(cells))))
    words = [
        [number(int(v) if whole else float(v), 3) if v == v and v else "" for v in row]
        for row in cells.tolist()
    ]
    if max(width(each) for row in words for each in row) > across or down < 12:
        return []

    parts = []
    for row, line_of in enumerate(words):
        for column, each in enumerate(line_of):
            if each:
                share = (cells[row, column] - low) / (high - low)
                strong = abs(2 * share - 1) if shown.diverging else share
                x, y = left + (column + 0.5) * across, top + (row + 0.5) * down + 4
                parts.append(text(each, x, y, "middle", "bright" if strong > DARK else None))
    return parts


def scale_of_colors(shown: HeatMap, across: float) -> Markup:
    """Return a strip with all colours of a map, and the values of both ends."""
    low, high = shown.bounds()
    unit = f" {shown.unit}" if shown.unit else ""
    ends = [number(low, 3), f"{number(high, 3)}{unit}"]
    name = shortened(shown.name, 40)
    parts, x = [], 0.0
    if name:
        parts.append(text(name, 0, 12))
        x = width(name) + 10
    if x + width(ends[0]) + width(ends[1]) + 100 > across:
        return joined(*parts)
    parts.append(text(ends[0], x, 12, None, "faint"))
    x += width(ends[0]) + 2
    for n in range(24):
        class_, opacity = _color(1 + round(254 * n / 23), shown.diverging)
        if opacity:
            box = {"x": place(x + n * 3), "y": 3, "width": 3.1, "height": 10}
            parts.append(tag("rect", **box, class_=class_, fill_opacity=opacity))
    parts.append(text(ends[1], x + 76, 12, None, "faint"))
    return joined(*parts)


def picked(shown: HeatMap, y: Axis, left: float, right: float, top: float) -> tuple[Markup, float]:
    """Return the row that changes most as a line below a map, and where that ends.

    On a page another one may be picked: the script draws it anew between the same edges.
    """
    cells = shown.cells()
    spread = np.array([_spread(row) for row in cells])
    row = int(spread.argmax())
    low, high = shown.bounds()
    begin, end = top + 20, top + 20 + PICKED
    name = str(y.names[row] if y.names is not None else row)
    # As the script calls the row that is picked.
    name = f"{y.label} {name}".strip() if name.isdigit() else name
    across = (right - left) / cells.shape[1]
    points = [
        f"{place(left + (n + 0.5) * across)} {place(end - (v - low) / (high - low) * PICKED)}"
        for n, v in enumerate(cells[row].tolist())
        if not math.isnan(v)
    ]
    frame = " ".join(map(place, (left, begin, right, end)))
    zero = end - (0 - low) / (high - low) * PICKED if low < 0 < high else end
    parts = [
        text(shortened(name, 60), left, top + 12, None, "name"),
        tag("g", "", class_="spans"),
        line(left, zero, right, zero, "thin grid"),
        tag("path", d="M" + "L".join(points) if points else "", class_="line c0 trace"),
        text(number(high, 3), left - 6, begin + 8, "end", "faint"),
        text(number(low, 3), left - 6, end, "end", "faint"),
    ]
    group = tag(
        "g", *parts, class_="picked", data_frame=frame, data_row=row, data_low=low, data_high=high
    )
    return group, end + 8


def _spread(row: Numbers) -> float:
    finite = row[~np.isnan(row)]
    return float(np.ptp(finite)) if len(finite) else 0.0
