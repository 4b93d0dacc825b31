"""What options make of the cells of gates: their weights, paths and starts, and what is refused."""

from __future__ import annotations

import math
import re

import pytest
import torch
from conftest import HELLO
from gated_variants import LSTMS, MODELS, D, H, build, every, label
from pydantic import ValidationError

import recurra
from recurra.contracts.options import validate_options
from recurra.engine import paths
from recurra.engine.choice import Choice
from recurra.engine.proof import PROOFS, disagreement
from recurra.errors import InputError
from recurra_cells.indrnn import IndRNN
from recurra_cells.lstm import LSTM
from recurra_cells.options import GRUOptions, IndRNNOptions, LSTMOptions, SLSTMOptions


def counted(kind, table):
    """Return the number of parameters by the papers' formulas."""
    if kind == "lstm":
        gates, out = 3 if table["coupled"] else 4, table["projection"] or H
        biases = 4 * gates * H + 2 * H if table["layer_norm"] else 2 * gates * H
        return (
            gates * H * (D + out)
            + biases
            + table["peephole"] * (gates - 1) * H
            + table["projection"] * H
        )
    if kind == "slstm":
        return 4 * H * (D + 1) + 4 * H * H // table["heads"]
    return {
        "rnn": H * (D + H + 2),
        "gru": 3 * H * (D + H + 1) + (3 * H if table.get("reset") == "after" else 0),
        "mgu": 2 * H * (D + H + 1),
        "indrnn": H * (D + 2),
        "ligru": 2 * H * (D + H + 1) + (4 * H if table.get("layer_norm") else 0),
    }[kind]


@every
def test_the_parameters_are_as_many_as_the_formula_says(variant):
    """Nothing is there twice, and nothing is missing; the output is as wide as it says."""
    cell = build(variant)
    assert sum(weight.numel() for weight in cell.parameters()) == counted(*variant)
    y, _ = cell(torch.zeros(2, 3, D, dtype=torch.float64))
    assert y.shape == (2, 3, cell.output_size)
    assert cell.output_size == (variant[1].get("projection") or H)
    y, _ = cell(torch.zeros(0, 3, D, dtype=torch.float64))
    assert y.shape == (0, 3, cell.output_size)


@every
def test_every_path_that_it_allows_is_right(variant):
    """torch's kernels are taken where they compute this variant, and equal `step`; elsewhere the
    loop runs.
    """
    kind, table = variant
    cell = build(variant)
    plain = (
        kind == "rnn"
        or (kind == "lstm" and not any(table.values()))
        or table.get("reset") == "after"
    )
    declared = [
        name for name, path in paths.PATHS.items() if path.declared and path.refusal(cell) is None
    ]
    assert declared == (["native", "eager"] if plain else ["eager"])
    for name in PROOFS.accepting(cell):
        assert disagreement(cell, paths.PATHS[name].run) is None
        assert Choice.named(cell, name).path == name


@every
def test_it_can_be_built_without_memory_for_its_weights(variant):
    """On the meta device a cell has shapes alone, and steps through them."""
    kind, table = variant
    cell, model = MODELS[kind]
    schemes = (
        ("uniform", "xavier")
        if kind == "indrnn"
        else ("uniform", "orthogonal", "xavier", "identity")
    )
    for init in schemes:
        with torch.device("meta"):
            made = cell(D, model(hidden_size=H, init=init, **table))
        assert all(weight.is_meta for weight in made.parameters())
        made.path = "eager"
        y, _ = made(torch.empty(2, 3, D, device="meta"))
        assert y.is_meta and y.shape == (2, 3, made.output_size)


@pytest.mark.parametrize(
    "variant", [("gru", {"reset": "before"}), ("mgu", {}), ("slstm", {"heads": 2})], ids=label
)
def test_every_recurrent_map_begins_as_the_options_say(variant):
    """Gate by gate, head by head: orthogonal or the identity, with biases of 0; or within
    1/sqrt(H).
    """
    kind, table = variant
    cell, model = MODELS[kind]

    def blocks(init):
        made = cell(D, model(hidden_size=H, init=init, **table))
        weights = dict(made.named_parameters())
        maps = [
            weights["weight_hh"],
            *(weight for name, weight in weights.items() if name == "weight_hn"),
        ]
        size = H // table.get("heads", 1)
        return weights, [block.detach() for part in maps for block in part.reshape(-1, size, size)]

    weights, found = blocks("orthogonal")
    assert not weights["bias_ih"].any()
    for block in found:
        torch.testing.assert_close(block @ block.mT, torch.eye(len(block)), atol=1e-5, rtol=0)
    assert all(torch.equal(block, torch.eye(len(block))) for block in blocks("identity")[1])
    everything = torch.cat([block.flatten() for block in blocks("uniform")[1]])
    assert 0.8 / math.sqrt(H) < everything.abs().max() <= 1 / math.sqrt(H)


@pytest.mark.parametrize("init", ["uniform", "orthogonal", "xavier", "identity"])
def test_peepholes_begin_as_biases_do(init):
    """Within 1/sqrt(H) where all weights do, and at 0 elsewhere; the projection fills its bound in
    either case.
    """
    made = LSTM(D, LSTMOptions(hidden_size=200, peephole=True, projection=100, init=init))
    bound = 1 / math.sqrt(200) if init == "uniform" else 0
    assert 0.95 * bound <= made.peepholes.abs().max() <= bound
    assert torch.equal(made.peepholes == 0, torch.full((3, 200), init != "uniform"))
    bound = bound or math.sqrt(6 / 300)
    assert 0.99 * bound <= made.weight_hr.abs().max() <= bound


@pytest.mark.parametrize("bound", [1.0, 2 ** (1 / 5), 0.25])
def test_indrnn_begins_with_memories_of_all_lengths(bound):
    """The recurrent weights are uniform between 0 and the bound."""
    u = IndRNN(1, IndRNNOptions(hidden_size=2000, recurrent_bound=bound)).u.detach()
    assert 0 <= u.min() < 0.01 * bound and 0.99 * bound < u.max() <= bound
    assert u.mean().item() == pytest.approx(bound / 2, rel=0.05)
    assert u.std().item() == pytest.approx(bound / math.sqrt(12), rel=0.05)


@pytest.mark.parametrize(
    "variant",
    [("slstm", {}), *(("lstm", table) for table in LSTMS if not table["peephole"])],
    ids=label,
)
def test_forget_bias_raises_the_forget_gate_alone(variant):
    """With no input and no past, forget_bias b makes the forget gate's sum b, and no other's."""
    kind, table = variant
    cell, model = MODELS[kind]
    gates = 3 if table.get("coupled") else 4
    for bias in (0.0, 2.0):
        made = cell(D, model(hidden_size=H, init="xavier", forget_bias=bias, **table))
        given = dict(made.named_parameters())
        sums = (given["norm_x.bias"] if table.get("layer_norm") else given["bias_ih"]).view(
            gates, H
        )
        forget = 0 if table.get("coupled") else 1
        assert (sums[forget] == bias).all()
        assert not sums[[gate for gate in range(gates) if gate != forget]].any()


def refused(model, **table):
    """Return what pydantic says of a table."""
    with pytest.raises(ValidationError) as caught:
        validate_options(model, table, lambda value, field: value)
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


@pytest.mark.parametrize(
    ("model", "table", "key", "words"),
    [
        (
            SLSTMOptions,
            {"hidden_size": 10, "heads": 3},
            "heads",
            "heads must divide hidden_size; got 3 .* = 10",
        ),
        (SLSTMOptions, {"heads": 65}, "heads", "got 65 with hidden_size = 64"),
        (SLSTMOptions, {"heads": 0}, "heads", "greater than or equal to 1"),
        (SLSTMOptions, {"forget": "relu"}, "forget", "'sigmoid' or 'exp'"),
        (
            LSTMOptions,
            {"hidden_size": 4, "projection": 4},
            "projection",
            "less than hidden_size; got 4",
        ),
        (LSTMOptions, {"projection": -1}, "projection", "greater than or equal to 0"),
        (LSTMOptions, {"peephole": 1}, "peephole", "valid boolean"),
        (GRUOptions, {"reset": "both"}, "reset", "'after' or 'before'"),
        (IndRNNOptions, {"recurrent_bound": 0}, "recurrent_bound", "greater than 0"),
        (IndRNNOptions, {"recurrent_bound": 2.5}, "recurrent_bound", "less than or equal to 2"),
        (IndRNNOptions, {"init": "orthogonal"}, "init", "'uniform' or 'xavier'"),
    ],
)
def test_a_bad_option_is_refused_by_name(model, table, key, words):
    """The error names the option, what came and what is allowed."""
    found, message = refused(model, **table)
    assert found == key
    assert re.search(words, message), message


@pytest.mark.parametrize(
    ("model", "table"), [(SLSTMOptions, {"heads": 3}), (LSTMOptions, {"projection": 3})]
)
def test_a_bad_hidden_size_is_the_only_fault(model, table):
    """Where hidden_size itself is wrong, nothing is said of what depends on it."""
    assert refused(model, hidden_size=0, **table)[0] == "hidden_size"


def test_heads_that_do_not_divide_are_told_with_their_place(task):
    """In a task file the fault stands at cell.heads."""
    path = task(HELLO, ('kind = "lstm"', 'kind = "slstm"\nheads = 3'))
    with pytest.raises(InputError) as caught:
        recurra.check(path)
    (problem,) = caught.value.problems
    assert (
        problem.key == "cell.heads"
        and "heads must divide hidden_size; got 3 with hidden_size = 8" in str(problem)
    )
