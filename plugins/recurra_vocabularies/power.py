"""Powers of numbers above 0, by which a series whose swings grow with its level becomes an even one."""

from __future__ import annotations

import numpy as np

from recurra_vocabularies.moments import Floats, Moments, ScaleKind

POWERS = np.linspace(0, 2, 41)
"""Powers among which the one of training is looked for: a twentieth more or less makes no difference that one sees.

Of a negative one every number that a network gives beyond -1 / power would stand for infinity.
"""


def forward(values: Floats, power: Floats) -> Floats:
    """Return (x^p - 1) / p of rows `[n, F]` above 0, log x where the power `[F]` is 0.

    Box & Cox 1964, "An analysis of transformations", doi:10.1111/j.2517-6161.1964.tb00553.x.
    """
    logs = np.log(values)
    even = power == 0
    return np.where(even, logs, np.expm1(power * logs) / np.where(even, 1.0, power))


def backward(values: Floats, power: Floats) -> Floats:
    """Return the x of (x^p - 1) / p, 0 where there is none so small."""
    even = power == 0
    with np.errstate(divide="ignore"):
        logs = np.log1p(np.maximum(power * values, -1.0)) / np.where(even, 1.0, power)
    return np.exp(np.where(even, values, logs))


class Search:
    """The likeliest power of each feature, in one pass: that of which the results look most like a normal law."""

    def __init__(self) -> None:
        self.moments = [Moments() for _ in POWERS]
        self.logs = Moments()

    def add(self, run: Floats) -> None:
        """Take note of rows `[n, F]` above 0."""
        if not len(run):
            return
        self.logs.add(np.log(run))
        for power, moments in zip(POWERS, self.moments, strict=True):
            moments.add(forward(run, np.full(run.shape[1], power)))

    def powers(self) -> Floats:
        """Return the power `[F]` of the greatest likelihood; 1 for a feature that is constant.

        The logarithm of the likelihood is -n/2 log(variance) + (p - 1) sum of log x, but for what does not hang on p.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(np.stack([moments.variance for moments in self.moments]))
        gain = (POWERS[:, None] - 1) * self.logs.mean - spread / 2
        best = POWERS[np.nan_to_num(gain, nan=-np.inf, posinf=-np.inf).argmax(axis=0)]
        return np.where(self.logs.changes, best, 1.0)

    def scale(self, power: Floats, kind: ScaleKind) -> tuple[Floats, Floats]:
        """Return shift and scale of what those powers give."""
        rows = np.searchsorted(POWERS, power)
        scales = [self.moments[row].scale(kind) for row in range(len(POWERS))]
        features = np.arange(len(power))
        shift, scale = (np.stack([pair[index] for pair in scales])[rows, features] for index in (0, 1))
        return shift, scale
