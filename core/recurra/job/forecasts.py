"""Free-running forecasts of the series of a split, beside what the baselines say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import ColumnSums, Metrics, Scale
from recurra.data.chain import in_training
from recurra.data.splits import SCORED, Split, SplitName, sampled
from recurra.errors import RunError
from recurra.generate.loop import numbers
from recurra.generate.session import Session
from recurra.job.figures import Column, Columns, Forecast
from recurra.model.network import Network
from recurra.train.baselines import forecasts
from recurra.train.metrics import Errors

if TYPE_CHECKING:
    from recurra.job.data import Data

FORECAST = 256
"""Series that are forecast; of more, a sample that lies evenly over all of them."""
HISTORY = 1 << 16
"""Steps that a forecast reads before it begins."""


class Begun(NamedTuple):
    """A series that is to be forecast.

    Its `history` from a `position` on, what is `known` of it, by which it may be scaled, and the
    `future` that comes then.
    """

    position: int
    known: NDArray[Any] | None
    history: NDArray[Any]
    future: NDArray[Any]


class Rules:
    """The errors of each baseline, and how many series it has forecast."""

    def __init__(self, scale: Scale | None) -> None:
        self.scale = scale
        self.errors: dict[str, Errors] = {}
        self.counts: dict[str, int] = {}

    def add(self, guesses: Mapping[str, NDArray[Any]], future: NDArray[Any]) -> None:
        """Take note of the forecasts of one series; a rule that needs more history gives none."""
        for rule, guess in guesses.items():
            self.errors.setdefault(rule, Errors(self.scale)).add(guess, future)
            self.counts[rule] = self.counts.get(rule, 0) + 1

    def of_all(self, series: int) -> dict[str, Errors]:
        """Return the errors of those that have forecast every series: the rest are of others."""
        return {rule: sums for rule, sums in self.errors.items() if self.counts[rule] == series}


def forecast(
    data: Data, network: Network, name: SplitName, horizon: int, season: int, limit: int = FORECAST
) -> Forecast | None:
    """Forecast what follows the history of each series; nothing but the forecast is fed back.

    Of more than `limit` series those are forecast that lie evenly over all.
    """
    begun, total = history_and_future(data, name, horizon, limit) if horizon else ([], 0)
    if not begun:
        return None

    # Each series is read once, and compared with what each rule says after the same history.
    errors, rules = Errors(data.scale), Rules(data.scale)
    rows: dict[str, NDArray[Any]] = {}
    for series in begun:
        position, known = series.position, series.known
        session = Session(network, data.vocabulary, position=position, known=known)
        session.feed(series.history)
        predicted = _free_running(session, series.future)
        errors.add(predicted, series.future)

        guesses = forecasts(series.history, len(series.future), season)
        rules.add(guesses, series.future)
        rows = {"actual": series.future, "model": predicted, **guesses}

    compared = rules.of_all(len(begun))
    columns = by_column(
        data.source.features(), [column.metrics() for column in errors.columns], compared
    )
    notes = left_out(data, name, total) + _forecast_notes(begun, total, season, rules.counts)
    own_columns: Columns = {"columns": columns} if columns else {}
    return {
        "steps": horizon,
        "series": len(begun),
        "of_series": total,
        "metrics": errors.metrics(),
        "baselines": {rule: sums.metrics() for rule, sums in compared.items()},
        **own_columns,
        "notes": notes,
        "last_series": {rule: steps.tolist() for rule, steps in rows.items()},
    }


def by_column(
    names: Sequence[str], model: list[Metrics], rules: Mapping[str, ColumnSums]
) -> list[Column]:
    """Return the figures of each of several columns in its own units, beside the baselines'."""
    names = names or [f"column {index}" for index in range(len(model))]
    columns: list[Column] = []
    # Where there is one feature alone, it is told as a whole, and `model` is empty.
    for index, (name, metrics) in enumerate(zip(names, model, strict=False)):
        baselines = {rule: errors.columns[index].metrics() for rule, errors in rules.items()}
        columns.append({"name": name, "metrics": metrics, "baselines": baselines})
    return columns


def history_and_future(
    data: Data, name: SplitName, horizon: int, limit: int = FORECAST
) -> tuple[list[Begun], int]:
    """Return series of a split, each up to where a free-running forecast begins, and what it meets.

    A contiguous split is forecast from its first element; a whole series from `horizon` before its
    end; both not before enough is known of a series. Of more than `limit` series those are taken
    that lie evenly over all of them; how many there are comes second.
    """
    part, store = data.splits[name], data.store
    known_of = in_training(store, data.seen)

    # A span that does not begin with its series follows on what belongs to an earlier split.
    before_the_end = np.maximum(part.low + 1, part.high - horizon)
    origins = np.where(part.low > part.begin, part.low, before_the_end)
    origins = np.maximum(origins, part.begin + data.lag + 1)
    stops = np.minimum(part.high, origins + horizon)
    able = np.flatnonzero(stops > origins)

    begun = []
    for row in sampled(able, limit).tolist():
        begin, origin = int(part.begin[row]), int(origins[row])
        stop = int(stops[row])
        first = max(begin, origin - HISTORY)
        known = None
        if data.by_series:
            series = store.sequence(np.array([begin]))[0]
            known = known_of(int(series))
        history = np.asarray(store.values[first:origin])
        future = np.asarray(store.values[origin:stop])
        begun.append(Begun(first - begin, known, history, future))
    return begun, len(able)


def left_out(data: Data, name: SplitName, able: int) -> list[str]:
    """Return a note of the series that are too short to be forecast, because of what is read."""
    part = data.splits[name]
    long_enough = part.high > np.maximum(part.low, part.begin + 1)
    short = int(long_enough.sum()) - able
    if not data.lag or short <= 0:
        return []
    return [
        f"{short:,} series were not forecast: {data.lag + 1:,} steps of each must come before, for"
        " the differences"
    ]


def step_notes(
    data: Data, split: Split, season: int, baselines: Mapping[str, Metrics]
) -> list[str]:
    """Return notes on the baselines one step ahead: their bounds, and why one is missing."""
    notes, train = [], data.splits["train"]
    if train.steps > SCORED:
        few = f"the first {SCORED:,} of {train.steps:,} steps of training alone"
        notes.append(f"drift, and the scale of mase, learned from {few}")

    if season and "seasonal naive" not in baselines:
        scored = split.scored()
        known = scored.first_targets - scored.begin
        known = known[scored.high > scored.first_targets]
        short = int((known < season).sum())
        notes.append(
            f"no seasonal naive one step ahead: it needs {season} steps before each prediction, and"
            f" {short:,} of {len(known):,} series begin with fewer (the shortest with"
            f" {int(known.min())})"
        )
    return notes


def _free_running(session: Session, future: NDArray[Any]) -> NDArray[np.float64]:
    """Return a forecast of the shape of what comes; no number from where it is not finite on."""
    predicted = np.full(future.shape, np.nan)
    with suppress(RunError):
        for step, row in enumerate(numbers(session, len(future))):
            predicted[step] = row
    return predicted


def _forecast_notes(
    begun: list[Begun], total: int, season: int, counts: dict[str, int]
) -> list[str]:
    """Return notes on a forecast: the sample it is of, what it has read, why a rule is missing."""
    notes, series = [], len(begun)
    if series < total:
        notes.append(
            f"{series:,} of {total:,} series were forecast, which lie evenly over all of them"
        )
    if cut := sum(each.position > 0 for each in begun):
        notes.append(f"of {cut:,} series the last {HISTORY:,} steps of their history were read")

    needs = {"drift": 2}
    if season:
        needs["seasonal naive"] = season
    for rule, least in needs.items():
        short = series - counts.get(rule, 0)
        if short > 0:
            notes.append(
                f"no {rule}: it needs {least} steps of history, and {short:,} of {series:,} series"
                " have fewer"
            )
    return notes
