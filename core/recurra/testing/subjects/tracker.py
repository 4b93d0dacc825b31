"""What a check of a tracker is given: a folder to itself, and points that are always the same."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

from recurra.compatibility import lacking_modules
from recurra.contracts.tracker import Ending, Followed, Point, Tracker
from recurra.testing.answers import demand, through_json
from recurra.testing.check import Broken, NotApplicable
from recurra.testing.isolation import empty_folder
from recurra.testing.subjects.subject import Subject

NEAR = 1e-6
"""How far a figure may be from what was told: some places keep float32."""

SAMPLE = "a sample"
"""What a text is called among figures."""
TEXTS = ("hello", "two\n\n  lines, <b>one</b>\n", "--- step 9\n# größe `x` | 1\t2 |", " \r\n")
"""Samples: with empty lines, blanks at both ends, marks that mean something elsewhere."""

STORES: dict[str, Mapping[str, bytes]] = {}
"""By tracker the files of a store that took longer than `LONG` seconds to be set up."""
LONG = 1.0

Standing: TypeAlias = dict[tuple[int, str, str], list[Any]]
"""By step, group and name the figures that stand, and the samples."""


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
        """Give a new folder, which is the current one meanwhile: relative paths lead there.

        A store that takes long to be set up, as a database does, is set up once and is there.
        """
        with empty_folder() as folder:
            for name, content in self._set_up().items():
                (folder / name).write_bytes(content)
            yield folder

    def _set_up(self) -> Mapping[str, bytes]:
        """Return what a tracker leaves in the current folder that has followed a run, if it took
        long.
        """
        name = self.entry.qualified
        if name in STORES:
            return STORES[name]
        STORES[name] = {}
        tracker, began = self.tracker(), time.monotonic()
        with empty_folder() as folder, suppress(Exception):
            # What fails here fails in a check.
            tracker.begin(self.run(folder, task="before"), None, 0)
            tracker.end("done")
            if time.monotonic() - began > LONG:
                files = [path for path in folder.iterdir() if path.is_file()]
                STORES[name] = {path.name: path.read_bytes() for path in files}
        return STORES[name]

    @staticmethod
    def run(home: Path, number: int = 1, task: str = "task") -> Followed:
        """Return a run in a folder."""
        path = home / "runs" / task / str(number)
        path.mkdir(parents=True, exist_ok=True)
        keys = {"name": task, "seed": number, "cell.kind": "gru", "sequence.carry": False}
        about = {"parameters": 1234, "torch": "2.6"}
        return Followed(f"{task}/{number}", task, path, path / "tracking" / "it", keys, about)

    def told(self, tracker: Tracker[Any], points: Sequence[Point]) -> Mapping[str, Any]:
        """Tell a tracker some points, alone and together; return its state, as JSON has it."""
        taken = self.taken(points, tracker)
        tracker.log(taken[:1])
        tracker.log(taken[1:])
        return self.state(tracker)

    @staticmethod
    def taken(points: Sequence[Point], tracker: Tracker[Any]) -> list[Point]:
        """Return those of some points that a tracker is told."""
        return [point for point in points if tracker.texts or not point.text]

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
        found, expected = self.standing(state), stand(self.taken(points, self.tracker()))
        lost = sorted(expected.keys() - found.keys())
        demand(not lost, f"{when}, {_named(lost)} is lost")
        odd = sorted(found.keys() - expected.keys())
        demand(not odd, f"{when}, {_named(odd)} stands there still, or was never told")
        for key, values in expected.items():
            many = len(found[key])
            demand(many == 1, f"{when}, {_named([key])} stands there {many} times")
            if not near(found[key][0], values[0]):
                one, other = ascii(found[key][0])[:80], ascii(values[0])[:80]
                raise Broken(f"{when}, {_named([key])} is {one}, not {other}")


def follow(subject: Any) -> None:
    """Follow a short run to its end, interrupted once."""
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, points(1, 3))
        state = subject.ended(tracker, "interrupted")
        again = subject.tracker()
        again.begin(subject.run(home), state, 2)
        subject.told(again, [*points(3, 4), *final(4)])
        again.end("done")


def points(first: int, last: int, salt: float = 0.0) -> list[Point]:
    """Return points of some steps: training at each, validation and a sample at each second."""
    made = []
    for step in range(first, last + 1):
        loss = 1.25 / step + salt
        figures = {"loss": loss, "rate": 0.01, "tokens": 64.0 * step}
        made.append(Point(step, "train", figures, epoch=step // 3))
        if step % 2 == 0:
            measured = {"loss": loss + 0.5, "accuracy": 1 - loss / 2}
            made.append(Point(step, "validation", measured, epoch=step // 3))
            text = f"{TEXTS[step // 2 % len(TEXTS)]}{salt or ''}"
            made.append(Point(step, "validation", {}, text=text))
    return made


def final(step: int, salt: float = 0.0) -> list[Point]:
    """Return the last points of a run."""
    measured = Point(step, "test", {"loss": 0.75 + salt, "accuracy": 0.5}, final=True)
    return [measured, Point(step, "validation", {}, final=True, text=f"the end {salt}")]


def stand(points: Sequence[Point]) -> Standing:
    """Return figures and samples by their places."""
    found: Standing = {}
    for point in points:
        if point.text:
            found.setdefault((point.step, point.group, SAMPLE), []).append(point.text)
        for name, value in point.figures.items():
            found.setdefault((point.step, point.group, name), []).append(value)
    return found


def near(one: Any, other: Any) -> bool:
    """Tell whether two figures are one, up to float32, or two texts to the letter."""
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return math.isclose(one, other, rel_tol=NEAR, abs_tol=NEAR)


def _plain(state: Any, what: str) -> Mapping[str, Any]:
    demand(isinstance(state, Mapping), f"{what} gives {type(state).__name__}, not a table")
    plain: Mapping[str, Any] = through_json(dict(state))
    return plain


def _named(keys: Sequence[tuple[int, str, str]]) -> str:
    step, group, name = keys[0] if keys else (0, "", "")
    return f"{group}/{name[:40]} of step {step}"
