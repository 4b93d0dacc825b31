"""What computes here, by which what was measured or compiled on another machine is told apart."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path


@cache
def machine() -> str:
    """Return the model of the processor, and how many there are."""
    import platform

    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        lines = []

    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(models, model)} x {os.cpu_count()}"
