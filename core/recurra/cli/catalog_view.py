"""How plugins and their components are printed."""

from __future__ import annotations

from typing import Any

from recurra.catalog import Catalog, Entry
from recurra.doctor import names_in_variables
from recurra.errors import InputError, nearest
from recurra.errors import listing as listed
from recurra.testing.certificate import standing


def as_data(catalog: Catalog) -> dict[str, Any]:
    """Return plugins and components as plain data."""
    return {
        "plugins": [
            {name: value for name, value in vars(plugin).items() if name != "details"}
            for plugin in catalog.plugins
        ],
        "components": [
            {
                "kind": entry.component.kind,
                "name": entry.component.name,
                "qualified": entry.qualified,
                "version": entry.plugin.version,
                "summary": entry.component.summary,
                "cite": entry.component.cite,
                "contract": vars(standing(entry)),
            }
            for entry in catalog.entries
        ],
    }


def listing(catalog: Catalog) -> None:
    """Print every component by kind, with what the contract suite found, then what is wrong with
    any plugin.
    """
    kinds = dict.fromkeys(entry.component.kind for entry in catalog.entries)
    for kind in kinds:
        print(f"{kind}:")
        for entry in catalog.of_kind(kind):
            plugin = entry.plugin
            name = catalog.name_of(entry)
            proof = str(standing(entry))
            print(
                f"  {name:16} {plugin.distribution} {plugin.version}  {proof:10} "
                f" {entry.component.summary}"
            )
            if name == entry.qualified:
                print(
                    f"  {'':16} {entry.component.name} alone does not mean this one: it is offered"
                    " more than once"
                )
    for plugin in catalog.plugins:
        where = f"{plugin.distribution} {plugin.version} ({plugin.name} = {plugin.origin})"
        if plugin.status != "ok":
            print(
                f"not loaded: {where}: {plugin.status}{': ' + plugin.error if plugin.error else ''}"
            )
        for warning in plugin.warnings:
            print(f"warning: {where}: {warning}")
    for finding in names_in_variables(catalog):
        print(f"warning: {finding.about}: {finding.fact}")


def find(catalog: Catalog, name: str) -> list[Entry]:
    """Return the components of a name. Raises `InputError` (RC020)."""
    found = catalog.named(name)
    if not found:
        names = {entry.component.name for entry in catalog.entries}
        raise InputError.of(
            "RC020",
            f"no component is called {name!r}",
            allowed=listed(names, 99),
            nearest=nearest(name, names),
        )
    return found


def component_data(catalog: Catalog, entry: Entry) -> dict[str, Any]:
    """Return a component with its options as plain data."""
    from recurra.schema import option_rows

    rows = [
        dict(zip(("name", "allowed", "default", "description"), row, strict=True))
        for row in option_rows(entry.options)
    ]
    return {
        "kind": entry.component.kind,
        "qualified": entry.qualified,
        "version": entry.plugin.version,
        "summary": entry.component.summary,
        "cite": entry.component.cite,
        "options": rows,
        "table": paste(entry, catalog.name_of(entry)),
    }


def component(catalog: Catalog, entry: Entry) -> None:
    """Print a component: what it is, its options, and a table to paste."""
    data = component_data(catalog, entry)
    print(f"{data['kind']} {data['qualified']} {data['version']}: {data['summary']}")
    if data["cite"]:
        print(f"  {data['cite']}")
    for option in data["options"]:
        default = option["default"] or "unset"
        print(
            f"  {option['name']:16} {option['allowed']}; default {default}\n  {'':16}"
            f" {option['description']}"
        )
    print(f"\n{data['table']}")


def paste(entry: Entry, name: str) -> str:
    """Return a table with every option at its default, ready to be pasted; what has none stands as
    a comment.
    """
    from recurra.schema import option_rows

    lines = [f"[{entry.component.kind}]", f'kind = "{name}"']
    for option, allowed, default, _ in option_rows(entry.options):
        unset = default in ("", "required")
        lines.append(
            f"# {option} = ...  # {allowed}{', required' if default else ''}"
            if unset
            else f"{option} = {default}"
        )
    return "\n".join(lines)
