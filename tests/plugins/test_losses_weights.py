"""What classes weigh in a cross-entropy, and its focal form: torch's own figures, or the written
formula.
"""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.nn import functional

from recurra import InputError
from recurra.contracts.options import validate_options
from recurra.resolve import resolve
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.options import CrossEntropyOptions

laws = settings(deadline=None, max_examples=20)
counts_of_classes = st.lists(st.integers(0, 9), min_size=2, max_size=5).filter(any)
weights_of_classes = st.floats(0.01, 50)
gammas = st.floats(0.1, 4)
shares = st.floats(0.01, 0.9)
seeds = st.integers(0, 999)
TASK = """
schema = 1
source = { kind = "inline", text = "abab" }
vocabulary = { kind = "character" }
sequence = { length = 2 }
encoder = { kind = "one_hot" }
cell = { kind = "gru" }
loss = { kind = "cross_entropy" }
training = { steps = 1 }
"""
FORMS = [
    {"class_weights": "balanced"},
    {"class_weights": {"b": 3.0}},
    {"focal": 2.0},
    {"class_weights": "balanced", "focal": 0.5, "label_smoothing": 0.2},
]


def named(size):
    return [chr(ord("a") + index) for index in range(size)]


def made(counts, **options):
    """Return the loss in float64, prepared for a training split in which the classes come so
    often.
    """
    loss = CrossEntropy(len(counts), CrossEntropyOptions(**options)).double()
    loss.prepare(named(len(counts)), np.array(counts))
    return loss


def answers(counts, seed):
    """Return random logits for the whole of a training split, and its answers, each as often as it
    comes.
    """
    target = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    generator = torch.Generator().manual_seed(seed)
    return (
        2 * torch.randn(len(target), len(counts), generator=generator, dtype=torch.float64),
        target,
    )


def gradient(function, logits):
    leaf = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(function(leaf), leaf)
    return slope


def same(found, wanted):
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-10)


@laws
@given(counts=counts_of_classes, chosen=st.data(), share=st.sampled_from([0.0, 0.3]), seed=seeds)
def test_over_the_training_answers_it_is_torchs_weighted_mean(counts, chosen, share, seed):
    """The plain mean is torch's, which divides by the weights of the answers, and so is its
    gradient.

    That the core takes a plain mean makes no difference therefore, but for the classes that are
    drawn into a batch.
    """
    table = {name: chosen.draw(weights_of_classes) for name in named(len(counts))[1:]}
    loss = made(counts, class_weights=table, label_smoothing=share).train()
    logits, target = answers(counts, seed)
    weight = torch.tensor([1.0, *table.values()], dtype=torch.float64)

    def torchs(output):
        return functional.cross_entropy(output, target, weight, label_smoothing=share)

    same(loss(logits, target).mean(), torchs(logits))
    same(gradient(lambda output: loss(output, target).mean(), logits), gradient(torchs, logits))


@laws
@given(counts=counts_of_classes)
def test_balanced_weighs_each_class_as_much_in_all(counts):
    """n / (C count), C the classes that come: each has the same share of the weight, and their mean
    is 1.
    """
    weights = torch.tensor(
        made(counts, class_weights="balanced").save()["weights"], dtype=torch.float64
    )
    shares = (weights * torch.tensor(counts)).tolist()
    come = sum(count > 0 for count in counts)
    assert shares == pytest.approx([sum(counts) / come if count else 0 for count in counts])
    assert all(math.isfinite(weight) and weight > 0 for weight in weights.tolist())


@laws
@given(counts=counts_of_classes, weight=weights_of_classes, seed=seeds)
def test_the_mean_weight_of_the_training_answers_is_1(counts, weight, seed):
    """Guessing at random costs what it costs without weights, however they are chosen."""
    logits, target = answers(counts, seed)
    for chosen in ("balanced", {"b": weight}):
        found = made(counts, class_weights=chosen)(torch.zeros_like(logits), target)
        assert float(found.mean()) == pytest.approx(math.log(len(counts)))


@laws
@given(counts=counts_of_classes, gamma=gammas, share=shares, seed=seeds, training=st.booleans())
def test_focal_is_the_written_formula(counts, gamma, share, seed, training):
    """sum_c q_c w_c (1 - p_c)^gamma (-log p_c), in plain Python; smoothed in training alone."""
    loss = made(counts, class_weights={"a": 5.0}, focal=gamma, label_smoothing=share).train(
        training
    )
    weights, (logits, target) = loss.save()["weights"], answers(counts, seed)
    share = share if training else 0.0
    wanted = []
    for row, came in zip(logits.tolist(), target.tolist(), strict=True):
        whole = sum(map(math.exp, row))
        chances = [math.exp(value) / whole for value in row]
        asked = [share / len(row) + (1 - share) * (c == came) for c in range(len(row))]
        terms = [w * (1 - p) ** gamma * -math.log(p) for w, p in zip(weights, chances, strict=True)]
        wanted.append(sum(q * term for q, term in zip(asked, terms, strict=True)))
    same(loss(logits, target), torch.tensor(wanted, dtype=torch.float64))


@laws
@given(counts=counts_of_classes, gamma=gammas, seed=seeds)
def test_focal_gradients_are_slopes(counts, gamma, seed):
    """Those of the loss, smoothed and weighed, are its differences along a direction."""
    loss = made(counts, class_weights="balanced", focal=gamma, label_smoothing=0.1).train()
    logits, target = answers(counts, seed)
    way = torch.randn(
        logits.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64
    )
    slope = (gradient(lambda output: loss(output, target).sum(), logits) * way).sum()
    above, below = (loss(logits + side * 1e-6 * way, target).sum() for side in (1, -1))
    torch.testing.assert_close(slope, (above - below) / 2e-6, atol=1e-6, rtol=1e-6)


@laws
@given(counts=counts_of_classes, share=shares, seed=seeds)
def test_focal_comes_to_the_plain_loss_as_gamma_goes_to_0(counts, share, seed):
    """And to the very loss, with its weights and its smoothing, that torch computes."""
    rules = {"class_weights": "balanced", "label_smoothing": share}
    logits, target = answers(counts, seed)
    plain, focal = made(counts, **rules).train(), made(counts, focal=1e-9, **rules).train()
    torch.testing.assert_close(focal(logits, target), plain(logits, target), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("gamma", [0.25, 1.0, 2.0])
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_what_is_sure_has_losses_and_gradients_that_are_numbers(gamma, share):
    """Chances of exactly 1 and 0, in float32, where a power below 1 has no slope."""
    loss = CrossEntropy(3, CrossEntropyOptions(focal=gamma, label_smoothing=share)).train()
    logits = torch.tensor([[1e4, -1e4, 0], [-1e4, 1e4, 0]], requires_grad=True)
    values = loss(logits, torch.tensor([0, 0]))
    values.sum().backward()
    assert values.isfinite().all() and logits.grad.isfinite().all()
    assert values[1] > 1e3 and logits.grad[1, 0] < 0 < logits.grad[1, 1]
    assert share or (values[0] == 0 and not logits.grad[0].any())


@laws
@given(
    counts=counts_of_classes, share=st.sampled_from([0.0, 0.4]), seed=seeds, training=st.booleans()
)
def test_without_them_it_is_torchs_to_the_bit(counts, share, seed, training):
    """Forwards and backwards, prepared or not; nothing is learned, and nothing saved."""
    loss = made(counts, label_smoothing=share).train(training)
    logits, target = answers(counts, seed)
    smoothing = share if training else 0.0

    def torchs(output):
        return functional.cross_entropy(output, target, label_smoothing=smoothing, reduction="none")

    assert torch.equal(loss(logits, target), torchs(logits))
    one, other = (
        gradient(lambda x, f=f: f(x).sum(), logits) for f in (lambda x: loss(x, target), torchs)
    )
    assert torch.equal(one, other)
    assert loss.save() == {} and not loss.state_dict() and not list(loss.buffers())
    loss.restore({})


@pytest.mark.parametrize("options", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_restored_is_the_same_to_the_bit(options, dtype):
    """By way of JSON, into a loss that has learned nothing and one that has learned something
    else.
    """
    counts, other = [6, 0, 3, 1], [1, 2, 0, 9]
    loss = CrossEntropy(4, CrossEntropyOptions(**options))
    loss.prepare(named(4), np.array(counts))
    logits, target = answers(other, 3)
    for earlier in (None, other):
        again = CrossEntropy(4, CrossEntropyOptions(**options))
        if earlier:
            again.prepare(named(4), np.array(earlier))
        again.restore(json.loads(json.dumps(loss.save(), allow_nan=False)))
        for training in (True, False):
            found = [one.train(training)(logits.to(dtype), target) for one in (loss, again)]
            assert torch.equal(*found) and found[0].dtype == dtype
    assert not loss.state_dict(), "weights are kept in the run, and not among those of the network"


def test_weights_of_another_task_are_refused():
    """A table for other classes, or none, is no table for these."""
    loss = made([3, 1], class_weights="balanced")
    with pytest.raises(ValueError, match="3 weights for 2 classes"):
        loss.restore({"weights": [1.0, 1.0, 1.0]})
    with pytest.raises(KeyError):
        loss.restore({})


def test_a_name_that_is_no_class_is_refused():
    """With what came, the classes that there are, and the one that may be meant; nothing is learned
    of it.
    """
    loss = CrossEntropy(2, CrossEntropyOptions(class_weights={"spam": 2.0, "hma": 3.0}))
    with pytest.raises(InputError) as caught:
        loss.prepare(["spam", "ham"], np.array([1, 9]))
    (problem,) = caught.value.problems
    assert (problem.code, problem.key, problem.nearest) == ("RC013", "loss.class_weights", "ham")
    assert "'hma' is no class" in problem.fact
    assert (problem.got, problem.allowed) == ("'hma'", "'spam', 'ham'")
    assert loss.save() == {"weights": [1.0, 1.0]}


def test_many_names_are_told_in_a_line():
    """Of many classes and many faults, the first."""
    loss = CrossEntropy(
        50, CrossEntropyOptions(class_weights={f"no {index}": 1.0 for index in range(30)})
    )
    with pytest.raises(InputError, match="30 names are no classes") as caught:
        loss.prepare([f"class {index}" for index in range(50)], np.ones(50, np.int64))
    (problem,) = caught.value.problems
    assert problem.allowed.endswith("'class 19' and 30 more") and len(problem.got) < 300


@pytest.mark.parametrize(
    "options",
    [
        {"class_weights": "even"},
        {"class_weights": {"a": 0.0}},
        {"class_weights": {"a": -1.0}},
        {"class_weights": {"a": "2"}},
        {"class_weights": {"a": True}},
        {"class_weights": {"a": 1e9}},
        {"class_weights": [1.0, 2.0]},
        {"class_weights": True},
        {"focal": -0.5},
        {"focal": True},
    ],
    ids=str,
)
def test_options_that_mean_nothing_are_refused(options):
    """A weight is a number above 0, and whole numbers are numbers."""
    with pytest.raises(ValidationError):
        validate_options(CrossEntropyOptions, options, lambda path, field: path)
    taken = validate_options(
        CrossEntropyOptions, {"class_weights": {"a": 2}}, lambda path, field: path
    )
    assert taken.class_weights == {"a": 2.0}


@pytest.mark.parametrize(
    ("written", "code", "key", "allowed"),
    [
        (
            {"spam": 0},
            "RC013",
            "loss.class_weights.spam",
            "a number, at least 1e-06, at most 1e+06",
        ),
        (
            {"spam": "2"},
            "RC012",
            "loss.class_weights.spam",
            "a number, at least 1e-06, at most 1e+06",
        ),
        ("ballanced", "RC013", "loss.class_weights", '"balanced" or a table'),
        (2.0, "RC013", "loss.class_weights", '"balanced" or a table'),
    ],
    ids=str,
)
def test_a_task_is_told_what_a_weight_may_be(tmp_path, written, code, key, allowed):
    """The class at fault and what it may weigh, or both forms that there are."""
    (tmp_path / "task.toml").write_text(TASK, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        resolve(tmp_path / "task.toml", {"loss.class_weights": written})
    (problem,) = caught.value.problems
    assert (problem.code, problem.key, problem.allowed) == (code, key, allowed)
