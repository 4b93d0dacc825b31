"""What computes here, by which what was measured or compiled on another machine is told apart."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


def machine() -> str:
    """Return the model of the processor, and how many there are."""
    return f"{model()} x {os.cpu_count()}"


@cache
def model() -> str:
    """Return the model of the processor."""
    import platform

    model = platform.processor() or platform.machine()
    for line in described():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return model


def described() -> list[str]:
    """Return the lines by which the system describes its processors; none where it does not."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return []
