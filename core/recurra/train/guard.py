"""Updates after which each weight, and all that an optimizer keeps of one, is still a number.

A gradient may be finite while what is made of it is not: its square in a second moment, a momentum
that adds up, a decay that turns weights over, 0 divided by an `eps` of 0. Such an update is undone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn, optim

CALM = 1e9
"""The largest gradient, weight or moment after which an update cannot overflow unseen.

Its square is far from the largest number of float32, and what an update adds to a weight, or takes
a moment up by, is no more than a small multiple of it.
"""
USUAL = 100.0
"""The largest argument of an optimizer of which that holds."""
LEAST = 1e-15
"""The smallest `eps` that is still something beside a small root."""
ALL = 1 - 1e-6
"""The share of an average above which it learns nothing of its own size, by which it divides."""
SHARES = ("alpha", "rho", "betas")
HARMLESS = ("t0", "lr", "initial_lr")
"""Arguments that count updates, or are looked at by themselves."""


class NotFinite(Exception):
    """A loss, a gradient or an update that is no number, before it reaches the weights."""


class Guard:
    """Makes the updates of an optimizer, and undoes one that would leave anything infinite.

    What an update changes is copied before it only where it may come to that: beside a huge
    gradient, weight or moment, or with arguments of an optimizer that no method is made for.
    """

    def __init__(self, optimizer: optim.Optimizer, weights: Sequence[nn.Parameter]) -> None:
        self.optimizer = optimizer
        self.weights = weights
        self.wild = any(map(_wild, optimizer.param_groups))
        # The largest weight or moment; it is not known before the first update, nor of a state
        # that was taken back.
        self.extent = math.inf

    def restored(self) -> None:
        """Take note that weights and state are others now."""
        self.extent = math.inf

    def update(self, norm: float) -> None:
        """Update the weights by their gradients, of this `norm`.

        Raises `NotFinite`, and leaves weights and state as they were, where one of them would be
        infinite or no number, and where torch's own arithmetic overflows.
        """
        if not self.wild and norm <= CALM and self.extent <= CALM:
            self.optimizer.step()
            return

        before = self._copied()
        try:
            self.optimizer.step()
        except (RuntimeError, OverflowError) as error:
            if "overflow" not in str(error) and not isinstance(error, OverflowError):
                raise
            self._undo(before)
            raise NotFinite(f"an update is too large ({error})") from error

        self.extent = self._extent()
        if math.isfinite(self.extent):
            return
        what = self.harmed()
        self._undo(before)
        raise NotFinite(f"after an update {what} would be infinite or no number")

    def harmed(self) -> str:
        """Return what is infinite or no number: what the optimizer keeps, or a weight; or ""."""
        for name, kept in self._kept():
            if not bool(kept.isfinite().all()):
                return f"the optimizer's {name}"
        if not all(bool(weight.isfinite().all()) for weight in self.weights):
            return "a weight"
        return ""

    def _kept(self) -> Iterator[tuple[str, Tensor]]:
        """Give each tensor that the optimizer keeps, with its name."""
        for slots in self.optimizer.state.values():
            for name, kept in slots.items():
                if isinstance(kept, Tensor):
                    yield name, kept

    def _extent(self) -> float:
        """Return the largest weight or number that is kept; not finite if one of them is not."""
        kept: Iterable[Tensor] = [weight.detach() for weight in self.weights]
        every = [*kept, *(tensor for _, tensor in self._kept())]
        largest = [float(each.abs().max()) for each in every if each.numel()]
        # The greatest of some numbers may hide one that is none.
        return math.nan if any(map(math.isnan, largest)) else max(largest, default=0.0)

    def _copied(self) -> tuple[list[Tensor], dict[Any, dict[str, Any]]]:
        """Return what an update changes, in memory of its own."""
        weights = [weight.detach().clone() for weight in self.weights]
        slots = {
            weight: {
                name: value.clone() if isinstance(value, Tensor) else value
                for name, value in slots.items()
            }
            for weight, slots in self.optimizer.state.items()
        }
        return weights, slots

    def _undo(self, before: tuple[list[Tensor], dict[Any, dict[str, Any]]]) -> None:
        """Put back what `_copied` gave."""
        weights, slots = before
        with torch.no_grad():
            for weight, old in zip(self.weights, weights, strict=True):
                weight.copy_(old)
        self.optimizer.state.clear()
        self.optimizer.state.update(slots)


def _wild(group: dict[str, Any]) -> bool:
    """Tell whether the arguments of a group may lead a calm gradient beyond all numbers."""
    rate = abs(float(group["lr"]))
    decay = rate * abs(float(group.get("weight_decay", 0)))
    if rate > USUAL or decay > 1 or group.get("momentum", 0) > 1 or group.get("centered"):
        return True

    for name, value in group.items():
        values = value if isinstance(value, list | tuple) else [value]
        numbers = [abs(each) for each in values if isinstance(each, float | int)]
        if name == "params" or name in HARMLESS or not numbers:
            continue
        if name == "eps" and min(numbers) < LEAST:
            return True
        if max(numbers) > (ALL if name in SHARES else USUAL):
            return True
    return False


def looked_at(
    losses: Sequence[Tensor], gradients: Sequence[Tensor]
) -> tuple[list[float], Tensor, float]:
    """Return losses `[]` as numbers, and the norm of all gradients as a tensor and as a number.

    A device is waited for once, for all of them. Where the squares of the gradients leave float32,
    and they do not, the norm is of float64.
    """
    norm = nn.utils.get_total_norm(gradients)
    *seen, size = _numbers([*losses, norm])
    if not math.isfinite(size) and norm.dtype != torch.float64:
        if all(bool(each.isfinite().all()) for each in gradients):
            norm = nn.utils.get_total_norm([each.double() for each in gradients])
            size = float(norm)
    return seen, norm, size


def _numbers(tensors: Sequence[Tensor]) -> list[float]:
    """Return tensors `[]` as numbers, copied from their device together."""
    if any(each.device.type == "cpu" for each in tensors):
        return [float(each) for each in tensors]
    numbers: list[float] = torch.stack([each.detach() for each in tensors]).tolist()
    return numbers
