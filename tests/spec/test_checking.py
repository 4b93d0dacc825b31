"""Each table of the language, the core's or a component's, is closed and strict."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
import tomli_w
from conftest import HELLO
from hypothesis import given
from hypothesis import strategies as st
from problems import QUICK, Write, at, faults

from recurra.catalog import discover
from recurra.errors import CODES
from recurra.spec.checking import describe, dotted, literal
from recurra.spec.positions import Path as Key
from recurra.spec.tables import COMPONENT_TABLES, Task

INF, NAN = float("inf"), float("nan")


# The tables of the language, taken from the language itself.


def core_tables() -> Iterator[tuple[str, Key, dict[str, Any], dict[str, Any]]]:
    """Give each table of the core: a label, its key, its schema, and what must stand in it."""
    schema = Task.model_json_schema(by_alias=True)
    yield "task", (), schema, {}
    for name, rule in schema["properties"].items():
        if "$ref" in rule:
            yield (
                name,
                (name,),
                {**schema["$defs"][rule["$ref"].rsplit("/", 1)[1]], "$defs": schema["$defs"]},
                {},
            )
    for kind in ("Constant", "Cosine", "Linear", "Plateau"):
        yield (
            f"schedule {kind}",
            ("training", "schedule"),
            schema["$defs"][kind],
            {"kind": kind.lower()},
        )


def component_tables() -> Iterator[tuple[str, Key, dict[str, Any], dict[str, Any]]]:
    """Give each component's table, and a cell's inside a stack."""
    for entry in discover().entries:
        kind, own = entry.component.kind, {"kind": entry.qualified}
        schema = entry.options.model_json_schema()
        key: Key = ("track", 0) if kind == "tracker" else (kind,)
        yield f"{kind} {entry.component.name}", key, schema, own
        if kind == "cell":
            yield f"layer {entry.component.name}", ("cell", "stack", 0), schema, own


ALL_TABLES = [*core_tables(), *component_tables()]
EVERY_TABLE = pytest.mark.parametrize(
    ("key", "schema", "own"),
    [case[1:] for case in ALL_TABLES],
    ids=[case[0] for case in ALL_TABLES],
)


def holding(key: Key, table: dict[str, Any]) -> str:
    """Return the hello task with these keys in the table at a key path."""
    data = tomllib.loads(HELLO)
    if key[:1] == ("cell",):
        data["cell"] = {"stack": [table]} if "stack" in key else table
    elif key[:1] == ("track",):
        data["track"] = [table]
    elif key and key[0] in COMPONENT_TABLES:
        data[str(key[0])] = table
    elif not key:
        data.update(table)
    else:
        node = data
        for part in key:
            node = node.setdefault(part, {})
        node.update(table)
    return tomli_w.dumps(data)


def line_of(text: str, name: str) -> int:
    """Return the line on which a key of a text by tomli_w stands."""
    return next(n for n, line in enumerate(text.split("\n"), 1) if f"{name} = " in line)


@EVERY_TABLE
def test_an_unknown_key_is_refused_at_every_depth(
    task: Write, key: Key, schema: Any, own: dict[str, Any]
) -> None:
    """A key that a table does not have is refused there, at its own line, with the keys that it
    has.
    """
    text = holding(key, {**own, "zzzzz": 1})
    problem = at(faults(task(text)), dotted((*key, "zzzzz")))
    assert problem.code == "RC011" and problem.nearest == ""
    assert problem.place is not None and problem.place.line == line_of(text, "zzzzz")
    assert set(problem.allowed.split(", ")) >= set(schema.get("properties", {}))


@EVERY_TABLE
def test_a_misspelt_key_names_the_right_one(
    task: Write, key: Key, schema: Any, own: dict[str, Any]
) -> None:
    """Every key of the language, misspelt by one letter, is refused with the key that was meant."""
    known = [name for name in schema.get("properties", {}) if name not in own]
    typos = {name[:-1] + name[-1] * 2: name for name in known}
    found = faults(task(holding(key, {**own, **dict.fromkeys(typos, 1), "zzzzz": 1})))
    for typo, name in typos.items():
        problem = at(found, dotted((*key, typo)))
        assert (problem.code, problem.nearest) == ("RC011", name)


def wrong_values(rule: dict[str, Any]) -> list[tuple[Any, str]]:
    """Return values that a rule of one plain type refuses, each with the code of the refusal."""
    kind = rule.get("type")
    lists = [([], "RC012"), ({}, "RC012")]
    if "enum" in rule or "const" in rule:
        return [("zzzzz", "RC013"), (1, "RC013"), (True, "RC013")]
    if kind == "integer":
        return [*lists, (True, "RC012"), ("64", "RC012"), (64.5, "RC012"), (64.0, "RC012"), (NAN,
            "RC013")] + [
            (INF, "RC013"), *outside(rule, 1)
        ]  # fmt: skip
    if kind == "number":
        return [
            *lists,
            (True, "RC012"),
            ("1.0", "RC012"),
            (NAN, "RC013"),
            (-INF, "RC013"),
            *outside(rule, 1e-6),
        ]
    if kind == "boolean":
        return [*lists, (0, "RC012"), (1, "RC012"), ("true", "RC012"), (1.0, "RC012")]
    if kind == "string":
        return [*lists, (1, "RC012"), (True, "RC012"), (0.5, "RC012"), (["a"], "RC012")]
    if kind == "array":
        return [("a", "RC012"), (1, "RC012"), ({}, "RC012")]
    return []


def outside(rule: dict[str, Any], step: float) -> list[tuple[Any, str]]:
    """Return the numbers just beyond the bounds of a rule."""
    beyond = {
        "minimum": rule.get("minimum", 0) - step,
        "exclusiveMinimum": rule.get("exclusiveMinimum", 0),
        "maximum": rule.get("maximum", 0) + step,
        "exclusiveMaximum": rule.get("exclusiveMaximum", 0),
    }
    return [(value, "RC013") for name, value in beyond.items() if name in rule]


def plain(rule: dict[str, Any]) -> dict[str, Any]:
    """Return the rule without `nothing`, which TOML cannot say; a union has no single wrong
    type.
    """
    options = [option for option in rule.get("anyOf", [rule]) if option.get("type") != "null"]
    return {**rule, **options[0]} if len(options) == 1 else {}


@EVERY_TABLE
def test_every_key_refuses_every_wrong_value(
    task: Write, key: Key, schema: Any, own: dict[str, Any]
) -> None:
    """Each key refuses what has not its type or lies beyond its bounds, all keys at once, and says
    what it allows.
    """
    rows = {
        name: wrong_values(plain(rule))
        for name, rule in schema.get("properties", {}).items()
        if name not in own
    }
    if not key:
        rows.pop("schema")  # tested below: another version is another fault
    for turn in range(max(map(len, rows.values()), default=0)):
        wrong = {name: values[turn] for name, values in rows.items() if turn < len(values)}
        found = faults(
            task(holding(key, {**own, **{name: value for name, (value, _) in wrong.items()}}))
        )
        for name, (value, code) in wrong.items():
            problem = at(found, dotted((*key, name)))
            assert (problem.code, problem.got) == (code, literal(value)), problem.render()
            assert problem.allowed and problem.place is not None and problem.place.line
            assert name in problem.fact


@QUICK
@given(
    st.lists(
        st.sampled_from(ALL_TABLES), min_size=1, max_size=6, unique_by=lambda case: case[1][:1]
    ),
    st.data(),
)
def test_all_faults_are_told_at_once_in_the_order_of_lines(
    task: Write, tables: list[Any], data: Any
) -> None:
    """However many tables are wrong, one reading tells every fault, sorted by its place."""
    text, keys = HELLO, set()
    cells = [(key, own) for _, key, _, own in tables if key]
    merged = tomllib.loads(text)
    for key, own in cells:
        part = tomllib.loads(holding(key, {**own, "zzzzz": data.draw(st.integers())}))
        merged[str(key[0])] = part[str(key[0])]
        keys.add(dotted((*key, "zzzzz")))
    merged["yyyyy"] = True
    found = faults(task(tomli_w.dumps(merged)))
    assert {problem.key for problem in found} >= keys | {"yyyyy"}
    places = [(p.place.line, p.place.column) for p in found if p.place]
    assert len(places) == len(found) and places == sorted(places)
    assert all(problem.code in CODES for problem in found)


@pytest.mark.parametrize("table", ALL_TABLES, ids=[case[0] for case in ALL_TABLES])
def test_every_key_is_described(table: Any) -> None:
    """Every key of the language has a description, and words for what it allows."""
    _, key, schema, _ = table
    for name, rule in schema.get("properties", {}).items():
        words = describe(rule, schema)
        assert words or name == "optimizer", f"{dotted(key)}.{name} allows nothing that can be said"
        assert rule.get("description") or name == "kind" or "$ref" in rule, f"{dotted(key)}.{name}"


def whole_numbers(schema: dict[str, Any]) -> list[str]:
    """Return the keys of a table that take whole numbers alone."""
    found = []
    for name, rule in schema.get("properties", {}).items():
        branches = [branch for branch in rule.get("anyOf", [rule]) if branch.get("type") != "null"]
        if [branch.get("type") for branch in branches] == ["integer"] and name != "schema":
            found.append(name)
    return found


@EVERY_TABLE
def test_every_whole_number_ends_somewhere(
    task: Write,
    key: Key,
    schema: dict[str, Any],
    own: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A number that no array could hold is refused in each key that takes whole ones, and the end
    is said.
    """
    catalog = discover()
    monkeypatch.setattr("recurra.resolve.discover", lambda files: catalog)
    names = whole_numbers(schema)
    if not names:
        return
    for name in names[:1] if len(names) == 1 else [names[0], names[-1]]:
        problem = at(faults(task(holding(key, {**own, name: 10**30}))), dotted((*key, name)))
        assert problem.code == "RC013" and "at most " in problem.allowed + problem.allowed.replace(
            "below", "at most"
        )
