"""Where axes lie in a plot, and the few things that everything is drawn of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from recurra.drawing.marks import Color
from recurra.drawing.markup import Markup, place, tag
from recurra.drawing.scales import Scale
from recurra.drawing.thinning import Numbers


@dataclass(frozen=True)
class Drawn:
    """What was drawn, how wide and how high it is, in units of the picture.

    `traits` are what the script of a page needs to know of it.
    """

    body: Markup
    width: float
    height: float
    traits: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Frame:
    """Where the axes are, and what they are of."""

    left: float
    top: float
    right: float
    bottom: float
    x: Scale
    y: Scale
    downward: bool = False

    def traits(self, kind: str) -> dict[str, str]:
        """Return where it lies and what its axes are, for the script of a page."""
        box = " ".join(map(place, (self.left, self.top, self.right, self.bottom)))
        scales = (f"{each.low!r} {each.high!r} {int(each.log)}" for each in (self.x, self.y))
        return dict(
            zip(("data_kind", "data_frame", "data_x", "data_y"), (kind, box, *scales), strict=True)
        )

    def across(self, values: Numbers) -> Numbers:
        """Return how far right values of x stand."""
        return self.left + self.x.share(values) * (self.right - self.left)

    def down(self, values: Numbers) -> Numbers:
        """Return how far down values of y stand: the greatest is on top, of a map the first row."""
        share = self.y.share(values)
        return self.top + (share if self.downward else 1 - share) * (self.bottom - self.top)


def text(
    words: str, x: float, y: float, anchor: str | None = None, class_: str | None = None
) -> Markup:
    """Return a line of text."""
    return tag("text", words, x=place(x), y=place(y), text_anchor=anchor, class_=class_)


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """Return a straight line."""
    return tag("path", d=f"M{place(x1)} {place(y1)}L{place(x2)} {place(y2)}", class_=class_)


def color_class(color: Color) -> str:
    """Return the class that gives a mark its colour."""
    return f"c{color % 8}" if isinstance(color, int) else color
