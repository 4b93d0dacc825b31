"""A kernel in C: for each function the loop over time, round the segments of a step.

Rows are independent, so threads take rows each and meet only at the end; where there are few rows
and large matrices, they take columns of each product instead, and meet before and after it
(`columns`). Where there are no products, and each column of a step is made of that column alone, as
in a scan, threads that share columns never meet.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import NamedTuple

from recurra.engine.fused.arithmetic_rules import Product
from recurra.engine.fused.emit_c_step import StepText
from recurra.engine.fused.layout import DECLARED, Layout
from recurra.engine.fused.lower import Lowered
from recurra.engine.fused.schedule import Schedule
from recurra.engine.fused.vectors import Vector

AT = {
    "step": "at",
    "history": "at",
    "row": "b",
    "thread": "id",
    "kept": "(keep ? at : b)",
    "shared": "0",
}
"""Which row of a tensor belongs to row b at step t, by how the tensor lies."""


@cache
def ground(name: str = "kernel.h") -> str:
    """Return the C that every kernel stands on, or that of the products beside it."""
    return (resources.files("recurra.engine.fused") / name).read_text(encoding="utf-8")


def typed(source: str, double: bool) -> str:
    """Return a source for float64, or for float32."""
    return f"#define DOUBLE\n{source}" if double else source


def emit(
    lowered: Lowered, schedules: Sequence[Schedule], layouts: Sequence[Layout]
) -> tuple[str, list[int]]:
    """Return the text of a kernel, and for each function how much memory of its own a row needs."""
    names: dict[Vector, str] = {}
    forward = Function("forward", lowered.state, schedules[0], layouts[0], names)
    lines = [ground(), *forward.goes_forward(lowered.extras)]
    scratch = [forward.scratch]

    if lowered.joint.grads:
        backward = Function("backward", lowered.state, schedules[1], layouts[1], names)
        stores = [sum(vector.width for vector in store) for store in lowered.stores]
        lines += backward.goes_backward(lowered.sequences, stores)
        scratch.append(backward.scratch)
    lines.append("")
    return "\n".join(lines), scratch


class Strided(NamedTuple):
    """Rows in memory: the first of them, and how far apart they are."""

    start: str
    apart: str


@dataclass(frozen=True)
class Direction:
    """How a function goes through time, by the C of it.

    `begin` and `end` name the tensors that the state comes from and goes to, `old` and `new` its
    rows before and after what a step does.
    """

    begin: str
    end: str
    old: str
    new: str
    time: str  # the head of the loop


COLUMNS = ("c0", "c1")
"""The first of a thread's columns, and the one behind its last, in C."""

FORWARD = Direction("start", "final", "state", "next", "long t = 0; t < T; t++")
REVERSE = Direction("last", "first", "seed", "before", "long t = T - 1; t >= 0; t--")


@dataclass
class Edges:
    """The lines round the segments of a step.

    `dead_first` and `dead` stand in place of the first and the last segment for a row that is over.
    """

    first: list[str] = field(default_factory=list)  # before the first segment
    last: list[str] = field(default_factory=list)  # after the last
    dead_first: list[str] = field(default_factory=list)
    dead: list[str] = field(default_factory=list)


class Function:
    """One function, from its schedule and its tensors."""

    def __init__(
        self,
        name: str,
        state: Sequence[int],
        schedule: Schedule,
        layout: Layout,
        names: dict[Vector, str],
    ) -> None:
        self.name = name
        self.state = state
        self.schedule = schedule
        self.layout = layout
        self.apart = schedule.apart(state)
        self.text = StepText(schedule, names, COLUMNS if self.apart else None)
        self.own = list(self._own_memory())

    def _own_memory(self) -> Iterator[tuple[str, int]]:
        """Give the parts of the function's own memory, each with the numbers of a row.

        They are two states, a step's and the next, the rows of products, what is kept for later
        stages, and products that no tensor holds.
        """
        products = self.schedule.products
        for letter in "ab":
            for i, width in self._fields():
                yield f"{letter}{i}", width
        for index in self.text.inputs:
            yield f"I{index}", products[index].rows.size
        for number, width in self.text.scratch.values():
            yield f"K{number}", width
        if self.schedule.space == "late":
            for slot, index in enumerate(self.schedule.slots):
                yield f"L{slot}", products[index].width

    @property
    def scratch(self) -> int:
        """How many numbers of its own it needs for each row."""
        return sum(width for _, width in self.own)

    def goes_forward(self, extras: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the first step to the last."""
        edges = Edges()
        for i, width in self._fields():
            fresh = self._copy(f"state{i}", f"fresh_{i} + b * {width}", width)
            history = f"history_{i} + at * {width}"
            edges.first.append(f"if (reset && reset[at] && ALIVE) {fresh}")
            edges.first.append(f"if (keep && ALIVE) {self._copy(history, f'state{i}', width)}")
            edges.first.append(f"if (keep && !ALIVE) {self._zero(history, width)}")
            edges.dead.append(self._copy(f"next{i}", f"state{i}", width))
        edges.dead += [self._zero(f"extra{i}", width) for i, width in enumerate(extras)]
        return self._whole(FORWARD, edges)

    def goes_backward(self, sequences: Sequence[int], stores: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the last step to the first."""
        edges = Edges()
        edges.dead_first += [self._zero(f"dseq{i}", width) for i, width in enumerate(sequences)]
        edges.dead_first += [self._zero(f"store{i}", width) for i, width in enumerate(stores)]
        for index in self.text.inputs:
            width = self.schedule.products[index].rows.size
            edges.dead_first.append(self._zero(f"input{index}", width))

        # The gradient of a state that a reset replaced belongs to what it was replaced by.
        for i, width in self._fields():
            edges.dead.append(self._copy(f"before{i}", f"seed{i}", width))
            moved = f"fresh_{i}[b * {width} + j] += before{i}[j]; before{i}[j] = 0;"
            first, end = self.text.ends(width)
            each = f"for (long j = {first}; j < {end}; j++) {{ {moved} }}"
            edges.last.append(f"if (reset && reset[at]) {each}")
        return self._whole(REVERSE, edges)

    def _whole(self, direction: Direction, edges: Edges) -> list[str]:
        """Return the function.

        A thread has the rows from r0 to r1, and a product those from R0 to R1: where threads share
        its columns, all of them. Where columns are apart, a thread has those from c0 to c1. `now`
        and `next` hold the state, and change places at each step.
        """
        lines = [f"void {self.name}({DECLARED}) {{", *self._tensors(), *self._packing()]
        lines += ["meeting_t meeting = {0}; (void)meeting;", "PARALLEL {"]
        lines.append("const long id = THREAD, n = THREADS;")
        lines += self._parts()

        # A thread copies the state of its rows in, and out again at the end.
        now = ", ".join(f"a{i}" for i, _ in self._fields())
        after = ", ".join(f"b{i}" for i, _ in self._fields())
        lines.append(f"real *now[] = {{{now}}}, *next[] = {{{after}}};")
        for i, width in self._fields():
            row = f"b * {width}"
            begin = self._copy(f"a{i} + {row}", f"{direction.begin}_{i} + {row}", width)
            lines.append(f"for (long b = r0; b < r1; b++) {begin}")

        lines.append(f"for ({direction.time}) {{")
        for number in range(self.schedule.segments()):
            lines += self._segment(number, direction, edges)
            lines += self._products(number)
        swap = "real *swap = now[i]; now[i] = next[i]; next[i] = swap;"
        lines.append(f"for (int i = 0; i < {len(self.state)}; i++) {{ {swap} }}")
        lines.append("}")

        for i, width in self._fields():
            row = f"b * {width}"
            end = self._copy(f"{direction.end}_{i} + {row}", f"now[{i}] + {row}", width)
            lines.append(f"for (long b = r0; b < r1; b++) {end}")
        lines += ["}", "}"]
        return lines

    def _parts(self) -> Iterator[str]:
        """Give the lines that say which rows and columns a thread has."""
        if not self.apart:
            yield "const long r0 = PART(B, id), r1 = PART(B, id + 1);"
            yield "const long R0 = columns ? 0 : r0, R1 = columns ? B : r1; (void)R0; (void)R1;"
            return

        first, end = COLUMNS
        of_thread = [f"COLUMN({self.apart}, {thread})" for thread in ("id", "id + 1")]
        yield "const long r0 = columns ? 0 : PART(B, id), r1 = columns ? B : PART(B, id + 1);"
        yield f"const long {first} = columns ? {of_thread[0]} : 0;"
        yield f"const long {end} = columns ? {of_thread[1]} : {self.apart};"

    def _copy(self, to: str, source: str, width: int) -> str:
        """Return the statement that copies a row, or the thread's columns of it."""
        first, end = self.text.ends(width)
        if not self.apart:
            return f"memcpy({to}, {source}, {width} * sizeof(real));"
        return f"for (long j = {first}; j < {end}; j++) ({to})[j] = ({source})[j];"

    def _zero(self, to: str, width: int) -> str:
        """Return the statement that makes a row zeros, or the thread's columns of its parts."""
        if not self.apart:
            return f"memset({to}, 0, {width} * sizeof(real));"
        first, end = COLUMNS
        size = f"({end} - {first}) * sizeof(real)"
        places = [f"{to} + {part} + {first}" for part in range(0, width, self.apart)]
        return " ".join(f"memset({place}, 0, {size});" for place in places)

    def _segment(self, number: int, direction: Direction, edges: Edges) -> Iterator[str]:
        """Give the lines of a segment: a loop over the thread's rows."""
        is_first = number == 0
        is_last = number == self.schedule.segments() - 1
        yield "for (long b = r0; b < r1; b++) {"
        yield "const long at = b * T + t; (void)at;"
        yield from self._rows(direction.old, direction.new)
        if is_first:
            yield from edges.first

        # A row that is over takes no part in a step, but what it writes must hold something.
        dead: list[str] = []
        if is_first:
            dead += edges.dead_first
        if is_last:
            dead += edges.dead
        yield f"if (!ALIVE) {{ {' '.join(dead)} continue; }}"

        yield from self.text.segment(number)
        if is_last:
            yield from edges.last
        yield "}"

    def _fields(self) -> Iterable[tuple[int, int]]:
        return enumerate(self.state)

    def _tensors(self) -> Iterator[str]:
        """Give the lines that name the tensors and the function's own memory."""
        layout = self.layout
        for group in layout.groups:
            for i in range(len(group.widths)):
                name, place = f"{group.name}_{i}", layout.place(group.name, i)
                yield f"real *{name} = p[{place}]; (void){name};"

        own, packed = layout.place("own"), layout.place("packed")
        yield f"real *own = p[{own}], *packed = p[{packed}]; (void)own; (void)packed;"
        yield "product_t *product = (product_t *)tools[0]; (void)product;"
        yield "pack_t *pack = (pack_t *)tools[1]; (void)pack;"

        at = 0
        for name, width in self.own:
            yield f"real *{name} = own + B * {at}; (void){name};"
            at += width

    def _packing(self) -> Iterator[str]:
        """Give the lines that pack the matrices."""
        at = "0"
        for place, index in enumerate(self.schedule.needed):
            product = self.schedule.products[index]
            inner, outer, groups = product.inner, product.outer, product.groups
            size = f"panels({outer}) * {inner} * LANES"
            yield f"real *packed{index} = packed + {at};"

            # A matrix has three strides: down, across, and from group to group.
            down, across, apart = (f"strides[{3 * place + i}]" for i in range(3))
            matrix = f"matrices[{place}] + g * {apart}, {down}, {across}"
            yield f"if (packing) for (long g = 0; g < {groups}; g++)"
            yield f"    pack({inner}, {outer}, {matrix}, packed{index} + g * {size});"
            at += f" + {groups} * {size}"

    def _rows(self, old: str, new: str) -> Iterator[str]:
        """Give the lines that name the rows of this row and step."""
        for i, width in self._fields():
            yield f"real *{old}{i} = now[{i}] + b * {width}; (void){old}{i};"
            yield f"real *restrict {new}{i} = next[{i}] + b * {width}; (void){new}{i};"

        # Tensors that are read by other lines have no name for a row.
        for group in self.layout.groups:
            if not group.row:
                continue
            kind = "real *restrict" if group.written else "const real *restrict"
            for i, width in enumerate(group.widths):
                name = f"{group.row}{i + group.shift}"
                start = f"{group.name}_{i} + {AT[group.lies]} * {width}"
                yield f"{kind} {name} = {start}; (void){name};"

        products = self.schedule.products
        for i in self.text.inputs:
            width = products[i].rows.size
            yield f"real *restrict input{i} = I{i} + b * {width}; (void)input{i};"
        for number, width in self.text.scratch.values():
            yield f"real *kept{number} = K{number} + b * {width}; (void)kept{number};"
        if self.schedule.space == "late":
            for slot, index in enumerate(self.schedule.slots):
                start = f"L{slot} + b * {products[index].width}"
                yield f"const real *late{slot} = {start}; (void)late{slot};"

    def _products(self, number: int) -> Iterator[str]:
        """Give the lines of the products after a segment.

        They are of the thread's rows, or of its columns of all rows: the threads meet before, when
        all rows are there, and after, when all columns are.
        """
        indices = self.schedule.after(number)
        if not indices:
            return
        yield "MEET"
        for index in indices:
            product = self.schedule.products[index]
            yield from _product(product, index, self._operand(index), self._result(index))
        yield "MEET"

    def _operand(self, index: int) -> Strided:
        """Return the rows that a product reads: the state as it lies, or its own input."""
        place = self.schedule.direct(index)
        if place is None:
            return Strided(f"I{index}", str(self.schedule.products[index].rows.size))
        return Strided(f"now[{place}]", str(self.state[place]))

    def _result(self, index: int) -> Strided:
        """Return the rows that a product writes.

        One that is saved for the gradients lies as [B, T, width], and as [B, width] otherwise.
        """
        slot = self.schedule.slots.index(index)
        width = self.schedule.products[index].width
        if self.schedule.space == "late":
            return Strided(f"L{slot}", str(width))

        start = f"(keep ? saved_{slot} + t * {width} : saved_{slot})"
        return Strided(start, f"(keep ? T * {width} : {width})")


def _product(product: Product, index: int, rows: Strided, result: Strided) -> Iterator[str]:
    """Give the lines of one product, group by group."""
    inner, outer = product.inner, product.outer
    source = f"{rows.start} + R0 * {rows.apart} + g * {inner}"
    matrix = f"packed{index} + g * all * {inner} * LANES"
    target = f"{result.start} + g * {outer} + R0 * {result.apart}"

    yield f"for (long g = 0; g < {product.groups}; g++) {{"
    yield f"    const long all = panels({outer}), first = columns ? PART(all, id) : 0;"
    yield "    const long last = columns ? PART(all, id + 1) : all;"
    yield f"    product(R1 - R0, {outer}, {inner}, {source}, {rows.apart},"
    yield f"            {matrix},"
    yield f"            {target}, {result.apart}, first, last);"
    yield "}"
