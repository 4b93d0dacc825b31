"""What a kernel computes in one step for one row, as vectors.

They are loads, numbers, elementwise operations, and sums over a row.

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
from itertools import accumulate, product
from typing import Any, TypeVar

from recurra.engine.fused.record import Unsupported

FEW = 16
"""Elements of a row that may be taken one by one; more would make a kernel too long."""


@dataclass(frozen=True, eq=False)
class Vector:
    """A vector of a row, `width` numbers wide. Equal ones are one object: see `Vectors`."""

    width: int

    @property
    def parts(self) -> tuple[Vector, ...]:
        """The vectors that it is made of."""
        return ()


@dataclass(frozen=True, eq=False)
class Load(Vector):
    """What lies in memory: part of a row of the tensor that has this slot in a space."""

    space: str
    slot: int
    offset: int

    def __str__(self) -> str:
        end = self.offset + self.width
        return f"{self.space}{self.slot}[{self.offset}:{end}]"


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


Row = tuple[Vector, ...]
"""Vectors one after the other."""

Shape = tuple[int, ...]


def without(shape: Shape, axis: int) -> Shape:
    """Return a shape without one of its axes."""
    return (*shape[:axis], *shape[axis + 1 :])


def resized(shape: Shape, axis: int, size: int) -> Shape:
    """Return a shape with another size of one of its axes."""
    return (*shape[:axis], size, *shape[axis + 1 :])


def widened(shape: Shape, axis: int) -> Shape:
    """Return a shape with one more axis, of size 1."""
    return (*shape[:axis], 1, *shape[axis:])


def own_axis(axis: int, batch: int) -> int:
    """Return which of the axes beside the batch an axis is: of [2, B, H], axis 2 is own axis 1."""
    return axis - 1 if axis > batch else axis


@dataclass(frozen=True)
class Rows:
    """A row of a value that has a batch axis; its other axes are its own."""

    shape: Shape  # the sizes of its own axes
    axis: int  # which of all its axes is the batch
    vectors: Row  # its elements in order

    @property
    def size(self) -> int:
        """How many elements a row has."""
        return math.prod(self.shape)

    def own(self, axis: int, dims: int) -> int:
        """Return which own axis an axis of the whole value, of `dims` axes, is.

        Raises `Unsupported` for the batch.
        """
        axis %= dims
        if axis == self.axis:
            raise Unsupported("it mixes the rows of the batch")

        return own_axis(axis, self.axis)

    def inner(self, axis: int) -> int:
        """Return how many elements one index of an own axis has."""
        return math.prod(self.shape[axis + 1 :])


V = TypeVar("V", bound=Vector)


class Names:
    """Vectors by short names, with a line for each that is computed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._names: dict[Vector, str] = {}

    def row(self, vectors: Row) -> str:
        """Return a row of vectors, one after the other."""
        return " ; ".join(self.of(vector) for vector in vectors)

    def of(self, vector: Vector) -> str:
        """Return what a vector is called: a load or a number is called what it is."""
        if isinstance(vector, Load | Number):
            return str(vector)
        if vector in self._names:
            return self._names[vector]

        # The parts first: their lines stand before this one, and their names are smaller.
        parts = ", ".join(self.of(part) for part in vector.parts)
        operation = vector.name if isinstance(vector, Operation | Reduction) else ""
        name = f"t{len(self._names)}"
        self.lines.append(f"{name} [{vector.width}] = {operation}({parts})")
        self._names[vector] = name
        return name


class Vectors:
    """The vectors of one kernel: two equal ones are one object, so nothing is computed twice."""

    def __init__(self) -> None:
        self._made: dict[Any, Vector] = {}
        self._cuts: dict[tuple[Vector, int, int], Vector] = {}

    def _one(self, kind: type[V], width: int, *what: Any) -> V:
        """Return the one vector of this kind, width and content."""
        key = (kind, width, *what)
        if key not in self._made:
            self._made[key] = kind(width, *what)
        vector = self._made[key]
        assert isinstance(vector, kind), "its kind is in the key"
        return vector

    # each kind

    def load(self, space: str, slot: int, offset: int, width: int) -> Vector:
        """Return `width` elements of a tensor's row, from an offset on."""
        return self._one(Load, width, space, slot, offset)

    def number(self, value: float, width: int = 1) -> Vector:
        """Return a number repeated."""
        return self._one(Number, width, repr(float(value)))

    def operation(self, name: str, operands: Sequence[Vector], width: int) -> Vector:
        """Return an elementwise operation on vectors."""
        return self._one(Operation, width, name, tuple(operands))

    def reduction(self, name: str, operands: Sequence[Vector]) -> Vector:
        """Return the sum or the maximum of all elements of some vectors."""
        return self._one(Reduction, 1, name, tuple(operands))

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
                # What is shared is cut once, however many read it.
                key = (vector, start, width)
                if key not in self._cuts:
                    parts = [v if v.width == 1 else self.cut(v, start, width) for v in operands]
                    self._cuts[key] = self.operation(name, parts, width)
                return self._cuts[key]

        raise AssertionError("one number has no parts")

    def part(self, vectors: Iterable[Vector], start: int, width: int) -> Row:
        """Return the vectors of a part of a row."""
        stop = start + width
        inside: list[Vector] = []
        at = 0
        for vector in vectors:
            end = at + vector.width
            first, last = max(start, at), min(stop, end)
            if first < last:
                inside.append(self.cut(vector, first - at, last - first))
            at = end
        return self.joined(inside)

    def joined(self, vectors: Sequence[Vector]) -> Row:
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

    def aligned(self, rows: Sequence[Row]) -> list[Row]:
        """Return rows of equal width cut at the same places, one tuple for each piece.

        A row of 3 and 6 numbers beside one of 6 and 3 gives three pieces of 3.
        """
        ends: set[int] = set()
        for row in rows:
            ends.update(accumulate(vector.width for vector in row))

        pieces = []
        start = 0
        for end in sorted(ends):
            width = end - start
            pieces.append(tuple(self._piece(row, start, width) for row in rows))
            start = end
        return pieces

    def _piece(self, row: Row, start: int, width: int) -> Vector:
        (piece,) = self.part(row, start, width)  # cut where every row is, it is one
        return piece

    # rearranged

    def viewed(self, rows: Rows, shape: Sequence[int], batch: int) -> Rows:
        """Return the same elements under another shape, in which `batch` stands for the batch."""
        axis = list(shape).index(batch)
        before, after = shape[:axis], shape[axis + 1 :]
        if math.prod(before) != math.prod(rows.shape[: rows.axis]):
            raise Unsupported("a view moves the batch axis")

        return Rows((*before, *after), axis, rows.vectors)

    def table(self, rows: Rows, axes: int) -> list[Row]:
        """Return the elements in equal parts, one for each index of the first `axes` axes."""
        count = math.prod(rows.shape[:axes])
        width = rows.size // count if count else 0
        return [self.part(rows.vectors, index * width, width) for index in range(count)]

    def permuted(self, rows: Rows, order: Sequence[int]) -> Rows:
        """Return the axes, the batch among them, in another order.

        The last of the own axes has to stay: a kernel reads its elements side by side.
        """
        own = [own_axis(axis, rows.axis) for axis in order if axis != rows.axis]
        shape = tuple(rows.shape[axis] for axis in own)
        batch = list(order).index(rows.axis)

        # To move an axis of size 1 moves no element.
        wide = [axis for axis in own if rows.shape[axis] != 1]
        if wide == sorted(wide):
            return Rows(shape, batch, rows.vectors)

        # The axes that stay at the end are taken together: [2, 3, H] -> [3, 2, H] moves rows of H.
        staying = len(own)
        while staying and own[staying - 1] == staying - 1:
            staying -= 1
        if staying == len(own):
            raise Unsupported("it turns the last axis of a value")

        parts = self.table(rows, staying)
        strides = [math.prod(rows.shape[axis + 1 : staying]) for axis in own[:staying]]
        vectors: list[Vector] = []
        for place in _indices(shape[:staying]):
            index = sum(i * stride for i, stride in zip(place, strides, strict=True))
            vectors += parts[index]
        return Rows(shape, batch, self.joined(vectors))

    def sliced(self, rows: Rows, axis: int, start: int, stop: int, step: int = 1) -> Rows:
        """Return a part along an own axis."""
        inner = rows.inner(axis)
        if step != 1 and inner == 1:
            raise Unsupported("it takes every other element of a row")

        vectors: list[Vector] = []
        for part in self.table(rows, axis):
            if step == 1:
                width = (stop - start) * inner
                vectors += self.part(part, start * inner, width)
                continue
            for index in range(start, stop, step):
                vectors += self.part(part, index * inner, inner)

        shape = resized(rows.shape, axis, len(range(start, stop, step)))
        return Rows(shape, rows.axis, self.joined(vectors))

    def flipped(self, rows: Rows, axis: int) -> Rows:
        """Return a value with an own axis in reverse."""
        inner = rows.inner(axis)
        if inner == 1 and rows.size > FEW:
            raise Unsupported("it turns the last axis of a value round")

        vectors: list[Vector] = []
        for part in self.table(rows, axis):
            for index in reversed(range(rows.shape[axis])):
                vectors += self.part(part, index * inner, inner)
        return Rows(rows.shape, rows.axis, self.joined(vectors))

    def concatenated(self, parts: Sequence[Rows], axis: int) -> Rows:
        """Return values one after the other along an own axis."""
        first = parts[0]
        size = sum(part.shape[axis] for part in parts)
        shape = resized(first.shape, axis, size)

        # For each index of the axes before, what every value has there: a0 b0 a1 b1.
        tables = [self.table(part, axis) for part in parts]
        vectors: list[Vector] = []
        for entries in zip(*tables, strict=True):
            for entry in entries:
                vectors += entry
        return Rows(shape, first.axis, self.joined(vectors))

    def expanded(self, rows: Rows, shape: Shape, axis: int) -> Rows:
        """Return a value with axes of size 1, or none in front, repeated to a shape of own axes."""
        if rows.shape == shape:
            return Rows(shape, axis, rows.vectors)

        missing = len(shape) - len(rows.shape)
        sizes = (*[1] * missing, *rows.shape)
        vectors = rows.vectors

        # From the last axis to the first: what is repeated is then as large as it will be.
        for place in reversed(range(len(shape))):
            if sizes[place] == shape[place]:
                continue
            inner = math.prod(shape[place + 1 :])
            whole = Rows((*sizes[:place], inner), 0, vectors)
            repeated: list[Vector] = []
            for part in self.table(whole, place):
                repeated += self._repeated(part, shape[place], inner)
            vectors = self.joined(repeated)
            sizes = (*sizes[:place], *shape[place:])
        return Rows(shape, axis, vectors)

    def _repeated(self, part: Row, count: int, inner: int) -> Sequence[Vector]:
        """Return a part of `inner` elements repeated; one element becomes a vector of it."""
        if inner != 1:
            return part * count

        (element,) = part
        if isinstance(element, Number):
            return [self.number(element.value, count)]
        return [self.operation("same", part, count)]


def _indices(shape: Sequence[int]) -> Iterable[tuple[int, ...]]:
    """Give every index of an array of a shape, of which the last axis runs fastest."""
    return product(*(range(size) for size in shape))
