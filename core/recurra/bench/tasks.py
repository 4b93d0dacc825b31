"""The tasks that are measured: a character model over a text drawn at random."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from recurra.job.build import build_network
from recurra.job.data import Data, load_data
from recurra.model.network import Network
from recurra.randomness import numpy_stream
from recurra.resolve import resolve
from recurra.resolved import Resolved

SYMBOLS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 \n"
"""The 64 symbols of the text."""

TASK = """\
schema = 1

[source]
kind = "text"
path = "text.txt"

[vocabulary]
kind = "character"

[sequence]
length = 64

[encoder]
kind = "embedding"

[cell]
kind = "lstm"

[loss]
kind = "cross_entropy"

[training]
steps = 1000000
optimizer = { kind = "adamw", lr = 0.002 }
clip_norm = 1.0
"""


def scratch() -> tempfile.TemporaryDirectory[str]:
    """Return a new folder that is gone once its context ends, which gives its name."""
    return tempfile.TemporaryDirectory(prefix="recurra-bench-")


@contextmanager
def resolved(size: int, changes: dict[str, Any]) -> Iterator[tuple[Resolved, Path]]:
    """Give the task with some changes, over a text of `size` bytes.

    With it comes the folder in which both lie for now.
    """
    with scratch() as name:
        folder = Path(name)
        write_text(folder / "text.txt", size)
        (folder / "task.toml").write_text(TASK, encoding="utf-8")
        yield resolve(folder / "task.toml", changes), folder


def write_text(path: Path, size: int, block: int = 1 << 20) -> None:
    """Write a text of `size` bytes: each symbol once, then a random block again and again."""
    alphabet = SYMBOLS.encode("ascii")
    drawn = numpy_stream(0, "bench").integers(len(alphabet), size=min(block, size))
    text = np.frombuffer(alphabet, np.uint8)[drawn].tobytes()

    with path.open("wb") as file:
        file.write(alphabet[:size])
        for start in range(len(alphabet), size, len(text)):
            file.write(text[: size - start])


def built(size: int, changes: dict[str, Any]) -> tuple[Data, Network]:
    """Return the data and the network of a task."""
    with resolved(size, changes) as (task, _):
        data = load_data(task)
        network, _ = build_network(task, data.vocabulary.size, data.names)
    return data, network
