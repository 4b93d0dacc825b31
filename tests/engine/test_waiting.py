"""Threads that wait for each other: a short spin and then sleep, so that another process may have
their core.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from hand_made import build

from recurra.bench import busy, layers, records
from recurra.engine import choice, chunkwise, eager, fused, native
from recurra.engine.build import compilers, library
from recurra.engine.fused.emit_c import ground
from recurra.engine.load import Load, Look
from recurra.model.device import SMALL, sized
from recurra.spec.tables import Device

MARCH = """
static meeting_t place;
static int32_t count;
void arrive(int threads) { meet(&place, threads); }
/* How often a thread that comes out of a meeting does not find all the others there. */
long march(long rounds, int threads) {
    long faults = 0;
    for (long round = 1; round <= rounds; round++) {
        __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
        meet(&place, threads);
        faults += __atomic_load_n(&count, __ATOMIC_SEQ_CST) != round * threads;
        meet(&place, threads);
    }
    return faults;
}
"""
needs_compiler = pytest.mark.skipif(not compilers(), reason="these laws are about compiled code")


def meeting(variant: str = "") -> ctypes.CDLL:
    found = library(ground() + MARCH + variant)
    found.march.restype = ctypes.c_long
    found.march.argtypes = [ctypes.c_long, ctypes.c_int]
    return found


@needs_compiler
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_nobody_leaves_a_meeting_before_all_are_there(threads):
    """Whether they spin or sleep, also where there are more threads than cores."""
    made, faults = meeting(f"/* {threads} */"), []
    both = [
        threading.Thread(target=lambda: faults.append(made.march(300, threads)))
        for _ in range(threads)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert faults == [0] * threads


@needs_compiler
@pytest.mark.skipif(
    not sys.platform.startswith("linux"),
    reason="elsewhere a thread that waits gives way, and is awake",
)
def test_who_waits_long_does_not_work():
    """A thread that comes first uses no processor until the last one comes."""
    made, used = meeting("/* alone */"), []

    def wait():
        before = time.thread_time()
        made.arrive(2)
        used.append(time.thread_time() - before)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.3)
    assert thread.is_alive()
    made.arrive(2)
    thread.join()
    assert used[0] < 0.1


def first_import(code: str, **world: str) -> str:
    names = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME")
    bare = {
        name: value
        for name, value in os.environ.items()
        if name not in (*names, "THP_MEM_ALLOC_ENABLE")
    }
    told = (
        f"{code}; print({{name: os.environ.get(name) for name in {names}}}, 'torch' in sys.modules)"
    )
    line = [sys.executable, "-c", f"import os, sys; {told}"]
    return subprocess.run(line, env=bare | world, capture_output=True, text=True, check=True).stdout


def test_threads_of_torch_spin_briefly():
    """So it is set when recurra is first imported, which imports no torch: that reads it when it is
    imported.
    """
    said = first_import("import recurra")
    assert (
        "'GOMP_SPINCOUNT': '1000'" in said
        and "'KMP_BLOCKTIME': '1'" in said
        and said.endswith("False\n")
    )


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"])
def test_what_the_user_has_set_stays(name):
    """Whoever says how threads wait has the word, and nothing is set beside it."""
    said = first_import("import recurra", **{name: "7"})
    assert f"'{name}': '7'" in said and said.count("None") == 2


@pytest.mark.skipif(
    not Path("/sys/kernel/mm/transparent_hugepage").exists(), reason="the system has no huge pages"
)
def test_large_tensors_have_huge_pages_unless_the_user_says_otherwise():
    """Torch asks for them where a variable says so; without such pages in the system it would warn,
    and is not told.
    """
    told = "import recurra; print(os.environ['THP_MEM_ALLOC_ENABLE'])"
    assert first_import(told).startswith("1\n")
    assert first_import(told, THP_MEM_ALLOC_ENABLE="0").startswith("0\n")


def test_small_windows_run_on_one_thread():
    """The sizes alone decide, and what was there comes back, also after an error."""
    torch.set_num_threads(2)
    for work, threads in ((SMALL - 1, 1), (SMALL, 2)):
        with pytest.raises(KeyError), sized(Device(), work):
            assert torch.get_num_threads() == threads
            raise KeyError
        assert torch.get_num_threads() == 2


def test_threads_that_a_task_asks_for_are_its_own():
    """`device.threads` has the last word, however small a window is."""
    torch.set_num_threads(2)
    with sized(Device(threads=2), 1):
        assert torch.get_num_threads() == 2


def looks(*rows: tuple[float, float, float] | None):
    left = [None if row is None else Look(*row) for row in rows]
    return lambda: left.pop(0)


def test_what_others_use_is_all_work_but_ours():
    """Of 5 seconds of work in 4 seconds 3 were our own: half a core was theirs."""
    assert Load(looks((10.0, 100.0, 50.0), (14.0, 105.0, 53.0))).foreign() == 0.5
    # Ticks are coarse.
    assert Load(looks((10.0, 100.0, 50.0), (14.0, 102.0, 53.0))).foreign() == 0.0


@pytest.mark.parametrize(
    "rows", [(None, (1.0, 1.0, 1.0)), ((1.0, 1.0, 1.0), None), ((1.0, 1.0, 1.0),) * 2]
)
def test_what_cannot_be_seen_is_not_told(rows):
    """A system that does not tell, and no time between two looks, give no figure."""
    assert Load(looks(*rows)).foreign() is None


@pytest.mark.parametrize("text", [None, "", "cpu0 1 2\n", "cpu0 a b c d e f g h\n", "\xff"])
def test_a_system_that_tells_it_otherwise_does_no_harm(tmp_path, monkeypatch, text):
    """No file, a short one, or words in place of numbers: whatever it is, nothing is raised."""
    from recurra.engine import load

    monkeypatch.setattr(load, "STAT", tmp_path / "stat")
    if text is not None:
        (tmp_path / "stat").write_text(text, encoding="latin-1")
    found = load.look()
    assert found is None or found.busy == 0


@needs_compiler
@pytest.mark.parametrize(
    ("least", "woken", "threads"),
    [
        (8_000_000, 0, (1, 1)),
        (4_000, 4_000, (2, 1)),
        (4_000, 2_000, (2, 2)),
        (0, 0, (2, 2)),
    ],
)
def test_a_light_window_is_run_by_one_thread(monkeypatch, least, woken, threads):
    """Forward and back. Where the products before its loop are many and the loop is very light,
    they alone are shared; the threads that were there come back.
    """
    loop, seen = sys.modules["recurra.engine.fused.window"], []
    real = loop._call

    def call(compiled, reverse, window, *given, **more):
        seen.append((torch.get_num_threads(), window.threads))
        return real(compiled, reverse, window, *given, **more)

    monkeypatch.setattr(loop, "_call", call)
    monkeypatch.setattr(loop, "LIGHT", least)
    monkeypatch.setattr(loop, "WOKEN", woken)
    # some 2,500 multiply-adds in the loop and 4,800 before it
    cell, x = build("gru", 40, 4), torch.randn(2, 5, 40, dtype=torch.float64).requires_grad_()
    torch.set_num_threads(2)
    y, _ = fused.run(cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None)
    torch.autograd.grad(y.sum(), x)
    assert seen == [threads] * 2 and torch.get_num_threads() == 2


@needs_compiler
def test_products_of_a_table_are_counted_by_its_vectors(monkeypatch):
    """However many steps look them up: of few, a second thread would make next to nothing."""
    compiled = fused.KERNELS.of(build("gru", 40, 4), torch.float64)
    monkeypatch.setattr(sys.modules["recurra.engine.fused.window"], "LIGHT", 4_000)
    assert not compiled.light(2, 5) and compiled.light(2, 5, vectors=1)
    assert not compiled.light(200, 5, vectors=1), "the loop is heavy"


@pytest.mark.parametrize("flags", [False, True])
@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (2, 1), (40, 2)])
def test_torchs_own_kernel_is_run_by_one_thread_where_a_step_is_light(
    monkeypatch, batch, threads, flags
):
    """Threads share each step of it: where that is little, none waits for another; what the caller
    has set stays.
    """
    cell, seen = build("lstm", 4, 48), []
    real = native.KERNELS["lstm"]

    def kernel(*given):
        seen.append(torch.get_num_threads())
        return real(*given)

    monkeypatch.setitem(native.KERNELS, "lstm", kernel)
    x = torch.randn(batch, 6, 4, dtype=torch.float64)
    reset = torch.arange(6).expand(batch, 6) == 3 if flags else None
    torch.set_num_threads(2)
    native.run(cell, x, cell.initial_state(batch, device=x.device, dtype=x.dtype), reset, None)
    assert {*seen} == {threads} and torch.get_num_threads() == 2


class Noted(torch.autograd.Function):
    """Takes note of how many threads there are on the way back."""

    seen: list[int] = []

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        Noted.seen.append(torch.get_num_threads())
        return grad


@pytest.mark.parametrize("inner", [True, False])
@pytest.mark.parametrize(("batch", "threads"), [(2, 1), (40, 2)])
def test_the_way_back_of_torchs_own_kernel_has_as_many_threads(monkeypatch, batch, threads, inner):
    """What lies behind and before it in the network has the threads of the caller, and so has he
    after it.
    """
    cell, real = build("lstm", 4, 48), native.KERNELS["lstm"]

    def kernel(x, *given):
        y, *rest = real(Noted.apply(x), *given)
        return Noted.apply(y), *rest

    monkeypatch.setitem(native.KERNELS, "lstm", kernel)
    monkeypatch.setattr(Noted, "seen", [])
    torch.set_num_threads(2)
    x = torch.randn(batch, 6, 4, dtype=torch.float64, requires_grad=inner)
    start = cell.initial_state(batch, device=x.device, dtype=x.dtype)
    y, _ = native.run(cell, Noted.apply(x), start, None, None)
    Noted.apply(y).sum().backward()
    # Behind the kernel, at its end, at its beginning, and before it.
    assert Noted.seen == [2, threads, threads, 2][: 4 if inner else 2]
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn_tanh"])
@pytest.mark.parametrize(("steps", "width", "threads"), [(8, 16, 1), (2, 16, 2), (8, 500, 2)])
def test_the_loop_is_run_by_one_thread_where_a_step_is_light(
    monkeypatch, name, steps, width, threads
):
    """Forward and back; a few steps, and wide ones, have all threads of the caller."""
    cell, seen = build(name, 4, width), []
    real = type(cell).step

    def step(own, x_t, state):
        seen.append(torch.get_num_threads())
        y, after = real(own, Noted.apply(x_t), state)
        return y, after

    monkeypatch.setattr(type(cell), "step", step)
    monkeypatch.setattr(Noted, "seen", [])
    torch.set_num_threads(2)
    x = torch.randn(2, steps, 4, dtype=torch.float64, requires_grad=True)
    start = cell.initial_state(2, device=x.device, dtype=x.dtype)
    y, _ = eager.run(cell, x, start, None, None)
    y.sum().backward()
    assert {*seen, *Noted.seen} == {threads} and torch.get_num_threads() == 2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn", "mingru"])
@pytest.mark.parametrize("shape", ["S", "D"])
def test_two_threads_beside_two_burners_work_little_more_than_one(name, shape):
    """On each path, by the processor's time, which no neighbour lengthens: of threads that spin for
    each other it would be many times that of one.
    """
    window = records.SHAPES[shape]
    x = torch.randn(window.window).requires_grad_()
    for path in ("native", "fused", "scan", "eager"):
        cell = layers.built(name, window)
        if choice.Choice.named(cell, path).path != path:
            continue
        cell.path = path
        turn = layers.training(cell, x, torch.ones(window.window))

        def spent(turn=turn) -> float:
            turn()
            least = []
            for _ in range(3):
                begin = time.process_time()
                turn()
                least.append(time.process_time() - begin)
            return min(least)

        torch.set_num_threads(1)
        alone = spent()
        torch.set_num_threads(2)
        with busy.burning(), busy.burning():
            beside = spent()
        assert beside < 2.5 * alone + 0.02, (path, beside, alone)


@pytest.mark.parametrize(("light", "threads"), [(10**9, 1), (0, 2)])
def test_a_light_window_of_a_form_of_its_own_is_run_by_one_thread(monkeypatch, light, threads):
    """Forward and back; what the caller has set stays."""
    cell, there = layers.layer("mlstm", records.Shape(2, 6, 4)).double(), []
    form = cell.chunkwise()

    def noted(x, *given):
        there.append(torch.get_num_threads())
        return form(Noted.apply(x), *given)

    monkeypatch.setattr(Noted, "seen", [])
    monkeypatch.setattr(cell, "chunkwise", lambda: noted)
    monkeypatch.setattr(chunkwise, "LIGHT", light)
    x = torch.randn(2, 6, 4, dtype=torch.float64).requires_grad_()
    torch.set_num_threads(2)
    state = cell.initial_state(2, device=x.device, dtype=x.dtype)
    y, _ = chunkwise.run(cell, x, state, None, None)
    assert torch.get_num_threads() == 2
    torch.autograd.grad(y.sum(), x)
    assert there == Noted.seen == [threads] and torch.get_num_threads() == 2
