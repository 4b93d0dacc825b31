"""A run as pictures are made of it: what its folder tells, and the run itself where that opens.

What of it is damaged or not there leaves out the pictures that need it, and no others.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from recurra.data.splits import PARTS, SplitName
from recurra.errors import RecurraError
from recurra.runs import bounded, files, listing
from recurra.runs.folder import RunFolder

LARGEST = 1 << 24
"""Bytes of a task, and of samples that are read."""
TOLD = 8
"""Damaged lines whose numbers are told."""


class Left(Exception):
    """A picture that does not apply to a run, with the reason, a clause without a stop.

    Where something can be done, the `cure` says what.
    """

    def __init__(self, why: str, cure: str = "") -> None:
        super().__init__(why)
        self.why, self.cure = why, cure

    def __str__(self) -> str:
        return f"{self.why}; to mend it: {self.cure}" if self.cure else self.why

    @classmethod
    def by(cls, error: RecurraError, before: str = "") -> Left:
        """Return that an error is the reason, with what can be done; `before` it stands a text."""
        if not error.problems:
            return cls(f"{before}{error}".rstrip("."))
        first, *more = error.problems
        rest = f" (and {len(more):,} more)" if more else ""
        return cls(f"{before}{first.fact.rstrip('.')}{rest}", first.cure.rstrip("."))


class View:
    """What pictures are made of: the files of a run, and the opened run."""

    def __init__(
        self, folder: RunFolder, opening: Callable[[], Any], layer: int | None = None
    ) -> None:
        """Take the folder of a run, and what opens it as a `Run`.

        Pictures of layers show that one, counted from 1, if it is told.
        """
        self.folder, self.path, self.layer = folder, folder.path, layer
        self._opening = opening
        self._fault: Left | None = None
        self._lost: Left | None = None
        self._damage: dict[str, str] = {}

    @cached_property
    def row(self) -> dict[str, Any]:
        """What a list of runs tells of it, see `recurra.runs_in`."""
        return listing.described(self.path)

    @property
    def state(self) -> str:
        """How it stands: one of `recurra.runs.listing.STATES`."""
        return str(self.row["state"])

    @cached_property
    def task(self) -> dict[str, Any]:
        """The resolved task as tables; empty where it cannot be read."""
        try:
            return tomllib.loads(self.task_text)
        except (ValueError, RecursionError):
            return {}

    @cached_property
    def task_text(self) -> str:
        """The resolved task as it is written, empty where it cannot be read."""
        return self._text("task.toml").decode("utf-8", "replace")

    @cached_property
    def result(self) -> dict[str, Any]:
        """What result.json holds; empty of a run that is not finished."""
        return self.json("result.json")

    def json(self, name: str) -> dict[str, Any]:
        """Return what a file of the run holds, an object; empty where there is none.

        Of one that holds something else `damage` tells from then on.
        """
        try:
            content = bounded.whole(self.path / name)
            bounded.check_json(content)
            said = files.parsed(content)
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            why = getattr(error, "strerror", None) or "it is no JSON"
            self._damage[name] = f"{name} cannot be read: {why}."
            return {}
        if isinstance(said, dict):
            return said
        self._damage[name] = f"{name} cannot be read: it is no JSON object."
        return {}

    def records(self) -> Iterator[dict[str, Any]]:
        """Give the records of training, validation and evaluation, one after the other.

        Lines that are none are told by `damage` from then on. Raises `RunError` (RC052).
        """
        lost: list[int] = []
        count = 0
        for record in self.folder.each_record(lost):
            count += 1
            yield record
        if lost and lost[-1] == count + len(lost) and self.state == "being trained":
            # It is being written.
            lost.pop()
        if lost:
            self._damage["metrics.jsonl"] = _left_out(lost)

    @property
    def damage(self) -> list[str]:
        """What of the files that were read so far is damaged, a sentence each."""
        return [*self._damage.values()]

    @property
    def name(self) -> str:
        """The name of its task, else of its folder."""
        return str(self.task.get("name") or self.path.name)

    @property
    def held_out(self) -> str:
        """The split that the result was measured on; "train" where nothing was held out.

        Of a run without a result it is that of its last figures.
        """
        return str(self.result.get("split") or self.row["split"] or "train")

    @property
    def split(self) -> SplitName:
        """The same as the name of a split. Raises `Left` where it is none."""
        for name in PARTS:
            if name == self.held_out:
                return name
        raise Left("its figures name no split")

    @property
    def run(self) -> Any:
        """The run, opened with its best weights when it is first asked for.

        Raises `Left` where that cannot be: it failed before its first checkpoint, or a plugin of it
        is gone.
        """
        return self._run

    @cached_property
    def _run(self) -> Any:
        if self._fault is not None:
            raise self._fault
        try:
            return self._opening()
        except RecurraError as error:
            self._fault = Left.by(error, "the run cannot be opened: ")
            raise self._fault from error

    def data(self) -> Any:
        """Return the data that the run was made from. Raises `Left` where it is gone or changed."""
        return self._data

    @cached_property
    def _data(self) -> Any:
        if self._lost is not None:
            raise self._lost
        run = self.run
        try:
            return run.data(run.resolved)
        except RecurraError as error:
            # It may have taken long to find out.
            self._lost = Left.by(error, "the data of the run cannot be read: ")
            raise self._lost from error

    def samples(self, most: int = LARGEST) -> str:
        """Return the end of what was generated in training, in no more than so many bytes."""
        return self._text("samples.txt", most).decode("utf-8", "replace")

    def _text(self, name: str, most: int = LARGEST) -> bytes:
        try:
            with (self.path / name).open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(size - most, 0))
                return file.read(most)
        except OSError:
            return b""


def _left_out(lost: list[int]) -> str:
    """Return a sentence about lines that are no records."""
    shown = ", ".join(f"{line:,}" for line in lost[:TOLD])
    if len(lost) == 1:
        return f"Line {shown} of metrics.jsonl is damaged and left out."
    rest = f" and {len(lost) - TOLD:,} more" if len(lost) > TOLD else ""
    return f"{len(lost):,} lines of metrics.jsonl are damaged and left out: {shown}{rest}."


def view(path: str | Path, opening: Callable[[], Any]) -> View:
    """Return the view of a run's folder, or of the newest run of a task's.

    Raises `InputError` (RC051) for what is no run.
    """
    return View(RunFolder.open(path), opening)
