"""What keeps a check to itself: nothing that it does to the process outlives it."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
from collections.abc import Iterator

import numpy as np
import torch

from recurra.randomness import global_state, set_global_state

CPU = torch.device("cpu")


@contextlib.contextmanager
def alone(seed: int) -> Iterator[None]:
    """Run one check: seeded, in one thread, silent; the process is given back as it was.

    What is kept: the global generators of torch, numpy and Python, threads, default type and device, whether gradients
    and deterministic algorithms are wanted, filters of warnings, and both streams of output.
    """
    with contextlib.ExitStack() as kept:
        kept.callback(set_global_state, global_state(CPU), CPU)
        kept.callback(np.random.set_state, np.random.get_state())
        kept.callback(random.setstate, random.getstate())
        kept.callback(torch.set_num_threads, torch.get_num_threads())
        kept.callback(torch.set_default_dtype, torch.get_default_dtype())
        kept.callback(_take_device, torch.get_default_device())
        kept.callback(_take_determinism, torch.get_deterministic_debug_mode())
        kept.enter_context(torch.set_grad_enabled(True))
        kept.enter_context(warnings.catch_warnings())
        kept.enter_context(contextlib.redirect_stdout(io.StringIO()))
        kept.enter_context(contextlib.redirect_stderr(io.StringIO()))
        warnings.simplefilter("ignore")
        torch.set_num_threads(1)
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would import torch's compiler
        np.random.seed(seed)
        random.seed(seed)
        yield


def _take_device(device: torch.device) -> None:
    """Make a device the default again; one that is set, even the CPU, slows every call of torch."""
    if torch.get_default_device() != device:
        torch.set_default_device(None if device == CPU else device)


def _take_determinism(mode: int) -> None:
    """Ask for deterministic algorithms as before; asking at all makes torch import its compiler."""
    if torch.get_deterministic_debug_mode() != mode:
        torch.set_deterministic_debug_mode(mode)
