"""The stage of training: the events of the loop, written into the folder and told to who watches;
then the result.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from recurra.contracts.metric import Metrics
from recurra.errors import Interrupted, RunError
from recurra.generate import arguments
from recurra.job.build import build_trainer
from recurra.job.data import Data
from recurra.job.reopen import fill
from recurra.job.results import broken_bands, figures
from recurra.job.run import Run
from recurra.randomness import seeded
from recurra.runs.folder import RunFolder
from recurra.runs.records import reading
from recurra.train import state
from recurra.train.evaluate import evaluate
from recurra.train.events import Ended, Observer, Progress, Saved, Updated, Validated
from recurra.train.interrupt import listening
from recurra.train.loop import Trainer

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


def train(this: Run, data: Data, observer: Observer, resume: bool) -> Run:
    """Train, then evaluate and generate with the best weights."""
    folder, resolved, network = this.folder, this.resolved, this.network
    start = time.perf_counter()

    def validate() -> Metrics:
        return evaluate(network, data.reader, data.splits["validation"], data.tally()).values()

    def sample() -> str:
        if not data.target.generates:
            return ""
        try:
            return _shown(this.generated(SAMPLE))
        except RunError as error:  # a network that has gone wrong is told by its figures
            return f"({error.problems[0].fact})"
        finally:
            network.train()

    with (
        listening() as stop_asked,
        folder.held(),
        seeded(resolved.task.seed, "plugins", device=network.device),
    ):
        looks = validate if data.splits["validation"].steps else None
        trainer = build_trainer(resolved, data, network, validate=looks, stop_asked=stop_asked)
        if resume:
            checkpoint = folder.checkpoints.last_whole()
            fill(network, checkpoint, folder)
            with reading(folder.checkpoints.path / f"step-{checkpoint.step}"):
                state.check(trainer, checkpoint)
                trainer.restore(checkpoint)
            folder.rewind(checkpoint.step, checkpoint.state.get("sampled"))
        this.steps_before = trainer.progress.step
        why = listened(trainer, folder, observer, sample)
    best = folder.checkpoints.load("best")
    network.load_state_dict(best.tensors["weights"])
    with _resumable(folder):
        found = figures(resolved.task, data, network, data.held_out())
        generated = this.generated() if data.target.generates else None
    folder.record(step=trainer.progress.step, split=found["split"], final=True, **found["metrics"])
    if data.target.generates:
        folder.sample(trainer.progress.step, _shown(generated), final=True)
    this.result = {
        "run": str(folder.path),
        "task": resolved.task.name,
        "steps": trainer.progress.step,
        "weights_of_step": best.step,
        "ended": why,
        "seconds": time.perf_counter() - start,
        "tokens_per_second": trainer.progress.tokens_per_second,
        "parameters": sum(p.numel() for p in network.parameters()),
        **found,
        **({"generated": generated} if data.target.generates else {}),
        "broken_bands": [p.record() for p in broken_bands(resolved.task.expect, found, generated)],
    }
    folder.write("result.json", this.result)
    return this


def listened(
    trainer: Trainer, folder: RunFolder, observer: Observer, sample: Callable[[], str]
) -> str:
    """Train to the end, while a folder keeps what happens and an observer watches; return why it
    ended.

    `sample` generates something at each validation. Raises `Interrupted` (RC063) where an end was
    asked for, and `RunError` (RC053, RC060).
    """
    progress = trainer.progress
    observer.started(progress.total, progress.step)
    for event in trainer.events():
        match event:
            case Updated(_, loss):
                if loss is not None:
                    folder.record(
                        step=progress.step, epoch=progress.epoch, split="train", loss=loss,
                        rate=progress.rate,
                        tokens=progress.tokens,
                    )  # fmt: skip
                observer.stepped(progress)

            case Validated(_, metrics, better):
                text = sample()
                folder.record(
                    step=progress.step, epoch=progress.epoch, split="validation", **metrics
                )
                if text:
                    folder.sample(progress.step, text)
                observer.validated(progress, metrics, better, text)

            case Saved(checkpoint, best):
                state = {**checkpoint.state, "sampled": folder.sampled()}
                folder.checkpoints.save(replace(checkpoint, state=state), best)

            case Ended(_, why, done):
                if not done:
                    raise _interrupted(trainer, folder)
                observer.finished(progress, why)
                return why
    raise AssertionError("training ends with an event that says so")


def _interrupted(trainer: Trainer, folder: RunFolder) -> Interrupted:
    progress = trainer.progress
    fact = f"interrupted after step {progress.step} of {progress.total}; the state is saved"
    return Interrupted.of("RC063", fact, cure=f"`recurra resume {folder.path}` goes on from there")


@contextmanager
def _resumable(folder: RunFolder) -> Iterator[None]:
    """Say how to go on, if the user interrupts what comes after training."""
    try:
        yield
    except KeyboardInterrupt:
        fact = "interrupted after the last step, before the final figures; the weights are saved"
        raise Interrupted.of(
            "RC063", fact, cure=f"`recurra resume {folder.path}` makes them"
        ) from None


def _shown(generated: Any) -> str:
    if isinstance(generated, str):
        return generated
    rows = [row if isinstance(row, list) else [row] for row in generated]
    return "\n".join("  ".join(f"{value:z.6g}" for value in row) for row in rows)
