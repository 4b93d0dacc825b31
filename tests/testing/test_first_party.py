"""Every component that recurra ships keeps its contract."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import pytest
from liars import CHILDREN

from recurra.catalog import HOME, Entry, discover
from recurra.testing.records import Record
from recurra.testing.suite import PRESCRIBED, Examination, examine

OWN = [entry for entry in discover().entries if entry.plugin.distribution == HOME]
ONE_OF_EACH = [entry for entry in OWN if entry.component.name in ("gru", "numeric", "text")]
"""A cell, a vocabulary and a source."""
LIKE_ANOTHER = {entry.component.name for entry in OWN if entry.component.kind == "cell"} - {
    "gru"
} | {"jsonl"}
"""What is like another: its laws are slow, and its certificate holds them. A cell of gates is tried
by default; one of a scan is where a new plugin is written, and what is read as csv is as jsonl
is.
"""
NEEDS = {
    "bpe": "tokenizers",
    "parquet": "pyarrow",
    "tensorboard": "tensorboard",
    "mlflow": "mlflow",
}
"""Packages of extras, without which a component cannot be tried."""


def by_default(entry: Entry) -> Any:
    """Return a component as a parameter, marked slow if it is like another one."""
    marks = [pytest.mark.slow] if entry.component.name in LIKE_ANOTHER else []
    if package := NEEDS.get(entry.component.name):
        absent = find_spec(package) is None
        marks.append(pytest.mark.skipif(absent, reason=f"the package {package} is not installed"))
    return pytest.param(entry, marks=marks, id=label(entry))


def label(entry: Entry) -> str:
    """Return how a component is called here."""
    return f"{entry.component.kind}-{entry.component.name}"


def wrong(records: list[Record]) -> str:
    """Return what does not hold, as it is told."""
    return "\n".join(
        str(record) for record in records if record.verdict not in ("PASS", "N/A", "WAIVED")
    )


LONG = {"S07"}
"""A check that reads files of more than a megabyte: a reference and its liar are tried by
default.
"""

FEW = 2
"""Sets of options that a cell is tried under by default; its certificate is of all of them."""


@pytest.mark.parametrize("entry", [by_default(entry) for entry in OWN])
def test_it_keeps_the_core(entry: Entry) -> None:
    """Every check of level core that starts no process and reads no large file."""
    examination = Examination(entry)
    if entry.component.kind == "cell":
        examination.sets = replace(examination.sets, checked=examination.sets.checked[:FEW])
    checks = [check for check in examination.checks if check.id not in CHILDREN | LONG]
    records = [examination.run(check) for check in checks]
    assert wrong(records) == ""
    # What must be given its data is held to the rest with some (tests/plugins/test_given.py).
    if "data" not in entry.component.lacks:
        assert sum(record.verdict != "N/A" for record in records) > len(checks) / 2


SHARED = {"P02", "P03"}
"""Those of them that every kind has: they are tried on a cell by default, and on the other kinds
under `-m slow`.
"""


@pytest.mark.parametrize("shared", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("entry", ONE_OF_EACH, ids=label)
def test_one_of_each_kind_keeps_the_rest_of_the_core(entry: Entry, shared: bool) -> None:
    """The checks that start a process, of the kinds that have such a check of their own."""
    examination = Examination(entry)
    checks = [check for check in examination.checks if check.id in CHILDREN]
    assert len(checks) == 3 and {check.id for check in checks} > SHARED
    tried = [c for c in checks if shared or entry.component.kind == "cell" or c.id not in SHARED]
    assert wrong([examination.run(check) for check in tried]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("entry", OWN, ids=label)
def test_it_keeps_everything(entry: Entry) -> None:
    """Every check of level full, within two minutes."""
    report = examine(entry, "full")
    assert report.ok, wrong(list(report.records))
    assert len(report.records) == PRESCRIBED[entry.component.kind][1]
    assert report.seconds < 120
