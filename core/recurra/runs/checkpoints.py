"""Checkpoints: written whole under a temporary name, then renamed; every file's hash is in the manifest.

checkpoints/step-120/    weights, optimizer, carried and random tensors as safetensors; state.json; manifest.json
checkpoints/index.json   which one is the last, which the best, and the hash of each manifest
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from recurra.errors import InputError, RunError
from recurra.runs import files

FORMAT = 1


@dataclass
class Checkpoint:
    """What a run needs to go on as if it had not stopped: groups of named tensors, and plain state."""

    step: int
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The folder of a run's checkpoints; keeps the last and the best."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> None:
        """Make the folder, with an index that names no checkpoint yet. Raises `RunError` (RC053)."""
        with files.guarded(self.path):
            self.path.mkdir()
        files.write_json(self.path / "index.json", {})

    def index(self) -> dict[str, int]:
        """Return the steps of the `last` and the `best` checkpoint; nothing before the first one.

        Raises `RunError` (RC052) if the index is damaged.
        """
        return {name: step for name, step in self._entries().items() if name != "sha256"}

    def _entries(self) -> dict[str, Any]:
        path = self.path / "index.json"
        if not path.exists() and not any(self.path.glob("step-*")):
            return {}
        try:
            entries = dict(files.read_json(path))
            if not entries:
                return {}
            hashes, steps = entries["sha256"], {step for name, step in entries.items() if name != "sha256"}
            if not {"last", "sha256"} <= set(entries) <= {"last", "best", "sha256"} or set(hashes) != _names(steps):
                raise ValueError("it does not hold what was written")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(path, error) from error
        return entries

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        """Write a checkpoint, point to it, and drop those that nothing points to. Raises `RunError` (RC053)."""
        target = self.path / f"step-{checkpoint.step}"
        index = self.index()
        held = index.get("last")
        kept = ""
        if held is not None:
            kept = f"the checkpoint at step {held} is whole; free some space and go on with `recurra resume`"
        if held == checkpoint.step and target.exists():
            if best:
                self._point({**index, "best": checkpoint.step}, kept)
            return
        for work in self.path.glob(".step-*.part"):  # of a run that was killed while it wrote
            shutil.rmtree(work, ignore_errors=True)
        work = self.path / f".step-{checkpoint.step}.part"
        try:
            with files.guarded(target, kept):
                self._write(work, checkpoint)
                shutil.rmtree(target, ignore_errors=True)
                work.rename(target)
                files.sync_folder(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        self._point({**index, "last": checkpoint.step, **({"best": checkpoint.step} if best else {})}, kept)

    def _point(self, steps: dict[str, int], kept: str) -> None:
        """Write which checkpoints are the last and the best, and drop all others."""
        names = _names(steps.values())
        hashes = {name: _hash(self.path / name / "manifest.json") for name in sorted(names)}
        files.write_json(self.path / "index.json", {**steps, "sha256": hashes}, kept)
        for old in self.path.glob("step-*"):
            if old.name not in names:
                shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for group, tensors in checkpoint.tensors.items():
            plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
            try:
                save_file(plain, folder / f"{group}.safetensors")
            except Exception as error:  # safetensors reports a full disk as an error of its own
                raise OSError(str(error)) from error
        (folder / "state.json").write_text(json.dumps(checkpoint.state))
        hashes = {path.name: _hash(path) for path in sorted(folder.iterdir())}
        manifest = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
        for path in folder.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())

    def load(self, which: str = "last") -> Checkpoint:
        """Read the `last` or the `best` checkpoint; without a best one, the last.

        Raises `InputError` (RC051) if there is none, `RunError` (RC052) if a file is missing or changed.
        """
        index = self.index()
        if "last" not in index:
            fact = f"{self.path.parent} has no whole checkpoint"
            raise InputError.of("RC051", fact, cure="the run stopped before its first one: run the task again")
        return self._read(self.path / f"step-{index.get(which, index['last'])}")

    def last_whole(self) -> Checkpoint:
        """Read the last checkpoint or, if it is damaged and the best one is not, that. Raises as `load` does."""
        try:
            return self.load("last")
        except RunError:
            if "best" not in self.index():
                raise
            return self.load("best")

    def _read(self, folder: Path) -> Checkpoint:
        try:
            if _hash(folder / "manifest.json") != self._entries()["sha256"][folder.name]:
                raise ValueError("manifest.json is not what was written")
            manifest = files.read_json(folder / "manifest.json")
            if manifest["format"] != FORMAT:
                raise ValueError(f"format {manifest['format']}, this recurra reads {FORMAT}")
            for name, digest in manifest["sha256"].items():
                if _hash(folder / name) != digest:
                    raise ValueError(f"{name} is not what was written")
            state = files.read_json(folder / "state.json")
            tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        except (OSError, ValueError, KeyError) as error:
            raise _damaged(folder, error) from error
        return Checkpoint(int(manifest["step"]), tensors, state)


def _names(steps: Iterable[Any]) -> set[str]:
    return {f"step-{step}" for step in steps}


def _damaged(path: Path, error: Exception) -> RunError:
    cure = "restore it from a copy, or run the task again"
    return RunError.of("RC052", f"the checkpoint {path} is damaged: {error}", cure=cure)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
