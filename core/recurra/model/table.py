"""Symbols whose vectors are rows of a table: what a cell makes of each is made once.

What stands before a cell's loop, the products with its weights above all, hangs on the vector of a
step alone, of which there are as many as symbols. It is made of the table and looked up; gradients
are added up symbol by symbol before they go through the products.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as of_modules

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.engine import choice as choices
from recurra.engine.choice import Choice
from recurra.engine.paths import run_of_table
from recurra.engine.recurrence import State
from recurra.shapes import Flags, Hidden, Inputs

WORTH = 2
"""How many steps of a window there must be for each symbol."""
SAVED = 0.5
"""What a table of a single symbol saves at least, as a share of a window of a cell without a state.

It is less where the products of the state are made as well, and the more symbols there are to the
steps of a window: four fifths were measured of what the products of the input have of all products.
"""
BY_TABLE = "fused makes the products of the input once for each symbol"


def preferred(
    encoder: Encoder[Any], cell: nn.Module, choice: Choice, rows: int, steps: int
) -> Choice:
    """Return the choice for the first cell of a network that trains on windows `[rows, steps]`.

    The kernel stands in for torch's where it is the faster over the table of an encoder, though it
    may not have been where the input was measured as any numbers.
    """
    if not isinstance(cell, Cell) or choice.path != "native" or "fused" not in choice.seconds:
        return choice
    if rows * steps < WORTH * encoder.size or _inherited(encoder):
        return choice
    if encoder.symbol_vectors() is None:
        return choice

    share = cell.input_size / (cell.input_size + cell.output_size)
    saved = SAVED * share * (1 - encoder.size / (rows * steps))
    if choice.seconds["fused"] * (1 - saved) > choice.seconds["native"]:
        return choice
    note = "; ".join(filter(None, (choice.note, BY_TABLE)))
    return replace(choice, path="fused", note=note)


def looked_up(
    encoder: Encoder[Any], cell: nn.Module, x: Inputs, state: State, reset: Flags | None
) -> tuple[Hidden, State] | None:
    """Return what `cell(encoder(x), state, reset=reset)` does for ids `[B, T]`, where this is fast.

    Returns nothing where there are no gradients, where the encoder is no table or one of many rows,
    and where the cell runs on another path than `fused`, or calls would be seen by a hook, of a
    module within the encoder too. Nor does it where a reset is of another shape, which is refused.
    """
    if not torch.is_grad_enabled() or x.numel() < WORTH * encoder.size or x.dim() != 2:
        return None
    if not isinstance(cell, Cell) or type(cell).forward is not Cell.forward:
        return None
    if reset is not None and reset.shape != x.shape:
        return None  # the cell says what is wrong
    if _inherited(encoder) or _watched(cell) or any(map(_watched, encoder.modules())):
        return None
    vectors = encoder.symbol_vectors()
    if vectors is None:
        return None

    path = cell.path
    if path == "auto":
        # Nothing is read of a window but its size and its type.
        path = choices.pick(cell, vectors.detach()[:1].expand(*x.shape, -1), reset, None)
    if path != "fused":
        return None
    return run_of_table(cell, x, vectors, state, reset)


def vectors_of(encoder: Encoder[Any]) -> Tensor | None:
    """Return the vectors of all symbols, as they lie in memory, if that is all of an encoder."""
    vectors = None if _inherited(encoder) else encoder.symbol_vectors()
    return None if vectors is None else vectors.detach()


def _inherited(encoder: Encoder[Any]) -> bool:
    """Tell whether an encoder has the table of a class whose `forward` is not its own."""
    for kind in type(encoder).__mro__:
        if "symbol_vectors" in vars(kind):
            return False
        if "forward" in vars(kind):
            return True
    return True


def _watched(module: nn.Module) -> bool:
    """Tell whether a hook would see a call of a module, or another `forward` would be called."""
    own = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks)
    of_all = (
        of_modules._global_forward_hooks,
        of_modules._global_forward_pre_hooks,
        of_modules._global_backward_hooks,
        of_modules._global_backward_pre_hooks,
    )
    return any((*own, module._backward_pre_hooks, *of_all)) or "forward" in vars(module)
