"""How each mark is drawn between its axes, and what stands for it in a legend."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from recurra.drawing.frame import Frame, color_class, line
from recurra.drawing.marks import Band, Bars, HeatMap, Line, Mark, Points, Rule
from recurra.drawing.markup import Markup, joined, place, tag
from recurra.drawing.thinning import Numbers


def sample(mark: Mark, x: float, y: float) -> Markup:
    """Return what stands for a mark in the legend."""
    color = "ink" if isinstance(mark, HeatMap) else color_class(mark.color)
    match mark:
        case Points():
            return tag("circle", cx=place(x + 8), cy=place(y), r=3, class_=f"fill {color}")
        case Band():
            box = {"x": place(x), "y": place(y - 5), "width": 16, "height": 10}
            return tag("rect", **box, class_=f"band {color}")
        case Bars():
            box = {"x": place(x), "y": place(y - 5), "width": 16, "height": 10}
            return tag("rect", **box, class_=f"fill {color}")
        case Line() | Rule():
            dashed = " dashed" if mark.dashed else ""
            return line(x, y, x + 16, y, f"line {color}{dashed}")
    return joined()


def shape(mark: Mark, marks: Sequence[Mark], frame: Frame, most: int) -> Markup:
    """Return a mark as it is drawn; bars stand beside those of the other `marks`."""
    match mark:
        case Line():
            x, y = mark.points(most)
            dashed = " dashed" if mark.dashed else ""
            path = _path(frame.across(x), frame.down(y))
            alone = _alone(frame.across(x), frame.down(y), color_class(mark.color))
            drawn = tag("path", d=path, class_=f"line {color_class(mark.color)}{dashed}")
            return joined(drawn if path else "", alone)
        case Points():
            x, y = mark.points(most)
            return _dots(frame.across(x), frame.down(y), color_class(mark.color))
        case Band():
            x, low, high = mark.points(most)
            return _band(
                frame.across(x), frame.down(low), frame.down(high), color_class(mark.color)
            )
        case Bars():
            return _bars(mark, marks, frame)
        case Rule():
            return _rule(mark, frame)
    return joined()


def _path(x: Numbers, y: Numbers) -> str:
    """Return a line through points; where one of them has no place, it breaks."""
    parts, pen = [], "M"
    for at, to in zip(x.tolist(), y.tolist(), strict=True):
        if math.isnan(at) or math.isnan(to):
            pen = "M"
            continue
        parts.append(f"{pen}{place(at)} {place(to)}")
        pen = "L"
    return "".join(parts)


def _alone(x: Numbers, y: Numbers, color: str) -> Markup:
    """Return the points that no line reaches, since both neighbours are no numbers."""
    there = ~(np.isnan(x) | np.isnan(y))
    beside = np.zeros(len(x), dtype=bool)
    beside[1:] |= there[:-1]
    beside[:-1] |= there[1:]
    lonely = there & ~beside
    return _dots(x[lonely], y[lonely], color)


def _dots(x: Numbers, y: Numbers, color: str) -> Markup:
    there = ~(np.isnan(x) | np.isnan(y))
    dots = [
        tag("circle", cx=place(at), cy=place(to), r=3)
        for at, to in zip(x[there].tolist(), y[there].tolist(), strict=True)
    ]
    return tag("g", *dots, class_=f"fill {color}") if dots else joined()


def _band(x: Numbers, low: Numbers, high: Numbers, color: str) -> Markup:
    """Return what lies between two lines, in pieces where a bound is no number."""
    there = ~(np.isnan(x) | np.isnan(low) | np.isnan(high))
    pieces = np.split(np.arange(len(x)), np.flatnonzero(np.diff(there)) + 1)
    paths = []
    for piece in pieces:
        if len(piece) and there[piece[0]]:
            back = piece[::-1]
            outline = _path(np.append(x[piece], x[back]), np.append(high[piece], low[back]))
            paths.append(f"{outline}Z")
    return tag("path", d="".join(paths), class_=f"band {color}") if paths else joined()


def _bars(mark: Bars, marks: Sequence[Mark], frame: Frame) -> Markup:
    """Return bars; those of several marks at one place stand beside each other."""
    at, values = mark.points()
    places = set(at.tolist())
    together = [
        other
        for other in marks
        if isinstance(other, Bars) and not places.isdisjoint(other.points()[0].tolist())
    ]
    thick = 0.76 / len(together)
    first = at - 0.38 + thick * next(n for n, other in enumerate(together) if other is mark)
    zero, parts = np.zeros(len(at)), []
    if mark.across:
        one, other = frame.down(first), frame.down(first + thick)
        begin, end = frame.across(zero), frame.across(values)
    else:
        one, other = frame.across(first), frame.across(first + thick)
        begin, end = frame.down(zero), frame.down(values)
    for a, b, c, d in zip(one.tolist(), other.tolist(), begin.tolist(), end.tolist(), strict=True):
        if math.isnan(d):
            continue
        side, long = (min(a, b), abs(b - a)), (min(c, d), abs(d - c))
        (x, w), (y, h) = (long, side) if mark.across else (side, long)
        parts.append(tag("rect", x=place(x), y=place(y), width=place(w), height=place(h)))
    return tag("g", *parts, class_=f"fill {color_class(mark.color)}") if parts else joined()


def _rule(mark: Rule, frame: Frame) -> Markup:
    class_ = f"thin {color_class(mark.color)}{' dashed' if mark.dashed else ''}"
    parts = []
    if mark.x is not None and 0 <= frame.x.share(np.array([mark.x]))[0] <= 1:
        x = float(frame.across(np.array([mark.x]))[0])
        parts.append(line(x, frame.top, x, frame.bottom, class_))
    if mark.y is not None and 0 <= frame.y.share(np.array([mark.y]))[0] <= 1:
        y = float(frame.down(np.array([mark.y]))[0])
        parts.append(line(frame.left, y, frame.right, y, class_))
    return joined(*parts)
