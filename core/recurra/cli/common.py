"""What commands share: how they print JSON, the option that asks for it, and a list of commands
that is not cut.
"""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on the last line.")]


class Commands(TyperGroup):
    """A group whose help gives the whole summary of each command, however narrow the terminal."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the list of commands."""
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        rows = [
            (name, one.get_short_help_str(limit=1000))
            for name, one in commands
            if one and not one.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


def print_json(value: Any) -> None:
    """Print one JSON object on a line, with escapes where the terminal lacks characters."""
    from recurra.runs.files import finite

    sys.stdout.write(
        json.dumps(finite(value), ensure_ascii=not speaks_unicode(), allow_nan=False) + "\n"
    )


def speaks_unicode() -> bool:
    """Tell whether stdout takes every character."""
    return "utf" in (sys.stdout.encoding or "").lower()
