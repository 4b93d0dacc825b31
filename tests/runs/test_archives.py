"""An archive is read as if somebody had made it to do harm."""

from __future__ import annotations

import json
import stat
import struct
import warnings
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.errors import InputError
from recurra.runs import archive

CONTENTS: dict[str, archive.Content] = {"a/one.txt": b"one", "b.bin": bytes(range(256)), "c": b""}


def whole(folder: Path, **contents: bytes) -> Path:
    path = folder / "whole.zip"
    archive.write(path, {"format": 1}, {**CONTENTS, **contents})
    return path


def extracted(path: Path, folder: Path) -> dict[str, bytes]:
    """Open, verify and write an archive; return what is there then."""
    with archive.opened(path) as held:
        held.verify()
        held.extract(folder)
    return {
        file.relative_to(folder).as_posix(): file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }


def entry(name: str, mode: int = stat.S_IFREG | 0o644) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, mode << 16
    return info


def made(path: Path, entries: list[tuple[zipfile.ZipInfo, bytes]], **listed: object) -> Path:
    """Write an archive of entries, with a manifest that lists all of them, and what is said."""
    manifest = {
        info.filename: {"size": len(content), "sha256": sha256(content).hexdigest()}
        for info, content in entries
    }
    manifest |= listed  # type: ignore[arg-type]
    with warnings.catch_warnings(), zipfile.ZipFile(path, "w") as file:
        warnings.simplefilter("ignore", UserWarning)  # of a name that comes twice
        for info, content in entries:
            file.writestr(info, content)
        file.writestr(entry("manifest.json"), json.dumps({"format": 1, "entries": manifest}))
    return path


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Every byte comes back, and twice the same contents are twice the same bytes."""
    first = whole(tmp_path).read_bytes()
    assert extracted(whole(tmp_path), tmp_path / "out") == CONTENTS
    assert whole(tmp_path).read_bytes() == first


ODD_NAMES = [
    "../out.txt", "a/../../out.txt", "/etc/out.txt", "a//out.txt", "./out.txt", "C:out.txt",
    "a\\..\\out.txt", "out.txt ", "a./out", "out\n.txt", "x" * 300, "a/" * 600 + "x",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_leads_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing is written, in the folder or outside; nor does a bundle ever hold such a name."""
    path = made(tmp_path / "odd.zip", [(entry(name), b"x")])
    with pytest.raises(InputError, match=r"RC056"):
        extracted(path, tmp_path / "in" / "out")
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["odd.zip"]
    with pytest.raises(InputError, match=r"no bundle can hold(.|\n)*RC056"):
        archive.write(tmp_path / "new.zip", {}, {name: b"x"})
    assert not (tmp_path / "new.zip").exists()


KINDS = [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFDIR]


@pytest.mark.parametrize("kind", KINDS, ids=stat.filemode)
def test_what_is_no_file_is_refused(tmp_path: Path, kind: int) -> None:
    """A link, a device, a pipe, a folder."""
    path = made(tmp_path / "odd.zip", [(entry("x", kind | 0o777), b"/etc/passwd")])
    with pytest.raises(InputError, match="link, a device or a folder"):
        extracted(path, tmp_path / "out")


PAIRS = [
    ("a", "a"), ("a.txt", "A.TXT"), ("stra\u00dfe", "STRASSE"), ("\u00e9", "e\u0301"),
    ("\u00c9", "e\u0301"), ("a", "a/b"), ("A", "a/b"),
]  # fmt: skip


@pytest.mark.parametrize("names", PAIRS, ids=ascii)
def test_two_names_for_one_file_are_refused(tmp_path: Path, names: tuple[str, str]) -> None:
    """They are the same, or some system takes them for the same, or one lies inside the other."""
    path = made(tmp_path / "odd.zip", [(entry(name), b"x") for name in names])
    with pytest.raises(InputError, match="would be one file"):
        extracted(path, tmp_path / "out")
    if names[0] != names[1]:
        with pytest.raises(InputError, match="takes them for one"):
            archive.write(tmp_path / "new.zip", {}, dict.fromkeys(names, b"x"))


def test_a_bomb_is_refused_at_once(tmp_path: Path) -> None:
    """A gigabyte that is packed into a megabyte, declared or not, is never unpacked."""
    path, zeros = tmp_path / "bomb.zip", bytes(1 << 20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open(zipfile.ZipInfo("zeros"), "w") as out:
            for _ in range(8):
                out.write(zeros)
        file.writestr("manifest.json", "{}")
    content = path.read_bytes()
    declared = content.replace(struct.pack("<L", 8 << 20), struct.pack("<L", 8))
    for number, each in enumerate((content, declared)):
        path.write_bytes(each)
        with pytest.raises(InputError, match="RC056"):
            extracted(path, tmp_path / f"out{number}")


def test_a_long_list_is_refused_unread(tmp_path: Path) -> None:
    """A list of entries that claims to be long is not even looked at."""
    path = whole(tmp_path)
    content = bytearray(path.read_bytes())
    struct.pack_into("<HHL", content, len(content) - 14, 0xFFFE, 0xFFFE, 0x7FFFFFFF)
    path.write_bytes(content)
    with pytest.raises(InputError, match="lists 65,534 entries"):
        extracted(path, tmp_path / "out")


AROUND = {
    "before": lambda content: b"#!/bin/sh\n" + content,
    "behind": lambda content: content + b"x",
    "a second archive before": lambda content: content + content,
}


@pytest.mark.parametrize("how", AROUND)
def test_nothing_stands_round_it(tmp_path: Path, how: str) -> None:
    """Not before it, not behind it: what two readers may take for two archives is none."""
    path = whole(tmp_path)
    path.write_bytes(AROUND[how](path.read_bytes()))
    with pytest.raises(InputError, match="RC056"):
        extracted(path, tmp_path / "out")


def test_what_the_manifest_does_not_list_is_refused(tmp_path: Path) -> None:
    """An entry more, an entry less, one of another size, one of another hash."""
    one = [(entry("x"), b"one")]
    cases = {
        "is not in its manifest": made(tmp_path / "1.zip", [*one, (entry("y"), b"")]),
        "is missing": made(tmp_path / "2.zip", one, y={"size": 1, "sha256": "0" * 64}),
        "should have 4": made(tmp_path / "3.zip", one, x={"size": 4, "sha256": "0" * 64}),
        "is not what": made(tmp_path / "4.zip", one, x={"size": 3, "sha256": "0" * 64}),
        "cannot be read": made(tmp_path / "5.zip", one, x={"size": -1, "sha256": "0" * 64}),
    }
    text = cases["is not in its manifest"].read_bytes()
    hidden = text.replace(b'"y": {', b'"x": {')  # which is then twice in the manifest
    cases["is not in its manifest"].write_bytes(hidden)
    for reason, path in cases.items():
        reason = "cannot be read|damaged" if path.name == "1.zip" else reason
        with pytest.raises(InputError, match=reason):
            extracted(path, tmp_path / "out")
        assert not (tmp_path / "out" / "x").exists()


def test_two_lists_that_disagree_are_refused(tmp_path: Path) -> None:
    """The name where an entry lies is not the one that is listed, or two entries share bytes."""
    content = whole(tmp_path).read_bytes()
    renamed = content.replace(b"a/one.txt", b"a/two.txt", 1)
    (tmp_path / "odd.zip").write_bytes(renamed)
    with pytest.raises(InputError, match="another one where it lies"):
        extracted(tmp_path / "odd.zip", tmp_path / "out")

    directory = content.index(b"PK\1\2")
    shared = bytearray(content)
    second = content.index(b"PK\1\2", directory + 4)
    shared[second + 42 : second + 46] = content[directory + 42 : directory + 46]
    (tmp_path / "odd.zip").write_bytes(shared)
    with pytest.raises(InputError, match="RC056"):
        extracted(tmp_path / "odd.zip", tmp_path / "out")


def test_it_writes_over_nothing_and_through_no_link(tmp_path: Path) -> None:
    """What stands in the folder stays, and a link there leads nowhere."""
    path = whole(tmp_path)
    for number, stand in enumerate((lambda p: p.write_text("mine"), lambda p: p.symlink_to("x"))):
        out = tmp_path / str(number)
        out.mkdir()
        stand(out / "b.bin")
        with pytest.raises(Exception, match="RC053"):
            extracted(path, out)
        assert not (out / "x").exists()
        assert (out / "b.bin").is_symlink() or (out / "b.bin").read_text() == "mine"


@settings(max_examples=60)
@given(data=st.data())
def test_any_byte_that_is_changed_is_told(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Of a bundle that was cut off, or of which bytes are others, either nothing that it holds has
    changed, or it is refused by name; no other error escapes.
    """
    folder = tmp_path_factory.mktemp("bytes")
    path = whole(folder)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(content)), st.integers(0, len(content))))
    path.write_bytes(content[:end])
    try:
        found = extracted(path, folder / "out")
    except InputError as error:
        assert error.problems[0].code == "RC056"
    else:
        assert found == CONTENTS


@settings(max_examples=60)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_by_name(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """What is no archive at all is told as such."""
    path = tmp_path_factory.mktemp("bytes") / "x.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="RC056"):
        extracted(path, path.parent / "out")
