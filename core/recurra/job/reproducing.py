"""A run trained again from its bundle alone, and held against what it was.

What is promised is every bit, where all is the same that bits depend on; elsewhere rounding differs
and the figures are held against the recorded ones.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from recurra.errors import (
    InputError,
    Interrupted,
    OtherVersion,
    PluginError,
    Problem,
    RecurraError,
    warn,
)
from recurra.job.again import go_on
from recurra.job.changes import changed
from recurra.job.fresh import Prepared, prepared
from recurra.job.opening import opened
from recurra.job.paths import Execution
from recurra.job.reopen import recorded_paths
from recurra.job.replaying import SOURCE, Phase, differing, foreign_code, phases, placed
from recurra.job.run import Run
from recurra.job.start import Start
from recurra.job.train import tell
from recurra.model.device import of_here
from recurra.resolve import resolve, usable_name
from recurra.resolved import Resolved
from recurra.runs import bundles, files
from recurra.runs.archive import Archive, refused
from recurra.runs.bundles import ORIGIN, RUN, Bundle
from recurra.runs.comparing import Compared, Figure, compare_again, figures
from recurra.runs.folder import RunFolder
from recurra.runs.versions import LOCAL, installed
from recurra.spec.overrides import leaves, overriding
from recurra.spec.reading import read_toml
from recurra.train.events import Observer

PLACE = "bundle"
"""The folder of a new run in which its bundle is unpacked."""
TOLERANCE = 0.01
"""By how much of it a figure may differ where bits cannot be promised."""
PROMISE = (
    "strict determinism: the same bits with the same versions, model of processor, device, threads"
    " and execution paths, in one process; elsewhere sums are rounded otherwise"
)
"""What `device.determinism = "strict"` says."""

Overrides = Iterable[str] | Mapping[str, Any]


@dataclass(frozen=True)
class Reproduction:
    """A run that was trained again: whether it is what it was, at which level, and why at that.

    The level is `bits` where nothing in `reasons` differs, else `figures`, held to a `tolerance`.
    """

    bundle: str
    run: str
    passed: bool
    level: str
    reasons: list[str]
    compared: Compared
    figures: list[Figure]
    tolerance: float
    promise: str = PROMISE

    @property
    def same_bits(self) -> bool:
        """Whether every bit is the same, promised or not."""
        return not self.compared.differences

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self) | {
            "same_bits": self.same_bits,
            "figures": [figure._asdict() for figure in self.figures],
        }


@dataclass
class Unpacked:
    """A bundle that was unpacked into the folder of the run that is to be trained again."""

    held: Archive
    bundle: Bundle
    folder: RunFolder
    root: Path = field(init=False)

    def __post_init__(self) -> None:
        self.root = self.folder.path / PLACE

    @property
    def recorded(self) -> RunFolder:
        """The run as it was."""
        return RunFolder(self.root / RUN)


def reproduce(
    path: Path,
    overrides: Overrides,
    data: Any,
    trust: bool,
    tolerance: float,
    runs: Path,
    observer: Observer,
) -> Reproduction:
    """Train the run of a bundle again, and compare. Raises what `recurra.reproduce` does."""
    _check_overrides(overrides)
    with bundles.opened(path) as (held, bundle):
        held.verify()
        if not usable_name(bundle.task):
            held.refuse(f"no task is called {bundle.task[:40]!r}")
        _check_needs(held, bundle)
        if not trust:
            bundles.refuse_code(held, bundle)
        if bundle.given and data is None:
            fact = f"the data of {path} was given by a program, and is not in it"
            cure = "give it again: recurra.reproduce(BUNDLE, data=...)"
            raise InputError.of("RC044", fact, cure=cure)

        folder = RunFolder.create(runs, bundle.task)
        try:
            unpacked = Unpacked(held, bundle, folder)
            held.extract(unpacked.root)
            ready, todo = _ready(unpacked, overrides, data)
        except BaseException:
            # Nothing was trained, and nothing of the bundle stays.
            shutil.rmtree(folder.path, ignore_errors=True)
            raise
    tell(observer, [f"from {path}: training as it was trained"])
    run = _trained(folder, ready, todo, data, observer)
    return _compared(path, unpacked, run or folder, tolerance)


def _check_overrides(overrides: Overrides) -> None:
    """Refuse what would make another run. Raises `InputError` (RC080)."""
    for override in overriding(overrides):
        for key, _ in leaves(override.tables):
            if key[0] != SOURCE:
                name = ".".join(map(str, key))
                fact = "where a run is reproduced, this stays: it would be another run"
                cure = "leave it out; where the data lies now is said by -o source.path=..."
                raise InputError.of("RC080", fact, key=name, cure=cure)


def _check_needs(held: Archive, bundle: Bundle) -> None:
    """Refuse a bundle whose plugins are not installed, by what installs them.

    Warns (`OtherVersion`) of others. Raises `PluginError` (RC070).
    """
    folders = [RUN, *([ORIGIN] if bundle.start else [])]
    components = [each for folder in folders for each in bundles.components(held, folder)]
    needed: dict[str, tuple[str, list[str]]] = {}
    for each in components:
        if not each.distribution.startswith(LOCAL):
            needed.setdefault(each.distribution, (each.version, []))[1].append(each.name)
    missing = {name: it for name, it in needed.items() if installed(name) is None}
    if missing:
        fact = f"{held.path} needs what is not installed: " + "; ".join(
            f"{name} {version} ({', '.join(dict.fromkeys(parts))})"
            for name, (version, parts) in missing.items()
        )
        pins = " ".join(f"{name}=={version}" for name, (version, _) in missing.items())
        raise PluginError.of("RC070", fact, cure=f"pip install {pins}")
    for name, (version, _) in needed.items():
        if (now := installed(name)) != version:
            warn(f"{held.path} was made with {name} {version} (now {now})", OtherVersion)


def _ready(unpacked: Unpacked, overrides: Overrides, data: Any) -> tuple[Prepared, list[Phase]]:
    """Return what is left to train, once nothing more can be refused."""
    held, bundle, recorded = unpacked.held, unpacked.bundle, unpacked.recorded
    recorded.records.verify()
    for which in ("last", "best"):
        recorded.checkpoints.load(which)
    if recorded.checkpoints.index()["last"] != bundle.step:
        held.refuse("its last checkpoint is of another step than its manifest says")
    last = None if bundle.finished else bundle.step
    try:
        tables = _placed(unpacked, RUN)
        first, todo = phases(tables, recorded.records.changes(), last)
    except (ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        held.refuse(f"its files do not fit each other: {error}")

    environment = recorded.records.environment()
    _on_the_same(first, environment.device, environment.threads)
    try:
        resolved = resolve(first, overrides, data=data, recorded=True)
        resolved.task = resolved.task.model_copy(update={"device": of_here(resolved.task.device)})
        execution = recorded_paths(recorded, resolved)
        ready = _prepared(unpacked, resolved, execution)
    except RecurraError as error:
        raise type(error)(_looked_for(held, each) for each in error.problems) from error
    if ready.data.store.fingerprint != recorded.records.data().fingerprint:
        fact = f"the data is not what the run of {held.path} was made from"
        told = [
            f"{file.name}, {file.size:,} bytes, sha256:{file.sha256}"
            for place in bundle.places
            for file in place.files[:4]
        ]
        cure = "bring it back as it was, or say where it lies: -o source.path=..."
        raise InputError.of("RC044", fact, key="source", allowed="; ".join(told), cure=cure)
    return ready, todo


def _placed(unpacked: Unpacked, folder: str) -> dict[str, Any]:
    """Return the task of a run in a bundle, with what that brings where it is unpacked.

    Raises `InputError` (RC056) for one that names code which is not in the bundle.
    """
    bundle, root = unpacked.bundle, unpacked.root
    places = bundle.places
    if folder == ORIGIN and bundle.start is not None:
        places = bundle.start.places
    _, tables = read_toml(root / folder / "task.toml")
    tables = placed(tables, places, root.absolute())
    if foreign := foreign_code(tables, root.absolute()):
        unpacked.held.refuse(f"its task names {foreign[0]}, code that it does not hold")
    return tables


def _on_the_same(tables: dict[str, Any], device: str, threads: int) -> None:
    """Ask for the device and the threads of a run, where its task leaves them open."""
    asked = tables.setdefault("device", {})
    kind = device.partition(":")[0]
    if kind and asked.get("kind", "auto") == "auto":
        asked["kind"] = kind
    asked["threads"] = threads


def _prepared(unpacked: Unpacked, resolved: Resolved, execution: Execution) -> Prepared:
    """Return a run that is ready to be trained, from another one where it starts from that."""
    start = unpacked.bundle.start
    if start is None:
        return prepared(resolved, None, execution)
    folder = RunFolder(unpacked.root / ORIGIN)
    other = opened(folder, start.checkpoint, tables=_placed(unpacked, ORIGIN))
    step = folder.checkpoints.index()[start.checkpoint]
    sha256 = folder.checkpoints.digest(step)
    origin = Start(other, step, sha256, start.add_symbols, start.refit_scale)
    origin.check(resolved)
    return prepared(resolved, origin, execution)


def _looked_for(held: Archive, problem: Problem) -> Problem:
    """Return a problem; that of data that is not there says what can be done."""
    if problem.code not in ("RC001", "RC040") or not problem.key.startswith(SOURCE):
        return problem
    cure = "say where its data lies here, -o source.path=..., or get a bundle made --with-data"
    return replace(problem, cure=cure)


def _trained(
    folder: RunFolder, ready: Prepared, todo: list[Phase], data: Any, observer: Observer
) -> Run | None:
    """Train a run in the phases in which it was trained; return it, if it comes to its end."""
    run: Run | None = None
    done = 0
    for number, (changes, until) in enumerate(todo):
        if until is not None and until <= done:
            # It was stopped before another update was made.
            continue
        try:
            if number == 0:
                run = ready.trained(folder, observer, until)
            else:
                with folder.held():
                    run = go_on(folder, changed(folder, changes, data), observer, until)
        except Interrupted:
            done = folder.checkpoints.index().get("last", 0)
            if until is None or done < until:
                raise
            run = None
        else:
            done = folder.checkpoints.index()["last"]
    return run


def _compared(
    path: Path, unpacked: Unpacked, run: Run | RunFolder, tolerance: float
) -> Reproduction:
    """Return what came of it, held against what it was."""
    bundle, recorded = unpacked.bundle, unpacked.recorded
    environments = [files.read_json(each.path / "environment.json") for each in (recorded, run)]
    reasons = differing(environments) + _other_plugins(recorded, unpacked.folder)
    _, tables = read_toml(recorded.path / "task.toml")
    if tables.get("device", {}).get("determinism") == "relaxed":
        reasons.append("device.determinism is relaxed")

    try:
        compared = compare_again(recorded.path, run.path, bundle.step, bundle.finished)
        held = figures(recorded.path, run.path, tolerance, bundle.finished)
    except (OSError, ValueError, TypeError, AttributeError, KeyError) as error:
        raise refused(path, f"what the run has left cannot be read: {error}") from error
    level = "figures" if reasons else "bits"
    passed = not compared.differences if level == "bits" else all(each.within for each in held)
    return Reproduction(
        bundle=str(path),
        run=str(run.path),
        passed=passed,
        level=level,
        reasons=reasons,
        compared=compared,
        figures=held,
        tolerance=tolerance,
    )


def _other_plugins(recorded: RunFolder, here: RunFolder) -> list[str]:
    """Return the plugins that are of another version than recorded, in words."""
    own, its = (
        {each.name: f"{each.distribution} {each.version}" for each in run.records.plugins()}
        for run in (recorded, here)
    )
    found = [f"{own[name]}, here {its.get(name)}" for name in own if own[name] != its.get(name)]
    return list(dict.fromkeys(found))
