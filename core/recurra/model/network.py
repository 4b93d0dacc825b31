"""The network: `B T` in, encoder `B T D`, cells `B T H`, head `B T V` out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.head import Head, in_rows
from recurra.contracts.loss import Loss
from recurra.engine.recurrence import State, map_state, rebuild, select
from recurra.model.decoder import Beside, Decoder
from recurra.model.head import TiedHead
from recurra.model.layers import Bidirectional, Block, Dropout, Layer, norm
from recurra.model.pooling import pooling
from recurra.model.scoring import Scoring
from recurra.model.table import looked_up
from recurra.randomness import Noise
from recurra.shapes import Encoded, Flags, Hidden, Inputs, Lengths, Logits

States: TypeAlias = tuple[State, ...]
"""The encoder's state, empty for most, then that of each layer, the lowest first."""

WHOLE = 1 << 24
"""Outputs of a batch, in numbers, above which a loss that can is given them in parts."""
PART = 1 << 23
"""Outputs, in numbers, that such a loss may hold at a time."""


class Network(nn.Module):
    """An encoder, layers of cells one on the other, a linear head, and the loss of its outputs.

    Where a sequence is answered once, its steps are pooled before the head. Where a step is
    answered by several elements `ahead`, the head gives the outputs of all of them; or a `decoder`
    goes on step by step, and the head reads each. Either may read `coming` covariates of each step
    ahead. Such a network is `late`: it answers once it is told of these, or whenever it is asked.

    The weight of the head is the encoder's where that says so. Dropout falls on what each layer
    gives, never inside the recurrence (Zaremba et al. 2014, arXiv:1409.2329); its noise comes from
    a stream of its own. A stack that ends in a block has its norm before the head. Under bfloat16
    the products of encoder and head are narrow, while state, gates and their gradients stay in
    float32.
    """

    def __init__(
        self,
        encoder: Encoder[Any],
        layers: Sequence[nn.Module],
        loss: Loss[Any],
        pooled: str | None = None,
        ahead: int = 0,
        coming: int = 0,
        decoder: Cell[Any] | None = None,
    ) -> None:
        super().__init__()
        self.ahead = ahead
        self.coming = coming
        self.encoder = encoder
        self.layers = nn.ModuleList(layers)
        # Whether a step has seen what comes after it.
        self.reads_both_ways = any(
            isinstance(part, Bidirectional) for part in self.layers.modules()
        )
        *_, last = self.stack
        width = last.output_size
        self.norm = norm(last.closing, width) if isinstance(last, Block) else None
        self.head: nn.Linear | TiedHead
        # How many numbers a step leaves.
        self.left = width
        self.decoder = None if decoder is None else Decoder(decoder, ahead)
        if decoder is not None:
            self.head = nn.Linear(decoder.output_size, loss.output_size)
        elif encoder.head_weight() is None:
            self.head = nn.Linear(width, loss.output_size * max(1, ahead))
        else:
            self.head = TiedHead(encoder, width)
        self.beside: Beside | None = None
        if coming and decoder is None:
            self.beside = Beside(ahead, coming, loss.output_size)
        self.drop = Dropout()
        self.narrow = False
        # Whether single steps may be those of a kernel.
        self.compiles_steps = True
        self.pool = pooling(pooled, width) if pooled else None
        # What the columns of an answer weigh, and whether some of one may be missing.
        self.column_weights: tuple[float, ...] = ()
        self.partly_missing = False
        # The last, so that no other part has another place for it.
        self.loss = _unsaved(loss)

    @property
    def stack(self) -> Iterable[Layer]:
        """The layers, the lowest first."""
        layers: Iterable[Any] = self.layers
        return layers

    @property
    def cells(self) -> list[Cell[Any]]:
        """Every cell, the lowest first; a layer that reads both ways holds two.

        The last is that of the decoder, where there is one.
        """
        cells = [module for module in self.layers.modules() if isinstance(module, Cell)]
        return cells if self.decoder is None else [*cells, self.decoder.cell]

    @property
    def noise(self) -> Noise | None:
        """What dropout draws from."""
        return self.drop.noise

    @noise.setter
    def noise(self, noise: Noise | None) -> None:
        for module in self.modules():
            if isinstance(module, Dropout):
                module.noise = noise

    @property
    def masks(self) -> int:
        """How often dropout draws in a window of training."""
        dropping = [layer for layer in self.stack if layer.options.dropout]
        return sum(layer.branches if isinstance(layer, Block) else 1 for layer in dropping)

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    @property
    def scoring(self) -> Scoring:
        """How answers are scored."""
        return Scoring(self.loss, self.column_weights, self.partly_missing)

    @property
    def output_size(self) -> int:
        """How many numbers are given for a step."""
        return self.loss.output_size * max(1, self.ahead)

    @property
    def held(self) -> int:
        """How many numbers are held at a time for the answer to a step, about."""
        return self.output_size if self.decoder is None else self.decoder.held

    @property
    def late(self) -> bool:
        """Whether an answer is of more than what a step has left, and is made when asked for."""
        return self.decoder is not None or self.coming > 0

    def typed(self, dtype: torch.dtype) -> Network:
        """Give the weights another type; what the loss holds of its own stays as it was made."""
        for name, part in self.named_children():
            if name != "loss":
                part.to(dtype)
        return self

    def initial_states(self, batch_size: int, position: Tensor | None = None) -> States:
        """Return the states before the first step.

        It stands at `position` `[B]` of its sequence, 0 where None.
        """
        device, dtype = self.device, self.dtype
        encoder = self.encoder
        first: State = ()
        if isinstance(encoder, StatefulEncoder):
            first = encoder.initial_state(batch_size, position=position, device=device, dtype=dtype)

        states = [first]
        for layer in self.stack:
            state = layer.initial_state(batch_size, device=device, dtype=dtype)
            states.append(state)
        return tuple(states)

    def forward(
        self,
        x: Inputs,
        states: States | None = None,
        *,
        reset: Flags | None = None,
        position: Tensor | None = None,
        lengths: Lengths | None = None,
        last: bool = False,
    ) -> tuple[Logits, States]:
        """Return the outputs of a window, as `answer` gives them, and the states after it.

        A network that is `late` gives what `answer` reads. They are those of its `last` step alone
        if so asked. Without `states` the window begins at `position` `[B]` of its sequence. Row i
        has `lengths[i]` steps, at the last of which a way back begins; without them all are whole.
        """
        hidden, after = self.hidden(
            x, states, reset=reset, position=position, lengths=lengths, last=last
        )
        return hidden if self.late else self.answer(hidden), after  # B T V

    def hidden(
        self,
        x: Inputs,
        states: States | None = None,
        *,
        reset: Flags | None = None,
        position: Tensor | None = None,
        lengths: Lengths | None = None,
        last: bool = False,
    ) -> tuple[Hidden, States]:
        """Return what the head would read of a window, `[B, T, H]`, and the states after it.

        Row i has `lengths[i]` steps; without them all are whole. The rest is as in `forward`.
        """
        # Only a way back asks where a row ends.
        if not self.reads_both_ways:
            lengths = None
        if states is None:
            states = self.initial_states(x.shape[0], position)
        # Past the end of a row a state stays as it is, which symbols of padding would move on.
        looked = None if lengths is not None else self._looked_up(x, states[1], reset)
        if looked is not None:
            first, one = looked
            hidden, after = self._layered(
                first, states[2:], reset=reset, lengths=lengths, last=last, above=1
            )
            return hidden, (states[0], one, *after)

        with self._narrowed(x):
            encoded, state = self.encode(x, states[0], reset)
        hidden, after = self._layered(
            encoded.to(self.dtype), states[1:], reset=reset, lengths=lengths, last=last
        )
        return hidden, (state, *after)

    def _looked_up(
        self, x: Inputs, state: State, reset: Flags | None
    ) -> tuple[Hidden, State] | None:
        """Return what the first layer makes of symbols, where it can be had from their table."""
        first: Any = self.layers[0]
        looked = None if self.narrow else looked_up(self.encoder, first, x, state, reset)
        if looked is None:
            return None
        hidden, after = looked
        return self.drop(hidden, first.options.dropout), after

    def answer(self, hidden: Tensor, coming: Tensor | None = None) -> Logits:
        """Return the outputs `[..., V]` for what the head reads, `[..., H]`.

        Where elements ahead are asked they have an axis of their own before the last; `coming` are
        then the covariates of each, `[..., H, Q]`, if any are read.
        """
        if self.decoder is not None:
            left = hidden.reshape(-1, hidden.shape[-1])
            if coming is not None:
                coming = coming.reshape(len(left), *coming.shape[-2:])
            output = self._read(self.decoder.in_parts(left, coming))
            return output.view(*hidden.shape[:-1], *output.shape[1:])
        output = self._read(hidden)
        if self.ahead:
            output = output.view(*output.shape[:-1], self.ahead, self.loss.output_size)
        if self.beside is not None:
            assert coming is not None, "the covariates of the steps ahead are read"
            output = output + self.beside(coming)
        return output

    def _read(self, hidden: Tensor) -> Tensor:
        """Return what the head gives."""
        with self._narrowed(hidden):
            output: Tensor = self.head(hidden).to(self.dtype)
        return output

    def folded(self, output: Tensor) -> Tensor:
        """Return what `through` gives, with an axis of the elements ahead, if it has any."""
        if not self.ahead or self.late:
            return output
        return output.view(*output.shape[:-1], self.ahead, self.loss.output_size)

    def losses(
        self,
        hidden: Hidden,
        target: Tensor,
        places: Tensor | None = None,
        coming: Tensor | None = None,
        scale: Tensor | None = None,
    ) -> Tensor:
        """Return the losses `[N]` of those steps of a window that stand at `places` `[N]`.

        These count row after row; without them all steps are scored. `target` is `[B, T]`, or
        `[B, T, F]`. Many outputs are held in parts alone, where the loss can be given them so. The
        elements ahead of a step are rows too, each by itself; `coming` `[B, T, H, Q]` are their
        covariates, if any are read. `scale` is what 1 is in counts for each answer, in the shape of
        the targets, where the loss counts.
        """
        flat, targets = hidden.flatten(0, 1), target.flatten(0, 1)
        width, scoring = self.loss.output_size, self.scoring
        if self.ahead:
            return self._losses_ahead(flat, targets, places, coming, scale)
        if not self.loss.takes_hidden or len(flat) * width <= WHOLE:
            output = self.answer(hidden).flatten(0, 1)
            if places is not None:
                output, targets = output[places], targets[places]
            return scoring.counted(_picked(scale, 2, places))(output, targets)

        if places is not None:
            flat, targets = flat[places], targets[places]
        if isinstance(self.head, TiedHead):
            with self._narrowed(flat):
                flat = self.head.projected(flat).to(self.dtype)
        head = Head(self.head.weight, self.head.bias, self.narrow)
        rows = max(1, PART // width)
        if scoring.by_element:
            return in_rows(scoring, flat, head, targets, rows)
        return self.loss.through(flat, head, targets, rows)

    def _losses_ahead(
        self,
        hidden: Tensor,
        target: Tensor,
        places: Tensor | None,
        coming: Tensor | None,
        scale: Tensor | None,
    ) -> Tensor:
        """Return the losses `[N]` of elements ahead of the steps `[M, W]`, `[M, H, F]`."""
        answers = target.flatten(0, 1)
        if coming is not None:
            coming = coming.flatten(0, 1)
        rows = places
        if self.decoder is not None and places is not None:
            # An origin of which nothing is asked is not decoded.
            origins, back = torch.unique(places // self.ahead, return_inverse=True)
            hidden = hidden[origins]
            coming = None if coming is None else coming[origins]
            rows = back * self.ahead + places % self.ahead
        of_all = self.answer(hidden, coming).flatten(0, 1)
        if places is not None:
            of_all, answers = of_all[rows], answers[places]
        return self.scoring.counted(_picked(scale, 3, places))(of_all, answers)

    def through(
        self,
        hidden: Encoded,
        states: States,
        *,
        reset: Flags | None = None,
        last: bool = False,
    ) -> tuple[Logits, States]:
        """Return what layers and head make of an encoded window `[B, T, D]`, not `folded`.

        A network that is `late` gives what `answer` reads. The states of the layers after it come
        with that.
        """
        hidden, after = self._layered(hidden, states, reset=reset, last=last)
        return hidden if self.late else self._read(hidden), after  # B T V

    def _layered(
        self,
        hidden: Encoded,
        states: States,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
        last: bool = False,
        above: int = 0,
    ) -> tuple[Hidden, States]:
        """Return what the layers make of an encoded window, and their states after it.

        Those `above` the first few are given what these make of it.
        """
        after: list[State] = []
        for layer, state in zip([*self.stack][above:], states, strict=True):
            hidden, state = layer(hidden, state, reset=reset, lengths=lengths)
            # A block has dropped what its branches give.
            if not isinstance(layer, Block):
                hidden = self.drop(hidden, layer.options.dropout)  # B T H
            after.append(state)

        if last:
            hidden = hidden[:, -1:]  # B 1 H
        if self.norm is not None:
            hidden = self.norm(hidden)
        return hidden, tuple(after)

    def point(self, output: Logits) -> Tensor:
        """Return what the loss takes for the prediction: logits `[..., V]`, numbers `[..., F]`."""
        point: Tensor = self.loss.point(output)
        return point

    def encode(self, x: Inputs, state: State, reset: Flags | None = None) -> tuple[Encoded, State]:
        """Return what the encoder makes of a window, and its state after it."""
        if isinstance(self.encoder, StatefulEncoder):
            return self.encoder.advance(x, state, reset=reset)
        return self.encoder(x), state

    def _narrowed(self, x: Tensor) -> AbstractContextManager[object]:
        """Return what makes the products with a tensor narrow, where the task asks for that."""
        return torch.autocast(x.device.type, torch.bfloat16) if self.narrow else nullcontext()


def _picked(scale: Tensor | None, axes: int, places: Tensor | None) -> Tensor | None:
    """Return what the answers at some places have, of what the first `axes` are places of."""
    if scale is None:
        return None
    flat = scale.flatten(0, axes - 1)
    return flat if places is None else flat[places]


def _unsaved(loss: Loss[Any]) -> Loss[Any]:
    """Return a loss whose buffers are not saved with the weights: its options say what they are."""
    for module in loss.modules():
        module._non_persistent_buffers_set.update(module._buffers)
    return loss


def detached(states: States) -> States:
    """Return states cut from the graph, each field in memory of its own.

    A field that is a view, as of the last step of a window, would be laid out otherwise than one
    that is read back from a checkpoint, and the same product of the same numbers may then differ in
    its last bit.
    """
    return tuple(map_state(_own, state) for state in states)


def _own(field: Tensor) -> Tensor:
    return field.detach().clone(memory_format=torch.contiguous_format)


def mixed(rows: Flags, chosen: States, other: States) -> States:
    """Return states with the rows of `chosen` where `rows` `[B]` is true, else of `other`."""
    pairs = zip(chosen, other, strict=True)
    return tuple(select(rows, one, two) for one, two in pairs)


def flatten(states: States) -> dict[str, Tensor]:
    """Return states as named tensors, `layer.field` or `encoder.field`, ready to be saved."""
    tensors: dict[str, Tensor] = {}
    for keys, state in _keyed(states):
        for key, field in zip(keys, state, strict=True):
            tensors[key] = field.detach().clone().contiguous()
    return tensors


def unflatten(like: States, tensors: dict[str, Tensor]) -> States:
    """Return states of the same types as `like` from named tensors.

    Raises `KeyError` or `ValueError` on a misfit.
    """
    expected: set[str] = set()
    for keys, _ in _keyed(like):
        expected.update(keys)
    foreign = sorted(tensors.keys() - expected)
    if foreign:
        places = ", ".join(sorted(expected))
        raise ValueError(f"state {foreign[0]} has no place here, where the states are {places}")

    restored: list[State] = []
    for keys, state in _keyed(like):
        fields = [tensors[key] for key in keys]
        for key, old, new in zip(keys, state, fields, strict=True):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise ValueError(f"state {key} is {_form(new)}, not {_form(old)}")
        placed = [new.to(old.device) for old, new in zip(state, fields, strict=True)]
        restored.append(rebuild(state, placed))
    return tuple(restored)


def _keyed(states: States) -> Iterator[tuple[list[str], State]]:
    """Give each state with the keys of its fields, which begin with whose it is.

    The encoder's comes first, then those of the layers by their number: `encoder.n`, `0.h`, `0.c`.
    """
    for index, state in enumerate(states):
        owner = "encoder" if index == 0 else str(index - 1)
        keys = [f"{owner}.{name}" for name in names(state)]
        yield keys, state


def _form(field: Tensor) -> str:
    return f"{tuple(field.shape)} {field.dtype}"


def names(state: State) -> Sequence[str]:
    """Return the names of a state's fields."""
    return getattr(state, "_fields", None) or [str(index) for index in range(len(state))]
