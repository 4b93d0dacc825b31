"""What a run goes on from, and how: its sessions, a prompt, the end of a series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.compatibility import GIVES_ANSWERS
from recurra.contracts.distribution import Distribution
from recurra.contracts.source import FUTURE, PAST
from recurra.data.covariate_vocabulary import Rows
from recurra.errors import InputError
from recurra.generate import arguments, beginning
from recurra.generate.abreast import Start
from recurra.generate.companion import Companion, without_calendar
from recurra.generate.elements import encoded
from recurra.generate.foretold import Intervals, around
from recurra.generate.session import SEEDS, Session
from recurra.generate.spreads import Paths
from recurra.job.answers import as_steps
from recurra.job.chosen import check_series, ending
from recurra.job.covariates import Called, check_reach, step_ahead
from recurra.job.intervals import check_steps
from recurra.model.probe import counts_steps
from recurra.spec.tables import Generation

if TYPE_CHECKING:
    from recurra.job.run import Run


class Given(NamedTuple):
    """What a caller gives to go on from; what is not given is as the run has it.

    `position` is that of the prompt, `covariates` stand beside it, `time` is the stamp of its first
    step, and a `series` is one of `data`.
    """

    prompt: Any = None
    position: int | None = None
    warm: bool | None = None
    covariates: Mapping[str, Any] | None = None
    static_covariates: Mapping[str, Any] | None = None
    series: str | int | None = None
    data: Any = None
    time: Any = None


def session(
    run: Run, seed: int | None, streams: int, companion: Companion | None, position: int
) -> Session:
    """Return a session at a position of the data, which may be one that no clock reads.

    Raises `InputError` (RC080).
    """
    _check_generates(run)
    if seed is not None:
        run.elements.drawn_by("seed", isinstance(run.network.loss, Distribution))
    seed = run.task.seed if seed is None else seed
    settled = seed, streams, position, run.scheme
    more: Any = {"outlook": run.outlook, "companion": companion}
    return Session(run.network, run.vocabulary, *settled, **more)


def companion(run: Run, static: Mapping[str, Any] | None, time: Any = None) -> Companion | None:
    """Return what is read beside a series, if anything is. Raises `InputError` (RC080)."""
    if run.covariates is not None:
        return Companion.of(run.covariates, static, time)
    _check_read(run, static)
    if time is not None:
        raise without_calendar()
    return None


def _check_read(run: Run, *covariates: Mapping[str, Any] | None) -> None:
    """Refuse covariates where none are read. Raises `InputError` (RC080)."""
    if any(covariates) and run.covariates is None:
        fact = "this run reads no covariates"
        raise InputError.of("RC080", fact, key="covariates", cure="leave them out")


def check_clock(run: Run, position: int) -> None:
    """Refuse a position above 0 where no encoder counts steps. Raises `InputError` (RC080)."""
    if arguments.whole("position", position) and not counts_steps(run.network):
        fact = "position is for an encoder with a clock, and this one has none"
        raise InputError.of("RC080", fact)


def steps(
    run: Run,
    given: Given,
    length: int | None,
    sampling: Mapping[str, Any],
    seed: int | None,
    streams: int,
    levels: Any = None,
) -> Iterator[Any]:
    """Return the steps that a run generates. Raises `InputError` before the first of them.

    At `levels` a step is a dict of what is `predicted` and the bounds of its intervals.
    """
    _check_generates(run)
    settings = _settings(run, length, sampling)
    intervals = None if levels is None else run.intervals(levels)
    check_steps(intervals, settings.length, "length", True)
    intervals = _seeded(run, intervals, seed)
    run.resolved.check_ahead("length", settings.length)
    check_series(given.prompt, given.warm, given.series, given.data)
    if given.prompt is None:
        given = given._replace(prompt=run.task.generation.prompt)
    _check_position(run, given)
    if given.warm is None:
        given = given._replace(warm=settings.warm)
    arguments.flag("warm", given.warm)
    given = given._replace(
        covariates=arguments.named("covariates", given.covariates),
        static_covariates=arguments.named("static_covariates", given.static_covariates),
    )
    _check_beside(run, given)
    run.elements.check_draws(settings, seed, streams)

    begun, called = _begun(run, given, settings, seed, streams)
    check_reach(begun, settings.length, called)
    # If nothing was read, this raises now and not at the first step.
    begun.expected()
    made = run.elements.generated(begun, settings, streams)
    return made if intervals is None else _within(run, given, intervals, list(made))


def _seeded(run: Run, intervals: Intervals | None, seed: int | None) -> Intervals | None:
    """Return intervals whose paths another seed draws.

    Raises `InputError` (RC080) for a seed where none are drawn.
    """
    if seed is None:
        return intervals
    spread = None if intervals is None else intervals.spread
    run.elements.drawn_by("seed", isinstance(spread, Paths))
    if intervals is None or not isinstance(spread, Paths):
        return intervals
    seed = arguments.whole("seed", seed, 0, SEEDS)
    return replace(intervals, spread=replace(spread, seed=seed))


def _within(
    run: Run, given: Given, intervals: Intervals, made: list[Any]
) -> Iterator[dict[str, Any]]:
    """Give the steps of a forecast with the bounds of their intervals."""
    bounds = bounds_of(run, given, made, intervals)
    for place, step in enumerate(made):
        yield {"predicted": step, **{name: each[place] for name, each in bounds.items()}}


def bounds_of(
    run: Run, given: Given, made: list[Any], intervals: Intervals | None
) -> dict[str, list[Any]]:
    """Return the bounds of the intervals around a forecast, step by step, by their names."""
    if intervals is None or not made:
        return {}
    points = np.asarray(made, np.float64).reshape(len(made), -1)
    (told,) = around(intervals, [_start(run, given)], [points])
    return {name: as_steps(bound) for name, bound in zip(intervals.names, told.bounds, strict=True)}


def _start(run: Run, given: Given) -> Start:
    """Return what a forecast goes on from: what a session has read of it, and where."""
    if given.series is not None:
        end = ending(run, given.series, given.data)
        return Start(end.values, end.position, None, end.beside, end.name)

    values = None
    if given.prompt is not None:
        values = encoded(run.vocabulary, given.prompt)
        if not given.warm:
            position = given.position or run.task.generation.position
            return Start(values, position, None, _beside_prompt(run, given))
    history = _opening(run)
    beside = None if run.covariates is None else beginning.recorded_covariates(run.folder)
    if values is not None:
        beside = _followed(run, given, beside, len(history))
        history = np.concatenate([history, values])
    return Start(history, run.folder.records.data().opening_position, None, beside)


def _beside_prompt(run: Run, given: Given) -> Rows | None:
    """Return the covariates that stand beside a prompt, if any are read."""
    if run.covariates is None:
        return None
    named = {**(given.covariates or {}), **(given.static_covariates or {})}
    dated = run.covariates.dated
    since = None if dated is None else dated.since(given.time)
    tables = {
        role: {name: named[name] for name in run.covariates.names(role)}
        for role in run.covariates.tables
    }
    return run.covariates.rows(tables, "of the prompt", since)


def _followed(run: Run, given: Given, rows: Rows | None, steps: int) -> Rows | None:
    """Return the covariates of so many steps of a series, and then of a prompt."""
    if run.covariates is None or rows is None:
        return None
    parts = {}
    for role, own in ((PAST, rows.past), (FUTURE, rows.future)):
        names = run.covariates.names(role)
        listed = given.covariates or {}
        parts[role] = own
        if names and all(name in listed for name in names):
            more = run.covariates.tables[role].rows(listed, "of the prompt")
            parts[role] = np.concatenate([own[:steps], more])
    return rows._replace(past=parts[PAST], future=parts[FUTURE])


def _begun(
    run: Run, given: Given, settings: Generation, seed: int | None, streams: int
) -> tuple[Session, Called]:
    """Return a session that has read what is given, and what tells how later steps are called.

    Raises `InputError`.
    """
    if given.series is not None:
        end = ending(run, given.series, given.data)
        begun = session(run, seed, streams, _known(run, end.beside), end.position)
        return begun.feed_ids(end.values, end.beside), end.called

    if given.prompt is None or given.warm:
        rows = None if run.covariates is None else beginning.recorded_covariates(run.folder)
        beside = _known(run, rows)
    else:
        beside = companion(run, given.static_covariates, given.time)
    make = partial(session, run, seed, streams, beside)
    position = settings.position if given.position is None else given.position
    begun = beginning.begun(
        make, run.folder, given.prompt, position, bool(given.warm), given.covariates
    )
    return begun, step_ahead


def _known(run: Run, rows: Rows | None) -> Companion | None:
    """Return what is read beside a series that begins with some rows, if anything is."""
    if run.covariates is None or rows is None:
        return None
    return Companion.beside(run.covariates, rows)


def _check_beside(run: Run, given: Given) -> None:
    """Refuse covariates beside what has its own, and where none are read.

    Raises `InputError` (RC080).
    """
    _check_read(run, given.covariates, given.static_covariates)
    of_data = given.prompt is None or given.series is not None
    if given.covariates and of_data:
        fact = "covariates stand beside a prompt, and there is none"
        cure = "give a prompt: what the data ends with has covariates of its own"
        raise InputError.of("RC080", fact, key="covariates", cure=cure)
    if given.static_covariates and (of_data or given.warm):
        fact = "static covariates are those of a series that is prompted, and this one is of the"
        fact += " data, and has its own"
        cure = "leave them out, or give a prompt alone"
        raise InputError.of("RC080", fact, key="covariates", cure=cure)
    if given.time is not None and (of_data or given.warm):
        fact = "time is the stamp of a prompt, and what is gone on from here is of the data, and"
        fact += " has its own"
        raise InputError.of(
            "RC080", fact, key="time", cure="leave time out, or give a prompt alone"
        )


def _check_generates(run: Run) -> None:
    """Refuse to go on where answers cannot be read as what comes next.

    Raises `InputError` (RC080).
    """
    if not run.resolved.target.generates:
        name = run.resolved.parts["target"].entry.component.name
        why = GIVES_ANSWERS[run.resolved.target.scope]
        fact = f"nothing is generated where target {name!r} is asked: {why}"
        raise InputError.of("RC080", fact, cure="`recurra predict` gives its answers")


def _check_position(run: Run, given: Given) -> None:
    """Refuse a position that nothing would read. Raises `InputError` (RC080)."""
    if given.position is None:
        return
    check_clock(run, given.position)
    if given.prompt is None or given.series is not None:
        fact = (
            "position is that of a prompt, and there is none: what generation goes on from knows"
            " its own"
        )
        raise InputError.of("RC080", fact, cure="give a prompt, or leave position out")


def _settings(run: Run, length: int | None, sampling: Mapping[str, Any]) -> Generation:
    """Return the task's generation table with what the caller changes.

    Raises `InputError` (RC080).
    """
    changed = {name: value for name, value in sampling.items() if value is not None}
    run.elements.sampled_by(changed)
    if length is not None:
        changed["length"] = length
    return arguments.generation(changed, run.task.generation)


def _opening(run: Run) -> NDArray[Any]:
    return beginning.recorded(run.vocabulary, run.folder, "opening")


def shown(run: Run) -> str:
    """Return the text that generation goes on from by default; nothing for numbers."""
    return run.elements.shown(run.vocabulary, run.task.generation.prompt, partial(_opening, run))


def whole(run: Run, limit: int | None) -> Any:
    """Return what the task's `[generation]` table asks for, of no more than `limit` steps."""
    length = run.task.generation.length
    if limit is not None:
        length = min(limit, length)
    if run.covariates is not None:
        # What is known of the steps to come may end before.
        length = run.covariates.reach(
            len(_opening(run)), beginning.recorded_covariates(run.folder), length
        )
        if not length:
            return run.elements.whole(shown(run), [])
    return run.elements.whole(shown(run), run.generate(length=length))
