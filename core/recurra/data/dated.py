"""The features of time stamps that a network reads beside numbers: none of them is stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.calendar import Calendar
from recurra.contracts.moments import Firsts, Ints
from recurra.contracts.stamps import Stamp
from recurra.contracts.timeline import Frequency, Kind, Timeline
from recurra.errors import InputError

Floats = NDArray[np.float64]


FURTHEST: Mapping[Kind, int] = {
    "step": 1 << 61, "clock": 1 << 62, "business day": 1 << 26, "month": 1 << 21,
    "month end": 1 << 21,
}  # fmt: skip
"""How many steps, microseconds, days or months after the first stamp another one may be.

What is further is no number of microseconds in 64 bits.
"""


class Since(NamedTuple):
    """Where in time a stretch of a series begins: `place` steps after its `first` stamp."""

    first: Stamp
    place: int = 0

    def after(self, steps: int) -> Since:
        """Return where what comes after so many steps begins."""
        return self._replace(place=self.place + steps)

    def save(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"first": self.first._asdict(), "place": self.place}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Since:
        """Return what was saved. Raises any error if it is not that."""
        first, place = Stamp(**saved["first"]), saved["place"]
        first.check()
        if type(place) is not int or not 0 <= place < 1 << 61 or len(saved) != 2:
            raise ValueError(f"place = {place!r:.80}")
        return cls(first, place)


@dataclass(frozen=True)
class Dated:
    """A calendar, and how the stamps go on that it is of.

    With a step those features are read that stand `lead` steps after it: 1 where the next one alone
    is asked for, so that a step to come is predicted from its own.
    """

    calendar: Calendar
    timeline: Timeline
    lead: int = 1

    @property
    def frequency(self) -> Frequency:
        """How far stamps are apart."""
        assert self.timeline.frequency is not None, "a calendar has steps"
        return self.timeline.frequency

    @property
    def width(self) -> int:
        """How many numbers a network reads of a stamp."""
        return self.calendar.width

    def firsts(self, times: Sequence[str]) -> Firsts:
        """Return the first stamps of several series."""
        return Firsts.of(map(self.timeline.read, times))

    def rows(self, firsts: Firsts, places: Ints) -> Floats:
        """Return the features of steps that stand `places` `[n]` after stamps `[n]`, `[n, W]`."""
        return self.calendar.rows(self.frequency, self.timeline.zone, firsts, places)

    def stretch(self, since: Since, count: int) -> Floats:
        """Return the features of `count` steps of a series, `[count, W]`."""
        firsts = Firsts.of([since.first]).take(np.zeros(count, np.int64))
        return self.rows(firsts, since.place + np.arange(count))

    def since(self, time: Any) -> Since:
        """Return where a series begins whose first step has a stamp. Raises `InputError` (RC080).

        It is a text or a number as the data writes it, or a moment of Python or NumPy.
        """
        if time is None or time == "":
            fact = "this run reads features of time stamps (source.calendar), and when the first"
            fact += " step is, is not said"
            cure = 'give its stamp: time="2024-03-31 00:00" beside a prompt or to a session, a'
            cure += ' sequence as {"values": [...], "time": ...}, or a file with its stamps'
            raise InputError.of("RC080", fact, key="time", cure=cure)
        try:
            stamp = self.timeline.read(time)
            counts = stamp.form == "integer"
            if counts != (self.frequency.kind == "step") or self.frequency.steps(stamp, stamp) != 0:
                raise ValueError(f"is no stamp from which steps of {self.frequency} go on")
        except ValueError as error:
            fact = f"{str(time)!r} {error}"
            cure = "write it as the stamps of the data are written"
            raise InputError.of("RC080", fact, key="time", cure=cure) from error
        return Since(stamp)

    def check(self, since: Since) -> None:
        """Refuse what is further from a first stamp than any stamp. Raises `ValueError`."""
        distance, furthest = since.place * self.frequency.count, FURTHEST[self.frequency.kind]
        if distance >= furthest:
            raise ValueError(f"{since.place:,} steps of {self.frequency} are beyond all time")

    def fits(self, other: Dated | None, owner: str) -> None:
        """Refuse what another calendar, or steps of another length, would read.

        Raises `InputError` (RC030).
        """
        own, cure = list(self.calendar.inputs()), "give it the same source.calendar"
        theirs = [] if other is None else other.calendar.inputs()
        if other is None or other.calendar != self.calendar:
            fact = f"{owner} reads of time stamps {', '.join(own)}, and this task"
            fact += f" {', '.join(theirs) or 'nothing'}"
            if own == theirs:
                fact = f"{owner} knows other holidays than this task"
            raise InputError.of("RC030", fact, key="source.calendar", cure=cure)
        if other.frequency != self.frequency:
            fact = f"{owner} has learned of a time stamp every {self.frequency}, and this data has"
            fact += f" one every {other.frequency}"
            cure = "give steps as long as those of training"
            raise InputError.of("RC030", fact, key="source.time", cure=cure)
        zones = [_named(dated.timeline.zone) or "none" for dated in (self, other)]
        if zones[0] != zones[1]:
            fact = f"{owner} has learned of clocks in the zone {zones[0]}, and those of this data"
            fact += f" are in {zones[1]}"
            cure = "set source.time_zone as it was, or train on this data"
            raise InputError.of("RC030", fact, key="source.time_zone", cure=cure)

    def on(self, timeline: Timeline | None) -> Dated:
        """Return it for the stamps of other data, which one clock shows as those of its own."""
        if timeline is None:
            return self
        return replace(self, timeline=replace(self.timeline, numbers=timeline.numbers))

    def save(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {**self.calendar.save(), "timeline": self.timeline.record(), "lead": self.lead}

    @classmethod
    def restored(cls, saved: Mapping[str, Any]) -> Dated:
        """Return what was saved. Raises any error if it is not that."""
        timeline = Timeline.of(saved["timeline"])
        if timeline.frequency is None or saved["lead"] not in (0, 1):
            raise ValueError("its stamps do not go on")
        return cls(Calendar.restored(saved), timeline, saved["lead"])


def _named(zone: str) -> str:
    """Return a zone that has a name; an offset alone has none."""
    return "" if zone[:1] in ("+", "-") else zone
