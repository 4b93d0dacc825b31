"""What stands beside the elements of a store, as a network reads it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from recurra.contracts.moments import Firsts
from recurra.contracts.source import FUTURE, PAST, STATIC, Role
from recurra.data.covariate_vocabulary import CovariateVocabulary, Floats, Rows
from recurra.data.dated import Dated
from recurra.data.store import Array, Covariates, Ints, Store


@dataclass(frozen=True)
class Companions:
    """The covariates of a store, as a network reads them."""

    vocabulary: CovariateVocabulary
    covariates: Covariates
    store: Store

    def rows(self, role: Role, rows: Array) -> Floats:
        """Return rows `[n, C]` of what is stored of a role, with the ids of names."""
        read = np.array(rows, np.float64)
        table = self.vocabulary.tables[role]
        stored = zip(table.columns, self.covariates.of(role), strict=True)
        for index, (known, column) in enumerate(stored):
            if column.names is not None:
                ids = known.ids(column.names)
                read[:, index] = ids[read[:, index].astype(np.int64)]
        return read

    def stretch(self, first: int, origin: int, stop: int) -> Rows:
        """Return the covariates of one series up to an origin, and of those after it up to `stop`.

        Behind the last element stand those that are known of the steps to come.
        """
        tables, sequence = self.vocabulary.tables, int(self.store.sequence(np.array([first]))[0])
        nothing = np.zeros((origin - first, 0))
        past = future = nothing
        steps = self.covariates.steps
        if PAST in tables and steps is not None:
            past = self.rows(PAST, steps.values[first:origin, self.covariates.part(PAST)])
        if FUTURE in tables and steps is not None:
            future = np.asarray(steps.values[first:stop, self.covariates.part(FUTURE)])
            later = self.covariates.ahead.get(sequence)
            if later is not None and stop == self.store.ends[sequence]:
                future = np.concatenate([future, later])
            future = self.rows(FUTURE, future)
        static = np.zeros(0)
        if STATIC in tables:
            static = self.rows(STATIC, self.covariates.static[sequence][None])[0]
        since = None
        if self.vocabulary.dated is not None:
            place = first - int(self.store.starts[sequence])
            since = self.vocabulary.dated.since(self.store.columns["time"][sequence]).after(place)
        return Rows(past, future, static, since)

    def window(self, first: Ints, count: int) -> Floats:
        """Return what is read beside `count` steps from `first` `[B]` on, `[B, count, W]`."""
        parts, tables = [], self.vocabulary.tables
        if self.covariates.steps is not None:
            spans = self.covariates.steps.spans(first, count + 1)
            future = spans[:, :-1] if self.vocabulary.ahead else spans[:, 1:]
            for role, rows in ((PAST, spans[:, :-1]), (FUTURE, future)):
                if role in tables:
                    own = rows[:, :, self.covariates.part(role)].reshape(len(first) * count, -1)
                    read = tables[role].encode(self.rows(role, own))
                    parts.append(read.reshape(len(first), count, -1))
        positions = first[:, None] + np.arange(count)
        if self.vocabulary.dated is not None:
            dated = self.vocabulary.dated
            parts.append(self._dated(dated, positions, dated.lead))
        if STATIC in tables:
            places = self.store.sequence(positions)
            sequences, back = np.unique(places, return_inverse=True)
            rows = self.rows(STATIC, self.covariates.static[sequences])
            parts.append(tables[STATIC].encode(rows)[back.reshape(places.shape)])
        return np.concatenate(parts, axis=-1)

    def _dated(self, dated: Dated, positions: Ints, lead: int) -> Floats:
        """Return the features of stamps `lead` steps after `positions` `[B, T]`, `[B, T, W]`."""
        flat = positions.reshape(-1)
        sequence = self.store.sequence(flat)
        places = flat - self.store.starts[sequence] + lead
        return dated.rows(self._firsts.take(sequence), places).reshape(*positions.shape, -1)

    @cached_property
    def _firsts(self) -> Firsts:
        """The first stamps of all sequences."""
        assert self.vocabulary.dated is not None, "there are stamps"
        return self.vocabulary.dated.firsts(self.store.columns["time"])

    def coming(self, first: Ints, count: int) -> Floats:
        """Return what is known beforehand of `count` steps after `first` `[B]`, `[B, count, Q]`.

        What stands there behind the end of a series is of no step that can be asked of it.
        """
        parts = []
        if FUTURE in self.vocabulary.tables:
            assert self.covariates.steps is not None, "there are covariates of steps"
            own = self.covariates.part(FUTURE)
            rows = self.covariates.steps.spans(first, count + 1)[:, 1:, own]
            table = self.vocabulary.tables[FUTURE]
            read = table.encode(self.rows(FUTURE, rows.reshape(len(first) * count, -1)))
            parts.append(read.reshape(len(first), count, -1))
        if self.vocabulary.dated is not None:
            positions = first[:, None] + 1 + np.arange(count)
            parts.append(self._dated(self.vocabulary.dated, positions, 0))
        return np.concatenate(parts, axis=-1)
