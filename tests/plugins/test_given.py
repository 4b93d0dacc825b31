"""Data given in Python: what is read of each form, what is refused, and the contract."""

from __future__ import annotations

import re
import warnings
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra_sources
from recurra import Component, InputError, Piece, Unsuited
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


class Tensor:
    """A number, or several, of a library that NumPy can read."""

    def __init__(self, values: Any, dtype: Any = None) -> None:
        self.values = np.array(values, dtype)
        self.ndim = self.values.ndim

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return self.values


def detached() -> Any:
    """Return what NumPy cannot read, and says so."""

    class Kept(Tensor):
        def detach(self) -> Any:
            return self

        def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
            raise RuntimeError("it requires grad")

    return Kept([1.0])


@given(
    labels=st.lists(st.integers(-9, 9), min_size=1, max_size=4),
    dtype=st.sampled_from(["int8", "int64", "uint16"]),
)
@settings(max_examples=10)
def test_names_are_the_same_of_every_array(labels: list[int], dtype: str) -> None:
    """Labels and tags that are numbers have one name, whatever library gives them."""
    named = [str(np.array(label).astype(dtype)) for label in labels]
    array = np.array(labels).astype(dtype)
    rows = [[float(index)] for index in range(len(labels))]
    masked = np.ma.MaskedArray(array, [False] * len(labels))
    for given_labels in (array, array.tolist(), Tensor(array), masked, [*map(Tensor, array)]):
        found = pieces({"input": rows, "label": given_labels})
        assert [piece.columns["label"] for piece in found] == named
    for tags in (array, array.tolist(), Tensor(array), tuple(array), masked):
        for element, one in (("text", "a" * len(labels)), ("tokens", ["a"] * len(labels))):
            (piece,) = pieces({"input": [one], "tags": [tags]}, element)
            assert piece.columns["tags"] == named
        assert named == pieces({"input": [array], "tags": [tags]})[0].columns["tags"]


def test_what_is_masked_is_missing_of_every_type() -> None:
    """Texts, whole numbers and labels too."""
    masked = np.ma.MaskedArray(["a", "b"], [False, True])
    assert sequences(masked, "tokens", missing="forward") == [["a", "a"]]
    assert sequences(np.ma.MaskedArray([1, 2], [True, False]), missing="drop") == [[[2.0]]]
    with pytest.raises(InputError, match="row 1, column label: nothing"):
        pieces({"input": ["a", "b"], "label": masked}, "text")


def test_a_structured_array_is_a_table() -> None:
    """Its elements are rows of named fields, as those of a DataFrame."""
    rows = [(1.0, 2, "a"), (3.0, 4, "b")]
    array = np.array(rows, [("x", "f4"), ("y", "i8"), ("l", "U1")])
    for table in (array, array.view(np.recarray)):
        assert sequences(table, columns=["x", "y"]) == [[[1.0, 2.0], [3.0, 4.0]]]
        found = pieces(table, columns=["y"], label="l")
        assert [dict(piece.columns) for piece in found] == [{"label": "a"}, {"label": "b"}]


def test_tables_of_other_libraries_are_read() -> None:
    """One whose `columns` are the columns has `column_names`; a column is whatever has an order."""
    arrow = Frame({"x": deque([1.0, 2.0]), "y": range(2)})
    arrow.columns = [[1.0, 2.0], [0, 1]]
    arrow.column_names = ["x", "y"]  # type: ignore[attr-defined]
    assert sequences(arrow) == [[[1.0, 0.0], [2.0, 1.0]]]
    assert source(arrow).features() == ["x", "y"]

    lazy = Frame({}, ["x"])
    lazy.collect = dict  # type: ignore[attr-defined]
    with pytest.raises(InputError, match=r"by their names(.|\n)*collect\(\)"):
        source(lazy)


@given(rows=st.lists(st.integers(-9, 9) | st.none(), min_size=1, max_size=5).filter(any))
@settings(max_examples=10)
def test_the_hash_is_that_of_the_numbers(rows: list[int | None]) -> None:
    """The same numbers of other types are the same data, also where some are missing."""
    floats = [None if row is None else float(row) for row in rows]
    singles = [None if row is None else np.float32(row) for row in rows]
    nothing = np.array([np.nan if row is None else row for row in rows])
    hashes = {source(rows).fingerprint(), source(floats).fingerprint()}
    hashes |= {source(singles).fingerprint(), source({"input": rows}).fingerprint()}
    assert len(hashes) == 1
    column = source(nothing).fingerprint(), source(nothing[:, None]).fingerprint()
    assert column[0] == column[1]
    names = [source({"input": ["a"], "label": [one]}).fingerprint() for one in (1, 1.0)]
    assert names[0] != names[1]


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
    "records": ([{"x": 1}, {"x": 2}], r"list of dicts(.|\n)*'x': \[...\]"),
    "range": (range(3), "of type range(.|\n)*list"),
    "view": ({"x": {"a": 1}.values()}, "'x' of the data is a dict_values(.|\n)*list"),
    "times": ([timedelta(1), 1.0], "row 0, column input: .* no number"),
    "spans in a list": ([np.timedelta64(1, "D"), 1], "is a timedelta64, and no number"),
    "grad": ([[1.0], detached()], "row 1 of column 'input'.* requires grad(.|\n)*detach"),
    "role": (
        {"input": [[1.0]], "labels": ["a"]},
        "'labels' beside 'input'(.|\n)*did you mean: label",
    ),
    "weight": ({"input": [[1.0]], "label": ["a"], "weight": [2.0]}, "column 'weight' beside"),
    "one a row": ({"x": np.zeros((3, 1)), "y": [1, 2, 3]}, "x: 1, y: no list"),
    "name of a date": (
        {"input": [[1.0]], "label": np.array(["2020-01-01"], "M8[D]")},
        "row 0, column label: .*is no name: str",
    ),
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


def test_columns_that_may_well_be_features_are_read() -> None:
    """A column called `input` beside numbers of other names is one of them."""
    assert sequences({"input": [1.0], "output": [2.0]}) == [[[1.0, 2.0]]]
    said = {"columns": ["input"], "label": "labels"}
    (piece,) = pieces({"input": ["ab"], "labels": ["x"]}, "text", **said)
    assert piece.columns["label"] == "x"


def test_another_form_than_that_of_the_run_is_told() -> None:
    """An opened run, whose task names its columns, is given what it had."""
    made = source(np.zeros(3)).options
    again = validate_options(GivenOptions, made.model_dump(), lambda value, _: value)
    with pytest.raises(InputError, match=r"array \[2, 2\].* was an array \[3\]"):
        Given(again).take(np.zeros((2, 2)))
    assert Given(again).take(np.zeros((3, 1))).fingerprint == made.fingerprint


def test_others_are_not_proposed_where_they_are_read_alone() -> None:
    """A label that cannot be read is no fault of the columns, and that of a group is of its key."""
    days = np.array(["2020-01-01"], "M8[D]")
    for role in ("label", "group"):
        with pytest.raises(InputError) as caught:
            pieces({"x": [1.0], "l": days}, columns=["x"], **{role: "l"})
        (problem,) = caught.value.problems
        assert problem.key == f"source.{role}" and "read others" not in problem.cure


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
        ([10, 15, 20, 25], None),
        ([10, 15, 25, 30], 2),
        ([datetime(2024, 3, day, tzinfo=UTC) for day in (7, 8, 11, 12)], None),
        ([datetime(2024, month, 7, tzinfo=UTC) for month in (1, 2, 3, 12)], 3),
        ([SimpleNamespace(ordinal=month) for month in (648, 649, 650, 651)], None),
        ([SimpleNamespace(ordinal=month) for month in (648, 649, 651, 652)], 2),
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
        made = source(frame, columns=["x"])
        assert len(list(made.read("numbers"))) == len(list(made.read("numbers"))) == 1
    told = [str(warning.message) for warning in caught]
    assert len(told) == (row is not None)
    assert all(f"before row {row};" in text for text in told)

    # By groups, and of texts, nothing says that a row follows the one before it.
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pieces(frame, columns=["x"], group="g")
        pieces(frame, "text", columns=["g"])


class Index:
    """The index of a table, or of a column."""

    def __init__(self, rows: list[Any], nlevels: int = 1) -> None:
        self.rows, self.nlevels = rows, nlevels

    def __array__(self, dtype: Any = None, copy: Any = None) -> Any:
        return np.array(self.rows)

    def __getitem__(self, row: int) -> Any:
        return self.rows[row]


class Column(list[float]):
    """The column of a library that numbers its rows."""

    def __init__(self, cells: list[float], rows: list[int]) -> None:
        super().__init__(cells)
        self.index = Index(rows)  # type: ignore[assignment]


def test_what_an_index_says_against_the_rows_is_told() -> None:
    """Levels of an index part series, and Series of unlike indices are not side by side."""
    frame = Frame({"x": [1.0, 2.0]})
    frame.index = Index([0, 1], nlevels=2)
    with pytest.warns(Unsuited, match=r"2 levels(.|\n)*reset_index"):
        pieces(frame)
    shifted = {"x": Column([1.0, 2.0], [0, 1]), "y": Column([1.0, 2.0], [1, 2])}
    with pytest.warns(Unsuited, match="'x' and 'y' of the data have different indices"):
        pieces(shifted)
    with pytest.warns(Unsuited, match="jumps from 1 to 7, before row 2"):
        pieces({"x": Column([1.0, 2.0, 3.0], [0, 1, 7]), "y": [1.0, 2.0, 3.0]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        alike = {"x": Column([1.0, 2.0], [4, 5]), "y": Column([1.0, 2.0], [4, 5])}
        assert sequences(alike) == [[[1.0, 1.0], [2.0, 2.0]]]


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
    beside = {"past_covariates": ["low"], "future_covariates": ["name"]}
    tables.append({"columns": ["high"], "group": "station", **beside})
    examination = Examination(Entry(filled, own.plugin), sets=tables)
    names = {"P05", "P09", "S01", "S02", "S03", "S08", "S09", "S10", "S14"}
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
