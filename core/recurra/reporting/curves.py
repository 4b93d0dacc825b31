"""How training went: loss and best step, learning rate, gradient norm, pace, validation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from recurra.drawing import Axis, Line, Mark, Panel, Picture, Plot, Rule
from recurra.reporting.view import Left, View
from recurra.runs.listing import number, short

WIDE_SPAN = 30.0
"""How many times the least the greatest of a curve is, from where on a logarithm shows it."""
FIGURES = 6
"""Figures of validation that have a curve, at most."""
NOT_FIGURES = ("step", "epoch", "split", "final", "tokens")


@dataclass
class Curve:
    """Values by step; what is no number is None."""

    steps: list[int] = field(default_factory=list)
    values: list[float | None] = field(default_factory=list)

    def add(self, step: int, value: float | None) -> None:
        """Take one more."""
        self.steps.append(step)
        self.values.append(value)


@dataclass
class History:
    """All that was recorded of training, a curve for each figure of each split."""

    train: dict[str, Curve] = field(default_factory=lambda: defaultdict(Curve))
    validation: dict[str, Curve] = field(default_factory=lambda: defaultdict(Curve))


def history(records: Iterable[Mapping[str, Any]]) -> History:
    """Return the curves of records, one by one: what is no figure in them is left out."""
    made = History()
    sides = {"train": made.train, "validation": made.validation}
    for record in records:
        side = sides.get(record["split"])
        if side is None or record.get("final"):
            continue
        for key, value in record.items():
            if key not in NOT_FIGURES:
                side[key].add(record["step"], number(value))
    return made


def picture(view: View) -> Picture:
    """Return how the training of a run went. Raises `Left` where nothing was recorded."""
    made = history(view.records())
    if not made.train and not made.validation:
        raise Left(" ".join(["nothing of its training was recorded", *view.damage]).rstrip("."))
    panels: list[Panel] = [_loss(made, best_step(view), loss_of(view))]
    panels += _training(made)
    panels += _pace(view)
    panels += _validation(made)
    return Picture("curves", "Training", panels, _caption(view, made))


def best_step(view: View) -> int | None:
    """Return the step whose weights are the best, if the run says."""
    told = view.result.get("weights_of_step")
    if type(told) is int:
        return told
    # The monitor has chosen it, where there is a validation split.
    told = view.json("checkpoints/index.json").get("best")
    return told if type(told) is int else None


def loss_of(view: View) -> str:
    """Return what the loss of a run is, in words."""
    part = view.task.get("loss")
    kind = part.get("kind") if isinstance(part, dict) else None
    return short(str(kind)).replace("_", " ") if kind else ""


def _caption(view: View, made: History) -> str:
    said = []
    if not made.validation:
        said.append("There was no validation: nothing tells from these curves what is overfitted.")
    ended = view.result.get("ended")
    if isinstance(ended, str):
        said.append(f"Training ended: {ended}.")
    elif view.row.get("why"):
        said.append(f"The run is {view.state}: {view.row['why']}.")
    said += view.damage
    return " ".join(said)


def _scale(*curves: Curve) -> Literal["linear", "log"]:
    """Return the scale that shows curves best: all above 0, and of very different sizes, a log."""
    values = [v for curve in curves for v in curve.values if v is not None and v == v]
    if not values or min(values) <= 0:
        return "linear"
    return "log" if max(values) > WIDE_SPAN * min(values) else "linear"


def _loss(made: History, best: int | None, kind: str) -> Plot:
    curves = [side["loss"] for side in (made.train, made.validation) if "loss" in side]
    marks: list[Mark] = []
    if "loss" in made.train:
        marks.append(Line("training", made.train["loss"].steps, made.train["loss"].values))
    if "loss" in made.validation:
        curve = made.validation["loss"]
        marks.append(Line("validation", curve.steps, curve.values, 1))
        if best is not None:
            marks.append(Rule(f"best step, {best:,}", x=best))
    return Plot(
        "Loss",
        Axis("updates", low=0, whole=True),
        Axis("loss", kind, scale=_scale(*curves)),
        marks,
        height=240,
        wide=True,
    )


def _training(made: History) -> list[Panel]:
    panels: list[Panel] = []
    for key, title in (("rate", "Learning rate"), ("gradient_norm", "Gradient norm")):
        if key not in made.train:
            continue
        curve = made.train[key]
        y = Axis(title.lower(), scale=_scale(curve) if key == "gradient_norm" else "linear")
        if key == "rate":
            y = Axis(title.lower(), low=0)
        line = Line(title.lower(), curve.steps, curve.values)
        panels.append(Plot(title, Axis("updates", low=0, whole=True), y, [line], height=150))
    return panels


def _pace(view: View) -> list[Panel]:
    """Return how many scored steps a second training took, between one record and the next."""
    curve = pace(view)
    if not curve.steps:
        return []
    line = Line("tokens a second", curve.steps, curve.values)
    plot = Plot(
        "Tokens a second",
        Axis("updates", low=0, whole=True),
        Axis("scored steps a second", low=0),
        [line],
        height=150,
    )
    return [plot]


def pace(view: View) -> Curve:
    """Return the pace of training by step, as the last checkpoint has noted it."""
    curve, before = Curve(), (0.0, 0.0)
    step = view.json("checkpoints/index.json").get("last")
    noted = view.json(f"checkpoints/step-{step}/state.json").get("pace")
    for each in noted if isinstance(noted, list) else ():
        numbers = [number(value) for value in each] if isinstance(each, list) else []
        if len(numbers) != 3 or None in numbers:
            continue
        at, tokens, seconds = (value for value in numbers if value is not None)
        spent, done = seconds - before[1], tokens - before[0]
        curve.add(int(at), done / spent if spent > 0 else None)
        before = (tokens, seconds)
    return curve


def _validation(made: History) -> list[Panel]:
    """Return a curve for each figure of validation but the loss."""
    panels: list[Panel] = []
    for name, curve in [*made.validation.items()]:
        if name != "loss" and any(v is not None for v in curve.values) and len(panels) < FIGURES:
            words = name.replace("_", " ")
            axis = Axis(words, scale=_scale(curve))
            line = Line(words, curve.steps, curve.values, 1)
            x = Axis("updates", low=0, whole=True)
            panels.append(Plot(f"{words}, validation", x, axis, [line], height=150))
    return panels


def together(views: Sequence[View]) -> Picture:
    """Return the losses of several runs, each beside the others. Raises `Left` as `picture` does.

    Each has a colour; training is dashed where there is a validation split.
    """
    marks: dict[str, list[Mark]] = {"train": [], "validation": []}
    curves: dict[str, list[Curve]] = {"train": [], "validation": []}
    for n, view in enumerate(views):
        made = history(view.records())
        for split, side in (("train", made.train), ("validation", made.validation)):
            if "loss" in side:
                curve = side["loss"]
                marks[split].append(Line(label(view), curve.steps, curve.values, n % 8))
                curves[split].append(curve)
    titles = {"train": "Loss of training", "validation": "Loss of validation"}
    most = max(1000 // max(len(views), 1), 100)
    panels = [
        Plot(
            titles[split],
            Axis("updates", low=0, whole=True),
            Axis("loss", scale=_scale(*curves[split])),
            marks[split],
            most=most,
        )
        for split in ("train", "validation")
        if marks[split]
    ]
    if not panels:
        raise Left("nothing of their training was recorded")
    return Picture("together", "Training, run beside run", panels)


def label(view: View) -> str:
    """Return what a run is called beside others: its task and its number."""
    number = view.path.name
    return f"{view.name}/{number}" if number != view.name else number
