"""Hochreiter & Schmidhuber 1997, Long short-term memory; the forget gate is of Gers et al. 2000."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import GatedCell, Native
from recurra_cells.options import LSTMOptions


class LSTMState(NamedTuple):
    """h: the output, [B, H], or [B, P] with a projection; c: the memory cell, [B, H]."""

    h: Tensor
    c: Tensor


class LSTM(GatedCell[LSTMOptions]):
    """Long short-term memory, with gates in torch's order.

    i, f, g, o = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(c_t); the output is h_t.

    `forget_bias` raises f at the start, so that memories last before the gate is learned
    (Jozefowicz et al. 2015, An empirical exploration of recurrent network architectures). Four
    variants, in any combination:

    `peephole`: i + p_i * c_{t-1}, f + p_f * c_{t-1} and o + p_o * c_t take the place of i, f and o
    (Gers & Schmidhuber 2000, Recurrent nets that time and count, doi:10.1109/IJCNN.2000.861302).
    `peepholes` holds p_i, p_f and p_o, which begin as biases do.

    `layer_norm`: the sum is LN(W_ih x_t) + LN(W_hh h_{t-1}), each over all gates together, and
    tanh(LN(c_t)) takes the place of tanh(c_t); each LN has a gain and a bias (Ba et al. 2016,
    arXiv:1607.06450). The biases of the first two are all the bias there is: the paper's further b
    would be a third of the same sum. Peepholes are added after it, and see c as it is. Of an input
    of one number, W_ih x_t keeps only the sign.

    `projection`: h_t = W_hr (sigmoid(o) * tanh(c_t)), P wide (Sak et al. 2014, arXiv:1402.1128).

    `coupled`: 1 - sigmoid(f) takes the place of sigmoid(i), and the gates are f, g, o (Greff et al.
    2015, arXiv:1503.04069, with the forget gate as the one that is learned).
    """

    gates = 4
    State = LSTMState
    recurrent_bias = True

    def __init__(self, input_size: int, options: LSTMOptions) -> None:
        gates = 3 if options.coupled else 4
        biases = 0 if options.layer_norm else 2
        output_size = options.projection or None
        super().__init__(input_size, options, gates=gates, biases=biases, output_size=output_size)

        hidden = self.hidden_size
        bound = 1 / math.sqrt(hidden)
        uniform = options.init == "uniform"
        self.weight_hr: nn.Parameter | None = None
        if options.projection:
            self.weight_hr = nn.Parameter(torch.empty(options.projection, hidden))
            if uniform:
                nn.init.uniform_(self.weight_hr, -bound, bound)
            else:
                nn.init.xavier_uniform_(self.weight_hr)

        self.peepholes: nn.Parameter | None = None
        if options.peephole:
            self.peepholes = nn.Parameter(torch.zeros(self.gates - 1, hidden))  # i f o, or f o
            if uniform:
                nn.init.uniform_(self.peepholes, -bound, bound)

        if options.layer_norm:
            self.norm_x = nn.LayerNorm(self.gates * hidden)
            self.norm_h = nn.LayerNorm(self.gates * hidden)
            self.norm_c = nn.LayerNorm(hidden)

        bias = self.norm_x.bias if options.layer_norm else self.bias_ih
        assert bias is not None
        with torch.no_grad():
            # The forget gate is the last but two: of i f g o, or of f g o.
            of_gates = bias.view(self.gates, hidden)
            of_gates[self.gates - 3] += options.forget_bias

    def update(self, x: Tensor, h: Tensor, state: LSTMState) -> LSTMState:
        """Return what the gates let into the memory, keep in it and show of it."""
        if self.options.layer_norm:
            x, h = _together(self.norm_x, x), _together(self.norm_h, h)
        *entry, g, o = x + h  # entry: i f, or f
        if self.peepholes is not None:
            entry = [gate + p * state.c for gate, p in zip(entry, self.peepholes[:-1], strict=True)]
        f = torch.sigmoid(entry[-1])
        i = 1 - f if self.options.coupled else torch.sigmoid(entry[0])
        c = f * state.c + i * torch.tanh(g)
        if self.peepholes is not None:
            o = o + self.peepholes[-1] * c
        hidden = torch.sigmoid(o) * torch.tanh(self.norm_c(c) if self.options.layer_norm else c)
        return LSTMState(
            hidden if self.weight_hr is None else functional.linear(hidden, self.weight_hr), c
        )

    def native(self) -> Native | None:
        """Return the map to torch's kernel, which knows none of the variants as called here."""
        options = self.options
        varied = options.peephole or options.layer_norm or options.projection or options.coupled
        if varied:
            return None
        return Native("lstm", self.maps())


def _together(norm: nn.LayerNorm, share: Tensor) -> Tensor:
    """Return a share of the gates, `[gates, B, H]`, normalised over all of them together."""
    gates, batch, hidden = share.shape
    normed: Tensor = norm(share.transpose(0, 1).reshape(batch, gates * hidden))
    return normed.view(batch, gates, hidden).transpose(0, 1)
