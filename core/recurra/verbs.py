"""The verbs of the command line, in Python, from `check` and `run` to `bundle`."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.attribution import blaming
from recurra.compatibility import check_compatibility, check_trackers
from recurra.data.reads import reading_once
from recurra.errors import InputError, Problem
from recurra.generate import arguments
from recurra.generate.levels import parsed
from recurra.job import relaunch, sharing
from recurra.job.again import go_on
from recurra.job.agreement import agreed
from recurra.job.backtest import Backtest
from recurra.job.backtest import backtest as rolled
from recurra.job.bundling import bundle as bundled
from recurra.job.changes import changed
from recurra.job.covariates import precision
from recurra.job.data import Data, load_data
from recurra.job.folds import Plan
from recurra.job.frame import form_of, model_column
from recurra.job.fresh import Prepared, prepared
from recurra.job.intervals import with_levels
from recurra.job.opening import opened
from recurra.job.reopen import recorded_paths
from recurra.job.report import Report
from recurra.job.reproducing import TOLERANCE, Reproduction
from recurra.job.reproducing import reproduce as reproduced
from recurra.job.results import check_bands
from recurra.job.rolling import (
    backtest_of_run,
    check_histories,
    of_first_fold,
    of_run,
    of_task,
    plan_of,
    without_future,
)
from recurra.job.run import Run
from recurra.job.start import start_of
from recurra.job.summary import summary
from recurra.job.train import tell, watching
from recurra.model.device import arithmetic
from recurra.resolve import resolve
from recurra.resolved import Resolved
from recurra.runs.backtests import Asked, BacktestFolder, newest
from recurra.runs.folder import RunFolder
from recurra.runs.versions import check_trusted, check_trusted_files, warn_of_others
from recurra.spec.tables import TRACK
from recurra.spec.tracks import as_asked, with_trackers
from recurra.train.events import Observer
from recurra.verifying.proof import Proof, Verified
from recurra.verifying.rhythm import UPDATES, foretold, shortened
from recurra.world import jointly, world

Overrides = Iterable[str] | Mapping[str, Any]
TaskLike = str | Path | Mapping[str, Any]
"""A task: its file, or its tables as a dict."""


def check(task: TaskLike, overrides: Overrides = (), *, data: Any = None) -> dict[str, Any]:
    """Return everything that can be known of a task without training it.

    `task` and `data` are as in `run`. Raises `InputError` or `PluginError`.
    """
    return report(task, overrides, data=data).as_data()


def report(task: TaskLike, overrides: Overrides = (), *, data: Any = None) -> Report:
    """Return what `check` does, before it is plain data."""
    resolved = resolve(arguments.task(task), arguments.overrides(overrides), data=data)
    with blaming(resolved), arithmetic(resolved.task.device):
        check_compatibility(resolved)
        return summary(resolved, load_data(resolved))


@jointly
@reading_once
def run(
    task: TaskLike,
    overrides: Overrides = (),
    *,
    data: Any = None,
    start: str | PathLike[str] | None = None,
    checkpoint: str = "best",
    add_symbols: bool = False,
    refit_scale: bool = False,
    trust: bool = False,
    levels: Any = None,
    paths_of: str | PathLike[str] | None = None,
    track: Iterable[Any] | None = None,
    runs: str | Path = "runs",
    observer: Observer | None = None,
    expect: bool = False,
) -> Run:
    """Check, train, evaluate and generate one task; return the run, with its figures in `.result`.

    A task is a file, or its tables as a dict. `data` takes the place of what its source would read:
    an array `[N]` or `[N, F]` is one series, a list of arrays, of texts or of lists of tokens holds
    sequences, and a dict of columns or a DataFrame is a table, for which `[source]` says what the
    columns are for.

    With `start`, another run or its folder, training begins from the weights of its `checkpoint`
    (`best` or `last`) and reads with its vocabulary, scale and labels, with a new optimizer.
    Symbols and labels that it does not know are refused (RC043), or with `add_symbols` get rows of
    their own; with `refit_scale` numbers are scaled by this data. Encoder and cells must be those
    of the run (RC030); the head begins anew where the target is another. `trust` is as in `load`.

    One run is trained at a time: a thread that asks for another waits for its turn. Where torchrun
    has started several processes they train it together, and the first writes.

    Forecasts have intervals at `levels`, which stand for `generation.levels`, as in `Run.forecast`.
    `paths_of` is another run of the same network, or its folder: the cells take the execution paths
    that it records, so that every bit can be compared.

    `track` names trackers that are told of the run, in place of those of the task: `"csv"`,
    `"mlflow(experiment=x)"` or a table of options each. They are no part of the run, and one that
    cannot be told does not stop it (`Untracked`).

    With `expect`, a task without a band of `[expect]` is refused: its result would tell of none
    that broke. Raises `InputError` before anything is written, `RunError` if training fails,
    `Interrupted` once its state is saved.
    """
    observer = watching(observer)
    changed = with_trackers(with_levels(arguments.overrides(overrides), levels), track)
    here, launch = world(), relaunch.this_launch()
    with as_asked():
        resolved = here.together(lambda: resolve(arguments.task(task), changed, data=data))
        check_trackers(resolved)
    check_bands(resolved, expect)
    agreed(resolved)
    name = resolved.task.name
    place = here.alone(lambda: arguments.writable("runs", runs, name))
    before = here.alone(lambda: relaunch.begun(Path(place) / name, resolved, launch))
    if before is not None:
        tell(observer, [f"{before} was begun by this launch of torchrun, and goes on"])
        return resume(before, data=data, observer=observer, trust=trust, expect=expect)
    origin = start_of(start, checkpoint, add_symbols, refit_scale, trust)
    if origin is not None:
        origin.check(resolved)

    execution = None
    if paths_of is not None:
        recorded = RunFolder.open(arguments.path("paths_of", paths_of))
        execution = recorded_paths(recorded, resolved)
    ready = prepared(resolved, origin, execution)
    # What can be refused before training has been: from here on a run is written.
    folder = here.alone(lambda: relaunch.note(RunFolder.create(place, name), launch))
    return ready.trained(folder, observer, trackers=resolved.trackers)


@jointly
def resume(
    path: str | PathLike[str],
    overrides: Overrides = (),
    *,
    data: Any = None,
    observer: Observer | None = None,
    trust: bool = False,
    changed_plugins: bool = False,
    checkpoint: int | None = None,
    track: Iterable[Any] | None = None,
    expect: bool = False,
) -> Run:
    """Go on with a run from its last whole checkpoint, bit for bit as if it had not stopped.

    Where that is damaged, the error names the one before, from which the run goes on if it is told
    so with `checkpoint`, its step: those after it are dropped.

    `path` is its folder, or itself a run. Overrides change how long and how fast it trains on, when
    it looks, what it generates and what is expected of it; the folder records them with the step
    from which they hold. What would make another network or other batches is refused (RC080). A run
    whose data was given is to be given it again, as `data`.

    A local plugin file that was edited meanwhile is refused (RC045), unless `trust` takes it as it
    is now, and records it; `changed_plugins` is the name that this had before. Another version of
    an installed plugin is taken with a warning (`OtherVersion`), and recorded. The trackers of the
    run go on where they were, unless `track` names others, which are told all that it records.
    `expect` is as in `run`. Raises `InputError` (RC055) if another process trains the run, and
    `RunError` (RC052) if a file of it is damaged or was changed.
    """
    observer = watching(observer)
    folder = world().together(lambda: RunFolder.open(arguments.path("run", path)))
    # What another process makes of the run meanwhile would not be what was read.
    with sharing.held(folder):
        folder.records.verify()
        warn_of_others(folder)
        trusted = arguments.flag("changed_plugins", changed_plugins) or trust
        check_trusted(folder, arguments.flag("trust", trusted), tell=False)
        asked = with_trackers(arguments.overrides(overrides), track)
        with as_asked():
            changes = changed(folder, asked, data)
            check_trackers(changes.asked)
        if checkpoint is not None:
            changes = replace(changes, step=arguments.whole("checkpoint", checkpoint))
        resolved = changes.asked
        check_bands(resolved, expect)
        agreed(resolved)
        trackers = resolved.trackers if TRACK in resolved.document.data else None
        return go_on(folder, changes, observer, trackers=trackers)


def verify(
    task: TaskLike,
    overrides: Overrides = (),
    *,
    kills: int = 5,
    steps: int | None = UPDATES,
    seed: int = 0,
    runs: str | PathLike[str] | None = None,
    observer: Observer | None = None,
) -> Verified:
    """Prove on this machine that a task that is killed and resumed leaves what it leaves unkilled.

    One process trains the task and is left alone. Others train it again, each killed (SIGKILL) at a
    moment that `seed` draws: at its start, between updates, in validations, inside the writing of
    checkpoints, in the last figures; and resumed by `recurra resume`. Then every byte of both runs
    is compared, but clocks. Of a longer task no more than `steps` updates are made, all with None.
    Both runs lie in a temporary folder, or in one in `runs`, where they are kept, as they are where
    they differ. Raises `InputError` for a task that no other process can train, as one whose data
    is given in Python, and the error of the run that is left alone where that fails.
    """
    observer = watching(observer)
    arguments.whole("kills", kills, 1)
    arguments.whole("seed", seed)
    limit = None if steps is None else arguments.whole("steps", steps, 1)
    place = None if runs is None else arguments.writable("runs", runs)
    resolved = resolve(arguments.task(task), arguments.overrides(overrides))
    if "data" in resolved.parts["source"].entry.component.lacks:
        fact = "data that is given in Python is in this process alone, and a run that is killed is"
        fact += " another one"
        cure = "write the data to a file, and name that in [source]"
        raise InputError([resolved.place(Problem("RC080", fact, "source.kind", cure=cure))])

    began = time.monotonic()
    with blaming(resolved), arithmetic(resolved.task.device):
        check_compatibility(resolved)
        told = summary(resolved, load_data(resolved))
    small = shortened(resolved, told, limit)
    tell(observer, foretold(small, told, kills, time.monotonic() - began))
    return Proof(small, resolved.task.name, place).made(
        kills, seed, lambda line: tell(observer, [line])
    )


@jointly
@reading_once
def backtest(
    task_or_run: TaskLike | Run,
    overrides: Overrides = (),
    *,
    folds: int | None = None,
    step: int | None = None,
    horizon: int | None = None,
    retrain: bool = False,
    levels: Any = None,
    data: Any = None,
    trust: bool = False,
    output: str | PathLike[str] | None = None,
    backtests: str | Path = "backtests",
    observer: Observer | None = None,
) -> Backtest:
    """Forecast what came after several cutoffs of each series from what preceded them alone.

    Of so many `folds` (3) the last ends with each series, and the one before it begins a `step`
    earlier (by default the horizon). Of a task one model is trained on what precedes the first
    cutoff, or with `retrain` one for each fold on what precedes its own: scales, powers and early
    stopping see no more. Of a run its own model forecasts; a cutoff inside what it was trained on
    is refused (RC080). Of the folder of a backtest that was interrupted what is missing is made.

    `horizon` is by default the length that the task generates. Forecasts have intervals at
    `levels`, as in `Run.forecast`. `overrides` and `data` are as in `run`, or for a run as in
    `Run.evaluate`, and `trust` as in `load`; `output` is a file for the frame (.csv, .jsonl,
    .parquet). Where torchrun has started several processes they share out the work, and the first
    writes. Raises `InputError` before anything is written, `RunError` and `Interrupted` with what
    is done.
    """
    observer = watching(observer)
    into = None if output is None else arguments.path("output", output)
    if into is not None:
        form_of(into)
    arguments.flag("retrain", retrain)
    place = arguments.writable("backtests", backtests)

    subject = _subject(task_or_run, arguments.flag("trust", trust))
    if isinstance(subject, BacktestFolder):
        said = (tuple(arguments.overrides(overrides)), folds, step, horizon, retrain, levels)
        if any(said):
            fact = f"{subject.path} says itself how it goes on"
            cure = "leave all options but output and data out, or begin another backtest"
            raise InputError.of("RC080", fact, cure=cure)
        done = _gone_on(subject, data, trust, observer)
    else:
        shape = (3 if folds is None else folds, step, horizon)
        if isinstance(subject, Run):
            if retrain:
                fact = "a run forecasts with the model that it has, and trains none"
                raise InputError.of("RC080", fact, cure="give its task, or leave retrain out")
            done = backtest_of_run(subject, overrides, data, shape, levels, place, observer)
        else:
            how = shape, retrain, levels
            done = _backtest_of_task(subject, overrides, data, how, place, observer)
    if into is not None:
        world().alone(partial(done.write, into))
    return done


def _subject(asked: TaskLike | Run, trust: bool) -> TaskLike | Run | BacktestFolder:
    """Return what is backtested: a task, a run that is opened, or a backtest that is gone on with.

    Raises `InputError` (RC051).
    """
    if isinstance(asked, Run | Mapping):
        return asked
    path = arguments.path("task", asked)
    last = world().alone(lambda: newest(path))
    if BacktestFolder.is_one(last):
        return BacktestFolder.open(last)
    if path.is_file() or path.suffix == ".toml":
        return path
    return load(path, trust=trust)


def _backtest_of_task(
    task: TaskLike,
    overrides: Overrides,
    data: Any,
    how: tuple[tuple[int, int | None, int | None], bool, Any],
    place: Path,
    observer: Observer,
) -> Backtest:
    """Backtest a task. What can be refused of it is, before there is a folder.

    `how` says in which shape, whether each fold trains a model, and which levels are asked for.
    """
    shape, retrain, levels = how
    resolved = resolve(arguments.task(task), arguments.overrides(overrides), data=data)
    arguments.writable("backtests", place, resolved.task.name)
    plan = plan_of(resolved, *shape)
    ready: dict[int, Prepared] = {}
    made: list[BacktestFolder] = []

    def trained(fold: int, past: Resolved) -> tuple[Run, Data]:
        return _trained(made[0], fold, ready.pop(fold, None), past, data, False, observer)

    with blaming(resolved):
        asked = of_task(resolved, plan, retrain, trained, levels)
    with of_first_fold(plan):
        ready[1] = prepared(without_future(resolved, asked.series, plan.left_off(1)))
    with resolved.placing():
        known, last = ready[1].data, 1 if retrain else plan.folds
        for fold in range(last, plan.folds + 1):
            if fold > last:
                # A model of its own has a scale of its own, of what precedes its cutoff.
                past = without_future(resolved, asked.series, plan.left_off(fold))
                known = sharing.shared_out(partial(load_data, past))
            own = known.vocabulary, known.covariates
            check_histories(asked.series, plan, *own, precision(resolved), fold)
    record = Asked(
        folds=plan.folds,
        step=plan.step,
        horizon=plan.horizon,
        retrain=retrain,
        model=model_column(resolved.task.name),
        levels=None if levels is None else list(parsed("levels", levels)),
        fingerprint=asked.series.store.fingerprint,
        plugins=resolved.local_hashes(),
    )
    parts = place, resolved.task.name, record, resolved.toml()
    made.append(world().alone(lambda: BacktestFolder.create(*parts)))
    return rolled(made[0], asked, observer)


def _trained(
    folder: BacktestFolder,
    fold: int,
    ready: Prepared | None,
    past: Resolved,
    data: Any,
    trust: bool,
    observer: Observer,
) -> tuple[Run, Data]:
    """Return the run of a fold: a new one, or the one that has begun, to its end."""
    root, name = folder.home(fold)
    begun = world().alone(lambda: RunFolder.begun(root / name))
    if begun is not None:
        again = resume(begun.path, data=data, trust=trust, observer=observer)
        return again, again.data(past)
    tell(observer, [f"fold {fold} of {folder.asked.folds}: training"])
    ready = ready or prepared(past)
    made = world().alone(lambda: RunFolder.create(root, name))
    return ready.trained(made, observer), ready.data


def _gone_on(folder: BacktestFolder, data: Any, trust: bool, observer: Observer) -> Backtest:
    """Go on with a backtest. Raises `InputError` (RC044, RC045) where its data has changed."""
    asked = folder.asked
    check_trusted_files(folder.path, asked.plugins, trust)
    plan = Plan(asked.folds, asked.step, asked.horizon)
    resolved = resolve(folder.path / "task.toml", data=data, recorded=True)

    def trained(fold: int, past: Resolved) -> tuple[Run, Data]:
        return _trained(folder, fold, None, past, data, trust, observer)

    with blaming(resolved):
        if asked.run is None:
            task = of_task(resolved, plan, asked.retrain, trained, asked.levels)
        else:
            task = of_run(load(asked.run, trust=trust), resolved, plan, asked.levels)
    if task.series.store.fingerprint != asked.fingerprint:
        fact = f"the data of {folder.path} has changed since it was begun"
        cure = "bring back the data as it was, or begin another backtest"
        raise InputError.of("RC044", fact, cure=cure)
    return rolled(folder, task, observer)


def load(path: str | PathLike[str], which: str | int = "best", *, trust: bool = False) -> Run:
    """Open a run with its best weights, its `last`, or those of the checkpoint of a step.

    `path` is its folder, or itself a run.

    Raises `InputError` (RC051), `RunError` (RC052) if a file is damaged or was changed, and
    `PluginError` (RC070) if a plugin of the run is gone. A local plugin file that was edited since
    is refused (RC045) before any of it runs, unless you `trust` it as it is now. Warns
    (`OtherVersion`) of what is trusted and of a plugin of another version, and (`Unverified`) of a
    run that was made before files had hashes.
    """
    if isinstance(which, str):
        arguments.one_of("checkpoint", which, ("best", "last"))
    else:
        which = arguments.whole("checkpoint", which)
    folder = RunFolder.open(arguments.path("run", path))
    return opened(folder, which, arguments.flag("trust", trust))


def bundle(
    path: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    with_data: bool = False,
) -> Path:
    """Put a run into one file, from which it can be trained again; return the file's path.

    `path` is its folder, or itself a run. The file holds its task, its records, its weights and the
    local plugins and other files that the task names; of its data the hashes, or `with_data` the
    files. It is a zip archive, the same to the byte whenever it is made of the same run, and is
    called after the task where no `output` says its name. Raises `InputError` and `RunError` for a
    run that could not be trained again from it.
    """
    into = None if output is None else arguments.path("output", output)
    return bundled(arguments.path("run", path), into, arguments.flag("with_data", with_data))


def reproduce(
    path: str | PathLike[str],
    overrides: Overrides = (),
    *,
    data: Any = None,
    trust: bool = False,
    tolerance: float = TOLERANCE,
    runs: str | Path = "runs",
    observer: Observer | None = None,
) -> Reproduction:
    """Train the run of a bundle again, and tell whether it is what it was.

    Where nothing differs on which bits depend (versions, processor, device, threads, paths), every
    bit must be the same; else the loss and the figure of the verdict must be within `tolerance`, a
    share of them. The new run lies in `runs`, and the bundle is unpacked inside it. `overrides` say
    where the data lies now, as `source.path`; data that was given is to be given again. The code of
    local plugins that a bundle brings runs only where you `trust` it (RC046).

    Raises `InputError` for what is no bundle (RC056), and for data that is not there (RC001, RC040)
    or is other data (RC044), and `PluginError` (RC070) for a plugin that is not installed.
    """
    observer = watching(observer)
    place = arguments.writable("runs", runs)
    share = arguments.share("tolerance", tolerance)
    trusted = arguments.flag("trust", trust)
    asked = arguments.overrides(overrides)
    return reproduced(arguments.path("bundle", path), asked, data, trusted, share, place, observer)
