"""Tables drawn at random, and the dialects that they are written in."""

from __future__ import annotations

from hypothesis import assume
from hypothesis import strategies as st

MARKS = st.sampled_from(["-999", "N/A", "-", "?", "n.a."])


@st.composite
def tables(draw):
    """Draw two columns of numbers, some of them missing, and how a table writes them."""
    number = st.one_of(
        st.none(),
        st.integers(-(10**9), 10**9).filter(lambda n: n != -999),
        st.floats(-1e6, 1e6, allow_nan=False).map(lambda x: round(x, 3)),
    )
    rows = draw(st.lists(st.tuples(number, number), min_size=1, max_size=6))
    decimal = draw(st.sampled_from([".", ",", "\u00b7"]))
    thousands = draw(st.sampled_from([None, " ", ",", ".", "'", "_"]))
    assume(thousands != decimal)
    options = {
        "delimiter": draw(st.sampled_from([";", "\t", "|", "^"])),
        "quote": draw(st.sampled_from(['"', "$", ""])),
        "decimal": decimal,
        "thousands": thousands,
        "comment": draw(st.sampled_from(["", "#", "//"])),
        "header": draw(st.booleans()),
        "na": draw(st.lists(MARKS, max_size=3, unique=True)),
    }
    return rows, options


def cell_of(number, options, place):
    """Return a number as a dialect writes it; what is missing is a marker, or nothing."""
    if number is None:
        written = ["", *options["na"]][place % (len(options["na"]) + 1)]
    else:
        mark = {None: ""}.get(options["thousands"], options["thousands"])
        digits = f"{number:,}" if place % 2 and mark else f"{number!r}"
        if "e" in digits:
            digits = f"{number:.3f}"
        written = digits.translate({ord(","): mark, ord("."): options["decimal"]})
    quote = options["quote"]
    return f"{quote}{written}{quote}" if place % 3 == 0 else written


def written(rows, options, names=("a", "b")):
    """Return a table in a dialect, with comments between its rows where it has such."""
    lines = [[*names]] if options["header"] else []
    for index, row in enumerate(rows):
        lines.append([cell_of(cell, options, index + place) for place, cell in enumerate(row)])
    joined = [options["delimiter"].join(line) for line in lines]
    comment = options["comment"]
    if comment:
        joined = [line for each in joined for line in (f'{comment} a "note;', each)]
    return "".join(f"{line}\n" for line in joined)
