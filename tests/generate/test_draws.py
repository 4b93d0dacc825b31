"""The draws of generation: each by its own place, after the chances, and as before for what was
begun before.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.generate import draws
from recurra.generate.draws import BLOCK, FlowingDraws, PlacedDraws
from recurra.randomness import derive, torch_stream, uniforms

weights = st.lists(st.sampled_from([0.0, 1e-30, 0.25, 0.5, 1.0]), min_size=3, max_size=3).filter(
    any
)
rows = st.lists(weights, min_size=1, max_size=5)


def _chances(rows: list[list[float]]) -> torch.Tensor:
    made = torch.tensor(rows)
    return made / made.sum(dim=-1, keepdim=True)


@given(rows=rows, seed=st.integers(0, 99), step=st.integers(0, 300))
@settings(max_examples=60, deadline=None)
def test_a_draw_is_the_first_symbol_whose_sum_passes_the_number(
    rows: list[list[float]], seed: int, step: int
) -> None:
    """By exact fractions: the first symbol at which the chances so far are above the number's share
    of all of them.
    """
    chances, key = _chances(rows), derive(seed, "sampling")
    ids = PlacedDraws(key, step).pick(chances).tolist()
    numbers = uniforms(key, step, 1, len(rows))[0].tolist()
    for row, number, index in zip(chances.tolist(), numbers, ids, strict=True):
        exact = [Fraction(chance) for chance in row]
        bound = Fraction(number) * sum(exact)
        assert index == next(i for i in range(len(row)) if sum(exact[: i + 1]) > bound)
        assert row[index] > 0


@pytest.mark.parametrize("number", [0.0, 1 - 2.0**-52])
@pytest.mark.parametrize("tail", [0, 3])
def test_the_ends_of_the_interval_draw_what_can_come(
    number: float, tail: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The least and the greatest number pick the first and the last symbol that has a chance at
    all.
    """
    for values in ([0.0, 0.3, 0.7], [0.0, 0.9999999, 1e-30], [0.0] + [0.1] * 10, [0.0, 1.0000001]):
        row = torch.tensor([*values, *[0.0] * tail])
        last = max(i for i, value in enumerate(values) if value > 1e-20)
        for streams in (1, 2):
            monkeypatch.setattr(draws, "uniforms", lambda *a, n=streams: np.full((1, n), number))
            assert (
                PlacedDraws(1).pick(row.expand(streams, -1)).tolist()
                == [last if number else 1] * streams
            )


def test_streams_draw_what_they_would_draw_alone() -> None:
    """Of many streams each draws by its own number, and the first as one alone, over the borders of
    blocks.
    """
    chances = torch.full((1, 1000), 0.001)
    alone, many = draws.begun(5), draws.begun(5)
    each = [many.pick(chances.expand(300, -1)) for _ in range(3 * BLOCK // 300 // 256 + 300)]
    assert [int(ids[0]) for ids in each] == [int(alone.pick(chances)) for _ in each]
    assert len({tuple(ids.tolist()) for ids in each}) == len(each)
    assert len(set(each[0].tolist())) > 200


def test_draws_go_on_from_what_was_saved() -> None:
    """A copy and a restored state draw what the original draws, on both schemes; the original is
    not moved.
    """
    chances = torch.full((2, 50), 0.02)
    for scheme in (1, 2):
        drawn = draws.begun(7, scheme)
        for _ in range(261):
            drawn.pick(chances)
        others = [drawn.copy(), draws.restored(drawn.state().clone())]
        wanted = [drawn.pick(chances).tolist() for _ in range(20)]
        assert len({str(ids) for ids in wanted}) > 10
        for other in others:
            assert type(other) is type(drawn)
            assert [other.pick(chances).tolist() for _ in range(20)] == wanted


def test_draws_of_before_are_those_of_torch() -> None:
    """The first scheme is torch's own multinomial from the named stream."""
    chances = torch.softmax(torch.arange(12.0).reshape(2, 6), dim=-1)
    stream = torch_stream(3, "sampling")
    wanted = [torch.multinomial(chances, 1, generator=stream)[:, 0].tolist() for _ in range(9)]
    drawn = draws.begun(3, 1)
    assert isinstance(drawn, FlowingDraws)
    assert [drawn.pick(chances).tolist() for _ in range(9)] == wanted


@pytest.mark.parametrize(
    "state", [torch.tensor([-1, 0]), torch.tensor([1, -1]), torch.tensor([1]), torch.zeros(5)]
)
def test_a_state_that_is_none_is_refused(state: torch.Tensor) -> None:
    """What no draws have saved raises, and is not taken for something else."""
    with pytest.raises((ValueError, RuntimeError, TypeError)):
        draws.restored(state)


def test_draws_over_steps_follow_the_chances() -> None:
    """One stream's draws, step after step, are as often as they should be, by Pearson's
    chi-square.
    """
    chances, count = [0.05, 0.5, 0.0, 0.3, 0.15], 20_000
    drawn, row = draws.begun(11), torch.tensor([[0.05, 0.5, 0.0, 0.3, 0.15]])
    found = torch.bincount(torch.cat([drawn.pick(row) for _ in range(count)]), minlength=5).tolist()
    assert found[2] == 0
    gaps = [(n - c * count) ** 2 / (c * count) for n, c in zip(found, chances, strict=True) if c]
    assert sum(gaps) < 3 + 4 * math.sqrt(6) + 4
