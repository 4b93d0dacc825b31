"""Compiled kernels: which cells have one, and why another has none."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hand_made import Matrix
from kernels import FUSED, LAST, NAMES, One, Shaking, Stepped, equals_steps, lstm, sized, window
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, CellOptions
from recurra.engine import eager, fused, paths
from recurra.engine.choice import Choice
from recurra.engine.fused.record import Unsupported
from recurra_cells.gated_delta import GatedDelta
from recurra_cells.lru import LRU
from recurra_cells.matrix_options import GatedDeltaOptions, MLSTMOptions
from recurra_cells.mlstm import MLSTM
from recurra_cells.options import (
    RNNOptions,
)  # fmt: skip
from recurra_cells.rnn import RNN
from recurra_cells.scan_options import (
    LRUOptions,
)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        pytest.param(*pair, id=name, marks=[] if LAST[pair[0]] is pair[1] else [pytest.mark.slow])
        for pair, name in zip(FUSED, NAMES, strict=True)
    ],
)
def test_cells_of_gates_and_of_scans_have_a_kernel_that_equals_their_steps(kind, options):
    """Also with resets, lengths, a start that is not zero, and one row or one step."""
    cell = sized(kind, options)
    x, state = window(cell)
    reset = torch.rand(3, 5, generator=torch.Generator().manual_seed(1)) < 0.4
    equals_steps(cell, x, state, reset=reset)
    equals_steps(cell, x, state, lengths=torch.tensor([5, 0, 3]))
    equals_steps(cell, *window(cell, batch=1, steps=1))


def test_a_cell_of_one_float32_kernel_is_not_refused():
    assert fused.refusal(lstm()) is None


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LRU, LRUOptions()),
        (MLSTM, MLSTMOptions()),
        (GatedDelta, GatedDeltaOptions()),
        (Matrix, CellOptions()),
    ],
)
def test_other_cells_are_refused_in_a_sentence(kind, options):
    reason = fused.refusal(sized(kind, options, hidden=8))
    assert reason is None or (reason[0].islower() and "\n" not in reason and len(reason) < 120), (
        reason
    )


class Looking(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h * 2 if h.sum().item() > 0 else h


class Branching(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h * 2 if bool((h > 0).all()) else h


class Writing(Stepped):
    def of(self, h: Tensor) -> Tensor:
        h = h * 1
        h[:, 0] = 0.5
        return h


class Counting(Stepped):
    """Its state counts steps."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        return Two(
            super().initial_state(batch_size, device=device, dtype=dtype).h,
            torch.zeros(batch_size, dtype=torch.long),
        )

    def step(self, x_t: Tensor, state: Any) -> Any:
        h = torch.tanh(self.map(torch.cat((x_t, state.h), -1))) / (1 + state.n.unsqueeze(-1))
        return h, Two(h, state.n + 1)


class Two(NamedTuple):
    h: Tensor
    n: Tensor


class Hidden(Stepped):
    """It reads a tensor that torch does not know as the cell's."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.held = (torch.full((self.hidden_size,), 0.5, dtype=torch.float64),)

    def of(self, h: Tensor) -> Tensor:
        return h * self.held[0]


class Dropping(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return functional.dropout(h, 0.5, self.training)


class Mixing(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h - h.sum(0) * 0.1


class Normalising(Stepped):
    """It normalises over the batch."""

    def of(self, h: Tensor) -> Tensor:
        return functional.batch_norm(h, None, None, training=True)


class Rolling(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h.roll(1, 0)


class Adding(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return torch.cumsum(h, -1) / 6


class Transforming(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return torch.fft.rfft(h).real[:, :1] + h


class Sorting(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h.sort(-1).values


class Rounding(Stepped):
    """torch.div with a rounding mode is no division."""

    def of(self, h: Tensor) -> Tensor:
        return h + torch.div(h, 0.3, rounding_mode="floor") * 0.1


class Casting(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return h.to(torch.bfloat16).to(h.dtype)


class Flooring(Stepped):
    def of(self, h: Tensor) -> Tensor:
        return (h * 3).long() * 0.1 + h


REFUSED = {
    Looking: "looks at a value (aten._local_scalar_dense)",
    Branching: "looks at a value",
    Writing: "writes into a tensor that it has other views of (aten.fill_)",
    Counting: "state n is int64",
    Hidden: "neither its input, its state, a parameter nor a buffer",
    Dropping: "draws random numbers (aten.bernoulli",
    Shaking: "draws random numbers (aten.rand_like)",
    Mixing: "mix",
    Normalising: "aten.native_batch_norm",
    Rolling: "aten.roll",
    Adding: "aten.cumsum",
    Transforming: "aten.",
    Sorting: "aten.sort",
    Rounding: "rounds",
    Casting: "type",
    Flooring: "type",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_what_no_kernel_can_do_is_named_and_runs_step_by_step(kind):
    """In one line that says which operation it is; the cell's numbers are those of its steps."""
    cell = sized(kind, CellOptions())
    reason = paths.PATHS["fused"].refusal(cell)
    assert reason and REFUSED[kind] in reason, reason
    assert "\n" not in reason and len(reason) < 140
    choice = Choice.named(cell, "fused")
    assert choice.path == "eager" and choice.refused["fused"] == reason
    cell.eval()
    cell.path = choice.path
    x = window(sized(RNN, RNNOptions()))[0]
    state = cell.initial_state(3, device=x.device, dtype=x.dtype)
    y, _ = cell(x, state)
    want = eager.run(cell, x, state, None, None)[0]
    assert torch.equal(y, want)


class Masked(Stepped):
    """Conditions on weights, a buffer that counts, and a whole number as a number."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.vector = nn.Parameter(torch.randn(self.hidden_size))
        self.register_buffer("counts", torch.arange(self.hidden_size))
        self.register_buffer("flags", torch.arange(self.hidden_size) % 2 == 0)

    def of(self, h: Tensor) -> Tensor:
        h = torch.where(self.vector > 0, h, -h) * (1 + self.counts) / 6
        h = torch.where(self.flags & (self.counts > 2), h * torch.tensor(0.5), h)
        return h + (h > 0).float() * torch.tensor([0.25] * self.hidden_size, dtype=h.dtype)


def test_conditions_and_counts_that_all_rows_share_are_numbers_to_a_kernel():
    cell = sized(Masked, CellOptions())
    assert fused.refusal(cell) is None
    equals_steps(cell, *window(cell))


class Halved(Stepped):
    """Its map reads the first part of a state field alone, and the last part of another."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.first = nn.Linear(2, self.hidden_size)
        self.last = nn.Linear(self.hidden_size - 2, self.hidden_size)

    def step(self, x_t: Tensor, state: One) -> tuple[Tensor, One]:
        h = torch.tanh(self.first(state.h[:, :2]) + self.last(state.h[:, 2:]) + x_t[:, :1])
        return h, One(h)


def test_a_product_may_read_a_part_of_a_state_field():
    cell = sized(Halved, CellOptions())
    equals_steps(cell, *window(cell))


class Odd(Cell[CellOptions]):
    """Steps at the edge of what a recurrence is; `dropout` says which."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size)
        self.vector = nn.Parameter(torch.randn(self.hidden_size))

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Two:
        return Two(
            *(
                torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
                for _ in range(2)
            )
        )

    def step(self, x_t: Tensor, state: Two) -> tuple[Tensor, Two]:
        a, b, u = state.h, state.n, self.map(x_t)
        zero = torch.zeros_like(a)
        found = {
            0: (x_t, a * 0.5, b),
            1: (u, b, a),
            2: (torch.tanh(u), u, u),
            3: (a, zero, torch.ones_like(b)),
            4: (self.vector.expand(a.shape[0], -1), a + self.vector, b * u),
            5: (zero, a, b * 0.9),
            6: (b, u * u, a),
            7: (a + b, self.vector.expand_as(a), a),
            8: (a[:, :2], torch.cat((a[:, 1:], b[:, :1]), -1), torch.cat((b[:, 1:], u[:, :1]), -1)),
        }
        y, a, b = found[int(self.options.dropout * 10)]
        return y, Two(a, b)


@pytest.mark.parametrize("number", range(9))
def test_steps_at_the_edge_of_what_a_recurrence_is(number):
    """An output of the input or of nothing, fields that are swapped, left, forgotten or made of
    nothing else.
    """
    cell = sized(Odd, CellOptions(dropout=(number + 0.5) / 10))
    x, state = window(cell)
    equals_steps(cell, x, state)
    equals_steps(cell, x, state, lengths=torch.tensor([5, 0, 3]))
    equals_steps(cell, x, state, reset=torch.arange(15).view(3, 5) % 4 == 1)


class Growing(Stepped):
    """Its state is wider after a step than at the start."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> One:
        return One(torch.zeros(batch_size, 1, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: One) -> tuple[Tensor, One]:
        h = (
            torch.tanh(self.map(torch.cat((x_t, state.h.expand(-1, self.hidden_size)), -1)))
            + state.h
        )
        return h, One(h)


class Narrowing(Stepped):
    """It takes numbers through a narrower type."""

    def of(self, h: Tensor) -> Tensor:
        return h.float().to(h.dtype)


def test_a_state_that_changes_its_width_is_refused():
    cell = sized(Growing, CellOptions())
    assert "[B, 6]" in (fused.refusal(cell) or "")
    x, _ = window(cell)
    assert torch.equal(
        cell(x)[0],
        eager.run(cell, x, cell.initial_state(3, device=x.device, dtype=x.dtype), None, None)[0],
    )


def test_a_narrower_type_on_the_way_is_refused():
    cell = sized(Narrowing, CellOptions())
    with pytest.raises(Unsupported, match="type"):
        fused.run(cell, *window(cell), None, None)


def test_dropout_that_is_off_is_no_hindrance_and_comes_back_with_training():
    """The kernel of evaluation is not taken for training."""
    cell = sized(Dropping, CellOptions()).eval()
    x, state = window(cell)
    equals_steps(cell, x, state)
    cell.train()
    assert "bernoulli" in (fused.refusal(cell) or "")
    with pytest.raises(Exception, match="bernoulli"):
        fused.run(cell, x, state, None, None)
