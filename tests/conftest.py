"""What all tests share: examples that are always the same, a cache of their own, small tasks."""

from __future__ import annotations

import compileall
import itertools
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from sites import CELL, Site, hook

from recurra.engine.build import SETS
from recurra.engine.fused import Kernels

REPOSITORY = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Tests side by side: one core each, in the processes that they start as well.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("anew", derandomize=False, deadline=None, database=None, print_blob=True)
MANY = 20
"""How many times as many examples a law draws under `-m slow`."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--examples`."""
    text = f"draw N times as many examples for each law, anew every time (under `-m slow`: {MANY})"
    parser.addoption("--examples", type=int, metavar="N", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Let laws draw the same few examples in every run, but where many new ones are asked for.

    Settings of a law take what they do not say from the profile that is loaded when its module is
    imported: now.
    """
    if config.option.examples is None and config.option.markexpr == "slow":
        config.option.examples = MANY
    settings.load_profile("same" if config.option.examples is None else "anew")
    if "PYTEST_XDIST_WORKER" not in os.environ:
        # Each process that a test starts would compile them, where Python is told to keep nothing.
        for folder in ("core", "plugins"):
            compileall.compile_dir(REPOSITORY / folder, quiet=2)


@pytest.hookimpl(tryfirst=True)  # before pytest leaves out what `-m` does not choose
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Make every law that is quick draw many times its examples.

    Under `-m slow` these laws are slow ones too.
    """
    if config.option.examples is None:
        return

    laws = [item for item in items if is_law(item) and not item.get_closest_marker("slow")]
    # Of one law each parameter is an item.
    functions = {id(item.function): item.function for item in laws}
    for function in functions.values():
        widen(function, config.option.examples)

    for item in laws if config.option.markexpr == "slow" else ():
        item.add_marker(pytest.mark.slow)


def is_law(item: pytest.Item) -> bool:
    """Tell whether an item is a function to which Hypothesis gives examples."""
    return bool(getattr(getattr(item, "function", None), "is_hypothesis_test", False))


def widen(law: Callable[..., None], times: int) -> None:
    """Let a law draw so many times its examples.

    Hypothesis keeps a law's settings in this attribute.
    """
    own = law._hypothesis_internal_use_settings
    law._hypothesis_internal_use_settings = settings(own, max_examples=times * own.max_examples)


AS_A_USER = {
    "test_build.py", "test_fused_operations.py", "test_reproduction.py", "test_sessions.py",
    "test_terminals.py",
    "test_witnesses.py",
}  # fmt: skip
"""Tests whose kernels are a user's: of what the compiler does, or of bits in other processes.

Those of all others are compiled quickly by default, and as a user's are under `-m slow`, which
draws the laws anew.
"""
UNOPTIMISED = tuple(tuple("-O0" if flag == "-O3" else flag for flag in flags) for flags in SETS)
"""Flags of the compiler that make it four times as quick.

What is compiled means the same, and proves itself.
"""
COMPILED: dict[tuple[tuple[str, ...], ...], Kernels] = {}
"""What this process has compiled, by the flags."""

HELLO = """\
schema = 1

[source]
kind = "inline"
text = "hello"

[vocabulary]
kind = "character"

[sequence]
length = 4

[encoder]
kind = "one_hot"

[cell]
kind = "lstm"
hidden_size = 8

[loss]
kind = "cross_entropy"

[training]
steps = 3
optimizer = { kind = "adam", lr = 0.01 }

[generation]
prompt = "h"
length = 4
"""

SERIES = """\
schema = 1

[source]
kind = "inline"
values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]

[vocabulary]
kind = "numeric"

[sequence]
length = 5
split = [0.6, 0.2, 0.2]

[encoder]
kind = "identity"

[cell]
kind = "gru"
hidden_size = 8

[loss]
kind = "mse"

[training]
steps = 3

[generation]
length = 3
"""


@pytest.fixture(scope="session")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of kernels, which all tests share: each takes a while to compile."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Give a cache folder that is not there yet.

    It is made where something is kept in it, and most tests need none.
    """
    folder = tmp_path_factory.getbasetemp() / "caches"
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(scope="module", autouse=True)
def _world_of_modules(
    request: pytest.FixtureRequest, caches: Iterator[Path], kernels: Path
) -> Iterator[None]:
    """Keep what the tests of a module share from the user's cache.

    Its kernels are compiled as a user's are, or quickly.
    """
    as_a_user = request.path.name in AS_A_USER or request.config.option.markexpr != "not slow"
    sets = SETS if as_a_user else UNOPTIMISED

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recurra.engine.build.kernel_folder", lambda: kernels)
        patch.setattr("recurra.engine.build.SETS", sets)
        patch.setattr("recurra.engine.fused.KERNELS", COMPILED.setdefault(sets, Kernels()))
        patch.setenv("RECURRA_CACHE", str(next(caches)))
        patch.setenv("RECURRA_MEASURE", "0")
        yield


@pytest.fixture(autouse=True)
def _own_world(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep a test to a cache and random numbers of its own, one thread, and installed plugins."""
    monkeypatch.setenv("RECURRA_CACHE", str(next(caches)))
    for name in ("RECURRA_PLUGINS", "RECURRA_PLUGINS_BLOCK", "RECURRA_PLUGINS_STRICT"):
        monkeypatch.delenv(name, raising=False)

    torch.set_num_threads(1)
    torch.default_generator.manual_seed(0)  # torch.manual_seed would import torch's compiler
    np.random.seed(0)
    random.seed(0)

    before = _ways()
    yield
    after = _ways()
    _put_back(*before)
    assert after == before, "a test leaves torch as it found it"


def _ways() -> tuple[int, bool, torch.dtype]:
    """Return in which ways torch computes, for all tests of a process."""
    mode = torch.get_deterministic_debug_mode()
    return mode, torch.is_grad_enabled(), torch.get_default_dtype()


def _put_back(mode: Any, grad: bool, dtype: torch.dtype) -> None:
    torch.set_deterministic_debug_mode(mode)
    torch.set_grad_enabled(grad)
    torch.set_default_dtype(dtype)


@pytest.fixture
def task(tmp_path: Path) -> Callable[..., Path]:
    """Write a task file: the text, with each old part replaced by a new one."""

    def write(text: str = HELLO, *changes: tuple[str, str], name: str = "task.toml") -> Path:
        for old, new in changes:
            assert old in text, f"the task holds no {old!r}"
            text = text.replace(old, new)

        path = tmp_path / name
        path.write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """Give an empty folder for distributions.

    What is imported from it, or from local files, is forgotten afterwards.
    """
    before = set(sys.modules)
    folder = Site(tmp_path / "site")
    monkeypatch.syspath_prepend(folder.path)
    monkeypatch.chdir(tmp_path)
    yield folder

    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def sound(site: Site) -> Site:
    """A folder with one sound distribution, which offers the cell `leaky`."""
    site.write("sound_cell", CELL)
    site.add("sound", hook())
    return site
