"""What recurra has written and reads back, damaged.

These are runs, sessions, corpora, timings of paths, and certificates.
"""

from __future__ import annotations

import functools
import json
import math
import shutil
import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import witnesses
from trials import Stopper

import recurra
from fuzz import values
from fuzz.cases import Case
from fuzz.tasks import quickly
from recurra import resolve as resolving
from recurra.catalog import discover
from recurra.engine.timings import KnownTimings, Timings
from recurra.errors import Interrupted
from recurra.job.run import Run
from recurra.testing.certificate import FILE, standing

TASKS = ("hello_gru", "python_docs", "airline")
"""Runs that differ in what they hold.

No validation; carried states and a best checkpoint; numbers.
"""
FREE = ("task.toml", "metrics.jsonl", "samples.txt")
"""Files that a person may change, or that nothing is computed from."""
CLOSE = 1e-4


@dataclass(frozen=True)
class Pristine:
    """A run as it is before it is damaged, and what it says."""

    path: Path
    loaded: Any
    resumed: Any


@functools.cache
def pristine(commons: Path, name: str) -> Pristine:
    """Return a run that was made by the recurra of today, stopped with steps left."""
    home = commons / "made" / name
    task = witnesses.copied(name, home) / "task.toml"
    with mock.patch.object(resolving, "discover", quickly):
        with suppress(Interrupted):
            recurra.run(task, runs=home / "fresh", observer=Stopper({witnesses.STOP}))
        path = home / "fresh" / name / "1"
        shutil.copytree(path, home / "again")
        return Pristine(path, said(recurra.load(path)), resumed(home / "again"))


def said(run: Run) -> Any:
    """Return all that is computed from the files of a run."""
    run.metrics()
    return [run.evaluate()["metrics"], list(run.generate(length=3)), run.generated(4)]


def resumed(path: Path) -> Any:
    """Return what a run comes to."""
    result = recurra.resume(path).result
    return [result["metrics"], result["generated"]]


def same(one: Any, other: Any) -> bool:
    """Tell whether two results are the same, up to rounding."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=CLOSE, abs_tol=CLOSE) or (
            math.isnan(one) and math.isnan(other)
        )
    return bool(one == other)


def runs(case: Case) -> None:
    """A file of a run is damaged; the run is opened, evaluated, generated from and resumed.

    It is a run of today or of before.
    """
    name = case.random.choice(TASKS)
    new = case.random.random() < 0.6
    before = pristine(case.commons, name)

    folder = case.folder / "a" / "run"
    shutil.copytree(before.path if new else witnesses.HERE / "runs" / name, folder)
    shutil.copytree(witnesses.HERE / "data", case.folder / "data")
    if new:  # whose task names its data by a path from the root
        shutil.copytree(witnesses.HERE / "data", case.folder / "a" / "data")
    else:
        shutil.copytree(folder, case.folder / "runs" / name)
        folder = case.folder / "runs" / name

    damaged, what = damage(case.random, folder)
    case.input = f"{name}, {'of today' if new else 'of before'}: {damaged}: {what}"

    with mock.patch.object(resolving, "discover", quickly):
        if case.random.random() < 0.5:
            outcome, expected = case.attempt(lambda: said(recurra.load(folder))), before.loaded
        else:
            outcome, expected = case.attempt(lambda: resumed(folder)), before.resumed

    # A run of before has no hashes by which a change could be noticed.
    altered = outcome.done and not outcome.warned and not same(outcome.value, expected)
    if new and altered and damaged not in FREE:
        case.fault(
            f"nobody notices that {_kind(damaged)} was changed",
            f"{outcome.value!r:.300}, not {expected!r:.300}",
        )


def _kind(name: str) -> str:
    return "/".join("step-N" if part.startswith("step-") else part for part in Path(name).parts)


def damage(random: Random, folder: Path) -> tuple[str, str]:
    """Damage one file below a folder, or a folder itself; return its name and what was done."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() or random.random() < 0.1)
    path = random.choice(paths)
    name = str(path.relative_to(folder))

    draw = random.random()
    if path.is_dir() or draw < 0.12:
        return name, _misplaced(random, path)

    if path.suffix in (".json", ".jsonl") and draw < 0.75:
        return name, _as_data(random, path)
    if path.suffix == ".safetensors" and draw < 0.5:
        return name, _header(random, path)

    raw, what = values.corrupted(random, path.read_bytes())
    path.write_bytes(raw)
    return name, what


def _misplaced(random: Random, path: Path) -> str:
    """Put something else where a file or folder was."""
    what = random.choice(
        [
            "gone",
            "a folder",
            "a file",
            "a link to itself",
            "a link to nothing",
            "renamed",
            "empty folder",
        ]
    )

    if what == "renamed":
        path.rename(path.with_name(f"{path.name}x"))
        return what

    # All others begin with what was there gone.
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if what == "a folder":
        (path / "inner").mkdir(parents=True)
    elif what == "empty folder":
        path.mkdir()
    elif what == "a file":
        path.write_text("x")
    elif what.startswith("a link"):
        path.symlink_to(path.name if what == "a link to itself" else "nowhere")
    return what


def _as_data(random: Random, path: Path) -> str:
    """Change a value, a key or a type of a JSON file, or of a line of it."""
    text = path.read_text(encoding="utf-8")
    rows = text.splitlines() if path.suffix == ".jsonl" else [text]
    number = random.randrange(len(rows))
    data, what = values.disturbed(random, json.loads(rows[number]), values.JSON)
    rows[number] = json.dumps(data, ensure_ascii=random.random() < 0.5)
    path.write_bytes("\n".join(rows).encode("utf-8", "surrogatepass"))
    return what


def _header(random: Random, path: Path) -> str:
    """Change the header of a safetensors file.

    It holds names, types, shapes and places of its tensors, and what the file says of itself.
    """
    raw = path.read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    data, what = values.disturbed(random, json.loads(raw[8 : 8 + size]), values.JSON)
    header = json.dumps(data).encode("utf-8", "surrogatepass")
    header += b" " * (-len(header) % 8)
    path.write_bytes(struct.pack("<Q", len(header)) + header + raw[8 + size :])
    return f"in the header {what}"


@functools.cache
def _session(commons: Path, name: str) -> tuple[Run, Path, Any]:
    """Return an open run of today, a session that it has saved, and what that gives next."""
    run = recurra.load(pristine(commons, name).path)
    path = commons / f"{name}.safetensors"
    session = witnesses.opened(run)
    session.save(path)
    return run, path, witnesses.onward(session)


def sessions(case: Case) -> None:
    """A saved session is damaged, and restored."""
    name = case.random.choice(TASKS)
    run, saved, expected = _session(case.commons, name)
    path = case.folder / "session.safetensors"
    shutil.copy(saved, path)

    draw = case.random.random()
    if draw < 0.1:
        what = _misplaced(case.random, path)
    elif draw < 0.6:
        what = _header(case.random, path)
    else:
        raw, what = values.corrupted(case.random, path.read_bytes())
        path.write_bytes(raw)

    case.input = f"session of {name}: {what}"
    outcome = case.attempt(lambda: witnesses.onward(run.session().restore(path)))

    # A header or a tensor that was changed must be noticed: a session has a hash.
    if outcome.done and not outcome.warned and not same(outcome.value, expected):
        case.fault(
            "nobody notices that a saved session was changed",
            f"{outcome.value!r:.300}, not {expected!r:.300}",
        )


def corpora(case: Case) -> None:
    """A file of an encoded corpus in the cache folder is damaged; the corpus is no other for it."""
    task = witnesses.HERE / "runs" / "hello_prefixes" / "task.toml"
    cache = case.folder / "cache"
    with mock.patch.object(resolving, "discover", quickly):
        store, vocabulary = witnesses.stored(task, cache)
        elements, starts, fingerprint = (
            store.values.tolist(),
            store.starts.tolist(),
            store.fingerprint,
        )
        damaged, case.input = damage(case.random, cache)
        outcome = case.attempt(lambda: witnesses.stored(task, cache))

    if outcome.error is not None:
        case.fault("a damaged cache is in the way", str(outcome.error))
    elif outcome.done and not damaged.endswith("values.bin"):
        again, learned = outcome.value
        if (again.values.tolist(), again.starts.tolist(), learned) != (
            elements,
            starts,
            vocabulary,
        ):
            case.fault(
                "a damaged corpus is taken for sound", f"{damaged}: {again.starts!r} {learned!r}"
            )
        elif again.fingerprint != fingerprint:
            case.fault("a corpus is taken for another", f"{damaged}: {again.fingerprint!r}")


def measured(case: Case) -> None:
    """The file in which a measurement is kept is damaged.

    Another one is made, and nothing else comes of it.
    """
    question, names = {"format": 1, "cell": "fuzz"}, ["native", "eager"]
    seconds = {"native": 1e-3, "eager": 2e-3}
    measurements = []

    def measure() -> Timings:
        measurements.append(seconds)
        return Timings(seconds=seconds)

    def recall() -> Timings:
        """As a process does that has just begun."""
        return KnownTimings().recall(question, names, measure, lambda: 0.0)

    with mock.patch.dict("os.environ", RECURRA_CACHE=str(case.folder / "cache")):
        recall()
        damaged, what = damage(case.random, case.folder / "cache")
        case.input = f"{damaged}: {what}"
        outcome = case.attempt(recall)
        mended = case.attempt(recall)

    # What is damaged is measured anew, and kept for the next.
    for result in (outcome, mended):
        if result.error is not None:
            case.fault("a damaged cache is in the way", str(result.error))
        elif result.done and not result.value.seconds.keys() <= {*names}:
            case.fault("timings of other paths", str(result.value))

    if mended.done and len(measurements) == 2 and mended.value.seconds != seconds:
        case.fault("what was measured again is not what is read", str(mended.value))


def certificates(case: Case) -> None:
    """The certificate beside a component is damaged: it is worth nothing, and nothing fails."""
    shutil.copytree(witnesses.SITE, case.folder / "site")
    package = case.folder / "site" / witnesses.PLUGIN
    alone = case.folder / "alone"
    alone.mkdir()
    shutil.move(package / FILE, alone)

    _, case.input = damage(case.random, alone)
    for path in alone.iterdir():
        shutil.move(path, package)

    with witnesses.installed(case.folder / "site"):
        entries = [entry for entry in discover().entries if witnesses.PLUGIN in entry.plugin.origin]
        case.attempt(lambda: [str(standing(entry)) for entry in entries])
