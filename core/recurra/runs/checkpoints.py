"""Checkpoints: each is written whole under a temporary name, then renamed.

checkpoints/step-120/    weights, optimizer, carried and random tensors as safetensors; state.json;
                         manifest.json, with the hash of each other file
checkpoints/index.json   which one is the last, which the best, which before the last are kept,
                         and the hash of each manifest
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from safetensors.torch import load_file, save_file
from torch import Tensor

from recurra import system
from recurra.errors import InputError, Problem, RunError, listing
from recurra.runs import files, headers
from recurra.runs.records import Count, Hash, Model, reading

FORMAT = 1
CURE = "restore it from a copy, or run the task again"


class Index(Model):
    """index.json: the steps of the checkpoints that there are, and the hash of each manifest.

    `before` are those before the last that are kept, the earliest first, and `aside` those that no
    rhythm asked for: a clock did, or whoever has ended the run.
    """

    model_config = ConfigDict(extra="forbid")

    last: Count
    best: Count | None = None
    before: list[Count] = []
    aside: list[Count] = []
    sha256: dict[str, Hash]

    def steps(self) -> dict[str, int]:
        """Return the steps of the `last` and the `best` checkpoint."""
        steps = {"last": self.last}
        if self.best is not None:
            steps["best"] = self.best
        return steps

    def every(self) -> list[int]:
        """Return the steps of all checkpoints, the latest first."""
        return sorted({*self.steps().values(), *self.before}, reverse=True)

    def followed(self, step: int, keep: int, rhythmic: bool, over: bool) -> tuple[list[int], ...]:
        """Return `before` and `aside` once the checkpoint of a step follows the last.

        So many that the rhythm has asked for are kept, the new one among them, and of those aside
        the one before it, until the run is over: what is left then depends on no clock.
        """
        earlier = [each for each in (*self.before, self.last) if each < step]
        in_rhythm = [each for each in earlier if each not in self.aside]
        before = set(in_rhythm[len(in_rhythm) - min(keep - 1, len(in_rhythm)) :])
        if keep > 1 and earlier and not over:
            before.add(earlier[-1])
        aside = [each for each in earlier if each in before and each in self.aside]
        return sorted(before), [*aside, *([] if rhythmic else [step])]


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
    """The folder of a run's checkpoints; keeps the last `keep` and the best."""

    def __init__(self, path: Path, keep: int = 1) -> None:
        self.path, self.keep = path, keep
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

        Raises `RunError` (RC052) if the index is damaged, and names the checkpoints that are whole.
        """
        index = self._index()
        return index.steps() if index else {}

    def steps(self) -> list[int]:
        """Return the steps of all checkpoints, the latest first. Raises as `index` does."""
        index = self._index()
        return index.every() if index else []

    def _index(self) -> Index | None:
        try:
            return self._recorded()
        except RunError as error:
            whole = sorted(self._found(), reverse=True)
            if not whole:
                raise
            fact = f"the checkpoint of step {whole[0]} is whole"
            if whole[1:]:
                fact += f", as are those of {', '.join(map(str, whole[1:]))}"
            problems = [self._cured(each, fact, whole[0]) for each in error.problems]
            raise RunError(problems) from error

    def _index_for(self, which: str | int) -> Index | None:
        """Return the index, or where it is damaged what is known of the checkpoint of a step."""
        try:
            return self._index()
        except RunError:
            found = self._found()
            if isinstance(which, str) or which not in found:
                raise
        hashes = {f"step-{step}": digest for step, (digest, _) in found.items()}
        watch = found[which][1]
        # The first that remembers the same best validation is that of it.
        like = [step for step, (_, other) in found.items() if step <= which and other == watch]
        best = min(like) if watch is not None else None
        before = sorted(step for step in found if step < which)
        return Index(last=which, best=best, before=before, sha256=hashes)

    def _found(self) -> dict[int, tuple[str, float | None]]:
        """Return the checkpoints that are whole by their own manifests, whatever the index says.

        Of each step it is the hash of the manifest, and the best validation until then.
        """
        found = {}
        for folder in self.path.glob("step-*"):
            # Whatever is wrong with one, it is not whole.
            with suppress(Exception):
                step = int(folder.name.removeprefix("step-"))
                digest = files.digest(folder / "manifest.json")
                _verify(folder, step, digest)
                watch = files.read_json(folder / "state.json")["watch"]
                found[step] = digest, watch and watch["best"]
        return found

    def _recorded(self) -> Index | None:
        path = self.path / "index.json"
        if not os.path.lexists(path) and not any(self.path.glob("step-*")):
            return None
        with reading(path, CURE):
            entries = files.read_json(path)
            if entries == {}:
                return None
            index = Index.model_validate(entries)
            names = _names(index.every())
            if index.sha256.keys() != names:
                raise ValueError("the hashes are not those of the checkpoints that it names")
        return index

    def save(
        self, checkpoint: Checkpoint, best: bool, rhythmic: bool = True, over: bool = False
    ) -> None:
        """Write a checkpoint, point to it, and drop those that nothing points to.

        It is `rhythmic` if neither a clock nor a request to end has asked for it, and the run is
        `over` with the last one. Raises `RunError` (RC053).
        """
        step = checkpoint.step
        target = self.path / f"step-{step}"
        before = self._index()
        # What a failed write is told to have left.
        whole = "" if before is None else self._left(before)

        # The same step again, as where a run is stopped right after it was saved.
        if before and before.last == step and step in self._whole and target.exists():
            if best or over:
                hashes = before.sha256
                self._point(self._following(before, step, best, rhythmic, over), hashes, whole)
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
        with files.guarded(target, whole):
            hashes = dict(before.sha256) if before else {}
            hashes[target.name] = files.digest(target / "manifest.json")
        index = self._following(before, step, best, rhythmic, over)
        self._point(index, hashes, whole)
        self._whole.add(step)

    def _following(
        self, before: Index | None, step: int, best: bool, rhythmic: bool, over: bool
    ) -> Index:
        """Return an index whose last checkpoint is that of a step, without hashes."""
        if before is None:
            aside = [] if rhythmic else [step]
            return Index(last=step, best=step if best else None, aside=aside, sha256={})
        # One that was the best later is made again.
        was_best = before.best if before.best is not None and before.best <= step else None
        earlier, aside = before.followed(step, self.keep, rhythmic, over)
        if step == before.last and step not in before.aside:
            aside = [each for each in aside if each != step]
        return Index(
            last=step, best=step if best else was_best, before=earlier, aside=aside, sha256={}
        )

    def go_back(self, step: int, asked: bool = False) -> int | None:
        """Make the checkpoint of a step the last, and drop those after it.

        A best that is damaged is dropped too if this step was `asked` for: its step is returned.
        Raises `RunError` (RC052, RC053).
        """
        index = self._index_for(step)
        if index is None:
            return None
        best = index.best if index.best is not None and index.best <= step else None
        lost = None
        if best is not None and best != step:
            try:
                self._check(index, best)
            except RunError as error:
                if not asked:
                    raise RunError(self._offering(index, best, error)) from error
                best, lost = None, best
        if lost is None and index.last == step and self._is_recorded(index):
            return None
        before = [each for each in index.before if each < step and each != lost]
        aside = [each for each in index.aside if each <= step]
        back = Index(last=step, best=best, before=before, aside=aside, sha256={})
        self._point(back, index.sha256, self._left(index, step))
        return lost

    def _is_recorded(self, index: Index) -> bool:
        try:
            return self._recorded() == index
        except RunError:
            return False

    def _left(self, index: Index, step: int | None = None) -> str:
        """Return in words which checkpoint is whole, and how to go on from it."""
        step = index.last if step is None else step
        return (
            f"the checkpoint at step {step} is whole: `recurra resume {self.path.parent}` goes on"
        )

    def _point(self, index: Index, hashes: dict[str, str], whole: str) -> None:
        """Write which checkpoints there are, and drop all others.

        The hash of an older one is the recorded one: it may have been damaged meanwhile, and stays
        so.
        """
        names = _names(index.every())
        entries = index.model_dump(mode="json", exclude_defaults=True)
        entries["sha256"] = {name: hashes[name] for name in sorted(names)}
        files.write_json(self.path / "index.json", entries, whole)
        for old in self.path.glob("step-*"):
            if old.name not in names:
                shutil.rmtree(old, ignore_errors=True)

    def _write(self, folder: Path, checkpoint: Checkpoint) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        # Of a run whose own folder is gone nothing is left to go on with.
        self.path.mkdir(exist_ok=True)
        folder.mkdir()
        for group, tensors in checkpoint.tensors.items():
            # safetensors refuses tensors that share memory.
            copies = {}
            for name, tensor in tensors.items():
                copies[name] = tensor.detach().cpu().contiguous().clone()
            try:
                save_file(copies, folder / f"{group}.safetensors")
            except Exception as error:
                raise _of_system(error) from error
        state = json.dumps(checkpoint.state)
        (folder / "state.json").write_text(state)

        hashes = {path.name: files.digest(path) for path in sorted(folder.iterdir())}
        manifest = {"format": FORMAT, "step": checkpoint.step, "sha256": hashes}
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2))
        for path in folder.iterdir():
            with path.open("r+b") as handle:
                system.sync(handle.fileno())
        system.sync_folder(folder)

    def load(self, which: str | int = "last") -> Checkpoint:
        """Read the `last` or the `best` checkpoint, or that of a step; without a best, the last.

        Raises `InputError` (RC051) if there is none, `RunError` (RC052) if a file is missing or
        changed.
        """
        while True:
            index = self._index_for(which)
            if index is None:
                fact = f"{self.path.parent} has no whole checkpoint"
                cure = "the run stopped before its first one: run the task again"
                raise InputError.of("RC051", fact, cure=cure)

            step = self._step(index, which)
            try:
                return self._read(index, step)
            except RunError as error:
                if self._index_for(which) != index:
                    # A training that goes on has put another in its place meanwhile.
                    continue
                raise RunError(self._offering(index, step, error)) from error

    def _step(self, index: Index, which: str | int) -> int:
        """Return the step of a checkpoint. Raises `InputError` (RC051) if there is none of it."""
        if isinstance(which, str):
            return index.steps().get(which, index.last)
        if which in index.every():
            return which
        fact = f"{self.path.parent} has no checkpoint of step {which}"
        allowed = f"step {listing(map(str, index.every()))}"
        raise InputError.of("RC051", fact, allowed=allowed)

    def _offering(self, index: Index, damaged: int, error: RunError) -> Sequence[Problem]:
        """Return the problems of a checkpoint; the cure names the latest other that is whole."""
        for step in index.every():
            with suppress(RunError):
                if step != damaged:
                    self._check(index, step)
                    fact = f"the checkpoint of step {step} is whole"
                    return [self._cured(problem, fact, step) for problem in error.problems]
        return error.problems

    def _cured(self, problem: Problem, fact: str, step: int) -> Problem:
        """Return a problem whose cure says what is whole, and how to take it."""
        run = self.path.parent
        go_on = f"`recurra resume {run} --checkpoint {step}` goes on from it"
        way = f'{go_on}, `recurra.load("{run}", {step})` opens it'
        return replace(problem, cure=f"{fact}: {way}; or {problem.cure}")

    def digest(self, step: int) -> str:
        """Return the recorded hash of the manifest of a checkpoint, which vouches for all of it."""
        index = self._index()
        return index.sha256[f"step-{step}"] if index else ""

    def _check(self, index: Index, step: int) -> Path:
        """Return the folder of a checkpoint, whose files are what was written.

        Raises `RunError` (RC052) if they are not.
        """
        folder = self.path / f"step-{step}"
        with reading(folder, CURE):
            # The index vouches for the manifest, and the manifest for all else.
            _verify(folder, step, index.sha256[folder.name])
        return folder

    def _read(self, index: Index, step: int) -> Checkpoint:
        """Read a checkpoint.

        Raises `RunError` (RC052) if anything of it is not what was written.
        """
        folder = self._check(index, step)
        with reading(folder, CURE):
            state = files.read_json(folder / "state.json")
            if not isinstance(state, dict):
                raise ValueError("state.json holds no state")
            # By the manifest: what goes away meanwhile is missed, where a folder would be short.
            manifest = Manifest.model_validate(files.read_json(folder / "manifest.json"))
            tensors = {}
            for path in sorted(folder / name for name in manifest.sha256):
                if path.suffix == ".safetensors":
                    headers.of_file(path)
                    tensors[path.stem] = load_file(path)
        self._whole.add(step)
        return Checkpoint(step, tensors, state)


def _of_system(error: Exception) -> OSError:
    """Return the error of the system that safetensors tells in words of its own."""
    told = re.search(r"\(os error (\d+)\)", str(error))
    if told is None:
        return OSError(str(error))
    number = int(told[1])
    return OSError(number, os.strerror(number))


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
