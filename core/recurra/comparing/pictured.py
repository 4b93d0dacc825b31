"""Pictures of a comparison: how good each variant is, what is noise, and what each costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from recurra.comparing.comparison import Comparison, Row, Versus
from recurra.drawing import Axis, Bars, Column, Line, Mark, Picture, Plot, Points, Rule, Table
from recurra.drawing.markup import Markup, tag
from recurra.drawing.words import number
from recurra.reporting.written import shortened

PAIRS = 28
"""Pairs that stand in the table: those with the best first."""
LETTERS = 18
"""Letters of the name of a variant beside an axis."""
COLORED = 7
"""Variants that have colours of their own."""


def pictures(made: Comparison) -> Iterator[Picture]:
    """Give the pictures of a comparison, in the order of a page."""
    yield _means(made)
    yield _differences(made)
    yield _chances(made)
    yield _costs(made)
    if any(row.tried for row in made.rows):
        yield _rates(made)


def head_of(made: Comparison) -> Markup:
    """Return the head of the page of a comparison: its verdict, and what was compared how."""
    seeds = len(made.seeds)
    facts = [
        ("figure", f"{made.metric}, {_better(made)}"),
        ("measured on", made.split),
        ("variants", len(made.rows)),
        ("seeds of each", seeds),
        ("made equal", "nothing" if made.match == "none" else made.match),
        ("comparison", made.folder),
    ]
    pairs = [tag("div", tag("dt", name), tag("dd", number(value))) for name, value in facts]
    return tag(
        "header",
        tag("h1", made.task),
        tag("p", made.verdict, class_="verdict"),
        tag("dl", *pairs, class_="facts"),
    )


def _axis(rows: Sequence[Row], bars: bool = False) -> Axis:
    """Return an axis of variants, of which the first is on top: `bars` are counted from there."""
    names = [f"{row.rank}  {shortened(row.name, LETTERS - 3)}" for row in rows]
    return Axis("", names=names if bars else names[::-1])


def _places(rows: Sequence[Row]) -> dict[str, int]:
    """Return where each variant stands on that axis."""
    return {row.name: place for place, row in enumerate(reversed(rows))}


def _values(row: Row) -> np.ndarray:
    """Return the figures of the seeds; nan where one failed."""
    return np.array([math.nan if value is None else value for value in row.values])


def _better(made: Comparison) -> str:
    return "higher is better" if made.higher else "lower is better"


def _across(name: str, limits: Sequence[float], at: int, color: Any) -> Line:
    """Return an interval, as a line across."""
    return Line(name, [*limits], [float(at)] * 2, color=color)


def _height(rows: int) -> float:
    return max(110.0, 30.0 * rows)


def _means(made: Comparison) -> Picture:
    """Return the mean of each variant with its interval, and its seeds as points."""
    rows, places = made.rows, _places(made.rows)
    seeds = [(value, places[row.name]) for row in rows for value in _values(row)]
    marks: list[Mark] = [
        _across("95 % interval of the mean", row.interval, places[row.name], 0)
        for row in rows
        if row.interval is not None
    ]
    aside = [at - 0.22 for _, at in seeds]
    marks.append(Points("a seed", [value for value, _ in seeds], aside, color=7))
    whole = [row for row in rows if row.mean is not None]
    means = [row.mean for row in whole]
    marks.append(Points("mean", means, [float(places[row.name]) for row in whole], color=0))
    label = f"{made.metric}, {_better(made)}"
    plot = Plot(
        "Each variant over all seeds",
        Axis(label),
        _axis(rows),
        marks,
        height=_height(len(rows)),
        data=[
            Column("variant", [row.name for row in rows]),
            Column("rank", [row.rank for row in rows]),
            Column("mean", [row.mean for row in rows]),
            Column("interval from", [row.interval and row.interval[0] for row in rows]),
            Column("interval to", [row.interval and row.interval[1] for row in rows]),
            *(
                Column(f"seed {seed}", [row.values[at] for row in rows])
                for at, seed in enumerate(made.seeds)
            ),
        ],
    )
    panels: list[Any] = [plot]
    if len(made.seeds) > 1:
        panels.append(_by_seed(made))
    return Picture("means", "Which is better", [*panels, _table(made)], made.verdict)


def _by_seed(made: Comparison) -> Plot:
    """Return the figure of each variant seed by seed: those of one seed read the same batches."""
    names = [str(seed) for seed in made.seeds]
    marks: list[Mark] = []
    for index, row in enumerate(made.rows):
        color: Any = index if index < COLORED else "faint"
        marks.append(Line(row.name, np.arange(len(names)), _values(row), color=color))
        marks.append(Points(row.name, np.arange(len(names)), _values(row), color=color))
    columns = [Column("seed", made.seeds)]
    columns += [Column(row.name, row.values) for row in made.rows]
    axes = Axis("seed", names=names), Axis(made.metric)
    return Plot("Seed by seed", *axes, marks, height=_height(len(made.rows)), data=columns)


def _table(made: Comparison) -> Table:
    """Return what is known of each variant."""
    count = len(made.seeds)
    titles = ("variant", "rank", "mean", "from", "to", "better than others", "rate", "failed")
    rows = [
        [
            row.name,
            row.rank,
            row.mean,
            *(row.interval or (None, None)),
            row.improvement,
            row.rate,
            f"{len(row.failures)} of {count}" if row.failures else "",
        ]
        for row in made.rows
    ]
    notes = " ".join(f"{note}." for note in made.notes)
    return Table("All variants", titles, rows, wide=True, notes=notes, highlight=(0,))


def _differences(made: Comparison) -> Picture:
    """Return how far each variant is from the best, with intervals, and all pairs as a table."""
    best = made.rows[0].name
    pairs = [pair for pair in made.pairs if best in (pair.first, pair.second)]
    known = {_other(pair, best): _from_best(pair, best) for pair in pairs}
    others = [row for row in made.rows[1:] if known[row.name][0] is not None]
    panels: list[Any] = []
    if others:
        panels.append(_forest(made, others, known))
    rows = []
    for pair in sorted(made.pairs, key=lambda pair: best not in (pair.first, pair.second)):
        limits = pair.interval or (None, None)
        said = f"{pair.better} is better" if pair.better else pair.why
        rows.append([f"{pair.first} - {pair.second}", pair.difference, *limits, said])
    notes = ""
    if len(rows) > PAIRS:
        notes = f"{PAIRS} of {len(rows)} pairs, those with {best} first"
    titles = ("pair", "difference", "from", "to", "verdict")
    panels.append(Table("Every pair", titles, rows[:PAIRS], notes=notes))
    count = len(made.pairs)
    caption = (
        f"Differences seed by seed from {best}. Intervals are Student's, at a level that is shared"
        f" out over {count} pair{'s' if count > 1 else ''}: what holds 0 may be noise."
    )
    return Picture("differences", "What is noise", panels, caption)


def _other(pair: Versus, best: str) -> str:
    return pair.second if pair.first == best else pair.first


def _from_best(pair: Versus, best: str) -> tuple[float | None, tuple[float, float] | None, Versus]:
    """Return how far the other of a pair is above the best, and the interval of that."""
    if pair.difference is None:
        return None, None, pair
    sign = 1 if pair.second == best else -1
    limits = None
    if pair.interval is not None:
        low, high = sorted(sign * limit + 0.0 for limit in pair.interval)
        limits = low, high
    return sign * pair.difference + 0.0, limits, pair


def _forest(made: Comparison, rows: Sequence[Row], known: Any) -> Plot:
    """Return how far some variants are from the best, each with its interval."""
    places, best = _places(rows), made.rows[0].name
    marks: list[Mark] = [Rule("no difference", x=0.0, color="faint")]
    drawn: list[tuple[Row, float, tuple[float, float] | None, Versus]] = [
        (row, *known[row.name]) for row in rows
    ]
    for color, name, beyond in ((3, "beyond noise", True), (7, "may be noise", False)):
        some = [each for each in drawn if (each[3].better is not None) == beyond]
        marks += [
            _across(name, limits, places[row.name], color)
            for row, _, limits, _ in some
            if limits is not None
        ]
        if some:
            at = [float(places[each[0].name]) for each in some]
            marks.append(Points(name, [each[1] for each in some], at, color=color))
    return Plot(
        f"How far from {shortened(best, 40)}",
        Axis(f"{made.metric}, less that of {shortened(best, LETTERS)}"),
        _axis(rows),
        marks,
        height=_height(len(rows)),
        data=[
            Column("variant", [row.name for row in rows]),
            Column("difference", [each[1] for each in drawn]),
            Column("from", [each[2] and each[2][0] for each in drawn]),
            Column("to", [each[2] and each[2][1] for each in drawn]),
            Column("verdict", ["beyond noise" if e[3].better else e[3].why for e in drawn]),
        ],
    )


def _chances(made: Comparison) -> Picture:
    """Return the chance that a run of a variant is better than one of another."""
    at = range(len(made.rows))
    values = [100 * row.improvement for row in made.rows]
    marks: list[Mark] = [
        Bars("better than a run of another", at, values, across=True),
        Rule("as good as any", x=50.0, color="faint"),
    ]
    plot = Plot(
        "A run of it is better than one of another",
        Axis("runs", "%", low=0, high=100),
        _axis(made.rows, bars=True),
        marks,
        height=_height(len(made.rows)),
        data=[
            Column("variant", [row.name for row in made.rows]),
            Column("better than a run of another", values, "%"),
        ],
    )
    caption = "A tie counts half, and a seed that failed is worse than any run."
    return Picture("improvement", "How often it is better", [plot], caption)


def _costs(made: Comparison) -> Picture:
    """Return what each variant costs: time and memory of training, and its sizes."""
    rows, at = made.rows, range(len(made.rows))
    names = Column("variant", [row.name for row in rows])
    seconds = {row.name: 1e3 * made.seconds.get(row.name, math.nan) for row in rows}
    panels: list[Any] = []
    for title, unit, values in (
        ("A step of training", "ms", [seconds[row.name] for row in rows]),
        ("Memory of training", "MB", [row.memory / 1e6 for row in rows]),
    ):
        panels.append(
            Plot(
                title,
                Axis(title.lower(), unit, low=0),
                _axis(rows, bars=True),
                [Bars(title, at, values, across=True)],
                height=_height(len(rows)),
                data=[names, Column(title, values, unit)],
            )
        )
    whole = [row for row in rows if row.mean is not None and math.isfinite(seconds[row.name])]
    if len(whole) > 1:
        panels.append(_against_time(made, whole, seconds))
    titles = (
        "variant",
        "hidden",
        "off budget",
        "recurrent",
        "encoder",
        "head",
        "state",
        "flops",
        "ms",
        "MB",
    )
    sizes = [
        [
            row.name,
            row.hidden_size,
            None if row.error is None else f"{row.error:+.1%}",
            row.recurrent,
            row.encoder,
            row.head,
            row.state,
            row.flops,
            seconds[row.name],
            row.memory / 1e6,
        ]
        for row in rows
    ]
    panels.append(Table("Sizes", titles, sizes, wide=True))
    matched = "nothing is made equal" if made.match == "none" else f"equal {made.match}"
    caption = (
        f"With {matched}. Time is of a step forward and back with one thread, measured in turns"
        " before the trials; memory is by arithmetic."
    )
    return Picture("costs", "What each costs", panels, caption)


def _against_time(made: Comparison, rows: Sequence[Row], seconds: dict[str, float]) -> Plot:
    """Return the figure of each variant by the time of a step."""
    marks: list[Mark] = []
    for index, row in enumerate(rows):
        color: Any = index if index < COLORED else "faint"
        marks.append(Points(row.name, [seconds[row.name]], [row.mean], color=color))
    return Plot(
        "Figure by time",
        Axis("a step of training", "ms", low=0),
        Axis(f"{made.metric}, {_better(made)}"),
        marks,
        height=_height(len(made.rows)),
        data=[
            Column("variant", [row.name for row in rows]),
            Column("a step of training", [seconds[row.name] for row in rows], "ms"),
            Column(made.metric, [row.mean for row in rows]),
        ],
    )


def _rates(made: Comparison) -> Picture:
    """Return what each learning rate that was tried gave on validation."""
    rates = sorted({float(rate) for row in made.rows for rate in row.tried})
    marks: list[Mark] = []
    columns = [Column("learning rate", rates)]
    for index, row in enumerate(made.rows):
        tried = {float(rate): value for rate, value in row.tried.items()}
        values = [tried.get(rate) for rate in rates]
        color: Any = index if index < COLORED else "faint"
        marks += [
            Line(row.name, rates, values, color=color),
            Points(row.name, rates, values, color),
        ]
        columns.append(Column(row.name, values))
    axes = Axis("learning rate", scale="log"), Axis("monitored on validation")
    plot = Plot("Learning rates that were tried", *axes, marks, data=columns)
    best = ", ".join(f"{row.name} {row.rate:g}" for row in made.rows if row.rate is not None)
    return Picture("rates", "Which learning rate each has", [plot], f"The best of each: {best}.")
