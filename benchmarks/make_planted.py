"""Makes tasks/planted.csv.gz: seasonal series in which anomalies of five kinds are planted.

Each of 8 series has a daily season of its own, a level that drifts, and noise of which a half goes
on to the next step; it is nine times as large at six in the morning as at six in the evening. In
its last 480 steps one anomaly of each kind is planted, none of them near another: a spike of one
step, a level that is shifted for 12 steps, 12 steps that stand still, 16 of noise thrice as large,
and a season that comes 6 steps late for 24. `label` is 1 there, else 0, and nothing before.
"""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from random import Random

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "planted.csv.gz"

SERIES, STEPS, TESTED, SEASON = 8, 1440, 480, 24
NOISE, SWING, DRIFT, KEPT = 0.25, 0.8, 0.05, 0.5
LENGTHS = {"spike": 1, "shift": 12, "flat": 12, "noise": 16, "season": 24}
"""Of how many steps an anomaly of each kind is."""
START = datetime(2024, 1, 1)


def kinds(seed: int) -> list[str]:
    """Return what is planted at each step of a series; nothing is an empty text."""
    random, planted = Random(f"{seed} steps"), [""] * STEPS
    order = [*LENGTHS]
    random.shuffle(order)
    room = TESTED // len(order)
    for index, kind in enumerate(order):
        first = STEPS - TESTED + index * room + random.randint(8, room - LENGTHS[kind] - 8)
        planted[first : first + LENGTHS[kind]] = [kind] * LENGTHS[kind]
    return planted


def values(seed: int) -> list[float]:
    """Return the numbers of a series."""
    random = Random(f"{seed} numbers")
    level, height = random.uniform(-1, 1), random.uniform(0.8, 1.2)
    second, shift, begin = (random.uniform(*ends) for ends in ((0.2, 0.6), (0, 24), (0, 12)))

    def season(at: float) -> float:
        turn = 2 * math.pi * (at - shift) / SEASON
        return height * (math.sin(turn) + second * math.sin(2 * turn + begin))

    found: list[float] = []
    noise, before, sign = 0.0, "", 1.0
    for at, kind in enumerate(kinds(seed)):
        level += random.gauss(0, DRIFT)
        wide = 3.0 if kind == "noise" else 1.0
        hour = 1 + SWING * math.sin(2 * math.pi * at / SEASON)
        noise = KEPT * noise + random.gauss(0, NOISE * wide * hour)
        if kind != before:
            sign = random.choice((-1.0, 1.0))
        value = level + season(at - 6 if kind == "season" else at) + noise
        if kind == "spike":
            value += sign * random.uniform(5, 8) * NOISE
        if kind == "shift":
            value += sign * 4 * NOISE
        if kind == "flat":
            value = found[-1]
        found.append(value)
        before = kind
    return found


def rows() -> Iterator[str]:
    """Give a row for each step of each series."""
    for series in range(SERIES):
        for at, (value, kind) in enumerate(zip(values(series), kinds(series), strict=True)):
            label = "" if at < STEPS - TESTED else f"{int(bool(kind))}"
            stamp = (START + timedelta(hours=at)).isoformat(" ", "minutes")
            yield f"s{series + 1},{stamp},{value:.3f},{label}\n"


def main() -> None:
    """Write the series in the long format, one after the other."""
    lines = ["unique_id,ds,y,label\n", *rows()]
    TARGET.write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    print(f"{TARGET}: {len(lines) - 1} values, {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
