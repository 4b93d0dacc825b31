"""Answers to new sequences as a table: a row a sequence, or of forecasts of series a row a step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from recurra.errors import InputError
from recurra.job import frame
from recurra.job.new import COUNTED, New
from recurra.job.predict import Predictor, Said
from recurra.job.series import forecasts
from recurra.runs import written
from recurra.runs.written import Kind, Moments


@dataclass(frozen=True)
class AnswerTable:
    """What the columns are called and what they are, and the rows, which come one by one.

    `moments` makes a moment of a time.
    """

    kinds: dict[str, Kind]
    rows: Iterator[dict[str, Any]]
    moments: Moments = written.as_it_is

    def columns(self) -> dict[str, list[Any]]:
        """Read all rows; return the columns by their names, as a DataFrame is made of them."""
        columns: dict[str, list[Any]] = {name: [] for name in self.kinds}
        for row in self.rows:
            for name, cells in columns.items():
                cells.append(row.get(name))
        return written.with_moments(columns, self.kinds, self.moments)


def as_written(predictor: Predictor, new: New) -> AnswerTable:
    """Return a frame of series whose steps are named, and else a row for each sequence."""
    if new.named_by_steps and forecasts(new.run.resolved):
        return by_step(predictor, new, new.run.task.name)
    return by_sequence(predictor, new)


def by_sequence(predictor: Predictor, new: New) -> AnswerTable:
    """Return a row for each sequence; the first column, called so, says which."""
    kinds = predictor.kinds()
    first = COUNTED if new.named in kinds else new.named
    answers = ({first: answer.pop("row"), **answer} for answer in predictor.predict(new.rows()))
    return AnswerTable({first: "text", **kinds}, answers)


def by_step(predictor: Predictor, new: New, model: str) -> AnswerTable:
    """Return a row for each step that is forecast of each series, or column of one, in a frame.

    Raises `InputError` (RC080) where no step is.
    """
    if not predictor.horizon:
        fact = "no step is to be forecast: generation.length of this run is 0"
        raise InputError.of("RC080", fact, cure="give a horizon of 1 step or more")
    column = frame.model_column(model)
    kinds: dict[str, Kind] = {**frame.KEYS, column: "number"}
    kinds |= dict.fromkeys(frame.bound_columns(column, predictor.bounds), "number")
    if predictor.skip_bad:
        kinds["error"] = "text"

    def steps() -> Iterator[dict[str, Any]]:
        features = new.features()
        for said in predictor.said(new.rows()):
            yield from _steps(said, predictor, column, features)

    return AnswerTable(kinds, steps(), predictor.clock.moment)


def _steps(
    said: Said, predictor: Predictor, column: str, features: Sequence[str]
) -> Iterator[dict[str, Any]]:
    """Give the rows of one series, or the one that says why there is none."""
    name = said.row.name
    if said.answer is None:
        yield {"unique_id": name, "error": said.error}
        return

    steps, places = said.answer.predicted, predictor.labels(said)
    several = bool(steps) and isinstance(steps[0], list)
    told = {column: steps}
    bounds = said.answer.bounds
    told |= zip(frame.bound_columns(column, list(bounds)), bounds.values(), strict=True)
    for index in range(len(steps[0]) if several else 1):
        unique_id = frame.unique_id(name, features, index) if several else name
        for row, place in enumerate(places[: len(steps)]):
            cells = {key: of[row][index] if several else of[row] for key, of in told.items()}
            yield {"unique_id": unique_id, "ds": place, **cells}
