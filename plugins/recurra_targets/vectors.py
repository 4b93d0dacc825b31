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
        largest = np.max([np.abs(sequence).max(axis=0) for sequence in sequences], axis=0)
        self.unit: Floats = np.where(largest > 0, largest, 1.0)  # F

        longest = max(map(len, sequences))
        self.pooled = math.ceil(longest / max(1, DIMENSION // len(self.unit)))
        self.steps = math.ceil(longest / self.pooled)

        vectors = self._stretched(sequences)
        deviation = vectors.std(axis=0)
        self.mean: Floats = vectors.mean(axis=0)  # D
        self.deviation: Floats = np.where(deviation > CONSTANT, deviation, np.inf)

    def of(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        """Return the vectors `[n, D]` of n sequences."""
        with np.errstate(over="ignore", invalid="ignore"):  # beyond all measure of training
            return (self._stretched(sequences) - self.mean) / self.deviation

    def _stretched(self, sequences: Sequence[NDArray[Any]]) -> Floats:
        return np.stack([stretched(self._pooled(one), self.steps).ravel() for one in sequences])

    def _pooled(self, sequence: NDArray[Any]) -> Floats:
        """Return the means of every `pooled` steps, in parts of the columns' largest values."""
        begin = np.arange(0, len(sequence), self.pooled)
        sizes = np.diff(begin, append=len(sequence))
        means: Floats = np.add.reduceat(sequence / self.unit, begin) / sizes[:, None]
        return means


def stretched(sequence: Floats, steps: int) -> Floats:
    """Return what a sequence `[n, F]` is at `steps` evenly spaced places, from first to last."""
    place = np.linspace(0, len(sequence) - 1, steps)
    before = place.astype(np.int64)
    after = np.minimum(before + 1, len(sequence) - 1)
    share = (place - before)[:, None]
    return sequence[before] * (1 - share) + sequence[after] * share


def nearest(vectors: Floats, known: Floats) -> NDArray[np.int64]:
    """Return which of `known` `[m, D]` is nearest to each of `vectors` `[n, D]`.

    Of several that are equally near, but for rounding, it is the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        square, squares = (vectors**2).sum(axis=1)[:, None], (known**2).sum(axis=1)
        distance = square + squares - 2 * vectors @ known.T  # n m, squared
        slack = ROUNDING * (square + squares.max())
        close = distance <= distance.min(axis=1, keepdims=True) + slack
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
        self.middle, self.intercept = vectors.mean(axis=0), answers.mean(axis=0)
        centred = vectors - self.middle
        # By torch, whose threads do not spin while they wait: beside others numpy's take minutes.
        values, basis = torch.linalg.eigh(torch.from_numpy(centred @ centred.T))
        self.values, self.basis = np.maximum(values.numpy(), 0), basis.numpy()  # n, n n
        self.turned = self.basis.T @ (answers - self.intercept)  # n C

        self.alpha = min(ALPHAS, key=lambda alpha: float((self.left_out(alpha) ** 2).sum()))
        scaled = self.turned / (self.values + self.alpha)[:, None]
        self.weights: Floats = centred.T @ (self.basis @ scaled)  # D C

    def left_out(self, alpha: float) -> Floats:
        """Return the errors `[n, C]` of rows, each predicted by what all others teach."""
        part = alpha / (self.values + alpha)
        errors = self.basis @ (part[:, None] * self.turned)
        free = self.basis**2 @ part - 1 / len(part)  # 1 - 1/n - H[i, i]
        return np.asarray(errors / np.maximum(free, np.finfo(np.float64).eps)[:, None])

    def predict(self, vectors: Floats) -> Floats:
        """Return numbers `[m, C]` for vectors `[m, D]`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return np.asarray((vectors - self.middle) @ self.weights + self.intercept)
