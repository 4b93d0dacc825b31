"""The layers of a network: a cell alone, both ways, or in a block.

A block has norm and residual, and if so asked convolution and feed-forward.
"""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable
from functools import cache
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra.contracts.cell import Cell
from recurra.contracts.options import BlockOptions, CellOptions
from recurra.engine.context import lagged
from recurra.engine.recurrence import State, rebuild, within
from recurra.randomness import Noise
from recurra.shapes import Encoded, Flags, Hidden, Lengths

Make: TypeAlias = Callable[[int], Cell[Any]]
"""Builds a cell for inputs of a width."""


class Layer(Protocol):
    """What a network stacks: `Cell`, `Bidirectional` or `Block`."""

    output_size: int
    options: CellOptions

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Return the state before the first step."""
        ...

    def __call__(
        self,
        x: Encoded,
        state: State | None = None,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Hidden, State]:
        """Return the outputs `[B, T, H]` of a window `[B, T, D]` and the state after it."""
        ...


def layer(make: Make, width: int, options: CellOptions) -> Cell[Any] | Bidirectional | Block:
    """Return one layer for inputs of a width, as the options that every cell has say."""

    ahead = make(width)
    core: Cell[Any] | Bidirectional = ahead
    if options.bidirectional:
        core = Bidirectional(ahead, make(width))
    if options.block is None:
        return core
    return Block(core, width, options.block)


class Dropout(nn.Module):
    """Dropout whose noise comes from a stream of its own, so that a run can go on bit for bit."""

    def __init__(self) -> None:
        super().__init__()
        self.noise: Noise | None = None

    def forward(self, x: Tensor, share: float) -> Tensor:
        """Return `x` with a share of its elements dropped while training, and the others raised."""
        if not self.training or share == 0:
            return x
        if self.noise is None:
            mask = torch.empty_like(x).bernoulli_(1 - share)
        else:
            mask = self.noise.mask(x, share)
        return x * mask.div_(1 - share)


class Bidirectional(nn.Module):
    """One cell that reads from left to right and one from right to left.

    Their outputs stand side by side. Schuster & Paliwal 1997, doi:10.1109/78.650093. Each row is
    read backwards from its own end, and each sequence of a packed row from its own. The way back of
    a window knows nothing of later windows, so its state starts afresh.
    """

    def __init__(self, ahead: Cell[Any], back: Cell[Any]) -> None:
        super().__init__()
        self.ahead = ahead
        self.back = back
        self.output_size = ahead.output_size + back.output_size
        self.options: CellOptions = ahead.options

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Return the state of the way ahead, the only one that goes on."""
        return self.ahead.initial_state(batch_size, device=device, dtype=dtype)  # type: ignore[no-any-return]

    def forward(
        self,
        x: Encoded,
        state: State | None = None,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Hidden, State]:
        """Return both outputs `[B, T, 2 H]`, and the state of the way ahead."""
        y, after = self.ahead(x, state, reset=reset, lengths=lengths)
        batch, steps = x.shape[:2]
        if lengths is None:
            ends = torch.full((batch,), steps, device=x.device)
        else:
            ends = lengths.clamp(max=steps)

        # B T: a row of 5 steps that ends after 3 is read in the order 2 1 0 3 4, its own inverse.
        ends = ends.unsqueeze(1)
        order = torch.arange(steps, device=x.device).expand(batch, steps)
        order = torch.where(order < ends, ends - 1 - order, order)
        turned = None
        if reset is not None:
            # A sequence that begins at t begins, read backwards, at the step before t.
            none = torch.zeros_like(reset[:, :1])
            last = torch.cat([reset[:, 1:], none], dim=1)
            turned = last.gather(1, order)

        z, _ = self.back(_ordered(x, order), None, reset=turned, lengths=lengths)
        return torch.cat([y, _ordered(z, order)], dim=-1), after


def _ordered(x: Tensor, order: Tensor) -> Tensor:
    """Return `[B, T, D]` with the steps of each row in another order."""
    return x.gather(1, order.unsqueeze(-1).expand_as(x))


class Block(nn.Module):
    """A cell as deep stacks hold it: x + cell(norm(x)), and if so asked a feed-forward after that.

    That is x + feed_forward(norm(x)). Normalising before each branch keeps the path of the
    residuals clear (Xiong et al. 2020, arXiv:2002.04745). The short causal convolution, a filter a
    channel, stands between norm and cell as in Griffin (De et al. 2024, arXiv:2402.19427) and
    Mamba; the feed-forward is gated by SiLU (Shazeer 2020, arXiv:2002.05202). Where a cell is not
    as wide as the block, a linear map leads back. Dropout falls on what each branch adds.
    """

    def __init__(self, inner: Cell[Any] | Bidirectional, width: int, options: BlockOptions) -> None:
        super().__init__()
        self.output_size = width
        self.options: CellOptions = inner.options
        self.closing = options.norm
        self.norm = norm(options.norm, width)
        self.convolution = None
        if options.convolution:
            self.convolution = Convolution(width, options.convolution)
        self.inner = inner
        self.back = None
        if inner.output_size != width:
            self.back = nn.Linear(inner.output_size, width)
        self.feed_forward = None
        if options.feed_forward:
            self.feed_forward = FeedForward(options, width)
        self.drop = Dropout()

    @property
    def branches(self) -> int:
        """How many branches add to the path of the residuals."""
        return 1 if self.feed_forward is None else 2

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> State:
        """Return the state of the cell, and the last inputs of the convolution as `block_tail`."""
        state = self.inner.initial_state(batch_size, device=device, dtype=dtype)
        if self.convolution is None:
            return state
        shape = (batch_size, self.convolution.before, self.output_size)
        tail = torch.zeros(shape, device=device, dtype=dtype)
        return _with_tail(state, tail)

    def forward(
        self,
        x: Encoded,
        state: State | None = None,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Hidden, State]:
        """Return the outputs `[B, T, D]`, as wide as the inputs, and the state after them."""
        if state is None:
            state = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        live = None
        if lengths is not None:
            # After a row's own length inputs and outputs are 0.
            live = within(lengths, x.shape[1])
            reset = None if reset is None else reset & live
            live = live.unsqueeze(-1)
            x = torch.where(live, x, torch.zeros_like(x))

        share = self.options.dropout
        y = self.norm(x)
        if self.convolution is None:
            y, after = self.inner(y, state, reset=reset, lengths=lengths)
        else:
            y, tail = self.convolution(y, state[-1], reset, lengths)
            # The cell's own state: all but the last field, in the type that the cell gives it.
            own = self.inner.initial_state(1, device=x.device, dtype=x.dtype)
            own = rebuild(own, list(state[:-1]))
            y, inner = self.inner(y, own, reset=reset, lengths=lengths)
            after = _with_tail(inner, tail)

        if self.back is not None:
            y = self.back(y)
        x = x + self.drop(y, share)
        if self.feed_forward is not None:
            x = x + self.drop(self.feed_forward(x), share)
        if live is not None:
            x = torch.where(live, x, torch.zeros_like(x))
        return x, after


def norm(kind: str, width: int) -> nn.Module:
    """Return a norm over the last axis."""
    return nn.LayerNorm(width) if kind == "layer" else nn.RMSNorm(width)


def _with_tail(state: State, tail: Tensor) -> State:
    """Return a cell's state with one more field, `block_tail`."""
    names = getattr(state, "_fields", None)
    if not names:
        names = tuple(f"field_{index}" for index in range(len(state)))
    longer: State = _state_type(names)(*state, tail)
    return longer


@cache
def _state_type(names: tuple[str, ...]) -> Any:
    return namedtuple("BlockState", [*names, "block_tail"])


class Convolution(nn.Module):
    """A causal convolution over the last `width` steps, one filter a channel, and SiLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.before = width - 1
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(width, channels).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(
        self, x: Tensor, tail: Tensor, reset: Flags | None, lengths: Lengths | None
    ) -> tuple[Tensor, Tensor]:
        """Return `[B, T, D]` and the last inputs `[B, width - 1, D]`."""
        windows, tail = lagged(x, tail, reset, lengths)  # B T k D
        filtered = (windows * self.weight).sum(dim=2) + self.bias  # B T D
        return functional.silu(filtered), tail


class FeedForward(nn.Module):
    """norm, then (SiLU(W x) * V x), then a map back."""

    def __init__(self, options: BlockOptions, width: int) -> None:
        super().__init__()
        inside = max(1, round(options.feed_forward * width))
        self.norm = norm(options.norm, width)
        self.up = nn.Linear(width, 2 * inside)
        self.down = nn.Linear(inside, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return `[B, T, D]`."""
        both = self.up(self.norm(x))
        gate, value = both.chunk(2, dim=-1)
        output: Tensor = self.down(functional.silu(gate) * value)
        return output
