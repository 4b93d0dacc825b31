"""torch's own recurrent kernels (cuDNN, oneDNN, ATen), for cells that declare the map to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from recurra.engine.recurrence import Native, Recurrence, State, rebuild, select, within
from recurra.engine.threads import LIGHT, may_be_single, run_single
from recurra.shapes import Encoded, Flags, Hidden, Lengths

Kernel: TypeAlias = Callable[..., tuple[Tensor, ...]]

KERNELS: dict[str, Kernel] = {
    "lstm": torch.lstm,
    "gru": torch.gru,
    "rnn_tanh": torch.rnn_tanh,
    "rnn_relu": torch.rnn_relu,
}
"""torch's kernels by name."""


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run one kernel over the window, cut at the steps where a sequence begins.

    See `recurra.engine.paths.run` for the arguments.
    """
    native = cell.native()
    assert native is not None, "the engine offers this path only to cells that declare it"

    batch, steps = x.shape[:2]
    if steps == 0 or batch == 0:
        return x.new_zeros(batch, steps, cell.output_size), state

    light = may_be_single(x) and _light(native, x)
    with exact() if x.is_cuda and not torch.compiler.is_compiling() else nullcontext():
        return run_single(light, x, lambda own: _run(cell, native, own, state, reset, lengths))


def exact() -> AbstractContextManager[None]:
    """Let cuDNN round products no more than torch rounds its own, and put back what there was.

    Left alone it rounds float32 to 10 bits (TF32), which is a thousand times as far from `step`,
    and faster for wide cells alone. `torch.set_float32_matmul_precision("high")` allows it on every
    path.
    """
    try:
        before = torch.backends.cudnn.allow_tf32
        of_products = torch.backends.cuda.matmul.allow_tf32
    except RuntimeError:
        # They were set by torch's newer names, which do not mix with these.
        return nullcontext()
    return _rounding(of_products, before)


@contextmanager
def _rounding(allowed: bool, before: bool) -> Iterator[None]:
    """Let cuDNN round to TF32 or not, and put back whether it might before."""
    cudnn: Any = torch.backends.cudnn
    cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        cudnn.allow_tf32 = before


def _light(native: Native, x: Tensor) -> bool:
    """Tell whether a step's product with the state is not worth a second thread's waiting."""
    recurrent = native.weights[1]
    return x.shape[0] * recurrent.numel() < LIGHT


def _run(
    cell: Recurrence,
    native: Native,
    x: Encoded,
    state: State,
    reset: Flags | None,
    lengths: Lengths | None,
) -> tuple[Hidden, State]:
    """Run over a window that is not empty."""
    batch, steps = x.shape[:2]
    if reset is None:
        if lengths is None:
            return _dense(native, x, state)
        return _packed(native, x, state, lengths)

    # The window is cut where any row begins a sequence; at step 0 it is cut anyway.
    fresh = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    begins = reset.any(dim=0)
    inner = begins[1:].nonzero().flatten() + 1
    cuts = [0, *inner.tolist(), steps]

    outputs = []
    for start, stop in zip(cuts, cuts[1:], strict=False):
        state = select(reset[:, start], fresh, state)
        part = x[:, start:stop]
        if lengths is None:
            y, state = _dense(native, part, state)
        else:
            left = (lengths - start).clamp(0, stop - start)
            y, state = _packed(native, part, state, left)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state  # B T H


def _dense(native: Native, x: Tensor, state: State) -> tuple[Tensor, State]:
    """Run whole rows of the same length, batch first."""
    y, *final = _call(native, (x,), list(state), True)
    return y, rebuild(state, [field.squeeze(0) for field in final])


def _call(
    native: Native, data: tuple[Tensor, ...], start: list[Tensor], *more: bool
) -> tuple[Tensor, ...]:
    """Call the kernel on a window, or on packed rows and their sizes: one layer, one way.

    Returns the outputs and each final field `[1, B, H]`.
    """
    begin = [field.unsqueeze(0).contiguous() for field in start]
    first = begin if native.kernel == "lstm" else begin[0]
    weights = _joined(native.weights) if data[0].is_cuda else list(native.weights)

    # Weights with biases, one layer, no dropout, whether gradients are wanted, one direction.
    shared = (weights, True, 1, 0.0, torch.is_grad_enabled(), False, *more)
    return KERNELS[native.kernel](*data, first, *shared)


def _joined(weights: tuple[Tensor, ...]) -> list[Tensor]:
    """Return weights that lie one after the other in memory, as cuDNN reads them.

    Of others it makes such a copy itself in each call, and warns of it.
    """
    flat = torch.cat([weight.flatten() for weight in weights])
    sizes = [weight.numel() for weight in weights]
    parts = torch.split(flat, sizes)
    return [part.view(weight.shape) for part, weight in zip(parts, weights, strict=True)]


def _packed(native: Native, x: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
    """Run rows of different lengths; a finished row keeps its state and gives zeros.

    torch cannot pack an empty row, so a row of length 0 rides along with one step of zeros and is
    put back after.
    """
    steps = x.shape[1]
    live = lengths > 0  # B
    lengths = lengths.clamp(1, steps)
    inside = live.unsqueeze(1) & within(lengths, steps)  # B T
    rows = inside.unsqueeze(-1)
    clean = torch.where(rows, x, torch.zeros_like(x))

    # torch sorts packed rows by their length, the longest first: the states go with them.
    packed = pack_padded_sequence(clean, lengths.cpu(), batch_first=True, enforce_sorted=False)
    sizes, order, back = packed.batch_sizes, packed.sorted_indices, packed.unsorted_indices
    assert order is not None and back is not None
    start = [field[order] for field in state]
    data, *final = _call(native, (packed.data, sizes), start)

    outputs = PackedSequence(data, sizes, order, back)
    y, _ = pad_packed_sequence(outputs, batch_first=True, total_length=steps)
    y = torch.where(rows, y, torch.zeros_like(y))  # B T H
    stepped = rebuild(state, [field.squeeze(0)[back] for field in final])
    return y, select(live, stepped, state)
