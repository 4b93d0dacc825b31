"""The cells that are scans: each equals a plain loop written from its paper, on every path, and
begins as it should.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal, localcontext
from typing import Any

import pytest
import torch
from equations import logistic, near
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional

from recurra import ScanCell
from recurra.engine import paths
from recurra.engine.choice import Choice
from recurra.engine.proof import disagreement
from recurra.engine.recurrence import map_state
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

BOUND = 1e-10


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


@pytest.fixture(autouse=True)
def _same_numbers():
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
kinds = pytest.mark.parametrize("name", KINDS)
each_path = pytest.mark.parametrize("path", ["scan", "eager"])
sizes = st.tuples(
    st.integers(1, 3),
    st.integers(1, 7),
    st.integers(1, 4),
    st.sampled_from([2, 4]),
    st.integers(0, 2**31),
)


def looped(kind: Kind, cell, x: Tensor, state) -> tuple[Tensor, Any]:
    """Return outputs and final state of rows by the paper's loop."""
    outputs, finals = [], []
    for row in range(x.shape[0]):
        after = [field[row] for field in state]
        ys = []
        for y, step in kind.loop(cell, x[row], *after):
            ys.append(y)
            after = list(step) if isinstance(step, tuple) else [step]
        outputs.append(torch.stack(ys) if ys else x.new_zeros(0, cell.output_size))
        finals.append(after)
    return torch.stack(outputs), type(state)._make(
        torch.stack(fields) for fields in zip(*finals, strict=True)
    )


def sequences(
    kind: Kind, cell, x: Tensor, state, reset: Tensor, lengths: Tensor
) -> tuple[Tensor, Any]:
    """Return outputs and final states by the paper's loop over each sequence of each row alone, cut
    to its length.
    """
    zero = cell.initial_state(1, device=x.device, dtype=x.dtype)
    rows, finals = [], []
    for row, length in enumerate(lengths.tolist()):
        cuts = [t for t in range(length) if reset[row, t]]
        after = map_state(lambda field, r=row: field[r : r + 1], state)
        parts = []
        for low, high in zip([0, *cuts], [*cuts, length], strict=True):
            part, after = looped(
                kind, cell, x[row : row + 1, low:high], after if low not in cuts else zero
            )
            parts.append(part)
        padding = x.new_zeros(1, x.shape[1] - length, cell.output_size)
        rows.append(torch.cat([*parts, padding], dim=1))
        finals.append(after)
    return torch.cat(rows), type(state)._make(
        torch.cat(fields) for fields in zip(*finals, strict=True)
    )


def score(y: Tensor, final: Any) -> Tensor:
    """Return a number in which every output and every part of the state counts otherwise."""
    parts = torch.cat([part.flatten() for part in (y, *final)])
    return (parts * torch.cos(parts + torch.arange(len(parts)))).sum()


def agree(cell, x: Tensor, start, found: tuple[Tensor, Any], wanted: tuple[Tensor, Any]) -> None:
    """Compare outputs, final states and the gradients of input, start and every weight."""
    assert type(found[1]) is type(wanted[1])
    names = ["the output", *[f"state {name}" for name in found[1]._fields]]
    for name, one, other in zip(names, [found[0], *found[1]], [wanted[0], *wanted[1]], strict=True):
        near(one, other, BOUND, name)
    asked = [x, *start, *cell.parameters()]
    labels = [
        "input",
        *[f"start {name}" for name in start._fields],
        *[name for name, _ in cell.named_parameters()],
    ]
    grads = [
        torch.autograd.grad(score(*both), asked, materialize_grads=True) for both in (found, wanted)
    ]
    for label, one, other in zip(labels, *grads, strict=True):
        near(one, other, BOUND, f"the gradient of {label}")


def drawn(cell, batch: int, steps: int, seed: int) -> tuple[Tensor, Any]:
    """Return inputs and a start that is not zero, both asking for gradients."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, steps, cell.input_size, generator=generator, dtype=torch.float64)
    zero = cell.initial_state(batch, device=x.device, dtype=x.dtype)

    def draw(field):
        return torch.randn(field.shape, generator=generator, dtype=x.dtype).requires_grad_()

    return x.requires_grad_(), map_state(draw, zero)


@kinds
@each_path
@settings(deadline=None, max_examples=8)
@given(size=sizes)
def test_it_is_the_loop_of_its_paper(name, path, size):
    """Outputs, final state and every gradient equal the equations, one step and one row after the
    other.
    """
    batch, steps, inputs, hidden, seed = size
    kind = KINDS[name]
    cell = kind.build(inputs, hidden, seed)
    cell.path = path
    x, start = drawn(cell, batch, steps, seed)
    agree(cell, x, start, cell(x, start), looped(kind, cell, x, start))


@kinds
@each_path
@settings(deadline=None, max_examples=8)
@given(size=sizes)
def test_resets_and_lengths_are_sequences_of_their_own(name, path, size):
    """Rows with beginnings inside and ends before the window equal their sequences alone; the
    padding is nan.
    """
    batch, steps, inputs, hidden, seed = size
    kind = KINDS[name]
    cell = kind.build(inputs, hidden, seed)
    cell.path = path
    x, start = drawn(cell, batch, steps, seed)
    generator = torch.Generator().manual_seed(seed)
    reset = torch.rand(batch, steps, generator=generator) < 0.3
    lengths = torch.randint(0, steps + 1, (batch,), generator=generator)
    outside = torch.arange(steps) >= lengths.unsqueeze(1)
    poisoned = torch.where(outside.unsqueeze(-1), torch.nan, x)
    found = cell(poisoned, start, reset=reset, lengths=lengths)
    agree(cell, x, start, found, sequences(kind, cell, x, start, reset, lengths))


@kinds
@pytest.mark.parametrize("inputs", [3, 4])
def test_the_scan_proves_itself_and_is_taken(name, inputs):
    """On its own proof the scan equals `step`, and so it is chosen."""
    cell = KINDS[name].build(inputs, 4)
    assert disagreement(cell, paths.PATHS["scan"].run) is None
    assert Choice.named(cell, "scan").path == "scan"


def test_a_wide_cell_proves_itself_with_as_many_heads():
    """Where the proof takes a narrower cell, its heads still divide its width."""
    cell = RGLRU(3, RGLRUOptions(hidden_size=384, heads=12))
    assert Choice.named(cell, "scan").path == "scan"


@kinds
@pytest.mark.parametrize(("inputs", "hidden"), [(3, 4), (6, 6), (1, 2)])
def test_the_number_of_weights_is_the_papers(name, inputs, hidden):
    """Counted by the formula of the paper's maps."""
    kind = KINDS[name]
    assert sum(
        weight.numel() for weight in kind.build(inputs, hidden).parameters()
    ) == kind.weights(inputs, hidden)


@kinds
def test_a_seed_fixes_the_start(name):
    """The same seed gives the same weights to the bit, another one others, all of them finite."""
    kind = KINDS[name]
    one, same, other = (kind.build(3, 4, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not any(torch.equal(one[key], other[key]) for key in one)
    assert all(weight.isfinite().all() for weight in one.values())


@kinds
def test_gradients_have_gradients(name):
    """Second derivatives on the scan equal those of the step loop."""
    kind = KINDS[name]
    cell = kind.build(2, 2)
    found = []
    for path in ("scan", "eager"):
        cell.path = path
        x, start = drawn(cell, 2, 4, 0)
        wanted = [x, *start, *cell.parameters()]
        first = torch.autograd.grad(score(*cell(x, start)), wanted, create_graph=True)
        found.append(
            torch.autograd.grad(
                sum(grad.sin().sum() for grad in first), wanted, materialize_grads=True
            )
        )
    for one, other in zip(*found, strict=True):
        near(one, other, BOUND, "a second derivative")


def test_g_is_continuous_and_positive():
    """The activation of minGRU and minLSTM: 0.5 at 0 from both sides, never below 0, x + 0.5
    above.
    """
    cell = MinGRU(1, MinGRUOptions(hidden_size=1)).double()
    with torch.no_grad():
        cell.gates.weight.copy_(torch.tensor([[0.0], [1.0]]))
        # The gate is open: the state is the candidate.
        cell.gates.bias.copy_(torch.tensor([100.0, 0.0]))
    x = torch.tensor([[[-50.0], [-1.0], [-1e-12], [0.0], [1e-12], [2.0]]], dtype=torch.float64)
    y, _ = cell(x)
    wanted = [0, 1 / (1 + math.e), 0.5, 0.5, 0.5, 2.5]
    torch.testing.assert_close(
        y.flatten(), torch.tensor(wanted, dtype=torch.float64), atol=1e-11, rtol=0
    )
    assert (y > 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("forget", "admit"), [(-200, -200), (-1000, -1000), (-800, -801), (300, -900), (-900, 300)]
)
def test_minlstm_divides_gates_that_are_too_small(dtype, forget, admit):
    """f / (f + i) is right where both are 0 in this precision: it is then exp(forget - admit) to
    1.
    """
    cell = MinLSTM(1, MinLSTMOptions(hidden_size=1, activation="identity")).to(dtype)
    with torch.no_grad():
        cell.gates.weight.zero_()
        cell.gates.bias.copy_(torch.tensor([forget, admit, 1.0]))
    start = cell.initial_state(1, device=torch.device("cpu"), dtype=dtype)._replace(
        h=torch.full((1, 1), 3.0, dtype=dtype)
    )
    y, _ = cell(torch.zeros(1, 1, 1, dtype=dtype), start)
    log_odds = min(forget, 0) - min(admit, 0)
    kept = 1 / (1 + math.exp(min(-log_odds, 700)))
    assert y.item() == pytest.approx(3 * kept + 1 * (1 - kept), rel=1e-6)
    grads = torch.autograd.grad(y.sum(), list(cell.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


def in_double(build: Callable[[], Any]) -> Any:
    """Return a cell whose start is drawn and kept in float64."""
    torch.set_default_dtype(torch.float64)
    try:
        return build()
    finally:
        torch.set_default_dtype(torch.float32)


def eigenvalues(cell: LRU) -> Tensor:
    """Return what the state is multiplied by, as complex numbers."""
    a, _ = cell.coefficients(torch.zeros(1, 1, cell.input_size, dtype=cell.D.dtype))
    return torch.view_as_complex(a.detach())


@pytest.mark.parametrize(
    ("r_min", "r_max", "max_phase"),
    [(0.0, 1.0, math.tau), (0.9, 0.999, math.pi / 10), (0.0, 1e-3, 0.1), (0.5, 0.6, 3.0)],
)
def test_lru_begins_uniform_on_its_ring(r_min, r_max, max_phase):
    """Moduli within [r_min, r_max], their squares evenly so; phases even up to max_phase."""
    options = LRUOptions(hidden_size=1024, r_min=r_min, r_max=r_max, max_phase=max_phase)
    found = eigenvalues(in_double(lambda: LRU(1, options)))
    modulus, phase = found.abs(), found.angle() % math.tau
    assert (
        (modulus >= r_min - 1e-12).all()
        and (modulus <= r_max + 1e-12).all()
        and (modulus < 1).all()
    )
    assert (phase <= max_phase + 1e-12).all()
    shares = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    area = (modulus**2 - r_min**2) / (r_max**2 - r_min**2)
    for even in (area, phase / max_phase):
        torch.testing.assert_close(torch.quantile(even, shares), shares, atol=0.06, rtol=0)


def test_lru_keeps_the_variance_of_its_input():
    """White inputs give h the variance of B x: the energy of the answer to one impulse is that of
    its first step.
    """
    cell = in_double(lambda: LRU(3, LRUOptions(hidden_size=8, r_min=0.3, r_max=0.9)))
    # One impulse a row, each in a feature of its own.
    x = torch.eye(3, dtype=torch.float64).unsqueeze(1)
    energy = torch.zeros(3, 8, dtype=torch.float64)
    with torch.no_grad():
        state = None
        for step in range(400):
            _, state = cell(x if step == 0 else torch.zeros_like(x), state)
            energy += state.h.square().sum(-1)
    wanted = cell.B.square().sum(1).mT  # D H: |B|^2
    torch.testing.assert_close(energy, wanted.detach(), atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("nu_log", [-30.0, 0.0, 30.0])
def test_lru_cannot_leave_the_unit_disc(nu_log):
    """Wherever training puts its parameters, no eigenvalue grows, and gradients stay finite."""
    cell = LRU(2, LRUOptions(hidden_size=4))
    with torch.no_grad():
        cell.nu_log.fill_(nu_log)
        cell.theta_log.copy_(torch.tensor([-30.0, 0.0, 1.0, 5.0]))
    assert (eigenvalues(cell).abs() <= 1 + 1e-6).all()
    y, _ = cell(torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(0)))
    grads = torch.autograd.grad(y.square().sum(), list(cell.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@pytest.mark.parametrize("seed", range(3))
def test_rglru_begins_with_long_memories(seed):
    """With its recurrence gate open, a unit keeps between 0.9 and 0.999 of its state a step, evenly
    drawn.
    """
    with seeded(seed):
        cell = in_double(lambda: RGLRU(1, RGLRUOptions(hidden_size=1024, heads=1024)))
    with torch.no_grad():
        cell.bias[0] = 200.0
        kept, _ = cell.coefficients(torch.zeros(1, 1, 1, dtype=torch.float64))
    assert (kept >= 0.9 - 1e-12).all() and (kept <= 0.999 + 1e-12).all()
    shares = torch.linspace(0.1, 0.9, 9, dtype=torch.float64)
    torch.testing.assert_close(
        torch.quantile((kept - 0.9).flatten() / 0.099, shares), shares, atol=0.06, rtol=0
    )


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), scale=st.floats(0.1, 5))
def test_rglru_neither_grows_nor_forgets_at_once(seed, scale):
    """The decay is within (0, 1], 1 where a closed gate rounds to it; its square and that of the
    input add up to 1.
    """
    cell = KINDS["rglru_heads"].build(3, 4, seed)
    x = scale * torch.randn(
        2, 5, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    )
    with torch.no_grad():
        a, b = cell.coefficients(x)
        u = cell.of_input(x)
        i = logistic(
            u @ torch.block_diag(*cell.weight[..., halves(cell.weight.shape[-1])[1]]) + cell.bias[1]
        )
    assert (a > 0).all() and (a <= 1).all()
    torch.testing.assert_close(a**2 + (b / (i * u)) ** 2, torch.ones_like(a), atol=1e-9, rtol=0)


def gate_by_hand(gate: float, decay: float) -> tuple[float, float, float]:
    """Return a, sqrt(1 - a^2) and its derivative by the recurrence gate's argument, by 80
    digits.
    """
    with localcontext() as context:
        context.prec = 80
        r = 1 / (1 + Decimal(-gate).exp())
        log_a = 8 * r * (1 / (1 + Decimal(-decay).exp())).ln()
        a = log_a.exp()
        root = (1 - a * a).sqrt()
        return float(a), float(root), float(-(a * a) * log_a * (1 - r) / root)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("gate", "decay"),
    [
        *[(gate, decay) for gate in (-40, -30, -15) for decay in (-20, -2)],
        (-40, 4),
        (-3, 4),
        (0, 4),
        (3, 12),
        (-20, 12),
    ],
)
def test_rglru_is_exact_where_it_forgets_almost_nothing(dtype, gate, decay):
    """sqrt(1 - a^2) and its gradient keep their digits as a comes near to 1, in float32 too."""
    cell = RGLRU(1, RGLRUOptions(hidden_size=1)).to(dtype)
    with torch.no_grad():
        for weight in (cell.of_input.weight, cell.weight, cell.bias):
            weight.zero_()
        cell.of_input.bias.fill_(1)
        cell.bias.copy_(torch.tensor([[gate], [200.0]]))
        cell.decay.fill_(decay)
    a, b = cell.coefficients(torch.zeros(1, 1, 1, dtype=dtype))
    (grad,) = torch.autograd.grad(b.sum(), cell.bias)
    wanted = gate_by_hand(gate, decay)
    for found, value in zip((a, b, grad[0]), wanted, strict=True):
        assert found.item() == pytest.approx(
            value, rel=1e-5 if dtype == torch.float32 else 1e-12, abs=0
        )


@pytest.mark.parametrize("gate", [-1000.0, -200.0, -90.0, 90.0, 200.0])
@pytest.mark.parametrize("decay", [-200.0, 0.0, 200.0])
def test_rglru_has_finite_gradients_at_saturated_gates(gate, decay):
    """A gate that is shut or open for good gives no nan, in first and second derivatives, in
    float32.
    """
    cell = RGLRU(2, RGLRUOptions(hidden_size=4, heads=2))
    with torch.no_grad():
        cell.bias[0] = gate
        cell.decay.fill_(decay)
    x = torch.randn(2, 20, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    y, _ = cell(x)
    wanted = [x, *cell.parameters()]
    first = torch.autograd.grad(y.square().sum(), wanted, create_graph=True)
    second = torch.autograd.grad(sum(grad.sum() for grad in first), wanted, materialize_grads=True)
    assert y.isfinite().all()
    assert all(grad.isfinite().all() for grad in (*first, *second))


def test_rglru_heads_see_their_own_part_alone():
    """A head's gates have no gradient from the other head's inputs."""
    cell = KINDS["rglru_heads"].build(4, 4)
    u = torch.randn(1, 1, 4, dtype=torch.float64, requires_grad=True)
    with torch.no_grad():  # what the gates see is the input itself
        cell.of_input.weight.copy_(torch.eye(4))
        cell.of_input.bias.zero_()
    for part in cell.coefficients(u):
        (grad,) = torch.autograd.grad(part[..., :2].sum(), u, retain_graph=True)
        assert grad[..., :2].all() and not grad[..., 2:].any()


def test_sru_takes_the_input_itself_where_widths_are_equal():
    """The highway has a map of its own only where it needs one."""
    assert not list(SRU(4, SRUOptions(hidden_size=4)).projection.parameters())
    assert SRU(3, SRUOptions(hidden_size=4)).projection.weight.shape == (4, 3)


@pytest.mark.parametrize("window", [1, 2, 5])
def test_qrnn_sees_as_many_steps_as_its_window(window):
    """The gates read `window` steps, no more and no later one."""
    cell = QRNN(1, QRNNOptions(hidden_size=3, window=window, pooling="f")).double()
    x = torch.randn(
        1, 9, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64, requires_grad=True
    )
    with torch.no_grad():
        cell.pooled.bias[3:] = -1000.0  # the forget gate is shut: the memory is the last candidate
        cell.pooled.weight[3:] = 0.0
    y, _ = cell(x)
    (grad,) = torch.autograd.grad(y[0, 6].sum(), x)
    seen = [t for t in range(9) if grad[0, t] != 0]
    assert seen == list(range(7 - window, 7))


@pytest.mark.parametrize(
    ("model", "table", "key"),
    [
        (
            RGLRUOptions,
            {"hidden_size": 10, "heads": 3},
            "heads: 3 heads do not divide a hidden_size of 10",
        ),
        (RGLRUOptions, {"heads": 0}, "heads"),
        (LRUOptions, {"r_min": 0.5, "r_max": 0.5}, "r_min: 0.5 must be below r_max, which is 0.5"),
        (LRUOptions, {"r_min": -0.1}, "r_min"),
        (LRUOptions, {"r_max": 1.01}, "r_max"),
        (LRUOptions, {"max_phase": 0.0}, "max_phase"),
        (LRUOptions, {"max_phase": 7.0}, "max_phase"),
        (QRNNOptions, {"window": 0}, "window"),
        (QRNNOptions, {"pooling": "of"}, "pooling"),
        (MinGRUOptions, {"activation": "relu"}, "activation"),
        (MinLSTMOptions, {"activation": "tanh"}, "activation"),
        (SRUOptions, {"activation": "g"}, "activation"),
    ],
)
def test_options_that_cannot_be_are_refused_by_name(model, table, key):
    """The message names the key at fault."""
    with pytest.raises(ValidationError, match=key):
        model(**table)
