"""How a plugin describes what it offers: data, whose targets are strings.

So nothing heavy is imported to list it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

API = (1, 2)
"""The version of the plugin contract: a plugin of another major version is not loaded."""

Kind: TypeAlias = Literal["source", "vocabulary", "target", "encoder", "cell", "loss", "tracker"]
KINDS: tuple[Kind, ...] = get_args(Kind)
"""The kinds of component, in the order in which a sequence meets them; a tracker sees none."""

TRACKER: Kind = "tracker"
"""The kind of which a task may have any number, in [[track]] tables."""


def header(kind: str) -> str:
    """Return the header of the table of a task in which a component of a kind stands."""
    return "[[track]]" if kind == TRACKER else f"[{kind}]"


CAPABILITIES: dict[str, str] = {
    "carry": "its state goes on from window to window",
    "resets": "a row can start afresh inside a window",
    "lengths": "rows of one batch can have different lengths",
    "bidirectional": "it can read a sequence backwards as well",
    "float64": "it computes in float64",
    "bfloat16": "it computes in bfloat16",
    "double_backward": "its gradients have gradients",
    "export": "torch.export takes its step",
    "data": "it has data of its own, and need not be given any in Python",
}
"""What every component of the core's making can do; one that cannot says so in `lacks`."""

CLAIMS: dict[str, str] = {
    "long_memory": "a gradient reaches 1,000 steps back",
}
"""What a component may promise beyond its contract: the contract suite then holds it to that."""


@dataclass(frozen=True)
class Component:
    """One component that a plugin offers.

    `target` and `options` are import strings, `module:Class`; they are imported when a task uses
    the component. `options` should name a module that does not import torch, so that a task file is
    checked in an instant.

    `lacks` names what it cannot do (`CAPABILITIES`): a task that needs it is refused when it is
    checked. `claims` names what it does beyond its contract (`CLAIMS`). `waivers` maps checks of
    the contract suite that it fails to reasons. `examples` are tables of options that the suite
    checks it under, where it cannot draw them from the model or need not: for options without a
    default, such as a file. A path is taken from the folder of the target's module.
    """

    kind: Kind
    name: str
    target: str
    options: str
    summary: str
    cite: str = ""
    api: str = "1.0"
    lacks: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()
    waivers: Mapping[str, str] = field(default_factory=dict, hash=False)
    examples: tuple[Mapping[str, Any], ...] = field(default=(), hash=False)


def misnamed(component: Component) -> str:
    """Return what is wrong with what a component declares of itself, or "".

    That is: the names of capabilities and claims, the waivers and the examples.
    """
    for names, allowed, verb in (
        (component.lacks, CAPABILITIES, "lacks"),
        (component.claims, CLAIMS, "claims"),
    ):
        if isinstance(names, str):
            return f"{verb} {names!r}, which is not a tuple"
        for name in names:
            if name not in allowed:
                return f"{verb} {name!r}, which is none of {', '.join(sorted(allowed))}"

    for check, reason in component.waivers.items():
        if not str(reason).strip():
            return f"the waiver of check {check} gives no reason"
    if not all(isinstance(table, Mapping) for table in component.examples):
        return "examples must be tables of options"
    return ""
