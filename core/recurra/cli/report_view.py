"""The commands `report` and `plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurra.cli.common import Json, RunPath, Trust, counted, print_json
from recurra.cli.visible import visible

if TYPE_CHECKING:
    from recurra.reporting.view import View


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Runs' folders, or tasks' for their newest runs; or that of a comparison.",
            metavar="RUN...",
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The file to write.", metavar="FILE.html")
    ] = Path("report.html"),
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Show runs, or a comparison, in one page of HTML, which holds all that it shows and needs no
    network.
    """
    from recurra.showing import reported

    made = reported(runs, output, trust)
    if as_json:
        print_json(
            {
                "report": str(made.path),
                "bytes": made.bytes,
                "pictures": made.pictures,
                "left_out": made.left_out,
            }
        )
        return
    print(f"wrote {made.path}: {made.bytes:,} bytes, {counted(len(made.pictures), 'picture')}")
    if made.left_out:
        names = ", ".join(made.left_out)
        print(visible(f"without {names}: the foot of the page says why"))


def plot(
    run: RunPath,
    name: Annotated[
        str | None,
        typer.Argument(help="What of it; without a name all are listed.", metavar="[NAME]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            help="The file to write: .svg, .png, or .csv for its data; NAME.svg by default.",
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(help="Of states and gates this layer alone; the lowest is 1.", min=1),
    ] = None,
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Draw one picture of a run into a file."""
    from recurra.reporting.saving import drawn
    from recurra.showing import view_of

    view = view_of(run, trust, None if name is None else layer)
    if name is None:
        _listed(view, as_json)
        return
    path = Path(f"{name}.svg") if output is None else output
    made = drawn(view, name, path)
    if as_json:
        titles = [panel.title for panel in made.panels]
        told = {"plot": str(path), "title": made.title, "panels": titles}
        print_json(told | ({"damage": view.damage} if view.damage else {}))
        return
    print(f"wrote {path}: {path.stat().st_size:,} bytes")
    for line in view.damage:
        print(visible(line))


def _listed(view: View, as_json: bool) -> None:
    """Print which pictures a run has, and why it has not the others."""
    from recurra.drawing import Picture
    from recurra.reporting.subjects import pictures

    rows = {
        subject.name: (subject.title, None if isinstance(made, Picture) else str(made))
        for subject, made in pictures(view)
    }
    if as_json:
        there = [name for name, (_, why) in rows.items() if why is None]
        lacking = {name: why for name, (_, why) in rows.items() if why is not None}
        print_json({"pictures": there, "left_out": lacking})
        return
    for name, (title, why) in rows.items():
        print(visible(f"{name:16} {title if why is None else f'not of this run: {why}'}"))
    for line in view.damage:
        print(visible(line))
