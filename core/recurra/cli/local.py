"""Components of local plugin files and folders, as a command names them.

Either `--file cornn.py` gives the file, or the name does: `file:cornn.py/cornn`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from recurra.catalog import local
from recurra.errors import InputError, Problem


def named(name: str, files: list[Path]) -> tuple[str, list[Path]]:
    """Return the name of a component, and the plugin files that it is looked for in.

    `file:PATH/NAME` names both at once. Raises `InputError` (RC001, RC013) if there is none.
    """
    if name.startswith("file:") and "/" in name:
        # A catalog knows a local file by its last part: file:cells/cornn.py/cornn is cornn of
        # file:cornn.py there.
        path, _, short = name.removeprefix("file:").rpartition("/")
        file = Path(path)
        name = f"file:{file.name}/{short}"
        if file.name not in [other.name for other in files]:
            files = [*files, file]

    return name, found(files)


def found(files: list[Path]) -> list[Path]:
    """Return the paths of local plugins. Raises `InputError` (RC001, RC013) if one is none."""
    for file in files:
        if fault := local.fault(file):
            cure = fault.cure or "name it from this folder: --file folder/cell.py"
            raise InputError.of(fault.code, fault.fact, cure=cure)
    return [Path(os.path.abspath(file)) for file in files]


@contextmanager
def hinted(command: str, name: str, files: list[Path]) -> Iterator[None]:
    """Say how a local file is named, where a component is not among those that are installed."""
    try:
        yield
    except InputError as error:
        codes = [problem.code for problem in error.problems]
        if files or "RC020" not in codes:
            raise

        short = name.rpartition("/")[2]
        likely = [path for path in (f"{short}.py", short) if local.fault(Path(path)) is None]
        file = likely[0] if likely else "FILE.py"
        hint = f"one of a local plugin file: recurra plugins {command} {short} --file {file}"
        problems = [_with_hint(problem, hint) for problem in error.problems]
        raise InputError(problems) from None


def _with_hint(problem: Problem, hint: str) -> Problem:
    cure = f"{problem.cure}; {hint}" if problem.cure else hint
    return replace(problem, cure=cure)
