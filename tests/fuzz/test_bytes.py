"""Every reader takes any bytes: a result or one of recurra's errors, in time, and no more."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz import values
from fuzz.guard import attempt
from fuzz.readers import READERS

FEW = settings(max_examples=20, deadline=None, database=None, derandomize=True)
MANY = settings(max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck))
FOUND = Path(__file__).with_name("found")
"""Inputs that were faults once, each in the folder of its reader."""


def demand(name, raw, folder):
    """Demand that a reader takes bytes as it should, and writes nowhere else."""
    outcome = attempt(lambda: READERS[name].call(raw, folder), folder)
    assert not outcome.faults, (raw[:200], outcome.faults)


@pytest.mark.parametrize(
    "effort",
    [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)],
)
@pytest.mark.parametrize("name", READERS)
def test_what_is_mutated_in_its_form_is_read_or_refused(name, effort, tmp_path_factory):
    """Sound files with a value, a key, a line, an entry or a byte changed, and both at once."""
    reader = READERS[name]

    @effort
    @given(st.sampled_from(reader.seeds), st.integers(0, 1 << 32), st.sampled_from("frb"))
    def law(seed, number, how):
        random = Random(number)
        raw = reader.form(random, seed) if how in "fb" else seed
        if how in "rb":
            raw, _ = values.corrupted(random, raw)
        demand(name, raw, tmp_path_factory.mktemp("read"))

    law()


@pytest.mark.parametrize("name", READERS)
def test_what_is_sound_is_read(name, tmp_path):
    """The bytes that mutations begin from come through without an error, where they are whole."""
    first = READERS[name].seeds[0]
    outcome = attempt(lambda: READERS[name].call(first, tmp_path), tmp_path)
    assert outcome.done, (outcome.error, outcome.faults)


@pytest.mark.parametrize("path", sorted(FOUND.glob("*/*")), ids=lambda path: path.parent.name)
def test_what_was_a_fault_once_is_none(path, tmp_path):
    """Each input that a search has found is read or refused now."""
    demand(path.parent.name, path.read_bytes(), tmp_path)
