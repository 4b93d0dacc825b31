"""Data that a program has at hand: arrays, lists, or a table of columns."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import PrivateAttr, model_validator

from recurra import Element, Field, InputError, Piece, Unsuited
from recurra_sources import holding, labels
from recurra_sources.cells import Reader, Reading
from recurra_sources.columns import Rows
from recurra_sources.covariates import CovariateReader
from recurra_sources.faults import shortened
from recurra_sources.holding import Holding
from recurra_sources.index import told_by_index
from recurra_sources.label_numbers import LabelNumbers
from recurra_sources.long_format import as_long
from recurra_sources.names import HALF_CURE, half_pair, nearest
from recurra_sources.table_options import RowOptions


class GivenOptions(RowOptions):
    """Options of given: what the columns of a table are for, and what a run says of its data."""

    columns: list[str] = Field(
        [], description="the columns to read; left out, all that are for nothing else"
    )
    content: str = Field("", description="what was given, in words: a run writes it")
    fingerprint: str = Field("", description="the hash of what was given: a run writes it")
    # Whether a row holds a whole sequence, as a list or an array.
    _nested: bool = PrivateAttr(default=False)

    @model_validator(mode="after")
    def _written_by_a_run(self) -> Self:
        if bool(self.content) != bool(self.fingerprint):
            raise ValueError("content and fingerprint stand together, as a run has written them")
        return self

    @property
    def whole_rows(self) -> bool:
        """Whether each row is a whole sequence."""
        return self._nested or super().whole_rows


class Given(Rows[GivenOptions]):
    """Gives what `recurra.run(task, data=...)` was given, and after it who goes on with the run.

    Rows are counted from 0, as Python counts them. They are taken in their order: the index of a
    DataFrame is not read.
    """

    unit: ClassVar[str] = "row"

    def __init__(self, options: GivenOptions) -> None:
        super().__init__(options)
        self._holding: Holding | None = None
        # What the index of the data says against its rows as steps, until it is told.
        self._jumps = ""

    def labelled(self, column: str) -> Self:
        """Return a source of which `over_data` gives the cells of a column as tags."""
        return type(self)(self.options.labelled(column))

    def over_data(self, data: Any) -> Self:
        """Return a source of other data of the same form, without labels."""
        other = type(self)(self.options.for_new())
        other.take(data)
        return other

    def take(self, data: Any) -> GivenOptions:
        """Take data, and return the options with what they say of it.

        An array `[N]` or `[N, F]` is one series; a list of arrays, lists or texts holds sequences;
        a dict of columns, or whatever has `columns`, as a DataFrame has, is a table. Raises
        `InputError` (RC040 to RC042, RC080).
        """
        table = holding.table_of(data)
        told = self._roles(table)
        others = [*told.covariates, *told.beside]
        columns = told.columns or [name for name in table.names if name not in others]
        if not columns:
            fact = f"the data has no column that is read: {', '.join(others)} say of it alone"
            raise InputError.of("RC041", fact, key="source.columns", cure="give the values too")

        for name in (*columns, *others):
            if name not in table.names:
                raise self._no_column(name, table.names)
        self._holding = held = table.holding(columns, others)
        options = told.model_copy(
            update={
                "columns": columns,
                "content": table.described,
                "fingerprint": held.fingerprint,
            }
        )
        options._nested = held.nested
        self.options = options
        if not options.whole_rows and options.group is None:
            self._jumps = told_by_index(data)
        return options

    def _roles(self, table: holding.Table) -> GivenOptions:
        """Return the options with the roles of a dict whose keys are those of roles.

        Raises `InputError` (RC030) for a role that is said of data without columns.
        """
        options = self.options
        said = options.named
        if not said:
            if long := as_long(options, table.names):
                return long
            if table.by_role:
                roles = {name: name for name in table.names if name in holding.BESIDE}
                return options.model_copy(update=roles)
            _check_roles(table)
        if table.named or set(said) <= set(table.names):
            return options

        key = "source.columns" if options.columns else "source"
        if options.content:
            fact = f"the data is {table.described}, and that of the run was {options.content}"
            raise InputError.of("RC030", fact, key=key, cure="give data of the form that it had")
        fact = f"the data is {table.described}, which has no columns, and [source] names some"
        cure = "give a dict of columns or a DataFrame, or unset what [source] says"
        raise InputError.of("RC030", fact, key=key, got=", ".join(said), cure=cure)

    @property
    def held(self) -> Holding:
        """What was given. Raises `InputError` (RC080) where nothing was."""
        if self._holding is None:
            was = f" ({self.options.content})" if self.options.content else ""
            raise InputError.of(
                "RC080",
                f"the data of this task{was} is given in Python, and is not here",
                key="source",
                cure=(
                    "give it: recurra.run(task, data=...), recurra.resume(run, data=...),"
                    " run.evaluate(data=...); generating and predicting need none"
                ),
            )
        return self._holding

    @property
    def where(self) -> str:
        """What holds the rows."""
        return "data"

    def written(self) -> Iterator[tuple[int, list[Any]]]:
        """Give the cells of each row, and its number."""
        return enumerate(self.held.rows())

    def cells(self, line: int, row: list[Any]) -> list[Any]:
        """Return the cells of a row."""
        for cell in row:
            text = cell if isinstance(cell, str) else ""
            if isinstance(cell, list):
                text = "".join(part for part in cell if isinstance(part, str))
            at = half_pair(text)
            if at is not None:
                fact = f"data: row {line} holds {ascii(text[at])}, half a surrogate pair"
                raise InputError.of("RC042", fact, key="source.columns", cure=HALF_CURE)
        return row

    def read(self, element: Element) -> Iterator[Piece]:
        """Give the sequences: quickly where they are plain numbers, else row by row.

        Raises `InputError` (RC030) for numbers that are to be text or names.
        """
        self._check_options(element)
        if self._jumps and element != "text":
            warnings.warn(self._jumps, Unsuited, stacklevel=2)
            self._jumps = ""
        arrays = None
        if element != "numbers" and self.held.numbers:
            fact = f"the data holds numbers, and the vocabulary reads {element}"
            cure = (
                "make names of them, as [str(x) for x in data], or read them as numbers:"
                ' vocabulary.kind = "numeric"'
            )
            raise InputError.of("RC030", fact, key="vocabulary.kind", cure=cure)
        # A number that stands for nothing is looked for cell by cell, and so is each step's tag.
        options = self.options
        by_cell = options.group is not None or options.na or options.tags is not None
        by_cell = by_cell or options.time is not None
        by_cell = by_cell or options.covariates or options.static_covariates
        if element == "numbers" and not by_cell:
            arrays = self.held.arrays(self.options.whole_rows)
        if arrays is None:
            yield from super().read(element)
            return
        readers = self.readers("numbers")
        for row, values in enumerate(arrays):
            label, fold = self._said(row, readers)
            yield labels.piece(values, True, label, fold)
        self._warn_of_labels(readers)

    def _said(self, row: int, readers: list[Reader]) -> tuple[str | None, str | None]:
        """Return label and fold of a series in a row. Raises `InputError` (RC042)."""
        said = dict(zip(self.options.beside, self.held.beside(row), strict=True))
        for name, read in zip(said, readers, strict=True):
            value, fault = read(said[name])
            if fault:
                got = "" if fault == "missing" else f"{shortened(said[name])} "
                fact = f"data: row {row}, column {name}: {got}{fault}"
                raise InputError.of("RC042", fact, key=self._key(name), cure="mend the row")
            said[name] = value
        names = self.options.labels
        label = " ".join(said[name] for name in names) if names else None
        return label, said.get(self.options.fold or "")

    def readers(self, element: Element) -> list[Reader]:
        """Return what reads the cells beside those that are read: numbers are names too."""
        readers = super().readers(element)
        typed = LabelNumbers, CovariateReader
        return [read if isinstance(read, typed) else _written(read) for read in readers]

    def _covariate(self, name: str) -> CovariateReader:
        """Return what reads the cells of a covariate: of a column of names, a number is one too."""
        reader = super()._covariate(name)
        reader.named = _written(reader.named)
        return reader

    def _reader(self, element: Element) -> Reader:
        """Return what reads a cell as an element."""
        if element == "numbers":
            return self._markers.before(holding.number)
        return super()._reader(element)

    def fingerprint(self) -> str:
        """Return the hash of what was given, or of what a run says that it was."""
        return self.options.fingerprint

    def features(self) -> list[str]:
        """Return the names of the columns, of each number of a step that is a list."""
        held = self.held
        return self.features_of_lists() if held.named else []


def _check_roles(table: holding.Table) -> None:
    """Refuse what stands beside `input` as if it had a role. Raises `InputError` (RC040)."""
    names = [name for name in table.names if name not in (holding.INPUT, *holding.BESIDE)]
    if holding.INPUT not in table.names:
        return
    # Where none has a role the columns may well be features.
    has_roles = len(names) < len(table.names) - 1
    for name in names:
        close = nearest(name, holding.BESIDE)
        if has_roles or close:
            fact = f"the data has a column {name!r} beside {holding.INPUT!r}, which has no role"
            cure = "say in [source] what the columns are for: columns = [...], label, answer"
            allowed = ", ".join((holding.INPUT, *holding.BESIDE))
            raise InputError.of(
                "RC040", fact, key="source", allowed=allowed, nearest=close, cure=cure
            )


def _written(read: Reader) -> Reader:
    """Return what reads a name that may be a number: 1 is the name "1"; so does one in a list."""

    def reader(cell: Any) -> Reading:
        if isinstance(cell, list):
            return read([_name(part) for part in cell])
        value, fault = read(_name(cell))
        return value, "is no name: str() makes one of it" if fault == "is not text" else fault

    return reader


def _name(cell: Any) -> Any:
    """Return the name that a number is; what is none as it is."""
    return str(cell) if isinstance(cell, Real | np.bool_) else cell
