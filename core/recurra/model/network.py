"""The network: `B T` in, encoder `B T D`, cells `B T H`, head `B T V` out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.contracts.loss import Loss
from recurra.engine.recurrence import State, map_state, rebuild, select
from recurra.model.layers import Bidirectional, Block, Dropout, Layer, norm
from recurra.model.pooling import pooling
from recurra.randomness import Noise
from recurra.shapes import Encoded, Flags, Hidden, Inputs, Lengths, Logits

States: TypeAlias = tuple[State, ...]
"""The encoder's state, empty for most, then that of each layer, the lowest first."""


class Network(nn.Module):
    """An encoder, layers of cells one on the other, a linear head, and the loss that its outputs
    are for.

    Where a sequence is answered once, its steps are pooled before the head.

    Dropout falls on what each layer gives, never inside the recurrence (Zaremba et al. 2014,
    arXiv:1409.2329); its noise comes from a stream of its own. A stack that ends in a block has its
    norm before the head. Under bfloat16 the products of encoder and head are narrow, while state,
    gates and their gradients stay in float32.
    """

    def __init__(
        self,
        encoder: Encoder[Any],
        layers: Sequence[nn.Module],
        loss: Loss[Any],
        pooled: str | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.ModuleList(layers)
        last = layers[-1]
        width = cast(Layer, last).output_size
        self.norm = norm(last.closing, width) if isinstance(last, Block) else None
        self.head = nn.Linear(width, loss.output_size)
        self.drop = Dropout()
        self.narrow = False
        self.compiles_steps = True  # whether single steps may be those of a kernel
        self.pool = pooling(pooled, width) if pooled else None
        self.loss = _unsaved(loss)  # the last, so that no other part has another place for it

    @property
    def cells(self) -> list[Cell[Any]]:
        """Every cell, the lowest first; a layer that reads both ways holds two."""
        return [module for module in self.layers.modules() if isinstance(module, Cell)]

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
    def reads_both_ways(self) -> bool:
        """Whether a step has seen what comes after it."""
        return any(isinstance(module, Bidirectional) for module in self.modules())

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def typed(self, dtype: torch.dtype) -> Network:
        """Give the weights another type; what the loss holds of its own stays as it was made."""
        for name, part in self.named_children():
            if name != "loss":
                part.to(dtype)
        return self

    def initial_states(self, batch_size: int, position: Tensor | None = None) -> States:
        """Return the states before the first step, which stands at `position` `[B]` of its
        sequence, 0 where None.
        """
        place: dict[str, Any] = {"device": self.device, "dtype": self.dtype}
        first: State = ()
        if isinstance(self.encoder, StatefulEncoder):
            first = self.encoder.initial_state(batch_size, position=position, **place)
        return first, *(
            cast(Layer, layer).initial_state(batch_size, **place) for layer in self.layers
        )

    def forward(
        self,
        x: Inputs,
        states: States | None = None,
        *,
        reset: Flags | None = None,
        position: Tensor | None = None,
        last: bool = False,
    ) -> tuple[Logits, States]:
        """Return the outputs of a window, of its `last` step alone if so asked, and the states
        after it.

        Without `states` the window begins at `position` `[B]` of its sequence.
        """
        if states is None:
            states = self.initial_states(x.shape[0], position)
        with self._narrowed(x):
            hidden, state = self.encode(x, states[0], reset)
        output, after = self.through(hidden.to(self.dtype), states[1:], reset=reset, last=last)
        return output, (state, *after)

    def hidden(
        self, x: Inputs, states: States, lengths: Lengths | None = None
    ) -> tuple[Hidden, States]:
        """Return what the head would read of a window, `[B, T, H]`, and the states after it.

        Row i has `lengths[i]` steps; without them all are whole.
        """
        with self._narrowed(x):
            encoded, state = self.encode(x, states[0], None)
        hidden, after = self._layered(encoded.to(self.dtype), states[1:], lengths=lengths)
        return hidden, (state, *after)

    def answer(self, pooled: Tensor) -> Logits:
        """Return the outputs `[B, V]` for pooled steps `[B, H]`."""
        with self._narrowed(pooled):
            output: Tensor = self.head(pooled).to(self.dtype)
        return output

    def through(
        self, hidden: Encoded, states: States, *, reset: Flags | None = None, last: bool = False
    ) -> tuple[Logits, States]:
        """Return what layers and head make of an encoded window `[B, T, D]`, and the states of the
        layers after it.
        """
        hidden, after = self._layered(hidden, states, reset=reset, last=last)
        with self._narrowed(hidden):
            return self.head(hidden).to(self.dtype), after  # B T V

    def _layered(
        self,
        hidden: Encoded,
        states: States,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
        last: bool = False,
    ) -> tuple[Hidden, States]:
        """Return what the layers make of an encoded window, and their states after it."""
        after: list[State] = []
        for module, state in zip(self.layers, states, strict=True):
            hidden, state = module(hidden, state, reset=reset, lengths=lengths)
            if not isinstance(module, Block):  # which drops what its branches give
                hidden = self.drop(hidden, cast(Layer, module).options.dropout)  # B T H
            after.append(state)
        if last:
            hidden = hidden[:, -1:]  # B 1 H
        if self.norm is not None:
            hidden = self.norm(hidden)
        return hidden, tuple(after)

    def point(self, output: Logits) -> Tensor:
        """Return what the loss takes for the prediction: logits `[..., V]`, or numbers
        `[..., F]`.
        """
        found: Tensor = self.loss.point(output)
        return found

    def encode(self, x: Inputs, state: State, reset: Flags | None = None) -> tuple[Encoded, State]:
        """Return what the encoder makes of a window, and its state after it."""
        if isinstance(self.encoder, StatefulEncoder):
            return self.encoder.advance(x, state, reset=reset)
        return self.encoder(x), state

    def _narrowed(self, x: Tensor) -> Any:
        return torch.autocast(x.device.type, torch.bfloat16) if self.narrow else nullcontext()


def _unsaved(loss: Loss[Any]) -> Loss[Any]:
    """Return a loss whose buffers are no part of the saved weights: they follow from its
    options.
    """
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
    """Return states whose rows are those of `chosen` where `rows` `[B]` is true, and those of
    `other` elsewhere.
    """
    return tuple(select(rows, one, two) for one, two in zip(chosen, other, strict=True))


def flatten(states: States) -> dict[str, Tensor]:
    """Return states as named tensors, `layer.field` or `encoder.field`, ready to be saved."""
    return {
        f"{owner}.{name}": field.detach().clone().contiguous()
        for owner, state in zip(_owners(states), states, strict=True)
        for name, field in zip(names(state), state, strict=True)
    }


def unflatten(like: States, tensors: dict[str, Tensor]) -> States:
    """Return states of the same types as `like` from named tensors; raises `KeyError` or
    `ValueError` on a misfit.
    """
    known = {
        f"{owner}.{name}"
        for owner, state in zip(_owners(like), like, strict=True)
        for name in names(state)
    }
    if foreign := sorted(tensors.keys() - known):
        raise ValueError(
            f"state {foreign[0]} has no place here, where the states are {', '.join(sorted(known))}"
        )
    restored: list[State] = []
    for owner, state in zip(_owners(like), like, strict=True):
        fields = [tensors[f"{owner}.{name}"] for name in names(state)]
        for name, old, new in zip(names(state), state, fields, strict=True):
            if old.shape != new.shape or old.dtype != new.dtype:
                raise ValueError(
                    f"state {owner}.{name} is {tuple(new.shape)} {new.dtype}, not"
                    f" {tuple(old.shape)} {old.dtype}"
                )
        restored.append(
            rebuild(state, [new.to(old.device) for old, new in zip(state, fields, strict=True)])
        )
    return tuple(restored)


def _owners(states: States) -> list[str]:
    """Return whose each state is: the encoder's, then the layers' by their number."""
    return ["encoder", *(str(depth) for depth in range(len(states) - 1))][: len(states)]


def names(state: State) -> Sequence[str]:
    """Return the names of a state's fields."""
    return getattr(state, "_fields", None) or [str(index) for index in range(len(state))]
