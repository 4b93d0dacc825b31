"""The choice of a path: the fastest that is proved, or the one that is named."""

from __future__ import annotations

import copy

import pytest
import three_paths
import torch
from hand_made import build
from hypothesis import given
from hypothesis import strategies as st
from three_paths import first, forget, lies, second, window

from recurra.engine import choice, eager, paths, proof
from recurra.engine.choice import Choice
from recurra.engine.paths import Path

cache = pytest.fixture(three_paths.cache)
clock = pytest.fixture(three_paths.clock)


@pytest.mark.parametrize("fast", ["first", "second", "eager"])
def test_the_fastest_path_is_taken_and_kept(clock, cache, monkeypatch, fast):
    """Whatever path is the fastest is taken; another process reads it, and measures nothing."""
    clock.steps = {name: 5e-4 for name in paths.PATHS} | {fast: 1e-4}
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {fast} and clock.runs
    clock.runs.clear()
    forget(monkeypatch)
    again = build("leaky", 3, 4)
    again(window())
    assert set(again.chosen_paths.values()) == {fast} and not clock.runs
    assert choice.explain(again, 2, 5).path == fast
    assert len(list(cache.iterdir())) == 1


def test_a_path_by_name_is_forced(clock):
    """A name is taken though another path is faster, and nothing is measured."""
    cell, ran = build("leaky", 3, 4), []
    paths.PATHS["first"] = Path(lambda *given: ran.append(1) or eager.run(*given))
    cell.path = "first"
    cell(window())
    assert ran and not clock.runs and not cell.chosen_paths


def test_single_steps_may_have_a_path_of_their_own(clock):
    """`step_path` is for windows of one step without gradients, and for no other."""
    cell, ran = build("leaky", 3, 4), []
    for name in ("first", "second"):
        paths.PATHS[name] = Path(lambda *given, name=name: ran.append(name) or eager.run(*given))
    cell.path, cell.step_path = "first", "second"
    cell(window(2, 1))
    with torch.no_grad():
        cell(window(2, 2))
        cell(window(2, 1))
    assert ran == ["first", "first", "second"]


@given(
    given=st.dictionaries(
        st.sampled_from(["native", "fused", "scan", "chunkwise", "eager"]),
        st.floats(1e-7, 10),
        min_size=1,
    )
)
def test_a_tie_goes_to_the_earlier_path(given):
    """What is taken is nearly the best, and everything before it is clearly slower, or it is
    torch's kernel, which comes last; eager alone has to win clearly.
    """
    names = [name for name in paths.PATHS if name in given]
    taken = choice.fastest(names, given)
    others = [value for name, value in given.items() if name != "eager"]
    if taken == "eager":
        assert not others or given["eager"] * choice.CLEAR < min(others)
        return
    assert given[taken] <= choice.TIE * min(others)
    assert given[taken] <= choice.TIE * choice.CLEAR * min(given.values())
    before = set(names[: names.index(taken)]) - {"native"}
    if taken == "native":
        before = given.keys() - {"native", "eager"}
    assert all(given[name] > choice.TIE * min(others) for name in before)


def test_a_liar_is_never_taken_though_it_is_the_fastest(clock):
    """A path that fails its proof is not even timed; it is explained."""
    paths.PATHS["second"] = Path(lies)
    cell = build("leaky", 3, 4)
    with pytest.warns(RuntimeWarning, match="path second is dropped"):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}
    assert "second" not in {name for name, *_ in clock.runs}
    told = choice.explain(cell, 2, 5)
    assert "differs by" in told.refused["second"] and set(told.seconds) == {"first", "eager"}


def test_a_path_that_refuses_a_cell_says_why_and_is_not_run(clock):
    """A refusal is a few words, and neither proof nor time is spent on the path."""
    ran = []
    paths.PATHS["second"] = Path(lambda *given: ran.append(1), lambda cell: "no C compiler found")
    assert choice.explain(build("leaky", 3, 4), 2, 5).refused == {"second": "no C compiler found"}
    assert not ran


def test_a_timing_on_disk_of_a_path_that_is_no_more_proved_is_not_followed(
    clock, cache, monkeypatch
):
    """What was the fastest yesterday and lies today is dropped."""
    build("leaky", 3, 4)(window())
    forget(monkeypatch)
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    paths.PATHS["second"] = Path(lies)
    cell = build("leaky", 3, 4)
    with pytest.warns(RuntimeWarning, match="dropped"):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}


def test_a_path_that_fails_on_a_window_is_not_taken_there(cache):
    """A path that is proved and cannot run in some type is left out where it fails, and the loop
    runs.
    """

    def no_float32(cell, x, state, reset, lengths):
        if x.dtype == torch.float32:
            raise RuntimeError("no kernel for Float")
        return eager.run(cell, x, state, reset, lengths)

    paths.PATHS = {"first": Path(no_float32), "eager": Path(eager.run)}
    cell = build("leaky", 3, 4, torch.float32)
    cell(window().float())
    assert set(cell.chosen_paths.values()) == {"eager"}
    assert choice.explain(cell, 2, 5).refused == {"first": "it does not run on such a window"}


def transforms(cell, x):
    """Return calls of a cell under what watches or rewrites its operations."""
    weights = dict(cell.named_parameters())
    return {
        "vmap": lambda: torch.vmap(lambda x: cell(x)[0])(x.unsqueeze(0).expand(2, -1, -1, -1))[0],
        "grad": lambda: torch.func.grad(lambda x: cell(x)[0].sum())(x),
        "functional_call": lambda: torch.func.vmap(
            lambda w: torch.func.functional_call(cell, w, (x,))[0]
        )({name: torch.stack([weight, weight]) for name, weight in weights.items()})[0],
        "compile": lambda: torch.compile(lambda x: cell(x)[0], backend="eager", fullgraph=True)(x),
        "jvp": lambda: torch.func.jvp(lambda x: cell(x)[0], (x,), (x,))[0],
        "meta": lambda: copy.deepcopy(cell).to("meta")(x.to("meta"))[0],
    }  # fmt: skip


# The warning is torch's own, for forward derivatives.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("kind", ["vmap", "grad", "functional_call", "compile", "jvp", "meta"])
def test_under_a_transform_the_loop_runs_and_nothing_is_measured(cache, monkeypatch, kind):
    """Compilers and transforms of functions see `step`, proved or not, measured or not."""

    def never(*given):
        raise AssertionError("a path was taken")

    cell, x = build("leaky", 3, 4), window()
    wanted = cell(x)[0]  # the paths are proved and measured for the class of this call
    for name in ("first", "second"):
        paths.PATHS[name] = Path(never)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "measure", never)
        found = transforms(cell, x)[kind]()
    torch.compiler.reset()
    if kind not in ("grad", "meta"):
        torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_and_export_run_the_loop(cache, monkeypatch):
    """So do dual numbers, and a program that is exported, at their first call."""
    monkeypatch.setattr(choice, "measure", lambda *given: pytest.fail("measured"))
    cell, x = build("leaky", 3, 4), window()
    with torch.autograd.forward_ad.dual_level():
        y, _ = cell(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
        assert torch.autograd.forward_ad.unpack_dual(y).tangent is not None
    program = torch.export.export(cell, (x,))
    torch.testing.assert_close(program.module()(x)[0], y)
    assert not cell.chosen_paths


def test_one_path_alone_is_not_measured(clock):
    """There is nothing to choose, and it says so."""
    paths.PATHS = {"eager": Path(eager.run)}
    told = choice.explain(build("leaky", 3, 4), 2, 5)
    assert (told.path, told.seconds, told.note) == (
        "eager",
        {},
        "not measured: the only one",
    ) and not clock.runs


def test_measuring_can_be_turned_off(clock, cache, monkeypatch):
    """`RECURRA_MEASURE=0` takes the first in the order; wide short windows are not torch's kernels'
    business.
    """
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    assert choice.explain(build("leaky", 3, 4), 2, 5).path == "first"
    paths.PATHS = {"native": Path(first), "second": Path(second), "eager": Path(eager.run)}
    wide, narrow = (build("matrix", 3, hidden) for hidden in (choice.WIDE, 8))
    assert [choice.explain(cell, 1, 1, grad=False).path for cell in (wide, narrow)] == [
        "second",
        "native",
    ]
    assert choice.explain(wide, 1, 1).path == "native"
    assert choice.explain(wide, 8, 8, reset=True).path == "second"
    assert not clock.runs and not cache.exists()


@pytest.mark.parametrize(("batch", "steps"), [(0, 5), (2, 0), (0, 0)])
def test_a_window_of_nothing_is_not_measured(clock, batch, steps):
    """It has no rows, or no steps, and no cost."""
    cell = build("leaky", 3, 4)
    assert cell(window(batch, steps))[0].shape == (batch, steps, 4)
    assert not clock.runs and not cell.chosen_paths


def test_a_call_costs_a_look_into_a_table(clock, monkeypatch):
    """Once a class is known, no options are spelt, no file is read, no proof is asked for."""
    cell, x = build("leaky", 3, 4), window()
    cell(x)
    monkeypatch.setattr(Choice, "of", lambda *given: pytest.fail("decided again"))
    cell(x)
    copied = copy.deepcopy(cell)
    copied(x)
