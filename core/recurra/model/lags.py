"""How much of what was read some steps ago is left in what a network gives: gradients by lag."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from recurra.engine.eager import step_by_step
from recurra.engine.recurrence import map_state
from recurra.model.network import Network, States
from recurra.shapes import Inputs

ORIGINS = 8
"""Steps whose gradient is taken, of which a lag has the mean."""
DIRECTIONS = 32
"""Numbers that a step may leave of which each has its own gradient; of more, random sums have."""


class Origins(NamedTuple):
    """At which steps of a window of so many `size` gradients are taken, and how far back.

    `steps` `[A]` and `lags` `[L]`; a lag below 0 is a step that comes later.
    """

    size: int
    steps: NDArray[np.int64]
    lags: NDArray[np.int64]


def origins_of(steps: int, most: int, both_ways: bool, count: int = ORIGINS) -> Origins:
    """Return up to `count` origins for the last of so many steps, and lags up to `most`.

    They lie in the last quarter; where a step is answered by what comes later, too, in the midst.
    """
    span = min(steps // 4, most // 2) + 1
    size = min(steps, most + span)
    reach = size - span
    ahead = reach // 2 if both_ways else 0
    back = reach - ahead
    places = np.unique(np.linspace(size - 1 - ahead, back, count).round().astype(np.int64))
    return Origins(size, places, np.arange(-ahead, back + 1))


def gradients(
    network: Network, x: Inputs, states: States, origins: Origins, most: int = DIRECTIONS
) -> list[NDArray[np.float64]]:
    """Return the norms of gradients by origin and lag, `[A, L]`, for each layer, the lowest first.

    They are Frobenius norms of the Jacobian of what the head reads at an origin, by what the layer
    has read a lag before it (Pascanu et al. 2013, arXiv:1211.5063). x is a window `[1, T, ...]`,
    which begins with `states`. Of more than `most` numbers the norm is that of as many random sums
    of them, drawn once: its square has the right mean.
    """
    with step_by_step(network.cells), _inputs(network) as inputs, torch.enable_grad():
        width = _width(network)
        directions = _directions(width, most, network)
        rows = len(directions)
        wide = x.expand(rows, *x.shape[1:])
        begun = tuple(map_state(lambda field: _repeated(field, rows), state) for state in states)
        hidden, _ = network.hidden(wide, begun)
        norms = []
        for at in origins.steps.tolist():
            # Of a sum: torch would load its symbolic shapes to compare those of a gradient given.
            total = (hidden[:, at] * directions).sum()
            given = torch.autograd.grad(total, inputs, retain_graph=True, allow_unused=True)
            norms.append([_norm(part, read) for part, read in zip(given, inputs, strict=True)])

    places = origins.steps[:, None] - origins.lags
    return [
        np.stack([by_step[layer][place] for by_step, place in zip(norms, places, strict=True)])
        for layer in range(len(inputs))
    ]


def _repeated(field: Tensor, rows: int) -> Tensor:
    return field.expand(rows, *field.shape[1:]).contiguous()


def _norm(gradient: Tensor | None, read: Tensor) -> NDArray[np.float64]:
    """Return the norm at each step `[T]` of gradients `[R, T, D]`."""
    if gradient is None:
        return np.zeros(read.shape[1])
    norm: NDArray[np.float64] = gradient.double().square().sum((0, 2)).sqrt().cpu().numpy()
    return norm


def _width(network: Network) -> int:
    """Return how many numbers the head reads of a step."""
    *_, last = network.stack
    return last.output_size


def _directions(width: int, most: int, network: Network) -> Tensor:
    """Return directions `[R, W]` of length 1, each of which has a gradient.

    Fewer than W are orthogonal, and longer, so that the square of the norm has the right mean.
    """
    if width <= most:
        return torch.eye(width, device=network.device, dtype=network.dtype)
    stream = torch.Generator().manual_seed(0)
    drawn = torch.randn(width, most, generator=stream, dtype=torch.float64)
    orthogonal, _ = torch.linalg.qr(drawn)
    longer: Tensor = orthogonal.T * (width / most) ** 0.5
    return longer.to(network.device, network.dtype).contiguous()


@contextmanager
def _inputs(network: Network) -> Iterator[list[Tensor]]:
    """Collect what each layer reads meanwhile, by which gradients can be taken."""
    read: list[Tensor] = []

    def note(layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        x, *others = inputs
        if not x.requires_grad:
            x = x.detach().requires_grad_()
        read.append(x)
        return (x, *others)

    hooks = [layer.register_forward_pre_hook(note) for layer in network.layers]
    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def by_lag(norms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the root mean square over the origins of norms `[A, L]`, `[L]`."""
    mean: NDArray[np.float64] = np.sqrt(np.square(norms).sum(axis=0) / max(1, len(norms)))
    return mean


def memory(norms: NDArray[np.float64], lags: NDArray[np.int64], share: float = 0.9) -> int:
    """Return from how many steps, the last first, a share of the sum of norms `[L]` comes.

    Of what fades by d a step, d^k a lag k before, it is log(1 - share) / log(d), rounded up, where
    the lags go far enough. 0 where nothing comes from any.
    """
    back = np.cumsum(norms[lags >= 0])
    if not len(back) or not np.isfinite(back[-1]) or back[-1] <= 0:
        return 0
    # A sum that is right to rounding counts as reached.
    return int(np.argmax(back >= share * back[-1] * (1 - 1e-9))) + 1
