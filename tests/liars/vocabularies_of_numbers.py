"""Wrong vocabularies of numbers, and right ones that they are made of.

They are scales, and transforms of a series.
"""

from __future__ import annotations

import numpy as np

from liars import Liar, vocabularies
from liars.vocabularies import Plain
from recurra import Component, Transform, Vocabulary


class RightNumbers(Vocabulary[Plain]):
    """Numbers, by the greatest magnitude of each feature."""

    reads = "numbers"
    yields = "numbers"

    def __init__(self, options):
        super().__init__(options)
        self.scale = np.ones(0)

    @property
    def size(self):
        return len(self.scale)

    def fit(self, runs):
        largest = np.max([np.abs(run).max(axis=0) for run in runs if len(run)], axis=0)
        self.scale = np.where(largest > 0, largest, 1.0)

    def encode(self, values):
        return values / self.scale

    def decode(self, ids):
        return ids * self.scale

    def save(self):
        return {"scale": self.scale.tolist()}

    def restore(self, saved):
        self.scale = np.array(saved["scale"])


class ScalesByTheRun(RightNumbers):
    """Subtracts the mean of what it is given, and adds that of the last one."""

    mean = 0.0

    def encode(self, values):
        self.mean = values.mean(axis=0) if len(values) else 0.0
        return super().encode(values - self.mean)

    def decode(self, ids):
        return super().decode(ids) + self.mean


class RoundsToSingle(RightNumbers):
    """Loses half of the digits."""

    def decode(self, ids):
        return super().decode(ids).astype(np.float32).astype(np.float64)


class FlattensOneFeature(RightNumbers):
    """Gives [n] where there is one feature."""

    def encode(self, values):
        scaled = super().encode(values)
        return scaled[:, 0] if self.size == 1 else scaled

    def decode(self, ids):
        return super().decode(ids.reshape(-1, self.size))


class ScalesInPlace(RightNumbers):
    """Changes the numbers that it is given."""

    def encode(self, values):
        values /= self.scale
        return values


class CountsItsUses(RightNumbers):
    """Saves how often it was asked."""

    def __init__(self, options):
        super().__init__(options)
        self.uses = 0

    def save(self):
        self.uses += 1
        return {**super().save(), "uses": self.uses // 3}


class KeepsTheRuns(RightNumbers):
    """Looks for the greatest when it is asked, in the arrays that it was fitted on."""

    runs = ()

    def fit(self, runs):
        self.runs = [run for run in runs if len(run)]
        super().fit(self.runs)

    def encode(self, values):
        if self.runs:
            super().fit(self.runs)
        return super().encode(values)

    def restore(self, saved):
        self.runs = ()
        super().restore(saved)


class GivesTheDataItself(RightNumbers):
    """Scales nothing, and gives what it was given."""

    def encode(self, values):
        return values

    def decode(self, ids):
        return np.asarray(ids, np.float64)


class DecodesDownTheColumns(RightNumbers):
    """Takes numbers as they lie in memory, row by row or not."""

    def decode(self, ids):
        return super().decode(ids.ravel(order="K").reshape(ids.shape))


class OverflowsSoon(RightNumbers):
    """Squeezes numbers into -1..1, and has no number for a prediction outside."""

    def encode(self, values):
        with np.errstate(all="ignore"):
            return np.tanh(super().encode(values) / 1e3)

    def decode(self, ids):
        with np.errstate(all="ignore"):
            return super().decode(np.arctanh(ids) * 1e3)


class ShiftsByTheOthers(RightNumbers):
    """Adds a little of the mean of what was not there when it was fitted."""

    def decode(self, ids):
        beyond = np.where(np.abs(ids) > 2, ids, 0.0)
        return super().decode(ids + 1e-3 * beyond.mean(axis=0) if len(ids) else ids)


class HushesNumpy(RightNumbers):
    """Tells numpy to divide by 0 without a word, for everybody and for good."""

    def encode(self, values):
        np.seterr(all="ignore")
        return super().encode(values)


class RightTransform(Transform):
    """Doubles each row, as a series of its own might.

    The origin is the number of rows that came before it.
    """

    width = 1

    def start(self, known):
        return np.zeros((1, known.shape[1]))

    def apply(self, values, state):
        return values * 2 + self.origins(values, state)[:-1, 0], state + len(values)

    def origins(self, values, state):
        return state[:, None] + np.arange(len(values) + 1.0)[:, None, None]

    def invert(self, values, origins):
        return (values - origins[:, 0]) / 2

    def against(self, values, origins):
        return values * 2 + origins[:, 0]


class RightSeries(RightNumbers):
    """Numbers whose place in their series is added to them."""

    kind = RightTransform

    def __init__(self, options):
        super().__init__(options)
        self.steps = [self.kind()]

    def transforms(self):
        return self.steps


class BuildsThemAnew(RightSeries):
    """Gives other transforms at each call."""

    def transforms(self):
        return [self.kind()]


class CountsOnTheObject(RightTransform):
    def start(self, known):
        self.count = 0
        return super().start(known)

    def apply(self, values, state):
        rows = values * 2 + self.count + np.arange(len(values))[:, None]
        self.count += len(values)
        return rows, state + len(values)


class KeepsTheSeries(RightSeries):
    """Counts rows on the object, whichever series they are of."""

    kind = CountsOnTheObject


class LooksAhead(RightTransform):
    def origins(self, values, state):
        return super().origins(values, state) + (values.mean() if len(values) else 0)


class SeesTheRow(RightSeries):
    """Makes origins of the rows themselves."""

    kind = LooksAhead


class AddsInPlace(RightTransform):
    def apply(self, values, state):
        rows, _ = super().apply(values, state)
        state += len(values)
        return rows, state


class WritesOnTheState(RightSeries):
    """Moves the state that it was given."""

    kind = AddsInPlace


class ForgetsTheOrigin(RightTransform):
    def invert(self, values, origins):
        return values / 2


class ComesBackElsewhere(RightSeries):
    """Undoes the half of what was done."""

    kind = ForgetsTheOrigin


class TakesTwice(RightTransform):
    def against(self, values, origins):
        return values * 2 + 2 * origins[:, 0]


class TellsItOtherwise(RightSeries):
    """Tells rows that are answered at once by another map."""

    kind = TakesTwice


class SumsUp(RightTransform):
    period = 3

    def apply(self, values, state):
        return values * 2 + self.origins(values, state)[:-1, 0], state + values.sum(axis=0)

    def origins(self, values, state):
        return np.concatenate([state, state + values.cumsum(axis=0)])[:, None]


class KnowsTooEarly(RightSeries):
    """Says that what each row is added to is known three rows before, which is the sum up to it."""

    kind = SumsUp


class AddsTheFirst(RightTransform):
    def origins_each(self, states):
        return np.broadcast_to(states[:1, -1:], (len(states), 1, states.shape[-1]))


class TakesOneForAll(RightSeries):
    """Undoes the next rows of several series by the origins of the first."""

    kind = AddsTheFirst


class StandsStill(RightTransform):
    def apply_each(self, values, states):
        return super().apply_each(values, states)[0], states


class LeavesThemBehind(RightSeries):
    """Goes on with one series, and not with several side by side."""

    kind = StandsStill


class LearnsAFactor(RightTransform):
    factor = 1.0

    def fit(self, runs):
        self.factor = 1 + max(float(np.abs(run).max(initial=0)) for run in runs)

    def apply(self, values, state):
        rows, state = super().apply(values * self.factor, state)
        return rows, state

    def against(self, values, origins):
        return super().against(values * self.factor, origins)

    def invert(self, values, origins):
        return super().invert(values, origins) / self.factor


class SavesHalf(RightSeries):
    """Leaves out of what it saves what its transforms have learned."""

    kind = LearnsAFactor


class GivesItself(RightNumbers):
    """Scales covariates by what it has learned of the series."""

    def of_covariates(self):
        return self


class TakesLogarithms(RightNumbers):
    """Takes logarithms of covariates as of a series, and makes of those that have none nan."""

    def of_covariates(self):
        return OfLogarithms(self.options)


class OfLogarithms(RightNumbers):
    """Logarithms."""

    def fit(self, runs):
        super().fit([self.logarithms(run) for run in runs])

    def encode(self, values):
        return super().encode(self.logarithms(values))

    def logarithms(self, values):
        with np.errstate(all="ignore"):
            return np.log(values)


class MeasuresByTheFirst(RightNumbers):
    """Scales every column of covariates by the first one."""

    def of_covariates(self):
        return ByTheFirst(self.options)


class ByTheFirst(RightNumbers):
    """Numbers, by the greatest magnitude of the first feature."""

    def fit(self, runs):
        super().fit(runs)
        self.scale[:] = self.scale[0]


class CentresEachRun(RightNumbers):
    """Subtracts from covariates the mean of those that are read at once."""

    def of_covariates(self):
        return Centred(self.options)


class Centred(RightNumbers):
    """Numbers, from the mean of their run."""

    def encode(self, values):
        return super().encode(values - values.mean(axis=0))


class FillsCovariates(RightNumbers):
    """Says that covariates may be missing, and makes 0 of each that is."""

    takes_missing = True

    def of_covariates(self):
        return Filled(self.options)


class Filled(RightNumbers):
    """Numbers, 0 for each that is missing."""

    def fit(self, runs):
        super().fit(np.nan_to_num(run) for run in runs)

    def encode(self, values):
        return super().encode(np.nan_to_num(values))


class ForgetsItsCovariates(RightNumbers):
    """Saves nothing of the scale of covariates."""

    def of_covariates(self):
        return Forgetful(self.options)


class Forgetful(RightNumbers):
    """Comes back with a scale of 1."""

    def save(self):
        return {"scale": [1.0] * self.size}


def component(name: str) -> Component:
    """Return a vocabulary of this module as a plugin would describe it."""
    return vocabularies.component(name, "Plain", __name__)


RIGHT = [component("RightNumbers"), component("RightSeries")]

LIARS = [
    Liar("V07", component("ScalesByTheRun"), frozenset({"V14"})),
    Liar("V08", component("RoundsToSingle")),
    Liar("V08", component("FlattensOneFeature"), frozenset({"V17"})),
    Liar("V09", component("ScalesInPlace"), frozenset({"V12"})),
    Liar("V11", component("CountsItsUses")),
    Liar("V12", component("KeepsTheRuns")),
    Liar("V12", component("GivesTheDataItself")),
    Liar("V13", component("DecodesDownTheColumns")),
    Liar("V13", component("OverflowsSoon")),
    Liar("V13", component("ShiftsByTheOthers")),
    Liar("V15", component("BuildsThemAnew")),
    Liar("V15", component("KeepsTheSeries")),
    Liar("V15", component("SeesTheRow")),
    Liar("V15", component("WritesOnTheState")),
    Liar("V15", component("ComesBackElsewhere")),
    Liar("V15", component("SavesHalf")),
    Liar("V15", component("TellsItOtherwise")),
    Liar("V15", component("KnowsTooEarly")),
    Liar("V15", component("TakesOneForAll")),
    Liar("V15", component("LeavesThemBehind")),
    Liar("V17", component("GivesItself")),
    Liar("V17", component("TakesLogarithms")),
    Liar("V17", component("MeasuresByTheFirst")),
    Liar("V17", component("CentresEachRun")),
    Liar("V17", component("FillsCovariates")),
    Liar("V17", component("ForgetsItsCovariates")),
    Liar("P09", component("HushesNumpy")),
]
