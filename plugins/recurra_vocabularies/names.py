"""Names of columns, in messages."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches


def nearest(name: str, names: Iterable[str]) -> str:
    """Return the name closest to a misspelt one, or nothing."""
    folded = {candidate.lower(): candidate for candidate in names}
    matches = get_close_matches(name.lower(), folded, n=1)
    return folded[matches[0]] if matches else ""


def key_of(name: str) -> str:
    """Return the key of a column's own options, its name in quotes where it needs them."""
    bare = re.fullmatch(r"[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*", name)
    return f"vocabulary.columns.{name if bare else json.dumps(name, ensure_ascii=False)}"
