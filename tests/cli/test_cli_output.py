"""What commands print: one JSON object where it is asked for, one message if something is wrong."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import HELLO, SERIES
from terminal import alone, command, process

import recurra
from recurra.cli import forecast_view, show
from recurra.cli.display import excerpt
from recurra.cli.main import main


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of symbols, `runs/hello/1`, and a run of numbers, `runs/series/1`."""
    home = tmp_path_factory.mktemp("world")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_CACHE", str(home / "cache"))
        for name, text in (("hello", HELLO), ("series", SERIES)):
            (home / f"{name}.toml").write_text(text, encoding="utf-8")
            recurra.run(home / f"{name}.toml", runs=home / "runs")
    return home


@pytest.fixture
def here(world: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in that folder."""
    monkeypatch.chdir(world)
    return world


# --json


def test_json_of_check_and_run(empty: Path, task: Callable[..., Path]) -> None:
    """`check` and `run` print one object, which the run's folder keeps."""
    report = alone(command("check", task(), "--json").tidy(0))
    assert report["parameters"] and report["components"]
    found = alone(command("run", task(), "--json").tidy(0))
    assert json.loads((empty / str(found["run"]) / "result.json").read_text()) == found
    assert str(found["generated"]).startswith("h") and found["parameters"] == report["parameters"]


def test_json_of_generate(here: Path) -> None:
    """Text is one string after its prompt, several streams a list, and numbers are numbers."""
    found = alone(
        command("generate", "runs/hello", "--prompt", "he", "--length", "3", "--json").tidy(0)
    )
    assert found["prompt"] == "he" and len(str(found["generated"])) == 3
    drawn = ["--streams", "2", "--temperature", "1"]
    several = alone(command("generate", "runs/hello", *drawn, "--json").tidy(0))["generated"]
    assert isinstance(several, list) and [len(text) for text in several] == [4, 4]
    numbers = alone(
        command("generate", "runs/series", "--values", "1,2,3", "--length", "2", "--json").tidy(0)
    )
    assert numbers["prompt"] == [1, 2, 3]
    assert isinstance(numbers["generated"], list) and all(
        isinstance(x, float) for x in numbers["generated"]
    )


@pytest.mark.parametrize("run", ["hello", "series"])
def test_json_of_evaluate_is_what_the_run_said(here: Path, run: str) -> None:
    """`evaluate` gives the figures again that the run ended with."""
    found = alone(command("evaluate", f"runs/{run}/1", "--json").tidy(0))
    kept = json.loads((here / "runs" / run / "1" / "result.json").read_text())
    assert found["metrics"] == pytest.approx(kept["metrics"])
    assert found["verdict"] == kept["verdict"]


def test_json_of_plugins(empty: Path) -> None:
    """`plugins list` and `plugins show` print one object each."""
    listed = alone(command("plugins", "list", "--json").tidy(0))
    assert {"kind", "name", "qualified", "version", "summary", "cite", "contract"} == set(
        listed["components"][0]
    )  # type: ignore
    shown = alone(command("plugins", "show", "lstm", "--json").tidy(0))["components"]
    assert isinstance(shown, list) and [c["qualified"] for c in shown] == ["recurra/lstm"]


WRONG = {
    "a task that is not there": (["check", "absent.toml"], 2, "RC001"),
    "an override that is none": (["check", "hello.toml", "-o", "cell"], 2, "RC005"),
    "a misspelt key": (["check", "hello.toml", "-o", "cell.hiden_size=3"], 2, "RC011"),
    "a component nobody offers": (["run", "hello.toml", "-o", "cell.kind=lstn"], 2, "RC020"),
    "a band that does not hold": (
        ["run", "hello.toml", "--expect", "-o", "expect.loss_below=0.0"],
        1,
        "RC062",
    ),
    "a run that is not there": (["generate", "runs/absent"], 2, "RC051"),
    "a prompt of unknown symbols": (["generate", "runs/hello", "--prompt", "x"], 2, "RC043"),
    "a prompt of two kinds": (
        ["generate", "runs/hello", "--prompt", "h", "--values", "1"],
        2,
        "RC080",
    ),
    "a split that is empty": (["evaluate", "runs/hello", "--split", "test"], 2, "RC041"),
    "a split that there is not": (["evaluate", "runs/hello", "--split", "tset"], 2, "RC080"),
    "a shipped task that is not": (["new", "absent"], 2, "RC020"),
    "a component to show that is not": (["plugins", "show", "absent"], 2, "RC020"),
    "an option that is not": (["run", "hello.toml", "--epochs"], 2, "RC080"),
    "an argument that is missing": (["run"], 2, "RC080"),
    "a command that is not": (["train"], 2, "RC080"),
    "a number that is none": (["generate", "runs/hello", "--length", "many"], 2, "RC080"),
}


@pytest.mark.parametrize("what", WRONG)
def test_json_of_every_error(here: Path, what: str) -> None:
    """With --json an error is an object on the last line of stdout as well as a message on
    stderr.
    """
    arguments, code, expected = WRONG[what]
    ended = command(*arguments, "--json").tidy(code)
    assert ended.last["exit_code"] == code
    assert [problem["code"] for problem in ended.last["error"]] == [expected]
    assert ended.last["error"][0]["fact"] in " ".join(ended.err.split("\n"))


@pytest.mark.parametrize("what", WRONG)
def test_without_json_an_error_leaves_stdout_alone(here: Path, what: str) -> None:
    """What is wrong is said once, on stderr, in words: no traceback."""
    arguments, code, expected = WRONG[what]
    ended = command(*arguments).tidy(code)
    assert ended.err.lower().count("error: ") == 1
    assert '"error"' not in ended.out
    if expected != "RC062":
        assert not ended.out


def test_every_problem_is_reported_at_once(here: Path) -> None:
    """Two mistakes are two problems of one error, sorted by their place."""
    ended = command(
        "check", "hello.toml", "-o", "cell.hiden=3", "-o", "encoder.kind=one", "--json"
    ).tidy(2)
    assert {problem["code"] for problem in ended.last["error"]} == {"RC011", "RC020"}
    assert ended.err.count("error: ") == 2


def test_a_prompt_of_the_wrong_kind_says_which_option(here: Path) -> None:
    """Numbers for text and text for numbers are refused with the option that fits."""
    command("generate", "runs/hello", "--values", "1").fails(2, "--prompt")
    command("generate", "runs/series", "--prompt", "1").fails(2, "--values")


# streams


def test_a_reader_that_leaves_is_no_error(empty: Path) -> None:
    """`recurra plugins list | head -1` ends quietly when the reader has gone."""
    line = [sys.executable, "-m", "recurra.cli.main", "schema"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout and writer.stderr
        writer.stdout.close()
        said = writer.stderr.read()
    assert said == ""


def test_output_that_cannot_be_encoded_is_no_error(
    empty: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A terminal that knows no é shows something else for it, and the run is not lost for that."""
    (empty / "eleve.toml").write_text(
        HELLO.replace('"hello"', '"élève"').replace('"h"', '"é"'), encoding="utf-8"
    )
    with (
        io.TextIOWrapper(io.BytesIO(), encoding="ascii") as terminal,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, "argv", ["recurra", "run", "eleve.toml"])
        patch.setattr(sys, "stdout", terminal)
        with pytest.raises(SystemExit) as stop:
            main()
        terminal.seek(0)
        assert not stop.value.code and r"generated: \xe9" in terminal.read()


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_is_json_in_every_encoding(empty: Path, encoding: str) -> None:
    """What a terminal cannot show is escaped as JSON escapes it."""
    ended = process("new", "élève", "--json", PYTHONIOENCODING=encoding).tidy(2)
    assert ended.last["error"][0]["fact"] == "no task called 'élève' comes with recurra"


EVERY = [
    ["--help"], ["plugins", "list"], ["plugins", "list", "--json"], ["schema"], ["new", "--list"],
    ["plugins", "show", "lstm"], ["plugins", "explain", "RC001"], ["check", "hello.toml"],
    ["generate", "runs/hello", "--length", "9"], ["generate", "runs/series", "--json"],
    ["evaluate", "runs/hello"],
]  # fmt: skip


class Full(io.TextIOWrapper):
    """A stream on a disk that is full."""

    def __init__(self, reason: int) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")
        self.reason = reason

    def write(self, text: str) -> int:
        raise OSError(self.reason, os.strerror(self.reason))

    def close(self) -> None:
        self.detach()


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
def test_an_output_that_is_full_is_one_line(
    here: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """A command whose output cannot be written says so in a line, and fails; one that nobody reads
    leaves in peace.
    """
    for reason, code, lines in ((errno.ENOSPC, 1, 1), (errno.EPIPE, 141, 0)):
        told = io.StringIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", ["recurra", *arguments])
            patch.setattr(sys, "stdout", Full(reason))
            patch.setattr(sys, "stderr", told)
            with pytest.raises(SystemExit) as stop:
                main()
        assert stop.value.code == code and len(told.getvalue().splitlines()) == lines, (
            told.getvalue()
        )


@pytest.mark.parametrize("device", [False, True])
def test_a_run_whose_output_is_lost_is_saved(
    device: bool, empty: Path, task: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training goes on when nothing can be printed any more, the run is whole, and the command says
    what was lost.
    """
    if device and not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    with monkeypatch.context() as patch, contextlib.ExitStack() as streams:
        patch.setattr(sys, "argv", ["recurra", "run", str(task())])
        full = (
            streams.enter_context(open("/dev/full", "w", buffering=1))
            if device
            else Full(errno.ENOSPC)
        )
        patch.setattr(sys, "stdout", full)
        with pytest.raises(SystemExit) as stop:
            main()
    assert stop.value.code == 1 and (empty / "runs/task/1/result.json").is_file()


@pytest.mark.parametrize("closed", ["stdout", "stderr", "stdin"])
def test_a_stream_that_is_closed(empty: Path, closed: str) -> None:
    """Without stdout a command fails with a line; without the others it does its work."""
    redirected = {"stdout": ">&-", "stderr": "2>&-", "stdin": "<&-"}[closed]
    line = f"exec {sys.executable} -m recurra new --list {redirected}"
    done = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == (closed == "stdout")
    assert len(done.stderr.splitlines()) == (closed == "stdout")


@pytest.mark.parametrize("columns", ["0", "1", "20"])
def test_a_narrow_terminal_loses_no_figure(
    here: Path, monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    """Tables hold every figure, however narrow the terminal, in plain characters where it has no
    others.
    """
    whole = command("evaluate", "runs/hello").tidy(0).out
    monkeypatch.setenv("COLUMNS", columns)
    monkeypatch.setenv("TERM", "dumb")
    assert command("evaluate", "runs/hello").tidy(0).out == whole
    assert command("--help").tidy(0).out


# what a run says


def test_a_finished_run_claims_no_steps(here: Path) -> None:
    """`resume` of a run that is done says that its steps were made before."""
    ended = command("resume", "runs/hello/1").tidy(0)
    assert "3 steps, all of them made before" in ended.out


def test_the_weights_of_an_earlier_step_are_told(
    capsys: pytest.CaptureFixture[str], here: Path
) -> None:
    """Where the best step is not the last one, the result says whose weights it speaks of."""
    result = json.loads((here / "runs/series/1/result.json").read_text())
    for best, told in ((2, 1), (3, 0)):
        show.result({**result, "steps": 3, "weights_of_step": best})
        assert (
            capsys.readouterr().out.count("step 2 of 3, the best on the validation split") == told
        )


def test_a_change_of_kind_is_told(here: Path) -> None:
    """What a change of kind left out stands in the report of `check`, and in its record."""
    (here / "peephole.toml").write_text(
        HELLO.replace("hidden_size = 8", "hidden_size = 8\npeephole = true")
    )
    change = ["check", "peephole.toml", "-o", "cell.kind=gru"]
    assert "note: cell is gru in place of lstm" in command(*change).tidy(0).out
    assert "peephole of lstm" in command(*change, "--json").tidy(0).last["task_notes"][0]


def test_a_long_forecast_is_shortened() -> None:
    """Of a sample of numbers the first are shown, and how many there are; of text its beginning."""
    assert excerpt("\n".join(map(str, range(60)))) == "0, 1, 2, 3, 4, 5, ... 60 steps"
    assert excerpt("to be\nor not") == "to be\\nor not" and excerpt("1\n2") == "1\\n2"


def test_parts_of_the_data_stand_apart(here: Path) -> None:
    """No name of a split runs into its figures."""
    out = command("check", "series.toml").tidy(0).out
    assert all(
        re.search(rf"^  {name} +\d", out, re.MULTILINE) for name in ("train", "validation", "test")
    )


def test_what_did_not_come_is_a_dash_in_the_table(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A step of the last series that is missing is no number among those of the table."""
    rows = {"actual": [[1.5], [float("nan")]], "model": [[1.25], [2.5]]}
    forecast_view._series(rows, 0, "", [])
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["1", "1.5", "1.25"] in printed and ["2", "-", "2.5"] in printed
