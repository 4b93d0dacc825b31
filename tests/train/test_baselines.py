"""The simple rules that stand beside a model, against their formulas."""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, about, write

import recurra
from recurra.contracts.target import Examples
from recurra.data.store import Store
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train import baselines
from recurra.train.baselines import ngram_rules

BEGIN = -1


class WittenBell:
    """p(s | c) = (n(c, s) + d(c) p(s | c')) / (n(c) + d(c)), with dictionaries; an unseen context
    gives way whole.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.counts: dict[tuple[int, ...], dict[int, int]] = defaultdict(lambda: defaultdict(int))

    def learn(self, sequence: list[int], orders: int) -> None:
        for at, symbol in enumerate(sequence):
            for order in range(orders):
                self.counts[self.context(sequence, at, order)][symbol] += 1

    @staticmethod
    def context(sequence: list[int], at: int, order: int) -> tuple[int, ...]:
        return tuple(sequence[p] if p >= 0 else BEGIN for p in range(at - order, at))

    def chance(self, symbol: int, context: tuple[int, ...]) -> float:
        shorter = self.chance(symbol, context[1:]) if context else 1 / self.size
        seen = self.counts.get(context)
        if not seen:
            return shorter
        total, different = sum(seen.values()), len(seen)
        return (seen.get(symbol, 0) + different * shorter) / (total + different)


def _store(sequences: list[list[int]]) -> Store:
    starts = np.cumsum([0, *map(len, sequences)])[:-1].astype(np.int64)
    return Store(np.concatenate([np.array(s) for s in sequences]).astype(np.int64), starts, "")


def _part(
    store: Store, low: Any, high: Any, begin: Any, size: int = 4, season: int = 0
) -> Examples:
    elements = "symbols" if store.values.ndim == 1 else "numbers"
    return Examples(elements, store.values, low, high, begin, size, size, season=season)


def _whole(store: Store, rows: slice, size: int = 4) -> Examples:
    return _part(store, store.starts[rows], store.ends[rows], store.starts[rows], size)


sequences = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=25), min_size=2, max_size=6)


@given(data=sequences, orders=st.integers(2, 6))
@settings(max_examples=100, deadline=None)
def test_n_grams_are_those_of_plain_dictionaries(data: list[list[int]], orders: int) -> None:
    """Uniform, unigram and the best n-gram are what dictionaries give from the formula, sequence by
    sequence.
    """
    store, cut = _store(data), max(1, len(data) // 2)
    held = [(s, at) for s in data[cut:] for at in range(1, len(s))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "ORDERS", orders)
        found = ngram_rules(_whole(store, slice(0, cut)), _whole(store, slice(cut, None)))
    if not held:
        assert found == {}
        return
    model = WittenBell(4)
    for sequence in data[:cut]:
        model.learn(sequence, orders)

    def nats(order: int) -> float:
        return float(
            np.mean([-math.log(model.chance(s[at], model.context(s, at, order))) for s, at in held])
        )

    assert found["uniform"]["nats"] == pytest.approx(math.log(4))
    assert found["unigram"]["nats"] == pytest.approx(nats(0))
    (best,) = set(found) - {"uniform", "unigram"}
    ladder = {order: nats(order) for order in range(1, orders)}
    assert found[best]["nats"] == pytest.approx(min(ladder.values()))
    assert ladder[int(best.split("-")[0]) - 1] == pytest.approx(min(ladder.values()))
    for row in found.values():
        assert row["perplexity"] == pytest.approx(math.exp(row["nats"]))


@given(data=sequences, context=st.lists(st.integers(0, 3), min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_chances_add_up_to_one(data: list[list[int]], context: list[int]) -> None:
    """Over the alphabet, the chances of what follows a context add up to 1, seen or unseen."""
    sums: dict[str, float] = defaultdict(float)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "ORDERS", 2)
        for symbol in range(4):
            store = _store([*data, [*context, symbol]])
            end = np.array([len(store)])
            asked = _part(store, end - 1, end, store.starts[-1:])
            for rule, row in ngram_rules(_whole(store, slice(0, -1)), asked).items():
                sums[rule] += math.exp(-row["nats"])
    assert dict(sums) == pytest.approx({"uniform": 1, "unigram": 1, "2-gram": 1})


@given(text=st.lists(st.integers(0, 2), min_size=6, max_size=40), share=st.floats(0.2, 0.8))
@settings(max_examples=50, deadline=None)
def test_a_contiguous_split_is_asked_with_its_past_as_context(
    text: list[int], share: float
) -> None:
    """Where the held-out part goes on from the training part, its first contexts reach back into
    it.
    """
    store, cut = _store([text]), max(1, int(len(text) * share))
    begin = store.starts
    train = _part(store, begin, np.array([cut]), begin, 3)
    held = _part(store, np.array([cut]), np.array([len(text)]), begin, 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(baselines, "ORDERS", 2)
        found = ngram_rules(train, held)
    model = WittenBell(3)
    model.learn(text[:cut], 2)
    wanted = -np.mean(
        [math.log(model.chance(text[at], (text[at - 1],))) for at in range(cut, len(text))]
    )
    assert found["2-gram"]["nats"] == pytest.approx(wanted)


@pytest.mark.skipif(
    sys.version_info[:2] != (3, 11), reason="the text differs from one Python to another"
)
def test_the_best_n_gram_on_pythons_documentation(tmp_path: Path) -> None:
    """On the documentation topics of Python 3.11, the best n-gram reaches 1.320 nats a
    character.
    """
    pytest.importorskip("pydoc_data.topics")
    task = write(tmp_path, about(PROSE, "python_docs"))
    data = load_data(resolve(task, {"sequence.split": [0.9, 0.1, 0.0]}))
    found = ngram_rules(data.examples("train"), data.examples("validation"))
    assert min(row["nats"] for row in found.values()) == pytest.approx(1.320, abs=6e-4)


def test_model_and_rules_are_held_against_the_same_steps(tmp_path: Path) -> None:
    """Over series of unequal length each step counts once, for the rules as for the model."""
    series = [[1.0, 2, 4, 8, 16, 32, 64, 128], [5.0, 5, 9], [3.0, 1, 4, 1, 5, 9]]
    store_rows = [series[0], *series]
    changes = {"sequence.split": [1, 0, 3], "generation.length": 5, "training.steps": 1}
    run = recurra.run(
        write(tmp_path, about(SERIES, "inline", series=store_rows)), changes, runs=tmp_path / "runs"
    )
    data = load_data(run.resolved)
    rows = [
        store_rows[int(np.flatnonzero(data.store.starts == low)[0])]
        for low in data.splits["test"].low
    ]
    gaps = [
        abs(row[max(1, len(row) - 5) - 1] - value)
        for row in rows
        for value in row[max(1, len(row) - 5) :]
    ]
    assert run.result["forecast"]["baselines"]["naive"]["mae"] == pytest.approx(np.mean(gaps))
