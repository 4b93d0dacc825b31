"""The steps before a step: what a short causal convolution reads, across windows, resets and ragged
rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.engine.recurrence import within
from recurra.shapes import Flags, Lengths


def lagged(
    x: Tensor, tail: Tensor, reset: Flags | None, lengths: Lengths | None
) -> tuple[Tensor, Tensor]:
    """Return each step with the `k` steps before it, `[B, T, k+1, D]`, the oldest first, and the
    next tail.

    `tail`, `[B, k, D]`, holds the steps before the window. Steps before a row's start are zeros.
    Steps at or after a row's length must be clean in `x`, and do not reach the tail.
    """
    batch, steps, width = x.shape
    before = tail.shape[1]
    whole = torch.cat([tail, x], dim=1)  # B k+T D
    windows = _windows(whole, before, steps)  # B T k+1 D
    if reset is None and lengths is None:
        return windows, whole[:, steps:]
    ends = (
        torch.full((batch,), steps, device=x.device)
        if lengths is None
        else lengths.clamp(max=steps)
    )
    # B k: where the next tail stands in the whole
    kept = ends[:, None] + torch.arange(before, device=x.device)
    after = whole.gather(1, kept.unsqueeze(-1).expand(-1, -1, width))
    if reset is None:
        return windows, after
    # B k+T
    sequence = torch.cat([reset.new_zeros(batch, before, dtype=torch.long), reset.cumsum(1)], dim=1)
    spans = _windows(sequence, before, steps)  # B T k+1
    windows = torch.where(
        (spans == spans[..., -1:]).unsqueeze(-1), windows, torch.zeros_like(windows)
    )
    live = within(ends, steps)  # B T
    last = (reset & live).sum(1, keepdim=True)  # B 1: the sequence in which each row ends
    own = (sequence.gather(1, kept) == last).unsqueeze(-1)
    return windows, torch.where(own, after, torch.zeros_like(after))


def _windows(whole: Tensor, before: int, steps: int) -> Tensor:
    """Return each of the last `steps` entries of `[B, k+T, ...]` with those `before` it,
    `[B, T, k+1, ...]`.
    """
    return torch.stack([whole[:, late : late + steps] for late in range(before + 1)], dim=2)
