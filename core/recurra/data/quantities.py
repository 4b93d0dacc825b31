"""The numbers of a column that answers sequences: scaled by what training shows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.options import Options
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.intake import LARGEST
from recurra.errors import InputError

Floats = NDArray[np.float64]

WORD = re.compile(r"[^ \t\r\n\f\v]+")
"""What stands between blanks: a space that no line is broken at groups thousands."""
ROUNDING = 4 * float(np.finfo(np.float64).eps)
"""What deviates no more than this, in parts of the largest, is one and the same number."""


class Quantities(Vocabulary[Options]):
    """Numbers `[n, F]`, of which each column has mean 0 and deviation 1 in training.

    They are written as text, several with blanks between them: "0.25 -1e3".
    """

    reads: ClassVar[Any] = "tokens"
    yields: ClassVar[Any] = "numbers"
    unit: ClassVar[str] = "number"

    def __init__(self, shift: Sequence[float] = (), scale: Sequence[float] = ()) -> None:
        super().__init__(Options())
        self.shift: Floats = np.asarray(shift, np.float64)
        self.scale: Floats = np.asarray(scale, np.float64)

    @property
    def size(self) -> int:
        """How many numbers answer a sequence."""
        return len(self.shift)

    @staticmethod
    def read(column: list[str]) -> list[Floats]:
        """Return the numbers `[F]` that texts hold, a row for each sequence.

        Raises `InputError` (RC042) that names the first sequence whose text holds anything else,
        or more or fewer numbers than the first.
        """
        rows = [_row(text, at) for at, text in enumerate(column, 1)]
        for at, row in enumerate(rows, 1):
            if len(row) != len(rows[0]):
                fact = f"sequence {at} is answered by {_numbers(row)}, and the first by"
                fact += f" {_numbers(rows[0])}"
                got = f"{column[at - 1]!r}, and {column[0]!r} of the first"
                cure = "give each as many; blanks stand between numbers, and group no thousands"
                raise InputError.of("RC042", fact, key="source", got=got, cure=cure)
        return rows

    def fit(self, runs: Iterable[Sequence[Floats]]) -> None:
        """Learn from rows of numbers. Raises `InputError` (RC041) where none of them changes."""
        numbers = np.stack([row for run in runs for row in run])
        deviation, largest = numbers.std(axis=0), np.abs(numbers).max(axis=0)
        # What deviates no more than rounding does is constant, and is not blown up.
        constant = deviation <= ROUNDING * largest
        if constant.all():
            only = " ".join(f"{number:g}" for number in numbers[0])
            fact = f"every sequence of training is answered by {only}: there is nothing to learn"
            raise InputError.of("RC041", fact, key="target", cure="give it answers that differ")
        own_size = np.where(largest > 0, largest, 1.0)
        self.shift, self.scale = numbers.mean(axis=0), np.where(constant, own_size, deviation)

    def fits(self, values: Sequence[Floats], owner: str) -> None:
        """Refuse more or fewer numbers than it has. Raises `InputError` (RC030)."""
        width = len(values[0])
        if width != self.size:
            fact = f"{owner} answers a sequence by {_numbers(self.shift)}, and this data by {width}"
            raise InputError.of("RC030", fact, key="target", cure="give it as many")

    def meet(self, shown: Sequence[Floats], owner: str) -> dict[str, int]:
        """Learn nothing: numbers have no names that could be new."""
        return {}

    def encode(self, values: Sequence[Floats]) -> Floats:
        """Return scaled numbers `[n, F]`."""
        return np.asarray((np.stack([*values]) - self.shift) / self.scale)

    def decode(self, ids: NDArray[Any]) -> Floats:
        """Return numbers `[n, F]` in their own units."""
        return np.asarray(np.asarray(ids, np.float64) * self.scale + self.shift)

    def plain(self, encoded: NDArray[Any]) -> Floats:
        """Return the answers to sequences as a baseline sees them: numbers `[n, F]`, unscaled."""
        return self.decode(encoded)

    def record(self) -> dict[str, Any]:
        """Return what data.json says of them."""
        return {"answers": self.save()}

    def save(self) -> dict[str, Any]:
        """Return the scale."""
        return {"shift": self.shift.tolist(), "scale": self.scale.tolist()}

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back the scale. Raises `ValueError` if that is no shift and scale a column."""
        shift, scale = (np.asarray(saved[name], np.float64) for name in ("shift", "scale"))
        sound = shift.ndim == 1 and len(shift) > 0 and shift.shape == scale.shape
        if not (
            sound and np.isfinite(shift).all() and np.isfinite(scale).all() and (scale > 0).all()
        ):
            raise ValueError("it is no shift and scale for each number")
        self.shift, self.scale = shift, scale


def _numbers(row: Floats) -> str:
    return f"{len(row)} number{'s' * (len(row) != 1)}"


def _row(text: str, at: int) -> Floats:
    """Return the numbers of one text; digits of other scripts and underscores are none."""
    row = []
    for word in WORD.findall(text):
        try:
            plain = word.isascii() and "_" not in word
            number = float(word) if plain else math.nan
        except ValueError:
            number = math.nan
        if not abs(number) <= LARGEST:
            fact = f"the answer to sequence {at} is no number that can be learned"
            cure = "give a finite number, or leave the sequence out"
            if math.isfinite(number):
                fact += f": above {LARGEST:g} the squares of errors cannot be added up"
                cure = "divide the answers by a power of ten"
            raise InputError.of("RC042", fact, key="source", got=repr(text), cure=cure)
        row.append(number)
    return np.array(row)
