"""What goes on inside of a run while it reads a sequence, as arrays that a program looks at."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from asked import KINDS, Made, drawn, made_in, refusal
from trials import ANSWERS, write

import recurra
from recurra.job import tracing
from recurra.job.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


def sequence(name: str) -> Any:
    return max(drawn(name, 5), key=len)


@pytest.mark.parametrize("name", KINDS)
def test_a_trace_is_of_what_the_run_computes(name: str, made: Made) -> None:
    """Layer by layer the outputs are those of its own path, and the last state has them too."""
    run = made[name]
    before = [(cell.path, cell.step_path, set(vars(cell))) for cell in run.network.cells]
    weights = copy.deepcopy(run.network.state_dict())
    trace = run.trace(sequence(name))
    for layer, output in zip(trace.layers, run.hidden(sequence(name)), strict=True):
        assert np.allclose(layer.output, output, atol=1e-5)
        assert all(len(values) == len(trace) for values in layer.states.values())
        assert all(len(values) == len(trace) for values in layer.gates.values())
        read = [layer.states[key] for key in ("h", "back.h") if key in layer.states]
        assert np.allclose(np.concatenate(read, axis=1), layer.output, atol=1e-6)
        assert layer.gradients.shape == (len(trace.origins), len(trace.lags))
        assert set(layer.bounds) == set(layer.gates) and layer.gates
    now = [(cell.path, cell.step_path, set(vars(cell))) for cell in run.network.cells]
    assert now == before
    assert all(map(torch.equal, run.network.state_dict().values(), weights.values()))


def test_elements_are_those_of_the_data(made: Made) -> None:
    """Symbols by their names, one a step, and numbers in their own units."""
    assert made["words"].trace("ab,").elements == ["a", "b", ","]
    rows = sequence("series")
    assert np.array_equal(made["series"].trace(rows).elements, np.array(rows))


@pytest.mark.parametrize("name", ["prose", "series", "both"])
def test_a_window_of_a_trace_is_that_of_the_whole(name: str, made: Made) -> None:
    """What was before is read, and not kept; so gradients reach as far as the window does."""
    run, whole = made[name], made[name].trace(sequence(name))
    part = run.trace(sequence(name), begin=2, steps=3)
    assert np.array_equal(part.elements, whole.elements[2:5])
    for one, all_of_it in zip(part.layers, whole.layers, strict=True):
        pairs = [(one.output, all_of_it.output)]
        pairs += [(one.states[key], all_of_it.states[key]) for key in one.states]
        pairs += [(one.gates[key], all_of_it.gates[key]) for key in all_of_it.gates]
        for own, others in pairs:
            assert own.shape[0] == 3 and np.allclose(own, others[2:5], atol=1e-5)
    assert part.begin == 2 and len(part) == 3
    assert "3 steps from 2 on" in repr(part) and "h [3, " in repr(part.layers[0])


def test_gradients_of_a_run_are_those_of_its_own_path(made: Made) -> None:
    """The last origin by autograd of the network as it runs, of a run that steps and of numbers."""
    run = made["strokes"]
    rows = sequence("strokes")
    trace = run.trace(rows, lags=6)
    network, layer = run.network, trace.layers[0]
    x = run.predictor().read(rows).x[None]
    encoded, state = network.encode(x, network.initial_states(1)[0])
    encoded = encoded.detach().requires_grad_()
    hidden, _ = network._layered(encoded, network.initial_states(1)[1:])
    at = int(trace.origins[-1])
    assert at == len(trace) - 1
    norms = torch.zeros(len(trace))
    for unit in hidden[0, at]:
        (gradient,) = torch.autograd.grad(unit, encoded, retain_graph=True)
        norms += gradient[0].square().sum(-1)
    expected = norms.sqrt().numpy()[at - trace.lags]
    assert np.allclose(layer.gradients[-1], expected, rtol=1e-3, atol=1e-6)
    assert np.allclose(layer.gradient, np.sqrt((layer.gradients**2).mean(axis=0)))
    assert 1 <= layer.memory(0.5) <= layer.memory(0.99) <= len(trace.lags)


def test_none_are_taken_of_no_lags(made: Made) -> None:
    """Then there are no origins, and nothing is remembered."""
    trace = made["words"].trace("abab", lags=0)
    assert trace.origins.shape == trace.lags.shape == (0,)
    assert trace.layers[0].gradients.shape == (0, 0) and trace.layers[0].memory() == 0


def test_saturation_counts_steps(made: Made) -> None:
    """The shares of steps at which a unit is below a tenth of the way between its bounds, or above
    nine.
    """
    layer = made["both"].trace("abba" * 5).layers[0]
    for gate in ("i", "g", "back.o"):
        values, (low, high) = layer.gates[gate], layer.bounds[gate]
        shut, open_ = layer.saturation(gate, 0.3)
        for unit in range(values.shape[1]):
            way = [(value - low) / (high - low) for value in values[:, unit].tolist()]
            assert shut[unit] == sum(each < 0.3 for each in way) / len(way)
            assert open_[unit] == sum(each > 0.7 for each in way) / len(way)
    with refusal("tanh(c)"):
        layer.saturation("q")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that answers sequences with sequences."""
    home = tmp_path_factory.mktemp("answers")
    return recurra.run(write(home, ANSWERS), {"training.steps": 4}, runs=home / "runs")


@pytest.mark.slow
def test_an_answer_is_read_on(answers: Run) -> None:
    """Behind the sequence stand the mark and what the network answers, as it has read them."""
    text = answers.split("train")[0].values
    (said,) = answers.predict([text])
    elements = answers.trace(text).elements
    mark = elements.index("<answer begins>")
    assert "".join(elements[:mark]) == text and "".join(elements[mark + 1 :]) == said["predicted"]


def test_what_cannot_be_traced_is_refused(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each error says what is wrong, and what to do."""
    run = made["prose"]
    for kind, wanted in (
        (dict(begin=-1), "begin"),
        (dict(steps=0), "steps"),
        (dict(lags=1.5), "lags"),
    ):
        with refusal(wanted):
            run.trace("the cat", **kind)
    with refusal("none is left", "below 3"):
        run.trace("the", begin=3)
    with refusal("empty"):
        run.trace("")
    with refusal("not in the vocabulary"):
        made["words"].trace("\u4e16")
    with refusal("numbers"):
        made["series"].trace("text")

    monkeypatch.setattr(tracing, "MOST", 500)
    with refusal("give begin, and steps of at most"):
        run.trace("the cat sat on the mat")
    assert len(run.trace("the cat sat on the mat", begin=3, steps=2)) == 2
    monkeypatch.setattr(tracing, "MOST", 10**9)
    monkeypatch.setattr(tracing, "STEPS", 8)
    with refusal("9 are too many", "at most 8"):
        run.trace("the cat s")
    with refusal("both ways"):
        made["both"].trace("ab" * 30, steps=2)
