"""Checks of an encoder that is read in parts: with its state carried, they make the whole."""

from __future__ import annotations

from typing import Any

import torch

from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.engine.recurrence import State, map_state
from recurra.testing.answers import tensor
from recurra.testing.check import Measured, check
from recurra.testing.measure import ROWS, gap, gaps, worst
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.reader import Reads


@check("E11", "streaming equals the whole", "encoder", firm=True)
def streaming(subject: EncoderSubject) -> Measured:
    """Step by step, or in pieces of any length with the state carried, gives what the whole gives,
    within 1e-12.

    Training reads windows and generation one step at a time: an encoder that pads each call afresh
    gives the network vectors that it never saw. To call it is to begin with a fresh state. A
    `reset` equals separate sequences, and nothing of before it remains, nan neither. To mend it:
    carry all that later steps need in the state, and set it with `where`.
    """
    findings = []
    for kind in subject.reads:
        encoder = subject.encoder()
        x = subject.x(kind)
        whole, last = subject.run(encoder, x)
        for cuts in ([1] * 7, [3, 1, 2, 1], [1, 6]):
            pieces, state = [], subject.fresh(encoder, x)
            for part in torch.split(x, cuts, dim=1):
                y, state = subject.run(encoder, part, state)
                pieces.append(y)
            of_vectors = gap(torch.cat(pieces, dim=1), whole, "a vector")
            value = max(of_vectors, gaps(state, last, "state"))
            what = f"{kind}, pieces of {cuts} steps"
            findings.append(Measured(value, ROWS, what))

        # One of single steps has no state: it is `forward` that has been called.
        if isinstance(encoder, StatefulEncoder):
            called = tensor(encoder(x.clone()), "what forward gives")
            value = gap(called, whole, "a vector")
            findings.append(Measured(value, ROWS, f"{kind}, called without a state"))
            findings.append(_reset(subject, encoder, kind))
    return worst(findings)


def _reset(subject: EncoderSubject, encoder: Encoder[Any], kind: Reads) -> Measured:
    """Return how rows with a reset differ from two sequences apart; nan before it stays there."""
    begins = (2, 4, 0)
    x = subject.x(kind)
    if kind == "numbers":
        x[1, :4] = torch.nan
    reset = torch.zeros(x.shape[:2], dtype=torch.bool)
    reset[range(3), begins] = True
    y, state = subject.run(encoder, x, reset=reset)

    values = []
    for row, at in enumerate(begins):
        only = slice(row, row + 1)
        before, _ = subject.run(encoder, x[only, :at])
        after, last = subject.run(encoder, x[only, at:])
        apart = torch.cat([before, after], dim=1)
        own: State = map_state(lambda field: field[only], state)  # noqa: B023
        of_vectors = gap(y[only], apart, "a vector")
        values.append(max(of_vectors, gaps(own, last, "state")))
    return Measured(max(values), ROWS, f"{kind}, sequences that begin inside the window")
