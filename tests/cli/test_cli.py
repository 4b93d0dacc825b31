"""The command line: tasks to begin from, its words and values, and its variables."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HELLO, REPOSITORY
from terminal import alone, command, process

import recurra
from recurra.cli.values import parse
from recurra.errors import CODES
from recurra.surroundings import VARIABLES

TASKS = sorted(path.stem for path in (REPOSITORY / "tasks").glob("*.toml"))


# new


def test_a_folder_that_is_gone_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called from a folder that was deleted, a command says so before it imports what would die of
    it.
    """
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    try:
        command("plugins", "list").fails(2, "[RC001]", "does not exist any more")
        command("--help").tidy(0)
    finally:
        os.chdir(tmp_path)


def test_new_lists_every_task_with_a_line_about_it(empty: Path) -> None:
    """`new --list` names each shipped task and says what it is."""
    found = alone(command("new", "--list", "--json").tidy(0))["tasks"]
    assert isinstance(found, dict)
    assert sorted(found) == TASKS
    assert all(found.values())
    lines = command("new", "--list").tidy(0).out.splitlines()
    assert [line.split()[0] for line in lines] == TASKS
    assert not list(empty.iterdir())


@pytest.mark.parametrize("name", TASKS)
def test_new_writes_a_task_that_resolves(empty: Path, name: str) -> None:
    """Each shipped task is copied whole, with its data, and can be read where it lies then."""
    from recurra.resolve import resolve

    written = alone(command("new", name, "--json").tidy(0))["written"]
    assert isinstance(written, list) and sorted(written) == sorted(
        path.name for path in empty.iterdir()
    )
    assert (empty / f"{name}.toml").read_bytes() == (
        REPOSITORY / "tasks" / f"{name}.toml"
    ).read_bytes()
    part = resolve(f"{name}.toml").parts["source"]
    data = getattr(part.options, "path", None)
    assert data is None or Path(data).parent == empty and Path(data).is_file()


def test_new_takes_the_files_name_too(empty: Path) -> None:
    """`hello_lstm.toml` means hello_lstm."""
    assert "wrote hello_lstm.toml" in command("new", "hello_lstm.toml").tidy(0).out


def test_new_of_an_unknown_task_gives_the_nearest(empty: Path) -> None:
    """A misspelt name is wrong input, and writes nothing."""
    command("new", "helo_lstm").fails(2, "[RC020]", "did you mean: hello_lstm", "allowed: ")
    assert not list(empty.iterdir())


@pytest.mark.parametrize("name", ["../hello_lstm", "/etc/passwd", "."])
def test_new_leaves_the_folder_of_tasks_for_nothing(empty: Path, name: str) -> None:
    """A path is not a name."""
    command("new", name).fails(2, "[RC020]")


def test_new_leaves_what_is_there(empty: Path) -> None:
    """A file that is there already is never written over."""
    (empty / "hello_lstm.toml").write_text("mine")
    command("new", "hello_lstm").fails(2, "hello_lstm.toml is already there", "nothing was written")
    assert (empty / "hello_lstm.toml").read_text() == "mine"


def test_new_without_a_name_lists_and_says_what_to_do(empty: Path) -> None:
    """Asked for nothing, `new` shows what there is."""
    ended = command("new").fails(2, "name one of these tasks", "recurra new hello_lstm")
    assert [line.split()[0] for line in ended.out.splitlines()] == TASKS


# the rest


def test_version(empty: Path) -> None:
    """`--version` prints the version alone."""
    assert command("--version").tidy(0).out == f"recurra {recurra.__version__}\n"


@pytest.mark.parametrize("code", CODES)
def test_explain_knows_every_code(code: str) -> None:
    """Each code that an error can carry is explained, however it is typed."""
    assert command("plugins", "explain", code).tidy(0).out == f"{code}: {CODES[code]}\n"
    assert command("plugins", "explain", code.lower()).tidy(0).out == f"{code}: {CODES[code]}\n"


def test_explain_of_an_unknown_code() -> None:
    """A code that is none is wrong input, and all that there are are named."""
    ended = command("plugins", "explain", "RC999").fails(2, "[RC080]", "'RC999'")
    assert all(code in ended.err for code in CODES)


@pytest.mark.parametrize(("arguments", "shown"), [([], "generate"), (["plugins"], "explain")])
def test_without_a_command_help_is_shown(arguments: list[str], shown: str) -> None:
    """Somebody who types the name alone sees what there is."""
    ended = process(*arguments).tidy(2)
    assert "Usage:" in ended.out + ended.err
    assert f"\n  {shown} " in ended.out + ended.err


def test_seed_is_an_override(empty: Path, task: Callable[..., Path]) -> None:
    """`--seed 5` is `-o seed=5`, and the run keeps it."""
    found = command("run", task(), "--seed", "5", "--json").tidy(0).last
    assert "\nseed = 5\n" in (empty / found["run"] / "task.toml").read_text()


def test_runs_go_where_they_are_told(empty: Path, task: Callable[..., Path]) -> None:
    """`--runs` names the folder; runs of one task are numbered."""
    folders = [
        command("run", task(), "--runs", "mine", "--json").tidy(0).last["run"] for _ in range(2)
    ]
    assert folders == ["mine/task/1", "mine/task/2"]


def test_the_schema_can_be_written_to_a_file(empty: Path) -> None:
    """`schema -o` writes what `schema` prints."""
    command("schema", "-o", "task.schema.json").tidy(0)
    assert (empty / "task.schema.json").read_text(encoding="utf-8") == command("schema").tidy(0).out


# the words of a command line


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        (["rnu"], "run"),
        (["plugins", "lst"], "list"),
        (["run", "--overide", "x"], "--override"),
        (["chek"], "check"),
    ],
)
def test_a_misspelt_word_gets_the_nearest(typed: list[str], meant: str) -> None:
    """A command or an option that there is not is refused with the one that was meant."""
    assert f"Did you mean '{meant}'" in command(*typed).tidy(2).err


def test_help_gives_whole_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    """No summary of a command is cut."""
    monkeypatch.setenv("COLUMNS", "60")
    for words in ([], ["plugins"]):
        assert "..." not in command(*words, "--help").tidy(0).out.replace("[ARGS]...", "")


def test_a_shell_completes_commands() -> None:
    """What the installed completion asks for is answered."""
    asked = {"_RECURRA_COMPLETE": "complete_bash", "COMP_WORDS": "recurra plu", "COMP_CWORD": "1"}
    line = [
        sys.executable,
        "-c",
        "import sys; sys.argv = ['recurra']; from recurra.cli.main import main; main()",
    ]
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, env={**os.environ, **asked}, timeout=120
    )
    assert done.stdout.split() == ["plugins"]


BAD_VALUES = [
    ("series", "1,,2", "place 2: there is no number"),
    ("series", "1 2", "'1 2' is not a finite number"),
    ("series", "nan", "'nan'"), ("series", "", "place 1: there is no number"),
    ("series", "1;2", "this run has one"),
    ("pairs", "1,2;3", "row 2 holds 1 number, and this run has 2 columns"),
    ("pairs", "1,2,3", "row 1 holds 3"),
    ("series", "1_0", "'1_0'"), ("series", "\u0661", "place 1"),
    ("pairs", "1,\uff12", "row 1, place 2"),
    ("series", "1e999", "'1e999'"), ("series", "0x1", "'0x1'"), ("series", "1,+-2", "place 2"),
    ("pairs", "1,2;", "row 2, place 1"), ("pairs", "1,inf", "row 1, place 2"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "values", "said"), BAD_VALUES)
def test_values_that_are_none_name_the_row(run: str, values: str, said: str) -> None:
    """Numbers that cannot be a prompt are refused as `--values`, with the row, what came and what
    is allowed.
    """
    with pytest.raises(recurra.InputError) as caught:
        parse(values, 2 if run == "pairs" else 1)
    (problem,) = caught.value.problems
    assert problem.fact.startswith("--values: ") and said in problem.fact
    assert problem.code == "RC080" and "," in problem.allowed


def test_values_are_numbers() -> None:
    """Numbers of one column are a list, and of several a row for each step, also where there is one
    row.
    """
    assert parse("1, 2.5,-3e2", 1) == [1, 2.5, -300]
    assert parse(" +1., .5 ,1E+2,-0", 1) == [1, 0.5, 100, 0]
    assert parse("1,2; 3,4", 2) == [[1, 2], [3, 4]] and parse("1,2", 2) == [[1, 2]]


# local plugin files


def test_a_local_component_is_named_as_a_task_names_it(empty: Path) -> None:
    """A file's component is shown by `--file`, and by the name that `check` prints; without either
    it is said how.
    """
    (empty / "some folder").mkdir()
    (empty / "some folder" / "mine.py").write_text(
        "from recurra import CellOptions, Component, hookimpl\n"
        "@hookimpl\ndef recurra_components():\n"
        "    return [Component('cell', 'mine', 'mine:CellOptions', 'mine:CellOptions', 'a test')]\n"
    )
    ways = (["mine", "--file", "some folder/mine.py"], ["file:some folder/mine.py/mine"])
    shown = [command("plugins", "show", *way).tidy(0).out for way in ways]
    assert shown[0] == shown[1] and "file:mine.py/mine" in shown[0]
    for verb in ("show", "check"):
        command("plugins", verb, "mine").fails(2, "--file FILE.py")
        command("plugins", verb, "mine", "--file", "absent.py").fails(2, "[RC001]", "absent.py")


# the world


def test_odd_variables_are_told(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of recurra's that is not known, or means nothing, is said once; what is sound is
    not.
    """
    assert not command("new", "--list").tidy(0).err
    monkeypatch.setenv("RECURRA_PLUGIN", "x")
    monkeypatch.setenv("RECURRA_PLUGINS", "")
    monkeypatch.setenv("RECURRA_MEASURE", "no")
    told = command("new", "--list").tidy(0).err.splitlines()
    assert len(told) == 3 and all(line.startswith("warning: RECURRA_") for line in told)
    monkeypatch.setenv("RECURRA_PLUGINS", "nobody-has-this")
    assert "nobody-has-this" in command("plugins", "list").tidy(0).out


def test_every_variable_is_known() -> None:
    """The table of variables names each that the code reads, and no other."""
    texts = [path.read_text(encoding="utf-8") for path in (REPOSITORY / "core").rglob("*.py")]
    assert {name for text in texts for name in re.findall(r'"(RECURRA_[A-Z_]+)"', text)} == set(
        VARIABLES
    )


def test_a_folder_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command in a folder that was removed says so."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    command("check", "task.toml").fails(2, "[RC001]")
    command("new", "hello_lstm").tidy(2)


@pytest.mark.parametrize("name", ["a b", "[v2]", 'it\'s "x"', "🂡", "two\nlines"])
def test_a_task_of_any_name_is_read(empty: Path, name: str) -> None:
    """Whatever a folder and a file may be called, a task in it is checked, and its faults are
    told.
    """
    (empty / name).mkdir()
    path = empty / name / f"{name}.toml"
    path.write_text(HELLO)
    assert json.loads(json.dumps(recurra.check(path)))["parameters"]
    command("check", path, "-o", "cell.hiden_size=1").fails(2, "[RC011]")
