"""The stage of training: its events are written into the folder and told to an observer.

Then comes the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from recurra.contracts.metric import Metrics
from recurra.data.marks import Marked
from recurra.errors import Interrupted, RunError
from recurra.generate import arguments
from recurra.generate.foretold import Intervals
from recurra.job import sharing
from recurra.job.build import build_trainer
from recurra.job.changes import Changes
from recurra.job.covariates import short_ahead
from recurra.job.data import Data
from recurra.job.describe import gone_on
from recurra.job.figures import Figures, Generated
from recurra.job.reopen import fill
from recurra.job.results import broken_bands, figures
from recurra.job.run import Run
from recurra.randomness import seeded
from recurra.runs.folder import RunFolder
from recurra.runs.records import reading
from recurra.train import state
from recurra.train.evaluate import complete, evaluate
from recurra.train.events import (
    Ended,
    Ending,
    Event,
    Following,
    Listener,
    Observer,
    Progress,
    Releasing,
    Saved,
    Updated,
    Validated,
)
from recurra.train.interrupt import Request, listening
from recurra.train.loop import EarlyStopping, Trainer
from recurra.train.metrics import free_figures, known
from recurra.train.spread import levels_of
from recurra.world import world

SAMPLE = 200
"""Elements generated at each validation, at most."""


class Silent:
    """Watches a run and says nothing."""

    def started(self, total: int, done: int) -> None:
        """Training begins."""

    def stepped(self, progress: Progress) -> None:
        """An update was made."""

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """The validation split was looked at."""

    def finished(self, progress: Progress, why: str) -> None:
        """Training is over."""


def watching(observer: Observer | None) -> Observer:
    """Return who watches a run. Raises `InputError` (RC080) for what cannot."""
    if observer is None:
        return Silent()
    arguments.observer(observer, [name for name in vars(Silent) if not name.startswith("_")])
    return observer


def tell(observer: Observer, lines: Sequence[str]) -> None:
    """Say something before training begins, to who takes it, in the first process alone."""
    if lines and world().first and isinstance(observer, Listener):
        observer.told(lines)


def enter(observer: Observer, phase: str, step: int) -> None:
    """Say what a run is about from now on, to who takes it, in the first process alone."""
    if world().first and isinstance(observer, Following):
        observer.entered(phase, step)


def train(
    run: Run,
    data: Data,
    observer: Observer,
    changes: Changes | None = None,
    until: int | None = None,
    judged: bool = True,
) -> Run:
    """Train, then evaluate and generate with the best weights.

    Whoever calls this holds the folder (`RunFolder.held`). A run that goes on does so from its last
    checkpoint, with what changes in its task. One that is not `judged` has no result: nothing is
    measured but validation, until it goes on.
    """
    with run.folder.telling(), noted(run.folder), run.trackers.following():
        return _to_the_end(run, data, observer, changes, until, judged)


@contextmanager
def noted(folder: RunFolder) -> Iterator[None]:
    """Keep in the folder why a run has failed, until it goes on.

    An interruption is no failure, and neither is what is refused: wrong input, a damaged file.
    """
    first = world().first
    try:
        yield
    except RunError as error:
        damaged = any(problem.code == "RC052" for problem in error.problems)
        if first and not damaged:
            folder.note_failure(error)
        raise


def _to_the_end(
    run: Run,
    data: Data,
    observer: Observer,
    changes: Changes | None,
    until: int | None,
    judged: bool,
) -> Run:
    """Train and tell what came of it, as `train` does."""
    folder, resolved, network = run.folder, run.resolved, run.network
    start, here = time.perf_counter(), world()
    trainer, why = _trained(run, data, observer, changes, until)
    with _resumable(folder):
        if trainer.passes.joint is None and isinstance(trainer.stop_asked, Request):
            # It came in the last step, which nothing follows but what may take long.
            trainer.stop_asked.heed()
    if not judged:
        if here.first:
            folder.note_unjudged(why)
        return run

    best = here.alone(lambda: folder.checkpoints.load("best"))
    network.load_state_dict(best.tensors["weights"])
    step = trainer.progress.step
    with _resumable(folder):
        if data.target.conformal != "none":
            enter(observer, "calibration", step)
            # It trains a run of its own.
            from recurra.job.calibration import calibrate

            calibrate(run, data, observer)
        enter(observer, "figures", step)
        intervals = run.intervals()
        measured = figures(resolved.task, data, network, data.held_out(), intervals)
        measured["notes"] += short_ahead(data, resolved.task.generation.length)

    def told() -> dict[str, Any]:
        spent = time.perf_counter() - start
        ended = {"weights_of_step": best.step, "ended": why, "seconds": spent}
        return _told(run, data, observer, trainer, measured, intervals, ended)

    with _resumable(folder):
        run.result = here.alone(told)
    return run


def _told(
    run: Run,
    data: Data,
    observer: Observer,
    trainer: Trainer,
    measured: Figures,
    intervals: Intervals | None,
    ended: dict[str, Any],
) -> dict[str, Any]:
    """Generate with the best weights, and write what came of a run; return its result."""
    folder, resolved, network = run.folder, run.resolved, run.network
    step = trainer.progress.step
    with _resumable(folder):
        generated = run.generated() if data.target.generates else None

    enter(observer, "result", step)
    folder.record(step=step, split=measured["split"], final=True, **measured["metrics"])
    outcome: Generated = {}
    if data.target.generates:
        folder.sample(step, _text(generated), final=True)
        outcome = {"generated": generated}
        if isinstance(generated, list) and resolved.task.generation.prompt is None:
            stamps = data.next_stamps(len(generated))
            outcome |= {"ds": stamps} if stamps else {}
            bounds = run.bounds(generated, intervals)
            outcome |= {"bounds": bounds} if bounds else {}

    broken = broken_bands(resolved.task.expect, measured, generated)
    result = {
        "run": str(folder.path),
        "task": resolved.task.name,
        "steps": step,
        **ended,
        "tokens_per_second": trainer.progress.tokens_per_second,
        "parameters": sum(weight.numel() for weight in network.parameters()),
        **measured,
        **outcome,
        "better": _directions(run, data, {*measured["metrics"]}),
        "broken_bands": [problem.record() for problem in broken],
    }
    folder.write("result.json", result)
    return result


def _directions(run: Run, data: Data, names: set[str]) -> dict[str, str | float]:
    """Return of figures whether `higher` or `lower` is better, or the number that they are to be.

    So who compares runs needs no code of theirs.
    """
    found = known(data.target, type(data.answers), levels_of(run.network.loss))
    return {
        name: figure.aim if figure.aim is not None else "higher" if figure.higher else "lower"
        for name, figure in found.items()
        if name in names
    }


def _trained(
    run: Run, data: Data, observer: Observer, changes: Changes | None, until: int | None
) -> tuple[Trainer, str]:
    """Train to the end, from the last checkpoint where a run goes on; say why it ended."""
    folder, resolved, network = run.folder, run.resolved, run.network
    validation = data.splits["validation"]

    monitor, answers = resolved.task.training.monitor, data.answers
    free = free_figures(data.target, type(answers))

    def validate() -> Metrics:
        enter(observer, "validation", trainer.progress.step)
        here, tally = world(), data.tally("validation")
        evaluate(network, data.reader, validation, tally, world=here)
        if monitor in free and isinstance(answers, Marked):
            marks, limit = answers.marks, data.limit
            complete(network, data.store, validation, tally, marks, limit, world=here)
        return here.told(tally.values())

    def sample() -> str:
        if not data.target.generates:
            return ""
        try:
            return _text(run.generated(SAMPLE))
        except RunError as error:
            # A network that has gone wrong is told by its figures, and is no reason to stop.
            return f"({error.problems[0].fact})"
        finally:
            network.train()

    with (
        listening() as stop_asked,
        seeded(resolved.task.seed, "plugins", device=network.device),
    ):
        trainer = build_trainer(
            resolved,
            data,
            network,
            validate=validate if validation.steps else None,
            stop_asked=stop_asked,
        )
        folder.checkpoints.keep = resolved.task.training.keep_checkpoints
        tell(observer, sharing.lines())
        if changes is not None:
            tell(observer, _take_up(trainer, changes))
        if world().first:
            folder.note_failure(None)
            folder.note_unjudged(None)
        run.steps_before = trainer.progress.step
        run.follow()
        if until is not None:
            trainer.stop_asked = lambda: stop_asked() or trainer.progress.step >= until
        elif isinstance(observer, Ending):
            trainer.stop_asked = lambda: stop_asked() or observer.enough()
        return trainer, listened(trainer, folder, observer, sample)


def _take_up(trainer: Trainer, changes: Changes) -> list[str]:
    """Go back to the last whole checkpoint, and forget what was recorded after it.

    Returns what changes from there on, in lines.
    """
    folder, here = changes.folder, world()
    asked = "last" if changes.step is None else changes.step
    checkpoint = here.alone(lambda: folder.checkpoints.load(asked))
    changes.check(trainer, checkpoint.step)
    fill(trainer.network, checkpoint, folder)
    with reading(folder.checkpoints.path / f"step-{checkpoint.step}"):
        state.check(trainer, checkpoint)
        trainer.restore(checkpoint)

    def rewound() -> tuple[list[str], int | None]:
        lost = folder.checkpoints.go_back(checkpoint.step, asked=changes.step is not None)
        lines = changes.record(checkpoint.step)
        read = state.State.model_validate(checkpoint.state)
        folder.rewind(checkpoint.step, read.sampled, read.written)
        if checkpoint.step < trainer.progress.total:
            lines += gone_on(folder, checkpoint.step, here.size)
        return lines, lost

    lines, lost = here.alone(rewound)
    if lost is not None:
        # What was measured of weights that are gone is nothing to hold others to.
        trainer.stopping = EarlyStopping()
        again = f"the best from step {checkpoint.step} on takes its place"
        lines.append(f"the best checkpoint, of step {lost}, is damaged: {again}")
    return lines


def listened(
    trainer: Trainer, folder: RunFolder, observer: Observer, sample: Callable[[], str]
) -> str:
    """Train to the end, and return why it ended; a folder keeps what happens, an observer watches.

    `sample` generates something at each validation. Of several processes the first keeps and
    watches. Raises `Interrupted` (RC063) where an end was asked for, and `RunError` (RC053, RC060).
    """
    try:
        return _listened(trainer, folder, observer, sample)
    finally:
        if isinstance(observer, Releasing):
            observer.released()


def _listened(
    trainer: Trainer, folder: RunFolder, observer: Observer, sample: Callable[[], str]
) -> str:
    """Train to the end, as `listened` does, with an observer that is not released."""
    progress, here = trainer.progress, trainer.world
    if here.first:
        observer.started(progress.total, progress.step)
    for event in trainer.events():
        match event:
            case Updated(_, loss):
                if loss is not None:
                    here.alone(partial(_keep, event, folder, observer, sample))
                if here.first:
                    observer.stepped(progress)

            case Ended(_, why, done):
                if not done:
                    raise _interrupted(trainer, folder)
                if here.first:
                    observer.finished(progress, why)
                return why

            case _:
                here.alone(partial(_keep, event, folder, observer, sample))
    raise AssertionError("training ends with an event that says so")


def _keep(event: Event, folder: RunFolder, observer: Observer, sample: Callable[[], str]) -> None:
    """Write what happened into a folder."""
    match event:
        case Updated(progress, loss):
            folder.record(
                step=progress.step,
                epoch=progress.epoch,
                split="train",
                loss=loss,
                rate=progress.rate,
                gradient_norm=progress.norm,
                tokens=progress.tokens,
            )

        case Validated(progress, metrics, better):
            enter(observer, "sample", progress.step)
            text = sample()
            folder.record(step=progress.step, epoch=progress.epoch, split="validation", **metrics)
            if text:
                folder.sample(progress.step, text)
            observer.validated(progress, metrics, better, text)
            enter(observer, "training", progress.step)

        case Saved(checkpoint, best, rhythmic, over):
            enter(observer, "checkpoint", checkpoint.step)
            # What a checkpoint goes on from is on the disk before it is.
            state = {**checkpoint.state, "written": folder.settled()}
            folder.checkpoints.save(replace(checkpoint, state=state), best, rhythmic, over)
            enter(observer, "training", checkpoint.step)


def _interrupted(trainer: Trainer, folder: RunFolder) -> Interrupted:
    progress = trainer.progress
    fact = f"interrupted after step {progress.step} of {progress.total}; the state is saved"
    cure = f"`recurra resume {folder.path}` goes on from there"
    request = trainer.stop_asked
    number = request.number if isinstance(request, Request) else None
    number = trainer.signal or number
    return Interrupted.by(number, fact, cure)


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Say how to go on, if the user interrupts what comes after training."""
    try:
        yield
    except (KeyboardInterrupt, Interrupted) as request:
        fact = "interrupted after the last step, before the final figures; the weights are saved"
        cure = f"`recurra resume {folder.path}` makes them"
        raise Interrupted.because(request, fact, cure) from None


def _text(generated: Any) -> str:
    """Return what was generated as a text: of numbers a line for each step."""
    if isinstance(generated, str):
        return generated
    rows = [row if isinstance(row, list) else [row] for row in generated]
    lines = ("  ".join(f"{value:z.6g}" for value in row) for row in rows)
    return "\n".join(lines)
