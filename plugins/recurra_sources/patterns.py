"""From a name or a pattern to the files that it stands for.

A name that exists is no pattern, whatever marks it holds, and neither is a folder that exists:
`data [v2]/*.txt` takes the text files of the folder `data [v2]`.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from recurra import InputError
from recurra_sources.names import nearest, readable

Identity = tuple[int, int]
"""The device and the number of a file, which all its names share."""


class Matches(NamedTuple):
    """The files that names and patterns stand for.

    `again` are those that came again, each with its name the first time.
    """

    files: list[Path]
    again: list[tuple[Path, Path]]


def matching(patterns: Sequence[str]) -> Matches:
    """Return the files that names and patterns stand for, sorted within each pattern, none twice.

    Folders that a pattern matches are left out. Raises `InputError` (RC040) where there is no file,
    and for what is no file: reading from a pipe or a device may wait for ever.
    """
    files: dict[Identity, Path] = {}
    again: list[tuple[Path, Path]] = []
    for pattern in patterns:
        folder, rest = _literal(pattern)
        paths = sorted(_below(folder, rest)) if rest else [pattern]
        states = [(path, state_of(path)) for path in paths]
        if rest:
            states = [(path, state) for path, state in states if not stat.S_ISDIR(state.st_mode)]
        if not states:
            raise _nothing(pattern, rest)

        before = {*files}
        for path, state in states:
            _check_regular(path, state)
            identity = (state.st_dev, state.st_ino)
            file = Path(path)
            first = files.setdefault(identity, file)
            # One pattern may lead to the same path twice, which is no second name.
            if identity in before or first != file:
                again.append((file, first))
    return Matches(list(files.values()), again)


def _literal(pattern: str) -> tuple[str, tuple[str, ...]]:
    """Return the path down to the first part that is a pattern, and the parts from there on.

    A part that exists under its very name is none.
    """
    parts = Path(pattern).parts
    for index, part in enumerate(parts):
        path = os.path.join(*parts[: index + 1])
        if glob.has_magic(part) and not os.path.lexists(path):
            return os.path.join("", *parts[:index]), parts[index:]
    return pattern, ()


def _below(folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Give the paths below a folder that match, part by part."""
    if not parts:
        yield folder
        return

    part, rest = parts[0], parts[1:]
    path = os.path.join(folder, part)
    exists = os.path.lexists(path)
    if exists or not glob.has_magic(part):
        if exists:
            yield from _below(path, rest)
    elif part == "**":
        # Any number of folders stands for it, none too; at the end it means the files in them.
        for inner in _tree(folder):
            yield from _below(inner, rest or ("*",))
    else:
        names = _names(folder)
        if not part.startswith("."):
            names = [name for name in names if not name.startswith(".")]
        for name in fnmatch.filter(names, part):
            yield from _below(os.path.join(folder, name), rest)


def _tree(folder: str) -> Iterator[str]:
    """Give a folder and all folders below it, each once: links may lead round in a circle."""
    seen: set[Identity] = set()
    waiting = [folder] if os.path.isdir(folder or os.curdir) else []
    # The list grows on the way.
    for here in waiting:
        state = os.stat(here or os.curdir)
        if (state.st_dev, state.st_ino) in seen:
            continue

        seen.add((state.st_dev, state.st_ino))
        yield here
        names = [name for name in _names(here) if not name.startswith(".")]
        inner = (os.path.join(here, name) for name in names)
        waiting += filter(os.path.isdir, inner)


def _names(folder: str) -> list[str]:
    """Return what a folder holds, sorted. Raises `InputError` (RC040).

    It is nothing where there is no such folder.
    """
    try:
        return sorted(os.listdir(folder or os.curdir))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        fact = f"the folder {readable(folder)} cannot be listed: {reason}"
        raise InputError.of("RC040", fact, key="source") from error


def state_of(path: str | Path) -> os.stat_result:
    """Return what the system knows of a file. Raises `InputError` (RC040) if there is none."""
    try:
        return os.stat(path)
    except FileNotFoundError as error:
        raise _no_file(str(path)) from error
    except (OSError, ValueError) as error:
        # Links run in a circle, or there is no permission, or no file can have that name.
        reason = getattr(error, "strerror", None) or error
        fact = f"{readable(path)} cannot be read: {reason}"
        raise InputError.of("RC040", fact, key="source") from error


def _no_file(path: str) -> InputError:
    """Return the error of a name that no file has."""
    if os.path.islink(path):
        target = readable(os.readlink(path))
        fact = f"{readable(path)} is a link to {target}, which does not exist"
        return InputError.of("RC040", fact, key="source", cure="mend the link, or remove it")

    folder, name = os.path.split(path)
    beside = _names(folder) if os.path.isdir(folder or os.curdir) else []
    close = readable(nearest(name, beside))
    fact = f"there is no file {readable(path)}"
    return InputError.of("RC040", fact, key="source", nearest=close, cure=_where_from(path))


def _where_from(path: str) -> str:
    """Return from where paths are taken, or what of this one is not understood."""
    *folders, _ = Path(path).parts or ("",)
    for index, part in enumerate(folders):
        here = os.path.join(*folders[: index + 1])
        if os.path.lexists(here):
            continue
        if part.startswith(("~", "$")):
            return f"write the path out: {readable(part)} is a name like any other here"
        if part.endswith(":"):
            return "an address is not read: bring the file to this machine, and name it"
        return f"there is no folder {readable(here)}; {RELATIVE}"
    return RELATIVE


RELATIVE = "a path that does not begin with / is taken from the task file's folder"


def _nothing(pattern: str, rest: Sequence[str]) -> InputError:
    """Return the error of a pattern, or of a name, that stands for no file."""
    if not any(map(glob.has_magic, rest)):
        return _no_file(pattern)
    cure = _where_from(pattern)
    return InputError.of("RC040", f"no file matches {readable(pattern)}", key="source", cure=cure)


WRITE_FIRST = "write what comes out of it to a file first: data is read more than once"

KINDS = (
    (stat.S_ISDIR, "a directory", "name a file in it, or a pattern such as {name}/*.txt"),
    (stat.S_ISFIFO, "a named pipe, not a file", WRITE_FIRST),
    (stat.S_ISSOCK, "a socket, not a file", WRITE_FIRST),
    (stat.S_ISCHR, "a device, not a file", WRITE_FIRST),
    (stat.S_ISBLK, "a device, not a file", "write what is on it to a file first"),
)
"""What is no file, what it is called, and what to do."""


def _check_regular(path: str, state: os.stat_result) -> None:
    """Raise `InputError` (RC040) for what is no regular file."""
    for is_kind, name, cure in KINDS:
        if is_kind(state.st_mode):
            fact = f"{readable(path)} is {name}"
            cure = cure.format(name=os.path.basename(path) or path)
            raise InputError.of("RC040", fact, key="source", cure=cure)
