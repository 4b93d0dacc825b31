"""What a module holds, so that what a call changes of it can be told: every attribute, weight and buffer, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from recurra.testing.check import Broken


def unchanged(module: nn.Module, call: Callable[[], object], what: str = "a call") -> None:
    """Raise `Broken` if a second call changes an attribute, a weight or a buffer; a first may fill a cache."""
    call()
    before = belongings(module)
    call()
    after = belongings(module)
    for name in sorted(before.keys() | after.keys()):
        one, other = before.get(name, []), after.get(name, [])
        if len(one) != len(other) or not all(a is b or _equal(a, b) for a, b in zip(one, other, strict=True)):
            mode = "training" if module.training else "evaluation"
            raise Broken(f"{what} in {mode} changes {name or 'the module'}")


def belongings(module: nn.Module) -> dict[str, list[object]]:
    """Return what a module and its parts hold: atoms, and of a tensor how often it was written on."""
    return {
        f"{name}.{key}".removeprefix("."): list(_atoms(value))
        for name, part in module.named_modules()
        for key, value in vars(part).items()
    }


def _atoms(value: Any) -> Iterator[object]:
    if isinstance(value, Tensor):
        yield from (value, value._version)
    elif isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from _atoms(part)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for part in value:
            yield from _atoms(part)
    else:
        yield value


def _equal(one: object, other: object) -> bool:
    return type(one) is type(other) and isinstance(one, (bool, int, float, str, bytes)) and one == other
