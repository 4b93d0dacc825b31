"""How forecasts are printed: over all, by step ahead, by series, and the last series."""

from __future__ import annotations

from math import isnan
from statistics import median

from recurra.cli.printing import (
    COLUMNS_SHOWN,
    empty_table,
    figure_text,
    out,
    show_by_scale,
    show_columns,
    show_intervals,
    show_ladder,
    show_notes,
)
from recurra.cli.visible import visible
from recurra.job.figures import Ahead, Forecast, OneSeries

BOUNDS = ("lo-", "hi-")
"""How the names of the bounds of intervals begin."""
STEPS_SHOWN = 24
"""Steps of a forecast that are printed."""


def forecast_table(split: str, forecast: Forecast, judged: str, best: str | None) -> None:
    """Print the figures of a forecast, and the last series beside what the best rule says of it."""
    title = f"{split}, forecast of {forecast['steps']} steps"
    show_ladder(title, forecast["metrics"], forecast["baselines"])
    show_intervals(forecast["metrics"])
    show_by_scale(forecast.get("by_scale", []))
    columns = forecast.get("columns", [])
    show_columns(columns)
    show_by_step(forecast["by_step"], judged, best)
    _by_series(forecast["by_series"], judged, best)
    show_notes(forecast["notes"])
    # A single column has no name.
    names = [visible(column["name"]) for column in columns] or [""]
    for index, name in enumerate(names[:COLUMNS_SHOWN]):
        rows = {
            rule: steps
            for rule, steps in forecast["last_series"].items()
            if rule in ("actual", "model", best) or rule.startswith(BOUNDS)
        }
        _series(rows, index, name, forecast.get("ds", []))


def show_by_step(steps: list[Ahead], judged: str, best: str | None) -> None:
    """Print how the error grows with the steps ahead: of the first, the middle and the last."""
    if len(steps) < 2:
        return
    some = dict.fromkeys((0, (len(steps) - 1) // 2, len(steps) - 1))
    table = empty_table(f"{judged} by step ahead", "bold")
    table.add_column("")
    for place in some:
        table.add_column(str(steps[place]["ahead"]), justify="right")
    cells = [figure_text(judged, steps[place]["metrics"].get(judged)) for place in some]
    table.add_row("model", *cells, style="bold")
    if best is not None:
        rows = [steps[place]["baselines"].get(best, {}) for place in some]
        table.add_row(best, *(figure_text(judged, row.get(judged)) for row in rows))
    out(table)


def _by_series(series: list[OneSeries], judged: str, best: str | None) -> None:
    """Print between what the errors of series lie, and of how many the model beats the best."""
    errors = sorted(row["metrics"][judged] for row in series if judged in row["metrics"])
    if len(errors) < 2:
        return
    middle = median(errors)
    text = f"{judged} by series: {errors[0]:z.4g} to {errors[-1]:z.4g}, median {middle:z.4g}"
    if best is not None:
        pairs = [
            (row["metrics"].get(judged), row["baselines"].get(best, {}).get(judged))
            for row in series
        ]
        both = [(ours, theirs) for ours, theirs in pairs if ours is not None and theirs is not None]
        better = sum(ours < theirs for ours, theirs in both)
        text += f"; below {best} for {better:,} of {len(both):,}"
    out(f"{text}; each is in --json")


def _series(rows: dict[str, list[list[float]]], index: int, title: str, stamps: list[str]) -> None:
    """Print the forecast of one column step by step beside what came; a long one to its 24th."""
    table = empty_table(title or None, "bold")
    table.add_column("step", justify="right")
    if stamps:
        table.add_column("ds", justify="right")
    for name in rows:
        table.add_column(name, justify="right", style="bold" if name == "model" else "")
    for step, values in enumerate(zip(*rows.values(), strict=True), 1):
        if step > STEPS_SHOWN:
            table.add_row("...")
            break
        cells = [_cell(columns[index]) for columns in values]
        called = [visible(stamps[step - 1])] if stamps else []
        table.add_row(str(step), *called, *cells)
    out(table)


def _cell(value: float) -> str:
    """Return a value, or a dash where none came."""
    return "-" if isnan(value) else f"{value:z.6g}"
