"""One training epoch of Darts' RNNModel beside one of recurra: the same series, windows, network
and optimizer. Both then forecast steps that they have not seen.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
import warnings
from itertools import chain
from pathlib import Path
from statistics import median

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel
from numpy.typing import NDArray
from pytorch_lightning.callbacks import Callback

import recurra
from recurra.job.train import Silent
from recurra.train.events import Progress

Floats = NDArray[np.float64]

BATCH, STEPS, HIDDEN = 8, 64, 64
RATE = 0.001
SERIES, LENGTH, AHEAD = 10, 200, 24
"""How many series there are, the steps of each, and those after them that are forecast."""
PERIOD = 12
Found = tuple[float, float, int]
"""Seconds of an epoch by the clock, those of the processor, and its updates."""

TASK = """\
schema = 1
seed = {seed}
[source]
kind = "inline"
series = {series}
[vocabulary]
kind = "numeric"
scale = "none"
[sequence]
length = {steps}
stride = 1
split = [1.0, 0.0, 0.0]
[encoder]
kind = "identity"
[cell]
kind = "{cell}"
hidden_size = {hidden}
[loss]
kind = "mse"
[training]
epochs = {epochs}
batch_size = {batch}
optimizer = {{ kind = "adam", lr = {rate} }}
[generation]
length = 1
[device]
kind = "cpu"
threads = 1
"""


class Epochs(Callback):
    """Takes the seconds and the updates of each epoch of Darts."""

    def __init__(self) -> None:
        self.found: list[Found] = []

    def on_train_epoch_start(self, trainer: object, module: object) -> None:
        """Start the clocks."""
        self.start = time.perf_counter(), time.process_time()
        self.updates = 0

    def on_train_batch_end(self, *given: object) -> None:
        """Count an update."""
        self.updates += 1

    def on_train_epoch_end(self, trainer: object, module: object) -> None:
        """Stop the clocks."""
        wall, processor = self.start
        now = time.perf_counter() - wall, time.process_time() - processor
        self.found.append((*now, self.updates))


class Watch(Silent):
    """Takes the seconds and the updates of each epoch of recurra."""

    def __init__(self) -> None:
        self.found: list[Found] = []

    def started(self, total: int, done: int) -> None:
        """Start the clocks."""
        self.start, self.updates = (time.perf_counter(), time.process_time()), 0

    def stepped(self, progress: Progress) -> None:
        """Count an update, and stop the clocks after the last of an epoch."""
        self.updates += 1
        if progress.batch == 0:
            now = time.perf_counter(), time.process_time()
            self.found.append((now[0] - self.start[0], now[1] - self.start[1], self.updates))
            self.start, self.updates = now, 0


def drawn() -> Floats:
    """Return seasonal series with noise, `[SERIES, LENGTH + AHEAD]`, each with its own phase."""
    draw = np.random.default_rng(0)
    at = np.arange(LENGTH + AHEAD) / PERIOD + draw.uniform(0, 1, (SERIES, 1))
    size = draw.uniform(0.5, 1.5, (SERIES, 1))
    season = np.sin(2 * np.pi * at) + 0.4 * np.sin(4 * np.pi * at)
    return np.asarray(size * season + draw.normal(0, 0.2, at.shape)).round(6)


def mase(predicted: Floats, values: Floats) -> float:
    """Return the mean absolute error of the last steps, by that of naive forecasts before them."""
    seen, came = values[:, :-AHEAD], values[:, -AHEAD:]
    errors = np.abs(predicted - came).mean(axis=1) / np.abs(np.diff(seen)).mean(axis=1)
    return float(errors.mean())


def of_darts(values: Floats, cell: str, epochs: int, seed: int) -> tuple[list[Found], float]:
    """Return the seconds and updates of each epoch but the first, and the mase."""
    watch = Epochs()
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
        "accelerator": "cpu",
    }
    model = RNNModel(
        input_chunk_length=STEPS - 1,
        training_length=STEPS,
        model=cell.upper(),
        hidden_dim=HIDDEN,
        n_rnn_layers=1,
        batch_size=BATCH,
        n_epochs=epochs,
        optimizer_kwargs={"lr": RATE},
        random_state=seed,
        pl_trainer_kwargs={**quiet, "callbacks": [watch]},
    )
    series = [TimeSeries.from_values(row[:-AHEAD].astype(np.float32)) for row in values]
    model.fit(series, verbose=False)
    predicted = model.predict(AHEAD, series=series, verbose=False)
    return watch.found[1:], mase(np.stack([each.values()[:, 0] for each in predicted]), values)


def of_recurra(values: Floats, cell: str, epochs: int, seed: int) -> tuple[list[Found], float]:
    """Return the seconds and updates of each epoch but the first, and the mase."""
    watch = Watch()
    told = TASK.format(
        series=values[:, :-AHEAD].tolist(),
        cell=cell,
        steps=STEPS,
        hidden=HIDDEN,
        batch=BATCH,
        rate=RATE,
        epochs=epochs,
        seed=seed,
    )
    predicted = []
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task.toml").write_text(told)
        task, runs = Path(folder) / "task.toml", Path(folder) / "runs"
        run = recurra.run(task, runs=runs, observer=watch)
        for row in values[:, :-AHEAD]:
            session = run.session().feed(row.tolist())
            predicted.append([float(session.forecast_step()[0]) for _ in range(AHEAD)])
    return watch.found[1:], mase(np.array(predicted), values)


def main() -> None:
    """Measure in turn, and print the medians."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cell", choices=["lstm", "gru"], default="lstm")
    arguments.add_argument("--seeds", type=int, default=5)
    arguments.add_argument("--epochs", type=int, default=15)
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "darts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    torch.set_num_threads(1)

    values = drawn()
    sides = {"darts": of_darts, "recurra": of_recurra}
    found: dict[str, list[list[Found]]] = {side: [] for side in sides}
    errors: dict[str, list[float]] = {side: [] for side in sides}
    for seed in range(given.seeds):
        for side, measured in sides.items():
            epochs, error = measured(values, given.cell, given.epochs, seed)
            found[side].append(epochs)
            errors[side].append(error)
        print(
            f"seed {seed}: mase of darts {errors['darts'][-1]:.4f}, of recurra"
            f" {errors['recurra'][-1]:.4f}",
            flush=True,
        )

    print(f"{given.cell}, B{BATCH} T{STEPS} H{HIDDEN}, one thread, torch {torch.__version__}")
    for side, trainings in found.items():
        wall, processor, updates = map(median, zip(*chain(*trainings), strict=True))
        print(
            f"{side:8} {wall:.3f} s an epoch of {updates:g} updates, {processor:.3f} s of the"
            f" processor; mase {median(errors[side]):.4f} of {AHEAD} steps ahead"
        )
    for place, clock in enumerate(("by the clock", "by processor time")):
        ratios = []
        for pair in zip(*found.values(), strict=True):
            darts, ours = (median(epoch[place] / epoch[2] for epoch in side) for side in pair)
            ratios.append(darts / ours)
        print(
            f"an update of recurra is {median(ratios):.2f} times as fast {clock}"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
