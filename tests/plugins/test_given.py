"""Data given in Python: what is read of each form, what is refused, and the contract."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra_sources
from recurra import Component, InputError, Piece
from recurra.catalog import Entry, discover
from recurra.contracts.options import validate_options
from recurra.testing.suite import Examination
from recurra_sources.given import Given, GivenOptions


class Frame:
    """A table of a library that nobody has installed: it has columns, and gives each by name."""

    def __init__(self, columns: dict[Any, Any], names: list[Any] | None = None) -> None:
        self._columns = columns
        self.columns = list(columns) if names is None else names
        self.index: Any = None

    def __getitem__(self, name: Any) -> Any:
        return self._columns[name]


class NA:
    """What pandas puts where nothing is."""

    def __init__(self) -> None:
        type(self).__name__ = "NAType"


def source(data: Any, **options: Any) -> Given:
    """Return the source of some data."""
    made = Given(GivenOptions.model_validate(options))
    made.take(data)
    return made


def pieces(data: Any, element: Any = "numbers", **options: Any) -> list[Piece]:
    """Return what the source of some data gives."""
    return list(source(data, **options).read(element))


def sequences(data: Any, element: Any = "numbers", **options: Any) -> list[Any]:
    """Return the sequences of some data, as lists."""
    found: list[Any] = []
    for piece in pieces(data, element, **options):
        values = piece.values.tolist() if element == "numbers" else piece.values
        if piece.start:
            found.append(values)
        else:
            found[-1] += values
    return found


# forms that mean the same


@given(
    rows=st.lists(st.tuples(st.integers(-9, 9), st.floats(-9, 9)), min_size=1, max_size=6),
    missing=st.sampled_from(["error", "forward", "drop"]),
)
@settings(max_examples=10)
def test_every_form_of_a_series_is_one(rows: list[tuple[int, float]], missing: str) -> None:
    """An array, lists, and a table by columns give one series of float64, and have one hash."""
    array = np.array(rows, np.float64)
    table = {"x": [x for x, _ in rows], "y": array[:, 1]}
    expected = [array.tolist()]
    assert sequences(array) == sequences([array], missing=missing) == expected
    assert sequences(table) == sequences(Frame(table)) == expected
    assert sequences([list(map(list, rows))]) == expected
    assert source(table).fingerprint() == source(Frame(table)).fingerprint()
    assert source([array]).fingerprint() == source([array.tolist()]).fingerprint()
    assert source(array).fingerprint() != source(array + 1).fingerprint()


@given(st.lists(st.lists(st.floats(-9, 9), min_size=1, max_size=4), min_size=1, max_size=5))
@settings(max_examples=10)
def test_a_list_holds_sequences(lists: list[list[float]]) -> None:
    """Each is a series of its own, whatever holds it, read all at once or row by row."""
    expected = [[[step] for step in steps] for steps in lists]
    assert sequences(lists) == sequences(list(map(np.array, lists))) == expected
    made = source(lists)
    slow = list(super(Given, made).read("numbers"))
    assert [piece.values.tolist() for piece in slow] == expected


def test_an_array_of_three_axes_is_a_row_of_sequences_in_a_dict() -> None:
    """Where a label stands beside it, its first axis counts the rows."""
    cube = np.arange(12.0).reshape(2, 3, 2)
    found = pieces({"input": cube, "label": np.array([3, 5])})
    assert [piece.values.tolist() for piece in found] == cube.tolist()
    assert [dict(piece.columns) for piece in found] == [{"label": "3"}, {"label": "5"}]
    assert source({"input": cube, "label": [3, 5]}).features() == ["input[0]", "input[1]"]


def test_text_and_tokens() -> None:
    """A text is one; a list of texts holds texts, or one sequence of tokens."""
    assert sequences("abc", "text") == ["abc"]
    assert sequences(["abc", "", "d"], "text") == ["abc", "", "d"]
    assert sequences(["abc", "d"], "tokens") == [["abc", "d"]]
    assert sequences(np.array(["abc", "d"]), "tokens") == [["abc", "d"]]
    assert sequences([["a", "b"], np.array(["c"])], "tokens") == [["a", "b"], ["c"]]


def test_a_table_is_read_as_a_csv_is() -> None:
    """Groups, labels, folds and missing cells mean what they mean in a file."""
    table = Frame({"x": [1, None, 3.0, NA()], "g": [1, 1, 2, 2], "c": ["a", "a", "b", "b"]})
    said = {"columns": ["x"], "group": "g", "label": "c"}
    found = pieces(table, **said, missing="forward")
    assert [piece.values.tolist() for piece in found] == [[[1.0], [1.0]], [[3.0], [3.0]]]
    assert [dict(piece.columns)["label"] for piece in found] == ["a", "b"]
    made = source(table, **said, missing="drop")
    assert [piece.values.tolist() for piece in made.read("numbers")] == [[[1.0]], [[3.0]]]
    folds = {"input": [[1.0], [2.0]], "fold": ["train", "test"]}
    assert [dict(piece.columns) for piece in pieces(folds)] == [
        {"fold": "train"},
        {"fold": "test"},
    ]


def test_what_is_masked_or_nothing_is_missing() -> None:
    """A masked array, nan and NA are cells that hold nothing."""
    masked = np.ma.MaskedArray([1.0, 2.0], [False, True])
    assert sequences(masked, missing="forward") == [[[1.0], [1.0]]]
    assert sequences([1.0, float("nan"), NA()], missing="forward") == [[[1.0]] * 3]


def test_a_run_records_what_was_given() -> None:
    """The options say what it was in words, its hash, and which columns were read."""
    made = source(Frame({"x": [1.0], "y": [2.0], "g": ["a"]}), group="g")
    assert made.options.columns == ["x", "y"] and made.features() == ["x", "y"]
    assert made.options.content == "a Frame of 1 rows: x, y, g"
    again = validate_options(GivenOptions, made.options.model_dump(), lambda value, _: value)
    assert set(Given(again).columns()) == {"input"}
    assert Given(again).fingerprint() == made.fingerprint()
    assert set(Given(GivenOptions(label="c")).columns()) == {"input", "label"}


# what is refused


def generator() -> Iterator[int]:
    """Give numbers once."""
    yield from (1, 2)


WRONG: dict[str, tuple[Any, str]] = {
    "generator": (generator(), "generator(.|\n)*list"),
    "generator in a column": ({"x": generator()}, "'x' of the data is a generator(.|\n)*list"),
    "set": ({1, 2}, "set(.|\n)*allowed: an array"),
    "number": (3, "int(.|\n)*allowed: an array"),
    "bytes": (b"ab", "bytes(.|\n)*decode"),
    "axes": (np.zeros((2, 2, 2)), r"\[2, 2, 2\](.|\n)*list\(array\)"),
    "no axis": (np.float64(1), "float64"),
    "inner axes": ([np.zeros((2, 2, 2))], r"row 0 .*\[2, 2, 2\]"),
    "empty": ([], "no rows"),
    "empty table": ({}, "without a column"),
    "empty sequence": ([[1.0], []], "row 1, column input: nothing"),
    "ragged": ([[1, [2, 3]]], "same number of features"),
    "widths": ([np.zeros((2, 2)), np.zeros((2, 3))], "same number of features"),
    "lengths": ({"x": [1], "y": [1, 2]}, "different numbers of rows(.|\n)*x: 1, y: 2"),
    "twice": (Frame({"x": [1]}, ["x", "x"]), "several columns 'x'"),
    "twice as text": ({1: [1], "1": [1]}, "several columns '1'"),
    "name": ({("a", "b"): [1]}, "which is no text"),
    "mixed": ([[1, 2], 3], "row 1 of column 'input' is 3, and others hold whole sequences"),
    "objects": ([1.0, "a"], "row 1, column input: 'a' is text"),
    "nan": ([1.0, float("nan")], "row 1, column input: nothing(.|\n)*source.missing"),
    "infinite": ([1.0, float("inf")], "row 1, column input: inf is not finite"),
    "large": ([1, 10**400], "row 1, column input: 10+\\.* is not finite"),
    "truth": ([True, False], "True is a truth value"),
    "dates": (np.array(["2020-01-01"], "M8[ns]"), "is a datetime64, and no number"),
    "spans": (np.array([3], "m8[ns]"), "is a timedelta64, and no number"),
    "complex": ([1j], "is a complex, and no number"),
    "label": ({"input": [[1.0]], "label": [None]}, "row 0, column label: missing"),
    "fold": ({"input": [[1.0]], "fold": ["new"]}, "'new' is none of train"),
    "text in a column": ({"x": "abc"}, "'x' of the data is a str"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_data_is_refused_with_its_place(name: str) -> None:
    """A wrong form, or a wrong cell, is told with its row and what to do."""
    data, said = WRONG[name]
    with pytest.raises(InputError) as caught:
        pieces(data)
    assert re.search(said, str(caught.value)), caught.value


def test_numbers_are_no_names() -> None:
    """Numbers under a vocabulary of symbols are refused, with what makes names of them."""
    for data in ([1, 2], [[1, 2], [3]], np.zeros(3)):
        for element in ("text", "tokens"):
            with pytest.raises(InputError, match=r"str\(x\)(.|\n)*numeric"):
                pieces(data, element)


def test_columns_of_what_has_none_are_refused() -> None:
    """What [source] says of columns holds for tables alone, and a column must be there."""
    with pytest.raises(InputError, match="which has no columns"):
        source([1.0], columns=["x"])
    with pytest.raises(InputError, match=r"no column 'y'(.|\n)*allowed: x"):
        source({"x": [1.0]}, columns=["y"])
    with pytest.raises(ValueError, match="content and fingerprint"):
        GivenOptions(content="an array")


@pytest.mark.parametrize(
    ("index", "row"),
    [
        ([0, 1, 2, 3], None),
        ([7, 8, 9, 10], None),
        ([0, 1, 4, 5], 2),
        ([0, 1, 0, 1], 2),
        ([0, 0, 1, 2], 1),
        (np.array(["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"], "M8[D]"), None),
        (np.array(["2024-03-07", "2024-03-08", "2024-03-11", "2024-03-12"], "M8[D]"), None),
        (np.array(["2024-03-07", "2024-03-08", "2024-04-11", "2024-04-12"], "M8[D]"), 2),
        (["a", "b", "d", "c"], None),
    ],
)
def test_an_index_with_gaps_is_told(index: Any, row: int | None) -> None:
    """Rows of one series are its steps: an index that says otherwise is not ignored silently."""
    frame = Frame({"x": [1.0, 2.0, 3.0, 4.0], "g": ["a", "a", "b", "b"]})
    frame.index = np.asarray(index)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        source(frame, columns=["x"])
    told = [str(warning.message) for warning in caught]
    assert len(told) == (row is not None)
    assert all(f"before row {row};" in text for text in told)

    # By groups nothing says that a row follows the one before it.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        source(frame, columns=["x"], group="g")


def test_a_column_none_of_which_can_be_read_is_left_out() -> None:
    """Where every row fails by some columns, the others are told."""
    table = {"day": ["mon", "tue"], "x": [1.0, 2.0]}
    with pytest.raises(InputError, match=r'source.columns = \["x"\]'):
        pieces(table)
    with pytest.raises(InputError) as caught:
        pieces({"day": ["1", "tue"], "x": [1.0, 2.0], "y": [1.0, None]}, columns=["x", "y"])
    assert "read others" not in str(caught.value)


def test_without_data_it_says_how_to_give_it() -> None:
    """Asked for sequences that nobody gave, it says what was given once, and how to do so again."""
    again = GivenOptions(content="an array [3] of float64", fingerprint="sha256:0")
    with pytest.raises(InputError, match=r"array \[3\](.|\n)*evaluate\(data=...\)"):
        list(Given(again).read("numbers"))


# the contract


class Filled(Given):
    """The source, with a table that it always holds."""

    def __init__(self, options: GivenOptions) -> None:
        super().__init__(options)
        weather = {"high": [1.0, 2.0, 4.0], "low": [0.5, 1.0, 2.0], "station": ["a", "a", "b"]}
        weather["name"] = ["warm", "cold", "warm"]
        self.take(weather)


def test_with_data_it_keeps_the_contract_of_a_source() -> None:
    """The suite holds it to what it holds every source to, once there is something to read."""
    (own,) = [e for e in discover().of_kind("source") if e.component.name == "given"]
    home = __name__
    options = "recurra_sources.given:GivenOptions"
    filled = Component("source", "filled", f"{home}:Filled", options, "it has data")
    # Those of a csv about the same columns, but for what is of files alone.
    tables = [
        {key: value for key, value in table.items() if key != "path"}
        for table in recurra_sources.EXAMPLES["csv"]
        if "weather" in table["path"]
        and table.keys() <= {"path", *GivenOptions.model_fields}
        and {*table["columns"]} <= {"high", "low", "name"}
    ]
    assert len(tables) >= 5
    examination = Examination(Entry(filled, own.plugin), sets=tables)
    names = {"P05", "P09", "S01", "S02", "S03", "S08", "S09", "S10"}
    records = [examination.run(check) for check in examination.chosen(names)]
    assert [str(r) for r in records if r.verdict != "PASS"] == []
    assert len(records) == len(names)


@pytest.mark.parametrize(
    ("element", "rows"),
    [
        ("text", ["ab", "c"]),
        ("tokens", [["a", "b"], ["c"]]),
        ("numbers", [[1.0, 2.0], [3.0]]),
        ("numbers", [np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[5.0, 6.0]])]),
    ],
)
def test_tags_stand_beside_elements(element: Any, rows: list[Any]) -> None:
    """A dict may hold `tags`, a list for each sequence; another count of them is refused."""
    found = pieces({"input": rows, "tags": [["x", "y"], ["x"]]}, element)
    assert [len(piece.values) for piece in found] == [2, 1]
    assert [piece.columns["tags"] for piece in found] == [["x", "y"], ["x"]]
    with pytest.raises(InputError, match="1 tags for 2 .*RC042") as caught:
        pieces({"input": rows, "tags": [["x"], ["x"]]}, element)
    assert caught.value.problems[0].key == "source.tags"
