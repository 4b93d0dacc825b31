"""An update on a panel of series beside a bare loop in PyTorch round the same network.

The bare loop has its batches ready; recurra cuts, scales and differences those of each update.
Both are given turns in one process, on one thread, and their processor time is taken.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from contextlib import suppress
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import torch
from panel import write
from torch import Tensor, nn
from torch.nn import functional

import recurra
from recurra.bench.clock import undisturbed
from recurra.bench.training import Turns
from recurra.data.batches import Batch
from recurra.errors import Interrupted
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.job.train import listened
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.runs.folder import RunFolder

TASK = """\
schema = 1
[source]
kind = "parquet"
path = "panel.parquet"
[vocabulary]
kind = "numeric"
scale_by = "series"
difference = 1
[sequence]
length = 64
[encoder]
kind = "{encoder}"
[cell]
kind = "gru"
hidden_size = 64
[loss]
kind = "mse"
[training]
steps = 1000000
batch_size = {batch}
optimizer = {{ kind = "adam", lr = 0.001 }}
clip_norm = 1.0
[generation]
length = 1
[device]
kind = "cpu"
threads = 1
"""
READY = 256
"""Batches that the bare loop has ready."""


class Bare:
    """A training loop as one writes it by hand, on batches that are there."""

    def __init__(self, network: Network, batches: list[tuple[Tensor, Tensor]]) -> None:
        self.network = network
        self.batches = cycle(batches)
        self.optimizer = torch.optim.Adam(network.parameters(), lr=0.001)

    def step(self) -> None:
        """Update the weights once."""
        x, y = next(self.batches)
        self.optimizer.zero_grad()
        output, _ = self.network(x)
        loss = functional.mse_loss(output, y)
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()


def compared(folder: Path, encoder: str, batch: int, pairs: int) -> list[tuple[float, float]]:
    """Return the seconds of an update, of recurra and of the bare loop, of each pair of turns."""
    (folder / "task.toml").write_text(TASK.format(encoder=encoder, batch=batch), encoding="utf-8")
    task = resolve(folder / "task.toml", {})
    with arithmetic(task.task.device), undisturbed():
        data = load_data(task)
        network, _ = build_network(task, data.vocabulary.size, data.names)
        twin = copy.deepcopy(network).train()
        trainer = build_trainer(task, data, network, stop_asked=lambda: turns.done)
        ready = [
            (each.x, each.y)
            for each in islice(trainer.feed.epoch(0), READY)
            if isinstance(each, Batch) and len(each.x) == batch
        ]
        turns = Turns(Bare(twin, ready), pairs, clock=time.process_time)
        run = RunFolder.create(folder, f"{encoder}-{batch}")
        with suppress(Interrupted):
            listened(trainer, run, turns, sample=str)
    return list(zip(turns.ours, turns.others, strict=True))


def main() -> None:
    """Measure each shape, and print the medians."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--series", type=int, default=1000)
    arguments.add_argument("--steps", type=int, default=500)
    arguments.add_argument("--pairs", type=int, default=41)
    given = arguments.parse_args()
    print(f"recurra {recurra.__version__}, torch {torch.__version__}, one thread")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "panel.parquet", given.series, given.steps, interleaved=False)
        for encoder in ("identity", "linear"):
            for batch in (8, 32):
                found = compared(folder, encoder, batch, given.pairs)
                ours, bare = (1000 * median(column) for column in zip(*found, strict=True))
                ratios = sorted(one / other for one, other in found)
                low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
                print(
                    f"{encoder:8} B{batch:<2} T64 H64  recurra {ours:6.2f} ms  bare {bare:6.2f} ms"
                    f"  {median(ratios):.3f} (half of the turns {low:.3f} to {high:.3f})",
                    flush=True,
                )


if __name__ == "__main__":
    main()
