"""The linear recurrence as one pass equals its definition."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import NamedTuple
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from recurra.engine import onepass
from recurra.engine.scan import linear_scan

laws = settings(deadline=None, max_examples=30)
TYPES = {"real": torch.float64, "complex": torch.complex128}
every_type = pytest.mark.parametrize("dtype", TYPES.values(), ids=TYPES)
seeds = st.integers(0, 2**31)
shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.lists(st.integers(1, 3), max_size=2))


class Case(NamedTuple):
    a: Tensor
    b: Tensor
    start: Tensor
    fresh: Tensor

    def flags(self, seed: int) -> Tensor:
        """Return where sequences begin, `[B, T, ...]`: at about a third of the steps."""
        batch, steps, *rest = self.a.shape
        some = torch.rand(batch, steps, generator=torch.Generator().manual_seed(seed)) < 0.3
        return some.view(batch, steps, *[1] * len(rest))


def draw(shape: tuple[int, int, list[int]], seed: int, dtype: torch.dtype) -> Case:
    """Return coefficients and a start that ask for gradients; about a third of the decays is 0, and
    a third 1.
    """
    batch, steps, rest = shape
    generator = torch.Generator().manual_seed(seed)
    a, b = (torch.randn(batch, steps, *rest, generator=generator, dtype=dtype) for _ in range(2))
    start, fresh = (torch.randn(batch, *rest, generator=generator, dtype=dtype) for _ in range(2))
    lot = torch.randint(0, 3, a.shape, generator=generator)
    a = torch.where(lot == 0, torch.zeros_like(a), torch.where(lot == 1, torch.ones_like(a), a))
    return Case(*(part.requires_grad_() for part in (a, b, start, fresh)))


def brute(
    a: Tensor, b: Tensor, start: Tensor, anew: Tensor | None = None, fresh: Tensor | None = None
) -> Tensor:
    """Return the states by the definition, one by one."""
    h, states = start, []
    for t in range(a.shape[1]):
        h = a[:, t] * (h if anew is None else torch.where(anew[:, t], fresh, h)) + b[:, t]
        states.append(h)
    return torch.stack(states, dim=1)


def score(h: Tensor) -> Tensor:
    """Return a number in which every state counts otherwise."""
    parts = torch.view_as_real(h) if h.is_complex() else h
    return (parts * torch.cos(parts + torch.arange(parts.numel()).view(parts.shape))).sum()


def close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-10, rtol=1e-10)


@every_type
@laws
@given(shape=shapes, seed=seeds, begins=st.booleans())
def test_the_scan_is_the_loop(dtype, shape, seed, begins):
    """States, gradients and gradients of gradients equal those of the definition, with decays of
    exactly 0 and 1.

    With and without sequences that begin inside the window.
    """
    case = draw(shape, seed, dtype)
    flags = (case.flags(seed), case.fresh) if begins else ()
    found, wanted = linear_scan(*case[:3], *flags), brute(*case[:3], *flags)
    close(found, wanted)
    first = [
        torch.autograd.grad(score(h), case, create_graph=True, materialize_grads=True)
        for h in (found, wanted)
    ]
    for one, other in zip(*first, strict=True):
        close(one, other)
    second = [
        torch.autograd.grad(sum(score(grad) for grad in grads), case, materialize_grads=True)
        for grads in first
    ]
    for one, other in zip(*second, strict=True):
        close(one, other)


@every_type
@pytest.mark.parametrize("steps", [1, 3])
def test_torch_finds_the_same_gradients_by_differences(dtype, steps):
    """torch.autograd's own checks, first and second order."""
    case = draw((2, steps, [1]), 3, dtype)
    anew = case.flags(1)
    assert torch.autograd.gradcheck(linear_scan, case[:3])
    assert torch.autograd.gradgradcheck(linear_scan, case[:3])
    begun = (*case[:3], anew, case.fresh)
    assert torch.autograd.gradcheck(linear_scan, begun)
    assert torch.autograd.gradgradcheck(linear_scan, begun)


@every_type
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_sequence_is_clean_though_the_one_beside_it_is_not(dtype, poison):
    """A nan or an infinity reaches neither the states of the next sequence nor the gradients of the
    one before.
    """
    case = draw((1, 6, [2]), 0, dtype)
    anew = torch.zeros(1, 6, 1, dtype=torch.bool)
    anew[0, 2] = anew[0, 4] = True
    b = case.b.detach().clone()
    b[0, 3] = poison
    b.requires_grad_()
    found, wanted = (
        linear_scan(case.a, b, case.start, anew, case.fresh),
        brute(case.a, b, case.start, anew, case.fresh),
    )
    assert not found[:, 3].isfinite().any()
    assert found[:, [0, 1, 2, 4, 5]].isfinite().all()
    close(found[:, [0, 1, 4, 5]], wanted[:, [0, 1, 4, 5]])
    of_last = [
        torch.autograd.grad(score(h[:, 4:]), [case.a, b], materialize_grads=True)
        for h in (found, wanted)
    ]
    for one, other in zip(*of_last, strict=True):
        assert one.isfinite().all()
        close(one, other)
    again = linear_scan(case.a, b, case.start, anew, case.fresh)
    for grad in torch.autograd.grad(score(again), [case.a, b]):
        assert grad[:, [0, 1, 4, 5]].isfinite().all()


@every_type
@laws
@given(shape=shapes, seed=seeds, data=st.data())
def test_two_parts_with_the_state_carried_are_the_whole(dtype, shape, seed, data):
    """A cut anywhere changes no bit of the states, and no gradient."""
    case = draw(shape, seed, dtype)[:3]
    cut = data.draw(st.integers(1, shape[1]))
    a, b, start = case
    first = linear_scan(a[:, :cut], b[:, :cut], start)
    parts = [first]
    if cut < shape[1]:
        parts.append(linear_scan(a[:, cut:], b[:, cut:], first[:, -1]))
    whole = linear_scan(*case)
    assert torch.equal(torch.cat(parts, dim=1), whole)
    grads = [torch.autograd.grad(score(h), case) for h in (torch.cat(parts, dim=1), whole)]
    for one, other in zip(*grads, strict=True):
        close(one, other)


def test_a_decay_of_zero_forgets_and_a_decay_of_one_keeps_for_ever():
    """After ten thousand steps of decay 1 the start is there to the bit, and its gradient is 1; a 0
    ends both.
    """
    steps = 10_000
    a, b = (
        torch.ones(1, steps, 1, dtype=torch.float64),
        torch.zeros(1, steps, 1, dtype=torch.float64),
    )
    start = torch.tensor([[0.1]], dtype=torch.float64, requires_grad=True)
    h = linear_scan(a, b, start)
    assert (h == 0.1).all()
    assert torch.autograd.grad(h[0, -1, 0], start)[0].item() == 1
    a[0, 7] = 0
    h = linear_scan(a, b, start)
    assert (h[0, :7] == 0.1).all() and not h[0, 7:].any()
    assert torch.autograd.grad(h[0, -1, 0], start)[0].item() == 0


@every_type
def test_what_is_given_is_not_changed_and_may_lie_anywhere(dtype):
    """Coefficients are read and never written; expanded and transposed ones equal their copies."""
    case = draw((3, 5, [4]), 1, dtype)
    anew = case.flags(0)
    given_in = [*case, anew]
    copies = [part.detach().clone() for part in given_in]
    score(linear_scan(case.a, case.b, case.start, anew, case.fresh)).backward()
    assert all(torch.equal(part, copy) for part, copy in zip(given_in, copies, strict=True))
    a = case.a[:1, :1].expand(3, 5, 4)
    b = case.b.transpose(0, 1).contiguous().transpose(0, 1)
    start = case.start.mT.contiguous().mT
    found, wanted = linear_scan(a, b, start), brute(a, b, start)
    close(found, wanted)
    for one, other in zip(
        *[torch.autograd.grad(score(h), case[:3]) for h in (found, wanted)], strict=True
    ):
        close(one, other)


def test_the_states_are_as_wide_as_the_start():
    """Narrow coefficients are widened before the first product, so that rounding does not grow with
    the steps.
    """
    case = draw((2, 6, [3]), 2, torch.float64)
    a, b = (part.detach().to(torch.bfloat16).requires_grad_() for part in case[:2])
    h = linear_scan(a, b, case.start)
    assert h.dtype == torch.float64
    close(h, brute(a.double(), b.double(), case.start))
    grads = torch.autograd.grad(score(h), (a, b, case.start))
    assert [grad.dtype for grad in grads] == [torch.bfloat16, torch.bfloat16, torch.float64]


@contextmanager
def kernels(used: bool = True):
    """Tell at the end whether kernels were called, forward or back; with `used` false there are
    none.
    """
    with (
        mock.patch.object(
            onepass, "possible", onepass.possible if used else lambda *tensors: False
        ),
        mock.patch.object(onepass, "forward", wraps=onepass.forward) as forward,
        mock.patch.object(onepass, "backward", wraps=onepass.backward) as backward,
    ):
        yield forward, backward


compiled = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="without a compiler there are no kernels",
)
WIDE = {torch.float32: 1e-4, torch.complex64: 1e-4, torch.float64: 1e-12, torch.complex128: 1e-12}
every_width = pytest.mark.parametrize("dtype", WIDE, ids=str)
LAYOUTS = {
    "whole": lambda a: a,
    "one for all steps": lambda a: a[:, :1],
    "one for all rows": lambda a: a[:1],
    "one for all": lambda a: a[0, 0],
    "one for all channels": lambda a: (
        a.flatten(2)[..., :1].view(*a.shape[:2], *[1] * (a.dim() - 2)) if a.dim() > 2 else a
    ),
    "steps apart": lambda a: a.repeat_interleave(2, 1)[:, ::2],
    "channels apart": lambda a: a.repeat_interleave(2, -1)[..., ::2],
    "conjugate": lambda a: a.conj(),
    "negative": lambda a: torch._neg_view(a),
}


@compiled
@every_width
@settings(deadline=None, max_examples=60)
@given(
    shape=st.tuples(
        st.integers(1, 5),
        st.integers(1, 12),
        st.sampled_from([[], [1], [3], [8], [17], [2, 5], [33], [2, 64]]),
    ),
    seed=seeds,
    begins=st.booleans(),
    layout=st.sampled_from(list(LAYOUTS)),
    threads=st.integers(1, 3),
    learned=st.booleans(),
)
def test_the_kernels_are_the_loop(dtype, shape, seed, begins, layout, threads, learned):
    """Forward and every gradient, in each type, however a lies in memory, on any number of
    threads.
    """
    case = draw(shape, seed, dtype)
    flags = (case.flags(seed), case.fresh) if begins else ()
    wanted_of = [
        case.b,
        case.start,
        *([case.fresh] if begins else []),
        *([case.a] if learned else []),
    ]
    weights = torch.randn(case.b.shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    torch.set_num_threads(threads)
    found = []
    for used in (True, False):
        with kernels(used) as (forward, backward), mock.patch.object(onepass, "LIGHT", 0):
            a = LAYOUTS[layout](case.a if learned else case.a.detach())
            h = linear_scan(a, case.b, case.start, *flags)
            found.append([h, *torch.autograd.grad(h, wanted_of, weights, materialize_grads=True)])
            assert forward.called == backward.called == used
    for one, other in zip(*found, strict=True):
        assert one.shape == other.shape and one.dtype == other.dtype
        scale = max(1.0, other.detach().abs().max().item())
        torch.testing.assert_close(one, other, atol=WIDE[dtype] * scale, rtol=0)


@compiled
@every_width
@pytest.mark.parametrize("batch", [1, 3])
def test_bits_depend_neither_on_threads_nor_on_the_place_of_a_channel(dtype, batch):
    """Each channel alone, and all on one thread or more, give the same bits, gradients as well."""
    case = draw((batch, 9, [45]), 4, dtype)

    def run(channels: slice, threads: int) -> list[Tensor]:
        torch.set_num_threads(threads)
        given_in = [part[..., channels].detach().clone().requires_grad_() for part in case]
        flags = case.flags(3)
        h = linear_scan(*given_in[:3], flags, given_in[3])
        return [h, *torch.autograd.grad(h, given_in, torch.ones_like(h) * 0.3)]

    with mock.patch.object(onepass, "LIGHT", 0):
        whole = run(slice(None), 1)
        for threads in (2, 3, 4):
            assert all(map(torch.equal, whole, run(slice(None), threads)))
        for low in range(45):
            part = run(slice(low, low + 1), 1)
            assert all(
                torch.equal(one[..., low : low + 1], other)
                for one, other in zip(whole, part, strict=True)
            )


@compiled
@every_width
def test_nothing_of_a_nan_passes_a_beginning(dtype):
    """Where all but one sequence is nan, its states and its gradients are what they are without the
    others.
    """
    case = [part.detach().clone() for part in draw((2, 9, [37]), 6, dtype)]
    flags = torch.zeros(2, 9, 1, dtype=torch.bool)
    flags[:, 3] = flags[:, 6] = True
    a, b, start, fresh = case
    clean = [part.clone() for part in (a[:, 3:6], b[:, 3:6], fresh)]
    b[:, :3] = b[:, 6:] = start[:] = torch.nan
    given_in = [part.requires_grad_() for part in (a, b, start, fresh)]
    with kernels() as (forward, backward):
        h = linear_scan(a, b, start, flags, fresh)
        grads = torch.autograd.grad(score(h[:, 3:6]), given_in)
        assert forward.called and backward.called
    alone = [part.requires_grad_() for part in clean]
    wanted = linear_scan(alone[0], alone[1], alone[2])
    assert torch.equal(h[:, 3:6], wanted)
    assert h[:, :3].isnan().all() and h[:, 6:].isnan().all()
    of_a, of_b, of_start, _ = grads
    for one, other in zip((of_a, of_b), torch.autograd.grad(score(wanted), alone[:2]), strict=True):
        assert torch.equal(one[:, 3:6], other)
    assert not of_b[:, :3].any() and not of_b[:, 6:].any()
    assert not of_start.any()


@compiled
@every_width
@pytest.mark.parametrize("poison", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_passes_as_it_does_in_torch(dtype, poison):
    """Infinities and nan stand in the same places, with the same signs."""
    case = draw((2, 7, [19]), 8, dtype)
    b = case.b.detach().clone()
    b[0, 2, ::2] = poison
    found = []
    for used in (True, False):
        with kernels(used):
            h = linear_scan(case.a.detach(), b, case.start.detach())
        found.append(
            torch.nan_to_num(
                torch.view_as_real(h) if h.is_complex() else h, nan=7e5, posinf=8e5, neginf=9e5
            )
        )
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


@compiled
def test_a_decay_that_is_the_same_for_all_steps_has_no_gradient_of_every_step():
    """Its gradient is added up on the way: no tensor of all steps is made for it."""
    b = torch.randn(2, 50, 16)
    a, start, grad = torch.rand(16), torch.zeros(2, 16), torch.ones(2, 50, 16)
    h = onepass.forward(a, b, start, None, None)
    made = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            found = func(*args, **(kwargs or {}))
            made.append(found.numel() if isinstance(found, Tensor) and not func.is_view else 0)
            return found

    with Watch():
        of_a, *_ = onepass.backward(a, start, None, None, h, grad, True)
    assert of_a.shape == (16,)
    assert b.numel() <= sum(made) < 2 * b.numel()  # that of b alone is as large


@every_type
def test_flags_of_each_channel_are_those_of_the_definition(dtype):
    """A sequence may begin in some channels and not in others; no kernel is asked."""
    case = draw((2, 6, [5]), 3, dtype)
    flags = torch.rand(2, 6, 5, generator=torch.Generator().manual_seed(2)) < 0.3
    with kernels() as (forward, _):
        found, wanted = (
            linear_scan(*case[:3], flags, case.fresh),
            brute(*case[:3], flags, case.fresh),
        )
        assert not forward.called
    for one, other in zip(
        *[torch.autograd.grad(score(h), case) for h in (found, wanted)], strict=True
    ):
        close(one, other)


# The warnings are torch's own, as it loads its rules.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@every_type
def test_transformations_of_torch_follow_it(dtype):
    """vmap, forward derivatives, jacobians, tracing and a recorded graph give what the definition
    gives.
    """
    case = [part.detach() for part in draw((2, 4, [3]), 9, dtype)]
    flags = draw((2, 4, [3]), 9, dtype).flags(1)
    a, b, start, fresh = case

    def of(function):
        return lambda a, b, start, fresh: function(a, b, start, flags, fresh)

    for transform in (
        lambda f: torch.func.jvp(f, tuple(case), tuple(torch.ones_like(part) for part in case))[1],
        lambda f: torch.func.vmap(f)(*[torch.stack([part, 2 * part]) for part in case]),
        lambda f: torch.func.vmap(f, in_dims=(0, None, None, None))(
            torch.stack([a, 2 * a]), b, start, fresh
        ),
        lambda f: torch.func.vjp(f, *case)[1](torch.ones_like(b))[0],
    ):
        close(transform(of(linear_scan)), transform(of(brute)))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("recorder", ["trace", "make_fx", "export"])
def test_what_is_recorded_computes_with_other_numbers(recorder):
    """A recorder sees every operation: what it has recorded is a function, not the numbers of one
    call.
    """
    one, other = (
        tuple(part.detach() for part in draw((2, 4, [3]), seed, torch.float64)[:3])
        for seed in (1, 2)
    )
    if recorder == "trace":
        recorded = torch.jit.trace(linear_scan, one)
    elif recorder == "make_fx":
        recorded = torch.fx.experimental.proxy_tensor.make_fx(
            lambda a, b, start: linear_scan(a, b, start)
        )(*one)
    else:
        module = nn.Module()
        module.forward = linear_scan
        recorded = torch.export.export(module, one, strict=False).module()
    close(recorded(*other), brute(*other))


@compiled
@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_a_window_of_no_rows_or_no_channels(dtype):
    """Nothing comes of nothing, with gradients of the right shapes."""
    for shape in ((0, 3, [4]), (2, 3, [0])):
        case = draw(shape, 0, dtype)
        h = linear_scan(*case[:3])
        assert h.shape == case.b.shape
        grads = torch.autograd.grad(h.abs().sum(), case[:3])
        assert [grad.shape for grad in grads] == [part.shape for part in case[:3]]


def test_shapes_are_found_without_data():
    """On the meta device the scan and its gradient have their shapes."""
    a, b, start, fresh = (
        part.detach().to("meta").requires_grad_() for part in draw((2, 5, [3]), 0, torch.float64)
    )
    h = linear_scan(a, b, start, torch.zeros(2, 5, 1, dtype=torch.bool, device="meta"), fresh)
    assert h.shape == (2, 5, 3)
    grads = torch.autograd.grad(h.sum(), (a, b, start, fresh))
    assert [grad.shape for grad in grads] == [part.shape for part in (a, b, start, fresh)]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch itself, as it traces
@pytest.mark.parametrize("begins", [False, True])
def test_a_compiler_takes_it_whole(begins):
    """torch.compile follows the scan and its gradient without a break, and finds the same
    numbers.
    """
    case = draw((2, 3, [2]), 5, torch.float64)
    flags = (case.flags(5), case.fresh) if begins else ()
    wanted = [part for part in case if begins or part is not case.fresh]
    torch.compiler.reset()
    compiled = torch.compile(linear_scan, fullgraph=True, backend="aot_eager")
    grads = [
        torch.autograd.grad(score(f(*case[:3], *flags)), wanted) for f in (compiled, linear_scan)
    ]
    for one, other in zip(*grads, strict=True):
        close(one, other)
