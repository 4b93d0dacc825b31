"""From pydantic's errors to ours: the place, what came, what is allowed, and the nearest name."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from recurra.contracts.options import to_json
from recurra.errors import InputError, Problem, listing, nearest
from recurra.spec.reading import Document, Key
from recurra.spec.tables import COMPONENT_TABLES, SCHEMA, Task


def check(document: Document) -> tuple[Task | None, list[Problem]]:
    """Check the core's own tables; return the task, or none, and every problem found."""
    data = document.data
    if not data:
        return None, [_empty(document)]
    version = data.get("schema", SCHEMA)
    if isinstance(version, int) and not isinstance(version, bool) and version != SCHEMA:
        cure = "write schema = 1, or use a newer recurra"
        problem = Problem("RC015", f"this recurra reads version {SCHEMA} of the task language", cure=cure)
        return None, [_placed(document, ("schema",), problem, version)]
    try:
        context = {"anchor": lambda value, name: document.anchor(("plugins", name), value)}
        return Task.model_validate_json(to_json(data), context=context), []
    except ValidationError as error:
        return None, problems(error, document, (), Task)


def _empty(document: Document) -> Problem:
    tables = ", ".join(f"[{name}]" for name in COMPONENT_TABLES)
    cure = f"a task has at least {tables}; `recurra new hello_lstm` writes one to start from"
    return Problem("RC010", "the file is empty", place=document.place(()), cure=cure)


def checked(model: Callable[[], Any], document: Document, base: Key, schema: type[BaseModel]) -> Any:
    """Call `model`, which validates one table, and raise its faults as one `InputError`."""
    try:
        return model()
    except ValidationError as error:
        raise InputError(problems(error, document, base, schema)) from error


def problems(
    error: ValidationError, document: Document, base: Key, model: type[BaseModel], owner: str = ""
) -> list[Problem]:
    """Return the problems of the table at `base`, whose model is `model`; `owner` names the component."""
    found: dict[Key, Problem] = {}
    schema = model.model_json_schema()
    table: Any = document.data
    for part in base:
        table = table[part]
    for detail in error.errors(include_url=False):
        path = _clean(table, detail["loc"], detail["type"])
        fact_key, problem = _problem(detail, schema, table, path, owner)
        key = (*base, *fact_key)
        value = detail["input"] if detail["type"] not in ("missing", "value_error") else None
        found.setdefault(key, _placed(document, key, problem, value))
    return list(found.values())


def _clean(table: Any, location: tuple[str | int, ...], kind: str) -> Key:
    """Return pydantic's location without the labels of unions, which are not keys of the file."""
    path: list[str | int] = []
    node = table
    for index, part in enumerate(location):
        inside = part in node if isinstance(node, dict) else isinstance(part, int) and isinstance(node, list)
        if inside:
            node = node[part]
            path.append(part)
        elif kind == "missing" and index == len(location) - 1:
            path.append(part)
    return tuple(path)


def _problem(detail: Any, schema: dict[str, Any], table: Any, path: Key, owner: str) -> tuple[Key, Problem]:
    """Return the key that is at fault and the problem, still without its place."""
    kind = detail["type"]
    name = path[-1] if path else ""
    parent = _schema_at(schema, table, path[:-1])
    known = parent.get("properties", {})
    if kind == "missing":
        allowed = describe(known.get(name, {}), schema)
        return path, Problem("RC010", f"{name} is missing{_of(owner)}", allowed=allowed)
    if kind == "extra_forbidden":
        return path, Problem(
            "RC011", f"there is no key {name!r} here{_of(owner)}",
            allowed=listing(known), nearest=nearest(str(name), known),
        )  # fmt: skip
    if kind == "value_error":
        return _crossed(detail, schema, table, path)
    rule = _schema_at(schema, table, path)
    allowed = describe(rule, schema)
    if kind.startswith("union_tag"):
        tags = list(rule.get("discriminator", {}).get("mapping", {}))
        given = str(detail["input"].get("kind", "")) if isinstance(detail["input"], dict) else ""
        fact = f"{name} has no kind {given!r}" if given else f"{name} needs a kind"
        return (*path, "kind") if given else path, Problem(
            "RC013", fact, allowed=listing(tags), nearest=nearest(given, tags)
        )
    wrong_type = kind.endswith("_type") or kind.endswith("_parsing") or kind == "int_from_float"
    value = detail["input"]
    if isinstance(value, float) and not math.isfinite(value):
        wrong_type = False
    code = "RC012" if wrong_type else "RC013"
    fact = f"{name} has the wrong type{_of(owner)}" if wrong_type else f"{name} is not allowed{_of(owner)}"
    close = nearest(value, _choices(rule)) if isinstance(value, str) else ""
    return path, Problem(code, fact, allowed=allowed, nearest=close)


def _crossed(detail: Any, schema: dict[str, Any], table: Any, path: Key) -> tuple[Key, Problem]:
    """Return the problem of a rule across keys, whose message begins with the key it is about."""
    message = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
    found = re.match(r"(\w+): ", message)
    known = _schema_at(schema, table, path).get("properties", {})
    if found and found[1] in known:
        return (*path, found[1]), Problem("RC014", message[found.end() :])
    return path, Problem("RC014", message)


def _of(owner: str) -> str:
    return f" in the options of {owner}" if owner else ""


def _placed(document: Document, key: Key, problem: Problem, value: Any) -> Problem:
    """Return a problem with its place, its dotted key and what came."""
    shown = "" if value is None or problem.code in ("RC010", "RC011") else literal(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return Problem(
        problem.code, problem.fact, dotted(key), document.place(key), shown,
        problem.allowed, problem.nearest, problem.cure,
    )  # fmt: skip


def dotted(key: Key) -> str:
    """Return a key path as it is written: `cell.stack[0].hidden_size`."""
    text = ""
    for part in key:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text.lstrip(".")


def literal(value: Any) -> str:
    """Return a value as TOML would write it, on one line."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else ("inf" if value > 0 else "-inf")
    return json.dumps(value, ensure_ascii=False, default=str)


def _schema_at(schema: dict[str, Any], table: Any, path: Key) -> dict[str, Any]:
    """Return the JSON Schema of what stands at a key path, through references and tagged unions."""
    node = schema
    value = table
    for part in path:
        node = _resolve(node, schema, value)
        value = value.get(part) if isinstance(value, dict) else None
        node = node.get("properties", {}).get(part, {}) if isinstance(part, str) else node.get("items", {})
    return _resolve(node, schema, value)


def _resolve(node: dict[str, Any], schema: dict[str, Any], value: Any) -> dict[str, Any]:
    tags = node.get("discriminator", {}).get("mapping", {})
    if tags and isinstance(value, dict) and value.get("kind") in tags:
        node = {"$ref": tags[value["kind"]]}
    if "$ref" in node:
        target = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
        return {**target, **{k: v for k, v in node.items() if k != "$ref"}}
    return node


def _choices(rule: dict[str, Any]) -> list[str]:
    return [str(choice) for choice in rule.get("enum", [rule["const"]] if "const" in rule else [])]


_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "object": "a table",
    "null": "nothing",
}


def describe(rule: dict[str, Any], schema: dict[str, Any] | None = None) -> str:
    """Return what a JSON Schema allows, in words."""
    if "$ref" in rule and schema:
        rule = _resolve(rule, schema, None)
    if "anyOf" in rule or "oneOf" in rule:
        options = [describe(r, schema) for r in rule.get("anyOf", rule.get("oneOf", [])) if r.get("type") != "null"]
        return " or ".join(dict.fromkeys(options))
    if choices := _choices(rule):
        return " or ".join(f'"{choice}"' for choice in choices)
    if rule.get("type") == "array":
        size = rule.get("minItems")
        count = f" of {size}" if size and size == rule.get("maxItems") else ""
        return f"a list{count}: {describe(rule.get('items', {}), schema) or 'anything'}"
    words = [_TYPES.get(str(rule.get("type")), "")]
    bounds = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    )
    words += [f"{text} {rule[name]:g}" for name, text in bounds if name in rule]
    if "pattern" in rule:
        words.append(f"matching {rule['pattern']}")
    return ", ".join(word for word in words if word)
