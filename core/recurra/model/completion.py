"""Answers that a network gives by itself to prompts, symbol after symbol, until it ends each."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recurra.data.marks import Marks
from recurra.data.store import Ints
from recurra.errors import RunError
from recurra.model import sequences
from recurra.model.network import Network, States
from recurra.shapes import Logits

ROWS = 256
"""Prompts that are answered side by side."""


def likeliest(logits: Logits) -> Tensor:
    """Return the id of the largest logit of each row."""
    return logits.argmax(dim=-1)


def completions(
    network: Network,
    prompts: Sequence[NDArray[np.integer]],
    marks: Marks,
    limit: int,
    *,
    rows: int = ROWS,
    pick: Callable[[Logits], Tensor] = likeliest,
) -> list[Ints]:
    """Return the answer to each prompt, as ids, with the mark of its end behind it.

    One that has not ended after `limit` symbols is given up, and has no such mark. Prompts of about
    the same length are answered together, which changes no answer, nor does their order. `pick`
    takes the next symbol of each; an answer never begins anew inside itself. Raises `RunError`
    (RC060) where the network gives what is not finite.
    """
    answers: list[Ints] = [np.zeros(0, np.int64)] * len(prompts)
    # With the mark behind it, each is one step longer.
    lengths = np.array([len(prompt) + 1 for prompt in prompts], np.int64)
    for group in sequences.alike(lengths, rows):
        chosen = [prompts[row] for row in group.tolist()]
        with torch.no_grad():
            given = _side_by_side(network.eval(), chosen, marks, limit, pick)
        for row, ids in zip(group.tolist(), given.cpu().numpy(), strict=True):
            # What stands behind its end is not part of an answer.
            ends = np.flatnonzero(ids == marks.end)
            answers[row] = ids[: ends[0] + 1] if len(ends) else ids[:limit]
    return answers


def _side_by_side(
    network: Network,
    prompts: Sequence[NDArray[np.integer]],
    marks: Marks,
    limit: int,
    pick: Callable[[Logits], Tensor],
) -> Tensor:
    """Return what follows each prompt, `[B, limit + 1]`, of which an answer is what comes first.

    All begin at their first step and go on in step: a longer prompt is still read while a shorter
    one is answered already, so that nothing is ever filled up.
    """
    device = network.device
    lengths = torch.tensor([len(prompt) + 1 for prompt in prompts], device=device)
    longest, shortest = int(lengths.max()), int(lengths.min())

    read = np.full((len(prompts), longest), marks.begin, np.int64)
    for row, prompt in zip(read, prompts, strict=True):
        row[: len(prompt)] = prompt
    x = torch.from_numpy(read).to(device)

    given = torch.full((len(prompts), limit + 1), marks.end, device=device)
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=device)
    every = torch.arange(len(prompts), device=device)
    output, states = _begun(network, x[:, :shortest])
    at = shortest
    while True:
        ids = pick(_allowed(network, output, marks))
        place = at - lengths  # of the symbol in its answer; below 0 the prompt goes on
        answering = (place >= 0) & (place <= limit) & ~ended
        given[every[answering], place[answering]] = ids[answering]
        ended |= answering & ((ids == marks.end) | (place == limit))
        if bool(ended.all()):
            return given

        following = x[:, at] if at < longest else ids
        following = torch.where(at < lengths, following, ids)
        output, states = network(following[:, None], states)
        at += 1


def _begun(network: Network, x: Tensor) -> tuple[Logits, States]:
    """Return the outputs `[B, 1, V]` of the last step of a window, and the states after it."""
    states: States | None = None
    output = x.new_zeros(0)
    for start in range(0, x.shape[1], sequences.LONGEST):
        part = x[:, start : start + sequences.LONGEST]
        output, states = network(part, states, last=True)
    assert states is not None, "a prompt ends with a mark"
    return output, states


def _allowed(network: Network, output: Logits, marks: Marks) -> Logits:
    """Return the logits `[B, V]` of a step, in which no answer begins."""
    logits: Logits = network.point(output[:, -1]).clone()
    if not bool(torch.isfinite(logits).all()):
        fact = "what the network gives is not finite, so nothing can be answered from it"
        raise RunError.of("RC060", fact)
    logits[:, marks.begin] = -torch.inf
    return logits
