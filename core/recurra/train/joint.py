"""The gradients of several processes that train one network, and what they decide together."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from recurra.train.interrupt import REQUESTS
from recurra.world import World


@dataclass(frozen=True)
class Agreed:
    """What all processes know after the gradients of an update.

    The loss of all; whether one of them was asked to stop, and by which signal, 0 where by none;
    whether the first finds it time to save.
    """

    loss: float
    stop: bool
    late: bool
    signal: int = 0


class _Reached(torch.autograd.Function):
    """Gives a loss as it is, and leads back to every weight, with a gradient for none of them.

    So DistributedDataParallel, which waits for each weight, meets those that a batch does not
    reach, and needs no batch at all.
    """

    @staticmethod
    def forward(ctx: Any, value: Tensor, *weights: Tensor) -> Tensor:
        """Return the loss."""
        ctx.count = len(weights)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return the gradient of the loss alone."""
        return gradient, *[None] * ctx.count


class _Engine(nn.Module):
    """What DistributedDataParallel wraps: the weights, and the loss on the way back to them."""

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        super().__init__()
        self.weights = nn.ParameterList(weights)

    def forward(self, value: Tensor) -> Tensor:
        """Return the loss."""
        reached: Any = _Reached.apply
        loss: Tensor = reached(value, *reversed(list(self.weights)))
        return loss


def _summed(bucket: Any) -> torch.futures.Future[Tensor]:
    """Return the sum of a bucket over all processes: the losses are shares of one mean already."""
    work: Any = distributed.all_reduce(bucket.buffer(), async_op=True)
    reduced: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return reduced


class Joint:
    """Adds up the gradients of an update over all processes, as each goes back over its own rows.

    Torch's DistributedDataParallel does it, on the last way back of an update, which every process
    makes once, with a loss or without one. A weight that no process has reached is left without a
    gradient, as in one process.
    """

    def __init__(self, weights: Sequence[nn.Parameter], world: World) -> None:
        self.weights = weights
        self.world = world
        self.reached = [False] * len(weights)
        own = weakref.ref(self)

        def noting(index: int) -> Any:
            def note(weight: Tensor) -> None:
                # It is called where a way back has led to the weight with no gradient, too.
                joint = own()
                if joint is not None and weight.grad is not None:
                    joint.reached[index] = True

            return note

        self.hooks: list[Any] = []
        for index, weight in enumerate(weights):
            hooked: Any = weight
            self.hooks.append(hooked.register_post_accumulate_grad_hook(noting(index)))
        with world.talking():
            self.engine = DistributedDataParallel(_Engine(weights))
        self.engine.register_comm_hook(None, lambda _, bucket: _summed(bucket))
        # It orders its buckets by what the first way back has met. Sums hang on that in their last
        # bit, so that way is one that is the same in every run, and in one that goes on.
        for _ in range(2):
            self.backward(None, last=True)
        self.forget()

    def close(self) -> None:
        """Leave the weights as they were."""
        for hook in self.hooks:
            hook.remove()

    def forget(self) -> None:
        """Begin an update: no weight has a gradient."""
        self.reached = [False] * len(self.weights)
        for weight in self.weights:
            weight.grad = None

    def backward(self, value: Tensor | None, last: bool) -> None:
        """Go back from a loss, if there is one; with the `last` of an update add up all gradients.

        In between no process waits for another.
        """
        if value is not None and not value.requires_grad:
            value = None
        if not last:
            if value is not None:
                torch.autograd.backward(value)
            return
        if value is None:
            value = self.weights[0].new_zeros(())
        with self.world.talking():
            torch.autograd.backward(self.engine(value))

    def agree(self, loss: float, stop: bool, late: bool, signal: int | None = None) -> Agreed:
        """Tell all processes of an update what happened in this one, in one message."""
        late = late and self.world.first
        asks = [signal == number for number in REQUESTS]
        said = self.world.total(loss, stop, late, *asks, *self.reached)
        loss, stops, lates = said[:3]
        asked, reached = said[3 : 3 + len(asks)], said[3 + len(asks) :]
        for weight, count in zip(self.weights, reached, strict=True):
            if not count:
                weight.grad = None
        heard = [number for number, count in zip(REQUESTS, asked, strict=True) if count]
        return Agreed(loss, stops > 0, lates > 0, heard[0] if heard else 0)
