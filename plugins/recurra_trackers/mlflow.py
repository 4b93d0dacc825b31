"""A run in MLflow: metrics by split, and the keys of the task as parameters."""

from __future__ import annotations

import logging
import math
import os
import re
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from recurra import Ending, Followed, Point, Tracker
from recurra_trackers import texts
from recurra_trackers.options import MlflowOptions

T = TypeVar("T")

STATUS: Mapping[Ending, str] = {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}
FINAL = "final/"
METRICS, PARAMETERS, LONGEST = 1000, 100, 500
"""What every server takes: of a request the metrics and the parameters, of a value the letters."""
SAMPLES = "samples.txt"
"""The artifact that holds all samples."""
OTHER = re.compile(r"[^\w.\- :]")
"""What may not stand in a name."""


class Mlflow(Tracker[MlflowOptions]):
    """Logs metrics such as `train/loss`, `validation/accuracy` and `final/perplexity` of a run.

    Samples stand in an artifact of it, `samples.txt`, each below its step. Where it cannot be kept,
    as on a server whose store of artifacts is not reached from here, metrics go on, and a tag of
    the run, `recurra.samples`, says why there are no samples.

    MLflow forgets no metric. Where a run goes on from before the last that was told, those that
    come again are not told twice; and where one comes otherwise, or never again, what holds is
    moved into a new run of the same name, and the one before is deleted, as MLflow deletes runs.
    """

    requires: ClassVar[tuple[str, ...]] = ("mlflow",)
    install: ClassVar[str] = "pip install 'recurra[track]'"

    @property
    def texts(self) -> bool:
        """Whether samples are asked for."""
        return self.options.samples

    def begin(self, run: Followed, state: Mapping[str, Any] | None, step: int) -> None:
        """Begin a run in MLflow, or go on with it; of that take note of what may come again."""
        self.standing: dict[tuple[str, int], float] = {}
        # What there is of samples, whether some of it is still to be written, and can be.
        self.samples: list[Point] = []
        self.unwritten, self.keeps = False, True
        self._connect(None if state is None else state["uri"])
        if state is None:
            name = self.options.experiment or run.task
            known = self.client.get_experiment_by_name(name)
            of = self.client.create_experiment(name) if known is None else known.experiment_id
            tags = {"recurra.run": str(run.path.absolute()), **self.options.tags}
            called = self.options.name or run.name
            self.id = self.client.create_run(of, run_name=called, tags=tags).info.run_id
            self._describe({**run.keys, **run.about})
            return

        self.id = str(state["run_id"])
        found = self._found()
        for metric in self._history(found):
            if metric.step > step or metric.key.startswith(FINAL):
                self.standing[metric.key, metric.step] = metric.value
        if self.texts:
            with self._sampling():
                told = self._sampled()
                self.samples = [each for each in told if each.step <= step and not each.final]
                self.unwritten = len(self.samples) < len(told)
        self.client.update_run(self.id, status="RUNNING")

    def log(self, points: Sequence[Point]) -> None:
        """Log the figures that do not stand there yet."""
        Metric = import_module("mlflow.entities").Metric
        new, differs, now = [], False, int(time.time() * 1000)
        for point in points:
            for name, value in point.figures.items():
                key = f"{point.group}/{_named(name)}"
                before = self.standing.pop((key, point.step), None)
                if before is None or not _same(before, value):
                    differs = differs or before is not None
                    new.append(Metric(key, value, now, point.step))
        if differs:
            self._move({(each.key, each.step) for each in new})
        self._log(new)
        told = [point for point in points if point.text]
        self.samples += told
        self.unwritten = self.unwritten or bool(told)

    def flush(self) -> Mapping[str, Any]:
        """Write the samples, and return where the run is: what else was logged is there already."""
        if self.unwritten and self.keeps:
            with self._sampling():
                self.client.log_text(self.id, texts.written(self.samples), SAMPLES)
            self.unwritten = False
        return {"uri": self.uri, "run_id": self.id}

    def end(self, how: Ending) -> Mapping[str, Any]:
        """End the run in MLflow."""
        if how == "done" and self.standing:
            self._move(set())
        state = self.flush()
        self.client.set_terminated(self.id, STATUS[how])
        return state

    def read(self, state: Mapping[str, Any]) -> list[Point]:
        """Return the metrics that MLflow has of a run."""
        self._connect(state["uri"])
        self.id = state["run_id"]
        found, points = self._found(), self._sampled()
        for metric in self._history(found):
            group, _, name = metric.key.partition("/")
            figures = {_unnamed(name): metric.value}
            points.append(Point(metric.step, group, figures, f"{group}/" == FINAL))
        return points

    def _connect(self, uri: str | None) -> None:
        """Make a client of a server, or a store."""
        if "mlflow" not in sys.modules:
            # It would tell its makers of each use.
            os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        # Nor does it draw into the terminal.
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        tracking = import_module("mlflow.tracking")
        self.uri = _absolute(uri or self.options.uri or str(tracking.get_tracking_uri()))
        logger = logging.getLogger("mlflow")
        before = logger.level
        # A database that is made now is nobody's concern.
        logger.setLevel(logging.WARNING)
        try:
            self.client = tracking.MlflowClient(tracking_uri=self.uri)
        finally:
            logger.setLevel(before)

    def _found(self) -> Any:
        """Return the run in MLflow. Raises `LookupError` where it is gone."""
        exceptions = import_module("mlflow.exceptions")
        try:
            found = self.client.get_run(self.id)
        except exceptions.MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                raise LookupError(f"run {self.id} is gone from {self.uri}") from error
            raise
        if found.info.lifecycle_stage == "deleted":
            raise LookupError(f"run {self.id} was deleted from {self.uri}")
        return found

    def _history(self, found: Any) -> Iterator[Any]:
        for key in found.data.metrics:
            yield from self.client.get_metric_history(self.id, key)

    def _sampled(self) -> list[Point]:
        """Return the samples that the run in MLflow has."""
        if not any(each.path == SAMPLES for each in self.client.list_artifacts(self.id)):
            return []
        with tempfile.TemporaryDirectory() as folder:
            path = self.client.download_artifacts(self.id, SAMPLES, folder)
            return list(texts.read(Path(path).read_bytes().decode()))

    @contextmanager
    def _sampling(self) -> Iterator[None]:
        """Read or write samples; where that cannot be, the run says why, and it is not tried again.

        What was written stays as it was.
        """
        try:
            yield
        except Exception as error:
            self.keeps = False
            why = f"not kept: {' '.join(str(error).split())}"
            self.client.set_tag(self.id, "recurra.samples", why[:LONGEST])

    def _describe(self, keys: Mapping[str, Any]) -> None:
        Param = import_module("mlflow.entities").Param
        params = [Param(OTHER.sub("_", key), str(each)[:LONGEST]) for key, each in keys.items()]
        for some in _many(params, PARAMETERS):
            self.client.log_batch(self.id, params=some)

    def _log(self, metrics: Iterable[Any]) -> None:
        for some in _many(metrics, METRICS):
            self.client.log_batch(self.id, metrics=some)

    def _move(self, others: set[tuple[str, int]]) -> None:
        """Take what holds of the run into a new one, in the place of this; `others` come anew."""
        entities = import_module("mlflow.entities")
        before = self._found()
        lost = others | self.standing.keys()
        held = [m for m in self._history(before) if (m.key, m.step) not in lost]
        own = {name: tag for name, tag in before.data.tags.items() if name != "mlflow.runName"}
        of, called = before.info.experiment_id, before.info.run_name
        made = self.client.create_run(of, before.info.start_time, own, called)

        old, self.id = self.id, made.info.run_id
        self.standing = {}
        params = [entities.Param(name, value) for name, value in before.data.params.items()]
        for some in _many(params, PARAMETERS):
            self.client.log_batch(self.id, params=some)
        self._log(entities.Metric(m.key, m.value, m.timestamp, m.step) for m in held)
        self.unwritten = bool(self.samples)
        self.client.delete_run(old)


def _absolute(uri: str) -> str:
    """Return where a store is, from wherever it is asked for later."""
    if uri.startswith("sqlite:///") and not uri.startswith("sqlite:////"):
        return f"sqlite:///{os.path.abspath(uri.removeprefix('sqlite:///'))}"
    return uri if ":" in uri or uri == "databricks" else os.path.abspath(uri)


def _many(each: Iterable[T], most: int) -> Iterator[list[T]]:
    """Give some at a time."""
    rest = iter(each)
    while some := list(islice(rest, most)):
        yield some


def _named(figure: str) -> str:
    """Return the name of a figure as MLflow takes it: other characters by their numbers."""
    return OTHER.sub(lambda found: f"_x{ord(found[0]):x}_", figure)


def _unnamed(name: str) -> str:
    return re.sub(r"_x([0-9a-f]+)_", lambda found: chr(int(found[1], 16)), name)


def _same(one: float, other: float) -> bool:
    """Tell whether two figures are one; a database has the greatest number for an infinite one."""
    if math.isnan(one) or math.isnan(other):
        return math.isnan(one) and math.isnan(other)
    most = sys.float_info.max
    return max(-most, min(most, one)) == max(-most, min(most, other))
