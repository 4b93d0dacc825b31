"""Time stamps of many rows at once: what one row after another is, is looked at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from recurra import Stamp
from recurra_sources.blocks import Coded, Codes
from recurra_sources.cells import Place
from recurra_sources.faults import SHOWN
from recurra_sources.spacing import KNOWN, Spacing, Stamped

SELDOM = 4
"""How often the same two stamps must follow each other, on the average, to be looked at once."""


class Following:
    """Tells a `spacing` of the rows of blocks, as if it were told of each after the other.

    Of rows that follow each other with the same two stamps, those are told that an error might
    name, and of the others how many there are.
    """

    def __init__(self, spacing: Spacing) -> None:
        self.spacing = spacing
        self.known: set[tuple[Stamp | None, Stamp, Stamp]] = set()

    def takes(
        self, places: Sequence[Place], groups: Codes, names: Sequence[str | None], stamps: Coded
    ) -> bool:
        """Take note of rows, unless they must be told one by one.

        `names` are those of the groups. What is wrong with a stamp is found row by row.
        """
        if len(stamps.cells) * SELDOM > len(groups):
            return False
        read = self._read(stamps)
        if read is None:
            return False

        order = np.argsort(groups, kind="stable")
        group, code = groups[order], stamps.codes[order]
        begins = np.diff(group, prepend=-1) != 0
        at = np.array([stamp.at for _, stamp in read])
        later = np.diff(at[code], prepend=0) > 0
        firsts = np.flatnonzero(begins)
        whose = {names[group[first]]: read[code[first]][1] for first in firsts.tolist()}
        if not (later | begins).all() or not self._go_on(whose):
            return False

        def row(index: int) -> Stamped:
            return Stamped(places[order[index]], *read[code[index]])

        chosen, others = self._chosen(order, group, code, begins, names, whose, read)
        told = np.concatenate([firsts, chosen])
        for index in told[np.argsort(order[told])].tolist():
            name = names[group[index]]
            if begins[index]:
                # It follows what came before the block.
                cell = stamps.cells[code[index]]
                self.spacing.add(name, row(index).place, cell)
            else:
                self.spacing.follow(name, row(index - 1), row(index))
        for before, stamp, times in others:
            self.spacing.again(before, stamp, times)
        for end in (np.append(firsts[1:], len(order)) - 1).tolist():
            self.spacing.last[names[group[end]]] = row(end)
        return True

    def _read(self, stamps: Coded) -> list[tuple[str, Stamp]] | None:
        """Return the stamps, if all of them are sound and mean the same wherever they stand."""
        spacing = self.spacing
        read = []
        for cell in stamps.cells:
            text, missing = spacing.stamp(cell)
            if missing:
                return None
            try:
                stamp = spacing.reading.read(cell)
            except ValueError:
                return None
            if spacing.model is None:
                spacing.begin(Stamped(1, text, stamp))
            model = spacing.model
            assert model is not None, "a stamp was read"
            if stamp.later is not None or stamp.family != model.stamp.family:
                return None
            read.append((text, stamp))
        return read

    def _go_on(self, firsts: Mapping[str | None, Stamp]) -> bool:
        """Tell whether the first row of each group is later than the last one before the block."""
        for name, stamp in firsts.items():
            before = self.spacing.last.get(name)
            if before is not None and stamp.at <= before.stamp.at:
                return False
        return True

    def _chosen(
        self,
        order: Codes,
        group: Codes,
        code: Codes,
        begins: NDArray[np.bool_],
        names: Sequence[str | None],
        firsts: Mapping[str | None, Stamp],
        read: list[tuple[str, Stamp]],
    ) -> tuple[Codes, list[tuple[Stamp, Stamp, int]]]:
        """Return which rows that follow others of the block are told, and how many are not.

        These come as the two stamps that follow each other, and how often.
        """
        spacing, after = self.spacing, np.flatnonzero(~begins)
        if not len(after):
            return after, []
        # How a series began counts as long as its calendar is looked for.
        by_month = spacing.by_day or spacing.by_end
        begun = np.zeros(len(names), np.int64)
        kinds: dict[Stamp | None, int] = {None: 0}
        if by_month:
            for index, name in enumerate(names):
                first = spacing.first.get(name, firsts.get(name))
                begun[index] = kinds.setdefault(first, len(kinds))
        began = [*kinds]
        key = (begun[group[after]] * len(read) + code[after - 1]) * len(read) + code[after]
        _, where, inverse, counts = np.unique(
            key, return_index=True, return_inverse=True, return_counts=True
        )

        others = []
        limits = np.full(len(counts), SHOWN)
        for index, row in enumerate(after[where].tolist()):
            count = int(counts[index])
            before, stamp = read[code[row - 1]][1], read[code[row]][1]
            kind = began[begun[group[row]]], before, stamp
            if spacing.shows_enough(before, stamp):
                limits[index] = kind not in self.known
                if len(self.known) < KNOWN:
                    self.known.add(kind)
            if count > limits[index]:
                others.append((before, stamp, count - int(limits[index])))

        # The place of each row among those of its kind, in the order of the file.
        by_row = np.argsort(order[after], kind="stable")
        kind_of = inverse[by_row]
        by_kind = np.argsort(kind_of, kind="stable")
        starts = np.cumsum(counts) - counts
        turn = np.empty(len(by_row), np.int64)
        turn[by_kind] = np.arange(len(by_row)) - starts[kind_of[by_kind]]
        return after[by_row[turn < limits[kind_of]]], others
