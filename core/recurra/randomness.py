"""Named streams of random numbers, all derived from one seed; the global generators are left alone.

Each use has a stream of its own (`init`, `shuffle`, `restart`, `dropout`, `sampling`, ...), so that
turning one of them off, or asking it more often, never changes what another one draws. What
generation draws, and the noise of dropout, hangs on its place alone: on no number that was drawn
before it.
"""

from __future__ import annotations

import hashlib
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
HALF = np.uint64(32)


def derive(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream called `names` under the run's `seed`."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def numpy_stream(seed: int, *names: str | int) -> np.random.Generator:
    """Return a numpy generator for one named stream."""
    return np.random.Generator(np.random.Philox(derive(seed, *names)))


def torch_stream(
    seed: int, *names: str | int, device: torch.device | str = "cpu"
) -> torch.Generator:
    """Return a torch generator for one named stream on a device."""
    return torch.Generator(device=device).manual_seed(derive(seed, *names))


@contextmanager
def seeded(seed: int, *names: str | int, device: torch.device | None = None) -> Iterator[None]:
    """Lend torch's global generators, the CPU's and a CUDA device's, to one named stream; give them
    back as they were.

    For code that can draw from them alone, as the initialisation of torch's own modules does, and a
    plugin's dropout.
    """
    cuda = device is not None and device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(derive(seed, *names))
        if cuda:
            with torch.cuda.device(device):  # it seeds the present one alone
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


def philox(counters: NDArray[np.uint32], key: int) -> NDArray[np.uint32]:
    """Return the random words `[..., 4]` of counters `[..., 4]` under a key of 64 bits, by
    Philox-4x32-10.

    Salmon, Moraes, Dror & Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3",
    doi:10.1145/2063384.2063405.
    """
    a, b, c, d = (counters[..., word].astype(np.uint64) for word in range(4))
    low, high = key & 0xFFFFFFFF, key >> 32

    for _ in range(ROUNDS):
        one, two = a * MULTIPLIERS[0], c * MULTIPLIERS[1]
        a, b, c, d = (
            (two >> HALF) ^ b ^ np.uint64(low),
            two & LOW,
            (one >> HALF) ^ d ^ np.uint64(high),
            one & LOW,
        )
        low, high = (low + WEYL[0]) & 0xFFFFFFFF, (high + WEYL[1]) & 0xFFFFFFFF
    return np.stack([a, b, c, d], axis=-1).astype(np.uint32)


def uniforms(key: int, first: int, count: int, streams: int) -> NDArray[np.float64]:
    """Return the numbers in [0, 1) of `count` steps from `first` on of each stream,
    `[count, streams]`.

    That of a step and a stream is made of the first two words of the counter (step, stream), 64
    bits each, as a multiple of 2^-52; times a sum s of chances it stays below s, which 2^-53 could
    round up to.
    """
    steps = np.arange(first, first + count, dtype=np.uint64)[:, None]
    owners = np.arange(streams, dtype=np.uint64)[None, :]
    words = [steps & LOW, steps >> HALF, owners & LOW, owners >> HALF]
    found = philox(np.stack(np.broadcast_arrays(*words), axis=-1).astype(np.uint32), key).astype(
        np.uint64
    )
    return ((found[..., 0] << np.uint64(20)) | (found[..., 1] >> np.uint64(12))).astype(
        np.float64
    ) * 2.0**-52


class Noise:
    """What dropout draws from: each of its calls, in a batch of an update, has a stream of its
    own.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.generator = torch.Generator(device=device)
        self.begin(0)

    def begin(self, step: int, batch: int = 0) -> None:
        """Stand before a batch of an update, whatever was drawn before."""
        self.place = (step, batch)
        self.calls = 0

    def mask(self, x: Tensor, share: float) -> Tensor:
        """Return 1 for each element of `x` that is kept and 0 for a `share` of them, drawn row
        after row.
        """
        key = derive(self.seed, "dropout", *self.place, self.calls)
        self.calls += 1
        if x.device.type != "cpu":
            drawn = torch.empty(x.shape, dtype=x.dtype, device=x.device)
            return drawn.bernoulli_(1 - share, generator=self.generator.manual_seed(key))

        numbers = np.random.Generator(np.random.Philox(key=key)).random(x.shape, np.float32)
        return torch.from_numpy(numbers >= share).to(x.dtype)

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must hold: nothing, for all of it hangs on the place."""
        return {}

    def restore(self, streams: dict[str, Tensor]) -> None:
        """Take back what `state` gave."""


class FlowingNoise(Noise):
    """The noise of scheme 1: one generator, from number to number, for all of training."""

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        super().__init__(seed, device)
        self.generator.manual_seed(derive(seed, "dropout"))

    def mask(self, x: Tensor, share: float) -> Tensor:
        """Return 1 for what is kept and 0 for what is dropped, in the order in which `x` lies in
        memory.
        """
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
