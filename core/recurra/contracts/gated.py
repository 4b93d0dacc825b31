"""The gated form of a cell: the two maps are given, and the author writes what the gates do."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.cell import Cell
from recurra.contracts.options import GatedOptions

G = TypeVar("G", bound=GatedOptions)

_RECURRENT = {
    "orthogonal": nn.init.orthogonal_,
    "xavier": nn.init.xavier_uniform_,
    "identity": nn.init.eye_,
}


class GatedCell(Cell[G]):
    """A cell of gates: maps from the input and the output before, and `update` on what they give.

    There are `gates` maps of each. A subclass sets `gates` and `State`, a NamedTuple of `[B, H]`
    tensors whose first field is the output, and writes `update`. The weights are laid out and named
    as in `nn.LSTMCell`: `weight_ih` `[gates*H, D]`, `bias_ih`, `weight_hh` `[gates*H, H]`, and
    `bias_hh` where the class says `recurrent_bias`. With `heads` the recurrent map is
    block-diagonal: `weight_hh` is `[heads, gates*H/heads, H/heads]`. `gates` is how many gates
    these options give where that is not the class's number. `recurrent_gates` is how many maps from
    the output there are where that is not `gates`; with 0 there is none. `biases` is 2 for one of
    each map, 1 for the input map's alone, or 0, where that is not what the class says.
    `output_size` is the width of the first field.

    A subclass may have weights of its own, set after this constructor; a recurrent map among them
    begins by `begin`.

    A kernel is compiled of `update` where it is made of elementwise operations, products with
    weights and sums over a row; with anything else in it the cell is as right, and runs step by
    step.
    """

    gates: int
    State: ClassVar[type[Any]]
    recurrent_bias: ClassVar[bool] = False

    def __init__(
        self,
        input_size: int,
        options: G,
        *,
        heads: int = 1,
        gates: int | None = None,
        recurrent_gates: int | None = None,
        biases: int | None = None,
        output_size: int | None = None,
    ) -> None:
        super().__init__(input_size, options)
        hidden = self.hidden_size
        self.output_size = output_size or hidden
        self.heads = heads
        if gates is None:
            gates = type(self).gates
        if recurrent_gates is None:
            recurrent_gates = gates
        if biases is None:
            biases = 2 if self.recurrent_bias else 1
        self.gates = gates
        self.recurrent_gates = recurrent_gates
        if hidden % heads or self.output_size % heads:
            raise ValueError(
                f"{type(self).__name__}: {heads} heads do not divide a width of {hidden}"
            )

        # Each head maps its share of the output to its share of every gate.
        rows = recurrent_gates * hidden // heads
        columns = self.output_size // heads
        shape = (rows, columns) if heads == 1 else (heads, rows, columns)
        self.weight_ih = _weight(gates * hidden, input_size)
        self.weight_hh = _weight(*shape) if rows else None
        self.bias_ih = _weight(gates * hidden) if biases else None
        self.bias_hh = _weight(rows * heads) if rows and biases == 2 else None
        self._initialise(options.init)

    @abstractmethod
    def update(self, x: Tensor, h: Tensor, state: Any) -> Any:
        """Return the next state from what both maps give and the state before.

        Each map gives `[gates, B, H]`.
        """

    def output(self, state: Any) -> Tensor:
        """Return the output `[B, H]` of a state: its first field."""
        return state[0]  # type: ignore[no-any-return]

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Return zeros: the first field as wide as the output, the others as the hidden size."""
        others = len(self.State._fields) - 1
        widths = [self.output_size] + [self.hidden_size] * others
        fields = [torch.zeros(batch_size, width, device=device, dtype=dtype) for width in widths]
        return self.State(*fields)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output and the next state for one input `[B, D]`."""
        x = self.of_input(x_t)
        h = self.of_output(state[0])
        after = self.update(x, h, state)
        return self.output(after), after

    def of_input(self, x_t: Tensor) -> Tensor:
        """Return the input's share of the gates, `[gates, B, H]`."""
        share = functional.linear(x_t, self.weight_ih, self.bias_ih)
        return share.view(x_t.shape[0], self.gates, self.hidden_size).transpose(0, 1)

    def of_output(self, h: Tensor) -> Tensor:
        """Return the share that the output before has in the gates, `[recurrent_gates, B, H]`."""
        batch = h.shape[0]
        heads = self.heads
        gates = self.recurrent_gates
        hidden = self.hidden_size
        if self.weight_hh is None:
            return h.new_zeros(0, batch, hidden)
        if heads == 1:
            share = functional.linear(h, self.weight_hh, self.bias_hh)
            return share.view(batch, gates, hidden).transpose(0, 1)

        # Each head sees its own stretch of the output: one product for all of them.
        by_head = h.reshape(batch, heads, self.output_size // heads).transpose(0, 1)
        # heads B gates*H/heads
        share = torch.bmm(by_head, self.weight_hh.transpose(1, 2))
        share = share.view(heads, batch, gates, hidden // heads)
        # gates B heads H/heads, whose last two axes are H.
        share = share.permute(2, 1, 0, 3).flatten(2)
        if self.bias_hh is None:
            return share
        return share + self.bias_hh.view(gates, 1, hidden)

    def maps(self) -> tuple[Tensor, ...]:
        """Return the weights that there are, in the order of torch's kernels.

        It is: input map, recurrent map, input bias, recurrent bias.
        """
        weights = (self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh)
        return tuple(weight for weight in weights if weight is not None)

    def begin(self, weight: Tensor, gates: int = 1) -> None:
        """Set a recurrent map `[gates*H, H]` as the options' `init` says, gate by gate."""
        if self.options.init == "uniform":
            bound = 1 / math.sqrt(self.hidden_size)
            nn.init.uniform_(weight, -bound, bound)
            return
        for gate in weight.data.chunk(gates):
            _RECURRENT[self.options.init](gate)

    def _initialise(self, init: str) -> None:
        """Set the weights by a scheme: torch's uniform one, or gate by gate and head by head."""
        bound = 1 / math.sqrt(self.hidden_size)
        for weight in self.parameters():
            nn.init.uniform_(weight, -bound, bound)
        if init == "uniform":
            return

        for bias in (self.bias_ih, self.bias_hh):
            if bias is not None:
                nn.init.zeros_(bias)
        for gate in self.weight_ih.data.chunk(self.gates):
            nn.init.xavier_uniform_(gate)
        if self.weight_hh is None:
            return
        recurrent = self.weight_hh.data
        for head in recurrent.unbind() if self.heads > 1 else [recurrent]:
            self.begin(head, self.recurrent_gates)


def _weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.empty(shape))
