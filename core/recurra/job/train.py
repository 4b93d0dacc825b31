"""The stage of training: the loop's events, written into the run's folder and told to whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from recurra.errors import Interrupted
from recurra.runs.folder import RunFolder
from recurra.train.loop import Ended, Observer, Saved, Trainer, Updated, Validated


def train(trainer: Trainer, folder: RunFolder, observer: Observer, sample: Callable[[], str]) -> str:
    """Train to the end, while a folder keeps what happens and an observer watches; return why it ended.

    `sample` generates something at each validation. Raises `Interrupted` (RC063) where an end was asked for, and
    `RunError` (RC053, RC060).
    """
    progress = trainer.progress
    observer.started(progress.total, progress.step)
    for event in trainer.events():
        match event:
            case Updated(_, loss):
                if loss is not None:
                    folder.record(
                        step=progress.step, epoch=progress.epoch, split="train", loss=loss, rate=progress.rate,
                        tokens=progress.tokens,
                    )  # fmt: skip
                observer.stepped(progress)

            case Validated(_, metrics, better):
                text = sample()
                folder.record(step=progress.step, epoch=progress.epoch, split="validation", **metrics)
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
