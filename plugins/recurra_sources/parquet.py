"""Parquet files, by pyarrow, which is imported once such a file is read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recurra import Element, Field, FilePath, InputError, Piece
from recurra_sources import files, typed
from recurra_sources.blocks import Block, Coded, Floats, Stretch, each
from recurra_sources.cells import Reader, Row
from recurra_sources.covariates import CovariateReader
from recurra_sources.label_numbers import LabelNumbers
from recurra_sources.names import readable
from recurra_sources.table_options import TableOptions
from recurra_sources.tables import Table

ROWS, LISTS = 1 << 15, 1 << 7
"""Rows that are read at a time, and rows of which a cell may hold a whole sequence."""
BUFFER = 1 << 20
"""Bytes of a column that are read at a time."""
TEXT = 1 << 25
"""Bytes of text that rows hold which are read at a time: a word that is written once may stand in
each of a million rows.
"""
VALUES = 1 << 26
"""Values in the lists of a column, of the rows that a file keeps together, at most."""
INSTALL = "pip install 'recurra[data]'"
"""How the library comes that reads such files."""
WITHIN = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
"""Types whose cells are lists."""
PLAIN = ("int", "uint", "float", "halffloat", "double")
"""Types of columns that are arrays of numbers."""
NUMBERS = ("int", "uint", "float", "halffloat", "double", "decimal", "bool")
TEXTS = ("string", "large_string", "string_view", "null")
WORDS = ("string", "large_string")
MOMENTS = ("timestamp", "date32", "date64")
"""How the types begin that are read, but for what is in lists and in dictionaries."""


class ParquetOptions(TableOptions):
    """Options of parquet."""

    path: FilePath = Field(description="the file")


class Parquet(Table[ParquetOptions]):
    """Columns of a parquet file, read in batches: a file larger than memory passes through.

    Rows are counted from 1. A number is one whatever its width, decimals and truth values (1 and 0)
    too, and a text that is written as one; where names are read, what has a type of its own is
    taken as JSON and ISO 8601 write it. Null and NaN are missing. A cell may hold a list where each
    row is a sequence, as in JSON lines.
    """

    unit: ClassVar[str] = "row"

    def __init__(self, options: ParquetOptions) -> None:
        super().__init__(options)
        self._reads: Element = "text"

    def read(self, element: Element) -> Iterator[Piece]:
        """Give the sequences."""
        self._reads = element
        yield from super().read(element)

    def written(self) -> Iterator[tuple[int, list[Any]]]:
        """Give the cells of each row, and its number."""
        for stretch in self.blocks():
            for place, cells in stretch if isinstance(stretch, list) else stretch.rows():
                assert isinstance(place, int), "rows have numbers"
                yield place, cells

    def blocks(self) -> Iterator[Stretch]:
        """Give the rows in batches; where cells may be lists, these are small."""
        path, names = self._file(), self.options.named
        arrow, parquet = _library()
        _check_name(path)
        count = 1
        with files.opened(path) as file, _faults(path, arrow):
            whole = parquet.ParquetFile(file, buffer_size=BUFFER, pre_buffer=False)
            types = self._types(whole.schema_arrow)
            lists = any(_kind(of_cells) in WITHIN for of_cells in types)
            rows = LISTS if lists else ROWS
            needed = list(dict.fromkeys(names))
            _check_rows(whole.metadata, needed)
            if lists:
                _check_lists(whole.metadata, needed, self.where)
            # As codes of words: as words they may be more than memory holds.
            coded = [name for name, of in zip(names, types, strict=True) if _kind(of) in WORDS]
            table = parquet.ParquetFile(
                file, metadata=whole.metadata, read_dictionary=coded, buffer_size=BUFFER,
                pre_buffer=False,
            )  # fmt: skip
            batches = table.iter_batches(rows, columns=needed, use_threads=False)
            for batch in (part for each in batches for part in _in_parts(each)):
                places = range(count, count + batch.num_rows)
                count += batch.num_rows
                columns = [_column(batch.column(name), name, self.where, arrow) for name in names]
                if lists:
                    # One by one: a batch of them may be large.
                    cells = ((cell.as_py() for cell in column) for column in columns)
                    for place, row in zip(places, zip(*cells, strict=True), strict=True):
                        yield [(place, list(row))]
                elif batch.num_rows:
                    yield Batch(places, columns)
            if count - 1 != whole.metadata.num_rows:
                raise _miscounted(f"{whole.metadata.num_rows:,} rows", f"{count - 1:,}")

    def names(self) -> list[str]:
        """Return the names of the columns."""
        path = self._file()
        arrow, parquet = _library()
        _check_name(path)
        with files.opened(path) as file, _faults(path, arrow):
            return list(parquet.ParquetFile(file).schema_arrow.names)

    def cells(self, line: int, row: list[Any]) -> list[Any]:
        """Return the cells of a row."""
        return row

    def _types(self, schema: Any) -> list[Any]:
        """Return the types of the columns that are read.

        Raises `InputError` (RC040, RC042) for a column that is not there, or whose cells are none.
        """
        options, types = self.options, []
        for name in options.named:
            if schema.names.count(name) > 1:
                raise self._twice(name, "")
            if name not in schema.names:
                raise self._no_column(name, schema.names)
            field = schema.field(name)
            self._check_type(name, field)
            types.append(field.type)
        return types

    def _check_type(self, name: str, field: Any) -> None:
        """Raise `InputError` (RC042) for a column whose cells cannot be read as what is asked."""
        innermost = _innermost(field.type)
        kind = _kind(innermost)
        cure = "name another column, or write this one with a type that is read"
        allowed = "numbers, truth values, text, and lists of these; dates and time stamps as names"
        meant = b"ARROW:extension:name" in (field.metadata or {})
        if meant or not kind.startswith((*NUMBERS, *TEXTS, *MOMENTS)):
            if "binary" in kind:
                cure = "write it as text: bytes have no letters"
        elif kind in MOMENTS and (innermost is not field.type or self._reads_numbers(name)):
            allowed = "numbers, truth values, text, and lists of these"
            cure = "name it as source.time, or write the hour or the month as a number of its own"
        else:
            return
        fact = f"{self.where}: column {name!r} is of type {field.type}, which is not read here"
        key = self._key(name)
        raise InputError.of("RC042", fact, key=key, allowed=allowed, cure=cure)

    def _reads_numbers(self, name: str) -> bool:
        """Return whether the cells of a column are to be numbers."""
        options = self.options
        as_label = name in options.labels and self._numbers_labelled
        return as_label or (name in options.columns and self._reads == "numbers")

    def readers(self, element: Element) -> list[Reader]:
        """Return what reads the cells beside those that are read, each as it would be written."""
        readers, own = super().readers(element), (LabelNumbers, CovariateReader)
        return [read if isinstance(read, own) else typed.written(read) for read in readers]

    def _covariate(self, name: str) -> CovariateReader:
        """Return what reads the cells of a covariate, names as they would be written."""
        reader = super()._covariate(name)
        reader.named = typed.written(reader.named)
        return reader

    def _reader(self, element: Element) -> Reader:
        """Return what reads a cell as an element."""
        if element == "numbers":
            return self._markers.before(typed.number)
        return typed.written(super()._reader(element))

    def features(self) -> list[str]:
        """Return the names of the columns, of each number of a step that is a list."""
        return self.features_of_lists()


def _library() -> tuple[Any, Any]:
    """Return pyarrow and what it reads parquet with. Raises `InputError` (RC040) without it."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        fact = f"a parquet file is read by the package pyarrow, which is not here: {error}"
        raise InputError.of("RC040", fact, key="source.kind", cure=INSTALL) from error
    return pyarrow, pyarrow.parquet


def _check_name(path: Path) -> None:
    """Raise `InputError` (RC040) for a file that is packed as a whole: its end is read first."""
    if path.suffix.lower() == ".gz":
        fact = f"{readable(path)} is packed as a whole, and a parquet file is packed inside"
        raise InputError.of("RC040", fact, key="source.path", cure="unpack it, as with gunzip")


@contextmanager
def _faults(path: Path, arrow: Any) -> Iterator[None]:
    """Turn what the library says of a file into an `InputError` (RC040)."""
    try:
        yield
    except MemoryError as error:
        fact = f"{readable(path)} holds more in one place than there is memory for"
        cure = "write it with smaller row groups, and with shorter lists and texts"
        raise InputError.of("RC040", fact, key="source.path", cure=cure) from error
    except (arrow.ArrowException, ValueError, OverflowError) as error:
        reason = " ".join(str(error).split())[:200]
        fact = f"{readable(path)} cannot be read as a parquet file: {reason}"
        cure = 'if it is a table of text, set source.kind = "csv" or "jsonl"; else bring it whole'
        raise InputError.of("RC040", fact, key="source.path", cure=cure) from error


def _check_rows(metadata: Any, names: list[str]) -> None:
    """Raise `ValueError` for a file whose end does not count its rows as its parts do."""
    groups = [metadata.row_group(index) for index in range(metadata.num_row_groups)]
    rows = sum(group.num_rows for group in groups)
    if metadata.num_rows != rows or any(group.num_rows < 0 for group in groups):
        raise _miscounted(f"{metadata.num_rows:,} rows", f"{rows:,}")
    for group in groups:
        for index in range(group.num_columns):
            column = group.column(index)
            name, lists = column.path_in_schema, metadata.schema.column(index).max_repetition_level
            # A list that is empty counts as one value too.
            fewer = column.num_values < group.num_rows
            wrong = fewer if lists else column.num_values != group.num_rows
            if wrong and name.partition(".")[0] in names:
                fact = f"{column.num_values:,} values of column {name!r}"
                raise _miscounted(f"{group.num_rows:,} rows", fact)


def _miscounted(told: str, found: str) -> ValueError:
    """Return the error of a file whose end lies about its rows."""
    return ValueError(f"its end tells of {told}, and there are {found}")


def _check_lists(metadata: Any, names: list[str], where: str) -> None:
    """Raise `InputError` (RC042) for lists that are more than can be read at once."""
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group)
        for index in range(rows.num_columns):
            column = rows.column(index)
            name = column.path_in_schema.partition(".")[0]
            if name in names and column.num_values > VALUES:
                fact = f"{where}: column {name!r} has {column.num_values:,} values in the lists of"
                fact += f" {rows.num_rows:,} rows that are kept together, and {VALUES:,} are read"
                cure = "write it with a smaller row_group_size, and with shorter lists"
                raise InputError.of("RC042", fact, key="source.path", cure=cure)


def _in_parts(batch: Any) -> Iterator[Any]:
    """Give the rows of a batch, few of them at a time where their texts are long."""
    from pyarrow import compute

    sizes = np.zeros(batch.num_rows, np.int64)
    for column in batch.columns:
        coded = _kind(column.type) == "dictionary" and len(column.dictionary) > 0
        if coded and _kind(column.type.value_type) in WORDS:
            words = compute.binary_length(column.dictionary).fill_null(0).to_numpy()
            sizes += words[column.indices.fill_null(0).to_numpy()]
    ends = np.cumsum(sizes)
    first = 0
    while first < batch.num_rows:
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + TEXT, side="right")))
        yield batch.slice(first, last - first)
        first = last


def _kind(of_cells: Any) -> str:
    """Return how a type is called, without what stands in brackets behind it."""
    name: str = str(of_cells).partition("<")[0]
    return name.partition("[")[0].partition("(")[0]


def _innermost(of_cells: Any) -> Any:
    """Return the type inside lists and dictionaries."""
    kind = _kind(of_cells)
    while kind in WITHIN or kind == "dictionary":
        of_cells = of_cells.value_type
        kind = _kind(of_cells)
    return of_cells


def _column(column: Any, name: str, where: str, arrow: Any) -> Any:
    """Return a column of a batch. Raises `InputError` (RC042) for finer times than ours."""
    if _kind(column.type) == "dictionary":
        column = column.dictionary_decode()
    if _kind(column.type) == "timestamp":
        try:
            column = column.cast(arrow.timestamp("us", column.type.tz))
        except arrow.ArrowInvalid as error:
            fact = f"{where}: column {name!r} holds times that are finer than a microsecond"
            cure = "round them to microseconds"
            raise InputError.of("RC042", fact, key="source.path", cure=cure) from error
    return column


class Batch(Block):
    """Rows of a parquet file, each column as the library holds it."""

    def __init__(self, places: Sequence[int], columns: list[Any]) -> None:
        super().__init__(places, columns, False)

    def row(self, at: int) -> Row:
        """Return the cells of one row, and where it stands."""
        return self.places[at], [column[at].as_py() for column in self.columns]

    def rows(self) -> Iterator[Row]:
        """Give each row."""
        columns: list[Any] = [*self.columns]
        cells = (column.to_pylist() for column in columns)
        return zip(self.places, map(list, zip(*cells, strict=True)), strict=True)

    def numbers(self, column: int, read: Reader) -> Floats:
        """Return the numbers of a column `[n]`; NaN for what is none."""
        cells: Any = self.columns[column]
        if _kind(cells.type).startswith(PLAIN):
            return np.asarray(cells.to_numpy(zero_copy_only=False), np.float64)
        return each(cells.to_pylist(), read)

    def coded(self, column: int) -> Coded | None:
        """Return a column by its different cells."""
        cells: Any = self.columns[column]
        if _kind(cells.type) == "null":
            return Coded(np.zeros(len(self), np.int64), [None])
        found = cells.dictionary_encode("encode")
        return Coded(found.indices.to_numpy().astype(np.int64), found.dictionary.to_pylist())
