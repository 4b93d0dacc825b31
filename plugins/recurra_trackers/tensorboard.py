"""Event files of TensorBoard: scalars by split, samples, and the task as hyperparameters."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from recurra import Ending, Followed, Point, Tracker
from recurra_trackers.options import TensorboardOptions
from recurra_trackers.places import place_of
from recurra_trackers.texts import SAMPLE, indented, plain

STATUS: Mapping[Ending, str] = {
    "done": "STATUS_SUCCESS",
    "interrupted": "STATUS_UNKNOWN",
    "failed": "STATUS_FAILURE",
}
FINAL = "final"
END = "_hparams_/session_end_info"
"""The tag under which TensorBoard looks for how a run has ended."""


class Tensorboard(Tracker[TensorboardOptions]):
    """Writes scalars as `train/loss`, `validation/accuracy` and `final/perplexity`, in float32.

    Samples are texts, `validation/sample` and `final/sample`, set in so that they are shown as they
    are.
    `tensorboard --logdir runs` shows all runs below a folder. Where a run goes on, what stood up to
    there is kept in a new event file, which takes the place of those before.
    """

    requires: ClassVar[tuple[str, ...]] = ("tensorboard",)
    install: ClassVar[str] = "pip install 'recurra[track]'"

    @property
    def texts(self) -> bool:
        """Whether samples are asked for."""
        return self.options.samples

    def begin(self, run: Followed, state: Mapping[str, Any] | None, step: int) -> None:
        """Open an event file; of those that are there keep what was written up to a step."""
        place = place_of(run, self.options.folder, state)
        if state is not None and not _files(place):
            raise LookupError(f"the event files in {place} are gone")
        place.mkdir(parents=True, exist_ok=True)
        if state is None:
            events = [_event(0, time.time(), file_version="brain.Event:2"), _session(run)]
        else:
            events = list(_kept(_events(place), step))
        self._open(place, events)

    def log(self, points: Sequence[Point]) -> None:
        """Write an event for each point."""
        Summary = import_module("tensorboard.compat.proto.summary_pb2").Summary
        for point in points:
            values = [
                Summary.Value(tag=f"{point.group}/{name}", simple_value=value)
                for name, value in point.figures.items()
            ]
            if point.text:
                values.append(_text(f"{point.group}/{SAMPLE}", indented(point.text)))
            self._write([_event(point.step, time.time(), summary=Summary(value=values))])

    def flush(self) -> Mapping[str, Any]:
        """Bring the events to the disk."""
        self.writer.flush()
        os.fsync(self.file.fileno())
        return {"folder": str(self.place)}

    def end(self, how: Ending) -> Mapping[str, Any]:
        """Say how the run has ended, and close the file."""
        self._write([_ending(how)])
        state = self.flush()
        self.writer.close()
        return state

    def read(self, state: Mapping[str, Any]) -> list[Point]:
        """Return what TensorBoard itself makes of the event files."""
        module = import_module("tensorboard.backend.event_processing.event_accumulator")
        sizes = {"scalars": 0, "tensors": 0}
        found = module.EventAccumulator(state["folder"], size_guidance=sizes).Reload()
        points = []
        for tag in found.Tags()["scalars"]:
            group, _, name = tag.partition("/")
            for each in found.Scalars(tag):
                final = group == FINAL
                points.append(Point(each.step, group, {name: each.value}, final))
        for tag in found.Tags()["tensors"]:
            group, _, name = tag.partition("/")
            for each in found.Tensors(tag) if name == SAMPLE else ():
                text = plain(each.tensor_proto.string_val[0].decode())
                points.append(Point(each.step, group, {}, group == FINAL, text=text))
        return points

    def _open(self, place: Path, events: Iterable[Any]) -> None:
        """Begin a file with events, in the place of all that are there."""
        writing = import_module("tensorboard.summary.writer.record_writer")
        self.place, before = place, _files(place)
        # TensorBoard reads files in the order of their names, of which the first number is a time.
        host, moment = socket.gethostname(), int(time.time())
        name = f"events.out.tfevents.{moment:010d}.{host}.{os.getpid()}"
        while (place / name).exists():
            moment += 1
            name = f"events.out.tfevents.{moment:010d}.{host}.{os.getpid()}"

        work = place / f".{name}.part"
        self.file = work.open("wb")
        self.writer = writing.RecordWriter(self.file)
        self._write(events)
        self.flush()
        work.rename(place / name)
        for old in before:
            old.unlink()

    def _write(self, events: Iterable[Any]) -> None:
        for event in events:
            self.writer.write(event.SerializeToString())


def _files(place: Path) -> list[Path]:
    """Return the event files of a run, in the order in which they are read."""
    return sorted(place.glob("events.out.tfevents.*"))


def _events(place: Path) -> Iterator[Any]:
    """Give the events of a run; one that was cut off ends its file."""
    loading = import_module("tensorboard.backend.event_processing.event_file_loader")
    Event = import_module("tensorboard.compat.proto.event_pb2").Event
    for path in _files(place):
        for record in loading.RawEventFileLoader(str(path)).Load():
            yield Event.FromString(record)


def _kept(events: Iterable[Any], step: int) -> Iterator[Any]:
    """Give the events up to a step, each once, without what was said in the end."""
    seen: set[tuple[int, tuple[str, ...]]] = set()
    for event in events:
        tags = tuple(value.tag for value in event.summary.value)
        over = any(tag == END or tag.startswith(f"{FINAL}/") for tag in tags)
        if event.step > step or over or (event.step, tags) in seen:
            continue
        seen.add((event.step, tags))
        yield event


def _event(step: int, wall_time: float, **content: Any) -> Any:
    Event = import_module("tensorboard.compat.proto.event_pb2").Event
    return Event(step=step, wall_time=wall_time, **content)


def _text(tag: str, text: str) -> Any:
    """Return a text as TensorBoard shows it, among those of a tag."""
    naming = import_module("tensorboard.plugins.text.metadata")
    proto = import_module("tensorboard.compat.proto.summary_pb2")
    tensors = import_module("tensorboard.compat.proto.tensor_pb2")
    types = import_module("tensorboard.compat.proto.types_pb2")
    about = naming.create_summary_metadata(display_name=tag, description="")
    tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=[text.encode()])
    return proto.Summary.Value(tag=tag, metadata=about, tensor=tensor)


def _session(run: Followed) -> Any:
    """Return the event that gives a run its row among hyperparameters: each key of its task."""
    data = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    start = data.SessionStartInfo(group_name=run.name, start_time_secs=time.time())
    for name, value in {**run.keys, **run.about}.items():
        hparam = start.hparams[name]
        if isinstance(value, bool):
            hparam.bool_value = value
        elif isinstance(value, int | float):
            hparam.number_value = value
        else:
            hparam.string_value = str(value)
    return _plugin_event("_hparams_/session_start_info", session_start_info=start)


def _ending(how: Ending) -> Any:
    """Return the event that says how a run has ended."""
    data = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    status = import_module("tensorboard.plugins.hparams.api_pb2").Status.Value(STATUS[how])
    end = data.SessionEndInfo(status=status, end_time_secs=time.time())
    return _plugin_event(END, session_end_info=end)


def _plugin_event(tag: str, **content: Any) -> Any:
    """Return an event for the plugin of hyperparameters."""
    data = import_module("tensorboard.plugins.hparams.plugin_data_pb2")
    naming = import_module("tensorboard.plugins.hparams.metadata")
    proto = import_module("tensorboard.compat.proto.summary_pb2")
    held = data.HParamsPluginData(version=naming.PLUGIN_DATA_VERSION, **content)
    plugin = proto.SummaryMetadata.PluginData(
        plugin_name=naming.PLUGIN_NAME, content=held.SerializeToString()
    )
    about = proto.SummaryMetadata(plugin_data=plugin)
    value = proto.Summary.Value(tag=tag, metadata=about, tensor=naming.NULL_TENSOR)
    return _event(0, time.time(), summary=proto.Summary(value=[value]))
