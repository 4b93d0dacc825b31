"""From seconds to what the table says of them."""

from __future__ import annotations

from statistics import median
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.bench import busy, records, regret
from recurra.bench.machine import Machine, examined
from recurra.bench.records import Case, Finding, Setting, Shape, Skipped, measured
from recurra.bench.suite import chosen
from recurra.catalog import discover
from recurra.engine.timings import Timings

MACHINE = Machine("a processor", 1, "a system", "3", "2", "0", flops=1000.0, copied=100.0)
SECONDS = st.floats(1e-3, 1e3)


def record(found: Finding, unit: str = "speed", floor: float | None = None) -> object:
    return measured(
        Case(1, "what", "S", unit, floor, lambda shape, setting: found), Setting(MACHINE)
    )


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9), st.floats(0.5, 2))
def test_the_ratio_is_the_median_of_the_pairs(
    times: list[tuple[float, float]], work: float
) -> None:
    """Each pair has its ratio; their median counts, between the least and the greatest. Twice the
    work is twice.
    """
    ours, other = [a for a, _ in times], [b for _, b in times]
    speed = record(Finding(ours, other, work=work))
    ratios = [b * work / a for a, b in times]
    assert speed.value == pytest.approx(median(ratios), rel=1e-12)
    assert speed.spread == pytest.approx((min(ratios), max(ratios)), rel=1e-12)
    share = record(Finding(ours, other), unit="time")
    assert share.value == pytest.approx(median(a / b for a, b in times), rel=1e-12)


def test_a_machine_that_slows_down_half_way_does_not_show() -> None:
    """What falls on both of a pair is in no ratio, which that of the medians would not be free
    of.
    """
    ours, other = [1.0, 1.0, 1.0, 4.0, 4.0], [2.0, 2.0, 2.0, 8.0, 8.0]
    assert record(Finding(ours, other)).spread == (2.0, 2.0)


def test_seconds_alone_are_told_as_they_are() -> None:
    """Where nothing stands beside, the value is the median of the seconds."""
    found = record(Finding([3.0, 1.0, 2.0]), unit="s", floor=2.5)
    assert (found.value, found.spread, found.reached) == (2.0, (1.0, 3.0), True)


@pytest.mark.parametrize(
    ("unit", "low"), [("speed", False), ("time", True), ("s", True), ("GB", True)]
)
def test_a_floor_is_reached_from_the_right_side(unit: str, low: bool) -> None:
    """A speed must not be under its floor, and a time or a memory not over it; the floor itself is
    reached.
    """
    found = [Finding([1.0], [value] if unit == "speed" else []) for value in (1.0, 2.0, 3.0)]
    if unit == "time":
        found = [Finding([value], [1.0]) for value in (1.0, 2.0, 3.0)]
    elif low:
        found = [Finding([value]) for value in (1.0, 2.0, 3.0)]
    assert [record(one, unit, 2.0).reached for one in found] == (
        [True, True, False] if low else [False, True, True]
    )
    assert record(found[0], unit, None).reached is None


def test_the_share_is_of_what_the_machine_can_do() -> None:
    """Operations are held against the peak of products, bytes against copying, by the median
    time.
    """
    assert record(Finding([1.0, 2.0, 9.0], flops=500.0)).share == 0.25
    assert record(Finding([1.0, 2.0, 9.0], bytes=50.0)).share == 0.25
    assert record(Finding([1.0])).share is None


@pytest.mark.parametrize(
    "reason", [ValueError("no such thing\nat all"), KeyError("x"), RuntimeError()]
)
def test_a_case_that_fails_says_why(reason: Exception) -> None:
    """Whatever goes wrong is told in the record, in one line."""

    def fails(shape: Shape, setting: Setting) -> Finding:
        raise reason

    found = measured(Case(1, "what", "", "speed", 2.0, fails), Setting(MACHINE))
    assert found.error.startswith(type(reason).__name__) and "\n" not in found.error
    assert found.value is None and found.reached is None and not found.skipped


def test_a_case_that_cannot_be_measured_is_no_failure() -> None:
    """A machine without room for a case is not at fault."""

    def skips(shape: Shape, setting: Setting) -> Finding:
        raise Skipped("no room")

    found = measured(Case(1, "what", "", "speed", 2.0, skips), Setting(MACHINE))
    assert (found.skipped, found.error, found.value) == ("no room", "", None)


def test_the_machine_is_described() -> None:
    """Every fact about the machine is there, and both of its limits are above nothing."""
    found = examined(side=8, copied=64).data()
    assert all(found.values())


class Others:
    """What others use, as the test says."""

    cores: float | None = 0.0

    def foreign(self) -> float | None:
        return self.cores


@pytest.mark.parametrize(
    ("finding", "cores", "words"),
    [
        (Finding([1.0], [3.0]), 0.0, []),
        (Finding([1.0], [3.0]), None, []),
        (Finding([1.0], [3.0]), 0.9, ["others used 0.9 cores"]),
        (Finding([1.0] * 3, [1.0, 3.0, 9.0]), 0.0, ["3.0 times its least"]),
        (Finding([1.0], [106.0], flops=100.0), 0.0, ["0.2 % of the machine's products"]),
        (Finding([1.0], [106.0], flops=100.0, work=0.1), 0.0, []),
        (Finding([1.0] * 3, [1.0, 3.0, 9.0], loaded=True), 0.9, []),
    ],
)
def test_a_row_is_doubted_where_it_says_more_of_the_machine(
    finding: Finding, cores: float | None, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others that use the cores, and a baseline that collapsed, are told with the row, and nothing
    else is.
    """
    monkeypatch.setattr(records, "Load", Others)
    monkeypatch.setattr(Others, "cores", cores)
    found = record(finding)
    assert len(found.doubts) == len(words) and all(word in found.doubts[0] for word in words)
    assert (
        found.load == (None if finding.loaded else cores) and found.data()["doubts"] == found.doubts
    )
    sizes = record(
        finding, "worst"
    ).doubts  # whose pairs are of different sizes: none is a repetition of another
    assert sizes == found.doubts[: bool(cores)]


def test_the_worst_of_many_counts_where_that_is_asked() -> None:
    """Of a choice at many sizes, the one that loses the most."""
    assert record(Finding([1.0, 2.0, 1.0], [1.0, 1.0, 1.0]), unit="worst", floor=1.25).value == 2.0


def test_quiet_and_busy_take_turns() -> None:
    """Each pair is timed first without the other process and then beside it; each as long as it
    must be, or longer.
    """
    now, done = [0.0], []

    class Disturbed:
        def __enter__(self) -> None:
            done.append("in")

        def __exit__(self, *error: object) -> None:
            done.append("out")

    def turn() -> None:
        now[0] += 3.0 if done.count("in") > done.count("out") else 1.0

    ours, quiet = busy.in_turn(turn, 2, Disturbed, lambda: now[0])
    assert (ours, quiet, done) == ([3.0, 3.0], [1.0, 1.0], ["in", "out"] * 2)


def test_a_foreign_process_is_ended() -> None:
    """It burns a core while it is wanted, and no longer, whatever happens."""
    with pytest.raises(KeyError), mock.patch.object(busy, "SETTLE", 0), busy.burning():
        raise KeyError


def test_every_cell_is_measured_beside_another_process() -> None:
    """A window of each cell that comes with recurra, at D and S."""
    cells = [entry.qualified for entry in discover().of_kind("cell")]
    names = [name.removeprefix("recurra/") for name in cells if name.startswith("recurra/")]
    windows = {(case.what.partition(",")[0], case.shape) for case in chosen("16", None)}
    assert windows >= {(name, shape) for name in names for shape in "DS"}


def test_a_choice_is_compared_with_every_forced_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size has the seconds of the path taken and of the best; a wrong choice shows."""
    monkeypatch.setattr(regret, "SIZES", [Shape(2, 3, 4)])
    monkeypatch.setattr(regret, "least", lambda *given: {"native": 3.0, "fused": 1.0, "eager": 9.0})
    wrong = Timings(seconds={"native": 1.0, "fused": 2.0, "eager": 3.0})
    monkeypatch.setattr(regret.measure, "measure", lambda *given: wrong)
    found = regret.regret("gru", False, Shape(0, 0, 0), Setting(MACHINE))
    assert (found.ours, found.other) == ([3.0], [1.0]) and found.path.startswith(
        "0 of 1 within 1.1"
    )
