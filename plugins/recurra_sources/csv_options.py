"""What a task says of a csv file beside what it says of every table: how cells are written."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, JsonValue, model_validator

from recurra import Field
from recurra_sources.applying import For
from recurra_sources.csv_rows import Form
from recurra_sources.numbers import Percent, Writing
from recurra_sources.table_options import WrittenOptions


def _mark(character: str) -> str:
    """Return a character that may stand between cells. Raises `ValueError`."""
    if len(character) != 1 or character in '"\r\n':
        raise ValueError("it must be one character, and no quote or line end")
    return character


def _quote(character: str) -> str:
    """Return a character that may stand around cells, or none. Raises `ValueError`."""
    unfit = character.isalnum() or character.isspace()
    if len(character) > 1 or unfit:
        raise ValueError(
            "it must be one character, and no letter, digit, space or line end; an empty text is no"
            " quote at all"
        )
    return character


def _decimal_mark(character: str) -> str:
    """Return a character that may stand before decimals. Raises `ValueError`."""
    of_numbers = character.isalnum() or character in "+-_%"
    if len(character) != 1 or of_numbers or character.isspace() or character in "\"'":
        raise ValueError('it must be one character, as in "." or ","')
    return character


def _thousands_mark(character: str | None) -> str | None:
    """Return a character that may stand between thousands, if any. Raises `ValueError`."""
    if character is None:
        return None
    of_numbers = character.isalnum() or character in "+-%"
    if len(character) != 1 or of_numbers or character in '"\r\n\t':
        raise ValueError('it must be one character, as in "," or " "')
    return character


def _beginning(text: str) -> str:
    """Return what a comment may begin with, or nothing. Raises `ValueError`."""
    if text != text.strip() or any(mark in text for mark in "\r\n"):
        raise ValueError("it must be a text without spaces around it, in one line")
    return text


ONE: dict[str, JsonValue] = {"minLength": 1, "maxLength": 1}
"""What the JSON Schema says of a mark."""
NUMBER = re.compile("[1-9][0-9]*")
"""How a column without a name is called."""
OF_NUMBERS = For("numbers", labels=True)
"""How numbers are written, those that are read and those that are labels."""
AT_MOST_ONE: dict[str, JsonValue] = {"maxLength": 1}
"""What it says of one that may be left out."""


class CsvOptions(WrittenOptions):
    """Options of csv."""

    delimiter: Annotated[str, AfterValidator(_mark)] = Field(
        ",", json_schema_extra=ONE, description="what stands between cells"
    )
    header: bool = Field(
        True,
        description=(
            "whether the first row names the columns; with false they are called by their number,"
            ' "1" the first'
        ),
    )
    quote: Annotated[str, AfterValidator(_quote)] = Field(
        '"',
        json_schema_extra=AT_MOST_ONE,
        description=(
            "what stands around a cell that holds the delimiter or a line end, and is doubled in"
            " it; empty, a quote is a letter like any other"
        ),
    )
    comment: Annotated[str, AfterValidator(_beginning)] = Field(
        "", description="how a line begins that is left out, such as #; empty, none is"
    )
    decimal: Annotated[str, OF_NUMBERS, AfterValidator(_decimal_mark)] = Field(
        ".", json_schema_extra=ONE, description="what stands before the decimals"
    )
    thousands: Annotated[str | None, OF_NUMBERS, AfterValidator(_thousands_mark)] = Field(
        None,
        description=(
            "what may stand between groups of three digits; a space is a no-break or thin one too;"
            ' left out, a point where decimal is ",", and else nothing'
        ),
    )
    percent: Annotated[Percent, OF_NUMBERS] = Field(
        "error",
        description="what 12.5 % is: error, no number; share, 0.125; number, 12.5",
    )

    @property
    def form(self) -> Form:
        """How rows are written."""
        return Form(self.delimiter, self.quote, self.comment)

    @property
    def writing(self) -> Writing:
        """How numbers are written."""
        return Writing(self.decimal, self.thousands, self.percent)

    @model_validator(mode="after")
    def _marks_differ(self) -> CsvOptions:
        for one, other in (("quote", "delimiter"), ("thousands", "decimal")):
            if getattr(self, one) == getattr(self, other):
                raise ValueError(f"{one}: it is the same character as {other}")
        for name in ("delimiter", "quote"):
            mark = getattr(self, name)
            if mark and self.comment.startswith(mark):
                raise ValueError(f"comment: it begins with the {name}, as a row may")
        return self

    @model_validator(mode="after")
    def _columns_have_numbers(self) -> CsvOptions:
        if self.header:
            return self
        for name in self.named:
            if not NUMBER.fullmatch(name):
                raise ValueError(
                    f'header: it is false, so that columns are called by their number, "1" the'
                    f" first, and {name!r} is none"
                )
        return self
