"""The linear recurrence h_t = a_t * h_{t-1} + b_t: coefficients and readout over the whole window,
one pass between.

The pass is a compiled kernel where there is one (`recurra.engine.onepass`), and torch's own
operations elsewhere.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from recurra.engine import onepass
from recurra.engine.context import lagged
from recurra.engine.recurrence import Recurrence, State, rebuild, within
from recurra.shapes import Encoded, Flags, Hidden, Lengths

_peek = torch._C._functorch.peek_interpreter_stack
_tracing = torch._C._get_tracing_state


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run over the window in three passes: coefficients, scan, readout; see
    `recurra.engine.paths.run`.
    """
    scan = cell.scan()
    assert scan is not None, "the engine offers this path only to cells that declare it"
    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state
    live = None if lengths is None else within(lengths, steps)  # B T
    if live is not None:
        x = torch.where(live.unsqueeze(-1), x, torch.zeros_like(x))
    tails: list[Tensor] = []
    if scan.context:
        x, tail = lagged(x, state[1], reset, lengths)  # B T k+1 D
        tails = [tail]
    a, b = scan.coefficients(x)
    start = state[0]
    if scan.paired:
        a, b, start = _complex(a), _complex(b), _complex(start)
    if live is not None:  # h_t = 1 * h_{t-1} + 0 keeps what a finished row holds
        a = torch.where(_like(live, b), a, a.new_ones(()))
        b = torch.where(_like(live, b), b, torch.zeros_like(b))
    anew = fresh = None
    if reset is not None:
        fresh = cell.initial_state(batch, device=x.device, dtype=x.dtype)[0]
        anew, fresh = _like(reset, b), _complex(fresh) if scan.paired else fresh
    h = linear_scan(a, b, start, anew, fresh)
    h = torch.view_as_real(h) if scan.paired else h
    y = scan.readout(h, x)
    if live is not None:
        y = torch.where(live.unsqueeze(-1), y, torch.zeros_like(y))
    return y, rebuild(state, [h[:, -1], *tails])


def _like(flags: Tensor, other: Tensor) -> Tensor:
    """Return `[B, T]` flags that broadcast over `[B, T, ...]`."""
    return flags.view(*flags.shape, *[1] * (other.dim() - 2))


def _complex(pairs: Tensor) -> Tensor:
    """Return pairs `[..., 2]` as complex numbers, however they lie in memory."""
    return torch.view_as_complex(pairs.contiguous())


def linear_scan(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None = None, fresh: Tensor | None = None
) -> Tensor:
    """Return every h_t = a_t * h_{t-1} + b_t, `[B, T, ...]`, from h_{-1} = `start`, `[B, ...]`;
    real or complex.

    b is `[B, T, ...]`, and a of any shape that broadcasts to it. Where `anew`, flags that broadcast
    to `[B, T, ...]`, is set, `fresh`, `[B, ...]`, stands for h_{t-1}, and nothing of what was
    before gets through, nan neither.

    One product and one sum a step, forward and in reverse: nothing is divided and nothing is
    accumulated as a product, so that decays of 0 and windows of any length are exact. The gradient
    is a scan of the same kind, and has gradients. The states are as wide as the wider of b and
    start, and lie in memory as `[B, T, ...]`.
    """
    dtype = torch.promote_types(b.dtype, start.dtype)
    fresh = None if fresh is None else fresh.to(dtype)
    a, b, start = a.to(dtype), b.to(dtype), start.to(dtype)
    if not torch.compiler.is_compiling() and _transformed():
        return _stepwise(a, b, start, anew, fresh)
    found: Tensor = _Onward.apply(a, b, start, anew, fresh)  # type: ignore[no-untyped-call]
    return found


def _transformed() -> bool:
    """Tell whether torch differentiates forward, traces, or maps a function over more than it was
    written for.
    """
    return _peek() is not None or _tracing() is not None or forward_ad._current_level >= 0


def _stepwise(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> Tensor:
    """Return the states by operations that any transformation of torch can follow."""
    h, states = start, []
    for t, (a_t, b_t) in enumerate(zip(a.expand_as(b).unbind(1), b.unbind(1), strict=True)):
        h = a_t * _passed(h, anew, fresh, t) + b_t
        states.append(h)
    return torch.stack(states, dim=1) if states else b


class _Onward(torch.autograd.Function):
    """The scan from the first step to the last: h_t = a_t * h_{t-1} + b_t."""

    @staticmethod
    def forward(
        ctx: Any, a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None, fresh: Tensor | None
    ) -> Tensor:
        """Return the states `[B, T, ...]`, and keep what the gradient reads."""
        if onepass.possible(b, anew, a, start, fresh):
            states = onepass.forward(a, b, start, anew, fresh)
        else:
            states = b.clone(memory_format=torch.contiguous_format)
            h = start
            for t, (a_t, b_t) in enumerate(
                zip(a.expand_as(b).unbind(1), states.unbind(1), strict=True)
            ):
                h = b_t.addcmul_(a_t, _passed(h, anew, fresh, t))
        ctx.save_for_backward(a, start, anew, fresh, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of a, b, start and fresh."""
        given, start, anew, fresh, h = ctx.saved_tensors
        if not torch.is_grad_enabled() and onepass.possible(h, anew, given, start, fresh, grads[0]):
            wants_a = ctx.needs_input_grad[0]
            of_a, of_b, of_start, of_fresh = onepass.backward(
                given, start, anew, fresh, h, grads[0], wants_a
            )
            return of_a, of_b, of_start, None, of_fresh
        a = given.expand_as(h).conj()
        g: Tensor = _Back.apply(a, grads[0], anew)  # type: ignore[no-untyped-call]
        first, others = start, h[:, :-1]
        of_start, of_fresh = a[:, 0] * g[:, 0], None
        if anew is not None:
            first, others = (
                torch.where(anew[:, 0], fresh, start),
                torch.where(anew[:, 1:], fresh.unsqueeze(1), others),
            )
            of_start = of_start.masked_fill(anew[:, 0], 0)
            if ctx.needs_input_grad[4]:
                of_fresh = (a * g).masked_fill(~anew, 0).sum(1)
        of_a = torch.cat([(g[:, 0] * first.conj()).unsqueeze(1), g[:, 1:] * others.conj()], dim=1)
        return of_a.sum_to_size(given.shape), g, of_start, None, of_fresh


class _Back(torch.autograd.Function):
    """The scan from the last step to the first, with the decay of the later step: g_t = a_{t+1} *
    g_{t+1} + b_t.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, anew: Tensor | None) -> Tensor:
        """Return every g_t, `[B, T, ...]`, and keep what the gradient reads."""
        states = b.clone(memory_format=torch.contiguous_format)
        steps = list(zip(a.unbind(1), states.unbind(1), strict=True))
        nothing = None if anew is None else torch.zeros_like(states[:, 0])
        for t in range(len(steps) - 1, 0, -1):
            a_later, g_later = steps[t]
            steps[t - 1][1].addcmul_(a_later, _passed(g_later, anew, nothing, t))
        ctx.save_for_backward(a, anew, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of a and b; the first a is not read."""
        a, anew, g = ctx.saved_tensors
        nothing = torch.zeros_like(g[:, 0])
        of_b = linear_scan(a.conj(), grads[0], nothing, anew, nothing)
        of_a = of_b[:, :-1] * g[:, 1:].conj()
        of_a = of_a if anew is None else of_a.masked_fill(anew[:, 1:], 0)
        return torch.cat([nothing.unsqueeze(1), of_a], dim=1), of_b, None


def _passed(h: Tensor, anew: Tensor | None, fresh: Tensor | None, t: int) -> Tensor:
    """Return what a step gets of the one beside it: `fresh` where step t begins a sequence."""
    if anew is None or fresh is None:
        return h
    return torch.where(anew[:, t], fresh, h)
