"""What can be said of a few seeds: intervals, ranks, and whether a difference is more than noise.

Costs are what is to become small, `[V, S]`: of each variant in each seed, infinite where it failed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

FEWEST = 5
"""Seeds below which there is no interval: 3 have 10 different resamples, 5 have 126."""
TOO_FEW = f"fewer than {FEWEST} seeds tell no interval: 3 have but 10 different resamples"
LEVEL = 0.95
RESAMPLES = 10_000

Floats = NDArray[np.float64]
Interval = tuple[float, float]


def interval(values: Floats, level: float = LEVEL) -> Interval | None:
    """Return the percentile bootstrap interval of a mean; nothing of fewer than 5 values.

    Efron 1979, doi:10.1214/aos/1176344552. The resamples are the same each time.
    """
    if len(values) < FEWEST or not np.isfinite(values).all():
        return None
    drawn = np.random.default_rng(0).integers(0, len(values), (RESAMPLES, len(values)))
    low, high = np.quantile(values[drawn].mean(axis=1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def improvement(costs: Floats, others: Floats) -> float:
    """Return the chance that a run of one is better than a run of another; half of a tie counts.

    Agarwal et al. 2021, arXiv:2108.13264.
    """
    better = costs[:, None] < others[None, :]
    alike = costs[:, None] == others[None, :]
    return float((better + 0.5 * alike).mean())


def among(costs: Floats, index: int) -> float:
    """Return the mean chance that a variant is better than each of the others; 1/2 if alone."""
    others = [improvement(costs[index], each) for at, each in enumerate(costs) if at != index]
    return float(np.mean(others)) if others else 0.5


def ranks(costs: Floats) -> list[int]:
    """Return the rank of each variant, from 1; one that failed stands behind all that did not.

    Of those that failed the one that did so less often stands first. Equal ones share a rank.
    """
    keys: list[tuple[int, float]] = []
    for row in costs:
        finite = row[np.isfinite(row)]
        mean = float(finite.mean()) if len(finite) else math.inf
        keys.append((len(row) - len(finite), mean))
    return [1 + sum(other < key for other in keys) for key in keys]


def inside(t: float, freedom: int) -> float:
    """Return the chance that Student's t lies within -t and t (Abramowitz & Stegun 26.7.3-4)."""
    angle = math.atan(t / math.sqrt(freedom))
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = freedom % 2
    term, total = (cosine, cosine) if odd else (1.0, 1.0)
    for step in range(2 + odd, freedom - 1, 2):
        term *= cosine * cosine * (step - 1) / step
        total += term
    if not odd:
        return sine * total
    return 2 / math.pi * (angle + sine * total * (freedom > 1))


@cache
def student(level: float, freedom: int) -> float:
    """Return the t between which and -t Student's t lies with this chance, by bisection."""
    low, high = 0.0, 1.0
    while inside(high, freedom) < level and high < 1e12:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        if inside(middle, freedom) < level:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Pair:
    """Two variants, by their numbers, and the difference of their costs seed by seed.

    `difference` is how much the first costs more; nothing where one of them failed. `better` is the
    one that is better beyond noise, if any is; `why` tells in a word: `better`, `noise`, `the same
    in every seed`, `failed` or `too few seeds`.
    """

    first: int
    second: int
    difference: float | None
    interval: Interval | None
    better: int | None
    why: str


def pairs(costs: Floats) -> list[Pair]:
    """Return all pairs, each judged so that of all of them 19 in 20 times none is taken for real.

    Runs of one seed read the same data in the same order, so their difference is of the cells, and
    of how they begin. Its interval is Student's, at a level that is shared out over the pairs
    (Bonferroni): a bootstrap of 5 differences would be too narrow by far.
    """
    return list(_pairs(costs))


def _pairs(costs: Floats) -> Iterator[Pair]:
    count, seeds = costs.shape
    level = 1 - (1 - LEVEL) / max(1, count * (count - 1) // 2)
    for first, second in combinations(range(count), 2):
        one, other = costs[first], costs[second]
        if not (np.isfinite(one).all() and np.isfinite(other).all()):
            yield Pair(first, second, None, None, None, "failed")
            continue

        differences = one - other
        mean = float(differences.mean())
        if seeds < FEWEST:
            yield Pair(first, second, mean, None, None, "too few seeds")
            continue
        spread = float(differences.std(ddof=1)) / math.sqrt(seeds)
        if not differences.any():
            yield Pair(first, second, 0.0, (0.0, 0.0), None, "the same in every seed")
            continue

        half = student(level, seeds - 1) * spread
        limits = mean - half, mean + half
        beyond = limits[0] > 0 or limits[1] < 0
        if spread <= 1e-12 * abs(mean):
            # No spread is none to judge by: that all signs agree comes once in 2^(n-1) times.
            beyond = 2.0 ** (1 - seeds) <= 1 - level
        better = (second if mean > 0 else first) if beyond else None
        yield Pair(first, second, mean, limits, better, "better" if beyond else "noise")
