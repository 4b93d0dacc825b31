"""What was read of sequences that answers are about, as a text or as lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from recurra.drawing import Axis, HeatMap, Line, Plot, Table
from recurra.reporting.view import Left, View
from recurra.reporting.written import number, numbers, shortened, tables

CHARACTERS = 160
"""Characters of a text that are shown."""
STEPS = 400
"""Steps of a sequence of numbers that are shown, from its first on."""
COLUMNS = 4
"""Columns of numbers that are shown as lines,"""
MAPPED = 40
"""and of more as the rows of a map."""


def most_wrong(view: View) -> Iterator[Table | Plot]:
    """Give the sequences that were answered worst, with what was read where the data is there."""
    wrong = list(tables(view.result.get("most_wrong")))
    if not wrong:
        return
    try:
        data: Any = view.data()
    except Left:
        data = None
    read = [None if data is None else _row(data, each) for each in wrong]
    texts = ["" if data is None or row is None else text_of(data, row) for row in read]
    by_chance = any("chance" in each for each in wrong)

    titles = ["sequence", "came", "predicted"]
    titles += ["chance of what came"] if by_chance else []
    titles += ["what was read"] if any(texts) else []
    rows = []
    for each, text in zip(wrong, texts, strict=True):
        row: list[Any] = [each.get("sequence"), told(each.get("came")), told(each.get("predicted"))]
        row += [number(each.get("chance"))] if by_chance else []
        row += [text] if any(texts) else []
        rows.append(row)
    notes = "the first sequence of the data has number 1"
    yield Table("The sequences most wrong", titles, rows, wide=any(texts), notes=notes)

    if data is not None and not any(texts):
        for each, place in zip(wrong[:3], read, strict=False):
            if place is not None:
                came, said = told(each.get("came")), told(each.get("predicted"))
                title = f"Sequence {each.get('sequence')}: {came}, said to be {said}"
                yield seen(data, place, shortened(title, 80))


def told(answer: Any) -> Any:
    """Return an answer as a cell shows it: several numbers as a text."""
    if isinstance(answer, list):
        return ", ".join(f"{each:z.4g}" for each in numbers(answer).tolist())
    return shortened(answer, 80) if isinstance(answer, str) else answer


def _row(data: Any, wrong: Any) -> int | None:
    """Return the place of a sequence in the data, if it has one."""
    place = wrong.get("sequence")
    if not isinstance(place, int) or not 1 <= place <= len(data.store.starts):
        return None
    return place - 1


def text_of(data: Any, row: int) -> str:
    """Return the beginning of a sequence as a text, where it is one."""
    begin, end = int(data.store.starts[row]), int(data.store.ends[row])
    values = data.store.spans(np.array([begin]), min(end - begin, CHARACTERS))[0]
    return shortened(data.elements.readable(data.vocabulary, values), CHARACTERS)


def seen(data: Any, row: int, title: str) -> Plot:
    """Return the beginning of a sequence of numbers: a few columns as lines, many as a map."""
    begin, end = int(data.store.starts[row]), int(data.store.ends[row])
    values = data.store.spans(np.array([begin]), min(end - begin, STEPS))[0]
    read = np.asarray(values, np.float64).reshape(len(values), -1)
    width = read.shape[1]
    names = data.source.features() or [f"column {at + 1}" for at in range(width)]
    shown = names[: MAPPED if width > COLUMNS else COLUMNS]
    titles = [shortened(name, 24) for name in shown]
    notes = f"The first {len(shown)} of {width:,} columns." if len(shown) < width else ""
    if width > COLUMNS:
        steps = [str(step) for step in range(1, len(read) + 1)]
        cells = HeatMap("read", read[:, : len(shown)].T)
        axes = Axis("step", names=steps), Axis("", names=titles)
        return Plot(title, *axes, [cells], height=160, notes=notes)
    at = np.arange(1, len(read) + 1)
    marks = [Line(name, at, read[:, place], color=place) for place, name in enumerate(titles)]
    return Plot(title, Axis("step", whole=True), Axis("read"), marks, height=160, notes=notes)
