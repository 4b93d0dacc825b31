"""Figures of a split: every answer scored once, whatever the batch size or the window."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.metric import Metrics
from recurra.data.batches import Batch, Reader, Whole
from recurra.data.marks import Marks
from recurra.data.segments import Spans, grouped, openings, segments
from recurra.data.splits import Split
from recurra.data.store import Ints, Store
from recurra.model import sequences
from recurra.model.completion import ROWS, completions
from recurra.model.network import Network
from recurra.train.metrics import Tally
from recurra.world import World

T = TypeVar("T")

BLOCK = 1 << 21
"""Numbers that the network gives at a time in evaluation."""
ALONE = World()
"""One process that measures everything."""


class Completed(NamedTuple):
    """A sequence, by its place in the data: its prompt, its answer, and what the network gave.

    Both answers are ids, and end with a mark; what was given up has none.
    """

    row: int
    prompt: Ints
    came: Ints
    given: Ints


def evaluate(
    network: Network,
    reader: Reader,
    split: Split,
    tally: Tally,
    *,
    rows: int = 64,
    window: int = 0,
    watch: Callable[[Whole, Tensor], None] = lambda batch, output: None,
    world: World = ALONE,
) -> Tally:
    """Return what is measured of a split, teacher-forced.

    `rows` and `window` change speed and memory, and no figure. A `window` of 0 is as long as a
    bounded block of outputs allows, and no more outputs than that are ever held. `watch` is shown
    whole sequences, and the outputs for them, as they are measured. In a `world` of several
    processes each measures its share, as `shared` has it, and watches no more than that.
    """

    def measure(own: Tally, world: World) -> None:
        if not split.whole:
            spans = segments(split.scored())
            _tally(network, reader, spans, own, (rows, window), world, split.at_once)
            return
        shown = answered(network, reader, split, rows=rows, window=window, world=world)
        for batch, output in shown:
            own.add(output, batch.y, network.scoring)
            watch(batch, output)

    shared(world, tally, measure)
    return tally


def evaluate_spans(
    network: Network,
    reader: Reader,
    spans: Spans,
    tally: Tally,
    *,
    rows: int = 64,
    window: int = 0,
    at_once: bool = False,
) -> Tally:
    """Return what is measured of segments, as `evaluate` does of those of a split."""
    return _tally(network, reader, spans, tally, (rows, window), ALONE, at_once)


def complete(
    network: Network,
    store: Store,
    split: Split,
    tally: Tally,
    marks: Marks,
    limit: int,
    *,
    rows: int = ROWS,
    watch: Callable[[Completed], None] = lambda completed: None,
    world: World = ALONE,
) -> Tally:
    """Add what the network answers by itself to the prompts of a split, of which it sees no more.

    An answer is given up after `limit` symbols. `rows` changes speed and memory, and no figure.
    `watch` is shown each answer. In a `world` of several processes each answers its share, as
    `shared` has it, and watches no more than that.
    """
    scored = split.scored()
    places = store.sequence(scored.begin)

    def measure(own: Tally, world: World) -> None:
        side_by_side = evenly(len(scored), rows, world.size)
        for group in dealt(sequences.alike(scored.low - scored.begin, side_by_side), world):
            asked = [(int(places[row]), *_prompt_and_answer(store, scored, row)) for row in group]
            with _looking(network):
                prompts = [prompt for _, prompt, _ in asked]
                given = completions(network, prompts, marks, limit, rows=side_by_side)
            for (row, prompt, came), answer in zip(asked, given, strict=True):
                own.add_answer(torch.from_numpy(answer), torch.from_numpy(came))
                watch(Completed(row, prompt, came, answer))

    shared(world, tally, measure)
    return tally


def shared(world: World, tally: Tally, measure: Callable[[Tally, World], None]) -> None:
    """Let each process measure its share of a world, and add all of it to the tally of each.

    It is added in the order of ranks, so that the sums are the same to the bit in all of them.
    Where a metric does not merge the first process measures everything, and the tallies of the
    others get nothing: they are told the figures. Raises in all what is raised in one.
    """
    if world.size == 1:
        measure(tally, world)
        return
    if not tally.merges:
        world.together(lambda: measure(tally, ALONE) if world.first else None)
        return

    def part() -> bytes:
        own = tally.blank()
        measure(own, world)
        return own.packed()

    tally.merge(world.gathered(world.together(part)))


def evenly(count: int, rows: int, size: int) -> int:
    """Return how many of `count` rows, up to `rows`, are read side by side by one of a few.

    So many processes have as many groups of them each.
    """
    if size == 1 or not count:
        return rows
    groups = -(-count // (rows * size)) * size
    return -(-count // groups)


def dealt(groups: Iterable[T], world: World) -> Iterator[T]:
    """Give the groups that are this process's: they are dealt one by one, in order."""
    return islice(groups, world.rank, None, world.size)


def _prompt_and_answer(store: Store, split: Split, index: int) -> tuple[Ints, Ints]:
    """Return what is read of a sequence up to the mark, and what is asked behind it."""
    begin, low, high = split.begin[index : index + 1], split.low[index], split.high[index]
    values = store.spans(begin, int(high - begin[0]))[0].astype(np.int64)
    asked = int(low - begin[0])
    return values[: asked - 1], values[asked:]


def answered(
    network: Network,
    reader: Reader,
    split: Split,
    *,
    rows: int = 64,
    window: int = 0,
    world: World = ALONE,
) -> Iterator[tuple[Whole, Tensor]]:
    """Give the whole sequences of a split that have an answer, and the outputs `[B, V]` for them.

    Longer ones come first. Of several processes each gives those of its share.
    """
    chosen = reader.answerable(split)
    store = reader.store
    steps = store.ends[chosen] - store.starts[chosen]
    size = window or sequences.LONGEST
    side_by_side = evenly(len(chosen), rows, world.size)
    for group in dealt(sequences.alike(steps, side_by_side), world):
        batch = reader.whole(chosen[group]).to(network.device)
        with _looking(network):
            output = sequences.read(network, batch.x, batch.steps, size)
        yield batch, output


def cold_and_warm(
    network: Network,
    reader: Reader,
    split: Split,
    tally: Callable[[], Tally],
    key: str,
    *,
    rows: int = 64,
    window: int = 0,
    world: World = ALONE,
) -> tuple[Metrics, int]:
    """Return what the first steps cost in the midst of a sequence, and at how many places.

    `cold` is the mean of the figure `key` from a fresh state, `warm` that of the same steps with
    the state carried up to them. Neither is there where a split holds no such place. In a `world`
    of several processes each measures its share, as `shared` has it.
    """
    cold, warm = openings(split)
    costs: Metrics = {}
    for name, spans in (("cold", cold), ("warm", warm)):

        def measure(own: Tally, world: World, spans: Spans = spans) -> None:
            _tally(network, reader, spans, own, (rows, window), world)

        sums = tally()
        shared(world, sums, measure)
        metrics = sums.values()
        # There are none of no steps.
        if metrics:
            costs[name] = metrics[key]

    places = len(cold[0])
    return costs, places


def _tally(
    network: Network,
    reader: Reader,
    spans: Spans,
    tally: Tally,
    shape: tuple[int, int],
    world: World,
    at_once: bool = False,
) -> Tally:
    """Add up the scored steps of segments, each read from a fresh state at its own position.

    They are read in one window each if they are `at_once`. The `shape` is how many are read side by
    side, and in windows of how many steps. Of several processes each adds up its share.
    """
    rows, window = evenly(len(spans[0]), shape[0], world.size), shape[1]
    if at_once:
        window = 0
    elif not window:
        step = rows * network.output_size
        window = max(16, min(512, BLOCK // step))
    with _looking(network):
        for group in dealt(grouped(reader, spans, rows, window), world):
            states = None
            for batch in group:
                # Looked at here, where nothing waits for the device.
                some = bool(batch.mask.any())
                undo = batch.undo[batch.mask] if len(batch.undo) else None

                batch = batch.to(network.device)
                hidden, states = network.hidden(  # B T H
                    batch.x, states, position=batch.position, lengths=batch.lengths
                )
                if some:
                    _add(network, tally, hidden, batch, undo)
    return tally


def _add(network: Network, tally: Tally, hidden: Tensor, batch: Batch, undo: Tensor | None) -> None:
    """Add what is scored of a window, of which the head reads `hidden` `[B, T, H]`.

    No more than `BLOCK` outputs are held at a time.
    """
    if network.ahead:
        _add_ahead(network, tally, hidden, batch, undo)
        return
    width, answers, places = network.loss.output_size, batch.answers, batch.places()
    scale = _counted(batch)
    scoring = network.scoring.counted(scale)
    if batch.mask.numel() * width <= BLOCK:
        tally.add(network.answer(hidden)[batch.mask], answers, scoring, undo, places)
        return

    flat = hidden[batch.mask]  # N H
    rows = max(1, BLOCK // width)
    for start in range(0, len(flat), rows):
        some = slice(start, start + rows)
        undone = None if undo is None else undo[some]
        output = network.answer(flat[some])
        counted = scoring.counted(None if scale is None else scale[some])
        tally.add(output, answers[some], counted, undone, places[some])


def _add_ahead(
    network: Network, tally: Tally, hidden: Tensor, batch: Batch, undo: Tensor | None
) -> None:
    """Add what is scored of a window whose steps are answered by several elements each."""
    answers, places, coming = batch.answers, batch.places(), batch.ahead()
    scale = _counted(batch)
    flat, scored = hidden.flatten(0, 1), batch.mask.flatten(0, 1)  # N H, N A
    coming = None if coming is None else coming.flatten(0, 1)
    if network.decoder is not None:
        # An origin of which nothing is asked is not decoded.
        asked = scored.any(dim=-1)
        flat, scored = flat[asked], scored[asked]
        coming = None if coming is None else coming[asked]
    rows, done = max(1, BLOCK // network.held), 0
    for start in range(0, len(flat), rows):
        chosen = scored[start : start + rows]
        some = slice(done, done + int(chosen.sum()))
        done = some.stop
        if some.stop > some.start:
            known = None if coming is None else coming[start : start + rows]
            output = network.answer(flat[start : start + rows], known)[chosen]
            undone = None if undo is None else undo[some]
            scoring = network.scoring.counted(None if scale is None else scale[some])
            tally.add(output, answers[some], scoring, undone, places[some])


def _counted(batch: Batch) -> Tensor | None:
    """Return what 1 is in counts for each scored answer, where they are counted."""
    scale = batch.counted()
    return None if scale is None else scale[batch.mask]


@contextmanager
def _looking(network: Network) -> Iterator[None]:
    """Read and learn nothing: neither a gradient, nor what a network does in training alone."""
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(training)
