"""Pictures of answers that are classes: what each was said to be, and how far chances hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.data.labels import Labels
from recurra.drawing import Axis, Bars, Column, HeatMap, Line, Picture, Plot, Points, Table
from recurra.reporting.reading import most_wrong
from recurra.reporting.rereading import Chances, Pairs, tallied
from recurra.reporting.view import Left, View
from recurra.reporting.written import shortened, table

SHOWN = 30
"""Classes of a confusion matrix that stand by themselves, beside all others."""
WRITTEN = 12
"""Classes up to which the shares are written into the cells,"""
NARROW = 16
"""and up to which the matrix stands beside another panel."""
MOST = 200
"""Classes that are counted by themselves where no figures tell them."""
OTHERS = "the others"
LISTED = 100
"""Classes that a table lists."""
COUNTED = 2**53 / 1e6
"""Answers of a cell, at most: what is more was not counted, and sums would no longer be right."""


class Confused(NamedTuple):
    """How often each class was predicted `[C, C]`, a row for each that came.

    `of` tells, in words that end a sentence, of which part of a split, if not of all.
    """

    classes: list[str]
    counts: NDArray[np.int64]
    of: str = ""


def confusion(view: View) -> Picture:
    """Return the confusion matrix, the figures of each class, and the sequences most wrong."""
    whole = confused(view.result) or _counted(view)
    shown = largest(whole, SHOWN)
    names = [shortened(name, 24) for name in shown.classes]
    size = len(names)
    total = int(whole.counts.sum())
    right = int(np.trace(whole.counts))

    # A class that is frequent would drown the others: each row is a share of what came.
    came = shown.counts.sum(axis=1, keepdims=True)
    shares = np.divide(100.0 * shown.counts, came, out=np.zeros((size, size)), where=came > 0)
    few = size <= WRITTEN
    matrix = Plot(
        "What each class was said to be",
        Axis("predicted", names=names),
        Axis("came", names=names),
        [HeatMap("share of what came", shares.round(1), unit="%", low=0, high=100, shown=few)],
        height=max(180, min(520, 60 + 22 * size)),
        wide=size > NARROW,
        data=_cells(shown),
    )
    caption = f"{right:,} of {total:,} answers of the {view.held_out} split are right{whole.of}."
    if size < len(whole.classes):
        caption += (
            f" The {size - 1} classes that are confused most stand by themselves, out of"
            f" {len(whole.classes):,}."
        )
    panels = [matrix, _by_class(whole), *most_wrong(view)]
    return Picture("confusion", "Which classes are confused", panels, caption)


def confused(result: Mapping[str, Any]) -> Confused | None:
    """Return the confusion matrix of a result, if it has one.

    Raises `Left` where what is called so is none.
    """
    if "confusion" not in result:
        return None
    found = table(result["confusion"])
    classes, counts = found.get("classes"), found.get("counts")
    if not isinstance(classes, list) or not isinstance(counts, list) or not classes:
        raise Left("its confusion matrix is none of classes and counts")
    try:
        matrix = np.array(counts, np.float64)
    except (TypeError, ValueError):
        matrix = np.array(math.nan)
    square = matrix.shape == (len(classes), len(classes))
    if not square or not ((matrix >= 0) & (matrix <= COUNTED)).all():
        raise Left("its confusion matrix is no square of counts")
    return Confused([str(name) for name in classes], matrix.astype(np.int64))


def _counted(view: View) -> Confused:
    """Return the confusion matrix of a part of the split, read again.

    Raises `Left` where answers are no classes that stand in a column of their own.
    """
    run = view.run
    if not isinstance(run.answers, Labels):
        raise Left("its answers are no classes")
    data = view.data()
    sums = Pairs(data)
    with run.computing():
        count, total = tallied(data, run.network, view.split, sums)
    if not sums.pairs:
        raise Left(f"nothing is scored in the {view.held_out} split")
    often = Counter(each for pair, times in sums.pairs.items() for each in pair * times)
    ids = sorted(each for each, _ in often.most_common(MOST))
    names = [data.answers.symbol(each) for each in ids]
    names += [OTHERS] if len(often) > len(ids) else []
    place = {each: at for at, each in enumerate(ids)}
    counts = np.zeros((len(names), len(names)), np.int64)
    for (came, said), times in sums.pairs.items():
        counts[place.get(came, len(ids)), place.get(said, len(ids))] += times
    of = f", of {count:,} of {total:,} sequences or stretches of such" if count < total else ""
    return Confused(names, counts, of)


def largest(whole: Confused, limit: int) -> Confused:
    """Return a matrix of no more than `limit` classes and one for all others.

    Those are left that are part of the most errors.
    """
    if len(whole.classes) <= limit + 1:
        return whole
    wrong = whole.counts - np.diag(np.diag(whole.counts))
    errors = wrong.sum(axis=0) + wrong.sum(axis=1)
    chosen = np.sort(np.argsort(-errors, kind="stable")[:limit])
    place = np.full(len(whole.classes), limit)
    place[chosen] = np.arange(limit)
    counts = np.zeros((limit + 1, limit + 1), np.int64)
    rows, columns = np.nonzero(whole.counts)
    np.add.at(counts, (place[rows], place[columns]), whole.counts[rows, columns])
    names = [whole.classes[index] for index in chosen.tolist()]
    return Confused([*names, f"{OTHERS} ({len(whole.classes) - limit:,})"], counts)


def _cells(shown: Confused) -> list[Column]:
    """Return the cells of a matrix that are not 0, one below the other."""
    rows, columns = np.nonzero(shown.counts)
    counts = shown.counts[rows, columns]
    came = shown.counts.sum(axis=1)[rows]
    names = np.array(shown.classes, dtype=object)
    return [
        Column("came", names[rows].tolist()),
        Column("predicted", names[columns].tolist()),
        Column("answers", counts.tolist()),
        Column("share of what came", (100.0 * counts / came).round(1).tolist(), "%"),
    ]


def _by_class(whole: Confused) -> Table:
    """Return the recall, the precision and F1 of each class, those of the most errors first."""
    came, said = whole.counts.sum(axis=1), whole.counts.sum(axis=0)
    right = np.diag(whole.counts)
    order = np.argsort(-(came + said - 2 * right), kind="stable")[:LISTED]
    rows = []
    for index in order.tolist():
        parts = int(came[index]), int(said[index]), int(right[index])
        rows.append([whole.classes[index], *parts, *_shares(*parts)])
    notes = "the classes with the most errors first"
    if len(whole.classes) > LISTED:
        notes = f"the {LISTED} classes with the most errors, of {len(whole.classes):,}"
    titles = ("class", "came", "predicted", "right", "recall", "precision", "F1")
    return Table("How well each class is known", titles, rows, notes=notes)


def _shares(came: int, said: int, right: int) -> list[float | None]:
    """Return the recall, the precision and F1; None where nothing of a class came, or was said."""
    recall = right / came if came else None
    precision = right / said if said else None
    f1 = 2 * right / (came + said) if came + said else None
    return [recall, precision, f1]


def chances(view: View) -> Picture:
    """Return how often the likeliest answer was right, by the chance that it was given."""
    run, data = view.run, view.data()
    sums = Chances(data)
    with run.computing():
        count, total = tallied(data, run.network, view.split, sums)
    some = sums.count > 0
    if not some.any():
        raise Left(f"nothing is scored in the {view.held_out} split")
    answers = sums.count[some]
    given, right = sums.chances[some] / answers, sums.right[some] / answers
    plot = Plot(
        "Chance given, and share that was right",
        Axis("chance of the likeliest answer", low=0, high=1),
        Axis("share of answers that are right", low=0, high=1),
        [
            Line("as it should be", [0.0, 1.0], [0.0, 1.0], color="faint", dashed=True),
            Line("the model", given, right, color=0),
            Points("the model", given, right, color=0),
        ],
        data=[
            Column("chance of the likeliest answer", given.tolist()),
            Column("share right", right.tolist()),
            Column("answers", answers.astype(int).tolist()),
        ],
    )
    where = Plot(
        "Where the answers lie",
        Axis("chance of the likeliest answer, up to", names=[f"{n / 10:g}" for n in range(1, 11)]),
        Axis("answers", whole=True, low=0),
        [Bars("answers", np.arange(Chances.PARTS), sums.count)],
    )
    away = float((np.abs(given - right) * answers).sum() / answers.sum())
    caption = (
        f"Below the line it is too sure, above it not sure enough; on average by {away:.2g}"
        f" (expected calibration error). Of {count:,} of {total:,} sequences, or stretches of"
        f" such, of the {view.held_out} split, {int(answers.sum()):,} answers."
    )
    return Picture("calibration", "Whether chances hold", [plot, where], caption)
