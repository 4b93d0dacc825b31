"""The gradients of what stands before the loop: of the input and the weights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property

import torch
from torch import Tensor

from recurra.engine.fused.gradient import Joint, joint
from recurra.engine.fused.plan import Plan
from recurra.engine.fused.record import Node, Program, Ref, Unsupported
from recurra.engine.fused.split import light
from recurra.engine.fused.subgraph import Subgraph, needed, subgraph

aten = torch.ops.aten
PRODUCTS = {aten.mm.default, aten.addmm.default, aten.addmm_.default}


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
        nodes = added_up(made.program, needed(self._unmade(made), outputs), outputs)
        run = subgraph(made.program, nodes, [*places], outputs)
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
        values = [*sources, *read]
        values += [torch.zeros_like(value) if grad is None else grad for grad, value in pairs]
        found = run(rows, *[values[at] for at in places])

        gradients: list[Tensor | None] = [None] * len(sources)
        for at, gradient in zip(results, found, strict=True):
            gradients[at] = gradient
        return gradients


def added_up(program: Program, nodes: Sequence[Node], outputs: Sequence[int]) -> list[Node]:
    """Return nodes of which each product that is only added to something is one with the sum.

    The gradient of an input that several products read is a sum of products. Where the sum so far
    is read by nothing else, the product is added in its place.
    """
    makers = {out: node for node in nodes for out in node.outs}
    reads = Counter([*outputs, *(ref for node in nodes for ref in node.refs)])
    found: list[Node] = []
    for node in nodes:
        joined = _summed_flat(program, _with_product(program, node, makers, reads), makers)
        for out in joined.outs:
            makers[out] = joined
        found.append(joined)
    return needed(found, outputs)


def _with_product(
    program: Program, node: Node, makers: Mapping[int, Node], reads: Mapping[int, int]
) -> Node:
    """Return a sum of something and a product as one operation; any other node as it is."""
    if node.func is not aten.add.Tensor or node.kwargs or len(node.args) != 2:
        return node
    if not all(isinstance(arg, Ref) for arg in node.args):
        return node

    for other, product in (node.args, node.args[::-1]):
        maker = makers.get(product.index)
        if maker is None or maker.func is not aten.mm.default or reads[product.index] != 1:
            continue
        values = (other.index, product.index)
        if program.shapes[values[0]] != program.shapes[values[1]]:
            continue
        if program.dtypes[values[0]] != program.dtypes[values[1]]:
            continue

        before = makers.get(other.index)
        is_own = before is not None and before.func in PRODUCTS and reads[other.index] == 1
        func = aten.addmm_.default if is_own else aten.addmm.default
        return replace(node, func=func, args=(other, *maker.args))
    return node


def _summed_flat(program: Program, node: Node, makers: Mapping[int, Node]) -> Node:
    """Return the view of a sum that keeps its first axis as a sum that does not."""
    if node.func is not aten.view.default:
        return node
    maker = makers.get(node.refs[0])
    if maker is None or maker.func is not aten.sum.dim_IntList or maker.kwargs:
        return node
    kept, flat = program.shapes[maker.outs[0]], program.shapes[node.outs[0]]
    if maker.args[1:] != ([0], True) or kept[1:] != flat:
        return node
    return replace(maker, args=(maker.args[0], [0]), outs=node.outs)
