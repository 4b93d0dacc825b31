"""What result.json holds, and what `evaluate` gives: the figures of a split, key by key."""

from __future__ import annotations

from typing import Any, NotRequired, TypeAlias, TypedDict

from recurra.contracts.metric import Metrics
from recurra.data.splits import SplitName


class Table(TypedDict):
    """The figures of the model, and those of each baseline."""

    metrics: Metrics
    baselines: dict[str, Metrics]


class Column(Table):
    """The figures of one of several columns, in its own units."""

    name: str


class Columns(TypedDict, total=False):
    """The columns of numbers, where there are several."""

    columns: list[Column]


class Measured(Table, Columns):
    """A table with what is to be said of it."""

    notes: list[str]


class Ahead(Table):
    """The figures of one step of forecasts, `ahead` of what was read."""

    ahead: int


ByScale = TypedDict("ByScale", {"from": float, "to": float, "series": int, "metrics": Metrics})
"""The figures of the intervals of so many series, whose scales lie between two."""


class Spreads(TypedDict, total=False):
    """What is said of intervals, where there are such: their levels, and figures by scale."""

    levels: list[float]
    by_scale: list[ByScale]


class OneSeries(Table):
    """The figures of the forecast of one series, by its place in the data: the first is 1."""

    series: int


class Stamped(TypedDict, total=False):
    """The time stamps of steps, where there are such."""

    ds: list[str]


class Forecast(Measured, Stamped, Spreads):
    """The figures of a free-running forecast of `series` out of `of_series`.

    `last_series` holds the steps `[T, F]` of the last one: what came, what each rule said, and the
    bounds of the intervals, lo-80 and hi-80, where there are such;
    `ds` their time stamps, where there are such.
    """

    steps: int
    series: int
    of_series: int
    by_step: list[Ahead]
    by_series: list[OneSeries]
    last_series: dict[str, list[list[float]]]


class Confusion(TypedDict):
    """How often each class was answered, a row for each that came."""

    classes: list[str]
    counts: list[list[int]]


Said: TypeAlias = str | float | list[float]
"""An answer to a sequence: a class, a number or several."""


class Wrong(TypedDict):
    """A sequence that was answered wrongly; of classes the chance of the right answer as well."""

    sequence: int
    came: Said
    predicted: Said
    chance: NotRequired[float]


class Completion(TypedDict):
    """A prompt of the data, by the number of its sequence, the right answer and the model's.

    `ended` tells whether the model has come to an end.
    """

    sequence: int
    prompt: str
    came: str
    predicted: str
    ended: bool


class TaggedRun(TypedDict):
    """Steps that were answered alike: what was read, where that is text, and what came."""

    read: str
    steps: int
    predicted: str
    came: str


class Tagged(TypedDict):
    """How a sequence was tagged, from its step `first` on, run by run."""

    sequence: int
    first: int
    runs: list[TaggedRun]


class Detail(Columns, total=False):
    """What is said of some splits only; a metric of a plugin may add keys of its own."""

    confusion: Confusion
    most_wrong: list[Wrong]
    by_step: list[Ahead]
    completions: list[Completion]
    tagged: Tagged
    forecast: Forecast


class SplitFigures(Measured, Detail):
    """The figures of a split, before anything is said of them."""

    split: SplitName
    predictions: int


class Verdict(TypedDict):
    """How the model stands against the best baseline, in a sentence and in a word.

    They are compared by the figure that is `judged`.
    """

    verdict: str
    judged: NotRequired[str]
    best_baseline: NotRequired[str]
    beats_baselines: bool


class Beginnings(TypedDict):
    """What the figures `cold` and `warm` are of.

    They are of the first `steps` at `places` of the split, `warm` after the steps `before`.
    """

    places: int
    steps: int
    before: int


class Carried(TypedDict, total=False):
    """What is said only where states are carried."""

    beginnings: Beginnings


class Figures(SplitFigures, Verdict, Carried):
    """The figures of a split with the verdict on them."""


class Generated(TypedDict, total=False):
    """What was generated: a text, or numbers, with their time stamps and bounds, if any."""

    generated: Any
    ds: list[str]
    bounds: dict[str, list[Any]]


class Result(Figures, Generated):
    """result.json: what a run came to."""

    run: str
    task: str
    steps: int
    weights_of_step: int
    ended: str
    seconds: float
    tokens_per_second: float
    parameters: int
    broken_bands: list[dict[str, str]]
