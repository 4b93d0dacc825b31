"""Trackers as they are asked for beside a task: `csv`, or `mlflow(experiment=x, uri=...)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from recurra.errors import InputError
from recurra.spec.overrides import key_of, toml_or_text
from recurra.spec.spelling import literal
from recurra.spec.tables import TRACK

FORM = re.compile(r"\s*(?P<kind>[\w./-]+)\s*(?:\((?P<options>.*)\)\s*)?", re.DOTALL)
PART = re.compile(r"""(?:\[[^\]]*\]|\{[^}]*\}|"(?:\\.|[^"\\])*"|'[^']*'|[^,\[\{"'])+""")
"""What stands between commas that are not inside brackets or quotes."""
HOW = "as in --track csv, or --track 'mlflow(experiment=my-cells)'"


def with_trackers(
    overrides: Iterable[str] | Mapping[str, Any], asked: Iterable[Any] | None
) -> Iterable[str] | Mapping[str, Any]:
    """Return overrides by which a run has these trackers, if any are asked for.

    Each is a text, or a table. Raises `InputError` (RC080).
    """
    if asked is None:
        return overrides
    if isinstance(asked, str | bytes | Mapping) or not isinstance(asked, Iterable):
        fact = "track must be a list of trackers"
        raise InputError.of("RC080", fact, got=ascii(asked)[:60], cure='as in track=["csv"]')
    tables = [dict(each) if isinstance(each, Mapping) else parsed(each) for each in asked]
    if isinstance(overrides, Mapping):
        return {**overrides, TRACK: tables}
    return [*overrides, f"{TRACK}={inline(tables)}"]


def parsed(text: Any) -> dict[str, Any]:
    """Return the table of a tracker that is asked for in a text. Raises `InputError` (RC080)."""
    form = FORM.fullmatch(text) if isinstance(text, str) else None
    if form is None:
        fact = f"{ascii(text)[:60]} does not say which tracker is told"
        raise InputError.of("RC080", fact, cure=HOW)
    table: dict[str, Any] = {"kind": form["kind"]}
    for part in PART.findall(form["options"] or ""):
        name, equals, value = part.partition("=")
        key = key_of(name.strip())
        if not part.strip():
            continue
        if not equals or len(key) != 1:
            fact = f"{part.strip()[:60]!r} is no option of tracker {form['kind']!r}"
            raise InputError.of("RC080", fact, cure=f"options read key=value, {HOW}")
        if key[0] in table:
            fact = f"tracker {form['kind']!r} is told {key[0]} twice"
            raise InputError.of("RC080", fact, cure="leave one of them out")
        table[str(key[0])] = toml_or_text(value.strip())
    return table


def inline(value: Any) -> str:
    """Return a value as TOML has it on one line."""
    if isinstance(value, Mapping):
        pairs = (f"{_key(name)} = {inline(each)}" for name, each in value.items())
        return "{ " + ", ".join(pairs) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(inline, value)) + "]"
    return literal(value)


def _key(name: Any) -> str:
    text = str(name)
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else literal(text)
