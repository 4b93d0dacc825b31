"""How many threads torch may use for a while.

Some work is not worth waiting for another thread.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch


@contextmanager
def using(count: int) -> Iterator[None]:
    """Let torch use so many threads, and put back what there was."""
    before = torch.get_num_threads()
    if count != before:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        if torch.get_num_threads() != before:
            torch.set_num_threads(before)


def single(light: bool) -> AbstractContextManager[None]:
    """Let torch use one thread, if the work is `light`."""
    return using(1) if light else nullcontext()
