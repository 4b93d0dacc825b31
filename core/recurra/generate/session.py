"""A session: a network with a state that can be fed, read, copied, saved and restored."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.distribution import Distribution
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import Rows
from recurra.data.outlook import Outlook
from recurra.data.parted import Parted
from recurra.data.stream import Stream
from recurra.engine.recurrence import map_state
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate.blocks import Blockwise
from recurra.generate.companion import Companion
from recurra.generate.elements import (
    ELEMENTS,
    GIVE_KNOWN,
    SKIPPED,
    TOO_FEW,
    encoded,
    holds_any,
    refused,
    too_short,
)
from recurra.generate.stored import STREAMS
from recurra.model.network import Network, States
from recurra.model.stepper import Packed, stepper
from recurra.randomness import SCHEME

SEEDS = (1 << 63) - 1
"""The greatest seed."""

CHUNK = 4096
"""Steps of a prompt that go through the network in one call."""


class Session(Blockwise):
    """One stream, or several side by side, over a trained network.

    Memory does not grow with what it has read. Several streams read the same prompt, together until
    the first draw, and draw each for itself. `position` is where in its sequence the first element
    stands that is fed: a clock in the encoder goes on from there. `scheme` is that of
    `recurra.randomness`, by which symbols are drawn; numbers are drawn by the seed and what their
    `series` is called. What is `known` of a series, in the data's
    units, is what it is scaled by where each has a scale of its own; else those are the numbers
    that are fed first. With an `outlook` the network says several elements ahead at once. A
    `companion` holds what is read beside numbers.
    """

    def __init__(
        self,
        network: Network,
        vocabulary: Vocabulary[Any],
        seed: int = 0,
        streams: int = 1,
        position: int = 0,
        scheme: int = SCHEME,
        known: NDArray[Any] | None = None,
        outlook: Outlook | None = None,
        companion: Companion | None = None,
        series: str = "1",
    ) -> None:
        self.streams = arguments.whole("streams", streams, 1, STREAMS)
        self.position = arguments.whole("position", position)
        seed = arguments.whole("seed", seed, 0, SEEDS)
        self.elements = ELEMENTS[vocabulary.yields]
        if self.streams > 1:
            draws_numbers = isinstance(network.loss, Distribution) and outlook is None
            self.elements.drawn_by("streams", draws_numbers)
        self.network = network.eval()
        self.vocabulary = vocabulary
        self.stream = self.elements.stream(vocabulary, known)
        self.outlook = outlook
        # What is kept of a series for what is known ahead of it.
        self.trail = None if outlook is None else outlook.trail(vocabulary.size)
        self.companion = companion
        self._carried: States | Packed | None = None
        # Whether the last that was fed held no symbol of the vocabulary.
        self.skipped = False
        # B V: what the network says of the next element.
        self.output: Tensor | None = None
        # B output_size: what the loss made that of.
        self._raw: Tensor | None = None
        # B W: what steps have left in a network that is late; it answers when it is asked.
        self._left: Tensor | None = None
        # B V: the symbols that have come; one row until the streams differ.
        self.seen = torch.zeros(1, vocabulary.size, dtype=torch.bool, device=network.device)
        self.draws = self.elements.draws(seed, scheme, series)
        self.stepper = stepper(self.network)

    def feed(self, values: Any, covariates: Mapping[str, Any] | None = None) -> Session:
        """Read elements: a text, tokens or numbers in the data's units. Returns the session.

        `covariates` holds by their names what stands beside each step, a list of as many values;
        those of the future may be more, of steps to come. A step is read once those of the future
        of the next are known. Raises `InputError` (RC043, RC080) for a symbol that the vocabulary
        lacks, numbers of another width or a covariate that is missing.
        """
        ids = encoded(self.vocabulary, values)
        self.skipped = not len(ids) and holds_any(self.vocabulary, values)
        return self.feed_ids(ids, covariates) if len(ids) else self

    def feed_ids(
        self, ids: NDArray[Any], covariates: Mapping[str, Any] | Rows | None = None
    ) -> Session:
        """Read ids `[n]`, or numbers `[n, F]` in the data's units; each stream reads them all.

        `covariates` are as in `feed`. Raises `InputError` (RC042, RC080) for ids that the
        vocabulary lacks, and for numbers that cannot be read; then nothing has been read.
        """
        if not isinstance(covariates, Rows):
            covariates = self._beside(covariates)
        ids = self.elements.checked(self.vocabulary, ids)
        if not len(ids):
            return self
        if len(ids) < self.stream.at_once:
            raise refused(TOO_FEW, cure="give two steps or more of it at once")

        # A stream that has read what is refused is thrown away.
        stream = copy.copy(self.stream)
        x = self.elements.window(stream.read(ids), self.network.dtype)
        if self.companion is not None:
            if isinstance(stream, Parted):
                fact = "these streams have parted, and each has covariates of its own by now"
                raise InputError.of(
                    "RC080", fact, cure="feed a copy that was made before draw_step()"
                )
            rows = self.companion.rows(covariates, len(x))
            self.companion, x = self.companion.after(x, rows)
        self.stream = stream
        if self.outlook is not None and self.trail is not None and isinstance(stream, Stream):
            self.trail = self.trail.after(stream.rows)
        each = x if isinstance(stream, Parted) else x.unsqueeze(0)  # 1 or B, T
        for start in range(0, each.shape[1], CHUNK):
            part = each[:, start : start + CHUNK].to(self.network.device)
            self._forward(part.expand(len(self.seen), *part.shape[1:]))
        if self.companion is not None and self.companion.pending is not None:
            # What is said of a step that has come is asked no more.
            self.output = self._raw = None
        return self

    def _beside(self, covariates: Any) -> dict[str, Any] | None:
        """Return covariates by their names; refuse them where nothing reads them.

        Raises `InputError` (RC080).
        """
        given = arguments.named("covariates", covariates)
        if given and self.companion is None:
            fact = "this run reads no covariates"
            raise InputError.of("RC080", fact, key="covariates", cure="leave them out")
        return given

    def reach(self, steps: int) -> int:
        """Return how many of the next steps can be told with the covariates that are known."""
        return steps if self.companion is None else self.companion.reach(steps)

    def _look(self) -> None:
        """Read a step that waits, if what must be known of the next one is."""
        if self.companion is None or self.companion.pending is None or self.companion.waits:
            return
        self.companion, x = self.companion.looked()
        self._forward(x.to(self.network.device).unsqueeze(1))

    def _forward(self, x: Tensor) -> None:
        """Read a window of ids `[B, T]` or numbers `[B, T, F]`."""
        if self._carried is not None and x.shape[1] == 1:
            self._step(x[:, 0])
            return
        states = self.states
        position = None if states else torch.full((len(x),), self.position, device=x.device)
        with torch.no_grad():
            output, self._carried = self.network(x, states, position=position, last=True)  # B 1 V
        # A view would keep the whole window in memory.
        self._hear(output[:, 0].clone())
        self.position += x.shape[1]
        self.elements.note(self.seen, x)

    def _step(self, x: Tensor) -> None:
        """Read one step of ids `[B]` or numbers `[B, F]`, where something has been read before."""
        assert self._carried is not None
        output, self._carried = self.stepper(self.network, x, self._carried)
        self._hear(output)
        self.position += 1
        self.elements.note(self.seen, x.unsqueeze(1))

    def _hear(self, output: Tensor) -> None:
        """Take what the network gives of what follows, `[B, output_size]` or `[B, H, ...]`."""
        if self.network.late:
            self._left, self._raw, self.output = output, None, None
        else:
            self._raw, self.output = output, self.network.point(output)

    def _say(self, steps: int) -> Tensor:
        """Return what a network that is late says of as many steps, `[B, H, output_size]`.

        What it says of later ones is nothing. Raises `InputError` (RC080) if nothing has been read,
        or not all that is to be known of them is known.
        """
        if self._left is None or self.outlook is None:
            raise self._nothing()
        coming = None
        if self.companion is not None:
            coming = self.companion.ahead_of(steps, self.outlook.steps, self._left)
        with torch.no_grad():
            return self.network.answer(self._left, coming)

    def chances(self) -> Tensor:
        """Return the network's probabilities of the next symbol, `[B, V]`.

        Raises `InputError` (RC080) where it forecasts numbers, which have none.
        """
        self.elements.has("chances")
        return torch.softmax(self.expected().float(), dim=-1)

    def likeliest(self, top: int = 10, stream: int = 0) -> list[tuple[str, float]]:
        """Return the `top` likeliest next symbols of a stream with their chances, the first first.

        A symbol is written as `recurra predict` writes it. Raises `InputError` (RC080).
        """
        top = arguments.whole("top", top, 1)
        row = self.chances()[arguments.whole("stream", stream, 0, self.streams - 1)]
        chances, ids = row.topk(min(top, len(row)))
        symbols = map(self.vocabulary.symbol, ids.tolist())
        return list(zip(symbols, chances.tolist(), strict=True))

    def raw(self) -> Tensor:
        """Return what the network gives the loss of the next element, `[B, output_size]`.

        Of H elements ahead it is `[B, H, output_size]`.
        Of it the loss makes what `expected` gives: one that needs more of a step than a point, as a
        mean and a deviation, has them here, in the order and the units of its own. Raises
        `InputError` (RC080) as `expected` does.
        """
        self.expected()
        if self._raw is None:
            fact = "this state was saved before such outputs were, and holds the point alone"
            raise refused(fact, cure="read one element more")
        return self._raw.expand(self.streams, *self._raw.shape[1:])

    def expected(self) -> Tensor:
        """Return what the network says of the next element, `[B, V]`.

        Of H elements ahead it is `[B, H, F]`, each told relative to what is known; `forecast` gives
        them in the data's units. Raises `InputError` (RC080) if there is none.
        """
        self._look()
        self._shown()
        if self.network.late and self.output is None and self.outlook is not None:
            self._raw = self._say(self.outlook.steps)
            self.output = self.network.point(self._raw)
        if self.output is None:
            raise self._nothing()
        if missing := self.stream.missing:
            raise refused(too_short(missing), cure="give more of what came before")
        return self.output.expand(self.streams, *self.output.shape[1:])

    def _nothing(self) -> InputError:
        """Return the error of what is asked before enough has been read, or is known."""
        if self.companion is not None and self.companion.waits:
            return self.companion.unknown()
        if self.skipped:
            return refused(SKIPPED, cure=GIVE_KNOWN)
        fact = "nothing has been read, so nothing follows"
        return refused(fact, cure="give a prompt of one element or more")

    def _part(self) -> None:
        """Give each stream a state of its own, once they begin to differ."""
        if self.seen.shape[0] == self.streams:
            return
        each = torch.zeros(self.streams, dtype=torch.long, device=self.network.device)
        self._carried = tuple(
            map_state(lambda field: field[each], state) for state in self.states or ()
        )
        self.seen = self.seen[each]
        if isinstance(self.stream, Stream):
            self.stream = Parted.of(self.stream, self.streams)

    def _sound(self, purpose: str) -> Tensor:
        """Return what the network says of the next element.

        Raises `RunError` (RC060) if it is not finite.
        """
        return self._finite(self.expected(), purpose)

    def _finite(self, output: Tensor, purpose: str) -> Tensor:
        """Return outputs. Raises `RunError` (RC060) if one is not finite."""
        # The sum is quick to look at, but may be beyond all numbers though none of them is.
        finite = math.isfinite(float(output.sum()))
        if not finite and not bool(torch.isfinite(output).all()):
            ill = ~torch.isfinite(output.flatten(1)).all(dim=1)
            raise self._unsound(int(ill.nonzero()[0]), purpose)
        return output

    def copy(self) -> Session:
        """Return a session in the same state that goes its own way from here, draws included."""
        self._shown()
        other = copy.copy(self)
        other.seen = self.seen.clone()
        other.draws = self.draws.copy()
        other.stream = copy.copy(self.stream)
        return other
