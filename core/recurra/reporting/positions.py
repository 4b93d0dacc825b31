"""Pictures of how good answers are by how much of a sequence was read."""

from __future__ import annotations

import numpy as np

from recurra.drawing import Axis, Column, Line, Mark, Picture, Plot, Points, Rule
from recurra.reporting.stages import Staged, staged
from recurra.reporting.view import Left, View

POINTS = 40
"""Stages up to which each is marked."""
BESIDE = ("accuracy", "loss")
"""Figures that are shown beside the one that is judged, the first that there is."""


def position(view: View) -> Picture:
    """Return the figure that is judged by how much of a sequence was read, and another beside."""
    run, data = view.run, view.data()
    with run.computing():
        made = staged(data, run.network, view.split)
    if made is None:
        raise Left(f"nothing is scored in the {view.held_out} split")
    if len(made.stages) == 1:
        raise Left("as much of each sequence was read, so there is nothing to compare")
    if max(stage.answers for stage in made.stages) < 2:
        raise Left("after so many steps there is one answer alone, which says nothing")

    keys = [made.figure.name]
    shared = set.intersection(*({*stage.metrics} for stage in made.stages))
    keys += [key for key in BESIDE if key in shared and key not in keys][:1]
    panels = [_panel(view, made, key) for key in keys]
    better = "higher" if made.figure.higher else "lower"
    caption = (
        f"{made.figure.called.capitalize()}, the {better} the better, of {made.sequences:,} of"
        f" {made.total:,} {made.of} of the {view.held_out} split, each read from a fresh state on."
    )
    return Picture("position", "How good it is by what it has read", panels, caption)


def _panel(view: View, made: Staged, key: str) -> Plot:
    """Return a figure by what was read."""
    first = np.array([stage.first for stage in made.stages])
    last = np.array([stage.last for stage in made.stages])
    at = np.sqrt(first * last) if made.log else (first + last) / 2
    values = np.array([stage.metrics[key] for stage in made.stages], np.float64)
    called = made.figure.called if key == made.figure.name else key.replace("_", " ")
    marks: list[Mark] = [Line(called, at, values)]
    marks += [Points(called, at, values)] if len(at) <= POINTS else []
    trained = view.task.get("sequence", {}).get("length") if made.in_steps else None
    if isinstance(trained, int) and first[0] < trained < last[-1]:
        marks.append(Rule(f"window of training, {trained:,}", x=trained, color="faint"))
    return Plot(
        called.capitalize(),
        Axis(
            made.what,
            made.unit,
            scale="log" if made.log else "linear",
            whole=made.in_steps,
        ),
        Axis(called),
        marks,
        data=[
            Column(f"{made.what}, from", first.tolist(), made.unit),
            Column("to", last.tolist(), made.unit),
            Column(called, values.tolist()),
            Column("answers", [stage.answers for stage in made.stages]),
        ],
    )
