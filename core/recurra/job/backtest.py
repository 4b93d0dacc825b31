"""A backtest: rolling origins, each forecast from what precedes it alone.

Whoever calls says which model forecasts in which fold, and what it knows of each series; here the
forecasts are made, kept fold by fold, and measured.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.attribution import blaming
from recurra.contracts.distribution import DECILES
from recurra.data.chain import Chain, in_training
from recurra.data.kept import passing
from recurra.data.store import Array
from recurra.errors import InputError, Interrupted, RecurraError
from recurra.generate import arguments
from recurra.generate.abreast import Start
from recurra.generate.conformal import Conformal
from recurra.generate.foretold import Foretold, Intervals, foretold
from recurra.generate.levels import Levels, bounds
from recurra.job import backtested, frame
from recurra.job.backtested import Backtested, Fold, Scored, Shape
from recurra.job.build import sized
from recurra.job.data import Data
from recurra.job.folds import Plan, least_history
from recurra.job.forecasts import HISTORY
from recurra.job.interval_figures import measured
from recurra.job.results import verdict
from recurra.job.run import Run
from recurra.job.series import Series
from recurra.job.train import tell
from recurra.model.device import arithmetic
from recurra.resolved import Resolved
from recurra.runs.backtests import BacktestFolder, Forecasts
from recurra.train.events import Observer
from recurra.world import world

FRAME = "forecasts.csv"
"""The frame in the folder of a backtest."""
SECONDS = 10.0
"""Seconds after which a word is said of forecasts that go on."""

Known: TypeAlias = Callable[[int], Array | None]
"""Gives the steps of a series by which a model scales it; nothing where it is its history."""


class Model(NamedTuple):
    """What forecasts in a fold, what it knows of the series in each row, and its intervals."""

    run: Run
    known: Known
    intervals: Intervals | None = None


def of_history(row: int) -> Array | None:
    """Know nothing of a series but its history."""
    return None


def of_training(series: Series, data: Data, left_off: int) -> Known:
    """Return what the training of a model knows of each series, of which it lacked the ends.

    A series that it has not seen is scaled by its history.
    """
    if not data.by_series:
        return of_history
    there = series.lengths > left_off
    place = np.cumsum(there) - 1
    seen = in_training(data.store, data.seen)

    def known(row: int) -> Array | None:
        if not there[row]:
            return None
        own = seen(int(place[row]))
        return own if len(own) else None

    return known


@dataclass(frozen=True)
class Task:
    """What is backtested: the series of a task, how they are cut, and the model of each fold.

    `model` trains one, or gives one that is there. Of the series some may be left out of all folds:
    those that `counts` leaves out. Notes are said of the whole.
    """

    resolved: Resolved
    series: Series
    plan: Plan
    model: Callable[[int], Model]
    counts: NDArray[np.bool_]
    notes: list[str]

    def rows(self, fold: int, least: int) -> NDArray[np.int64]:
        """Return the series that are forecast in a fold."""
        able = self.plan.able(self.series.lengths, fold, least)
        return able[self.counts[able]]


class Backtest:
    """A finished backtest: its figures in `result`, its frame in `forecasts.csv` of its folder."""

    def __init__(self, folder: BacktestFolder, task: Task, result: Backtested) -> None:
        self.folder, self.path, self.task = folder, folder.path, task
        self.result = result

    def __repr__(self) -> str:
        result = self.result
        return f"<Backtest {self.path}: {result['model']}, {result['folds']} folds>"

    def frame(self) -> dict[str, list[Any]]:
        """Return the columns unique_id, ds, cutoff, y and that of the model, for a DataFrame."""
        made = rows(self.folder, self.task)
        model, clock = self.folder.asked.model, self.task.series.clock
        return frame.columns_of(made, model, clock, bounds_of(self.folder))

    def write(self, path: str | PathLike[str]) -> None:
        """Write the frame to a file: .csv, .jsonl or .parquet.

        Raises `InputError` (RC080), `RunError` (RC053).
        """
        into, made = arguments.path("path", path), rows(self.folder, self.task)
        model, clock = self.folder.asked.model, self.task.series.clock
        frame.write(into, made, model, clock, bounds_of(self.folder))


def rows(folder: BacktestFolder, task: Task) -> Iterator[frame.Row]:
    """Give the rows of the frame, fold after fold."""
    levels = levels_of(folder)
    for fold in range(1, task.plan.folds + 1):
        made = folder.forecasts(fold)
        assert made is not None, "each fold is done"
        yield from backtested.rows(task.series, task.plan, fold, made, levels)


def levels_of(folder: BacktestFolder) -> Levels:
    """Return the levels that all folds have, which may know unlike much of what comes."""
    made = [folder.forecasts(fold) for fold in range(1, folder.asked.folds + 1)]
    each = [() if one is None else one.levels for one in made]
    return tuple(level for level in each[0] if all(level in own for own in each))


def bounds_of(folder: BacktestFolder) -> list[str]:
    """Return what the bounds of the intervals in the frame are called."""
    return bounds(levels_of(folder))


def backtest(folder: BacktestFolder, task: Task, observer: Observer) -> Backtest:
    """Forecast each fold that is not done, and measure them all.

    Raises `Interrupted` (RC063) and `RunError`, which say what is done.
    """
    start, here = time.perf_counter(), world()
    # One model may be for all folds, and reads what was made in the first.
    with ExitStack() as stack, passing():
        here.alone(lambda: _hold(stack, folder))
        folder.asked = here.told(folder.asked)
        for fold in range(1, task.plan.folds + 1):
            if here.alone(partial(_is_missing, folder, fold)):
                of_fold = passing() if folder.asked.retrain else nullcontext()
                with _told(folder, fold), of_fold:
                    _save(folder, fold, _forecasts(folder, task, fold, observer))
            elif fold == 1:
                tell(observer, [f"{folder.saved()}, and taken from {folder.path}"])

        def written() -> Backtested:
            result = _result(folder, task, time.perf_counter() - start)
            made, model = rows(folder, task), folder.asked.model
            frame.write(folder.path / FRAME, made, model, bounds=bounds_of(folder))
            folder.write("result.json", result)
            return result

        return Backtest(folder, task, here.alone(written))


def _hold(stack: ExitStack, folder: BacktestFolder) -> None:
    """Keep others from going on with a backtest until the end of a stack."""
    stack.enter_context(folder.held())
    folder.read_again()


def _is_missing(folder: BacktestFolder, fold: int) -> bool:
    return folder.forecasts(fold) is None


def _save(folder: BacktestFolder, fold: int, made: Forecasts) -> None:
    """Keep what was forecast in a fold; of several processes the first writes it."""
    here = world()
    here.alone(lambda: folder.save(fold, made))
    folder.asked = here.told(folder.asked)


@contextmanager
def _told(folder: BacktestFolder, fold: int) -> Iterator[None]:
    """Say of what goes wrong in a fold which one it is, what is done, and how to go on."""
    where = f"fold {fold} of {folder.asked.folds}"
    go_on = f"`recurra backtest {folder.path}` goes on from there"
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as request:
        fact = f"interrupted in {where}; {folder.saved()}"
        raise Interrupted.because(request, fact, go_on) from None
    except RecurraError as error:
        first, *others = error.problems
        cure = first.cure
        if folder.asked.done:
            cure = "; ".join(part for part in (cure, f"{folder.saved()}: {go_on}") if part)
        told = replace(first, fact=f"{where}: {first.fact}", cure=cure)
        raise type(error)([told, *others]) from error.__cause__


def _adapted(folder: BacktestFolder, task: Task, fold: int, intervals: Intervals) -> Intervals:
    """Return intervals whose levels are moved by what those of earlier folds have missed.

    That is so of those that adapt, and of one model for all folds: what is known of an earlier fold
    at the cutoff counts. The calibration of a model of its own has seen that already.
    """
    spread = intervals.spread
    if not isinstance(spread, Conformal) or not spread.adaptive or folder.asked.retrain:
        return intervals
    for earlier in range(1, fold):
        made = world().alone(partial(folder.forecasts, earlier))
        assert made is not None, "folds are made one after the other"
        known = (fold - earlier) * task.plan.step
        for alpha, missed in backtested.missed(task.series, task.plan, earlier, made).items():
            missed[known:] = np.nan
            spread = spread.after(alpha, missed)
    return replace(intervals, spread=spread)


def _forecasts(folder: BacktestFolder, task: Task, fold: int, observer: Observer) -> Forecasts:
    """Return what the model of a fold forecasts of each series that is long enough for it."""
    plan, series = task.plan, task.series
    model = task.model(fold)
    run = model.run
    chain_of = Chain(run.vocabulary)
    chosen = task.rows(fold, least_history(chain_of.lag, chain_of.by_series))
    if not len(chosen):
        fact = f"no series is long enough for fold {fold}"
        raise InputError.of("RC041", fact, cure="fewer folds, or a shorter horizon")
    cutoffs = plan.cutoffs(series.lengths, fold)
    where = f"fold {fold} of {plan.folds}"
    tell(observer, [f"{where}: forecasts of {len(chosen):,} series, {plan.horizon} steps each"])

    here = world()
    part = here.part(len(chosen))
    values = np.full((part.stop - part.start, plan.horizon, series.width), np.nan)
    quantiles: list[NDArray[np.float64]] = []
    told = None
    if model.intervals is not None:
        told = measured(_adapted(folder, task, fold, model.intervals))
    last = time.monotonic()

    def own() -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
        nonlocal last
        for place, made in enumerate(each(task, model, chosen[part], cutoffs, told)):
            values[place, : len(made.points)] = made.points
            if told is not None:
                quantiles.append(made.bounds)
            if time.monotonic() - last > SECONDS:
                last = time.monotonic()
                done = min((place + 1) * here.size, len(chosen))
                tell(observer, [f"{where}: {done:,} of {len(chosen):,} series"])
        return values, quantiles

    with blaming(run.resolved), arithmetic(run.task.device), sized(run.resolved, run.network):
        run.network.eval()
        parts = here.gathered(here.together(own))
    every = np.concatenate([values for values, _ in parts])
    if told is None:
        return Forecasts(chosen, every)
    every_bound = np.stack([bound for _, some in parts for bound in some])
    return Forecasts(chosen, every, every_bound, told.chances, told.levels)


def each(
    task: Task,
    model: Model,
    chosen: NDArray[np.int64],
    cutoffs: NDArray[np.int64],
    intervals: Intervals | None = None,
) -> Iterator[Foretold]:
    """Give what a model forecasts of each series after its cutoff, with intervals, if any."""
    run = model.run
    asked = run.outlook, run.covariates, intervals
    starts = starts_of(task, model, chosen, cutoffs)
    return foretold(run.network, run.vocabulary, starts, task.plan.horizon, *asked)


def starts_of(
    task: Task, model: Model, chosen: NDArray[np.int64], cutoffs: NDArray[np.int64]
) -> Iterator[Start]:
    """Give what the forecast of each series goes on from."""
    series, covariates = task.series, model.run.covariates
    for row in chosen.tolist():
        cutoff = int(cutoffs[row])
        first = max(0, cutoff - HISTORY)
        history = series.between(row, first, cutoff)
        beside = series.beside(covariates, row, first, cutoff, task.plan.horizon)
        yield Start(history, first, model.known(row), beside, series.names[row])


def _result(folder: BacktestFolder, task: Task, seconds: float) -> Backtested:
    """Return the figures of all folds."""
    plan, series, resolved = task.plan, task.series, task.resolved
    season = resolved.task.sequence.season
    folds = {fold: folder.forecasts(fold) for fold in range(1, plan.folds + 1)}
    made = {fold: each for fold, each in folds.items() if each is not None}
    count = sum(len(each.rows) for each in made.values())
    tenths = all(set(DECILES) <= set(each.chances) for each in made.values())
    scored = Scored(series, plan, season, count, levels_of(folder), tenths)

    by_fold: list[Fold] = []
    for fold, each in made.items():
        scores, notes = scored.add(fold, each)
        figures = backtested.fold_figures(fold, plan, series.lengths, each, scores, notes)
        if scored.of_fold is not None:
            backtested.beside(figures, scored.of_fold)
        own = folder.trained(fold)
        figures["run"] = folder.asked.run or str(own or folder.trained(1) or "")
        by_fold.append(figures)

    whole = scored.figures()
    whole["notes"] = [*task.notes, *_short(by_fold), *whole["notes"]]
    vocabulary: Any = resolved.parts["vocabulary"].build()
    over = f"; over {plan.folds} fold{'s' * (plan.folds > 1)}"
    said = verdict(resolved.target, type(vocabulary), whole, len(series.names), over)
    return {
        "backtest": str(folder.path),
        "task": resolved.task.name,
        "model": folder.asked.model,
        "retrain": folder.asked.retrain,
        **Shape(folds=plan.folds, step=plan.step, horizon=plan.horizon),
        "series": len(series.names),
        **whole,
        "by_fold": by_fold,
        **said,
        "frame": str(folder.path / FRAME),
        "seconds": seconds,
    }


def _short(by_fold: list[Fold]) -> list[str]:
    """Return a note of the series that some folds leave out."""
    left = {fold["fold"]: fold["left_out"] for fold in by_fold if fold["left_out"]}
    if not left:
        return []
    listed = ", ".join(f"{count:,} of fold {fold}" for fold, count in left.items())
    return [f"series too short before the cutoff are left out: {listed}"]
