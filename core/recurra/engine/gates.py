"""The gates of a cell, seen while its `step` runs and called as the code of the cell calls them.

A cell is its `step` and says nothing of gates. What torch is asked to squash inside of a step,
whatever function or module it goes through, are its gates; the names are those of the local
variables that hold the results, or of what is squashed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.engine.calls import Call, call_of
from recurra.engine.eager import step_by_step
from recurra.engine.onlooker import Onlooker
from recurra.engine.recurrence import Recurrence, State, map_state, rebuild

Bounds: TypeAlias = tuple[float, float]
"""Between which two numbers a gate lies."""
Shape: TypeAlias = tuple[int, ...]

UNIT: Bounds = (0.0, 1.0)
SYMMETRIC: Bounds = (-1.0, 1.0)
SQUASHING: dict[str, Bounds] = {
    "sigmoid": UNIT,
    "hardsigmoid": UNIT,
    "softmax": UNIT,
    "exp": UNIT,
    "tanh": SYMMETRIC,
}
"""What squashes, as torch's own operations are called, to which all functions and modules lead.

An exponential is a decay where its argument is below 0, as it mostly is in a recurrence.
"""
CLAMPING = {"clamp": (None, None), "hardtanh": (-1, 1)}
"""What keeps numbers between two others, and which these are by default."""
CLAMPS = {(0, 1): UNIT, (-1, 1): SYMMETRIC}
"""Between which two it is a hard sigmoid or a hard tanh."""
LETTERED = ("sigmoid", "hardsigmoid", "tanh", "hardtanh")
"""Whose result goes by the letter of what is squashed, as papers have it: o, of `sigmoid(o)`."""
LONGEST = 32
"""Letters of a call that may stand for a name."""
ROWS = (7, 11, 13, 17, 19, 23)
"""How many equal rows a step is given, so that the axis of the batch is known by its size."""
OWN = Path(__file__).resolve().parents[1]
TORCH = Path(torch.__file__).resolve().parent


class View(NamedTuple):
    """A part of what was squashed at once, by its place in it."""

    size: Shape
    stride: Shape
    offset: int

    def of(self, whole: Tensor) -> Tensor:
        """Return the part."""
        start = whole.storage_offset() + self.offset
        return torch.as_strided(whole, self.size, self.stride, start)


class Named(NamedTuple):
    """A gate: its name, which of a step's results it is, and which part, if not all of it."""

    name: str
    place: int
    part: View | None = None


@dataclass
class Squashed:
    """What a step has squashed: what it was `of`, its `value`, and a copy, as that may change."""

    operation: str
    bounds: Bounds
    of: Tensor
    value: Tensor
    copy: Tensor
    call: Call | None = None

    @property
    def form(self) -> tuple[Any, ...]:
        """What tells it from what is squashed elsewhere in the step."""
        return self.operation, tuple(self.value.shape), self.value.stride()


class Watch(Onlooker):
    """Notes what torch squashes; where it is `called` too, if that is asked for."""

    def __init__(self, called: bool) -> None:
        super().__init__()
        self.called = called
        # While they live, nothing else has their place in memory, by which they are known.
        self._noted: list[tuple[Any, ...]] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run an operation, and note its result if it squashes."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__.strip("_")  # in place it is called `sigmoid_`
        bounds = _bounds(name, args, kwargs or {})
        if bounds is not None and isinstance(result, Tensor) and result.numel():
            call = call_of(sys._getframe(1), TORCH) if self.called else None
            noted = name, bounds, args[0], result, result.detach().clone(), call
            self._noted.append(noted)
        return result

    @property
    def squashed(self) -> list[Squashed]:
        """What was squashed, in its order."""
        return [Squashed(*noted) for noted in self._noted]


def _bounds(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds | None:
    """Return between which numbers an operation squashes, if it does."""
    if name not in CLAMPING:
        return SQUASHING.get(name)
    ends = [*args[1:], *CLAMPING[name][len(args) - 1 :]]
    return CLAMPS.get((kwargs.get("min", ends[0]), kwargs.get("max", ends[1])))


class Local(NamedTuple):
    """A tensor that a local variable holds as its function returns; `own` if it is recurra's."""

    name: str
    value: Tensor
    own: bool


class Locals:
    """The tensors in the local variables of all functions that return meanwhile, inner ones first.

    Those of torch are left out.
    """

    def __init__(self) -> None:
        self.seen: list[Local] = []

    def __enter__(self) -> Locals:
        self._before = sys.getprofile()
        sys.setprofile(self._hear)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(self._before)

    def _hear(self, frame: FrameType, event: str, result: Any) -> None:
        if event != "return":
            return
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(TORCH) or file == Path(__file__):
            return
        own = file.is_relative_to(OWN)
        for name, value in frame.f_locals.items():
            self.seen += [Local(label, tensor, own) for label, tensor in _tensors(name, value)]


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Give the tensors that a variable holds, by itself or in a tuple, a list or a dict."""
    if isinstance(value, Tensor):
        yield name, value
        return
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        pairs = list(zip(value._fields, value, strict=True))
    elif isinstance(value, tuple | list):
        pairs = [(f"{name}[{index}]", item) for index, item in enumerate(value)]
    elif isinstance(value, dict):
        pairs = [(str(key), item) for key, item in value.items()]
    else:
        return
    yield from (pair for pair in pairs if isinstance(pair[1], Tensor))


class WatchedCell:
    """A cell whose steps are noted: the states after each, and the gates of each.

    `step` stands for the cell's own while it reads one row. Where steps squash different things,
    each has its own gates.
    """

    def __init__(self, cell: Recurrence) -> None:
        self._step = cell.step
        self._rows = _rows_of(cell)
        self._plans: dict[tuple[Any, ...], list[Named]] = {}
        self.fields: list[str] = []
        self.bounds: dict[str, Bounds] = {}
        self._states: list[list[NDArray[Any]]] = []
        self._gates: list[dict[str, NDArray[Any]]] = []

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """Take a step of one row, and note it."""
        x = _repeated(x_t, self._rows)
        before = map_state(lambda field: _repeated(field, self._rows), state)
        with Watch(called=False) as watch:
            y, after = self._step(x, before)

        squashed = watch.squashed
        form = tuple(seen.form for seen in squashed)
        if form not in self._plans:
            # A step is pure: it is taken once more, slowly, to see what its variables are called.
            with Watch(called=True) as slow, Locals() as variables:
                output, last = self._step(x, before)
            self._plans[form] = named(slow.squashed, variables.seen, output, last)

        gates: dict[str, NDArray[Any]] = {}
        for name, place, part in self._plans[form]:
            seen = squashed[place]
            value = _row(seen.copy if part is None else part.of(seen.copy), self._rows)
            if value is not None:
                gates[name] = value
                self.bounds.setdefault(name, seen.bounds)
        self._gates.append(gates)
        self.fields = self.fields or list(_names(after))
        self._states.append([_array(field[0]).copy() for field in after])
        return y[:1], rebuild(after, [field[:1] for field in after])

    def states(self) -> dict[str, NDArray[Any]]:
        """Return the fields of the state after each step, `[T, ...]`."""
        return {
            name: np.stack([fields[place] for fields in self._states])
            for place, name in enumerate(self.fields)
        }

    def gates(self) -> dict[str, NDArray[Any]]:
        """Return the gates of each step, `[T, ...]`; nan where a step has no gate of a name."""
        arrays: dict[str, NDArray[Any]] = {}
        for name in self.bounds:
            first = next(step[name] for step in self._gates if name in step)
            nothing = np.full_like(first, np.nan)
            arrays[name] = np.stack([step.get(name, nothing) for step in self._gates])
        return arrays


def named(
    squashed: list[Squashed], variables: list[Local], output: Tensor, after: State
) -> list[Named]:
    """Return the gates of a step by name, of all that it has squashed.

    The first of these counts: a variable of the cell's code that holds the result, or several that
    hold its parts; the variable that was squashed; a variable of recurra's code that holds the
    result; the call as it is written. What is squashed into a state or the output is no gate.
    """
    gates: list[Named] = []
    names: set[str] = set()
    fields = set(_names(after))
    for index, seen in enumerate(squashed):
        if any(_whole(seen.value, given) for given in (output, *after)):
            continue
        for name, part in _called(seen, variables, fields):
            unused = next(
                other
                for count in range(1, len(squashed) + 2)
                if (other := name if count == 1 else f"{name} ({count})") not in names
            )
            names.add(unused)
            gates.append(Named(unused, index, part))
    return gates


def _called(
    seen: Squashed, variables: list[Local], fields: set[str]
) -> list[tuple[str, View | None]]:
    """Return the names of a result, or of its parts."""
    holding = [local for local in variables if _shares(seen.value, local.value)]
    theirs = [local for local in holding if not local.own]
    whole = [local.name for local in theirs if _whole(seen.value, local.value)]
    parts = _parts(seen.value, theirs)
    if parts:
        return parts
    if whole:
        return [(whole[0], None)]
    squashed = "" if seen.call is None else seen.call.squashed(seen.operation)
    if not squashed:
        those = [local.name for local in variables if _whole(seen.of, local.value)]
        squashed = those[0] if those else ""
    if squashed and seen.operation in LETTERED and squashed not in fields:
        return [(squashed, None)]
    ours = [local.name for local in holding if local.own and _whole(seen.value, local.value)]
    if ours:
        return [(ours[0], None)]
    if squashed or seen.call is None or len(seen.call.text) > LONGEST:
        return [(f"{seen.operation}({squashed})" if squashed else seen.operation, None)]
    return [(seen.call.text, None)]


def _parts(whole: Tensor, variables: list[Local]) -> list[tuple[str, View | None]]:
    """Return the parts of a result that variables hold, if there are several, in their order."""
    if whole.numel() * whole.element_size() != whole.untyped_storage().nbytes():
        return []
    found: dict[View, str] = {}
    for name, value, _ in variables:
        if value.numel() < whole.numel():
            offset = int(value.storage_offset() - whole.storage_offset())
            found.setdefault(View(tuple(value.shape), value.stride(), offset), name)
    covered = sum(int(np.prod(part.size)) for part in found)
    if len(found) < 2 or covered != whole.numel():
        return []
    return [(found[part], part) for part in sorted(found, key=lambda part: part.offset)]


def _shares(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors lie in the same memory."""
    if other.is_sparse or not other.numel() or one.device != other.device:
        return False
    return one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()


def _whole(one: Tensor, other: Tensor) -> bool:
    """Tell whether two tensors are the same numbers in memory, perhaps under another shape."""
    same = one.data_ptr() == other.data_ptr() and one.numel() == other.numel()
    return same and _shares(one, other)


def _row(value: Tensor, rows: int) -> NDArray[Any] | None:
    """Return what a gate is for one of so many equal rows; nothing where it is of no row."""
    shape = list(value.shape)
    if rows not in shape:
        return None
    one = value.select(shape.index(rows), 0)
    sizes = [size for size in one.shape if size != 1] or [1]
    return _array(one.reshape(sizes))


def _array(tensor: Tensor) -> NDArray[Any]:
    """Return a tensor as an array; numpy has no bfloat16."""
    own = tensor.detach().cpu()
    array: NDArray[Any] = (own.float() if own.dtype == torch.bfloat16 else own).numpy()
    return array


def _repeated(field: Tensor, rows: int) -> Tensor:
    return field.expand(rows, *field.shape[1:]).contiguous()


def _rows_of(cell: Recurrence) -> int:
    """Return a number of rows that is no size of the cell."""
    tensors = [*cell.parameters(), *(buffer for _, buffer in cell.named_buffers())]
    tensors += cell.initial_state(1, device=torch.device("cpu"), dtype=torch.float32)
    sizes = {size for tensor in tensors for size in tensor.shape}
    return next((rows for rows in ROWS if rows not in sizes), ROWS[0])


def _names(state: State) -> list[str]:
    return list(getattr(state, "_fields", map(str, range(len(state)))))


@contextmanager
def watched(cells: list[Any]) -> Iterator[list[WatchedCell]]:
    """Note all steps of some cells meanwhile, which go step by step."""
    watches = [WatchedCell(cell) for cell in cells]
    try:
        for cell, watch in zip(cells, watches, strict=True):
            cell.step = watch.step
        with step_by_step(cells):
            yield watches
    finally:
        for cell in cells:
            vars(cell).pop("step", None)
