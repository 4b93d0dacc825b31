"""The one training loop: batches in, updates out, with a look at the validation split and a
checkpoint now and then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

import torch
from torch import Tensor, nn, optim

from recurra.contracts.metric import LOSS, Figure, Metrics
from recurra.data.batches import Batch, Feed, Whole
from recurra.errors import RunError
from recurra.model import sequences
from recurra.model.network import Network, States, detached, flatten, mixed, unflatten
from recurra.randomness import global_state, set_global_state
from recurra.runs.checkpoints import Checkpoint
from recurra.spec.tables import Training
from recurra.train.events import Ended, Event, Progress, Saved, Updated, Validated
from recurra.train.optimizer import Rate
from recurra.train.saved import in_form, join_optimizer, split_optimizer

Fleeting: TypeAlias = tuple[States | None, dict[str, Tensor]]
"""Carried states and the streams of random numbers, as they are between two updates."""

EVERY = 60.0
"""Seconds after which a checkpoint is written where a task names no number of steps and nothing is
validated.
"""


class NotFinite(Exception):
    """A loss, a gradient or an update that is no number, before it reaches the weights."""


@dataclass
class EarlyStopping:
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
    monitor: Figure = LOSS
    validate: Callable[[], Metrics] | None = None
    stop_asked: Callable[[], bool] = lambda: False
    progress: Progress = field(default_factory=Progress)
    watch: EarlyStopping = field(default_factory=EarlyStopping)
    carried: States | None = None
    # Sum and count of losses since the last mean.
    pending: list[float] = field(default_factory=list)
    held: int | None = None  # the step that was saved last

    def __post_init__(self) -> None:
        self.progress.total = total_steps(self.training, self.feed.batches)
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        self.parameters = [p for p in self.network.parameters() if p.requires_grad]
        self.pending = self.pending or [0.0, 0.0]
        self.saved = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Train until the end, a lack of improvement or a request to stop, and give what happens as
        it happens.

        Whoever listens takes each event before training goes on: what is `Saved` is then safe.
        Raises `RunError` (RC060) before a loss or gradient that is not finite reaches the weights.
        """
        self.network.train()
        clock = time.perf_counter()
        for batches in self._updates():
            before = self._fleeting()
            try:
                self._update(batches)
            except NotFinite as fault:
                yield from self._back(before)
                raise self._diverged(str(fault), self.progress.step + 1) from fault.__cause__

            now = time.perf_counter()
            self.progress.seconds += now - clock
            yield Updated(self.progress, self._mean())
            yield from self._look()
            if self._out_of_patience():
                break
            if self.stop_asked() and self.progress.step < self.progress.total:
                yield from self._save()
                yield Ended(self.progress, "an end was asked for", done=False)
                return
            clock = time.perf_counter()

        yield from self._save()
        patience = f"no improvement in {self.training.patience} validations"
        yield Ended(
            self.progress, patience if self._out_of_patience() else "all steps are done", done=True
        )

    def _back(self, before: Fleeting) -> Iterator[Saved]:
        """Go back to before the update that failed, and save that if it is finite."""
        self._clear()
        self.carried, streams = before
        self._set_random(streams)
        if self._sound():
            yield from self._save()

    def _updates(self) -> Iterator[list[Batch | Whole]]:
        """Give the batches of each update, epoch after epoch, from where training stands."""
        group: list[Batch | Whole] = []
        while self.progress.step < self.progress.total and not self._out_of_patience():
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

    def _update(self, batches: list[Batch | Whole]) -> None:
        """Add up the gradients of some batches and update the weights once. Raises `NotFinite`
        before it does.
        """
        progress = self.progress
        self._set_rate()
        self._clear()
        scored = sum(batch.scored for batch in batches)
        losses = [
            self._backward(index, batch, max(scored, 1)) for index, batch in enumerate(batches)
        ]
        norm = nn.utils.get_total_norm(
            weight.grad for weight in self.parameters if weight.grad is not None
        )
        total = sum(map(float, losses))  # the first look at what the device has made of this update
        if not math.isfinite(total):
            raise NotFinite(f"the loss is {total}")
        if not math.isfinite(norm):
            raise NotFinite(f"the norm of the gradient is {float(norm)}")
        if self.training.clip_norm:
            nn.utils.clip_grads_with_norm_(self.parameters, self.training.clip_norm, norm)
        self._step()
        progress.step += 1
        progress.batch += len(batches)
        progress.tokens += scored
        progress.loss = total
        self.pending[0] += total
        self.pending[1] += 1
        if progress.batch >= self.feed.batches:
            progress.epoch, progress.batch = progress.epoch + 1, 0
            self.carried = None

    def _clear(self) -> None:
        for weight in self.parameters:
            weight.grad = None

    def _step(self) -> None:
        """Update the weights; torch refuses a rate too large for its arithmetic before it changes
        any.
        """
        try:
            self.optimizer.step()
        except RuntimeError as error:
            if "overflow" not in str(error):
                raise
            raise NotFinite(f"an update is too large ({error})") from error

    def _fleeting(self) -> Fleeting:
        """Return what the forward pass of an update changes: carried states, and streams of random
        numbers.
        """
        return self.carried, self._random()

    def _random(self) -> dict[str, Tensor]:
        """Return the streams that training draws from: dropout's, and torch's own, which a plugin
        may use.
        """
        streams = global_state(self.network.device)
        return streams | (self.network.noise.state() if self.network.noise is not None else {})

    def _set_random(self, streams: dict[str, Tensor]) -> None:
        set_global_state(streams, self.network.device)
        if self.network.noise is not None:
            self.network.noise.restore(streams)

    def _backward(self, index: int, batch: Batch | Whole, scored: int) -> Tensor:
        """Run one batch of an update forward and back, the one of this `index`.

        Returns its share of the mean loss over what is `scored`, still on the device.
        """
        if self.network.noise is not None:
            self.network.noise.begin(self.progress.step, index)
        answers = self._sequences(batch) if isinstance(batch, Whole) else self._steps(batch)
        value = self.network.loss(*answers).sum() / scored
        value.backward()
        share: Tensor = value.detach()
        return share

    def _sequences(self, batch: Whole) -> tuple[Tensor, Tensor]:
        """Return the outputs for whole sequences, and the answers to them."""
        batch = batch.to(self.network.device)
        return sequences.answers(self.network, batch.x, batch.steps, self.feed.length), batch.y

    def _steps(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the outputs for the scored steps of windows, and the answers to them.

        Nothing here waits for the device: what is to be known of a batch is looked at before it
        goes there.
        """
        carried = self.feed.carried
        anew = not carried or bool((batch.fresh | batch.reset[:, 0]).all())
        some_fresh = not anew and bool(batch.fresh.any())
        resets = carried and bool(batch.reset[:, int(anew) :].any())
        places = None if bool(batch.mask.all()) else batch.mask.flatten().nonzero()[:, 0]

        batch = batch.to(self.network.device)
        states = None if anew else self.begun(batch) if some_fresh else self.carried
        reset = batch.reset if resets else None
        if reset is not None and anew:
            # Fresh states stand where `position` says, and need no reset to 0.
            reset = reset.clone()
            reset[:, 0] = False
        output, after = self.network(batch.x, states, reset=reset, position=batch.position)  # B T V
        if carried:
            self.carried = detached(after)
        return _scored(output, batch, places)

    def begun(self, batch: Batch) -> States:
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

    def _mean(self) -> float | None:
        """Return the mean loss since the last one that was given, about a hundred times in a run;
        else nothing.
        """
        progress = self.progress
        if progress.step % max(1, progress.total // 100) and progress.step != progress.total:
            return None
        mean = self.pending[0] / self.pending[1]
        self.pending = [0.0, 0.0]
        return mean

    def _look(self) -> Iterator[Event]:
        """Validate and save where it is time for it."""
        progress, training = self.progress, self.training
        every = training.validate_every
        due = progress.step % every == 0 if every else progress.batch == 0
        done = progress.step >= progress.total
        better = validated = False
        if self.validate is not None and (due or done):
            metrics = self.validate()
            value = metrics[self.monitor.name]
            if not math.isfinite(value):
                yield from self._save()
                raise self._diverged(
                    f"the validation {self.monitor.name} is {value}", progress.step
                )
            better, validated = self._better(metrics), True
            yield Validated(progress, metrics, better)

        save = training.checkpoint_every
        if (
            progress.step % save == 0
            if save
            else validated or time.monotonic() - self.saved > EVERY
        ) or better:
            yield from self._save(best=better)

    def _better(self, metrics: Metrics) -> bool:
        """Take note of a validation; return whether it is the best so far."""
        value = self.monitor.cost(metrics[self.monitor.name])
        better = value < self.watch.best - self.training.min_delta
        self.watch = (
            EarlyStopping(value, 0)
            if better
            else EarlyStopping(self.watch.best, self.watch.waited + 1)
        )
        self.rate.observe(value)
        return better

    def _out_of_patience(self) -> bool:
        """Tell whether validation has not improved for as long as the task allows."""
        return 0 < self.training.patience <= self.watch.waited

    def _save(self, best: bool = False) -> Iterator[Saved]:
        """Give what is to be saved. Raises `RunError` (RC060) rather than give weights that are not
        finite.
        """
        if not self._sound():
            raise self._diverged("a weight is not finite", self.progress.step)
        yield Saved(self.state(), best)
        self.saved, self.held = time.monotonic(), self.progress.step  # whoever listens has kept it

    def _sound(self) -> bool:
        return all(bool(torch.isfinite(weight).all()) for weight in self.parameters)

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
        }
        return Checkpoint(self.progress.step, tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `state` gave."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.network.load_state_dict(tensors["weights"])
        joined = join_optimizer(tensors.get("optimizer", {}), state["optimizer"]["plain"])
        pairs = zip(state["optimizer"]["groups"], self.optimizer.param_groups, strict=True)
        groups = [in_form(saved, own) for saved, own in pairs]
        self.optimizer.load_state_dict({"state": joined, "param_groups": groups})
        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self.held = checkpoint.step
        self.watch = EarlyStopping(**state["watch"]) if state["watch"] else EarlyStopping()
        self.rate.restore(state["rate"])
        self.pending = list(state["pending"])
        if "carried" in tensors:
            rows = len(next(iter(tensors["carried"].values())))
            self.carried = detached(
                unflatten(self.network.initial_states(rows), tensors["carried"])
            )
        self._set_random(tensors["random"])

    def _diverged(self, what: str, step: int) -> RunError:
        """Return the error of what went wrong at a step, with what is saved and what to do."""
        held = (
            "nothing is saved"
            if self.held is None
            else f"the weights of step {self.held} are saved"
        )
        cures = []
        if not self.training.clip_norm:
            cures.append("set training.clip_norm = 1.0")
        cures.append(f"lower the learning rate (it was {self.progress.rate:g})")
        if not self.rate.schedule.warmup_steps:
            cures.append("add schedule.warmup_steps")
        cures.append('try cell.init = "orthogonal"')
        return RunError.of("RC060", f"{what} at step {step}; {held}", cure=", or ".join(cures))


def _scored(output: Tensor, batch: Batch, places: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return outputs and targets of the scored steps alone, `[N, V]` and `[N]`.

    `places` are those of the scored steps, counted row after row; without them all are scored.
    """
    answers, targets = output.flatten(0, 1), batch.y.flatten(0, 1)
    if places is None:
        return answers, targets
    places = places.to(output.device, non_blocking=True)
    return answers[places], targets[places]


def total_steps(training: Training, batches: int) -> int:
    """Return the updates of a run: as many as it says, or those of its epochs (10 where it says
    nothing).
    """
    if training.steps is not None:
        return training.steps
    return (training.epochs or 10) * -(-batches // training.accumulate)
