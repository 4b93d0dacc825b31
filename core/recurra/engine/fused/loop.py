"""Running a kernel over a window, and its gradients."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.kernel import Kernel, Sum, ground
from recurra.engine.fused.plan import Plan
from recurra.engine.threads import single

LIGHT = 8_000_000
"""Multiply-adds of a window, half a millisecond of them, that are not worth waiting for a second thread."""

HEAVY = 300_000
"""Multiply-adds of a step of a row above which threads that have no rows of their own share its products."""

SIGNATURE = [ctypes.c_long] * 6 + [ctypes.c_void_p] * 6
"""The arguments of a kernel's functions, as in `function.ARGUMENTS`."""


@cache
def tools(double: bool) -> Any:
    """Return pointers to the products of a type. Raises `Unbuildable`."""
    found = library(typed("\n".join([ground(), ground("product.h")]), double))
    names = (found.product, found.pack)
    return (ctypes.c_void_p * 2)(*(ctypes.cast(name, ctypes.c_void_p).value for name in names))


def typed(source: str, double: bool) -> str:
    """Return a source for float64, or for float32."""
    return f"#define DOUBLE\n{source}" if double else source


@dataclass
class Compiled:
    """A plan, its kernel, and the two functions of the library."""

    plan: Plan
    kernel: Kernel
    library: ctypes.CDLL
    double: bool

    def __post_init__(self) -> None:
        self.forward, self.backward = self.library.forward, self.library.backward
        for function in (self.forward, self.backward):
            function.restype = None
            function.argtypes = SIGNATURE
        self.tools = tools(self.double)
        self.work = sum(m.groups * m.inner * m.outer for m in self.kernel.matrices[0]) + 8 * sum(self.kernel.sequences)
        self.packed = [sum(matrix.room for matrix in part) for part in self.kernel.matrices]

    def light(self, batch: int, steps: int) -> bool:
        """Tell whether a window is so small that nothing of it is worth a second thread."""
        return batch * steps * self.work < LIGHT

    def shared_out(self, batch: int, steps: int) -> tuple[int, bool]:
        """Return how many threads a window is worth, and whether they share each product."""
        threads = torch.get_num_threads()
        if threads == 1 or self.light(batch, steps):
            return 1, False
        if batch < threads and self.work > HEAVY:
            return threads, True
        return min(threads, batch), False


@dataclass
class Window:
    """The size of a window and its flags, as a kernel takes them."""

    batch: int
    steps: int
    reset: Tensor | None
    lengths: Tensor | None
    threads: int
    columns: bool  # whether threads share each product, or have rows of their own


def loop(compiled: Compiled, window: Window, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the final state fields and the extras `[B, T, ...]`.

    `tensors` are the sequences `[B * T, ...]`, the shared tensors, the start and what a reset starts from (empty if
    there is none). Gradients are those of the kernel; second ones come from the steps one by one.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        found: tuple[Tensor, ...] = _Loop.apply(compiled, window, *tensors)  # type: ignore[no-untyped-call]
        return found
    return _forward(compiled, window, tensors, keep=False)[0]


class _Loop(torch.autograd.Function):
    """The loop with its gradients."""

    @staticmethod
    def forward(ctx: Any, compiled: Compiled, window: Window, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run, and keep what the gradients read."""
        given, kept = _forward(compiled, window, list(tensors), keep=True)
        ctx.compiled, ctx.window, ctx.count = compiled, window, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return given

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all tensors."""
        saved = list(ctx.saved_tensors)
        tensors, kept = saved[: ctx.count], saved[ctx.count :]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted: the kernel has none
            with torch.enable_grad():
                found = slowly(ctx.compiled.plan, ctx.window, tensors)
                wanted = [t for t in tensors if t.requires_grad]
                gained = iter(torch.autograd.grad(found, wanted, grads, create_graph=True, allow_unused=True))
            return None, None, *(next(gained) if t.requires_grad else None for t in tensors)
        with single(ctx.compiled.light(ctx.window.batch, ctx.window.steps)):
            return None, None, *_backward(ctx.compiled, ctx.window, tensors, kept, list(grads))


def _parts(compiled: Compiled, tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Return sequences, shared tensors, start, and what a reset starts from."""
    sequences, fields = len(compiled.kernel.sequences), len(compiled.kernel.state)
    shared = len(compiled.kernel.of_shared)
    rest = tensors[sequences + shared :]
    return tensors[:sequences], tensors[sequences : sequences + shared], rest[:fields], rest[fields:]


def _forward(
    compiled: Compiled, window: Window, tensors: list[Tensor], keep: bool
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Call the kernel; return final state and extras, and the states and products kept for the gradients."""
    kernel, batch, steps = compiled.kernel, window.batch, window.steps
    sequences, shared, start, fresh = ([t.contiguous() for t in part] for part in _parts(compiled, tensors))
    with torch.no_grad():
        ready = kernel.once(batch, *shared)
    elements = [t.contiguous() if by else t for t, by in zip(ready, kernel.by_element, strict=True)]
    like = start[0]
    rows = batch * steps if keep else batch
    states = [like.new_empty(rows if keep else 0, width) for width in kernel.state]
    saved = [like.new_empty(rows, width) for width in kernel.saved]
    shapes = compiled.plan.extra_shapes
    extras = [like.new_empty(batch, steps, *shape) for shape in shapes]
    final = [torch.empty_like(field) for field in start]
    work = like.new_empty(batch * kernel.scratch[0] + 1)
    packed = like.new_empty(compiled.packed[0] + 1)
    pointers = [*sequences, *elements, *start, *final, *(fresh or start), *states, *saved, *extras, work, packed]
    _call(compiled, False, window, pointers, ready, keep)
    return (*final, *extras), [*states, *saved]


def _backward(
    compiled: Compiled, window: Window, tensors: list[Tensor], kept: list[Tensor], grads: list[Tensor]
) -> list[Tensor | None]:
    """Call the kernel; return the gradients of the tensors that `loop` was given."""
    kernel, batch, steps = compiled.kernel, window.batch, window.steps
    parts = _parts(compiled, tensors)
    sequences, shared, start, fresh = ([t.contiguous() for t in part] for part in parts)
    ready = kernel.once(batch, *shared)
    elements = [t.contiguous() if by else t for t, by in zip(ready, kernel.by_element, strict=True)]
    fields, rows, like = len(kernel.state), batch * steps, start[0]
    states, saved = kept[:fields], kept[fields:]
    grads = [grad.contiguous() for grad in grads]
    of_sequences = [torch.empty_like(t) for t in sequences]
    stores = [like.new_empty(rows, width) for width in kernel.stores]
    sums = [like.new_zeros(window.threads, width) for width in kernel.sums]
    of_start = [torch.empty_like(field) for field in start]
    of_fresh = [torch.zeros_like(field) for field in fresh]
    work = like.new_empty(batch * kernel.scratch[1] + 1)
    packed = like.new_empty(compiled.packed[1] + 1)
    pointers = [
        *sequences, *elements, *states, *saved, *grads[fields:], *grads[:fields], *of_sequences, *stores, *sums,
        *of_start, *(of_fresh or of_start), work, packed,
    ]  # fmt: skip
    _call(compiled, True, window, pointers, ready, keep=True)
    sides = {"dseq": of_sequences, "store": stores, "sum": sums, "state": states, "seq": sequences}
    of_shared: list[Tensor | None] = [None] * len(shared)
    if kernel.finish is not None:
        totals = [_total(total, sides, rows) for total in kernel.totals]
        found = iter(kernel.finish(batch, *shared, *totals))
        of_shared = [next(found) if has else None for has in kernel.of_shared]
    of_given = [t if has else None for t, has in zip(of_sequences, kernel.of_sequences, strict=True)]
    return [*of_given, *of_shared, *of_start, *of_fresh]


def _total(total: Sum, sides: dict[str, list[Tensor]], rows: int) -> Tensor:
    """Return a sum over rows and steps: one product for all of a window."""
    left = sides[total.left[0]][total.left[1]]
    if total.right is None:
        return left.sum(0).view(total.shape)
    right = sides[total.right[0]][total.right[1]]
    left, right = left.view(rows, -1), right.view(rows, -1)
    if total.groups == 1:
        return (left.t() @ right).view(total.shape)
    groups = total.groups
    return torch.bmm(left.view(rows, groups, -1).permute(1, 2, 0), right.view(rows, groups, -1).transpose(0, 1))


def _call(
    compiled: Compiled, reverse: bool, window: Window, tensors: list[Tensor], ready: tuple[Tensor, ...], keep: bool
) -> None:
    """Call a function of the kernel on all that it is given."""
    function = compiled.backward if reverse else compiled.forward
    matrices = compiled.kernel.matrices[reverse]
    pointers = (ctypes.c_void_p * len(tensors))(*[t.data_ptr() for t in tensors])
    places = (ctypes.c_void_p * max(1, len(matrices)))(*[ready[m.place].data_ptr() for m in matrices])
    strides = [stride for m in matrices for stride in m.strides(ready[m.place])]
    reset = None if window.reset is None else window.reset.data_ptr()
    lengths = None if window.lengths is None else window.lengths.data_ptr()
    function(
        window.steps, window.batch, window.threads, window.columns, keep, 1, reset, lengths, pointers, places,
        (ctypes.c_long * max(1, len(strides)))(*strides), compiled.tools,
    )  # fmt: skip


def slowly(plan: Plan, window: Window, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what `loop` does, by torch, step by step: for gradients of gradients."""
    batch, steps, sequences = window.batch, window.steps, plan.sequences
    fields = len(plan.widths)
    shared = len(plan.joint.shared)
    by_step = [t.view(batch, steps, *t.shape[1:]).unbind(1) for t in tensors[:sequences]]
    weights = tensors[sequences : sequences + shared]
    state, fresh = tensors[sequences + shared :][:fields], tensors[sequences + shared + fields :]
    given: list[list[Tensor]] = [[] for _ in plan.extra_shapes]
    for t in range(steps):
        if window.reset is not None:
            flags = window.reset[:, t].bool()
            state = [torch.where(_like(flags, old), new, old) for new, old in zip(fresh, state, strict=True)]
        x = [part[t].movedim(0, axis) for part, axis in zip(by_step, plan.sequence_axes, strict=True)]
        found = plan.loop(batch, *x, *weights, *state)
        live = None if window.lengths is None else t < window.lengths
        for index, extra in enumerate(found[fields:]):
            extra = extra.movedim(plan.extra_axes[index], 0)
            given[index].append(extra if live is None else torch.where(_like(live, extra), extra, 0.0))
        new = list(found[:fields])
        state = new if live is None else [
            torch.where(_like(live, n), n, o) for n, o in zip(new, state, strict=True)
        ]  # fmt: skip
    return (*state, *(torch.stack(parts, 1) for parts in given))


def _like(flags: Tensor, other: Tensor) -> Tensor:
    return flags.view(-1, *[1] * (other.dim() - 1))
