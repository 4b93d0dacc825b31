"""Cells that are a linear recurrence, and the steps that a step looks back on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from recurra import CellOptions, ContextState, ScanCell, ScanState
from recurra.engine import eager, scan
from recurra.engine.context import lagged
from recurra.engine.proof import disagreement
from recurra.randomness import seeded


class Walk(ScanCell[CellOptions]):
    """A cell of two axes whose decay is a constant, which starts from a learned state that is not
    zero.
    """

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.context = 2
        self.decay = nn.Parameter(torch.rand(3, 1))
        self.first = nn.Parameter(torch.randn(3, self.hidden_size))
        self.of_input = nn.Linear(input_size, 3 * self.hidden_size)

    @property
    def state_shape(self) -> tuple[int, ...]:
        return (3, self.hidden_size)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> ContextState:
        return (
            super()
            .initial_state(batch_size, device=device, dtype=dtype)
            ._replace(h=self.first.to(device=device, dtype=dtype).expand(batch_size, -1, -1))
        )

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.decay, self.of_input(x).sin().prod(dim=2).view(
            *x.shape[:2], 3, self.hidden_size
        )

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        return (h * x.sum(dim=(2, 3))[..., None, None].cos()).sum(dim=2)


class Turn(ScanCell[CellOptions]):
    """Complex numbers as pairs, all of them given in an order of axes that is not memory's."""

    paired = True

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.of_input = nn.Linear(input_size, 4 * self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.of_input(x).tanh().view(*x.shape[:2], 2, 2, self.hidden_size).unbind(2)
        return a.mT, b.mT

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        return h[..., 0] * h[..., 1]


@pytest.mark.parametrize("kind", [Walk, Turn])
@pytest.mark.parametrize("hidden", [1, 4])
def test_any_scan_cell_is_its_own_loop(kind, hidden):
    """A state of two axes, a broadcast decay, a learned start, context and strange strides: the
    scan equals `step`.
    """
    with seeded(0):
        assert disagreement(kind(3, CellOptions(hidden_size=hidden)), scan.run) is None


@pytest.mark.parametrize("kind", [Walk, Turn])
def test_lengths_beyond_the_window_and_states_of_any_layout(kind):
    """A row that goes on after the window is read to its end; a state need not be contiguous."""
    with seeded(1):
        cell = kind(3, CellOptions(hidden_size=4)).double()
        x = torch.randn(2, 5, 3, dtype=torch.float64)
    start = cell.initial_state(2, device=x.device, dtype=x.dtype)
    start = type(start)._make(torch.rand_like(field.mT).mT for field in start)
    lengths = torch.tensor([9, 2])
    found, wanted = (run(cell, x, start, None, lengths) for run in (scan.run, eager.run))
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


def test_the_state_names_its_fields():
    """A cell that looks back carries its last inputs; one that does not, its h alone."""
    device = torch.device("cpu")
    walk = Walk(3, CellOptions(hidden_size=4)).initial_state(2, device=device, dtype=torch.float32)
    assert isinstance(walk, ContextState)
    assert (walk.h.shape, walk.tail.shape) == ((2, 3, 4), (2, 2, 3))
    turn = Turn(3, CellOptions(hidden_size=4)).initial_state(2, device=device, dtype=torch.float32)
    assert isinstance(turn, ScanState)
    assert turn.h.shape == (2, 4, 2)


def brute_lags(x, tail, reset, lengths):
    """Return windows and the next tail of rows by the definition, each row a list of steps."""
    batch, steps, width = x.shape
    before = tail.shape[1]
    zero = [0.0] * width
    windows, tails = [], []
    for row in range(batch):
        past, out = tail[row].tolist(), []
        for t in range(steps):
            if reset is not None and t < lengths[row] and reset[row, t]:
                past = [zero] * before
            seen = [*past, x[row, t].tolist()]
            out.append(seen)
            if t < lengths[row]:
                past = seen[len(seen) - before :]
        windows.append(out)
        tails.append(past)
    return (
        torch.tensor(windows, dtype=x.dtype).view(batch, steps, before + 1, width),
        torch.tensor(tails, dtype=x.dtype).view(batch, before, width),
    )


@settings(deadline=None, max_examples=150)
@given(
    size=st.tuples(st.integers(1, 4), st.integers(0, 8), st.integers(1, 2), st.integers(0, 4)),
    seed=st.integers(0, 2**31),
    with_reset=st.booleans(),
    with_lengths=st.booleans(),
    data=st.data(),
)
def test_looking_back_is_the_definition_in_any_chunks(size, seed, with_reset, with_lengths, data):
    """Windows of live steps and the tail equal brute force, over resets, short rows and cuts
    anywhere.
    """
    batch, steps, width, before = size
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, width, generator=generator, dtype=torch.float64)
    tail = torch.randn(batch, before, width, generator=generator, dtype=torch.float64)
    lengths = torch.randint(0, steps + 3, (batch,), generator=generator) if with_lengths else None
    ends = torch.full((batch,), steps) if lengths is None else lengths
    live = torch.arange(steps) < ends.unsqueeze(1)
    reset = torch.rand(batch, steps, generator=generator) < 0.3 if with_reset else None
    wanted, last = brute_lags(x, tail, reset, ends)
    cuts = sorted(data.draw(st.lists(st.integers(0, steps), max_size=3)))
    parts = []
    for low, high in zip([0, *cuts], [*cuts, steps], strict=True):
        part, tail = lagged(
            x[:, low:high],
            tail,
            reset[:, low:high] if reset is not None else None,
            (lengths - low).clamp(min=0) if lengths is not None else None,
        )
        parts.append(part)
    found = torch.cat(parts, dim=1)
    assert found.shape == wanted.shape
    assert torch.equal(found[live], wanted[live])
    assert torch.equal(tail, last)
