"""Sequences of numbers as vectors of one size, and what is learned from these: 1-NN and ridge."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DIMENSION = 4096
"""The most numbers in a vector, but for as many columns: of longer ones, steps are averaged."""

CONSTANT = 1e-12
"""What deviates no more than this, in parts of its column's largest value, is constant."""

ALPHAS = tuple(10 ** (power / 2) for power in range(-6, 7))
"""The penalties among which ridge chooses: 1e-3 to 1e3."""

ROUNDING = 1e-12
"""Squared distances that differ by no more than this, in parts of the squares, are the same."""


class Vectors:
    """How a sequence `[n, F]` becomes a vector `[D]`, learned from those of training.

    It is stretched to the longest of training by linear interpolation, column by column. Each
    number then loses the mean that it has in training, and is divided by its deviation; one that
    is constant in training becomes 0. Where the longest has more than `DIMENSION` numbers, the
    means of every `pooled` steps stand for its steps.
    """

    def __init__(self, sequences: Sequence[NDArray[Any]]) -> None:
        # In parts of a column's largest value, no square of a number is beyond all numbers.
        largest_of_each = [np.abs(sequence).max(axis=0) for sequence in sequences]
        largest = np.max(largest_of_each, axis=0)
        self.unit: Floats = np.where(largest > 0, largest, 1.0)  # F

        longest = max(map(len, sequences))
        most_steps = max(1, DIMENSION // len(self.unit))
        self.pooled = math.ceil(longest / most_steps)
        self.steps = math.ceil(longest / self.pooled)

        vectors = self._stretched(sequences)
        deviation = vectors.std(axis=0)
        self.mean: Floats = vectors.mean(axis=0)  # D
        self.deviation: Floats = np.where(deviation > CONSTANT, deviation, np.inf)

    def of(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        """Return the vectors `[n, D]` of n sequences."""
        # A number may be beyond all measure of training.
        with np.errstate(over="ignore", invalid="ignore"):
            return (self._stretched(sequences) - self.mean) / self.deviation

    def _stretched(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        """Return the vectors before they are scaled."""
        vectors = []
        for sequence in sequences:
            rows = stretched(self._pooled(sequence), self.steps)
            vectors.append(rows.ravel())
        return np.stack(vectors)

    def _pooled(self, sequence: NDArray[Any]) -> Floats:
        """Return the means of every `pooled` steps, in parts of the columns' largest values."""
        begin = np.arange(0, len(sequence), self.pooled)
        sizes = np.diff(begin, append=len(sequence))
        sums = np.add.reduceat(sequence / self.unit, begin)
        means: Floats = sums / sizes[:, None]
        return means


def stretched(sequence: Floats, steps: int) -> Floats:
    """Return what a sequence `[n, F]` is at `steps` evenly spaced places, from first to last."""
    place = np.linspace(0, len(sequence) - 1, steps)
    before = place.astype(np.int64)
    after = np.minimum(before + 1, len(sequence) - 1)
    share = (place - before)[:, None]
    return sequence[before] * (1 - share) + sequence[after] * share


def nearest(vectors: Floats, learned: Floats) -> NDArray[np.int64]:
    """Return which of `learned` `[m, D]` is nearest to each of `vectors` `[n, D]`.

    Of several that are equally near, but for rounding, it is the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        # |x - y|^2 = |x|^2 + |y|^2 - 2 x . y
        square = (vectors**2).sum(axis=1)[:, None]  # n 1
        squares = (learned**2).sum(axis=1)  # m
        distance = square + squares - 2 * vectors @ learned.T  # n m, squared

        slack = ROUNDING * (square + squares.max())
        least = distance.min(axis=1, keepdims=True)
        close = distance <= least + slack
        return np.asarray(np.argmax(close, axis=1))


class Ridge:
    """Linear regression whose weights w are kept small: the least |y - b - x w|^2 + alpha |w|^2.

    Of `ALPHAS` it takes the one with the least squared error of answers that are predicted by
    what all other rows teach. No row need be left out to know that. With x less its means, and
    the eigenvalues s and vectors Q of x x', the predictions for its own rows are b + H (y - b),
    H = Q diag(s / (s + alpha)) Q', b the mean of y; and leaving row i out divides its error by
    1 - 1/n - H[i, i] (Golub, Heath & Wahba 1979, doi:10.1080/00401706.1979.10489751).
    """

    def __init__(self, vectors: Floats, answers: Floats) -> None:
        """Learn from vectors `[n, D]` and the numbers `[n, C]` that answer them."""
        self.middle = vectors.mean(axis=0)
        self.intercept = answers.mean(axis=0)
        centred = vectors - self.middle

        # By torch, whose threads do not spin while they wait: beside others numpy's take minutes.
        products = torch.from_numpy(centred @ centred.T)
        values, basis = torch.linalg.eigh(products)
        self.values = np.maximum(values.numpy(), 0)  # n
        self.basis = basis.numpy()  # n n
        self.turned = self.basis.T @ (answers - self.intercept)  # n C

        def error(alpha: float) -> float:
            return float((self.left_out(alpha) ** 2).sum())

        self.alpha = min(ALPHAS, key=error)
        scaled = self.turned / (self.values + self.alpha)[:, None]
        self.weights: Floats = centred.T @ (self.basis @ scaled)  # D C

    def left_out(self, alpha: float) -> Floats:
        """Return the errors `[n, C]` of rows, each predicted by what all others teach."""
        part = alpha / (self.values + alpha)
        errors = self.basis @ (part[:, None] * self.turned)
        free = self.basis**2 @ part - 1 / len(part)  # 1 - 1/n - H[i, i]
        divisor = np.maximum(free, np.finfo(np.float64).eps)
        return np.asarray(errors / divisor[:, None])

    def predict(self, vectors: Floats) -> Floats:
        """Return numbers `[m, C]` for vectors `[m, D]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            centred = vectors - self.middle
            return np.asarray(centred @ self.weights + self.intercept)
