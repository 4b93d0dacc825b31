"""Rows that hold numbers and nothing else to be looked at, read many at a time.

Where a cell is missing or wrong, and where a sequence begins, rows are read one by one: that is
where the rules of a table are, and they see those rows alone. What is left between them is whole,
and goes on as arrays.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra_sources.blocks import Block, Coded, Codes, Floats, Stretch, refused
from recurra_sources.cells import Markers, Place, Reader, Row
from recurra_sources.numbers import LARGEST
from recurra_sources.table_options import RowOptions

LEAST = 8
"""Rows one after the other from which on they are read at once."""


class Many(NamedTuple):
    """Rows of one sequence, each of them whole: where the first stands, and numbers `[n, F]`.

    A row of the same sequence comes before them, and each of them says the same of it.
    """

    place: Place
    values: Floats


class Looked(NamedTuple):
    """A block: its numbers `[n, F]`, which rows are `whole`, of which group each is.

    A whole row says of its sequence what is said in another one with the same `said` `[n, S]`.
    """

    values: Floats
    whole: NDArray[np.bool_]
    group: Coded
    said: Codes


def suits(options: RowOptions) -> bool:
    """Tell whether rows of numbers can be read so: each is a step, with nothing of its own."""
    return not (options.whole_rows or options.tags or options.covariates)


class Looker:
    """Looks at blocks: which rows are whole. It reads cells as the table does, one by one."""

    def __init__(
        self, options: RowOptions, number: Reader, beside: list[Reader], markers: Markers
    ) -> None:
        self.options, self.number, self.markers = options, number, markers
        self.width = len(options.columns)
        own = dict(zip(options.beside, beside, strict=True))
        names = [name for name in options.beside if name not in (options.time, options.group)]
        place = {name: index for index, name in enumerate(options.beside, self.width)}
        self.said = [(place[name], own[name]) for name in names]
        self.time = None if options.time is None else (place[options.time], own[options.time])
        self.group = None if options.group is None else (place[options.group], own[options.group])

    def at(self, block: Block) -> Looked | None:
        """Return what is seen of a block; nothing where its rows must be read one by one."""
        numbers = [block.numbers(column, self.number) for column in range(self.width)]
        values = np.stack(numbers, axis=1)
        sound = np.abs(values) <= LARGEST
        if self.markers.values:
            sound &= ~np.isin(values, [v for v in self.markers.values if v is not None])
        whole: NDArray[np.bool_] = np.all(sound, axis=1)

        if self.time is not None:
            coded = block.coded(self.time[0])
            if coded is None:
                return None
            whole &= ~refused(coded.cells, self.time[1])[coded.codes]
        group = Coded(np.zeros(len(block), np.int64), [None])
        said = np.zeros((len(block), len(self.said)), np.int64)
        if self.group is not None:
            found = block.coded(self.group[0])
            if found is None:
                return None
            group = found
            whole &= ~refused(group.cells, self.group[1])[group.codes]
        for index, (column, read) in enumerate(self.said):
            coded = block.coded(column)
            if coded is None:
                return None
            said[:, index] = coded.codes
            whole &= ~refused(coded.cells, read)[coded.codes]
        return Looked(values, whole, group, said)


def first_of(begins: NDArray[np.bool_]) -> Codes:
    """Return where the run of each row begins, `[n]`."""
    places = np.arange(len(begins))
    return np.maximum.accumulate(np.where(begins, places, 0))


def without_first(whole: NDArray[np.bool_], begins: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which rows are whole, but for the first such one of each run."""
    count = np.cumsum(whole)
    before: Codes = (count - whole)[first_of(begins)]
    return whole & (count - before > 1)


def rows(stretches: Iterable[Stretch], looker: Looker) -> Iterator[Row | Many]:
    """Give rows in their order, many at a time where they are whole."""
    for stretch in stretches:
        looked = None if isinstance(stretch, list) else looker.at(stretch)
        if isinstance(stretch, list) or looked is None:
            yield from stretch if isinstance(stretch, list) else stretch.rows()
            continue

        codes = looked.group.codes
        begins = np.ones(len(codes), np.bool_)
        begins[1:] = codes[1:] != codes[:-1]
        same = (looked.said == looked.said[first_of(begins)]).all(axis=1)
        whole = without_first(looked.whole & same, begins)
        for low, high in alike(whole):
            if whole[low] and high - low >= LEAST:
                yield Many(stretch.places[low], looked.values[low:high])
            else:
                yield from map(stretch.row, range(low, high))


def alike(whole: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Give stretches of rows that are all whole, or all not."""
    changes = np.flatnonzero(whole[1:] != whole[:-1]) + 1
    ends = [0, *changes.tolist(), len(whole)]
    yield from zip(ends, ends[1:], strict=False)
