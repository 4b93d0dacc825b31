"""The answers of a trained network to new sequences; nothing is kept but the batch at hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.source import OF_STEPS
from recurra.contracts.target import Target
from recurra.contracts.timeline import Timeline
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.alignment import ids_of_each
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.marks import Marked
from recurra.data.outlook import Outlook
from recurra.data.stream import Stream
from recurra.errors import InputError, Problem, RecurraError, RunError, Unsuited, warn
from recurra.generate import elements as reading
from recurra.generate.abreast import Start, forecasts
from recurra.generate.companion import Companion
from recurra.generate.foretold import Intervals, around
from recurra.generate.session import Session
from recurra.job.answers import Answer, as_steps
from recurra.job.clock import Clock, Label
from recurra.job.covariates import ahead_of, out_of_reach, unknown_of
from recurra.job.dealing import answered
from recurra.job.elements import ELEMENTS
from recurra.job.gathered import Accompanied, Row
from recurra.model import sequences
from recurra.model.completion import completions
from recurra.model.network import Network
from recurra.runs.written import Kind
from recurra.world import world

ROWS = 512
"""Sequences that are read side by side, and that wait for each other."""

GIVE_BESIDE = (
    "give a file with their columns, or, in Python, for each sequence a dict of values, covariates"
    " and static_covariates"
)

STAMPS = "ds"
"""The column that holds the time stamps of what is predicted."""


class Read(NamedTuple):
    """A sequence that can be answered, and what is read of it.

    Its `values` are ids `[T]`, or numbers `[T, F]` in their own units. `counts` tells how many of
    them each of its elements gives, where not each gives one. `beside` are its covariates.
    """

    values: NDArray[Any]
    x: Tensor
    counts: NDArray[np.int64] | None = None
    beside: Rows | None = None
    name: str = ""

    def filled(self, steps: int) -> Tensor:
        """Return what is read, filled up with the last step."""
        places = torch.arange(steps).clamp(max=len(self.x) - 1)
        return self.x[places]


class Said(NamedTuple):
    """What is said of a sequence of so many steps: its answer, or the error why there is none."""

    row: Row
    length: int
    answer: Answer | None
    error: str


class _Told(NamedTuple):
    """What is said of some rows: of each its length, and its answer or why there is none.

    The `news` are what training has not shown, a column and a sentence each.
    """

    answers: list[tuple[int, Answer | None, str]]
    news: list[tuple[str, str]]


@dataclass(frozen=True)
class Predictor:
    """What answers sequences: a network, and what its input and its answers are of.

    `horizon` is how many elements are foreseen where an answer can be read on; one that follows a
    sequence is given up after `limit` of them. Each batch is computed `within` the threads and the
    determinism of the run, which are put back before anything of it is given. A `timeline` tells
    when what is foreseen comes, and a forecast has `intervals`, where there are such.
    """

    network: Network
    vocabulary: Vocabulary[Any]
    answers: Vocabulary[Any]
    target: Target[Any]
    horizon: int = 0
    limit: int = 0
    skip_bad: bool = False
    outlook: Outlook | None = None
    covariates: CovariateVocabulary | None = None
    within: Callable[[], AbstractContextManager[None]] = nullcontext
    timeline: Timeline | None = None
    intervals: Intervals | None = None
    told: set[str] = field(default_factory=set)

    def columns(self) -> list[str]:
        """Return the names of all that an answer says, but for the first, which names its row."""
        return list(self.kinds())

    def kinds(self) -> dict[str, Kind]:
        """Return the same, and what their cells are."""
        kinds = self._kinds()
        return {**kinds, "error": "text"} if self.skip_bad else kinds

    def _kinds(self) -> dict[str, Kind]:
        """Return the columns of what is said of a sequence that can be answered."""
        answers = ELEMENTS[self.answers.yields]
        if self.target.generates:
            beside: dict[str, Kind] = dict.fromkeys(
                ELEMENTS[self.vocabulary.yields].beside, "number"
            )
            # With a horizon of 0 nothing is foreseen, unless there would be nothing to say.
            if not self.horizon and beside:
                return beside
            stamps: dict[str, Kind] = {STAMPS: "texts"} if self._tells_when else {}
            kind = answers.kinds(self.answers.size).continued
            bounds = dict.fromkeys(self.bounds, kind)
            return {**stamps, "predicted": kind, **bounds, **beside}
        kinds = answers.kinds(self.answers.size)
        if self.target.scope == "sequence":
            chances = answers.chances(self.answers)
            return {"predicted": kinds.one, **dict.fromkeys(chances, "number")}
        if self.target.scope == "answer":
            return {"predicted": "text", "ended": "flag"}
        return {"predicted": kinds.each}

    @property
    def bounds(self) -> list[str]:
        """What the bounds of intervals are called, lo-80 and hi-80, where there are such."""
        return self.intervals.names if self.intervals is not None and self.horizon else []

    @property
    def _tells_when(self) -> bool:
        """Whether it is known when what is foreseen comes; covariates are
        `told` whose unknown categories were warned of."""
        known = self.timeline is not None and self.timeline.frequency is not None
        return known and self.target.generates and self.horizon > 0

    @property
    def clock(self) -> Clock:
        """What tells the moments of stamps."""
        return Clock(self.timeline)

    def labels(self, said: Said) -> list[Label]:
        """Return what the steps that are foreseen are called: by their stamps, else their places.

        Raises `InputError` (RC080) beyond all calendars.
        """
        row = said.row
        clock = Clock(self.timeline, [row.time] if row.time else [])
        try:
            return clock.labels(0, range(said.length, said.length + self.horizon))
        except ValueError as error:
            fact = f"row {row.name}: its time stamps cannot go on: {error}"
            raise InputError.of("RC080", fact, cure="give a shorter horizon") from error

    def predict(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """Give the answer to each sequence, in order: its `row`, and the columns of the answer.

        Raises `InputError` (RC043, RC080) that names the row; with `skip_bad` it is told in the
        column `error` instead.
        """
        for said in self.said(rows):
            name, answer = said.row.name, said.answer
            if answer is None:
                yield {"row": name, "error": said.error}
                continue
            told = bool(self._tells_when and said.row.time)
            stamps = {STAMPS: [str(label) for label in self.labels(said)]} if told else {}
            yield {"row": name, **stamps, **answer.columns()}

    def said(self, rows: Iterable[Row]) -> Iterator[Said]:
        """Give what is said of each sequence, in order. Raises as `predict` does."""
        rest = iter(rows)
        batches = iter(lambda: list(islice(rest, ROWS)), [])
        for batch, told in answered(batches, self._batch):
            self._warn(told.news)
            for row, (length, answer, error) in zip(batch, told.answers, strict=True):
                yield Said(row, length, answer, error)

    def hidden(self, sequence: Any) -> list[NDArray[Any]]:
        """Return what each layer gives at each step of a sequence, `[T, H]`, the first layer first.

        Raises `InputError` (RC042, RC043, RC080) for a sequence that cannot be read.
        """
        try:
            x = self.read(sequence).x[None].to(self.network.device)
        except InputError as error:
            raise of_row(error) from error.__cause__
        given: list[Tensor] = []

        def note(layer: nn.Module, inputs: Any, output: Any) -> None:
            given.append(output[0])

        hooks = [layer.register_forward_hook(note) for layer in self.network.layers]
        try:
            with self.within(), torch.no_grad():
                self.network.hidden(x, self.network.initial_states(1))
        finally:
            for hook in hooks:
                hook.remove()
        return [output[0].cpu().numpy() for output in given]

    def _warn(self, news: list[tuple[str, str]]) -> None:
        """Warn, once of each column, of what training has not shown; of several the first does."""
        for column, fact in news:
            if column not in self.told:
                self.told.add(column)
                if world().first:
                    warn(fact, Unsuited)

    def _batch(self, rows: list[Row]) -> _Told:
        """Return the answers to some rows; those that can be read are answered together."""
        news: list[tuple[str, str]] = []
        try:
            return _Told(self._answers_to(rows, news), news)
        except RecurraError:
            self._warn(news)
            raise

    def _answers_to(
        self, rows: list[Row], news: list[tuple[str, str]]
    ) -> list[tuple[int, Answer | None, str]]:
        """Return the length of each row, and its answer or why there is none.

        What training has not shown is added to the news.
        """
        read: dict[int, Read] = {}
        errors: dict[int, str] = {}
        for index, row in enumerate(rows):
            try:
                sequence = self.read(row.elements, row.time)
                self._check_reach(row, sequence)
                if sequence.beside is not None and self.covariates is not None:
                    tables = getattr(row.elements, "tables", {})
                    beside = sequence.beside
                    known = self.told | {column for column, _ in news}
                    news += unknown_of(self.covariates, beside, tables, row.name, known)
                read[index] = sequence._replace(name=row.name)
            except InputError as error:
                if not self.skip_bad:
                    raise of_row(error, row.name) from error.__cause__
                errors[index] = fact_of(error.problems[0])

        with self.within():
            answers = self._answered(read)
        lengths = {index: len(sequence.values) for index, sequence in read.items()}
        return [
            (lengths.get(index, 0), answers.get(index), errors.get(index, ""))
            for index in range(len(rows))
        ]

    def read(self, sequence: Any, time: Any = "") -> Read:
        """Return a sequence as it is read, which may begin at a time.

        Raises `InputError` (RC042, RC043, RC080), or the one that stands in its place.
        """
        if isinstance(sequence, InputError):
            raise sequence
        beside = self.beside(sequence, time)
        if isinstance(sequence, Accompanied):
            sequence = sequence.values
        values = reading.encoded(self.vocabulary, sequence)
        # A prompt may be empty, also one whose symbols are all left out.
        if not len(values) and self.target.scope != "answer":
            if reading.holds_any(self.vocabulary, sequence):
                raise InputError.of("RC080", reading.SKIPPED, cure=reading.GIVE_KNOWN)
            fact = "the sequence is empty, so nothing can be said of it"
            raise InputError.of("RC080", fact, cure="give one element or more, or leave it out")

        elements = reading.ELEMENTS[self.vocabulary.yields]
        stream = elements.stream(self.vocabulary)
        if self.target.generates and len(values) < stream.at_once:
            raise InputError.of("RC080", reading.TOO_FEW, cure="give two steps or more")

        x = elements.window(stream.read(values), self.network.dtype)
        if self.covariates is not None and beside is not None:
            x = Companion.beside(self.covariates, beside).whole(x, beside)
        if self.target.generates and stream.missing:
            raise InputError.of("RC080", reading.too_short(stream.missing), cure="give more of it")
        counts = self._counts(sequence, values) if self.target.asks in OF_STEPS else None
        return Read(values, x, counts, beside)

    def beside(self, sequence: Any, time: Any) -> Rows | None:
        """Return the covariates of a sequence, if any are read. Raises `InputError` (RC080)."""
        if self.covariates is None:
            return None
        since = None if self.covariates.dated is None else self.covariates.dated.since(time)
        tables = sequence.tables if isinstance(sequence, Accompanied) else {}
        if tables or not self.covariates.tables:
            return self.covariates.rows(tables, "of the sequence", since)
        fact = "this run reads covariates, and the sequence has none"
        raise InputError.of("RC080", fact, key="covariates", cure=GIVE_BESIDE)

    def _check_reach(self, row: Row, sequence: Read) -> None:
        """Refuse to forecast steps whose covariates are not known. Raises `InputError` (RC080)."""
        if sequence.beside is None or self.covariates is None or not self.target.generates:
            return
        count = len(sequence.values)
        reach = self.covariates.reach(count, sequence.beside, self.horizon)
        if reach == self.horizon:
            return
        called = ahead_of(Clock(self.timeline, [row.time] if row.time else []), 0, count)
        asked = "horizon", self.horizon
        raise out_of_reach(self.covariates, reach, asked, called)

    def _counts(self, sequence: Any, ids: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return how many ids each element of a sequence gives; none where each gives one.

        Raises `InputError` (RC080) where that cannot be told.
        """
        if ELEMENTS[self.vocabulary.yields].one_each:
            return None
        parsed = isinstance(sequence, str)
        elements = self.vocabulary.parse(sequence) if parsed else sequence
        counts = ids_of_each(self.vocabulary, elements, ids)
        if counts is None:
            fact = "the vocabulary makes ids of several elements together: which has which answer"
            raise InputError.of("RC080", f"{fact} cannot be told")
        return None if (counts == 1).all() else counts

    def _answered(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return the answers to sequences, by their rows."""
        if self.target.scope == "sequence":
            return self._whole(read)
        if self.target.scope == "answer":
            return self._completed(read)
        if self.target.generates:
            return self._foreseen(read)
        return self._each_step(read)

    def _together(self, read: dict[int, Read]) -> Iterator[tuple[list[int], Tensor, Tensor]]:
        """Give the rows of sequences of about the same length, what is read, and their lengths."""
        rows, device = list(read), self.network.device
        lengths = np.array([len(sequence.x) for sequence in read.values()], np.int64)
        for group in sequences.alike(lengths, ROWS):
            chosen = [rows[place] for place in group.tolist()]
            steps = torch.tensor([len(read[row].x) for row in chosen])
            # The first of a group is its longest.
            x = torch.stack([read[row].filled(int(steps[0])) for row in chosen])
            yield chosen, x.to(device), steps.to(device)

    def _whole(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return one answer a sequence."""
        answers: dict[int, Answer] = {}
        for chosen, x, steps in self._together(read):
            with torch.no_grad():
                output = sequences.read(self.network, x, steps)
            answers.update(zip(chosen, self._answers(output), strict=True))
        return answers

    def _completed(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return what follows each sequence, and whether it came to an end."""
        assert isinstance(self.answers, Marked), "answers that follow have marks"
        marks = self.answers.marks
        prompts = [sequence.values for sequence in read.values()]
        given = completions(self.network, prompts, marks, self.limit)
        return {
            row: Answer(self.answers.text(ids), {"ended": marks.end in ids})
            for row, ids in zip(read, given, strict=True)
        }

    def _answers(self, output: Tensor) -> list[Answer]:
        """Return what outputs `[N, V]` say: the likeliest answer and the chances, or numbers."""
        return ELEMENTS[self.answers.yields].answered(self.answers, self._point(output))

    def _point(self, output: Tensor) -> Tensor:
        """Return the best guesses of the loss. Raises `RunError` (RC060) if one is not finite."""
        point = self.network.loss.point(output).double()
        if not bool(torch.isfinite(point).all()):
            fact = "what the network gives is not finite, so nothing can be predicted from it"
            raise RunError.of("RC060", fact)
        return point

    def _each_step(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return the likeliest answer at each step of a sequence, a list."""
        answers: dict[int, Answer] = {}
        for chosen, x, steps in self._together(read):
            with torch.no_grad():
                outputs = sequences.each_step(self.network, x, steps)
            for row, output in zip(chosen, outputs, strict=True):
                answers[row] = self._said(read[row], output[: len(read[row].x)])
        return answers

    def _said(self, sequence: Read, output: Tensor) -> Answer:
        """Return what outputs `[T, V]` say at each step, or of each element.

        An element of several ids is answered at its last, and one that was left out not at all.
        """
        # An answer that is about the element after a step is undone by that step.
        before = sequence.values if self.target.asks == "input" else None
        elements = ELEMENTS[self.answers.yields]
        said = elements.said(self.answers, self._point(output), before)
        if sequence.counts is None:
            return Answer(said)
        ends = np.cumsum(sequence.counts)
        pairs = zip(sequence.counts.tolist(), ends.tolist(), strict=True)
        return Answer([said[end - 1] if count else None for count, end in pairs])

    def _foreseen(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return what comes after each sequence, with the intervals around it, if any."""
        answers = self._points(read)
        if self.intervals is None or not self.horizon:
            return answers
        starts = [
            Start(sequence.values, beside=sequence.beside, name=sequence.name)
            for sequence in read.values()
        ]
        points = [
            np.asarray(answers[index].predicted, np.float64).reshape(-1, self.answers.size)
            for index in read
        ]
        for index, made in zip(read, around(self.intervals, starts, points), strict=True):
            bounds = {
                name: as_steps(bound)
                for name, bound in zip(self.intervals.names, made.bounds, strict=True)
            }
            answers[index] = replace(answers[index], bounds=bounds)
        return answers

    def _points(self, read: dict[int, Read]) -> dict[int, Answer]:
        """Return what comes after each sequence; numbers without covariates side by side."""
        elements = reading.ELEMENTS[self.vocabulary.yields]
        alone = self.covariates is not None or not self.horizon
        if alone or not isinstance(elements.stream(self.vocabulary), Stream):
            return {index: self._continued(sequence) for index, sequence in read.items()}
        starts = (Start(sequence.values) for sequence in read.values())
        given = forecasts(self.network, self.vocabulary, starts, self.horizon, self.outlook)
        answers: dict[int, Answer] = {}
        for (index, sequence), rows in zip(read.items(), given, strict=True):
            if not np.isfinite(rows).all():
                # It says what is wrong.
                answers[index] = self._continued(sequence)
                continue
            answers[index] = Answer(as_steps(rows))
        return answers

    def _continued(self, sequence: Read) -> Answer:
        """Return what comes after a sequence, and of symbols what it cost itself, in nats each."""
        companion = None
        if self.covariates is not None and sequence.beside is not None:
            companion = Companion.beside(self.covariates, sequence.beside)
        session = Session(self.network, self.vocabulary, outlook=self.outlook, companion=companion)
        session.feed_ids(sequence.values, sequence.beside)
        elements = ELEMENTS[self.vocabulary.yields]
        return elements.continued(session, self.horizon, lambda: self._nats(sequence.x))

    def _nats(self, x: Tensor) -> float | None:
        """Return the mean of -log p of each symbol `[T]` after the first; none of a single one."""
        predictions = len(x) - 1
        if predictions < 1:
            return None

        # A long sequence is read in parts, with the states carried from one to the next.
        x = x.to(self.network.device)
        states, total = None, 0.0
        with torch.no_grad():
            for start in range(0, predictions, sequences.LONGEST):
                end = min(start + sequences.LONGEST, predictions)
                output, states = self.network(x[None, start:end], states)
                point = self.network.loss.point(output[0]).double()
                came = x[start + 1 : end + 1]
                total += float(functional.cross_entropy(point, came, reduction="sum"))
        return total / predictions


def of_row(error: InputError, name: str = "") -> InputError:
    """Return the error of a sequence that says which, if it has a name."""
    where = f"row {name}: " if name else ""
    return InputError(
        replace(problem, fact=where + fact_of(problem), key="") for problem in error.problems
    )


def fact_of(problem: Problem) -> str:
    """Return what is wrong with a sequence, which elsewhere is a prompt."""
    return problem.fact.replace("the prompt", "the sequence")
