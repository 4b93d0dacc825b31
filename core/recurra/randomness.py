"""Named streams of random numbers, all derived from one seed; the global generators are left alone.

Each use has a stream of its own (`init`, `shuffle`, `dropout`, `sampling`, ...), so that turning one of them off, or
asking it more often, never changes what another one draws.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called `names` under the run's `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for one named stream."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))


def torch_stream(seed: int, *names: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a torch generator for one named stream on a device."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int) -> Iterator[None]:
    """Lend torch's global CPU generator to one named stream, and give it back as it was.

    For code that can draw from the global generator alone, as the initialisation of torch's own modules does.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, *names))
        yield
