"""From a recorded program to vectors: what one step computes for a row, its products, the sums over all rows."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import torch

from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.operations import ELEMENTWISE, FILLS, IGNORED
from recurra.engine.fused.record import Node, Unsupported
from recurra.engine.fused.shape_rules import ShapeRules, filled
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.fused.vectors import Load, Number, Operation, Reduction, Rows, Vector, Vectors


@dataclass(frozen=True)
class Product:
    """A product of rows with a matrix that all share, in each of `groups` blocks: `[K]` times `[K, N]`."""

    rows: Rows
    matrix: int  # the value; [K, N] or [groups, K, N]
    turned: bool  # the matrix is [N, K]
    groups: int
    inner: int
    outer: int


@dataclass(frozen=True)
class Contraction:
    """A sum over rows and steps: of `left`, or of each product of an element of `left` with one of `right`."""

    left: Rows
    right: Rows | None
    groups: int


@dataclass(frozen=True)
class Sum:
    """What is added up for the gradient of a shared tensor: of `left` (and `right`) that a kernel wrote.

    Each side is named by the kernel's tensor: dseq, store, state or seq, and its number.
    """

    left: tuple[str, int]
    right: tuple[str, int] | None
    groups: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lowered:
    """A step and its gradients as what a kernel writes.

    `outs` are the next state and the extras, `gradients` what the kernel of the gradients writes at every
    step, by the name it has there. `stores` are written as well, for products over all rows and steps, and
    `sums` are added up; `totals` says of what the gradients of the shared tensors are made, by `finish`.
    """

    joint: Joint
    sequences: tuple[int, ...]  # widths
    state: tuple[int, ...]
    products: list[Product]
    saved: list[int]  # which products the forward kernel makes, in the order of their slots
    late: list[int]  # and which the backward one
    shared: list[int]  # values that all rows share, in the order of their slots
    by_element: set[int]
    outs: list[Rows]
    gradients: list[tuple[str, Rows]]
    stores: list[tuple[Vector, ...]]
    sums: list[tuple[Vector, ...]]
    totals: tuple[Sum, ...]
    finish: Subgraph | None

    @property
    def extras(self) -> tuple[int, ...]:
        """The widths of what a step gives beside its state."""
        return tuple(out.size for out in self.outs[len(self.state) :])

    def width(self, product: int) -> int:
        """Return how wide what a product gives is."""
        made = self.products[product]
        return made.groups * made.outer

    def __str__(self) -> str:
        names = Names()
        lines = [f"next {place} = {names.row(out.vectors)}" for place, out in enumerate(self.outs)]
        for name, rows in self.gradients:
            lines.append(f"{name} = {names.row(rows.vectors)}")
        for place, row in enumerate(self.stores):
            lines.append(f"store{place} = {names.row(row)}")
        for place, row in enumerate(self.sums):
            lines.append(f"sum{place} += {names.row(row)}")
        for space, slots in (("saved", self.saved), ("late", self.late)):
            for slot, index in enumerate(slots):
                made = self.products[index]
                matrix = f"shared{self.shared.index(made.matrix)}{' turned' if made.turned else ''}"
                lines.append(f"{space}{slot} = {names.row(made.rows.vectors)} times {matrix}")
        return "\n".join([*names.lines, *lines])


class Names:
    """Vectors by short names, with a line for each that is computed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._known: dict[Vector, str] = {}

    def row(self, vectors: tuple[Vector, ...]) -> str:
        """Return a row of vectors, one after the other."""
        return " ; ".join(self.of(vector) for vector in vectors)

    def of(self, vector: Vector) -> str:
        """Return what a vector is called: a load or a number is called what it is."""
        if isinstance(vector, Load | Number):
            return str(vector)
        if vector not in self._known:
            said = ", ".join(self.of(part) for part in vector.parts)
            name = vector.name if isinstance(vector, Operation | Reduction) else ""
            self._known[vector] = f"t{len(self._known)}"
            self.lines.append(f"{self._known[vector]} [{vector.width}] = {name}({said})")
        return self._known[vector]


def lower(joint: Joint) -> Lowered:
    """Return what a kernel computes of a step with its gradients; of a step alone, where there are none.

    Raises `Unsupported` for what it cannot do.
    """
    program, made = joint.program, Vectors()

    def row(space: str, slot: int, value: int) -> Rows:
        shape, axis = program.shapes[value], program.batch(value)
        if axis is None:
            raise Unsupported("a value of its loop has no batch")
        own = (*shape[:axis], *shape[axis + 1 :])
        return Rows(own, axis, (made.load(space, slot, 0, math.prod(own)),))

    rows = {value: row("seq", i, value) for i, value in enumerate(joint.sequences)}
    rows |= {value: row("state", i, value) for i, value in enumerate(joint.state)}
    seeds = {value: row("seed", i, value) for i, value in enumerate(joint.seeds) if value is not None}
    late = program.reaches(seeds)
    early = {value for value in range(len(program.shapes)) if value not in late}
    low = Lowering(made, program, rows | seeds, early)

    sequences = tuple(rows[value].size for value in joint.sequences)
    state = tuple(rows[value].size for value in joint.state)
    outs = [low.of(value) for value in joint.outs]
    gradients = _gradients(low, joint, sequences, state)
    contracted, finish = _of_shared(low, joint)
    sides = _Sides(low, joint, sequences, state)
    totals = tuple(sides.sum(program.shapes[value], total) for value, total in contracted.items())

    return Lowered(
        joint,
        sequences,
        state,
        low.products,
        low.saved,
        low.late,
        low.shared,
        low.by_element,
        outs,
        gradients if joint.grads else [],
        sides.stores,
        sides.sums,
        totals,
        finish,
    )


def _gradients(
    low: Lowering, joint: Joint, sequences: tuple[int, ...], state: tuple[int, ...]
) -> list[tuple[str, Rows]]:
    """Return the gradients that the backward kernel writes at every step; zeros where there is none."""
    written: list[tuple[str, Rows]] = []
    for kind, values, widths in (("dseq", joint.sequences, sequences), ("before", joint.state, state)):
        for i, value in enumerate(values):
            if value in joint.grads:
                rows = low.of(joint.grads[value])
            else:
                rows = Rows((widths[i],), 0, (low.vectors.number(0.0, widths[i]),))
            written.append((f"{kind}{i}", rows))
    return written


def _of_shared(low: Lowering, joint: Joint) -> tuple[dict[int, Contraction], Subgraph | None]:
    """Return the sums over rows and steps, and what makes the gradients of shared tensors of them."""
    program = joint.program
    wanted = [joint.grads[value] for value in joint.shared if value in joint.grads]
    if not wanted:
        return {}, None

    contracted: dict[int, Contraction] = {}
    behind: list[Node] = []
    needed = set(wanted)
    for node in reversed(program.nodes):
        if not needed.intersection(node.outs):
            continue
        total = low.contraction(node)
        if total is not None:
            contracted[node.outs[0]] = total
            continue
        if any(program.batch(ref) is not None for ref in node.refs):
            raise Unsupported(f"a kernel has no {node.name} over the rows of the batch")
        behind.insert(0, node)
        needed.update(node.refs)
    return contracted, subgraph(program, behind, [*joint.shared, *contracted], wanted)


class _Sides:
    """Where the sums over rows and steps find their sides, which the backward kernel writes if nobody else does."""

    def __init__(self, low: Lowering, joint: Joint, sequences: tuple[int, ...], state: tuple[int, ...]) -> None:
        self.widths = {"seq": sequences, "state": state}
        self.gradients = [
            (place, low.rows[joint.grads[value]].vectors)
            for place, value in enumerate(joint.sequences)
            if value in joint.grads
        ]
        self.stores: list[tuple[Vector, ...]] = []
        self.sums: list[tuple[Vector, ...]] = []

    def sum(self, shape: tuple[int, ...], total: Contraction) -> Sum:
        """Return where a sum finds its sides."""
        if total.right is None:
            self.sums.append(total.left.vectors)
            return Sum(("sum", len(self.sums) - 1), None, 1, shape)
        return Sum(self._side(total.left), self._side(total.right), total.groups, shape)

    def _side(self, rows: Rows) -> tuple[str, int]:
        match rows.vectors:
            case (Load(width, ("seq" | "state") as space, slot, 0),) if self.widths[space][slot] == width:
                return space, slot  # it lies there already

        for place, gradient in self.gradients:
            if gradient == rows.vectors:
                return "dseq", place

        if rows.vectors not in self.stores:
            self.stores.append(rows.vectors)
        return "store", self.stores.index(rows.vectors)


@dataclass
class Lowering(ShapeRules):
    """Turns values of a program into rows, as they are asked for.

    `rows` holds the inputs with a batch; all that depends on none of those is shared by the rows, and named by its
    number in `shared`. `early` are the values that are there before the gradients come: their products are saved.
    """

    products: list[Product] = field(default_factory=list)
    saved: list[int] = field(default_factory=list)  # which products are early, in the order of their slots
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
        """Find the rows of what a node gives; its arguments first, without recursion as deep as the program is long."""
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
        vectors = [made.operation(called, [_narrow(made, v) for v in piece], piece[0].width) for piece in pieces]
        return Rows(shape, axis, made.joined(vectors))

    @staticmethod
    def _named(name: str, args: list[Any]) -> str:
        """Return the name of an operation; with which of its arguments there are, where some are missing."""
        return name if None not in args else f"{name}/{''.join('.' if arg is None else 'x' for arg in args)}"

    def _check_types(self, node: Node, name: str) -> None:
        """Refuse numbers of other types than the kernel's; conditions and counts are well, and float32 made of them."""
        if name.removeprefix("new_") in ("zeros", "ones") or name in FILLS:
            return
        if name == "sum" and self.program.dtypes[node.refs[0]] == torch.bool:
            return
        for out in node.outs:
            dtype = self.program.dtypes[out]
            if dtype not in (torch.bool, torch.float32, self.real):
                raise Unsupported(f"it computes with numbers of type {str(dtype).removeprefix('torch.')} ({node.name})")

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
        own = sorted({rows.own(axis, dims) for axis in axes} if axes else {rows.own(a, dims) for a in range(dims)})
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
            self._products[key] = Rows(shape, axis, (self.vectors.load(space, len(slots), 0, groups * outer),))
            slots.append(len(self.products))
            self.products.append(Product(rows, matrix, turned, groups, inner, outer))
        return Rows(shape, axis, self._products[key].vectors)

    def contraction(self, node: Node) -> Contraction | None:
        """Return what a node sums over the rows, if that is what it does."""
        name = node.name.removeprefix("aten.")
        if any(self._has_rows(out) for out in node.outs) or not any(self._has_rows(ref) for ref in node.refs):
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
        vectors = [v for part in made.table(rows, axis) for v in _over_first(made, part, count, inner, how)]
        shape = (*rows.shape[:axis], *rows.shape[axis + 1 :])
        rows = Rows(shape, rows.axis, made.joined(vectors))
    return rows.vectors


def _over_first(made: Vectors, part: tuple[Vector, ...], count: int, inner: int, how: str) -> list[Vector]:
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
