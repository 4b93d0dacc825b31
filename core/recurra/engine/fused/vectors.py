"""What a kernel computes in one step for one row, as vectors: loads, elementwise operations, sums
over a row.

A value of a recorded program that has a batch axis becomes `Rows`: its other axes, flattened, as
vectors one after the other. A GRU's gates `[B, 3 H]`, a product that is saved, are one vector, a
load of 3 H numbers, and the reset gate is a load of its first H:

    saved0[0:3H]   ->   sigmoid(saved0[0:H] + seq0[0:H])

Operations that only rearrange a value rearrange its vectors, and compute nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from recurra.engine.fused.record import Unsupported

FEW = 16
"""Elements of a row that may be taken one by one; more would make a kernel too long."""


@dataclass(frozen=True, eq=False)
class Vector:
    """A vector of a row, so many numbers wide. Equal ones of a kernel are one object: see
    `Vectors`.
    """

    width: int

    @property
    def parts(self) -> tuple[Vector, ...]:
        """The vectors that it is made of."""
        return ()


@dataclass(frozen=True, eq=False)
class Load(Vector):
    """What lies in memory: in a tensor of a space, by its number there, from an element of its row
    on.
    """

    space: str
    slot: int
    offset: int

    def __str__(self) -> str:
        return f"{self.space}{self.slot}[{self.offset}:{self.offset + self.width}]"


@dataclass(frozen=True, eq=False)
class Number(Vector):
    """The same number everywhere; as text, by which NaN is equal to itself and -0.0 is not 0.0."""

    text: str

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text)

    def __str__(self) -> str:
        return self.text if self.width == 1 else f"{self.text} x {self.width}"


@dataclass(frozen=True, eq=False)
class Operation(Vector):
    """An elementwise operation on vectors, as wide as this one or 1 wide."""

    name: str
    operands: tuple[Vector, ...]

    @property
    def parts(self) -> tuple[Vector, ...]:
        """Its operands."""
        return self.operands


@dataclass(frozen=True, eq=False)
class Reduction(Vector):
    """A number: the sum, or amax, of all elements of some vectors."""

    name: str
    operands: tuple[Vector, ...]

    @property
    def parts(self) -> tuple[Vector, ...]:
        """What is reduced."""
        return self.operands


@dataclass(frozen=True)
class Rows:
    """A value with a batch axis: its other axes, which of all its axes is the batch, its elements
    in order.
    """

    shape: tuple[int, ...]
    axis: int
    vectors: tuple[Vector, ...]

    @property
    def size(self) -> int:
        """How many elements a row has."""
        return math.prod(self.shape)

    def own(self, axis: int, dims: int) -> int:
        """Return which axis of `shape` an axis of the whole value is. Raises `Unsupported` for the
        batch.
        """
        axis %= dims
        if axis == self.axis:
            raise Unsupported("it mixes the rows of the batch")

        return axis - (axis > self.axis)


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


class Vectors:
    """The vectors of one kernel. Two equal ones are one object, so that nothing is computed
    twice.
    """

    def __init__(self) -> None:
        self._made: dict[Any, Vector] = {}

    def _one(self, kind: type[Vector], width: int, *what: Any) -> Any:
        """Return the vector of this kind, width and content: the one that there is, or a new
        one.
        """
        key = (kind, width, *what)
        known = self._made.get(key)
        if known is None:
            known = self._made[key] = kind(width, *what)
        return known

    # each kind

    def load(self, space: str, slot: int, offset: int, width: int) -> Vector:
        """Return `width` elements of a tensor's row, from an offset on."""
        vector: Vector = self._one(Load, width, space, slot, offset)
        return vector

    def number(self, value: float, width: int = 1) -> Vector:
        """Return a number repeated."""
        vector: Vector = self._one(Number, width, repr(float(value)))
        return vector

    def operation(self, name: str, operands: Sequence[Vector], width: int) -> Vector:
        """Return an elementwise operation on vectors."""
        vector: Vector = self._one(Operation, width, name, tuple(operands))
        return vector

    def reduction(self, name: str, operands: Sequence[Vector]) -> Vector:
        """Return the sum or the maximum of all elements of some vectors."""
        vector: Vector = self._one(Reduction, 1, name, tuple(operands))
        return vector

    # parts of a row

    def cut(self, vector: Vector, start: int, width: int) -> Vector:
        """Return a part of a vector: an operation is cut by cutting what it is made of."""
        if start == 0 and width == vector.width:
            return vector

        match vector:
            case Load(space=space, slot=slot, offset=offset):
                return self.load(space, slot, offset + start, width)
            case Number(value=value):
                return self.number(value, width)
            case Operation(name=name, operands=operands):
                key = ("cut", vector, start, width)
                if key not in self._made:  # what is shared is cut once, however many read it
                    cut = [v if v.width == 1 else self.cut(v, start, width) for v in operands]
                    self._made[key] = self.operation(name, cut, width)
                return self._made[key]

        raise AssertionError("one number has no parts")

    def part(self, vectors: Iterable[Vector], start: int, width: int) -> tuple[Vector, ...]:
        """Return the vectors of a part of a row."""
        inside: list[Vector] = []
        at = 0
        for vector in vectors:
            first, last = max(start, at), min(start + width, at + vector.width)
            if first < last:
                inside.append(self.cut(vector, first - at, last - first))
            at += vector.width
        return self.joined(inside)

    def joined(self, vectors: Sequence[Vector]) -> tuple[Vector, ...]:
        """Return vectors with neighbours in memory made one, and equal numbers side by side too."""
        joined: list[Vector] = []
        for vector in vectors:
            whole = self._together(joined[-1], vector) if joined else None
            if whole is None:
                joined.append(vector)
            else:
                joined[-1] = whole
        return tuple(joined)

    def _together(self, first: Vector, second: Vector) -> Vector | None:
        """Return two vectors as one, if there is one."""
        width = first.width + second.width
        match first, second:
            case Load(), Load():
                same = (first.space, first.slot) == (second.space, second.slot)
                if same and first.offset + first.width == second.offset:
                    return self.load(first.space, first.slot, first.offset, width)
            case Number(), Number():
                if first.text == second.text:
                    return self.number(first.value, width)
        return None

    def aligned(self, rows: Sequence[tuple[Vector, ...]]) -> list[tuple[Vector, ...]]:
        """Return rows of equal width cut at the same places, one tuple for each piece."""
        ends = sorted({end for row in rows for end in accumulate(v.width for v in row)})
        pieces = []
        start = 0
        for end in ends:
            pieces.append(tuple(self._piece(row, start, end - start) for row in rows))
            start = end
        return pieces

    def _piece(self, row: tuple[Vector, ...], start: int, width: int) -> Vector:
        (piece,) = self.part(row, start, width)  # cut where every row is, it is one
        return piece

    # rearranged

    def viewed(self, rows: Rows, shape: Sequence[int], batch: int) -> Rows:
        """Return the same elements under another shape, that of the whole value with `batch` for
        its batch axis.
        """
        sizes = list(shape)
        axis = sizes.index(batch)
        before, after = sizes[:axis], sizes[axis + 1 :]
        if math.prod(before) != math.prod(rows.shape[: rows.axis]):
            raise Unsupported("a view moves the batch axis")

        return Rows((*before, *after), axis, rows.vectors)

    def table(self, rows: Rows, axes: int) -> list[tuple[Vector, ...]]:
        """Return the elements in equal parts, one for each index of the first `axes` axes."""
        count = math.prod(rows.shape[:axes])
        width = rows.size // count if count else 0
        return [self.part(rows.vectors, index * width, width) for index in range(count)]

    def permuted(self, rows: Rows, order: Sequence[int]) -> Rows:
        """Return the axes, the batch among them, in another order; the last of the others has to
        stay.
        """
        own = [axis - (axis > rows.axis) for axis in order if axis != rows.axis]
        shape = tuple(rows.shape[axis] for axis in own)
        batch = list(order).index(rows.axis)

        moved = [axis for axis in own if rows.shape[axis] != 1]
        if moved == sorted(moved):
            return Rows(shape, batch, rows.vectors)

        # The axes that stay at the end are taken together: [2, 3, H] -> [3, 2, H] moves rows of H.
        staying = len(own)
        while staying and own[staying - 1] == staying - 1:
            staying -= 1
        if staying == len(own):
            raise Unsupported("it turns the last axis of a value")

        parts = self.table(rows, staying)
        strides = [math.prod(rows.shape[axis + 1 : staying]) for axis in range(staying)]
        vectors: list[Vector] = []
        for place in _indices(shape[:staying]):
            vectors += parts[sum(i * strides[axis] for i, axis in zip(place, own, strict=False))]
        return Rows(shape, batch, self.joined(vectors))

    def sliced(self, rows: Rows, axis: int, start: int, stop: int, step: int = 1) -> Rows:
        """Return a part along an own axis."""
        shape = rows.shape
        inner = math.prod(shape[axis + 1 :])
        vectors: list[Vector] = []
        for part in self.table(rows, axis):
            if step == 1:
                vectors += self.part(part, start * inner, (stop - start) * inner)
                continue
            if inner == 1:
                raise Unsupported("it takes every other element of a row")
            for index in range(start, stop, step):
                vectors += self.part(part, index * inner, inner)

        size = len(range(start, stop, step))
        return Rows((*shape[:axis], size, *shape[axis + 1 :]), rows.axis, self.joined(vectors))

    def flipped(self, rows: Rows, axis: int) -> Rows:
        """Return a value with an own axis in reverse."""
        count, inner = rows.shape[axis], math.prod(rows.shape[axis + 1 :])
        if inner == 1 and rows.size > FEW:
            raise Unsupported("it turns the last axis of a value round")

        vectors: list[Vector] = []
        for part in self.table(rows, axis):
            for index in reversed(range(count)):
                vectors += self.part(part, index * inner, inner)
        return Rows(rows.shape, rows.axis, self.joined(vectors))

    def concatenated(self, parts: Sequence[Rows], axis: int) -> Rows:
        """Return values one after the other along an own axis."""
        first = parts[0]
        tables = [self.table(part, axis) for part in parts]
        vectors = [v for entry in zip(*tables, strict=True) for part in entry for v in part]
        size = sum(part.shape[axis] for part in parts)
        shape = (*first.shape[:axis], size, *first.shape[axis + 1 :])
        return Rows(shape, first.axis, self.joined(vectors))

    def expanded(self, rows: Rows, shape: tuple[int, ...], axis: int) -> Rows:
        """Return a value with axes of size 1, or none in front, repeated to a shape of own axes."""
        if rows.shape == shape:
            return Rows(shape, axis, rows.vectors)

        sizes = (*[1] * (len(shape) - len(rows.shape)), *rows.shape)
        vectors = rows.vectors
        for place in reversed(range(len(shape))):
            if sizes[place] == shape[place]:
                continue
            inner = math.prod(shape[place + 1 :])
            whole = Rows((*sizes[:place], inner), 0, vectors)
            vectors = self.joined(
                [
                    v
                    for part in self.table(whole, place)
                    for v in self._repeated(part, shape[place], inner)
                ]
            )
            sizes = (*sizes[:place], *shape[place:])
        return Rows(shape, axis, vectors)

    def _repeated(self, part: tuple[Vector, ...], count: int, inner: int) -> Sequence[Vector]:
        """Return a part of `inner` elements repeated; one element becomes a vector of it."""
        if inner != 1:
            return part * count
        (element,) = part
        if isinstance(element, Number):
            return [self.number(element.value, count)]
        return [self.operation("same", part, count)]


def _indices(shape: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Give every index of an array of a shape, the last axis first."""
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in _indices(shape[1:]):
            yield (first, *rest)
