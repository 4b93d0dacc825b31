"""Forecasts of many series side by side, each as a session of its own would give it.

None of them hangs on the others: what is read of a series ends where it ends, and nothing is filled
up. But for the last digits, as products of other sizes round them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.outlook import Outlook, Trail
from recurra.data.stream import Stream
from recurra.engine.recurrence import map_state, rebuild
from recurra.errors import RunError
from recurra.generate.companion import Companion
from recurra.generate.elements import ELEMENTS, TOO_FEW, refused, too_short
from recurra.generate.loop import numbers
from recurra.generate.session import Session
from recurra.model.network import Network, States
from recurra.model.stepper import Packed, stepper

SERIES = 512
"""Series that are forecast side by side, at most."""
ROWS = 1 << 20
"""Steps of their histories that are held at a time, about."""
STEPS = 1 << 15
"""Steps that go through the network in one call, of all series together."""
WINDOW = 4096
"""Steps of one series that do."""

Floats = NDArray[np.float64]
T = TypeVar("T")


class Start(NamedTuple):
    """What a forecast of a series goes on from: its `history` `[n, F]`, in the data's units.

    That begins at a `position` of the series. What is `known` of it is what it is scaled by, where
    each has a scale of its own; its covariates stand `beside`. `name` is what the series is called,
    or its place from 1.
    """

    history: NDArray[Any]
    position: int = 0
    known: NDArray[Any] | None = None
    beside: Rows | None = None
    name: str = ""

    def session(
        self,
        network: Network,
        vocabulary: Vocabulary[Any],
        covariates: CovariateVocabulary | None = None,
        **more: Any,
    ) -> Session:
        """Return a session that stands before the history, which it is to be fed; `more` is its."""
        companion = None
        if covariates is not None and self.beside is not None:
            companion = Companion.beside(covariates, self.beside)
        own: dict[str, Any] = {"position": self.position, "known": self.known}
        return Session(network, vocabulary, companion=companion, **own, **more)


@dataclass
class _Read:
    """A series that is read: what the network reads of it, and what undoes its answers.

    Its `companion`, where it has covariates, knows what is read of so many of the steps ahead.
    """

    x: Tensor
    stream: Stream
    trail: Trail | None
    companion: Companion | None = None
    told: bool = True


@torch.no_grad()
def forecasts(
    network: Network,
    vocabulary: Vocabulary[Any],
    starts: Iterable[Start],
    steps: int,
    outlook: Outlook | None = None,
    covariates: CovariateVocabulary | None = None,
) -> Iterator[Floats]:
    """Give the next `steps` numbers of each series in the data's units, `[H, F]`.

    Every one is fed back as if it had come; with an `outlook` the network says them at once. From
    the first that is not finite on there is no number. Raises `InputError` (RC042, RC080) for a
    history that cannot be read, or is too short.
    """
    network.eval()
    for some in at_a_time(starts, lambda start: len(start.history), SERIES, ROWS):
        read = [_read(network, vocabulary, start, steps, outlook, covariates) for start in some]
        if covariates is not None and not all(each.told for each in read):
            # A session says what is missing.
            for start in some:
                yield _alone(network, vocabulary, start, steps, outlook, covariates)
            continue
        first = torch.tensor([start.position for start in some], device=network.device)
        output, states = _after(network, [each.x for each in read], first)
        if outlook is None:
            yield from _stepwise(network, read, output, states, steps)
        else:
            yield from _at_once(network, read, output, steps, outlook)


def _alone(
    network: Network,
    vocabulary: Vocabulary[Any],
    start: Start,
    steps: int,
    outlook: Outlook | None,
    covariates: CovariateVocabulary,
) -> Floats:
    """Return the forecast of a series with covariates, by a session of its own."""
    session = start.session(network, vocabulary, covariates, outlook=outlook)
    session.feed_ids(start.history, start.beside)
    values = np.full((steps, vocabulary.size), np.nan)
    with suppress(RunError):
        for step, row in enumerate(numbers(session, steps)):
            values[step] = row
    return values


def at_a_time(
    series: Iterable[T], steps: Callable[[T], int], most: int, enough: int
) -> Iterator[list[T]]:
    """Give some series at a time: `most`, or fewer that have `enough` steps together."""
    some: list[T] = []
    held = 0
    for each in series:
        some.append(each)
        held += steps(each)
        if len(some) == most or held >= enough:
            yield some
            some, held = [], 0
    if some:
        yield some


def _read(
    network: Network,
    vocabulary: Vocabulary[Any],
    start: Start,
    steps: int,
    outlook: Outlook | None,
    covariates: CovariateVocabulary | None,
) -> _Read:
    """Return what is read of a series, as a session reads it that is asked for `steps`."""
    elements = ELEMENTS[vocabulary.yields]
    stream = elements.stream(vocabulary, start.known)
    assert isinstance(stream, Stream), "numbers are forecast"
    values = elements.checked(vocabulary, start.history)
    if len(values) < stream.at_once:
        raise refused(TOO_FEW, cure="give two steps or more of it at once")
    x = elements.window(stream.read(values), network.dtype)
    if missing := stream.missing:
        raise refused(too_short(missing), cure="give more of what came before")
    trail = None
    if outlook is not None:
        trail = outlook.trail(vocabulary.size).after(stream.rows)
    if covariates is None:
        return _Read(x, stream, trail)
    if start.beside is None:
        return _Read(x, stream, trail, told=False)
    companion, x = Companion.beside(covariates, start.beside).after(x, start.beside)
    told = outlook is not None or companion.reach(steps) >= steps
    if told and companion.pending is not None:
        companion, last = companion.looked()
        x = torch.cat([x, last])
    return _Read(x, stream, trail, companion, told)


def _after(network: Network, windows: Sequence[Tensor], position: Tensor) -> tuple[Tensor, States]:
    """Return what the network says after each window `[n, F]`, `[B, ...]`, and its states.

    Those that have as many steps left are read together, in runs of a power of two.
    """
    device = network.device
    lengths = np.array([len(window) for window in windows])
    states = network.initial_states(len(windows), position)
    found: list[Tensor | None] = [None] * len(windows)
    at = np.zeros_like(lengths)
    while (at < lengths).any():
        left = lengths - at
        rows, size = _together(left)
        x = torch.stack([windows[row][at[row] : at[row] + size] for row in rows]).to(device)
        places = torch.tensor(rows, device=device)
        own = states
        if len(rows) < len(windows):
            own = tuple(map_state(lambda field: field[places], state) for state in states)  # noqa: B023
        output, after = network(x, own, last=True)
        if len(rows) < len(windows):
            pairs = zip(states, after, strict=True)
            states = tuple(
                rebuild(
                    whole,
                    [
                        field.index_copy(0, places, part)
                        for field, part in zip(whole, own_part, strict=True)
                    ],
                )
                for whole, own_part in pairs
            )
        else:
            states = after
        for place, row in enumerate(rows):
            found[row] = output[place, 0]
        at[rows] += size
    return torch.stack([each for each in found if each is not None]), states


def _together(left: NDArray[np.int64]) -> tuple[list[int], int]:
    """Return which series are read next, and how many steps of each.

    That are all that are left, where these have as many; else as many as a power of two.
    """
    most = int(left.max())
    rows = np.flatnonzero(left == most)
    size = most
    if not np.isin(left, (0, most)).all():
        size = 1 << int(math.log2(most))
    size = min(size, WINDOW)
    rows = np.flatnonzero(left >= size)
    if len(rows) * size > STEPS:
        # As many as go through at once, of a shorter run.
        size = max(1, min(size, 1 << int(math.log2(max(1, STEPS // len(rows))))))
        rows = np.flatnonzero(left >= size)
    return rows.tolist(), size


def _stepwise(
    network: Network, read: list[_Read], output: Tensor, states: States, steps: int
) -> Iterator[Floats]:
    """Give forecasts of one step after the other."""
    beside = None
    if read[0].companion is not None:
        parts = [each.companion.said(steps - 1, each.x) for each in read if each.companion]
        beside = torch.stack(parts).to(network.device)  # B H-1 W
    values = np.full((steps, len(read), read[0].stream.chain.vocabulary.size), np.nan)
    make_step = stepper(network)
    carried: States | Packed = states
    alive = np.ones(len(read), np.bool_)
    for step in range(steps):
        scaled = network.point(output)
        rows = scaled.cpu().double().numpy()
        alive &= np.isfinite(rows).all(axis=1)
        for place in np.flatnonzero(alive).tolist():
            own = read[place].stream.undo(rows[place])
            if np.isfinite(own).all():
                values[step, place] = own
            else:
                alive[place] = False
        if step + 1 < steps and alive.any():
            said = read[0].stream.fed_back(scaled.to(network.dtype))
            if beside is not None:
                said = torch.cat([said, beside[:, step]], dim=1)
            output, carried = make_step(network, said, carried)
    yield from values.swapaxes(0, 1)


def _at_once(
    network: Network, read: list[_Read], output: Tensor, steps: int, outlook: Outlook
) -> Iterator[Floats]:
    """Give forecasts that the network says at once, no more of them than there are."""
    count = min(steps, outlook.steps)
    said = output
    if network.late:
        parts = [
            each.companion.ahead_of(count, outlook.steps, output) for each in read if each.companion
        ]
        known = [part for part in parts if part is not None]
        said = network.answer(output, torch.cat(known) if known else None)
    answers = network.point(said).cpu().double().numpy()
    if network.late:
        # What is said of later steps, of which not all is known, is nobody's.
        answers[:, count:] = 0
    for each, answer in zip(read, answers, strict=True):
        assert each.trail is not None, "a trail is kept"
        values = np.full((count, answer.shape[-1]), np.nan)
        if np.isfinite(answer).all():
            own = outlook.foreseen(answer, each.stream, each.trail)[:count]
            if np.isfinite(own).all():
                values = own
        yield values
