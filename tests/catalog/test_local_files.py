"""A task may bring plugins in files of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HELLO
from sites import CELL, Site, hook
from terminal import command

import recurra
from recurra.errors import OtherVersion, PluginError

LOCAL = hook(module="my_cell") + CELL


def local(task: Callable[..., Path], *files: str, cell: str = "leaky") -> Path:
    """Write a task that names these plugin files."""
    listed = ", ".join(f'"{name}"' for name in files)
    return task(
        HELLO, ("schema = 1", f"schema = 1\n[plugins]\nfiles = [{listed}]"), ('"lstm"', f'"{cell}"')
    )


@pytest.mark.parametrize("cell", ["leaky", "file:my_cell.py/leaky"])
def test_a_task_may_bring_its_own_file(
    site: Site, tmp_path: Path, task: Callable[..., Path], cell: str
) -> None:
    """A plugin in a file beside the task is used, kept in the run, and found again when the run is
    opened.
    """
    (tmp_path / "my_cell.py").write_text(LOCAL)
    run = recurra.run(local(task, "./my_cell.py", cell=cell), {"cell.leak": 0.25})
    opened = recurra.load(run.path)
    assert opened.resolved.cells[0].entry.qualified == "file:my_cell.py/leaky"
    assert opened.resolved.cells[0].options.leak == 0.25
    assert opened.generated() == run.result["generated"]


def test_a_file_is_found_from_its_task(
    site: Site, tmp_path: Path, task: Callable[..., Path]
) -> None:
    """The path is taken from the folder of the task file, wherever the command is given."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    path = local(task, "my_cell.py")
    (tmp_path / "elsewhere").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path / "elsewhere")
        command("check", path).tidy(0)


def test_a_file_hides_no_installed_module(
    site: Site, tmp_path: Path, task: Callable[..., Path]
) -> None:
    """A plugin file called json.py is used as such, and `import json` still means the library's."""
    (tmp_path / "json.py").write_text(
        "import json\nassert json.dumps\n" + hook(module="json") + CELL
    )
    assert recurra.check(local(task, "./json.py"))["components"]["cell"] == "file:json.py/leaky"
    assert sys.modules["json"] is json and "site" not in str(json.__file__)
    assert str(tmp_path) not in sys.path


def test_two_files_are_two_plugins(site: Site, tmp_path: Path, task: Callable[..., Path]) -> None:
    """Files do not disturb each other, even when their modules hold the same names."""
    (tmp_path / "my_cell.py").write_text(LOCAL)
    (tmp_path / "your_cell.py").write_text(
        hook('offer("drip")', "your_cell")
        + CELL.replace("leak:", "drop:").replace(".leak)", ".drop)")
    )
    path = local(task, "my_cell.py", "your_cell.py")
    assert recurra.check(path, {"cell.leak": 0.1})["components"]["cell"] == "file:my_cell.py/leaky"
    path = local(task, "my_cell.py", "your_cell.py", cell="drip")
    assert recurra.check(path, {"cell.drop": 0.1})["components"]["cell"] == "file:your_cell.py/drip"


def test_two_files_of_one_name_cannot_offer_one_cell(
    site: Site, tmp_path: Path, task: Callable[..., Path]
) -> None:
    """A qualified name means one component: a second file that would take it is refused."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my_cell.py").write_text(LOCAL)
    path = local(task, "a/my_cell.py", "b/my_cell.py")
    command("check", path).fails(
        3, "[RC070]", "file:my_cell.py/leaky is offered twice", str(tmp_path / "b")
    )


def test_a_file_that_is_missing(site: Site, task: Callable[..., Path]) -> None:
    """A plugin file that is not there is wrong input, placed in the task file."""
    path = local(task, "./my_cell.py")
    command("check", path).fails(2, f"{path}:3:1 plugins.files", "[RC001]", "my_cell.py")


@pytest.mark.parametrize(
    "text", ["raise RuntimeError('kaput')", "raise SystemExit('kaput')", "def :  # kaput"]
)
def test_a_file_that_fails(
    site: Site, tmp_path: Path, task: Callable[..., Path], text: str
) -> None:
    """A task asked for its file by name: if that does not load, the task stops, with the file and
    its line.
    """
    (tmp_path / "my_cell.py").write_text("\n" + text)
    ended = command("check", local(task, "./my_cell.py")).fails(
        3, "[RC070]", str(tmp_path / "my_cell.py")
    )
    assert (
        "Error: kaput" in ended.err
        or "SystemExit: kaput" in ended.err
        or "SyntaxError: " in ended.err
    )
    assert "my_cell.py:2" in ended.err or "line 2" in ended.err


def test_a_file_that_changed_under_its_run(
    site: Site, tmp_path: Path, task: Callable[..., Path]
) -> None:
    """A run whose file offers its cell no longer asks for the file as it was, not for something to
    install.
    """
    (tmp_path / "my_cell.py").write_text(LOCAL)
    run = recurra.run(local(task, "./my_cell.py"))
    (tmp_path / "my_cell.py").write_text(LOCAL.replace('offer("leaky")', 'offer("renamed")'))
    with pytest.warns(OtherVersion, match="changed since"), pytest.raises(PluginError) as caught:
        recurra.load(run.path, trust=True)
    assert caught.value.problems[0].cure.startswith(
        "bring the plugin file back as it was: my_cell.py (sha256:"
    )
