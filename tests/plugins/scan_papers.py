"""Each cell that is a scan as the plain loop of its paper, with the number of its weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from equations import logistic
from torch import Tensor
from torch.nn import functional

from recurra import ScanCell
from recurra.randomness import seeded
from recurra_cells.lru import LRU
from recurra_cells.mingru import MinGRU
from recurra_cells.minlstm import MinLSTM
from recurra_cells.qrnn import QRNN
from recurra_cells.rglru import RGLRU
from recurra_cells.scan_options import (
    LRUOptions,
    MinGRUOptions,
    MinLSTMOptions,
    QRNNOptions,
    RGLRUOptions,
    SRUOptions,
)
from recurra_cells.sru import SRU


def g(value: Tensor) -> Tensor:
    """Return the function of Feng et al., appendix B: x + 0.5 where x >= 0, sigmoid(x)
    otherwise.
    """
    return torch.relu(value) + logistic(torch.clamp(value, max=0))


def blocks(value: Tensor, count: int) -> list[Tensor]:
    """Return the equal parts of a vector."""
    return [
        value[index * len(value) // count : (index + 1) * len(value) // count]
        for index in range(count)
    ]


def mingru(cell, xs, h):
    """Give output and state, step by step, of one row."""
    W, b, act = (
        cell.gates.weight,
        cell.gates.bias,
        {"g": g, "identity": lambda v: v}[cell.options.activation],
    )
    for x in xs:
        z, candidate = blocks(W @ x + b, 2)
        h = (1 - logistic(z)) * h + logistic(z) * act(candidate)
        yield h, h


def minlstm(cell, xs, h):
    """Give output and state, step by step, of one row."""
    W, b, act = (
        cell.gates.weight,
        cell.gates.bias,
        {"g": g, "identity": lambda v: v}[cell.options.activation],
    )
    for x in xs:
        f, i, candidate = blocks(W @ x + b, 3)
        f, i = logistic(f), logistic(i)
        h = f / (f + i) * h + i / (f + i) * act(candidate)
        yield h, h


def lru(cell, xs, h):
    """Give output and state, step by step, of one row; in complex numbers."""
    eigenvalues = torch.exp(torch.complex(-torch.exp(cell.nu_log), torch.exp(cell.theta_log)))
    B, C = torch.complex(cell.B[:, 0], cell.B[:, 1]), torch.complex(cell.C[..., 0], cell.C[..., 1])
    h = torch.complex(h[:, 0], h[:, 1])
    for x in xs:
        h = eigenvalues * h + torch.exp(cell.gamma_log) * (B @ x.to(torch.complex128))
        yield (C @ h).real + cell.D @ x, torch.view_as_real(h)


def rglru(cell, xs, h):
    """Give output and state, step by step, of one row."""
    maps = [
        torch.block_diag(*[head[:, part].mT for head in cell.weight])
        for part in halves(cell.weight.shape[-1])
    ]
    for x in xs:
        u = cell.of_input.weight @ x + cell.of_input.bias
        r, i = (logistic(W @ u + b) for W, b in zip(maps, cell.bias, strict=True))
        a = logistic(cell.decay) ** (8 * r)
        h = a * h + torch.sqrt(1 - a**2) * (i * u)
        yield h, h


def halves(size):
    return slice(0, size // 2), slice(size // 2, size)


def sru(cell, xs, c):
    """Give output and state, step by step, of one row."""
    act = {"tanh": torch.tanh, "relu": torch.relu, "identity": lambda v: v}[cell.options.activation]
    for x in xs:
        f = logistic(cell.forget.weight @ x + cell.forget.bias)
        r = logistic(cell.highway.weight @ x + cell.highway.bias)
        c = f * c + (1 - f) * (cell.candidate.weight @ x)
        skipped = x if cell.input_size == cell.hidden_size else cell.projection.weight @ x
        yield r * act(c) + (1 - r) * skipped, c


def qrnn(cell, xs, c, tail=None):
    """Give output and state, step by step, of one row; the gates are torch's convolution over the
    whole of it.
    """
    if not len(xs):
        return  # torch refuses a series that is shorter than the window
    window, pooling = cell.options.window, cell.options.pooling
    past = xs[:0] if tail is None else tail
    series = torch.cat([past, xs]).mT.unsqueeze(0)  # 1 D k+T

    def convolved(map_):
        # Oldest first, as torch's kernels.
        weight = map_.weight.view(map_.out_features, window, -1).transpose(1, 2)
        return functional.conv1d(series, weight, map_.bias)[0].mT

    parts = [blocks(step, 3 if pooling == "ifo" else 2) for step in convolved(cell.pooled)]
    o = (
        logistic(convolved(cell.output))
        if "o" in pooling
        else torch.ones(len(xs), 1, dtype=xs.dtype)
    )
    everything = torch.cat([past, xs])
    for t, (z, f, *i) in enumerate(parts):
        f = logistic(f)
        c = f * c + (logistic(i[0]) if pooling == "ifo" else 1 - f) * torch.tanh(z)
        yield o[t] * c, (c, everything[t + 1 : t + window]) if tail is not None else c


def same_numbers():
    """Draw the weights of every cell that is built here from one seed."""
    with seeded(0):
        yield


@dataclass
class Kind:
    """A cell with the loop that it must equal and the number of its weights, by D and H."""

    cell: type[ScanCell]
    options: type
    loop: Callable[..., Any]
    weights: Callable[[int, int], int]
    fixed: dict[str, Any]

    def build(self, inputs: int, hidden: int, seed: int = 0, **options: Any) -> Any:
        """Return the cell, the same for the same seed, with every weight off its start."""
        with seeded(seed):
            cell = self.cell(
                inputs, self.options(hidden_size=hidden, **{**self.fixed, **options})
            ).double()
            with torch.no_grad():
                for weight in cell.parameters():
                    weight += 0.3 * torch.randn_like(weight)
        return cell


KINDS = {
    "mingru": Kind(MinGRU, MinGRUOptions, mingru, lambda D, H: 2 * H * (D + 1), {}),
    "mingru_identity": Kind(
        MinGRU, MinGRUOptions, mingru, lambda D, H: 2 * H * (D + 1), {"activation": "identity"}
    ),
    "minlstm": Kind(MinLSTM, MinLSTMOptions, minlstm, lambda D, H: 3 * H * (D + 1), {}),
    "minlstm_identity": Kind(
        MinLSTM, MinLSTMOptions, minlstm, lambda D, H: 3 * H * (D + 1), {"activation": "identity"}
    ),
    "lru": Kind(LRU, LRUOptions, lru, lambda D, H: 3 * H + 2 * H * D + 2 * H * H + H * D, {}),
    "rglru": Kind(RGLRU, RGLRUOptions, rglru, lambda D, H: H * (D + 1) + 2 * H * (H + 1) + H, {}),
    "rglru_heads": Kind(
        RGLRU,
        RGLRUOptions,
        rglru,
        lambda D, H: H * (D + 1) + 2 * H * (H // 2 + 1) + H,
        {"heads": 2},
    ),
    "sru": Kind(
        SRU, SRUOptions, sru, lambda D, H: 3 * H * D + 2 * H + (H * D if D != H else 0), {}
    ),
    "sru_relu": Kind(
        SRU,
        SRUOptions,
        sru,
        lambda D, H: 3 * H * D + 2 * H + (H * D if D != H else 0),
        {"activation": "relu"},
    ),
    "sru_identity": Kind(
        SRU,
        SRUOptions,
        sru,
        lambda D, H: 3 * H * D + 2 * H + (H * D if D != H else 0),
        {"activation": "identity"},
    ),
    "qrnn": Kind(QRNN, QRNNOptions, qrnn, lambda D, H: 3 * H * (2 * D + 1), {}),
    "qrnn_f": Kind(
        QRNN, QRNNOptions, qrnn, lambda D, H: 2 * H * (3 * D + 1), {"pooling": "f", "window": 3}
    ),
    "qrnn_ifo": Kind(
        QRNN, QRNNOptions, qrnn, lambda D, H: 4 * H * (4 * D + 1), {"pooling": "ifo", "window": 4}
    ),
    "qrnn_one": Kind(QRNN, QRNNOptions, qrnn, lambda D, H: 3 * H * (D + 1), {"window": 1}),
}
