"""The answers of a trained network to new sequences, one after the other: nothing is kept but the
batch at hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from recurra.contracts.source import Piece
from recurra.contracts.target import Target
from recurra.contracts.vocabulary import Vocabulary
from recurra.errors import InputError, Problem, RunError
from recurra.generate import elements as reading
from recurra.generate.session import Session
from recurra.job.elements import ELEMENTS
from recurra.model import sequences
from recurra.model.network import Network

ROWS = 512
"""Sequences that are read side by side, and that wait for each other."""

Row = tuple[str, Any]
"""A sequence: what it is called, and its elements."""


class Read(NamedTuple):
    """A sequence that can be answered: its ids `[T]` or numbers `[T, F]` in their own units, and
    what is read of it.
    """

    values: NDArray[Any]
    x: Tensor

    def filled(self, steps: int) -> Tensor:
        """Return what is read, filled up with the last step."""
        return self.x[torch.arange(steps).clamp(max=len(self.x) - 1)]


@dataclass(frozen=True)
class Predictor:
    """What answers sequences: a network, and what its input and its answers are of.

    `horizon` is how many elements are foreseen where an answer can be read on. Each batch is
    computed `within` the threads and the determinism of the run, which are put back before anything
    of it is given.
    """

    network: Network
    vocabulary: Vocabulary[Any]
    answers: Vocabulary[Any]
    target: Target[Any]
    horizon: int = 0
    skip_bad: bool = False
    within: Callable[[], AbstractContextManager[None]] = nullcontext

    def columns(self) -> list[str]:
        """Return the names of all that an answer says, but for the first, which names its
        sequence.
        """
        if self.target.generates:
            told = ELEMENTS[self.vocabulary.yields].told
            names = ["predicted", *told] if self.horizon or not told else [*told]
        else:
            names = ["predicted"]
            if self.target.scope == "sequence":
                names += ELEMENTS[self.answers.yields].chances(self.answers)
        return [*names, *(["error"] if self.skip_bad else [])]

    def predict(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """Give the answer to each sequence, in order: `row`, and by what is asked `predicted` and
        more.

        Raises `InputError` (RC043, RC080) that names the row; with `skip_bad` it is told in the
        column `error` instead.
        """
        left = iter(rows)
        while some := list(islice(left, ROWS)):
            yield from self._batch(some)

    def _batch(self, rows: list[Row]) -> Iterator[dict[str, Any]]:
        read: dict[int, Read] = {}
        errors: dict[int, str] = {}
        for index, (name, values) in enumerate(rows):
            try:
                read[index] = self._read(values)
            except InputError as error:
                if not self.skip_bad:
                    raise _of_row(error, name) from error.__cause__
                errors[index] = _fact(error.problems[0])
        with self.within():
            found = self._answered(read)
        for index, (name, _) in enumerate(rows):
            yield {"row": name, **(found[index] if index in found else {"error": errors[index]})}

    def _read(self, given: Any) -> Read:
        """Return a sequence as it is read. Raises `InputError` (RC042, RC043, RC080), or the one
        that it is.
        """
        if isinstance(given, InputError):
            raise given
        values = reading.encoded(self.vocabulary, given)
        if not len(values) and reading.holds_any(self.vocabulary, given):
            raise InputError.of("RC080", reading.SKIPPED, cure=reading.GIVE_KNOWN)
        if not len(values):
            fact = "the sequence is empty, so nothing can be said of it"
            raise InputError.of("RC080", fact, cure="give one element or more, or leave it out")
        elements = reading.ELEMENTS[self.vocabulary.yields]
        stream = elements.stream(self.vocabulary)
        if self.target.generates and len(values) < stream.at_once:
            raise InputError.of("RC080", reading.TOO_FEW, cure="give two steps or more")
        x = elements.window(stream.read(values), self.network.dtype)
        if self.target.generates and stream.missing:
            raise InputError.of("RC080", reading.too_short(stream.missing), cure="give more of it")
        return Read(values, x)

    def _answered(self, read: dict[int, Read]) -> dict[int, dict[str, Any]]:
        if self.target.scope == "sequence":
            return self._whole(read)
        one = self._continued if self.target.generates else self._each_step
        return {index: one(sequence) for index, sequence in read.items()}

    def _whole(self, read: dict[int, Read]) -> dict[int, dict[str, Any]]:
        """Return one answer a sequence; those of about the same length are read together."""
        places, found = list(read), {}
        for group in sequences.alike(
            np.array([len(each.x) for each in read.values()], np.int64), ROWS
        ):
            chosen = [places[at] for at in group.tolist()]
            steps = torch.tensor([len(read[index].x) for index in chosen])
            x = torch.stack([read[index].filled(int(steps[0])) for index in chosen])
            with torch.no_grad():
                output = sequences.read(
                    self.network, x.to(self.network.device), steps.to(self.network.device)
                )
            for index, row in zip(chosen, self._said(output), strict=True):
                found[index] = row
        return found

    def _said(self, output: Tensor, read: NDArray[Any] | None = None) -> list[dict[str, Any]]:
        """Return what outputs `[N, V]` say: the likeliest answer with the chances of all, or
        numbers.

        `read` are the elements `[N, ...]` of which each answer is about the one after, if they are
        about such.
        """
        point = self.network.loss.point(output).double()
        if not bool(torch.isfinite(point).all()):
            raise RunError.of(
                "RC060", "what the network gives is not finite, so nothing can be predicted from it"
            )
        return ELEMENTS[self.answers.yields].said(self.answers, point, read)

    def _each_step(self, sequence: Read) -> dict[str, Any]:
        """Return the likeliest answer at each step."""
        with torch.no_grad():
            output, _ = self.network(sequence.x[None].to(self.network.device))
        read = sequence.values if self.target.asks == "input" else None
        return {"predicted": [row["predicted"] for row in self._said(output[0], read)]}

    def _continued(self, sequence: Read) -> dict[str, Any]:
        """Return what comes after a sequence, and of symbols what the sequence itself cost, in nats
        a symbol.
        """
        session = Session(self.network, self.vocabulary).feed_ids(sequence.values)
        return ELEMENTS[self.vocabulary.yields].continued(
            session, self.horizon, lambda: self._nats(sequence.x)
        )

    def _nats(self, x: Tensor) -> float | None:
        """Return the mean of -log p of each symbol `[T]` after the first; nothing for a single
        one.
        """
        if len(x) < 2:
            return None
        x = x.to(self.network.device)
        states, total = None, 0.0
        with torch.no_grad():
            for at in range(0, len(x) - 1, sequences.LONGEST):
                part = x[at : min(at + sequences.LONGEST, len(x) - 1)]
                output, states = self.network(part[None], states)
                point = self.network.loss.point(output[0]).double()
                total += float(
                    functional.cross_entropy(point, x[at + 1 : at + 1 + len(part)], reduction="sum")
                )
        return total / (len(x) - 1)


def _of_row(error: InputError, name: str) -> InputError:
    """Return the error of a sequence that says which."""
    return InputError(replace(p, fact=f"row {name}: {_fact(p)}", key="") for p in error.problems)


def _fact(problem: Problem) -> str:
    """Return what is wrong with a sequence, which elsewhere is a prompt."""
    return problem.fact.replace("the prompt", "the sequence")


def gathered(pieces: Iterable[Piece]) -> Iterator[Row]:
    """Give whole sequences, each with its name, or its number from 1; one that is empty too."""
    parts: list[Any] = []
    name, count = "", 0
    for piece in pieces:
        if piece.start or not count:
            if parts:
                yield name, _joined(parts)
            parts, count = [], count + 1
            name = str(piece.columns.get("series", count))
        parts.append(piece.values)
    if parts:
        yield name, _joined(parts)


def _joined(parts: list[Any]) -> Any:
    """Return the elements of a sequence that came in parts, or the error that one of them is."""
    for part in parts:
        if isinstance(part, InputError):
            return part
    if len(parts) == 1:
        return parts[0]
    if isinstance(parts[0], str):
        return "".join(parts)
    return (
        [token for part in parts for token in part]
        if isinstance(parts[0], list)
        else np.concatenate(parts)
    )
