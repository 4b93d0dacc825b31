"""The device and the arithmetic of a task: set while it runs, and put back after."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from recurra.engine.native import exact
from recurra.engine.threads import using
from recurra.errors import InputError, OtherVersion, warn
from recurra.spec.tables import Device
from recurra.world import world

DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""The type of weights and states under each precision."""

SMALL = 8_000_000
"""Multiply-adds of a forward pass, half a millisecond of them, that are not worth a second thread.

What it would save is lost again when it wakes up, many times over where another process has taken
its core.
"""


def available() -> list[str]:
    """Return the devices of this machine."""
    devices = ["cpu"]
    for index in range(torch.cuda.device_count()):
        devices.append(f"cuda:{index}")
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def choose(device: Device) -> torch.device:
    """Return the device of a task, of several processes on a machine a GPU for each.

    Raises `InputError` (RC031) if this machine lacks it.
    """
    here = available()
    kind: str = device.kind
    if kind == "auto":
        kind = _best(here, device)
    elif kind == "cuda":
        kind = "cuda:0"
    if kind.startswith("cuda") and world().neighbours > 1:
        kind = _own_gpu(here, device)

    if kind not in here:
        fact = f"this machine has no {device.kind}"
        raise InputError.of("RC031", fact, key="device.kind", allowed=", ".join(here))
    if kind == "mps" and device.precision == "float64":
        cure = 'set device.kind = "cpu"'
        raise InputError.of("RC031", "mps has no float64", key="device.precision", cure=cure)
    return torch.device(kind)


def _own_gpu(here: list[str], device: Device) -> str:
    """Return the GPU of this process. Raises `InputError` (RC031) where there is none for each."""
    count, gpus = world().neighbours, sum(name.startswith("cuda") for name in here)
    if device.kind not in ("auto", "cuda"):
        fact = f"{count} processes on this machine need a GPU each, and {device.kind} is one"
        cure = 'device.kind = "cuda", or choose GPUs with CUDA_VISIBLE_DEVICES'
        raise InputError.of("RC031", fact, key="device.kind", cure=cure)
    if gpus < count:
        fact = f"{count} processes on this machine need a GPU each, and it has {gpus}"
        cure = f'start {gpus} here (--nproc-per-node {gpus}), or device.kind = "cpu"'
        raise InputError.of("RC031", fact, key="device.kind", cure=cure)
    return f"cuda:{world().place}"


def _best(here: list[str], device: Device) -> str:
    """Return the fastest device of this machine that has the precision of a task."""
    if "cuda:0" in here:
        return "cuda:0"
    if "mps" in here and device.precision != "float64":
        return "mps"
    return "cpu"


def of_here(device: Device) -> Device:
    """Return the device of a run, or "auto" where this machine lacks it.

    Warns (`OtherVersion`) then.
    """
    try:
        choose(device)
    except InputError:
        automatic = device.model_copy(update={"kind": "auto"})
        here = ", ".join(available())
        fact = f"the run asks for {device.kind}, and this machine has {here}"
        warn(f"{fact}: {choose(automatic)} is used", OtherVersion)
        return automatic
    return device


_TURN = threading.RLock()
"""Held by the thread of a program whose task is computed.

torch's settings and its global generators are the process's: under two tasks at a time each would
draw the other's numbers.
"""


@contextmanager
def arithmetic(device: Device) -> Iterator[None]:
    """Set threads, precision and determinism as a task says, and put back what was there.

    One thread of a program is inside at a time, and others wait.
    """
    with _TURN, _arithmetic(device):
        yield


@contextmanager
def _arithmetic(device: Device) -> Iterator[None]:
    """Set what `arithmetic` does."""
    threads = torch.get_num_threads()
    mode = torch.get_deterministic_debug_mode()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory

    if device.threads:
        torch.set_num_threads(device.threads)
    elif world().neighbours > 1:
        # torchrun has set one each, which it cannot know to be right.
        torch.set_num_threads(max(1, cores() // world().neighbours))
    if device.determinism == "strict":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        # It would write every new tensor twice.
        settings.fill_uninitialized_memory = False
        # As use_deterministic_algorithms, without its imports.
        torch.set_deterministic_debug_mode("error")

    try:
        with exact():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = filled


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def sized(device: Device, work: int) -> AbstractContextManager[None]:
    """Use one thread where a window is small, and put back what was there.

    `work` is the multiply-adds of a window; `device.threads` has the last word. The sizes alone
    decide, never how busy the machine is: bits depend on it.
    """
    on_cpu = device.kind in ("auto", "cpu")
    small = not device.threads and work < SMALL and on_cpu
    return using(1 if small else torch.get_num_threads())
