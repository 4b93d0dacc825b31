"""Tables as Python's csv module and pandas read them, each of which knows nothing of recurra."""

from __future__ import annotations

import csv
import io

import numpy as np
import pytest
from dialects import tables, written
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sheets import csv_of

from recurra import InputError
from recurra_sources import csv_rows
from recurra_sources.csv_rows import Form

laws = settings(deadline=None, max_examples=60)


def is_blank(cells):
    return not cells or (len(cells) == 1 and not cells[0].strip())


@laws
@given(
    st.text("a1\"';,\n\r \t#", max_size=40),
    st.sampled_from(",;\t "),
    st.sampled_from(['"', "'", ""]),
)
def test_rows_are_those_of_python(tmp_path_factory, content, delimiter, quote):
    """Of any text at all, but for blank lines; what Python refuses is refused."""
    dialect = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    path = tmp_path_factory.getbasetemp() / "table.csv"
    form = Form(delimiter, quote)
    try:
        lines = io.StringIO(content, newline="")
        wanted = [*csv.reader(lines, delimiter=delimiter, strict=True, **dialect)]
    except csv.Error:
        with pytest.raises(InputError, match=r"RC042"):
            [*csv_rows.rows(io.StringIO(content, newline=""), path, form)]
        return
    found = [cells for _, cells in csv_rows.rows(io.StringIO(content, newline=""), path, form)]
    assert [row for row in found if not is_blank(row)] == [
        row for row in wanted if not is_blank(row)
    ]


@laws
@given(
    tables(),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_numbers_are_those_of_pandas(tmp_path_factory, table, encoding, end, ended):
    """Rows that lack a number left out, in whatever dialect and encoding, ends of lines and an
    empty cell at the end of each row.
    """
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    rows, options = table
    assume(options["decimal"].isascii() and options["comment"] != "//")
    content = written(rows, options).replace("\n", (options["delimiter"] if ended else "") + end)
    path = tmp_path_factory.mktemp("pandas") / "table.csv"
    path.write_bytes(content.encode(encoding))
    named = {"header": 0} if options["header"] else {"header": None}
    if options["comment"]:
        named["comment"] = options["comment"]
    quoting = csv.QUOTE_MINIMAL if options["quote"] else csv.QUOTE_NONE
    frame = pandas.read_csv(
        path, sep=options["delimiter"], quotechar=options["quote"] or '"', quoting=quoting,
        decimal=options["decimal"], thousands=options["thousands"], encoding=encoding,
        na_values=options["na"], index_col=False, usecols=[0, 1], **named,
    )  # fmt: skip
    wanted = frame.dropna().to_numpy(np.float64)

    columns = ["a", "b"] if options["header"] else ["1", "2"]
    source = csv_of(path.parent, "", columns=columns, encoding=encoding, missing="drop", **options)
    path.write_bytes(content.encode(encoding))
    if not len(wanted):
        with pytest.raises(InputError, match="leaves out all"):
            [*source.read("numbers")]
        return
    found = np.concatenate([piece.values for piece in source.read("numbers")])
    # What pandas reads with marks between thousands may differ in the last digit.
    np.testing.assert_allclose(found, wanted, rtol=1e-14, atol=0)


def test_an_empty_cell_in_quotes_is_a_first_row(tmp_path):
    """It is a cell, where a blank line is none."""
    source = csv_of(tmp_path, '\n""\n1\n', columns=["1"], header=False, missing="drop")
    assert [piece.values.tolist() for piece in source.read("numbers")] == [[[1]]]
    assert [piece.values for piece in source.read("text")] == ["", "1"]
