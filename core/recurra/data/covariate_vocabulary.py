"""What a network reads of covariates: numbers scaled as the columns are, names one by one.

Of a column of names each category that training shows is an input by itself, which is 1 where it
stands and else 0, and one more is for all that training has not shown, and for none at all. A
number that is missing is read as what came last of it in its series, and beside it stands whether
it came, where some of it are missing in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Real
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import COVARIATES, FUTURE, PAST, STATIC, Role
from recurra.contracts.vocabulary import Vocabulary
from recurra.data import missing
from recurra.data.blocks import of_spans
from recurra.data.covariate_columns import Known, shown
from recurra.data.dated import Dated, Since
from recurra.data.intake import LARGEST, fit
from recurra.data.splits import Split
from recurra.data.store import Covariates, Store
from recurra.errors import InputError

Floats = NDArray[np.float64]

CALENDAR = "calendar"
"""What the features of stamps are saved as."""


class Rows(NamedTuple):
    """The covariates of a stretch of one series: numbers as they came, and the ids of names.

    `past` is `[n, P]`, and `future` `[m, Q]`, of the same steps and of those known ahead; `static`
    is `[K]`. Where features of time stamps are read it begins `since` one. What is missing is no
    number; `before` is what came last of the past and of the future before them, where any may be
    missing.
    """

    past: Floats
    future: Floats
    static: Floats
    since: Since | None = None
    before: tuple[Floats, Floats] | None = None

    def after(self, steps: int) -> Rows:
        """Return those of what comes after so many steps."""
        since = None if self.since is None else self.since.after(steps)
        parts, before = (self.past, self.future), self.before
        if before is None:
            before = np.full(self.past.shape[1], np.nan), np.full(self.future.shape[1], np.nan)
        past, future = (
            missing.latest(rows[:steps], last) for rows, last in zip(parts, before, strict=True)
        )
        return Rows(self.past[steps:], self.future[steps:], self.static, since, (past, future))

    def record(self) -> dict[str, Any]:
        """Return them as plain JSON; what is missing is None."""
        told: dict[str, Any] = {
            "past": missing.plain(self.past),
            "future": missing.plain(self.future),
            "static": missing.plain(self.static),
        }
        if self.since is not None:
            told["since"] = self.since.save()
        if self.before is not None:
            told["before"] = [missing.plain(last) for last in self.before]
        return told


@dataclass
class Table:
    """The known covariates of a role, and what scales those that are numbers.

    A row of it holds the numbers as they came, and the ids of names. Whether anything may be
    missing it says by `lacks`.
    """

    columns: list[Known]
    numbers: Vocabulary[Any]
    lacks: bool = False

    @property
    def names(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self.columns]

    @property
    def width(self) -> int:
        """How many numbers a network reads of a row."""
        return sum(column.width for column in self.columns)

    @property
    def of_numbers(self) -> list[int]:
        """The places of the columns of numbers."""
        return [at for at, column in enumerate(self.columns) if column.categories is None]

    def rows(self, given: Mapping[str, Any], what: str) -> Floats:
        """Return the rows `[n, C]` that lists of values hold, one for each column.

        `what` they are of is told where one cannot be read. Raises `InputError` (RC080).
        """
        columns = [_column(known, given[known.name], what, self.lacks) for known in self.columns]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            told = ", ".join(
                f"{name}: {len(column)}" for name, column in zip(self.names, columns, strict=True)
            )
            fact = f"the covariates {what} are not of as many steps each"
            raise InputError.of("RC080", fact, got=told, cure="give each as many values")
        return np.column_stack(columns)

    def encode(self, rows: Floats) -> Floats:
        """Return what a network reads of rows `[n, C]`, `[n, W]`; what is missing is no number."""
        read = np.zeros((len(rows), self.width))
        places = self.of_numbers
        if places and len(rows):
            scaled = np.asarray(self.numbers.encode(rows[:, places].copy()), np.float64)
        at, number = 0, 0
        for index, column in enumerate(self.columns):
            if not len(rows):
                break
            if column.categories is None:
                read[:, at] = scaled[:, number]
                if column.flagged:
                    read[:, at + 1] = ~np.isnan(rows[:, index])
                number += 1
            else:
                read[np.arange(len(rows)), at + rows[:, index].astype(np.int64)] = 1.0
            at += column.width
        return read

    def places(self) -> list[int]:
        """Return of which column each of the numbers is that a network reads of a row."""
        return [at for at, column in enumerate(self.columns) for _ in range(column.width)]

    def standing(self, rows: Floats, carried: Floats) -> Floats:
        """Return what a network reads of rows that hang on none before them, `[n, W]`.

        `carried` `[n, C]` are these with what came last for what is missing, which is read as 0
        where nothing did.
        """
        read = self.encode(rows)
        if np.isnan(read).any():
            read = np.where(np.isnan(read), self.encode(carried), read)
            read[np.isnan(read)] = 0.0
        return read


def filled(read: Floats, before: Floats | None = None) -> Floats:
    """Return what a network reads of steps, `[n, W]`, with what came last for what is missing.

    `before` `[W]` was read of the step before; without one nothing has come.
    """
    if not np.isnan(read).any():
        return read
    state = missing.begun(read.shape[1])
    if before is not None:
        state[0] = before
    return missing.carry(read, state).rows


@dataclass
class CovariateVocabulary:
    """The covariates that a network reads beside numbers, by their role.

    A row of what it reads holds the elements, then the covariates of the past, those of the future
    of the step after, the features of its time stamp, if it is `dated`, and static ones. Where
    several steps `ahead` are answered at once, those of the future and of stamps are those of the
    step itself, and those of the steps ahead are read with the answers.
    """

    tables: dict[Role, Table] = field(default_factory=dict)
    ahead: int = 0
    dated: Dated | None = None

    @property
    def width(self) -> int:
        """How many numbers a network reads of them at a step."""
        of_stamps = 0 if self.dated is None else self.dated.width
        return of_stamps + sum(table.width for table in self.tables.values())

    def names(self, role: Role) -> list[str]:
        """Return what those of a role are called."""
        return self.tables[role].names if role in self.tables else []

    @property
    def coming(self) -> int:
        """How many numbers a network reads of each step ahead that is answered."""
        if not self.ahead:
            return 0
        return self.width_of(FUTURE) + (0 if self.dated is None else self.dated.width)

    def width_of(self, role: Role) -> int:
        """How many of these are of a role."""
        return self.tables[role].width if role in self.tables else 0

    @property
    def categories(self) -> frozenset[str]:
        """The covariates that are names of categories."""
        columns = [column for table in self.tables.values() for column in table.columns]
        return frozenset(column.name for column in columns if column.categories is not None)

    def reach(self, count: int, rows: Rows, steps: int) -> int:
        """Return how many of the next steps can be told behind `count` that have come with rows."""
        if PAST in self.tables and not self.ahead:
            steps = min(steps, 1)
        return min(steps, len(rows.future) - count) if FUTURE in self.tables else steps

    def inputs(self) -> list[str]:
        """Return what the numbers are called that a network reads."""
        names: list[str] = []
        for role in COVARIATES:
            if role == STATIC and self.dated is not None:
                names += self.dated.calendar.inputs()
            if role in self.tables:
                names += [name for each in self.tables[role].columns for name in each.inputs()]
        return names

    def scales(self) -> list[str]:
        """Return how the covariates of numbers are scaled, as far as their vocabulary says it."""
        said = []
        for table in self.tables.values():
            saved = table.numbers.save() if table.of_numbers else {}
            names = [table.names[index] for index in table.of_numbers]
            pairs = zip(names, saved.get("shift", ()), saved.get("scale", ()), strict=False)
            said += [f"{name}: (x - {shift:zg}) / {scale:zg}" for name, shift, scale in pairs]
            said += table.numbers.notes() if table.of_numbers else []
        return said

    def rows(
        self, tables: Mapping[Role, Mapping[str, Any]], what: str, since: Since | None = None
    ) -> Rows:
        """Return the covariates of one series that a source gives.

        `what` they are of is told where one cannot be read. Raises `InputError` (RC080).
        """
        parts: dict[Role, Floats] = {role: np.zeros((0, 0)) for role in COVARIATES}
        for role, table in self.tables.items():
            given: Mapping[str, Any] = tables[role]
            if role == STATIC:
                given = {name: [value] for name, value in given.items()}
            parts[role] = table.rows(given, what)
        static = parts[STATIC][0] if STATIC in self.tables else np.zeros(0)
        return Rows(parts[PAST], parts[FUTURE], static, since)

    @classmethod
    def fitted(
        cls,
        covariates: Covariates,
        store: Store,
        train: Split,
        vocabulary: Vocabulary[Any],
        like: CovariateVocabulary | None = None,
        place: Callable[[int], str] = str,
    ) -> CovariateVocabulary:
        """Return what training shows of covariates; numbers are scaled as the vocabulary does.

        The categories are those of another, where one is given; `place` says in words where a
        position lies. Raises `InputError` (RC041) for more of them than can be told apart, and that
        of the vocabulary for the rows that it refuses.
        """
        made = cls()
        for role in COVARIATES:
            columns = covariates.of(role)
            if not columns:
                continue
            table = Table([], vocabulary.of_covariates(), vocabulary.missing is not None)
            if like is not None:
                table.columns = [*like.tables[role].columns]
            else:
                blocks = _rows(covariates, role, store, train)
                table.columns = shown(columns, blocks)
            if table.of_numbers:
                blocks, where = _rows(covariates, role, store, train), place
                if role == STATIC:
                    sequences = store.sequence(train.begin).tolist()
                    where = [sequence_called(each) for each in sequences].__getitem__
                _fit(table, vocabulary, blocks, covariates, where)
            made.tables[role] = table
        return made

    def fits(self, covariates: Covariates | None, owner: str, dated: Dated | None = None) -> None:
        """Refuse other covariates, or stamps, than those that a run, the `owner`, reads.

        Raises `InputError` (RC030).
        """
        if self.dated is not None:
            self.dated.fits(dated, owner)
        elif dated is not None:
            fact = f"{owner} reads no features of time stamps, and this task does"
            cure = "leave source.calendar out"
            raise InputError.of("RC030", fact, key="source.calendar", cure=cure)
        here: dict[Role, list[str]] = {}
        for column in covariates.columns if covariates else ():
            here.setdefault(column.role, []).append(column.name)
        for role in COVARIATES:
            known = self.names(role)
            if here.get(role, []) != known:
                fact = f"{owner} reads as {role} {_listed(known)}, and this data gives"
                fact += f" {_listed(here.get(role, []))}"
                raise InputError.of("RC030", fact, key="source", cure="give it the same columns")
        if covariates is None or any(table.lacks for table in self.tables.values()):
            return
        if lacking := missing.covariates_lacking(covariates):
            fact = f"{owner} was trained on data in which nothing may be missing, and of this"
            fact += f" some covariates are: {_listed(lacking)}"
            cure = "fill them in, or train with source.missing as it is here"
            raise InputError.of("RC030", fact, key="source.missing", cure=cure)

    def save(self) -> dict[str, Any]:
        """Return what was learned, as plain JSON."""
        saved: dict[str, Any] = {
            role: {
                "columns": [[column.name, column.categories] for column in table.columns],
                "numbers": table.numbers.save() if table.of_numbers else {},
            }
            for role, table in self.tables.items()
        }
        for role, table in self.tables.items():
            if table.lacks:
                columns = enumerate(table.columns)
                saved[role]["missing"] = [at for at, column in columns if column.flagged]
        return saved if self.dated is None else {**saved, CALENDAR: self.dated.save()}

    @classmethod
    def restored(cls, saved: Mapping[str, Any], vocabulary: Vocabulary[Any]) -> CovariateVocabulary:
        """Return what was saved. Raises any error if it is not that."""
        made = cls()
        for role in COVARIATES:
            if role not in saved:
                continue
            flagged = saved[role].get("missing", ())
            columns = [
                Known(str(name), names, at in flagged)
                for at, (name, names) in enumerate(saved[role]["columns"])
            ]
            table = Table(columns, vocabulary.of_covariates(), "missing" in saved[role])
            if table.of_numbers:
                table.numbers.restore(saved[role]["numbers"])
                if table.numbers.size != len(table.of_numbers):
                    raise ValueError(f"the scale of {role} is not of {len(table.of_numbers)}")
            made.tables[role] = table
        if CALENDAR in saved:
            made.dated = Dated.restored(saved[CALENDAR])
        if not saved or len(made.tables) + (CALENDAR in saved) != len(saved):
            raise ValueError("it holds no covariates")
        return made


def _column(known: Known, values: Any, what: str, lacks: bool) -> Floats:
    """Return a column of given values as numbers `[n]`, of which some may lack: None or nan.

    Raises `InputError` (RC080).
    """
    try:
        listed = [values] if isinstance(values, str) else list(values)
    except TypeError:
        listed = [values]
    numbers = []
    for at, value in enumerate(listed):
        where = f"the covariate {known.name!r} {what}"
        if len(listed) > 1:
            where += f" at step {at} of them"
        nothing = value is None or (isinstance(value, Real) and value != value)
        if lacks and nothing:
            numbers.append(np.nan if known.categories is None else float(known.ids([None])[0]))
            continue
        if known.categories is not None and isinstance(value, str | int | np.integer):
            if not isinstance(value, bool) and str(value).strip():
                numbers.append(float(known.ids([str(value)])[0]))
                continue
        elif known.categories is None and isinstance(value, Real) and not isinstance(value, bool):
            if abs(float(value)) <= LARGEST:
                numbers.append(float(value))
                continue
        needed = f"a finite number, of no more than {LARGEST:g}"
        if known.categories is not None:
            needed = "the name of a category"
        fact = f"{where} must be {needed}"
        if nothing:
            fact += "; in what this run was trained on nothing may be missing"
        raise InputError.of("RC080", fact, got=repr(value)[:60])
    return np.array(numbers)


def sequence_called(sequence: int) -> str:
    """Return what a sequence is called, by its place."""
    return f"sequence {sequence + 1}"


def _rows(
    covariates: Covariates, role: Role, store: Store, part: Split
) -> Iterator[tuple[int, Floats]]:
    """Give the rows `[n, C]` of a role in a split, in blocks, and where each begins.

    Of static ones there is one, a row for each sequence of the split.
    """
    if role == STATIC:
        yield 0, covariates.static[store.sequence(part.begin)]
        return
    assert covariates.steps is not None, "there are covariates of steps"
    own = covariates.part(role)
    low = part.begin if part.whole else part.low
    for rows in of_spans(low, part.high):
        yield rows.start, np.asarray(covariates.steps.values[rows, own])


def _fit(
    table: Table,
    vocabulary: Vocabulary[Any],
    blocks: Iterable[tuple[int, Floats]],
    covariates: Covariates,
    place: Callable[[int], str],
) -> None:
    """Fit what scales the numbers of a table; a vocabulary may know them by their names.

    Raises its `InputError`, which names the rows that it refuses.
    """
    places = table.of_numbers
    own = [table.names[index] for index in places]
    of_numbers = [column.name for column in covariates.columns if column.names is None]
    beside = [name for name in of_numbers if name not in own]

    def alone() -> Vocabulary[Any]:
        numbers = vocabulary.of_covariates()
        numbers.prepare(own, beside)
        return numbers

    table.numbers.prepare(own, beside)
    rows = ((start, block[:, places]) for start, block in blocks)
    fit(table.numbers, rows, alone, place)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"
