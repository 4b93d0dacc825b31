"""The linear recurrence h_t = a_t * h_{t-1} + b_t, all steps of a window at once.

The coefficients and the readout are computed for the whole window, with one pass between. The pass
is a compiled kernel where there is one (`recurra.engine.onepass`), and torch's own operations
elsewhere.
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
    """Run over the window in three passes: coefficients, scan, readout.

    See `recurra.engine.paths.run` for the arguments.
    """
    scan = cell.scan()
    assert scan is not None, "the engine offers this path only to cells that declare it"

    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state

    live = rows = None
    if lengths is not None:
        live = within(lengths, steps)  # B T
        rows = live.unsqueeze(-1)
        x = torch.where(rows, x, torch.zeros_like(x))

    tails: list[Tensor] = []
    if scan.context:
        x, tail = lagged(x, state[1], reset, lengths)  # B T k+1 D
        tails = [tail]

    a, b = scan.coefficients(x)
    start = state[0]
    if scan.paired:
        a = _complex(a)
        b = _complex(b)
        start = _complex(start)

    # A finished row keeps its state: h_t = 1 * h_{t-1} + 0.
    if live is not None:
        wide = _like(live, b)
        a = torch.where(wide, a, a.new_ones(()))
        b = torch.where(wide, b, torch.zeros_like(b))

    anew = fresh = None
    if reset is not None:
        anew = _like(reset, b)
        fresh = cell.initial_state(batch, device=x.device, dtype=x.dtype)[0]
        if scan.paired:
            fresh = _complex(fresh)

    h = linear_scan(a, b, start, anew, fresh)
    if scan.paired:
        h = torch.view_as_real(h)
    y = scan.readout(h, x)
    if rows is not None:
        y = torch.where(rows, y, torch.zeros_like(y))
    return y, rebuild(state, [h[:, -1], *tails])


def _like(flags: Tensor, other: Tensor) -> Tensor:
    """Return `[B, T]` flags that broadcast over `[B, T, ...]`."""
    ones = [1] * (other.dim() - 2)
    return flags.view(*flags.shape, *ones)


def _complex(pairs: Tensor) -> Tensor:
    """Return pairs `[..., 2]` as complex numbers, however they lie in memory."""
    return torch.view_as_complex(pairs.contiguous())


def linear_scan(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None = None, fresh: Tensor | None = None
) -> Tensor:
    """Return every h_t = a_t * h_{t-1} + b_t, `[B, T, ...]`, real or complex.

    It starts from h_{-1} = `start`, `[B, ...]`; b is `[B, T, ...]`, and a of any shape that
    broadcasts to it. Where `anew`, flags that broadcast to `[B, T, ...]`, is set, `fresh`,
    `[B, ...]`, stands for h_{t-1}, and nothing of what was before gets through, nan neither.

    One product and one sum a step, forward and in reverse: nothing is divided and nothing is
    accumulated as a product, so that decays of 0 and windows of any length are exact. The gradient
    is a scan of the same kind, and has gradients. The states are as wide as the wider of b and
    start, and lie in memory as `[B, T, ...]`.
    """
    dtype = torch.promote_types(b.dtype, start.dtype)
    if fresh is not None:
        fresh = fresh.to(dtype)
    a, b, start = a.to(dtype), b.to(dtype), start.to(dtype)

    if not torch.compiler.is_compiling() and _transformed():
        return _stepwise(a, b, start, anew, fresh)
    states: Tensor = _Onward.apply(a, b, start, anew, fresh)  # type: ignore[no-untyped-call]
    return states


def _transformed() -> bool:
    """Tell whether torch transforms what is computed now.

    It may differentiate forward, trace, or map a function over more than it was written for.
    """
    return _peek() is not None or _tracing() is not None or forward_ad._current_level >= 0


def _stepwise(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None, fresh: Tensor | None
) -> Tensor:
    """Return the states by operations that any transformation of torch can follow."""
    decays = a.expand_as(b).unbind(1)
    pairs = zip(decays, b.unbind(1), strict=True)
    h = start
    states = []
    for t, (a_t, b_t) in enumerate(pairs):
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
            # Each b_t becomes h_t in its place, so that no second window is needed.
            states = b.clone(memory_format=torch.contiguous_format)
            decays = a.expand_as(b).unbind(1)
            pairs = zip(decays, states.unbind(1), strict=True)
            h = start
            for t, (a_t, b_t) in enumerate(pairs):
                h = b_t.addcmul_(a_t, _passed(h, anew, fresh, t))

        ctx.save_for_backward(a, start, anew, fresh, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of a, b, start and fresh."""
        decay, start, anew, fresh, h = ctx.saved_tensors
        grad = grads[0]

        # The kernel's gradients have no gradients themselves.
        if not torch.is_grad_enabled() and onepass.possible(h, anew, decay, start, fresh, grad):
            wants_a = ctx.needs_input_grad[0]
            of_a, of_b, of_start, of_fresh = onepass.backward(
                decay, start, anew, fresh, h, grad, wants_a
            )
            return of_a, of_b, of_start, None, of_fresh

        # g is the gradient of each h_t, by all later steps as well, and so that of b_t.
        a = decay.expand_as(h).conj()
        g: Tensor = _Back.apply(a, grad, anew)  # type: ignore[no-untyped-call]
        of_start = a[:, 0] * g[:, 0]
        of_fresh = None

        # That of a_t is g_t * h_{t-1}; where a sequence begins, `fresh` stands for h_{t-1}.
        first = start
        others = h[:, :-1]
        if anew is not None:
            first = torch.where(anew[:, 0], fresh, start)
            others = torch.where(anew[:, 1:], fresh.unsqueeze(1), others)
            of_start = of_start.masked_fill(anew[:, 0], 0)
            if ctx.needs_input_grad[4]:
                of_fresh = (a * g).masked_fill(~anew, 0).sum(1)

        of_first = g[:, 0] * first.conj()
        of_others = g[:, 1:] * others.conj()
        of_a = torch.cat([of_first.unsqueeze(1), of_others], dim=1)
        return of_a.sum_to_size(decay.shape), g, of_start, None, of_fresh


class _Back(torch.autograd.Function):
    """The scan from the last step to the first: g_t = a_{t+1} * g_{t+1} + b_t.

    A step takes the decay of the later one.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor, anew: Tensor | None) -> Tensor:
        """Return every g_t, `[B, T, ...]`, and keep what the gradient reads."""
        states = b.clone(memory_format=torch.contiguous_format)
        decays = a.unbind(1)
        steps = states.unbind(1)
        nothing = None if anew is None else torch.zeros_like(states[:, 0])

        # As going forward, each b_t becomes g_t in its place.
        for t in range(len(steps) - 1, 0, -1):
            g_later = _passed(steps[t], anew, nothing, t)
            steps[t - 1].addcmul_(decays[t], g_later)

        ctx.save_for_backward(a, anew, states)
        return states

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of a and b; the first a is not read."""
        a, anew, g = ctx.saved_tensors
        nothing = torch.zeros_like(g[:, 0])
        of_b = linear_scan(a.conj(), grads[0], nothing, anew, nothing)

        of_a = of_b[:, :-1] * g[:, 1:].conj()
        if anew is not None:
            of_a = of_a.masked_fill(anew[:, 1:], 0)
        return torch.cat([nothing.unsqueeze(1), of_a], dim=1), of_b, None


def _passed(h: Tensor, anew: Tensor | None, fresh: Tensor | None, t: int) -> Tensor:
    """Return what a step gets of the one beside it: `fresh` where step t begins a sequence."""
    if anew is None or fresh is None:
        return h
    return torch.where(anew[:, t], fresh, h)
