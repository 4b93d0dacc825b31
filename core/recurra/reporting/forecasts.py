"""Pictures of forecasts: fans beside what came, and errors and coverage by how far ahead."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from recurra.drawing import Axis, Band, Column, Line, Mark, Picture, Plot, Points, Rule
from recurra.errors import RecurraError
from recurra.generate.foretold import Foretold, foretold
from recurra.generate.levels import text
from recurra.reporting.view import Left, View
from recurra.reporting.written import Floats, number, numbers, shortened, steps, table, tables

SERIES = 4
"""Series that are shown, those of the least and of the greatest error among them."""
COLUMNS = 4
"""Columns of one series that are shown."""
HISTORY = 120
"""Steps before a forecast that are shown, at most, and at most"""
TIMES = 4
"""so many times as many as are forecast."""
LEAST = 24
"""Steps of history that are shown of a short forecast."""
RULES = 3
"""Baselines that stand beside the model."""
DOTTED = 40
"""Points up to which each is marked."""
LONGEST = 1 << 20
"""Steps of a forecast, above which a figure tells no number of such."""
BOUND = re.compile(r"(lo|hi)-(\d+(?:\.\d+)?)")
COVERAGE = re.compile(r"coverage_(\d+(?:\.\d+)?)")


class Fan(NamedTuple):
    """A forecast of one column of a series: what came before and after, and what was said.

    `bounds` holds the lower and the upper bounds by the level; `when` is the stamp of the first
    step that is forecast, and `beside` what the best baseline says, where that is known.
    """

    title: str
    history: Floats
    came: Floats
    said: Floats
    bounds: Mapping[float, tuple[Floats, Floats]]
    beside: tuple[str, Floats] | None = None
    when: str = ""


def forecast(view: View) -> Picture:
    """Return the forecasts of some series, with their intervals, beside what came."""
    made = table(view.result.get("forecast"))
    if not made:
        raise Left("its figures have no forecast")
    named, unusable = _levels(made)
    try:
        fans, note = _foretold(view, made, named)
    except (Left, RecurraError) as error:
        left = error if isinstance(error, Left) else Left.by(error)
        fans, note = _written(made), f"What came before is not shown: {left}."
    if unusable:
        note += f" No level of an interval, and left out: {', '.join(unusable)}."
    if not fans:
        raise Left("nothing was forecast")
    levels = sorted({level for fan in fans for level in fan.bounds})
    caption = "Each goes on from the broken line, and reads nothing that came after it."
    if levels:
        told = " and ".join(text(level) for level in levels)
        caption += f" An interval of {told} % is to hold so much of what comes."
    panels = [_fan(fan) for fan in fans]
    return Picture("forecast", "Forecasts beside what came", panels, f"{caption} {note}".strip())


def _fan(fan: Fan) -> Plot:
    """Return a forecast as a plot, and what is drawn as its data."""
    count, ahead = len(fan.history), len(fan.came)
    before = np.arange(1 - count, 1)
    after = np.arange(1, ahead + 1)
    marks: list[Mark] = []
    for level, (low, high) in sorted(fan.bounds.items(), reverse=True):
        marks.append(Band(f"{text(level)} % interval", after, low, high, color=0))
    came = np.concatenate([fan.history, fan.came])
    marks.append(Line("came", np.concatenate([before, after]), came, color="ink"))
    if fan.beside is not None:
        marks.append(Line(fan.beside[0], after, fan.beside[1], color=7, dashed=True))
    marks.append(Line("forecast", after, fan.said, color=0))
    if ahead <= DOTTED:
        marks.append(Points("forecast", after, fan.said, color=0))
    marks.append(Rule("last step read", x=0.5, color="faint"))

    blank = np.full(count, np.nan)
    data = [Column("step", [*before.tolist(), *after.tolist()]), Column("came", came.tolist())]
    drawn = {"forecast": fan.said}
    if fan.beside is not None:
        drawn[fan.beside[0]] = fan.beside[1]
    for level, (low, high) in sorted(fan.bounds.items()):
        drawn |= {f"{text(level)} % from": low, f"{text(level)} % to": high}
    data += [Column(name, [*blank, *values.tolist()]) for name, values in drawn.items()]
    label = f"steps from {fan.when}" if fan.when else "steps ahead"
    return Plot(fan.title, Axis(label, whole=True), Axis(""), marks, data=data)


def _written(made: Mapping[str, Any]) -> list[Fan]:
    """Return the forecast of the last series, as the figures have it."""
    last = {str(name): steps(of) for name, of in table(made.get("last_series")).items()}
    if "actual" not in last or "model" not in last or not len(last["actual"]):
        return []
    came, said = last["actual"], last["model"]
    rule = _best(made)
    stamps = made.get("ds")
    when = str(stamps[0]) if isinstance(stamps, list) and stamps else ""
    names = _columns(made, came.shape[1])
    fans = []
    for at in range(min(came.shape[1], COLUMNS)):
        pairs: dict[float, dict[str, Floats]] = {}
        for name, of in last.items():
            if bound := BOUND.fullmatch(name):
                pairs.setdefault(float(bound[2]), {})[bound[1]] = of[:, at]
        bounds = {
            level: (sides["lo"], sides["hi"])
            for level, sides in pairs.items()
            if {*sides} == {"lo", "hi"}
        }
        beside = (rule, last[rule][:, at]) if rule in last else None
        title = "The last series" + (f", {names[at]}" if names else "")
        fans.append(Fan(title, np.zeros(0), came[:, at], said[:, at], bounds, beside, when))
    return fans


def _best(made: Mapping[str, Any]) -> str:
    """Return the baseline that is nearest, by the first of those figures that all have."""
    rules = {str(rule): table(row) for rule, row in table(made.get("baselines")).items()}
    for key in ("mase", "mae"):
        values = {rule: number(row.get(key)) for rule, row in rules.items()}
        known = {rule: value for rule, value in values.items() if np.isfinite(value)}
        if known:
            return min(known, key=lambda rule: known[rule])
    return ""


def _columns(made: Mapping[str, Any], width: int) -> list[str]:
    """Return the names of the columns, where there are several."""
    names = [shortened(str(each.get("name", "")), 40) for each in tables(made.get("columns"))]
    if width < 2:
        return []
    return names if len(names) == width else [f"column {at + 1}" for at in range(width)]


def _levels(made: Mapping[str, Any]) -> tuple[list[float], list[str]]:
    """Return the levels of a forecast's intervals, from the least on, and what is none of them."""
    said = made.get("levels")
    said = said if isinstance(said, list) else [said] if said else []
    good = {number(level) for level in said if 0 < number(level) < 100}
    bad = [shortened(str(level), 20) for level in said if not 0 < number(level) < 100]
    return sorted(good), bad[:COLUMNS]


def _foretold(view: View, made: Mapping[str, Any], levels: list[float]) -> tuple[list[Fan], str]:
    """Return the forecasts of some series made again, with what precedes them, and a note."""
    data, run = view.data(), view.run
    steps = number(made.get("steps"))
    if not 1 <= steps < LONGEST:
        raise Left("its figures do not tell how many steps were forecast")
    horizon = int(steps)
    begun, total = data.elements.begun(data, view.split, horizon)
    if not begun:
        return [], ""
    chosen = _chosen(made, begun)
    names = data.series_names(run.resolved)
    with run.computing():
        intervals = run.intervals(levels) if levels else None
        told = list(
            foretold(
                run.network,
                data.vocabulary,
                (each.start for each, _ in chosen),
                max(len(each.future) for each, _ in chosen),
                data.reader.outlook,
                data.covariates,
                intervals,
            )
        )
    fans: list[Fan] = []
    for (each, what), ahead in zip(chosen, told, strict=True):
        fans += _of_series(data, made, each, what, ahead, levels, names)
    note = ""
    if len(chosen) < total:
        note = f"{len(chosen)} of {total:,} series are shown, from the least error to the greatest."
    return fans, note


def _chosen(made: Mapping[str, Any], begun: list[Any]) -> list[tuple[Any, str]]:
    """Return some series with what is said of them: of the least error, and up to the greatest."""
    errors: dict[str, float] = {}
    rows = list(tables(made.get("by_series")))
    key = next((key for key in ("mase", "mae") if any(key in _metrics(row) for row in rows)), "")
    for row in rows:
        errors[str(row.get("series"))] = number(_metrics(row).get(key))
    known = [each for each in begun if np.isfinite(errors.get(each.name, np.nan))]
    ranked = sorted(known, key=lambda each: errors[each.name]) or begun
    places = np.unique(np.linspace(0, len(ranked) - 1, SERIES).round().astype(int)).tolist()
    told = []
    for place in places:
        each = ranked[place]
        error = errors.get(each.name, np.nan)
        told.append((each, f"{key} {error:.3g}" if np.isfinite(error) else ""))
    return told


def _metrics(row: Mapping[str, Any]) -> Mapping[str, Any]:
    return table(row.get("metrics"))


def _of_series(
    data: Any,
    made: Mapping[str, Any],
    each: Any,
    what: str,
    ahead: Foretold,
    levels: Sequence[float],
    names: Sequence[str],
) -> list[Fan]:
    """Return the forecast of a series, one for each of some columns, by its name of all `names`."""
    count = len(each.future)
    shown = min(len(each.history), HISTORY, max(LEAST, TIMES * count))
    history = np.asarray(each.history[len(each.history) - shown :], np.float64)
    width = history.shape[1]
    row = int(data.store.sequence(np.array([each.begin]))[0])
    stamps = data.stamps(row, each.origin - each.begin, 1)
    titles = _columns(made, width)
    fans = []
    for at in range(min(width, COLUMNS)):
        bounds = {}
        for place, level in enumerate(reversed(levels)):
            low, high = ahead.bounds[place], ahead.bounds[len(ahead.bounds) - 1 - place]
            bounds[level] = low[:count, at], high[:count, at]
        parts = [f"Series {shortened(names[row], 40)}", *titles[at : at + 1]]
        title = ", ".join(parts) + (f" ({what})" if what else "")
        came = np.asarray(each.future, np.float64)[:, at]
        said = np.full(count, np.nan)
        said[: len(ahead.points)] = ahead.points[:count, at]
        when = stamps[0] if stamps else ""
        fans.append(Fan(title, history[:, at], came, said, bounds, None, when))
    return fans


def horizon(view: View) -> Picture:
    """Return the errors of forecasts by how far ahead they are, and what their intervals held."""
    made = table(view.result.get("forecast"))
    rows = list(tables(made.get("by_step"))) or list(tables(view.result.get("by_step")))
    if not rows:
        raise Left("its figures tell no steps ahead")
    ahead = numbers([row.get("ahead") for row in rows])
    whole = made or view.result
    judged = str(view.result.get("judged", ""))
    panels: list[Plot] = []
    for key in dict.fromkeys((judged, "mase", "mae")):
        model = numbers([_metrics(row).get(key) for row in rows])
        if key and np.isfinite(model).any():
            panels.append(_errors(view, rows, ahead, key, model, whole))
            break
    held = {
        key: numbers([_metrics(row).get(key) for row in rows])
        for key in dict.fromkeys(key for row in rows for key in _metrics(row))
        if COVERAGE.fullmatch(key)
    }
    if held:
        panels += _intervals(rows, ahead, held)
    if not panels:
        raise Left("its figures tell no error by steps ahead")
    caption = f"Of the {view.held_out} split."
    if made:
        series, total = (_count(made.get(key)) for key in ("series", "of_series"))
        few = series if series == total else f"{series} of {total}"
        caption = f"Of {few} series of the {view.held_out} split."
    if held:
        caption += " An interval that is honest holds what its broken line says."
    return Picture("horizon", "How far ahead it can see", panels, caption)


def _count(value: Any) -> str:
    """Return how many there are, in words where that is not said."""
    return f"{value:,}" if type(value) is int else "so many"


def _errors(
    view: View,
    rows: Sequence[Mapping[str, Any]],
    ahead: Floats,
    key: str,
    model: Floats,
    whole: Mapping[str, Any],
) -> Plot:
    """Return the error of the model and of the nearest baselines by steps ahead."""
    figures = {rule: table(row) for rule, row in table(whole.get("baselines")).items()}
    best = view.result.get("best_baseline")
    order = sorted(
        (rule for rule in figures if np.isfinite(number(figures[rule].get(key)))),
        key=lambda rule: (rule != best, number(figures[rule].get(key))),
    )
    lines = {"the model": model}
    for rule in order[:RULES]:
        lines[rule] = numbers(
            [table(table(row.get("baselines")).get(rule)).get(key) for row in rows]
        )
    marks: list[Mark] = [
        Line(name, ahead, values, color=color, dashed=color > 0)
        for color, (name, values) in enumerate(lines.items())
    ]
    if len(ahead) <= DOTTED:
        marks.append(Points("the model", ahead, model))
    called = key.upper() if key in ("mase", "mae", "rmse") else key
    data = [Column("steps ahead", ahead.tolist())]
    data += [Column(f"{called}, {name}", values.tolist()) for name, values in lines.items()]
    title = f"{called} by steps ahead"
    return Plot(title, Axis("steps ahead", whole=True), Axis(called, low=0), marks, data=data)


def _intervals(
    rows: Sequence[Mapping[str, Any]], ahead: Floats, held: Mapping[str, Floats]
) -> list[Plot]:
    """Return what intervals held, and how wide they are, by steps ahead."""
    covered: list[Mark] = []
    widths: list[Mark] = []
    levels = [COVERAGE.fullmatch(key)[1] for key in held]  # type: ignore[index]
    columns = [[Column("steps ahead", ahead.tolist())] for _ in range(2)]
    for color, (level, values) in enumerate(zip(levels, held.values(), strict=True)):
        name = f"{level} % interval"
        wide = numbers([_metrics(row).get(f"width_{level}") for row in rows])
        covered.append(Rule(f"{level} %", y=float(level), color=color % 8))
        for marks, of in ((covered, 100 * values), (widths, wide)):
            marks.append(Line(name, ahead, of, color=color % 8))
            if len(ahead) <= DOTTED:
                marks.append(Points(name, ahead, of, color=color % 8))
        columns[0].append(Column(name, (100 * values).tolist(), "%"))
        columns[1].append(Column(name, wide.tolist()))
    x = Axis("steps ahead", whole=True)
    least = np.nanmin([*(100 * np.concatenate([*held.values()])), *map(float, levels)])
    low = max(0.0, 10 * np.floor(least / 10) - 10)
    held_axis = Axis("values that came inside", "%", low=low, high=100)
    return [
        Plot("What intervals held", x, held_axis, covered, data=columns[0]),
        Plot("How wide intervals are", x, Axis("width", low=0), widths, data=columns[1]),
    ]


def levels(view: View) -> Picture:
    """Return what intervals of each level held, beside what they are to hold."""
    sources = {
        "forecasts": table(table(view.result.get("forecast")).get("metrics")),
        "told what came before": table(view.result.get("metrics")),
    }
    marks: list[Mark] = [
        Line("as it should be", [0.0, 100.0], [0.0, 100.0], color="faint", dashed=True)
    ]
    held: dict[str, dict[float, float]] = {}
    for color, (name, metrics) in enumerate(sources.items()):
        pairs = {
            float(found[1]): 100 * number(value)
            for key, value in metrics.items()
            if (found := COVERAGE.fullmatch(key))
        }
        if pairs:
            held[name] = pairs
            asked = sorted(pairs)
            came = [pairs[level] for level in asked]
            marks += [Line(name, asked, came, color=color), Points(name, asked, came, color=color)]
    if not held:
        raise Left("its figures have no intervals")
    every = sorted({level for pairs in held.values() for level in pairs})
    columns = [Column("level", every, "%")]
    columns += [
        Column(f"held, {name}", [pairs.get(level) for level in every], "%")
        for name, pairs in held.items()
    ]
    axes = Axis("level of the interval", "%", low=0, high=100), Axis("held", "%", low=0, high=100)
    plot = Plot("What intervals hold, beside what they are to hold", *axes, marks, data=columns)
    caption = f"Below the line intervals are too narrow, above it too wide; {view.held_out} split."
    return Picture("calibration", "Whether intervals hold", [plot], caption)
