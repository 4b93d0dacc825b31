"""What every table has: columns, groups, labels, answers, folds, tags, missing cells.

A row is a step of a series or of tokens, or one whole text; with a label, an answer, a fold or tags
and no group it is a whole sequence.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import chain, groupby
from operator import attrgetter
from typing import Any, ClassVar, TypeVar, cast

from recurra import Calendar, Element, InputError, Piece, Role, Source, Timeline
from recurra_sources import bulk, covariates, labels, panels
from recurra_sources import cells as read_as
from recurra_sources.applying import refuse_unused
from recurra_sources.blocks import Stretch, of_rows
from recurra_sources.bulk import Looker, Many
from recurra_sources.calendar_options import calendar_of
from recurra_sources.cells import Reader, Row
from recurra_sources.covariates import CovariateReader
from recurra_sources.faults import Faults, nothing_yet
from recurra_sources.following import Steps
from recurra_sources.gaps import Gaps
from recurra_sources.interpolation import NOTHING_AFTER, Interpolation
from recurra_sources.label_numbers import LabelNumbers
from recurra_sources.mending import Mending
from recurra_sources.names import nearest
from recurra_sources.numbers import JSON, Writing, number
from recurra_sources.panels import Gathering, Panel
from recurra_sources.pieces import Step, chunks, indexed, tags_of, with_name
from recurra_sources.single import one_by_one
from recurra_sources.spacing import Spacing, filled
from recurra_sources.table_options import RowOptions
from recurra_sources.unfolding import Unfolding

R = TypeVar("R", bound=RowOptions)


class Rows(Source[R]):
    """Rows of several columns; where they stand and how they are written is a subclass's matter."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")
    unit: ClassVar[str] = "line"
    """What the place of a row counts."""

    def __init__(self, options: R) -> None:
        super().__init__(options)
        self._gaps = Gaps()
        self._panel: tuple[str, Panel] | None = None
        self._markers = read_as.Markers(options.na, lambda text: number(text, self.writing))
        self._warned_of_labels = False

    @property
    @abstractmethod
    def where(self) -> str:
        """Where the rows stand, as it is printed."""

    @abstractmethod
    def written(self) -> Iterator[tuple[int, Any]]:
        """Give each row as it is written, and the line where it begins.

        A blank line is nothing, in the place of a row.
        """

    @abstractmethod
    def cells(self, line: int, row: Any) -> list[Any]:
        """Return the cells of the columns that `named` lists, in its order; none for a blank line.

        Raises `InputError` (RC040, RC042) for a row that is not of the form.
        """

    def rows(self) -> Iterator[Row]:
        """Give the cells of each row."""
        return ((line, self.cells(line, row)) for line, row in self.written())

    def blocks(self) -> Iterator[Stretch]:
        """Give the rows, many at a time."""
        return of_rows(self.rows(), self.plain)

    @property
    def plain(self) -> bool:
        """Whether cells that are text hold numbers, written as Python writes them."""
        return False

    @property
    def writing(self) -> Writing:
        """How numbers are written."""
        return JSON

    def number(self, cell: str) -> tuple[float | None, str]:
        """Return the number that a cell holds, or none and what is wrong with it."""
        return number(cell, self.writing)

    def read(self, element: Element) -> Iterator[Piece]:
        """Give a series or token sequence a group, or a text a row or a group."""
        options = self.options
        self._check_options(element)
        if options.tags is not None and options.group is not None and element == "text":
            fact = "the rows of a group of text are joined, and a tag is of one character"
            cure = "leave group out: each row is then a sequence; or read tokens, one a row"
            raise InputError.of("RC030", fact, key="source.tags", cure=cure)
        if element != "numbers" and len(options.columns) > 1:
            names, stand = ", ".join(options.columns), "stands" if element == "text" else "stand"
            fact = f"{len(options.columns)} columns are read, {names}, and {element} {stand} in one"
            cure = f"name it alone: source.columns = {json.dumps(options.columns[:1])}"
            raise InputError.of("RC030", fact, key="source.columns", cure=cure)

        sequence_a_row = options.whole_rows or (options.group is None and element == "text")
        if options.settled and sequence_a_row:
            texts = element == "text" and options.missing == "error"
            read = partial(self._sequences, element=element)
            yield from one_by_one(self.written(), self.cells, read, texts)
        else:
            yield from self._sequences(self._by_group(element), element)

    def _by_group(self, element: Element) -> Iterator[Row | Many]:
        """Give the rows, those of each group one after the other, in regular steps of time.

        Of numbers those that are whole are given many at a time.
        """
        options = self.options
        looked = options.group is not None or options.time is not None
        panel = self._looked_through() if looked else Panel(False, None)
        group = self._group_reader(element) if options.group is not None else read_as.named
        timeline = panel.timeline
        fills = options.gaps == "fill" and timeline is not None and bool(timeline.frequency)

        looker = None
        if element == "numbers" and bulk.suits(options) and not fills:
            number, beside = self._reader(element), self.readers(element)
            looker = Looker(options, number, beside, self._markers)
        if not panel.apart and looker is None:
            rows: Iterator[Row | Many] = self.rows()
        elif not panel.apart and looker is not None:
            rows = bulk.rows(self.blocks(), looker)
        else:
            rows = Gathering(group, looker).rows(self.blocks())
        if fills and timeline is not None:
            rows = filled(cast(Iterator[Row], rows), timeline, options)
        return rows

    def _group_reader(self, element: Element) -> Reader:
        """Return what reads the group of a row."""
        return self.readers(element)[-1]

    def _looked_through(self) -> Panel:
        """Return how the rows stand: it is looked up once, until the data changes."""
        fingerprint = self.fingerprint()
        if self._panel is None or self._panel[0] != fingerprint:
            options = self.options
            spacing = None
            if options.time:
                spacing = Spacing(options, self.where, self.unit, self._markers)
            group = self._group_reader("tokens")
            panel = panels.panel(self.blocks(), options, group, spacing)
            self._panel = fingerprint, panel
        return self._panel[1]

    def timeline(self) -> Timeline | None:
        """Return how stamps go on, for which all rows are looked through."""
        return self._looked_through().timeline if self.options.time else None

    def calendar(self) -> Calendar | None:
        """Return what is read of time stamps, if anything is."""
        options = self.options
        return calendar_of(options.calendar, options.fourier, options.holidays)

    def _check_options(self, element: Element) -> None:
        """Raise `InputError` (RC030) for options that do not fit what is read, or the labels."""
        options = self.options
        if options.whole_rows and options.covariates:
            fact = f"each row is a whole sequence, and {options.covariates[0]!r} is of its steps"
            cure = "name source.group, where each row is a step, or make it a static_covariate"
            key = self._key(options.covariates[0])
            raise InputError.of("RC030", fact, key=key, cure=cure)
        if options.settled:
            return
        refuse_unused(options, element, self._numbers_labelled)
        if len(options.labels) > 1 and not self._numbers_labelled:
            fact = f"{len(options.labels)} columns are named, and a class is named by one"
            cure = "name one; several are for a target that answers with numbers, as value"
            got = ", ".join(options.labels)
            raise InputError.of("RC030", fact, key="source.label", got=got, cure=cure)

    @property
    def _numbers_labelled(self) -> bool:
        """Whether there are labels, and they are numbers."""
        return bool(self.options.labels) and self.label_elements == "numbers"

    def _sequences(self, lines: Iterator[Row | Many], element: Element) -> Iterator[Piece]:
        """Give the pieces of all sequences that rows hold."""
        options = self.options
        steps = self._complete(lines, element)
        if options.group is None and not options.whole_rows:
            # All rows are one series, but each text stands by itself.
            if element == "text":
                yield from (Piece(step.values[0]) for step in steps)
            else:
                yield from chunks(self._of_one_static(steps), options)
            return

        # Where each row is a sequence, its number stands for a group.
        for _, inside in groupby(steps, key=attrgetter("group")):
            yield from self._sequence(inside, element)

    def _sequence(self, steps: Iterator[Step], element: Element) -> Iterator[Piece]:
        """Give the pieces of one sequence; where it has a label or a fold, none of them is empty.

        One that is answered may be empty as a whole. Raises `InputError` (RC042) where there is
        nothing that these could be of.
        """
        first = next(steps)
        own = self._of_one_label(first, chain([first], steps))
        pieces = self._joined(own) if element == "text" else chunks(own, self.options)
        said = first.label, first.fold, first.answer
        if said == (None, None, None):
            yield from with_name(pieces, first.group)
            return

        start = True
        for piece in pieces:
            if len(piece.values):
                made = labels.piece(piece.values, start, *said, None, first.time)
                yield made._replace(columns={**made.columns, **piece.columns})
                start = False
        if start and first.answer is not None:
            yield labels.piece("" if element == "text" else [], start, *said, None, first.time)
        elif start and self.options.missing != "drop":
            raise self._all_empty(first)

    def _of_one_label(self, first: Step, steps: Iterator[Step]) -> Iterator[Step]:
        """Give the steps of one sequence.

        Raises `InputError` (RC042) where its label, its fold or its answer changes.
        """
        for step in steps:
            if step.label != first.label:
                raise self._changing("label", first, first.label, step, step.label)
            if step.fold != first.fold:
                raise self._changing("fold", first, first.fold, step, step.fold)
            if step.answer != first.answer:
                raise self._changing("answer", first, first.answer, step, step.answer)
            for name, value in step.static.items():
                if not covariates.are_one(value, first.static[name]):
                    role, before = "static_covariates", first.static[name]
                    raise self._changing(role, first, before, step, value, name)
            if first.ahead:
                raise nothing_yet(self.where, first.place, first.group)
            yield step

    def _of_one_static(self, steps: Iterator[Step]) -> Iterator[Step]:
        """Give the steps of all rows as one sequence. Raises `InputError` (RC042)."""
        first = next(steps, None)
        return iter(()) if first is None else self._of_one_label(first, chain([first], steps))

    def _joined(self, steps: Iterator[Step]) -> Iterator[Piece]:
        """Give the texts of one group, with what stands between them."""
        separator = "\n" if self.options.separator is None else self.options.separator
        start = True
        for step in steps:
            (text,) = step.values
            yield Piece(str(text) if start else f"{separator}{text}", start, tags_of([step]))
            start = False

    def _all_empty(self, first: Step) -> InputError:
        """Return the error of a group of texts without a character, which begins with `first`."""
        fact = f"{self.where}:{first.place}: the texts of group {first.group!r} are all empty"
        cure = (
            'mend the rows, or set source.missing = "drop": then a group without a text is left out'
        )
        return InputError.of("RC042", fact, key="source.columns", cure=cure)

    def _changing(
        self, role: str, first: Step, before: Any, step: Step, here: Any, name: str = ""
    ) -> InputError:
        """Return the error of a sequence with two labels, or two folds, or two of a static one."""
        name = name or role
        told = ["nothing" if value != value else repr(value) for value in (here, before)]
        whose = "the series" if step.group is None else f"group {step.group!r}"
        fact = f"{self.where}:{step.place}: {whose} has the {name} {told[0]} here"
        fact += f", and {told[1]} at {self.where}:{first.place}: a sequence has one {name}"
        cure = "mend the rows, or name as source.group the column whose values have one"
        return InputError.of("RC042", fact, key=f"source.{role}", cure=f"{cure} {name} each")

    def _complete(self, rows: Iterator[Row | Many], element: Element) -> Iterator[Step]:
        """Give rows with every cell read, and missing ones mended as the task says.

        Raises `InputError` (RC042) with all that cannot be read, after the last row.
        """
        options = self.options
        beside = self.readers(element)
        if options.whole_rows:
            # The number of a row is its group, and stands behind the other cells.
            rows = self._unfolding(element).rows(cast(Iterator[Row], rows), beside)
            beside = [*beside, read_as.named]

        faults = Faults(options, element, self.where, self.unit)
        grouped = options.group is not None or options.whole_rows
        reader = self._reader(element)
        readers = [self._covariate(name) for name in options.covariates]
        mending = Mending(options, reader, beside, faults, self._name, grouped, readers)
        self._gaps = Gaps(grouped)
        steps = Steps(options, mending, self._markers, self._gaps, self.unit).read(rows)
        if options.missing == "interpolate":
            steps = self._interpolated(steps, mending)
        yield from steps

        faults.raise_any(mending.whole)
        self._warn_of_labels(beside)
        if mending.dropped and not mending.whole and not options.settled:
            raise self._all_dropped(mending.dropped)

    def _warn_of_labels(self, beside: list[Reader]) -> None:
        """Warn once (`Unsuited`) of labels that are several numbers and look like one."""
        if self._warned_of_labels:
            return
        self._warned_of_labels = True
        for name, read in zip(self.options.labels, beside, strict=False):
            if isinstance(read, LabelNumbers):
                read.warn(self.where, name)

    def _interpolated(self, steps: Iterator[Step], mending: Mending) -> Iterator[Step]:
        """Give steps whose missing numbers are on the line between those around them."""
        faults = mending.faults

        def note(step: Step, index: int, fault: str) -> None:
            faults.add(step.place, self._name(index, len(step.values)), None, fault)
            faults.note_missing(before=fault == NOTHING_AFTER)
            if self.options.settled:
                faults.raise_any(mending.whole)

        return Interpolation(self.options.longest_gap, note).filled(steps)

    def _name(self, index: int, width: int) -> str:
        """Return the name of a cell in a row of `width` elements: `high`, `high[1]`, the label."""
        columns = self.options.steps
        if width != len(columns):
            columns = indexed(columns[0], width)
        return [*columns, *self.options.beside][index]

    def _all_dropped(self, count: int) -> InputError:
        """Return the error of a table of which nothing is left."""
        names = ", ".join(self.options.named)
        where = f"all {count} rows of {self.where}"
        fact = f'missing = "drop" leaves out {where}: each lacks a cell of {names}'
        cure = "name columns that are filled, or another source.missing"
        return InputError.of("RC041", fact, key="source.missing", cure=cure)

    def readers(self, element: Element) -> list[Reader]:
        """Return what reads the cells beside those that are read, in their order."""
        options = self.options
        special: dict[str | None, Reader] = {
            options.fold: read_as.fold,
            options.answer: read_as.tokens if element == "tokens" else read_as.text,
            options.tags: read_as.of_steps(element, options.labels_of_steps is not None),
            options.time: read_as.stamp,
        }
        others = options.beside[len(options.labels) :]
        readers = [
            self._covariate(name)
            if name in options.static_covariates
            else self._markers.before(special.get(name, read_as.named))
            for name in others
        ]
        return [*(self._label_reader() for _ in options.labels), *readers]

    def _covariate(self, name: str) -> CovariateReader:
        """Return what reads the cells of a covariate."""
        is_names = True if name in self.options.categorical else None
        if self.categories is not None:
            is_names = name in self.categories
        number, names = self._reader("numbers"), self._markers.before(read_as.named)
        settled = self.options.settled or self.categories is not None
        return CovariateReader(name, number, names, is_names, settled)

    def _label_reader(self) -> Reader:
        """Return what reads a cell that is a label."""
        if self._numbers_labelled:
            return LabelNumbers(self.writing, self._markers)
        return self._markers.before(read_as.label)

    def _reader(self, element: Element) -> Reader:
        """Return what reads a cell as an element."""
        if element == "numbers":
            read: Reader = lambda cell: read_as.number(cell, self.number)  # noqa: E731
        elif element == "tokens":
            read = read_as.named
        else:
            filled = self.options.whole_rows and not self.options.prompts
            read = read_as.whole_text if filled else read_as.text
        return self._markers.before(read)

    def _no_column(
        self, name: str, columns: list[str], where: str = "", cure: str = ""
    ) -> InputError:
        """Return the error of a column that is none of those of the table."""
        fact = f"{self.where}{where} has no column {name!r}"
        allowed = ", ".join(columns[:20])
        if len(columns) > 20:
            allowed += f" and {len(columns) - 20} more"
        close = nearest(name, columns)
        key = self._key(name)
        return InputError.of("RC040", fact, key=key, allowed=allowed, nearest=close, cure=cure)

    def _twice(self, name: str, where: str) -> InputError:
        """Return the error of a name that several columns have."""
        fact = f"{self.where}{where} has several columns {name!r}"
        cure = "give each column a name of its own"
        return InputError.of("RC042", fact, key=self._key(name), cure=cure)

    def _key(self, name: str) -> str:
        """Return the option that names a column."""
        options = self.options
        if name in options.columns:
            return "source.columns"
        if name in options.labels:
            return "source.label"
        for role in ("answer", "tags", "time"):
            if name == getattr(options, role):
                return f"source.{role}"
        for role in covariates.ROLES:
            if name in getattr(options, role):
                return f"source.{role}"
        return "source.fold" if name == options.fold else "source.group"

    @property
    def keeps_missing(self) -> bool:
        """Whether what is missing of numbers and of covariates is given as such."""
        return self.options.missing == "keep"

    @property
    def named(self) -> str:
        """The column that names a sequence."""
        return self.options.group or "row"

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return what is read, and what is said of each sequence where columns of it are named."""
        options = self.options
        labelled, folded = bool(options.labels), options.fold is not None
        answered, tagged = options.answer is not None, options.tags is not None
        timed = options.time is not None
        own = labels.roles(self.offers, labelled, folded, answered, tagged, timed)
        return {**own, **covariates.roles(options)}

    def features(self) -> list[str]:
        """Return the names of the columns."""
        return list(self.options.columns)

    def features_of_lists(self) -> list[str]:
        """Return the names of the columns, in which a cell may hold a list.

        They are `x[0]`, `x[1]` and so on of one that holds several numbers a step. How many is read
        of the first row that tells.
        """
        names = list(self.options.columns)
        if not self.options.whole_rows or len(names) > 1:
            return names

        # Tags are as many as the elements, and these may be characters.
        unfolding = Unfolding(self.where, names, "numbers", self._markers)
        for _ in unfolding.rows(self.rows(), self.readers("numbers")):
            if unfolding.width:
                break
        return indexed(names[0], unfolding.width) if unfolding.width > 1 else names

    def _unfolding(self, element: Element) -> Unfolding:
        """Return what makes steps of rows that are sequences."""
        options = self.options
        tags = None if options.tags is None else options.beside.index(options.tags)
        return Unfolding(self.where, options.columns, element, self._markers, tags)

    def notes(self) -> list[str]:
        """Return how rows stand, where they had to be brought together."""
        apart = self._panel is not None and self._panel[1].apart
        groups = f"rows of several {self.options.group} stand in between each other"
        return [f"{groups}: those of each were brought together"] if apart else []

    def gaps(self) -> list[str]:
        """Return what the last reading left out before other rows of its sequence.

        That is rows, and blank lines.
        """
        return list(self._gaps.rows)
