"""Timing in turn: what is timed, how often and in which order, told by a clock that only the turns
move.
"""

from __future__ import annotations

import gc
from contextlib import AbstractContextManager, nullcontext
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.bench import clock
from recurra.bench.clock import WARM, pairs, undisturbed


class World:
    """A clock, and turns that take given seconds of it; `done` holds their names in order."""

    def __init__(self) -> None:
        self.now, self.done = 0.0, ""

    def clock(self) -> float:
        return self.now

    def turn(self, name: str, *seconds: float) -> object:
        left = list(seconds)

        def go() -> None:
            self.done += name
            self.now += left.pop(0) if len(left) > 1 else left[0]

        return go


def uncollected() -> AbstractContextManager[object]:
    """Without the collection of garbage, which takes long in a large process; it has a law of its
    own.
    """
    return mock.patch.object(clock, "undisturbed", nullcontext)


def test_the_two_take_turns() -> None:
    """Both are warm before the first timing, and then A and B follow each other to the end."""
    world = World()
    pairs(world.turn("a", 1.0), world.turn("b", 2.0), 4, world.clock, least=1.0)
    assert world.done == "a" * (WARM + 1) + "b" * (WARM + 1) + "ab" * 4


@settings(max_examples=20)
@given(st.integers(1, 9), st.integers(1, 64), st.integers(1, 64))
def test_the_seconds_are_those_of_one_turn(count: int, a: int, b: int) -> None:
    """Whatever is repeated within a timing, the seconds of one turn come out (powers of two, so
    without rounding).
    """
    world = World()
    with uncollected():
        ours, other = pairs(
            world.turn("a", a / 1024), world.turn("b", b / 1024), count, world.clock, least=0.02
        )
    assert (ours, other) == ([a / 1024] * count, [b / 1024] * count)


@settings(max_examples=20)
@given(st.floats(1e-4, 1.0), st.floats(0.01, 0.5))
def test_a_timing_lasts(seconds: float, least: float) -> None:
    """Each timing takes as long as it must, and not a turn longer."""
    world = World()
    with uncollected():
        pairs(world.turn("a", seconds), world.turn("b", 1.0), 1, world.clock, least)
    repeats = world.done.count("a") - WARM - 1
    assert repeats * seconds >= least * (1 - 1e-9)
    assert (repeats - 1) * seconds <= least * (1 + 1e-9)


def test_what_warming_up_takes_is_left_out() -> None:
    """A first turn that compiles something shows in no figure."""
    world = World()
    ours, _ = pairs(world.turn("a", 99.0, 1.0), world.turn("b", 1.0), 3, world.clock, least=1.0)
    assert ours == [1.0, 1.0, 1.0]


def test_garbage_is_collected_again_afterwards() -> None:
    """No collection begins inside a timing, and whatever a turn raises, they go on after it."""
    with pytest.raises(ZeroDivisionError), undisturbed():
        assert not gc.isenabled()
        _ = 1 / 0
    assert gc.isenabled()
