"""How far the time stamps of a table are apart, and what is wrong with any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from recurra import Frequency, InputError, Stamp, Timeline
from recurra_sources import cells as read_as
from recurra_sources.cells import Markers, Place, Row
from recurra_sources.faults import SHOWN, shortened
from recurra_sources.table_options import RowOptions

DAY = 86_400_000_000
"""Microseconds of a day."""
HOUR = DAY // 24
FRIDAY, WEEKEND = 4, (5, 6)
DIFFERENT = 1 << 10
"""Distances between stamps of one table that differ, at most."""
KNOWN = 1 << 16
"""Steps from one stamp to the next that are known again, at most."""
LONGEST = 1 << 16
"""Steps of one gap that are put in, at most."""
CLOCKS = (
    "if clocks were changed there, set source.time_zone, such as Europe/Berlin, or write offsets"
)
OFFSETS = (
    "if their offsets are those of a place that changes its clocks, set source.time_zone, such as"
    " Europe/Berlin: its days count then"
)


class Stamped(NamedTuple):
    """A row that has a stamp: where it stands, what is written there, and what that is."""

    place: Place
    cell: Any
    stamp: Stamp


class Pair(NamedTuple):
    """Two rows of a group that follow each other."""

    order: int
    group: str | None
    before: Stamped
    row: Stamped


class Distance(NamedTuple):
    """How far two stamps are apart: in microseconds that pass, and that clocks and calendars show.

    `weekday` is that of the first one where the second is whole days later, else -1.
    """

    passed: int
    shown: int
    weekday: int


@dataclass
class Seen:
    """How often something was seen, and the first times."""

    count: int = 0
    examples: list[Pair] = field(default_factory=list)

    def add(self, pair: Pair) -> None:
        """Take note of two rows."""
        self.count += 1
        if len(self.examples) < SHOWN:
            self.examples.append(pair)


class Spacing:
    """Reads the stamps of rows, one after the other, and infers how far they are apart."""

    def __init__(self, options: RowOptions, where: str, unit: str, markers: Markers) -> None:
        self.options, self.where, self.unit = options, where, unit
        self.stamp = markers.before(read_as.stamp)
        self.reading = options.timeline
        self.model: Stamped | None = None
        self.first: dict[str | None, Stamp] = {}
        self.last: dict[str | None, Stamped] = {}
        self.distances: dict[Distance, Seen] = {}
        self.months: dict[int, Seen] = {}
        self.by_day = self.by_end = self.on_weekdays = True
        self.off_day = self.off_end = ""
        self.known: dict[tuple[int, str], tuple[Seen, Stamp]] = {}
        self.count = self.faulty = 0
        self.lines: list[tuple[int, str]] = []
        self.cures: dict[str, None] = {}

    def add(self, group: str | None, place: Place, cell: Any) -> None:
        """Take note of the stamp of a row."""
        text, missing = self.stamp(cell)
        before = self.last.get(group)
        if before is not None and (known := self.known.get((before.stamp.at, text))):
            # Another series was there before.
            seen, stamp = known
            seen.count += 1
            self.count += 1
            self.last[group] = Stamped(place, text, stamp)
            return
        if missing:
            if self.options.missing != "drop":
                self._fault(f"{self.unit} {place}, column {self.options.time}: nothing", "mend")
            return
        try:
            stamp = self.reading.read(cell)
        except ValueError as error:
            at = f"{self.unit} {place}, column {self.options.time}"
            self._fault(f"{at}: {shortened(cell)} {error}", "mend")
            return

        row = Stamped(place, text, stamp)
        if self.model is None:
            self.begin(row)
        elif stamp.family != self.model.stamp.family:
            self._fault(f"{self._at(row)}, and {self._at(self.model)}", "alike")
            return
        if before is None:
            self.first[group] = stamp
            self._look_at(stamp, stamp, self._row(row, group))
        else:
            row = row._replace(stamp=stamp.follows(before.stamp))
            if not self.follow(group, before, row):
                return
        self.last[group] = row

    def begin(self, row: Stamped) -> None:
        """Take a row for the first one, which the others are like."""
        self.model, self.reading = row, self.reading.like(row.stamp)

    def follow(self, group: str | None, before: Stamped, row: Stamped) -> bool:
        """Take note of two rows of a group, and return whether the second is later."""
        stamp = row.stamp
        self.count += 1
        pair = Pair(self.count, group, before, row)
        if stamp.at <= before.stamp.at:
            twice = stamp.at == before.stamp.at
            other = f"stands at {self.unit} {before.place} too"
            if not twice:
                other = f"comes after {before.cell} at {self.unit} {before.place}"
            self._fault(f"{self._row(row, group)} {other}", "twice" if twice else "order")
            if before.stamp.at - stamp.at <= HOUR and self._may_be_put_back(stamp):
                self.cures["clocks"] = None
            return False

        distance = _distance(before.stamp, stamp)
        if len(self.distances) < DIFFERENT or distance in self.distances:
            self.distances.setdefault(distance, Seen()).add(pair)
        if self.by_day or self.by_end or self.on_weekdays:
            self._look_at(self.first[group], stamp, self._row(row, group))
        if self.by_day or self.by_end:
            months = stamp.month - before.stamp.month
            if len(self.months) < DIFFERENT or months in self.months:
                self.months.setdefault(months, Seen()).add(pair)
        elif (seen := self.distances.get(distance)) and len(seen.examples) == SHOWN:
            if len(self.known) < KNOWN:
                self.known[before.stamp.at, row.cell] = seen, stamp
        return True

    def again(self, before: Stamp, stamp: Stamp, times: int) -> None:
        """Take note of more rows, as often as said, of stamps that have followed each other."""
        self.count += times
        for seen in self._seen(before, stamp):
            seen.count += times

    def shows_enough(self, before: Stamp, stamp: Stamp) -> bool:
        """Tell whether so many rows were taken note of which are as far apart as an error names."""
        seen = self._seen(before, stamp)
        return bool(seen) and all(len(each.examples) == SHOWN for each in seen)

    def _seen(self, before: Stamp, stamp: Stamp) -> list[Seen]:
        """Return what was seen of two stamps that are as far apart."""
        found = [self.distances.get(_distance(before, stamp))]
        if self.by_day or self.by_end:
            found.append(self.months.get(stamp.month - before.month))
        return [seen for seen in found if seen is not None]

    def _look_at(self, first: Stamp, stamp: Stamp, text: str) -> None:
        """Take note of where in its week and its month a stamp stands."""
        if stamp.form == "integer":
            self.by_day = self.by_end = self.on_weekdays = False
            return
        if (stamp.shown // DAY + 3) % 7 in WEEKEND:
            self.on_weekdays = False
        if self.by_day and Frequency("month", 1).steps(first, stamp) is None:
            self.by_day, self.off_day = False, f"{text}: it is not on the same day of its month"
        alike = first.shown % DAY == stamp.shown % DAY
        if self.by_end and not (alike and stamp.ends_a_month):
            self.by_end, self.off_end = False, f"{text}: it is not at the end of its month"

    def timeline(self) -> Timeline:
        """Return how stamps go on. Raises `InputError` (RC041, RC042) with all that is wrong."""
        named = self.options.frequency
        if self.faulty or named == "none":
            self._raise_any()
            return self.reading
        frequency = self._inferred() if named is None else self._named(named)
        if frequency is None:
            if self.options.settled:
                return self.reading
            fact = f"{self.where}: no sequence has two time stamps, which would tell how far apart"
            fact += " they are"
            cure = 'set source.frequency, such as "month"'
            raise InputError.of("RC041", fact, key="source.frequency", cure=cure)

        for steps, seen in self._steps(frequency):
            self._check(frequency, steps, seen)
        self._raise_any()
        return replace(self.reading, frequency=frequency)

    def _named(self, text: str) -> Frequency:
        """Return the frequency that the task says. Raises `InputError` (RC042)."""
        frequency = Frequency.named(text)
        if self.model is None:
            return frequency
        numbers = self.model.stamp.form == "integer"
        if numbers and frequency.kind == "month" and not frequency.count % 12:
            return Frequency("step", frequency.count // 12)
        if frequency.kind == "month" and self.off_day and not self.off_end:
            frequency = replace(frequency, kind="month end")
        if numbers == (frequency.kind == "step"):
            return frequency
        fact = f"{self._at(self.model)}, which no frequency of {text!r} counts"
        raise InputError.of(
            "RC042", fact, key="source.frequency", cure="leave it out, or name another"
        )

    def _inferred(self) -> Frequency | None:
        """Return what most stamps are apart, if any two follow each other. Raises `InputError`."""
        if not self.distances:
            return None
        if self.by_day or self.by_end:
            count = self._usual({months: seen.count for months, seen in self.months.items()})
            return Frequency("month end" if self.by_end else "month", count)

        assert self.model is not None, "two stamps were read"
        of_days = all(not distance.shown % DAY for distance in self.distances)
        counts: dict[int, int] = {}
        for distance, seen in self.distances.items():
            length = distance.shown if of_days else distance.passed
            counts[length] = counts.get(length, 0) + seen.count
        usual = self._usual(counts)
        if self.model.stamp.form == "integer":
            return Frequency("step", usual)
        over_weekends = any(
            distance.weekday == FRIDAY and distance.shown == 3 * DAY for distance in self.distances
        )
        if of_days and usual == DAY and self.on_weekdays and over_weekends:
            return Frequency("business day", 1)
        return Frequency("clock", usual)

    def _usual(self, counts: dict[int, int]) -> int:
        """Return the most frequent distance. Raises `InputError` (RC042) where few have it."""
        most = max(counts.values())
        usual = min(length for length, count in counts.items() if count == most)
        total = self.count
        if 2 * most >= total or self.options.settled:
            return usual
        pairs = sorted(
            (pair for seen in self.distances.values() for pair in seen.examples),
            key=lambda pair: pair.order,
        )
        lines = [self._follows_text(pair) for pair in pairs[:3]]
        fact = "\n    ".join(
            [f"{self.where}: time stamps stand at no regular steps: of {total} distances no more"
             f" than {most} are the same", *lines]
        )  # fmt: skip
        cure = (
            'set source.frequency; "none" holds stamps to their order alone, and rows count as'
            " steps; or leave source.time out"
        )
        raise InputError.of("RC042", fact, key="source.frequency", cure=cure)

    def _steps(self, frequency: Frequency) -> Iterator[tuple[int | None, Seen]]:
        """Give how many steps rows are apart, none where that is no whole number, and the rows."""
        if frequency.kind.startswith("month"):
            off = self.off_end if frequency.kind == "month end" else self.off_day
            if off:
                self._fault(off, "grid")
                return
            for months, seen in self.months.items():
                yield _whole(months, frequency.count), seen
            return
        for distance, seen in self.distances.items():
            if frequency.kind == "business day":
                yield _business(distance, frequency.count), seen
            else:
                of_days = frequency.is_of_days and frequency.kind == "clock"
                length = distance.shown if of_days else distance.passed
                yield _whole(length, frequency.count), seen

    def _check(self, frequency: Frequency, steps: int | None, seen: Seen) -> None:
        """Take note of rows that are not one step apart, but for gaps that are filled."""
        if steps == 1:
            return
        fills = self.options.gaps == "fill"
        if steps is not None and steps > 1 and fills and steps <= LONGEST:
            return
        self._note_offsets()
        for pair in seen.examples:
            text = self._follows_text(pair)
            if steps is None or steps < 1:
                self._fault(f"{text}: no whole number of steps of {frequency}", "grid", pair.order)
                continue
            missing = f"{steps - 1:,} steps are missing" if steps > 2 else "1 step is missing"
            if fills:
                missing += f", and no more than {LONGEST:,} are put in"
            else:
                timeline = replace(self.reading, frequency=frequency)
                missing += f", {_first_missing(timeline, pair)}" if steps == 2 else ""
            self._fault(f"{text}: {missing}", "long" if fills else "gap", pair.order)
            if steps == 2 and self._may_be_put_back(pair.row.stamp) and frequency.count == HOUR:
                self.cures["clocks"] = None
        self.faulty += seen.count - len(seen.examples)

    def _note_offsets(self) -> None:
        """Take note that offsets may have changed with the clocks of a place."""
        stamp = None if self.model is None else self.model.stamp
        written = stamp is not None and stamp.form == "time" and stamp.offset is not None
        if written and not self.options.time_zone:
            self.cures["offsets"] = None

    def _may_be_put_back(self, stamp: Stamp) -> bool:
        """Return whether a stamp may be one of clocks that were changed."""
        return stamp.form == "time" and stamp.offset is None and not self.options.time_zone

    def _row(self, row: Stamped, group: str | None) -> str:
        of_group = "" if self.options.group is None else f" of group {group!r}"
        return f"{self.unit} {row.place}: {row.cell}{of_group}"

    def _follows_text(self, pair: Pair) -> str:
        before = pair.before
        text = self._row(pair.row, pair.group)
        return f"{text} follows {before.cell} at {self.unit} {before.place}"

    def _at(self, row: Stamped) -> str:
        """Return what a row has, and of what kind that is."""
        return f"{row.cell} at {self.unit} {row.place} is a {KINDS[row.stamp.form]}" + (
            " with an offset" if row.stamp.offset is not None and row.stamp.form == "time" else ""
        )

    def _fault(self, line: str, cure: str, order: int = 0) -> None:
        self.faulty += 1
        self.cures[cure] = None
        self.lines.append((order or self.count, line))
        if len(self.lines) > 1000:
            self._shorten()

    def _shorten(self) -> None:
        self.lines.sort(key=lambda entry: entry[0])
        del self.lines[SHOWN:]

    def _raise_any(self) -> None:
        """Raise `InputError` (RC042) if anything is wrong."""
        if not self.faulty:
            return
        self._shorten()
        what = f"{self.faulty:,} time stamps are not as they must be"
        if self.faulty == 1:
            what = "1 time stamp is not as it must be"
        lines = [f"{self.where}: {what}", *(line for _, line in self.lines)]
        if self.faulty > len(self.lines):
            lines.append(f"and {self.faulty - len(self.lines):,} more")
        said = {**CURES, **SETTLED} if self.options.settled else CURES
        cures = [said[name](self.options) for name in self.cures]
        fact = "\n    ".join(lines)
        raise InputError.of("RC042", fact, key="source.time", cure="; ".join(cures))


def filled(rows: Iterator[Row], timeline: Timeline, options: RowOptions) -> Iterator[Row]:
    """Give rows, and between two that are several steps apart those that are missing.

    Their cells are empty, but for what is said of the sequence.
    """
    frequency = timeline.frequency
    assert frequency is not None, "gaps of no steps are not filled"
    names = options.named
    where, tags = names.index(str(options.time)), options.tags and names.index(options.tags)
    group: Any = None
    first: tuple[str, Stamp] | None = None
    last: Stamp | None = None
    for place, cells in rows:
        text = read_as.stamp(cells[where])[0] if cells else None
        if text is None:
            yield place, cells
            continue
        stamp = timeline.read(cells[where])
        own = cells[-1] if options.group else None
        if first is None or own != group:
            group, first, last, count = own, (text, stamp), stamp, 0
        else:
            assert last is not None, "a sequence has begun"
            last = stamp.follows(last)
            number = frequency.steps(first[1], last)
            if number is None or number - count > LONGEST:
                fact = f"{text} at {place} is no whole number of steps of {frequency} after"
                fact += f" {first[0]}, or after more than {LONGEST:,} that are missing"
                raise InputError.of("RC042", fact, key="source.time", cure="mend the rows")
            width = len(options.steps)
            for missing in range(count + 1, number):
                empty = [*[None] * width, *cells[width:]]
                empty[where] = timeline.after(first[0], [missing])[0]
                if tags:
                    empty[tags] = None
                yield f"{place}, {number - missing} before it", empty
            count = number
        yield place, cells


def _distance(before: Stamp, stamp: Stamp) -> Distance:
    shown = stamp.shown - before.shown
    weekday = -1 if shown % DAY else (before.shown // DAY + 3) % 7
    return Distance(stamp.at - before.at, shown, weekday)


def _whole(length: int, count: int) -> int | None:
    return None if length % count else length // count


def _business(distance: Distance, count: int) -> int | None:
    """Return how many business days are between two, which may both be none."""
    if distance.weekday < 0:
        return None
    weeks, weekday = divmod(distance.weekday + distance.shown // DAY, 7)
    if weekday in WEEKEND or distance.weekday in WEEKEND:
        return None
    return _whole(weeks * 5 + weekday - distance.weekday, count)


def _first_missing(timeline: Timeline, pair: Pair) -> str:
    return timeline.after(str(pair.before.cell), [1])[0]


KINDS = {
    "integer": "whole number",
    "yyyymm": "month",
    "yyyymmdd": "day",
    "second": "number of seconds",
    "millisecond": "number of milliseconds",
    "microsecond": "number of microseconds",
    "nanosecond": "number of nanoseconds",
    "month": "month",
    "quarter": "quarter",
    "week": "week",
    "date": "day",
    "time": "time",
}
"""What stamps are called."""


def _keep_one(options: RowOptions) -> str:
    cure = "keep one row of each stamp"
    if options.group is None:
        cure += ", or name as source.group the column that tells whose row it is"
    return cure


CURES: dict[str, Callable[[RowOptions], str]] = {
    "mend": lambda options: "mend the rows",
    "alike": lambda options: "write all stamps alike, all of them with an offset or none",
    "twice": _keep_one,
    "order": lambda options: f"sort the rows by {options.time}",
    "clocks": lambda options: CLOCKS,
    "offsets": lambda options: OFFSETS,
    "gap": lambda options: (
        'put in the rows that are missing, or set source.gaps = "fill": source.missing then says'
        ' what they hold; or source.frequency = "none", if rows need not be regular steps apart'
    ),
    "long": lambda options: "put in the rows, or give each stretch a group of its own",
    "grid": lambda options: (
        'mend the stamps, or set source.frequency; "none" holds stamps to their order alone'
    ),
}
"""What to do about each kind of fault."""
SETTLED: dict[str, Callable[[RowOptions], str]] = {
    "twice": lambda options: "keep one row of each stamp",
    "clocks": lambda options: (
        "if clocks were changed there, it takes a run whose task sets source.time_zone"
    ),
    "offsets": lambda options: (
        "if clocks were changed there, it takes a run whose task sets source.time_zone"
    ),
    "gap": lambda options: (
        "put in the rows that are missing, or take a run whose task fills them, by source.gaps"
    ),
    "grid": lambda options: "mend the stamps",
}
"""What to do where a run has settled all options."""
