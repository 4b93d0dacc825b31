"""Rows of several groups that stand in between each other, and how they are brought together."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any, NamedTuple

import numpy as np

from recurra import InputError, Timeline
from recurra_sources.blocks import Block, Floats, Stretch
from recurra_sources.bulk import Looked, Looker, Many, alike, first_of, without_first
from recurra_sources.cells import Reader, Row
from recurra_sources.spacing import Spacing
from recurra_sources.spacing_blocks import Following
from recurra_sources.table_options import RowOptions
from recurra_sources.waiting import Waiting

HELD = 1 << 26
"""Bytes of rows that are held in memory at most while they are brought together."""
OF_A_GROUP = 256
"""Bytes that a group takes beside its rows."""
TOGETHER = 1 << 14
"""Rows of a group that are given at a time, about."""


class Panel(NamedTuple):
    """How the rows of a table stand: whether those of a group are `apart`, and their time."""

    apart: bool
    timeline: Timeline | None


def panel(
    stretches: Iterable[Stretch], options: RowOptions, group: Reader, spacing: Spacing | None
) -> Panel:
    """Look through all rows: whether a group comes again after another one, and how time goes on.

    `group` reads the last cell of a row. Without `spacing` rows are looked at up to the first that
    is not of their form: whoever reads them meets it too. Raises `InputError` (RC041, RC042).
    """
    looking = _Looking(options, group, spacing)
    try:
        for stretch in stretches:
            if isinstance(stretch, list) or not looking.takes(stretch):
                for row in stretch if isinstance(stretch, list) else stretch.rows():
                    looking.take(row)
            if looking.apart and spacing is None:
                break
    except InputError:
        if spacing is not None:
            raise
    return Panel(looking.apart, spacing.timeline() if spacing is not None else None)


class _Looking:
    """Takes note of rows, one after the other or many at once."""

    def __init__(self, options: RowOptions, group: Reader, spacing: Spacing | None) -> None:
        self.grouped, self.group = options.group is not None, group
        self.where = options.named.index(options.time) if options.time else 0
        self.width = len(options.named)
        self.spacing = spacing
        self.following = None if spacing is None else Following(spacing)
        self.apart = False
        self.seen: set[str | None] = set()
        self.last: str | None = None

    def take(self, row: Row) -> None:
        """Take note of a row."""
        place, cells = row
        if not cells:
            return
        name = None
        if self.grouped:
            name, _ = self.group(cells[-1])
            if name is None:
                # It does not say whose it is.
                return
            self._begin(name)
        if self.spacing is not None:
            self.spacing.add(name, place, cells[self.where])

    def _begin(self, name: str) -> None:
        if not self.apart:
            self.apart = name != self.last and name in self.seen
            self.seen.add(name)
        self.last = name

    def takes(self, block: Block) -> bool:
        """Take note of the rows of a block, unless they must be looked at one by one."""
        names: list[str | None] = [None]
        codes = np.zeros(len(block), np.int64)
        if self.grouped:
            coded = block.coded(self.width - 1)
            if coded is None:
                return False
            codes, names = coded.codes, [self.group(cell)[0] for cell in coded.cells]
            if None in names or len({*names}) < len(names):
                return False
        if self.following is not None:
            stamps = block.coded(self.where)
            if stamps is None or not self.following.takes(block.places, codes, names, stamps):
                return False

        if self.grouped:
            begins = np.flatnonzero(np.diff(codes, prepend=-1))
            for code in codes[begins].tolist():
                name = names[code]
                assert name is not None, "each row says whose it is"
                self._begin(name)
                if self.apart:
                    break
        return True


class Spool:
    """Bytes that come by names, those of each in their order.

    Beyond what is held in memory they go to a file without a name.
    """

    def __init__(self) -> None:
        self.held: dict[Any, bytearray] = {}
        self.places: dict[Any, list[tuple[int, int]]] = {}
        self.size = 0
        self.file: IO[bytes] | None = None

    def add(self, name: Any, data: Any) -> None:
        """Add to what a name has."""
        held = self.held.get(name)
        if held is None:
            held = self.held[name] = bytearray()
            self.size += OF_A_GROUP
        held += data
        self.size += len(data)
        if self.size > HELD:
            self._spill()

    def _spill(self) -> None:
        """Write what is held to the file. Raises `InputError` (RC050)."""
        try:
            if self.file is None:
                self.file = tempfile.TemporaryFile(prefix="recurra-")  # noqa: SIM115
            at = self.file.tell()
            for name, data in self.held.items():
                self.file.write(data)
                self.places.setdefault(name, []).append((at, len(data)))
                at += len(data)
        except OSError as error:
            fact = "the rows of groups stand in between each other, and the folder for temporary"
            fact += f" files cannot take them: {error.strerror or error}"
            cure = "free some space, set TMPDIR to another folder, or sort the rows by the group"
            raise InputError.of("RC050", fact, key="source.group", cure=cure) from error
        self.held = {}
        self.size = 0

    def parts(self, name: Any) -> Iterator[bytes | bytearray]:
        """Give what a name has, as it was added or more of it together; once."""
        for at, length in self.places.pop(name, []):
            assert self.file is not None, "what has a place is in the file"
            self.file.seek(at)
            yield self.file.read(length)
        if name in self.held:
            yield self.held.pop(name)

    def close(self) -> None:
        """Forget all."""
        if self.file is not None:
            self.file.close()


class Gathering:
    """Brings rows together, group by group, in the order in which these begin.

    A blank line stays behind the row that it follows, and so does a row of no group. What is whole
    is held as numbers: for each row its place, whether it is, and its values.
    """

    def __init__(self, group: Reader, looker: Looker | None = None) -> None:
        self.group, self.looker = group, looker
        self.width = 2 if looker is None else 2 + looker.width
        self.spool, self.waiting = Spool(), Waiting()
        self.names: dict[str | None, tuple[Any, ...] | None] = {}
        self.last: str | None = None

    def rows(self, stretches: Iterable[Stretch]) -> Iterator[Row | Many]:
        """Give all rows. Raises `InputError` (RC050)."""
        try:
            for stretch in stretches:
                looked = None
                if self.looker is not None and not isinstance(stretch, list):
                    looked = self.looker.at(stretch)
                if looked is None or isinstance(stretch, list) or not self._takes(stretch, looked):
                    for row in stretch if isinstance(stretch, list) else stretch.rows():
                        self._take(row)
            for name in self.names:
                yield from self._of(name)
        finally:
            self.spool.close()

    def _take(self, row: Row) -> None:
        """Take a row by itself."""
        place, cells = row
        own = self.group(cells[-1])[0] if cells else None
        self.last = self.last if own is None else own
        self.names.setdefault(self.last, None)
        self._keep(self.last, row)
        record = np.zeros(self.width)
        self.spool.add((self.last, 0), record.data.cast("B"))

    def _keep(self, name: str | None, row: Row) -> None:
        self.spool.add((name, 1), self.waiting.packed(row))

    def _takes(self, block: Block, looked: Looked) -> bool:
        """Take the rows of a block, unless they must be taken one by one."""
        names = [self.group(cell)[0] for cell in looked.group.cells]
        if None in names or len({*names}) < len(names):
            return False
        order = np.argsort(looked.group.codes, kind="stable")
        codes = looked.group.codes[order]
        begins = np.diff(codes, prepend=-1) != 0
        said = looked.said[order]
        whole = looked.whole[order] & (said == said[first_of(begins)]).all(axis=1)

        lows = np.flatnonzero(begins).tolist()
        highs = [*lows[1:], len(order)]
        later = without_first(whole, begins)
        for low, high in zip(lows, highs, strict=True):
            name = names[codes[low]]
            # What the first whole row of a group says of it, any other must say too.
            told = self.names.setdefault(name, None)
            if told is None:
                first = low + int(np.argmax(whole[low:high]))
                if whole[first]:
                    self.names[name] = self._told(block, int(order[first]))
                whole[low:high] = later[low:high]
            elif told and whole[low:high].any():
                first = low + int(np.argmax(whole[low:high]))
                whole[low:high] &= self._told(block, int(order[first])) == told

        records = np.empty((len(order), self.width))
        records[:, 0] = np.asarray(block.places)[order]
        records[:, 1] = whole
        records[:, 2:] = looked.values[order]
        data, size = records.data.cast("B"), self.width * records.itemsize
        for low, high in zip(lows, highs, strict=True):
            self.spool.add((names[codes[low]], 0), data[low * size : high * size])
        for at in np.flatnonzero(~whole).tolist():
            self._keep(names[codes[at]], block.row(int(order[at])))
        self.last = names[looked.group.codes[-1]]
        return True

    def _told(self, block: Block, at: int) -> tuple[Any, ...]:
        """Return what a row says of its group."""
        assert self.looker is not None, "blocks are looked at"
        if not self.looker.said:
            return ()
        _, cells = block.row(at)
        return tuple(cells[column] for column, _ in self.looker.said)

    def _of(self, name: str | None) -> Iterator[Row | Many]:
        """Give the rows of a group."""
        kept = self._kept(name)
        parts: list[Floats] = []
        for part in self.spool.parts((name, 0)):
            parts.append(np.frombuffer(part).reshape(-1, self.width))
            if sum(map(len, parts)) >= TOGETHER:
                yield from _given(np.concatenate(parts), kept)
                parts = []
        if parts:
            yield from _given(np.concatenate(parts), kept)

    def _kept(self, name: str | None) -> Iterator[Row]:
        for part in self.spool.parts((name, 1)):
            yield from self.waiting.rows(part)


def _given(records: Floats, kept: Iterator[Row]) -> Iterator[Row | Many]:
    """Give the rows of records; those that are not whole are the next that were kept."""
    whole = records[:, 1] != 0
    for low, high in alike(whole):
        if whole[low]:
            yield Many(int(records[low, 0]), records[low:high, 2:])
        else:
            for _ in range(low, high):
                yield next(kept)
