"""What a path holds - a run, a checkpoint, a bundle, a saved session - read and never run.

No plugin is imported, and neither is torch: it is files that are looked at, as what they are.
"""

from __future__ import annotations

import io
import os
import tomllib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recurra.errors import InputError
from recurra.runs import archive, bundles, files, headers
from recurra.runs.headers import Header
from recurra.runs.listing import why_unjudged
from recurra.runs.records import HASHES, UNJUDGED, Hashes
from recurra.spec.bounds import excess

LARGEST = 16 << 20
"""Bytes of a file of JSON or TOML, at most."""
KINDS = "a run's folder, a checkpoint's, a bundle (.zip), or a saved session"
SIGNED = ("signature", "position", "streams")
"""What a saved session says about itself."""
GOOD, CHANGED, MISSING, UNKNOWN = "good", "changed", "missing", "no hash"


@dataclass
class File:
    """A file, its size, and whether it is what was written, as its recorded hash tells."""

    name: str
    size: int
    hash: str


@dataclass
class Tensor:
    """A tensor and the file that it lies in."""

    file: str
    name: str
    type: str
    shape: list[int]
    bytes: int


@dataclass
class Need:
    """A distribution that a run was made with, and what of it is installed here.

    A local plugin is a file of somebody's: it is only named.
    """

    distribution: str
    version: str
    here: str | None
    components: list[str]


@dataclass
class Inspected:
    """What was found at a path; `faults` say what is not as it should be."""

    path: str
    kind: str
    task: str = ""
    steps: dict[str, int] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    needs: list[Need] = field(default_factory=list)
    files: list[File] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def as_data(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def inspect(path: Path) -> Inspected:
    """Return what a path holds. Raises `InputError` (RC051, RC056) for what is none of these."""
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except (OSError, ValueError):
        is_folder = is_file = False
    if is_folder:
        return _of_folder(path)
    if is_file and archive.looks_like_one(path):
        return _of_bundle(path)
    if is_file:
        return _of_state(path)
    there = "is neither a file nor a folder" if os.path.lexists(path) else "is not there"
    raise InputError.of("RC051", f"{path} {there}", allowed=KINDS)


def _of_folder(path: Path) -> Inspected:
    if (path / "manifest.json").is_file() and any(path.glob("*.safetensors")):
        found = Inspected(str(path), "checkpoint")
        _checkpoint(found, path, "")
        return found

    run = files.newest(path, _is_run)
    if run is None:
        inside = files.of_tasks(path, _is_run)
        cure = f"name one in it: {', '.join(inside)}" if inside else ""
        fact, cure = files.no_run(path, f"{path} holds no run and no checkpoint", cure)
        raise InputError.of("RC051", fact, allowed=KINDS, cure=cure)
    found = Inspected(str(run), "run")
    _hashed(found, run)
    found.task = _name(found, _bounded(found, run / "task.toml"))
    _environment(found, _bounded(found, run / "environment.json"))
    _needs(found, _bounded(found, run / "plugins.json"))
    _checkpoints(found, run / "checkpoints")
    _result(found, run)
    return found


def _is_run(path: Path) -> bool:
    left = ("checkpoints", "environment.json", "plugins.json", "data.json")
    return (path / "task.toml").is_file() and any(os.path.lexists(path / name) for name in left)


def _bounded(found: Inspected, path: Path) -> bytes | None:
    """Return a small file; nothing, with a fault, of one that is none."""
    if not _there(path):
        found.faults.append(f"{path.name} is missing")
        return None
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except OSError as error:
        found.faults.append(f"{path.name} cannot be read: {error.strerror or error}")
        return None
    if len(content) > LARGEST:
        found.faults.append(f"{path.name} has more than {LARGEST:,} bytes")
        return None
    return content


def _json(found: Inspected, name: str, content: bytes | None) -> Any:
    """Return what JSON holds; nothing, with a fault, where it holds nothing."""
    if content is None:
        return None
    try:
        return files.parsed(content)
    except ValueError as error:
        found.faults.append(f"{name} is no JSON: {' '.join(str(error).split())[:200]}")
        return None


def _name(found: Inspected, content: bytes | None) -> str:
    """Return what a task is called."""
    if content is None:
        return ""
    try:
        text = content.decode("utf-8")
        if beyond := excess(text):
            raise ValueError(beyond.fact)
        tables = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        found.faults.append(f"task.toml is no TOML: {str(error)[:200]}")
        return ""
    table = tables.get("plugins")
    names = table.get("files") if isinstance(table, dict) else None
    if isinstance(names, list) and names:
        found.about["local plugins"] = [str(name) for name in names]
    return str(tables.get("name", ""))


def _environment(found: Inspected, content: bytes | None) -> None:
    said = _json(found, "environment.json", content)
    if isinstance(said, dict):
        found.environment = said


def _needs(found: Inspected, content: bytes | None) -> None:
    """Note what a run was made with, and what of it is installed; none of it is imported."""
    lines = _json(found, "plugins.json", content)
    needs: dict[tuple[str, str], Need] = {}
    for line in lines if isinstance(lines, list) else []:
        if not isinstance(line, dict):
            continue
        owner, made = str(line.get("distribution", "")), str(line.get("version", ""))
        need = needs.setdefault((owner, made), Need(owner, made, _installed(owner), []))
        need.components.append(f"{line.get('kind')} {line.get('name')}")
    found.needs = list(needs.values())


def _installed(distribution: str) -> str | None:
    try:
        return None if distribution.startswith("file:") else version(distribution)
    except (PackageNotFoundError, ValueError):
        return None


def _hashed(found: Inspected, run: Path) -> None:
    """Hold the files of a run against their recorded hashes."""
    recorded: dict[str, list[str]] = {}
    if os.path.lexists(run / HASHES):
        content = _bounded(found, run / HASHES)
        try:
            recorded = Hashes.model_validate_json(content or b"").sha256
        except ValueError:
            found.faults.append(f"{HASHES} is damaged: it holds no hashes")
    names = sorted(file.name for file in run.iterdir() if file.is_file())
    for name in sorted({*names, *recorded}):
        _note(found, run / name, name, recorded.get(name), name == HASHES)


def _note(
    found: Inspected, path: Path, name: str, recorded: Iterable[str] | None, silent: bool = False
) -> None:
    """Note a file, and whether its hash is a recorded one."""
    try:
        if not path.is_file():
            raise OSError("a pipe may wait for ever")
        size = path.stat().st_size
        digest = files.digest(path) if recorded is not None else ""
    except (OSError, ValueError):
        found.files.append(File(name, 0, MISSING))
        found.faults.append(f"{name} is missing")
        return
    state = UNKNOWN if recorded is None else GOOD if digest in recorded else CHANGED
    found.files.append(File(name, size, state))
    if state == CHANGED:
        found.faults.append(f"{name} is damaged or was changed: its hash is not the recorded one")


def _checkpoints(found: Inspected, folder: Path) -> None:
    """Note the checkpoints that the index names."""
    index = _json(found, "checkpoints/index.json", _bounded(found, folder / "index.json"))
    if not isinstance(index, dict):
        return
    hashes = index.get("sha256")
    hashes = hashes if isinstance(hashes, dict) else {}
    steps = {which: index[which] for which in ("last", "best") if type(index.get(which)) is int}
    found.steps = steps
    for name in sorted(hashes, key=lambda each: (len(each), each)):
        # A name leads nowhere else.
        if not name.startswith("step-") or not name[5:].isdecimal():
            found.faults.append(f"checkpoints/index.json names {name[:80]!r}")
            continue
        place = folder / name
        digest = files.digest(place / "manifest.json") if _there(place / "manifest.json") else ""
        if digest != hashes[name]:
            fact = "is not what the index says" if digest else "is missing"
            found.faults.append(f"checkpoints/{name}/manifest.json {fact}")
        if digest:
            _checkpoint(found, place, f"checkpoints/{name}/")


def _there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _checkpoint(found: Inspected, folder: Path, prefix: str) -> None:
    """Note the files of a checkpoint, and the tensors in them."""
    manifest = _json(found, f"{prefix}manifest.json", _bounded(found, folder / "manifest.json"))
    manifest = manifest if isinstance(manifest, dict) else {}
    recorded = manifest.get("sha256")
    recorded = recorded if isinstance(recorded, dict) else {}
    if not prefix and type(manifest.get("step")) is int:
        found.steps = {"last": manifest["step"]}
    names = {file.name for file in folder.iterdir() if file.is_file()} - {"manifest.json"}
    for name in sorted({*names, *recorded}):
        if "/" in name or "\\" in name or name in ("", ".", ".."):
            found.faults.append(f"{prefix}manifest.json names {name[:80]!r}")
            continue
        if name not in recorded:
            found.faults.append(f"{prefix}{name} is not of it")
        hashes = [str(recorded[name])] if name in recorded else None
        _note(found, folder / name, f"{prefix}{name}", hashes)
        if name.endswith(".safetensors") and _there(folder / name):
            _tensors(found, folder / name, f"{prefix}{name}")


def _tensors(found: Inspected, path: Path, name: str) -> Header | None:
    """Note the tensors of a file."""
    try:
        header = headers.of_file(path)
    except (OSError, ValueError) as error:
        found.faults.append(f"{name}: {error}")
        return None
    _noted(found, header, name)
    return header


def _noted(found: Inspected, header: Header, name: str) -> None:
    for tensor in header.tensors:
        own = Tensor(name, tensor.name, tensor.type, list(tensor.shape), tensor.size)
        found.tensors.append(own)


def _result(found: Inspected, run: Path) -> None:
    """Note whether a run has come to its end."""
    if not _there(run / "result.json"):
        found.about["state"] = "not finished: there is no result"
        if _there(run / UNJUDGED):
            said = _json(found, UNJUDGED, _bounded(found, run / UNJUDGED))
            found.about["state"] = f"unjudged: {why_unjudged(said)}"
        return
    result = _json(found, "result.json", _bounded(found, run / "result.json"))
    _told(found, result)


def _told(found: Inspected, result: Any) -> None:
    if isinstance(result, dict):
        found.about["state"] = f"finished: {result.get('ended', '')}"
        for key in ("steps", "weights_of_step", "parameters", "verdict"):
            if key in result:
                found.about[key] = result[key]


def _of_bundle(path: Path) -> Inspected:
    """Return what a bundle holds; nothing of it is written anywhere."""
    found = Inspected(str(path), "bundle")
    with bundles.opened(path) as (held, bundle):
        found.task, found.steps = bundle.task, {"last": bundle.step}
        found.about = {
            "made by": f"recurra {bundle.recurra}",
            "state": "finished" if bundle.finished else "not finished",
            "data": _data(bundle),
        }
        if bundle.start is not None:
            found.about["starts from"] = f"another run, in {bundles.ORIGIN}/"
        if code := held.below(bundles.CODE):
            found.about["code"] = (
                f"below {bundles.CODE}/, which runs with --trust alone: {len(code)} file(s)"
            )
        for name, entry in held.entries.items():
            good = held.whole(name)
            found.files.append(File(name, entry.size, GOOD if good else CHANGED))
            if not good:
                found.faults.append(f"{name} is not what the manifest says")
            elif name.endswith(".safetensors"):
                _held_tensors(found, held, name)

        small = {name: _held(held, name) for name in ("environment.json", "plugins.json")}
        _environment(found, small["environment.json"])
        _needs(found, small["plugins.json"])
        if f"{bundles.RUN}/result.json" in held.entries:
            _told(found, _json(found, "result.json", _held(held, "result.json")))
    return found


def _held(held: archive.Archive, name: str) -> bytes | None:
    """Return a file of the run in a bundle, where it is whole."""
    try:
        return held.read(f"{bundles.RUN}/{name}")
    except InputError:
        return None


def _held_tensors(found: Inspected, held: archive.Archive, name: str) -> None:
    """Note the tensors of an entry, of which the header alone is read."""
    head, wanted = b"", 8
    for block in held.blocks(name):
        if len(head) < wanted:
            head += block
            if len(head) >= 8:
                wanted = 8 + min(int.from_bytes(head[:8], "little"), headers.LONGEST)
    try:
        header = headers.read(io.BytesIO(head), held.entries[name].size)
    except ValueError as error:
        found.faults.append(f"{name}: {error}")
        return
    _noted(found, header, name)


def _data(bundle: bundles.Bundle) -> str:
    """Return in words where the data of a bundle is."""
    if bundle.given:
        return "was given by a program, and is not in it"
    places = [place for place in bundle.places if place.table == "source"]
    if not places:
        return "is no file: the task has it, or its source makes it"
    return "in it" if bundle.with_data else "not in it, its hash is"


def _of_state(path: Path) -> Inspected:
    """Return what a saved session holds, or any other file of tensors."""
    try:
        with path.open("rb") as file:
            if file.read(9)[8:] != b"{":
                raise ValueError("it begins neither as a bundle nor as a file of tensors does")
        header = headers.of_file(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fact = f"{path} is no file of recurra's: {reason}"
        cure = "`recurra check` reads a task" if path.suffix == ".toml" else ""
        raise InputError.of("RC051", fact, allowed=KINDS, cure=cure) from error
    is_session = all(key in header.about for key in SIGNED)
    found = Inspected(str(path), "session" if is_session else "tensors")
    found.about = {key: text[:80] for key, text in header.about.items() if key != "sha256"}
    recorded = header.about.get("sha256")
    state = UNKNOWN
    if is_session and recorded is not None:
        state = GOOD if headers.hash_of_state(path, header) == recorded else CHANGED
    found.files = [File(path.name, path.stat().st_size, state)]
    if state == CHANGED:
        found.faults.append(f"{path.name} is damaged or was changed: its hash is another")
    _noted(found, header, path.name)
    return found
