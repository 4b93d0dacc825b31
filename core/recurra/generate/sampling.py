"""From logits to a symbol: penalty, temperature, top-k, top-p, min-p, and then a seeded draw."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.fused.block import Rule
from recurra.generate import arguments
from recurra.generate.draws import Draws
from recurra.spec.tables import Generation

COLDEST = torch.finfo(torch.float32).tiny
"""What a temperature, or a penalty, below it is taken for: float32 would make it 0."""
HOTTEST = torch.finfo(torch.float32).max
"""What one above it is taken for, and the largest logit: float32 would make it infinite."""
LOWEST = -700.0
"""What e to the power of it is the least that is told from 0."""
LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
"""The logarithm of 2 in two parts, of which the first has few bits."""
MAGIC = 1.5 * 2.0**52
"""Adding it rounds to a whole number."""
TAYLOR = [1.0 / math.factorial(order) for order in range(13, 1, -1)]
"""The terms of (exp(r) - 1 - r) / r^2, the last first."""


@dataclass(frozen=True)
class Sampling:
    """How a symbol is picked; the fields are those of the `[generation]` table.

    Raises `InputError` (RC080) for a value that the table refuses, and for one that nothing reads
    at temperature 0.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        given = [(each, getattr(self, each.name)) for each in fields(self)]
        said = {each.name: value for each, value in given if value is not each.default}
        if said:
            arguments.generation(said, Generation())

    def pick(self, logits: Tensor, seen: Tensor, draws: Draws) -> Tensor:
        """Return one id a row, `[B]`, for logits `[B, V]`; `seen` `[B, V]` marks what has come."""
        logits = logits.float().clamp(-HOTTEST, HOTTEST)
        if self.repetition_penalty != 1.0:
            fainter = penalised(logits, self.repetition_penalty)
            logits = torch.where(seen, fainter, logits)
        if self.temperature == 0:
            return logits.argmax(dim=-1)

        weights = torch.from_numpy(self.weights(logits.cpu().numpy()))
        return draws.pick(weights).to(logits.device)

    def chances(self, logits: Tensor) -> Tensor:
        """Return the probabilities `[B, V]` that a draw follows, in float64."""
        weights = torch.from_numpy(self.weights(logits.float().numpy()))
        return weights / weights.sum(dim=-1, keepdim=True)

    def weights(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return how likely each symbol is to be drawn beside the likeliest, `[B, V]`.

        A kernel draws by the same numbers, bit for bit (draw.h): none may be computed in another
        order.
        """
        wide = logits.astype(np.float64)
        # The largest logit becomes 0, so that no division makes it infinite.
        weights = powers((wide - wide.max(axis=-1, keepdims=True)) / self.coldness)
        cuts = 0 < self.top_k < weights.shape[-1]
        if not (cuts or self.top_p < 1 or self.min_p > 0):
            return weights

        # Ranked from the likeliest down, every rule keeps a beginning.
        order = np.argsort(-weights, axis=-1, kind="stable")
        ranked = np.take_along_axis(weights, order, axis=-1)
        keep = np.ones(ranked.shape, np.bool_)
        if cuts:
            keep[:, self.top_k :] = False
        if self.top_p < 1:
            # A symbol stays if those before it do not reach top_p yet, so the first always does.
            left = np.zeros_like(weights)
            np.put_along_axis(left, order, np.where(keep, ranked, 0.0), axis=-1)
            whole = left.cumsum(axis=-1)[:, -1:]
            held = np.zeros_like(ranked)
            np.cumsum(ranked[:, :-1], axis=-1, out=held[:, 1:])
            keep &= held < self.top_p * whole
        if self.min_p > 0:
            keep &= ranked >= self.min_p

        left = np.zeros_like(weights)
        np.put_along_axis(left, order, np.where(keep, ranked, 0.0), axis=-1)
        return left

    def rule(self, key: int) -> Rule:
        """Return what a kernel draws by, of the random numbers of a key."""
        return Rule(
            temperature=self.coldness if self.temperature else 0.0,
            top_p=self.top_p,
            min_p=self.min_p,
            penalty=_in_float32(self.repetition_penalty),
            top_k=self.top_k,
            key=key,
        )

    @property
    def coldness(self) -> float:
        """What logits are divided by: the temperature, as far as float32 has it."""
        return _in_float32(self.temperature)


def _in_float32(value: float) -> float:
    """Return a number above 0, or the nearest that is neither 0 nor infinite in float32."""
    return min(max(value, COLDEST), HOTTEST)


def powers(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return e to the power of numbers that are not above 0, 0 where they are below -700.

    By Taylor's series within half a logarithm of 2, and a power of 2. It is right to two units in
    the last place, and the same on every machine, for each operation is rounded by itself; `power`
    of draw.h is the same in C.
    """
    low = np.maximum(x, LOWEST)
    n = (low * LOG2_E + MAGIC) - MAGIC
    r = (low - n * LN2_HIGH) - n * LN2_LOW
    tail = np.full_like(r, TAYLOR[0])
    for term in TAYLOR[1:]:
        tail = tail * r + term
    near = 1.0 + (r + r * r * tail)
    scale = ((n.astype(np.int64) + 1023) << 52).view(np.float64)
    made: NDArray[np.float64] = np.where(x < LOWEST, 0.0, near * scale)
    return made


def penalised(logits: Tensor, penalty: float) -> Tensor:
    """Return logits made less likely: divided by the penalty above 0, multiplied below.

    After Keskar et al. 2019, arXiv:1909.05858.
    """
    penalty = _in_float32(penalty)
    changed = torch.where(logits > 0, logits / penalty, logits * penalty)
    # The difference of two infinite ones would be no number.
    return changed.clamp(-HOTTEST, HOTTEST)
