"""How a plugin describes what it offers: data with string targets, so that nothing heavy is imported to list it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

API = (1, 0)
"""The version of the plugin contract: a plugin of another major version is not loaded."""

Kind: TypeAlias = Literal["source", "vocabulary", "encoder", "cell", "loss"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of component, in the order in which a sequence meets them."""


@dataclass(frozen=True)
class Component:
    """One component that a plugin offers.

    `target` and `options` are import strings, `module:Class`; they are imported when a task uses the component.
    `options` should name a module that does not import torch, so that a task file is checked in an instant.
    """

    kind: Kind
    name: str
    target: str
    options: str
    summary: str
    cite: str = ""
    api: str = "1.0"
