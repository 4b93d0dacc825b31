"""Encodings of text: which there are, and which one the bytes of a file suggest."""

from __future__ import annotations

import codecs
from encodings.aliases import aliases
from typing import Annotated

from pydantic import AfterValidator

from recurra_sources.names import nearest

NO_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
"""Codecs of Python's that turn text into bytes, but in which nobody writes a file."""
MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8"),
)
"""Byte-order marks; that of UTF-32 begins like that of UTF-16."""
PACKED = (
    (b"\x1f\x8b", "packed with gzip", "let its name end in .gz"),
    (b"BZh", "packed with bzip2", "unpack it first"),
    (b"\xfd7zXZ\x00", "packed with xz", "unpack it first"),
    (b"(\xb5/\xfd", "packed with zstandard", "unpack it first"),
    (b"PK\x03\x04", "a zip archive, or a spreadsheet in one", "unpack it, or save it as csv, first"),
    (b"PAR1", "a parquet file", "save it as csv or JSON lines first"),
)
"""How files begin that hold no text at all."""
SAMPLE = 1 << 16
"""Bytes of a file's beginning that are looked at."""


def known_encoding(name: str) -> str:
    """Return the name if Python knows the encoding, and it is one of text files. Raises
    `ValueError`.
    """
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)
        if canonical(name) in NO_FILES:
            raise ValueError
    except (LookupError, ValueError, TypeError):  # unknown, not of text, a name with a zero in it
        close = nearest(name, ["utf-8", "utf-16", "utf-32", "latin-1", "cp1252", "ascii", *aliases])
        hint = f'; did you mean "{close}"?' if close and _decodes(close) else ""
        raise ValueError(f"Python knows no encoding {name!r} of text{hint}") from None
    return name


def _decodes(name: str) -> bool:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return canonical(name) not in NO_FILES


Encoding = Annotated[str, AfterValidator(known_encoding)]
"""The name of an encoding, refused with the task where Python knows none."""


def canonical(name: str) -> str:
    """Return the one name that Python gives an encoding."""
    return codecs.lookup(name).name.replace("_", "-")


def of_zeros(head: bytes) -> str:
    """Return the encoding that zeros between the bytes of a text tell of, or nothing.

    Latin letters have one zero beside each in UTF-16, on one and the same side, and three in
    UTF-32.
    """
    whole = head[: len(head) // 4 * 4]
    if len(whole) < 8:
        return ""

    zeros = [whole[place::4].count(0) / (len(whole) // 4) for place in range(4)]
    full, free = [share > 0.6 for share in zeros], [share == 0 for share in zeros]
    if all(full[1:]) and free[0]:
        return "utf-32-le"
    if all(full[:3]) and free[3]:
        return "utf-32-be"
    if full[1] and full[3] and free[0] and free[2]:
        return "utf-16-le"
    return "utf-16-be" if full[0] and full[2] and free[1] and free[3] else ""


def advice(encoding: str, head: bytes, wrong: bytes = b"", ended: bool = False) -> str:
    """Return what to do about bytes that are not in an encoding: a file's head, and the bytes from
    the wrong one on.

    `ended` tells that the file ended inside a character.
    """
    for beginning, what, cure in PACKED:
        if head.startswith(beginning):
            return f"the file is {what}: {cure}"

    wide = canonical(encoding).startswith(("utf-16", "utf-32"))
    if ended and (wide or not head.removesuffix(wrong).isascii()):
        return "the file ends inside a character: bring it back whole"

    for mark, name in MARKS:
        if head.startswith(mark) and name not in ("utf-8", canonical(encoding)):
            return f'set source.encoding = "{name}": the file begins with its byte-order mark'
    if name := of_zeros(head):
        return f'set source.encoding = "{name}": zeros stand between its letters'
    if 0 in head + wrong:
        return "the file holds zeros, as text does not: name a file of text"

    if not canonical(encoding).startswith("utf-8") and all(_is_utf8(raw, ended) for raw in (head, wrong)):
        return 'set source.encoding = "utf-8"'
    return "set source.encoding to how the file was written, as in " + _western(head, wrong)


def _western(head: bytes, wrong: bytes) -> str:
    """Return the encoding of one byte a letter that bytes suggest, or some others where every other
    letter has marks.

    Bytes 0x80 to 0x9f are letters, quotes and dashes in cp1252, and control characters in Latin-1.
    """
    if 3 * sum(byte >= 0x80 for byte in head) > len(head):
        return '"gb18030", "shift_jis" or "cp1251"'
    return '"cp1252"' if any(0x80 <= byte < 0xA0 for byte in head + wrong) else '"latin-1"'


def _is_utf8(raw: bytes, ended: bool) -> bool:
    """Tell whether bytes are UTF-8; unless the file `ended` with them, they may end inside a
    character.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=ended)
    except UnicodeError:
        return False
    return True
