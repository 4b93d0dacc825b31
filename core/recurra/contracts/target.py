"""The contract of a target: what is asked of a sequence, and how good an answer is.

It is asked of each of its steps, of the sequence once, or for elements that are to follow it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.metric import Metric, Metrics, Scale, SeriesScales, Sums
from recurra.contracts.options import Options
from recurra.contracts.source import Role
from recurra.contracts.transform import Floats
from recurra.shapes import Flags

O = TypeVar("O", bound=Options)  # noqa: E741

Elements: TypeAlias = Literal["symbols", "numbers"]
"""What a vocabulary yields, and what an answer is."""


class Window(NamedTuple):
    """Steps of several sequences, of which a target says which are scored.

    Where windows are cut is no matter of the target's: what it says of a step must not hang on it.

    `x` is what the network reads, ids `[B, T]` or scaled numbers `[B, T, F]`; `position` `[B]` is
    that of a row's first step in its sequence, and `answers` are those of the steps, `[B, T]` or
    `[B, T, F]`, or `[B, T, H, F]` where each is answered by the next H elements at once.
    """

    x: Tensor
    answers: Tensor
    position: Tensor


@dataclass(frozen=True)
class Past:
    """What is known at some steps of series, their origins, from what came up to each.

    Numbers are scaled as the vocabulary scales them, and not transformed further. `steps` is how
    many are asked ahead of each origin, `season` the steps of a season, 0 where there is none.
    Origin i stands at `at[i]`, in a series that begins at `begin[i]`; `read` gives the numbers
    `[N, F]` at such places, and is asked by `ago` and `first` alone, which look past no origin.
    """

    read: Callable[[NDArray[np.int64]], Floats]
    begin: NDArray[np.int64]
    at: NDArray[np.int64]
    steps: int
    season: int = 0

    @property
    def count(self) -> NDArray[np.int64]:
        """How many steps of its series have come at each origin, itself among them, `[N]`."""
        return self.at - self.begin + 1

    def ago(self, steps: int) -> Floats:
        """Return what came so many steps before each origin, `[N, F]`: 0 is the origin itself.

        Where a series has not begun so early, that is its first number.
        """
        return self.read(np.maximum(self.at - steps, self.begin))

    def first(self, place: int) -> Floats:
        """Return what stands at a place of each series, from 0, `[N, F]`.

        Where that is later than its origin, it is the origin.
        """
        return self.read(np.minimum(self.begin + place, self.at))


@dataclass(frozen=True)
class Examples:
    """A split as a baseline sees it: some sequences, each a stretch of `values`.

    Sequence i begins at `begin[i]` and holds the `values` `[low[i], high[i])`. `values` are ids
    `[N]` or numbers `[N, F]` in their own units; what lies between `begin` and `low` belongs to an
    earlier split, and is known but not asked. `answers` are what is asked of
    whole sequences: ids `[n]`, -1 where training has not shown it, or numbers `[n, F]` in their own
    units. Where each element has a tag, `answers` are those that there are, and `codes` `[N]` tell
    which of them it is: `tags` looks them up. `size` is that of the vocabulary that is read,
    `classes` that of the answers. `season` and `scale` are those of a series, and `scales` those
    of each of several. The first `lag` elements of a sequence are known, and not asked.

    Where answers follow sequences, that of sequence i is `values[low[i] : high[i] - 1]`, and what
    was read is `values[begin[i] : low[i] - 1]`: behind each of them stands a mark, the two ids from
    `size` - 2 on.
    """

    elements: Elements
    values: NDArray[Any]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    begin: NDArray[np.int64]
    size: int
    classes: int
    answers: NDArray[Any] | None = None
    season: int = 0
    scale: Scale | None = None
    lag: int = 0
    codes: NDArray[Any] | None = None
    scales: SeriesScales | None = None

    def __len__(self) -> int:
        return len(self.low)

    def sequences(self) -> Iterator[NDArray[Any]]:
        """Give the elements of each sequence."""
        for low, high in zip(self.low.tolist(), self.high.tolist(), strict=True):
            yield np.asarray(self.values[low:high])

    def tags(self, low: int, high: int) -> NDArray[np.int64]:
        """Return the ids of the tags of some elements, -1 for one that training has not shown."""
        assert self.codes is not None and self.answers is not None, "each element has a tag"
        return np.asarray(self.answers[self.codes[low:high]])


class Target(ABC, Generic[O]):
    """What is asked of a sequence.

    Attributes of a class: `asks`, the column whose values are the answers ("input": the elements
    themselves), and `answers`, whether what stands in a column of its own is a class or numbers;
    `scope`, whether each step is answered, or the sequence once, from all its steps, or by an
    answer of the same elements that follows it, one by one, each read before the next is asked;
    `reach`, how many steps past the one that answers its answer lies (next: 1); `generates`,
    whether an answer can be read as the next element, so that the network goes on alone; `takes`,
    what the elements may be that are read. `pooling`
    says what a sequence is answered from: its last step, the mean or the greatest of all, or a sum
    that attention weighs. A target that is not `causal` may be read both ways. One that looks
    `ahead` answers a step by the next so many numbers at once.

    The core reads the columns, makes the answers, and cuts the windows; baselines never see the
    answers of the split that is scored but in order to be scored.
    """

    asks: ClassVar[Role] = "input"
    answers: ClassVar[Elements] = "symbols"
    scope: ClassVar[Literal["step", "sequence", "answer"]] = "step"
    reach: ClassVar[int] = 0
    generates: ClassVar[bool] = False
    takes: ClassVar[tuple[Elements, ...]] = ("symbols", "numbers")

    def __init__(self, options: O) -> None:
        self.options = options

    def prepare(self, names: Sequence[str]) -> None:
        """Take what is known of what is read, before any step is asked for: a mark has a name.

        `names` are those of the symbols in the order of their ids, or of the features. It is called
        whenever data is read, and not where a run only answers what it is given. May raise
        `InputError`.
        """

    @property
    def causal(self) -> bool:
        """Whether a step may see only what came before it."""
        return self.scope != "sequence"

    @property
    def at_once(self) -> bool:
        """Whether each sequence is read in one window, for a step may see what follows it."""
        return self.scope == "step" and not self.causal

    @property
    def pooling(self) -> Literal["last", "mean", "max", "attention"]:
        """From what a sequence is answered; nothing reads it where each step is."""
        return "last"

    @property
    def ahead(self) -> int:
        """How many elements after a step answer it together; 0 is one element alone.

        Above 0 elements are numbers, of which `reach` is 1, and a loss is asked for each of the
        steps ahead by itself. What is asked of one is told relative to what is known at the origin:
        what transforms make of it, undone by the origin's own past, less what `base` says.
        """
        return 0

    @property
    def decoder(self) -> Literal["linear", "cell"]:
        """What gives the answers of a target that looks ahead.

        That is one linear map of what a step has left, or a cell of the kind of the last layer that
        goes on from it, and is read at each of the steps ahead. Covariates that are known of a step
        to come are read for the answer to it, and for those after it.
        """
        return "linear"

    @property
    def last_origin(self) -> bool:
        """Whether, of a target that looks ahead, each sequence has one origin: the last possible.

        Else each step is one.
        """
        return False

    @property
    def conformal(self) -> Literal["none", "split", "adaptive"]:
        """Whether forecasts of numbers have intervals as wide as what earlier ones missed by.

        It takes a second training, of what precedes them. "adaptive" moves the level as well, by
        what was missed so far.
        """
        return "none"

    @property
    def seasonal(self) -> bool:
        """Whether there must be a season."""
        return False

    @property
    def added(self) -> bool:
        """Whether what the network says is added to what `base` does."""
        return False

    def base(self, past: Past) -> Floats:
        """Return what is known beforehand of the steps ahead of some origins, `[N, H, F]`, scaled.

        It is asked where the target is `added`.
        """
        raise NotImplementedError

    def at_most(self, longest: int) -> int:
        """Return after how many symbols an answer that does not end is given up.

        `longest` is how many the longest of training has.
        """
        return 2 * longest

    def scored(self, window: Window) -> Flags | None:
        """Return which steps `[B, T]` of a window are scored, of those that have an answer.

        None scores them all.
        """
        return None

    @abstractmethod
    def metrics(self, elements: Elements) -> Sequence[type[Metric]]:
        """Return what is measured of answers that are symbols, or numbers."""

    @abstractmethod
    def judged(self, elements: Elements, rows: Sequence[Metrics], columns: int) -> str:
        """Return the figure that the verdict speaks of.

        It is one of those that all `rows` have: the model's and the baselines'. `columns` is how
        many columns of numbers are answered, those of several series together: where there is more
        than one, their units cannot be added up.
        """

    def baselines(self, train: Examples, held: Examples) -> Mapping[str, Metrics | Sums]:
        """Return the figures of simple rules on `held`, learned from `train`."""
        return {}
