"""The linear recurrence h_t = a_t * h_{t-1} + b_t: coefficients and readout over the whole window, one pass between."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.engine.context import lagged
from recurra.engine.recurrence import Recurrence, State, rebuild
from recurra.shapes import Encoded, Flags, Hidden, Lengths


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run over the window in three passes: coefficients, scan, readout; see `recurra.engine.paths.run`."""
    scan = cell.scan()
    assert scan is not None, "the engine offers this path only to cells that declare it"
    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state
    live = None if lengths is None else torch.arange(steps, device=x.device) < lengths.unsqueeze(1)  # B T
    if live is not None:
        x = torch.where(live.unsqueeze(-1), x, torch.zeros_like(x))
    tails: list[Tensor] = []
    if scan.context:
        x, tail = lagged(x, state[1], reset, lengths)  # B T k+1 D
        tails = [tail]
    a, b = scan.coefficients(x)
    start = state[0]
    if scan.paired:
        a, b, start = torch.view_as_complex(a), torch.view_as_complex(b), torch.view_as_complex(start)
    a = a.expand_as(b)
    if reset is not None:
        fresh = cell.initial_state(batch, device=x.device, dtype=x.dtype)[0]
        fresh = torch.view_as_complex(fresh) if scan.paired else fresh
        anew = _like(reset, a)
        b = torch.where(anew, b + a * fresh.unsqueeze(1), b)
        a = torch.where(anew, torch.zeros_like(a), a)
    if live is not None:  # h_t = 1 * h_{t-1} + 0 keeps what a finished row holds
        a = torch.where(_like(live, a), a, torch.ones_like(a))
        b = torch.where(_like(live, b), b, torch.zeros_like(b))
    h = linear_scan(a, b, start)
    h = torch.view_as_real(h) if scan.paired else h
    y = scan.readout(h, x)
    if live is not None:
        y = torch.where(live.unsqueeze(-1), y, torch.zeros_like(y))
    return y, rebuild(state, [h[:, -1], *tails])


def _like(flags: Tensor, other: Tensor) -> Tensor:
    """Return `[B, T]` flags that broadcast over `[B, T, ...]`."""
    return flags.view(*flags.shape, *[1] * (other.dim() - 2))


def linear_scan(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
    """Return every h_t = a_t * h_{t-1} + b_t, `[B, T, ...]`, from h_{-1} = `start`, `[B, ...]`; real or complex.

    One product and one sum a step, forward and in reverse: nothing is divided and nothing is accumulated as a product,
    so that decays of 0 and windows of any length are exact. The gradient is a scan of the same kind, and has gradients.
    """
    found: Tensor = _LinearScan.apply(a.transpose(0, 1), b.transpose(0, 1), start)  # type: ignore[no-untyped-call]
    return found.transpose(0, 1)


class _LinearScan(torch.autograd.Function):
    """The scan over `[T, B, ...]`."""

    @staticmethod
    def forward(a: Tensor, b: Tensor, start: Tensor) -> Tensor:
        """Return the states `[T, B, ...]`."""
        h, states = start, []
        for a_t, b_t in zip(a.unbind(), b.unbind(), strict=True):
            h = torch.addcmul(b_t, a_t, h)
            states.append(h)
        return torch.stack(states)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep what the reverse scan reads."""
        a, _, start = inputs
        ctx.save_for_backward(a, start, output)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the gradients of a, b and start: g_t = grad_t + conj(a_{t+1}) * g_{t+1}."""
        a, start, states = ctx.saved_tensors
        later = torch.cat([a[1:], torch.zeros_like(a[:1])]).conj()
        nothing = torch.zeros_like(start)
        flows: Tensor = _LinearScan.apply(later.flip(0), grads[0].flip(0), nothing)  # type: ignore[no-untyped-call]
        g = flows.flip(0)
        earlier = torch.cat([start.unsqueeze(0), states[:-1]])
        return g * earlier.conj(), g, a[0].conj() * g[0]
