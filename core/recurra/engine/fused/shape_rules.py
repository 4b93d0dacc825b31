"""Values of a recorded program as rows, and the operations that only rearrange them.

A method `_name` is the rule of the operation `aten.name`: from a node to the rows of what it gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from recurra.engine.fused.record import Node, Program, Ref, Unsupported
from recurra.engine.fused.vectors import (
    Row,
    Rows,
    Shape,
    Vectors,
    own_axis,
    resized,
    widened,
    without,
)

REARRANGED = frozenset(
    """
    view _unsafe_view reshape t transpose permute select slice split split_with_sizes unbind squeeze
    unsqueeze expand clone _to_copy cat stack select_backward slice_backward zeros ones full
    new_zeros new_ones new_full contiguous lift_fresh flip detach alias
    """.split()
)
"""Operations that only rearrange, or make numbers."""


@dataclass
class ShapeRules:
    """What is known of values: the rows of those with a batch, the slots of those without.

    `shared` holds the number of each value that all rows share, in the order of the slots. `early`
    are the values that are there before the gradients come: their products are saved.
    """

    vectors: Vectors
    program: Program
    rows: dict[int, Rows]
    early: set[int]
    shared: list[int] = field(default_factory=list)
    # Which of `shared` are read by their elements.
    by_element: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.makers = self.program.makers()
        self.varied = self.program.reaches([*self.rows])
        self.real = self.program.dtypes[next(iter(self.rows))]
        self._shared: dict[int, int] = {}
        self._converted: dict[int, int] = {}

    def _frame(self, value: int) -> tuple[int, Shape]:
        """Return the batch axis of a value and the sizes of its others."""
        axis = self.program.batch(value)
        if axis is None:
            raise Unsupported("it mixes the rows of the batch")
        shape = self.program.shapes[value]
        return axis, without(shape, axis)

    def _dims(self, value: int) -> int:
        """Return how many axes a value has, the batch among them."""
        return len(self.program.shapes[value])

    def _wide(self, arg: Any, shape: Shape, axis: int) -> Row | None:
        """Return an argument repeated to a shape; None for one that is not there."""
        if arg is None:
            return None
        if not isinstance(arg, Ref):
            width = math.prod(shape)
            return (self.vectors.number(float(arg), width),)

        # Of fewer axes than the result, the missing ones are in front, and 1 wide.
        missing = len(shape) + 1 - self._dims(arg.index)
        if self.program.has_batch(arg.index):
            rows = self.rows[arg.index]
            if rows.axis + missing != axis:
                raise Unsupported("it mixes the rows of the batch")
            sizes = (*[1] * missing, *rows.shape)
            whole = Rows(sizes, axis, rows.vectors)
        else:
            full = (*[1] * missing, *self.program.shapes[arg.index])
            if full[axis] != 1:
                raise Unsupported("it tells the rows of the batch apart")
            whole = self._shared_row(arg.index, without(full, axis), axis)
        return self.vectors.expanded(whole, shape, axis).vectors

    def _shared_row(self, value: int, shape: Shape, axis: int) -> Rows:
        """Return a value that all rows share as the row of each of them."""
        made = self.makers.get(value)
        if made is not None and made.name == "aten.scalar_tensor":
            return Rows(shape, axis, (self.vectors.number(float(made.args[0]), math.prod(shape)),))
        slot = self.slot(self._real(value))
        self.by_element.add(slot)
        load = self.vectors.load("shared", slot, 0, math.prod(shape))
        return Rows(shape, axis, (load,))

    def _real(self, value: int) -> int:
        """Return a value that all rows share in the kernel's type.

        A condition, or what counts, becomes a new value.
        """
        program = self.program
        if program.dtypes[value] == self.real or value in self.varied:
            return value
        if value in self._converted:
            return self._converted[value]

        converted = program.add(program.shapes[value], self.real)
        to_copy = torch.ops.aten._to_copy.default
        node = Node(to_copy, (Ref(value),), {"dtype": self.real}, (converted,))
        program.nodes.append(node)
        self._converted[value] = converted
        return converted

    def slot(self, value: int) -> int:
        """Return the number of a value that all rows share."""
        if value in self.varied:
            raise Unsupported("it mixes the rows of the batch")
        if value not in self._shared:
            self._shared[value] = len(self.shared)
            self.shared.append(value)
        return self._shared[value]

    def _view(self, node: Node) -> Rows:
        rows = self.rows[node.args[0].index]
        shape = self.program.shapes[node.outs[0]]
        return self.vectors.viewed(rows, shape, self.program.rows)

    _unsafe_view = _reshape = _squeeze = _unsqueeze = _view

    def _clone(self, node: Node) -> Rows:
        value = node.args[0].index
        rows = self.rows[value]
        old = self.program.dtypes[value]
        new = self.program.dtypes[node.outs[0]]
        if old == self.real and new not in (old, torch.bool):
            raise Unsupported(f"it changes the type of a value ({new})")
        if new != torch.bool or old == new:
            return rows

        # Numbers become conditions: 1 or 0.
        conditions = [self.vectors.operation("condition", [v], v.width) for v in rows.vectors]
        return Rows(rows.shape, rows.axis, tuple(conditions))

    _to_copy = _contiguous = _lift_fresh = _clone

    def _permute(self, node: Node) -> Rows:
        ref, axes = node.args
        dims = self._dims(ref.index)
        order = [axis % dims for axis in axes]
        return self.vectors.permuted(self.rows[ref.index], order)

    def _transpose(self, node: Node) -> Rows:
        ref, first, second = filled(node, None, 0, 1)
        rows, dims = self.rows[ref.index], self._dims(ref.index)
        order = list(range(dims))
        if dims > 1:  # `t` of a vector is the vector
            order[first], order[second] = order[second], order[first]
        return self.vectors.permuted(rows, order)

    _t = _transpose

    def _select(self, node: Node) -> Rows:
        ref, axis, index = node.args
        rows, dims = self.rows[ref.index], self._dims(ref.index)
        own = rows.own(axis, dims)
        index %= rows.shape[own]
        return self._selected(rows, own, index)

    def _selected(self, rows: Rows, own: int, index: int) -> Rows:
        """Return what stands at one index of an own axis, which is dropped."""
        part = self.vectors.sliced(rows, own, index, index + 1)
        # An own axis below the batch's is one before it, and the batch moves down.
        batch = rows.axis - 1 if own < rows.axis else rows.axis
        return Rows(without(part.shape, own), batch, part.vectors)

    def _slice(self, node: Node) -> Rows:
        ref, axis, start, stop, step = filled(node, None, 0, None, None, 1)
        rows, dims = self.rows[ref.index], self._dims(ref.index)
        if axis % dims == rows.axis:
            to_the_end = stop is None or stop >= self.program.rows
            if not start and to_the_end:
                return rows
            raise Unsupported("it takes some rows of the batch")

        own = rows.own(axis, dims)
        size = rows.shape[own]
        first, last, stride = slice(start, stop, step).indices(size)
        return self.vectors.sliced(rows, own, first, last, stride)

    def _flip(self, node: Node) -> Rows:
        ref, axes = node.args
        rows, dims = self.rows[ref.index], self._dims(ref.index)
        for axis in axes:
            rows = self.vectors.flipped(rows, rows.own(axis, dims))
        return rows

    def _split(self, node: Node) -> list[Rows]:
        ref, sizes, axis = filled(node, None, None, 0)
        rows = self.rows[ref.index]
        own = rows.own(axis, self._dims(ref.index))
        whole = rows.shape[own]
        if isinstance(sizes, (list, tuple)):
            widths = list(sizes)
        else:
            # One size for all parts, of which the last may be smaller.
            widths = [min(sizes, whole - start) for start in range(0, whole, sizes)]

        parts = []
        start = 0
        for width in widths:
            parts.append(self.vectors.sliced(rows, own, start, start + width))
            start += width
        return parts

    _split_with_sizes = _split

    def _unbind(self, node: Node) -> list[Rows]:
        ref, axis = filled(node, None, 0)
        rows = self.rows[ref.index]
        own = rows.own(axis, self._dims(ref.index))
        count = rows.shape[own]
        return [self._selected(rows, own, index) for index in range(count)]

    def _expand(self, node: Node) -> Rows:
        axis, shape = self._frame(node.outs[0])
        vectors = self._wide(node.args[0], shape, axis)
        assert vectors is not None, "what is expanded is there"
        return Rows(shape, axis, vectors)

    def _cat(self, node: Node) -> Rows:
        refs, axis = filled(node, None, 0)
        place, shape = self._frame(node.outs[0])
        axis %= len(shape) + 1
        if axis == place:
            raise Unsupported("it mixes the rows of the batch")
        own = own_axis(axis, place)
        parts = [self.rows[ref.index] for ref in refs]
        return self.vectors.concatenated(parts, own)

    def _stack(self, node: Node) -> Rows:
        refs, axis = filled(node, None, 0)
        place, shape = self._frame(node.outs[0])
        axis %= len(shape) + 1
        own = own_axis(axis, place)

        # On the last axis, elements of one value would stand between those of another.
        parts = [self.rows[ref.index] for ref in refs]
        first = parts[0]
        on_last = own == len(first.shape)
        if on_last and first.size > 1 and first.shape[-1] != 1:
            raise Unsupported("it weaves values into one another (stack on the last axis)")
        wide = [Rows(widened(part.shape, own), place, part.vectors) for part in parts]
        return Rows(shape, place, self.vectors.concatenated(wide, own).vectors)

    def _constant(self, node: Node) -> Rows:
        axis, shape = self._frame(node.outs[0])
        name = node.name.removeprefix("aten.").removeprefix("new_")
        values = {"zeros": 0.0, "ones": 1.0}
        value = values[name] if name in values else node.args[-1]  # of `full`
        number = self.vectors.number(value, math.prod(shape))
        return Rows(shape, axis, (number,))

    _zeros = _ones = _full = _new_zeros = _new_ones = _new_full = _constant

    def _select_backward(self, node: Node) -> Rows:
        ref, sizes, axis, index = node.args
        place, shape = self._frame(node.outs[0])
        axis %= len(sizes)
        own = own_axis(axis, place)
        rows = self.rows[ref.index]
        inside = Rows(widened(rows.shape, own), place, rows.vectors)
        return self._placed(inside, shape, own, index % shape[own])

    def _slice_backward(self, node: Node) -> Rows:
        ref, sizes, axis, start, stop, step = node.args
        place, shape = self._frame(node.outs[0])
        axis %= len(sizes)
        if axis == place:
            return self.rows[ref.index]
        if step != 1:
            raise Unsupported("it takes every other element of a row")

        own = own_axis(axis, place)
        first, _, _ = slice(start, stop).indices(shape[own])
        return self._placed(self.rows[ref.index], shape, own, first)

    def _placed(self, rows: Rows, shape: Shape, own: int, start: int) -> Rows:
        """Return zeros of a shape with some rows standing in them."""

        def zeros(size: int) -> Rows:
            sizes = resized(shape, own, size)
            number = self.vectors.number(0.0, math.prod(sizes))
            return Rows(sizes, rows.axis, (number,))

        parts = [rows]
        rest = shape[own] - start - rows.shape[own]
        if start:
            parts.insert(0, zeros(start))
        if rest:
            parts.append(zeros(rest))
        return self.vectors.concatenated(parts, own)


def filled(node: Node, *defaults: Any) -> list[Any]:
    """Return the arguments of a node, with defaults where it is called with fewer."""
    return [*node.args, *defaults[len(node.args) :]]
