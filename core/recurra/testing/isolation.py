"""What keeps a check to itself: nothing that it does to the process outlives it."""

from __future__ import annotations

import contextlib
import io
import random
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from recurra.testing import world


@contextlib.contextmanager
def alone(seed: int) -> Iterator[None]:
    """Run one check: seeded, in one thread, silent; the process is given back as it was.

    What is put back: all that `world.ASPECTS` names, and both streams of output.
    """
    with contextlib.ExitStack() as stack:
        stack.callback(world.restore, world.read())
        stack.enter_context(torch.set_grad_enabled(True))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(contextlib.redirect_stdout(io.StringIO()))
        stack.enter_context(contextlib.redirect_stderr(io.StringIO()))
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would import torch's compiler
        np.random.seed(seed)
        random.seed(seed)
        yield


@contextlib.contextmanager
def empty_folder() -> Iterator[Path]:
    """Give a new folder, which is the current one meanwhile."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        yield Path(folder)
