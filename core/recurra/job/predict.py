"""The answers of a trained network to new sequences, one after the other: nothing is kept but the batch at hand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

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
Ids = NDArray[Any]


@dataclass(frozen=True)
class Predictor:
    """What answers sequences: a network, and what its input and its answers are of.

    `horizon` is how many elements are foreseen where an answer can be read on.
    """

    network: Network
    vocabulary: Vocabulary[Any]
    answers: Vocabulary[Any]
    target: Target[Any]
    horizon: int = 0
    skip_bad: bool = False

    def columns(self) -> list[str]:
        """Return the names of all that an answer says, but for the first, which names its sequence."""
        if self.target.generates:
            told = ELEMENTS[self.vocabulary.yields].told
            names = ["predicted", *told] if self.horizon or not told else [*told]
        else:
            names = ["predicted"]
            if self.target.scope == "sequence":
                names += ELEMENTS[self.answers.yields].chances(self.answers)
        return [*names, *(["error"] if self.skip_bad else [])]

    def predict(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """Give the answer to each sequence, in order: `row`, and by what is asked `predicted` and more.

        Raises `InputError` (RC043, RC080) that names the row; with `skip_bad` it is told in the column `error` instead.
        """
        left = iter(rows)
        while some := list(islice(left, ROWS)):
            yield from self._batch(some)

    def _batch(self, rows: list[Row]) -> Iterator[dict[str, Any]]:
        read: dict[int, Ids] = {}
        errors: dict[int, str] = {}
        for index, (name, values) in enumerate(rows):
            try:
                read[index] = self._read(values)
            except InputError as error:
                if not self.skip_bad:
                    raise _of_row(error, name) from error.__cause__
                errors[index] = _fact(error.problems[0])
        found = self._answered(read)
        for index, (name, _) in enumerate(rows):
            yield {"row": name, **(found[index] if index in found else {"error": errors[index]})}

    def _read(self, values: Any) -> Ids:
        """Return a sequence as ids or scaled numbers. Raises `InputError` (RC043, RC080), or the one that it is."""
        if isinstance(values, InputError):
            raise values
        ids = reading.encoded(self.vocabulary, values)
        if not len(ids):
            raise InputError.of("RC080", "the sequence is empty, so nothing can be said of it")
        self._window(ids)
        return ids

    def _window(self, ids: Ids) -> Tensor:
        """Return what the network reads. Raises `InputError` (RC080) for numbers that it cannot hold."""
        return reading.ELEMENTS[self.vocabulary.yields].window(ids, self.network.dtype)

    def _answered(self, read: dict[int, Ids]) -> dict[int, dict[str, Any]]:
        if self.target.scope == "sequence":
            return self._whole(read)
        one = self._continued if self.target.generates else self._each_step
        return {index: one(ids) for index, ids in read.items()}

    def _whole(self, read: dict[int, Ids]) -> dict[int, dict[str, Any]]:
        """Return one answer a sequence; those of about the same length are read together."""
        places, found = list(read), {}
        for group in sequences.alike(np.array([len(ids) for ids in read.values()], np.int64), ROWS):
            chosen = [places[at] for at in group.tolist()]
            steps = torch.tensor([len(read[index]) for index in chosen])
            x = torch.stack([self._filled(read[index], int(steps[0])) for index in chosen])
            with torch.no_grad():
                output = sequences.read(self.network, x.to(self.network.device), steps.to(self.network.device))
            for index, row in zip(chosen, self._said(output), strict=True):
                found[index] = row
        return found

    def _filled(self, ids: Ids, steps: int) -> Tensor:
        """Return ids `[T]` or numbers `[T, F]`, filled up with the last step."""
        return self._window(ids)[torch.arange(steps).clamp(max=len(ids) - 1)]

    def _said(self, output: Tensor) -> list[dict[str, Any]]:
        """Return what outputs `[N, V]` say: the likeliest answer with the chances of all, or numbers."""
        point = self.network.loss.point(output).double()
        if not bool(torch.isfinite(point).all()):
            raise RunError.of("RC060", "what the network gives is not finite, so nothing can be predicted from it")
        return ELEMENTS[self.answers.yields].said(self.answers, point)

    def _each_step(self, ids: Ids) -> dict[str, Any]:
        """Return the likeliest answer at each step."""
        with torch.no_grad():
            output, _ = self.network(self._filled(ids, len(ids))[None].to(self.network.device))
        return {"predicted": [row["predicted"] for row in self._said(output[0])]}

    def _continued(self, ids: Ids) -> dict[str, Any]:
        """Return what comes after a sequence, and of symbols what the sequence itself cost, in nats a symbol."""
        session = Session(self.network, self.vocabulary).feed_ids(ids)
        return ELEMENTS[self.vocabulary.yields].continued(session, self.horizon, lambda: self._nats(ids))

    def _nats(self, ids: Ids) -> float | None:
        """Return the mean of -log p of each symbol after the first; nothing for a single one."""
        if len(ids) < 2:
            return None
        x = self._filled(ids, len(ids)).to(self.network.device)
        states, total = None, 0.0
        with torch.no_grad():
            for at in range(0, len(x) - 1, sequences.LONGEST):
                part = x[at : min(at + sequences.LONGEST, len(x) - 1)]
                output, states = self.network(part[None], states)
                point = self.network.loss.point(output[0]).double()
                total += float(functional.cross_entropy(point, x[at + 1 : at + 1 + len(part)], reduction="sum"))
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
    return [token for part in parts for token in part] if isinstance(parts[0], list) else np.concatenate(parts)
