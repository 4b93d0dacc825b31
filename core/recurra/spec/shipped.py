"""The tasks that come with recurra: inside the wheel, or beside a checkout of the project."""

from __future__ import annotations

import filecmp
import shutil
import tomllib
from pathlib import Path

from recurra.errors import InputError, listing, nearest


def folder() -> Path:
    """Return the folder of the shipped tasks."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "tasks"
    if inside.is_dir():
        return inside
    return package.parents[1] / "tasks"


def tasks() -> dict[str, str]:
    """Return the name of each shipped task and its first line of comment."""
    summaries = {}
    for path in sorted(folder().glob("*.toml")):
        first, _, _ = path.read_text(encoding="utf-8").partition("\n")
        summaries[path.stem] = first.removeprefix("#").strip()
    return summaries


def copy(name: str, target: Path) -> list[Path]:
    """Copy a shipped task, and the data that it names, into a folder; return what was written.

    Data that is there already, as another task that reads it brought it, is not written again.
    Raises `InputError` (RC020, RC080) for an unknown name, and for any other file that is already
    there.
    """
    name = name.removesuffix(".toml")
    names = tasks()
    if name not in names:
        fact = f"no task called {name!r} comes with recurra"
        close = nearest(name, names)
        raise InputError.of("RC020", fact, allowed=listing(names), nearest=close)

    task = folder() / f"{name}.toml"
    sources = [task]
    tables = tomllib.loads(task.read_text(encoding="utf-8"))
    data = tables.get("source", {}).get("path")
    if data and not _same(folder() / data, target / data):
        sources.append(folder() / data)

    # All are looked for before the first is written: it is the whole task or nothing.
    written = [target / path.name for path in sources]
    for path in written:
        if path.exists():
            fact = f"{path} is already there; nothing was written"
            raise InputError.of("RC080", fact, cure="move it, or go elsewhere")
    for source, path in zip(sources, written, strict=True):
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            fact = f"{path} cannot be written: {error.strerror}"
            raise InputError.of("RC050", fact) from error
    return written


def _same(data: Path, other: Path) -> bool:
    """Return whether another file is there, and holds the same bytes."""
    return other.is_file() and filecmp.cmp(data, other, shallow=False)
