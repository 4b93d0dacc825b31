"""The task language as a JSON Schema, with the options of every installed component.

It is for editors and for lists.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from recurra.catalog import HOME, Catalog, Entry
from recurra.spec import checking
from recurra.spec.tables import COMPONENT_TABLES, Task


def option_rows(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Return name, what is allowed, default and description of each option."""
    schema = model.model_json_schema()
    required = set(schema.get("required", []))
    rows = []
    for name, rule in schema.get("properties", {}).items():
        default = (
            "required"
            if name in required
            else ""
            if rule.get("default") is None
            else checking.literal(rule["default"])
        )
        rows.append((name, checking.describe(rule, schema), default, rule.get("description", "")))
    return rows


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON Schema of task files, with the options of every installed component.

    A table is judged by the `kind` that it names, by `if` and `then`: so an editor speaks of the
    one key that is wrong.
    """
    schema = Task.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recurra task"
    properties, definitions = schema["properties"], schema.setdefault("$defs", {})
    properties["extends"] = {"type": "string", "description": "a task file that this one builds on"}
    properties["unset"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": 'keys of the base that are taken away: unset = ["encoder.periods"]',
    }
    schema["required"] = []

    whole: dict[str, Any] = {}  # what a task needs that extends no other
    for kind in COMPONENT_TABLES:
        table, needs = _table_schema(kind, catalog, definitions)
        default = properties[kind].get("default")
        described = {"description": properties[kind].get("description", "")}
        if kind == "cell":
            definitions["cell_layer"] = {
                **table,
                **needs,
                "allOf": [*table["allOf"], *needs.get("allOf", [])],
            }
            layers = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/cell_layer"}}
            stack = {"properties": {"stack": layers}, "additionalProperties": False}
            table = {"type": "object", "if": {"required": ["stack"]}, "then": stack, "else": table}
            needs = {"if": {"required": ["stack"]}, "else": needs}
        properties[kind] = {
            **described,
            **table,
            **({} if default is None else {"default": default}),
        }
        whole[kind] = needs
    definitions["Training"]["properties"]["schedule"] |= _schedule_schema(definitions)
    whole["training"] = {"properties": {"schedule": {"required": ["kind"]}}}

    schema["if"] = {"not": {"required": ["extends"]}}
    schema["then"] = {"properties": whole}
    return schema


def _table_schema(
    kind: str, catalog: Catalog, definitions: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a component's table may hold, and what it must, by the `kind` that it names."""
    names: list[str] = []
    may: list[dict[str, Any]] = []
    must: list[dict[str, Any]] = []
    for entry in catalog.of_kind(kind):
        spellings = _spellings(entry, catalog)
        chosen = {"properties": {"kind": {"enum": spellings}}, "required": ["kind"]}
        reference, required = _choice(entry, catalog, definitions)
        names += spellings
        may.append({"if": chosen, "then": reference})
        if required:
            must.append({"if": chosen, "then": {"required": required}})
    table = {"type": "object", "properties": {"kind": {"enum": names}}, "allOf": may}
    return table, {"required": ["kind"], **({"allOf": must} if must else {})}


def _schedule_schema(definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a schedule: by its kind, as that of a component."""
    schedule = definitions["Training"]["properties"]["schedule"]
    mapping = schedule.pop("discriminator")["mapping"]
    schedule.pop("oneOf")
    by_kind = [
        {
            "if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
            "then": {"$ref": reference},
        }
        for kind, reference in mapping.items()
    ]
    return {"type": "object", "properties": {"kind": {"enum": list(mapping)}}, "allOf": by_kind}


def _choice(
    entry: Entry, catalog: Catalog, definitions: dict[str, Any]
) -> tuple[dict[str, str], list[str]]:
    """Add one component's table to the definitions.

    Returns the reference to it, and the options that it must have.
    """
    name = f"{entry.component.kind}.{entry.qualified.replace('/', '.')}"
    table = _options_schema(entry, f"#/$defs/{name}.{{model}}")
    for inner, definition in table.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = definition
    kind = {"enum": _spellings(entry, catalog), "description": entry.component.summary}
    table["properties"] = {"kind": kind, **table.get("properties", {})}
    required = table.get("required", [])
    table["required"] = ["kind"]
    definitions[name] = table
    return {"$ref": f"#/$defs/{name}"}, required


def _options_schema(entry: Entry, references: str) -> dict[str, Any]:
    """Return the schema of a component's options.

    Where they are broken, it is an open table that says so.
    """
    try:
        return dict(entry.options.model_json_schema(ref_template=references))
    except Exception as error:  # a plugin's fault must not take the schema from everybody else
        return {
            "type": "object",
            "description": f"the options of {entry.qualified} are not known: {error}",
        }


def _spellings(entry: Entry, catalog: Catalog) -> list[str]:
    """Return the names under which a task finds this component and no other."""
    same = [
        other
        for other in catalog.of_kind(entry.component.kind)
        if other.answers(entry.component.name)
    ]
    short = len(same) == 1 or entry.plugin.distribution == HOME
    names = [*([entry.component.name] if short else []), entry.qualified]
    return list(dict.fromkeys(spelt for name in names for spelt in (name, _hyphened(name))))


def _hyphened(name: str) -> str:
    distribution, slash, short = name.rpartition("/")
    return f"{distribution}{slash}{short.replace('_', '-')}"
