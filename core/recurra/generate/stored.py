"""The state of a session as a file: written, read back, and checked before any of it is taken."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from recurra.contracts.loss import Loss
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.outlook import Outlook, Trail
from recurra.data.parted import Parted
from recurra.data.stream import BEYOND, Stream
from recurra.errors import InputError
from recurra.generate import draws, saved
from recurra.generate.companion import BESIDE, Companion
from recurra.generate.elements import Plain
from recurra.model.network import Network, States, flatten, unflatten
from recurra.model.stepper import Packed, Stepper

WHOLE = torch.contiguous_format
"""How a tensor lies in memory of its own."""
STATE, STREAM, TRAIL = "state.", "stream.", "trail."
"""How the names of tensors begin in a saved state.

They are those of the network, of what it reads, and of what is kept of a series; those of its
covariates begin with `BESIDE`.
"""

STREAMS = 1 << 20
"""Streams side by side, at most."""
OWN = {"seen", "random", "output", "left", "raw"}
"""The names of all other tensors of a saved state."""

S = TypeVar("S", bound="Stored")


class Stored:
    """What a session is made of, as far as it is saved."""

    network: Network
    vocabulary: Vocabulary[Any]
    outlook: Outlook | None
    stepper: Stepper
    streams: int
    position: int
    seen: Tensor
    draws: draws.Draws
    stream: Stream | Parted | Plain
    trail: Trail | None
    companion: Companion | None
    output: Tensor | None
    _raw: Tensor | None
    _left: Tensor | None
    _carried: States | Packed | None

    def _shown(self) -> None:
        raise NotImplementedError

    @property
    def states(self) -> States | None:
        """The states of encoder and layers; None before anything has been read."""
        self._shown()
        return None if self._carried is None else self.stepper.states(self._carried)

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
        if self.output is not None and not self.network.late:
            # In memory of its own: the point may be a view of what the network gives, and a file
            # holds nothing twice.
            tensors["output"] = self.output.detach().clone(memory_format=WHOLE).cpu()
        if self._left is not None:
            tensors["left"] = self._left.detach().cpu().clone().contiguous()
        if self._raw is not None and self._has_own_point and not self.network.late:
            tensors["raw"] = self._raw.detach().clone(memory_format=WHOLE).cpu()

        about = {
            "signature": self.signature(),
            "position": str(self.position),
            "streams": str(self.streams),
        }
        saved.write(Path(path), about, tensors)

    def restore(self: S, path: str | Path) -> S:
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
        self._check_names(tensors)
        seen, output = tensors["seen"], tensors.get("output")
        streams, position = int(about["streams"]), int(about["position"])
        if not 1 <= streams <= STREAMS or not 0 <= position < BEYOND:
            raise ValueError(f"streams = {streams:,}, position = {position:,}")

        self._check_shapes(seen, output, streams)
        self._check_left(tensors.get("left"), len(seen))
        raw = tensors.get("raw") if self._has_own_point else output
        if raw is not None and output is not None:
            shape = (*output.shape[:-1], self.network.loss.output_size)
            if raw.shape != shape or raw.dtype != output.dtype:
                raise ValueError(f"raw is {tuple(raw.shape)} {raw.dtype}")
        states = saved.under(STATE, tensors)
        companion = self.companion
        if companion is not None:
            width = self.vocabulary.size + len(self.vocabulary.missing or ())
            companion = companion.restored(saved.under(BESIDE, tensors), width, streams)
            pending = companion.pending
            if pending is not None and pending.dtype != self.network.dtype:
                raise ValueError(f"the step that waits is {pending.dtype}")
        waits = companion is not None and companion.pending is not None
        left = tensors.get("left") if self.network.late else None
        said = output if left is None else left
        if bool(states) != (said is not None) and not waits:
            raise ValueError("there is a state without an output, or an output without a state")
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and bool(tensor.isnan().any()):
                raise ValueError(f"{name} holds what is not a number")

        # Whatever may fail comes first: then nothing has been taken.
        carried = None
        if states:
            carried = unflatten(self.network.initial_states(len(seen)), states)
        drawn = draws.restored(tensors["random"])
        stream = self._stream_of(saved.under(STREAM, tensors), streams)
        trail = self.trail
        if trail is not None:
            trail = trail.restored(saved.under(TRAIL, tensors))
        device = self.network.device
        seen = seen.to(device)
        output = None if output is None else output.to(device)
        raw = None if raw is None else raw.to(device)

        self.streams, self.position = streams, position
        self.seen, self.output, self._raw = seen, output, raw
        self._left = None if left is None else left.to(device)
        self._carried, self.draws, self.stream = carried, drawn, stream
        self.trail = trail
        self.companion = companion

    def _stream_of(self, tensors: dict[str, Tensor], streams: int) -> Stream | Parted | Plain:
        """Return what goes on from a saved stream. Raises any error if it is none."""
        if isinstance(self.stream, Plain):
            return self.stream.restored(tensors)
        chain = self.stream.chain
        if "ways" not in tensors:
            return Stream(chain).restored(tensors)
        parted = Parted.restored(chain, tensors)
        if parted.ways != streams:
            raise ValueError(f"{parted.ways} ways of {streams} streams")
        return parted

    def _check_names(self, tensors: dict[str, Tensor]) -> None:
        """Refuse a tensor that belongs to nothing here. Raises `ValueError`."""
        parts = [STATE, STREAM]
        parts += [TRAIL] * (self.trail is not None) + [BESIDE] * (self.companion is not None)
        for name in sorted(tensors):
            if name not in OWN and not name.startswith(tuple(parts)):
                raise ValueError(f"{name[:200]!r} is not of it")

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

    def _check_left(self, left: Tensor | None, rows: int) -> None:
        """Check what steps had left. Raises `ValueError`."""
        if left is None:
            return
        alike = left.dtype == self.network.dtype and self.network.late
        if not alike or tuple(left.shape) != (rows, self.network.left):
            raise ValueError(f"left is {tuple(left.shape)} {left.dtype}")

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
