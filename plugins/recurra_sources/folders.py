"""Folders that are labels: a file's is the name of the one that it lies in."""

from __future__ import annotations

import os
from pathlib import Path

from recurra import InputError
from recurra_sources.names import readable
from recurra_sources.patterns import Matches

CURE = (
    "put the files of each label into a folder of its own, beside the others, and name them as"
    " data/*/*.txt"
)


def label_of(path: Path) -> str:
    """Return the name of the folder that a file lies in. Raises `InputError` (RC040)."""
    label = readable(_folder(path).name)
    if not label.strip():
        fact = f"{readable(path)} has no label: the folder that it lies in has no name"
        raise InputError.of("RC040", fact, key="source.labels", cure=CURE)
    return label


def check(matches: Matches) -> None:
    """Raise `InputError` (RC040) where it is not plain which folder is a file's label.

    A file beside folders of labels would be of a class that is called as what holds them all, and a
    file that is named twice, by links, may lie in folders of two labels.
    """
    # One file of each folder.
    holds: dict[Path, Path] = {}
    for path in matches.files:
        holds.setdefault(_folder(path), path)

    for folder, path in holds.items():
        outer = next((parent for parent in folder.parents if parent in holds), None)
        if outer is not None:
            inner = readable(folder.relative_to(outer))
            fact = f"{readable(holds[outer])} lies in {readable(outer.name)}"
            fact += f", and so does the folder of another label, {inner} with {readable(path.name)}"
            raise InputError.of("RC040", fact, key="source.labels", cure=CURE)

    for path, first in matches.again:
        if label_of(path) != label_of(first):
            fact = f"{readable(path)} and {readable(first)} are one file, in folders of two labels"
            raise InputError.of("RC040", fact, key="source.labels", cure="leave it in one of them")


def _folder(path: Path) -> Path:
    """Return the folder that a file lies in, from the root on."""
    absolute = Path(os.path.abspath(path))
    return absolute.parent
