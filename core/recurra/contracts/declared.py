"""What a component declares on its class: each attribute has one type, and a text is not a tuple of
texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.contracts.gated import GatedCell
from recurra.contracts.loss import Loss
from recurra.contracts.scan import ScanCell
from recurra.contracts.source import Role, Source
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Element, Vocabulary

Rule = tuple[str, Callable[[Any], bool]]

ELEMENTS: tuple[str, ...] = get_args(Element)
SCALES = ("symbols", "numbers")
ROLES: tuple[str, ...] = get_args(Role)
SCOPES = ("step", "sequence")


def _tuple_of(names: tuple[str, ...]) -> Rule:
    def holds(value: Any) -> bool:
        several = isinstance(value, (tuple, list, set, frozenset)) and bool(value)
        return several and all(_in(names, name) for name in value)

    return f"a tuple of {' or '.join(map(repr, names))}: ({names[-1]!r},)", holds


def _one_of(names: tuple[str, ...]) -> Rule:
    return f"one of {', '.join(map(repr, names))}", lambda value: _in(names, value)


def _in(names: tuple[str, ...], value: Any) -> bool:
    return isinstance(value, str) and value in names


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _state(value: Any) -> bool:
    return (
        isinstance(value, type) and issubclass(value, tuple) and bool(getattr(value, "_fields", ()))
    )


ABSENT = object()
FLAG: Rule = ("True or False", lambda value: isinstance(value, bool))
COUNT: Rule = ("a whole number", _whole)
TEXT: Rule = ("text", lambda value: isinstance(value, str) and bool(value))

DECLARED: dict[type, dict[str, Rule]] = {
    Source: {"offers": _tuple_of(ELEMENTS)},
    Vocabulary: {"reads": _one_of(ELEMENTS), "yields": _one_of(SCALES), "unit": TEXT},
    Target: {
        "asks": _one_of(ROLES),
        "answers": _one_of(SCALES),
        "scope": _one_of(SCOPES),
        "reach": COUNT,
        "generates": FLAG,
    },
    Encoder: {"reads": _tuple_of(SCALES)},
    Loss: {"reads": _tuple_of(SCALES)},
    Cell: {},
    GatedCell: {"gates": COUNT, "State": ("a NamedTuple", _state), "recurrent_bias": FLAG},
    ScanCell: {"paired": FLAG, "context": COUNT},
}
"""What each base reads of its subclasses, and what it may be."""


def misdeclared(target: type) -> list[str]:
    """Return a sentence for each attribute of a component's class that has not the type it must
    have.
    """
    faults = []
    for base, rules in DECLARED.items():
        if not issubclass(target, base):
            continue
        for name, (allowed, holds) in rules.items():
            # What is absent, or computed, belongs to each object.
            value = getattr(target, name, ABSENT)
            if value is not ABSENT and not isinstance(value, property) and not holds(value):
                faults.append(f"{target.__name__}.{name} is {value!r}; it must be {allowed}")
    return faults
