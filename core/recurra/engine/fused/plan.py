"""From a cell's `step` to the three parts of a window: before the loop, the loop, and after it.

What depends on the input alone is computed for all steps at once, up to the last product in it; what the next state
does not need, after the loop, from the first product on. Both by torch, with its gradients. The loop is what is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from recurra.engine.fused.operations import ELEMENTWISE_REPLACED, FILLS, REPLACED, WRITTEN
from recurra.engine.fused.script import Script, script
from recurra.engine.fused.tape import Node, Program, Ref, Tape, Unsupported, batch_beside
from recurra.engine.fused.views import VIEWS
from recurra.engine.recurrence import Recurrence

aten = torch.ops.aten


@dataclass(frozen=True)
class Joint:
    """The loop's step with its gradients, recorded: the numbers of what goes in and comes out.

    `outs` are the new state fields, then what else the step gives; `seeds` their gradients, `grads` those of `inputs`.
    """

    program: Program
    sequences: list[int]
    shared: list[int]
    state: list[int]
    outs: list[int]
    seeds: list[int | None]
    grads: dict[int, int]


@dataclass(frozen=True)
class Plan:
    """What is run for a window. Shapes are without the batch.

    `before(rows, x, *weights)` gives the sequences that the loop reads, what `after` reads, and the tensors that all
    rows share. `after(rows, *kept, *extras)` gives the output, where it is not `extras[0]` itself.
    """

    before: Script
    sequences: int
    kept: int
    joint: Joint
    extras: int
    after: Script | None
    weights: list[tuple[str, str]]  # of each: the module that holds it, and its name there
    widths: list[tuple[int, ...]]  # of each state field
    outputs: tuple[int, ...]
    sequence_axes: list[int]  # which axis of each sequence is the batch, as the step has it
    extra_shapes: list[tuple[int, ...]]
    extra_axes: list[int]
    loop: Script
    weight_shapes: list[tuple[int, ...]]

    def fits(self, rows: int, weights: Sequence[Tensor | None], state: Sequence[Tensor]) -> bool:
        """Tell whether tensors are as large as those recorded: a kernel would read beyond others without a word."""
        pairs = [*zip(weights, self.weight_shapes, strict=True)]
        pairs += zip(state, [(rows, *width) for width in self.widths], strict=True)
        return all(t is not None and t.shape == shape for t, shape in pairs)


class _Step(nn.Module):
    """A cell whose forward is one step, so that torch can call it with other weights."""

    def __init__(self, cell: nn.Module) -> None:
        super().__init__()
        self.cell = cell

    def forward(self, x: Tensor, state: Any) -> Any:
        return cast(Recurrence, self.cell).step(x, state)


def plan(cell: nn.Module, dtype: torch.dtype) -> Plan:
    """Return the plan of a cell for a type. Raises `Unsupported` if its step cannot be one."""
    with torch.inference_mode(False):
        program, x, state, weights, y, after = _recorded(cell, dtype)
        _split_products(program, {x}, set(state))
        return _divided(program, x, state, weights, y, after)


def tensors(cell: nn.Module) -> dict[str, Tensor]:
    """Return all that a step may read: parameters and buffers by name."""
    return {**dict(cell.named_parameters()), **dict(cell.named_buffers())}


def _recorded(cell: nn.Module, dtype: torch.dtype) -> tuple[Program, int, list[int], dict[str, int], int, list[int]]:
    """Record one step; return the program and the numbers of input, state, weights, output and next state."""
    width = cast(int, cell.input_size)
    held = {
        name: torch.zeros(t.shape, dtype=dtype).requires_grad_() if t.is_floating_point() else t.detach().clone()
        for name, t in tensors(cell).items()
    }
    probe = cast(Recurrence, cell).initial_state(2, device=torch.device("cpu"), dtype=dtype)
    sizes = [size for t in (*held.values(), *(field[0] for field in probe)) for size in t.shape]
    rows = batch_beside([width, *sizes])
    state = cast(Recurrence, cell).initial_state(rows, device=torch.device("cpu"), dtype=dtype)
    for name, field in zip(getattr(state, "_fields", range(99)), state, strict=False):
        if field.dtype != dtype:
            raise Unsupported(f"state {name} is {str(field.dtype).removeprefix('torch.')}")
    fields = [torch.zeros_like(field).requires_grad_() for field in state]
    x = torch.zeros(rows, width, dtype=dtype).requires_grad_()
    tape = Tape(rows, {}, cuts=True)
    numbers = [tape.input(t) for t in (x, *fields)]
    named = {name: tape.input(t) for name, t in held.items()}
    make = getattr(type(state), "_make", type(state))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), tape:
        y, after = torch.func.functional_call(
            _Step(cell), {f"cell.{name}": t for name, t in held.items()}, (x, make(fields))
        )
    shown, program = tape.number(y), tape.program
    if program.batch(shown) != 0:
        raise Unsupported(f"its output has the shape {program.said(shown)}")
    found = [tape.number(field) for field in after]
    for old, new in zip(numbers[1:], found, strict=True):
        if program.shapes[old] != program.shapes[new] or program.dtypes[old] != program.dtypes[new]:
            was, is_now = (f"{program.said(v)} of {str(program.dtypes[v])[6:]}" for v in (old, new))
            raise Unsupported(f"a step makes a state field {is_now} of one that is {was}")
    return program, numbers[0], numbers[1:], named, shown, found


def _split_products(program: Program, given: set[int], state: set[int]) -> None:
    """Make a product with [x, h] side by side the sum of one with x, which can leave the loop, and one with h."""
    varied = program.reaches([*state])
    makers = program.makers()
    nodes: list[Node] = []
    for node in program.nodes:
        if node.func not in (aten.mm.default, aten.addmm.default):
            nodes.append(node)
            continue
        left, right = node.args[-2:]
        joint = makers.get(left.index)
        parts = joint.args[0] if joint is not None and joint.name == "aten.cat" else []
        mixed = {ref.index in varied for ref in parts} == {True, False}
        flat = joint is not None and len(joint.args) > 1 and joint.args[1] in (1, -1)
        if not (mixed and flat and not node.kwargs):
            nodes.append(node)
            continue
        at, total = 0, None
        for ref in parts:
            width = program.shapes[ref.index][1]
            matrix = _like(program, (width, program.shapes[right.index][1]), right.index)
            nodes.append(Node(aten.slice.Tensor, (right, 0, at, at + width), {}, (matrix,)))
            found = _like(program, program.shapes[node.outs[0]], node.outs[0])
            bias = (node.args[0],) if len(node.args) == 3 and at == 0 else ()
            func = aten.addmm.default if bias else aten.mm.default
            nodes.append(Node(func, (*bias, ref, Ref(matrix)), {}, (found,)))
            if total is not None:
                last = at + width == program.shapes[left.index][1]
                added = node.outs[0] if last else _like(program, program.shapes[found], found)
                nodes.append(Node(aten.add.Tensor, (Ref(total), Ref(found)), {}, (added,)))
                found = added
            total, at = found, at + width
    program.nodes[:] = nodes


def _like(program: Program, shape: tuple[int, ...], other: int) -> int:
    """Add a value of a shape, of the type of another."""
    program.shapes.append(tuple(shape))
    program.dtypes.append(program.dtypes[other])
    return len(program.shapes) - 1


def _simple(node: Node) -> bool:
    """Tell whether a kernel can compute a node in passing: elementwise, or a view."""
    name = node.name.removeprefix("aten.")
    return name in WRITTEN or name in FILLS or name in VIEWS or name in ELEMENTWISE_REPLACED


def _divided(program: Program, x: int, state: list[int], weights: dict[str, int], y: int, after: list[int]) -> Plan:
    """Divide a recorded step into before, loop and after."""
    for node in program.nodes:
        if any(program.batch(ref) is not None for ref in node.refs):
            if any(program.batch(out) is None for out in node.outs):
                raise Unsupported(f"it mixes the rows of the batch ({node.name})")
    makers = program.makers()
    varied = program.reaches(state)
    by_input = {v for v in program.reaches([x]) if v not in varied}
    by_input |= {v for v in range(len(program.shapes)) if program.batch(v) is not None and v not in varied}
    fed = _ancestors(program, [v for v in after if v in varied]) & varied
    shown = _ancestors(program, [y]) & varied

    inside: set[int] = set(state) | fed
    loop = [node for node in program.nodes if fed.intersection(node.outs)]
    for node in program.nodes:
        if node not in loop and shown.intersection(node.outs) and _simple(node):
            if all(ref in inside for ref in node.refs if ref in varied):
                loop.append(node)
                inside.update(node.outs)

    heavy: set[int] = set()
    for node in program.nodes:
        if by_input.intersection(node.outs) and not _simple(node):
            heavy |= _ancestors(program, [*node.outs]) & by_input
    sequences: list[int] = []
    shared: list[int] = []
    pulled: list[Node] = []

    def pull(value: int) -> None:
        """Say where the loop has a value from that it does not make."""
        if value in inside:
            return
        if value not in by_input:
            if value not in shared:
                shared.append(value)
            return
        if value == x or value in heavy or value not in makers:
            if value not in sequences:
                sequences.append(value)
            return
        inside.update(makers[value].outs)
        pulled.append(makers[value])
        for ref in makers[value].refs:
            pull(ref)

    for node in loop:
        for ref in node.refs:
            pull(ref)
    for value in after:
        pull(value)
    order = {id(node): place for place, node in enumerate(program.nodes)}
    loop = sorted([*loop, *pulled], key=lambda node: order[id(node)])

    extras: list[int] = []
    kept: list[int] = []
    behind: list[Node] = []
    if y in inside:
        extras = [y]
    else:
        behind = [node for node in program.nodes if node not in loop and shown.intersection(node.outs)]
        made = {out for node in behind for out in node.outs}
        needed = {ref for node in behind for ref in node.refs} - made if y in made else {y}
        extras = sorted(v for v in needed if v in inside and (v in varied or v not in by_input))
        kept = sorted(needed - set(extras))
    run = script(program, loop, [*sequences, *shared, *state], [*after, *extras])
    before = script(program, program.nodes, [x, *weights.values()], [*sequences, *kept, *shared])
    finish = None if y in inside else script(program, behind, [*kept, *extras], [y])
    rows = program.rows
    places = [((name.rpartition(".")[0]), name.rpartition(".")[2]) for name in weights]
    return Plan(
        before=before,
        sequences=len(sequences),
        kept=len(kept),
        joint=_joint(program, run, sequences, shared, state, len(after) + len(extras), len(after)),
        extras=len(extras),
        after=finish,
        weights=places,
        widths=[program.shapes[v][1:] for v in state],
        outputs=program.shapes[y][1:],
        sequence_axes=[program.batch(v) or 0 for v in sequences],
        extra_shapes=[tuple(size for size in program.shapes[v] if size != rows) for v in extras],
        extra_axes=[program.batch(v) or 0 for v in extras],
        loop=run,
        weight_shapes=[program.shapes[v] for v in weights.values()],
    )


def _ancestors(program: Program, values: list[int]) -> set[int]:
    """Return all values that some values are made of, themselves included."""
    found = set(values)
    for node in reversed(program.nodes):
        if found.intersection(node.outs):
            found.update(node.refs)
    return found


class _Seeded(torch.autograd.Function):
    """A number whose gradients in some tensors are others, its seeds: torch, given seeds itself, imports sympy."""

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:
        """Keep the seeds, the second half of the tensors."""
        ctx.save_for_backward(*tensors[count:])
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the seeds."""
        return None, *ctx.saved_tensors, *[None] * len(ctx.saved_tensors)


def _joint(
    program: Program, run: Script, sequences: list[int], shared: list[int], state: list[int], outs: int, fields: int
) -> Joint:
    """Record the loop's step and its gradients."""

    def leaf(value: int) -> Tensor:
        dtype, shape = program.dtypes[value], program.shapes[value]
        if not dtype.is_floating_point and value not in shared:
            raise Unsupported(f"it reads numbers of type {str(dtype).removeprefix('torch.')} in each step")
        return torch.zeros(shape, dtype=dtype, requires_grad=dtype.is_floating_point)

    inputs = [leaf(value) for value in (*sequences, *shared, *state)]
    tape = Tape(program.rows, REPLACED)
    numbers = [tape.input(t) for t in inputs]
    with torch.enable_grad(), tape:
        found = run(program.rows, *inputs)
    seeds = [torch.zeros_like(t) if t.requires_grad else None for t in found]
    known = [None if seed is None else tape.input(seed) for seed in seeds]
    pairs = [(t, seed) for t, seed in zip(found, seeds, strict=True) if seed is not None]
    if not pairs:
        raise Unsupported("no gradient goes through its state")
    with torch.enable_grad(), tape:
        wanted = [t for t in inputs if t.requires_grad]
        total = _Seeded.apply(len(pairs), *(t for t, _ in pairs), *(seed for _, seed in pairs))  # type: ignore[no-untyped-call]
        gained = torch.autograd.grad(total, wanted, create_graph=True, allow_unused=True)
    grads = {tape.number(t): tape.number(grad) for t, grad in zip(wanted, gained, strict=True) if grad is not None}
    first, second = len(sequences), len(sequences) + len(shared)
    return Joint(
        tape.program,
        numbers[:first],
        numbers[first:second],
        numbers[second:],
        [tape.number(t) for t in found],
        known,
        grads,
    )
