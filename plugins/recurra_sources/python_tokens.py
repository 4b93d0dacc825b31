"""Python's own modules, each character with the kind of token that it stands in.

Every CPython carries them, and its module `tokenize` tells the kinds: no download, no opinion.
"""

from __future__ import annotations

import hashlib
import io
import keyword
import sys
import sysconfig
import tokenize
import warnings
from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

from recurra import Element, Field, InputError, Options, Piece, Role, Source, Unsuited
from recurra_sources import labels

KINDS: Mapping[int, str] = {
    tokenize.NAME: "name",
    tokenize.NUMBER: "number",
    tokenize.STRING: "string",
    tokenize.COMMENT: "comment",
    tokenize.OP: "operator",
}
"""The kind of a token by its type; any other that holds text is part of a string."""
UNSEEN = {tokenize.INDENT, tokenize.DEDENT, tokenize.NEWLINE, tokenize.NL, tokenize.ENDMARKER}
"""Tokens of white space, which is told by where it stands."""
BUILT = "_sysconfigdata"
"""How a module begins that each build writes for itself."""
SHOWN = 5
"""Files that a warning names before the rest is counted."""


class PythonTokensOptions(Options):
    """Options of python_tokens."""

    largest: int = Field(
        20_000,
        ge=4_000,
        description="bytes of a module, of those at the top of the standard library, at most",
    )


class PythonTokens(Source[PythonTokensOptions]):
    """Gives each module as one sequence of characters, in the order of their names.

    The tag of a character is name, keyword, number, string, comment or operator, and of white
    space outside of these indent, at the beginning of a line, newline, at its end, or space.
    """

    offers: ClassVar[tuple[Element, ...]] = ("text",)

    def __init__(self, options: PythonTokensOptions) -> None:
        super().__init__(options)
        self._warned = False

    def _files(self) -> list[Path]:
        """Return the modules. Raises `InputError` (RC040) where this Python has none as files."""
        folder = Path(sysconfig.get_path("stdlib"))
        paths = [path for path in sorted(folder.glob("*.py")) if not path.name.startswith(BUILT)]
        chosen = [path for path in paths if 0 < path.stat().st_size <= self.options.largest]
        if not chosen:
            fact = f"{len(paths)} modules of this Python lie in {folder} as text, and none of them"
            fact += f" has from 1 to {self.options.largest:,} bytes"
            cure = "set source.largest higher, or use CPython as python.org builds it"
            raise InputError.of("RC040", fact, key="source.kind", cure=cure)
        return chosen

    def read(self, element: Element) -> Iterator[Piece]:
        """Give a module a piece. Warns once (`Unsuited`) of those that are no sound Python."""
        left_out = []
        for path in self._files():
            found = _tagged(path.read_bytes())
            if found is None:
                left_out.append(path.name)
                continue
            text, tags = found
            yield Piece(text, True, {"tags": list(tags)})

        if left_out and not self._warned:
            self._warned = True
            names = ", ".join(left_out[:SHOWN])
            if len(left_out) > SHOWN:
                names += f" and {len(left_out) - SHOWN} more"
            fact = f"modules that cannot be tokenised are left out: {names}"
            warnings.warn(fact, Unsuited, stacklevel=2)

    def fingerprint(self) -> str:
        """Return a hash of the version of Python, which tells the kinds, and of all modules."""
        digest = hashlib.sha256(sys.version.encode())
        for path in self._files():
            content = path.read_bytes()
            digest.update(f"{path.name} {len(content)}\n".encode() + content)
        return digest.hexdigest()

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return the text, and the kinds."""
        return labels.roles(self.offers, labelled=False, tagged=True)


@lru_cache(maxsize=1024)
def _tagged(content: bytes) -> tuple[str, tuple[str, ...]] | None:
    """Return the text of a module and the kind of each character, or none if it is not sound."""
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
        text = io.TextIOWrapper(io.BytesIO(content), encoding).read()
        return (text, tuple(kinds(text))) if text else None
    except (tokenize.TokenError, SyntaxError, UnicodeDecodeError):
        return None


def kinds(text: str) -> list[str]:
    """Return the kind of each character of a sound Python module, whose lines end with LF.

    Raises `tokenize.TokenError` or `SyntaxError` for one that is not sound.
    """
    lines = io.StringIO(text).readlines()
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))

    found = _white_space(lines)
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.ERRORTOKEN:
            raise tokenize.TokenError(f"{token.string!r} is no token", token.start)
        if token.type in UNSEEN or not token.string:
            continue
        first = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        kind = KINDS.get(token.type, "string")
        if kind == "name" and keyword.iskeyword(token.string):
            kind = "keyword"
        found[first:end] = [kind] * (end - first)
    return found


def _white_space(lines: list[str]) -> list[str]:
    """Return what the characters of lines are where no token lies over them."""
    found = []
    for line in lines:
        ended = line.endswith("\n")
        body = line[:-1] if ended else line
        indent = len(body) - len(body.lstrip())
        found += ["indent"] * indent + ["space"] * (len(body) - indent)
        if ended:
            found.append("newline")
    return found
