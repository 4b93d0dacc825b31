"""Wrong vocabularies, and right ones that they are made of."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from typing import ClassVar

import numpy as np

from liars import Liar
from recurra import Component, Options, SymbolOptions, Transform, UnknownSymbol, Vocabulary


class Policy(SymbolOptions):
    """Options of vocabularies of letters: what to do with one that is not known."""


class Plain(Options):
    """Options of the others: none."""


class Right(Vocabulary[Policy]):
    """One id for each code point, sorted, and one more for what is not known."""

    def __init__(self, options):
        super().__init__(options)
        self.policy = getattr(options, "unknown", "error")
        self.learn([])

    def learn(self, letters):
        self.letters = letters
        self.ids = {letter: index for index, letter in enumerate(letters)}

    @property
    def size(self):
        return len(self.letters) + (self.policy == "token")

    def fit(self, runs):
        self.learn(sorted({letter for run in runs for letter in run}))

    def encode(self, values):
        ids = []
        for place, letter in enumerate(values):
            if letter in self.ids:
                ids.append(self.ids[letter])
            elif self.policy == "error":
                raise UnknownSymbol(letter, place)
            elif self.policy == "token":
                ids.append(len(self.letters))
        return np.array(ids, np.int64)

    def decode(self, ids):
        return "".join([*self.letters, "\ufffd"][index] for index in ids.tolist())

    def save(self):
        return {"letters": [*self.letters]}

    def restore(self, saved):
        self.learn(list(saved["letters"]))


class RightBytes(Vocabulary[Plain]):
    """The 256 bytes of UTF-8."""

    size = 256

    def fit(self, runs):
        for _ in runs:
            pass

    def encode(self, values):
        return np.frombuffer(values.encode(), np.uint8)

    def decode(self, ids):
        return bytes(ids.astype(np.uint8)).decode("utf-8", "replace")

    def streamer(self):
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda index: decoder.decode(bytes([index]))

    def save(self):
        return {}

    def restore(self, saved):
        pass


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
        found = np.max([np.abs(run).max(axis=0) for run in runs if len(run)], axis=0)
        self.scale = np.where(found > 0, found, 1.0)

    def encode(self, values):
        return values / self.scale

    def decode(self, ids):
        return ids * self.scale

    def save(self):
        return {"scale": self.scale.tolist()}

    def restore(self, saved):
        self.scale = np.array(saved["scale"])


class Composes(Right):
    """Writes letter and accent as one, whatever was read."""

    def fit(self, runs):
        super().fit(unicodedata.normalize("NFC", run) for run in runs)

    def encode(self, values):
        return super().encode(unicodedata.normalize("NFC", values))


class EndsLines(Right):
    """Reads every line end as a newline."""

    def encode(self, values):
        return super().encode(values.replace("\r\n", "\n"))


class CountsFromOne(Right):
    """Gives the last letter an id that is as large as the size."""

    def encode(self, values):
        return super().encode(values) + 1

    def decode(self, ids):
        return super().decode(np.asarray(ids) - 1)


class GivesFloats(Right):
    """Gives ids as real numbers."""

    def encode(self, values):
        return super().encode(values).astype(np.float64)

    def decode(self, ids):
        return super().decode(np.asarray(ids).astype(np.int64))


class DecodesStrictly(RightBytes):
    """Raises an exception for bytes that are no UTF-8."""

    def decode(self, ids):
        return bytes(ids.astype(np.uint8)).decode("utf-8")


class DecodesSomething(Right):
    """Looks at the greatest id, and there is none among no ids."""

    def decode(self, ids):
        assert max(ids) <= len(self.letters)
        return super().decode(ids)


class KeysById(Right):
    """Saves a table whose keys are numbers, which JSON makes texts of."""

    def save(self):
        return {"letters": dict(enumerate(self.letters))}

    def restore(self, saved):
        self.learn([saved["letters"][index] for index in range(len(saved["letters"]))])


class KeepsTheOldFit(Right):
    """Adds what is restored to what was learned before."""

    def restore(self, saved):
        self.learn([*self.letters, *(letter for letter in saved["letters"] if letter not in self.ids)])


class SavesAnArray(Right):
    """Saves what is no JSON."""

    def save(self):
        return {"letters": np.array(self.letters)}


class KnowsEverything(Right):
    """Takes an unknown letter for the first one."""

    def encode(self, values):
        if self.policy == "skip":
            return super().encode(values)
        return np.array([self.ids.get(letter, 0) for letter in values], np.int64)


class SkipsNothing(Right):
    """Puts the first letter where one is to be left out."""

    def encode(self, values):
        if self.policy != "skip":
            return super().encode(values)
        return np.array([self.ids.get(letter, 0) for letter in values], np.int64)


class CountsKnownOnes(Right):
    """Tells the place of an unknown letter among those that are distinct."""

    def encode(self, values):
        try:
            return super().encode(values)
        except UnknownSymbol as error:
            raise UnknownSymbol(error.symbol, len(set(values[: error.position]))) from error


class StreamsByteByByte(RightBytes):
    """Decodes each byte alone."""

    def streamer(self):
        return lambda index: self.text(np.array([index]))


class SharesAStream(RightBytes):
    """Has one decoder for all streams."""

    def __init__(self, options):
        super().__init__(options)
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def streamer(self):
        return lambda index: self.decoder.decode(bytes([index]))


class OrdersByRuns(Right):
    """Orders letters by how many runs hold them."""

    def fit(self, runs):
        counts = Counter(letter for run in runs for letter in set(run))
        self.learn(sorted(counts, key=lambda letter: (-counts[letter], letter)))


class FitsTwice(Right):
    """Goes over the runs a second time, to order letters by their counts."""

    def fit(self, runs):
        letters = {letter for run in runs for letter in run}
        counts = Counter(letter for run in runs for letter in run)
        self.learn(sorted(letters, key=lambda letter: (-counts[letter], letter)))


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


class OrdersByHash(Right):
    """Orders letters as a set does: otherwise in every process."""

    def fit(self, runs):
        self.learn(sorted({letter for run in runs for letter in run}, key=hash))


class ScalesInPlace(RightNumbers):
    """Changes the numbers that it is given."""

    def encode(self, values):
        values /= self.scale
        return values


class SplitsPrompts(Right):
    """Makes a list of words of a prompt, and reads text."""

    def parse(self, text):
        return text.split()


class LearnsWhileItEncodes(Right):
    """Takes up a new letter wherever it meets one, so that it is larger than the network that was built for it."""

    def encode(self, values):
        self.learn([*self.letters, *sorted(set(values) - self.ids.keys())])
        return super().encode(values)


class LearnsWhatItRefuses(Right):
    """Takes up a letter that it did not know, for the next time."""

    def encode(self, values):
        try:
            return super().encode(values)
        except UnknownSymbol:
            self.learn([*self.letters, *sorted(set(values) - self.ids.keys())])
            raise


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


class HandsOutItsTable(Right):
    """Keeps what it has encoded, and gives it again."""

    answers = {}

    def encode(self, values):
        key = (self.policy, tuple(self.letters), tuple(values))
        if key not in self.answers:
            self.answers[key] = super().encode(values)
        return self.answers[key]


class CountsInNumpy(Right):
    """Has a size that JSON cannot say."""

    @property
    def size(self):
        return np.int64(super().size)


class ReadsMemory(Right):
    """Takes ids to be of one type, one after the other in memory."""

    def decode(self, ids):
        return super().decode(np.frombuffer(ids.tobytes(), np.int64))


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


class SaysWhatItDoes(Right):
    """Prints when it is fitted."""

    def fit(self, runs):
        super().fit(runs)
        print(f"{self.size} letters")


class FitsOn(Right):
    """Fitted again, it knows what it knew beside."""

    def fit(self, runs):
        self.learn(sorted({*self.letters, *(letter for run in runs for letter in run)}))


class KeepsWhatItEncodes(Right):
    """Keeps every run that it has encoded."""

    def __init__(self, options):
        super().__init__(options)
        self.seen = {}

    def encode(self, values):
        self.seen[values] = super().encode(values)
        return self.seen[values].copy()


class SharesATable(Right):
    """Keeps its ids in a table of its class."""

    table: ClassVar[dict[str, int]] = {}

    def learn(self, letters):
        super().learn(letters)
        self.table.update(self.ids)


class SavesItsList(Right):
    """Saves the list that it looks into."""

    def save(self):
        return {"letters": self.letters}


class EncodesTheBeginning(Right):
    """Encodes as many letters as 16 bits can count."""

    def encode(self, values):
        return super().encode(values[: 1 << 16])


class DecodesTheBeginning(Right):
    """Decodes no more than 5,000 ids."""

    def decode(self, ids):
        return super().decode(ids[:5000])


class ShowsCapitals(Right):
    """Shows another symbol than it writes."""

    def symbol(self, index):
        return super().symbol(index).upper()


class NotesInItsOptions(Right):
    """Writes into its options that it was fitted."""

    def fit(self, runs):
        super().fit(runs)
        self.options.__dict__["fitted"] = True


class RightTransform(Transform):
    """Doubles each row, as a series of its own might: the origin is the number of rows that came before it."""

    width = 1

    def start(self, known):
        return np.zeros((1, known.shape[1]))

    def apply(self, values, state):
        return values * 2 + self.origins(values, state)[:-1, 0], state + len(values)

    def origins(self, values, state):
        return state[:, None] + np.arange(len(values) + 1.0)[:, None, None]

    def invert(self, values, origins):
        return (values - origins[:, 0]) / 2


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
        found = values * 2 + self.count + np.arange(len(values))[:, None]
        self.count += len(values)
        return found, state + len(values)


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
        found, _ = super().apply(values, state)
        state += len(values)
        return found, state


class WritesOnTheState(RightSeries):
    """Moves the state that it was given."""

    kind = AddsInPlace


class ForgetsTheOrigin(RightTransform):
    def invert(self, values, origins):
        return values / 2


class ComesBackElsewhere(RightSeries):
    """Undoes the half of what was done."""

    kind = ForgetsTheOrigin


class LearnsAFactor(RightTransform):
    factor = 1.0

    def fit(self, runs):
        self.factor = 1 + max(float(np.abs(run).max(initial=0)) for run in runs)

    def apply(self, values, state):
        found, state = super().apply(values * self.factor, state)
        return found, state

    def invert(self, values, origins):
        return super().invert(values, origins) / self.factor


class SavesHalf(RightSeries):
    """Leaves out of what it saves what its transforms have learned."""

    kind = LearnsAFactor


def component(name: str, options: str = "Policy") -> Component:
    """Return a vocabulary of this module as a plugin would describe it."""
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    here = "liars.vocabularies"
    return Component("vocabulary", lower, f"{here}:{name}", f"{here}:{options}", "a vocabulary of the tests")


RIGHT = [
    component("Right"),
    component("RightBytes", "Plain"),
    component("RightNumbers", "Plain"),
    component("RightSeries", "Plain"),
]

UNSAVED = frozenset({"P09", "V11", "V12"})
"""Checks that save a vocabulary and restore it on the way to what they ask."""

LIARS = [
    Liar("V01", component("Composes")),
    Liar("V01", component("EndsLines")),
    Liar("V02", component("CountsFromOne")),
    Liar("V02", component("GivesFloats")),
    Liar("V03", component("DecodesStrictly", "Plain"), frozenset({"V04", "V06", "V11", "V13"})),
    Liar("V03", component("DecodesSomething"), frozenset({"P09"})),
    Liar("V04", component("KeysById"), UNSAVED),
    Liar("V04", component("KeepsTheOldFit")),
    Liar("V04", component("SavesAnArray"), UNSAVED),
    Liar("V05", component("KnowsEverything")),
    Liar("V05", component("SkipsNothing")),
    Liar("V05", component("CountsKnownOnes")),
    Liar("V06", component("StreamsByteByByte", "Plain")),
    Liar("V06", component("SharesAStream", "Plain")),
    Liar("V07", component("OrdersByRuns")),
    Liar("V07", component("FitsTwice")),
    Liar("V07", component("ScalesByTheRun", "Plain"), frozenset({"V14"})),
    Liar("V08", component("RoundsToSingle", "Plain")),
    Liar("V08", component("FlattensOneFeature", "Plain")),
    Liar("V09", component("OrdersByHash")),
    Liar("V09", component("ScalesInPlace", "Plain"), frozenset({"V12"})),
    Liar("V10", component("SplitsPrompts")),
    Liar("V11", component("LearnsWhileItEncodes", "Plain")),
    Liar("V11", component("LearnsWhatItRefuses", "Plain")),
    Liar("V11", component("CountsItsUses", "Plain")),
    Liar("V12", component("KeepsTheRuns", "Plain")),
    Liar("V12", component("GivesTheDataItself", "Plain")),
    Liar("V12", component("HandsOutItsTable")),
    Liar("V12", component("CountsInNumpy")),
    Liar("V13", component("ReadsMemory")),
    Liar("V13", component("DecodesDownTheColumns", "Plain")),
    Liar("V13", component("OverflowsSoon", "Plain")),
    Liar("V13", component("ShiftsByTheOthers", "Plain")),
    Liar("V03", component("ShowsCapitals")),
    Liar("V07", component("FitsOn")),
    Liar("V11", component("KeepsWhatItEncodes", "Plain")),
    Liar("V11", component("SharesATable")),
    Liar("V12", component("SavesItsList")),
    Liar("V14", component("EncodesTheBeginning")),
    Liar("V14", component("DecodesTheBeginning")),
    Liar("V15", component("BuildsThemAnew", "Plain")),
    Liar("V15", component("KeepsTheSeries", "Plain")),
    Liar("V15", component("SeesTheRow", "Plain")),
    Liar("V15", component("WritesOnTheState", "Plain")),
    Liar("V15", component("ComesBackElsewhere", "Plain")),
    Liar("V15", component("SavesHalf", "Plain")),
    Liar("P09", component("NotesInItsOptions")),
    Liar("P09", component("HushesNumpy", "Plain")),
    Liar("P09", component("SaysWhatItDoes")),
]
