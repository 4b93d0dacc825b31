"""Rows 14 and 15: generation beside ONNX Runtime, JAX and torch's modules with many streams."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.bench.generation import LAYERS, Naive, begun, drawn, warmed
from recurra.bench.records import Finding, Rivals, Setting, Shape
from recurra.bench.rivals import Own, Race, Rival, Side, held, race, started, stored
from recurra.bench.tasks import scratch
from recurra.contracts.vocabulary import Vocabulary
from recurra.generate.sampling import Sampling
from recurra.model.network import Network

Ids = NDArray[np.int64]

GREEDY = Sampling()
DRAWING = Sampling(temperature=0.8, top_k=10)
LIVELY = 4.0
"""What weights are multiplied with, so that the likeliest symbols do not soon repeat."""
UNLIKELY = 6.0
"""Standard deviations by which draws may be away from what their chances say."""
NEAR = 1e-3
"""How far a logit may be from another library's."""

OPERATORS = ("lstm", "gemm")
"""How ONNX Runtime is given a layer; the better counts."""
FORMS = ("called", "bound", "whole")
STEPWISE, BLOCK, MODULES = "session, step by step", "session, in blocks", "torch's modules"


def onnx_named(*forms: str) -> list[str]:
    """Return the names of the sides of ONNX Runtime, of some forms."""
    return [f"onnxruntime {operator}, {form}" for form in forms for operator in OPERATORS]


def jax_named(form: str) -> list[str]:
    """Return the name of a side of JAX, in a list."""
    return [f"jax, {form}"]


class Prepared(NamedTuple):
    """A network and what it is compared with."""

    network: Network
    vocabulary: Vocabulary[Any]
    naive: Naive


class Match(NamedTuple):
    """What stands beside what: a library, our side and the sides of the library."""

    library: str
    ours: str
    others: list[str]
    sampling: Sampling = GREEDY

    def measure(self, shape: Shape, setting: Setting) -> Finding:
        """Measure the seconds of a symbol."""
        rivals, sampling = setting.rivals, self.sampling
        key = ("generation", shape, sampling, self.library)
        raced = rivals.once(key, lambda: _raced(self.library, shape, setting, sampling))
        return raced.finding(self.ours, self.others, shape.batch * shape.steps, path="one kernel")


def _raced(library: str, shape: Shape, setting: Setting, sampling: Sampling) -> Race:
    """Let us and a library take turns, once all draw what the weights say."""
    rivals = setting.rivals
    with held(rivals.threads):
        prepared = rivals.once(("network", shape.width), lambda: _prepared(shape.width))
        sides: dict[str, Side] = {}
        for name, draw in _ours(prepared, shape, sampling).items():
            if name == MODULES and library != "torch":
                continue
            check(name, np.array(draw()), prepared.naive, sampling)
            sides[name] = Own(draw)
        if library == "torch":
            return race(sides, [], setting.pairs, rivals.threads)

        with started(rivals, library, f"{SCRIPT[library]}_generation.py") as rival:
            theirs = _theirs(rival, prepared, shape, sampling, rivals)
            sides = {**sides, **theirs}
            return race(sides, [rival], setting.pairs, rivals.threads)


SCRIPT = {"jax": "jax", "onnxruntime": "onnx"}


def _prepared(width: int) -> Prepared:
    """Return a network whose text does not stand still, and a loop round torch's modules."""
    network, vocabulary = warmed(width)
    for weight in network.parameters():
        weight.data *= LIVELY
    return Prepared(network, vocabulary, Naive(network))


def _ours(prepared: Prepared, shape: Shape, sampling: Sampling) -> dict[str, Callable[[], Any]]:
    """Return what draws symbols in this process, a list a step."""
    network, vocabulary, naive = prepared
    steps, streams = shape.steps, shape.batch

    def stepwise() -> list[list[int]]:
        session = begun(network, vocabulary, streams)
        return [session.draw(sampling).tolist() for _ in range(steps)]

    def block() -> list[list[int]]:
        return drawn(network, vocabulary, steps, streams, sampling)

    def modules() -> list[list[int]]:
        return by_modules(naive, steps, streams, sampling)

    return {STEPWISE: stepwise, BLOCK: block, MODULES: modules}


def by_modules(naive: Naive, steps: int, streams: int, sampling: Sampling) -> list[list[int]]:
    """Return what torch's modules draw for all streams at once, as one writes it by hand."""
    x, state = torch.zeros((streams, 1), dtype=torch.long), None
    rows = []
    with torch.inference_mode():
        for _ in range(steps):
            hidden, state = naive.layers(naive.embedding(x), state)
            logits = naive.head(hidden[:, -1])
            if sampling.top_k:
                best, ids = logits.topk(sampling.top_k)
                chances = torch.softmax(best / sampling.temperature, dim=-1)
                x = ids.gather(1, torch.multinomial(chances, 1))
            else:
                x = logits.argmax(dim=-1, keepdim=True)
            rows.append(x[:, 0].tolist())
    return rows


def _theirs(
    rival: Rival, prepared: Prepared, shape: Shape, sampling: Sampling, rivals: Rivals
) -> dict[str, Side]:
    """Return the sides of a library, each of which draws what the weights say."""
    common = {
        "streams": shape.batch,
        "steps": shape.steps,
        "layers": LAYERS,
        "threads": rivals.threads,
        "top_k": sampling.top_k,
        "temperature": sampling.temperature,
    }
    cases: dict[str, dict[str, Any]] = {}
    if rival.library == "jax":
        for form in ("called", "whole"):
            cases[jax_named(form)[0]] = {"form": form}
    else:
        for form in FORMS:
            for name, operator in zip(onnx_named(form), OPERATORS, strict=True):
                cases[name] = {"form": form, "operator": operator}

    sides: dict[str, Side] = {}
    with scratch() as folder:
        file = stored(folder, weights(prepared.network))
        for name, case in cases.items():
            side = rival.side(name, {**common, **case}, file)
            check(name, side.answer()["symbols"], prepared.naive, sampling)
            sides[name] = side
    return sides


def weights(network: Network) -> dict[str, NDArray[Any]]:
    """Return the weights of a character model by name: `0.weight_ih` is of the first layer."""
    arrays = {
        "embedding": next(network.encoder.parameters()),
        "head.weight": network.head.weight,
        "head.bias": network.head.bias,
    }
    for number, cell in enumerate(network.cells):
        for name, weight in cell.named_parameters():
            arrays[f"{number}.{name}"] = weight
    return {name: weight.detach().numpy() for name, weight in arrays.items()}


def check(name: str, symbols: Ids, naive: Naive, sampling: Sampling) -> None:
    """Raise `ValueError` unless symbols `[T, S]` were drawn as torch's modules say.

    Each must be one of the likeliest; and all in all they must be as likely as draws are.
    """
    ids = torch.from_numpy(symbols.astype(np.int64)).T  # S T
    read = torch.cat([torch.zeros_like(ids[:, :1]), ids[:, :-1]], dim=1)
    with torch.inference_mode():
        hidden, _ = naive.layers(naive.embedding(read))
        logits: Tensor = naive.head(hidden)  # S T V
    best = logits.topk(sampling.top_k or 1).values.double()
    mine = logits.gather(2, ids.unsqueeze(2)).squeeze(2).double()

    fainter = mine < best[..., -1] - NEAR
    if bool(fainter.any()):
        count = int(fainter.sum())
        raise ValueError(f"{name} draws what is not likely, {count} times of {ids.numel()}")
    if not sampling.top_k:
        return

    # The mean of the logarithms of what was drawn, beside what it is on average and its spread.
    logs = torch.log_softmax(best / sampling.temperature, dim=-1)
    chances = logs.exp()
    expected = (chances * logs).sum(-1)
    variance = (chances * logs**2).sum(-1) - expected**2
    found = mine / sampling.temperature - torch.logsumexp(best / sampling.temperature, dim=-1)
    away = float((found - expected).sum() / variance.sum().sqrt())
    if not math.isfinite(away) or abs(away) > UNLIKELY:
        raise ValueError(f"{name} draws {away:.1f} deviations away from the chances")
