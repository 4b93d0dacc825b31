"""Trackers as they are asked for beside a task: `csv`, or `mlflow(experiment=x, uri=...)`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from recurra.errors import InputError, Place, Problem, RecurraError
from recurra.spec.overrides import Said, key_of, toml_or_text
from recurra.spec.spelling import literal
from recurra.spec.tables import TRACK

FORM = re.compile(r"\s*(?P<kind>[\w./-]+)\s*(?:\((?P<options>.*)\)\s*)?", re.DOTALL)
PART = re.compile(r"""(?:\[[^\]]*\]|\{[^}]*\}|"(?:\\.|[^"\\])*"|'[^']*'|[^,\[\{"'])+""")
"""What stands between commas that are not inside brackets or quotes."""
HOW = "as in --track csv, or --track 'mlflow(experiment=my-cells)'"
OPTION = "--track"
_OWN = re.compile(rf"{TRACK}\[\d+\](?:\.|$)")
"""The beginning of a key of a tracker that an option asks for, of which the option says no part."""


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
    listed = list(asked)
    tables = [
        dict(each) if isinstance(each, Mapping) else parsed(each, index)
        for index, each in enumerate(listed)
    ]
    if isinstance(overrides, Mapping):
        return {**overrides, TRACK: tables}
    labels = [each.label if isinstance(each, Said) else "" for each in listed]
    whole = " ".join(filter(None, labels)) or TRACK
    return [*overrides, Said(f"{TRACK}={inline(tables)}", whole, labels)]


@contextmanager
def as_asked() -> Iterator[None]:
    """Name keys in errors as `--track` does: `timeout`, where a file has `track[1].timeout`."""
    try:
        yield
    except RecurraError as error:
        raise type(error)(map(_as_asked, error.problems)) from error.__cause__


def _as_asked(problem: Problem) -> Problem:
    """Return a problem, with its key as `--track` says it if it stands there."""
    if problem.place is None or not problem.place.file.startswith(f"{OPTION} "):
        return problem
    key = _OWN.sub("", problem.key)
    own = "" if key == "kind" else key
    return replace(problem, key=own, cure=problem.cure.replace(problem.key, key))


def parsed(text: Any, index: int = 0) -> dict[str, Any]:
    """Return the table of a tracker that is asked for in a text. Raises `InputError` (RC080)."""
    where = {"place": Place(text.label)} if isinstance(text, Said) else {"key": f"{TRACK}[{index}]"}
    form = FORM.fullmatch(text) if isinstance(text, str) else None
    if form is None:
        fact = f"{ascii(text)[:60]} does not say which tracker is told"
        raise InputError.of("RC080", fact, cure=HOW, **where)
    table: dict[str, Any] = {"kind": form["kind"]}
    for part in PART.findall(form["options"] or ""):
        name, equals, value = part.partition("=")
        key = key_of(name.strip())
        if not part.strip():
            continue
        if not equals or len(key) != 1:
            fact = f"{part.strip()[:60]!r} is no option of tracker {form['kind']!r}"
            raise InputError.of("RC080", fact, cure=f"options read key=value, {HOW}", **where)
        if key[0] in table:
            fact = f"tracker {form['kind']!r} is told {key[0]} twice"
            raise InputError.of("RC080", fact, cure="leave one of them out", **where)
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
