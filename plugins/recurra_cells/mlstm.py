"""The mLSTM: Beck et al. 2024, xLSTM: extended long short-term memory, arXiv:2405.04517.

It is the cell of the paper's section 2.3.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, Form, State
from recurra_cells import chunks
from recurra_cells.matrix_options import MLSTMOptions

DEEPEST = 30.0
"""Greatest m in exp(-m), the least denominator.

What stands below exp(-30) beside terms of size 1 is rounding.
"""


class MLSTMState(NamedTuple):
    """The matrix memory, its normaliser, and the logarithm of the scale of both.

    memory: [B, heads, d, d], rows of values, columns of keys; total: [B, heads, d];
    peak: [B, heads].
    """

    memory: Tensor
    total: Tensor
    peak: Tensor


class Mapped(NamedTuple):
    """What the maps give for inputs [..., D].

    q, k, v: [..., heads, d]; output_gate: [..., H]; log_write and log_keep: [..., heads].
    """

    q: Tensor
    k: Tensor
    v: Tensor
    output_gate: Tensor
    log_write: Tensor
    log_keep: Tensor


class MLSTM(Cell[MLSTMOptions]):
    """Long short-term memory with a matrix for a memory, and gates that read the input alone.

    q, v, o = W x_t + b, k = (W_k x_t + b_k) / sqrt(d); i, f = W x_t + b, one number a head
    C_t = sigmoid(f) C_{t-1} + exp(i) v k^T
    n_t = sigmoid(f) n_{t-1} + exp(i) k
    h_t = sigmoid(o) * C_t q / max(|n_t . q|, 1); the output is h_t, all heads side by side.

    C and n are held as `memory` = C exp(-m) and `total` = n exp(-m), with the `peak` m_t = max(log
    sigmoid(f) + m_{t-1}, i, 0), so that no gate overflows; h_t is the same for every m. The paper's
    m has no 0 in it, which a denominator of at least 1 makes needless to go below. Of its two
    forget gates this is the sigmoid; its bias begins between 3 and 6, as the authors' does. The
    norm, the convolution and the skip around the cell belong to the paper's block and are not here.
    """

    def __init__(self, input_size: int, options: MLSTMOptions) -> None:
        super().__init__(input_size, options)
        self.heads = options.heads
        self.maps = nn.Linear(input_size, 4 * self.hidden_size + 2 * self.heads)
        with torch.no_grad():
            self.maps.bias[-self.heads :] = torch.linspace(3, 6, self.heads)

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> MLSTMState:
        """Return zeros."""
        width = self.hidden_size // self.heads
        shape = (batch_size, self.heads)
        memory = torch.zeros(*shape, width, width, device=device, dtype=dtype)
        total = torch.zeros(*shape, width, device=device, dtype=dtype)
        peak = torch.zeros(shape, device=device, dtype=dtype)
        return MLSTMState(memory, total, peak)

    def step(self, x_t: Tensor, state: MLSTMState) -> tuple[Tensor, MLSTMState]:
        """Return the output and the next state for one input `[B, D]`."""
        q, k, v, output_gate, log_write, log_keep = self._mapped(x_t)
        peak = torch.maximum(log_keep + state.peak, log_write).clamp(min=0)
        keep = torch.exp(log_keep + state.peak - peak).unsqueeze(-1)  # B heads 1
        written = torch.exp(log_write - peak).unsqueeze(-1) * k  # B heads d
        memory = keep.unsqueeze(-1) * state.memory + v.unsqueeze(-1) * written.unsqueeze(-2)
        total = keep * state.total + written
        read = (memory @ q.unsqueeze(-1)).squeeze(-1)  # B heads d
        y = read / _at_least((total * q).sum(-1), peak).unsqueeze(-1)
        return output_gate * y.flatten(-2), MLSTMState(memory, total, peak)

    def chunkwise(self) -> Form:
        """Return the form that carries the state from chunk to chunk.

        Inside a chunk it reads as attention does.
        """
        return self._window

    def _mapped(self, x: Tensor) -> Mapped:
        """Return what the maps give, the gates of the memory as their logarithms."""
        hidden, heads = self.hidden_size, self.heads
        *parts, o, i, f = self.maps(x).split([hidden] * 4 + [heads] * 2, dim=-1)
        q, k, v = (part.view(*part.shape[:-1], heads, -1) for part in parts)
        return Mapped(
            q, k / math.sqrt(hidden // heads), v, torch.sigmoid(o), i, functional.logsigmoid(f)
        )

    def _window(
        self, x: Tensor, state: State, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, MLSTMState]:
        """Run over a window, as `recurra.Cell.chunkwise` says.

        c is the length of a chunk, N how many there are.
        """
        memory, total, start_peak = state
        steps = x.shape[1]
        mapped = self._mapped(x)
        length = chunks.length_of(steps)

        q, k, v = (chunks.cut(part, length) for part in mapped[:3])  # B heads N c d
        # The total is the memory of one more value, which is always 1.
        v = functional.pad(v, (0, 1), value=1.0)

        log_write, floor = _writes(mapped.log_write, reset, live)
        log_write = chunks.cut(log_write, length, -torch.inf)  # B heads N c
        floor = chunks.cut(floor, length, -torch.inf)
        log_keep = chunks.marked(mapped.log_keep, reset, live)
        log_keep = chunks.cut(log_keep, length)
        span = chunks.between(log_keep)  # B heads N c c
        since = log_keep.cumsum(-1)  # B heads N c

        # The peaks come first, for all that is summed after them is divided by their exponentials.
        chunk_top = (span[..., -1, :] + floor).amax(-1)
        peak = _peaks(since[..., -1], chunk_top, start_peak)  # B heads N+1

        # What each chunk keeps of the memory before it, and what all its steps write together.
        keep = torch.exp(since[..., -1] + peak[..., :-1] - peak[..., 1:])
        weight = torch.exp(span[..., -1, :] + log_write - peak[..., 1:, None])
        gain = v.mT @ (weight.unsqueeze(-1) * k)  # B heads N d+1 d

        whole = torch.cat([memory, total.unsqueeze(-2)], dim=-2)  # B heads d+1 d
        memories = [whole]
        by_chunk = zip(keep[..., None, None].unbind(2), gain.unbind(2), strict=True)
        for chunk_keep, written in by_chunk:
            whole = chunk_keep * whole + written
            memories.append(whole)

        starts = torch.stack(memories[:-1], dim=2)
        log_inside = span + log_write.unsqueeze(-2)
        log_start = since + peak[..., :-1, None]
        y = _read(q, k, v, starts, log_inside, log_start)
        after = MLSTMState(whole[..., :-1, :], whole[..., -1, :], peak[..., -1])
        return mapped.output_gate * chunks.join(y, steps).flatten(2), after


def _read(
    q: Tensor, k: Tensor, v: Tensor, starts: Tensor, log_inside: Tensor, log_start: Tensor
) -> Tensor:
    """Return C q / max(|n . q|, 1), `[B, heads, N, c, d]`, with n as the last row of C.

    `log_inside`, `[..., t, j]`, is the logarithm of how much step t sees of what step j of its
    chunk has written, and `log_start`, `[..., t]`, of the memory before the chunk. What is read
    does not depend on the peak, nor its gradient.
    """
    peak = torch.maximum(log_inside.amax(-1), log_start).clamp(min=0).detach()
    inside = torch.exp(log_inside - peak.unsqueeze(-1))
    read = (inside * (q @ k.mT)) @ v
    start = torch.exp(log_start - peak).unsqueeze(-1)
    read = read + start * (q @ starts.mT)
    return read[..., :-1] / _at_least(read[..., -1], peak).unsqueeze(-1)


def _at_least(scale: Tensor, peak: Tensor) -> Tensor:
    """Return max(|n . q|, 1), both times exp(-m)."""
    return torch.maximum(scale.abs(), torch.exp(-peak.clamp(max=DEEPEST)))


def _writes(log_write: Tensor, reset: Tensor | None, live: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the logarithm of what each step writes, and how high the peak then is at least.

    Both are -inf where a row is not live.
    """
    floor = log_write.clamp(min=0)
    if live is None:
        return log_write, floor

    idle = ~live.unsqueeze(-1)
    log_write = log_write.masked_fill(idle, -torch.inf)
    floor = floor.masked_fill(idle, -torch.inf)
    if reset is not None:
        # A row may be reset where it is not live: its peak is then that of an empty memory.
        floor = floor.masked_fill(idle & reset.unsqueeze(-1), 0)
    return log_write, floor


def _peaks(log_keep: Tensor, tops: Tensor, start: Tensor) -> Tensor:
    """Return the peak before every chunk and after the last, `[B, heads, N+1]`.

    `log_keep` and `tops`, `[B, heads, N]`, are what chunks keep of a peak, and their own.
    """
    peak = start
    peaks = [peak]
    for keep, top in zip(log_keep.unbind(-1), tops.unbind(-1), strict=True):
        peak = torch.maximum(keep + peak, top)
        peaks.append(peak)
    return torch.stack(peaks, -1)
