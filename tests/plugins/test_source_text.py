"""Text files: the text comes as it is, whatever its encoding, its line ends and the size of
blocks.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from encodings.aliases import aliases

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import gathered, text

from recurra import InputError
from recurra_sources import files
from recurra_sources.tables import Csv, CsvOptions, JsonlOptions
from recurra_sources.text import Text, TextOptions

NO_TEXT = {
    "base64_codec",
    "bz2_codec",
    "hex_codec",
    "mbcs",
    "quopri_codec",
    "rot_13",
    "uu_codec",
    "zlib_codec",
}
"""Codecs of Python's that are not of text, or of Windows alone."""
ENDS = "\r\n\x0b\x0c\x1c\x1d\x85\u2028\u2029 "
"""What Python's `splitlines` takes for line ends, of which a file has the first two alone."""
MARKED = st.one_of(st.characters(codec="utf-8", exclude_characters="\0"), st.sampled_from(ENDS))


@settings(deadline=None, max_examples=25)
@given(content=st.text(MARKED, max_size=60), block=st.integers(1, 9), packed=st.booleans())
def test_a_file_is_one_text_or_its_lines(content, block, packed, tmp_path_factory):
    """Whatever the block size, the file's text comes whole; by line, joined it is the same and no
    line is cut.
    """
    content = content.removeprefix("\ufeff")
    path = tmp_path_factory.mktemp("text") / ("file.gz" if packed else "file.txt")
    path.write_bytes(gzip.compress(content.encode()) if packed else content.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", block)
        assert gathered(text(path)) == ([content] if content else [])
        lines = gathered(text(path, each="line"))
    assert "".join(lines) == content
    assert lines == re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", content)


@pytest.mark.parametrize(
    "encoding", ["utf-8", "latin-1", "utf-16", "utf-16-le", "utf-32", "cp1252", "utf-8-sig"]
)
@pytest.mark.parametrize("block", [1, 3, 1 << 20])
def test_encodings(tmp_path, monkeypatch, encoding, block):
    """A file in a named encoding is read as that, also when a block ends inside a character."""
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "file").write_bytes("naïve café\r\nÿ\n".encode(encoding))
    assert gathered(text(tmp_path / "file", encoding=encoding)) == ["naïve café\r\nÿ\n"]


@pytest.mark.parametrize("block", [1, 2, 3, 5, 1 << 20])
@pytest.mark.parametrize(
    ("raw", "encoding", "at", "byte"),
    [
        (b"ab\xff cd", "utf-8", 2, "0xff"),
        (b"abc\xc3\xa9\xc3(", "utf-8", 5, "0xc3"),
        (b"one two \xe2\x82", "utf-8", 8, "0xe2"),
        (b"\xe2\x82\xac\xe2\x28\xa1", "utf-8", 3, "0xe2"),
        (b"plain\xe9", "ascii", 5, "0xe9"),
        ("ab".encode("utf-16-le") + b"\x00\xdc", "utf-16-le", 4, "0x00"),
    ],
)
def test_a_bad_byte_has_its_offset(tmp_path, monkeypatch, block, raw, encoding, at, byte):
    """The error names the file, the encoding, the byte and where it stands, whatever the block
    size.
    """
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(
        InputError,
        match=rf"file is not {encoding} text: byte {byte} at offset {at}, line 1 \[RC040\]",
    ):
        gathered(text(tmp_path / "file", encoding=encoding))


def test_utf16_needs_its_mark(tmp_path):
    """A file without the byte-order mark that its encoding needs is a clear error."""
    (tmp_path / "file").write_bytes(b"abcd")
    with pytest.raises(InputError, match=r"not utf-16 text: .*BOM.* \[RC040\]"):
        gathered(text(tmp_path / "file", encoding="utf-16"))


@pytest.mark.parametrize(
    "encoding",
    ["utf-99", "hex", "base64", "rot13", "zlib", "undefined", "idna", "unicode_escape", "", "a\0b"],
)
def test_an_encoding_that_is_none_is_refused_with_the_task(encoding):
    """An unknown name, or a codec that is not of text, is found when the task file is checked."""
    for model, table in (
        (TextOptions, {}),
        (CsvOptions, {"columns": ["a"]}),
        (JsonlOptions, {"columns": ["a"]}),
    ):
        with pytest.raises(
            ValidationError, match=re.escape(f"Python knows no encoding {encoding!r}")
        ):
            model(path="x", encoding=encoding, **table)


@pytest.mark.parametrize("each", ["file", "line"])
def test_a_byte_order_mark_is_no_text(tmp_path, monkeypatch, each):
    """A mark at the start of a file is left out; one that stands later is text."""
    monkeypatch.setattr(files, "BLOCK", 2)
    (tmp_path / "file").write_bytes("\ufeffa\ufeff\n".encode())
    assert gathered(text(tmp_path / "file", each=each)) == ["a\ufeff\n"]


@pytest.mark.parametrize(
    ("wrong", "near"), [("utf8x", "utf-8"), ("latin1x", "latin-1"), ("cp1525", "cp1252")]
)
def test_a_misspelt_encoding_has_a_nearest(wrong, near):
    """The nearest name that Python knows is offered, however it spells it."""
    with pytest.raises(ValidationError) as caught:
        TextOptions(path="x", encoding=wrong)
    offered = re.search(r'did you mean "(.+?)"', str(caught.value))[1]
    assert codecs.lookup(offered) == codecs.lookup(near)


@pytest.mark.parametrize("encoding", sorted(set(aliases.values()) - NO_TEXT))
def test_every_encoding_of_python_is_read_in_blocks(tmp_path, monkeypatch, encoding):
    """Whatever Python knows as text, block by block it is what it is at once, and never an error of
    another kind.
    """
    monkeypatch.setattr(files, "BLOCK", 3)
    options = TextOptions(path=str(tmp_path / "file"), encoding=encoding)
    raw = "Ab\n1\r".encode(encoding)
    (tmp_path / "file").write_bytes(raw)
    assert gathered(Text(options)) == [raw.decode(encoding).removeprefix("\ufeff")]


GERMAN = "Ein \u201eschönes\u201c Haus – für 5 €, süß und groß.\n"
FRENCH = "Où est passée la forêt dorée, là-bas, après l'été ?\n"


@pytest.mark.parametrize(
    ("raw", "encoding", "cure"),
    [
        *((FRENCH.encode(name), "utf-8", f'"{name}"') for name in ("utf-16", "utf-32", "latin-1")),
        *(
            (FRENCH.encode(name), "utf-8", f'"{name}"')
            for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be")
        ),
        (b"plain words in wide letters".decode().encode("utf-16-le"), "utf-8", '"utf-16-le"'),
        (GERMAN.encode("cp1252"), "utf-8", '"cp1252"'),
        (FRENCH.encode("cp1252") * 3 + GERMAN.encode("cp1252"), "ascii", '"cp1252"'),
        (FRENCH.encode(), "ascii", '"utf-8"'),
        (FRENCH.encode(), "utf-16", '"utf-8"'),
        (b"caf\xe9", "utf-8", '"latin-1"'),
        ((FRENCH + "é").encode()[:-1], "utf-8", "ends inside a character"),
        (FRENCH.encode("utf-16")[:-1], "utf-16", "ends inside a character"),
        (gzip.compress(b"packed, and not called .gz", mtime=0), "utf-8", "let its name end in .gz"),
        (b"PK\x03\x04\xff\xfe", "utf-8", "unpack it"),
        (b"\x00\x01\x02\xff\x00\x03binary", "utf-8", "zeros"),
        ("\u3042\u3044\u3046".encode("shift_jis"), "utf-8", '"shift_jis"'),
    ],
)
def test_the_cure_names_the_encoding(tmp_path, raw, encoding, cure):
    """A byte-order mark, zeros between letters, or bytes that only one family has tell how a file
    was written.
    """
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(InputError, match=rf"file is not {encoding} text") as caught:
        gathered(text(tmp_path / "file", encoding=encoding))
    (problem,) = caught.value.problems
    assert cure in problem.cure
    assert problem.key == "source.encoding"


def refused(path, encoding):
    """Return the problem of a file that cannot be read, or nothing where it gives text."""
    try:
        gathered(text(path, encoding=encoding))
    except InputError as error:
        return error.problems[0]


DECLARED = ["utf-8", "utf-8-sig", "ascii", "latin-1", "cp1252", "cp1251", "gb18030", "shift_jis",
    "cp437",
            "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"]  # fmt: skip
WRITTEN = ["utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]
BODIES = ["plain words of one byte each, and enough of them to be sure of it\n", FRENCH * 2]


@pytest.mark.parametrize("declared", DECLARED)
@pytest.mark.parametrize(
    "written", [*WRITTEN, "utf-16-be with its mark", "utf-32-be with its mark"]
)
def test_a_file_that_says_how_it_was_written_is_read_so_or_not_at_all(tmp_path, declared, written):
    """By its mark, or zeros between its letters: whatever encoding a task names, the text comes
    right, or the cure names one with which it does.
    """
    for body in BODIES:
        mark = "\ufeff" * ("with its mark" in written)
        (tmp_path / "file").write_bytes((mark + body).encode(written.split()[0]))
        problem = refused(tmp_path / "file", declared)
        right = declared if problem is None else re.search(r'encoding = "(.+?)"', problem.cure)[1]
        assert gathered(text(tmp_path / "file", encoding=right)) == [body]


@pytest.mark.parametrize("declared", ["utf-16-le", "utf-16-be", "utf-32-le"])
def test_letters_of_one_byte_are_not_read_in_pairs(tmp_path, declared):
    """ASCII and UTF-8 are refused under an encoding of several bytes a letter, which would make
    Chinese of them.
    """
    for body in BODIES:
        (tmp_path / "file").write_bytes((body * 4).encode())
        assert "utf-8" in refused(tmp_path / "file", declared).cure
    chinese = "\u4f60\u597d\uff0c\u4e16\u754c\u3002" * 20
    (tmp_path / "file").write_bytes(chinese.encode(declared))
    assert gathered(text(tmp_path / "file", encoding=declared)) == [chinese]


def archive(mode):
    """Return a tar archive of one text file."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as tar:
        member = tarfile.TarInfo("in.txt")
        member.size = 12
        tar.addfile(member, io.BytesIO(b"hello hello\n"))
    return file.getvalue()


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("in.txt", "hello")
    return file.getvalue()


ARCHIVES = {
    "tar": (lambda: archive("w:"), "tar"),
    "tar.gz": (lambda: archive("w:gz"), "tar"),
    "tar.bz2": (lambda: archive("w:bz2"), "bzip2"),
    "tar.xz": (lambda: archive("w:xz"), "xz"),
    "gz": (lambda: gzip.compress(b"hello"), "gzip"),
    "bz2": (lambda: bz2.compress(b"hello"), "bzip2"),
    "xz": (lambda: lzma.compress(b"hello"), "xz"),
    "zip": (zipped, "zip"),
}
"""What makes a file of each kind, and the name by which it is refused."""


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "cp437", "utf-16-le"])
@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("archived", ARCHIVES)
def test_an_archive_is_no_text(tmp_path, encoding, suffix, archived):
    """It is refused by its name under every encoding, packed once more as well; the cure does not
    lead back here.
    """
    make, kind = ARCHIVES[archived]
    path = tmp_path / f"file{suffix}"
    path.write_bytes(gzip.compress(make()) if suffix else make())
    problem = refused(path, encoding)
    assert kind in problem.fact
    assert (".gz" in problem.cure) == (kind == "gzip" and not suffix)


@settings(deadline=None, max_examples=20)
@given(
    before=st.text(MARKED, max_size=20),
    encoding=st.sampled_from(["utf-8", "utf-16", "utf-32-be", "gb18030"]),
)
def test_a_nul_is_no_text(before, encoding, tmp_path_factory):
    """A zero byte in a file of text or of rows is refused with its line."""
    before = before.replace("\ufeff", "")
    (path := tmp_path_factory.mktemp("nul") / "file").write_bytes(
        f"a\n{before}\0\n".encode(encoding)
    )
    line = 1 + len(re.findall(r"\r\n|\r|\n", f"a\n{before}"))
    csv = Csv(CsvOptions(path=str(path), columns=["a"], encoding=encoding, delimiter="\x01"))
    for source in (text(path, encoding=encoding), csv):
        with pytest.raises(InputError, match=rf"file:{line}: a NUL stands here.* \[RC042\]"):
            gathered(source)


LANGUAGES = [
    FRENCH,
    GERMAN,
    "Мороз и солнце; день чудесный!\n",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002",
    "naïve plan",
]


@settings(deadline=None, max_examples=40)
@given(
    body=st.sampled_from(LANGUAGES),
    wrong=st.sampled_from([b"\xff", b"\x92", b"\xc3(", b"\xed\xa0\x80", b"\x81", b"\xe9 "]),
    place=st.integers(0, 200_000),
    encoding=st.sampled_from(["utf-8", "ascii", "utf-8-sig"]),
)
def test_a_file_that_is_utf8_but_for_a_byte_stays_utf8(
    body, wrong, place, encoding, tmp_path_factory
):
    """Where most is good UTF-8, the cure is to mend the byte: no other encoding is named, whatever
    the byte is.
    """
    whole = body * 3
    cut = place % (len(whole) + 1)
    raw = whole[:cut].encode() + wrong + whole[cut:].encode()
    if place > 100_000:  # far from the beginning of a file
        raw = b"plain words\n" * 9000 + raw
    (path := tmp_path_factory.mktemp("bad") / "file").write_bytes(raw + b".")
    cure = refused(path, encoding).cure
    assert "mend" in cure
    assert set(re.findall('"(.+?)"', cure)) <= ({"utf-8"} if encoding == "ascii" else set())


@settings(deadline=None, max_examples=60)
@example(raw=b"\x80\xc2", encoding="ascii")
@given(raw=st.binary(min_size=1, max_size=30), encoding=st.sampled_from(DECLARED))
def test_an_encoding_that_is_named_reads_the_file(raw, encoding, tmp_path_factory):
    """No cure names the encoding that has just failed, nor one that fails as well, unless the file
    is to be mended.
    """
    (path := tmp_path_factory.mktemp("any") / "file").write_bytes(raw)
    problem = refused(path, encoding)
    named = re.findall('"(.+?)"', problem.cure) if problem else []
    for other in named:
        assert codecs.lookup(other) != codecs.lookup(encoding)
        if "mend the file" in problem.cure:
            continue
        codecs.getincrementaldecoder(other)().decode(raw)  # raises if it does not


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [1, 4, 1 << 20])
def test_a_bad_byte_has_its_line(tmp_path, monkeypatch, ends, block):
    """Lines are counted by the ends that a file has, wherever its blocks end."""
    monkeypatch.setattr(files, "BLOCK", block)
    (tmp_path / "file").write_bytes(f"one{ends}{ends}three{ends}fo".encode() + b"\xff")
    with pytest.raises(InputError, match=r"byte 0xff at offset \d+, line 4 "):
        gathered(text(tmp_path / "file"))


@pytest.mark.parametrize(
    ("raw", "encoding"), [(b"one\ntwo +2AA-", "utf-7"), (b"one\rtwo +2AA-\n", "utf-7")]
)
def test_half_a_surrogate_pair_is_no_text(tmp_path, raw, encoding):
    """What an encoding lets pass, and no other can write, is refused with its line."""
    (tmp_path / "file").write_bytes(raw)
    with pytest.raises(InputError, match=r"file:2: '.ud800' is half a surrogate pair \[RC042\]"):
        gathered(text(tmp_path / "file", encoding=encoding))


def test_a_long_line_comes_in_parts(tmp_path, monkeypatch):
    """A file of one line is never held whole: its parts are of the size of blocks, and one
    sequence.
    """
    monkeypatch.setattr(files, "BLOCK", 100)
    (tmp_path / "file").write_text("x" * 10_000)
    pieces = list(text(tmp_path / "file", each="line").read("text"))
    assert [piece.start for piece in pieces] == [True] + [False] * (len(pieces) - 1)
    assert max(len(piece.values) for piece in pieces) <= 200
