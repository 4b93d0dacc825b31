"""Cases of all families in turn, new ones each time, for some time."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from fuzz.cases import Report, survey
from fuzz.families import FAMILIES

TURN = 10
"""Cases of a family before the next one has its turn."""


def campaign(seconds: float, base: Path, seed: int | None = None) -> Report:
    """Try cases until the time is over; `seed` is where their numbers begin, a new one each time by default."""
    until = time.monotonic() + seconds
    first = int(time.time() * 1000) % 10**9 if seed is None else seed
    report = Report()
    print(f"cases from number {first} on, for {seconds:g} s", flush=True)
    for turn in itertools.count():
        for family, _ in FAMILIES.values():
            begin = first + turn * TURN
            survey(family, range(begin, begin + TURN), base, until, report)
            if time.monotonic() > until:
                return report
    raise AssertionError
