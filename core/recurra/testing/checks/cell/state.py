"""What a cell does with its state.

Nothing that is given is changed, nothing is hidden, and what is detached is cut.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State, detach
from recurra.testing.belongings import unchanged
from recurra.testing.calls import (
    BRIEF,
    SLOPE,
    allowed,
    called,
    can,
    copied,
    finest,
    leaves,
    named,
    precisions,
    ready,
    slopes,
)
from recurra.testing.check import Broken, Measured, check
from recurra.testing.measure import EXACT, gaps, worst
from recurra.testing.subjects.cell import CellSubject


@check("C10", "nothing changed, nothing hidden", "cell", firm=True)
def nothing_changed_nothing_hidden(subject: CellSubject) -> Measured:
    """A call writes on nothing that it is given and keeps nothing on the module: asked again, it
    answers the same.

    Inputs, state and flags keep their values and are not even written on with the same ones;
    weights, buffers and attributes stay; a second call, after one on other inputs, gives the same
    bits and leaves the first answer alone. A state on the module mixes up the streams of two users
    and is in no checkpoint; a state that is written in place breaks beam search, and backward. To
    mend it: return new tensors, and put what lasts into the state.
    """
    dtype = finest(subject)
    findings = []
    for path in subject.paths():
        cell = subject.cell(dtype=dtype, path=path)
        x = subject.x(3, 5, dtype=dtype)
        arguments = [x, *_flags(subject)]
        other = subject.x(3, 5, dtype=dtype, salt=5)
        starts = [
            (subject.start(cell, 3, dtype=dtype), False),
            (subject.fresh(cell, x), True),
            (None, False),
        ]
        for start, training in starts:
            with torch.set_grad_enabled(training):
                first = _untouched(cell, arguments, start)
                copies = [value.clone() for value in first]

                # Between two equal calls others are made, on other inputs.
                cell.train(mode=training)
                more = partial(called, cell, other, None, *_flags(subject))
                unchanged(cell, more, named(cell, "a call"))
                value = gaps(first, copies)
                what = named(cell, "an answer, after another call")
                findings.append(Measured(value, EXACT, what))

                cell.eval()
                second = _untouched(cell, arguments, start)
                value = gaps(second, copies)
                findings.append(Measured(value, EXACT, named(cell, "the same call again")))
    return worst(findings)


def _flags(subject: CellSubject) -> list[Tensor | None]:
    """Return `reset` flags `[3, 5]` and `lengths` `[3]`.

    Each is None where the cell lacks what it is for.
    """
    reset = lengths = None
    if can(subject, "resets"):
        reset = torch.zeros(3, 5, dtype=torch.bool)
        reset[1, 2] = True
    if can(subject, "lengths"):
        lengths = torch.tensor([5, 4, 0])
    return [reset, lengths]


def _untouched(
    cell: Cell[Any], arguments: Sequence[Tensor | None], start: State | None
) -> list[Tensor]:
    """Return what a call, and a step, give.

    Raises `Broken` if one of them writes on what it is given: inputs, resets, lengths or state.
    """
    watched = [value for value in (*arguments, *(start or ())) if value is not None]
    before = [(value.clone(), value._version) for value in watched]
    x, reset, lengths = arguments
    assert x is not None

    y, after = called(cell, x, start, reset, lengths)
    answers = [y, *after]
    if start is not None:
        y_t, state = cell.step(x[:, 0], start)
        answers += [y_t, *state]

    # The version counts what is written, even where the same numbers are written again.
    for value, (old, version) in zip(watched, before, strict=True):
        if value._version != version or not torch.equal(value, old):
            shape = list(value.shape)
            raise Broken(f"{named(cell)}: the call writes on a tensor {shape} that it is given")
    return answers


@check("C12", "truncated back-propagation", "cell", firm=True)
def truncated_back_propagation(subject: CellSubject) -> Measured:
    """Nothing flows through a detached state: exactly 0. A chain that is not detached has the
    gradients of the whole.

    Cutting the state at the end of a window is how long sequences are trained. A graph that lives
    on elsewhere makes the second backward fail, or the memory grow with the sequence; a state that
    is cut already inside the cell makes a task of long memory unlearnable, and nothing else shows
    it. To mend it: no `detach`, `.data` or cache between the state given and the state returned.
    """
    subject.needs("carry")
    findings = []
    for cell, x, start in ready(subject, 2, finest(subject)):
        at = x.shape[1] // 2
        x = x.requires_grad_()
        state = leaves(start)
        early, late = x[:, :at].contiguous(), x[:, at:].contiguous()

        _, between = called(cell, early, state)
        y, after = called(cell, late, detach(between))
        of_x, *others = slopes([y, *after], x, state, cell)
        # Those of the weights stay: the second part has its own.
        crossed = [of_x[:, :at], *others[: len(state)]]
        nothing = [torch.zeros_like(grad) for grad in crossed]
        leaked = gaps(crossed, nothing)
        findings.append(Measured(leaked, EXACT, named(cell, "gradient through a detached state")))

        first, between = called(cell, early, state)
        second, after = called(cell, late, between)
        joined = torch.cat([first, second], dim=1)
        chain = slopes([joined, *after], x, state, cell)
        y, last = called(cell, x, state)
        whole = slopes([y, *last], x, state, cell)
        value = gaps(chain, whole, "gradient")
        bound = allowed(x.dtype, x.shape[1], SLOPE)
        findings.append(Measured(value, bound, named(cell, "gradient of the chain")))
    return worst(findings)


@check("C13", "initial state", "cell")
def initial_state(subject: CellSubject) -> Measured:
    """`initial_state` follows batch, device and type; no state means that state; one that is
    learned has a gradient.

    Without a state a cell answers to the bit, gradients too, as with its initial one. A start of
    zeros beside a learned one, or a learned start that is detached, trains without a word and
    learns nothing; one that is always in float32 or on the CPU fails on the first other machine. To
    mend it: make the state from `batch_size`, `device` and `dtype` and from weights that keep their
    graph, and leave `state=None` to the engine.
    """
    for dtype in precisions(subject):
        _follows(subject.cell(dtype=dtype), dtype)
    _learns(subject.cell(dtype=finest(subject)), subject.generator(13))

    # To the bit: with no state, the engine is to take just the initial one.
    findings = []
    for path in subject.paths():
        without = _begun(subject, path, explicit=False)
        explicit = _begun(subject, path, explicit=True)
        value = gaps(without, explicit)
        what = f"path {path}, no state against the initial one"
        findings.append(Measured(value, EXACT, what))
    return worst(findings)


def _begun(subject: CellSubject, path: str, explicit: bool) -> list[Tensor]:
    """Return outputs, state and gradients of a new cell's first window.

    Its initial state is given where it is `explicit`; else there is none.
    """
    dtype = finest(subject)
    cell = subject.cell(dtype=dtype, path=path)
    x = subject.x(3, BRIEF, dtype=dtype).requires_grad_()
    start = subject.fresh(cell, x) if explicit else None
    y, after = called(cell, x, start)

    values = [y, *after]
    gradients = slopes(values, x, (), cell)
    return [value.detach() for value in values] + gradients


def _follows(cell: Cell[Any], dtype: torch.dtype) -> None:
    """Raise `Broken` unless the initial state has the batch, type and device asked for."""
    for device, batch in product(("cpu", "meta"), (1, 3)):
        module = cell if device == "cpu" else copy.deepcopy(cell).to(device)
        state = module.initial_state(batch, device=torch.device(device), dtype=dtype)
        labels = getattr(state, "_fields", ())
        if not (isinstance(state, tuple) and labels):
            raise Broken(f"initial_state gives {type(state).__name__}, not a NamedTuple of tensors")

        for label, field in zip(labels, state, strict=True):
            where = f"initial_state for B = {batch}, {dtype}, {device}: {label}"
            where = where.replace("torch.", "")
            _is_of(field, batch, device, dtype, where)


def _is_of(field: Any, batch: int, device: str, dtype: torch.dtype, where: str) -> None:
    """Raise `Broken` unless a field of a state has this batch, device and type."""
    if not isinstance(field, Tensor):
        raise Broken(f"{where} is {type(field).__name__}, not a tensor")
    if not field.dim() or field.shape[0] != batch:
        raise Broken(f"{where} has shape {list(field.shape)}, not [{batch}, ...]")

    # Whole numbers that count have no type of numbers to follow.
    strayed = field.device.type != device
    mistyped = field.is_floating_point() and field.dtype != dtype
    if strayed or mistyped:
        kind = str(field.dtype).removeprefix("torch.")
        raise Broken(f"{where} is {kind} on {field.device.type}")


def _learns(cell: Cell[Any], generator: torch.Generator) -> None:
    """Raise `Broken` if the initial state changes with a weight and has no gradient there."""
    for name, weight in cell.named_parameters():
        if not _moves_start(cell, weight, generator):
            continue
        graphs = [field.sum() for field in _drawn(cell) if field.requires_grad]
        grad = None
        if graphs:
            grad = torch.autograd.grad(graphs, weight, allow_unused=True)[0]
        if grad is None or not grad.any():
            raise Broken(f"the initial state depends on {name} and has no gradient there")


@torch.no_grad()
def _moves_start(cell: Cell[Any], weight: Tensor, generator: torch.Generator) -> bool:
    """Tell whether the initial state changes when a weight does; the weight is put back."""
    old = weight.detach().clone()
    before = copied(_drawn(cell))
    noise = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
    weight.add_(noise.to(weight))
    moved = gaps(_drawn(cell), before) > 0
    weight.copy_(old)
    return moved


def _drawn(cell: Cell[Any]) -> State:
    """Return the initial state of two rows."""
    weight = next(cell.parameters())
    state: State = cell.initial_state(2, device=weight.device, dtype=weight.dtype)
    return state
