"""A kernel in C: for each function the loop over time, forward or in reverse, round the segments of
a step.

Rows are independent, so threads take rows each and meet only at the end; where there are few rows
and large matrices, they take columns of each product instead, and meet before and after it
(`columns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib import resources

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
    """Return the text of a kernel, and how many numbers of its own each function needs for a
    row.
    """
    names: dict[Vector, str] = {}
    forward = Function("forward", lowered.state, schedules[0], layouts[0], names)
    lines = [ground(), *forward.goes_forward(lowered.extras)]
    scratch = [forward.scratch]

    if lowered.joint.grads:
        backward = Function("backward", lowered.state, schedules[1], layouts[1], names)
        stores = [sum(vector.width for vector in store) for store in lowered.stores]
        lines += backward.goes_backward(lowered.sequences, stores)
        scratch.append(backward.scratch)
    return "\n".join([*lines, ""]), scratch


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
        self.name, self.state, self.schedule, self.layout = name, state, schedule, layout
        self.text = StepText(schedule, names)

        self.own = [(f"{letter}{i}", width) for letter in "ab" for i, width in enumerate(state)]
        self.own += [(f"I{i}", schedule.products[i].rows.size) for i in self.text.inputs]
        self.own += [(f"K{number}", width) for number, width in self.text.scratch.values()]
        if schedule.space == "late":
            self.own += [
                (f"L{k}", self.schedule.products[i].width) for k, i in enumerate(schedule.slots)
            ]

    @property
    def scratch(self) -> int:
        """How many numbers of its own it needs for each row."""
        return sum(width for _, width in self.own)

    def goes_forward(self, extras: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the first step to the last."""
        first, dead = [], []
        for i, w in enumerate(self.state):
            first.append(
                f"if (reset && reset[at] && ALIVE) {_copy(f'state{i}', f'fresh_{i} + b * {w}', w)}"
            )
            history = f"history_{i} + at * {w}"
            first.append(f"if (keep && ALIVE) {_copy(history, f'state{i}', w)}")
            first.append(f"if (keep && !ALIVE) {_zero(history, w)}")
            dead.append(_copy(f"next{i}", f"state{i}", w))
        dead += [_zero(f"extra{i}", w) for i, w in enumerate(extras)]

        return self._whole(
            "start", "final", "state", "next", "long t = 0; t < T; t++", first, dead, [], []
        )

    def goes_backward(self, sequences: Sequence[int], stores: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the last step to the first."""
        dead_first = [_zero(f"dseq{i}", w) for i, w in enumerate(sequences)]
        dead_first += [_zero(f"store{i}", w) for i, w in enumerate(stores)]
        dead_first += [
            _zero(f"input{i}", self.schedule.products[i].rows.size) for i in self.text.inputs
        ]
        dead = [_copy(f"before{i}", f"seed{i}", w) for i, w in enumerate(self.state)]

        last = []
        for i, w in enumerate(self.state):
            moved = f"fresh_{i}[b * {w} + j] += before{i}[j]; before{i}[j] = 0;"
            last.append(f"if (reset && reset[at]) for (long j = 0; j < {w}; j++) {{ {moved} }}")
        time = "long t = T - 1; t >= 0; t--"
        return self._whole("last", "first", "seed", "before", time, [], dead, dead_first, last)

    def _whole(
        self, begin: str, end: str, old: str, new: str, time: str,
        first: list[str], dead: list[str], dead_first: list[str], last: list[str],
    ) -> list[str]:  # fmt: skip
        """Return the function; `old` and `new` name the state's rows before and after what a step
        does.

        `first` stands before the first segment and `last` after the last, `dead_first` and `dead`
        in their place for a row that is over.
        """
        now, then = (", ".join(f"{letter}{i}" for i in range(len(self.state))) for letter in "ab")
        lines = [f"void {self.name}({DECLARED}) {{", *self._tensors(), *self._packing()]
        lines += ["meeting_t meeting = {0}; (void)meeting;", "PARALLEL {"]
        lines += [
            "const long id = THREAD, n = THREADS, r0 = PART(B, id), r1 = PART(B, id + 1);",
            "const long R0 = columns ? 0 : r0, R1 = columns ? B : r1;",
            f"real *now[] = {{{now}}}, *next[] = {{{then}}};",
            *(
                _copy(f"a{i} + r0 * {w}", f"{begin}_{i} + r0 * {w}", f"(r1 - r0) * {w}")
                for i, w in self._fields()
            ),
            f"for ({time}) {{",
        ]

        count = self.schedule.segments()
        for number in range(count):
            over = [*(dead_first if number == 0 else []), *(dead if number == count - 1 else [])]
            lines += [
                "for (long b = r0; b < r1; b++) {",
                "const long at = b * T + t; (void)at;",
                *self._rows(old, new),
            ]
            lines += [
                *(first if number == 0 else []),
                f"if (!ALIVE) {{ {' '.join(over)} continue; }}",
            ]
            lines += [*self.text.segment(number), *(last if number == count - 1 else []), "}"]
            lines += self._products(number)

        fields = len(self.state)
        lines += [
            (
                f"for (int i = 0; i < {fields}; i++) {{ real *swap = now[i]; now[i] = next[i];"
                " next[i] = swap; }"
            ),
            "}",
            *(
                _copy(f"{end}_{i} + r0 * {w}", f"now[{i}] + r0 * {w}", f"(r1 - r0) * {w}")
                for i, w in self._fields()
            ),
            "}",
            "}",
        ]
        return lines

    def _fields(self) -> Iterable[tuple[int, int]]:
        return enumerate(self.state)

    def _tensors(self) -> Iterator[str]:
        """Give the lines that name the tensors and the function's own memory."""
        layout = self.layout
        for group in layout.groups:
            for i in range(len(group.widths)):
                yield (
                    f"real *{group.name}_{i} = p[{layout.place(group.name, i)}];"
                    f" (void){group.name}_{i};"
                )
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
            size = f"panels({product.outer}) * {product.inner} * LANES"
            yield f"real *packed{index} = packed + {at};"
            matrix = (
                f"matrices[{place}] + g * strides[{3 * place + 2}], strides[{3 * place}],"
                f" strides[{3 * place + 1}]"
            )
            yield f"if (packing) for (long g = 0; g < {product.groups}; g++)"
            yield (
                f"    pack({product.inner}, {product.outer}, {matrix}, packed{index} + g * {size});"
            )
            at += f" + {product.groups} * {size}"

    def _rows(self, old: str, new: str) -> Iterator[str]:
        """Give the lines that name the rows of this row and step."""
        for i, width in self._fields():
            yield f"real *{old}{i} = now[{i}] + b * {width}; (void){old}{i};"
            yield f"real *restrict {new}{i} = next[{i}] + b * {width}; (void){new}{i};"

        for group in self.layout.groups:
            if group.row:
                kind = "real *restrict" if group.written else "const real *restrict"
                for i, width in enumerate(group.widths):
                    name = f"{group.row}{i + group.shift}"
                    yield (
                        f"{kind} {name} = {group.name}_{i} + {AT[group.lies]} * {width};"
                        f" (void){name};"
                    )

        for i in self.text.inputs:
            width = self.schedule.products[i].rows.size
            yield f"real *restrict input{i} = I{i} + b * {width}; (void)input{i};"
        for number, width in self.text.scratch.values():
            yield f"real *kept{number} = K{number} + b * {width}; (void)kept{number};"
        if self.schedule.space == "late":
            for k, i in enumerate(self.schedule.slots):
                yield (
                    f"const real *late{k} = L{k} + b * {self.schedule.products[i].width};"
                    f" (void)late{k};"
                )

    def _products(self, number: int) -> Iterator[str]:
        """Give the lines of the products after a segment: the thread's rows, or its columns of all
        rows.
        """
        made = self.schedule.after(number)
        if made:
            yield "MEET"
        for index in made:
            product, slot = self.schedule.products[index], self.schedule.slots.index(index)
            width = product.width
            direct = self.schedule.direct(index)
            rows, wide = (
                (f"I{index}", product.rows.size)
                if direct is None
                else (f"now[{direct}]", self.state[direct])
            )
            result, apart = f"L{slot}", str(width)
            if self.schedule.space == "saved":
                result, apart = (
                    f"(keep ? saved_{slot} + t * {width} : saved_{slot})",
                    f"(keep ? T * {width} : {width})",
                )
            yield from _product(product, index, rows, wide, result, apart)
        if made:
            yield "MEET"


def _product(
    product: Product, index: int, rows: str, width: int, result: str, apart: str
) -> Iterator[str]:
    inner, outer = product.inner, product.outer
    yield f"for (long g = 0; g < {product.groups}; g++) {{"
    yield f"    const long all = panels({outer}), first = columns ? PART(all, id) : 0;"
    yield "    const long last = columns ? PART(all, id + 1) : all;"
    yield f"    product(R1 - R0, {outer}, {inner}, {rows} + R0 * {width} + g * {inner}, {width},"
    yield f"            packed{index} + g * all * {inner} * LANES,"
    yield f"            {result} + g * {outer} + R0 * {apart}, {apart}, first, last);"
    yield "}"


def _copy(to: str, source: str, width: int | str) -> str:
    return f"memcpy({to}, {source}, {width} * sizeof(real));"


def _zero(to: str, width: int) -> str:
    return f"memset({to}, 0, {width} * sizeof(real));"
