"""What a cell does with its state: nothing that is given is changed, nothing is hidden, and what is
detached is cut.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any, cast

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
    found = []
    dtype = finest(subject)
    for path in subject.paths():
        cell = subject.cell(dtype=dtype, path=path)
        given = [subject.x(3, 5, dtype=dtype), *_flags(subject)]
        other = subject.x(3, 5, dtype=dtype, salt=5)
        starts = [
            subject.start(cell, 3, dtype=dtype),
            subject.fresh(cell, subject.x(3, 5, dtype=dtype)),
            None,
        ]
        for start, grad in zip(starts, (False, True, False), strict=True):
            with torch.set_grad_enabled(grad):
                first = _untouched(cell, given, start)
                kept = [value.clone() for value in first]
                more = partial(called, cell.train(mode=grad), other, None, *_flags(subject))
                unchanged(cell, more, named(cell, "a call"))
                found.append(
                    Measured(gaps(first, kept), EXACT, named(cell, "an answer, after another call"))
                )
                second = _untouched(cell.eval(), given, start)
                found.append(
                    Measured(gaps(second, kept), EXACT, named(cell, "the same call again"))
                )
    return worst(found)


def _flags(subject: CellSubject) -> list[Tensor | None]:
    """Return `reset` flags `[3, 5]` and `lengths` `[3]`, each None where the cell lacks what it is
    for.
    """
    reset = torch.zeros(3, 5, dtype=torch.bool)
    reset[1, 2] = True
    return [
        reset if can(subject, "resets") else None,
        torch.tensor([5, 4, 0]) if can(subject, "lengths") else None,
    ]


def _untouched(
    cell: Cell[Any], given: Sequence[Tensor | None], start: State | None
) -> list[Tensor]:
    """Return what a call, and a step, give. Raises `Broken` if one of them writes on what it is
    given.
    """
    watched = [value for value in (*given, *(start or ())) if value is not None]
    before = [(value.clone(), value._version) for value in watched]
    x, reset, lengths = given
    assert x is not None
    y, after = called(cell, x, start, reset, lengths)
    answers = [y, *after]
    if start is not None:
        y_t, state = cell.step(x[:, 0], start)
        answers += [y_t, *state]
    for value, (old, version) in zip(watched, before, strict=True):
        if value._version != version or not torch.equal(value, old):
            raise Broken(
                f"{named(cell)}: the call writes on a tensor {list(value.shape)} that it is given"
            )
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
    found = []
    for cell, x, start in ready(subject, 2, finest(subject)):
        at = x.shape[1] // 2
        x, state = x.requires_grad_(), leaves(start)
        early, late = (part.contiguous() for part in (x[:, :at], x[:, at:]))
        _, between = called(cell, early, state)
        y, after = called(cell, late, detach(between))
        of_x, *others = slopes([y, *after], x, state, cell)
        crossed = [of_x[:, :at], *others[: len(state)]]
        leaked = gaps(crossed, [torch.zeros_like(grad) for grad in crossed])
        found.append(Measured(leaked, EXACT, named(cell, "gradient through a detached state")))

        first, between = called(cell, early, state)
        second, after = called(cell, late, between)
        y, last = called(cell, x, state)
        chain = slopes([torch.cat([first, second], dim=1), *after], x, state, cell)
        whole = slopes([y, *last], x, state, cell)
        value = gaps(chain, whole, "gradient")
        found.append(
            Measured(
                value, allowed(x.dtype, x.shape[1], SLOPE), named(cell, "gradient of the chain")
            )
        )
    return worst(found)


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
    found = []
    for path in subject.paths():
        without, given = (_begun(subject, path, explicit) for explicit in (False, True))
        found.append(
            Measured(gaps(without, given), EXACT, f"path {path}, no state against the initial one")
        )
    return worst(found)


def _begun(subject: CellSubject, path: str, explicit: bool) -> list[Tensor]:
    """Return outputs, state and gradients of a new cell's first window: with its initial state
    given, or with none.
    """
    cell = subject.cell(dtype=finest(subject), path=path)
    x = subject.x(3, BRIEF, dtype=finest(subject)).requires_grad_()
    y, after = called(cell, x, subject.fresh(cell, x) if explicit else None)
    return [value.detach() for value in (y, *after)] + slopes([y, *after], x, (), cell)


def _follows(cell: Cell[Any], dtype: torch.dtype) -> None:
    """Raise `Broken` unless the initial state has the batch, the type and the device that were
    asked for.
    """
    for device, batch in product(("cpu", "meta"), (1, 3)):
        module = cell if device == "cpu" else copy.deepcopy(cell).to(device)
        state = module.initial_state(batch, device=torch.device(device), dtype=dtype)
        labels = getattr(state, "_fields", ())
        if not (isinstance(state, tuple) and labels):
            raise Broken(f"initial_state gives {type(state).__name__}, not a NamedTuple of tensors")
        for label, field in zip(labels, state, strict=True):
            where = f"initial_state for B = {batch}, {dtype}, {device}: {label}".replace(
                "torch.", ""
            )
            if not isinstance(field, Tensor):
                raise Broken(f"{where} is {type(field).__name__}, not a tensor")
            if not field.dim() or field.shape[0] != batch:
                raise Broken(f"{where} has shape {list(field.shape)}, not [{batch}, ...]")
            if field.device.type != device or (field.is_floating_point() and field.dtype != dtype):
                raise Broken(
                    f"{where} is {str(field.dtype).removeprefix('torch.')} on {field.device.type}"
                )


def _learns(cell: Cell[Any], generator: torch.Generator) -> None:
    """Raise `Broken` if the initial state changes with a weight and has no gradient there."""
    for name, weight in cell.named_parameters():
        old = weight.detach().clone()
        with torch.no_grad():
            before = copied(_drawn(cell))
            weight.add_(
                torch.randn(weight.shape, generator=generator, dtype=torch.float64).to(weight)
            )
            moved = gaps(_drawn(cell), before) > 0
            weight.copy_(old)
        if not moved:
            continue
        graphs = [field.sum() for field in _drawn(cell) if field.requires_grad]
        grad = torch.autograd.grad(graphs, weight, allow_unused=True)[0] if graphs else None
        if grad is None or not grad.any():
            raise Broken(f"the initial state depends on {name} and has no gradient there")


def _drawn(cell: Cell[Any]) -> State:
    """Return the initial state of two rows."""
    weight = next(cell.parameters())
    return cast(State, cell.initial_state(2, device=weight.device, dtype=weight.dtype))
