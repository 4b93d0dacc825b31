"""One run's folder, `runs/<task>/<n>/`: what is in it, and how it is written and read."""

from __future__ import annotations

import json
import platform
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import recurra
from recurra.errors import InputError
from recurra.runs import files
from recurra.runs.checkpoints import Checkpoints

SAMPLE = re.compile(r"^--- step (?P<step>\d+)(?P<final>, final)?$", re.MULTILINE)
"""The line before each sample in samples.txt."""

try:
    import fcntl
except ImportError:  # a system without file locks
    fcntl = None  # type: ignore[assignment]


class RunFolder:
    """A run's folder.

    task.toml           the whole resolved task, read back equal
    plugins.json        qualified name, distribution and version of each component
    environment.json    versions, machine, device, threads, execution paths
    data.json           fingerprint and sizes of the data
    vocabulary.json     what the vocabulary learned
    metrics.jsonl       one line for each record of training, validation and the final evaluation
    samples.txt         what was generated at each validation and at the end
    checkpoints/        see `recurra.runs.checkpoints`
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")

    @classmethod
    def create(cls, root: Path, task: str) -> RunFolder:
        """Make the next numbered folder of a task. Raises `InputError` (RC050)."""
        home = root / task
        try:
            home.mkdir(parents=True, exist_ok=True)
            taken = [int(p.name) for p in home.iterdir() if p.name.isdecimal()]
            number = max(taken, default=0) + 1
            while True:
                try:
                    (home / str(number)).mkdir()
                    break
                except FileExistsError:
                    number += 1
        except OSError as error:
            fact = f"the folder for runs, {home}, cannot be written: {error.strerror or error}"
            raise InputError.of("RC050", fact, cure="name another one with --runs") from error
        folder = cls(home / str(number))
        folder.checkpoints.create()
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open a run's folder; a task's folder stands for its newest run. Raises `InputError` (RC051)."""
        path = Path(path)
        if path.is_dir() and not (path / "task.toml").exists():
            numbered = [p for p in path.iterdir() if p.name.isdecimal() and (p / "task.toml").exists()]
            if numbered:
                path = max(numbered, key=lambda p: int(p.name))
        if not (path / "task.toml").is_file():
            known = sorted(str(p.parent) for p in Path("runs").glob("*/*/task.toml"))
            cure = f"the runs here are {', '.join(known[-5:])}" if known else "`recurra run TASK.toml` makes one"
            fact = f"{path} is not a run" if path.exists() else f"there is no run at {path}"
            raise InputError.of("RC051", fact, cure=cure)
        return cls(path)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from training this run meanwhile. Raises `InputError` (RC055) if one does."""
        with (self.path / "task.toml").open("rb") as file:
            if fcntl is not None:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as error:
                    fact = f"{self.path} is being trained by another process"
                    raise InputError.of("RC055", fact, cure="wait for it to end, or stop it with Ctrl-C") from error
            yield

    def write(self, name: str, value: Any) -> None:
        """Write one of the JSON files."""
        files.write_json(self.path / name, value)

    def read(self, name: str) -> Any:
        """Read one of the JSON files. Raises `InputError` (RC051)."""
        try:
            return files.read_json(self.path / name)
        except (OSError, ValueError) as error:
            raise InputError.of("RC051", f"{self.path / name} cannot be read: {error}") from error

    def write_task(self, text: str) -> None:
        """Write the resolved task."""
        files.write_text(self.path / "task.toml", text)

    def record(self, **values: Any) -> None:
        """Append a line to metrics.jsonl; a figure that is not finite is written as text."""
        self._append("metrics.jsonl", json.dumps(files.finite(values), allow_nan=False) + "\n")

    def sample(self, step: int, text: str, final: bool = False) -> None:
        """Append what was generated at a step, or in the end, to samples.txt."""
        self._append("samples.txt", f"--- step {step}{', final' if final else ''}\n{text}\n")

    def _append(self, name: str, text: str) -> None:
        path = self.path / name
        saved = f"the checkpoints in {self.checkpoints.path} are whole"
        with files.guarded(path, saved), path.open("a", encoding="utf-8") as out:
            out.write(text)

    def metrics(self) -> list[dict[str, Any]]:
        """Return the lines of metrics.jsonl; a last line that was cut off is left out."""
        path = self.path / "metrics.jsonl"
        return list(_records(path)) if path.exists() else []

    def rewind(self, step: int) -> None:
        """Forget what was recorded after a step: a resumed run will record it again."""
        kept = [record for record in self.metrics() if record["step"] <= step and not record.get("final")]
        files.write_text(self.path / "metrics.jsonl", "".join(json.dumps(record) + "\n" for record in kept))
        path = self.path / "samples.txt"
        if path.exists():
            text = path.read_bytes().decode("utf-8", "replace")
            late = (m.start() for m in SAMPLE.finditer(text) if m["final"] or int(m["step"]) > step)
            files.write_text(path, text[: next(late, len(text))])


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except ValueError:
            return


def environment(**more: Any) -> dict[str, Any]:
    """Return what the run ran on."""
    import numpy
    import torch

    return {
        "recurra": recurra.__version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        **more,
    }
