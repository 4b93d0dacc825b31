"""One step of a whole network as one kernel: its weights packed once, its buffers made once, nothing between layers."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.kernel import kernel
from recurra.engine.fused.loop import SIGNATURE, tools, typed
from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.plan import Joint
from recurra.engine.fused.tape import Tape, batch_beside

Function = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]
"""From an input `[B, D]` and state fields `[B, ...]` to an output `[B, V]` and the fields after it."""

LIGHT = 1_000_000
"""Multiply-adds of a step below which a second thread costs more than it saves."""


class Step:
    """A compiled step. It knows the weights as they were when it was made; `stale` tells whether they have changed."""

    def __init__(
        self, function: Function, weights: Sequence[Tensor], width: int, fields: Sequence[tuple[int, ...]]
    ) -> None:
        """Record and compile `function`, which reads `weights`; raises `Unsupported` or `Unbuildable`.

        `width` is that of its input, `fields` are the shapes of the state fields without the batch.
        """
        self.weights = list(weights)
        self.dtype = self.weights[0].dtype
        joint = _recorded(function, self.weights, width, list(fields))
        made = kernel(joint)
        double = self.dtype == torch.float64
        self.library, self.kernel, self.tools = library(typed(made.source, double)), made, tools(double)
        self.function = self.library.forward
        self.function.restype = None
        self.function.argtypes = SIGNATURE
        self.work = sum(m.groups * m.inner * m.outer for m in made.matrices[0])
        self.rows = 0
        self.renew()

    def renew(self) -> None:
        """Take the weights as they are now, and pack them at the next call."""
        self.versions = [weight._version for weight in self.weights]
        with torch.no_grad():
            values = self.kernel.once(1, *[w.detach() for w in self.weights])
        self.values = [t.contiguous() if by else t for t, by in zip(values, self.kernel.by_element, strict=True)]
        self.packed = torch.empty(sum(matrix.room for matrix in self.kernel.matrices[0]) + 1, dtype=self.dtype)
        self.fresh = True

    @property
    def stale(self) -> bool:
        """Tell whether a weight has changed since it was packed."""
        return any(weight._version != version for weight, version in zip(self.weights, self.versions, strict=True))

    def __call__(self, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """Return the output `[B, V]` and the state fields after a step."""
        if self.stale:
            self.renew()
        x = x.contiguous()
        start = [field.contiguous() for field in state]
        if len(x) != self.rows:
            self._sized(len(x))
        elif self.fresh:
            self._sized(self.rows)
        final = [torch.empty_like(field) for field in start]
        y = torch.empty(self.rows, self.kernel.extras[0], dtype=self.dtype)
        pointers, at = self.pointers, 1 + len(self.values)
        pointers[0] = x.data_ptr()
        for field in (*start, *final):
            pointers[at] = field.data_ptr()
            at += 1
        pointers[self.place] = y.data_ptr()
        columns = self.threads > 1 and self.rows < self.threads
        self.function(
            1,
            self.rows,
            self.threads,
            columns,
            0,
            self.fresh,
            None,
            None,
            pointers,
            self.places,
            self.strides,
            self.tools,
        )
        self.fresh = False
        return y, final

    def _sized(self, rows: int) -> None:
        """Make the buffers for a number of rows."""
        self.rows = rows
        made = self.kernel
        self.saved = [torch.empty(rows * width, dtype=self.dtype) for width in made.saved]
        self.scratch = torch.empty(rows * made.scratch[0] + 1, dtype=self.dtype)
        nothing = [0] * len(made.state)
        tensors = [*self.saved, self.scratch, self.packed]
        held = [0, *(t.data_ptr() for t in self.values), *nothing, *nothing, *nothing, *nothing]
        held += [*(t.data_ptr() for t in self.saved), 0, *(t.data_ptr() for t in tensors[-2:])]
        self.place = len(held) - 3
        self.pointers = (ctypes.c_void_p * len(held))(*held)
        matrices = made.matrices[0]
        self.places = (ctypes.c_void_p * max(1, len(matrices)))(*[self.values[m.place].data_ptr() for m in matrices])
        strides = [stride for m in matrices for stride in m.strides(self.values[m.place])]
        self.strides = (ctypes.c_long * max(1, len(strides)))(*strides)
        self.threads = torch.get_num_threads() if rows * self.work > LIGHT else 1


def _recorded(function: Function, weights: list[Tensor], width: int, fields: list[tuple[int, ...]]) -> Joint:
    """Record a step without gradients."""
    dtype = weights[0].dtype
    sizes = [size for shape in (*(w.shape for w in weights), *fields) for size in shape]
    rows = batch_beside([width, *sizes])
    x = torch.zeros(rows, width, dtype=dtype)
    state = [torch.zeros(rows, *shape, dtype=dtype) for shape in fields]
    tape = Tape(rows, REPLACED)
    numbers = [tape.input(t) for t in (x, *state, *weights)]
    with torch.random.fork_rng(devices=[]), torch.no_grad(), tape:
        y, after = function(x, state)
    outs = [*(tape.number(field) for field in after), tape.number(y)]
    return Joint(
        tape.program, numbers[:1], numbers[1 + len(state) :], numbers[1 : 1 + len(state)], outs, [None] * len(outs), {}
    )
