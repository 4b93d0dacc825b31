"""What only informs answers at once: it imports no torch."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from unittest import mock

import pytest
from conftest import HELLO, REPOSITORY

from recurra.surroundings import loading

PROBE = """
import json, sys
from recurra.cli.main import main
code = 0
try:
    main()
except SystemExit as stop:
    code = stop.code
heavy = sorted({"torch", "torch._dynamo", "numpy", "pydantic"} & set(sys.modules))
print(json.dumps({"code": code, "heavy": heavy}), file=sys.stderr)
"""


def heavy(*arguments: str, cwd: Path) -> set[str]:
    """Return which heavy packages a command that ends well has imported by its end."""
    line = [sys.executable, "-c", PROBE, *arguments]
    world = {**os.environ, "PYTHONPATH": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        line, capture_output=True, text=True, cwd=cwd, env=world, timeout=60, check=True
    )
    found = json.loads(done.stderr.splitlines()[-1])
    assert not found["code"], done.stderr
    assert done.stdout, "the command said nothing"
    return set(found["heavy"])


LIGHT = [
    ["--help"],
    ["--version"],
    ["run", "--help"],
    ["bench", "--help"],
    ["plugins", "list"],
    ["plugins", "list", "--json"],
    ["plugins", "show", "lstm"],
    ["plugins", "explain", "RC011"],
    ["schema"],
    ["new", "--list"],
    ["new", "hello_lstm"],
    ["plugins", "new", "drip", "--kind", "cell"],
    ["cache"],
]


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_it_imports_no_torch(arguments: list[str], tmp_path: Path) -> None:
    """Help, lists, options and the schema come without torch."""
    assert "torch" not in heavy(*arguments, cwd=tmp_path)


@pytest.mark.parametrize("name", ["hello_lstm", "hello_lstm/checkpoints/step-3"])
def test_inspecting_imports_no_torch(name: str, tmp_path: Path) -> None:
    """What a run holds is read from its files."""
    run = REPOSITORY / "tests" / "witnesses" / "runs" / name
    assert "torch" not in heavy("inspect", str(run), cwd=tmp_path)


def test_lists_and_differences_import_no_torch(tmp_path: Path) -> None:
    """Runs are listed, and held against each other, by their files."""
    runs = REPOSITORY / "tests" / "witnesses" / "runs"
    assert "torch" not in heavy("runs", str(runs), cwd=tmp_path)
    pair = (str(runs / name) for name in ("hello_lstm", "hello_gru"))
    assert "torch" not in heavy("diff", *pair, cwd=tmp_path)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["plugins", "list"]], ids=" ".join
)
def test_it_imports_no_numpy(arguments: list[str], tmp_path: Path) -> None:
    """Help and the list come without numpy as well."""
    assert "numpy" not in heavy(*arguments, cwd=tmp_path)


@pytest.mark.parametrize("command", ["run", pytest.param("check", marks=pytest.mark.slow)])
def test_what_computes_imports_torch_without_its_compiler(command: str, tmp_path: Path) -> None:
    """Nothing that a task trains by needs what torch.compile does, which takes as long as torch."""
    (tmp_path / "task.toml").write_text(HELLO, encoding="utf-8")
    found = heavy(command, "task.toml", cwd=tmp_path)
    assert "torch" in found and "torch._dynamo" not in found


@pytest.mark.parametrize("fails", [False, True])
def test_loading_looks_for_garbage_neither_meanwhile_nor_later_in_what_it_loaded(
    fails: bool,
) -> None:
    """Whatever is made meanwhile is looked at by no collection, and others are looked at again,
    also after a module that cannot be imported.
    """
    begun: list[dict[str, int]] = []
    note = lambda phase, info: begun.append(info) if phase == "start" else None  # noqa: E731
    gc.callbacks.append(note)
    try:
        with mock.patch.dict(sys.modules), suppress(ImportError):
            sys.modules.pop("torch", None)
            with loading():
                made = [[index] for index in range(50_000)]
                if fails:
                    raise ImportError
        assert not begun and gc.isenabled()
        gc.collect()
        assert begun and gc.get_freeze_count() > len(made)
    finally:
        gc.callbacks.remove(note)
        gc.unfreeze()


def test_loading_leaves_the_process_of_somebody_else_alone() -> None:
    """A program that has imported torch collects as it did, though it calls a command, and so does
    one that has turned collections off.
    """
    before = gc.get_freeze_count()
    with mock.patch.dict(sys.modules, {"torch": ModuleType("torch")}), loading():
        assert gc.isenabled()
    gc.disable()
    try:
        with mock.patch.dict(sys.modules):
            sys.modules.pop("torch", None)
            with loading():
                pass
        assert not gc.isenabled()
    finally:
        gc.enable()
    assert gc.get_freeze_count() == before
