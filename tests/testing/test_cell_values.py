"""What the checks of a cell's values see and let pass: right cells, wrong ones of every kind, small
errors.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import pytest
import torch
from cells import IDS, Mean, Overriding, Turning, WithGradient, every, failed, named_by, records
from hypothesis import given, settings
from hypothesis import strategies as st
from liars.values import LIARS, Honest, LeakyState, Learned, Windowed
from torch import nn

from recurra import Cell, CellOptions
from recurra.catalog import discover
from recurra.engine.recurrence import map_state
from recurra.testing.check import CHECKS, Measured
from recurra.testing.checks.cell.values import LOSS
from recurra.testing.suite import all_checks, examine

laws = settings(deadline=None, max_examples=12)


# Cells that are right


class MatrixState(NamedTuple):
    memory: torch.Tensor
    total: torch.Tensor


class Outer(Cell[CellOptions]):
    """A sum of outer products, `[B, D, H]`, and a sum of inputs, `[B]`; the output is wider than
    `hidden_size`.
    """

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.output_size = self.hidden_size + 1
        self.value = nn.Linear(input_size, self.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        memory = torch.zeros(
            batch_size, self.input_size, self.hidden_size, device=device, dtype=dtype
        )
        return MatrixState(memory, torch.zeros(batch_size, device=device, dtype=dtype))

    def step(self, x_t, state):
        memory = 0.5 * state.memory + torch.sigmoid(x_t).unsqueeze(-1) * self.value(x_t).unsqueeze(
            1
        )
        total = 0.9 * state.total + x_t.sum(dim=-1)
        y = torch.einsum("bd,bdh->bh", torch.tanh(x_t), memory)
        return torch.cat([y, total.unsqueeze(-1)], dim=-1), MatrixState(memory, total)


class Peaks(Cell[CellOptions]):
    """The greatest of each input so far, from minus infinity; the output is squashed."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return LeakyState(
            torch.full((batch_size, self.hidden_size), -torch.inf, device=device, dtype=dtype)
        )

    def step(self, x_t, state):
        h = torch.maximum(state.h, self.map(x_t))
        return torch.tanh(h), LeakyState(h)


class Caching(Honest):
    """A table is made at the first call, and kept: the answers are the same."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if not hasattr(self, "table"):
            self.table = {"ones": torch.ones(self.hidden_size)}
        return super().forward(x, state, reset=reset, lengths=lengths)


measured = functools.cache(records)
"""The records of a right cell, which several tests look at."""
RIGHT = [Honest, Windowed, Learned, Outer, Mean, Peaks, Turning, Caching]


@pytest.mark.parametrize("cell", RIGHT, ids=lambda cell: cell.__name__)
def test_a_right_cell_passes_with_room_to_spare(cell):
    """What is measured of a right cell is rounding: exactly 0 where that is the law, else a tenth
    of the bound.
    """
    for record in measured(cell).values():
        assert record.verdict == "PASS", record
        assert Measured(record.value, record.bound).margin <= 0.1, record


@pytest.mark.parametrize("name", [pytest.param("lstm", marks=pytest.mark.slow), "mlstm"])
def test_a_kernel_and_a_chunkwise_form_pass_with_room_to_spare(name):
    """Both are other sums than the loop's, under up to four sets of options.

    Where a step loses much of float64, the steps and the other form may each be that far from it,
    on either side.
    """
    for record in examine(discover().find("cell", name), only=IDS).records:
        assert record.verdict == "PASS", record
        room = 3 / LOSS if record.id in ("C02", "C03") else 0.1
        assert Measured(record.value, record.bound).margin <= room, record


def test_what_is_measured_is_always_the_same():
    """Two examinations give the same values to the bit, whatever the global generator holds."""
    first = [(r.verdict, r.value, r.detail) for r in measured(Windowed).values()]
    torch.manual_seed(99)
    assert [(r.verdict, r.value, r.detail) for r in records(Windowed).values()] == first


class Plain(Honest):
    """It knows neither resets nor lengths, and computes in float32 alone."""

    def forward(self, x, state=None):
        if x.dtype != torch.float32:
            raise TypeError("float32 alone")
        return super().forward(x, state)


def test_what_a_cell_lacks_is_not_asked_of_it():
    """A check is not applicable only by a declared capability; all the others run, in the types
    that there are.
    """
    found = records(Plain, lacks=("resets", "lengths", "float64"))
    absent = {name: record.detail for name, record in found.items() if record.verdict == "N/A"}
    assert absent == {"C07": "it lacks lengths", "C08": "it lacks resets", "C09": "it lacks resets"}
    assert all(found[name].verdict == "PASS" for name in found.keys() - absent)
    found = records(Honest, lacks=("carry",))
    assert {name for name, record in found.items() if record.verdict == "N/A"} == {"C03", "C12"}
    assert failed(Plain) == set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_every_check_says_its_law_and_how_to_mend_what_breaks_it(name):
    """The first line is the law; the last words are the cure. Those that streams and gradients rest
    on are firm.
    """
    check = all_checks()[name]
    law, _, rest = check.text.partition("\n\n")
    assert "\n" not in law and law.endswith((".", "exactly 0.", "1e-9.", "1e-12."))
    assert "To mend it: " in " ".join(rest.split())
    assert check.firm == (name not in ("C06", "C08", "C11", "C13"))
    assert (check.kinds, check.level) == (("cell",), "core")


def test_every_check_has_a_liar_that_fails_it_alone():
    """At least one wrong cell for each law breaks no other of them."""
    assert {liar.check for liar in LIARS if not liar.others & set(IDS)} - {"C35"} == set(IDS)


# Cells that are wrong, some of them in more than one way: each must fail the checks that are named


class SqueezesOneRow(Overriding):
    def spoilt(self, y, after, x):
        return y.squeeze(0), after


class TooWide(Overriding):
    def spoilt(self, y, after, x):
        return torch.cat([y, y[..., :1]], dim=-1), after


class AlwaysSingle(Overriding):
    def spoilt(self, y, after, x):
        return y.float(), after


class GivesOutputsAlone(Overriding):
    def spoilt(self, y, after, x):
        return y


class WindowForgetsTheNames(Overriding):
    def spoilt(self, y, after, x):
        return y, tuple(after)


class StepForgetsTheNames(Honest):
    """A window gives a state with names, and a step a plain tuple."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        state = None if state is None else LeakyState(*state)
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        return y, LeakyState(*after)

    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        return h, (h,)


class BeginsAnewWithoutSteps(Overriding):
    def spoilt(self, y, after, x):
        return y, (after if x.shape[1] else map_state(torch.zeros_like, after))


class LaysTheBatchSecond(Overriding):
    """The state is [1, B, H], as in `nn.GRU`."""

    def spoilt(self, y, after, x):
        return y, LeakyState(after.h.unsqueeze(0))


class Centres(Overriding):
    """A convolution that is centred at its step."""

    def spoilt(self, y, after, x):
        return y + 0.1 * torch.nn.functional.pad(y, (0, 0, 0, 1))[:, 1:], after


class NormalisesOverTime(Overriding):
    def spoilt(self, y, after, x):
        return (y - y.mean(1, keepdim=True) if x.shape[1] else y), after


class LeaksAGradient(Overriding):
    """The values are right, and the gradient is a little of the next step's as well."""

    def spoilt(self, y, after, x):
        return WithGradient.apply(y, lambda grad: grad + 1e-12 * grad.roll(1, dims=1)), after


class MasksByProduct(Windowed):
    """h_t = 0.7 h_{t-1} + tanh(W x_t + b), by a matrix product over all pairs of steps: 0 times NaN
    is NaN.
    """

    def step(self, x_t, state):
        h = 0.7 * state.h + torch.tanh(self.of_input(x_t))
        return h, LeakyState(h)

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if reset is not None or lengths is not None or state is None or not x.shape[1]:
            return super().forward(x, state, reset=reset, lengths=lengths)
        return self.window(x, state, None, None)

    def window(self, x, state, reset, live):
        if reset is not None or live is not None:
            return super().window(x, state, reset, live)
        y = torch.einsum("tj,bjh->bth", self.decay(x), self.written(x))
        y = y + 0.7 ** torch.arange(1, 1 + x.shape[1]).to(x).unsqueeze(-1) * state.h.unsqueeze(1)
        return y, LeakyState(y[:, -1])

    def decay(self, x):
        since = torch.arange(x.shape[1]).unsqueeze(1) - torch.arange(x.shape[1])
        return torch.where(since >= 0, 0.7 ** since.clamp(min=0).to(x.dtype), 0.0)

    def written(self, x):
        return torch.tanh(self.of_input(x))


class MasksTooLate(MasksByProduct):
    """Exponential gates that overflow before they are masked, in a form that the engine keeps from
    NaN.
    """

    forward = Cell.forward

    def step(self, x_t, state):
        h = 0.7 * state.h + self.written(x_t)
        return h, LeakyState(h)

    def written(self, x):
        return torch.exp(self.of_input(x))


def raw(tensor):
    """Return what a kernel finds that takes a tensor for contiguous; zeros, where its memory
    ends.
    """
    rows, steps, width = tensor.shape
    held = tensor.untyped_storage().nbytes() // tensor.element_size()
    return (
        tensor.as_strided(tensor.shape, (steps * width, width, 1))
        if held >= tensor.numel()
        else 0 * tensor
    )


class ReadsARawGradient(Overriding):
    def spoilt(self, y, after, x):
        return WithGradient.apply(y, raw), after


class ForgetsExpandedInputs(Overriding):
    """It knows tensors that are dense, in whatever order of their axes, and takes others for
    contiguous.
    """

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return super().forward(
            raw(x) if 0 in x.stride() else x, state, reset=reset, lengths=lengths
        )


class ViewsItsFlags(Overriding):
    def forward(self, x, state=None, *, reset=None, lengths=None):
        flags = None if reset is None else reset.view(-1).view(reset.shape)
        return super().forward(x, state, reset=flags, lengths=lengths)


class Raises(Honest):
    def step(self, x_t, state):
        raise ArithmeticError("not on a Tuesday")


WRONG = {
    SqueezesOneRow: {"C01"},
    TooWide: {"C01"},
    AlwaysSingle: {"C01"},
    GivesOutputsAlone: set(IDS),
    WindowForgetsTheNames: {"C01"},
    StepForgetsTheNames: {"C01"},
    BeginsAnewWithoutSteps: {"C01"},
    LaysTheBatchSecond: {"C01", "C02"},
    Centres: {"C02", "C03", "C04"},
    NormalisesOverTime: {"C02", "C03", "C04"},
    LeaksAGradient: {"C04"},
    MasksByProduct: {"C04"},
    MasksTooLate: {"C04"},
    ReadsARawGradient: {"C11"},
    ForgetsExpandedInputs: {"C11"},
    ViewsItsFlags: {"C11"},
    Raises: set(IDS) - {"C13"},
}


@every(WRONG)
def test_a_wrong_cell_is_named_by_the_checks_of_what_it_breaks(cell, wanted):
    """Each check that is about its fault fails, and is no error of the suite."""
    named_by(cell, wanted)


def test_an_exception_of_the_cell_is_told():
    assert "ArithmeticError: not on a Tuesday" in records(Raises, ["C02"])["C02"].detail


# Small errors


def spoilt_form(change):
    """Return a cell with a form over the window whose answer is changed."""

    class Spoilt(Windowed):
        def window(self, x, state, reset, live):
            return change(*super().window(x, state, reset, live), x, reset, live)

    return Spoilt


def off(y, **places):
    """Return outputs that are 1e-6 off in some rows, steps or units."""
    off = torch.zeros_like(y)
    off[
        places.get("rows", slice(None)),
        places.get("steps", slice(None)),
        places.get("units", slice(None)),
    ] = 1e-6
    return y + off


def test_an_error_of_the_final_state_alone_is_caught():
    """The outputs of a window are right, and the state that the next one goes on from is not."""
    slip = spoilt_form(lambda y, after, x, reset, live: (y, LeakyState(after.h + 1e-6)))
    assert failed(slip, ["C02"]) == {"C02"}


SLIPS = {
    "C02": lambda y, after, x, reset, live: (
        off(y, steps=slice(200, None), rows=1, units=3),
        after,
    ),
    "C03": lambda y, after, x, reset, live: (off(y, steps=0, rows=0, units=0), after),
    "C07": lambda y, after, x, reset, live: (
        (y, after) if live is None else (y, map_state(lambda h: h + 1e-6 * ~live[:, -1:], after))
    ),
    "C08": lambda y, after, x, reset, live: (
        (y, after) if reset is None else (y, LeakyState(after.h + 1e-6))
    ),
    "C09": lambda y, after, x, reset, live: (
        (y, after) if reset is None else (y + 1e-6 * (reset.cumsum(1) > 1).unsqueeze(-1), after)
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_an_error_of_a_millionth_is_caught_and_measured(name):
    """The bound in float64 is far below it, and what is measured is its size."""
    record = records(spoilt_form(SLIPS[name]), [name])[name]
    assert record.verdict == "FAIL"
    assert record.value == pytest.approx(1e-6, rel=0.5)
    assert "chunkwise" in record.detail


@laws
@given(
    row=st.integers(0, 2),
    step=st.integers(0, 299),
    unit=st.integers(0, 7),
    size=st.floats(1e-8, 1.0),
)
def test_an_error_anywhere_in_a_window_is_caught(row, step, unit, size):
    """One number of one step that is not what `step` gives fails the check, by its size."""

    def change(y, after, x, reset, live):
        off = torch.zeros_like(y)
        if y.shape[:2] == (3, 300):
            off[row, step, unit] = size
        return y + off, after

    record = records(spoilt_form(change), ["C02"])["C02"]
    assert record.verdict == "FAIL"
    assert record.value == pytest.approx(size, rel=0.5)


@laws
@given(lag=st.integers(1, 60), size=st.floats(1e-9, 1.0))
def test_a_glance_ahead_of_any_length_is_caught(lag, size):
    """A step that reads one input of a later step breaks causality, however little it takes."""

    class Peeking(Overriding):
        def spoilt(self, y, after, x):
            later = torch.nn.functional.pad(x[:, lag:, :1], (0, 0, 0, min(lag, x.shape[1])))
            return y + size * later, after

    assert failed(Peeking, ["C04"]) == {"C04"}


def test_a_window_of_its_own_is_measured_on_every_path():
    """A cell that overrides `forward` is called by it, also where it has a form over the window."""

    class Own(Windowed):
        asked = set()

        def forward(self, x, state=None, *, reset=None, lengths=None):
            self.asked.add((self.path, reset is not None, lengths is not None))
            return super().forward(x, state, reset=reset, lengths=lengths)

    for name in (
        "C02",
        "C03",
        "C04",
        "C05",
        "C06",
        "C07",
        "C08",
        "C09",
        "C10",
        "C11",
        "C12",
        "C13",
    ):
        Own.asked.clear()
        assert not failed(Own, [name])
        assert {path for path, _, _ in Own.asked} >= {"chunkwise", "eager"}
        if name in ("C08", "C09"):
            assert all((path, True, False) in Own.asked for path in ("chunkwise", "eager"))
        if name in ("C05", "C07"):
            assert all((path, False, True) in Own.asked for path in ("chunkwise", "eager"))


def test_the_checks_ask_for_few_steps():
    """A small cell is examined in less than two thousand steps: what is waited for is not
    repeated.
    """
    asked = []

    class Counting(Honest):
        def step(self, x_t, state):
            asked.append(len(x_t))
            return super().step(x_t, state)

    assert not failed(Counting)
    assert len(asked) < 2000


def test_nothing_of_an_examination_is_left():
    """Global generator, default type and number of threads are as they were, and no check is
    registered twice.
    """
    before = torch.get_rng_state(), torch.get_default_dtype(), torch.get_num_threads(), dict(CHECKS)
    records(Honest)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (torch.get_default_dtype(), torch.get_num_threads(), CHECKS) == before[1:]
