"""What a component declares on its class: each attribute has one type.

A text is not a tuple of texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, get_args

from recurra.contracts.cell import Cell
from recurra.contracts.distribution import Distribution
from recurra.contracts.encoder import Encoder
from recurra.contracts.gated import GatedCell
from recurra.contracts.loss import Loss
from recurra.contracts.scan import ScanCell
from recurra.contracts.source import Role, Source
from recurra.contracts.target import Target
from recurra.contracts.tracker import Tracker
from recurra.contracts.vocabulary import Element, Vocabulary


class Rule(NamedTuple):
    """What an attribute may be: in words, and whether a value is that."""

    allowed: str
    holds: Callable[[Any], bool]


ELEMENTS: tuple[str, ...] = get_args(Element)
SCALES = ("symbols", "numbers")
ROLES: tuple[str, ...] = get_args(Role)
SCOPES = ("step", "sequence", "answer")


def _tuple_of(names: tuple[str, ...]) -> Rule:
    def holds(value: Any) -> bool:
        if not isinstance(value, (tuple, list, set, frozenset)) or not value:
            return False
        return all(_in(names, name) for name in value)

    choices = " or ".join(map(repr, names))
    return Rule(f"a tuple of {choices}: ({names[-1]!r},)", holds)


def _one_of(names: tuple[str, ...]) -> Rule:
    choices = ", ".join(map(repr, names))
    return Rule(f"one of {choices}", partial(_in, names))


def _in(names: tuple[str, ...], value: Any) -> bool:
    return isinstance(value, str) and value in names


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _is_any_text(value: Any) -> bool:
    return isinstance(value, str)


def _are_texts(value: Any) -> bool:
    return isinstance(value, tuple) and all(map(_is_text, value))


def _is_named_tuple(value: Any) -> bool:
    if not isinstance(value, type) or not issubclass(value, tuple):
        return False
    return bool(getattr(value, "_fields", ()))


ABSENT = object()
FLAG = Rule("True or False", _is_flag)
COUNT = Rule("a whole number", _is_count)
TEXT = Rule("text", _is_text)
STATE = Rule("a NamedTuple", _is_named_tuple)
MODULES = Rule("a tuple of names of modules", _are_texts)

DECLARED: dict[type, dict[str, Rule]] = {
    Source: {"offers": _tuple_of(ELEMENTS)},
    Vocabulary: {"reads": _one_of(ELEMENTS), "yields": _one_of(SCALES), "unit": TEXT},
    Target: {
        "asks": _one_of(ROLES),
        "answers": _one_of(SCALES),
        "scope": _one_of(SCOPES),
        "reach": COUNT,
        "generates": FLAG,
        "takes": _tuple_of(SCALES),
    },
    Encoder: {"reads": _tuple_of(SCALES)},
    Tracker: {"requires": MODULES, "install": Rule("text", _is_any_text)},
    Loss: {"reads": _tuple_of(SCALES), "takes_hidden": FLAG, "counts": FLAG},
    Distribution: {"density": FLAG},
    Cell: {},
    GatedCell: {"gates": COUNT, "State": STATE, "recurrent_bias": FLAG},
    ScanCell: {"paired": FLAG, "context": COUNT},
}
"""What each base reads of its subclasses, and what it may be."""


def misdeclared(target: type) -> list[str]:
    """Return a sentence for each attribute of a component's class that is of another type."""
    faults = []
    for base, rules in DECLARED.items():
        if not issubclass(target, base):
            continue
        for name, rule in rules.items():
            value = getattr(target, name, ABSENT)
            # What is absent, or computed, belongs to each object.
            if value is ABSENT or isinstance(value, property):
                continue
            if not rule.holds(value):
                faults.append(f"{target.__name__}.{name} is {value!r}; it must be {rule.allowed}")
    return faults
