"""A step in C: the lines of each segment for one row, with nothing computed twice. Nothing here knows a cell."""

from __future__ import annotations

from collections.abc import Iterator

from recurra.engine.fused.lanes import Lane
from recurra.engine.fused.operations import WRITTEN, literal
from recurra.engine.fused.stages import Stage, Stages, Store, parts


class Printer:
    """Prints a step from its stages."""

    def __init__(self, stages: Stages, rows: dict[str, str]) -> None:
        self.stages = stages
        self.rows = rows  # of each space of loads, what the pointer to a row of it is called
        self.scratch: dict[Lane, tuple[int, int]] = {}  # kept lanes: number and width
        self.inputs = [i for i in stages.needed if stages.direct(i) is None]
        self._find_kept()

    def _find_kept(self) -> None:
        """Find what a later stage reads: it is kept."""
        seen: set[Lane] = set()
        wanted = [(store.lane, self.stages.of(store.lane)) for store in self.stages.stores]
        while wanted:
            lane, reader = wanted.pop()
            stage = self.stages.of(lane)
            later = stage[0] < reader[0] if lane.width == 1 else stage < reader
            if later and lane.kind in ("op", "reduce") and lane not in self.scratch:
                self.scratch[lane] = len(self.scratch), lane.width
            if lane in seen:
                continue
            seen.add(lane)
            at = self.stages.of(lane)
            inside = max((self.stages.of(p) for p in parts(lane)), default=at) if lane.kind == "reduce" else at
            wanted += [(part, inside) for part in parts(lane)]

    def segments(self) -> int:
        """Return how many segments a step has."""
        stores = [self.stages.of(store.lane)[0] for store in self.stages.stores]
        return 1 + max([*stores, *(self.stages.segment(index) for index in self.stages.needed)], default=0)

    def after(self, segment: int) -> list[int]:
        """Return the products made after a segment."""
        return [index for index in self.stages.needed if self.stages.segment(index) == segment]

    def segment(self, number: int) -> Iterator[str]:
        """Give the lines that compute a segment for the row b at step t."""
        stages = self.stages
        stores = [store for store in stages.stores if stages.of(store.lane)[0] == number]
        kept = [lane for lane in self.scratch if stages.of(lane)[0] == number]
        reductions = self._reductions(number)
        levels = {stages.of(s.lane)[1] for s in stores} | {stages.of(lane)[1] for lane in kept}
        levels |= {self._inside(lane)[1] for lane in reductions}
        for level in range(max(levels, default=-1) + 1):
            stage = number, level
            here = [s for s in stores if stages.of(s.lane) == stage]
            here += [Store(f"kept{self.scratch[x][0]}", 0, x) for x in kept if stages.of(x) == stage]
            sums = [lane for lane in reductions if self._inside(lane) == stage]
            for lane in sums:
                start = "-(real)INFINITY" if lane.args[0] == "amax" else "0"
                yield f"real {_name(lane)} = {start};"
            yield from self._scalars(number, level)
            widths = sorted({s.lane.width for s in here} | {p.width for lane in sums for p in parts(lane)})
            for width in widths:
                yield from self._loop(stage, width, [s for s in here if s.lane.width == width], sums)

    def _inside(self, lane: Lane) -> Stage:
        """Return the stage in which the elements of a sum are added."""
        return max(self.stages.of(part) for part in parts(lane))

    def _reductions(self, number: int) -> list[Lane]:
        return [lane for lane in self._all() if lane.kind == "reduce" and self.stages.of(lane)[0] == number]

    def _all(self) -> list[Lane]:
        """Return all lanes, each after those that it is made of."""
        found: dict[Lane, None] = {}

        def visit(lane: Lane) -> None:
            if lane in found:
                return
            for part in parts(lane):
                visit(part)
            found[lane] = None

        for store in self.stages.stores:
            visit(store.lane)
        return list(found)

    def _scalars(self, number: int, level: int) -> Iterator[str]:
        """Give the operations on single numbers of a stage, which the loops of the stage may read."""
        for lane in self._all():
            if lane.kind == "op" and lane.width == 1 and self.stages.of(lane) == (number, level):
                yield f"const real {_name(lane)} = {self._expression(lane, (number, level))};"

    def _loop(self, stage: Stage, width: int, stores: list[Store], sums: list[Lane]) -> Iterator[str]:
        """Give one loop over the elements of a row: all of a stage that is as wide."""
        added = [(lane, part) for lane in sums for part in parts(lane) if part.width == width]
        lines: list[str] = []
        done: set[Lane] = set()
        for lane in [*(part for _, part in added), *(store.lane for store in stores)]:
            self._body(lane, stage, done, lines)
        for store in stores:
            place = f"{store.target}[{store.offset} + j]"
            lines.append(f"{place} {'+=' if store.adds else '='} {self._value(store.lane, stage)};")
        clauses = ""
        for lane, part in added:
            name, value = _name(lane), self._value(part, stage)
            lines.append(f"{name} += {value};" if lane.args[0] == "sum" else f"{name} = r_max({name}, {value});")
        if added and all(lane.args[0] == "sum" for lane, _ in added):
            clauses = f" reduction(+: {', '.join(dict.fromkeys(_name(lane) for lane, _ in added))})"
        if width == 1:
            yield from ("{ const long j = 0; (void)j;", *lines, "}")
            return
        if all(lane.args[0] == "sum" for lane, _ in added):
            yield f'_Pragma("omp simd{clauses}")'
        yield from (f"for (long j = 0; j < {width}; j++) {{", *(f"    {line}" for line in lines), "}")

    def _body(self, lane: Lane, stage: Stage, done: set[Lane], lines: list[str]) -> None:
        """Add the operations that a lane needs in this loop."""
        if lane in done or lane.kind != "op" or lane.width == 1 or self.stages.of(lane) != stage:
            return
        done.add(lane)
        for part in parts(lane):
            self._body(part, stage, done, lines)
        lines.append(f"const real {_name(lane)} = {self._expression(lane, stage)};")

    def _expression(self, lane: Lane, stage: Stage) -> str:
        name, *args = lane.args
        return _written(name, [self._value(arg, stage) for arg in args])

    def _value(self, lane: Lane, stage: Stage) -> str:
        """Return a lane's element j as it is read at a stage."""
        if lane.kind == "number":
            return literal(float(lane.args[0]))
        at = "" if lane.width == 1 else " + j"
        if lane.kind == "load":
            space, slot, offset = lane.args
            return f"{self.rows[space]}{slot}[{offset}{at}]"
        own = self.stages.of(lane)
        earlier = own[0] < stage[0] if lane.width == 1 else own < stage
        return f"kept{self.scratch[lane][0]}[0{at}]" if earlier else _name(lane)


def _name(lane: Lane) -> str:
    return _names.setdefault(lane, f"v{len(_names)}")


_names: dict[Lane, str] = {}


def forget() -> None:
    """Let go of the names of lanes, so that equal kernels have equal text."""
    _names.clear()


def _written(name: str, args: list[str]) -> str:
    """Return an operation in C; `name:key` says that the last arguments have names, `name/x.x` which there are."""
    name, _, present = name.partition("/")
    base, *keys = name.split(":")
    given: list[str] = []
    rest = iter(args)
    for mark in present or "x" * len(args):
        given.append(next(rest) if mark == "x" else "")
    named = dict(zip(keys, given[len(given) - len(keys) :], strict=True))
    text = WRITTEN[base](*given[: len(given) - len(keys)], **named)
    return f"({text})"
