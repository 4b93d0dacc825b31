"""Compiled kernels in the life of a module: changed, copied, called by threads, compiled, let
go.
"""

from __future__ import annotations

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading
from typing import Any

import pytest
import torch
from conftest import REPOSITORY
from kernels import H, Shaking, equals_steps, loss, lstm, same, sized, trace, window
from torch import Tensor, nn

from recurra import CellOptions
from recurra.engine import eager, fused
from recurra.engine.build import Unbuildable
from recurra.engine.fused.window import slowly
from recurra.engine.recurrence import map_state
from recurra_cells.gru import GRU
from recurra_cells.indrnn import IndRNN
from recurra_cells.lstm import LSTM
from recurra_cells.mgu import MGU
from recurra_cells.options import (
    GRUOptions,
    IndRNNOptions,
    LSTMOptions,
    MGUOptions,
    RNNOptions,
    SLSTMOptions,
)  # fmt: skip
from recurra_cells.rnn import RNN
from recurra_cells.slstm import SLSTM


def test_weights_are_those_of_the_moment():
    """After a step of an optimiser, another state dict, another type and back, and a parameter put
    in its place.
    """
    cell = lstm()
    x, state = window(cell)
    optimizer = torch.optim.SGD(cell.parameters(), lr=0.5)
    loss(*fused.run(cell, x, state, None, None)).backward()
    optimizer.step()
    equals_steps(cell, x, state)
    cell.load_state_dict({name: t * 0.5 for name, t in cell.state_dict().items()})
    equals_steps(cell, x, state)
    cell.float()
    narrow, start = (
        x.detach().float().requires_grad_(),
        map_state(lambda f: f.detach().float().requires_grad_(), state),
    )
    equals_steps(cell, narrow, start, 1e-4)
    cell.double()
    equals_steps(cell, x, state)
    cell.weight_hh = nn.Parameter(torch.randn_like(cell.weight_hh))
    equals_steps(cell, x, state)
    cell.load_state_dict({name: t * 2 for name, t in cell.state_dict().items()}, assign=True)
    equals_steps(cell, x, state)


def test_a_cell_that_was_used_can_be_copied_pickled_and_saved():
    cell = lstm()
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    names = set(cell.state_dict())
    for twin in (copy.deepcopy(cell), pickle.loads(pickle.dumps(cell))):
        same(trace(twin, fused.run, x, state), want, 0.0)
        with torch.no_grad():
            twin.weight_hh.zero_()
        equals_steps(twin, x, state)
    assert set(cell.state_dict()) == names == set(lstm().state_dict())
    same(trace(cell, fused.run, x, state), want, 0.0)


@pytest.mark.filterwarnings("ignore")
def test_a_parametrised_weight_is_what_its_parts_make():
    cell = lstm()
    x, state = window(cell)
    trace(cell, fused.run, x, state)
    nn.utils.parametrizations.weight_norm(cell, "weight_hh")
    equals_steps(cell, x, state)
    nn.utils.parametrize.remove_parametrizations(cell, "weight_hh")
    equals_steps(cell, x, state)


def test_a_start_of_another_width_is_told_as_by_the_steps():
    """A kernel would read what lies behind it in memory."""
    cell = lstm()
    x, state = window(cell)
    narrow = type(state)(state.h.detach()[:, :3], state.c)
    for runner in (fused.run, eager.run):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            runner(cell, x, narrow, None, None)
    cell = sized(IndRNN, IndRNNOptions())
    x, state = window(cell)
    one = type(state)(state.h.detach()[:, :1].requires_grad_())  # the steps repeat it
    equals_steps(cell, x, one)


def test_a_weight_that_is_gone_or_of_another_shape_is_told_or_used_as_by_the_steps():
    cell = lstm()
    x, state = window(cell)
    trace(cell, fused.run, x, state)
    cell.bias_ih = None
    equals_steps(cell, x, state)
    cell.weight_hh = nn.Parameter(torch.randn(4 * H, H - 1, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        fused.run(cell, x, state, None, None)


def test_options_tell_kernels_apart():
    cells = [
        lstm(),
        lstm(coupled=True),
        lstm(projection=3),
        sized(LSTM, LSTMOptions(), hidden=7),
        sized(LSTM, LSTMOptions(), inputs=2),
    ]
    for cell in [*cells, *cells]:
        equals_steps(cell, *window(cell))


def test_modes_change_nothing():
    cell = lstm()
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    same(trace(cell.eval(), fused.run, x, state), want, 0.0)
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            y, final = fused.run(cell, x, state, None, None)
        assert not y.requires_grad
        assert torch.equal(y, want["y"]) and torch.equal(final[1], want["final 1"])
    same(trace(cell.train(), fused.run, x, state), want, 0.0)


def test_a_cell_first_used_under_inference_mode_learns_after():
    cell = sized(RNN, RNNOptions(), inputs=3, hidden=5)
    x, state = window(cell)
    with torch.inference_mode():
        fused.run(cell, x.detach(), map_state(Tensor.detach, state), None, None)
    equals_steps(cell, x, state)


def test_threads_of_python_may_call_at_once():
    cells = [lstm(), sized(GRU, GRUOptions())]
    given = [window(cell, seed=i) for i, cell in enumerate(cells)]
    want = [trace(cell, fused.run, *parts) for cell, parts in zip(cells, given, strict=True)]
    faults: list[BaseException] = []

    def work(index: int) -> None:
        try:
            for _ in range(20):
                same(trace(cells[index % 2], fused.run, *given[index % 2]), want[index % 2], 0.0)
        except BaseException as fault:
            faults.append(fault)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not faults, faults


def test_first_uses_in_threads_at_once_all_come_out_right():
    """Two kinds of cells that no other test compiles, each for the first time."""
    cells = [sized(MGU, MGUOptions(), inputs=3, hidden=5 + i) for i in range(2)]
    given = [window(cell) for cell in cells]
    found: dict[int, Any] = {}

    def work(index: int) -> None:
        try:
            found[index] = trace(cells[index], fused.run, *given[index])
        except BaseException as fault:
            found[index] = fault

    workers = [threading.Thread(target=work, args=(i,)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for index, cell in enumerate(cells):
        assert isinstance(found[index], dict), found[index]
        same(found[index], trace(cell, eager.run, *given[index]))


def test_kernels_made_in_threads_at_once_are_those_made_alone(monkeypatch):
    """Their text is the same, whoever else makes one."""
    cells = [
        lstm(layer_norm=True),
        lstm(peephole=True),
        sized(GRU, GRUOptions()),
        sized(SLSTM, SLSTMOptions()),
    ]
    texts: dict[int, str] = {}

    def library(text: str, of: str) -> Any:
        texts[threading.get_ident()] = text
        raise Unbuildable("nothing is compiled here")

    monkeypatch.setattr(fused, "library", library)

    def text(cell: Any) -> str:
        fused.KERNELS.of(cell, torch.float64)
        return texts[threading.get_ident()]

    found: list[str] = [""] * len(cells)

    def work(index: int) -> None:
        found[index] = text(cells[index])

    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    alone = [text(cell) for cell in cells]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(3):
            monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
            workers = [threading.Thread(target=work, args=(i,)) for i in range(len(cells))]
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            assert found == alone
    finally:
        sys.setswitchinterval(interval)


@pytest.mark.filterwarnings("ignore")
def test_transforms_of_torch_see_the_steps():
    """Those of torch.func, and gradients forward, which a kernel has not."""
    cell = lstm()
    x, state = window(cell)
    x, state = x.detach(), map_state(Tensor.detach, state)
    trace(cell, fused.run, x, state)

    def output(runner: Any) -> Any:
        return lambda x: runner(cell, x, state, None, None)[0]

    for transform in (
        lambda f: torch.func.grad(lambda x: f(x).sum())(x),
        lambda f: torch.func.vmap(f)(torch.stack((x, 2 * x))),
        lambda f: torch.func.jvp(f, (x,), (x,))[1],
    ):
        torch.testing.assert_close(
            transform(output(fused.run)), transform(output(eager.run)), atol=1e-11, rtol=1e-11
        )
    with torch.no_grad(), torch.autograd.forward_ad.dual_level():
        y = output(fused.run)(torch.autograd.forward_ad.make_dual(x, x))
        tangent = torch.autograd.forward_ad.unpack_dual(y).tangent
    torch.testing.assert_close(
        tangent, torch.func.jvp(output(eager.run), (x,), (x,))[1], atol=1e-11, rtol=1e-11
    )


@pytest.mark.slow  # to import torch's compiler takes as long as a hundred laws
def test_a_compiled_model_takes_the_cell():
    """torch's compiler traces the steps, which are the same."""
    cell = lstm()
    cell.path = "fused"
    x, state = window(cell)
    want = trace(cell, fused.run, x, state)
    compiled = torch.compile(cell, backend="aot_eager")
    y, final = compiled(x, state)
    torch.testing.assert_close(y, want["y"], atol=1e-11, rtol=1e-11)
    grad = torch.autograd.grad(loss(y, final), x)[0]
    torch.testing.assert_close(grad, want["gradient of x"], atol=1e-11, rtol=1e-11)


def resident() -> int:
    """Return how many bytes of memory this process holds."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
def test_calls_leave_no_memory_behind():
    cell = sized(LSTM, LSTMOptions(), hidden=32).float()
    x, state = window(cell, batch=16, steps=64, dtype=torch.float32)  # a window holds about 1 MB
    for _ in range(20):
        trace(cell, fused.run, x, state)
    gc.collect()
    before = resident()
    for _ in range(60):
        trace(cell, fused.run, x, state)
    gc.collect()
    assert resident() - before < 20e6


def test_a_first_use_leaves_torch_s_random_numbers_alone():
    """Also that of a cell whose step draws some."""
    cell = sized(RNN, RNNOptions(), inputs=2, hidden=9)
    x, state = window(cell)
    drawing = sized(Shaking, CellOptions(), inputs=2, hidden=9)
    torch.manual_seed(7)
    before = torch.get_rng_state()
    trace(cell, fused.run, x, state)
    assert fused.refusal(drawing)
    assert torch.equal(torch.get_rng_state(), before)


LIGHT = """
import sys
import recurra
assert "torch" not in sys.modules
import torch
from recurra.engine import fused
from recurra_cells.lstm import LSTM
from recurra_cells.options import LSTMOptions
known = set(sys.modules)
cell = LSTM(3, LSTMOptions(hidden_size=4))
x = torch.zeros(2, 3, 3)
y, _ = fused.run(cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None)
y.sum().backward()
heavy = ("torch._dynamo", "sympy", "torch._inductor")
print(*[name for name in heavy if name in sys.modules and name not in known])
"""


def test_a_first_use_imports_no_compiler_of_torch():
    """Those take seconds."""
    done = subprocess.run(
        [sys.executable, "-c", LIGHT], capture_output=True, text=True, cwd=REPOSITORY, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


def test_the_slow_form_of_a_loop_is_the_loop():
    """What gives gradients of gradients computes the same window, value by value."""
    cell = lstm()
    x, state = window(cell)
    seen: list[Any] = []

    def spy(plan: Any, window: Any, tensors: Any) -> Any:
        seen.append(slowly(plan, window, tensors))
        return seen[-1]

    original = fused.loop.__globals__["slowly"]
    fused.loop.__globals__["slowly"] = spy
    try:
        y, final = fused.run(cell, x, state, None, torch.tensor([5, 2, 0]))
        torch.autograd.grad(y.sum(), x, create_graph=True)
    finally:
        fused.loop.__globals__["slowly"] = original
    (found,) = seen
    for one, other in zip(found[:2], final, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
