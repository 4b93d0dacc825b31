"""Whether two runs are one: every bit that they have left, or their figures up to a tolerance."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from recurra.runs import files, headers
from recurra.runs.records import CALIBRATION

CLOCKS = ("run", "seconds", "tokens_per_second")
"""What no two runs share of a result: where it lies, and how long it took."""
OF_STATE = ("sampled", "written")
"""Of a checkpoint's state, what counts bytes of the files beside it."""


@dataclass
class Likeness:
    """What of two runs was compared, in words, and what differs."""

    compared: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    def note(self, what: str, same: bool) -> None:
        """Note that something was compared."""
        self.compared.append(what)
        if not same:
            self.differing.append(what)


def compare(recorded: Path, here: Path, step: int, finished: bool) -> Likeness:
    """Compare all that two runs have left of their first steps, and of their end if it has come.

    Raises `OSError` and `ValueError` for what cannot be read.
    """
    likeness = Likeness()
    steps = [_json(run / "checkpoints" / "index.json") for run in (recorded, here)]
    which = [{name: each.get(name) for name in ("last", "best")} for each in steps]
    likeness.note("the steps of the last and the best checkpoint", which[0] == which[1])
    if which[0] == which[1]:
        for each in sorted({one for one in which[0].values() if one is not None}):
            place = Path("checkpoints", f"step-{each}")
            _checkpoint(likeness, recorded / place, here / place, each)

    own, its = (list(_records(run, step, finished)) for run in (recorded, here))
    likeness.note(f"{len(own):,} records of training and validation", own == its)
    _samples(likeness, recorded / "samples.txt", here / "samples.txt", finished)
    for name, apart in (("data.json", ()), ("vocabulary.json", ()), (CALIBRATION, ("recipe",))):
        if (recorded / name).is_file() and (finished or name != CALIBRATION):
            likeness.note(name, _without(recorded / name, apart) == _without(here / name, apart))
    if finished:
        result = "result.json"
        same = _without(recorded / result, CLOCKS) == _without(here / result, CLOCKS)
        likeness.note("the figures, the baselines and what was generated", same)
    return likeness


def _json(path: Path) -> Any:
    return files.read_json(path)


def _without(path: Path, keys: tuple[str, ...]) -> Any:
    """Return a JSON object without some of its keys; nothing where it is not there."""
    if not path.is_file():
        return None
    return {key: value for key, value in _json(path).items() if key not in keys}


def _checkpoint(likeness: Likeness, recorded: Path, here: Path, step: int) -> None:
    """Compare two checkpoints: the bytes of each tensor, and the rest of the state."""
    names = {file.name for run in (recorded, here) for file in run.glob("*.safetensors")}
    # The weights are what most look for.
    for name in sorted(names, key=lambda each: (each != "weights.safetensors", each)):
        own, its = (_tensors(run / name) for run in (recorded, here))
        count = sum(size for *_, size in own.values())
        group = name.removesuffix(".safetensors")
        what = f"{group} of step {step}: {len(own)} tensors, {count:,} bytes"
        likeness.note(what, own == its)
        for tensor in sorted(own.keys() | its.keys()):
            if own.get(tensor) != its.get(tensor):
                likeness.differing.append(f"{group} {tensor}")
                break
    states = [_without(run / "state.json", OF_STATE) for run in (recorded, here)]
    for state in states:
        if isinstance(state, dict):
            state.get("progress", {}).pop("seconds", None)
    likeness.note(f"the rest of the state at step {step}", states[0] == states[1])


class _Told(NamedTuple):
    type: str
    shape: tuple[int, ...]
    sha256: str
    size: int


def _tensors(path: Path) -> dict[str, _Told]:
    """Return the tensors of a file by what tells one from another."""
    if not path.is_file():
        return {}
    header = headers.of_file(path)
    told = {}
    with path.open("rb") as file:
        for tensor in header.tensors:
            digest = hashlib.sha256()
            for block in headers.stretch(file, tensor):
                digest.update(block)
            told[tensor.name] = _Told(tensor.type, tensor.shape, digest.hexdigest(), tensor.size)
    return told


def _records(run: Path, step: int, finished: bool) -> Iterator[str]:
    """Give the records of a run up to a step, and its last figures where it has come to them."""
    path = run / "metrics.jsonl"
    for line in path.read_bytes().splitlines() if path.is_file() else []:
        try:
            record = files.parsed(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("step", step + 1) <= step:
            if finished or not record.get("final"):
                yield json.dumps(record, sort_keys=True)


def _samples(likeness: Likeness, recorded: Path, here: Path, finished: bool) -> None:
    """Compare what was generated; one that was killed may have generated more than it has saved."""
    if not recorded.is_file():
        return
    own, its = (path.read_bytes() if path.is_file() else b"" for path in (recorded, here))
    same = own == its if finished else own.startswith(its)
    likeness.note(f"{own.count(b'--- step '):,} samples", same)


class Figure(NamedTuple):
    """A figure of both runs, and whether one is within the tolerance of the other."""

    name: str
    recorded: float
    here: float
    within: bool


def figures(recorded: Path, here: Path, tolerance: float, finished: bool) -> list[Figure]:
    """Return the loss, and the figure that the verdict goes by; of a run without its end, the last.

    One is within the tolerance of another if it differs by so much of the larger of both.
    """
    if finished:
        own, its = (_json(run / "result.json") for run in (recorded, here))
        names = dict.fromkeys(("loss", own.get("judged", "loss")))
        pairs = [(name, own["metrics"].get(name), its["metrics"].get(name)) for name in names]
    else:
        own, its = (_last(run) for run in (recorded, here))
        pairs = [("loss", own, its)]
    found = []
    for name, one, other in pairs:
        # What is not finite is written as text.
        before, after = (math.nan if each is None else float(each) for each in (one, other))
        found.append(Figure(name, before, after, _alike(before, after, tolerance)))
    return found


def _last(run: Path) -> float | None:
    """Return the last loss on record, of validation where there is such."""
    losses: dict[str, float] = {}
    for line in (run / "metrics.jsonl").read_bytes().splitlines():
        record = files.parsed(line)
        if "loss" in record and not record.get("final"):
            losses[record["split"]] = record["loss"]
    return losses.get("validation", losses.get("train"))


def _alike(one: float, other: float, tolerance: float) -> bool:
    if one == other or (math.isnan(one) and math.isnan(other)):
        return True
    return abs(one - other) <= tolerance * max(abs(one), abs(other))
