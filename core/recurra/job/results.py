"""The figures of a run with the baselines beside them, a plain verdict, and the bands of `[expect]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from recurra.data.segments import CONTEXT, OPENING, SEGMENT, forgets
from recurra.data.splits import SCORED, Split, SplitName
from recurra.errors import InputError, Problem
from recurra.job.data import TAIL, Data
from recurra.job.forecasts import Figures, by_column, forecast
from recurra.model.network import Network
from recurra.resolve import Resolved
from recurra.spec.tables import Expect, Task
from recurra.train.baselines import series_baselines, symbol_baselines
from recurra.train.evaluate import cold_and_warm, evaluate
from recurra.train.metrics import Distance, Metrics

FAR_NATS = 0.15
"""Nats a step by which a cold beginning may be dearer than a warm one before the verdict speaks of it;"""
FAR_TIMES = 1.5
"""for numbers, whose loss has no unit, how many times as dear."""


def figures(task: Task, data: Data, network: Network, name: SplitName) -> Figures:
    """Return metrics, baselines and verdict of one split; for numbers a free-running forecast as well.

    With carry, the metrics say too what the first steps cost from a fresh state, `cold`, and in the midst, `warm`.
    """
    found = _compared_with_baselines(task, data, network, name)
    if not task.sequence.carry:
        return found

    beginnings, places = cold_and_warm(network, data.reader, data.splits[name], data.vocabulary)
    if not places:
        return found
    found["metrics"] |= beginnings
    found["beginnings"] = {"places": places, "steps": OPENING, "before": CONTEXT}
    found["verdict"] += _cold(beginnings, data.vocabulary.yields, task.sequence.restart)
    return found


def _compared_with_baselines(task: Task, data: Data, network: Network, name: SplitName) -> Figures:
    """Return the figures of a split streamed from its start, beside those of the baselines."""
    split, vocabulary = data.splits[name], data.vocabulary
    tally = evaluate(network, data.reader, split, vocabulary, data.scale)
    found: Figures = {"split": name, "predictions": split.scored().steps, "metrics": tally.values()}
    found["notes"] = notes = _bounds(data, split)
    if vocabulary.yields == "symbols":
        found["baselines"] = symbol_baselines(data.store, data.splits["train"], split, vocabulary.size)
        verdict = _verdict(found["metrics"], found["baselines"], "nats", name)
        train = data.splits["train"]
        if train.steps > SCORED:
            verdict["verdict"] += f"; the n-grams learned from the first {SCORED:,} of {train.elements:,} symbols alone"
        return found | verdict
    season = task.sequence.season
    rules = series_baselines(data.store, data.splits["train"], split, season, data.scale)
    found["baselines"] = {rule: errors.metrics() for rule, errors in rules.items()}
    if columns := by_column(data, tally.columns(), rules):
        found["columns"] = columns
    notes += _series_notes(data, split, season, found["baselines"])
    if task.generation.prompt is None and data.opening_position():
        notes.append(f"what is generated goes on from the last {TAIL:,} steps of the last series")
    ahead = forecast(data, network, name, task.generation.length, season) if name != "train" else None
    if ahead is None:
        return found | _verdict(found["metrics"], found["baselines"], _judged(found), name)
    found["forecast"] = ahead
    return found | _verdict(ahead["metrics"], ahead["baselines"], _judged(ahead), name)


def _judged(found: Figures) -> str:
    """Return the figure of numbers that the verdict speaks of: errors of several columns in units of their own add up
    only once they are scaled.
    """
    scaled = "columns" in found and all("mase" in row for row in (found["metrics"], *found["baselines"].values()))
    return "mase" if scaled else "mae"


def _bounds(data: Data, split: Split) -> list[str]:
    """Return a sentence for each bound that the figures of a split are made under."""
    said = []
    if split.steps > SCORED:
        said.append(f"figures are of the first {SCORED:,} of {split.steps:,} predictions")
    if forgets(split.scored()):
        said.append(
            f"each {SEGMENT:,} predictions are made after the {CONTEXT:,} steps before them, not after the whole past"
        )
    return said


def _series_notes(data: Data, split: Split, season: int, baselines: dict[str, Metrics]) -> list[str]:
    """Return what is to be said of the baselines one step ahead: bounds, and why one is missing."""
    said, train = [], data.splits["train"]
    if train.steps > SCORED:
        few = f"the first {SCORED:,} of {train.steps:,} steps of training alone"
        said.append(f"drift, and the scale of mase, learned from {few}")
    if season and "seasonal naive" not in baselines:
        scored = split.scored()
        known = (scored.first_targets - scored.begin)[scored.high > scored.first_targets]
        short = int((known < season).sum())
        said.append(
            f"no seasonal naive one step ahead: it needs {season} steps before each prediction, "
            f"and {short:,} of {len(known):,} series begin with fewer (the shortest with {int(known.min())})"
        )
    return said


def _verdict(metrics: Metrics, baselines: dict[str, Metrics], key: str, name: SplitName) -> Figures:
    """Say in a sentence how the model stands against the best baseline."""
    if not baselines or key not in metrics:
        return {"verdict": "there is nothing to compare with", "beats_baselines": False}
    best = min(baselines, key=lambda rule: baselines[rule][key])
    ours, theirs = metrics[key], baselines[best][key]
    shown = {"nats": "nats", "mae": "mean absolute error", "mase": "mean absolute scaled error"}[key]
    beats = ours < theirs
    told = f"{ours:z.4g} {shown}, {_compared(ours, theirs)} {best} ({theirs:z.4g})"
    text = f"{'beats' if beats else 'does not beat'} the best baseline: {told}"
    if name == "train":
        text += "; on the training split itself"
    return {"verdict": text, "best_baseline": best, "beats_baselines": beats}


def _cold(beginnings: Metrics, yields: str, restart: float) -> str:
    """Say, if cold and warm are far apart, what a fresh state costs and what to do about it."""
    cold, warm = beginnings["cold"], beginnings["warm"]
    symbols = yields == "symbols"
    if cold - warm <= FAR_NATS if symbols else cold <= FAR_TIMES * warm:
        return ""
    cure = "generate with a long prompt or --warm" + ("" if restart else ", or train with sequence.restart above 0")
    unit = "nats" if symbols else "loss"
    return f"; it begins badly: from a fresh state its first steps cost {cold:.4g} {unit}, warm {warm:.4g}: {cure}"


def _compared(ours: float, theirs: float) -> str:
    """Return how far one figure lies from another, in words."""
    if not theirs:
        return "above" if ours else "equal to"
    if ours > 3 * theirs:
        return f"{ours / theirs:.3g} times"
    return f"{abs(theirs - ours) / theirs * 100:.1f} % {'below' if ours < theirs else 'above'}"


def broken_bands(expect: Expect, found: Figures, generated: Any) -> list[Problem]:
    """Return the bands of `[expect]` that do not hold."""
    metrics = found["metrics"]
    final = metrics
    if ahead := found.get("forecast"):  # of what both are about, the forecast counts alone
        both = {figure.name for figure in Distance.FIGURES}
        own = {name: value for name, value in metrics.items() if name not in both}
        final = own | ahead["metrics"]
    checks: list[tuple[str, Any, Any, Callable[[Any, Any], bool]]] = [
        ("loss_below", expect.loss_below, metrics.get("loss"), lambda got, band: got < band),
        ("accuracy_above", expect.accuracy_above, metrics.get("accuracy"), lambda got, band: got > band),
        ("mape_below", expect.mape_below, final.get("mape"), lambda got, band: got < band),
        *((f"metrics.{name}", band, final.get(name), _within) for name, band in (expect.metrics or {}).items()),
        ("beats_baselines", expect.beats_baselines, found["beats_baselines"], lambda got, band: got == band),
        ("generated", expect.generated, generated, lambda got, band: got == band),
        ("forecast", expect.forecast, generated, lambda got, band: _near(got, band, expect.within)),
    ]
    return [
        Problem("RC062", f"{name} does not hold", f"expect.{name}", got=str(got), allowed=str(band))
        for name, band, got, holds in checks
        if band is not None and (got is None or not holds(got, band))
    ]


def _within(got: float, band: list[float]) -> bool:
    return band[0] <= got <= band[1]


def _near(got: Any, band: list[float], within: float) -> bool:
    values = np.asarray(got, np.float64)
    if values.ndim == 0 or len(values) < len(band):
        return False
    return bool((np.abs(values[: len(band)].reshape(len(band), -1)[:, 0] - band) <= within).all())


def check_bands(resolved: Resolved, expect: bool) -> None:
    """Refuse to hold a run to bands of which it has none. Raises `InputError` (RC080)."""
    bands = resolved.task.expect.model_dump(exclude={"within"}, exclude_none=True)
    if expect and all(band == {} for band in bands.values()):
        fact = "expect holds a run to the bands of its [expect] table, and this task has none"
        cure = "add a band, such as expect.loss_below, or leave expect out"
        raise InputError.of("RC080", fact, cure=cure)
