"""From a task file to a resolved task: the core's tables checked, each component found, and its own
table checked.

The natural circle between the task language and the plugins is cut here: `spec` never sees a
plugin, and a plugin never sees the file.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from recurra.catalog import Catalog, Entry, discover
from recurra.contracts.options import Options, validate_options
from recurra.contracts.vocabulary import broken_text
from recurra.errors import InputError, OtherVersion, PluginError, Problem, RecurraError, listing
from recurra.resolved import Part, Resolved
from recurra.spec import checking, versions
from recurra.spec.document import Document, Key
from recurra.spec.kinds import Exchange, settle
from recurra.spec.reading import read
from recurra.spec.tables import COMPONENT_TABLES, SCHEDULES, Task
from recurra.surroundings import cores, most_threads

if TYPE_CHECKING:
    pass


def resolve(
    path: str | Path,
    overrides: Iterable[str] | Mapping[str, Any] | None = (),
    *,
    recorded: bool = False,
) -> Resolved:
    """Read and check a task file, or the task that a run has `recorded`, which an older version may
    have written.

    Raises `InputError` or `PluginError` with every problem at once.
    """
    document = read(path, overrides)
    if not document.data:
        raise InputError(checking.check(document)[1])
    versions.settled(document)
    if recorded:
        versions.complete(document)
    unreadable = [_half(document, *found) for found in _halves(document.data)]
    if unreadable:
        raise InputError(unreadable)
    files, missing = _plugin_files(document)
    if missing:
        raise InputError([*checking.check(document)[1], *missing])
    catalog = discover(files)

    notes = _settle_kinds(document, catalog)
    task, problems = checking.check(document)
    problems += _stack_problems(document) + _optimizer_problems(document)
    if task is not None and not recorded:
        problems += _thread_problems(document, task) + _name_problems(document, task)
    parts, cells = {}, []
    faults: list[RecurraError] = []
    for key in _component_keys(document):
        try:
            part = _part(document, catalog, key)
            if not recorded and (beyond := list(_beyond(document, key, part.options))):
                raise InputError(beyond)
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
        raise (PluginError if only_plugins else InputError)(
            _explained(problem, notes) for problem in everything
        )
    assert task is not None
    if recorded:
        task = _with_threads_of_here(task)
    name = task.name.strip(".") and task.name or Path(path).stem
    task = task.model_copy(
        update={"name": name if name == task.name or usable_name(name) else "task"}
    )
    sequence = document.table(("sequence",)) or {}
    if "length" not in sequence and _whole(parts["target"]):
        task = task.model_copy(update={"sequence": task.sequence.model_copy(update={"length": 0})})
    resolved = Resolved(document, task, catalog, parts, cells, [*notes.values()])
    unwritable = [_half(document, *found) for found in _halves(resolved.tables())]
    if unwritable:
        raise InputError(unwritable)
    return resolved


def _whole(target: Part) -> bool:
    """Tell whether a target answers a sequence once, which is then one window unless the task says
    otherwise.
    """
    return getattr(target.entry.target, "scope", "step") == "sequence"


def _name_problems(document: Document, task: Task) -> list[Problem]:
    """Return a problem if the task has a name that no folder can have."""
    if not task.name or task.name.strip("."):
        return []
    fact = "a name of dots alone means another folder"
    allowed = "a name with a letter, a digit or a mark of - and _ in it"
    return [Problem("RC013", fact, "name", document.place(("name",)), task.name, allowed)]


def _thread_problems(document: Document, task: Task) -> list[Problem]:
    """Return a problem if the task asks for more threads than this machine can use."""
    threads, most = task.device.threads, most_threads()
    if threads <= most:
        return []
    fact = f"this machine has {cores()} cores, and so many threads would wait for each other"
    place, allowed = document.place(("device", "threads")), f"0, which is torch's choice, to {most}"
    return [Problem("RC031", fact, "device.threads", place, str(threads), allowed)]


def _with_threads_of_here(task: Task) -> Task:
    """Return the task of a run with as many threads as there are cores, if it asks for far more."""
    device = task.device
    if device.threads <= most_threads():
        return task
    fact = f"the run was made with {device.threads} threads, and this machine has {cores()} cores"
    warnings.warn(f"{fact}: so many are used", OtherVersion, stacklevel=3)
    return task.model_copy(update={"device": device.model_copy(update={"threads": cores()})})


def _halves(value: Any, key: Key = ()) -> Iterator[tuple[Key, str, int]]:
    """Give each text in plain tables that no file can hold: its key, the text, and where half a
    surrogate pair is.

    None comes from a TOML file, but from Python, or from a folder whose name is not UTF-8.
    """
    if isinstance(value, str) and (at := broken_text(value)) >= 0:
        yield key, value, at
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _halves(name, key)
            yield from _halves(inner, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _halves(inner, (*key, index))


def _half(document: Document, key: Key, text: str, at: int) -> Problem:
    """Return the problem of a text that no file can hold."""
    fact = (
        "a text cannot be read or written: it holds half of a surrogate pair,"
        f" U+{ord(text[at]):04X}, at {at}"
    )
    shown = ascii(text[max(0, at - 20) : at + 20])
    cure = "give text that UTF-8 can hold; a task and its data lie in folders whose names are UTF-8"
    return Problem("RC002", fact, checking.dotted(key), document.place(key), got=shown, cure=cure)


def _optimizer_problems(document: Document) -> list[Problem]:
    from recurra.train import optimizer  # imports torch, which a list of plugins must not

    return optimizer.check(document)


def _settle_kinds(document: Document, catalog: Catalog) -> dict[str, str]:
    """Leave out the options of kinds that a layer has replaced; return a note for each table, by
    its name.
    """
    from recurra.train import optimizer

    def component(kind: str) -> Callable[[Any, Any], Exchange | None]:
        return lambda before, after: _exchange(
            _model(catalog, kind, before), _model(catalog, kind, after)
        )

    def schedule(before: Any, after: Any) -> Exchange | None:
        models = [
            SCHEDULES.get(kind) if isinstance(kind, str) else None for kind in (before, after)
        ]
        return _exchange(*models)

    tables: dict[Key, Callable[[Any, Any], Exchange | None]] = {
        (kind,): component(kind) for kind in COMPONENT_TABLES
    }
    tables |= {("training", "schedule"): schedule, ("training", "optimizer"): optimizer.exchange}
    notes = {
        checking.dotted(key): settle(document, key, exchange) for key, exchange in tables.items()
    }
    for table, said in document.given_way.items():
        notes[table] = [*said, *notes.get(table, [])]
    return {name: "; ".join(said) for name, said in notes.items() if said}


def _exchange(before: type[BaseModel] | None, after: type[BaseModel] | None) -> Exchange | None:
    return (
        None if before is None or after is None or before is after else Exchange.of(before, after)
    )


def _model(catalog: Catalog, kind: str, name: Any) -> type[BaseModel] | None:
    """Return the options of a component, if there is one of that name that can be imported."""
    try:
        return catalog.find(kind, name).options if isinstance(name, str) else None
    except RecurraError:
        return None


def _explained(problem: Problem, notes: dict[str, str]) -> Problem:
    """Return a problem that says what a change of kind left out of its table."""
    said = [
        note
        for table, note in notes.items()
        if problem.key == table or problem.key.startswith(f"{table}.")
    ]
    return replace(problem, cure="; ".join(part for part in (problem.cure, *said) if part))


def usable_name(name: str) -> bool:
    """Tell whether a name may be a folder's."""
    return bool(name.strip(".")) and all(mark.isalnum() or mark in "_.-" for mark in name)


def _plugin_files(document: Document) -> tuple[list[Path], list[Problem]]:
    """Return the local plugin files of a task, of one with other faults too, and a problem for each
    that is missing.
    """
    key = ("plugins", "files")
    names = (document.table(("plugins",)) or {}).get("files")
    names = names if isinstance(names, list) else []
    files = [Path(document.anchor(key, name)) for name in names if isinstance(name, str) and name]
    missing = [
        Problem(
            "RC001",
            f"the plugin file does not exist: {path}",
            checking.dotted(key),
            document.place(key),
        )
        for path in files
        if not os.path.isfile(path)
    ]
    return files, missing


def _component_keys(document: Document) -> list[Key]:
    """Return the key of each component table that is there and is a table."""
    data = document.data
    keys: list[Key] = [
        (name,) for name in COMPONENT_TABLES if name != "cell" and isinstance(data.get(name), dict)
    ]
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
        Problem(
            "RC011",
            f"{name} has no place beside stack",
            f"cell.{name}",
            document.place(("cell", name)),
            cure=cure,
        )
        for name in cell
        if name != "stack"
    ]
    layers = cell["stack"]
    if not isinstance(layers, list) or not layers:
        code, fact = (
            ("RC013", "stack is empty") if layers == [] else ("RC012", "stack has the wrong type")
        )
        place, allowed = (
            document.place(("cell", "stack")),
            "[[cell.stack]] tables, one for each layer",
        )
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
        code, fact = (
            ("RC010", "kind is missing")
            if given is None
            else ("RC012", "kind must be a name, in quotes")
        )
        place = document.place((*key, "kind"))
        raise InputError.of(code, fact, key=f"{name}.kind", place=place, allowed=known)
    try:
        entry = catalog.find(kind, given)
    except RecurraError as error:
        place = document.place((*key, "kind"))
        raise type(error)(
            replace(p, key=f"{name}.kind", place=place) for p in error.problems
        ) from error
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
        raise PluginError.of(
            "RC071", fact, key=checking.dotted(key), place=document.place(key)
        ) from error


def _beyond(document: Document, key: Key, options: Options) -> Iterator[Problem]:
    """Give a problem for each whole number of a component that no array could hold."""
    least, most = -(1 << 63), (1 << 63) - 1
    for inner, number in _whole_numbers(options.model_dump()):
        if not least <= number <= most:
            where = (*key, *inner)
            fact = f"{inner[-1]} is not allowed: no whole number of 64 bits"
            place, allowed = document.place(where), f"an integer, at least {least}, at most {most}"
            yield Problem("RC013", fact, checking.dotted(where), place, str(number)[:80], allowed)


def _whole_numbers(value: Any, key: Key = ()) -> Iterator[tuple[Key, int]]:
    """Give each whole number in plain tables, with its key."""
    if isinstance(value, int) and not isinstance(value, bool):
        yield key, value
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _whole_numbers(inner, (*key, str(name)))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _whole_numbers(inner, (*key, index))
