"""The figures of a run beside the baselines, a plain verdict, and the bands of `[expect]`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np

from recurra.contracts.metric import LOSS, ColumnSums, Metrics, StepSums, Sums
from recurra.contracts.source import OF_STEPS
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.marks import Marked
from recurra.data.segments import CONTEXT, OPENING, SEGMENT, forgets
from recurra.data.splits import SCORED, Split, SplitName, called, sampled
from recurra.errors import InputError, Problem
from recurra.generate.foretold import Intervals
from recurra.job import covariates, held
from recurra.job.data import Data
from recurra.job.elements import Scores
from recurra.job.figures import (
    Beginnings,
    Carried,
    Completion,
    Detail,
    Figures,
    Measured,
    SplitFigures,
    Verdict,
)
from recurra.job.forecasts import Foreseen, by_column
from recurra.job.tagged import tagged
from recurra.job.worst import WRONG, FarthestOff, MostWrong
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.spec.tables import Expect, Task
from recurra.train.evaluate import Completed, cold_and_warm, complete, evaluate
from recurra.train.metrics import Distance, Tally, known
from recurra.train.spread import levels_of
from recurra.world import world

ALIKE = 1e-3
"""The share of an error by which another must be smaller to be better."""
COMPLETED = 5
"""Prompts that are shown with their answers."""
SHOWN = 5
"""Labels that a note names."""


def figures(
    task: Task,
    data: Data,
    network: Network,
    name: SplitName,
    intervals: Intervals | None = None,
) -> Figures:
    """Return metrics, baselines and verdict of a split; of series a free-running forecast as well.

    That has `intervals`, where there are such.
    With carry, the metrics say too what the first steps cost from a fresh state, `cold`, and in the
    midst, `warm`. Of several processes each measures its share, and all have the same figures.
    """
    here, split = world(), data.splits[name]
    tally, wrong = data.tally(name), WRONG[data.answers.yields](network.loss)
    evaluate(network, data.reader, split, tally, watch=wrong.look, world=here)
    foreseen = None
    if data.target.generates:
        foreseen = data.elements.foreseen(task, data, network, name, intervals)
    made = _Made(
        tally,
        wrong.joined(here),
        _completed(data, network, split, tally),
        foreseen,
        _beginnings(data, network, split) if task.sequence.carry else None,
    )
    # Baselines are measured once, and every process has the figures of the first.
    return here.alone(lambda: _told(task, data, network, name, made, intervals))


class _Made(NamedTuple):
    """What the network has made of a split: sums, what it did worst, its answers and forecasts.

    What the first steps cost comes with the places where that was measured.
    """

    tally: Tally
    wrong: MostWrong | FarthestOff
    completions: list[Completion]
    foreseen: Foreseen | None
    beginnings: tuple[Metrics, Beginnings] | None


def _told(
    task: Task,
    data: Data,
    network: Network,
    name: SplitName,
    made: _Made,
    intervals: Intervals | None,
) -> Figures:
    """Return the figures of what the network has made of a split, beside the baselines."""
    split, target, tally = data.splits[name], data.target, made.tally
    sides = held.compared(data, name)
    rules = target.baselines(*sides) if sides else {}
    # A metric of a plugin may say anything: only the keys of the core are known.
    detail = cast(Detail, tally.detail())
    for row in detail.get("by_step", ()):
        row["baselines"] = _ahead_of(rules, row["ahead"])
    measured: SplitFigures = {
        "split": name,
        "predictions": tally.steps,
        "metrics": tally.values(),
        "notes": [
            *held.notes(data, name),
            *_bounds(data, split),
            *_unseen(data, name),
            *covariates.unseen(data, name),
            *_emptied(data),
        ],
        "baselines": {rule: _metrics(sums) for rule, sums in rules.items()},
        **detail,
    }
    if split.whole:
        measured["most_wrong"] = made.wrong.listed(data)
    if made.completions:
        measured["completions"] = made.completions
    if data.store.tags is not None:
        measured["tagged"] = tagged(data, network, name)

    if split.whole and (model := tally.columns()):
        names = [f"number {index}" for index in range(1, len(model) + 1)]
        compared = {rule: sums for rule, sums in rules.items() if isinstance(sums, ColumnSums)}
        measured["columns"] = by_column(names, model, compared)

    # The verdict is about the forecast, where there is one.
    judged: Measured = measured
    if target.generates:
        scores = Scores(tally, rules)
        judged = data.elements.judged(task, data, measured, scores, made.foreseen, intervals)
    series = 1 if data.scales is None else len(data.scales.starts)
    said = verdict(target, type(data.answers), judged, series, held.trained_on(data, name))
    if target.generates:
        said["verdict"] += data.elements.learned(data)

    carried: Carried = {}
    if made.beginnings is not None:
        costs, beginnings = made.beginnings
        if beginnings["places"]:
            measured["metrics"] |= costs
            said["verdict"] += _cold(data, costs, task.sequence.restart)
            carried = {"beginnings": beginnings}
    return {**measured, **said, **carried}


def _completed(data: Data, network: Network, split: Split, tally: Tally) -> list[Completion]:
    """Add what the network answers by itself to a tally, where answers follow sequences.

    Returns some of them, evenly spaced over the split.
    """
    if not isinstance(data.answers, Marked):
        return []
    answers, marks = data.answers, data.answers.marks
    rows = data.store.sequence(split.scored().begin)
    chosen = set(sampled(rows, COMPLETED).tolist())
    shown: list[Completion] = []

    def look(completed: Completed) -> None:
        if completed.row not in chosen:
            return
        shown.append(
            {
                "sequence": completed.row + 1,
                "prompt": answers.text(completed.prompt),
                "came": answers.text(completed.came),
                "predicted": answers.text(completed.given),
                "ended": marks.end in completed.given,
            }
        )

    here = world()
    complete(network, data.store, split, tally, marks, data.limit, watch=look, world=here)
    every = [each for part in here.gathered(shown) for each in part]
    return sorted(every, key=lambda each: each["sequence"])


def _metrics(sums: Metrics | Sums) -> Metrics:
    """Return the figures of a simple rule, which may come as the sums that they are made of."""
    return sums if isinstance(sums, dict) else sums.metrics()


def _ahead_of(rules: Mapping[str, Metrics | Sums], step: int) -> dict[str, Metrics]:
    """Return the figures of those simple rules that have any of a step ahead."""
    return {
        rule: sums.steps[step].metrics()
        for rule, sums in rules.items()
        if isinstance(sums, StepSums) and step in sums.steps
    }


def _beginnings(data: Data, network: Network, split: Split) -> tuple[Metrics, Beginnings]:
    """Return what the first steps cost, cold and warm, and at how many places that was measured."""
    key = data.answer_elements.cost
    if key not in known(data.target, type(data.answers), levels_of(network.loss)):
        key = LOSS.name
    costs, places = cold_and_warm(network, data.reader, split, data.tally, key, world=world())
    return costs, {"places": places, "steps": OPENING, "before": CONTEXT}


def _unseen(data: Data, name: SplitName) -> list[str]:
    """Return a note of the labels that training has not shown, if there are any.

    No answer can be right there, and none is scored.
    """
    unseen = data.unseen(name)
    if not unseen:
        return []
    names = ", ".join(repr(label) for label in sorted(unseen)[:SHOWN])
    what = "step" if data.target.asks in OF_STEPS else "sequence"
    total = sum(unseen.values())
    part = called(name)
    count = f"1 {what} of {part} is"
    if total > 1:
        count = f"{total:,} {what}s of {part} are"
    return [f"{count} not scored: training has not shown {names}"]


def _emptied(data: Data) -> list[str]:
    """Return a note of the sequences of which the vocabulary has kept nothing, if there are any."""
    count = data.store.emptied
    if not count:
        return []
    noun, fate = "sequence", "left out"
    if data.target.scope == "answer":
        noun, fate = "prompt", "read as empty"
    them = "it" if count == 1 else "them"
    said = f"1 {noun} of the data is" if count == 1 else f"{count:,} {noun}s of the data are"
    return [f"{said} {fate}: the vocabulary knows nothing of {them}"]


def _bounds(data: Data, split: Split) -> list[str]:
    """Return a note for each bound that the figures of a split are made under."""
    notes = []
    if split.steps > SCORED:
        what = "origins" if split.ahead else "predictions"
        notes.append(f"figures are of the first {SCORED:,} of {split.steps:,} {what}")
    if forgets(split.scored()):
        notes.append(
            f"each {SEGMENT:,} predictions are made after the {CONTEXT:,} steps before them, not"
            " after the whole past"
        )
    return notes


def verdict(
    target: Target[Any],
    answers: type[Vocabulary[Any]],
    judged: Measured,
    series: int,
    circumstances: str,
) -> Verdict:
    """Say in a sentence how the model stands against the best baseline on so many series.

    The sentence ends with the circumstances.
    """
    metrics, baselines = judged["metrics"], judged["baselines"]
    columns = len(judged.get("columns", ())) or 1
    # Each series may have a unit of its own, as each column has.
    units = columns * series
    key = target.judged(answers.yields, [metrics, *baselines.values()], units)
    values = {rule: row[key] for rule, row in baselines.items() if key in row}
    if not values or key not in metrics:
        return {"verdict": "there is nothing to compare with", "beats_baselines": False}

    # What is good may be small or large: its cost is small in any case.
    figure = known(target, answers)[key]
    best = min(values, key=lambda rule: figure.cost(values[rule]))
    ours, theirs = metrics[key], values[best]
    alike = not figure.higher and 0 < abs(ours - theirs) <= ALIKE * theirs
    beats = figure.cost(ours) < figure.cost(theirs) and not alike

    outcome = "beats" if beats else "does not beat"
    text = (
        f"{outcome} the best baseline: {ours:z.4g} {figure.called},"
        f" {'within a thousandth of' if alike else _compared(ours, theirs)} {best} ({theirs:z.4g})"
    )
    return {
        "verdict": text + circumstances,
        "judged": key,
        "best_baseline": best,
        "beats_baselines": beats,
    }


def _cold(data: Data, costs: Metrics, restart: float) -> str:
    """Say, if cold and warm are far apart, what a fresh state costs and what to do about it."""
    cold, warm = costs["cold"], costs["warm"]
    elements = data.answer_elements
    if elements.near(cold, warm):
        return ""
    fact = f"from a fresh state its first steps cost {cold:.4g} {elements.cost}, warm {warm:.4g}"
    cure = "generate with a long prompt or --warm"
    if not restart:
        cure += ", or train with sequence.restart above 0"
    return f"; it begins badly: {fact}: {cure}"


def _compared(ours: float, theirs: float) -> str:
    """Return how far one figure lies from another, in words."""
    if ours == theirs:
        return "equal to"
    if min(ours, theirs) < 0:
        # Nothing is a share of such a figure, as R² may be.
        return f"{abs(ours - theirs):.3g} {'below' if ours < theirs else 'above'}"
    if not theirs:
        return "above"
    if ours > 3 * theirs:
        return f"{ours / theirs:.3g} times"
    percent = abs(theirs - ours) / theirs * 100
    return f"{percent:.1f} % {'below' if ours < theirs else 'above'}"


class Band(NamedTuple):
    """A key of `[expect]`: what it asks for, what came, and whether that holds."""

    key: str
    expected: Any
    got: Any
    holds: Callable[[Any, Any], bool]


def broken_bands(expect: Expect, figures: Figures, generated: Any) -> list[Problem]:
    """Return the bands of `[expect]` that do not hold."""
    problems = []
    for band in _bands(expect, figures, generated):
        if band.expected is None:
            continue
        if band.got is None or not band.holds(band.got, band.expected):
            got, allowed = str(band.got), str(band.expected)
            fact = f"{band.key} does not hold"
            problems.append(Problem("RC062", fact, f"expect.{band.key}", got=got, allowed=allowed))
    return problems


def _bands(expect: Expect, figures: Figures, generated: Any) -> Iterator[Band]:
    """Give each band there may be, whether the task has it or not."""

    def near(got: Any, band: list[float]) -> bool:
        return _near(got, band, expect.within)

    metrics = figures["metrics"]
    final = final_metrics(figures)
    yield Band("loss_below", expect.loss_below, metrics.get("loss"), _below)
    yield Band("accuracy_above", expect.accuracy_above, metrics.get("accuracy"), _above)
    yield Band("mape_below", expect.mape_below, final.get("mape"), _below)
    for name, band in (expect.metrics or {}).items():
        yield Band(f"metrics.{name}", band, final.get(name), _within)
    beats = figures["beats_baselines"]
    yield Band("beats_baselines", expect.beats_baselines, beats, _equal)
    yield Band("generated", expect.generated, generated, _equal)
    yield Band("forecast", expect.forecast, generated, near)


def final_metrics(figures: Figures) -> Metrics:
    """Return the metrics that bands are about; of an error that a forecast has too, its own."""
    metrics = figures["metrics"]
    forecast = figures.get("forecast")
    if not forecast:
        return metrics

    both = {figure.name for figure in Distance.FIGURES}
    own = {name: value for name, value in metrics.items() if name not in both}
    return own | forecast["metrics"]


def _below(got: float, band: float) -> bool:
    return got < band


def _above(got: float, band: float) -> bool:
    return got > band


def _equal(got: Any, band: Any) -> bool:
    return bool(got == band)


def _within(got: float, band: list[float]) -> bool:
    return band[0] <= got <= band[1]


def _near(got: Any, band: list[float], within: float) -> bool:
    """Tell whether the first steps of a forecast lie near a band; of several columns the first."""
    values = np.asarray(got, np.float64)
    if values.ndim == 0 or len(values) < len(band):
        return False
    first = values[: len(band)].reshape(len(band), -1)[:, 0]
    return bool((np.abs(first - band) <= within).all())


def check_bands(resolved: Resolved, expect: bool) -> None:
    """Refuse to hold a run to bands of which it has none. Raises `InputError` (RC080)."""
    bands = resolved.task.expect.model_dump(exclude={"within"}, exclude_none=True)
    has_none = all(band == {} for band in bands.values())  # a table `metrics` may be empty
    if expect and has_none:
        fact = "expect holds a run to the bands of its [expect] table, and this task has none"
        cure = "add a band, such as expect.loss_below, or leave expect out"
        raise InputError.of("RC080", fact, cure=cure)
