"""Whether a text has words that spaces and punctuation tell apart.

Many scripts put none between words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping

CHARACTERS = re.compile(
    r"[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Chinese and Japanese: unspaced as a rule, but corpora exist whose words have been set apart."""
MAINLAND = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"
    r"\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaa7f]"
)
"""Thai, Lao, Burmese, Khmer and their neighbours.

They are unspaced, and their vowel signs are no letters to `\\w` besides.
"""

SHARE = 0.2
"""Of all characters, how many must be of a script before it is spoken of."""
LEAST = 12
"""Characters, or marks, without which nothing is said."""
LONG = 3.0
"""Characters of a Chinese or Japanese token, on average, above which it is no word."""
ABSURD = 30.0
"""Characters of a token, on average, above which no language has such words."""
MARKS = 0.1
"""Of all tokens, how many may be marks that belong to the letter before them."""
JOINERS = {"\xad", "\u200c", "\u200d", "\u2060"}
"""Soft hyphen, joiner and non-joiners: they stand inside words, too."""
CURE = (
    'vocabulary.boundaries = "unicode" takes the word boundaries of Unicode (pip install'
    ' "recurra[text]"), and vocabulary.kind = "character", "byte" or "bpe" knows no words'
)


def unsuited(counts: Counter[str]) -> str:
    """Return why the tokens of a text are hardly its words, and what to do.

    Return nothing where they are.
    """
    words = {token.lstrip(" "): times for token, times in counts.items() if token.strip()}
    tokens = sum(words.values())
    characters = _characters(words)
    foreign = {word: times for word, times in words.items() if not word.isascii()}

    # From the plainest reason to the one that says least: a text may have several.
    if fact := _unspaced(foreign, characters):
        return f'under vocabulary "word", {fact}; {CURE}'
    if fact := _marked(foreign, tokens):
        return f'under vocabulary "word", {fact}; {CURE}; accents may be composed first (NFC)'
    if characters >= LEAST * ABSURD and characters > ABSURD * tokens:
        fact = f"words are {characters / tokens:,.0f} characters long on average"
        return f'under vocabulary "word", {fact}, as of a text without spaces; {CURE}'
    return ""


def _unspaced(foreign: Mapping[str, int], characters: int) -> str:
    """Return that the text is in a script without spaces, or nothing."""
    for script, long in ((MAINLAND, 0.0), (CHARACTERS, LONG)):
        inside = {word: times for word, times in foreign.items() if script.search(word)}
        size = _characters(inside)
        if size < max(LEAST, SHARE * characters):
            continue

        if size > long * sum(inside.values()):
            longest = max(inside, key=len)[:20]
            share = 100 * size / characters
            return (
                f"{share:.0f} % of the text is in a script that puts no spaces between words:"
                f" whole clauses become one word, such as {longest!r}"
            )
    return ""


def _marked(foreign: Mapping[str, int], tokens: int) -> str:
    """Return that many tokens are marks that were cut off their letters, or nothing."""
    marks = 0
    for word, times in foreign.items():
        is_mark = unicodedata.category(word[0])[0] == "M"
        if is_mark or word in JOINERS:
            marks += times

    if marks < max(LEAST, MARKS * tokens):
        return ""
    return (
        f"{marks:,} of {tokens:,} tokens are marks that belong to the letter before them, and words"
        " are cut there"
    )


def _characters(words: Mapping[str, int]) -> int:
    """Return how many characters words have in all, each as often as it comes."""
    return sum(len(word) * times for word, times in words.items())
