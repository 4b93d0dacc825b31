"""What metrics owe that are measured by several processes: parts are put together."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from recurra.contracts.metric import Metric, merges
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.checks.target.answers import MANY, PARTS, SINCE, each_metric
from recurra.testing.measure import FLOAT64, worst
from recurra.testing.questions import Case, drawn, placed
from recurra.testing.subjects.target import TargetSubject
from recurra.train.merging import packed, unpacked


@check("T14", "what is measured apart is put together", "target", firm=True, since=SINCE)
def merged(subject: TargetSubject) -> Measured:
    """Figures of parts that were measured apart and merged are those of the whole, within 1e-9.

    So it is in whatever order they come, of parts of nothing too, and of those that have travelled
    by pickle. Several processes share an evaluation out like this, and training stops, or does not,
    by what they say. To mend it: add in `merge` all that `add` adds up, and keep what can be
    pickled; or leave `merge` out, and the first process measures alone.
    """
    findings = []
    for case, metric in each_metric(subject):
        if not merges(metric):
            continue
        output, answers = drawn(case, MANY)
        every = torch.arange(MANY)
        places = placed(MANY, subject.target().ahead)
        known = case.answers, case.scale
        at_places = not (metric.free or subject.by_sequence)
        for where in (None, places) if at_places else (None,):
            given = output, answers, where
            whole = _told(subject, _part(subject, metric, case, given, every))
            for parts in (torch.split(every, PARTS), torch.split(every.flip(0), PARTS)):
                sums = metric(case.answers, case.scale)
                for some in (every[:0], *parts, every[:0]):
                    alone = _part(subject, metric, case, given, some)
                    sums.merge(_travelled(alone, known, metric.__name__))
                what = f"{case.reads}, {metric.__name__}, merged"
                gap = _apart(_told(subject, sums), whole, what)
                findings.append(Measured(gap, FLOAT64, what))
    if not findings:
        raise NotApplicable("its metrics do not merge: the first process measures alone")
    return worst(findings)


def _part(
    subject: TargetSubject,
    metric: type[Metric],
    case: Case,
    given: tuple[Tensor, Tensor, Tensor | None],
    some: Tensor,
) -> Metric:
    """Return what a metric measures of some outputs and answers, which may be at places."""
    output, answers, places = given
    sums = metric(case.answers, case.scale)
    if len(some) and places is not None:
        sums.add_at(output[some], answers[some], places[some])
    elif len(some):
        subject.add(sums, case, output[some], answers[some])
    return sums


def _travelled(sums: Metric, known: tuple[Any, ...], what: str) -> Metric:
    """Return sums as another process gets them. Raises `Broken` for what cannot be pickled."""
    try:
        there: Metric = unpacked(packed(sums, known), known)
    except Exception as error:
        raise Broken(f"{what} merges, and cannot be pickled: {error}"[:300]) from error
    return there


def _told(subject: TargetSubject, sums: Metric) -> Any:
    """Return all that a metric tells."""
    figures = subject.values(sums, type(sums).__name__)
    return [figures, [dict(column.metrics()) for column in sums.columns()], sums.detail()]


def _apart(actual: Any, expected: Any, what: str) -> float:
    """Return how far numbers of plain data lie apart. Raises `Broken` if anything else differs."""
    number = (int, float)
    if isinstance(expected, number) and isinstance(actual, number):
        gap = abs(actual - expected) / max(1.0, abs(expected))
        return gap if gap == gap else math.inf
    if isinstance(expected, dict) and isinstance(actual, dict):
        demand(actual.keys() == expected.keys(), f"{what}: other names than of the whole")
        actual, expected = [actual[name] for name in expected], list(expected.values())
    if isinstance(expected, list | tuple) and isinstance(actual, list | tuple):
        demand(len(actual) == len(expected), f"{what}: it tells of more, or less, than the whole")
        pairs = zip(actual, expected, strict=True)
        return max((_apart(own, other, what) for own, other in pairs), default=0.0)
    demand(actual == expected, f"{what}: it tells something else than of the whole")
    return 0.0
