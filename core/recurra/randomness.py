"""Named streams of random numbers, all derived from one seed; the global generators are left alone.

Each use has a stream of its own (`init`, `shuffle`, `restart`, `dropout`, `sampling`, ...), so that turning one of
them off, or asking it more often, never changes what another one draws.
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
def seeded(seed: int, *names: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Lend torch's global generators, the CPU's and a CUDA device's, to one named stream; give them back as they were.

    For code that can draw from them alone, as the initialisation of torch's own modules does, and a plugin's dropout.
    """
    cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(derive(seed, *names))
        if cuda:
            torch.cuda.manual_seed(derive(seed, *names))
        yield


def global_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the state of torch's global generators, the CPU's and that of a CUDA device."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_global_state(states: dict[str, torch.Tensor], device: torch.device) -> None:
    """Take back what `global_state` gave, as far as this device has it."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
