"""The calibration of a run: a model of the same recipe is asked about origins that it has not seen.

It is trained on what precedes them, in a run of its own inside the folder of the run, and what its
forecasts miss by are the scores, which the run keeps. So they are the same whatever comes later.
"""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np

from recurra.data.chain import Chain
from recurra.generate.conformal import Conformal, units
from recurra.generate.foretold import Spread
from recurra.job import sharing
from recurra.job.again import go_on
from recurra.job.backtest import Model, Task, each, of_training, starts_of
from recurra.job.changes import Changes
from recurra.job.data import Data
from recurra.job.folds import Plan, least_history
from recurra.job.fresh import prepared
from recurra.job.intervals import base_of
from recurra.job.origins import Origins, by_sequence, origins_of
from recurra.job.reopen import recorded_paths
from recurra.job.rolling import without_future
from recurra.job.run import Run
from recurra.job.series import Series, series_of
from recurra.job.train import tell
from recurra.resolved import Resolved
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.records import CALIBRATION, Calibration
from recurra.train.errors import Floats
from recurra.train.events import Observer
from recurra.world import world

NAME = "calibration"
"""The folder of its runs, inside that of the run."""


def calibrate(run: Run, data: Data, observer: Observer) -> None:
    """Give a run its scores, unless it has those of its recipe.

    A training that was interrupted goes on. Several processes train and forecast together, and the
    first writes. Raises `InputError`, `Interrupted`, `RunError`.
    """
    resolved = run.resolved
    with resolved.placing():
        origins = origins_of(resolved, data)
        series = series_of(resolved, run.vocabulary, True, run.covariates)
    left_off = origins.left_off(series.lengths)
    past = past_of(resolved, data, series, left_off)
    recipe = recipe_of(past)
    here = world()
    recorded = here.alone(run.folder.records.calibration)
    if recorded is not None and recorded.recipe == recipe:
        return

    tell(observer, [f"calibration: training without the last {left_off:,} steps of each series"])
    model, seen = _trained(run.folder, past, observer)
    tell(observer, [f"calibration: forecasts from {origins.count:,} origins"])
    base = base_of(model)
    task = Task(past, series, Plan(origins.count, 1, origins.horizon), _none, _all(series), [])
    known = Model(model, of_training(series, seen, left_off))
    record = Calibration(
        recipe=recipe,
        over="point" if base is None else "spread",
        season=resolved.task.sequence.season,
        scores=[_scores(task, known, origins, origin, base) for origin in range(origins.count)],
    )
    text = files.json_text(record.model_dump(mode="json"))
    here.alone(lambda: run.folder.records.amend(CALIBRATION, text))


def past_of(resolved: Resolved, data: Data, series: Series, left_off: int) -> Resolved:
    """Return the task of the calibration model, of which whole series stay where they are held out.

    Raises `InputError` (RC041).
    """
    part = resolved.parts["target"]
    options = part.options.model_copy(update={"conformal": "none"})
    parts = {**resolved.parts, "target": replace(part, options=options)}
    generation = resolved.task.generation.model_copy(update={"levels": None})
    task = resolved.task.model_copy(update={"generation": generation})
    plain = replace(resolved, task=task, parts=parts)
    if not by_sequence(data):
        return without_future(plain, series, left_off)
    sequence = resolved.task.sequence
    leave_off = sequence.leave_off + left_off
    sequence = sequence.model_copy(update={"leave_off": leave_off})
    return replace(plain, task=task.model_copy(update={"sequence": sequence}))


def recipe_of(past: Resolved) -> str:
    """Return what tells one calibration model from another, wherever its data lies."""
    tables = past.tables()
    tables.pop("source")
    return sha256(files.json_text(tables).encode()).hexdigest()


def _trained(folder: RunFolder, past: Resolved, observer: Observer) -> tuple[Run, Data]:
    """Return the calibration model, whose training goes on where it had begun."""
    home, here = folder.path / NAME, world()
    begun = here.alone(lambda: _begun(home, past))
    if begun is not None:
        with sharing.held(begun):
            made = go_on(begun, Changes(begun, past, past), observer)
        return made, made.data(past)
    # Its cells are those of the run, and so are their paths: bits are equal within one alone.
    ready = prepared(past, execution=recorded_paths(folder, past))
    inner = here.alone(lambda: RunFolder.create(folder.path, NAME))
    return ready.trained(inner, observer), ready.data


def _begun(home: Path, past: Resolved) -> RunFolder | None:
    """Return the training of a task that has begun, if any."""
    begun = RunFolder.begun(home)
    text = None if begun is None else begun.path / "task.toml"
    of_task = text is not None and text.is_file() and text.read_text("utf-8") == past.toml()
    return begun if of_task else None


def _none(fold: int) -> Model:
    raise AssertionError("no fold is trained here")


def _all(series: Series) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    return np.ones(len(series.names), bool)


def _scores(
    task: Task, model: Model, origins: Origins, origin: int, base: Spread | None
) -> list[list[list[float]]]:
    """Return the scores of an origin, by step ahead and by column."""
    series, horizon = task.series, origins.horizon
    chain = Chain(model.run.vocabulary)
    able = origins.able(origin, least_history(chain.lag, chain.by_series))
    chosen = origins.rows[able]
    cutoffs = np.zeros(len(series.names), np.int64)
    cutoffs[origins.rows] = origins.cutoffs(origin)

    here = world()
    own = chosen[here.part(len(chosen))]

    def made() -> list[Floats]:
        return [foretold.points for foretold in each(task, model, own, cutoffs)]

    points = [point for part in here.gathered(here.together(made)) for point in part]
    starts = list(starts_of(task, model, chosen, cutoffs))
    season = task.resolved.task.sequence.season
    scores: list[Floats] = []
    for row, point, unit in zip(
        chosen.tolist(), points, units(starts, points, season, base), strict=True
    ):
        cutoff = int(cutoffs[row])
        came = series.between(row, cutoff, cutoff + horizon)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            scores.append((came - point) / unit)
    every = np.stack(scores) if scores else np.zeros((0, horizon, series.width))
    return [[own[np.isfinite(own)].tolist() for own in every[:, step].T] for step in range(horizon)]


def spread_of(run: Run) -> Conformal | None:
    """Return the spread of a run that has its scores."""
    record = run.folder.records.calibration()
    if record is None:
        return None
    scores = [
        [[np.asarray(column, np.float64) for column in step] for step in origin]
        for origin in record.scores
    ]
    base = base_of(run) if record.over == "spread" else None
    adaptive = run.resolved.target.conformal == "adaptive"
    return Conformal(scores, record.season, base, adaptive)
