"""The cells of gates in each of their variants, with weights that hide no mistake."""

from __future__ import annotations

import itertools

import pytest
import torch

from recurra.randomness import seeded
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.ligru import LiGRU
from recurra_cells.lstm import LSTM
from recurra_cells.mgu import MGU
from recurra_cells.options import (
    GRUOptions,
    IndRNNOptions,
    LiGRUOptions,
    LSTMOptions,
    MGUOptions,
    RNNOptions,
    SLSTMOptions,
)
from recurra_cells.rnn import RNN
from recurra_cells.slstm import SLSTM

D, H, P = 3, 6, 4
"""Width of the inputs, of the state, and of a projection."""
CPU = torch.device("cpu")
BOUNDS = {torch.float64: 1e-11, torch.float32: 2e-4}

MODELS = {
    "rnn": (RNN, RNNOptions),
    "lstm": (LSTM, LSTMOptions),
    "gru": (GRU, GRUOptions),
    "mgu": (MGU, MGUOptions),
    "indrnn": (IndRNN, IndRNNOptions),
    "ligru": (LiGRU, LiGRUOptions),
    "slstm": (SLSTM, SLSTMOptions),
}
LSTMS = [
    dict(peephole=peephole, layer_norm=layer_norm, projection=projection, coupled=coupled)
    for peephole, layer_norm, projection, coupled in itertools.product(
        *[[False, True]] * 2, [0, P], [False, True]
    )
]
PAIRS = [(False,) * 4, *((True,) * at + (False,) + (True,) * (3 - at) for at in range(4))]
"""Rows in which every two options of an LSTM take all four values together; the other rows of the
product are slow.
"""
VARIANTS = [
    ("rnn", {"nonlinearity": "tanh"}),
    ("rnn", {"nonlinearity": "relu"}),
    *(("lstm", table) for table in LSTMS),
    ("gru", {"reset": "after"}),
    ("gru", {"reset": "before"}),
    ("mgu", {}),
    ("indrnn", {"nonlinearity": "relu"}),
    ("indrnn", {"nonlinearity": "tanh", "recurrent_bound": 0.5}),
    ("ligru", {}),
    ("ligru", {"layer_norm": True}),
    *(
        ("slstm", {"heads": heads, "forget": forget})
        for heads in (1, 2, 3)
        for forget in ("sigmoid", "exp")
    ),
]


def label(variant):
    """Return the name of a variant, as in lstm[peephole,projection=4]."""
    kind, table = variant
    told = [name if value is True else f"{name}={value}" for name, value in table.items() if value]
    return f"{kind}[{','.join(told)}]"


def by_default(variant):
    """Return a variant as a parameter, marked slow if it is an LSTM that is none of the pairs."""
    kind, table = variant
    slow = kind == "lstm" and tuple(map(bool, table.values())) not in PAIRS
    return pytest.param(variant, marks=[pytest.mark.slow] if slow else [], id=label(variant))


every = pytest.mark.parametrize("variant", [by_default(variant) for variant in VARIANTS])


def build(variant, dtype=torch.float64, inputs=D, seed=0, **more):
    """Return a cell, the same at every call, with no weight left at 0 or 1, where a mistake would
    not show.
    """
    kind, table = variant
    cell, model = MODELS[kind]
    with seeded(seed):
        made = cell(inputs, model(**{"hidden_size": H, **table, **more}))
        for weight in made.parameters():
            weight.data.add_(torch.rand_like(weight) - 0.5)
    return made.to(dtype)
