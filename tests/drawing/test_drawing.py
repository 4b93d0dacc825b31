"""Pictures: nothing of the data is lost, no text overlaps, and no text becomes markup."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
import struct
import xml.etree.ElementTree as ET
import zlib
from urllib.parse import unquote

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from recurra.drawing import (
    Axis,
    Band,
    Bars,
    Column,
    HeatMap,
    Line,
    Picture,
    Piece,
    Plot,
    Points,
    Rule,
    Table,
    Tagged,
)
from recurra.drawing.columns import csv_link, csv_text
from recurra.drawing.markup import tag
from recurra.drawing.png import indices, png
from recurra.drawing.scales import Scale
from recurra.drawing.thinning import kept, numbers
from recurra.drawing.words import width

SVG = "{http://www.w3.org/2000/svg}"
FLOATS = st.floats(allow_nan=True, allow_infinity=True, width=64)
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&\x00\x1b]0;\ud800"


def parsed(picture: Picture) -> ET.Element:
    """Return the root of a picture's file, which any reader of XML takes."""
    return ET.fromstring(picture.svg().encode("utf-8"))


def texts(root: ET.Element) -> list[tuple[str, float, float, float, float]]:
    """Return each level text of a file with its box: left, top, right and bottom, as measured."""
    found: list[tuple[str, float, float, float, float]] = []

    def walk(element: ET.Element, x: float, y: float) -> None:
        moved = re.match(r"translate\(([-\d.]+) ([-\d.]+)\)", element.get("transform", ""))
        if moved:
            x, y = x + float(moved[1]), y + float(moved[2])
        if element.tag == f"{SVG}text" and "rotate" not in element.get("transform", ""):
            words = element.text or ""
            size = {"title": 16, "heading": 13}.get(element.get("class", ""), 11.5)
            wide, left = width(words, size), x + float(element.get("x", 0))
            left -= {"end": wide, "middle": wide / 2}.get(element.get("text-anchor", ""), 0)
            bottom = y + float(element.get("y", 0))
            found.append((words, left, bottom - 0.8 * size, left + wide, bottom + 0.1 * size))
        for inner in element:
            walk(inner, x, y)

    walk(root, 0.0, 0.0)
    return found


def overlapping(root: ET.Element) -> list[tuple[str, str]]:
    """Return the pairs of texts of which one lies over the other."""
    boxes = texts(root)
    return [
        (a[0], b[0])
        for n, a in enumerate(boxes)
        for b in boxes[n + 1 :]
        if a[0] and b[0] and a[1] < b[3] and b[1] < a[3] and a[2] < b[4] and b[2] < a[4]
    ]


def plots(values: list[float], names: list[str]) -> list[Plot]:
    """Return a plot of each kind of marks, of any values and names."""
    places = list(range(len(values)))
    short = names[: len(values)] + ["?"] * (len(values) - len(names))
    return [
        Plot(
            names[0],
            Axis("step", whole=True),
            Axis("loss", "nats"),
            [Line(names[0], places, values)],
        ),
        Plot(
            "log",
            Axis("step"),
            Axis("norm", scale="log"),
            [Line("one", places, values), Points("two", places, values, 1), Rule("here", x=1)],
        ),
        Plot(
            "bars",
            Axis("figure"),
            Axis("", names=short),
            [Bars("one", places, values, across=True), Bars("two", places, values, 1, across=True)],
        ),
        Plot("up", Axis("", names=short), Axis("figure"), [Bars("one", places, values)]),
        Plot(
            "band",
            Axis("step"),
            Axis("value"),
            [Band("95 %", places, values, values[::-1]), Rule("level", y=2.0)],
        ),
        Plot(
            "map",
            Axis("column"),
            Axis("row", names=short),
            [HeatMap("h", [[v] * 3 for v in values])],
        ),
        Plot(
            "signs",
            Axis("column", names=short),
            Axis("row"),
            [HeatMap("h", [values], diverging=True, shown=True, pick="rows")],
        ),
    ]


@given(
    st.lists(FLOATS | st.none(), min_size=1, max_size=12),
    st.lists(st.text(max_size=30), min_size=1, max_size=5),
)
@example([1.0, 2.2250738585e-313], [""])
@example([1.0, 5e-324], [""])
@example([5e-324], [""])
@example([1e-300, 1e300, None], ["a"])
@example([1.0, 4.88e-296], [""])
@example([1.0, 1e299], [""])
@example([0.0, 0.0], ["00000000000000日日日日日"] * 2)
def test_any_values_and_names_make_a_picture_without_overlaps(
    values: list[float], names: list[str]
) -> None:
    """Whatever the data: the file is XML, no coordinate is NaN, and no text lies over another."""
    root = parsed(Picture("all", names[-1], plots(values, names), names[0]))
    assert overlapping(root) == []
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in ("x", "y", "width", "height", "cx", "cy", "d", "transform", "viewBox"):
                assert not re.search(r"nan|inf|e[+-]", value), (element.tag, key, value)


def test_the_check_of_overlaps_sees_one() -> None:
    """The measure of the law itself: two texts at one place overlap, beside each other not."""
    beside = (
        f'<svg xmlns="{SVG[1:-1]}"><text x="0" y="9">abc</text><text x="40" y="9">abc</text></svg>'
    )
    assert overlapping(ET.fromstring(beside)) == []
    assert overlapping(ET.fromstring(beside.replace('"40"', '"10"'))) == [("abc", "abc")]


@given(arrays.arrays(np.float64, st.integers(1, 3000), elements=FLOATS), st.integers(4, 400))
def test_thinning_keeps_the_ends_and_every_extreme(values: np.ndarray, most: int) -> None:
    """A thinned line begins, ends, rises and falls as far as the whole one, in its order."""
    values = numbers(values)
    places = kept(values, most)
    assert len(places) <= max(1.5 * most, 4)
    assert places[0] == 0 and places[-1] == len(values) - 1
    assert np.all(np.diff(places) > 0)
    if not np.all(np.isnan(values)):
        assert np.nanmin(values[places]) == np.nanmin(values)
        assert np.nanmax(values[places]) == np.nanmax(values)
    assert np.isnan(values[places]).any() == np.isnan(values).any()


@given(
    st.lists(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2))
)
def test_csv_is_read_back(rows: list[list[str]]) -> None:
    """What the csv module reads from a picture's csv is what was drawn, formulas made harmless."""
    columns = [Column("one", [row[0] for row in rows]), Column("two", [row[1] for row in rows])]
    back = list(csv.reader(io.StringIO(csv_text(columns), newline="")))
    assert back[0] == ["one", "two"]
    for row, came in zip(rows, back[1:], strict=True):
        for text, cell in zip(row, came, strict=True):
            assert cell in (text, f"'{text}")
            assert not cell.startswith(("=", "+", "-", "@"))


def test_a_link_holds_the_csv() -> None:
    """The address of a link is percent-encoded, safe in quotes, and gives the csv back."""
    text = csv_text(
        [Column("a<&\"'\u2028%#", [1, "x,y", None]), Column("b", [0.1 + 0.2, math.nan, "é"])]
    )
    link = csv_link(text)
    assert not set(link) & set("<>\"'&#\n\u2028")
    assert unquote(link.partition(",")[2]) == text.replace("\r\n", "\n")
    assert "0.3" in text and "nan" not in text


def test_numbers_are_written_with_the_digits_that_say_something() -> None:
    """Six digits of a float, all of an integer."""
    text = csv_text([Column("n", [123456789, 0.123456789, 1e-9, 3.0, math.inf, np.float32(0.1)])])
    assert text.split() == ["n", "123456789", "0.123457", "1e-09", "3", '""', "0.1"]


def test_lines_that_share_x_are_one_table() -> None:
    """A row for each place, blank where a line has no value; with repeated places a row a point."""
    one = Plot(
        "",
        Axis("step"),
        Axis("loss", "nats"),
        [Line("a", [1, 2], [3, 4]), Points("b", [2, 3], [5, 6])],
    )
    assert [(c.heading, list(c.values)) for c in one.columns()] == [
        ("step", [1, 2, 3]),
        ("a (nats)", [3, 4, None]),
        ("b (nats)", [None, 5, 6]),
    ]
    twice = Plot("", Axis("step"), Axis("loss"), [Points("a", [1, 1], [3, 4])])
    assert [list(c.values) for c in twice.columns()] == [["a", "a"], [1, 1], [3, 4]]


def test_a_map_is_a_table_of_its_rows() -> None:
    """A row for each row of the map, with the names of both axes."""
    shown = HeatMap("count", [[1, 2], [3, None]], unit="sequences")
    plot = Plot("", Axis("to", names=["x", "y"]), Axis("from", names=["u", "v"]), [shown])
    assert [c.heading for c in plot.columns()] == ["from", "to x (sequences)", "to y (sequences)"]
    assert plot.columns()[0].values == ["u", "v"]
    assert "v,3,\r\n" in Picture("m", "m", [plot]).csv()
    twice = Plot("", Axis("symbol", names=["l", "l"]), Axis("unit"), [shown])
    assert [c.name for c in twice.columns()] == ["unit", "symbol 0 l", "symbol 1 l"]


@pytest.mark.parametrize("where", ["title", "caption", "panel", "axis", "name", "cell", "piece"])
def test_no_text_becomes_markup(where: str) -> None:
    """Of a text with tags in it, at any place of a picture, no element and no attribute is made."""
    at = dict.fromkeys(["title", "caption", "panel", "axis", "name", "cell", "piece"], "plain")
    at[where] = HOSTILE

    def made(at: dict[str, str]) -> Picture:
        plot = Plot(
            at["panel"],
            Axis(at["axis"]),
            Axis("y"),
            [Line(at["name"], [0, 1], [1, 2]), Line("b", [0], [1])],
        )
        bars = Plot("", Axis("x"), Axis("", names=[at["axis"]]), [Bars("", [0], [1], across=True)])
        table = Table("t", [at["cell"], "n"], [[at["cell"], 1]])
        tagged = Tagged("g", [Piece(at["piece"], at["piece"], title=at["piece"], wrong=True)])
        return Picture("p", at["title"], [plot, bars, table, tagged], at["caption"])

    hostile, plain = made(at), made(dict.fromkeys(at, "plain"))
    tags = [element.tag for element in parsed(hostile).iter()]
    assert set(tags) == {element.tag for element in parsed(plain).iter()}
    for page in (hostile.html(), hostile.svg()):
        assert "<script" not in page and "<img" not in page and "\x1b" not in page
        page.encode("utf-8")
    opened = re.findall(r"<([a-z0-9]+)", hostile.html())
    assert set(opened) == set(re.findall(r"<([a-z0-9]+)", plain.html()))


def test_markup_is_made_by_tags_alone() -> None:
    """Attributes and text are escaped; what is markup already stands as it is."""
    assert tag("a", "<b>", href='"&') == '<a href="&quot;&amp;">&lt;b&gt;</a>'
    assert tag("g", tag("b", "x"), class_=None) == "<g><b>x</b></g>"


def decoded(content: bytes) -> tuple[np.ndarray, bytes, bytes]:
    """Return the indices, colours and opacities of a PNG, by its standard and nothing of ours."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(content):
        (size,) = struct.unpack(">I", content[at : at + 4])
        name, data = content[at + 4 : at + 8], content[at + 8 : at + 8 + size]
        assert struct.unpack(">I", content[at + 8 + size : at + 12 + size])[0] == zlib.crc32(
            name + data
        )
        chunks[name], at = data, at + 12 + size
    columns, rows, depth, kind = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, kind) == (8, 3) and len(chunks[b"PLTE"]) == 768 and len(chunks[b"tRNS"]) == 256
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(rows, columns + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:], chunks[b"PLTE"], chunks[b"tRNS"]


def test_a_png_holds_the_map() -> None:
    """Any reader of PNG finds each value again, to a 254th of the span; NaN is a colour apart."""
    values = np.random.default_rng(0).uniform(-3, 3, (40, 70))
    values[5, 6] = np.nan
    back, colors, alphas = decoded(png(indices(values, -3, 3), True))
    again = (back.astype(float) - 1) / 254 * 6 - 3
    assert back[5, 6] == 0 and np.count_nonzero(back == 0) == 1
    assert np.nanmax(np.abs(np.where(back == 0, np.nan, again) - values)) <= 6 / 254 / 2 + 1e-9
    # Of two hues about 0, which is clear, so that light and dark paper shine through.
    assert colors[3:6] != colors[-3:] and alphas[128] == 0 and alphas[1] == alphas[255]


def test_a_large_map_is_a_png_and_a_small_one_is_cells() -> None:
    """Both show the same: a picture of 64 units by 300 steps stays below 30 kB without its data."""
    values = np.sin(np.arange(64 * 300) / 50).reshape(64, 300)
    large = Plot("h", Axis("step"), Axis("unit"), [HeatMap("h", values, diverging=True)], wide=True)
    root = parsed(Picture("h", "h", [large]))
    (image,) = root.iter(f"{SVG}image")
    back, _, _ = decoded(base64.b64decode(image.get("href", "").partition(",")[2]))
    assert back.shape == (64, 300)
    assert len(Picture("h", "h", [large]).html(data=False)) < 30_000

    small = Plot("h", Axis("step"), Axis("unit"), [HeatMap("h", [[1, 1, 1, 0.5]])])
    cells = [
        r
        for r in parsed(Picture("h", "h", [small])).iter(f"{SVG}rect")
        if r.get("class") == "fill high"
    ]
    # 24 of the scale, less the clear one, and two of the map: three neighbours are one.
    assert len(cells) == 23 + 1


@given(st.floats(-1e12, 1e12), st.floats(1e-9, 1e12), st.integers(2, 9), st.booleans())
def test_ticks_are_round_in_order_and_told_apart(
    low: float, span: float, most: int, log: bool
) -> None:
    """Ticks lie within the axis, are not too many, and are told apart by what is written."""
    ends = np.array([max(low, 1e-9), max(low, 1e-9) + span] if log else [low, low + span])
    scale = Scale(Axis("x", scale="log" if log else "linear"), ends)
    ticks = scale.ticks(most)
    places = scale.share(np.array([tick.at for tick in ticks]))
    assert np.all((places > -1e-6) & (places < 1 + 1e-6))
    assert np.all(np.diff(places) > 0)
    assert len(ticks) <= most + 2
    if span > 1e-6 * abs(low):
        assert len({tick.text for tick in ticks}) == len(ticks) >= 1


def test_an_axis_tells_where_nothing_is_finite() -> None:
    """A plot of what is no number says so, and how many there are."""
    plot = Plot(
        "loss", Axis("step"), Axis("loss"), [Line("a", [1, 2, 3], [math.nan, math.inf, None])]
    )
    assert "no value is a finite number" in Picture("p", "p", [plot]).svg()
    assert plot.remarks() == "3 values are no finite number: a gap."


def test_a_line_breaks_at_a_gap_and_keeps_a_lonely_point() -> None:
    """What lies between two gaps is a dot: no value is drawn through a gap, and none is lost."""
    y = [1, 2, math.nan, 3, math.nan, 4, 5]
    root = parsed(Picture("p", "p", [Plot("", Axis("x"), Axis("y"), [Line("a", range(7), y)])]))
    (path,) = [e for e in root.iter(f"{SVG}path") if e.get("class") == "line c0"]
    assert path.get("d", "").count("M") == 3
    assert len(list(root.iter(f"{SVG}circle"))) == 1


def test_a_table_shortens_numbers_and_its_csv_does_not() -> None:
    """Four digits for people, all of them for programs."""
    picture = Picture("t", "t", [Table("t", ["a", "b"], [[0.123456789, "x"], [None, "y"]])])
    assert ">0.1235<" in picture.html() and "0.123456789,x" in picture.csv()


def test_sides_of_points_must_agree() -> None:
    """Points of which a side is missing are a fault of whoever draws, told with the name."""
    plot = Plot("", Axis("x"), Axis("y"), [Line("loss", [1, 2], [1])])
    with pytest.raises(ValueError, match=r"loss: \(2,\) places for \(1,\) values"):
        plot.drawn()
    with pytest.raises(ValueError, match="rows and columns"):
        Plot("", Axis("x"), Axis("y"), [HeatMap("h", [[]])]).drawn()


def test_a_picture_asks_for_nothing() -> None:
    """No address of a picture leads out of it, but the name of the language it is written in."""
    shown = HeatMap("h", np.zeros((60, 60)))
    for text in (Picture("p", "p", [Plot("", Axis("x"), Axis("y"), [shown])]).svg(),):
        addresses = re.findall(r'(?:href|src)="([^"]{0,12})|url\(|@import', text)
        assert all(address.startswith("data:") for address in addresses)
        assert re.findall(r"https?://[^\"']*", text) == ["http://www.w3.org/2000/svg"]
