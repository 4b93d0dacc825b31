"""Row 7: a training step of the whole engine beside a bare loop by hand round the same network."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.bench.clock import LEAST, WARM, Clock, undisturbed
from recurra.bench.layers import flops
from recurra.bench.records import Finding, Setting, Shape
from recurra.bench.tasks import SYMBOLS, resolved
from recurra.errors import Interrupted
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.job.train import Silent, listened
from recurra.model.device import arithmetic
from recurra.runs.folder import RunFolder
from recurra.train.events import Progress

TEXT = 1 << 18
"""Symbols of the text."""


def engine_against_bare(shape: Shape, setting: Setting) -> Finding:
    """Measure a step of the `Trainer` beside one of `Bare`, some of each in turn."""
    changes = {
        "sequence.length": shape.steps,
        "training.batch_size": shape.batch,
        "encoder.size": shape.width,
        "cell.hidden_size": shape.width,
        "device.path": "native",
        "device.kind": "cpu",
    }
    symbols = shape.batch * shape.steps
    size = max(TEXT, 4 * symbols)
    with resolved(size, changes) as (task, folder), arithmetic(task.task.device), undisturbed():
        data = load_data(task)
        network, _ = build_network(task, data.vocabulary.size, data.names)
        ids = torch.from_numpy(data.store.values.astype("int64"))
        twin = copy.deepcopy(network).train()
        turns = Turns(Bare(twin, ids, shape), setting.pairs)

        trainer = build_trainer(task, data, network, stop_asked=lambda: turns.done)
        run = RunFolder.create(folder, "bench")
        with suppress(Interrupted):  # which is how it is told to stop
            listened(trainer, run, turns, sample=str)

    # A product for the logits, and two for its gradients; a multiply-add is two operations.
    head = 6.0 * symbols * shape.width * len(SYMBOLS)
    layer = flops("lstm", shape)
    return Finding(turns.ours, turns.others, flops=layer + head, path="native")


class Bare:
    """A training loop as one writes it by hand: windows of a tensor of ids, drawn at random."""

    def __init__(self, network: nn.Module, ids: Tensor, shape: Shape) -> None:
        self.network = network
        self.ids = ids
        self.shape = shape
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=0.002)
        self.offsets = torch.arange(shape.steps + 1)
        self.generator = torch.Generator().manual_seed(0)

    def step(self) -> None:
        """Update the weights once, on windows drawn at random."""
        last = len(self.ids) - self.shape.steps
        starts = torch.randint(last, (self.shape.batch, 1), generator=self.generator)
        windows = self.ids[starts + self.offsets]  # B T+1
        self.update(windows[:, :-1], windows[:, 1:])

    def update(self, x: Tensor, y: Tensor) -> Tensor:
        """Update the weights once, on inputs and targets `[B, T]`; return the loss before."""
        self.optimizer.zero_grad()
        logits, _ = self.network(x)
        loss: Any = functional.cross_entropy(logits.flatten(0, 1), y.flatten())
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        before: Tensor = loss.detach()
        return before


class Turns(Silent):
    """Watches a training; after every few steps of the engine's the bare loop makes as many.

    `ours` and `others` are the seconds of a step, the engine's from the end of the bare loop's turn
    to the end of its own. The first turn warms both up and is left out. `between` is called after
    both with the steps of a turn, so that a third may have as many.
    """

    def __init__(
        self,
        bare: Bare,
        pairs: int,
        clock: Clock = time.perf_counter,
        least: float = LEAST,
        between: Callable[[int], object] = lambda steps: None,
    ) -> None:
        self.bare = bare
        self.between = between
        self.pairs = pairs
        self.clock = clock
        self.least = least

        self.ours: list[float] = []
        self.others: list[float] = []
        self.steps = WARM  # of a turn
        self.made = 0  # in this one
        self.start: float | None = None  # of this turn, once both are warm

    @property
    def done(self) -> bool:
        """Whether enough has been measured."""
        return len(self.others) >= self.pairs

    def stepped(self, progress: Progress) -> None:
        """Count a step of the engine's; at the end of its turn, let the bare loop have one."""
        self.made += 1
        if self.made < self.steps or self.done:
            return

        now, self.made = self.clock(), 0
        with plain():
            took = self._bare()

        if self.start is None:
            self._bare_warm()
        else:
            self.ours.append((now - self.start) / self.steps)
            self.others.append(took)
            self.between(self.steps)
        self.start = self.clock()

    def _bare_warm(self) -> None:
        """Set how many steps a turn has, once the bare loop is warm."""
        with plain():
            seconds = self._bare()
        self.steps = math.ceil(self.least / max(seconds, 1e-7))

    def _bare(self) -> float:
        """Let the bare loop have its turn; return the seconds of a step."""
        start = self.clock()
        for _ in range(self.steps):
            self.bare.step()
        seconds = self.clock() - start
        return seconds / self.steps


@contextmanager
def plain() -> Iterator[None]:
    """Leave the engine's demand for determinism, which a loop by hand does not make."""
    mode: Any = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("default")
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
