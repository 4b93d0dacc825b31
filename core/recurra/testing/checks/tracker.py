"""Checks of trackers: what was told stands there, once, whatever becomes of the run.

They came in with the kind, in version 1.1 of the suite.
"""

from __future__ import annotations

import math

from recurra.contracts.tracker import Ending, Point
from recurra.testing.check import Broken, Measured, check
from recurra.testing.subjects.tracker import NEAR, TrackerSubject, final, near, points

SINCE = "1.1"
AGAIN, LAST = 5, 8
"""The step from which a run goes on, and the last that was told before."""
ENDINGS: tuple[Ending, ...] = ("done", "interrupted", "failed")
NAMES = ("p:yes", "f1 of a b", "coverage-80", "80 %", "größe", "a/b", "step", "Loss", "loss")


@check("K01", "what was told stands there, once", "tracker", firm=True, since=SINCE)
def stands(subject: TrackerSubject) -> Measured:
    """Each figure of each point stands at its step, under its split and name, once, to float32,
    and, of a tracker that takes `texts`, each sample to the letter.

    Points come alone or many at a time, of training, of validation, and final ones. A figure that
    is lost or stands at another step draws another curve than the run has. To mend it: write all
    points that `log` is given, each figure of each, and `final` ones where no other can be.
    """
    told = [*points(1, LAST), *final(LAST)]
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, told)
        state = subject.ended(tracker, "done")
        subject.holds(state, told, "after the end")
    taken = len(subject.taken(told, tracker))
    return Measured(detail=f"{taken} points, figures within {NEAR:g}")


@check("K02", "what was flushed outlives the process", "tracker", firm=True, since=SINCE)
def outlives(subject: TrackerSubject) -> None:
    """After `flush` all points are read by another instance, though `end` was never called.

    A process may be killed at any moment. recurra writes down up to which step a tracker was told
    once `flush` has returned, and tells nothing of it again. To mend it: bring buffers to the disk,
    or to the server, in `flush`, and wait for that.
    """
    told = points(1, LAST)
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        try:
            state = subject.told(tracker, told)
            subject.holds(state, told, "after flush")
        finally:
            tracker.end("failed")


@check("K03", "a run that goes on stands there once", "tracker", firm=True, since=SINCE)
def goes_on(subject: TrackerSubject) -> None:
    """Begun again with its state, it keeps what was told up to the step, and what comes after takes
    the place of what came before.

    So it is where the points that come again are the same, as those of a run that was killed are,
    and where they are others, as with another learning rate, or fewer. The state went through JSON,
    and the instance is a new one. To mend it: in `begin`, forget what is after `step` and what was
    final, or remember it, so that nothing is written twice.
    """
    before = [*points(1, LAST), *final(LAST)]
    early = points(1, AGAIN)
    cases = (("the same", LAST, 0.0), ("others", LAST, 0.25), ("fewer", 6, 0.25))
    with subject.home() as home:
        for number, (when, last, salt) in enumerate(cases, 1):
            tracker = subject.tracker()
            tracker.begin(subject.run(home, number), None, 0)
            subject.told(tracker, before)
            state = subject.ended(tracker, "done")

            again = subject.tracker()
            again.begin(subject.run(home, number), state, AGAIN)
            after = [*points(AGAIN + 1, last, salt), *final(last, salt)]
            subject.told(again, after)
            held = subject.ended(again, "done")
            subject.holds(held, [*early, *after], f"where {when} came again")


@check("K04", "runs do not mix", "tracker", firm=True, since=SINCE)
def apart(subject: TrackerSubject) -> None:
    """Two runs of one task that are followed at once stand apart, each with its own points.

    A program may train several runs, and several processes may follow runs of one task. To mend it:
    keep what belongs to a run in the instance, and its files in the run's `place`.
    """
    with subject.home() as home:
        trackers = [subject.tracker() for _ in range(2)]
        told = [points(1, 4), points(2, 5, 0.5)]
        for number, tracker in enumerate(trackers):
            tracker.begin(subject.run(home, number + 1), None, 0)
        states = []
        for tracker, some in zip(trackers, told, strict=True):
            states.append(subject.told(tracker, some))
        for tracker in trackers:
            tracker.end("done")
        for number, (state, some) in enumerate(zip(states, told, strict=True), 1):
            subject.holds(state, some, f"of run {number} of two")


@check("K05", "figures that are no numbers are taken", "tracker", since=SINCE)
def not_finite(subject: TrackerSubject) -> None:
    """nan and infinities are taken as well, and what is told beside and after them stands there.

    A figure may be undefined, such as a correlation of constants, and a loss infinite: that is when
    people look. To mend it: write them as the place has them, or leave that figure out.
    """
    odd = {"loss": math.nan, "r2": math.inf, "nats": -math.inf, "accuracy": 0.5}
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, [Point(1, "train", odd), Point(2, "train", {"loss": 1.5})])
        state = subject.ended(tracker, "done")
        found = subject.standing(state)
        for key, value in (((1, "train", "accuracy"), 0.5), ((2, "train", "loss"), 1.5)):
            values = found.get(key, [])
            if len(values) != 1 or not near(values[0], value):
                raise Broken(f"beside what is no number, {key[1]}/{key[2]} is {values}")
        lied = [v for n in ("loss", "r2", "nats") for v in found.get((1, "train", n), [])]
        if any(abs(value) < 1e30 for value in lied):
            raise Broken(f"what is no finite number stands there as {lied}")


@check("K06", "figures of any name stand apart", "tracker", since=SINCE)
def any_name(subject: TrackerSubject) -> None:
    """A figure may have any name, with blanks, signs and letters of any script, and none is taken
    for another.

    Classes of the data are parts of names: `p:yes`, `f1 of a b`. To mend it: write what the place
    does not take in a name so that two names never become one.
    """
    told = [Point(1, "train", {name: 1.0 + index for index, name in enumerate(NAMES)})]
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, told)
        state = subject.ended(tracker, "done")
        subject.holds(state, told, "of figures of any name")


@check("K07", "a run may go on after any end", "tracker", since=SINCE)
def any_end(subject: TrackerSubject) -> None:
    """However a run has ended, it can be gone on with, and what was told before the end stands
    there.

    An interrupted or failed run is resumed, and one that is done too, for more steps. To mend it:
    close in `end` what is open, and open it again in `begin`.
    """
    with subject.home() as home:
        for number, how in enumerate(ENDINGS, 1):
            tracker = subject.tracker()
            tracker.begin(subject.run(home, number), None, 0)
            subject.told(tracker, points(1, 4))
            state = subject.ended(tracker, how)
            subject.holds(state, points(1, 4), f"after the end {how!r}")

            again = subject.tracker()
            again.begin(subject.run(home, number), state, 4)
            subject.told(again, points(5, 6))
            held = subject.ended(again, how)
            subject.holds(held, points(1, 6), f"going on after the end {how!r}")


@check("K08", "what is gone is a LookupError", "tracker", since=SINCE)
def gone(subject: TrackerSubject) -> Measured:
    """Where all that was told is gone, `begin` with a state raises `LookupError`, and writes none.

    Then recurra has it begin anew, and tells it the whole run. A tracker that goes on all the same
    has half of a curve; one that raises anything else is given up. Files are taken away here, which
    does nothing to a server: there the points stand still, and it goes on. To mend it: look in
    `begin` whether what the state leads to exists.
    """
    with subject.home() as home:
        tracker = subject.tracker()
        tracker.begin(subject.run(home), None, 0)
        subject.told(tracker, points(1, 4))
        state = subject.ended(tracker, "interrupted")
    with subject.home() as home:
        again = subject.tracker()
        try:
            again.begin(subject.run(home), state, 4)
        except LookupError:
            return Measured()
        except Exception as error:
            return Measured(detail=f"it is given up: {type(error).__name__}")
        subject.told(again, points(5, 6))
        held = subject.ended(again, "done")
        subject.holds(held, points(1, 6), "after all was taken away")
    return Measured(detail="nothing is gone")
