"""A loop's step together with its gradients, recorded as one program.

The step is run again on a trace, and torch differentiates it there: what its gradients compute is
written down behind it. `seeds` are the gradients that come in, one for each output that has any.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recurra.engine.fused.operations import REPLACED
from recurra.engine.fused.record import Program, Trace, Unsupported, type_text, values_text
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
        names = {value: f"sequence {i}" for i, value in enumerate(self.sequences)}
        names |= {value: f"shared {i}" for i, value in enumerate(self.shared)}
        names |= {value: f"state {i}" for i, value in enumerate(self.state)}
        for i, seed in enumerate(self.seeds):
            if seed is not None:
                names[seed] = f"gradient that comes of output {i}"

        lines = [f"{self.program.value_text(value)} is {name}" for value, name in names.items()]
        lines.append(str(self.program))
        lines.append(f"outputs {values_text(self.outs)}")
        lines += [f"gradient of v{value} is v{grad}" for value, grad in self.grads.items()]
        return "\n".join(lines)


class _Seeded(torch.autograd.Function):
    """A number whose gradients in some tensors are others, its seeds.

    Torch, given seeds itself, imports sympy.
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
    program: Program,
    loop: Subgraph,
    sequences: list[int],
    shared: list[int],
    state: list[int],
    replaced: Mapping[Any, Callable[..., Any]] = REPLACED,
) -> Joint:
    """Record the loop's step and its gradients.

    The loop reads sequences, shared values and state, in this order. What is `replaced` is recorded
    in terms of other operations. Raises `Unsupported` where no gradient goes through it.
    """
    inputs = [_leaf(program, value, value in shared) for value in (*sequences, *shared, *state)]
    trace = Trace(program.rows, replaced)
    numbers = [trace.input(t) for t in inputs]
    with torch.enable_grad(), trace:
        outs = loop(program.rows, *inputs)

    # A seed for each output that has a gradient: only after the step does torch know which have.
    seeds: list[int | None] = []
    seeded: list[Tensor] = []
    seed_tensors: list[Tensor] = []
    for out in outs:
        if not out.requires_grad:
            seeds.append(None)
            continue
        seed = torch.zeros_like(out)
        seeds.append(trace.input(seed))
        seeded.append(out)
        seed_tensors.append(seed)
    if not seeded:
        raise Unsupported("no gradient goes through its state")

    leaves = [t for t in inputs if t.requires_grad]
    with torch.enable_grad(), trace:
        total = _Seeded.apply(len(seeded), *seeded, *seed_tensors)  # type: ignore[no-untyped-call]
        gradients = torch.autograd.grad(total, leaves, create_graph=True, allow_unused=True)

    grads: dict[int, int] = {}
    for leaf, gradient in zip(leaves, gradients, strict=True):
        if gradient is not None:
            grads[trace.number(leaf)] = trace.number(gradient)

    first_shared = len(sequences)
    first_state = first_shared + len(shared)
    return Joint(
        program=trace.program,
        sequences=numbers[:first_shared],
        shared=numbers[first_shared:first_state],
        state=numbers[first_state:],
        outs=[trace.number(out) for out in outs],
        seeds=seeds,
        grads=grads,
    )


def _leaf(program: Program, value: int, for_all_rows: bool) -> Tensor:
    """Return zeros like a value; one that is for all rows may be of integers or conditions."""
    dtype = program.dtypes[value]
    if not dtype.is_floating_point and not for_all_rows:
        raise Unsupported(f"it reads numbers of type {type_text(dtype)} in each step")
    return torch.zeros(program.shapes[value], dtype=dtype, requires_grad=dtype.is_floating_point)
