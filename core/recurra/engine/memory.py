"""Memory that is kept from one update to the next, instead of asking for it each time.

Training keeps it, and the measurement of the paths does, which stands for training.

What an update frees the next one needs again. The C library hands large pieces of it back to the
system, which clears each page before it gives it once more: a tenth of an update, and up to half of
one in a virtual machine whose host takes back what is freed.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from torch import Tensor

from recurra.engine.blocks import BLOCKS

TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
"""The numbers of three of glibc's parameters, of malloc.h."""
LARGE = 32 * 2**20
"""Bytes from which a block is a mapping of its own, which goes back when it is freed.

It is the most that glibc takes, and what it comes to by itself once such a block was freed.
"""
WIDE = 8 * 2**20
"""Bytes of a weight above which nothing is kept.

Memory is what is scarce there: two layers of 1,024 took 0.6 times more of it, and 50,000 words two
thirds, for gaps between blocks; and products take so long that clearing pages is little beside.
"""
MAPPINGS = 65_536
"""How many such blocks there may be, by glibc's default."""
NEVER = -1


@contextmanager
def kept(weights: Iterable[Tensor]) -> Iterator[None]:
    """Keep the memory that is freed meanwhile, and give it back at the end.

    Of several at a time, begun and ended in any order, the last gives it back. glibc is left alone
    away from a CPU, where the environment says how the allocator works (`MALLOC_TRIM_THRESHOLD_`
    and its like, or `GLIBC_TUNABLES`), and where a weight is `WIDE`.
    """
    small = all(each.device.type == "cpu" and each.nbytes <= WIDE for each in weights)
    library = _library() if small and not _said() else None
    if library is not None:
        _KEEPERS.enter(library)
    try:
        yield
    finally:
        BLOCKS.clear()
        if library is not None:
            _KEEPERS.leave(library)


class _Keepers:
    """How many of this process keep memory: what they ask for holds for all of it."""

    def __init__(self) -> None:
        self.count = 0
        # One thread may hold it twice: a collection may close a training that nobody goes on with.
        self.alone = threading.RLock()

    def enter(self, library: Any) -> None:
        """Let the first of them ask that memory is kept."""
        with self.alone:
            self.count += 1
            if self.count == 1:
                library.mallopt(MMAP_MAX, 0)
                library.mallopt(TRIM_THRESHOLD, NEVER)

    def leave(self, library: Any) -> None:
        """Let the last of them give it back, and ask for what glibc comes to by itself."""
        with self.alone:
            self.count -= 1
            if self.count == 0:
                library.mallopt(MMAP_MAX, MAPPINGS)
                library.mallopt(MMAP_THRESHOLD, LARGE)
                library.mallopt(TRIM_THRESHOLD, 2 * LARGE)
                library.malloc_trim(0)


_KEEPERS = _Keepers()


@cache
def _library() -> Any:
    """Return the C library of this process, where it is glibc."""
    try:
        if not os.confstr("CS_GNU_LIBC_VERSION"):
            return None
        library = ctypes.CDLL(None)
        library.malloc_trim.argtypes = [ctypes.c_size_t]
        library.mallopt.argtypes = [ctypes.c_int, ctypes.c_int]
    except (OSError, ValueError, AttributeError, TypeError):  # each system lacks it in its own way
        return None
    return library


def _said() -> bool:
    """Tell whether the environment says how the allocator works."""
    tuned = "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", "")
    return tuned or any(name.startswith("MALLOC_") for name in os.environ)
