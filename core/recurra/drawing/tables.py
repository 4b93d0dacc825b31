"""Tables and tagged text: what a picture holds beside plots."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from recurra.drawing.columns import Column
from recurra.drawing.frame import Drawn, line, text
from recurra.drawing.markup import Markup, joined, tag
from recurra.drawing.plot import NARROW, WIDE
from recurra.drawing.words import number, shortened, width

ROW = 19.0
LONGEST = 60
"""Letters of a cell that a picture shows; its csv has all."""


@dataclass(frozen=True)
class Table:
    """Rows under headings; a number stands to the right, with four digits.

    The rows whose places are in `highlight` stand out. A page shows all of a text, a picture that
    stands alone what fits.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]
    wide: bool = False
    notes: str = ""
    highlight: Collection[int] = ()

    def columns(self) -> list[Column]:
        """Return what it holds."""
        return [
            Column(heading, [row[n] if n < len(row) else None for row in self.rows])
            for n, heading in enumerate(self.headings)
        ]

    def digits(self) -> int:
        """Return how many digits of its numbers the csv has."""
        return 12

    def remarks(self) -> str:
        """Return what is to be said below it."""
        return self.notes

    def drawn(self) -> Drawn:
        """Return the picture."""
        cells = [[shortened(number(cell), LONGEST) for cell in row] for row in self.rows]
        columns = self.columns()
        across, parts, x = WIDE if self.wide else NARROW, [], 0.0
        for n, column in enumerate(columns):
            told = [row[n] if n < len(row) else "" for row in cells]
            room = max(map(width, [column.heading, *told])) + 14
            right = numeric(column)
            at, anchor = (x + room - 14, "end") if right else (x, None)
            parts.append(text(column.heading, at, 14, anchor, "faint"))
            for row, cell in enumerate(told):
                parts.append(text(cell, at, 14 + ROW * (row + 1), anchor))
            x += room
        x = max(x - 14, 1.0)
        for row in self.highlight:
            y = 14 + ROW * (row + 1) - 13
            box = tag("rect", x=0, y=y, width=x, height=ROW - 1, class_="band c0")
            parts.insert(0, box)
        parts.append(line(0, 19, x, 19, "thin grid"))
        return Drawn(joined(*parts), max(across, x), 14 + ROW * (len(cells) + 0.5))

    def flowing(self) -> Markup:
        """Return it as a table of a page."""
        sides = ["number" if numeric(column) else None for column in self.columns()]
        heads = [
            tag("th", h, class_=s, scope="col") for h, s in zip(self.headings, sides, strict=True)
        ]
        rows = []
        for n, row in enumerate(self.rows):
            cells = [
                tag("td", number(cell), class_=side) for cell, side in zip(row, sides, strict=False)
            ]
            rows.append(tag("tr", *cells, class_="stands-out" if n in self.highlight else None))
        return tag("table", tag("thead", tag("tr", *heads)), tag("tbody", *rows))


def numeric(column: Column) -> bool:
    """Tell whether all that a column holds are numbers."""
    held = [value for value in column.values if value is not None]
    return bool(held) and all(
        isinstance(value, int | float) and not isinstance(value, bool) for value in held
    )


@dataclass(frozen=True)
class Piece:
    """A run of text with a `tag`, or with a `shade` from -1 to 1; `wrong` underlines it.

    The `title` is shown where one points at it.
    """

    text: str
    tag: str = ""
    shade: float | None = None
    wrong: bool = False
    title: str = ""


@dataclass(frozen=True)
class Tagged:
    """A text of which each piece has a colour, by its tag or by its shade."""

    title: str
    pieces: Sequence[Piece]
    legend: bool = True
    wide: bool = True
    notes: str = ""
    data: Sequence[Column] | None = None

    def columns(self) -> list[Column]:
        """Return its pieces, a row for each."""
        if self.data is not None:
            return list(self.data)
        made = [Column("text", [piece.text for piece in self.pieces])]
        if any(piece.tag for piece in self.pieces):
            made.append(Column("tag", [piece.tag for piece in self.pieces]))
        if any(piece.shade is not None for piece in self.pieces):
            made.append(Column("shade", [piece.shade for piece in self.pieces]))
        if any(piece.wrong for piece in self.pieces):
            made.append(Column("wrong", [int(piece.wrong) for piece in self.pieces]))
        if any(piece.title for piece in self.pieces):
            made.append(Column("said", [piece.title for piece in self.pieces]))
        return made

    def digits(self) -> int:
        """Return how many digits of its numbers the csv has."""
        return 4

    def remarks(self) -> str:
        """Return what is to be said below it."""
        return self.notes

    def tags(self) -> dict[str, int]:
        """Return the tags by their colours, in the order in which they come."""
        names = dict.fromkeys(piece.tag for piece in self.pieces if piece.tag)
        return {name: n for n, name in enumerate(names)}

    def drawn(self) -> Drawn:
        """Return the picture: letters of one width in lines."""
        across, letter, row = WIDE if self.wide else NARROW, 7.4, 19.0
        most, tags = int(across / letter), self.tags()
        parts, top = self._key(across)
        boxes: list[Markup] = []
        column, y = 0, top + 12
        for piece in self.pieces:
            rest = piece.text
            while rest:
                part, newline, rest = _cut(rest, most - column)
                if part:
                    x, wide = column * letter, len(part) * letter
                    boxes += _box(piece, tags, x, y, wide)
                    fit = {"textLength": f"{wide:.1f}", "xml:space": "preserve"}
                    at = {"x": f"{x:.1f}", "y": f"{y:.1f}"}
                    parts.append(tag("text", part, **at, **fit, class_="fixed"))
                    column += len(part)
                if newline:
                    column, y = 0, y + row
        return Drawn(joined(*boxes, *parts), across, y + 10)

    def _key(self, across: float) -> tuple[list[Markup], float]:
        """Return the names of the tags beside their colours, and how high they are."""
        parts: list[Markup] = []
        if not self.legend or not self.tags():
            return parts, 4.0
        x, y = 0.0, 12.0
        for name, color in self.tags().items():
            words = shortened(name, 30)
            needs = 22 + width(words) + 12
            if x and x + needs > across:
                x, y = 0.0, y + 16
            box = {"x": f"{x:.1f}", "y": f"{y - 9:.1f}", "width": 16, "height": 10}
            parts += [tag("rect", **box, class_=f"tagged c{color % 8}"), text(words, x + 22, y)]
            x += needs
        return parts, y + 10

    def flowing(self) -> Markup:
        """Return it as the text of a page."""
        tags = self.tags()
        spans = []
        for piece in self.pieces:
            classes, style = _looks(piece, tags)
            said = piece.title or piece.tag or None
            spans.append(tag("span", piece.text, class_=classes or None, style=style, title=said))
        names = [
            tag("li", tag("i", "", class_=f"tagged c{color % 8}"), name)
            for name, color in tags.items()
        ]
        key = tag("ul", *names, class_="legend") if names and self.legend else joined()
        return joined(key, tag("p", *spans, class_="tagged-text"))


def _cut(rest: str, room: int) -> tuple[str, bool, str]:
    """Return what fits into a line, whether the line ends there, and what is left."""
    end = rest.find("\n")
    if 0 <= end <= room:
        return rest[:end], True, rest[end + 1 :]
    if len(rest) >= room:
        return rest[:room], True, rest[room:]
    return rest, False, ""


def _looks(piece: Piece, tags: dict[str, int]) -> tuple[str, str | None]:
    """Return the classes of a piece of text, and the style that gives its shade."""
    classes = ["tagged", f"c{tags[piece.tag] % 8}"] if piece.tag else []
    style = None
    if piece.shade is not None and piece.shade == piece.shade:
        share = max(-1.0, min(1.0, piece.shade))
        classes = ["shaded", "low" if share < 0 else "high"]
        style = f"--share:{abs(share):.2f}"
    return " ".join(classes + ["wrong"] * piece.wrong), style


def _box(piece: Piece, tags: dict[str, int], x: float, y: float, wide: float) -> list[Markup]:
    """Return what lies behind a piece of text, and the line below one that is wrong."""
    box = {"x": f"{x:.1f}", "y": f"{y - 12:.1f}", "width": f"{wide:.1f}", "height": 16}
    parts = []
    if piece.shade is not None and piece.shade == piece.shade:
        share = max(-1.0, min(1.0, piece.shade))
        class_ = f"fill {'low' if share < 0 else 'high'}"
        parts.append(tag("rect", **box, class_=class_, fill_opacity=f"{0.55 * abs(share):.2f}"))
    elif piece.tag:
        parts.append(tag("rect", **box, class_=f"tagged c{tags[piece.tag] % 8}"))
    if piece.wrong:
        parts.append(line(x, y + 3, x + wide, y + 3, "line c3"))
    return parts
