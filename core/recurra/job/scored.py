"""The steps of new series with how surprising each is, which are flagged, and how well that is."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recurra.attribution import blaming
from recurra.contracts.source import NO_LABEL
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate import elements as reading
from recurra.generate.abreast import at_a_time
from recurra.job import frame
from recurra.job.alarms import Alarm, calibrated
from recurra.job.answer_table import AnswerTable
from recurra.job.build import sized
from recurra.job.clock import Clock
from recurra.job.dealing import answered
from recurra.job.detection import UNKNOWN, Detection, Labels
from recurra.job.elements import ELEMENTS
from recurra.job.gathered import Accompanied, Row
from recurra.job.new import New
from recurra.job.predict import Predictor, fact_of, of_row
from recurra.job.surprise import Item, Scorer, Surprise
from recurra.model.device import arithmetic
from recurra.runs.written import Kind
from recurra.world import world

if TYPE_CHECKING:
    from recurra.job.run import Run

ALARM = 0.01
"""The share of ordinary steps that is flagged at most, where nobody says another."""
SERIES, STEPS = 512, 1 << 18
"""Series, and steps of them, that are held at a time."""
SCORE, ANOMALY, LABEL, CAME = "score", "anomaly", "label", "y"
"""What the columns are called beside those of any frame."""
LABELS = {"0": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1, NO_LABEL: UNKNOWN}
"""What a cell of a column of labels may be, in small letters."""


@dataclass(frozen=True)
class Asked:
    """How scores are asked for: what is flagged, and from which step on a series is scored.

    `alarm` is the share of ordinary steps that is flagged, unless there is a `threshold`; `history`
    steps of each series are read, and not scored; `labels` is a column of what is given.
    """

    alarm: float | None = None
    threshold: float | None = None
    history: int | None = None
    labels: str | None = None
    skip_bad: bool = False

    def __post_init__(self) -> None:
        if self.alarm is not None and self.threshold is not None:
            fact = "alarm says how a threshold is taken, and a threshold is given"
            raise InputError.of("RC080", fact, cure="give one of them")
        _number("alarm", self.alarm, 0.0, 1.0, "a share above 0 and below 1")
        _number("threshold", self.threshold, -math.inf, math.inf, "a finite number")
        if self.history is not None:
            arguments.whole("history", self.history, 1)
        if self.labels is not None:
            arguments.name("labels", self.labels)


@dataclass(frozen=True)
class Scores:
    """Scores of the steps of new series: a `frame`, by its columns, and what goes with it.

    `calibration` has the `threshold`, of several columns a list, the `alarm`, the `split` and how
    many `scores` of it there were; `figures` those of labels, where these are given; `notes` say
    what has no score.
    """

    frame: dict[str, list[Any]]
    calibration: dict[str, Any]
    figures: dict[str, Any] | None
    notes: list[str]

    @property
    def threshold(self) -> Any:
        """The score above which a step is flagged; of several columns a list."""
        return self.calibration["threshold"]


@dataclass
class Counted:
    """How many numbers, or symbols, have a score, and how many of them are flagged.

    Of each series `history` steps are read before the first is scored: some may have no more.
    """

    history: int
    scored: int = 0
    flagged: int = 0
    series: int = 0
    too_short: int = 0

    def notes(self) -> list[str]:
        """Return what is to be said of series without any score."""
        if not self.too_short:
            return []
        before = f"the first {self.history:,} steps of each are read before one is scored"
        fact = f"{self.too_short:,} of {self.series:,} series have no score, for {before}"
        return [f"{fact}; history says how many these are"]


@dataclass(frozen=True)
class Scoring:
    """New series whose steps are scored as they are read.

    Counts, and figures of labels, are whole once all rows of the table have been read.
    """

    table: AnswerTable
    alarm: Alarm
    unit: str
    counted: Counted
    detection: Detection | None

    def scores(self) -> Scores:
        """Read all."""
        columns = self.table.columns()
        figures = None if self.detection is None else self.detection.figures()
        return Scores(columns, self.alarm.record(), figures, self.counted.notes())


def scoring_of(
    run: Run,
    rows: Iterable[Any] | None,
    file: str | Path | None,
    data: Any,
    asked: Asked,
    own: Any = None,
) -> Scoring:
    """Return how new series are scored, and the threshold, for which `own` data may be given.

    Raises `InputError` (RC041, RC042, RC044, RC080).
    """
    target, by_name = run.resolved.target, run.resolved.parts["target"].entry.component.name
    if target.asks != "input" or not target.generates:
        fact = f"target {by_name!r} foresees no step of a series from the steps before"
        cure = "a run whose target is next or horizon does"
        raise InputError.of("RC080", fact, key="score", cure=cure)
    numbers = ELEMENTS[run.vocabulary.yields].forecast
    if asked.labels is not None and (rows is not None or not numbers):
        fact = "labels is a column of a file, or of data, of numbers"
        raise InputError.of("RC080", fact, key="labels", cure="leave it out")
    new = New.of(run, rows, file, data, asked.labels)
    predictor = replace(run.predictor(stamped=rows is None), skip_bad=asked.skip_bad)
    scorer = Scorer(run.network.eval(), run.vocabulary, run.outlook, run.covariates)
    history = asked.history or 1
    if scorer.chain_by_series:
        history = asked.history or max(2, run.task.sequence.length or 0)
        if history < 2:
            fact = "this run scales each series by its first steps, and one step has no scale"
            raise InputError.of("RC080", fact, key="history", cure="give 2 or more")
    with _computing(run):
        alarm = world().alone(lambda: _alarm(run, scorer, asked, history, own))
    detection = Detection() if asked.labels is not None else None
    counted = Counted(history)
    told = _Told(run, predictor, scorer, new, alarm, detection, counted, history)
    return Scoring(told.table(), alarm, scorer.unit, counted, detection)


def _alarm(run: Run, scorer: Scorer, asked: Asked, history: int, own: Any) -> Alarm:
    """Return the threshold that is given, or that of the run's own data."""
    if asked.threshold is not None:
        return Alarm(np.full(scorer.width, float(asked.threshold)))
    resolved = run.resolved if own is None else run.resolved.giving(own)
    try:
        held = run.data(resolved)
    except InputError as error:
        cure = "; or give a threshold, for which no data is needed"
        problems = [replace(each, cure=(each.cure + cure).strip("; ")) for each in error.problems]
        raise InputError(problems) from error
    return calibrated(scorer, held, ALARM if asked.alarm is None else asked.alarm, history)


@contextmanager
def _computing(run: Run) -> Iterator[None]:
    """Compute as the run does, and name who is at fault."""
    with blaming(run.resolved), arithmetic(run.task.device), sized(run.resolved, run.network):
        yield


@dataclass(frozen=True)
class _Told:
    """What is told of new series, step by step."""

    run: Run
    predictor: Predictor
    scorer: Scorer
    new: New
    alarm: Alarm
    detection: Detection | None
    counted: Counted
    history: int

    def table(self) -> AnswerTable:
        """Return a row for each step of each series, or column of one."""
        cell: Kind = self.scorer.cell
        kinds: dict[str, Kind] = {**frame.KEYS, CAME: cell, self.model: cell}
        kinds |= {SCORE: "number", ANOMALY: "flag"}
        if self.detection is not None:
            kinds[LABEL] = "flag"
        if self.predictor.skip_bad:
            kinds["error"] = "text"
        return AnswerTable(kinds, self._rows(), self.predictor.clock.moment)

    @property
    def model(self) -> str:
        """The column of what was expected."""
        name = frame.model_column(self.run.task.name)
        return "model" if name in (SCORE, ANOMALY, LABEL) else name

    def _rows(self) -> Iterator[dict[str, Any]]:
        features = self.new.features()
        batches = at_a_time(self.new.rows(), _steps_of, SERIES, STEPS)

        def scored(some: list[Row]) -> list[tuple[Item | None, Surprise | None, str]]:
            with _computing(self.run):
                return self._scored(some)

        for some, said in answered(batches, scored):
            for row, (item, surprise, error) in zip(some, said, strict=True):
                if item is None or surprise is None:
                    yield {"unique_id": row.name, "error": error}
                else:
                    yield from self._steps(row, item, surprise, features)

    def _scored(self, rows: Sequence[Row]) -> list[tuple[Item | None, Surprise | None, str]]:
        """Return the series that rows hold, and what is said of them, or why nothing is.

        Raises `InputError` (RC042, RC043, RC080) that names the row, unless bad ones are skipped.
        """
        items: list[Item | None] = []
        errors: list[str] = []
        for row in rows:
            try:
                item = self._item(row)
                items.append(item)
                errors.append("")
            except InputError as error:
                if not self.predictor.skip_bad:
                    raise of_row(error, row.name) from error.__cause__
                items.append(None)
                errors.append(fact_of(error.problems[0]))
        given = iter(self.scorer.surprises(item for item in items if item is not None))
        return [
            (None, None, error)
            if item is None
            else (item._replace(known=None, beside=None), next(given), error)
            for item, error in zip(items, errors, strict=True)
        ]

    def _item(self, row: Row) -> Item:
        """Return the series of a row, which can be read. Raises `InputError` (RC042, RC080)."""
        sequence = row.elements
        if isinstance(sequence, InputError):
            raise sequence
        beside = self.predictor.beside(sequence, row.time)
        if isinstance(sequence, Accompanied):
            sequence = sequence.values
        values = reading.encoded(self.scorer.vocabulary, sequence)
        known = values[: self.history] if self.scorer.chain_by_series else None
        item = Item(values, self.history, known, beside)
        self.scorer.check(item)
        return item

    def _steps(
        self, row: Row, item: Item, surprise: Surprise, features: Sequence[str]
    ) -> Iterator[dict[str, Any]]:
        """Give the rows of one series, column by column."""
        count, width = surprise.score.shape
        clock = Clock(self.predictor.timeline, [row.time] if row.time else [])
        places = clock.labels(0, range(count))
        labels = self._labels(row, count)
        flags = surprise.score > self.alarm.thresholds
        self.counted.scored += int((~np.isnan(surprise.score)).sum())
        self.counted.flagged += int(flags.sum())
        self.counted.series += 1
        self.counted.too_short += count <= self.history
        if self.detection is not None and labels is not None:
            margins = surprise.score - self.alarm.thresholds
            known = np.where(np.isnan(margins), -np.inf, margins).max(axis=1, initial=-np.inf)
            self.detection.add(np.where(np.isneginf(known), np.nan, known), labels)

        came = item.values if item.values.ndim > 1 else item.values[:, None]
        for column in range(width):
            name = frame.unique_id(row.name, features, column) if width > 1 else row.name
            shown = [self.scorer.shown(part[:, column]) for part in (came, surprise.expected)]
            scores = surprise.score[:, column].tolist()
            for at, place in enumerate(places):
                scored = scores[at] == scores[at]
                told: dict[str, Any] = {
                    "unique_id": name,
                    "ds": place,
                    CAME: shown[0][at],
                    self.model: shown[1][at],
                    SCORE: scores[at] if scored else None,
                    ANOMALY: bool(flags[at, column]) if scored else None,
                }
                if labels is not None:
                    told[LABEL] = None if labels[at] == UNKNOWN else bool(labels[at])
                yield told

    def _labels(self, row: Row, count: int) -> Labels | None:
        """Return the labels of a series. Raises `InputError` (RC042) for what is none."""
        if self.detection is None:
            return None
        found = np.full(count, UNKNOWN, np.int8)
        for at, text in enumerate(row.tags):
            label = LABELS.get(text.strip().lower())
            if label is None:
                fact = f"row {row.name}: the label of step {at} is {text!r}"
                allowed = "0, 1, true, false, or nothing where nobody knows"
                raise InputError.of("RC042", fact, key="labels", allowed=allowed)
            found[at] = label
        return found


def _steps_of(row: Row) -> int:
    """Return how many steps a series has; of one that cannot be read there are none."""
    elements = row.elements.values if isinstance(row.elements, Accompanied) else row.elements
    return 0 if isinstance(elements, InputError) else len(elements)


def _number(name: str, value: Any, low: float, high: float, allowed: str) -> None:
    """Refuse what is no number between two others. Raises `InputError` (RC080)."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, Real) or not low < float(value) < high:
        fact = f"{name} cannot be {arguments.shown(value)}"
        raise InputError.of("RC080", fact, key=name, allowed=allowed)
