"""Cells that have a kernel, and what a kernel is compared with."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from hand_made import Leaky
from torch import Tensor, nn

from recurra import Cell, CellOptions
from recurra.engine import eager, fused
from recurra.engine.recurrence import map_state
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.ligru import LiGRU
from recurra_cells.lstm import LSTM
from recurra_cells.mgu import MGU
from recurra_cells.mingru import MinGRU
from recurra_cells.minlstm import MinLSTM
from recurra_cells.options import (
    GRUOptions,
    IndRNNOptions,
    LiGRUOptions,
    LSTMOptions,
    MGUOptions,
    RNNOptions,
    SLSTMOptions,
)  # fmt: skip
from recurra_cells.qrnn import QRNN
from recurra_cells.rglru import RGLRU
from recurra_cells.rnn import RNN
from recurra_cells.scan_options import (
    MinGRUOptions,
    MinLSTMOptions,
    QRNNOptions,
    RGLRUOptions,
    SRUOptions,
)  # fmt: skip
from recurra_cells.slstm import SLSTM
from recurra_cells.sru import SRU

FUSED: list[tuple[Any, Any]] = [
    (RNN, RNNOptions()), (RNN, RNNOptions(nonlinearity="relu")), (LSTM, LSTMOptions()),
    (LSTM, LSTMOptions(coupled=True)),
    (LSTM, LSTMOptions(peephole=True, projection=5, layer_norm=True)),
    (LSTM, LSTMOptions(projection=5)),
    (LSTM, LSTMOptions(peephole=True)), (LSTM, LSTMOptions(layer_norm=True, coupled=True)),
    (GRU, GRUOptions()), (GRU, GRUOptions(reset="before")), (MGU, MGUOptions()),
    (IndRNN, IndRNNOptions()),
    (IndRNN, IndRNNOptions(nonlinearity="tanh")), (LiGRU, LiGRUOptions()),
    (LiGRU, LiGRUOptions(layer_norm=True)),
    (SLSTM, SLSTMOptions()), (SLSTM, SLSTMOptions(heads=2, forget="exp")),
    (MinGRU, MinGRUOptions()),
    (MinGRU, MinGRUOptions(activation="identity")), (MinLSTM, MinLSTMOptions()),
    (RGLRU, RGLRUOptions(heads=2)),
    (SRU, SRUOptions()), (SRU, SRUOptions(activation="relu")), (QRNN, QRNNOptions()),
    (QRNN, QRNNOptions(pooling="ifo", window=3)), (Leaky, CellOptions()),
]  # fmt: skip
NAMES = [
    "-".join(
        [kind.__name__, *(f"{k}={v}" for k, v in options.model_dump(exclude_unset=True).items())]
    )
    for kind, options in FUSED
]
LAST = dict(FUSED)
"""Of each kind the variant that stands last: the others' kernels are slow, and are tried where the
cells are tested.
"""
H = 6


def sized(kind: Any, options: Any, inputs: int = 4, hidden: int = H) -> Any:
    torch.manual_seed(3)
    return kind(
        inputs, type(options).model_validate(options.model_dump() | {"hidden_size": hidden})
    ).double()


def lstm(**options: Any) -> Any:
    return sized(LSTM, LSTMOptions(**options))


def window(
    cell: Any, batch: int = 3, steps: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64
) -> Any:
    """Return an input and a start that ask for gradients."""
    generator = torch.Generator().manual_seed(seed)
    x = (
        torch.randn(batch, steps, cell.input_size, generator=generator, dtype=torch.float64)
        .to(dtype)
        .requires_grad_()
    )
    zero = cell.initial_state(batch, device=x.device, dtype=torch.float64)
    state = map_state(
        lambda f: (
            torch.randn(f.shape, generator=generator, dtype=f.dtype).to(dtype).requires_grad_()
        ),
        zero,
    )
    return x, state


def loss(y: Tensor, state: Any) -> Tensor:
    return sum((value * torch.cos(value)).sum() for value in (y, *state))


def trace(cell: Any, runner: Any, x: Tensor, state: Any, **flags: Any) -> dict[str, Tensor]:
    """Return outputs, the state after the window, and every gradient."""
    y, final = runner(cell, x, state, flags.get("reset"), flags.get("lengths"))
    named = {
        "x": x,
        **{f"start {i}": f for i, f in enumerate(state)},
        **dict(cell.named_parameters()),
    }
    named = {name: value for name, value in named.items() if value.requires_grad}
    found = {"y": y} | {f"final {i}": field for i, field in enumerate(final)}
    total = loss(y, final)
    if total.requires_grad:
        grads = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        for (name, value), grad in zip(named.items(), grads, strict=True):
            found[f"gradient of {name}"] = torch.zeros_like(value) if grad is None else grad
    return {name: value.detach() for name, value in found.items()}


def same(have: dict[str, Tensor], want: dict[str, Tensor], bound: float = 1e-11) -> None:
    assert have.keys() == want.keys()
    for name, value in want.items():
        torch.testing.assert_close(
            have[name],
            value,
            atol=bound,
            rtol=bound,
            equal_nan=True,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def equals_steps(cell: Any, x: Tensor, state: Any, bound: float = 1e-11, **flags: Any) -> None:
    same(
        trace(cell, fused.run, x, state, **flags), trace(cell, eager.run, x, state, **flags), bound
    )


class One(NamedTuple):
    h: Tensor


class Stepped(Cell[CellOptions]):
    """A cell with one map, whose kinds differ in `of` what it gives."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size + self.hidden_size, self.hidden_size)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> One:
        return One(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def of(self, h: Tensor) -> Tensor:
        return h

    def step(self, x_t: Tensor, state: One) -> tuple[Tensor, One]:
        h = self.of(torch.tanh(self.map(torch.cat((x_t, state.h), -1))))
        return h, One(h)


class Shaking(Stepped):
    """It draws anew at each step, the same for all rows."""

    def of(self, h: Tensor) -> Tensor:
        return h + torch.rand_like(self.map.bias) if self.training else h
