"""Whether a text has words that spaces and punctuation tell apart: many scripts put none between
words.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

CHARACTERS = re.compile(
    r"[\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    r"\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Chinese and Japanese: unspaced as a rule, but corpora exist whose words have been set apart."""
MAINLAND = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf"
    r"\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaa7f]"
)
"""Thai, Lao, Burmese, Khmer and their neighbours: unspaced, and their vowel signs are no letters to
`\\w` besides.
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
CURE = 'vocabulary.kind = "character" or "byte" knows no words'


def unsuited(counts: Counter[str]) -> str:
    """Return why the tokens of a text are hardly its words, and what to do; nothing where they
    are.
    """
    words = {token.lstrip(" "): times for token, times in counts.items() if token.strip()}
    total = sum(len(word) * times for word, times in words.items())
    foreign = {word: times for word, times in words.items() if not word.isascii()}
    for script, long in ((MAINLAND, 0.0), (CHARACTERS, LONG)):
        inside = {word: times for word, times in foreign.items() if script.search(word)}
        size = sum(len(word) * times for word, times in inside.items())
        if size >= max(LEAST, SHARE * total) and size > long * sum(inside.values()):
            longest = max(inside, key=len)[:20]
            share = 100 * size / total
            fact = f"{share:.0f} % of the text is in a script that puts no spaces between words"
            return (
                f'under vocabulary "word", {fact}: whole clauses become one word, such as'
                f" {longest!r}; {CURE}"
            )

    marks = sum(
        times
        for word, times in foreign.items()
        if unicodedata.category(word[0])[0] == "M" or word in JOINERS
    )
    tokens = sum(words.values())
    if marks >= max(LEAST, MARKS * tokens):
        fact = f"{marks:,} of {tokens:,} tokens are marks that belong to the letter before them"
        return (
            f'under vocabulary "word", {fact}, and words are cut there; {CURE}; accents may be'
            " composed first (NFC)"
        )
    if total >= LEAST * ABSURD and total > ABSURD * tokens:
        fact = f"words are {total / tokens:,.0f} characters long on average"
        return f'under vocabulary "word", {fact}, as of a text without spaces; {CURE}'
    return ""
