"""One step of a whole network as one kernel, with nothing between layers.

Its weights are packed once, and its buffers made once.

Where the inputs that can come are few, as symbols are, all that they alone decide is computed
beforehand for each of them: the kernel then reads a row of a table in place of the lowest layer's
product. Of many inputs it reads the input itself, in the table in which they are kept.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.dump import dump, stages_of_step
from recurra.engine.fused.emit_c import typed
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.kernel import kernel
from recurra.engine.fused.layout import Arguments, longs, pointers
from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.record import Program, Trace, Unsupported, batch_beside, type_text
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.fused.window import bound, tools

Function = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]
"""From an input `[B, D]` and state fields `[B, ...]` to an output `[B, V]` and the fields after."""

LIGHT = 1_000_000
"""Multiply-adds of a step below which a second thread costs more than it saves."""

LARGEST = 1 << 24
"""Bytes of the largest table of inputs."""

PART = 64
"""Rows that a thread makes at a time, at most: what it computes of them stays in a cache."""
HEAVY = 1 << 31
"""Multiply-adds that a thread makes at a time, at most: then signals are heard."""
TILE = 8
"""Rows that a product makes at a time."""


class Place(NamedTuple):
    """A state field: its pointers before and after, where it begins, and the bytes of a row."""

    start: int
    final: int
    offset: int
    size: int


class Step:
    """A compiled step.

    It reads the weights again when one of them has changed, or when it is asked to (`renew`). The
    state is one tensor, the fields one after the other (`packed`, `fields`). Threads may share a
    step.
    """

    rows: int  # for which there are buffers
    room: int  # how many numbers a state of so many rows has
    packing: bool  # whether the weights have to be packed in the next step
    first: Arguments  # of a step of so many rows at a time that packs the weights
    later: Arguments  # of one that does not
    starts: list[Place]  # of each field
    reads: list[int]  # of each sequence: the place of its pointer
    place: int  # of the output's pointer
    pointers: Any
    tables: list[Tensor]
    hoists: bool  # whether they are made beforehand

    def __init__(
        self,
        function: Function,
        weights: Sequence[Tensor],
        width: int,
        fields: Sequence[tuple[int, ...]],
        every: Callable[[], Tensor] | None = None,
    ) -> None:
        """Record and compile `function`, which reads `weights`.

        `width` is that of its input, `fields` are the shapes of the state fields without the batch.
        `every` gives all inputs that can come, `[N, D]`; the step is then called with their
        numbers. Raises `Unsupported` or `Unbuildable`.
        """
        self.weights = list(weights)
        self.width = width
        self.shapes = list(fields)
        self.every = every
        self.dtype = self.weights[0].dtype

        # Where all inputs are known, what they alone decide is computed for each beforehand, unless
        # that is too much: then they are read where they lie.
        joint = self._record(function, every is not None)
        if every is not None and not self._fits(every()):
            joint = self._record(function, hoist=False)
            if not self._fits(every()):
                raise Unsupported(f"a table of all its inputs is larger than {LARGEST >> 20} MiB")
        dump(f"step-{type_text(self.dtype)}", partial(stages_of_step, joint, self.kernel))

        double = self.dtype == torch.float64
        self.library = library(typed(self.kernel.source, double), "steps of generation")
        self.tools = tools(double)
        self.function = bound(self.library.forward)
        self.layout = self.kernel.layouts[0]
        self.width_out = self.kernel.lowered.extras[0]
        self.lock = threading.Lock()
        self.renew()

    def _record(self, function: Function, hoist: bool) -> Joint:
        """Record the step, and make what is to be compiled."""
        joint, self.before = _recorded(function, self.weights, self.width, self.shapes, hoist)
        self.axes = [joint.program.batch(value) or 0 for value in joint.sequences]
        self.kernel = kernel(joint)
        self.hoists = hoist
        return joint

    def _fits(self, every: Tensor) -> bool:
        """Tell whether tables of all inputs are small, or in memory anyway."""
        if not self.hoists:
            own = {weight.data_ptr() for weight in self.weights}
            return every.nbytes <= LARGEST or (every.data_ptr() in own and every.is_contiguous())
        row_bytes = sum(self.kernel.lowered.sequences) * self.dtype.itemsize
        return len(every) * row_bytes <= LARGEST

    def renew(self) -> None:
        """Read the weights again before the next step: a change through `.data` cannot be seen."""
        self.versions: list[int] = []

    def packed(self, fields: Sequence[Tensor]) -> Tensor:
        """Return state fields `[B, ...]` as the step takes them.

        Raises `ValueError` for fields of another shape or type.
        """
        for field, shape in zip(fields, self.shapes, strict=True):
            if field.shape[1:] != shape or field.dtype != self.dtype:
                actual = f"{tuple(field.shape)} {field.dtype}"
                expected = f"[B, {shape}] {self.dtype}"
                raise ValueError(f"a state field is {actual}, not {expected}")
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
            rows = len(x)
            self.prepare(rows)
            if len(state) != self.room:
                size = f"{len(state)} numbers for {rows} rows"
                raise ValueError(f"a state of {size}, which have {self.room}")

            after = torch.empty(self.room, dtype=self.dtype)
            y = torch.empty(rows, self.width_out, dtype=self.dtype)
            for first in range(0, rows, self.later.rows):
                self._make(x, state, after, y, first)
            return y, after

    def _make(self, x: Tensor, state: Tensor, after: Tensor, y: Tensor, first: int) -> None:
        """Make the step of a part of the rows, from the first on."""
        arguments = self.first if self.packing else self.later
        count = min(arguments.rows, self.rows - first)
        if count < arguments.rows:
            arguments = arguments._replace(rows=count)

        # The kernel reads these tensors by their addresses: they must not be let go of before.
        inputs = self._point(x if count == self.rows else x[first : first + count])
        places = self.pointers
        old, new = state.data_ptr(), after.data_ptr()
        for start, final, offset, size in self.starts:
            places[start] = old + offset + first * size
            places[final] = new + offset + first * size
        places[self.place] = y.data_ptr() + first * y.shape[1] * y.itemsize

        self.function(*arguments)
        self.packing = False
        del inputs

    def prepare(self, rows: int) -> None:
        """Read weights that have changed, and have buffers for a number of rows.

        Whoever calls this holds the `lock`.
        """
        versions = [weight._version for weight in self.weights]
        if versions != self.versions:
            self._read(versions)
        if rows != self.rows:
            self._resize(rows)

    def _point(self, x: Tensor) -> Sequence[Tensor]:
        """Let the kernel read an input; return the tensors that it then reads."""
        if self.every is None:
            if x.shape != (len(x), self.width) or x.dtype != self.dtype:
                expected = f"{(len(x), self.width)} {self.dtype}"
                raise ValueError(f"an input is {tuple(x.shape)} {x.dtype}, not {expected}")
            parts = [x.contiguous()]
        elif len(x) == 1:
            # One row of each table is read where it lies: nothing is copied.
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
                self._fill_tables(self.every(), weights)

        # What is read element by element lies as one row; a matrix is read by its strides.
        pairs = zip(values, self.kernel.by_element, strict=True)
        self.values = [t.contiguous() if by_element else t for t, by_element in pairs]
        self.memory = torch.empty(self.layout.room + 1, dtype=self.dtype)
        self.versions = versions
        self.packing = True
        self.rows = 0

    def _fill_tables(self, every: Tensor, weights: list[Tensor]) -> None:
        """Compute each sequence for all inputs that can come, a row for each of them."""
        sequences = self.before(len(every), every, *weights) if self.hoists else [every]
        self.tables = []
        for sequence, axis in zip(sequences, self.axes, strict=True):
            table = sequence.movedim(axis, 0).reshape(len(every), -1)
            self.tables.append(table.contiguous())
        self.rows_of_tables = [(t.data_ptr(), t.shape[1] * t.itemsize) for t in self.tables]

    def _resize(self, rows: int) -> None:
        """Make the buffers for a number of rows."""
        self.rows = rows
        layout, lowered = self.layout, self.kernel.lowered
        threads = torch.get_num_threads() if rows * layout.work > LIGHT else 1
        part = _part(rows, threads, layout.work)

        def buffers(widths: Sequence[int]) -> list[Tensor]:
            return [torch.empty(part * width, dtype=self.dtype) for width in widths]

        self.buffers = {
            "seq": buffers(lowered.sequences),
            "shared": self.values,
            "start": buffers(lowered.state),
            "final": buffers(lowered.state),
            "fresh": buffers(lowered.state),
            "history": [torch.empty(0, dtype=self.dtype) for _ in lowered.state],
            "saved": buffers(layout.widths["saved"]),
            "extra": buffers(lowered.extras),
            "own": [torch.empty(part * self.kernel.scratch[0] + 1, dtype=self.dtype)],
            "packed": [self.memory],
        }
        self.pointers = layout.pointers(self.buffers)

        # Each call writes the pointers of its input, of its state before and after, and of its
        # output.
        self.reads = [layout.place("seq", slot) for slot in range(len(lowered.sequences))]
        self.starts = []
        offset = 0
        for slot, width in enumerate(lowered.state):
            start, final = layout.place("start", slot), layout.place("final", slot)
            size = width * self.dtype.itemsize
            self.starts.append(Place(start, final, offset, size))
            offset += rows * size
        self.room = rows * sum(lowered.state)
        self.place = layout.place("extra")
        self._pack_arguments(part, threads)

    def _pack_arguments(self, rows: int, threads: int) -> None:
        """Make the arguments of a call, which stay the same until there are other buffers."""
        layout = self.layout
        matrices = [self.values[matrix.slot] for matrix in layout.matrices]
        strides: list[int] = []
        for matrix, tensor in zip(layout.matrices, matrices, strict=True):
            strides += matrix.strides(tensor)

        # Threads have rows of their own, or columns of each product where there are fewer rows.
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
            matrices=pointers(matrices),
            strides=longs(strides),
            tools=self.tools,
        )
        self.later = self.first._replace(packing=False)


def _part(rows: int, threads: int, work: int) -> int:
    """Return how many rows are made at a time: parts of about one size, of whole tiles.

    Each row takes so much `work`.
    """
    most = max(min(PART, HEAVY // max(1, work)), 1) * threads
    count = math.ceil(rows / most)
    return min(rows, math.ceil(rows / count / TILE / threads) * TILE * threads)


def _recorded(
    function: Function,
    weights: list[Tensor],
    width: int,
    fields: list[tuple[int, ...]],
    hoist: bool,
) -> tuple[Joint, Subgraph]:
    """Record a step without gradients, and what makes its sequences of its inputs.

    Unless hoisted, the only sequence is the input itself.
    """
    dtype = weights[0].dtype
    sizes = [width]
    for shape in (*(weight.shape for weight in weights), *fields):
        sizes += shape
    rows = batch_beside(sizes)

    x = torch.zeros(rows, width, dtype=dtype)
    state = [torch.zeros(rows, *shape, dtype=dtype) for shape in fields]
    trace = Trace(rows, REPLACED)
    x_number = trace.input(x)
    old = [trace.input(field) for field in state]
    shared = [trace.input(weight) for weight in weights]
    with torch.random.fork_rng(devices=[]), torch.no_grad(), trace:
        y, after = function(x, state)

    # The output is an extra: it stands behind the state, as that of a cell does.
    program = trace.program
    outs = [trace.number(field) for field in after]
    outs.append(trace.number(y))
    sequences = _frontier(program, x_number, old, outs) if hoist else [x_number]
    before = subgraph(program, program.nodes, [x_number, *shared], sequences)
    joint = Joint(
        program=program,
        sequences=sequences,
        shared=shared,
        state=old,
        outs=outs,
        seeds=[None] * len(outs),
        grads={},
    )
    return joint, before


def _frontier(program: Program, x: int, state: list[int], outs: list[int]) -> list[int]:
    """Return the values that the input alone decides and that are read where the state is."""
    of_state = program.reaches(state)
    of_input = program.reaches([x]) - of_state

    read: list[int] = []
    for node in program.nodes:
        if of_state.intersection(node.outs):
            read += node.refs
    return [value for value in dict.fromkeys([*read, *outs]) if value in of_input]
