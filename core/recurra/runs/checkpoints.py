"""Checkpoints: each is written whole under a temporary name, then renamed.

checkpoints/step-120/    weights, optimizer, carried and random tensors as safetensors; state.json;
                         manifest.json, with the hash of each other file
checkpoints/index.json   which one is the last, which the best, and the hash of each manifest
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor

from recurra import system
from recurra.errors import InputError, Problem, RunError
from recurra.runs import files
from recurra.runs.records import Count, Hash, Model, reading

FORMAT = 1
CURE = "restore it from a copy, or run the task again"


class Index(Model):
    """index.json: the steps of the last and the best checkpoint, and the hash of each manifest."""

    model_config = ConfigDict(extra="forbid")

    last: Count
    best: Count | None = None
    sha256: dict[str, Hash]

    def steps(self) -> dict[str, int]:
        """Return the step of each checkpoint by what it is."""
        steps = {"last": self.last}
        if self.best is not None:
            steps["best"] = self.best
        return steps


class Manifest(Model):
    """manifest.json: the hash of each other file of a checkpoint."""

    format: int
    step: Count
    sha256: dict[str, Hash]


@dataclass
class Checkpoint:
    """What a run needs to go on as if it had not stopped.

    It is groups of named tensors, and plain state.
    """

    step: int
    tensors: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    state: dict[str, Any] = field(default_factory=dict)


class Checkpoints:
    """The folder of a run's checkpoints; keeps the last and the best."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Steps of the checkpoints that were written or read here.
        self._whole: set[int] = set()

    def create(self) -> None:
        """Make the folder, with an index that names no checkpoint yet.

        Raises `RunError` (RC053).
        """
        with files.guarded(self.path):
            self.path.mkdir()
        files.write_json(self.path / "index.json", {})

    def index(self) -> dict[str, int]:
        """Return the steps of the `last` and the `best` checkpoint; nothing before the first one.

        Raises `RunError` (RC052) if the index is damaged.
        """
        index = self._index()
        return index.steps() if index else {}

    def _index(self) -> Index | None:
        path = self.path / "index.json"
        if not os.path.lexists(path) and not any(self.path.glob("step-*")):
            return None
        with reading(path, CURE):
            entries = files.read_json(path)
            if entries == {}:
                return None
            index = Index.model_validate(entries)
            names = _names(index.steps().values())
            if index.sha256.keys() != names:
                raise ValueError("the hashes are not those of the checkpoints that it names")
        return index

    def save(self, checkpoint: Checkpoint, best: bool) -> None:
        """Write a checkpoint, point to it, and drop those that nothing points to.

        Raises `RunError` (RC053).
        """
        step = checkpoint.step
        target = self.path / f"step-{step}"
        index = self._index()
        steps = index.steps() if index else {}
        hashes = dict(index.sha256) if index else {}
        last = steps.get("last")
        # What a failed write is told to have left.
        whole = ""
        if last is not None:
            whole = f"the checkpoint at step {last} is whole: `recurra resume` goes on"

        # The same step again, as where a run is stopped right after it was saved.
        if last == step and last in self._whole and target.exists():
            if best:
                steps["best"] = step
                self._point(steps, hashes, whole)
            return

        with files.guarded(target, whole):
            # What a run that was killed while it wrote has left.
            for part in self.path.glob(".step-*.part"):
                shutil.rmtree(part, ignore_errors=True)
        work = self.path / f".step-{step}.part"
        try:
            with files.guarded(target, whole):
                self._write(work, checkpoint)
                system.replace(work, target)
                system.sync_folder(self.path)
        finally:
            shutil.rmtree(work, ignore_errors=True)

        # Only now that it is whole does the index name it.
        steps["last"] = step
        if best:
            steps["best"] = step
        with files.guarded(target, whole):
            hashes[target.name] = files.digest(target / "manifest.json")
        self._point(steps, hashes, whole)
        self._whole.add(step)

    def _point(self, steps: dict[str, int], hashes: dict[str, str], whole: str) -> None:
        """Write which checkpoints are the last and the best, and drop all others.

        The hash of an older one is the recorded one: it may have been damaged meanwhile, and stays
        so.
        """
        names = _names(steps.values())
        sha256 = {name: hashes[name] for name in sorted(names)}
        files.write_json(self.path / "index.json", {**steps, "sha256": sha256}, whole)
        for old in self.path.glob("step-*"):
            if old.name not in names:
                shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for group, tensors in checkpoint.tensors.items():
            # safetensors refuses tensors that share memory.
            copies = {}
            for name, tensor in tensors.items():
                copies[name] = tensor.detach().cpu().contiguous().clone()
            try:
                save_file(copies, folder / f"{group}.safetensors")
            except Exception as error:
                # safetensors reports a full disk as an error of its own.
                raise OSError(str(error)) from error
        state = json.dumps(checkpoint.state)
        (folder / "state.json").write_text(state)

        hashes = {path.name: files.digest(path) for path in sorted(folder.iterdir())}
        manifest = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
        for path in folder.iterdir():
            with path.open("r+b") as handle:
                system.sync(handle.fileno())

    def load(self, which: str = "last") -> Checkpoint:
        """Read the `last` or the `best` checkpoint; without a best one, the last.

        Raises `InputError` (RC051) if there is none, `RunError` (RC052) if a file is missing or
        changed.
        """
        index = self._index()
        if index is None:
            fact = f"{self.path.parent} has no whole checkpoint"
            cure = "the run stopped before its first one: run the task again"
            raise InputError.of("RC051", fact, cure=cure)

        steps = index.steps()
        step = steps.get(which, index.last)
        try:
            return self._read(index, step)
        except RunError as error:
            others = {other: name for name, other in steps.items() if other != step}
            problems = [self._offering(index, others, problem) for problem in error.problems]
            raise RunError(problems) from error

    def _offering(self, index: Index, others: dict[int, str], problem: Problem) -> Problem:
        """Return a problem whose cure names the other checkpoint, if that is whole."""
        for step, name in others.items():
            try:
                self._read(index, step)
            except RunError:
                continue
            way = f'`recurra.load("{self.path.parent}", "{name}")` opens it'
            cure = f"the checkpoint of step {step} is whole: {way}; or {problem.cure}"
            return replace(problem, cure=cure)
        return problem

    def digest(self, step: int) -> str:
        """Return the recorded hash of the manifest of a checkpoint, which vouches for all of it."""
        index = self._index()
        return index.sha256[f"step-{step}"] if index else ""

    def last_whole(self) -> Checkpoint:
        """Read the last checkpoint or, if it is damaged and the best one is not, that.

        Raises as `load` does.
        """
        try:
            return self.load("last")
        except RunError as error:
            try:
                return self.load("best")
            except RunError:
                raise error from None

    def _read(self, index: Index, step: int) -> Checkpoint:
        """Read a checkpoint.

        Raises `RunError` (RC052) if anything of it is not what was written.
        """
        folder = self.path / f"step-{step}"
        with reading(folder, CURE):
            # The index vouches for the manifest, and the manifest for all else.
            _verify(folder, step, index.sha256[folder.name])
            state = files.read_json(folder / "state.json")
            if not isinstance(state, dict):
                raise ValueError("state.json holds no state")
            tensors = {path.stem: load_file(path) for path in sorted(folder.glob("*.safetensors"))}
        self._whole.add(step)
        return Checkpoint(step, tensors, state)


def _verify(folder: Path, step: int, digest: str) -> None:
    """Raise `ValueError` if the files of a checkpoint are not those that were written.

    `digest` is the recorded one of its manifest.
    """
    path = folder / "manifest.json"
    if files.digest(path) != digest:
        raise ValueError("manifest.json is not what was written")
    manifest = Manifest.model_validate(files.read_json(path))
    if manifest.format != FORMAT:
        raise ValueError(f"format {manifest.format}, this recurra reads {FORMAT}")
    if manifest.step != step:
        raise ValueError(f"it is of step {manifest.step}")

    names = {file.name for file in folder.iterdir()} - {path.name}
    odd = sorted(names ^ manifest.sha256.keys())
    if odd and odd[0] in names:
        raise ValueError(f"{odd[0]} is not of it")
    if odd:
        raise ValueError(f"{odd[0]} is missing")
    for name, recorded in manifest.sha256.items():
        if files.digest(folder / name) != recorded:
            raise ValueError(f"{name} is not what was written")


def _names(steps: Iterable[Any]) -> set[str]:
    return {f"step-{step}" for step in steps}
