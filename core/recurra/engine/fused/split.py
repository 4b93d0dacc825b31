"""From one recorded step of a cell to the three parts of a window: before, in and after the loop.

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
from recurra.engine.fused.record import (
    Node,
    Program,
    Ref,
    Trace,
    Unsupported,
    batch_beside,
    type_text,
    values_text,
)
from recurra.engine.fused.shape_rules import REARRANGED
from recurra.engine.recurrence import Recurrence

aten = torch.ops.aten


@dataclass(frozen=True)
class Step:
    """One recorded step of a cell: its program, and the numbers of what goes in and comes out."""

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

        lines = [f"{self.program.value_text(value)} is {name}" for value, name in names.items()]
        lines.append(str(self.program))
        lines.append(f"return v{self.y}, state {values_text(self.after)}")
        return "\n".join(lines)


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

    @property
    def before(self) -> list[Node]:
        """The nodes of what is computed before the loop."""
        program = self.step.program
        needed = program.needs([*self.sequences, *self.shared, *self.aside])
        return [node for node in program.nodes if needed.intersection(node.outs)]

    def __str__(self) -> str:
        program, step = self.step.program, self.step
        each, for_all = _list(self.sequences), _list(self.shared)

        lines = ["before the loop"]
        lines += [f"    {program.line(node)}" for node in self.before]
        lines.append(f"the loop, for each step: reads {each}; for all: {for_all}")
        lines += [f"    {program.line(node)}" for node in self.loop]
        lines.append(f"    next state {_list(step.after)}; gives {_list(self.extras)}")
        lines.append(f"after the loop: reads {_list([*self.aside, *self.extras])}")
        lines += [f"    {program.line(node)}" for node in self.after]
        lines.append(f"    output v{step.y}")
        return "\n".join(lines)


def _list(values: list[int]) -> str:
    return values_text(values) or "nothing"


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
    weights = {name: _weight(t, dtype) for name, t in tensors(cell).items()}
    rows = _rows(cell, weights, dtype)
    state = cell.initial_state(rows, device=torch.device("cpu"), dtype=dtype)
    for name, field in zip(getattr(state, "_fields", range(99)), state, strict=False):
        if field.dtype != dtype:
            raise Unsupported(f"state {name} is {type_text(field.dtype)}")

    # Zeros in their place: a program is the same for all values, and they begin no gradient.
    fields = [torch.zeros_like(field).requires_grad_() for field in state]
    x = torch.zeros(rows, cell.input_size, dtype=dtype).requires_grad_()
    trace = Trace(rows, {}, cuts=True)
    x_number = trace.input(x)
    state_numbers = [trace.input(field) for field in fields]
    weight_numbers = {name: trace.input(t) for name, t in weights.items()}

    rebuilt = getattr(type(state), "_make", type(state))
    substitutes = {f"cell.{name}": t for name, t in weights.items()}
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), trace:
        y, after = torch.func.functional_call(_Step(cell), substitutes, (x, rebuilt(fields)))

    step = Step(
        program=trace.program,
        x=x_number,
        state=state_numbers,
        weights=weight_numbers,
        y=trace.number(y),
        after=[trace.number(field) for field in after],
    )
    _check(step)
    return step


def _weight(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Return what stands for a parameter or buffer in a recording.

    The values of floats do not matter; an integer may be a size or an index, and keeps its own.
    """
    if tensor.is_floating_point():
        return torch.zeros(tensor.shape, dtype=dtype).requires_grad_()
    return tensor.detach().clone()


def _rows(cell: Recurrence, weights: dict[str, Tensor], dtype: torch.dtype) -> int:
    """Return a size of the batch that cannot be taken for any other size of the cell."""
    sizes = [cell.input_size]
    for weight in weights.values():
        sizes += weight.shape

    probe = cell.initial_state(2, device=torch.device("cpu"), dtype=dtype)
    for field in probe:
        sizes += field.shape[1:]
    return batch_beside(sizes)


def _check(step: Step) -> None:
    """Refuse a step whose output is not `[B, ...]`, or whose state changes its shape or type."""
    program = step.program
    if program.batch(step.y) != 0:
        raise Unsupported(f"its output has the shape {program.shape_text(step.y)}")

    for old, new in zip(step.state, step.after, strict=True):
        same_shape = program.shapes[old] == program.shapes[new]
        if not same_shape or program.dtypes[old] != program.dtypes[new]:
            before, after = _kind_text(program, old), _kind_text(program, new)
            raise Unsupported(f"a step makes a state field {after} of one that is {before}")


def _kind_text(program: Program, value: int) -> str:
    return f"{program.shape_text(value)} of {type_text(program.dtypes[value])}"


# products of [x, h]


def split_products(step: Step) -> Step:
    """Split a product of [x, h] side by side into one with x and one with h, which are added.

    The product with x can then leave the loop.
    """
    program = step.program.copy()
    carried = program.reaches(step.state)
    makers = program.makers()

    program.nodes = []
    for node in step.program.nodes:
        factors = _side_by_side(node, makers, carried)
        if factors is None:
            program.nodes.append(node)
        else:
            program.nodes += _sum_of_products(program, node, factors)
    return replace(step, program=program)


def _side_by_side(node: Node, makers: dict[int, Node], carried: set[int]) -> list[Ref] | None:
    """Return the parts of the left factor of a product, if only some of them hang on the state."""
    if node.func not in (aten.mm.default, aten.addmm.default) or node.kwargs:
        return None

    left = makers.get(node.args[-2].index)
    if left is None or left.name != "aten.cat" or len(left.args) != 2:
        return None
    factors, axis = left.args
    if axis not in (1, -1):
        return None

    refs: list[Ref] = factors
    on_state = {ref.index in carried for ref in refs}
    return refs if on_state == {True, False} else None


def _sum_of_products(program: Program, node: Node, factors: list[Ref]) -> list[Node]:
    """Return the nodes of [a, b] M + bias as (a M_a + bias) + b M_b.

    M_a is the first rows of M, as many as a has columns, and M_b the rest.
    """
    *bias, _, matrix = node.args
    matrix_rows, columns = program.shapes[matrix.index]
    dtype = program.dtypes[matrix.index]
    result = node.outs[0]
    result_shape, result_dtype = program.shapes[result], program.dtypes[result]

    nodes: list[Node] = []
    start, total = 0, None
    for factor in factors:
        # The rows of M that belong to this factor.
        stop = start + program.shapes[factor.index][1]
        block = program.add((stop - start, columns), dtype)
        nodes.append(_node(aten.slice.Tensor, (matrix, 0, start, stop), block))

        # The first product takes the bias along, where there is one.
        product = program.add(result_shape, result_dtype)
        operands = (factor, Ref(block))
        if bias and start == 0:
            nodes.append(_node(aten.addmm.default, (*bias, *operands), product))
        else:
            nodes.append(_node(aten.mm.default, operands, product))

        start = stop
        if total is None:
            total = product
            continue

        # The last sum is the value that the whole product was.
        added = result if stop == matrix_rows else program.add(result_shape, result_dtype)
        nodes.append(_node(aten.add.Tensor, (Ref(total), Ref(product)), added))
        total = added
    return nodes


def _node(func: Any, args: tuple[Any, ...], out: int) -> Node:
    return Node(func, args, {}, (out,))


# the questions


def parts(step: Step) -> Parts:
    """Divide a step into before, loop and after.

    Raises `Unsupported` if its rows are not independent.
    """
    _rows_are_apart(step.program)
    carried = step.program.reaches(step.state)
    of_input = _decided_by_the_input(step, carried)

    loop = _needed_by_the_next_state(step, carried)
    loop += _in_passing(step, carried, loop)

    # Where the loop has from what it reads and does not compute; some of that it computes again.
    reads = _Reads(step, of_input, {*step.state, *_outs(loop)})
    for value in [*_refs(loop), *step.after]:
        reads.find(value)
    loop = _in_order(step.program, [*loop, *reads.again])
    sequences, shared = reads.sequences, reads.shared

    if step.y in reads.inside:
        return Parts(step, sequences, shared, aside=[], loop=loop, extras=[step.y], after=[])
    after = _what_can_wait(step, carried, loop)
    read = _read_afterwards(step, after)

    # What the loop has, it gives; what the input alone decides was there before it.
    of_loop = read & reads.inside
    extras = sorted(of_loop & carried | of_loop - of_input)
    aside = sorted(read.difference(extras))
    return Parts(step, sequences, shared, aside, loop, extras, after)


def _rows_are_apart(program: Program) -> None:
    """Refuse a program that mixes the rows of the batch."""
    for node in program.nodes:
        reads_rows = any(program.has_batch(ref) for ref in node.refs)
        gives_rows = all(program.has_batch(out) for out in node.outs)
        if reads_rows and not gives_rows:
            raise Unsupported(f"it mixes the rows of the batch ({node.name})")


def _decided_by_the_input(step: Step, carried: set[int]) -> set[int]:
    """Return what the input alone decides, of each row. GRU: x W + b of the three gates."""
    program = step.program
    of_input = program.reaches([step.x])
    of_rows = filter(program.has_batch, range(len(program.shapes)))
    return of_input.union(of_rows) - carried


def _needed_by_the_next_state(step: Step, carried: set[int]) -> list[Node]:
    """Return the nodes between the state and the next. GRU: from h U to h', all of them."""
    carried_after = [value for value in step.after if value in carried]
    needed = step.program.needs(carried_after) & carried
    return [node for node in step.program.nodes if needed.intersection(node.outs)]


def _in_passing(step: Step, carried: set[int], loop: list[Node]) -> list[Node]:
    """Return the nodes of the output alone that the loop computes in passing.

    They are elementwise, of what the loop has. GRU: none, since its output is its state. LSTM:
    none; its tanh(c) is needed by the next h.
    """
    of_output = step.program.needs([step.y]) & carried
    inside = {*step.state, *_outs(loop)}
    passing = []
    for node in step.program.nodes:
        if not of_output.intersection(node.outs) or not light(node):
            continue
        if inside.issuperset(node.outs):
            continue
        if all(ref in inside for ref in node.refs if ref in carried):
            passing.append(node)
            inside.update(node.outs)
    return passing


IN_PASSING = ELEMENTWISE | {*FILLS} | REARRANGED | ELEMENTWISE_REPLACED
"""Operations that a kernel computes in passing: they are elementwise, or rearrange."""


def light(node: Node) -> bool:
    """Tell whether an operation is elementwise, or rearranges."""
    return node.name.removeprefix("aten.") in IN_PASSING


class _Reads:
    """Where the loop has the values from that it does not make.

    `sequences`: computed before it for all steps at once; GRU: the three gates' x W + b. `shared`:
    the same for all rows; GRU: the matrices U and their biases c. `again`: the nodes of what is
    light, and made of a sequence: the loop computes it itself, since to read it would be more than
    to compute it.
    """

    def __init__(self, step: Step, of_input: set[int], inside: set[int]) -> None:
        self.step = step
        self.of_input = of_input
        self.inside = inside
        self.makers = step.program.makers()
        self.heavy = self._heavy()
        self.sequences: list[int] = []
        self.shared: list[int] = []
        self.again: list[Node] = []

    def _heavy(self) -> set[int]:
        """Return what leads to a product of the input, and the product.

        Before the loop it is one product for all steps.
        """
        products = _outs([node for node in self.step.program.nodes if not light(node)])
        return self.step.program.needs(products & self.of_input) & self.of_input

    def find(self, value: int) -> None:
        """Find where a value comes from."""
        if value in self.inside:
            return

        if value not in self.of_input:
            if value not in self.shared:
                self.shared.append(value)
            return

        # x itself, a product of it, or an input of the program that no node makes.
        if value == self.step.x or value in self.heavy or value not in self.makers:
            if value not in self.sequences:
                self.sequences.append(value)
            return

        # It is light: the loop computes it again, of what its node reads.
        node = self.makers[value]
        self.inside.update(node.outs)
        self.again.append(node)
        for ref in node.refs:
            self.find(ref)


def _what_can_wait(step: Step, carried: set[int], loop: list[Node]) -> list[Node]:
    """Return the nodes of the output that the loop does not make. GRU: none."""
    of_output = step.program.needs([step.y]) & carried
    # A node has no hash, since its arguments may be lists: it is told by its identity.
    inside = {id(node) for node in loop}
    outside = [node for node in step.program.nodes if id(node) not in inside]
    return [node for node in outside if of_output.intersection(node.outs)]


def _read_afterwards(step: Step, after: list[Node]) -> set[int]:
    """Return what the nodes after the loop read; the output itself, where none of them makes it."""
    outs = _outs(after)
    return {*_refs(after)} - outs if step.y in outs else {step.y}


def _outs(nodes: list[Node]) -> set[int]:
    return {out for node in nodes for out in node.outs}


def _refs(nodes: list[Node]) -> list[int]:
    return [ref for node in nodes for ref in node.refs]


def _in_order(program: Program, nodes: list[Node]) -> list[Node]:
    """Return nodes in the order of their program."""
    order = {id(node): place for place, node in enumerate(program.nodes)}
    return sorted(nodes, key=lambda node: order[id(node)])
