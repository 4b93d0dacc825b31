"""What a component holds, so that what a call changes of it can be told.

That is every attribute, weight and buffer, by name; arrays, lists, tables and plain objects are
looked into. So are those that stand in its class and in the module of its class, which all
instances share.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor, nn

from recurra.testing.check import Broken


def unchanged(module: nn.Module, call: Callable[[], object], what: str = "a call") -> None:
    """Raise `Broken` if a second call changes an attribute, a weight or a buffer.

    A first one may fill a cache.
    """
    call()
    before = belongings(module)
    call()
    name = changed(before, belongings(module))
    if name is not None:
        mode = "training" if module.training else "evaluation"
        raise Broken(f"{what} in {mode} changes {name or 'the module'}")


def changed(
    before: dict[str, list[object]], after: dict[str, list[object]], opaque: bool = True
) -> str | None:
    """Return the first name whose atoms are others now, or none.

    What cannot be looked into is another thing if it is not the very same one, unless it is not
    `opaque` that counts.
    """
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, []), after.get(name, [])
        pairs = zip(one, other, strict=False)
        if len(one) != len(other) or not all(a is b or _equal(a, b, opaque) for a, b in pairs):
            return name
    return None


def belongings(module: nn.Module) -> dict[str, list[object]]:
    """Return what a module and its parts hold, and what their classes and modules share."""
    own = {}
    for name, part in module.named_modules():
        for key, value in vars(part).items():
            own[f"{name}.{key}".removeprefix(".")] = list(_atoms(value))
    return own | shared(type(module))


def owned(component: object) -> dict[str, list[object]]:
    """Return what an object that is no module holds, and what its class and module share."""
    own = {key: list(_atoms(value)) for key, value in vars(component).items()}
    return own | shared(type(component))


def shared(kind: type) -> dict[str, list[object]]:
    """Return the lists, tables and arrays of a component's classes, and of their modules."""
    held = {}
    for part in kind.__mro__:
        if part.__module__.startswith(FOREIGN):
            continue
        module = sys.modules.get(part.__module__, part)
        for place, table in ((part.__qualname__, vars(part)), (part.__module__, vars(module))):
            for key, value in list(table.items()):
                if isinstance(value, HOLDERS) and not key.startswith("__"):
                    held[f"{place}.{key}"] = list(_atoms(value))
    return held


def written_on(options: object) -> list[object]:
    """Return what options hold, each value with its identity.

    So one that is replaced by an equal one counts as written on.
    """
    held: list[object] = []
    for key, value in vars(options).items():
        held += [key, id(value), *_atoms(value)]
    return held


FOREIGN = ("torch.", "builtins", "typing", "abc", "recurra.contracts", "pydantic")
"""Where classes come from whose tables are nobody's that is examined."""
HOLDERS = (list, dict, set, deque, bytearray, np.ndarray, Tensor)
"""What can grow, or be written on."""
MOST = 20_000
"""Atoms of an attribute that are looked at: beyond them the size alone is compared."""


def _atoms(value: Any) -> Iterator[object]:
    """Give what can be compared of a value and of all that it holds, each once, up to a bound."""
    yield from islice(_parts(value, set()), MOST)


def _parts(value: Any, seen: set[int]) -> Iterator[object]:
    if isinstance(value, (Tensor, np.ndarray, bytearray, deque, list, tuple, set, frozenset, dict)):
        if id(value) in seen:  # what holds itself
            return
        seen.add(id(value))

    if isinstance(value, Tensor):
        yield value
        yield value._version
    elif isinstance(value, np.ndarray):
        yield type(value)
        yield value.shape
        yield np.ascontiguousarray(value).tobytes()[:MOST]
    elif isinstance(value, bytearray):
        yield type(value)
        yield bytes(value[:MOST])
    elif isinstance(value, dict):
        yield len(value)
        for key, part in list(value.items()):
            yield key
            yield from _parts(part, seen)
    elif isinstance(value, (deque, list, tuple, set, frozenset)):
        yield len(value)
        for part in list(value):
            yield from _parts(part, seen)
    elif _looked_into(value):
        seen.add(id(value))
        yield type(value)
        yield from _parts(vars(value), seen)
    else:
        yield value


def _looked_into(value: object) -> bool:
    """Tell whether an object is a plain one, with attributes: no module, class or function."""
    if isinstance(value, (nn.Module, type, ModuleType)) or callable(value):
        return False
    return hasattr(value, "__dict__") and not type(value).__module__.startswith(("torch", "numpy"))


def _equal(one: object, other: object, opaque: bool) -> bool:
    if type(one) is not type(other):
        return False
    return one == other if isinstance(one, (bool, int, float, str, bytes, tuple)) else not opaque
