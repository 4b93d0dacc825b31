"""A catalog of components: attributed, and with names that never shadow each other."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

from recurra.catalog import local
from recurra.catalog.loading import brief, canonical, contained
from recurra.contracts.component import KINDS, TRACKER, Component, header
from recurra.errors import InputError, PluginError, Problem, RecurraError, listing, nearest

HOME = "recurra"

Status = Literal["ok", "blocked", "incompatible", "import error", "hook error", "invalid"]


@dataclass(frozen=True)
class Plugin:
    """What became of one entry point, file or folder: loaded or not, from where, and why."""

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
        """The name under which a local plugin is imported: its own, to hide no installed module."""
        return local.name_of(self.origin, self.version) if self.is_local else ""

    @property
    def is_local(self) -> bool:
        """Whether it is a file or a folder that a task names."""
        return self.distribution.startswith("file:")

    @property
    def stem(self) -> str:
        """What the targets of a local plugin call its module."""
        return Path(self.origin).stem

    def owns(self, module: str) -> bool:
        """Tell whether a target's module is of this local plugin, or of its folder."""
        is_file = self.distribution.endswith(".py")
        first = module if is_file else module.partition(".")[0]
        return self.is_local and first == self.stem

    def imported(self, module: str) -> str:
        """Return the name under which a target's module is imported."""
        return self.module + module[len(self.stem) :] if self.owns(module) else module

    def brief(self, error: BaseException) -> str:
        """Return an error in a line, with a local plugin's modules as its targets call them."""
        line = brief(error)
        return line.replace(self.module, self.stem) if self.is_local else line


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
        from recurra.contracts.options import CellOptions, Options, TrackerOptions

        model = self._load(self.component.options)
        bases: dict[str, Any] = {"cell": CellOptions, TRACKER: TrackerOptions}
        base = bases.get(self.component.kind, Options)
        if isinstance(model, type) and issubclass(model, base):
            return model
        fact = (
            f"{self.qualified}: {self.component.options} is not a subclass of"
            f" recurra.{base.__name__}"
        )
        raise PluginError.of("RC071", fact)

    def _load(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        try:
            with contained():
                return getattr(import_module(self.plugin.imported(module)), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            # Whatever it raises.
            reason = self.plugin.brief(error)
            fact = f"{self.component.kind} {self.qualified} cannot be imported: {reason}"
            home = f"or uninstall {self.plugin.distribution} {self.plugin.version}"
            place = self.plugin.origin if self.plugin.is_local else home
            cure = f"mend {place} (target {target})"
            first = module.partition(".")[0]
            foreign = self.plugin.is_local and not self.plugin.owns(module)
            if foreign and isinstance(error, ModuleNotFoundError) and error.name == first:
                cure += f"; its modules are called by its own name, {self.plugin.stem}"
            raise PluginError.of("RC070", fact, cure=cure) from error


@dataclass
class Catalog:
    """All components that the installed plugins offer, and a record of each plugin."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Entry]:
        """Return the components of one kind, in the order of their names."""
        entries = [entry for entry in self.entries if entry.component.kind == kind]
        return sorted(entries, key=lambda entry: entry.component.name)

    def named(self, name: str) -> list[Entry]:
        """Return every component of any kind with this name, short or qualified."""
        return [entry for entry in self.entries if entry.answers(name)]

    def find(self, kind: str, name: str) -> Entry:
        """Return the component of a kind and name.

        Raises `InputError` or `PluginError` (RC020 to RC022).
        """
        entries = [entry for entry in self.of_kind(kind) if entry.answers(name)]
        own = [entry for entry in entries if entry.plugin.distribution == HOME]
        # A name that recurra has means its own, whoever else offers it.
        if own:
            return own[0]
        if len(entries) == 1:
            return entries[0]
        if entries:
            raise InputError(_ambiguous(kind, name, entries))
        raise self._absent(kind, name)

    def of_any_kind(self, name: str) -> list[Entry]:
        """Return what a name means, once for each kind that has it. Raises as `find` does."""
        kinds = {entry.component.kind for entry in self.named(name)}
        if not kinds:
            raise self._absent("component", name)
        return [self.find(kind, name) for kind in KINDS if kind in kinds]

    def _absent(self, kind: str, name: str) -> RecurraError:
        """Return the error of a name that means no component."""
        culprit = self._failed_for(name)
        if culprit is None:
            return InputError(self._unknown(kind, name))
        return PluginError(_failed(kind, name, culprit))

    def name_of(self, entry: Entry) -> str:
        """Return the shortest name that means this component and no other of its kind."""
        name = entry.component.name
        names = [other.component.name for other in self.of_kind(entry.component.kind)]
        if names.count(name) == 1 or entry.plugin.distribution == HOME:
            return name
        return entry.qualified

    def _failed_for(self, name: str) -> Plugin | None:
        """Return the plugin that did not load and would have offered a name.

        Only its own names tell what it would have offered.
        """
        home, _, short = name.rpartition("/")
        for plugin in self.plugins:
            distribution = canonical(plugin.distribution)
            names = (distribution, distribution.removeprefix("recurra-"), canonical(plugin.name))
            if home:
                is_meant = canonical(home) == distribution
            else:
                is_meant = canonical(short) in names
            if is_meant and plugin.status != "ok":
                return plugin
        return None

    def _unknown(self, kind: str, name: str) -> Problem:
        """Return the problem of a name that no plugin is known to offer."""
        entries = self.of_kind(kind) if kind in KINDS else self.entries
        names = [entry.component.name for entry in entries]
        qualified = [entry.qualified for entry in entries]
        close = nearest(name, names + qualified)

        cure = "install the plugin that offers it; `recurra plugins list` shows what is installed"
        elsewhere = [entry.component.kind for entry in self.named(name)]
        broken = [plugin for plugin in self.plugins if plugin.status != "ok"]
        if elsewhere:
            cure = f"{name!r} is a {elsewhere[0]}: put it in the {header(elsewhere[0])} table"
        elif broken:
            failures = [f"{one.distribution} ({one.status}: {one.error})" for one in broken]
            cure += f"; not loaded: {', '.join(failures)}"
        fact = f"there is no {kind} called {name!r}"
        return Problem("RC020", fact, allowed=listing(names), nearest=close, cure=cure)


def _ambiguous(kind: str, name: str, entries: list[Entry]) -> Problem:
    """Return the problem of a name that several distributions offer."""
    owners = [f"{entry.plugin.distribution} {entry.plugin.version}" for entry in entries]
    fact = f"{kind} {name!r} is offered by {' and '.join(owners)}"
    names = [f'"{entry.qualified}"' for entry in entries]
    return Problem("RC021", fact, cure=f"write the qualified name: {' or '.join(names)}")


def _failed(kind: str, name: str, plugin: Plugin) -> Problem:
    """Return the problem of a name whose plugin did not load."""
    fact = (
        f"{kind} {name!r} should come from {plugin.distribution} {plugin.version}, "
        f"which did not load ({plugin.status}): {plugin.error}"
    )
    cure = "`recurra plugins list` shows every plugin; mend this one or uninstall it"
    if plugin.status == "blocked":
        cure = f"let {plugin.distribution} load: change or unset that variable"
    return Problem("RC022", fact, cure=cure)
