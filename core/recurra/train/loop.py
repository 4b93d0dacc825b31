"""The one training loop: batches in, updates out.

Now and then it looks at the validation split, and gives a checkpoint.
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
from recurra.data.batches import Batch, Whole
from recurra.data.feeds import Feed
from recurra.errors import RunError
from recurra.model import sequences
from recurra.model.network import Network, States, detached, flatten, mixed, unflatten
from recurra.randomness import global_state, set_global_state
from recurra.runs.checkpoints import Checkpoint
from recurra.spec.tables import Training
from recurra.train.events import Ended, Event, Progress, Saved, Updated, Validated
from recurra.train.guard import Guard, NotFinite, norm_of
from recurra.train.optimizer import Rate, chosen
from recurra.train.saved import in_form, join_optimizer, split_optimizer

EVERY = 60.0
"""Seconds after which a checkpoint is written.

They count where a task names no number of steps and nothing is validated.
"""

Fleeting: TypeAlias = tuple[States | None, dict[str, Tensor]]
"""Carried states and the streams of random numbers, as they are between two updates."""


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
    stopping: EarlyStopping = field(default_factory=EarlyStopping)
    carried: States | None = None
    # Sum and count of losses since the last mean.
    pending: list[float] = field(default_factory=list)
    # The step that was saved last.
    saved_step: int | None = None

    def __post_init__(self) -> None:
        self.progress.total = total_steps(self.training, self.feed.batches)
        self.base_rates = [float(group["lr"]) for group in self.optimizer.param_groups]
        weights = self.network.parameters()
        self.parameters = [weight for weight in weights if weight.requires_grad]
        self.guard = Guard(self.optimizer, self.parameters)
        self.pending = self.pending or [0.0, 0.0]
        self.saved_at = time.monotonic()

    def events(self) -> Iterator[Event]:
        """Train, and give what happens as it happens.

        The end comes when all steps are done, with a lack of improvement or a request to stop.
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
                yield from self._save(rhythmic=False)
                yield Ended(self.progress, "an end was asked for", done=False)
                return
            # What happened meanwhile, validation above all, is no time of training.
            clock = time.perf_counter()

        yield from self._save(rhythmic=False, over=True)
        why = "all steps are done"
        if self._out_of_patience():
            why = f"no improvement in {self.training.patience} validations"
        yield Ended(self.progress, why, done=True)

    def _back(self, before: Fleeting) -> Iterator[Saved]:
        """Go back to before the update that failed, and save that if it is finite."""
        self._clear()
        self.carried, streams = before
        self._set_random(streams)
        if not self._harmed():
            yield from self._save()

    def _updates(self) -> Iterator[list[Batch | Whole]]:
        """Give the batches of each update, epoch after epoch, from where training stands."""
        progress = self.progress
        group: list[Batch | Whole] = []
        while progress.step < progress.total and not self._out_of_patience():
            for batch in self.feed.epoch(progress.epoch, skip=progress.batch):
                group.append(batch)
                last = progress.batch + len(group) == self.feed.batches
                if len(group) < self.training.accumulate and not last:
                    continue

                # The update moves `progress` on.
                yield group
                group = []
                if progress.step >= progress.total:
                    return
                if last:
                    break

    def _update(self, batches: list[Batch | Whole]) -> None:
        """Add up the gradients of some batches and update the weights once.

        Raises `NotFinite` before it does.
        """
        progress = self.progress
        self._set_rate()
        self._clear()
        scored = sum(batch.scored for batch in batches)
        share_of = self._total(batches) if self.network.partly_missing else max(scored, 1)
        losses = [self._backward(index, batch, share_of) for index, batch in enumerate(batches)]
        norm = norm_of([w.grad for w in self.parameters if w.grad is not None])

        # The first look at what the device has made of this update.
        total = sum(map(float, losses))
        if not math.isfinite(total):
            raise NotFinite(f"the loss is {total}")
        if not math.isfinite(norm):
            raise NotFinite(f"the norm of the gradient is {float(norm)}")
        # An update of which nothing is scored is none: neither decay nor momentum move a weight.
        if scored:
            self._step(norm)
            progress.loss = total

        progress.step += 1
        progress.batch += len(batches)
        progress.tokens += scored
        self.pending[0] += total
        self.pending[1] += scored > 0
        if progress.batch >= self.feed.batches:
            progress.epoch += 1
            progress.batch = 0
            self.carried = None

    def _total(self, batches: list[Batch | Whole]) -> float:
        """Return how many answers are scored, of which one that is partly missing counts less."""
        scoring = self.network.scoring
        return sum(scoring.total(batch.answers) for batch in batches) or 1.0

    def _clear(self) -> None:
        for weight in self.parameters:
            weight.grad = None

    def _step(self, norm: Tensor) -> None:
        """Update the weights by gradients of a norm, clipped where the task says so.

        Raises `NotFinite` where anything would be infinite after it.
        """
        size, most = float(norm), self.training.clip_norm
        if most:
            nn.utils.clip_grads_with_norm_(self.parameters, most, norm)
            size = min(size, most)
        elif size > torch.finfo(self.network.dtype).max ** 0.5:
            dtype = str(self.network.dtype).removeprefix("torch.")
            raise NotFinite(f"the norm of the gradient is {size:g}, and its square leaves {dtype}")
        self.guard.update(size)

    def _fleeting(self) -> Fleeting:
        """Return what the forward pass of an update changes."""
        return self.carried, self._random()

    def _random(self) -> dict[str, Tensor]:
        """Return the streams that training draws from: dropout's, and torch's own.

        A plugin may use the latter.
        """
        streams = global_state(self.network.device)
        noise = self.network.noise
        return streams if noise is None else streams | noise.state()

    def _set_random(self, streams: dict[str, Tensor]) -> None:
        set_global_state(streams, self.network.device)
        noise = self.network.noise
        if noise is not None:
            noise.restore(streams)

    def _backward(self, index: int, batch: Batch | Whole, scored: float) -> Tensor:
        """Run one batch of an update forward and back, the one of this `index`.

        Returns its share of the mean loss over what is `scored`, still on the device.
        """
        noise = self.network.noise
        if noise is not None:
            noise.begin(self.progress.step, index)
        if isinstance(batch, Batch) and batch.x.shape[1] > self.feed.length:
            return self._windows(batch, scored)
        losses = self._sequences(batch) if isinstance(batch, Whole) else self._steps(batch)
        value = losses.sum() / scored
        if len(losses):
            torch.autograd.backward(value)
        return value.detach()

    def _sequences(self, batch: Whole) -> Tensor:
        """Return the losses of the answers to whole sequences."""
        batch = batch.to(self.network.device)
        window = self.feed.length
        outputs = sequences.answers(self.network, batch.x, batch.steps, window)
        losses: Tensor = self.network.loss(outputs, batch.y)
        return losses

    def _windows(self, batch: Batch, scored: float) -> Tensor:
        """Run sequences that are longer than a window forward and back, one window at a time.

        The state goes on from each to the next, and the gradient does not. Returns their share of
        the mean loss over what is `scored`, still on the device.
        """
        network = self.network
        states: States | None = None
        total = torch.zeros((), device=network.device)
        for window in batch.windows(self.feed.length):
            # What asks nothing is read for its state alone.
            places = window.mask.flatten().nonzero()[:, 0]
            window = window.to(network.device)
            with torch.set_grad_enabled(len(places) > 0):
                hidden, after = network.hidden(window.x, states, position=window.position)
                states = detached(after)
                if len(places):
                    places = places.to(network.device)
                    losses = network.losses(
                        hidden, window.y, places, window.ahead(), window.counted()
                    )
                    value = losses.sum() / scored
                    torch.autograd.backward(value)
                    total = total + value.detach()
        return total

    def _steps(self, batch: Batch) -> Tensor:
        """Return the losses of the scored steps of windows.

        Nothing here waits for the device: what is to be known of a batch is looked at before it
        goes there.
        """
        carried = self.feed.carried
        # `anew`: no row goes on from a carried state; `some_fresh`: some do, and others do not.
        anew = not carried or bool((batch.fresh | batch.reset[:, 0]).all())
        some_fresh = not anew and bool(batch.fresh.any())
        resets = carried and bool(batch.reset[:, int(anew) :].any())
        places = None
        if not bool(batch.mask.all()):
            places = batch.mask.flatten().nonzero()[:, 0]

        batch = batch.to(self.network.device)
        states = None
        if some_fresh:
            states = self.begun(batch)
        elif not anew:
            states = self.carried
        reset = batch.reset if resets else None
        if reset is not None and anew:
            # Fresh states stand where `position` says, and need no reset to 0.
            reset = reset.clone()
            reset[:, 0] = False

        hidden, after = self.network.hidden(  # B T H
            batch.x, states, reset=reset, position=batch.position, lengths=batch.lengths
        )
        if carried:
            self.carried = detached(after)
        if places is not None:
            if not len(places):
                return hidden.new_zeros(0)
            places = places.to(hidden.device, non_blocking=True)
        return self.network.losses(hidden, batch.y, places, batch.ahead(), batch.counted())

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
        """Return the mean loss since the last one that was given.

        That is about a hundred times in a run, and nothing in between.
        """
        progress = self.progress
        every = max(1, progress.total // 100)
        if progress.step % every and progress.step != progress.total:
            return None
        total, count = self.pending
        mean = total / count if count else None
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
            name = self.monitor.name
            value = metrics[name]
            odd = [other for other, figure in metrics.items() if math.isnan(figure)]
            if odd or not math.isfinite(value):
                yield from self._save()
                # Of outputs that are no number some figures are numbers all the same.
                if math.isfinite(value):
                    name, value = odd[0], math.nan
                raise self._diverged(f"the validation {name} is {value}", progress.step)
            better = self._better(value)
            validated = True
            yield Validated(progress, metrics, better)

        # Where a task names no number of steps, each validation is saved.
        every = training.checkpoint_every
        rhythmic = better or (progress.step % every == 0 if every else validated)
        if rhythmic or (not every and time.monotonic() - self.saved_at > EVERY):
            yield from self._save(best=better, rhythmic=rhythmic)

    def _better(self, value: float) -> bool:
        """Take note of what a validation measured; return whether it is the best so far."""
        cost = self.monitor.cost(value)
        better = cost < self.stopping.best - self.training.min_delta
        if better:
            self.stopping = EarlyStopping(cost, 0)
        else:
            self.stopping = EarlyStopping(self.stopping.best, self.stopping.waited + 1)
        self.rate.observe(cost)
        return better

    def _out_of_patience(self) -> bool:
        """Tell whether validation has not improved for as long as the task allows."""
        return 0 < self.training.patience <= self.stopping.waited

    def _save(
        self, best: bool = False, rhythmic: bool = True, over: bool = False
    ) -> Iterator[Saved]:
        """Give what is to be saved, as `Saved` says.

        Raises `RunError` (RC060) rather than give what is not finite.
        """
        if harmed := self._harmed():
            raise self._diverged(f"{harmed} is not finite", self.progress.step)
        yield Saved(self.state(), best, rhythmic, over)
        # Whoever listens has kept it now.
        self.saved_at = time.monotonic()
        self.saved_step = self.progress.step

    def _harmed(self) -> str:
        """Return what of all that is saved is not finite, or ""."""
        fields = flatten(self.carried) if self.carried is not None else {}
        for name, each in fields.items():
            if not bool(each.isfinite().all()):
                return f"the carried state {name}"
        return self.guard.harmed()

    def state(self) -> Checkpoint:
        """Return all that training needs to go on as if it had not stopped."""
        saved = self.optimizer.state_dict()
        moments, plain = split_optimizer(saved["state"])
        weights = dict(self.network.state_dict())
        tensors = {"weights": weights, "optimizer": moments}
        if self.carried is not None:
            tensors["carried"] = flatten(self.carried)
        tensors["random"] = self._random()

        progress = dict(vars(self.progress))
        del progress["loss"], progress["total"]
        validated = not math.isinf(self.stopping.best)
        state = {
            "progress": progress,
            "watch": vars(self.stopping) if validated else None,
            "rate": self.rate.save(),
            "optimizer": {"plain": plain, "groups": saved["param_groups"]},
            "pending": self.pending,
        }
        return Checkpoint(self.progress.step, tensors, state)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `state` gave."""
        tensors, state = checkpoint.tensors, checkpoint.state
        self.network.load_state_dict(tensors["weights"])

        saved = state["optimizer"]
        slots = join_optimizer(tensors.get("optimizer", {}), saved["plain"])
        pairs = zip(saved["groups"], self.optimizer.param_groups, strict=True)
        # What the task says counts, where it was changed since the checkpoint.
        _, said = chosen(self.training.optimizer)
        groups = [in_form(group, own, said) for group, own in pairs]
        self.optimizer.load_state_dict({"state": slots, "param_groups": groups})

        for name, value in state["progress"].items():
            setattr(self.progress, name, value)
        self.saved_step = checkpoint.step
        # Nothing is saved of it before the first validation.
        stopping = state["watch"] or {}
        self.stopping = EarlyStopping(**stopping)
        self.rate.restore(state["rate"])
        self.pending = list(state["pending"])

        carried = tensors.get("carried")
        if carried is not None:
            rows = len(next(iter(carried.values())))
            like = self.network.initial_states(rows)
            self.carried = detached(unflatten(like, carried))
        self._set_random(tensors["random"])
        self.guard.restored()

    def _diverged(self, what: str, step: int) -> RunError:
        """Return the error of what went wrong at a step, with what is saved and what to do."""
        safe = "nothing is saved"
        if self.saved_step is not None:
            safe = f"the weights of step {self.saved_step} are saved"

        cures = []
        if not self.training.clip_norm:
            cures.append("set training.clip_norm = 1.0")
        cures.append(f"lower the learning rate (it was {self.progress.rate:g})")
        if not self.rate.schedule.warmup_steps:
            cures.append("add schedule.warmup_steps")
        cures.append('try cell.init = "orthogonal"')
        return RunError.of("RC060", f"{what} at step {step}; {safe}", cure=", or ".join(cures))


def total_steps(training: Training, batches: int) -> int:
    """Return the updates of a run: as many as it says, or those of its epochs.

    Where it says nothing these are 10.
    """
    if training.steps is not None:
        return training.steps
    epochs = training.epochs or 10
    updates = -(-batches // training.accumulate)
    return epochs * updates
