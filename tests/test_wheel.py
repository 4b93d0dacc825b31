"""The wheel, built from the files of the checkout, works alone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import REPOSITORY

import recurra

QUIET = ["--no-deps", "--no-index", "--disable-pip-version-check", "-q"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what git knows, and of what is new and not ignored."""
    home = tmp_path_factory.mktemp("wheel")
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    names = subprocess.run(
        listed, check=True, capture_output=True, text=True, cwd=REPOSITORY
    ).stdout.split("\0")
    for name in filter(None, names):
        source, target = REPOSITORY / name, home / "source" / name
        if source.is_file():  # not there if it was deleted and that is not committed yet
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    line = ["wheel", *QUIET, "--no-build-isolation", "-w", str(home), str(home / "source")]
    subprocess.run([sys.executable, "-m", "pip", *line], check=True, capture_output=True, cwd=home)
    (made,) = home.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel into an empty environment that borrows the packages of this one; return its
    scripts.
    """
    home = tmp_path_factory.mktemp("alone") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    line = ["--python", str(scripts / "python"), "install", *QUIET, str(wheel)]
    subprocess.run([sys.executable, "-m", "pip", *line], check=True, capture_output=True, cwd=home)
    # A .pth file in a folder that a .pth file adds is not read, so this checkout's own installation
    # is not seen. It is written last: pip must not take that installation for one to be replaced.
    (packages,) = home.rglob("site-packages")
    borrowed = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (packages / "borrowed.pth").write_text("\n".join(borrowed) + "\n", encoding="utf-8")
    return scripts


def alone(scripts: Path, program: str, *arguments: str, cwd: Path) -> str:
    """Run a program of the environment; return what it said."""
    world = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "VIRTUAL_ENV")
    }
    world["OMP_NUM_THREADS"] = "1"
    line = [str(scripts / program), *arguments]
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=cwd, env=world, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_what_it_should(wheel: Path) -> None:
    """The engine with its types, each plugin, each task and the licence; no folder of the house as
    a package.
    """
    held = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in held}
    plugins = {
        path.name for path in (REPOSITORY / "plugins").iterdir() if (path / "__init__.py").exists()
    }
    assert tops == {"recurra", *plugins, f"recurra-{recurra.__version__}.dist-info"}
    shipped = {
        f"recurra/tasks/{path.name}" for path in (REPOSITORY / "tasks").iterdir() if path.is_file()
    }
    kernels = {
        path.relative_to(REPOSITORY / "core").as_posix()
        for path in (REPOSITORY / "core").rglob("*.[ch]")
    }
    assert {"recurra/py.typed", "recurra/engine/scan.c", *kernels, *shipped} <= set(held)
    assert any(name.endswith("/LICENSE") for name in held)
    assert not any("__pycache__" in name for name in held)


def test_the_wheel_is_what_is_tested_here(scripts: Path, tmp_path: Path) -> None:
    """The environment sees the wheel's recurra, and the checkout's not at all."""
    code = (
        "import json, importlib.util as u, recurra, recurra_cells, recurra.spec.shipped as s;"
        "print(json.dumps([recurra.__file__, recurra_cells.__file__, str(s.folder()),"
        " [n for n in ('core', 'plugins', 'tests') if u.find_spec(n)]]))"
    )
    *places, house = json.loads(alone(scripts, "python", "-c", code, cwd=tmp_path))
    assert all(place.startswith(str(scripts.parent)) for place in places), places
    assert house == []


def test_its_plugins_are_found(scripts: Path, tmp_path: Path) -> None:
    """Installed, every plugin loads, once."""
    found = json.loads(alone(scripts, "recurra", "plugins", "list", "--json", cwd=tmp_path))
    assert {plugin["status"] for plugin in found["plugins"]} == {"ok"}
    names = [plugin["name"] for plugin in found["plugins"]]
    assert len(names) == len(set(names)) >= 5


def test_every_task_comes_along(scripts: Path, tmp_path: Path) -> None:
    """`recurra new --list` shows the tasks of the checkout."""
    found = json.loads(alone(scripts, "recurra", "new", "--list", "--json", cwd=tmp_path))
    assert sorted(found["tasks"]) == sorted(
        path.stem for path in (REPOSITORY / "tasks").glob("*.toml")
    )


def test_two_commands_train_a_model(scripts: Path, tmp_path: Path) -> None:
    """`recurra new hello_lstm` and `recurra run hello_lstm.toml`, in an empty folder, spell
    hello.
    """
    assert "recurra run hello_lstm.toml" in alone(
        scripts, "recurra", "new", "hello_lstm", cwd=tmp_path
    )
    said = alone(scripts, "recurra", "run", "hello_lstm.toml", "--expect", cwd=tmp_path)
    assert "generated: hello" in said
    assert (tmp_path / "runs" / "hello_lstm" / "1" / "result.json").is_file()


@pytest.mark.slow
def test_a_bundle_is_trained_again_where_nothing_else_is(scripts: Path, tmp_path: Path) -> None:
    """A run with a plugin file and data of its own, trained here, comes out of its bundle alone:
    bit for bit, in an environment made from nothing, with an empty cache, once all else is gone.
    """
    here = tmp_path / "here"
    here.mkdir()
    (here / "unit.py").write_text(unit(), encoding="utf-8")
    (here / "data.txt").write_text("hello world, " * 20, encoding="utf-8")
    tables = (REPOSITORY / "tasks" / "hello_lstm.toml").read_text(encoding="utf-8")
    (here / "task.toml").write_text(tables, encoding="utf-8")
    changes = {
        "plugins.files": [str(here / "unit.py")],
        "cell.kind": "unit",
        "source": {"kind": "text", "path": str(here / "data.txt")},
        "sequence.split": [0.5, 0.25, 0.25],
        "training.epochs": 3,
    }
    run = recurra.run(here / "task.toml", changes, runs=here / "runs")
    recurra.bundle(run, tmp_path / "run.zip", with_data=True)
    shutil.rmtree(here)

    there = tmp_path / "there"
    there.mkdir()
    line = ["reproduce", "../run.zip", "--trust", "--json"]
    found = json.loads(alone(scripts, "recurra", *line, cwd=there).splitlines()[-1])
    assert found["passed"] and found["level"] == "bits" and found["same_bits"], found
    assert found["reasons"] == [] and found["compared"]["files"] >= 9


def unit() -> str:
    """Return the plugin file that README.md shows."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return text.partition("# unit.py\n")[2].partition("```")[0]


def test_it_writes_a_new_plugin(scripts: Path, tmp_path: Path) -> None:
    """The templates come along: `recurra plugins new` writes a whole distribution, and its task can
    be read.
    """
    said = alone(
        scripts, "recurra", "plugins", "new", "drip", "--kind", "cell", "--json", cwd=tmp_path
    )
    assert {"recurra-drip/pyproject.toml", "recurra-drip/recurra_drip/cell.py"} <= set(
        json.loads(said)["written"]
    )
