"""Powers of numbers above 0, which even out a series whose swings grow with its level."""

from __future__ import annotations

import numpy as np

from recurra_vocabularies.moments import Moments, ScaleKind
from recurra_vocabularies.ranks import Floats

POWERS = np.linspace(0, 1, 21)
"""Powers among which the one of training is looked for.

A twentieth more or less makes no difference that one sees. A negative one would make infinity of
numbers that a network may give, and of one above 1 small numbers come back in halves of their
digits.
"""

ROUNDING = 16 * np.finfo(np.float64).eps
"""How far off the power of a number and the mean of many are, as a part of them."""


def forward(values: Floats, power: Floats) -> Floats:
    """Return x^p of rows `[n, F]` above 0, and log x where the power `[F]` is 0.

    The (x^p - 1) / p of Box & Cox 1964, "An analysis of transformations",
    doi:10.1111/j.2517-6161.1964.tb00553.x, is the same but for a shift and a scale, which follow
    anyway.
    """
    return np.where(power == 0, np.log(values), values**power)


def backward(values: Floats, power: Floats) -> Floats:
    """Return the x of x^p, 0 where there is none so small."""
    is_log = power == 0
    with np.errstate(over="ignore"):
        exponent = 1 / np.where(is_log, 1.0, power)
        roots = np.maximum(values, 0.0) ** exponent
        return np.where(is_log, np.exp(values), roots)


class Search:
    """The likeliest power of each feature, in one pass.

    It is the one whose results look most like a normal law.
    """

    def __init__(self, kind: ScaleKind) -> None:
        self.moments = [Moments(kind=kind) for _ in POWERS]
        self.logs = Moments()

    def add(self, run: Floats) -> None:
        """Take note of rows `[n, F]` above 0."""
        if not len(run):
            return
        self.logs.add(np.log(run))
        features = run.shape[1]
        for power, moments in zip(POWERS, self.moments, strict=True):
            moments.add(forward(run, np.full(features, power)))

    def powers(self) -> Floats:
        """Return the power `[F]` of the greatest likelihood; 1 for a feature that is constant.

        The logarithm of the likelihood is -n/2 log(variance) + (p - 1) sum of log x, but for what
        does not hang on p, where the variance is that of (x^p - 1) / p. Among powers that rounding
        does not let one tell apart it is the greatest.
        """
        divisor = np.where(POWERS == 0, 1.0, POWERS)[:, None]
        variances = np.stack([moments.variance for moments in self.moments])  # powers F
        means = np.stack([moments.mean for moments in self.moments])  # powers F
        with np.errstate(divide="ignore", invalid="ignore"):
            spread = np.log(variances / divisor**2)
            blur = ROUNDING * np.abs(means) / np.sqrt(variances)
        gain = (POWERS[:, None] - 1) * self.logs.mean - spread / 2

        # A power that cannot be judged, its variance 0 or no number, is never the best.
        judged = np.isfinite(gain) & np.isfinite(blur)
        gain = np.where(judged, gain, -np.inf)
        surely = np.where(judged, gain - blur, -np.inf).max(axis=0)
        maybe = gain + np.where(judged, blur, 0.0) >= surely

        greatest = len(POWERS) - 1 - maybe[::-1].argmax(axis=0)
        return np.where(self.logs.changes, POWERS[greatest], 1.0)

    def scale(self, power: Floats) -> tuple[Floats, Floats]:
        """Return shift and scale of what those powers give."""
        rows = np.searchsorted(POWERS, power)
        features = np.arange(len(power))
        pairs = [moments.scale() for moments in self.moments]
        shifts = np.stack([shift for shift, _ in pairs])  # powers F
        scales = np.stack([scale for _, scale in pairs])  # powers F
        return shifts[rows, features], scales[rows, features]
