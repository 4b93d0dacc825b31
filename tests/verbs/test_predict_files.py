"""Answers to files of sequences: those of their rows, under their names, and written whole or not
at all.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asked import CLASSES, LETTERS, Made, drawn, lines, made_in, refusal, said, same, table
from conftest import HELLO
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import Ended, command
from trials import about, write

import recurra
from recurra.job.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


FILES = ["words", "strokes", "series", "verses", "voices"]
"""Runs whose data are files: whole rows of csv and of JSON lines, groups, lines of text, and a file
each.
"""
TABLES = FILES[:3]


def sequences(name: str, count: int = 7) -> list[Any]:
    """Return new sequences for a run."""
    if name == "verses":
        return ["to and\r\n", "fro\n", "back\r", "and\n", "and forth"][:count]
    if name == "voices":
        return ["ab", "x", "yba\nab"[:3]][:count]
    return drawn(name, count)


def put(name: str, rows: list[Any], folder: Path, again: str = "new") -> Path:
    """Write sequences as a file of the form of a run's data, or return the pattern of several
    files.
    """
    if name == "words":
        return table(folder / f"{again}.csv", ["word"], [[row] for row in rows])
    if name == "strokes":
        return lines(folder / f"{again}.jsonl", [{"x": row} for row in rows])
    if name == "series":
        steps = [(f"n\r{number}", *step) for number, row in enumerate(rows, 1) for step in row]
        return table(folder / f"{again}.csv", ["place", "high", "low"], steps)
    if name == "verses":
        (folder / f"{again}.txt").write_bytes("".join(rows).encode())
        return folder / f"{again}.txt"
    for number, row in enumerate(rows):
        (folder / f"{again}{number}.txt").write_text(row)
    return folder / f"{again}*.txt"


def names(name: str, count: int, folder: Path) -> list[str]:
    """Return what the sequences of such a file are called."""
    if name == "voices":
        return [str(folder / f"new{number}.txt") for number in range(count)]
    return [f"n\r{number}" if name == "series" else str(number) for number in range(1, count + 1)]


COLUMN = {"series": "place", "voices": "file"}
"""What the column is called that names a sequence, but for `row`."""


# A file is its rows


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_answered_as_its_rows_are(name: str, made: Made, tmp_path: Path) -> None:
    """Each sequence under its own name, in the order of the file."""
    rows = sequences(name)
    answers = list(made[name].predict(file=put(name, rows, tmp_path)))
    assert [answer["row"] for answer in answers] == names(name, len(rows), tmp_path)
    assert list(map(said, answers)) == list(map(said, made[name].predict(rows)))


@given(rows=st.lists(st.text(LETTERS, min_size=1, max_size=6), max_size=6))
@settings(max_examples=10, deadline=None)
def test_whatever_a_cell_holds_is_the_sequence(
    rows: list[str], made: Made, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quotes, delimiters and line ends too."""
    path = put("words", rows, tmp_path_factory.mktemp("cells"))
    assert list(made["words"].predict(file=path)) == list(made["words"].predict(rows))


@pytest.mark.parametrize("name", ["words", "voices"])
def test_a_run_needs_nothing_but_its_folder(name: str, empty: Path) -> None:
    """Moved elsewhere and read back, with its task and its data deleted, it answers as before, and
    so it names them.
    """
    made = Made(empty / "first")
    rows = sequences(name)
    path = put(name, rows, empty)
    before = list(made[name].predict(file=path))
    shutil.move(made[name].path, empty / "elsewhere")
    shutil.rmtree(empty / "first")

    run = recurra.load(empty / "elsewhere")
    assert list(run.predict(file=path)) == before
    assert list(map(said, run.predict(rows))) == list(map(said, before))
    assert (
        command("predict", "elsewhere", path, "--output", "a.csv")
        .tidy(0)
        .out.startswith(f"wrote {len(rows)} ")
    )


@pytest.mark.parametrize("name", ["words", "strokes"])
def test_labels_of_the_file_are_not_read(name: str, made: Made, tmp_path: Path) -> None:
    """Absent, right, permuted, of other classes, empty or no text at all, they move no answer; nor
    do folds.
    """
    rows = sequences(name)
    wanted = list(made[name].predict(rows))
    column = {"words": "word", "strokes": "x"}[name]
    for labels in (["way"] * 7, CLASSES * 4, CLASSES[::-1] * 4, [None, "", 3] * 3):
        some = list(zip(labels, rows, labels, strict=False))
        if name == "words":
            path = table(tmp_path / "new.csv", ["way", column, "part"], some)
        else:
            path = lines(
                tmp_path / "new.jsonl", [{"way": a, column: x, "part": [a]} for a, x, _ in some]
            )
        assert list(made[name].predict(file=path)) == wanted


def test_folders_are_no_labels_of_new_files(made: Made, tmp_path: Path) -> None:
    """In whatever folders files lie, and one in another, each is a sequence with a name of its
    own.
    """
    wanted = list(map(said, made["voices"].predict(["ab", "x"])))
    for number, folder in enumerate((tmp_path, tmp_path / "inner")):
        folder.mkdir(exist_ok=True)
        (folder / "a.txt").write_text(["ab", "x"][number])
    answers = list(made["voices"].predict(file=tmp_path / "**" / "*.txt"))
    assert list(map(said, answers)) == wanted
    assert [answer["row"] for answer in answers] == [
        str(tmp_path / "a.txt"),
        str(tmp_path / "inner" / "a.txt"),
    ]
    (alone,) = made["voices"].predict(file=str(tmp_path / "a.txt"))
    same(alone, answers[0])


# What is printed and written


def answered(run: Run, path: Path, **options: Any) -> tuple[list[dict[str, Any]], list[str]]:
    """Return answers as Python gives them, and the names of what they say."""
    answers = list(run.predict(file=path, **options))
    return answers, run.predictor(options.get("horizon"), options.get("skip_bad", False)).columns()


def check_table(text: str, answers: list[dict[str, Any]], named: str, columns: list[str]) -> None:
    """Check that a table holds these answers: numbers bit for bit, lists as JSON, and nothing where
    there is none.
    """
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(rows[0]) == [named, *columns]
    for row, answer in zip(rows, answers, strict=True):
        for name, value in answer.items():
            cell = row.pop(named if name == "row" else name)
            read: Callable[[str], Any] = {float: float, list: json.loads}.get(type(value), str)
            assert (read(cell) if value is not None else cell or None) == value
        assert not any(row.values())


def check_lines(text: str, answers: list[dict[str, Any]], named: str) -> None:
    """Check that these are the answers, a JSON object a line."""
    found = [json.loads(line) for line in text.split("\n")[:-1]]
    assert found == [
        {named if name == "row" else name: value for name, value in one.items()} for one in answers
    ]
    assert all(next(iter(one)) == named for one in found)


@pytest.mark.parametrize(
    ("name", "skip"), [("words", True), ("verses", True), ("voices", False), ("strokes", False)]
)
def test_what_is_written_is_what_python_gives(
    name: str, skip: bool, made: Made, empty: Path
) -> None:
    """In a table, in JSON lines and on the terminal; read back, each figure is the very same."""
    run, path = made[name], put(name, sequences(name), empty)
    options = {**({"horizon": 3} if name == "verses" else {}), "skip_bad": skip}
    answers, columns = answered(run, path, **options)
    more = [
        *(["--horizon", "3"] if "horizon" in options else []),
        *(["--skip-bad"] if skip else []),
    ]
    named = COLUMN.get(name, "row")
    for output in ("a.csv", "a.JSONL"):
        ended = command("predict", run.path, path, "--output", output, *more).tidy(0)
        assert ended.out == f"wrote {len(answers)} predictions to {output}\n" and not ended.err
    with open("a.csv", encoding="utf-8", newline="") as file:
        check_table(file.read(), answers, named, columns)
    check_lines(Path("a.JSONL").read_bytes().decode(), answers, named)
    check_table(command("predict", run.path, path, *more).tidy(0).out, answers, named, columns)
    check_lines(command("predict", run.path, path, "--json", *more).tidy(0).out, answers, named)


def test_a_column_is_no_other(made: Made, empty: Path) -> None:
    """Where what names a sequence is called as what is said of it, the name stands under `row`."""
    for group in ("predicted", "error"):
        text = about(HELLO, "csv", path="data.csv", columns=["x"], group=group)
        table(empty / "data.csv", [group, "x"], [["one", "hello"]])
        run = recurra.run(write(empty, text), {"device.path": "native"}, runs=empty / group)
        ended = command("predict", run.path, "data.csv", "--horizon", "1", "--skip-bad").tidy(0)
        assert ended.out.startswith("row,predicted,nats,error\none,")
    ended = command("predict", run.path, "data.csv", "--horizon", "1").tidy(0)
    assert ended.out.startswith("error,predicted,nats\none,")


@pytest.mark.parametrize(
    ("name", "option", "value", "row"),
    [("both", "--text", "abba", "abba"), ("prose", "--text", "the cat", "the cat"), ("strokes",
        "--values", "1,2;3,4",
     [[1, 2], [3, 4]])],
)  # fmt: skip
def test_a_sequence_on_the_command_line_is_a_row(
    name: str, option: str, value: str, row: Any, made: Made
) -> None:
    """The first and only one."""
    (answer,) = made[name].predict([row])
    assert command("predict", made[name].path, option, value, "--json").tidy(0).last == answer


# Faults


def files(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds."""
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.mark.parametrize(
    ("place", "bad", "output"),
    [(0, "?", "a.csv"), (699, "?", "a.jsonl"), (699, None, "a.csv")],
)
def test_a_fault_leaves_nothing_behind(
    place: int, bad: str | None, output: str, made: Made, empty: Path
) -> None:
    """An unknown symbol or a torn row, in whichever row: no file comes to be, and one that is there
    stays as it was.
    """
    rows = [[row] for row in drawn("words", 700, longest=3)]
    rows[place] = [bad] if bad else ["a", "b"]
    path = table(empty / "new.csv", ["word"], rows)
    for before in (None, b"of yesterday"):
        if before is not None:
            Path(output).write_bytes(before)
        held = files(empty)
        ended = command("predict", made["words"].path, path, "--output", output)
        ended.fails(2, f"row {place + 1}: " if bad else "new.csv:")
        assert files(empty) == held and not ended.out


def test_what_is_read_may_be_written_over(made: Made, empty: Path) -> None:
    """The file takes its name once all of it is read."""
    path = put("words", sequences("words"), empty)
    answers, columns = answered(made["words"], path)
    command("predict", made["words"].path, path, "--output", path).tidy(0)
    with path.open(encoding="utf-8", newline="") as file:
        check_table(file.read(), answers, "row", columns)


def test_no_rows_write_nothing(made: Made, empty: Path) -> None:
    """A file without a sequence is told as what it is, and takes nobody's place."""
    Path("a.csv").write_text("of yesterday")
    for name, path in (("words", put("words", [], empty)), ("strokes", put("strokes", [], empty)),
                       ("verses", put("verses", [], empty))):  # fmt: skip
        assert list(made[name].predict(file=path)) == []
        command("predict", made[name].path, path, "--output", "a.csv").fails(
            2, "no sequence", "RC041"
        )
        assert Path("a.csv").read_text() == "of yesterday"


def test_bad_rows_of_a_file_may_be_skipped(made: Made, empty: Path) -> None:
    """Each has its error in its column, under its own name, and all others are answered as without
    it.
    """
    rows = drawn("words", 9, longest=3)
    wanted = dict(enumerate(map(said, made["words"].predict(rows)), 1))
    rows[2], rows[5] = "a?", "??"
    path = table(empty / "new.csv", ["word"], [[row] for row in rows])
    answers = {
        int(answer["row"]): said(answer)
        for answer in made["words"].predict(file=path, skip_bad=True)
    }
    assert [number for number, answer in answers.items() if "error" in answer] == [3, 6]
    assert "'?' (U+003F) at position 1" in answers[3]["error"]
    for number in wanted.keys() - {3, 6}:
        same(answers[number], wanted[number])
    command("predict", made["words"].path, path, "--skip-bad", "--output", "a.csv").tidy(0)
    command("predict", made["words"].path, path).fails(2, "row 3: ")


TORN: dict[str, list[tuple[str, str]]] = {
    "words": [("a,1,2", "new.csv:4: the row has 3 cells"), (",1", "line 4, column word: nothing"),
        ("z,1", "'z'")],
    "strokes": [
        ('{"x": [[1, 2], [3]]}', "new.jsonl:3: every step of x"),
        ('{"x": [[1, 2, 3]]}', "each step takes 2 numbers"),
        ('{"x": [[1, null]]}', "line 3, column x[1]: nothing"),
        ('{"x": [[1, "b"]]}', "'b' is not a number"),
        ('{"x": []}', "line 3, column x: nothing"),
        ('{"y": [[1, 2]]}', "line 3, has no column 'x'"),
        ('{"x": [[1, 2]', "new.jsonl:3:14 is not JSON"),
        ("[1, 2]", "new.jsonl:3 is not a JSON object"),
        ('{"x": [[1, NaN]]}', "NaN is no number"),
        ('{"x": [[1, 2]], "x": 3}', "several columns 'x'"),
        ('{"x": ["\\ud800"]}', "half a surrogate pair"), ('{"x": [[1, 1e200]]}', "1e200"),
    ],
}  # fmt: skip
"""Rows that cannot be read, each with what is said of it where it is the third; in csv after a row
of names.
"""


@pytest.mark.parametrize(
    ("name", "row", "words"), [(name, *one) for name, rows in TORN.items() for one in rows]
)
def test_a_row_that_is_not_of_the_form_may_be_skipped(
    name: str, row: str, words: str, made: Made, empty: Path
) -> None:
    """Where each row is a sequence, one that cannot be read keeps none of the others from its
    answer.
    """
    good = {"words": ["a,1", "b,2"], "strokes": ['{"x": [[1, 2]]}', '{"x": [[3, 4], [1, 2]]}']}[
        name
    ]
    head = ["word,b"] if name == "words" else []
    path = empty / f"new.{'csv' if head else 'jsonl'}"
    path.write_text("\n".join([*head, *good]))
    first, second = map(said, made[name].predict(file=path))

    path.write_text("\n".join([*head, *good, row, *good]))
    answers = list(made[name].predict(file=path, skip_bad=True))
    assert [answer["row"] for answer in answers] == ["1", "2", "3", "4", "5"]
    for answer, wanted in zip(answers, (first, second, None, first, second), strict=True):
        same(answer, wanted) if wanted else None
    assert list(answers[2]) == ["row", "error"] and words in answers[2]["error"]
    with refusal("row 3: ", words):
        list(made[name].predict(file=path))


WRONG: list[tuple[str, str | bytes, tuple[str, ...]]] = [
    (
        "words",
        "wort\na\n",
        ("new.csv has no column 'word'", "allowed: wort", "did you mean: wort", "RC040"),
    ),
    ("words", "", ("new.csv is empty", "RC041")),
    ("words", "word,b\na,1\nb,2,3\n", ("new.csv:3: the row has 3 cells", "to mend it", "RC042")),
    ("words", "word,b\na,1\nb\n", ("new.csv:3: the row has 1 cell", "to mend it", "RC042")),
    ("words", "word,b\na,1\n,2\n", ("line 3, column word: nothing", "to mend it", "RC042")),
    (
        "words",
        'word\na\n"b\n',
        ("new.csv:3: the row that begins here has a quote", "to mend it", "RC042"),
    ),
    (
        "words",
        b"word\na\n\xe9\n",
        ("new.csv is not utf-8 text: byte 0xe9", "line 3", "to mend it", "RC040"),
    ),
    ("words", b"word\na\n\0\n", ("new.csv:3: a NUL", "to mend it", "RC042")),
    ("words", "word\na\nz\n", ("row 2: the sequence holds 'z' (U+007A)", "to mend it", "RC043")),
    (
        "series",
        "place,high,low\np,1,2\np,1,\n",
        ("line 3, column low: nothing", "to mend it", "RC042"),
    ),
    (
        "series",
        "place,high,low\np,1,2\np,1,nan\n",
        ("line 3, column low: 'nan'", "to mend it", "RC042"),
    ),
    (
        "series",
        "place,high,low\np,1,2\np,1,two\n",
        ("line 3, column low: 'two' is not a number", "mend", "RC042"),
    ),
    (
        "series",
        "place,high,low\np,1,2\np,inf,2\n",
        ("line 3, column high: 'inf' is not finite", "mend", "RC042"),
    ),
    (
        "series",
        "place,high,low\np,1,2\n,1,2\n",
        ("line 3, column place: nothing", "to mend it", "RC042"),
    ),
    (
        "series",
        "place,high,low\np,1,2\nq,1,2\np,1\n",
        (":4: the row has 2 cells", "to mend it", "RC042"),
    ),
    (
        "series",
        "place,high\np,1\n",
        ("new.csv has no column 'low'", "allowed: place, high", "RC040"),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"y": 1}\n',
        ("line 2, has no column 'x'", "allowed: y", "RC040"),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"x": []}\n',
        ("line 2, column x: nothing", "to mend it", "RC042"),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"x": [[1, 2], [3]]}\n',
        (":2: every step", "got: [1, 2]", "to mend it", "RC042"),
    ),
    (
        "strokes",
        '{"x": [[1, 2, 3]]}\n',
        ("row 1: each step takes 2 numbers, but each of the sequence has 3", "got: "),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"x": "ab"}\n',
        ("line 2, column x: 'ab' is not a number", "to mend it", "RC042"),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"x": [[1, "b"]]}\n',
        ("line 2, column x[1]: 'b' is not a number", "RC042"),
    ),
    (
        "strokes",
        '{"x": [[1, 2]]}\n{"x": [[1, NaN]]}\n',
        (":2 cannot be read: NaN", "to mend it", "RC042"),
    ),
    ("strokes", '{"x": [[1, 2]]}\n{"x": [[1, 2]\n', (":2:", "is not JSON", "to mend it", "RC042")),
    ("strokes", '{"x": [[1, 2]]}\n{"x": [["\\ud800", 2]]}\n', ("RC042",)),
    (
        "strokes",
        b'{"x": [[1, 2]]}\n{"x": "\xff"}\n',
        ("not utf-8 text: byte 0xff", "line 2", "to mend it", "RC040"),
    ),
    (
        "verses",
        "to\ntoz\n",
        ("row 2: the sequence holds 'z' (U+007A) at position 2", "to mend it", "RC043"),
    ),
    (
        "verses",
        b"to\n\xff\n",
        ("not utf-8 text: byte 0xff at offset 3, line 2", "to mend it", "RC040"),
    ),
    ("voices", "", ("new.txt is empty", "to mend it", "RC042")),
    (
        "voices",
        "abz",
        ("new.txt: the sequence holds 'z' (U+007A) at position 2", "to mend it", "RC043"),
    ),
]


@pytest.mark.parametrize(("name", "content", "words"), WRONG)
def test_what_is_wrong_with_a_file_has_a_place(
    name: str, content: str | bytes, words: tuple[str, ...], made: Made, tmp_path: Path
) -> None:
    """The row or line, what stands there, and what to do; and no advice that would need another
    run.
    """
    path = (
        tmp_path / f"new.{ {'strokes': 'jsonl', 'words': 'csv', 'series': 'csv'}.get(name, 'txt') }"
    )
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with refusal(*words) as caught:
        list(made[name].predict(file=path))
    assert "source.missing" not in str(caught.value) and "source.delimiter" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("words", "new.csv", "--text", "a"), ("give a file, or --text, or --values", "RC080")),
        (("words", "new.csv"), ("there is no file", "new.csv", "RC040")),
        (("words", "."), ("is a directory", "RC040")),
        (("voices", "*.txt"), ("no file matches", "*.txt", "RC040")),
        (("both", "new.csv"), ("reads no file", "give --text or --values", "RC080")),
        (("both", "--values", "1,2"), ("--values is for numbers", "give --text", "RC080")),
        (("both", "--text", ""), ("row 1: the sequence is empty", "RC080")),
        (("strokes", "--text", "a"), ("row 1: this run reads numbers", "--values", "RC080")),
        (("strokes", "--values", "1,2;3"), ("row 2 holds 1 number", "allowed: ", "RC080")),
        (("both", "--text", "a", "--horizon", "1"), ("horizon is for what goes on", "RC080")),
        (
            ("both", "--text", "a", "--output", "a.txt"),
            ("a.txt does not tell", ".csv, .jsonl, .parquet", "RC080"),
        ),
    ],
)
def test_what_cannot_be_asked_is_refused(
    arguments: tuple[str, ...], words: tuple[str, ...], made: Made, empty: Path
) -> None:
    """With one message, and nothing is written."""
    name, *more = arguments
    command("predict", made[name].path, *more).fails(2, *words)
    assert not list(empty.iterdir())


def test_a_place_that_cannot_be_written_is_told(made: Made, empty: Path) -> None:
    """A folder that is not there, or one in place of the file."""
    (empty / "a.csv").mkdir()
    for output in ("gone/a.csv", "a.csv"):
        ended: Ended = command("predict", made["both"].path, "--text", "a", "--output", output)
        ended.fails(1, f"{output} cannot be written", "to mend it", "RC053")
    assert [path.name for path in empty.iterdir()] == ["a.csv"]


# Files larger than memory


PROBE = """
import sys
import recurra

def most():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM")))

count = 0
for _ in recurra.load(sys.argv[1]).predict(file=sys.argv[2]):
    count += 1
    if count == int(sys.argv[3]):
        early = most()
print(count, most() - early)
"""
"""Answers a file, and prints how many rows there were, and how many kB more it held in the end than
after a few.
"""


@pytest.mark.slow
@pytest.mark.skipif(
    not Path("/proc/self/status").exists(), reason="the most that a process held is told in /proc"
)
@pytest.mark.parametrize(
    ("name", "rows", "times"), [("words", ["a", "b,"], 500_000), ("verses", ["to\n"], 40_000)]
)
def test_memory_does_not_grow_with_the_file(
    name: str, rows: list[str], times: int, made: Made, empty: Path
) -> None:
    """A million short rows take no more in the end than the first quarter does, which is larger
    than a block.
    """
    path, count = put(name, rows * times, empty), len(rows) * times
    line = [sys.executable, "-c", PROBE, str(made[name].path), str(path), str(count // 4)]
    done = subprocess.run(
        line, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    answered, more = map(int, done.stdout.split())
    assert answered == count and more < 4_000
