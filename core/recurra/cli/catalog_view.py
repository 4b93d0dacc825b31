"""How plugins and their components are printed."""

from __future__ import annotations

from typing import Any

from recurra.catalog import Catalog, Entry, Plugin
from recurra.contracts.component import header
from recurra.doctor import names_in_variables
from recurra.errors import InputError, nearest
from recurra.errors import listing as listed
from recurra.testing.certificate import standing


def as_data(catalog: Catalog) -> dict[str, Any]:
    """Return plugins and components as plain data."""
    return {
        "plugins": [_plugin_data(plugin) for plugin in catalog.plugins],
        "components": [_entry_data(entry) for entry in catalog.entries],
    }


def _plugin_data(plugin: Plugin) -> dict[str, Any]:
    return {name: value for name, value in vars(plugin).items() if name != "details"}


def _entry_data(entry: Entry) -> dict[str, Any]:
    component = entry.component
    return {
        "kind": component.kind,
        "name": component.name,
        "qualified": entry.qualified,
        "version": entry.plugin.version,
        "summary": component.summary,
        "cite": component.cite,
        "contract": vars(standing(entry)),
    }


def listing(catalog: Catalog) -> None:
    """Print every component by kind, then what is wrong with any plugin.

    With each component stands what the contract suite found.
    """
    kinds = dict.fromkeys(entry.component.kind for entry in catalog.entries)
    for kind in kinds:
        print(f"{kind}:")
        for entry in catalog.of_kind(kind):
            _print_entry(entry, catalog.name_of(entry))

    for plugin in catalog.plugins:
        _print_faults(plugin)
    for finding in names_in_variables(catalog):
        print(f"warning: {finding.about}: {finding.fact}")


def _print_entry(entry: Entry, name: str) -> None:
    """Print a component under the shortest name that means it."""
    component, plugin = entry.component, entry.plugin
    version = f"{plugin.distribution} {plugin.version}"
    proof = str(standing(entry))
    print(f"  {name:16} {version}  {proof:10}  {component.summary}")

    if name == entry.qualified:
        reason = "it is offered more than once"
        print(f"  {'':16} {component.name} alone does not mean this one: {reason}")


def _print_faults(plugin: Plugin) -> None:
    where = f"{plugin.distribution} {plugin.version} ({plugin.name} = {plugin.origin})"
    if plugin.status != "ok":
        error = f": {plugin.error}" if plugin.error else ""
        print(f"not loaded: {where}: {plugin.status}{error}")
    for warning in plugin.warnings:
        print(f"warning: {where}: {warning}")


def find(catalog: Catalog, name: str) -> list[Entry]:
    """Return the components of a name. Raises `InputError` (RC020)."""
    entries = catalog.named(name)
    if entries:
        return entries

    names = {entry.component.name for entry in catalog.entries}
    fact = f"no component is called {name!r}"
    raise InputError.of("RC020", fact, allowed=listed(names, 99), nearest=nearest(name, names))


def component_data(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Return a component with its options as plain data."""
    from recurra.schema import option_rows

    keys = ("name", "allowed", "default", "description")
    rows = option_rows(entry.options)
    component = entry.component
    return {
        "kind": component.kind,
        "qualified": entry.qualified,
        "version": entry.plugin.version,
        "summary": component.summary,
        "cite": component.cite,
        "options": [dict(zip(keys, row, strict=True)) for row in rows],
        "table": paste(entry, catalog.name_of(entry)),
    }


def component(catalog: Catalog, entry: Entry) -> None:
    """Print a component: what it is, its options, and a table to paste."""
    from recurra.schema import option_rows

    component = entry.component
    print(f"{component.kind} {entry.qualified} {entry.plugin.version}: {component.summary}")
    if component.cite:
        print(f"  {component.cite}")

    for name, allowed, default, description in option_rows(entry.options):
        print(f"  {name:16} {allowed}; default {default or 'unset'}")
        print(f"  {'':16} {description}")

    table = paste(entry, catalog.name_of(entry))
    print(f"\n{table}")


def paste(entry: Entry, name: str) -> str:
    """Return a table with every option at its default, ready to be pasted.

    An option without a default stands as a comment.
    """
    from recurra.schema import option_rows

    lines = [header(entry.component.kind), f'kind = "{name}"']
    for option, allowed, default, _ in option_rows(entry.options):
        if default == "required":
            lines.append(f"# {option} = ...  # {allowed}, required")
        elif not default:
            lines.append(f"# {option} = ...  # {allowed}")
        else:
            lines.append(f"{option} = {default}")
    return "\n".join(lines)
