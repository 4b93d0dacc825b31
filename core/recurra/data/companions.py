"""What stands beside the elements of a store, as a network reads it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from recurra.contracts.moments import Firsts
from recurra.contracts.source import FUTURE, PAST, STATIC, Piece, Role
from recurra.data import missing
from recurra.data.corpus import collected
from recurra.data.covariate_vocabulary import CovariateVocabulary, Floats, Rows
from recurra.data.dated import Dated
from recurra.data.store import Array, Covariates, Ints, Store


@dataclass(frozen=True)
class Companions:
    """The covariates of a store, as a network reads them.

    Where some of steps are missing, `carried` has them with what came last.
    """

    vocabulary: CovariateVocabulary
    covariates: Covariates
    store: Store
    carried: Store | None = None

    def carrying(self) -> Companions:
        """Return these with what came last for what is missing, if anything is."""
        steps = self.covariates.steps
        if steps is None or not missing.lacking(steps).any():
            return self
        nothing = np.full(steps.values.shape[1], np.nan)
        pieces = (Piece(rows, start) for rows, start in missing.carried(steps, nothing))
        return replace(self, carried=collected(pieces))

    def rows(self, role: Role, rows: Array) -> Floats:
        """Return rows `[n, C]` of what is stored of a role, with the ids of names."""
        read = np.array(rows, np.float64)
        table = self.vocabulary.tables[role]
        stored = zip(table.columns, self.covariates.of(role), strict=True)
        for index, (known, column) in enumerate(stored):
            if column.names is not None:
                ids = known.ids([*column.names, None])
                codes = np.where(np.isnan(read[:, index]), len(column.names), read[:, index])
                read[:, index] = ids[codes.astype(np.int64)]
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
        return Rows(past, future, static, since, self._before(first))

    def _before(self, first: int) -> tuple[Floats, Floats] | None:
        """Return what came last of the past and of the future before a step of a series.

        It is nothing where nothing may be missing.
        """
        tables, steps = self.vocabulary.tables, self.covariates.steps
        if steps is None or not any(table.lacks for table in tables.values()):
            return None
        begin = int(self.store.begin(np.array([first]))[0])
        row = missing.last_before(steps, begin, first)[None]
        own = [(role, row[:, self.covariates.part(role)]) for role in (PAST, FUTURE)]
        past, future = (
            self.rows(role, part)[0] if role in tables else part[0] for role, part in own
        )
        return past, future

    def window(self, first: Ints, count: int) -> Floats:
        """Return what is read beside `count` steps from `first` `[B]` on, `[B, count, W]`."""
        parts, tables = [], self.vocabulary.tables
        if self.covariates.steps is not None:
            lead = 0 if self.vocabulary.ahead else 1
            spans = self._spans(first, count + 1)
            for role, later in ((PAST, 0), (FUTURE, lead)):
                if role in tables:
                    own = [rows[:, later : later + count] for rows in spans]
                    parts.append(self._read(role, own))
        positions = first[:, None] + np.arange(count)
        if self.vocabulary.dated is not None:
            dated = self.vocabulary.dated
            parts.append(self._dated(dated, positions, dated.lead))
        if STATIC in tables:
            places = self.store.sequence(positions)
            sequences, back = np.unique(places, return_inverse=True)
            rows = self.rows(STATIC, self.covariates.static[sequences])
            parts.append(tables[STATIC].standing(rows, rows)[back.reshape(places.shape)])
        return np.concatenate(parts, axis=-1)

    def _spans(self, first: Ints, count: int) -> list[Array]:
        """Return rows of `count` steps, and behind them these with what came last, if kept."""
        stores = [self.covariates.steps, self.carried]
        return [store.spans(first, count) for store in stores if store is not None]

    def _read(self, role: Role, spans: list[Array]) -> Floats:
        """Return what is read of a role in rows `[B, T, C]`, `[B, T, W]`."""
        batch, steps = spans[0].shape[:2]
        columns = self.covariates.part(role)
        parts = [rows[:, :, columns].reshape(batch * steps, -1) for rows in spans]
        own = [self.rows(role, part) for part in parts]
        read = self.vocabulary.tables[role].standing(own[0], own[-1])
        return read.reshape(batch, steps, -1)

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
            spans = [rows[:, 1:] for rows in self._spans(first, count + 1)]
            parts.append(self._read(FUTURE, spans))
        if self.vocabulary.dated is not None:
            positions = first[:, None] + 1 + np.arange(count)
            parts.append(self._dated(self.vocabulary.dated, positions, 0))
        return np.concatenate(parts, axis=-1)
