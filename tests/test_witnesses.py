"""What an earlier recurra wrote is read, and means the same: runs, sessions, corpora, plugins and
certificates.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import witnesses
from trials import Stopper, differences

import recurra
from recurra.catalog import discover
from recurra.errors import Interrupted
from recurra.job import build, fresh, paths
from recurra.job.run import Run
from recurra.spec.versions import BEFORE
from recurra.testing.certificate import standing

FIGURES = witnesses.recorded()
BOUND = 1e-5
KINDS = {
    "cell": "ebb",
    "encoder": "turns",
    "loss": "smoothed",
    "source": "sums",
    "vocabulary": "common",
}

each = pytest.mark.parametrize("name", witnesses.names())


@pytest.fixture(autouse=True)
def _world() -> Iterator[None]:
    """Install the plugins, and let nothing but recurra itself warn."""
    with witnesses.installed(), witnesses.own_warnings_alone():
        yield


def agrees(now: Any, before: Any, where: str = "") -> None:
    """Check that all that was there before is there now, and every figure within the bound; there
    may be more now.
    """
    if isinstance(before, dict):
        assert before.keys() <= now.keys(), where
        for key in before:
            agrees(now[key], before[key], f"{where}.{key}")
    elif isinstance(before, list):
        assert len(now) == len(before), where
        for index, (one, other) in enumerate(zip(now, before, strict=True)):
            agrees(one, other, f"{where}.{index}")
    elif isinstance(before, float):
        assert math.isclose(now, before, rel_tol=BOUND, abs_tol=BOUND), (
            f"{where}: {now}, it was {before}"
        )
    else:
        assert now == before, where


@each
def test_a_run_says_what_it_said(name: str, tmp_path: Path) -> None:
    """A run of before is opened: it scores and generates as it did, and its saved session goes on
    as it did.
    """
    run = recurra.load(witnesses.copied(name, tmp_path))
    agrees(witnesses.figures(run), FIGURES[name]["stopped"])
    session = run.session().restore(witnesses.HERE / "sessions" / f"{name}.safetensors")
    agrees(witnesses.onward(session), FIGURES[name]["session"])


@each
def test_a_run_goes_on_as_it_did(name: str, tmp_path: Path) -> None:
    """A run of before is resumed to its last step: the same losses, metrics and generated
    sequence.
    """
    run = recurra.resume(witnesses.copied(name, tmp_path))
    assert run.result["steps"] == witnesses.STEPS
    agrees(witnesses.trained(run), FIGURES[name]["resumed"])
    reopened = witnesses.figures(recurra.load(run.path))
    agrees(reopened, {key: FIGURES[name]["resumed"][key] for key in reopened})


THEN = {".".join(key): value for key, value in BEFORE.items()}
"""What was in force before there were keys for it: a task that is run anew takes today's
defaults.
"""


@each
def test_a_task_of_before_is_run_anew(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task of an old run gives the old figures, and the same bits whether it was interrupted or
    not.

    Under the numbers that were drawn then, that is: those of today are others.
    """
    for module in (build, paths, fresh):
        monkeypatch.setattr(module, "SCHEME", 1)
    task = witnesses.copied(name, tmp_path) / "task.toml"
    whole = recurra.run(task, THEN, runs=tmp_path / "whole")
    agrees(witnesses.trained(whole), FIGURES[name]["resumed"])
    assert differences(whole, _in_two_parts(task, tmp_path / "parts", name)) == []


def _in_two_parts(task: Path, runs: Path, name: str) -> Run:
    with suppress(Interrupted):
        recurra.run(task, THEN, runs=runs, observer=Stopper({witnesses.STOP}))
    assert not (runs / name / "1" / "result.json").exists()
    return recurra.resume(runs / name / "1")


def test_every_shipped_task_has_a_witness() -> None:
    """There is a run of each task that came before targets had a table, with steps left; some carry
    their state.
    """
    files = (witnesses.HERE.parents[1] / "tasks").glob("*.toml")
    tasks = {path.stem for path in files if "[target]" not in path.read_text(encoding="utf-8")}
    assert tasks and set(witnesses.names()) == set(FIGURES) >= tasks
    texts = [
        (witnesses.HERE / "runs" / name / "task.toml").read_text(encoding="utf-8")
        for name in FIGURES
    ]
    assert sum("carry = true" in text for text in texts) >= 2


@pytest.mark.parametrize("place", ["its own", "that of today"])
def test_an_encoded_corpus_is_the_same(place: str, tmp_path: Path) -> None:
    """A corpus that lies in the cache folder in an old format is read or made anew: it holds the
    same elements.
    """
    task = witnesses.HERE / "runs" / "hello_prefixes" / "task.toml"
    fresh, learned = witnesses.stored(task, tmp_path / "fresh")
    (new,) = (tmp_path / "fresh").iterdir()
    (old,) = (witnesses.HERE / "corpus").iterdir()
    shutil.copytree(old, tmp_path / "old" / (old if place == "its own" else new).name)
    store, vocabulary = witnesses.stored(task, tmp_path / "old")
    assert vocabulary == learned
    assert np.array_equal(store.values, fresh.values)
    assert np.array_equal(store.starts, fresh.starts)
    assert store.fingerprint == fresh.fingerprint


@pytest.mark.parametrize("kind", KINDS)
def test_a_plugin_of_api_1_0_is_listed_with_its_certificate(kind: str) -> None:
    """An installed plugin of before offers its component of each kind, and its certificate is
    read.
    """
    catalog = discover()
    assert [p.status for p in catalog.plugins if p.distribution == "recurra-keepsake"] == ["ok"]
    entry = catalog.find(kind, KINDS[kind])
    assert entry.qualified == f"recurra-keepsake/{KINDS[kind]}"
    assert entry.plugin.version == "1.0.0"
    found = standing(entry)
    assert found.state in ("proved", "stale")
    assert found.suite == "1.0"
