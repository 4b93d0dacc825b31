"""The last map of a network, and losses of its outputs that never hold all of them at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


class Head(NamedTuple):
    """The linear map behind all layers: outputs `[N, V]` of hidden vectors `[N, H]`.

    `weight` is `[V, H]` and `bias` `[V]`. Where it is `narrow` its products are in bfloat16, and
    the outputs in the type of the hidden vectors all the same.
    """

    weight: Tensor
    bias: Tensor
    narrow: bool = False

    def __call__(self, hidden: Tensor) -> Tensor:
        """Return the outputs of hidden vectors."""
        with torch.autocast(hidden.device.type, torch.bfloat16, enabled=self.narrow):
            return functional.linear(hidden, self.weight, self.bias).to(hidden.dtype)

    def back(self, slope: Tensor) -> Tensor:
        """Return the gradient of hidden vectors for that of their outputs."""
        with torch.autocast(slope.device.type, torch.bfloat16, enabled=self.narrow):
            return (slope @ self.weight).to(slope.dtype)

    def add_back(self, grad: Tensor, slope: Tensor, hidden: Tensor) -> None:
        """Add to `grad` that of the weight, for the gradient of the outputs of some vectors."""
        if self.narrow:
            with torch.autocast(slope.device.type, torch.bfloat16):
                grad += slope.t() @ hidden
        else:
            grad.addmm_(slope.t(), hidden)


def in_rows(
    loss: Callable[[Tensor, Tensor], Tensor],
    hidden: Tensor,
    head: Head,
    target: Tensor,
    rows: int,
) -> Tensor:
    """Return `loss(head(hidden), target)`, `[N]`, with the outputs of `rows` vectors at a time.

    The way back makes the outputs anew, as gradient checkpointing does (Chen et al. 2016,
    arXiv:1604.06174), so that memory grows with `rows`, and no more with N. It has no gradient of
    its own. `loss` must give each row a loss of its own, and the same one again.
    """
    weights = head.weight, head.bias
    apply: Callable[..., Tensor] = _InRows.apply
    return apply(hidden, *weights, target, loss, rows, head.narrow)


class _InRows(torch.autograd.Function):
    """What `in_rows` does, and its way back."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor,
        target: Tensor,
        loss: Callable[[Tensor, Tensor], Tensor],
        rows: int,
        narrow: bool,
    ) -> Tensor:
        """Return the losses."""
        ctx.save_for_backward(hidden, weight, bias, target)
        ctx.loss, ctx.rows, ctx.narrow = loss, rows, narrow
        head = Head(weight, bias, narrow)
        pairs = zip(torch.split(hidden, rows), torch.split(target, rows), strict=True)
        return torch.cat([loss(head(part), answers) for part, answers in pairs])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slopes: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of hidden vectors, weight and bias."""
        hidden, weight, bias, target = ctx.saved_tensors
        head = Head(weight, bias, ctx.narrow)
        of_hidden, of_weight, of_bias, *_ = ctx.needs_input_grad
        grads = [
            torch.empty_like(hidden) if of_hidden else None,
            torch.zeros_like(weight) if of_weight else None,
            torch.zeros_like(bias) if of_bias else None,
        ]

        for start in range(0, len(hidden), ctx.rows):
            some = slice(start, start + ctx.rows)
            output = head(hidden[some])
            with torch.enable_grad():
                leaf = output.detach().requires_grad_()
                losses = ctx.loss(leaf, target[some])
            (slope,) = torch.autograd.grad(losses, leaf, slopes[some])

            for_hidden, for_weight, for_bias = grads
            if for_hidden is not None:
                for_hidden[some] = head.back(slope)
            if for_weight is not None:
                head.add_back(for_weight, slope, hidden[some])
            if for_bias is not None:
                for_bias += slope.sum(dim=0)
        return *grads, None, None, None, None
