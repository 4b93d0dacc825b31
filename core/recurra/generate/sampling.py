"""From logits to a symbol: penalty, temperature, top-k, top-p, min-p, and then a seeded draw."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from recurra.generate import arguments
from recurra.generate.draws import Draws
from recurra.spec.tables import Generation

COLDEST = torch.finfo(torch.float32).tiny
"""What a temperature, or a penalty, below it is taken for: float32 would make it 0."""
HOTTEST = torch.finfo(torch.float32).max
"""What one above it is taken for, and the largest logit: float32 would make it infinite."""


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
        logits = logits.float()
        if self.repetition_penalty != 1.0:
            fainter = penalised(logits, self.repetition_penalty)
            logits = torch.where(seen, fainter, logits)
        if self.temperature == 0:
            return logits.argmax(dim=-1)
        return draws.pick(self.chances(logits.cpu())).to(logits.device)

    def chances(self, logits: Tensor) -> Tensor:
        """Return the probabilities `[B, V]` that a draw follows."""
        temperature = min(max(self.temperature, COLDEST), HOTTEST)
        # The largest logit becomes 0, so that no division makes it infinite.
        below = logits - logits.amax(dim=-1, keepdim=True)
        chances = torch.softmax(below / temperature, dim=-1)
        cuts = 0 < self.top_k < chances.shape[-1]
        if not (cuts or self.top_p < 1 or self.min_p > 0):
            return chances

        # Ranked from the likeliest down, every rule keeps a beginning.
        ranked, order = chances.sort(dim=-1, descending=True, stable=True)
        keep = torch.ones_like(ranked, dtype=torch.bool)
        if cuts:
            keep[:, self.top_k :] = False
        if self.top_p < 1:
            # A symbol stays if those before it do not reach top_p yet, so the first always does.
            rest = torch.where(keep, ranked, 0.0)
            rest = rest / rest.sum(dim=-1, keepdim=True)
            before = rest.cumsum(dim=-1) - rest
            keep &= before < self.top_p
        if self.min_p > 0:
            keep &= ranked >= self.min_p * ranked[:, :1]

        ranked = torch.where(keep, ranked, 0.0)
        ranked = ranked / ranked.sum(dim=-1, keepdim=True)
        return torch.zeros_like(ranked).scatter(-1, order, ranked)


def penalised(logits: Tensor, penalty: float) -> Tensor:
    """Return logits made less likely: divided by the penalty above 0, multiplied below.

    After Keskar et al. 2019, arXiv:1909.05858.
    """
    penalty = min(max(penalty, COLDEST), HOTTEST)
    changed = torch.where(logits > 0, logits / penalty, logits * penalty)
    # The difference of two infinite ones would be no number.
    return changed.clamp(-HOTTEST, HOTTEST)
