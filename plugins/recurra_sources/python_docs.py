"""The documentation topics that every CPython carries, in `pydoc_data.topics`.

They are real English, and need no download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import ClassVar

from recurra import Element, InputError, Options, Piece, Source


class PythonDocsOptions(Options):
    """Options of python_docs: none."""


class PythonDocs(Source[PythonDocsOptions]):
    """Gives all topics, in the order of their names, as one text."""

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def _text(self) -> str:
        """Return all topics. Raises `InputError` (RC040) where this Python has none."""
        try:
            from pydoc_data.topics import topics
        except ImportError as error:
            fact = "this Python was built without pydoc_data.topics"
            cure = "use CPython as python.org builds it"
            raise InputError.of("RC040", fact, key="source.kind", cure=cure) from error
        return "".join(topics[name] for name in sorted(topics))

    def read(self, element: Element) -> Iterator[Piece]:
        """Give the whole text as one piece."""
        yield Piece(self._text())

    def fingerprint(self) -> str:
        """Return a hash of the text, which differs from one version of Python to another."""
        return hashlib.sha256(self._text().encode()).hexdigest()
