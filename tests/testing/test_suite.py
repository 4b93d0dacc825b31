"""The runner of the contract suite: verdicts, waivers, counts, and that it leaves no trace."""

from __future__ import annotations

import gc
import io
import json
import locale
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from liars import entry
from liars.reference import REFERENCE

from recurra import Component, PluginError
from recurra.catalog import discover
from recurra.errors import InputError
from recurra.testing import all_checks, examine, prescribed, world
from recurra.testing import suite as suite_module
from recurra.testing.check import CHECKS, Broken, Check, Measured, NotApplicable, Verdict
from recurra.testing.checks.general import bounds_on
from recurra.testing.measure import gap
from recurra.testing.suite import PRESCRIBED, Examination

QUICK = ["C01", "C02", "C10", "P04"]


def ruled(measure: Callable[[Any], Measured | None], **rules: Any) -> Check:
    """Return a check of cells that is not one of the suite's."""
    return Check("X01", "a law of this test", ("cell",), "core", measure, **rules)


def judged(
    measure: Callable[[Any], Measured | None], component: Component = REFERENCE, **rules: Any
) -> Any:
    """Return the record of one check on a component."""
    return Examination(entry(component)).run(ruled(measure, **rules))


def raising(error: BaseException) -> Callable[[Any], None]:
    """Return a check that raises."""

    def measure(subject: Any) -> None:
        raise error

    return measure


def of_the_suite(subject: Any) -> None:
    """A check with a fault of its own: it hands nonsense to the suite."""
    gap(None, None)  # type: ignore[arg-type]


def of_torch(subject: Any) -> None:
    """A check that calls the component with what it cannot take, as one does when the component's
    state is wrong.
    """
    subject.cell().step(torch.zeros(2, 99, dtype=torch.float64), subject.start(subject.cell(), 2))


@pytest.mark.parametrize(
    ("measure", "verdict", "words"),
    [
        (lambda s: None, "PASS", ""),
        (lambda s: Measured(), "PASS", ""),
        (lambda s: Measured(1e-9, 1e-9), "PASS", "1.0e-09 (1.0e-09)"),
        (lambda s: Measured(2.0, detail="reported"), "PASS", "2  reported"),
        (lambda s: Measured(1.1e-9, 1e-9, "path scan"), "FAIL", "1.1e-09 (1.0e-09)  path scan"),
        (lambda s: Measured(float("nan"), 1e-9), "FAIL", "nan"),
        (lambda s: Measured(None, 1e-9), "FAIL", ""),
        (lambda s: Measured(float("inf"), 1e-9), "FAIL", "inf"),
        (raising(Broken("a wrong shape")), "FAIL", "a wrong shape"),
        (raising(NotApplicable("it lacks resets")), "N/A", "it lacks resets"),
        (
            raising(ZeroDivisionError("of the component")),
            "FAIL",
            "ZeroDivisionError: of the component",
        ),
        (raising(SystemExit(3)), "FAIL", "SystemExit"),
        (of_torch, "FAIL", "RuntimeError"),
        (of_the_suite, "ERROR", "AttributeError"),
        (lambda s: 3, "ERROR", "AttributeError"),
    ],
)
def test_a_verdict_follows_from_what_was_found(measure: Any, verdict: Verdict, words: str) -> None:
    """A bound is kept up to itself, what is no number breaks it; the component's exceptions fail,
    ours are errors.
    """
    record = judged(measure)
    assert record.verdict == verdict
    assert words in record.measured


def test_what_a_person_interrupts_is_no_verdict() -> None:
    """Ctrl-C ends the suite."""
    with pytest.raises(KeyboardInterrupt):
        judged(raising(KeyboardInterrupt()))


def test_the_worst_set_of_options_is_told() -> None:
    """A check runs on every set; what is recorded is a failure, or else the least margin."""
    fails = judged(lambda s: Measured(0.0 if s.options.nonlinearity == "tanh" else 1.0, 0.5))
    assert (fails.verdict, fails.value, fails.options["nonlinearity"]) == ("FAIL", 1.0, "softsign")
    tight = judged(lambda s: Measured(0.4 if s.options.nonlinearity == "softsign" else 0.1, 0.5))
    assert (tight.verdict, tight.value) == ("PASS", 0.4)
    error = judged(
        lambda s: Measured(9, 1) if s.options.nonlinearity == "tanh" else of_the_suite(s)
    )
    assert error.verdict == "ERROR"


def test_a_law_that_applies_to_some_sets_passes_on_them() -> None:
    """N/A is the verdict only where no set of options has what the check is about."""

    def some(subject: Any) -> Measured:
        if subject.options.nonlinearity == "tanh":
            raise NotApplicable("of one kind")
        return Measured(0.1, 1)

    assert judged(some).verdict == "PASS"


@pytest.mark.parametrize(("each", "count"), [(True, 4), (False, 1)])
def test_a_check_runs_on_each_set_or_on_the_first(each: bool, count: int) -> None:
    """`each` says on how many sets a check runs."""
    seen = []
    judged(lambda s: seen.append(s.table), each=each)
    assert len(seen) == count
    assert seen[0] == {"hidden_size": 8}


@pytest.mark.parametrize(
    ("measure", "verdict", "good"),
    [
        (raising(Broken("so it is")), "WAIVED", True),
        (lambda s: None, "XPASS", False),
        (raising(NotApplicable("it lacks resets")), "N/A", True),
        (of_the_suite, "ERROR", False),
    ],
)
def test_a_waiver_turns_a_failure_only(measure: Any, verdict: Verdict, good: bool) -> None:
    """What is waived and holds is no longer to be waived; an error of the suite is nobody's to
    waive.
    """
    examination = Examination(entry(replace(REFERENCE, waivers={"C06": "by design"})))
    law = replace(ruled(measure), id="C06")
    record = examination.run(law)
    assert record.verdict == verdict
    assert ("by design" in record.detail) == (verdict in ("WAIVED", "XPASS", "N/A", "ERROR"))
    assert replace(examine(entry(REFERENCE), only=["P04"]), records=(record,)).ok is good


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"waivers": {"C77": "so be it"}}, ["C77", "does not exist"]),
        ({"waivers": {"C02": "so be it"}}, ["C02", "step equals forward", "cannot be waived"]),
        ({"waivers": {"V05": "so be it"}}, ["V05", "not for a cell"]),
        ({"waivers": {"C06": "  "}}, ["C06", "no reason"]),
        ({"lacks": ("wings",)}, ["'wings'", "resets"]),
        ({"claims": ("eternity",)}, ["'eternity'", "long_memory"]),
    ],
)
def test_what_cannot_be_declared_is_an_error_of_the_whole(changes: Any, words: list[str]) -> None:
    """A waiver for a firm or unknown check, or without a reason, and unknown capabilities stop the
    suite.
    """
    with pytest.raises(PluginError) as caught:
        examine(entry(replace(REFERENCE, **changes)), only=["C02"])
    assert [problem.code for problem in caught.value.problems] == ["RC071"]
    assert all(word in str(caught.value) for word in words)


DECLARED = """
from recurra import Component, hookimpl

@hookimpl
def recurra_components():
    home = "liars.reference"
    options = home + ":ReferenceOptions"
    return [Component("cell", "reference", home + ":Reference", options, "right", {changes})]
"""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ('lacks=("wings",)', "lacks 'wings', which is none of"),
        ('lacks="resets"', "lacks 'resets', which is not a tuple"),
        ('claims=("eternity",)', "claims 'eternity', which is none of"),
        ('waivers={"C06": ""}', "the waiver of check C06 gives no reason"),
        ('examples=("hidden_size",)', "examples must be tables of options"),
    ],
)
def test_the_catalog_refuses_what_cannot_be_declared(
    changes: str, words: str, tmp_path: Path
) -> None:
    """A plugin that promises what there is not does not load at all."""
    file = tmp_path / "wrong.py"
    file.write_text(DECLARED.format(changes=changes), encoding="utf-8")
    with pytest.raises(PluginError, match=words):
        discover([file])


def test_a_report_counts_what_it_holds() -> None:
    """Counts, the number of checks and the verdict of the whole agree with the records."""
    report = examine(entry(REFERENCE), only=QUICK)
    assert [record.id for record in report.records] == ["P04", "C01", "C02", "C10"]
    assert report.counts == {"PASS": 4}
    assert (report.prescribed, report.missing, report.ok) == (4, 0, True)
    assert (report.name, report.component["kind"], report.level) == (
        "recurra-liars/reference",
        "cell",
        "core",
    )
    wrong = replace(
        report, records=(*report.records[:3], replace(report.records[3], verdict="FAIL"))
    )
    assert (wrong.counts, wrong.ok) == ({"PASS": 3, "FAIL": 1}, False)


def test_fewer_checks_than_prescribed_is_not_green(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run whose every check passes is no good if checks were lost on the way."""
    report = examine(entry(REFERENCE), only=QUICK)
    assert not replace(report, records=report.records[1:]).ok
    assert not replace(report, records=(), prescribed=0).ok
    every = all_checks()
    monkeypatch.setattr(suite_module, "CHECKS", {id: c for id, c in every.items() if id in QUICK})
    lost = examine(entry(REFERENCE))
    assert set(lost.counts) == {"PASS"}
    assert lost.missing == PRESCRIBED["cell"][0] - 4 > 20
    assert not lost.ok


@pytest.mark.parametrize("kind", PRESCRIBED)
def test_every_check_is_prescribed(kind: str) -> None:
    """The number of checks that each kind is held to is written down, and true; no id goes
    unused.
    """
    core, full = (len(prescribed(kind, level)) for level in ("core", "full"))
    assert (core, full) == PRESCRIBED[kind]


def test_the_checks_are_in_order_and_explain_themselves() -> None:
    """Ids are numbered without a gap in each family, and each docstring says the law and how to
    mend.
    """
    checks = all_checks()
    numbers: dict[str, list[int]] = {}
    for id, check in checks.items():
        assert id == check.id
        assert len(check.title) <= 60
        # R only reports.
        assert id.startswith("R") or "to mend it" in " ".join(check.text.lower().split()), id
        numbers.setdefault(id[0].replace("R", "C"), []).append(int(id[1:]))
    assert list(numbers) == list("PCVTELSK")
    for family, found in numbers.items():
        assert sorted(found) == list(range(1, len(found) + 1)), family


def test_a_check_cannot_be_defined_twice() -> None:
    """An id belongs to one law."""
    from recurra.testing.check import check

    with pytest.raises(ValueError, match="C02 is defined twice"):
        check("C02", "another law", "cell")(lambda subject: None)
    assert CHECKS["C02"].title == "step equals forward"


def test_an_unknown_check_gets_the_nearest() -> None:
    """A misspelt id, or one of the other level, is told with those that there are."""
    with pytest.raises(InputError, match="no check 'C25'"):
        examine(entry(REFERENCE), only=["C25"])
    with pytest.raises(InputError, match="no check 'L01'"):
        examine(entry(REFERENCE), "full", only=["C02", "L01"])
    assert [r.id for r in examine(entry(REFERENCE), only=["c02"]).records] == ["C02"]


def test_the_same_is_found_every_time() -> None:
    """Two examinations give the same figures, whatever the process drew in between."""

    def figures() -> list[Any]:
        report = examine(entry(REFERENCE), only=["C02", "C05", "C14"])
        return [replace(record, seconds=0.0) for record in report.records]

    first = figures()
    torch.manual_seed(99)
    torch.randn(7)
    assert figures() == first


def test_a_report_is_plain_data() -> None:
    """A report survives JSON."""
    data = examine(entry(REFERENCE), only=QUICK).data()
    assert json.loads(json.dumps(data, allow_nan=False)) == json.loads(json.dumps(data))
    assert {
        "component",
        "counts",
        "level",
        "missing",
        "ok",
        "records",
        "seed",
        "suite",
        "torch",
    } <= set(data)
    assert {"id", "title", "verdict", "value", "bound", "detail", "options", "seconds"} == set(
        data["records"][0]
    )


def rude(subject: Any) -> None:
    """A check whose component changes everything."""
    print("here I am")
    warnings.warn("and I complain", UserWarning, stacklevel=1)
    warnings.simplefilter("always")
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    torch.set_num_threads(2)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    torch.use_deterministic_algorithms(True)
    torch.set_float32_matmul_precision("medium")
    torch.nn.modules.module.register_module_forward_hook(print)
    np.seterr(all="raise")
    os.environ.pop("PATH")
    os.environ["RECURRA_RUDE"] = "1"
    os.chdir("/")
    sys.path.insert(0, "/rude")
    locale.setlocale(locale.LC_ALL, "C.UTF-8" if locale.setlocale(locale.LC_ALL) == "C" else "C")
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    sys.excepthook = print
    logging.disable()
    sys.setrecursionlimit(5000)
    gc.disable()
    assert len(world.changes(subject.before)) > 20  # each by itself: test_use
    raise RuntimeError("enough")


def test_nothing_of_a_check_is_left() -> None:
    """Whatever a check changes of what a process shares, and that is much, is put back, and nothing
    is said.
    """
    examination = Examination(entry(REFERENCE))
    with redirect_stdout(io.StringIO()) as said:
        before = world.read()
        streams = sys.stdout, sys.stderr

        def measure(subject: Any) -> None:
            subject.before = before
            rude(subject)

        record = examination.run(ruled(measure, each=False))
        assert (record.verdict, record.detail.partition(" (")[0]) == (
            "FAIL",
            "RuntimeError: enough",
        )
        assert world.changes(before) == [] and (sys.stdout, sys.stderr) == streams
        assert said.getvalue() == ""
        assert torch.tensor([1.0]).device.type == "cpu"


def test_each_check_begins_in_the_same_world() -> None:
    """A check has gradients, one thread and the same random numbers, whatever the process has."""
    seen = []

    def look(subject: Any) -> None:
        seen.append(
            (
                torch.is_grad_enabled(),
                torch.get_num_threads(),
                torch.rand(1).item(),
                np.random.rand(),
            )
        )

    examination = Examination(entry(REFERENCE))
    examination.run(ruled(look, each=False))
    with torch.no_grad():
        torch.rand(3)
        torch.set_num_threads(2)
        examination.run(ruled(look, each=False))
    assert seen[0] == seen[1]
    assert seen[0][:2] == (True, 1)


@pytest.mark.parametrize(
    ("requirements", "bounds"),
    [
        (["recurra>=0.1,<1"], (">=0.1", "<1")),
        (["recurra <1, >=0.1 ; python_version > '3'", "numpy"], (">=0.1", "<1")),
        (["Recurra (>=0.1)"], (">=0.1", "")),
        (["recurra[test]~=1.2"], ("~=1.2", "~=1.2")),
        (["recurra==1.2"], ("==1.2", "==1.2")),
        (["recurra"], ("", "")),
        (["recurra<2"], ("", "<2")),
        (["recurra!=1.5,>1"], (">1", "")),
        (["recurra-extra>=1,<2"], ("", "")),
        (["recurra>=1,<2; extra == 'test'"], ("", "")),
        ([], ("", "")),
    ],
)
def test_bounds_of_a_dependency_are_read(requirements: list[str], bounds: tuple[str, str]) -> None:
    """What a distribution says of recurra, in each way that it may be written."""
    assert bounds_on("recurra", requirements) == bounds


@pytest.fixture(autouse=True)
def _same_checks() -> Iterator[None]:
    """A test leaves the registry as it was."""
    before = all_checks()
    yield
    assert before == CHECKS


@pytest.mark.parametrize("api", ["1.x", "1", "1.0.0", ""])
def test_an_api_that_is_no_version_is_a_fault_of_the_component(api: str) -> None:
    """A version that cannot be read fails P01 with what it must be, and is no error of the
    suite.
    """
    record = Examination(entry(replace(REFERENCE, api=api))).run(all_checks()["P01"])
    assert record.verdict == "FAIL" and "must read MAJOR.MINOR" in record.detail
