"""Many outputs: the losses in parts are those of the whole, and a tied head has one weight."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from trials import LABELS, PROSE, write

import recurra
from recurra import InputError
from recurra.contracts.head import Head, in_rows
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.model import network as networks
from recurra.model import stepper as steppers
from recurra.model.network import Network
from recurra.randomness import seeded
from recurra.resolve import resolve
from recurra.train import evaluate as evaluation
from recurra_cells.lstm import LSTM
from recurra_cells.options import LSTMOptions
from recurra_encoders.embedding import Embedding
from recurra_encoders.options import EmbeddingOptions
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.options import CrossEntropyOptions

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smooth": {"label_smoothing": 0.1},
    "focal": {"focal": 2.0},
    "weighed": {"class_weights": "balanced"},
    "all": {"label_smoothing": 0.2, "focal": 0.5, "class_weights": "balanced"},
}


def loss_of(kind: str, size: int) -> CrossEntropy:
    """Return a loss in training, whose classes weigh differently where they do."""
    loss = CrossEntropy(size, CrossEntropyOptions(**OPTIONS[kind]))
    if "class_weights" in OPTIONS[kind]:
        loss.restore({"weights": [1.0 + index % 3 for index in range(size)]})
    return loss


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    """Return numbers of N(0, 1) in float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", OPTIONS)
@settings(deadline=None, max_examples=15)
@given(
    st.integers(1, 20), st.integers(1, 6), st.integers(1, 9), st.integers(1, 25), st.integers(0, 99)
)
def test_losses_in_parts_are_those_of_the_whole(
    kind: str, steps: int, width: int, size: int, rows: int, seed: int
) -> None:
    """Values, and gradients of hidden, weight and bias for any slopes, in float64."""
    loss = loss_of(kind, size)
    parts = drawn(steps, width, seed=seed), drawn(size, width, seed=seed + 1), drawn(size, seed=2)
    target = torch.randint(size, (steps,), generator=torch.Generator().manual_seed(seed))
    slopes = drawn(steps, seed=3)

    found = []
    for in_parts in (False, True):
        hidden, weight, bias = leaves = [part.clone().requires_grad_() for part in parts]
        if in_parts:
            losses = loss.through(hidden, Head(weight, bias), target, rows)
        else:
            losses = loss(functional.linear(hidden, weight, bias), target)
        found.append([losses.detach(), *torch.autograd.grad(losses, leaves, slopes)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_what_needs_no_gradient_is_given_none() -> None:
    """A frozen weight, as of given vectors, costs nothing on the way back."""
    hidden, weight, bias = drawn(5, 2).requires_grad_(), drawn(3, 2), drawn(3)
    losses = in_rows(_squares, hidden, Head(weight, bias), drawn(5, 3, seed=1), 2)
    losses.sum().backward()
    assert hidden.grad is not None and weight.grad is None and bias.grad is None


def _squares(output: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return (output - target).square().mean(dim=-1)


def test_narrow_products_in_parts_are_near_those_of_the_whole() -> None:
    """Under bfloat16 the outputs are the same to the bit, and gradients to its rounding."""
    loss, rows = loss_of("plain", 40), 16
    parts = drawn(50, 8).float(), drawn(40, 8, seed=1).float(), drawn(40, seed=2).float()
    target = torch.arange(50) % 40
    found = []
    for in_parts in (False, True):
        hidden, weight, bias = leaves = [part.clone().requires_grad_() for part in parts]
        head = Head(weight, bias, narrow=True)
        losses = (
            loss.through(hidden, head, target, rows) if in_parts else loss(head(hidden), target)
        )
        found.append([losses.detach(), *torch.autograd.grad(losses.mean(), leaves)])
    for one, other in zip(*found, strict=True):
        assert one.dtype == other.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=2e-2, atol=2e-3)


def tied(hidden: int = 6, size: int = 6, symbols: int = 9) -> Network:
    """Return a network whose head has the weight of its encoder."""
    with seeded(0):
        encoder = Embedding(symbols, EmbeddingOptions(size=size, tied=True))
        layers = [LSTM(size, LSTMOptions(hidden_size=hidden))]
        return Network(encoder, layers, CrossEntropy(symbols, CrossEntropyOptions()))


@pytest.mark.parametrize("hidden", [6, 4])
def test_a_tied_head_has_one_weight(hidden: int) -> None:
    """It is counted, saved and moved once; the head is U h + b, or U P h + b of another width."""
    made = tied(hidden)
    saved = made.state_dict()
    assert "head.weight" not in saved and {"encoder.table.weight", "head.bias"} <= saved.keys()
    assert ("head.projection.weight" in saved) == (hidden != 6)
    assert len({id(weight) for weight in made.parameters()}) == len(saved)

    double = made.double()
    assert double.head.weight is double.encoder.table.weight
    x = torch.arange(8).reshape(2, 4)
    read, _ = double.hidden(x)
    if hidden != 6:
        read = read @ double.head.projection.weight.t()
    expected = read @ double.encoder.table.weight.t() + double.head.bias
    torch.testing.assert_close(double(x)[0], expected, rtol=0, atol=1e-12)


def test_the_gradient_of_a_tied_weight_is_of_both_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the sum of those of two weights that are apart, and the same in parts."""
    made = tied(4).double()
    x, y = torch.arange(8).reshape(2, 4), torch.arange(1, 9).reshape(2, 4)

    def gradients(parts: int) -> list[torch.Tensor]:
        monkeypatch.setattr(networks, "WHOLE", 0 if parts else 1 << 24)
        monkeypatch.setattr(networks, "PART", 9 * parts)
        made.zero_grad()
        read, _ = made.hidden(x)
        made.losses(read, y, torch.tensor([0, 1, 2, 5, 7])).sum().backward()
        return [weight.grad.clone() for weight in made.parameters()]

    whole = gradients(0)
    for parts in (1, 3, 100):
        for one, other in zip(gradients(parts), whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)

    read, _ = made.hidden(x)
    apart = made.encoder.table.weight.detach().clone().requires_grad_()
    output = functional.linear(made.head.projected(read), apart, made.head.bias)
    losses = made.loss(output.flatten(0, 1), y.flatten())[[0, 1, 2, 5, 7]]
    one, two = torch.autograd.grad(losses.sum(), [made.encoder.table.weight, apart])
    torch.testing.assert_close(whole[0], one + two, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("hidden", [6, 4])
def test_generation_steps_a_tied_network(hidden: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its compiled step is the network's, and reads the weight again once that has changed."""
    monkeypatch.setattr(steppers, "AFTER", 2)
    made = tied(hidden).eval()
    for _ in range(2):
        step = steppers.stepper(made)
        states, expected = made.initial_states(1), made.initial_states(1)
        for index in range(5):
            x = torch.tensor([index])
            output, states = step(made, x, states)
            with torch.no_grad():
                right, expected = made(x.unsqueeze(1), expected)
            torch.testing.assert_close(output, right[:, 0], rtol=0, atol=2e-6)
        with torch.no_grad():
            made.encoder.table.weight.mul_(1.5)
    assert step.objection is None or "compiler" in step.objection


def test_training_and_figures_in_parts_are_those_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is held at a time, a run has the same figures up to rounding."""
    changes = {
        "encoder.kind": "embedding",
        "encoder.size": 4,
        "encoder.tied": True,
        "training.steps": 3,
        "device.kind": "cpu",
        "device.precision": "float64",
        "sequence.split": [0.8, 0.2, 0.0],
    }
    results = []
    for index, part in enumerate((1 << 20, 5)):
        monkeypatch.setattr(networks, "WHOLE", 0 if part == 5 else 1 << 20)
        monkeypatch.setattr(networks, "PART", part)
        monkeypatch.setattr(evaluation, "BLOCK", part)
        folder = tmp_path / str(index)
        folder.mkdir()
        made = recurra.run(write(folder, PROSE), changes, runs=folder / "runs")
        results.append(made.evaluate())
        again = recurra.load(made.folder.path)
        assert again.network.head.weight is again.network.encoder.table.weight
        assert again.evaluate() == results[-1]
    one, other = (result["metrics"] for result in results)
    assert one == pytest.approx(other, rel=1e-9)


def test_a_head_is_tied_only_to_what_it_says(tmp_path: Path) -> None:
    """The classes of a label are not the symbols that are read."""
    changes = {"encoder.kind": "embedding", "encoder.tied": True}
    resolved = resolve(write(tmp_path, LABELS), changes)
    data = load_data(resolved)
    with pytest.raises(InputError, match="target 'label' answers"):
        build_network(resolved, data.vocabulary.size, answers=data.answers.size)


def test_a_tied_embedding_reads_what_one_that_is_not_would() -> None:
    """From one seed both give the same vectors, and the head has them over the root of D."""
    made = []
    for tie in (False, True):
        with seeded(0):
            made.append(Embedding(7, EmbeddingOptions(size=16, tied=tie)))
    plain, own = made
    x = torch.arange(7)[None]
    torch.testing.assert_close(own(x), plain(x))
    torch.testing.assert_close(own.head_weight() * 4, plain.table.weight)
    assert plain.head_weight() is None
