"""The order of a step: which vectors are computed when, between its products and sums over a row.

A stage is (segment, level): segments stand between products, levels between sums over a row. What a
later stage reads of an earlier one is kept in scratch memory, or in a variable where it is one
number of the same row. A GRU's step has two segments, since r * (h U_n) waits for the product h U:
the first computes nothing, the second everything elementwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeGuard

from recurra.engine.fused.arithmetic_rules import Product
from recurra.engine.fused.lower import Lowered
from recurra.engine.fused.vectors import Load, Names, Operation, Reduction, Vector

COSTLY = {
    *("exp", "exp2", "expm1", "log", "log1p", "log2", "pow"),
    *("sigmoid", "tanh", "sin", "cos", "erf"),
}
"""Operations that take as long as about 15 multiply-adds of a product, with AVX-512."""


class Stage(NamedTuple):
    """When a vector is computed. A later stage is greater."""

    segment: int
    level: int


@dataclass(frozen=True)
class Store:
    """A vector that is written: to what, from which element on."""

    target: str
    offset: int
    vector: Vector
    adds: bool = False


@dataclass
class Schedule:
    """When each vector of a function is computed.

    `space` is that of the loads of its products, saved or late, and `slots` says which product each
    of them reads.
    """

    products: list[Product]
    space: str
    slots: list[int]
    stores: list[Store] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)  # products, in the order of their segments
    _stage: dict[Vector, Stage] = field(default_factory=dict)

    def add(self, target: str, vectors: Iterable[Vector], adds: bool = False) -> None:
        """Ask for vectors to be written one after the other, and for the products they need."""
        offset = 0
        for vector in vectors:
            self.stores.append(Store(target, offset, vector, adds))
            self._need(vector)
            offset += vector.width

    def _need(self, vector: Vector) -> None:
        """Ask for the products that a vector is made of."""
        if vector in self._stage:
            return
        if self._of_product(vector):
            self.product(self.slots[vector.slot])
        for part in vector.parts:
            self._need(part)
        self.of(vector)

    def _of_product(self, vector: Vector) -> TypeGuard[Load]:
        """Tell whether a vector is read of a product that this function makes."""
        return isinstance(vector, Load) and vector.space == self.space

    def product(self, index: int) -> None:
        """Ask for a product: for its rows first."""
        if index in self.needed:
            return
        rows = self.products[index].rows.vectors
        for vector in rows:
            self._need(vector)

        if index in self.needed:
            return
        self.needed.append(index)
        if self.direct(index) is None:
            self.add(f"input{index}", rows)

    def direct(self, index: int) -> int | None:
        """Return which state field a product reads as it lies there, if it reads one alone."""
        match self.products[index].rows.vectors:
            case (Load(_, "state", slot, 0),) if self.space == "saved":
                return slot
        return None

    def segment(self, index: int) -> int:
        """Return the segment after which a product can be made."""
        return max(self.of(vector).segment for vector in self.products[index].rows.vectors)

    def segments(self) -> int:
        """Return how many segments a step has."""
        stores = [self.of(store.vector).segment for store in self.stores]
        products = [self.segment(index) for index in self.needed]
        return 1 + max([*stores, *products], default=0)

    def after(self, segment: int) -> list[int]:
        """Return the products made after a segment."""
        return [index for index in self.needed if self.segment(index) == segment]

    def of(self, vector: Vector) -> Stage:
        """Return the stage of a vector."""
        if vector not in self._stage:
            self._stage[vector] = self._find(vector)
        return self._stage[vector]

    def _find(self, vector: Vector) -> Stage:
        # What a product gives is there in the segment after it.
        if self._of_product(vector):
            return Stage(self.segment(self.slots[vector.slot]) + 1, 0)

        # An operation is computed with the last of its parts, a sum over a row a level later.
        last = max((self.of(part) for part in vector.parts), default=Stage(0, 0))
        if isinstance(vector, Reduction):
            return Stage(last.segment, last.level + 1)
        return last

    @property
    def work(self) -> int:
        """Multiply-adds that take as long as what is elementwise, of a row."""
        operations = [vector for vector in self._stage if isinstance(vector, Operation)]
        return sum(vector.width * _cost(vector.name) for vector in operations)

    def apart(self, state: Sequence[int]) -> int:
        """Return how wide a row is, where each column of a step is made of that column alone.

        Return 0 where it is not. `state` are the widths of the state fields.
        """
        widths = {*state, *(store.vector.width for store in self.stores)}
        width = max(widths)
        if self.needed or widths != {width} or width == 1:
            return 0

        # What a step reads of others than the state and its gradients, no step writes.
        for vector in self._stage:
            if isinstance(vector, Reduction):
                return 0
            if isinstance(vector, Load) and vector.space in ("state", "seed"):
                if (vector.offset, vector.width) != (0, width):
                    return 0
        return width

    def __str__(self) -> str:
        names = Names()
        lines = []
        for segment in range(self.segments()):
            lines.append(f"segment {segment}")
            for store in self.stores:
                if self.of(store.vector).segment == segment:
                    lines.append(self._store_text(store, names))
            for index in self.after(segment):
                product = self.products[index]
                size = f"{product.inner} by {product.outer}"
                lines.append(f"  then product {index}, of {size}")
        return "\n".join([*names.lines, *lines])

    def _store_text(self, store: Store, names: Names) -> str:
        """Return the line of a store."""
        level = self.of(store.vector).level
        end = store.offset + store.vector.width
        sign = "+=" if store.adds else "="
        place = f"{store.target}[{store.offset}:{end}]"
        return f"    level {level}: {place} {sign} {names.of(store.vector)}"


def _cost(name: str) -> int:
    """Return how many multiply-adds take as long as an operation of one number."""
    base = name.partition("/")[0].partition(":")[0]
    return 15 if base in COSTLY else 1


def forward(lowered: Lowered) -> Schedule:
    """Return the schedule of the function that goes forward."""
    schedule = Schedule(lowered.products, "saved", lowered.saved)
    fields = len(lowered.state)
    for i, out in enumerate(lowered.outs):
        target = f"next{i}" if i < fields else f"extra{i - fields}"
        schedule.add(target, out.vectors)

    # The gradients read every product that is saved, needed here or not.
    for index in lowered.saved:
        schedule.product(index)
    return schedule


def backward(lowered: Lowered) -> Schedule:
    """Return the schedule of the function of the gradients."""
    schedule = Schedule(lowered.products, "late", lowered.late)
    for target, rows in lowered.gradients:
        schedule.add(target, rows.vectors)
    for i, store in enumerate(lowered.stores):
        schedule.add(f"store{i}", store)
    for i, total in enumerate(lowered.sums):
        schedule.add(f"sum{i}", total, adds=True)
    return schedule
