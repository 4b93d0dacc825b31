"""From a task file to a resolved task: its tables checked, and each component found.

The natural circle between the task language and the plugins is cut here: `spec` never sees a
plugin, and a plugin never sees the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

from recurra.catalog import Catalog, Entry, discover, local
from recurra.contracts.component import TRACKER
from recurra.contracts.options import Options, validate_options
from recurra.errors import (
    InputError,
    OtherVersion,
    PluginError,
    Problem,
    RecurraError,
    listing,
    warn,
)
from recurra.resolved import Part, Resolved
from recurra.spec import checking, versions
from recurra.spec.document import Document, Key, Layer
from recurra.spec.halves import refuse_halves
from recurra.spec.kinds import Exchange, settle
from recurra.spec.reading import read
from recurra.spec.schedules import SCHEDULES
from recurra.spec.tables import (
    COMPONENT_TABLES,
    GIVEN_SOURCE,
    MOST_FILES,
    MOST_LAYERS,
    MOST_TRACKERS,
    TRACK,
    Task,
)
from recurra.surroundings import cores, most_threads


def resolve(
    task_or_path: str | Path | Mapping[str, Any],
    overrides: Iterable[str] | Mapping[str, Any] | None = (),
    *,
    data: Any = None,
    recorded: bool = False,
) -> Resolved:
    """Read and check a task file, a task as tables, or the task that a run has `recorded`.

    An older version may have written that of a run; its overrides are what is asked for now. `data`
    is what a program has at hand, in place of what the source would read. Raises `InputError` or
    `PluginError` with every problem at once.
    """
    document = read(task_or_path, overrides)
    if not document.data:
        _, problems = checking.check(document)
        raise InputError(problems)
    versions.settled(document)
    if recorded:
        versions.complete(document)
    refuse_halves(document, document.data)
    files, missing = _plugin_files(document)
    if missing:
        _, problems = checking.check(document)
        raise InputError(problems + missing)
    catalog = discover(files)
    if data is not None and not recorded:
        _take_place(document, catalog)

    # What belongs to a kind that was replaced goes before anything is checked.
    notes = _settle_kinds(document, catalog)
    task, problems = checking.check(document)
    problems += _stack_problems(document)
    problems += _optimizer_problems(document)
    if task is not None and not recorded:
        problems += _name_problems(document, task)
    if task is not None and not (recorded and _is_recorded(document, ("device", "threads"))):
        problems += _thread_problems(document, task)
    components = _components(document, catalog, recorded)
    _refuse(problems, components.faults, notes)

    assert task is not None
    if recorded:
        task = _with_threads_of_here(task)
    task = _with_name(task, document.path)
    sequence = document.table(("sequence",)) or {}
    if "length" not in sequence and _whole(components.parts["target"]):
        task = _with_length(task, 0)

    resolved = Resolved(
        document, task, catalog, components.parts, components.cells, list(notes.values())
    )
    resolved.trackers = components.trackers
    generation = document.table(("generation",)) or {}
    if "length" not in generation:
        resolved.all_ahead()
    if data is not None:
        resolved = resolved.giving(data)
    refuse_halves(document, resolved.tables())
    return resolved


def _take_place(document: Document, catalog: Catalog) -> None:
    """Let data that is given take the place of a source that has its own.

    Raises `InputError` (RC014) where an override names such a source.
    """
    key = ("source", "kind")
    kind = (document.table(("source",)) or {}).get("kind")
    if isinstance(kind, str):
        try:
            if "data" in catalog.find("source", kind).component.lacks:
                return
        except RecurraError:
            # Whatever it was, nothing is asked of it.
            pass
        layer = document.layer(key)
        if layer.override:
            fact = f"data is given, and {layer.label} names a source that has its own"
            cure = "leave one of them out"
            raise InputError.of("RC014", fact, key="source.kind", cure=cure)

    # As an override: what overrides say of the columns stands beside it.
    given = Layer("data", document.path.parent, override=True)
    document.add(given, {"source": {"kind": GIVEN_SOURCE}})


class Components(NamedTuple):
    """A task's components: its parts by their tables, its cells and trackers, and what is wrong
    with others.
    """

    parts: dict[str, Part]
    cells: list[Part]
    trackers: list[Part]
    faults: list[RecurraError]


def _components(document: Document, catalog: Catalog, recorded: bool) -> Components:
    """Find the component of each table, and check its options."""
    components = Components({}, [], [], [])
    for key in _component_keys(document):
        try:
            part = _part(document, catalog, key)
            if not recorded:
                _refuse_beyond(document, key, part.options)
        except RecurraError as error:
            components.faults.append(error)
            continue
        if key[0] == "cell":
            components.cells.append(part)
        elif key[0] == TRACK:
            components.trackers.append(part)
        else:
            components.parts[str(key[0])] = part
    return components


def _refuse(problems: list[Problem], faults: list[RecurraError], notes: dict[str, str]) -> None:
    """Raise all problems, and those of the components' faults, as one error, if there are any.

    It is a `PluginError` where plugins alone are at fault, else an `InputError`.
    """
    everything = list(problems)
    for fault in faults:
        everything += fault.problems
    if not everything:
        return
    explained = [_explained(problem, notes) for problem in everything]
    if not problems and all(isinstance(fault, PluginError) for fault in faults):
        raise PluginError(explained)
    raise InputError(explained)


def _is_recorded(document: Document, key: Key) -> bool:
    """Tell whether a key has the value that a run records, and not one that is asked for now."""
    return not document.layer(key).override


def _whole(target: Part) -> bool:
    """Tell whether a target reads sequences whole: each is one window unless the task says else."""
    kind = target.entry.target
    if getattr(kind, "scope", "step") != "step":
        return True
    # One that is no target, or lacks a method, is refused later.
    abstract = getattr(kind, "__abstractmethods__", True)
    return not abstract and bool(getattr(target.build(), "at_once", False))


def _with_name(task: Task, path: Path) -> Task:
    """Return the task with the name of its file, where it has none of its own."""
    if task.name.strip("."):
        return task
    name = path.stem if usable_name(path.stem) else "task"
    return task.model_copy(update={"name": name})


def _with_length(task: Task, length: int) -> Task:
    sequence = task.sequence.model_copy(update={"length": length})
    return task.model_copy(update={"sequence": sequence})


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
    place = document.place(("device", "threads"))
    allowed = f"0, which is torch's choice, to {most}"
    return [Problem("RC031", fact, "device.threads", place, str(threads), allowed)]


def _with_threads_of_here(task: Task) -> Task:
    """Return the task of a run with as many threads as there are cores, if it asks for far more."""
    device = task.device
    if device.threads <= most_threads():
        return task
    fact = f"the run was made with {device.threads} threads, and this machine has {cores()} cores"
    warn(f"{fact}: so many are used", OtherVersion)
    here = device.model_copy(update={"threads": cores()})
    return task.model_copy(update={"device": here})


def _optimizer_problems(document: Document) -> list[Problem]:
    # Here, since it imports torch, which a list of plugins must not.
    from recurra.train import optimizer

    return optimizer.check(document)


def _settle_kinds(document: Document, catalog: Catalog) -> dict[str, str]:
    """Leave out the options of kinds that a layer has replaced; return a note by table."""
    from recurra.train import optimizer

    exchanges: dict[Key, Callable[[Any, Any], Exchange | None]] = {}
    for kind in COMPONENT_TABLES:
        exchanges[(kind,)] = partial(_exchange_components, catalog, kind)
    exchanges["training", "schedule"] = _exchange_schedules
    exchanges["training", "optimizer"] = optimizer.exchange

    notes = {}
    for key, exchange in exchanges.items():
        table = checking.dotted(key)
        sentences = list(document.given_way.get(table, []))
        sentences += settle(document, key, exchange)
        if sentences:
            notes[table] = "; ".join(sentences)
    return notes


def _exchange_components(catalog: Catalog, kind: str, before: Any, after: Any) -> Exchange | None:
    """Compare two components of a kind, by their names."""
    return _exchange(_model(catalog, kind, before), _model(catalog, kind, after))


def _exchange_schedules(before: Any, after: Any) -> Exchange | None:
    """Compare two schedules, by their names."""
    if not isinstance(before, str) or not isinstance(after, str):
        return None
    return _exchange(SCHEDULES.get(before), SCHEDULES.get(after))


def _exchange(before: type[BaseModel] | None, after: type[BaseModel] | None) -> Exchange | None:
    if before is None or after is None or before is after:
        return None
    return Exchange.of(before, after)


def _model(catalog: Catalog, kind: str, name: Any) -> type[BaseModel] | None:
    """Return the options of a component, if there is one of that name that can be imported."""
    if not isinstance(name, str):
        return None
    try:
        model: type[BaseModel] = catalog.find(kind, name).options
    except RecurraError:
        return None
    return model


def _explained(problem: Problem, notes: dict[str, str]) -> Problem:
    """Return a problem that says what a change of kind left out of its table."""
    sentences = [problem.cure] if problem.cure else []
    for table, note in notes.items():
        if problem.key == table or problem.key.startswith(f"{table}."):
            sentences.append(note)
    return replace(problem, cure="; ".join(sentences))


def usable_name(name: str) -> bool:
    """Tell whether a name may be a folder's."""
    return bool(name.strip(".")) and all(mark.isalnum() or mark in "_.-" for mark in name)


def _plugin_files(document: Document) -> tuple[list[Path], list[Problem]]:
    """Return the local plugins of a task, and a problem for each that is missing or none.

    The task has not been checked yet, and may have other faults.
    """
    key = ("plugins", "files")
    table = document.table(("plugins",)) or {}
    names = table.get("files")
    if not isinstance(names, list):
        return [], []

    files, missing = [], []
    # More are refused, unread.
    for name in names[:MOST_FILES]:
        if not isinstance(name, str) or not name:
            continue
        path = Path(document.anchor(key, name))
        files.append(path)
        if fault := local.fault(path):
            code, fact, cure = fault
            place = document.place(key)
            missing.append(Problem(code, fact, checking.dotted(key), place, cure=cure))
    return files, missing


def _component_keys(document: Document) -> list[Key]:
    """Return the key of each component table that is there and is a table."""
    keys: list[Key] = []
    for name in COMPONENT_TABLES:
        if name != "cell" and isinstance(document.data.get(name), dict):
            keys.append((name,))

    cell = document.table(("cell",))
    if cell is not None and "stack" not in cell:
        keys.append(("cell",))
    elif cell is not None and isinstance(cell["stack"], list):
        keys += [("cell", "stack", index) for index in range(min(len(cell["stack"]), MOST_LAYERS))]

    trackers = document.data.get(TRACK)
    if isinstance(trackers, list):
        listed = enumerate(trackers[:MOST_TRACKERS])
        keys += [(TRACK, index) for index, table in listed if isinstance(table, dict)]
    return keys


def _stack_problems(document: Document) -> list[Problem]:
    """Return what is wrong with a stack: it is a list of tables, and stands alone in [cell]."""
    cell = document.table(("cell",))
    if cell is None or "stack" not in cell:
        return []
    problems = []
    cure = "with [[cell.stack]] every layer has a table of its own; put the key there"
    for name in islice((each for each in cell if each != "stack"), checking.MOST_PROBLEMS):
        fact = f"{name} has no place beside stack"
        place = document.place(("cell", name))
        problems.append(Problem("RC011", fact, f"cell.{name}", place, cure=cure))

    layers = cell["stack"]
    if layers == []:
        code, fact = "RC013", "stack is empty"
    elif not isinstance(layers, list):
        code, fact = "RC012", "stack has the wrong type"
    elif len(layers) > MOST_LAYERS:
        code, fact = "RC013", f"stack has {len(layers):,} layers"
    else:
        return problems
    place = document.place(("cell", "stack"))
    allowed = "[[cell.stack]] tables, one for each layer"
    got = checking.literal(layers[:1] if isinstance(layers, list) else layers)
    problems.append(Problem(code, fact, "cell.stack", place, got, allowed))
    return problems


def _part(document: Document, catalog: Catalog, key: Key) -> Part:
    """Find the component of one table and check its options."""
    table: Any = document.data
    for step in key:
        table = table[step]
    kind = TRACKER if key[0] == TRACK else str(key[0])
    name = checking.dotted(key)
    if not isinstance(table, dict):
        raise InputError.of("RC012", f"{name} must be a table", key=name, place=document.place(key))

    component = table.get("kind")
    if not isinstance(component, str):
        code, fact = "RC012", "kind must be a name, in quotes"
        if component is None:
            code, fact = "RC010", "kind is missing"
        allowed = listing(entry.component.name for entry in catalog.of_kind(kind))
        place = document.place((*key, "kind"))
        raise InputError.of(code, fact, key=f"{name}.kind", place=place, allowed=allowed)
    try:
        entry = catalog.find(kind, component)
    except RecurraError as error:
        place = document.place((*key, "kind"))
        placed = [replace(problem, key=f"{name}.kind", place=place) for problem in error.problems]
        raise type(error)(placed) from error
    return Part(entry, _options(document, entry, key, table))


def _options(document: Document, entry: Entry, key: Key, table: dict[str, Any]) -> Options:
    """Check a component's table with its own model."""
    model: type[Options] = entry.options
    body = {name: value for name, value in table.items() if name != "kind"}
    if key == ("loss",) and "columns" in body and "columns" not in model.model_fields:
        fact = f"loss {entry.component.name!r} scores no column by itself, and none can weigh more"
        place, cure = document.place((*key, "columns")), "leave loss.columns out"
        raise InputError.of("RC031", fact, key="loss.columns", place=place, cure=cure)

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
        # Whatever a validator of the plugin's own raises.
        fact = f"the options of {entry.qualified} failed: {type(error).__name__}: {error}"
        name, place = checking.dotted(key), document.place(key)
        raise PluginError.of("RC071", fact, key=name, place=place) from error


def _refuse_beyond(document: Document, key: Key, options: Options) -> None:
    """Raise `InputError` (RC013) if an option is a whole number that no array could hold."""
    least, most = -(1 << 63), (1 << 63) - 1
    allowed = f"an integer, at least {least}, at most {most}"
    problems = []
    for inner, number in _whole_numbers(options.model_dump()):
        if least <= number <= most:
            continue
        fact = f"{inner[-1]} is not allowed: no whole number of 64 bits"
        option = (*key, *inner)
        name, place = checking.dotted(option), document.place(option)
        problems.append(Problem("RC013", fact, name, place, str(number)[:80], allowed))
    if problems:
        raise InputError(problems)


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
