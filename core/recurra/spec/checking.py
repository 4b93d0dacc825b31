"""From pydantic's errors to ours: the place, what came, what is allowed, and the nearest name."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from pydantic import BaseModel, ValidationError

from recurra.contracts.options import to_json
from recurra.errors import InputError, Problem, listing, nearest
from recurra.spec.document import Document, Key
from recurra.spec.rules import Rule, choices, describe, rule_at
from recurra.spec.spelling import LONGEST, dotted, literal, path_of, spelling
from recurra.spec.tables import COMPONENT_TABLES, SCHEMA, Task

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

__all__ = ["check", "describe", "dotted", "literal", "path_of", "problems", "unplaced"]

MOST_PROBLEMS = 100
"""Problems of a table that are told at a time."""
MOST_KEYS = 40
"""Keys of a table that an error lists, at most."""


def check(document: Document) -> tuple[Task | None, list[Problem]]:
    """Check the core's own tables; return the task, or none, and every problem of them."""
    data = document.data
    if not data:
        return None, [_empty(document)]
    version = data.get("schema", SCHEMA)
    # A version of another type is left to the model, which refuses it as such.
    if type(version) is int and version != SCHEMA:
        return None, [_other_version(document, version)]

    try:
        text = to_json(data)
    except ValueError as error:
        # A hexadecimal integer with thousands of digits.
        fact = f"a value cannot be read: {error}"
        raise InputError.of("RC003", fact, place=document.place(())) from error

    def anchor(value: str, name: str) -> str:
        return document.anchor(("plugins", name), value)

    try:
        return Task.model_validate_json(text, context={"anchor": anchor}), []
    except ValidationError as error:
        return None, problems(error, document, (), Task)


def _empty(document: Document) -> Problem:
    tables = ", ".join(f"[{name}]" for name in COMPONENT_TABLES)
    cure = f"a task has at least {tables}; `recurra new hello_lstm` writes one to start from"
    return Problem("RC010", "the file is empty", place=document.place(()), cure=cure)


def _other_version(document: Document, version: int) -> Problem:
    fact = f"this recurra reads version {SCHEMA} of the task language"
    cure = "write schema = 1, or use a newer recurra"
    return _placed(document, ("schema",), Problem("RC015", fact, cure=cure), version)


@dataclass(frozen=True)
class Checked:
    """A table that pydantic has refused: its values, the JSON Schema of its model, its owner."""

    values: Any
    schema: Rule
    owner: str = ""
    """The component whose options they are, in words; nothing for the core's own tables."""

    @property
    def of_owner(self) -> str:
        """The words that name the owner, to stand behind what is wrong."""
        return f" in the options of {self.owner}" if self.owner else ""

    def rule(self, path: Key) -> Rule:
        """Return what the schema says of a key path."""
        return rule_at(self.schema, self.values, path)

    def keys(self, path: Key) -> dict[str, Rule]:
        """Return the keys that the table at a key path may have, with their rules."""
        rule = self.rule(path)
        keys: dict[str, Rule] = rule.get("properties", {})
        return keys

    def value(self, path: Key) -> Any:
        """Return the value at a key path, or nothing."""
        value = self.values
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def allowed(self, path: Key) -> str:
        """Return what is allowed at a key path, in words.

        Inside a union, whose branches differ, it is what is allowed as a whole.
        """
        words = ""
        while not words and path:
            words = describe(self.rule(path), self.schema)
            path = path[:-1]
        return words


def problems(
    error: ValidationError, document: Document, base: Key, model: type[BaseModel], owner: str = ""
) -> list[Problem]:
    """Return the problems of the table at `base`, which `model` has refused.

    `owner` names the component whose options it holds.
    """
    values: Any = document.data
    for part in base:
        values = values[part]
    checked = Checked(values, model.model_json_schema(), owner)

    placed = []
    for path, problem in _first_problems(error, checked).items():
        key = (*base, *path)
        if problem.code == "RC011":
            problem = replace(problem, cure=_other_layer(document, key))
        placed.append(_placed(document, key, problem, checked.value(path)))
    return placed


def unplaced(
    error: ValidationError, table: dict[str, Any], model: type[BaseModel]
) -> list[Problem]:
    """Return the problems of a table that stands in no file: each names its key.

    Such a table is one of Python's arguments.
    """
    checked = Checked(table, model.model_json_schema())
    named = []
    for key, problem in _first_problems(error, checked).items():
        named.append(replace(problem, key=dotted(key)))
    return named


def _first_problems(error: ValidationError, checked: Checked) -> dict[Key, Problem]:
    """Return the first problem of each key that is at fault, still without its place."""
    by_key: dict[Key, Problem] = {}
    details = error.errors(include_url=False)
    first = _first_of_each(details)
    faults = _nearest_branches(checked.values, first)
    for number, fault in enumerate(faults):
        key, problem = _problem(fault, checked)
        by_key.setdefault(key, problem)
        if len(by_key) == MOST_PROBLEMS:
            rest = len(faults) - 1 - number
            if rest or len(first) < len(details):
                cure = f"{problem.cure}; " if problem.cure else ""
                count = f"{rest:,} more" if len(first) == len(details) else "more"
                cure += f"{count} faults are told once these are mended"
                by_key[key] = replace(problem, cure=cure)
            break
    return by_key


def _first_of_each(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Return errors without all but the first of the elements of a list.

    Such a list may be wrong in each of hundreds of thousands.
    """
    if len(details) <= MOST_PROBLEMS:
        return details
    first: list[ErrorDetails] = []
    seen: Counter[tuple[str | int, ...]] = Counter()
    for detail in details:
        # Elements differ in their index alone.
        kind = (detail["type"], *(part for part in detail["loc"] if isinstance(part, str)))
        seen[kind] += 1
        if seen[kind] <= MOST_PROBLEMS:
            first.append(detail)
    return first


class Fault(NamedTuple):
    """One of pydantic's errors, and the key path of the file that it is about."""

    path: Key
    detail: ErrorDetails


Branches: TypeAlias = dict[str, list[Fault]]
"""The faults of a union, by the label of the branch that they lie in."""


class Location(NamedTuple):
    """Where an error lies: the key path, and the branch of a union, if the path leads into one."""

    path: Key
    union: Key | None
    branch: str


def _nearest_branches(table: Any, details: Iterable[ErrorDetails]) -> list[Fault]:
    """Return each fault; of a union, which fails in every branch, those of the best branch.

    Best is a branch that takes the outermost value, with the fewest faults, the deepest inside.
    """
    faults: list[Fault] = []
    # By the key path of each union, what is wrong in each of its branches.
    unions: dict[Key, Branches] = {}
    for detail in details:
        path, union, branch = _location(table, detail)
        fault = Fault(path, detail)
        if union is None:
            faults.append(fault)
            continue
        branches = unions.setdefault(union, {})
        branches.setdefault(branch, []).append(fault)

    for union, branches in unions.items():
        faults += min(branches.values(), key=partial(_misfit, union))
    return faults


def _misfit(union: Key, faults: list[Fault]) -> tuple[bool, int, int]:
    """Return how badly a branch fits: the greater, the worse."""
    paths = [fault.path for fault in faults]
    refuses_outermost = union in paths
    deepest = max(map(len, paths))
    return refuses_outermost, len(paths), -deepest


def _location(table: Any, detail: ErrorDetails) -> Location:
    """Return where an error lies in the file, without pydantic's labels, which are no keys of it.

    `("prompt", "list[str]", 0)` is the key `prompt[0]`, in the branch `list[str]` of the union at
    `prompt`. The label of a tagged union is the tag itself, and there is no other branch.
    """
    path: list[str | int] = []
    union: Key | None = None
    branch = ""
    node = table
    last = len(detail["loc"]) - 1
    for index, part in enumerate(detail["loc"]):
        is_missing_key = detail["type"] == "missing" and index == last
        if _holds(node, part):
            node = node[part]
            path.append(part)
        elif is_missing_key:
            path.append(part)
        elif union is None and not _is_tag(node, part):
            # The first label that is no key says which branch was tried.
            union = tuple(path)
            branch = str(part)
    return Location(tuple(path), union, branch)


def _holds(node: Any, part: str | int) -> bool:
    """Tell whether a part of a location is a key, or an index, of what stands there."""
    if isinstance(node, dict):
        return part in node
    return isinstance(node, list) and isinstance(part, int) and 0 <= part < len(node)


def _is_tag(node: Any, part: str | int) -> bool:
    return isinstance(node, dict) and part in node.values()


def _other_layer(document: Document, key: Key) -> str:
    """Return words for an unknown option that was meant for the kind of another layer."""
    kind = (*key[:-1], "kind")
    if kind not in document.origins:
        return ""
    chooser, layer = document.layer(kind), document.layer(key)
    if chooser.label == layer.label:
        return ""
    return f"kind was set by {chooser.label}, and this option by {layer.label}"


def _problem(fault: Fault, checked: Checked) -> tuple[Key, Problem]:
    """Return the key that is at fault and the problem, still without its place."""
    path, detail = fault
    kind = detail["type"]
    if kind == "missing" and isinstance(path[-1], int):
        # A list of fixed length lacks an element, not a key.
        kind, path = "too_short", path[:-1]

    if kind == "missing":
        return path, _missing(path, checked)
    if kind == "extra_forbidden":
        return path, _unknown(path, checked)
    if kind == "value_error":
        return _crossed(detail, path, checked)
    if not path:
        fact = f"the table cannot be read{checked.of_owner}: {_reason(detail)}"
        return path, Problem("RC013", fact)
    if kind.startswith("union_tag"):
        return (*path, "kind"), _wrong_tag(path, checked)
    return path, _refused(path, kind, detail["input"], checked)


def _reason(detail: ErrorDetails) -> str:
    """Return why a rule refused a value: what it raised, or else pydantic's own words."""
    context = detail.get("ctx", {})
    return str(context.get("error", detail["msg"]))


def _missing(path: Key, checked: Checked) -> Problem:
    """Return the problem of a key that has no default, and is not there."""
    siblings = checked.keys(path[:-1])
    rule = siblings.get(str(path[-1]), {})
    fact = f"{_name(path)} is missing{checked.of_owner}"
    return Problem("RC010", fact, allowed=describe(rule, checked.schema))


def _unknown(path: Key, checked: Checked) -> Problem:
    """Return the problem of a key that does not exist in its table."""
    name = str(path[-1])
    names = list(checked.keys(path[:-1]))
    if "schema" in names and len(path) == 1:
        # Beside the task's own keys stand those that are read before it is checked.
        names += ["extends", "unset"]
    fact = f"there is no key {name!r} here{checked.of_owner}"
    close = nearest(name, names)
    return Problem("RC011", fact, allowed=listing(names, MOST_KEYS), nearest=close)


def _refused(path: Key, kind: str, value: Any, checked: Checked) -> Problem:
    """Return the problem of a value of the wrong type, or of one that is not allowed."""
    if _is_wrong_type(kind, value):
        code, verdict = "RC012", "has the wrong type"
    else:
        code, verdict = "RC013", "is not allowed"
    fact = f"{_name(path)} {verdict}{checked.of_owner}"

    close = ""
    if isinstance(value, str):
        close = nearest(value, choices(checked.rule(path)))
    return Problem(code, fact, allowed=checked.allowed(path), nearest=close)


def _is_wrong_type(kind: str, value: Any) -> bool:
    """Tell whether one of pydantic's kinds of error is about a value's type."""
    unbounded = isinstance(value, float) and not math.isfinite(value)
    if unbounded and kind.startswith(("int", "float")):
        # Where a number belongs, nan is one that is not allowed.
        return False
    return kind.endswith(("_type", "_parsing")) or kind == "int_from_float"


def _wrong_tag(path: Key, checked: Checked) -> Problem:
    """Return the problem of a table whose `kind` is missing or unknown."""
    discriminator = checked.rule(path).get("discriminator", {})
    tags = list(discriminator.get("mapping", {}))
    allowed = listing(tags)
    kind = checked.value((*path, "kind"))
    if kind is None:
        return Problem("RC010", "kind is missing", allowed=allowed)
    if not isinstance(kind, str):
        return Problem("RC012", "kind must be a name, in quotes", allowed=allowed)
    fact = f"{_name(path)} has no kind {kind!r}"
    return Problem("RC013", fact, allowed=allowed, nearest=nearest(kind, tags))


def _name(path: Key) -> str:
    """Return the last name of a key path, and the index that follows it: `split[1]`."""
    last = 0
    for index, part in enumerate(path):
        if isinstance(part, str):
            last = index
    return dotted(path[last:])


def _crossed(detail: ErrorDetails, path: Key, checked: Checked) -> tuple[Key, Problem]:
    """Return the problem of a rule across keys, whose message begins with the key it is about."""
    message = _reason(detail)
    rule = checked.rule(path)
    if path and "properties" not in rule:
        fact = f"{_name(path)} is not allowed: {message}"
        return path, Problem("RC013", fact, allowed=describe(rule, checked.schema))

    beginning = re.match(r"(\w+): ", message)
    if beginning and beginning[1] in rule.get("properties", {}):
        key = (*path, beginning[1])
        return key, Problem("RC014", message[beginning.end() :])
    return path, Problem("RC014", message)


def _placed(document: Document, key: Key, problem: Problem, value: Any) -> Problem:
    """Return a problem with its place, its dotted key and what came."""
    got = ""
    # Where a key is missing, unknown, or contradicts another, its value is not what is wrong.
    about_value = problem.code not in ("RC010", "RC011", "RC014")
    if about_value and key and value is not None:
        got = literal(value)
    if len(got) > LONGEST:
        got = got[: LONGEST - 3] + "..."

    name = dotted(key)
    place = document.place(key)
    cure = problem.cure or spelling(document, key, value, problem)
    return replace(problem, key=name, place=place, got=got, cure=cure)
