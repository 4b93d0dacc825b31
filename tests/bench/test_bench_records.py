"""From seconds to what the table says of them."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.bench.machine import Machine, examined
from recurra.bench.records import Case, Finding, Setting, Shape, Skipped, measured

MACHINE = Machine("a processor", 1, "a system", "3", "2", "0", flops=1000.0, copied=100.0)
SECONDS = st.floats(1e-3, 1e3)


def record(found: Finding, unit: str = "speed", floor: float | None = None) -> object:
    return measured(Case(1, "what", "S", unit, floor, lambda shape, setting: found), Setting(MACHINE))


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=9), st.floats(0.5, 2))
def test_the_ratio_is_the_median_of_the_pairs(times: list[tuple[float, float]], work: float) -> None:
    """Each pair has its ratio; their median counts, between the least and the greatest. Twice the work is twice."""
    ours, other = [a for a, _ in times], [b for _, b in times]
    speed = record(Finding(ours, other, work=work))
    ratios = [b * work / a for a, b in times]
    assert speed.value == pytest.approx(median(ratios), rel=1e-12)
    assert speed.spread == pytest.approx((min(ratios), max(ratios)), rel=1e-12)
    share = record(Finding(ours, other), unit="time")
    assert share.value == pytest.approx(median(a / b for a, b in times), rel=1e-12)


def test_a_machine_that_slows_down_half_way_does_not_show() -> None:
    """What falls on both of a pair is in no ratio, which that of the medians would not be free of."""
    ours, other = [1.0, 1.0, 1.0, 4.0, 4.0], [2.0, 2.0, 2.0, 8.0, 8.0]
    assert record(Finding(ours, other)).spread == (2.0, 2.0)


def test_seconds_alone_are_told_as_they_are() -> None:
    """Where nothing stands beside, the value is the median of the seconds."""
    found = record(Finding([3.0, 1.0, 2.0]), unit="s", floor=2.5)
    assert (found.value, found.spread, found.reached) == (2.0, (1.0, 3.0), True)


@pytest.mark.parametrize(("unit", "low"), [("speed", False), ("time", True), ("s", True), ("GB", True)])
def test_a_floor_is_reached_from_the_right_side(unit: str, low: bool) -> None:
    """A speed must not be under its floor, and a time or a memory not over it; the floor itself is reached."""
    found = [Finding([1.0], [value] if unit == "speed" else []) for value in (1.0, 2.0, 3.0)]
    if unit == "time":
        found = [Finding([value], [1.0]) for value in (1.0, 2.0, 3.0)]
    elif low:
        found = [Finding([value]) for value in (1.0, 2.0, 3.0)]
    assert [record(one, unit, 2.0).reached for one in found] == ([True, True, False] if low else [False, True, True])
    assert record(found[0], unit, None).reached is None


def test_the_share_is_of_what_the_machine_can_do() -> None:
    """Operations are held against the peak of products, bytes against copying, by the median time."""
    assert record(Finding([1.0, 2.0, 9.0], flops=500.0)).share == 0.25
    assert record(Finding([1.0, 2.0, 9.0], bytes=50.0)).share == 0.25
    assert record(Finding([1.0])).share is None


@pytest.mark.parametrize("reason", [ValueError("no such thing\nat all"), KeyError("x"), RuntimeError()])
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
