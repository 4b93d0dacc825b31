"""Wrong trackers, and right ones that they are made of."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

from liars import Liar
from recurra import Component, Field, Point, Tracker, TrackerOptions


class Plain(TrackerOptions):
    """Options of every tracker here."""

    note: str = Field("", description="of no consequence")


class Right(Tracker[Plain]):
    """Writes a line of JSON for each point."""

    texts = True

    def begin(self, run, state, step):
        self.path = self.place(run, state)
        kept = []
        if state is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        else:
            kept = self.kept(self.standing(), step)
        self.path.write_text("".join(map(self.line, kept)))

    def place(self, run, state):
        return run.place / "points.jsonl"

    def standing(self):
        if not self.path.exists():
            raise LookupError(f"{self.path} is gone")
        return self.read({"path": str(self.path)})

    def kept(self, points, step):
        return [point for point in points if point.step <= step and not point.final]

    def log(self, points):
        with self.path.open("a") as file:
            file.writelines(map(self.line, points))

    def flush(self):
        return {"path": str(self.path)}

    def end(self, how):
        return self.flush()

    def read(self, state):
        lines = Path(state["path"]).read_text().splitlines()
        return [Point(**json.loads(line)) for line in lines]

    def line(self, point):
        return json.dumps(point._asdict()) + "\n"


class LosesTheLast(Right):
    """K01: of several points the last is left for another time."""

    def log(self, points):
        super().log(points[:-1] if len(points) > 2 else points)


class RoundsFigures(Right):
    """K01: two digits are enough for a curve."""

    def line(self, point):
        return super().line(
            point._replace(figures={name: round(v, 2) for name, v in point.figures.items()})
            if all(map(math.isfinite, point.figures.values()))
            else point
        )


class TrimsSamples(Right):
    """K01: blanks at the ends of a sample are nothing to keep."""

    def line(self, point):
        return super().line(point._replace(text=point.text.strip()))


class SamplesPileUp(Right):
    """K03: a sample of a step that comes again is one more."""

    def kept(self, points, step):
        figures = super().kept(points, step)
        return [point for point in points if point.text or point in figures]


class KeepsToItself(Right):
    """K02: writes in the end."""

    def begin(self, run, state, step):
        self.waiting = []
        super().begin(run, state, step)

    def log(self, points):
        self.waiting += points

    def end(self, how):
        super().log(self.waiting)
        return super().end(how)


class GivesAPath(Right):
    """K02: its state is no JSON."""

    def flush(self):
        return {"path": self.path}

    def end(self, how):
        return {"path": str(self.path)}


class AppendsAll(Right):
    """K03: goes on behind what was told before."""

    def kept(self, points, step):
        return points


class BeginsAnew(Right):
    """K03: a run that goes on has no beginning."""

    def kept(self, points, step):
        return []


class KeepsWhatWasFinal(Right):
    """K03: the figures of an end that was none stay."""

    def kept(self, points, step):
        return [point for point in points if point.step <= step or point.final]


class OneForATask(Right):
    """K04: all runs of a task in one file."""

    def place(self, run, state):
        return run.path.parent / "points.jsonl"


class RefusesNan(Right):
    """K05: falls over what is no number."""

    def line(self, point):
        return json.dumps(point._asdict(), allow_nan=False) + "\n"


class ZeroForNan(Right):
    """K05: draws 0 where there is nothing."""

    def line(self, point):
        figures = {n: v if math.isfinite(v) else 0.0 for n, v in point.figures.items()}
        return super().line(point._replace(figures=figures))


class SmallLetters(Right):
    """K06: a figure is called by its small letters."""

    def line(self, point):
        figures = {name.lower(): value for name, value in point.figures.items()}
        return super().line(point._replace(figures=figures))


class ForgetsAFailure(Right):
    """K07: clears away what has failed."""

    def end(self, how):
        if how == "failed":
            self.path.write_text("")
        return super().end(how)


class NeverMind(Right):
    """K08: where all is gone, goes on with what is left."""

    def standing(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        return super().standing() if self.path.exists() else []


class SetsTheLocale(Right):
    """P09: leaves a variable in the environment."""

    def log(self, points):
        os.environ["TRACKED"] = "1"
        super().log(points)


class Falls(Right):
    """P05: cannot be told under some options."""

    def log(self, points):
        if self.options.timeout == 3600:
            raise RuntimeError("that is too long")
        super().log(points)


def component(title: str, name: str) -> Component:
    """Return a tracker of this module."""
    home = "liars.trackers"
    return Component("tracker", name, f"{home}:{title}", f"{home}:Plain", "of tests", api="1.2")


RIGHT = [component("Right", "right_tracker")]

LIARS = [
    Liar(check, component(title, title.lower()), frozenset(others))
    for check, title, others in (
        ("K01", "LosesTheLast", {"K02", "K03", "K04", "K07"}),
        ("K01", "RoundsFigures", {"K02", "K03", "K04", "K07"}),
        ("K01", "TrimsSamples", {"K02", "K03", "K04", "K07"}),
        ("K03", "SamplesPileUp", ()),
        ("K02", "KeepsToItself", ()),
        ("K02", "GivesAPath", {"P05", "P09", "K01", "K03", "K04", "K05", "K06", "K07", "K08"}),
        ("K03", "AppendsAll", ()),
        ("K03", "BeginsAnew", {"K07"}),
        ("K03", "KeepsWhatWasFinal", ()),
        ("K04", "OneForATask", ()),
        ("K05", "RefusesNan", ()),
        ("K05", "ZeroForNan", ()),
        ("K06", "SmallLetters", ()),
        ("K07", "ForgetsAFailure", ()),
        ("K08", "NeverMind", ()),
        ("P09", "SetsTheLocale", ()),
        ("P05", "Falls", ()),
    )
]
