"""From entry points to a catalog of components: isolated, attributed, and with names that never shadow each other."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import os
import re
import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from importlib import import_module
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any, Literal

import pluggy

from recurra.contracts.component import API, KINDS, Component
from recurra.contracts.hooks import PROJECT, Hooks
from recurra.errors import InputError, PluginError, Problem, listing, nearest

GROUP = "recurra.plugins"
HOME = "recurra"
NAME = re.compile(r"[a-z][a-z0-9_]*")
BLOCKED = "by RECURRA_PLUGINS or RECURRA_PLUGINS_BLOCK"

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
        """The name under which a local file is imported: its own, so that it hides no installed module."""
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
        """Tell whether a name, short or qualified, means this component; `-` and `_` are the same in it."""
        distribution, _, short = name.rpartition("/")
        at_home = not distribution or _canonical(distribution) == _canonical(self.plugin.distribution)
        return at_home and short.replace("-", "_") == self.component.name

    def takes(self, yields: str) -> bool:
        """Tell whether an encoder or a loss reads symbols, or numbers; one that cannot be imported reads nothing."""
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
        from recurra.contracts.options import CellOptions, Options  # here, since a list has no need of pydantic

        model = self._load(self.component.options)
        base = CellOptions if self.component.kind == "cell" else Options
        if not (isinstance(model, type) and issubclass(model, base)):
            fact = f"{self.qualified}: {self.component.options} is not a subclass of recurra.{base.__name__}"
            raise PluginError.of("RC071", fact)
        return model

    def _load(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        if self.plugin.module and module == Path(self.plugin.origin).stem:
            module = self.plugin.module
        try:
            with _quiet():
                return getattr(import_module(module), attribute)
        except (Exception, SystemExit) as error:
            fact = f"{self.component.kind} {self.qualified} cannot be imported: {_brief(error)}"
            cure = f"mend or uninstall {self.plugin.distribution} {self.plugin.version} (target {target})"
            raise PluginError.of("RC070", fact, cure=cure) from error


@dataclass
class Catalog:
    """All components that the installed plugins offer, and a record of each plugin."""

    plugins: list[Plugin] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def of_kind(self, kind: str) -> list[Entry]:
        """Return the components of one kind, in the order of their names."""
        return sorted((e for e in self.entries if e.component.kind == kind), key=lambda e: e.component.name)

    def named(self, name: str) -> list[Entry]:
        """Return every component of any kind with this name, short or qualified."""
        return [e for e in self.entries if e.answers(name)]

    def find(self, kind: str, name: str) -> Entry:
        """Return the component of a kind and name. Raises `InputError` or `PluginError` (RC020 to RC022)."""
        found = [e for e in self.of_kind(kind) if e.answers(name)]
        own = [e for e in found if e.plugin.distribution == HOME]
        if own or len(found) == 1:
            return (own or found)[0]
        if found:
            raise InputError(self._ambiguous(kind, name, found))
        culprit = self._failed_for(name)
        if culprit is not None:
            raise PluginError(self._failed(kind, name, culprit))
        raise InputError(self._unknown(kind, name))

    def name_of(self, entry: Entry) -> str:
        """Return the shortest name that means this component and no other of its kind."""
        rivals = [e for e in self.of_kind(entry.component.kind) if e.component.name == entry.component.name]
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
        """Return the plugin that did not load and would have offered a name, as far as its own names tell."""
        home, _, short = name.rpartition("/")
        for plugin in self.plugins:
            distribution = _canonical(plugin.distribution)
            names = (distribution, distribution.removeprefix("recurra-"), _canonical(plugin.name))
            named = _canonical(home) == distribution if home else _canonical(short) in names
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
        names = [e.component.name for e in self.of_kind(kind)]
        close = nearest(name, [*names, *(e.qualified for e in self.of_kind(kind))])
        elsewhere = [e.component.kind for e in self.named(name)]
        broken = [p for p in self.plugins if p.status != "ok"]
        cure = "install the plugin that offers it; `recurra plugins list` shows what is installed"
        if elsewhere:
            cure = f"{name!r} is a {elsewhere[0]}: put it in the [{elsewhere[0]}] table"
        elif broken:
            cure += "; not loaded: " + ", ".join(f"{p.distribution} ({p.status}: {p.error})" for p in broken)
        return Problem("RC020", f"there is no {kind} called {name!r}", allowed=listing(names), nearest=close, cure=cure)


@dataclass(frozen=True)
class Policy:
    """Which plugins may load: all, or those allowed, less those blocked; by distribution or by entry-point name."""

    allow: frozenset[str] | None = None
    block: frozenset[str] = frozenset()
    strict: bool = False

    @classmethod
    def from_environment(cls) -> Policy:
        """Read `RECURRA_PLUGINS`, `RECURRA_PLUGINS_BLOCK` and `RECURRA_PLUGINS_STRICT`."""
        allowed = os.environ.get("RECURRA_PLUGINS")
        return cls(
            None if allowed is None else _names(allowed),
            _names(os.environ.get("RECURRA_PLUGINS_BLOCK", "")),
            os.environ.get("RECURRA_PLUGINS_STRICT", "") == "1",
        )

    def blocks(self, distribution: str, name: str) -> bool:
        """Tell whether a plugin may not load; recurra's own are never blocked by an allow-list."""
        both = {_canonical(distribution), _canonical(name)}
        if both & self.block:
            return True
        return self.allow is not None and distribution != HOME and not both & self.allow


def discover(files: Iterable[Path] = (), policy: Policy | None = None) -> Catalog:
    """Load every plugin that the policy allows, and the local `files` that a task names.

    A plugin that fails loses only itself: the catalog records why. Raises `PluginError` (RC070) under a strict policy,
    and for a local file, which the task asked for by name.
    """
    policy = policy or Policy.from_environment()
    catalog = Catalog()
    found = [(*_identity(point), point) for point in _points(catalog)]
    for distribution, version, point in sorted(found, key=lambda f: (f[0], f[2].name)):
        plugin = Plugin(point.name, distribution, version, point.value)
        if policy.blocks(distribution, point.name):
            catalog.plugins.append(_mark(plugin, "blocked", BLOCKED))
            continue
        _admit(catalog, plugin, point.load)
        if policy.strict:
            _insist(catalog.plugins[-1])
    for path in files:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12] if path.is_file() else "missing"
        plugin = Plugin(path.stem, f"file:{path.name}", f"sha256:{digest}", str(path))
        _admit(catalog, plugin, partial(_from_file, path, plugin.module))
        _insist(catalog.plugins[-1])
    return catalog


def _points(catalog: Catalog) -> list[EntryPoint]:
    """Return the entry points of the group; a distribution whose own list cannot be read is put on record."""
    try:
        return list(entry_points(group=GROUP))
    except Exception:  # one damaged distribution, with a plugin or without, must not hide all the others
        points: list[EntryPoint] = []
    for distribution in distributions():
        try:
            points += distribution.entry_points.select(group=GROUP)
        except Exception as error:
            name, version = distribution.metadata["Name"], distribution.version
            catalog.plugins.append(Plugin("?", name, version, "entry_points.txt", "invalid", _brief(error)))
    return points


def _identity(point: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution of an entry point; without metadata they are not known."""
    try:
        assert point.dist is not None
        found = dict(point.dist.metadata.json)
    except Exception:
        found = {}
    return str(found.get("name") or "unknown"), str(found.get("version") or "0")


def _admit(catalog: Catalog, plugin: Plugin, load: Any) -> None:
    """Load one plugin into the catalog, with pluggy checking its hook against the specification."""
    start = time.perf_counter()
    said = io.StringIO()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    light = "torch" not in sys.modules
    status: Status = "import error"
    try:
        with _quiet(said):
            manager.register(load(), name=f"{plugin.distribution}:{plugin.name}")
            manager.check_pending()
            status = "hook error"
            offered = [c for got in manager.hook.recurra_components() for c in got]
        status = "invalid"
        entries = [Entry(_valid(component), plugin) for component in offered]
        _once(catalog.entries, entries)
    except (Exception, SystemExit) as error:
        if isinstance(error, _Incompatible):
            status = "incompatible"
        catalog.plugins.append(_mark(plugin, status, _brief(error), traceback.format_exc(), start))
        return
    heavy = light and "torch" in sys.modules
    done = replace(_mark(plugin, "ok", start=start), warnings=_complaints(entries, said.getvalue(), heavy))
    catalog.plugins.append(done)
    catalog.entries += [Entry(entry.component, done) for entry in entries]


def _complaints(entries: list[Entry], said: str, heavy: bool) -> tuple[str, ...]:
    """Return what is worth saying of a plugin that did load."""
    complaints = []
    if said.strip():
        complaints.append(f"printed while it was loaded: {said.strip().splitlines()[0][:80]!r}")
    if heavy:
        complaints.append("imports torch when it is listed, which makes every command slow")
    if not entries:
        complaints.append("offers no component")
    return tuple(complaints)


def _once(known: list[Entry], new: list[Entry]) -> None:
    """Raise `ValueError` if a qualified name would no longer mean one component."""
    taken = {(entry.component.kind, entry.qualified) for entry in known}
    for entry in new:
        name = (entry.component.kind, entry.qualified)
        if name in taken:
            raise ValueError(f"{name[0]} {name[1]} is offered twice")
        taken.add(name)


class _Incompatible(Exception):
    pass


def _valid(component: Any) -> Component:
    """Return a component as a plugin gave it, if it keeps the contract. Raises `TypeError` or `ValueError`."""
    if not isinstance(component, Component):
        raise TypeError(f"recurra_components gave {type(component).__name__}, not a Component")
    major = str(component.api).split(".")[0]
    if major != str(API[0]):
        raise _Incompatible(
            f"{component.name} was written for plugin API {component.api}; this recurra has {API[0]}.{API[1]}"
        )
    if component.kind not in KINDS:
        raise ValueError(f"{component.name}: kind {component.kind!r} is not one of {', '.join(KINDS)}")
    if not NAME.fullmatch(component.name):
        raise ValueError(f"name {component.name!r} must be lower case letters, digits and _")
    for label in ("target", "options"):
        if not re.fullmatch(r"[\w.]+:\w+", getattr(component, label)):
            raise ValueError(f"{component.name}: {label} must read module:Class")
    return component


def _insist(plugin: Plugin) -> None:
    """Raise `PluginError` if a plugin that must load did not."""
    if plugin.status not in ("ok", "blocked"):
        fact = f"plugin {plugin.distribution} ({plugin.origin}) did not load ({plugin.status}): {plugin.error}"
        raise PluginError.of("RC070", fact)


def _from_file(path: Path, name: str) -> Any:
    """Import a local plugin file under a module name of its own."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise ImportError(f"{path} is not a Python file that can be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _mark(plugin: Plugin, status: Status, error: str = "", details: str = "", start: float | None = None) -> Plugin:
    spent = (time.perf_counter() - start) * 1000 if start is not None else 0.0
    return replace(plugin, status=status, error=error, details=details, milliseconds=spent)


def _names(text: str) -> frozenset[str]:
    return frozenset(_canonical(part) for part in text.split(",") if part.strip())


def _canonical(name: str) -> str:
    """Return a distribution's name as installers compare it: case, `-`, `_` and `.` make no difference."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _brief(error: BaseException) -> str:
    """Return an error in a line, with the place in the plugin's own code where it arose."""
    text = " ".join(str(error).split())
    brief = f"{type(error).__name__}: {text[:300]}" if text else type(error).__name__
    ours = (__file__, "<", importlib.__path__[0], pluggy.__path__[0], importlib.metadata.__path__[0])
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(ours)]
    return f"{brief} ({frames[-1].filename}:{frames[-1].lineno})" if frames else brief


@contextlib.contextmanager
def _quiet(sink: io.StringIO | None = None) -> Iterator[None]:
    """Keep what a plugin prints out of the command's own output, which may be JSON."""
    sink = sink or io.StringIO()
    with contextlib.redirect_stdout(sink), contextlib.redirect_stderr(sink):
        yield
