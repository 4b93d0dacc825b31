"""Powers of numbers above 0, by which a series whose swings grow with its level becomes an even
one.
"""

from __future__ import annotations

import numpy as np

from recurra_vocabularies.moments import Floats, Moments, ScaleKind

POWERS = np.linspace(0, 1, 21)
"""Powers among which the one of training is looked for: a twentieth more or less makes no
difference that one sees.

A negative one would make infinity of numbers that a network may give, and of one above 1 small
numbers come back in halves of their digits.
"""


def forward(values: Floats, power: Floats) -> Floats:
    """Return x^p of rows `[n, F]` above 0, and log x where the power `[F]` is 0.

    The (x^p - 1) / p of Box & Cox 1964, "An analysis of transformations",
    doi:10.1111/j.2517-6161.1964.tb00553.x, is the same but for a shift and a scale, which follow
    anyway.
    """
    return np.where(power == 0, np.log(values), values**power)


def backward(values: Floats, power: Floats) -> Floats:
    """Return the x of x^p, 0 where there is none so small."""
    even = power == 0
    with np.errstate(over="ignore"):
        roots = np.maximum(values, 0.0) ** (1 / np.where(even, 1.0, power))
        return np.where(even, np.exp(values), roots)


class Search:
    """The likeliest power of each feature, in one pass: that of which the results look most like a
    normal law.
    """

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

        The logarithm of the likelihood is -n/2 log(variance) + (p - 1) sum of log x, but for what
        does not hang on p, where the variance is that of (x^p - 1) / p.
        """
        divisor = np.where(POWERS == 0, 1.0, POWERS)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(np.stack([moments.variance for moments in self.moments]) / divisor**2)
        gain = (POWERS[:, None] - 1) * self.logs.mean - spread / 2
        best = POWERS[np.nan_to_num(gain, nan=-np.inf, posinf=-np.inf).argmax(axis=0)]
        return np.where(self.logs.changes, best, 1.0)

    def scale(self, power: Floats, kind: ScaleKind) -> tuple[Floats, Floats]:
        """Return shift and scale of what those powers give."""
        rows = np.searchsorted(POWERS, power)
        scales = [moments.scale(kind) for moments in self.moments]
        features = np.arange(len(power))
        shift, scale = (
            np.stack([pair[index] for pair in scales])[rows, features] for index in (0, 1)
        )
        return shift, scale
