"""Rows 1 to 6: one layer, forward and backward, beside torch's module or a loop by hand."""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from recurra import GatedOptions
from recurra.bench.clock import Turn, pairs
from recurra.bench.peephole import Loop, Peephole
from recurra.bench.records import Finding, Setting, Shape
from recurra.catalog import discover
from recurra.contracts.cell import Cell
from recurra.randomness import seeded

MODULES: dict[str, Any] = {"gru": nn.GRU, "rnn": nn.RNN, "lstm": nn.LSTM}
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "peephole": 4}
BACK = 3
"""Products of a training step in those of its forward pass: the gradients of inputs and of weights
are one each.
"""


def against_torch(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure a cell beside torch's own module."""
    return _beside(
        built(name, shape), torchs(name, shape), shape, setting, flops=flops(name, shape)
    )


def against_loop(shape: Shape, setting: Setting) -> Finding:
    """Measure a custom cell beside the same equations in a loop by hand."""
    cell = _peephole(shape)
    return _beside(cell, Loop(cell), shape, setting, flops=flops("peephole", shape))


def custom_against_lstm(shape: Shape, setting: Setting) -> Finding:
    """Measure a custom cell beside `nn.LSTM`, by the time of a multiply-add of either."""
    work = flops("peephole", shape) / flops("lstm", shape)
    return _beside(
        _peephole(shape),
        torchs("lstm", shape),
        shape,
        setting,
        flops=flops("peephole", shape),
        work=work,
    )


def scan_against_eager(shape: Shape, setting: Setting) -> Finding:
    """Measure `mingru` beside its own loop over time."""
    cell = built("mingru", shape)
    eager = copy.deepcopy(cell)
    eager.path = "eager"
    return _beside(cell, eager, shape, setting, bytes=_moved(shape))


def scan_against_gru(shape: Shape, setting: Setting) -> Finding:
    """Measure `mingru` beside an `nn.GRU` of the same width."""
    return _beside(
        built("mingru", shape), torchs("gru", shape), shape, setting, bytes=_moved(shape)
    )


def flops(name: str, shape: Shape) -> float:
    """Return the operations of a layer's products, forward and backward; two for each
    multiply-add.
    """
    products = GATES[name] * shape.width * 2 * shape.width
    peepholes = 3 * shape.width if name == "peephole" else 0
    return 2.0 * BACK * shape.batch * shape.steps * (products + peepholes)


def _moved(shape: Shape) -> float:
    """Return the bytes that a gated scan moves at the least: input, two coefficients and state, and
    their gradients.
    """
    return 8.0 * 4 * shape.batch * shape.steps * shape.width


def built(name: str, shape: Shape) -> Cell[Any]:
    """Return a cell of the catalog."""
    entry = discover().find("cell", name)
    with seeded(0, "bench"):
        return cast(Cell[Any], entry.target(shape.width, entry.options(hidden_size=shape.width)))


def layer(name: str, shape: Shape) -> Cell[Any]:
    """Return a cell of the catalog, or the custom one, `peephole`."""
    return _peephole(shape) if name == "peephole" else built(name, shape)


def _peephole(shape: Shape) -> Peephole:
    with seeded(0, "bench"):
        return Peephole(shape.width, GatedOptions(hidden_size=shape.width))


def torchs(name: str, shape: Shape) -> nn.Module:
    """Return torch's own module of a name, as wide as the shape."""
    with seeded(0, "bench"):
        return cast(nn.Module, MODULES[name](shape.width, shape.width, batch_first=True))


def _beside(
    cell: Cell[Any], other: nn.Module, shape: Shape, setting: Setting, **about: Any
) -> Finding:
    """Time training steps of a cell and of another module on the same inputs."""
    generator = torch.Generator().manual_seed(0)
    x, back = (
        torch.randn(shape.batch, shape.steps, shape.width, generator=generator) for _ in range(2)
    )
    x.requires_grad_()
    ours, others = pairs(training(cell, x, back), training(other, x, back), setting.pairs)
    return Finding(ours, others, path=taken([cell]), **about)


def training(module: nn.Module, x: Tensor, back: Tensor) -> Turn:
    """Return a turn that runs a module over a window and finds the gradients of its input and of
    every weight.
    """
    wanted = [x, *module.parameters()]

    def turn() -> object:
        found = module(x)
        return torch.autograd.grad(found if isinstance(found, Tensor) else found[0], wanted, back)

    return turn


def taken(cells: list[Cell[Any]], *, stepwise: bool = False) -> str:
    """Return the paths that cells have run on: on windows of many steps, or `stepwise` as
    generation does.
    """
    names: list[str] = []
    for cell in cells:
        named = cell.step_path if stepwise and cell.step_path else cell.path
        names += cell.chosen_paths.values() if named == "auto" else [named]
    return ", ".join(dict.fromkeys(names))
