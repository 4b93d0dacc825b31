"""Features that are scaled by the same options: what they learn in one pass, and their chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from recurra import InputError, Transform
from recurra_vocabularies.moments import Moments, ScaleKind
from recurra_vocabularies.names import key_of
from recurra_vocabularies.numeric_options import NumericColumn, NumericOptions
from recurra_vocabularies.power import Search, backward, forward
from recurra_vocabularies.ranks import Floats
from recurra_vocabularies.transforms import Difference, Rescale, SeriesChange, SeriesScale


class Scaling:
    """(x - shift) / scale of some features, or of all, where x may be a power of the number.

    `features` are their places, none where they are all; `columns` is what each says of its own.
    """

    def __init__(
        self,
        options: NumericOptions,
        features: Sequence[int] | None = None,
        columns: Mapping[str, NumericColumn] | None = None,
    ) -> None:
        self.options, self.features, self.columns = options, features, columns or {}
        self.shift: Floats = np.zeros(0)
        self.scale: Floats = np.ones(0)
        power = 0.0 if options.log else options.box_cox
        self.power: Floats | None = None if isinstance(power, str) else np.array([power])
        self.transforms = _transforms(options)
        for transform in self.transforms:
            transform.features = features
        self._sums: Moments | Search = Moments()

    def part(self, rows: Floats) -> Floats:
        """Return the columns of its features."""
        return rows if self.features is None else np.take(rows, self.features, axis=-1)

    @property
    def places(self) -> list[int]:
        """Where its features stand among all."""
        return list(range(len(self.shift)) if self.features is None else self.features)

    def begin(self) -> None:
        """Learn from what is added from now on."""
        kind = _of_all(self.options)
        self._sums = Search(kind) if self.options.box_cox == "fit" else Moments(kind=kind)

    def add(self, run: Floats, names: Sequence[str]) -> None:
        """Take note of rows `[n, F]` of all features, which have names.

        Raises `InputError` (RC042) for a value that has no logarithm, or no power.
        """
        own = self.part(run)
        if isinstance(self._sums, Search):
            self._check(own, names)
            self._sums.add(own)
        else:
            self._sums.add(self._powered(own, names))

    def finish(self) -> None:
        """Take shift and scale of what was added, and the power where it is to be learned."""
        sums = self._sums
        if isinstance(sums, Moments) and sums.count:
            self.shift, self.scale = sums.scale()
        elif isinstance(sums, Search) and sums.logs.count:
            self.power = sums.powers()
            self.shift, self.scale = sums.scale(self.power)
        self._sums = Moments()

    def encode(self, rows: Floats, names: Sequence[str]) -> Floats:
        """Return its columns of rows `[n, F]`, scaled. Raises `InputError` (RC042) as `add`."""
        with np.errstate(over="ignore", invalid="ignore"):
            return (self._powered(self.part(rows), names) - self.shift) / self.scale

    def decode(self, rows: Floats) -> Floats:
        """Return its columns of scaled rows `[n, F]` in the data's own units."""
        # What becomes infinite stays so: who reads it reports it.
        with np.errstate(over="ignore", invalid="ignore"):
            values = self.part(rows) * self.scale + self.shift
            return values if self.power is None else backward(values, self.power)

    def learned_powers(self) -> list[float | None]:
        """Return the power of each of its features, where it was learned."""
        if self.power is None or self.options.box_cox != "fit":
            return [None] * len(self.shift)
        return [float(power) for power in self.power]

    def take(self, shift: Floats, scale: Floats, powers: Sequence[float | None] | None) -> None:
        """Take back what all features have learned."""
        places = list(range(len(shift))) if self.features is None else list(self.features)
        self.shift, self.scale = shift[places], scale[places]
        if self.options.box_cox == "fit" and powers is not None:
            self.power = np.array(powers, np.float64)[places]

    def said(self, names: Sequence[str]) -> str:
        """Return what x stands for, in words; nothing where it is the number itself."""
        if self.power is None:
            return ""
        words = [f"x^{power:g}" if power else "log x" for power in self.power.tolist()]
        told = words[0] if len({*words}) == 1 else ", ".join(words)
        likeliest = ", the likeliest in training" if self.options.box_cox == "fit" else ""
        of = ", ".join(names[place] for place in self.places) if _told(names) else ""
        return f"{of}: x is {told}{likeliest}" if of else f"x is {told}{likeliest}"

    def _powered(self, values: Floats, names: Sequence[str]) -> Floats:
        """Return what is scaled. Raises `InputError` (RC042) as `add`."""
        if self.power is None:
            return values
        self._check(values, names)
        return forward(values, self.power)

    def _check(self, values: Floats, names: Sequence[str]) -> None:
        """Refuse values that are not above 0. Raises `InputError` (RC042)."""
        positive = (values > 0) | np.isnan(values)
        if positive.all():
            return

        row, feature = np.argwhere(~positive)[0].tolist()
        option, what = "box_cox", "power of Box and Cox"
        plain = 'box_cox = "none"'
        if self.options.log:
            option, what, plain = "log", "logarithm", "log = false"
        number = f"the value {values[row, feature]:g}"
        key, cure = f"vocabulary.{option}", f"leave {option} out"
        place = feature if self.features is None else self.features[feature]
        name = names[place] if names else str(place)
        if _told(names) or values.shape[-1] > 1:
            number += f" of column {name!r}"
        if name in self.columns and option in self.columns[name].said():
            key = f"{key_of(name)}.{option}"
        elif len(names) > 1 or values.shape[-1] > 1:
            cure = f"set {key_of(name)}.{plain}"
        fact = f"{number} has no {what}"
        raise InputError.of("RC042", fact, key=key, cure=f"{cure}, or shift the data above 0")


def _told(names: Sequence[str]) -> bool:
    """Tell whether columns are told by their names: one alone that has none is not."""
    return len(names) > 1 or not all(name.isdigit() for name in names)


def _of_all(options: NumericOptions) -> ScaleKind:
    """Return the kind of scale that all series share."""
    if options.scale == "change" or options.scale_by == "series":
        return "none"
    return options.scale


def _transforms(options: NumericOptions) -> tuple[Transform, ...]:
    """Return what follows.

    It is a scale for each series, seasonal differences, those from step to step, and their scale.
    """
    transforms: list[Transform] = []
    if options.scale == "change":
        transforms.append(SeriesChange())
    elif options.scale_by == "series":
        transforms.append(SeriesScale(options.scale))

    lags = [1] * options.difference
    if options.seasonal_difference:
        lags = [options.seasonal_difference, *lags]
    transforms += [Difference(lag) for lag in lags]

    # Of what is scaled by its changes these are about 1 already.
    if lags and options.scale != "change" and options.scale != "none":
        transforms.append(Rescale(options.scale))
    return tuple(transforms)
