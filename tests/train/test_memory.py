"""Memory that training keeps: asked for once, and given back at the end."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from recurra.train.memory import LARGE

CHILD = """
import os
import resource
import torch
from recurra.bench.child import resident
from recurra.train.memory import kept

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
    [(8, {"MALLOC_TRIM_THRESHOLD_": "131072"}), (LARGE // 4 + 1, {})],
    ids=["the environment says so", "a weight is large"],
)
def test_nothing_is_kept_where(weight: int, said: dict[str, str]) -> None:
    block = 48 * 2**20 // os.sysconf("SC_PAGESIZE")
    pages, _, returned, _ = asked(weight=weight, **said)
    assert int(pages) >= 10 * 4 * block
    assert returned == "True"
