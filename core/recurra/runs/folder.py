"""One run's folder, `runs/<task>/<n>/`: what is in it, and how it is written and read."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import recurra
from recurra import system
from recurra.engine.machine import model
from recurra.errors import Altered, InputError, RecurraError, warn
from recurra.runs import files
from recurra.runs.bounded import LINE
from recurra.runs.checkpoints import Checkpoints
from recurra.runs.records import (
    FAILED,
    FORMAT,
    LEFT,
    LOCK,
    UNJUDGED,
    Records,
    Written,
    reading,
)

if TYPE_CHECKING:
    import torch

SAMPLE = re.compile(rb"^--- step (?P<step>\d{1,18})(?P<final>, final)?$", re.MULTILINE)
"""The line before each sample in samples.txt."""


RECORDS = ("metrics.jsonl", "samples.txt")
"""The files that grow while a run is trained."""


class RunFolder:
    """A run's folder.

    task.toml           the whole resolved task, read back equal
    plugins.json        qualified name, distribution and version of each component
    environment.json    versions, machine, device, threads, processes, execution paths,
                        the scheme of random numbers
    data.json           fingerprint and sizes of the data
    vocabulary.json     what the vocabulary learned
    calibration.json    the scores of a calibration, if any, made by the run calibration/1
    launch.json         the launch of torchrun that began it, if one did
    hashes.json         a hash of each of the files above, see `recurra.runs.records`
    metrics.jsonl       one line for each record of training, validation and the final evaluation
    samples.txt         what was generated at each validation and at the end
    failed.json         why the run has failed, if it has, until it goes on
    unjudged.json       why training has ended of a trial that is not judged, until it goes on
    tracking/           what follows the run, if anything does, see `recurra.runs.tracked`
    checkpoints/        see `recurra.runs.checkpoints`
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.records = Records(path)
        # What was hashed of the records so far.
        self._tails: dict[str, files.Tail] = {}
        # Who is told of each record once it is written.
        self.follower: Callable[[Mapping[str, Any], str], None] | None = None

    @classmethod
    def create(cls, root: Path, task: str) -> RunFolder:
        """Make the next numbered folder of a task. Raises `InputError` (RC050)."""
        folder = cls(next_folder(root / task, "runs", "--runs"))
        folder.checkpoints.create()
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run's folder; a task's folder stands for its newest run.

        Raises `InputError` (RC051).
        """
        path = Path(path)
        if not _holds_task(path):
            path = max(_runs_in(path), key=_number, default=path)
        if _holds_task(path):
            return cls(path)

        fact = f"{path} is not a run" if path.exists() else f"there is no run at {path}"
        cure = "`recurra run TASK.toml` makes one"
        if inside := files.of_tasks(path, _holds_task):
            cure = f"name one in it: {', '.join(inside)}"
        elif runs := files.of_tasks(Path("runs"), _holds_task):
            cure = f"the runs here are {', '.join(runs)}"
        fact, cure = files.no_run(path, fact, cure)
        raise InputError.of("RC051", fact, cure=cure)

    @classmethod
    def begun(cls, home: Path) -> RunFolder | None:
        """Return the newest run of a task's folder that can go on, if any.

        One that was ended before its first checkpoint is cleared away: it begins anew in its place.
        Raises `RunError` (RC052, RC053).
        """
        for path in numbered(home):
            folder = cls(path)
            if folder.checkpoints.index():
                return folder
            with files.guarded(path):
                shutil.rmtree(path)
        return None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from training this run meanwhile.

        Raises `InputError` (RC055) if one does.
        """
        try:
            with system.locked(self.path / LOCK):
                yield
        except system.Held as error:
            fact = f"{self.path} is in use: another process trains it, or puts it into a bundle"
            cure = "wait for that to end, or stop it with Ctrl-C"
            raise InputError.of("RC055", fact, cure=cure) from error

    def write(self, name: str, value: Any) -> None:
        """Write one of the JSON files."""
        saved = self._saved() if self._step() is not None else ""
        files.write_json(self.path / name, value, saved)

    def write_task(self, text: str) -> None:
        """Write the resolved task."""
        files.write_text(self.path / "task.toml", text)

    def record(self, **values: Any) -> None:
        """Append a line to metrics.jsonl; a figure that is not finite is written as text."""
        line = json.dumps(files.finite(values), allow_nan=False) + "\n"
        files.append(self.path / "metrics.jsonl", line, self._saved())
        if self.follower is not None:
            self.follower(values, "")

    def sample(self, step: int, text: str, final: bool = False) -> None:
        """Append what was generated at a step, or in the end, to samples.txt."""
        heading = f"--- step {step}{', final' if final else ''}"
        files.append(self.path / "samples.txt", f"{heading}\n{text}\n", self._saved())
        if self.follower is not None and text:
            self.follower(_sampled(step, final), text)

    def note_failure(self, error: RecurraError | None) -> None:
        """Keep why the run has failed, or forget it as it goes on; where nothing can be written,
        nothing is.
        """
        with suppress(OSError, RecurraError):
            if error is None:
                (self.path / FAILED).unlink(missing_ok=True)
                return
            first = error.problems[0]
            files.write_json(self.path / FAILED, {"code": first.code, "fact": first.fact})

    def note_unjudged(self, why: str | None) -> None:
        """Keep why training has ended of a trial of which nothing but validation is measured.

        Or forget it as it goes on; where nothing can be written, nothing is.
        """
        with suppress(OSError, RecurraError):
            if why is None:
                (self.path / UNJUDGED).unlink(missing_ok=True)
            else:
                files.write_json(self.path / UNJUDGED, {"ended": why})

    def settled(self) -> dict[str, Any]:
        """Bring the records to the disk, and return how long each is, and its hash.

        From it a checkpoint knows where to go on in them. Raises `RunError` (RC053).
        """
        written: dict[str, Any] = {}
        for name in RECORDS:
            if (self.path / name).exists():
                with files.guarded(self.path / name, self._saved()):
                    tail = self._tails.setdefault(name, files.Tail(self.path / name))
                    size, digest = tail.settled()
                written[name] = {"bytes": size, "sha256": digest}
        # Their names, too.
        with files.guarded(self.path, self._saved()):
            system.sync_folder(self.path)
        return written

    def _saved(self) -> str:
        """Return what is whole where a write has failed, if anything is."""
        if not self.checkpoints.path.is_dir():
            return ""
        step = self._step()
        whole = f"the checkpoints in {self.checkpoints.path} are whole"
        if step is None:
            return whole
        return f"{whole}, the last of step {step}: `recurra resume {self.path}` goes on"

    def going_on(self) -> str:
        """Say from where the run goes on, and how, to whoever is left of several processes."""
        step = self._step()
        if step is not None:
            fact = f"the checkpoint of step {step} is whole"
            return f"{fact}: `recurra resume {self.path}` goes on, in any number of processes"
        if not self.path.exists():
            fact = f"the first process has {self.path}"
            return f"{fact}: there `recurra resume {self.path}` goes on from its last checkpoint"
        return "nothing is saved of it yet: `recurra run` begins anew"

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Say of a write that fails meanwhile, wherever it was, what is whole and how to go on."""
        try:
            yield
        except RecurraError as error:
            of_disk = {problem.code for problem in error.problems} <= {"RC050", "RC053"}
            told = f"`recurra resume {self.path}`" in str(error)
            if not of_disk or told or self._step() is None:
                raise
            more = self._saved()
            problems = [replace(each, cure=f"{each.cure}; {more}") for each in error.problems]
            raise type(error)(problems) from error

    def _step(self) -> int | None:
        """Return the step of the last checkpoint, if there is one."""
        try:
            return self.checkpoints.index().get("last")
        except RecurraError:
            return None

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl, as `each_record` gives them."""
        return list(self.each_record())

    def each_record(self, lost: list[int] | None = None) -> Iterator[dict[str, Any]]:
        """Give the records of metrics.jsonl, however many they are.

        A line that is none, such as one that was cut off, is left out: its number, from 1, is added
        to those that are `lost`. Raises `RunError` (RC052) if the file cannot be read at all.
        """
        path = self.path / "metrics.jsonl"
        if not os.path.lexists(path):
            return
        with reading(path):
            yield from _records(_lines(path), lost)

    def samples(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Give the samples of samples.txt, but empty ones, each after what a record would say.

        Raises `RunError` (RC052) if the file cannot be read at all.
        """
        path = self.path / "samples.txt"
        if not os.path.lexists(path):
            return
        with reading(path):
            content = path.read_bytes()
        for step, final, text in parsed_samples(content):
            if text:
                yield _sampled(step, final), text

    def rewind(
        self,
        step: int,
        sampled: int | None = None,
        written: Mapping[str, Written] = MappingProxyType({}),
    ) -> None:
        """Forget what was recorded after a step: a resumed run will record it again.

        `written` tells how long the records then were. One that begins otherwise was changed or
        damaged meanwhile: then warns (`Altered`), and goes by the steps of its lines. A checkpoint
        from before has `sampled`, the length of samples.txt, or leaves the headings to tell it,
        which a sample may hold as well.
        """
        self._tails.clear()
        for name in RECORDS:
            path = self.path / name
            if not os.path.lexists(path):
                if name in written:
                    self._warn(name, step, "it is missing")
                continue
            with reading(path):
                content = path.read_bytes()
            end = None
            if name in written:
                end = written[name].bytes
                if files.digest_of(content[:end]) != written[name].sha256:
                    self._warn(name, step, "its hash is not the recorded one")
                    end = None
            if end is None:
                kept = _early(content, step) if name == "metrics.jsonl" else content
                if name == "samples.txt":
                    known = sampled is not None and _begins_sample(content, sampled)
                    kept = content[: sampled if known else _late(content, step)]
            else:
                kept = content[:end]
            files.write_bytes(path, kept, self._saved())

    def _warn(self, name: str, step: int, why: str) -> None:
        fact = (
            f"{self.path / name} is not as it was at step {step}: {why}; training goes on, and what"
            " it says of the steps before may be wrong"
        )
        warn(fact, Altered)


def parsed_samples(content: bytes) -> Iterator[tuple[int, bool, str]]:
    """Give the step of each sample, whether it is final, and its text."""
    marks = [*SAMPLE.finditer(content)]
    ends = [mark.start() for mark in marks[1:]] + [len(content)] * bool(marks)
    for mark, end in zip(marks, ends, strict=True):
        text = content[mark.end() + 1 : end].decode("utf-8", "replace").removesuffix("\n")
        yield int(mark["step"]), bool(mark["final"]), text


def _sampled(step: int, final: bool) -> dict[str, Any]:
    """Return what a record would say of a sample: it is drawn where validation is looked at."""
    return {"step": step, "split": "validation", "final": final}


def next_folder(home: Path, what: str, option: str) -> Path:
    """Make the next numbered folder in one for runs, or what else is told by an option.

    Raises `InputError` (RC050), `RunError` (RC053).
    """
    try:
        missing = [path for path in (home, *home.parents) if not path.exists()]
        home.mkdir(parents=True, exist_ok=True)
        run = _new_run(home)
    except OSError as error:
        fact = f"the folder for {what}, {home}, cannot be written: {error.strerror or error}"
        raise InputError.of("RC050", fact, cure=f"name another one with {option}") from error

    with files.guarded(run):
        for path in (run, *missing):
            system.sync_folder(path.parent)
    return run


def _new_run(home: Path) -> Path:
    """Make the next numbered folder of a task. Raises `OSError`."""
    numbers = [_number(path) for path in home.iterdir() if path.name.isdecimal()]
    number = max(numbers, default=0) + 1
    # Another process may make one at the same time.
    while True:
        path = home / str(number)
        try:
            path.mkdir()
            return path
        except FileExistsError:
            number += 1


def _number(run: Path) -> int:
    return int(run.name)


def _begins_sample(content: bytes, place: int) -> bool:
    """Tell whether a sample begins at a place, or the text ends there or before.

    Then it was not edited meanwhile.
    """
    return place >= len(content) or content.startswith(b"--- step ", place)


def _early(content: bytes, step: int) -> bytes:
    """Return the lines of records up to a step; of what is no record nothing stays."""
    lines = b""
    for line in content.splitlines(keepends=True):
        for record in _records([line]):
            if record["step"] <= step and not record.get("final"):
                lines += line if line.endswith(b"\n") else line + b"\n"
    return lines


def _late(content: bytes, step: int) -> int:
    """Return where the first sample after a step begins, going by the headings."""
    for heading in SAMPLE.finditer(content):
        if heading["final"] or int(heading["step"]) > step:
            return heading.start()
    return len(content)


def _lines(path: Path) -> Iterator[bytes]:
    """Give the lines of a file; in place of one that is longer than any record, an empty one."""
    with path.open("rb") as file:
        while line := file.readline(LINE + 1):
            if len(line) <= LINE:
                yield line
                continue
            while line and not line.endswith(b"\n"):
                line = file.readline(LINE)
            yield b""


def _records(lines: Iterable[bytes], lost: list[int] | None = None) -> Iterator[dict[str, Any]]:
    """Give the lines that are records, and add the numbers of the others to those `lost`."""
    for place, line in enumerate(lines, 1):
        record = _record(line)
        if record is not None:
            yield record
        elif lost is not None:
            lost.append(place)


def _record(line: bytes) -> dict[str, Any] | None:
    """Return the record that a line is; one that was cut off is none."""
    try:
        record = files.parsed(line)
    except ValueError:
        return None
    whole = isinstance(record, dict) and type(record.get("step")) is int
    return record if whole and isinstance(record.get("split"), str) else None


def _holds_task(path: Path) -> bool:
    """Tell whether a folder is a run's, damaged as it may be."""
    try:
        if not os.path.lexists(path / "task.toml"):
            return False
        return any(os.path.lexists(path / name) for name in LEFT)
    except OSError:
        # A folder that may not be looked into, or a name that is too long.
        return False


def _runs_in(path: Path) -> list[Path]:
    """Return the runs in a task's folder."""
    return [inner for inner in _numbered(path) if _holds_task(inner)]


def _numbered(path: Path) -> list[Path]:
    """Return the folders in one, or other things, that bear numbers."""
    try:
        return [inner for inner in path.iterdir() if inner.name.isdecimal()]
    except OSError:
        return []


def numbered(home: Path) -> list[Path]:
    """Return the runs of a task's folder, begun as they may be, the newest first."""
    return sorted(_numbered(home), key=_number, reverse=True)


def versions() -> dict[str, str]:
    """Return the versions of what every run is made with."""
    import numpy
    import torch

    return {
        "recurra": recurra.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
    }


def environment(device: torch.device, **more: Any) -> dict[str, Any]:
    """Return what the run ran on: the model of its processor, and of its GPU where it uses one."""
    import torch

    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return {
        **versions(),
        "format": FORMAT,
        "platform": system.described(),
        "processor": platform.machine(),
        "cpu": model(),
        **({"gpu": gpu} if gpu else {}),
        "threads": torch.get_num_threads(),
        "device": str(device),
        **more,
    }
