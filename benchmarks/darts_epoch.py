"""One training epoch of Darts' RNNModel beside one of recurra: the same series, windows, network
and optimizer. Both then forecast steps that they have not seen.
"""

from __future__ import annotations

import argparse
import logging
import math
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from darts import TimeSeries
from darts.models import RNNModel
from pytorch_lightning.callbacks import Callback

import recurra
from recurra.job.train import Silent
from recurra.train.events import Progress

BATCH, STEPS, HIDDEN, WINDOWS = 8, 64, 64, 2000
RATE = 0.001
AHEAD = 64
"""Steps at the end that are forecast, and not seen before."""

TASK = """\
schema = 1
[source]
kind = "inline"
values = {values}
[vocabulary]
kind = "numeric"
[sequence]
length = {steps}
stride = 1
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
"""


class Epochs(Callback):
    """Takes the seconds and the updates of each epoch of Darts."""

    def __init__(self) -> None:
        self.found: list[tuple[float, int]] = []

    def on_train_epoch_start(self, trainer: object, module: object) -> None:
        """Start the clock."""
        self.start = time.perf_counter()
        self.updates = 0

    def on_train_batch_end(self, *given: object) -> None:
        """Count an update."""
        self.updates += 1

    def on_train_epoch_end(self, trainer: object, module: object) -> None:
        """Stop the clock."""
        self.found.append((time.perf_counter() - self.start, self.updates))


class Watch(Silent):
    """Takes the seconds and the updates of each epoch of recurra."""

    def __init__(self) -> None:
        self.found: list[tuple[float, int]] = []

    def started(self, total: int, done: int) -> None:
        """Start the clock."""
        self.start, self.updates = time.perf_counter(), 0

    def stepped(self, progress: Progress) -> None:
        """Count an update, and stop the clock after the last of an epoch."""
        self.updates += 1
        if progress.batch == 0:
            now = time.perf_counter()
            self.found.append((now - self.start, self.updates))
            self.start, self.updates = now, 0


def mase(predicted: Sequence[float], values: Sequence[float]) -> float:
    """Return the mean absolute error of the last steps, by that of naive forecasts before them."""
    seen, came = np.asarray(values[:-AHEAD]), np.asarray(values[-AHEAD:])
    return float(np.abs(np.asarray(predicted) - came).mean() / np.abs(np.diff(seen)).mean())


def of_darts(
    values: Sequence[float], cell: str, epochs: int
) -> tuple[list[tuple[float, int]], float]:
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
        n_epochs=epochs + 1,
        optimizer_kwargs={"lr": RATE},
        random_state=0,
        pl_trainer_kwargs={**quiet, "callbacks": [watch]},
    )
    model.fit(TimeSeries.from_values(np.asarray(values[:-AHEAD], np.float32)), verbose=False)
    predicted = model.predict(AHEAD, verbose=False).values()[:, 0]
    return watch.found[1:], mase(predicted.tolist(), values)


def of_recurra(
    values: Sequence[float], cell: str, epochs: int
) -> tuple[list[tuple[float, int]], float]:
    """Return the seconds and updates of each epoch but the first, and the mase."""
    watch = Watch()
    told = TASK.format(
        values=list(values[:-AHEAD]),
        cell=cell,
        steps=STEPS,
        hidden=HIDDEN,
        batch=BATCH,
        rate=RATE,
        epochs=epochs + 1,
    )
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "task.toml").write_text(told)
        task, runs = Path(folder) / "task.toml", Path(folder) / "runs"
        run = recurra.run(task, runs=runs, observer=watch)
        session = run.session().feed(list(values[:-AHEAD]))
        predicted = [float(session.forecast_step()[0]) for _ in range(AHEAD)]
    return watch.found[1:], mase(predicted, values)


def main() -> None:
    """Measure in turn, and print the medians."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--cell", choices=["lstm", "gru"], default="lstm")
    arguments.add_argument("--rounds", type=int, default=4)
    arguments.add_argument(
        "--epochs", type=int, default=2, help="of each training, after the first"
    )
    given = arguments.parse_args()
    warnings.simplefilter("ignore")
    for name in ("pytorch_lightning", "lightning.pytorch", "darts"):
        logging.getLogger(name).setLevel(logging.ERROR)
    values = [
        round(math.sin(index / 7) + 0.3 * math.sin(index / 31), 6)
        for index in range(WINDOWS + STEPS + AHEAD)
    ]
    darts: list[tuple[float, int]] = []
    ours: list[tuple[float, int]] = []
    errors: dict[str, list[float]] = {"darts": [], "recurra": []}
    for _ in range(given.rounds):
        found, error = of_darts(values, given.cell, given.epochs)
        darts += found
        errors["darts"].append(error)
        found, error = of_recurra(values, given.cell, given.epochs)
        ours += found
        errors["recurra"].append(error)
    print(
        f"{given.cell}, B{BATCH} T{STEPS} H{HIDDEN}, {torch.get_num_threads()} threads, torch"
        f" {torch.__version__}"
    )
    for name, found in (("darts", darts), ("recurra", ours)):
        step = median(seconds / updates for seconds, updates in found)
        print(
            f"{name:8} {median(s for s, _ in found):.3f} s an epoch of {found[0][1]} updates,"
            f" {1000 * step:.2f} ms each; mase {median(errors[name]):.3f} of {AHEAD} steps ahead"
        )
    ratios = [(a / n) / (b / m) for (a, n), (b, m) in zip(darts, ours, strict=True)]
    print(
        f"an update of recurra is {median(ratios):.2f} times as fast ({min(ratios):.2f} to"
        f" {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
