"""The covariates of a task's data: what training shows of them, and what it has not shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from recurra.contracts.source import COVARIATES, FUTURE, OF_STEPS, PAST, STATIC, Role
from recurra.contracts.timeline import Timeline
from recurra.contracts.vocabulary import Vocabulary
from recurra.data.blocks import blocks as in_blocks
from recurra.data.blocks import of_spans
from recurra.data.companions import Companions
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows, sequence_called
from recurra.data.dated import Dated
from recurra.data.intake import refused
from recurra.data.known import Known
from recurra.data.splits import Split, SplitName, called, place_of
from recurra.data.store import Covariates, Ints, Store
from recurra.errors import InputError
from recurra.generate.session import Session
from recurra.job.clock import Clock
from recurra.model.device import DTYPES
from recurra.resolved import Resolved

if TYPE_CHECKING:
    from recurra.job.data import Data

Called: TypeAlias = Callable[[int], str]
"""Tells what one of the steps to come is called, counted from 1."""

SHOWN = 5
"""Categories that a note names."""


def companions_of(
    resolved: Resolved,
    vocabulary: Vocabulary[Any],
    store: Store,
    splits: dict[SplitName, Split],
    known: Known,
    timeline: Timeline | None = None,
) -> Companions | None:
    """Return what is read beside the elements of a store, if anything is.

    It is known, or learned of the training split; its stamps go on as the `timeline` says. Raises
    `InputError` (RC030, RC041, RC042).
    """
    learned, dated = known.covariates or CovariateVocabulary(), dated_of(resolved, timeline)
    if known.owner:
        learned.fits(store.covariates, known.owner, dated)
    if store.covariates is None and dated is None:
        return None
    covariates = store.covariates or Covariates.none(len(store.starts))
    if known.vocabulary is None:
        # Of a run whose scale is fitted anew the categories are kept: its weights are of them.
        like = known.covariates
        place = partial(place_of, store, splits)
        learned = CovariateVocabulary.fitted(
            covariates, store, splits["train"], vocabulary, like, place
        )

    if dated is not None and learned.dated is not None:
        dated = replace(learned.dated.on(timeline), lead=dated.lead)
    # A run that is begun from may have asked otherwise, and keeps what is its own.
    learned = replace(learned, ahead=resolved.target.ahead, dated=dated)
    companions = Companions(learned, covariates, store).carrying()
    check(companions, store.ends, partial(place_of, store, splits), precision(resolved))
    return companions


def dated_of(resolved: Resolved, timeline: Timeline | None) -> Dated | None:
    """Return what is read of the stamps of data that go on so, if anything is.

    Raises `InputError` (RC030) where they do not, or where a feature says nothing of their steps.
    """
    calendar = resolved.calendar
    if calendar is None:
        return None
    if timeline is None or timeline.frequency is None:
        fact = "features of time stamps are read, and none is known of a step to come: the stamps"
        fact += " are not regular steps apart"
        cure = "set source.time, and source.frequency where it is left out; or leave calendar out"
        raise InputError.of("RC030", fact, key="source.calendar", cure=cure)
    if refusal := calendar.refused(timeline.frequency):
        key = f"source.{refusal.option}"
        raise InputError.of("RC030", refusal.fact, key=key, allowed=refusal.allowed)
    of_the_next = resolved.asks_ahead and not resolved.target.ahead
    return Dated(calendar, timeline, lead=1 if of_the_next else 0)


def precision(resolved: Resolved) -> torch.dtype:
    """Return in what numbers a task computes."""
    return DTYPES[resolved.task.device.precision]


def check(
    companions: Companions, ends: Ints, step_called: Callable[[int], str], dtype: torch.dtype
) -> None:
    """Refuse numbers that are infinite as the network reads them, up to the `ends` of sequences.

    Of what is known beforehand all is read. Raises `InputError` (RC042).
    """
    covariates, store = companions.covariates, companions.store
    for role, table in companions.vocabulary.tables.items():
        blocks: Any = [(0, covariates.static)]
        if role in OF_STEPS:
            assert covariates.steps is not None, "there are covariates of steps"
            values = covariates.steps.values
            own = covariates.part(role)
            spans = in_blocks(0, len(values))
            if role == PAST:
                spans = of_spans(store.starts, ends)
            blocks = ((span.start, np.asarray(values[span, own])) for span in spans)
        for at, block in blocks:
            rows = companions.rows(role, block)

            def place(row: int, role: Role = role, at: int = at) -> str:
                return step_called(at + row) if role in OF_STEPS else sequence_called(row)

            try:
                with np.errstate(over="ignore", invalid="ignore"):
                    read = torch.from_numpy(table.encode(rows)).to(dtype)
            except InputError as error:
                raise refused(table.encode, rows, place) or error from error
            places = table.places()
            missing = torch.from_numpy(np.isnan(rows)[:, places])
            wrong = torch.nonzero(~torch.isfinite(read) & ~missing)
            if not len(wrong):
                continue
            row, index = wrong[0].tolist()
            name = table.names[places[index]]
            where = place(row)
            number = float(block[row, places[index]])
            fact = f"the covariate {name!r} is {number:g} at {where}, which is beyond all numbers"
            fact += f" of {dtype} once it is scaled"
            cure = 'mend the row, or take another vocabulary.scale, or device.precision = "float64"'
            raise InputError.of("RC042", fact, key=f"source.{role}", cure=cure)


def unseen(data: Data, name: SplitName) -> list[str]:
    """Return a note of each covariate of which a split has categories that training has not."""
    companions = data.reader.companions
    if companions is None:
        return []
    covariates, part, notes = companions.covariates, data.splits[name], []
    for role in COVARIATES:
        table = companions.vocabulary.tables.get(role)
        columns = covariates.of(role)
        for index, column in enumerate(columns):
            if column.names is None or table is None:
                continue
            known = table.columns[index]
            # That of no name stands behind those of all.
            counts = np.zeros(len(column.names) + 1, np.int64)
            if role in OF_STEPS:
                assert covariates.steps is not None, "there are covariates of steps"
                at = covariates.part(role).start + index
                for low, high in zip(part.begin.tolist(), part.high.tolist(), strict=True):
                    counts += _counted(covariates.steps.values[low:high, at], len(counts))
            else:
                rows = covariates.static[data.store.sequence(part.begin), index]
                counts += _counted(rows, len(counts))

            new = known.ids(column.names) == len(known.categories or ())
            total, nothing = int(counts[:-1][new].sum()), int(counts[-1])
            what = "step" if role in OF_STEPS else "sequence"
            of_part = f"of {called(name)}, or of what is read before it,"
            if total:
                names = [column.names[code] for code in np.flatnonzero(new & (counts[:-1] > 0))]
                told = ", ".join(repr(each) for each in sorted(names)[:SHOWN])
                notes.append(
                    f"the {column.name} of {_count(total, what)} {of_part} is one that training has"
                    f" not shown, and read as unknown: {told}"
                )
            if nothing:
                notes.append(
                    f"the {column.name} of {_count(nothing, what)} {of_part} is missing, and read"
                    " as unknown"
                )
    return notes


def unknown_of(
    known: CovariateVocabulary,
    rows: Rows,
    tables: Mapping[Role, Mapping[str, Any]],
    name: str,
    told: set[str],
) -> Iterator[tuple[str, str]]:
    """Give the first category of each covariate that training has not shown: its column, and why.

    The `rows` are those of the `tables` of a series; what is `told` of is left out.
    """
    ids = {PAST: rows.past, FUTURE: rows.future, STATIC: rows.static[None]}
    for role, table in known.tables.items():
        for index, column in enumerate(table.columns):
            if column.categories is None or column.name in told:
                continue
            places = np.flatnonzero(ids[role][:, index] == len(column.categories)).tolist()
            given = tables[role][column.name]
            listed = [given] if role == STATIC else given
            # What is missing is no news.
            values = [listed[at] for at in places]
            unknown = [f"{value}" for value in values if value is not None and value == value]
            if not unknown:
                continue
            fact = f"the {column.name} of {name} is {unknown[0]!r}, which training has not shown"
            yield column.name, f"{fact}: it is read as unknown, and so is all else of that kind"


def _counted(codes: NDArray[Any], size: int) -> NDArray[np.int64]:
    """Return how often each code comes, that of no name last."""
    known = np.where(np.isnan(codes), size - 1, codes).astype(np.int64)
    return np.bincount(known, minlength=size)


def _count(total: int, what: str) -> str:
    """Return so many things in words."""
    return f"1 {what}" if total == 1 else f"{total:,} {what}s"


def short_ahead(data: Data, steps: int) -> list[str]:
    """Return a note of the steps that are to be generated and cannot be, for want of covariates."""
    rows, covariates = data.opening_covariates(), data.covariates
    if rows is None or covariates is None or not data.target.generates:
        return []
    reach = covariates.reach(len(data.opening()), rows, steps)
    if reach >= steps:
        return []
    listed = ", ".join(covariates.names(FUTURE))
    return [
        f"{reach:,} of {steps:,} steps can be generated behind the last series: of the others the"
        f" future covariates are not known: {listed}"
    ]


def ahead_of(clock: Clock, row: int, end: int) -> Called:
    """Return what tells how steps after the end of a series are called: by stamps where known."""

    def called(number: int) -> str:
        step = step_ahead(number)
        try:
            (label,) = clock.labels(row, [end + number - 1])
        except ValueError:
            # The calendar ends.
            return step
        return f"{step}, {label}," if clock.known else step

    return called


def step_ahead(number: int) -> str:
    """Return what one of the steps to come is called, counted from 1."""
    return f"step {number} ahead"


def check_reach(session: Session, length: int, called: Called = step_ahead) -> None:
    """Refuse to forecast steps whose covariates are not known. Raises `InputError` (RC080)."""
    reach = session.reach(length)
    if reach < length and session.companion is not None:
        raise out_of_reach(session.companion.vocabulary, reach, ("length", length), called)


def out_of_reach(
    covariates: CovariateVocabulary, reach: int, asked: tuple[str, int], called: Called
) -> InputError:
    """Return the error of steps that are `asked` for by an option of that name.

    It names the first that cannot be told, as it is `called`.
    """
    option, steps = asked
    fact = f"{reach} of {steps} steps can be forecast: "
    past = covariates.names(PAST)
    if past and not covariates.ahead and (reach or not covariates.names(FUTURE)):
        fact += f"nobody knows the past covariates of the first of them: {', '.join(past)}"
        cure = "train without them, or with a direct horizon"
    else:
        fact += f"of {called(reach + 1)} the future covariates are not known: "
        fact += ", ".join(covariates.names(FUTURE))
        cure = "give more of them, beside a prompt or in rows at the end of the data whose other"
        cure += " cells are empty"
    if reach:
        cure = f"{option} = {reach}, or {cure}"
    return InputError.of("RC080", fact, key="covariates", cure=cure)
