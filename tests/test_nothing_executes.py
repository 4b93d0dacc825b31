"""No reader of the product runs what it reads: none unpickles, evaluates or imports data."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY

FILES = sorted(path for room in ("core", "plugins") for path in (REPOSITORY / room).rglob("*.py"))

MODULES = {
    *("pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"),
    *("yaml", "ruamel", "jsonpickle", "pickletools", "multiprocessing", "xml", "code", "codeop"),
}
"""Modules that run what they read, or pass it on to what does."""
CALLS = {"eval", "exec", "compile", "__import__", "execfile", "globals", "read_pickle", "to_pickle"}
ATTRIBUTES = {
    "torch": {"load", "save", "hub", "package"},
    "jit": {"load", "save"},
    "os": {"system", "popen"},
    "np": {"load", "save", "savez"},
    "numpy": {"load", "save", "savez"},
    "pandas": {"read_pickle"},
    "logging": {"config"},
}
"""By the name that stands before the dot, what is never called; NumPy's only without objects."""
LIBRARIES = {"CDLL", "PyDLL", "WinDLL", "LoadLibrary"}

ALLOWED = {
    # What processes that were launched together have measured; it comes from no file.
    "recurra/train/merging.py": {"pickle"},
    "recurra/peers.py": {"pickle"},
    # The cell itself is copied through memory, as a user may; nothing is read from a file.
    "recurra/testing/checks/cell/module.py": {"pickle"},
    # Text that was made in the line before, of operations that were recorded.
    "recurra/engine/fused/subgraph.py": {"exec"},
    # The files of a user's own plugins, which a task names.
    "recurra/catalog/local.py": {"compile"},
    # Arrays that the benchmark and the process which it began give each other; never objects.
    "recurra/bench/rivals.py": {"np.savez"},
    # The kernels, which build.py makes, and the system's own OpenMP and allocator.
    "recurra/engine/build.py": {"CDLL"},
    "recurra/engine/isolated.py": {"CDLL"},
    "recurra/engine/memory.py": {"CDLL"},
}


def executing(tree: ast.AST) -> Iterator[str]:
    """Give the names in a syntax tree that could run what is read."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (top for name in node.names if (top := _top(name.name)) in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from [_top(node.module or "")] if _top(node.module or "") in MODULES else []
        elif isinstance(node, ast.Call):
            yield from _called(node)


def _top(name: str) -> str:
    return name.partition(".")[0]


def _called(node: ast.Call) -> Iterator[str]:
    function = node.func
    said = {word.arg: word.value for word in node.keywords}
    no_objects = (value := said.get("allow_pickle")) and ast.unparse(value) == "False"
    if said.get("allow_pickle") and not no_objects:
        yield "allow_pickle"
    if said.get("shell"):
        yield "shell"

    if isinstance(function, ast.Name) and function.id in CALLS | LIBRARIES:
        yield function.id
    if not isinstance(function, ast.Attribute):
        return
    if function.attr in LIBRARIES | {"read_pickle", "to_pickle"}:
        yield function.attr
    owner = function.value
    before = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
    if function.attr in ATTRIBUTES.get(before, set()) and not no_objects:
        yield f"{before}.{function.attr}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_file_runs_what_it_reads(path: Path) -> None:
    """What could run data stands in none but a few named files, and there for what is no data."""
    found = {*executing(ast.parse(path.read_bytes()))}
    allowed = next((names for name, names in ALLOWED.items() if path.match(f"*/{name}")), set())
    assert found == allowed


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import numpy, pickle as p",
        "from pickle import load",
        "import yaml.loader",
        "def f():\n    import marshal",
        "torch.load(path)",
        "torch.load(path, weights_only=True)",
        "torch.jit.load(path)",
        "np.load(path)",
        "np.load(path, allow_pickle=True)",
        "np.load(path, allow_pickle=maybe)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "np.save(path, objects)",
        "eval(text)",
        "exec(text, {})",
        "frame = pandas.read_pickle(path)",
        "subprocess.run(text, shell=True)",
        "os.system(text)",
        "ctypes.CDLL(path)",
        "ctypes.cdll.LoadLibrary(path)",
    ],
)
def test_what_runs_data_is_seen(text: str) -> None:
    """Each way of it is found."""
    assert [*executing(ast.parse(text))]


@pytest.mark.parametrize(
    "text",
    ["model.eval()", "np.load(path, allow_pickle=False)", "json.load(file)", "self.load()"],
)
def test_what_runs_nothing_is_left_alone(text: str) -> None:
    """What only sounds like it is not found."""
    assert not [*executing(ast.parse(text))]
