"""The order of a step: which vectors are computed when, between its products and the sums over a
row.

A stage is (segment, level): segments stand between products, levels between sums over a row. What a
later stage reads of an earlier one is kept in scratch memory, or in a variable where it is one
number of the same row. A GRU's step has two segments, since r * (h U_n) waits for the product h U:
the first computes nothing, the second everything elementwise.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from recurra.engine.fused.arithmetic_rules import Product
from recurra.engine.fused.lower import Lowered
from recurra.engine.fused.vectors import Load, Names, Number, Reduction, Vector

Stage = tuple[int, int]


@dataclass(frozen=True)
class Store:
    """A vector that is written: to what, from which element on."""

    target: str
    offset: int
    vector: Vector
    adds: bool = False


@dataclass
class Schedule:
    """When each vector of a function is computed; its products by the space of their loads: saved
    or late.
    """

    products: list[Product]
    space: str
    slots: list[int]
    stores: list[Store] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)  # products, in the order of their segments
    _stage: dict[Vector, Stage] = field(default_factory=dict)

    def add(self, target: str, vectors: Iterable[Vector], adds: bool = False) -> None:
        """Ask for vectors to be written one after the other, and for the products that they
        need.
        """
        at = 0
        for vector in vectors:
            self.stores.append(Store(target, at, vector, adds))
            self._need(vector)
            at += vector.width

    def _need(self, vector: Vector) -> None:
        if vector in self._stage:
            return
        if isinstance(vector, Load) and vector.space == self.space:
            self.product(self.slots[vector.slot])
        for part in vector.parts:
            self._need(part)
        self.of(vector)

    def product(self, index: int) -> None:
        """Ask for a product: for its rows first."""
        if index in self.needed:
            return
        for vector in self.products[index].rows.vectors:
            self._need(vector)
        if index not in self.needed:
            self.needed.append(index)
            if self.direct(index) is None:
                self.add(f"input{index}", self.products[index].rows.vectors)

    def direct(self, index: int) -> int | None:
        """Return which state field a product reads as it lies there, from its first number on, if
        it does.
        """
        match self.products[index].rows.vectors:
            case (Load(_, "state", slot, 0),) if self.space == "saved":
                return slot
        return None

    def segment(self, index: int) -> int:
        """Return the segment after which a product can be made."""
        return max(self.of(vector)[0] for vector in self.products[index].rows.vectors)

    def segments(self) -> int:
        """Return how many segments a step has."""
        stores = [self.of(store.vector)[0] for store in self.stores]
        return 1 + max([*stores, *(self.segment(index) for index in self.needed)], default=0)

    def after(self, segment: int) -> list[int]:
        """Return the products made after a segment."""
        return [index for index in self.needed if self.segment(index) == segment]

    def of(self, vector: Vector) -> Stage:
        """Return the stage of a vector."""
        if vector not in self._stage:
            self._stage[vector] = self._find(vector)
        return self._stage[vector]

    def _find(self, vector: Vector) -> Stage:
        match vector:
            case Number():
                return 0, 0
            case Load(space=space, slot=slot):
                return (self.segment(self.slots[slot]) + 1, 0) if space == self.space else (0, 0)

        segment, level = max((self.of(part) for part in vector.parts), default=(0, 0))
        return segment, level + isinstance(vector, Reduction)

    def __str__(self) -> str:
        names = Names()
        lines = []
        for segment in range(self.segments()):
            lines.append(f"segment {segment}")
            for store in self.stores:
                if self.of(store.vector)[0] == segment:
                    sign = "+=" if store.adds else "="
                    place = f"{store.target}[{store.offset}:{store.offset + store.vector.width}]"
                    level = self.of(store.vector)[1]
                    lines.append(f"    level {level}: {place} {sign} {names.of(store.vector)}")
            for index in self.after(segment):
                lines.append(
                    f"  then product {index}, of {self.products[index].inner} by"
                    f" {self.products[index].outer}"
                )
        return "\n".join([*names.lines, *lines])


def forward(lowered: Lowered) -> Schedule:
    """Return the schedule of the function that goes forward."""
    schedule = Schedule(lowered.products, "saved", lowered.saved)
    fields = len(lowered.state)
    for i, out in enumerate(lowered.outs):
        schedule.add(f"next{i}" if i < fields else f"extra{i - fields}", out.vectors)
    for index in lowered.saved:  # the gradients read them all
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
