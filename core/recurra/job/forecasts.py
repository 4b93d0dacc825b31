"""Free-running forecasts of the series of a split, beside what the baselines say."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.metric import Metrics
from recurra.data.chain import in_training
from recurra.data.splits import SCORED, Split, SplitName, sampled
from recurra.errors import RunError
from recurra.generate.loop import numbers
from recurra.generate.session import Session
from recurra.model.network import Network
from recurra.train.baselines import forecasts
from recurra.train.metrics import Errors

if TYPE_CHECKING:
    from recurra.job.data import Data

FORECAST = 256
"""Series that are forecast; of more, a sample that lies evenly over all of them."""
HISTORY = 1 << 16
"""Steps that a forecast reads before it begins."""


Figures = dict[str, Any]


def forecast(
    data: Data, network: Network, name: SplitName, horizon: int, season: int, limit: int = FORECAST
) -> Figures | None:
    """Forecast what follows the history of each series, with nothing but the forecast itself fed
    back.

    Of more than `limit` series those are forecast that lie evenly over all.
    """
    errors, rules, told = Errors(data.scale), dict[str, Errors](), dict[str, int]()
    pairs, total = history_and_future(data, name, horizon, limit) if horizon else ([], 0)
    shown: Figures = {}
    for position, before, history, future in pairs:
        session = Session(network, data.vocabulary, position=position, known=before).feed(history)
        predicted = _free_running(session, future)
        errors.add(predicted, future)
        guesses = forecasts(history, len(future), season)
        for rule, guess in guesses.items():
            rules.setdefault(rule, Errors(data.scale)).add(guess, future)
            told[rule] = told.get(rule, 0) + 1
        rows = {"actual": future, "model": predicted, **guesses}
        shown = {rule: guess.tolist() for rule, guess in rows.items()}
    if not pairs:
        return None
    rules = {rule: sums for rule, sums in rules.items() if told[rule] == len(pairs)}
    columns = by_column(data, [column.metrics() for column in errors.columns], rules)
    return {
        "steps": horizon,
        "series": len(pairs),
        "of_series": total,
        "metrics": errors.metrics(),
        "baselines": {rule: sums.metrics() for rule, sums in rules.items()},
        **({"columns": columns} if columns else {}),
        "notes": [*left_out(data, name, total), *_forecast_notes(pairs, total, season, told)],
        "last_series": shown,
    }


class Begun(NamedTuple):
    """A series that is to be forecast: its `history` from a position on, by what it is scaled, and
    what comes then.
    """

    position: int
    known: NDArray[Any] | None
    history: NDArray[Any]
    future: NDArray[Any]


def by_column(data: Data, model: list[Metrics], rules: dict[str, Errors]) -> list[Figures]:
    """Return the figures of each of several columns in its own units, those of the baselines
    beside.
    """
    names = data.source.features() or [f"column {index}" for index in range(len(model))]
    return [
        {
            "name": name,
            "metrics": metrics,
            "baselines": {rule: errors.columns[index].metrics() for rule, errors in rules.items()},
        }
        # One alone is told as a whole.
        for index, (name, metrics) in enumerate(zip(names, model, strict=False))
    ]


def history_and_future(
    data: Data, name: SplitName, horizon: int, limit: int = FORECAST
) -> tuple[list[Begun], int]:
    """Return series of a split, each up to where a free-running forecast begins, and what it meets.

    A contiguous split is forecast from its first element; a whole series from `horizon` before its
    end; both not before enough is known of a series. Of more than `limit` series those are taken
    that lie evenly over all of them; how many there are comes second.
    """
    part, values = data.splits[name], data.store.values
    known_of = in_training(data.store, data.splits["train"])
    origins = np.where(
        part.low > part.begin, part.low, np.maximum(part.low + 1, part.high - horizon)
    )
    origins = np.maximum(origins, part.begin + data.lag + 1)
    stops = np.minimum(part.high, origins + horizon)
    able = np.flatnonzero(stops > origins)

    found = []
    for row in sampled(able, limit).tolist():
        begin, origin, stop = int(part.begin[row]), int(origins[row]), int(stops[row])
        first = max(begin, origin - HISTORY)
        known = known_of(int(data.store.sequence(np.array([begin]))[0])) if data.by_series else None
        found.append(
            Begun(
                first - begin,
                known,
                np.asarray(values[first:origin]),
                np.asarray(values[origin:stop]),
            )
        )
    return found, len(able)


def left_out(data: Data, name: SplitName, able: int) -> list[str]:
    """Return what is to be said of series that are too short to be forecast because of what is read
    of them.
    """
    part = data.splits[name]
    short = int((part.high > np.maximum(part.low, part.begin + 1)).sum()) - able
    if not data.lag or short <= 0:
        return []
    return [
        f"{short:,} series were not forecast: {data.lag + 1:,} steps of each must come before, for"
        " the differences"
    ]


def step_notes(
    data: Data, split: Split, season: int, baselines: Mapping[str, Metrics]
) -> list[str]:
    """Return what is to be said of the baselines one step ahead: bounds, and why one is missing."""
    said, train = [], data.splits["train"]
    if train.steps > SCORED:
        few = f"the first {SCORED:,} of {train.steps:,} steps of training alone"
        said.append(f"drift, and the scale of mase, learned from {few}")
    if season and "seasonal naive" not in baselines:
        scored = split.scored()
        known = (scored.first_targets - scored.begin)[scored.high > scored.first_targets]
        short = int((known < season).sum())
        said.append(
            f"no seasonal naive one step ahead: it needs {season} steps before each prediction, and"
            f" {short:,} of {len(known):,} series begin with fewer (the shortest with"
            f" {int(known.min())})"
        )
    return said


def _free_running(session: Session, future: NDArray[Any]) -> NDArray[np.float64]:
    """Return a forecast of the shape of what comes; from where it is not finite on, it is no
    number.
    """
    predicted = np.full(future.shape, np.nan)
    with suppress(RunError):
        for step, row in enumerate(numbers(session, len(future))):
            predicted[step] = row
    return predicted


def _forecast_notes(pairs: list[Begun], total: int, season: int, told: dict[str, int]) -> list[str]:
    """Return what is to be said of a forecast: the sample it is of, what it has read, and why a
    rule is missing.
    """
    said, count = [], len(pairs)
    if count < total:
        said.append(
            f"{count:,} of {total:,} series were forecast, which lie evenly over all of them"
        )
    if cut := sum(pair.position > 0 for pair in pairs):
        said.append(f"of {cut:,} series the last {HISTORY:,} steps of their history were read")
    needs = {"drift": 2, **({"seasonal naive": season} if season else {})}
    for rule, least in needs.items():
        if told.get(rule, 0) < count:
            short = count - told.get(rule, 0)
            said.append(
                f"no {rule}: it needs {least} steps of history, and {short:,} of {count:,} series"
                " have fewer"
            )
    return said
