"""Measured times, in this process and on disk: what step 5 of paths.py looks up.

On disk each question has one small file, written whole or not at all, and doubted when it is read.
A measurement that others have disturbed is kept with a mark, and made again in a later process once
there is less of that, a few times at most.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recurra import system
from recurra.cache import cache_folder, touch, unkept
from recurra.engine.machine import machine
from recurra.engine.recurrence import Recurrence
from recurra.engine.window import Window

LOADED = 0.25
"""Cores in use by others from which a measurement is marked as disturbed."""
QUIETER = 0.5
"""Share of that use, or less of it, at which it is made again."""
TIMES = 4
"""How often a measurement is made at most in a day."""
DAY = 86_400
"""Seconds after which one that was always disturbed is made again as if it were the first."""
LOCK = ".lock"
"""The file by which processes that share a cache folder measure one after the other."""
PATIENCE = 60.0
"""Seconds after which another process that measures is waited for no longer."""
FORMAT = 6
"""Raised when timings that are kept mean nothing to this version any more."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]

Question: TypeAlias = dict[str, Any]
"""All that timings depend on, as plain data: what JSON can hold."""


class Timings(BaseModel):
    """The seconds of a step on each path, the cores that others used, and how often measured."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seconds: dict[str, Seconds]
    load: float = Field(0.0, ge=0, allow_inf_nan=False)
    times: int = Field(1, ge=1, le=TIMES)
    made: float = Field(0.0, allow_inf_nan=False)
    """When, in seconds since 1970, where it was disturbed."""

    @property
    def disturbed(self) -> bool:
        """Whether others have used so much of the machine that it counts."""
        return self.load >= LOADED


class Record(BaseModel):
    """What a file holds: the question, and the timings that answer it, under the key `figures`."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    question: Question
    figures: Timings


def question(cell: Recurrence, proved: list[str], window: Window) -> Question:
    """Return all that the timings of the `proved` paths of a cell depend on."""
    kind = type(cell)
    device = window.device
    device_name = device.type
    if device.type == "cuda":
        device_name = torch.cuda.get_device_name(device)

    # The keys and their spelling are kept on disk: a change of them needs another `FORMAT`.
    return {
        "format": FORMAT,
        "cell": f"{kind.__module__}:{kind.__qualname__}",
        "options": repr(getattr(cell, "options", None)),
        "input_size": getattr(cell, "input_size", 0),
        "paths": proved,
        "window": [window.batch, window.steps],
        "dtype": [str(window.dtype), str(window.autocast)],
        "grad": window.grad,
        "training": bool(getattr(cell, "training", False)),
        "reset": window.reset,
        "lengths": window.lengths,
        "device": device_name,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "torch": str(torch.__version__),
    }


class KnownTimings:
    """The timings that a process has read or measured, and keeps in the cache folder if it can."""

    def __init__(self) -> None:
        self._by_digest: dict[str, Timings] = {}

    def recall(
        self,
        question: Question,
        proved: list[str],
        measuring: Callable[[], Timings],
        load: Callable[[], float | None],
    ) -> Timings:
        """Return the timings that answer a question, else those that `measuring` finds, kept now.

        What cannot be read or does not fit is measured again, and so is what was disturbed, once
        the present `load` is far less. Where nothing can be written, that is said once, and each
        process measures for itself.
        """
        text = json.dumps(question, sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:32]
        if digest not in self._by_digest:
            self._by_digest[digest] = _on_disk(digest, question, proved, measuring, load)
        return self._by_digest[digest]


TIMINGS = KnownTimings()
"""What this process knows."""


def _on_disk(
    digest: str,
    question: Question,
    proved: list[str],
    measuring: Callable[[], Timings],
    load: Callable[[], float | None],
) -> Timings:
    """Return the timings of the file of a question, brought up to date."""
    try:
        file = cache_folder() / "paths" / f"{digest}.json"
    except RuntimeError as error:
        # The user has no home.
        unkept(OSError(errno.ENOENT, str(error)))
        return measuring()

    old = _read(file, question, proved)
    if old is not None and not _doubtful(old, load):
        touch(file)
        return old

    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        unkept(error)
        return measuring()
    # Two that measured at once would each be what disturbs the other.
    with system.awaited(file.parent / LOCK, "measuring paths", PATIENCE, in_turn=True):
        return _measured(file, question, proved, measuring, load)


def _doubtful(old: Timings, load: Callable[[], float | None]) -> bool:
    """Tell whether timings were disturbed, and now there is far less that would."""
    if not old.disturbed or (old.times >= TIMES and not _of_another_day(old)):
        return False
    present = load() or 0.0
    return present <= QUIETER * old.load


def _measured(
    file: Path,
    question: Question,
    proved: list[str],
    measuring: Callable[[], Timings],
    load: Callable[[], float | None],
) -> Timings:
    """Return the timings of a file, measured now unless another process has done so meanwhile."""
    old = _read(file, question, proved)
    if old is None:
        fresh = measuring()
        if not fresh.seconds:
            return fresh
        return _write(file, question, proved, fresh, old)
    if not _doubtful(old, load):
        return old

    # Of two measurements the one that was disturbed less is kept; both count.
    fresh = measuring()
    better = old
    if fresh.seconds and fresh.load < old.load:
        better = fresh
    # What no quiet time was found for today is not decided for good.
    times = old.times + 1 if old.times < TIMES else 1
    better = better.model_copy(update={"times": times, "made": _now(better)})
    return _write(file, question, proved, better, old)


def _now(measured: Timings) -> float:
    """Return when timings were made that are to be made again; those of a quiet time are kept."""
    return time.time() if measured.disturbed else 0.0


def _of_another_day(old: Timings) -> bool:
    """Tell whether timings were made a day ago, or in a future that a clock once spoke of."""
    return abs(time.time() - old.made) > DAY


def _read(file: Path, question: Question, proved: list[str]) -> Timings | None:
    """Return the timings of a file, if it is whole, answers this question, and times such paths."""
    try:
        record = Record.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None

    timings = record.figures
    answers = record.question == question
    fits = timings.seconds.keys() <= set(proved)
    if not answers or not fits or not timings.seconds:
        return None
    return timings


def _write(
    file: Path,
    question: Question,
    proved: list[str],
    new: Timings,
    old: Timings | None,
) -> Timings:
    """Write timings in place of `old` ones; return them, or what another process has written."""
    record = Record(question=question, figures=new)
    work = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, work = tempfile.mkstemp(prefix="part-", dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(record.model_dump_json(indent=1))

        # Processes that measured at once agree on the first that was written.
        theirs = _read(file, question, proved)
        if theirs is not None and theirs != old:
            return theirs

        os.replace(work, file)
        work = None
    except OSError as error:
        unkept(error)
    finally:
        if work is not None:
            Path(work).unlink(missing_ok=True)
    return new
