"""Data that careless vocabularies break on: text, tokens and numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Element, Values

TEXTS: dict[str, str] = {
    "plain": "to be, or not to be",
    "composed": "é",
    "decomposed": "e\u0301 A\u030a",
    "emoji of a family": (
        "\U0001f469\u200d\U0001f469\u200d\U0001f467 \U0001f3f3\ufe0f\u200d\U0001f308"
    ),
    "flags": "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7",
    "line ends": "a\r\nb\rc\nd\n\r\n\n",
    "nul": "\0a\0\0",
    "controls": "\x1b[31m\x7f\x1c\x1d\x85\x0b\x0c",
    "separators": "a\u2028b\u2029c\xa0d\u3000e\u200bf",
    "byte-order mark": "\ufeffa\ufeff",
    "replacement": "\ufffd\ufffe\uffff",
    "right to left": "\u202eabc\u202c \u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "beyond the plane": "\U0001d54f\U00020000\U0010ffff",
    "casing": "\u01c5 \xdf \u1e9e \u0130 \u0131 \u039f\u0394\u039f\u03a3 \ufb01",
    "scripts": (
        "\u65e5\u672c\u8a9e \u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940"
        " \ud55c\uad6d\uc5b4"
    ),
    "spaces": "  a   b \t\t c  ",
    "punctuation": "it's a -- 'test'... (really?!) a_b 1,234.5 $x",
}
"""Text that a file can hold, by what is hard in it."""

SURROGATES = "\ud800a\udfff \udc00\ud800"
"""What no file in UTF-8 can hold: it must come back or be refused."""

KNOWN = {"text": "one two one\nthree, two\n", "tokens": ["one", "two", "one", "three,", "two"]}
STRANGE = {"text": ("\u4e16", "\u754c"), "tokens": (["\u4e16"], ["\u754c"])}
"""Symbols that `KNOWN` does not hold."""


def joined(parts: list[Values], reads: Element) -> Values:
    """Return runs put together."""
    if reads == "numbers":
        return np.concatenate(parts)
    return "".join(parts) if reads == "text" else [token for part in parts for token in part]


def runs(reads: Element, positive: bool = False) -> list[Values]:
    """Return runs of an element, one of them empty.

    A text ends with a newline, where a source may cut it.
    """
    if reads == "numbers":
        table = numbers(positive)
        return [table[:1], table[1:1], table[1:20], table[20:]]
    lines = [f"{text}\n" for text in TEXTS.values()]
    if reads == "text":
        return [*lines[:3], "", *lines[3:]]
    return [lines[:4], [], [*TEXTS.values(), "", "two words"]]


def numbers(positive: bool = False, rows: int = 40) -> NDArray[np.float64]:
    """Return a table of features of all sizes, the third of them constant.

    The first two may be `positive` as well.
    """
    draw = np.random.Generator(np.random.Philox(7))
    plain, tiny, large = (
        draw.normal(0, 3, rows),
        draw.normal(5, 1, rows) * 1e-6,
        1e9 + draw.normal(0, 1, rows),
    )
    skewed = draw.lognormal(0, 2, rows)
    if positive:
        return np.stack(
            [np.abs(plain) + 0.1, skewed, np.full(rows, 3.7), np.abs(tiny) + 1e-7, large], axis=1
        )
    return np.stack([plain, -skewed, np.full(rows, -3.7), tiny, large], axis=1)
