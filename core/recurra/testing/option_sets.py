"""The sets of options that a component is checked under: its defaults, small, and corners of what
its model allows.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
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
    """Tables of options: those of the mathematical checks, the default first, and those that are
    only tried once.

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
    """Return the options of a table. Raises `PluginError` (RC071) if the component's own model
    refuses them.
    """
    try:
        return _validate(entry, table)
    except Exception as error:
        cure = (
            "give `examples` in the component, or `options` in the contract class: tables that are"
            " valid"
        )
        fact = f"{entry.qualified}: options {dict(table)} are refused: {error}"
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
    """Return the sets for a component: those `given`, else its own examples, else made from its
    options model.

    Raises `PluginError` (RC071) if the model refuses one that was given, or has options with no
    default and no example.
    """
    tables = entry.component.examples if given is None else given
    checked = tuple(small(entry, table) for table in tables) or (small(entry, _required(entry)),)
    corners, refused = _kept(entry, _pairwise(_values(entry.options), checked[0]), checked[0])
    if tables:
        return Sets(checked, corners, refused)
    choices = _choices(entry.options, checked[0])
    drawn, declined = _kept(entry, _pairwise(choices, checked[0]), checked[0])
    usual = {**{name: values[0] for name, values in choices.items()}, **checked[0]}
    return Sets((checked[0], *_spread(usual, drawn)), corners, refused + declined)


def small(entry: Entry, table: Mapping[str, Any]) -> Table:
    """Return a table with sizes that are not named made small, as far as the component's own rules
    allow it.
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
    missing = entry.options.model_json_schema().get("required", [])
    return {name: found[0] for name, found in _values(entry.options).items() if name in missing}


def _kept(entry: Entry, tables: Sequence[Table], base: Table) -> tuple[tuple[Table, ...], int]:
    """Return the tables that the model allows, and how many it does not; a value lost with a table
    is tried alone.
    """
    good = [table for table in tables if allowed(entry, table)]
    bad = [table for table in tables if table not in good]
    seen = {(name, repr(value)) for table in [base, *good] for name, value in table.items()}
    for name, value in ((name, value) for table in bad for name, value in table.items()):
        alone = {**base, name: value}
        if (name, repr(value)) not in seen and allowed(entry, alone):
            good.append(alone)
            seen.add((name, repr(value)))
    return tuple(good), len(bad)


def _spread(usual: Table, tables: Sequence[Table]) -> Iterator[Table]:
    """Give at most `LIMIT` - 1 tables beside the usual one: each has most of the values, and pairs,
    not yet seen.
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


def _features(table: Table) -> set[Any]:
    """Return the values of a table, each with its option, and the pairs of them."""
    singles = [(name, repr(value)) for name, value in table.items()]
    return {*singles, *(frozenset(pair) for pair in combinations(singles, 2))}


def _pairwise(values: dict[str, list[Any]], base: Table) -> list[Table]:
    """Return tables that hold every two values of two options together, drawn greedily; always the
    same.
    """
    if len(values) == 1:
        return [{**base, name: value} for name, found in values.items() for value in found]
    names = list(values)
    open_pairs = {
        frozenset({(one, i), (other, j)})
        for one, other in combinations(names, 2)
        for i in range(len(values[one]))
        for j in range(len(values[other]))
    }
    tables = []
    while open_pairs:
        row = dict(min(map(sorted, open_pairs)))
        for name in names:
            if name not in row:
                row[name] = max(
                    range(len(values[name])),
                    key=lambda i: sum(
                        frozenset({(name, i), chosen}) in open_pairs for chosen in row.items()
                    ),  # noqa: B023
                )
        open_pairs -= {frozenset(pair) for pair in combinations(row.items(), 2)}
        tables.append({**base, **{name: values[name][row[name]] for name in names}})
    return tables


def _rules(model: type[Options]) -> Iterator[tuple[str, Table]]:
    """Give name and JSON Schema of each option that is the component's own, references resolved."""
    schema = model.model_json_schema()
    for name, rule in schema.get("properties", {}).items():
        if name not in ENGINE:
            yield (
                name,
                {**_resolved(rule, schema), **{k: v for k, v in rule.items() if k == "default"}},
            )


def _resolved(rule: Table, schema: Table) -> Table:
    if "$ref" in rule:
        return dict(schema["$defs"][rule["$ref"].rpartition("/")[2]])
    if "anyOf" in rule:
        return {**rule, "anyOf": [_resolved(part, schema) for part in rule["anyOf"]]}
    return rule


def _values(model: type[Options]) -> dict[str, list[Any]]:
    """Return what each option is tried with: every choice, and the bounds of every number."""
    found = {name: values_of(rule) for name, rule in _rules(model)}
    return {name: values for name, values in found.items() if values}


def _choices(model: type[Options], base: Table) -> dict[str, list[Any]]:
    """Return what the mathematics runs with: every choice, and the bounds of small integers, beside
    the base's value.

    The bounds of real numbers are left out: a decay of 0 is allowed, and there is nothing to learn
    from it.
    """
    found = {}
    for name, rule in _rules(model):
        values = [value for value in values_of(rule) if not isinstance(value, float)]
        if values and name != "hidden_size" and not _is_width(name, rule):
            usual = base.get(name, rule.get("default", values[0]))
            found[name] = [usual, *(value for value in values if value != usual)]
    return found


def values_of(rule: Mapping[str, Any]) -> list[Any]:
    """Return the values of a rule of JSON Schema that are worth a try: all of a choice, the bounds
    of a number.
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
    step = rule.get("multipleOf", 1)
    lowest = rule.get("minimum", rule.get("exclusiveMinimum", -WIDEST) + 1)
    highest = rule.get("maximum", rule.get("exclusiveMaximum", WIDEST + 2) - 1)
    bounds = [-(-lowest // step) * step] if "minimum" in rule or "exclusiveMinimum" in rule else []
    bounds += [highest // step * step] if "maximum" in rule or "exclusiveMaximum" in rule else []
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
    """Give tables that a model must refuse, one fault in each: the option, the table, and what is
    wrong with it.
    """
    for name, rule in _rules(model):
        for value, why in bad_values(rule):
            yield name, {**base, name: value}, why
    yield "no_such_option", {**base, "no_such_option": 1}, "no such option"


def bad_values(rule: Mapping[str, Any]) -> list[tuple[Any, str]]:
    """Return values that a rule of JSON Schema does not allow, and why."""
    types = _types(rule)
    if not types:
        return []
    bad = [
        (value, f"not {' or '.join(sorted(types))}")
        for kind, value in WRONG.items()
        if kind not in types
    ]
    choices = [part for part in rule.get("anyOf", [rule]) if "enum" in part or "const" in part]
    if (
        choices
        and "string" in types
        and len(choices) == len([p for p in rule.get("anyOf", [rule]) if _is_text(p)])
    ):
        bad.append((WRONG["string"], "not one of the choices"))
    if types & {"integer", "number"}:
        bad += [(value, "not finite") for value in (float("nan"), float("inf"))]
    if len(rule.get("anyOf", [rule])) == 1:
        bad += [(value, "out of range") for value in _beyond(rule)]
    return bad


def _is_text(rule: Mapping[str, Any]) -> bool:
    return "string" in _types(rule)


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
    away = {"minimum": -1, "maximum": 1, "exclusiveMinimum": 0, "exclusiveMaximum": 0}
    bounds = [(rule[name], step) for name, step in away.items() if name in rule]
    whole = "integer" in _types(rule)
    return [bound + step * (1 if whole else max(1.0, abs(bound))) for bound, step in bounds]
