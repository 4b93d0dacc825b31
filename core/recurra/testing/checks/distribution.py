"""Checks of a loss that says how numbers are distributed."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.distribution import Distribution
from recurra.testing.answers import demand, tensor
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.measure import EXACT, ROWS, gap, worst
from recurra.testing.subjects.loss import LossSubject
from recurra.testing.subjects.reader import SIZE
from recurra.testing.subjects.subject import SEED

STEPS = 6
LEVELS = (0.003, 0.05, 0.25, 0.5, 0.6, 0.9, 0.999)
REACHED = 1e-6
"""By how much the chance up to a quantile may miss its level."""
STEP = 1e-5
"""Of scaled units: between two numbers so near the chance rises as the density says."""
RISE = 1e-4
"""By how much, as a part of the greatest density, a slope of chances may differ from it."""
GRID = 997
"""Draws that are made of as many numbers, evenly from 0 to 1."""
SCALES = (1.0, 7.5)
"""What 1 is in counts, where numbers are counts."""


def _asked(subject: LossSubject, size: int = SIZE) -> Distribution[Any]:
    """Return the loss. Raises `NotApplicable` if it is no distribution."""
    loss = subject.loss(size)
    if not isinstance(loss, Distribution):
        raise NotApplicable("it is no distribution")
    return loss


def _scales(loss: Distribution[Any], like: Tensor) -> list[Tensor | None]:
    """Return what 1 may be in counts, of the shape of targets; nothing where there are none."""
    if not loss.counts:
        return [None]
    return [torch.full_like(like, scale) for scale in SCALES]


def _given(value: object, like: Tensor, what: str) -> Tensor:
    """Return numbers of the shape of targets, in double precision. Raises `Broken`."""
    numbers = tensor(value, f"what {what} gives")
    shape, wanted = list(numbers.shape), list(like.shape)
    demand(shape == wanted, f"{what} gives {shape} for targets {wanted}")
    demand(numbers.dtype == torch.float64, f"{what} gives {numbers.dtype}, not float64")
    return numbers


@check("L14", "chances, quantiles and densities belong together", "loss", firm=True, since="1.1")
def belongs(subject: LossSubject) -> Measured:
    """Of a `Distribution`, the chance up to a quantile is its level, and quantiles never cross. A
    `density` is the slope of the chances, of counts their rise from one to the next, and the loss
    is -log of it; `levels` rise between 0 and 1.

    Figures are made of quantiles, anomalies are told by chances, and the loss is what was trained:
    a forecast whose parts contradict each other is none. To mend it: derive all of them from the
    same parameters; of whole numbers a quantile is the least that reaches the chance.
    """
    loss = _asked(subject)
    levels = loss.levels
    rises = all(low < high for low, high in zip((0.0, *levels), (*levels, 1.0), strict=True))
    demand(len(levels) > 0 and rises, f"levels are {levels!r}")

    output, target = subject.pair(loss, "numbers", STEPS)
    findings = []
    drawn = target
    for scale in _scales(loss, target):
        target = drawn if scale is None else drawn / scale
        findings.append(_reached(loss, output, target, scale))
        if loss.density:
            findings.append(_sloped(loss, output, target, scale))
            losses = loss.elementwise(output, target, scale)
            value = gap(-loss.log_prob(output, target, scale), losses, "a loss")
            findings.append(Measured(value, ROWS, "-log p"))
    return worst(findings)


def _reached(
    loss: Distribution[Any], output: Tensor, target: Tensor, scale: Tensor | None
) -> Measured:
    """Return how far the chances up to quantiles are from their levels."""
    quantiles = tensor(loss.quantile(output, LEVELS, scale), "what quantile gives")
    shape, wanted = list(quantiles.shape), [*target.shape, len(LEVELS)]
    demand(shape == wanted, f"quantile gives {shape} for {len(LEVELS)} levels, not {wanted}")
    crossed = (quantiles.diff(dim=-1) < 0).any()
    demand(not bool(crossed), "the quantile of a level lies below that of a lower one")

    misses = [0.0]
    one = 0.0 if scale is None else 1 / scale
    for place, level in enumerate(LEVELS):
        at = quantiles[..., place]
        chance = _given(loss.cdf(output, at, scale), target, "cdf")
        misses.append(float((level - chance).max()))
        if loss.counts:
            # One less does not reach it.
            chance = torch.where(at > 0, loss.cdf(output, at - one, scale), 0.0)
            misses.append(float((chance - level).max()))
        elif loss.density:
            misses.append(float((chance - level).max()))

        alike = torch.full_like(at, level)
        each = _given(loss.icdf(output, alike, scale), target, "icdf")
        misses.append(gap(each, at, "a quantile"))
    return Measured(max(misses), REACHED, "chance up to a quantile")


def _sloped(
    loss: Distribution[Any], output: Tensor, target: Tensor, scale: Tensor | None
) -> Measured:
    """Return how the density differs from the slope of the chances."""
    density = loss.log_prob(output, target, scale).exp()
    if loss.counts:
        one = 1.0 if scale is None else 1 / scale
        before = torch.where(target > 0, loss.cdf(output, target - one, scale), 0.0)
        slope = loss.cdf(output, target, scale) - before
    else:
        ahead, behind = target + STEP, target - STEP
        slope = (loss.cdf(output, ahead) - loss.cdf(output, behind)) / (2 * STEP)
    off = (density - slope).abs().max() / density.abs().max()
    return Measured(float(off), RISE, "slope of the chances")


@check("L15", "a draw hangs on its own number alone", "loss", firm=True, since="1.1")
def draws(subject: LossSubject) -> Measured:
    """Of a `Distribution`, `sample` makes of numbers spread evenly over [0, 1) what lies below each
    quantile as often as its level says, and of each number the same whatever stands beside it. 0,
    and the greatest number below 1, give finite draws; no other random numbers are used.

    Each draw comes from a number of its own series and step, so that a forecast is the same in
    whatever batch it is made. To mend it: draw by `icdf`, as it is where nothing else is said.
    """
    loss = _asked(subject, 2)
    output, target = subject.pair(loss, "numbers", 1)
    numbers = (torch.arange(GRID, dtype=torch.float64) + 0.5) / GRID
    grid = numbers[:, None].expand(GRID, 2).contiguous()

    findings = []
    for scale in _scales(loss, target):
        torch.manual_seed(SEED)
        stream = torch.get_rng_state()
        many = None if scale is None else scale.expand(GRID, 2)
        drawn = loss.sample(output.expand(GRID, -1), grid.clone(), many)
        drawn = _given(drawn, grid, "sample")
        demand(torch.equal(stream, torch.get_rng_state()), "sample draws numbers of its own")
        findings.append(_spread(loss, output, drawn, scale))

        alone = [loss.sample(output, grid[at : at + 1], scale) for at in range(0, GRID, 97)]
        value = gap(torch.cat(alone), drawn[::97], "a draw")
        findings.append(Measured(value, ROWS, "a draw alone"))
        ends = torch.tensor([[0.0, 1 - 2.0**-52]], dtype=torch.float64)
        sound = bool(torch.isfinite(loss.sample(output, ends, scale)).all())
        findings.append(Measured(0.0 if sound else torch.inf, EXACT, "draws of both ends"))
    return worst(findings)


def _spread(
    loss: Distribution[Any], output: Tensor, drawn: Tensor, scale: Tensor | None
) -> Measured:
    """Return how far the share of draws up to a number is from its chance."""
    off = [0.0]
    for level in np.linspace(0.05, 0.95, 7).tolist():
        at = loss.quantile(output, [level], scale)[..., 0]  # 1 F
        # What is drawn there may be a hair beyond it.
        share = (drawn <= at + 1e-9 * (1 + at.abs())).double().mean(dim=0)
        chance = loss.cdf(output, at, scale)[0] if loss.density else torch.full_like(share, level)
        off.append(float((share - chance).abs().max()))
    return Measured(max(off), 2 / GRID, "share of draws")
