"""The command `compare`, and how a comparison is printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurra.cli.common import Jobs, Json, On, Override, TrustEdited, counted, print_json

if TYPE_CHECKING:
    from recurra.comparing.comparison import Comparison, Row, Versus

REPORT = "report.html"
"""The page of a comparison, in its folder."""


def compare(
    task: Annotated[
        Path,
        typer.Argument(help="The task file, or a comparison to go on with.", metavar="TASK|FOLDER"),
    ],
    cells: Annotated[
        str | None, typer.Option(help="The cells to compare.", metavar="NAME,NAME")
    ] = None,
    vary: Annotated[
        list[str],
        typer.Option(
            help="Compare values of a key: --vary cell.init=uniform,orthogonal", metavar="KEY=A,B"
        ),
    ] = [],  # noqa: B006
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds of each; 5, below which are no intervals.")
    ] = None,
    match: Annotated[
        str | None,
        typer.Option(
            help="Make this equal, by the width: parameters where cells are compared, else none.",
            metavar="parameters|state|flops|time|none",
        ),
    ] = None,
    tune_lr: Annotated[
        int | None,
        typer.Option("--tune-lr", min=1, help="Try so many learning rates of each on validation."),
    ] = None,
    metric: Annotated[
        str | None, typer.Option(help="Judge by this figure, not by that of the verdict.")
    ] = None,
    jobs: Jobs = None,
    on: On = "here",
    compares: Annotated[
        Path, typer.Option(help="Where the folders of comparisons are made.")
    ] = Path("compares"),
    trust: TrustEdited = False,
    report: Annotated[
        bool, typer.Option("--report", help="Draw it: report.html in its folder.")
    ] = False,
    override: Override = [],  # noqa: B006
    as_json: Json = False,
) -> None:
    """Train a task with several cells, or options, at an equal budget in the same seeds, and say
    which is better and what is noise.

    Killed at any moment it goes on when its folder is compared; finished trials stay.
    """
    from recurra.cli.display import watcher
    from recurra.comparing.asking import compare as compared

    comparison = compared(
        task,
        list(override),
        cells=cells,
        vary=list(vary) or None,
        seeds=seeds,
        match=match,
        tune_lr=tune_lr,
        metric=metric,
        jobs=jobs,
        on=on,
        trust=trust,
        compares=compares,
        observer=watcher(quiet=as_json),
    )
    page = None
    if report:
        from recurra.showing import report as written

        page = written(comparison, Path(comparison.folder) / REPORT)
    if as_json:
        print_json(comparison.as_data() | ({"report": str(page)} if page else {}))
        return
    show(comparison, page)


def show(comparison: Comparison, page: Path | None = None) -> None:
    """Print the table of a comparison, its pairs against the best, and the verdict."""
    from recurra.cli.printing import empty_table, out
    from recurra.cli.visible import visible

    seeds = counted(len(comparison.seeds), "seed")
    better = "higher" if comparison.higher else "lower"
    matched = "" if comparison.match == "none" else f", equal {comparison.match}"
    out(
        f"\n{comparison.task}: {comparison.metric}, {better} is better,"
        f" {comparison.split} split, {seeds}{matched}"
    )
    for columns in (_figures, _costs):
        rows = [columns(row, comparison) for row in comparison.rows]
        table = empty_table("")
        for title in rows[0]:
            table.add_column(title, justify="right" if table.columns else "left")
        for cells in rows:
            table.add_row(*map(visible, cells.values()))
        out(table)

    best = comparison.rows[0].name
    for pair in comparison.pairs:
        if best in (pair.first, pair.second) and pair.difference is not None:
            out(visible(_difference(pair, best)))
    for note in comparison.notes:
        out(f"note:      {visible(note)}")
    out(f"verdict:   {visible(comparison.verdict)}")
    out(f"kept:      {visible(comparison.folder)}")
    if page is not None:
        out(f"report:    {visible(str(page))}")


def _figures(row: Row, comparison: Comparison) -> dict[str, str]:
    """Return how good a variant is, by the titles of the columns."""
    mean = f"{len(row.failures)} of {len(comparison.seeds)} failed"
    if row.mean is not None:
        mean = f"{row.mean:z.4g}"
    limits = "-" if row.interval is None else f"{row.interval[0]:z.4g} to {row.interval[1]:z.4g}"
    return {
        "": row.name,
        "rank": str(row.rank),
        "mean": mean,
        "95 % interval": limits,
        "better than others": f"{row.improvement:.0%}",
        "rate": "-" if row.rate is None else f"{row.rate:g}",
    }


def _costs(row: Row, comparison: Comparison) -> dict[str, str]:
    """Return what a variant costs, by the titles of the columns."""
    return {
        "": row.name,
        "hidden": "-" if row.hidden_size is None else str(row.hidden_size),
        "off": "-" if row.error is None else f"{row.error:+.1%}",
        "recurrent": f"{row.recurrent:,}",
        "encoder": f"{row.encoder:,}",
        "head": f"{row.head:,}",
        "state": f"{row.state:,}",
        "flops": f"{row.flops:,}",
        "ms": f"{1e3 * comparison.seconds[row.name]:.3g}",
        "MB": f"{row.memory / 1e6:.3g}",
    }


def _difference(pair: Versus, best: str) -> str:
    """Return how far another is from the best, in words."""
    other = pair.second if pair.first == best else pair.first
    sign = 1 if pair.second == best else -1
    difference: Any = pair.difference
    text = f"{other} - {best}: {sign * difference + 0.0:z.3g}"
    if pair.interval is not None:
        low, high = sorted(sign * limit + 0.0 for limit in pair.interval)
        text += f", from {low:z.3g} to {high:z.3g}"
    return f"{text}; {'beyond noise' if pair.better else pair.why}"
