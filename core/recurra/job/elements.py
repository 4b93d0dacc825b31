"""Symbols and numbers, as far as the stages of a task differ by what is read or answered.

There is one object for each, in a table. The stages ask the object of their elements, and never
which of the two it is.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.metric import Metrics, Scale, Sums
from recurra.contracts.source import Source
from recurra.contracts.target import Examples
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.chain import Chain
from recurra.data.splits import SCORED, Split, SplitName
from recurra.data.store import Store
from recurra.errors import InputError, Problem, RunError
from recurra.generate import loop
from recurra.generate.elements import sampling
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job import forecasts, scan
from recurra.job.answers import Answer
from recurra.job.figures import Measured, SplitFigures
from recurra.job.report import Classes, NumberVocabulary, Quantified, SymbolVocabulary
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.spec.tables import IDLE, Task
from recurra.train import baselines
from recurra.train.metrics import Errors, Tally

if TYPE_CHECKING:
    from recurra.job.data import Data

Counts = tuple[list[str], NDArray[np.int64]]
"""The names of answers that are symbols, and how often each comes in training."""

HEAD = 32
"""Symbols of the corpus that generation goes on from where no prompt is given."""
TAIL = 1024
"""Steps of a series that generation goes on from where no prompt is given.

So many symbols, too, are read to be warm.
"""
FEW = 3
"""Steps that are evaluated, forecast and generated before training."""
SYMBOLS_SHOWN = 256
"""Symbols, or classes, that the report lists."""
FAR_NATS = 0.15
"""Nats a step by which a cold beginning may be dearer than a warm one before it is spoken of."""
FAR_TIMES = 1.5
"""The same for numbers, whose loss has no unit: how many times as dear."""


class Scores(NamedTuple):
    """The sums of all that is measured of a model, and what simple rules reach, by their names."""

    model: Tally
    rules: Mapping[str, Metrics | Sums]


class Ending(NamedTuple):
    """The symbols that are read before a warm prompt, and where in their sequence they begin."""

    ids: list[int]
    position: int


class Elements(Protocol):
    """What is read, or what is answered.

    What only one of the two has is nothing here, and stands in that one. `prompt` is what a prompt
    must be; `band` is the key of `[expect]` that is about what goes on; `beside` are the columns
    beside the continuation of a sequence; `cost` is the figure that tells what the first steps
    cost; `by_class` tells whether each split has its share of each answer.
    """

    prompt: ClassVar[str]
    band: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[str]
    by_class: ClassVar[bool]

    # the data

    def fit(
        self,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        store: Store,
        splits: dict[SplitName, Split],
    ) -> Chain | None:
        """Fit a vocabulary on the training split, where it has not learned from all.

        Returns its transforms, if any. Raises `InputError`.
        """
        return None

    def scale(self, train: Examples) -> Scale | None:
        """Return by what errors are measured."""
        return None

    def names(self, source: Source[Any], vocabulary: Vocabulary[Any]) -> list[str]:
        """Return the names of the symbols in the order of their ids, or of the features."""

    def opening(self, store: Store, lag: int) -> tuple[int, int]:
        """Return between which positions lies what generation goes on from without a prompt.

        The first `lag` steps of what is read have no value.
        """

    def ending(self, data: Data) -> Ending | None:
        """Return what is read before a warm prompt, unless that is the opening."""
        return None

    def accepts(self, prompt: str | list[Any]) -> bool:
        """Tell whether a prompt of a task is of this kind."""

    def summary(self, data: Data) -> SymbolVocabulary | NumberVocabulary:
        """Return what the report says of the vocabulary."""

    def answers(self, data: Data) -> Classes | Quantified:
        """Return what the report says of answers that stand in a column of their own."""

    # the network

    def prepare(self, loss: Loss[Any], counts: Callable[[], Counts]) -> None:
        """Let a loss learn of the answers."""
        return

    # before training

    def scan(self, resolved: Resolved, data: Data, network: Network) -> bool:
        """Look at all there is; return whether any of it is steep. Raises `InputError` (RC042)."""
        return False

    def reread(self, data: Data) -> None:
        """Read the source, where the corpus may have come from the cache."""
        return

    def bands(self, task: Task) -> Iterator[Problem]:
        """Give a problem for each band of `[expect]` that is too long."""
        yield from ()

    def idle(self, task: Task) -> Iterator[Problem]:
        """Give a problem for each key that was set, and that nothing reads for these answers."""
        yield from ()

    def rehearse(self, task: Task, data: Data, trial: Network) -> None:
        """Forecast a few steps of one series, after a few of its history."""
        return

    def go_on(self, resolved: Resolved, session: Session) -> None:
        """Generate a few steps. Raises what would end a run later."""

    # a trained run

    def judged(
        self, task: Task, data: Data, network: Network, figures: SplitFigures, scores: Scores
    ) -> Measured:
        """Add to the figures what is said of these alone; return what the verdict is about."""

    def learned(self, data: Data) -> str:
        """Return what the verdict says of how much the baselines have learned from."""
        return ""

    def near(self, cold: float, warm: float) -> bool:
        """Tell whether first steps from a fresh state cost about as much as those in the midst."""

    def continued(self, session: Session, steps: int, nats: Callable[[], float | None]) -> Answer:
        """Return what comes in the steps after a sequence; `nats` gives what it cost itself."""

    def chances(self, answers: Vocabulary[Any]) -> list[str]:
        """Return the columns that tell the chance of each answer."""
        return []

    def answered(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Answer]:
        """Return what the best guesses `[N, V]` of the loss say, an answer each.

        `read` are the elements `[N, ...]` of which each guess is about the one after, if they are
        about such.
        """

    # a run read back

    def same(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Tell whether a vocabulary is the one that was learned from the data.

        Only as far as its elements depend on it.
        """
        return True

    def try_out(self, vocabulary: Vocabulary[Any]) -> None:
        """Use a vocabulary that was restored. Raises any error if it cannot be."""


class Symbols(Elements):
    """Ids, which stand for text or for classes.

    What comes next is drawn, and an answer is one of them.
    """

    prompt = "text"
    band = "generated"
    beside = ("nats",)
    cost = "nats"
    by_class = True

    def names(self, source: Source[Any], vocabulary: Vocabulary[Any]) -> list[str]:
        """Return the names of the symbols."""
        return _symbols(vocabulary)

    def opening(self, store: Store, lag: int) -> tuple[int, int]:
        """Return where the first symbols lie."""
        begin, end = int(store.starts[0]), int(store.ends[0])
        return begin, min(end, begin + HEAD)

    def ending(self, data: Data) -> Ending:
        """Return the symbols that training ends with, and where in their sequence they begin.

        They end with a line, if there is one: what follows, a prompt, rarely goes on in the middle
        of a word.
        """
        train = data.splits["train"]
        begin, end = int(train.begin[-1]), int(train.high[-1])
        start = max(begin, end - TAIL)
        ids = np.asarray(data.store.values[start:end])
        for length in range(len(ids), 0, -1):
            last = ids[length - 1 : length]
            if "\n" in data.vocabulary.text(last):
                ids = ids[:length]
                break
        return Ending(ids.tolist(), start - begin)

    def accepts(self, prompt: str | list[Any]) -> bool:
        """Take a text, or a list that holds any."""
        return isinstance(prompt, str) or any(isinstance(item, str) for item in prompt)

    def summary(self, data: Data) -> SymbolVocabulary:
        """Return the size, and the first symbols."""
        vocabulary = data.vocabulary
        first = range(min(vocabulary.size, SYMBOLS_SHOWN))
        return SymbolVocabulary(vocabulary.size, [vocabulary.symbol(index) for index in first])

    def answers(self, data: Data) -> Classes:
        """Return the classes, and how often each comes in training."""
        names, counts = data.counts()
        some = zip(names[:SYMBOLS_SHOWN], counts.tolist(), strict=False)
        return Classes(len(names), dict(some))

    def prepare(self, loss: Loss[Any], counts: Callable[[], Counts]) -> None:
        """Tell a loss the names of the answers, and how often each comes."""
        loss.prepare(*counts())

    def reread(self, data: Data) -> None:
        """Read the source to its end."""
        for _ in data.source.read(data.vocabulary.reads):
            pass

    def idle(self, task: Task) -> Iterator[Problem]:
        """Give a problem for a season, and for what narrows no draw."""
        if task.sequence.season:
            fact = "season is for the baselines of numbers, and these are symbols"
            yield Problem("RC014", fact, "sequence.season", cure="leave it out")
        for name in task.generation.idle:
            cure = "generation.temperature = 1.0, or leave it out"
            yield Problem("RC014", f"{name} {IDLE}", f"generation.{name}", cure=cure)

    def go_on(self, resolved: Resolved, session: Session) -> None:
        """Draw a few symbols. Raises `PluginError` (RC071) for what is no text."""
        settings, vocabulary = resolved.task.generation, session.vocabulary
        owner = resolved.parts["vocabulary"].entry.qualified
        for index in range(min(FEW, vocabulary.size)):
            texts = {
                "symbol": vocabulary.symbol(index),
                "text": vocabulary.text(np.array([index])),
            }
            for method, text in texts.items():
                if not isinstance(text, str):
                    raise intake.broken(owner, f"{method} gives {type(text).__name__}, not str")

        steps = loop.symbols(session, FEW, sampling(settings), settings.stop)
        # The last item, what a stop text held back, is left.
        list(itertools.islice(steps, FEW))

    def judged(
        self, task: Task, data: Data, network: Network, figures: SplitFigures, scores: Scores
    ) -> Measured:
        """Return the figures themselves."""
        return figures

    def learned(self, data: Data) -> str:
        """Return how many symbols n-grams have learned from, if not from all."""
        train = data.splits["train"]
        if train.steps <= SCORED:
            return ""
        first = f"the first {SCORED:,} of {train.elements:,} symbols alone"
        return f"; the n-grams learned from {first}"

    def near(self, cold: float, warm: float) -> bool:
        """Compare nats, which can be taken from each other."""
        return cold - warm <= FAR_NATS

    def continued(self, session: Session, steps: int, nats: Callable[[], float | None]) -> Answer:
        """Return the likeliest text, and what the sequence itself cost."""
        beside = {"nats": nats()}
        if not steps:
            return Answer(beside=beside)
        # A session of one stream gives lists of one text.
        texts = [text for (text,) in loop.symbols(session, steps, Sampling())]
        return Answer("".join(texts), beside)

    def chances(self, answers: Vocabulary[Any]) -> list[str]:
        """Return a column for each symbol."""
        return [f"p:{name}" for name in _symbols(answers)]

    def answered(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Answer]:
        """Return the likeliest answer, with the chances of all."""
        names, columns = _symbols(answers), self.chances(answers)
        rows = []
        for chances in point.softmax(dim=-1).cpu():
            likeliest = names[int(chances.argmax())]
            beside = dict(zip(columns, chances.tolist(), strict=True))
            rows.append(Answer(likeliest, beside))
        return rows

    def same(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Compare all that was learned."""
        return bool(vocabulary.save() == learned.save())

    def try_out(self, vocabulary: Vocabulary[Any]) -> None:
        """Ask for every symbol."""
        "".join(_symbols(vocabulary))


def _symbols(vocabulary: Vocabulary[Any]) -> list[str]:
    return [vocabulary.symbol(index) for index in range(vocabulary.size)]


class Numbers(Elements):
    """Rows of numbers, scaled as training's are.

    What comes next is forecast, and an answer is a row.
    """

    prompt = "a list of numbers"
    band = "forecast"
    cost = "loss"
    by_class = False

    def fit(
        self,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        store: Store,
        splits: dict[SplitName, Split],
    ) -> Chain | None:
        """Fit the scale, and what follows it."""
        return scan.fit(resolved, vocabulary, store, splits) or None

    def scale(self, train: Examples) -> Scale | None:
        """Return the error of the simplest rule in training, a column each."""
        return baselines.series_scale(train)

    def names(self, source: Source[Any], vocabulary: Vocabulary[Any]) -> list[str]:
        """Return the names of the features."""
        return source.features()

    def opening(self, store: Store, lag: int) -> tuple[int, int]:
        """Return where the last steps lie of the last series that is long enough to go on from."""
        lengths = store.ends - store.starts
        long = np.flatnonzero(lengths > lag + 1)
        last = int(long[-1]) if len(long) else -1
        start, end = int(store.starts[last]), int(store.ends[last])
        return max(start, end - TAIL - lag), end

    def accepts(self, prompt: str | list[Any]) -> bool:
        """Take a list without a text."""
        return not isinstance(prompt, str) and not any(isinstance(item, str) for item in prompt)

    def summary(self, data: Data) -> NumberVocabulary:
        """Return the size, the features, and their scale."""
        vocabulary = data.vocabulary
        return NumberVocabulary(
            size=vocabulary.size,
            features=data.source.features(),
            learned=vocabulary.save(),
            transforms=[str(step) for step in vocabulary.transforms()],
        )

    def answers(self, data: Data) -> Quantified:
        """Return how many numbers answer a sequence, and their scale."""
        return Quantified(data.answers.size, data.answers.save())

    def scan(self, resolved: Resolved, data: Data, network: Network) -> bool:
        """Scale every number there is, and let the loss see it."""
        return scan.scan(resolved, data, network)

    def bands(self, task: Task) -> Iterator[Problem]:
        """Give a problem if more numbers are expected than are forecast."""
        expected, length = task.expect.forecast, task.generation.length
        if expected is not None and len(expected) > length:
            fact = f"{len(expected)} numbers are expected, and {length} generated"
            cure = f"generation.length = {len(expected)}"
            yield Problem("RC014", fact, "expect.forecast", cure=cure)

    def rehearse(self, task: Task, data: Data, trial: Network) -> None:
        """Forecast as the final figures do, and measure what the baselines say."""
        if not task.generation.length or data.held_out() == "train":
            return
        begun, _ = forecasts.history_and_future(data, data.held_out(), FEW, limit=1)
        for series in begun:
            # Of the history the last few steps do, and those that differences take.
            history = series.history[-FEW - data.lag :]
            position = series.position + len(series.history) - len(history)
            session = Session(trial, data.vocabulary, position=position, known=series.known)
            session.feed(history)

            errors, steps = Errors(), len(series.future)
            errors.add(np.stack(list(loop.numbers(session, steps))), series.future)
            for guess in baselines.forecasts(history, steps, task.sequence.season).values():
                errors.add(guess, series.future)
            errors.metrics()

    def go_on(self, resolved: Resolved, session: Session) -> None:
        """Forecast a few steps."""
        try:
            list(loop.numbers(session, FEW))
        except RunError as error:
            fact = f"nothing can go on from the prompt: {error.problems[0].fact}"
            raise InputError.of("RC080", fact, key="generation.prompt") from error

    def judged(
        self, task: Task, data: Data, network: Network, figures: SplitFigures, scores: Scores
    ) -> Measured:
        """Add the figures of each column, notes and the forecast.

        The verdict is about the forecast if there is one.
        """
        name, season = figures["split"], task.sequence.season
        errors = {rule: sums for rule, sums in scores.rules.items() if isinstance(sums, Errors)}
        if columns := forecasts.by_column(data.source.features(), scores.model.columns(), errors):
            figures["columns"] = columns

        notes, split = figures["notes"], data.splits[name]
        notes += forecasts.step_notes(data, split, season, figures["baselines"])
        if task.generation.prompt is None and data.opening_position():
            notes.append(
                f"what is generated goes on from the last {TAIL:,} steps of the last series"
            )

        # On what it was trained on, a forecast would say little.
        horizon = task.generation.length
        if name == "train" or not horizon:
            return figures
        forecast = forecasts.forecast(data, network, name, horizon, season)
        if forecast is None:
            notes += forecasts.left_out(data, name, 0)
            return figures
        figures["forecast"] = forecast
        return forecast

    def near(self, cold: float, warm: float) -> bool:
        """Compare losses, whose unit nobody knows."""
        return cold <= FAR_TIMES * warm

    def continued(self, session: Session, steps: int, nats: Callable[[], float | None]) -> Answer:
        """Return a forecast."""
        rows = [row.tolist() for row in loop.numbers(session, steps)]
        return Answer([row[0] if len(row) == 1 else row for row in rows])

    def answered(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Answer]:
        """Return numbers in their own units."""
        scaled = point.cpu().numpy()
        if read is None:
            own = answers.decode(scaled)
        else:
            own = Chain(answers).forecast(read, scaled)
        return [Answer(row[0] if len(row) == 1 else row) for row in own.tolist()]

    def try_out(self, vocabulary: Vocabulary[Any]) -> None:
        """Scale a row of ones, transform it, and back: it must be a row of numbers all the way."""
        row = np.ones((1, vocabulary.size))
        chain = Chain(vocabulary)
        read = chain.scaled(row)
        for numbers in (read, chain.forecast(row, read), vocabulary.decode(read)):
            shape = np.shape(numbers)
            if shape != row.shape or not np.isfinite(numbers).all():
                fact = f"a row of {vocabulary.size} numbers becomes {shape}, or is not finite"
                raise ValueError(fact)


ELEMENTS: Mapping[str, Elements] = {"symbols": Symbols(), "numbers": Numbers()}
"""By what a vocabulary yields: that of the input, or that of the answers."""
