"""The command `sweep`, and how a sweep is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recurra.cli.common import Jobs, Json, On, Override, TrustEdited, print_json

if TYPE_CHECKING:
    from recurra.sweeping.results import Row, Sweep

SHOWN = 10
"""Trials in the table, the best first."""


def sweep(
    task: Annotated[
        Path, typer.Argument(help="The task file, or a sweep to go on with.", metavar="TASK|FOLDER")
    ],
    space: Annotated[
        Path | None, typer.Argument(help="The keys to vary, and how.", metavar="SPACE.toml")
    ] = None,
    jobs: Jobs = None,
    on: On = "here",
    sweeps: Annotated[Path, typer.Option(help="Where the folders of sweeps are made.")] = Path(
        "sweeps"
    ),
    folder: Annotated[
        Path | None,
        typer.Option(
            help="The folder of this sweep: whoever is told the same one makes its trials as well.",
            metavar="DIR",
        ),
    ] = None,
    trust: TrustEdited = False,
    override: Override = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Try values of a task's keys, as a space says, and judge the best once on the test split.

    Killed at any moment it goes on when its folder is swept; finished trials stay.
    """
    from recurra.cli.display import watcher
    from recurra.sweeping.asking import sweep as swept

    made = swept(
        task,
        space,
        list(override),
        jobs=jobs,
        on=on,
        sweeps=sweeps,
        folder=folder,
        trust=trust,
        observer=watcher(quiet=as_json),
    )
    print_json(made.as_data()) if as_json else show(made)


def show(sweep: Sweep) -> None:
    """Print the best trials of a sweep, and how the best of all was judged."""
    from recurra.cli.printing import empty_table, out
    from recurra.cli.visible import visible

    metrics = ", ".join(f"{name} ({better(way)})" for name, way in sweep.metrics.items())
    counts = ", ".join(f"{count} {state}" for state, count in sweep.counts.items() if count)
    out(f"\n{visible(sweep.task)}: {metrics} of validation; {len(sweep.trials)} trials: {counts}")
    shown = ordered(sweep)[:SHOWN]
    keys = list(dict.fromkeys(key for row in shown for key in row.values))
    table = empty_table("")
    for title in ("trial", *sweep.metrics, *_titles(keys)):
        table.add_column(visible(title), justify="right")
    for row in shown:
        figures = [_number(row.figures[name]) for name in sweep.metrics]
        values = [_value(row.values[key]) if key in row.values else "-" for key in keys]
        mark = "*" if row.number in sweep.front else ""
        table.add_row(*map(visible, (f"{mark}{row.number}", *figures, *values)))
    out(table)
    if len(sweep.metrics) > 1:
        out("* none is better in all metrics")

    for note in sweep.notes:
        out(f"note:      {visible(note)}")
    for name, value in sweep.test.items():
        if value is None or sweep.validation[name] is None:
            continue
        chosen = _number(sweep.validation[name])
        out(f"{name}: {chosen} on validation, which chose it; {_number(value)} on {sweep.split}")
    out(f"best:      trial {sweep.best}, {visible(sweep.folder)}/best.toml")
    out(f"verdict:   {visible(sweep.verdict)}")
    out(f"kept:      {visible(sweep.folder)}")


def _titles(keys: list[str]) -> list[str]:
    """Return the last part of each key, or all of it where another ends alike."""
    ends = [key.rpartition(".")[2] for key in keys]
    return [key if ends.count(end) > 1 else end for key, end in zip(keys, ends, strict=True)]


def better(way: str | float) -> str:
    """Return which way a figure is good, in words."""
    return f"{way} is better" if isinstance(way, str) else f"the nearer to {way:g} the better"


def ordered(sweep: Sweep) -> list[Row]:
    """Return the trials that came to their end: the front first, each by the first metric."""
    done = [row for row in sweep.trials if row.state == "done"]
    name, way = next(iter(sweep.metrics.items()))

    def rank(row: Row) -> tuple[bool, float]:
        value = row.figures[name]
        assert value is not None
        cost = abs(value - way) if isinstance(way, float) else -value if way == "higher" else value
        return row.number not in sweep.front, cost

    return sorted(done, key=rank)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:z.4g}"


def _value(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
