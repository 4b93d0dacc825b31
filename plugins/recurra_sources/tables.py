"""The tables that are text: csv files, and files of JSON lines."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, Self, TypeVar

from recurra import Element, InputError, Piece
from recurra_sources import csv_rows, files
from recurra_sources.blocks import Block, Stretch, together
from recurra_sources.cells import Literal, Pairs, Row
from recurra_sources.columns import Rows
from recurra_sources.csv_options import NUMBER, CsvOptions
from recurra_sources.files import OR_REPLACE, Replaced
from recurra_sources.long_format import TOLD, as_long, in_long, no_columns
from recurra_sources.names import HALF_CURE, half_pair, nearest, readable
from recurra_sources.numbers import Writing
from recurra_sources.patterns import matching
from recurra_sources.table_options import TableOptions, WrittenOptions

O = TypeVar("O", bound=TableOptions)  # noqa: E741
W = TypeVar("W", bound=WrittenOptions)
USUAL = {";": '";"', "\t": '"\\t"', "|": '"|"', ",": '","'}
"""What else may stand between cells, and how TOML writes it."""
COMMENTS = ("#", "//", "%")
"""How lines begin that are comments where others write them."""
LATE = "a quote is one where a cell begins with it: take the space before it away"
"""What to do about a quote that stands after a space."""
NO_KEY = 'write null there, or set source.missing = "drop", if a line may lack it'
"""What to do about a key that a line has not."""
ARRAY = (
    "each line holds one whole JSON object; in a file of one array each element must get a line of"
    " its own"
)
"""What to do about a line that is no object."""


class Table(Rows[O]):
    """A file of rows."""

    def __init__(self, options: O) -> None:
        self._long: O | None = None
        self._looking = False
        super().__init__(options)

    @property
    def options(self) -> O:
        """What the task says; where it names no column, with those of the long format."""
        if self._said.columns or self._long or self._looking:
            return self._long or self._said
        if self._said.settled:
            # A task that names no column reads the long format: so does what its run answers.
            self._long = in_long(self._said)
            return self._long
        self._looking = True
        try:
            names = self.names()
            self._long = as_long(self._said, names)
            if self._long is None:
                raise no_columns(self.where, names)
        finally:
            self._looking = False
        return self._long

    @options.setter
    def options(self, options: O) -> None:
        self._said = options

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all columns, which the beginning of the file tells."""

    def notes(self) -> list[str]:
        """Return what was taken for columns without being named, and how rows stand."""
        return [TOLD, *super().notes()] if self._long else super().notes()

    @property
    def where(self) -> str:
        """The file."""
        return readable(self.options.path)

    def _file(self) -> Path:
        """Return the file. Raises `InputError` (RC040) unless the path stands for one."""
        paths = matching([self.options.path]).files
        if len(paths) > 1:
            pattern = readable(self.options.path)
            fact = f"{pattern} stands for {len(paths)} files, and a table is one"
            names = ", ".join(readable(path.name) for path in paths[:5])
            raise InputError.of("RC040", fact, key="source.path", got=names)
        return paths[0]

    def fingerprint(self) -> str:
        """Return a hash of name, size and time of the file."""
        return files.fingerprint([self._file()])

    def labelled(self, column: str) -> Self:
        """Return a source of which `over` gives the cells of a column as tags."""
        return type(self)(self._said.labelled(column))

    def over(self, path: str) -> Self:
        """Return a source that reads another file in the same form, without labels."""
        return type(self)(self._said.over(path))


class Written(Table[W]):
    """A file of rows that is text."""

    def __init__(self, options: W) -> None:
        super().__init__(options)
        self._replaced: files.Replaced | None = None
        self._warned = False

    @property
    def plain(self) -> bool:
        """Whether numbers are written as Python writes them."""
        return self.writing.decimal == "." and not self.writing.mark

    def _lines(self, path: Path) -> Iterator[str]:
        """Give the lines of the file. Warns once (`Unsuited`) of what was replaced in them."""
        encoding = self.options.encoding
        self._replaced = files.Replaced() if self.options.errors == "replace" else None
        yield from files.lines(path, encoding, self._replaced)
        if self._replaced is not None and not self._warned:
            self._warned = True
            self._replaced.warn(path, encoding)


class Csv(Written[CsvOptions]):
    """Columns of a csv file, which its first row names, or which are called by their number.

    In a file of one column a blank line between rows is a row whose cell is empty; in a wider one
    it is no row.
    """

    def read(self, element: Element) -> Iterator[Piece]:
        """Give the sequences; a row that is one holds no series. Raises `InputError` (RC030)."""
        self._reads_text = element == "text"
        options = self.options
        tagged = options.tags is not None and options.labels_of_steps is None
        if element == "numbers" and tagged and options.group is None:
            fact = "without a group each row is a sequence, and of numbers that is a single step"
            cure = "name as group a column that tells whose step a row is, if of one series alone"
            raise InputError.of("RC030", fact, key="source.tags", cure=cure)
        yield from super().read(element)

    def written(self) -> Iterator[tuple[int, list[str]]]:
        """Give the rows, but for the one that names the columns."""
        for places, some in self._stretches():
            yield from zip(places, some, strict=True)

    def _stretches(self) -> Iterator[tuple[Sequence[int], list[list[str]]]]:
        """Give the same, many at a time."""
        path, options = self._file(), self.options
        stretches = csv_rows.stretches(self._lines(path), path, options.form)
        first = next(stretches, None)
        if first is None:
            raise self._empty(path)

        self._header = self._named_by(first[1][0])
        if not options.header:
            stretches = chain([first], stretches)
        self._places = [self._place(self._header, name) for name in options.named]
        yield from stretches

    def blocks(self) -> Iterator[Stretch]:
        """Give the rows, many at a time."""
        for places, some in self._stretches():
            if {*map(len, some)} == {len(self._header)}:
                columns = [*zip(*some, strict=True)]
                yield Block(places, [columns[place] for place in self._places], self.plain)
            else:
                pairs = zip(places, some, strict=True)
                each: Iterator[Row] = ((place, self.cells(place, row)) for place, row in pairs)
                yield from together(each, len(some))

    def cells(self, line: int, row: list[str]) -> list[Any]:
        """Return the cells of the named columns."""
        if not row:
            return []
        if len(row) != len(self._header):
            row = self._fitted(self._file(), line, row, self._header)
        return [row[place] for place in self._places]

    def names(self) -> list[str]:
        """Return the names of the columns."""
        path = self._file()
        lines = files.lines(path, self._said.encoding, files.Replaced())
        first = next(csv_rows.rows(lines, path, self._said.form), None)
        return [] if first is None else self._named_by(first[1])

    def _named_by(self, first: list[str]) -> list[str]:
        """Return the names of the columns of a file that begins with a row."""
        if self.options.header:
            return [name.strip() for name in first]
        return [str(number) for number in range(1, len(first) + 1)]

    def _empty(self, path: Path) -> InputError:
        """Return the error of a file without a row."""
        fact = f"{readable(path)} is empty"
        if self.options.header:
            fact += ": a csv file begins with the names of its columns"
        return InputError.of("RC041", fact, key="source.path")

    def _place(self, header: list[str], name: str) -> int:
        """Return where a column stands. Raises `InputError` (RC040, RC042)."""
        if header.count(name) > 1:
            raise self._twice(name, "")
        if name not in header:
            raise self._no_column(name, header, cure=self._why_no_column(name, header))
        return header.index(name)

    def _why_no_column(self, name: str, header: list[str]) -> str:
        """Return what the header tells of: another delimiter, or that there is none."""
        values = [self.number(name)[0] for name in header]
        if self.options.header and None not in values:
            return (
                "the first row holds numbers alone: put a row with the names of the columns"
                ' before it, or set source.header = false and call them "1", "2" and so on'
            )
        if header[0][:4].lower() == "sep=":
            # The rest of the line is the delimiter, which may cut it.
            mark = header[0][4:5] or self.options.delimiter
            beginning = json.dumps(header[0][:4])
            cure = f"the first line tells Excel the delimiter: set source.comment = {beginning}"
            return f"{cure} and source.delimiter = {json.dumps(mark)}"
        for beginning in COMMENTS:
            if header[0].startswith(beginning):
                return f"the first line is a comment: set source.comment = {json.dumps(beginning)}"
        if self.options.header and NUMBER.fullmatch(name) and int(name[:9]) <= len(header):
            return (
                "if the first row holds data, and no names, set source.header = false: columns are"
                " then called by their number"
            )
        if self._quotes_late(header):
            return LATE

        for mark, written in USUAL.items() if len(header) == 1 else ():
            if mark in header[0] and mark != self.options.delimiter:
                return f"set source.delimiter = {written}, if that stands between the names"
        if self.options.header and len([*filter(None, header)]) < 2 and not nearest(name, header):
            return "the first row names the columns: take away what stands before it"
        return ""

    def _quotes_late(self, cells: list[str]) -> bool:
        """Tell whether a quote stands after the space that a cell begins with: it is a letter."""
        quote = self.options.quote
        return bool(quote) and any(cell.lstrip()[:1] == quote for cell in cells)

    def _fitted(self, path: Path, line: int, cells: list[str], header: list[str]) -> list[Any]:
        """Return a row as wide as the header.

        Empty cells beyond it are taken off, and those that lack are missing. Raises `InputError`
        (RC042) for a row that is too long, and under missing = "error" for one that is too short:
        which of its cells lacks a delimiter, or has one too many, is not known.
        """
        cells = list(cells)
        while len(cells) > len(header) and not cells[-1].strip():
            del cells[-1]

        short = len(header) - len(cells)
        # What lacks may have no name either, where the header ends with delimiters.
        unnamed = not any(header[len(cells) :])
        may_be_short = unnamed or self.options.missing != "error"
        if short == 0 or (short > 0 and may_be_short):
            return [*cells, *[None] * short]

        have = "1 cell" if len(cells) == 1 else f"{len(cells)} cells"
        fact = f"{readable(path)}:{line}: the row has {have}"
        first = "the header names" if self.options.header else "the first row has"
        fact += f", and {first} {len(header)} columns"
        if self.options.settled:
            cure = "mend the row; a cell that holds the delimiter stands in quotes"
        elif short < 0 and self._quotes_late([cell for cell in cells if cell[:1].isspace()]):
            cure = LATE
        elif short > 0:
            policies = '"drop"' if self._reads_text else '"drop" or "forward"'
            policies = policies if self.options.may_drop else '"forward"'
            cure = f"mend the row, or set source.missing = {policies}: then its last cells are"
            cure += " missing"
        else:
            cure = (
                "put a cell that holds the delimiter into quotes, or set source.delimiter to"
                " another"
            )
        raise InputError.of("RC042", fact, key="source.path", cure=cure)

    @cached_property
    def writing(self) -> Writing:
        """How numbers are written."""
        return self.options.writing


VALUES = 1 << 22
"""Values of a line of JSON, at most: each takes many times its text in memory."""


class JsonlOptions(WrittenOptions):
    """Options of jsonl."""


class Jsonl(Written[JsonlOptions]):
    """Keys of a file with one JSON object a line.

    A number is taken as it is written: it is a text too, as in a csv file, and a text that is a
    number in quotes is a number. `null` is missing; so is a key that is not there, but under
    `missing = "error"` that is told apart. A blank line is no row. Where each row is a sequence
    with a label, an answer or a fold, its value may be a list: of tokens, of numbers, or of one
    list of numbers a step.
    """

    def names(self) -> list[str]:
        """Return the keys of the first object."""
        path, replaced = self._file(), files.Replaced()
        for number, line in enumerate(files.lines(path, self._said.encoding, replaced), 1):
            if line.strip():
                return list(_record(path, number, line, replaced))
        return []

    def written(self) -> Iterator[tuple[int, str]]:
        """Give the lines, from 1."""
        self._path = self._file()
        self._unseen = {*self.options.named}
        self._keys: list[str] = []  # of the last object
        for number, line in enumerate(self._lines(self._path), 1):
            yield number, line if line.strip() else ""

        # A key that no line has is a mistake, which missing = "drop" would make an empty table of.
        if self._keys and self._unseen:
            raise self._no_column(min(self._unseen), self._keys)

    def cells(self, line: int, row: str) -> list[Any]:
        """Return the values of the named keys."""
        if not row:
            return []
        record = _record(self._path, line, row, self._replaced)
        self._keys = list(record)
        names = self.options.named
        for name in names:
            self._check(name, record, self._path, line)
        self._unseen -= record.keys()
        return [record.get(name, (None,))[0] for name in names]

    def _check(self, name: str, record: dict[str, list[Any]], path: Path, number: int) -> None:
        """Check the values of a key.

        Raises `InputError` (RC040, RC042) if it lacks where it must not, stands twice, or holds a
        broken text.
        """
        values = record.get(name, [])
        if not values and self.options.missing == "error":
            cure = NO_KEY if self.options.may_drop else NO_KEY.replace("drop", "forward")
            cure = "" if self.options.settled else cure
            raise self._no_column(name, list(record), f", line {number},", cure)
        if len(values) > 1:
            raise self._twice(name, f", line {number},")
        for value in values:
            if isinstance(value, list):
                text = "".join(part for part in value if isinstance(part, str))
            else:
                text = value if isinstance(value, str) else ""
            _check_text(text, path, number, f"the value of {name!r}")

    def features(self) -> list[str]:
        """Return the names of the columns, of each number of a step that is a list."""
        return self.features_of_lists()


def _record(path: Path, number: int, line: str, replaced: Replaced | None) -> dict[str, list[Any]]:
    """Return the values of each key of a line's object: several of a key that stands again.

    Halves of surrogate pairs are `replaced`, where that is asked for. Raises `InputError` (RC042).
    """
    where = f"{readable(path)}:{number}"
    if len(line) > VALUES and sum(map(line.count, ",[{")) > VALUES:
        fact = f"{where} holds more than {VALUES:,} values"
        raise InputError.of("RC042", fact, key="source.path", cure=ARRAY)
    try:
        # Without its end, so that an error there is in this line.
        pairs = _DECODER.decode(line.rstrip())
    except json.JSONDecodeError as error:
        fact = f"{where}:{error.colno} is not JSON: {error.msg}"
        raise InputError.of("RC042", fact, key="source.path", cure=ARRAY) from error
    except RecursionError as error:
        fact = f"{where} cannot be read: its brackets stand one inside another too often"
        raise InputError.of("RC042", fact, key="source.path", cure=ARRAY) from error
    except ValueError as error:
        # It holds NaN, or an infinite number.
        fact = f"{where} cannot be read: {error}"
        cure = "write null there; missing says what is done about it"
        raise InputError.of("RC042", fact, key="source.path", cure=cure) from error
    if not isinstance(pairs, Pairs):
        fact = f"{where} is not a JSON object"
        raise InputError.of("RC042", fact, key="source.path", cure=ARRAY)

    record: dict[str, list[Any]] = {}
    for name, value in pairs:
        if replaced is not None:
            name, value = replaced.text(name, number), _whole(value, number, replaced)
        _check_text(name, path, number, "a key")
        record.setdefault(name, []).append(value)
    return record


def _no_number(name: str) -> NoReturn:
    """Refuse a number that Python reads, and JSON does not have."""
    raise ValueError(f"{name} is no number of JSON; what is missing is written null")


_DECODER = json.JSONDecoder(
    object_pairs_hook=Pairs, parse_int=Literal, parse_float=Literal, parse_constant=_no_number
)


def _whole(value: Any, number: int, replaced: Replaced) -> Any:
    """Return a value, or a list of such, in whose texts nothing is that no file can hold."""
    if type(value) is list:
        return [_whole(part, number, replaced) for part in value]
    return replaced.text(value, number) if type(value) is str else value


def _check_text(text: str, path: Path, number: int, what: str) -> None:
    """Raise `InputError` (RC042) for half a surrogate pair, which JSON can spell."""
    at = half_pair(text)
    if at is not None:
        fact = f"{readable(path)}:{number}: {what} holds {ascii(text[at])}, half a surrogate pair"
        raise InputError.of("RC042", fact, key="source.path", cure=HALF_CURE + OR_REPLACE)
