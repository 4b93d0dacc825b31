"""What the engine needs to know of a cell, and the algebra of states."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

import torch
from torch import Tensor, nn

State: TypeAlias = tuple[Tensor, ...]
"""A NamedTuple of tensors, each `[B, ...]`; every cell names its own fields."""

S = TypeVar("S", bound=State)


@dataclass(frozen=True)
class Native:
    """The map from a cell to the kernel of torch that computes the same recurrence.

    `weights` are in the order of `nn.LSTM` and its kin: input map, recurrent map, input bias,
    recurrent bias.
    """

    kernel: Literal["lstm", "gru", "rnn_tanh", "rnn_relu"]
    weights: tuple[Tensor, ...]


class Scan(Protocol):
    """A linear recurrence h_t = a_t * h_{t-1} + b_t, whose coefficients depend on the input alone.

    The state's first field is h. With a `context` of k the second is the last k inputs,
    `[B, k, D]`, and both methods are given `[B, T, k+1, D]`: each step with those before it, the
    oldest first. `paired`: the last axis of h, a and b holds the real and imaginary part of a
    complex number.
    """

    context: int
    paired: bool

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return a and b, `[B, T, ...]`; a may be of any shape that broadcasts to b's."""
        ...

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        """Return the outputs `[B, T, H]` for the states `[B, T, ...]`."""
        ...


Form: TypeAlias = Callable[[Tensor, State, Tensor | None, Tensor | None], tuple[Tensor, State]]
"""A cell's own form over a window: from inputs, state, `reset` and `live` flags `[B, T]`.

It gives the outputs and the state after.
"""


class Recurrence(Protocol):
    """A recurrence: how to start, and one step.

    The other methods say what else it can be computed by. It is a module, of which the engine reads
    its sizes, options, mode and weights.
    """

    input_size: int
    output_size: int
    options: Any
    training: bool

    def parameters(self) -> Iterator[nn.Parameter]:
        """Give its weights."""
        ...

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Give its weights, each with its name."""
        ...

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Give its buffers, each with its name."""
        ...

    def get_submodule(self, target: str) -> nn.Module:
        """Return a part of it by name; itself by none."""
        ...

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Return the state before the first step."""
        ...

    def step(self, x_t: Tensor, state: State) -> tuple[Tensor, State]:
        """Return the output and the state after one step."""
        ...

    def native(self) -> Native | None:
        """Return the map to torch's own kernel, where there is one."""
        ...

    def scan(self) -> Scan | None:
        """Return the linear recurrence that this is, where it is one."""
        ...

    def chunkwise(self) -> Form | None:
        """Return the cell's own form over a whole window, where it has one."""
        ...


def first_weight(cell: Recurrence) -> Tensor:
    """Return the first weight of a cell, which tells its device and type.

    It is a number where the cell has none.
    """
    parameters = getattr(cell, "parameters", list)
    return next(iter(parameters()), torch.zeros(()))


def rebuild(like: S, fields: list[Tensor]) -> S:
    """Return a state of the same type as `like` with other tensors."""
    kind = type(like)
    make: Callable[[list[Tensor]], S] = getattr(kind, "_make", kind)
    return make(fields)


def map_state(function: Callable[[Tensor], Tensor], state: S) -> S:
    """Return the state with `function` applied to each tensor."""
    return rebuild(state, [function(field) for field in state])


def within(lengths: Tensor, steps: int) -> Tensor:
    """Return flags `[B, T]` of the steps that stand before each row's length."""
    return torch.arange(steps, device=lengths.device) < lengths.unsqueeze(1)


def select(rows: Tensor, chosen: S, other: S) -> S:
    """Return `chosen` where `rows` (`[B]`, bool) is true and `other` elsewhere."""
    fields = []
    for new, old in zip(chosen, other, strict=True):
        ones = [1] * (new.dim() - 1)
        fields.append(torch.where(rows.view(-1, *ones), new, old))
    return rebuild(chosen, fields)


def detach(state: S) -> S:
    """Return the state cut from the graph: truncated back-propagation through time ends here."""
    return map_state(Tensor.detach, state)
