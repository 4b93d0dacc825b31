"""The suite under a bare `pytest`: one line of configuration names a component.

No test file is needed.

pytest imports this module in every project where recurra is installed, before anything else: it
does nothing, and imports nothing but pytest, unless the line is there.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from recurra.testing.check import Check
    from recurra.testing.suite import Examination

LEVELS = ("core", "full")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say what the configuration and the command line may name."""
    group = parser.getgroup("recurra", "recurra's contract suite")
    group.addoption(
        "--recurra-contract",
        action="append",
        default=[],
        metavar="NAME",
        help=(
            "run the contract suite of an installed component, beside those that recurra_contract"
            " names"
        ),
    )
    parser.addini(
        "recurra_contract", "components whose contract suite runs with the tests", "linelist", []
    )
    parser.addini("recurra_contract_level", "core or full", default="full")
    parser.addini(
        "recurra_contract_files",
        "local plugin files and folders, from the folder of the configuration",
        "paths",
        [],
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker of the suite known."""
    config.addinivalue_line("markers", "contract: a check of recurra's contract suite")


@pytest.hookimpl(tryfirst=True)  # before -k, -m and --last-failed choose
def pytest_collection_modifyitems(
    session: pytest.Session, config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Add a test for each check of each component that is named."""
    asked = list(config.getoption("--recurra-contract"))
    names = [*(config.getini("recurra_contract") if _whole(config) else []), *asked]
    if not names:
        return
    level = config.getini("recurra_contract_level")
    if level not in LEVELS:
        raise pytest.UsageError(f"recurra_contract_level is {level!r}; allowed: core, full")
    for name in dict.fromkeys(names):
        items.extend(_tests(session, name, level, config.getini("recurra_contract_files")))


def _whole(config: pytest.Config) -> bool:
    """Tell whether the whole project is tested, and not only a named file or folder."""
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        return True
    here = config.invocation_params.dir
    return any(
        (here / name).resolve() in (config.rootpath, *config.rootpath.parents)
        for name in config.args
    )


def _tests(
    session: pytest.Session, name: str, level: Any, files: list[Path]
) -> Iterator[pytest.Item]:
    from recurra.errors import RecurraError
    from recurra.testing.lookup import find
    from recurra.testing.suite import Examination

    try:
        examinations = [Examination(entry, level) for entry in find(name, files=files)]
    except RecurraError as error:
        raise pytest.UsageError(f"recurra_contract: {error}") from None
    for examination in examinations:
        kind = examination.entry.component.kind
        label = name if len(examinations) == 1 else f"{kind}.{name}"
        node = ContractNode.from_parent(
            session, name=label, nodeid=f"contract::{label}", examination=examination
        )
        found = list(node.collect())
        # So that they are counted as collected.
        report = pytest.CollectReport(node.nodeid, "passed", None, [*found])
        session.config.hook.pytest_collectreport(report=report)
        yield from found


class ContractNode(pytest.Collector):
    """The contract of one component."""

    def __init__(self, *, examination: Examination, **more: Any) -> None:
        super().__init__(**more)
        self.examination = examination

    def collect(self) -> Iterator[ContractItem]:
        """Give a test for each check."""
        for check in self.examination.checks:
            yield ContractItem.from_parent(
                self, name=check.id, check=check, nodeid=f"{self.nodeid}::{check.id}"
            )


class ContractItem(pytest.Item):
    """One check of one component."""

    parent: ContractNode

    def __init__(self, *, check: Check, **more: Any) -> None:
        from recurra.testing.contract import marks

        super().__init__(**more)
        self.check = check
        self.extra_keyword_matches |= {check.title, check.level}
        for mark in marks(check, self.parent.examination.entry.component):
            self.add_marker(mark)

    def runtest(self) -> None:
        """Hold the component to the check."""
        from recurra.testing.contract import hold

        record = self.parent.examination.run(self.check)
        self.user_properties += [("value", record.value), ("bound", record.bound)]
        hold(record)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is printed of a failure: what was measured, how to go on, no traceback."""
        from recurra.testing.contract import SuiteError

        if isinstance(excinfo.value, SuiteError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return where the test is said to stand."""
        return self.path, None, self.nodeid
