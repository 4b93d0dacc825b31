"""The check of a loss that is given what the head reads, for more outputs than memory holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.head import Head
from recurra.contracts.loss import Loss
from recurra.engine.onlooker import Onlooker
from recurra.testing.answers import demand, tensor
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.measure import ROWS, gap, worst
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import Reads

STEPS, SYMBOLS, WIDTH, AT_ONCE = 50, 23, 3, 7
"""Scored steps, symbols or features, the width of what the head reads, and outputs at a time."""


@check("L12", "losses of many outputs are those of each", "loss", firm=True, since="1.1")
def through(subject: LossSubject) -> Measured:
    """A loss that `takes_hidden` gives by `through` what `forward` gives for the outputs of the
    head: the losses, and their gradients by hidden vectors, weight and bias, in float64, each step
    with a slope of its own. It makes no tensor of all outputs on either way.

    The core calls it where a batch has more outputs than memory should hold, and `forward`
    elsewhere: a run must not train for something else because its vocabulary grew. To mend it:
    leave `through` out, which then calls `forward` for some outputs at a time.
    """
    if not subject.loss().takes_hidden:
        raise NotApplicable("it is given its outputs as a whole")

    findings = []
    for kind in subject.reads:
        for training in (True, False):
            for rows in (AT_ONCE, 1, STEPS):
                loss = subject.loss(SYMBOLS, training=training)
                findings += _compared(subject, loss, kind, rows)
    return worst(findings)


def _compared(subject: LossSubject, loss: Loss[Any], kind: Reads, rows: int) -> list[Measured]:
    """Return how the losses of outputs in parts differ from those of all, and their gradients."""
    draw = subject.generator(5)
    shapes = ((STEPS, WIDTH), (loss.output_size, WIDTH), (loss.output_size,))
    parts = [torch.randn(shape, generator=draw, dtype=torch.float64) for shape in shapes]
    slopes = torch.randn(STEPS, generator=draw, dtype=torch.float64)
    target = subject.drawn(kind, (STEPS,), loss.size, torch.float64, 6)

    def given(run: Callable[[Tensor, Head], Tensor]) -> list[Tensor]:
        hidden, weight, bias = leaves = [part.clone().requires_grad_() for part in parts]
        losses = tensor(run(hidden, Head(weight, bias)), "what through gives")
        return [losses.detach(), *torch.autograd.grad(losses, leaves, slopes)]

    expected = given(lambda hidden, head: loss(head(hidden), target))
    largest = _Largest()
    with largest:
        actual = given(lambda hidden, head: loss.through(hidden, head, target, rows))
    if rows < STEPS:
        fact = f"it makes a tensor of {largest.numbers} numbers, where all outputs are"
        whole = STEPS * loss.output_size
        demand(largest.numbers < whole, f"{fact} {whole} and {rows} rows may be held")

    findings = []
    names = ("the losses", "the gradient of hidden", "that of the weight", "that of the bias")
    for name, one, other in zip(names, actual, expected, strict=True):
        what = f"{kind}, {rows} rows at a time, {name}"
        findings.append(Measured(gap(one, other, name), ROWS, what))
    return findings


class _Largest(Onlooker):
    """Notes how many numbers the largest tensor has that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for part in made if isinstance(made, (tuple, list)) else (made,):
            if isinstance(part, Tensor):
                self.numbers = max(self.numbers, part.numel())
        return made
