"""Above which score a step is flagged: so that of ordinary steps no more than a share is.

The threshold is taken from steps that the run has not been trained on: those of its validation
split, or of training where there is none. Of n scores it is the ceil((n + 1) (1 - share))-th
smallest, so that of a new step that is like them the chance to be flagged is no more than the share
(Vovk et al. 2005, doi:10.1007/b106715), and less by 1 / (n + 1) at most where no two are equal.
Each column has its own, over all series.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from recurra.data.chain import in_training
from recurra.data.splits import SplitName, called
from recurra.errors import InputError
from recurra.job.surprise import Item, Scorer

if TYPE_CHECKING:
    from recurra.job.data import Data

CONTEXT = 1 << 16
"""Steps before a split that are read to calibrate, at most."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Alarm:
    """The thresholds `[F]` of the columns, and where they are from.

    That is the `split` and how many scores of each column it gave; nothing of one that was stated.
    """

    thresholds: Floats
    share: float | None = None
    split: SplitName | None = None
    scores: int = 0

    @property
    def told(self) -> str:
        """Where the thresholds are from, in words."""
        if self.split is None or self.share is None:
            return "as given"
        fact = f"at most {self.share:.4g} of ordinary steps are above it: of {self.scores:,} scores"
        fact += f" of {called(self.split)}"
        if self.split == "train":
            fact += ", which the network has seen: there is no validation split, and more may be"
        return fact

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        listed = self.thresholds.tolist()
        return {
            "threshold": listed[0] if len(listed) == 1 else listed,
            "alarm": self.share,
            "split": self.split,
            "scores": self.scores,
        }


def calibrated(scorer: Scorer, data: Data, share: float, history: int) -> Alarm:
    """Return the threshold above which at most a share of ordinary steps lies.

    `history` is by how many steps a series is scaled of which nothing precedes the split. Raises
    `InputError` (RC041) for fewer scores than the share takes.
    """
    name: SplitName = "validation" if data.splits["validation"].steps else "train"
    scored = [np.zeros((0, scorer.width))]
    for surprise in scorer.surprises(_items(data, name, history)):
        # What has no score in one column may have one in another.
        scored.append(surprise.score)
    scores = np.concatenate(scored)
    thresholds, counts = [], []
    for column in scores.T:
        own = np.sort(column[~np.isnan(column)])
        counts.append(len(own))
        thresholds.append(threshold(own, share, name))
    return Alarm(np.array(thresholds), share, name, min(counts))


def threshold(scores: Floats, share: float, name: SplitName = "validation") -> float:
    """Return the threshold of sorted scores `[n]`. Raises `InputError` (RC041) for too few."""
    count = len(scores)
    # A share is no exact number: what is whole but for its last digits is whole.
    rank = math.ceil(round((count + 1) * (1 - share), 9))
    if rank > count:
        least = math.ceil(round(1 / share, 9)) - 1
        fact = f"{called(name)} gives {count:,} score{'s' * (count != 1)}, and a share of"
        fact += f" {share:.4g} takes {least:,}"
        cure = "a larger alarm, more validation in sequence.split, or a threshold of your own"
        raise InputError.of("RC041", fact, key="alarm", cure=cure)
    return float(scores[rank - 1])


def _items(data: Data, name: SplitName, history: int) -> Iterator[Item]:
    """Give the series of a split, each with what precedes its steps there."""
    part, store = data.splits[name].scored(), data.store
    known_of = in_training(store, data.seen)
    companions = data.reader.companions
    for low, high, begin in zip(
        part.low.tolist(), part.high.tolist(), part.begin.tolist(), strict=True
    ):
        start = max(begin, low - CONTEXT)
        values, first = np.array(store.values[start:high]), max(1, low - start)
        known = None
        if data.by_series:
            known = np.asarray(known_of(int(store.sequence(np.array([begin]))[0])))
            if not len(known):
                known, first = values[:history], max(first, history)
        beside = None if companions is None else companions.stretch(start, high, high)
        yield Item(values, first, known, beside, start - begin)
