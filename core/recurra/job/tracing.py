"""What goes on inside of a run's network while it reads a sequence, as arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.marks import Marked
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate.companion import Companion
from recurra.job.new import New
from recurra.job.predict import Predictor, Read, of_row
from recurra.model import lags as by_lags
from recurra.model.completion import completions
from recurra.model.network import States
from recurra.model.tracing import (
    Arrays,
    decoded,
    held,
    inside,
    left_at,
    saturation,
    states_at,
)

if TYPE_CHECKING:
    from recurra.job.run import Run

MOST = 1 << 27
"""Numbers that a trace may hold, about: half a gigabyte of float32."""
STEPS = 1 << 15
"""Steps that it may have: each takes about a millisecond."""
LAGS = 4096
"""Steps back that a gradient may be taken over."""


@dataclass(frozen=True, repr=False)
class TracedLayer:
    """A layer while T steps are read; a cell that reads from right to left is called `back.`.

    output: what the layer gives, `[T, W]`
    states: the fields of the state after each step, `[T, ...]`, as the cell names them
    gates: what the cell's `step` squashes, `[T, ...]`, as its code names it: by the variable that
        holds the result, or that is squashed. nan where a step has no such gate
    bounds: between which numbers each gate lies: 0 and 1, or -1 and 1
    gradients: Frobenius norms `[A, L]` of the Jacobian of what the head reads at each origin by
        what this layer has read each lag before it; none where no lags are asked for
    """

    output: NDArray[Any]
    states: Arrays
    gates: Arrays
    bounds: dict[str, tuple[float, float]]
    gradients: NDArray[np.float64]
    lags: NDArray[np.int64]

    def __repr__(self) -> str:
        shapes = {**self.states, **self.gates}
        told = ", ".join(f"{name} {list(values.shape)}" for name, values in shapes.items())
        return f"<TracedLayer: output {list(self.output.shape)}, {told}>"

    @property
    def gradient(self) -> NDArray[np.float64]:
        """The root mean square of `gradients` over the origins, `[L]`."""
        return by_lags.by_lag(self.gradients)

    def memory(self, share: float = 0.9) -> int:
        """Return from how many steps, the last first, a share of the sum of `gradient` comes.

        Where it is nearly as many as there are lags, the memory may be longer. 0 for none. Raises
        `InputError` (RC080).
        """
        return by_lags.memory(self.gradient, self.lags, arguments.share("share", share))

    def saturation(
        self, gate: str, edge: float = 0.1
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the shares of steps at which each unit of a gate is shut, and is open.

        That is below `edge` of the way between its bounds, and above 1 - `edge` of it. Raises
        `InputError` (RC080).
        """
        arguments.one_of("gate", gate, tuple(self.gates))
        return saturation(self.gates[gate], self.bounds[gate], arguments.share("edge", edge))


@dataclass(frozen=True, repr=False)
class Trace:
    """What goes on inside of a network while it reads a sequence, from the step `begin` on.

    elements: what is read at each of T steps: symbols by their names, or numbers `[T, F]`; where
        answers follow sequences, also the mark between them and the network's own answer
    layers: the lowest first
    origins: steps of these T at which gradients are taken, `[A]`
    lags: how many steps before an origin something was read, `[L]`; below 0 it came later
    decoder: where a cell decodes the steps ahead (`target.decoder`), that cell in the steps ahead
        of the last of these T, without gradients; None where their covariates are not given
    """

    elements: list[str] | NDArray[Any]
    begin: int
    layers: list[TracedLayer]
    origins: NDArray[np.int64]
    lags: NDArray[np.int64]
    decoder: TracedLayer | None = None

    def __len__(self) -> int:
        return len(self.elements)

    def __repr__(self) -> str:
        return f"<Trace: {len(self):,} steps from {self.begin:,} on, {len(self.layers)} layers>"


def trace_of(run: Run, sequence: Any, begin: Any, steps: Any, lags: Any) -> Trace:
    """Return what goes on in a run's network. Raises `InputError` (RC042, RC043, RC080)."""
    begin = arguments.whole("begin", begin)
    steps = None if steps is None else arguments.whole("steps", steps, 1)
    lags = arguments.whole("lags", lags, 0, LAGS)
    predictor = run.predictor()
    read, offset = _read(run, predictor, sequence)
    network, total = predictor.network, len(read.x)
    if begin >= total:
        fact = f"the sequence has {total:,} steps, so that none is left from step {begin:,} on"
        raise InputError.of("RC080", fact, key="begin", cure=f"give a step below {total:,}")
    end = total if steps is None else min(total, begin + steps)

    # Where a step is answered by all that comes later, all is read at once.
    start, stop = (0, total) if network.reads_both_ways else (begin, end)
    _check_held(held(network), stop - start, network.reads_both_ways)
    x = read.x[None].to(network.device)
    with predictor.within():
        states = states_at(network, x, start)
        decoder = _decoder(predictor, read, x[:, start:end], states, end + offset)
        layers = inside(network, x[:, start:stop], states)
        layers = [layer.between(begin - start, end - start) for layer in layers]
        at, norms = np.zeros(0, np.int64), [np.zeros((0, 0))] * len(layers)
        origins = by_lags.origins_of(stop - start, lags, network.reads_both_ways)
        if lags:
            first = stop - origins.size
            states = states_at(network, x[:, start:], first - start, states)
            norms = by_lags.gradients(network, x[:, first:stop], states, origins)
            at = origins.steps + first - begin
    reach = origins.lags if lags else np.zeros(0, np.int64)
    return Trace(
        elements=_elements(run, read.values[begin + offset : end + offset]),
        begin=begin,
        layers=[
            TracedLayer(layer.output, layer.states, layer.gates, layer.bounds, norm, reach)
            for layer, norm in zip(layers, norms, strict=True)
        ],
        origins=at,
        lags=reach,
        decoder=decoder,
    )


def _decoder(
    predictor: Predictor, read: Read, x: Tensor, states: States, count: int
) -> TracedLayer | None:
    """Return what goes on in a decoder's cell ahead of the last step of x `[1, T, ...]`.

    So many elements of the sequence have come by then.
    """
    network, coming = predictor.network, None
    if network.decoder is None:
        return None
    left = left_at(network, x, x.shape[1] - 1, states)
    if network.coming:
        rows, covariates = read.beside, predictor.covariates
        assert rows is not None and covariates is not None, "covariates are read"
        values = torch.zeros(count, 0)
        companion, _ = Companion.beside(covariates, rows).after(
            values, rows._replace(past=rows.past[:count])
        )
        try:
            known = companion.ahead_of(network.ahead, network.ahead, left)
        except InputError:
            return None
        coming = None if known is None else known[0]
    made = decoded(network, left, coming)
    if made is None:
        return None
    none = np.zeros(0, np.int64)
    own = made.output, made.states, made.gates, made.bounds
    return TracedLayer(*own, np.zeros((0, 0)), none)


def _read(run: Run, predictor: Predictor, sequence: Any) -> tuple[Read, int]:
    """Return a sequence as it is read, and how many of its elements come before the first step."""
    (row,) = New.of(run, [sequence], None).rows()
    try:
        read = predictor.read(row.elements, row.time)
    except InputError as error:
        raise of_row(error) from error.__cause__
    if run.resolved.target.scope == "answer":
        read = _answered(run, predictor, read)
    if not len(read.x):
        fact = "the sequence is empty, so nothing goes on inside"
        raise InputError.of("RC080", fact, cure="give one element or more")
    return read, len(read.values) - len(read.x)


def _answered(run: Run, predictor: Predictor, read: Read) -> Read:
    """Return a sequence, the mark behind it, and the answer that the network gives to it."""
    assert isinstance(run.answers, Marked), "answers that follow have marks"
    marks = run.answers.marks
    with predictor.within():
        (said,) = completions(predictor.network, [read.values], marks, predictor.limit)
    ids = marks.around(said[said != marks.end])[:-1]
    values = np.concatenate([read.values, ids])
    return read._replace(values=values, x=torch.from_numpy(values))


def _check_held(width: int, steps: int, whole: bool) -> None:
    """Refuse a trace that would not fit into memory, or take minutes. Raises `InputError` (RC080).

    So many numbers of each step are held.
    """
    most = max(1, min(STEPS, MOST // width))
    if steps <= most:
        return
    fact = f"a trace takes its steps one by one and holds all of them, and {steps:,} are too many"
    cure = f"give begin, and steps of at most {most:,}"
    if whole:
        cure = f"give a sequence of at most {most:,} steps: this network reads all of it both ways"
    raise InputError.of("RC080", fact, key="steps", allowed=f"at most {most:,}", cure=cure)


def _elements(run: Run, values: NDArray[Any]) -> list[str] | NDArray[Any]:
    """Return what was read as the data has it: numbers, or the names of symbols."""
    if values.ndim > 1:
        return values
    named = run.answers if run.resolved.target.scope == "answer" else run.vocabulary
    return [named.symbol(index) for index in values.tolist()]
