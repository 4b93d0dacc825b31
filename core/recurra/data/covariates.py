"""Covariates as they come: tables of numbers and names, gathered beside the elements of a corpus.

Names are kept as codes: places in a list, in the order in which they came first. What a network
reads of all that stands in `recurra.data.covariate_vocabulary`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import COVARIATES, FUTURE, PAST, STATIC, Piece, Role
from recurra.errors import PluginError

Floats = NDArray[np.float64]


class Column(NamedTuple):
    """A covariate: what it is for, its name, and its categories, nothing where it is of numbers."""

    role: Role
    name: str
    names: list[str] | None


@dataclass
class Gathering:
    """The covariates of the pieces so far.

    `codes` tells of each column of names which code a name has. `static` holds a row a sequence,
    and `ahead` of a sequence, by its place, the rows of the future that follow its last element.
    """

    columns: dict[Role, list[str]] = field(default_factory=dict)
    codes: dict[tuple[Role, str], dict[str, int]] = field(default_factory=dict)
    static: list[list[float]] = field(default_factory=list)
    ahead: dict[int, Floats] = field(default_factory=dict)
    digests: dict[Role, Any] = field(default_factory=dict)

    def note(self, piece: Piece, sequence: int) -> Floats | None:
        """Take note of a piece of a sequence; return what stands beside its elements, `[n, C]`.

        Its past covariates come first. Returns nothing where there are none of its steps. Raises
        `PluginError` (RC071) for other columns, or of another kind, than in the pieces before.
        """
        if piece.start and STATIC in piece.columns:
            row = self._rows(STATIC, {name: [v] for name, v in piece.columns[STATIC].items()})
            self.static.append(row[0].tolist())

        count, parts = len(piece.values), []
        for role in (PAST, FUTURE):
            if role not in piece.columns:
                continue
            rows = self._rows(role, piece.columns[role])
            parts.append(rows[:count])
            if len(rows) > count:
                self.ahead[sequence] = rows[count:]
        return np.concatenate(parts, axis=1) if parts else None

    def _rows(self, role: Role, table: Mapping[str, Any]) -> Floats:
        """Return a table as numbers `[n, C]`."""
        names = self.columns.setdefault(role, list(table))
        if list(table) != names:
            fact = f"the source gives as {role} {list(table)}, and before {names}"
            raise PluginError.of("RC071", fact)
        rows = np.column_stack([self._column(role, name, table[name]) for name in names])
        # One for each role: in what pieces they come changes nothing.
        self.digests.setdefault(role, hashlib.sha256()).update(rows.tobytes())
        return rows

    def _column(self, role: Role, name: str, values: Any) -> Floats:
        """Return a column as numbers: names become their codes; what is missing is none."""
        if not len(values):
            return np.zeros(0)
        if not isinstance(values, list) or not any(isinstance(value, str) for value in values):
            return np.asarray(values, np.float64)
        codes = self.codes.setdefault((role, name), {})
        of_each = [
            np.nan if value is None else codes.setdefault(value, len(codes)) for value in values
        ]
        return np.array(of_each, np.float64)

    def listed(self) -> list[Column]:
        """Return the columns that have come, those of the past first, static ones last."""
        return [
            Column(role, name, [*self.codes[role, name]] if (role, name) in self.codes else None)
            for role in COVARIATES
            for name in self.columns.get(role, ())
        ]

    def said(self) -> str:
        """Return a text that changes whenever any covariate does, or its name."""
        columns = [list(column) for column in self.listed()]
        hashes = {role: digest.hexdigest() for role, digest in self.digests.items()}
        ahead = {place: len(rows) for place, rows in self.ahead.items()}
        return json.dumps([columns, hashes, ahead])
