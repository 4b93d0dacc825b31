"""What a check of a tracker is given: a folder to itself, and points that are always the same."""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from recurra.compatibility import lacking_modules
from recurra.contracts.tracker import Ending, Followed, Point, Tracker
from recurra.testing.answers import demand, through_json
from recurra.testing.check import Broken, NotApplicable
from recurra.testing.subjects.subject import Subject

NEAR = 1e-6
"""How far a figure may be from what was told: some places keep float32."""

Standing: TypeAlias = dict[tuple[int, str, str], list[float]]
"""By step, group and name the figures that stand."""


class TrackerSubject(Subject[Tracker[Any]]):
    """A tracker under one set of options."""

    def tracker(self) -> Tracker[Any]:
        """Return the tracker. Raises `NotApplicable` where what it imports is not installed."""
        missing = lacking_modules(self.entry.target)
        if missing:
            raise NotApplicable(f"{', '.join(missing)} is not installed")
        return self.build()

    @contextmanager
    def home(self) -> Iterator[Path]:
        """Give a new folder, which is the current one meanwhile: relative paths lead there."""
        before = os.getcwd()
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            try:
                yield Path(folder)
            finally:
                os.chdir(before)

    @staticmethod
    def run(home: Path, number: int = 1) -> Followed:
        """Return a run in a folder."""
        path = home / "runs" / "task" / str(number)
        path.mkdir(parents=True, exist_ok=True)
        keys = {"name": "task", "seed": number, "cell.kind": "gru", "sequence.carry": False}
        about = {"parameters": 1234, "torch": "2.6"}
        return Followed(f"task/{number}", "task", path, path / "tracking" / "it", keys, about)

    def told(self, tracker: Tracker[Any], points: Sequence[Point]) -> Mapping[str, Any]:
        """Tell a tracker some points, alone and together; return its state, as JSON has it."""
        tracker.log(points[:1])
        tracker.log(points[1:])
        return self.state(tracker)

    @staticmethod
    def state(tracker: Tracker[Any]) -> Mapping[str, Any]:
        """Return what `flush` gives, by way of JSON. Raises `Broken` where that is none."""
        return _plain(tracker.flush(), "flush")

    @staticmethod
    def ended(tracker: Tracker[Any], how: Ending) -> Mapping[str, Any]:
        """End a tracker, and return its state, by way of JSON. Raises `Broken`."""
        return _plain(tracker.end(how), "end")

    def standing(self, state: Mapping[str, Any]) -> Standing:
        """Return what stands where a state leads, read by a new instance.

        Raises `NotApplicable` where nothing can be read back.
        """
        try:
            points = self.tracker().read(state)
        except NotImplementedError as error:
            raise NotApplicable("it does not say what stands there (read)") from error
        return stand(points)

    def holds(self, state: Mapping[str, Any], points: Sequence[Point], when: str) -> None:
        """Raise `Broken` where anything else than some points stands where a state leads."""
        found, expected = self.standing(state), stand(points)
        lost = sorted(expected.keys() - found.keys())
        demand(not lost, f"{when}, {_named(lost)} is lost")
        odd = sorted(found.keys() - expected.keys())
        demand(not odd, f"{when}, {_named(odd)} stands there still, or was never told")
        for key, values in expected.items():
            many = len(found[key])
            demand(many == 1, f"{when}, {_named([key])} stands there {many} times")
            if not near(found[key][0], values[0]):
                raise Broken(f"{when}, {_named([key])} is {found[key][0]}, not {values[0]}")


def follow(subject: Any) -> None:
    """Follow a short run to its end, interrupted once."""
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, points(1, 3))
        state = subject.ended(tracker, "interrupted")
        again = subject.tracker()
        again.begin(subject.run(home), state, 2)
        subject.told(again, [*points(3, 4), final(4)])
        again.end("done")


def points(first: int, last: int, salt: float = 0.0) -> list[Point]:
    """Return points of some steps: training at each, validation at each second."""
    made = []
    for step in range(first, last + 1):
        loss = 1.25 / step + salt
        figures = {"loss": loss, "rate": 0.01, "tokens": 64.0 * step}
        made.append(Point(step, "train", figures, epoch=step // 3))
        if step % 2 == 0:
            measured = {"loss": loss + 0.5, "accuracy": 1 - loss / 2}
            made.append(Point(step, "validation", measured, epoch=step // 3))
    return made


def final(step: int, salt: float = 0.0) -> Point:
    """Return the last point of a run."""
    return Point(step, "test", {"loss": 0.75 + salt, "accuracy": 0.5}, final=True)


def stand(points: Sequence[Point]) -> Standing:
    """Return figures by their places."""
    found: Standing = {}
    for point in points:
        for name, value in point.figures.items():
            found.setdefault((point.step, point.group, name), []).append(value)
    return found


def near(one: float, other: float) -> bool:
    """Tell whether two figures are one, up to float32."""
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)


def _plain(state: Any, what: str) -> Mapping[str, Any]:
    demand(isinstance(state, Mapping), f"{what} gives {type(state).__name__}, not a table")
    plain: Mapping[str, Any] = through_json(dict(state))
    return plain


def _named(keys: Sequence[tuple[int, str, str]]) -> str:
    step, group, name = keys[0] if keys else (0, "", "")
    return f"{group}/{name[:40]} of step {step}"
