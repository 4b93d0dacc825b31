"""What could only fail after training has begun, looked for before its first step.

`recurra check` looks for it too. Every number of every split goes through its scale and the loss
once, in blocks; then the real code evaluates, forecasts and generates a few steps with a copy of
the untrained network. Nothing here changes a bit of what is trained: random streams are lent and
given back, and the copy is thrown away.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.compatibility import NO_METRIC, expectable, validation_problems
from recurra.contracts.metric import LOSS, NAUGHT, Metrics
from recurra.contracts.options import SymbolOptions
from recurra.data import intake
from recurra.data.blocks import of_spans
from recurra.data.marks import Marked
from recurra.data.splits import Split, place_of
from recurra.errors import InputError, Problem
from recurra.generate.companion import Companion
from recurra.generate.session import Session
from recurra.job.data import Data
from recurra.job.elements import FEW
from recurra.job.intervals import untold
from recurra.job.origins import origins_of
from recurra.model import probe
from recurra.model.network import Network
from recurra.randomness import seeded
from recurra.resolved import Resolved
from recurra.spec.tables import Expect, Training
from recurra.train.evaluate import complete, evaluate
from recurra.train.metrics import known

SHOWN = 5
"""Rows that were left out which an error names."""
DIVIDED = ("mape", "wape", "wql")
"""Figures of errors that are divided by what came, which may all be 0."""
FIGURE_OF = {"accuracy_above": "accuracy", "mape_below": "mape"}
"""The figure that a key of `[expect]` is about."""


def preflight(resolved: Resolved, data: Data, network: Network) -> None:
    """Raise what this task would run into later.

    That is an `InputError` of its data or its settings, a `PluginError` of a part.
    """
    with resolved.placing():
        _counted(resolved, data, network)
        steep = data.elements.scan(resolved, data, network)
        faults = [
            *_bands(resolved, data),
            *_monitored(resolved, data),
            *_placed(resolved, network),
            *_idle(resolved, data),
            *untold(resolved),
        ]
        if faults:
            raise InputError(faults)
        if data.target.conformal != "none":
            origins_of(resolved, data)
        _rehearse(resolved, data, network, steep)


def _counted(resolved: Resolved, data: Data, network: Network) -> None:
    """Refuse steps that were left out where positions count. Raises `InputError` (RC014)."""
    clock = probe.counts_steps(network)
    season = resolved.task.sequence.season
    if not (clock or season):
        return
    why = "the encoder counts steps" if clock else f"sequence.season = {season} counts steps"

    options = resolved.parts["vocabulary"].options
    skips = isinstance(options, SymbolOptions) and options.unknown == "skip"
    if clock and skips:
        fact = f"{why}, and a symbol that is left out would set back the clock"
        cure = 'vocabulary.unknown = "token"'
        raise InputError.of("RC014", fact, key="vocabulary.unknown", cure=cure)

    # Only once it has been read to its end does a source know its gaps.
    data.elements.reread(data)
    gaps = data.source.gaps()
    if gaps:
        listed = ", ".join(gaps[:SHOWN])
        if len(gaps) > SHOWN:
            listed += f" and {len(gaps) - SHOWN} more"
        fact = (
            f"{why}, but {len(gaps)} rows are left out ({listed}), and all after them would stand"
            " too early"
        )
        cure = "fill in what is missing rather than leave it out, or give the data without gaps"
        raise InputError.of("RC014", fact, key="source.missing", cure=cure)


def _bands(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem for each band of `[expect]` that cannot hold, whatever the network learns."""
    expect = resolved.task.expect
    yield from _bands_of_nothing(expect, data)
    if expect.within and expect.forecast is None:
        fact = "within says how far from `forecast`, and there is none"
        yield Problem("RC014", fact, "expect.within")
    yield from data.elements.bands(resolved.task)

    figures = expectable(resolved)
    metrics = expect.metrics or {}
    for name, (least, most) in metrics.items():
        figure = figures[name]
        if most < least or most < figure.least or least > figure.most:
            allowed = f"[least, most], from {figure.least:g} to {figure.most:g}"
            fact = f"no {name} can lie between {least:g} and {most:g}"
            yield Problem("RC014", fact, f"expect.metrics.{name}", allowed=allowed)

    nothing_changes = data.scale is None or not (data.scale > NAUGHT).any()
    if "mase" in metrics and nothing_changes:
        fact = "no number of the training split changes, and no error can be divided by a change"
        yield Problem("RC014", fact, "expect.metrics.mase")
    if "mape" in figures:
        yield from _relative_bands(expect, data)


def _bands_of_nothing(expect: Expect, data: Data) -> Iterator[Problem]:
    """Give a problem for each band that is about what this task does not have."""
    figures = known(data.target, type(data.answers))
    keys = {key for key, figure in FIGURE_OF.items() if figure in figures}
    if data.target.generates:
        keys.add(data.elements.band)
    for key in (*FIGURE_OF, "generated", "forecast"):
        if getattr(expect, key) is not None and key not in keys:
            fact = f"{key} speaks of what is not here: there is no such figure"
            yield Problem("RC014", fact, f"expect.{key}")


def _relative_bands(expect: Expect, data: Data) -> Iterator[Problem]:
    """Give a problem for each band on errors that are divided by what came, where that is 0."""
    name = data.held_out()
    bands: dict[str, Any] = {"mape_below": expect.mape_below}
    bands |= {f"metrics.{name}": (expect.metrics or {}).get(name) for name in DIVIDED}
    for key, band in bands.items():
        if band is not None and not _any_size(data, data.splits[name]):
            fact = f"every number of the {name} split is 0, and no error can be divided by it"
            yield Problem("RC014", fact, f"expect.{key}")


def _monitored(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem if the monitored metric will not exist."""
    validation = data.splits["validation"]
    divides = resolved.task.training.monitor in DIVIDED and validation.steps
    if divides and not _any_size(data, validation):
        fact = "every number of the validation split is 0, and no error can be divided by it"
        yield Problem("RC014", fact, "training.monitor", cure='training.monitor = "mae"')


def _idle(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem for each key that was set, and that nothing of this task reads."""
    task = resolved.task
    if not data.splits["validation"].steps:
        yield from validation_problems(task)
        plain = Training()
        for name in ("monitor", "min_delta", "validate_every"):
            if getattr(task.training, name) != getattr(plain, name):
                fact = f"{name} is for validation, and there is none"
                cure = f"give sequence.split a validation share, or leave {name} out"
                yield Problem("RC014", fact, f"training.{name}", cure=cure)
    yield from data.answer_elements.idle(task)


def _any_size(data: Data, part: Split) -> bool:
    """Tell whether any number of a split is large enough to divide an error by."""
    values = data.store.values
    return any((np.abs(values[rows]) > NAUGHT).any() for rows in of_spans(part.low, part.high))


def _placed(resolved: Resolved, network: Network) -> Iterator[Problem]:
    """Give a problem if a position of the prompt is named that nothing reads."""
    generation = resolved.task.generation
    if not generation.position:
        return
    if generation.prompt is None:
        fact = (
            "position is that of a prompt, and there is none: what generation goes on from knows"
            " its own"
        )
        cure = "give generation.prompt, or leave position out"
        yield Problem("RC014", fact, "generation.position", cure=cure)
    elif not probe.counts_steps(network):
        fact = "position is for an encoder with a clock, and this one has none"
        yield Problem("RC014", fact, "generation.position", cure="leave it out")


def _rehearse(resolved: Resolved, data: Data, network: Network, steep: bool) -> None:
    """Evaluate, forecast and generate a few steps with a copy of the untrained network.

    Where the numbers are `steep`, go back over a window of them too.
    """
    try:
        trial = copy.deepcopy(network)
    except Exception:
        # A plugin's module that cannot be copied is no fault: it is only not rehearsed.
        return

    with seeded(resolved.task.seed, "rehearsal", device=network.device):
        for part in data.splits.values():
            if part.steps:
                beginning = _beginning(part)
                tally = evaluate(trial, data.reader, beginning, data.tally(), rows=1)
                if isinstance(data.answers, Marked):
                    # A few symbols show that answers can be given and measured.
                    marks = data.answers.marks
                    complete(trial, data.store, beginning, tally, marks, FEW)
                _known(resolved, data, trial, tally.values())
                _finite(resolved, tally.values())

        if not data.target.generates:
            return
        data.elements.rehearse(resolved.task, data, trial)
        _generate(resolved, data, trial)
        if steep:
            _go_back(resolved, data, trial)


def _go_back(resolved: Resolved, data: Data, trial: Network) -> None:
    """Refuse numbers whose share of an update is not finite.

    Raises `InputError` (RC042) that names the largest.
    """
    # The network reads numbers as they are transformed, where they are.
    train, values, rows = data.splits["train"], data.store.values, data.reader.rows
    values = values if rows is None else data.reader.read(rows.values)

    # A window around the largest number of training is read, as training would read it.
    low, high, largest = _largest(train, values)
    steps = min(resolved.task.sequence.length, high - low - 1)
    first = min(max(low, largest - steps // 2), high - 1 - steps)
    one = np.array([first]), np.array([steps]), np.array([low]), np.array([high])
    batch = data.reader.cut(*one).to(trial.device)

    trial.eval()
    hidden, _ = trial.hidden(batch.x, position=batch.position)
    places = batch.mask.flatten().nonzero()[:, 0]
    losses = trial.losses(hidden, batch.y, places, batch.ahead(), batch.counted())
    share = losses.sum() / (steps * resolved.task.training.batch_size)
    torch.autograd.backward(share)

    gradients = [weight.grad for weight in trial.parameters() if weight.grad is not None]
    if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
        fact = (
            f"{data.store.values[largest].tolist()} leads to a gradient beyond all numbers of"
            f" {trial.dtype}: "
        )
        cure = 'another vocabulary.scale, device.precision = "float64", or other units'
        place = place_of(data.store, data.splits, largest)
        raise InputError.of("RC042", fact + place, key="vocabulary.scale", cure=cure)


def _largest(train: Split, values: NDArray[Any]) -> tuple[int, int, int]:
    """Return the span of training that holds the largest number, and where in it that stands."""
    spans = []
    for low, high in zip(train.low.tolist(), train.high.tolist(), strict=True):
        if high - low < 2:
            continue
        sizes = np.abs(values[low:high]).max(axis=1)
        row = int(sizes.argmax())
        spans.append((sizes[row], low, high, low + row))

    sizes_of_spans = [size for size, *_ in spans]
    _, low, high, largest = spans[int(np.argmax(sizes_of_spans))]
    return low, high, largest


def _beginning(part: Split) -> Split:
    """Return the first few predictions of a split."""
    if part.whole or part.uncut:
        low, high, begin = part.low[:FEW], part.high[:FEW], part.begin[:FEW]
        return replace(part, low=low, high=high, begin=begin)

    # The first span that holds an answer, and the step that gives it.
    row = int(np.flatnonzero(part.stops > part.first_targets)[0])
    first = int(part.first_targets[row])
    end = min(int(part.high[row]), first + FEW)
    before = first - max(part.reach, part.lag)
    low, high = np.array([first]), np.array([end])
    return replace(part, low=low, high=high, begin=np.array([before]), last=False)


def _known(resolved: Resolved, data: Data, trial: Network, metrics: Metrics) -> None:
    """Check that the monitored metric is one of those that there are.

    Raises `InputError` (RC013, or RC014 where the validation split has none).
    """
    monitor = resolved.task.training.monitor
    # A few steps may lack a figure, as where only 0 came, and the split have it.
    if not metrics or monitor in metrics or monitor in DIVIDED:
        return

    figure = known(data.target, type(data.answers), resolved.levels).get(monitor)
    if figure is None or not figure.absent:
        allowed = ", ".join(metrics)
        raise InputError.of("RC013", NO_METRIC, key="training.monitor", allowed=allowed)
    part = data.splits["validation"]
    if (
        part.steps
        and monitor not in evaluate(trial, data.reader, part, data.tally("validation")).values()
    ):
        fact = f"the validation split has no {figure.called}: {figure.absent}"
        cure = "give it other sequences, or monitor another figure"
        raise InputError.of("RC014", fact, key="training.monitor", cure=cure)


def _finite(resolved: Resolved, metrics: Metrics) -> None:
    """Check that a figure is a number wherever the loss is. Raises `PluginError` (RC071)."""
    odd = [name for name, value in metrics.items() if math.isnan(value)]
    if odd and math.isfinite(metrics[LOSS.name]):
        owner = resolved.parts["target"].entry.qualified
        raise intake.broken(owner, f"its figure {odd[0]} is no number")


def _generate(resolved: Resolved, data: Data, trial: Network) -> None:
    """Generate a few steps from the prompt, or from the data.

    Raises `PluginError` (RC071) for what is no text.
    """
    generation = resolved.task.generation
    opening = data.opening()[: FEW + data.lag]
    beside = data.opening_covariates(len(opening))
    companion = None
    if data.covariates is not None and beside is not None:
        companion = Companion.beside(data.covariates, beside)
    session = Session(
        trial,
        data.vocabulary,
        resolved.task.seed,
        outlook=data.reader.outlook,
        companion=companion,
    )
    if generation.prompt is None or generation.warm:
        ids = session.elements.recorded(data.vocabulary, opening, "the opening")
        session.feed_ids(ids, beside)
    if generation.prompt is not None:
        session.feed(generation.prompt)
    if generation.length:
        data.elements.go_on(resolved, session)
