"""The figures of a run beside those of the baselines: a table, and the one it is judged by."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from recurra.drawing import Axis, Bars, Panel, Picture, Plot, Rule, Table
from recurra.reporting.view import Left, View
from recurra.runs.listing import figures, judged

MOST = 40
"""Baselines that are told, at most."""


def picture(view: View) -> Picture:
    """Return the figures of a finished run. Raises `Left` for one that is none."""
    result = view.result
    if not figures(result.get("metrics")):
        raise Left(f"it has no result: it is {view.state}")
    panels: list[Panel] = []
    for title, made in tables(result):
        panels.append(_table(title, made, result))
        bars = _bars(title, made, result)
        if bars is not None:
            panels.append(bars)
    return Picture("figures", "Figures beside the baselines", panels, caption(view))


def tables(result: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give each table of figures of a result with what it is of: of the split, and forecasts."""
    split = str(result.get("split", ""))
    yield f"The {split} split" if split else "Figures", result
    for key, made in result.items():
        if isinstance(made, dict) and figures(made.get("metrics")):
            steps = made.get("steps")
            of = f" over {steps:,} steps" if isinstance(steps, int) else ""
            yield f"{key.capitalize()}{of}, {split} split", made


def caption(view: View) -> str:
    """Return what the figures are of, and what is to be said of them."""
    result = view.result
    said = []
    if isinstance(result.get("predictions"), int):
        said.append(f"Of {result['predictions']:,} predictions.")
    better = result.get("better")
    if isinstance(better, dict):
        for word in ("higher", "lower"):
            names = [str(name) for name, which in better.items() if which == word]
            if names:
                said.append(f"{word.capitalize()} is better: {', '.join(names)}.")
    notes = result.get("notes")
    said += [f"{str(note).rstrip('.')}." for note in notes] if isinstance(notes, list) else []
    return " ".join(said)


def _baselines(made: dict[str, Any]) -> dict[str, dict[str, float]]:
    said = made.get("baselines")
    named = said.items() if isinstance(said, dict) else ()
    return {str(name): figures(each) for name, each in list(named)[:MOST]}


def _table(title: str, made: dict[str, Any], result: dict[str, Any]) -> Table:
    own, rules = figures(made.get("metrics")), _baselines(made)
    names = list(own) + sorted({name for each in rules.values() for name in each} - own.keys())
    rows: list[list[Any]] = [["model", *(own.get(name) for name in names)]]
    rows += [[rule, *(theirs.get(name) for name in names)] for rule, theirs in rules.items()]
    best = result.get("best_baseline")
    note = f"The best baseline is {best}." if best in rules else ""
    return Table(title, ["", *names], rows, wide=True, notes=note, highlight=(0,))


def _bars(title: str, made: dict[str, Any], result: dict[str, Any]) -> Plot | None:
    """Return bars of the figure that the verdict is about, of the table that it is about."""
    metric, best = result.get("judged"), result.get("best_baseline")
    if not isinstance(metric, str) or not isinstance(best, str):
        return None
    own, rules = figures(made.get("metrics")), _baselines(made)
    pair = judged(result, metric, best)
    if pair is None or own.get(metric) != pair[0] or rules.get(best, {}).get(metric) != pair[1]:
        return None

    values = {"model": pair[0]}
    values |= {name: theirs[metric] for name, theirs in rules.items() if metric in theirs}
    better = result.get("better")
    higher = isinstance(better, dict) and better.get(metric) == "higher"
    names = sorted(values, key=lambda name: -values[name] if higher else values[name])
    place = names.index("model")
    rest = [n for n in range(len(names)) if n != place]
    return Plot(
        f"{metric}, {title[:1].lower()}{title[1:]}: {'higher' if higher else 'lower'} is better",
        Axis(metric),
        Axis("", names=names),
        [
            Bars("model", [place], [values["model"]], across=True),
            Bars("baselines", rest, [values[names[n]] for n in rest], 7, across=True),
            Rule("", x=values["model"]),
        ],
        height=22.0 * len(names),
        wide=True,
    )
