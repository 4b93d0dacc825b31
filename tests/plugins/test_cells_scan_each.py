"""Each scan by itself: where it begins, its gates at their ends, and what its options refuse."""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal, localcontext
from typing import Any

import pytest
import scan_papers
import torch
from equations import logistic
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scan_papers import KINDS, halves
from torch import Tensor

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

_same_numbers = pytest.fixture(autouse=True)(scan_papers.same_numbers)


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
