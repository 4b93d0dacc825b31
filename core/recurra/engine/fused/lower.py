"""From a recorded program to what a kernel writes: its vectors, its products, and the sums over all
rows.

Each value that the next state, the extras and the gradients are made of becomes vectors of a row,
by the rules of its operation. The gradient of a matrix is a sum over all rows and steps: a kernel
writes its two sides, and one product over a whole window makes it of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from recurra.engine.fused.arithmetic_rules import Contraction, Lowering, Product
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.record import Node, Program, Unsupported
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.fused.vectors import Load, Names, Rows, Vector, Vectors


@dataclass(frozen=True)
class Sum:
    """What is added up for the gradient of a shared tensor: of `left` (and `right`) that a kernel
    wrote.

    Each side is named by the kernel's tensor: dseq, store, state or seq, and its number.
    """

    left: tuple[str, int]
    right: tuple[str, int] | None
    groups: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Lowered:
    """A step and its gradients as what a kernel writes.

    `outs` are the next state and the extras, `gradients` what the kernel of the gradients writes at
    every step, by the name it has there. `stores` are written as well, for products over all rows
    and steps, and `sums` are added up; `totals` says of what the gradients of the shared tensors
    are made, by `finish`.
    """

    joint: Joint
    program: Program  # that of the step, and what changes the type of a value to the kernel's
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

    def __str__(self) -> str:
        names = Names()
        fields = len(self.state)
        written = [f"next{place}" for place in range(fields)] + [
            f"extra{place}" for place in range(len(self.extras))
        ]
        lines = [
            f"{name} = {names.row(out.vectors)}"
            for name, out in zip(written, self.outs, strict=True)
        ]
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


def lower(joint: Joint) -> Lowered:
    """Return what a kernel computes of a step with its gradients; of a step alone, where there are
    none.

    Raises `Unsupported` for what it cannot do.
    """
    program, made = joint.program.copied(), Vectors()

    def row(space: str, slot: int, value: int) -> Rows:
        shape, axis = program.shapes[value], program.batch(value)
        if axis is None:
            raise Unsupported("a value of its loop has no batch")
        own = (*shape[:axis], *shape[axis + 1 :])
        return Rows(own, axis, (made.load(space, slot, 0, math.prod(own)),))

    rows = {value: row("seq", i, value) for i, value in enumerate(joint.sequences)}
    rows |= {value: row("state", i, value) for i, value in enumerate(joint.state)}
    seeds = {
        value: row("seed", i, value) for i, value in enumerate(joint.seeds) if value is not None
    }
    late = program.reaches(seeds)
    early = {value for value in range(len(program.shapes)) if value not in late}
    low = Lowering(made, program, rows | seeds, early)

    sequences = tuple(rows[value].size for value in joint.sequences)
    state = tuple(rows[value].size for value in joint.state)
    outs = [low.of(value) for value in joint.outs]
    gradients = _gradients(low, joint, sequences, state) if joint.grads else []
    contracted, finish = _of_shared(low, joint)
    sides = _Sides(low, joint, sequences, state)
    totals = tuple(sides.sum(program.shapes[value], total) for value, total in contracted.items())

    return Lowered(
        joint,
        program,
        sequences,
        state,
        low.products,
        low.saved,
        low.late,
        low.shared,
        low.by_element,
        outs,
        gradients,
        sides.stores,
        sides.sums,
        totals,
        finish,
    )


def _gradients(
    low: Lowering, joint: Joint, sequences: tuple[int, ...], state: tuple[int, ...]
) -> list[tuple[str, Rows]]:
    """Return the gradients that the backward kernel writes at every step; zeros where there is
    none.
    """
    written: list[tuple[str, Rows]] = []
    for kind, values, widths in (
        ("dseq", joint.sequences, sequences),
        ("before", joint.state, state),
    ):
        for i, value in enumerate(values):
            if value in joint.grads:
                rows = low.of(joint.grads[value])
            else:
                rows = Rows((widths[i],), 0, (low.vectors.number(0.0, widths[i]),))
            written.append((f"{kind}{i}", rows))
    return written


def _of_shared(low: Lowering, joint: Joint) -> tuple[dict[int, Contraction], Subgraph | None]:
    """Return the sums over rows and steps, and what makes the gradients of shared tensors of
    them.
    """
    program = low.program
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
    """Where the sums over rows and steps find their sides, which the backward kernel writes if
    nobody else does.
    """

    def __init__(
        self, low: Lowering, joint: Joint, sequences: tuple[int, ...], state: tuple[int, ...]
    ) -> None:
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
            case (Load(width, ("seq" | "state") as space, slot, 0),) if (
                self.widths[space][slot] == width
            ):
                return space, slot  # it lies there already

        for place, gradient in self.gradients:
            if gradient == rows.vectors:
                return "dseq", place

        if rows.vectors not in self.stores:
            self.stores.append(rows.vectors)
        return "store", self.stores.index(rows.vectors)
