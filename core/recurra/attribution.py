"""Whose fault it is: what goes wrong in a run names memory, the disk or a plugin."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

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
        if isinstance(error, RuntimeError) and any(sign in str(error) for sign in NO_MEMORY):
            raise _no_memory(error) from error
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise RunError.of(
                "RC053", f"the disk is full: {error.filename or ''}", cure="free some space"
            ) from error
        culprit = _culprit(resolved, error)
        if culprit is None:
            raise
        raise PluginError.of(
            "RC071", f"{culprit} failed: {type(error).__name__}: {error}"
        ) from error


def _no_memory(error: BaseException) -> RunError:
    cure = (
        "smaller training.batch_size (with accumulate to make up for it), sequence.length or"
        " cell.hidden_size"
    )
    # After which torch tells of much else.
    said, free, _ = str(error).partition("\n")[0].partition(" is free.")
    return RunError.of(
        "RC061", f"there is not enough memory: {said + free or 'out of memory'}", cure=cure
    )


def _culprit(resolved: Resolved, error: BaseException) -> str | None:
    """Return the component in whose code an error arose, if it did in one."""
    frames = traceback.extract_tb(error.__traceback__)
    if isinstance(error.__cause__, StopIteration):
        # Of which a generator makes another error, without its places.
        frames += traceback.extract_tb(error.__cause__.__traceback__)
    for part in resolved.used:
        plugin = part.entry.plugin
        module = getattr(part.entry.target, "__module__", "")
        file = getattr(sys.modules.get(module), "__file__", None)
        lines = [frame.lineno for frame in frames if frame.filename == file]
        if lines:
            where = f"{plugin.distribution} {plugin.version}, {file}:{lines[-1]}"
            return f"{part.entry.component.kind} {part.entry.qualified} ({where})"
    return None
