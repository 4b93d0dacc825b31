"""Scoring by element: sums by hand over what came, and nothing of what is missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from liars.losses import Plain, Right, RightElements

from recurra.model.scoring import Scoring, scores_elements
from recurra.train.metrics import Tally
from recurra_losses.huber import Huber
from recurra_losses.mae import MAE
from recurra_losses.mse import MSE
from recurra_losses.options import HuberOptions, MAEOptions, MSEOptions

LOSSES = {
    "mse": lambda size: MSE(size, MSEOptions()),
    "mae": lambda size: MAE(size, MAEOptions()),
    "huber": lambda size: Huber(size, HuberOptions(delta=0.5)),
    "distribution": lambda size: RightElements(size, Plain()),
}
losses = pytest.mark.parametrize("kind", LOSSES)
cases = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 9999))


def drawn(kind, case):
    """Return a loss, outputs, answers of which some are missing, and weights of mean 1."""
    steps, size, seed = case
    loss, random = LOSSES[kind](size), np.random.default_rng(seed)
    output = torch.from_numpy(random.normal(size=(steps, loss.output_size)))
    target = random.normal(size=(steps, size))
    target[random.random(target.shape) < 0.4] = np.nan
    weights = random.random(size) + 0.1
    return loss, output, torch.from_numpy(target), (weights / weights.mean()).tolist()


@losses
@settings(deadline=None, max_examples=25)
@given(case=cases)
def test_the_mean_is_that_of_the_elements_that_came_by_their_weights(kind, case):
    """sum w e / sum w over what came, element by element; its slope is 0 at all that is missing."""
    loss, output, target, weights = drawn(kind, case)
    scoring = Scoring(loss, weights, partly=True)
    leaf = output.clone().requires_grad_()
    values, total = scoring(leaf, target), scoring.total(target)
    assert values.shape == (len(output),)

    above, below, width = 0.0, 0.0, output.shape[1] // target.shape[1]
    for step, row in enumerate(target.tolist()):
        for column, answer in enumerate(row):
            if answer == answer:
                own = LOSSES[kind](1)
                places = [column + part * len(row) for part in range(width)]
                error = own(
                    output[step : step + 1, places], torch.tensor([[answer]], dtype=output.dtype)
                )
                above += weights[column] * float(error)
                below += weights[column]
    assert float(values.sum().detach()) * len(weights) == pytest.approx(above, abs=1e-12)
    assert total * len(weights) == pytest.approx(below, abs=1e-12)

    (slope,) = torch.autograd.grad(values.sum(), leaf)
    missing = target.isnan().repeat(1, width)
    assert not slope[missing].any()
    assert torch.isfinite(slope).all()


@losses
@settings(deadline=None, max_examples=15)
@given(case=cases)
def test_without_anything_missing_or_weighed_every_bit_is_that_of_the_loss(kind, case):
    """A loss as it is, one whose answers may be missing and are not, and weights that are equal."""
    loss, output, target, _ = drawn(kind, case)
    answers = target.nan_to_num(0.25)
    expected = loss(output, answers)
    for scoring in (
        Scoring(loss),
        Scoring(loss, partly=True),
        Scoring(loss, [1.0] * target.shape[1]),
        Scoring(loss, [1.0] * target.shape[1], partly=True),
    ):
        assert torch.equal(scoring(output, answers), expected)
        assert scoring.total(answers) == len(answers)


def test_a_loss_of_before_gives_a_step_one_number():
    """What does not override `elementwise` is known by that."""
    assert not scores_elements(Right(2, Plain()))
    assert scores_elements(LOSSES["mse"](2))


def test_a_mean_of_a_split_weighs_rows_by_what_came_of_them():
    """The loss that is reported does not hang on how the rows were cut."""
    loss, output, target, weights = drawn("mse", (6, 3, 1))
    target[0] = torch.tensor([1.0, torch.nan, torch.nan])
    scoring = Scoring(loss, weights, partly=True)

    whole = scoring(output, target).sum() / scoring.total(target)
    tallies = []
    for rows in (1, 2, 6):
        tally = Tally.__new__(Tally)
        tally.steps, tally.loss, tally.total = 0, 0.0, 0.0
        tally.metrics, tally.undoing, tally.answers = [], None, 0
        for part, answers in zip(output.split(rows), target.split(rows), strict=True):
            tally.add(part, answers, scoring)
        tallies.append(tally.values()["loss"])
    assert tallies == pytest.approx([float(whole)] * 3)
