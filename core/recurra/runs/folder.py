"""One run's folder, `runs/<task>/<n>/`: what is in it, and how it is written and read."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recurra
from recurra import system
from recurra.errors import InputError, RecurraError
from recurra.runs import files
from recurra.runs.checkpoints import Checkpoints
from recurra.runs.records import FORMAT, Records, reading

SAMPLE = re.compile(rb"^--- step (?P<step>\d{1,18})(?P<final>, final)?$", re.MULTILINE)
"""The line before each sample in samples.txt."""


LEFT = ("checkpoints", "environment.json", "plugins.json", "data.json")
"""What tells a run, damaged as it may be, from a folder in which somebody keeps a task."""


class RunFolder:
    """A run's folder.

    task.toml           the whole resolved task, read back equal
    plugins.json        qualified name, distribution and version of each component
    environment.json    versions, machine, device, threads, execution paths,
                        the scheme of random numbers
    data.json           fingerprint and sizes of the data
    vocabulary.json     what the vocabulary learned
    calibration.json    the scores of a calibration, if any, made by the run calibration/1
    hashes.json         a hash of each of the files above, see `recurra.runs.records`
    metrics.jsonl       one line for each record of training, validation and the final evaluation
    samples.txt         what was generated at each validation and at the end
    checkpoints/        see `recurra.runs.checkpoints`
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        self.records = Records(path)

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
        runs = sorted(str(file.parent) for file in Path("runs").glob("*/*/task.toml"))
        cure = "`recurra run TASK.toml` makes one"
        if runs:
            cure = f"the runs here are {', '.join(runs[-5:])}"
        raise InputError.of("RC051", fact, cure=cure)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from training this run meanwhile.

        Raises `InputError` (RC055) if one does.
        """
        try:
            with system.locked(self.path / "task.toml"):
                yield
        except system.Held as error:
            fact = f"{self.path} is being trained by another process"
            cure = "wait for it to end, or stop it with Ctrl-C"
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

    def sample(self, step: int, text: str, final: bool = False) -> None:
        """Append what was generated at a step, or in the end, to samples.txt."""
        heading = f"--- step {step}{', final' if final else ''}"
        files.append(self.path / "samples.txt", f"{heading}\n{text}\n", self._saved())

    def sampled(self) -> int:
        """Return the bytes of samples.txt, from which a checkpoint knows where to go on in it."""
        return files.size(self.path / "samples.txt")

    def _saved(self) -> str:
        """Return what is whole where a write has failed."""
        step = self._step()
        whole = f"the checkpoints in {self.checkpoints.path} are whole"
        if step is None:
            return whole
        return f"{whole}, the last of step {step}: `recurra resume {self.path}` goes on"

    def _step(self) -> int | None:
        """Return the step of the last checkpoint, if there is one."""
        try:
            return self.checkpoints.index().get("last")
        except RecurraError:
            return None

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records of metrics.jsonl.

        A line that is none, such as one that was cut off, is left out. Raises `RunError` (RC052) if
        the file cannot be read at all.
        """
        path = self.path / "metrics.jsonl"
        if not os.path.lexists(path):
            return []
        with reading(path):
            lines = path.read_bytes().split(b"\n")
        return list(_records(lines))

    def rewind(self, step: int, sampled: int | None = None) -> None:
        """Forget what was recorded after a step: a resumed run will record it again.

        `sampled` is how long samples.txt then was. A checkpoint from before that was noted leaves
        the headings to tell it, which a sample may hold as well.
        """
        lines = ""
        for record in self.metrics():
            if record["step"] <= step and not record.get("final"):
                lines += json.dumps(record) + "\n"
        files.write_text(self.path / "metrics.jsonl", lines, self._saved())

        path = self.path / "samples.txt"
        if not os.path.lexists(path):
            return
        with reading(path):
            content = path.read_bytes()
        # A file that was edited meanwhile is cut where its headings say.
        if sampled is not None and _begins_sample(content, sampled):
            end = sampled
        else:
            end = _late(content, step)
        files.write_bytes(path, content[:end], self._saved())


def next_folder(home: Path, what: str, option: str) -> Path:
    """Make the next numbered folder in one for runs, or what else is told by an option.

    Raises `InputError` (RC050).
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        return _new_run(home)
    except OSError as error:
        fact = f"the folder for {what}, {home}, cannot be written: {error.strerror or error}"
        raise InputError.of("RC050", fact, cure=f"name another one with {option}") from error


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


def _late(content: bytes, step: int) -> int:
    """Return where the first sample after a step begins, going by the headings."""
    for heading in SAMPLE.finditer(content):
        if heading["final"] or int(heading["step"]) > step:
            return heading.start()
    return len(content)


def _records(lines: list[bytes]) -> Iterator[dict[str, Any]]:
    """Give the lines that are records; one that was cut off is none."""
    for line in lines:
        try:
            record = files.parsed(line)
        except ValueError:
            continue
        if not isinstance(record, dict):
            continue
        has_step = type(record.get("step")) is int
        if has_step and isinstance(record.get("split"), str):
            yield record


def _holds_task(path: Path) -> bool:
    """Tell whether a folder is a run's, damaged as it may be."""
    try:
        if not (path / "task.toml").is_file():
            return False
        return any(os.path.lexists(path / name) for name in LEFT)
    except OSError:
        # A folder that may not be looked into, or a name that is too long.
        return False


def _runs_in(path: Path) -> list[Path]:
    """Return the runs in a task's folder."""
    try:
        return [inner for inner in path.iterdir() if inner.name.isdecimal() and _holds_task(inner)]
    except OSError:
        return []


def environment(**more: Any) -> dict[str, Any]:
    """Return what the run ran on."""
    import numpy
    import torch

    return {
        "recurra": recurra.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "format": FORMAT,
        "platform": system.described(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        **more,
    }
