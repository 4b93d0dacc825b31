"""Numbers, scaled, and series by series made into what is easier to learn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from recurra import Element, InputError, Transform, Vocabulary
from recurra_vocabularies.names import key_of, nearest
from recurra_vocabularies.numeric_options import OF_SERIES, NumericColumn, NumericOptions
from recurra_vocabularies.ranks import Floats
from recurra_vocabularies.scaling import Scaling

__all__ = ["Numeric", "NumericColumn", "NumericOptions"]


class Numeric(Vocabulary[NumericOptions]):
    """(x - shift) / scale by feature, from the training split alone.

    Where the scale would be 0, it is 1. With `log` or `box_cox`, x stands for its logarithm, or for
    its power, here and everywhere below. Columns with options of their own are scaled, and go
    through their transforms, as if each had a vocabulary of its own.
    """

    reads: ClassVar[Element] = "numbers"
    yields: ClassVar[Literal["symbols", "numbers"]] = "numbers"
    unit: ClassVar[str] = "step"
    takes_missing: ClassVar[bool] = True

    def __init__(self, options: NumericOptions) -> None:
        super().__init__(options)
        self.shift: Floats = np.zeros(0)
        self.scale: Floats = np.ones(0)
        self.names: list[str] = []
        self._scalings = [Scaling(options)]

    @property
    def size(self) -> int:
        """The number of features."""
        return len(self.shift)

    @property
    def power(self) -> Floats | None:
        """The power of each feature, nan of one that has none; nothing where none has any."""
        if all(scaling.power is None for scaling in self._scalings):
            return None
        power = np.full(self.size, np.nan)
        for scaling in self._scalings:
            if scaling.power is not None:
                power[scaling.places] = scaling.power
        return power

    def prepare(self, names: Sequence[str], beside: Sequence[str] = ()) -> None:
        """Take the names of its features, and of the numbers that are read `beside` them.

        Raises `InputError` (RC011, RC014) for options of a column that is none of them, and for
        those of a covariate that are of series.
        """
        for name, column in (self.options.columns or {}).items():
            if name not in names and name not in beside:
                raise _unknown(name, [*names, *beside])
            if name not in names:
                _check_covariate(name, column)
        if self.names != [*names]:
            self.names = [*names]
            self._divide()

    def _divide(self) -> None:
        """Put together the columns that have the same options, each lot in a scaling."""
        if self.options.columns is None:
            return
        alike: dict[NumericOptions, list[int]] = {}
        for place, name in enumerate(self.names):
            alike.setdefault(self.options.of(name), []).append(place)
        alone = len(alike) == 1
        self._scalings = [
            Scaling(options, None if alone else places, self.options.columns)
            for options, places in alike.items()
        ]

    def fit(self, runs: Iterable[Floats]) -> None:
        """Learn shift and scale in one pass, and the power where it is to be learned."""
        begun = False
        for run in runs:
            if not len(run):
                continue
            if not begun:
                self._begin(run.shape[1])
                begun = True
            for scaling in self._scalings:
                scaling.add(run, self.names)
        if begun:
            for scaling in self._scalings:
                scaling.finish()
            self._gather()

    def _begin(self, features: int) -> None:
        """Learn anew of rows of so many features, which are numbered where nobody named them."""
        if len(self.names) != features:
            self.prepare([str(place) for place in range(features)])
        for scaling in self._scalings:
            scaling.begin()

    def _gather(self) -> None:
        """Take shift and scale of all features."""
        sizes = [len(scaling.shift) for scaling in self._scalings]
        self.shift, self.scale = np.zeros(sum(sizes)), np.ones(sum(sizes))
        for scaling in self._scalings:
            self.shift[scaling.places] = scaling.shift
            self.scale[scaling.places] = scaling.scale

    def encode(self, values: Floats) -> Floats:
        """Return scaled numbers `[n, F]`.

        Raises `InputError` (RC042) for a value that has no logarithm, or no power.
        """
        rows = np.asarray(values, np.float64).reshape(-1, max(self.size, 1))
        parts = [scaling.encode(rows, self.names) for scaling in self._scalings]
        return self._together(parts)

    def decode(self, ids: Floats) -> Floats:
        """Return numbers in the data's own units."""
        rows = np.asarray(ids, np.float64)
        return self._together([scaling.decode(rows) for scaling in self._scalings])

    def _together(self, parts: Sequence[Floats]) -> Floats:
        """Return the columns of all features in their order."""
        if len(parts) == 1:
            return parts[0]
        rows = np.zeros((*parts[0].shape[:-1], self.size))
        for scaling, part in zip(self._scalings, parts, strict=True):
            rows[..., scaling.places] = part
        return rows

    def transforms(self) -> Sequence[Transform]:
        """Return differences and the scale that follows them, or a scale for each series.

        Those of columns with other options follow those of the columns before.
        """
        return [transform for scaling in self._scalings for transform in scaling.transforms]

    def of_covariates(self) -> Numeric:
        """Return what scales alike, or as columns of other names say, and does nothing else."""
        own = [name for name in self.options.columns or () if name not in self.names]
        return Numeric(self.options.of_covariates(own))

    def notes(self) -> list[str]:
        """Return what x stands for in the columns that have a power."""
        said = [scaling.said(self.names) for scaling in self._scalings]
        return [words for words in said if words]

    def save(self) -> dict[str, Any]:
        """Return shift and scale, the powers that were learned, and what the transforms have.

        Where columns have options of their own, their names stand there too.
        """
        saved: dict[str, Any] = {"shift": self.shift.tolist(), "scale": self.scale.tolist()}
        powers: list[float | None] = [None] * self.size
        for scaling in self._scalings:
            for place, power in zip(scaling.places, scaling.learned_powers(), strict=True):
                powers[place] = power
        if any(power is not None for power in powers):
            saved["power"] = powers
        if transforms := self.transforms():
            saved["transforms"] = [transform.save() for transform in transforms]
        if self.options.columns is not None:
            saved["columns"] = self.names
        return saved

    def restore(self, saved: dict[str, Any]) -> None:
        """Take back what `save` gave.

        Raises `ValueError` if that is no shift and scale a feature.
        """
        shift = np.array(saved["shift"], np.float64)
        scale = np.array(saved["scale"], np.float64)
        if shift.ndim != 1 or shift.shape != scale.shape or not scale.all():
            raise ValueError(f"shift is {shift.tolist()} and scale {scale.tolist()}")
        if self.options.columns is not None:
            self.names = [str(name) for name in saved["columns"]]
            self._divide()
            if len(self.names) != len(shift):
                raise ValueError(f"columns are {self.names}, and shift is of {len(shift)}")
        for scaling in self._scalings:
            scaling.take(shift, scale, saved.get("power"))
        self.shift, self.scale = shift, scale

        of_transforms = saved.get("transforms", ())
        for transform, own in zip(self.transforms(), of_transforms, strict=True):
            transform.restore(own)


def _unknown(name: str, names: Sequence[str]) -> InputError:
    """Return the error of options of a column that there is not."""
    fact = f"there is no column of numbers {name!r} to have options of its own"
    if all(each.isdigit() for each in names):
        fact += ": columns without names are called by their places, from 0 on"
    close = nearest(name, names)
    return InputError.of("RC011", fact, key=key_of(name), allowed=", ".join(names), nearest=close)


def _check_covariate(name: str, column: NumericColumn) -> None:
    """Refuse what is done with a series that is forecast. Raises `InputError` (RC014)."""
    said = column.said()
    wrong = [option for option in OF_SERIES if option in said]
    if said.get("scale") == "change":
        wrong.append("scale")
    if not wrong:
        return
    fact = (
        f"{name!r} is only read, as a covariate, and scaled by all of training: it has a scale,"
        f" log or box_cox of its own, and no {wrong[0]}"
    )
    if wrong[0] == "scale":
        fact = f"{name!r} is a covariate, and the scale change is that of each series"
    cure = "leave it out, or take the column among source.columns"
    raise InputError.of("RC014", fact, key=f"{key_of(name)}.{wrong[0]}", cure=cure)
