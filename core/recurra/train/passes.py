"""A batch forward and back: windows, sequences that are longer than one, and whole ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recurra.data.batches import Batch, Whole
from recurra.data.feeds import Feed
from recurra.model import sequences
from recurra.model.network import Network, States, detached, mixed
from recurra.world import World

if TYPE_CHECKING:
    from recurra.train.joint import Joint


@dataclass
class Passes:
    """Takes the batches of a feed through a network and back; `carried` is what goes on.

    Of a batch these are the rows of one process of the `world`, whose gradients go into the sum of
    all that is `joint`.
    """

    network: Network
    feed: Feed
    world: World
    joint: Joint | None = None
    carried: States | None = None

    def backward(
        self,
        batch: Batch | Whole,
        scored: float,
        update: tuple[int, int] = (0, 0),
        number: int = 0,
        last: bool = True,
    ) -> Tensor:
        """Run one batch forward and back: of an `update`, whose step and index in it are given.

        It is the batch of that `number` of an epoch, and maybe the `last` of the update. Returns
        its share of the mean loss over what is `scored`, still on the device.
        """
        noise, first = self.network.noise, 0
        if noise is not None:
            noise.begin(*update)
        if self.joint is not None:
            rows, first = self._place(number)
            if noise is not None:
                noise.among(rows, first)
        if not len(batch.x):
            # Of a batch with fewer rows than processes this one has none.
            self._back_from(None, last)
            return torch.zeros(())
        if isinstance(batch, Batch) and batch.x.shape[1] > self.feed.length:
            return self._windows(batch, scored, last)
        losses = self._sequences(batch, first) if isinstance(batch, Whole) else self._steps(batch)
        value = losses.sum() / scored
        self._back_from(value if len(losses) else None, last)
        return value.detach()

    def _place(self, batch: int) -> tuple[int, int]:
        """Return how many rows a batch of an epoch has in all, and where those here begin."""
        rows = min(self.feed.batch_size, self.feed.count - batch * self.feed.batch_size)
        return rows, self.world.part(rows).start

    def _back_from(self, value: Tensor | None, last: bool) -> None:
        """Go back from a loss; `last` says that it is the last of an update."""
        if self.joint is not None:
            self.joint.backward(value, last)
        elif value is not None:
            torch.autograd.backward(value)

    def _sequences(self, batch: Whole, first: int) -> Tensor:
        """Return the losses of the answers to whole sequences, from the `first` of a batch on."""
        batch = batch.to(self.network.device)
        window = self.feed.length
        among = batch.among if len(batch.among) else None
        outputs = sequences.answers(self.network, batch.x, batch.steps, window, among, first)
        losses: Tensor = self.network.loss(outputs, batch.y)
        return losses

    def _windows(self, batch: Batch, scored: float, last: bool) -> Tensor:
        """Run sequences that are longer than a window forward and back, one window at a time.

        The state goes on from each to the next, and the gradient does not. Returns their share of
        the mean loss over what is `scored`, still on the device.
        """
        network = self.network
        states: States | None = None
        total = torch.zeros((), device=network.device)
        for start, window in zip(
            range(0, batch.x.shape[1], self.feed.length),
            batch.windows(self.feed.length),
            strict=True,
        ):
            # What asks nothing is read for its state alone.
            places = window.mask.flatten().nonzero()[:, 0]
            ends = last and start + self.feed.length >= batch.x.shape[1]
            value = None
            window = window.to(network.device)
            with torch.set_grad_enabled(len(places) > 0):
                hidden, after = network.hidden(window.x, states, position=window.position)
                states = detached(after)
                if len(places):
                    places = places.to(network.device)
                    losses = network.losses(
                        hidden, window.y, places, window.ahead(), window.counted()
                    )
                    value = losses.sum() / scored
            if value is not None or ends:
                self._back_from(value, ends)
            if value is not None:
                total = total + value.detach()
        return total

    def _steps(self, batch: Batch) -> Tensor:
        """Return the losses of the scored steps of windows.

        Nothing here waits for the device: what is to be known of a batch is looked at before it
        goes there.
        """
        carried = self.feed.carried
        # `anew`: no row goes on from a carried state; `some_fresh`: some do, and others do not.
        anew = not carried or bool((batch.fresh | batch.reset[:, 0]).all())
        some_fresh = not anew and bool(batch.fresh.any())
        resets = carried and bool(batch.reset[:, int(anew) :].any())
        places = None
        if not bool(batch.mask.all()):
            places = batch.mask.flatten().nonzero()[:, 0]

        batch = batch.to(self.network.device)
        states = None
        if some_fresh:
            states = self.begun(batch)
        elif not anew:
            states = self.carried
        reset = batch.reset if resets else None
        if reset is not None and anew:
            # Fresh states stand where `position` says, and need no reset to 0.
            reset = reset.clone()
            reset[:, 0] = False

        hidden, after = self.network.hidden(  # B T H
            batch.x, states, reset=reset, position=batch.position, lengths=batch.lengths
        )
        if carried:
            self.carried = detached(after)
        if places is not None:
            if not len(places):
                return hidden.new_zeros(0)
            places = places.to(hidden.device, non_blocking=True)
        return self.network.losses(hidden, batch.y, places, batch.ahead(), batch.counted())

    def begun(self, batch: Batch) -> States:
        """Return the carried states, but those of before the first step where a row is fresh.

        These stand at the row's own position, and are no constants: a cell may learn them.
        """
        assert self.carried is not None, "an epoch begins with states that are all fresh"
        initial = self.network.initial_states(len(batch.fresh), batch.position)
        return mixed(batch.fresh, initial, self.carried)
