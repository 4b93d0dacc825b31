"""How many threads torch may use for a while, as for work that is not worth waiting for another
thread.
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


def single(wanted: bool) -> AbstractContextManager[None]:
    """Let torch use one thread, if that is `wanted`."""
    return using(1) if wanted else nullcontext()
