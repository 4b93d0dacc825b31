"""A step in C: the lines of each segment for one row, with nothing computed twice.

Nothing here knows a cell.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from recurra.engine.fused.c_operations import WRITTEN, literal
from recurra.engine.fused.schedule import Schedule, Stage, Store
from recurra.engine.fused.vectors import Load, Number, Operation, Reduction, Vector


class Scratch(NamedTuple):
    """Where a vector is kept for later stages: in `keptN`, so many numbers a row."""

    number: int
    width: int


class StepText:
    """The lines of a step; `names` holds what its vectors are called in the file.

    `columns` are the C of the first element that is computed and of the one behind the last, where
    that is not all of a row.
    """

    def __init__(
        self,
        schedule: Schedule,
        names: dict[Vector, str],
        columns: tuple[str, str] | None = None,
    ) -> None:
        self.schedule = schedule
        self.names = names
        self.columns = columns
        self.scratch = self._find_scratch()
        self._decays = self._find_decays()
        self.inputs = [index for index in schedule.needed if schedule.direct(index) is None]

    def _find_scratch(self) -> dict[Vector, Scratch]:
        """Return where each vector is kept that a later stage reads."""
        schedule = self.schedule
        scratch: dict[Vector, Scratch] = {}
        seen: set[Vector] = set()

        # Each vector is visited once for every stage that reads it, its parts only the first time.
        readers = [(store.vector, schedule.of(store.vector)) for store in schedule.stores]
        while readers:
            vector, reader = readers.pop()
            computed = isinstance(vector, Operation | Reduction)
            if computed and vector not in scratch and self._earlier(vector, reader):
                scratch[vector] = Scratch(len(scratch), vector.width)

            if vector in seen:
                continue
            seen.add(vector)
            stage = schedule.of(vector)
            if isinstance(vector, Reduction):
                stage = self._inside(vector)
            readers += [(part, stage) for part in vector.parts]
        return scratch

    def _find_decays(self) -> set[Vector]:
        """Return each x of whose exp(-|x|) several things are made: one exponential does for all.

        They are the logarithm of 1 more, and the sigmoids of x and of -x, if both are there.
        """
        squashed: set[Vector] = set()
        decays: set[Vector] = set()
        for vector in self._all():
            if isinstance(vector, Operation) and vector.name == "sigmoid":
                squashed.add(vector.operands[0])
            if decaying := _decaying(vector):
                decays.add(_unsigned(decaying))

        negatives = squashed.difference(map(_unsigned, squashed))
        return decays | squashed.intersection(map(_unsigned, negatives))

    def _earlier(self, vector: Vector, stage: Stage) -> bool:
        """Tell whether a vector has to be kept, to be read at a stage.

        One number of the same segment does not: it is a variable.
        """
        own = self.schedule.of(vector)
        if vector.width == 1:
            return own.segment < stage.segment
        return own < stage

    def _inside(self, reduction: Vector) -> Stage:
        """Return the stage in which the elements of a sum are added."""
        return max(self.schedule.of(part) for part in reduction.parts)

    def ends(self, width: int) -> tuple[str, str]:
        """Return the C of the first element of a row that is computed, and of the end."""
        return self.columns or ("0", str(width))

    def _name(self, vector: Vector) -> str:
        return self.names.setdefault(vector, f"v{len(self.names)}")

    def segment(self, number: int) -> Iterator[str]:
        """Give the lines that compute a segment for the row b at step t."""
        schedule = self.schedule
        stores = [store for store in schedule.stores if self._segment(store.vector) == number]
        scratch = [vector for vector in self.scratch if self._segment(vector) == number]
        reductions: list[Reduction] = []
        for vector in self._all():
            if isinstance(vector, Reduction) and self._segment(vector) == number:
                reductions.append(vector)

        levels = {schedule.of(store.vector).level for store in stores}
        levels |= {schedule.of(vector).level for vector in scratch}
        levels |= {self._inside(reduction).level for reduction in reductions}
        for level in range(max(levels, default=-1) + 1):
            stage = Stage(number, level)
            sums = [reduction for reduction in reductions if self._inside(reduction) == stage]

            # What is kept for later stages is stored as well.
            here = [store for store in stores if schedule.of(store.vector) == stage]
            for vector in scratch:
                if schedule.of(vector) == stage:
                    here.append(Store(f"kept{self.scratch[vector].number}", 0, vector))
            yield from self._level(stage, here, sums)

    def _segment(self, vector: Vector) -> int:
        return self.schedule.of(vector).segment

    def _level(self, stage: Stage, stores: list[Store], sums: list[Reduction]) -> Iterator[str]:
        """Give the lines of one stage.

        Its sums begin first; then come its single numbers, and a loop for each width.
        """
        for reduction in sums:
            start = "-(real)INFINITY" if reduction.name == "amax" else "0"
            yield f"real {self._name(reduction)} = {start};"

        for vector in self._all():
            if not isinstance(vector, Operation) or vector.width != 1:
                continue
            if self.schedule.of(vector) == stage:
                yield self._definition(vector, stage)

        # Vectors of one width are computed in one loop, each element after the other.
        widths = {store.vector.width for store in stores}
        for reduction in sums:
            widths.update(part.width for part in reduction.parts)
        for width in sorted(widths):
            wide = [store for store in stores if store.vector.width == width]
            yield from self._loop(stage, width, wide, sums)

    def _all(self) -> list[Vector]:
        """Return all vectors, each after those that it is made of."""
        ordered: dict[Vector, None] = {}

        def visit(vector: Vector) -> None:
            if vector in ordered:
                return
            for part in vector.parts:
                visit(part)
            ordered[vector] = None

        for store in self.schedule.stores:
            visit(store.vector)
        return list(ordered)

    def _loop(
        self, stage: Stage, width: int, stores: list[Store], sums: list[Reduction]
    ) -> Iterator[str]:
        """Give one loop over the elements of a row: all of a stage that is as wide."""
        added: list[tuple[Reduction, Vector]] = []
        for reduction in sums:
            added += [(reduction, part) for part in reduction.parts if part.width == width]

        # First the operations of all that is added or stored, so that none is computed twice.
        lines: list[str] = []
        done: set[Vector] = set()
        for _, part in added:
            self._body(part, stage, done, lines)
        for store in stores:
            self._body(store.vector, stage, done, lines)

        for store in stores:
            sign = "+=" if store.adds else "="
            value = self._value(store.vector, stage)
            lines.append(f"{store.target}[{store.offset} + j] {sign} {value};")
        for reduction, part in added:
            name, value = self._name(reduction), self._value(part, stage)
            if reduction.name == "sum":
                lines.append(f"{name} += {value};")
            else:
                lines.append(f"{name} = r_max({name}, {value});")

        if width == 1:
            yield "{ const long j = 0; (void)j;"
            yield from lines
            yield "}"
            return

        # A compiler adds vectors, but has no maximum.
        if all(reduction.name == "sum" for reduction, _ in added):
            names = dict.fromkeys(self._name(reduction) for reduction, _ in added)
            clause = f" reduction(+: {', '.join(names)})" if names else ""
            yield f'_Pragma("omp simd{clause}")'
        first, end = self.ends(width)
        yield f"for (long j = {first}; j < {end}; j++) {{"
        for line in lines:
            yield f"    {line}"
        yield "}"

    def _body(self, vector: Vector, stage: Stage, done: set[Vector], lines: list[str]) -> None:
        """Add the operations that a vector needs in this loop."""
        if vector in done or not isinstance(vector, Operation):
            return
        if vector.width == 1 or self.schedule.of(vector) != stage:
            return

        done.add(vector)
        for part in vector.parts:
            self._body(part, stage, done, lines)
        lines.append(self._definition(vector, stage))

    def _definition(self, operation: Operation, stage: Stage) -> str:
        """Return the line that computes an operation."""
        name = self._name(operation)
        said, of = operation.name, operation.operands
        if decaying := _decaying(operation):
            said, of = "log1p_of_decay", (decaying,)
        elif said == "sigmoid" and _unsigned(of[0]) in self._decays:
            said = "sigmoid_of_decay"
        operands = [self._value(operand, stage) for operand in of]
        return f"const real {name} = {_in_c(said, operands)};"

    def _value(self, vector: Vector, stage: Stage) -> str:
        """Return a vector's element j as it is read at a stage."""
        at = "" if vector.width == 1 else " + j"
        match vector:
            case Number(value=value):
                return literal(value)
            case Load(space=space, slot=slot, offset=offset):
                return f"{space}{slot}[{offset}{at}]"

        if self._earlier(vector, stage):
            return f"kept{self.scratch[vector].number}[0{at}]"
        return self._name(vector)


def _decaying(vector: Vector) -> Vector | None:
    """Return x of log1p(exp(-|x|)), where a vector is that."""
    for name in ("log1p", "exp", "neg", "abs"):
        if not isinstance(vector, Operation) or vector.name != name:
            return None
        (vector,) = vector.operands
    return vector


def _unsigned(vector: Vector) -> Vector:
    """Return x of -x; any other vector as it is."""
    while isinstance(vector, Operation) and vector.name == "neg":
        (vector,) = vector.operands
    return vector


def _in_c(name: str, operands: list[str]) -> str:
    """Return an operation in C.

    `add:alpha` says that the last operand is called alpha. `clamp/x.x` says which arguments there
    are: the first and the third, so that the second is empty.
    """
    name, _, present = name.partition("/")
    base, *keys = name.split(":")
    marks = present or "x" * len(operands)
    remaining = iter(operands)
    args = [next(remaining) if mark == "x" else "" for mark in marks]

    positional = len(args) - len(keys)
    named = dict(zip(keys, args[positional:], strict=True))
    text = WRITTEN[base](*args[:positional], **named)
    return f"({text})"
