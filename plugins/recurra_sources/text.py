"""Text files."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import field_validator, model_validator

from recurra import Element, Field, FilePath, InputError, Options, Piece, Role, Source, Unsuited
from recurra_sources import files, folders, labels
from recurra_sources.encodings import ERRORS, Encoding, Errors
from recurra_sources.names import readable
from recurra_sources.patterns import Matches, matching

SHOWN = 5
"""Files that a warning names before the rest is counted."""


class TextOptions(Options):
    """Options of text."""

    path: FilePath | None = Field(
        None, description="one file, or a pattern such as books/*.txt; .gz is unpacked"
    )
    paths: list[FilePath] | None = Field(None, description="several files or patterns")
    each: Literal["file", "line"] = Field(
        "file",
        description="what one sequence is: a file, or a line with its end, which is LF, CRLF or CR",
    )
    labels: Literal["folder"] | None = Field(
        None,
        description=(
            "what the label of each sequence is: folder, the name of the folder that its file"
            " lies in"
        ),
    )
    encoding: Encoding = Field("utf-8", description="how the files' bytes are read")
    errors: Errors = Field("strict", description=ERRORS)

    @model_validator(mode="after")
    def _one_of_both(self) -> TextOptions:
        both_or_none = (self.path is None) == (self.paths is None)
        if both_or_none or self.paths == []:
            raise ValueError("path: give exactly one of path and paths")
        return self

    @field_validator("paths")
    @classmethod
    def _paths_differ(cls, paths: list[str] | None) -> list[str] | None:
        names = [os.path.normpath(path) for path in paths or []]
        for path, name in zip(paths or [], names, strict=True):
            times = names.count(name)
            if times > 1:
                raise ValueError(f"{path!r} is named {times} times")
        return paths


class Text(Source[TextOptions]):
    """Gives the text of files in the order of their names."""

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def __init__(self, options: TextOptions) -> None:
        super().__init__(options)
        self._warned = False
        self._replaced: set[Path] = set()  # files of which it was said
        # Whether each sequence carries the name of its file, as of another file than the run's.
        self._naming = False

    def _matches(self) -> Matches:
        """Return the files. Warns once (`Unsuited`) of those that come more than once."""
        patterns = self.options.paths or [str(self.options.path)]
        matches = matching(patterns)
        if matches.again and not self._warned:
            self._warned = True
            warnings.warn(_again(matches.again), Unsuited, stacklevel=2)
        return matches

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each file block by block, or each line, in parts where it is long."""
        for path, label in self._labelled():
            if self.options.each == "file":
                yield from self._whole_file(path, label)
            else:
                yield from self._lines(path, label)

    def _whole_file(self, path: Path, label: str | None) -> Iterator[Piece]:
        """Give a file block by block.

        Raises `InputError` (RC042) for an empty one where something is said of it.
        """
        start = True
        for block in self._blocks(path):
            piece = labels.piece(block, start, label)
            if start and self._naming:
                piece = piece._replace(columns={"series": readable(path)})
            yield piece
            start = False

        if start and (label is not None or self._naming):
            fact = f"{readable(path)} is empty"
            if label is not None:
                fact += f": there is nothing that its label {label!r} could be of"
            raise InputError.of("RC042", fact, key="source.labels", cure="take the file out")

    def _blocks(self, path: Path) -> Iterator[str]:
        """Give a file block by block. Warns once (`Unsuited`) of what was replaced in it."""
        encoding = self.options.encoding
        replaced = files.Replaced() if self.options.errors == "replace" else None
        yield from files.blocks(path, encoding, replaced)
        if replaced is not None and path not in self._replaced:
            self._replaced.add(path)
            replaced.warn(path, encoding)

    def _lines(self, path: Path, label: str | None) -> Iterator[Piece]:
        """Give each line of a file, in as many parts as there are blocks that it stands in."""
        start = True
        for block in self._blocks(path):
            for part in files.split_lines(block):
                yield labels.piece(part, start, label)
                start = part.endswith(("\n", "\r"))

    def _labelled(self) -> list[tuple[Path, str | None]]:
        """Return the files and their labels, if any. Raises `InputError` (RC040)."""
        matches = self._matches()
        if self.options.labels is None:
            return [(path, None) for path in matches.files]
        folders.check(matches)
        return [(path, folders.label_of(path)) for path in matches.files]

    def fingerprint(self) -> str:
        """Return a hash of names, sizes and times of the files, and of their labels."""
        labelled = self._labelled()
        of_files = files.fingerprint([path for path, _ in labelled])
        if self.options.labels is None:
            return of_files

        names = [label for _, label in labelled]
        content = repr((of_files, names))
        return hashlib.sha256(content.encode()).hexdigest()

    def over(self, path: str) -> Text:
        """Return a source that reads another file, or pattern, in the same form, without labels."""
        options = self.options.model_copy(update={"path": path, "paths": None, "labels": None})
        other = Text(options)
        other._naming = True
        return other

    @property
    def named(self) -> str:
        """The file that a sequence is; lines are counted."""
        return "file" if self.options.each == "file" else "row"

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return what is read, and the label where one is asked for."""
        return labels.roles(self.offers, self.options.labels is not None)


def _again(again: list[tuple[Path, Path]]) -> str:
    """Return the warning of files that come more than once."""
    names = []
    for path, first in again[:SHOWN]:
        name = readable(path.name)
        if path != first:
            name += f" as {readable(first.name)}"
        names.append(name)

    message = f"source: a file is read once, and these come again: {', '.join(names)}"
    if len(again) > SHOWN:
        message += f" and {len(again) - SHOWN} more"
    return message
