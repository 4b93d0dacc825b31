"""Pictures of answers, by what these are: calibration, tags, completions, numbers, surprise."""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from recurra.data.quantities import Quantities
from recurra.drawing import (
    Axis,
    Bars,
    Column,
    Line,
    Mark,
    Picture,
    Piece,
    Plot,
    Points,
    Table,
    Tagged,
)
from recurra.drawing.marks import Color
from recurra.errors import RecurraError
from recurra.model import sequences
from recurra.reporting import classes, forecasts
from recurra.reporting.reading import most_wrong
from recurra.reporting.rereading import answerable, batches, surprises
from recurra.reporting.view import Left, View
from recurra.reporting.written import shortened, table, tables

CALIBRATED: dict[str, Callable[[View], Picture]] = {
    "symbols": classes.chances,
    "numbers": forecasts.levels,
}
"""Whether answers hold what they promise, by what these are."""
COLUMNS = 4
"""Numbers of one answer that are drawn."""
BARS = 16
"""Bars of errors, about."""
SURPRISED = 600
"""Symbols of a text that are shaded."""
SURE = 8.0
"""Nats at which a symbol is shaded darkest."""


def calibration(view: View) -> Picture:
    """Return how far the chances, or the intervals, of answers hold."""
    return CALIBRATED[view.run.answers.yields](view)


def tags(view: View) -> Picture:
    """Return a sequence with the answers to its steps, beside what came."""
    found = table(view.result.get("tagged"))
    runs = [each for each in tables(found.get("runs")) if isinstance(each.get("steps"), int)]
    if not runs:
        raise Left("its figures have no tagged sequence")
    steps = sum(each["steps"] for each in runs)
    wrong = sum(each["steps"] for each in runs if each.get("predicted") != each.get("came"))
    first = found.get("first", 1)
    caption = (
        f"Sequence {found.get('sequence')} of the data, from step {first} on:"
        f" {steps - wrong:,} of {steps:,} steps are right."
    )
    if all(isinstance(each.get("read"), str) and each["read"] for each in runs):
        panels: list[Any] = [
            Tagged(title, [_piece(each, key) for each in runs])
            for title, key in (("What came", "came"), ("What the model says", "predicted"))
        ]
    else:
        panels = [_lanes(runs, int(first))]
    return Picture("tags", "A sequence, tag by tag", panels, caption)


def _piece(run: Any, key: str) -> Piece:
    """Return a run of steps with the tag that it has, or was given."""
    tag, other = str(run.get(key)), str(run.get("came"))
    wrong = tag != other
    title = f"{tag}, and it is {other}" if wrong else tag
    return Piece(run["read"], tag=tag, wrong=wrong, title=title)


def _lanes(runs: list[Any], first: int) -> Plot:
    """Return the tags of steps that are no text, each a lane."""
    names = sorted({str(each.get(key)) for each in runs for key in ("came", "predicted")})
    place = {name: index for index, name in enumerate(names)}
    ends = first + np.cumsum([each["steps"] for each in runs])
    starts = ends - [each["steps"] for each in runs]
    marks: list[Mark] = []
    columns = [Column("from step", starts.tolist()), Column("to step", (ends - 1).tolist())]
    lanes: tuple[tuple[str, Color, float], ...] = (("came", "ink", 0.12), ("predicted", 0, -0.12))
    for key, color, aside in lanes:
        tags = [str(each.get(key)) for each in runs]
        for start, end, tag in zip(starts.tolist(), ends.tolist(), tags, strict=True):
            marks.append(Line(key, [start, end], [place[tag] + aside] * 2, color=color))
        columns.append(Column(key, tags))
    axes = Axis("step", whole=True), Axis("tag", names=[shortened(name, 24) for name in names])
    return Plot("Tags that came, and that were predicted", *axes, marks, wide=True, data=columns)


def completions(view: View) -> Picture:
    """Return prompts with the answers that came, and those that were given."""
    found = list(tables(view.result.get("completions")))
    if not found:
        raise Left("its figures have no answers to prompts")
    rows, wrong = [], []
    pieces: list[Piece] = []
    for index, each in enumerate(found):
        prompt, came, said = (str(each.get(key)) for key in ("prompt", "came", "predicted"))
        ended = each.get("ended") is not False
        verdict = "right" if ended and came == said else "wrong" if ended else "no end"
        wrong += [] if verdict == "right" else [index]
        shown = [shortened(text, 200) for text in (prompt, came, said)]
        rows.append([each.get("sequence"), *shown, verdict])
        pieces += [Piece(f"{shown[0]} → "), *_differing(*shown[1:]), Piece("\n")]
    titles = ("sequence", "prompt", "came", "given", "verdict")
    panels: list[Table | Tagged] = [
        Table("Prompts and answers", titles, rows, wide=True, highlight=wrong),
        Tagged("Where answers go wrong", pieces, legend=False),
    ]
    caption = (
        f"{len(found) - len(wrong)} of {len(found)} are right; they lie evenly over the"
        f" {view.held_out} split. Underlined is what would have to be another, or not be there."
    )
    return Picture("completions", "What it answers to prompts", panels, caption)


def _differing(came: str, said: str) -> list[Piece]:
    """Return an answer in pieces, of which those are wrong that the right one has not there."""
    blocks = SequenceMatcher(None, came, said, autojunk=False).get_opcodes()
    pieces = []
    for what, low, high, begin, end in blocks:
        if end > begin:
            title = "" if what == "equal" else f"{came[low:high] or 'nothing'} came"
            pieces.append(Piece(said[begin:end], wrong=what != "equal", title=title))
    return pieces


def values(view: View) -> Picture:
    """Return numbers that were answered to sequences beside those that came, column by column."""
    came, said, total = answered(view)
    names = [table(each).get("name") for each in tables(view.result.get("columns"))]
    panels: list[Any] = []
    for at in range(min(came.shape[1], COLUMNS)):
        name = str(names[at]) if at < len(names) else ""
        ends = [float(np.nanmin(came[:, at])), float(np.nanmax(came[:, at]))]
        panels.append(
            Plot(
                f"Answer beside what came{f', {name}' if name else ''}",
                Axis("came"),
                Axis("answered"),
                [
                    Line("as it should be", ends, ends, color="faint", dashed=True),
                    Points("sequences", came[:, at], said[:, at]),
                ],
                data=[
                    Column("came", came[:, at].tolist()),
                    Column("answered", said[:, at].tolist()),
                ],
            )
        )
        panels.append(_errors(said[:, at] - came[:, at], name))
    panels += most_wrong(view)
    more = came.shape[1] - COLUMNS
    caption = f"{len(came):,} of {total:,} sequences of the {view.held_out} split."
    caption += f" The first {COLUMNS} of {came.shape[1]} numbers." if more > 0 else ""
    return Picture("values", "Numbers answered, beside those that came", panels, caption)


def answered(view: View) -> tuple[Any, Any, int]:
    """Return the numbers `[N, F]` that came and that were answered, and of how many sequences.

    Raises `Left` where answers are none to whole sequences, or classes.
    """
    run = view.run
    if not isinstance(run.answers, Quantities):
        raise Left("its answers are no numbers of whole sequences")
    data = view.data()
    split = data.splits[view.split]
    rows, total = answerable(data, split.scored())
    if not len(rows):
        raise Left(f"nothing is scored in the {view.held_out} split")
    came, said = [], []
    with run.computing():
        for batch in batches(data, run.network, rows):
            output = sequences.read(run.network, batch.x, batch.steps)
            said.append(run.network.loss.point(output).double().cpu().numpy())
            came.append(batch.y.double().cpu().numpy())
    own = [np.asarray(data.answers.decode(np.concatenate(side))) for side in (came, said)]
    return own[0], own[1], total


def _errors(errors: Any, name: str) -> Plot:
    """Return how many answers are off by how much."""
    finite = errors[np.isfinite(errors)]
    most = float(np.abs(finite).max(initial=0.0)) or 1.0
    step = _round(2 * most / BARS)
    edges = step * (
        np.arange(2 * np.ceil(most / step - 0.5) + 2) - np.ceil(most / step - 0.5) - 0.5
    )
    counts, _ = np.histogram(finite, edges)
    middles = (edges[1:] + edges[:-1]) / 2
    return Plot(
        f"How far off{f', {name}' if name else ''}",
        Axis("answered - came", names=[f"{middle + 0.0:.4g}" for middle in middles]),
        Axis("sequences", low=0, whole=True),
        [Bars("sequences", np.arange(len(counts)), counts)],
        data=[
            Column("from", edges[:-1].tolist()),
            Column("to", edges[1:].tolist()),
            Column("sequences", counts.tolist()),
        ],
    )


def _round(least: float) -> float:
    """Return the smallest of 1, 2, 5, 10 and so on, times a power of ten, that is no smaller."""
    power = 10.0 ** np.floor(np.log10(least))
    return float(next(times * power for times in (1, 2, 5, 10) if times * power >= least))


def surprise(view: View) -> Picture:
    """Return a text of the held-out split, shaded by how little the network expected it."""
    run = view.run
    if not run.resolved.target.generates:
        raise Left("it goes on with no text")
    try:
        run.elements.has("chances")
    except RecurraError as error:
        raise Left("it goes on with no text") from error
    data = view.data()
    with run.computing():
        found = surprises(data, run.network, view.split, SURPRISED)
    if found is None:
        raise Left(f"nothing is scored in the {view.held_out} split")
    pieces = [
        Piece(text, shade=min(1.0, nats / SURE), title=f"{nats:.2f} nats, p {np.exp(-nats):.2g}")
        for text, nats in zip(found.texts, found.nats, strict=True)
        if text
    ]
    mean = float(np.mean(found.nats))
    notes = f"{mean:.3g} nats a symbol; darkest from {SURE:g} nats on"
    panel = Tagged("How little each symbol was expected", pieces, notes=notes, legend=False)
    caption = (
        f"Sequence {found.row + 1} of the data, in the {view.held_out} split, read from a fresh"
        f" state: the first {len(found.texts):,} symbols after the first."
    )
    return Picture("surprise", "Where it is surprised", [panel], caption)
