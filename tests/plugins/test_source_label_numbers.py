"""Labels that are numbers: however a table writes them, they are those of the plain one."""

from __future__ import annotations

import re
import warnings
from decimal import Decimal

import numpy as np
import pytest
from dialects import tables, written
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of

from recurra import InputError, Unsuited
from recurra.data.corpus import build
from recurra.data.quantities import Quantities
from recurra_sources.given import Given, GivenOptions
from recurra_sources.inline import Inline, InlineOptions
from recurra_sources.tables import Csv, CsvOptions, JsonlOptions
from recurra_vocabularies.character import Character, CharacterOptions

laws = settings(deadline=None, max_examples=25)


def answered(source, element="numbers"):
    """Return the labels of a source whose labels are numbers, as numbers."""
    source.label_elements = "numbers"
    found = [piece.columns["label"] for piece in source.read(element) if piece.start]
    return [row.tolist() for row in Quantities.read(found)]


@laws
@given(tables(), st.sampled_from(["error", "drop"]), st.sampled_from([["a"], ["a", "b"], ["b"]]))
def test_answers_in_any_dialect_are_the_plain_ones(tmp_path_factory, table, missing, labels):
    """The columns that answer are read as those that are read; so are their gaps and markers."""
    rows, options = table
    rows = [(*row, index) for index, row in enumerate(rows)]
    folder = tmp_path_factory.mktemp("answers")
    plain = Sheet(folder, "csv").write(["a", "b", "c"], rows)
    path = folder / "other.csv"
    path.write_text(written(rows, options, ["a", "b", "c"]), encoding="utf-8", newline="")
    names = {name: name if options["header"] else str("abc".index(name) + 1) for name in "abc"}
    own = [names[label] for label in labels]
    other = Csv(
        CsvOptions(path=str(path), columns=[names["c"]], label=own, missing=missing, **options)
    )

    outcomes = []
    for source in (plain.source(["c"], label=labels, missing=missing), other):
        try:
            outcomes.append(answered(source))
        except InputError as error:
            outcomes.append(re.findall(r"\d+ cells?|all \d+ rows", error.problems[0].fact)[:1])
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize(
    ("cells", "options", "found"),
    [
        ("1.234,5|-2", {"decimal": ","}, [[1234.5], [-2]]),
        ("1 234|5", {"thousands": " "}, [[1234], [5]]),
        ("1\u00a0234|5", {"thousands": " "}, [[1234], [5]]),
        ("12,5 % 3 %|7% -1%", {"decimal": ",", "percent": "share"}, [[0.125, 0.03], [0.07, -0.01]]),
        ("1 2|3\t4", {}, [[1, 2], [3, 4]]),
    ],
)
def test_a_cell_holds_one_number_or_several(tmp_path, cells, options, found):
    """Blanks stand between numbers but where they group thousands; text is read beside them too."""
    rows = cells.split("|")
    content = "x;y\n" + "".join(f"{index};{cell}\n" for index, cell in enumerate(rows))
    for element in ("numbers", "text"):
        source = csv_of(tmp_path, content, columns=["x"], label="y", delimiter=";", **options)
        assert answered(source, element) == found
        over = source.over(source.options.path)
        assert len([*over.read(element)]) == 2


@pytest.mark.parametrize(
    ("cells", "options", "words"),
    [
        ("1|-999", {"na": ["-999"]}, "line 3, column y: '-999' is missing"),
        ("1|-999.0", {"na": ["-999"]}, "line 3, column y: '-999.0' is missing"),
        ("1 2|3 N/A", {"na": ["N/A"]}, "line 3, column y: '3 N/A' is missing"),
        ("1|", {}, "line 3, column y: nothing"),
        ("1|nan", {}, "line 3, column y: 'nan' is missing"),
        ("1|inf", {}, "line 3, column y: 'inf' is not finite"),
        ("1|2 3", {}, "line 3, column y: '2 3' holds 2 numbers, and the first label 1"),
        ("1|2 345", {}, 'first label 1: for thousands set source.thousands = " "'),
        ("1|2,5", {}, "'2,5' is not a number: for decimal commas set source.decimal = \",\""),
        ("1|1\u00a0234", {}, 'for thousands set source.thousands = " "'),
    ],
)
def test_a_label_that_is_no_number_is_refused_with_its_row(tmp_path, cells, options, words):
    """What lacks and what is no number, and more numbers than before."""
    content = "x;y\n" + "".join(f"0;{cell}\n" for cell in cells.split("|"))
    source = csv_of(tmp_path, content, columns=["x"], label="y", delimiter=";", **options)
    with pytest.raises(InputError) as caught:
        answered(source)
    (problem,) = caught.value.problems
    assert words in problem.fact and problem.key == "source.label"


def test_lists_and_several_columns_answer(tmp_path):
    """They stand one after the other; of classes a list is refused, and so are two columns."""
    lines = ['{"x": [1, 2], "l": [1.50, 2], "m": 3}', '{"x": [3], "l": ["4", -1e3], "m": "0"}']
    options = {"columns": ["x"], "label": ["l", "m"]}
    assert answered(jsonl_of(tmp_path, *lines, **options)) == [[1.5, 2, 3], [4, -1000, 0]]
    for cell in ("[1, null]", "[]", "null"):
        torn = jsonl_of(tmp_path, lines[0], f'{{"x": [3], "l": {cell}, "m": 0}}', **options)
        with pytest.raises(InputError, match="source.label: (.|\n)*line 2, column l: "):
            answered(torn)
    with pytest.raises(InputError, match="source.label: 2 columns are named, and a class is"):
        gathered(jsonl_of(tmp_path, *lines, **options), "numbers")
    for wrong, words in (([], "no column"), (["l", "l"], "2 times"), (["x", "l"], "are read")):
        with pytest.raises(ValidationError, match=words):
            JsonlOptions(path="x", columns=["x"], label=wrong)


def test_numbers_that_look_like_one_are_told(tmp_path):
    """Every cell must look so; one that does not shows that blanks stand between numbers."""
    source = csv_of(tmp_path, "x,y\n1,1 234\n2,5 678\n", columns=["x"], label="y")
    with pytest.warns(Unsuited, match=r"each cell of y holds 2 numbers(.|\n)*source.thousands"):
        assert answered(source) == [[1, 234], [5, 678]]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        content = "x,y\n1,1 234\n2,5 67\n"
        answered(csv_of(tmp_path, content, columns=["x"], label="y"))


def test_short_rows_and_headers_that_are_none_name_what_helps(tmp_path):
    """Of text nothing goes forward; a column that is called by its number asks for no header."""
    short = "x,y\na,b\nc\n"
    with pytest.raises(InputError, match='set source.missing = "drop": then'):
        gathered(csv_of(tmp_path, short, columns=["x"], label="y"), "text")
    with pytest.raises(InputError, match='set source.missing = "drop" or "forward": then'):
        gathered(csv_of(tmp_path, short, columns=["x"], group="y"), "tokens")
    with pytest.raises(InputError, match="set source.header = false"):
        gathered(csv_of(tmp_path, "5,x\n6,y\n", columns=["1"], label="2"), "numbers")


def test_the_cache_knows_what_labels_are(tmp_path):
    """What was kept of a file for its classes is not taken for its numbers, which are looked at."""
    source = csv_of(tmp_path, "x,y\nab,1\nba,two\n", columns=["x"], label="y")
    kept = build(source, Character(CharacterOptions()), 1, roles=("label",))
    assert kept.columns["label"] == ["1", "two"]
    source.label_elements = "numbers"
    with pytest.raises(InputError, match="line 3, column y: 'two' is not a number"):
        build(source, Character(CharacterOptions()), 1, roles=("label",))


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (np.array([[1.5, 2], [3, 4]]), [[1.5, 2], [3, 4]]),
        ([[1.5, 2], (3, np.float32(4))], [[1.5, 2], [3, 4]]),
        (["1.5 2", "3 4"], [[1.5, 2], [3, 4]]),
        ([1.5, Decimal("2")], [[1.5], [2]]),
        (["1.5", np.int64(2)], [[1.5], [2]]),
    ],
)
@pytest.mark.parametrize("parts", [[[1.0], [2.0, 3.0]], ["a", "b"]])
def test_labels_given_in_python_are_numbers(label, found, parts):
    """Arrays, lists, numbers and texts, whether the sequences are numbers or text."""
    source = Given(GivenOptions())
    source.take({"input": parts, "label": label})
    assert answered(source, "text" if parts[0] == "a" else "numbers") == found
    source.take({"input": parts, "label": [True, False]})
    with pytest.raises(InputError, match=r"row 0, column label: True is not a number"):
        answered(source, "text" if parts[0] == "a" else "numbers")


def test_lists_of_the_task_file_answer():
    """A list of numbers for each sequence is what the text of them is; no class has such a name."""
    for labels in ([[1.5, 2], [3, 4]], ["1.5 2", "3 4"]):
        assert answered(Inline(InlineOptions(texts=["a", "b"], labels=labels)), "text") == [
            [1.5, 2],
            [3, 4],
        ]
    with pytest.raises(InputError, match=r"source.labels: labels\[0\] is a list, and a class"):
        gathered(Inline(InlineOptions(texts=["a"], labels=[[1, 2]])))
    with pytest.raises(ValidationError, match=r"labels\[0\] is empty"):
        InlineOptions(texts=["a"], labels=[[]])


@pytest.mark.parametrize(
    ("cells", "found"), [([1.0, -999, 3.0], [1, 0, 3]), ([1.0, None, 3.0], [1, 0, 3])]
)
def test_markers_among_numbers_given_in_python(cells, found):
    """What stands for nothing is missing, as in a file."""
    source = Given(GivenOptions(columns=["x"], na=["-999.0"], missing="drop"))
    source.take({"x": cells})
    assert gathered(source, "numbers") == [[[number] for number in found if number]]
