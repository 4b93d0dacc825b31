"""What the steps of series are called in a frame: by their time stamps, or by their places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from recurra.contracts.timeline import Timeline

Label: TypeAlias = int | str
"""A stamp as the data writes it, or the place of a step in its series, from 0."""
Moment: TypeAlias = int | datetime
"""A stamp as other tools compute with it: a whole number, or a moment."""
ZERO = datetime(1970, 1, 1)


@dataclass(frozen=True)
class Clock:
    """Tells the stamps of series by their `first` ones and a timeline; without them, places."""

    timeline: Timeline | None = None
    first: Sequence[str] = ()

    @property
    def known(self) -> bool:
        """Whether there are stamps, and how far they are apart."""
        return bool(self.first) and self.timeline is not None and bool(self.timeline.frequency)

    def labels(self, row: int, places: Iterable[int]) -> list[Label]:
        """Return what some steps of a series are called."""
        if self.timeline is None or not self.known:
            return list(places)
        texts = self.timeline.after(self.first[row], places)
        return [int(text) for text in texts] if self._counts(texts) else [*texts]

    def _counts(self, texts: list[str]) -> bool:
        """Tell whether stamps are numbers, and no pages of a calendar."""
        assert self.timeline is not None, "there are stamps"
        pages = ("yyyymm", "yyyymmdd")
        return all(
            text.removeprefix("-").isdecimal() and self.timeline.read(text).form not in pages
            for text in texts
        )

    def moment(self, label: Label) -> Moment:
        """Return a label as a number or a moment: of UTC where that is known, else as shown."""
        if isinstance(label, int) or self.timeline is None:
            return int(label)
        stamp = self.timeline.read(label)
        if stamp.offset is not None or (self.timeline.zone and stamp.form == "time"):
            return (ZERO + timedelta(microseconds=stamp.at)).replace(tzinfo=UTC)
        return ZERO + timedelta(microseconds=stamp.shown)
