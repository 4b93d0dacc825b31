"""Makes tasks/script_of_names.csv: what Unicode calls a letter, without its script, and the script.

The names are those of Unicode 3.2, which every CPython carries beside its own version, so that each
makes the same file.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from pathlib import Path

TARGET = Path(__file__).resolve().parents[1] / "tasks" / "script_of_names.csv"

SCRIPTS = tuple(
    "arabic canadian cyrillic ethiopic greek hangul hebrew latin mongolian runic sinhala thai"
    " yi".split()
)
"""The scripts with at least 50 names of their own, by the first word of a letter's name."""

KINDS = frozenset(
    "letter letters syllable syllables syllabics character digraph ligature sign vowel capital "
    "small final initial medial isolated form".split()
)
"""Words for a kind of character: some belong to one script alone, and would give it away."""

POINTS = range(0x20000)
"""Where the scripts lie: in the first two planes."""

MOST = 600
"""Names of one script, at most, evenly spaced: Hangul has 11,172 syllables."""


def names() -> list[tuple[str, str]]:
    """Return names with their scripts, script by script; a name that two scripts have is left
    out.
    """
    known = unicodedata.ucd_3_2_0
    scripts: dict[str, set[str]] = defaultdict(set)
    for point in POINTS:
        character = chr(point)
        if known.category(character) not in ("Ll", "Lm", "Lo", "Lt", "Lu"):
            continue
        script, *words = known.name(character, "").lower().split()
        name = " ".join(word for word in words if word not in KINDS)
        if script in SCRIPTS and name:
            scripts[name].add(script)

    rows = []
    for script in SCRIPTS:
        own = [name for name, found in scripts.items() if found == {script}]
        few = min(MOST, len(own))
        rows += [(own[place * len(own) // few], script) for place in range(few)]
    return rows


def text() -> str:
    """Return the file's text."""
    return "".join(f"{name},{script}\n" for name, script in [("name", "script"), *names()])


if __name__ == "__main__":
    TARGET.write_text(text(), encoding="ascii", newline="\n")
    print(f"{TARGET}: {len(names())} names, {TARGET.stat().st_size:,} bytes")
