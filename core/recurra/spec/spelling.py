"""How keys and values are written, and how one is written that was only spelt wrongly."""

from __future__ import annotations

import json
import math
import re
import tomllib
from typing import Any

from recurra.errors import Problem
from recurra.spec.document import Document, Key, same
from recurra.spec.overrides import toml_or_text
from recurra.spec.tables import CORE_TABLES, TABLES, TRACK

LONGEST = 80
"""Characters of a value that a message shows, at most."""

KINDLESS = frozenset((table,) for table in CORE_TABLES if table != "device")
"""The keys of the tables that have no `kind`."""


_PART = re.compile(r""""(?:\\.|[^"\\])*"|[^.\[\]]+""")
_BARE = re.compile(r"\w[\w-]*")


def path_of(text: str) -> Key:
    """Return the key path that `dotted` writes; `cell.stack.0` is `cell.stack[0]` too."""
    key: list[str | int] = []
    for part in _PART.findall(text):
        if part.startswith('"'):
            key.append(str(json.loads(part)))
        else:
            key.append(int(part) if part.isdigit() else part)
    return tuple(key)


def dotted(key: Key) -> str:
    """Return a key path as it is written: `cell.stack[0].hidden_size`."""
    text = ""
    for part in key:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += f".{_named(part)}"
    return text.lstrip(".")


def _named(part: str) -> str:
    """Return a name of a key, in quotes where it would be read as another without them."""
    if _BARE.fullmatch(part) and not part.isdigit():
        return part
    return json.dumps(part, ensure_ascii=False)


def literal(value: Any) -> str:
    """Return a value as TOML would write it, on one line."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, float) and math.isinf(value):
        return "inf" if value > 0 else "-inf"

    text = json.dumps(value, ensure_ascii=False, default=str)
    # Half a surrogate pair cannot be printed.
    printable = text.encode("utf-8", "backslashreplace")
    return printable.decode()


def spelling(document: Document, key: Key, value: Any, problem: Problem) -> str:
    """Return how a value is written that lacks, or has, no more than quotes or brackets.

    That is a cure in words: `text stands in quotes: seed = "7"`. Where the value is wrong in
    another way, it is nothing.
    """
    of_value = problem.code in ("RC012", "RC013")
    if key == (TRACK,) and isinstance(value, dict):
        return "there may be several, so that the header of each is [[track]]"
    if not of_value or not isinstance(value, (str, bool, int, float)) or key in KINDLESS:
        return ""
    name = dotted(key)
    raw = _own_text(document, key, value)
    is_text = isinstance(value, str)
    if key in TABLES:
        kind = _assignment(f"{name}.kind", literal(value), raw)
        return f"it is a table: {kind}"

    written = value if is_text else raw or literal(value)
    quoted = json.dumps(written, ensure_ascii=False)
    if len(quoted) > LONGEST:
        return ""
    takes_text = re.search(r'^text|^"|or (text|")', problem.allowed)
    if takes_text and not is_text:
        text = _assignment(name, quoted, raw)
        return f"text stands in quotes: {text}"
    if "a list: text" in problem.allowed:
        texts = _assignment(name, f"[{quoted}]", raw)
        return f"a list stands in brackets: {texts}"
    if takes_text or not is_text:
        return ""

    # Here a text stands where none may: it is a value that was quoted, or no value at all.
    bare = str(value).lower()
    if bare in ("true", "false") or _is_number(str(value)):
        return f"write it without quotes: {_assignment(name, bare, raw)}"
    if value == raw:
        return f"{value} is no TOML value, and was read as text"
    return ""


def _own_text(document: Document, key: Key, value: Any) -> str:
    """Return the text of the override that gives this very value, or nothing.

    An override that gives a list or a table with the value inside is none.
    """
    raw = document.layer(key).value
    if raw and same(toml_or_text(raw), value):
        return raw
    return ""


def _assignment(name: str, value: str, raw: str) -> str:
    """Return a key with its value as they stand in a file, or on the command line.

    Of a list it is the element alone.
    """
    if name.endswith("]"):
        return value
    if not raw:
        return f"{name} = {value}"

    needs_quotes = re.search(r"[^\w.-]", value)
    if needs_quotes:
        return f"-o '{name}={value}'"
    return f"-o {name}={value}"


def _is_number(text: str) -> bool:
    try:
        value = tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):
        return False
    return isinstance(value, (int, float))
