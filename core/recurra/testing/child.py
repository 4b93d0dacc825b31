"""A fresh interpreter that sees the same modules as this one, for what must hold there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from recurra.catalog import Entry
from recurra.testing.check import Broken
from recurra.world import lone

PATIENCE = 120
"""Seconds that a child may take."""

LOAD = """
import importlib, json, sys
def load(module, path, name):
    "Import a module, one of a local plugin after the plugin itself."
    if path and module.partition(".")[0] == name and name not in sys.modules:
        from pathlib import Path
        from recurra.catalog import local
        local.load(Path(path), name)
    return importlib.import_module(module)
def tell(found):
    "Hand a finding to the parent."
    with open(sys.argv[1], "w") as file:
        json.dump(found, file)
argument = json.loads(sys.argv[2])
"""
"""What every child begins with: `load`, `tell` and the `argument` that it was given."""


def run(code: str, argument: Any = None, **variables: str) -> Any:
    """Run `code` in a fresh interpreter; return what it gives to `tell`.

    `argument` and what is given back are plain data.

    `variables` are those of the environment that it has beside ours. Raises `Broken` with the last
    line of its errors if the child fails, and with all that it printed if it prints.
    """
    paths = os.pathsep.join(os.path.abspath(path) for path in sys.path)
    world = {
        **lone(),
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
        **variables,
    }
    with tempfile.TemporaryDirectory() as folder:
        told = Path(folder) / "told.json"
        line = [sys.executable, "-c", LOAD + code, str(told), json.dumps(argument)]
        try:
            done = subprocess.run(
                line, capture_output=True, text=True, env=world, timeout=PATIENCE, check=False
            )
        except subprocess.TimeoutExpired:
            raise Broken(f"a fresh process took more than {PATIENCE} s") from None
        if done.returncode or not told.exists():
            said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise Broken(f"in a fresh process: {said[-1][:300]}")
        return json.loads(told.read_text(encoding="utf-8"))


def origin(entry: Entry, target: str) -> tuple[str, str, str]:
    """Return the arguments of the child's `load` for a target `module:Class` of a component.

    They are the module's name, the plugin's file or folder and the name under which that is
    imported, both "" where the plugin is installed.
    """
    module = target.partition(":")[0]
    plugin = entry.plugin
    return plugin.imported(module), plugin.origin if plugin.is_local else "", plugin.module


def places(entry: Entry) -> list[tuple[tuple[str, str, str], str]]:
    """Return where target and options of a component come from, and what they are called there."""
    classes = []
    for name in (entry.component.target, entry.component.options):
        classes.append((origin(entry, name), name.partition(":")[2]))
    return classes


def other_hashes() -> str:
    """Return a PYTHONHASHSEED that is not this process's."""
    return "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
