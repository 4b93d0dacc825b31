"""Elements read from a corpus: the same whether it is held in memory or mapped, and of a mapped one
little stays.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from corpora import ragged, store_of
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data.batches import Reader
from recurra.data.feeds import Windows
from recurra.data.splits import split
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.spec.tables import Sequence


def mapped(store: Store, path: Path) -> Store:
    """Return the store as one whose values lie in a file."""
    store.values.tofile(path)
    values = np.memmap(path, dtype=store.values.dtype, mode="r", shape=store.values.shape)
    return Store(values, store.starts, store.fingerprint)


@settings(deadline=None, max_examples=60)
@given(
    lengths=ragged,
    count=st.integers(1, 15),
    kind=st.sampled_from([np.uint8, np.uint16, np.float64]),
    features=st.integers(0, 3),
    data=st.data(),
)
def test_a_span_is_what_stands_there(lengths, count, kind, features, data, tmp_path_factory):
    """Element by element: that of the position, or the last of all where the corpus has ended."""
    held = store_of(lengths)
    values = np.arange(len(held) * max(features, 1)).reshape(
        len(held), *([features] if features else [])
    )
    held = Store(values.astype(kind), held.starts, "")
    first = np.array(data.draw(st.lists(st.integers(0, len(held) - 1), min_size=1, max_size=5)))
    wanted = [
        [held.values[min(at + step, len(held) - 1)].tolist() for step in range(count)]
        for at in first
    ]
    assert held.spans(first, count).tolist() == wanted
    with pytest.MonkeyPatch.context() as patch:  # what is not written shows
        patch.setattr(np, "empty", lambda shape, dtype: np.full(shape, 255, dtype))
        found = mapped(held, tmp_path_factory.mktemp("map") / "values.bin").spans(first, count)
    assert found.tolist() == wanted and found.dtype == held.values.dtype


@settings(deadline=None, max_examples=60)
@given(lengths=ragged, data=st.data())
def test_each_position_knows_its_sequence(lengths, data):
    """Where a sequence begins, and which positions are beginnings, is what counting the lengths
    says.
    """
    store = store_of(lengths)
    owner = np.repeat(np.arange(len(lengths)), lengths)
    at = np.array(data.draw(st.lists(st.integers(0, len(store) - 1), min_size=1, max_size=9)))
    assert store.begin(at).tolist() == [int(store.starts[owner[position]]) for position in at]
    assert store.begins(at).tolist() == [position in store.starts for position in at]
    after = np.array([len(store), len(store) + 5])
    assert (
        store.begin(after).tolist() == [int(store.starts[-1])] * 2 and not store.begins(after).any()
    )


def test_batches_of_a_mapped_corpus_are_the_same(tmp_path):
    """Every batch of an epoch, also across blocks of them, equals the one from memory."""
    held = store_of([400, 3, 1, 250, 17])
    feeds = [
        Windows.of(Reader(store, lambda values: values, torch.float64),
                   split(store, Sequence(split=[1.0, 0.0, 0.0]))["train"], 3, 2, 2, 1)
        for store in (held, mapped(held, tmp_path / "values.bin"))
    ]  # fmt: skip
    one, other = (list(feed.epoch(2)) for feed in feeds)
    assert len(one) == feeds[0].batches > 128
    for a, b in zip(one, other, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_a_batch_shares_no_memory_with_the_corpus_or_itself():
    """Whoever writes into a batch changes neither the corpus nor the batch's other parts."""
    values = np.arange(12, dtype=np.float64).reshape(6, 2)
    for store in (
        Store(values.copy(), np.array([0]), ""),
        Store(values[:, 0].astype(np.int64), np.array([0]), ""),
    ):
        batch = Reader(store, lambda rows: rows, torch.float64).cut(
            np.array([1]), np.array([3]), np.array([1])
        )
        targets, held = batch.y.clone(), store.values.copy()
        batch.x.zero_()
        batch.reset.fill_(True)
        assert torch.equal(batch.y, targets) and np.array_equal(store.values, held)
        assert batch.mask.tolist() == [[True] * 3]


def test_a_file_that_became_shorter_is_told(tmp_path):
    """A cached corpus that is cut off while it is used is no traceback and no noise."""
    store = mapped(store_of([100]), tmp_path / "values.bin")
    whole = (tmp_path / "values.bin").read_bytes()
    (tmp_path / "values.bin").write_bytes(whole[: len(whole) // 2])
    assert store.spans(np.array([10]), 5).tolist() == [[10, 11, 12, 13, 14]]
    with pytest.raises(InputError) as caught:
        store.spans(np.array([60]), 5)
    assert caught.value.problems[0].code == "RC044" and "values.bin" in str(caught.value)


def resident() -> int:
    """Return the bytes of mapped files that this process holds in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) << 10


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what is resident")
def test_a_huge_corpus_is_not_drawn_into_memory(tmp_path):
    """Windows from all over a file of 256 MB leave less than a tenth of it in memory."""
    path = tmp_path / "values.bin"
    with path.open("wb") as file:
        file.truncate(1 << 28)
    store = Store(np.memmap(path, np.uint8, "r"), np.array([0]), "")
    feed = Windows.of(Reader(store, lambda values: values, torch.float32),
                      split(store, Sequence(split=[1.0, 0.0, 0.0]))["train"], 1 << 16, 0, 64,
                          0)  # fmt: skip
    before = resident()
    assert sum(batch.x.numel() for batch in feed.epoch(0)) == 1 << 28
    assert resident() - before < 1 << 24
