"""Encodings of text: which there are, and which one the bytes of a file suggest."""

from __future__ import annotations

import codecs
import re
import zlib
from encodings.aliases import aliases
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from recurra_sources.names import nearest

NO_FILES = {"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape"}
"""Codecs of Python's that turn text into bytes, but in which nobody writes a file."""
MARKS = (
    (codecs.BOM_UTF32_LE, ("utf-32", "utf-32-le")),
    (codecs.BOM_UTF32_BE, ("utf-32", "utf-32-be")),
    (codecs.BOM_UTF16_LE, ("utf-16", "utf-16-le")),
    (codecs.BOM_UTF16_BE, ("utf-16", "utf-16-be")),
    (codecs.BOM_UTF8, ("utf-8", "utf-8-sig")),
)
"""Byte-order marks, and the encodings that have them; that of UTF-32 begins like that of UTF-16."""
GZIP = b"\x1f\x8b"
TAR = re.compile(rb".{257}ustar", re.DOTALL)
PACKED = (
    (rb"\x1f\x8b", "packed with gzip", "let its name end in .gz"),
    (rb"\x1f\x9d", "packed with compress", "unpack it first"),
    (rb"BZh[1-9]", "packed with bzip2", "unpack it first"),
    (rb"\xfd7zXZ\x00", "packed with xz", "unpack it first"),
    (rb"\(\xb5/\xfd", "packed with zstandard", "unpack it first"),
    (rb"\x04\x22\x4d\x18", "packed with lz4", "unpack it first"),
    (TAR.pattern, "a tar archive", "take the files out of it first, as with tar -xf"),
    (
        rb"PK(\x03\x04|\x05\x06)",
        "a zip archive, or a spreadsheet in one",
        "unpack it, or save it as csv, first",
    ),
    (rb"7z\xbc\xaf", "a 7z archive", "unpack it first"),
    (rb"Rar!\x1a", "a rar archive", "unpack it first"),
    (rb"\xd0\xcf\x11\xe0", "a spreadsheet or a document of Office", "save it as csv or text first"),
    (rb"PAR1", "a parquet file", "save it as csv or JSON lines first"),
    (rb"ARROW1|ORC", "a table in a format of its own", "save it as csv or JSON lines first"),
    (rb"SQLite format 3", "a database", "save its table as csv or JSON lines first"),
    (rb"\x93NUMPY", "an array of NumPy", "save it as csv first"),
    (rb"%PDF-", "a PDF document", "save its text first"),
)
"""How files begin that hold no text at all."""
BINARY = re.compile(rb"[\x00-\x06\x0e-\x19\x1c-\x1f]")
"""A byte that no text of one byte a letter has: some text may begin as a packed file does."""
HALF_PAIR = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
"""Half a surrogate pair, written as if it were a character of UTF-8."""
SAMPLE = 1 << 16
"""Bytes of a file's beginning that are looked at, and of each side of a wrong byte."""
ENOUGH = 64
"""Bytes that are UTF-8 by chance in no file of two bytes a letter."""


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


class Contradiction(NamedTuple):
    """What a file says against the encoding that the task names, and what to do."""

    fact: str
    cure: str


def contradiction(encoding: str, head: bytes, unpacked: bool = False) -> Contradiction | None:
    """Return what the beginning of a file says against an encoding in which it might well be read
    without an error, or nothing.

    `unpacked` tells that these bytes come out of a file that was packed.
    """
    if packed := _packed(head, unpacked):
        return packed

    name = canonical(encoding)
    for mark, having in MARKS:
        if head.startswith(mark):
            fact = f"it begins with the byte-order mark of {having[0]}"
            return None if name in having else Contradiction(fact, _set(having[0]))

    if (zeros := of_zeros(head)) and zeros != name:
        return Contradiction("zeros stand between its letters", _set(zeros))

    if _wide(name) and len(head) >= ENOUGH and 0 not in head and _is_utf8(head, ended=False):
        return Contradiction("it has one byte a letter", _set("utf-8"))
    return None


def _packed(head: bytes, unpacked: bool) -> Contradiction | None:
    """Return what a file is that holds no text at all."""
    for beginning, what, cure in PACKED if BINARY.search(head) else ():
        if not re.match(beginning, head, re.DOTALL):
            continue
        if head.startswith(GZIP):
            if TAR.match(_unzipped(head)):
                what, cure = (
                    "a tar archive, packed with gzip",
                    "take the files out first, as with tar -xzf",
                )
            elif unpacked:
                what, cure = "packed with gzip twice", "unpack it once"
        return Contradiction(f"it is {what}", cure)
    return None


def _unzipped(head: bytes) -> bytes:
    """Return how a file begins whose packed beginning this is."""
    try:
        return zlib.decompressobj(wbits=31).decompress(head, 512)
    except zlib.error:
        return b""


def _set(name: str) -> str:
    return f'set source.encoding = "{name}"'


def _wide(name: str) -> bool:
    return name.startswith(("utf-16", "utf-32"))


def advice(
    encoding: str, head: bytes, before: bytes = b"", wrong: bytes = b"", ended: bool = False
) -> str:
    """Return what to do about bytes that are not in an encoding, and do not contradict it from the
    beginning: a file's head, what stands `before` the wrong byte, and what from there on.

    `ended` tells that the file ended inside a character. An encoding is named only if it reads
    all of this, and only where what was read before does not speak for the one that the task has.
    """
    name = canonical(encoding)
    zeros = 0 in head + wrong
    if name not in MARKS[-1][1] and not zeros and _is_utf8(head, ended) and _is_utf8(wrong, ended):
        return _set("utf-8")
    if not wrong:
        return "the file has no byte-order mark: set source.encoding to how it was written"

    letters = head.removesuffix(wrong) + before
    if ended and (_wide(name) or not letters.isascii()):
        return "the file ends inside a character: bring it back whole"
    if _wide(name):
        return f"mend the file there: it is no character of {encoding}"
    if zeros:
        return "the file holds zeros, as text does not: name a file of text"

    if _mostly_utf8(head + b"\n" + before + wrong):  # apart, or their ends would make a letter
        if name in MARKS[-1][1]:
            return "mend the file there: it is UTF-8 but for this byte, and perhaps a few more"
        return f"{_set('utf-8')}, and mend the file where it is not"
    if HALF_PAIR.match(wrong):
        return "mend the text where it was cut: half a surrogate pair is no character"
    if name not in ("utf-8", "utf-8-sig", "ascii"):
        other = "set source.encoding to another, if the file was written in that"
        return f"mend the file there: it is no character of {encoding}; or {other}"

    likely = " or ".join(f'"{other}"' for other in _likely(head, wrong))
    return "set source.encoding to how the file was written" + (
        f", as in {likely}" if likely else ""
    )


def _mostly_utf8(raw: bytes) -> bool:
    """Tell whether bytes hold as many characters of UTF-8 beyond ASCII as wrong bytes, or more.

    What is written in one or two bytes a letter looks like UTF-8 in a few places at most.
    """
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    text = decoder.decode(raw)
    wrong = sum("\udc80" <= letter <= "\udcff" for letter in text)
    right = sum(letter > "\x7f" for letter in text) - wrong
    return right >= max(wrong, 1)


def _likely(head: bytes, wrong: bytes) -> list[str]:
    """Return the encoding of one byte a letter that bytes suggest, or some others where every other
    letter has marks; none that cannot read them.

    Bytes 0x80 to 0x9f are letters, quotes and dashes in cp1252, and control characters in Latin-1.
    """
    if 3 * sum(byte >= 0x80 for byte in head) > len(head):
        return [name for name in ("gb18030", "shift_jis", "cp1251") if _reads(name, head, wrong)]

    controls = any(0x80 <= byte < 0xA0 for byte in head + wrong)
    names = ("cp1252", "cp850") if controls else ("latin-1",)
    return [name for name in names if _reads(name, head, wrong)][:1]


def _reads(name: str, *parts: bytes) -> bool:
    """Tell whether an encoding reads all parts of a file, of which each may be cut at its end."""
    try:
        for raw in parts:
            codecs.getincrementaldecoder(name)().decode(raw)
    except UnicodeError:
        return False
    return True


def _is_utf8(raw: bytes, ended: bool) -> bool:
    """Tell whether bytes are UTF-8; unless the file `ended` with them, they may end inside a
    character.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=ended)
    except UnicodeError:
        return False
    return True
