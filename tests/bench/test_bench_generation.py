"""What generates beside a session draws what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from machines import SETTING

from recurra.bench import generation, rival_generation
from recurra.bench.records import Shape
from recurra.generate.sampling import Sampling


@pytest.fixture(scope="module")
def prepared() -> rival_generation.Prepared:
    """A small network, far from ties, whose text does not stand still."""
    return rival_generation._prepared(16)


def test_the_naive_loop_draws_the_same_symbols(prepared: rival_generation.Prepared) -> None:
    """With the same weights the loop by hand, one stream, and each of several give the same
    text.
    """
    network, vocabulary, naive = prepared
    wanted = naive.draw(0, 40)
    assert len(set(wanted)) > 3
    assert [row[0] for row in generation.drawn(network, vocabulary, 40)] == wanted
    assert generation.drawn(network, vocabulary, 40, streams=3) == [
        [symbol] * 3 for symbol in wanted
    ]


@pytest.mark.parametrize("sampling", [rival_generation.GREEDY, rival_generation.DRAWING])
def test_all_that_is_timed_draws_what_the_weights_say(
    prepared: rival_generation.Prepared, sampling: Sampling
) -> None:
    """Session and modules, step by step and in blocks; a library that draws otherwise is refused:
    at another temperature, of more symbols, the likeliest alone, or those of a step before.
    """
    shape = Shape(8, 40, 16)
    for name, draw in rival_generation._ours(prepared, shape, sampling).items():
        drawn = np.array(draw())
        rival_generation.check(name, drawn, prepared.naive, sampling)

    wrong = [Sampling(temperature=8.0, top_k=10), Sampling(temperature=0.8, top_k=40)]
    if sampling.top_k:
        wrong.append(Sampling())
    for other in wrong:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            told = rival_generation.by_modules(prepared.naive, 40, 8, other)
        with pytest.raises(ValueError, match="a library draws"):
            rival_generation.check("a library", np.array(told), prepared.naive, sampling)
    late = np.roll(drawn, 1, axis=0)
    with pytest.raises(ValueError, match="what is not likely"):
        rival_generation.check("a library", late, prepared.naive, sampling)


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
