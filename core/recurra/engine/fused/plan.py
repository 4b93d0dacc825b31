"""What is run for a window of a cell: the parts before and after the loop, and the loop's step with
its gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recurra.engine.fused.gradient import Joint, joint
from recurra.engine.fused.split import Parts, Step, parts, recorded, split_products
from recurra.engine.fused.subgraph import Subgraph, subgraph
from recurra.engine.recurrence import Recurrence


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

    def fits(self, rows: int, weights: Sequence[Tensor | None], state: Sequence[Tensor]) -> bool:
        """Tell whether tensors are as large as those recorded: a kernel would read beyond others
        without a word.
        """
        pairs = [*zip(weights, self.weight_shapes, strict=True)]
        pairs += zip(state, [(rows, *width) for width in self.widths], strict=True)
        return all(t is not None and t.shape == shape for t, shape in pairs)


def plan(cell: Recurrence, dtype: torch.dtype) -> Plan:
    """Return the plan of a cell for a type. Raises `Unsupported` if its step cannot be one."""
    with torch.inference_mode(False):
        step = recorded(cell, dtype)
        return _planned(step, parts(split_products(step)))


def _planned(recorded: Step, made: Parts) -> Plan:
    """Return the plan of a step that is divided."""
    step, program = made.step, made.step.program
    sequences, shared, extras = made.sequences, made.shared, made.extras
    loop = subgraph(program, made.loop, [*sequences, *shared, *step.state], [*step.after, *extras])
    before = subgraph(
        program, program.nodes, [step.x, *step.weights.values()], [*sequences, *made.aside, *shared]
    )
    after = None
    if extras != [step.y] or made.after:
        after = subgraph(program, made.after, [*made.aside, *extras], [step.y])

    return Plan(
        step=recorded,
        parts=made,
        joint=joint(program, loop, sequences, shared, step.state),
        before=before,
        loop=loop,
        after=after,
        weights=[(name.rpartition(".")[0], name.rpartition(".")[2]) for name in step.weights],
        weight_shapes=[program.shapes[value] for value in step.weights.values()],
        widths=[program.shapes[value][1:] for value in step.state],
        sequence_axes=[program.batch(value) or 0 for value in sequences],
        extra_shapes=[
            tuple(size for size in program.shapes[value] if size != program.rows)
            for value in extras
        ],
        extra_axes=[program.batch(value) or 0 for value in extras],
    )
