"""A window cut into chunks of equal length: what the cells with a matrix for a state share."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

LONGEST = 32
"""Steps of the longest chunk: the work inside a chunk grows with its square, the passages between
with their number.
"""


def length_of(steps: int) -> int:
    """Return how long the chunks of a window are: short windows are cut as well, so that nothing is
    special to them.
    """
    return min(LONGEST, -(-steps // 3))


def cut(x: Tensor, length: int, blank: float = 0.0) -> Tensor:
    """Return `[B, T, heads, ...]` as `[B, heads, chunks, length, ...]`, the last chunk filled up
    with `blank`.
    """
    missing = -x.shape[1] % length
    if missing:
        x = functional.pad(x, [0, 0] * (x.dim() - 2) + [0, missing], value=blank)
    return x.reshape(x.shape[0], -1, length, *x.shape[2:]).movedim(3, 1)


def join(y: Tensor, steps: int) -> Tensor:
    """Return `[B, heads, chunks, length, d]` as `[B, T, heads, d]`."""
    return y.permute(0, 2, 3, 1, 4).flatten(1, 2)[:, :steps]


def marked(log_keep: Tensor, reset: Tensor | None, live: Tensor | None) -> Tensor:
    """Return the logarithms `[B, T, heads]` of what steps keep: all where a row is not live,
    nothing at a reset.
    """
    if live is not None:
        log_keep = torch.where(live.unsqueeze(-1), log_keep, torch.zeros_like(log_keep))
    if reset is not None:
        log_keep = log_keep.masked_fill(reset.unsqueeze(-1), -torch.inf)
    return log_keep


def between(log_keep: Tensor) -> Tensor:
    """Return the sum of logarithms after step j up to step t as `[..., t, j]`, from
    `[..., length]`.

    It is -inf where j comes after t. Each sum is made of its own terms and never the difference of
    two longer ones: it is exact beside a decay of any strength, and -inf, which is a reset, is no
    special case.
    """
    square = log_keep.unsqueeze(-1).expand(*log_keep.shape, log_keep.shape[-1])  # ... t j
    return square.tril(-1).cumsum(-2).masked_fill(_ahead(log_keep), -torch.inf)


def _ahead(log_keep: Tensor) -> Tensor:
    """Return flags `[t, j]` of the steps that come after t."""
    length = log_keep.shape[-1]
    return torch.ones(length, length, dtype=torch.bool, device=log_keep.device).triu(1)
