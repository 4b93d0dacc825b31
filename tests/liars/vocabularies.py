"""Wrong vocabularies of symbols, and right ones that they are made of."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from typing import ClassVar

import numpy as np

from liars import Liar
from recurra import Component, Options, SymbolOptions, UnknownSymbol, Vocabulary


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
        self.learn(
            [*self.letters, *(letter for letter in saved["letters"] if letter not in self.ids)]
        )


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


class OrdersByHash(Right):
    """Orders letters as a set does: otherwise in every process."""

    def fit(self, runs):
        self.learn(sorted({letter for run in runs for letter in run}, key=hash))


class SplitsPrompts(Right):
    """Makes a list of words of a prompt, and reads text."""

    def parse(self, text):
        return text.split()


class LearnsWhileItEncodes(Right):
    """Takes up a new letter wherever it meets one.

    So it is larger than the network that was built for it.
    """

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


class TakesIn(Right):
    """Takes new letters in, behind all others."""

    def add(self, runs):
        counts = Counter(letter for run in runs for letter in run if letter not in self.ids)
        self.learn([*self.letters, *sorted(counts)])
        return dict(counts)


class SortsAnew(TakesIn):
    """Puts new letters among those that were there."""

    def add(self, runs):
        counts = super().add([*runs, "\t"])
        self.learn(sorted(self.letters))
        return counts


class TellsOnly(TakesIn):
    """Tells what is new, and knows it no better."""

    def add(self, runs):
        letters = self.letters
        counts = super().add(runs)
        self.learn(letters)
        return counts


class CountsRunsOnce(TakesIn):
    """Tells of each new letter that it came once."""

    def add(self, runs):
        return dict.fromkeys(super().add(runs), 1)


class AddsTwice(TakesIn):
    """Goes over the runs to count, and once more to learn."""

    def add(self, runs):
        counts = Counter(letter for run in runs for letter in run if letter not in self.ids)
        super().add(runs)
        return dict(counts)


def component(name: str, options: str = "Policy", here: str = __name__) -> Component:
    """Return a vocabulary of a module as a plugin would describe it.

    Its options are of this one.
    """
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    return Component(
        "vocabulary", lower, f"{here}:{name}", f"{__name__}:{options}", "a vocabulary of the tests"
    )


RIGHT = [component("Right"), component("RightBytes", "Plain"), component("TakesIn")]

UNSAVED = frozenset({"P09", "V11", "V12"})
"""Checks that save a vocabulary and restore it on the way to what they ask."""

LIARS = [
    Liar("V01", component("Composes")),
    Liar("V01", component("EndsLines")),
    Liar("V02", component("CountsFromOne")),
    Liar("V02", component("GivesFloats")),
    Liar(
        "V03", component("DecodesStrictly", "Plain"), frozenset({"V04", "V06", "V11", "V13", "V16"})
    ),
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
    Liar("V09", component("OrdersByHash")),
    Liar("V10", component("SplitsPrompts")),
    Liar("V11", component("LearnsWhileItEncodes", "Plain")),
    Liar("V11", component("LearnsWhatItRefuses", "Plain")),
    Liar("V12", component("HandsOutItsTable")),
    Liar("V12", component("CountsInNumpy")),
    Liar("V13", component("ReadsMemory")),
    Liar("V03", component("ShowsCapitals")),
    Liar("V07", component("FitsOn")),
    Liar("V11", component("KeepsWhatItEncodes", "Plain")),
    Liar("V11", component("SharesATable")),
    Liar("V12", component("SavesItsList")),
    Liar("V14", component("EncodesTheBeginning")),
    Liar("V14", component("DecodesTheBeginning")),
    Liar("V16", component("SortsAnew")),
    Liar("V16", component("TellsOnly")),
    Liar("V16", component("CountsRunsOnce")),
    Liar("V16", component("AddsTwice")),
    Liar("P09", component("NotesInItsOptions")),
    Liar("P09", component("SaysWhatItDoes")),
]
