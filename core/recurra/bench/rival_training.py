"""Row 21: a training step of the whole engine beside a bare loop in torch, and beside JAX."""

from __future__ import annotations

import copy
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from recurra.bench.clock import undisturbed
from recurra.bench.layers import chosen_paths
from recurra.bench.records import Finding, Setting, Shape, Skipped
from recurra.bench.rival_generation import weights
from recurra.bench.rival_layers import FORMS, Raced
from recurra.bench.rivals import Race, Theirs, Took, agree, held, started, stored, together
from recurra.bench.tasks import scratch
from recurra.bench.training import Bare, Turns, plain
from recurra.engine.load import Load
from recurra.errors import Interrupted
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.job.train import listened
from recurra.model.device import arithmetic
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.resolved import Resolved
from recurra.runs.folder import RunFolder

TASK = """\
schema = 1
[source]
kind = "python-docs"
[vocabulary]
kind = "character"
[sequence]
length = {steps}
[encoder]
kind = "embedding"
size = {width}
[cell]
kind = "{cell}"
hidden_size = {width}
num_layers = {layers}
[loss]
kind = "cross_entropy"
[training]
steps = 1000000
batch_size = {batch}
optimizer = {{ kind = "adamw", lr = {lr}, weight_decay = {weight_decay} }}
clip_norm = {clip_norm}
[device]
kind = "cpu"
threads = {threads}
"""
LAYERS = 2
SCRIPT = "jax_training.py"
OPTIMIZER = {"lr": 0.002, "weight_decay": 0.01, "clip_norm": 1.0}
"""That of `Bare`."""
MODULES = {"lstm": nn.LSTM, "gru": nn.GRU}
CHECKED = 5
"""Updates whose losses are compared."""
OURS, BARE = "recurra", "bare loop"


class SameLayers(nn.Module):
    """The layers of a network put together by hand: each is given the vectors of all steps."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        parts = copy.deepcopy((network.encoder, network.layers, network.head))
        self.encoder, self.layers, self.head = parts

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return the logits `[B, T, V]` of ids `[B, T]`, and the states."""
        hidden, states = self.encoder(x), []
        for layer in self.layers:
            hidden, state = layer(hidden)
            states.append(state)
        return self.head(hidden), states


class ByHand(nn.Module):
    """A character model of torch's own modules, with the weights of a network of recurra."""

    def __init__(self, network: Network, kind: str) -> None:
        super().__init__()
        size, width = network.head.weight.shape
        self.embedding = nn.Embedding(size, width)
        self.layers = MODULES[kind](width, width, num_layers=LAYERS, batch_first=True)
        self.head = nn.Linear(width, size)

        named = {name: torch.from_numpy(each) for name, each in weights(network).items()}
        own = {}
        for name, weight in named.items():
            number, _, rest = name.partition(".")
            own[f"layers.{rest}_l{number}" if number.isdigit() else name] = weight
        own["embedding.weight"] = own.pop("embedding")
        self.load_state_dict(own)

    def forward(self, x: Tensor) -> tuple[Tensor, Any]:
        """Return the logits `[B, T, V]` of ids `[B, T]`, and the state."""
        outputs, state = self.layers(self.embedding(x))
        return self.head(outputs), state


def by_hand(network: Network, kind: str) -> nn.Module:
    """Return a network as one writes it by hand, of cells of a kind."""
    return ByHand(network, kind) if kind in MODULES else SameLayers(network)


def against_bare(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure an update of the engine beside one of a bare loop.

    The loop trains torch's own modules; where torch has none of the kind, the same layers. JAX has
    turns with them where it can, for its own row.
    """
    try:
        raced = _raced(name, shape, setting)
    except (Skipped, RuntimeError, ValueError):
        if "jax" not in setting.rivals.pythons:
            raise
        raced = _raced(name, shape, setting, beside=False)
    return _finding(raced, [BARE])


def against_jax(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure an update of the engine beside the best of JAX."""
    started(setting.rivals, "jax", SCRIPT).close()  # says at once what is missing
    raced = _raced(name, shape, setting)
    return _finding(raced, [str(form) for form in FORMS[name]])


def _finding(raced: Raced, others: list[str]) -> Finding:
    """Return the engine beside the best of others; one clock alone is read here."""
    return replace(raced.race.finding(OURS, others, path=raced.path), walls={})


def _raced(name: str, shape: Shape, setting: Setting, beside: bool = True) -> Raced:
    key = "training", name, shape, beside
    return setting.rivals.once(key, lambda: _trained(name, shape, setting, beside))


def _trained(name: str, shape: Shape, setting: Setting, beside: bool) -> Raced:
    """Let the engine, the bare loop and JAX take turns, once loop and JAX give the same losses.

    JAX does so where it is named, and only `beside`.
    """
    rivals = setting.rivals
    with ExitStack() as stack:
        stack.enter_context(held(rivals.threads))
        folder = Path(stack.enter_context(scratch()))
        task = _task(folder, name, shape, rivals.threads)
        stack.enter_context(arithmetic(task.task.device))
        data = load_data(task)
        network, _ = build_network(task, data.vocabulary.size, data.names)

        ids = torch.from_numpy(data.store.values.astype("int64"))
        windows = ids[: CHECKED * shape.batch * (shape.steps + 1)]
        windows = windows.view(CHECKED, shape.batch, shape.steps + 1)
        twin = by_hand(network, name)
        bare = Bare(twin.train(), ids, shape)
        arrays = {**weights(network), "ids": ids.numpy(), "windows": windows.numpy()}
        losses = [float(bare.update(each[:, :-1], each[:, 1:])) for each in windows]

        sides: dict[str, Theirs] = {}
        if beside and "jax" in rivals.pythons:
            rival = stack.enter_context(started(rivals, "jax", SCRIPT))
            for form in FORMS[name]:
                case = {"cell": name, "layers": LAYERS, **form._asdict(), **OPTIMIZER}
                side = rival.side(str(form), case, stored(str(folder), arrays))
                agree(str(form), {"losses": np.array(losses)}, side.answer())
                sides[str(form)] = side

        clock = time.process_time if rivals.threads == 1 else time.perf_counter
        taken: dict[str, list[Took]] = {form: [] for form in sides}

        def between(steps: int) -> None:
            with plain():
                for form, side in sides.items():
                    taken[form].append(side.timed(steps))

        load = Load(partial(together, [side.rival for side in sides.values()][:1]))
        turns = Turns(bare, setting.pairs, clock=clock, between=between)
        trainer = build_trainer(task, data, network, stop_asked=lambda: turns.done)
        run = RunFolder.create(folder, "bench")
        with undisturbed(), suppress(Interrupted):  # which is how it is told to stop
            listened(trainer, run, turns, sample=str)

        for role, seconds in ((OURS, turns.ours), (BARE, turns.others)):
            taken[role] = [Took(each, each) for each in seconds]
        made = Race(taken, load.foreign(), by_processor=rivals.threads == 1)
        return Raced(made, chosen_paths(network.cells))


def _task(folder: Path, name: str, shape: Shape, threads: int) -> Resolved:
    """Return the task, which is written into a folder."""
    sizes = {"batch": shape.batch, "steps": shape.steps, "width": shape.width}
    text = TASK.format(cell=name, layers=LAYERS, threads=threads, **sizes, **OPTIMIZER)
    path = folder / "task.toml"
    path.write_text(text, encoding="utf-8")
    return resolve(path, {})
