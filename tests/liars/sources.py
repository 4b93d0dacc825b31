"""Wrong sources, and right ones that they are made of."""

from __future__ import annotations

import hashlib
import os
import random
from pathlib import Path

import numpy as np

from liars import Liar
from recurra import Component, Field, FilePath, InputError, Options, Piece, Source

SONG = "row, row, row your boat"


class Plain(Options):
    """Options of sources that hold what they give: none."""


class FileOptions(Options):
    """Options of sources of a file: which."""

    path: FilePath = Field(description="the file")


class Right(Source[Plain]):
    """Two sequences of text."""

    def read(self, element):
        yield Piece(SONG)
        yield Piece(" gently", start=False)
        yield Piece(SONG)

    def fingerprint(self):
        return hashlib.sha256(SONG.encode()).hexdigest()


class RightNumbers(Right):
    """A series of two features, in pieces."""

    offers = ("numbers",)

    def read(self, element):
        for start in range(0, 9, 3):
            yield Piece(np.arange(start, start + 6, dtype=np.float64).reshape(3, 2), start == 0)

    def features(self):
        return ["low", "high"]


class RightFile(Source[FileOptions]):
    """The text of a file, each line a sequence."""

    def read(self, element):
        try:
            with Path(self.options.path).open(encoding="utf-8", newline="") as file:
                yield from map(Piece, file)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError.of("RC040", f"{self.options.path} cannot be read: {error}") from error

    def fingerprint(self):
        try:
            status = Path(self.options.path).stat()
        except OSError as error:
            raise InputError.of("RC040", f"{self.options.path} cannot be read: {error}") from error
        return f"{self.options.path}:{status.st_size}:{status.st_mtime_ns}"


class RightLabels(Right):
    """Two sequences, each with a label."""

    labels = ("loud", "soft")

    def columns(self):
        return {"input": self.offers, "label": ("text",)}

    def read(self, element):
        for index, text in enumerate([SONG, " gently"]):
            yield Piece(text, True, {"label": self.labels[index]})
            yield Piece("!", start=False)


class ForgetsALabel(RightLabels):
    """Gives a label to the first sequence alone."""

    def read(self, element):
        for index, piece in enumerate(super().read(element)):
            yield piece if index < 2 else Piece(piece.values, piece.start)


class HasABlankLabel(RightLabels):
    """Has nothing to say of one sequence, and says it."""

    labels = ("loud", " ")


class CountsItsLabels(RightLabels):
    """Gives numbers for labels."""

    labels = (1, 2)


class KeepsItsLabelsSecret(RightLabels):
    """Gives labels, and names none."""

    def columns(self):
        return {"input": self.offers}


class RightAnswers(Right):
    """Two sequences, each with an answer, one of them empty."""

    answers = ("LA", "")

    def columns(self):
        return {"input": self.offers, "answer": ("text",)}

    def read(self, element):
        for index, text in enumerate([SONG, " gently"]):
            yield Piece(text, True, {"answer": self.answers[index]})
            yield Piece("!", start=False)


class ForgetsAnAnswer(RightAnswers):
    """Takes an answer that is absent for one."""

    answers = ("LA", None)


class AnswersInTokens(RightAnswers):
    """Reads text, and answers with tokens."""

    answers = ("LA", ("L", "A"))


class AnswersAtTheEnd(RightAnswers):
    """Gives an answer behind its sequence."""

    def read(self, element):
        answer = ""
        for piece in super().read(element):
            answer = piece.columns.get("answer", answer)
            yield piece if piece.start else piece._replace(columns={"answer": answer})


class KeepsItsAnswersSecret(RightAnswers):
    """Gives answers, and names none."""

    def columns(self):
        return {"input": self.offers}


class LearnsItsColumns(RightLabels):
    """Names its label once it was read."""

    known = False

    def columns(self):
        return super().columns() if self.known else {"input": self.offers}

    def read(self, element):
        self.known = True
        yield from super().read(element)


class DrawsItsLabels(RightLabels):
    """Has other labels each time."""

    count = 0

    def read(self, element):
        for piece in super().read(element):
            self.count += 1
            yield piece._replace(columns={"label": f"{self.count}"}) if piece.start else piece


class HandsOutItsColumns(RightLabels):
    """Keeps a table for each sequence, and gives it itself."""

    def __init__(self, options):
        super().__init__(options)
        self.tables = [{"label": label} for label in self.labels]

    def read(self, element):
        yield Piece(SONG, True, self.tables[0])
        yield Piece(" gently", True, self.tables[1])


class ReadsOnce(Right):
    """Begins in the constructor, and is at its end after the first reader."""

    def __init__(self, options):
        super().__init__(options)
        self.pieces = super().read("text")

    def read(self, element):
        yield from self.pieces


class FillsOneBuffer(RightNumbers):
    """Gives the same array each time, with other numbers in it."""

    def read(self, element):
        buffer = np.zeros((3, 2))
        for values, start, _ in super().read(element):
            buffer[:] = values
            yield Piece(buffer, start)


class SharesItsPlace(RightNumbers):
    """Keeps where it stands on itself, so that two readers are in each other's way."""

    def read(self, element):
        pieces = list(super().read(element))
        self.place = 0
        while self.place < len(pieces):
            yield pieces[self.place]
            self.place += 1


class GivesSingles(RightNumbers):
    """Gives float32."""

    def read(self, element):
        for values, start, _ in super().read(element):
            yield Piece(values.astype(np.float32), start)


class GivesMissingValues(RightNumbers):
    """Gives nan for what is missing."""

    def read(self, element):
        for values, start, _ in super().read(element):
            yield Piece(np.where(values == 4, np.nan, values), start)


class GivesCharacters(Right):
    """Gives a list where a text is asked for."""

    def read(self, element):
        for values, start, _ in super().read(element):
            yield Piece(list(values), start)


class BeginsInTheMiddle(Right):
    """Never says that a sequence starts."""

    def read(self, element):
        for values, _, _ in super().read(element):
            yield Piece(values, False)


class NamesOneFeature(RightNumbers):
    """Has two features, and a name for one."""

    def features(self):
        return ["low"]


class HashesByProcess(Right):
    """Takes Python's hash of a text."""

    def fingerprint(self):
        return str(hash(SONG))


class KnowsItself(Right):
    """Has a fingerprint for each instance."""

    def fingerprint(self):
        self.mark = object()
        return str(id(self.mark))


class ReadsForItsFingerprint(Right):
    """Reads the whole corpus before it tells whether it is the same."""

    def fingerprint(self):
        return hashlib.sha256(
            "".join(values for values, _, _ in self.read("text")).encode()
        ).hexdigest()


class LooksAtTheSize(RightFile):
    """Takes a file of the same size for the same."""

    def fingerprint(self):
        super().fingerprint()
        return f"{self.options.path}:{Path(self.options.path).stat().st_size}"


class LooksAtTheName(RightFile):
    """Takes a file of the same name for the same."""

    def fingerprint(self):
        super().fingerprint()
        return str(self.options.path)


class RaisesWhatComes(RightFile):
    """Lets the exceptions of the system out."""

    def read(self, element):
        with Path(self.options.path).open(encoding="utf-8", newline="") as file:
            yield from map(Piece, file)

    def fingerprint(self):
        return f"{Path(self.options.path).stat()}"


class NamesNoFile(RightFile):
    """Tells that something is wrong, and not where."""

    def fingerprint(self):
        if not Path(self.options.path).is_file():
            raise InputError.of("RC040", "a file cannot be read")
        return super().fingerprint()


class KnowsFilesAlone(RightFile):
    """Tells what is wrong with a file, and lets out what is wrong with its bytes."""

    def read(self, element):
        super().fingerprint()
        if not Path(self.options.path).is_file():
            raise InputError.of("RC040", f"{self.options.path} is no file")
        with Path(self.options.path).open(encoding="utf-8", newline="") as file:
            yield from map(Piece, file)


class CutsCharacters(RightFile):
    """Decodes block by block, and leaves out what a block cuts."""

    def read(self, element):
        super().fingerprint()
        if not Path(self.options.path).is_file():
            raise InputError.of("RC040", f"{self.options.path} is no file")
        content = Path(self.options.path).read_bytes()
        text = "".join(
            content[at : at + 65536].decode("utf-8", "ignore")
            for at in range(0, len(content), 65536)
        )
        yield from map(Piece, text.splitlines(keepends=True))


class CutsLines(RightFile):
    """Splits block by block, so that a line that a block cuts is two."""

    def read(self, element):
        text = "".join(values for values, _, _ in super().read(element))
        for at in range(0, len(text), 65536):
            yield from map(Piece, text[at : at + 65536].splitlines(keepends=True))


class LeavesItOpen(RightFile):
    """Leaves the file to the garbage collector."""

    def read(self, element):
        try:
            yield from map(Piece, Path(self.options.path).open(encoding="utf-8", newline=""))
        except (OSError, UnicodeDecodeError) as error:
            raise InputError.of("RC040", f"{self.options.path} cannot be read: {error}") from error


class LearnsItsNames(RightNumbers):
    """Knows the names of its features once it was read."""

    names: tuple[str, ...] = ()

    def read(self, element):
        self.names = ("low", "high")
        yield from super().read(element)

    def features(self):
        return [*self.names]


class HandsOutItsData(RightNumbers):
    """Keeps its pieces, and gives them itself."""

    def __init__(self, options):
        super().__init__(options)
        self.pieces = [*super().read("numbers")]

    def read(self, element):
        yield from self.pieces


class LooksFromTheFolder(Right):
    """Has other pieces in another current folder."""

    def __init__(self, options):
        super().__init__(options)
        self.home = os.getcwd()

    def read(self, element):
        yield from [*super().read(element)][: 3 if os.getcwd() == self.home else 2]


class CountsReaders(Right):
    """Has a fingerprint that moves with each reading."""

    readers = 0

    def read(self, element):
        self.readers += 1
        yield from super().read(element)

    def fingerprint(self):
        return f"{super().fingerprint()}:{self.readers}"


class HasNoGaps(Right):
    """Has nothing to say of gaps, not even that there are none."""

    def gaps(self):
        return None


class TellsOfGaps(Right):
    """Seeds everybody's random numbers when it is asked for gaps."""

    def gaps(self):
        random.seed(5)
        return []


class HandsOutItsNames(RightNumbers):
    """Gives the list of names that it looks into."""

    def __init__(self, options):
        super().__init__(options)
        self.names = ["low", "high"]

    def features(self):
        return self.names


class KeepsEachReading(Right):
    """Keeps what it has read, each time, in a table of its class."""

    readings = {}  # noqa: RUF012

    def read(self, element):
        pieces = [*super().read(element)]
        self.readings.setdefault(self.fingerprint(), []).append(len(pieces))
        yield from pieces


class RemembersThePath(RightFile):
    """Gives what stood in the file when it was first read."""

    texts = {}  # noqa: RUF012

    def read(self, element):
        if self.options.path not in self.texts:
            self.texts[self.options.path] = [*super().read(element)]
        yield from self.texts[self.options.path]


class IsElsewhereMeanwhile(Right):
    """Is in another folder while it reads, and comes back."""

    def read(self, element):
        home = os.getcwd()
        os.chdir(Path(__file__).parent)
        yield from super().read(element)
        os.chdir(home)


class MakesItsPathWhole(RightFile):
    """Writes a longer path into its options."""

    def fingerprint(self):
        self.options.__dict__["path"] = os.path.realpath(self.options.path)
        return super().fingerprint()


class MovesOut(Right):
    """Makes another folder the current one, and stays there."""

    def read(self, element):
        os.chdir(Path(__file__).parent)
        yield from super().read(element)


class AsksForSeeds(RightNumbers):
    """Seeds everybody's random numbers, so that its own are always the same."""

    def read(self, element):
        random.seed(5)
        yield from super().read(element)


def component(name: str, options: str = "Plain", module: str = __name__) -> Component:
    """Return a source of a module as a plugin would describe it."""
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    examples = ({"path": "words.txt"},) if options == "FileOptions" else ()
    target, model = f"{module}:{name}", f"liars.sources:{options}"
    return Component("source", lower, target, model, "a source of the tests", examples=examples)


RIGHT = [
    component("Right"),
    component("RightNumbers"),
    component("RightFile", "FileOptions"),
    component("RightLabels"),
    component("RightAnswers"),
]

LIARS = [
    Liar("S01", component("FillsOneBuffer")),
    Liar("S01", component("ReadsOnce"), frozenset({"S08", "S09"})),
    Liar("S01", component("SharesItsPlace")),
    Liar("S02", component("GivesSingles")),
    Liar("S02", component("GivesMissingValues")),
    Liar("S02", component("GivesCharacters")),
    Liar("S03", component("BeginsInTheMiddle")),
    Liar("S03", component("NamesOneFeature")),
    Liar("S04", component("HashesByProcess")),
    Liar("S04", component("KnowsItself"), frozenset({"S09"})),
    Liar("S04", component("ReadsForItsFingerprint")),
    Liar("S05", component("LooksAtTheSize", "FileOptions")),
    Liar("S05", component("LooksAtTheName", "FileOptions")),
    Liar("S06", component("RaisesWhatComes", "FileOptions")),
    Liar("S06", component("NamesNoFile", "FileOptions")),
    Liar("S06", component("KnowsFilesAlone", "FileOptions")),
    Liar("S07", component("CutsCharacters", "FileOptions")),
    Liar("S07", component("CutsLines", "FileOptions")),
    Liar("S08", component("LeavesItOpen", "FileOptions")),
    Liar("S09", component("LearnsItsNames")),
    Liar("S09", component("HandsOutItsData")),
    Liar("S09", component("LooksFromTheFolder")),
    Liar("S09", component("CountsReaders")),
    Liar("S03", component("HasNoGaps"), frozenset({"S09"})),
    Liar("S05", component("RemembersThePath", "FileOptions")),
    Liar("S09", component("HandsOutItsNames")),
    Liar("S09", component("KeepsEachReading")),
    Liar("S10", component("ForgetsALabel")),
    Liar("S10", component("HasABlankLabel")),
    Liar("S10", component("CountsItsLabels")),
    Liar("S10", component("KeepsItsLabelsSecret")),
    Liar("S10", component("LearnsItsColumns")),
    Liar("S11", component("ForgetsAnAnswer")),
    Liar("S11", component("AnswersInTokens")),
    Liar("S11", component("AnswersAtTheEnd")),
    Liar("S11", component("KeepsItsAnswersSecret")),
    Liar("S01", component("DrawsItsLabels"), frozenset({"S08", "S09"})),
    Liar("S09", component("HandsOutItsColumns")),
    Liar("P09", component("TellsOfGaps")),
    Liar("P09", component("IsElsewhereMeanwhile")),
    Liar("P09", component("MakesItsPathWhole", "FileOptions")),
    Liar("P09", component("MovesOut")),
    Liar("P09", component("AsksForSeeds")),
]
