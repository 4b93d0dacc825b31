"""A window as one operation of torch: what stands before the loop, and the loop.

Each operation before the loop would have a node of its own in torch's graph, which costs more than
a short loop takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from recurra.engine.fused import window
from recurra.engine.fused.plan import Plan
from recurra.engine.fused.window import Call, Compiled
from recurra.engine.threads import single


class _Window(torch.autograd.Function):
    """A window with its gradients."""

    @staticmethod
    def forward(ctx: Any, compiled: Compiled, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run, and keep what the gradients read."""
        count = 1 + len(compiled.plan.weights)
        read = _read(compiled.plan, call, tensors[:count])
        outs, intermediates = window.forward(compiled, call, [*read, *tensors[count:]], keep=True)
        ctx.compiled, ctx.call, ctx.counts = compiled, call, (count, len(tensors), len(read))
        ctx.save_for_backward(*tensors, *read, *intermediates)
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all tensors."""
        compiled, call = ctx.compiled, ctx.call
        count, total, reads = ctx.counts
        saved = ctx.saved_tensors
        tensors, intermediates = saved[:total], saved[total + reads :]
        read = [*saved[total : total + reads]]

        # A gradient of this gradient is asked for, which the kernel does not have.
        if torch.is_grad_enabled():

            def outs() -> tuple[Tensor, ...]:
                again = _read(compiled.plan, call, tensors[:count])
                return window.slowly(compiled.plan, call, [*again, *tensors[count:]])

            return None, None, *window.gradients_by_steps(outs, tensors, grads)

        with single(compiled.light(call.batch, call.steps)):
            given = [*read, *tensors[count:]]
            found = window.backward(compiled, call, given, list(intermediates), list(grads))
            x, *weights = tensors[:count]
            rows = call.batch * call.steps
            wanted = ctx.needs_input_grad[2 : 2 + count]
            of_x, *of_weights = compiled.before.gradients(
                rows, [x.reshape(rows, -1), *weights], read, found[:reads], wanted
            )
            if of_x is not None:
                of_x = of_x.view(x.shape)
            return None, None, of_x, *of_weights, *found[reads:]


def _read(plan: Plan, call: Call, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return what the loop reads, of the input and the weights."""
    x, *weights = tensors
    rows = call.batch * call.steps
    return plan.before(rows, x.reshape(rows, -1), *weights)


def whole(compiled: Compiled, call: Call, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Return the final state fields and the output, `[B, T, H]`.

    `tensors` are the input `[B, T, D]`, the weights, the start and what a reset starts from (empty
    if there is none), all of the kernel's type.
    """
    outs: tuple[Tensor, ...] = _Window.apply(compiled, call, *tensors)  # type: ignore[no-untyped-call]
    return outs


def has_gradients(compiled: Compiled, tensors: Sequence[Tensor]) -> bool:
    """Tell whether a window of these has gradients, and can be one operation.

    All have to be of the kernel's type, and torch may change none on the way.
    """
    if not torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
        return False
    if compiled.before.joint is None:
        return False

    real = torch.float64 if compiled.double else torch.float32
    has = False
    for tensor in tensors:
        if tensor.dtype != real and tensor.is_floating_point():
            return False
        has = has or tensor.requires_grad
    return has
