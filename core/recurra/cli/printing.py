"""How tables and lines are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleDimensions
from rich.table import Table

from recurra.cli.visible import visible

if TYPE_CHECKING:
    from recurra.contracts.metric import Metrics
    from recurra.job.figures import ByScale, Column

NARROWEST = 80
"""Columns that a table takes at least: a narrow terminal wraps its lines, and cuts no figure."""


class _Wide(Console):
    """A console whose tables are never cut."""

    @property
    def size(self) -> ConsoleDimensions:
        """The size of the terminal, or more."""
        width, height = super().size
        return ConsoleDimensions(max(width, NARROWEST), height)

    @size.setter
    def size(self, size: tuple[int, int]) -> None:
        Console.size.fset(self, size)  # type: ignore[attr-defined]


class _Printer:
    """Prints to the stdout of the moment, and keeps nothing of what could not be written."""

    def print(self, what: Any, **options: Any) -> None:
        """Print a text or a table."""
        _Wide(highlight=False, soft_wrap=True, markup=False, emoji=False).print(what, **options)


out = _Printer().print
COLUMNS_SHOWN = 8
"""Columns of numbers whose figures are printed."""
_UNITS = {"mape": " %", "smape": " %", "wape": " %"}


ASIDE = ("pinball_", "coverage_", "width_", "winkler_")
"""How the names of figures begin that are by level, or by interval."""
OF_ALL_LEVELS = ("crps", "wql")
"""Figures of a distribution as a whole."""


def in_short(metrics: Metrics) -> Metrics:
    """Return figures without those by level and by interval, but the coverage of the widest."""
    widest = next((name for name in metrics if name.startswith("coverage_")), "")
    return {
        name: value
        for name, value in metrics.items()
        if name == widest or not name.startswith(ASIDE)
    }


def show_intervals(metrics: Metrics) -> None:
    """Print the figures of a distribution, where there are any: of all of it, and by interval."""
    names = [name.partition("_")[2] for name in metrics if name.startswith("coverage_")]
    if not names:
        return
    whole = [f"{name} {metrics[name]:z.4g}" for name in OF_ALL_LEVELS if name in metrics]
    table = empty_table(f"distribution: {', '.join(whole)}; by interval", "bold")
    table.add_column("")
    for name in names:
        table.add_column(f"{name} %", justify="right")
    for kind in ("coverage", "width", "winkler"):
        table.add_row(kind, *(figure_text(kind, metrics[f"{kind}_{name}"]) for name in names))
    out(table)


def show_by_scale(parts: list[ByScale]) -> None:
    """Print what the intervals hold of series of small, middle and large scale, if it is told."""
    if not parts:
        return
    names = [name for name in parts[0]["metrics"] if name.startswith("coverage_")]
    table = empty_table("coverage by the scale of series", "bold")
    for head in ("from", "to", "series", *(f"{name.partition('_')[2]} %" for name in names)):
        table.add_column(head, justify="right")
    for part in parts:
        ends = [f"{part[end]:z.4g}" for end in ("from", "to")]
        cells = [figure_text(name, part["metrics"].get(name)) for name in names]
        table.add_row(*ends, f"{part['series']:,}", *cells)
    out(table)


def show_notes(notes: list[str]) -> None:
    """Print what is to be said of a table: the bounds that it was made under, and what it lacks."""
    for note in notes:
        out(f"  note: {note}")


def empty_table(title: str | None, style: str | None = None) -> Table:
    """Return an empty table."""
    return Table(title=title, title_justify="left", title_style=style, box=None, pad_edge=False)


def show_ladder(title: str, metrics: Metrics, baselines: dict[str, Metrics]) -> None:
    """Print the figures of the model, and under them those of each baseline."""
    table = empty_table(title, "bold")
    table.add_column("")
    aside = (*ASIDE, *OF_ALL_LEVELS)
    metrics = {name: value for name, value in metrics.items() if not name.startswith(aside)}
    for name in metrics:
        table.add_column(name.replace("_", " "), justify="right")
    cells = [figure_text(name, value) for name, value in metrics.items()]
    table.add_row("model", *cells, style="bold")
    for rule, row in baselines.items():
        cells = [figure_text(name, row.get(name)) for name in metrics]
        table.add_row(rule, *cells)
    out(table)


def show_columns(columns: list[Column]) -> None:
    """Print the figures of each of several columns, in its own units."""
    for column in columns[:COLUMNS_SHOWN]:
        show_ladder(visible(column["name"]), column["metrics"], column["baselines"])
    more = len(columns) - COLUMNS_SHOWN
    if more > 0:
        out(f"  note: {more:,} more columns are in --json and result.json")


def figure_text(name: str, value: float | None) -> str:
    """Return a figure with its unit; nothing where there is none."""
    if value is None:
        return ""
    return f"{value:z.4g}{_UNITS.get(name, '')}"
