"""Tells how well tasks/planted.toml finds what is planted, for some seeds, beside simple scores.

    python benchmarks/planted.py --seeds 5

Each score has its threshold from the validation part of the series, as `recurra predict --score`
takes it, and is measured on their last part, where there are labels. The simple scores:

    seasonal naive    |y - that of a day before|, over its mean in training
    moving window     |y - mean of the last 24 steps|, over their deviation
    hour of the day   |y - mean of that hour in training|, over the deviation from it there
    autoregression    |y - forecast of a least squares line through the last 48 steps|, one line for
                      all series, over the deviation of its errors in training
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any

import make_planted as planted
import numpy as np
from numpy.typing import NDArray

import recurra
from recurra.job.alarms import threshold
from recurra.job.detection import UNKNOWN, Detection

Floats = NDArray[np.float64]

TASK = Path(__file__).resolve().parents[1] / "tasks" / "planted.toml"
VALIDATION = 240
TRAINED = planted.STEPS - planted.TESTED - VALIDATION
BACK = 48
"""Steps that the autoregression reads."""
SHOWN = (
    "average_precision",
    "precision",
    "recall",
    "event_precision",
    "event_recall",
    "event_f1",
)


def simple(values: Floats) -> dict[str, Floats]:
    """Return the simple scores of series `[S, T]`, nan where there is none."""
    count, steps = values.shape
    season = planted.SEASON
    scores = {}
    apart = np.full(values.shape, np.nan)
    apart[:, season:] = np.abs(values[:, season:] - values[:, :-season])
    scores["seasonal naive"] = apart / np.nanmean(apart[:, :TRAINED], axis=1, keepdims=True)

    windows = np.lib.stride_tricks.sliding_window_view(values, season, axis=1)[:, :-1]
    moving = np.full(values.shape, np.nan)
    moving[:, season:] = np.abs(values[:, season:] - windows.mean(axis=-1)) / windows.std(axis=-1)
    scores["moving window"] = moving

    hours = np.arange(steps) % season
    means = np.stack([values[:, :TRAINED][:, hours[:TRAINED] == hour].mean(axis=1)
                      for hour in range(season)], axis=1)  # fmt: skip
    away = np.abs(values - means[:, hours])
    deviation = np.sqrt((away[:, :TRAINED] ** 2).mean(axis=1, keepdims=True))
    scores["hour of the day"] = away / deviation

    rows = np.lib.stride_tricks.sliding_window_view(values, BACK, axis=1)[:, :-1]
    rows = np.concatenate([rows, np.ones((count, steps - BACK, 1))], axis=2)
    known = TRAINED - BACK
    line, *_ = np.linalg.lstsq(
        rows[:, :known].reshape(-1, BACK + 1), values[:, BACK:TRAINED].reshape(-1), rcond=None
    )
    errors = np.full(values.shape, np.nan)
    errors[:, BACK:] = np.abs(values[:, BACK:] - rows @ line)
    deviation = np.sqrt(np.nanmean(errors[:, :TRAINED] ** 2, axis=1, keepdims=True))
    scores["autoregression"] = errors / deviation
    return scores


def measured(scores: Floats, limit: float | None, kinds: list[list[str]]) -> dict[str, Any]:
    """Return the figures of scores `[S, T]`, and which share of each kind is found as an event."""
    if limit is None:
        limit = threshold(np.sort(scores[:, TRAINED : TRAINED + VALIDATION].ravel()), 0.01)
    whole = Detection()
    found: dict[str, list[bool]] = {kind: [] for kind in planted.LENGTHS}
    for own, of_steps in zip(scores, kinds, strict=True):
        labels = np.array([int(bool(kind)) for kind in of_steps], np.int8)
        labels[: -planted.TESTED] = UNKNOWN
        whole.add(own - limit, labels)
        for kind, each in found.items():
            each.append(bool((own[np.array(of_steps) == kind] > limit).any()))
    shares = {kind: float(np.mean(each)) for kind, each in found.items()}
    return {**whole.figures(), **shares}


def told(name: str, figures: Iterable[dict[str, Any]]) -> None:
    """Print a line: the median of each figure."""
    listed = list(figures)
    names = (*SHOWN, *planted.LENGTHS)
    cells = [median(float(each[key] or 0) for each in listed) for key in names]
    spread = [float(each["average_precision"]) for each in listed]
    ends = f"  {min(spread):.3f} to {max(spread):.3f}" if len(listed) > 1 else ""
    print(f"{name:16}" + "".join(f"{cell:18.3f}" for cell in cells) + ends, flush=True)


def main() -> None:
    """Train, score and tell."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seeds", type=int, default=5)
    seeds = arguments.parse_args().seeds
    values = np.array([planted.values(series) for series in range(planted.SERIES)]).round(3)
    kinds = [planted.kinds(series) for series in range(planted.SERIES)]
    print(" " * 16 + "".join(f"{name:>18}" for name in (*SHOWN, *planted.LENGTHS)))
    for name, scores in simple(values).items():
        told(name, [measured(scores, None, kinds)])

    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            run = recurra.run(TASK, {"seed": seed}, runs=folder)
            scores = run.score(file=TASK.with_name("planted.csv.gz"))
            rows = np.array([np.nan if each is None else each for each in scores.frame["score"]])
            figures.append(measured(rows.reshape(values.shape), scores.threshold, kinds))
            told(f"recurra, seed {seed}", figures[-1:])
    if figures:
        told("recurra, median", figures)


if __name__ == "__main__":
    main()
