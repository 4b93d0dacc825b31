"""The network: `B T` in, encoder `B T D`, cells `B T H`, head `B T V` out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.contracts.encoder import Encoder
from recurra.engine.recurrence import State, detach, rebuild
from recurra.shapes import Flags, Hidden, Inputs, Logits

States: TypeAlias = tuple[State, ...]
"""The state of each layer, the lowest first."""


class Network(nn.Module):
    """An encoder, layers of cells one on the other, and a linear head.

    Dropout falls on what each layer gives, never inside the recurrence (Zaremba et al. 2014, arXiv:1409.2329); its
    noise comes from a stream of its own. Under bfloat16 the products of encoder and head are narrow, while state,
    gates and their gradients stay in float32.
    """

    def __init__(
        self,
        encoder: Encoder[Any],
        cells: Sequence[Cell[Any]],
        outputs: int,
        point: Callable[[Tensor], Tensor] = lambda output: output,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.layers = nn.ModuleList(cells)
        self.head = nn.Linear(cells[-1].output_size, outputs)
        self.point = point  # what the loss takes for the prediction of an output
        self.noise: torch.Generator | None = None
        self.narrow = False

    @property
    def cells(self) -> list[Cell[Any]]:
        """The layers, the lowest first."""
        return [cast(Cell[Any], layer) for layer in self.layers]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights."""
        return self.head.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.head.weight.device

    def initial_states(self, batch_size: int) -> States:
        """Return every layer's state before the first step."""
        return tuple(cell.initial_state(batch_size, device=self.device, dtype=self.dtype) for cell in self.cells)

    def forward(
        self, x: Inputs, states: States | None = None, *, reset: Flags | None = None, last: bool = False
    ) -> tuple[Logits, States]:
        """Return the outputs of a window, of its `last` step alone if so asked, and the states after it."""
        with self._narrowed(x):
            hidden: Hidden = self.encoder(x)
        hidden = hidden.to(self.dtype)  # B T D
        after: list[State] = []
        for index, cell in enumerate(self.cells):
            hidden, state = cell(hidden, states[index] if states is not None else None, reset=reset)
            hidden = self._drop(hidden, cell.options.dropout)  # B T H
            after.append(state)
        if last:
            hidden = hidden[:, -1:]  # B 1 H
        with self._narrowed(x):
            return self.head(hidden).to(self.dtype), tuple(after)  # B T V

    def _narrowed(self, x: Tensor) -> Any:
        return torch.autocast(x.device.type, torch.bfloat16) if self.narrow else nullcontext()

    def _drop(self, hidden: Tensor, share: float) -> Tensor:
        if not self.training or share == 0:
            return hidden
        kept = torch.empty_like(hidden).bernoulli_(1 - share, generator=self.noise)
        return hidden * kept.div_(1 - share)


def detached(states: States) -> States:
    """Return states cut from the graph."""
    return tuple(detach(state) for state in states)


def flatten(states: States) -> dict[str, Tensor]:
    """Return states as named tensors, `layer.field`, ready to be saved."""
    return {
        f"{depth}.{name}": field.detach().clone().contiguous()
        for depth, state in enumerate(states)
        for name, field in zip(names(state), state, strict=True)
    }


def unflatten(like: States, tensors: dict[str, Tensor]) -> States:
    """Return states of the same types as `like` from named tensors; raises `KeyError` or `ValueError` on a misfit."""
    known = {f"{depth}.{name}" for depth, state in enumerate(like) for name in names(state)}
    if foreign := sorted(tensors.keys() - known):
        raise ValueError(f"state {foreign[0]} has no place here, where the states are {', '.join(sorted(known))}")
    restored: list[State] = []
    for depth, state in enumerate(like):
        fields = [tensors[f"{depth}.{name}"] for name in names(state)]
        for name, old, new in zip(names(state), state, fields, strict=True):
            if old.shape[1:] != new.shape[1:] or old.dtype != new.dtype:
                raise ValueError(
                    f"state {depth}.{name} is {tuple(new.shape)} {new.dtype}, not {tuple(old.shape)} {old.dtype}"
                )
        restored.append(rebuild(state, [new.to(old.device) for old, new in zip(state, fields, strict=True)]))
    return tuple(restored)


def names(state: State) -> Sequence[str]:
    """Return the names of a state's fields."""
    return getattr(state, "_fields", None) or [str(index) for index in range(len(state))]
