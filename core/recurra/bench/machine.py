"""The machine that is measured on: what it is, and the most that it can do."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

import recurra
from recurra.engine.machine import machine

SIDE = 2048
"""Width of the matrices whose product gives the peak."""
COPIED = 1 << 26
"""Numbers that are copied at once: far more than any cache holds."""


@dataclass(frozen=True)
class Machine:
    """What a run is measured on.

    `flops` are its operations a second in float32 products; `copied` are bytes a second, read and
    written.
    """

    processor: str
    threads: int
    system: str
    python: str
    torch: str
    recurra: str
    flops: float
    copied: float

    def data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def examined(side: int = SIDE, copied: int = COPIED) -> Machine:
    """Return this machine, its limits measured with torch's present number of threads."""
    generator = torch.Generator().manual_seed(0)
    a, b, c = (torch.randn(side, side, generator=generator) for _ in range(3))
    product = _best(lambda: torch.mm(a, b, out=c))

    source, target = torch.ones(copied), torch.zeros(copied)
    copy = _best(lambda: target.copy_(source))

    return Machine(
        processor=machine(),
        threads=torch.get_num_threads(),
        system=platform.platform(),
        python=platform.python_version(),
        torch=torch.__version__,
        recurra=recurra.__version__,
        flops=2 * side**3 / product,
        copied=2 * source.nbytes / copy,
    )


def _best(turn: Callable[[], object], turns: int = 9) -> float:
    """Return the seconds of the fastest turn, the first left out."""
    turn()

    times = []
    for _ in range(turns):
        start = time.perf_counter()
        turn()
        times.append(time.perf_counter() - start)
    return max(min(times), 1e-9)
