"""The device and the arithmetic of a task: set while it runs, and put back after."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from recurra.engine.native import exact
from recurra.engine.threads import using
from recurra.errors import InputError, OtherVersion
from recurra.spec.tables import Device

DTYPES = {"float32": torch.float32, "bfloat16": torch.float32, "float64": torch.float64}
"""The type of weights and states under each precision."""

SMALL = 8_000_000
"""Multiply-adds of a forward pass, half a millisecond of them, that are not worth a second thread.

What it would save is lost again when it wakes up, many times over where another process has taken
its core.
"""


def available() -> list[str]:
    """Return the devices of this machine."""
    found = ["cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))]
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def choose(device: Device) -> torch.device:
    """Return the device of a task. Raises `InputError` (RC031) if this machine lacks it."""
    here = available()
    kind = device.kind
    if kind == "auto":
        kind = (
            "cuda:0"
            if "cuda:0" in here
            else "mps"
            if "mps" in here and device.precision != "float64"
            else "cpu"
        )
    if kind == "cuda":
        kind = "cuda:0"
    if kind not in here:
        raise InputError.of(
            "RC031",
            f"this machine has no {device.kind}",
            key="device.kind",
            allowed=", ".join(here),
        )
    if kind == "mps" and device.precision == "float64":
        raise InputError.of(
            "RC031", "mps has no float64", key="device.precision", cure='set device.kind = "cpu"'
        )
    return torch.device(kind)


def of_here(device: Device) -> Device:
    """Return the device of a run, or "auto" where this machine lacks it. Warns (`OtherVersion`)
    then.
    """
    try:
        choose(device)
    except InputError:
        found = device.model_copy(update={"kind": "auto"})
        fact = f"the run asks for {device.kind}, and this machine has {', '.join(available())}"
        warnings.warn(f"{fact}: {choose(found)} is used", OtherVersion, stacklevel=4)
        return found
    return device


@contextmanager
def arithmetic(device: Device) -> Iterator[None]:
    """Set threads, precision and determinism as a task says, and put back what was there."""
    threads, mode = torch.get_num_threads(), torch.get_deterministic_debug_mode()
    settings: Any = torch.utils.deterministic
    filled = settings.fill_uninitialized_memory
    if device.threads:
        torch.set_num_threads(device.threads)
    if device.determinism == "strict":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        settings.fill_uninitialized_memory = False  # would write every new tensor twice
        # As use_deterministic_algorithms, without its imports.
        torch.set_deterministic_debug_mode("error")
    try:
        with exact():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = filled


def sized(device: Device, work: int) -> AbstractContextManager[None]:
    """Use one thread where a window is small, and put back what was there; `device.threads` has the
    last word.

    `work` is the multiply-adds of a window. The sizes alone decide, never how busy the machine is:
    bits depend on it.
    """
    small = not device.threads and work < SMALL and device.kind in ("auto", "cpu")
    return using(1 if small else torch.get_num_threads())
