"""The split of a sequence, where a column of the data says it: what a plain reading gives, and a
place for a fault.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, gathered, jsonl_of

from recurra import InputError
from recurra_sources.inline import Inline, InlineOptions

FOLDS = ["train", "validation", "test"]


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def folded(source, element="text"):
    """Return the sequences of a source, each with its label, if it has one, and its fold."""
    said = []
    for _, start, columns in source.read(element):
        assert start or not columns
        said += [(columns.get("label"), columns["fold"])] if start else []
    return [(values, *rest) for values, rest in zip(gathered(source, element), said, strict=True)]


@settings(max_examples=30, deadline=None)
@given(
    groups=st.lists(
        st.tuples(st.lists(st.integers(-9, 9), min_size=1, max_size=4), st.sampled_from(FOLDS)),
        min_size=1,
    ),
    element=st.sampled_from(["text", "tokens", "numbers"]),
    kind=st.sampled_from(["csv", "jsonl"]),
    labelled=st.booleans(),
)
def test_each_group_has_its_fold(groups, element, kind, labelled, tmp_path_factory):
    """With labels or without; its values are those that it has without a fold."""
    sheet = Sheet(tmp_path_factory.mktemp("folds"), kind)
    cells = [
        [index, str(x), fold, "ab"[len(xs) % 2]]
        for index, (xs, fold) in enumerate(groups)
        for x in xs
    ]
    sheet.write(["g", "x", "f", "l"], cells)
    label = {"label": "l"} if labelled else {}
    found = folded(sheet.source(["x"], group="g", fold="f", **label), element)
    assert [values for values, _, _ in found] == gathered(sheet.source(["x"], group="g"), element)
    wanted = [("ab"[len(xs) % 2] if labelled else None, fold) for xs, fold in groups]
    assert [(label, fold) for _, label, fold in found] == wanted


def test_each_row_is_a_sequence_where_it_has_a_fold(sheet):
    """As with a label: a text, or tokens between spaces; without both the rows of tokens are one
    sequence.
    """
    sheet.write(["x", "f"], [["a b", "train"], ["c", "test"], ["d", "train"]])
    source = sheet.source(["x"], fold="f")
    assert folded(source) == [("a b", None, "train"), ("c", None, "test"), ("d", None, "train")]
    assert [values for values, _, _ in folded(source, "tokens")] == [["a", "b"], ["c"], ["d"]]
    assert gathered(sheet.source(["x"]), "tokens") == [["a b", "c", "d"]]
    assert source.columns() == {"input": ("text", "tokens", "numbers"), "fold": ("text",)}
    assert set(sheet.source(["x"], fold="f", label="l").columns()) == {"input", "label", "fold"}


def test_a_line_of_json_is_a_series_with_its_fold(tmp_path):
    """Lists of one number a step, or of several."""
    lines = ['{"x": [1, 2], "l": 1, "f": "train"}', '{"x": [[3], [4], [5]], "l": 2, "f": "test"}']
    source = jsonl_of(tmp_path, *lines, columns=["x"], label="l", fold="f")
    assert folded(source, "numbers") == [([[1], [2]], "1", "train"), ([[3], [4], [5]], "2", "test")]


@pytest.mark.parametrize("fold", ["dev", "Train", "train ", "0"])
@pytest.mark.parametrize("group", [None, "g"])
def test_what_is_no_fold_has_a_line(sheet, fold, group):
    """Told once a row, with what it may be; under "drop" it is as wrong as ever, for it is not
    missing.
    """
    sheet.write(["g", "x", "f"], [["p", "a b c", "train"], ["q", "a b c", fold]])
    said = (
        rf"source.fold: .*1 cell cannot be read\n +line {sheet.row(1)}, column f: '{fold}' is none"
        r" of train, "
    )
    for missing in ("error", "drop"):
        with pytest.raises(InputError, match=rf"{said}validation, test(.|\n)*RC042"):
            gathered(sheet.source(["x"], fold="f", group=group, missing=missing), "tokens")


def test_a_group_of_two_folds_is_refused(sheet):
    """Both lines are named."""
    sheet.write(["g", "x", "f"], [["p", 1, "test"], ["q", 2, "train"], ["q", 3, "test"]])
    name = sheet.path.name
    places = (
        rf"{name}:{sheet.row(2)}: group 'q' has the fold 'test' here, and 'train' at"
        rf" .*{name}:{sheet.row(1)}: "
    )
    with pytest.raises(
        InputError, match=rf"source.fold: .*{places}a sequence has one fold(.|\n)*RC042"
    ):
        gathered(sheet.source(["x"], group="g", fold="f"), "numbers")


def test_a_fold_that_is_missing_is_as_a_missing_label(sheet):
    """Refused, taken from the row before in its group, or left out with its row."""
    sheet.write(["g", "x", "f"], [["p", 1, "test"], ["p", 2, None], ["q", 3, "train"]])
    with pytest.raises(InputError, match=rf"line {sheet.row(1)}, column f: nothing"):
        gathered(sheet.source(["x"], group="g", fold="f"), "numbers")
    for missing, first in (("forward", [[1], [2]]), ("drop", [[1]])):
        found = folded(sheet.source(["x"], group="g", fold="f", missing=missing), "numbers")
        assert found == [(first, None, "test"), ([[3]], None, "train")]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fold": "x"}, "'x' is one of the columns that are read too"),
        ({"fold": "l", "label": "l"}, "'l' is the label too"),
        ({"fold": "g", "group": "g"}, "'g' is the group too"),
    ],
)
def test_a_fold_is_a_column_by_itself(sheet, options, words):
    """It says nothing else beside."""
    with pytest.raises(ValidationError, match=f"fold: {words}"):
        sheet.source(["x"], **options)


def test_a_column_that_is_not_there_is_named(sheet):
    """As any other."""
    sheet.write(["x", "fold"], [[1, "train"]])
    with pytest.raises(
        InputError, match="source.fold: .* has no column 'folds'(.|\n)*did you mean: fold"
    ):
        gathered(sheet.source(["x"], fold="folds"), "numbers")


def test_inline_gives_a_fold_to_each_sequence():
    """Beside a label or without; an empty sequence takes its fold with it."""
    options = {"texts": ["a", "", "b"], "folds": ["test", "train", "train"]}
    source = Inline(InlineOptions.model_validate_json(json.dumps(options)))
    assert folded(source) == [("a", None, "test"), ("b", None, "train")]
    assert set(source.columns()) == {"input", "fold"}
    series = Inline(
        InlineOptions(series=[[1.0], [2.0]], labels=["x", "y"], folds=["train", "validation"])
    )
    assert folded(series, "numbers") == [([[1]], "x", "train"), ([[2]], "y", "validation")]
    assert all(isinstance(piece.values, np.ndarray) for piece in series.read("numbers"))
    for folds, words in (
        (["train"], "got 1, and texts holds 3"),
        (["train", "dev", "test"], "folds.1"),
    ):
        with pytest.raises(ValidationError, match=words):
            InlineOptions.model_validate_json(json.dumps({**options, "folds": folds}))
