"""The fused path: a kernel for the loop over time, printed as C of a step that is recorded once.

Each pass stands in a file of its own, named for it, and what it makes can be printed:

    record     one step, written down: operations on values known by number
    split      what is computed before the loop over time, in it, and after it
    gradient   the loop's step together with its gradients
    vectors    what a kernel computes of that for one row (`lower`, by `shape_rules` and
               `arithmetic_rules`)
    schedule   which vector is computed when, between the products
    layout     what the kernel is given, and where each pointer stands
    emit       C (`emit_c`); the only pass that knows the language

`plan` joins the first three, `kernel` the others; `window` runs a kernel over a window, `whole`
together with what stands before its loop, of which `before` has the gradients, and `step` over one
step of a whole network. `RECURRA_DUMP=FOLDER` keeps what each pass made of every kernel. A
GRU on the way from `step` to C, at two inputs and three units:

    r, z = sigmoid(x W_r + b_r + h U_r + c_r), sigmoid(x W_z + b_z + h U_z + c_z)
    n    = tanh(x W_n + b_n + r (h U_n + c_n))
    h'   = (1 - z) n + z h

>>> from recurra.catalog import discover
>>> from recurra.engine.fused.dump import passes
>>> gru = discover().find("cell", "gru")
>>> made = passes(gru.target(2, gru.options(hidden_size=3)))

The record has a line for each operation. Both products are of all three gates at once, [B, 9]:

>>> print(made["record"])
v0 [B, 2] is x
v1 [B, 3] is state 0
...
v7 [B, 9] = addmm(v4, v0, v6)
...
v11 [B, 9] = addmm(v5, v1, v10)
...
v19 [B, 3] = sigmoid(v18)
...
v33 [B, 3] = add(v31, v32)
return v33, state v33

The product of x hangs on no state: it leaves the loop, and is one product for all steps of a
window.

>>> print(made["split"])
before the loop
    ...
    v7 [B, 9] = addmm(v4, v0, v6)
    ...
the loop, for each step: reads v7; for all: v5, v10
    ...
    v11 [B, 9] = addmm(v5, v1, v10)
    ...
    v33 [B, 3] = add(v31, v32)
    next state v33; gives v33
after the loop: reads v33
    output v33

The loop's step is recorded once more, with its gradients behind it:

>>> print(made["gradient"])
v0 [B, 9] is sequence 0
v1 [9] is shared 0
v2 [3, 9] is shared 1
v3 [B, 3] is state 0
v27 [B, 3] is gradient that comes of output 0
...
v38 [B, 3] = tanh_backward(v34, v22)
...
gradient of v2 is v55
gradient of v3 is v58

A row of it, as vectors: the product h U is `saved0`, for the gradients read it again; a gate is a
part of it. The gradient of U is a sum over rows and steps, of the state and what the kernel writes
to `store0`:

>>> print(made["vectors"])
t0 [3] = add(saved0[3:6], shared1[3:6])
t1 [3] = add(seq0[3:6], t0)
t2 [3] = sigmoid(t1)
...
next0 = t13
extra0 = t13
dseq0 = t18 ; t23 ; t16
before0 = t25
store0 = t27 ; t29 ; t32
...
saved0 = state0[0:3] times shared0
...

Going forward, nothing but the product can be computed at first, and everything after it:

>>> print(made["schedule"])
forward
...
segment 0
  then product 0, of 3 by 9
segment 1
    level 0: next0[0:3] = t13
    level 0: extra0[0:3] = t13
...

>>> print(made["layout"])
forward
  0 seq0: step, 9 wide
  ...
  4 start0: row, 3 wide
...
matrix 0: shared0, 1 x 3 x 9
...

>>> print(made["emit"])
/* The ground on which a generated kernel stands...
void forward(long T, long B, ...
real *seq_0 = p[0]; (void)seq_0;
...
real *start_0 = p[4]; (void)start_0;
...
for (long j = 0; j < 3; j++) {
    const real v0 = (saved0[3 + j] + shared1[3 + j]);
    const real v1 = (seq0[3 + j] + v0);
    const real v2 = (r_sigmoid(v1));
    ...
}
...
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional

from recurra.engine import eager
from recurra.engine.build import Unbuildable, library
from recurra.engine.fused.dump import dump, stages
from recurra.engine.fused.emit_c import typed
from recurra.engine.fused.kernel import kernel
from recurra.engine.fused.plan import plan
from recurra.engine.fused.record import Unsupported, type_text
from recurra.engine.fused.whole import has_gradients, whole
from recurra.engine.fused.window import Call, Compiled, loop
from recurra.engine.recurrence import Recurrence, State, rebuild, within
from recurra.engine.threads import single
from recurra.shapes import Encoded, Flags, Hidden, Lengths

Key = tuple[type[Recurrence], int, str, bool, torch.dtype]
"""What cells of one kernel have in common: class, input size, options, training or not, type."""


class Place(NamedTuple):
    """Where a cell holds a tensor that its step reads."""

    holder: Mapping[str, Tensor | None]
    name: str


class Bound(NamedTuple):
    """What was compiled for a cell, and where the cell holds the tensors that a step reads."""

    compiled: Compiled
    places: list[Place]


class Kernels:
    """The kernels of a process: what was compiled for each kind of cell, and bound to each cell."""

    def __init__(self) -> None:
        # What was compiled, or why nothing was.
        self._compiled: dict[Key, Compiled | str] = {}
        self._alone = threading.Lock()  # no kernel is made twice
        self._bound: WeakKeyDictionary[
            Recurrence, dict[tuple[type[Recurrence], torch.dtype, bool], Bound]
        ] = WeakKeyDictionary()

    def of(self, cell: Recurrence, dtype: torch.dtype) -> Compiled | str:
        """Return what was compiled for a cell, or why nothing was."""
        key = (type(cell), cell.input_size, repr(cell.options), cell.training, dtype)
        if key in self._compiled:
            return self._compiled[key]

        with self._alone:
            # Another thread may have made it while this one waited.
            if key not in self._compiled:
                try:
                    self._compiled[key] = _compile(cell, dtype)
                except (Unsupported, Unbuildable) as error:
                    self._compiled[key] = str(error)
            return self._compiled[key]

    def bound(self, cell: Recurrence, dtype: torch.dtype) -> Bound:
        """Return what was compiled, and where the cell holds each tensor that a step reads."""
        bound = self._bound.get(cell)
        if bound is None:
            bound = self._bound.setdefault(cell, {})
        kind = type(cell), dtype, cell.training  # a parametrised module becomes one of another type
        if kind not in bound:
            compiled = self.of(cell, dtype)
            if isinstance(compiled, str):
                raise Unsupported(compiled)
            bound[kind] = Bound(compiled, _places(cell, compiled))
        return bound[kind]


def _places(cell: Recurrence, compiled: Compiled) -> list[Place]:
    """Return where a cell holds each tensor that its step reads."""
    places = []
    for path, name in compiled.plan.weights:
        module = cell.get_submodule(path)
        of_parameters = name in module._parameters
        places.append(Place(module._parameters if of_parameters else module._buffers, name))
    return places


KERNELS = Kernels()
"""Those of this process."""


def refusal(cell: Recurrence) -> str | None:
    """Return why a cell has no kernel, or nothing."""
    device = next((weight.device.type for weight in cell.parameters()), "cpu")
    if device != "cpu":
        return f"kernels are compiled for a CPU, and the weights are on {device}"
    compiled = KERNELS.of(cell, torch.float32)
    return compiled if isinstance(compiled, str) else None


def _compile(cell: Recurrence, dtype: torch.dtype) -> Compiled:
    """Compile a kernel for a cell. Raises `Unsupported` or `Unbuildable`."""
    planned = plan(cell, dtype)
    loop_kernel = kernel(planned.joint)
    dump(f"{type(cell).__name__}-{type_text(dtype)}", partial(stages, planned, loop_kernel))

    double = dtype == torch.float64
    source = typed(loop_kernel.source, double)
    of = f"{type(cell).__module__}:{type(cell).__qualname__} {type_text(dtype)}"
    return Compiled(planned, loop_kernel, library(source, of), double)


def _watched() -> bool:
    """Tell whether torch has to see every operation.

    That is to compile them, for `torch.func`, or for gradients forward.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or torch.autograd.forward_ad._current_level >= 0
    )


def run(
    cell: Recurrence, x: Encoded, state: State, reset: Flags | None, lengths: Lengths | None
) -> tuple[Hidden, State]:
    """Run over the window in a compiled loop; for the arguments see `recurra.engine.paths.run`.

    Types narrower than float32 are computed in float32, but for the products before and after the
    loop.
    """
    batch, steps, _ = x.shape
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    if not batch or not steps or x.device.type != "cpu" or _watched():
        return eager.run(cell, x, state, reset, lengths)

    compiled, places = KERNELS.bound(cell, wide)
    weights = [holder.get(name) for holder, name in places]
    if not compiled.plan.fits(batch, weights, state):
        return eager.run(cell, x, state, reset, lengths)
    with single(compiled.light(batch, steps)):
        return _run(cell, compiled, weights, x, state, reset, lengths)


def _run(
    cell: Recurrence,
    compiled: Compiled,
    weights: Sequence[Tensor | None],
    x: Encoded,
    state: State,
    reset: Flags | None,
    lengths: Lengths | None,
) -> tuple[Hidden, State]:
    """Run over a window that is not empty, on a kernel that fits it."""
    planned = compiled.plan
    batch, steps, width = x.shape
    rows = batch * steps
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32

    # Beyond its length a row may hold anything, NaN too; the products before the loop read zeros.
    if lengths is not None:
        live = within(lengths, steps).unsqueeze(-1)
        x = torch.where(live, x, torch.zeros_like(x))

    begin = [*state]
    if reset is not None:
        begin += cell.initial_state(batch, device=x.device, dtype=x.dtype)
    threads, columns = compiled.shared_out(batch, steps)
    call = Call(
        batch=batch,
        steps=steps,
        reset=None if reset is None else reset.contiguous().view(torch.uint8),
        lengths=None if lengths is None else lengths.to(torch.int64).contiguous(),
        threads=threads,
        columns=columns,
    )
    fields = len(planned.widths)
    given = [x, *(weight for weight in weights if weight is not None), *begin]
    if has_gradients(compiled, given):
        *final, y = whole(compiled, call, given)
        return y, rebuild(state, final)

    # Before the loop: what the input decides, of all steps at once.
    before = planned.before(rows, x.reshape(rows, width), *weights)
    first_aside = len(planned.parts.sequences)
    first_shared = first_aside + len(planned.parts.aside)
    aside, shared = before[first_aside:first_shared], before[first_shared:]

    # The loop, whose tensors have the batch in front.
    tensors: list[Tensor] = []
    for sequence, axis in zip(before[:first_aside], planned.sequence_axes, strict=True):
        tensors.append(sequence.movedim(axis, 0) if axis else sequence)
    tensors += [*shared, *begin]
    if any(t.dtype != wide for t in tensors):
        tensors = [t.to(wide) if t.is_floating_point() else t for t in tensors]
    outs = loop(compiled, call, tensors)
    pairs = zip(outs[:fields], state, strict=True)
    after = rebuild(state, [new.to(old.dtype) for new, old in pairs])
    extras = outs[fields:]
    if planned.after is None:
        return extras[0].to(x.dtype), after

    # After the loop: the output of all steps, of what the loop gives and what was set aside.
    read = []
    for extra, axis in zip(extras, planned.extra_axes, strict=True):
        extra = extra.reshape(rows, *extra.shape[2:]).to(x.dtype)
        read.append(extra.movedim(0, axis) if axis else extra)
    (output,) = planned.after(rows, *aside, *read)
    y = output.view(batch, steps, -1)
    if lengths is not None:
        y = torch.where(live, y, torch.zeros_like(y))
    return y, after


def run_of_table(
    cell: Recurrence, ids: Tensor, vectors: Tensor, state: State, reset: Flags | None
) -> tuple[Hidden, State] | None:
    """Run over the rows `ids` `[B, T]` of a table `[V, D]`; what is before the loop, of its rows.

    Returns nothing where there is no kernel that has its gradients so.
    """
    batch, steps = ids.shape
    wide = torch.float64 if vectors.dtype == torch.float64 else torch.float32
    if not batch or not steps or vectors.device.type != "cpu" or _watched():
        return None

    compiled, places = KERNELS.bound(cell, wide)
    planned = compiled.plan
    weights = [holder.get(name) for holder, name in places]
    if not planned.fits(batch, weights, state):
        return None
    begin = [*state]
    if reset is not None:
        begin += cell.initial_state(batch, device=vectors.device, dtype=vectors.dtype)
    if not has_gradients(compiled, [vectors, *(w for w in weights if w is not None), *begin]):
        return None

    with single(compiled.light(batch, steps, len(vectors))):
        before = planned.before(len(vectors), vectors, *weights)
        first_shared = len(planned.parts.sequences)
        rows = ids.flatten()
        tensors = [_rows_of(each, rows) for each in before[:first_shared]]

        threads, columns = compiled.shared_out(batch, steps, len(vectors))
        anew = None if reset is None else reset.contiguous().view(torch.uint8)
        call = Call(batch, steps, anew, None, threads, columns)
        outs = loop(compiled, call, [*tensors, *before[first_shared:], *begin])
    fields = len(planned.widths)
    return outs[fields], rebuild(state, list(outs[:fields]))


def _rows_of(table: Tensor, rows: Tensor) -> Tensor:
    """Return rows `[N, ...]` of a table `[V, ...]`."""
    found = functional.embedding(rows, table.reshape(len(table), -1))
    return found.view(-1, *table.shape[1:])
