"""From entry points and files to a catalog of components.

Each plugin is isolated, timed, and refused where it breaks the contract.
"""

from __future__ import annotations

import os
import re
import sys
import time
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import EntryPoint, distributions, entry_points
from pathlib import Path
from typing import Any, NamedTuple

import pluggy

from recurra.catalog import local
from recurra.catalog.entries import HOME, Catalog, Entry, Plugin, Status
from recurra.catalog.loading import Sink, brief, canonical, contained, watched
from recurra.contracts.component import API, KINDS, Component, misnamed
from recurra.contracts.hooks import PROJECT, Hooks
from recurra.errors import PluginError
from recurra.surroundings import identity

GROUP = "recurra.plugins"
NAME = re.compile(r"[a-z][a-z0-9_]*")
BLOCKED = "by RECURRA_PLUGINS or RECURRA_PLUGINS_BLOCK"


@dataclass(frozen=True)
class Policy:
    """Which plugins may load: all, or those allowed, less those blocked.

    They go by distribution or by entry-point name.
    """

    allow: frozenset[str] | None = None
    block: frozenset[str] = frozenset()
    strict: bool = False

    @classmethod
    def from_environment(cls) -> Policy:
        """Read `RECURRA_PLUGINS`, `RECURRA_PLUGINS_BLOCK` and `RECURRA_PLUGINS_STRICT`."""
        allowed = os.environ.get("RECURRA_PLUGINS")
        allow = None if allowed is None else _names(allowed)
        block = _names(os.environ.get("RECURRA_PLUGINS_BLOCK", ""))
        strict = os.environ.get("RECURRA_PLUGINS_STRICT", "") == "1"
        return cls(allow, block, strict)

    def blocks(self, distribution: str, name: str) -> bool:
        """Tell whether a plugin may not load; recurra's own are never blocked by an allow-list."""
        names = {canonical(distribution), canonical(name)}
        if names & self.block:
            return True
        if self.allow is None or distribution == HOME:
            return False
        return not names & self.allow


def discover(files: Iterable[Path] = (), policy: Policy | None = None) -> Catalog:
    """Load every plugin that the policy allows, and the local `files` and folders of a task.

    A plugin that fails loses only itself: the catalog records why. Raises `PluginError` (RC070)
    under a strict policy, and for a local one, which the task asked for by name.
    """
    policy = policy or Policy.from_environment()
    catalog = Catalog()
    for offer in _offers(catalog):
        plugin = offer.plugin
        if policy.blocks(plugin.distribution, plugin.name):
            catalog.plugins.append(_mark(plugin, "blocked", BLOCKED))
            continue
        _admit(catalog, plugin, partial(_from_point, offer.point))
        if policy.strict:
            _insist(catalog.plugins[-1])

    # A file that is named twice, or by a link too, is one.
    paths = {os.path.realpath(path): path for path in files}
    for path in paths.values():
        version = f"sha256:{local.digest(path)}"
        plugin = Plugin(path.stem, f"file:{path.name}", version, str(path))
        _admit(catalog, plugin, partial(local.load, path, plugin.module))
        _insist(catalog.plugins[-1])
    return catalog


class Offer(NamedTuple):
    """An entry point, and the plugin that it would be."""

    point: EntryPoint
    plugin: Plugin


def _offers(catalog: Catalog) -> list[Offer]:
    """Return the entry points with their plugins, by distribution and name."""
    # The metadata of a distribution is a file: it is read once for all its entry points.
    identities: dict[int, tuple[str, str]] = {}
    offers = []
    for point in _points(catalog):
        owner = id(point.dist)
        if owner not in identities:
            identities[owner] = _identity(point)
        distribution, version = identities[owner]
        offers.append(Offer(point, Plugin(point.name, distribution, version, point.value)))
    return sorted(offers, key=_place_of)


def _place_of(offer: Offer) -> tuple[str, str]:
    return offer.plugin.distribution, offer.plugin.name


def _points(catalog: Catalog) -> list[EntryPoint]:
    """Return the entry points of the group.

    A distribution whose own list cannot be read is put on record.
    """
    try:
        return list(entry_points(group=GROUP))
    except Exception:
        # One damaged distribution, with a plugin or without, must not hide all the others.
        points: list[EntryPoint] = []

    seen = set()
    for distribution in distributions():
        name, version = identity(distribution)
        # The first on the path is the one that is imported.
        if canonical(name) in seen:
            continue
        seen.add(canonical(name))
        try:
            points += distribution.entry_points.select(group=GROUP)
        except Exception as error:
            plugin = Plugin("?", name, version, "entry_points.txt", "invalid", brief(error))
            catalog.plugins.append(plugin)
    return points


def _identity(point: EntryPoint) -> tuple[str, str]:
    """Return name and version of the distribution of an entry point."""
    return ("unknown", "0") if point.dist is None else identity(point.dist)


def _from_point(point: EntryPoint) -> Any:
    """Return what an entry point names. Raises `ValueError` where it names nothing."""
    if not point.pattern.match(point.value):
        raise ValueError(f"its entry point reads {point.value!r}, and not module or module:name")
    return point.load()


def _admit(catalog: Catalog, plugin: Plugin, load: Any) -> None:
    """Load one plugin into the catalog, with pluggy checking its hook against the specification."""
    start = time.perf_counter()
    printed = Sink()
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    without_torch = "torch" not in sys.modules
    # What it is called if the next step fails.
    status: Status = "import error"
    try:
        with _watching(plugin), contained(printed) as changed:
            manager.register(load(), name=f"{plugin.distribution}:{plugin.name}")
            manager.check_pending()
            status = "hook error"
            offered: list[Any] = []
            for components in manager.hook.recurra_components():
                offered += components
        status = "invalid"
        entries = [Entry(_valid(component), plugin) for component in offered]
        _once(catalog.entries, entries)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        # Whatever a plugin raises: it loses only itself.
        if isinstance(error, _Incompatible):
            status = "incompatible"
        catalog.plugins.append(
            _mark(plugin, status, plugin.brief(error), traceback.format_exc(), start)
        )
        return

    heavy = without_torch and "torch" in sys.modules
    complaints = _complaints(entries, printed.getvalue(), heavy, changed)
    loaded = replace(_mark(plugin, "ok", start=start), warnings=complaints)
    catalog.plugins.append(loaded)
    catalog.entries += [Entry(entry.component, loaded) for entry in entries]


def _watching(plugin: Plugin) -> AbstractContextManager[None]:
    """Return what tells of a plugin that takes long to load, unless it is imported already."""
    if plugin.origin.partition(":")[0] in sys.modules:
        return nullcontext()
    return watched(f"plugin {plugin.distribution} {plugin.version}")


def _complaints(
    entries: list[Entry], printed: str, heavy: bool, changed: list[str]
) -> tuple[str, ...]:
    """Return what is worth saying of a plugin that did load."""
    complaints = []
    lines = printed.strip().splitlines()
    if lines:
        complaints.append(f"printed while it was loaded: {lines[0][:80]!r}")
    if heavy:
        complaints.append("imports torch when it is listed, which makes every command slow")
    complaints += [f"when it is loaded, it changes {what}" for what in changed]
    if not entries:
        complaints.append("offers no component")
    return tuple(complaints)


def _once(old: list[Entry], new: list[Entry]) -> None:
    """Raise `ValueError` if a qualified name would no longer mean one component."""
    names = {f"{entry.component.kind} {entry.qualified}" for entry in old}
    for entry in new:
        name = f"{entry.component.kind} {entry.qualified}"
        if name in names:
            raise ValueError(f"{name} is offered twice")
        names.add(name)


class _Incompatible(Exception):
    pass


def _valid(component: Any) -> Component:
    """Return a component as a plugin gave it, if it keeps the contract.

    Raises `TypeError` or `ValueError`.
    """
    if not isinstance(component, Component):
        raise TypeError(f"recurra_components gave {type(component).__name__}, not a Component")
    name = component.name
    major = str(component.api).split(".")[0]
    # First of all: under another version of the contract all else may mean something else.
    if major != str(API[0]):
        raise _Incompatible(
            f"{name} was written for plugin API {component.api}; this recurra has {API[0]}.{API[1]}"
        )
    if component.kind not in KINDS:
        raise ValueError(f"{name}: kind {component.kind!r} is not one of {', '.join(KINDS)}")
    if not NAME.fullmatch(name):
        raise ValueError(f"name {name!r} must be lower case letters, digits and _")

    for label in ("target", "options"):
        if not re.fullmatch(r"[\w.]+:\w+", getattr(component, label)):
            raise ValueError(f"{name}: {label} must read module:Class")
    for label in ("summary", "cite"):
        text = getattr(component, label)
        if not isinstance(text, str):
            raise TypeError(f"{name}: {label} must be text, not {text!r}")
    if fault := misnamed(component):
        raise ValueError(f"{name}: {fault}")
    return component


def _insist(plugin: Plugin) -> None:
    """Raise `PluginError` if a plugin that must load did not."""
    if plugin.status in ("ok", "blocked"):
        return
    fact = (
        f"plugin {plugin.distribution} ({plugin.origin}) did not load ({plugin.status}):"
        f" {plugin.error}"
    )
    cure = f"mend, update or uninstall {plugin.distribution}"
    if plugin.is_local:
        cure = f"mend {plugin.origin}"
    raise PluginError.of("RC070", fact, cure=cure)


def _mark(
    plugin: Plugin, status: Status, error: str = "", details: str = "", start: float | None = None
) -> Plugin:
    """Return a plugin with what became of it; `start` is when its loading began."""
    spent = 0.0
    if start is not None:
        spent = (time.perf_counter() - start) * 1000
    return replace(plugin, status=status, error=error, details=details, milliseconds=spent)


def _names(text: str) -> frozenset[str]:
    return frozenset(canonical(part) for part in text.split(",") if part.strip())
