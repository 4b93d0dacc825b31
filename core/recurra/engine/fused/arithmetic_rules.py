"""What operations compute, as vectors of a row.

They are elementwise, sums over a row, or products with matrices that all rows share. A method
`_name` is the rule of the operation `aten.name`, as in `shape_rules`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch

from recurra.engine.fused.operations import ELEMENTWISE, FILLS, IGNORED
from recurra.engine.fused.record import Node, Unsupported, type_text
from recurra.engine.fused.shape_rules import ShapeRules, filled
from recurra.engine.fused.vectors import Number, Operation, Row, Rows, Vector, Vectors, without


@dataclass(frozen=True)
class Product:
    """A product of rows with a matrix that all share: `[K]` times `[K, N]`, in each group."""

    rows: Rows
    matrix: int  # the value; [K, N] or [groups, K, N]
    turned: bool  # the matrix is [N, K]
    groups: int
    inner: int  # K
    outer: int  # N

    @property
    def width(self) -> int:
        """How many numbers a row of what it gives has."""
        return self.groups * self.outer


@dataclass(frozen=True)
class Contraction:
    """A sum over rows and steps: of `left`, or of all products of an element of it and `right`."""

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
    # Which products are early, in the order of their slots, and which are not.
    saved: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._products: dict[tuple[Row, int, bool], Vector] = {}

    def of(self, value: int) -> Rows:
        """Return the rows of a value. Raises `Unsupported` where a kernel cannot compute it."""
        if value not in self.rows:
            node = self.makers[value]
            self._enter(node)
        return self.rows[value]

    def _enter(self, node: Node) -> None:
        """Find the rows of what a node gives.

        Its arguments come first, without recursion as deep as the program is long.
        """
        pending = [node]
        while pending:
            node = pending[-1]
            with_rows = filter(self.program.has_batch, node.refs)
            missing = [ref for ref in with_rows if ref not in self.rows]
            if missing:
                pending += [self.makers[ref] for ref in missing]
                continue
            for out, rows in zip(node.outs, self._rows(node), strict=False):
                self.rows.setdefault(out, rows)
            pending.pop()

    def _rows(self, node: Node) -> list[Rows]:
        """Return the rows of what a node gives, by the rule of its operation."""
        name = node.name.removeprefix("aten.")
        self._check_types(node, name)
        if name in FILLS:
            return [self._filled(node, FILLS[name])]
        if name == "full_like":
            return [self._filled(node, node.args[1])]
        if name in ELEMENTWISE:
            return [self._elementwise(node, name)]

        rule = getattr(self, f"_{name.strip('_')}", None)
        if rule is None:
            raise Unsupported(f"a kernel has no {node.name}")
        rows = rule(node)
        return rows if isinstance(rows, list) else [rows]

    # elementwise

    def _filled(self, node: Node, value: float) -> Rows:
        axis, shape = self._frame(node.outs[0])
        number = self.vectors.number(float(value), math.prod(shape))
        return Rows(shape, axis, (number,))

    def _elementwise(self, node: Node, name: str) -> Rows:
        axis, shape = self._frame(node.outs[0])
        args = [self._wide(arg, shape, axis) for arg in node.args]
        dtype = self.program.dtypes[node.outs[0]]
        if name == "add" and dtype == torch.bool:
            name = "logical_or"
        for key, value in node.kwargs.items():
            if value is None or key in IGNORED:
                continue
            if key == "rounding_mode":
                raise Unsupported(f"a kernel has no {node.name} that rounds ({value})")
            name += f":{key}"
            args.append(self._wide(value, shape, axis))

        # Cut at the same places, so that each piece of the result is of one piece of each argument.
        name = self._named(name, args)
        vectors: list[Vector] = []
        for piece in self.vectors.aligned([arg for arg in args if arg is not None]):
            operands = [_narrow(self.vectors, vector) for vector in piece]
            vectors.append(self.vectors.operation(name, operands, piece[0].width))
        return Rows(shape, axis, self.vectors.joined(vectors))

    @staticmethod
    def _named(name: str, args: list[Row | None]) -> str:
        """Return the name of an operation with its arguments that are there, if some are missing.

        A clamp without its lower bound is `clamp/x.x`.
        """
        if None not in args:
            return name
        marks = ["." if arg is None else "x" for arg in args]
        return f"{name}/{''.join(marks)}"

    def _check_types(self, node: Node, name: str) -> None:
        """Refuse numbers of other types than the kernel's.

        Conditions and counts are well, and float32 made of them.
        """
        if name.removeprefix("new_") in ("zeros", "ones") or name in FILLS:
            return
        if name == "sum" and self.program.dtypes[node.refs[0]] == torch.bool:
            return
        for out in node.outs:
            dtype = self.program.dtypes[out]
            if dtype not in (torch.bool, torch.float32, self.real):
                numbers = f"numbers of type {type_text(dtype)}"
                raise Unsupported(f"it computes with {numbers} ({node.name})")

    # sums

    def _sum(self, node: Node) -> Rows:
        return self._reduce(node, "sum")

    def _mean(self, node: Node) -> Rows:
        total = self._reduce(node, "sum")
        count = self.rows[node.args[0].index].size
        share = self.vectors.number(total.size / count)
        vectors = [self.vectors.operation("mul", [v, share], v.width) for v in total.vectors]
        return Rows(total.shape, total.axis, tuple(vectors))

    def _amax(self, node: Node) -> Rows:
        return self._reduce(node, "amax")

    def _reduce(self, node: Node, how: str) -> Rows:
        ref, axes, _ = filled(node, None, [], False)
        rows, dims = self.rows[ref.index], self._dims(ref.index)
        own = {rows.own(axis, dims) for axis in axes or range(dims)}
        axis, shape = self._frame(node.outs[0])
        return Rows(shape, axis, _over(self.vectors, rows, sorted(own), how))

    # products

    def _mm(self, node: Node) -> Rows:
        left, right = (ref.index for ref in node.args)
        self._frame(node.outs[0])  # refuses what has no batch
        if self.program.has_batch(left) and not self.program.has_batch(right):
            return self._product(node, left, right, turned=False)
        if self.program.has_batch(right) and not self.program.has_batch(left):
            return self._product(node, right, left, turned=True)
        raise Unsupported(f"a kernel has no {node.name} of two values that differ by row")

    _bmm = _mm

    def _product(self, node: Node, value: int, matrix: int, turned: bool) -> Rows:
        """Return the product of a value with a shared matrix; `turned`, the matrix is on the left.

        The same product of the same rows is made once.
        """
        sizes = self.program.shapes[matrix]
        groups = sizes[0] if len(sizes) == 3 else 1
        *_, inner, outer = sizes
        if turned:
            inner, outer = outer, inner

        # The batch has to be the axis that the product does not sum over.
        axis, shape = self._frame(node.outs[0])
        rows = self.rows[value]
        batch = len(sizes) - 1 if turned else len(sizes) - 2
        if rows.axis != batch:
            raise Unsupported("it mixes the rows of the batch")
        self.slot(matrix)

        key = (rows.vectors, matrix, turned)
        if key not in self._products:
            product = Product(rows, matrix, turned, groups, inner, outer)
            early = node.outs[0] in self.early
            space, slots = ("saved", self.saved) if early else ("late", self.late)
            self._products[key] = self.vectors.load(space, len(slots), 0, product.width)
            slots.append(len(self.products))
            self.products.append(product)
        return Rows(shape, axis, (self._products[key],))

    def contraction(self, node: Node) -> Contraction | None:
        """Return what a node sums over the rows, if that is what it does."""
        reads_rows = any(self.program.has_batch(ref) for ref in node.refs)
        if not reads_rows or any(self.program.has_batch(out) for out in node.outs):
            return None

        name = node.name.removeprefix("aten.")
        if name in ("mm", "bmm"):
            left, right = (self.of(arg.index) for arg in node.args)
            groups = left.shape[0] if name == "bmm" else 1
            return Contraction(left, right, groups)
        if name == "sum":
            return Contraction(self._within_rows(node), None, 1)
        if name in ("view", "_unsafe_view", "squeeze", "select"):
            return None
        raise Unsupported(f"a kernel has no {node.name} over the rows of the batch")

    def _within_rows(self, node: Node) -> Rows:
        """Return what a sum over the batch adds up of each row: its sum over the other axes."""
        ref, axes, *_ = filled(node, None, [])
        rows, dims = self.of(ref.index), self._dims(ref.index)
        others = [axis for axis in axes or range(dims) if axis % dims != rows.axis]
        own = sorted(rows.own(axis, dims) for axis in others)
        return Rows((), 0, _over(self.vectors, rows, own, "sum"))


def _over(vectors: Vectors, rows: Rows, own: list[int], how: str) -> Row:
    """Return the sum or maximum of rows over some of their own axes, which are dropped."""
    # From the last axis to the first, so that an axis that is dropped leaves the others' numbers.
    for axis in reversed(own):
        count, inner = rows.shape[axis], rows.inner(axis)
        totals: list[Vector] = []
        for part in vectors.table(rows, axis):
            totals += _over_first(vectors, part, count, inner, how)
        rows = Rows(without(rows.shape, axis), rows.axis, vectors.joined(totals))
    return rows.vectors


def _over_first(vectors: Vectors, part: Row, count: int, inner: int, how: str) -> list[Vector]:
    """Return the sum or maximum over the first axis of a part `[count, inner]`.

    Of single elements it is one number, a reduction; of wider ones it is `count` vectors added up.
    """
    if inner == 1:
        return [vectors.reduction(how, part)] if count > 1 else [part[0]]

    name = "add" if how == "sum" else "maximum"
    entries = [vectors.part(part, index * inner, inner) for index in range(count)]
    totals = []
    for first, *others in vectors.aligned(entries):
        total = first
        for vector in others:
            total = vectors.operation(name, [total, vector], vector.width)
        totals.append(total)
    return totals


def _narrow(vectors: Vectors, vector: Vector) -> Vector:
    """Return a number, or one element repeated, as 1 wide: so it is written once."""
    match vector:
        case Number(value=value):
            return vectors.number(value)
        case Operation(name="same", operands=(element,)) if element.width == 1:
            return element
    return vector
