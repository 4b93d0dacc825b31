"""What the tests of cells share that compute the equations of their papers by hand."""

from __future__ import annotations

import torch
from torch import Tensor


def logistic(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def near(found: Tensor, wanted: Tensor, bound: float, what: str) -> None:
    """Assert that two tensors differ by no more than a share of the greatest number, or of 1 where
    all are smaller.
    """
    assert found.shape == wanted.shape, what
    gap = (found - wanted).abs().max() / wanted.abs().max().clamp(min=1)
    assert gap <= bound, f"{what}: {gap:.1e}"
