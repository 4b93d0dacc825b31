"""Two folders of runs, compared byte for byte but for what is a clock or a place.

Of a run that was trained again on another day less is compared than of two on one machine, and its
figures up to a tolerance too.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from recurra.runs import files
from recurra.runs.records import CALIBRATION

CLOCKS: dict[str, tuple[tuple[str, ...], ...]] = {
    "state.json": (("progress", "seconds"), ("pace",)),
    "manifest.json": (("sha256",),),
    "index.json": (("sha256",),),
    "result.json": (("run",), ("seconds",), ("tokens_per_second",)),
}
"""Of files, the keys that hold a clock, a place, or hashes of files that are compared."""
OF_ELSEWHERE: dict[str, tuple[tuple[str, ...], ...]] = {
    **CLOCKS,
    # Runs of before have counted the bytes beside a checkpoint otherwise, or not at all.
    "state.json": (*CLOCKS["state.json"], ("sampled",), ("written",)),
    CALIBRATION: (("recipe",),),
}
"""The same of a run that was trained again elsewhere."""
IN_RECORDS = ("seconds", "tokens_per_second")
"""Keys of a record that hold a clock."""
FIRST = (
    "environment.json",
    "plugins.json",
    "data.json",
    "vocabulary.json",
    "task.toml",
    "metrics.jsonl",
    "weights.safetensors",
    "optimizer.safetensors",
    "carried.safetensors",
    "random.safetensors",
)
"""The files that tell most of where two runs part, in that order."""
SHOWN = 60
"""Characters of a value that are shown."""
ABSENT = "nothing"
"""What is shown where one of two has no such thing."""


@dataclass(frozen=True)
class Difference:
    """A place at which two runs differ, and what stands there in each.

    `what` is a tensor, a key or a line of the file; `step` that of the update that it is about.
    """

    file: str
    what: str
    reference: str
    resumed: str
    step: int | None = None

    def __str__(self) -> str:
        return self.told("in the reference", "in the resumed run")

    def told(self, one: str, other: str) -> str:
        """Return it in words, with what the two runs are."""
        place = f"{self.file}: {self.what}" if self.what else self.file
        return f"{place}: {self.reference} {one}, {self.resumed} {other}"


def _parted(file: str, what: str, sides: Iterable[str], step: int | None = None) -> Difference:
    """Return the difference of two things, each as it is shown."""
    reference, resumed = sides
    return Difference(file, what, reference, resumed, step)


@dataclass
class Compared:
    """What was compared, and the first difference in each file, in the order in which they tell."""

    files: int = 0
    bytes: int = 0
    tensors: dict[str, int] = field(default_factory=dict)
    tensor_bytes: dict[str, int] = field(default_factory=dict)
    records: int = 0
    samples: int = 0
    figures: int = 0
    differences: list[Difference] = field(default_factory=list)

    def add(self, other: Compared) -> None:
        """Count what another comparison has compared as well."""
        for name in ("files", "bytes", "records", "samples", "figures"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("tensors", "tensor_bytes"):
            counts = getattr(self, name)
            for group, count in getattr(other, name).items():
                counts[group] = counts.get(group, 0) + count
        self.differences += other.differences


def compare(reference: Path, resumed: Path) -> Compared:
    """Compare all files of two runs that are over: which there are depends on no clock."""
    compared = Compared()
    own, others = (_files(folder) for folder in (reference, resumed))
    for name in sorted(own.keys() | others.keys(), key=_order):
        one, other = own.get(name), others.get(name)
        if one is None or other is None:
            there, absent = "a file", ABSENT
            sides = (absent, there) if one is None else (there, absent)
            compared.differences.append(_parted(name, "", sides))
            continue
        compared.differences += list(_file(name, one, other, compared))[:1]
    return compared


def compare_again(recorded: Path, here: Path, step: int, finished: bool) -> Compared:
    """Compare what a bundle holds of a run with the run that was trained again up to a step.

    Left out is what may be otherwise elsewhere: versions, paths, how a file is laid out, and of a
    run without its end what it has left after its last checkpoint. Raises `OSError` and
    `ValueError` for what cannot be read.
    """
    compared = Compared()
    indices = [files.read_json(run / "checkpoints" / "index.json") for run in (recorded, here)]
    steps = [{which: index.get(which) for which in ("last", "best")} for index in indices]
    for key, *sides in _unequal(*steps):
        compared.differences.append(_parted("checkpoints/index.json", key, sides))

    names = {"metrics.jsonl", "samples.txt", "data.json", "vocabulary.json"}
    names |= {"result.json", CALIBRATION} if finished else set()
    for saved in {each for each in steps[0].values() if each is not None}:
        folder = Path("checkpoints", f"step-{saved}")
        inner = {path.name for run in (recorded, here) for path in (run / folder).glob("*")}
        names |= {(folder / name).as_posix() for name in inner - {"manifest.json"}}
    for name in sorted(names, key=_order):
        pair = recorded / name, here / name
        there = [path.is_file() for path in pair]
        if all(there):
            cut = None if finished else step
            found = _file(name, *pair, compared, elsewhere=True, cut=cut)
            compared.differences += list(found)[:1]
        elif there[0] or name.endswith(".safetensors"):
            shown = ("a file" if each else ABSENT for each in there)
            compared.differences.append(_parted(name, "", shown))
    return compared


def _order(name: str) -> tuple[bool, int, str]:
    """Return what sorts the names of files: those that tell most of a difference first."""
    last = name.rpartition("/")[2]
    rank = FIRST.index(last) if last in FIRST else len(FIRST)
    return name.startswith("calibration/"), rank, name


def _files(folder: Path) -> dict[str, Path]:
    """Return the files of a run by their names in it."""
    found = (path for path in sorted(folder.rglob("*")) if not path.is_dir())
    return {path.relative_to(folder).as_posix(): path for path in found}


def _file(
    name: str,
    one: Path,
    other: Path,
    compared: Compared,
    elsewhere: bool = False,
    cut: int | None = None,
) -> Iterator[Difference]:
    """Give the differences of a file that both runs have; of one that grows, up to a step."""
    last = name.rpartition("/")[2]
    compared.files += 1
    if last.endswith(".safetensors"):
        yield from _tensors(name, one, other, compared)
        if not elsewhere and one.read_bytes() != other.read_bytes():
            # Equal tensors may still be written otherwise.
            yield Difference(name, "its header", "one", "another", _step(name))
        return

    texts = one.read_bytes(), other.read_bytes()
    if cut is not None:
        texts = _cut(last, texts, cut)
    compared.bytes += len(texts[0])
    if last == "metrics.jsonl":
        yield from _records(name, *texts, compared)
    elif last.endswith(".json"):
        yield from _json(name, *texts, compared, elsewhere)
    else:
        if last == "samples.txt":
            compared.samples += texts[0].count(b"\n--- step ") + texts[0].startswith(b"--- step ")
        yield from _lines(name, *texts)


def _cut(last: str, texts: tuple[bytes, bytes], step: int) -> tuple[bytes, bytes]:
    """Return of two files that grow what both have up to a step.

    One that was killed may have written more than it has saved.
    """
    if last == "samples.txt":
        return texts[0][: len(texts[1])], texts[1]
    if last != "metrics.jsonl":
        return texts
    rows = [
        [line for line in text.splitlines(keepends=True) if _is_early(line, step)] for text in texts
    ]
    return b"".join(rows[0]), b"".join(rows[1])


def _is_early(line: bytes, step: int) -> bool:
    """Tell whether a line is a record of training up to a step."""
    record = _parsed(line)
    is_record = isinstance(record, dict) and not record.get("final")
    return is_record and record.get("step", step + 1) <= step


def _tensors(name: str, one: Path, other: Path, compared: Compared) -> Iterator[Difference]:
    """Give the first difference of each tensor of two files."""
    group = name.rpartition("/")[2].removesuffix(".safetensors")
    step = _step(name)
    compared.bytes += one.stat().st_size
    pair = load_file(one), load_file(other)
    for tensor in sorted(pair[0].keys() | pair[1].keys()):
        own, its = (side.get(tensor) for side in pair)
        if own is None or its is None:
            shown = (ABSENT if side is None else _shape(side) for side in (own, its))
            yield _parted(name, f"tensor {tensor}", shown, step)
            continue
        compared.tensors[group] = compared.tensors.get(group, 0) + 1
        size = own.numel() * own.element_size()
        compared.tensor_bytes[group] = compared.tensor_bytes.get(group, 0) + size
        if own.shape != its.shape or own.dtype != its.dtype:
            yield Difference(name, f"tensor {tensor}", _shape(own), _shape(its), step)
            continue
        index = _unlike(own, its)
        if index is not None:
            shown = (repr(side[index].item()) for side in (own, its))
            yield _parted(name, f"tensor {tensor} {list(index)}", shown, step)


def _unlike(own: Tensor, its: Tensor) -> tuple[int, ...] | None:
    """Return the index of the first element whose bytes differ, if any do."""
    if not own.numel():
        return None
    rows = [side.reshape(-1).contiguous().view(torch.uint8) for side in (own, its)]
    wide = [row.reshape(own.numel(), -1) for row in rows]
    odd = (wide[0] != wide[1]).any(dim=1).nonzero()
    if not len(odd):
        return None
    place = torch.unravel_index(odd[0, 0], own.shape) if own.ndim else ()
    return tuple(int(index) for index in place)


def _shape(tensor: Tensor) -> str:
    return f"{list(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"


def _step(name: str) -> int | None:
    """Return the step of the checkpoint in which a file lies, if it lies in one."""
    parts = name.split("/")
    steps = [part.removeprefix("step-") for part in parts if part.startswith("step-")]
    return int(steps[-1]) if steps and steps[-1].isdecimal() else None


def _records(name: str, one: bytes, other: bytes, compared: Compared) -> Iterator[Difference]:
    """Give the records that differ, but for what of them is a clock."""
    rows = zip_longest(one.splitlines(), other.splitlines(), fillvalue=b"")
    for number, pair in enumerate(rows, 1):
        compared.records += 1
        if pair[0] == pair[1]:
            continue
        own, its = (_without(_parsed(line), [(key,) for key in IN_RECORDS]) for line in pair)
        first = next(_unequal(own, its), None)
        if first is not None:
            key, *sides = first
            known = own if isinstance(own, dict) else its
            step = known.get("step") if isinstance(known, dict) else None
            yield _parted(name, f"line {number} {key}".rstrip(), sides, step)


def _json(
    name: str, one: bytes, other: bytes, compared: Compared, elsewhere: bool
) -> Iterator[Difference]:
    """Give the keys of two JSON files that differ, but for clocks and places."""
    last = name.rpartition("/")[2]
    clocks = (OF_ELSEWHERE if elsewhere else CLOCKS).get(last, ())
    own, its = (_without(_parsed(text), clocks) for text in (one, other))
    if last == "result.json":
        compared.figures += sum(1 for _ in _leaves(own))
    for key, *sides in _unequal(own, its):
        yield _parted(name, key, sides, _step(name))
    if not clocks and not elsewhere and one != other:
        yield from _lines(name, one, other)


def _lines(name: str, one: bytes, other: bytes) -> Iterator[Difference]:
    """Give the lines of two texts that differ."""
    rows = zip_longest(one.split(b"\n"), other.split(b"\n"))
    for number, pair in enumerate(rows, 1):
        if pair[0] != pair[1]:
            texts = (None if line is None else line.decode("utf-8", "replace") for line in pair)
            shown = (ABSENT if text is None else _shown(text) or "no text" for text in texts)
            yield _parted(name, f"line {number}", shown)


def _parsed(text: bytes) -> Any:
    """Return what JSON holds; a text that is none as it is."""
    try:
        return files.parsed(text)
    except ValueError:
        return text.decode("utf-8", "replace")


def _without(value: Any, keys: Any) -> Any:
    """Return a table without some keys, at any depth."""
    for path in keys:
        table = value
        for key in path[:-1]:
            table = table.get(key) if isinstance(table, dict) else None
        if isinstance(table, dict):
            table.pop(path[-1], None)
    return value


def _leaves(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Give each plain value of nested tables and lists, with its dotted key."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list) and value:
        for place, inner in enumerate(value):
            yield from _leaves(inner, f"{key}[{place}]")
    else:
        yield key, value


def _unequal(own: Any, its: Any) -> Iterator[tuple[str, str, str]]:
    """Give each key whose value differs, with both."""
    one, other = dict(_leaves(own)), dict(_leaves(its))
    for key in [*one, *(key for key in other if key not in one)]:
        pair = [_shown(json.dumps(side[key])) if key in side else ABSENT for side in (one, other)]
        if pair[0] != pair[1]:
            yield key, pair[0], pair[1]


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


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
        own, its = (files.read_json(run / "result.json") for run in (recorded, here))
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
