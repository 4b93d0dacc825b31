"""One step of a whole network as one kernel: its weights packed once, its buffers made once,
nothing between layers.

Where the inputs that can come are few, as symbols are, all that they alone decide is computed
beforehand for each of them: the kernel then reads a row of a table in place of the lowest layer's
product.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.dump import dump, stages_of_step
from recurra.engine.fused.emit_c import typed
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.kernel import kernel
from recurra.engine.fused.layout import Arguments, longs, pointers
from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.record import Program, Trace, Unsupported, batch_beside
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.fused.window import bound, tools

Function = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]
"""From an input `[B, D]` and state fields `[B, ...]` to an output `[B, V]` and the fields after
it.
"""

LIGHT = 1_000_000
"""Multiply-adds of a step below which a second thread costs more than it saves."""

LARGEST = 1 << 24
"""Bytes of the largest table of inputs."""


class Step:
    """A compiled step. It reads the weights again when one of them has changed, or when it is asked
    to (`renew`).

    The state is one tensor, the fields one after the other (`packed`, `fields`). Threads may share
    a step.
    """

    rows: int  # for which there are buffers
    room: int  # how many numbers a state of so many rows has
    packing: bool  # whether the weights have to be packed in the next step
    first: Arguments  # of a step that packs the weights
    later: Arguments  # of one that does not
    # Of each field: its pointers before and after, and where it begins.
    starts: list[tuple[int, int, int]]
    reads: list[int]  # of each sequence: the place of its pointer
    place: int  # of the output's pointer
    pointers: Any
    tables: list[Tensor]

    def __init__(
        self,
        function: Function,
        weights: Sequence[Tensor],
        width: int,
        fields: Sequence[tuple[int, ...]],
        every: Callable[[], Tensor] | None = None,
    ) -> None:
        """Record and compile `function`, which reads `weights`; raises `Unsupported` or
        `Unbuildable`.

        `width` is that of its input, `fields` are the shapes of the state fields without the batch.
        `every` gives all inputs that can come, `[N, D]`; the step is then called with their
        numbers.
        """
        self.weights, self.width, self.shapes, self.every = (
            list(weights),
            width,
            list(fields),
            every,
        )
        self.dtype = self.weights[0].dtype
        joint, self.before = _recorded(
            function, self.weights, width, self.shapes, every is not None
        )
        made = kernel(joint)
        dump(f"step-{str(self.dtype).removeprefix('torch.')}", partial(stages_of_step, joint, made))
        self.axes = [joint.program.batch(value) or 0 for value in joint.sequences]
        double = self.dtype == torch.float64
        if (
            every is not None
            and len(every()) * sum(made.lowered.sequences) * self.dtype.itemsize > LARGEST
        ):
            raise Unsupported(f"a table of all its inputs is larger than {LARGEST >> 20} MiB")
        self.library, self.kernel, self.tools = (
            library(typed(made.source, double)),
            made,
            tools(double),
        )
        self.function, self.layout = bound(self.library.forward), made.layouts[0]
        self.width_out = made.lowered.extras[0]
        self.lock = threading.Lock()
        self.renew()

    def renew(self) -> None:
        """Read the weights again before the next step: a change through `.data` cannot be seen."""
        self.versions: list[int] = []

    def packed(self, fields: Sequence[Tensor]) -> Tensor:
        """Return state fields `[B, ...]` as the step takes them. Raises `ValueError` for fields of
        another shape.
        """
        for field, shape in zip(fields, self.shapes, strict=True):
            if field.shape[1:] != shape or field.dtype != self.dtype:
                raise ValueError(
                    f"a state field is {tuple(field.shape)} {field.dtype}, not [B, {shape}]"
                    f" {self.dtype}"
                )
        return torch.cat([field.reshape(-1) for field in fields])

    def fields(self, state: Tensor) -> list[Tensor]:
        """Return the fields of a state."""
        sizes = [math.prod(shape) for shape in self.shapes]
        rows = len(state) // sum(sizes)
        parts = torch.split(state, [rows * size for size in sizes])
        return [part.view(rows, *shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def __call__(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output `[B, V]` and the state after a step.

        `x` is `[B, D]`, or the numbers of inputs `[B]` where all that can come are known.
        """
        with self.lock:
            versions = [weight._version for weight in self.weights]
            if versions != self.versions:
                self._read(versions)
            rows = len(x)
            if rows != self.rows:
                self._sized(rows)
            if len(state) != self.room:
                raise ValueError(
                    f"a state of {len(state)} numbers for {rows} rows, which have {self.room}"
                )
            places = self.pointers
            held = self._point(x)  # is read by the kernel, so it must not be let go of before
            after = torch.empty(self.room, dtype=self.dtype)
            y = torch.empty(rows, self.width_out, dtype=self.dtype)
            old, new = state.data_ptr(), after.data_ptr()
            for before, behind, offset in self.starts:
                places[before] = old + offset
                places[behind] = new + offset
            places[self.place] = y.data_ptr()
            self.function(*(self.first if self.packing else self.later))
            self.packing = False
            del held
            return y, after

    def _point(self, x: Tensor) -> Sequence[Tensor]:
        """Let the kernel read an input; return the tensors that it then reads."""
        rows = self.rows
        if self.every is None:
            if x.shape != (rows, self.width) or x.dtype != self.dtype:
                raise ValueError(
                    f"an input is {tuple(x.shape)} {x.dtype}, not {(rows, self.width)} {self.dtype}"
                )
            parts = [x.contiguous()]
        elif rows == 1:
            index = int(x)
            if not 0 <= index < len(self.tables[0]):
                raise IndexError(f"input {index} of {len(self.tables[0])}")
            for place, (address, size) in zip(self.reads, self.rows_of_tables, strict=True):
                self.pointers[place] = address + index * size
            return ()
        else:
            parts = [table.index_select(0, x) for table in self.tables]
        for place, part in zip(self.reads, parts, strict=True):
            self.pointers[place] = part.data_ptr()
        return parts

    def _read(self, versions: list[int]) -> None:
        """Take the weights as they are now, and pack them in the next step."""
        with torch.no_grad():
            weights = [weight.detach() for weight in self.weights]
            values = self.kernel.once(1, *weights)
            if self.every is not None:
                every = self.every()
                found = self.before(len(every), every, *weights)
                pairs = zip(found, self.axes, strict=True)
                self.tables = [
                    table.movedim(axis, 0).reshape(len(every), -1).contiguous()
                    for table, axis in pairs
                ]
                self.rows_of_tables = [(t.data_ptr(), t.shape[1] * t.itemsize) for t in self.tables]
        self.values = [
            t.contiguous() if by else t
            for t, by in zip(values, self.kernel.by_element, strict=True)
        ]
        self.memory = torch.empty(self.layout.room + 1, dtype=self.dtype)
        self.versions, self.packing, self.rows = versions, True, 0

    def _sized(self, rows: int) -> None:
        """Make the buffers for a number of rows."""
        layout, lowered, self.rows = self.layout, self.kernel.lowered, rows
        size = self.dtype.itemsize

        def buffer(count: int) -> Tensor:
            return torch.empty(count, dtype=self.dtype)

        self.buffers = {
            "seq": [buffer(rows * width) for width in lowered.sequences],
            "shared": self.values,
            "saved": [buffer(rows * width) for width in layout.widths["saved"]],
            "extra": [buffer(rows * width) for width in lowered.extras],
            "own": [buffer(rows * self.kernel.scratch[0] + 1)],
            "packed": [self.memory],
        }
        self.buffers |= {
            name: [buffer(rows * width) for width in lowered.state]
            for name in ("start", "final", "fresh")
        }
        self.buffers["history"] = [buffer(0) for _ in lowered.state]
        self.pointers = layout.pointers(self.buffers)

        # Each call writes the pointers of its input, of its state before and after, and of its
        # output.
        self.reads = [layout.place("seq", place) for place in range(len(lowered.sequences))]
        self.starts, offset = [], 0
        for place, width in enumerate(lowered.state):
            self.starts.append((layout.place("start", place), layout.place("final", place), offset))
            offset += rows * width * size
        self.room = offset // size
        self.place = layout.place("extra")

        threads = torch.get_num_threads() if rows * layout.work > LIGHT else 1
        self.first = Arguments(
            steps=1,
            rows=rows,
            threads=threads,
            columns=threads > 1 and rows < threads,
            keep=False,
            packing=True,
            reset=None,
            lengths=None,
            tensors=self.pointers,
            matrices=pointers([self.values[matrix.slot] for matrix in layout.matrices]),
            strides=longs(
                [n for matrix in layout.matrices for n in matrix.strides(self.values[matrix.slot])]
            ),
            tools=self.tools,
        )
        self.later = self.first._replace(packing=False)


def _recorded(
    function: Function,
    weights: list[Tensor],
    width: int,
    fields: list[tuple[int, ...]],
    hoist: bool,
) -> tuple[Joint, Subgraph]:
    """Record a step without gradients; with what makes its sequences of its inputs, which are those
    unless hoisted.
    """
    dtype = weights[0].dtype
    sizes = [size for shape in (*(w.shape for w in weights), *fields) for size in shape]
    rows = batch_beside([width, *sizes])
    x = torch.zeros(rows, width, dtype=dtype)
    state = [torch.zeros(rows, *shape, dtype=dtype) for shape in fields]
    trace = Trace(rows, REPLACED)
    numbers = [trace.input(t) for t in (x, *state, *weights)]
    with torch.random.fork_rng(devices=[]), torch.no_grad(), trace:
        y, after = function(x, state)
    outs = [*(trace.number(field) for field in after), trace.number(y)]
    shared, old = numbers[1 + len(state) :], numbers[1 : 1 + len(state)]
    sequences = _frontier(trace.program, numbers[0], old, outs) if hoist else numbers[:1]
    before = subgraph(trace.program, trace.program.nodes, [numbers[0], *shared], sequences)
    return Joint(trace.program, sequences, shared, old, outs, [None] * len(outs), {}), before


def _frontier(program: Program, x: int, state: list[int], outs: list[int]) -> list[int]:
    """Return the values that the input alone decides and that are read where the state is."""
    varied = program.reaches(state)
    alone = program.reaches([x]) - varied
    read = [ref for node in program.nodes if varied.intersection(node.outs) for ref in node.refs]
    return [value for value in dict.fromkeys([*read, *outs]) if value in alone]
