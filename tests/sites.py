"""Distributions that a test installs in its own folder, and what the catalog makes of them."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from recurra.catalog import Catalog, Plugin, Policy, discover

HOOK = """
from recurra import Component, hookimpl

def offer(name, module="{module}", **changes):
    target, options = module + ":Leaky", module + ":LeakyOptions"
    whole = dict(kind="cell", name=name, target=target, options=options, summary="leaks")
    return Component(**{{**whole, **changes}})

@hookimpl
def recurra_components():
    return [{offers}]
"""

CELL = """
import torch
from recurra import Cell, CellOptions, Field

class LeakyOptions(CellOptions):
    leak: float = Field(0.5, gt=0, le=1, description="share of the state that each step replaces")

class Leaky(Cell):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = torch.nn.Linear(input_size + options.hidden_size, options.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return (torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype),)

    def step(self, x_t, state):
        new = torch.tanh(self.map(torch.cat((x_t, state[0]), -1)))
        h = torch.lerp(state[0], new, self.options.leak)
        return h, (h,)
"""

ENCODER = """
from recurra import CellOptions, Encoder

class Leaky(Encoder):
    def forward(self, x):
        return x

class LeakyOptions(CellOptions):
    pass
"""


def hook(offers: str = 'offer("leaky")', module: str = "sound_cell") -> str:
    """Return the text of a plugin module whose hook returns a list of these offers."""
    return HOOK.format(offers=offers, module=module)


class Site:
    """A folder of installed distributions, on the path of this process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir()

    def write(self, module: str, text: str) -> Path:
        """Write a module."""
        path = self.path / f"{module}.py"
        path.write_text(text, encoding="utf-8")
        return path

    def add(
        self,
        distribution: str,
        text: str,
        *,
        entry: str = "",
        version: str = "1.0",
        metadata: bool = True,
    ) -> Path:
        """Install a distribution whose only module is a plugin.

        The entry's name is the distribution's by default.
        """
        stem = re.sub(r"\W", "_", distribution)

        module, info = f"{stem}_plugin", self.path / f"{stem}-{version}.dist-info"
        info.mkdir()
        if metadata:
            lines = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n"
            (info / "METADATA").write_text(lines, encoding="utf-8")

        points = f"[recurra.plugins]\n{entry or distribution} = {module}\n"
        (info / "entry_points.txt").write_text(points, encoding="utf-8")
        return self.write(module, text)


def names(catalog: Catalog, kind: str = "cell") -> list[str]:
    """Return the qualified name of each component of a kind."""
    return [entry.qualified for entry in catalog.of_kind(kind)]


def record(catalog: Catalog, distribution: str) -> Plugin:
    """Return what became of the one plugin of a distribution."""
    (plugin,) = [plugin for plugin in catalog.plugins if plugin.distribution == distribution]
    return plugin


@cache
def own() -> list[str]:
    """Return the cells that come with recurra."""
    return names(discover(policy=Policy(allow=frozenset())))


def besides(*others: str) -> list[str]:
    """Return the cells that come with recurra and others, in the order of their short names."""
    return sorted([*own(), *others], key=lambda name: name.partition("/")[2])


BROKEN = {
    "raises on import": ("raise RuntimeError('kaput')", "import error", "RuntimeError: kaput"),
    "leaves on import": ("import sys\nsys.exit(3)", "import error", "SystemExit: 3"),
    "raises what is no Exception": ("raise GeneratorExit", "import error", "GeneratorExit"),
    "is cancelled": (
        "import asyncio\nraise asyncio.CancelledError('so')",
        "import error",
        "CancelledError: so",
    ),
    "imports what is not there": (
        "import no_such_thing",
        "import error",
        "No module named 'no_such_thing'",
    ),
    "is not Python": ("def :", "import error", "SyntaxError"),
    "has a hook nobody knows": (
        "from recurra import hookimpl\n@hookimpl\ndef recurra_models():\n    return []",
        "import error",
        "unknown hook 'recurra_models'",
    ),
    "has a hook with an argument too many": (
        "from recurra import hookimpl\n@hookimpl\ndef recurra_components(extra):\n    return []",
        "import error",
        "{'extra'}",
    ),
    "raises in the hook": (hook("1 / 0"), "hook error", "ZeroDivisionError: division by zero"),
    "leaves in the hook": (hook("exit(3)"), "hook error", "SystemExit: 3"),
    "gives one component, not a list": (
        hook().replace("[offer(", "offer(").replace(")]", ")"),
        "hook error",
        "'Component' object is not iterable",
    ),
    "gives a number": (hook("7"), "invalid", "gave int, not a Component"),
    "gives an unknown kind": (
        hook('offer("x", kind="sel")'),
        "invalid",
        "'sel' is not one of source, vocabulary",
    ),
    "gives a bad name": (
        hook('offer("Bad-Name")'),
        "invalid",
        "'Bad-Name' must be lower case letters",
    ),
    "gives a target without class": (
        hook('offer("x", target="m.C")'),
        "invalid",
        "target must read module:Class",
    ),
    "gives a name twice": (
        hook('offer("x"), offer("x")'),
        "invalid",
        "cell broken/x is offered twice",
    ),
    "is good in the first half": (
        hook('offer("x"), offer("y", kind="sel")'),
        "invalid",
        "kind 'sel'",
    ),
    "is newer": (
        hook('offer("x", api="2.0")'),
        "incompatible",
        "x was written for plugin API 2.0; this recurra has 1.2",
    ),
    "counts its versions in numbers": (hook('offer("x", api=2)'), "incompatible", "plugin API 2;"),
}
