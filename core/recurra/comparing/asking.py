"""The verb `compare`: a new comparison of a task, or one that goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

from recurra.comparing.comparison import Comparison, Telling, completed
from recurra.comparing.folder import CompareFolder
from recurra.comparing.planning import MATCHES, Question, planned, versions
from recurra.comparing.variants import parsed_vary, variants_of
from recurra.data.reads import reading_once
from recurra.errors import InputError, OtherVersion, warn
from recurra.generate import arguments
from recurra.job.data import load_data
from recurra.job.train import tell, watching
from recurra.resolve import resolve
from recurra.runs import files
from recurra.runs.folder import next_folder
from recurra.train.events import Observer
from recurra.trials.places import (
    HERE,
    Opening,
    ahead_of,
    checked_jobs,
    checked_place,
    opening,
)
from recurra.trials.pool import Ahead

DEFAULT = 5
"""Seeds of each variant."""
MOST_SEEDS = 1000
MOST_RATES = 32
WIDTH = "cell.hidden_size"


def compare(
    task: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] = (),
    *,
    cells: Any = None,
    vary: Any = None,
    seeds: int | None = None,
    match: str | None = None,
    tune_lr: int | None = None,
    metric: str | None = None,
    jobs: int | None = None,
    on: str = HERE,
    trust: bool = False,
    compares: str | PathLike[str] = "compares",
    observer: Observer | None = None,
) -> Comparison:
    """Train a task with several cells, or other options, at an equal budget in the same seeds.

    `cells` are their names; `vary` holds values of other keys, as a dict of lists, and with both
    each cell has each value. Widths are such that the recurrent layers come nearest to those of the
    first in what is to `match`: "parameters", "state", "flops", "time" of a step, or "none". Every
    variant has the same `seeds` (5), hence the same batches in the same order, and is judged once
    on the held-out split, by `metric` or by what the task's verdict is about. With `tune_lr` so
    many learning rates are tried of each on validation, in a seed that is not judged. So many
    `jobs` (as there are cores) are trained beside each other, each with one thread, here or `on`
    "ray", the machines of a Ray cluster that share the folder.

    The folder of a comparison that was interrupted, in place of a task, goes on; what is finished
    is never trained again. `trust` takes plugin files as they are now. A trial that diverges has
    failed, and counts. Raises `InputError` before anything is written, `Interrupted` with what is
    done.
    """
    observer = watching(observer)
    place = arguments.writable("compares", compares)
    at_once, where = checked_jobs(jobs), checked_place(on)

    def places(folder: CompareFolder, ahead: Ahead | None = None) -> Opening:
        return opening(folder.path / "logs", at_once, where, ahead)

    def told(lines: Iterable[str]) -> None:
        tell(observer, list(lines))

    folder = None
    if not isinstance(task, Mapping):
        folder = CompareFolder.found(arguments.path("task", task))
    if folder is not None:
        said = (tuple(arguments.overrides(overrides)), cells, vary, seeds, match, tune_lr, metric)
        if any(said):
            fact = f"{folder} says itself how it goes on"
            cure = "leave all options but jobs out, or begin another comparison"
            raise InputError.of("RC080", fact, cure=cure)
        return _gone_on(folder, places, arguments.flag("trust", trust), told)
    question = _asked(cells, vary, seeds, match, tune_lr, metric)
    given = arguments.task(task)
    changes = arguments.overrides(overrides)
    if not isinstance(changes, Mapping):
        changes = list(changes)
    with ahead_of(at_once, where) as ahead:
        return _begun(given, changes, question, place, partial(places, ahead=ahead), told, ahead)


def _asked(
    cells: Any,
    vary: Any,
    seeds: int | None,
    match: str | None,
    tune_lr: int | None,
    metric: str | None,
) -> Question:
    """Return what is asked for. Raises `InputError` (RC005, RC080) for what cannot be."""
    named = _cells(cells)
    varied = _varied(vary)
    by_width = WIDTH in varied
    if match is None:
        match = "parameters" if named and not by_width else "none"
    arguments.one_of("match", match, MATCHES)
    if by_width and match != "none":
        fact = f"{WIDTH} is what a match decides, and it is varied"
        raise InputError.of("RC080", fact, cure="match none, or vary something else")
    for key in ("seed", "device.threads", *(["cell.kind"] if named else [])):
        if key in varied:
            fact = f"{key} is not to be varied: a comparison sets it itself"
            raise InputError.of("RC080", fact, cure="leave it out, or use --seeds and --cells")
    return Question(
        variants=variants_of(named, varied),
        cells=named,
        seeds=arguments.whole("seeds", DEFAULT if seeds is None else seeds, 1, MOST_SEEDS),
        match=match,
        metric=metric,
        rates=arguments.whole("tune_lr", tune_lr or 0, 0, MOST_RATES),
    )


def _cells(cells: Any) -> list[str]:
    """Return the names of cells, of a list or of a text with commas."""
    if cells is None:
        return []
    listed = cells.split(",") if isinstance(cells, str) else list(cells)
    names = [str(cell).strip() for cell in listed]
    if not all(names):
        raise InputError.of("RC080", "cells are names with commas between", cure="lstm,gru")
    return names


def _varied(vary: Any) -> dict[str, list[Any]]:
    """Return the values of each key that is varied, of a dict or of texts `key=a,b`."""
    if vary is None:
        return {}
    if isinstance(vary, Mapping):
        return {str(key): list(values) for key, values in vary.items()}
    pairs = [parsed_vary(text) for text in ([vary] if isinstance(vary, str) else vary)]
    if len({key for key, _ in pairs}) < len(pairs):
        raise InputError.of("RC080", "a key is varied twice", cure="name all its values at once")
    return dict(pairs)


def _begun(
    task: Any,
    overrides: Mapping[str, Any] | Sequence[str],
    question: Question,
    root: Path,
    places: Callable[[CompareFolder], Opening],
    telling: Telling,
    ahead: Ahead,
) -> Comparison:
    """Plan a comparison, make its folder, and make its trials."""
    made = planned(task, overrides, question, telling, ahead)
    arguments.writable("compares", root, made.plan.task)
    folder = CompareFolder(
        next_folder(root / made.plan.task, "comparisons", "--compares"), made.plan
    )
    for variant, resolved in zip(made.plan.variants, made.tasks, strict=True):
        files.write_text(folder.path / f"{variant.folder}.toml", resolved.toml())
    with folder.held():
        folder.begin()
        telling(
            [f"{folder.path}: {len(made.plan.variants)} variants, {question.seeds} seeds of each"]
        )
        return completed(folder, places(folder), telling)


@reading_once
def _fingerprint(folder: CompareFolder, trust: bool) -> str:
    """Return the fingerprint of the data of all variants, as it is now.

    Raises `InputError` (RC045) where a plugin file has changed.
    """
    found = set()
    for variant in folder.plan.variants:
        resolved = resolve(folder.path / f"{variant.folder}.toml")
        if resolved.local_hashes() != folder.plan.plugins and not trust:
            fact = f"a plugin file of {folder.path} changed since it was begun"
            cure = "bring it back as it was, compare anew, or give --trust"
            raise InputError.of("RC045", fact, cure=cure)
        found.add(load_data(resolved).store.fingerprint)
    return " ".join(sorted(found))


def _gone_on(
    path: Path, places: Callable[[CompareFolder], Opening], trust: bool, telling: Telling
) -> Comparison:
    """Go on with a comparison: what is finished is never made again.

    Raises `InputError` (RC044, RC045) where its data or a plugin file has changed.
    """
    folder = CompareFolder.open(path)
    with folder.held():
        plan = folder.plan
        if _fingerprint(folder, trust) != plan.fingerprint:
            fact = f"the data of {path} has changed since it was begun"
            cure = "bring back the data as it was, or begin another comparison"
            raise InputError.of("RC044", fact, cure=cure)
        others = [f"{name} {was}" for name, was in plan.versions.items() if versions()[name] != was]
        if others:
            warn(f"{path} was begun with {', '.join(others)}; its trials are mixed", OtherVersion)
        return completed(folder, places(folder), telling)
