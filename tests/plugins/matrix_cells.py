"""mlstm and gated_delta as they are tried: built alike, from a start that is not zero."""

from __future__ import annotations

import pytest
import torch

from recurra.randomness import seeded
from recurra_cells.gated_delta import GatedDelta
from recurra_cells.matrix_options import GatedDeltaOptions, MLSTMOptions
from recurra_cells.mlstm import MLSTM

KINDS = {
    "mlstm": (MLSTM, MLSTMOptions, {}),
    "gated_delta": (GatedDelta, GatedDeltaOptions, {}),
    "delta": (GatedDelta, GatedDeltaOptions, {"gated": False}),
}
PATHS = ("chunkwise", "eager")
FLOAT64 = torch.float64

kinds = pytest.mark.parametrize("kind", KINDS)
each_path = pytest.mark.parametrize("path", PATHS)


def build(kind, inputs=3, hidden=6, heads=2, path="eager", dtype=FLOAT64, spread=2.0, seed=0):
    """Return a cell whose weights are spread wider than at its start, so that its gates differ from
    step to step.
    """
    cell, model, fixed = KINDS[kind]
    with seeded(seed, kind):
        built = cell(inputs, model(hidden_size=hidden, heads=heads, **fixed)).to(dtype)
    with torch.no_grad():
        built.maps.weight.mul_(spread)
        if kind == "mlstm":
            built.maps.bias[-heads:] -= 3  # forgets within the window
    built.path = path
    return built


def normal(*shape, seed=1):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=FLOAT64)


def start_of(cell, batch, seed=2):
    """Return a start that is not zero and asks for a gradient."""
    zero = cell.initial_state(batch, device=torch.device("cpu"), dtype=FLOAT64)
    fields = [
        normal(*field.shape, seed=seed + index).requires_grad_() for index, field in enumerate(zero)
    ]
    return type(zero)(*fields)


def close(found, wanted, bound=1e-10):
    assert type(found) is type(wanted) and len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, atol=bound, rtol=bound)


def gated_by_input(path, dtype=torch.float32):
    """Return an mLSTM of one head whose input gate is x[0] and whose forget gate is x[1], both
    before their functions.

    q, k and v read x[2:]: their maps are the identity, so that what is read is what was written.
    """
    cell = build("mlstm", 4, 2, 1, path=path, dtype=dtype)
    with torch.no_grad():
        cell.maps.weight.zero_()
        cell.maps.bias.zero_()
        cell.maps.weight[-2:, :2] = torch.eye(2)
        cell.maps.weight[:6, 2:] = torch.eye(2).repeat(3, 1)
    return cell
