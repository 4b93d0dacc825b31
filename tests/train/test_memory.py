"""Memory that training keeps: asked for once, and given back at the end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from trainers import EVEN, trainer_of

from recurra.engine import memory
from recurra.engine.memory import LARGE, MMAP_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD, WIDE, kept

CHILD = """
import os
import resource
import torch
from recurra.bench.child import resident
from recurra.engine.memory import kept

BLOCK, COUNT, UPDATES = 48 * 2**20, 4, 10

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def update():
    blocks = [torch.ones(BLOCK // 4) for _ in range(COUNT)]
    return sum(float(block[0]) for block in blocks)

weight = torch.zeros({weight})
update()
before = resident()
with kept([weight]):
    for _ in range(UPDATES):  # until each block has found its place
        update()
    start = faults()
    for _ in range(UPDATES):
        update()
    asked = faults() - start
    inside = resident()
after = resident()
start = faults()
update()
print(asked, inside - before > BLOCK // 2, after - before < BLOCK // 2, faults() - start)
"""
"""Updates under `kept`, and one after it; of which pages are small, so that they count."""


def asked(weight: int, **said: str) -> list[str]:
    """Return the pages asked for, whether memory was held, and given back, and those after."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")}
    environment |= {"THP_MEM_ALLOC_ENABLE": "0", **said}
    line = [sys.executable, "-c", CHILD.format(weight=weight)]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.split()


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
def test_memory_is_asked_for_once_and_given_back() -> None:
    block = 48 * 2**20 // os.sysconf("SC_PAGESIZE")
    pages, held, returned, later = asked(weight=8)
    assert int(pages) < block  # of the 40 of which so much is asked for
    assert held == returned == "True"
    assert int(later) >= 4 * block  # the allocator is as it was


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another allocator")
@pytest.mark.parametrize(
    ("weight", "said"),
    [(8, {"MALLOC_TRIM_THRESHOLD_": "131072"}), (WIDE // 4 + 1, {})],
    ids=["the environment says so", "a weight is large"],
)
def test_nothing_is_kept_where(weight: int, said: dict[str, str]) -> None:
    block = 48 * 2**20 // os.sysconf("SC_PAGESIZE")
    pages, _, returned, _ = asked(weight=weight, **said)
    assert int(pages) >= 10 * 4 * block
    assert returned == "True"


DEFAULTS = {MMAP_MAX: 65_536, MMAP_THRESHOLD: LARGE, TRIM_THRESHOLD: 2 * LARGE}
SAID = memory._said
KEEPING = {MMAP_MAX: 0, TRIM_THRESHOLD: -1}


class Pretended:
    """A C library that keeps what it was asked for, and how often memory was given back."""

    def __init__(self) -> None:
        self.asked: dict[int, int] = {}
        self.trimmed = 0

    def mallopt(self, number: int, value: int) -> int:
        self.asked[number] = value
        return 1

    def malloc_trim(self, left: int) -> int:
        self.trimmed += 1
        return 1


@contextmanager
def pretended() -> Iterator[Pretended]:
    """Stand in for the C library, and for an environment that says nothing of it."""
    library = Pretended()
    with (
        mock.patch.object(memory, "_library", lambda: library),
        mock.patch.object(memory, "_said", lambda: False),
    ):
        yield library


@given(turns=st.lists(st.integers(0, 3), max_size=20))
def test_the_last_of_several_trainings_gives_back(turns: list[int]) -> None:
    """Each number begins a training, or ends it, in any order; some end with an exception."""
    with pretended() as library:
        running: dict[int, ExitStack] = {}
        for turn in [*turns, *range(4), *range(4)]:
            before = library.trimmed
            if turn not in running:
                running[turn] = ExitStack()
                running[turn].enter_context(kept(nn.Linear(2, 2).parameters()))
            elif turn % 2:
                running.pop(turn).close()
            else:
                with pytest.raises(ZeroDivisionError), running.pop(turn):
                    raise ZeroDivisionError
            expected = KEEPING if running else DEFAULTS
            assert expected.items() <= library.asked.items()
            assert library.trimmed - before == (not running)
        while running:
            running.popitem()[1].close()
        assert library.asked == DEFAULTS


@pytest.mark.parametrize(
    ("said", "variables"),
    [
        (True, {"GLIBC_TUNABLES": "glibc.cpu.x=1:glibc.malloc.arena_max=2"}),
        (True, {"MALLOC_ARENA_MAX": "2"}),
        (False, {"GLIBC_TUNABLES": "glibc.cpu.x=1"}),
        (False, {}),
    ],
)
def test_what_the_environment_says_counts(said: bool, variables: dict[str, str]) -> None:
    with pretended() as library, mock.patch.object(memory, "_said", SAID):
        left = {name: value for name, value in os.environ.items() if "MALLOC" not in name}
        left.pop("GLIBC_TUNABLES", None)
        with mock.patch.dict(os.environ, left | variables, clear=True), kept([torch.ones(2)]):
            assert bool(library.asked) != said


def test_what_is_not_on_the_cpu_keeps_nothing_of_it() -> None:
    with pretended() as library, kept([torch.ones(2), torch.ones(2, device="meta")]):
        assert not library.asked


def test_a_training_that_nobody_goes_on_with_gives_back(tmp_path: Path) -> None:
    """Its events are dropped, or closed, after the first."""
    for drop in (False, True):
        with pretended() as library:
            events = trainer_of(tmp_path, EVEN, {"device.path": "eager"}).events()
            next(events)
            assert KEEPING.items() <= library.asked.items() and not library.trimmed
            if drop:
                del events
            else:
                events.close()  # type: ignore[attr-defined]
            assert library.asked == DEFAULTS and library.trimmed == 1
