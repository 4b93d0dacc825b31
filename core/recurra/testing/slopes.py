"""Gradients against differences: the slope along random directions, from both sides."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

STEP = 1e-6
"""How far each side lies from the point: rounding and curvature are both below 1e-8, in float64."""
SLOPE = 1e-6
"""Bound of the difference of slopes in float64."""


def slope_gap(
    function: Callable[[], Tensor],
    tensors: Sequence[Tensor],
    generator: torch.Generator,
    directions: int = 4,
) -> float:
    """Return the greatest difference of a gradient and (f(p + e d) - f(p - e d)) / 2e.

    It is taken over max(1, the slope). `tensors` are leaves in float64 that `function` reads; the
    direction d moves all of them at once, and what the function gives is summed with random
    weights. One that gives no graph has gradient 0.
    """
    y = function()
    weights = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    gradients = _gradients(y, weights, tensors)

    worst = 0.0
    for _ in range(directions):
        direction = [
            torch.randn(leaf.shape, generator=generator, dtype=leaf.dtype) for leaf in tensors
        ]
        pairs = zip(gradients, direction, strict=True)
        predicted = sum(float((gradient * way).sum()) for gradient, way in pairs)

        above = _moved(function, tensors, direction, STEP, weights)
        below = _moved(function, tensors, direction, -STEP, weights)
        slope = (above - below) / (2 * STEP)

        gap = abs(predicted - slope) / max(1.0, abs(slope))
        worst = max(worst, gap) if gap == gap else float("inf")
    return worst


def _gradients(y: Tensor, weights: Tensor, tensors: Sequence[Tensor]) -> list[Tensor]:
    """Return the gradient of the weighted sum for each tensor: zeros where there is no graph."""
    if not y.requires_grad:
        return [torch.zeros_like(leaf) for leaf in tensors]
    gradients = torch.autograd.grad(
        (y * weights).sum(), tensors, allow_unused=True, materialize_grads=True
    )
    return list(gradients)


def _moved(
    function: Callable[[], Tensor],
    tensors: Sequence[Tensor],
    direction: Sequence[Tensor],
    far: float,
    weights: Tensor,
) -> float:
    """Return the function's weighted sum with every tensor moved, and put them back."""
    before = [leaf.detach().clone() for leaf in tensors]
    with torch.no_grad():
        for leaf, way in zip(tensors, direction, strict=True):
            leaf.add_(way, alpha=far)
        value = float((function() * weights).sum())
        for leaf, old in zip(tensors, before, strict=True):
            leaf.copy_(old)
    return value
