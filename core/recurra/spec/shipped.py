"""The tasks that come with recurra: inside the wheel, or beside the checkout that is being worked
on.
"""

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
    return inside if inside.is_dir() else package.parents[1] / "tasks"


def tasks() -> dict[str, str]:
    """Return the name of each shipped task and its first line of comment."""
    found = {}
    for path in sorted(folder().glob("*.toml")):
        first = path.read_text(encoding="utf-8").split("\n", 1)[0]
        found[path.stem] = first.removeprefix("#").strip()
    return found


def copy(name: str, target: Path) -> list[Path]:
    """Copy a shipped task, and the data beside it that it names, into a folder; return what was
    written.

    Data that is there already, as another task that reads it brought it, is not written again.
    Raises `InputError` (RC020, RC080) for an unknown name, and for any other file that is already
    there.
    """
    name = name.removesuffix(".toml")
    known = tasks()
    if name not in known:
        close = nearest(name, known)
        raise InputError.of(
            "RC020",
            f"no task called {name!r} comes with recurra",
            allowed=listing(known),
            nearest=close,
        )

    sources = [folder() / f"{name}.toml"]
    data = tomllib.loads(sources[0].read_text(encoding="utf-8")).get("source", {}).get("path")
    if data and not _same(folder() / data, target / data):
        sources.append(folder() / data)

    written = [target / path.name for path in sources]
    for path in written:
        if path.exists():
            raise InputError.of(
                "RC080",
                f"{path} is already there; nothing was written",
                cure="move it, or go elsewhere",
            )
    for source, path in zip(sources, written, strict=True):
        try:
            shutil.copyfile(source, path)
        except OSError as error:
            raise InputError.of("RC050", f"{path} cannot be written: {error.strerror}") from error
    return written


def _same(data: Path, other: Path) -> bool:
    """Return whether another file is there, and holds the same bytes."""
    return other.is_file() and filecmp.cmp(data, other, shallow=False)
