"""What a component gave, looked at before a check goes on with it."""

from __future__ import annotations

import json
from typing import Any, cast

from torch import Tensor

from recurra.testing.check import Broken


def demand(holds: bool, fact: str) -> None:
    """Raise `Broken` unless something holds."""
    if not holds:
        raise Broken(fact)


def through_json(saved: Any) -> dict[str, Any]:
    """Return what `save` gave as it comes back from a file.

    Raises `Broken` if that is no table of plain JSON.
    """
    demand(isinstance(saved, dict), f"save gives {type(saved).__name__}, not a dict")
    try:
        text = json.dumps(saved, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise Broken(f"save gives what is no plain JSON: {error}") from error
    return cast(dict[str, Any], json.loads(text))


def tensor(given: Any, what: str) -> Tensor:
    """Return what a component gave, if it is a tensor. Raises `Broken`."""
    demand(isinstance(given, Tensor), f"{what} is {type(given).__name__}, not a tensor")
    return cast(Tensor, given)
