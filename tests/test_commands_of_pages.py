"""The commands that the pages show are run as they stand there, or it is said why not."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pages
import pytest
from conftest import REPOSITORY
from pages import PAGES, block
from terminal import command

NOT_RUN = {
    r"pip (install|wheel) ": "asks for a network: tests/test_wheel.py builds and installs",
    r"recurra bench": "takes minutes: tests/bench tries its rows",
    r"recurra .*\bdrip$": "takes an installed distribution: tests/scaffold installs such a one",
}
"""What no test here runs, and why."""

MADE = {
    "README": ["unit.py"],
    "authors": ["fasta.py", "fasta.toml", "motifs.fasta"],
    "sweeping": ["digits_space.toml"],
    "plugins": [f"mycells/{name}.py" for name in ("__init__", "options", "mixing", "cells")],
}
"""Files of the pages that the commands of a page take."""

FIRST = {
    "running": ["run tasks/hello_lstm.toml"],
    "reports": ["run tasks/hello_lstm.toml -o training.epochs=20"],
    "generating": [
        "run tasks/python_docs.toml -o training.steps=2 -o generation.length=5",
        "run tasks/airline.toml -o training.steps=2",
        "run tasks/counting.toml -o training.steps=2",
        "run tasks/script_of_names.toml -o training.steps=2",
    ],
}
"""What made the runs that the commands of a page take, in less time."""

DEAR = {"README", "comparing", "generating", "reports", "reproducibility", "sweeping", "targets"}
"""Pages whose commands take many seconds: they are run under `-m slow`."""


NEEDS = {"trackers": ["tensorboard", "mlflow"], "sweeping": ["optuna"]}
"""What is to be installed for the commands of a page, where that is an extra."""


def lines(text: str) -> list[str]:
    """Return the command lines of a page, without their comments."""
    whole = "\n".join(body for of, body in pages.BLOCK.findall(text) if of == "sh")
    parts = [part for line in whole.splitlines() for part in re.split(r"\s#\s|&&", line)[:1]]
    return [part.strip() for part in parts if part.strip()]


def is_run(line: str) -> bool:
    """Tell whether a line is one that is run here."""
    return not any(re.match(begins, line) for begins in NOT_RUN)


SHOWN = {path.stem: lines(text) for path, text in PAGES.items() if lines(text)}
RUN = [
    pytest.param(name, marks=[pytest.mark.slow] if name in DEAR else [])
    for name, shown in SHOWN.items()
    if any(map(is_run, shown))
]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a folder that holds the shipped tasks; no path is measured."""
    (tmp_path / "tasks").symlink_to(REPOSITORY / "tasks")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    return tmp_path


def write(name: str) -> None:
    """Write a file of the pages."""
    begins = {".py": ("python", f"# {name}\n"), ".toml": ("toml", f"# {name}\n")}
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text(block(*begins.get(Path(name).suffix, ("", ">"))), encoding="utf-8")


def shortened(arguments: list[str]) -> list[str]:
    """Return what makes a command quick; what it leaves out is held to in full elsewhere."""
    if arguments[:2] == ["plugins", "check"]:
        return ["-k", "P06"]  # tests/test_authors.py
    if arguments[:2] == ["run", "airline.toml"]:
        return ["-o", "training.steps=5"]  # tests/test_tasks.py
    return []


@pytest.mark.parametrize("name", RUN)
def test_the_commands_of_a_page_work(name: str, here: Path) -> None:
    """In the order of the page, each ends well."""
    for needed in NEEDS.get(name, []):
        if importlib.util.find_spec(needed) is None:
            pytest.skip(f"there is no {needed} here")
    for file in MADE.get(name, []):
        write(file)
    Path("new.csv").write_text("name\nalpha with psili\nkweot\n", encoding="utf-8")
    for line in FIRST.get(name, []):
        command(*shlex.split(line)).tidy(0)
    for line in filter(is_run, SHOWN[name]):
        program, *arguments = shlex.split(line)
        assert program == "recurra", line
        command(*arguments, *shortened(arguments)).tidy(0)


def test_what_is_not_run_is_shown() -> None:
    """No reason stands here for what no page shows."""
    whole = [line for shown in SHOWN.values() for line in shown]
    for begins in NOT_RUN:
        assert any(re.match(begins, line) for line in whole), begins
