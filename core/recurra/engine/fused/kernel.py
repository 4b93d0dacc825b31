"""The source of a kernel for a plan, and what it has to be given."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass
from functools import cache
from importlib import resources

from torch import Tensor

from recurra.engine.fused import lanes, printer
from recurra.engine.fused.function import Function, Group
from recurra.engine.fused.lanes import Lane, Rows
from recurra.engine.fused.lowering import Contraction, Lowering
from recurra.engine.fused.plan import Joint
from recurra.engine.fused.script import Script, script
from recurra.engine.fused.stages import Stages
from recurra.engine.fused.tape import Node, Unsupported

_one = threading.Lock()  # lanes are known to all of a process: one kernel is made at a time

WIDEST = 16
"""Numbers in the widest vector there is."""


@dataclass(frozen=True)
class Matrix:
    """A matrix of a product: its value, whether it is [N, K], how many groups of what size."""

    place: int  # among what `once` gives
    turned: bool
    groups: int
    inner: int
    outer: int

    def strides(self, matrix: Tensor) -> list[int]:
        """Return how far apart in memory the elements of a tensor are: down, across, and from group to group."""
        *group, down, across = matrix.stride()
        return [*([across, down] if self.turned else [down, across]), group[0] if group else 0]

    @property
    def room(self) -> int:
        """How many numbers it takes when it is packed, at most."""
        return self.groups * self.inner * -(-self.outer // WIDEST) * WIDEST


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
class Kernel:
    """A kernel's source, and the widths of the tensors that it reads and writes."""

    source: str
    sequences: tuple[int, ...]
    state: tuple[int, ...]
    extras: tuple[int, ...]
    saved: tuple[int, ...]
    stores: tuple[int, ...]
    sums: tuple[int, ...]
    scratch: list[int]  # of forward and backward: how many numbers a row
    once: Script  # (rows, *shared) -> values for all rows
    by_element: tuple[bool, ...]  # which of them are read by their elements
    matrices: list[tuple[Matrix, ...]]  # of forward and backward
    totals: tuple[Sum, ...]
    finish: Script | None  # (rows, *shared, *totals) -> gradients of the shared tensors that have one
    of_shared: tuple[bool, ...]  # which have
    of_sequences: tuple[bool, ...]


def kernel(joint: Joint) -> Kernel:
    """Return the kernel of a step with its gradients; of a step alone, where there are none.

    Raises `Unsupported` for what it cannot do.
    """
    with _one:
        lanes.forget()
        printer.forget()
        try:
            return _Maker(joint).make()
        finally:
            lanes.forget()
            printer.forget()


@cache
def ground(name: str = "kernel.h") -> str:
    """Return the C that every kernel stands on, or that of the products beside it."""
    return (resources.files("recurra.engine.fused") / name).read_text(encoding="utf-8")


class _Maker:
    """Makes one kernel; its parts share what is known of the plan."""

    def __init__(self, joint: Joint) -> None:
        self.joint = joint
        self.fields = len(joint.state)
        self.stores: list[tuple[Lane, ...]] = []
        self.sums: list[tuple[Lane, ...]] = []
        program = joint.program

        def row(space: str, slot: int, value: int) -> Rows:
            shape, axis = program.shapes[value], program.batch(value)
            if axis is None:
                raise Unsupported("a value of its loop has no batch")
            own = (*shape[:axis], *shape[axis + 1 :])
            return Rows(own, axis, (lanes.load(space, slot, 0, math.prod(own)),))

        rows = {value: row("seq", i, value) for i, value in enumerate(joint.sequences)}
        rows |= {value: row("state", i, value) for i, value in enumerate(joint.state)}
        seeds = {value: row("seed", i, value) for i, value in enumerate(joint.seeds) if value is not None}
        late = program.reaches([*seeds])
        early = {value for value in range(len(program.shapes)) if value not in late}
        self.low = Lowering(program, rows | seeds, early)
        self.sequences = tuple(rows[value].size for value in joint.sequences)
        self.state = tuple(rows[value].size for value in joint.state)

    def make(self) -> Kernel:
        """Lower, print and describe."""
        low, joint = self.low, self.joint
        outs = [low.of(value) for value in joint.outs]
        self.extras = tuple(out.size for out in outs[self.fields :])
        self._gradients()
        contracted, finish = self._shared_gradients()
        totals = tuple(self._sum(low.program.shapes[value], found) for value, found in contracted.items())
        self.saved = tuple(low.products[i].groups * low.products[i].outer for i in low.saved)
        functions = [self._forward(outs), *([self._backward()] if joint.grads else [])]
        lines = functions[0].forward(self.extras)
        if joint.grads:
            lines += functions[1].backward(self.sequences, _widths(self.stores))
        return Kernel(
            source="\n".join([ground(), *lines, ""]),
            sequences=self.sequences,
            state=self.state,
            extras=self.extras,
            saved=self.saved,
            stores=_widths(self.stores),
            sums=_widths(self.sums),
            scratch=[function.scratch for function in functions],
            once=script(low.program, low.program.nodes, joint.shared, low.shared),
            by_element=tuple(place in low.by_element for place in range(len(low.shared))),
            matrices=[self._matrices(function.stages) for function in functions],
            totals=totals,
            finish=finish,
            of_shared=tuple(value in joint.grads for value in joint.shared),
            of_sequences=tuple(value in joint.grads for value in joint.sequences),
        )

    def _gradients(self) -> list[tuple[str, Rows]]:
        """Return the gradients that the backward kernel writes at every step."""
        joint = self.joint
        found: list[tuple[str, Rows]] = []
        for kind, values in (("dseq", joint.sequences), ("before", joint.state)):
            for i, value in enumerate(values):
                if value in joint.grads:
                    found.append((f"{kind}{i}", self.low.of(joint.grads[value])))
                else:
                    width = (self.sequences if kind == "dseq" else self.state)[i]
                    found.append((f"{kind}{i}", Rows((width,), 0, (lanes.number(0.0, width),))))
        return found

    def _shared_gradients(self) -> tuple[dict[int, Contraction], Script | None]:
        """Return the sums over rows and steps, and what makes the gradients of shared tensors of them."""
        joint, program = self.joint, self.joint.program
        wanted = [joint.grads[value] for value in joint.shared if value in joint.grads]
        if not wanted:
            return {}, None
        contracted: dict[int, Contraction] = {}
        behind: list[Node] = []
        needed = set(wanted)
        for node in reversed(program.nodes):
            if not needed.intersection(node.outs):
                continue
            found = self.low.contraction(node)
            if found is not None:
                contracted[node.outs[0]] = found
                continue
            if any(program.batch(ref) is not None for ref in node.refs):
                raise Unsupported(f"a kernel has no {node.name} over the rows of the batch")
            behind.insert(0, node)
            needed.update(node.refs)
        return contracted, script(program, behind, [*joint.shared, *contracted], wanted)

    def _sum(self, shape: tuple[int, ...], wanted: Contraction) -> Sum:
        """Return where a sum finds its sides, which the backward kernel writes unless they are there already."""
        if wanted.right is None:
            self.sums.append(wanted.left.lanes)
            return Sum(("sum", len(self.sums) - 1), None, 1, shape)
        return Sum(self._side(wanted.left), self._side(wanted.right), wanted.groups, shape)

    def _side(self, rows: Rows) -> tuple[str, int]:
        first = rows.lanes[0]
        if len(rows.lanes) == 1 and first.kind == "load" and first.args[2] == 0:
            space, slot, _ = first.args
            widths = {"seq": self.sequences, "state": self.state}.get(space)
            if widths is not None and widths[slot] == first.width:
                return space, slot
        for i, value in enumerate(self.joint.sequences):
            if value in self.joint.grads and self.low.rows[self.joint.grads[value]].lanes == rows.lanes:
                return "dseq", i
        if rows.lanes not in self.stores:
            self.stores.append(rows.lanes)
        return "store", self.stores.index(rows.lanes)

    def _matrices(self, stages: Stages) -> tuple[Matrix, ...]:
        found = []
        for index in stages.needed:
            p = self.low.products[index]
            found.append(Matrix(self.low.slot(p.matrix), p.turned, p.groups, p.inner, p.outer))
        return tuple(found)

    def _forward(self, outs: list[Rows]) -> Function:
        """Return the function that goes forward."""
        low, fields = self.low, self.fields
        stages = Stages(low.products, "saved", low.saved)
        for i, out in enumerate(outs):
            stages.add(f"next{i}" if i < fields else f"extra{i - fields}", out.lanes)
        for index in low.saved:  # the gradients read them all
            stages.product(index)
        groups = [
            Group("seq", self.sequences, "step", "seq"),
            Group("shared", [0] * len(low.shared), "shared", "shared"),
            *(Group(name, self.state, "row") for name in ("start", "final", "fresh")),
            Group("history", self.state, "step"),
            Group("saved", self.saved, "kept", "saved"),
            Group("extra", self.extras, "step", "extra", written=True),
        ]
        return Function("forward", stages, groups, self.state, {"seq", "state", "shared", "saved"})

    def _backward(self) -> Function:
        """Return the function of the gradients."""
        low = self.low
        stages = Stages(low.products, "late", low.late)
        for target, rows in self._gradients():
            stages.add(target, rows.lanes)
        for i, store in enumerate(self.stores):
            stages.add(f"store{i}", store)
        for i, total in enumerate(self.sums):
            stages.add(f"sum{i}", total, adds=True)
        groups = [
            Group("seq", self.sequences, "step", "seq"),
            Group("shared", [0] * len(low.shared), "shared", "shared"),
            Group("history", self.state, "step", "state"),
            Group("saved", self.saved, "step", "saved"),
            Group("given", self.extras, "step", "seed", shift=self.fields),
            Group("last", self.state, "row"),
            Group("dseq", self.sequences, "step", "dseq", written=True),
            Group("store", _widths(self.stores), "step", "store", written=True),
            Group("sum", _widths(self.sums), "thread", "sum", written=True),
            *(Group(name, self.state, "row") for name in ("first", "fresh")),
        ]
        return Function("backward", stages, groups, self.state, {"seq", "state", "shared", "saved", "late", "seed"})


def _widths(parts: list[tuple[Lane, ...]]) -> tuple[int, ...]:
    return tuple(sum(lane.width for lane in part) for part in parts)
