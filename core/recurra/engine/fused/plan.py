"""What is run for a window of a cell: before its loop, in each step of it, and after it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.engine.fused.gradient import Joint, joint
from recurra.engine.fused.record import Node, Program
from recurra.engine.fused.split import Parts, Step, parts, recorded, split_products
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.recurrence import Recurrence

aten = torch.ops.aten

FACTORS = {
    aten.mm.default: 0,
    aten.bmm.default: 0,
    aten.addmm.default: 1,
    aten.baddbmm.default: 1,
}
"""Of each product, which argument the left factor is."""


@dataclass(frozen=True)
class Plan:
    """What is run for a window. Shapes are without the batch.

    `before(rows, x, *weights)` gives the sequences that the loop reads, what `after` reads, and the
    tensors that all rows share. `after(rows, *aside, *extras)` gives the output, where it is not
    `extras[0]` itself.
    """

    step: Step
    parts: Parts
    joint: Joint
    before: Subgraph
    loop: Subgraph
    after: Subgraph | None
    weights: list[tuple[str, str]]  # of each: the module that holds it, and its name there
    weight_shapes: list[tuple[int, ...]]
    widths: list[tuple[int, ...]]  # of each state field
    sequence_axes: list[int]  # which axis of each sequence is the batch, as the step has it
    extra_shapes: list[tuple[int, ...]]
    extra_axes: list[int]
    work: int  # multiply-adds of the products before and after the loop, of a row's step

    def fits(self, rows: int, weights: Sequence[Tensor | None], state: Sequence[Tensor]) -> bool:
        """Tell whether tensors are as large as those recorded.

        A kernel would read beyond smaller ones without a word.
        """
        for weight, shape in zip(weights, self.weight_shapes, strict=True):
            if weight is None or weight.shape != shape:
                return False
        for field, width in zip(state, self.widths, strict=True):
            if field.shape != (rows, *width):
                return False
        return True


def plan(cell: Recurrence, dtype: torch.dtype) -> Plan:
    """Return the plan of a cell for a type. Raises `Unsupported` if its step cannot be one."""
    with torch.inference_mode(False):
        step = recorded(cell, dtype)
        divided = parts(split_products(step))
        return _planned(step, divided)


def _planned(recorded: Step, divided: Parts) -> Plan:
    """Return the plan of a step that is divided."""
    step, program = divided.step, divided.step.program
    sequences, shared, aside = divided.sequences, divided.shared, divided.aside
    extras = divided.extras

    before = subgraph(
        program,
        program.nodes,
        inputs=[step.x, *step.weights.values()],
        outputs=[*sequences, *aside, *shared],
    )
    loop = subgraph(
        program,
        divided.loop,
        inputs=[*sequences, *shared, *step.state],
        outputs=[*step.after, *extras],
    )
    after = None
    if extras != [step.y] or divided.after:
        after = subgraph(program, divided.after, inputs=[*aside, *extras], outputs=[step.y])

    # A weight of a block inside a cell: `gate.weight` is `weight` of the module `gate`.
    weights = []
    for path in step.weights:
        module, _, name = path.rpartition(".")
        weights.append((module, name))

    return Plan(
        step=recorded,
        parts=divided,
        joint=joint(program, loop, sequences, shared, step.state),
        before=before,
        loop=loop,
        after=after,
        weights=weights,
        weight_shapes=[program.shapes[value] for value in step.weights.values()],
        widths=[program.shapes[value][1:] for value in step.state],
        sequence_axes=[program.batch(value) or 0 for value in sequences],
        extra_shapes=[_without_batch(program, value) for value in extras],
        extra_axes=[program.batch(value) or 0 for value in extras],
        work=_products_work(program, [*divided.before, *divided.after]),
    )


def _products_work(program: Program, nodes: Sequence[Node]) -> int:
    """Return how many multiply-adds the products of nodes take for each row."""
    work = 0
    for node in nodes:
        if node.func in FACTORS and program.has_batch(node.outs[0]):
            inner = program.shapes[node.args[FACTORS[node.func]].index][-1]
            work += math.prod(program.shapes[node.outs[0]]) * inner // program.rows
    return work


def _without_batch(program: Program, value: int) -> tuple[int, ...]:
    return tuple(size for size in program.shapes[value] if size != program.rows)
