"""What a program gives as data: arrays, lists and tables of any library, as columns of one form.

Nobody's library is imported: an array is what NumPy takes for one, and a table is a dict of
columns, or whatever has `columns` and gives each by its name, as a DataFrame does.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from numbers import Real
from os import PathLike
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
from numpy.typing import NDArray

from recurra import InputError
from recurra_sources.cells import Reading
from recurra_sources.numbers import LARGEST, unusable

Floats: TypeAlias = NDArray[np.float64]
Column: TypeAlias = Floats | list[Any]
"""The cells of a column, one a row: numbers `[N]`, or a list where any is something else.

There a cell that holds a sequence of numbers is an array `[T]` or `[T, F]`, and nothing is None.
"""

THE_DATA = "the data"
"""What data without a name is called in an error."""
INPUT = "input"
"""What the column is called that holds data without a name."""
BESIDE = ("label", "answer", "fold", "tags")
"""What else a dict may hold beside `input`, each called as its role."""
COMMON = (str, int, bool)
"""Types of cells that always hold something, and no other cell."""
NAMED = 8
"""Names of columns that are told, at most."""
ALLOWED = (
    "an array, a text, a list of arrays, of texts or of lists, a dict of columns, or a DataFrame"
)


def number(cell: Any) -> Reading:
    """Return the number that a cell is, or none and what is wrong with it."""
    if cell is None or cell != cell:
        return None, "missing"
    if isinstance(cell, bool):
        return None, "is a truth value, and no number: int() makes one of it"
    if isinstance(cell, str):
        return None, "is text, and no number"
    if not isinstance(cell, Real | Decimal) or isinstance(cell, np.timedelta64):
        return None, f"is a {type(cell).__name__}, and no number"
    try:
        value = float(cell)
    except OverflowError:
        value = math.inf
    return (None, fault) if (fault := unusable(value)) else (value, "")


class Holding(NamedTuple):
    """The columns of a table that a task reads, and those that say something of its rows."""

    names: list[str]
    read: list[Column]
    said: list[list[Any]]
    fingerprint: str
    named: bool
    """Whether the columns have names of their own."""

    @property
    def nested(self) -> bool:
        """Whether a cell holds a whole sequence."""
        return any(map(_holds_sequences, self.read))

    @property
    def numbers(self) -> bool:
        """Whether a column holds numbers alone."""
        return any(map(_is_array, self.read)) or any(
            any(map(_is_array, column)) for column in self.read
        )

    def rows(self) -> Iterator[list[Any]]:
        """Give the cells of each row, those that are read first."""
        listed = [column.tolist() if _is_array(column) else column for column in self.read]
        for cells in zip(*listed, *self.said, strict=True):
            yield [cell.tolist() if _is_array(cell) else cell for cell in cells]

    def beside(self, row: int) -> list[Any]:
        """Return what is said of a row."""
        return [column[row] for column in self.said]

    def arrays(self, whole_rows: bool) -> list[Floats] | None:
        """Return each sequence as an array `[T, F]`; nothing where a cell must be looked at.

        Without `whole_rows` all rows are one sequence.
        """
        if not whole_rows:
            found = [_joined(self.read)]
        elif len({_is_array(column) for column in self.read}) > 1:
            return None
        else:
            found = [
                _joined([_as_steps(cell) for cell in cells])
                for cells in zip(*self.read, strict=True)
            ]

        sequences = [each for each in found if each is not None]
        sound = all(len(each) and (np.abs(each) <= LARGEST).all() for each in sequences)
        if len(sequences) < len(found) or not sound:
            return None
        return sequences if len({each.shape[1] for each in sequences}) < 2 else None


def _as_steps(cell: Any) -> Any:
    """Return the steps of a sequence that a cell holds; a number alone is one step."""
    return np.reshape(cell, 1) if isinstance(cell, np.floating) else cell


def _joined(columns: list[Any]) -> Floats | None:
    """Return columns side by side, `[T, F]`, if they are arrays of one length."""
    if not all(map(_is_array, columns)) or len({len(column) for column in columns}) > 1:
        return None
    if len(columns) > 1 and any(column.ndim > 1 for column in columns):
        return None
    joined: Floats = np.column_stack(columns)
    return joined


def _is_array(value: Any) -> TypeGuard[NDArray[Any]]:
    return isinstance(value, np.ndarray)


def _is_sequence(cell: Any) -> bool:
    """Tell whether a cell holds several elements; a scalar of NumPy is one."""
    if isinstance(cell, list | tuple):
        return True
    return hasattr(cell, "__array__") and getattr(cell, "ndim", 1) > 0


def _holds_sequences(column: Column) -> bool:
    return isinstance(column, list) and any(map(_is_sequence, column))


@dataclass(frozen=True)
class Table:
    """What was given: columns as they came, and what it is in words."""

    columns: Mapping[str, Any]
    described: str
    named: bool

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return list(self.columns)

    @property
    def by_role(self) -> bool:
        """Whether the columns are called by what they are for."""
        return INPUT in self.columns and set(self.columns) <= {INPUT, *BESIDE}

    def holding(self, read: list[str], said: list[str]) -> Holding:
        """Return the columns that a task names. Raises `InputError` (RC041, RC042)."""
        columns = [_column(name, self.columns[name]) for name in read]
        others = [_plain(_listed(name, self.columns[name])) for name in said]
        lengths = {
            name: len(column)
            for name, column in zip((*read, *said), (*columns, *others), strict=True)
        }
        if len(set(lengths.values())) > 1:
            got = ", ".join(f"{name}: {length}" for name, length in lengths.items())
            fact = "the columns of the data hold different numbers of rows"
            raise InputError.of("RC042", fact, key="source", got=got)
        if not lengths[read[0]]:
            raise InputError.of("RC041", "the data is empty: it has no rows", key="source")
        fingerprint = _digest([*read, *said], [*map(_floated, columns), *others])
        return Holding(read, columns, others, fingerprint, self.named)


def table_of(data: Any) -> Table:
    """Return what was given as a table. Raises `InputError` (RC041, RC042, RC080)."""
    if isinstance(data, str):
        return Table({INPUT: [data]}, f"a text of {len(data)} characters", False)
    if isinstance(data, Mapping):
        return _with_names(list(data), list(data.values()), "a dict")
    if (hasattr(data, "columns") or _column_names(data)) and hasattr(data, "__getitem__"):
        return _of_frame(data)
    if isinstance(data, list | tuple):
        if data and all(isinstance(row, Mapping) for row in data):
            raise _rows_of_names(data)
        what = "sequences" if _holds_sequences(list(data)) else "elements"
        return Table({INPUT: data}, f"a list of {len(data)} {what}", False)
    if hasattr(data, "__array__"):
        return _of_array(data)
    raise _refused(data)


def _refused(data: Any) -> InputError:
    """Return the error of what is no data."""
    kind = type(data).__name__
    cure = "give list(...) of it" if isinstance(data, Iterable) else ""
    if isinstance(data, Set):
        cure = "it has no order: give a list"
    if hasattr(data, "__next__"):
        cure = "it can be read once, and a run reads its data twice: give list(...) of it"
    elif isinstance(data, bytes | bytearray | memoryview):
        cure = 'bytes.decode("utf-8") makes a text of it'
    elif isinstance(data, PathLike):
        cure = "name a file in the task: source.kind and source.path"
    fact = f"data cannot be of type {kind}"
    return InputError.of("RC080", fact, key="source", allowed=ALLOWED, cure=cure)


def _rows_of_names(rows: Any) -> InputError:
    """Return the error of a list of dicts, one a row."""
    fact = "the data is a list of dicts, and a table is a dict of columns"
    names = ", ".join(f"{name!r}: [...]" for name in list(rows[0])[:2])
    cure = f"give {{{names}}}, each a list [row[name] for row in rows], or a DataFrame of the rows"
    return InputError.of("RC042", fact, key="source", cure=cure)


def _of_array(data: Any) -> Table:
    """Return an array: `[N]` or `[N, F]` numbers of one series, or `[N]` texts or tokens.

    One whose elements are structures is a table of their fields.
    """
    fields = getattr(getattr(data, "dtype", None), "names", None)
    if fields and np.ndim(data) == 1:
        return _with_names(list(fields), [data[name] for name in fields], "an array")
    array = _array(THE_DATA, data)
    described = f"an array {list(array.shape)} of {array.dtype}"
    if array.ndim not in (1, 2):
        fact = f"the data is {described}, and a series is [N] or [N, F]"
        cure = "" if array.ndim < 1 else "give list(array) if its first axis counts sequences"
        raise InputError.of("RC042", fact, key="source", cure=cure)
    if array.ndim == 1:
        return Table({INPUT: array}, described, False)
    if array.shape[1] == 1:
        return Table({INPUT: array[:, 0]}, described, False)
    features = {f"{INPUT}[{index}]": array[:, index] for index in range(array.shape[1])}
    if not features:
        fact = f"the data is {described}: its steps hold no number"
        raise InputError.of("RC041", fact, key="source")
    return Table(features, described, False)


def _column_names(data: Any) -> list[Any]:
    """Return the names of columns, where a library calls them so: its `columns` are no names."""
    names = getattr(data, "column_names", None)
    return names if isinstance(names, list) else []


def _of_frame(data: Any) -> Table:
    """Return a table of a library that gives a column by its name."""
    kind = f"a {type(data).__name__}"
    try:
        names = _column_names(data) or list(data.columns)
    except TypeError as error:
        raise _refused(data) from error
    _check_names(names, kind)
    try:
        columns = [data[name] for name in names]
    except Exception as error:
        # Somebody else's class.
        fact = f"{kind} does not give its columns by their names: {error}"
        cure = "collect() makes a DataFrame of it" if hasattr(data, "collect") else ""
        raise InputError.of("RC080", fact, key="source", allowed=ALLOWED, cure=cure) from error
    return _with_names(names, columns, kind)


def _check_names(names: list[Any], kind: str) -> None:
    """Refuse names of columns that no task can name. Raises `InputError` (RC042)."""
    for name in names:
        if isinstance(name, bool) or not isinstance(name, str | int):
            fact = f"{kind} has a column called {name!r:.60}, which is no text"
            cure = "give each column one name of text"
            raise InputError.of("RC042", fact, key="source", cure=cure)
    texts = [str(name) for name in names]
    for name in texts:
        if texts.count(name) > 1:
            fact = f"{kind} has several columns {name!r}"
            cure = "give each column a name of its own"
            raise InputError.of("RC042", fact, key="source", cure=cure)


def _with_names(names: list[Any], columns: list[Any], kind: str) -> Table:
    """Return a table of columns with their names. Raises `InputError` (RC041, RC042)."""
    _check_names(names, kind)
    texts = [str(name) for name in names]
    if not texts:
        raise InputError.of("RC041", f"{kind} without a column holds no data", key="source")
    try:
        rows = len(columns[0])
    except TypeError as error:
        raise _no_column(texts[0], columns[0]) from error

    told = ", ".join(texts[:NAMED])
    if len(texts) > NAMED:
        told += f" and {len(texts) - NAMED} more"
    described = f"{kind} of {rows} rows: {told}"
    return Table(dict(zip(texts, columns, strict=True)), described, True)


def _no_column(name: str, value: Any) -> InputError:
    """Return the error of what holds no cells of a column."""
    kind = type(value).__name__
    fact = f"column {name!r} of the data is a {kind}, and no list or array of cells"
    cure = ""
    listed = isinstance(value, Iterable) and not hasattr(value, "__array__")
    if listed and not isinstance(value, str | bytes | Mapping | Set):
        cure = "give list(...) of it"
    return InputError.of("RC042", fact, key="source", cure=cure)


def _array(what: str, values: Any) -> NDArray[Any]:
    """Return what NumPy makes of an array of any library. Raises `InputError` (RC042)."""
    try:
        if isinstance(values, np.ma.MaskedArray):
            return _filled(values)
        return np.asarray(values)
    except Exception as error:
        # A tensor on a device, or of a type that NumPy lacks.
        message = " ".join(str(error).split())[:200]
        fact = f"{what} cannot be read as an array: {message}"
        cure = ""
        if hasattr(values, "detach"):
            cure = "tensor.detach().cpu().float().numpy() is one"
        raise InputError.of("RC042", fact, key="source", cure=cure) from error


def _filled(values: np.ma.MaskedArray[Any, Any]) -> NDArray[Any]:
    """Return an array in which what is masked is missing: no number, or nothing."""
    if values.dtype.kind in "iuf":
        return np.ma.filled(values.astype(np.float64), np.nan)
    cells = np.asarray(values.data).astype(object)
    cells[np.ma.getmaskarray(values)] = None
    return cells


def _called(name: str) -> str:
    """Return what a column is called in an error."""
    return THE_DATA if name == INPUT else f"column {name!r} of the data"


def _listed(name: str, values: Any) -> list[Any]:
    """Return the cells of a column as a list, what is missing as None."""
    if isinstance(values, str | bytes | Mapping | set | frozenset):
        raise _no_column(name, values)
    if hasattr(values, "__array__"):
        if not np.ndim(values):
            raise _no_column(name, values)
        values = _cells(_called(name), values)
    elif not isinstance(values, Sequence) or isinstance(values, memoryview | bytearray):
        raise _no_column(name, values)
    return [_element(cell) for cell in values]


def _cells(what: str, values: Any) -> list[Any]:
    """Return the cells of an array along its first axis. Raises `InputError` (RC042)."""
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind not in "Mm":
        # As they are: in an array of numbers nothing but a float could stand for what is masked.
        return list(values.tolist())
    array = _array(what, values)
    # A list of times would be one of whole numbers.
    return list(array) if array.ndim > 1 or array.dtype.kind in "Mm" else list(array.tolist())


def _element(cell: Any) -> Any:
    """Return a cell, None for one that holds nothing, and what an array without an axis holds."""
    if type(cell) in COMMON:
        return cell
    if hasattr(cell, "__array__") and not isinstance(cell, np.generic) and not _is_sequence(cell):
        cell = _array("a cell of the data", cell).item()
    return None if _is_nothing(cell) else cell


def _is_nothing(cell: Any) -> bool:
    """Tell whether a cell is what pandas or Python put where nothing is."""
    if isinstance(cell, float):
        return math.isnan(cell)
    return cell is None or type(cell).__name__ in ("NAType", "NaTType")


def _column(name: str, values: Any) -> Column:
    """Return the cells of a column that is read. Raises `InputError` (RC042)."""
    if hasattr(values, "__array__"):
        array = _array(_called(name), values)
        if array.ndim == 1 and array.dtype.kind in "iuf":
            return np.asarray(array, np.float64)

    cells = _listed(name, values)
    plain = _numbers(cells)
    if plain is not None and plain.ndim == 1:
        return plain
    found = [_cell(name, index, cell) for index, cell in enumerate(cells)]
    if _holds_sequences(found):
        for index, cell in enumerate(found):
            if not _is_sequence(cell) and cell is not None:
                fact = f"row {index} of column {name!r} is {cell!r:.60}"
                fact += ", and others hold whole sequences"
                cure = "give every row a sequence: a list or an array"
                raise InputError.of("RC042", fact, key="source", cure=cure)
    return found


def _cell(name: str, index: int, cell: Any) -> Any:
    """Return a cell: a sequence of plain numbers as an array `[T]` or `[T, F]`."""
    if not _is_sequence(cell):
        return cell
    if hasattr(cell, "__array__"):
        array = _array(f"row {index} of column {name!r}", cell)
        if array.ndim > 2:
            fact = f"row {index} of column {name!r} is an array {list(array.shape)}"
            fact += ", and a sequence is [T] or [T, F]"
            raise InputError.of("RC042", fact, key="source")
        if array.dtype.kind in "iuf":
            return np.asarray(array, np.float64)
        cell = array.tolist()

    numbers = _numbers(cell)
    return _plain(cell) if numbers is None else numbers


def _numbers(cells: Any) -> Floats | None:
    """Return numbers `[T]`, or lists of as many numbers `[T, F]`, as an array; else nothing."""
    width = None
    flat = list(cells)
    if flat and all(isinstance(cell, list | tuple) for cell in flat):
        widths = {len(cell) for cell in flat}
        width = widths.pop()
        if widths or not width:
            return None
        flat = [number for cell in flat for number in cell]
    if not flat or not all(isinstance(cell, Real) for cell in flat):
        return None
    if any(isinstance(cell, bool | np.timedelta64) for cell in flat):
        return None
    try:
        array = np.array(flat, np.float64)
    except OverflowError:
        return None
    return array if width is None else array.reshape(-1, width)


def _plain(value: Any) -> Any:
    """Return lists inside lists, whatever gave them, with None where nothing is."""
    if _is_sequence(value) and not isinstance(value, list | tuple):
        value = _cells("a row of the data", value)
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return _element(value)


def _floated(value: Any) -> Any:
    """Return what is read with numbers of one type: 1 and 1.0 are the same data."""
    if type(value) is float:
        return value
    if isinstance(value, list):
        return [_floated(inner) for inner in value]
    if isinstance(value, Real) and not isinstance(value, bool | np.timedelta64):
        with suppress(OverflowError):
            return float(value)
    return value


def _digest(names: list[str], columns: list[Any]) -> str:
    """Return a hash of what columns hold: the same for lists and for arrays of the same numbers."""
    digest = hashlib.sha256()

    def note(value: Any) -> None:
        if isinstance(value, np.ndarray):
            digest.update(f"{list(value.shape)}".encode())
            digest.update(np.ascontiguousarray(value).data)
        elif isinstance(value, list):
            digest.update(f"[{len(value)}".encode())
            for inner in value:
                note(inner)
        else:
            digest.update(json.dumps(value, default=repr).encode())

    for name, column in zip(names, columns, strict=True):
        note(name)
        note(column)
    return f"sha256:{digest.hexdigest()[:32]}"
