"""What a task says of the features of time stamps: words, waves and holidays."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, TypeAlias, get_args

from recurra import Calendar, CalendarWord, Field, Fourier, FourierPeriod

DAYS = 1 << 16
"""Holidays that are named, at most."""
Order: TypeAlias = Annotated[int, Field(ge=1, le=1000)]
"""How many waves of a period are read."""
STEPS = re.compile(r"(\d+(?:\.\d+)?) steps")


def calendar_of(
    words: Sequence[CalendarWord], fourier: Mapping[str, int], holidays: Sequence[str]
) -> Calendar | None:
    """Return what a task asks of stamps, if it asks anything."""
    if not words and not fourier and not holidays:
        return None
    waves = [Fourier(_period(name), order) for name, order in fourier.items()]
    return Calendar.of([*words, *waves], map(date.fromisoformat, holidays))


def _period(name: str) -> FourierPeriod | float:
    """Return the period that a key names. Raises `ValueError`."""
    for period in get_args(FourierPeriod):
        if name == period:
            named: FourierPeriod = period
            return named
    match = STEPS.fullmatch(name)
    if match and 2 <= float(match[1]) <= 1e9:
        return float(match[1])
    raise ValueError(
        f"{name!r} is no period: it is {', '.join(get_args(FourierPeriod))}, or so many steps, 2 or"
        ' more, as "36.5 steps"'
    )


def check_words(words: Sequence[str]) -> None:
    """Refuse words that stand twice. Raises `ValueError`."""
    for word in words:
        if words.count(word) > 1:
            raise ValueError(f"{word!r} is named {words.count(word)} times")


def check_fourier(fourier: Mapping[str, int]) -> None:
    """Refuse what is no period. Raises `ValueError`."""
    for name in fourier:
        _period(name)


def check_holidays(holidays: Sequence[str]) -> None:
    """Refuse what is no date, or stands twice. Raises `ValueError`."""
    seen = set()
    for text in holidays:
        try:
            day = date.fromisoformat(text)
        except ValueError as error:
            raise ValueError(f"{text!r} is no date such as 2025-12-25: {error}") from error
        if day in seen:
            raise ValueError(f"{text!r} is named twice")
        seen.add(day)
