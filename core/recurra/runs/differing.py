"""What differs between two runs, read without torch and without the code of any plugin.

A run is a folder, a task's folder for its newest run, or a bundle.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recurra.errors import InputError, RecurraError
from recurra.runs import archive, bounded, bundles
from recurra.runs.files import newest
from recurra.runs.listing import figures, flat, is_run, judged

SECTIONS = ("task", "data", "versions", "environment", "figures")
"""What is held against each other, in this order."""
OF_VERSIONS = ("recurra", "python", "torch", "numpy")
"""What of environment.json is a version."""
OF_DATA = ("fingerprint", "elements", "sequences", "splits", "features", "labels")
"""What of data.json says which data it is, and how much."""
OF_RESULT = (
    "steps", "weights_of_step", "ended", "split", "predictions", "parameters", "judged",
    "best_baseline", "beats_baselines", "verdict", "seconds", "tokens_per_second",
)  # fmt: skip
"""What of result.json is told beside its figures."""
NAMES = ("task.toml", "data.json", "plugins.json", "environment.json", "result.json")

Line = dict[str, Any]
Held = Callable[[str], bytes | None]


def diff(first: str | os.PathLike[str], second: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what differs between two runs, or bundles, none of whose code runs.

    The keys are `runs` (both paths), `same` (whether nothing differs), `sections` of `task`,
    `data`, `versions`, `environment` and `figures`, each a list of `key`, `before` and `after`,
    None where a run does not say, and `notes`, which say what a comparison does not tell. A figure
    has a `better` as well: `first`, `second`, or None where that is not known or the two were not
    measured on the same data.

    Raises `InputError` (RC051, RC056) for what is no run. A file that is damaged is a note.
    """
    one, other = _Side.of(Path(first)), _Side.of(Path(second))
    notes = [*one.notes, *other.notes]
    sections = {
        "task": list(_lines(one.task, other.task)),
        "data": list(_lines(one.data, other.data)),
        "versions": list(_lines(one.versions, other.versions)),
        "environment": list(_lines(one.environment, other.environment)),
        "figures": list(_figures(one, other, notes)),
    }
    same = not any(sections.values()) and not notes
    paths = [one.path, other.path]
    return {"runs": paths, "same": same, "sections": sections, "notes": notes}


class _Side:
    """What one of the two says, by section and key."""

    def __init__(self, path: str, held: Held) -> None:
        self.path = path
        self.notes: list[str] = []
        said = {name: self._read(held, name) for name in NAMES}
        data, environment, result = (
            said[name] if isinstance(said[name], dict) else {}
            for name in ("data.json", "environment.json", "result.json")
        )
        self.task = flat(said["task.toml"] or {})
        self.data = flat({key: data[key] for key in OF_DATA if key in data})
        self.versions = {key: environment[key] for key in OF_VERSIONS if key in environment}
        self.versions |= _plugins(said["plugins.json"])
        self.environment = flat(
            {key: value for key, value in environment.items() if key not in OF_VERSIONS}
        )
        self.result = result

    def _read(self, held: Held, name: str) -> Any:
        """Return what a file holds; nothing, with a note, of one that is damaged or not there."""
        try:
            content = held(name)
            if content is None:
                missing = "it has no result yet" if name == "result.json" else f"{name} is missing"
                self.notes.append(f"{self.path}: {missing}")
                return None
            if name.endswith(".toml"):
                return tomllib.loads(content.decode("utf-8"))
            bounded.check_json(content)
            return json.loads(content)
        except RecurraError as error:
            self.notes.append(f"{self.path}: {error.problems[0].fact}")
        except (OSError, ValueError, RecursionError, MemoryError) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            said = " ".join(reason.split())[:200]
            self.notes.append(f"{self.path}: {name} is damaged: {said}")
        return None

    @classmethod
    def of(cls, path: Path) -> _Side:
        """Open a run or a bundle. Raises `InputError` (RC051, RC056)."""
        with _held(path) as (place, held):
            return cls(place, held)

    @property
    def metrics(self) -> dict[str, float]:
        """The figures, those that the verdict is about under the name of what it judges."""
        return figures(self.result.get("metrics"))

    @property
    def tables(self) -> dict[str, dict[str, float]]:
        """The figures of the split, and those of what stands beside it, as forecasts do."""
        found = {"": self.metrics}
        for name, made in self.result.items():
            if isinstance(made, dict) and isinstance(made.get("metrics"), dict):
                found[f"{name}."] = figures(made["metrics"])
        return found


@contextmanager
def _held(path: Path) -> Iterator[tuple[str, Held]]:
    """Give a run's path, and what reads its files. Raises `InputError` (RC051, RC056)."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if is_file and archive.looks_like_one(path):
        with bundles.opened(path) as (held, _):

            def of_bundle(name: str) -> bytes | None:
                whole = f"{bundles.RUN}/{name}"
                return held.read(whole) if whole in held.entries else None

            yield str(path), of_bundle
        return

    run = newest(path, is_run) if is_folder else None
    if run is None:
        there = "holds no run" if os.path.lexists(path) else "is not there"
        allowed = "a run's folder, a task's folder, or a bundle (.zip)"
        raise InputError.of("RC051", f"{path} {there}", allowed=allowed)

    def of_folder(name: str) -> bytes | None:
        # A pipe may wait for ever.
        return bounded.whole(run / name) if (run / name).is_file() else None

    yield str(run), of_folder


def _plugins(said: Any) -> dict[str, str]:
    """Return the distribution and version of each component, by its kind."""
    lines = [line for line in said if isinstance(line, dict)] if isinstance(said, list) else []
    return {
        f"plugin {line.get('kind')} {line.get('name')}": (
            f"{line.get('distribution')} {line.get('version')}"
        )
        for line in lines
    }


def _lines(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Line]:
    """Give the keys of which two tables say something else."""
    for key in dict.fromkeys([*one, *other]):
        before, after = one.get(key), other.get(key)
        if not _alike(before, after):
            yield {"key": key, "before": before, "after": after}


def _alike(one: Any, other: Any) -> bool:
    # 1 and true are equal, and so are 0.0 and -0.0; NaN is itself.
    return repr(one) == repr(other) or (type(one) is type(other) and bool(one == other))


def _figures(one: _Side, other: _Side, notes: list[str]) -> Iterator[Line]:
    """Give what came of both, and which of two figures is the better."""
    comparable = bool(one.result and other.result) and _comparable(one, other, notes)
    mine, theirs = ({key: side.result.get(key) for key in OF_RESULT} for side in (one, other))
    yield from _lines(mine, theirs)

    both = one.tables, other.tables
    for prefix in dict.fromkeys([*both[0], *both[1]]):
        tables = [side.get(prefix, {}) for side in both]
        for line in _lines(*tables):
            better = _better(line, one, other) if comparable else None
            yield {**line, "key": f"{prefix}{line['key']}", "better": better}
    pairs = [
        judged(side.result, str(side.result.get("judged")), str(side.result.get("best_baseline")))
        for side in (one, other)
    ]
    baselines = [None if pair is None else pair[1] for pair in pairs]
    if not _alike(*baselines):
        yield {"key": "baseline", "before": baselines[0], "after": baselines[1], "better": None}


def _comparable(one: _Side, other: _Side, notes: list[str]) -> bool:
    """Tell whether the figures of two runs are of the same thing, and note why they are not."""
    reasons = []
    if one.data.get("fingerprint") != other.data.get("fingerprint"):
        reasons.append("other data")
    else:
        keys = ("sequence.split", "sequence.split_by", "target.kind", "vocabulary.kind")
        reasons += [key for key in keys if not _alike(one.task.get(key), other.task.get(key))]
    if one.result.get("split") != other.result.get("split"):
        reasons.append("another split")
    if reasons:
        notes.append(
            f"the figures are not of the same thing ({', '.join(reasons)}), and none is called"
            " the better"
        )
    return not reasons


def _better(line: Line, one: _Side, other: _Side) -> str | None:
    """Return which of two figures is the better, as far as the runs say what is good."""
    before, after = line["before"], line["after"]
    if before is None or after is None or before != before or after != after:
        return None
    costs = _direction(str(line["key"]), one), _direction(str(line["key"]), other)
    direction = next((each for each in costs if each is not None), None)
    if direction is None or before == after:
        return None
    if isinstance(direction, float):
        before, after = abs(before - direction), abs(after - direction)
        if before == after:
            return None
        return "first" if before < after else "second"
    return "first" if (before > after) == (direction == "higher") else "second"


def _direction(name: str, side: _Side) -> str | float | None:
    """Return whether a figure is good where it is `higher` or `lower`, or near a number."""
    said = side.result.get("better")
    if isinstance(said, dict) and name in said:
        aim = said[name]
        return float(aim) if isinstance(aim, int | float) else str(aim)
    return "lower" if name == "loss" else None
