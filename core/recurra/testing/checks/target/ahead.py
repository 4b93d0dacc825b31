"""What a target that looks several steps ahead owes: no answer has seen what comes after it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recurra.contracts.target import Target
from recurra.data.batches import Batch
from recurra.model.network import Network
from recurra.testing.answers import demand
from recurra.testing.beside import CATEGORIES, drawn_beside
from recurra.testing.check import Measured, NotApplicable, check
from recurra.testing.checks.target.answers import SINCE
from recurra.testing.measure import FLOAT64, gap, worst
from recurra.testing.questions import Case
from recurra.testing.subjects.target import TargetSubject


@check("T13", "an answer ahead has seen nothing after it", "target", firm=True, since=SINCE)
def answers_ahead(subject: TargetSubject) -> Measured:
    """Numbers after an origin move no answer to it, and covariates of a step none to one before.

    Nor does anything of another sequence. What is known of a step to come may be read for the
    answer to it, and for later ones; what is not known yet, never: such a forecast is good in every
    figure, and none is left where the data ends. To mend it: let `scored` and `base` read what they
    are given, write on nothing, and look past no origin.
    """
    findings = []
    for case in subject.cases():
        target = subject.target()
        if not target.ahead:
            raise NotApplicable("it answers a step by one element")
        network = case.network(target)
        batch, before = _answered(case, target, network)
        longest = int(np.argmax(case.store.ends - case.store.starts))
        begin, end = int(case.store.starts[longest]), int(case.store.ends[longest])
        steps = torch.arange(before.shape[1])[:, None]
        answered = steps + 1 + torch.arange(target.ahead)

        for place in range(1, end - begin):
            others = torch.arange(len(before)) != longest
            for other, seen, what in (
                (_told_otherwise(case, begin + place), answered >= place, "a covariate"),
                (_come_otherwise(case, begin + place), steps >= place, "a number"),
            ):
                _, after = _answered(other, target, network)
                still = batch.mask & (others[:, None, None] | ~seen)
                apart = gap(after[still], before[still], "answers")
                fact = f"{case.reads}: {what} of step {place} is seen before it"
                demand(apart <= FLOAT64, fact)
                findings.append(Measured(apart, FLOAT64, f"{case.reads}, {what}"))
    return worst(findings)


def _answered(case: Case, target: Target[Any], network: Network) -> tuple[Batch, Tensor]:
    """Return all sequences as one batch, and the answers `[B, T, H, V]` of their steps."""
    store = case.store
    steps = np.maximum(store.ends - store.starts - target.reach, 1)
    batch = case.reader(target).cut(store.starts, steps, store.starts)
    with torch.no_grad():
        hidden, _ = network.hidden(batch.x, position=batch.position)
        return batch, network.answer(hidden, batch.ahead())


def _told_otherwise(case: Case, at: int) -> Case:
    """Return the sequences where other things are known of a step."""
    rows = drawn_beside(len(case.store))
    rows[at] = rows[at, 0] + 1.0, (rows[at, 1] + 1) % len(CATEGORIES)
    return replace(case, beside=rows)


def _come_otherwise(case: Case, at: int) -> Case:
    """Return the sequences where another number came at a step."""
    values = case.store.values.copy()
    values[at] += 1.0
    return replace(case, store=replace(case.store, values=values))
