"""README and docs say what is so: blocks run, commands exist, tables are those of the code."""

from __future__ import annotations

import ast
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pages
import pytest
from conftest import REPOSITORY
from pages import PAGES, README, WRITER, block, blocks, page, quoted, rows, section
from terminal import command
from typer.main import get_command

import recurra
from recurra import errors
from recurra.catalog import discover
from recurra.cli.main import app
from recurra.cli.streams import GONE
from recurra.contracts.component import CAPABILITIES, CLAIMS, KINDS, TRACKER
from recurra.engine.paths import PATHS
from recurra.resolve import resolve
from recurra.spec.shipped import tasks
from recurra.surroundings import VARIABLES
from recurra.train.interrupt import REQUESTS

FACE = PAGES[README]
CLI: Any = get_command(app)
GROUP: Any = CLI.commands["plugins"]


# what there is, and where it leads


def test_the_first_screen_holds_both_commands() -> None:
    """A newcomer sees both commands first; continuous integration runs the second to the letter."""
    first = "\n".join(FACE.splitlines()[:30])
    both = ["pip install -c constraints.txt -e . && recurra run tasks/hello_lstm.toml"]
    both.append("pip install -c constraints.txt -e '.[test]' && pytest")
    assert all(line in first for line in both)
    ours = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert both[1] in ours.replace("pip install -q ", "pip install ")


def test_the_readme_is_short() -> None:
    """What does not fit has a page of its own."""
    assert len(FACE.splitlines()) <= 200


def links(text: str) -> list[str]:
    """Return where the links of a page lead, but for those that leave the house."""
    found = re.findall(r"\]\(([^)\s]+)\)", pages.prose(text))
    return [link for link in found if not re.match(r"\w+:", link)]


def test_every_page_is_linked_from_the_readme() -> None:
    """The list of pages names each of them, and no page is reached by chance alone."""
    listed = [link for row in rows(section(FACE, "## Pages")) for link in links(row[0])]
    whole = [path.relative_to(REPOSITORY).as_posix() for path in pages.DOCS]
    assert sorted(listed) == sorted([*whole, "CONTRIBUTING.md"])


LINKING = [*PAGES, REPOSITORY / "CONTRIBUTING.md"]


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.stem)
def test_every_link_points_to_something(path: Path) -> None:
    """What a page links to is there: the file, and in it the heading."""
    for link in links(path.read_text(encoding="utf-8")):
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        assert target.is_file(), link
        assert not anchor or anchor in pages.anchors(target), link


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.stem)
def test_no_two_headings_of_a_page_have_one_anchor(path: Path) -> None:
    """A link to a heading leads to one place."""
    headings = pages.HEADING.findall(pages.prose(path.read_text(encoding="utf-8")))
    assert len(headings) == len(pages.anchors(path))


def test_every_page_has_a_title_of_its_own() -> None:
    """A page begins with its title, the one by which the README lists it."""
    titles = [text.splitlines()[0].removeprefix("# ") for text in PAGES.values()]
    first = [row[0] for row in rows(section(FACE, "## Pages"))]
    listed = [name for cell in first for name in re.findall(r"\[([^]]+)\]\(docs/", cell)]
    named, titled = (sorted(map(str.casefold, each)) for each in (listed, titles[1:]))
    assert named == titled and len(set(titles)) == len(titles)


# examples


def test_every_example_is_one_that_is_tried() -> None:
    """No page holds a block that no law here knows: it begins as one of those that are tried."""
    known = {
        "python": r"# (\w+/)?\w+\.py\n|# (contract|options|error)\n|import recurra\n",
        "toml": r"schema = 1\n|# \w+\.toml\b|\[tool\.pytest|\[(source|target|\[track\])\]\n",
        "sh": r"(pip install|recurra) ",
        "text": r"torchrun |#!/bin/bash\n|error: |\$ ",
        "": r"hello_lstm: |error: |\$ recurra |runs/hello_lstm/1/\n|backtests/airline/1/\n|>a1 |"
        r"100 updates, left alone|differs: |digits: ",
    }
    for text in PAGES.values():
        for language, body in pages.BLOCK.findall(text):
            assert re.match(known[language], body), body


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder that holds the shipped tasks."""
    (tmp_path / "tasks").symlink_to(REPOSITORY / "tasks")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_cell_of_the_readme_runs(here: Path) -> None:
    """The cell of the README, copied as it stands, spells the word by the command below it."""
    Path("unit.py").write_text(block("python", "# unit.py"), encoding="utf-8")
    (line,) = re.findall(r"^recurra (run .*unit\.py.*)$", FACE, re.MULTILINE)
    assert command(*shlex.split(line), "--json").tidy(0).last["generated"] == "hello"


def test_the_twenty_line_cell_runs(here: Path) -> None:
    """The cell and the task of the page, copied as they stand, train and spell the word."""
    cell = block("python", "# leaky.py")
    Path("leaky.py").write_text(cell, encoding="utf-8")
    Path("leaky.toml").write_text(block("toml", "# leaky.toml"), encoding="utf-8")
    command("new", "hello_lstm").tidy(0)
    assert command("run", "leaky.toml", "--json").tidy(0).last["generated"] == "hello"
    body = cell[cell.index("class Leaky(Cell") : cell.index("@hookimpl")]
    assert len(body.split("\n")) <= 20, "the heading promises twenty lines"


def test_the_folder_of_the_page_runs(here: Path) -> None:
    """The folder of cells, copied as it stands, spells the word by the command below it, and is
    checked by the next.
    """
    Path("mycells").mkdir()
    for name in ("__init__", "options", "mixing", "cells"):
        file = f"mycells/{name}.py"
        Path(file).write_text(block("python", f"# {file}"), encoding="utf-8")
    text = pages.page("plugins")
    (line,) = re.findall(r"^recurra (run .*mycells.*)$", text, re.MULTILINE)
    assert command(*shlex.split(line), "--json").tidy(0).last["generated"] == "hello"
    (line,) = re.findall(r"^recurra (plugins check .*mycells)$", text, re.MULTILINE)
    command(*shlex.split(line), "-k", "P06,C01,C02,C13").tidy(0)


@pytest.mark.parametrize("cell", ["unit", "leaky"])
def test_the_cells_of_the_pages_say_what_they_are(cell: str, here: Path) -> None:
    """The contract suite finds each described, by the name that a task's report gives."""
    Path(f"{cell}.py").write_text(block("python", f"# {cell}.py"), encoding="utf-8")
    command("plugins", "check", f"file:{cell}.py/{cell}", "-k", "P06").tidy(0)


@pytest.mark.parametrize("cell", ["keeping", "fading"])
def test_the_forms_run(cell: str, here: Path) -> None:
    """The gated cell and the scan of the page train and spell the word."""
    Path("forms.py").write_text(block("python", "# forms.py"), encoding="utf-8")
    command("new", "hello_lstm").tidy(0)
    layer = f'[[cell.stack]]\nkind = "{cell}"\nhidden_size = 32'
    plugins = '[plugins]\nfiles = ["forms.py"]'
    Path("task.toml").write_text(f'extends = "hello_lstm.toml"\n{plugins}\n{layer}\n')
    assert command("run", "task.toml", "--json").tidy(0).last["generated"] == "hello"


def test_the_error_is_the_one_that_is_printed(here: Path) -> None:
    """The sample of an error is what the program says of that mistake, word for word."""
    task = (REPOSITORY / "tasks" / "hello_lstm.toml").read_text(encoding="utf-8")
    Path("task.toml").write_text(task.replace("hidden_size", "hiden_size"), encoding="utf-8")
    said = command("check", "task.toml").tidy(2).err
    assert f"```\n{said}```\n" in FACE


def test_the_python_blocks_run(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The verbs in Python do what the pages show, those of the README first."""
    for code in blocks("python"):
        if code.startswith("import recurra"):
            exec(compile(code, "page.md", "exec"), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("hello ") and "llo" in lines


def test_the_short_task_file_is_the_one_that_was_run(here: Path) -> None:
    """The README's task file means what the shipped one means, but for the bands of that one."""
    Path("task.toml").write_text(block("toml", "schema = 1\nsource"), encoding="utf-8")
    ours, shipped = (resolve(path).tables() for path in ("task.toml", "tasks/hello_lstm.toml"))
    for whole in (ours, shipped):
        del whole["name"], whole["expect"]
    assert ours == shipped


def test_the_long_task_file_is_sound(here: Path) -> None:
    """The example of a whole task file resolves."""
    Path("task.toml").write_text(block("toml", "schema = 1\n\n[source]"), encoding="utf-8")
    assert set(resolve("task.toml").parts) | {"cell", TRACKER} == set(KINDS)


def test_tables_of_a_task_are_sound(here: Path) -> None:
    """Tables that stand for themselves resolve over a task of their kind."""
    kinds = {
        "[source]\n": "script_of_names",
        '[target]\nkind = "value"': "sine_phase",
        '[target]\nkind = "horizon"': "airline",
    }
    for begins, base in kinds.items():
        text = f'extends = "tasks/{base}.toml"\n' + block("toml", begins)
        Path("task.toml").write_text(text, encoding="utf-8")
        assert resolve("task.toml").parts


def test_what_numbers_go_through_is_sound(here: Path) -> None:
    """The example of transforms is a task over the shipped one that it names."""
    command("new", "airline").tidy(0)
    Path("task.toml").write_text(block("toml", 'schema = 1\nextends = "airline'), encoding="utf-8")
    command("check", "task.toml", "-o", "training.steps=1").tidy(0)


def test_what_follows_a_prompt_is_sound(here: Path) -> None:
    """The page on targets shows the tables of a task with answers."""
    shown = block("toml", 'schema = 1\nextends = "dates').replace("dates.toml", "tasks/dates.toml")
    text = shown.replace("dates.csv", "tasks/dates.csv")
    Path("task.toml").write_text(text, encoding="utf-8")
    assert resolve("task.toml").parts


def test_the_line_of_the_suite_is_the_one_that_pytest_reads() -> None:
    """The configuration that the page shows is that of a distribution from `plugins new`."""
    template = REPOSITORY / "core/recurra/scaffold/templates/common/pyproject.toml.tmpl"
    shown = block("toml", "[tool.pytest")
    assert shown.replace("leaky", "$contract") in template.read_text(encoding="utf-8")


# the command line


def invocations() -> list[str]:
    """Return every call of recurra on the pages, in blocks and in sentences."""
    whole = "\n".join(blocks("sh"))
    lines = [part for line in whole.splitlines() for part in re.split("&&|#|>", line)]
    inline = [code for text in PAGES.values() for code in quoted(pages.prose(text))]
    return [part.strip() for part in (*lines, *inline) if re.match(r"\s*recurra( |$)", part)]


def options(of: Any) -> dict[str, Any]:
    """Return the options of a command, each by all of its names."""
    params = [param for param in of.params if param.param_type_name == "option"]
    return {name: param for param in params for name in (*param.opts, *param.secondary_opts)}


def given(text: str) -> set[str]:
    """Return the options that a call gives."""
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))


@pytest.mark.parametrize("text", sorted(set(invocations())))
def test_every_call_is_one_that_the_command_line_takes(text: str) -> None:
    """Each call on a page names a command that there is, and options that it has."""
    words = [*shlex.split(text)[1:3], "", ""]
    found = CLI.commands.get(words[0], CLI)
    if found is GROUP:
        found = GROUP.commands.get(words[1], GROUP)
    assert found is not CLI or words[0].startswith("-") or not words[0], text
    assert found is not GROUP or not words[1], text
    assert given(text) <= {*options(found), "--help", "-h"}, text


def commands() -> dict[str, Any]:
    """Return every command by its name."""
    inner = {f"plugins {name}": one for name, one in GROUP.commands.items()}
    return {name: one for name, one in CLI.commands.items() if one is not GROUP} | inner


def test_every_command_has_its_row_with_all_options() -> None:
    """The page has a row for each command, with each option that it has, and no other."""
    told = rows(section(page("running"), "## Commands"))
    shown: dict[str, str] = {}
    for row in told:
        for code in quoted(row[0]):
            name = re.match(r"recurra ((?:plugins )?\w+)", code)[1]  # type: ignore[index]
            shown[name] = shown.get(name, "") + code
    assert shown.keys() == commands().keys()
    for name, one in commands().items():
        has = options(one)
        named = {has[option].name for option in given(shown[name])}
        common = {"as_json", "help"}
        assert named == {param.name for param in has.values()} - common, name


def test_every_command_but_two_takes_json() -> None:
    """What the page says of `--json` is so."""
    without = {name for name, one in commands().items() if "--json" not in options(one)}
    assert without == {"schema", "plugins explain"}


# tables of the code


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
    """Each method that is shown has these arguments; no abstract one, and no hook, is left out."""
    told: dict[str, str] = {}
    for text in blocks("python"):
        if text.startswith("# contract"):
            told |= signatures(text)
    code: dict[str, str] = {}
    for path in sorted((REPOSITORY / "core" / "recurra" / "contracts").glob("*.py")):
        code |= signatures(path.read_text(encoding="utf-8"))
    assert told == {name: code.get(name) for name in told}
    shown = {name.partition(".")[0] for name in told}
    assert shown >= {"Hooks", *(kind.capitalize() for kind in KINDS)}
    for name in shown - {"Hooks"}:
        kind = getattr(recurra, name)
        assert {f"{name}.{m}" for m in kind.__abstractmethods__ if m in vars(kind)} <= told.keys()
    assert {name for name in code if name.startswith("Hooks.")} <= told.keys()


def test_every_shipped_task_has_a_row() -> None:
    """The table of results names every shipped task, and no other; the README has some of it."""
    shipped = rows(pages.page("shipped"))
    assert sorted(name for row in shipped for name in quoted(row[0])) == sorted(tasks())
    face = rows(section(FACE, "## What it does").replace("](docs/", "]("))
    assert face and all(row in shipped for row in face)


def test_the_tables_of_keys_are_those_of_the_code() -> None:
    """Each table of keys is what the script writes of the code, and nothing was made by hand."""
    for path, text in WRITER.pages(discover()).items():
        same = PAGES[path] == text
        assert same, f"{path.name}: describe keys in their Field, then run python docs/tables.py"


def test_every_file_of_a_run_is_listed(tmp_path: Path) -> None:
    """What the page says a run leaves is what it leaves."""
    task = REPOSITORY / "tasks" / "hello_lstm.toml"
    run = recurra.run(task, {"training.epochs": 2}, runs=tmp_path)
    listed = block("", "runs/hello_lstm/1/")
    assert {path.name for path in run.path.iterdir()} == {
        name.rstrip("/") for name in re.findall(r"^  (\S+)", listed, re.MULTILINE)
    }


def test_every_error_has_its_place() -> None:
    """Each stable code lies in one of the ranges of the page, and each end of a range is a code."""
    told = [re.findall(r"RC\d+", row[0]) for row in rows(section(page("running"), "## Errors"))]
    ranges = [found for found in told if found]
    assert {end for ends in ranges for end in ends} <= errors.CODES.keys()
    for code in errors.CODES:
        assert sum(min(ends) <= code <= max(ends) for ends in ranges) == 1, code


def test_every_exit_code_is_told() -> None:
    """The codes that a command can end with are those of the page."""
    told = {int(row[0]) for row in rows(section(page("running"), "## Errors")) if row[0].isdigit()}
    raised = (errors.RunError, errors.InputError, errors.PluginError, errors.Interrupted)
    signals = {128 + number for number in REQUESTS}
    assert told == {0, *(kind.exit_code for kind in raised), *signals, GONE}


def test_every_variable_is_told() -> None:
    """The variables of the page are those that are read."""
    table = rows(section(page("running"), "## Variables"))
    told = [name for row in table for name in quoted(row[0])]
    assert sorted(told) == sorted(VARIABLES)


def test_every_path_is_told_in_its_order() -> None:
    """The table of paths is that of the engine, in the order in which ties are decided."""
    told = [quoted(row[0])[0] for row in rows(page("speed").partition("## Kernels")[0])]
    assert told == [*PATHS]


def test_every_capability_is_told() -> None:
    """What a component may lack or claim is what the page says."""
    text = section(page("contract"), "## What a component cannot do")
    assert [name for row in rows(text) for name in quoted(row[0])] == [*CAPABILITIES]
    assert all(f"`{name}`, {meaning}" in text for name, meaning in CLAIMS.items())


def test_the_version_is_one() -> None:
    """pyproject.toml, the package and the changelog agree on the version."""
    text = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    project = tomllib.loads(text)["project"]
    assert project["version"] == recurra.__version__
    assert f"## {recurra.__version__}" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")
