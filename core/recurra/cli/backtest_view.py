"""The command `backtest`, and how its figures are printed: over all, by fold and by step ahead."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recurra.cli.common import Json, LevelsAsked, Override, Trust, print_json
from recurra.surroundings import loading

if TYPE_CHECKING:
    from recurra.contracts.metric import Metrics
    from recurra.job.backtested import Backtested, Fold
    from recurra.job.figures import Ahead

STEPS_SHOWN = 24
"""Steps ahead whose figures are printed; of more, so many that lie evenly over all of them."""
RULES_SHOWN = 4
"""Baselines whose figures are printed by fold and by step ahead: the best."""
FOLDS_SHOWN = 24
"""Folds whose figures are printed."""


def backtest(
    task_or_run: Annotated[
        Path,
        typer.Argument(
            help="A task file, a run's folder, or that of a backtest that was interrupted.",
            metavar="TASK_OR_RUN",
        ),
    ],
    folds: Annotated[
        int | None, typer.Option(min=1, help="How many cutoffs each series has; 3 by default.")
    ] = None,
    step: Annotated[
        int | None,
        typer.Option(min=1, help="Steps from one cutoff to the next; the horizon by default."),
    ] = None,
    horizon: Annotated[
        int | None,
        typer.Option(min=1, help="Steps that are forecast; generation.length by default."),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain", help="Train a model for each fold, not one before the first cutoff."
        ),
    ] = False,
    levels: LevelsAsked = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Write the frame to a file: .csv, .jsonl or .parquet."),
    ] = None,
    backtests: Annotated[
        Path, typer.Option(help="Where the folders of backtests are made.")
    ] = Path("backtests"),
    override: Override = [],  # noqa: B006
    trust: Trust = False,
    as_json: Json = False,
) -> None:
    """Forecast from several cutoffs of each series, from what precedes them alone, beside the
    baselines.
    """
    with loading():
        from recurra import verbs
        from recurra.cli.display import watcher

    done = verbs.backtest(
        task_or_run,
        list(override),
        folds=folds,
        step=step,
        horizon=horizon,
        retrain=retrain,
        levels=levels,
        trust=trust,
        output=output,
        backtests=backtests,
        observer=watcher(quiet=as_json),
    )
    if as_json:
        print_json({**done.result, **({} if output is None else {"output": str(output)})})
    else:
        show(done.result, output)


def show(result: Backtested, output: Path | None = None) -> None:
    """Print the figures of a backtest."""
    from recurra.cli.printing import (
        out,
        show_by_scale,
        show_columns,
        show_intervals,
        show_ladder,
        show_notes,
    )

    models = "a model each" if result["retrain"] else "one model"
    shape = (
        f"{result['folds']} fold{'s' * (result['folds'] > 1)}, {result['step']} steps apart,"
        f" {result['horizon']} steps ahead"
    )
    out(f"\n{result['task']}: {shape}, {models}, in {result['seconds']:.1f} s")
    show_ladder("all folds", result["metrics"], result["baselines"])
    show_intervals(result["metrics"])
    show_by_scale(result.get("by_scale", []))
    show_columns(result.get("columns", []))

    judged = result.get("judged")
    if judged:
        rules = _best(result["baselines"], judged)
        _by_fold(result["by_fold"], judged, rules)
        _by_step(result["by_step"], judged, rules)
    show_notes(result["notes"])
    for fold in result["by_fold"]:
        show_notes([f"fold {fold['fold']}: {note}" for note in fold["notes"]])

    out(f"verdict:   {result['verdict']}")
    out(f"frame:     {output or result['frame']}")
    out(f"backtest:  {result['backtest']}")


def _best(baselines: dict[str, Metrics], judged: str) -> list[str]:
    """Return the best baselines, of all that stand in the table above."""
    figures = {rule: row[judged] for rule, row in baselines.items() if judged in row}
    return sorted(figures, key=lambda rule: figures[rule])[:RULES_SHOWN]


def _by_fold(folds: list[Fold], judged: str, rules: list[str]) -> None:
    """Print a figure of each fold, a row each."""
    rows = [
        ([str(fold["fold"]), f"-{fold['left_off']:,}", f"{fold['series']:,}"], fold)
        for fold in folds
    ]
    _rows(f"{judged} by fold", ["fold", "cutoff", "series"], rows[:FOLDS_SHOWN], judged, rules)
    if len(folds) > FOLDS_SHOWN:
        from recurra.cli.printing import show_notes

        show_notes([f"{len(folds) - FOLDS_SHOWN:,} more folds are in --json and result.json"])


def _by_step(steps: list[Ahead], judged: str, rules: list[str]) -> None:
    """Print a figure of each step ahead, or of some, evenly over all."""
    apart = -(-len(steps) // STEPS_SHOWN)
    some = steps[apart - 1 :: apart]
    rows = [([str(row["ahead"])], row) for row in some]
    _rows(f"{judged} by step ahead", ["step"], rows, judged, rules)


def _rows(
    title: str, heads: list[str], rows: list[tuple[list[str], Any]], judged: str, rules: list[str]
) -> None:
    """Print a figure of the model and of some baselines, a row each behind some cells."""
    from recurra.cli.printing import empty_table, figure_text, out

    table = empty_table(title, "bold")
    for head in heads:
        table.add_column(head, justify="right")
    table.add_column("model", justify="right", style="bold")
    for rule in rules:
        table.add_column(rule, justify="right")
    for cells, row in rows:
        figures = [row["metrics"], *(row["baselines"].get(rule, {}) for rule in rules)]
        table.add_row(*cells, *(figure_text(judged, each.get(judged)) for each in figures))
    out(table)
