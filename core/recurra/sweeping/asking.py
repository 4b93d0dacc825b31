"""The verb `sweep`: a new sweep of a task, one that goes on, or one that others work at as well."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

from recurra import system
from recurra.comparing.planning import check_data, varied, versions
from recurra.errors import InputError, OtherVersion, Problem, warn
from recurra.generate import arguments
from recurra.job.data import load_data
from recurra.job.train import tell, watching
from recurra.resolved import Resolved
from recurra.runs.folder import next_folder
from recurra.sweeping.checks import Checked, checked
from recurra.sweeping.folder import RECORD, Plan, SweepFolder
from recurra.sweeping.results import Sweep, made_of
from recurra.sweeping.space import TRIALS, Spaced, read_space
from recurra.train.events import Observer
from recurra.trials.places import HERE, Opening, checked_jobs, checked_place, opening


def sweep(
    task: str | Path | Mapping[str, Any],
    space: str | Path | Mapping[str, Any] | None = None,
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    jobs: int | None = None,
    on: str = HERE,
    trust: bool = False,
    sweeps: str | PathLike[str] = "sweeps",
    folder: str | PathLike[str] | None = None,
    observer: Observer | None = None,
) -> Sweep:
    """Try values of a task's keys, and judge the best once on the held-out split.

    `space` is a TOML file, or its tables as a dict, that says which keys are tried with which
    values, how they are drawn and pruned, and which figures of validation decide. So many `jobs`
    (as there are cores) are trained beside each other, each with one thread, here or `on` "ray",
    the machines of a Ray cluster that share the folder. What comes of it lies
    in a new folder in `sweeps`, or in `folder`: several processes, on several machines that share
    it, may be told the same one, and make its trials together.

    The folder of a sweep, in place of a task and a space, goes on; what is finished is never
    trained again, and the best never judged again. `trust` takes plugin files as they are now.
    Raises `InputError` before anything is written, `RunError` (RC060) if no trial comes to its end,
    `Interrupted` with what is done.
    """
    observer = watching(observer)
    at_once, place_of_trials = checked_jobs(jobs), checked_place(on)
    check_installed()

    def told(lines: Iterable[str]) -> None:
        tell(observer, list(lines))

    place = arguments.writable("sweeps", sweeps)
    into = None if folder is None else arguments.writable("folder", folder)
    if space is None:
        found = None if isinstance(task, Mapping) else SweepFolder.found(Path(task))
        if found is None:
            fact = "there is a task, and no space that says what is varied"
            cure = "name a space's file behind the task, or the folder of a sweep that goes on"
            raise InputError.of("RC080", fact, cure=cure)
        if tuple(arguments.overrides(overrides)) or into is not None:
            fact = f"{found} says itself how it goes on"
            cure = "leave all options but jobs out, or begin another sweep"
            raise InputError.of("RC080", fact, cure=cure)
        held = SweepFolder.open(found)
        if held.is_judged:
            return made_of(held)
        spaced, checks = _again(held, arguments.flag("trust", trust))
    else:
        spaced = read_space(space if isinstance(space, Mapping) else arguments.path("space", space))
        given = arguments.task(task)
        changes = arguments.overrides(overrides)
        if not isinstance(changes, Mapping):
            changes = list(changes)
        checks = checked(given, changes, spaced)
        held = _begun(spaced, checks, place, into)

    places = opening(held.path / "logs", at_once, place_of_trials)
    return _swept(held, spaced, checks, places, told)


def _swept(
    folder: SweepFolder,
    spaced: Spaced,
    checks: Checked,
    places: Opening,
    telling: Callable[[Sequence[str]], None],
) -> Sweep:
    """Make the trials of a sweep that are not finished, and judge the best."""
    if folder.is_judged:
        return made_of(folder)
    # Here, since they import Optuna.
    from recurra.sweeping.conclusion import concluded
    from recurra.sweeping.making import Sweeping
    from recurra.sweeping.study import Study

    ways = ["minimize" if each.falls else "maximize" for each in checks.metrics.values()]
    plan = folder.plan
    study = Study(folder.storage, plan.study, ways, spaced.space, checks.domains)
    keys, how = len(checks.domains), spaced.space.sampler.kind
    telling([f"{folder.path}: {plan.trials} trials of {keys} keys, {how}"])
    sweeping = Sweeping(folder, study, spaced, places, telling)
    sweeping.made()
    return concluded(sweeping, spaced)


def check_installed() -> None:
    """Refuse a sweep where Optuna is not installed. Raises `InputError` (RC080)."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        fact = f"a sweep is made with Optuna, which is not installed: {error}"
        raise InputError.of("RC080", fact, cure="pip install 'recurra[sweep]'") from error


def _begun(spaced: Spaced, checks: Checked, root: Path, into: Path | None) -> SweepFolder:
    """Return a new sweep's folder, or one that another process has begun for the same sweep."""
    plan = _plan(spaced, checks)
    task = checks.base.toml()
    if into is None:
        arguments.writable("sweeps", root, plan.task)
        folder = SweepFolder(next_folder(root / plan.task, "sweeps", "--sweeps"), plan)
        folder.begin(task)
        return folder
    try:
        into.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fact = f"the folder for a sweep, {into}, cannot be written: {error.strerror or error}"
        raise InputError.of("RC050", fact, cure="name another one with --folder") from error
    with system.awaited(into / ".beginning", "beginning a sweep", in_turn=True):
        if (into / RECORD).exists():
            there = SweepFolder.open(into)
            there.check(plan, task)
            return there
        folder = SweepFolder(into, plan)
        folder.begin(task)
    return folder


def _plan(spaced: Spaced, checks: Checked) -> Plan:
    """Return what is decided of a sweep. Raises `InputError` (RC080) where nothing judges it."""
    base, space = checks.base, spaced.space
    check_data(base)
    data = load_data(base)
    if not data.splits["validation"].steps:
        fact = "trials are judged on validation, and this task has none"
        cure = "give sequence.split a validation share"
        problem = Problem("RC080", fact, "sequence.split", cure=cure)
        raise InputError([base.place(problem)])
    trials = space.trials or TRIALS
    if space.sampler.kind == "grid":
        from recurra.sweeping.samplers import assignments

        points = sum(1 for _ in assignments(checks.domains))
        trials = min(space.trials or points, points)
    fingerprint = data.store.fingerprint
    tables = spaced.tables()
    said = json.dumps([base.toml(), tables, fingerprint, base.local_hashes()], sort_keys=True)
    name = hashlib.sha256(said.encode()).hexdigest()[:16]
    return Plan(
        task=base.task.name,
        study=f"recurra-{name}",
        trials=trials,
        metrics=checks.metrics,
        seeds=[base.task.seed + number for number in range(space.seeds)],
        space=tables,
        fingerprint=fingerprint,
        split=data.held_out(),
        versions=versions(),
        plugins=base.local_hashes(),
    )


def _again(folder: SweepFolder, trust: bool) -> tuple[Spaced, Checked]:
    """Return the space of a sweep that goes on, held against its task again.

    Raises `InputError` (RC044, RC045) where its data or a plugin file has changed.
    """
    spaced = read_space(folder.plan.space)
    base: Resolved = varied(folder.task, {}, {})
    path, plan = folder.path, folder.plan
    if base.local_hashes() != plan.plugins and not trust:
        fact = f"a plugin file of {path} changed since it was begun"
        cure = "bring it back as it was, sweep anew, or give --trust"
        raise InputError.of("RC045", fact, cure=cure)
    if load_data(base).store.fingerprint != plan.fingerprint:
        fact = f"the data of {path} has changed since it was begun"
        cure = "bring back the data as it was, or begin another sweep"
        raise InputError.of("RC044", fact, cure=cure)
    others = [f"{name} {was}" for name, was in plan.versions.items() if versions()[name] != was]
    if others:
        warn(f"{path} was begun with {', '.join(others)}; its trials are mixed", OtherVersion)
    return spaced, checked(folder.task, {}, spaced)
