"""One vector of all the steps of a sequence.

It is made piece by piece, so that no sequence is too long for it.
"""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor, nn

from recurra.shapes import Flags, Hidden

Sums: TypeAlias = tuple[Tensor, ...]
"""What is kept of the steps so far, a row each."""


class Pooling(nn.Module):
    """`begin` with nothing, `add` the outputs of some steps, and so on; `give` the vector of all.

    The vector is `[B, H]`.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width

    def begin(self, like: Tensor, rows: int) -> Sums:
        """Return what is kept of no steps."""
        raise NotImplementedError

    def add(self, sums: Sums, hidden: Hidden, valid: Flags) -> Sums:
        """Return what is kept after more steps `[B, T, H]`; those `valid` `[B, T]` count."""
        raise NotImplementedError

    def give(self, sums: Sums) -> Tensor:
        """Return the vector of each row, which has one step at least."""
        raise NotImplementedError


class Last(Pooling):
    """The last step that counts."""

    def begin(self, like: Tensor, rows: int) -> Sums:
        """Return zeros, in place of a step."""
        return (like.new_zeros(rows, self.width),)

    def add(self, sums: Sums, hidden: Hidden, valid: Flags) -> Sums:
        """Take the last step, in rows that have one."""
        count = valid.sum(dim=1)
        at = (count - 1).clamp(min=0)
        index = at[:, None, None].expand(-1, 1, hidden.shape[-1])  # B 1 H
        last = hidden.gather(1, index)[:, 0]
        some = (count > 0)[:, None]
        return (torch.where(some, last, sums[0]),)

    def give(self, sums: Sums) -> Tensor:
        """Return it."""
        return sums[0]


class Mean(Pooling):
    """The mean of all steps."""

    def begin(self, like: Tensor, rows: int) -> Sums:
        """Return a sum and a count of nothing."""
        return like.new_zeros(rows, self.width), like.new_zeros(rows, 1)

    def add(self, sums: Sums, hidden: Hidden, valid: Flags) -> Sums:
        """Add steps up, and count them."""
        total, count = sums
        counted = torch.where(valid[..., None], hidden, torch.zeros_like(hidden))
        steps = valid.sum(dim=1, keepdim=True)
        return total + counted.sum(dim=1), count + steps.to(count)

    def give(self, sums: Sums) -> Tensor:
        """Return the mean."""
        total, count = sums
        return total / count.clamp(min=1)


class Greatest(Pooling):
    """Of each output the greatest of all steps."""

    def begin(self, like: Tensor, rows: int) -> Sums:
        """Return what is below every number."""
        return (like.new_full((rows, self.width), -torch.inf),)

    def add(self, sums: Sums, hidden: Hidden, valid: Flags) -> Sums:
        """Take what is greater."""
        lowest = torch.full_like(hidden, -torch.inf)
        counted = torch.where(valid[..., None], hidden, lowest)
        return (torch.maximum(sums[0], counted.amax(dim=1)),)

    def give(self, sums: Sums) -> Tensor:
        """Return the greatest."""
        return sums[0]


class Attention(Pooling):
    """The sum of all steps, each weighed by a softmax of its product with a vector that is learned.

    Yang et al. 2016, "Hierarchical attention networks", doi:10.18653/v1/N16-1174, with the query
    alone. It begins as the mean. The softmax is made piece by piece: what is kept is scaled to the
    greatest product so far.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.query = nn.Parameter(torch.zeros(width))

    def begin(self, like: Tensor, rows: int) -> Sums:
        """Return the greatest product, and the sums of weights and of weighed steps, of nothing."""
        top = like.new_full((rows, 1), -torch.inf)
        total = like.new_zeros(rows, 1)
        weighed = like.new_zeros(rows, self.width)
        return top, total, weighed

    def add(self, sums: Sums, hidden: Hidden, valid: Flags) -> Sums:
        """Add steps up by their weights."""
        top, total, weighed = sums
        product = (hidden @ self.query).masked_fill(~valid, -torch.inf)  # B T
        greatest = torch.maximum(top, product.amax(dim=1, keepdim=True)).detach()
        # Where no step was yet the greatest is -inf, and -inf - -inf would be no number.
        finite = torch.where(torch.isinf(greatest), torch.zeros_like(greatest), greatest)

        # What was summed before was scaled to the greatest product of then, `top`.
        weight = (product - finite).exp()
        before = (top - finite).exp()
        counted = torch.where(valid[..., None], hidden, torch.zeros_like(hidden))
        more = torch.einsum("bt,bth->bh", weight, counted)
        total = total * before + weight.sum(dim=1, keepdim=True)
        weighed = weighed * before + more
        return greatest, total, weighed

    def give(self, sums: Sums) -> Tensor:
        """Return the weighed mean."""
        _, total, weighed = sums
        return weighed / total


POOLINGS: dict[str, type[Pooling]] = {
    "last": Last,
    "mean": Mean,
    "max": Greatest,
    "attention": Attention,
}


def pooling(kind: str, width: int) -> Pooling:
    """Return what makes one vector of the outputs of a width."""
    return POOLINGS[kind](width)
