"""Text files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import model_validator

from recurra import Element, Field, FilePath, Options, Piece, Source
from recurra_sources import files


class TextOptions(Options):
    """Options of text."""

    path: FilePath | None = Field(None, description="one file, or a pattern such as books/*.txt; .gz is unpacked")
    paths: list[FilePath] | None = Field(None, description="several files or patterns")
    each: Literal["file", "line"] = Field(
        "file", description="what one sequence is: a file, or a line with its newline at the end"
    )
    encoding: str = Field("utf-8", description="how the files' bytes are read")

    @model_validator(mode="after")
    def _one_of_both(self) -> TextOptions:
        if (self.path is None) == (self.paths is None) or self.paths == []:
            raise ValueError("path: give exactly one of path and paths")
        files.known_encoding(self.encoding)
        return self


class Text(Source[TextOptions]):
    """Gives the text of files in the order of their names."""

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def _files(self) -> list[Path]:
        return files.matching(self.options.paths or [str(self.options.path)])

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each file block by block, or each line."""
        for path in self._files():
            start = True
            for block in files.blocks(path, self.options.encoding):
                if self.options.each == "file":
                    yield Piece(block, start)
                    start = False
                    continue
                for line in block.splitlines(keepends=True):
                    yield Piece(line, start)
                    start = line.endswith("\n")

    def fingerprint(self) -> str:
        """Return names, sizes and times of the files."""
        return files.fingerprint(self._files())
