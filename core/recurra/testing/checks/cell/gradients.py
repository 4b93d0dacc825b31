"""Gradients of a cell: against differences, on every path, of gradients, of a scan, of every
parameter.
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
    x, state = subject.x(2, 5).requires_grad_(), leaves(subject.start(cell, 2, dtype=torch.float64))
    found = []
    for name, leaf in _leaves(cell, x, state).items():
        value = slope_gap(
            lambda: _flat(*subject.stepped(cell, x, state)),
            [leaf],
            subject.generator(3),
            DIRECTIONS,
        )
        found.append(Measured(value, DIFFERENCE, f"gradient of {name}"))
    return worst(found)


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
    found = []
    for cell, x, start in ready(subject, 3, finest(subject), BRIEF, LONG):
        pair = []
        for window in (run, subject.stepped):
            leaf, state = x.clone().requires_grad_(), leaves(start)
            y, after = window(cell, leaf, state)
            pair.append(slopes([y, *after], leaf, state, cell))
        names = ["the input", *(f"state {label}" for label in _labels(start)), *_learning(cell)]
        for name, grad, wanted in zip(names, *pair, strict=True):
            value = gap(grad, wanted, f"the gradient of {name}")
            found.append(
                Measured(
                    value, allowed(x.dtype, x.shape[1], SLOPE), named(cell, f"gradient of {name}")
                )
            )
    return worst(found)


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
    found = []
    for path in subject.paths():
        cell = subject.cell(path=path)
        x, state = (
            subject.x(2, 5).requires_grad_(),
            leaves(subject.start(cell, 2, dtype=torch.float64)),
        )
        tensors = list(_leaves(cell, x, state).values())
        draw = subject.generator(5)
        ways = [torch.randn(tensor.shape, generator=draw, dtype=tensor.dtype) for tensor in tensors]
        push = _Push(cell, x, state, tensors, ways, subject.generator(4))
        value = slope_gap(push, tensors, subject.generator(6), DIRECTIONS)
        found.append(Measured(value, DIFFERENCE, named(cell)))
    return worst(found)


class _Push:
    """The gradient along given ways of a random sum of what a cell gives, as a function of its
    leaves.
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
        self.cell, self.x, self.state, self.tensors, self.ways = cell, x, state, tensors, ways
        with torch.no_grad():
            shown = _flat(*run(cell, x, state))
        self.weights = torch.randn(shown.shape, generator=draw, dtype=shown.dtype)

    def __call__(self) -> Tensor:
        """Return it, `[1]`, with its graph."""
        with torch.enable_grad():
            total = (_flat(*run(self.cell, self.x, self.state)) * self.weights).sum()
            grads = torch.autograd.grad(
                total, self.tensors, create_graph=True, materialize_grads=True
            )
            parts = [(grad * way).sum() for grad, way in zip(grads, self.ways, strict=True)]
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
    x, start = subject.x(2, LONGEST, dtype=dtype), subject.start(cell, 2, dtype=dtype)
    found = []
    with torch.no_grad():
        wanted, last = subject.stepped(cell, x, start)
        given = lagged(x, start[1], None, None)[0] if scan.context else x
        a, b = _coefficients(scan, given)
        h = torch.view_as_complex(start[0].contiguous()) if scan.paired else start[0]
        for name, split in SPLITS.items():
            total, brought = _joined(a, b, split)
            states = total * h.unsqueeze(1) + brought
            states = torch.view_as_real(states) if scan.paired else states
            gaps = (
                gap(scan.readout(states, given), wanted, "the output"),
                gap(states[:, -1], last[0], "state 0"),
            )
            found.append(Measured(max(gaps), allowed(dtype, LONGEST, SCAN), f"joined {name}"))
    return worst(found)


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
    cell = subject.cell(dtype=finest(subject))
    if frozen := [name for name, weight in cell.named_parameters() if not weight.requires_grad]:
        raise Broken(f"parameter {frozen[0]} asks for no gradient; what is not learned is a buffer")
    x = subject.x(3, BRIEF, dtype=finest(subject)).requires_grad_()
    y, after = called(cell, x, None)
    for name, grad in zip(_learning(cell), slopes([y, *after], x, (), cell)[1:], strict=True):
        if not torch.isfinite(grad).all():
            raise Broken(f"the gradient of parameter {name} is not finite")
        if not grad.any():
            raise Broken(
                f"parameter {name} gets no gradient: nothing of the output or the state depends"
                " on it"
            )
    for where, module in cell.named_modules():
        for name, value in vars(module).items():
            if name not in OWN and (what := _stray(value)):
                raise Broken(f"{where + '.' if where else ''}{name} holds {what}")
    return Measured(0.0, EXACT, f"{len(_learning(cell))} parameters")


OWN = ("_parameters", "_buffers", "_modules")
"""Where a module keeps what is declared."""


def _stray(value: Any, inside: bool = False) -> str:
    """Return what an attribute keeps that a module should declare, or nothing."""
    if isinstance(value, Tensor):
        return "a tensor that is neither parameter nor buffer"
    if isinstance(value, nn.Module):
        return "a module that is not declared; use nn.ModuleList or nn.ModuleDict" if inside else ""
    parts = (
        value.values()
        if isinstance(value, dict)
        else value
        if isinstance(value, list | tuple | set)
        else ()
    )
    return next((what for part in parts if (what := _stray(part, True))), "")


def _labels(state: State) -> tuple[str, ...]:
    """Return the names of a state's fields."""
    return tuple(getattr(state, "_fields", map(str, range(len(state)))))


def _learning(cell: Cell[Any]) -> list[str]:
    """Return the names of the weights that ask for gradients."""
    return [name for name, weight in cell.named_parameters() if weight.requires_grad]


def _leaves(cell: Cell[Any], x: Tensor, state: State) -> dict[str, Tensor]:
    """Return by its name all that a cell has gradients for."""
    given = {
        "the input": x,
        **{f"state {label}": field for label, field in zip(_labels(state), state, strict=True)},
    }
    return {
        name: leaf
        for name, leaf in (given | dict(cell.named_parameters())).items()
        if leaf.requires_grad
    }


def _flat(y: Tensor, state: State) -> Tensor:
    """Return outputs and the state's real numbers as one vector."""
    return torch.cat([part.reshape(-1) for part in (y, *state) if part.is_floating_point()])


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
        a, b = torch.view_as_complex(a.contiguous()), torch.view_as_complex(b.contiguous())
    return a.expand_as(b), b


def _joined(a: Tensor, b: Tensor, split: Callable[[int], int]) -> Pairs:
    """Return the pairs of all steps up to each step, joined in the order that `split` gives."""
    length = a.shape[1]
    if length == 1:
        return a, b
    cut = split(length)
    (a1, b1), (a2, b2) = (
        _joined(a[:, :cut], b[:, :cut], split),
        _joined(a[:, cut:], b[:, cut:], split),
    )
    end_a, end_b = a1[:, -1:], b1[:, -1:]
    return torch.cat([a1, a2 * end_a], dim=1), torch.cat([b1, a2 * end_b + b2], dim=1)
