"""Where the folds of a backtest are cut: how much of each series precedes each cutoff."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recurra.data.splits import Rows
from recurra.data.store import Ints
from recurra.errors import InputError
from recurra.spec.tables import Rest, Sequence

SHARE = 9
"""Digits of a share of what precedes a cutoff."""


@dataclass(frozen=True)
class Plan:
    """Folds of a rolling origin: the last ends with each series, the one before a `step` earlier.

    In each the `horizon` steps after a cutoff are forecast from what precedes it.
    """

    folds: int
    step: int
    horizon: int

    def left_off(self, fold: int) -> int:
        """Return how many steps at the end of each series come after the cutoff of a fold, from 1.

        Of 2 folds a step of 3 apart, each 4 steps ahead, these are 7 and 4.
        """
        return self.horizon + (self.folds - fold) * self.step

    def cutoffs(self, lengths: Ints, fold: int) -> Ints:
        """Return how many steps of each series precede the cutoff of a fold; below 0 is none."""
        return lengths - self.left_off(fold)

    def able(self, lengths: Ints, fold: int, least: int) -> Rows:
        """Return the series of which at least so many steps precede the cutoff of a fold."""
        return np.flatnonzero(self.cutoffs(lengths, fold) >= least)

    def most_folds(self, room: int) -> int:
        """Return how many folds there can be where so many steps may be forecast, 0 at least."""
        return max(0, (room - self.horizon) // self.step + 1) if room >= self.horizon else 0

    def check(self, lengths: Ints, least: int) -> None:
        """Refuse more than there is data for: each fold must have a series.

        Raises `InputError` (RC041).
        """
        longest = int(lengths.max())
        if len(self.able(lengths, 1, least)):
            return
        most = self.most_folds(longest - least)
        asked = f"{self.folds} folds, {steps(self.step)} apart, each {steps(self.horizon)} ahead"
        if self.folds == 1:
            asked = f"a fold of {steps(self.horizon)} ahead"
        needed = self.left_off(1) + least
        before = f"{steps(least)} before the first cutoff among them"
        fact = f"{asked}, take {needed:,} steps of a series, {before}; the longest has {longest:,}"
        cure = f"folds = {most}" if most else f"one fold of {steps(longest - least)} ahead at most"
        if longest <= least:
            cure = "give longer series"
        raise InputError.of("RC041", fact, key="source", cure=cure)

    def check_unseen(self, lengths: Ints, seen: Ints) -> NDArray[np.bool_]:
        """Refuse cutoffs before the end of what a run has seen of a series.

        Returns the series that it has not seen to their end: of the others nothing is left. Raises
        `InputError` (RC080).
        """
        unseen = seen < lengths
        if not unseen.any():
            fact = "the run was trained on all of this data, and a forecast of it would be no test"
            cure = "give its task, of which each fold trains a model, or other data by -o source"
            raise InputError.of("RC080", fact, cure=cure)

        early = unseen & (self.cutoffs(lengths, 1) < seen)
        if not early.any():
            return np.asarray(unseen)
        row = int(np.flatnonzero(early)[0])
        cutoff = max(int(self.cutoffs(lengths, 1)[row]), 0)
        rooms = (lengths - seen)[unseen]
        most = self.most_folds(int(rooms.min()))
        fact = (
            f"{int(early.sum()):,} of {int(unseen.sum()):,} series have a cutoff inside what the"
            f" run was trained on: fold 1 would begin after {cutoff:,} steps of series {row + 1},"
            f" and the run has seen {int(seen[row]):,}"
        )
        cure = "give its task, of which each fold trains a model"
        if most:
            cure = f"folds = {most} at most, or {cure}"
        raise InputError.of("RC080", fact, cure=cure)


def steps(count: int) -> str:
    """Return so many steps in words."""
    return "1 step" if count == 1 else f"{count:,} steps"


def least_history(lag: int, by_series: bool) -> int:
    """Return how many steps must precede a forecast.

    They are those that differences take and one more; of one step alone no series can be scaled.
    """
    return max(lag + 1, 2 if by_series else 1)


def past_alone(sequence: Sequence, lengths: Ints, left_off: int) -> Sequence:
    """Return how a model is trained on what precedes a cutoff: the last steps of that validate it.

    Where the task's split counts the steps of a series, it counts them here; else validation has
    its share of what is left when nothing is tested. Raises `InputError` (RC041).
    """
    of_steps = sequence.split_by == "time" or (
        len(lengths) == 1 and sequence.split_by != "sequence"
    )
    validation, test = sequence.held
    rest = int(lengths.max()) - left_off
    if sequence.counted and of_steps and validation:
        if rest <= validation:
            fact = (
                f"{rest:,} steps precede the first cutoff, and validation takes"
                f" {int(validation):,} of them"
            )
            cure = "fewer folds, or shares in place of counts"
            raise InputError.of("RC041", fact, key="sequence.split", cure=cure)
        split: list[float | Rest] = ["rest", validation, 0.0]
    else:
        train = 1.0 - validation - test if sequence.takes_rest else sequence.split[0]
        # As a person would write it: what is wrong with it is told.
        share = round(validation / (float(train) + validation), SHARE)
        split = [1.0 - share, share, 0.0]
    changed = {
        "split": split,
        "split_by": "position" if sequence.carry else "time",
        "leave_off": sequence.leave_off + left_off,
    }
    return sequence.model_copy(update=changed)
