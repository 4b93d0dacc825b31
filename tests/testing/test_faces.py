"""A line for pytest and a class, two faces of the contract suite, give every check and verdict."""

from __future__ import annotations

import importlib
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from leaky_plugin import HIDING, HOOK, LEAKY
from terminal import world

import recurra.testing
from recurra.testing import prescribed
from recurra.testing.suite import PRESCRIBED, all_checks

pytest_plugins = ["pytester"]
# pytester forgets what was imported inside it, and a check can be registered once only.
all_checks()
INI = """
[pytest]
recurra_contract = leaky
recurra_contract_level = {level}
recurra_contract_files = leaky.py
filterwarnings = error
addopts = --strict-markers --strict-config
"""


@pytest.fixture(autouse=True, scope="module")
def _compiler_is_there() -> None:
    """Import torch's compiler first: some checks load it, pytester would forget it, and torch
    cannot load it twice.
    """
    importlib.import_module("torch._dynamo")


@pytest.fixture(autouse=True)
def _no_other_plugins(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inner runs go without Hypothesis, whose plugin takes seconds to import, each time anew."""
    monkeypatch.setenv("PYTEST_ADDOPTS", "-p no:hypothesispytest")


@pytest.fixture
def local(pytester: pytest.Pytester) -> Callable[..., None]:
    """Write a project with one local plugin file and one line of configuration."""

    def write(more: str = "", after: str = "", level: str = "core") -> None:
        pytester.makepyfile(leaky=LEAKY + after + HOOK.format(module="leaky", more=more))
        pytester.makeini(INI.format(level=level))

    return write


def ids(level: Any = "core") -> list[str]:
    """Return the ids of a cell's checks."""
    return [check.id for check in prescribed("cell", level)]


def collected(result: pytest.RunResult) -> list[str]:
    """Return the node ids that --collect-only prints."""
    return [line for line in result.outlines if line.startswith("contract::")]


@pytest.mark.parametrize("level", ["core", "full"])
def test_one_line_gives_every_check(
    level: Any, local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """Without any test file, there is a test for each check that the level prescribes."""
    local(level=level)
    found = collected(pytester.runpytest("--collect-only", "-q"))
    assert found == [f"contract::leaky::{id}" for id in ids(level)]
    assert len(found) == PRESCRIBED["cell"][level == "full"]


@pytest.mark.parametrize(
    "left_out", [("P02", "P03", "C21"), pytest.param((), marks=pytest.mark.slow)], ids=len
)
def test_a_sound_plugin_is_green(
    left_out: tuple[str, ...], local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """Bare pytest, under errors for warnings and strict markers, passes; what is not applicable is
    skipped with why.

    By default without the checks that start a process, each of which imports torch.
    """
    local()
    result = pytester.runpytest(
        "-rs", *(("-k", f"not ({' or '.join(left_out)})") if left_out else ())
    )
    counts = result.parseoutcomes()
    assert counts.pop("deselected", 0) == len(left_out)
    assert counts["passed"] + counts["skipped"] == PRESCRIBED["cell"][0] - len(left_out)
    assert set(counts) == {"passed", "skipped"}
    assert result.ret == pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*SKIPPED*it is not a scan*"])


def test_tests_are_chosen_as_any_others(
    local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """-k goes by id, title, level and name; -m by the marker; what is deselected is counted."""
    local()
    cases = {
        ("-k", "C02"): ["C02"],
        ("-k", "C02 or P07"): ["P07", "C02"],
        ("-k", "causality"): ["C04"],
        ("-k", "leaky and not core"): [],
        ("-m", "contract"): ids(),
        ("-m", "not contract"): [],
    }
    for arguments, wanted in cases.items():
        result = pytester.runpytest(*arguments, "--collect-only", "-q")
        assert collected(result) == [f"contract::leaky::{id}" for id in wanted], arguments
    pytester.runpytest("-k", "C02").assert_outcomes(passed=1, deselected=len(ids()) - 1)


def test_a_failure_says_what_was_measured(
    local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """A broken law: id, verdict, value, bound, options and where to read on; no traceback; the run
    fails.
    """
    local(after=HIDING)
    result = pytester.runpytest("-k", "C10 or C20")
    result.assert_outcomes(passed=1, failed=1, deselected=len(ids()) - 2)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "*contract::leaky::C10*",
            "C10 nothing changed, nothing hidden: FAIL",
            "  measured: *",
            "  options: hidden_size = 8",
            "  to mend it: recurra plugins explain C10",
            "FAILED contract::leaky::C10*",
        ]
    )
    result.stdout.no_fnmatch_line("*Traceback*")
    result.stdout.no_fnmatch_line("*.py:*: in *")


def test_only_what_failed_runs_again(local: Callable[..., None], pytester: pytest.Pytester) -> None:
    """--last-failed knows the checks by their node ids."""
    local(after=HIDING)
    pytester.runpytest("-k", "C10 or C20")
    pytester.runpytest("--last-failed").assert_outcomes(failed=1, deselected=len(ids()) - 1)


def test_a_waiver_is_a_strict_expected_failure(
    local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """What is waived and fails is expected; what is waived and holds fails."""
    wasteful = (
        HIDING.replace("self.steps += 1", "")
        .replace("1e-3 * self.steps", "0")
        .replace(
            "steps = 0",
            "def __init__(self, *given):\n        super().__init__(*given)\n        self.spare ="
            " nn.Linear(1, 1)",
        )
    )
    local(more=', waivers={"C18": "a spare part"}', after=wasteful)
    result = pytester.runpytest("-k", "C18", "-rx")
    result.assert_outcomes(xfailed=1, deselected=len(ids()) - 1)
    result.stdout.fnmatch_lines(["XFAIL contract::leaky::C18*a spare part"])
    assert result.ret == 0
    local(more=', waivers={"C18": "a spare part"}')
    result = pytester.runpytest("-k", "C18")
    result.assert_outcomes(failed=1, deselected=len(ids()) - 1)
    result.stdout.fnmatch_lines(["*XPASS(strict)*a spare part"])


def test_an_error_of_the_suite_is_not_waived(
    local: Callable[..., None], pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A waiver is for the component's failures."""
    from recurra.testing.records import Record
    from recurra.testing.suite import Examination

    monkeypatch.setattr(
        Examination,
        "run",
        lambda self, check: Record(check.id, check.title, "ERROR", detail="a bug"),
    )
    local(more=', waivers={"C18": "a spare part"}')
    result = pytester.runpytest("-k", "C18")
    result.assert_outcomes(failed=1, deselected=len(ids()) - 1)
    result.stdout.fnmatch_lines(["C18 *: ERROR", "  measured: a bug"])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("recurra_contract = leaky", "recurra_contract = leeky", "no component called 'leeky'*"),
        ("_level = core", "_level = deep", "recurra_contract_level is 'deep'; allowed: core, full"),
        ("_files = leaky.py", "_files = lucky.py", "*lucky.py*"),
    ],
)
def test_a_wrong_line_is_told(
    old: str, new: str, words: str, local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """A line that names what there is not ends pytest as a wrong option does, in words."""
    local()
    pytester.makeini(INI.format(level="core").replace(old, new))
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{words}"])
    assert "Traceback" not in result.stderr.str()


def test_a_plugin_that_declares_what_there_is_not_is_told(
    local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """A waiver of a firm check stops the run before it begins."""
    local(more=', waivers={"C02": "so be it"}')
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *C02*cannot be waived*"])


def test_the_command_line_names_more(local: Callable[..., None], pytester: pytest.Pytester) -> None:
    """--recurra-contract adds an installed component, of each kind that has the name."""
    local()
    result = pytester.runpytest("--recurra-contract", "lstm", "--collect-only", "-q")
    found = collected(result)
    assert found[: len(ids())] == [f"contract::leaky::{id}" for id in ids()]
    assert found[len(ids()) :] == [f"contract::lstm::{id}" for id in ids()]


def test_a_named_file_means_only_itself(
    local: Callable[..., None], pytester: pytest.Pytester
) -> None:
    """Who names one test file waits for no contract; who names the project's folder, or nothing,
    gets it.
    """
    local()
    pytester.makepyfile(test_other="def test_something():\n    pass\n")
    assert collected(pytester.runpytest("test_other.py", "--collect-only", "-q")) == []
    assert len(collected(pytester.runpytest(".", "--collect-only", "-q"))) == len(ids())
    result = pytester.runpytest("--collect-only", "-q")
    assert len(collected(result)) == len(ids())
    result.stdout.fnmatch_lines(["test_other.py::test_something"])
    named = pytester.runpytest(
        "test_other.py", "--recurra-contract", "recurra/rnn", "-k", "something or C20"
    )
    named.assert_outcomes(passed=2, deselected=len(ids()) - 1)


def test_without_the_line_nothing_happens(pytester: pytest.Pytester) -> None:
    """In a project that does not ask for it, the plugin collects nothing and imports nothing of
    weight.
    """
    pytester.makepyfile(
        test_light="""
        import sys

        def test_nothing_heavy_came_in():
            assert {"torch", "numpy", "pydantic", "recurra.catalog"}.isdisjoint(sys.modules)
            assert "recurra.testing.pytest_plugin" in sys.modules
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:jaxtyping", "-W", "error", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*contract::*")


@pytest.mark.slow
def test_workers_share_the_checks(local: Callable[..., None], pytester: pytest.Pytester) -> None:
    """Under xdist each check runs once, on one of the workers."""
    local()
    result = pytester.runpytest_subprocess("-n", "2", "-k", "C02 or C10 or C20 or C17")
    result.assert_outcomes(passed=3, skipped=1)


PYPROJECT = """
[project]
name = "recurra-leaky"
version = "1.0"

[tool.pytest.ini_options]
recurra_contract = ["leaky"]
"""


@pytest.mark.slow  # a new plugin, of the scaffold, is tested so by default
def test_an_installed_plugin_needs_one_line(tmp_path: Path) -> None:
    """A distribution with one line in its pyproject.toml and no test file: pytest runs every check
    of level full.
    """
    site, project = tmp_path / "site", tmp_path / "project"
    (site / "recurra_leaky-1.0.dist-info").mkdir(parents=True)
    (site / "recurra_leaky-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: recurra-leaky\nVersion: 1.0\nRequires-Dist:"
        " recurra<1,>=0.1\n",
        encoding="utf-8",
    )
    (site / "recurra_leaky-1.0.dist-info" / "entry_points.txt").write_text(
        "[recurra.plugins]\nleaky = recurra_leaky\n", encoding="utf-8"
    )
    (site / "recurra_leaky").mkdir()
    hook = "from recurra import Component, hookimpl\n" + HOOK.format(
        module="recurra_leaky.cell", more=""
    )
    (site / "recurra_leaky" / "__init__.py").write_text(hook, encoding="utf-8")
    (site / "recurra_leaky" / "cell.py").write_text(LEAKY, encoding="utf-8")
    project.mkdir()
    (project / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    around = world(PYTHONPATH=str(site))

    def run(*arguments: str) -> str:
        line = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        done = subprocess.run(
            line, capture_output=True, text=True, cwd=project, env=around, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    said = run("-k", "P01 or P04 or P08 or C02")
    chosen, every = 4, PRESCRIBED["cell"][1]
    assert f"collected {every} items / {every - chosen} deselected / {chosen} selected" in said
    assert f"{chosen} passed" in said


# The class


def test_a_class_gives_every_check_a_node(pytester: pytest.Pytester) -> None:
    """A class of two lines has a test for each check, which can be named; its options take the
    place of those drawn.
    """
    pytester.makepyfile(
        leaky=LEAKY + HOOK.format(module="leaky", more=', waivers={"C06": "by design"}')
    )
    pytester.makepyfile(
        test_leaky="""
        from recurra.testing import CellContract

        class TestLeaky(CellContract):
            component = "leaky"
            files = ["leaky.py"]
            options = [{}, {"hidden_size": 7}]
            level = "core"

        class TestOther(CellContract):
            component = "lstm"
            level = "core"

            def test_of_its_own(self):
                assert self.component == "lstm"
        """
    )
    listed = pytester.runpytest("--collect-only", "-q").outlines
    nodes = [
        f"test_leaky.py::{cls}::test_contract[{id}]"
        for cls in ("TestLeaky", "TestOther")
        for id in ids()
    ]
    assert [line for line in listed if "::" in line] == [
        *nodes,
        "test_leaky.py::TestOther::test_of_its_own",
    ]
    chosen = ["C02", "C06", "C17", "P01"]
    result = pytester.runpytest(
        *(f"test_leaky.py::TestLeaky::test_contract[{id}]" for id in chosen)
    )
    result.assert_outcomes(passed=2, skipped=1, failed=1)  # C06 holds, against its waiver
    pytester.runpytest("-k", "of_its_own or TestOther and C02").assert_outcomes(
        passed=2, deselected=2 * len(ids()) - 1
    )


def test_a_class_runs_under_its_own_options(pytester: pytest.Pytester) -> None:
    """A fault that only one set of options shows is found on that set, and the failure names it."""
    faulty = LEAKY.replace(
        "h = state.h +", "h = state.h + (self.hidden_size == 7) * torch.randn(()) +"
    )
    pytester.makepyfile(leaky=faulty + HOOK.format(module="leaky", more=""))
    pytester.makepyfile(
        test_leaky="""
        from recurra.testing import CellContract

        class TestLeaky(CellContract):
            component = "leaky"
            files = ["leaky.py"]

        class TestSeven(TestLeaky):
            options = [{}, {"hidden_size": 7}]
        """
    )
    result = pytester.runpytest("-k", "C10")
    result.assert_outcomes(passed=1, failed=1, deselected=2 * len(ids("full")) - 2)
    result.stdout.fnmatch_lines(["C10 *: FAIL", "  options: hidden_size = 7", "*explain C10"])
    result.stdout.no_fnmatch_line("*test_contract(*")


def test_a_class_that_names_nothing_is_told(pytester: pytest.Pytester) -> None:
    """A wrong name, or a component of another kind, is an error of the collection, in words."""
    pytester.makepyfile(
        test_wrong="""
        from recurra.testing import CellContract, EncoderContract

        class TestWrong(CellContract):
            component = "lstn"

        class TestKind(EncoderContract):
            component = "lstm"
        """
    )
    result = pytester.runpytest()
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*there is no cell called 'lstn'*", "*did you mean: lstm*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.parametrize("name", recurra.testing.__all__)
def test_no_name_would_be_collected(name: str) -> None:
    """What is imported into a test module is not a test of its own."""
    assert getattr(recurra.testing, name) is not None
    assert not name.lower().startswith("test")


def test_what_the_suite_does_not_have_is_an_attribute_error() -> None:
    """A misspelt name fails as it does in any module."""
    with pytest.raises(AttributeError, match="no attribute 'CellContrakt'"):
        _ = recurra.testing.CellContrakt


def test_the_project_itself_is_left_alone() -> None:
    """The line is in no configuration of this project, whose own tests say what runs."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert "recurra_contract" not in project["tool"]["pytest"]["ini_options"]
