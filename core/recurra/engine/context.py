"""The steps before a step: what a short causal convolution reads.

It reads them across windows, resets and ragged rows.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recurra.engine.recurrence import within
from recurra.shapes import Flags, Lengths


def lagged(
    x: Tensor, tail: Tensor, reset: Flags | None, lengths: Lengths | None
) -> tuple[Tensor, Tensor]:
    """Return each step with the `k` steps before it, and the next tail.

    The steps are `[B, T, k+1, D]`, the oldest first. `tail`, `[B, k, D]`, holds the steps before
    the window. Steps before a row's start are zeros. Steps at or after a row's length must be clean
    in `x`, and do not reach the tail.
    """
    batch, steps, width = x.shape
    before = tail.shape[1]
    whole = torch.cat([tail, x], dim=1)  # B k+T D
    windows = _windows(whole, before, steps)  # B T k+1 D
    if reset is None and lengths is None:
        return windows, whole[:, steps:]

    if lengths is None:
        ends = torch.full((batch,), steps, device=x.device)
    else:
        ends = lengths.clamp(max=steps)

    # The whole begins with the tail: a row of n steps ends at n + k, and its next tail begins at n.
    places = ends[:, None] + torch.arange(before, device=x.device)  # B k
    index = places.unsqueeze(-1).expand(-1, -1, width)
    after = whole.gather(1, index)
    if reset is None:
        return windows, after

    # Sequences are numbered as they begin; the steps of the tail belong to number 0.
    of_tail = reset.new_zeros(batch, before, dtype=torch.long)
    sequence = torch.cat([of_tail, reset.cumsum(1)], dim=1)  # B k+T

    # A step sees nothing of other sequences than its own.
    numbers = _windows(sequence, before, steps)  # B T k+1
    same = numbers == numbers[..., -1:]
    windows = torch.where(same.unsqueeze(-1), windows, torch.zeros_like(windows))

    # Nor does the next tail, but for the sequence in which its row ends.
    live = within(ends, steps)  # B T
    last = (reset & live).sum(1, keepdim=True)  # B 1
    own = sequence.gather(1, places) == last
    after = torch.where(own.unsqueeze(-1), after, torch.zeros_like(after))
    return windows, after


def _windows(whole: Tensor, before: int, steps: int) -> Tensor:
    """Return each of the last `steps` entries with those `before` it.

    They are `[B, T, k+1, ...]`, of `[B, k+T, ...]`.
    """
    shifted = [whole[:, late : late + steps] for late in range(before + 1)]
    return torch.stack(shifted, dim=2)
