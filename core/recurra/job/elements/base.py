"""What the stages of a task ask of symbols, and of numbers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.metric import Metrics, Scale, SeriesScales, Sums
from recurra.contracts.source import Source
from recurra.contracts.target import Examples
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain
from recurra.data.splits import Split, SplitName
from recurra.data.store import Store
from recurra.errors import Problem
from recurra.generate.foretold import Intervals
from recurra.generate.session import Session
from recurra.job.answers import Answer
from recurra.job.figures import Measured, SplitFigures
from recurra.job.report import Classes, NumberVocabulary, Quantified, SymbolVocabulary
from recurra.model.network import Network
from recurra.resolved import Resolved
from recurra.runs.written import Kind
from recurra.spec.tables import Task
from recurra.train.metrics import Tally

if TYPE_CHECKING:
    from recurra.job.data import Data
    from recurra.job.forecasts import Begun, Foreseen

Counts = tuple[list[str], NDArray[np.int64]]
"""The names of answers that are symbols, and how often each comes in training."""

TAIL = 1024
"""Steps of a series that generation goes on from where no prompt is given.

So many symbols, too, are read to be warm.
"""
FEW = 3
"""Steps that are evaluated, forecast and generated before training."""
SYMBOLS_SHOWN = 256
"""Symbols, or classes, that the report lists."""


class CellKinds(NamedTuple):
    """What stands in a cell: `one` answer, one for `each` step, or what comes then, `continued`."""

    one: Kind
    each: Kind
    continued: Kind


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
    cost; `by_class` tells whether each split has its share of each answer, `one_each` whether each
    element that is read is one step, and `forecast` whether what goes on is a forecast.
    """

    prompt: ClassVar[str]
    band: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[str]
    by_class: ClassVar[bool]
    one_each: ClassVar[bool]
    forecast: ClassVar[bool] = False

    # the data

    def lacking(
        self,
        resolved: Resolved,
        source: Source[Any],
        vocabulary: Vocabulary[Any],
        store: Store,
        train: Split,
        owner: str,
    ) -> bool:
        """Return whether anything is missing, and let the vocabulary know what of training is.

        One that a run has learned, the `owner`, knows. Raises `InputError` (RC030, RC031, RC041)
        where what is missing cannot be read.
        """
        return False

    def fit(
        self,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        store: Store,
        splits: dict[SplitName, Split],
        source: Source[Any],
    ) -> Chain | None:
        """Fit a vocabulary on the training split, where it has not learned from all.

        The source knows the names of its columns. Returns the transforms, if any. Raises
        `InputError`.
        """
        return None

    def known(self, vocabulary: Vocabulary[Any], store: Store, owner: str) -> Chain | None:
        """Return the transforms of a vocabulary that a run, the `owner`, has learned, if any.

        Raises `InputError` (RC030) if it does not fit what is stored.
        """
        return None

    def new(self, vocabulary: Vocabulary[Any], runs: Iterable[Any]) -> dict[str, int]:
        """Let a vocabulary learn what it lacks of some runs; return how often each symbol comes."""
        return {}

    def keeps(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Tell whether what a vocabulary has `learned` means the same under other options."""

    def scale(self, train: Examples) -> Scale | None:
        """Return by what errors are measured."""
        return None

    def scales(
        self, store: Store, known: Split, season: int, rest: Scale | None
    ) -> SeriesScales | None:
        """Return by what those of each of several series are, of which a part is known.

        The `rest` is for those of which nothing is.
        """
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

    def readable(self, vocabulary: Vocabulary[Any], values: NDArray[Any]) -> str:
        """Return stored elements as a text that a person reads, where they are one."""
        return ""

    def summary(self, data: Data) -> SymbolVocabulary | NumberVocabulary:
        """Return what the report says of the vocabulary."""

    def answers(self, data: Data) -> Classes | Quantified:
        """Return what the report says of answers that stand in a column of their own."""

    # the network

    def drawn(self, size: int, stream: torch.Generator) -> Tensor:
        """Return a few steps `[B, T, ...]` of what a network reads, drawn at random."""

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

    def foreseen(
        self,
        task: Task,
        data: Data,
        network: Network,
        name: SplitName,
        intervals: Intervals | None,
    ) -> Foreseen | None:
        """Return forecasts of the series of a split, with `intervals`, if it has such.

        Of several processes each makes its share, and has all.
        """
        return None

    def begun(self, data: Data, name: SplitName, horizon: int) -> tuple[list[Begun], int]:
        """Return some series of a split up to where forecasts begin, out of how many."""
        return [], 0

    def judged(
        self,
        task: Task,
        data: Data,
        figures: SplitFigures,
        scores: Scores,
        foreseen: Foreseen | None,
        intervals: Intervals | None,
    ) -> Measured:
        """Add to the figures what is said of these alone; return what the verdict is about.

        That is what was `foreseen`, if anything was, with the `intervals` that are asked for.
        """

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

    def kinds(self, size: int) -> CellKinds:
        """Return what the cells of answers are; of numbers so many stand together."""

    def answered(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Answer]:
        """Return what the best guesses `[N, V]` of the loss say, an answer each.

        `read` are the elements `[N, ...]` of which each guess is about the one after, if they are
        about such.
        """

    def said(
        self, answers: Vocabulary[Any], point: Tensor, read: NDArray[Any] | None = None
    ) -> list[Any]:
        """Return what the best guesses `[N, V]` of the loss say, without what stands beside it."""
        return [answer.predicted for answer in self.answered(answers, point, read)]

    # a run read back

    def same(self, vocabulary: Vocabulary[Any], learned: Vocabulary[Any]) -> bool:
        """Tell whether a vocabulary is the one that was learned from the data.

        Only as far as its elements depend on it.
        """
        return True

    def try_out(self, vocabulary: Vocabulary[Any]) -> None:
        """Use a vocabulary that was restored. Raises any error if it cannot be."""
