"""Encodings of text: which there are, and which one the bytes of a file suggest."""

from __future__ import annotations

import codecs
import re
import zlib
from encodings.aliases import aliases
from typing import Annotated, Literal, NamedTuple, TypeAlias

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
"""How a file begins that gzip has packed."""
TAR = re.compile(rb".{257}ustar", re.DOTALL)
"""How a tar archive begins."""
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
    (rb"PAR1", "a parquet file", 'read it with source.kind = "parquet"'),
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
    """Return a name that Python knows, of an encoding of text files. Raises `ValueError`."""
    try:
        "".encode(name)
        codecs.getincrementaldecoder(name)
        if canonical(name) in NO_FILES:
            raise ValueError
    except (LookupError, ValueError, TypeError):
        # The name is unknown, or not of an encoding of text, or has a zero in it.
        close = nearest(name, ["utf-8", "utf-16", "utf-32", "latin-1", "cp1252", "ascii", *aliases])
        hint = ""
        if close and _decodes(close):
            hint = f'; did you mean "{close}"?'
        raise ValueError(f"Python knows no encoding {name!r} of text{hint}") from None
    return name


def _decodes(name: str) -> bool:
    """Tell whether a name is of an encoding of text files."""
    try:
        "".encode(name)
    except (LookupError, ValueError):
        return False
    return canonical(name) not in NO_FILES


Encoding = Annotated[str, AfterValidator(known_encoding)]
"""The name of an encoding, refused with the task where Python knows none."""

Errors: TypeAlias = Literal["strict", "replace"]
"""What is done about bytes that are not in the encoding."""
ERRORS = "what is done about bytes that are not in it: refuse them, or read U+FFFD and count them"
"""What the options say of it."""


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

    # The share of zeros among the first of four bytes, the second, and so on.
    fours = len(whole) // 4
    zeros = [whole[place::4].count(0) / fours for place in range(4)]
    full = [share > 0.6 for share in zeros]
    free = [share == 0 for share in zeros]
    if all(full[1:]) and free[0]:
        return "utf-32-le"
    if all(full[:3]) and free[3]:
        return "utf-32-be"
    if full[1] and full[3] and free[0] and free[2]:
        return "utf-16-le"
    if full[0] and full[2] and free[1] and free[3]:
        return "utf-16-be"
    return ""


class Contradiction(NamedTuple):
    """What a file says against the encoding that the task names, and what to do."""

    fact: str
    cure: str


def contradiction(encoding: str, head: bytes, unpacked: bool = False) -> Contradiction | None:
    """Return what the beginning of a file says against an encoding, or nothing.

    In that encoding it might well be read without an error. `unpacked` tells that these bytes come
    out of a file that was packed.
    """
    packed = _packed(head, unpacked)
    if packed:
        return packed

    # A mark decides, whatever follows it.
    name = canonical(encoding)
    for mark, having in MARKS:
        if head.startswith(mark):
            if name in having:
                return None
            fact = f"it begins with the byte-order mark of {having[0]}"
            return Contradiction(fact, _set(having[0]))

    suggested = of_zeros(head)
    if suggested and suggested != name:
        return Contradiction("zeros stand between its letters", _set(suggested))

    without_zeros = len(head) >= ENOUGH and 0 not in head
    if _wide(name) and without_zeros and _is_utf8(head, ended=False):
        return Contradiction("it has one byte a letter", _set("utf-8"))
    return None


def _packed(head: bytes, unpacked: bool) -> Contradiction | None:
    """Return what a file is that holds no text at all."""
    if not BINARY.search(head):
        return None

    for beginning, what, cure in PACKED:
        if not re.match(beginning, head, re.DOTALL):
            continue
        if head.startswith(GZIP):
            if TAR.match(_unzipped(head)):
                what = "a tar archive, packed with gzip"
                cure = "take the files out first, as with tar -xzf"
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
    """Return the advice to name an encoding."""
    return f'set source.encoding = "{name}"'


def _wide(name: str) -> bool:
    """Tell whether an encoding has two bytes a letter, or four."""
    return name.startswith(("utf-16", "utf-32"))


def advice(
    encoding: str, head: bytes, before: bytes = b"", wrong: bytes = b"", ended: bool = False
) -> str:
    """Return what to do about bytes that are not in an encoding, which the beginning does not tell.

    They are a file's head, what stands `before` the wrong byte, and what from there on. `ended`
    tells that the file ended inside a character. An encoding is named only if it reads all of this,
    and only where what was read before does not speak for the one that the task has.
    """
    name = canonical(encoding)
    as_utf8 = name in MARKS[-1][1]
    zeros = 0 in head + wrong
    if not as_utf8 and not zeros and _is_utf8(head, ended) and _is_utf8(wrong, ended):
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

    # The newline keeps them apart, or their ends would make a letter.
    if _mostly_utf8(head + b"\n" + before + wrong):
        if as_utf8:
            return "mend the file there: it is UTF-8 but for this byte, and perhaps a few more"
        return f"{_set('utf-8')}, and mend the file where it is not"
    if HALF_PAIR.match(wrong):
        return "mend the text where it was cut: half a surrogate pair is no character"
    if name not in ("utf-8", "utf-8-sig", "ascii"):
        other = "set source.encoding to another, if the file was written in that"
        return f"mend the file there: it is no character of {encoding}; or {other}"

    cure = "set source.encoding to how the file was written"
    likely = " or ".join(f'"{other}"' for other in _likely(head, wrong))
    return f"{cure}, as in {likely}" if likely else cure


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
    """Return the encodings that bytes suggest, of those that can read them.

    It is one of one byte a letter, or some others where every third byte or more is no ASCII. Bytes
    0x80 to 0x9f are letters, quotes and dashes in cp1252, and control characters in Latin-1.
    """
    beyond_ascii = sum(byte >= 0x80 for byte in head)
    if 3 * beyond_ascii > len(head):
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
    """Tell whether bytes are UTF-8.

    Unless the file `ended` with them, they may end inside a character.
    """
    try:
        codecs.getincrementaldecoder("utf-8")().decode(raw, final=ended)
    except UnicodeError:
        return False
    return True
