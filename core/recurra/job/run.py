"""A trained run: evaluate it, generate from it, open a session over it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import NDArray

from recurra.attribution import blaming
from recurra.contracts.timeline import Timeline
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import Answers
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.known import Known
from recurra.data.outlook import Outlook, outlook_of
from recurra.data.splits import PARTS, SPLITS, SplitName
from recurra.drawing import Picture
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate.elements import ELEMENTS
from recurra.generate.foretold import Intervals, Spread
from recurra.generate.session import Session
from recurra.job import generation
from recurra.job import intervals as spreads
from recurra.job.answer_table import AnswerTable
from recurra.job.answering import Answering, predictor_of
from recurra.job.build import sized
from recurra.job.changes import moved
from recurra.job.data import Data
from recurra.job.figures import Figures
from recurra.job.generation import Given
from recurra.job.held import held_data, with_all
from recurra.job.new import listed
from recurra.job.parts import Part
from recurra.job.predict import Predictor
from recurra.job.reopen import same_data, same_vocabulary
from recurra.job.results import figures
from recurra.job.scored import Asked, Scores, scoring_of
from recurra.job.series import check_forecasts
from recurra.job.tracing import Trace, trace_of
from recurra.job.tracking import Trackers, followed
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.reporting.saving import drawn
from recurra.reporting.view import View
from recurra.resolved import Resolved
from recurra.runs.folder import RunFolder
from recurra.runs.records import reading
from recurra.world import world

if TYPE_CHECKING:
    from recurra.job.backtest import Backtest

T = TypeVar("T")


class Run:
    """A trained run: evaluate it, generate from it, or open a session over it."""

    def __init__(
        self,
        folder: RunFolder,
        resolved: Resolved,
        vocabulary: Vocabulary[Any],
        answers: Vocabulary[Any],
        network: Network,
        scheme: int,
        covariates: CovariateVocabulary | None = None,
    ) -> None:
        self.folder, self.path = folder, folder.path
        self.resolved, self.task = resolved, resolved.task
        self.vocabulary = vocabulary
        # What differs between symbols and numbers.
        self.elements = ELEMENTS[vocabulary.yields]
        # What is answered: the vocabulary again, or the classes of a column.
        self.answers = answers
        self.network = network
        # The scheme of random numbers.
        self.scheme = scheme
        # What is read beside the elements.
        self.covariates = covariates
        # What result.json holds, `recurra.job.figures.Result`, once training has ended here.
        self.result: dict[str, Any] = {}
        # What is told of it while it is trained.
        self.trackers = Trackers()
        # Updates that were made before this process took the run up.
        self.steps_before = 0

    def __repr__(self) -> str:
        weights = sum(weight.numel() for weight in self.network.parameters())
        return f"<Run {self.path}: {self.task.name}, {weights:,} parameters>"

    def __fspath__(self) -> str:
        """Return the path of its folder: a run stands wherever that of one is asked for."""
        return str(self.path)

    def follow(self) -> None:
        """Let the trackers follow it from where it stands."""
        if self.trackers.tellers:
            weights = sum(weight.numel() for weight in self.network.parameters())
            seen = followed(self.folder, self.resolved.tables(), weights)
            self.trackers.begin(seen, self.folder, self.steps_before)

    def metrics(self) -> list[dict[str, Any]]:
        """Return every record of training, validation and evaluation."""
        return self.folder.metrics()

    def evaluate(
        self,
        split: SplitName | None = None,
        overrides: Iterable[str] | Mapping[str, Any] = (),
        *,
        data: Any = None,
        levels: Any = None,
    ) -> Figures:
        """Return metrics, baselines and verdict of a split, or of "all" of the data.

        By default it is test, else validation, else train. An opened run whose data was given in
        Python is to be given it again, as `data`. `overrides` of the source name other data, which
        is read with what the run has learned, and measured as a whole unless a split is named; so
        is other `data` where `split` is "all". A forecast has intervals at `levels`, as in
        `forecast`. Raises `InputError` (RC041) if the split is empty,
        (RC044) if the data is not what the run was made from and no override says so, and (RC080)
        for overrides under which the figures would mean something else.
        """
        if split is not None:
            arguments.one_of("split", split, PARTS)
        asked = moved(self.folder, self.resolved, arguments.overrides(overrides))
        resolved = asked if data is None else asked.giving(data)
        intervals = self.intervals(levels)
        other = asked is not self.resolved or (data is not None and split == "all")
        with blaming(resolved), arithmetic(resolved.task.device):
            loaded = world().in_turn(lambda: self._measured(resolved, split, other))
            name = split or ("all" if loaded.beside else loaded.held_out())
            if not loaded.splits[name].steps:
                fact = f"the {name} split of this task is empty"
                raise InputError.of("RC041", fact, cure=f"use {loaded.held_out()}")

            with sized(resolved, self.network):
                return figures(self.task, loaded, self.network, name, intervals)

    def _measured(self, resolved: Resolved, split: SplitName | None, other: bool) -> Data:
        """Return the data of the run, or `other` data where it may be."""
        try:
            own = same_data(self.folder, resolved)
        except InputError:
            if not other:
                raise
            known = Known(
                str(self.path),
                self.vocabulary,
                self._known_answers(),
                covariates=self.covariates,
            )
            return held_data(self.folder, self.resolved, resolved, known, split or "all")
        same_vocabulary(self.folder, own, self.vocabulary)
        return with_all(own)

    def _known_answers(self) -> Answers | None:
        """Return what stands in a column of its own, if the answers do."""
        return self.answers if isinstance(self.answers, Answers) else None

    def split(self, name: SplitName, *, data: Any = None) -> Part:
        """Return the sequences of a split, in the order of the data.

        `data` is as in `evaluate`. Raises `InputError` (RC044, RC080).
        """
        arguments.one_of("split", name, SPLITS)
        with blaming(self.resolved), arithmetic(self.task.device):
            loaded = self._data(data)
        part = loaded.splits[name]
        return Part(name, part, loaded.store, loaded.vocabulary, loaded.answers)

    def hidden(self, sequence: Any) -> list[NDArray[Any]]:
        """Return what each layer gives at each step of a sequence, `[T, H]`, the first layer first.

        The sequence is as one of `predict`, and begins with a fresh state. A layer that reads both
        ways gives `[T, 2H]`. Raises `InputError` (RC042, RC043, RC080).
        """
        with blaming(self.resolved):
            return self.predictor().hidden(listed(sequence, self.covariates))

    def trace(
        self, sequence: Any, *, begin: int = 0, steps: int | None = None, lags: int = 256
    ) -> Trace:
        """Return what goes on inside while a sequence is read, as arrays: states, gates, gradients.

        The sequence is as one of `predict`, and begins with a fresh state. Of a long one `steps`
        are kept from the step `begin` on; those before are read. `layers`, the lowest first, have
        the `output`, the `states` and the `gates` at each step, `[T, ...]`, by the names that the
        cell's code has for them, and the `gradients` `[A, L]` at `origins` `[A]` by `lags` `[L]`,
        up to so many steps back; with 0 none is taken. See `recurra.job.tracing.Trace`. Raises
        `InputError` (RC042, RC043, RC080).
        """
        with blaming(self.resolved):
            return trace_of(self, sequence, begin, steps, lags)

    def _data(self, given: Any = None) -> Data:
        """Return the data that the run was made from. Raises `InputError` (RC044) if it is not."""
        return self.data(self.resolved if given is None else self.resolved.giving(given))

    def data(self, resolved: Resolved) -> Data:
        """Return the data that the run was made from, as its task reads it where it lies now.

        Raises `InputError` (RC044) if it is not.
        """
        loaded = same_data(self.folder, resolved)
        same_vocabulary(self.folder, loaded, self.vocabulary)
        return loaded

    def plot(self, name: str, output: Any = None, *, layer: int | None = None) -> Picture:
        """Return a picture of this run by its name, "curves" say, and write it where one is named.

        Of `states` and `gates` a `layer`, counted from 1, is drawn alone. It has `svg()`, `csv()`
        and `html()`, and shows itself in a notebook. How an `output` is written its name tells:
        `.svg`, `.png` (needs the extra `plot`) or `.csv`. Raises `InputError` (RC080) for a name
        that there is not, or that does not apply to this run, with those that do, and `RunError`
        (RC053).
        """
        layer = None if layer is None else arguments.whole("layer", layer, 1)
        return drawn(View(self.folder, lambda: self, layer), name, output)

    def session(
        self,
        seed: int | None = None,
        streams: int = 1,
        position: int = 0,
        static_covariates: Mapping[str, Any] | None = None,
        time: Any = None,
    ) -> Session:
        """Return a session that has read nothing yet.

        The first element that it is fed stands at `position`; `static_covariates` holds those of
        its series by their names, where the run reads any, and `time` is its stamp, where the run
        reads features of stamps (`source.calendar`): a text or a number as the data writes it, or a
        moment. Raises `InputError` (RC080) for arguments that are wrong or have no use: for numbers
        a seed and several streams, for an encoder without a clock a position.
        """
        generation.check_clock(self, position)
        companion = generation.companion(self, static_covariates, time)
        return generation.session(self, seed, streams, companion, position)

    @cached_property
    def outlook(self) -> Outlook | None:
        """What the answers of this run are, if it says several elements at once."""
        return outlook_of(self.resolved.target, self.vocabulary, self.task.sequence.season)

    @cached_property
    def spread(self) -> Spread | None:
        """What gives the quantiles of forecasts, if anything does."""
        return spreads.spread_of(self)

    def intervals(self, levels: Any = None) -> Intervals | None:
        """Return the intervals at levels, by default at those that this run can give, if any.

        Raises `InputError` (RC080).
        """
        return spreads.of_run(self, levels)

    def told_levels(self, levels: Any, length: int | None = None) -> list[float] | None:
        """Return the levels of the intervals of a forecast of a length, if it has any.

        By default they are those of the task, or that this run can give. Raises `InputError`.
        """
        steps = self.task.generation.length if length is None else length
        intervals = self.intervals(levels)
        intervals = spreads.check_steps(intervals, steps, "length", levels is not None)
        return None if intervals is None else list(intervals.levels)

    def generate(
        self,
        prompt: Any = None,
        length: int | None = None,
        *,
        seed: int | None = None,
        streams: int = 1,
        position: int | None = None,
        warm: bool | None = None,
        covariates: Mapping[str, Any] | None = None,
        static_covariates: Mapping[str, Any] | None = None,
        series: str | int | None = None,
        data: Any = None,
        time: Any = None,
        levels: Any = None,
        **sampling: Any,
    ) -> Iterator[Any]:
        """Generate, step by step; what is left out is as the task's `[generation]` table says.

        Gives text as it becomes certain for symbols (a list of texts where `streams` is above 1),
        and the next numbers in the data's units for series. `sampling` takes temperature, top_k,
        top_p, min_p, repetition_penalty and stop. The prompt itself, which begins at `position` of
        its sequence, is not given again. With `warm` the end of the training text, or of the
        series, is read before it. `covariates` stand beside a prompt of numbers, as in a session,
        those of the future also of the steps to come; `time` is the stamp of its first step, as in
        a session. A forecast goes on from the last series, or
        from the one that `series` names, or counts from 1: its end is read of the data of the run,
        which is to be given again as `data` where it was given in Python. With `levels`, as in
        `forecast`, each step of it is a dict: what is `predicted`, and the bounds of intervals
        around it, `lo-80` and `hi-80`. Raises `InputError`
        (RC040, RC043, RC044, RC080) before the first step.
        """
        given = Given(prompt, position, warm, covariates, static_covariates, series, data, time)
        steps = generation.steps(self, given, length, sampling, seed, streams, levels)
        return self._guarded(steps)

    def _guarded(self, steps: Iterator[T]) -> Iterator[T]:
        """Give the steps; what goes wrong in one names who is at fault."""
        with blaming(self.resolved):
            yield from steps

    def predict(
        self,
        rows: Iterable[Any] | None = None,
        *,
        file: str | Path | None = None,
        data: Any = None,
        horizon: int | None = None,
        skip_bad: bool = False,
        levels: Any = None,
    ) -> Iterator[dict[str, Any]]:
        """Give the answer to each of some sequences, in order.

        They may stand in a `file` of the form of the run's data, or be `data` that `[source]` reads
        as `recurra.run` does. A sequence is a text, a list of tokens or of numbers, or of lists of
        numbers; with covariates a dict of `values`, `covariates`, a list under the name of each,
        and `static_covariates`, with features of stamps also of the `time` of its first step. An
        answer names its sequence, `row`, and says what is `predicted`: a class, with the chance of
        each as `p:<class>`, or what comes in the next `horizon` steps; of a text also its `nats` a
        symbol. A forecast has intervals at `levels`, as in `forecast`. Raises `InputError` (RC043,
        RC080) that names the row; with `skip_bad` that row has an `error` instead. Needs nothing
        but the folder of the run.
        """
        asked = Answering.of(self, rows, file, data, horizon, skip_bad, levels)
        return self._guarded(asked.each())

    def forecast(
        self,
        rows: Iterable[Any] | None = None,
        *,
        file: str | Path | None = None,
        data: Any = None,
        horizon: int | None = None,
        skip_bad: bool = False,
        levels: Any = None,
    ) -> dict[str, list[Any]]:
        """Return what comes after each of some series, in the frame that other tools read.

        All is as in `predict`; the columns, of which a DataFrame is made, are `unique_id`, what a
        series is called (of several columns each is one, as `series/column`), `ds`, which step of
        it that is, by its time stamp, else its place from 0, and one named after the task. Behind
        it stand the bounds of intervals at `levels`, as `<task>-lo-80` and `<task>-hi-80`, each of
        which is to hold so many per cent of what comes: by default 80 and 95, or those of the task,
        where its forecasts have a spread. Raises `InputError` (RC080) for a run that forecasts no
        numbers, and for levels where nothing tells intervals.
        """
        check_forecasts(self.resolved, "a frame")
        asked = Answering.of(self, rows, file, data, horizon, skip_bad, levels)
        with blaming(self.resolved):
            return asked.frame().columns()

    def table(
        self,
        rows: Iterable[Any] | None = None,
        *,
        file: str | Path | None = None,
        data: Any = None,
        horizon: int | None = None,
        skip_bad: bool = False,
        levels: Any = None,
    ) -> AnswerTable:
        """Return the answers as `recurra predict` writes them: of groups of numbers a frame."""
        return Answering.of(self, rows, file, data, horizon, skip_bad, levels).table()

    def bounds(self, made: Any, intervals: Intervals | None) -> dict[str, list[Any]]:
        """Return the bounds of the intervals around what the task's `[generation]` table gave."""
        given = Given(self.task.generation.prompt, warm=self.task.generation.warm)
        if not isinstance(made, list):
            return {}
        intervals = spreads.check_steps(intervals, len(made), "length", False)
        with blaming(self.resolved):
            return generation.bounds_of(self, given, made, intervals)

    def score(
        self,
        rows: Iterable[Any] | None = None,
        *,
        file: str | Path | None = None,
        data: Any = None,
        alarm: float | None = None,
        threshold: float | None = None,
        history: int | None = None,
        labels: str | None = None,
        skip_bad: bool = False,
        own: Any = None,
    ) -> Scores:
        """Return how surprising each step of some series is to a run that has read those before.

        Series are given as in `predict`. `frame` has a row for each step: what came, `y`, what was
        expected, under the name of the task, the `score`, in nats or as an error in scaled units,
        and whether it is an `anomaly`: above a threshold that at most a share `alarm` (0.01) of
        ordinary steps exceeds, by the validation split of the run; or above `threshold`. The first
        `history` steps are read, and not scored. `labels` names a column of a file or of data that
        says 0 or 1: `figures` then tell precision, recall and more. `own` is the data of the run,
        where that was given in Python. Raises `InputError` (RC041, RC042, RC044, RC080).
        """
        asked = Asked(alarm, threshold, history, labels, skip_bad)
        with blaming(self.resolved):
            return scoring_of(self, rows, file, data, asked, own).scores()

    def predictor(
        self, horizon: int | None = None, skip_bad: bool = False, stamped: bool = False
    ) -> Predictor:
        """Return what answers sequences, which may be `stamped` with times.

        Raises `InputError` (RC080).
        """
        return predictor_of(self, horizon, skip_bad, stamped)

    @contextmanager
    def computing(self) -> Iterator[None]:
        """Compute with the threads and the determinism of the run, and say whose a fault is."""
        with blaming(self.resolved), arithmetic(self.task.device):
            with sized(self.resolved, self.network):
                yield

    def timeline(self) -> Timeline | None:
        """Return how time stamps go on in the data of the run, where it has such.

        Raises `RunError` (RC052) if the run says what is no timeline.
        """
        record = self.folder.records.data().timeline
        with reading(self.path / "data.json"):
            return None if record is None else Timeline.of(record)

    def backtest(
        self,
        overrides: Iterable[str] | Mapping[str, Any] = (),
        *,
        folds: int = 3,
        step: int | None = None,
        horizon: int | None = None,
        data: Any = None,
        levels: Any = None,
        backtests: str | Path = "backtests",
        observer: Any = None,
    ) -> Backtest:
        """Forecast what came after several cutoffs of each series from what preceded them alone.

        The cutoffs lie after what the run was trained on, or in other data that overrides of the
        source or `data` name. All else is as in `recurra.backtest`.
        """
        # It is built over runs.
        from recurra.job.rolling import backtest_of_run
        from recurra.job.train import watching

        arguments.writable("backtests", backtests, self.task.name)
        shape = folds, step, horizon
        place, watched = Path(backtests), watching(observer)
        return backtest_of_run(self, overrides, data, shape, levels, place, watched)

    def prompt(self) -> str:
        """Return the text that generation goes on from by default; nothing for numbers."""
        return generation.shown(self)

    def generated(self, limit: int | None = None) -> Any:
        """Return what the task's `[generation]` table asks for, whole.

        That is prompt and text, or a list of numbers; of no more than `limit` steps.
        """
        return generation.whole(self, limit)
