"""What is wrong with the plugins that are installed, found before a task stumbles over it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import recurra
from recurra.catalog import HOME, Catalog, Entry, Plugin, Policy, discover
from recurra.catalog.loading import canonical
from recurra.contracts.component import API
from recurra.errors import PluginError, Problem
from recurra.surroundings import odd_variables

SLOW = 100.0
"""Milliseconds that a plugin may take to load: every command waits for it."""

VARIABLES = ("RECURRA_PLUGINS", "RECURRA_PLUGINS_BLOCK")


@dataclass(frozen=True)
class Finding:
    """Something about a plugin, a name or a variable that is wrong, or only worth knowing.

    What is wrong is a fault, and the rest is a note.
    """

    about: str
    fact: str
    cure: str = ""
    fault: bool = True


@dataclass(frozen=True)
class Report:
    """Everything that was found, and how much was looked at."""

    plugins: int
    components: int
    findings: tuple[Finding, ...]

    @property
    def faults(self) -> list[Finding]:
        """What is wrong."""
        return [finding for finding in self.findings if finding.fault]

    @property
    def notes(self) -> list[Finding]:
        """What is worth knowing."""
        return [finding for finding in self.findings if not finding.fault]

    def record(self) -> dict[str, Any]:
        """Return the report as plain data, for `--json`."""
        counts = {"plugins": self.plugins, "components": self.components}
        counts |= {"faults": len(self.faults), "notes": len(self.notes)}
        return {"findings": [asdict(finding) for finding in self.findings], **counts}


def examine() -> Report:
    """Load every plugin and import every component; report what is wrong with them.

    A plugin that may not load is left alone. A plugin that fails stops nothing here, under
    RECURRA_PLUGINS_STRICT neither.
    """
    catalog = discover(policy=replace(Policy.from_environment(), strict=False))
    findings = list(variables(catalog))
    findings += _names(catalog)
    for plugin in catalog.plugins:
        findings += _plugin(plugin)
    for entry in catalog.entries:
        findings += _component(entry)
    findings += _certificates(catalog)
    once_each = tuple(dict.fromkeys(findings))
    return Report(len(catalog.plugins), len(catalog.entries), once_each)


def variables(catalog: Catalog) -> Iterator[Finding]:
    """Give the variables that are odd.

    They are unknown, without meaning, or have names in them that mean no plugin.
    """
    for oddity in odd_variables():
        # Each begins with the variable: `NAME is ...` or `NAME='value' ...`.
        name = oddity.partition(" ")[0].partition("=")[0]
        yield Finding(name, oddity, "change or unset it")
    yield from names_in_variables(catalog)


def names_in_variables(catalog: Catalog) -> Iterator[Finding]:
    """Give the names in the variables that mean no plugin: misspelt, or not installed."""
    installed = set()
    for plugin in catalog.plugins:
        installed |= {canonical(plugin.distribution), canonical(plugin.name)}
    cure = "`recurra plugins list` shows them; write one of these, or leave it out"
    for variable in VARIABLES:
        for part in os.environ.get(variable, "").split(","):
            name = part.strip()
            if name and canonical(name) not in installed:
                fact = f"{name!r} is the name of no distribution or entry point that is installed"
                yield Finding(variable, fact, cure)


def _names(catalog: Catalog) -> Iterator[Finding]:
    """Give the names that several distributions offer.

    Some of them mean recurra's own component.
    """
    offered: dict[tuple[str, str], list[Entry]] = {}
    for entry in catalog.entries:
        key = (entry.component.kind, entry.component.name)
        offered.setdefault(key, []).append(entry)

    for (kind, name), entries in offered.items():
        others = [entry for entry in entries if entry.plugin.distribution != HOME]
        owners = " and ".join(_named(entry.plugin) for entry in others)
        names = " or ".join(f'"{entry.qualified}"' for entry in others)
        if not others or len(entries) == 1:
            continue
        if len(others) == len(entries):
            fact = f"{owners} offer it: a task that names it so is refused"
            cure = f"write {names} in task files, or uninstall all but one"
            yield Finding(f"{kind} {name}", fact, cure)
        else:
            # recurra's own is among them, and a name that it has means that one.
            fact = f"{owners} offers it too, but {name!r} alone always means recurra's"
            yield Finding(f"{kind} {name}", fact, f"write {names} for the other", fault=False)


def _plugin(plugin: Plugin) -> Iterator[Finding]:
    """Give what is wrong with how a plugin loads."""
    about = _named(plugin)
    out = f"uninstall it, or keep it out with RECURRA_PLUGINS_BLOCK={plugin.distribution}"
    if plugin.status == "blocked":
        cure = "change or unset that variable to let it load"
        yield Finding(about, f"it may not load, {plugin.error}", cure, fault=False)
    elif plugin.status == "incompatible":
        cure = (
            f"install a release of {plugin.distribution} for API {API[0]}, or another recurra; or"
            f" {out}"
        )
        yield Finding(about, f"it did not load: {plugin.error}", cure)
    elif plugin.status != "ok":
        fact = f"it did not load ({plugin.status}): {plugin.error}"
        yield Finding(about, fact, f"mend it, {out}")

    for warning in plugin.warnings:
        cure = f"the module {plugin.origin} should offer components, as data, and do nothing else"
        yield Finding(about, f"it {warning}", cure)
    if plugin.status == "ok" and plugin.milliseconds > SLOW:
        # The machine may have been busy: it is timed once more before anything is said.
        spent = min(plugin.milliseconds, _time_again(plugin))
        if spent > SLOW:
            fact = (
                f"it takes {spent:.0f} ms to load, more than {SLOW:.0f}: every command waits for it"
            )
            cure = f"import in {plugin.origin} nothing but recurra, and the rest where it is used"
            yield Finding(about, fact, cure)


TIMED = """
import time
import pydantic, recurra.contracts.component, recurra.contracts.hooks, recurra.contracts.options
start = time.perf_counter()
load(*argument)
tell((time.perf_counter() - start) * 1000)
"""


def _time_again(plugin: Plugin) -> float:
    """Return the milliseconds of importing a plugin's module in a fresh process.

    The machine may have been busy when it was imported here.
    """
    from recurra.testing import child
    from recurra.testing.check import Broken

    module = plugin.origin.partition(":")[0]
    try:
        return float(child.run(TIMED, (module, "", "")))
    except Broken:
        return plugin.milliseconds


def _component(entry: Entry) -> Iterator[Finding]:
    """Give what is wrong with a component, as it is declared and once it is imported."""
    about = _named(entry.plugin)
    component = entry.component
    if not re.fullmatch(r"\d+\.\d+", component.api):
        fact = f"{entry.qualified}: api {component.api!r} must read MAJOR.MINOR"
        yield Finding(about, fact, f'write api = "{API[0]}.{API[1]}"')
    elif int(component.api.split(".")[1]) > API[1]:
        fact = (
            f"{entry.qualified} was written for plugin API {component.api}, and this recurra has"
            f" {API[0]}.{API[1]}: it may ask for what is not here"
        )
        yield Finding(about, fact, "upgrade recurra", fault=False)

    # Target and options may stand in one module, whose fault is then told once.
    cures: dict[str, str] = {}
    for part in ("target", "options"):
        for problem in _unimportable(entry, part):
            cures[problem.fact] = problem.cure
    for fact, cure in cures.items():
        yield Finding(about, fact, cure or f"mend {component.options}")
    if not cures:
        yield from _declarations(entry, about)


def _unimportable(entry: Entry, part: str) -> Iterator[Problem]:
    """Give the problems of importing a component's target or options."""
    try:
        getattr(entry, part)
    except PluginError as error:
        yield from error.problems


def _declarations(entry: Entry, about: str) -> Iterator[Finding]:
    """Give where a component is not what it says: its class, its promises, its waivers.

    What it promises is what it lacks and what it claims.
    """
    from recurra.contracts import declared
    from recurra.testing.suite import misdeclared

    name = entry.qualified
    base = getattr(recurra, entry.component.kind.capitalize())
    target = entry.target
    cure = f"mend {entry.component.target}"
    if not isinstance(target, type) or not issubclass(target, base):
        fact = f"{name}: {entry.component.target} is not a subclass of recurra.{base.__name__}"
        yield Finding(about, fact, cure)
    elif missing := sorted(getattr(target, "__abstractmethods__", ())):
        fact = f"{name}: {target.__name__} does not define {', '.join(missing)}"
        yield Finding(about, fact, cure)
    else:
        for fault in declared.misdeclared(target):
            yield Finding(about, f"{name}: {fault}", cure)

    for fault in misdeclared(entry.component):
        yield Finding(about, f"{name} {fault}", f"mend its Component in {entry.plugin.origin}")


UNPROVED = {
    "unproved": "no certificate of the contract suite",
    "stale": (
        "a certificate of the contract suite that was given to other code, or by an earlier suite"
    ),
}


def _certificates(catalog: Catalog) -> Iterator[Finding]:
    """Give the components whose certificate says that they fail.

    Those that have none that counts are given by distribution. recurra's own are held to the suite
    by its tests, and need no certificate.
    """
    from recurra.testing.certificate import standing

    lacking: dict[tuple[str, str], list[str]] = {}
    for entry in catalog.entries:
        about = _named(entry.plugin)
        certificate = standing(entry)
        needs_one = certificate.state == "stale" or entry.plugin.distribution != HOME
        if certificate.state in UNPROVED and needs_one:
            key = (about, UNPROVED[certificate.state])
            lacking.setdefault(key, []).append(entry.qualified)
        elif certificate.state == "failed":
            failed = certificate.failed
            fact = (
                f"{entry.qualified} fails {' '.join(failed)} of the contract suite, its"
                " certificate says"
            )
            yield Finding(about, fact, f"`recurra plugins explain {failed[0]}` tells what and how")

    for (about, what), names in lacking.items():
        cure = f"`recurra plugins check {names[0]} --level full --certify` gives one"
        yield Finding(about, f"{what}: {', '.join(names)}", cure, fault=False)


def _named(plugin: Plugin) -> str:
    return f"{plugin.distribution} {plugin.version}"
