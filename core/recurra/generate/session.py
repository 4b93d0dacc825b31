"""A session: a network with a state that can be fed, read, copied, saved and restored."""

from __future__ import annotations

import copy
import hashlib
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Stream
from recurra.data.outlook import Outlook
from recurra.engine.recurrence import map_state
from recurra.errors import InputError, RunError, Unverified, warn
from recurra.generate import arguments, draws
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
from recurra.generate.sampling import Sampling
from recurra.model.network import Network, States, flatten, unflatten
from recurra.model.stepper import Packed, stepper
from recurra.randomness import SCHEME
from recurra.runs.files import guarded

STREAMS = 1 << 20
"""Streams side by side, at most."""

CHUNK = 4096
"""Steps of a prompt that go through the network in one call."""

STATE, STREAM, TRAIL = "state.", "stream.", "trail."
"""How the names of tensors begin in a saved state.

They are those of the network, of what it reads, and of what is kept of a series.
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
    that are fed first. With an `outlook` the network says several elements ahead at once.
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

    def feed(self, values: Any) -> Session:
        """Read elements: a text, tokens or numbers in the data's units. Returns the session.

        Raises `InputError` (RC043, RC080) for a symbol that the vocabulary lacks or numbers of
        another width.
        """
        ids = encoded(self.vocabulary, values)
        self.skipped = not len(ids) and holds_any(self.vocabulary, values)
        return self.feed_ids(ids) if len(ids) else self

    def feed_ids(self, ids: NDArray[Any]) -> Session:
        """Read ids `[n]`, or numbers `[n, F]` in the data's units; each stream reads them all.

        Raises `InputError` (RC042, RC080) for ids that the vocabulary lacks, and for numbers that
        cannot be read; then nothing has been read.
        """
        ids = self.elements.checked(self.vocabulary, ids)
        if not len(ids):
            return self
        if len(ids) < self.stream.at_once:
            raise refused(TOO_FEW, cure="give two steps or more of it at once")

        # A stream that has read what is refused is thrown away.
        stream = copy.copy(self.stream)
        x = self.elements.window(stream.read(ids), self.network.dtype)
        self.stream = stream
        if self.outlook is not None and self.trail is not None:
            self.trail = self.trail.after(self.outlook.chain.scaled(ids))
        for start in range(0, len(x), CHUNK):
            part = x[start : start + CHUNK].to(self.network.device)
            self._forward(part.unsqueeze(0).expand(len(self.seen), *part.shape))
        return self

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
        if self.output is None:
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

    def forecast_step(self) -> NDArray[np.float64]:
        """Return the next numbers in the data's units, `[F]`, and read them as if they had come.

        Raises `InputError` (RC080) for a run of symbols, and `RunError` (RC060) if they are not
        finite.
        """
        self.elements.has("forecast_step")
        if self.outlook is not None:
            fact = f"this run answers {self.outlook.steps} steps at once, and reads none of them"
            raise InputError.of("RC080", fact, cure="forecast() gives them all")
        scaled = self._sound("forecast")
        self._part()
        self._step(scaled.to(self.network.dtype))
        numbers = self.stream.undo(scaled[0].cpu().double().numpy())
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
        about["sha256"] = _hash(about, tensors)
        with guarded(Path(path), "or give another path"):
            try:
                save_file(tensors, path, metadata=about)
            except SafetensorError as error:
                # So it tells of a folder that is not there, or of a full disk.
                raise OSError(str(error)) from error

    def restore(self, path: str | Path) -> Session:
        """Take the state from a file; one that is refused changes nothing.

        Raises `InputError` (RC054) if it belongs to another network, is damaged, or is no state.
        Warns (`Unverified`) of one that was saved before states had a hash.
        """
        try:
            with safe_open(path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except Exception as error:
            # A file that is none of ours may lead safetensors to anything.
            raise InputError.of("RC054", f"{path} is not a saved state: {error}") from error

        if about.get("signature") != self.signature():
            fact = f"{path} was saved by another network, vocabulary or precision"
            cure = "restore it into a session of the run that saved it"
            raise InputError.of("RC054", fact, cure=cure)
        if "sha256" not in about:
            text = f"{path} holds no hash, as states of before: it is restored unverified"
            warn(text, Unverified)
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
        if about.get("sha256", "") not in ("", _hash(about, tensors)):
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
        states = _under(STATE, tensors)
        if bool(states) != (output is not None):
            raise ValueError("there is a state without an output, or an output without a state")
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and bool(tensor.isnan().any()):
                raise ValueError(f"{name} holds what is not a number")

        # Whatever may fail comes first: then nothing has been taken.
        carried = None
        if states:
            carried = unflatten(self.network.initial_states(len(seen)), states)
        drawn = draws.restored(tensors["random"])
        stream = self.stream.restored(_under(STREAM, tensors))
        trail = self.trail
        if trail is not None:
            trail = trail.restored(_under(TRAIL, tensors))
        device = self.network.device
        seen = seen.to(device)
        output = None if output is None else output.to(device)
        raw = None if raw is None else raw.to(device)

        self.streams, self.position = streams, position
        self.seen, self.output, self._raw = seen, output, raw
        self._carried, self.draws, self.stream = carried, drawn, stream
        self.trail = trail

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
        cells = [f"{type(cell).__name__} {cell.options!r}" for cell in self.network.cells]
        digest.update(f"{cells} {self.network.narrow}".encode())
        for name, weight in sorted(self.network.state_dict().items()):
            digest.update(name.encode())
            digest.update(_bytes(weight.detach().cpu().contiguous()))
        return digest.hexdigest()


def _bytes(tensor: Tensor) -> bytes:
    """Return the bytes of a tensor on the CPU."""
    return tensor.view(torch.uint8).numpy().tobytes()


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors whose names have a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _hash(about: dict[str, str], tensors: dict[str, Tensor]) -> str:
    """Return a hash of all that a saved state holds, but for the hash itself."""
    rest = {key: value for key, value in sorted(about.items()) if key != "sha256"}
    digest = hashlib.sha256(json.dumps(rest).encode())
    for name, tensor in sorted(tensors.items()):
        heading = [name, str(tensor.dtype), list(tensor.shape)]
        digest.update(json.dumps(heading).encode())
        digest.update(_bytes(tensor.detach().cpu().contiguous().view(-1)))
    return digest.hexdigest()
