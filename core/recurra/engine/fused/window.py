"""Running a kernel over a window, and its gradients: the tensors by the names of the layout."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from recurra.engine.blocks import BLOCKS
from recurra.engine.build import library
from recurra.engine.fused.before import Before
from recurra.engine.fused.emit_c import ground, typed
from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.kernel import Kernel
from recurra.engine.fused.layout import PASSED, Arguments, longs, pointers
from recurra.engine.fused.lower import Sum
from recurra.engine.fused.plan import Plan
from recurra.engine.threads import single

LIGHT = 8_000_000
"""Multiply-adds of a window's loop below which a second thread is not worth waiting for.

So it is with those of the products before the loop and after it. They take a good half millisecond.
"""

WOKEN = 2_000_000
"""The same of a loop whose products round it are worth a second thread, which waits for work."""

HEAVY = 300_000
"""Multiply-adds of a row's step above which threads share each of its products.

They do so where there are fewer rows than threads.
"""


@cache
def tools(double: bool) -> Any:
    """Return pointers to the products of a type. Raises `Unbuildable`."""
    source = "\n".join([ground(), ground("product.h")])
    products = library(typed(source, double), "products of matrices")
    product = ctypes.cast(products.product, ctypes.c_void_p)
    pack = ctypes.cast(products.pack, ctypes.c_void_p)
    return (ctypes.c_void_p * 2)(product.value, pack.value)


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
        self.before = Before(self.plan)

        # Of a row's step.
        self.work = self.kernel.layouts[0].work + self.kernel.schedules[0].work
        self.apart = self.kernel.apart

    def light(self, batch: int, steps: int, vectors: int | None = None) -> bool:
        """Tell whether neither the loop nor torch's products round it are worth another thread.

        The products are of so many `vectors`, where those are not as many as there are steps.
        """
        rows = batch * steps
        products = self.plan.work * (rows if vectors is None else vectors)
        return max(rows * self.work, products) < LIGHT

    def shared_out(self, batch: int, steps: int, vectors: int | None = None) -> tuple[int, bool]:
        """Return how many threads a loop is worth, and whether they share each product."""
        threads = torch.get_num_threads()
        light = self.light(batch, steps, vectors) or batch * steps * self.work < WOKEN
        if threads == 1 or light:
            return 1, False

        if batch < threads and (self.work > HEAVY or self.apart):
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
        outs: tuple[Tensor, ...] = _Loop.apply(compiled, call, *tensors)  # type: ignore[no-untyped-call]
        return outs
    outs, _ = forward(compiled, call, tensors, keep=False)
    return outs


class _Loop(torch.autograd.Function):
    """The loop with its gradients."""

    @staticmethod
    def forward(ctx: Any, compiled: Compiled, call: Call, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Run, and keep what the gradients read."""
        outs, intermediates = forward(compiled, call, list(tensors), keep=True)
        ctx.compiled, ctx.call, ctx.count = compiled, call, len(tensors)
        ctx.save_for_backward(*tensors, *intermediates)
        return outs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of all tensors."""
        compiled, call = ctx.compiled, ctx.call
        saved = list(ctx.saved_tensors)
        tensors = saved[: ctx.count]
        intermediates = saved[ctx.count :]

        # A gradient of this gradient is asked for, which the kernel does not have.
        if torch.is_grad_enabled():

            def outs() -> tuple[Tensor, ...]:
                return slowly(compiled.plan, call, tensors)

            return None, None, *gradients_by_steps(outs, tensors, grads)
        with single(compiled.light(call.batch, call.steps)):
            return None, None, *backward(compiled, call, tensors, intermediates, list(grads))


def gradients_by_steps(
    run: Callable[[], tuple[Tensor, ...]], tensors: Sequence[Tensor], grads: Sequence[Tensor]
) -> list[Tensor | None]:
    """Return the gradients of all tensors by torch, so that they have gradients themselves.

    `run` makes of the tensors what `grads` are the gradients of.
    """
    leaves = [t for t in tensors if t.requires_grad]
    with torch.enable_grad():
        gradients = torch.autograd.grad(run(), leaves, grads, create_graph=True, allow_unused=True)

    remaining = iter(gradients)
    return [next(remaining) if t.requires_grad else None for t in tensors]


def _parts(
    joint: Joint, tensors: list[Tensor]
) -> tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor]]:
    """Return sequences, shared tensors, start, and what a reset starts from."""
    first_shared = len(joint.sequences)
    first_start = first_shared + len(joint.shared)
    first_fresh = first_start + len(joint.state)

    sequences = tensors[:first_shared]
    shared = tensors[first_shared:first_start]
    start = tensors[first_start:first_fresh]
    return sequences, shared, start, tensors[first_fresh:]


def forward(
    compiled: Compiled, call: Call, tensors: list[Tensor], keep: bool
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Call the kernel; return its outputs, and the intermediates that the gradients read.

    The outputs are the final state and the extras; the intermediates are the states and products
    of all steps.
    """
    kernel, plan = compiled.kernel, compiled.plan
    batch, steps = call.batch, call.steps
    contiguous = [t.contiguous() for t in tensors]
    sequences, shared, start, fresh = _parts(plan.joint, contiguous)
    for_all = kernel.once(batch, *shared)

    # Without gradients no history is written, and each step's products replace those before.
    like = start[0]
    rows = batch * steps if keep else batch
    history_rows = rows if keep else 0
    empty = partial(BLOCKS.empty, like)
    history = [empty(history_rows, width) for width in kernel.lowered.state]
    saved = [empty(rows, width) for width in kernel.layouts[0].widths["saved"]]
    extras = [like.new_empty(batch, steps, *shape) for shape in plan.extra_shapes]
    final = [torch.empty_like(field) for field in start]

    named = {
        "seq": sequences,
        "shared": _laid_out(kernel, for_all),
        "start": start,
        "final": final,
        "fresh": fresh or start,
        "history": history,
        "saved": saved,
        "extra": extras,
    }
    _call(compiled, False, call, named, for_all, keep)
    return (*final, *extras), [*history, *saved]


def _laid_out(kernel: Kernel, for_all: tuple[Tensor, ...]) -> list[Tensor]:
    """Return the values for all rows as a kernel reads them.

    A matrix is read by its strides; what is read element by element lies as one row.
    """
    pairs = zip(for_all, kernel.by_element, strict=True)
    return [t.contiguous() if by_element else t for t, by_element in pairs]


def backward(
    compiled: Compiled,
    call: Call,
    tensors: list[Tensor],
    intermediates: list[Tensor],
    grads: list[Tensor],
) -> list[Tensor | None]:
    """Call the kernel; return the gradients of the tensors that `loop` was given."""
    kernel, joint = compiled.kernel, compiled.plan.joint
    batch, rows = call.batch, call.batch * call.steps
    contiguous = [t.contiguous() for t in tensors]
    sequences, shared, start, fresh = _parts(joint, contiguous)
    for_all = kernel.once(batch, *shared)

    # What the kernel reads: the states and products of all steps, and the gradients of its outputs.
    fields = len(start)
    history = intermediates[:fields]
    saved = intermediates[fields:]
    grads = [grad.contiguous() for grad in grads]

    # What it writes; sums are added to, one row of each by every thread.
    like, widths = start[0], kernel.layouts[1].widths
    of_sequences = [BLOCKS.empty(t, *t.shape) for t in sequences]
    stores = [BLOCKS.empty(like, rows, width) for width in widths["store"]]
    sums = [like.new_zeros(call.threads, width) for width in widths["sum"]]
    of_start = [torch.empty_like(field) for field in start]
    of_fresh = [torch.zeros_like(field) for field in fresh]

    named = {
        "seq": sequences,
        "shared": _laid_out(kernel, for_all),
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
    _call(compiled, True, call, named, for_all, keep=True)

    # The gradients of shared tensors are made of the sums, by torch.
    of_shared: list[Tensor | None] = [None] * len(shared)
    if kernel.lowered.finish is not None:
        sides = {
            "dseq": of_sequences,
            "store": stores,
            "sum": sums,
            "state": history,
            "seq": sequences,
        }
        totals = [_total(total, sides, rows) for total in kernel.lowered.totals]
        gradients = iter(kernel.lowered.finish(batch, *shared, *totals))
        of_shared = [next(gradients) if value in joint.grads else None for value in joint.shared]

    pairs = zip(of_sequences, joint.sequences, strict=True)
    with_gradient = [t if value in joint.grads else None for t, value in pairs]
    return [*with_gradient, *of_shared, *of_start, *of_fresh]


def _total(total: Sum, sides: dict[str, list[Tensor]], rows: int) -> Tensor:
    """Return a sum over rows and steps: one product for all of a window."""
    space, slot = total.left
    left = sides[space][slot]
    if total.right is None:
        one = left if len(left) == 1 else left.sum(0)
        return one.view(total.shape)

    space, slot = total.right
    right = sides[space][slot].view(rows, -1)
    left = left.view(rows, -1)
    if total.groups == 1:
        return (left.t() @ right).view(total.shape)

    left = left.view(rows, total.groups, -1)
    right = right.view(rows, total.groups, -1)
    return torch.bmm(left.permute(1, 2, 0), right.transpose(0, 1))


def _call(
    compiled: Compiled,
    reverse: bool,
    call: Call,
    named: dict[str, list[Tensor]],
    for_all: tuple[Tensor, ...],
    keep: bool,
) -> None:
    """Call a function of the kernel on tensors by their names, and memory of its own."""
    layout = compiled.kernel.layouts[reverse]
    like = named["fresh"][0]
    scratch = call.batch * compiled.kernel.scratch[reverse]
    named["own"] = [BLOCKS.empty(like, scratch + 1)]
    named["packed"] = [BLOCKS.empty(like, layout.room)] if layout.room else named["own"]

    # A scan has no products in its loop.
    matrices: list[Tensor] = []
    strides: list[int] = []
    for matrix in layout.matrices:
        tensor = for_all[matrix.slot]
        matrices.append(tensor)
        strides += matrix.strides(tensor)

    # Nothing here may be let go of before the kernel has run: it is given addresses alone.
    reset = None if call.reset is None else call.reset.data_ptr()
    lengths = None if call.lengths is None else call.lengths.data_ptr()
    arguments = Arguments(
        steps=call.steps,
        rows=call.batch,
        threads=call.threads,
        columns=call.columns,
        keep=keep,
        packing=True,
        reset=reset,
        lengths=lengths,
        tensors=layout.pointers(named),
        matrices=pointers(matrices) if matrices else None,
        strides=longs(strides) if strides else None,
        tools=compiled.tools,
    )
    compiled.functions[reverse](*arguments)


def slowly(plan: Plan, call: Call, tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Return what `loop` does, by torch, step by step: for gradients of gradients."""
    batch, steps, fields = call.batch, call.steps, len(plan.widths)
    sequences, weights, state, fresh = _parts(plan.joint, tensors)
    by_step = [t.view(batch, steps, *t.shape[1:]).unbind(1) for t in sequences]
    extras: list[list[Tensor]] = [[] for _ in plan.extra_shapes]

    for step in range(steps):
        if call.reset is not None:
            state = _where(call.reset[:, step].bool(), fresh, state)
        x = []
        for part, axis in zip(by_step, plan.sequence_axes, strict=True):
            x.append(part[step].movedim(0, axis))
        outs = plan.loop(batch, *x, *weights, *state)

        # Where a row is over, its state stays and its extras are zeros.
        live = None if call.lengths is None else step < call.lengths
        for index, extra in enumerate(outs[fields:]):
            extra = extra.movedim(plan.extra_axes[index], 0)
            if live is not None:
                extra = torch.where(_like(live, extra), extra, 0.0)
            extras[index].append(extra)
        after = list(outs[:fields])
        state = after if live is None else _where(live, after, state)

    return (*state, *(torch.stack(parts, 1) for parts in extras))


def _where(flags: Tensor, chosen: list[Tensor], others: list[Tensor]) -> list[Tensor]:
    """Return state fields: the chosen ones in the rows whose flag is set, others in the rest."""
    pairs = zip(chosen, others, strict=True)
    return [torch.where(_like(flags, other), new, other) for new, other in pairs]


def _like(flags: Tensor, other: Tensor) -> Tensor:
    """Return a flag for each row so that it broadcasts over the row's numbers."""
    ones = [1] * (other.dim() - 1)
    return flags.view(-1, *ones)
