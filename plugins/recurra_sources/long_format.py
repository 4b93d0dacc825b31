"""The long format of forecasting: a row is a step of a series, called unique_id, ds and y."""

from __future__ import annotations

from typing import TypeVar

from recurra import InputError
from recurra_sources.table_options import RowOptions

GROUP, TIME, VALUE = "unique_id", "ds", "y"
"""The columns of the long format: whose step a row is, when, and its number."""
TOLD = f"the long format: {VALUE} of each {GROUP}, at the times of {TIME}"

R = TypeVar("R", bound=RowOptions)


def as_long(options: R, names: list[str]) -> R | None:
    """Return options with the columns of the long format, if a table has these and no others.

    That is where the task names none. Raises `InputError` (RC030) where rows would be left out.
    """
    labels = options.labels_of_steps
    beside = [name for name in options.beside if name != labels]
    names = [name for name in names if name != labels]
    if options.columns or beside or sorted(names) != sorted((GROUP, TIME, VALUE)):
        return None
    if options.missing == "drop":
        fact = "rows that are left out would be gaps in the times of ds"
        cure = 'take "forward" or "interpolate", or name columns and group alone, and no time'
        raise InputError.of("RC030", fact, key="source.missing", cure=cure)
    return in_long(options)


def in_long(options: R) -> R:
    """Return options with the columns of the long format."""
    return options.model_copy(update={"columns": [VALUE], "group": GROUP, "time": TIME})


def no_columns(where: str, names: list[str]) -> InputError:
    """Return the error of a task that names no column of a table that is not of this format."""
    fact = f"it is not said which columns of {where} are read"
    cure = f"name them; they may be left out, with all others, where there are {GROUP}, {TIME} and"
    cure = f"{_likely(names)}{cure} {VALUE} alone"
    allowed = ", ".join(names[:20])
    return InputError.of("RC030", fact, key="source.columns", allowed=allowed, cure=cure)


def _likely(names: list[str]) -> str:
    """Return what a table with some names of the long format likely asks for, if it has such."""
    if VALUE not in names or not {GROUP, TIME} & set(names):
        return ""
    said = [f'columns = ["{VALUE}"]']
    said += [f'group = "{GROUP}"'] if GROUP in names else []
    said += [f'time = "{TIME}"'] if TIME in names else []
    return f"for forecasts, {', '.join(said)}; else "
