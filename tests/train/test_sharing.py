"""Several processes measure what one would, whatever is asked, and all of them say the same."""

from __future__ import annotations

import copy
import tomllib
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import ANSWERS, LABELS, PROSE, TAGS, about, write
from worlds import side_by_side

from recurra.contracts.metric import SeriesScales
from recurra.data import segments
from recurra.data.marks import Marked
from recurra.errors import RunError
from recurra.job import sharing
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.job.fresh import prepared
from recurra.job.results import figures
from recurra.resolve import resolve
from recurra.train.errors import Errors
from recurra.train.evaluate import cold_and_warm, complete, dealt, evaluate, evenly
from recurra.train.metrics import Accuracy, Tally
from recurra.world import World

PANEL = [[float((7 * at * (row + 3) + row) % 11 - 4) for at in range(9 + row)] for row in range(7)]
TABLE = [[[value, 5 - value] for value in row] for row in PANEL]
HORIZON = {"target": {"kind": "horizon", "length": 3}, "generation.length": 3}
QUANTITIES = {
    "target": {"kind": "value"},
    "source.labels": [[float(at % 5), float(-at)] for at in range(24)],
    "loss.kind": "mse",
}


def series(rows: Any, **changes: Any) -> tuple[str, dict[str, Any]]:
    """Return a task of several series."""
    return about(SERIES, "inline", series=rows), {"sequence.split": [5, 1, 1], **changes}


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "prose": (PROSE, {}),
    "lanes": (PROSE, {"sequence.carry": True}),
    "labels": (LABELS, {}),
    "values": (LABELS, QUANTITIES),
    "answers": (ANSWERS, {}),
    "tags": (TAGS, {}),
    "series": series(PANEL),
    "columns": series(TABLE),
    "horizon": series(PANEL, **HORIZON),
    "spread": series(PANEL, **{"loss": {"kind": "gaussian_nll"}}),
    "spread of columns": series(TABLE, **HORIZON, **{"loss": {"kind": "quantile"}}),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Any, Any]]:
    """The data and the network of each kind of task."""
    made = {}
    for name, (text, changes) in KINDS.items():
        folder = tmp_path_factory.mktemp("task")
        own = {
            "device.kind": "cpu",
            "device.precision": "float64",
            "device.path": "eager",
            **changes,
        }
        resolved = resolve(write(folder, text), own)
        data = load_data(resolved)
        network, _ = build_network(resolved, data.width, answers=data.answers.size)
        made[name] = resolved, data, network
    return made


def told(resolved: Any, data: Any, network: Any) -> Any:
    """Return the figures that the end of a run has, with its baselines and its verdict."""
    found = figures(resolved.task, data, copy.deepcopy(network), data.held_out())
    return found


def measured(data: Any, network: Any, shape: tuple[int, int], world: World) -> Any:
    """Return all that is measured of each split by one process of a world."""
    network = copy.deepcopy(network)
    rows, window = shape
    found = []
    for name, part in data.splits.items():
        tally = data.tally(name)
        evaluate(network, data.reader, part, tally, rows=rows, window=window, world=world)
        if isinstance(data.answers, Marked):
            marks = data.answers.marks
            complete(network, data.store, part, tally, marks, data.limit, rows=rows, world=world)
        told = tally.values(), tally.columns(), tally.detail(), tally.steps
        if part.whole or part.at_once or part.ahead:
            found.append(told)
            continue
        key, asked = "loss", {"rows": rows, "window": window, "world": world}
        found.append((*told, cold_and_warm(network, data.reader, part, data.tally, key, **asked)))
    return found


def close(found: Any, wanted: Any) -> None:
    """Assert that plain data is the same within 1e-9."""
    if isinstance(wanted, dict):
        assert found.keys() == wanted.keys()
        found, wanted = [found[name] for name in wanted], list(wanted.values())
    if isinstance(wanted, list | tuple):
        assert len(found) == len(wanted)
        for own, other in zip(found, wanted, strict=True):
            close(own, other)
    elif isinstance(wanted, float):
        assert found == pytest.approx(wanted, rel=1e-9, abs=1e-12, nan_ok=True)
    else:
        assert found == wanted


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None, max_examples=2)
@given(
    size=st.integers(2, 4),
    rows=st.integers(2, 5),
    window=st.sampled_from([0, 5]),
    cut=st.booleans(),
)
def test_several_measure_what_one_does(
    built: dict[str, tuple[Any, Any, Any]], kind: str, size: int, rows: int, window: int, cut: bool
) -> None:
    """Every figure, by column and by step too, is that of one process, and the same bits in all;
    some may have nothing to measure.
    """
    _, data, network = built[kind]
    with pytest.MonkeyPatch.context() as patch:
        if cut:
            patch.setattr(segments, "SEGMENT", 7)
            patch.setattr(segments, "CONTEXT", 5)
        wanted = measured(data, network, (rows, window), World())
        found = side_by_side(size, lambda world: measured(data, network, (rows, window), world))
    for one in found:
        assert repr(one) == repr(found[0])
    close(found[0], wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_several_tell_what_one_does(built: dict[str, tuple[Any, Any, Any]], kind: str) -> None:
    """All that is told at the end of a run is that of one process: baselines, which are measured
    once, forecasts and their figures, what is answered worst, and the verdict.
    """
    resolved, data, network = built[kind]
    asked = []

    class Counting(type(data.target)):  # type: ignore[misc]
        def baselines(self, train: Any, held: Any) -> Any:
            asked.append(kind)
            return super().baselines(train, held)

    wanted = told(resolved, data, network)
    counted = replace(data, target=Counting(data.target.options))
    found = side_by_side(3, lambda world: told(resolved, counted, network))
    assert len(asked) == 1
    for one in found:
        assert repr(one) == repr(found[0])
    close(found[0], wanted)


class Loner(Accuracy):
    """What is measured of a plugin that merges nothing: it adds in a way of its own."""

    def add(self, output: Any, target: Any) -> None:
        """Add twice."""
        for _ in range(2):
            super().add(output, target)


def with_a_loner(tally: Tally) -> Tally:
    """Return a tally with a metric more, which does not merge."""
    tally.metrics.append(Loner(tally.vocabulary))
    return tally


@pytest.mark.parametrize("kind", ["prose", "labels"])
def test_what_does_not_merge_is_measured_by_the_first(
    built: dict[str, tuple[Any, Any, Any]], kind: str
) -> None:
    """One that adds in a way of its own is not merged by what it inherits: the first process has
    the figures of one alone, and the others have none to disagree with.
    """
    _, data, network = built[kind]
    split = data.splits["train"]

    def work(world: World) -> Any:
        own, tally = copy.deepcopy(network), with_a_loner(data.tally())
        return evaluate(own, data.reader, split, tally, rows=2, world=world).values()

    first, *others = side_by_side(3, work)
    assert first == work(World())
    assert others == [{}, {}]


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_where_one_fails_all_do(built: dict[str, tuple[Any, Any, Any]], failing: int) -> None:
    """What goes wrong in one process is raised in each, and none waits for it."""
    _, data, network = built["labels"]
    raised = {}

    def work(world: World) -> None:
        def watch(batch: Any, output: Any) -> None:
            if world.rank == failing:
                raise ValueError("it fell over")

        own, split = copy.deepcopy(network), data.splits["train"]
        try:
            evaluate(own, data.reader, split, data.tally(), rows=2, watch=watch, world=world)
        except (ValueError, RunError) as error:
            raised[world.rank] = error

    side_by_side(3, work)
    for rank, error in raised.items():
        assert isinstance(error, ValueError if rank == failing else RunError)
        assert "it fell over" in str(error)
    assert raised.keys() == {0, 1, 2}


@given(count=st.integers(0, 300), rows=st.integers(1, 80), size=st.integers(1, 9))
def test_groups_are_dealt_out_evenly(count: int, rows: int, size: int) -> None:
    """Each group is one process's; none has more than a group more than another, nor a group more
    rows than one process would read side by side.
    """
    each = evenly(count, rows, size)
    assert 1 <= each <= rows
    groups = [range(at, min(at + each, count)) for at in range(0, count, each)]
    worlds = [World() for _ in range(size)]
    for rank, world in enumerate(worlds):
        world.rank, world.size = rank, size
    shares = [list(dealt(groups, world)) for world in worlds]
    assert sorted(at for share in shares for group in share for at in group) == list(range(count))
    longest, shortest = max(map(len, shares)), min(map(len, shares))
    assert longest - shortest <= 1
    if size == 1:
        assert each == rows


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=5), st.integers(1, 3))
def test_errors_of_parts_add_up(parts: list[list[int]], width: int) -> None:
    """Sums of errors, by column and by series, are those of all parts together; a part may be of
    nothing.
    """
    scales = SeriesScales(np.arange(4) * 10, np.arange(1.0, 4 * width + 1).reshape(4, width))
    merged, whole = Errors(None, scales), Errors(None, scales)
    for number, part in enumerate(parts):
        own = Errors(None, scales)
        if part:
            rows = np.array(part) * 10
            values = np.sin(np.arange(len(part) * width) + number).reshape(-1, width)
            for sums in (own, whole):
                sums.add(values, values * 2 + 1, rows)
        merged.merge(own)
    assert merged.metrics() == pytest.approx(whole.metrics(), rel=1e-12)
    pairs = zip(merged.columns, whole.columns, strict=True)
    assert all(own.metrics() == pytest.approx(other.metrics(), rel=1e-12) for own, other in pairs)


OTHERS: dict[str, dict[str, Any]] = {
    "training.optimizer.lr": {"training.optimizer.lr": 0.5},
    "seed": {"seed": 8},
    "cell.kind": {"cell.kind": "lstm"},
    "cell.dropout, sequence.length": {"cell.dropout": 0.1, "sequence.length": 4},
}


@settings(deadline=None, max_examples=4)
@given(
    told=st.lists(st.sampled_from([None, *OTHERS]), min_size=2, max_size=2),
    moved=st.booleans(),
)
def test_processes_that_are_told_other_tasks_are_refused(
    told: list[str | None], moved: bool
) -> None:
    """They would train networks that grow apart: before any reads the data, all name the keys of
    the first that has others. Where the data lies is its own affair.
    """
    tables = tomllib.loads(PROSE)
    every = [resolve(tables, OTHERS.get(name or "", {})) for name in (None, *told)]
    if moved:
        every[1] = resolve(tables | {"source": {"kind": "text", "path": "elsewhere.txt"}})
        told = [None, told[1]]
    refused = []

    def work(world: World) -> None:
        try:
            sharing.agree_on(every[world.rank])
        except RunError as error:
            refused.append(str(error))

    side_by_side(3, work)
    odd = [(rank, name) for rank, name in enumerate(told, 1) if name]
    assert len(refused) == 3 * bool(odd) and len(set(refused)) <= 1
    if odd:
        rank, name = odd[0]
        assert f"process {rank} of 3 has another task than the first: {name} [RC064]" in refused[0]
    if name := told[1]:
        with pytest.raises(RunError, match="another task"):
            side_by_side(2, lambda world: prepared(every[2 * world.rank]))
