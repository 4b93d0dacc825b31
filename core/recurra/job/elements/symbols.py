"""Symbols, as far as the stages of a task differ by what is read or answered."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.source import Source
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import intake
from recurra.data.splits import SCORED
from recurra.data.store import Store
from recurra.errors import Problem
from recurra.generate import loop
from recurra.generate.elements import sampling
from recurra.generate.foretold import Intervals
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.answers import Answer
from recurra.job.figures import Measured, SplitFigures
from recurra.job.report import Classes, SymbolVocabulary
from recurra.resolved import Resolved
from recurra.spec.tables import IDLE, Task

if TYPE_CHECKING:
    from recurra.job.data import Data
    from recurra.job.forecasts import Foreseen

from recurra.job.elements.base import (
    FEW,
    SYMBOLS_SHOWN,
    TAIL,
    CellKinds,
    Counts,
    Elements,
    Ending,
    Scores,
)

HEAD = 32
"""Symbols of the corpus that generation goes on from where no prompt is given."""
FAR_NATS = 0.15
"""Nats a step by which a cold beginning may be dearer than a warm one before it is spoken of."""


class Symbols(Elements):
    """Ids, which stand for text or for classes.

    What comes next is drawn, and an answer is one of them.
    """

    prompt = "text"
    band = "generated"
    beside = ("nats",)
    cost = "nats"
    by_class = True
    one_each = False

    def new(self, vocabulary: Vocabulary[Any], runs: Iterable[Any]) -> dict[str, int]:
        """Add symbols."""
        return vocabulary.add(runs)

    def keeps(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Compare the symbols of the ids."""
        return _symbols(vocabulary) == _symbols(learned)

    def drawn(self, size: int, stream: torch.Generator) -> Tensor:
        """Return ids."""
        return torch.randint(size, (2, FEW), generator=stream)

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

    def readable(self, vocabulary: Vocabulary[Any], values: NDArray[Any]) -> str:
        """Return the text."""
        return vocabulary.text(values)

    def summary(self, data: Data) -> SymbolVocabulary:
        """Return the size, and the first symbols."""
        vocabulary = data.vocabulary
        first = range(min(vocabulary.size, SYMBOLS_SHOWN))
        symbols = [vocabulary.symbol(index) for index in first]
        return SymbolVocabulary(vocabulary.size, symbols, vocabulary.notes())

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
        self,
        task: Task,
        data: Data,
        figures: SplitFigures,
        scores: Scores,
        foreseen: Foreseen | None,
        intervals: Intervals | None,
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

    def kinds(self, size: int) -> CellKinds:
        """Return texts."""
        return CellKinds("text", "texts", "text")

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

    def said(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Any]:
        """Return the likeliest answers."""
        names = _symbols(answers)
        return [names[index] for index in point.argmax(dim=-1).tolist()]

    def same(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Compare all that was learned, but for what an older version has not saved."""
        now, before = vocabulary.save(), learned.save()
        return {key: now.get(key) for key in before} == before

    def try_out(self, vocabulary: Vocabulary[Any]) -> None:
        """Ask for every symbol."""
        "".join(_symbols(vocabulary))


def _symbols(vocabulary: Vocabulary[Any]) -> list[str]:
    return [vocabulary.symbol(index) for index in range(vocabulary.size)]
