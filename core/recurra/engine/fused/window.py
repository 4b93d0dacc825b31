"""Running a kernel over a window, and its gradients: the tensors by name, as the layout wants
them.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from recurra.engine.build import library
from recurra.engine.fused.emit_c import ground, typed
from recurra.engine.fused.kernel import Kernel
from recurra.engine.fused.layout import PASSED, Arguments, longs, pointers
from recurra.engine.fused.lower import Sum
from recurra.engine.fused.plan import Plan
from recurra.engine.threads import single

LIGHT = 8_000_000
"""Multiply-adds of a window, half a millisecond of them, that are not worth waiting for a second
thread.
"""

HEAVY = 300_000
"""Multiply-adds of a step of a row above which threads that have no rows of their own share its
products.
"""


@cache
def tools(double: bool) -> Any:
    """Return pointers to the products of a type. Raises `Unbuildable`."""
    products = library(typed("\n".join([ground(), ground("product.h")]), double))
    functions = (products.product, products.pack)
    return (ctypes.c_void_p * 2)(*(ctypes.cast(f, ctypes.c_void_p).value for f in functions))


def bound(function: Any) -> Any:
    """Return a function of a kernel's library, told what it is given."""
    function.restype = None
    function.argtypes = PASSED
    return function


@dataclass
class Compiled:
    """A plan, its kernel, and the two functions of the library."""

    plan: Plan
    kernel: Kernel
    library: ctypes.CDLL
    double: bool

    def __post_init__(self) -> None:
        self.functions = [bound(self.library.forward), bound(self.library.backward)]
        self.tools = tools(self.double)
        self.work = self.kernel.layouts[0].work + 8 * sum(self.kernel.lowered.sequences)

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
class Call:
    """The size of a window and its flags, as a kernel takes them."""

    batch: int
    steps: int
    reset: Tensor | None
    lengths: Tensor | None
    threads: int
    columns: bool  # whether threads share each product, or have rows of their own


def loop(compiled: Compiled, call: Call, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return the final state fields and the extras `[B, T, ...]`.

    `tensors` are the sequences `[B * T, ...]`, the shared tensors, the start and what a reset
    starts from (empty if there is none). Gradients are those of the kernel; second ones come from
    the steps one by one.
    """
    if torch.is_grad_enabled() and any(t.requires_grad for t in tensors):
        found: tuple[Tensor, ...] = _Loop.apply(compiled, call, *tensors)  # type: ignore[no-untyped-call]
        return found
    return _forward(compiled, call, tensors, keep=False)[0]


class _Loop(torch.autograd.Function):
    """The loop with its gradients."""

    @staticmethod
    def forward(ctx: Any, compiled: Compiled, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run, and keep what the gradients read."""
        given, kept = _forward(compiled, call, list(tensors), keep=True)
        ctx.compiled, ctx.call, ctx.count = compiled, call, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        return given

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all tensors."""
        saved = list(ctx.saved_tensors)
        tensors, kept = saved[: ctx.count], saved[ctx.count :]
        if torch.is_grad_enabled():  # a gradient of this gradient is wanted: the kernel has none
            with torch.enable_grad():
                found = slowly(ctx.compiled.plan, ctx.call, tensors)
                wanted = [t for t in tensors if t.requires_grad]
                gained = iter(
                    torch.autograd.grad(found, wanted, grads, create_graph=True, allow_unused=True)
                )
            return None, None, *(next(gained) if t.requires_grad else None for t in tensors)
        with single(ctx.compiled.light(ctx.call.batch, ctx.call.steps)):
            return None, None, *_backward(ctx.compiled, ctx.call, tensors, kept, list(grads))


def _parts(
    compiled: Compiled, tensors: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Return sequences, shared tensors, start, and what a reset starts from."""
    made = compiled.plan.joint
    sequences, shared, fields = len(made.sequences), len(made.shared), len(made.state)
    rest = tensors[sequences + shared :]
    return (
        tensors[:sequences],
        tensors[sequences : sequences + shared],
        rest[:fields],
        rest[fields:],
    )


def _forward(
    compiled: Compiled, call: Call, tensors: list[Tensor], keep: bool
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Call the kernel; return final state and extras, and the states and products kept for the
    gradients.
    """
    kernel, batch, steps = compiled.kernel, call.batch, call.steps
    sequences, shared, start, fresh = (
        [t.contiguous() for t in part] for part in _parts(compiled, tensors)
    )
    with torch.no_grad():
        ready = kernel.once(batch, *shared)

    like, lowered = start[0], kernel.lowered
    rows = batch * steps if keep else batch
    history = [like.new_empty(rows if keep else 0, width) for width in lowered.state]
    saved = [like.new_empty(rows, width) for width in kernel.layouts[0].widths["saved"]]
    extras = [like.new_empty(batch, steps, *shape) for shape in compiled.plan.extra_shapes]
    final = [torch.empty_like(field) for field in start]
    given = {
        "seq": sequences,
        "shared": _laid_out(kernel, ready),
        "start": start,
        "final": final,
        "fresh": fresh or start,
        "history": history,
        "saved": saved,
        "extra": extras,
    }
    _call(compiled, False, call, given, ready, keep)
    return (*final, *extras), [*history, *saved]


def _laid_out(kernel: Kernel, ready: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the values for all rows, those that are read by their elements one element after the
    other.
    """
    return [t.contiguous() if by else t for t, by in zip(ready, kernel.by_element, strict=True)]


def _backward(
    compiled: Compiled,
    call: Call,
    tensors: list[Tensor],
    kept: list[Tensor],
    grads: list[Tensor],
) -> list[Tensor | None]:
    """Call the kernel; return the gradients of the tensors that `loop` was given."""
    kernel, batch, steps = compiled.kernel, call.batch, call.steps
    sequences, shared, start, fresh = (
        [t.contiguous() for t in part] for part in _parts(compiled, tensors)
    )
    ready = kernel.once(batch, *shared)

    like, lowered, made = start[0], kernel.lowered, compiled.plan.joint
    fields, rows = len(start), batch * steps
    history, saved = kept[:fields], kept[fields:]
    grads = [grad.contiguous() for grad in grads]
    layout = kernel.layouts[1]
    of_sequences = [torch.empty_like(t) for t in sequences]
    stores = [like.new_empty(rows, width) for width in layout.widths["store"]]
    sums = [like.new_zeros(call.threads, width) for width in layout.widths["sum"]]
    of_start = [torch.empty_like(field) for field in start]
    of_fresh = [torch.zeros_like(field) for field in fresh]
    given = {
        "seq": sequences,
        "shared": _laid_out(kernel, ready),
        "history": history,
        "saved": saved,
        "given": grads[fields:],
        "last": grads[:fields],
        "dseq": of_sequences,
        "store": stores,
        "sum": sums,
        "first": of_start,
        "fresh": of_fresh or of_start,
    }
    _call(compiled, True, call, given, ready, keep=True)

    of_shared: list[Tensor | None] = [None] * len(shared)
    if lowered.finish is not None:
        written = {
            "dseq": of_sequences,
            "store": stores,
            "sum": sums,
            "state": history,
            "seq": sequences,
        }
        totals = [_total(total, written, rows) for total in lowered.totals]
        gained = iter(lowered.finish(batch, *shared, *totals))
        of_shared = [next(gained) if value in made.grads else None for value in made.shared]
    pairs = zip(of_sequences, made.sequences, strict=True)
    of_given = [t if value in made.grads else None for t, value in pairs]
    return [*of_given, *of_shared, *of_start, *of_fresh]


def _total(total: Sum, written: dict[str, list[Tensor]], rows: int) -> Tensor:
    """Return a sum over rows and steps: one product for all of a window."""
    left = written[total.left[0]][total.left[1]]
    if total.right is None:
        return left.sum(0).view(total.shape)

    right = written[total.right[0]][total.right[1]]
    left, right = left.view(rows, -1), right.view(rows, -1)
    if total.groups == 1:
        return (left.t() @ right).view(total.shape)
    groups = total.groups
    return torch.bmm(
        left.view(rows, groups, -1).permute(1, 2, 0), right.view(rows, groups, -1).transpose(0, 1)
    )


def _call(
    compiled: Compiled,
    reverse: bool,
    call: Call,
    given: dict[str, list[Tensor]],
    ready: tuple[Tensor, ...],
    keep: bool,
) -> None:
    """Call a function of the kernel on the tensors that it is given, by name, and memory of its
    own.
    """
    layout, batch, steps = compiled.kernel.layouts[reverse], call.batch, call.steps
    like = given["fresh"][0]
    given["own"] = [like.new_empty(batch * compiled.kernel.scratch[reverse] + 1)]
    given["packed"] = [like.new_empty(layout.room + 1)]

    matrices = [ready[matrix.slot] for matrix in layout.matrices]
    strides = [
        n for matrix, t in zip(layout.matrices, matrices, strict=True) for n in matrix.strides(t)
    ]
    reset = None if call.reset is None else call.reset.data_ptr()
    lengths = None if call.lengths is None else call.lengths.data_ptr()
    arguments = Arguments(
        steps, batch, call.threads, call.columns, keep, True, reset, lengths,
        layout.pointers(given), pointers(matrices), longs(strides), compiled.tools,
    )  # fmt: skip
    compiled.functions[reverse](*arguments)


def slowly(plan: Plan, call: Call, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what `loop` does, by torch, step by step: for gradients of gradients."""
    batch, steps = call.batch, call.steps
    sequences, shared, fields = len(plan.joint.sequences), len(plan.joint.shared), len(plan.widths)
    by_step = [t.view(batch, steps, *t.shape[1:]).unbind(1) for t in tensors[:sequences]]
    weights = tensors[sequences : sequences + shared]
    state, fresh = tensors[sequences + shared :][:fields], tensors[sequences + shared + fields :]
    given: list[list[Tensor]] = [[] for _ in plan.extra_shapes]
    for t in range(steps):
        if call.reset is not None:
            flags = call.reset[:, t].bool()
            state = [
                torch.where(_like(flags, old), new, old)
                for new, old in zip(fresh, state, strict=True)
            ]
        x = [
            part[t].movedim(0, axis) for part, axis in zip(by_step, plan.sequence_axes, strict=True)
        ]
        found = plan.loop(batch, *x, *weights, *state)
        live = None if call.lengths is None else t < call.lengths
        for index, extra in enumerate(found[fields:]):
            extra = extra.movedim(plan.extra_axes[index], 0)
            given[index].append(
                extra if live is None else torch.where(_like(live, extra), extra, 0.0)
            )
        new = list(found[:fields])
        state = new if live is None else [
            torch.where(_like(live, n), n, o) for n, o in zip(new, state, strict=True)
        ]  # fmt: skip
    return (*state, *(torch.stack(parts, 1) for parts in given))


def _like(flags: Tensor, other: Tensor) -> Tensor:
    return flags.view(-1, *[1] * (other.dim() - 1))
