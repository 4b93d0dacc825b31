"""Data that a run was not made from, read with what the run has learned, to be measured."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.target import Examples
from recurra.data.batches import Reader
from recurra.data.chain import Chain, check_rows, in_training, transformed
from recurra.data.known import Known
from recurra.data.marks import Marked
from recurra.data.splits import Split, SplitName, Splits, everything, place_of
from recurra.errors import InputError
from recurra.job.data import Beside, Data
from recurra.job.elements import ELEMENTS
from recurra.job.reading import all_of, answers_of, reader_of, splits_of, stored
from recurra.job.refusals import answerable, check_ahead, unanswered
from recurra.job.reopen import same_data
from recurra.job.transforming import transformed_reader
from recurra.resolved import Resolved
from recurra.runs.folder import RunFolder

SCALED_BY = 2
"""Steps of a series that must be known for it to be scaled by them."""


def with_all(data: Data) -> Data:
    """Return the data of a run with all of it beside its splits."""
    train = data.splits["train"]
    whole = all_of(data.target, data.vocabulary, data.store)
    return replace(data, splits={**data.splits, "all": replace(whole, lag=train.lag)})


def held_data(
    folder: RunFolder, recorded: Resolved, asked: Resolved, known: Known, name: SplitName
) -> Data:
    """Return other data than that of a run, of which `name` is to be measured.

    Nothing is learned of it: the vocabulary, the scale and the labels are those that are `known`.
    Raises `InputError` (RC030, RC040 to RC043) for what the run does not know.
    """
    target, sequence = asked.target, asked.task.sequence
    vocabulary = known.vocabulary
    assert vocabulary is not None, "a run has a vocabulary"
    with asked.placing():
        source = asked.source()
        source.categories = known.categories
        store = stored(asked, source, vocabulary, True)
        elements = ELEMENTS[vocabulary.yields]
        chain = elements.known(vocabulary, store, known.owner)

        if name == "all":
            part = all_of(target, vocabulary, store)
        else:
            part = splits_of(asked, vocabulary, store)[name]
        none = _some(part, np.zeros(len(part), bool))
        answers, labels = answers_of(target, vocabulary, store, none, known)
        read = answers if isinstance(answers, Marked) else vocabulary
        target.prepare(elements.names(source, read))

        every: Splits = {"train": none, "validation": none, "test": none, name: part}
        reader = reader_of(asked, vocabulary, store, every, known, labels, source.timeline())
        seen = none
        lacks = elements.lacking(asked, source, vocabulary, store, none, known.owner)
        if chain and (chain.steps or lacks):
            reader, part, seen = _transformed(asked, chain, reader, part)
        elif elements.forecast:
            place = partial(place_of, store, every)
            check_rows(Chain(vocabulary), store, store.ends, place, reader.dtype)

        train = _training(folder, recorded)
        scale = train.scale if train else None
        data = Data(
            source=source,
            vocabulary=vocabulary,
            store=store,
            splits={**every, name: part},
            reader=reader,
            scale=scale,
            scales=elements.scales(store, seen, sequence.season, scale),
            batches=None,
            target=target,
            answers=answers,
            season=sequence.season,
            chain=chain if reader.rows is not None else None,
            beside=Beside(
                seen=seen,
                longest_answer=folder.records.data().longest_answer or 0,
                train=train.examples("train") if train else None,
            ),
        )
        _check(asked, data, part)
    return data


def _some(part: Split, chosen: NDArray[np.bool_]) -> Split:
    """Return the chosen spans of a split."""
    low, high, begin = (spans[chosen] for spans in (part.low, part.high, part.begin))
    return replace(part, low=low, high=high, begin=begin)


def _transformed(
    asked: Resolved, chain: Chain, reader: Reader, part: Split
) -> tuple[Reader, Split, Split]:
    """Return a reader of what transforms make of numbers, what is measured, and what is known.

    A series that must be known to be scaled is so up to its part of a split; where it has no part
    before, up to the steps that are forecast, and those alone are measured.
    """
    store, target = reader.store, asked.target
    seen = everything(store, target.reach, part.whole)
    lag = chain.lag if target.asks == "input" else 0
    check_ahead(asked, chain)
    if chain.by_series and target.asks == "input":
        origins = part.high - asked.task.generation.length
        low = np.where(part.low > part.begin, part.low, origins)
        enough = low - part.begin >= SCALED_BY
        part = _some(replace(part, low=low), enough)
        seen = replace(part, low=part.begin, high=part.low)

    # No split of this data is the run's training.
    none = _some(part, np.zeros(len(part), bool))

    def place(at: int) -> str:
        return place_of(store, {"train": none, "validation": none, "test": none}, at)

    rows = transformed(chain, store, in_training(store, seen), place)
    reader = transformed_reader(reader, chain, rows, lag)
    return reader, replace(part, lag=lag), seen


def _training(folder: RunFolder, recorded: Resolved) -> Data | None:
    """Return the data that a run was made from, if it can still be read and is the same."""
    try:
        return same_data(folder, recorded)
    except InputError:
        return None


def _check(asked: Resolved, data: Data, part: Split) -> None:
    """Refuse data of which nothing can be scored. Raises `InputError` (RC041)."""
    if part.steps and answerable(data, part):
        return
    count = f"{len(data.store)} elements in {len(data.store.starts)} sequences"
    fact = f"of this data, {count}, nothing can be scored"
    cure = "give longer sequences"
    if part.steps:
        fact, cure = f"this data, {count}, {unanswered(asked, part)}", "give some that it has"
    elif data.by_series:
        length = asked.task.generation.length
        fact += f": each series is scaled by what comes before its last {length} steps"
        cure = f"give series of {length + SCALED_BY} steps or more"
    raise InputError.of("RC041", fact, key="source", cure=cure)


def compared(data: Data, name: SplitName) -> tuple[Examples, Examples] | None:
    """Return what simple rules learn from, and what they are measured on.

    There is nothing to learn from where the data of the run is gone.
    """
    measured = data.examples(name)
    if data.beside is None:
        return data.examples("train"), measured
    train = data.beside.train
    return None if train is None else _beside_each_other(train, measured)


def _beside_each_other(train: Examples, held: Examples) -> tuple[Examples, Examples]:
    """Return examples of two stores as ones of a single store, that of training first."""
    first, last = int(train.begin.min()), int(train.high.max())
    own = np.asarray(train.values[first:last])
    values = np.concatenate([own, np.asarray(held.values)])
    codes, tables = None, (train.answers, held.answers)
    if train.codes is not None and held.codes is not None:
        assert train.answers is not None and held.answers is not None, "each element has a tag"
        # The tags of the second are numbered behind those of the first.
        tables = (np.concatenate([train.answers, held.answers]),) * 2
        behind = np.asarray(held.codes[:]).astype(np.int64) + len(train.answers)
        codes = np.concatenate([np.asarray(train.codes[first:last]).astype(np.int64), behind])

    one, other = (
        replace(
            part,
            values=values,
            codes=codes,
            answers=answers,
            low=part.low + shift,
            high=part.high + shift,
            begin=part.begin + shift,
            scales=None if part.scales is None else part.scales.moved(shift),
        )
        for part, answers, shift in (
            (train, tables[0], -first),
            (held, tables[1], len(own)),
        )
    )
    return one, other


def notes(data: Data, name: SplitName) -> list[str]:
    """Return what is to be said of figures that are not of the held out part of a run's data."""
    if data.beside is None:
        return ["all of the data: what the run was trained on is in it"] if name == "all" else []
    said = "other data than the run was made from"
    said += ": all of it is held out" if name == "all" else ", cut as the task says"
    found = [f"{said}; vocabulary, scale and labels are the run's"]
    if data.by_series and data.target.asks == "input":
        left = len(data.store.starts) - len(data.splits[name])
        fact = "each series is scaled by what comes before the steps that are scored"
        if name == "all":
            fact += f", its last; {left:,} are too short" if left else ", its last"
        found.append(fact)
    if data.beside.train is None:
        fact = "no baselines one step ahead, nor mase" if data.target.generates else "no baselines"
        found.append(
            f"{fact}: they learn of the run's training data, which cannot be read as it was"
        )
    else:
        found.append("the baselines learned from the run's own training split")
    return found


def trained_on(data: Data, name: SplitName) -> str:
    """Return what a verdict says of a split that the network was trained on."""
    if data.beside is not None:
        return ""
    said = {"train": "; on the training split itself", "all": "; training is in it"}
    return said.get(name, "")
