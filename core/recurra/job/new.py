"""New sequences that a run is to answer: rows, those of a file, or those of data at hand."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recurra.attribution import blaming
from recurra.contracts.source import FUTURE, PAST, STATIC, TAGS, Role, Source
from recurra.data import intake
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.errors import InputError
from recurra.generate import arguments
from recurra.generate.companion import check_names
from recurra.job.gathered import Accompanied, Row, gathered
from recurra.job.reopen import resolved_again
from recurra.spec.tables import GIVEN_SOURCE

if TYPE_CHECKING:
    from recurra.job.run import Run

COUNTED = "row"
"""How the column is called that names sequences which are counted."""


VALUES, BESIDE, OF_SERIES, TIME = "values", "covariates", "static_covariates", "time"
"""The keys of a sequence that a caller gives with its covariates."""


def listed(sequence: Any, covariates: CovariateVocabulary | None) -> Any:
    """Return a sequence as it is answered: one that is a dict with its covariates beside it.

    What is missing in it, and what nothing reads, is an `InputError` (RC080) in its place.
    """
    if covariates is None or not isinstance(sequence, Mapping):
        return sequence
    try:
        given = {BESIDE: {}, OF_SERIES: {}, **sequence}
        keys = [VALUES, BESIDE, OF_SERIES]
        if covariates.dated is not None:
            keys.append(TIME)
        check_names(given, keys, "key", "the sequence")
        beside = arguments.named(BESIDE, given[BESIDE]) or {}
        of_steps = [role for role in (PAST, FUTURE) if role in covariates.tables]
        names = [name for role in of_steps for name in covariates.names(role)]
        check_names(beside, names, "covariate", "the sequence")
        static = arguments.named(OF_SERIES, given[OF_SERIES]) or {}
        check_names(static, covariates.names(STATIC), "static covariate", "the sequence")
    except InputError as error:
        return error

    tables: dict[Role, Mapping[str, Any]] = {STATIC: static}
    for role in of_steps:
        tables[role] = {name: beside[name] for name in covariates.names(role)}
    return Accompanied(given[VALUES], tables)


def _time(sequence: Any) -> Any:
    """Return the stamp of the first step of a sequence, if a caller gives it."""
    return sequence.get(TIME) if isinstance(sequence, Mapping) else None


def _labelled(source: Source[Any], labels: str | None) -> Source[Any]:
    """Return a source that reads labels, if there are such."""
    return source if labels is None else source.labelled(labels)


@dataclass(frozen=True)
class New:
    """New sequences: those that are `listed`, or those of a `source`, which may be `tagged`."""

    run: Run
    listed: Iterable[Any] = ()
    source: Source[Any] | None = None
    tagged: bool = False

    @classmethod
    def of(
        cls,
        run: Run,
        rows: Iterable[Any] | None,
        file: str | Path | None,
        data: Any = None,
        labels: str | None = None,
    ) -> New:
        """Return what is given as one of the three; a column of it may hold labels of its steps.

        Raises `InputError`.
        """
        if sum(each is not None for each in (rows, file, data)) != 1:
            raise InputError.of("RC080", "give rows, or a file of them, or data")
        if rows is not None:
            return cls(run, arguments.sequences("rows", rows))
        resolved, tagged = run.resolved, labels is not None
        if file is not None:
            path = os.path.abspath(arguments.path("file", file))
            return cls(run, source=_labelled(resolved.source(), labels).over(path), tagged=tagged)
        if "data" not in resolved.parts["source"].entry.component.lacks:
            resolved = resolved_again(run.folder, {"source.kind": GIVEN_SOURCE})
        source = _labelled(resolved.source(), labels)
        return cls(run, source=source.over_data(data), tagged=tagged)

    @property
    def named(self) -> str:
        """How the column is called that names a sequence."""
        return COUNTED if self.source is None else self.source.named

    @property
    def named_by_steps(self) -> bool:
        """Whether a column names the sequence of each row, or its time."""
        if self.source is None:
            return False
        return self.named != COUNTED or "time" in self.source.columns()

    def features(self) -> list[str]:
        """Return the names of the columns of numbers, where they have names."""
        return [] if self.source is None else self.source.features()

    def rows(self) -> Iterator[Row]:
        """Give the sequences, one after the other. Raises `InputError`."""
        if self.source is None:
            known = self.run.covariates
            return (
                Row(str(number), listed(row, known), _time(row))
                for number, row in enumerate(self.listed, 1)
            )
        return self._read(self.source)

    def _read(self, source: Source[Any]) -> Iterator[Row]:
        resolved = self.run.resolved
        owner = resolved.parts["source"].entry.qualified
        roles: tuple[Role, ...] = ()
        if self.run.covariates is not None:
            roles = tuple(self.run.covariates.tables)
            source.categories = self.run.covariates.categories
        if self.tagged:
            roles = (*roles, TAGS)
        self._check_frequency(source)
        pieces = intake.pieces(source, self.run.vocabulary.reads, owner, roles, given=True)
        with blaming(resolved):
            yield from gathered(pieces)

    def _check_frequency(self, source: Source[Any]) -> None:
        """Refuse stamps that are farther apart than those of the run, or nearer.

        Raises `InputError` (RC080).
        """
        own, other = self.run.timeline(), source.timeline()
        if own is None or other is None or None in (own.frequency, other.frequency):
            return
        if own.frequency != other.frequency:
            fact = f"the file has a time stamp every {other.frequency}, and the data of the run"
            fact += f" every {own.frequency}"
            raise InputError.of("RC080", fact, cure="give steps as long as those of training")
