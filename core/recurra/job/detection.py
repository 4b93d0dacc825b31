"""How well flagged steps are those that are labelled as anomalies: by step, and by event.

By step, over all steps with a label:

    precision          flagged and labelled 1, of all that are flagged
    recall             flagged and labelled 1, of all that are labelled 1
    f1                 their harmonic mean
    average_precision  the sum over all thresholds, from the highest score down, of what recall
                       gains there times the precision there; scores that are equal are one
                       threshold. Scores that know nothing have `chance`, the share labelled 1.

An event is a run of steps labelled 1, as long as it can be; it is found where any of its steps is
flagged. An alarm is a run of flagged steps; it is right where any of its steps is labelled 1:

    event_recall       events found, of all events
    event_precision    alarms that are right, of all alarms
    event_f1           their harmonic mean

No step counts as flagged because another one of its event is: so adjusted, a score at random looks
better than any detector (Kim et al. 2022, arXiv:2109.05257).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
Labels = NDArray[np.int8]

UNKNOWN = -1
"""The label of a step of which nobody says whether it is an anomaly."""


@dataclass
class Detection:
    """Counts over series, and the scores of all labelled steps: nine bytes for each."""

    margins: list[Floats] = field(default_factory=list)
    anomalous: list[Flags] = field(default_factory=list)
    flagged: int = 0
    hits: int = 0
    unscored: int = 0
    events: int = 0
    found: int = 0
    alarms: int = 0
    right: int = 0

    def add(self, margin: Floats, labels: Labels) -> None:
        """Add a series: by how much each score `[T]` exceeds its threshold, and the labels `[T]`.

        A step without a score, nan, is never flagged; one without a label counts nowhere, and ends
        a run.
        """
        told = labels != UNKNOWN
        score = np.where(np.isnan(margin), -np.inf, margin)
        flags, anomalies = (score > 0) & told, labels == 1
        self.margins.append(score[told])
        self.anomalous.append(anomalies[told])
        self.flagged += int(flags.sum())
        self.hits += int((flags & anomalies).sum())
        self.unscored += int((np.isnan(margin) & told).sum())
        for low, high in runs(anomalies):
            self.events += 1
            self.found += bool(flags[low:high].any())
        for low, high in runs(flags):
            self.alarms += 1
            self.right += bool(anomalies[low:high].any())

    def figures(self) -> dict[str, Any]:
        """Return the figures by their names; one that nothing says is None."""
        margins = np.concatenate([np.zeros(0), *self.margins])
        anomalous = np.concatenate([np.zeros(0, np.bool_), *self.anomalous])
        positives = int(anomalous.sum())
        precision, recall = _share(self.hits, self.flagged), _share(self.hits, positives)
        of_alarms, of_events = _share(self.right, self.alarms), _share(self.found, self.events)
        return {
            "steps": len(margins),
            "anomalous": positives,
            "flagged": self.flagged,
            "unscored": self.unscored,
            "precision": precision,
            "recall": recall,
            "f1": _share(2 * self.hits, self.flagged + positives),
            "average_precision": average_precision(margins, anomalous),
            "chance": _share(positives, len(margins)),
            "events": self.events,
            "events_found": self.found,
            "alarms": self.alarms,
            "alarms_right": self.right,
            "event_precision": of_alarms,
            "event_recall": of_events,
            "event_f1": _harmonic(of_alarms, of_events),
        }


def average_precision(scores: Floats, anomalous: Flags) -> float | None:
    """Return the average precision of scores `[N]`; None where nothing is anomalous."""
    positives = int(anomalous.sum())
    if not positives:
        return None
    order = np.argsort(-scores, kind="stable")
    ordered, hits = scores[order], np.cumsum(anomalous[order])
    # Of equal scores the last alone is a threshold.
    last = np.append(ordered[1:] != ordered[:-1], True)
    hits, taken = hits[last], np.flatnonzero(last) + 1
    gained = np.diff(hits, prepend=0)
    return float((gained * (hits / taken)).sum() / positives)


def runs(flags: Flags) -> Iterator[tuple[int, int]]:
    """Give each run of flags that are set: where it begins, and where it has ended."""
    padded = np.concatenate([[False], flags, [False]])
    changes = np.flatnonzero(padded[1:] != padded[:-1])
    yield from zip(changes[::2].tolist(), changes[1::2].tolist(), strict=True)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _harmonic(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return None
    return 2 * one * other / (one + other) if one + other else 0.0
