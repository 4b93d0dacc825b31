"""A picture: panels below or beside each other, as a file of its own or as a part of a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from recurra.drawing.columns import csv_link, csv_text
from recurra.drawing.frame import text
from recurra.drawing.markup import Markup, joined, own, place, tag
from recurra.drawing.plot import NARROW, Plot
from recurra.drawing.style import style
from recurra.drawing.tables import Table, Tagged
from recurra.drawing.words import lines, shortened

Panel: TypeAlias = Plot | Table | Tagged
MARGIN = 16.0


@dataclass(frozen=True)
class Picture:
    """What is seen under one name: panels with a title, and a caption that says what it is.

    `name` is the word by which it is asked for, of small letters, digits and `-`.
    """

    name: str
    title: str
    panels: Sequence[Panel]
    caption: str = ""

    def svg(self, dark: bool = True) -> str:
        """Return a file with all panels below each other.

        It is dark where the viewer is, unless `dark` is False.
        """
        drawn = [panel.drawn() for panel in self.panels]
        across = max([each.width for each in drawn], default=400.0)
        parts = [text(shortened(self.title, 90), 0, 16, class_="title")]
        y = 28.0
        for row in lines(self.caption, across):
            parts.append(text(row, 0, y + 8, class_="faint"))
            y += 16
        for panel, each in zip(self.panels, drawn, strict=True):
            if panel.title:
                parts.append(text(shortened(panel.title, 90), 0, y + 20, class_="heading"))
                y += 28
            parts.append(tag("g", each.body, transform=f"translate(0 {place(y)})"))
            y += each.height
            for row in lines(panel.remarks(), across):
                y += 16
                parts.append(text(row, 0, y, class_="faint"))
            y += 10

        wide, high = across + 2 * MARGIN, y + 2 * MARGIN
        paper = tag("rect", width=place(wide), height=place(high), class_="paper")
        inner = tag("g", *parts, transform=f"translate({place(MARGIN)} {place(MARGIN)})")
        root = tag(
            "svg",
            tag("title", self.title),
            tag("style", own(style(dark))),
            paper,
            inner,
            xmlns="http://www.w3.org/2000/svg",
            viewBox=f"0 0 {place(wide)} {place(high)}",
            width=place(wide),
            height=place(high),
            class_="p",
            role="img",
        )
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}\n'

    def _repr_svg_(self) -> str:
        """Return what a notebook shows."""
        return self.svg()

    def csv(self) -> str:
        """Return the data of all panels, one below the other where there are several."""
        return "\r\n".join(csv_of(panel) for panel in self.panels)

    def html(self, key: str = "", level: int = 3, data: bool = True) -> Markup:
        """Return it as a part of a page, where `key` tells it from others of its name.

        Its headings are of a `level`. Without `data` it has no table and no csv.
        """
        panels = [
            _panel(panel, f"{self.name}{n or ''}", level + 1, data)
            for n, panel in enumerate(self.panels)
        ]
        caption = tag("p", self.caption, class_="caption") if self.caption else joined()
        return tag(
            "figure",
            tag(f"h{level}", self.title),
            caption,
            tag("div", *panels, class_="panels"),
            id=f"{key}{self.name}",
            data_name=self.name,
        )


def csv_of(panel: Panel) -> str:
    """Return the data of a panel as csv."""
    return csv_text(panel.columns(), panel.digits())


def _panel(panel: Panel, name: str, level: int, data: bool) -> Markup:
    """Return a panel of a page: its heading, what is seen, what is to be said, and its data."""
    parts: list[Markup] = [tag(f"h{level}", panel.title)] if panel.title else []
    if isinstance(panel, Plot):
        parts.append(tag("div", *_plots(panel), class_="scroll"))
    else:
        parts.append(tag("div", panel.flowing(), class_="scroll"))
    if panel.remarks():
        parts.append(tag("p", panel.remarks(), class_="notes"))
    if data:
        link = tag("a", "csv", href=csv_link(csv_of(panel)), download=f"{name}.csv")
        parts.append(tag("details", tag("summary", "data"), link, class_="data"))
    return tag("div", *parts, class_="panel wide" if panel.wide else "panel")


def _plots(panel: Plot) -> list[Markup]:
    """Return a plot as a page shows it; a wide one is laid out for a narrow page as well."""
    forms: list[tuple[str, float | None]] = [("p", None)]
    if panel.wide:
        forms = [("p full has-slim", None), ("p slim", NARROW)]
    made = []
    for classes, across in forms:
        drawn = panel.drawn(across)
        view = f"0 0 {place(drawn.width)} {place(drawn.height)}"
        about = {"role": "img", "tabindex": "0", "aria_label": panel.title}
        made.append(tag("svg", drawn.body, viewBox=view, class_=classes, **about, **drawn.traits))
    return made
