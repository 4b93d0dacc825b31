"""What was generated in training, step by step: texts in a table, numbers as lines."""

from __future__ import annotations

import numpy as np

from recurra.drawing import Axis, Line, Panel, Picture, Plot, Table
from recurra.reporting.view import Left, View
from recurra.runs.folder import parsed_samples

MOST = 10
"""Samples that are shown, from the first to the last."""
LONGEST = 600
"""Letters of one that are shown."""


def picture(view: View) -> Picture:
    """Return some of the samples of a run, from the first to the last. Raises `Left` for none."""
    found = parsed(view.samples())
    if not found:
        raise Left("nothing was generated in training")
    places = sorted({round(n) for n in np.linspace(0, len(found) - 1, MOST)})
    shown = [found[n] for n in places]
    said = f"{len(shown)} of {len(found):,} samples. " if len(shown) < len(found) else ""
    columns = [_numbers(text) for _, text in shown]
    if all(columns):
        panel: Panel = _lines(shown, [column for column in columns if column])
    else:
        rows = [[name, _cut(text)] for name, text in shown]
        panel = Table("", ["step", "generated"], rows, wide=True)
    caption = said + "The last is of the best weights, the others of those of their step."
    return Picture("samples", "Samples by step", [panel], caption)


def parsed(text: str) -> list[tuple[str, str]]:
    """Return the samples of samples.txt, each with its step, in their order."""
    found = parsed_samples(text.encode("utf-8", "replace"))
    return [(f"{step:,}{', final' if final else ''}", inner) for step, final, inner in found]


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _numbers(text: str) -> list[float] | None:
    """Return the numbers of a sample, of the first column where there are several."""
    try:
        return [float(line.replace(",", " ").split()[0]) for line in text.splitlines()]
    except (ValueError, IndexError):
        return None


def _lines(shown: list[tuple[str, str]], columns: list[list[float]]) -> Plot:
    """Return samples of numbers as lines: the last in the colour of the model, others fainter."""
    lines = [
        Line(
            f"step {name}", range(1, len(values) + 1), values, "faint" if n < len(shown) - 1 else 0
        )
        for n, ((name, _), values) in enumerate(zip(shown, columns, strict=True))
    ]
    return Plot(
        "What comes next, by step of training",
        Axis("steps ahead", whole=True),
        Axis("value"),
        lines,
        wide=True,
    )
