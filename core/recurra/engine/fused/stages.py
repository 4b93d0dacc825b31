"""The order of a step: which lanes are computed when, between its products and the sums over a row.

A stage is (segment, level): segments stand between products, levels between sums over a row. What a later stage reads
of an earlier one is kept in scratch memory, or in a variable where it is one number of the same row.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from recurra.engine.fused.lanes import Lane
from recurra.engine.fused.lowering import Product

Stage = tuple[int, int]


@dataclass(frozen=True)
class Store:
    """A lane that is written: to what, from which element on."""

    target: str
    offset: int
    lane: Lane
    adds: bool = False


@dataclass
class Stages:
    """When each lane of a kernel is computed; `pending` are the products of this kernel by the space of their loads."""

    products: list[Product]
    space: str
    slots: list[int]
    stores: list[Store] = field(default_factory=list)
    needed: list[int] = field(default_factory=list)  # products, in the order of their segments
    _stage: dict[Lane, Stage] = field(default_factory=dict)

    def add(self, target: str, lanes: Iterable[Lane], adds: bool = False) -> None:
        """Ask for lanes to be written one after the other, and for the products that they need."""
        at = 0
        for lane in lanes:
            self.stores.append(Store(target, at, lane, adds))
            self._need(lane)
            at += lane.width

    def _need(self, lane: Lane) -> None:
        if lane in self._stage:
            return
        if lane.kind == "load" and lane.args[0] == self.space:
            self.product(self.slots[lane.args[1]])
        for part in parts(lane):
            self._need(part)
        self.of(lane)

    def product(self, index: int) -> None:
        """Ask for a product: for its rows first."""
        if index in self.needed:
            return
        for lane in self.products[index].rows.lanes:
            self._need(lane)
        if index not in self.needed:
            self.needed.append(index)
            if self.direct(index) is None:
                self.add(f"input{index}", self.products[index].rows.lanes)

    def direct(self, index: int) -> int | None:
        """Return which state field a product reads as it lies there, from its first number on, if it does."""
        rows = self.products[index].rows
        first = rows.lanes[0]
        lies = len(rows.lanes) == 1 and first.kind == "load" and first.args[0] == "state" and first.args[2] == 0
        return first.args[1] if lies and self.space == "saved" else None

    def segment(self, index: int) -> int:
        """Return the segment after which a product can be made."""
        return max(self.of(lane)[0] for lane in self.products[index].rows.lanes)

    def of(self, lane: Lane) -> Stage:
        """Return the stage of a lane."""
        found = self._stage.get(lane)
        if found is None:
            found = self._stage[lane] = self._find(lane)
        return found

    def _find(self, lane: Lane) -> Stage:
        if lane.kind == "number":
            return 0, 0
        if lane.kind == "load":
            space, slot, _ = lane.args
            return (self.segment(self.slots[slot]) + 1, 0) if space == self.space else (0, 0)
        latest = max((self.of(part) for part in parts(lane)), default=(0, 0))
        return (latest[0], latest[1] + 1) if lane.kind == "reduce" else latest


def parts(lane: Lane) -> tuple[Lane, ...]:
    """Return the lanes that a lane is made of."""
    return lane.args[1:] if lane.kind in ("op", "reduce") else ()
