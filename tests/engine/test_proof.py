"""The proof that a fast path asks of itself, and the choice that rests on it: no liar gets
through.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from hand_made import NAMES, build

from recurra import CellOptions
from recurra.engine import eager, native, paths, proof
from recurra.engine.choice import OFF, Choice, explain
from recurra.engine.paths import Path
from recurra.engine.proof import disagreement
from recurra.engine.recurrence import map_state


def ignores_resets(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, None, lengths)


def ignores_lengths(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, reset, None)


def ignores_the_start(cell, x, state, reset, lengths):
    fresh = cell.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
    return eager.run(cell, x, fresh, reset, lengths)


def gives_a_wrong_final_state(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y, map_state(lambda field: field + 1e-6, final)


def detaches_the_input(cell, x, state, reset, lengths):
    return eager.run(cell, x.detach(), state, reset, lengths)


def detaches_the_start(cell, x, state, reset, lengths):
    return eager.run(cell, x, map_state(torch.Tensor.detach, state), reset, lengths)


def detaches_everything(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y.detach(), map_state(torch.Tensor.detach, final)


def doubles_the_gradient(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return 2 * y - y.detach(), final


def leaks_the_future(cell, x, state, reset, lengths):
    return eager.run(cell, x + 1e-3 * x.roll(-1, dims=1), state, reset, lengths)


def mixes_rows(cell, x, state, reset, lengths):
    return eager.run(cell, x + 1e-3 * x.roll(1, dims=0), state, reset, lengths)


def decays_in_padding(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    if lengths is None:
        return y, final
    short = lengths < x.shape[1]
    return y, map_state(
        lambda f: torch.where(short.view(-1, *[1] * (f.dim() - 1)), 0.9 * f, f), final
    )


def drops_a_step(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y[:, :-1], final


def adds_an_axis(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y.unsqueeze(0), final


def gives_nan(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y * torch.nan, final


def raises(cell, x, state, reset, lengths):
    raise NotImplementedError("not on a Tuesday")


LIARS = {
    ignores_resets: "resets inside the window",
    ignores_lengths: "rows of different lengths",
    ignores_the_start: "plain window",
    gives_a_wrong_final_state: "final state 0.0",
    detaches_the_input: "gradient of the input",
    detaches_the_start: "gradient of start",
    detaches_everything: "fails on a plain window",
    doubles_the_gradient: "gradient",
    leaks_the_future: "plain window",
    mixes_rows: "plain window",
    decays_in_padding: "rows of different lengths",
    drops_a_step: "plain window",
    adds_an_axis: "plain window",
    gives_nan: "differs by nan",
    raises: "NotImplementedError: not on a Tuesday",
}


@pytest.fixture(autouse=True)
def _nothing_proved_yet(monkeypatch):
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())


@pytest.mark.parametrize("name", ["lstm", "leaky"])
@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_a_liar_is_dropped_with_its_reason_and_one_warning(monkeypatch, name, liar):
    """A path that differs from `step` in anything is not used; it says so once in a process, and
    eager runs.
    """
    monkeypatch.setattr(paths, "PATHS", {"liar": Path(liar), "eager": Path(eager.run)})
    with pytest.warns(RuntimeWarning, match=f"path liar is dropped: .*{LIARS[liar]}") as said:
        choice = explain(build(name, 3, 4), 2, 5)
    assert len(said) == 1
    assert choice.path == "eager"
    assert set(choice.refused) == {"liar"}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        again = explain(build(name, 3, 4), 2, 5)
        named = Choice.named(build(name, 3, 4), "liar")
    assert (named.path, named.refused) == (again.path, again.refused)
    assert again == choice


@pytest.mark.parametrize("liar", LIARS, ids=lambda liar: liar.__name__)
def test_a_cell_that_picks_its_path_gives_what_step_gives(monkeypatch, liar):
    """A forward on `auto` is right though a faster path lies."""
    cell, x = build("leaky", 3, 4), torch.randn(2, 5, 3, dtype=torch.float64)
    wanted, _ = eager.run(
        cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None
    )
    monkeypatch.setattr(paths, "PATHS", {"liar": Path(liar), "eager": Path(eager.run)})
    with pytest.warns(RuntimeWarning, match="dropped"):
        found, _ = cell(x)
    assert set(cell.chosen_paths.values()) == {"eager"}
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_an_honest_path_passes(monkeypatch, name):
    """Another way of writing the same recurrence is proved, and taken."""

    def honest(cell, x, state, reset, lengths):
        return eager.run(cell, x.flip(1).flip(1), state, reset, lengths)

    monkeypatch.setattr(paths, "PATHS", {"honest": Path(honest), "eager": Path(eager.run)})
    assert explain(build(name, 3, 4), 2, 5) == Choice("honest", note=OFF)


@pytest.mark.parametrize("name", [name for name in NAMES if build(name, 2, 2).native() is not None])
def test_torchs_kernels_are_honest(name):
    """The native path equals step, for each cell that declares it."""
    assert disagreement(build(name, 3, 4), native.run) is None


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_the_proof_is_the_same_when_the_first_use_is_an_evaluation(mode):
    """Gradients are compared even where the caller has turned them off, and stay off for the
    caller.
    """
    cell = build("gru", 3, 4)
    with mode():
        assert disagreement(cell, native.run) is None
        assert "gradient" in str(disagreement(cell, doubles_the_gradient))
        assert not torch.is_grad_enabled()


def test_the_proof_draws_nothing_from_the_global_generator_and_leaves_the_cell_alone():
    """Weights, precision, mode and random numbers are as they were before the proof."""
    cell = build("lstm", 3, 4, torch.float32).train()
    before, weights = (
        torch.get_rng_state(),
        {name: w.clone() for name, w in cell.state_dict().items()},
    )
    assert disagreement(cell, native.run) is None
    assert torch.equal(before, torch.get_rng_state())
    assert cell.training
    assert all(torch.equal(weights[name], w) for name, w in cell.state_dict().items())
    assert all(w.dtype == torch.float32 and w.grad is None for w in cell.parameters())


def test_a_cell_without_a_kernel_runs_eager_and_says_why(monkeypatch):
    """The choice names the reason, for `auto` and for a path that was asked for."""
    monkeypatch.setattr(paths, "PATHS", {name: paths.PATHS[name] for name in ("native", "eager")})
    cell = build("leaky", 3, 4)
    for choice in (explain(cell, 2, 5), Choice.named(cell, "native")):
        assert choice.path == "eager"
        assert choice.refused["native"] == "torch has no kernel for Leaky, or for these options"
    assert Choice.named(cell, "eager") == Choice("eager")


def test_an_unknown_path_is_refused():
    """A name that this version lacks falls back to eager, with the name in the reason."""
    assert Choice.named(build("gru", 3, 4), "warp").refused == {
        "warp": "this version has no path called warp"
    }


def test_options_that_hold_lists_can_be_proved(monkeypatch):
    """A cell whose options have no hash is proved like any other."""

    class ListOptions(CellOptions):
        sizes: list[int] = [1, 2]

    monkeypatch.setattr(paths, "PATHS", {"honest": Path(eager.run), "eager": Path(eager.run)})
    cell = build("leaky", 3, 4)
    cell.options = ListOptions(hidden_size=4)
    assert explain(cell, 2, 5).path == "honest"


def test_a_proof_that_cannot_be_made_drops_the_path():
    """A cell that cannot be built a second time loses the fast path and nothing else."""

    class Once(type(build("leaky", 3, 4))):
        built = False

        def __init__(self, input_size, options):
            if Once.built:
                raise RuntimeError("only once")
            super().__init__(input_size, options)
            Once.built = True

    cell = Once(3, CellOptions(hidden_size=4))
    assert "only once" in str(disagreement(cell, eager.run))


def test_what_was_proved_for_some_options_is_not_taken_for_others(monkeypatch):
    """Each set of options has a proof of its own."""
    asked = []

    def counting(cell, x, state, reset, lengths):
        asked.append(cell.options.hidden_size)
        return eager.run(cell, x, state, reset, lengths)

    monkeypatch.setattr(paths, "PATHS", {"counting": Path(counting), "eager": Path(eager.run)})
    for hidden in (4, 4, 5):
        assert explain(build("leaky", 3, hidden), 2, 5).path == "counting"
    assert set(asked) == {4, 5}
    assert asked.count(4) == asked.count(5)
