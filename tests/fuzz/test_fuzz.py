"""What is wrong comes out as one of recurra's own errors.

It is no traceback, no strange warning, no hang, and no file where none belongs.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fuzz.cases import survey
from fuzz.families import FAMILIES
from fuzz.rounds import campaign

PARTS = 2
SECONDS = 600
"""How long the slow test tries new cases, unless RECURRA_FUZZ_SECONDS says otherwise.

RECURRA_FUZZ_SEED repeats one.
"""


@pytest.fixture(scope="session")
def commons(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of what all cases share: runs before they are damaged."""
    return tmp_path_factory.mktemp("commons")


@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("family", FAMILIES)
def test_what_comes_out_is_ours(family: str, part: int, commons: Path) -> None:
    """Each family has the same cases each time: a result or a `RecurraError`, and no more."""
    draw, share = FAMILIES[family]
    report = survey(draw, range(part * share // PARTS, (part + 1) * share // PARTS), commons)
    if report.kinds:
        pytest.fail(str(report), pytrace=False)


@pytest.mark.slow
def test_new_inputs_each_time(commons: Path) -> None:
    """Other cases of every family each time, for minutes."""
    seed = os.environ.get("RECURRA_FUZZ_SEED")
    seconds = float(os.environ.get("RECURRA_FUZZ_SECONDS", SECONDS))
    report = campaign(seconds, commons, None if seed is None else int(seed))
    if report.kinds:
        pytest.fail(str(report), pytrace=False)
