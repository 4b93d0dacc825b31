"""Timings that are kept on disk: whole or not at all, and doubted when they are read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import warnings
from types import SimpleNamespace

import pytest
import three_paths
import torch
from hand_made import build
from three_paths import forget, window

from recurra.engine import choice, timings
from recurra.engine.timings import Timings
from recurra.errors import Unkept

cache = pytest.fixture(three_paths.cache)
clock = pytest.fixture(three_paths.clock)


def with_timings(text: str, **changed: object) -> str:
    held = json.loads(text)
    return json.dumps(held | {"figures": held["figures"] | changed})


WRONG = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "no json": lambda text: "\0\0\0",
    "not text": lambda text: b"\xff\xfe\xff",
    "null": lambda text: "null",
    "a number": lambda text: "0",
    "a list": lambda text: "[1, 2]",
    "deeper than can be read": lambda text: "[" * 200_000,
    "deeper within": lambda text: '{"question": {"a": ' + "[" * 200_000,
    "of the format before": lambda text: json.dumps(json.loads(text)["figures"]),
    "another question": lambda text: text.replace('"input_size": 3', '"input_size": 4'),
    "a question that is none": lambda text: json.dumps(json.loads(text) | {"question": [1]}),
    "more than was written": lambda text: json.dumps(json.loads(text) | {"more": 1}),
    "another path": lambda text: text.replace('"second": ', '"warp": '),
    "no timings": lambda text: with_timings(text, seconds={}),
    "timings in a list": lambda text: with_timings(text, seconds=[0.1]),
    "timings that are none": lambda text: with_timings(text, seconds={"eager": "fast"}),
    "a time as text": lambda text: with_timings(text, seconds={"eager": "0.1"}),
    "a time of nothing": lambda text: with_timings(text, seconds={"eager": 0.0}),
    "a time that is no number": lambda text: with_timings(text, seconds={"eager": float("nan")}),
    "a time without end": lambda text: with_timings(text, seconds={"eager": float("inf")}),
    "true": lambda text: with_timings(text, seconds={"eager": True}),
    "null for a time": lambda text: with_timings(text, seconds={"eager": None}),
    "a load below nothing": lambda text: with_timings(text, load=-1.0),
    "a load that is no number": lambda text: with_timings(text, load=float("nan")),
    "a load that is true": lambda text: with_timings(text, load=True),
    "measured too often": lambda text: with_timings(text, times=timings.TIMES + 1),
    "measured a half time": lambda text: with_timings(text, times=1.5),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_not_what_was_written_is_measured_again(clock, cache, monkeypatch, wrong):
    """Whatever stands there, it does no harm, and it is mended."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    text = file.read_text()
    spoilt = WRONG[wrong](text)
    assert spoilt != text
    file.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    clock.runs.clear()
    forget(monkeypatch)
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and clock.runs
    assert file.read_text() == text and list(cache.iterdir()) == [file]


@pytest.mark.parametrize("kind", ["a folder", "nothing that may be read"])
def test_a_file_that_cannot_be_read_is_measured_again(clock, cache, monkeypatch, kind):
    """A folder stands where the file should, or the file belongs to somebody else."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    clock.runs.clear()
    forget(monkeypatch)
    if kind == "a folder":
        file.unlink()
        (file / "within").mkdir(parents=True)
    else:
        refused = PermissionError(13, "Permission denied")
        monkeypatch.setattr(timings.Path, "read_bytes", lambda path: (_ for _ in ()).throw(refused))
    cell = build("leaky", 3, 4)
    with warnings.catch_warnings(action="ignore", category=Unkept):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and clock.runs


def test_timings_of_a_busy_machine_are_marked_and_made_again(clock, cache, monkeypatch):
    """They are kept with what others used, told, and measured again in a quieter process, but not
    in a busier one.
    """
    clock.foreign = 0.9
    told = choice.explain(build("leaky", 3, 4), 2, 5)
    assert "0.9 cores busy" in told.note
    clock.runs.clear()
    for foreign, again in ((1.5, False), (0.5, False), (0.0, True), (0.0, False)):
        forget(monkeypatch)
        clock.runs.clear()
        clock.foreign = foreign
        told = choice.explain(build("leaky", 3, 4), 2, 5)
        assert bool(clock.runs) == again, foreign
    assert told.note == "" and len(list(cache.iterdir())) == 1


def test_timings_are_made_again_a_few_times_at_most(cache, monkeypatch):
    """A machine that is never quiet does not measure for ever, and the timings of its quietest time
    stay.
    """
    loads = iter([0.9, 0.8, 0.85, 0.7, 0.6, 0.5])
    measured = []

    def measure():
        measured.append(next(loads))
        return Timings(seconds={"first": measured[-1]}, load=measured[-1])

    for _ in range(8):
        forget(monkeypatch)
        found = timings.TIMINGS.recall({"a": 1}, ["first"], measure, lambda: 0.0)
    assert len(measured) == timings.TIMES
    assert found.load == min(measured) and found.seconds == {"first": min(measured)}

    # A day later they are made as if they were the first, until one is quiet: nothing is for good.
    loads = iter([0.9, 0.4, 0.1])
    now = time.time
    for days, load, count in ((0.9, 0.7, 4), (1.1, 0.7, 5), (1.2, 0.4, 6), (1.2, 0.1, 7)):
        later = now() + days * timings.DAY
        monkeypatch.setattr(timings, "time", SimpleNamespace(time=lambda later=later: later))
        forget(monkeypatch)
        found = timings.TIMINGS.recall({"a": 1}, ["first"], measure, lambda: 0.0)
        assert (found.load, len(measured)) == (load, count)
    assert not found.disturbed


def test_a_folder_that_cannot_be_written_is_told_once_and_measured_in_each_process(
    clock, cache, monkeypatch
):
    """One line of warning for any number of cells; within the process nothing is measured twice."""
    cache.parent.write_text("a file where the cache folder should be")
    with pytest.warns(
        RuntimeWarning, match="cannot be written .*measured anew in each process"
    ) as said:
        for hidden in (4, 5):
            build("leaky", 3, hidden)(window())
    assert len(said) == 1
    clock.runs.clear()
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and not clock.runs


def test_a_full_disk_leaves_nothing_half_written(clock, cache, monkeypatch):
    """A write that fails at its end is cleared away, and told."""

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        build("leaky", 3, 4)(window())
    assert list(cache.iterdir()) == []


def test_what_another_process_wrote_meanwhile_is_taken(clock, cache, monkeypatch):
    """Two that measure at once agree on the first that was kept."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    theirs = json.loads(
        with_timings(file.read_text(), seconds={"first": 1e-4, "second": 2e-4, "eager": 3e-4})
    )
    file.unlink()
    forget(monkeypatch)
    real = choice.measure

    def slowly(*given):
        found = real(*given)
        file.write_text(json.dumps(theirs))
        return found

    monkeypatch.setattr(choice, "measure", slowly)
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}
    assert json.loads(file.read_text()) == theirs


CHILD = """
import json, torch
from recurra.engine import timings
timings.TIMES = 1  # what was disturbed is not measured again
torch.set_num_threads(1)
from recurra_cells.gru import GRU
from recurra_cells.options import GRUOptions
cell = GRU(3, GRUOptions(hidden_size=4))
for batch in (1, 16):
    for steps in (2, 32):
        cell(torch.randn(batch, steps, 3))
taken = [([1 << bits - 1 for bits in key[:2]], path) for key, path in cell.chosen_paths.items()]
print(json.dumps(sorted(taken)))
"""


@pytest.mark.slow
def test_processes_at_once_are_harmless(tmp_path):
    """Several that measure the same questions leave whole files alone; a later one takes what
    stands there.
    """
    world = {**os.environ, "RECURRA_CACHE": str(tmp_path / "shared"), "OMP_NUM_THREADS": "1"}
    del world["RECURRA_MEASURE"]
    together = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD], env=world, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [child.wait() for child in together] == [0, 0]
    for child in together:
        child.stdout.close()
    files = sorted((tmp_path / "shared" / "paths").iterdir())
    before = [file.read_bytes() for file in files]
    answers = [json.loads(text) for text in before]
    best = [
        [
            answer["question"]["window"],
            choice.fastest(answer["question"]["paths"], answer["figures"]["seconds"]),
        ]
        for answer in answers
    ]
    assert len(best) == 4

    later = subprocess.run(
        [sys.executable, "-c", CHILD], env=world, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(later.stdout) == sorted(best)
    assert before == [file.read_bytes() for file in files]


def test_what_the_time_depends_on_is_asked_apart(clock, cache):
    """Rows, steps, gradients, resets, lengths, type, autocast, width and options have timings of
    their own.
    """
    cell, x = build("leaky", 3, 4), window()
    reset, lengths = torch.zeros(2, 5, dtype=torch.bool), torch.tensor([5, 3])
    cell(x)
    cell(window(3, 7))  # of the same powers of two
    assert len(list(cache.iterdir())) == 1
    cell(window(4, 5))
    cell(window(2, 8))
    cell(window(2, 1))
    with torch.no_grad():
        cell(x)
    with torch.inference_mode():
        cell(x)
    cell(x, reset=reset)
    cell(x, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        cell(x)
    build("leaky", 3, 4, torch.float32)(x.float())
    build("leaky", 3, 5)(x)
    assert len(list(cache.iterdir())) == 10


def test_another_number_of_threads_is_another_question(clock, cache):
    """The timings of one thread say nothing of two."""
    cell = build("leaky", 3, 4)
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            cell(window())
    finally:
        torch.set_num_threads(1)
    assert len(list(cache.iterdir())) == 2
