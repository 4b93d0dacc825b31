"""What is everybody's, and what a component owns: whatever a use changes of it is told, and is put
back.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from liars import around

from recurra.testing import belongings, traces, world
from recurra.testing.check import Broken
from recurra.testing.suite import Examination, all_checks

P09 = all_checks()["P09"]


def told(effect: str) -> str:
    """Return what is said of a loss that has an effect."""
    record = Examination(around.disturbing(effect)).run(P09)
    assert record.verdict == "FAIL"
    return record.detail


@pytest.mark.parametrize("aspect", world.ASPECTS)
def test_whatever_is_changed_is_told_and_put_back(aspect: str) -> None:
    """Each aspect of the world is compared by name, and is afterwards what it was."""
    if aspect == "how nice the process is" and os.geteuid():
        pytest.skip("only root may be less nice again")
    if aspect == "the processors that it may use" and len(os.sched_getaffinity(0)) < 2:
        pytest.skip("there is one processor")
    before = world.read()
    assert aspect in told(aspect)
    assert world.changes(before) == []


@pytest.mark.parametrize("trace", around.TRACES)
def test_whatever_is_left_behind_is_told(trace: str) -> None:
    """Files anywhere, processes, and what is written past Python's streams."""
    try:
        assert f"using it {trace}" in told(trace)
    finally:
        Path(tempfile.gettempdir(), f"recurra-liar-{os.getpid()}").unlink(missing_ok=True)
        for child in around.CHILDREN:
            child.kill()
            child.wait()
        around.CHILDREN.clear()


def test_what_is_made_and_taken_away_again_is_no_trace(tmp_path: Path) -> None:
    """A temporary file is nobody's business; one that lay there before is somebody's."""
    mine = tmp_path / "mine"
    mine.write_text("x")
    with traces.written() as paths:
        (tmp_path / "brief").write_text("x")
        (tmp_path / "brief").unlink()
        mine.read_text()
        assert traces.left(paths, []) == []
        mine.unlink()
    assert traces.left(paths, []) == [str(mine)]
    assert traces.left(paths, [tmp_path]) == []
    (tmp_path / "later").write_text("x")
    assert str(tmp_path / "later") not in paths


def add(table: dict[int, int]) -> None:
    """Make a table larger."""
    table[len(table)] = 0


def count(held: SimpleNamespace) -> None:
    """Count a call."""
    held.n += 1


HELD = {
    "an array": (np.zeros(3), lambda held: np.add(held, 1, out=held)),
    "a tensor": (torch.zeros(3), lambda held: held.add_(1)),
    "a list": ([1], lambda held: held.append(1)),
    "a list in a table": ({"a": [1]}, lambda held: held["a"].append(1)),
    "a table": ({}, add),
    "a set": (set(), lambda held: held.add(len(held))),
    "a queue": (deque([1]), lambda held: held.append(1)),
    "bytes": (bytearray(2), lambda held: held.extend(b"x")),
    "an object": (SimpleNamespace(n=1), count),
    "a list in an object in an object": (
        SimpleNamespace(of=SimpleNamespace(n=[])),
        lambda held: held.of.n.append(1),
    ),
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_owned_is_looked_into(name: str) -> None:
    """A call that changes what an attribute holds is named by that attribute, however deep it
    lies.
    """
    held, change = HELD[name]
    module = torch.nn.Identity()
    module.held = held
    belongings.unchanged(module, lambda: None)
    with pytest.raises(Broken, match="changes held"):
        belongings.unchanged(module, lambda: change(held))


def test_what_is_owned_is_looked_at_as_far_as_a_bound() -> None:
    """Neither what holds itself nor what is very large takes long to look at."""
    ring: list[object] = []
    ring.append(ring)
    large = torch.nn.Identity()
    large.ring, large.many, large.array = ring, list(range(10**6)), np.zeros(10**6)
    atoms = belongings.belongings(large)
    assert max(map(len, atoms.values())) <= belongings.MOST
