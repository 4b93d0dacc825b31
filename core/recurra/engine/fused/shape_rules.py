"""Values of a recorded program as rows: which have a batch, and the operations that only rearrange
them.

A method `_name` is the rule of the operation `aten.name`: from a node to the rows of what it gives.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from recurra.engine.fused.record import Node, Program, Ref, Unsupported
from recurra.engine.fused.vectors import Rows, Vector, Vectors

REARRANGED = {
    "view", "_unsafe_view", "reshape", "t", "transpose", "permute", "select", "slice", "split",
    "split_with_sizes",
    "unbind", "squeeze", "unsqueeze", "expand", "clone", "_to_copy", "cat", "stack",
    "select_backward",
    "slice_backward",
    "zeros", "ones", "full", "new_zeros", "new_ones", "new_full", "contiguous", "lift_fresh",
    "flip", "detach", "alias",
}  # fmt: skip
"""Operations that only rearrange, or make numbers."""


@dataclass
class ShapeRules:
    """What is known of values: `rows` of those with a batch, numbers of those that all rows share
    in `shared`.

    `early` are the values that are there before the gradients come: their products are saved.
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

    def _has_rows(self, value: int) -> bool:
        return self.program.batch(value) is not None

    def _frame(self, value: int) -> tuple[int, tuple[int, ...]]:
        """Return the batch axis of a value and the sizes of its others."""
        axis = self.program.batch(value)
        if axis is None:
            raise Unsupported("it mixes the rows of the batch")
        shape = self.program.shapes[value]
        return axis, (*shape[:axis], *shape[axis + 1 :])

    def _wide(self, arg: Any, shape: tuple[int, ...], axis: int) -> tuple[Vector, ...] | None:
        """Return an argument repeated to a shape; None for one that is not there."""
        if arg is None:
            return None
        if not isinstance(arg, Ref):
            return (self.vectors.number(float(arg), math.prod(shape)),)
        dims = len(shape) + 1
        sizes = self.program.shapes[arg.index]
        if self._has_rows(arg.index):
            rows = self.rows[arg.index]
            if rows.axis + dims - len(sizes) != axis:
                raise Unsupported("it mixes the rows of the batch")
            missing = dims - len(sizes)
            wider = Rows((*[1] * missing, *rows.shape), axis, rows.vectors)
            return self.vectors.expanded(wider, shape, axis).vectors
        full = [*[1] * (dims - len(sizes)), *sizes]
        if full[axis] != 1:
            raise Unsupported("it tells the rows of the batch apart")
        own = (*full[:axis], *full[axis + 1 :])
        width = math.prod(own)
        slot = self.slot(self._real(arg.index))
        self.by_element.add(slot)
        return self.vectors.expanded(
            Rows(own, axis, (self.vectors.load("shared", slot, 0, width),)), shape, axis
        ).vectors

    def _real(self, value: int) -> int:
        """Return a value that all rows share in the kernel's type: a condition, or what counts,
        becomes a new value.
        """
        program = self.program
        if program.dtypes[value] == self.real or value in self.varied:
            return value
        if value not in self._converted:
            self._converted[value] = program.add(program.shapes[value], self.real)
            copied = torch.ops.aten._to_copy.default
            program.nodes.append(
                Node(copied, (Ref(value),), {"dtype": self.real}, (self._converted[value],))
            )
        return self._converted[value]

    def slot(self, value: int) -> int:
        """Return the number of a value that all rows share."""
        if value in self.varied:
            raise Unsupported("it mixes the rows of the batch")
        if value not in self._shared:
            self._shared[value] = len(self.shared)
            self.shared.append(value)
        return self._shared[value]

    def _view(self, node: Node) -> Rows:
        return self.vectors.viewed(
            self.rows[node.args[0].index], self.program.shapes[node.outs[0]], self.program.rows
        )

    _unsafe_view = _reshape = _squeeze = _unsqueeze = _view

    def _clone(self, node: Node) -> Rows:
        rows = self.rows[node.args[0].index]
        old, new = (self.program.dtypes[value] for value in (node.args[0].index, node.outs[0]))
        if old == self.real and new not in (old, torch.bool):
            raise Unsupported(f"it changes the type of a value ({new})")
        if new == torch.bool and old != new:
            asked = [self.vectors.operation("condition", [v], v.width) for v in rows.vectors]
            return Rows(rows.shape, rows.axis, tuple(asked))
        return rows

    _to_copy = _contiguous = _lift_fresh = _clone

    def _permute(self, node: Node) -> Rows:
        value, dims = self.rows[node.args[0].index], len(self.program.shapes[node.args[0].index])
        return self.vectors.permuted(value, [axis % dims for axis in node.args[1]])

    def _transpose(self, node: Node) -> Rows:
        dims = len(self.program.shapes[node.args[0].index])
        order = list(range(dims))
        first, second = (node.args[1] % dims, node.args[2] % dims) if len(node.args) > 1 else (0, 1)
        order[first], order[second] = second, first
        return self.vectors.permuted(self.rows[node.args[0].index], order if dims > 1 else [0])

    _t = _transpose

    def _select(self, node: Node) -> Rows:
        ref, axis, index = node.args
        dims = len(self.program.shapes[ref.index])
        rows = self.rows[ref.index]
        own = rows.own(axis, dims)
        index %= rows.shape[own]
        part = self.vectors.sliced(rows, own, index, index + 1)
        return Rows(
            (*part.shape[:own], *part.shape[own + 1 :]),
            part.axis - (axis % dims < rows.axis),
            part.vectors,
        )

    def _slice(self, node: Node) -> Rows:
        ref, axis, start, stop, step = filled(node, None, 0, None, None, 1)
        rows = self.rows[ref.index]
        if axis % len(self.program.shapes[ref.index]) == rows.axis:
            if (start or 0) == 0 and (stop is None or stop >= self.program.rows):
                return rows
            raise Unsupported("it takes some rows of the batch")
        own = rows.own(axis, len(self.program.shapes[ref.index]))
        first, last, stride = slice(start, stop, step).indices(rows.shape[own])
        return self.vectors.sliced(rows, own, first, last, stride)

    def _flip(self, node: Node) -> Rows:
        ref, axes = node.args
        rows, dims = self.rows[ref.index], len(self.program.shapes[ref.index])
        for axis in axes:
            rows = self.vectors.flipped(rows, rows.own(axis, dims))
        return rows

    def _split(self, node: Node) -> list[Rows]:
        ref, sizes, axis = filled(node, None, None, 0)
        rows = self.rows[ref.index]
        own = rows.own(axis, len(self.program.shapes[ref.index]))
        whole = rows.shape[own]
        widths = (
            sizes
            if isinstance(sizes, (list, tuple))
            else [min(sizes, whole - at) for at in range(0, whole, sizes)]
        )
        ends = [sum(widths[: index + 1]) for index in range(len(widths))]
        return [
            self.vectors.sliced(rows, own, end - width, end)
            for width, end in zip(widths, ends, strict=True)
        ]

    _split_with_sizes = _split

    def _unbind(self, node: Node) -> list[Rows]:
        ref, axis = filled(node, None, 0)
        rows, dims = self.rows[ref.index], len(self.program.shapes[ref.index])
        own = rows.own(axis, dims)
        parts = [
            self.vectors.sliced(rows, own, index, index + 1) for index in range(rows.shape[own])
        ]
        place = rows.axis - (axis % dims < rows.axis)
        return [
            Rows((*part.shape[:own], *part.shape[own + 1 :]), place, part.vectors) for part in parts
        ]

    def _expand(self, node: Node) -> Rows:
        axis, shape = self._frame(node.outs[0])
        vectors = self._wide(node.args[0], shape, axis)
        assert vectors is not None, "what is expanded is there"
        return Rows(shape, axis, vectors)

    def _cat(self, node: Node) -> Rows:
        refs, axis = filled(node, None, 0)
        place, shape = self._frame(node.outs[0])
        dims = len(shape) + 1
        if axis % dims == place:
            raise Unsupported("it mixes the rows of the batch")
        return self.vectors.concatenated(
            [self.rows[ref.index] for ref in refs], axis % dims - (axis % dims > place)
        )

    def _stack(self, node: Node) -> Rows:
        refs, axis = filled(node, None, 0)
        place, shape = self._frame(node.outs[0])
        own = axis % (len(shape) + 1)
        own -= own > place
        parts = [self.rows[ref.index] for ref in refs]
        if own == len(parts[0].shape) and parts[0].size > 1 and parts[0].shape[-1] != 1:
            raise Unsupported("it weaves values into one another (stack on the last axis)")
        wide = [Rows((*p.shape[:own], 1, *p.shape[own:]), place, p.vectors) for p in parts]
        return Rows(shape, place, self.vectors.concatenated(wide, own).vectors)

    def _constant(self, node: Node) -> Rows:
        axis, shape = self._frame(node.outs[0])
        name = node.name.removeprefix("aten.new_").removeprefix("aten.")
        value = {"zeros": 0.0, "ones": 1.0}.get(name)
        return Rows(
            shape,
            axis,
            (self.vectors.number(node.args[-1] if value is None else value, math.prod(shape)),),
        )

    _zeros = _ones = _full = _new_zeros = _new_ones = _new_full = _constant

    def _select_backward(self, node: Node) -> Rows:
        ref, sizes, axis, index = node.args
        dims = len(sizes)
        place, shape = self._frame(node.outs[0])
        own = axis % dims - (axis % dims > place)
        rows = self.rows[ref.index]
        inside = Rows((*rows.shape[:own], 1, *rows.shape[own:]), place, rows.vectors)
        return self._placed(inside, shape, own, index % shape[own])

    def _slice_backward(self, node: Node) -> Rows:
        ref, sizes, axis, start, stop, step = node.args
        place, shape = self._frame(node.outs[0])
        if axis % len(sizes) == place:
            return self.rows[ref.index]
        if step != 1:
            raise Unsupported("it takes every other element of a row")
        own = axis % len(sizes) - (axis % len(sizes) > place)
        return self._placed(
            self.rows[ref.index], shape, own, slice(start, stop).indices(shape[own])[0]
        )

    def _placed(self, rows: Rows, shape: tuple[int, ...], own: int, start: int) -> Rows:
        """Return zeros of a shape with some rows standing in them."""

        def zeros(size: int) -> Rows:
            sizes = (*shape[:own], size, *shape[own + 1 :])
            return Rows(sizes, rows.axis, (self.vectors.number(0.0, math.prod(sizes)),))

        rest = shape[own] - start - rows.shape[own]
        parts = [*([zeros(start)] if start else []), rows, *([zeros(rest)] if rest else [])]
        return self.vectors.concatenated(parts, own)


def filled(node: Node, *defaults: Any) -> list[Any]:
    """Return the arguments of a node, with defaults where it is called with fewer."""
    return [*node.args, *defaults[len(node.args) :]]
