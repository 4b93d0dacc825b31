"""A step in C: the lines of each segment for one row, with nothing computed twice. Nothing here
knows a cell.
"""

from __future__ import annotations

from collections.abc import Iterator

from recurra.engine.fused.c_operations import WRITTEN, literal
from recurra.engine.fused.schedule import Schedule, Stage, Store
from recurra.engine.fused.vectors import Load, Number, Operation, Reduction, Vector


class StepText:
    """The lines of a step; `names` holds what its vectors are called in the file."""

    def __init__(self, schedule: Schedule, names: dict[Vector, str]) -> None:
        self.schedule, self.names = schedule, names
        self.scratch = self._kept()
        self.inputs = [index for index in schedule.needed if schedule.direct(index) is None]

    def _kept(self) -> dict[Vector, tuple[int, int]]:
        """Return what a later stage reads, and is kept for it: of each vector a number and its
        width.
        """
        schedule = self.schedule
        kept: dict[Vector, tuple[int, int]] = {}
        seen: set[Vector] = set()
        readers = [(store.vector, schedule.of(store.vector)) for store in schedule.stores]

        while readers:
            vector, reader = readers.pop()
            computed = isinstance(vector, Operation | Reduction)
            if computed and vector not in kept and self._earlier(vector, reader):
                kept[vector] = len(kept), vector.width

            if vector in seen:
                continue
            seen.add(vector)
            at = schedule.of(vector)
            if isinstance(vector, Reduction):
                at = self._inside(vector)
            readers += [(part, at) for part in vector.parts]
        return kept

    def _earlier(self, vector: Vector, stage: Stage) -> bool:
        """Tell whether a vector is there from a stage before; one number is, in the same segment,
        as a variable.
        """
        own = self.schedule.of(vector)
        return own[0] < stage[0] if vector.width == 1 else own < stage

    def _inside(self, reduction: Vector) -> Stage:
        """Return the stage in which the elements of a sum are added."""
        return max(self.schedule.of(part) for part in reduction.parts)

    def _name(self, vector: Vector) -> str:
        return self.names.setdefault(vector, f"v{len(self.names)}")

    def segment(self, number: int) -> Iterator[str]:
        """Give the lines that compute a segment for the row b at step t."""
        schedule = self.schedule
        stores = [store for store in schedule.stores if schedule.of(store.vector)[0] == number]
        kept = [vector for vector in self.scratch if schedule.of(vector)[0] == number]
        reductions = [
            v for v in self._all() if isinstance(v, Reduction) and schedule.of(v)[0] == number
        ]

        levels = {schedule.of(store.vector)[1] for store in stores} | {
            schedule.of(v)[1] for v in kept
        }
        levels |= {self._inside(reduction)[1] for reduction in reductions}
        for level in range(max(levels, default=-1) + 1):
            stage = number, level
            here = [store for store in stores if schedule.of(store.vector) == stage]
            here += [
                Store(f"kept{self.scratch[v][0]}", 0, v) for v in kept if schedule.of(v) == stage
            ]
            sums = [reduction for reduction in reductions if self._inside(reduction) == stage]
            yield from self._level(stage, here, sums)

    def _level(self, stage: Stage, stores: list[Store], sums: list[Reduction]) -> Iterator[str]:
        """Give the lines of one stage: where its sums begin, its single numbers, a loop for each
        width.
        """
        for reduction in sums:
            start = "-(real)INFINITY" if reduction.name == "amax" else "0"
            yield f"real {self._name(reduction)} = {start};"

        for vector in self._all():
            if (
                isinstance(vector, Operation)
                and vector.width == 1
                and self.schedule.of(vector) == stage
            ):
                yield f"const real {self._name(vector)} = {self._expression(vector, stage)};"

        widths = {store.vector.width for store in stores}
        widths |= {part.width for reduction in sums for part in reduction.parts}
        for width in sorted(widths):
            yield from self._loop(
                stage, width, [s for s in stores if s.vector.width == width], sums
            )

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
        added = [
            (reduction, part)
            for reduction in sums
            for part in reduction.parts
            if part.width == width
        ]
        lines: list[str] = []
        done: set[Vector] = set()
        for vector in [*(part for _, part in added), *(store.vector for store in stores)]:
            self._body(vector, stage, done, lines)

        for store in stores:
            place = f"{store.target}[{store.offset} + j]"
            lines.append(
                f"{place} {'+=' if store.adds else '='} {self._value(store.vector, stage)};"
            )
        for reduction, part in added:
            name, value = self._name(reduction), self._value(part, stage)
            adds = reduction.name == "sum"
            lines.append(f"{name} += {value};" if adds else f"{name} = r_max({name}, {value});")

        if width == 1:
            yield from ("{ const long j = 0; (void)j;", *lines, "}")
            return
        if all(reduction.name == "sum" for reduction, _ in added):
            # A compiler adds vectors, but has no maximum.
            names = ", ".join(dict.fromkeys(self._name(reduction) for reduction, _ in added))
            clauses = f" reduction(+: {names})" if added else ""
            yield f'_Pragma("omp simd{clauses}")'
        yield from (
            f"for (long j = 0; j < {width}; j++) {{",
            *(f"    {line}" for line in lines),
            "}",
        )

    def _body(self, vector: Vector, stage: Stage, done: set[Vector], lines: list[str]) -> None:
        """Add the operations that a vector needs in this loop."""
        if vector in done or not isinstance(vector, Operation):
            return
        if vector.width == 1 or self.schedule.of(vector) != stage:
            return
        done.add(vector)
        for part in vector.parts:
            self._body(part, stage, done, lines)
        lines.append(f"const real {self._name(vector)} = {self._expression(vector, stage)};")

    def _expression(self, operation: Operation, stage: Stage) -> str:
        return _written(
            operation.name, [self._value(operand, stage) for operand in operation.operands]
        )

    def _value(self, vector: Vector, stage: Stage) -> str:
        """Return a vector's element j as it is read at a stage."""
        at = "" if vector.width == 1 else " + j"
        match vector:
            case Number(value=value):
                return literal(value)
            case Load(space=space, slot=slot, offset=offset):
                return f"{space}{slot}[{offset}{at}]"

        if self._earlier(vector, stage):
            return f"kept{self.scratch[vector][0]}[0{at}]"
        return self._name(vector)


def _written(name: str, args: list[str]) -> str:
    """Return an operation in C; `name:key` says that the last arguments have names, `name/x.x`
    which there are.
    """
    name, _, present = name.partition("/")
    base, *keys = name.split(":")
    rest = iter(args)
    given = [next(rest) if mark == "x" else "" for mark in present or "x" * len(args)]

    positional = len(given) - len(keys)
    named = dict(zip(keys, given[positional:], strict=True))
    return f"({WRITTEN[base](*given[:positional], **named)})"
