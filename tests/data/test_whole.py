"""Figures of whole sequences are about the data and the weights: not about rows, windows or
lengths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from trials import LABELS, about, write

from recurra.data.feeds import Sequences
from recurra.data.segments import CONTEXT
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.model import sequences
from recurra.resolve import resolve
from recurra.train.evaluate import answered, evaluate

STEPS = [1, 2, 700, 10_000, 33, 513, 512, 3, CONTEXT + 1, 64]
"""Lengths of sequences: on both sides of all that is cut elsewhere."""


def built(folder: Path, **changes: Any) -> tuple[Any, Any]:
    """Return the data of long sequences, all of them in training, and a network for them in
    float64.
    """
    texts = [
        "".join("ab"[(place * place + row) % 7 < 3] for place in range(n))
        for row, n in enumerate(STEPS)
    ]
    text = about(LABELS, "inline", texts=texts, labels=["x", "y"] * (len(STEPS) // 2))
    text = text.replace("split = [0.6, 0.2, 0.2]\n", "")
    plain = {"device.kind": "cpu", "device.precision": "float64", "device.path": "native"}
    resolved = resolve(write(folder, text), plain | {"cell.hidden_size": 2} | changes)
    data = load_data(resolved)
    return data, build_network(resolved, data.vocabulary.size, answers=data.answers.size)[0]


def test_figures_hang_on_no_window(tmp_path: Path) -> None:
    """Nor on how many sequences are read side by side, nor on the length that training cuts
    gradients at.
    """
    found = []
    for length, settings in (
        (16, {"rows": 3, "window": 77}),
        (4096, {"rows": 1}),
        (4096, {"window": 9999}),
    ):
        data, network = built(tmp_path, **{"sequence.length": length})
        assert data.feed.length == length
        tally = evaluate(network, data.reader, data.splits["train"], data.tally(), **settings)
        assert tally.steps == len(STEPS)
        found.append(tally.values())
    assert all(one == pytest.approx(found[0], rel=1e-10) for one in found)


def test_each_sequence_is_answered_once(tmp_path: Path) -> None:
    """Its outputs are those that it has alone, from its first step to its last, whole."""
    data, network = built(tmp_path)
    seen = []
    for batch, output in answered(network, data.reader, data.splits["train"], rows=4):
        for row, steps, own in zip(batch.rows.tolist(), batch.steps.tolist(), output, strict=True):
            assert steps == STEPS[row]
            ids = torch.from_numpy(
                data.store.values[data.store.starts[row] :][:steps].astype("int64")
            )
            with torch.no_grad():
                alone = sequences.read(network, ids[None], torch.tensor([steps]), 20_000)[0]
            assert torch.allclose(own, alone, rtol=1e-10, atol=1e-12)
            seen.append(row)
    assert sorted(seen) == list(range(len(STEPS)))


def test_an_epoch_holds_each_sequence_once(tmp_path: Path) -> None:
    """Whole, with its own answer, in an order of the epoch's own; and what was skipped is no part
    of what follows.
    """
    data, _ = built(tmp_path, **{"training.batch_size": 3})
    feed = data.feed
    assert isinstance(feed, Sequences) and (feed.count, feed.batches) == (len(STEPS), 4)
    orders = []
    for epoch in range(3):
        batches = list(feed.epoch(epoch))
        rows = [batch.rows.tolist() for batch in batches]
        assert sorted(sum(rows, [])) == list(range(len(STEPS))) and len(batches) == feed.batches
        assert all(batch.steps.tolist() == [STEPS[row] for row in batch.rows] for batch in batches)
        assert all(
            batch.y.tolist() == [row % 2 for row in batch.rows.tolist()] for batch in batches
        )
        assert [batch.rows.tolist() for batch in feed.epoch(epoch, skip=2)] == rows[2:]
        orders.append(rows)
    assert orders[0] != orders[1] != orders[2]
