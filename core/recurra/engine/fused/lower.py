"""From a recorded program to what a kernel writes: vectors, products and sums over all rows.

Each value that the next state, the extras and the gradients are made of becomes vectors of a row,
by the rules of its operation. The gradient of a matrix is a sum over all rows and steps: a kernel
writes its two sides, and one product over a whole window makes it of them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from recurra.engine.fused.arithmetic_rules import Contraction, Lowering, Product
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.record import Node, Program, Unsupported
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.fused.vectors import Load, Names, Row, Rows, Vectors, without


@dataclass(frozen=True)
class Sum:
    """What is added up for the gradient of a shared tensor: `left`, or products of it and `right`.

    Each side is named by the tensor that a kernel wrote or read: dseq, store, sum, state or seq,
    and its number.
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
    stores: list[Row]
    sums: list[Row]
    totals: tuple[Sum, ...]
    finish: Subgraph | None

    @property
    def extras(self) -> tuple[int, ...]:
        """The widths of what a step gives beside its state."""
        return tuple(out.size for out in self.outs[len(self.state) :])

    def __str__(self) -> str:
        names = Names()
        lines = [f"{name} = {names.row(row)}" for name, row in self._written()]
        lines += [f"sum{i} += {names.row(row)}" for i, row in enumerate(self.sums)]
        for space, slots in (("saved", self.saved), ("late", self.late)):
            for slot, index in enumerate(slots):
                product = self.products[index]
                matrix = f"shared{self.shared.index(product.matrix)}"
                if product.turned:
                    matrix += " turned"
                lines.append(f"{space}{slot} = {names.row(product.rows.vectors)} times {matrix}")
        return "\n".join([*names.lines, *lines])

    def _written(self) -> Iterator[tuple[str, Row]]:
        """Give each row that a kernel writes at every step, with its name there."""
        fields = len(self.state)
        for place, out in enumerate(self.outs):
            name = f"next{place}" if place < fields else f"extra{place - fields}"
            yield name, out.vectors
        for name, rows in self.gradients:
            yield name, rows.vectors
        for place, row in enumerate(self.stores):
            yield f"store{place}", row


def lower(joint: Joint) -> Lowered:
    """Return what a kernel computes of a step with its gradients, or of a step alone.

    Raises `Unsupported` for what it cannot do.
    """
    program, vectors = joint.program.copy(), Vectors()
    inputs = _loads(vectors, program, "seq", joint.sequences)
    inputs |= _loads(vectors, program, "state", joint.state)
    seeds = _loads(vectors, program, "seed", joint.seeds)

    # What hangs on no seed is there before the gradients come; its products are saved for them.
    late = program.reaches(seeds)
    early = {value for value in range(len(program.shapes)) if value not in late}
    lowering = Lowering(vectors, program, inputs | seeds, early)

    # The order is that of the slots: whoever asks for a value first has the first products of it.
    outs = [lowering.of(value) for value in joint.outs]
    gradients = _gradients(lowering, joint) if joint.grads else []
    contracted, finish = _of_shared(lowering, joint)
    sides = _Sides(lowering, joint)
    totals = [sides.sum(program.shapes[value], total) for value, total in contracted.items()]

    return Lowered(
        joint=joint,
        program=program,
        sequences=_sizes(inputs, joint.sequences),
        state=_sizes(inputs, joint.state),
        products=lowering.products,
        saved=lowering.saved,
        late=lowering.late,
        shared=lowering.shared,
        by_element=lowering.by_element,
        outs=outs,
        gradients=gradients,
        stores=sides.stores,
        sums=sides.sums,
        totals=tuple(totals),
        finish=finish,
    )


def _loads(
    vectors: Vectors, program: Program, space: str, values: Sequence[int | None]
) -> dict[int, Rows]:
    """Return the rows of inputs that lie in memory: that at each place is loaded from its slot."""
    loads: dict[int, Rows] = {}
    for slot, value in enumerate(values):
        if value is None:
            continue
        shape, axis = program.shapes[value], program.batch(value)
        if axis is None:
            raise Unsupported("a value of its loop has no batch")
        own = without(shape, axis)
        load = vectors.load(space, slot, 0, math.prod(own))
        loads[value] = Rows(own, axis, (load,))
    return loads


def _sizes(rows: Mapping[int, Rows], values: Sequence[int]) -> tuple[int, ...]:
    return tuple(rows[value].size for value in values)


def _gradients(lowering: Lowering, joint: Joint) -> list[tuple[str, Rows]]:
    """Return what the backward kernel writes at every step, by its name there.

    That is the gradient of each sequence and state field, or zeros where there is none.
    """
    written: list[tuple[str, Rows]] = []
    for name, values in (("dseq", joint.sequences), ("before", joint.state)):
        for i, value in enumerate(values):
            if value in joint.grads:
                rows = lowering.of(joint.grads[value])
            else:
                width = lowering.rows[value].size
                rows = Rows((width,), 0, (lowering.vectors.number(0.0, width),))
            written.append((f"{name}{i}", rows))
    return written


def _of_shared(lowering: Lowering, joint: Joint) -> tuple[dict[int, Contraction], Subgraph | None]:
    """Return the sums over rows and steps, and what makes the gradients of shared tensors of them.

    From the gradients, the nodes are followed back to the first that sums over rows. The gradient
    of a matrix is such a sum itself; one of a matrix that a step turns is a turned sum.
    """
    program = lowering.program
    gradients = [joint.grads[value] for value in joint.shared if value in joint.grads]
    if not gradients:
        return {}, None

    contracted: dict[int, Contraction] = {}
    behind: list[Node] = []
    needed = set(gradients)
    for node in reversed(program.nodes):
        if not needed.intersection(node.outs):
            continue

        # A sum over rows is the kernel's; what it is made of needs not be followed.
        total = lowering.contraction(node)
        if total is not None:
            contracted[node.outs[0]] = total
            continue

        # The nodes behind the sums are run by torch, once a window.
        if any(program.has_batch(ref) for ref in node.refs):
            raise Unsupported(f"a kernel has no {node.name} over the rows of the batch")
        behind.insert(0, node)
        needed.update(node.refs)
    return contracted, subgraph(program, behind, [*joint.shared, *contracted], gradients)


class _Sides:
    """Where the sums over rows and steps find their sides.

    The backward kernel stores a side that lies nowhere else.
    """

    def __init__(self, lowering: Lowering, joint: Joint) -> None:
        rows, grads = lowering.rows, joint.grads
        self.widths = {"seq": _sizes(rows, joint.sequences), "state": _sizes(rows, joint.state)}
        self.gradients = [
            (place, rows[grads[value]].vectors)
            for place, value in enumerate(joint.sequences)
            if value in grads
        ]
        self.stores: list[Row] = []
        self.sums: list[Row] = []

    def sum(self, shape: tuple[int, ...], total: Contraction) -> Sum:
        """Return where a sum finds its sides."""
        if total.right is None:
            self.sums.append(total.left.vectors)
            return Sum(("sum", len(self.sums) - 1), None, 1, shape)

        left, right = self._side(total.left), self._side(total.right)
        return Sum(left, right, total.groups, shape)

    def _side(self, rows: Rows) -> tuple[str, int]:
        # A whole sequence or state field lies in memory already.
        match rows.vectors:
            case (Load(width, ("seq" | "state") as space, slot, 0),):
                if self.widths[space][slot] == width:
                    return space, slot

        for place, gradient in self.gradients:
            if gradient == rows.vectors:
                return "dseq", place

        if rows.vectors not in self.stores:
            self.stores.append(rows.vectors)
        return "store", self.stores.index(rows.vectors)
