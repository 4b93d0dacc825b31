"""A run as a person sees it: Ctrl-C, a killed process, a terminal, a pipe."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pexpect
import pytest
from terminal import command, world
from trials import PROSE, left, write

import recurra
from recurra.cli import display
from recurra.runs.checkpoints import Checkpoints
from recurra.runs.folder import RunFolder
from recurra.train.events import Progress

LINE = [sys.executable, "-m", "recurra.cli.main"]
TERMINAL = {"TERM": "xterm", "COLUMNS": "110", "LINES": "30"}
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = PROSE.replace("steps = 12", "steps = 150")
QUICK = {"training.validate_every": 30, "training.checkpoint_every": 10}
OPTIONS = [part for key, value in QUICK.items() for part in ("-o", f"{key}={value}")]


def _long(folder: Path) -> Path:
    """Write a task whose steps are slow enough to be interrupted: its loss waits a little."""
    slow = """\
import time
import torch
from recurra import Component, Loss, Options, hookimpl

class Slow(Loss):
    def forward(self, output, target):
        time.sleep(0.01 * self.training)
        return torch.nn.functional.cross_entropy(output, target, reduction="none")

class SlowOptions(Options):
    pass

@hookimpl
def recurra_components():
    return [Component("loss", "slow", __name__ + ":Slow", __name__ + ":SlowOptions", "waits")]
"""
    write(folder, slow, "slow.py")
    return write(
        folder, LONG.replace("cross_entropy", "slow") + '\n[plugins]\nfiles = ["slow.py"]\n'
    )


def _started(task: Path, runs: Path) -> subprocess.Popen[str]:
    line = [*LINE, "run", str(task), "--runs", str(runs), *OPTIONS]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=world()
    )


def _wait_for_step(runs: Path, step: int) -> RunFolder:
    for _ in range(600):
        try:
            folder = RunFolder.open(runs / "task")
            if folder.checkpoints.index().get("last", 0) >= step:
                return folder
        except recurra.RecurraError:
            pass
        time.sleep(0.05)
    raise AssertionError("the run did not come to that step")


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Train the long task in one go."""
    place = tmp_path_factory.mktemp("unbroken")
    return left(recurra.run(_long(place), QUICK, runs=place / "runs"))


def _same(found: dict[str, object], wanted: dict[str, object]) -> bool:
    # Which holds the path of the local plugin.
    names = [name for name in wanted if name != "task.toml"]
    return all(found[name] == wanted[name] for name in names) and len(found) == len(wanted)


def test_ctrl_c_saves_and_a_killed_run_goes_on(tmp_path: Path, unbroken: dict[str, object]) -> None:
    """Ctrl-C exits 130 and names the command that goes on; killed after that, the run still comes
    to the same bits.
    """
    started = _started(_long(tmp_path), tmp_path / "runs")
    folder = _wait_for_step(tmp_path / "runs", 10)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=60)
    assert started.returncode == 130, err
    assert f"recurra resume {folder.path}" in err and "Traceback" not in err and "RC063" in err
    step = folder.checkpoints.load().step
    assert f"after step {step} of 150" in err

    line = [*LINE, "resume", str(folder.path)]
    again = subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=world()
    )
    _wait_for_step(tmp_path / "runs", step + 1)
    again.kill()
    again.communicate(timeout=60)
    assert Checkpoints(folder.path / "checkpoints").load().step > step, (
        "the last whole checkpoint opens"
    )

    command("resume", folder.path).tidy(0)
    assert _same(left(recurra.load(folder.path)), unbroken)


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    """Pressed twice while a step takes long, Ctrl-C ends the run before the step does, with exit
    code 130.
    """
    task = _long(tmp_path)
    stuck = (tmp_path / "slow.py").read_text()
    stuck = stuck.replace(
        "time.sleep(0.01 * self.training)", "time.sleep(30 if self.slow() else 0)"
    )
    counting = """class Slow(Loss):
    count = 0
    def slow(self):
        Slow.count += self.training
        return Slow.count > 40
"""
    stuck = stuck.replace("class Slow(Loss):", counting)
    (tmp_path / "slow.py").write_text(stuck)
    started = _started(task, tmp_path / "runs")
    folder = _wait_for_step(tmp_path / "runs", 30)
    time.sleep(1)
    begun = time.monotonic()
    started.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert started.poll() is None, "the first one waits for the step"
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=20)
    assert started.returncode == 130 and time.monotonic() - begun < 15
    assert "Traceback" not in err
    assert folder.checkpoints.load().step >= 30


def test_a_terminal_shows_a_bar_and_is_left_tidy(tmp_path: Path) -> None:
    """In a terminal there are a bar, loss, rate and tokens a second; after Ctrl-C the cursor is
    back.
    """
    task = _long(tmp_path)
    child = pexpect.spawn(
        LINE[0], [*LINE[1:], "run", str(task), "--runs", str(tmp_path / "runs"), *OPTIONS],
        env=world(**TERMINAL), encoding="utf-8", timeout=60, dimensions=(30, 110),
    )  # fmt: skip
    child.expect(r"/150")
    child.expect(r"loss \d+\.\d{4}  rate 0\.02  [\d,]+ tokens/s")
    child.expect(r"validation  loss")
    child.expect(r"sample: the ")
    child.sendintr()
    child.expect(r"recurra resume")
    shown = child.before
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    whole = shown + (child.before or "")
    assert "Traceback" not in whole
    assert whole.rfind("\x1b[?25h") > whole.rfind("\x1b[?25l"), (
        "a hidden cursor must be shown again"
    )
    assert "━" in whole


def test_a_pipe_gets_plain_lines(tmp_path: Path) -> None:
    """Without a terminal there are lines without any escape: steps, loss, rate and tokens a second,
    and the result.
    """
    ended = command("run", write(tmp_path, PROSE), "--runs", tmp_path / "runs").tidy(0)
    assert not ESCAPES.search(ended.out) and "\r" not in ended.out
    lines = ended.out.splitlines()
    assert lines[0] == "training: 12 steps"
    steps = [line for line in lines if line.startswith("step ") and "tokens/s" in line]
    assert len(steps) == 12
    assert re.match(r"step 12/12  loss \d\.\d{4}  rate 0\.02  [\d,]+ tokens/s  0 s left", steps[-1])
    assert any(line.startswith("generated: the ") for line in lines) and lines[-1].startswith(
        "run: "
    )
    assert ended.err == ""


def test_json_is_the_only_line(tmp_path: Path) -> None:
    """With --json, stdout is one line, a JSON object, for each command, done or failed."""
    task, runs = write(tmp_path, PROSE), tmp_path / "runs"
    for arguments in (
        ["run", task, "--runs", runs], ["resume", runs / "task"], ["evaluate", runs / "task"],
        ["check", task],
        ["generate", runs / "task", "--length", "5"],
        ["generate", runs / "task", "--length", "5", "--streams", "2", "--temperature", "1"],
    ):  # fmt: skip
        ended = command(*arguments, "--json").tidy(0)
        assert len(ended.out.splitlines()) == 1 and isinstance(json.loads(ended.out), dict), (
            arguments
        )
    for arguments, code in (
        (["run", task, "--runs", task], 2),
        (["resume", tmp_path], 2),
        (["evaluate", "none"], 2),
    ):
        ended = command(*arguments, "--json").tidy(code)
        assert len(ended.out.splitlines()) == 1 and ended.last["exit_code"] == code


def test_long_runs_print_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """However many steps there are, ten lines tell of them, unless they take long."""
    lines = display.Lines()
    progress = Progress(total=1000, loss=1.0, rate=0.1, tokens=10, seconds=1.0)
    for progress.step in range(1, 1001):
        lines.stepped(progress)
    assert len(capsys.readouterr().out.splitlines()) == 10


def test_generating_prints_the_text_as_it_comes(tmp_path: Path) -> None:
    """`generate` prints prompt and text, numbers a line each, and several streams one after the
    other.
    """
    runs = tmp_path / "runs"
    command("run", write(tmp_path, PROSE), "--runs", runs).tidy(0)
    run = recurra.load(runs / "task")
    drawn = ["--temperature", "1"]
    out = command("generate", runs / "task", *drawn, "--seed", "7", "--length", "20").tidy(0).out
    assert out == "the " + "".join(run.generate(length=20, seed=7, temperature=1.0)) + "\n"
    several = (
        command("generate", runs / "task", *drawn, "--streams", "3", "--length", "4").tidy(0).out
    )
    assert several.count("--- ") == 3 and several.count("\nthe ") == 3


@pytest.mark.parametrize("arguments, words", [
    (["--values", "1,2,3"], "--values is for numbers"), (["--prompt", "Q"], "'Q'"),
    (["--prompt", ""], "nothing has been read"),
    (["--prompt", "t", "--values", "1"], "not both"), (["--temperature", "-1"], "temperature"),
    (["--values", "1,x"], "--values"),
])  # fmt: skip
def test_a_prompt_of_the_wrong_kind_is_told(
    arguments: list[str], words: str, tmp_path: Path
) -> None:
    """On the command line too, a prompt that cannot be read is one message and exit code 2."""
    runs = tmp_path / "runs"
    command("run", write(tmp_path, PROSE), "--runs", runs).tidy(0)
    command("generate", runs / "task", *arguments).fails(2, words)


def test_numbers_of_another_width_are_told(tmp_path: Path) -> None:
    """Uneven rows, NaN and text are refused by a run of numbers, with what each step takes."""
    from conftest import SERIES

    runs = tmp_path / "runs"
    command("run", write(tmp_path, SERIES), "--runs", runs).tidy(0)
    for arguments, words in (
        (["--values", "1,2;3"], "rows with ;"), (["--values", "1,2;3,4"], "rows with ;"),
        (["--values", "1,nan"], "not a finite number"),
        (["--prompt", "one"], "--prompt is for text"),
        (["--values", "1", "--streams", "2"], "--streams"),
        (["--values", "1", "--top-k", "3"], "top_k"),
    ):  # fmt: skip
        command("generate", runs / "task", *arguments).fails(2, words)
    out = command("generate", runs / "task", "--values", "1,2,3", "--length", "4").tidy(0).out
    assert [float(line) for line in out.split()] == pytest.approx(
        list(recurra.load(runs / "task").generate([1.0, 2.0, 3.0], 4)), rel=1e-5
    )
