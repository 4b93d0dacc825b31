"""Levels of intervals: how many per cent of what comes an interval is to hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any, TypeAlias

from recurra.errors import InputError
from recurra.generate import arguments

Levels: TypeAlias = tuple[float, ...]
"""Levels from the least to the greatest, each between 0 and 100."""

DEFAULT: Levels = (80.0, 95.0)
"""Those that are told where none are asked for."""
ALLOWED = "numbers between 0 and 100, both excluded, each once: 80,95"


def parsed(name: str, value: Any) -> Levels:
    """Return levels, given one by one or as a text with commas. Raises `InputError` (RC080)."""
    parts = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, bytes) or not isinstance(parts, Iterable):
        parts = [parts]
    levels = sorted(_level(name, part, value) for part in parts)
    if not levels:
        raise _wrong(f"{name} names no level", value)
    for level, other in zip(levels, levels[1:], strict=False):
        if level == other:
            raise _wrong(f"{name} names level {text(level)} twice", value)
    return tuple(levels)


def _level(name: str, part: Any, value: Any) -> float:
    """Return one level."""
    if isinstance(part, str) and isinstance(value, str):
        try:
            part = float(part)
        except ValueError:
            raise _wrong(f"{name}: {arguments.shown(part.strip())} is no level", value) from None
    if isinstance(part, bool) or not isinstance(part, Real):
        raise _wrong(f"{name}: {arguments.shown(part)} is no level", value)
    level = float(part)
    if not 0 < level < 100:
        why = "no interval holds nothing, or all that can come"
        raise _wrong(f"{name}: {text(level)} is no level: {why}", value)
    return level


def _wrong(fact: str, value: Any) -> InputError:
    return InputError.of("RC080", fact, got=arguments.shown(value), allowed=ALLOWED)


def text(level: float) -> str:
    """Return a level as it is written, as short as it can be: 80, 97.5."""
    return repr(float(level)).removesuffix(".0")


def chances(levels: Sequence[float]) -> tuple[float, ...]:
    """Return the chances of the bounds of intervals, from the lowest bound to the highest.

    Of 80 and 95 these are 0.025, 0.1, 0.9 and 0.975.
    """
    low = [(100 - level) / 200 for level in reversed(levels)]
    return (*low, *((100 + level) / 200 for level in levels))


def bounds(levels: Sequence[float]) -> list[str]:
    """Return what these bounds are called: lo-95, lo-80, hi-80, hi-95."""
    low = [f"lo-{text(level)}" for level in reversed(levels)]
    return [*low, *(f"hi-{text(level)}" for level in levels)]
