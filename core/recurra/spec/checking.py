"""From pydantic's errors to ours: the place, what came, what is allowed, and the nearest name."""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from recurra.contracts.options import to_json
from recurra.errors import InputError, Problem, listing, nearest
from recurra.spec.document import Document, Key, same
from recurra.spec.overrides import toml_or_text
from recurra.spec.tables import COMPONENT_TABLES, CORE_TABLES, SCHEMA, TABLES, Task


def check(document: Document) -> tuple[Task | None, list[Problem]]:
    """Check the core's own tables; return the task, or none, and every problem found."""
    data = document.data
    if not data:
        return None, [_empty(document)]
    version = data.get("schema", SCHEMA)
    if isinstance(version, int) and not isinstance(version, bool) and version != SCHEMA:
        cure = "write schema = 1, or use a newer recurra"
        problem = Problem(
            "RC015", f"this recurra reads version {SCHEMA} of the task language", cure=cure
        )
        return None, [_placed(document, ("schema",), problem, version)]
    try:
        text = to_json(data)
    except ValueError as error:  # a hexadecimal integer with thousands of digits
        raise InputError.of(
            "RC003", f"a value cannot be read: {error}", place=document.place(())
        ) from error
    try:
        context = {"anchor": lambda value, name: document.anchor(("plugins", name), value)}
        return Task.model_validate_json(text, context=context), []
    except ValidationError as error:
        return None, problems(error, document, (), Task)


def _empty(document: Document) -> Problem:
    tables = ", ".join(f"[{name}]" for name in COMPONENT_TABLES)
    cure = f"a task has at least {tables}; `recurra new hello_lstm` writes one to start from"
    return Problem("RC010", "the file is empty", place=document.place(()), cure=cure)


def checked(
    model: Callable[[], Any], document: Document, base: Key, schema: type[BaseModel]
) -> Any:
    """Call `model`, which validates one table, and raise its faults as one `InputError`."""
    try:
        return model()
    except ValidationError as error:
        raise InputError(problems(error, document, base, schema)) from error


def problems(
    error: ValidationError, document: Document, base: Key, model: type[BaseModel], owner: str = ""
) -> list[Problem]:
    """Return the problems of the table at `base`, whose model is `model`; `owner` names the
    component.
    """
    found: dict[Key, Problem] = {}
    schema = model.model_json_schema()
    table: Any = document.data
    for part in base:
        table = table[part]
    for path, detail in _nearest_branches(table, error.errors(include_url=False)):
        fact_key, problem = _problem(detail, schema, table, path, owner)
        key = (*base, *fact_key)
        if problem.code == "RC011":
            problem = replace(problem, cure=_other_layer(document, key))
        found.setdefault(key, _placed(document, key, problem, _at(table, fact_key)))
    return list(found.values())


def unplaced(
    error: ValidationError, table: dict[str, Any], model: type[BaseModel]
) -> list[Problem]:
    """Return the problems of a table that stands in no file, as one of Python's arguments: each
    names its key.
    """
    found: dict[Key, Problem] = {}
    schema = model.model_json_schema()
    for path, detail in _nearest_branches(table, error.errors(include_url=False)):
        key, problem = _problem(detail, schema, table, path, "")
        found.setdefault(key, replace(problem, key=dotted(key)))
    return list(found.values())


def _at(table: Any, path: Key) -> Any:
    """Return the value at a key path that begins in a table, or nothing."""
    for part in path:
        try:
            table = table[part]
        except (KeyError, IndexError, TypeError):
            return None
    return table


def _nearest_branches(table: Any, details: Iterable[Any]) -> list[tuple[Key, Any]]:
    """Return each fault with its key path; of a union, which fails in every branch, those of the
    branch that fits best.

    Best is a branch that takes the outermost value, with the fewest faults, the deepest inside.
    """
    plain: list[tuple[Key, Any]] = []
    unions: dict[Key, dict[str, list[tuple[Key, Any]]]] = {}
    for detail in details:
        path, site, branch = _clean(table, detail["loc"], detail["type"])
        into = plain if site is None else unions.setdefault(site, {}).setdefault(branch, [])
        into.append((path, detail))
    for site, branches in unions.items():
        plain += min(branches.values(), key=lambda faults: _misfit(site, faults))
    return plain


def _misfit(site: Key, faults: Iterable[tuple[Key, Any]]) -> tuple[bool, int, int]:
    paths = [path for path, _ in faults]
    return site in paths, len(paths), -max(map(len, paths))


def _clean(table: Any, location: tuple[str | int, ...], kind: str) -> tuple[Key, Key | None, str]:
    """Return pydantic's location without labels, which are not keys of the file; where a union
    forks, and its branch.

    The label of a tagged union is the tag itself, and there is no other branch.
    """
    path: list[str | int] = []
    site: Key | None = None
    branch = ""
    node = table
    for index, part in enumerate(location):
        if (
            part in node
            if isinstance(node, dict)
            else isinstance(node, list) and part in range(len(node))
        ):
            node = node[part]
            path.append(part)
        elif kind == "missing" and index == len(location) - 1:
            path.append(part)
        elif site is None and not (isinstance(node, dict) and part in node.values()):
            site, branch = tuple(path), str(part)
    return tuple(path), site, branch


def _other_layer(document: Document, key: Key) -> str:
    """Say so when an unknown option was meant for the kind that another layer had chosen."""
    kind = (*key[:-1], "kind")
    if kind not in document.origins or document.layer(kind) is document.layer(key):
        return ""
    return (
        f"kind was set by {document.layer(kind).label}, and this option by"
        f" {document.layer(key).label}"
    )


def _problem(
    detail: Any, schema: dict[str, Any], table: Any, path: Key, owner: str
) -> tuple[Key, Problem]:
    """Return the key that is at fault and the problem, still without its place."""
    kind = detail["type"]
    if kind == "missing" and isinstance(path[-1], int):
        kind, path = "too_short", path[:-1]  # a list of fixed length lacks an element, not a key
    name = _name(path)
    parent = _schema_at(schema, table, path[:-1])
    known = parent.get("properties", {})
    if kind == "missing":
        allowed = describe(known.get(path[-1], {}), schema)
        return path, Problem("RC010", f"{name} is missing{_of(owner)}", allowed=allowed)
    if kind == "extra_forbidden":
        names = [*known, *(["extends", "unset"] if "schema" in known and len(path) == 1 else [])]
        return path, Problem(
            "RC011", f"there is no key {str(path[-1])!r} here{_of(owner)}",
            allowed=listing(names), nearest=nearest(str(path[-1]), names),
        )  # fmt: skip
    if kind == "value_error":
        return _crossed(detail, schema, table, path)
    if not path:
        fact = (
            f"the table cannot be read{_of(owner)}:"
            f" {detail.get('ctx', {}).get('error', detail['msg'])}"
        )
        return path, Problem("RC013", fact)
    rule = _schema_at(schema, table, path)
    if kind.startswith("union_tag"):
        return _tag_problem(rule, path, name, _at(table, (*path, "kind")))
    wrong_type = kind.endswith("_type") or kind.endswith("_parsing") or kind == "int_from_float"
    value = detail["input"]
    if isinstance(value, float) and not math.isfinite(value) and kind.startswith(("int", "float")):
        wrong_type = False  # where a number belongs, nan is one that is not allowed
    code = "RC012" if wrong_type else "RC013"
    fact = (
        f"{name} has the wrong type{_of(owner)}"
        if wrong_type
        else f"{name} is not allowed{_of(owner)}"
    )
    close = nearest(value, _choices(rule)) if isinstance(value, str) else ""
    return path, Problem(code, fact, allowed=_allowed(schema, table, path), nearest=close)


def _tag_problem(rule: dict[str, Any], path: Key, name: str, given: Any) -> tuple[Key, Problem]:
    """Return the problem of a table whose `kind` is missing or unknown."""
    tags = list(rule.get("discriminator", {}).get("mapping", {}))
    if isinstance(given, str):
        problem = Problem("RC013", f"{name} has no kind {given!r}", nearest=nearest(given, tags))
    elif given is None:
        problem = Problem("RC010", "kind is missing")
    else:
        problem = Problem("RC012", "kind must be a name, in quotes")
    return (*path, "kind"), replace(problem, allowed=listing(tags))


def _name(path: Key) -> str:
    """Return the last name of a key path, with the index where it ends in an element:
    `split[1]`.
    """
    last = max((index for index, part in enumerate(path) if isinstance(part, str)), default=0)
    return dotted(path[last:])


def _allowed(schema: dict[str, Any], table: Any, path: Key) -> str:
    """Return what is allowed at a key path; inside a union, whose branches differ, what is allowed
    as a whole.
    """
    words = ""
    while not words and path:
        words = describe(_schema_at(schema, table, path), schema)
        path = path[:-1]
    return words


def _crossed(detail: Any, schema: dict[str, Any], table: Any, path: Key) -> tuple[Key, Problem]:
    """Return the problem of a rule across keys, whose message begins with the key it is about."""
    message = str(detail["ctx"]["error"]) if "ctx" in detail else detail["msg"]
    found = re.match(r"(\w+): ", message)
    rule = _schema_at(schema, table, path)
    if path and "properties" not in rule:
        return path, Problem(
            "RC013", f"{_name(path)} is not allowed: {message}", allowed=describe(rule, schema)
        )
    known = rule.get("properties", {})
    if found and found[1] in known:
        return (*path, found[1]), Problem("RC014", message[found.end() :])
    return path, Problem("RC014", message)


def _of(owner: str) -> str:
    return f" in the options of {owner}" if owner else ""


def _placed(document: Document, key: Key, problem: Problem, value: Any) -> Problem:
    """Return a problem with its place, its dotted key and what came."""
    hidden = value is None or problem.code in ("RC010", "RC011", "RC014") or not key
    shown = "" if hidden else literal(value)
    if len(shown) > 80:
        shown = shown[:77] + "..."
    cure = problem.cure or _spelling(document, key, value, problem)
    return replace(problem, key=dotted(key), place=document.place(key), got=shown, cure=cure)


def _spelling(document: Document, key: Key, value: Any, problem: Problem) -> str:
    """Return how a value is written that has the wrong type only for its quotes or brackets, or
    nothing.
    """
    name, raw = dotted(key), _own_text(document, key, value)
    if problem.code not in ("RC012", "RC013") or not isinstance(value, (str, bool, int, float)):
        return ""
    if key in TABLES:
        kinds = key not in {(table,) for table in CORE_TABLES if table != "device"}
        return f"it is a table: {_assignment(f'{name}.kind', literal(value), raw)}" if kinds else ""

    written = value if isinstance(value, str) else raw or literal(value)
    text = json.dumps(written, ensure_ascii=False)
    if len(text) > 80:
        return ""
    takes_text = re.search(r'^text|^"|or (text|")', problem.allowed)
    if takes_text and not isinstance(value, str):
        return f"text stands in quotes: {_assignment(name, text, raw)}"
    if "a list: text" in problem.allowed:
        return f"a list stands in brackets: {_assignment(name, f'[{text}]', raw)}"
    if not isinstance(value, str) or takes_text:
        return ""
    if value.lower() in ("true", "false") or _is_number(value):
        return f"write it without quotes: {_assignment(name, value.lower(), raw)}"
    return f"{value} is no TOML value, and was read as text" if value == raw else ""


def _own_text(document: Document, key: Key, value: Any) -> str:
    """Return the text of an override that gives this very value, not a list or a table with the
    value inside.
    """
    raw = document.layer(key).value
    return raw if raw and same(toml_or_text(raw), value) else ""


def _assignment(name: str, value: str, raw: str) -> str:
    """Return a key with its value as they stand on the command line, or in a file; of a list the
    element alone.
    """
    if name.endswith("]"):
        return value
    if not raw:
        return f"{name} = {value}"
    return f"-o '{name}={value}'" if re.search(r"[^\w.-]", value) else f"-o {name}={value}"


def _is_number(text: str) -> bool:
    try:
        return isinstance(tomllib.loads(f"v = {text}")["v"], (int, float))
    except (ValueError, RecursionError):
        return False


def path_of(text: str) -> Key:
    """Return the key path that `dotted` writes; the other way round, `cell.stack.0` is
    `cell.stack[0]` too.
    """
    return tuple(int(part) if part.isdigit() else part for part in re.findall(r"[^.\[\]]+", text))


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
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text.encode(
        "utf-8", "backslashreplace"
    ).decode()  # half a surrogate pair cannot be printed


def _schema_at(schema: dict[str, Any], table: Any, path: Key) -> dict[str, Any]:
    """Return the JSON Schema of what stands at a key path, through references and tagged unions."""
    node = schema
    value = table
    for part in path:
        node = _resolve(node, schema, value)
        value = value.get(part) if isinstance(value, dict) else None
        node = _named(node, part) if isinstance(part, str) else _element(node, part)
    return _resolve(node, schema, value)


def _named(node: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the JSON Schema of a table's key, which a table of any keys has for all of them."""
    every = node.get("additionalProperties")
    rule: dict[str, Any] = node.get("properties", {}).get(name) or (
        every if isinstance(every, dict) else {}
    )
    return rule


def _element(node: dict[str, Any], index: int) -> dict[str, Any]:
    """Return the JSON Schema of a list's element, which a list of fixed length has for each
    place.
    """
    places: list[dict[str, Any]] = node.get("prefixItems", [])
    rule: dict[str, Any] = places[index] if index < len(places) else node.get("items") or {}
    return rule


def _resolve(node: dict[str, Any], schema: dict[str, Any], value: Any) -> dict[str, Any]:
    tags = node.get("discriminator", {}).get("mapping", {})
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in tags:
        node = {"$ref": tags[value["kind"]]}
    branches = [branch for branch in node.get("anyOf", []) if branch.get("type") != "null"]
    if isinstance(value, dict):  # of a word or a table, it is the table
        branches = [branch for branch in branches if branch.get("type") == "object"] or branches
    if len(branches) == 1:  # what may be left out
        node = {**branches[0], **{k: v for k, v in node.items() if k != "anyOf"}}
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
        options = [
            describe(r, schema)
            for r in rule.get("anyOf", rule.get("oneOf", []))
            if r.get("type") != "null"
        ]
        return (", or " if any(": " in option for option in options) else " or ").join(
            dict.fromkeys(options)
        )
    if choices := _choices(rule):
        return " or ".join(f'"{choice}"' for choice in choices)
    if rule.get("type") == "array":
        size = rule.get("minItems")
        count = f" of {size}" if size and size == rule.get("maxItems") else ""
        elements = (
            {"anyOf": rule["prefixItems"]} if "prefixItems" in rule else rule.get("items", {})
        )
        return f"a list{count}: {describe(elements, schema) or 'anything'}"
    words = [_TYPES.get(str(rule.get("type")), "")]
    if rule.get("type") == "object" and "properties" in rule:
        words[0] += f" of {', '.join(rule['properties'])}"
    bounds = (
        ("minimum", "at least"),
        ("exclusiveMinimum", "above"),
        ("maximum", "at most"),
        ("exclusiveMaximum", "below"),
    )
    numbers = [(text, rule[name]) for name, text in bounds if name in rule]
    words += [
        f"{text} {number:g}" if isinstance(number, float) else f"{text} {number}"
        for text, number in numbers
    ]
    lengths = (("minLength", "at least"), ("maxLength", "at most"))
    counts = [(text, rule[name]) for name, text in lengths if name in rule]
    words += [f"{text} {count} character{'s' if count != 1 else ''}" for text, count in counts]
    if "pattern" in rule:
        words.append(f"matching {rule['pattern']}")
    return ", ".join(word for word in words if word)
