"""Measured times, kept on disk: one small file a question, written whole or not at all, and doubted when it is read.

A measurement that others have disturbed is kept with a mark, and made again in a later process once there is less of
that, a few times at most.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from recurra.cache import cache_folder, unkept

LOADED = 0.25
"""Cores in use by others from which a measurement is marked as disturbed."""
QUIETER = 0.5
"""Share of that use, or less of it, at which it is made again."""
TIMES = 4
"""How often a measurement is made at most."""

Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Figures(BaseModel):
    """The seconds of each path for a step, the cores that others used meanwhile, and how often that was measured."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    seconds: dict[str, Seconds]
    load: float = Field(0.0, ge=0, allow_inf_nan=False)
    times: int = Field(1, ge=1, le=TIMES)

    @property
    def disturbed(self) -> bool:
        """Whether others have used so much of the machine that it counts."""
        return self.load >= LOADED


class Answer(BaseModel):
    """What a file holds: figures, and the question that they answer."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    question: dict[str, Any]
    figures: Figures


_known: dict[str, Figures] = {}  # what this process has read or measured, by digest


def recalled(
    question: dict[str, Any], names: list[str], measure: Callable[[], Figures], load: Callable[[], float | None]
) -> Figures:
    """Return the figures kept under `question`, else those that `measure` finds, kept now.

    What cannot be read or does not fit is measured again, and so is what was disturbed, once the present `load` is far
    less. Where nothing can be written, that is said once, and each process measures for itself.
    """
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
    if digest not in _known:
        _known[digest] = _recalled(digest, question, names, measure, load)
    return _known[digest]


def _recalled(
    digest: str,
    question: dict[str, Any],
    names: list[str],
    measure: Callable[[], Figures],
    load: Callable[[], float | None],
) -> Figures:
    try:
        file = cache_folder() / "paths" / f"{digest}.json"
    except RuntimeError as error:  # a user without a home
        unkept(OSError(errno.ENOENT, str(error)))
        return measure()

    known = _read(file, question, names)
    if known is None:
        fresh = measure()
        return _kept(file, question, names, fresh, known) if fresh.seconds else fresh

    if known.disturbed and known.times < TIMES and (load() or 0.0) <= QUIETER * known.load:
        fresh = measure()
        better = fresh if fresh.seconds and fresh.load < known.load else known
        better = better.model_copy(update={"times": known.times + 1})
        return _kept(file, question, names, better, known)
    return known


def _read(file: Path, question: dict[str, Any], names: list[str]) -> Figures | None:
    """Return the figures of a file, if it is whole, answers this question, and holds times of these paths alone."""
    try:
        answer = Answer.model_validate_json(file.read_bytes())
    except (OSError, ValidationError):
        return None
    seconds = answer.figures.seconds
    if answer.question != question or not seconds or not seconds.keys() <= set(names):
        return None
    return answer.figures


def _kept(file: Path, question: dict[str, Any], names: list[str], new: Figures, old: Figures | None) -> Figures:
    """Write figures in place of `old` ones, and return them, or those that another process has written meanwhile."""
    work = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, work = tempfile.mkstemp(prefix="part-", dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(Answer(question=question, figures=new).model_dump_json(indent=1))
        theirs = _read(file, question, names)
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


@cache
def machine() -> str:
    """Return what computes here: the model of the processor, and how many there are."""
    import platform

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    return f"{model} x {os.cpu_count()}"
