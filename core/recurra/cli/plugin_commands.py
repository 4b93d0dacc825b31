"""The commands about plugins: what is installed, what it can do, whether it keeps its contract."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recurra.cli.common import Commands, Json, print_json

plugins_app = typer.Typer(
    cls=Commands,
    help="What is installed, and what it can do.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
File = Annotated[
    list[Path],
    typer.Option("--file", help="A local plugin file or folder, as [plugins] of a task names."),
]


@plugins_app.command("list")
def plugins_list(file: File = [], as_json: Json = False) -> None:  # noqa: B006
    """List every plugin and component, also those that did not load, and why."""
    from recurra.catalog import discover
    from recurra.cli import catalog_view, local

    catalog = discover(local.found(file))
    print_json(catalog_view.as_data(catalog)) if as_json else catalog_view.listing(catalog)


@plugins_app.command("show")
def plugins_show(
    name: Annotated[str, typer.Argument(help="A component, short or qualified.")],
    file: File = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Show a component's options, and a table that is ready to be pasted into a task file."""
    from recurra.catalog import discover
    from recurra.cli import catalog_view, local

    name, files = local.named(name, file)
    catalog = discover(files)
    with local.hinted("show", name, files):
        entries = catalog_view.find(catalog, name)

    if as_json:
        components = [catalog_view.component_data(catalog, entry) for entry in entries]
        print_json({"components": components})
        return
    for entry in entries:
        catalog_view.component(catalog, entry)


@plugins_app.command("new")
def plugins_new(
    name: Annotated[str, typer.Argument(help="What a task file will call the component: my_cell.")],
    kind: Annotated[
        str, typer.Option(help="cell, encoder, source, loss, target, tracker or vocabulary.")
    ],
    form: Annotated[
        str | None, typer.Option(help="Of a cell: cell, gated (the default) or scan.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a distribution with one component, which works and passes its tests, as a start."""
    from recurra.cli import plugin_view
    from recurra.scaffold.project import create

    folder, *written = create(name, kind, form, Path())
    if as_json:
        paths = [str(path) for path in written]
        print_json({"folder": str(folder), "written": paths})
    else:
        plugin_view.written(name, folder, written)


@plugins_app.command("doctor")
def plugins_doctor(as_json: Json = False) -> None:
    """Find what is wrong with any plugin, and say how to mend it; fails if anything is."""
    from recurra.cli import plugin_view
    from recurra.doctor import examine

    report = examine()
    print_json(report.record()) if as_json else plugin_view.report(report)
    if report.faults:
        raise typer.Exit(1)


@plugins_app.command("check")
def plugins_check(
    name: Annotated[str, typer.Argument(help="A component, short or qualified.")],
    kind: Annotated[
        str | None, typer.Option(help="Which one, where several kinds have this name.")
    ] = None,
    level: Annotated[
        str, typer.Option(help="core: quick; full: compiling, exporting and learning too.")
    ] = "core",
    file: File = [],  # noqa: B006
    only: Annotated[
        list[str], typer.Option("-k", metavar="ID", help="Only these checks: -k C02,C07")
    ] = [],  # noqa: B006
    certify: Annotated[
        bool, typer.Option("--certify", help="Write contract.json beside the component.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Hold a component to the contract of its kind: each check, what was measured, and the
    bound.
    """
    from recurra.cli import contract_view, local

    ids: list[str] = []
    for part in only:
        ids += part.split(",")

    name, files = local.named(name, file)
    with local.hinted("check", name, files):
        reports = contract_view.check(
            name, kind, level, files, ids or None, certify=certify, quiet=as_json
        )

    ok = all(report.ok for report in reports)
    if as_json:
        print_json({"ok": ok, "reports": [report.data() for report in reports]})
    if not ok:
        raise typer.Exit(1)


@plugins_app.command("explain")
def plugins_explain(
    code: Annotated[
        str, typer.Argument(help="A code of an error, such as RC011, or a check, such as C07.")
    ],
) -> None:
    """Explain an error, or a check of the contract suite: the law, why it matters, how to mend."""
    from recurra.errors import CODES

    code = code.upper()
    if code in CODES:
        print(f"{code}: {CODES[code]}")
        return

    # A check is known to the suite, which imports torch.
    from recurra.cli import contract_view

    contract_view.explain(code)
