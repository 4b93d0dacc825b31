"""Cells for the tests of the engine: the first-party ones, and two as small as a plugin's author
would write them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from recurra import Cell, CellOptions
from recurra.engine.paths import PATHS
from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.lstm import LSTM
from recurra_cells.options import GRUOptions, LSTMOptions, RNNOptions
from recurra_cells.rnn import RNN


class LeakyState(NamedTuple):
    h: Tensor


class Leaky(Cell[CellOptions]):
    """h_t = h_{t-1} + a * (tanh(W x_t + U h_{t-1}) - h_{t-1}); starts from a learned vector, which
    is not zero.
    """

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.start = nn.Parameter(torch.randn(self.hidden_size))
        self.of_input = nn.Linear(input_size, self.hidden_size)
        self.of_state = nn.Linear(self.hidden_size, self.hidden_size, bias=False)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> LeakyState:
        return LeakyState(self.start.to(device=device, dtype=dtype).expand(batch_size, -1))

    def step(self, x_t: Tensor, state: LeakyState) -> tuple[Tensor, LeakyState]:
        h = state.h + 0.3 * (torch.tanh(self.of_input(x_t) + self.of_state(state.h)) - state.h)
        return h, LeakyState(h)


class MatrixState(NamedTuple):
    memory: Tensor
    """[B, D, H]"""
    total: Tensor
    """[B]"""


class Matrix(Cell[CellOptions]):
    """A state of two axes and one of none, and an output that is wider than `hidden_size`: an
    outer-product memory.
    """

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.output_size = self.hidden_size + 1
        self.key = nn.Linear(input_size, input_size)
        self.value = nn.Linear(input_size, self.hidden_size)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> MatrixState:
        memory = torch.zeros(
            batch_size, self.input_size, self.hidden_size, device=device, dtype=dtype
        )
        return MatrixState(memory, torch.zeros(batch_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: MatrixState) -> tuple[Tensor, MatrixState]:
        key, value = torch.sigmoid(self.key(x_t)), torch.tanh(self.value(x_t))
        memory = 0.5 * state.memory + key.unsqueeze(-1) * value.unsqueeze(1)
        total = 0.9 * state.total + x_t.sum(dim=-1)
        y = torch.einsum("bd,bdh->bh", x_t, memory)
        return torch.cat([y, total.unsqueeze(-1)], dim=-1), MatrixState(memory, total)


NAMES = ("rnn_tanh", "rnn_relu", "lstm", "gru", "leaky", "matrix")


def build(name: str, inputs: int, hidden: int, dtype: torch.dtype = torch.float64) -> Cell:
    """Return a cell by its name here, the same at every call."""
    with seeded(0, name, inputs, hidden):
        cell = {
            "rnn_tanh": lambda: RNN(inputs, RNNOptions(hidden_size=hidden)),
            "rnn_relu": lambda: RNN(inputs, RNNOptions(hidden_size=hidden, nonlinearity="relu")),
            "lstm": lambda: LSTM(inputs, LSTMOptions(hidden_size=hidden)),
            "gru": lambda: GRU(inputs, GRUOptions(hidden_size=hidden)),
            "leaky": lambda: Leaky(inputs, CellOptions(hidden_size=hidden)),
            "matrix": lambda: Matrix(inputs, CellOptions(hidden_size=hidden)),
        }[name]()
    return cell.to(dtype)


def _offered(name: str, path: str) -> bool:
    return path != "native" or build(name, 2, 2).native() is not None


COMBINATIONS = [(name, path) for name in NAMES for path in PATHS if _offered(name, path)]
"""Every cell with every path that may run it."""
