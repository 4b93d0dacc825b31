"""The one training loop: batches in, updates out.

Now and then it looks at the validation split, and gives a checkpoint.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeAlias

import torch
from torch import Tensor, nn, optim

from recurra.contracts.metric import LOSS, Figure, Metrics
from recurra.data.batches import Batch, Whole
from recurra.data.feeds import Feed
from recurra.engine.memory import kept
from recurra.errors import RunError
from recurra.model.network import Network, States, detached, flatten, unflatten
from recurra.randomness import begin, global_state, set_global_state
from recurra.runs.checkpoints import Checkpoint
from recurra.spec.tables import Training
from recurra.train.events import Ended, Event, Progress, Saved, Updated, Validated
from recurra.train.guard import Guard, NotFinite, looked_at
from recurra.train.optimizer import Rate, chosen
from recurra.train.passes import Passes
from recurra.train.saved import in_form, join_optimizer, split_optimizer
from recurra.world import World, world

if TYPE_CHECKING:
    from recurra.train.joint import Joint

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
    """All that one run of training needs; `state` and `restore` are what a checkpoint holds.

    Where a `world` of several processes trains, each has a trainer and goes over its own rows of
    every batch; all they decide, and all that is saved, is the same in each.
    """

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
    # Sum and count of losses since the last mean.
    pending: list[float] = field(default_factory=list)
    # Updates, scored steps and seconds, each time that a mean was given.
    pace: list[list[float]] = field(default_factory=list)
    # The step that was saved last.
    saved_step: int | None = None
    world: World = field(default_factory=world)

    def __post_init__(self) -> None:
        if self.world.size > 1:
            self.feed = replace(self.feed, world=self.world)
        self.passes = Passes(self.network, self.feed, self.world)
        self.stopping_asked = self.late = False
        # The signal that ends several processes, whichever of them has heard it.
        self.signal = 0
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
        with kept(self.network.parameters()), self._joined():
            yield from self._events()

    @contextmanager
    def _joined(self) -> Iterator[None]:
        """Add up gradients over all processes meanwhile, where there are others."""
        if self.world.size == 1:
            yield
            return

        # Torch's module for that is loaded for it alone.
        from recurra.train.joint import Joint

        joint = self.passes.joint = Joint(self.parameters, self.world)
        try:
            yield
        finally:
            joint.close()
            self.passes.joint = None

    def _events(self) -> Iterator[Event]:
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
            asked = self.stop_asked() if self.passes.joint is None else self.stopping_asked
            if asked and self.progress.step < self.progress.total:
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
        self.passes.carried, streams = before
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
        if self.passes.joint is not None:
            self._own_draws()
        scored, share_of = self._counted(batches)
        losses = [self._backward(index, batches, share_of) for index in range(len(batches))]
        agreed = None if self.passes.joint is None else self._agreed(self.passes.joint, losses)
        gradients = [weight.grad for weight in self.parameters if weight.grad is not None]

        # The one look at what the device has made of this update.
        seen, norm, size = looked_at([] if agreed is not None else losses, gradients)
        total = sum(seen) if agreed is None else agreed
        if not math.isfinite(total):
            raise NotFinite(f"the loss is {total}")
        if not math.isfinite(size):
            raise NotFinite(f"the norm of the gradient is {size}")
        # An update of which nothing is scored is none: neither decay nor momentum move a weight.
        if scored:
            self._step(norm, size)
            progress.loss = total

        progress.norm = size
        progress.step += 1
        progress.batch += len(batches)
        progress.tokens += scored
        self.pending[0] += total
        self.pending[1] += scored > 0
        if progress.batch >= self.feed.batches:
            progress.epoch += 1
            progress.batch = 0
            self.passes.carried = None

    def _counted(self, batches: list[Batch | Whole]) -> tuple[int, float]:
        """Return how many answers are scored, and what to divide by, of all processes.

        There one that is partly missing counts less.
        """
        scored = sum(batch.scored for batch in batches)
        if not self.network.partly_missing:
            if self.passes.joint is not None:
                scored = int(self.world.total(scored)[0])
            return scored, max(scored, 1)
        scoring = self.network.scoring
        share_of = float(sum(scoring.total(batch.answers) for batch in batches))
        if self.passes.joint is not None:
            count, share_of = self.world.total(scored, share_of)
            scored = int(count)
        return scored, share_of or 1.0

    def _agreed(self, joint: Joint, losses: list[Tensor]) -> float:
        """Return the loss of all processes, and take note of what they decide together."""
        late = time.monotonic() - self.saved_at > EVERY
        number = getattr(self.stop_asked, "number", None)
        agreed = joint.agree(sum(map(float, losses)), self.stop_asked(), late, number)
        self.stopping_asked, self.late, self.signal = agreed.stop, agreed.late, agreed.signal
        return agreed.loss

    def _clear(self) -> None:
        if self.passes.joint is not None:
            self.passes.joint.forget()
        for weight in self.parameters:
            weight.grad = None

    def _step(self, norm: Tensor, size: float) -> None:
        """Update the weights by gradients of a norm, clipped where the task says so.

        `size` is the norm as a number.

        Raises `NotFinite` where anything would be infinite after it.
        """
        most = self.training.clip_norm
        if most:
            nn.utils.clip_grads_with_norm_(self.parameters, most, norm)
            size = min(size, most)
        elif size > torch.finfo(self.network.dtype).max ** 0.5:
            dtype = str(self.network.dtype).removeprefix("torch.")
            raise NotFinite(f"the norm of the gradient is {size:g}, and its square leaves {dtype}")
        self.guard.update(size)

    def _fleeting(self) -> Fleeting:
        """Return what the forward pass of an update changes."""
        return self.passes.carried, self.random()

    def random(self) -> dict[str, Tensor]:
        """Return the streams that training draws from: dropout's, and torch's own.

        A plugin may use the latter.
        """
        streams = global_state(self.network.device)
        noise = self.network.noise
        return streams if noise is None else streams | noise.state()

    def _own_draws(self) -> None:
        """Let a plugin draw, for the rows here, what no other process draws.

        It hangs on the update, for a checkpoint holds the streams of the first process alone.
        """
        noise = self.network.noise
        seed = 0 if noise is None else noise.seed
        place = "plugins", self.progress.step, self.world.rank
        begin(seed, *place, device=self.network.device)

    def _set_random(self, streams: dict[str, Tensor]) -> None:
        set_global_state(streams, self.network.device)
        noise = self.network.noise
        if noise is not None:
            noise.restore(streams)

    def _backward(self, index: int, batches: list[Batch | Whole], scored: float) -> Tensor:
        """Return the share of one batch of an update, the one of this `index`, of the mean loss."""
        return self.passes.backward(
            batches[index],
            scored,
            (self.progress.step, index),
            self.progress.batch + index,
            last=index == len(batches) - 1,
        )

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
        self.pace.append([progress.step, progress.tokens, progress.seconds])
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
        late = time.monotonic() - self.saved_at > EVERY
        if rhythmic or (not every and (late if self.passes.joint is None else self.late)):
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
        carried = self.passes.carried
        fields = flatten(carried) if carried is not None else {}
        for name, each in fields.items():
            if not bool(each.isfinite().all()):
                harmed = f"the carried state {name}"
                break
        else:
            harmed = self.guard.harmed()
        return next(filter(None, self.world.gathered(harmed)), "")

    def state(self) -> Checkpoint:
        """Return all that training needs to go on as if it had not stopped."""
        saved = self.optimizer.state_dict()
        moments, plain = split_optimizer(saved["state"])
        weights = dict(self.network.state_dict())
        tensors = {"weights": weights, "optimizer": moments}
        if self.passes.carried is not None:
            tensors["carried"] = self._gathered(flatten(self.passes.carried))
        tensors["random"] = self.random()

        progress = dict(vars(self.progress))
        del progress["loss"], progress["norm"], progress["total"]
        validated = not math.isinf(self.stopping.best)
        state = {
            "progress": progress,
            "watch": vars(self.stopping) if validated else None,
            "rate": self.rate.save(),
            "optimizer": {"plain": plain, "groups": saved["param_groups"]},
            "pending": self.pending,
            "pace": self.pace,
        }
        return Checkpoint(self.progress.step, tensors, state)

    def _gathered(self, carried: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the carried states of all processes, lane after lane."""
        if self.world.size == 1:
            return carried
        parts = self.world.gathered({name: field.cpu() for name, field in carried.items()})
        return {name: torch.cat([part[name] for part in parts]) for name in carried}

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take back what `state` gave, of carried states those of this process."""
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
        # Checkpoints of before do not say.
        self.pace = list(state.get("pace", []))

        carried = tensors.get("carried")
        if carried is not None:
            own = self.world.part(self.feed.batch_size)
            carried = {name: field[own] for name, field in carried.items()}
            like = self.network.initial_states(own.stop - own.start)
            self.passes.carried = detached(unflatten(like, carried))
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
