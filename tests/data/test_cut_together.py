"""Batches that are cut together are those that are cut by themselves, to the last bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.data import batches
from recurra.data.batches import Batch
from recurra.data.feeds import Windows
from recurra.job.data import load_data
from recurra.job.feeds import feed_of
from recurra.resolve import resolve

VOCABULARIES: list[dict[str, Any]] = [
    {"scale": "standard", "log": True},
    {"scale": "mean", "scale_by": "series", "difference": 1, "seasonal_difference": 3},
]
TARGETS: list[dict[str, Any]] = [
    {"kind": "next"},
    {"kind": "horizon", "length": 3},
    {"kind": "horizon", "length": 3, "origin": "last"},
]
KINDS = [
    *((target, vocabulary, "mse") for target in TARGETS for vocabulary in VOCABULARIES),
    *((target, {"scale": "mean", "scale_by": "series"}, "poisson") for target in TARGETS[:2]),
]
COVARIATES = {
    "columns": ["y"],
    "group": "id",
    "past_covariates": ["load"],
    "future_covariates": ["sky"],
    "static_covariates": ["area"],
}


def fed(task: dict[str, Any]) -> Windows:
    """Return where the training of a task takes its windows from."""
    resolved = resolve(task)
    data = load_data(resolved)
    feed = feed_of(resolved, data.reader, data.splits["train"])
    assert isinstance(feed, Windows)
    return feed


def task(
    source: dict[str, Any], kind: tuple[dict[str, Any], dict[str, Any], str], **sequence: Any
) -> dict[str, Any]:
    target, vocabulary, loss = kind
    return {
        "schema": 1,
        "source": source,
        "vocabulary": {"kind": "numeric", **vocabulary},
        "target": target,
        "sequence": {"split": ["rest", 0, 4], "split_by": "time", **sequence},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 2},
        "loss": {"kind": loss},
        "training": {"batch_size": 1},
    }


def same(feed: Windows, batch_size: int, skip: int, at_once: int) -> None:
    """Compare what is cut together with what is cut alone, in an epoch from a batch on."""
    feed = Windows(**{**vars(feed), "batch_size": batch_size})
    skip = min(skip, feed.batches - 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches, "TOGETHER", 0)
        alone = list(feed.epoch(1))[skip:]
        patch.setattr(batches, "TOGETHER", at_once)
        together = list(feed.epoch(1, skip=skip))

    assert len(together) == len(alone)
    for one, other in zip(together, alone, strict=True):
        for name, part, own in zip(Batch._fields, one, other, strict=True):
            assert part.shape == own.shape, name
            assert part.dtype == own.dtype, name
            # What is computed with has the same layout too.
            assert name == "undo" or part.is_contiguous() == own.is_contiguous(), name
            assert np.array_equal(part.numpy(), own.numpy(), equal_nan=part.is_floating_point())


@settings(max_examples=12)
@given(
    st.sampled_from(KINDS),
    st.lists(st.integers(12, 40), min_size=3, max_size=6),
    st.integers(2, 9),
    st.integers(0, 9),
    st.integers(1, 5),
    st.integers(0, 3),
    st.sampled_from([300, 1 << 16]),
)
def test_a_batch_is_the_same_whatever_it_is_cut_with(
    kind: Any, lengths: list[int], length: int, stride: int, size: int, skip: int, at_once: int
) -> None:
    """Each tensor of each batch is equal in its numbers, shape and type, from any batch on."""
    draw = np.random.default_rng(len(lengths))
    series = [draw.poisson(5, count).astype(float).tolist() for count in lengths]
    source = {"kind": "inline", "series": [[value + 1 for value in one] for one in series]}
    stride = min(stride, length)
    feed = fed(task(source, kind, length=length, stride=stride, season=3))
    same(feed, size, skip, at_once)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a table of series of many lengths, with covariates of each role."""
    draw = np.random.default_rng(0)
    lines = ["id,y,load,sky,area"]
    for index in range(4):
        lines += [
            f"s{index},{draw.normal()},{draw.normal()},{draw.choice(['sun', 'rain'])},{index}"
            for _ in range(15 + 7 * index)
        ]
    path = tmp_path_factory.mktemp("table") / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("target", TARGETS, ids=str)
def test_so_is_what_is_read_beside_it(target: dict[str, Any], table: Path) -> None:
    """Covariates of the past, of the future, of the steps ahead and of a series are the same."""
    source = {"kind": "csv", "path": str(table), **COVARIATES}
    kind = (target, VOCABULARIES[1] | {"scale": "standard"}, "mse")
    feed = fed(task(source, kind, length=6, season=3))
    for size, skip in ((1, 0), (2, 0), (3, 2)):
        same(feed, size, skip, 1 << 16)


def test_a_target_that_chooses_steps_sees_a_batch_as_it_is() -> None:
    """One that says which steps are scored is asked of each batch alone; others of no batch."""
    source = {"kind": "inline", "series": [[1.0, 2.0, 4.0, 3.0] * 9] * 3}
    feed = Windows(**{**vars(fed(task(source, KINDS[0], length=4))), "batch_size": 2})
    assert feed.reader.chosen is None
    assert feed.reader.together(8) > 1
    seen: list[int] = []

    def chosen(window: Any) -> torch.Tensor:
        seen.append(len(window.x))
        return torch.ones(window.x.shape[:2], dtype=torch.bool)

    reader = type(feed.reader)(**{**vars(feed.reader), "chosen": chosen})
    list(Windows(**{**vars(feed), "reader": reader}).epoch(0))
    assert set(seen[:-1]) == {2}
    assert len(seen) == feed.batches
