"""The verbs of the command line, in Python: `check`, `run`, `resume`, `load`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.attribution import blaming
from recurra.compatibility import check_compatibility
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.job.build import build_network, build_optimizer, sized
from recurra.job.changes import changed
from recurra.job.data import load_data
from recurra.job.describe import describe, plugins
from recurra.job.paths import begins_inside
from recurra.job.preflight import preflight
from recurra.job.reopen import (
    fill,
    learned_answers,
    learned_vocabulary,
    recorded_paths,
    relearn,
    resolved_again,
    same_data,
)
from recurra.job.report import Report
from recurra.job.results import check_bands
from recurra.job.run import Run
from recurra.job.start import Start
from recurra.job.summary import summary
from recurra.job.train import tell, train, watching
from recurra.model.device import arithmetic
from recurra.randomness import SCHEME
from recurra.resolve import resolve
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.versions import (
    refuse_changed_files,
    warn_of_changed_files,
    warn_of_other_device,
    warn_of_other_paths,
    warn_of_others,
)
from recurra.train.events import Observer

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


def run(
    task: TaskLike,
    overrides: Overrides = (),
    *,
    data: Any = None,
    start: str | PathLike[str] | None = None,
    checkpoint: str = "best",
    add_symbols: bool = False,
    refit_scale: bool = False,
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
    of the run (RC030); the head begins anew where the target is another.

    One run is trained at a time: a thread that asks for another waits for its turn.

    With `expect`, a task without a band of `[expect]` is refused: its result would tell of none
    that broke. Raises `InputError` before anything is written, `RunError` if training fails,
    `Interrupted` once its state is saved.
    """
    observer = watching(observer)
    resolved = resolve(arguments.task(task), arguments.overrides(overrides), data=data)
    check_bands(resolved, expect)
    place = arguments.writable("runs", runs, resolved.task.name)
    origin = _start(start, checkpoint, add_symbols, refit_scale)
    if origin is not None:
        origin.check(resolved)

    with blaming(resolved), arithmetic(resolved.task.device):
        check_compatibility(resolved)
        loaded = load_data(resolved) if origin is None else origin.data(resolved)
        resets = begins_inside(resolved, loaded)
        network, choices = build_network(
            resolved,
            loaded.vocabulary.size,
            loaded.names,
            answers=loaded.answers.size,
            counts=loaded.counts,
            resets=resets,
        )
        if origin is not None:
            origin.give(network, resolved, loaded)
        build_optimizer(resolved, network)  # for its faults alone: training builds its own

        with sized(resolved, network):
            preflight(resolved, loaded, network)
            # What can be refused before training has been: from here on a run is written.
            folder = RunFolder.create(place, resolved.task.name)
            record = None if origin is None else origin.record()
            describe(folder, resolved, loaded, network, choices, record)
            tell(observer, [] if origin is None else origin.lines())
            this = Run(folder, resolved, loaded.vocabulary, loaded.answers, network, SCHEME)
            return train(this, loaded, observer)


def _start(
    path: str | PathLike[str] | None, checkpoint: str, add_symbols: bool, refit_scale: bool
) -> Start | None:
    """Open the run that another starts from, if there is one.

    Raises `InputError` (RC080) for what is said of none.
    """
    wider = arguments.flag("add_symbols", add_symbols)
    refits = arguments.flag("refit_scale", refit_scale)
    if path is None:
        said = {"checkpoint": checkpoint != "best", "add_symbols": wider, "refit_scale": refits}
        names = ", ".join(name for name, is_said in said.items() if is_said)
        if names:
            fact = f"{names} cannot be followed: the run starts from no other"
            cure = f"name the run with --from RUN (start=...), or leave {names} out"
            raise InputError.of("RC080", fact, cure=cure)
        return None

    opened = load(path, checkpoint)
    saved = opened.folder.checkpoints
    step = saved.index().get(checkpoint, saved.index()["last"])
    return Start(opened, step, saved.digest(step), wider, refits)


def resume(
    path: str | PathLike[str],
    overrides: Overrides = (),
    *,
    data: Any = None,
    observer: Observer | None = None,
    changed_plugins: bool = False,
    expect: bool = False,
) -> Run:
    """Go on with a run from its last whole checkpoint, bit for bit as if it had not stopped.

    `path` is its folder, or itself a run. Overrides change how long and how fast it trains on, when
    it looks, what it generates and what is expected of it; the folder records them with the step
    from which they hold. What would make another network or other batches is refused (RC080). A run
    whose data was given is to be given it again, as `data`.

    A local plugin file that was edited meanwhile is refused (RC045), unless `changed_plugins` takes
    it as it is now, and records it. Another version of an installed plugin is taken with a warning
    (`OtherVersion`), and recorded. `expect` is as in `run`. Raises `RunError` (RC052) if a file of
    the run is damaged or was changed.
    """
    observer = watching(observer)
    folder = RunFolder.open(arguments.path("run", path))
    folder.records.verify()
    warn_of_others(folder)
    changes = changed(folder, arguments.overrides(overrides), data)
    resolved = changes.asked
    check_bands(resolved, expect)
    if not changed_plugins:
        refuse_changed_files(folder, [part.entry for part in resolved.used])

    with blaming(resolved), arithmetic(resolved.task.device):
        if changes:
            check_compatibility(resolved)
        # It goes on on the paths that it has recorded, so that every bit is the same.
        recorded = recorded_paths(folder, resolved)
        loaded = same_data(folder, resolved)
        network, choices = build_network(
            resolved,
            loaded.vocabulary.size,
            answers=loaded.answers.size,
            resets=begins_inside(resolved, loaded),
            execution=recorded,
        )
        relearn(network, folder)

        warn_of_other_paths(folder, recorded.paths, choices)
        warn_of_other_device(folder, str(network.device))
        folder.records.amend("plugins.json", files.json_text(plugins(resolved)))

        with sized(resolved, network, recorded):
            if changes:
                preflight(resolved, loaded, network)
            randomness = recorded.randomness
            this = Run(folder, resolved, loaded.vocabulary, loaded.answers, network, randomness)
            return train(this, loaded, observer, changes)


def load(path: str | PathLike[str], which: str = "best") -> Run:
    """Open a run with its best weights, or its `last`; `path` is its folder, or itself a run.

    Raises `InputError` (RC051), `RunError` (RC052) if a file is damaged or was changed, and
    `PluginError` (RC070) if a plugin of the run is gone. Warns (`OtherVersion`) if one is of
    another version or its file was edited, and (`Unverified`) of a run that was made before files
    had hashes.
    """
    arguments.one_of("checkpoint", which, ("best", "last"))
    folder = RunFolder.open(arguments.path("run", path))
    checkpoint = folder.checkpoints.load(which)
    verified = folder.records.verify()
    warn_of_others(folder)
    resolved = resolved_again(folder)
    warn_of_changed_files(folder, [part.entry for part in resolved.used])

    with blaming(resolved), arithmetic(resolved.task.device):
        # What the run has learned is read from its folder: the data may be gone.
        vocabulary = learned_vocabulary(folder, resolved, verified)
        recorded = recorded_paths(folder, resolved)
        answers = learned_answers(folder, resolved, vocabulary)

        network, _ = build_network(
            resolved, vocabulary.size, answers=answers.size, execution=recorded
        )
        relearn(network, folder)
        fill(network, checkpoint, folder)
    return Run(folder, resolved, vocabulary, answers, network.eval(), recorded.randomness)
