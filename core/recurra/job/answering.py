"""What a run is asked of new sequences, and in which of three forms it answers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.errors import InputError
from recurra.generate import arguments
from recurra.job.answer_table import AnswerTable, as_written, by_step
from recurra.job.build import sized
from recurra.job.intervals import check_steps
from recurra.job.new import New
from recurra.job.predict import Predictor
from recurra.model.device import arithmetic
from recurra.runs.records import damaged

if TYPE_CHECKING:
    from recurra.job.run import Run


@dataclass(frozen=True)
class Answering:
    """New sequences, and what answers them."""

    predictor: Predictor
    new: New

    @classmethod
    def of(
        cls,
        run: Run,
        rows: Iterable[Any] | None,
        file: str | Path | None,
        data: Any,
        horizon: int | None,
        skip_bad: bool,
        levels: Any = None,
    ) -> Answering:
        """Return what is asked of a run: rows, those of a file, or those of data at hand.

        Raises `InputError`.
        """
        predictor = predictor_of(run, horizon, skip_bad, stamped=rows is None, levels=levels)
        return cls(predictor, New.of(run, rows, file, data))

    def each(self) -> Iterator[dict[str, Any]]:
        """Give the answer to each sequence."""
        return self.predictor.predict(self.new.rows())

    def frame(self) -> AnswerTable:
        """Return a row for each step of each series, the frame that other tools read."""
        return by_step(self.predictor, self.new, self.new.run.task.name)

    def table(self) -> AnswerTable:
        """Return a frame of series whose steps are named, and else a row for each sequence."""
        return as_written(self.predictor, self.new)


def predictor_of(
    run: Run, horizon: int | None, skip_bad: bool, stamped: bool, levels: Any = None
) -> Predictor:
    """Return what answers sequences, which may be `stamped` with times; with intervals at `levels`.

    Raises `InputError` (RC080).
    """
    target = run.resolved.target
    if horizon is not None and not target.generates:
        fact = "horizon is for what goes on: this run answers each sequence"
        raise InputError.of("RC080", fact)

    steps = run.elements.horizon(run.task.generation)
    if horizon is not None:
        steps = arguments.whole("horizon", horizon)
        run.resolved.check_ahead("horizon", steps)
    intervals = run.intervals(levels)
    intervals = check_steps(intervals, steps, "horizon", levels is not None)

    @contextmanager
    def computing() -> Iterator[None]:
        with arithmetic(run.task.device), sized(run.resolved, run.network):
            yield

    return Predictor(
        network=run.network.eval(),
        vocabulary=run.vocabulary,
        answers=run.answers,
        target=target,
        horizon=steps,
        limit=_longest_answer(run),
        skip_bad=skip_bad,
        outlook=run.outlook,
        covariates=run.covariates,
        within=computing,
        timeline=run.timeline() if stamped else None,
        intervals=intervals,
    )


def _longest_answer(run: Run) -> int:
    """Return after how many symbols an answer is given up, where answers follow sequences.

    Raises `RunError` (RC052) where the run does not say how long those of training were.
    """
    target = run.resolved.target
    if target.scope != "answer":
        return 0
    longest = run.folder.records.data().longest_answer
    if longest is None:
        raise damaged(run.path / "data.json", "how long its answers may be is gone")
    return target.at_most(longest)
