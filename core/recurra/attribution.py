"""Whose fault it is: what goes wrong in a run names memory, the disk or a plugin."""

from __future__ import annotations

import errno
import inspect
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from recurra.errors import PluginError, RecurraError, RunError
from recurra.resolved import Resolved

NO_MEMORY = ("allocate memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What torch says where there is no memory, of the machine, of a device, or for cuBLAS or cuDNN."""


@contextmanager
def blaming(resolved: Resolved) -> Iterator[None]:
    """Turn what goes wrong inside into an error that names who is at fault."""
    try:
        yield
    except (RecurraError, KeyboardInterrupt):
        raise
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise _no_memory(error) from error
    except Exception as error:
        # torch raises a plain RuntimeError for some of these.
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY):
            raise _no_memory(error) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            fact = f"the disk is full: {error.filename or ''}"
            raise RunError.of("RC053", fact, cure="free some space") from error

        culprit = _culprit(resolved, error)
        if culprit is None:
            raise
        fact = f"{culprit} failed: {type(error).__name__}: {error}"
        raise PluginError.of("RC071", fact) from error


def _no_memory(error: BaseException) -> RunError:
    """Return the error of a run that needs more memory than there is."""
    # torch goes on about other processes and fragmentation after "... is free.".
    first_line = str(error).partition("\n")[0]
    before, end, _ = first_line.partition(" is free.")
    reason = before + end
    fact = f"there is not enough memory: {reason or 'out of memory'}"
    cure = (
        "smaller training.batch_size (with accumulate to make up for it), sequence.length or"
        " cell.hidden_size"
    )
    return RunError.of("RC061", fact, cure=cure)


def _culprit(resolved: Resolved, error: BaseException) -> str | None:
    """Return the component in whose code an error arose, if it did in one."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error.__cause__, StopIteration):
        # A generator turns it into a RuntimeError, whose traceback lacks where it arose.
        frames += traceback.extract_tb(error.__cause__.__traceback__)

    found: list[tuple[int, str]] = []
    for part in resolved.used:
        entry = part.entry
        module = getattr(entry.target, "__module__", "")
        file = getattr(sys.modules.get(module), "__file__", None)
        own = [(place, frame) for place, frame in enumerate(frames) if frame.filename == file]
        if not own:
            continue
        # Of several components of a file it is the one whose class was in it last.
        lines = _lines(entry.target)
        inside = [place for place, frame in own if frame.lineno in lines]
        owner = f"{entry.plugin.distribution} {entry.plugin.version}"
        what = f"{entry.component.kind} {entry.qualified}"
        said = f"{what} ({owner}, {file}:{own[-1][1].lineno})"
        found.append((max(inside, default=-1), said))
    return max(found, key=lambda each: each[0])[1] if found else None


def _lines(target: object) -> range:
    """Return the lines of a class in its file, as far as they are known."""
    with suppress(OSError, TypeError):
        text, first = inspect.getsourcelines(target)  # type: ignore[arg-type]
        return range(first, first + len(text))
    return range(0)
