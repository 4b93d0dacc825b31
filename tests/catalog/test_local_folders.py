"""A task may bring plugins in a folder: a package whose modules import each other."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

import pytest
from conftest import HELLO
from sites import CELL, Site, hook
from terminal import command

import recurra
from recurra.catalog import Entry, discover
from recurra.catalog.local import digest
from recurra.errors import InputError, OtherVersion, PluginError
from recurra.testing.certificate import FILE, standing, write
from recurra.testing.check import SUITE
from recurra.testing.suite import Report

HELPER = "from torch import lerp\n\ndef blend(old, new, leak):\n    return lerp(old, new, leak)\n"
BLENDED = CELL.replace("torch.lerp(", "blend(").replace(
    "import torch\n", "import torch\nfrom .helpers import blend\n"
)

Leave: TypeAlias = Callable[[Path], None]


def package(
    folder: Path, name: str = "mycells", *, cell: str = BLENDED, helper: str = HELPER
) -> Path:
    """Write a plugin folder: the hook, a cell in a module, and a helper that the cell imports."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "__init__.py").write_text(hook(module=f"{name}.cells"))
    (path / "cells.py").write_text(cell)
    (path / "helpers.py").write_text(helper)
    return path


def naming(folder: Path, name: str = "mycells") -> Path:
    """Write a task that names a plugin folder, or a file, and takes its cell."""
    text = HELLO.replace("schema = 1", f'schema = 1\n[plugins]\nfiles = ["{name}"]', 1)
    path = folder / "task.toml"
    path.write_text(text.replace('"lstm"', '"leaky"', 1))
    return path


def refused(task: Path, *words: str) -> str:
    """Return what is said of a task whose plugin does not load, or whose cell does not."""
    ended = command("check", task).fails(3, "[RC070]", *words)
    assert "recurra_file_" not in ended.err
    return ended.err


def test_a_folder_is_a_package(site: Site, tmp_path: Path) -> None:
    """It is used, recorded and found again; nothing is left on the path or in the folder."""
    folder = package(tmp_path)
    before = (list(sys.path), sorted(folder.rglob("*")))
    modules = {*sys.modules}
    run = recurra.run(naming(tmp_path), {"cell.leak": 0.25})
    opened = recurra.load(run.path)
    cell = opened.resolved.cells[0]
    assert cell.entry.qualified == "file:mycells/leaky" and cell.options.leak == 0.25
    assert opened.generated() == run.result["generated"]
    assert (list(sys.path), sorted(folder.rglob("*"))) == before
    assert not {"mycells", "helpers", "cells"} & (sys.modules.keys() - modules)


def test_helpers_of_one_name_do_not_mix(site: Site, tmp_path: Path) -> None:
    """Two tasks with folders and files of the same names use each its own, in one process."""
    for number in (2, 3):
        package(tmp_path / str(number), helper=f"def blend(old, new, leak):\n    return {number}")
    for number in (2, 3, 2):
        (entry,) = discover([tmp_path / str(number) / "mycells"]).named("leaky")
        helper = sys.modules[entry.target.__module__].blend
        assert helper(0, 0, 0) == number
        assert helper.__code__.co_filename == str(tmp_path / str(number) / "mycells/helpers.py")


def test_a_helper_that_changed_is_told(site: Site, tmp_path: Path) -> None:
    """It counts as the plugin does: it runs only where the user says so. The text of now is used,
    were it as long as before and written in the same second.
    """
    folder = package(tmp_path)
    run = recurra.run(naming(tmp_path))
    (folder / "notes.txt").write_text("no module")
    assert recurra.load(run.path).prompt() == "h"  # a warning would be an error here

    (folder / "helpers.py").write_text(HELPER.replace("old, new, leak)\n", "new, old, leak)\n"))
    with pytest.warns(OtherVersion, match=r"mycells changed since"):
        recurra.load(run.path, trust=True)
    for use in (recurra.load, recurra.resume):
        with pytest.raises(InputError, match=r"mycells changed since(.|\n)*RC045"):
            use(run.path)
    recurra.resume(run.path, trust=True)
    assert recurra.load(run.path).prompt() == "h"


def test_a_text_of_the_same_size_and_second_is_another(site: Site, tmp_path: Path) -> None:
    """What is imported is the text that was hashed, never a compiled copy of an older one."""
    found = []
    for number in (1, 2):
        folder = tmp_path / "mycells"
        if number == 1:
            package(tmp_path)
        (folder / "helpers.py").write_text(f"blend = {number}\n")
        (entry,) = discover([folder]).named("leaky")
        found.append(sys.modules[entry.target.__module__].blend)
    assert found == [1, 2]


def looping(path: Path) -> None:
    path.symlink_to(path.name)


def broken(path: Path) -> None:
    path.symlink_to("gone.py")


@pytest.mark.parametrize("leave", [looping, broken, os.mkfifo])
def test_what_cannot_be_read_hides_no_change(site: Site, tmp_path: Path, leave: Leave) -> None:
    """A module that nothing imports may be a broken link, or a pipe: the others are hashed, and
    what it becomes counts as well.
    """
    folder = package(tmp_path)
    whole = digest(folder)
    leave(folder / "spare.py")
    hashes = {whole, digest(folder)}
    (folder / "helpers.py").write_text(HELPER + "# more\n")
    hashes.add(digest(folder))
    (entry,) = discover([folder]).named("leaky")
    assert entry.target.__name__ == "Leaky"
    (folder / "spare.py").unlink()
    (folder / "spare.py").write_text("")
    assert len({*hashes, digest(folder)}) == 4


def proved(folder: Path) -> Entry:
    """Return the cell of a folder, with a certificate that says that nothing was found."""
    (entry,) = discover([folder]).named("leaky")
    about = {"distribution": "file:mycells", "name": "leaky"}
    write(entry, Report(about, "full", (), 0, (), 0, 0.0, "2", 0))
    return entry


def test_a_certificate_is_of_the_helpers_too(site: Site, tmp_path: Path) -> None:
    """One that was given to a cell of a folder is stale once what the cell imports has changed."""
    folder = package(tmp_path)
    entry = proved(folder)
    assert (folder / FILE).is_file() and standing(entry).suite == SUITE
    assert standing(entry).state == "proved"
    (folder / "helpers.py").write_text(HELPER + "# more\n")
    assert standing(entry).state == "stale"


def test_commands_take_a_folder(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is listed, shown and checked as a file is; a child of the suite imports it as well."""
    package(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert "file:mycells sha256:" in command("plugins", "list", "--file", "mycells").tidy(0).out
    assert "leak " in command("plugins", "show", "file:mycells/leaky").tidy(0).out
    checked = command("plugins", "check", "leaky", "--file", "mycells", "-k", "P03")
    assert "FAIL" not in checked.tidy(0).out and "ERROR" not in checked.out
    package(tmp_path, "leaky")
    command("plugins", "show", "leaky").fails(2, "plugins show leaky --file leaky")


@pytest.mark.parametrize(
    "line", ["import helpers", "from helpers import blend", "from .helpers import blend"]
)
def test_a_file_alone_imports_none_beside_it(
    site: Site, tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would not be recorded: the folder that is wanted is told, wherever Python looks."""
    (tmp_path / "leaky.py").write_text(f"{line}\n" + hook(module="leaky") + CELL)
    (tmp_path / "helpers.py").write_text(HELPER)
    task = naming(tmp_path, "leaky.py")
    cure = "put both into a folder with an __init__.py"
    refused(task, f"{tmp_path}/leaky.py:1 imports", cure)
    monkeypatch.syspath_prepend(str(tmp_path))
    refused(task, f"{tmp_path}/leaky.py:1 imports", cure)


@pytest.mark.parametrize("line", ["import helpers", "from mycells.helpers import blend"])
def test_a_folder_imports_its_own_by_a_dot(site: Site, tmp_path: Path, line: str) -> None:
    """An absolute import means what is installed, were it of the folder's own name."""
    folder = package(tmp_path, cell=BLENDED.replace("from .helpers import blend", line))
    task = naming(tmp_path)
    words = (f"{folder}/cells.py:3 imports {folder}/helpers.py", "write `from . import")
    refused(task, *words)

    site.write("mycells", "raise RuntimeError('another')")
    if line != "import helpers":
        refused(task, *words)


@pytest.mark.parametrize("name", ["json", "recurra_cells"])
def test_a_folder_hides_no_installed_module(site: Site, tmp_path: Path, name: str) -> None:
    """Called as an installed one is, it is used as such, and the name still means that one."""
    cell = f"import {name}\nassert {name}.__name__ == '{name}'\n" + BLENDED
    package(tmp_path, name, cell=cell)
    assert recurra.check(naming(tmp_path, name))["components"]["cell"] == f"file:{name}/leaky"
    assert str(tmp_path) not in str(__import__(name).__file__)


def test_a_name_that_an_installed_plugin_has(site: Site, tmp_path: Path) -> None:
    """A cell that both offer must be named by the one that is meant."""
    package(tmp_path)
    site.add("mycells", hook(module="mycells_plugin") + CELL)
    command("check", naming(tmp_path)).fails(
        2, "[RC021]", '"file:mycells/leaky"', '"mycells/leaky"'
    )
    task = naming(tmp_path)
    task.write_text(task.read_text().replace('"leaky"', '"file:mycells/leaky"'))
    assert recurra.check(task)["components"]["cell"] == "file:mycells/leaky"


def test_a_folder_of_another_name_than_its_targets(site: Site, tmp_path: Path) -> None:
    """A copy under a new name is told how its modules are called."""
    package(tmp_path).rename(tmp_path / "mine")
    refused(naming(tmp_path, "mine"), "No module named 'mycells'", "by its own name, mine")


def test_what_is_no_plugin_folder(site: Site, tmp_path: Path) -> None:
    """It is wrong input, placed in the task file, with what to do."""
    folder = package(tmp_path, "my-cells")
    told = command("check", naming(tmp_path, "my-cells")).fails(2, "plugins.files", "[RC013]")
    assert "rename it" in told.err
    told = command("check", naming(tmp_path, "my-cells/__init__.py")).fails(2, "[RC013]")
    assert f"name the folder: {folder}" in told.err
    (folder / "__init__.py").unlink()
    told = command("check", naming(tmp_path, "my-cells")).fails(2, "plugins.files", "[RC001]")
    assert "has no __init__.py" in told.err and "recurra_components" in told.err
    command("plugins", "list", "--file", folder).fails(2, "[RC001]", "has no __init__.py")
    command("check", naming(tmp_path, "none")).fails(2, "[RC001]", "does not exist")


def test_faults_name_the_file_and_the_line(site: Site, tmp_path: Path) -> None:
    """A module that is broken, or imports in a circle, is told under the names of the folder; once
    it is mended, nothing of before is left.
    """
    folder, task = package(tmp_path), naming(tmp_path)
    helper, init = folder / "helpers.py", folder / "__init__.py"
    for text, said in [
        ("\ndef :", "SyntaxError: "),
        ("\nraise RuntimeError('kaput')", "RuntimeError: kaput"),
        ("\nfrom .nothing import more", "No module named 'mycells.nothing'"),
        ("\nfrom .cells import Leaky", "partially initialized module 'mycells.cells'"),
        ("\nfrom .. import more", "attempted relative import beyond top-level package"),
    ]:
        helper.write_text(text)
        refused(task, said, f"({helper}:2)")
    for text in ("x = '\0'", "x = " + "-" * 100_000 + "1"):
        helper.write_text(text)
        refused(task, f"{helper} cannot be compiled: ")

    whole = init.read_text()
    init.write_text("from . import helpers\n" + whole)
    helper.write_text("\nraise SystemExit('kaput')")
    refused(task, "file:mycells", "SystemExit: kaput", f"({helper}:2)")
    before = set(sys.modules)
    with pytest.raises(PluginError):
        discover([folder])
    assert set(sys.modules) == before

    helper.write_text(HELPER)
    assert recurra.check(task)["components"]["cell"] == "file:mycells/leaky"


def test_a_link_may_not_leave_the_folder(site: Site, tmp_path: Path) -> None:
    """What it leads to is not hashed. One that stays inside is a module like others, and the folder
    itself may be named by a link.
    """
    folder, task = package(tmp_path), naming(tmp_path)
    helper = folder / "helpers.py"
    outside = helper.rename(tmp_path / "outside.py")
    helper.symlink_to(outside)
    refused(task, f"{helper} is a link that leaves the plugin folder, to {outside}")

    helper.unlink()
    outside.rename(folder / "inside.py")
    helper.symlink_to("inside.py")
    folder.rename(tmp_path / "kept")
    folder.symlink_to("kept")
    assert recurra.check(task)["components"]["cell"] == "file:mycells/leaky"
