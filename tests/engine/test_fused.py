"""Compiled kernels: which cells have one and why another has none, and what a kernel owes beside its numbers."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from typing import Any, NamedTuple

import pytest
import torch
from conftest import REPOSITORY
from hand_made import Leaky, Matrix
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, CellOptions
from recurra.engine import eager, fused, paths
from recurra.engine.build import Unbuildable
from recurra.engine.choice import Choice
from recurra.engine.fused.record import Unsupported
from recurra.engine.fused.window import slowly
from recurra.engine.recurrence import map_state
from recurra_cells.gated_delta import GatedDelta
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.ligru import LiGRU
from recurra_cells.lru import LRU
from recurra_cells.lstm import LSTM
from recurra_cells.matrix_options import GatedDeltaOptions, MLSTMOptions
from recurra_cells.mgu import MGU
from recurra_cells.mingru import MinGRU
from recurra_cells.minlstm import MinLSTM
from recurra_cells.mlstm import MLSTM
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
    LRUOptions,
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
    (LSTM, LSTMOptions(peephole=True, projection=5, layer_norm=True)), (LSTM, LSTMOptions(projection=5)),
    (LSTM, LSTMOptions(peephole=True)), (LSTM, LSTMOptions(layer_norm=True, coupled=True)),
    (GRU, GRUOptions()), (GRU, GRUOptions(reset="before")), (MGU, MGUOptions()), (IndRNN, IndRNNOptions()),
    (IndRNN, IndRNNOptions(nonlinearity="tanh")), (LiGRU, LiGRUOptions()), (LiGRU, LiGRUOptions(layer_norm=True)),
    (SLSTM, SLSTMOptions()), (SLSTM, SLSTMOptions(heads=2, forget="exp")), (MinGRU, MinGRUOptions()),
    (MinGRU, MinGRUOptions(activation="identity")), (MinLSTM, MinLSTMOptions()), (RGLRU, RGLRUOptions(heads=2)),
    (SRU, SRUOptions()), (SRU, SRUOptions(activation="relu")), (QRNN, QRNNOptions()),
    (QRNN, QRNNOptions(pooling="ifo", window=3)), (Leaky, CellOptions()),
]  # fmt: skip
NAMES = [
    f"{kind.__name__}-{'-'.join(f'{k}={v}' for k, v in options.model_dump(exclude_unset=True).items())}".strip("-")
    for kind, options in FUSED
]
LAST = dict(FUSED)
"""Of each kind the variant that stands last: the others' kernels are slow, and are tried where the cells are tested."""
H = 6


def sized(kind: Any, options: Any, inputs: int = 4, hidden: int = H) -> Any:
    torch.manual_seed(3)
    return kind(inputs, type(options).model_validate(options.model_dump() | {"hidden_size": hidden})).double()


def lstm(**options: Any) -> Any:
    return sized(LSTM, LSTMOptions(**options))


def window(cell: Any, batch: int = 3, steps: int = 5, seed: int = 0, dtype: torch.dtype = torch.float64) -> Any:
    """Return an input and a start that ask for gradients."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, cell.input_size, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()
    zero = cell.initial_state(batch, device=x.device, dtype=torch.float64)
    state = map_state(
        lambda f: torch.randn(f.shape, generator=generator, dtype=f.dtype).to(dtype).requires_grad_(), zero
    )
    return x, state


def loss(y: Tensor, state: Any) -> Tensor:
    return sum((value * torch.cos(value)).sum() for value in (y, *state))


def trace(cell: Any, runner: Any, x: Tensor, state: Any, **flags: Any) -> dict[str, Tensor]:
    """Return outputs, the state after the window, and every gradient."""
    y, final = runner(cell, x, state, flags.get("reset"), flags.get("lengths"))
    named = {"x": x, **{f"start {i}": f for i, f in enumerate(state)}, **dict(cell.named_parameters())}
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
            have[name], value, atol=bound, rtol=bound, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
        )


def equals_steps(cell: Any, x: Tensor, state: Any, bound: float = 1e-11, **flags: Any) -> None:
    same(trace(cell, fused.run, x, state, **flags), trace(cell, eager.run, x, state, **flags), bound)


# which cells have a kernel


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
    [(LRU, LRUOptions()), (MLSTM, MLSTMOptions()), (GatedDelta, GatedDeltaOptions()), (Matrix, CellOptions())],
)
def test_other_cells_are_refused_in_a_sentence(kind, options):
    reason = fused.refusal(sized(kind, options, hidden=8))
    assert reason is None or (reason[0].islower() and "\n" not in reason and len(reason) < 120), reason


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
            super().initial_state(batch_size, device=device, dtype=dtype).h, torch.zeros(batch_size, dtype=torch.long)
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


class Shaking(Stepped):
    """It draws anew at each step, the same for all rows."""

    def of(self, h: Tensor) -> Tensor:
        return h + torch.rand_like(self.map.bias) if self.training else h


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
        return Two(*(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype) for _ in range(2)))

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
    """An output of the input or of nothing, fields that are swapped, left, forgotten or made of nothing else."""
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
        h = torch.tanh(self.map(torch.cat((x_t, state.h.expand(-1, self.hidden_size)), -1))) + state.h
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
        cell(x)[0], eager.run(cell, x, cell.initial_state(3, device=x.device, dtype=x.dtype), None, None)[0]
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


# gradients


def test_the_gradient_of_a_gradient_is_that_of_the_steps():
    """With resets and lengths, for every input at once."""
    cell = lstm(peephole=True)
    x, state = window(cell)
    flags = torch.tensor([[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool(), torch.tensor([5, 3, 4])
    wanted = [x, *state, *cell.parameters()]

    def second(runner: Any) -> list[Tensor]:
        first = torch.autograd.grad(loss(*runner(cell, x, state, *flags)), wanted, create_graph=True)
        return list(torch.autograd.grad(sum((g * g).sum() for g in first), wanted))

    for have, want in zip(second(fused.run), second(eager.run), strict=True):
        torch.testing.assert_close(have, want, atol=1e-10, rtol=1e-10)


def test_gradcheck_holds():
    cell = sized(GRU, GRUOptions(), inputs=2, hidden=3)
    x, state = window(cell, batch=2, steps=3)
    assert torch.autograd.gradcheck(lambda x, h: fused.run(cell, x, type(state)(h), None, None)[0], (x, state[0]))


def test_only_what_asks_for_a_gradient_has_one():
    """Frozen weights, an input without a gradient, a start without one: the other gradients are as before."""
    cell = lstm()
    x, state = window(cell)
    cell.weight_ih.requires_grad_(False)
    cell.bias_hh.requires_grad_(False)
    equals_steps(cell, x.detach(), state)
    equals_steps(cell, x, map_state(Tensor.detach, state))
    for weight in cell.parameters():
        weight.requires_grad_(False)
    equals_steps(cell, x, map_state(Tensor.detach, state))
    y, _ = fused.run(cell, x.detach(), map_state(Tensor.detach, state), None, None)
    assert not y.requires_grad


def test_a_loss_on_part_of_what_a_window_gives_has_the_gradients_of_that_part():
    cell = lstm()
    x, state = window(cell)
    for part in (lambda y, s: y[:, 2].sum(), lambda y, s: s[1].sum(), lambda y, s: (s[0] * y[:, 0]).sum()):
        have, want = (
            torch.autograd.grad(part(*runner(cell, x, state, None, None)), [x, *state, *cell.parameters()])
            for runner in (fused.run, eager.run)
        )
        for one, other in zip(have, want, strict=True):
            torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_two_backward_passes_through_one_window_give_the_same():
    cell = lstm()
    x, state = window(cell)
    y, _ = fused.run(cell, x, state, None, None)
    first = torch.autograd.grad(y.sum(), x, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(y.sum(), x)[0])


def test_a_weight_changed_between_forward_and_backward_is_told():
    """As torch tells it of its own operations, not with a gradient of other weights."""
    cell = lstm()
    x, state = window(cell)
    y, _ = fused.run(cell, x, state, None, None)
    with torch.no_grad():
        cell.weight_hh.add_(1.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


# what it computes on


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_two_threads_give_the_bits_of_one(batch, monkeypatch):
    one, two = by_threads(batch, monkeypatch, lambda *case: trace(*case))
    assert torch.equal(one["y"], two["y"]) and torch.equal(one["final 1"], two["final 1"])
    same(two, one, 1e-4)


@pytest.mark.parametrize("heavy", [0, 300_000])
def test_any_rows_shared_out_between_threads_have_their_bits(heavy, monkeypatch):
    """Whether threads take rows or columns, and whichever rows a thread has beside a row."""
    monkeypatch.setattr(sys.modules["recurra.engine.fused.window"], "HEAVY", heavy)
    for batch in range(1, 18):
        one, two = by_threads(batch, monkeypatch, forward)
        assert torch.equal(one, two), batch


def by_threads(batch: int, monkeypatch: Any, run: Any) -> list[Any]:
    """Return what comes of a window by one thread, and by two."""
    monkeypatch.setattr(sys.modules["recurra.engine.fused.window"], "LIGHT", 0)
    cell = sized(LSTM, LSTMOptions(), hidden=96).float()
    x, state = window(cell, batch=batch, steps=12, dtype=torch.float32)
    found = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        found.append(run(cell, fused.run, x, state))
    torch.set_num_threads(1)
    return found


@torch.no_grad()
def forward(cell: Any, runner: Any, x: Tensor, state: Any) -> Tensor:
    y, final = runner(cell, x, state, None, None)
    return torch.cat([y.flatten(), *(field.flatten() for field in final)])


def test_two_calls_give_the_same_bits():
    cell = lstm()
    x, state = window(cell)
    one, two = (trace(cell, fused.run, x, state) for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("kind", "options"), [(LSTM, LSTMOptions(layer_norm=True)), (GRU, GRUOptions()), (SRU, SRUOptions())]
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_broken_in_a_row_stays_in_it(kind, options, value):
    cell = sized(kind, options)
    x, state = window(cell)
    broken = x.detach().clone()
    broken[1, 2, 0] = value
    clean, found = (fused.run(cell, given, state, None, None)[0] for given in (x, broken))
    assert torch.equal(clean[[0, 2]], found[[0, 2]]) and torch.equal(clean[1, :2], found[1, :2])
    want = eager.run(cell, broken, state, None, None)[0]
    assert torch.equal(found.isfinite(), want.isfinite()) and torch.equal(found.isnan(), want.isnan())


@pytest.mark.parametrize("name", ["weight_ih", "weight_hh", "bias_ih"])
def test_nan_in_a_weight_shows_in_the_outputs(name):
    cell = lstm()
    with torch.no_grad():
        getattr(cell, name).view(-1)[0] = float("nan")
    x, state = window(cell)
    have, want = (loss(*runner(cell, x, state, None, None)) for runner in (fused.run, eager.run))
    assert have.isnan() and want.isnan()
    y, expected = (runner(cell, x, state, None, None)[0] for runner in (fused.run, eager.run))
    assert torch.equal(y.isnan(), expected.isnan())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_types_are_near_the_steps_in_float32(dtype):
    """Outputs and gradients have the narrow type."""
    cell = lstm().to(dtype)
    x, state = window(cell, dtype=dtype)
    have = trace(cell, fused.run, x, state)
    wide = copy.deepcopy(cell).float()
    want = trace(
        wide,
        eager.run,
        x.detach().float().requires_grad_(),
        map_state(lambda f: f.detach().float().requires_grad_(), state),
    )
    for name, value in want.items():
        assert have[name].dtype == dtype, name
        torch.testing.assert_close(have[name].float(), value, atol=0.06, rtol=0.06)


def test_autocast_is_near_the_steps():
    cell = lstm().float()
    x, state = window(cell, dtype=torch.float32)
    want = trace(cell, eager.run, x, state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        have = trace(cell, fused.run, x, state)
    for name, value in want.items():
        torch.testing.assert_close(have[name].float(), value, atol=0.06, rtol=0.06)


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0), (3, 1)])
def test_windows_without_rows_or_steps(shape):
    cell = lstm()
    x, state = window(cell, *shape)
    y, final = fused.run(cell, x, state, None, None)
    want, after = eager.run(cell, x, state, None, None)
    assert y.shape == want.shape == (*shape, H)
    for one, other in zip((y, *final), (want, *after), strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)


def test_tensors_may_lie_in_memory_as_they_like():
    """Time first, every other element, one row for all; and flags and lengths as well."""
    cell = lstm()
    x, state = window(cell, batch=4, steps=6)
    time_first = x.detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_()
    equals_steps(cell, time_first, state)
    thinned = torch.stack((x.detach(), x.detach()), -1).flatten(2)[..., ::2].requires_grad_()
    equals_steps(cell, thinned, state)
    row = torch.randn(1, H, dtype=torch.float64, requires_grad=True)
    equals_steps(cell, x, map_state(lambda field: row.expand(4, H), state))
    reset = (torch.rand(6, 4, generator=torch.Generator().manual_seed(2)) < 0.4).t()
    equals_steps(cell, x, state, reset=reset)
    equals_steps(cell, x, state, lengths=torch.tensor([6, 9, 2, 9, 0, 9, 5], dtype=torch.int32)[::2])


def test_inputs_and_start_are_left_as_they_were():
    cell = lstm()
    x, state = window(cell)
    before = [t.detach().clone() for t in (x, *state, *cell.parameters())]
    trace(cell, fused.run, x, state)
    assert all(torch.equal(old, new) for old, new in zip(before, (x, *state, *cell.parameters()), strict=True))


def test_a_row_that_is_over_counts_for_nothing_whatever_it_holds():
    cell = lstm()
    x, state = window(cell)
    lengths = torch.tensor([5, 2, 0])
    rubbish = x.detach().clone()
    rubbish[1, 2:] = rubbish[2] = float("nan")
    have = trace(cell, fused.run, rubbish.requires_grad_(), state, lengths=lengths)
    same(have, trace(cell, eager.run, x, state, lengths=lengths))


# the life of a module


def test_weights_are_those_of_the_moment():
    """After a step of an optimiser, another state dict, another type and back, and a parameter put in its place."""
    cell = lstm()
    x, state = window(cell)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.5)
    loss(*fused.run(cell, x, state, None, None)).backward()
    optimizer.step()
    equals_steps(cell, x, state)
    cell.load_state_dict({name: t * 0.5 for name, t in cell.state_dict().items()})
    equals_steps(cell, x, state)
    cell.float()
    narrow, start = x.detach().float().requires_grad_(), map_state(lambda f: f.detach().float().requires_grad_(), state)
    equals_steps(cell, narrow, start, 1e-4)
    cell.double()
    equals_steps(cell, x, state)
    cell.weight_hh = nn.Parameter(torch.randn_like(cell.weight_hh))
    equals_steps(cell, x, state)
    cell.load_state_dict({name: t * 2 for name, t in cell.state_dict().items()}, assign=True)
    equals_steps(cell, x, state)


def test_a_cell_that_was_used_can_be_copied_pickled_and_saved():
    cell = lstm()
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    names = set(cell.state_dict())
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        same(trace(twin, fused.run, x, state), want, 0.0)
        with torch.no_grad():
            twin.weight_hh.zero_()
        equals_steps(twin, x, state)
    assert set(cell.state_dict()) == names == set(lstm().state_dict())
    same(trace(cell, fused.run, x, state), want, 0.0)


@pytest.mark.filterwarnings("ignore")
def test_a_parametrised_weight_is_what_its_parts_make():
    cell = lstm()
    x, state = window(cell)
    trace(cell, fused.run, x, state)
    nn.utils.parametrizations.weight_norm(cell, "weight_hh")
    equals_steps(cell, x, state)
    nn.utils.parametrize.remove_parametrizations(cell, "weight_hh")
    equals_steps(cell, x, state)


def test_a_start_of_another_width_is_told_as_by_the_steps():
    """A kernel would read what lies behind it in memory."""
    cell = lstm()
    x, state = window(cell)
    narrow = type(state)(state.h.detach()[:, :3], state.c)
    for runner in (fused.run, eager.run):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            runner(cell, x, narrow, None, None)
    cell = sized(IndRNN, IndRNNOptions())
    x, state = window(cell)
    one = type(state)(state.h.detach()[:, :1].requires_grad_())  # the steps repeat it
    equals_steps(cell, x, one)


def test_a_weight_that_is_gone_or_of_another_shape_is_told_or_used_as_by_the_steps():
    cell = lstm()
    x, state = window(cell)
    trace(cell, fused.run, x, state)
    cell.bias_ih = None
    equals_steps(cell, x, state)
    cell.weight_hh = nn.Parameter(torch.randn(4 * H, H - 1, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fused.run(cell, x, state, None, None)


def test_options_tell_kernels_apart():
    cells = [
        lstm(),
        lstm(coupled=True),
        lstm(projection=3),
        sized(LSTM, LSTMOptions(), hidden=7),
        sized(LSTM, LSTMOptions(), inputs=2),
    ]
    for cell in [*cells, *cells]:
        equals_steps(cell, *window(cell))


def test_modes_change_nothing():
    cell = lstm()
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    same(trace(cell.eval(), fused.run, x, state), want, 0.0)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            y, final = fused.run(cell, x, state, None, None)
        assert not y.requires_grad
        assert torch.equal(y, want["y"]) and torch.equal(final[1], want["final 1"])
    same(trace(cell.train(), fused.run, x, state), want, 0.0)


def test_a_cell_first_used_under_inference_mode_learns_after():
    cell = sized(RNN, RNNOptions(), inputs=3, hidden=5)
    x, state = window(cell)
    with torch.inference_mode():
        fused.run(cell, x.detach(), map_state(Tensor.detach, state), None, None)
    equals_steps(cell, x, state)


def test_threads_of_python_may_call_at_once():
    cells = [lstm(), sized(GRU, GRUOptions())]
    given = [window(cell, seed=i) for i, cell in enumerate(cells)]
    want = [trace(cell, fused.run, *parts) for cell, parts in zip(cells, given, strict=True)]
    faults: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(20):
                same(trace(cells[index % 2], fused.run, *given[index % 2]), want[index % 2], 0.0)
        except BaseException as fault:
            faults.append(fault)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults, faults


def test_first_uses_in_threads_at_once_all_come_out_right():
    """Two kinds of cells that no other test compiles, each for the first time."""
    cells = [sized(MGU, MGUOptions(), inputs=3, hidden=5 + i) for i in range(2)]
    given = [window(cell) for cell in cells]
    found: dict[int, Any] = {}

    def work(index: int) -> None:
        try:
            found[index] = trace(cells[index], fused.run, *given[index])
        except BaseException as fault:
            found[index] = fault

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, cell in enumerate(cells):
        assert isinstance(found[index], dict), found[index]
        same(found[index], trace(cell, eager.run, *given[index]))


def test_kernels_made_in_threads_at_once_are_those_made_alone(monkeypatch):
    """Their text is the same, whoever else makes one."""
    cells = [lstm(layer_norm=True), lstm(peephole=True), sized(GRU, GRUOptions()), sized(SLSTM, SLSTMOptions())]
    texts: dict[int, str] = {}

    def library(text: str) -> Any:
        texts[threading.get_ident()] = text
        raise Unbuildable("nothing is compiled here")

    monkeypatch.setattr(fused, "library", library)

    def text(cell: Any) -> str:
        fused.KERNELS.of(cell, torch.float64)
        return texts[threading.get_ident()]

    found: list[str] = [""] * len(cells)

    def work(index: int) -> None:
        found[index] = text(cells[index])

    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    alone = [text(cell) for cell in cells]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(3):
            monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
            workers = [threading.Thread(target=work, args=(i,)) for i in range(len(cells))]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert found == alone
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.filterwarnings("ignore")
def test_transforms_of_torch_see_the_steps():
    """Those of torch.func, and gradients forward, which a kernel has not."""
    cell = lstm()
    x, state = window(cell)
    x, state = x.detach(), map_state(Tensor.detach, state)
    trace(cell, fused.run, x, state)

    def output(runner: Any) -> Any:
        return lambda x: runner(cell, x, state, None, None)[0]

    for transform in (
        lambda f: torch.func.grad(lambda x: f(x).sum())(x),
        lambda f: torch.func.vmap(f)(torch.stack((x, 2 * x))),
        lambda f: torch.func.jvp(f, (x,), (x,))[1],
    ):
        torch.testing.assert_close(transform(output(fused.run)), transform(output(eager.run)), atol=1e-11, rtol=1e-11)
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        y = output(fused.run)(torch.autograd.forward_ad.make_dual(x, x))
        tangent = torch.autograd.forward_ad.unpack_dual(y).tangent
    torch.testing.assert_close(tangent, torch.func.jvp(output(eager.run), (x,), (x,))[1], atol=1e-11, rtol=1e-11)


def test_a_compiled_model_takes_the_cell():
    """torch's compiler traces the steps, which are the same."""
    cell = lstm()
    cell.path = "fused"
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    compiled = torch.compile(cell, backend="aot_eager")
    y, final = compiled(x, state)
    torch.testing.assert_close(y, want["y"], atol=1e-11, rtol=1e-11)
    grad = torch.autograd.grad(loss(y, final), x)[0]
    torch.testing.assert_close(grad, want["gradient of x"], atol=1e-11, rtol=1e-11)


def resident() -> int:
    """Return how many bytes of memory this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_calls_leave_no_memory_behind():
    cell = sized(LSTM, LSTMOptions(), hidden=32).float()
    x, state = window(cell, batch=16, steps=64, dtype=torch.float32)  # a window holds about 1 MB
    for _ in range(20):
        trace(cell, fused.run, x, state)
    gc.collect()
    before = resident()
    for _ in range(60):
        trace(cell, fused.run, x, state)
    gc.collect()
    assert resident() - before < 20e6


def test_a_first_use_leaves_torch_s_random_numbers_alone():
    """Also that of a cell whose step draws some."""
    cell = sized(RNN, RNNOptions(), inputs=2, hidden=9)
    x, state = window(cell)
    drawing = sized(Shaking, CellOptions(), inputs=2, hidden=9)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    trace(cell, fused.run, x, state)
    assert fused.refusal(drawing)
    assert torch.equal(torch.get_rng_state(), before)


LIGHT = """
import sys
import recurra
assert "torch" not in sys.modules
import torch
from recurra.engine import fused
from recurra_cells.lstm import LSTM
from recurra_cells.options import LSTMOptions
known = set(sys.modules)
cell = LSTM(3, LSTMOptions(hidden_size=4))
x = torch.zeros(2, 3, 3)
y, _ = fused.run(cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None)
y.sum().backward()
print(*[name for name in ("torch._dynamo", "sympy", "torch._inductor") if name in sys.modules and name not in known])
"""


def test_a_first_use_imports_no_compiler_of_torch():
    """Those take seconds."""
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, cwd=REPOSITORY, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_slow_form_of_a_loop_is_the_loop():
    """What gives gradients of gradients computes the same window, value by value."""
    cell = lstm()
    x, state = window(cell)
    seen: list[Any] = []

    def spy(plan: Any, window: Any, tensors: Any) -> Any:
        seen.append(slowly(plan, window, tensors))
        return seen[-1]

    original = fused.loop.__globals__["slowly"]
    fused.loop.__globals__["slowly"] = spy
    try:
        y, final = fused.run(cell, x, state, None, torch.tensor([5, 2, 0]))
        torch.autograd.grad(y.sum(), x, create_graph=True)
    finally:
        fused.loop.__globals__["slowly"] = original
    (found,) = seen
    for one, other in zip(found[:2], final, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
