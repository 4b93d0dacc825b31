"""The contract of a source: where sequences come from."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeAlias, TypeVar

from recurra.contracts.calendar import Calendar
from recurra.contracts.options import Options
from recurra.contracts.timeline import Timeline
from recurra.contracts.vocabulary import Element, Values
from recurra.errors import InputError

O = TypeVar("O", bound=Options)  # noqa: E741


Role: TypeAlias = Literal[
    "input",
    "label",
    "answer",
    "fold",
    "series",
    "tags",
    "time",
    "past_covariates",
    "future_covariates",
    "static_covariates",
]
"""What a column of the data is for.

`input` is what is read, step by step, `tags` is one text for each of its elements, and `answer`
what is to follow a sequence, of the same elements and possibly of none; the others are one text a
sequence, its `label`, the `fold` that it is in (train, validation or test), what it is called,
`series`, and the `time` stamp of its first element, from which those of all others follow.

Covariates are read beside numbers, and not asked for: of each step those of the `past`, which are
known once it has come, and those of the `future`, which are known before, and `static` ones of a
sequence (came with API 1.1).
"""

TAGS: Role = "tags"
PAST: Role = "past_covariates"
FUTURE: Role = "future_covariates"
STATIC: Role = "static_covariates"
OF_STEPS: tuple[Role, ...] = (TAGS, PAST, FUTURE)
"""What is said of each element, and not once of a sequence."""
COVARIATES: tuple[Role, ...] = (PAST, FUTURE, STATIC)
"""What is read beside the input, in the order in which a network reads it."""

FOLDS: tuple[str, ...] = ("train", "validation", "test")
"""What a fold can be."""

NO_LABEL = "-"
"""The tag of a step of which a column of labels says nothing."""

NONE: Mapping[Any, Any] = MappingProxyType({})


class Piece(NamedTuple):
    """A run of elements that follow each other; `start` tells that a new sequence begins with it.

    `columns` holds what other columns say, by their role: the piece that starts a sequence has its
    `label`, its `answer`, its `fold` and its `time`. Every piece has the `tags` of its own
    elements, a list of texts that is as long as `values`.

    Covariates are tables, of which each column has its name: numbers `[n]`, or a list of texts, the
    names of categories. Those of the `future` may go on behind `values` in the last piece of a
    sequence: they are of steps that are still to come. A `static` one is a number or a text, in the
    piece that starts a sequence. Of a source that keeps what is missing, nan is a number that is,
    None a name in a list that is, and either or nan a static one.
    """

    values: Values
    start: bool = True
    columns: Mapping[Role, Any] = NONE


class Source(ABC, Generic[O]):
    """Gives sequences, piece by piece, so that a corpus larger than memory can pass through.

    `offers` says what elements it can give; it is asked for one of them. Reading twice gives the
    same pieces.
    """

    offers: ClassVar[tuple[Element, ...]] = ("text",)
    label_elements: Literal["symbols", "numbers"] = "symbols"
    """Whether a label is the name of a class or holds numbers: whoever reads says so before.

    Numbers stand in the text of a label as Python writes them, several with blanks between them,
    however the data writes them. A source that does not look at it gives its labels as they are
    (came with API 1.1).
    """

    categories: frozenset[str] | None = None
    """The covariates that are names of categories, where whoever reads has learned that.

    Else the source says so itself, by the values that it gives (came with API 1.1).
    """

    def __init__(self, options: O) -> None:
        self.options = options

    @property
    def keeps_missing(self) -> bool:
        """Whether what is missing of numbers and of covariates is given, as what is no number.

        By default nothing may be (came with API 1.1).
        """
        return False

    @abstractmethod
    def read(self, element: Element) -> Iterator[Piece]:
        """Give the pieces in order.

        Raises `InputError` (RC040, RC042) that names the file and the row.
        """

    @abstractmethod
    def fingerprint(self) -> str:
        """Return a text that changes whenever what `read` gives would change; must be cheap."""

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return the columns that it gives, by their role, and what elements each can be.

        One that gives a `fold` decides the splits: `sequence.split` is then left out.
        """
        return {"input": self.offers}

    @property
    def named(self) -> str:
        """How the column is called that names a sequence; where there is none they are counted."""
        return "row"

    def over(self, path: str) -> Source[O]:
        """Return a source that reads another file in the same form, for predictions.

        Its sequences have no answers. Its pieces may carry `series`, and hold an `InputError` for a
        sequence that cannot be read, in place of its elements: the rest is read all the same.
        Raises `InputError` (RC080) where this kind of source reads no file.
        """
        raise InputError.of(
            "RC080",
            "the source of this run reads no file",
            cure="give --text or --values, or rows in Python",
        )

    def labelled(self, column: str) -> Source[O]:
        """Return a source of which `over` and `over_data` give the cells of a column as `tags`.

        They are what is said of each step of numbers, as text; an empty cell is `NO_LABEL`. Raises
        `InputError` (RC080) where this kind of source has no such columns (came with API 1.1).
        """
        fact = f"the source of this run has no column {column!r} of labels"
        raise InputError.of("RC080", fact, key="labels", cure="leave labels out")

    def over_data(self, data: Any) -> Source[O]:
        """Return a source of other data that a program has at hand, for predictions, as `over`.

        Raises `InputError` (RC080) where this kind of source has its own (came with API 1.1).
        """
        raise InputError.of(
            "RC080",
            "the source of this run has data of its own, and takes none",
            cure="give rows, or a file of the form of the run's data",
        )

    def take(self, data: Any) -> O:
        """Take data that a program has at hand; return the options with what they say of it.

        These are what a run records, and what its `columns` are told from where the data is not at
        hand. A source that must be given data lacks the capability `data`. Raises `InputError`
        (RC080) where this kind of source has its own (came with API 1.1).
        """
        raise InputError.of(
            "RC080",
            "the source of this task has data of its own, and takes none",
            key="source.kind",
            cure="leave data out, or the source",
        )

    def features(self) -> list[str]:
        """Return the names of the columns of numbers, where they have names."""
        return []

    def notes(self) -> list[str]:
        """Return what the report is to tell of how the data was read, once it was.

        It came with API 1.1.
        """
        return []

    def timeline(self) -> Timeline | None:
        """Return how the time stamps of sequences go on; none where there are none.

        It is known once the data was read. A source that has one gives the role `time`, and leaves
        no step out between two others (came with API 1.1).
        """
        return None

    def calendar(self) -> Calendar | None:
        """Return the features of time stamps that are read beside numbers, if any are.

        They are computed of the first stamp of a sequence and of `timeline`: a source that has some
        has a timeline with a frequency. It is known before the data is read (came with API 1.1).
        """
        return None

    def gaps(self) -> list[str]:
        """Return the rows that the last `read` left out before others of their sequence.

        They are written as a person would find them. A step after such a gap stands at another
        position than in the data: where positions count, as under a clock, the task is refused. A
        source that leaves nothing out has none.
        """
        return []
