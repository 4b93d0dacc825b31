"""A distribution of somebody else's, built and installed as pip does it, adds a cell and an encoder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import REPOSITORY
from jsonschema import Draft202012Validator
from terminal import Ended, command, process

import recurra
from recurra.cli import main
from recurra.errors import OtherVersion
from recurra.runs.records import Records

OUTSIDER = REPOSITORY / "tests" / "outsider"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the distribution into a folder of its own."""
    home = tmp_path_factory.mktemp("outsider")
    source, target = home / "source", home / "target"
    shutil.copytree(OUTSIDER, source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist"))
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--no-compile", "--disable-pip-version-check", "-q"]
    line = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)]
    subprocess.run(line, check=True, capture_output=True, cwd=home)
    return target


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Put the installed distribution on this process's path, and its task file into an empty folder."""
    monkeypatch.syspath_prepend(installed)
    monkeypatch.chdir(tmp_path)
    shutil.copy(OUTSIDER / "hello_leaky.toml", tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("recurra_outsider")]:
        del sys.modules[name]


def test_it_is_installed_as_wheels_are(installed: Path) -> None:
    """What is tested is a built wheel, unpacked: no path of the checkout leads to it."""
    assert sorted(p.name for p in installed.iterdir()) == ["recurra_outsider", "recurra_outsider-1.2.3.dist-info"]


def test_list_shows_it_with_distribution_and_version(installed: Path) -> None:
    """`plugins list` says who offers each component."""
    lines = process("plugins", "list", path=installed).tidy(0).out.splitlines()
    assert any(line.split()[:3] == ["leaky", "recurra-outsider", "1.2.3"] for line in lines)
    assert any(line.split()[:3] == ["waves", "recurra-outsider", "1.2.3"] for line in lines)
    assert not any(line.startswith(("warning", "not loaded")) for line in lines)


def test_list_does_not_show_it_where_it_is_not_installed() -> None:
    """Nothing of it is in the environment of the tests: what the others see comes from the folder alone."""
    assert "outsider" not in process("plugins", "list").tidy(0).out


@pytest.mark.parametrize("name", ["leaky", "recurra-outsider/leaky", "recurra_outsider/leaky"])
def test_show_tells_its_options(here: Path, name: str) -> None:
    """`plugins show` gives the options of somebody else's component, and a table to paste."""
    shown = command("plugins", "show", name, "--json").tidy(0).last["components"]
    assert [c["qualified"] for c in shown] == ["recurra-outsider/leaky"]
    leak = next(option for option in shown[0]["options"] if option["name"] == "leak")
    assert leak["description"] == "share of the state that each step replaces"
    assert "leak = 0.5" in shown[0]["table"].splitlines()


def test_schema_holds_its_options(here: Path) -> None:
    """An editor knows the keys of an installed plugin."""
    schema = json.loads(command("schema").tidy(0).out)
    assert "leak" in schema["$defs"]["cell.recurra-outsider.leaky"]["properties"]
    task = tomllib.loads((here / "hello_leaky.toml").read_text())
    checker = Draft202012Validator(schema)
    assert checker.is_valid(task)
    task["cell"]["leek"] = 0.5
    assert not checker.is_valid(task)


def test_run_trains_and_spells(installed: Path, tmp_path: Path) -> None:
    """The task of somebody else's components trains and generates from the command line."""
    shutil.copy(OUTSIDER / "hello_leaky.toml", tmp_path)
    done = process("run", "hello_leaky.toml", "--expect", "--json", path=installed, cwd=tmp_path).tidy(0)
    assert done.last["generated"] == "hello"
    used = json.loads((tmp_path / done.last["run"] / "plugins.json").read_text())
    theirs = {(p["kind"], p["name"], p["version"]) for p in used if p["distribution"] == "recurra-outsider"}
    assert theirs == {("cell", "recurra-outsider/leaky", "1.2.3"), ("encoder", "recurra-outsider/waves", "1.2.3")}


def test_check_reports_it(here: Path) -> None:
    """`check` says everything about a task of somebody else's components."""
    report = command("check", "hello_leaky.toml", "--json").tidy(0).last
    assert report["components"]["cell"] == "recurra-outsider/leaky"
    assert report["components"]["encoder"] == "recurra-outsider/waves"


def test_both_names_mean_the_same(here: Path) -> None:
    """The short name and the qualified one give the same run, and the run keeps the qualified one."""
    short = recurra.run("hello_leaky.toml", {"training.steps": 3})
    long = recurra.run("hello_leaky.toml", {"training.steps": 3, "cell.kind": "recurra-outsider/leaky"})
    assert short.result["metrics"] == long.result["metrics"]
    for run in (short, long):
        assert 'kind = "recurra-outsider/leaky"' in (run.path / "task.toml").read_text()


def test_unknown_key_is_placed(here: Path) -> None:
    """A misspelt option of a plugin is refused with its line, and the nearest one is named."""
    path = here / "hello_leaky.toml"
    path.write_text(path.read_text().replace("leak = 0.7", "leek = 0.7"))
    command("check", path).fails(2, f"{path}:21:1 cell.leek", "[RC011]", "of cell leaky", "did you mean: leak")


def test_wrong_value_is_refused_by_its_own_model(here: Path) -> None:
    """What a plugin's option may be is decided by the plugin's model alone."""
    command("check", "hello_leaky.toml", "-o", "cell.leak=1.5").fails(2, "cell.leak", "[RC013]", "got: 1.5")


def test_without_it_the_task_says_what_is_missing() -> None:
    """A task whose plugins are not installed is wrong input: no component has the name, and each is placed."""
    ended = command("check", OUTSIDER / "hello_leaky.toml").tidy(2)
    assert "19:1 cell.kind: there is no cell called 'leaky' [RC020]" in ended.err
    assert "15:1 encoder.kind: there is no encoder called 'waves' [RC020]" in ended.err


@pytest.fixture
def orphan(here: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a run, then take its distribution away."""
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry != str(installed)])
    return run.path


def test_loading_without_it_says_what_to_install(orphan: Path) -> None:
    """A run whose plugin is gone is the plugin's fault, and the cure is the line that brings it back."""
    with pytest.raises(recurra.PluginError) as caught:
        recurra.load(orphan)
    assert caught.value.problems[0].cure == "pip install recurra-outsider==1.2.3"


@pytest.mark.parametrize("verb", ["generate", "evaluate", "resume"])
def test_every_verb_on_a_run_without_it_says_so(orphan: Path, verb: str) -> None:
    """Each command that opens a run ends with exit code 3 and names distribution and version."""
    ended: Ended = command(verb, orphan, "--json")
    ended.fails(3, "[RC070]", str(orphan), "pip install recurra-outsider==1.2.3")
    assert ended.last["exit_code"] == 3


def test_a_blocked_plugin_is_not_to_be_installed_again(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the plugin is here but blocked, the cure is the variable that blocks it."""
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "recurra_outsider")
    ended = command("generate", run.path).fails(3, "recurra-outsider 1.2.3", "RECURRA_PLUGINS_BLOCK", "unset")
    assert "pip install" not in ended.err


@pytest.fixture
def upgraded(here: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a run, then put a later version of its distribution in the place of the one that it was made with."""
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    later = here / "later"
    shutil.copytree(installed, later)
    (info,) = later.glob("*.dist-info")
    told = info / "METADATA"
    told.write_text(told.read_text().replace("Version: 1.2.3", "Version: 1.3.0"))
    info.rename(later / "recurra_outsider-1.3.0.dist-info")
    monkeypatch.setattr(sys, "path", [str(later) if entry == str(installed) else entry for entry in sys.path])
    return run.path


CHANGED = "was made with recurra-outsider 1.2.3 (now 1.3.0)"


def test_another_version_is_a_warning(upgraded: Path) -> None:
    """A run opens with another version of its plugin, and says so once, where it was asked for; nothing is refused."""
    with pytest.warns(OtherVersion) as caught:
        run = recurra.load(upgraded)
    (warning,) = caught
    assert str(upgraded) in str(warning.message) and CHANGED in str(warning.message)
    assert warning.filename == __file__
    assert run.generated().startswith("h")


@pytest.mark.parametrize("verb", ["generate", "evaluate", "resume"])
def test_another_version_is_a_line_on_stderr(upgraded: Path, verb: str) -> None:
    """Each command that opens a run prints one line for people, every time, and its output stays as it is."""
    ended = command(verb, upgraded, "--json").tidy(0)
    (line,) = [line for line in ended.err.splitlines() if "warning" in line]
    assert line.startswith(f"warning: {upgraded} {CHANGED}")
    assert ended.last
    if verb != "resume":
        assert command(verb, upgraded).tidy(0).err.count(CHANGED) == 1


def test_resume_records_the_version_that_goes_on(upgraded: Path) -> None:
    """Once a run has gone on with another version, that one is the run's."""
    with pytest.warns(OtherVersion):
        recurra.resume(upgraded)
    recurra.load(upgraded)  # a warning would be an error here
    used = json.loads((upgraded / "plugins.json").read_text())
    assert {p["version"] for p in used if p["distribution"] == "recurra-outsider"} == {"1.3.0"}


def test_recurra_itself_counts(here: Path) -> None:
    """The version of recurra is told like that of any other distribution, all of them in one line."""
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    told = run.path / "plugins.json"
    other = told.read_text().replace(f'"{recurra.__version__}"', '"0.0.1"').replace("1.2.3", "1.0.0")
    run.folder.records.amend("plugins.json", other)
    ended = command("generate", run.path).tidy(0)
    assert ended.err.count("warning: ") == 1
    assert f"recurra 0.0.1 (now {recurra.__version__})" in ended.err
    assert "recurra-outsider 1.0.0 (now 1.2.3)" in ended.err


def test_the_warning_comes_before_what_it_explains(upgraded: Path) -> None:
    """Where the other version refuses the run's options, the line that says why stands before the error."""
    task = upgraded / "task.toml"
    Records(upgraded).amend("task.toml", task.read_text().replace("leak = ", "leek = "))
    ended = command("generate", upgraded).tidy(2)
    assert ended.err.index(CHANGED) < ended.err.index("[RC011]")


def test_other_warnings_are_shown_as_ever(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Only recurra's own warning is a plain line: any other is left to whoever shows warnings."""
    shown = []
    monkeypatch.setattr(warnings, "showwarning", lambda message, *more, **named: shown.append(str(message)))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with main._warnings_in_a_line():
            warnings.warn("of another", UserWarning, stacklevel=1)
            warnings.warn("of ours", OtherVersion, stacklevel=1)
    assert shown == ["of another"]
    assert capsys.readouterr().err == "warning: of ours\n"
