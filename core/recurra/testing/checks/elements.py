"""The check of a loss that scores each element of an answer by itself."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.model.scoring import scores_elements
from recurra.testing.answers import demand, tensor
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.measure import EXACT, ROWS, gap, worst
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import SIZE

FAR = 3.0
"""By how much another column is moved."""


@check("L13", "an element's loss is its own", "loss", firm=True, since="1.1")
def elements(subject: LossSubject) -> Measured:
    """A loss that overrides `elementwise` gives there `[N, size]`, whose mean over the features is
    what `forward` gives. An element depends on the answer in its own column alone, no number of the
    output reaches the elements of two columns, and where the answer is the best guess both the loss
    and its gradient are finite.

    The core leaves out elements that are missing, and weighs columns: what a missing one is
    answered by must reach nothing. To mend it: keep the features apart, and give `forward` as
    `self.elementwise(output, target).mean(dim=-1)`; a loss whose columns hang together, as of a
    whole covariance, leaves `elementwise` out.
    """
    if not scores_elements(subject.loss()):
        raise NotApplicable("it gives a step one number")
    demand("numbers" in subject.reads, "elementwise is for losses of numbers")

    findings = []
    for training in (True, False):
        for size in (1, SIZE):
            loss = subject.loss(size, training=training)
            findings += _found(subject, loss)
    return worst(findings)


def _found(subject: LossSubject, loss: Loss[Any]) -> list[Measured]:
    """Return how a loss differs from the mean of its elements, and these from each other's."""
    output, target = subject.pair(loss, "numbers")
    each = _each(loss, output, target)
    shape, wanted = list(each.shape), list(target.shape)
    demand(shape == wanted, f"elementwise gives {shape} for answers {wanted}")
    demand(each.dtype == output.dtype, f"outputs in {output.dtype} give elements in {each.dtype}")

    whole = subject.run(loss, output, target)
    findings = [Measured(gap(each.mean(dim=-1), whole, "a mean"), ROWS, "mean over the features")]
    for step in range(len(output)):
        only = slice(step, step + 1)
        value = gap(_each(loss, output[only], target[only]), each[only], "an element")
        findings.append(Measured(value, ROWS, "a step alone"))

    for column in range(loss.size):
        others = torch.arange(loss.size) != column
        for moved in (FAR, -FAR, 1e3 * FAR):
            changed = torch.where(others, target, target + moved)
            value = gap(_each(loss, output, changed)[:, others], each[:, others], "an element")
            findings.append(Measured(value, EXACT, "another column's answer"))

    findings.append(Measured(_shared(loss, output, target), EXACT, "outputs of two columns"))
    _finite_at_best(subject, loss, output)
    return findings


def _each(loss: Loss[Any], output: Tensor, target: Tensor) -> Tensor:
    """Return the losses of elements, for copies of outputs and answers."""
    each = loss.elementwise(output.clone(), target.clone())
    return tensor(each, "what elementwise gives")


def _shared(loss: Loss[Any], output: Tensor, target: Tensor) -> float:
    """Return in how many more than one column the numbers of an output are at work, at most."""
    leaf = output.clone().requires_grad_()
    each = tensor(loss.elementwise(leaf, target.clone()), "what elementwise gives")
    uses = torch.zeros_like(output)
    for column in range(each.shape[1]):
        (slope,) = torch.autograd.grad(each[:, column].sum(), leaf, retain_graph=True)
        uses += slope != 0
    return max(0.0, float(uses.max()) - 1)


def _finite_at_best(subject: LossSubject, loss: Loss[Any], output: Tensor) -> None:
    """Demand a finite loss, and a finite gradient, where the answer is the best guess."""
    leaf = output.clone().requires_grad_()
    best = subject.point(loss, leaf).detach().clone()
    each = tensor(loss.elementwise(leaf, best), "what elementwise gives")
    (slope,) = torch.autograd.grad(each.sum(), leaf)
    sound = bool(torch.isfinite(each).all()) and bool(torch.isfinite(slope).all())
    demand(sound, "where the answer is the best guess, the loss or its gradient is not finite")
