"""What all tests share: a cache folder of their own, and small tasks to start from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

REPOSITORY = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side: one core each, in the processes that they start as well
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(1)

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
    """Return the folder of compiled kernels, which all tests share: each takes a while to compile."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if base.name.startswith("popen-") else base) / "kernels"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(autouse=True)
def _own_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kernels: Path) -> None:
    """Keep a test to its own folder, to one thread and to paths that need no measurement."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("recurra.engine.build.kernel_folder", lambda: kernels)
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    for name in ("RECURRA_PLUGINS", "RECURRA_PLUGINS_BLOCK", "RECURRA_PLUGINS_STRICT"):
        monkeypatch.delenv(name, raising=False)
    torch.set_num_threads(1)


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
