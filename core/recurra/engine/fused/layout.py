"""What a kernel's function is given, in its order: the C is printed by it, and a call packed.

A function reads and writes tensors by pointers in one list. Which tensor stands where is said here
alone: whoever packs a call names the tensors, and a name or a count that is not the function's is
an error before anything is read.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, NamedTuple

from torch import Tensor

from recurra.engine.fused.lower import Lowered
from recurra.engine.fused.schedule import Schedule
from recurra.engine.fused.vectors import Vector

WIDEST = 16
"""Numbers in the widest vector there is."""


class Arguments(NamedTuple):
    """What every function is called with, in this order."""

    steps: int
    rows: int
    threads: int
    columns: bool  # whether threads share each product, or have rows of their own
    keep: bool  # whether all states and products are kept, for the gradients
    packing: bool  # whether the matrices have to be packed first
    reset: int | None
    lengths: int | None
    tensors: Any
    matrices: Any
    strides: Any
    tools: Any


CType = type[ctypes.c_long] | type[ctypes.c_void_p]

IN_C: dict[str, tuple[str, CType]] = {
    "steps": ("long T", ctypes.c_long),
    "rows": ("long B", ctypes.c_long),
    "threads": ("long threads", ctypes.c_long),
    "columns": ("long columns", ctypes.c_long),
    "keep": ("long keep", ctypes.c_long),
    "packing": ("long packing", ctypes.c_long),
    "reset": ("const unsigned char *reset", ctypes.c_void_p),
    "lengths": ("const int64_t *lengths", ctypes.c_void_p),
    "tensors": ("real **p", ctypes.c_void_p),
    "matrices": ("real **matrices", ctypes.c_void_p),
    "strides": ("const long *strides", ctypes.c_void_p),
    "tools": ("void **tools", ctypes.c_void_p),
}
"""How each of them is declared in C, and passed."""
DECLARED = ", ".join(IN_C[name][0] for name in Arguments._fields)
PASSED = [IN_C[name][1] for name in Arguments._fields]


@dataclass(frozen=True)
class Group:
    """Tensors of one name that a function is given, a row of each so many numbers wide.

    They lie as `[B, T, width]` (step), `[B, width]` (row), `[threads, width]` (thread), as
    `[B, T, width]` or `[B, width]` depending on whether they are kept (kept), as `[B, T, width]` or
    not at all (history), or are the same for all rows (shared). `row` is how the stages call a row
    of them, and `shift` what is added to its number there; without `row` they are read by other
    lines only.
    """

    name: str
    widths: Sequence[int]
    lies: str
    row: str = ""
    shift: int = 0
    written: bool = False


@dataclass(frozen=True)
class Matrix:
    """A matrix of a product: `groups` times `inner` by `outer`."""

    slot: int  # among the shared values
    turned: bool  # it lies as [outer, inner]
    groups: int
    inner: int
    outer: int

    def strides(self, matrix: Tensor) -> list[int]:
        """Return how far apart the elements of a tensor are: down, across, from group to group."""
        *group, down, across = matrix.stride()
        if self.turned:
            down, across = across, down
        return [down, across, group[0] if group else 0]

    @property
    def room(self) -> int:
        """How many numbers it takes when it is packed, at most."""
        panels = math.ceil(self.outer / WIDEST)
        return self.groups * self.inner * panels * WIDEST

    @property
    def work(self) -> int:
        """Multiply-adds of its product for a row."""
        return self.groups * self.inner * self.outer


@dataclass(frozen=True)
class Layout:
    """The tensors of a function, by name, and the matrices of its products."""

    groups: tuple[Group, ...]
    matrices: tuple[Matrix, ...]

    @cached_property
    def _places(self) -> dict[str, int]:
        places: dict[str, int] = {}
        at = 0
        for group in self.groups:
            places[group.name] = at
            at += len(group.widths)

        # Memory of the function's own stands behind the tensors: a place each.
        places["own"] = at
        places["packed"] = at + 1
        return places

    @cached_property
    def _names(self) -> list[str]:
        return [*(group.name for group in self.groups), "own", "packed"]

    @cached_property
    def _counts(self) -> list[int]:
        return [*(len(group.widths) for group in self.groups), 1, 1]

    @cached_property
    def widths(self) -> dict[str, Sequence[int]]:
        """How wide a row of each tensor of a name is."""
        return {group.name: group.widths for group in self.groups}

    @cached_property
    def room(self) -> int:
        """How many numbers its matrices take when they are packed, at most."""
        return sum(matrix.room for matrix in self.matrices)

    @property
    def work(self) -> int:
        """Multiply-adds of all its products for a row."""
        return sum(matrix.work for matrix in self.matrices)

    def place(self, name: str, index: int = 0) -> int:
        """Return where the pointer of a tensor stands."""
        return self._places[name] + index

    def pointers(self, tensors: Mapping[str, Sequence[Tensor]]) -> Any:
        """Return pointers to tensors, which are given by name, in the order of the function.

        Raises `KeyError` for a name that is missing, and `ValueError` where a name has more or
        fewer tensors.
        """
        parts = [tensors[name] for name in self._names]
        if [*map(len, parts)] != self._counts:
            raise ValueError(self._mismatch(parts))
        return pointers([tensor for part in parts for tensor in part])

    def _mismatch(self, parts: Sequence[Sequence[Tensor]]) -> str:
        """Return which names have another number of tensors than they should."""
        wrong = []
        for name, part, count in zip(self._names, parts, self._counts, strict=True):
            if len(part) != count:
                wrong.append(f"{len(part)} of {name} for {count}")
        return f"a kernel is given other tensors than it reads: {', '.join(wrong)}"

    def __str__(self) -> str:
        lines = []
        for group in self.groups:
            for index, width in enumerate(group.widths):
                place = self.place(group.name, index)
                size = f", {width} wide" if group.lies != "shared" else ""
                lines.append(f"{place:3} {group.name}{index}: {group.lies}{size}")
        lines.append(f"{self.place('own'):3} its own memory")
        lines.append(f"{self.place('packed'):3} packed matrices")

        for index, matrix in enumerate(self.matrices):
            size = f"{matrix.groups} x {matrix.inner} x {matrix.outer}"
            turned = ", turned" if matrix.turned else ""
            lines.append(f"matrix {index}: shared{matrix.slot}, {size}{turned}")
        return "\n".join(lines)


def pointers(tensors: Sequence[Tensor]) -> Any:
    """Return pointers to tensors, as a function takes them."""
    array = _array(ctypes.c_void_p, len(tensors))
    return array(*[tensor.data_ptr() for tensor in tensors])


def longs(numbers: Sequence[int]) -> Any:
    """Return whole numbers, as a function takes them."""
    return _array(ctypes.c_long, len(numbers))(*numbers)


@cache
def _array(kind: CType, length: int) -> Any:
    """Return the type of an array, which takes longer to make than the array."""
    return kind * max(1, length)


def forward(lowered: Lowered, schedule: Schedule) -> Layout:
    """Return what the function that goes forward is given."""
    state = lowered.state
    groups = (
        Group("seq", lowered.sequences, "step", "seq"),
        Group("shared", [0] * len(lowered.shared), "shared", "shared"),
        Group("start", state, "row"),
        Group("final", state, "row"),
        Group("fresh", state, "row"),
        Group("history", state, "history"),
        Group("saved", _saved_widths(lowered), "kept", "saved"),
        Group("extra", lowered.extras, "step", "extra", written=True),
    )
    return Layout(groups, _matrices(lowered, schedule))


def backward(lowered: Lowered, schedule: Schedule) -> Layout:
    """Return what the function of the gradients is given."""
    state = lowered.state
    groups = (
        Group("seq", lowered.sequences, "step", "seq"),
        Group("shared", [0] * len(lowered.shared), "shared", "shared"),
        Group("history", state, "step", "state"),
        Group("saved", _saved_widths(lowered), "step", "saved"),
        # The first seeds are the gradients of the state; those of the extras stand behind them.
        Group("given", lowered.extras, "step", "seed", shift=len(state)),
        Group("last", state, "row"),
        Group("dseq", lowered.sequences, "step", "dseq", written=True),
        Group("store", _widths(lowered.stores), "step", "store", written=True),
        Group("sum", _widths(lowered.sums), "thread", "sum", written=True),
        Group("first", state, "row"),
        Group("fresh", state, "row"),
    )
    return Layout(groups, _matrices(lowered, schedule))


def _saved_widths(lowered: Lowered) -> list[int]:
    return [lowered.products[index].width for index in lowered.saved]


def _matrices(lowered: Lowered, schedule: Schedule) -> tuple[Matrix, ...]:
    """Return the matrices of the products of a function, in their order."""
    matrices = []
    for index in schedule.needed:
        product = lowered.products[index]
        slot = lowered.shared.index(product.matrix)
        size = (product.groups, product.inner, product.outer)
        matrices.append(Matrix(slot, product.turned, *size))
    return tuple(matrices)


def _widths(rows: Sequence[Sequence[Vector]]) -> list[int]:
    return [sum(vector.width for vector in row) for row in rows]
