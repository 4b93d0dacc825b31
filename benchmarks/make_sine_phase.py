"""Makes tasks/sine_phase.jsonl.gz: noisy sines, each with the phase that it begins at.

A phase is a point on a circle, so that two numbers tell it: its cosine and its sine.
"""

from __future__ import annotations

import gzip
import json
import math
import random
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "sine_phase.jsonl.gz"

COUNT = 1200
"""Sines."""
STEPS = (16, 48)
"""The fewest and the most steps of one."""
PERIOD = (8.0, 24.0)
AMPLITUDE = (0.5, 2.0)
NOISE = 0.3
"""The deviation of what is added to each step."""


def lines() -> list[str]:
    """Return one line a sine: its steps, and cosine and sine of its phase as a text."""
    draw = random.Random(0)
    made = []
    for _ in range(COUNT):
        steps, period = draw.randint(*STEPS), draw.uniform(*PERIOD)
        phase, amplitude = draw.uniform(0, 2 * math.pi), draw.uniform(*AMPLITUDE)
        waves = [math.sin(2 * math.pi * t / period + phase) for t in range(steps)]
        values = [round(amplitude * wave + draw.gauss(0, NOISE), 2) for wave in waves]
        answer = f"{math.cos(phase):.4f} {math.sin(phase):.4f}"
        made.append(json.dumps({"x": values, "phase": answer}, separators=(",", ":")) + "\n")
    return made


if __name__ == "__main__":
    TARGET.write_bytes(gzip.compress("".join(lines()).encode(), mtime=0))
    print(f"{TARGET}: {COUNT} sines, {TARGET.stat().st_size:,} bytes")
