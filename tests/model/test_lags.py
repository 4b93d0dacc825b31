"""Gradients by lag, against autograd of a loop written by hand and against formulas."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recurra import Cell, CellOptions
from recurra.model import lags
from recurra.model.network import Network


class Kept(NamedTuple):
    h: Tensor


class Leaky(Cell[CellOptions]):
    """h_t = d h_{t-1} + W x_t."""

    decay = 0.5

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size, bias=False)

    def initial_state(self, batch_size: int, *, device: Any, dtype: Any) -> Kept:
        return Kept(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: Kept) -> tuple[Tensor, Kept]:
        h = self.decay * state.h + self.map(x_t)
        return h, Kept(h)


class Elman(Leaky):
    """h_t = tanh(U h_{t-1} + W x_t)."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.own = nn.Linear(self.hidden_size, self.hidden_size)

    def step(self, x_t: Tensor, state: Kept) -> tuple[Tensor, Kept]:
        h = torch.tanh(self.own(state.h) + self.map(x_t))
        return h, Kept(h)


class Through(nn.Module):
    """An encoder that gives numbers as they are."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = self.output_size = size

    def forward(self, x: Tensor) -> Tensor:
        return x

    def head_weight(self) -> None:
        return None

    def symbol_vectors(self) -> None:
        return None


class Squares(nn.Module):
    """A loss of one number."""

    output_size, size, takes_hidden = 1, 1, False


def network(*layers: Cell[Any]) -> Network:
    """Return a network of float64."""
    made = Network(Through(layers[0].input_size), layers, Squares())  # type: ignore[arg-type]
    return made.double().eval()


def numbers(steps: int, width: int = 2) -> Tensor:
    stream = torch.Generator().manual_seed(steps)
    return torch.randn(1, steps, width, generator=stream, dtype=torch.float64)


@settings(max_examples=8)
@given(decay=st.floats(0.05, 0.99), share=st.sampled_from([0.5, 0.9, 0.99]))
def test_what_fades_by_a_share_is_remembered_as_long_as_its_formula_says(
    decay: float, share: float
) -> None:
    """The norm falls by d a step, and the memory is log(1 - share (1 - d^n)) / log d steps."""
    torch.manual_seed(0)
    cell = Leaky(2, CellOptions(hidden_size=3))
    cell.decay = decay
    net, x = network(cell), numbers(50)
    origins = lags.origins_of(50, 40, both_ways=False)
    (norms,) = lags.gradients(net, x[:, -origins.size :], net.initial_states(1), origins)
    expected = float(cell.map.weight.detach().norm()) * decay ** origins.lags.astype(float)
    assert np.allclose(norms, expected, rtol=1e-9, atol=0)

    count = len(origins.lags)
    exact = math.log(1 - share * (1 - decay**count)) / math.log(decay)
    memory = lags.memory(lags.by_lag(norms), origins.lags, share)
    assert memory - 1 - 1e-6 <= exact <= memory + 1e-6


@pytest.mark.parametrize("width", [4, 40])
def test_gradients_are_those_of_a_loop_by_hand(width: int) -> None:
    """Of two layers, each by what it has read itself; of a wide one to the accuracy of a sample."""
    torch.manual_seed(1)
    lower, upper = Elman(2, CellOptions(hidden_size=5)), Elman(5, CellOptions(hidden_size=width))
    net, x = network(lower, upper), numbers(14)
    origins = lags.origins_of(14, 9, both_ways=False)
    assert origins.size == 13
    norms = lags.gradients(net, x[:, 1:], net.initial_states(1), origins)

    def unrolled(cell: Elman, read: list[Tensor]) -> list[Tensor]:
        h = torch.zeros(cell.hidden_size, dtype=torch.float64)
        given = []
        for y in read:
            h = torch.tanh(cell.own.weight @ h + cell.own.bias + cell.map.weight @ y)
            given.append(h)
        return given

    read = [step.clone().requires_grad_() for step in x[0, 1:]]
    # What a layer has read is not its own memory: the lower one goes on by that.
    between = [h.clone() for h in unrolled(lower, read)]
    top = unrolled(upper, between)
    for row, at in enumerate(origins.steps.tolist()):
        grown = [
            torch.autograd.grad(unit, (*read, *between), retain_graph=True, allow_unused=True)
            for unit in top[at]
        ]
        for column, lag in enumerate(origins.lags.tolist()):
            for layer, place in enumerate((at - lag, len(read) + at - lag)):
                exact = math.sqrt(sum(float(each[place].square().sum()) for each in grown))
                near = 1e-9 if width <= lags.DIRECTIONS else 0.3
                assert norms[layer][row, column] == pytest.approx(exact, near)


@given(steps=st.integers(1, 700), most=st.integers(1, 300), both_ways=st.booleans())
def test_every_origin_has_every_lag(steps: int, most: int, both_ways: bool) -> None:
    """No lag leads out of the window, which is no longer than what there is."""
    origins = lags.origins_of(steps, most, both_ways)
    places = origins.steps[:, None] - origins.lags
    assert 0 < origins.size <= steps and places.min() >= 0 and places.max() < origins.size
    assert 1 <= len(origins.steps) <= lags.ORIGINS and origins.lags.max() <= most
    assert 0 in origins.lags and (both_ways or origins.lags.min() == 0)
    if not both_ways:
        assert origins.steps[-1] == origins.size - 1
    if steps > 4 * most:
        assert origins.lags.max() - origins.lags.min() == most


def test_nothing_is_remembered_where_no_gradient_comes() -> None:
    """Of zeros, and of what is no number, the memory is 0; of lag 0 alone it is 1."""
    back = np.arange(4)
    assert lags.memory(np.zeros(4), back) == 0 == lags.memory(np.array([1, np.nan, 0, 0]), back)
    assert lags.memory(np.array([2.0, 0, 0, 0]), back) == 1
    assert lags.memory(np.array([9.0, 1, 1]), np.arange(-1, 2), 0.5) == 1
