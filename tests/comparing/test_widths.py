"""The width for a budget, against a look at every width."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trials import PROSE, write

from recurra.comparing.costs import COSTS, at_width, layers
from recurra.comparing.widths import nearest_width
from recurra.resolve import resolve


@given(
    st.integers(1, 60),
    st.floats(0.1, 50),
    st.floats(0, 30),
    st.integers(1, 1_000_000),
    st.integers(1, 2000),
)
def test_it_is_the_nearest_of_all(
    multiple: int, square: float, line: float, budget: int, widest: int
) -> None:
    """Of all allowed widths none is nearer, and each is asked for once."""
    asked: Counter[int] = Counter()

    def cost(width: int) -> float | None:
        asked[width] += 1
        return None if width % multiple else square * width * width + line * width

    found = nearest_width(cost, budget, widest)
    assert set(asked.values()) <= {1}
    every = {width: cost(width) for width in range(multiple, widest + 1, multiple)}
    if not every:
        assert found is None
        return
    assert found is not None
    nearest = min(abs(each - budget) for each in every.values() if each is not None)
    assert abs(found.cost - budget) == pytest.approx(nearest)
    assert found.cost == every[found.width]
    assert found.error == pytest.approx(found.cost / budget - 1)


@given(
    st.lists(st.floats(0.9, 1.1), min_size=400, max_size=400),
    st.integers(1, 8),
    st.floats(0.2, 2.0),
    st.integers(0, 4),
)
def test_of_what_is_measured_those_around_are_looked_at(
    noise: list[float], multiple: int, budget: float, around: int
) -> None:
    """Of all that were asked for none is nearer, those on either side are among them, and the least
    that was seen is told.
    """
    asked: dict[int, float] = {}

    def cost(width: int) -> float | None:
        if width % multiple:
            return None
        assert width not in asked
        asked[width] = (0.5 + width / 100) * noise[width % 400]
        return asked[width]

    found = nearest_width(cost, budget, 300, around)
    assert found is not None and found.cost == asked[found.width]
    assert abs(found.cost - budget) == min(abs(value - budget) for value in asked.values())
    assert found.least == min(asked.values())
    # As before they were looked at, or after: of one of those that were asked for, all are there.
    beside = [step * multiple for step in range(-around, around + 1)]
    allowed = range(multiple, 301, multiple)
    assert any(
        all(width + step in asked for step in beside if width + step in allowed) for width in asked
    )


@pytest.mark.parametrize("match", COSTS)
@pytest.mark.parametrize("cell", ["lstm", "mingru", "mlstm", "rglru"])
def test_cells_come_nearest_to_a_budget(cell: str, match: str, tmp_path: Path) -> None:
    """Of a real cell no width up to 40 is nearer than the one that is found, heads and all."""
    task = resolve(write(tmp_path, PROSE), {"cell.kind": cell, "cell.hidden_size": 8})

    def cost(width: int) -> float | None:
        other = at_width(task, width)
        made = None if other is None else layers(other, 5)
        return None if made is None else COSTS[match](made)

    costs = {width: value for width in range(1, 41) if (value := cost(width)) is not None}
    budget = 0.4 * max(costs.values())
    found = nearest_width(cost, budget)
    assert found is not None
    assert abs(found.cost - budget) == min(abs(value - budget) for value in costs.values())
