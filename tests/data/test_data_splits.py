"""Splits: disjoint, complete, of the sizes that were asked for, and always the same."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from corpora import ragged, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import InputError
from recurra.data.splits import SPLITS, place_of, sampled, split
from recurra.spec.tables import Sequence

laws = settings(deadline=None, max_examples=60)
shares = st.sampled_from(
    [[1.0, 0.0, 0.0], [0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.6, 0.4, 0.0], [0.34, 0.33, 0.33]]
)


def positions(part) -> list[int]:
    return [at for low, high in zip(part.low, part.high, strict=True) for at in range(low, high)]


@laws
@given(lengths=ragged, share=shares, carry=st.booleans())
def test_every_element_is_in_exactly_one_split(lengths, share, carry):
    """Together the splits hold each element once, and each span lies within one sequence."""
    store = store_of(lengths)
    parts = split(store, Sequence(split=share, carry=carry))
    assert tuple(parts) == SPLITS
    assert sorted(at for part in parts.values() for at in positions(part)) == list(
        range(len(store))
    )
    for part in parts.values():
        assert part.elements == len(positions(part))
        for low, high, begin in zip(part.low, part.high, part.begin, strict=True):
            assert begin in store.starts and begin <= low <= high
            assert high <= store.ends[list(store.starts).index(begin)]


@laws
@given(total=st.integers(1, 300), share=shares)
def test_a_stream_is_split_in_order_and_rounding_favours_training(total, share):
    """Of one sequence training comes first, then validation, then test; the held-out sizes are
    rounded down.
    """
    parts = split(store_of([total]), Sequence(split=share))
    assert [at for name in SPLITS for at in positions(parts[name])] == list(range(total))
    sizes = [parts[name].elements for name in SPLITS]
    assert sizes[2] == int(total * share[2] + 1e-9)
    assert 0 <= sizes[1] - int(total * share[1] + 1e-9) <= 1
    assert sizes[0] >= total * share[0] - 1e-9
    for name in ("validation", "test"):
        if parts[name].elements:
            assert parts[name].begin.tolist() == [0]
            assert parts[name].steps == parts[name].elements  # the split before it can be read


@laws
@given(lengths=st.lists(st.integers(1, 5), min_size=2, max_size=40), share=shares)
def test_sequences_are_split_whole(lengths, share):
    """Of several sequences each is in one split as a whole, so that nothing of it is known
    elsewhere.
    """
    store = store_of(lengths)
    parts = split(store, Sequence(split=share))
    spans = [
        (low, high)
        for part in parts.values()
        for low, high in zip(part.low, part.high, strict=True)
    ]
    assert sorted(spans) == list(zip(store.starts, store.ends, strict=True))
    assert all(np.array_equal(part.low, part.begin) for part in parts.values())
    assert len(parts["test"]) == int(len(lengths) * share[2] + 1e-9)
    for part in parts.values():
        assert part.steps == (part.high - part.low - 1).sum()


def test_sequences_are_drawn_and_always_the_same():
    """The test split is no run of neighbours, and it is the same every time: seeds of runs can be
    compared.
    """
    store = store_of([3] * 50)
    drawn = [split(store, Sequence(split=[0.6, 0.2, 0.2]))["test"].low for _ in range(2)]
    assert np.array_equal(*drawn)
    assert len(set(np.diff(drawn[0]).tolist())) > 1


@pytest.mark.parametrize(
    ("lengths", "carry", "what"), [([10], False, "elements"), ([2] * 10, False, "sequences")]
)
def test_counts_are_taken_as_they_are(lengths, carry, what):
    """Whole numbers are counts; if they do not add up, the error does the sum."""
    store = store_of(lengths)
    parts = split(store, Sequence(split=[5.0, 3.0, 2.0], carry=carry))
    sizes = [part.elements if what == "elements" else len(part) for part in parts.values()]
    assert sizes == [5, 3, 2]
    with pytest.raises(
        InputError, match=rf"5 \+ 3 \+ 3 = 11 {what}, but there are 10(.|\n)*the first 4"
    ):
        split(store, Sequence(split=[5.0, 3.0, 3.0], carry=carry))


def test_a_carried_corpus_is_split_by_elements_even_inside_a_sequence():
    """A cut inside a sequence leaves its beginning readable and scores nothing twice."""
    parts = split(store_of([4, 6, 5]), Sequence(split=[7.0, 4.0, 4.0], carry=True))
    assert [part.low.tolist() for part in parts.values()] == [[0, 4], [7, 10], [11]]
    assert [part.high.tolist() for part in parts.values()] == [[4, 7], [10, 11], [15]]
    assert [part.begin.tolist() for part in parts.values()] == [[0, 4], [4, 10], [10]]
    assert [part.first_targets.tolist() for part in parts.values()] == [[1, 5], [7, 11], [11]]
    assert [part.steps for part in parts.values()] == [3 + 2, 3 + 0, 4]


@laws
@given(count=st.integers(0, 400), limit=st.integers(1, 50))
def test_a_sample_lies_evenly_over_all(count, limit):
    """All where they are few; else `limit` different ones, first and last among them, and gaps of
    one width.
    """
    rows = np.arange(count) * 3
    found = sampled(rows, limit)
    assert np.array_equal(found, sampled(rows, limit))
    if count <= limit:
        assert np.array_equal(found, rows)
        return
    assert len(np.unique(found)) == len(found) == limit and set(found) <= set(rows)
    if limit > 1:
        assert found[0] == rows[0] and found[-1] == rows[-1]
        gaps = np.diff(found) // 3
        assert gaps.max() - gaps.min() <= 1


@laws
@given(lengths=ragged, share=shares, carry=st.booleans(), data=st.data())
def test_a_place_is_told_as_it_is(lengths, share, carry, data):
    """Position, sequence and split of an element, in words, are those that counting gives."""
    store = store_of(lengths)
    parts = split(store, Sequence(split=share, carry=carry))
    at = data.draw(st.integers(0, len(store) - 1))
    sequence = int(np.repeat(np.arange(len(lengths)), lengths)[at])
    (owner,) = [name for name, part in parts.items() if at in positions(part)]
    said = place_of(store, parts, at)
    assert said.startswith(f"position {at - int(store.starts[sequence])}") and said.endswith(
        f"in the {owner} split"
    )
    assert (f"of sequence {sequence + 1}," in said) == (len(lengths) > 1)


def said_of(role, texts, size=2):
    """Return a store of as many sequences as texts, of which each says something."""
    return replace(store_of([size] * len(texts)), columns={role: texts})


def rows(part):
    return (part.low // 2).tolist()


@laws
@given(data=st.data())
def test_of_each_label_a_split_has_its_share(data):
    """Rounded up or down, whatever the sizes and however few there are; each sequence is in one
    split.
    """
    labels = data.draw(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=60))
    total = len(labels)
    test = data.draw(st.integers(0, total - 1))
    validation = data.draw(st.integers(0, total - 1 - test))
    sizes = [total - validation - test, validation, test]
    parts = split(
        said_of("label", labels), Sequence(split=[float(size) for size in sizes]), 0, whole=True
    )
    assert [len(part) for part in parts.values()] == sizes
    assert sorted(row for part in parts.values() for row in rows(part)) == list(range(total))
    for name, size in zip(SPLITS, sizes, strict=True):
        here = Counter(labels[row] for row in rows(parts[name]))
        for label, count in Counter(labels).items():
            assert count * size // total <= here[label] <= -(-count * size // total)


def test_three_labels_that_share_two_splits_each():
    """Where each label is left broken in another pair of splits, all three give and take in a
    circle: none is lost.
    """
    for labels, sizes in (("abcc", [1, 1, 2]), ("aaabbbbbcccc", [4, 4, 4])):
        parts = split(
            said_of("label", list(labels)),
            Sequence(split=[float(size) for size in sizes]),
            0,
            whole=True,
        )
        assert [len(part) for part in parts.values()] == sizes
        assert sorted(row for part in parts.values() for row in rows(part)) == list(
            range(len(labels))
        )


@laws
@given(
    labels=st.lists(st.sampled_from("abcd"), min_size=2, max_size=40), share=shares, data=st.data()
)
def test_shares_do_not_hang_on_the_order_of_the_data(labels, share, data):
    """However the sequences stand in the file, each split has as many of each label; and again the
    same ones.
    """
    turned = data.draw(st.permutations(labels))
    counts = []
    for order in (labels, turned):
        store = said_of("label", list(order))
        parts, again = (split(store, Sequence(split=share), 0, whole=True) for _ in range(2))
        assert all(rows(parts[name]) == rows(again[name]) for name in SPLITS)
        counts.append(
            {name: Counter(order[row] for row in rows(part)) for name, part in parts.items()}
        )
    assert counts[0] == counts[1]


def test_a_label_is_dealt_out_at_random():
    """Of one label those that are held out are no run of neighbours."""
    parts = split(said_of("label", ["a", "b"] * 50), Sequence(split=[0.6, 0.2, 0.2]), 0, whole=True)
    ours = [row for row in rows(parts["test"]) if row % 2 == 0]
    assert len(ours) == 10 and len(set(np.diff(ours).tolist())) > 2


@laws
@given(folds=st.lists(st.sampled_from(SPLITS), min_size=1, max_size=30), whole=st.booleans())
def test_the_data_may_say_where_a_sequence_is(folds, whole):
    """Each is then where it says, in the order of the data, whatever labels there are; some must be
    for training.
    """
    store = said_of("fold", folds)
    store = replace(store, columns={**store.columns, "label": ["x", *"y" * (len(folds) - 1)]})
    if "train" not in folds:
        with pytest.raises(
            InputError, match=rf"none of its {len(folds)} sequences into training(.|\n)*RC041"
        ):
            split(store, Sequence(), whole=whole)
        return
    parts = split(store, Sequence(), whole=whole)
    for name, part in parts.items():
        assert rows(part) == [row for row, fold in enumerate(folds) if fold == name]
        assert part.steps == len(part) and np.array_equal(
            part.high - part.low, np.full(len(part), 2)
        )


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    share=st.sampled_from([[0.6, 0.2, 0.2], [0.8, 0.0, 0.2], [1.0, 0.0, 0.0], [0.5, 0.25, 0.25]]),
)
def test_by_time_each_sequence_is_cut(lengths: list[int], share: list[float]) -> None:
    """Of each sequence training has the first steps and test the last, as many as of one that
    stands alone.
    """
    store = store_of(lengths)
    parts = split(store, Sequence(split=share, split_by="time"))
    for start, end in zip(store.starts.tolist(), store.ends.tolist(), strict=True):
        alone = split(store_of([end - start]), Sequence(split=share))
        for name, part in parts.items():
            own = part.begin == start
            spans = [
                (low - start, high - start)
                for low, high in zip(part.low[own], part.high[own], strict=True)
            ]
            whole = zip(alone[name].low.tolist(), alone[name].high.tolist(), strict=True)
            assert spans == [(low, high) for low, high in whole if low < high]


@given(lengths=st.lists(st.integers(1, 40), min_size=2, max_size=8))
def test_what_split_cuts_can_be_said(lengths: list[int]) -> None:
    """By position it is one line, as with carry; by sequence each is whole, as where there are
    several.
    """
    store, share = store_of(lengths), [0.6, 0.2, 0.2]

    def spans(**keys: Any) -> dict[str, list[list[int]]]:
        parts = split(store, Sequence(split=share, **keys))
        return {
            name: [part.low.tolist(), part.high.tolist(), part.begin.tolist()]
            for name, part in parts.items()
        }

    assert spans(split_by="position") == spans(carry=True)
    assert spans(split_by="sequence") == spans()


@laws
@given(lengths=ragged, held=st.tuples(st.integers(0, 4), st.integers(0, 4)))
def test_training_may_take_the_rest_of_each_sequence(lengths, held):
    """Validation and test have so many steps of each sequence, the last; one that is no longer than
    both together is training's.
    """
    store = store_of(lengths)
    cut = Sequence(split=["rest", *held], split_by="time")
    if max(lengths) <= sum(held):
        with pytest.raises(InputError, match="leave training nothing"):
            split(store, cut)
        return
    parts = split(store, cut)
    found = {name: dict(zip(part.begin.tolist(), part.high - part.low, strict=True))
        for name, part in parts.items()}  # fmt: skip
    for start, length in zip(store.starts.tolist(), lengths, strict=True):
        sizes = [length - sum(held), *held] if length > sum(held) else [length, 0, 0]
        assert [found[name].get(start, 0) for name in ("train", "validation", "test")] == sizes
    assert sum(part.elements for part in parts.values()) == len(store)


@pytest.mark.parametrize("by", ["sequence", "position"])
def test_training_may_take_the_rest_of_all(by):
    """Of 12 sequences or steps 3 are held out, whatever there is."""
    store = store_of([1] * 12)
    parts = split(store, Sequence(split=["rest", 1, 2], split_by=by))
    assert [part.elements for part in parts.values()] == [9, 1, 2]
    shares = split(store, Sequence(split=["rest", 0.25, 0.25], split_by=by))
    assert [part.elements for part in shares.values()] == [6, 3, 3]
    with pytest.raises(InputError, match="leave training nothing of 12"):
        split(store, Sequence(split=["rest", 6, 6], split_by=by))
