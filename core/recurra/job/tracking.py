"""The trackers of a run, each told in a thread of its own: none of them can hold a run up."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from recurra.compatibility import lacking_modules
from recurra.contracts.component import TRACKER
from recurra.contracts.options import validate_options
from recurra.contracts.tracker import Ending, Followed, Point, Tracker
from recurra.errors import Interrupted, RecurraError, Untracked, warn
from recurra.resolved import Part
from recurra.runs import files, tracked
from recurra.runs.folder import RunFolder
from recurra.runs.tracked import PLACE, Tracked
from recurra.spec.checking import dotted
from recurra.spec.overrides import leaves
from recurra.world import world

EVERY = 5.0
"""Seconds after which what was told is brought to where it outlives the process."""
MOST = 10_000
"""Points that wait for a tracker, at most: one that takes them more slowly is given up."""
TOGETHER = 1000
"""Points that a tracker is told at a time, at most."""
BESIDE = ("step", "epoch", "split", "final")
"""Keys of a record that are no figures."""


class Trackers:
    """What follows a run: it is told of each record, and once of the end."""

    def __init__(self, tellers: Sequence[Teller] = ()) -> None:
        self.tellers = list(tellers)

    @classmethod
    def of(cls, folder: RunFolder, asked: Sequence[Part] | None, catalog: Any) -> Trackers:
        """Return the trackers that are asked for, or, of a run that goes on, those that it has.

        One that is asked for with the very options of a recorded one goes on where that was. What
        cannot follow any more is warned of (`Untracked`).
        """
        if not world().first:
            return cls()
        before = dict(tracked.recorded(folder.path))
        if asked is None:
            found = ((name, _part(catalog, name, each)) for name, each in before.items())
            parts = {name: part for name, part in found if part is not None}
            return cls([Teller(folder, name, part, before[name]) for name, part in parts.items()])

        tellers: list[Teller] = []
        free = dict(before)
        for part in asked:
            own = part.table()
            kind = own.pop("kind")
            alike = (n for n, e in free.items() if (e.kind, e.options) == (kind, own))
            name = next(alike, None)
            record = Tracked(kind=kind, options=own) if name is None else free.pop(name)
            taken = {*before, *(teller.name for teller in tellers)}
            name = name or _free(part.entry.component.name, taken, folder)
            record = record.model_copy(update={"follows": True})
            tellers.append(Teller(folder, name, part, record))
        return cls([*tellers, *(Teller(folder, name, None, each) for name, each in free.items())])

    @contextmanager
    def following(self) -> Iterator[None]:
        """Tell at the end how it came: whatever ends the run, those that followed it let go."""
        how: Ending = "failed"
        try:
            yield
            how = "done"
        except KeyboardInterrupt:
            how = "interrupted"
            raise
        except BaseException as error:
            how = "interrupted" if _asked_for(error) else "failed"
            raise
        finally:
            self.end(how)

    def begin(self, run: Followed, folder: RunFolder, step: int) -> None:
        """Begin to follow a run, which goes on after a step: from now on it is listened to."""
        earlier: list[Point] = []
        if step and self.tellers:
            earlier = [point_of(record) for record in folder.metrics()]
            earlier += [point_of(*sample) for sample in folder.samples()]
            earlier.sort(key=lambda point: (point.step, point.final))
        for teller in self.tellers:
            teller.begin(run, step, earlier)
        if self.tellers:
            folder.follower = self.record

    def record(self, values: Mapping[str, Any], text: str) -> None:
        """Tell of a record, or of a sample."""
        point = point_of(values, text)
        for teller in self.tellers:
            teller.tell(point)

    def end(self, how: Ending) -> None:
        """Tell how the run has ended, and wait until that is taken, as far as patience goes."""
        for teller in self.tellers:
            teller.end(how)
        try:
            for teller in self.tellers:
                teller.wait()
        except KeyboardInterrupt:
            for teller in self.tellers:
                teller.leave()
            # A run that was interrupted says so already.
            if how == "done":
                raise


def point_of(record: Mapping[str, Any], text: str = "") -> Point:
    """Return what a record tells, or what a sample does: its text.

    Figures that are not finite stand in a file as text.
    """
    figures = {}
    for name, value in record.items():
        number = float(value) if value in ("nan", "inf", "-inf") else value
        if name not in BESIDE and isinstance(number, int | float):
            figures[name] = float(number)
    final, epoch = bool(record.get("final")), record.get("epoch")
    return Point(record["step"], record["split"], figures, final, epoch, text)


class Teller:
    """One tracker of a run, and the thread in which its methods are called.

    Without a part it only writes down that the tracker follows no more.
    """

    def __init__(self, folder: RunFolder, name: str, part: Part | None, record: Tracked) -> None:
        self.folder, self.name, self.part, self.tracked = folder, name, part, record
        self.waiting: queue.Queue[Point | Ending] = queue.Queue()
        self.thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)
        # When the call began that is under way, and what went wrong.
        self.since: float | None = None
        self.fault = ""
        self.given_up = False
        self.step = 0
        self.earlier: Sequence[Point] = ()
        self.run = Followed("", "", folder.path, folder.path)

    @property
    def patience(self) -> float:
        """Seconds that a call may take."""
        return 0.0 if self.part is None else float(self.part.options.timeout)

    def begin(self, run: Followed, step: int, earlier: Sequence[Point]) -> None:
        """Follow a run, which goes on after a step; tell of what was `earlier` what is lacking."""
        if self.part is None and not self.tracked.follows:
            return
        try:
            # Before anything is told: whatever ends the process, the run knows who follows it.
            follows = {"follows": self.part is not None}
            self.tracked = self.tracked.model_copy(update=follows)
            tracked.keep(self.folder.path, self.name, self.tracked)
        except RecurraError as error:
            self._give_up(error.problems[0].fact)
            return
        if self.part is None:
            return
        told = self.tracked.told if self.tracked.state is not None else -1
        self.step, self.earlier = max(0, min(step, told)), earlier
        self.run = run._replace(place=self.folder.path / PLACE / self.name)
        self.thread.start()

    def tell(self, point: Point) -> None:
        """Let the tracker be told of a point; give it up where it does not come along."""
        self._look()
        if self._follows():
            self.waiting.put(point)

    def end(self, how: Ending) -> None:
        """Let the tracker be told of the end."""
        if self._follows():
            self.waiting.put(how)

    def wait(self) -> None:
        """Wait until the tracker has been told of all, as long as it may take."""
        # A backlog, what brings it to its place, and the end.
        last = time.monotonic() + 3 * self.patience
        while self._follows() and self.thread.is_alive():
            self.thread.join(0.05)
            self._look()
            if self._follows() and time.monotonic() > last:
                self._give_up(f"it was not through after {3 * self.patience:g} s")
        self._look()

    def leave(self) -> None:
        """Wait for it no longer."""
        if self._follows() and self.thread.is_alive():
            self._give_up("nobody waited for it")

    def _follows(self) -> bool:
        return self.thread.ident is not None and not self.given_up

    def _look(self) -> None:
        """Give the tracker up where it failed, or takes too long."""
        since = self.since
        if not self._follows():
            return
        if self.fault:
            self._give_up(self.fault)
        elif since is not None and time.monotonic() - since > self.patience:
            self._give_up(f"it did not answer within {self.patience:g} s (timeout)")
        elif self.waiting.qsize() > MOST:
            self._give_up(f"{MOST:,} points wait for it")

    def _give_up(self, why: str) -> None:
        self.given_up = True
        path = self.folder.path
        fact = f"tracker {self.name} is told no more of {path}: {why}; the run goes on without it"
        warn(f"{fact}, and `recurra resume {path}` tells it what it lacks", Untracked)

    # in the thread

    def _work(self) -> None:
        """Call the tracker, until the run has ended or it is given up."""
        try:
            self._follow()
        except _GivenUp:
            # Whoever gave it up has said why.
            return
        except BaseException as error:
            self.fault = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"

    def _follow(self) -> None:
        assert self.part is not None
        tracker = self._begun(self.part)
        lacking = [point for point in self.earlier if point.step > self.tracked.told]
        last, kept = self.tracked.told + 1, time.monotonic()
        settled = True
        while True:
            points, lacking = lacking[:TOGETHER], lacking[TOGETHER:]
            how = None
            if not points:
                points, how = self._next(None if settled else EVERY)
            if points:
                taken = [point for point in points if tracker.texts or not point.text]
                if taken:
                    with self._call():
                        tracker.log(taken)
                last, settled = points[-1].step, False
            if how is not None or time.monotonic() - kept > EVERY:
                # More may come of the last step.
                self._settle(tracker, max(-1, last - 1))
                kept, settled = time.monotonic(), True
            if how is not None:
                with self._call():
                    state = tracker.end(how)
                self._keep(state, self.tracked.told)
                return

    def _settle(self, tracker: Tracker[Any], told: int) -> None:
        """Let a tracker bring all to its place, and write down what it was told."""
        with self._call():
            state = tracker.flush()
        self._keep(state, told)

    def _begun(self, part: Part) -> Tracker[Any]:
        """Return the tracker, which follows from where it stood, or anew where that is gone."""
        before = self.tracked.state
        with self._call():
            tracker: Tracker[Any] = part.build()
            try:
                tracker.begin(self.run, before, self.step)
            except LookupError:
                if before is None:
                    raise
                before, tracker = None, part.build()
                tracker.begin(self.run, None, 0)
        self._settle(tracker, -1 if before is None else self.step)
        return tracker

    def _next(self, patience: float | None) -> tuple[list[Point], Ending | None]:
        """Return what waits, and how the run has ended, if it has; wait for some of it."""
        points: list[Point] = []
        try:
            each = self.waiting.get(timeout=patience)
            while isinstance(each, Point):
                points.append(each)
                if len(points) == TOGETHER:
                    return points, None
                each = self.waiting.get_nowait()
        except queue.Empty:
            return points, None
        return points, each

    @contextmanager
    def _call(self) -> Iterator[None]:
        """Say how long a call of the tracker takes. Raises `_GivenUp` where it took too long."""
        if self.given_up:
            raise _GivenUp
        self.since = time.monotonic()
        try:
            yield
        finally:
            self.since = None
        if self.given_up:
            raise _GivenUp

    def _keep(self, state: Mapping[str, Any], told: int) -> None:
        # As it will be read.
        plain = files.parsed(json.dumps(dict(state), allow_nan=False))
        self.tracked = self.tracked.model_copy(update={"state": plain, "told": told})
        tracked.keep(self.folder.path, self.name, self.tracked)


class _GivenUp(Exception):
    """Nobody waits any more."""


def _asked_for(error: BaseException) -> bool:
    """Tell whether a run has ended because somebody asked for it."""
    return isinstance(error, Interrupted | SystemExit)


def _free(kind: str, taken: set[str], folder: RunFolder) -> str:
    """Return a name for a tracker of a kind that no other has."""
    number = 1
    while True:
        name = kind if number == 1 else f"{kind}-{number}"
        if name not in taken and not tracked.place_of(folder.path, name).exists():
            return name
        number += 1


def _part(catalog: Any, name: str, record: Tracked) -> Part | None:
    """Return a recorded tracker that still follows, if it can."""
    if not record.follows:
        return None
    try:
        entry = catalog.find(TRACKER, record.kind)
        part = Part(entry, validate_options(entry.options, record.options, lambda value, _: value))
        if missing := lacking_modules(entry.target):
            raise ModuleNotFoundError(f"{missing[0]} is not installed: {entry.target.install}")
    except Exception as error:
        why = " ".join(str(error).split())[:300]
        warn(f"tracker {name} can follow the run no more: {why}; it goes on without", Untracked)
        return None
    return part


def followed(folder: RunFolder, tables: Mapping[str, Any], parameters: int) -> Followed:
    """Return the run in a folder as a tracker sees it, by the tables of its task."""
    task = str(tables["name"])
    keys = {dotted(key): value for key, value in leaves(dict(tables))}
    environment = files.read_json(folder.path / "environment.json")
    plain = {n: v for n, v in environment.items() if isinstance(v, str | int | float)}
    name = f"{task}/{folder.path.name}"
    about = {"parameters": parameters, **plain}
    return Followed(name, task, folder.path, folder.path, keys, about)
