"""The sLSTM: Beck et al. 2024, xLSTM: Extended long short-term memory, arXiv:2405.04517.

It is the paper's cell with a scalar memory.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from recurra import GatedCell
from recurra_cells.options import SLSTMOptions

NOTHING = -1e30
"""The logarithm of what the memory holds before the first step, for all that floats can tell."""


class SLSTMState(NamedTuple):
    """Four tensors, each [B, H].

    h: the output; c: the memory; n: what the gates have let in, in all; m: the logarithm of the
    scale of c and n.
    """

    h: Tensor
    c: Tensor
    n: Tensor
    m: Tensor


class SLSTM(GatedCell[SLSTMOptions]):
    """The LSTM with exponential gates and a memory that is an average.

    i, f, z, o = W x_t + R h_{t-1} + b
    c_t = F c_{t-1} + exp(i) * tanh(z), n_t = F n_{t-1} + exp(i), where F = sigmoid(f), or exp(f)
    h_t = sigmoid(o) * c_t / n_t; the output is h_t.

    So that no exponential overflows, the state holds c and n over exp(m): m_t = max(log F +
    m_{t-1}, i) is the greater exponent, and h does not depend on it. c and n begin at 0 and m at
    the logarithm of 0, so that n >= 1 from the first step on. R is block-diagonal with `heads`.
    What stands around the cell in the paper (convolution, normalisation of the heads, projections)
    is not part of it.
    """

    gates = 4
    State = SLSTMState

    def __init__(self, input_size: int, options: SLSTMOptions) -> None:
        super().__init__(input_size, options, heads=options.heads)
        assert self.bias_ih is not None
        hidden = self.hidden_size
        with torch.no_grad():
            # The forget gate is the second of i f z o.
            self.bias_ih[hidden : 2 * hidden] += options.forget_bias

    def initial_state(
        self, batch_size: int, *, device: torch.device, dtype: torch.dtype
    ) -> SLSTMState:
        """Return an empty memory."""
        empty: SLSTMState = super().initial_state(batch_size, device=device, dtype=dtype)
        return empty._replace(m=empty.m.fill_(NOTHING))

    def update(self, x: Tensor, h: Tensor, state: SLSTMState) -> SLSTMState:
        """Return the averages after one more value with its weight, over the new scale."""
        i, f, z, o = x + h
        log_old = state.m + (functional.logsigmoid(f) if self.options.forget == "sigmoid" else f)
        # The greater exponent is taken off both: neither exponential can overflow.
        m = torch.maximum(log_old, i)
        old, new = torch.exp(log_old - m), torch.exp(i - m)
        c, n = old * state.c + new * torch.tanh(z), old * state.n + new
        return SLSTMState(torch.sigmoid(o) * c / n, c, n, m)
