"""The suite as a class of tests: one test for each check, with a node id of its own."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from recurra.contracts.component import Component, Kind
from recurra.errors import RecurraError
from recurra.testing.check import Check, Level
from recurra.testing.lookup import find
from recurra.testing.records import Record
from recurra.testing.suite import Examination


class SuiteError(Exception):
    """The suite itself failed; that is no fault of the component's, and no waiver covers it."""


def hold(record: Record) -> None:
    """Give pytest the verdict of a record: fail, skip, or nothing where the law holds."""
    __tracebackhide__ = True
    if record.verdict == "N/A":
        pytest.skip(record.detail)
    if record.verdict == "ERROR":
        raise SuiteError(str(record))
    if record.verdict in ("FAIL", "WAIVED"):
        pytest.fail(str(record), pytrace=False)


def marks(check: Check, component: Component) -> list[pytest.MarkDecorator]:
    """Return the marks of a check's test; a waived one is expected to fail, strictly."""
    found = [pytest.mark.contract]
    if check.id in component.waivers:
        reason = component.waivers[check.id]
        found.append(pytest.mark.xfail(reason=reason, strict=True, raises=pytest.fail.Exception))
    return found


class Contract:
    """The contract of one component, as tests.

    Derive from the class of its kind and name the component:

        class TestLeaky(CellContract):
            component = "leaky"
            options = [{}, {"hidden_size": 7}]

    `options` are the tables that it is checked under, in place of its own examples or what is drawn
    from its model; `files` are local plugin files, taken from the folder of the test's module.
    """

    kind: ClassVar[Kind]
    component: ClassVar[str] = ""
    options: ClassVar[Sequence[Mapping[str, Any]] | None] = None
    level: ClassVar[Level] = "full"
    files: ClassVar[Sequence[str]] = ()
    examination: ClassVar[Examination]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give one test for each check of the component."""
        if "check" not in metafunc.fixturenames:
            return
        contract = type(self)
        try:
            contract.examination = contract._examination()
        except RecurraError as error:
            raise pytest.Collector.CollectError(str(error)) from error
        component = contract.examination.entry.component
        checks = contract.examination.checks
        metafunc.parametrize(
            "check", [pytest.param(c, id=c.id, marks=marks(c, component)) for c in checks]
        )

    @classmethod
    def _examination(cls) -> Examination:
        home = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or ".").parent
        (entry,) = find(cls.component, cls.kind, [home / name for name in cls.files])
        return Examination(entry, cls.level, cls.options)

    def test_contract(self, check: Check) -> None:
        """Hold the component to one check."""
        __tracebackhide__ = True
        hold(self.examination.run(check))


class CellContract(Contract):
    """The contract of a cell."""

    kind = "cell"


class EncoderContract(Contract):
    """The contract of an encoder."""

    kind = "encoder"


class VocabularyContract(Contract):
    """The contract of a vocabulary."""

    kind = "vocabulary"


class LossContract(Contract):
    """The contract of a loss."""

    kind = "loss"


class SourceContract(Contract):
    """The contract of a source."""

    kind = "source"


class TrackerContract(Contract):
    """The contract of a tracker."""

    kind = "tracker"


class TargetContract(Contract):
    """The contract of a target."""

    kind = "target"
