"""Yang et al. 2024, Gated delta networks: improving Mamba2 with the delta rule.

arXiv:2412.06464.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, Form, State
from recurra_cells import chunks
from recurra_cells.matrix_options import GatedDeltaOptions

SLOWEST, FASTEST = 1e-3, 1e-1
"""Bounds of softplus(a) at the start, as Mamba2 begins its steps of time."""
LEAST_RATE, GREATEST_RATE = 1.0, 16.0
"""Bounds of each head's rate of decay at the start."""


class GatedDeltaState(NamedTuple):
    """memory: [B, heads, d, d], rows of values, columns of keys."""

    memory: Tensor


class Mapped(NamedTuple):
    """What the maps give for inputs [..., D].

    q, k, v: [..., heads, d]; output_gate: [..., H]; write and log_keep: [..., heads].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    output_gate: Tensor
    write: Tensor
    log_keep: Tensor


class GatedDelta(Cell[GatedDeltaOptions]):
    """A matrix that maps keys to values, decays a little, and is corrected for the key of a step.

    q, k = silu(W x_t) / |silu(W x_t)|, v = silu(W x_t), g = W x_t
    beta = sigmoid(w x_t), one number a head
    alpha = exp(-rate * softplus(w x_t + bias)), one number a head, as in Mamba2
    S_t = alpha S_{t-1} (I - beta k k^T) + beta v k^T
    h_t = norm(S_t q) * silu(g), norm(o) = weight * o / sqrt(mean(o^2) + 1e-5) head by head;
    the output is h_t.

    With `gated = false` alpha is 1: the delta rule of DeltaNet, Yang et al. 2024, arXiv:2406.06484.
    The convolutions before q, k and v and the map after the output belong to the paper's block and
    are not here; its norm and its output gate are.
    """

    def __init__(self, input_size: int, options: GatedDeltaOptions) -> None:
        super().__init__(input_size, options)
        hidden, heads = self.hidden_size, options.heads
        self.heads = heads
        gates = 2 * heads if options.gated else heads
        self.maps = nn.Linear(input_size, 4 * hidden + gates, bias=False)
        self.norm = nn.Parameter(torch.ones(hidden // heads))
        if options.gated:
            rate = torch.empty(heads).uniform_(LEAST_RATE, GREATEST_RATE)
            self.log_rate = nn.Parameter(rate.log())

            # The bias is the number whose softplus is `time`.
            log_time = torch.empty(heads).uniform_(math.log(SLOWEST), math.log(FASTEST))
            time = log_time.exp()
            self.bias = nn.Parameter(time + torch.log(-torch.expm1(-time)))

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> GatedDeltaState:
        """Return zeros."""
        width = self.hidden_size // self.heads
        shape = (batch_size, self.heads, width, width)
        return GatedDeltaState(torch.zeros(shape, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: GatedDeltaState) -> tuple[Tensor, GatedDeltaState]:
        """Return the output and the next state for one input `[B, D]`."""
        q, k, v, output_gate, write, log_keep = self._mapped(x_t)
        memory = torch.exp(log_keep)[..., None, None] * state.memory
        # The delta rule: what the memory lacks of v is written under k.
        missing = v - (memory @ k.unsqueeze(-1)).squeeze(-1)  # B heads d
        memory = memory + (write.unsqueeze(-1) * missing).unsqueeze(-1) * k.unsqueeze(-2)
        read = (memory @ q.unsqueeze(-1)).squeeze(-1)
        return self._output(read, output_gate), GatedDeltaState(memory)

    def chunkwise(self) -> Form:
        """Return the form that carries the state from chunk to chunk.

        It solves one triangular system a chunk for its writes.
        """
        return self._window

    def _mapped(self, x: Tensor) -> Mapped:
        """Return what the maps give, with keys and queries of length 1."""
        hidden, heads = self.hidden_size, self.heads
        parts, gates = self.maps(x).tensor_split([4 * hidden], dim=-1)
        *qkv, output_gate = parts.chunk(4, dim=-1)
        q, k, v = (functional.silu(part).view(*part.shape[:-1], heads, -1) for part in qkv)
        if self.options.gated:
            write, a = gates.chunk(2, dim=-1)
            log_keep = -self.log_rate.exp() * functional.softplus(a + self.bias)
        else:
            write, log_keep = gates, torch.zeros_like(gates)
        return Mapped(
            _unit(q), _unit(k), v, functional.silu(output_gate), torch.sigmoid(write), log_keep
        )

    def _output(self, read: Tensor, output_gate: Tensor) -> Tensor:
        """Return the output [..., H] of what was read from each head, [..., heads, d]."""
        scale = torch.rsqrt(read.square().mean(-1, keepdim=True) + 1e-5)
        return (read * scale * self.norm).flatten(-2) * output_gate

    def _window(
        self, x: Tensor, state: State, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, GatedDeltaState]:
        """Run over a window, as `recurra.Cell.chunkwise` says.

        c is the length of a chunk, N how many there are. Within a chunk
        S_t = alpha..alpha S + sum u_j k_j^T, faded since j, where u_t is beta times what S_{t-1}
        lacks. All u solve one system that is lower triangular with ones on its diagonal: the WY
        form of the paper's section 3.
        """
        (memory,) = state
        steps = x.shape[1]
        mapped = self._mapped(x)
        length = chunks.length_of(steps)

        write = mapped.write if live is None else mapped.write * live.unsqueeze(-1)
        q, k, v = (chunks.cut(part, length) for part in mapped[:3])  # B heads N c d
        write = chunks.cut(write, length).unsqueeze(-1)  # B heads N c 1
        log_keep = chunks.marked(mapped.log_keep, reset, live)
        log_keep = chunks.cut(log_keep, length)  # B heads N c

        # How much of a write is left at step t, and how much of the memory before the chunk.
        fade = torch.exp(chunks.between(log_keep))  # B heads N c c
        into = torch.exp(log_keep.cumsum(-1)).unsqueeze(-1)  # B heads N c 1

        # The writes u are linear in the memory before the chunk, which is not known yet:
        # u = own - per_memory S^T. Both parts are solved for at once, of all chunks.
        system = write * fade * (k @ k.mT)  # only what is below its diagonal is read
        sides = write * torch.cat([v, into * k], dim=-1)
        solved = torch.linalg.solve_triangular(system, sides, upper=False, unitriangular=True)
        own, per_memory = solved.chunk(2, dim=-1)

        # The memory goes from chunk to chunk: kept in part, and written to.
        faded_keys = fade[..., -1, :, None] * k  # until the end of their chunk
        parts = (into[..., -1:, :], own, per_memory, faded_keys)
        by_chunk = zip(*(part.unbind(2) for part in parts), strict=True)
        memories, writes = [memory], []
        for chunk_keep, chunk_own, chunk_per_memory, chunk_keys in by_chunk:
            chunk_writes = chunk_own - chunk_per_memory @ memory.mT  # B heads c d
            memory = chunk_keep * memory + chunk_writes.mT @ chunk_keys
            writes.append(chunk_writes)
            memories.append(memory)

        # A step reads what its own chunk has written, and the memory before the chunk.
        inside = (fade * (q @ k.mT)) @ torch.stack(writes, 2)
        before = into * (q @ torch.stack(memories[:-1], 2).mT)
        read = chunks.join(inside + before, steps)
        return self._output(read, mapped.output_gate), GatedDeltaState(memory)


def _unit(x: Tensor) -> Tensor:
    """Return vectors of length 1 along the last axis; 0 stays 0, and its gradient is finite."""
    return x * torch.rsqrt(x.square().sum(-1, keepdim=True) + 1e-6)
