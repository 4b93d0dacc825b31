"""Text files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from recurra import Element, Field, FilePath, Options, Piece, Source
from recurra_sources import files
from recurra_sources.encodings import Encoding
from recurra_sources.patterns import matching


class TextOptions(Options):
    """Options of text."""

    path: FilePath | None = Field(None, description="one file, or a pattern such as books/*.txt; .gz is unpacked")
    paths: list[FilePath] | None = Field(None, description="several files or patterns")
    each: Literal["file", "line"] = Field(
        "file",
        description="what one sequence is: a file, or a line with its end, which is LF, CRLF or CR",
    )
    encoding: Encoding = Field("utf-8", description="how the files' bytes are read")

    @model_validator(mode="after")
    def _one_of_both(self) -> TextOptions:
        if (self.path is None) == (self.paths is None) or self.paths == []:
            raise ValueError("path: give exactly one of path and paths")
        return self


class Text(Source[TextOptions]):
    """Gives the text of files in the order of their names."""

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def _files(self) -> list[Path]:
        return matching(self.options.paths or [str(self.options.path)])

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each file block by block, or each line, in parts where it is long."""
        for path in self._files():
            start = True
            for block in files.blocks(path, self.options.encoding):
                if self.options.each == "file":
                    yield Piece(block, start)
                    start = False
                    continue

                for part in files.split_lines(block):
                    yield Piece(part, start)
                    start = part.endswith(("\n", "\r"))

    def fingerprint(self) -> str:
        """Return a hash of names, sizes and times of the files."""
        return files.fingerprint(self._files())
