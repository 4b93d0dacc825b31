"""The commands `runs` and `diff`, and how what they find is printed."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from recurra.cli.common import Json, counted, print_json
from recurra.cli.visible import visible
from recurra.errors import InputError

SHOWN = ("run", "cell", "parameters", "value", "baseline", "steps", "when", "state")
"""The columns of the table; `--json` and `--csv` have all."""
FIGURE = "value"
WHOLE = ("parameters", "steps", "when", "state")
NUMBERS = ("parameters", "value", "steps", "baseline_value")
_BETTER = {"first": "  (worse)", "second": "  (better)"}
LONGEST = 60
"""Characters of a value of a task that are printed."""


def runs(
    folder: Annotated[
        Path, typer.Argument(help="A folder of runs, a task's folder, or a run.", metavar="FOLDER")
    ] = Path("runs"),
    where: Annotated[
        list[str],
        typer.Option(
            "--where",
            help="Only runs of which it holds: cell=lstm, value<1.5, task=hello_*; may come again.",
            metavar="KEY=VALUE",
        ),
    ] = [],  # noqa: B006
    sort: Annotated[
        str | None,
        typer.Option(
            help="Order by a column, a figure (metrics.accuracy), or a key of the task.",
            metavar="KEY",
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The largest first.")] = False,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print all columns as csv.")] = False,
) -> None:
    """List runs with their figures, baselines and states; sort and filter them."""
    from recurra.runs.listing import runs_in

    if as_json and as_csv:
        raise InputError.of("RC080", "--json and --csv are two forms of one list", cure="name one")
    rows = runs_in(folder, where=where, sort=sort, reverse=reverse)
    if as_json:
        print_json({"folder": str(folder), "runs": rows})
    elif as_csv:
        print(_csv(rows), end="")
    else:
        _show(rows, folder, bool(where))


def _csv(rows: list[dict[str, Any]]) -> str:
    """Return all rows as csv: the fields, then each figure that any of them has."""
    from recurra.runs.listing import FIELDS

    figures = list(dict.fromkeys(name for row in rows for name in row["metrics"]))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*FIELDS, *(f"metrics.{name}" for name in figures)])
    for row in rows:
        cells = [row[key] for key in FIELDS] + [row["metrics"].get(name) for name in figures]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return out.getvalue()


def _show(rows: list[dict[str, Any]], folder: Path, filtered: bool) -> None:
    """Print the table, and a line for each run that is not finished."""
    from recurra.cli.printing import empty_table, out

    if not rows and filtered:
        print(visible(f"none of the runs in {folder} is such a one"))
        return
    if not rows:
        print(visible(f"there are no runs in {folder}: `recurra run TASK.toml` makes one"))
        return

    table = empty_table(None)
    for column in SHOWN:
        justify: Any = "right" if column in NUMBERS else "left"
        table.add_column(column, justify=justify, no_wrap=column in WHOLE, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row, column) for column in SHOWN))
    out(table)
    for row in rows:
        if row["why"] is not None:
            print(_line(f"{row['run']}: {row['state']}: {row['why']}"))
    beaten = sum(row["beats_baselines"] is True for row in rows)
    judged = sum(row["baseline"] is not None for row in rows)
    print(f"{counted(len(rows), 'run')}; {beaten} of {judged} beat their best baseline")


def _cell(row: dict[str, Any], name: str) -> str:
    value = row[name]
    if value is None:
        return ""
    if name == "baseline":
        sign = {True: "beats ", False: "behind "}.get(row["beats_baselines"], "")
        figure = row["baseline_value"]
        return _line(f"{sign}{value}{'' if figure is None else f' {figure:z.4g}'}")
    if name == FIGURE:
        return f"{value:z.4g} {_line(str(row['metric']))}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if name == "when":
        return str(value)[:10]
    return _line(str(value))


def _line(text: str) -> str:
    return visible(text).replace("\n", r"\n")


def diff(
    first: Annotated[
        Path, typer.Argument(help="A run, a task's newest, or a bundle.", metavar="RUN")
    ],
    second: Annotated[Path, typer.Argument(help="The one beside it.", metavar="RUN")],
    as_json: Json = False,
) -> None:
    """Say what differs between two runs: task, data, versions, environment, figures."""
    from recurra.runs.differing import SECTIONS
    from recurra.runs.differing import diff as differing

    found = differing(first, second)
    if as_json:
        print_json(found)
        return

    one, other = (_line(path) for path in found["runs"])
    print(f"{one} -> {other}")
    for section in SECTIONS:
        lines = found["sections"][section]
        if not lines:
            continue
        print(section)
        width = max(len(line["key"]) for line in lines)
        for line in lines:
            before, after = (_value(line[side]) for side in ("before", "after"))
            better = {"first": "  (worse)", "second": "  (better)"}.get(
                line.get("better") or "", ""
            )
            print(_line(f"  {line['key']:<{width}}  {before} -> {after}{better}"))
    for note in found["notes"]:
        print(_line(f"  note: {note}"))
    if found["same"]:
        print("nothing differs")
    else:
        same = [name for name in SECTIONS if not found["sections"][name]]
        if same and len(same) < len(SECTIONS):
            print(f"the same: {', '.join(same)}")


def _value(value: Any) -> str:
    """Return a value in a few characters; `-` where a run does not say."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:z.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."
