"""A catalog of components: attributed, and with names that never shadow each other."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from recurra.catalog.loading import brief, canonical, contained
from recurra.contracts.component import KINDS, Component
from recurra.errors import InputError, PluginError, Problem, RecurraError, listing, nearest

HOME = "recurra"

Status = Literal["ok", "blocked", "incompatible", "import error", "hook error", "invalid"]


@dataclass(frozen=True)
class Plugin:
    """What became of one entry point or file: loaded or not, by which distribution, and why."""

    name: str
    distribution: str
    version: str
    origin: str
    status: Status = "ok"
    error: str = ""
    details: str = ""
    milliseconds: float = 0.0
    warnings: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The name under which a local file is imported: its own, to hide no installed module."""
        if not self.distribution.startswith("file:"):
            return ""
        return f"recurra_file_{hashlib.sha256(self.origin.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Entry:
    """A component together with the plugin that offers it."""

    component: Component
    plugin: Plugin

    @property
    def qualified(self) -> str:
        """The name that is unique for ever: `distribution/name`."""
        return f"{self.plugin.distribution}/{self.component.name}"

    def answers(self, name: str) -> bool:
        """Tell whether a name, short or qualified, means this component.

        In the short name `-` and `_` are the same.
        """
        distribution, slash, short = name.rpartition("/")
        at_home = not slash or canonical(distribution) == canonical(self.plugin.distribution)
        return at_home and short.replace("-", "_") == self.component.name

    def takes(self, yields: str) -> bool:
        """Tell whether an encoder or a loss reads symbols, or numbers.

        One that cannot be imported reads nothing.
        """
        try:
            return yields in getattr(self.target, "reads", ())
        except PluginError:
            return False

    @cached_property
    def target(self) -> Any:
        """The class itself, imported now. Raises `PluginError` (RC070)."""
        return self._load(self.component.target)

    @cached_property
    def options(self) -> Any:
        """The options model, imported now. Raises `PluginError` (RC070, RC071)."""
        # Here, since a list has no need of pydantic.
        from recurra.contracts.options import (
            CellOptions,
            Options,
        )

        model = self._load(self.component.options)
        base = CellOptions if self.component.kind == "cell" else Options
        if not (isinstance(model, type) and issubclass(model, base)):
            fact = (
                f"{self.qualified}: {self.component.options} is not a subclass of"
                f" recurra.{base.__name__}"
            )
            raise PluginError.of("RC071", fact)
        return model

    def _load(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        if self.plugin.module and module == Path(self.plugin.origin).stem:
            module = self.plugin.module
        try:
            with contained():
                return getattr(import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever it raises
            fact = f"{self.component.kind} {self.qualified} cannot be imported: {brief(error)}"
            cure = (
                f"mend or uninstall {self.plugin.distribution} {self.plugin.version} (target"
                f" {target})"
            )
            raise PluginError.of("RC070", fact, cure=cure) from error


@dataclass
class Catalog:
    """All components that the installed plugins offer, and a record of each plugin."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Entry]:
        """Return the components of one kind, in the order of their names."""
        return sorted(
            (e for e in self.entries if e.component.kind == kind), key=lambda e: e.component.name
        )

    def named(self, name: str) -> list[Entry]:
        """Return every component of any kind with this name, short or qualified."""
        return [e for e in self.entries if e.answers(name)]

    def find(self, kind: str, name: str) -> Entry:
        """Return the component of a kind and name.

        Raises `InputError` or `PluginError` (RC020 to RC022).
        """
        found = [e for e in self.of_kind(kind) if e.answers(name)]
        own = [e for e in found if e.plugin.distribution == HOME]
        if own or len(found) == 1:
            return (own or found)[0]
        if found:
            raise InputError(self._ambiguous(kind, name, found))
        raise self._absent(kind, name)

    def of_any_kind(self, name: str) -> list[Entry]:
        """Return what a name means, once for each kind that has it. Raises as `find` does."""
        having = {entry.component.kind for entry in self.named(name)}
        if not having:
            raise self._absent("component", name)
        return [self.find(kind, name) for kind in KINDS if kind in having]

    def _absent(self, kind: str, name: str) -> RecurraError:
        culprit = self._failed_for(name)
        return (
            InputError(self._unknown(kind, name))
            if culprit is None
            else PluginError(self._failed(kind, name, culprit))
        )

    def name_of(self, entry: Entry) -> str:
        """Return the shortest name that means this component and no other of its kind."""
        rivals = [
            e
            for e in self.of_kind(entry.component.kind)
            if e.component.name == entry.component.name
        ]
        unrivalled = len(rivals) == 1 or entry.plugin.distribution == HOME
        return entry.component.name if unrivalled else entry.qualified

    def _ambiguous(self, kind: str, name: str, found: list[Entry]) -> Problem:
        both = " and ".join(f"{e.plugin.distribution} {e.plugin.version}" for e in found)
        return Problem(
            "RC021",
            f"{kind} {name!r} is offered by {both}",
            cure="write the qualified name: " + " or ".join(f'"{e.qualified}"' for e in found),
        )

    def _failed_for(self, name: str) -> Plugin | None:
        """Return the plugin that did not load and would have offered a name.

        Only its own names tell what it would have offered.
        """
        home, _, short = name.rpartition("/")
        for plugin in self.plugins:
            distribution = canonical(plugin.distribution)
            names = (distribution, distribution.removeprefix("recurra-"), canonical(plugin.name))
            named = canonical(home) == distribution if home else canonical(short) in names
            if plugin.status != "ok" and named:
                return plugin
        return None

    def _failed(self, kind: str, name: str, plugin: Plugin) -> Problem:
        cure = "`recurra plugins list` shows every plugin; mend this one or uninstall it"
        if plugin.status == "blocked":
            cure = f"let {plugin.distribution} load: change or unset that variable"
        return Problem(
            "RC022",
            f"{kind} {name!r} should come from {plugin.distribution} {plugin.version}, "
            f"which did not load ({plugin.status}): {plugin.error}",
            cure=cure,
        )

    def _unknown(self, kind: str, name: str) -> Problem:
        offered = self.of_kind(kind) if kind in KINDS else self.entries
        names = [e.component.name for e in offered]
        close = nearest(name, [*names, *(e.qualified for e in offered)])
        elsewhere = [e.component.kind for e in self.named(name)]
        broken = [p for p in self.plugins if p.status != "ok"]
        cure = "install the plugin that offers it; `recurra plugins list` shows what is installed"
        if elsewhere:
            cure = f"{name!r} is a {elsewhere[0]}: put it in the [{elsewhere[0]}] table"
        elif broken:
            cure += "; not loaded: " + ", ".join(
                f"{p.distribution} ({p.status}: {p.error})" for p in broken
            )
        return Problem(
            "RC020",
            f"there is no {kind} called {name!r}",
            allowed=listing(names),
            nearest=close,
            cure=cure,
        )
