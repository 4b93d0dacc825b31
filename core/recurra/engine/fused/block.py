"""Many steps of generation in one call: a compiled loop round a compiled step.

Each step draws a symbol of each stream from what the step before gave, and reads it; or it feeds
numbers back. A call ends when its steps are made, when all streams have come to one of the
sequences that end them, when the first row is not finite, or when its time is over: so whoever
waits can be interrupted, and given what there is.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from struct import Struct
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.emit_c import ground, typed
from recurra.engine.fused.layout import Arguments, pointers
from recurra.engine.fused.step import Step

SECONDS = 0.015
"""How long a call makes steps; the one that is begun is ended."""
MOST = 1 << 16
"""Symbols, or numbers, of a call, at most; a step is made in any case."""

Ids = NDArray[np.int64]
_integer, _double, _pointer = ctypes.c_int64, ctypes.c_double, ctypes.c_void_p


class Rule(ctypes.Structure):
    """How a symbol is picked: `rule_t` of draw.h."""

    _fields_ = (
        ("temperature", _double),
        ("top_p", _double),
        ("min_p", _double),
        ("penalty", ctypes.c_float),
        ("top_k", _integer),
        ("key", ctypes.c_uint64),
    )


class _Machine(ctypes.Structure):
    """What all calls for so many rows have in common: `machine_t` of draw.h."""

    _fields_ = (
        ("forward", _pointer),
        *((name, _integer) for name in ("rows", "part", "threads", "columns")),
        *((name, _pointer) for name in ("tensors", "matrices", "strides", "tools")),
        ("sequences", _integer),
        *((name, _pointer) for name in ("places", "widths", "tables", "gathered")),
        ("fields", _integer),
        *((name, _pointer) for name in ("starts", "finals", "offsets", "sizes")),
        *((name, _integer) for name in ("room", "output", "width")),
    )


class _Call(ctypes.Structure):
    """What a call is given: `call_t` of draw.h."""

    _fields_ = (
        ("packing", _integer),
        ("steps", _integer),
        ("seconds", _double),
        *((name, _pointer) for name in ("logits", "before", "after", "last")),
        ("drawn", _integer),
        *((name, _pointer) for name in ("seen", "ids")),
        ("stops", _integer),
        *((name, _pointer) for name in ("lengths", "stopping")),
        ("longest", _integer),
        *((name, _pointer) for name in ("tail", "done")),
        ("fed", _integer),
        ("said", _pointer),
        *((name, _integer) for name in ("ill", "made", "parted", "waits")),
        *((name, _integer) for name in ("at", "sound", "drew", "read")),
    )


_SIGNS = {_integer: "q", _double: "d", _pointer: "P"}
_CALL = Struct("@" + "".join(_SIGNS[field[1]] for field in _Call._fields_))
"""All of a call at once, which is written sooner so than field by field."""
NO_STOPS = (0, 0, 0, 0, 0, 0)
"""What a call is given of sequences that end streams, where there are none."""
BEGUN = (0, 0, 0, 0, 0)
"""What a call is given of a step that waits, at its beginning."""
LONG = 1 << 30
"""Multiply-adds of a step above which a call may end within it, for signals to be heard."""
DRAWING = 500
"""What drawing costs a symbol of the vocabulary at most, in multiply-adds."""
NO_IDS: Ids = np.empty((0, 0), np.int64)
"""The symbols of a call that draws none."""


def numpy_type(dtype: torch.dtype) -> type[np.float32 | np.float64]:
    """Return what numbers of a step are to numpy."""
    return np.float64 if dtype == torch.float64 else np.float32


@cache
def drawing(double: bool) -> Any:
    """Return the library that draws, for logits of a type. Raises `Unbuildable`."""
    source = "\n".join([ground(), ground("draw.h")])
    built = library(typed(source, double), "draws of generation")
    built.pick_each.restype = ctypes.c_int
    built.pick_each.argtypes = [
        *(_pointer, _integer, _integer, _pointer, _pointer, ctypes.c_uint64, _integer, _pointer)
    ]
    built.unsound.restype = _integer
    built.unsound.argtypes = [_integer, _integer, _pointer]
    built.steps.restype = _integer
    built.steps.argtypes = [_pointer] * 3
    return built


def picked(rule: Rule, logits: Tensor, seen: Tensor, step: int) -> Ids:
    """Return an id a row for logits `[B, V]` on a CPU; `seen` `[B, V]` marks what has come.

    `step` is how many were drawn before. Raises `Unbuildable` where there is no compiler.
    """
    logits, seen = logits.contiguous(), seen.contiguous()
    if seen.shape != logits.shape or seen.dtype != torch.bool:
        raise ValueError(f"seen is {tuple(seen.shape)} {seen.dtype}, not {tuple(logits.shape)}")
    rows, count = logits.shape
    ids = np.empty(rows, np.int64)
    function = drawing(logits.dtype == torch.float64).pick_each
    places = logits.data_ptr(), seen.data_ptr()
    if function(ctypes.byref(rule), rows, count, *places, step, 1, ids.ctypes.data):
        raise MemoryError
    return ids


@dataclass
class Stops:
    """Sequences of ids that end a stream, and how far each stream has come."""

    sequences: Sequence[Sequence[int]]
    streams: int
    tail: Ids = field(init=False)  # B L: the last ids of each stream, -1 where there are none
    done: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.lengths = np.array([len(each) for each in self.sequences], np.int64)
        self.all = np.array([i for each in self.sequences for i in each], np.int64)
        self.longest = int(self.lengths.max(initial=0))
        self.tail = np.full((self.streams, self.longest), -1, np.int64)
        self.done = np.zeros(self.streams, np.uint8)

    @property
    def arguments(self) -> tuple[int, ...]:
        """What a call is given of them; it writes to the tails, and to who is done."""
        if not self.longest:
            return NO_STOPS
        arrays = self.lengths, self.all, self.tail, self.done
        lengths, whole, tail, done = (array.ctypes.data for array in arrays)
        return len(self.lengths), lengths, whole, self.longest, tail, done

    def note(self, ids: Ids) -> None:
        """Take the next id of each stream, `[B]`."""
        if not self.longest:
            return
        self.tail = np.concatenate([self.tail[:, 1:], ids[:, None]], axis=1)
        for each in self.sequences:
            self.done |= (self.tail[:, -len(each) :] == np.array(each)).all(axis=1)

    @property
    def over(self) -> bool:
        """Whether every stream has ended."""
        return self.longest > 0 and bool(self.done.all())


class Made(NamedTuple):
    """What a call has made."""

    steps: int
    ids: Ids  # count B, of symbols
    seen: Tensor  # B V: which symbols have come
    said: Tensor  # count B F, of numbers
    output: Tensor  # B V: what the last step gives
    state: Tensor
    ill: int  # the first row of the output that is not finite, or -1


class Blocks:
    """Calls of a compiled step."""

    def __init__(self, step: Step) -> None:
        """Compile what draws. Raises `Unbuildable`."""
        self.step = step
        self.steps = drawing(step.dtype == torch.float64).steps
        self.call = _Call()
        self.where = ctypes.addressof(self.call)
        self.none = torch.empty(0)
        self.cost = step.layout.work + DRAWING * step.width_out
        self._of: Arguments | None = None
        self._held: list[Any] = []

    def draw(
        self,
        count: int,
        output: Tensor,
        state: Tensor,
        seen: Tensor,
        rule: Rule,
        drawn: int,
        stops: Stops | None = None,
    ) -> Made:
        """Draw up to `count` symbols of each stream, and read them.

        The first is drawn from `output` `[B, V]`; `state` is that of the step. `drawn` is how many
        numbers were drawn before. `seen` `[B, V]` marks the symbols that have come, and `stops`
        takes those that come. Raises `MemoryError`.
        """
        step, shape = self.step, output.shape
        rows = shape[0]
        if step.every is None or seen.shape != shape or seen.dtype is not torch.bool:
            raise ValueError(f"symbols are drawn of {tuple(shape)}, {tuple(seen.shape)}")
        if count > 1:
            count = max(1, min(count, MOST // rows))
        ids = np.empty((count, rows), np.int64)
        seen = seen.clone(memory_format=torch.contiguous_format)
        with step.lock:
            # `ids.ctypes` makes an object that takes longer than all else here.
            where = ctypes.addressof(ctypes.c_char.from_buffer(ids.data))
            symbols = drawn, seen.data_ptr(), where
            ends = NO_STOPS if stops is None else stops.arguments
            made, last, after = self._run(count, output, state, rule, (*symbols, *ends, 0, 0))
            ill = self.call.ill
        if made < count:
            ids = ids[:made]
        return Made(made, ids, seen, self.none, last, after, ill)

    def turn(self, made: Made, rule: Rule) -> Turn:
        """Return what makes the next steps one by one, in the memory of a call that made some.

        From then on nothing else may hold what the call made.
        """
        return Turn(self, made, rule)

    def feed(self, count: int, output: Tensor, state: Tensor, width: int) -> Made:
        """Feed the first `width` numbers of each output back, up to `count` times.

        What a step reads beside them is 1. Raises `MemoryError`.
        """
        rows, step = len(output), self.step
        if step.every is not None or not 0 < width <= min(step.width, output.shape[1]):
            raise ValueError(f"{width} of {tuple(output.shape)} cannot be fed back")
        count = max(1, min(count, MOST // (rows * width)))
        said = torch.empty(count, rows, width, dtype=step.dtype)
        with step.lock:
            fed = 0, 0, 0, *NO_STOPS, width, said.data_ptr()
            made, last, after = self._run(count, output, state, Rule(), fed)
            ill = self.call.ill
        return Made(made, NO_IDS, self.none, said[:made], last, after, ill)

    def _run(
        self, count: int, output: Tensor, state: Tensor, rule: Rule, more: tuple[int, ...]
    ) -> tuple[int, Tensor, Tensor]:
        """Make steps; return how many, what the last gives, and the state after it."""
        step, (rows, width) = self.step, output.shape
        self.ready(rows)
        room, dtype = step.room, step.dtype
        if state.shape != (room,) or width != step.width_out:
            size = f"{tuple(output.shape)} and {len(state)} numbers"
            raise ValueError(f"a state of {room} numbers and outputs go on, not {size}")
        if output.dtype is not dtype or state.dtype is not dtype:
            raise ValueError(f"outputs and states are {dtype}")

        output, state = output.contiguous(), state.contiguous()
        after, last = torch.empty_like(state), torch.empty_like(output)
        places = output.data_ptr(), state.data_ptr(), after.data_ptr(), last.data_ptr()
        rest = -1, 0, self.long(rows), *BEGUN
        _CALL.pack_into(self.call, 0, step.packing, count, SECONDS, *places, *more, *rest)
        made = self.steps(self.machine, ctypes.addressof(rule), self.where)
        # Where a step takes long, Ctrl-C is heard in between; then all that was made is dropped.
        while made >= 0 and self.call.waits:
            made = self.steps(self.machine, ctypes.addressof(rule), self.where)
        if made < 0:
            raise MemoryError
        if made:
            step.packing = False
        return made, last if made else output, after

    def long(self, rows: int) -> bool:
        """Tell whether a step of so many rows is made in several calls."""
        return rows * self.cost > LONG

    def ready(self, rows: int) -> None:
        """Be ready for calls for so many rows. Whoever calls this holds the lock of the step."""
        self.step.prepare(rows)
        if self.step.later is not self._of:
            self._lay_out(self.step.later)

    def _lay_out(self, arguments: Arguments) -> None:
        """Make what all calls for as many rows have in common."""
        step, rows, part = self.step, self.step.rows, arguments.rows
        tables: list[Tensor] = []
        widths = [step.width]
        if step.every is not None:
            tables = step.tables
            widths = [table.shape[1] for table in tables]
        if any(len(table) < step.width_out for table in tables):
            raise ValueError(f"a step of {len(tables[0])} inputs gives {step.width_out} outputs")
        gathered = [torch.empty(part, width, dtype=step.dtype) for width in widths]
        size = step.dtype.itemsize

        def integers(numbers: Sequence[int]) -> Any:
            return (_integer * max(1, len(numbers)))(*numbers)

        lists = {
            "places": integers(step.reads),
            "widths": integers(widths),
            "tables": pointers(tables),
            "gathered": pointers(gathered),
            "starts": integers([place.start for place in step.starts]),
            "finals": integers([place.final for place in step.starts]),
            "offsets": integers([place.offset // size for place in step.starts]),
            "sizes": integers([place.size // size for place in step.starts]),
            "tensors": arguments.tensors,
            "matrices": arguments.matrices,
            "strides": arguments.strides,
            "tools": arguments.tools,
        }
        machine = _Machine(
            forward=ctypes.cast(step.library.forward, ctypes.c_void_p),
            rows=rows,
            part=part,
            threads=arguments.threads,
            columns=arguments.columns,
            sequences=len(widths),
            fields=len(step.starts),
            room=step.room,
            output=step.place,
            width=step.width_out,
            **{name: ctypes.cast(values, ctypes.c_void_p) for name, values in lists.items()},
        )
        self.machine = ctypes.addressof(machine)
        # What the machine points to lives as long as it does.
        self._held = [machine, lists, tables, gathered]
        self._of = arguments


class Turn:
    """Steps made one by one, in the memory of what a call has made: nothing is made anew.

    `made` counts them, whatever interrupts a call.
    """

    def __init__(self, blocks: Blocks, made: Made, rule: Rule) -> None:
        """Symbols are drawn by a rule where `made` has drawn some; else numbers are fed back."""
        self.blocks = blocks
        self.held = made, rule
        self.rows = len(made.output)
        self.ids = np.empty(self.rows, np.int64)
        fed = made.said.shape[-1] if made.said.dim() == 3 else 0
        self.said = np.empty((self.rows, fed), numpy_type(made.output.dtype))
        self.call = _Call()
        self.where = ctypes.addressof(self.call)
        self.rule = ctypes.addressof(rule)
        output, state = made.output.data_ptr(), made.state.data_ptr()
        drawn = 0, made.seen.data_ptr(), self.ids.ctypes.data
        ends = *NO_STOPS, fed, self.said.ctypes.data, -1, 0, False, *BEGUN
        _CALL.pack_into(self.call, 0, 0, 1, 0.0, output, state, state, output, *drawn, *ends)

    @property
    def made(self) -> int:
        """How many steps were made."""
        return int(self.call.made)

    @property
    def ill(self) -> int:
        """The first row from which nothing could be made, or -1."""
        return int(self.call.ill)

    def draw(self, drawn: int) -> Ids | None:
        """Return the next ids `[B]`, or nothing where they cannot be drawn.

        `drawn` is how many numbers were drawn before. Raises `MemoryError`.
        """
        return self.ids.copy() if self.make(drawn) else None

    def make(self, drawn: int = 0) -> bool:
        """Make a step; tell whether it could be made. Raises `MemoryError`."""
        blocks, call = self.blocks, self.call
        step = blocks.step
        with step.lock:
            blocks.ready(self.rows)
            call.packing, call.drawn = step.packing, drawn
            made = blocks.steps(blocks.machine, self.rule, self.where)
            if made < 0:
                raise MemoryError
            if made:
                step.packing = False
            return bool(made)
