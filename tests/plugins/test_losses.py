"""Losses: torch's own, one value a step, at their minimum where the prediction is perfect."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.huber import Huber
from recurra_losses.mae import MAE
from recurra_losses.mse import MSE
from recurra_losses.options import CrossEntropyOptions, HuberOptions, MAEOptions, MSEOptions

NUMBERS = {
    "mse": (lambda: MSE(3, MSEOptions()), lambda e: e**2, functional.mse_loss),
    "mae": (lambda: MAE(3, MAEOptions()), lambda e: e.abs(), functional.l1_loss),
    "huber": (
        lambda: Huber(3, HuberOptions(delta=0.7)),
        lambda e: torch.where(e.abs() <= 0.7, e**2 / 2, 0.7 * (e.abs() - 0.35)),
        lambda output, target: functional.huber_loss(output, target, delta=0.7),
    ),
}
numbers = pytest.mark.parametrize("kind", NUMBERS)
laws = settings(deadline=None, max_examples=30)
sizes = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(0, 999))


def entropy(smoothing=0.0):
    return CrossEntropy(3, CrossEntropyOptions(label_smoothing=smoothing))


def pair(size):
    steps, width, seed = size
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(steps, width, generator=generator, dtype=torch.float64) for _ in range(2)]


@numbers
@laws
@given(size=sizes)
def test_errors_of_numbers_are_the_formula_and_torchs(kind, size):
    """One value a step, the mean over its features of the written formula; their mean is torch's
    loss.
    """
    make, formula, torchs = NUMBERS[kind]
    output, target = pair(size)
    found = make()(output, target)
    assert found.shape == (len(output),)
    torch.testing.assert_close(found, formula(output - target).mean(dim=1), atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found.mean(), torchs(output, target), atol=1e-12, rtol=1e-12)
    assert (found >= 0).all()
    assert not make()(target, target).any()


@laws
@given(size=sizes, training=st.booleans())
def test_cross_entropy_is_minus_the_log_of_the_chance(size, training):
    """One value a step: -log softmax at the target; adding a constant to all logits changes
    nothing.
    """
    logits, other = pair(size)
    target = other.argmax(dim=1)
    loss = entropy().train(training)
    found = loss(logits, target)
    wanted = -torch.tensor(
        [
            math.log(math.exp(row[t]) / sum(map(math.exp, row)))
            for row, t in zip(logits.tolist(), target, strict=True)
        ],
        dtype=torch.float64,
    )
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(found.mean(), functional.cross_entropy(logits, target))
    torch.testing.assert_close(loss(logits + 7, target), found)


def test_certainty_costs_nothing_and_ignorance_the_log_of_all():
    """A sure and right prediction is 0 nats, a uniform one log V, a sure and wrong one is its
    logit's gap.
    """
    target = torch.tensor([0, 3])
    sure = functional.one_hot(target, 4).double() * 1000
    assert not entropy()(sure, target).any()
    uniform = entropy()(torch.zeros(2, 4, dtype=torch.float64), target)
    torch.testing.assert_close(uniform, torch.full((2,), math.log(4), dtype=torch.float64))
    assert entropy()(sure, torch.tensor([1, 1])).tolist() == [1000.0, 1000.0]


@laws
@given(size=sizes, smoothing=st.floats(0.01, 0.9))
def test_labels_are_smoothed_in_training_alone(size, smoothing):
    """In training a share of the target is spread over all symbols; an evaluation is in plain
    nats.
    """
    logits, other = pair(size)
    target = other.argmax(dim=1)
    loss = entropy(smoothing)
    plain = entropy()(logits, target)
    everywhere = -functional.log_softmax(logits, dim=1).mean(dim=1)
    torch.testing.assert_close(
        loss.train()(logits, target), (1 - smoothing) * plain + smoothing * everywhere
    )
    assert torch.equal(loss.eval()(logits, target), plain)


@pytest.mark.parametrize("kind", [*NUMBERS, "cross_entropy"])
def test_each_step_is_judged_alone(kind):
    """A poisoned step changes no other value and, left out of the sum, no gradient."""
    output, other = pair((5, 3, 0))
    loss = entropy() if kind == "cross_entropy" else NUMBERS[kind][0]()
    target = other.argmax(dim=1) if kind == "cross_entropy" else other
    clean = loss(output, target)
    output[2] = torch.nan
    output.requires_grad_()
    kept = [0, 1, 3, 4]
    assert torch.equal(loss(output, target)[kept], clean[kept])
    loss(output[kept], target[kept]).sum().backward()
    assert not output.grad[2].any()
    assert output.grad[kept].isfinite().all()
    assert output.grad[kept].any(dim=1).all()


def test_huber_is_smooth_where_it_turns():
    """At delta value and slope of both branches meet; beyond it the slope stays delta."""
    loss = Huber(3, HuberOptions(delta=2.0))
    gaps = torch.tensor([[1.999999], [2.000001], [50.0]], dtype=torch.float64, requires_grad=True)
    values = loss(gaps, torch.zeros_like(gaps))
    values.sum().backward()
    torch.testing.assert_close(
        values[:2], torch.tensor([2.0, 2.0], dtype=torch.float64), atol=1e-5, rtol=0
    )
    torch.testing.assert_close(
        gaps.grad.flatten(), torch.full((3,), 2.0, dtype=torch.float64), atol=1e-5, rtol=0
    )
