"""From one step of a cell, recorded, to the three parts of a window: before the loop, the loop, and
after it.

What the input alone decides is computed for all steps at once, before the loop over time. What the
next state does not need can wait until after it. Both are run by torch, with its gradients; the
loop is what is left, and becomes a kernel. For a GRU, whose step is

    r, z = sigmoid(x W_r + b_r + h U_r + c_r), sigmoid(x W_z + b_z + h U_z + c_z)
    n    = tanh(x W_n + b_n + r (h U_n + c_n))
    h'   = (1 - z) n + z h = y

the part before is the product of x with all three matrices W, of all steps at once; the loop is the
product of h with all three matrices U, and everything elementwise; nothing comes after.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from recurra.engine.fused.operations import ELEMENTWISE, ELEMENTWISE_REPLACED, FILLS
from recurra.engine.fused.record import Node, Program, Ref, Trace, Unsupported, batch_beside
from recurra.engine.fused.shape_rules import REARRANGED
from recurra.engine.recurrence import Recurrence

aten = torch.ops.aten


@dataclass(frozen=True)
class Step:
    """One step of a cell, recorded: its program, and the numbers of what goes into it and comes
    out.
    """

    program: Program
    x: int
    state: list[int]
    weights: dict[str, int]  # parameters and buffers, by their names in the cell
    y: int
    after: list[int]  # the state after the step

    def __str__(self) -> str:
        names = {self.x: "x"}
        names |= {value: f"state {place}" for place, value in enumerate(self.state)}
        names |= {value: name for name, value in self.weights.items()}
        lines = [f"v{value} {self.program.said(value)} is {name}" for value, name in names.items()]
        after = ", ".join(f"v{value}" for value in self.after)
        return "\n".join([*lines, str(self.program), f"return v{self.y}, state {after}"])


@dataclass(frozen=True)
class Parts:
    """The parts of a step, by the values that pass from one to the next.

    Before the loop: `sequences`, of each step, and `shared`, the same for all rows, are computed
    for it, and `aside` for what comes after. The loop's nodes give the next state and `extras`;
    then those of `after` give the output, where it is not an extra itself.
    """

    step: Step
    sequences: list[int]
    shared: list[int]
    aside: list[int]
    loop: list[Node]
    extras: list[int]
    after: list[Node]

    def __str__(self) -> str:
        program, step = self.step.program, self.step
        needed = program.needs([*self.sequences, *self.shared, *self.aside])
        first = [node for node in program.nodes if needed.intersection(node.outs)]
        lines = ["before the loop"]
        lines += [f"    {program.line(node)}" for node in first]
        lines += [
            f"the loop, for each step: reads {_list(self.sequences)}; for all: {_list(self.shared)}"
        ]
        lines += [f"    {program.line(node)}" for node in self.loop]
        lines += [f"    next state {_list(step.after)}; gives {_list(self.extras)}"]
        lines += [f"after the loop: reads {_list([*self.aside, *self.extras])}"]
        lines += [f"    {program.line(node)}" for node in self.after]
        lines += [f"    output v{step.y}"]
        return "\n".join(lines)


def _list(values: list[int]) -> str:
    return ", ".join(f"v{value}" for value in values) or "nothing"


# recording


class _Step(nn.Module):
    """A cell whose forward is one step, so that torch can call it with other weights."""

    def __init__(self, cell: Recurrence) -> None:
        super().__init__()
        self.cell: Any = cell

    def forward(self, x: Tensor, state: Any) -> Any:
        return self.cell.step(x, state)


def tensors(cell: Recurrence) -> dict[str, Tensor]:
    """Return all that a step may read: parameters and buffers by name."""
    return {**dict(cell.named_parameters()), **dict(cell.named_buffers())}


def recorded(cell: Recurrence, dtype: torch.dtype) -> Step:
    """Record one step of a cell in a type. Raises `Unsupported` if it cannot be a program."""
    width = cell.input_size
    held = {
        name: (
            torch.zeros(t.shape, dtype=dtype).requires_grad_()
            if t.is_floating_point()
            else t.detach().clone()
        )
        for name, t in tensors(cell).items()
    }

    probe = cell.initial_state(2, device=torch.device("cpu"), dtype=dtype)
    sizes = [size for t in (*held.values(), *(field[0] for field in probe)) for size in t.shape]
    rows = batch_beside([width, *sizes])
    state = cell.initial_state(rows, device=torch.device("cpu"), dtype=dtype)
    for name, field in zip(getattr(state, "_fields", range(99)), state, strict=False):
        if field.dtype != dtype:
            raise Unsupported(f"state {name} is {str(field.dtype).removeprefix('torch.')}")

    fields = [torch.zeros_like(field).requires_grad_() for field in state]
    x = torch.zeros(rows, width, dtype=dtype).requires_grad_()
    trace = Trace(rows, {}, cuts=True)
    numbers = [trace.input(t) for t in (x, *fields)]
    weights = {name: trace.input(t) for name, t in held.items()}

    make = getattr(type(state), "_make", type(state))
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), trace:
        y, after = torch.func.functional_call(
            _Step(cell), {f"cell.{name}": t for name, t in held.items()}, (x, make(fields))
        )
    step = Step(
        trace.program,
        numbers[0],
        numbers[1:],
        weights,
        trace.number(y),
        [trace.number(field) for field in after],
    )
    _check(step)
    return step


def _check(step: Step) -> None:
    """Refuse a step whose output is not `[B, ...]`, or whose state changes its shape or type."""
    program = step.program
    if program.batch(step.y) != 0:
        raise Unsupported(f"its output has the shape {program.said(step.y)}")

    for old, new in zip(step.state, step.after, strict=True):
        if program.shapes[old] != program.shapes[new] or program.dtypes[old] != program.dtypes[new]:
            was, is_now = (f"{program.said(v)} of {str(program.dtypes[v])[6:]}" for v in (old, new))
            raise Unsupported(f"a step makes a state field {is_now} of one that is {was}")


# products of [x, h]


def split_products(step: Step) -> Step:
    """Make a product of [x, h] side by side the sum of one with x, which can leave the loop, and
    one with h.
    """
    program = step.program.copied()
    carried = program.reaches(step.state)
    makers = program.makers()

    program.nodes = []
    for node in step.program.nodes:
        parts = _side_by_side(node, makers, carried)
        program.nodes += [node] if parts is None else _summed(program, node, parts)
    return replace(step, program=program)


def _side_by_side(node: Node, makers: dict[int, Node], carried: set[int]) -> list[Ref] | None:
    """Return what stands side by side in the left factor of a product, if only some of it hangs on
    the state.
    """
    if node.func not in (aten.mm.default, aten.addmm.default) or node.kwargs:
        return None
    joint = makers.get(node.args[-2].index)
    if (
        joint is None
        or joint.name != "aten.cat"
        or len(joint.args) < 2
        or joint.args[1] not in (1, -1)
    ):
        return None
    parts: list[Ref] = joint.args[0]
    return parts if {ref.index in carried for ref in parts} == {True, False} else None


def _summed(program: Program, node: Node, parts: list[Ref]) -> list[Node]:
    """Return the nodes of [a, b] M + bias as (a M_a + bias) + b M_b, M_a being the first rows of
    M.
    """
    *bias, _, matrix = node.args
    rows, columns = program.shapes[matrix.index]
    whole = node.outs[0]
    nodes: list[Node] = []
    at, total = 0, None

    for ref in parts:
        width = program.shapes[ref.index][1]
        block = program.add((width, columns), program.dtypes[matrix.index])
        nodes.append(Node(aten.slice.Tensor, (matrix, 0, at, at + width), {}, (block,)))

        product = program.add(program.shapes[whole], program.dtypes[whole])
        first = bias if at == 0 else []
        func = aten.addmm.default if first else aten.mm.default
        nodes.append(Node(func, (*first, ref, Ref(block)), {}, (product,)))

        at += width
        if total is None:
            total = product
            continue
        added = whole if at == rows else program.add(program.shapes[whole], program.dtypes[whole])
        nodes.append(Node(aten.add.Tensor, (Ref(total), Ref(product)), {}, (added,)))
        total = added
    return nodes


# the questions


def parts(step: Step) -> Parts:
    """Divide a step into before, loop and after. Raises `Unsupported` if its rows are not
    independent.
    """
    _rows_are_apart(step.program)
    carried = step.program.reaches(step.state)
    given = _decided_by_the_input(step, carried)

    loop = _needed_by_the_next_state(step, carried)
    loop += _in_passing(step, carried, loop)
    reads = _Reads(step, given, {*step.state, *_outs(loop)})
    for value in [*(ref for node in loop for ref in node.refs), *step.after]:
        reads.find(value)
    loop = _in_order(step.program, [*loop, *reads.again])

    if step.y in reads.inside:
        return Parts(step, reads.sequences, reads.shared, [], loop, [step.y], [])
    after = _what_can_wait(step, carried, loop)
    extras, aside = _read_afterwards(step, carried, given, reads.inside, after)
    return Parts(step, reads.sequences, reads.shared, aside, loop, extras, after)


def _rows_are_apart(program: Program) -> None:
    """Refuse a program that mixes the rows of the batch."""
    for node in program.nodes:
        reads_rows = any(program.batch(ref) is not None for ref in node.refs)
        if reads_rows and any(program.batch(out) is None for out in node.outs):
            raise Unsupported(f"it mixes the rows of the batch ({node.name})")


def _decided_by_the_input(step: Step, carried: set[int]) -> set[int]:
    """Return what the input alone decides, of each row. GRU: x W + b of the three gates."""
    program = step.program
    of_input = program.reaches([step.x]) - carried
    of_rows = {value for value in range(len(program.shapes)) if program.batch(value) is not None}
    return of_input | (of_rows - carried)


def _needed_by_the_next_state(step: Step, carried: set[int]) -> list[Node]:
    """Return the nodes that hang on the state and lead to the next. GRU: from h U to h', all of
    them.
    """
    needed = step.program.needs([value for value in step.after if value in carried]) & carried
    return [node for node in step.program.nodes if needed.intersection(node.outs)]


def _in_passing(step: Step, carried: set[int], loop: list[Node]) -> list[Node]:
    """Return the nodes of the output alone that the loop computes in passing: elementwise, of what
    it has.

    GRU: none, since its output is its state. LSTM: none; its tanh(c) is needed by the next h.
    """
    program = step.program
    shown = program.needs([step.y]) & carried
    inside = {*step.state, *_outs(loop)}
    passing = []
    for node in program.nodes:
        if not shown.intersection(node.outs) or not _light(node) or inside.issuperset(node.outs):
            continue
        if all(ref in inside for ref in node.refs if ref in carried):
            passing.append(node)
            inside.update(node.outs)
    return passing


def _light(node: Node) -> bool:
    """Tell whether a kernel computes a node in passing: it is elementwise, or rearranges."""
    name = node.name.removeprefix("aten.")
    return (
        name in ELEMENTWISE or name in FILLS or name in REARRANGED or name in ELEMENTWISE_REPLACED
    )


class _Reads:
    """Where the loop has the values from that it does not make.

    `sequences`: computed before it for all steps at once; GRU: the three gates' x W + b. `shared`:
    the same for all rows; GRU: the matrices U and their biases c. `again`: the nodes of what is
    light, and made of a sequence: the loop computes it itself, since to read it would be more than
    to compute it.
    """

    def __init__(self, step: Step, given: set[int], inside: set[int]) -> None:
        self.step, self.given, self.inside = step, given, inside
        self.makers = step.program.makers()
        self.heavy = self._heavy()
        self.sequences: list[int] = []
        self.shared: list[int] = []
        self.again: list[Node] = []

    def _heavy(self) -> set[int]:
        """Return what leads to a product of the input, and the product: before the loop it is one
        for all steps.
        """
        program = self.step.program
        products = [out for node in program.nodes if not _light(node) for out in node.outs]
        return program.needs(value for value in products if value in self.given) & self.given

    def find(self, value: int) -> None:
        """Find where a value comes from."""
        if value in self.inside:
            return

        if value not in self.given:
            if value not in self.shared:
                self.shared.append(value)
            return

        if value == self.step.x or value in self.heavy or value not in self.makers:
            if value not in self.sequences:
                self.sequences.append(value)
            return

        node = self.makers[value]
        self.inside.update(node.outs)
        self.again.append(node)
        for ref in node.refs:
            self.find(ref)


def _what_can_wait(step: Step, carried: set[int], loop: list[Node]) -> list[Node]:
    """Return the nodes of the output that the loop does not make. GRU: none."""
    shown = step.program.needs([step.y]) & carried
    inside = {id(node) for node in loop}
    return [
        node
        for node in step.program.nodes
        if id(node) not in inside and shown.intersection(node.outs)
    ]


def _read_afterwards(
    step: Step, carried: set[int], given: set[int], inside: set[int], after: list[Node]
) -> tuple[list[int], list[int]]:
    """Return what is read after the loop: what the loop gives, and what was computed before it."""
    made = _outs(after)
    needed = {ref for node in after for ref in node.refs} - made if step.y in made else {step.y}
    extras = sorted(v for v in needed if v in inside and (v in carried or v not in given))
    return extras, sorted(needed - set(extras))


def _outs(nodes: list[Node]) -> set[int]:
    return {out for node in nodes for out in node.outs}


def _in_order(program: Program, nodes: list[Node]) -> list[Node]:
    """Return nodes in the order of their program."""
    order = {id(node): place for place, node in enumerate(program.nodes)}
    return sorted(nodes, key=lambda node: order[id(node)])
