"""A session: a network with a state that can be fed, read, copied, saved and restored."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Stream
from recurra.data.covariate_vocabulary import Rows
from recurra.data.outlook import Outlook
from recurra.engine.recurrence import map_state
from recurra.errors import InputError, RunError
from recurra.generate import arguments, draws, saved
from recurra.generate.companion import Companion
from recurra.generate.elements import (
    ELEMENTS,
    GIVE_KNOWN,
    SKIPPED,
    TOO_FEW,
    Plain,
    encoded,
    holds_any,
    refused,
    too_short,
)
from recurra.generate.sampling import Sampling
from recurra.model.network import Network, States, flatten, unflatten
from recurra.model.stepper import Packed, stepper
from recurra.randomness import SCHEME

STREAMS = 1 << 20
"""Streams side by side, at most."""

CHUNK = 4096
"""Steps of a prompt that go through the network in one call."""

STATE, STREAM, TRAIL, BESIDE = "state.", "stream.", "trail.", "beside."
"""How the names of tensors begin in a saved state.

They are those of the network, of what it reads, of what is kept of a series, and of its covariates.
"""

BEYOND = "what the network forecasts is beyond all numbers in the data's units"
"""Why a forecast cannot be given."""


class Session:
    """One stream, or several side by side, over a trained network.

    Memory does not grow with what it has read. Several streams read the same prompt, together until
    the first draw, and draw each for itself. `position` is where in its sequence the first element
    stands that is fed: a clock in the encoder goes on from there. `scheme` is that of
    `recurra.randomness`, by which symbols are drawn. What is `known` of a series, in the data's
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
    ) -> None:
        self.streams = arguments.whole("streams", streams, 1, STREAMS)
        self.position = arguments.whole("position", position)
        seed = arguments.whole("seed", seed, 0, (1 << 63) - 1)
        self.elements = ELEMENTS[vocabulary.yields]
        if self.streams > 1:
            self.elements.drawn_by("streams")
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
        # B V: the symbols that have come; one row until the streams differ.
        self.seen = torch.zeros(1, vocabulary.size, dtype=torch.bool, device=network.device)
        self.draws = draws.begun(seed, scheme)
        self.stepper = stepper(self.network)

    @property
    def states(self) -> States | None:
        """The states of encoder and layers; None before anything has been read."""
        return None if self._carried is None else self.stepper.states(self._carried)

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
        self._check_beside(covariates)
        ids = self.elements.checked(self.vocabulary, ids)
        if not len(ids):
            return self
        if len(ids) < self.stream.at_once:
            raise refused(TOO_FEW, cure="give two steps or more of it at once")

        # A stream that has read what is refused is thrown away.
        stream = copy.copy(self.stream)
        x = self.elements.window(stream.read(ids), self.network.dtype)
        if self.companion is not None:
            rows = self.companion.rows(covariates, len(x))
            self.companion, x = self.companion.after(x, rows)
        self.stream = stream
        if self.outlook is not None and self.trail is not None:
            self.trail = self.trail.after(self.outlook.chain.scaled(ids))
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK].to(self.network.device)
            self._forward(part.unsqueeze(0).expand(len(self.seen), *part.shape))
        if self.companion is not None and self.companion.pending is not None:
            # What is said of a step that has come is asked no more.
            self.output = self._raw = None
        return self

    def _check_beside(self, covariates: Any) -> None:
        """Refuse covariates where nothing reads them. Raises `InputError` (RC080)."""
        if covariates and self.companion is None:
            fact = "this run reads no covariates"
            raise InputError.of("RC080", fact, key="covariates", cure="leave them out")

    def reach(self, steps: int) -> int:
        """Return how many of the next steps can be told with the covariates that are known."""
        if self.companion is None or self.outlook is not None:
            return steps
        return self.companion.reach(steps)

    def _look(self) -> None:
        """Read a step that waits, if what must be known of the next one is."""
        if self.companion is None or self.companion.pending is None or self.companion.waits:
            return
        self.companion, x = self.companion.looked()
        self._forward(x.to(self.network.device).unsqueeze(0))

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
        self._raw, self.output = output, self.network.point(output)

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
        if self.output is None:
            if self.companion is not None and self.companion.waits:
                raise self.companion.unknown()
            if self.skipped:
                raise refused(SKIPPED, cure=GIVE_KNOWN)
            fact = "nothing has been read, so nothing follows"
            raise refused(fact, cure="give a prompt of one element or more")
        if missing := self.stream.missing:
            raise refused(too_short(missing), cure="give more of what came before")
        return self.output.expand(self.streams, *self.output.shape[1:])

    def _part(self) -> None:
        """Give each stream a state of its own, once they begin to differ."""
        if len(self.seen) == self.streams:
            return
        each = torch.zeros(self.streams, dtype=torch.long, device=self.network.device)
        self._carried = tuple(
            map_state(lambda field: field[each], state) for state in self.states or ()
        )
        self.seen = self.seen[each]

    def _sound(self, purpose: str) -> Tensor:
        """Return what the network says of the next element.

        Raises `RunError` (RC060) if it is not finite.
        """
        output = self.expected()
        # The sum is quick to look at, but may be beyond all numbers though none of them is.
        finite = math.isfinite(float(output.sum()))
        if not finite and not bool(torch.isfinite(output).all()):
            fact = f"what the network gives is not finite, so nothing can be {purpose} from it"
            raise RunError.of("RC060", fact)
        return output

    def draw(self, sampling: Sampling) -> NDArray[np.int64]:
        """Pick the next symbol of each stream and read it; return the ids `[B]`.

        Raises `InputError` (RC080).
        """
        self.elements.has("draw")
        if not isinstance(sampling, Sampling):
            fact = "a symbol is drawn as a recurra.Sampling says"
            raise InputError.of("RC080", fact, got=arguments.shown(sampling))
        output = self._sound("drawn")
        self._part()
        ids = sampling.pick(output, self.seen, self.draws)
        self._step(ids)
        return ids.cpu().numpy()

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
        self._check_beside(covariates)
        if self.companion is not None:
            return self._forecast_beside(self.companion.ahead(covariates))
        scaled = self._sound("forecast")
        self._part()
        self._step(scaled.to(self.network.dtype))
        return self._own(self.stream, scaled)

    def _forecast_beside(self, companion: Companion) -> NDArray[np.float64]:
        """Return the next numbers of a series with covariates."""
        if companion.told:
            listed = ", ".join(companion.past)
            fact = f"nobody knows the past covariates of a step that is forecast: {listed}"
            cure = "feed the step with them; or train without, or with a direct horizon"
            raise InputError.of("RC080", fact, key="covariates", cure=cure)
        self.companion = companion
        scaled = self._sound("forecast")
        if companion.past:
            numbers = self._own(copy.copy(self.stream), scaled)
            self.companion = copy.copy(self.companion)
            self.companion.told = True
            return numbers

        numbers = self._own(self.stream, scaled)
        self.companion, x = self.companion.fed_back(scaled.to(self.network.dtype).cpu())
        if self.companion.pending is not None:
            self.output = self._raw = None
        else:
            self._step(x.to(self.network.device))
        return numbers

    def _own(self, stream: Stream | Plain, scaled: Tensor) -> NDArray[np.float64]:
        """Return what the network says of the next step in the data's units, `[F]`.

        Raises `RunError` (RC060) if it is not finite.
        """
        numbers: NDArray[np.float64] = stream.undo(scaled[0].cpu().double().numpy())
        if not np.isfinite(numbers).all():
            raise RunError.of("RC060", BEYOND)
        return numbers

    def forecast(self) -> NDArray[np.float64]:
        """Return all numbers ahead in the data's units, `[H, F]`; none of them is read.

        Raises `InputError` (RC080) for a run that says one element alone, and `RunError` (RC060) if
        they are not finite.
        """
        if self.outlook is None or self.trail is None or not isinstance(self.stream, Stream):
            fact = "this run says the next element alone"
            raise InputError.of("RC080", fact, cure="forecast_step() gives one after the other")
        answer = self._sound("forecast")[0].cpu().double().numpy()
        numbers = self.outlook.foreseen(answer, self.stream, self.trail)
        if not np.isfinite(numbers).all():
            raise RunError.of("RC060", BEYOND)
        return numbers

    def copy(self) -> Session:
        """Return a session in the same state that goes its own way from here, draws included."""
        other = copy.copy(self)
        other.seen = self.seen.clone()
        other.draws = self.draws.copy()
        other.stream = copy.copy(self.stream)
        return other

    def save(self, path: str | Path) -> None:
        """Write the state to a safetensors file, for any machine that has the same run."""
        states = flatten(self.states or ())
        tensors = {STATE + name: tensor.cpu() for name, tensor in states.items()}
        tensors["seen"] = self.seen.cpu()
        tensors["random"] = self.draws.state()
        for name, tensor in self.stream.tensors().items():
            tensors[STREAM + name] = tensor
        if self.trail is not None:
            for name, tensor in self.trail.tensors().items():
                tensors[TRAIL + name] = tensor
        if self.companion is not None:
            for name, tensor in self.companion.tensors().items():
                tensors[BESIDE + name] = tensor
        if self.output is not None:
            tensors["output"] = self.output.detach().cpu().contiguous()
        if self._raw is not None and self._has_own_point:
            # The point may be a view of it, and a file holds nothing twice.
            tensors["raw"] = self._raw.detach().cpu().clone().contiguous()

        about = {
            "signature": self.signature(),
            "position": str(self.position),
            "streams": str(self.streams),
        }
        saved.write(Path(path), about, tensors)

    def restore(self, path: str | Path) -> Session:
        """Take the state from a file; one that is refused changes nothing.

        Raises `InputError` (RC054) if it belongs to another network, is damaged, or is no state.
        Warns (`Unverified`) of one that was saved before states had a hash.
        """
        about, tensors = saved.read(path, self.signature())
        try:
            self._take(about, tensors)
        except Exception as error:
            message = " ".join(str(error).split())[:300]
            fact = f"{path} is a damaged state: {message}"
            cure = "save it anew, or restore it from a copy"
            raise InputError.of("RC054", fact, cure=cure) from error
        return self

    def _take(self, about: dict[str, str], tensors: dict[str, Tensor]) -> None:
        """Take a saved state, all of it or nothing.

        Raises any error if it is not what `save` has written.
        """
        if about.get("sha256", "") not in ("", saved.hash_of(about, tensors)):
            raise ValueError("its hash is not the recorded one")
        seen, output = tensors["seen"], tensors.get("output")
        streams, position = int(about["streams"]), int(about["position"])
        if streams < 1 or not 0 <= position < 1 << 63:
            raise ValueError(f"streams = {streams}, position = {position}")

        self._check_shapes(seen, output, streams)
        raw = tensors.get("raw") if self._has_own_point else output
        if raw is not None and output is not None:
            if raw.shape != (*output.shape[:-1], self.network.loss.output_size):
                raise ValueError(f"raw is {tuple(raw.shape)} {raw.dtype}")
        states = saved.under(STATE, tensors)
        companion = self.companion
        if companion is not None:
            companion = companion.restored(saved.under(BESIDE, tensors), self.vocabulary.size)
        waits = companion is not None and companion.pending is not None
        if bool(states) != (output is not None) and not waits:
            raise ValueError("there is a state without an output, or an output without a state")
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and bool(tensor.isnan().any()):
                raise ValueError(f"{name} holds what is not a number")

        # Whatever may fail comes first: then nothing has been taken.
        carried = None
        if states:
            carried = unflatten(self.network.initial_states(len(seen)), states)
        drawn = draws.restored(tensors["random"])
        stream = self.stream.restored(saved.under(STREAM, tensors))
        trail = self.trail
        if trail is not None:
            trail = trail.restored(saved.under(TRAIL, tensors))
        device = self.network.device
        seen = seen.to(device)
        output = None if output is None else output.to(device)
        raw = None if raw is None else raw.to(device)

        self.streams, self.position = streams, position
        self.seen, self.output, self._raw = seen, output, raw
        self._carried, self.draws, self.stream = carried, drawn, stream
        self.trail = trail
        self.companion = companion

    def _check_shapes(self, seen: Tensor, output: Tensor | None, streams: int) -> None:
        """Check what was saved beside the states. Raises `ValueError`."""
        # Streams that have not parted yet share a row.
        shapes = [(rows, self.vocabulary.size) for rows in (1, streams)]
        if seen.dtype != torch.bool or seen.shape not in shapes:
            raise ValueError(f"seen is {tuple(seen.shape)} {seen.dtype}")
        if output is None:
            return
        alike = output.dtype == self.network.dtype and len(output) == len(seen)
        ahead = () if self.outlook is None else (self.outlook.steps,)
        if not alike or output.shape[1:-1] != ahead or output.dim() < 2:
            raise ValueError(f"output is {tuple(output.shape)} {output.dtype}")

    @property
    def _has_own_point(self) -> bool:
        """Whether the loss makes something else of what the network gives."""
        return type(self.network.loss).point is not Loss.point

    def signature(self) -> str:
        """Return a hash of the weights and the vocabulary: a state means nothing to any other."""
        vocabulary = json.dumps(self.vocabulary.save(), sort_keys=True)
        digest = hashlib.sha256(vocabulary.encode())
        if self.companion is not None:
            beside = json.dumps(self.companion.vocabulary.save(), sort_keys=True)
            digest.update(beside.encode())
        cells = [f"{type(cell).__name__} {cell.options!r}" for cell in self.network.cells]
        digest.update(f"{cells} {self.network.narrow}".encode())
        for name, weight in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(saved.bytes_of(weight.detach().cpu().contiguous()))
        return digest.hexdigest()
