"""What a model's JSON Schema allows at each key: found along a key path, and put into words."""

from __future__ import annotations

from typing import Any, TypeAlias

from recurra.spec.document import Key

Rule: TypeAlias = dict[str, Any]
"""A JSON Schema, or one of the schemas inside it."""


def rule_at(schema: Rule, table: Any, path: Key) -> Rule:
    """Return the rule of what stands at a key path of a table, through references and unions."""
    rule = schema
    value = table
    for part in path:
        rule = _followed(rule, schema, value)
        value = value.get(part) if isinstance(value, dict) else None
        if isinstance(part, str):
            rule = _of_key(rule, part)
        else:
            rule = _of_element(rule, part)
    return _followed(rule, schema, value)


def _of_key(rule: Rule, name: str) -> Rule:
    """Return the rule of a table's key, which a table of any keys has for all of them."""
    properties: dict[str, Rule] = rule.get("properties", {})
    others = rule.get("additionalProperties")
    if properties.get(name):
        return properties[name]
    if isinstance(others, dict):
        return others
    return {}


def _of_element(rule: Rule, index: int) -> Rule:
    """Return the rule of a list's element, which a list of fixed length has for each place."""
    places: list[Rule] = rule.get("prefixItems", [])
    if index < len(places):
        return places[index]
    return rule.get("items") or {}


def _followed(rule: Rule, schema: Rule, value: Any) -> Rule:
    """Return a rule whose references are followed, and whose union is the branch of the value."""
    rule = _branch(rule, value)
    if "$ref" not in rule:
        return rule
    name = rule["$ref"].rsplit("/", 1)[1]
    return _in_place_of(rule, "$ref", schema["$defs"][name])


def _branch(rule: Rule, value: Any) -> Rule:
    """Return the branch of a union that a value belongs to, or the rule itself."""
    tags = rule.get("discriminator", {}).get("mapping", {})
    kind = value.get("kind") if isinstance(value, dict) else None
    if isinstance(kind, str) and kind in tags:
        return {"$ref": tags[kind]}

    # What may be left out is a union with null: its rule is the other branch.
    branches = _without_null(rule.get("anyOf", []))
    if isinstance(value, dict):
        # A table that stands where a word or a table may stand is meant as the table.
        tables = [branch for branch in branches if branch.get("type") == "object"]
        branches = tables or branches
    if len(branches) == 1:
        return _in_place_of(rule, "anyOf", branches[0])
    return rule


def _without_null(branches: list[Rule]) -> list[Rule]:
    """Return branches of a union but for null."""
    return [branch for branch in branches if branch.get("type") != "null"]


def _in_place_of(rule: Rule, key: str, inner: Rule) -> Rule:
    """Return a rule with what one of its keys leads to in that key's place."""
    rest = rule.copy()
    del rest[key]
    return inner | rest


def choices(rule: Rule) -> list[str]:
    """Return the values of which one must be chosen; none where there is no such list.

    Of a union they are those of all its branches that have such a list.
    """
    if "anyOf" in rule:
        return [choice for branch in rule["anyOf"] for choice in choices(branch)]
    only = [rule["const"]] if "const" in rule else []
    return [str(choice) for choice in rule.get("enum", only)]


_TYPES = {
    "integer": "an integer",
    "number": "a number",
    "boolean": "true or false",
    "string": "text",
    "object": "a table",
    "null": "nothing",
}
_BOUNDS = (
    ("minimum", "at least"),
    ("exclusiveMinimum", "above"),
    ("maximum", "at most"),
    ("exclusiveMaximum", "below"),
)
_LENGTHS = (("minLength", "at least"), ("maxLength", "at most"))


def describe(rule: Rule, schema: Rule | None = None) -> str:
    """Return what a JSON Schema allows, in words: `an integer, at least 1, at most 64`."""
    if "$ref" in rule and schema:
        rule = _followed(rule, schema, None)
    if "anyOf" in rule or "oneOf" in rule:
        return _any_of(rule, schema)
    if names := choices(rule):
        return " or ".join(f'"{name}"' for name in names)
    if rule.get("type") == "array":
        return _list(rule, schema)

    words = [_type(rule)] if _type(rule) else []
    words += _bounds(rule)
    words += _lengths(rule)
    if "pattern" in rule:
        words.append(f"matching {rule['pattern']}")
    return ", ".join(words)


def _any_of(rule: Rule, schema: Rule | None) -> str:
    """Return what the branches of a union allow, each thing once."""
    words = {}
    branches: list[Rule] = rule["anyOf"] if "anyOf" in rule else rule["oneOf"]
    for branch in _without_null(branches):
        words[describe(branch, schema)] = True
    # `a list: text or a number` would read as a list of either.
    if any(": " in word for word in words):
        return ", or ".join(words)
    return " or ".join(words)


def _list(rule: Rule, schema: Rule | None) -> str:
    if "prefixItems" in rule:
        elements = {"anyOf": rule["prefixItems"]}
    else:
        elements = rule.get("items", {})
    words = describe(elements, schema) or "anything"

    size = rule.get("minItems")
    if size and size == rule.get("maxItems"):
        return f"a list of {size}: {words}"
    return f"a list: {words}"


def _type(rule: Rule) -> str:
    kind = str(rule.get("type"))
    word = _TYPES.get(kind, "")
    if kind == "object" and "properties" in rule:
        word += f" of {', '.join(rule['properties'])}"
    named = rule.get("additionalProperties")
    if kind == "object" and isinstance(named, dict) and "$ref" in named:
        word += " of tables, each by a name"
    return word


def _bounds(rule: Rule) -> list[str]:
    """Return the bounds of a number, in words."""
    words = []
    for name, word in _BOUNDS:
        bound = rule.get(name)
        if isinstance(bound, float):
            words.append(f"{word} {bound:g}")
        elif name in rule:
            words.append(f"{word} {bound}")
    return words


def _lengths(rule: Rule) -> list[str]:
    """Return how long a text may be, in words."""
    words = []
    shortest = rule.get("minLength")
    if shortest and shortest == rule.get("maxLength"):
        return [f"{shortest} character{'s' if shortest != 1 else ''}"]
    for name, word in _LENGTHS:
        if name in rule:
            count = rule[name]
            plural = "s" if count != 1 else ""
            words.append(f"{word} {count} character{plural}")
    return words
