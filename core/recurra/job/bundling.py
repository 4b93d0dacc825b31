"""A run made one file, from which it can be trained again: all that its task names comes along."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import recurra
from recurra.attribution import blaming
from recurra.contracts.options import Options, validate_options
from recurra.errors import InputError, RunError
from recurra.job.reopen import resolved_again, same_data
from recurra.model.device import arithmetic
from recurra.resolved import Part, Resolved
from recurra.runs import archive, bundles, files
from recurra.runs.archive import Content
from recurra.runs.bundles import Bundle, Held, Place, Start
from recurra.runs.folder import RunFolder
from recurra.runs.records import CALIBRATION, CHANGES, HASHES, ORIGIN, SEALED, Origin
from recurra.runs.versions import check_trusted, warn_of_others

ALWAYS = (*SEALED, HASHES, CHANGES, ORIGIN, CALIBRATION, "metrics.jsonl", "samples.txt")
"""What is taken of a run wherever it is there, beside its checkpoints."""
RESULT = "result.json"
CACHED = "__pycache__"
TASK = f"{bundles.RUN}/task.toml"


def bundle(path: Path, output: Path | None, with_data: bool) -> Path:
    """Write a run into one file; return its path.

    Raises `InputError` and `RunError` for what could not be trained again from it: what is damaged,
    was changed, or is gone.
    """
    folder = RunFolder.open(path)
    with folder.held():
        resolved = _checked(folder)
        contents: dict[str, Content] = {}
        about = _about(folder, resolved, with_data, contents)
        task = resolved.task.name
        target = output or Path(f"{task}-{folder.path.resolve().name}.zip")
        if target.exists() and not (target.is_file() and archive.looks_like_one(target)):
            fact = f"{target} is no bundle, and would be lost"
            raise InputError.of("RC080", fact, cure="name another file: -o run.zip")
        _check_same(target, folder)
        archive.write(target, about.model_dump(mode="json"), contents)
    return target


def _check_same(target: Path, folder: RunFolder) -> None:
    """Raise `InputError` (RC080) where a bundle that would be replaced holds another run.

    One that cannot be opened is none that anybody could train again.
    """
    try:
        with bundles.opened(target) as (held, about):
            same = held.entries[TASK].sha256 == files.digest(folder.path / "task.toml")
            named = about.task
    except (InputError, KeyError):
        return
    if not same:
        fact = f"{target} holds another run, of task {named[:80]}, and it would be lost"
        raise InputError.of("RC080", fact, cure="name another file, or take this one away first")


def _checked(folder: RunFolder) -> Resolved:
    """Return the task of a run of which all is as it was written. Raises `InputError`, `RunError`.

    A local plugin that was edited is not what the run was made with, whoever trusts it.
    """
    folder.records.verify()
    for which in ("last", "best"):
        folder.checkpoints.load(which)
    warn_of_others(folder)
    check_trusted(folder, trust=False)
    return resolved_again(folder)


def _about(
    folder: RunFolder, resolved: Resolved, with_data: bool, contents: dict[str, Content]
) -> Bundle:
    """Return what the manifest says, and add all that the bundle holds to its contents."""
    given = "data" in resolved.parts["source"].entry.component.lacks
    if given and with_data:
        fact = f"the data of {folder.path} was given by a program, which alone has it"
        cure = "leave --with-data out, and give it again: recurra.reproduce(BUNDLE, data=...)"
        raise InputError.of("RC080", fact, cure=cure)
    if with_data:
        with blaming(resolved), arithmetic(resolved.task.device):
            same_data(folder, resolved)

    finished = _take_run(folder, bundles.RUN, contents)
    packing = Packing(contents, with_data)
    places = list(packing.places(resolved))
    return Bundle(
        format=bundles.FORMAT,
        recurra=recurra.__version__,
        task=resolved.task.name,
        step=folder.checkpoints.index()["last"],
        finished=finished,
        given=given,
        with_data=with_data,
        places=places,
        start=_start(folder, packing),
    )


def _take_run(folder: RunFolder, name: str, contents: dict[str, Content]) -> bool:
    """Take the files of a run; return whether it has come to its end, as its result says."""
    finished = any(record.get("final") for record in folder.metrics())
    finished = finished and (folder.path / RESULT).is_file()
    names = [*ALWAYS, *([RESULT] if finished else [])]
    for each in names:
        if (folder.path / each).is_file():
            contents[f"{name}/{each}"] = folder.path / each

    saved = folder.checkpoints
    steps = saved.index()
    hashes = {f"step-{step}": saved.digest(step) for step in sorted(steps.values())}
    index = files.json_text({**steps, "sha256": hashes})
    contents[f"{name}/checkpoints/index.json"] = index.encode()
    for step in set(steps.values()):
        for file in (saved.path / f"step-{step}").iterdir():
            contents[f"{name}/checkpoints/step-{step}/{file.name}"] = file
    return finished


def _start(folder: RunFolder, packing: Packing) -> Start | None:
    """Return how a run starts from another, which comes along. Raises `InputError`, `RunError`."""
    record = folder.records.origin()
    if record is None:
        return None
    cure = "bring it back as it was: a bundle without it could not be trained again"
    try:
        origin = RunFolder.open(record.run)
    except InputError as error:
        fact = f"{folder.path} starts from {record.run}, which is gone"
        raise InputError.of("RC051", fact, cure=cure) from error

    which = _checkpoint(origin, record)
    if which is None:
        fact = (
            f"{folder.path} starts from step {record.step} of {record.run}, which has no such"
            " checkpoint any more"
        )
        raise RunError.of("RC052", fact, cure=cure)
    if record.add_symbols is None or record.refit_scale is None:
        fact = f"{folder.path} does not record how it takes symbols and scale of {record.run}"
        cure = "it was made by a recurra of before: train it again, and bundle that run"
        raise InputError.of("RC051", fact, cure=cure)

    resolved = _checked(origin)
    _take_run(origin, bundles.ORIGIN, packing.contents)
    places = list(packing.places(resolved, data=False))
    return Start(
        checkpoint=which,
        add_symbols=record.add_symbols,
        refit_scale=record.refit_scale,
        places=places,
    )


def _checkpoint(origin: RunFolder, record: Origin) -> str | None:
    """Return which checkpoint of a run another one started from, if it is still there."""
    for which, step in origin.checkpoints.index().items():
        if step == record.step and origin.checkpoints.digest(step) == record.sha256:
            return which
    return None


class Named(NamedTuple):
    """A path that a task names: by which table and key, and the part whose option it is."""

    table: str
    key: str
    path: str


def named_paths(resolved: Resolved) -> Iterator[Named]:
    """Give every path that the options of a task's components name."""
    parts = list(resolved.parts.items())
    parts += [(resolved.cell_key(index), part) for index, part in enumerate(resolved.cells)]
    for table, part in parts:
        yield from _paths_of(table, part)


def _paths_of(table: str, part: Part) -> Iterator[Named]:
    """Give the paths in the options of a component: those that it would have made absolute."""
    found: list[Named] = []

    def note(path: str, key: str) -> str:
        found.append(Named(table, key, path))
        return path

    body = {name: value for name, value in part.table().items() if name != "kind"}
    model: type[Options] = type(part.options)
    validate_options(model, body, note)
    yield from found


class Packing:
    """Takes what tasks name into the contents of a bundle."""

    def __init__(self, contents: dict[str, Content], with_data: bool) -> None:
        self.contents, self.with_data = contents, with_data
        self._counts = dict.fromkeys((bundles.CODE, bundles.DATA, bundles.BESIDE), 0)

    def places(self, resolved: Resolved, data: bool = True) -> Iterator[Place]:
        """Give each path that a task names, with what is taken in its place.

        Data that is not asked for is told by its hash. Raises `InputError` (RC001) for what is
        gone.
        """
        for path in resolved.task.plugins.files:
            yield self._code(Path(path))
        for table, key, path in named_paths(resolved):
            is_data = table == "source"
            if is_data and not data:
                continue
            base, rest, found = _expanded(Path(path))
            taken = not is_data or self.with_data
            if taken and not found:
                fact = f"there is no file at {path}, which {table}.{key} names"
                cure = "bring it back, or leave --with-data out" if is_data else "bring it back"
                raise InputError.of("RC001", fact, cure=cure)
            if taken:
                kind = bundles.DATA if is_data else bundles.BESIDE
                yield Place(
                    table=table, key=key, path=path, entry=self._take(kind, base, rest, found)
                )
            else:
                held = [_told(base, file) for file in found]
                yield Place(table=table, key=key, path=path, files=held)

    def _next(self, kind: str) -> str:
        """Return the folder for what is taken next."""
        self._counts[kind] += 1
        return f"{kind}/{self._counts[kind]}"

    def _take(self, kind: str, base: Path, rest: str, found: list[Path]) -> str:
        """Take files that lie below a folder; return what stands for them in the bundle.

        The folder's own name is kept: it may say what the files are.
        """
        own = base.name if base.name and not archive.misnamed(base.name) else "files"
        home = f"{self._next(kind)}/{own}"
        for file in found:
            self.contents[f"{home}/{file.relative_to(base).as_posix()}"] = file
        return f"{home}/{rest}"

    def _code(self, path: Path) -> Place:
        """Take a local plugin, with all that lies in it where it is a folder."""
        home = self._next(bundles.CODE)
        found = [path] if path.is_file() else [each for each in _below(path) if _is_of(each, path)]
        for file in found:
            name = file.relative_to(path.parent).as_posix()
            self.contents[f"{home}/{name}"] = file
        table, key = bundles.CODE_KEY
        return Place(table=table, key=key, path=str(path), entry=f"{home}/{path.name}")


def _told(base: Path, file: Path) -> Held:
    """Return what tells a file of data."""
    try:
        digest = files.digest(file)
    except OSError as error:
        fact = f"{file} cannot be read: {error.strerror or error}"
        raise InputError.of("RC040", fact) from error
    name = file.relative_to(base).as_posix()
    return Held(name=name, size=files.size(file), sha256=digest)


def _is_of(file: Path, plugin: Path) -> bool:
    """Tell whether a file of a plugin's folder is more than a copy or a note of some tool."""
    parts = file.relative_to(plugin).parts
    return not any(part.startswith(".") or part == CACHED for part in parts)


def _expanded(path: Path) -> tuple[Path, str, list[Path]]:
    """Return a folder, what a path says below it, and the files that this means.

    The path may be that of a file or a folder, or a pattern.
    """
    if path.is_file():
        return path.parent, path.name, [path]
    if path.is_dir():
        return path.parent, path.name, list(_below(path))

    base = path.parent
    while not base.is_dir() and base != base.parent:
        base = base.parent
    rest = path.relative_to(base).as_posix()
    matches = glob.iglob(rest, root_dir=base, recursive=True, include_hidden=True)
    found = sorted({base / match for match in matches})
    return base, rest, [file for file in found if file.is_file()]


def _below(folder: Path) -> Iterator[Path]:
    """Give every file below a folder, by name."""
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            file = Path(place, name)
            if file.is_file():
                yield file
