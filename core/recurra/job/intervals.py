"""Which runs tell intervals, from what, and at which levels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from recurra.contracts.distribution import Distribution
from recurra.errors import InputError, Problem
from recurra.generate import levels as written
from recurra.generate.foretold import GIVE_SPREAD, NO_SPREAD, Intervals, Spread, chosen
from recurra.generate.levels import Levels
from recurra.generate.spreads import Answers, Paths
from recurra.job.series import check_forecasts
from recurra.resolved import Resolved
from recurra.spec.overrides import Said
from recurra.spec.tables import Generation

if TYPE_CHECKING:
    from recurra.job.run import Run


class Teller(NamedTuple):
    """A kind of spread: `will` says of a task whether its runs have it, `of` makes that of a run.

    A run that has ended before there was such a kind may have none.
    """

    will: Callable[[Resolved], bool]
    of: Callable[[Run], Spread | None]


def _distributed(resolved: Resolved) -> bool:
    """Tell whether the loss of a task says how what comes next is distributed."""
    loss = resolved.parts["loss"].entry.target
    return resolved.target.generates and issubclass(loss, Distribution)


def _of_loss(run: Run) -> Spread:
    """Return the paths of a run, or the distributions of its answers."""
    told = run.network, run.vocabulary, run.covariates
    if run.outlook is not None:
        return Answers(*told, run.outlook)
    return Paths(*told, run.task.seed, run.task.generation.paths)


TELLERS: list[Teller] = [Teller(_distributed, _of_loss)]
"""The kinds of spread that a loss has, the first that a task has before the others."""


def will_tell(resolved: Resolved) -> bool:
    """Tell whether the forecasts of a task have a spread."""
    conformal = resolved.target.conformal != "none"
    return conformal or any(teller.will(resolved) for teller in TELLERS)


def spread_of(run: Run) -> Spread | None:
    """Return what gives the quantiles of the forecasts of a run, if anything does."""
    if run.resolved.target.conformal != "none":
        # It trains a run of its own, and is built over runs.
        from recurra.job.calibration import spread_of as calibrated

        return calibrated(run)
    return base_of(run)


def base_of(run: Run) -> Spread | None:
    """Return what gives them without a calibration."""
    for teller in TELLERS:
        if teller.will(run.resolved):
            return teller.of(run)
    return None


def with_levels(
    overrides: Iterable[str] | Mapping[str, Any], levels: Any
) -> Iterable[str] | Mapping[str, Any]:
    """Return overrides of a task by which its forecasts have intervals at levels, if any are asked.

    Raises `InputError` (RC080).
    """
    if levels is None:
        return overrides
    key, own = "generation.levels", list(written.parsed("levels", levels))
    if isinstance(overrides, Mapping):
        return {**overrides, key: own}
    label = f"--levels {levels}" if isinstance(levels, str) else "levels"
    return [*overrides, Said(f"{key}={own}", label)]


def untold(resolved: Resolved) -> Iterator[Problem]:
    """Give problems where a task asks for intervals or paths, and nothing tells or draws them."""
    if resolved.task.generation.levels is not None and not will_tell(resolved):
        yield Problem("RC031", NO_SPREAD, "generation.levels", cure=GIVE_SPREAD)
    paths, plain = resolved.task.generation.paths, Generation().paths
    if paths != plain and (not _distributed(resolved) or resolved.target.ahead):
        fact = "no paths are drawn: what is forecast is a number alone"
        if resolved.target.ahead:
            fact = "no paths are drawn where all steps are told at once"
        cure = 'leave it out, or take target.kind = "next" and a loss that is a distribution'
        yield Problem("RC031", fact, "generation.paths", cure=cure)


def asked_of(resolved: Resolved, levels: Any) -> Levels | None:
    """Return the levels that are asked for, else those that the task names, if any.

    Raises `InputError` (RC080) for what are no levels, and where nothing tells intervals.
    """
    asked = None
    if levels is not None:
        asked = written.parsed("levels", levels)
        check_forecasts(resolved, "an interval")
    elif resolved.task.generation.levels is not None:
        asked = tuple(sorted(resolved.task.generation.levels))
    if asked and not will_tell(resolved):
        chosen(None, asked)
    return asked


def of_run(run: Run, levels: Any = None) -> Intervals | None:
    """Return the intervals that are asked of a run; by default those that it can give.

    Raises `InputError` (RC080).
    """
    return chosen(run.spread, asked_of(run.resolved, levels))


def check_steps(
    intervals: Intervals | None, steps: int, name: str, asked: bool
) -> Intervals | None:
    """Return intervals of so many steps; nothing where there are fewer, and none were asked for.

    Raises `InputError` (RC080).
    """
    if intervals is None:
        return None
    try:
        intervals.check(steps, name)
    except InputError:
        if asked:
            raise
        return None
    return intervals
