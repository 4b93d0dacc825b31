"""How many threads torch may use, for work that is not worth waiting for another thread."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def single(wanted: bool) -> Iterator[None]:
    """Let torch use one thread, if that is `wanted`, and put back what there was."""
    threads = torch.get_num_threads()
    if not wanted or threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
