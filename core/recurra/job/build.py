"""The network of a task, its optimizer and its trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.marks import MARKS
from recurra.engine.choice import Choice
from recurra.errors import InputError, Problem
from recurra.job.data import Data
from recurra.job.elements import ELEMENTS, Counts
from recurra.job.paths import Execution, begins_inside, choose_paths, rows_of_each
from recurra.job.weights import column_weights
from recurra.model import device as devices
from recurra.model import probe
from recurra.model.layers import layer
from recurra.model.network import Network
from recurra.model.scoring import scores_elements
from recurra.randomness import SCHEME, noise, seeded
from recurra.resolved import Part, Resolved
from recurra.train import optimizer as optimizers
from recurra.train.loop import Trainer, total_steps
from recurra.train.metrics import known

NARROWEST = {"rms": 2, "layer": 3}
"""Width of a block below which its norm leaves only the sign of what it reads."""


def fresh_network(
    resolved: Resolved, data: Data, execution: Execution | None = None
) -> tuple[Network, list[Choice]]:
    """Return the network of a task that begins with its data, as `build_network` does."""
    return build_network(
        resolved,
        data.width,
        data.names,
        answers=data.answers.size,
        counts=data.counts,
        features=data.source.features(),
        missing=data.vocabulary.missing is not None,
        resets=begins_inside(resolved, data),
        execution=execution,
        coming=coming_of(data.covariates),
    )


def coming_of(covariates: CovariateVocabulary | None) -> int:
    """Return how many numbers are read of each step ahead that is answered."""
    return 0 if covariates is None else covariates.coming


def build_network(
    resolved: Resolved,
    size: int,
    names: Callable[[], list[str]] | None = None,
    *,
    answers: int = 0,
    counts: Callable[[], Counts] | None = None,
    features: Sequence[str] = (),
    missing: bool = False,
    resets: bool = False,
    execution: Execution | None = None,
    coming: int = 0,
) -> tuple[Network, list[Choice]]:
    """Return the network of a task, initialised from its seed, and the path of each cell.

    `size` is that of the vocabulary that is read, beside which the marks of answers stand where
    there are such; `answers` is that of what is answered, 0 where it is the same. `names` gives
    those of the symbols or features to an encoder that starts from outside, as from vectors in a
    file; `counts` the names of the answers, and how often each comes in training, to a loss that
    learns of them. Without both, as when a run is loaded, neither learns anything. `features` are
    the names of the columns of numbers, which may weigh more or less in the loss; numbers may be
    `missing` or not. `coming` numbers are read of each step ahead that is answered. The paths are
    those of the `execution` that a run records, as far as they are proved here, else the fastest
    for windows of training, in which sequences begin where there are `resets`. Raises `InputError`
    (RC031) if a cell cannot run on the path that the task asks for.
    """
    task = resolved.task
    if resolved.target.scope == "answer":
        size += MARKS
    with resolved.placing():
        device = devices.choose(task.device)

    # All that is drawn comes from one stream, so the order of the parts decides the weights.
    with seeded(task.seed, "init"):
        encoder = _encoder(resolved, size, names)
        layers = layers_of(resolved, encoder.output_size)
        target = resolved.target
        pooled = target.pooling if target.scope == "sequence" else None
        loss = _loss(resolved, answers or size)
        if counts is not None:
            with resolved.placing():
                ELEMENTS[resolved.answers.yields].prepare(loss, counts)
        _check_tied(resolved, encoder, loss)
        decoder = None
        if target.ahead and target.decoder == "cell":
            part = resolved.cells[-1]
            decoder = _cell(part, layers[-1].output_size + coming)
        network = Network(encoder, layers, loss, pooled, target.ahead, coming, decoder)
        network.column_weights = column_weights(resolved, loss, features)
        partly = missing and target.asks == "input" and loss.size > 1
        network.partly_missing = partly and scores_elements(loss)

    network = network.to(device).typed(devices.DTYPES[task.device.precision])
    network.narrow = task.device.precision == "bfloat16"
    scheme = SCHEME if execution is None else execution.randomness
    network.noise = noise(task.seed, device, scheme)
    with sized(resolved, network, execution):
        return network, choose_paths(resolved, network, resets, execution)


def sized(
    resolved: Resolved, network: Network, execution: Execution | None = None
) -> AbstractContextManager[None]:
    """Return what sets the threads that a task of this size is worth.

    A run that was made on several goes on with them, for its bits may depend on that.
    """
    weights = sum(weight.numel() for weight in network.parameters())
    work = weights * rows_of_each(resolved) * resolved.task.sequence.length
    if execution is not None and execution.threads > 1:
        work = devices.SMALL
    return devices.sized(resolved.task.device, work)


def _encoder(resolved: Resolved, size: int, names: Callable[[], list[str]] | None) -> Encoder[Any]:
    """Return the encoder of a task, which may start from the names of what it reads."""
    part = resolved.parts["encoder"]
    encoder: Encoder[Any] = part.build(size)
    vocabulary: type[Vocabulary[Any]] = resolved.parts["vocabulary"].entry.target
    probe.encoder(encoder, vocabulary.yields, part.entry.qualified)
    if names is not None:
        with resolved.placing():
            encoder.prepare(names())
    return encoder


def _check_tied(resolved: Resolved, encoder: Encoder[Any], loss: Loss[Any]) -> None:
    """Refuse a head that has the encoder's weight where it says something else than is read.

    Raises `InputError` (RC031), and `PluginError` (RC071) for a weight of another shape.
    """
    weight = encoder.head_weight()
    if weight is None:
        return

    name = resolved.parts["encoder"].entry.component.name
    says = resolved.parts["target"].entry.component.name
    read = resolved.parts["vocabulary"].entry.target
    # An answer that follows is of the symbols that are read, and both have the marks behind them.
    same = resolved.answers is read or resolved.target.scope == "answer"
    if not same or loss.output_size != encoder.size or resolved.target.ahead:
        fact = (
            f"the head cannot have the weight of encoder {name!r}: what target {says!r} answers"
            " is not the symbols that are read"
        )
        cure = "leave tied out of [encoder]: the head then has a weight of its own"
        raise InputError(resolved.place(Problem("RC031", fact, "encoder.tied", cure=cure)))
    probe.shared(encoder, resolved.parts["encoder"].entry.qualified)


def layers_of(resolved: Resolved, width: int) -> list[Any]:
    """Return the layers over an encoder of a width, each as wide as what lies below it gives."""
    layers: list[Any] = []
    for index, part in enumerate(resolved.cells):
        block = part.options.block
        if block is not None and width < NARROWEST[block.norm]:
            raise InputError(resolved.place(_narrow(part, width, resolved.cell_key(index))))

        for _ in range(part.options.num_layers):
            above = layer(partial(_cell, part), width, part.options)
            width = above.output_size
            layers.append(above)
    return layers


def _narrow(part: Part, width: int, key: str) -> Problem:
    """Return the problem of a block that is so narrow that its norm leaves nothing of its input."""
    fact = (
        f"a block is as wide as its input, and a {part.options.block.norm} norm of {width} leaves"
        " only the sign of it"
    )
    cure = 'put a wider encoder before it, such as kind = "linear" with size = 64'
    return Problem("RC031", fact, f"{key}.block", cure=cure)


def _cell(part: Part, width: int) -> Cell[Any]:
    """Return a cell for inputs of a width.

    Raises `PluginError` (RC071) if it breaks the shapes of its contract.
    """
    cell: Cell[Any] = part.build(width)
    probe.cell(cell, part.entry.qualified)
    return cell


def _loss(resolved: Resolved, size: int) -> Loss[Any]:
    """Return the loss of a task.

    Raises `PluginError` (RC071) if it does not give one number a step.
    """
    part = resolved.parts["loss"]
    loss: Loss[Any] = part.build(size)
    probe.loss(loss, resolved.answers.yields, part.entry.qualified)
    return loss


def build_optimizer(resolved: Resolved, network: Network) -> torch.optim.Optimizer:
    """Return the optimizer of a task.

    Raises `InputError` (RC013) if torch refuses its arguments.
    """
    kind, arguments = optimizers.chosen(resolved.task.training.optimizer)
    with resolved.placing():
        try:
            return optimizers.build(kind, arguments, network.parameters())
        except InputError as error:
            key = _latest_key(resolved, list(arguments))
            if key is None:
                raise
            raise InputError(replace(problem, key=key) for problem in error.problems) from error


def _latest_key(resolved: Resolved, arguments: list[str]) -> str | None:
    """Return the key of the argument that was set last; none where all were set together.

    Each by itself may be right, and one that a table, or the command line, puts on top of the
    others is then what does not fit.
    """
    origins, table = resolved.document.origins, ("training", "optimizer")
    tables = {name: origins.get((*table, name), 0) for name in arguments}
    if len(set(tables.values())) < 2:
        return None

    latest = max(tables, key=lambda name: tables[name])
    return ".".join((*table, latest))


def build_trainer(
    resolved: Resolved,
    data: Data,
    network: Network,
    *,
    validate: Callable[[], dict[str, float]] | None = None,
    stop_asked: Callable[[], bool] = lambda: False,
) -> Trainer:
    """Return the trainer of a task.

    `validate` gives the figures of the validation split, where there is one.
    """
    training = resolved.task.training
    steps = total_steps(training, data.feed.batches)
    figures = known(data.target, type(data.answers), resolved.levels)
    return Trainer(
        training=training,
        network=network,
        optimizer=build_optimizer(resolved, network),
        rate=optimizers.Rate(training.schedule, steps),
        feed=data.feed,
        monitor=figures[training.monitor],
        validate=validate,
        stop_asked=stop_asked,
    )
