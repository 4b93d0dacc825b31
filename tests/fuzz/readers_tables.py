"""Tables and texts as others write them, drawn at random, and how a reader may take damage."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
import warnings

import numpy as np
from hypothesis import strategies as st

from recurra import InputError, Unsuited
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions
from recurra_sources.text import Text, TextOptions

LETTERS = st.one_of(
    st.sampled_from("ab\",;\t|\r\n'\\ \ufeff\u2028\x0b\x1c\x85\x01é\u4e2d\U0001f600"),
    st.characters(codec="utf-8", exclude_characters="\0"),
)
CELLS = st.text(LETTERS, max_size=6)
QUOTED = {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}
"""A dialect that no text can break.

Python before 3.13 leaves a CR unquoted where LF ends the rows.
"""
DIALECTS = st.fixed_dictionaries(
    {"delimiter": st.sampled_from(",;\t| ^\u00a7")},
    optional={
        "quoting": st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
        "quotechar": st.sampled_from("'$\u201c"),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
    },
).map(lambda dialect: dialect if "quoting" in dialect else {"delimiter": dialect["delimiter"]})
READ_BY = st.fixed_dictionaries(
    {"missing": st.just("drop")},
    optional={
        "na": st.lists(st.sampled_from(["a", "-", "\ufeff", "0"]), max_size=2, unique=True),
        "errors": st.just("replace"),
    },
)
"""Keys of every table under which any file is read or refused."""
CSV_READ_BY = st.fixed_dictionaries(
    {},
    optional={
        "header": st.booleans(),
        "quote": st.sampled_from(["'", "", '"']),
        "comment": st.sampled_from(["#", "\u4e2d", "a"]),
    },
)
"""Keys of csv alone."""
NUMBERS_READ_BY = st.fixed_dictionaries(
    {},
    optional={
        "thousands": st.sampled_from([" ", "'", ","]),
        "percent": st.sampled_from(["share", "number"]),
    },
)
"""Keys of csv that are for numbers."""
INTRUDERS = [
    b'"',
    b"\\",
    b"\0",
    b"\xff",
    b"\r",
    b"\n",
    b",",
    b"{",
    b"\\ud800",
    b"NaN",
    b"\xef\xbb\xbf",
]
ENCODINGS = st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-32-be", "gb18030"])


@st.composite
def sheets(draw):
    """Draw names of columns that differ, and rows of texts as wide."""
    names = draw(
        st.lists(
            st.text("abc\u00e9 ;", min_size=1, max_size=4),
            min_size=1,
            max_size=3,
            unique_by=str.strip,
        )
    )
    names = [name.strip() or "z" for name in names]
    rows = draw(st.lists(st.lists(CELLS, min_size=len(names), max_size=len(names)), max_size=5))
    return names, rows


def written(names, rows, dialect, encoding="utf-8"):
    """Return the bytes of the file that Python's own csv module writes."""
    file = io.StringIO(newline="")
    writer = csv.writer(file, **dialect)
    writer.writerow(names)
    writer.writerows(rows)
    return file.getvalue().encode(encoding)


def json_lines(names, rows):
    """Return the bytes of the same rows as JSON lines.

    Letters beyond ASCII are escaped in every second one.
    """
    lines = [
        json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=n % 2 > 0)
        for n, row in enumerate(rows)
    ]
    return "".join(line + "\n" for line in lines).encode()


def source_of(kind, path, columns, **options):
    """Return the source of a kind that reads a file."""
    if kind == "text":
        return Text(TextOptions(path=str(path), **options))
    source, model = {"csv": (Csv, CsvOptions), "jsonl": (Jsonl, JsonlOptions)}[kind]
    return source(model(path=str(path), columns=columns, **options))


def outcome(source, element):
    """Return the sequences that a source gives, or the error.

    Any other exception is a fault of the reader.
    """
    sequences = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Unsuited)  # of what was replaced
            for values, start, _ in source.read(element):
                if start or not sequences:
                    sequences.append([])
                sequences[-1] += values.tolist() if isinstance(values, np.ndarray) else [values]
    except InputError as error:
        return error
    return sequences


def demand_place(error, path, lines):
    """Demand that an error names the file, and can be printed and kept.

    Where it is about a line, it names one that the file has.
    """
    message = str(error)
    message.encode()
    assert path.name in message
    for problem in error.problems:
        json.dumps(problem.record())
        for number in re.findall(rf"{re.escape(path.name)}:(\d+)|line (\d+)", problem.fact):
            assert 1 <= int(number[0] or number[1]) <= lines


def damaged(draw, raw):
    """Return bytes with one fault.

    They are cut, doubled in part, with a piece left out or exchanged, or of another encoding.
    """
    fault = draw(st.sampled_from(["cut", "double", "drop", "exchange", "insert", "encode", "pack"]))
    low = draw(st.integers(0, len(raw)))
    high = draw(st.integers(low, min(len(raw), low + 20)))

    # What lies between the two places is the piece that is doubled, dropped or exchanged.
    if fault == "cut":
        return raw[:low]
    if fault == "double":
        return raw[:high] + raw[low:]
    if fault == "drop":
        return raw[:low] + raw[high:]
    if fault == "encode":
        return raw.decode("utf-8", "replace").encode(
            draw(st.sampled_from(["utf-16", "utf-16-le", "cp1252"])), "replace"
        )
    if fault == "pack":
        return gzip.compress(raw)[: low + 12]

    middle = draw(st.sampled_from(INTRUDERS))
    return raw[:low] + middle + raw[low if fault == "insert" else high :]


def write(folder, name, raw):
    """Write a file, and return its path."""
    path = folder / name
    path.write_bytes(raw)
    os.utime(path, (1, 1))
    return path
