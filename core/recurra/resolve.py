"""From a task file to a resolved task: the core's tables checked, each component found, and its own table checked.

The natural circle between the task language and the plugins is cut here: `spec` never sees a plugin, and a plugin never
sees the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import BaseModel, ValidationError

from recurra.catalog import HOME, Catalog, Entry, discover
from recurra.contracts.options import Options, validate_options
from recurra.errors import InputError, PluginError, Problem, RecurraError, listing
from recurra.spec import checking, versions
from recurra.spec.positions import Path as Key
from recurra.spec.reading import Document, read
from recurra.spec.tables import COMPONENT_TABLES, Task


@dataclass(frozen=True)
class Part:
    """A component as a task uses it: where it comes from, and its options."""

    entry: Entry
    options: Any

    def build(self, *arguments: Any) -> Any:
        """Return an instance, its options last."""
        return self.entry.target(*arguments, self.options)

    def table(self) -> dict[str, Any]:
        """Return the table of the resolved task: the qualified kind and every option."""
        return {"kind": self.entry.qualified, **self.options.model_dump(mode="json", exclude_none=True)}


@dataclass
class Resolved:
    """A task whose every table has been checked."""

    document: Document
    task: Task
    catalog: Catalog
    parts: dict[str, Part] = field(default_factory=dict)
    cells: list[Part] = field(default_factory=list)

    def cell_key(self, index: int) -> str:
        """Return the key of the table of a cell."""
        return f"cell.stack.{index}" if "stack" in self.task.cell else "cell"

    @property
    def used(self) -> list[Part]:
        """Every component of the task."""
        return [*self.parts.values(), *self.cells]

    def tables(self) -> dict[str, Any]:
        """Return the whole task as plain tables: read back, they give an equal task."""
        tables = self.task.model_dump(mode="json", by_alias=True, exclude_none=True)
        free = tables["training"]["optimizer"]  # no model of ours says what may be None in it
        tables["training"]["optimizer"] = {name: value for name, value in free.items() if value is not None}
        for name, part in self.parts.items():
            tables[name] = part.table()
        stacked = "stack" in self.task.cell
        tables["cell"] = {"stack": [part.table() for part in self.cells]} if stacked else self.cells[0].table()
        return tables

    def toml(self) -> str:
        """Return the whole task as TOML."""
        return tomli_w.dumps(self.tables(), multiline_strings=False)

    @contextmanager
    def placing(self) -> Iterator[None]:
        """Give every error inside the place of the key that it is about."""
        try:
            yield
        except RecurraError as error:
            raise type(error)(self.place(problem) for problem in error.problems) from error.__cause__

    def place(self, problem: Problem) -> Problem:
        """Return a problem with its place in the task file, if it names a key and has none."""
        if problem.place or not problem.key:
            return problem
        key = checking.path_of(problem.key)
        return replace(problem, key=checking.dotted(key), place=self.document.place(key))


def resolve(path: str | Path, overrides: Iterable[str] | Mapping[str, Any] = (), *, recorded: bool = False) -> Resolved:
    """Read and check a task file, or the task that a run has `recorded`, which an older version may have written.

    Raises `InputError` or `PluginError` with every problem at once.
    """
    document = read(path, overrides)
    if recorded:
        versions.complete(document)
    task, problems = checking.check(document)
    if problems and not document.data:
        raise InputError(problems)
    files, missing = _plugin_files(document, task)
    if missing:
        raise InputError([*problems, *missing])
    catalog = discover(files)
    problems += _stack_problems(document) + _optimizer_problems(document)
    parts, cells = {}, []
    faults: list[RecurraError] = []
    for key in _component_keys(document):
        try:
            part = _part(document, catalog, key)
        except RecurraError as error:
            faults.append(error)
            continue
        if key[0] == "cell":
            cells.append(part)
        else:
            parts[str(key[0])] = part
    everything = [*problems, *(problem for fault in faults for problem in fault.problems)]
    if everything:
        only_plugins = not problems and all(isinstance(fault, PluginError) for fault in faults)
        raise (PluginError if only_plugins else InputError)(everything)
    assert task is not None
    name = task.name or Path(path).stem
    task = task.model_copy(update={"name": name if usable_name(name) else "task"})
    return Resolved(document, task, catalog, parts, cells)


def _optimizer_problems(document: Document) -> list[Problem]:
    from recurra.train import optimizer  # imports torch, which a list of plugins must not

    return optimizer.check(document)


def usable_name(name: str) -> bool:
    """Tell whether a name may be a folder's."""
    return bool(name.strip(".")) and all(mark.isalnum() or mark in "_.-" for mark in name)


def _plugin_files(document: Document, task: Task | None) -> tuple[list[Path], list[Problem]]:
    """Return the local plugin files of a task, of one with other faults too, and a problem for each that is missing."""
    key = ("plugins", "files")
    if task is not None:
        files = [Path(name) for name in task.plugins.files]
    else:
        table = document.data.get("plugins")
        named = table.get("files") if isinstance(table, dict) else None
        names = named if isinstance(named, list) else []
        files = [Path(document.anchor(key, name)) for name in names if isinstance(name, str) and name]
    missing = [
        Problem("RC001", f"the plugin file does not exist: {path}", checking.dotted(key), document.place(key))
        for path in files
        if not path.is_file()
    ]
    return files, missing


def _component_keys(document: Document) -> list[Key]:
    """Return the key of each component table that is there and is a table."""
    data = document.data
    keys: list[Key] = [(name,) for name in COMPONENT_TABLES if name != "cell" and isinstance(data.get(name), dict)]
    cell = data.get("cell")
    if not isinstance(cell, dict):
        return keys
    if "stack" not in cell:
        return [*keys, ("cell",)]
    layers = cell["stack"] if isinstance(cell["stack"], list) else []
    return [*keys, *(("cell", "stack", index) for index in range(len(layers)))]


def _stack_problems(document: Document) -> list[Problem]:
    """Return what is wrong with a stack: it is a list of tables, and stands alone in [cell]."""
    cell = document.data.get("cell")
    if not isinstance(cell, dict) or "stack" not in cell:
        return []
    cure = "with [[cell.stack]] every layer has a table of its own; put the key there"
    found = [
        Problem("RC011", f"{name} has no place beside stack", f"cell.{name}", document.place(("cell", name)), cure=cure)
        for name in cell
        if name != "stack"
    ]
    layers = cell["stack"]
    if not isinstance(layers, list) or not layers:
        code, fact = ("RC013", "stack is empty") if layers == [] else ("RC012", "stack has the wrong type")
        place, allowed = document.place(("cell", "stack")), "[[cell.stack]] tables, one for each layer"
        found.append(Problem(code, fact, "cell.stack", place, checking.literal(layers), allowed))
    return found


def _part(document: Document, catalog: Catalog, key: Key) -> Part:
    """Find the component of one table and check its options."""
    table: Any = document.data
    for step in key:
        table = table[step]
    kind = str(key[0])
    name = checking.dotted(key)
    if not isinstance(table, dict):
        raise InputError.of("RC012", f"{name} must be a table", key=name, place=document.place(key))
    given = table.get("kind")
    if not isinstance(given, str):
        known = listing(entry.component.name for entry in catalog.of_kind(kind))
        code, fact = ("RC010", "kind is missing") if given is None else ("RC012", "kind must be a name, in quotes")
        place = document.place((*key, "kind"))
        raise InputError.of(code, fact, key=f"{name}.kind", place=place, allowed=known)
    try:
        entry = catalog.find(kind, given)
    except RecurraError as error:
        place = document.place((*key, "kind"))
        raise type(error)(replace(p, key=f"{name}.kind", place=place) for p in error.problems) from error
    return Part(entry, _options(document, entry, key, table))


def _options(document: Document, entry: Entry, key: Key, table: dict[str, Any]) -> Options:
    """Check a component's table with its own model."""
    model: type[Options] = entry.options
    body = {name: value for name, value in table.items() if name != "kind"}

    def anchor(value: str, field_name: str) -> str:
        return document.anchor((*key, field_name), value)

    try:
        return validate_options(model, body, anchor)
    except ValidationError as error:
        owner = f"{entry.component.kind} {entry.component.name}"
        raise InputError(checking.problems(error, document, key, model, owner)) from error
    except RecurraError:
        raise
    except Exception as error:
        fact = f"the options of {entry.qualified} failed: {type(error).__name__}: {error}"
        raise PluginError.of("RC071", fact, key=checking.dotted(key), place=document.place(key)) from error


def option_rows(model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Return name, what is allowed, default and description of each option."""
    schema = model.model_json_schema()
    required = set(schema.get("required", []))
    rows = []
    for name, rule in schema.get("properties", {}).items():
        default = (
            "required" if name in required else "" if rule.get("default") is None else checking.literal(rule["default"])
        )
        rows.append((name, checking.describe(rule, schema), default, rule.get("description", "")))
    return rows


def json_schema(catalog: Catalog) -> dict[str, Any]:
    """Return the JSON Schema of task files, with the options of every installed component."""
    schema = Task.model_json_schema(by_alias=True)
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "recurra task"
    schema["properties"]["extends"] = {"type": "string", "description": "a task file that this one builds on"}
    schema["required"] = []  # what is missing may stand in the base file
    definitions = schema.setdefault("$defs", {})
    for kind in COMPONENT_TABLES:
        choices = [_choice(entry, catalog, definitions) for entry in catalog.of_kind(kind)]
        whole = {"oneOf": choices, "description": schema["properties"][kind].get("description", "")}
        if kind == "cell":
            definitions["cell_layer"] = {"oneOf": list(choices)}
            layers = {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/cell_layer"}}
            stack = {
                "type": "object",
                "properties": {"stack": layers},
                "required": ["stack"],
                "additionalProperties": False,
            }
            whole["oneOf"] = [*choices, stack]
        schema["properties"][kind] = whole
    return schema


def _choice(entry: Entry, catalog: Catalog, definitions: dict[str, Any]) -> dict[str, str]:
    """Add one component's table to the definitions, and return the reference to it."""
    name = f"{entry.component.kind}.{entry.qualified.replace('/', '.')}"
    table = _options_schema(entry, f"#/$defs/{name}.{{model}}")
    for inner, definition in table.pop("$defs", {}).items():
        definitions[f"{name}.{inner}"] = definition
    kind = {"enum": _spellings(entry, catalog), "description": entry.component.summary}
    table["properties"] = {"kind": kind, **table.get("properties", {})}
    table["required"] = ["kind", *table.get("required", [])]
    definitions[name] = table
    return {"$ref": f"#/$defs/{name}"}


def _options_schema(entry: Entry, references: str) -> dict[str, Any]:
    """Return the schema of a component's options; where they are broken, an open table that says so."""
    try:
        return dict(entry.options.model_json_schema(ref_template=references))
    except Exception as error:  # a plugin's fault must not take the schema from everybody else
        return {"type": "object", "description": f"the options of {entry.qualified} are not known: {error}"}


def _spellings(entry: Entry, catalog: Catalog) -> list[str]:
    """Return the names under which a task finds this component and no other."""
    same = [other for other in catalog.of_kind(entry.component.kind) if other.answers(entry.component.name)]
    short = len(same) == 1 or entry.plugin.distribution == HOME
    names = [*([entry.component.name] if short else []), entry.qualified]
    return list(dict.fromkeys(spelt for name in names for spelt in (name, _hyphened(name))))


def _hyphened(name: str) -> str:
    distribution, slash, short = name.rpartition("/")
    return f"{distribution}{slash}{short.replace('_', '-')}"
