"""What could only fail after training has begun, looked for before its first step, and by `recurra check`.

Every number of every split goes through its scale and the loss once, in blocks; then the real code evaluates, forecasts
and generates a few steps with a copy of the untrained network. Nothing here changes a bit of what is trained: random
streams are lent and given back, and the copy is thrown away.
"""

from __future__ import annotations

import copy
import itertools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.contracts.loss import Loss
from recurra.contracts.options import SymbolOptions
from recurra.data import intake
from recurra.data.splits import Split, place_of
from recurra.errors import InputError, Problem, RunError, Unsuited
from recurra.fit import NO_METRIC
from recurra.generate import loop
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.data import BLOCK, Data
from recurra.job.forecasts import history_and_future
from recurra.model import probe
from recurra.model.device import DTYPES
from recurra.model.network import Network
from recurra.randomness import seeded
from recurra.resolve import Resolved
from recurra.spec.tables import IDLE, Training
from recurra.train.baselines import forecasts
from recurra.train.evaluate import evaluate
from recurra.train.metrics import NAUGHT, Errors, Metrics, known

FEW = 3
"""Steps that are evaluated, forecast and generated."""
STEEP = 1e6
"""A scaled number above which a gradient is looked at before there is an update."""
SHOWN = 5
"""Rows that were left out which an error names."""


def preflight(resolved: Resolved, data: Data, network: Network) -> None:
    """Raise what this task would run into later: `InputError` of its data or its settings, `PluginError` of a part."""
    with resolved.placing():
        _counted(resolved, data, network)
        steep = False
        if data.vocabulary.yields == "numbers":
            steep = _scan(resolved, data, network)
        faults = [
            *_bands(resolved, data),
            *_monitored(resolved, data),
            *_placed(resolved, network),
            *_idle(resolved, data),
        ]
        if faults:
            raise InputError(faults)
        _rehearse(resolved, data, network, steep)


def _scan(resolved: Resolved, data: Data, network: Network) -> bool:
    """Scale every number there is, and let the loss see it; return whether any is steep.

    Raises `InputError` (RC042) that names the first places.
    """
    vocabulary, store = data.vocabulary, data.store
    owner = resolved.parts["vocabulary"].entry.qualified
    dtype = DTYPES[resolved.task.device.precision]
    seen = _Extremes(store.values.shape[1])
    losses = _Losses()
    for start in range(0, len(store), BLOCK):
        block = store.spans(np.array([start]), min(BLOCK, len(store) - start))[0]

        def place(at: int, start: int = start) -> str:
            return place_of(store, data.splits, start + at)

        try:
            scaled = vocabulary.encode(block.copy())
        except InputError as error:
            raise intake.refused(vocabulary.encode, block, place) or error from error
        rows = torch.from_numpy(intake.rows(scaled, len(block), vocabulary.size, owner).copy()).to(dtype)
        if not bool(torch.isfinite(rows).all()):
            row, feature = torch.nonzero(~torch.isfinite(rows))[0].tolist()
            fact = f"{block[row, feature]:g} is beyond all numbers of {dtype} once it is scaled: {place(row)}"
            cure = 'another vocabulary.scale, or device.precision = "float64"'
            raise InputError.of("RC042", fact, key="vocabulary.scale", cure=cure)
        seen.add(block, rows)
        losses.add(_lossy(network.loss, rows.to(network.device), block, place), place)
    _lost(seen, dtype)
    _summed(resolved, data, losses, dtype)
    return bool(np.abs(seen.scaled).max() > STEEP)


def _lost(seen: _Extremes, dtype: torch.dtype) -> None:
    """Refuse numbers that change, but none of them for the network. Warns (`Unsuited`) where only some are so."""
    lost, changing = seen.lost()
    if not lost:
        return
    low, high = seen.raw[:, lost[0]].tolist()
    fact = f"feature {lost[0]} lies between {low!r} and {high!r}, and is one and the same in {dtype} once it is scaled"
    cure = 'vocabulary.scale = "standard", device.precision = "float64", or other units'
    if len(lost) == changing:
        raise InputError.of("RC042", fact, key="vocabulary.scale", cure=cure)
    warnings.warn(f"{fact}: nothing can be learned from it; to mend it: {cure}", Unsuited, stacklevel=3)


class _Extremes:
    """The least and the greatest of each feature, as it came and as the network reads it."""

    def __init__(self, features: int) -> None:
        self.raw = np.array([[np.inf], [-np.inf]]).repeat(features, axis=1)  # 2 F
        self.scaled = self.raw.copy()

    def add(self, block: NDArray[Any], rows: torch.Tensor) -> None:
        """Take note of rows `[n, F]`."""
        for held, values in ((self.raw, block), (self.scaled, rows.double().numpy())):
            held[0] = np.minimum(held[0], values.min(axis=0))
            held[1] = np.maximum(held[1], values.max(axis=0))

    def lost(self) -> tuple[list[int], int]:
        """Return the features that change, but not for the network, and how many change at all."""
        changes = self.raw[1] > self.raw[0]
        lost = np.flatnonzero(changes & ~(self.scaled[1] > self.scaled[0]))
        return lost.tolist(), int(changes.sum())


@dataclass
class _Losses:
    """The losses of the rows before anything is learned: their sum, and the greatest with its place."""

    total: float = 0.0
    greatest: float = 0.0
    place: str = ""

    def add(self, values: NDArray[np.float64], place: Callable[[int], str]) -> None:
        """Take note of the losses `[n]` of a block: of those that add to a sum, and are finite."""
        values = np.where(np.isfinite(values), np.maximum(values, 0), 0)
        self.total += float(values.sum())
        row = int(values.argmax())
        if values[row] > self.greatest:
            self.greatest, self.place = float(values[row]), place(row)


def _summed(resolved: Resolved, data: Data, losses: _Losses, dtype: torch.dtype) -> None:
    """Refuse numbers whose losses are finite, while their sum over a batch may not be. Raises `InputError` (RC042).

    A batch sums no more than so many of the greatest, and no more than all there are, as often as windows overlap.
    """
    sequence, batch = resolved.task.sequence, resolved.task.training.batch_size
    steps = batch * min(sequence.length, len(data.store))
    overlaps = min(batch, -(-sequence.length // (sequence.stride or sequence.length)))
    most = min(losses.greatest * steps, losses.total * overlaps)
    if most > torch.finfo(dtype).max:
        fact = f"the loss reaches {losses.greatest:g} ({losses.place}), and the sum over a batch of {steps} steps "
        fact += f"is beyond all numbers of {dtype}"
        cure = 'another vocabulary.scale, device.precision = "float64", or other units'
        raise InputError.of("RC042", fact, key="loss", cure=cure)


def _lossy(
    loss: Loss[Any], rows: torch.Tensor, block: NDArray[Any], place: Callable[[int], str]
) -> NDArray[np.float64]:
    """Return the loss of each row. Raises `InputError` (RC042) where it is finite for others, but not for some."""
    training = loss.training
    try:
        with torch.no_grad():
            values = loss.eval()(rows.new_zeros(len(rows), loss.output_size), rows)
    finally:
        loss.train(training)
    wrong = ~torch.isfinite(values)
    if bool(wrong.any()) and not bool(wrong.all()):
        row = int(torch.nonzero(wrong)[0])
        fact = f"the loss of {block[row].tolist()} is {float(values[row]):g}: {place(row)}"
        raise InputError.of("RC042", fact, key="loss", cure="another loss, or another vocabulary.scale")
    return np.asarray(values.double().cpu().numpy(), np.float64)


def _counted(resolved: Resolved, data: Data, network: Network) -> None:
    """Refuse steps that were left out where positions count. Raises `InputError` (RC014)."""
    clock = probe.counts_steps(network)
    season = resolved.task.sequence.season
    if not (clock or season):
        return
    why = "the encoder counts steps" if clock else f"sequence.season = {season} counts steps"
    options = resolved.parts["vocabulary"].options
    if clock and isinstance(options, SymbolOptions) and options.unknown == "skip":
        fact = f"{why}, and a symbol that is left out would set back the clock"
        raise InputError.of("RC014", fact, key="vocabulary.unknown", cure='vocabulary.unknown = "token"')
    if data.vocabulary.yields == "symbols":  # which may have come from the cache, and the source was not read
        for _ in data.source.read(data.vocabulary.reads):
            pass
    gaps = data.source.gaps()
    if gaps:
        more = f" and {len(gaps) - SHOWN} more" if len(gaps) > SHOWN else ""
        listed = ", ".join(gaps[:SHOWN]) + more
        fact = f"{why}, but {len(gaps)} rows are left out ({listed}), and all after them would stand too early"
        cure = "fill in what is missing rather than leave it out, or give the data without gaps"
        raise InputError.of("RC014", fact, key="source.missing", cure=cure)


def _bands(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem for each band of `[expect]` that cannot hold, whatever the network learns."""
    expect, generation = resolved.task.expect, resolved.task.generation
    numbers = data.vocabulary.yields == "numbers"
    never = ("accuracy_above", "generated") if numbers else ("mape_below", "forecast")
    for name in never:
        if getattr(expect, name) is not None:
            fact = f"{name} is for {'symbols' if numbers else 'numbers'}: here there is no such figure"
            yield Problem("RC014", fact, f"expect.{name}")
    if expect.within and expect.forecast is None:
        yield Problem("RC014", "within says how far from `forecast`, and there is none", "expect.within")
    if numbers and expect.forecast is not None and len(expect.forecast) > generation.length:
        fact = f"{len(expect.forecast)} numbers are expected, and {generation.length} generated"
        yield Problem("RC014", fact, "expect.forecast", cure=f"generation.length = {len(expect.forecast)}")
    figures = known(type(data.vocabulary))
    for name, (least, most) in (expect.metrics or {}).items():
        figure = figures[name]
        if most < least or most < figure.least or least > figure.most:
            allowed = f"[least, most], from {figure.least:g} to {figure.most:g}"
            fact = f"no {name} can lie between {least:g} and {most:g}"
            yield Problem("RC014", fact, f"expect.metrics.{name}", allowed=allowed)
    if "mase" in (expect.metrics or {}) and (data.scale is None or not (data.scale > NAUGHT).any()):
        fact = "no number of the training split changes, and no error can be divided by a change"
        yield Problem("RC014", fact, "expect.metrics.mase")
    relative = {"mape_below": expect.mape_below, "metrics.mape": (expect.metrics or {}).get("mape")}
    for key, band in relative.items() if numbers else ():
        if band is not None and not _any_size(data, data.splits[data.held_out()]):
            fact = f"every number of the {data.held_out()} split is 0, and no error can be divided by it"
            yield Problem("RC014", fact, f"expect.{key}")


def _monitored(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem if the monitored metric will not exist."""
    validation = data.splits["validation"]
    if resolved.task.training.monitor == "mape" and validation.steps and not _any_size(data, validation):
        fact = "every number of the validation split is 0, and no error can be divided by it"
        yield Problem("RC014", fact, "training.monitor", cure='training.monitor = "mae"')


def _idle(resolved: Resolved, data: Data) -> Iterator[Problem]:
    """Give a problem for each key that was set, and that nothing of this task reads."""
    task = resolved.task
    if not task.sequence.split[1]:
        plain = Training()
        for name in ("monitor", "min_delta", "validate_every"):
            if getattr(task.training, name) != getattr(plain, name):
                cure = f"give sequence.split a validation share, or leave {name} out"
                yield Problem("RC014", f"{name} is for validation, and there is none", f"training.{name}", cure=cure)
    if data.vocabulary.yields == "numbers":
        return
    if task.sequence.season:
        fact = "season is for the baselines of numbers, and these are symbols"
        yield Problem("RC014", fact, "sequence.season", cure="leave it out")
    for name in task.generation.idle:
        cure = "generation.temperature = 1.0, or leave it out"
        yield Problem("RC014", f"{name} {IDLE}", f"generation.{name}", cure=cure)


def _any_size(data: Data, part: Split) -> bool:
    """Tell whether any number of a split is large enough to divide an error by."""
    spans = zip(part.low.tolist(), part.high.tolist(), strict=True)
    blocks = ((at, min(at + BLOCK, high)) for low, high in spans for at in range(low, high, BLOCK))
    return any(bool((np.abs(data.store.values[low:high]) > NAUGHT).any()) for low, high in blocks)


def _placed(resolved: Resolved, network: Network) -> Iterator[Problem]:
    """Give a problem if a position of the prompt is named that nothing reads."""
    generation = resolved.task.generation
    if not generation.position:
        return
    if generation.prompt is None:
        fact = "position is that of a prompt, and there is none: what generation goes on from knows its own"
        yield Problem("RC014", fact, "generation.position", cure="give generation.prompt, or leave position out")
    elif not probe.counts_steps(network):
        fact = "position is for an encoder with a clock, and this one has none"
        yield Problem("RC014", fact, "generation.position", cure="leave it out")


def _rehearse(resolved: Resolved, data: Data, network: Network, steep: bool) -> None:
    """Evaluate, forecast and generate a few steps with a copy of the untrained network.

    Where the numbers are `steep`, go back over a window of them too.
    """
    try:
        trial = copy.deepcopy(network)
    except Exception:  # a plugin's module that cannot be copied is no fault: it is only not rehearsed
        return
    task, vocabulary = resolved.task, data.vocabulary
    with seeded(task.seed, "rehearsal", device=network.device):
        for part in data.splits.values():
            if part.steps:
                tally = evaluate(trial, data.reader, _beginning(part), vocabulary, data.scale, rows=1)
                _known(resolved, tally.values())
        if vocabulary.yields == "numbers" and task.generation.length and data.held_out() != "train":
            _foresee(data, trial, task.sequence.season)
        _generate(resolved, data, trial)
        if steep:
            _go_back(resolved, data, trial)


def _go_back(resolved: Resolved, data: Data, trial: Network) -> None:
    """Refuse numbers whose share of an update is not finite. Raises `InputError` (RC042) that names the largest."""
    train, values = data.splits["train"], data.store.values
    spans = [(int(low), int(high)) for low, high in zip(train.low, train.high, strict=True) if high - low > 1]
    tops = [low + int(np.abs(values[low:high]).max(axis=1).argmax()) for low, high in spans]
    span = int(np.argmax([np.abs(values[at]).max() for at in tops]))
    (low, high), at = spans[span], tops[span]
    steps = min(resolved.task.sequence.length, high - low - 1)
    first = min(max(low, at - steps // 2), high - 1 - steps)
    batch = data.reader.cut(*(np.array([value]) for value in (first, steps, low))).to(trial.device)

    trial.eval()
    output, _ = trial(batch.x, position=batch.position)
    value = trial.loss(output[batch.mask], batch.y[batch.mask]).sum()
    (value / (steps * resolved.task.training.batch_size)).backward()
    gradients = [weight.grad for weight in trial.parameters() if weight.grad is not None]
    if not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
        fact = f"{values[at].tolist()} leads to a gradient beyond all numbers of {trial.dtype}: "
        cure = 'another vocabulary.scale, device.precision = "float64", or other units'
        place = place_of(data.store, data.splits, at)
        raise InputError.of("RC042", fact + place, key="vocabulary.scale", cure=cure)


def _foresee(data: Data, trial: Network, season: int) -> None:
    """Forecast a few steps of one series, after a few of its history."""
    pairs, _ = history_and_future(data, data.held_out(), FEW, limit=1)
    for position, history, future in pairs:
        known = history[-FEW:]
        session = Session(trial, data.vocabulary, position=position + len(history) - len(known)).feed(known)
        errors = Errors()
        errors.add(np.stack(list(loop.numbers(session, len(future)))), future)
        for guess in forecasts(known, len(future), season).values():
            errors.add(guess, future)
        errors.metrics()


def _beginning(part: Split) -> Split:
    """Return the first few predictions of a split."""
    row = int(np.flatnonzero(part.high > part.first_targets)[0])
    first = int(part.first_targets[row])
    return Split(*(np.array([at]) for at in (first, min(int(part.high[row]), first + FEW), first - 1)))


def _known(resolved: Resolved, metrics: Metrics) -> None:
    """Check that the monitored metric is one of those that there are. Raises `InputError` (RC013)."""
    monitor = resolved.task.training.monitor
    if monitor not in metrics and monitor != "mape":  # which a few steps may lack, and the whole split has
        allowed = ", ".join(metrics)
        raise InputError.of("RC013", NO_METRIC, key="training.monitor", allowed=allowed)


def _generate(resolved: Resolved, data: Data, trial: Network) -> None:
    """Generate a few steps from the prompt, or from the data. Raises `PluginError` (RC071) for what is no text."""
    generation, vocabulary = resolved.task.generation, data.vocabulary
    numbers = vocabulary.yields == "numbers"
    session = Session(trial, vocabulary, resolved.task.seed)
    if generation.prompt is not None:
        session.feed(generation.prompt)
    else:
        opening = np.asarray(data.opening()[:FEW])
        session.feed_ids(vocabulary.encode(opening) if numbers else opening)
    if not generation.length:
        return
    if numbers:
        try:
            list(loop.numbers(session, FEW))
        except RunError as error:
            fact = f"nothing can go on from the prompt: {error.problems[0].fact}"
            raise InputError.of("RC080", fact, key="generation.prompt") from error
        return
    rule = Sampling(**{name: getattr(generation, name) for name in Sampling.__dataclass_fields__})
    owner = resolved.parts["vocabulary"].entry.qualified
    for index in range(min(FEW, vocabulary.size)):
        for method, text in (("symbol", vocabulary.symbol(index)), ("text", vocabulary.text(np.array([index])))):
            if not isinstance(text, str):
                raise intake.broken(owner, f"{method} gives {type(text).__name__}, not str")
    list(itertools.islice(loop.symbols(session, FEW, rule, generation.stop), FEW))
