"""What can be known of a task without training it: sizes, shapes, paths, memory and time."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.data.batches import Batch, Whole
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.feeds import Answered, Lanes, Sequences, Windows
from recurra.data.splits import Split, SplitName
from recurra.engine.choice import Choice
from recurra.engine.measure import wait
from recurra.engine.recurrence import State
from recurra.job import origins
from recurra.job.build import build_optimizer, fresh_network, sized
from recurra.job.covariates import short_ahead
from recurra.job.data import Data
from recurra.job.preflight import preflight
from recurra.job.report import (
    CovariateSize,
    DataSizes,
    Memory,
    Part,
    Report,
    SplitSizes,
    Stage,
    Updates,
)
from recurra.model import sequences
from recurra.model.network import Network, names
from recurra.resolved import Resolved
from recurra.spec.tables import Task
from recurra.train.loop import total_steps

CUT: dict[type, str] = {
    Lanes: "lanes",
    Windows: "windows",
    Sequences: "sequences",
    Answered: "sequences",
}
"""How batches are cut, in a word."""
TRIALS = 4
"""Steps that are measured at most, of which the first only warms up."""
PATIENCE = 3.0
"""Seconds after which no further step is measured."""


def summary(resolved: Resolved, data: Data) -> Report:
    """Return the report of `recurra check`.

    One step forward and back is measured, and nothing is updated.
    """
    network, choices = fresh_network(resolved, data)
    optimizer = build_optimizer(resolved, network)
    preflight(resolved, data, network)

    batch = first_batch(data).to(network.device)
    task = resolved.task
    with sized(resolved, network):
        seconds, activations = measure(network, batch, task.sequence.length)

    # An update is made of several batches, where gradients are accumulated.
    accumulate = task.training.accumulate
    updates = Updates(
        steps=total_steps(task.training, data.feed.batches),
        batches_per_epoch=data.feed.batches,
        tokens_per_step=batch.scored * accumulate,
    )
    return Report(
        task=task.name,
        notes=resolved.notes,
        components=_components(resolved),
        device=str(network.device),
        determinism=task.device.determinism,
        data=_sizes(data, task, origins.told(resolved, data)),
        vocabulary=data.elements.summary(data),
        answers=None if data.answers is data.read else data.answer_elements.answers(data),
        shapes=_stages(network, batch),
        parts=_parts(network, choices),
        parameters=_count(network),
        training=updates,
        memory=memory(network, optimizer, activations),
        seconds_per_step=seconds * accumulate,
    )


def first_batch(data: Data) -> Batch | Whole:
    """Return the first batch of training."""
    batches: Iterator[Batch | Whole] = data.feed.epoch(0)
    return next(batches)


def _components(resolved: Resolved) -> dict[str, str]:
    """Return the name of each component that a task uses; of several cells each once."""
    components = {kind: part.entry.qualified for kind, part in resolved.parts.items()}
    cells = dict.fromkeys(part.entry.qualified for part in resolved.cells)
    return components | {"cell": ", ".join(cells)}


def _sizes(data: Data, task: Task, calibration: list[str]) -> DataSizes:
    """Return how large the data is, cut into windows as a task says, and how it was read.

    What is to be said of a `calibration` is said too.
    """
    return DataSizes(
        elements=len(data.store),
        sequences=len(data.store.starts),
        cut=CUT[type(data.feed)],
        splits={
            name: SplitSizes(
                part.elements, part.steps, _windows(data, name, part, task.sequence.length)
            )
            for name, part in data.splits.items()
        },
        notes=[
            *data.source.notes(),
            *data.times(),
            *of_stamps(data),
            *short_ahead(data, task.generation.length),
            *calibration,
        ],
        covariates=[] if data.covariates is None else list(_covariates(data.covariates)),
        covariate_inputs=0 if data.covariates is None else data.covariates.width,
    )


def _covariates(known: CovariateVocabulary) -> Iterator[CovariateSize]:
    """Give what is known of each covariate."""
    for role, table in known.tables.items():
        for column in table.columns:
            count = None if column.categories is None else len(column.categories)
            yield CovariateSize(role.removesuffix("_covariates"), column.name, count)


def of_stamps(data: Data) -> list[str]:
    """Return what is read of time stamps, if anything is."""
    dated = None if data.covariates is None else data.covariates.dated
    if dated is None:
        return []
    listed = ", ".join(dated.calendar.inputs())
    return [f"read of each time stamp, and known ahead: {listed}"]


def _windows(data: Data, name: SplitName, part: Split, length: int) -> int:
    """Return into how many windows a split is cut; all whole sequences count as training's."""
    if part.uncut:
        return len(part)
    if name == "train" or part.whole:
        return data.feed.count
    return math.ceil(part.steps / length)


def _stages(network: Network, batch: Batch | Whole) -> list[Stage]:
    """Return what each stage of the network makes of one batch, in order."""
    stages = [_stage("input", batch.x)]
    with torch.no_grad():
        position = None if isinstance(batch, Whole) else batch.position
        begun = network.initial_states(len(batch.x), position)
        hidden, state = network.encode(batch.x, begun[0])
        hidden = hidden.to(network.dtype)
        stages.append(_stage("encoder", hidden))
        stages += _fields(state)

        for index, layer in enumerate(network.layers):
            hidden, state = layer(hidden)
            stages.append(_stage(f"layer {index}", hidden))
            stages += _fields(state)

        if network.pool is not None:
            # Every step of the batch is taken for one of its sequence.
            inside = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            pooled = network.pool.begin(hidden, len(hidden))
            pooled = network.pool.add(pooled, hidden, inside)
            hidden = network.pool.give(pooled)
            stages.append(_stage("pooled", hidden))

    if network.decoder is not None:
        steps = network.decoder.steps, network.decoder.cell.output_size
        stages.append(Stage("decoder", [*hidden.shape[:-1], *steps]))
    # Outputs for a whole batch may be more than there is memory for.
    width = network.output_size
    return [*stages, Stage("head", [*hidden.shape[:-1], width])]


def _stage(name: str, tensor: Tensor) -> Stage:
    return Stage(name, list(tensor.shape))


def _fields(state: State) -> list[Stage]:
    """Return the fields of a state."""
    fields = zip(names(state), state, strict=True)
    return [Stage(name, list(field.shape), is_state=True) for name, field in fields]


def _count(module: torch.nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


def _parts(network: Network, choices: list[Choice]) -> list[Part]:
    """Return the parts of a network, with the path of each layer."""
    parts = [Part("encoder", _count(network.encoder))]

    # There is a choice for each cell, and a layer that reads both ways has two, which are alike:
    # the first speaks for both.
    first = 0
    for index, layer in enumerate(network.layers):
        parts.append(Part(f"layer {index}", _count(layer), choices[first]))
        first += sum(isinstance(module, Cell) for module in layer.modules())

    for name, module in (("norm", network.norm), ("pooled", network.pool)):
        if module is not None and _count(module):
            parts.append(Part(name, _count(module)))
    if network.decoder is not None:
        parts.append(Part("decoder", _count(network.decoder), choices[-1]))
    if network.beside is not None:
        parts.append(Part("covariates ahead", _count(network.beside)))
    name = "head" if isinstance(network.head, torch.nn.Linear) else "head (tied)"
    return [*parts, Part(name, _count(network.head))]


def measure(network: Network, batch: Batch | Whole, length: int) -> tuple[float, int]:
    """Return the seconds of a step forward and back, and the bytes that the way back keeps.

    These are those of one step: the next keeps the same elsewhere.
    """
    weights = {weight.untyped_storage().data_ptr() for weight in network.parameters()}
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        # Tensors may share a storage, which counts once; the weights are counted elsewhere.
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    best = math.inf
    begun = time.perf_counter()
    for trial in range(TRIALS):
        sizes.clear()
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            loss = loss_of(network, batch, length)
        torch.autograd.backward(loss)
        network.zero_grad(set_to_none=True)
        wait(network.device)

        now = time.perf_counter()
        if trial:
            best = min(best, now - start)
            if now - begun > PATIENCE:
                break
    return best, sum(sizes.values())


def loss_of(network: Network, batch: Batch | Whole, length: int) -> Tensor:
    """Return the mean loss of a batch."""
    if isinstance(batch, Whole):
        output = sequences.answers(network, batch.x, batch.steps, length)
        losses: Tensor = network.loss(output, batch.y)
        return losses.mean()

    hidden, _ = network.hidden(batch.x)  # B T H
    places = batch.mask.flatten().nonzero()[:, 0]
    return network.losses(hidden, batch.y, places, batch.ahead(), batch.counted()).mean()


def memory(network: Network, optimizer: torch.optim.Optimizer, activations: int) -> Memory:
    """Return the bytes of training, as far as they can be told.

    An optimizer is taken to keep two tensors a weight; sgd one, or none without momentum.
    """
    weights = sum(weight.numel() * weight.element_size() for weight in network.parameters())
    moments = 2 * weights
    if type(optimizer).__name__ == "SGD":
        moments = weights if optimizer.defaults.get("momentum") else 0
    return Memory(weights, weights, moments, activations)
