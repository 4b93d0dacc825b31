"""The runs of a folder as data, read without torch and without the code of any plugin.

A run that is damaged is a row like any other, which says so: nothing of one run can stop the list.
"""

from __future__ import annotations

import fnmatch
import json
import math
import operator
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from recurra import system
from recurra.errors import InputError, nearest
from recurra.runs import bounded, files
from recurra.runs.records import FAILED, LEFT, LOCK, UNJUDGED

LARGEST = 16 << 20
"""Bytes of a task, at most."""
DEEPEST = 6
"""How many folders below the one that is listed are looked into."""
TAIL = 1 << 16
"""Bytes at the end of the records of a run that is not finished, in which its last ones stand."""
FIELDS = (
    "run", "task", "cell", "target", "parameters", "seed", "state", "steps", "split", "metric",
    "value", "baseline", "baseline_value", "beats_baselines", "verdict", "seconds", "when", "why",
)  # fmt: skip
"""What is told of each run, in the order of the columns."""
STATES = (
    "finished", "unjudged", "being trained", "interrupted", "failed", "begun", "damaged",
)  # fmt: skip

_ASKED = re.compile(r"([A-Za-z_][\w.%-]*)(!=|<=|>=|=|<|>)(.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
Row = dict[str, Any]


def runs_in(
    folder: str | os.PathLike[str] = "runs",
    *,
    where: Sequence[str] | Mapping[str, Any] = (),
    sort: str | None = None,
    reverse: bool = False,
) -> list[Row]:
    """Return what is known of each run in a folder, a task's folder or a run, a dict for each.

    `pandas.DataFrame(recurra.runs_in())` is a table of them. The keys are `run` (its folder),
    `task`, `cell`, `target`, `parameters`, `seed`, `state` (one of `STATES`), `steps`, `split`,
    `metric` (by which it is judged) and its `value`, `baseline` (the best) and its
    `baseline_value`, `beats_baselines`, `verdict`, `seconds`, `when` (its newest record was
    written, ISO 8601 in UTC), `why` (it is not finished, or damaged), `metrics` with all figures,
    and `options` with the whole task by dotted key. What is not known is None.

    `where` keeps the runs of which all of it holds: texts such as `"cell=lstm"`, `"value<1.5"` and
    `"task=hello_*"`, or a dict of values; `sort` is a key. Both name one of the above, a figure
    (`metrics.accuracy`) or a key of the task (`training.optimizer.lr`). Without `sort` runs come by
    folder; what a run does not know comes last.

    Raises `InputError` (RC051) where there is no such folder, and (RC080) for a key that none of
    the runs knows. A folder `runs` that is not there yet holds none.
    """
    place = Path(folder)
    try:
        there = place.is_dir()
    except (OSError, ValueError):
        there = False
    if not there:
        if place == Path("runs") and not os.path.lexists(place):
            return []
        fact = f"{place} is no folder" if os.path.lexists(place) else f"there is no folder {place}"
        raise InputError.of("RC051", fact, cure="name a folder with runs, such as `runs`")

    rows = [described(path) for path in sorted(found(place), key=_natural)]
    if isinstance(where, Mapping):
        where = [f"{key}={_text(value)}" for key, value in where.items()]
    for asked in where:
        rows = _kept(rows, asked)
    if sort is not None:
        _check_key(rows, sort)
        known = [row for row in rows if _rank(value_of(row, sort)) is not None]
        rest = [row for row in rows if _rank(value_of(row, sort)) is None]
        known.sort(key=lambda row: _rank(value_of(row, sort)), reverse=reverse)  # type: ignore[arg-type, return-value]
        rows = known + rest
    elif reverse:
        rows.reverse()
    return rows


def found(folder: Path, depth: int = DEEPEST) -> Iterator[Path]:
    """Give the runs in a folder, also the folds of a backtest; none of those inside of a run."""
    if is_run(folder):
        yield folder
        return
    if not depth:
        return
    try:
        with os.scandir(folder) as entries:
            inner = [each.name for each in entries if each.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in inner:
        if not name.startswith("."):
            yield from found(folder / name, depth - 1)


def is_run(path: Path) -> bool:
    """Tell whether a folder is a run's, damaged as it may be."""
    if not os.path.lexists(path / "task.toml"):
        return False
    # The folder of a backtest has a task as well.
    return any(os.path.lexists(path / name) for name in LEFT)


def described(path: Path) -> Row:
    """Return what is known of a run. Whatever is wrong with it is told in `why`."""
    row: Row = dict.fromkeys(FIELDS)
    row |= {"run": str(path), "metrics": {}, "options": {}}
    faults: list[str] = []
    task = _read(path / "task.toml", _toml, faults)
    if isinstance(task, dict):
        _note_task(row, task)
    row["when"] = _when(path)

    result = None
    if os.path.lexists(path / "result.json"):
        result = _read(path / "result.json", _json, faults)
    if isinstance(result, dict):
        row["state"] = "finished"
        _note_result(row, result)
    elif result is not None:
        faults.append("result.json holds no result")
    if system.in_use(path / LOCK):
        row["state"] = "being trained"
    if row["state"] != "finished":
        _note_unfinished(row, path, faults)
    if faults:
        row["state"] = "damaged"
        row["why"] = "; ".join(faults)
    return row


def _read(path: Path, parsed: Callable[[Path], Any], faults: list[str]) -> Any:
    """Return what a file holds; nothing, with a fault, of one that is damaged or not there."""
    try:
        if not path.is_file():
            raise ValueError("it is missing" if not os.path.lexists(path) else "it is no file")
        return parsed(path)
    except (OSError, ValueError, RecursionError, MemoryError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        faults.append(f"{path.name}: {' '.join(reason.split())[:200]}")
        return None


def _json(path: Path) -> Any:
    content = bounded.whole(path)
    bounded.check_json(content)
    # That a key comes twice is a matter of `inspect`: a list is to be made at once.
    return json.loads(content)


def _toml(path: Path) -> Any:
    return tomllib.loads(bounded.whole(path, LARGEST).decode("utf-8"))


def _note_task(row: Row, task: dict[str, Any]) -> None:
    options = flat(task)
    row["options"] = options
    row["task"] = str(options.get("name", ""))
    row["seed"] = options.get("seed")
    for part in ("cell", "target"):
        table = task.get(part)
        row[part] = _kinds(table) if isinstance(table, dict) else None


def _kinds(table: dict[str, Any]) -> str | None:
    """Return what kind a table names, or those of its stack, the lowest first."""
    stack = table.get("stack")
    tables = [table, *stack] if isinstance(stack, list) else [table]
    kinds = [each["kind"] for each in tables if isinstance(each, dict) and "kind" in each]
    return ", ".join(short(str(kind)) for kind in kinds) or None


def short(name: str) -> str:
    """Return the name of a component of recurra's own without its distribution."""
    return name.removeprefix("recurra/")


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of nested tables by dotted key; a list is one value."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[f"{prefix}{key}"] = value
    return values


def _note_result(row: Row, result: dict[str, Any]) -> None:
    """Note the figures of a finished run; what is not of the type that it should be is left out."""
    for key, type_ in (
        ("parameters", int), ("steps", int), ("split", str), ("verdict", str),
        ("beats_baselines", bool),
    ):  # fmt: skip
        if type(result.get(key)) is type_:
            row[key] = result[key]
    row["seconds"] = number(result.get("seconds"))
    row["metrics"] = figures(result.get("metrics"))
    metric, baseline = result.get("judged"), result.get("best_baseline")
    row["metric"] = metric if isinstance(metric, str) else "loss"
    row["value"] = row["metrics"].get(row["metric"])
    if isinstance(metric, str) and isinstance(baseline, str):
        row["baseline"] = baseline
        pair = judged(result, metric, baseline)
        if pair is not None:
            row["value"], row["baseline_value"] = pair


def judged(result: dict[str, Any], metric: str, baseline: str) -> tuple[float, float] | None:
    """Return the figure of the model and of its best baseline that the verdict is about.

    They are those of the split, or of what stands beside it, as forecasts do: the verdict tells.
    """
    pairs = []
    for made in (result, *(each for each in result.values() if isinstance(each, dict))):
        rules = made.get("baselines")
        theirs = figures(rules.get(baseline)) if isinstance(rules, dict) else {}
        ours = figures(made.get("metrics"))
        if metric in ours and metric in theirs:
            pairs.append((ours[metric], theirs[metric]))
    said = str(result.get("verdict", ""))
    told = [pair for pair in pairs if f" {pair[0]:z.4g} " in said and f"({pair[1]:z.4g})" in said]
    return next(iter(told or pairs), None)


def figures(said: Any) -> dict[str, float]:
    """Return the numbers of a table of figures, those too that are not finite."""
    named = said.items() if isinstance(said, dict) else ()
    made = {str(key): number(value) for key, value in named}
    return {key: value for key, value in made.items() if value is not None}


def number(value: Any) -> float | None:
    """Return a figure as it was before it was written: one that is not finite is there as text."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _as_number(value)
    if isinstance(value, str) and value in ("nan", "inf", "-inf"):
        return float(value)
    return None


def _note_unfinished(row: Row, path: Path, faults: list[str]) -> None:
    """Note how far a run has come, and why it is not at its end, as far as that is known."""
    trained = validated = None
    for record in last_records(path / "metrics.jsonl"):
        if record["split"] == "train":
            trained = record
        elif record["split"] == "validation":
            validated = record
    steps = [record["step"] for record in (trained, validated) if record is not None]
    row["steps"] = max(steps, default=0)
    told = validated or trained
    if told is not None:
        row["split"], row["metric"] = told["split"], "loss"
        row["metrics"] = figures({k: v for k, v in told.items() if k not in ("step", "epoch")})
        row["value"] = row["metrics"].get("loss")
    if row["state"] is not None:
        return

    if os.path.lexists(path / FAILED):
        said = _read(path / FAILED, _json, faults)
        row["state"] = "failed"
        if isinstance(said, dict):
            row["why"] = " ".join(str(said.get(key, "")) for key in ("code", "fact")).strip()
    elif os.path.lexists(path / UNJUDGED):
        row["state"], row["why"] = "unjudged", why_unjudged(_read(path / UNJUDGED, _json, faults))
    elif os.path.lexists(path / "checkpoints" / "index.json"):
        row["state"], row["why"] = "interrupted", f"`recurra resume {path}` goes on"
    else:
        row["state"], row["why"] = "begun", "it ended before its first checkpoint"


def why_unjudged(said: Any) -> str:
    """Return why a run has no result that was not judged, by what stands in `unjudged.json`."""
    ended = said.get("ended") if isinstance(said, dict) else None
    if ended == "pruned":
        return "its sweep found it hopeless (pruned)"
    trained = f" ({ended})" if isinstance(ended, str) else ""
    return f"a trial that is trained to its end{trained}: of all trials the best alone is judged"


def last_records(path: Path, most: int = TAIL) -> Iterator[dict[str, Any]]:
    """Give the records at the end of metrics.jsonl; a line that is none, or is cut, is left out."""
    try:
        if not path.is_file():
            return
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - most, 0))
            lines = file.read(most).splitlines()
    except OSError:
        return
    for line in lines[1:] if size > most else lines:
        try:
            record = files.parsed(line)
        except ValueError:
            continue
        if isinstance(record, dict) and type(record.get("step")) is int and "split" in record:
            yield record


def _when(path: Path) -> str | None:
    """Return when the newest record of a run was written."""
    times = []
    for name in ("result.json", "metrics.jsonl", "hashes.json", "task.toml"):
        try:
            times.append((path / name).stat().st_mtime)
        except OSError:
            continue
        break
    return datetime.fromtimestamp(times[0], UTC).isoformat(timespec="seconds") if times else None


def value_of(row: Row, key: str) -> Any:
    """Return what a run says of a key: one of its fields, a figure, or a key of its task."""
    if key in FIELDS:
        return row[key]
    if key.startswith("metrics."):
        return row["metrics"].get(key.removeprefix("metrics."))
    return row["options"].get(key)


def _check_key(rows: Iterable[Row], key: str) -> None:
    """Raise `InputError` (RC080) for a key that no run knows."""
    rows = list(rows)
    if key in FIELDS or not rows or any(value_of(row, key) is not None for row in rows):
        return
    known = {name for row in rows for name in row["options"]}
    known |= {f"metrics.{name}" for row in rows for name in row["metrics"]}
    raise InputError.of(
        "RC080",
        f"none of the runs says {key!r}",
        allowed=f"{', '.join(FIELDS)}, metrics.NAME, or a key of their tasks",
        nearest=nearest(key, [*FIELDS, *sorted(known)]),
    )


def _kept(rows: list[Row], asked: str) -> list[Row]:
    """Return the rows of which it holds. Raises `InputError` (RC080)."""
    match = _ASKED.fullmatch(asked)
    if match is None:
        fact = "a condition is a key, one of = != < <= > >=, and a value"
        allowed = "cell=lstm, state!=finished, value<1.5, task=hello_*"
        raise InputError.of("RC080", fact, got=asked, allowed=allowed)
    key, sign, wanted = match.groups()
    _check_key(rows, key)
    if sign in ("=", "!="):
        return [row for row in rows if _equal(value_of(row, key), wanted) == (sign == "=")]
    bound = _as_number(wanted)
    if bound is None:
        fact = f"{key} can be {sign} a number alone"
        raise InputError.of("RC080", fact, got=asked, allowed=f"{key}{sign}1.5")
    compare = _COMPARE[sign]
    numbers = ((row, _as_number(value_of(row, key))) for row in rows)
    return [row for row, own in numbers if own is not None and compare(own, bound)]


def _equal(own: Any, wanted: str) -> bool:
    """Tell whether a value is the one that a text names; `*` in it stands for anything."""
    if own is None:
        return wanted == ""
    left, right = _as_number(own), _as_number(wanted)
    if left is not None and right is not None:
        return left == right or (math.isnan(left) and math.isnan(right))
    # A component of recurra's own goes by either of its names.
    return fnmatch.fnmatchcase(short(_text(own)), short(wanted))


def _as_number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _rank(value: Any) -> tuple[int, Any] | None:
    """Return by what a value is ordered, numbers before texts; nothing of what is not known."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool | int | float):
        return 0, value
    return 1, _pieces(str(value))


def _natural(path: Path) -> list[tuple[int, int, str]]:
    return [piece for part in path.parts for piece in _pieces(part)]


def _pieces(text: str) -> list[tuple[int, int, str]]:
    """Return what orders texts so that run 10 comes after run 9."""
    parts = re.split(r"([0-9]+)", text)
    return [(0, int(each[:400]), each) if each.isdecimal() else (1, 0, each) for each in parts]
