"""Sources whose stamps or covariates are wrong, or other files, and right ones they are made of."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np

from liars import Liar, sources
from liars.sources import Right, RightFile
from recurra import InputError, Piece, Timeline
from recurra.contracts.timeline import Frequency

CUT = 4
CUT_OF_LINES = 16
"""Elements of a piece, at most."""


class RightStamps(Right):
    """Two series in pieces, a step each month."""

    offers = ("numbers",)
    stamps = ("2024-01", "2023-11")
    frequency = Frequency.named("month")

    def columns(self):
        return {"input": self.offers, "time": ("text",)}

    def read(self, element):
        for stamp in self.stamps:
            for start in (True, False, False):
                yield Piece(np.arange(6.0).reshape(3, 2), start, {"time": stamp} if start else {})

    def timeline(self):
        return Timeline(self.frequency)


class StampsEachPiece(RightStamps):
    """Gives the stamp of the sequence with every piece of it."""

    def read(self, element):
        for piece in super().read(element):
            yield piece._replace(columns={"time": self.stamps[0]})


class CountsItsStamps(RightStamps):
    """Gives numbers for stamps."""

    stamps = (2024, 2023)


class StampsInItsOwnWords(RightStamps):
    """Gives stamps that its timeline cannot read."""

    stamps = ("2024-01", "last November")


class TellsNoDistance(RightStamps):
    """Has stamps, and no timeline."""

    def timeline(self):
        return None


class HoldsAZone(RightStamps):
    """Has a timeline that no file can hold."""

    def timeline(self):
        return Timeline(self.frequency, ZoneInfo("UTC"))


class CountsFromADayThatIsNone(RightStamps):
    """Says that steps are business days, and begins at a weekend."""

    stamps = ("2024-01-06", "2024-01-08")
    frequency = Frequency.named("business day")


class LeavesStepsOut(RightStamps):
    """Says how far stamps are apart, and leaves rows out between them."""

    def gaps(self):
        return ["row 3"]


class KeepsItsStampsSecret(RightStamps):
    """Gives stamps, and names none."""

    def columns(self):
        return {"input": self.offers}


class KnowsATimeOfNothing(RightStamps):
    """Has a timeline, and no stamps."""

    stamps = (None, None)

    def columns(self):
        return {"input": self.offers}

    def read(self, element):
        for piece in super().read(element):
            yield Piece(piece.values, piece.start)


class RightBeside(Right):
    """Two series in pieces, with covariates of three kinds; of the first more is known ahead."""

    offers = ("numbers",)
    names = ("sun", "rain", "sun")

    def columns(self):
        both = ("numbers", "text")
        return {
            "input": self.offers,
            "past_covariates": both,
            "future_covariates": both,
            "static_covariates": both,
        }

    def read(self, element):
        for series in range(2):
            for part in range(2):
                ahead = 2 if (series, part) == (0, 1) else 0
                yield Piece(np.arange(3.0)[:, None], not part, self.beside(series, part, 3, ahead))

    def beside(self, series, part, count, ahead):
        """Return what stands beside a piece."""
        sky = [self.names[(series + at) % 3] for at in range(count + ahead)]
        said = {
            "past_covariates": {"load": self.told("load", np.arange(count) + 9.0 * series)},
            "future_covariates": {"price": self.told("price", np.ones(count + ahead)), "sky": sky},
        }
        if not part:
            (area,) = self.told("area", np.array([1.5 + series]))
            said["static_covariates"] = {"area": area if isinstance(area, str) else float(area)}
        return said

    def told(self, name, numbers):
        """Return a column as whoever reads has learned it."""
        return [f"{number}" for number in numbers] if name in (self.categories or ()) else numbers


def changed(role, change):
    """Return what gives one table of each piece otherwise: `change(table, series, part)`."""

    class Changed(RightBeside):
        def beside(self, series, part, count, ahead):
            said = super().beside(series, part, count, ahead)
            table = change(said[role], series, part) if role in said else None
            return said if table is None else {**said, role: table}

    return Changed


class IsOneStepBehind(
    changed("past_covariates", lambda table, *_: {"load": np.asarray(table["load"])[1:]})
):
    """Has nothing to say of the first step of a piece."""


class GoesOnInTheMidst(
    changed(
        "future_covariates",
        lambda table, *_: {
            n: [*c, "sun"] if n == "sky" else np.append(c, 1.0) for n, c in table.items()
        },
    )  # fmt: skip
):
    """Tells of the next step with every piece."""


class TellsThePastOfTheFuture(
    changed("past_covariates", lambda table, *_: {"load": np.append(table["load"], 1.0)})
):
    """Has a row more of what nobody knows yet."""


class TurnsItsColumns(
    changed("future_covariates", lambda table, series, _: dict([*table.items()][:: 1 - 2 * series]))
):
    """Has its columns in another order in the second series."""


class MixesNamesAndNumbers(
    changed(
        "future_covariates",
        lambda table, series, _: {**table, "sky": np.ones(3)} if series else table,
    )  # fmt: skip
):
    """Gives numbers where it gave names."""


class LeavesANameBlank(changed("static_covariates", lambda *_: {"area": " "})):
    """Has nothing to say of a series, and says it."""


class HasNoNumber(
    changed("past_covariates", lambda table, *_: {"load": np.full(len(table["load"]), np.nan)})
):
    """Gives nan for what is missing."""


class HasInfinity(
    changed("past_covariates", lambda table, *_: {"load": np.full(len(table["load"]), np.inf)})
):
    """Keeps what is missing, and gives infinity for it."""

    keeps_missing = True


class RoundsCovariates(
    changed("past_covariates", lambda table, *_: {"load": np.float32(table["load"])})
):
    """Gives float32."""


class TellsItOnce(RightBeside):
    """Gives all tables with the first piece of a sequence."""

    def beside(self, series, part, count, ahead):
        return {} if part else super().beside(series, part, count, ahead)


class RepeatsWhatIsStatic(RightBeside):
    """Gives what is said of a series with every piece of it."""

    def beside(self, series, part, count, ahead):
        first = super().beside(series, 0, count, ahead)
        return {**first, **super().beside(series, part, count, ahead)}


class KeepsCovariatesSecret(RightBeside):
    """Gives covariates, and names none."""

    def columns(self):
        return {"input": self.offers}


class DecidesByItself(RightBeside):
    """Has its own opinion of what is a category."""

    def told(self, name, numbers):
        return numbers


class FillsOneColumn(RightBeside):
    """Gives the same array of covariates each time, with others in it."""

    def read(self, element):
        kept = np.zeros(3)
        for piece in super().read(element):
            load = piece.columns["past_covariates"]["load"]
            if isinstance(load, np.ndarray):
                kept[:] = load
                load = kept
            yield piece._replace(columns={**piece.columns, "past_covariates": {"load": load}})


class HandsOutItsCovariates(RightBeside):
    """Keeps an array of covariates, and gives it itself."""

    def __init__(self, options):
        super().__init__(options)
        self.price = np.ones(5)

    def told(self, name, numbers):
        own = self.price[: len(numbers)] if name == "price" else numbers
        return super().told(name, own)


class RightRows(RightFile):
    """Lines of a file as series of the numbers of their characters, with covariates."""

    offers = ("numbers",)

    def columns(self):
        both = ("numbers", "text")
        return {
            "input": self.offers,
            "past_covariates": both,
            "future_covariates": both,
            "static_covariates": both,
        }

    def read(self, element):
        for line, _, _ in super().read("text"):
            for start in range(0, len(line), CUT_OF_LINES):
                part = line[start : start + CUT_OF_LINES]
                said = self.beside(part)
                if not start:
                    (length,) = self.told("length", [float(len(line))])
                    said["static_covariates"] = {"length": length}
                yield Piece(self.numbers(part)[:, None], not start, said)

    def numbers(self, part):
        return np.array([*map(ord, part)], np.float64)

    def beside(self, part):
        kinds = ["space" if mark.isspace() else "other" for mark in part]
        odd = self.told("odd", self.numbers(part) % 2)
        return {"past_covariates": {"odd": odd}, "future_covariates": {"kind": kinds}}

    told = RightBeside.told

    def over(self, path):
        return type(self)(self.options.model_copy(update={"path": path}))


class SlipsBesideABlock(RightRows):
    """Takes for the first step of a block the covariate of the one before it."""

    def read(self, element):
        count, last = 0, "other"
        for piece in super().read(element):
            kinds = piece.columns["future_covariates"]["kind"]
            for index, kind in enumerate(kinds):
                if count and count % 65536 == 0:
                    kinds[index] = last
                count, last = count + 1, kind
            yield piece


class ReadsItsOwnFile(RightRows):
    """Takes another file for its own."""

    def over(self, path):
        return self


class ForgetsWhatIsBeside(RightRows):
    """Reads another file without covariates."""

    alone = False

    def columns(self):
        return {"input": self.offers} if self.alone else super().columns()

    def read(self, element):
        for piece in super().read(element):
            yield Piece(piece.values, piece.start) if self.alone else piece

    def over(self, path):
        other = super().over(path)
        other.alone = True
        return other


class RightLabelledRows(RightRows):
    """Has a label for each line of its own file."""

    labelled = True

    def columns(self):
        return {**super().columns(), **({"label": ("text",)} if self.labelled else {})}

    def read(self, element):
        for piece in super().read(element):
            label = {"label": "line"} if piece.start and self.labelled else {}
            yield piece._replace(columns={**piece.columns, **label})

    def over(self, path):
        other = super().over(path)
        other.labelled = False
        return other


class AsksForLabels(RightLabelledRows):
    """Has a label for each line of another file, too."""

    def over(self, path):
        return RightRows.over(self, path)


class SkipsALine(RightRows):
    """Takes the first line of another file for its header."""

    other = False

    def read(self, element):
        begun = 0
        for piece in super().read(element):
            begun += piece.start
            if begun > 1 or not self.other:
                yield piece

    def over(self, path):
        other = super().over(path)
        other.other = True
        return other


class FindsNothing(RightRows):
    """Takes another file that is missing for an empty one."""

    other = False

    def read(self, element):
        try:
            yield from super().read(element)
        except InputError:
            if not self.other:
                raise

    def over(self, path):
        other = super().over(path)
        other.other = True
        return other


def component(name: str, options: str = "Plain"):
    """Return a source of this module as a plugin would describe it."""
    return sources.component(name, options, __name__)


RIGHT = [
    component("RightStamps"),
    component("RightBeside"),
    component("RightRows", "FileOptions"),
    component("RightLabelledRows", "FileOptions"),
]

LIARS = [
    Liar("S01", component("FillsOneColumn")),
    Liar("S07", component("SlipsBesideABlock", "FileOptions")),
    Liar("S09", component("HandsOutItsCovariates")),
    Liar("S13", component("TellsNoDistance")),
    Liar("S13", component("LeavesStepsOut")),
    Liar("S13", component("StampsEachPiece")),
    Liar("S13", component("CountsItsStamps")),
    Liar("S13", component("StampsInItsOwnWords")),
    Liar("S13", component("HoldsAZone")),
    Liar("S13", component("CountsFromADayThatIsNone")),
    Liar("S13", component("KeepsItsStampsSecret")),
    Liar("S13", component("KnowsATimeOfNothing")),
    Liar("S14", component("IsOneStepBehind")),
    Liar("S14", component("DecidesByItself")),
    Liar("S14", component("GoesOnInTheMidst")),
    Liar("S14", component("TellsThePastOfTheFuture")),
    Liar("S14", component("TurnsItsColumns")),
    Liar("S14", component("MixesNamesAndNumbers")),
    Liar("S14", component("LeavesANameBlank")),
    Liar("S14", component("HasNoNumber")),
    Liar("S14", component("HasInfinity")),
    Liar("S14", component("RoundsCovariates")),
    Liar("S14", component("TellsItOnce")),
    Liar("S14", component("RepeatsWhatIsStatic")),
    Liar("S14", component("KeepsCovariatesSecret")),
    Liar("S15", component("ForgetsWhatIsBeside", "FileOptions")),
    Liar("S15", component("ReadsItsOwnFile", "FileOptions")),
    Liar("S15", component("AsksForLabels", "FileOptions")),
    Liar("S15", component("SkipsALine", "FileOptions")),
    Liar("S15", component("FindsNothing", "FileOptions")),
]
