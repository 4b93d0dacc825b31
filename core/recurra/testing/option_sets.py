"""The sets of options that a component is checked under.

They are its defaults, small, and corners of what its model allows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recurra.catalog import Entry
from recurra.contracts.options import Options, validate_options
from recurra.errors import PluginError

HIDDEN = 8
"""Hidden size under which cells are checked, unless a set of options says otherwise."""
SIZES = (HIDDEN, 16, 32, 64)
"""Hidden sizes that are tried in turn, where a component's own rules refuse the small ones."""
LIMIT = 4
"""Sets of options that the mathematical checks run on."""
WIDEST = 64
"""The greatest bound of an integer that is tried: a layer of a million units fits in no memory."""
ENGINE = ("num_layers", "dropout", "bidirectional")
"""Options of every cell that the engine reads, and not the cell."""
NUDGE = 1e-6
"""How far inside an exclusive bound the nearest value that is tried lies."""

Table = dict[str, Any]


@dataclass(frozen=True)
class Sets:
    """Tables of options.

    The mathematical checks run on `checked`, the default first; `corners` are only tried once.
    `refused` counts the combinations that the model's own rules do not allow.
    """

    checked: tuple[Table, ...]
    corners: tuple[Table, ...] = ()
    refused: int = 0


def folder(entry: Entry) -> Path:
    """Return the folder of the component's module, from which paths in its examples are taken."""
    file = getattr(sys.modules.get(entry.target.__module__), "__file__", None)
    return Path(file).parent if file else Path()


def validated(entry: Entry, table: Mapping[str, Any]) -> Options:
    """Return the options of a table.

    Raises `PluginError` (RC071) if the component's own model refuses them.
    """
    try:
        return _validate(entry, table)
    except Exception as error:
        fact = f"{entry.qualified}: options {dict(table)} are refused: {error}"
        cure = "give `examples` in the component, or `options` in the contract class:"
        cure += " tables that are valid"
        raise PluginError.of("RC071", fact, cure=cure) from error


def _validate(entry: Entry, table: Mapping[str, Any]) -> Options:
    home = folder(entry)
    return validate_options(entry.options, dict(table), lambda value, field: str(home / value))


def allowed(entry: Entry, table: Mapping[str, Any]) -> bool:
    """Tell whether the component's model takes a table."""
    try:
        _validate(entry, table)
    except ValidationError:
        return False
    return True


def sets_of(entry: Entry, given: Sequence[Mapping[str, Any]] | None = None) -> Sets:
    """Return the sets for a component.

    They are those `given`, else its own examples, else made from its options model. Raises
    `PluginError` (RC071) if the model refuses one that was given, or has options with no default
    and no example.
    """
    tables = entry.component.examples if given is None else given
    checked = tuple(small(entry, table) for table in tables or [_required(entry)])
    default = checked[0]
    corners, refused = _allowed_of(entry, pairwise(_values(entry.options), default), default)
    if tables:
        return Sets(checked, corners, refused)

    choices = _choices(entry.options, default)
    drawn, declined = _allowed_of(entry, pairwise(choices, default), default)
    usual = {name: values[0] for name, values in choices.items()} | default
    return Sets((default, *_spread(usual, drawn)), corners, refused + declined)


def small(entry: Entry, table: Mapping[str, Any]) -> Table:
    """Return a table with the sizes that it does not name made small.

    The component's own rules have the last word: where they refuse small sizes, larger are tried.
    """
    for sizes in _shrinks(entry):
        candidate = {**sizes, **table}
        if allowed(entry, candidate):
            return candidate
    validated(entry, table)
    return dict(table)


def _shrinks(entry: Entry) -> Iterator[Table]:
    widths = {name: HIDDEN for name, rule in _rules(entry.options) if _is_width(name, rule)}
    if entry.component.kind != "cell":
        yield widths
        return
    for size in SIZES:
        yield {**dict.fromkeys(widths, size), "hidden_size": size}
        yield {"hidden_size": size}


def _is_width(name: str, rule: Table) -> bool:
    default = rule.get("default")
    counts = isinstance(default, int) and not isinstance(default, bool) and default > HIDDEN
    return counts and name.endswith(("size", "width", "dim", "units"))


def _required(entry: Entry) -> Table:
    """Return a value for each option without a default, where its rule names one."""
    required = entry.options.model_json_schema().get("required", [])
    values = _values(entry.options)
    return {name: values[name][0] for name in values if name in required}


def _allowed_of(
    entry: Entry, tables: Sequence[Table], base: Table
) -> tuple[tuple[Table, ...], int]:
    """Return the tables that the model allows, and how many it does not.

    A value that is lost with a refused table is tried once more, alone beside the base's.
    """
    good = [table for table in tables if allowed(entry, table)]
    bad = [table for table in tables if table not in good]
    seen = set[tuple[str, str]]().union(*map(_singles, [base, *good]))

    for table in bad:
        for name, value in table.items():
            alone = {**base, name: value}
            if (name, repr(value)) not in seen and allowed(entry, alone):
                good.append(alone)
                seen.add((name, repr(value)))
    return tuple(good), len(bad)


def _spread(usual: Table, tables: Sequence[Table]) -> Iterator[Table]:
    """Give at most `LIMIT` - 1 tables beside the usual one.

    Each has the most of the values, and then of the pairs, that none before it had.
    """
    seen = _features(usual)
    for _ in range(LIMIT - 1):
        best = max(tables, key=lambda table: _news(table, seen), default=usual)
        if _news(best, seen) == (0, 0):
            return
        seen |= _features(best)
        yield best


def _news(table: Table, seen: set[Any]) -> tuple[int, int]:
    """Return how many values, and pairs of them, a table has that were not seen."""
    new = _features(table) - seen
    singles = sum(isinstance(feature, tuple) for feature in new)
    return singles, len(new) - singles


def _singles(table: Table) -> set[tuple[str, str]]:
    """Return the values of a table, each with its option."""
    return {(name, repr(value)) for name, value in table.items()}


def _features(table: Table) -> set[Any]:
    """Return the values of a table, each with its option, and the pairs of them."""
    singles = _singles(table)
    return singles | {frozenset(pair) for pair in combinations(singles, 2)}


Pair = frozenset[tuple[str, int]]
"""Two options, each with the place of one of its values."""


def pairwise(values: Mapping[str, Sequence[Any]], base: Table) -> list[Table]:
    """Return tables that together hold every two values of two options; always the same ones.

    They are drawn greedily: each begins with the first pair that no table holds yet, and takes of
    every other option the value that makes the most of such pairs with those it has.
    """
    if len(values) == 1:
        return [{**base, name: value} for name in values for value in values[name]]

    missing: set[Pair] = set()
    for one, other in combinations(values, 2):
        places = product(range(len(values[one])), range(len(values[other])))
        missing |= {frozenset({(one, i), (other, j)}) for i, j in places}

    tables = []
    while missing:
        row = dict(min(map(sorted, missing)))
        for name in values:
            if name not in row:
                row[name] = _best_place(name, len(values[name]), row, missing)
        missing -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        tables.append({**base, **{name: values[name][row[name]] for name in values}})
    return tables


def _best_place(name: str, count: int, row: Mapping[str, int], missing: set[Pair]) -> int:
    """Return the place of the value that makes the most missing pairs with a row's."""

    def gain(place: int) -> int:
        return sum(frozenset({(name, place), other}) in missing for other in row.items())

    return max(range(count), key=gain)


def _rules(model: type[Options]) -> Iterator[tuple[str, Table]]:
    """Give name and JSON Schema of each option that is the component's own, references resolved."""
    schema = model.model_json_schema()
    for name, rule in schema.get("properties", {}).items():
        if name not in ENGINE:
            default = {"default": rule["default"]} if "default" in rule else {}
            yield name, _resolved(rule, schema) | default


def _resolved(rule: Table, schema: Table) -> Table:
    if "$ref" in rule:
        return dict(schema["$defs"][rule["$ref"].rpartition("/")[2]])
    if "anyOf" in rule:
        return {**rule, "anyOf": [_resolved(part, schema) for part in rule["anyOf"]]}
    return rule


def _values(model: type[Options]) -> dict[str, list[Any]]:
    """Return what each option is tried with: every choice, and the bounds of every number."""
    values = {name: values_of(rule) for name, rule in _rules(model)}
    return {name: some for name, some in values.items() if some}


def _choices(model: type[Options], base: Table) -> dict[str, list[Any]]:
    """Return what the mathematics runs with.

    That is every choice, and the bounds of small integers, the base's own value first. The bounds
    of real numbers are left out: a decay of 0 is allowed, and there is nothing to learn from it.
    """
    choices = {}
    for name, rule in _rules(model):
        values = [value for value in values_of(rule) if not isinstance(value, float)]
        if values and name != "hidden_size" and not _is_width(name, rule):
            usual = base.get(name, rule.get("default", values[0]))
            choices[name] = [usual, *(value for value in values if value != usual)]
    return choices


def values_of(rule: Mapping[str, Any]) -> list[Any]:
    """Return the values of a rule of JSON Schema that are worth a try.

    They are all of a choice, and the bounds of a number.
    """
    if "anyOf" in rule:
        return [value for part in rule["anyOf"] for value in values_of(part)]
    if "const" in rule:
        return [rule["const"]]
    if "enum" in rule:
        return list(rule["enum"])
    if rule.get("type") == "boolean":
        return [False, True]
    if rule.get("type") == "integer":
        return _integers(rule)
    if rule.get("type") == "number":
        return _reals(rule)
    return []


def _integers(rule: Mapping[str, Any]) -> list[int]:
    """Return the least and the greatest integer that a rule allows, where it bounds them."""
    step = rule.get("multipleOf", 1)
    bounds = []
    if "minimum" in rule or "exclusiveMinimum" in rule:
        lowest = rule["minimum"] if "minimum" in rule else rule["exclusiveMinimum"] + 1
        bounds.append(-(-lowest // step) * step)
    if "maximum" in rule or "exclusiveMaximum" in rule:
        highest = rule["maximum"] if "maximum" in rule else rule["exclusiveMaximum"] - 1
        bounds.append(highest // step * step)
    return [int(bound) for bound in dict.fromkeys(bounds) if abs(bound) <= WIDEST]


def _reals(rule: Mapping[str, Any]) -> list[float]:
    inside = {"minimum": 0.0, "maximum": 0.0, "exclusiveMinimum": NUDGE, "exclusiveMaximum": -NUDGE}
    return [
        float(rule[name] + nudge * max(1.0, abs(rule[name])))
        for name, nudge in inside.items()
        if name in rule
    ]


WRONG: dict[str, Any] = {
    "string": "no such value",
    "boolean": True,
    "number": 1.5,
    "array": [{}],
    "object": {"no": 1},
}
"""A value of each type of JSON, for an option of another type."""


def bad_tables(model: type[Options], base: Mapping[str, Any]) -> Iterator[tuple[str, Table, str]]:
    """Give tables that a model must refuse: the option, the table, and its one fault."""
    for name, rule in _rules(model):
        for value, why in bad_values(rule):
            yield name, {**base, name: value}, why
    yield "no_such_option", {**base, "no_such_option": 1}, "no such option"


def bad_values(rule: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Return values that a rule of JSON Schema does not allow, and why."""
    types = _types(rule)
    if not types:
        return []
    why = f"not {' or '.join(sorted(types))}"
    bad = [(value, why) for kind, value in WRONG.items() if kind not in types]

    # Another text is wrong only where every text that is allowed is one of a choice.
    parts = rule.get("anyOf", [rule])
    choices = [part for part in parts if "enum" in part or "const" in part]
    texts = [part for part in parts if "string" in _types(part)]
    if choices and texts and len(choices) == len(texts):
        bad.append((WRONG["string"], "not one of the choices"))

    if types & {"integer", "number"}:
        bad += [(value, "not finite") for value in (float("nan"), float("inf"))]
    if len(parts) == 1:
        bad += [(value, "out of range") for value in _beyond(rule)]
    return bad


def _types(rule: Mapping[str, Any]) -> set[str]:
    """Return the types of JSON that a rule allows; none where it does not say."""
    if "anyOf" in rule:
        parts = [_types(part) for part in rule["anyOf"]]
        return set().union(*parts) if all(parts) else set()
    if "type" in rule:
        return {rule["type"]}
    names = {str: "string", bool: "boolean", int: "integer", float: "number"}
    values = [rule["const"]] if "const" in rule else rule.get("enum", [])
    return {names[type(value)] for value in values if type(value) in names}


def _beyond(rule: Mapping[str, Any]) -> list[Any]:
    """Return values just outside of each bound."""
    steps = {"minimum": -1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    whole = "integer" in _types(rule)
    beyond = []
    for name, step in steps.items():
        if name in rule:
            bound = rule[name]
            beyond.append(bound + step * (1 if whole else max(1.0, abs(bound))))
    return beyond
