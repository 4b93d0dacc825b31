"""A split as simple rules see it, and by what errors of numbers are measured in it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from recurra.contracts.metric import Scale, SeriesScales
from recurra.contracts.target import Examples
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import Answers
from recurra.data.batches import Reader
from recurra.data.splits import Split, SplitName

if TYPE_CHECKING:
    from recurra.job.data import Data


class Measure(NamedTuple):
    """By what errors of numbers are measured: of all, and of each of several series."""

    scale: Scale | None
    scales: SeriesScales | None


def measure(data: Data, name: SplitName) -> Measure:
    """Return by what errors in a split are measured: in each series by all that precedes the split.

    Where nothing does it is training.
    """
    of_training, part = Measure(data.scale, data.scales), data.splits[name]
    follows = part.low > part.begin
    if data.scale is None or not follows.any():
        return of_training
    low, high, begin = (spans[follows] for spans in (part.begin, part.low, part.begin))
    known = replace(part, low=low, high=high, begin=begin, last=False)
    if data.scales is None:
        before = examples(data.read, data.reader, known, data.answers, data.season)
        return Measure(data.elements.scale(before), None)
    return Measure(data.scale, data.elements.scales(data.store, known, data.season, data.scale))


def examples(
    vocabulary: Vocabulary[Any],
    reader: Reader,
    part: Split,
    answers: Vocabulary[Any],
    season: int = 0,
    scale: Scale | None = None,
) -> Examples:
    """Return a split as a baseline sees it: the part of it that figures are made of."""
    part, store = part.scored(), reader.store
    given, codes = None, None
    if reader.labels is not None:
        given = reader.labels
        if store.tags is None:
            given = given[store.sequence(part.begin)]
        else:
            codes = store.tags.codes.values
        if isinstance(answers, Answers):
            given = answers.plain(given)
    return Examples(
        elements=vocabulary.yields,
        values=store.values,
        low=part.low,
        high=part.high,
        begin=part.begin,
        size=vocabulary.size,
        classes=answers.size,
        answers=given,
        season=season,
        scale=scale,
        lag=part.lag,
        codes=codes,
    )
