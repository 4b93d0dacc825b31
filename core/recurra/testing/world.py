"""What all components of a process share: read, compared, and put back as it was.

One that changes it when it is only used changes what every other component computes, and nobody
looks for it there.
"""

from __future__ import annotations

import builtins
import contextlib
import decimal
import gc
import locale
import logging
import math
import operator
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

try:
    import resource
except ImportError:  # a system that limits nothing
    resource = None  # type: ignore[assignment]

CPU = torch.device("cpu")
World = dict[str, Any]
"""What each aspect was, by its name."""


class Aspect(NamedTuple):
    """One thing that is shared: how it is read and restored, and when two readings differ."""

    read: Callable[[], Any]
    restore: Callable[[Any], object]
    differs: Callable[[Any, Any], bool] = operator.ne


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
    # Which makes Python forget what it decided by the other filters.
    warnings.simplefilter("ignore", append=True)
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
    names = [
        name
        for name in tables
        if name.startswith("_global_") and name.endswith(("hooks", "always_called"))
    ]
    return {name: tuple(tables[name].items()) for name in names}


def _set_hooks_of_all_modules(hooks: dict[str, tuple[Any, ...]]) -> None:
    for name, items in hooks.items():
        table = vars(torch.nn.modules.module)[name]
        table.clear()
        table.update(items)


def _umask() -> int:
    """Return the mask of new files, which can only be read by setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _torch_print() -> dict[str, Any]:
    return dict(vars(torch._tensor_str.PRINT_OPTS))


AUTOCAST = ("cpu", "cuda")
BACKENDS: dict[Any, tuple[str, ...]] = {
    torch.backends.mkldnn: ("enabled",),
    torch.backends.cudnn: ("enabled", "benchmark", "deterministic", "allow_tf32"),
}
"""What may be switched on and off of what torch computes with."""


def _backends() -> list[bool]:
    return [getattr(backend, name) for backend, names in BACKENDS.items() for name in names]


def _set_backends(values: list[bool]) -> None:
    """Set what differs; to set one that is the same may be refused where the backend is absent."""
    names = [(backend, name) for backend, names in BACKENDS.items() for name in names]
    for (backend, name), value in zip(names, values, strict=True):
        if getattr(backend, name) != value:
            setattr(backend, name, value)


def _autocast() -> list[Any]:
    return [
        (torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)) for device in AUTOCAST
    ]


def _set_autocast(states: list[Any]) -> None:
    for device, (enabled, dtype) in zip(AUTOCAST, states, strict=True):
        torch.set_autocast_enabled(device, enabled)
        torch.set_autocast_dtype(device, dtype)


TIMERS = ("ITIMER_REAL", "ITIMER_VIRTUAL", "ITIMER_PROF")


def _timers() -> dict[int, tuple[bool, float]]:
    """Return which timers run and how they repeat.

    The seconds that are left pass by themselves.
    """
    numbers = [getattr(signal, name) for name in TIMERS if hasattr(signal, name)]
    states = {number: signal.getitimer(number) for number in numbers}
    return {number: (left > 0, interval) for number, (left, interval) in states.items()}


def _set_timers(states: dict[int, tuple[bool, float]]) -> None:
    for number, (runs, _) in states.items():
        if not runs:
            signal.setitimer(number, 0)


def _limits() -> dict[int, tuple[int, int]]:
    names = [name for name in dir(resource) if name.startswith("RLIMIT_")]
    return {
        number: resource.getrlimit(number)
        for name in names
        if (number := getattr(resource, name)) >= 0
    }


def _set_limits(limits: dict[int, tuple[int, int]]) -> None:
    for number, pair in limits.items():
        if resource.getrlimit(number) != pair:
            with contextlib.suppress(OSError, ValueError):  # only root may raise one again
                resource.setrlimit(number, pair)


def _niceness() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


def _set_niceness(value: int) -> None:
    with contextlib.suppress(OSError):  # only root may be less nice again
        os.setpriority(os.PRIO_PROCESS, 0, value)


def _processors() -> set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()


DECIMAL = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp")


def _decimal() -> tuple[Any, ...]:
    """Return how decimal numbers are computed, without the flags, which any sum may raise."""
    context = decimal.getcontext()
    return (*(getattr(context, name) for name in DECIMAL), tuple(context.traps.items()))


def _set_decimal(state: tuple[Any, ...]) -> None:
    context, (*values, traps) = decimal.getcontext(), state
    for name, value in zip(DECIMAL, values, strict=True):
        setattr(context, name, value)
    context.traps.update(dict(traps))


def _watchers() -> tuple[Any, ...]:
    return sys.getprofile(), sys.gettrace()


def _set_watchers(functions: tuple[Any, ...]) -> None:
    profile, trace = functions
    sys.setprofile(profile)
    sys.settrace(trace)


def _others(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    """Tell whether one of these objects was replaced, whatever they think of being equal."""
    return len(one) != len(other) or any(a is not b for a, b in zip(one, other, strict=True))


def _streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr


def _set_streams(streams: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


def _said() -> tuple[Any, ...]:
    return warnings.showwarning, warnings.formatwarning


def _set_said(functions: tuple[Any, ...]) -> None:
    warnings.showwarning, warnings.formatwarning = functions


LOGGERS = ("recurra", "torch", "py.warnings")
"""Loggers that are asked for whether somebody made them or not."""


def _loggers() -> dict[str, tuple[Any, ...]]:
    """Return what each logger lets through, and where to."""
    for name in LOGGERS:
        logging.getLogger(name)
    found = {
        name: one
        for name, one in logging.root.manager.loggerDict.items()
        if isinstance(one, logging.Logger)
    }
    return {
        name: (one.level, one.disabled, one.propagate, *one.handlers) for name, one in found.items()
    }


def _set_loggers(states: dict[str, tuple[Any, ...]]) -> None:
    for name, (level, disabled, propagate, *handlers) in states.items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.disabled, logger.propagate = disabled, propagate
        logger.handlers[:] = handlers


def _lost(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tell whether something is gone; an import, which is nobody's fault, may add to it."""
    return any(after.get(name) != state for name, state in before.items())


SHARED = (torch, torch.Tensor, torch.nn.functional, torch.nn.Module, np, random, math, time)
"""What everybody computes with, and finds in the module or the class that it stands in."""


def _names() -> dict[str, Any]:
    return {name: value for name, value in vars(builtins).items() if name != "_"}


def _set_names(names: dict[str, Any]) -> None:
    for name in _names().keys() - names.keys():
        delattr(builtins, name)
    for name, value in names.items():
        setattr(builtins, name, value)


def _renamed(after: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    """Tell whether a name was added or taken away, or stands for another thing."""
    return after.keys() != before.keys() or any(
        after[name] is not value for name, value in before.items()
    )


def _functions() -> list[dict[str, Any]]:
    return [vars(place).copy() for place in SHARED]


def _set_functions(tables: list[dict[str, Any]]) -> None:
    for place, table in zip(SHARED, tables, strict=True):
        for name in _patched(vars(place), table):
            setattr(place, name, table[name])


def _patched(after: Mapping[str, Any], before: Mapping[str, Any]) -> list[str]:
    """Return the functions that were replaced; names may be added, as a module needs them."""
    return [
        name for name, value in before.items() if after.get(name) is not value and _function(value)
    ]


def _function(value: object) -> bool:
    # `torch.set_default_dtype` replaces a class.
    return callable(value) and not isinstance(value, type)


def _any_patched(after: list[dict[str, Any]], before: list[dict[str, Any]]) -> bool:
    return any(_patched(one, other) for one, other in zip(after, before, strict=True))


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
    "the precision of products": Aspect(
        torch.get_float32_matmul_precision, torch.set_float32_matmul_precision
    ),
    "the hooks of all modules": Aspect(_hooks_of_all_modules, _set_hooks_of_all_modules),
    "what numpy does about floating-point errors": Aspect(
        np.geterr, lambda modes: np.seterr(**modes)
    ),
    "the filters of warnings": Aspect(lambda: [*warnings.filters], _set_filters),
    "the environment": Aspect(lambda: dict(os.environ), _set_environment),
    "the current folder": Aspect(os.getcwd, os.chdir),
    "the folders of modules": Aspect(
        lambda: [*sys.path], lambda folders: sys.path.__setitem__(slice(None), folders)
    ),
    "the locale": Aspect(
        lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)
    ),
    "the handlers of signals": Aspect(_handlers, _set_handlers),
    "what is done about exceptions": Aspect(
        lambda: {name: getattr(sys, name) for name in ("excepthook", "unraisablehook")}, _set_hooks
    ),
    "logging": Aspect(_logging, _set_logging),
    "how deep calls may go": Aspect(sys.getrecursionlimit, sys.setrecursionlimit),
    "whether garbage is collected": Aspect(
        gc.isenabled, lambda on: gc.enable() if on else gc.disable()
    ),
    "when garbage is collected": Aspect(gc.get_threshold, lambda counts: gc.set_threshold(*counts)),
    "how often threads take turns": Aspect(sys.getswitchinterval, sys.setswitchinterval),
    "whether anomalies are looked for": Aspect(torch.is_anomaly_enabled, torch.set_anomaly_enabled),
    "what torch computes with": Aspect(_backends, _set_backends),
    "whether types are cast": Aspect(_autocast, _set_autocast),
    "how torch prints": Aspect(
        _torch_print, lambda options: vars(torch._tensor_str.PRINT_OPTS).update(options)
    ),
    "how numpy prints": Aspect(np.get_printoptions, lambda options: np.set_printoptions(**options)),
    "whom numpy calls about errors": Aspect(np.geterrcall, np.seterrcall),
    "how decimal numbers are computed": Aspect(_decimal, _set_decimal),
    "the mask of new files": Aspect(_umask, os.umask),
    "the folder of temporary files": Aspect(
        tempfile.gettempdir, lambda folder: setattr(tempfile, "tempdir", folder)
    ),
    "how long a socket waits": Aspect(socket.getdefaulttimeout, socket.setdefaulttimeout),
    "how nice the process is": Aspect(_niceness, _set_niceness),
    "the processors that it may use": Aspect(
        _processors, lambda numbers: os.sched_setaffinity(0, numbers)
    ),
    "timers": Aspect(_timers, _set_timers),
    "limits of the process": Aspect(_limits, _set_limits),
    "what watches each call": Aspect(_watchers, _set_watchers, _others),
    "standard input and output": Aspect(_streams, _set_streams, _others),
    "how warnings are shown": Aspect(_said, _set_said, _others),
    "loggers": Aspect(_loggers, _set_loggers, _lost),
    "the names that Python knows": Aspect(_names, _set_names, _renamed),
    "the functions of torch, numpy and Python": Aspect(_functions, _set_functions, _any_patched),
}
"""All that can be put back, by what a person calls it."""


def read() -> World:
    """Return all of it as it is now."""
    return {name: aspect.read() for name, aspect in ASPECTS.items()}


def changes(before: Mapping[str, Any]) -> list[str]:
    """Return the names of what is not as it was."""
    return [
        name
        for name, aspect in ASPECTS.items()
        if name in before and aspect.differs(aspect.read(), before[name])
    ]


def restore(before: Mapping[str, Any]) -> None:
    """Make all of it what it was; what is the same is not touched."""
    for name in changes(before):
        ASPECTS[name].restore(before[name])
