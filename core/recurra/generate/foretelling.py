"""What a session says of the numbers that come next: forecasts, distributions and draws."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.distribution import Distribution
from recurra.data.chain import Chain
from recurra.data.outlook import Outlook
from recurra.data.parted import Parted
from recurra.data.stream import Stream
from recurra.errors import InputError, RunError
from recurra.generate import arguments
from recurra.generate.companion import Companion
from recurra.generate.distributed import Distributed
from recurra.generate.elements import Elements, Plain
from recurra.generate.stored import Stored

FEW = 16
"""Numbers that are looked at one by one sooner than by numpy."""
BEYOND = "what the network forecasts is beyond all numbers in the data's units"
"""Why a forecast cannot be given."""
DRAWN_BEYOND = "a number that is drawn is beyond all numbers in the data's units"
"""Why a draw cannot."""


class Foretelling(Stored):
    """What a session of numbers is asked for.

    The methods that are not made here are those of the whole session.
    """

    elements: Elements

    def raw(self) -> Tensor:
        """Return what the network gives the loss."""
        raise NotImplementedError

    def _sound(self, purpose: str) -> Tensor:
        raise NotImplementedError

    def _finite(self, output: Tensor, purpose: str) -> Tensor:
        raise NotImplementedError

    def _beside(self, covariates: Any) -> dict[str, Any] | None:
        raise NotImplementedError

    def _part(self) -> None:
        raise NotImplementedError

    def _step(self, x: Tensor) -> None:
        raise NotImplementedError

    def _say(self, steps: int) -> Tensor:
        raise NotImplementedError

    def _fed_step(self) -> NDArray[np.float64] | None:
        raise NotImplementedError

    def forecast_step(self, covariates: Mapping[str, Any] | None = None) -> NDArray[np.float64]:
        """Return the next numbers in the data's units, `[F]`, and read them as if they had come.

        `covariates` holds those of the future of this step, unless they were fed before. Where
        there are covariates of the past, which nobody knows of it, the step is not read: it is to
        be fed before the one after it is asked for. Raises `InputError` (RC080) for a run of
        symbols, and for a covariate that is missing, and `RunError` (RC060) if they are not finite.
        """
        self.elements.has("forecast_step")
        if self.outlook is not None:
            fact = f"this run answers {self.outlook.steps} steps at once, and reads none of them"
            raise InputError.of("RC080", fact, cure="forecast() gives them all")
        if self.streams > 1:
            fact = f"what is forecast is one for all, and there are {self.streams:,} streams"
            raise InputError.of("RC080", fact, cure="draw_step() draws the next numbers of each")
        covariates = self._beside(covariates)
        if self.companion is not None:
            return self._forecast_beside(self._next_known(self.companion, covariates))
        if (numbers := self._fed_step()) is not None:
            return numbers
        said = self._sound("forecast")
        self._step(self.stream.fed_back(said.to(self.network.dtype)))
        return self._own(self.stream, said)

    def _next_known(self, companion: Companion, covariates: Mapping[str, Any] | None) -> Companion:
        """Return what is read beside a next step that is known. Raises `InputError` (RC080)."""
        companion = companion.ahead(covariates)
        if companion.told:
            listed = ", ".join(companion.past)
            fact = f"nobody knows the past covariates of a step that is forecast: {listed}"
            cure = "feed the step with them; or train without, or with a direct horizon"
            raise InputError.of("RC080", fact, key="covariates", cure=cure)
        return companion

    def _forecast_beside(self, companion: Companion) -> NDArray[np.float64]:
        """Return the next numbers of a series with covariates."""
        self.companion = companion
        scaled = self._sound("forecast")
        if companion.past:
            numbers = self._own(copy.copy(self.stream), scaled)
            self.companion = copy.copy(self.companion)
            self.companion.told = True
            return numbers

        numbers = self._own(self.stream, scaled)
        self._read_said(self.stream.fed_back(scaled.to(self.network.dtype)))
        return numbers

    def _read_said(self, x: Tensor) -> None:
        """Read a step `[B, F]` that the network has said itself, once enough is known of it."""
        if self.companion is not None:
            self.companion, x = self.companion.fed_back(x.cpu())
            if self.companion.pending is not None:
                self.output = self._raw = None
                return
        self._step(x.to(self.network.device))

    def distribution(
        self, steps: int | None = None, covariates: Mapping[str, Any] | None = None
    ) -> Distributed:
        """Return how the next numbers are distributed; none is read.

        Where several steps are told at once it is how each of them is, or of the first `steps`.
        `covariates` are as in `forecast_step` and `forecast`. Raises `InputError` (RC080) for a run
        whose loss is no distribution, and as these do, and `RunError` (RC060) if what the network
        gives is not finite.
        """
        self.elements.has("distribution")
        loss, chain = self._spreads(), self._chain()
        covariates = self._beside(covariates)
        if self.outlook is None:
            if steps not in (None, 1):
                fact = "this run says the next element alone"
                raise InputError.of("RC080", fact, got=f"steps = {arguments.shown(steps)}")
            if self.companion is not None:
                self.companion = self._next_known(self.companion, covariates)
            raw, origins = self._finite(self.raw(), "told"), self._origins()
            known = np.zeros((len(origins), self.vocabulary.size))
            return Distributed(loss, chain, raw[: len(origins)], origins, known, len(origins) == 1)

        assert isinstance(self.stream, Stream), "streams do not part there"
        assert self.trail is not None, "a trail is kept"
        count = self._steps_of(self.outlook, steps, covariates)
        if self.network.late and self._left is not None and not self.stream.missing:
            raw = self._finite(self._say(count)[:, :count], "told")
        else:
            raw = self._finite(self.raw(), "told")
        origins, known = self.outlook.at_end(self.stream.states or [], self.trail)
        return Distributed(loss, chain, raw[0, :count], origins[:count], known[:count], one=False)

    def _steps_of(
        self, outlook: Outlook, steps: int | None, covariates: Mapping[str, Any] | None
    ) -> int:
        """Return how many steps are asked for, of which the covariates are known from now on."""
        whole = outlook.steps
        count = whole if steps is None else arguments.whole("steps", steps, 1, whole)
        if covariates is not None and self.companion is not None:
            self.companion = self.companion.foreknown(covariates)
            self.output = self._raw = None
        return count

    def draw_step(self, covariates: Mapping[str, Any] | None = None) -> NDArray[np.float64]:
        """Draw the next numbers of each stream and read them as if they had come.

        They are in the data's units, `[B, F]`. What stream b draws at a step hangs on the seed, on
        what the series is called and on these two alone. `covariates` are as in `forecast_step`, as
        is what is read where there are such of the past. Raises `InputError` (RC080) for a run
        whose loss is no distribution, or that answers several steps at once, and `RunError` (RC060)
        if a number is not finite; then nothing has been read.
        """
        self.elements.has("draw_step")
        loss, chain = self._spreads(), self._chain()
        if self.outlook is not None:
            fact = f"this run answers {self.outlook.steps} steps at once, each by itself"
            raise InputError.of("RC080", fact, cure="distribution() says how each is distributed")
        covariates = self._beside(covariates)
        if self.companion is not None:
            self.companion = self._next_known(self.companion, covariates)
        raw = self._finite(self.raw(), "drawn")
        read = self.companion is None or not self.companion.past
        if read:
            self._part()

        stream, features = self.stream, self.vocabulary.size
        origins = np.repeat(self._origins(), self.streams // len(self._origins()), axis=0)
        known = np.zeros((self.streams, features))
        uniforms = self.draws.uniforms(self.streams * features).reshape(known.shape)
        drawn = Distributed(loss, chain, raw, origins, known, one=False).draw(uniforms)
        if isinstance(stream, Stream) and self.streams > 1:
            # They stay one: a step with covariates of the past is to be fed.
            stream = Parted.of(stream, self.streams)
        stream = copy.copy(stream)
        assert isinstance(stream, Stream | Parted), "numbers are drawn"
        numbers = stream.undo(drawn) if isinstance(stream, Parted) else stream.undo(drawn[0])[None]
        x = torch.from_numpy(drawn).to(self.network.device, self.network.dtype)
        if not np.isfinite(numbers).all() or not bool(torch.isfinite(x).all()):
            raise RunError.of("RC060", DRAWN_BEYOND)

        if read:
            self.stream = stream
            self._read_said(stream.fed_back(x))
        else:
            self.companion = copy.copy(self.companion)
            assert self.companion is not None, "there are covariates of the past"
            self.companion.told = True
        return np.rint(numbers) if loss.counts else numbers

    def _spreads(self) -> Distribution[Any]:
        """Return the loss, if it is a distribution. Raises `InputError` (RC080)."""
        loss = self.network.loss
        if isinstance(loss, Distribution):
            return loss
        fact = "the loss of this run says a number, and not how it is distributed"
        cure = 'train with one that does: loss.kind = "student_t"'
        raise InputError.of("RC080", fact, cure=cure)

    def _chain(self) -> Chain:
        """Return what numbers go through."""
        assert isinstance(self.stream, Stream | Parted), "numbers are distributed"
        return self.stream.chain

    def _origins(self) -> NDArray[np.float64]:
        """Return what undoing the next numbers takes, of each way on which the series goes on."""
        assert isinstance(self.stream, Stream | Parted), "numbers are distributed"
        return self.stream.origins()

    def _own(self, stream: Stream | Parted | Plain, scaled: Tensor) -> NDArray[np.float64]:
        """Return what the network says of the next step in the data's units, `[F]`.

        Raises `RunError` (RC060) if it is not finite.
        """
        row = scaled[0].cpu().double().numpy()
        numbers: NDArray[np.float64] = stream.undo(row)
        return checked(numbers)

    def forecast(
        self, steps: int | None = None, covariates: Mapping[str, Any] | None = None
    ) -> NDArray[np.float64]:
        """Return the numbers of all steps ahead, or the first `steps` `[n, F]`; none is read.

        They are in the data's units. `covariates` are those of the future of the steps ahead, a
        list for each name, unless they were fed before. Raises `InputError` (RC080) for a run that
        says one element alone, and for covariates that end too early, and `RunError` (RC060) if
        they are not finite.
        """
        if self.outlook is None or self.trail is None or not isinstance(self.stream, Stream):
            fact = "this run says the next element alone"
            raise InputError.of("RC080", fact, cure="forecast_step() gives one after the other")
        whole = self.outlook.steps
        count = self._steps_of(self.outlook, steps, self._beside(covariates))
        if self.network.late and self._left is not None and not self.stream.missing:
            output = self._finite(self.network.point(self._say(count))[:, :count], "forecast")
            # What is said of later steps, of which not all is known, is nobody's.
            output = functional.pad(output, (0, 0, 0, whole - count))
        else:
            output = self._sound("forecast")
        answer = output[0].cpu().double().numpy()
        numbers = self.outlook.foreseen(answer, self.stream, self.trail)[:count]
        if not np.isfinite(numbers).all():
            raise RunError.of("RC060", BEYOND)
        return numbers


def checked(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return numbers of a step, `[F]`. Raises `RunError` (RC060) where one is not finite."""
    few = len(numbers) <= FEW
    if not (all(map(math.isfinite, numbers.tolist())) if few else np.isfinite(numbers).all()):
        raise RunError.of("RC060", BEYOND)
    return numbers
