"""Covariates of a corpus: what a network reads at each step, and how little of what comes."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import torch
from corpora import Fake
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import InputError, Piece
from recurra.contracts.source import FUTURE, PAST, STATIC
from recurra.data.batches import Reader
from recurra.data.companions import Companions
from recurra.data.corpus import build
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.splits import everything
from recurra.data.store import Store
from recurra_vocabularies.numeric import Numeric, NumericOptions

ROLES = (PAST, FUTURE, STATIC)
KINDS = ("sun", "rain", "snow")


def drawn(seed: int, lengths: list[int]) -> list[dict[str, Any]]:
    """Return series with covariates of every role and kind."""
    stream = np.random.default_rng(seed)
    return [
        {
            "y": stream.normal(size=(n, 1)),
            PAST: {"load": stream.normal(size=n), "mood": [*stream.choice(KINDS, n)]},
            FUTURE: {"sky": [*stream.choice(KINDS, n + 2)], "price": stream.normal(size=n + 2) * 9},
            STATIC: {"area": float(stream.normal()), "kind": str(stream.choice(KINDS))},
        }
        for n in lengths
    ]


def pieces(series: list[dict[str, Any]], cut: int) -> list[Piece]:
    """Return series in pieces of `cut` elements, the last with all that is known ahead."""
    found = []
    for one in series:
        n = len(one["y"])
        for low in range(0, n, cut):
            high = low + cut
            ends = {PAST: high, FUTURE: high if high < n else None}
            columns = {
                role: {name: values[low : ends[role]] for name, values in one[role].items()}
                for role in (PAST, FUTURE)
            }
            if low == 0:
                columns[STATIC] = one[STATIC]
            found.append(Piece(one["y"][low:high], low == 0, columns))
    return found


def stored(series: list[dict[str, Any]], cut: int, in_memory: int = 1 << 20) -> Store:
    return build(Fake(pieces(series, cut)), Numeric(NumericOptions()), in_memory, roles=ROLES)


def reader_of(store: Store) -> Reader:
    """Return a reader whose own numbers are not scaled, of covariates known by all of it."""
    assert store.covariates is not None
    vocabulary = Numeric(NumericOptions(scale="standard", difference=1))
    learned = CovariateVocabulary.fitted(store.covariates, store, everything(store, 1), vocabulary)
    companions = Companions(learned, store.covariates, store)
    return Reader(store, lambda rows: rows, torch.float64, companions=companions)


def one_hot(name: str, names: list[str]) -> list[float]:
    return [float(name == each) for each in sorted(set(names))] + [0.0]


def scaled(value: float, values: list[float]) -> float:
    spread = float(np.std(values))
    return (value - float(np.mean(values))) / spread if max(values) > min(values) else 0.0


def by_hand(series: list[dict[str, Any]], index: int, step: int) -> list[float]:
    """Return what is read at a step of a series which another follows in it."""
    one = series[index]

    def every(role: str, name: str) -> list[Any]:
        return [v for each in series for v in each[role][name][: len(each["y"])]]

    statics = [each[STATIC] for each in series]
    return [
        float(one["y"][step, 0]),
        scaled(one[PAST]["load"][step], every(PAST, "load")),
        *one_hot(one[PAST]["mood"][step], every(PAST, "mood")),
        *one_hot(one[FUTURE]["sky"][step + 1], every(FUTURE, "sky")),
        scaled(one[FUTURE]["price"][step + 1], every(FUTURE, "price")),
        scaled(one[STATIC]["area"], [static["area"] for static in statics]),
        *one_hot(one[STATIC]["kind"], [static["kind"] for static in statics]),
    ]


sizes = st.lists(st.integers(2, 7), min_size=1, max_size=4)


@given(seed=st.integers(0, 99), lengths=sizes, cut=st.integers(1, 8), mapped=st.booleans())
@settings(deadline=None)
def test_a_step_reads_its_own_past_and_the_next_future(seed, lengths, cut, mapped):
    """At step t stand y[t], the past covariates of t, the future ones of t+1 and the static ones,
    however the series come in pieces, and wherever they are kept; numbers are scaled as the
    vocabulary says, without its transforms, and of names the one that stands is 1.
    """
    series = drawn(seed, lengths)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_CACHE", f"{os.environ['RECURRA_CACHE']}-{os.urandom(6).hex()}")
        store = stored(series, cut, 0 if mapped else 1 << 20)
        assert isinstance(store.values, np.memmap) == mapped
        reader = reader_of(store)
        steps = np.array([n - 1 for n in lengths])
        batch = reader.cut(store.starts, steps, store.starts)

        for index, n in enumerate(lengths):
            for step in range(n - 1):
                wanted = by_hand(series, index, step)
                np.testing.assert_allclose(batch.x[index, step].numpy(), wanted, atol=1e-12)
            # What is answered is the next element alone, and filling repeats the last step.
            own, last = torch.from_numpy(series[index]["y"][1:, 0]), batch.x[index, n - 1 :]
            assert torch.equal(batch.y[index, : n - 1, 0], own)
            assert torch.equal(last, batch.x[index, n - 2].expand_as(last))

            begin, end = int(store.starts[index]), int(store.ends[index])
            rows = reader.companions.stretch(begin, end, end)
            assert len(rows.past) == n
            np.testing.assert_allclose(rows.future[:, 1], series[index][FUTURE]["price"])


@given(seed=st.integers(0, 99), lengths=sizes, cut=st.integers(1, 8))
@settings(deadline=None, max_examples=20)
def test_every_covariate_is_in_the_fingerprint(seed, lengths, cut):
    """How the data comes in pieces does not change the fingerprint; any covariate does, those of
    steps to come too, and a store without covariates has the one that it had.
    """
    series = drawn(seed, lengths)
    own = stored(series, cut).fingerprint
    assert stored(series, 1 + cut % 3).fingerprint == own

    changed = drawn(seed, lengths)
    stream = np.random.default_rng(seed)
    one = changed[stream.integers(len(changed))]
    role, name = [(PAST, "load"), (FUTURE, "price"), (FUTURE, "sky"), (STATIC, "area")][seed % 4]
    if role == STATIC:
        one[role][name] += 1
    else:
        at = stream.integers(len(one[role][name]))
        one[role][name][at] = "fog" if name == "sky" else 0.5
    assert stored(changed, cut).fingerprint != own

    def plain(piece):
        return piece._replace(columns={})

    bare = build(Fake(map_list(plain, pieces(series, cut))), Numeric(NumericOptions()))
    alone = build(Fake(pieces(series, cut)), Numeric(NumericOptions()))
    assert bare.fingerprint == alone.fingerprint and alone.covariates is None


def map_list(function, values):
    return [function(value) for value in values]


def test_what_training_has_not_shown_is_read_as_unknown():
    """A name that is not known is an input of its own, and no other; saved and restored alike."""
    store = stored(drawn(0, [5, 6]), 3)
    vocabulary = Numeric(NumericOptions())
    learned = CovariateVocabulary.fitted(store.covariates, store, everything(store, 1), vocabulary)
    table = learned.tables[FUTURE]
    rows = table.rows({"sky": ["fog", "rain"], "price": [0.0, 1.0]}, "here")
    read = table.encode(rows)
    known = table.columns[0].categories
    assert read[0, : len(known) + 1].tolist() == [0.0] * len(known) + [1.0]
    assert read[1, : len(known) + 1].tolist() == [float(name == "rain") for name in known] + [0.0]

    again = CovariateVocabulary.restored(learned.save(), vocabulary)
    assert again.save() == learned.save() and again.width == learned.width == 1 + 4 + 4 + 1 + 1 + 3


@pytest.mark.parametrize("role, table", [
    (PAST, {"load": [0.0, float("nan")], "mood": ["sun", "sun"]}),
    (FUTURE, {"sky": ["sun", " "], "price": [0.0, 1.0]}),
    (STATIC, {"area": float("inf"), "kind": "sun"}),
])  # fmt: skip
def test_what_is_no_covariate_is_refused_by_its_place(role, table):
    """A number that is not finite, and an empty name, are refused with the column they stand in."""
    series = drawn(0, [2])
    (piece,) = pieces(series, 9)
    piece = piece._replace(columns={**piece.columns, role: table})
    with pytest.raises(InputError, match=rf"{role} '(load|sky|area)' of sequence 1"):
        build(Fake([piece]), Numeric(NumericOptions()), roles=ROLES)
