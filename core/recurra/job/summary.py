"""What can be known of a task without training it: sizes, shapes, paths, memory and time."""

from __future__ import annotations

import math
import time
from typing import Any, cast

import torch
from torch import Tensor

from recurra.contracts.cell import Cell
from recurra.data.batches import Batch, Lanes, Sequences, Whole, Windows
from recurra.engine.choice import Choice
from recurra.engine.measure import wait
from recurra.engine.recurrence import State
from recurra.job.build import build_network, build_optimizer, sized
from recurra.job.data import Data
from recurra.job.paths import begins_inside
from recurra.job.preflight import preflight
from recurra.model import sequences
from recurra.model.network import Network, names
from recurra.resolved import Resolved
from recurra.train.loop import total_steps

CUT: dict[type, str] = {Lanes: "lanes", Windows: "windows", Sequences: "sequences"}
"""How batches are cut, in a word."""


def summary(resolved: Resolved, data: Data) -> dict[str, Any]:
    """Return the report of `recurra check` as plain data; measures one step forward and back, and
    updates nothing.
    """
    resets = begins_inside(resolved, data)
    network, choices = build_network(
        resolved,
        data.vocabulary.size,
        data.names,
        answers=data.answers.size,
        counts=data.counts,
        resets=resets,
    )
    optimizer = build_optimizer(resolved, network)
    preflight(resolved, data, network)
    batch = cast(Batch | Whole, next(data.feed.epoch(0))).to(network.device)
    task = resolved.task
    steps = total_steps(task.training, data.feed.batches)
    with sized(resolved, network):
        seconds, activations = _measure(network, batch, task.sequence.length)
    seconds *= task.training.accumulate
    return {
        "task": task.name,
        "task_notes": resolved.notes,
        "components": (
            {name: part.entry.qualified for name, part in resolved.parts.items()}
            | {"cell": ", ".join(dict.fromkeys(part.entry.qualified for part in resolved.cells))}
        ),
        "device": str(network.device),
        "data": _data(data, task.sequence.length),
        "vocabulary": data.elements.summary(data),
        **(
            {"answers": data.answer_elements.answers(data)}
            if data.answers is not data.vocabulary
            else {}
        ),
        "shapes": _shapes(network, batch),
        "layers": _layers(network, choices),
        "parameters": sum(p.numel() for p in network.parameters()),
        "training": {
            "steps": steps,
            "batches_per_epoch": data.feed.batches,
            "tokens_per_step": batch.scored * task.training.accumulate,
        },
        "memory": _memory(network, optimizer, activations),
        "seconds_per_step": seconds,
        "seconds": seconds * steps,
    }


def _data(data: Data, length: int) -> dict[str, Any]:
    kind = CUT[type(data.feed)]
    return {
        "elements": len(data.store),
        "sequences": len(data.store.starts),
        "cut": kind,
        "splits": {
            name: {
                "elements": part.elements,
                "predicted": part.steps,
                "windows": (
                    data.feed.count
                    if name == "train" or part.whole
                    else math.ceil(part.steps / length)
                ),
            }
            for name, part in data.splits.items()
        },
    }


def _shapes(network: Network, batch: Batch | Whole) -> list[list[Any]]:
    """Return what each stage gives for one batch, as name and shape."""
    rows: list[list[Any]] = [["input", list(batch.x.shape)]]
    with torch.no_grad():
        position = None if isinstance(batch, Whole) else batch.position
        hidden, state = network.encode(batch.x, network.initial_states(len(batch.x), position)[0])
        hidden = hidden.to(network.dtype)
        rows.append(["encoder", list(hidden.shape)])
        rows += _state_shapes(state)
        for index, layer in enumerate(network.layers):
            hidden, state = layer(hidden)
            rows.append([f"layer {index}", list(hidden.shape)])
            rows += _state_shapes(state)
        if network.pool is not None:
            inside = torch.ones(hidden.shape[:2], dtype=torch.bool, device=hidden.device)
            hidden = network.pool.give(
                network.pool.add(network.pool.begin(hidden, len(hidden)), hidden, inside)
            )
            rows.append(["pooled", list(hidden.shape)])
        rows.append(["head", list(network.head(hidden).shape)])
    return rows


def _state_shapes(state: State) -> list[list[Any]]:
    return [
        [f"  state {name}", list(field.shape)]
        for name, field in zip(names(state), state, strict=True)
    ]


def _layers(network: Network, choices: list[Choice]) -> list[dict[str, Any]]:
    def count(module: torch.nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    rows: list[dict[str, Any]] = [{"name": "encoder", "parameters": count(network.encoder)}]
    left = iter(choices)
    for index, layer in enumerate(network.layers):
        cells = sum(isinstance(module, Cell) for module in layer.modules())
        choice = [next(left) for _ in range(cells)][0]  # both ways of a layer are the same cell
        row = {
            "name": f"layer {index}",
            "parameters": count(layer),
            **_chosen(choice),
            "refused": choice.refused,
        }
        rows.append(row | ({"one_step": _chosen(choice.one_step)} if choice.one_step else {}))
    for name, part in (("norm", network.norm), ("pooled", network.pool)):
        if part is not None and count(part):
            rows.append({"name": name, "parameters": count(part)})
    return [*rows, {"name": "head", "parameters": count(network.head)}]


def _chosen(choice: Choice) -> dict[str, Any]:
    """Return the path taken, and the seconds a step of each that was measured, or why none was."""
    return {"path": choice.path, "seconds_per_step": choice.seconds} | (
        {"note": choice.note} if choice.note else {}
    )


def _measure(network: Network, batch: Batch | Whole, length: int) -> tuple[float, int]:
    """Return the seconds of one step forward and back, and the bytes that the backward pass
    keeps.
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    best = math.inf
    begun = time.perf_counter()
    for trial in range(4):
        start = time.perf_counter()
        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            if isinstance(batch, Whole):
                value = network.loss(
                    sequences.answers(network, batch.x, batch.steps, length), batch.y
                ).mean()
            else:
                output, _ = network(batch.x)  # B T V
                value = network.loss(output[batch.mask], batch.y[batch.mask]).mean()
        value.backward()
        network.zero_grad(set_to_none=True)
        wait(network.device)
        if trial:  # the first one warms up
            best = min(best, time.perf_counter() - start)
        if time.perf_counter() - begun > 3 and trial:
            break
    return best, sum(kept.values())


def _memory(network: Network, optimizer: torch.optim.Optimizer, activations: int) -> dict[str, int]:
    """Return bytes; an optimizer is taken to keep two tensors a weight, or none for plain sgd."""
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    plain = type(optimizer).__name__ == "SGD" and not optimizer.defaults.get("momentum")
    moments = 0 if plain else weights if type(optimizer).__name__ == "SGD" else 2 * weights
    parts = {
        "weights": weights,
        "gradients": weights,
        "optimizer": moments,
        "activations": activations,
    }
    return {**parts, "total": sum(parts.values())}
