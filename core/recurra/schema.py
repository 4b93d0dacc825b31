"""The task language as a JSON Schema, with the options of every installed component.

It is for editors and for lists.
"""

from __future__ import annotations

from pydantic import BaseModel

from recurra.catalog import Catalog, Entry
from recurra.contracts.component import TRACKER
from recurra.spec import checking
from recurra.spec.rules import Rule
from recurra.spec.tables import COMPONENT_TABLES, TRACK, Task


def option_rows(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Return name, what is allowed, default and description of each option."""
    return rows_of(model.model_json_schema())


def rows_of(schema: Rule) -> list[tuple[str, str, str, str]]:
    """Return name, what is allowed, default and description of each key of a table's schema."""
    required = schema.get("required", [])
    rows = []
    for name, rule in schema.get("properties", {}).items():
        if name in required:
            default = "required"
        elif rule.get("default") is None:
            default = ""
        else:
            default = checking.literal(rule["default"])
        allowed = checking.describe(rule, schema)
        rows.append((name, allowed, default, rule.get("description", "")))
    return rows


def json_schema(catalog: Catalog) -> Rule:
    """Return the JSON Schema of task files, with the options of every installed component.

    A table is judged by the `kind` that it names, by `if` and `then`: so an editor speaks of the
    one key that is wrong.
    """
    schema = Task.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recurra task"
    properties = schema["properties"]
    definitions = schema.setdefault("$defs", {})
    properties["extends"] = {"type": "string", "description": "a task file that this one builds on"}
    properties["unset"] = {
        "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
        "description": 'keys of the base that are taken away: unset = ["encoder.periods"]',
    }
    schema["required"] = []

    # What a task needs that extends no other: a base may have said it already.
    whole: Rule = {}
    for kind in COMPONENT_TABLES:
        table, needs = _table_schema(kind, catalog, definitions)
        if kind == "cell":
            table, needs = _with_stack(table, needs, definitions)
        field = properties[kind]
        properties[kind] = {"description": field.get("description", ""), **table}
        if field.get("default") is not None:
            properties[kind]["default"] = field["default"]
        whole[kind] = needs
    table, needs = _table_schema(TRACKER, catalog, definitions)
    rules = table["allOf"] + needs.get("allOf", [])
    properties[TRACK]["items"] = {**table, **needs, "allOf": rules}
    definitions["Training"]["properties"]["schedule"] |= _schedule_schema(definitions)
    whole["training"] = {"properties": {"schedule": {"required": ["kind"]}}}

    schema["if"] = {"not": {"required": ["extends"]}}
    schema["then"] = {"properties": whole}
    return schema


def _with_stack(table: Rule, needs: Rule, definitions: Rule) -> tuple[Rule, Rule]:
    """Return what [cell] may hold and must hold: one cell, or [[cell.stack]] tables of cells."""
    rules = table["allOf"] + needs.get("allOf", [])
    definitions["cell_layer"] = {**table, **needs, "allOf": rules}
    layers = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/cell_layer"}}
    stack = {"properties": {"stack": layers}, "additionalProperties": False}

    stacked = {"required": ["stack"]}
    may = {"type": "object", "if": stacked, "then": stack, "else": table}
    must = {"if": stacked, "else": needs}
    return may, must


def _table_schema(kind: str, catalog: Catalog, definitions: Rule) -> tuple[Rule, Rule]:
    """Return what a component's table may hold, and what it must, by the `kind` that it names."""
    names: list[str] = []
    may: list[Rule] = []
    must: list[Rule] = []
    for entry in catalog.of_kind(kind):
        spellings = _spellings(entry, catalog)
        chosen = {"properties": {"kind": {"enum": spellings}}, "required": ["kind"]}
        reference, required = _choice(entry, catalog, definitions)
        names += spellings
        may.append({"if": chosen, "then": reference})
        if required:
            must.append({"if": chosen, "then": {"required": required}})
    table = {"type": "object", "properties": {"kind": {"enum": names}}, "allOf": may}
    needs: Rule = {"required": ["kind"]}
    if must:
        needs["allOf"] = must
    return table, needs


def _schedule_schema(definitions: Rule) -> Rule:
    """Return the schema of a schedule: by its kind, as that of a component."""
    schedule = definitions["Training"]["properties"]["schedule"]
    mapping = schedule.pop("discriminator")["mapping"]
    schedule.pop("oneOf")
    by_kind = []
    for kind, reference in mapping.items():
        chosen = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
        by_kind.append({"if": chosen, "then": {"$ref": reference}})
    return {"type": "object", "properties": {"kind": {"enum": list(mapping)}}, "allOf": by_kind}


def _choice(entry: Entry, catalog: Catalog, definitions: Rule) -> tuple[dict[str, str], list[str]]:
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


def _options_schema(entry: Entry, references: str) -> Rule:
    """Return the schema of a component's options.

    Where they are broken, it is an open table that says so.
    """
    try:
        return dict(entry.options.model_json_schema(ref_template=references))
    except Exception as error:
        # A plugin's fault must not take the schema from everybody else.
        words = f"the options of {entry.qualified} are not known: {error}"
        return {"type": "object", "description": words}


def _spellings(entry: Entry, catalog: Catalog) -> list[str]:
    """Return the names under which a task finds this component and no other."""
    spellings: list[str] = []
    # The short one, where it means this component, stands first.
    for name in dict.fromkeys([catalog.name_of(entry), entry.qualified]):
        for spelling in (name, _hyphened(name)):
            if spelling not in spellings:
                spellings.append(spelling)
    return spellings


def _hyphened(name: str) -> str:
    distribution, slash, short = name.rpartition("/")
    hyphened = short.replace("_", "-")
    return f"{distribution}{slash}{hyphened}"
