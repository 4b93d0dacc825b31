"""Pictures of what only recurrent networks have: they draw what a trace says, and what is measured
says again.
"""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES
from trials import ANSWERS, LABELS, PROSE, TAGS, about, write

import recurra
from recurra.drawing import HeatMap, Picture, Plot, Points, Table
from recurra.errors import InputError
from recurra.job.run import Run
from recurra.reporting import free, lags, lengths, states
from recurra.reporting.stretches import stretches
from recurra.reporting.view import Left, View
from recurra.reporting.view import view as view_of

DRAWN = {
    "states": states.picture,
    "gates": states.gates,
    "lags": lags.picture,
    "lengths": lengths.picture,
    "free-running": free.picture,
}
STACK = ("lstm", "gru")
LEFT = {
    ("words", "free-running"): "never runs by itself",
    ("tags", "free-running"): "never runs by itself",
    ("series", "gates"): "so it has no gates",
}
"""What does not apply to a run, and why; all else is drawn."""
WAVE = [round(float(np.sin(n / 3)), 4) for n in range(90)]
WORDS = [f"{'ab' * (n % 5)}{'a' * (n % 3)}b" for n in range(36)]


def _tasks() -> dict[str, tuple[str, dict[str, Any]]]:
    """Return a task of each kind: symbols and numbers that go on, classes read both ways, tags, and
    answers that follow.
    """
    both = {"sequence.length": 11, "cell.bidirectional": True, "cell.kind": "lstm"}
    classes = ["xy"[len(word) % 2] for word in WORDS]
    return {
        "prose": (about(PROSE, "inline", texts=WORDS).replace('"the "', '"ab"'), {}),
        "series": (about(SERIES, "inline", values=WAVE), {"cell.kind": "rnn"}),
        "words": (about(LABELS, "inline", texts=WORDS, labels=classes), {**both, **LAYERED}),
        "tags": (TAGS, {}),
        "stack": (
            about(PROSE, "inline", texts=WORDS).replace('"the "', '"ab"'),
            {"cell": {"stack": [dict(kind=kind, hidden_size=5) for kind in STACK]}},
        ),
        "horizon": (
            about(SERIES, "inline", values=WAVE),
            {"target": {"kind": "horizon", "length": 5, "decoder": "cell"}},
        ),
        "answers": (about(ANSWERS, "inline", texts=WORDS, answers=[w[::-1] for w in WORDS]), {}),
    }


LAYERED = {"cell.num_layers": 2}
OFTEN = ["prose", "words"]
RARELY = [pytest.param(name, marks=pytest.mark.slow) for name in ("series", "tags", "answers")]
KINDS = [*OFTEN, *RARELY]


class Views(dict[str, View]):
    """What is looked at, by name: a run is trained for a moment when it is first asked for."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def __missing__(self, name: str) -> View:
        text, changes = _tasks()[name]
        more = {"training.optimizer": {"kind": "adam", "lr": 0.05}, "training.steps": 8}
        quick = {"device.path": "eager", **more, **changes}
        folder = self.home / name
        run = recurra.run(write(folder, text), quick, runs=folder / "runs")
        self[name] = view_of(run.path, lambda: recurra.load(run.path))
        return self[name]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Views:
    return Views(tmp_path_factory.mktemp("inside"))


def plots(picture: Picture) -> list[Plot]:
    return [panel for panel in picture.panels if isinstance(panel, Plot)]


def maps(picture: Picture) -> dict[str, np.ndarray[Any, Any]]:
    """Return the maps of a picture by their titles, `[units, steps]`."""
    return {
        plot.title: np.asarray(mark.values)
        for plot in plots(picture)
        for mark in plot.marks
        if isinstance(mark, HeatMap)
    }


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("name", KINDS)
def test_each_is_drawn_or_says_why_not(name: str, kind: str, views: Views) -> None:
    """A picture is whole markup with titles, axes and data, and leaves the run as it was."""
    view = views[name]
    weights = {key: value.clone() for key, value in view.run.network.state_dict().items()}
    threads = torch.get_num_threads()
    if why := LEFT.get((name, kind)):
        with pytest.raises(Left, match=why):
            DRAWN[kind](view)
        return
    picture = DRAWN[kind](view)
    ElementTree.fromstring(picture.svg())
    assert picture.name == kind and picture.caption.endswith(".")
    for plot in plots(picture):
        assert plot.title and plot.x.label and plot.y.label and plot.columns()
    after = view.run.network.state_dict()
    assert all(torch.equal(value, weights[key]) for key, value in after.items())
    assert torch.get_num_threads() == threads and "step" not in vars(view.run.network.cells[0])


@pytest.mark.parametrize("name", [*OFTEN[1:], *RARELY[1:]])
def test_maps_show_what_a_trace_says(name: str, views: Views) -> None:
    """The rows of the maps are units of `run.trace` of the same sequence, by their names."""
    view = views[name]
    run: Run = view.run
    stretch = max(stretches(view, 4, states.STEPS), key=lambda each: len(each.elements))
    read = list(stretch.elements)
    if name == "answers":
        # A trace reads the network's own answer, and a stretch the one that came.
        read = read[: read.index("<answer begins>")]
    text = "".join(read) if name != "tags" else read
    trace = run.trace(text)
    shown, gated = maps(states.picture(view)), maps(states.gates(view))
    count, layers = len(read), len(trace.layers)
    assert len([title for title in shown if title.startswith("What ")]) == layers
    for n, layer in enumerate(trace.layers, 1):
        called = f"layer {n} of {layers}" if layers > 1 else "the layer"
        expected = layer.output[:count].T
        assert np.allclose(shown[f"What {called} gives"][:, :count], expected, atol=1e-5)
        for gate in states._named(layer):
            expected = layer.gates[gate][:count].T
            units = states._most(layer.gates[gate], states.GATE_UNITS)
            values = gated[f"Gate {gate} of {called}"]
            rows = units if name != "answers" else range(6)
            assert np.allclose(values[:, :count], expected[rows], atol=1e-5)


def test_one_layer_is_drawn_alone_as_beside_the_others(views: Views) -> None:
    """Whichever is asked for, by its number; one that there is not is told, with how many are."""
    view = views["stack"]
    for draw in (states.picture, states.gates):
        whole, drawn = maps(draw(view)), {}
        for layer in (1, 2):
            alone = maps(draw(View(view.folder, lambda: view.run, layer)))
            assert alone and all(f"layer {layer} of 2" in title for title in alone)
            drawn |= alone
        assert {title for title in whole} <= {*drawn}
        assert all(np.array_equal(drawn[title], values) for title, values in whole.items())
        with pytest.raises(Left, match="it has 2 layers, and none is number 3"):
            draw(View(view.folder, lambda: view.run, 3))
    with pytest.raises(InputError, match="lags is not of one layer"):
        view.run.plot("lags", layer=1)
    with pytest.raises(InputError, match="it has 2 layers"):
        recurra.plot(view.path, "gates", layer=3)


def test_of_many_layers_the_first_and_the_last_are_shown(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caption says how many are not, and what draws them."""
    monkeypatch.setattr(states, "LAYERS", 1)
    assert "Of 2 layers 1" not in states.gates(views["stack"]).caption
    monkeypatch.setattr(states, "LAYERS", 2)
    layers = views["stack"].run.network.layers
    fives = [states.Inside(np.zeros((3, 2)), {}, {}, {})] * 5
    assert states._shown(views["stack"], fives) == [0, 4] and len(layers) == 2


def test_a_decoder_is_drawn_beside_the_layers(views: Views) -> None:
    """What it gives in the steps ahead is what a trace says of the step they go on from."""
    view = views["horizon"]
    stretch = max(stretches(view, 4, states.STEPS), key=lambda each: len(each.elements))
    shown, gated = maps(states.picture(view)), maps(states.gates(view))
    last = stretch.begin + len(stretch.elements) - 1
    plot = next(p for p in plots(states.picture(view)) if p.title == "What the decoder gives")
    origin = last - view.run.network.ahead
    assert plot.x.label == f"steps ahead of step {origin:,}"
    series = view.data().store.values[: origin + 1]
    decoder = view.run.trace(series.tolist()).decoder
    assert np.allclose(shown["What the decoder gives"], decoder.output.T, atol=1e-5)
    assert decoder.gates
    for gate, values in decoder.gates.items():
        assert np.allclose(gated[f"Gate {gate} of the decoder"], values.T, atol=1e-5)


def test_saturation_is_counted_over_stretches(views: Views) -> None:
    """Each point is a unit: the shares of steps above nine tenths, and below one."""
    view = views["prose"]
    network = view.run.network
    read = stretches(view, states.COUNTED, states.MANY)
    layers = [stretch.inside(network)[0] for stretch in read]
    for plot in plots(states.gates(view)):
        if not plot.title.startswith("Saturation"):
            continue
        gate = plot.title.removeprefix("Saturation of gate ")
        values = np.concatenate([layer.gates[gate] for layer in layers])
        low, high = layers[0].bounds[gate]
        (points,) = plot.marks
        assert isinstance(points, Points)
        way = (values - low) / (high - low)
        assert np.allclose(points.x, (way > 0.9).mean(axis=0))
        assert np.allclose(points.y, (way < 0.1).mean(axis=0))


def test_layers_of_different_cells_have_gates_of_their_own(views: Views) -> None:
    """Of a stack each gate has the points of those layers that have it, and a row for each."""
    view = views["stack"]
    layers = view.run.trace("ab" * 4).layers
    picture = states.gates(view)
    rows = {tuple(row[:2]) for row in picture.panels[-1].rows}  # type: ignore[union-attr]
    own = {(g, f"layer {n} of 2") for n, layer in enumerate(layers, 1) for g in layer.gates}
    assert rows <= own and {gate for gate, _ in rows} >= {"f", "i", "o", "g", "r", "z", "n"}
    assert view.row["cell"] == ", ".join(STACK)


def test_the_memory_is_that_of_the_drawn_gradients(views: Views) -> None:
    """The table tells from how many steps the shares of the sum of the curve come."""
    picture = lags.picture(views["prose"])
    (table,) = (panel for panel in picture.panels if isinstance(panel, Table))
    at, norms = (np.array(column.values, float) for column in plots(picture)[0].columns()[:2])
    back = np.nancumsum(norms[at >= 0])
    for share, told in zip((0.5, 0.9, 0.99), table.rows[0][1:], strict=True):
        assert back[int(told) - 1] >= share * back[-1] * (1 - 1e-4)
        assert told == 1 or back[int(told) - 2] < share * back[-1] * (1 + 1e-4)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("words", "accuracy"),
        pytest.param("answers", "exact_match", marks=pytest.mark.slow),
        pytest.param("tags", "loss", marks=pytest.mark.slow),
    ],
)
def test_figures_by_length_are_those_of_the_run(name: str, key: str, views: Views) -> None:
    """Where all of a split is read, their mean is what the evaluation says."""
    figure = views[name].run.evaluate("test")["metrics"][key]
    table = lengths.picture(views[name]).panels[-1]
    mean = sum(row[1] * row[2] for row in table.rows) / sum(row[1] for row in table.rows)
    assert mean == pytest.approx(figure, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["prose", *RARELY[::2]])
def test_by_itself_and_corrected_begin_alike(name: str, views: Views) -> None:
    """At the first step nothing was said before."""
    (plot,) = plots(free.picture(views[name]))
    rows = {column.name: column.values for column in plot.columns()}
    assert rows["by itself"][0] == pytest.approx(rows["corrected by what came"][0], rel=1e-4)


@pytest.mark.slow
def test_whole_answers_by_itself_are_those_of_the_figures(views: Views) -> None:
    """Where every symbol is right, and the mark of the end, the answer matches."""
    view = views["answers"]
    fared = free._answers(view, view.data().splits["test"].scored())
    known = np.isfinite(fared.free)
    whole = (np.where(known, fared.free, 1) == 1).all(axis=1).mean()
    assert whole == pytest.approx(view.run.evaluate("test")["metrics"]["exact_match"], abs=1e-6)


def test_a_run_whose_data_is_gone_is_drawn_as_far_as_can_be(
    views: Views, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States are those of what it has generated; what needs the data says that it is gone."""

    def gone(self: View) -> Any:
        raise Left("the data of the run cannot be read: it is gone")

    monkeypatch.setattr(View, "data", gone)
    view = views["prose"]
    picture = states.picture(view)
    assert "what it has generated" in picture.caption
    made = str(view.result["generated"])
    (shown, *_) = maps(picture).values()
    assert shown.shape[1] == min(len(made), states.STEPS)
    for kind in ("lags", "lengths", "free-running"):
        with pytest.raises(Left, match="it is gone"):
            DRAWN[kind](view)
