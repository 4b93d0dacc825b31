"""The C text of one function of a kernel: the loop over time, forward or in reverse, round the stages of a step.

Rows are independent, so threads take rows each and meet only at the end; where there are few rows and large matrices,
they take columns of each product instead, and meet before and after it (`columns`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from recurra.engine.fused.lowering import Product
from recurra.engine.fused.printer import Printer
from recurra.engine.fused.stages import Stages

PLACES = {"step": "at", "row": "b", "thread": "id", "kept": "(keep ? at : b)", "shared": "0"}
"""Which row of a tensor belongs to row b at step t, by how the tensor lies."""
ARGUMENTS = (
    "long T, long B, long threads, long columns, long keep, long packing, const unsigned char *reset, "
    "const int64_t *lengths, real **p, real **matrices, const long *strides, void **tools"
)
"""What every function is given; `p` holds the tensors in the order of its groups, its own memory, packed matrices."""


@dataclass(frozen=True)
class Group:
    """Tensors that a function is given, a row of each so many numbers wide.

    They lie as `[B, T, width]` (step), `[B, width]` (row), `[threads, width]` (thread), as step or row depending on
    whether they are kept (kept), or are the same for all rows (shared). `row` is how the stages call a row of them, and
    `shift` what is added to its number there; without `row` they are read by other lines only.
    """

    name: str
    widths: Sequence[int]
    lies: str
    row: str = ""
    shift: int = 0
    written: bool = False


class Function:
    """One function, from its stages and its tensors."""

    def __init__(
        self, name: str, stages: Stages, groups: Sequence[Group], state: Sequence[int], spaces: set[str]
    ) -> None:
        self.name, self.stages, self.groups, self.state = name, stages, groups, state
        self.text = Printer(stages, {space: space for space in spaces})
        self.own = [*((f"a{i}", width) for i, width in enumerate(state)), *((f"b{i}", w) for i, w in enumerate(state))]
        self.own += [(f"I{i}", stages.products[i].rows.size) for i in self.text.inputs]
        self.own += [(f"K{number}", width) for number, width in self.text.scratch.values()]

    @property
    def scratch(self) -> int:
        """How many numbers of its own it needs for each row."""
        return sum(width for _, width in self.own) + self._late()

    def _late(self) -> int:
        return sum(self._outer(i) for i in self.stages.slots) if self.stages.space == "late" else 0

    def _outer(self, index: int) -> int:
        product = self.stages.products[index]
        return product.groups * product.outer

    def forward(self, extras: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the first step to the last."""
        first, dead = [], []
        for i, w in enumerate(self.state):
            first.append(f"if (reset && reset[at] && ALIVE) {_copy(f'state{i}', f'fresh_{i} + b * {w}', w)}")
            history = f"history_{i} + at * {w}"
            first.append(f"if (keep && ALIVE) {_copy(history, f'state{i}', w)}")
            first.append(f"if (keep && !ALIVE) {_zero(history, w)}")
            dead.append(_copy(f"next{i}", f"state{i}", w))
        dead += [_zero(f"extra{i}", w) for i, w in enumerate(extras)]
        return self._whole("start", "final", "state", "next", "long t = 0; t < T; t++", first, dead, [], [])

    def backward(self, sequences: Sequence[int], stores: Sequence[int]) -> list[str]:
        """Return the text of a function that goes from the last step to the first."""
        dead_first = [_zero(f"dseq{i}", w) for i, w in enumerate(sequences)]
        dead_first += [_zero(f"store{i}", w) for i, w in enumerate(stores)]
        dead_first += [_zero(f"input{i}", self.stages.products[i].rows.size) for i in self.text.inputs]
        dead = [_copy(f"before{i}", f"seed{i}", w) for i, w in enumerate(self.state)]
        last = []
        for i, w in enumerate(self.state):
            moved = f"fresh_{i}[b * {w} + j] += before{i}[j]; before{i}[j] = 0;"
            last.append(f"if (reset && reset[at]) for (long j = 0; j < {w}; j++) {{ {moved} }}")
        return self._whole("last", "first", "seed", "before", "long t = T - 1; t >= 0; t--", [], dead, dead_first, last)

    def _whole(
        self, begin: str, end: str, old: str, new: str, time: str,
        first: list[str], dead: list[str], dead_first: list[str], last: list[str],
    ) -> list[str]:  # fmt: skip
        """Return the function; `old` and `new` name the state's rows before and after what a step does.

        `first` stands before the first segment and `last` after the last, `dead_first` and `dead` in their place for a
        row that is over.
        """
        names = {letter: ", ".join(f"{letter}{i}" for i in range(len(self.state))) for letter in "ab"}
        lines = [f"void {self.name}({ARGUMENTS}) {{", *self._tensors(), *self._packing()]
        lines += ["meeting_t meeting = {0}; (void)meeting;", "PARALLEL {"]
        lines += [
            "const long id = THREAD, n = THREADS, r0 = PART(B, id), r1 = PART(B, id + 1);",
            "const long R0 = columns ? 0 : r0, R1 = columns ? B : r1;",
            f"real *now[] = {{{names['a']}}}, *next[] = {{{names['b']}}};",
            *(_copy(f"a{i} + r0 * {w}", f"{begin}_{i} + r0 * {w}", f"(r1 - r0) * {w}") for i, w in self._fields()),
            f"for ({time}) {{",
        ]
        count = self.text.segments()
        for number in range(count):
            over = [*(dead_first if number == 0 else []), *(dead if number == count - 1 else [])]
            lines += ["for (long b = r0; b < r1; b++) {", "const long at = b * T + t; (void)at;", *self._rows(old, new)]
            lines += [*(first if number == 0 else []), f"if (!ALIVE) {{ {' '.join(over)} continue; }}"]
            lines += [*self.text.segment(number), *(last if number == count - 1 else []), "}"]
            lines += self._products(number)
        lines += [
            "for (int i = 0; i < FIELDS; i++) { real *swap = now[i]; now[i] = next[i]; next[i] = swap; }",
            "}",
            *(_copy(f"{end}_{i} + r0 * {w}", f"now[{i}] + r0 * {w}", f"(r1 - r0) * {w}") for i, w in self._fields()),
            "}",
            "}",
        ]
        return [line.replace("FIELDS", str(len(self.state))) for line in lines]

    def _fields(self) -> Iterable[tuple[int, int]]:
        return enumerate(self.state)

    def _tensors(self) -> Iterator[str]:
        """Give the lines that name the tensors and the function's own memory."""
        place = 0
        for group in self.groups:
            for i in range(len(group.widths)):
                yield f"real *{group.name}_{i} = p[{place}]; (void){group.name}_{i};"
                place += 1
        yield f"real *own = p[{place}], *packed = p[{place + 1}]; (void)own; (void)packed;"
        yield "product_t *product = (product_t *)tools[0]; (void)product;"
        yield "pack_t *pack = (pack_t *)tools[1]; (void)pack;"
        at = 0
        late = [(f"L{k}", self._outer(i)) for k, i in enumerate(self.stages.slots)] if self._late() else []
        for name, width in (*self.own, *late):
            yield f"real *{name} = own + B * {at}; (void){name};"
            at += width

    def _packing(self) -> Iterator[str]:
        """Give the lines that pack the matrices."""
        at = "0"
        for place, index in enumerate(self.stages.needed):
            product = self.stages.products[index]
            size = f"panels({product.outer}) * {product.inner} * LANES"
            yield f"real *packed{index} = packed + {at};"
            given = f"matrices[{place}] + g * strides[{3 * place + 2}], strides[{3 * place}], strides[{3 * place + 1}]"
            yield f"if (packing) for (long g = 0; g < {product.groups}; g++)"
            yield f"    pack({product.inner}, {product.outer}, {given}, packed{index} + g * {size});"
            at += f" + {product.groups} * {size}"

    def _rows(self, old: str, new: str) -> Iterator[str]:
        """Give the lines that name the rows of this row and step."""
        for i, width in self._fields():
            yield f"real *{old}{i} = now[{i}] + b * {width}; (void){old}{i};"
            yield f"real *restrict {new}{i} = next[{i}] + b * {width}; (void){new}{i};"
        for group in self.groups:
            if group.row:
                kind = "real *restrict" if group.written else "const real *restrict"
                for i, width in enumerate(group.widths):
                    name = f"{group.row}{i + group.shift}"
                    yield f"{kind} {name} = {group.name}_{i} + {PLACES[group.lies]} * {width}; (void){name};"
        for i in self.text.inputs:
            yield f"real *restrict input{i} = I{i} + b * {self.stages.products[i].rows.size}; (void)input{i};"
        for number, width in self.text.scratch.values():
            yield f"real *kept{number} = K{number} + b * {width}; (void)kept{number};"
        if self._late():
            for k, i in enumerate(self.stages.slots):
                yield f"const real *late{k} = L{k} + b * {self._outer(i)}; (void)late{k};"

    def _products(self, number: int) -> Iterator[str]:
        """Give the lines of the products after a segment: the thread's rows, or its columns of all rows."""
        made = self.text.after(number)
        if made:
            yield "MEET"
        for index in made:
            product, slot, width = self.stages.products[index], self.stages.slots.index(index), self._outer(index)
            direct = self.stages.direct(index)
            rows, wide = (f"I{index}", product.rows.size) if direct is None else (f"now[{direct}]", self.state[direct])
            found, apart = f"L{slot}", str(width)
            if self.stages.space == "saved":
                found, apart = f"(keep ? saved_{slot} + t * {width} : saved_{slot})", f"(keep ? T * {width} : {width})"
            yield from _product(product, index, rows, wide, found, apart)
        if made:
            yield "MEET"


def _product(product: Product, index: int, rows: str, width: int, found: str, apart: str) -> Iterator[str]:
    inner, outer = product.inner, product.outer
    yield f"for (long g = 0; g < {product.groups}; g++) {{"
    yield f"    const long all = panels({outer}), first = columns ? PART(all, id) : 0;"
    yield "    const long last = columns ? PART(all, id + 1) : all;"
    yield f"    product(R1 - R0, {outer}, {inner}, {rows} + R0 * {width} + g * {inner}, {width},"
    yield f"            packed{index} + g * all * {inner} * LANES,"
    yield f"            {found} + g * {outer} + R0 * {apart}, {apart}, first, last);"
    yield "}"


def _copy(to: str, source: str, width: int | str) -> str:
    return f"memcpy({to}, {source}, {width} * sizeof(real));"


def _zero(to: str, width: int) -> str:
    return f"memset({to}, 0, {width} * sizeof(real));"
