"""Rows 1 to 6: one layer, forward and backward, beside torch's module or a loop by hand."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

from recurra import GatedOptions
from recurra.bench.clock import Turn, pairs
from recurra.bench.peephole import Loop, Peephole
from recurra.bench.records import Finding, Setting, Shape
from recurra.catalog import discover
from recurra.contracts.cell import Cell
from recurra.randomness import seeded

MODULES: dict[str, Callable[..., nn.Module]] = {"gru": nn.GRU, "rnn": nn.RNN, "lstm": nn.LSTM}
GATES = {"rnn": 1, "gru": 3, "lstm": 4, "peephole": 4}
BACK = 3
"""Products of a training step in those of its forward pass.

The gradients of inputs and of weights are one each.
"""


def against_torch(name: str, shape: Shape, setting: Setting) -> Finding:
    """Measure a cell beside torch's own module."""
    cell = built(name, shape)
    module = torchs(name, shape)
    return _beside(cell, module, shape, setting, flops=flops(name, shape))


def against_loop(shape: Shape, setting: Setting) -> Finding:
    """Measure a custom cell beside the same equations in a loop by hand."""
    cell = _peephole(shape)
    loop = Loop(cell)
    return _beside(cell, loop, shape, setting, flops=flops("peephole", shape))


def custom_against_lstm(shape: Shape, setting: Setting) -> Finding:
    """Measure a custom cell beside `nn.LSTM`, by the time of a multiply-add of either."""
    cell = _peephole(shape)
    module = torchs("lstm", shape)
    ours = flops("peephole", shape)
    work = ours / flops("lstm", shape)
    return _beside(cell, module, shape, setting, flops=ours, work=work)


def scan_against_eager(shape: Shape, setting: Setting) -> Finding:
    """Measure `mingru` beside its own loop over time."""
    cell = built("mingru", shape)
    eager = copy.deepcopy(cell)
    eager.path = "eager"
    return _beside(cell, eager, shape, setting, bytes=_moved(shape))


def scan_against_gru(shape: Shape, setting: Setting) -> Finding:
    """Measure `mingru` beside an `nn.GRU` of the same width."""
    cell = built("mingru", shape)
    module = torchs("gru", shape)
    return _beside(cell, module, shape, setting, bytes=_moved(shape))


def flops(name: str, shape: Shape) -> float:
    """Return the operations of a layer's products, forward and backward.

    A multiply-add is two. A gate has a weight for each input and each number of the state.
    """
    products = GATES[name] * shape.width * 2 * shape.width
    peepholes = 3 * shape.width if name == "peephole" else 0
    forward = 2.0 * shape.batch * shape.steps * (products + peepholes)
    return BACK * forward


def _moved(shape: Shape) -> float:
    """Return the bytes that a gated scan moves at the least.

    These are input, two coefficients and state, and their gradients: eight float32 numbers.
    """
    return 8.0 * 4 * shape.batch * shape.steps * shape.width


def built(name: str, shape: Shape) -> Cell[Any]:
    """Return a cell of the catalog."""
    entry = discover().find("cell", name)
    options = entry.options(hidden_size=shape.width)
    with seeded(0, "bench"):
        cell: Cell[Any] = entry.target(shape.width, options)
    return cell


def layer(name: str, shape: Shape) -> Cell[Any]:
    """Return a cell of the catalog, or the custom one, `peephole`."""
    return _peephole(shape) if name == "peephole" else built(name, shape)


def _peephole(shape: Shape) -> Peephole:
    options = GatedOptions(hidden_size=shape.width)
    with seeded(0, "bench"):
        return Peephole(shape.width, options)


def torchs(name: str, shape: Shape) -> nn.Module:
    """Return torch's own module of a name, as wide as the shape."""
    with seeded(0, "bench"):
        return MODULES[name](shape.width, shape.width, batch_first=True)


def _beside(
    cell: Cell[Any],
    other: nn.Module,
    shape: Shape,
    setting: Setting,
    *,
    flops: float = 0.0,
    bytes: float = 0.0,
    work: float = 1.0,
) -> Finding:
    """Time training steps of a cell and of another module on the same inputs."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape.window, generator=generator).requires_grad_()
    back = torch.randn(shape.window, generator=generator)

    our_turn = training(cell, x, back)
    other_turn = training(other, x, back)
    ours, others = pairs(our_turn, other_turn, setting.pairs)
    path = chosen_paths([cell])
    return Finding(ours, others, flops=flops, bytes=bytes, work=work, path=path)


def training(module: nn.Module, x: Tensor, back: Tensor) -> Turn:
    """Return a turn that runs a module over a window, forward and back.

    It finds the gradients of its input and of every weight.
    """
    sources = [x, *module.parameters()]

    def turn() -> object:
        result = module(x)
        # A cell and torch's modules give their final state too.
        outputs = result if isinstance(result, Tensor) else result[0]
        return torch.autograd.grad(outputs, sources, back)

    return turn


def chosen_paths(cells: Iterable[Cell[Any]], *, stepwise: bool = False) -> str:
    """Return the paths that cells have run on, each once, with commas between.

    It is those on windows of many steps, or `stepwise` as generation does.
    """
    names: list[str] = []
    for cell in cells:
        path = cell.step_path if stepwise and cell.step_path else cell.path
        if path == "auto":
            names += cell.chosen_paths.values()
        else:
            names.append(path)
    return ", ".join(dict.fromkeys(names))
