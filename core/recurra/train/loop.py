"""The one training loop: batches in, updates out, with a look at the validation split and a checkpoint now and then."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn, optim

from recurra.data.batches import Batch, Feed
from recurra.errors import Interrupted, RunError
from recurra.model.network import Network, States, detached, flatten, mixed, unflatten
from recurra.randomness import global_state, set_global_state
from recurra.runs.checkpoints import Checkpoint
from recurra.runs.folder import RunFolder
from recurra.spec.tables import Training
from recurra.train.evaluate import Metrics
from recurra.train.optimizer import Rate

Fleeting: TypeAlias = tuple[States | None, dict[str, Tensor]]
"""Carried states and the streams of random numbers, as they are between two updates."""

EVERY = 60.0
"""Seconds after which a checkpoint is written where a task names no number of steps and nothing is validated."""


class Observer(Protocol):
    """Whoever watches a run: a progress bar, plain lines, or nobody."""

    def started(self, total: int, done: int) -> None:
        """Training begins, or goes on after `done` of `total` updates."""

    def stepped(self, progress: Progress) -> None:
        """An update was made."""

    def validated(self, progress: Progress, metrics: Metrics, better: bool, sample: str) -> None:
        """The validation split was looked at, and a sample generated."""

    def finished(self, progress: Progress, why: str) -> None:
        """Training is over."""


@dataclass
class Progress:
    """Where training stands."""

    step: int = 0
    total: int = 0
    epoch: int = 0
    batch: int = 0  # batches of this epoch that are done
    loss: float = math.nan  # of the last update
    rate: float = 0.0
    tokens: int = 0  # scored steps so far
    seconds: float = 0.0  # spent in training so far, over all sessions

    @property
    def tokens_per_second(self) -> float:
        """Scored steps a second."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def seconds_left(self) -> float:
        """Seconds that the rest will take at this pace."""
        return self.seconds / self.step * (self.total - self.step) if self.step else math.nan


@dataclass
class Watch:
    """Early stopping: the best validation so far, and how many have passed since."""

    best: float = math.inf
    waited: int = 0


@dataclass
class Trainer:
    """All that one run of training needs; `state` and `restore` are what a checkpoint holds."""

    training: Training
    network: Network
    optimizer: optim.Optimizer
    rate: Rate
    feed: Feed
    folder: RunFolder
    observer: Observer
    validate: Callable[[], Metrics] | None
    sample: Callable[[], str]
    stop_asked: Callable[[], bool]
    progress: Progress = field(default_factory=Progress)
    watch: Watch = field(default_factory=Watch)
    carried: States | None = None
    pending: list[float] = field(default_factory=list)  # sum and count of losses since the last record

    def __post_init__(self) -> None:
        self.progress.total = total_steps(self.training, self.feed.batches)
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.pending = self.pending or [0.0, 0.0]
        self.saved = time.monotonic()

    def run(self) -> str:
        """Train until the end, a lack of improvement or an interruption; return why it ended.

        Raises `Interrupted` (RC063) once the state is saved, and `RunError` (RC060) before a loss or gradient that is
        not finite reaches the weights.
        """
        self.network.train()
        self.observer.started(self.progress.total, self.progress.step)
        clock = time.perf_counter()
        for batches in self._updates():
            self._update(batches)
            now = time.perf_counter()
            self.progress.seconds += now - clock
            clock = now
            self.observer.stepped(self.progress)
            stop = self._look()
            if self.stop_asked() and self.progress.step < self.progress.total and not stop:
                self._save()
                raise self._interrupted()
            if stop:
                break
            clock = time.perf_counter()
        self._save()
        patience = f"no improvement in {self.training.patience} validations"
        why = patience if self._worn_out() else "all steps are done"
        self.observer.finished(self.progress, why)
        return why

    def _updates(self) -> Iterator[list[Batch]]:
        """Give the batches of each update, epoch after epoch, from where training stands."""
        group: list[Batch] = []
        while self.progress.step < self.progress.total and not self._worn_out():
            for batch in self.feed.epoch(self.progress.epoch, skip=self.progress.batch):
                group.append(batch)
                last = self.progress.batch + len(group) == self.feed.batches
                if len(group) == self.training.accumulate or last:
                    yield group
                    group = []
                    if self.progress.step >= self.progress.total:
                        return
                    if last:
                        break

    def _update(self, batches: list[Batch]) -> None:
        """Add up the gradients of some batches and update the weights once."""
        progress = self.progress
        before = self._fleeting()
        self._set_rate()
        self._clear()
        scored = sum(int(batch.mask.sum()) for batch in batches)
        losses = [self._backward(index, batch, max(scored, 1)) for index, batch in enumerate(batches)]
        norm = nn.utils.get_total_norm(weight.grad for weight in self.parameters if weight.grad is not None)
        total = sum(map(float, losses))  # the first look at what the device has made of this update
        if not math.isfinite(total):
            raise self._not_finite(f"the loss is {total}", before)
        if not math.isfinite(norm):
            raise self._not_finite(f"the norm of the gradient is {float(norm)}", before)
        if self.training.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.training.clip_norm, norm)
        self._step(before)
        progress.step += 1
        progress.batch += len(batches)
        progress.tokens += scored
        progress.loss = total
        self.pending[0] += total
        self.pending[1] += 1
        if progress.batch >= self.feed.batches:
            progress.epoch, progress.batch = progress.epoch + 1, 0
            self.carried = None
        self._record()

    def _clear(self) -> None:
        for weight in self.parameters:
            weight.grad = None

    def _step(self, before: Fleeting) -> None:
        """Update the weights; torch refuses a rate too large for its arithmetic before it changes any."""
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise self._not_finite(f"an update is too large ({error})", before) from error

    def _fleeting(self) -> Fleeting:
        """Return what the forward pass of an update changes: carried states, and streams of random numbers."""
        return self.carried, self._random()

    def _random(self) -> dict[str, Tensor]:
        """Return the streams that training draws from: dropout's, and torch's own, which a plugin may use."""
        streams = global_state(self.network.device)
        return streams | (self.network.noise.state() if self.network.noise is not None else {})

    def _set_random(self, streams: dict[str, Tensor]) -> None:
        set_global_state(streams, self.network.device)
        if self.network.noise is not None:
            self.network.noise.restore(streams)

    def _backward(self, index: int, batch: Batch, scored: int) -> Tensor:
        """Run one batch of an update forward and back, the one of this `index`.

        Returns its share of the mean loss over `scored` steps, still on the device.

        Nothing here waits for the device: what is to be known of a batch is looked at before it goes there.
        """
        carried = self.feed.carried
        anew = not carried or bool((batch.fresh | batch.reset[:, 0]).all())
        some_fresh = not anew and bool(batch.fresh.any())
        resets = carried and bool(batch.reset[:, int(anew) :].any())
        whole = bool(batch.mask.all())

        if self.network.noise is not None:
            self.network.noise.begin(self.progress.step, index)
        batch = batch.to(self.network.device)
        states = None if anew else self._some_fresh(batch) if some_fresh else self.carried
        reset = batch.reset if resets else None
        if reset is not None and anew:  # fresh states stand where `position` says, and need no reset to 0
            reset = reset.clone()
            reset[:, 0] = False
        output, after = self.network(batch.x, states, reset=reset, position=batch.position)  # B T V
        if carried:
            self.carried = detached(after)
        value = self.network.loss(*_scored(output, batch, whole)).sum() / scored
        value.backward()
        share: Tensor = value.detach()
        return share

    def _some_fresh(self, batch: Batch) -> States:
        """Return the carried states, but those of before the first step where a row is fresh.

        These stand at the row's own position, and are no constants: a cell may learn them.
        """
        assert self.carried is not None, "an epoch begins with states that are all fresh"
        initial = self.network.initial_states(len(batch.fresh), batch.position)
        return mixed(batch.fresh, initial, self.carried)

    def _set_rate(self) -> None:
        share = self.rate.share(self.progress.step)
        for group, base in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = base * share
        self.progress.rate = self.base_rates[0] * share

    def _record(self) -> None:
        """Write the mean loss since the last record, about a hundred times in a run."""
        progress = self.progress
        if progress.step % max(1, progress.total // 100) and progress.step != progress.total:
            return
        mean = self.pending[0] / self.pending[1]
        self.pending = [0.0, 0.0]
        self.folder.record(
            step=progress.step, epoch=progress.epoch, split="train", loss=mean, rate=progress.rate,
            tokens=progress.tokens,
        )  # fmt: skip

    def _look(self) -> bool:
        """Validate and save where it is time for it; return whether training should stop early."""
        progress, training = self.progress, self.training
        every = training.validate_every
        due = progress.step % every == 0 if every else progress.batch == 0
        done = progress.step >= progress.total
        stop = better = validated = False
        if self.validate is not None and (due or done):
            better, stop = self._validation(self.validate())
            validated = True
        save = training.checkpoint_every
        if (progress.step % save == 0 if save else validated or time.monotonic() - self.saved > EVERY) or better:
            self._save(best=better)
        return stop

    def _validation(self, metrics: Metrics) -> tuple[bool, bool]:
        """Take note of a validation; return whether it is the best so far, and whether to stop."""
        progress, monitor = self.progress, self.training.monitor
        value = metrics[monitor] * (-1 if monitor == "accuracy" else 1)
        if not math.isfinite(value):
            self._save()
            saved = f"the weights of step {progress.step} are saved"
            raise self._diverged(f"the validation {monitor} is {metrics[monitor]}", progress.step, saved)
        better = value < self.watch.best - self.training.min_delta
        self.watch = Watch(value, 0) if better else Watch(self.watch.best, self.watch.waited + 1)
        self.rate.observe(value)
        text = self.sample()
        self.folder.record(step=progress.step, epoch=progress.epoch, split="validation", **metrics)
        self.folder.sample(progress.step, text)
        self.observer.validated(progress, metrics, better, text)
        return better, self._worn_out()

    def _worn_out(self) -> bool:
        """Tell whether validation has not improved for as long as the task allows."""
        return 0 < self.training.patience <= self.watch.waited

    def _save(self, best: bool = False) -> None:
        """Write a checkpoint. Raises `RunError` (RC060) rather than save weights that are not finite."""
        if not self._sound():
            raise self._diverged("a weight is not finite", self.progress.step, self._kept())
        self.folder.checkpoints.save(self.state(), best)
        self.saved = time.monotonic()

    def _sound(self) -> bool:
        return all(bool(torch.isfinite(weight).all()) for weight in self.parameters)

    def _kept(self) -> str:
        """Return what is saved where the weights of this step cannot be."""
        held = self.folder.checkpoints.index().get("last")
        return "nothing is saved" if held is None else f"the weights of step {held} are saved"

    def state(self) -> Checkpoint:
        """Return all that training needs to go on as if it had not stopped."""
        saved = self.optimizer.state_dict()
        moments, plain = split_optimizer(saved["state"])
        tensors = {"weights": dict(self.network.state_dict()), "optimizer": moments}
        if self.carried is not None:
            tensors["carried"] = flatten(self.carried)
        tensors["random"] = self._random()
        progress = {k: v for k, v in vars(self.progress).items() if k not in ("loss", "total")}
        state = {
            "progress": progress,
            "watch": None if math.isinf(self.watch.best) else vars(self.watch),
            "rate": self.rate.save(),
            "optimizer": {"plain": plain, "groups": saved["param_groups"]},
            "pending": self.pending,
            "sampled": self.folder.sampled(),
        }
        return Checkpoint(self.progress.step, tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `state` gave."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.network.load_state_dict(tensors["weights"])
        joined = _join_optimizer(tensors.get("optimizer", {}), state["optimizer"]["plain"])
        self.optimizer.load_state_dict({"state": joined, "param_groups": state["optimizer"]["groups"]})
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self.watch = Watch(**state["watch"]) if state["watch"] else Watch()
        self.rate.restore(state["rate"])
        self.pending = list(state["pending"])
        if "carried" in tensors:
            rows = len(next(iter(tensors["carried"].values())))
            self.carried = detached(unflatten(self.network.initial_states(rows), tensors["carried"]))
        self._set_random(tensors["random"])

    def _interrupted(self) -> Interrupted:
        fact = f"interrupted after step {self.progress.step} of {self.progress.total}; the state is saved"
        return Interrupted.of("RC063", fact, cure=f"`recurra resume {self.folder.path}` goes on from there")

    def _not_finite(self, what: str, before: Fleeting) -> RunError:
        """Save the state of before this update, if it is finite, and return the error that says what to do."""
        self._clear()
        self.carried, streams = before
        self._set_random(streams)
        if not self._sound():
            return self._diverged(what, self.progress.step + 1, self._kept())
        self._save()
        return self._diverged(what, self.progress.step + 1, f"the weights of step {self.progress.step} are saved")

    def _diverged(self, what: str, step: int, saved: str) -> RunError:
        cures = []
        if not self.training.clip_norm:
            cures.append("set training.clip_norm = 1.0")
        cures.append(f"lower the learning rate (it was {self.progress.rate:g})")
        if not self.rate.schedule.warmup_steps:
            cures.append("add schedule.warmup_steps")
        cures.append('try cell.init = "orthogonal"')
        return RunError.of("RC060", f"{what} at step {step}; {saved}", cure=", or ".join(cures))


def _scored(output: Tensor, batch: Batch, whole: bool) -> tuple[Tensor, Tensor]:
    """Return outputs and targets of the scored steps alone: `[N, V]` and `[N]`; `whole` says that all are."""
    if whole:
        return output.flatten(0, 1), batch.y.flatten(0, 1)
    return output[batch.mask], batch.y[batch.mask]


def total_steps(training: Training, batches: int) -> int:
    """Return the updates of a run: as many as it says, or those of its epochs (10 where it says nothing)."""
    if training.steps is not None:
        return training.steps
    return (training.epochs or 10) * -(-batches // training.accumulate)


def split_optimizer(state: dict[int, dict[str, Any]]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return an optimizer's state as named tensors, and the rest as plain JSON."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, Any] = {}
    for index, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{index}.{name}"] = value
            else:
                plain[f"{index}.{name}"] = value
    return tensors, plain


def _join_optimizer(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[int, dict[str, Any]]:
    state: dict[int, dict[str, Any]] = {}
    for name, value in {**tensors, **plain}.items():
        index, _, field_name = name.partition(".")
        state.setdefault(int(index), {})[field_name] = value
    return state
