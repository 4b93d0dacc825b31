"""A window cut into chunks of equal length: what the cells with a matrix for a state share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LONGEST = 32
"""Steps of the longest chunk.

The work inside a chunk grows with its square, the passages between chunks with their number.
"""


def length_of(steps: int) -> int:
    """Return how long the chunks of a window are.

    Short windows are cut as well, so that nothing is special to them.
    """
    third = -(-steps // 3)  # rounded up
    return min(LONGEST, third)


def cut(x: Tensor, length: int, blank: float = 0.0) -> Tensor:
    """Return `[B, T, heads, ...]` as `[B, heads, chunks, length, ...]`.

    The last chunk is filled up with `blank`.
    """
    missing = -x.shape[1] % length
    if missing:
        # Pads are listed from the last axis on: none but `missing` steps at the end of time.
        no_pads = [0, 0] * (x.dim() - 2)
        x = functional.pad(x, [*no_pads, 0, missing], value=blank)

    chunked = x.reshape(x.shape[0], -1, length, *x.shape[2:])  # B chunks length heads ...
    return chunked.movedim(3, 1)


def join(y: Tensor, steps: int) -> Tensor:
    """Return `[B, heads, chunks, length, d]` as `[B, T, heads, d]`."""
    by_step = y.permute(0, 2, 3, 1, 4).flatten(1, 2)  # B chunks*length heads d
    return by_step[:, :steps]


def marked(log_keep: Tensor, reset: Tensor | None, live: Tensor | None) -> Tensor:
    """Return the logarithms `[B, T, heads]` of what steps keep.

    It is all where a row is not live, and nothing at a reset.
    """
    if live is not None:
        keep_all = torch.zeros_like(log_keep)
        log_keep = torch.where(live.unsqueeze(-1), log_keep, keep_all)
    if reset is not None:
        log_keep = log_keep.masked_fill(reset.unsqueeze(-1), -torch.inf)
    return log_keep


def between(log_keep: Tensor) -> Tensor:
    """Return, of `[..., length]`, the sums of logarithms after step j up to step t, `[..., t, j]`.

    They are -inf where j comes after t. Each sum is made of its own terms and never the difference
    of two longer ones: it is exact beside a decay of any strength, and -inf, which is a reset, is
    no special case.
    """
    length = log_keep.shape[-1]
    square = log_keep.unsqueeze(-1).expand(*log_keep.shape, length)  # ... t j

    # Column j holds the terms of the steps after j alone, and summing them downwards ends at t:
    # of [a, b, c] the columns are [0, b, b + c], [0, 0, c] and [0, 0, 0].
    sums = square.tril(-1).cumsum(-2)
    return sums.masked_fill(_ahead(log_keep), -torch.inf)


def _ahead(log_keep: Tensor) -> Tensor:
    """Return flags `[t, j]` of the steps that come after t."""
    length = log_keep.shape[-1]
    pairs = torch.ones(length, length, dtype=torch.bool, device=log_keep.device)
    return pairs.triu(1)
