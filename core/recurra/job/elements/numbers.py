"""Numbers, as far as the stages of a task differ by what is read or answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.metric import Scale, SeriesScales
from recurra.contracts.source import Source
from recurra.contracts.target import Examples
from recurra.contracts.transform import Transform
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain
from recurra.data.splits import Split, SplitName
from recurra.data.store import Store
from recurra.errors import InputError, Problem, RunError
from recurra.generate import loop
from recurra.generate.foretold import Intervals
from recurra.generate.session import Session
from recurra.job import forecasts, lacking, scan
from recurra.job.answers import Answer
from recurra.job.figures import Measured, SplitFigures
from recurra.job.forecasts import Begun, Foreseen
from recurra.job.report import NumberVocabulary, Quantified
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.spec.tables import Task
from recurra.train import series
from recurra.train.errors import Errors
from recurra.train.metrics import STILL

if TYPE_CHECKING:
    from recurra.job.data import Data

from recurra.job.elements.base import FEW, TAIL, CellKinds, Elements, Scores

FAR_TIMES = 1.5
"""How many times as dear a cold beginning may be as a warm one: the loss has no unit."""


def _told(step: Transform, names: Sequence[str]) -> str:
    """Return a transform as a person reads it, with the columns that it is about alone."""
    if step.features is None:
        return str(step)
    called = [names[place] if names else f"feature {place}" for place in step.features]
    return f"{', '.join(called)}: {step}"


def tail(store: Store, row: int, lag: int) -> tuple[int, int]:
    """Return where the last steps of a series lie, of which the first `lag` have no value."""
    start, end = int(store.starts[row]), int(store.ends[row])
    return max(start, end - TAIL - lag), end


class Numbers(Elements):
    """Rows of numbers, scaled as training's are.

    What comes next is forecast, and an answer is a row.
    """

    prompt = "a list of numbers"
    band = "forecast"
    cost = "loss"
    by_class = False
    one_each = True
    forecast = True

    def lacking(
        self,
        resolved: Resolved,
        source: Source[Any],
        vocabulary: Vocabulary[Any],
        store: Store,
        train: Split,
        owner: str,
    ) -> bool:
        """Look for numbers that are missing."""
        return lacking.lacking(resolved, source, vocabulary, store, train, owner)

    def fit(
        self,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        store: Store,
        splits: dict[SplitName, Split],
        source: Source[Any],
    ) -> Chain | None:
        """Fit the scale, and what follows it."""
        return scan.fit(resolved, vocabulary, store, splits, source.features()) or None

    def known(self, vocabulary: Vocabulary[Any], store: Store, owner: str) -> Chain | None:
        """Return the transforms."""
        width = store.values.shape[1]
        if width != vocabulary.size:
            fact = f"{owner} reads {vocabulary.size} numbers a step, and this data has {width}"
            raise InputError.of("RC030", fact, key="source", cure="give it as many columns")
        return Chain(vocabulary) or None

    def keeps(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Compare what is to be done with numbers."""
        return bool(vocabulary.options == learned.options)

    def drawn(self, size: int, stream: torch.Generator) -> Tensor:
        """Return numbers."""
        return torch.randn(2, FEW, size, generator=stream)

    def scale(self, train: Examples) -> Scale | None:
        """Return the error of the simplest rule in training, a column each."""
        return series.series_scale(train)

    def scales(
        self, store: Store, known: Split, season: int, rest: Scale | None
    ) -> SeriesScales | None:
        """Return the same of each series by itself."""
        return series.series_scales(store, known, season, rest)

    def names(self, source: Source[Any], vocabulary: Vocabulary[Any]) -> list[str]:
        """Return the names of the features."""
        return source.features()

    def opening(self, store: Store, lag: int) -> tuple[int, int]:
        """Return where the last steps lie of the last series that is long enough to go on from."""
        lengths = store.ends - store.starts
        long = np.flatnonzero(lengths > lag + 1)
        return tail(store, int(long[-1]) if len(long) else -1, lag)

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
            transforms=[_told(step, data.source.features()) for step in vocabulary.transforms()],
            notes=[*vocabulary.notes(), *lacking.told(data.source, vocabulary, data.covariates)],
            beside=[] if data.covariates is None else data.covariates.scales(),
        )

    def answers(self, data: Data) -> Quantified:
        """Return how many numbers answer a sequence, their scale and their span."""
        labels = data.reader.labels
        assert labels is not None, "whole sequences are asked"
        numbers = data.answers.decode(labels)
        least, greatest = numbers.min(axis=0).tolist(), numbers.max(axis=0).tolist()
        return Quantified(data.answers.size, data.answers.save(), least, greatest)

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
        few = min(FEW, task.generation.length)
        begun, _ = forecasts.history_and_future(data, data.held_out(), few, limit=1)
        for each in begun:
            # Of the history the last few steps do, and those that differences take.
            history = each.history[-FEW - data.lag :]
            session = each.session(trial, data, FEW + data.lag)

            future = each.future[: data.target.ahead or FEW]
            errors, steps = Errors(), len(future)
            errors.add(np.stack(list(loop.numbers(session, steps))), future)
            for guess in series.forecasts([history], [steps], task.sequence.season)[0].values():
                errors.add(guess, future)
            errors.metrics()

    def go_on(self, resolved: Resolved, session: Session) -> None:
        """Forecast a few steps."""
        try:
            list(loop.numbers(session, session.reach(FEW)))
        except RunError as error:
            fact = f"nothing can go on from the prompt: {error.problems[0].fact}"
            raise InputError.of("RC080", fact, key="generation.prompt") from error

    def foreseen(
        self,
        task: Task,
        data: Data,
        network: Network,
        name: SplitName,
        intervals: Intervals | None,
    ) -> Foreseen | None:
        """Return forecasts of the series, but of what the network was trained on."""
        # On what it was trained on, a forecast would say little.
        if name == "train" and not data.beside:
            return None
        horizon = task.generation.length
        return forecasts.foreseen(data, network, name, horizon, intervals=intervals)

    def begun(self, data: Data, name: SplitName, horizon: int) -> tuple[list[Begun], int]:
        """Return the series that figures are made of."""
        return forecasts.history_and_future(data, name, horizon)

    def judged(
        self,
        task: Task,
        data: Data,
        figures: SplitFigures,
        scores: Scores,
        foreseen: Foreseen | None,
        intervals: Intervals | None,
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
        scales = data.measure(name).scales
        if scales is not None:
            begin = split.scored().begin
            notes += forecasts.unscaled(scales, begin)
        elif data.scale is not None and "mase" not in figures["metrics"]:
            notes.append(f"no mase: {STILL}")
        if errors:
            notes += forecasts.zeros(next(iter(errors.values())))
        if task.sequence.split_by == "time":
            notes += forecasts.without_part(data, name)
        if task.generation.prompt is None and data.opening_position():
            notes.append(
                f"what is generated goes on from the last {TAIL:,} steps of the last series"
            )

        horizon = task.generation.length
        if foreseen is None:
            if horizon and (name != "train" or data.beside):
                notes += forecasts.left_out(data, name, 0)
            return figures
        forecast = forecasts.forecast(data, name, horizon, season, foreseen, intervals)
        figures["forecast"] = forecast
        return forecast

    def near(self, cold: float, warm: float) -> bool:
        """Compare losses, whose unit nobody knows."""
        return cold <= FAR_TIMES * warm

    def continued(self, session: Session, steps: int, nats: Callable[[], float | None]) -> Answer:
        """Return a forecast."""
        rows = [row.tolist() for row in loop.numbers(session, steps)]
        return Answer([row[0] if len(row) == 1 else row for row in rows])

    def kinds(self, size: int) -> CellKinds:
        """Return numbers, or lists of several."""
        if size == 1:
            return CellKinds("number", "numbers", "numbers")
        return CellKinds("numbers", "rows", "rows")

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
