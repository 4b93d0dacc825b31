"""What the units of a network do while it reads: states and gates as maps of colours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.drawing import (
    Axis,
    HeatMap,
    Line,
    Panel,
    Picture,
    Piece,
    Plot,
    Points,
    Table,
    Tagged,
)
from recurra.model.tracing import Inside, saturation
from recurra.reporting.stretches import Stretch, part_of, stretches
from recurra.reporting.view import Left, View

STEPS = 120
"""Steps of a map."""
UNITS = 32
"""Units of a map; of more those that change most."""
GATE_UNITS = 16
NAMED = 60
"""Symbols that stand below a map by their names alone; of more each has its step beside it."""
LAYERS = 4
"""Layers that have a map, the first and the last among them; any may be asked for alone."""
GATES = 4
"""Gates of a layer that have a map, or a plot of their saturation."""
READ = 2
"""Units by which a text is shaded."""
COUNTED = 4
"""Stretches of which saturation is counted, each of up to `MANY` steps."""
MANY = 160
EDGE = 0.1


class Seen(NamedTuple):
    """A stretch of the data, what goes on in each layer at its steps, and which have maps.

    In the steps ahead of the step `origin` it is what goes on in the cell of a `decoder`.
    """

    stretch: Stretch
    layers: list[Inside]
    shown: list[int]
    origin: int
    decoder: Inside | None

    @property
    def note(self) -> str:
        """What is to be said of layers that have no map."""
        count = len(self.layers)
        if len(self.shown) in (1, count):
            return ""
        return f" Of {count} layers {len(self.shown)} are shown; --layer draws any of them."


def picture(view: View) -> Picture:
    """Return the states of layers over a stretch of the data. Raises `Left`."""
    seen = _read(view)
    stretch, layers = seen.stretch, seen.layers
    panels = _elements(stretch)
    for index in seen.shown:
        name = _layer(index, len(layers))
        panels.append(_map(f"What {name} gives", layers[index].output, stretch, UNITS))
    last = seen.shown[-1]
    name = _layer(last, len(layers))
    for field, values in _others(layers[last]).items():
        panels.append(_map(f"State {field} of {name}", values, stretch, UNITS))
    if isinstance(stretch.elements, list):
        panels.append(_shaded(stretch, layers[last]))
    caption = f"{_whence(view, stretch)} A row is a unit: click on one to see its trace, then drag"
    caption += " over a span of it to find where the same units are as high."
    if seen.decoder is not None:
        steps = _ahead(seen)
        panels.append(
            _map("What the decoder gives", seen.decoder.output, stretch, UNITS, steps=steps)
        )
        for field, values in _others(seen.decoder).items():
            panels.append(
                _map(f"State {field} of the decoder", values, stretch, UNITS, steps=steps)
            )
    return Picture("states", "What its units do", panels, caption + seen.note)


def _others(layer: Inside) -> dict[str, NDArray[Any]]:
    """Return the states of a layer, `[T, W]`, that are as wide as what it gives, and other."""
    flat = {field: values.reshape(len(values), -1) for field, values in layer.states.items()}
    return {
        field: values
        for field, values in flat.items()
        if values.shape == layer.output.shape
        and not np.allclose(values, layer.output, equal_nan=True)
    }


def gates(view: View) -> Picture:
    """Return the gates of layers over a stretch, and how saturated all are. Raises `Left`.

    The names are those that the code of the cell has for them.
    """
    seen = _read(view)
    stretch, layers = seen.stretch, seen.layers
    decoder = seen.decoder
    if not any(layer.gates for layer in (*layers, decoder) if layer is not None):
        raise Left("its cell squashes nothing but its state, so it has no gates")
    panels: list[Panel] = []
    for index in seen.shown:
        of = _layer(index, len(layers))
        panels += _gates(layers[index], of, stretch)
    if view.layer is not None and not panels:
        raise Left(f"the cell of {of} squashes nothing but its state, so it has no gates")
    if decoder is not None:
        panels += _gates(decoder, "the decoder", stretch, _ahead(seen))
    panels += _saturated(view)
    caption = (
        f"{_whence(view, stretch)} Gates are what the step of the cell squashes, called as its"
    )
    caption += " code calls them. In the plots a unit is a point: at how many steps a gate is shut,"
    caption += (
        " and is open; near the diagonal's ends it is a switch, near 0 it is never saturated."
    )
    return Picture("gates", "What its gates do", panels, caption + seen.note)


def _gates(layer: Inside, of: str, stretch: Stretch, steps: Axis | None = None) -> Iterator[Panel]:
    """Give a map of each gate that is shown of a layer."""
    for name in _named(layer):
        values = layer.gates[name].reshape(len(layer.output), -1)
        title, bounds = f"Gate {name} of {of}", layer.bounds[name]
        yield _map(title, values, stretch, GATE_UNITS, bounds, wide=False, steps=steps)


def _ahead(seen: Seen) -> Axis:
    """Return the axis of the steps ahead."""
    assert seen.decoder is not None, "there is a decoder"
    count = len(seen.decoder.output)
    names = [f"{step + 1}" for step in range(count)]
    return Axis(f"steps ahead of step {seen.origin:,}", names=names)


def _read(view: View) -> Seen:
    """Return a stretch of the data and what goes on while it is read. Raises `Left`."""
    run = view.run
    found: list[Stretch] = []
    with suppress(Left):
        found = stretches(view, 4, STEPS)
    if found:
        stretch = max(found, key=lambda each: len(each.elements))
        with run.predictor().within():
            layers = stretch.inside(run.network)
            origin, decoder = stretch.decoded(run.network)
        return Seen(stretch, layers, _shown(view, layers), origin, _unless(view, decoder))

    # The data is gone: what the run has generated can be read all the same.
    made = view.result.get("generated")
    if not made or not isinstance(made, str | list):
        raise Left("neither the data of the run nor anything that it generated can be read")
    trace = run.trace(made, steps=STEPS, lags=0)
    layers = [_inside(layer) for layer in trace.layers]
    x = run.predictor().read(made).x[None]
    stretch = Stretch(x, 0, 0, trace.elements, "what it has generated")
    decoder = None if trace.decoder is None else _inside(trace.decoder)
    return Seen(stretch, layers, _shown(view, layers), len(trace) - 1, _unless(view, decoder))


def _inside(layer: Any) -> Inside:
    """Return a layer of a trace."""
    return Inside(layer.output, layer.states, layer.gates, layer.bounds)


def _unless(view: View, decoder: Inside | None) -> Inside | None:
    """Return a decoder, unless one layer is asked for."""
    return decoder if view.layer is None else None


def _shown(view: View, layers: list[Inside]) -> list[int]:
    """Return which layers have a map. Raises `Left` where one is asked for that there is not."""
    count = len(layers)
    if view.layer is None:
        return sorted({round(at) for at in np.linspace(0, count - 1, min(count, LAYERS))})
    if not 1 <= view.layer <= count:
        raise Left(f"it has {count:,} layer{'s' * (count > 1)}, and none is number {view.layer:,}")
    return [view.layer - 1]


def _whence(view: View, stretch: Stretch) -> str:
    """Return what a map is of."""
    count = len(stretch.elements)
    where = stretch.name
    with suppress(Left):
        if stretch.name.startswith("sequence"):
            where = f"{stretch.name} of the {part_of(view)[0]} split"
    return f"{count:,} steps of {where}, from step {stretch.begin:,} on."


def _layer(index: int, count: int) -> str:
    return "the layer" if count == 1 else f"layer {index + 1} of {count}"


def _steps(stretch: Stretch) -> Axis:
    """Return the axis of the steps: symbols by their names."""
    if isinstance(stretch.elements, list):
        names = [_visible(name) for name in stretch.elements]
        if len(names) <= NAMED:
            return Axis("symbol", names=names)
        counted = [f"{n} {name}" for n, name in enumerate(names)]
        return Axis("step", names=counted)
    names = [f"{stretch.begin + n}" for n in range(len(stretch.elements))]
    return Axis("step", names=names)


def _visible(name: str) -> str:
    """Return a symbol that is seen, also a space and the end of a line."""
    return {" ": "␣", "\n": "⏎", "\t": "⇥", "": "∅"}.get(name, name)


def _elements(stretch: Stretch) -> list[Panel]:
    """Return a plot of numbers that are read, above the maps of the same steps."""
    if isinstance(stretch.elements, list):
        return []
    values = np.asarray(stretch.elements, np.float64)
    steps = stretch.begin + np.arange(len(values))
    lines = [
        Line(f"column {n + 1}", steps, values[:, n], n) for n in range(min(4, values.shape[1]))
    ]
    if values.shape[1] == 1:
        lines = [Line("value", steps, values[:, 0], "ink")]
    return [Plot("What it reads", Axis("step", whole=True), Axis("value"), lines, 120, wide=True)]


def _most(values: NDArray[Any], most: int) -> NDArray[np.int64]:
    """Return the units, of values `[T, W]`, that change most, in their order."""
    spread = (
        np.nan_to_num(np.nanstd(values, axis=0)) if len(values) > 1 else np.zeros(values.shape[1])
    )
    return np.sort(np.argsort(-spread, kind="stable")[:most])


def _map(
    title: str,
    values: NDArray[Any],
    stretch: Stretch,
    most: int,
    bounds: tuple[float, float] | None = None,
    wide: bool = True,
    steps: Axis | None = None,
) -> Plot:
    """Return a map of values `[T, W]`: a row for each unit, a column for each step."""
    units = _most(values, most)
    rows = np.asarray(values[:, units], np.float64).T
    names = [f"{unit}" for unit in units.tolist()]
    one_sided = bounds is not None and bounds[0] == 0
    if one_sided:
        shown = HeatMap("value", rows, low=0, high=max(1.0, float(np.nanmax(rows))), pick="rows")
    else:
        shown = HeatMap("value", rows, diverging=True, pick="rows")
    notes = ""
    if len(units) < values.shape[1]:
        notes = f"Of {values.shape[1]:,} units the {len(units)} that change most."
    height = float(min(300, max(60, 7 * len(units))))
    x, y = steps or _steps(stretch), Axis("unit", names=names)
    return Plot(title, x, y, [shown], height=height, wide=wide, notes=notes)


def _shaded(stretch: Stretch, layer: Inside) -> Tagged:
    """Return the text, shaded by the unit that changes most."""
    unit = int(np.argmax(np.nan_to_num(np.std(layer.output, axis=0))))
    values = layer.output[:, unit].astype(np.float64)
    most = float(np.nanmax(np.abs(values))) or 1.0
    pieces = [
        Piece(symbol, shade=float(value / most), title=f"{value:.3f}")
        for symbol, value in zip(stretch.elements, values, strict=True)
    ]
    return Tagged(f"The text by unit {unit}, which changes most", pieces, legend=False)


def _named(layer: Inside) -> list[str]:
    """Return the gates of a layer that are shown: first those between 0 and 1."""
    order = sorted(layer.gates, key=lambda name: layer.bounds[name][0] < 0)
    return order[:GATES]


def _saturated(view: View) -> list[Panel]:
    """Return a plot for each gate: of each unit the shares of steps at which it is shut, and open.

    Karpathy et al. 2015, arXiv:1506.02078, figure 2.
    """
    try:
        found = stretches(view, COUNTED, MANY)
    except Left:
        return []
    network = view.run.network
    with view.run.predictor().within():
        traced = [stretch.inside(network) for stretch in found]
    panels: list[Panel] = []
    rows = []
    count = sum(len(stretch.elements) for stretch in found)
    for name in dict.fromkeys(name for layer in traced[0] for name in _named(layer)):
        marks = []
        low, high = next(layer.bounds[name] for layer in traced[0] if name in layer.bounds)
        for index in range(len(traced[0])):
            parts = [layers[index] for layers in traced if name in layers[index].gates]
            if not parts or parts[0].bounds[name] != (low, high):
                continue
            values = np.concatenate([part.gates[name] for part in parts])
            if low == 0 and np.nanmax(values) > 1:
                # An exponential that grows is no gate that shuts and opens.
                continue
            shut, open_ = saturation(values.reshape(len(values), -1), (low, high), EDGE)
            called = _layer(index, len(traced[0])).removeprefix("the ")
            marks.append(Points(called, open_, shut, index % 8))
            rows.append([name, called, float(shut.mean()), float(open_.mean())])
        if marks:
            edges = low + EDGE * (high - low), high - EDGE * (high - low)
            x = Axis(f"share of steps above {edges[1]:g}", low=0, high=1)
            y = Axis(f"share of steps below {edges[0]:g}", low=0, high=1)
            panels.append(Plot(f"Saturation of gate {name}", x, y, marks, height=170))
    if rows:
        columns = ["gate", "layer", "shut", "open"]
        notes = f"Mean shares of {count:,} steps in {len(found)} stretches of the data."
        panels.append(Table("Saturation, all units", columns, rows, notes=notes))
    return panels
