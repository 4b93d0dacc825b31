"""The loop by hand generates what a session does."""

from __future__ import annotations

import pytest
from machines import SETTING

from recurra.bench import generation
from recurra.bench.records import Shape


def test_the_naive_loop_draws_the_same_symbols() -> None:
    """With the same weights the loop by hand, one stream, and each of several give the same
    text.
    """
    network, vocabulary = generation.warmed(16)
    for weight in network.parameters():  # far from ties, and text that does not stand still
        weight.data *= 4
    wanted = generation.Naive(network).draw(0, 40)
    assert len(set(wanted)) > 3
    assert [row[0] for row in generation.drawn(network, vocabulary, 40)] == wanted
    assert generation.drawn(network, vocabulary, 40, streams=3) == [
        [symbol] * 3 for symbol in wanted
    ]


@pytest.mark.parametrize(
    ("measure", "shape"),
    [
        (generation.session_against_naive, Shape(1, 3, 4)),
        (generation.streams_against_singles, Shape(4, 2, 4)),
        (generation.streams_against_naive, Shape(4, 2, 4)),
    ],
)
def test_each_row_gives_the_seconds_of_a_symbol(
    measure: object, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are divided by the symbols that each side draws, so that they can be compared."""
    told = {}

    def pairs(ours: object, other: object, count: int) -> tuple[list[float], list[float]]:
        for name, turn in (("ours", ours), ("other", other)):
            told[name] = 0
            turn()
        return [1.0] * count, [1.0] * count

    def counted(function: object, name: str) -> object:
        def call(*given: object, **more: object) -> object:
            found = function(*given, **more)
            told[list(told)[-1]] += sum(len(row) if isinstance(row, list) else 1 for row in found)
            return found

        return call

    monkeypatch.setattr(generation, "pairs", pairs)
    monkeypatch.setattr(generation, "drawn", counted(generation.drawn, "ours"))
    monkeypatch.setattr(generation.Naive, "draw", counted(generation.Naive.draw, "other"))
    found = measure(shape, SETTING)
    assert found.ours == [pytest.approx(1 / told["ours"])] * 2
    assert found.other == [pytest.approx(1 / told["other"])] * 2
    assert (found.flops > 0) == (shape.batch > 1) and (found.bytes > 0) == (shape.batch == 1)
