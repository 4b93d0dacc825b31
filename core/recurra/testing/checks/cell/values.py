"""What a cell computes: shapes, step against window, chunks, causality, layouts in memory."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise, product
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State, map_state
from recurra.testing.calls import (
    LONG,
    SHORT,
    allowed,
    called,
    can,
    copied,
    finest,
    leaves,
    named,
    precisions,
    ready,
    run,
    slopes,
)
from recurra.testing.check import Broken, Measured, check
from recurra.testing.checks.cell.compared import difference
from recurra.testing.measure import EXACT, ROWS, gap, gaps, worst
from recurra.testing.subjects.cell import CellSubject

LONGEST = 300
"""Steps of the window that is compared with the loop: kernels use chunks of 64 to 256."""
LOSS = 10.0
"""How many times what the steps lose of float64 two right forms may differ by."""


@check("C01", "shapes and types", "cell", firm=True)
def shapes_and_types(subject: CellSubject) -> None:
    """Outputs are `[B, T, output_size]`, the state after has the shapes of the one before, types
    follow the input.

    For B of 1 and 3, T of 1, 2 and 17, in every type and on every path, and for one `step`. A
    window of no steps gives outputs of no steps, and the state to the bit. A `squeeze` that takes
    the batch along when B = 1 and a counter that turns into a real number after the first step are
    the usual faults: the state then fits no checkpoint and no other window. To mend it: give every
    field the shape and the type that `initial_state` gives it.
    """
    for dtype, path in product(precisions(subject), subject.paths()):
        cell = subject.cell(dtype=dtype, path=path)
        for batch, steps in product((1, 3), (0, 1, 2, SHORT)):
            _shaped(subject, cell, batch, steps, dtype)


def _shaped(
    subject: CellSubject, cell: Cell[Any], batch: int, steps: int, dtype: torch.dtype
) -> None:
    """Raise `Broken` unless outputs and states of a window `[B, T]` have their shapes and types."""
    where = named(cell, f"B = {batch}, T = {steps}, {_name(dtype)}")
    x = subject.x(batch, steps, dtype=dtype)
    start = subject.start(cell, batch, dtype=dtype)
    fresh = subject.fresh(cell, x)
    # A few calls of `step` have led there.
    _have_types(start, fresh, dtype, f"{where}: after a few steps")

    with torch.no_grad():
        y, after = run(cell, x, start)
    _fits(y, (batch, steps, cell.output_size), dtype, f"{where}: the output")
    _have_types(after, fresh, dtype, where)
    if steps == 0 and gaps(after, start, "state") > 0:
        raise Broken(f"{where}: a window of no steps changes the state")


def _name(dtype: torch.dtype) -> str:
    """Return how a type is called, as in `float32`."""
    return str(dtype).removeprefix("torch.")


def _fits(value: Any, shape: tuple[int, ...], dtype: torch.dtype, what: str) -> None:
    """Raise `Broken` unless a value is a tensor of this shape and type."""
    if not isinstance(value, Tensor):
        raise Broken(f"{what} is {type(value).__name__}, not a tensor")
    if tuple(value.shape) != shape:
        raise Broken(f"{what} has shape {list(value.shape)}, not {list(shape)}")
    if value.dtype != dtype:
        raise Broken(f"{what} is {_name(value.dtype)}, not {_name(dtype)}")


def _have_types(state: State, like: State, dtype: torch.dtype, where: str) -> None:
    """Raise `Broken` unless a state is of the same type as `like`, field by field.

    Its real numbers are of type `dtype`.
    """
    labels = getattr(state, "_fields", ())
    if type(state) is not type(like) or not labels:
        kind = type(state).__name__
        raise Broken(f"{where}: the state is {kind}, not the NamedTuple of initial_state")

    for label, new, old in zip(labels, state, like, strict=True):
        real = isinstance(old, Tensor) and old.is_floating_point()
        expected = dtype if real else old.dtype
        _fits(new, tuple(old.shape), expected, f"{where}: state {label}")


@check("C02", "step equals forward", "cell", firm=True)
def step_equals_forward(subject: CellSubject) -> Measured:
    """Calling `step` in a loop and calling the cell on the window give the same outputs and the
    same final state.

    On every execution path, from a state that is not zero; in float64 within 1e-9, in float32
    within a bound that grows with the steps, and with what the steps themselves lose of float64.
    Training runs the window and generation runs the steps: where they differ, a model that trains
    well generates nonsense. To mend it: `step` is the specification; correct the other form.
    """
    findings = []
    for dtype in precisions(subject):
        fine = dtype == finest(subject)
        longer = LONGEST if fine else LONG
        for cell, x, start in ready(subject, 3, dtype, SHORT, longer):
            bound = allowed(dtype, x.shape[1])
            with torch.no_grad():
                answer = run(cell, x, start)
                expected = subject.stepped(cell, x, copied(start))
                # What `step` itself loses by rounding, the window may lose as well.
                if not fine:
                    bound += LOSS * _lost(subject, cell, x, start, expected[0])
            value = difference(answer, expected)
            what = named(cell, _name(dtype))
            findings.append(Measured(value, bound, what))
    return worst(findings)


def _lost(subject: CellSubject, cell: Cell[Any], x: Tensor, start: State, y: Tensor) -> float:
    """Return how far outputs in a narrow type are from those of the same steps in float64."""
    wide = copy.deepcopy(cell).double()
    start = map_state(Tensor.double, start)
    exact, _ = subject.stepped(wide, x.double(), start)
    return gap(y.double(), exact, "the output")


@check("C03", "chunks equal the whole", "cell", firm=True)
def chunks_equal_the_whole(subject: CellSubject) -> Measured:
    """A window cut anywhere, with the state carried over the cuts, gives the outputs and the final
    state of the whole.

    Pieces of one step, of a few, and drawn at random, from a state that is not zero, on every path;
    the bound counts what steps in float32 lose of float64, as for C02. Whatever a cell needs of the
    past must be in its state: a convolution that forgets its tail in a window shorter than its
    kernel, as those of published state space models did, is right in training and wrong in every
    stream. To mend it: look at what the first steps of a window read, and carry that.
    """
    subject.needs("carry")
    findings = []
    for dtype in precisions(subject):
        for cell, x, start in ready(subject, 2, dtype, SHORT):
            steps = x.shape[1]
            bound = allowed(dtype, steps)
            with torch.no_grad():
                expected = run(cell, x, start)
                # Whole and pieces each lose of float64 what the steps lose.
                if dtype != finest(subject):
                    bound += LOSS * _lost(subject, cell, x, start, expected[0])

                for cuts in _cuts(steps, subject.generator(3)):
                    value = difference(_in_chunks(cell, x, start, cuts), expected)
                    what = named(cell, f"cut at {cuts}")
                    findings.append(Measured(value, bound, what))
    return worst(findings)


def _cuts(steps: int, generator: torch.Generator) -> Iterator[list[int]]:
    """Give where a window is cut: early and close together, late, step by step, at random."""
    yield [1, 3, 4, 14]
    yield [steps - 1]
    yield list(range(3, 12))
    places = torch.randperm(steps - 1, generator=generator)[:4] + 1
    yield sorted(places.tolist())


def _in_chunks(
    cell: Cell[Any], x: Tensor, state: State, cuts: Sequence[int]
) -> tuple[Tensor, State]:
    """Return outputs and final state of a window that is run piece by piece."""
    outputs = []
    for low, high in pairwise([0, *cuts, x.shape[1]]):
        y, state = run(cell, x[:, low:high], state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


@check("C04", "causality", "cell", firm=True)
def causality(subject: CellSubject) -> Measured:
    """Inputs from step t on change no bit of the outputs before t, and those outputs have no
    gradient there.

    The later inputs are replaced by others, by 1e6 and by NaN; exactly 0 is allowed. A loss looks
    its best when a model reads the answer, and generation has no future to read: a convolution by
    Fourier transform leaks a little of it, a mask that is laid on after an exponential lets what
    overflows through, and 0 times NaN is NaN. To mend it: read step t and those before; mask before
    the nonlinearity; give a form over the window as `chunkwise`, which the engine keeps from NaN.
    """
    findings = []
    for cell, x, start in ready(subject, 2, finest(subject)):
        steps = x.shape[1]
        fills = {
            "others": subject.x(2, steps, dtype=x.dtype, salt=4),
            "1e6": torch.full_like(x, 1e6),
            "NaN": torch.full_like(x, torch.nan),
        }
        with torch.no_grad():
            whole, _ = run(cell, x, start)
            for at, (kind, fill) in product((1, steps // 2, steps - 1), fills.items()):
                changed = torch.cat([x[:, :at], fill[:, at:]], dim=1)
                y, _ = run(cell, changed, start)
                value = gap(y[:, :at], whole[:, :at], "the output")
                what = named(cell, f"{kind} from step {at} of {steps}")
                findings.append(Measured(value, EXACT, what))

        # Values may be equal by chance, or because a mask multiplies by 0: gradients tell.
        slope = _future_slope(cell, x, start)
        findings.append(Measured(slope, EXACT, named(cell, "the gradient")))
    return worst(findings)


def _future_slope(cell: Cell[Any], x: Tensor, start: State) -> float:
    """Return the greatest gradient that the first outputs have at the inputs after them."""
    at = x.shape[1] // 2
    x = x.clone().requires_grad_()
    state = leaves(start)
    y, _ = run(cell, x, state)
    of_x, *_ = slopes([y[:, :at]], x, state, cell)
    later = of_x[:, at:]
    return gap(later, torch.zeros_like(later))


@check("C11", "layout in memory", "cell")
def layout_in_memory(subject: CellSubject) -> Measured:
    """Views that are transposed, expanded or strided give what their contiguous copies give,
    gradients as well.

    Inputs, state and flags, on every path, in float64 within 1e-12. Batches that come time first
    are transposed, one prompt for many rows is expanded, and the gradient of a sum has stride 0: a
    kernel that reads raw memory takes the wrong numbers, silently. To mend it: `reshape` instead of
    `view`, and `contiguous()` before raw memory is read.
    """
    findings = []
    for cell, x, start in ready(subject, 3, finest(subject)):
        bound = allowed(x.dtype, x.shape[1], ROWS)
        reset = plain = None
        if can(subject, "resets"):
            reset = torch.zeros(x.shape[1], 3, dtype=torch.bool).T
            reset[1, 2] = True
            plain = reset.contiguous()

        with torch.no_grad():
            for kind, see in _VIEWS.items():
                # `called` takes them as they lie, `run` makes contiguous copies of them.
                view, state = see(x), map_state(see, start)
                answer = called(cell, view, state, reset)
                expected = run(cell, view, state, plain)
                value = difference(answer, expected)
                what = named(cell, f"input and state {kind}")
                findings.append(Measured(value, bound, what))

        slope = _spread_slope(cell, x, start)
        findings.append(Measured(slope, bound, named(cell, "a gradient that is expanded")))
    return worst(findings)


def _strided(tensor: Tensor) -> Tensor:
    """Return equal numbers, every second of those in memory."""
    return torch.stack([tensor, tensor.flip(0)], dim=-1)[..., 0]


def _turned(tensor: Tensor) -> Tensor:
    """Return equal numbers, of which rows lie next to each other."""
    return tensor.movedim(0, -1).contiguous().movedim(-1, 0)


_VIEWS: dict[str, Callable[[Tensor], Tensor]] = {
    "transposed": _turned,
    "expanded": lambda tensor: tensor[:1].expand_as(tensor),
    "strided": _strided,
}


def _spread_slope(cell: Cell[Any], x: Tensor, start: State) -> float:
    """Return how gradients differ when the one that arrives is expanded from a number.

    That of a sum is.
    """
    gradients = []
    for spread in (True, False):
        leaf = x.clone().requires_grad_()
        y, _ = run(cell, leaf, start)
        ones = torch.ones_like(y)
        if spread:
            ones = torch.ones((), dtype=y.dtype).expand_as(y)
        tensors = [leaf, *cell.parameters()]
        gradients.append(torch.autograd.grad(y, tensors, ones, materialize_grads=True))
    expanded, plain = gradients
    return gaps(expanded, plain, "gradient")
