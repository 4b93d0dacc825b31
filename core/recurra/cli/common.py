"""What commands share: JSON and the option that asks for it, and a whole list of commands."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]

Override = Annotated[
    list[str],
    typer.Option(
        "-o", "--override", help="Change a key: -o cell.hidden_size=64", metavar="KEY=VALUE"
    ),
]

RunPath = Annotated[
    Path, typer.Argument(help="A run's folder, or a task's for its newest run.", metavar="RUN")
]
Seed = Annotated[
    int | None, typer.Option("--seed", min=0, help="Where all random numbers come from.")
]

Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run local plugin files that were edited since as they are now."),
]

TrustEdited = Annotated[
    bool, typer.Option("--trust", help="Go on with local plugin files that were edited since.")
]

Jobs = Annotated[
    int | None, typer.Option("--jobs", min=1, help="Trials beside each other; as many as cores.")
]
On = Annotated[
    str, typer.Option("--on", help="Make trials here, or on a Ray cluster.", metavar="here|ray")
]

Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="Tell a tracker, in place of those of the task: csv, 'mlflow(experiment=x)'",
        metavar="KIND",
    ),
]

LevelsAsked = Annotated[
    str | None,
    typer.Option(
        "--levels",
        help="Per cent that intervals of forecasts hold; 80,95 where there are such.",
        metavar="N,N",
    ),
]


def tracked(track: list[str] | None) -> list[str] | None:
    """Return what `--track` asks for, each with how it was said; None where nothing is asked."""
    from recurra.spec.overrides import Said

    return [Said(text, f"--track {text}") for text in track or ()] or None


class Commands(TyperGroup):
    """A group whose help gives the whole summary of each command, however narrow the terminal."""

    def invoke(self, ctx: Any) -> Any:
        """Call a command. Raises `Stopped` for a request to end, of which typer tells no signal."""
        from recurra.cli.ending import Stopped

        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as request:
            raise Stopped(request) from None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        rows = []
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command and not command.hidden:
                rows.append((name, command.get_short_help_str(limit=1000)))

        with formatter.section("Commands"):
            formatter.write_dl(rows)


def print_json(value: Any) -> None:
    """Print one JSON object on a line, with escapes where the terminal lacks characters."""
    from recurra.runs.files import finite

    escaped = not speaks_unicode()
    text = json.dumps(finite(value), ensure_ascii=escaped, allow_nan=False)
    sys.stdout.write(f"{text}\n")


def speaks_unicode() -> bool:
    """Tell whether stdout takes every character."""
    encoding = sys.stdout.encoding or ""
    return "utf" in encoding.lower()


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: `1 check`, `2 checks`."""
    plural = "" if count == 1 else "s"
    return f"{count:,} {noun}{plural}"
