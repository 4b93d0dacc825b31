"""What is compared: cells and values of other keys, each variant a task of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from recurra.errors import InputError
from recurra.resolved import Resolved
from recurra.spec.overrides import key_of, toml_or_text

MOST = 64
"""Variants of one comparison."""


@dataclass(frozen=True)
class Choice:
    """A value of a key, and how it is called."""

    key: str
    value: Any
    title: str


@dataclass
class Variant:
    """One of those that are compared: how it is called, and what it changes in the task."""

    name: str
    overrides: dict[str, Any] = field(default_factory=dict)


def variants_of(cells: Sequence[str], vary: Mapping[str, Sequence[Any]]) -> list[Variant]:
    """Return every cell with every value of every other key.

    One that stands there twice gets a number behind its name. Raises `InputError` (RC080).
    """
    axes = [[Choice("cell.kind", cell, cell) for cell in cells]] if cells else []
    for key, values in vary.items():
        last = key.rpartition(".")[2]
        axes.append([Choice(key, value, f"{last}={_word(value)}") for value in values])

    made: list[Variant] = []
    for choices in product(*axes):
        name = " ".join(choice.title for choice in choices)
        made.append(Variant(name, {choice.key: choice.value for choice in choices}))
    if not 2 <= len(made) <= MOST:
        fact = f"{len(made) if axes else 0} variants are not to be compared: it takes 2 to {MOST}"
        cure = "name cells, as --cells lstm,gru, or values of another key, --vary KEY=A,B"
        raise InputError.of("RC080", fact, cure=cure)

    seen: dict[str, int] = {}
    for variant in made:
        seen[variant.name] = seen.get(variant.name, 0) + 1
        if seen[variant.name] > 1:
            variant.name += f" #{seen[variant.name]}"
    return made


def _word(value: Any) -> str:
    text = value if isinstance(value, str) else str(value).lower() if value in (True, False) else ""
    return text or str(value)


def parsed_vary(text: str) -> tuple[str, list[Any]]:
    """Return the key and the values of `key=a,b`. Raises `InputError` (RC005)."""
    key, _, values = text.partition("=")
    if not key_of(key.strip()) or not values.strip():
        fact = f"{text!r} does not say which values of which key are compared"
        raise InputError.of("RC005", fact, cure="as in --vary cell.init=orthogonal,uniform")
    return key.strip(), [toml_or_text(value.strip()) for value in _split(values)]


def _split(values: str) -> list[str]:
    """Return what stands between commas that are not inside brackets or quotes."""
    parts = re.findall(r"(?:\[[^\]]*\]|\{[^}]*\}|\"[^\"]*\"|'[^']*'|[^,\[\{\"'])+", values)
    return [part for part in parts if part.strip()]


def check_stack(resolved: Resolved, cells: Sequence[str], matched: bool) -> None:
    """Refuse a stack of several cells, of which one name or one width says nothing.

    Raises `InputError` (RC080).
    """
    if len(resolved.cells) == 1 and "stack" not in resolved.task.cell:
        return
    if cells or matched:
        fact = "the task has a stack of cells, for which one name or one width cannot stand"
        cure = 'give the task one [cell], or compare values of keys, with match "none"'
        raise InputError.of("RC080", fact, cure=cure)


def slug(number: int, name: str) -> str:
    """Return the name of a variant as a folder has it."""
    word = re.sub(r"[^A-Za-z0-9_.=+-]+", "-", name).strip("-.")[:60]
    return f"{number}-{word}" if word else str(number)
