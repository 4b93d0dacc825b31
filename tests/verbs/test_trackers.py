"""What follows a run is told of it, is no part of it, and cannot hold it up."""

from __future__ import annotations

import csv
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import command

import recurra
from recurra.errors import InputError, Interrupted, Untracked
from recurra.job import tracking
from recurra.job.train import Silent
from recurra.resolve import resolve
from recurra.runs.comparing import compare
from recurra.runs.folder import RunFolder
from recurra.spec.tracks import inline, parsed

HELLO = {
    "schema": 1,
    "name": "told",
    "source": {"kind": "inline", "text": "hello, hello, hello, hello, hello, hello"},
    "vocabulary": {"kind": "character"},
    "sequence": {"length": 4, "split": [0.6, 0.4, 0.0]},
    "encoder": {"kind": "one_hot"},
    "cell": {"kind": "gru", "hidden_size": 4},
    "loss": {"kind": "cross_entropy"},
    "training": {"steps": 12, "validate_every": 3, "checkpoint_every": 4, "keep_checkpoints": 9},
    "generation": {"length": 2, "prompt": "h"},
    "device": {"path": "eager"},
}
WRONG = """
import os, pathlib, threading, time
from recurra import Component, Field, Tracker, TrackerOptions, hookimpl

HELD = threading.Event()

class WrongOptions(TrackerOptions):
    at: str = Field("log", description="where it goes wrong")
    how: str = Field("raise", description="how it goes wrong")

class Wrong(Tracker[WrongOptions]):
    \"\"\"Goes wrong.\"\"\"

    def fail(self, at):
        if at != self.options.at:
            return
        if self.options.how == "hang":
            HELD.wait(60)
        elif self.options.how == "full":
            raise OSError(28, os.strerror(28), "/mnt/disk")
        elif self.options.how == "exit":
            raise SystemExit(3)
        else:
            raise RuntimeError("the server is down")

    def begin(self, run, state, step):
        self.fail("begin")

    def log(self, points):
        self.fail("log")

    def flush(self):
        self.fail("flush")
        return {"at": object()} if self.options.at == "state" else {}

    def end(self, how):
        self.fail("end")
        return {}

@hookimpl
def recurra_components():
    return [Component("tracker", "wrong", "wrong:Wrong", "wrong:WrongOptions", "wrong", api="1.2")]
"""


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the folder of a run without trackers."""
    home = tmp_path_factory.mktemp("plain")
    yield recurra.run(HELLO, runs=home / "runs").path


def told(path: Path, name: str = "csv") -> list[dict[str, str]]:
    """Return the rows of a run's table, by Python's own reader."""
    with (path / "tracking" / name / "points.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def records(path: Path) -> list[dict[str, str]]:
    """Return the records of a run as the rows of a table would have them."""
    rows = []
    for line in (path / "metrics.jsonl").read_text().splitlines():
        record: dict[str, Any] = json.loads(line)
        record["final"] = int(record.get("final", False))
        rows.append({name: str(value) for name, value in record.items()})
    return rows


def full(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Return rows without cells that are empty, and numbers as one is written."""
    return [
        {name: cell if name == "split" else repr(float(cell)) for name, cell in row.items() if cell}
        for row in rows
    ]


def same_run(one: Path, other: Path) -> bool:
    """Tell whether two runs are one to the byte, but for clocks, and for what follows them."""
    found = compare(one, other)
    return {d.file for d in found.differences if not d.file.startswith("tracking")} == set()


class Stops(Silent):
    """Ends a run after an update, as Ctrl-C does, or as a kill does."""

    def __init__(self, step: int, error: BaseException) -> None:
        self.step, self.error = step, error

    def stepped(self, progress: Any) -> None:
        """End it."""
        if progress.step == self.step:
            raise self.error


def test_what_is_told_is_what_is_recorded(plain: Path, tmp_path: Path) -> None:
    """Every record has its row, with every figure to the last digit, and the run is the one that
    nothing follows, to the byte.
    """
    run = recurra.run(HELLO, track=["csv"], runs=tmp_path)
    assert full(told(run.path)) == full(records(run.path))
    assert same_run(plain, run.path)
    assert "track" not in (run.path / "task.toml").read_text()
    found = recurra.diff(plain, run.path)
    assert not any(found["sections"][name] for name in ("task", "data", "versions"))
    held = recurra.bundle(run, tmp_path / "it.zip").read_bytes()
    shutil.rmtree(run.path / "tracking")
    assert recurra.bundle(run, tmp_path / "it2.zip").read_bytes() == held


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("step", "checkpoint"),
    [(5, None), (11, 4), *(pytest.param(*each, marks=SLOW) for each in ((8, None), (12, 8)))],
)
def test_a_run_that_goes_on_is_told_once(
    plain: Path, tmp_path: Path, step: int, checkpoint: int | None
) -> None:
    """Wherever a run is cut off, and wherever it goes on from, no point stands twice and none
    lacks.
    """
    stopped = Stops(step, RuntimeError("cut off"))
    with pytest.raises(RuntimeError, match="cut off"):
        recurra.run(HELLO, track=["csv"], runs=tmp_path, observer=stopped)
    (path,) = (tmp_path / "told").iterdir()
    recurra.resume(path, checkpoint=checkpoint)
    assert full(told(path)) == full(records(path))
    assert same_run(plain, path)


def test_what_was_not_told_is_told_afterwards(plain: Path, tmp_path: Path) -> None:
    """A run that nothing followed is told whole by `resume --track`, and others take the place of
    those before, until they are named again.
    """
    path = tmp_path / "1"
    shutil.copytree(plain, path)
    recurra.resume(path, track=["csv"])
    assert full(told(path)) == full(records(path))

    other = tmp_path / "others"
    recurra.resume(path, track=[{"kind": "csv", "folder": str(other)}])
    assert (
        other.joinpath("told", "1", "points.csv").read_text()
        == (path / "tracking" / "csv" / "points.csv").read_text()
    )
    follows = {
        name: json.loads((path / "tracking" / f"{name}.json").read_text())["follows"]
        for name in ("csv", "csv-2")
    }
    assert follows == {"csv": False, "csv-2": True}

    # One whose place is gone begins anew, and is told all.
    shutil.rmtree(other)
    recurra.resume(path)
    assert other.joinpath("told", "1", "points.csv").is_file()
    recurra.resume(path, {"track": []})
    assert not json.loads((path / "tracking" / "csv-2.json").read_text())["follows"]
    assert same_run(plain, path)


def test_another_run_is_told_in_another_place(tmp_path: Path) -> None:
    """In a folder for all runs each has its own, also where numbers come again."""
    folder = tmp_path / "all"
    for runs in ("one", "two"):
        recurra.run(
            HELLO, {"training.steps": 3}, track=[{"kind": "csv", "folder": folder}],
            runs=tmp_path / runs,
        )  # fmt: skip
    assert sorted(each.name for each in (folder / "told").iterdir()) == ["1", "1-2"]


def test_more_steps_go_on_in_the_same_table(tmp_path: Path) -> None:
    """The rows of a run that is gone on with for longer are those of its records."""
    run = recurra.run(HELLO, track=["csv"], runs=tmp_path)
    recurra.resume(run, {"training.steps": 20})
    assert full(told(run.path)) == full(records(run.path))
    assert told(run.path)[-1]["step"] == "20"


@pytest.fixture
def wrong(tmp_path: Path) -> dict[str, Any]:
    """Return a task that names the plugin of a tracker that goes wrong."""
    (tmp_path / "wrong.py").write_text(WRONG)
    return {**HELLO, "plugins": {"files": [str(tmp_path / "wrong.py")]}}


PLACES = ("begin", "log", "flush", "end", "state")


@pytest.mark.parametrize(
    ("at", "how"),
    [
        ("begin", "raise"),
        ("log", "full"),
        ("state", "raise"),
        *(pytest.param(a, h, marks=SLOW) for a in PLACES for h in ("raise", "full", "exit")),
    ],
)
def test_a_tracker_that_fails_loses_no_run(
    wrong: dict[str, Any], tmp_path: Path, at: str, how: str
) -> None:
    """Wherever it fails, and however, the run comes to its end with every figure, other trackers
    are told all, and one warning names it.
    """
    track = [{"kind": "wrong", "at": at, "how": how}, "csv"]
    with pytest.warns(Untracked, match="tracker wrong is told no more") as seen:
        run = recurra.run(wrong, {"training.steps": 4}, track=track, runs=tmp_path)
    assert len(seen) == 1
    assert run.result["steps"] == 4
    assert full(told(run.path)) == full(records(run.path))


@pytest.mark.parametrize("at", ["log", *(pytest.param(a, marks=SLOW) for a in PLACES[:4:3])])
def test_a_tracker_that_hangs_is_waited_for_no_longer(
    wrong: dict[str, Any], tmp_path: Path, at: str
) -> None:
    """One that does not answer holds nothing up, and is given up once its patience is over."""
    track = [{"kind": "wrong", "at": at, "how": "hang", "timeout": 0.3}]
    began = time.monotonic()
    with pytest.warns(Untracked, match=r"did not answer within 0\.3 s") as seen:
        run = recurra.run(wrong, {"training.steps": 4}, track=track, runs=tmp_path)
    assert len(seen) == 1
    assert run.result["steps"] == 4
    assert time.monotonic() - began < 30
    for thread in threading.enumerate():
        if thread.name == "tracker wrong":
            assert thread.daemon
            _held(thread)


def _held(thread: threading.Thread) -> None:
    """Let go of what hangs: no thread outlives a test."""
    import sys

    for module in list(sys.modules.values()):
        held = getattr(module, "HELD", None)
        if isinstance(held, threading.Event):
            held.set()
    thread.join(10)
    assert not thread.is_alive()


def test_a_record_that_is_damaged_loses_that_tracker_alone(tmp_path: Path) -> None:
    """What a run keeps of a tracker is no part of it: damaged, it is warned of, and the run goes
    on.
    """
    run = recurra.run(HELLO, track=["csv"], runs=tmp_path)
    record = run.path / "tracking" / "csv.json"
    for content, told_of in (("{", "csv.json is damaged"), (None, "there is no tracker called")):
        table = {**json.loads(record.read_text())} if content is None else {}
        saved = record.read_text()
        record.write_text(content or json.dumps({**table, "kind": "recurra/gone"}))
        with pytest.warns(Untracked, match=told_of):
            recurra.resume(run)
        record.write_text(saved)


def test_a_place_that_cannot_be_written_loses_no_run(plain: Path, tmp_path: Path) -> None:
    """Where not even the record of a tracker can be written, the run goes on without it."""
    path = tmp_path / "1"
    shutil.copytree(plain, path)
    (path / "tracking").write_text("in the way")
    with pytest.warns(Untracked, match="tracker csv is told no more") as seen:
        recurra.resume(path, track=["csv"])
    assert len(seen) == 1
    assert same_run(plain, path)


def test_of_several_processes_the_first_tells(tmp_path: Path) -> None:
    """No other has anything to tell, whatever its task says."""
    resolved = resolve(HELLO, {"track": [{"kind": "csv"}]})
    folder = RunFolder(tmp_path)
    for first in (True, False):
        with mock.patch.object(tracking, "world", lambda first=first: mock.Mock(first=first)):
            made = tracking.Trackers.of(folder, resolved.trackers, resolved.catalog)
        assert len(made.tellers) == first


def test_an_interrupted_run_says_so_to_its_trackers(tmp_path: Path) -> None:
    """Ctrl-C ends what follows a run, and the run goes on where it was."""
    with pytest.raises((Interrupted, KeyboardInterrupt)):
        recurra.run(HELLO, track=["csv"], runs=tmp_path, observer=Stops(9, KeyboardInterrupt()))
    (path,) = (tmp_path / "told").iterdir()
    assert told(path)[-1]["step"] in ("8", "9")
    recurra.resume(path)
    assert full(told(path)) == full(records(path))


# what is asked for


BAD: list[tuple[Any, str, str]] = [
    ("csv(timeou=3)", "RC011", "timeout"),
    ("csv(timeout=0)", "RC013", "above 0"),
    ("csv(timeout=true)", "RC012", "a number"),
    ("cvs", "RC020", "csv"),
    ("csv(3)", "RC080", "key=value"),
    ("csv(a=1, a=2)", "RC080", "twice"),
    ("", "RC080", "--track csv"),
    (3, "RC080", "--track csv"),
    ({"timeout": 3}, "RC010", "kind is missing"),
]


@pytest.mark.parametrize(("track", "code", "says"), BAD)
def test_what_is_wrong_is_refused_before_training(
    track: Any, code: str, says: str, tmp_path: Path
) -> None:
    """An option, a name or a text that is wrong is told with what is allowed, and nothing is
    written.
    """
    with pytest.raises(InputError) as caught:
        recurra.run(HELLO, track=[track], runs=tmp_path)
    assert [problem.code for problem in caught.value.problems] == [code]
    assert says in str(caught.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("track", "says"),
    [
        ("csv(timeou=3)", "--track csv(timeou=3): there is no key 'timeou' here"),
        ("csv(timeout='3')", "write it without quotes: timeout = 3\n"),
        ("mlflow(tags={a=1})", "--track mlflow(tags={a=1}) tags.a: a has the wrong type"),
        ("cvs", "--track cvs: there is no tracker called 'cvs'"),
        ("csv(3)", "--track csv(3): '3' is no option"),
        ("csv", "-o #1: track=[], and --track csv --track csv ["),
    ],
)
def test_what_is_wrong_stands_where_it_was_written(
    track: str, says: str, tmp_path: Path, monkeypatch: Any
) -> None:
    """An option is named as it was typed, with its own key, and nothing that nobody wrote."""
    monkeypatch.chdir(tmp_path)
    task = Path(recurra.__file__).parents[2] / "tasks" / "hello_gru.toml"
    more = ["-o", "track=[]"] if says.startswith("-o") else []
    done = command("run", task, *more, "--track", "csv", "--track", track)
    done.fails(2, says)
    assert "track[" not in done.err and "kind =" not in done.err


def test_other_options_are_named_as_they_were_written(tmp_path: Path, monkeypatch: Any) -> None:
    """So are `--seed` and `--levels`, which set keys as well; in Python it is the argument."""
    monkeypatch.chdir(tmp_path)
    task = Path(recurra.__file__).parents[2] / "tasks" / "hello_gru.toml"
    command("run", task, "--levels", "80").fails(2, "error: --levels 80 generation.levels")
    command("run", task, "--seed", "3", "-o", "seed=4").fails(2, "-o #1: seed=4, and --seed 3")
    with pytest.raises(InputError, match=r"^track\[1\]\.timeou: there is no key"):
        recurra.run(task, track=["csv", {"kind": "csv", "timeou": 3}])


def test_a_table_of_a_file_is_told_with_its_place(tmp_path: Path) -> None:
    """What is wrong in a second table stands at its line and column."""
    task = tmp_path / "task.toml"
    shipped = Path(recurra.__file__).parents[2] / "tasks" / "hello_gru.toml"
    head = f'extends = "{shipped.as_posix()}"\n'
    task.write_text(head + '[[track]]\nkind = "csv"\n\n[[track]]\nkind = "csv"\ntimeout = "3"\n')
    with pytest.raises(InputError) as caught:
        recurra.check(task)
    (problem,) = caught.value.problems
    assert (problem.key, problem.place.line, problem.place.column) == ("track[1].timeout", 7, 1)
    task.write_text(head + '[track]\nkind = "csv"\n')
    with pytest.raises(InputError, match=r"\[\[track\]\]"):
        recurra.check(task)


def test_a_tracker_without_its_library_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    """Before training it is said what to install; a run that goes on goes on without it."""
    from recurra_trackers.csv import Csv

    run = recurra.run(HELLO, {"training.steps": 4}, track=["csv"], runs=tmp_path)
    monkeypatch.setattr(Csv, "requires", ("no_such_module",))
    monkeypatch.setattr(Csv, "install", "pip install 'recurra[track]'")
    for call in (
        lambda: recurra.check(HELLO, {"track": [{"kind": "csv"}]}),
        lambda: recurra.run(HELLO, track=["csv"], runs=tmp_path / "none"),
        lambda: recurra.resume(run, track=["csv"]),
    ):
        with pytest.raises(InputError, match="no_such_module") as caught:
            call()
        assert caught.value.problems[0].cure == "pip install 'recurra[track]'"
    assert not (tmp_path / "none").exists()
    with pytest.warns(Untracked, match="no_such_module is not installed"):
        recurra.resume(run, {"training.steps": 6})


SCALARS = (
    st.booleans()
    | st.integers(-(10**6), 10**6)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8)
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3)


@settings(max_examples=30)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_a_table_is_written_as_an_override_reads_it(table: dict[str, Any]) -> None:
    """What Python or `--track` says comes to the task as it was said."""
    import tomllib

    asked = [{"kind": "csv", **{name: v for name, v in table.items() if name != "kind"}}]
    assert tomllib.loads(f"track = {inline(asked)}")["track"] == asked


def test_a_text_is_split_at_commas_outside_of_brackets() -> None:
    """Values are TOML where they can be, else text."""
    text = """mlflow( experiment=my words, uri="http://a,b", tags={ a = "1,2" }, name=x-3)"""
    assert parsed(text) == {
        "kind": "mlflow",
        "experiment": "my words",
        "uri": "http://a,b",
        "tags": {"a": "1,2"},
        "name": "x-3",
    }


def test_the_command_tells_trackers(tmp_path: Path, monkeypatch: Any) -> None:
    """`--track` of `run` and of `resume`, and one JSON object on the last line all the same."""
    monkeypatch.chdir(tmp_path)
    task = Path(recurra.__file__).parents[2] / "tasks" / "hello_gru.toml"
    short = ["-o", "training.epochs=3"]
    done = command("run", task, *short, "--track", "csv", "--track", "csv(folder=all)", "--json")
    path = Path(done.tidy(0).last["run"])
    assert (path / "tracking" / "csv" / "points.csv").read_text() == (
        tmp_path / "all" / "hello_gru" / "1" / "points.csv"
    ).read_text()
    command("resume", path, "--track", "csv", "-o", "training.epochs=4", "--json").tidy(0)
    assert told(path)[-1]["step"] == "4"
    assert os.path.isfile("all/hello_gru/1/points.csv")
