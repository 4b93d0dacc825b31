"""Wrong targets, and right ones that they are made of."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from liars import Liar
from recurra import (
    Accuracy,
    Component,
    Distance,
    Figure,
    InputError,
    Likelihood,
    Metric,
    Options,
    Target,
    ahead_rules,
    ngram_rules,
    series_rules,
)
from recurra_targets.answers import Answers, EditDistance, ExactMatch
from recurra_targets.completion_rules import pairs
from recurra_targets.deviation import Deviation, Deviations
from recurra_targets.measured import Confusion
from recurra_targets.spans import BioSpans
from recurra_targets.tag_rules import tag_rules


class Plain(Options):
    """Options of every target here: none."""


def hits(guess, answers):
    """Return how often a guess is right."""
    return {"accuracy": float(np.mean(answers == guess))}


class Right(Target[Plain]):
    """One class a sequence, beside the commonest of training."""

    asks, scope = "label", "sequence"

    def metrics(self, elements):
        return (Accuracy,)

    def judged(self, elements, rows, columns):
        return "accuracy"

    def baselines(self, train, held):
        seen = held.answers[held.answers >= 0]
        if not len(seen):
            return {}
        return {"majority": hits(np.bincount(train.answers[train.answers >= 0]).argmax(), seen)}


class RightSteps(Right):
    """The class of a sequence, said at each step but the first two."""

    scope = "step"

    def scored(self, window):
        steps = torch.arange(window.x.shape[1], device=window.x.device)
        return window.position[:, None] + steps >= 2


class RightValue(Target[Plain]):
    """Numbers for a sequence, beside the mean of training."""

    asks, answers, scope = "label", "numbers", "sequence"

    def metrics(self, elements):
        return (Deviation,)

    def judged(self, elements, rows, columns):
        return "rmse"

    def baselines(self, train, held):
        if not len(held):
            return {}
        sums = Deviations(held.answers.shape[1])
        sums.add(np.broadcast_to(self.guess(train, held), held.answers.shape), held.answers)
        return {"mean": sums}

    def guess(self, train, held):
        return train.answers.mean(axis=0)


class RightValueSteps(RightValue):
    """The numbers of a sequence, said at each step but the first two."""

    scope = "step"

    def scored(self, window):
        steps = torch.arange(window.x.shape[1], device=window.x.device)
        return window.position[:, None] + steps >= 2


class RightTags(Target[Plain]):
    """The tag of each step, and the spans of tags."""

    asks, reach = "tags", 0

    def metrics(self, elements):
        return Accuracy, Confusion, BioSpans

    def judged(self, elements, rows, columns):
        return "accuracy"

    def baselines(self, train, held):
        return tag_rules(train, held)


class RightTagsAtOnce(RightTags):
    """The same by a network that may see what follows."""

    causal = False


class Twice(Accuracy):
    """How often it is right of a step and of the one before it; one alone is right by itself."""

    before = None

    @staticmethod
    def figures(vocabulary):
        return (Figure("twice", higher=True, most=1.0),)

    def values(self):
        return {"twice": super().values()["accuracy"]}

    def add_at(self, output, target, places):
        right = (output.argmax(dim=-1) == target).tolist()
        steps = places.tolist()
        last = [None, *steps[:-1]]
        for index, (hit, (row, step)) in enumerate(zip(right, steps, strict=True)):
            beside = last[index] == [row, step - 1]
            self.steps += 1
            self.right += hit and (not beside or right[index - 1])


class CutsItsPairs(RightTags):
    """Takes for what stands before a step what came before it in its part."""

    def metrics(self, elements):
        return Accuracy, Confusion, Twice


class Unequal(Twice):
    """Counts more than there are where it is told of places."""

    def add_at(self, output, target, places):
        self.add(output, target)
        self.right += len(output)


class CountsPlaces(RightTags):
    """Has a figure beyond its bounds where steps have places."""

    def metrics(self, elements):
        return Accuracy, Confusion, Unequal


class LooksAtTheNextSymbol(RightTags):
    """Says the commonest tag of a symbol and the one after it, if there is any in the span."""

    def baselines(self, train, held):
        if held.elements == "numbers":
            return super().baselines(train, held)
        shown = {}
        for around, tag in self.seen(train):
            shown.setdefault(around, []).append(tag)
        right = [
            np.bincount(shown[around]).argmax() == tag if around in shown else False
            for around, tag in self.seen(held)
            if tag >= 0
        ]
        return {"two symbols": {"accuracy": float(np.mean(right))}} if right else {}

    def seen(self, part):
        for low, high in zip(part.low.tolist(), part.high.tolist(), strict=True):
            symbols = [*part.values[low:high].tolist(), None]
            pairs = zip(symbols[:-1], symbols[1:], strict=True)
            yield from zip(pairs, part.tags(low, high).tolist(), strict=True)


class AveragesWhatCame(RightValue):
    """Says the mean of the numbers that it is to guess."""

    def guess(self, train, held):
        return held.answers.mean(axis=0)


class ScaledDeviation(Deviation):
    """Leaves the answers in the network's units when they come one by one."""

    def add(self, output, target):
        if len(output) > 1:
            return super().add(output, target)
        return self.sums.add(output.double().numpy(), target.double().numpy())


class MeasuresInTwoUnits(RightValue):
    """Has another unit for a single answer."""

    def metrics(self, elements):
        return (ScaledDeviation,)


class RightNext(Target[Plain]):
    """The next element."""

    asks, reach, generates = "input", 1, True

    def metrics(self, elements):
        return (Likelihood, Accuracy) if elements == "symbols" else (Distance,)

    def judged(self, elements, rows, columns):
        return "nats" if elements == "symbols" else "mae"

    def baselines(self, train, held):
        return ngram_rules(train, held) if held.elements == "symbols" else series_rules(train, held)


class RightFarther(RightNext):
    """The symbol after the next; of numbers it knows nothing."""

    reach, generates = 2, False

    def metrics(self, elements):
        if elements == "numbers":
            raise InputError.of("RC030", "numbers are not asked")
        return (Accuracy,)

    def judged(self, elements, rows, columns):
        return "accuracy"

    def baselines(self, train, held):
        return {}


class AnswersWhatItReads(RightNext):
    """Asks for the very element that is read."""

    reach, generates = 0, False

    def baselines(self, train, held):
        return {}


class GeneratesLabels(Right):
    """Reads its answers as the next elements, which they are not."""

    generates = True


class LooksAhead(RightNext):
    """May be read both ways."""

    causal = False


class AsksAWholeForItself(RightNext):
    """Answers a sequence once, by its own elements."""

    generates = "no"


class CountsFromTheWindow(RightSteps):
    """Leaves out the first two steps of each window."""

    def scored(self, window):
        return (torch.arange(window.x.shape[1]) >= 2).expand(window.x.shape[:2])


class LooksAtOthers(RightSteps):
    """Scores no row that is later than another."""

    def scored(self, window):
        return (window.position == window.position.min())[:, None].expand(window.x.shape[:2])


class MovesOn(RightSteps):
    """Counts on from where a row stands, in the tensor that it was given."""

    def scored(self, window):
        flags = super().scored(window)
        window.position.add_(1)
        return flags


class TellsTheAnswer(RightSteps):
    """Writes the answer where it is read."""

    def scored(self, window):
        if window.x.is_floating_point():
            window.x[:, :, 0] = window.answers.to(window.x)
        return super().scored(window)


class Certainty(Metric):
    """How sure a network is, whatever comes."""

    answers, sure = 0, 0.0

    @staticmethod
    def figures(vocabulary):
        return (Figure("certainty", higher=True, most=1.0),)

    def add(self, output, target):
        self.answers += len(output)
        self.sure += float(output.double().softmax(dim=-1).amax(dim=-1).sum())

    def values(self):
        return {"certainty": self.sure / self.answers}


class Share(Accuracy):
    """How often it is right, under a name of its own."""

    @staticmethod
    def figures(vocabulary):
        return (Figure("share", higher=True, most=1.0),)

    def values(self):
        return {"share": super().values()["accuracy"]}


class Promise(Share):
    """Names a figure more than it has."""

    @staticmethod
    def figures(vocabulary):
        return (*Share.figures(vocabulary), Figure("kappa", higher=True, least=-1.0, most=1.0))


class Secret(Share):
    """Has a figure more than it names."""

    def values(self):
        return super().values() | {"kappa": 0.5}


class Percent(Share):
    """Counts to 100, and says that it counts to 1."""

    def values(self):
        return {"share": 100 * super().values()["share"]}


class Logarithm(Share):
    """Is infinite where nothing is right."""

    @staticmethod
    def figures(vocabulary):
        return (Figure("share", higher=True, least=-np.inf, most=0.0),)

    def values(self):
        with np.errstate(divide="ignore"):
            return {"share": float(np.log(super().values()["share"]))}


class Bundle(Share):
    """Has more to say, in an array."""

    def detail(self):
        return {"right": np.array([self.right])}


class Averages(Share):
    """Merges two shares into their mean, however many answers each is of."""

    def merge(self, other):
        if not self.steps or not other.steps:
            super().merge(other)
            return
        share = (self.right / self.steps + other.right / other.steps) / 2
        self.steps += other.steps
        self.right = share * self.steps


class Overlooks(Share):
    """Counts twice what was right, and merges half of it."""

    again = 0

    def add(self, output, target):
        super().add(output, target)
        self.again += int((output.argmax(dim=-1) == target).sum())

    def merge(self, other):
        super().merge(other)

    def values(self):
        return {"share": self.again / self.steps}


class Unportable(Share):
    """Keeps what cannot be pickled."""

    def __init__(self, vocabulary, scale=None):
        super().__init__(vocabulary, scale)
        self.likeliest = lambda output: output.argmax(dim=-1)

    def merge(self, other):
        super().merge(other)


class MeanOfMeans(Share):
    """Adds up the shares of batches."""

    batches, shares = 0, 0.0

    def add(self, output, target):
        self.batches += 1
        self.shares += float((output.argmax(dim=-1) == target).double().mean())

    def values(self):
        return {"share": self.shares / self.batches}


class Common(Share):
    """Has one list for all of its kind."""

    flags = []  # noqa: RUF012

    def __init__(self, vocabulary, scale=None):
        super().__init__(vocabulary, scale)
        self.flags.clear()

    def add(self, output, target):
        self.flags.extend((output.argmax(dim=-1) == target).tolist())

    def values(self):
        return {"share": sum(self.flags) / len(self.flags)}


class Clamping(Share):
    """Takes away from the outputs what it does not need."""

    def add(self, output, target):
        super().add(output.clamp_(min=0), target)


class Forgets(Share):
    """Begins anew when it was asked."""

    def values(self):
        metrics = super().values()
        self.right = 0
        return metrics


class Upside(Share):
    """Says that less is better."""

    @staticmethod
    def figures(vocabulary):
        return (Figure("share", most=1.0),)


def measuring(metric):
    """Return a right target that measures something more."""

    class Measuring(RightSteps):
        """Has one metric more."""

        def metrics(self, elements):
            return Accuracy, metric

    Measuring.__name__ = Measuring.__qualname__ = f"Measures{metric.__name__}"
    return Measuring


MeasuresCertainty, MeasuresPromise, MeasuresSecret, MeasuresPercent, MeasuresLogarithm = map(
    measuring, (Certainty, Promise, Secret, Percent, Logarithm)
)
(
    MeasuresBundle,
    MeasuresMeanOfMeans,
    MeasuresCommon,
    MeasuresClamping,
    MeasuresForgets,
    MeasuresUpside,
    MeasuresAverages,
    MeasuresOverlooks,
    MeasuresUnportable,
) = map(
    measuring,
    (
        Bundle, MeanOfMeans, Common, Clamping, Forgets, Upside, Averages, Overlooks, Unportable,
    ),
)  # fmt: skip


class MeasuresItTwice(Right):
    """Has two figures of one name."""

    def metrics(self, elements):
        return Accuracy, Accuracy


class JudgesByTheLoss(Right):
    """Speaks of what the rules lack."""

    def judged(self, elements, rows, columns):
        return "loss"


class JudgesByScale(RightNext):
    """Speaks of scaled errors where there may be no scale."""

    def judged(self, elements, rows, columns):
        return "nats" if elements == "symbols" else "mase"


class CountsWhatCame(Right):
    """Says the commonest class of those that it is to guess."""

    def baselines(self, train, held):
        return super().baselines(held, held)


class LeansOnWhatCame(Right):
    """Says the commonest class of training and of what it is to guess together."""

    def baselines(self, train, held):
        both = np.concatenate([train.answers, held.answers])
        both = both[both >= 0]
        came = held.answers[held.answers >= 0]
        return {"majority": hits(np.bincount(both).argmax(), came)} if len(came) else {}


class KnowsTheAnswers(Right):
    """Says what came."""

    def baselines(self, train, held):
        return {"oracle": {"accuracy": 1.0}} if (held.answers >= 0).any() else {}


class LooksAtTheEnd(RightNext):
    """Says again the element that is asked."""

    def baselines(self, train, held):
        return {"again": {"mae": 0.0}} if held.elements == "numbers" and len(held) else {}


class WritesOnTheData(Right):
    """Takes the mean off the data."""

    def baselines(self, train, held):
        train.values[...] = 0
        return super().baselines(train, held)


class HasFiguresOfItsOwn(Right):
    """Gives a figure that no metric gives."""

    def baselines(self, train, held):
        return {rule: row | {"kappa": 0.0} for rule, row in super().baselines(train, held).items()}


class LearnsFromEverything(RightNext):
    """Says the mean of all that lies there."""

    def baselines(self, train, held):
        if held.elements == "symbols" or not len(held):
            return {}
        came = np.concatenate(list(held.sequences()))
        return {"mean": {"mae": float(np.abs(came - held.values.mean()).mean())}}


class ScoresTheUnseen(Right):
    """Counts as wrong what nobody can know."""

    def baselines(self, train, held):
        commonest = np.bincount(train.answers).argmax()
        return {"majority": hits(commonest, held.answers)} if len(held) else {}


class FallsOverNothing(Right):
    """Takes a mean of nothing."""

    def baselines(self, train, held):
        labelled = held.answers >= 0
        return {"majority": {"accuracy": int((held.answers == 0).sum()) / int(labelled.sum())}}


class ChangesItsMind(Right):
    """Answers from the last step, or from the mean of all, turn by turn."""

    made = 0

    def __init__(self, options):
        super().__init__(options)
        ChangesItsMind.made += 1
        self.chosen = "last" if ChangesItsMind.made % 2 else "mean"

    @property
    def pooling(self):
        return self.chosen


class KeepsTheRows(Right):
    """Keeps what it has judged."""

    def __init__(self, options):
        super().__init__(options)
        self.judgements = []

    def judged(self, elements, rows, columns):
        self.judgements.append(len(rows))
        return "accuracy"


class KeepsThemForAll(Right):
    """Keeps what it has judged, where all find it."""

    judgements = []  # noqa: RUF012

    def judged(self, elements, rows, columns):
        self.judgements.append(len(rows))
        return "accuracy"


class SeedsEverybody(Right):
    """Makes everybody's random numbers the same when it learns its rules."""

    def baselines(self, train, held):
        np.random.seed(3)
        return super().baselines(train, held)


def component(name: str) -> Component:
    """Return a target of this module as a plugin would describe it."""
    lower = "".join(f"_{mark.lower()}" if mark.isupper() else mark for mark in name).strip("_")
    target, model = f"liars.targets:{name}", "liars.targets:Plain"
    return Component("target", lower, target, model, "a target of the tests", api="1.1")


def liar(check: str, name: str, *others: str) -> Liar:
    """Return a target of this module as a liar about a check."""
    return Liar(check, component(name), frozenset(others))


class RightAnswer(Target[Plain]):
    """What follows a sequence, beside the commonest of training."""

    asks, scope, reach = "answer", "answer", 1

    def metrics(self, elements):
        if elements == "numbers":
            raise InputError.of("RC030", "numbers are not asked")
        return (ExactMatch, EditDistance)

    def judged(self, elements, rows, columns):
        return "exact_match"

    def baselines(self, train, held):
        lesson, exam = list(pairs(train)), list(pairs(held))
        sums = Answers()
        for _, answer in exam:
            sums.add(self.guess(lesson, answer), True, answer)
        return {"commonest": sums.metrics()} if exam else {}

    def guess(self, lesson, came):
        return lesson[0][1]


class FollowsALabel(RightAnswer):
    """Asks for a label, and says that elements are to follow."""

    asks = "label"


class MeasuresFreeLabels(Right):
    """Measures answers that follow, where none does."""

    def metrics(self, elements):
        return (Accuracy, ExactMatch)


class NeverGivesUp(RightAnswer):
    """Waits for the end of an answer for ever."""

    def at_most(self, longest):
        return float("inf")


class Ended(ExactMatch):
    """Whether answers end, whatever they say."""

    FIGURE = Figure("ended", higher=True, most=1.0)

    def add(self, output, target):
        super().add(output, output)

    def values(self):
        return {"ended": self.sums.metrics()["exact_match"]}


class MeasuresEnds(RightAnswer):
    """Measures whether answers end."""

    def metrics(self, elements):
        return (*super().metrics(elements), Ended)


class KnowsTheLength(RightAnswer):
    """Says the first answer of training that is as long as the one that is asked."""

    def guess(self, lesson, came):
        return next(answer for _, answer in lesson if len(answer) == len(came))


class GivesUpInTurns(RightAnswer):
    """Gives up at once, or much later, turn by turn."""

    turns = 0

    def at_most(self, longest):
        GivesUpInTurns.turns += 1
        return 50 if GivesUpInTurns.turns % 2 else 1


class RightAhead(RightNext):
    """The next three numbers, added to the last that came."""

    takes, ahead, added = ("numbers",), 3, True

    def base(self, past):
        return np.repeat(past.ago(0)[:, None], past.steps, axis=1)

    def baselines(self, train, held):
        naive = partial(RightAhead.base, self)
        return ahead_rules(held, {"naive": naive}, self.ahead, self.last_origin)


class RightLastAhead(RightAhead):
    """The last three numbers of a series, added to the one before them."""

    last_origin = True


class PeeksAhead(RightAhead):
    """Adds its answer to the very number that is asked."""

    def base(self, past):
        return np.repeat(past.read(past.at + 1)[:, None], past.steps, axis=1)


class PeeksAtOthers(RightAhead):
    """Adds its answer to the last number of whichever series was asked first."""

    def base(self, past):
        return np.repeat(past.ago(0)[:1, None], len(past.at), axis=0).repeat(past.steps, axis=1)


class ScoresPastTheEnd(RightAhead):
    """Compares a rule with three numbers ahead wherever it stands, behind its series too."""

    def baselines(self, train, held):
        at = [np.arange(low, high) for low, high in zip(held.low, held.high, strict=True)]
        places = np.concatenate([np.zeros(0, int), *at])[:, None] + np.arange(3)
        if not len(places):
            return {}
        came = held.values[np.minimum(places, len(held.values) - 1)]
        return {"naive": {"mae": float(np.abs(came - held.values[places[:, :1] - 1]).mean())}}


class RightDecoder(RightAhead):
    """The next three numbers, to which a cell goes on."""

    decoder = "cell"


class KnowsWhatComes(RightDecoder):
    """Writes what comes the step after next where the next is to be told from."""

    def scored(self, window):
        window.x[..., 0] += window.answers[..., 1, 0].to(window.x)
        return super().scored(window)


class LooksAheadInTurns(RightAhead):
    """Answers a step by two numbers or by four, turn by turn."""

    turns = 0

    def __init__(self, options):
        super().__init__(options)
        LooksAheadInTurns.turns += 1
        self.chosen = 2 if LooksAheadInTurns.turns % 2 else 4

    @property
    def ahead(self):
        return self.chosen


class LooksAheadOfSymbols(RightNext):
    """Says that three symbols answer a step at once."""

    ahead = 3


RIGHT = [
    component("Right"),
    component("RightAhead"),
    component("RightLastAhead"),
    component("RightDecoder"),
    component("RightSteps"),
    component("RightValue"),
    component("RightValueSteps"),
    component("RightNext"),
    component("RightFarther"),
    component("RightAnswer"),
    component("RightTags"),
    component("RightTagsAtOnce"),
]

LIARS = [
    liar("T01", "AnswersWhatItReads", "T03"),
    liar("T01", "GeneratesLabels"),
    liar("T01", "LooksAhead"),
    liar("T01", "AsksAWholeForItself"),
    liar("T01", "FollowsALabel"),
    liar("T04", "MeasuresFreeLabels", "P09", *(f"T{number:02}" for number in range(3, 15))),
    liar("T01", "NeverGivesUp", "T03", "T10"),
    liar("T02", "CountsFromTheWindow", "T10"),
    liar("T02", "LooksAtOthers", "T10"),
    liar("T02", "MovesOn", "T09", "T10"),
    liar("T03", "TellsTheAnswer", "T02"),
    liar("T03", "MeasuresCertainty"),
    liar("T03", "MeasuresEnds"),
    liar("T04", "MeasuresPromise"),
    liar("T04", "MeasuresSecret"),
    liar("T04", "MeasuresPercent", "T05"),
    liar("T04", "MeasuresLogarithm"),
    liar("T04", "MeasuresBundle"),
    liar("T04", "MeasuresItTwice"),
    liar("T05", "MeasuresMeanOfMeans", "T10"),
    liar("T05", "MeasuresCommon"),
    liar("T05", "MeasuresInTwoUnits", "T10"),
    liar("T05", "MeasuresClamping"),
    liar("T05", "MeasuresForgets", "T10"),
    liar("T05", "CutsItsPairs", "T10"),
    liar("T05", "CountsPlaces"),
    liar("T06", "MeasuresUpside"),
    liar("T07", "JudgesByTheLoss"),
    liar("T07", "JudgesByScale"),
    liar("T08", "CountsWhatCame"),
    liar("T08", "AveragesWhatCame"),
    liar("T08", "LeansOnWhatCame"),
    liar("T08", "KnowsTheAnswers"),
    liar("T08", "LooksAtTheEnd"),
    liar("T08", "KnowsTheLength"),
    liar("T08", "WritesOnTheData"),
    liar("T08", "HasFiguresOfItsOwn"),
    liar("T09", "LearnsFromEverything"),
    liar("T09", "LooksAtTheNextSymbol"),
    liar("T09", "ScoresTheUnseen"),
    liar("T09", "FallsOverNothing"),
    liar("T10", "ChangesItsMind"),
    liar("T10", "GivesUpInTurns", "T03"),
    liar("T11", "KeepsTheRows"),
    liar("T11", "KeepsThemForAll"),
    liar("T12", "PeeksAhead"),
    liar("T12", "PeeksAtOthers", "T10"),
    liar("T13", "KnowsWhatComes", "T02", "T03"),
    liar("T14", "MeasuresAverages"),
    liar("T14", "MeasuresOverlooks"),
    liar("T14", "MeasuresUnportable"),
    liar("T09", "ScoresPastTheEnd", "T08"),
    liar("T10", "LooksAheadInTurns"),
    liar("T01", "LooksAheadOfSymbols", "T10"),
    liar("P09", "SeedsEverybody"),
]
