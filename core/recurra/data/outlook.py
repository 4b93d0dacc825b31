"""Answers of several elements at once: what is asked of a network, and what its answer means.

The elements `ahead` of an origin are told relative to what is known there. Each goes through the
transforms by origins that no later element has touched: of a difference the last number before the
origin, of a seasonal one the last of its season. What the target says beforehand goes the same way,
and is taken away. So each step ahead is undone by itself, and a path of them is undone as `Stream`
undoes it step by step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.target import Past, Target
from recurra.contracts.transform import Floats
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.chain import Chain, States, rows_of
from recurra.data.store import Array, Ints, Store
from recurra.data.stream import Stream, forms, whole


class Told(NamedTuple):
    """The answers `[N, H, F]` to some origins as a network is asked for them.

    `undo` `[N, H, 1 + O + 1, F]` is what undoing them takes: what was known beforehand, as it is
    told, the origins of the transforms, and last the answers themselves, in their own units.
    """

    answers: Floats
    undo: Floats


@dataclass(frozen=True)
class Outlook:
    """What the answers of a target are that looks several `steps` ahead.

    `base` says what is known of them beforehand, if anything, and `season` is that of the series.
    """

    steps: int
    chain: Chain
    base: Callable[[Past], Floats] | None = None
    season: int = 0

    def told(self, future: Floats, origins: Floats, past: Past) -> Told:
        """Return answers `[N, H, F]`, given in their own units, as they are told.

        `origins` `[N, H, O, F]` are those of the transforms.
        """
        flat = future.reshape(-1, future.shape[-1])
        each = origins.reshape(len(flat), *origins.shape[2:])
        answers = self.chain.against(self.chain.scaled(flat), each).reshape(future.shape)
        known = self.known(origins, past)
        undo = np.concatenate([known[:, :, None], origins, future[:, :, None]], axis=2)
        return Told(answers - known, undo)

    def known(self, origins: Floats, past: Past) -> Floats:
        """Return what is known beforehand at some origins, `[N, H, F]`, as answers are told."""
        count, steps, _, features = origins.shape
        if self.base is None:
            return np.zeros((count, steps, features))
        known = np.asarray(self.base(past), np.float64).reshape(-1, features)
        each = origins.reshape(len(known), *origins.shape[2:])
        return self.chain.against(known, each).reshape(count, steps, features)

    def own(self, output: Tensor, undo: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions `[N, F]` and what came, in the data's own units."""
        parts = undo.numpy()
        rows = output.detach().cpu().double().numpy() + parts[:, 0]
        predicted = self.chain.invert(rows, parts[:, 1:-1])
        return torch.from_numpy(predicted), undo[:, -1]

    def trail(self, features: int) -> Trail:
        """Return what keeps of a series what `base` may ask."""
        return Trail(max(1, self.season), np.zeros((0, features)), np.zeros((0, features)))

    def at_end(self, states: States, trail: Trail) -> tuple[Floats, Floats]:
        """Return what undoing an answer to the end of a series takes.

        These are the origins of each step, `[H, width, F]`, and what is known of it beforehand,
        `[H, F]`.
        """
        origins = self.chain.origins_ahead(states, self.steps)
        known = self.known(origins[None], trail.past(self.steps, self.season))[0]
        return origins, known

    def foreseen(self, answer: Array, stream: Stream, trail: Trail) -> Floats:
        """Return an answer `[H, F]` to the end of a series in the data's own units."""
        origins, known = self.at_end(stream.states or [], trail)
        return self.chain.invert(np.asarray(answer, np.float64) + known, origins)


@dataclass(frozen=True)
class Trail:
    """The first and the last `size` rows `[n, F]` of a series, scaled, and how many have come."""

    size: int
    head: Floats
    tail: Floats
    count: int = 0

    def after(self, rows: Floats) -> Trail:
        """Return what is kept once some rows more have come."""
        head = np.concatenate([self.head, rows])[: self.size]
        tail = np.concatenate([self.tail, rows])[-self.size :]
        return replace(self, head=head, tail=tail, count=self.count + len(rows))

    def past(self, steps: int, season: int) -> Past:
        """Return what is known at the last row."""
        begin, last = np.zeros(1, np.int64), np.array([self.count - 1])
        return Past(self._at, begin, last, steps, season)

    def tensors(self) -> dict[str, Tensor]:
        """Return all that there is of it, by name."""
        rows = {"head": self.head, "tail": self.tail}
        tensors = {name: torch.from_numpy(part.copy()) for name, part in rows.items()}
        return {**tensors, "count": torch.tensor(self.count)}

    def restored(self, tensors: dict[str, Tensor]) -> Trail:
        """Return the trail that `tensors` gave. Raises any error if it is none of this size."""
        head, tail = (tensors[name].numpy() for name in ("head", "tail"))
        count = whole(tensors, "count")
        form = [((min(count, self.size), self.head.shape[1]), self.head.dtype)]
        if forms([head]) != form or forms([tail]) != form or len(tensors) != 3:
            raise ValueError(f"of {count} steps {head.shape} and {tail.shape} are kept")
        return replace(self, head=head, tail=tail, count=count)

    def _at(self, places: Ints) -> Floats:
        """Return rows by their places in the series."""
        kept = self.count - len(self.tail)
        of_tail = self.tail[np.clip(places - kept, 0, None)]
        of_head = self.head[np.clip(places, 0, len(self.head) - 1)]
        return np.where((places >= kept)[:, None], of_tail, of_head)


def outlook_of(target: Target[Any], vocabulary: Vocabulary[Any], season: int) -> Outlook | None:
    """Return what the answers of a target are, if it looks several elements ahead."""
    if not target.ahead:
        return None
    base = target.base if target.added else None
    return Outlook(target.ahead, Chain(vocabulary), base, season)


def series(store: Store, rows: Store | None, width: int, chain: Chain) -> Callable[[Ints], Floats]:
    """Return what gives scaled numbers `[N, F]` at places `[N]` of a store.

    Where they have been transformed, `rows` holds them with `width` origins.
    """

    source = rows or store
    if rows is not None and chain.carries:
        # What came last stands in the store itself, and is read there.
        source, rows = store, None

    def scaled(places: Ints) -> Floats:
        values = source.spans(places, 1)[:, 0]
        return chain.scaled(values if rows is None else rows_of(values, width)[:, -1])

    def once(places: Ints) -> Floats:
        # Many origins ask for the same: of a file each is read once.
        each, back = np.unique(places, return_inverse=True)
        return scaled(each)[back]

    return once if isinstance(source.values, np.memmap) else scaled
