"""The suite is put to the test itself: right components pass every check, and each wrong one fails
its own, by name.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import Any

import liars
import pytest
from liars import CHILDREN, Liar, entry
from liars.reference import REFERENCE, REFERENCES

from recurra.testing.check import Check
from recurra.testing.records import Record
from recurra.testing.suite import Examination, all_checks, examine


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what a liar writes into the current folder be written elsewhere."""
    monkeypatch.chdir(tmp_path)


def every_liar() -> list[Liar]:
    """Return the liars of every module of `liars`."""
    names = [module.name for module in pkgutil.iter_modules(liars.__path__)]
    modules = [importlib.import_module(f"liars.{name}") for name in names]
    return [liar for module in modules for liar in getattr(module, "LIARS", ())]


LIARS = every_liar()


def label(liar: Liar) -> str:
    """Return how a liar is called: its check, and what is wrong with it."""
    changed = (
        liar.component.target
        if liar.component.target != REFERENCE.target
        else liar.component.options
    )
    return f"{liar.check}-{changed.partition(':')[2]}"


def failing(examination: Examination, checks: list[Check]) -> list[Record]:
    """Return the records of what does not hold."""
    records = [examination.run(check) for check in checks]
    return [record for record in records if record.verdict not in ("PASS", "N/A")]


def named(liar: Liar, checks: list[Check], examination: Examination) -> None:
    """Assert that a liar fails its check, and beside it only what it cannot but fail, each told in
    a few words.
    """
    found = failing(examination, checks)
    wanted = ({liar.check} | liar.others) & {check.id for check in checks}
    assert {record.id for record in found} == wanted, "\n".join(map(str, found))
    for record in found:
        assert record.verdict == "FAIL"
        assert record.detail or None not in (record.value, record.bound)
        assert len(record.detail) < 500


IDS = [*all_checks()]
TURNS = 3
"""One check of so many is run on a liar in the quick tests, beside its own."""


def quick(liar: Liar, check: Check) -> bool:
    """Tell whether a check is run on a liar in the quick tests: its own, and of a kind that is
    cheap some of the core.

    These are others from liar to liar, so that each check meets many. A cell has a kernel compiled
    for it, and is run on every path by most checks: the others are left to the slow tests. A right
    component that is wrongly packed computes as others do.
    """
    own = check.id == liar.check
    cheap = liar.component.kind != "cell" and check.level == "core" and check.id not in CHILDREN
    family = liar.check.startswith("P") and not check.id.startswith("P")
    turn = (LIARS.index(liar) + IDS.index(check.id)) % TURNS == 0
    return own or (cheap and not family and turn)


def by_default(liar: Liar) -> bool:
    """Tell whether a liar is tried in the quick tests: the first two of a check, and of one that
    starts a process the first.
    """
    alike = [one for one in LIARS if one.check == liar.check]
    tried = alike[:1] if liar.check in CHILDREN else alike[:2]
    return all_checks()[liar.check].level == "core" and liar in tried


@pytest.mark.parametrize(
    "liar",
    [
        pytest.param(liar, marks=[] if by_default(liar) else [pytest.mark.slow], id=label(liar))
        for liar in LIARS
    ],
)
def test_a_liar_is_named_by_its_check(liar: Liar) -> None:
    """A wrong component fails its own check and, of those that are quick for its kind, no other."""
    examination = Examination(liar.entry, all_checks()[liar.check].level)
    checks = [check for check in examination.checks if quick(liar, check)]
    named(liar, checks, examination)


@pytest.mark.slow
@pytest.mark.parametrize("liar", LIARS, ids=label)
def test_a_liar_keeps_every_other_law(liar: Liar) -> None:
    """Of all checks, a wrong component fails its own and no other."""
    examination = Examination(liar.entry, "full")
    named(liar, examination.checks, examination)


@pytest.mark.parametrize("check", [id for id in all_checks() if not id.startswith("R")])
def test_every_check_has_a_liar(check: str) -> None:
    """A check that nothing fails might check nothing; R33 and R34 only report."""
    assert any(liar.check == check for liar in LIARS)


def test_every_liar_stands_for_a_check_of_its_kind() -> None:
    """What a liar is said to fail is a check of its kind, and so are the others."""
    for liar in LIARS:
        for id in {liar.check} | liar.others:
            check: Any = all_checks()[id]
            assert not check.kinds or liar.component.kind in check.kinds, label(liar)


def test_every_module_of_liars_is_asked() -> None:
    """No file of wrong components is left out."""
    folder = Path(liars.__path__[0])
    holding = {
        path.stem for path in folder.glob("*.py") if "\nLIARS" in path.read_text(encoding="utf-8")
    }
    asked = {module.name for module in pkgutil.iter_modules(liars.__path__)}
    assert holding <= asked
    assert len(holding) >= 8


@pytest.mark.parametrize(
    "component",
    [
        pytest.param(c, id=c.name, marks=[pytest.mark.slow] if c is REFERENCE else [])
        for c in REFERENCES
    ],
)
def test_what_is_right_passes(component: Any) -> None:
    """The references keep every quick law; beside the cell, a cell of recurra's own does by
    default.
    """
    examination = Examination(entry(component))
    assert (
        failing(examination, [check for check in examination.checks if check.id not in CHILDREN])
        == []
    )


@pytest.mark.slow
@pytest.mark.parametrize("component", REFERENCES, ids=lambda component: component.name)
def test_what_is_right_passes_everything(component: Any) -> None:
    """The references keep every law, learning and compiling too."""
    report = examine(entry(component), "full")
    assert report.ok, "\n".join(map(str, report.records))
