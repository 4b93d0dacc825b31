"""The race of the paths: it is short, and what is disturbed or costs once does not decide it."""

from __future__ import annotations

from unittest import mock

import pytest
import three_paths
from hand_made import build
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.engine import choice, race
from recurra.engine.race import Lap
from recurra.engine.timings import Timings

cache = pytest.fixture(three_paths.cache)
clock = pytest.fixture(three_paths.clock)


def test_a_busy_machine_is_told_by_the_processor(clock):
    """Where others take the cores, it is not the clock that counts; where threads wait for each
    other alone, it is.
    """
    slow = {"first": 1.0, "second": 4.0}

    def runs(name, rows, long):
        return Lap(slow[name] * 1e-4 * long, 1e-4 * long * (1.5 if name == "first" else 1.0))

    clock.foreign = 0.0
    assert (
        choice.fastest(["first", "second"], race.compared(runs, ["first", "second"], 4, 16).seconds)
        == "first"
    )
    clock.foreign = 0.9
    busy = race.compared(runs, ["first", "second"], 4, 16)
    assert choice.fastest(["first", "second"], busy.seconds) == "second" and busy.load == 0.9


def test_a_long_path_beside_it_does_not_hide_who_waits(clock):
    """One path shares its work and waits for a core that is taken; the others, and a slow one, wait
    for nobody.
    """

    def runs(name, rows, long):
        wall, processor = {"alone": (6.0, 5.5), "shared": (8.0, 4.0), "eager": (400.0, 390.0)}[name]
        return Lap(wall * 1e-5 * long, processor * 1e-5 * long)

    names = ["alone", "shared", "eager"]
    clock.foreign = 1.0
    assert choice.fastest(names, race.compared(runs, names, 1, 1024).seconds) == "shared"
    clock.foreign = 0.0
    assert choice.fastest(names, race.compared(runs, names, 1, 1024).seconds) == "alone"


@pytest.mark.parametrize("again", [True, False])
def test_eager_must_win_twice(clock, monkeypatch, again):
    """A race that eager wins is run once more, and it is taken if it wins that one too."""
    races = iter(
        [
            {"first": 3.0, "second": 2.0, "eager": 1.0},
            {"second": 2.0, "eager": 1.0 if again else 1.99},
        ]
    )
    monkeypatch.setattr(race, "compared", lambda *given: Timings(seconds=next(races)))
    cell = build("leaky", 3, 4)
    assert choice.explain(cell, 2, 5).path == ("eager" if again else "second")
    assert next(races, None) is None


@settings(deadline=None, max_examples=50)
@given(
    batch=st.integers(1, 256),
    steps=st.integers(1, 4096),
    cost=st.tuples(st.floats(0, 0.08), st.floats(1e-7, 0.05)),
    taken=st.floats(1.0, 20.0),
)
def test_windows_grow_as_far_beside_others(batch, steps, cost, taken):
    """What of a window is timed, and whether it is timed at all, does not hang on who else is
    there.
    """

    def sizes(slower):
        seen = set()

        def runs(name, rows, long):
            seen.add((rows, long))
            seconds = cost[0] + cost[1] * long * rows / batch
            return Lap(seconds * slower, seconds)

        race.race(runs, ["one"], batch, steps)
        return seen

    assert sizes(taken) == sizes(1.0)


@settings(deadline=None, max_examples=50)
@given(
    batch=st.integers(1, 512),
    steps=st.integers(1, 4096),
    costs=st.lists(st.tuples(st.floats(0, 0.08), st.floats(1e-7, 0.02)), min_size=2, max_size=3),
    taken=st.floats(1.0, 8.0),
)
def test_a_race_is_short_and_right(batch, steps, costs, taken):
    """On any machine it ends in time; what a window costs once never counts as a step's; nor does
    what others take.
    """
    spent, real = [0.0], race.now
    names = [f"path {index}" for index in range(len(costs))]
    cost = dict(zip(names, costs, strict=True))

    def runs(name, rows, long):
        once, each = cost[name]
        seconds = once + each * long * rows / batch
        spent[0] += seconds * taken
        return Lap(seconds * taken, seconds)

    class Others:
        def foreign(self):
            return taken - 1

    race.now = lambda: spent[0]
    try:
        with mock.patch.object(race, "Load", Others):
            found = race.compared(runs, names, batch, steps).seconds
    finally:
        race.now = real
    assert spent[0] <= 8.0 * taken
    if not found:
        return
    whole = {name: once + each * steps for name, (once, each) in cost.items()}
    chosen = choice.fastest(names, found)
    assert max(each for _, each in costs) > race.WIDE / 16 or whole[chosen] <= 1.1 * min(
        whole.values()
    )


def test_what_a_window_costs_once_does_not_decide(cache):
    """Packing that takes as long as 30 steps loses no race over 64 of them."""
    cost = {"a": (0.0, 0.006), "b": (0.09, 0.003)}

    def runs(name, rows, long):
        once, each = cost[name]
        return Lap(once + each * long, once + each * long)

    found = race.compared(runs, ["a", "b"], 8, 64).seconds
    assert found["b"] == pytest.approx((0.09 + 0.003 * 64) / 64, rel=0.01)
    assert choice.fastest(["a", "b"], found) == "b"


def test_one_disturbed_run_does_not_decide(cache):
    """A short run that is disturbed once is taken again."""
    calls = {"a": 0, "b": 0}

    def runs(name, rows, long):
        calls[name] += 1
        seconds = (
            {"a": 1e-4, "b": 2e-4}[name]
            * long
            * (50 if name == "a" and calls[name] % 3 == 1 else 1)
        )
        return Lap(seconds, seconds)

    found = race.compared(runs, ["a", "b"], 4, 16).seconds
    assert choice.fastest(["a", "b"], found) == "a"


@settings(deadline=None, max_examples=60)
@given(
    batch=st.integers(1, 64),
    steps=st.integers(1, 2048),
    costs=st.lists(st.tuples(st.floats(0, 0.01), st.floats(1e-7, 1e-3)), min_size=2, max_size=3),
    moments=st.lists(st.tuples(st.integers(2, 40), st.floats(1.0, 9.0)), min_size=3, max_size=3),
)
def test_a_bad_moment_of_each_path_does_not_decide(batch, steps, costs, moments):
    """One run of each is disturbed, early or late: the choice is as if none were."""
    names = [f"path {index}" for index in range(len(costs))]
    calls, spent = dict.fromkeys(names, 0), [0.0]

    def runs(name, rows, long):
        index = names.index(name)
        once, each = costs[index]
        calls[name] += 1
        number, factor = moments[index]
        seconds = (once + each * long * rows / batch) * (factor if calls[name] == number else 1)
        spent[0] += seconds
        return Lap(seconds, seconds)

    with mock.patch.object(race, "now", lambda: spent[0]):
        found = race.compared(runs, names, batch, steps).seconds
    whole = {name: once + each * steps for name, (once, each) in zip(names, costs, strict=True)}
    assert whole[choice.fastest(names, found)] <= 1.1 * min(whole.values())


def test_a_busy_machine_has_as_many_runs():
    """Where others take the cores, close paths are told apart by as many runs as elsewhere."""

    def count(slower):
        clock, runs = [0.0], []

        def timed(name, rows, long):
            seconds = {"a": 0.0011, "b": 0.001}[name] * long
            clock[0] += seconds * slower
            runs.append(name)
            return Lap(seconds * slower, seconds)

        with mock.patch.object(race, "now", lambda: clock[0]):
            race.race(timed, ["a", "b"], 32, 128)
        return len(runs)

    assert count(1.0) > 30
    assert count(6.0) == count(1.0)


@settings(deadline=None, max_examples=50)
@given(
    steps=st.sampled_from([64, 256, 1024]),
    whole=st.floats(0.03, 0.29),
    rival=st.floats(0.4, 2.5),
)
def test_a_path_that_computes_many_steps_together_is_judged_by_many(steps, whole, rival):
    """A few of its steps cost nearly as much as 64 of them, which a part of a window would tell as
    the price of each.
    """

    def runs(name, rows, long):
        if name == "even":
            return Lap(*[whole * rival / steps * long] * 2)
        chunks = -(-long // 64)
        last = long - 64 * (chunks - 1)
        seconds = whole * 64 / steps * (chunks - 1 + (last / 64) ** 0.3)
        return Lap(seconds, seconds)

    names = ["together", "even"]
    seconds = race.compared(runs, names, 4, steps, uneven={"together"}).seconds
    assert seconds["even"] / seconds["together"] == pytest.approx(rival, rel=0.05)


def test_a_path_that_fails_on_the_whole_window_alone_has_no_time(cache):
    """It may run on a few steps, and not have the memory for all."""

    def runs(name, rows, long):
        if name == "a" and long == 64:
            raise MemoryError
        return Lap(1e-4 * long, 1e-4 * long)

    assert set(race.compared(runs, ["a", "b"], 4, 64).seconds) == {"b"}
    assert race.compared(runs, ["a"], 4, 64).seconds == {}


@given(
    steps=st.fixed_dictionaries({name: st.floats(1e-7, 1e-3) for name in ("native", "fused",
        "eager")}),
    batch=st.integers(1, 64), long=st.integers(1, 100),
)  # fmt: skip
def test_the_measurement_of_a_small_cell_takes_a_moment(steps, batch, long):
    """By a clock that the runs alone move, it ends soon after it has what it needs, and the runs
    are not many.
    """
    seconds, count = 0.0, 0

    def runs(name, rows, long):
        nonlocal seconds, count
        took = steps[name] * long
        seconds, count = seconds + took, count + 1
        return Lap(took, took)

    with mock.patch.object(race, "now", lambda: seconds):
        laps, _ = race.race(runs, [*steps], batch, long)
    assert set(laps) == set(steps)
    each_alone = race.AGAIN * sum(steps.values()) * (2 * long + 20)
    a_round = race.AGAIN * 2 * sum(steps.values()) * long
    assert seconds <= race.MOST + each_alone + a_round
    assert count <= len(steps) * race.AGAIN * (9 + 2 * race.MANY)
