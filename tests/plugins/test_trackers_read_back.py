"""What trackers wrote is read back by the readers of those for whom they write."""

from __future__ import annotations

import html
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import recurra
from recurra.errors import Untracked
from recurra.runs.folder import RunFolder
from recurra_trackers import csv as table

TASK = {
    "schema": 1,
    "name": "read",
    "source": {"kind": "inline", "text": "hello, hello, hello, hello, hello, hello"},
    "vocabulary": {"kind": "character"},
    "sequence": {"length": 4, "split": [0.6, 0.4, 0.0]},
    "encoder": {"kind": "one_hot"},
    "cell": {"kind": "gru", "hidden_size": 4},
    "loss": {"kind": "cross_entropy"},
    "training": {"steps": 12, "validate_every": 3, "keep_checkpoints": 9},
    "generation": {"length": 2, "prompt": "h"},
    "device": {"path": "eager"},
}
KILLED = """
import os, signal, sys
import recurra
from recurra.job.train import Silent

class Kills(Silent):
    def stepped(self, progress):
        if progress.step == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

task = __import__("json").loads(sys.argv[1])
recurra.run(task, track=__import__("json").loads(sys.argv[3]), observer=Kills())
"""


def wanted(path: Path) -> dict[tuple[str, int], float]:
    """Return each figure of a run's records, by what it is called and its step."""
    found: dict[tuple[str, int], float] = {}
    for line in (path / "metrics.jsonl").read_text().splitlines():
        record = json.loads(line)
        group = "final" if record.get("final") else record["split"]
        for name, value in record.items():
            if name not in ("step", "epoch", "split", "final"):
                found[f"{group}/{name}", record["step"]] = float(value)
    return found


def needs(*modules: str) -> pytest.MarkDecorator:
    """Return a mark for what is tried where an extra is installed."""
    absent = [name for name in modules if find_spec(name) is None]
    return pytest.mark.skipif(bool(absent), reason=f"{', '.join(absent)} is not installed")


@contextmanager
def killed(here: Path, step: int, track: list[Any]) -> Iterator[Path]:
    """Give a run that was killed, by no signal that it could heed, after an update."""
    line = [sys.executable, "-c", KILLED, json.dumps(TASK), str(step), json.dumps(track)]
    done = subprocess.run(line, cwd=here, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (path,) = (here / "runs" / "read").iterdir()
    yield path


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 11])
def test_a_run_that_was_killed_is_in_its_table_once(tmp_path: Path, step: int) -> None:
    """What a killed process had told, and what it had not, stands there once after `resume`."""
    with killed(tmp_path, step, ["csv"]) as path:
        recurra.resume(path)
    points = table.Csv(None).read({"folder": str(path / "tracking" / "csv")})  # type: ignore[arg-type]
    found = [
        ((f"{p.group}/{name}", p.step), value) for p in points for name, value in p.figures.items()
    ]
    assert dict(found) == wanted(path)
    assert len(found) == len(wanted(path))


def test_a_table_is_whole_wherever_a_column_comes(tmp_path: Path) -> None:
    """A figure that comes late has a column, in which the rows before are empty."""
    from recurra import Followed, Point
    from recurra_trackers.options import CsvOptions

    tracker = table.Csv(CsvOptions())
    tracker.begin(Followed("a/1", "a", tmp_path, tmp_path / "it"), None, 0)
    tracker.log([Point(1, "train", {"loss": 0.1 + 0.2}, epoch=0)])
    tracker.log([Point(2, "train", {"loss": 2.0, 'a "b", c': 3.0})])
    tracker.end("done")
    assert (tmp_path / "it" / "points.csv").read_text().splitlines() == [
        'step,epoch,split,final,loss,"a ""b"", c"',
        "1,0,train,0,0.30000000000000004,",
        "2,,train,0,2.0,3.0",
    ]


def samples(path: Path) -> dict[tuple[str, int], str]:
    """Return the samples of a run's folder by their groups and steps."""
    found = RunFolder(path).samples()
    return {("final" if of["final"] else "validation", of["step"]): text for of, text in found}


# TensorBoard


def scalars(folder: Path) -> dict[tuple[str, int], float]:
    """Return the scalars of a folder, as TensorBoard's own reader has them, each standing once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), size_guidance={"scalars": 0}).Reload()
    points = [((tag, each.step), each.value) for tag in found.Tags()["scalars"]
              for each in found.Scalars(tag)]  # fmt: skip
    assert len(points) == len(dict(points))
    return dict(points)


def texts(folder: Path) -> dict[tuple[str, int], str]:
    """Return the texts of a folder, each standing once, as TensorBoard's own page draws them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.text import metadata

    found = EventAccumulator(str(folder), size_guidance={"tensors": 0}).Reload()
    tags = found.PluginTagToContent(metadata.PLUGIN_NAME)
    drawn = [
        ((tag.removesuffix("/sample"), each.step), _drawn(each.tensor_proto))
        for tag in tags
        for each in found.Tensors(tag)
    ]
    assert len(drawn) == len(dict(drawn))
    return dict(drawn)


def _drawn(tensor: Any) -> str:
    """Return a text as the page of TensorBoard has it: every sample is a block of code."""
    from tensorboard.plugins.text.text_plugin import text_array_to_html
    from tensorboard.util.tensor_util import make_ndarray

    page = str(text_array_to_html(make_ndarray(tensor), True))
    assert page.startswith("<pre><code>") and page.endswith("\n</code></pre>"), page
    return html.unescape(page.removeprefix("<pre><code>").removesuffix("\n</code></pre>"))


@pytest.mark.slow
@needs("tensorboard")
@pytest.mark.filterwarnings("default")
def test_tensorboard_reads_a_run(tmp_path: Path) -> None:
    """Its reader has each figure of each record, after an end, after more steps, and its
    hyperparameters.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    run = recurra.run(TASK, track=["tensorboard"], runs=tmp_path)
    folder = run.path / "tracking" / "tensorboard"
    assert scalars(folder) == pytest.approx(wanted(run.path), rel=1e-6, abs=1e-6)
    recurra.resume(run, {"training.steps": 16})
    assert scalars(folder) == pytest.approx(wanted(run.path), rel=1e-6, abs=1e-6)
    assert texts(folder) == samples(run.path)
    assert [*samples(run.path)][-2:] == [("validation", 16), ("final", 16)]

    found = EventAccumulator(str(folder)).Reload()
    held = found.PluginTagToContent(metadata.PLUGIN_NAME)
    start = plugin_data_pb2.HParamsPluginData.FromString(held[metadata.SESSION_START_INFO_TAG])
    hparams = start.session_start_info.hparams
    assert hparams["cell.hidden_size"].number_value == 4
    assert hparams["cell.kind"].string_value == "recurra/gru"
    end = plugin_data_pb2.HParamsPluginData.FromString(held[metadata.SESSION_END_INFO_TAG])
    assert end.session_end_info.status == 1


@pytest.mark.slow
@needs("tensorboard")
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("step", [5, 11])
def test_tensorboard_reads_a_run_that_was_killed_once(tmp_path: Path, step: int) -> None:
    """Neither a point twice nor a gap, wherever the process was killed."""
    with killed(tmp_path, step, ["tensorboard"]) as path:
        recurra.resume(path)
    folder = path / "tracking" / "tensorboard"
    assert scalars(folder) == pytest.approx(wanted(path), rel=1e-6, abs=1e-6)
    assert texts(folder) == samples(path)


# MLflow


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a store of MLflow in files, which needs no database."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    return (tmp_path / "mlruns").as_uri()


def metrics(uri: str) -> tuple[dict[tuple[str, int], float], Any]:
    """Return the metrics of the one run of a store, by MLflow's own client, and the run."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri)
    of = client.get_experiment_by_name("read")
    (run,) = client.search_runs([of.experiment_id])
    points = [((key, each.step), each.value) for key in run.data.metrics
              for each in client.get_metric_history(run.info.run_id, key)]  # fmt: skip
    assert len(points) == len(dict(points))
    return dict(points), run


def kept(run: Any) -> str:
    """Return the samples of a run in MLflow, by its own reader, as they stand in ours."""
    from mlflow.artifacts import load_text

    text: str = load_text(f"{run.info.artifact_uri}/samples.txt")
    return text.replace("\n    ", "\n")


@pytest.mark.slow
@needs("mlflow")
@pytest.mark.filterwarnings("default")
def test_mlflow_reads_a_run(tmp_path: Path, store: str) -> None:
    """Its client has each figure to the last digit, the keys of the task, the state; also after
    what was told came again, came otherwise, or never came again.
    """
    track = [{"kind": "mlflow", "uri": store, "tags": {"who": "a test"}}]
    run = recurra.run(TASK, track=track, runs=tmp_path / "runs")
    found, first = metrics(store)
    assert found == wanted(run.path)
    assert first.info.run_name == "read/1" and first.info.status == "FINISHED"
    assert first.data.params["cell.hidden_size"] == "4"
    assert first.data.tags["who"] == "a test"
    assert kept(first) == (run.path / "samples.txt").read_text()

    # The same again: the same run. At another rate, or for fewer steps: one in its place.
    recurra.resume(run, checkpoint=6)
    again, second = metrics(store)
    assert again == wanted(run.path) and second.info.run_id == first.info.run_id
    recurra.resume(run, {"training.optimizer.lr": 0.3}, checkpoint=6)
    other, third = metrics(store)
    assert other == wanted(run.path) and third.info.run_id != first.info.run_id
    assert third.data.params == first.data.params and third.data.tags["who"] == "a test"
    assert kept(third) == (run.path / "samples.txt").read_text()
    recurra.resume(run, {"training.steps": 9}, checkpoint=6)
    fewer, last = metrics(store)
    assert fewer == wanted(run.path) and last.info.status == "FINISHED"
    assert kept(last) == (run.path / "samples.txt").read_text()


@pytest.mark.slow
@needs("mlflow")
@pytest.mark.filterwarnings("default")
def test_a_server_that_hangs_or_is_down_loses_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that takes the request and never answers, and one that is not there: the run ends with
    all figures, and says so.
    """
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "5")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = deaf.getsockname()[1]
        for at in (port, 9):
            track = [{"kind": "mlflow", "uri": f"http://127.0.0.1:{at}", "timeout": 20}]
            began = time.monotonic()
            with pytest.warns(Untracked, match="tracker mlflow is told no more"):
                run = recurra.run(TASK, track=track, runs=tmp_path)
            assert run.result["steps"] == 12
            assert time.monotonic() - began < 90
    assert os.path.isfile(run.path / "result.json")
