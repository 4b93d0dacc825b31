"""Cases of all families in turn, new ones each time, for some time."""

from __future__ import annotations

import itertools
import time
from pathlib import Path

from fuzz.cases import Report, survey
from fuzz.families import FAMILIES

TURNS = 10
"""Turns in which a family comes to as many cases as the default run has of it."""


def campaign(seconds: float, base: Path, seed: int | None = None) -> Report:
    """Try cases until the time is over.

    `seed` is where their numbers begin, a new one each time by default.
    """
    until = time.monotonic() + seconds
    first = int(time.time() * 1000) % 10**9 if seed is None else seed
    report = Report()
    print(f"cases from number {first} on, for {seconds:g} s", flush=True)
    for turn in itertools.count():
        for family, share in FAMILIES.values():
            begin = first + turn * share // TURNS
            survey(family, range(begin, begin + share // TURNS), base, until, report)
            if time.monotonic() > until:
                return report
    raise AssertionError
