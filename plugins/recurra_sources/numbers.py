"""Numbers as tables write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Literal, TypeAlias

Percent: TypeAlias = Literal["error", "share", "number"]
"""What 12.5 % is: no number, 0.125, or 12.5."""

LARGEST = 1e140
"""The largest magnitude of a number that can be learned of."""
SPACES = " \u00a0\u2009\u202f"
"""A space that groups thousands, and those that no line is broken at, or that are thin."""
TWO_GROUPS = re.compile(r"[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+(\.[0-9]*)?")
"""A number as English groups it."""
POINTS = re.compile(r"[+-]?[1-9][0-9]{0,2}(\.[0-9]{3}){2,}(,[0-9]*)?")
"""A number as German groups it; with a single point it is one of decimals, too."""
APOSTROPHES = re.compile(r"[+-]?[1-9][0-9]{0,2}(['\u2019][0-9]{3})+([.,][0-9]*)?")
"""A number as Swiss groups it."""
SPACED = re.compile(rf"[+-]?[1-9][0-9]{{0,2}}([{SPACES}][0-9]{{3}})+([.,][0-9]*)?")
"""A number whose thousands are grouped by spaces."""


@dataclass(frozen=True)
class Writing:
    """How a table writes its numbers.

    `decimal` stands before the decimals. `thousands` stands between groups of three digits; left
    out, that is a point where decimals stand after a comma, and else nothing is. `percent` says
    what a number with the sign is. `cured` tells whether another option of the table could help.
    """

    decimal: str = "."
    thousands: str | None = None
    percent: Percent = "error"
    cured: bool = True

    @cached_property
    def mark(self) -> str:
        """What stands between the thousands, if anything."""
        if self.thousands is not None:
            return self.thousands
        return "." if self.decimal == "," else ""

    @cached_property
    def between(self) -> str:
        """All that is read as that mark."""
        return SPACES if self.mark == " " else self.mark

    @cached_property
    def grouped(self) -> re.Pattern[str]:
        """A number with marks between its thousands; what begins with 0 has none."""
        between, decimal = re.escape(self.between), re.escape(self.decimal)
        return re.compile(rf"[+-]?[1-9][0-9]{{0,2}}(?:[{between}][0-9]{{3}})+(?:{decimal}[0-9]*)?")


PLAIN = Writing()
"""Decimals after a point, and nothing else."""
JSON = Writing(cured=False)
"""Numbers of JSON, which has no options of writing."""


def number(text: str, writing: Writing = PLAIN) -> tuple[float | None, str]:
    """Return the number that a text stands for, or none and what is wrong with it.

    `nan` is a missing one. Numbers are float64: digits beyond its 17 are rounded, and what it
    cannot hold is refused. Python reads more as numbers than a table holds, such as `1_0`, and
    digits of other scripts.
    """
    point, fault = plain(text, writing)
    if fault:
        return None, fault
    value = float(point)
    if math.isnan(value):
        return None, "missing"
    if fault := unusable(value):
        return None, fault
    return value, ""


def unusable(value: float) -> str:
    """Return what is wrong with a number that nothing can be learned of; "" for all others."""
    if abs(value) <= LARGEST:
        return ""
    if math.isfinite(value):
        return f"is above {LARGEST:g}: the squares of errors cannot be added up"
    return "is not finite, or too large"


def plain(text: str, writing: Writing = PLAIN) -> tuple[str, str]:
    """Return a number as Python writes it, with its digits as they are, or what is wrong with it.

    That may be one that float64 cannot hold, or `nan`.
    """
    text = text.strip()
    if not text.endswith("%"):
        return _plain(text, writing)

    point, fault = _plain(text[:-1].rstrip(), writing)
    if writing.percent == "error":
        return "", _no_number(text, writing, in_percent=not fault)
    if not fault and writing.percent == "share":
        point = _share(point)
    return point, fault


def _plain(text: str, writing: Writing) -> tuple[str, str]:
    """Return a number without a sign for per cent as Python writes it, or what is wrong with it."""
    if any(mark in text for mark in writing.between):
        if not writing.grouped.fullmatch(text):
            return "", _not_grouped(writing)
        for mark in writing.between:
            text = text.replace(mark, "")
    if writing.decimal != ".":
        if "." in text:
            return "", f"is not a number: with decimal = {writing.decimal!r} it holds no point"
        text = text.replace(writing.decimal, ".")

    if not _is_number(text):
        return "", _no_number(text, writing)
    return text, ""


def _share(text: str) -> str:
    """Return the hundredth of a number.

    It is of the digits, so that 12.3 % is the float that 0.123 is.
    """
    try:
        return str(Decimal(text).scaleb(-2))
    except ArithmeticError:
        # With an exponent beyond Decimal's it is nought or infinite, as its hundredth is.
        return text


def _is_number(text: str) -> bool:
    """Tell whether a text is a number of ASCII digits, or a word for one that is not finite."""
    if not text.isascii() or "_" in text:
        return False
    try:
        float(text)
    except ValueError:
        return False
    return True


def _not_grouped(writing: Writing) -> str:
    """Return what is wrong with a number whose marks do not stand between groups of three."""
    if writing.thousands is None:
        return 'is not a number: with decimal = "," points group the thousands, by three digits'
    return f"is not a number: thousands = {writing.thousands!r} groups digits by three"


def _no_number(text: str, writing: Writing, in_percent: bool = False) -> str:
    """Return that a text is no number, and what to do if it may be one in another writing.

    `in_percent` tells that it is one with a sign behind it.
    """
    fact = "is not a number"
    if not writing.cured:
        return f"{fact}: in JSON decimals stand after a point" if "," in text else fact

    bare = text.removesuffix("%").rstrip()
    cures = [] if in_percent else _cures(bare, writing)
    if text.endswith("%") and writing.percent == "error" and (in_percent or cures):
        cures.append('for per cent set source.percent = "share", or "number"')
    return f"{fact}: {'; '.join(cures)}" if cures else fact


def _cures(text: str, writing: Writing) -> list[str]:
    """Return the options under which a text would be a number."""
    cures = []
    if SPACED.fullmatch(text):
        cures.append('for thousands set source.thousands = " "')
    if APOSTROPHES.fullmatch(text):
        mark = "\u2019" if "\u2019" in text else "'"
        cures.append(f'for thousands set source.thousands = "{mark}"')
    if writing.decimal != ".":
        return cures

    if TWO_GROUPS.fullmatch(text):
        cures.append('for thousands set source.thousands = ","')
    if text.count(",") == 1 and "." not in text.partition(",")[2]:
        cures.append('for decimal commas set source.decimal = ","')
    elif POINTS.fullmatch(text):
        cures.append('for points between thousands set source.decimal = ","')
    return cures
