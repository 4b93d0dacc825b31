"""What all components of a process share: read, compared, and put back as it was.

One that changes it when it is only used changes what every other component computes, and nobody
looks for it there.
"""

from __future__ import annotations

import gc
import locale
import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

CPU = torch.device("cpu")
World = dict[str, Any]
"""What each aspect was, by its name."""


class Aspect(NamedTuple):
    """One thing that is shared: how it is read, and how it is made what it was."""

    read: Callable[[], Any]
    restore: Callable[[Any], object]


def _torch_numbers() -> bytes:
    return torch.get_rng_state().numpy().tobytes()


def _set_torch_numbers(state: bytes) -> None:
    torch.set_rng_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))


def _numpy_numbers() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state()
    return (name, np.asarray(keys).tobytes(), *rest)


def _set_numpy_numbers(state: tuple[Any, ...]) -> None:
    name, keys, *rest = state
    np.random.set_state((name, np.frombuffer(keys, np.uint32), *rest))


def _set_device(device: torch.device) -> None:
    """Make a device the default again; one that is set, even the CPU, slows every call of torch."""
    torch.set_default_device(None if device == CPU else device)


def _set_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


def _set_filters(filters: list[Any]) -> None:
    warnings.filters[:] = filters  # type: ignore[index]
    warnings.simplefilter("ignore", append=True)  # which makes Python forget what it decided by the other filters
    warnings.filters.pop()  # type: ignore[attr-defined]


def _handlers() -> dict[int, Any]:
    return {number: signal.getsignal(number) for number in sorted(signal.valid_signals())}


def _set_handlers(handlers: dict[int, Any]) -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # only the main thread may
    for number, handler in handlers.items():
        if signal.getsignal(number) != handler and handler is not None:
            signal.signal(number, handler)


def _set_hooks(hooks: dict[str, Any]) -> None:
    sys.excepthook, sys.unraisablehook = hooks["excepthook"], hooks["unraisablehook"]


def _logging() -> tuple[Any, ...]:
    return logging.root.level, logging.root.manager.disable, tuple(logging.root.handlers)


def _set_logging(state: tuple[Any, ...]) -> None:
    level, disable, handlers = state
    logging.root.setLevel(level)
    logging.disable(disable)
    logging.root.handlers[:] = handlers


def _hooks_of_all_modules() -> dict[str, tuple[Any, ...]]:
    """Return the hooks that torch calls for every module of the process."""
    tables = vars(torch.nn.modules.module)
    names = [name for name in tables if name.startswith("_global_") and name.endswith(("hooks", "always_called"))]
    return {name: tuple(tables[name].items()) for name in names}


def _set_hooks_of_all_modules(hooks: dict[str, tuple[Any, ...]]) -> None:
    for name, items in hooks.items():
        table = vars(torch.nn.modules.module)[name]
        table.clear()
        table.update(items)


ASPECTS: dict[str, Aspect] = {
    "torch's random numbers": Aspect(_torch_numbers, _set_torch_numbers),
    "numpy's random numbers": Aspect(_numpy_numbers, _set_numpy_numbers),
    "Python's random numbers": Aspect(random.getstate, random.setstate),
    "torch's default type": Aspect(torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": Aspect(torch.get_default_device, _set_device),
    "the number of threads": Aspect(torch.get_num_threads, torch.set_num_threads),
    "whether gradients are wanted": Aspect(torch.is_grad_enabled, torch._C._set_grad_enabled),
    "whether algorithms are deterministic": Aspect(
        torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode
    ),
    "the precision of products": Aspect(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "the hooks of all modules": Aspect(_hooks_of_all_modules, _set_hooks_of_all_modules),
    "what numpy does about floating-point errors": Aspect(np.geterr, lambda modes: np.seterr(**modes)),
    "the filters of warnings": Aspect(lambda: [*warnings.filters], _set_filters),
    "the environment": Aspect(lambda: dict(os.environ), _set_environment),
    "the current folder": Aspect(os.getcwd, os.chdir),
    "the folders of modules": Aspect(lambda: [*sys.path], lambda folders: sys.path.__setitem__(slice(None), folders)),
    "the locale": Aspect(lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    "the handlers of signals": Aspect(_handlers, _set_handlers),
    "what is done about exceptions": Aspect(
        lambda: {name: getattr(sys, name) for name in ("excepthook", "unraisablehook")}, _set_hooks
    ),
    "logging": Aspect(_logging, _set_logging),
    "how deep calls may go": Aspect(sys.getrecursionlimit, sys.setrecursionlimit),
    "whether garbage is collected": Aspect(gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
}
"""All that can be put back, by what a person calls it."""


def read() -> World:
    """Return all of it as it is now."""
    return {name: aspect.read() for name, aspect in ASPECTS.items()}


def changes(before: Mapping[str, Any]) -> list[str]:
    """Return the names of what is not as it was."""
    return [name for name, aspect in ASPECTS.items() if name in before and aspect.read() != before[name]]


def restore(before: Mapping[str, Any]) -> None:
    """Make all of it what it was; what is the same is not touched."""
    for name in changes(before):
        ASPECTS[name].restore(before[name])


def threads() -> set[threading.Thread]:
    """Return the threads of Python's that are alive."""
    return {*threading.enumerate()}


def open_files() -> set[str]:
    """Return the files that the process holds open, where the system tells."""
    folder = Path("/proc/self/fd")
    return {path for entry in folder.iterdir() if (path := _target(entry))} if folder.is_dir() else set()


def _target(entry: Path) -> str:
    """Return the path of an open file; "" for a pipe, a device, and the folder that is just being read."""
    try:
        path = os.readlink(entry)
    except OSError:
        return ""
    return path if path.startswith("/") and not path.startswith(("/dev/", "/proc/")) else ""
