"""A distribution of somebody else's, built and installed as pip does it, adds a cell, an encoder
and a target.
"""

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
import torch
from conftest import REPOSITORY
from jsonschema import Draft202012Validator
from terminal import Ended, command, process
from trials import Stopper, differences

import recurra
from recurra.cli import ending
from recurra.errors import InputError, Interrupted, OtherVersion
from recurra.job.reopen import same_data
from recurra.job.run import Run
from recurra.runs.records import Records

OUTSIDER = REPOSITORY / "tests" / "outsider"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the distribution into a folder of its own."""
    home = tmp_path_factory.mktemp("outsider")
    source, target = home / "source", home / "target"
    shutil.copytree(OUTSIDER, source, ignore=shutil.ignore_patterns("__pycache__", "build", "dist"))
    flags = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--no-compile",
        "--disable-pip-version-check",
        "-q",
    ]
    line = [sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)]
    subprocess.run(line, check=True, capture_output=True, cwd=home)
    return target


@pytest.fixture
def here(installed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Put the installed distribution on this process's path, and its task file into an empty
    folder.
    """
    monkeypatch.syspath_prepend(installed)
    monkeypatch.chdir(tmp_path)
    for task in ("hello_leaky.toml", "recall.toml"):
        shutil.copy(OUTSIDER / task, tmp_path)
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("recurra_outsider")]:
        del sys.modules[name]


def test_it_is_installed_as_wheels_are(installed: Path) -> None:
    """What is tested is a built wheel, unpacked: no path of the checkout leads to it."""
    assert sorted(p.name for p in installed.iterdir()) == [
        "recurra_outsider",
        "recurra_outsider-1.2.3.dist-info",
    ]


def test_list_shows_it_with_distribution_and_version(installed: Path) -> None:
    """`plugins list` says who offers each component."""
    lines = process("plugins", "list", path=installed).tidy(0).out.splitlines()
    assert any(line.split()[:3] == ["leaky", "recurra-outsider", "1.2.3"] for line in lines)
    assert any(line.split()[:3] == ["waves", "recurra-outsider", "1.2.3"] for line in lines)
    assert any(line.split()[:3] == ["recall", "recurra-outsider", "1.2.3"] for line in lines)
    assert not any(line.startswith(("warning", "not loaded")) for line in lines)


def test_list_does_not_show_it_where_it_is_not_installed() -> None:
    """Nothing of it is in the environment of the tests: what the others see comes from the folder
    alone.
    """
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


def test_run_trains_and_spells(here: Path) -> None:
    """The task of somebody else's components trains and generates from the command line."""
    done = command("run", "hello_leaky.toml", "--expect", "--json").tidy(0)
    assert done.last["generated"] == "hello"
    used = json.loads((here / done.last["run"] / "plugins.json").read_text())
    theirs = {
        (p["kind"], p["name"], p["version"])
        for p in used
        if p["distribution"] == "recurra-outsider"
    }
    assert theirs == {
        ("cell", "recurra-outsider/leaky", "1.2.3"),
        ("encoder", "recurra-outsider/waves", "1.2.3"),
    }


def test_check_reports_it(here: Path) -> None:
    """`check` says everything about a task of somebody else's components."""
    report = command("check", "hello_leaky.toml", "--json").tidy(0).last
    assert report["components"]["cell"] == "recurra-outsider/leaky"
    assert report["components"]["encoder"] == "recurra-outsider/waves"


FIGURE = "mean_reciprocal_rank"


def test_a_target_of_their_own_trains_and_is_judged(here: Path) -> None:
    """A question that recurra does not know: its own figure stands in [expect] and the verdict, its
    own rule beside.
    """
    done = command("run", "recall.toml", "--expect", "--json").tidy(0)
    found = json.loads((here / done.last["run"] / "result.json").read_text())
    assert found["metrics"].keys() == {"loss", FIGURE} and found["predictions"] == 12
    assert found["verdict"].startswith("beats the best baseline: 1 mean reciprocal rank,")
    assert found["best_baseline"] == "most frequent" and "generated" not in found
    used = json.loads((here / done.last["run"] / "plugins.json").read_text())
    assert ("target", "recurra-outsider/recall") in {(part["kind"], part["name"]) for part in used}


def asked(run: Run, name: str = "test") -> list[tuple[int, int]]:
    """Return label and rank wherever the mark stands in a split, each sequence read alone, one
    symbol at a time.
    """
    data, found = same_data(run.folder, run.resolved), []
    network, part = run.network.eval(), data.splits[name]
    mark = next(
        index for index in range(data.vocabulary.size) if data.vocabulary.symbol(index) == "?"
    )
    for row in data.store.sequence(part.begin).tolist():
        states, label = None, int(data.reader.labels[row])
        for symbol in data.store.values[data.store.starts[row] : data.store.ends[row]].tolist():
            with torch.no_grad():
                output, states = network(torch.tensor([[symbol]]), states)
            if symbol == mark:
                found.append((label, 1 + int((output[0, 0] > output[0, 0, label]).sum())))
    return found


def test_only_marked_steps_are_asked(here: Path) -> None:
    """Figure and baseline are those of a plain loop, and no window changes them, of training or of
    evaluation.
    """
    task = here / "recall.toml"
    task.write_text(task.read_text().replace("?y", "?y?"))  # some are asked twice
    changes = {
        "training.steps": 5,
        "sequence.length": 3,
        "sequence.split": [0.5, 0.0, 0.5],
        "device.kind": "cpu",
    }
    run = recurra.run(task, changes)
    ranks = asked(run)
    assert run.result["predictions"] == len(ranks)
    assert run.result["metrics"][FIGURE] == pytest.approx(
        sum(1 / rank for _, rank in ranks) / len(ranks)
    )

    labels = [label for label, _ in asked(run, "train")]
    order = sorted(set(labels), key=lambda label: (-labels.count(label), label))
    rule = sum(1 / (1 + order.index(label)) for label, _ in ranks) / len(ranks)
    assert run.result["baselines"] == {"most frequent": {FIGURE: pytest.approx(rule)}}


def test_a_target_of_their_own_goes_on_bit_for_bit(here: Path) -> None:
    """Stopped and resumed, a run leaves what one does that never stopped; opened again, it says the
    same.
    """
    changes = {"training.steps": 8, "training.checkpoint_every": 3, "cell.dropout": 0.3}
    whole = recurra.run("recall.toml", changes, runs=here / "whole")
    with pytest.raises(Interrupted):
        recurra.run("recall.toml", changes, runs=here / "cut", observer=Stopper([4]))
    again = recurra.resume(here / "cut" / "recall")
    assert differences(whole, again) == []
    assert recurra.load(again.path).evaluate()["metrics"] == whole.result["metrics"]


def test_check_knows_their_target(here: Path) -> None:
    """What it would ask is looked at before training: nothing marked, no labels, no figure of that
    name, no text.
    """
    assert (
        command("check", "recall.toml", "--json").tidy(0).last["components"]["target"]
        == "recurra-outsider/recall"
    )
    changes = {
        "target.mark=!": ("RC041", "no symbol of the data is the mark"),
        "sequence.carry=true": ("RC031", "sequence.carry=true: .* asks for a label a sequence"),
        "cell.bidirectional=true": ("RC031", "must be causal"),
        "expect.metrics={accuracy = [0, 1]}": ("RC013", f"allowed: loss, {FIGURE}"),
        "generation.length=3": ("RC031", "nothing is generated where target 'recall' is asked"),
    }
    for change, (code, words) in changes.items():
        with pytest.raises(InputError, match=rf"(?s){words}") as caught:
            recurra.check("recall.toml", [change])
        assert caught.value.problems[0].code == code
    task = (here / "recall.toml").read_text()
    plain = here / "plain.toml"
    plain.write_text(task[: task.index("labels = ")] + task[task.index("[vocabulary]") :])
    with pytest.raises(InputError, match="asks for a label, and this inline source gives input"):
        recurra.check(plain)


def test_a_split_where_nothing_is_asked_is_refused(here: Path) -> None:
    """A mark that no sequence of a split holds gives no figure: that is told before training, not
    after.
    """
    head, rest = (here / "recall.toml").read_text().split("texts = ")
    texts = (
        'texts = ["ax?", "bx?", "bx"]\nlabels = ["a", "b", "b"]\nfolds = ["train", "train",'
        ' "validation"]\n\n'
    )
    tail = rest[rest.index("[vocabulary]") :].replace("split = [0.75, 0.0, 0.25]", "")
    (here / "few.toml").write_text(head + texts + tail)
    with pytest.raises(
        InputError, match=r"validation split, .* no step that target 'recall' scores"
    ) as caught:
        recurra.check("few.toml", {"training.batch_size": 2})
    assert caught.value.problems[0].code == "RC041"


def test_the_core_knows_nothing_of_it() -> None:
    """No line of recurra, nor of its plugins, names what the distribution brings."""
    texts = [
        path.read_text()
        for folder in ("core", "plugins")
        for path in (REPOSITORY / folder).rglob("*.py")
    ]
    assert not [word for word in ("outsider", FIGURE) if any(word in text for text in texts)]


def test_both_names_mean_the_same(here: Path) -> None:
    """The short name and the qualified one give the same run, and the run keeps the qualified
    one.
    """
    short = recurra.run("hello_leaky.toml", {"training.steps": 3})
    long = recurra.run(
        "hello_leaky.toml", {"training.steps": 3, "cell.kind": "recurra-outsider/leaky"}
    )
    assert short.result["metrics"] == long.result["metrics"]
    for run in (short, long):
        assert 'kind = "recurra-outsider/leaky"' in (run.path / "task.toml").read_text()


def test_unknown_key_is_placed(here: Path) -> None:
    """A misspelt option of a plugin is refused with its line, and the nearest one is named."""
    path = here / "hello_leaky.toml"
    path.write_text(path.read_text().replace("leak = 0.7", "leek = 0.7"))
    command("check", path).fails(
        2, f"{path}:21:1 cell.leek", "[RC011]", "of cell leaky", "did you mean: leak"
    )


def test_wrong_value_is_refused_by_its_own_model(here: Path) -> None:
    """What a plugin's option may be is decided by the plugin's model alone."""
    command("check", "hello_leaky.toml", "-o", "cell.leak=1.5").fails(
        2, "cell.leak", "[RC013]", "got: 1.5"
    )


def test_without_it_the_task_says_what_is_missing() -> None:
    """A task whose plugins are not installed is wrong input: no component has the name, and each is
    placed.
    """
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
    """A run whose plugin is gone is the plugin's fault, and the cure is the line that brings it
    back.
    """
    with pytest.raises(recurra.PluginError) as caught:
        recurra.load(orphan)
    assert caught.value.problems[0].cure == "pip install recurra-outsider==1.2.3"


@pytest.mark.parametrize("verb", ["generate", "evaluate", "resume"])
def test_every_verb_on_a_run_without_it_says_so(orphan: Path, verb: str) -> None:
    """Each command that opens a run ends with exit code 3 and names distribution and version."""
    ended: Ended = command(verb, orphan, "--json")
    ended.fails(3, "[RC070]", str(orphan), "pip install recurra-outsider==1.2.3")
    assert ended.last["exit_code"] == 3


def test_a_blocked_plugin_is_not_to_be_installed_again(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the plugin is here but blocked, the cure is the variable that blocks it."""
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    monkeypatch.setenv("RECURRA_PLUGINS_BLOCK", "recurra_outsider")
    ended = command("generate", run.path).fails(
        3, "recurra-outsider 1.2.3", "RECURRA_PLUGINS_BLOCK", "unset"
    )
    assert "pip install" not in ended.err


@pytest.fixture
def upgraded(here: Path, installed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a run, then put a later version of its distribution in the place of the one that it was
    made with.
    """
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    later = here / "later"
    shutil.copytree(installed, later)
    (info,) = later.glob("*.dist-info")
    told = info / "METADATA"
    told.write_text(told.read_text().replace("Version: 1.2.3", "Version: 1.3.0"))
    info.rename(later / "recurra_outsider-1.3.0.dist-info")
    monkeypatch.setattr(
        sys, "path", [str(later) if entry == str(installed) else entry for entry in sys.path]
    )
    return run.path


CHANGED = "was made with recurra-outsider 1.2.3 (now 1.3.0)"


def test_another_version_is_a_warning(upgraded: Path) -> None:
    """A run opens with another version of its plugin, and says so once, where it was asked for;
    nothing is refused.
    """
    with pytest.warns(OtherVersion) as caught:
        run = recurra.load(upgraded)
    (warning,) = caught
    assert str(upgraded) in str(warning.message) and CHANGED in str(warning.message)
    assert warning.filename == __file__
    assert run.generated().startswith("h")


@pytest.mark.parametrize("verb", ["generate", "evaluate", "resume"])
def test_another_version_is_a_line_on_stderr(upgraded: Path, verb: str) -> None:
    """Each command that opens a run prints one line for people, every time, and its output stays as
    it is.
    """
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
    """The version of recurra is told like that of any other distribution, all of them in one
    line.
    """
    run = recurra.run("hello_leaky.toml", {"training.steps": 2})
    told = run.path / "plugins.json"
    other = (
        told.read_text().replace(f'"{recurra.__version__}"', '"0.0.1"').replace("1.2.3", "1.0.0")
    )
    run.folder.records.amend("plugins.json", other)
    ended = command("generate", run.path).tidy(0)
    assert ended.err.count("warning: ") == 1
    assert f"recurra 0.0.1 (now {recurra.__version__})" in ended.err
    assert "recurra-outsider 1.0.0 (now 1.2.3)" in ended.err


def test_the_warning_comes_before_what_it_explains(upgraded: Path) -> None:
    """Where the other version refuses the run's options, the line that says why stands before the
    error.
    """
    task = upgraded / "task.toml"
    Records(upgraded).amend("task.toml", task.read_text().replace("leak = ", "leek = "))
    ended = command("generate", upgraded).tidy(2)
    assert ended.err.index(CHANGED) < ended.err.index("[RC011]")


def test_other_warnings_are_shown_as_ever(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only recurra's own warning is a plain line: any other is left to whoever shows warnings."""
    shown = []
    monkeypatch.setattr(
        warnings, "showwarning", lambda message, *more, **named: shown.append(str(message))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with ending.warnings_in_a_line():
            warnings.warn("of another", UserWarning, stacklevel=1)
            warnings.warn("of ours", OtherVersion, stacklevel=1)
    assert shown == ["of another"]
    assert capsys.readouterr().err == "warning: of ours\n"
