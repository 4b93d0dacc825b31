"""Whether a run is used as it was made: with the same plugins, on the same execution paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple

from recurra.catalog import local
from recurra.engine.choice import Choice
from recurra.errors import InputError, OtherVersion, Problem, warn
from recurra.runs.folder import RunFolder
from recurra.runs.records import Component
from recurra.spec.reading import read_toml

LOCAL = "file:"
"""How the distribution of a local plugin begins, as plugins.json has it."""


def warn_of_others(folder: RunFolder) -> None:
    """Warn (`OtherVersion`) if a distribution is installed in another version than recorded.

    One that is not installed at all is not told here: it is an error once its component is looked
    for.
    """
    recorded = {plugin.distribution: plugin.version for plugin in folder.records.plugins()}
    others = []
    for name, before in recorded.items():
        # A local file has no version: its text is compared elsewhere.
        if name.startswith(LOCAL):
            continue
        now = installed(name)
        if now not in (before, None):
            others.append(f"{name} {before} (now {now})")
    if others:
        fact = f"{folder.path} was made with {' and '.join(others)}"
        warn(f"{fact}; its weights may mean something else", OtherVersion)


class Edited(NamedTuple):
    """A local plugin that is not the recorded one, and the hashes that are recorded of it."""

    path: Path
    recorded: tuple[str, ...]

    def problem(self, owner: Path) -> Problem:
        """Return the problem of code that would run, and which nobody has asked for."""
        was = "changed since" if self.recorded else "has no hash on record: it may not be what"
        fact = f"{self.path} {was} {owner} was made{'' if self.recorded else ' with'}"
        got = f"{described(self.path)}: this would run"
        allowed = " or ".join(self.recorded)
        cure = (
            f"look at it (`{_viewed(self.path)}`), and bring it back as it was, or run it as it is"
            " now with --trust"
        )
        return Problem("RC045", fact, got=got, allowed=allowed, cure=cure)


def described(path: Path) -> str:
    """Return what code a local plugin is: how large, and its hash."""
    names = [path]
    if os.path.isdir(path):
        names = [Path(place, name) for place, _, files in os.walk(path) for name in files]
    size = sum(name.stat().st_size for name in names if name.is_file())
    counted = f"{len(names)} files, " if os.path.isdir(path) else ""
    return f"{path}, {counted}{size:,} bytes, {hash_of(path)}"


def _viewed(path: Path) -> str:
    return f"ls -R {path}" if os.path.isdir(path) else f"less {path}"


def hash_of(path: Path) -> str:
    """Return the hash of a local plugin, as plugins.json has it."""
    return f"sha256:{local.digest(path)}"


def local_plugins(folder: Path) -> list[Path]:
    """Return the local plugin files and folders that the task in a folder names."""
    _, tables = read_toml(folder / "task.toml")
    table = tables.get("plugins")
    names = table.get("files") if isinstance(table, dict) else None
    return [Path(name) for name in names or [] if isinstance(name, str)]


def recorded_hashes(components: Iterable[Component]) -> dict[str, tuple[str, ...]]:
    """Return what plugins.json records of local plugins: the hashes by their names."""
    hashes: dict[str, tuple[str, ...]] = {}
    for each in components:
        if each.distribution.startswith(LOCAL):
            before = hashes.get(each.distribution, ())
            hashes[each.distribution] = tuple(dict.fromkeys((*before, each.version)))
    return hashes


def edited(paths: Iterable[Path], recorded: Mapping[str, Sequence[str]]) -> list[Edited]:
    """Return the local plugins that are there, and whose hash is not a recorded one.

    None of them has been imported: that is what this is for.
    """
    found = []
    for path in dict.fromkeys(paths):
        hashes = tuple(recorded.get(f"{LOCAL}{path.name}", ()))
        if os.path.lexists(path) and hash_of(path) not in hashes:
            found.append(Edited(path, hashes))
    return found


def check_trusted(folder: RunFolder, trust: bool, tell: bool = True) -> None:
    """Refuse to run a local plugin that is not the one that a run was made with, unless `trust`.

    A comment alone may be enough. Raises `InputError` (RC045) before anything of it is imported; of
    what is trusted it can `tell` (`OtherVersion`).
    """
    check_trusted_files(folder.path, recorded_hashes(folder.records.plugins()), trust, tell)


def check_trusted_files(
    folder: Path, recorded: Mapping[str, Sequence[str]], trust: bool, tell: bool = True
) -> None:
    """Do what `check_trusted` does, of the task in a folder and the hashes on record."""
    found = edited(local_plugins(folder), recorded)
    if found and not trust:
        raise InputError(each.problem(folder) for each in found)
    if found and tell:
        names = " and ".join(str(each.path) for each in found)
        fact = f"{names} changed since {folder} was made"
        warn(f"{fact}; its weights may mean something else", OtherVersion)


def warn_of_other_paths(
    folder: RunFolder, recorded: Sequence[str], choices: Sequence[Choice]
) -> None:
    """Warn (`OtherVersion`) if a run goes on on another path than it records.

    Its bits are then no more the same.
    """
    for before, choice in zip(recorded, choices, strict=True):
        if choice.path != before:
            fact = (
                f"{folder.path} was trained on path {before}, refused here:"
                f" {choice.refused[before]}"
            )
            warn(f"{fact}; on {choice.path} it is equal up to rounding", OtherVersion)
            return


def warn_of_other_device(folder: RunFolder, now: str) -> None:
    """Warn (`OtherVersion`) if a run goes on on a device of another kind.

    Its bits are then no more the same.
    """
    before = folder.records.environment().device
    # cuda:1 is of the same kind as cuda:0.
    same_kind = before.partition(":")[0] == now.partition(":")[0]
    if before and not same_kind:
        fact = f"{folder.path} was trained on {before}, and goes on on {now}"
        more = "it is equal up to rounding, but for the noise of dropout"
        warn(f"{fact}: {more}", OtherVersion)


def installed(distribution: str) -> str | None:
    """Return the version in which a distribution is installed, if it is."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
