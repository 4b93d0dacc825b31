"""Named streams of random numbers, all derived from one seed; the global generators are left alone.

Each use has a stream of its own (`init`, `shuffle`, `restart`, `dropout`, `sampling`, ...), so that
turning one of them off, or asking it more often, never changes what another one draws. What
generation draws, and the noise of dropout, hangs on its place alone: on no number that was drawn
before it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SCHEME = 2
"""How the draws of generation and the noise of dropout are made, recorded by each run.

1: each from one generator, number after number; 2: each from its own place, as `uniforms` and
`Noise` say.
"""

MULTIPLIERS = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
WEYL = 0x9E3779B9, 0xBB67AE85
ROUNDS = 10
"""The constants of Philox-4x32-10."""

LOW = np.uint64(0xFFFFFFFF)
"""The bits of a word; the product of two words is a low and a high word."""
HALF = np.uint64(32)
"""How many bits a word has."""

FLOATS = 8
"""How many numbers of float32 numpy's Philox makes of one counter."""


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called `names` under the run's `seed`."""
    text = "/".join(map(str, (seed, *names)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    return number >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for one named stream."""
    bits = np.random.Philox(derive(seed, *names))
    return np.random.Generator(bits)


def torch_stream(
    seed: int, *names: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator for one named stream on a device."""
    generator = torch.Generator(device=device)
    return generator.manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Lend torch's global generators to one named stream, and give them back as they were.

    They are the CPU's and a CUDA device's. This is for code that can draw from them alone, as the
    initialisation of torch's own modules does, and a plugin's dropout.
    """
    cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        begin(seed, *names, device=device)
        yield


def begin(seed: int, *names: str | int, device: torch.device | None = None) -> None:
    """Set torch's global generators, which are lent, at the beginning of one named stream."""
    key = derive(seed, *names)
    torch.default_generator.manual_seed(key)
    if device is not None and device.type == "cuda":
        # torch seeds the present device alone.
        with torch.cuda.device(device):
            torch.cuda.manual_seed(key)


def global_state(device: torch.device) -> dict[str, Tensor]:
    """Return the state of torch's global generators, the CPU's and that of a CUDA device."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_global_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Take back what `global_state` gave, as far as this device has it."""
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def philox(counters: NDArray[np.uint32], key: int) -> NDArray[np.uint32]:
    """Return the random words `[..., 4]` of counters `[..., 4]` under a key, by Philox-4x32-10.

    The key has 64 bits. Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as
    1, 2, 3", doi:10.1145/2063384.2063405.
    """
    # Words of 32 bits in 64, so that the product of two is whole.
    a, b, c, d = np.moveaxis(counters.astype(np.uint64), -1, 0)
    low, high = key & 0xFFFFFFFF, key >> 32

    for _ in range(ROUNDS):
        first = a * MULTIPLIERS[0]
        second = c * MULTIPLIERS[1]
        a = (second >> HALF) ^ b ^ np.uint64(low)
        c = (first >> HALF) ^ d ^ np.uint64(high)
        b = second & LOW
        d = first & LOW

        # Each round has a key of its own.
        low = (low + WEYL[0]) & 0xFFFFFFFF
        high = (high + WEYL[1]) & 0xFFFFFFFF

    words = np.stack([a, b, c, d], axis=-1)
    return words.astype(np.uint32)


def uniforms(key: int, first: int, count: int, streams: int) -> NDArray[np.float64]:
    """Return a number in [0, 1) for each step and stream, `[count, streams]`.

    The steps are `count` from `first` on. The number of a step and a stream is made of the first
    two words of the counter (step, stream), 64 bits each, as a multiple of 2^-52; times a sum s of
    chances it stays below s, which 2^-53 could round up to.
    """
    steps = np.arange(first, first + count, dtype=np.uint64)[:, None]
    owners = np.arange(streams, dtype=np.uint64)[None, :]
    halves = np.broadcast_arrays(steps & LOW, steps >> HALF, owners & LOW, owners >> HALF)
    counters = np.stack(halves, axis=-1).astype(np.uint32)
    words = philox(counters, key).astype(np.uint64)

    # 52 random bits: all 32 of the first word, then the upper 20 of the second.
    upper = words[..., 0] << np.uint64(20)
    lower = words[..., 1] >> np.uint64(12)
    bits = upper | lower
    return bits.astype(np.float64) * 2.0**-52


class Noise:
    """What dropout draws from: each call, in a batch of an update, has a stream of its own."""

    by_place = True
    """Whether what a row gets hangs on its place alone, and on no other row."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.generator = torch.Generator(device=device)
        self.begin(0)

    def begin(self, step: int, batch: int = 0) -> None:
        """Stand before a batch of an update, whatever was drawn before."""
        self.place = (step, batch)
        self.calls = 0
        self.among()

    def among(self, rows: int | None = None, first: int = 0) -> None:
        """Say that what comes are rows from `first` on of so many, which other processes have.

        Each gets what it would get if all were here.
        """
        self.rows, self.first = rows, first

    def skip(self, calls: int) -> None:
        """Leave out what so many calls would draw."""
        self.calls += calls

    def mask(self, x: Tensor, share: float) -> Tensor:
        """Return 0 for a `share` of the elements of `x` and 1 for the rest, drawn row after row."""
        key = derive(self.seed, "dropout", *self.place, self.calls)
        self.calls += 1
        if x.device.type != "cpu":
            rows = len(x) if self.rows is None else self.rows
            mask = torch.empty((rows, *x.shape[1:]), dtype=x.dtype, device=x.device)
            generator = self.generator.manual_seed(key)
            return mask.bernoulli_(1 - share, generator=generator)[self.first :][: len(x)]

        bits = np.random.Philox(key=key)
        before = self.first * math.prod(x.shape[1:])
        if before:
            bits.advance(before // FLOATS)
        stream = np.random.Generator(bits)
        stream.random(before % FLOATS, np.float32)
        numbers = stream.random(x.shape, np.float32)
        return torch.from_numpy(numbers >= share).to(x.dtype)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold: nothing, for all of it hangs on the place."""
        return {}

    def restore(self, streams: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""


class FlowingNoise(Noise):
    """The noise of scheme 1: one generator, from number to number, for all of training."""

    by_place = False

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(seed, device)
        self.generator.manual_seed(derive(seed, "dropout"))

    def mask(self, x: Tensor, share: float) -> Tensor:
        """Return 0 for what is dropped and 1 for the rest, in the order of `x` in memory."""
        return torch.empty_like(x).bernoulli_(1 - share, generator=self.generator)

    def state(self) -> dict[str, Tensor]:
        """Return where the generator stands."""
        return {"dropout": self.generator.get_state()}

    def restore(self, streams: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""
        if "dropout" in streams:
            self.generator.set_state(streams["dropout"])


def noise(seed: int, device: torch.device | str = "cpu", scheme: int = SCHEME) -> Noise:
    """Return the noise of dropout under a scheme."""
    return FlowingNoise(seed, device) if scheme == 1 else Noise(seed, device)
