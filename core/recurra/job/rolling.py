"""What is backtested: a task, whose models are trained on what precedes a cutoff, or a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.attribution import blaming
from recurra.contracts.source import PAST
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain, check_rows
from recurra.data.companions import Companions
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate.foretold import Intervals
from recurra.generate.levels import parsed
from recurra.job.backtest import Backtest, Known, Model, Task, backtest, of_history, of_training
from recurra.job.changes import moved
from recurra.job.covariates import check as check_beside
from recurra.job.covariates import dated_of, precision
from recurra.job.data import Data
from recurra.job.elements import ELEMENTS
from recurra.job.folds import Plan, least_history, past_alone
from recurra.job.frame import model_column
from recurra.job.intervals import asked_of, check_steps
from recurra.job.run import Run
from recurra.job.series import Series, check_forecasts, series_of
from recurra.resolved import Resolved
from recurra.runs.backtests import Asked, BacktestFolder
from recurra.spec.tables import Expect
from recurra.train.events import Observer
from recurra.world import world

Trained = Callable[[int, Resolved], tuple[Run, Data]]
"""Trains the model of a fold by the task of what precedes its cutoff, or gives the one there is."""


def horizon_of(resolved: Resolved, horizon: int | None) -> int:
    """Return how many steps are forecast: by default those of the task. Raises `InputError`."""
    check_forecasts(resolved)
    if horizon is not None:
        steps = arguments.whole("horizon", horizon, 1)
        resolved.check_ahead("horizon", steps)
        if steps > 1 and PAST in resolved.covariates and not resolved.target.ahead:
            fact = f"1 of {steps} steps can be forecast: nobody knows the past covariates of the"
            fact += " first of them"
            cure = "a horizon of 1 step, or the target horizon, which tells all steps at once"
            raise InputError.of("RC080", fact, got=f"horizon = {steps}", cure=cure)
        return steps
    steps = resolved.task.generation.length or resolved.target.ahead
    if not steps:
        fact = "no horizon is given, and generation.length is 0"
        raise InputError.of("RC080", fact, cure="give a horizon of 1 step or more")
    return steps


def plan_of(resolved: Resolved, folds: int, step: int | None, horizon: int | None) -> Plan:
    """Return the plan of a backtest; folds follow each other unless a step says otherwise.

    Raises `InputError` (RC080).
    """
    ahead = horizon_of(resolved, horizon)
    apart = ahead if step is None else arguments.whole("step", step, 1)
    return Plan(arguments.whole("folds", folds, 1), apart, ahead)


def of_task(
    resolved: Resolved, plan: Plan, retrain: bool, trained: Trained, levels: Any = None
) -> Task:
    """Return the backtest of a task, which trains a model for each fold, or one for all.

    One for all is trained on what precedes the first cutoff. Its forecasts have intervals at
    `levels`, else those that each model can tell. Raises `InputError` for more folds than there is
    data for.
    """
    asked_of(resolved, levels)
    vocabulary: Vocabulary[Any] = resolved.parts["vocabulary"].build()
    series = series_of(resolved, vocabulary, False)
    chain = Chain(vocabulary)
    with resolved.placing():
        plan.check(series.lengths, least_history(chain.lag, chain.by_series))

    @lru_cache(maxsize=1)
    def of_fold(fold: int) -> Model:
        left_off = plan.left_off(fold)
        run, data = trained(fold, without_future(resolved, series, left_off))
        intervals = intervals_of(run, plan, levels)
        return Model(run, of_training(series, data, left_off), intervals)

    def model(fold: int) -> Model:
        return of_fold(fold if retrain else 1)

    every = np.ones(len(series.names), bool)
    notes = [*_notes(resolved, retrain, plan), *_apart(series)]
    return Task(resolved, series, plan, model, every, notes)


def intervals_of(run: Run, plan: Plan, levels: Any) -> Intervals | None:
    """Return the intervals of the forecasts of a run. Raises `InputError` (RC080)."""
    return check_steps(run.intervals(levels), plan.horizon, "horizon", levels is not None)


def check_histories(
    series: Series,
    plan: Plan,
    vocabulary: Vocabulary[Any],
    covariates: CovariateVocabulary | None,
    dtype: torch.dtype,
    fold: int,
) -> None:
    """Refuse what a model cannot read before the cutoff of a fold, while none is trained.

    Numbers that are beyond its `dtype` once they are scaled are so too. Raises `InputError` that
    names the steps.
    """
    store, starts = series.store, series.store.starts

    def place(at: int) -> str:
        row = int(store.sequence(np.array([at]))[0])
        (label,) = series.clock.labels(row, [at - int(starts[row])])
        return f"step {label} of series {series.names[row]}"

    ends = starts + np.maximum(plan.cutoffs(series.lengths, fold), 0)
    check_rows(Chain(vocabulary), store, ends, place, dtype)
    if covariates is not None and store.covariates is not None:
        check_beside(Companions(covariates, store.covariates, store), ends, place, dtype)


@contextmanager
def of_first_fold(plan: Plan) -> Iterator[None]:
    """Say of what cannot be trained that it is the model of the first fold, which knows least."""
    try:
        yield
    except InputError as error:
        first, *others = error.problems
        fact = f"of the model of fold 1 of {plan.folds}, {plan.left_off(1):,} steps before the end"
        told = replace(first, fact=f"{fact}: {first.fact}")
        raise InputError([told, *others]) from error.__cause__


def without_future(resolved: Resolved, series: Series, left_off: int) -> Resolved:
    """Return the task of a model that knows nothing of the last steps of each series.

    No band of `[expect]` is held to it, for they are about other figures. Raises `InputError`.
    """
    sequence = resolved.task.sequence
    with resolved.placing():
        if "fold" in resolved.roles:
            sequence = sequence.model_copy(update={"leave_off": sequence.leave_off + left_off})
        else:
            sequence = past_alone(sequence, series.lengths, left_off)
    return replace(
        resolved,
        task=resolved.task.model_copy(update={"sequence": sequence, "expect": Expect()}),
    )


def _notes(resolved: Resolved, retrain: bool, plan: Plan) -> list[str]:
    validated = resolved.task.sequence.held[0] > 0
    past = "what precedes its cutoff" if retrain else "what precedes the first cutoff"
    models = "a model for each fold" if retrain and plan.folds > 1 else "one model"
    said = f"{models}, trained on {past}"
    if validated:
        said += ", whose last steps validate it"
    return [f"{said}; validation and scales see the past alone" if validated else said]


def _apart(series: Series) -> list[str]:
    """Return a note of series that do not all end at one time, and so have cutoffs of their own."""
    if not series.clock.known:
        return []
    ends = [series.clock.labels(row, [int(last)])[0] for row, last in enumerate(series.lengths - 1)]
    early = len(ends) - max(Counter(ends).values())
    if not early:
        return []
    return [
        f"{early:,} of {len(ends):,} series end at another time than most, and each is cut from its"
        " own end: a model may have seen other series after the cutoff of one"
    ]


def backtest_of_run(
    run: Run,
    overrides: Iterable[str] | Mapping[str, Any],
    data: Any,
    shape: tuple[int, int | None, int | None],
    levels: Any,
    place: Path,
    observer: Observer,
) -> Backtest:
    """Backtest a run by its own model, on its own data or on other data that overrides name.

    `shape` says how many folds there are, how far apart, and how many steps each has.
    """
    asked = moved(run.folder, run.resolved, arguments.overrides(overrides))
    resolved = asked if data is None else asked.giving(data)
    plan = plan_of(resolved, *shape)
    with blaming(resolved):
        task = of_run(run, resolved, plan, levels)
    record = Asked(
        folds=plan.folds,
        step=plan.step,
        horizon=plan.horizon,
        retrain=False,
        model=model_column(run.task.name),
        run=str(run.path.absolute()),
        levels=None if levels is None else list(parsed("levels", levels)),
        fingerprint=task.series.store.fingerprint,
        plugins=resolved.local_hashes(),
    )
    text = resolved.toml()
    folder = world().alone(lambda: BacktestFolder.create(place, run.task.name, record, text))
    return backtest(folder, task, observer)


def of_run(run: Run, resolved: Resolved, plan: Plan, levels: Any = None) -> Task:
    """Return the backtest of a run, on the data that its task, as it is resolved now, reads.

    Its forecasts have intervals at `levels`, else those that it can tell.

    Raises `InputError` (RC044) for data that is not what it was made from, unless it is asked for,
    and (RC080) for folds that begin inside what it was trained on.
    """
    series = series_of(resolved, run.vocabulary, True, run.covariates)
    if run.covariates is not None:
        dated = dated_of(resolved, series.clock.timeline)
        run.covariates.fits(series.store.covariates, str(run.path), dated)
    elements = ELEMENTS[run.vocabulary.yields]
    with resolved.placing():
        chain = elements.known(run.vocabulary, series.store, str(run.path)) or Chain(run.vocabulary)
    least = least_history(chain.lag, chain.by_series)

    known: Known = of_history
    counts = np.ones(len(series.names), bool)
    if series.store.fingerprint == run.folder.records.data().fingerprint:
        own = run.data(resolved)
        seen = _seen(series, own)
        counts = plan.check_unseen(series.lengths, seen)
        known = of_training(series, own, 0)
        notes = ["the run's own data, after what it was trained on"]
        if whole := int((~counts).sum()):
            notes.append(f"{whole:,} series are left out: the run was trained on all of them")
    else:
        if resolved is run.resolved:
            run.data(resolved)  # which says what is wrong with it
        notes = ["other data than the run was made from: that it has seen none of it is not known"]
    with resolved.placing():
        plan.check(series.lengths[counts], least)
        learned = run.vocabulary, run.covariates
        check_histories(series, plan, *learned, precision(resolved), plan.folds)
    model = Model(run, known, intervals_of(run, plan, levels))
    return Task(resolved, series, plan, lambda fold: model, counts, notes)


def _seen(series: Series, data: Data) -> NDArray[np.int64]:
    """Return how many steps of each series training, and what chose its weights, have seen."""
    seen = np.zeros(len(series.names), np.int64)
    for part in (data.splits["train"], data.splits["validation"]):
        rows = data.store.sequence(part.begin)
        np.maximum.at(seen, rows, part.high - part.begin)
    return seen
