"""What a task says of a table: its columns, what they are for, and what missing cells become."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import PrivateAttr, field_validator, model_validator

from recurra import CalendarWord, Field, FilePath, Frequency, Options, Timeline
from recurra_sources.applying import For
from recurra_sources.calendar_options import (
    DAYS,
    Order,
    check_fourier,
    check_holidays,
    check_words,
)
from recurra_sources.encodings import ERRORS, Encoding, Errors

Numbers: TypeAlias = Literal[
    "auto", "integer", "yyyymm", "yyyymmdd", "second", "millisecond", "microsecond", "nanosecond"
]
"""What a whole number is as a time stamp."""
OF_STEPS = For("numbers", "tokens")
"""What counts where a row is a step."""


class RowOptions(Options):
    """Options of whatever gives rows: the columns, and what they are for."""

    columns: list[str] = Field(
        min_length=1, description="the columns to read; several give several features"
    )
    group: str | None = Field(
        None,
        description=(
            "column that tells which sequence a row belongs to; rows of several that stand in"
            " between each other are brought together, on disk beyond 64 MiB"
        ),
    )
    label: str | list[str] | None = Field(
        None,
        description=(
            "column that tells the label of each sequence, which all rows of a group share; without"
            " a group each row is a sequence by itself: a text, tokens between white space, numbers"
            " of one step, or (jsonl) a list; where numbers answer, of each cell one or several,"
            " between blanks or (jsonl) in a list, and it may be a list of columns"
        ),
    )
    answer: Annotated[str | None, For("text", "tokens")] = Field(
        None,
        description=(
            "column that holds what is to follow each sequence, text or tokens as it is, and"
            " possibly nothing; all rows of a group share it, and without a group each row is a"
            " sequence by itself, of a text that may be empty too"
        ),
    )
    fold: str | None = Field(
        None,
        description=(
            "column that tells the split of each sequence, train, validation or test, which all"
            " rows of a group share; without a group each row is a sequence by itself;"
            " sequence.split is then left out"
        ),
    )
    tags: str | None = Field(
        None,
        description=(
            "column that tells a tag for each element: of a group the cell of each row; without a"
            " group each row is a sequence by itself, and has as many tags as characters, tokens or"
            " steps, between white space or in a list"
        ),
    )
    time: Annotated[str | None, OF_STEPS] = Field(
        None,
        description=(
            "column that holds the time stamp of each row: ISO 8601, months, quarters, weeks,"
            " epochs or whole numbers; it is held to its order and to regular steps, and not fed to"
            " the network"
        ),
    )
    frequency: Annotated[str | None, OF_STEPS] = Field(
        None,
        description=(
            "how far stamps are apart: year, quarter, month, week, day, business day, hour, minute"
            " or second, or several, as 15 minutes, or a month end; left out, what most of them"
            " are; none holds them to their order alone"
        ),
    )
    gaps: Annotated[Literal["error", "fill"], OF_STEPS] = Field(
        "error",
        description=(
            "rows that are missing between two stamps: refuse them (error), or put in empty ones"
            " (fill), which missing fills"
        ),
    )
    time_zone: Annotated[str, OF_STEPS] = Field(
        "",
        description=(
            "the zone, such as Europe/Berlin, whose clocks stamps without an offset are of, and"
            " whose days are those of a daily series"
        ),
    )
    time_numbers: Annotated[Numbers, OF_STEPS] = Field(
        "auto",
        description=(
            "what a whole number is as a stamp; auto is told by the first one: a month or a day of"
            " the years 1800 to 2199, a number below 1e8, or what has passed since 1970, in seconds"
            " below 1e11, then in milliseconds, microseconds and nanoseconds"
        ),
    )
    calendar: Annotated[list[CalendarWord], For("numbers")] = Field(
        [],
        description=(
            "features of time stamps that are read beside numbers, and known of every step to come:"
            " where a step stands in its hour (minute), day (hour), week (weekday), month (day) or"
            " year (day of year, week, month, quarter), each as a sine and a cosine, and whether it"
            " is of a weekend, 1 or 0"
        ),
    )
    fourier: Annotated[dict[str, Order], For("numbers")] = Field(
        {},
        description=(
            "how many waves of a period are read of time stamps, each a sine and a cosine: of a"
            " minute, hour, day, week, month, quarter or year, as { year = 3 }, or of so many"
            ' steps, as { "36.5 steps" = 2 }'
        ),
    )
    holidays: Annotated[list[str], For("numbers")] = Field(
        [],
        max_length=DAYS,
        description=(
            "dates, as 2025-12-25: whether a step is of one of them is read beside it, 1 or 0"
        ),
    )
    past_covariates: Annotated[list[str], For("numbers")] = Field(
        [],
        description=(
            "columns that are read beside those of `columns`, and not predicted, and that are known"
            " of a step once it has come: the step after is predicted from them; of numbers, or"
            " where the first cell is none, of names of categories"
        ),
    )
    future_covariates: Annotated[list[str], For("numbers")] = Field(
        [],
        description=(
            "columns, as past_covariates, that are known of a step before it comes: it is predicted"
            " from its own; rows at the end of a series in which all of `columns` are empty hold"
            " those of steps to come"
        ),
    )
    static_covariates: Annotated[list[str], For("numbers")] = Field(
        [],
        description=(
            "columns of which each series has one value, a number or the name of a category, that"
            " all its rows share"
        ),
    )
    categorical: Annotated[list[str], For("numbers")] = Field(
        [],
        description="covariates that are names of categories though their first cell is a number",
    )
    separator: Annotated[str | None, For("text")] = Field(
        None,
        description="what stands between the rows of a group of text; left out, a newline",
    )
    missing: Annotated[
        Literal["error", "forward", "interpolate", "drop", "keep"],
        For("numbers", value="keep"),
        For("numbers", "tokens", value="forward"),
        For("numbers", value="interpolate"),
    ] = Field(
        "error",
        description=(
            "an empty cell: refuse it (error), take the value of the row before in its sequence"
            " (forward) or the number on the line to the next one (interpolate; of names the one"
            " before), leave the row out (drop), or let the number be missing (keep): the network"
            " reads the last one and that it is missing, and is not asked for it; of a csv file an"
            " empty text is a text, but not where it would be a whole sequence that has a label or"
            " a fold, but no answer"
        ),
    )
    longest_gap: int = Field(
        0,
        ge=0,
        le=1 << 30,
        description=(
            "how many empty cells one after the other forward and interpolate may fill; 0 is any"
            " number"
        ),
    )
    na: list[str] = Field(
        default=[],
        description=(
            "cells that are empty ones too, such as N/A, - and -999: they match as they are"
            " written, and as the number that they are where numbers are read"
        ),
    )
    # Of another file than a run's: whether its rows are whole too, and may be answered.
    _alike: bool | None = PrivateAttr(default=None)
    _prompts: bool = PrivateAttr(default=False)
    # What says of each step of new rows what it is.
    _labels: str | None = PrivateAttr(default=None)

    @property
    def settled(self) -> bool:
        """Whether a run has settled all but the file: nobody can change an option."""
        return self._alike is not None

    @property
    def may_drop(self) -> bool:
        """Whether rows may be left out: of a series with regular stamps they would be gaps."""
        return self.time is None or self.frequency == "none"

    @field_validator(
        "columns",
        "na",
        "past_covariates",
        "future_covariates",
        "static_covariates",
        "categorical",
    )
    @classmethod
    def _names_differ(cls, names: list[str]) -> list[str]:
        check_words(names)
        return names

    @field_validator("na")
    @classmethod
    def _markers_are_cells(cls, markers: list[str]) -> list[str]:
        for marker in markers:
            if not marker.strip():
                raise ValueError(f"{marker!r} is an empty cell, which is one already")
            if marker != marker.strip():
                raise ValueError(f"{marker!r} has spaces around it, as no cell that is compared")
        return markers

    @model_validator(mode="after")
    def _gaps_are_filled(self) -> Self:
        if self.longest_gap and self.missing not in ("forward", "interpolate"):
            raise ValueError(
                f'longest_gap: it is for missing = "forward" and "interpolate", and missing is'
                f" {self.missing!r}"
            )
        return self

    @model_validator(mode="after")
    def _separator_has_a_group(self) -> Self:
        if self.separator is not None and self.group is None:
            raise ValueError(
                "separator: it stands between the rows of a group, and no group is named"
            )
        return self

    @model_validator(mode="after")
    def _label_stands_apart(self) -> Self:
        if self.label == []:
            raise ValueError("label: it names no column")
        self._names_differ(self.labels)
        for label in self.labels:
            if label in self.columns:
                raise ValueError(
                    f"label: {label!r} is one of the columns that are read, and would give itself"
                    " away"
                )
            if label == self.group:
                raise ValueError(
                    f"label: {label!r} is the group too: each sequence would be a class by itself"
                )
        return self

    @model_validator(mode="after")
    def _fold_stands_apart(self) -> Self:
        others = {name: "one of the columns that are read" for name in self.columns}
        for label in self.labels:
            others.setdefault(label, "the label")
        if self.group:
            others.setdefault(self.group, "the group")
        if self.fold in others:
            what = others[self.fold]
            raise ValueError(f"fold: {self.fold!r} is {what} too: it must be a column by itself")
        return self

    @model_validator(mode="after")
    def _answer_and_tags_stand_apart(self) -> Self:
        others = {name: "one of the columns that are read" for name in self.columns}
        others |= {name: "the label" for name in self.labels}
        for role in ("fold", "group", "answer", "tags", "time"):
            name = getattr(self, role)
            if role in ("answer", "tags", "time") and name in others:
                raise ValueError(
                    f"{role}: {name!r} is {others[name]} too: it must be a column by itself"
                )
            if name:
                others.setdefault(name, f"the {role}")
        return self

    @model_validator(mode="after")
    def _stamps_are_known(self) -> Self:
        if self.time is None:
            settings = ("frequency", "gaps", "time_zone", "time_numbers")
            for name in (*settings, "calendar", "fourier", "holidays"):
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise ValueError(f"{name}: it is about time stamps, and time names no column")
            return self
        if self.frequency not in (None, "none"):
            try:
                Frequency.named(str(self.frequency))
            except ValueError as error:
                raise ValueError(f"frequency: {error}") from error
        if self.time_zone:
            try:
                ZoneInfo(self.time_zone)
            except (ZoneInfoNotFoundError, ValueError, OSError) as error:
                raise ValueError(
                    f"time_zone: {self.time_zone!r} is no zone that is known here, such as"
                    " Europe/Berlin; where there is no database of them, pip install tzdata"
                ) from error
        return self

    @field_validator("calendar")
    @classmethod
    def _words_differ(cls, words: list[CalendarWord]) -> list[CalendarWord]:
        check_words(words)
        return words

    @field_validator("fourier")
    @classmethod
    def _periods_are_known(cls, fourier: dict[str, int]) -> dict[str, int]:
        check_fourier(fourier)
        return fourier

    @field_validator("holidays")
    @classmethod
    def _holidays_are_dates(cls, holidays: list[str]) -> list[str]:
        check_holidays(holidays)
        return holidays

    @model_validator(mode="after")
    def _stamps_go_on(self) -> Self:
        for name in ("calendar", "fourier", "holidays"):
            if self.frequency == "none" and getattr(self, name):
                raise ValueError(
                    f'{name}: with frequency = "none" nobody knows the stamp of a step to come:'
                    " leave frequency out, or name one"
                )
        return self

    @model_validator(mode="after")
    def _no_step_is_left_out(self) -> Self:
        if self.time is None:
            return self
        said = (self.label, self.fold, self.answer, self.tags)
        if self.group is None and any(name is not None for name in said):
            raise ValueError(
                "time: it tells the steps of a series, and each row is a sequence here: name as"
                " group the column that tells whose step a row is"
            )
        if self.missing == "drop" and not self.may_drop:
            raise ValueError(
                "missing: rows that are left out would be gaps in time: take forward,"
                ' interpolate or keep, or frequency = "none"'
            )
        if self.gaps == "fill" and (self.missing == "error" or self.frequency == "none"):
            raise ValueError(
                "gaps: what is put in is empty, and missing says how it is filled: forward,"
                ' interpolate or keep, where frequency is not "none"'
            )
        return self

    @property
    def timeline(self) -> Timeline:
        """How stamps are read, as far as the task says."""
        return Timeline(None, self.time_zone, self.time_numbers)

    @model_validator(mode="after")
    def _covariates_stand_apart(self) -> Self:
        others = {name: "one of the columns that are read" for name in self.columns}
        others |= {name: "the label" for name in self.labels}
        for role in ("fold", "group", "answer", "tags", "time"):
            if name := getattr(self, role):
                others.setdefault(name, f"the {role}")
        roles = ("past_covariates", "future_covariates", "static_covariates")
        for role in roles:
            for name in getattr(self, role):
                if name in others:
                    raise ValueError(
                        f"{role}: {name!r} is {others[name]} too: it must be a column by itself"
                    )
                others[name] = f"one of {role}"

        named = [name for role in roles for name in getattr(self, role)]
        for name in self.categorical:
            if name not in named:
                raise ValueError(f"categorical: {name!r} is none of the covariates")
        return self

    @property
    def labels(self) -> list[str]:
        """The columns that hold labels; of classes there is one."""
        if self.label is None:
            return []
        return [self.label] if isinstance(self.label, str) else self.label

    @property
    def beside(self) -> list[str]:
        """The columns that say something of a sequence, where named; the group is the last."""
        said = (self.fold, self.answer, self.tags, self.time, *self.static_covariates, self.group)
        return [name for name in (*self.labels, *said) if name is not None]

    @property
    def covariates(self) -> list[str]:
        """The columns that say something of each step, beside those that are read."""
        return [*self.past_covariates, *self.future_covariates]

    @property
    def steps(self) -> list[str]:
        """The columns that each step has a cell of."""
        return [*self.columns, *self.covariates]

    @property
    def prompts(self) -> bool:
        """Whether sequences are followed by answers: then an empty text is one too."""
        return self._prompts or self.answer is not None

    @property
    def named(self) -> list[str]:
        """The columns to read, and after them those beside."""
        return [*self.steps, *self.beside]

    @property
    def whole_rows(self) -> bool:
        """Whether each row is a whole sequence."""
        if self._alike is not None:
            return self._alike
        said = (self.label, self.fold, self.answer, self.tags)
        return self.group is None and any(name is not None for name in said)

    def labelled(self, column: str) -> Self:
        """Return the same options, of which `for_new` reads what a column says of each step."""
        other = self.model_copy()
        other._labels = column
        return other

    @property
    def labels_of_steps(self) -> str | None:
        """The column that says of each step of new rows what it is."""
        return self._labels if self.settled else None

    def for_new(self, **changed: Any) -> Self:
        """Return the same options, without labels, for other rows of the same form."""
        beside = {"label": None, "fold": None, "answer": None, "tags": self._labels}
        other = self.model_copy(update={**beside, **changed})
        other._alike = self.whole_rows
        other._prompts = self.prompts
        return other


class FileOptions(Options):
    """Options of what reads one file."""

    path: FilePath = Field(description="the file; .gz is unpacked")


class TableOptions(RowOptions, FileOptions):
    """Options of what reads the rows of one file."""

    columns: list[str] = Field(
        [],
        description=(
            "the columns to read; several give several features; left out where a table has"
            " unique_id, ds and y alone, they are group, time and column"
        ),
    )

    def over(self, path: str) -> Self:
        """Return the same options, without labels, for another file with rows as they were."""
        return self.for_new(path=path)


class WrittenOptions(TableOptions):
    """Options of csv and jsonl, which are text."""

    encoding: Encoding = Field("utf-8", description="how the file's bytes are read")
    errors: Errors = Field("strict", description=ERRORS)
