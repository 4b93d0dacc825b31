"""The gradients of what stands before the loop: of the input and the weights."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, cached_property

import torch
from torch import Tensor

from recurra.engine.fused.gradient import Joint, joint
from recurra.engine.fused.plan import Plan
from recurra.engine.fused.record import Node, Unsupported
from recurra.engine.fused.split import light
from recurra.engine.fused.subgraph import Subgraph, needed, subgraph


class Before:
    """The gradients of what a plan computes before its loop, from those of what it gives."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.of = cache(self._of)

    @cached_property
    def joint(self) -> Joint | None:
        """What is before the loop with its gradients; nothing where they are not to be had so.

        They may read the input, the weights and what the loop reads; where a product would have to
        be made again, torch had better keep it.
        """
        plan = self.plan
        if plan.after is not None or any(plan.sequence_axes):
            return None
        step = plan.parts.step
        weights = [*step.weights.values()]
        try:
            made = joint(step.program, plan.before, [step.x], weights, [], replaced={})
        except Unsupported:
            return None

        late = made.program.reaches(seed for seed in made.seeds if seed is not None)
        again = needed(self._unmade(made), made.grads.values())
        if all(light(node) or late.issuperset(node.outs) for node in again):
            return made
        return None

    @staticmethod
    def _unmade(made: Joint) -> list[Node]:
        """Return the nodes of values that are not given."""
        given = {*made.sequences, *made.shared, *made.outs}
        return [node for node in made.program.nodes if not given.issuperset(node.outs)]

    def _of(self, wanted: tuple[bool, ...]) -> tuple[Subgraph, list[int], list[int]]:
        """Return a function of the gradients of the wanted ones of the input and the weights.

        It is given the values at some places of: input, weights, what the loop reads, and the
        gradients of that. With it come these places, and those of its results.
        """
        made = self.joint
        assert made is not None, "whoever asks has seen to that"
        values: list[int | None] = [*made.sequences, *made.shared, *made.outs, *made.seeds]
        places = {value: at for at, value in reversed([*enumerate(values)]) if value is not None}

        sources = [*made.sequences, *made.shared]
        results = [
            at
            for at, (source, is_wanted) in enumerate(zip(sources, wanted, strict=True))
            if is_wanted and source in made.grads
        ]
        outputs = [made.grads[sources[at]] for at in results]
        run = subgraph(made.program, self._unmade(made), [*places], outputs)
        return run, [*places.values()], results

    def gradients(
        self,
        rows: int,
        sources: Sequence[Tensor],
        read: Sequence[Tensor],
        grads: Sequence[Tensor | None],
        wanted: tuple[bool, ...],
    ) -> list[Tensor | None]:
        """Return the wanted gradients of `sources`, from those of what the loop has `read`."""
        run, places, results = self.of(wanted)
        pairs = zip(grads, read, strict=True)
        full = [torch.zeros_like(value) if grad is None else grad for grad, value in pairs]
        values = [*sources, *read, *full]
        found = run(rows, *[values[at] for at in places])

        gradients: list[Tensor | None] = [None] * len(sources)
        for at, gradient in zip(results, found, strict=True):
            gradients[at] = gradient
        return gradients
