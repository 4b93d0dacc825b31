"""The end of a series of a run's data, chosen by its name or its number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from recurra.attribution import blaming
from recurra.data.chain import Chain
from recurra.data.covariate_vocabulary import Rows
from recurra.data.store import Array
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.job.covariates import Called, ahead_of
from recurra.job.elements.numbers import tail
from recurra.job.series import forecasts, series_of

if TYPE_CHECKING:
    from recurra.job.run import Run

SHOWN = 8
"""Names of series that an error lists."""


class Ending(NamedTuple):
    """The last steps `[n, F]` of a series, and at which of its places they begin.

    Its covariates stand `beside`, also those that are known of the steps to come. What one of
    these is called, counted from 1, tells `called`; `name` is what the series is called.
    """

    values: Array
    position: int
    beside: Rows | None
    called: Called
    name: str


def check_series(prompt: Any, warm: bool | None, series: Any, data: Any) -> None:
    """Refuse a series beside a prompt, or what is read before one, and data of none.

    Raises `InputError` (RC080).
    """
    if series is None and data is not None:
        fact = "data is what a series is chosen of, and none is named"
        raise InputError.of("RC080", fact, cure="give series, or leave data out")
    if series is not None and prompt is not None:
        fact = "a series is gone on from where it ends, and a prompt stands in its place"
        raise InputError.of("RC080", fact, cure="give one of them")
    if series is not None and warm:
        fact = "warm reads the end of the last series before a prompt, and a series is chosen"
        raise InputError.of("RC080", fact, cure="leave warm out")


def ending(run: Run, series: Any, data: Any) -> Ending:
    """Return what generation goes on from where a series is chosen.

    It is read of the data of the run, which is to be given again where it was given in Python.
    Raises `InputError` (RC080) for a series that there is not, and for a run of symbols, and
    (RC040, RC044) where the data is not there, or has changed.
    """
    if not forecasts(run.resolved):
        fact = "series is for numbers: symbols go on from a prompt"
        raise InputError.of("RC080", fact, cure="give a prompt, or leave series out")
    name = arguments.name("series", series)
    resolved = run.resolved if data is None else run.resolved.giving(data)
    with blaming(resolved), _told(run):
        every = series_of(resolved, run.vocabulary, known=True, covariates=run.covariates)
        if every.store.fingerprint != run.folder.records.data().fingerprint:
            fact = f"the data of {run.path} has changed since it was made"
            raise InputError.of("RC044", fact)
    row = _row(every.names, name)
    begin, end = tail(every.store, row, Chain(run.vocabulary).lag)
    start = int(every.store.starts[row])
    beside = every.beside(run.covariates, row, begin - start, end - start, 0)

    called = ahead_of(every.clock, row, end - start)
    return Ending(
        np.asarray(every.store.values[begin:end]), begin - start, beside, called, every.names[row]
    )


@contextmanager
def _told(run: Run) -> Iterator[None]:
    """Say of data that is not as it was what can be done."""
    try:
        yield
    except InputError as error:
        cure = "bring the data back as it was; or give the numbers of the series: --values, or a"
        cure += " file of it to `recurra predict`"
        if "data" in run.resolved.parts["source"].entry.component.lacks:
            cure = "give the data as it was: run.generate(series=..., data=...); or the numbers of"
            cure += " the series as a prompt"
        raise InputError(replace(problem, cure=cure) for problem in error.problems) from error


def _row(names: list[str], name: str) -> int:
    """Return in which row the series stands that is called so, or has that number from 1.

    Raises `InputError` (RC080).
    """
    if name in names:
        return names.index(name)
    if name.isdecimal() and 1 <= int(name) <= len(names):
        return int(name) - 1

    count = f"{len(names):,} series" if len(names) > 1 else "1 series"
    fact = f"there is no series {name!r} among the {count} of this run"
    listed = ", ".join(names[:SHOWN])
    if len(names) > SHOWN:
        listed += f" and {len(names) - SHOWN:,} more"
    allowed = f"{listed}; or a number from 1 to {len(names)}"
    nearest = next(iter(get_close_matches(name, names, 1)), "")
    raise InputError.of("RC080", fact, allowed=allowed, nearest=nearest)
