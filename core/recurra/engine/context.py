"""The steps before a step: what a short causal convolution reads, across windows, resets and ragged rows."""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.shapes import Flags, Lengths


def lagged(x: Tensor, tail: Tensor, reset: Flags | None, lengths: Lengths | None) -> tuple[Tensor, Tensor]:
    """Return each step with the `k` steps before it, `[B, T, k+1, D]`, the oldest first, and the next tail.

    `tail`, `[B, k, D]`, holds the steps before the window. Steps before a row's start are zeros. Steps at or after a
    row's length must be clean in `x`, and do not reach the tail.
    """
    batch, steps, _ = x.shape
    before = tail.shape[1]
    whole = torch.cat([tail, x], dim=1)  # B k+T D
    windows = whole.unfold(1, before + 1, 1).transpose(2, 3) if steps else x.new_zeros(batch, 0, before + 1, x.shape[2])
    ends = torch.full((batch,), steps, device=x.device) if lengths is None else lengths
    kept = ends[:, None] + torch.arange(before, device=x.device)  # B k: where the next tail stands in the whole
    after = whole.gather(1, kept.unsqueeze(-1).expand(-1, -1, x.shape[2]))
    if reset is None:
        return windows, after
    sequence = torch.cat([reset.new_zeros(batch, before, dtype=torch.long), reset.cumsum(1)], dim=1)  # B k+T
    if steps:
        spans = sequence.unfold(1, before + 1, 1)  # B T k+1
        windows = torch.where((spans == spans[..., -1:]).unsqueeze(-1), windows, torch.zeros_like(windows))
    last = sequence.gather(1, (ends + before - 1).unsqueeze(1))
    own = (sequence.gather(1, kept) == last).unsqueeze(-1)
    return windows, torch.where(own, after, torch.zeros_like(after))
