"""The data of a task: read, fitted, split, and cut into the batches of training."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Scale, SeriesScales
from recurra.contracts.source import Source
from recurra.contracts.target import Examples, Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import Answers, can_be_given, counted
from recurra.data.batches import Reader
from recurra.data.chain import Chain
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.feeds import Feed
from recurra.data.known import Known
from recurra.data.marks import Marked
from recurra.data.missing import plain
from recurra.data.splits import Split, SplitName
from recurra.data.store import Store
from recurra.errors import InputError
from recurra.job.elements import ELEMENTS, Elements
from recurra.job.feeds import feed_of
from recurra.job.measures import Measure, examples, measure
from recurra.job.reading import answers_of, read, reader_of, shortened, splits_of
from recurra.job.refusals import check_prompt, check_splits
from recurra.job.series import series_of
from recurra.job.transforming import transformed_splits
from recurra.resolved import Resolved
from recurra.train.metrics import Tally, Undoing


@dataclass(frozen=True)
class Beside:
    """What is known of a run's training where other data is measured.

    `seen` is the part of each sequence by which it may be scaled, `longest_answer` that of the
    run's training, and `train` its training split, where it can still be read.
    """

    seen: Split
    longest_answer: int
    train: Examples | None


@dataclass(frozen=True)
class Data:
    """A task's data, ready to be cut into batches."""

    source: Source[Any]
    vocabulary: Vocabulary[Any]
    store: Store
    splits: dict[SplitName, Split]
    reader: Reader
    batches: Feed | None
    target: Target[Any]
    answers: Vocabulary[Any]
    """What the answers are of: the vocabulary itself, with the marks of answers where these follow
    sequences, or the classes of a column.
    """
    scale: Scale | None = None
    """By what errors of numbers are measured in training, a column each."""
    scales: SeriesScales | None = None
    """By what those of each of several series are."""
    season: int = 0
    chain: Chain | None = None
    """What numbers go through behind their scale, if anything."""
    beside: Beside | None = None
    """What stands for training where the run was not made from this data."""

    @property
    def feed(self) -> Feed:
        """The batches of training."""
        assert self.batches is not None, "other data is measured, and not trained on"
        return self.batches

    @property
    def seen(self) -> Split:
        """The part of each sequence by which it may be scaled."""
        return self.beside.seen if self.beside else self.splits["train"]

    @property
    def elements(self) -> Elements:
        """What differs between symbols and numbers that are read."""
        return ELEMENTS[self.vocabulary.yields]

    @property
    def answer_elements(self) -> Elements:
        """What differs between symbols and numbers that are answered."""
        return ELEMENTS[self.answers.yields]

    @property
    def read(self) -> Vocabulary[Any]:
        """What the network reads: the vocabulary, or all that answers are of where they follow."""
        return self.answers if isinstance(self.answers, Marked) else self.vocabulary

    @property
    def covariates(self) -> CovariateVocabulary | None:
        """What is read beside the elements, if anything is."""
        companions = self.reader.companions
        return None if companions is None else companions.vocabulary

    @property
    def width(self) -> int:
        """The size of what the network reads: symbols, or the numbers of a step."""
        beside = 0 if self.covariates is None else self.covariates.width
        return self.vocabulary.size + len(self.vocabulary.missing or ()) + beside

    @property
    def longest_answer(self) -> int:
        """How many symbols the longest answer of training has, without the mark of its end."""
        if self.beside:
            return self.beside.longest_answer
        train = self.splits["train"]
        return int((train.high - train.low).max()) - 1

    @property
    def limit(self) -> int:
        """After how many symbols an answer is given up."""
        return self.target.at_most(self.longest_answer)

    @property
    def lag(self) -> int:
        """How many elements at the beginning of a sequence have no value, and answer nothing."""
        return self.chain.lag if self.chain else 0

    @property
    def by_series(self) -> bool:
        """Whether each series has a scale of its own."""
        return self.chain is not None and self.chain.by_series

    def measure(self, name: SplitName) -> Measure:
        """Return by what errors in a split are measured: by what precedes it in each series.

        That is its history before the first forecast; where there is none it is training.
        """
        return measure(self, name)

    def tally(self, name: SplitName = "train") -> Tally:
        """Return sums of nothing, for what is measured of the answers in a split."""
        undoing: Undoing | None = None
        if self.reader.outlook is not None:
            undoing = self.reader.outlook.own
        elif self.chain and self.answers is self.vocabulary:
            undoing = self.chain.own
        scale, scales = self.measure(name)
        return Tally(self.target, self.answers, scale, undoing, scales)

    def examples(self, name: SplitName) -> Examples:
        """Return a split as a baseline sees it: the part of it that figures are made of."""
        scale, scales = self.measure(name)
        part = examples(self.read, self.reader, self.splits[name], self.answers, self.season, scale)
        return replace(part, scales=scales)

    def held_out(self) -> SplitName:
        """Return the split that the final figures are about: test, else validation, else train."""
        order: tuple[SplitName, ...] = ("test", "validation")
        return next((name for name in order if self.splits[name].steps), "train")

    def opening_position(self) -> int:
        """Return where in its sequence the opening begins."""
        begin, _ = self.elements.opening(self.store, self.lag)
        return begin - int(self.store.begin(np.array([begin]))[0])

    def counts(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of the answers that are symbols, and how often each comes.

        They are counted in training, or its first part.
        """
        train, size = self.examples("train"), self.answers.size
        counts = np.zeros(size, np.int64)
        parts: Iterable[NDArray[Any]] = train.sequences()
        if self.store.tags is not None and train.answers is not None:
            known = can_be_given(train.answers)
            of_tags = counted(self.store.tags, self.splits["train"].scored())
            counts[train.answers[known]] = of_tags[known]
            parts = []
        elif train.answers is not None:
            parts = [train.answers[can_be_given(train.answers)]]

        for ids in parts:
            counts += np.bincount(ids, minlength=size)
        names = self.answer_elements.names(self.source, self.answers)
        return (self.answers.asked(names) if isinstance(self.answers, Marked) else names), counts

    def unseen(self, name: SplitName) -> dict[str, int]:
        """Return the answers of a split that training has not shown, and how often each comes.

        They are counted among its sequences, or its steps.
        """
        if self.reader.labels is None:
            return {}
        part, known = self.splits[name], can_be_given(self.reader.labels)
        if self.store.tags is not None:
            counts = counted(self.store.tags, part.scored())
            rows = np.flatnonzero(~known & (counts > 0))
            return {self.store.tags.names[row]: int(counts[row]) for row in rows.tolist()}

        labels = self.store.columns[self.target.asks]
        rows = self.store.sequence(part.begin)
        return Counter(labels[row] for row in rows.tolist() if not known[row])

    def names(self) -> list[str]:
        """Return the names of the symbols in the order of their ids, or of all numbers read."""
        names = self.elements.names(self.source, self.read)
        if not names:
            return names
        flags = [f"{names[at]} observed" for at in self.vocabulary.missing or ()]
        return [*names, *flags, *(self.covariates.inputs() if self.covariates else ())]

    def opening(self) -> Any:
        """Return what generation goes on from without a prompt.

        That is the first symbols, or the last steps of a series; what is missing of these is None.
        """
        begin, end = self.elements.opening(self.store, self.lag)
        opening = np.asarray(self.store.values[begin:end])
        return opening.tolist() if self.vocabulary.missing is None else plain(opening)

    def series_names(self, resolved: Resolved) -> list[str]:
        """Return what each series is called by the data; its number, where that names none."""
        if self.source.named != "row":
            with suppress(InputError):
                own = series_of(resolved, self.vocabulary, known=True, covariates=self.covariates)
                if len(own.names) == len(self.store.starts):
                    return own.names
        return [str(place + 1) for place in range(len(self.store.starts))]

    def stamps(self, series: int, first: int, count: int) -> list[str]:
        """Return the time stamps of `count` steps of a series from the one at `first` on.

        They may lie after its end. None where there are none, or they are no regular steps apart.
        """
        timeline = self.source.timeline()
        if timeline is None or timeline.frequency is None or "time" not in self.store.columns:
            return []
        try:
            return timeline.after(self.store.columns["time"][series], range(first, first + count))
        except ValueError:
            # The calendar ends.
            return []

    def times(self) -> list[str]:
        """Return how far time stamps are apart, and from when to when the first series goes."""
        timeline = self.source.timeline()
        if timeline is None:
            return []
        if timeline.frequency is None:
            return ["time stamps in order, at no regular steps"]
        ends = self.store.ends - self.store.starts
        first, last = self.stamps(0, 0, 1), self.stamps(0, int(ends[0]) - 1, 1)
        series = "" if len(ends) == 1 else "the first series "
        zone = f", in {timeline.zone}" if timeline.zone else ""
        span = f", {series}from {first[0]} to {last[0]}" if first and last else ""
        return [f"a time stamp every {timeline.frequency}{zone}{span}"]

    def next_stamps(self, count: int) -> list[str]:
        """Return the time stamps of the steps that come after the opening, where there are such."""
        begin, end = self.elements.opening(self.store, self.lag)
        series = int(self.store.sequence(np.array([begin]))[0])
        return self.stamps(series, end - int(self.store.starts[series]), count)

    def opening_covariates(self, steps: int | None = None) -> Rows | None:
        """Return what stands beside the opening, or its first steps, and is known of what follows.

        It is nothing where there are no covariates.
        """
        companions = self.reader.companions
        if companions is None:
            return None
        begin, end = self.elements.opening(self.store, self.lag)
        return companions.stretch(begin, end if steps is None else begin + steps, end)

    def summary(self) -> dict[str, Any]:
        """Return what data.json holds."""
        summary: dict[str, Any] = {
            "fingerprint": self.store.fingerprint,
            "elements": len(self.store),
            "sequences": len(self.store.starts),
            "splits": {name: part.elements for name, part in self.splits.items()},
            "features": self.source.features(),
        }
        if isinstance(self.answers, Answers):
            summary |= self.answers.record()
        if self.covariates is not None:
            summary["covariates"] = self.covariates.save()
        if isinstance(self.answers, Marked):
            summary["longest_answer"] = self.longest_answer

        if timeline := self.source.timeline():
            summary["timeline"] = timeline.record()

        if self.vocabulary.missing is not None:
            summary["missing"] = list(self.vocabulary.missing)

        # What generation goes on from without a prompt.
        if self.target.generates:
            summary["opening"] = self.opening()
            summary["opening_position"] = self.opening_position()
            if beside := self.opening_covariates():
                summary["opening_covariates"] = beside.record()
            if ending := self.elements.ending(self):
                summary["ending"] = ending.ids
                summary["ending_position"] = ending.position
        return summary


def load_data(
    resolved: Resolved,
    check: Callable[[Store], None] = lambda store: None,
    known: Known | None = None,
) -> Data:
    """Read the source, `check` what it gave, and cut it as the task says.

    What is `known` of a run is not learned of the data.

    Raises `InputError` (RC040 to RC043, RC080).
    """
    target = resolved.target
    with resolved.placing():
        source = resolved.source()
        known = known or Known()
        vocabulary: Vocabulary[Any] = known.vocabulary or resolved.parts["vocabulary"].build()
        source.categories = known.categories
        source, whole_store = read(resolved, source, vocabulary, known.vocabulary is not None)
        store = shortened(resolved, whole_store)
        check(store)
        splits = splits_of(resolved, vocabulary, store)

        # What is learned of the data is learned of the training split.
        elements = ELEMENTS[vocabulary.yields]
        owner = known.owner if known.vocabulary is not None else ""
        lacks = elements.lacking(resolved, source, vocabulary, store, splits["train"], owner)
        if known.vocabulary is None:
            chain = elements.fit(resolved, vocabulary, store, splits, source)
        else:
            chain = elements.known(vocabulary, store, known.owner)
        answers, labels = answers_of(target, vocabulary, store, splits["train"], known)
        named = answers if isinstance(answers, Marked) else vocabulary
        target.prepare(elements.names(source, named))

        reader = reader_of(resolved, vocabulary, store, splits, known, labels, source.timeline())
        season = resolved.task.sequence.season
        if chain and (chain.steps or lacks):
            reader, splits = transformed_splits(resolved, chain, reader, splits)
        train = examples(named, reader, splits["train"], answers, season)
        scale, scales = None, None
        if answers is vocabulary:
            scale = elements.scale(train)
            scales = elements.scales(store, splits["train"], season, scale)
        data = Data(
            source=source,
            vocabulary=vocabulary,
            store=store,
            splits=splits,
            reader=reader,
            scale=scale,
            scales=scales,
            batches=feed_of(resolved, reader, splits["train"]),
            target=target,
            answers=answers,
            season=season,
            chain=chain if reader.rows is not None else None,
        )
        check_splits(resolved, data)
        if target.generates:
            check_prompt(resolved, vocabulary)
    return data
