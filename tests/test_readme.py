"""The README says what is so: its blocks run, its commands exist, its tables are those of the code."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest
from conftest import REPOSITORY
from terminal import command

import recurra
from recurra.contracts.component import KINDS
from recurra.resolve import resolve
from recurra.spec.shipped import tasks

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def test_the_first_screen_holds_both_commands() -> None:
    """A newcomer sees the two commands first, and continuous integration runs the second of them to the letter."""
    first = "\n".join(README.splitlines()[:30])
    both = ["pip install -c constraints.txt -e . && recurra run tasks/hello_lstm.toml"]
    both.append("pip install -c constraints.txt -e '.[test]' && pytest")
    assert all(line in first for line in both)
    ours = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8").replace("pip install -q ", "pip install ")
    assert both[1] in ours


def test_the_twenty_line_cell_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cell and the task of the README, copied as they stand, train and spell the word."""
    monkeypatch.chdir(tmp_path)
    cell = next(block for block in blocks("python") if block.startswith("# leaky.py"))
    task = next(block for block in blocks("toml") if block.startswith("# leaky.toml"))
    Path("leaky.py").write_text(cell, encoding="utf-8")
    Path("leaky.toml").write_text(task, encoding="utf-8")
    command("new", "hello_lstm").tidy(0)
    assert command("run", "leaky.toml", "--json").tidy(0).last["generated"] == "hello"
    body = cell[cell.index("class Leaky(Cell") : cell.index("@hookimpl")]
    assert len(body.split("\n")) <= 20, "the heading promises twenty lines"


def test_the_twenty_line_cell_says_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The contract suite finds the cell of the README described, by the name that a task's report gives."""
    monkeypatch.chdir(tmp_path)
    Path("leaky.py").write_text(next(block for block in blocks("python") if block.startswith("# leaky.py")))
    command("plugins", "check", "file:leaky.py/leaky", "-k", "P06").tidy(0)


def test_the_error_is_the_one_that_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sample of an error is what the program says of that mistake, word for word."""
    monkeypatch.chdir(tmp_path)
    task = (REPOSITORY / "tasks" / "hello_lstm.toml").read_text(encoding="utf-8")
    Path("task.toml").write_text(task.replace("hidden_size", "hiden_size"), encoding="utf-8")
    said = command("check", "task.toml").tidy(2).err
    assert f"```\n{said}```\n" in README


@pytest.mark.parametrize("cell", ["unit", "fading"])
def test_the_forms_run(cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The gated cell and the scan of the README train and spell the word."""
    monkeypatch.chdir(tmp_path)
    code = next(block for block in blocks("python") if block.startswith("# forms.py"))
    Path("forms.py").write_text(code, encoding="utf-8")
    command("new", "hello_lstm").tidy(0)
    layer = f'[[cell.stack]]\nkind = "{cell}"\nhidden_size = 32'
    Path("task.toml").write_text(f'extends = "hello_lstm.toml"\n[plugins]\nfiles = ["forms.py"]\n{layer}\n')
    assert command("run", "task.toml", "--json").tidy(0).last["generated"] == "hello"


def signatures(text: str) -> dict[str, str]:
    """Return the arguments and the result of each method that a text of classes defines."""
    found = {}
    for owner in ast.parse(text).body:
        for method in owner.body if isinstance(owner, ast.ClassDef) else []:
            if isinstance(method, ast.FunctionDef) and method.returns is not None:
                told = f"({ast.unparse(method.args)}) -> {ast.unparse(method.returns)}"
                found[f"{owner.name}.{method.name}"] = told
    return found


def test_the_contract_is_told_with_its_exact_signatures() -> None:
    """Each method that the README shows has these arguments; no abstract one, and none of the hooks, is left out."""
    told = signatures(next(block for block in blocks("python") if block.startswith("# contract")))
    code: dict[str, str] = {}
    for path in sorted((REPOSITORY / "core" / "recurra" / "contracts").glob("*.py")):
        code |= signatures(path.read_text(encoding="utf-8"))
    assert told == {name: code.get(name) for name in told}
    shown = {name.partition(".")[0] for name in told}
    for name in shown - {"Hooks"}:
        kind = getattr(recurra, name)
        assert {f"{name}.{m}" for m in kind.__abstractmethods__ if m in vars(kind)} <= told.keys()
    assert {name for name in code if name.startswith("Hooks.")} <= told.keys()


def test_the_python_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The verbs in Python do what the README shows."""
    (tmp_path / "tasks").symlink_to(REPOSITORY / "tasks")
    monkeypatch.chdir(tmp_path)
    code = next(block for block in blocks("python") if block.startswith("import recurra"))
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("hello ")


def test_the_long_task_file_is_sound(tmp_path: Path) -> None:
    """The example of a task file resolves."""
    (tmp_path / "task.toml").write_text(blocks("toml")[0], encoding="utf-8")
    assert set(resolve(tmp_path / "task.toml").parts) | {"cell"} == set(KINDS)


def test_every_shipped_task_has_a_row() -> None:
    """The table of results names every shipped task, and no other."""
    table = README[README.index("| task |") : README.index("These are the figures")]
    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(tasks())


def test_every_command_is_in_the_table() -> None:
    """Each command of the command line has its row, and no row is about a command that does not exist."""
    from recurra.cli.main import app, plugins_app

    named = {c.name or c.callback.__name__ for c in app.registered_commands if c.callback}
    table = README[README.index("## Commands") : README.index("Each takes `--json`")]
    assert set(re.findall(r"`recurra (\w+)", table)) == named | {"plugins"}
    inner = {c.name for c in plugins_app.registered_commands}
    assert all(name in table for name in inner if name)


def test_every_file_of_a_run_is_listed(tmp_path: Path) -> None:
    """What the README says a run leaves is what it leaves."""
    import recurra

    run = recurra.run(REPOSITORY / "tasks" / "hello_lstm.toml", {"training.epochs": 2}, runs=tmp_path)
    listed = README[README.index("## What a run leaves") : README.index("A checkpoint holds")]
    assert {path.name for path in run.path.iterdir()} == {
        name.rstrip("/") for name in re.findall(r"^  (\S+)", listed, re.MULTILINE)
    }


def test_the_version_is_one() -> None:
    """pyproject.toml, the package and the changelog agree on the version."""
    import recurra

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == recurra.__version__
    assert f"## {recurra.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
