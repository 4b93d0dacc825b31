"""What operations compute, as vectors of a row: elementwise, sums over a row, products with shared
matrices.

A method `_name` is the rule of the operation `aten.name`, as in `shape_rules`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from recurra.engine.fused.operations import ELEMENTWISE, FILLS, IGNORED
from recurra.engine.fused.record import Node, Unsupported
from recurra.engine.fused.shape_rules import ShapeRules, filled
from recurra.engine.fused.vectors import Number, Operation, Rows, Vector, Vectors


@dataclass(frozen=True)
class Product:
    """A product of rows with a matrix that all share, in each of `groups` blocks: `[K]` times
    `[K, N]`.
    """

    rows: Rows
    matrix: int  # the value; [K, N] or [groups, K, N]
    turned: bool  # the matrix is [N, K]
    groups: int
    inner: int
    outer: int

    @property
    def width(self) -> int:
        """How many numbers a row of what it gives has."""
        return self.groups * self.outer


@dataclass(frozen=True)
class Contraction:
    """A sum over rows and steps: of `left`, or of each product of an element of `left` with one of
    `right`.
    """

    left: Rows
    right: Rows | None
    groups: int


@dataclass
class Lowering(ShapeRules):
    """Turns values of a program into rows, as they are asked for.

    `rows` holds the inputs with a batch; all that depends on none of those is shared by the rows,
    and named by its number in `shared`. `early` are the values that are there before the gradients
    come: their products are saved.
    """

    products: list[Product] = field(default_factory=list)
    # Which products are early, in the order of their slots.
    saved: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)  # and which are not

    def __post_init__(self) -> None:
        super().__post_init__()
        self._products: dict[Any, Rows] = {}

    def of(self, value: int) -> Rows:
        """Return the rows of a value. Raises `Unsupported` where a kernel cannot compute it."""
        if value not in self.rows:
            node = self.makers[value]
            self._enter(node)
        return self.rows[value]

    def _enter(self, node: Node) -> None:
        """Find the rows of what a node gives; its arguments first, without recursion as deep as the
        program is long.
        """
        wanted = [node]
        while wanted:
            node = wanted[-1]
            missing = [ref for ref in node.refs if self._has_rows(ref) and ref not in self.rows]
            if missing:
                wanted += [self.makers[ref] for ref in missing]
                continue
            for out, rows in zip(node.outs, self._rows(node), strict=False):
                self.rows.setdefault(out, rows)
            wanted.pop()

    def _rows(self, node: Node) -> list[Rows]:
        name = node.name.removeprefix("aten.")
        self._check_types(node, name)
        if name in FILLS or name == "full_like":
            value = FILLS[name] if name in FILLS else node.args[1]
            axis, shape = self._frame(node.outs[0])
            return [Rows(shape, axis, (self.vectors.number(float(value), math.prod(shape)),))]
        if name in ELEMENTWISE:
            return [self._elementwise(node, name)]
        method = getattr(self, f"_{name.strip('_')}", None)
        if method is None:
            raise Unsupported(f"a kernel has no {node.name}")
        rows = method(node)
        return rows if isinstance(rows, list) else [rows]

    # elementwise

    def _elementwise(self, node: Node, name: str) -> Rows:
        axis, shape = self._frame(node.outs[0])
        wide = [self._wide(arg, shape, axis) for arg in node.args]
        if name == "add" and self.program.dtypes[node.outs[0]] == torch.bool:
            name = "logical_or"
        for key, value in node.kwargs.items():
            if key == "rounding_mode" and value is not None:
                raise Unsupported(f"a kernel has no {node.name} that rounds ({value})")
            if key not in IGNORED and value is not None:
                name, wide = f"{name}:{key}", [*wide, self._wide(value, shape, axis)]
        made = self.vectors
        called = self._named(name, wide)
        pieces = made.aligned([part for part in wide if part is not None])
        vectors = [
            made.operation(called, [_narrow(made, v) for v in piece], piece[0].width)
            for piece in pieces
        ]
        return Rows(shape, axis, made.joined(vectors))

    @staticmethod
    def _named(name: str, args: list[Any]) -> str:
        """Return the name of an operation; with which of its arguments there are, where some are
        missing.
        """
        return (
            name
            if None not in args
            else f"{name}/{''.join('.' if arg is None else 'x' for arg in args)}"
        )

    def _check_types(self, node: Node, name: str) -> None:
        """Refuse numbers of other types than the kernel's; conditions and counts are well, and
        float32 made of them.
        """
        if name.removeprefix("new_") in ("zeros", "ones") or name in FILLS:
            return
        if name == "sum" and self.program.dtypes[node.refs[0]] == torch.bool:
            return
        for out in node.outs:
            dtype = self.program.dtypes[out]
            if dtype not in (torch.bool, torch.float32, self.real):
                raise Unsupported(
                    f"it computes with numbers of type {str(dtype).removeprefix('torch.')}"
                    f" ({node.name})"
                )

    # sums

    def _sum(self, node: Node) -> Rows:
        return self._reduce(node, "sum")

    def _mean(self, node: Node) -> Rows:
        total = self._reduce(node, "sum")
        share = self.vectors.number(total.size / self.rows[node.args[0].index].size)
        vectors = [self.vectors.operation("mul", [v, share], v.width) for v in total.vectors]
        return Rows(total.shape, total.axis, tuple(vectors))

    def _amax(self, node: Node) -> Rows:
        return self._reduce(node, "amax")

    def _reduce(self, node: Node, how: str) -> Rows:
        ref, axes, keep = filled(node, None, [], False)
        rows, dims = self.rows[ref.index], len(self.program.shapes[ref.index])
        own = sorted(
            {rows.own(axis, dims) for axis in axes}
            if axes
            else {rows.own(a, dims) for a in range(dims)}
        )
        axis, shape = self._frame(node.outs[0])
        return Rows(shape, axis, _over(self.vectors, rows, own, how))

    # products

    def _mm(self, node: Node) -> Rows:
        left, right = node.args
        axis, shape = self._frame(node.outs[0])
        if self._has_rows(left.index) and not self._has_rows(right.index):
            return self._product(node, self.rows[left.index], right.index, turned=False)
        if self._has_rows(right.index) and not self._has_rows(left.index):
            return self._product(node, self.rows[right.index], left.index, turned=True)
        raise Unsupported(f"a kernel has no {node.name} of two values that differ by row")

    _bmm = _mm

    def _product(self, node: Node, rows: Rows, matrix: int, turned: bool) -> Rows:
        sizes = self.program.shapes[matrix]
        groups = sizes[0] if len(sizes) == 3 else 1
        inner, outer = (sizes[-1], sizes[-2]) if turned else (sizes[-2], sizes[-1])
        axis, shape = self._frame(node.outs[0])
        if rows.axis != len(sizes) - (1 if turned else 2):
            raise Unsupported("it mixes the rows of the batch")
        self.slot(matrix)
        key = (rows.vectors, matrix, turned)
        if key not in self._products:
            early = node.outs[0] in self.early
            slots = self.saved if early else self.late
            space = "saved" if early else "late"
            self._products[key] = Rows(
                shape, axis, (self.vectors.load(space, len(slots), 0, groups * outer),)
            )
            slots.append(len(self.products))
            self.products.append(Product(rows, matrix, turned, groups, inner, outer))
        return Rows(shape, axis, self._products[key].vectors)

    def contraction(self, node: Node) -> Contraction | None:
        """Return what a node sums over the rows, if that is what it does."""
        name = node.name.removeprefix("aten.")
        if any(self._has_rows(out) for out in node.outs) or not any(
            self._has_rows(ref) for ref in node.refs
        ):
            return None
        if name in ("mm", "bmm"):
            left, right = (self.of(arg.index) for arg in node.args)
            return Contraction(left, right, left.shape[0] if name == "bmm" else 1)
        if name == "sum":
            ref, axes = filled(node, None, [])[:2]
            rows, dims = self.of(ref.index), len(self.program.shapes[ref.index])
            own = sorted(rows.own(a, dims) for a in axes or range(dims) if a % dims != rows.axis)
            return Contraction(Rows((), 0, _over(self.vectors, rows, own, "sum")), None, 1)
        if name in ("view", "_unsafe_view", "squeeze", "select"):
            return None
        raise Unsupported(f"a kernel has no {node.name} over the rows of the batch")


def _over(made: Vectors, rows: Rows, own: list[int], how: str) -> tuple[Vector, ...]:
    """Return the sum or maximum of rows over some of their own axes, which are dropped."""
    for axis in reversed(own):
        count, inner = rows.shape[axis], math.prod(rows.shape[axis + 1 :])
        vectors = [
            v for part in made.table(rows, axis) for v in _over_first(made, part, count, inner, how)
        ]
        shape = (*rows.shape[:axis], *rows.shape[axis + 1 :])
        rows = Rows(shape, rows.axis, made.joined(vectors))
    return rows.vectors


def _over_first(
    made: Vectors, part: tuple[Vector, ...], count: int, inner: int, how: str
) -> list[Vector]:
    """Return the sum or maximum over the first axis of a part `[count, inner]`.

    Of single elements it is one number, a reduction; of wider ones it is `count` vectors added up.
    """
    if inner == 1:
        return [made.reduction(how, part)] if count > 1 else [part[0]]

    name = "add" if how == "sum" else "maximum"
    totals = []
    for piece in made.aligned([made.part(part, index * inner, inner) for index in range(count)]):
        total = piece[0]
        for vector in piece[1:]:
            total = made.operation(name, [total, vector], vector.width)
        totals.append(total)
    return totals


def _narrow(made: Vectors, vector: Vector) -> Vector:
    """Return a number, or one element repeated, as 1 wide: so it is written once."""
    if isinstance(vector, Number):
        return made.number(vector.value)
    if isinstance(vector, Operation) and vector.name == "same" and vector.operands[0].width == 1:
        return vector.operands[0]
    return vector
