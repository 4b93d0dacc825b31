"""Free-running forecasts of the series of a split, beside what the baselines say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import ColumnSums, Metrics, SeriesScales
from recurra.data.chain import in_training
from recurra.data.covariate_vocabulary import Rows
from recurra.data.splits import SCORED, Split, SplitName, called, sampled
from recurra.data.store import Ints
from recurra.generate.abreast import Start
from recurra.generate.foretold import Foretold, Intervals, foretold
from recurra.generate.session import Session
from recurra.job.figures import Column, Columns, Forecast, Stamped
from recurra.job.interval_figures import Beside, measured
from recurra.job.scores import ForecastScores
from recurra.model.network import Network
from recurra.train import series as rules
from recurra.train.errors import Errors, Term
from recurra.world import world

if TYPE_CHECKING:
    from recurra.job.data import Data

FORECAST = 256
"""Series that are forecast; of more, a sample that lies evenly over all of them."""
HISTORY = 1 << 16
"""Steps that a forecast reads before it begins."""


class Begun(NamedTuple):
    """A series that is to be forecast, which begins at a place of the data, from an `origin` on.

    Its `history` from a `position` on, what is `known` of it, by which it may be scaled, and the
    `future` that comes then; the covariates of it all stand `beside`.
    """

    begin: int
    origin: int
    position: int
    known: NDArray[Any] | None
    history: NDArray[Any]
    future: NDArray[Any]
    beside: Rows | None = None
    name: str = ""

    @property
    def start(self) -> Start:
        """What its forecast goes on from."""
        return Start(self.history, self.position, self.known, self.beside, self.name)

    def session(self, network: Network, data: Data, steps: int = HISTORY) -> Session:
        """Return a session that has read its history, or the last steps of it."""
        history = self.history[-steps:]
        unread = len(self.history) - len(history)
        beside = self.beside and self.beside.after(unread)
        start = Start(history, self.position + unread, self.known, beside, self.name)
        outlook = data.reader.outlook
        session = start.session(network, data.vocabulary, data.covariates, outlook=outlook)
        return session.feed_ids(history, beside)


class Foreseen(NamedTuple):
    """The series of a split that are forecast, of so many in `total`, and what is told of each."""

    begun: list[Begun]
    total: int
    told: list[Foretold]


def foreseen(
    data: Data,
    network: Network,
    name: SplitName,
    horizon: int,
    limit: int = FORECAST,
    intervals: Intervals | None = None,
) -> Foreseen | None:
    """Forecast what follows the history of each series; nothing but the forecast is fed back.

    Of more than `limit` series those are forecast that lie evenly over all. Of several processes
    each forecasts its share, and has all.
    """
    begun, total = history_and_future(data, name, horizon, limit) if horizon else ([], 0)
    if not begun:
        return None
    here = world()

    def own() -> list[Foretold]:
        return list(
            foretold(
                network,
                data.vocabulary,
                (series.start for series in begun[here.part(len(begun))]),
                max(len(series.future) for series in begun),
                data.reader.outlook,
                data.covariates,
                None if intervals is None else measured(intervals),
            )
        )

    parts = here.gathered(here.together(own))
    return Foreseen(begun, total, [each for part in parts for each in part])


def forecast(
    data: Data,
    name: SplitName,
    horizon: int,
    season: int,
    made: Foreseen,
    intervals: Intervals | None = None,
) -> Forecast:
    """Return the figures of forecasts, beside what each rule says after the same history.

    Where there are `intervals`, they are measured too.
    """
    begun, total, told_of = made
    steps = [len(series.future) for series in begun]
    histories = [series.history for series in begun]
    own_guesses = rules.forecasts(histories, steps, season, _mean_of_all(data))
    counts = Counter(rule for guessed in own_guesses for rule in guessed)
    guesses = rules.completed(own_guesses, season)

    scales = _scales(data, begun, season)
    scores = ForecastScores(scales, max(steps))
    predictions: list[NDArray[np.float64]] = []
    spreads = Beside(intervals, max(steps))
    for row, (series, ahead) in enumerate(zip(begun, told_of, strict=True)):
        predicted = np.full(series.future.shape, np.nan)
        told = ahead.points[: len(predicted)]
        predicted[: len(told)] = told
        predictions.append(predicted)
        spreads.add(ahead.bounds, series.future, scales.each[row])
    scores.add(predictions, guesses, [series.future for series in begun])
    rows = {"actual": begun[-1].future, "model": predictions[-1], **spreads.last, **guesses[-1]}

    compared = {rule: score.all for rule, score in scores.of_all().items()}
    model = scores.model.all
    columns = by_column(
        data.source.features(), [column.metrics() for column in model.columns], compared
    )
    notes = left_out(data, name, total) + _forecast_notes(begun, total, season, counts)
    notes += [*unscaled(scales, scales.starts), *zeros(model), *spreads.notes()]
    own_columns: Columns = {"columns": columns} if columns else {}
    return {
        "steps": horizon,
        "series": len(begun),
        "of_series": total,
        "metrics": model.metrics() | spreads.metrics(),
        "baselines": {rule: sums.metrics() for rule, sums in compared.items()},
        **own_columns,
        "by_step": spreads.beside(scores.by_step()),
        **spreads.told(),
        "by_series": scores.by_series(data.store.sequence(scales.starts).tolist()),
        "notes": notes,
        "last_series": {rule: steps.tolist() for rule, steps in rows.items()},
        **_stamped(data, begun[-1]),
    }


def _stamped(data: Data, begun: Begun) -> Stamped:
    """Return the time stamps of the steps of a forecast, where there are such."""
    row = int(data.store.sequence(np.array([begun.begin]))[0])
    stamps = data.stamps(row, begun.origin - begun.begin, len(begun.future))
    return {"ds": stamps} if stamps else {}


def _mean_of_all(data: Data) -> NDArray[np.float64] | None:
    """Return the mean of all series of training, where there are several."""
    train = data.examples("train") if data.beside is None else data.beside.train
    return rules.mean_of(train) if train is not None and len(train) > 1 else None


def _scales(data: Data, begun: list[Begun], season: int) -> SeriesScales:
    """Return by what the errors of forecasts are measured: all that precedes each in its series."""
    starts = np.array([series.begin for series in begun])
    before = (data.store.values[series.begin : series.origin] for series in begun)
    return SeriesScales(starts, np.stack([rules.scale_of(part, season) for part in before]))


def unscaled(scales: SeriesScales, begin: Ints, what: str = "series") -> list[str]:
    """Return a note of the series, or of whatever they are, whose errors nothing measures."""
    some = scales.undefined(begin)
    if not some:
        return []
    return [
        f"no mase of {some:,} of {len(begin):,} {what}, which are left out of it: what is known"
        " of them does not change, or is too short"
    ]


def zeros(errors: Errors) -> list[str]:
    """Return a note of the values that came of which no error can be a share, for they are 0."""
    parts = errors.columns or [errors]
    sums = np.sum([part.sums for part in parts], axis=0)
    count, some = int(sums[Term.COUNT]), int(sums[Term.NONZERO])
    if some == count:
        return []
    if not some:
        return [f"no mape and no wape: all {count:,} values that came are 0"]
    return [f"mape leaves out {count - some:,} of {count:,} values, which are 0"]


def without_part(data: Data, name: SplitName) -> list[str]:
    """Return a note of the series that are too short to have a part in a split of each."""
    total, part = len(data.store.starts), data.splits[name]
    short = total - len(np.unique(part.begin))
    if not short or name == "all":
        return []
    return [f"{short:,} of {total:,} series are too short to have a part in {called(name)}"]


def by_column(
    names: Sequence[str], model: list[Metrics], compared: Mapping[str, ColumnSums]
) -> list[Column]:
    """Return the figures of each of several columns in its own units, beside the baselines'."""
    names = names or [f"column {index}" for index in range(len(model))]
    columns: list[Column] = []
    # Where there is one feature alone, it is told as a whole, and `model` is empty.
    for index, (name, metrics) in enumerate(zip(names, model, strict=False)):
        baselines = {rule: errors.columns[index].metrics() for rule, errors in compared.items()}
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
        series = int(store.sequence(np.array([begin]))[0])
        known = known_of(series) if data.by_series else None
        history = np.asarray(store.values[first:origin])
        future = np.asarray(store.values[origin:stop])
        companions = data.reader.companions
        beside = None if companions is None else companions.stretch(first, origin, stop)
        own = begin, origin, first - begin, known, history, future, beside
        begun.append(Begun(*own, str(series + 1)))
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
    """Return notes on the baselines from each step: their bounds, and why one is missing."""
    notes, train = [], data.splits["train"]
    where = "from each origin" if data.target.ahead else "one step ahead"
    if train.steps > SCORED:
        few = f"the first {SCORED:,} of {train.steps:,} steps of training alone"
        what = [] if data.target.ahead else ["mean", "drift"]
        what += ["the scale of mase"] if data.scales is None else []
        if what:
            notes.append(f"{' and '.join(what)} learned from {few}")

    if season and "seasonal naive" not in baselines:
        scored = split.scored()
        known = scored.first_targets - scored.begin
        known = known[scored.stops > scored.first_targets]
        short = int((known < season).sum())
        notes.append(
            f"no seasonal naive {where}: it needs {season} steps before each prediction, and"
            f" {short:,} of {len(known):,} series begin with fewer (the shortest with"
            f" {int(known.min())})"
        )
    return notes


def _listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    *first, last = names
    return f"{', '.join(first)} or {last}" if first else last


def _forecast_notes(begun: list[Begun], total: int, season: int, counts: Counter[str]) -> list[str]:
    """Return notes on a forecast: the sample it is of, what it has read, why a rule is missing."""
    notes, series = [], len(begun)
    if series < total:
        notes.append(
            f"{series:,} of {total:,} series were forecast, which lie evenly over all of them"
        )
    if cut := sum(each.position > 0 for each in begun):
        notes.append(f"of {cut:,} series the last {HISTORY:,} steps of their history were read")

    for least, names in rules.needs(season).items():
        few = f"of {series:,} series have fewer than the {least} steps of history that it needs"
        short = sum(len(each.history) < least for each in begun)
        told = [rule for rule in names if not rule.endswith(rules.LOGS)]
        if short == series:
            notes.append(f"no {_listed(names)}: {short:,} {few}")
        elif short:
            notes.append(f"naive stands in for {_listed(told)}: {short:,} {few}")
            continue
        # That some values have no logarithm is no news.
        for rule in told if short < series else []:
            lacking = series - counts[rule]
            if lacking:
                said = f"naive stands in for {rule}" if lacking < series else f"no {rule}"
                beyond = f"for {lacking:,} of {series:,} series it is beyond all numbers"
                notes.append(f"{said}: {beyond}")
    return notes
