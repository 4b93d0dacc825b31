"""Compiled kernels: their gradients, and what they compute on."""

from __future__ import annotations

import copy
import sys
from typing import Any

import pytest
import torch
from kernels import FUSED, LAST, NAMES, H, One, equals_steps, loss, lstm, same, sized, trace, window
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from recurra import Cell, CellOptions
from recurra.engine import eager, fused
from recurra.engine.fused.window import Compiled
from recurra.engine.recurrence import map_state, within
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.lstm import LSTM
from recurra_cells.mingru import MinGRU
from recurra_cells.minlstm import MinLSTM
from recurra_cells.options import (
    GRUOptions,
    LSTMOptions,
)  # fmt: skip
from recurra_cells.rglru import RGLRU
from recurra_cells.scan_options import (
    RGLRUOptions,
    SRUOptions,
)  # fmt: skip
from recurra_cells.sru import SRU

# gradients


def test_the_gradient_of_a_gradient_is_that_of_the_steps():
    """With resets and lengths, for every input at once."""
    cell = lstm(peephole=True)
    x, state = window(cell)
    flags = (
        torch.tensor([[0, 0, 1, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 0]]).bool(),
        torch.tensor([5, 3, 4]),
    )
    wanted = [x, *state, *cell.parameters()]

    def second(runner: Any) -> list[Tensor]:
        first = torch.autograd.grad(
            loss(*runner(cell, x, state, *flags)), wanted, create_graph=True
        )
        return list(torch.autograd.grad(sum((g * g).sum() for g in first), wanted))

    for have, want in zip(second(fused.run), second(eager.run), strict=True):
        torch.testing.assert_close(have, want, atol=1e-10, rtol=1e-10)


def test_gradcheck_holds():
    cell = sized(GRU, GRUOptions(), inputs=2, hidden=3)
    x, state = window(cell, batch=2, steps=3)
    assert torch.autograd.gradcheck(
        lambda x, h: fused.run(cell, x, type(state)(h), None, None)[0], (x, state[0])
    )


def test_only_what_asks_for_a_gradient_has_one():
    """Frozen weights, an input without a gradient, a start without one: the other gradients are as
    before.
    """
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
    for part in (
        lambda y, s: y[:, 2].sum(),
        lambda y, s: s[1].sum(),
        lambda y, s: (s[0] * y[:, 0]).sum(),
    ):
        have, want = (
            torch.autograd.grad(
                part(*runner(cell, x, state, None, None)), [x, *state, *cell.parameters()]
            )
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


SLOW = pytest.mark.slow
APART = [
    pytest.param(kind, options, id=kind.__name__, marks=() if kind is MinLSTM else SLOW)
    for kind, options in (LAST | {RGLRU: RGLRUOptions()}).items()
    if kind in (IndRNN, MinGRU, MinLSTM, RGLRU, SRU)
]


@pytest.mark.parametrize(("kind", "options"), APART)
def test_threads_that_share_the_columns_of_a_scan_give_the_bits_of_one(kind, options, monkeypatch):
    """With resets and rows that are over, in every gradient; some threads have no columns."""
    cell = sized(kind, options, hidden=38)
    assert fused.KERNELS.of(cell, torch.float64).apart
    generator = torch.Generator().manual_seed(1)
    for batch in (1, 3):
        x, state = window(cell, batch=batch, steps=9)
        lengths = torch.randint(1, 10, (batch,), generator=generator)
        reset = torch.rand(batch, 9, generator=generator) < 0.3
        flags = {"reset": reset & within(lengths, 9), "lengths": lengths}
        found = []
        for threads in (1, 2, 3, 7):
            monkeypatch.setattr(Compiled, "shared_out", lambda *_, n=threads: (n, n > 1))
            found.append(trace(cell, fused.run, x, state, **flags))
        for shared in found[1:]:
            assert all(torch.equal(shared[name], value) for name, value in found[0].items())
    same(found[0], trace(cell, eager.run, x, state, **flags))


class Turning(Cell[CellOptions]):
    """A scan whose columns change places at each step."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> One:
        return One(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: One) -> tuple[Tensor, One]:
        turned = torch.cat((state.h[:, 1:], state.h[:, :1]), -1)
        h = torch.sigmoid(self.map(x_t)) * turned + 0.5 * state.h
        return h, One(h)


@pytest.mark.parametrize("columns", [False, True])
def test_a_cell_whose_columns_read_others_is_not_shared_out_by_columns(columns, monkeypatch):
    """A thread would read what another has not written yet, or has already."""
    cell = sized(Turning, CellOptions(), hidden=38)
    assert not fused.KERNELS.of(cell, torch.float64).apart
    monkeypatch.setattr(Compiled, "shared_out", lambda *_: (3, columns))
    equals_steps(cell, *window(cell))


def test_products_in_a_loop_are_not_columns_of_their_own():
    for cell in (lstm(), sized(GRU, GRUOptions())):
        assert not fused.KERNELS.of(cell, torch.float64).apart


@torch.no_grad()
@pytest.mark.parametrize(("kind", "options"), FUSED, ids=NAMES)
def test_the_work_outside_a_loop_is_what_torch_counts(kind, options):
    """That hangs on the number of threads: of the products before and after it, and no others."""
    cell = sized(kind, options)
    planned = fused.plan(cell, torch.float64)
    x, state = window(cell)
    rows = 15
    weights = {**dict(cell.named_parameters()), **dict(cell.named_buffers())}
    given = [weights[f"{path}.{name}".lstrip(".")] for path, name in planned.weights]
    with FlopCounterMode(display=False) as before:
        found = planned.before(rows, x.reshape(rows, -1), *given)
    counted = before.get_total_flops()
    if planned.after is not None:
        aside = found[len(planned.parts.sequences) :][: len(planned.parts.aside)]
        extras = [torch.zeros(rows, *shape, dtype=x.dtype) for shape in planned.extra_shapes]
        with FlopCounterMode(display=False) as after:
            planned.after(rows, *aside, *extras)
        counted += after.get_total_flops()
    assert counted == 2 * rows * planned.work


def by_threads(batch: int, monkeypatch: Any, run: Any) -> list[Any]:
    """Return what comes of a window by one thread, and by two."""
    monkeypatch.setattr(sys.modules["recurra.engine.fused.window"], "LIGHT", 0)
    monkeypatch.setattr(sys.modules["recurra.engine.fused.window"], "WOKEN", 0)
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
    ("kind", "options"),
    [(LSTM, LSTMOptions(layer_norm=True)), (GRU, GRUOptions()), (SRU, SRUOptions())],
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
    assert torch.equal(found.isfinite(), want.isfinite()) and torch.equal(
        found.isnan(), want.isnan()
    )


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
    equals_steps(
        cell, x, state, lengths=torch.tensor([6, 9, 2, 9, 0, 9, 5], dtype=torch.int32)[::2]
    )


def test_inputs_and_start_are_left_as_they_were():
    cell = lstm()
    x, state = window(cell)
    before = [t.detach().clone() for t in (x, *state, *cell.parameters())]
    trace(cell, fused.run, x, state)
    assert all(
        torch.equal(old, new)
        for old, new in zip(before, (x, *state, *cell.parameters()), strict=True)
    )


def test_a_row_that_is_over_counts_for_nothing_whatever_it_holds():
    cell = lstm()
    x, state = window(cell)
    lengths = torch.tensor([5, 2, 0])
    rubbish = x.detach().clone()
    rubbish[1, 2:] = rubbish[2] = float("nan")
    have = trace(cell, fused.run, rubbish.requires_grad_(), state, lengths=lengths)
    same(have, trace(cell, eager.run, x, state, lengths=lengths))
