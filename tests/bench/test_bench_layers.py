"""What is measured against each other computes the same."""

from __future__ import annotations

import pytest
import torch
from machines import SETTING
from torch.utils.flop_counter import FlopCounterMode

from recurra import GatedOptions
from recurra.bench import layers
from recurra.bench.peephole import Loop, Peephole
from recurra.bench.records import Shape
from recurra.catalog import discover

TINY = Shape(2, 5, 4)


def close(found: object, wanted: object) -> None:
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.fixture
def cell() -> Peephole:
    """The custom cell in float64, its bias not zero."""
    torch.manual_seed(0)
    return Peephole(3, GatedOptions(hidden_size=4)).double()


def window(width: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, 7, width, generator=generator, dtype=torch.float64)
    return x.requires_grad_(), torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("path", ["eager", "auto"])
def test_the_loop_by_hand_is_the_custom_cell(cell: Peephole, path: str) -> None:
    """Outputs and every gradient of the loop are those of the cell."""
    cell.path, loop = path, Loop(cell)
    x, back = window()
    close(loop(x), cell(x)[0])
    ours, other = layers.training(cell, x, back)(), layers.training(loop, x, back)()
    assert len(ours) == len(other) == 5
    by_shape = [sorted(grads, key=lambda grad: tuple(grad.shape)) for grads in (ours, other)]
    close(*by_shape)


def test_the_custom_cell_is_a_peephole_lstm(cell: Peephole) -> None:
    """It is the cell of Gers & Schmidhuber: the same as the catalog's with peepholes and one of its
    biases zero.
    """
    entry = discover().find("cell", "lstm")
    known = entry.target(3, entry.options(hidden_size=4, peephole=True)).double()
    with torch.no_grad():
        for name in ("weight_ih", "weight_hh", "bias_ih", "peepholes"):
            getattr(known, name).copy_(getattr(cell, name))
        known.bias_hh.zero_()
    x, _ = window()
    close(cell(x)[0], known(x)[0])


def test_a_turn_finds_every_gradient() -> None:
    """A timed turn does what a training step does: the gradients of the input and of every weight,
    added to none.
    """
    module = torch.nn.GRU(3, 4, batch_first=True).double()
    x, back = window()
    found = layers.training(module, x, back)()
    assert x.grad is None
    module(x)[0].backward(back)
    close(list(found), [x.grad, *(weight.grad for weight in module.parameters())])


@pytest.mark.parametrize("name", layers.MODULES)
def test_torchs_module_is_as_large_as_the_cell(name: str) -> None:
    """Both sides of a row have as many weights."""
    cell, module = layers.built(name, TINY), layers.torchs(name, TINY)
    assert sum(p.numel() for p in cell.parameters()) == sum(p.numel() for p in module.parameters())


def test_operations_are_counted_as_they_are_made(cell: Peephole) -> None:
    """Of a loop by hand torch counts the same products, less the gradient of the first state, which
    nobody wants.
    """
    shape = Shape(2, 5, 4)
    loop = Loop(Peephole(4, GatedOptions(hidden_size=4)))
    x = torch.randn(2, 5, 4).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        loop(x).sum().backward()
    peepholes = 2 * layers.BACK * 2 * 5 * 3 * 4
    assert counter.get_total_flops() == layers.flops("peephole", shape) - peepholes - 2 * 2 * 16 * 4


def test_a_multiply_add_is_a_multiply_add() -> None:
    """An LSTM of the same width is charged for its products alone, the custom cell for its
    peepholes too.
    """
    found = layers.custom_against_lstm(TINY, SETTING)
    assert found.work == (2 * 4 * 4 * 4 + 3 * 4) / (2 * 4 * 4 * 4)


@pytest.mark.parametrize(
    "measure",
    [
        lambda *given: layers.against_torch("rnn", *given),
        layers.against_loop,
        layers.custom_against_lstm,
        layers.scan_against_eager,
        layers.scan_against_gru,
    ],
)
def test_each_row_gives_a_pair_of_times_and_its_path(measure: object) -> None:
    """Every measurement of a layer gives as many pairs as were asked for, and the path that the
    cell took.
    """
    found = measure(TINY, SETTING)
    assert len(found.ours) == len(found.other) == 2 and min(found.ours + found.other) > 0
    assert found.path and "auto" not in found.path
    assert (found.flops > 0) != (found.bytes > 0)


def test_the_path_by_name_is_the_path_taken() -> None:
    """A cell that was told its path is said to have run on that one, two alike once."""
    cell = layers.built("lstm", TINY)
    cell.path = "eager"
    assert (
        layers.chosen_paths([cell, cell]) == layers.chosen_paths([cell], stepwise=True) == "eager"
    )
    cell.step_path = "native"
    assert (layers.chosen_paths([cell]), layers.chosen_paths([cell], stepwise=True)) == (
        "eager",
        "native",
    )
