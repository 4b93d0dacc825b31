"""The figures of a run with the baselines beside them, a plain verdict, and the bands of
`[expect]`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.metric import LOSS, Metrics
from recurra.data.batches import Whole
from recurra.data.segments import CONTEXT, OPENING, SEGMENT, forgets
from recurra.data.splits import SCORED, Split, SplitName
from recurra.errors import InputError, Problem
from recurra.job.data import Data
from recurra.job.forecasts import Figures
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.spec.tables import Expect, Task
from recurra.train.evaluate import cold_and_warm, evaluate
from recurra.train.metrics import Distance, known

MOST_WRONG = 5
"""Sequences that are named whose answer the network thought least likely."""
SHOWN = 5
"""Labels that a note names."""


def figures(task: Task, data: Data, network: Network, name: SplitName) -> Figures:
    """Return metrics, baselines and verdict of one split; of series a free-running forecast as
    well.

    With carry, the metrics say too what the first steps cost from a fresh state, `cold`, and in the
    midst, `warm`.
    """
    split, target = data.splits[name], data.target
    wrong = WRONG[data.answers.yields](network.loss)
    tally = evaluate(network, data.reader, split, data.tally(), watch=wrong.look)
    rules = target.baselines(data.examples("train"), data.examples(name))
    found: Figures = {
        "split": name,
        "predictions": tally.steps,
        "metrics": tally.values(),
        "notes": _bounds(data, split) + _unseen(data, name),
        "baselines": {
            rule: sums if isinstance(sums, dict) else sums.metrics() for rule, sums in rules.items()
        },
        **tally.detail(),
    }
    if split.whole:
        found["most_wrong"] = wrong.told(data)
    judged = (
        data.elements.judged(task, data, network, found, tally, rules)
        if target.generates
        else found
    )
    found |= _verdict(data, judged, name)
    if target.generates:
        found["verdict"] += data.elements.learned(data)
    if not task.sequence.carry:
        return found

    key = data.answer_elements.cost
    if key not in known(target, type(data.answers)):
        key = LOSS.name
    beginnings, places = cold_and_warm(network, data.reader, split, data.tally, key)
    if not places:
        return found
    found["metrics"] |= beginnings
    found["beginnings"] = {"places": places, "steps": OPENING, "before": CONTEXT}
    found["verdict"] += _cold(data, beginnings, task.sequence.restart)
    return found


class FarthestOff:
    """The sequences whose numbers lie farthest from what the network says, scaled, of all shown."""

    def __init__(self, loss: Loss[Any]) -> None:
        self.loss = loss
        self.rows: list[tuple[float, int, list[float]]] = []

    def look(self, batch: Whole, output: Tensor) -> None:
        """Take note of those that are farthest off."""
        point = self.loss.point(output).double()
        answers = batch.y.double()
        away = (point - answers).square().sum(dim=-1)
        columns = (away, batch.rows, point)
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self.rows = heapq.nlargest(MOST_WRONG, [*self.rows, *rows])

    def told(self, data: Data) -> list[dict[str, Any]]:
        """Return where they stand, what came and what was said, in the data's own units."""
        labels = data.reader.labels
        assert labels is not None, "whole sequences are asked"
        return [
            {
                "sequence": row + 1,
                "came": _own(data, labels[row]),
                "predicted": _own(data, predicted),
            }
            for _, row, predicted in self.rows
        ]


class MostWrong:
    """The sequences whose answer the network gave the least chance, of all that it is shown."""

    def __init__(self, loss: Loss[Any]) -> None:
        self.loss = loss
        self.found: list[tuple[float, int, int, int]] = []

    def look(self, batch: Whole, output: Tensor) -> None:
        """Take note of those that were answered wrongly."""
        point = self.loss.point(output)
        chances = point.double().softmax(dim=-1).gather(1, batch.y[:, None])[:, 0]
        rows = zip(
            chances.tolist(),
            batch.rows.tolist(),
            batch.y.tolist(),
            point.argmax(dim=-1).tolist(),
            strict=True,
        )
        self.found = heapq.nsmallest(
            MOST_WRONG, [*self.found, *(row for row in rows if row[2] != row[3])]
        )

    def told(self, data: Data) -> list[dict[str, Any]]:
        """Return where they stand, and what was said of them."""
        name = data.answers.symbol
        return [
            {"sequence": row + 1, "came": name(came), "predicted": name(said), "chance": chance}
            for chance, row, came, said in self.found
        ]


def _own(data: Data, scaled: Any) -> float | list[float]:
    """Return the numbers that answer a sequence, in the data's own units; one alone is no list."""
    numbers: list[float] = data.answers.decode(np.array([scaled]))[0].tolist()
    return numbers[0] if len(numbers) == 1 else numbers


WRONG: dict[str, type[MostWrong] | type[FarthestOff]] = {
    "symbols": MostWrong,
    "numbers": FarthestOff,
}
"""What looks for the worst answers to whole sequences, by what these are."""


def _unseen(data: Data, name: SplitName) -> list[str]:
    """Return a sentence of the labels that training has not shown: no answer can be right, and none
    is scored.
    """
    unseen = data.unseen(name)
    if not unseen:
        return []
    names = ", ".join(repr(label) for label in sorted(set(unseen))[:SHOWN])
    count = (
        f"{len(unseen):,} sequences of the {name} split are"
        if len(unseen) > 1
        else f"1 sequence of the {name} split is"
    )
    return [f"{count} not scored: training has not shown {names}"]


def _bounds(data: Data, split: Split) -> list[str]:
    """Return a sentence for each bound that the figures of a split are made under."""
    said = []
    if split.steps > SCORED:
        said.append(f"figures are of the first {SCORED:,} of {split.steps:,} predictions")
    if forgets(split.scored()):
        said.append(
            f"each {SEGMENT:,} predictions are made after the {CONTEXT:,} steps before them, not"
            " after the whole past"
        )
    return said


def _verdict(data: Data, found: Figures, name: SplitName) -> Figures:
    """Say in a sentence how the model stands against the best baseline."""
    rows, columns = (
        [found["metrics"], *found["baselines"].values()],
        len(found.get("columns", ())) or 1,
    )
    key = data.target.judged(data.answers.yields, rows, columns)
    metrics = found["metrics"]
    baselines = {rule: row for rule, row in found["baselines"].items() if key in row}
    if not baselines or key not in metrics:
        return {"verdict": "there is nothing to compare with", "beats_baselines": False}
    figure = known(data.target, type(data.answers))[key]
    best = min(baselines, key=lambda rule: figure.cost(baselines[rule][key]))
    ours, theirs = metrics[key], baselines[best][key]
    beats = figure.cost(ours) < figure.cost(theirs)
    told = f"{ours:z.4g} {figure.called}, {_compared(ours, theirs)} {best} ({theirs:z.4g})"
    text = f"{'beats' if beats else 'does not beat'} the best baseline: {told}"
    if name == "train":
        text += "; on the training split itself"
    return {"verdict": text, "best_baseline": best, "beats_baselines": beats}


def _cold(data: Data, beginnings: Metrics, restart: float) -> str:
    """Say, if cold and warm are far apart, what a fresh state costs and what to do about it."""
    cold, warm = beginnings["cold"], beginnings["warm"]
    elements = data.answer_elements
    if elements.near(cold, warm):
        return ""
    cure = "generate with a long prompt or --warm" + (
        "" if restart else ", or train with sequence.restart above 0"
    )
    told = f"from a fresh state its first steps cost {cold:.4g} {elements.cost}, warm {warm:.4g}"
    return f"; it begins badly: {told}: {cure}"


def _compared(ours: float, theirs: float) -> str:
    """Return how far one figure lies from another, in words."""
    if ours == theirs:
        return "equal to"
    if not theirs:
        return "above"
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
        (
            "accuracy_above",
            expect.accuracy_above,
            metrics.get("accuracy"),
            lambda got, band: got > band,
        ),
        ("mape_below", expect.mape_below, final.get("mape"), lambda got, band: got < band),
        *(
            (f"metrics.{name}", band, final.get(name), _within)
            for name, band in (expect.metrics or {}).items()
        ),
        (
            "beats_baselines",
            expect.beats_baselines,
            found["beats_baselines"],
            lambda got, band: got == band,
        ),
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
