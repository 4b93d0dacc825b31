"""Gradients of a cell: against differences, on every path, of gradients, of a scan.

And every parameter has one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.engine.context import lagged
from recurra.engine.recurrence import Scan, State
from recurra.testing.calls import (
    BRIEF,
    LONG,
    SLOPE,
    allowed,
    called,
    finest,
    leaves,
    named,
    ready,
    run,
    slopes,
)
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.checks.cell.compared import traced
from recurra.testing.measure import EXACT, gap, worst
from recurra.testing.slopes import SLOPE as DIFFERENCE
from recurra.testing.slopes import slope_gap
from recurra.testing.subjects.cell import CellSubject

SCAN = 1e-10
"""Bound in float64 of a scan that is cut and joined in another order."""
LONGEST = 400
"""Steps of the scan that is cut: more than any window on which it is compared with the loop."""
DIRECTIONS = 2
"""Random directions for each tensor."""

Pairs: TypeAlias = tuple[Tensor, Tensor]
"""a and b of h -> a * h + b, `[B, T, ...]`."""


@check("C14", "gradients are slopes", "cell", firm=True)
def gradients_are_slopes(subject: CellSubject) -> Measured:
    """The gradient is the derivative: for random directions d, <grad f, d> = (f(p + e d) - f(p - e
    d)) / 2e.

    f is a random sum of the outputs and the final state of calling `step` five times, in float64; p
    is, one after the other, the input, each field of the initial state and each parameter. A
    `detach`, a `.data`, an in-place operation or a backward written by hand goes wrong here and
    nowhere else: outputs are right, the loss falls, and never as far as it should. To mend it: keep
    every tensor of the recurrence in the graph, and correct the backward that the message names.
    """
    cell = subject.cell()
    x = subject.x(2, 5).requires_grad_()
    start = subject.start(cell, 2, dtype=torch.float64)
    state = leaves(start)

    def function() -> Tensor:
        return _flat(*subject.stepped(cell, x, state))

    # One leaf at a time, so that a finding names it.
    findings = []
    for name, leaf in _leaves(cell, x, state).items():
        value = slope_gap(function, [leaf], subject.generator(3), DIRECTIONS)
        findings.append(Measured(value, DIFFERENCE, f"gradient of {name}"))
    return worst(findings)


@check("C15", "every path has the gradients of step", "cell", firm=True)
def paths_have_the_gradients(subject: CellSubject) -> Measured:
    """On every execution path the gradients equal those of calling `step` in a loop, in float64
    within 1e-8.

    Compared are the gradients of one number made of the outputs and the final state, with respect
    to the input, each field of an initial state that is not zero, and every parameter; over 70
    steps where a path may cut the window. A path may give the right values and cut the graph, or
    forget what reaches it through the final state: the model then trains to something else than it
    is. To mend it: correct the path's backward, or leave its forward to autograd.
    """
    dtype = finest(subject)
    findings = []
    for cell, x, start in ready(subject, 3, dtype, BRIEF, LONG):
        whole = traced(run, cell, x, start)
        loop = traced(subject.stepped, cell, x, start)
        fields = [f"state {label}" for label in _labels(start)]
        names = ["the input", *fields, *_learning(cell)]

        # One by one, so that a finding says which weight's gradient is wrong.
        bound = allowed(x.dtype, x.shape[1], SLOPE)
        for name, grad, right in zip(names, whole.gradients, loop.gradients, strict=True):
            value = gap(grad, right, f"the gradient of {name}")
            what = named(cell, f"gradient of {name}")
            findings.append(Measured(value, bound, what))
    return worst(findings)


@check("C16", "gradients have gradients", "cell")
def gradients_have_gradients(subject: CellSubject) -> Measured:
    """On every path the derivative of a gradient is its slope: <grad <grad f, v>, d> equals a
    central difference.

    f is as in C14, and v and d are random directions in all of the input, the initial state and the
    parameters. Gradient penalties, meta-learning and second-order methods need it, and a backward
    written by hand that is not itself made of differentiable operations gives zeros there,
    silently. To mend it: write the backward with torch's operations on the saved tensors, or
    declare `lacks = ("double_backward",)`.
    """
    subject.needs("double_backward")
    findings = []
    for path in subject.paths():
        cell = subject.cell(path=path)
        x = subject.x(2, 5).requires_grad_()
        start = subject.start(cell, 2, dtype=torch.float64)
        state = leaves(start)
        tensors = list(_leaves(cell, x, state).values())

        # One way for all leaves at once: second derivatives that mix two of them count too.
        draw = subject.generator(5)
        ways = []
        for tensor in tensors:
            ways.append(torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype))
        push = _Push(cell, x, state, tensors, ways, subject.generator(4))
        value = slope_gap(push, tensors, subject.generator(6), DIRECTIONS)
        findings.append(Measured(value, DIFFERENCE, named(cell)))
    return worst(findings)


class _Push:
    """The gradient along some ways of a random sum of what a cell gives.

    It is a function of the cell's leaves, `tensors`, each of which has its way.
    """

    def __init__(
        self,
        cell: Cell[Any],
        x: Tensor,
        state: State,
        tensors: list[Tensor],
        ways: list[Tensor],
        draw: torch.Generator,
    ) -> None:
        self.cell, self.x, self.state = cell, x, state
        self.tensors, self.ways = tensors, ways
        with torch.no_grad():
            answer = _flat(*run(cell, x, state))
        self.weights = torch.randn(answer.shape, generator=draw, dtype=answer.dtype)

    def __call__(self) -> Tensor:
        """Return it, `[1]`, with its graph."""
        # `slope_gap` asks for values without gradients: these are made of gradients.
        with torch.enable_grad():
            answer = _flat(*run(self.cell, self.x, self.state))
            total = (answer * self.weights).sum()
            grads = torch.autograd.grad(
                total, self.tensors, create_graph=True, materialize_grads=True
            )
            pairs = zip(grads, self.ways, strict=True)
            parts = [(grad * way).sum() for grad, way in pairs]
            return torch.stack(parts).sum().unsqueeze(0)


@check("C17", "a scan can be cut anywhere", "cell")
def scan_is_associative(subject: CellSubject) -> Measured:
    """With (a2, b2) after (a1, b1) = (a2 a1, a2 b1 + b2), every order of joining the pairs gives
    what `step` gives.

    The coefficients of a window of 400 steps are joined as a balanced tree, as halves of uneven
    length and from the right; outputs and final state equal those of calling `step` in a loop
    within 1e-10, in float64. This is what lets time be parallel: it breaks where a coefficient
    depends on how long the window is or on where it is cut, and where products of a overflow. To
    mend it: compute each step's a and b from that step's inputs alone, with |a| <= 1.
    """
    dtype = finest(subject)
    cell = subject.cell(dtype=dtype)
    scan = cell.scan()
    if scan is None:
        raise NotApplicable("it is not a scan")
    x = subject.x(2, LONGEST, dtype=dtype)
    start = subject.start(cell, 2, dtype=dtype)

    bound = allowed(dtype, LONGEST, SCAN)
    findings = []
    with torch.no_grad():
        expected, last = subject.stepped(cell, x, start)
        inputs = x
        if scan.context:
            inputs, *_ = lagged(x, start[1], None, None)
        a, b = _coefficients(scan, inputs)
        h = start[0]
        if scan.paired:
            h = torch.view_as_complex(h.contiguous())

        for name, split in SPLITS.items():
            # Joined up to step t, (A, B) gives the state after t from the first one: A h + B.
            products, sums = join(a, b, split)
            states = products * h.unsqueeze(1) + sums
            if scan.paired:
                states = torch.view_as_real(states)

            y = scan.readout(states, inputs)
            of_output = gap(y, expected, "the output")
            of_state = gap(states[:, -1], last[0], "state 0")
            value = max(of_output, of_state)
            findings.append(Measured(value, bound, f"joined {name}"))
    return worst(findings)


SPLITS: dict[str, Callable[[int], int]] = {
    "as a tree": lambda length: length // 2,
    "as uneven halves": lambda length: max(1, length // 3),
    "from the right": lambda length: max(1, length - 1 if length < 9 else length - 8),
}
"""Where a stretch of a scan is cut in two."""


def _coefficients(scan: Scan, x: Tensor) -> Pairs:
    """Return a and b, of one shape, complex where they are pairs."""
    a, b = scan.coefficients(x)
    if scan.paired:
        a = torch.view_as_complex(a.contiguous())
        b = torch.view_as_complex(b.contiguous())
    return a.expand_as(b), b


def join(a: Tensor, b: Tensor, split: Callable[[int], int]) -> Pairs:
    """Return the pairs of all steps up to each step, joined in the order that `split` gives."""
    length = a.shape[1]
    if length == 1:
        return a, b

    cut = split(length)
    a1, b1 = join(a[:, :cut], b[:, :cut], split)
    a2, b2 = join(a[:, cut:], b[:, cut:], split)

    # Each pair of the second part comes after the last pair of the first:
    # a2 (end_a h + end_b) + b2 = (a2 end_a) h + (a2 end_b + b2).
    end_a, end_b = a1[:, -1:], b1[:, -1:]
    products = torch.cat([a1, a2 * end_a], dim=1)
    sums = torch.cat([b1, a2 * end_b + b2], dim=1)
    return products, sums


@check("C18", "every parameter learns, and all that is kept is declared", "cell")
def parameters_learn(subject: CellSubject) -> Measured:
    """Every parameter gets a gradient that is finite and not zero, and the module keeps no tensor
    but its own.

    A window of 9 steps from the initial state goes backward. Then every module is searched for
    tensors that are neither parameter nor buffer, and for modules inside lists and dictionaries:
    `.to` does not move them, `state_dict` does not save them, the optimizer does not see them. To
    mend it: remove the parameter that nothing reads; use `nn.Parameter`, `register_buffer`,
    `nn.ModuleList`.
    """
    dtype = finest(subject)
    cell = subject.cell(dtype=dtype)
    frozen = [name for name, weight in cell.named_parameters() if not weight.requires_grad]
    if frozen:
        raise Broken(f"parameter {frozen[0]} asks for no gradient; what is not learned is a buffer")

    x = subject.x(3, BRIEF, dtype=dtype).requires_grad_()
    y, after = called(cell, x, None)
    # The first gradient is the input's; no state is given that could have one.
    _, *grads = slopes([y, *after], x, (), cell)
    for name, grad in zip(_learning(cell), grads, strict=True):
        if not torch.isfinite(grad).all():
            raise Broken(f"the gradient of parameter {name} is not finite")
        if not grad.any():
            raise Broken(
                f"parameter {name} gets no gradient: nothing of the output or the state depends"
                " on it"
            )

    _nothing_stray(cell)
    return Measured(0.0, EXACT, f"{len(_learning(cell))} parameters")


OWN = ("_parameters", "_buffers", "_modules")
"""Where a module keeps what is declared."""


def _nothing_stray(cell: Cell[Any]) -> None:
    """Raise `Broken` if a module keeps what it does not declare."""
    for where, module in cell.named_modules():
        for name, value in vars(module).items():
            stray = "" if name in OWN else _stray(value)
            if stray:
                place = f"{where}.{name}" if where else name
                raise Broken(f"{place} holds {stray}")


def _stray(value: Any, inside: bool = False) -> str:
    """Return what an attribute keeps that a module should declare, or nothing.

    A module that is an attribute is declared by that; one `inside` a list or a table is not.
    """
    if isinstance(value, Tensor):
        return "a tensor that is neither parameter nor buffer"
    if isinstance(value, nn.Module):
        return "a module that is not declared; use nn.ModuleList or nn.ModuleDict" if inside else ""

    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple | set):
        return ""
    for part in value:
        stray = _stray(part, True)
        if stray:
            return stray
    return ""


def _labels(state: State) -> tuple[str, ...]:
    """Return the names of a state's fields."""
    numbers = [str(index) for index in range(len(state))]
    return tuple(getattr(state, "_fields", numbers))


def _learning(cell: Cell[Any]) -> list[str]:
    """Return the names of the weights that ask for gradients."""
    return [name for name, weight in cell.named_parameters() if weight.requires_grad]


def _leaves(cell: Cell[Any], x: Tensor, state: State) -> dict[str, Tensor]:
    """Return by its name all that a cell has gradients for."""
    tensors = {"the input": x}
    for label, field in zip(_labels(state), state, strict=True):
        tensors[f"state {label}"] = field
    tensors |= cell.named_parameters()
    return {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}


def _flat(y: Tensor, state: State) -> Tensor:
    """Return outputs and the state's real numbers as one vector."""
    parts = [part for part in (y, *state) if part.is_floating_point()]
    return torch.cat([part.reshape(-1) for part in parts])
