"""The task of a bundle where it is unpacked, and the phases in which its run was trained."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from recurra.runs.bundles import CODE, Place
from recurra.runs.records import Changed
from recurra.spec.document import Key
from recurra.spec.overrides import key_of

SOURCE = "source"
UNSAID = {"processes": 1}
"""What an environment means that does not say it, as those of before."""
BESIDE_BITS = ("format", "platform", "device", "paths", "step_paths")
"""Of an environment, what bits do not depend on as it stands, or is compared otherwise."""


class Phase(NamedTuple):
    """A stretch of training: what changes before it, and up to which step it goes, if not all."""

    changes: dict[str, Any]
    until: int | None


def placed(tables: dict[str, Any], places: Iterable[Place], root: Path) -> dict[str, Any]:
    """Return a task in which each path that a bundle brings is where that is unpacked."""
    tables = copy.deepcopy(tables)
    for place in places:
        if place.entry is not None:
            node: Any = tables
            for part in place.table.split("."):
                node = node[int(part)] if isinstance(node, list) else node.get(part, {})
            _put(node, place, str(root / place.entry))
    return tables


def _put(node: Any, place: Place, now: str) -> None:
    """Put a path in the place of another, wherever a key of its name has that."""
    if isinstance(node, list):
        for inner in node:
            _put(inner, place, now)
    if not isinstance(node, dict):
        return
    for key, value in node.items():
        if key == place.key and value == place.path:
            node[key] = now
        elif key == place.key and isinstance(value, list):
            node[key] = [now if each == place.path else each for each in value]
        else:
            _put(value, place, now)


def foreign_code(tables: dict[str, Any], root: Path) -> list[str]:
    """Return the local plugins of a task that are none of those that its bundle brings."""
    table = tables.get("plugins")
    names = table.get("files", []) if isinstance(table, dict) else []
    own = root / CODE
    return [str(name) for name in names if not Path(str(name)).is_relative_to(own)]


def phases(
    tables: dict[str, Any], changes: Sequence[Changed], last: int | None
) -> tuple[dict[str, Any], list[Phase]]:
    """Return the task that a run began with, and the phases in which it was trained.

    `changes` are those of its changes.json, and `last` is the step that it has come to where that
    is not its end. Where its data lay meanwhile is no matter.
    """
    first = copy.deepcopy(tables)
    stretches: dict[int, dict[str, Any]] = {}
    for each in reversed(changes):
        for name, (before, _) in each.changed.items():
            key = key_of(name)
            if not key:
                raise ValueError(f"{name[:40]!r} is no key")
            if key[0] != SOURCE:
                _set(first, key, before)
    for each in changes:
        stretch = stretches.setdefault(each.step, {})
        for name, (_, after) in each.changed.items():
            if key_of(name)[0] != SOURCE:
                # What takes the place of another thing says so by being there.
                stretch.pop(name, None)
                stretch |= {} if after is None else {name: after}

    # What changed before the first update was so from the start.
    for name, after in stretches.pop(0, {}).items():
        _set(first, key_of(name), after)
    steps = sorted(stretches)
    starts: list[dict[str, Any]] = [{}, *(stretches[step] for step in steps)]
    ends: list[int | None] = [*steps, last]
    return first, [Phase(*each) for each in zip(starts, ends, strict=True)]


def _set(tables: dict[str, Any], key: Key, value: Any) -> None:
    """Give a key a value, or take it away."""
    node: Any = tables
    for part in key[:-1]:
        node = node.setdefault(part, {})
    if value is None:
        node.pop(key[-1], None)
    else:
        node[key[-1]] = value


def differing(environments: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what of two environments differs and may round otherwise, in words."""
    own, its = environments
    found = []
    for key in dict.fromkeys([*own, *its]):
        if key in BESIDE_BITS:
            continue
        if key == "gpu" and "cuda" not in str(own.get("device")):
            continue
        if key == "cpu" and key not in own:
            found.append("the run does not record the model of its processor")
            continue
        before, now = (each.get(key, UNSAID.get(key)) for each in (own, its))
        if before != now:
            found.append(f"{key} {before}, here {now}")
    for key, word in (("paths", "paths"), ("step_paths", "paths of single steps")):
        if own.get(key) != its.get(key):
            told = [" ".join(map(str, each.get(key) or ["none"])) for each in (own, its)]
            found.append(f"{word} {told[0]}, here {told[1]}")
    devices = [str(each.get("device", "")).partition(":")[0] for each in (own, its)]
    if devices[0] != devices[1]:
        found.append(f"device {devices[0]}, here {devices[1]}")
    systems = [_system(str(each.get("platform", ""))) for each in (own, its)]
    if systems[0] != systems[1]:
        found.append(f"system {systems[0]}, here {systems[1]}")
    return found


def _system(platform: str) -> str:
    """Return the name of a system and its C library, whose version of the kernel is no matter."""
    name = platform.partition("-")[0]
    return f"{name} {platform.partition('-with-')[2]}".strip()
