"""Labels of sequences: what a plain reading of the same file says, and a place for every fault."""

from __future__ import annotations

import csv
import json
import os
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of, labelled, text

from recurra import InputError
from recurra_sources import files
from recurra_sources.inline import Inline, InlineOptions
from recurra_sources.tables import Csv, CsvOptions, Jsonl, JsonlOptions

KINDS = {"csv": (Csv, CsvOptions), "jsonl": (Jsonl, JsonlOptions)}


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


# What csv and json of Python say of the same table

NAMES = ["group", "text", "x", "y", "label"]
WORDS = st.text('ab ",;\n\u00e9', max_size=5)
NUMBERS = st.one_of(st.none(), st.integers(-9, 9), st.floats(-1e9, 1e9))


@st.composite
def tables(draw):
    """Draw rows of groups that follow each other, in each of which one label stands, if any."""
    rows = []
    for group in range(draw(st.integers(1, 4))):
        label = draw(st.one_of(WORDS, st.integers(0, 2)))
        for _ in range(draw(st.integers(1, 3))):
            here = None if draw(st.integers(0, 7)) == 0 else label
            rows.append([f"g{group}", draw(WORDS), draw(NUMBERS), draw(NUMBERS), here])
    return rows


def written(folder, kind, rows):
    """Write rows with Python's own writer; return the path, and the rows of texts that Python's own
    reader gives.
    """
    path = folder / f"table.{kind}"
    if kind == "csv":
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([NAMES, *rows])
        with path.open(newline="") as file:
            return path, [list(row.values()) for row in csv.DictReader(file)]
    path.write_text("".join(json.dumps(dict(zip(NAMES, row, strict=True))) + "\n" for row in rows))
    plain = [json.loads(line).values() for line in path.read_text().splitlines()]
    return path, [["" if cell is None else str(cell) for cell in row] for row in plain]


def expected(rows, element, columns, grouped):
    """Return sequences with their labels, where each row of which a cell is empty is left out."""
    places = [NAMES.index(name) for name in columns]

    def lacks(row):
        # A text of a group may be empty.
        names = "" if element == "text" and grouped else row[places[0]]
        blank = any(not row[place].strip() for place in places) if element != "text" else False
        return blank or not row[-1].strip() or (element == "text" and not grouped and not names)

    def steps(row):
        if element == "numbers":
            return [[float(row[place]) for place in places]]
        return row[1] if element == "text" else [row[1]] if grouped else row[1].split()

    kept = [row for row in rows if not lacks(row)]
    if not grouped:
        return [(steps(row), row[-1]) for row in kept]
    found = []
    for _, inside in groupby(kept, key=lambda row: row[0]):
        inside = list(inside)
        whole = "\n".join(map(steps, inside)) if element == "text" else sum(map(steps, inside), [])
        found += [(whole, inside[0][-1])] if whole else []
    return found


@settings(max_examples=60, deadline=None)
@given(
    rows=tables(),
    element=st.sampled_from(["text", "tokens", "numbers"]),
    grouped=st.booleans(),
    block=st.sampled_from([3, 1 << 20]),
    chunk=st.sampled_from([1, 2, 1 << 14]),
)
def test_labels_are_what_a_plain_reading_gives(
    rows, element, grouped, block, chunk, tmp_path_factory
):
    """Of any table, csv and JSON lines give the sequences and labels that Python's own readers do,
    and again so.
    """
    columns = ["x", "y"] if element == "numbers" else ["text"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        patch.setattr("recurra_sources.pieces.CHUNK", chunk)
        outcomes = []
        for kind, (source_of, options_of) in KINDS.items():
            path, plain = written(tmp_path_factory.mktemp("plain"), kind, rows)
            options = {
                "columns": columns,
                "label": "label",
                "missing": "drop",
                "group": "group" if grouped else None,
            }
            source = source_of(options_of(path=str(path), **options))
            wanted = expected(plain, element, columns, grouped)
            try:
                assert labelled(source, element) == wanted
                assert labelled(source, element) == wanted
            except InputError as error:
                assert not wanted and error.problems[0].code == "RC041"
            outcomes.append(wanted)
        assert outcomes[0] == outcomes[1]


@st.composite
def several(draw):
    """Draw series of some width with holes: lists of numbers, or of lists of them where they are
    wide.
    """
    width = draw(st.integers(1, 3))
    number = st.one_of(st.none(), st.integers(-9, 9), st.floats(-1e9, 1e9))
    step = (
        number
        if width == 1 and draw(st.booleans())
        else st.lists(number, min_size=width, max_size=width)
    )
    series = st.lists(step, min_size=1, max_size=4)
    return width, draw(
        st.lists(st.tuples(series, st.sampled_from(["a", "b", 1])), min_size=1, max_size=4)
    )


def mended(series, width, missing):
    """Return the steps of a series as the policy mends them; none where it cannot."""
    steps = [step if isinstance(step, list) else [step] * width for step in series]
    if missing == "drop":
        return [step for step in steps if None not in step]
    last, found = [None] * width, []
    for step in steps:
        last = [
            before if now is None and missing == "forward" else now
            for before, now in zip(last, step, strict=True)
        ]
        found.append(last)
    return None if any(None in step for step in found) else found


@settings(max_examples=60, deadline=None)
@given(drawn=several(), missing=st.sampled_from(["error", "forward", "drop"]), apart=st.booleans())
def test_a_line_holds_a_whole_series(drawn, missing, apart, tmp_path_factory):
    """Lists of lists of several features, and a list a column, are the series that they spell, with
    holes mended.
    """
    width, rows = drawn
    names = [f"x{index}" for index in range(width)] if apart else ["x"]
    lines = []
    for series, label in rows:
        steps = [step if isinstance(step, list) else [step] * width for step in series]
        lists = [list(column) for column in zip(*steps, strict=True)] if apart else [series]
        lines.append(json.dumps({**dict(zip(names, lists, strict=True)), "l": label}))
    source = jsonl_of(
        tmp_path_factory.mktemp("series"), *lines, columns=names, label="l", missing=missing
    )

    wanted = [(mended(series, width, missing), str(label)) for series, label in rows]
    if missing == "drop":
        wanted = [(series, label) for series, label in wanted if series]
    if not wanted or any(series is None for series, _ in wanted):
        with pytest.raises(InputError, match="RC04[12]"):
            gathered(source, "numbers")
        return
    assert labelled(source, "numbers") == wanted
    assert source.features() == (
        names if apart or width == 1 else [f"x[{index}]" for index in range(width)]
    )


def test_features_are_known_before_reading(tmp_path):
    """A column of wide steps has a name for each number, though the first rows do not tell how
    many.
    """
    lines = ['{"x": null, "l": 1}', '{"x": [null], "l": 1}', "", '{"x": [null, [1, 2]], "l": 1}']
    source = jsonl_of(tmp_path, *lines, columns=["x"], label="l", missing="drop")
    assert source.features() == ["x[0]", "x[1]"]
    assert labelled(source, "numbers") == [([[1, 2]], "1")]
    assert source.gaps() == ["line 4, step 1"]
    assert jsonl_of(tmp_path, *lines, columns=["x"]).features() == ["x"]


def test_tokens_of_a_line_are_a_list_or_stand_between_spaces(tmp_path):
    """An element of a list may hold a space; numbers are tokens as they are written."""
    lines = [
        '{"w": ["to", "New York", 1.50], "l": "a"}',
        '{"w": " to  New York\\n", "l": "b"}',
        '{"w": 7, "l": 1}',
    ]
    wanted = [(["to", "New York", "1.50"], "a"), (["to", "New", "York"], "b"), (["7"], "1")]
    assert labelled(jsonl_of(tmp_path, *lines, columns=["w"], label="l"), "tokens") == wanted
    lines[0] = '{"w": ["to", null, "to"], "l": "a"}'
    for missing, tokens in (("drop", ["to", "to"]), ("forward", ["to"] * 3)):
        source = jsonl_of(tmp_path, *lines, columns=["w"], label="l", missing=missing)
        assert labelled(source, "tokens") == [(tokens, "a"), *wanted[1:]]


def test_labels_are_text(tmp_path):
    """1 of csv, 1 of JSON and "1" are one label, and true or nan of csv are names like any
    other.
    """
    content = 'x,l\n1,1\n2," b, ""c"" "\n3,true\n4,nan\n'
    found = labelled(csv_of(tmp_path, content, columns=["x"], label="l"))
    assert [label for _, label in found] == ["1", ' b, "c" ', "true", "nan"]
    lines = ['{"x": 1, "l": 1}', '{"x": 1, "l": "1"}', '{"x": 1, "l": 1.0}']
    found = labelled(jsonl_of(tmp_path, *lines, columns=["x"], label="l"), "numbers")
    assert [label for _, label in found] == ["1", "1", "1.0"]


def test_each_row_is_read_as_it_comes(sheet):
    """A sequence is given once the next one begins, whatever comes later; no two rows are one
    sequence.
    """
    sheet.write(["x", "l"], [[1, "a"], [1, "a"], [2, "b"], ["two", "b"]])
    source = sheet.source(["x"], label="l")
    reader = source.read("numbers")
    assert [next(reader).columns["label"] for _ in range(2)] == ["a", "a"]
    with pytest.raises(InputError, match=rf"line {sheet.row(3)}, column x: 'two' is not a number"):
        next(reader)
    assert source.columns() == {"input": ("text", "tokens", "numbers"), "label": ("text",)}
    assert set(sheet.source(["x"]).columns()) == {"input"}


def test_a_label_may_go_on_in_its_group(sheet):
    """Under "forward" a group's label may stand in its first row alone; the next group takes
    nothing from it.
    """
    sheet.write(["g", "x", "l"], [["p", 1, "a"], ["p", 2, None], ["q", 3, "b"]])
    source = sheet.source(["x"], group="g", label="l", missing="forward")
    assert labelled(source, "numbers") == [([[1], [2]], "a"), ([[3]], "b")]
    sheet.write(["g", "x", "l"], [["p", 1, "a"], ["q", 3, None]])
    with pytest.raises(
        InputError, match=rf"source.label: (.|\n)*line {sheet.row(1)}, column l: nothing"
    ):
        gathered(source, "numbers")


# Faults and their places


@pytest.mark.parametrize("element", ["text", "tokens", "numbers"])
def test_a_group_of_two_labels_is_refused(sheet, element):
    """The line of the label that differs is named, and that of the first; an empty row counts as a
    line.
    """
    sheet.write(["g", "x", "l"], [["p", 1, "a"], ["q", 2, "a"], ["q", 3, "a"], ["q", 4, "b"]])
    name = sheet.path.name
    places = (
        rf"{name}:{sheet.row(3)}: group 'q' has the label 'b' here, and 'a' at"
        rf" .*{name}:{sheet.row(1)}: "
    )
    with pytest.raises(InputError, match=rf"source.label: .*{places}(.|\n)*\[RC042\]"):
        gathered(sheet.source(["x"], group="g", label="l"), element)


def test_a_group_that_comes_again_has_the_same_label(sheet):
    """Its label does not make of it another group: one that changes is refused all the same."""
    sheet.write(["g", "x", "l"], [["p", 1, "a"], ["q", 2, "a"], ["p", 3, "a"]])
    assert gathered(sheet.source(["x"], group="g", label="l"), "numbers") == [[[1], [3]], [[2]]]
    sheet.write(["g", "x", "l"], [["p", 1, "a"], ["q", 2, "a"], ["p", 3, "b"]])
    with pytest.raises(InputError, match="group 'p' has the label 'b' here"):
        gathered(sheet.source(["x"], group="g", label="l"), "numbers")


@pytest.mark.parametrize(
    ("label", "said"),
    [("true", "True is not text"), ("null", "nothing"), ('["a"]', r"\['a'\] is a list, and"), ('""',
        "nothing"),
     ('{"a": 1}', "{'a': 1} is not text"), ("{}", "{} is not text"), ('"  "', "'  '")],
)  # fmt: skip
@pytest.mark.parametrize("group", [None, "g"])
def test_what_is_no_label_has_a_line(tmp_path, label, said, group):
    """true, null, a list, an object and an empty text of JSON are refused, once a line, however
    many steps it has.
    """
    steps = "1" if group else "[1, 2, 3]"
    lines = [f'{{"x": {steps}, "g": 1, "l": "a"}}', f'{{"x": {steps}, "g": 2, "l": {label}}}']
    source = jsonl_of(tmp_path, *lines, columns=["x"], label="l", group=group)
    with pytest.raises(
        InputError,
        match=(
            rf"source.label: .*jsonl: 1 cell cannot be read\n +line 2, column l: {said}.*(\n.*)?"
            r" \[RC042\]"
        ),
    ):
        gathered(source, "numbers")


def test_an_empty_label_of_csv_has_a_line(tmp_path):
    """So has one of spaces; under "drop" its sequence is left out."""
    content = "x,l\n1,a\n2,\n3,  \n4,b\n"
    with pytest.raises(
        InputError, match="2 cells(.|\n)*line 3, column l: nothing\n *line 4, column l: '  '"
    ):
        gathered(csv_of(tmp_path, content, columns=["x"], label="l"))
    source = csv_of(tmp_path, content, columns=["x"], label="l", missing="drop")
    assert labelled(source, "tokens") == [(["1"], "a"), (["4"], "b")]
    assert source.gaps() == []


LINE = "table.jsonl:2: "


@pytest.mark.parametrize(
    ("columns", "line", "words"),
    [
        (["x"], '{"x": [[1], [2, 3]], "l": 1}', LINE + r".*same number of features(.|\n)*\[1, 2\]"),
        (["x"], '{"x": [1, [2, 3]], "l": 1}', LINE + r".*same number of features(.|\n)*\[1, 2\]"),
        (
            ["x"],
            '{"x": [[1, 2]], "l": 1}',
            LINE + r".*same number of features(.|\n)*\[1, 2\](.|\n)*the first row",
        ),
        (["x"], '{"x": [[]], "l": 1}', LINE + "(.|\n)*one at least"),
        (["x"], '{"x": [1, true], "l": 1}', "line 2, step 2, column x: True is not a number"),
        (["x"], '{"x": {"a": 1}, "l": 1}', "line 2, column x: {'a': 1} is not a number"),
        (["x"], '{"x": {}, "l": 1}', "line 2, column x: {} is not a number"),
        (["x"], '{"x": [], "l": 1}', "line 2, column x: nothing"),
        (["x"], '{"x": [[[1]]], "l": 1}', r"line 2, column x: \['1'\]|\[1\] is not a number"),
        (["x", "y"], '{"x": [1, 2], "y": [1], "l": 1}', LINE + "(.|\n)*x: 2, y: 1"),
        (["x", "y"], '{"x": [1, 2], "y": 1, "l": 1}', LINE + "(.|\n)*x: 2, y: no list"),
        (
            ["x", "y"],
            '{"x": [1, 2], "y": null, "l": 1}',
            "1 cell cannot be read\n +line 2, column y: nothing",
        ),
        (["x"], '{"x": [1, 2]}', "line 2, has no column 'l'"),
        (["x"], '{"x": 1, "l": 1, "l": 2}', "line 2, has several columns 'l'"),
    ],
)
def test_what_is_no_series_has_a_line(tmp_path, columns, line, words):
    """A line whose lists do not fit, or hold what is no number, is named."""
    first = json.dumps({**dict.fromkeys(columns, [1, 2]), "l": "a"})
    with pytest.raises(InputError, match=words):
        gathered(jsonl_of(tmp_path, first, line, columns=columns, label="l"), "numbers")


@pytest.mark.parametrize("group", [None, "g"])
def test_a_label_of_nothing_is_refused(sheet, group):
    """A text without a character cannot be asked about: its line is named, and "drop" leaves it
    out.
    """
    sheet.write(["g", "w", "l"], [["p", "one", "a"], ["q", "", "b"], ["q2", "", "b"]])
    if sheet.kind == "csv":
        sheet.path.write_text(sheet.path.read_text().replace(",,", ',"",'))
    with pytest.raises(InputError, match=rf"(line |:){sheet.row(1)}(.|\n)*\"drop\""):
        gathered(sheet.source(["w"], group=group, label="l"))
    assert labelled(sheet.source(["w"], group=group, label="l", missing="drop")) == [("one", "a")]
    assert gathered(sheet.source(["w"], group="g")) == ["one", "", ""]


def test_half_a_surrogate_pair_is_refused_in_labels_and_lists(tmp_path):
    """JSON can spell it; the line is named."""
    for line in ('{"w": ["a", "\\ud83d"], "l": "x"}', '{"w": "a", "l": "\\ud83d"}'):
        with pytest.raises(
            InputError, match=r"jsonl:1: the value of '[wl]' holds '.ud83d', half a surrogate pair"
        ):
            gathered(jsonl_of(tmp_path, line, columns=["w"], label="l"), "tokens")


def test_a_label_that_gives_itself_away_is_refused(sheet):
    """A label among the columns that are read, or that is the group, is a fault of the task; one
    not there, of both.
    """
    for options in ({"label": "x"}, {"label": "g", "group": "g"}):
        with pytest.raises(
            ValidationError, match="label: '[xg]' is (one of the columns|the group)"
        ):
            sheet.source(["x"], **options)
    sheet.write(["x", "kind"], [[1, "a"]])
    with pytest.raises(
        InputError, match="source.label: .* has no column 'kinds'(.|\n)*did you mean: kind"
    ):
        gathered(sheet.source(["x"], label="kinds"), "numbers")


# Folders


def tree(folder, **contents):
    """Write files by their paths, in which __ stands for a step into a folder."""
    for name, content in contents.items():
        path = folder.joinpath(*name.split("__"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


@pytest.mark.parametrize("pattern", ["*/*", "**/*", "deep/../*/*"])
def test_a_folder_is_the_label_of_its_files(tmp_path, pattern):
    """Each file is one sequence, or each of its lines is."""
    tree(tmp_path, deep__two="a\nb\n", deep__one="c", high__one="d\n")
    source = text(tmp_path / pattern, labels="folder")
    assert labelled(source) == [("c", "deep"), ("a\nb\n", "deep"), ("d\n", "high")]
    assert source.columns() == {"input": ("text",), "label": ("text",)}
    lines = text(tmp_path / pattern, labels="folder", each="line")
    assert labelled(lines) == [("c", "deep"), ("a\n", "deep"), ("b\n", "deep"), ("d\n", "high")]
    assert text(tmp_path / pattern).columns() == {"input": ("text",)}
    assert gathered(text(tmp_path / pattern)) == ["c", "a\nb\n", "d\n"]


@pytest.mark.parametrize("block", [1, 7])
def test_only_the_first_block_of_a_file_has_its_label(tmp_path, monkeypatch, block):
    """A long file is read in blocks, of which the others go on."""
    monkeypatch.setattr(files, "BLOCK", block)
    tree(tmp_path, a__one="word and word\n" * 4, b__one="x " * 9)
    for each, count in (("file", 2), ("line", 5)):
        assert len(labelled(text(tmp_path / "*/*", labels="folder", each=each))) == count


def test_folders_of_one_name_are_one_label(tmp_path):
    """Wherever they lie: what holds them is no part of a label."""
    tree(tmp_path, train__cat__1="a", train__dog__2="b", more__cat__3="c")
    assert labelled(text(tmp_path / "*/*/*", labels="folder")) == [
        ("c", "cat"),
        ("a", "cat"),
        ("b", "dog"),
    ]


def test_a_file_beside_the_folders_of_labels_is_refused(tmp_path):
    """Its label would be the name of what holds them all; and a folder within another one would be
    ambiguous.
    """
    tree(tmp_path, data__cat__1="a", data__readme="b")
    with pytest.raises(
        InputError, match=r"source.labels: .*readme lies in data, .* another label, cat with 1"
    ):
        gathered(text(tmp_path / "data/**/*", labels="folder"))
    assert labelled(text(tmp_path / "data/*/*", labels="folder")) == [("a", "cat")]
    assert labelled(text(tmp_path / "data/readme", labels="folder")) == [("b", "data")]
    tree(tmp_path, nested__cat__1="a", nested__cat__old__2="b", nested__dog__3="c")
    with pytest.raises(InputError, match=r"cat.1 lies in cat, .* old with 2"):
        gathered(text(tmp_path / "nested/**/*", labels="folder"))


@pytest.mark.filterwarnings("ignore:source. a file is read once")
def test_a_file_in_folders_of_two_labels_is_refused(tmp_path):
    """It would be read once, and its second label would be lost; twice under one label it is as it
    was.
    """
    tree(tmp_path, cat__1="a", dog__2="b")
    os.link(tmp_path / "cat/1", tmp_path / "cat/3")
    assert labelled(text(tmp_path / "*/*", labels="folder")) == [("a", "cat"), ("b", "dog")]
    os.link(tmp_path / "cat/1", tmp_path / "dog/4")
    with pytest.raises(
        InputError, match="dog/4 and .*cat/1 are one file, in folders of two labels"
    ):
        gathered(text(tmp_path / "*/*", labels="folder"))


def test_a_label_of_an_empty_file_is_refused(tmp_path):
    """There is nothing to ask about; of lines, it has none."""
    tree(tmp_path, cat__1="", dog__2="b")
    with pytest.raises(InputError, match=r"cat.1 is empty: .* 'cat' could be of(.|\n)*RC042"):
        gathered(text(tmp_path / "*/*", labels="folder"))
    assert labelled(text(tmp_path / "*/*", labels="folder", each="line")) == [("b", "dog")]


def test_the_fingerprint_follows_the_labels(tmp_path):
    """A folder that gets another name changes it, also where it is a link, whose files stay where
    they are.
    """
    tree(tmp_path, hidden__store__1="a")
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen/cat").symlink_to(tmp_path / "hidden/store")
    source = text(tmp_path / "seen/*/*", labels="folder")
    before, plain = source.fingerprint(), text(tmp_path / "seen/*/*").fingerprint()
    (tmp_path / "seen/cat").rename(tmp_path / "seen/dog")
    assert labelled(source) == [("a", "dog")]
    assert source.fingerprint() != before
    assert text(tmp_path / "seen/*/*").fingerprint() == plain


# What stands in the task file


@pytest.mark.parametrize(
    ("options", "element", "wanted"),
    [
        ({"text": "ab", "labels": ["x"]}, "text", [("ab", "x")]),
        ({"texts": ["a", "b"], "labels": ["x", 1]}, "text", [("a", "x"), ("b", "1")]),
        ({"tokens": ["a", "b"], "labels": ["x"]}, "tokens", [(["a", "b"], "x")]),
        ({"tokens": [["a", "b"], ["c"]], "labels": ["1", 1]}, "tokens", [(["a", "b"], "1"), (["c"],
            "1")]),
        ({"values": [1.0, 2.0], "labels": [1.5]}, "numbers", [([[1], [2]], "1.5")]),
        ({"series": [[1.0], [2.0, 3.0]], "labels": [0, 1]}, "numbers", [([[1]], "0"), ([[2], [3]],
            "1")]),
        ({"series": [[[1, 2]], [[3, 4], [5, 6]]], "labels": [0, 1]}, "numbers",
         [([[1, 2]], "0"), ([[3, 4], [5, 6]], "1")]),
    ],
)  # fmt: skip
def test_inline_gives_a_label_to_each_sequence(options, element, wanted):
    """In their order; another label is another fingerprint, and without labels there is no such
    column.
    """
    source = Inline(InlineOptions.model_validate_json(json.dumps(options)))
    assert labelled(source, element) == labelled(source, element) == wanted
    assert source.columns()["label"] == ("text",)
    other = Inline(
        InlineOptions.model_validate_json(json.dumps(options | {"labels": ["z"] * len(wanted)}))
    )
    assert other.fingerprint() != source.fingerprint()
    bare = Inline(InlineOptions.model_validate_json(json.dumps({**options, "labels": None})))
    assert set(bare.columns()) == {"input"}
    assert gathered(bare, element) == [sequence for sequence, _ in wanted]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"texts": ["a", "b"], "labels": ["x"]},
            "labels: give one label for each.* got 1, and texts holds 2",
        ),
        ({"text": "ab", "labels": ["x", "y"]}, "got 2, and text holds 1"),
        ({"texts": ["a", "b"], "labels": ["x", " "]}, r"labels\[1\] is empty"),
        (
            {"texts": ["a", ""], "labels": ["x", "y"]},
            r"labels\[1\] is 'y', and the sequence .* is empty",
        ),
        ({"texts": ["a"], "labels": [True]}, "labels.0"),
        ({"texts": ["a"], "labels": [["x"]]}, "labels.0"),
        ({"texts": ["a"], "labels": [None]}, "labels.0"),
        ({"labels": ["x"]}, "got none"),
        (
            {"series": [[[1, 2]], [[3]]]},
            r"series: every step must have the same number of features; got \[1, 2\]",
        ),
        ({"series": [[[]]]}, "series: every step must have one number or more"),
        ({"tokens": [["a"], "b"]}, "tokens"),
    ],
)
def test_inline_refuses_labels_that_do_not_fit(options, words):
    """Too few, too many, empty, of nothing, or no text: the task is refused."""
    with pytest.raises(ValidationError, match=words):
        InlineOptions.model_validate_json(json.dumps(options))


def test_inline_refuses_half_a_surrogate_pair_in_a_label():
    """As it does in what is read."""
    with pytest.raises(InputError, match="half a surrogate pair"):
        gathered(Inline(InlineOptions(texts=["a"], labels=["\ud83d"])))


def test_series_of_several_features_are_what_they_spell():
    """As one series of values is."""
    source = Inline(InlineOptions(series=[[[1.0, 2.0], [3.0, 4.0]], [], [[5.0, 6.0]]]))
    first, second = (piece.values for piece in source.read("numbers"))
    assert np.array_equal(first, [[1, 2], [3, 4]]) and np.array_equal(second, [[5, 6]])
