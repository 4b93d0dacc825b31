"""Components of local plugin files, as a command names them: `--file cornn.py`, or
`file:cornn.py/cornn`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recurra.errors import InputError


def named(name: str, files: list[Path]) -> tuple[str, list[Path]]:
    """Return the name of a component, and the plugin files that it is looked for in.

    `file:PATH/NAME` names both at once. Raises `InputError` (RC001) if there is no such file.
    """
    if name.startswith("file:") and "/" in name:
        path = Path(name.removeprefix("file:").rpartition("/")[0])
        name = f"file:{path.name}/{name.rpartition('/')[2]}"
        if path.name not in [file.name for file in files]:
            files = [*files, path]
    for file in files:
        if not os.path.isfile(file):
            cure = "name it from this folder: --file folder/cell.py"
            raise InputError.of("RC001", f"the plugin file does not exist: {file}", cure=cure)
    return name, [Path(os.path.abspath(file)) for file in files]


@contextmanager
def hinted(command: str, name: str, files: list[Path]) -> Iterator[None]:
    """Say how a local file is named, where a component is not among those that are installed."""
    try:
        yield
    except InputError as error:
        if files or not any(problem.code == "RC020" for problem in error.problems):
            raise
        short = name.rpartition("/")[2]
        file = f"{short}.py" if os.path.isfile(f"{short}.py") else "FILE.py"
        hint = f"one of a local plugin file: recurra plugins {command} {short} --file {file}"
        cures = [f"{problem.cure}; {hint}" if problem.cure else hint for problem in error.problems]
        raise InputError(
            replace(p, cure=cure) for p, cure in zip(error.problems, cures, strict=True)
        ) from None
