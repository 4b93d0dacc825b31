"""A loop's step together with its gradients, recorded as one program.

The step is run again on a trace, and torch differentiates it there: what its gradients compute is
written down behind it. `seeds` are the gradients that come in, one for each output that has any.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.record import Program, Trace, Unsupported
from recurra.engine.fused.subgraph import Subgraph


@dataclass(frozen=True)
class Joint:
    """The loop's step with its gradients: the numbers of what goes in and comes out.

    `outs` are the new state fields, then what else the step gives; `seeds` their gradients, `grads`
    those of the inputs. A step without gradients has no seeds and no `grads`.
    """

    program: Program
    sequences: list[int]
    shared: list[int]
    state: list[int]
    outs: list[int]
    seeds: list[int | None]
    grads: dict[int, int]

    def __str__(self) -> str:
        known = {value: f"sequence {i}" for i, value in enumerate(self.sequences)}
        known |= {value: f"shared {i}" for i, value in enumerate(self.shared)}
        known |= {value: f"state {i}" for i, value in enumerate(self.state)}
        seeds = ((place, value) for place, value in enumerate(self.seeds) if value is not None)
        known |= {value: f"gradient that comes of output {place}" for place, value in seeds}
        lines = [f"v{value} {self.program.said(value)} is {name}" for value, name in known.items()]
        lines.append(str(self.program))
        lines.append(f"outputs {', '.join(f'v{value}' for value in self.outs)}")
        lines += [f"gradient of v{value} is v{grad}" for value, grad in self.grads.items()]
        return "\n".join(lines)


class _Seeded(torch.autograd.Function):
    """A number whose gradients in some tensors are others, its seeds: torch, given seeds itself,
    imports sympy.
    """

    @staticmethod
    def forward(ctx: Any, count: int, *tensors: Tensor) -> Tensor:
        """Keep the seeds, the second half of the tensors."""
        ctx.save_for_backward(*tensors[count:])
        return tensors[0].new_zeros(())

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the seeds."""
        return None, *ctx.saved_tensors, *[None] * len(ctx.saved_tensors)


def joint(
    program: Program, loop: Subgraph, sequences: list[int], shared: list[int], state: list[int]
) -> Joint:
    """Record the loop's step, which reads sequences, shared values and state in this order, and its
    gradients.

    Raises `Unsupported` where no gradient goes through it.
    """
    inputs = [
        _leaf(program, value, counts=value in shared) for value in (*sequences, *shared, *state)
    ]
    trace = Trace(program.rows, REPLACED)
    numbers = [trace.input(t) for t in inputs]
    with torch.enable_grad(), trace:
        outs = loop(program.rows, *inputs)

    seeds = [torch.zeros_like(t) if t.requires_grad else None for t in outs]
    known = [None if seed is None else trace.input(seed) for seed in seeds]
    pairs = [(t, seed) for t, seed in zip(outs, seeds, strict=True) if seed is not None]
    if not pairs:
        raise Unsupported("no gradient goes through its state")

    with torch.enable_grad(), trace:
        wanted = [t for t in inputs if t.requires_grad]
        total = _Seeded.apply(len(pairs), *(t for t, _ in pairs), *(seed for _, seed in pairs))  # type: ignore[no-untyped-call]
        gained = torch.autograd.grad(total, wanted, create_graph=True, allow_unused=True)
    grads = {
        trace.number(t): trace.number(grad)
        for t, grad in zip(wanted, gained, strict=True)
        if grad is not None
    }

    first, second = len(sequences), len(sequences) + len(shared)
    return Joint(
        trace.program,
        numbers[:first],
        numbers[first:second],
        numbers[second:],
        [trace.number(t) for t in outs],
        known,
        grads,
    )


def _leaf(program: Program, value: int, counts: bool) -> Tensor:
    """Return zeros like a value; one that is the same for all rows may count, or be a condition."""
    dtype = program.dtypes[value]
    if not dtype.is_floating_point and not counts:
        raise Unsupported(
            f"it reads numbers of type {str(dtype).removeprefix('torch.')} in each step"
        )
    return torch.zeros(program.shapes[value], dtype=dtype, requires_grad=dtype.is_floating_point)
