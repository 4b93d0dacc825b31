"""The runner of the contract suite: verdicts, waivers, sets of options, what it counts, and that it
leaves no trace.
"""

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
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from liars import entry
from liars.reference import REFERENCE
from pydantic import ValidationError

from recurra import CellOptions, Component, Field, Options, PluginError
from recurra.catalog import Entry, discover
from recurra.errors import InputError
from recurra.testing import all_checks, examine, prescribed, world
from recurra.testing import suite as suite_module
from recurra.testing.check import CHECKS, Broken, Check, Measured, NotApplicable, Verdict
from recurra.testing.checks.general import bounds_on
from recurra.testing.measure import gap
from recurra.testing.option_sets import (
    LIMIT,
    Sets,
    allowed,
    bad_tables,
    pairwise,
    sets_of,
    small,
    values_of,
)
from recurra.testing.suite import PRESCRIBED, Examination

QUICK = ["C01", "C02", "C10", "P04"]
HERE = "test_suite"


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
    assert list(numbers) == list("PCVTELS")
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


# Sets of options


def made(model: type[Options], kind: str = "cell", **changes: Any) -> Entry:
    """Return the reference under an options model of this test."""
    changed = entry(replace(REFERENCE, kind=kind, **changes))
    changed.__dict__["options"] = model  # the property keeps what it loaded
    return changed


class ManyOptions(CellOptions):
    mode: Literal["a", "b", "c"] = Field("a", description="a choice")
    flag: bool = Field(False, description="a switch")
    other: bool = Field(True, description="a switch")
    heads: int = Field(2, ge=1, le=8, description="a small number")
    rank: int = Field(4, ge=1, le=1 << 20, description="a number with a bound that no memory holds")
    leak: float = Field(0.5, gt=0, le=1, description="a real number")
    key_size: int = Field(64, ge=1, description="a width")
    note: str = Field("", description="free text")


def test_the_default_set_is_small() -> None:
    """The first set is the model's defaults, with the sizes made small; it is as large as the
    model's own rules ask.
    """
    assert small(made(ManyOptions), {}) == {"hidden_size": 8, "key_size": 8}
    assert small(made(ManyOptions), {"hidden_size": 7})["hidden_size"] == 7
    seen = []
    for least in (8, 16, 32, 64, 65):

        class Bulky(CellOptions):
            hidden_size: int = Field(128, ge=least, description="width of the state")

        seen.append(small(made(Bulky), {}).get("hidden_size"))
    assert seen == [8, 16, 32, 64, None]


def test_the_mathematics_runs_on_every_choice() -> None:
    """At most four sets hold every choice and the bounds of small integers; real numbers keep their
    defaults.
    """
    checked = sets_of(made(ManyOptions)).checked
    assert len(checked) == LIMIT
    assert {table.get("mode", "a") for table in checked} == {"a", "b", "c"}
    assert {table.get("flag", False) for table in checked} == {True, False}
    assert {table.get("other", True) for table in checked} == {True, False}
    assert {table.get("heads", 2) for table in checked} >= {1, 8}
    assert all(
        {"leak", "note", "num_layers", "dropout", "bidirectional"}.isdisjoint(table)
        for table in checked
    )
    assert all(table["hidden_size"] == 8 for table in checked)


def test_the_corners_hold_every_two_values_together() -> None:
    """Of any two options, every two values stand in one set; the bounds of real numbers too,
    exclusive ones inside.
    """
    corners = sets_of(made(ManyOptions)).corners
    values = {
        "mode": "abc",
        "flag": [True, False],
        "heads": [1, 8],
        "leak": [1e-6, 1.0],
        "hidden_size": [1],
    }
    for (one, some), (other, more) in combinations(values.items(), 2):
        found = {(table[one], table[other]) for table in corners}
        assert found >= {(a, b) for a in some for b in more}, (one, other)
    assert len(corners) < 20


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
    )
)
def test_pairs_are_covered_with_few_sets(values: dict[str, list[int]]) -> None:
    """A covering by pairs is one: nothing is left out, no set is empty, and it is far smaller than
    all combinations.
    """
    tables = pairwise(values, {"base": 0})
    for one, other in combinations(values, 2):
        wanted = {(a, b) for a in values[one] for b in values[other]}
        assert {(table[one], table[other]) for table in tables} == wanted
    for name, found in values.items():
        assert {table[name] for table in tables} == set(found)
    assert all(set(table) == {"base", *values} for table in tables)
    assert len(tables) <= 4 * 4 * 2


class RivalOptions(CellOptions):
    gated: bool = Field(False, description="a switch")
    mode: Literal["plain", "deep"] = Field(
        "plain", description="a choice that only a gated one has"
    )

    def model_post_init(self, context: Any) -> None:
        if self.mode == "deep" and not self.gated:
            raise ValueError("deep needs gated")


def test_what_the_models_own_rules_refuse_is_left_out_and_counted() -> None:
    """A combination that cannot be is no set; every value that can be is in one."""
    found = sets_of(made(RivalOptions))
    assert found.refused > 0
    assert all(allowed(made(RivalOptions), table) for table in (*found.checked, *found.corners))
    assert {table.get("mode") for table in found.corners} == {"plain", "deep"}


class LonelyOptions(CellOptions):
    one: bool = Field(False, description="a switch")
    two: bool = Field(False, description="a switch")
    three: bool = Field(False, description="a switch")
    four: bool = Field(False, description="a switch")
    five: bool = Field(False, description="a switch")

    def model_post_init(self, context: Any) -> None:
        if sum((self.one, self.two, self.three, self.four, self.five)) > 1:
            raise ValueError("one of them at most")


def test_a_value_that_stands_no_company_is_tried_alone() -> None:
    """Where every combination of a value is refused, it is tried beside the defaults."""
    corners = sets_of(made(LonelyOptions)).corners
    for name in ("one", "two", "three", "four", "five"):
        assert any(table.get(name) for table in corners), name


def test_sets_that_are_given_take_the_place_of_those_that_are_drawn() -> None:
    """Tables of the class face, or else the component's examples, are what is checked, sizes made
    small around them.
    """
    given = sets_of(made(ManyOptions), [{}, {"hidden_size": 7, "mode": "b"}])
    assert given.checked == (
        {"hidden_size": 8, "key_size": 8},
        {"hidden_size": 7, "mode": "b", "key_size": 8},
    )
    shown = sets_of(made(ManyOptions, examples=({"mode": "c"},)))
    assert shown.checked == ({"mode": "c", "hidden_size": 8, "key_size": 8},)
    with pytest.raises(PluginError, match=r"options \{'mode': 'z'\} are refused"):
        sets_of(made(ManyOptions), [{"mode": "z"}])


class NeedyOptions(Options):
    path: str = Field(description="a file")
    mode: Literal["a", "b"] = Field(description="a choice")


def test_an_option_without_a_default_needs_an_example() -> None:
    """What no rule names a value for must come from the author; what a rule names is drawn from
    it.
    """
    with pytest.raises(PluginError, match="`examples`"):
        sets_of(made(NeedyOptions, "source"))
    found = sets_of(made(NeedyOptions, "source", examples=({"path": "x", "mode": "a"},)))
    assert isinstance(found, Sets)
    assert {table["mode"] for table in found.corners} == {"a", "b"}


def test_a_path_of_an_example_is_taken_from_the_modules_folder() -> None:
    """An example names files that lie beside the component's code."""
    from recurra.testing.option_sets import validated

    text = next(e for e in discover().of_kind("source") if e.component.name == "text")
    options = validated(text, {"path": "examples/rhyme.txt"})
    assert (
        Path(options.path)
        == Path(sys.modules[text.target.__module__].__file__).parent / "examples" / "rhyme.txt"
    )
    assert Path(options.path).is_file()


@pytest.mark.parametrize(
    "model", [ManyOptions, RivalOptions, NeedyOptions], ids=lambda model: model.__name__
)
def test_a_strict_model_refuses_every_bad_table(model: type[Options]) -> None:
    """Each table is refused, with an error that names the option it is about; each option is
    tried.
    """
    base = {"path": "x", "mode": "a"} if model is NeedyOptions else {}
    from recurra.contracts.options import validate_options

    tried = set()
    for name, table, why in bad_tables(model, base):
        tried.add(name)
        with pytest.raises(ValidationError) as caught:
            validate_options(model, table, lambda value, field: value)
        assert any(fault["loc"][:1] == (name,) for fault in caught.value.errors()), (
            name,
            table,
            why,
        )
    own = {
        name
        for name in model.model_fields
        if name not in ("num_layers", "dropout", "bidirectional")
    }
    assert tried == {*own, "no_such_option"}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ({"type": "integer", "minimum": 2, "maximum": 9, "multipleOf": 4}, [4, 8]),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4}, [1, 3]),
        ({"type": "integer", "minimum": 1, "maximum": 1 << 20}, [1]),
        ({"type": "integer"}, []),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, [0.0, 1 - 1e-6]),
        ({"type": "boolean"}, [False, True]),
        ({"const": "only"}, ["only"]),
        ({"enum": ["a", "b"], "type": "string"}, ["a", "b"]),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, [3]),
        ({"type": "string"}, []),
        ({"type": "array", "items": {"type": "integer"}}, []),
    ],
)
def test_what_a_rule_is_tried_with(rule: dict[str, Any], values: list[Any]) -> None:
    """All of a choice, and the bounds of a number as far as a machine holds them."""
    assert values_of(rule) == values
    assert [type(value) for value in values_of(rule)] == [type(value) for value in values]


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
