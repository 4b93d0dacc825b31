"""What a kernel computes in one step for one row, as vectors: loads, elementwise operations and sums over a row.

A value of a recorded program that has a batch axis becomes `Rows`: its other axes, flattened, as pieces one after the
other. Views only rearrange pieces. Two equal lanes are one object, so that nothing is computed twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from typing import Any

from recurra.engine.fused.tape import Unsupported


@dataclass(frozen=True)
class Lane:
    """A vector of a row. `args` is, by `kind`:

    load: the space, the number of the tensor in it, and where in its row the vector begins
    number: the value, the same everywhere
    op: the name of the operation and its arguments, lanes as wide as this one or 1 wide
    reduce: sum or amax, and the lanes over which all of it goes
    """

    kind: str
    args: tuple[Any, ...]
    width: int

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


_made: dict[Any, Lane] = {}


def _lane(kind: str, args: tuple[Any, ...], width: int) -> Lane:
    key = (kind, args, width)
    found = _made.get(key)
    if found is None:
        found = _made[key] = Lane(kind, args, width)
    return found


def forget() -> None:
    """Let go of all lanes; those of one kernel are of no use to another."""
    _made.clear()
    cut.cache_clear()


def load(space: str, slot: int, offset: int, width: int) -> Lane:
    """Return `width` elements of a tensor's row, from an offset on."""
    return _lane("load", (space, slot, offset), width)


def number(value: float, width: int = 1) -> Lane:
    """Return a number repeated."""
    return _lane("number", (repr(float(value)),), width)


def op(name: str, args: Sequence[Lane], width: int) -> Lane:
    """Return an elementwise operation on lanes."""
    return _lane("op", (name, *args), width)


def reduced(how: str, lanes: Sequence[Lane]) -> Lane:
    """Return the sum or the maximum of all elements of some lanes."""
    return _lane("reduce", (how, *lanes), 1)


@cache
def cut(lane: Lane, start: int, width: int) -> Lane:
    """Return a part of a lane."""
    if start == 0 and width == lane.width:
        return lane
    if lane.kind == "load":
        space, slot, offset = lane.args
        return load(space, slot, offset + start, width)
    if lane.kind == "number":
        return _lane("number", lane.args, width)
    name, *args = lane.args
    return op(name, [arg if arg.width == 1 else cut(arg, start, width) for arg in args], width)


def taken(lanes: Iterable[Lane], start: int, width: int) -> tuple[Lane, ...]:
    """Return the lanes of a part of a row of lanes."""
    found: list[Lane] = []
    at = 0
    for lane in lanes:
        first, last = max(start, at), min(start + width, at + lane.width)
        if first < last:
            found.append(cut(lane, first - at, last - first))
        at += lane.width
    return joined(found)


def joined(lanes: Sequence[Lane]) -> tuple[Lane, ...]:
    """Return lanes with neighbours in memory made one."""
    found: list[Lane] = []
    for lane in lanes:
        last = found[-1] if found else None
        if last is not None and last.kind == lane.kind == "load" and last.args[:2] == lane.args[:2]:
            if last.args[2] + last.width == lane.args[2]:
                space, slot, offset = last.args
                found[-1] = load(space, slot, offset, last.width + lane.width)
                continue
        if last is not None and last.kind == lane.kind == "number" and last.args == lane.args:
            found[-1] = _lane("number", lane.args, last.width + lane.width)
            continue
        found.append(lane)
    return tuple(found)


@dataclass(frozen=True)
class Rows:
    """A value with a batch axis: its other axes, which of all its axes is the batch, and its elements in order."""

    shape: tuple[int, ...]
    axis: int
    lanes: tuple[Lane, ...]

    @property
    def size(self) -> int:
        """How many elements a row has."""
        return math.prod(self.shape)

    def own(self, axis: int, dims: int) -> int:
        """Return which axis of `shape` an axis of the whole value is. Raises `Unsupported` for the batch."""
        axis %= dims
        if axis == self.axis:
            raise Unsupported("it mixes the rows of the batch")
        return axis - (axis > self.axis)


def viewed(rows: Rows, shape: Sequence[int], batch: int) -> Rows:
    """Return the same elements under another shape, that of the whole value with `batch` for its batch axis."""
    sizes = list(shape)
    axis = sizes.index(batch)
    before, after = sizes[:axis], sizes[axis + 1 :]
    if math.prod(before) != math.prod(rows.shape[: rows.axis]):
        raise Unsupported("a view moves the batch axis")
    return Rows((*before, *after), axis, rows.lanes)


def table(rows: Rows, axes: int) -> list[tuple[Lane, ...]]:
    """Return the elements in equal parts, one for each index of the first `axes` axes."""
    count = math.prod(rows.shape[:axes])
    width = rows.size // count if count else 0
    return [taken(rows.lanes, index * width, width) for index in range(count)]


def permuted(rows: Rows, order: Sequence[int]) -> Rows:
    """Return the axes, the batch among them, in another order; the last of the others has to stay."""
    own = [axis - (axis > rows.axis) for axis in order if axis != rows.axis]
    shape = tuple(rows.shape[axis] for axis in own)
    batch = list(order).index(rows.axis)
    real = [axis for axis in own if rows.shape[axis] != 1]
    if real == sorted(real):
        return Rows(shape, batch, rows.lanes)
    kept = len(own)
    while kept and own[kept - 1] == kept - 1:
        kept -= 1
    if kept == len(own):
        raise Unsupported("it turns the last axis of a value")
    parts = table(rows, kept)
    strides = [math.prod(rows.shape[axis + 1 : kept]) for axis in range(kept)]
    found: list[Lane] = []
    for place in _indices(shape[:kept]):
        found += parts[sum(index * strides[axis] for index, axis in zip(place, own, strict=False))]
    return Rows(shape, batch, joined(found))


def _indices(shape: Sequence[int]) -> Iterable[tuple[int, ...]]:
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in _indices(shape[1:]):
            yield (first, *rest)


def sliced(rows: Rows, axis: int, start: int, stop: int, step: int = 1) -> Rows:
    """Return a part along an own axis."""
    shape = rows.shape
    inner = math.prod(shape[axis + 1 :])
    found: list[Lane] = []
    for part in table(rows, axis):
        if step == 1:
            found += taken(part, start * inner, (stop - start) * inner)
            continue
        if inner == 1:
            raise Unsupported("it takes every other element of a row")
        for index in range(start, stop, step):
            found += taken(part, index * inner, inner)
    size = len(range(start, stop, step))
    return Rows((*shape[:axis], size, *shape[axis + 1 :]), rows.axis, joined(found))


FEW = 16
"""Elements of a row that may be taken one by one; more would make a kernel too long."""


def flipped(rows: Rows, axis: int) -> Rows:
    """Return a value with an own axis in reverse."""
    count, inner = rows.shape[axis], math.prod(rows.shape[axis + 1 :])
    if inner == 1 and rows.size > FEW:
        raise Unsupported("it turns the last axis of a value round")
    found = [
        lane for part in table(rows, axis) for i in reversed(range(count)) for lane in taken(part, i * inner, inner)
    ]
    return Rows(rows.shape, rows.axis, joined(found))


def concatenated(parts: Sequence[Rows], axis: int) -> Rows:
    """Return values one after the other along an own axis."""
    first = parts[0]
    tables = [table(part, axis) for part in parts]
    found = [lane for entry in zip(*tables, strict=True) for lanes in entry for lane in lanes]
    size = sum(part.shape[axis] for part in parts)
    return Rows((*first.shape[:axis], size, *first.shape[axis + 1 :]), first.axis, joined(found))


def expanded(rows: Rows, shape: tuple[int, ...], axis: int) -> Rows:
    """Return a value with axes of size 1, or none in front, repeated to a shape of own axes."""
    if rows.shape == shape:
        return Rows(shape, axis, rows.lanes)
    sizes = (*[1] * (len(shape) - len(rows.shape)), *rows.shape)
    lanes = rows.lanes
    for place in reversed(range(len(shape))):
        if sizes[place] == shape[place]:
            continue
        inner = math.prod(shape[place + 1 :])
        whole = Rows((*sizes[:place], inner), 0, lanes)
        found: list[Lane] = []
        for part in table(whole, place):
            if inner == 1:
                found += [op("same", part, shape[place])] if part[0].kind != "number" else [
                    _lane("number", part[0].args, shape[place])
                ]  # fmt: skip
            else:
                found += part * shape[place]
        lanes = joined(found)
        sizes = (*sizes[:place], *shape[place:])
    return Rows(shape, axis, lanes)


def aligned(parts: Sequence[tuple[Lane, ...]]) -> list[tuple[Lane, ...]]:
    """Return lanes of equal total width cut at the same places, one tuple for each piece."""
    ends = sorted({end for lanes in parts for end in accumulate(lane.width for lane in lanes)})
    pieces = []
    start = 0
    for end in ends:
        pieces.append(tuple(_one(lanes, start, end - start) for lanes in parts))
        start = end
    return pieces


def _one(lanes: tuple[Lane, ...], start: int, width: int) -> Lane:
    found = taken(lanes, start, width)
    assert len(found) == 1, "cut where every part is"
    return found[0]
