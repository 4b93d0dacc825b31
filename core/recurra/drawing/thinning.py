"""Long lines with no more points than a picture can show."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Numbers: TypeAlias = NDArray[np.float64]


def numbers(values: Any) -> Numbers:
    """Return values as numbers, `[N]` or `[N, M]`; nothing is none, and so is what is infinite."""
    array = np.array(
        [np.nan if each is None else each for each in values]
        if not isinstance(values, np.ndarray)
        else values,
        dtype=np.float64,
    )
    array[~np.isfinite(array)] = np.nan
    # Differences of numbers near the end of float64 would be infinite.
    return np.clip(array, -1e300, 1e300)


def kept(y: Numbers, most: int) -> NDArray[np.intp]:
    """Return the places of at most about `most` points that look as all of them do.

    Of each bucket of neighbours the lowest and the highest stay, and one that is no number, since
    the line breaks there; so do both ends. What spikes for one point is still seen.
    """
    if len(y) <= most:
        return np.arange(len(y))

    places = {0, len(y) - 1}
    for bucket in np.array_split(np.arange(len(y)), max(most // 2 - 1, 1)):
        values = y[bucket]
        finite = bucket[~np.isnan(values)]
        if len(finite):
            places |= {int(finite[y[finite].argmin()]), int(finite[y[finite].argmax()])}
        if len(finite) < len(bucket):
            places.add(int(bucket[np.isnan(values).argmax()]))
    return np.array(sorted(places))
