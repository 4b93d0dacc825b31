"""Which files names and patterns stand for, and what is done about those that cannot be read."""

from __future__ import annotations

import glob
import gzip
import os
import random
import resource
import socket
import warnings

import pytest
from conftest import HELLO
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import csv_of, gathered, text

from recurra import InputError, Unsuited
from recurra.data import corpus
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra_sources import files, patterns
from recurra_sources.text import Text, TextOptions
from recurra_vocabularies.character import Character, CharacterOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions


def test_files_come_in_the_order_of_their_names(tmp_path):
    """A pattern gives its files sorted, several patterns one after the other, and no file twice."""
    for name in ("b.txt", "a.txt", "c.md"):
        (tmp_path / name).write_text(f"in {name}\n")
    assert gathered(text(tmp_path / "*.txt")) == ["in a.txt\n", "in b.txt\n"]
    paths = [str(tmp_path / name) for name in ("c.md", "*.txt", "a.*")]
    with pytest.warns(Unsuited, match="come again: a.txt$"):
        assert gathered(Text(TextOptions(paths=paths))) == ["in c.md\n", "in a.txt\n", "in b.txt\n"]


def test_what_is_no_file_is_named(tmp_path):
    """Missing files, directories and patterns without a match are told apart."""
    cases = [
        (tmp_path / "none.txt", "there is no file .*none.txt"),
        (tmp_path, "is a directory"),
        (tmp_path / "*.none", r"no file matches .*\*\.none"),
    ]
    for path, words in cases:
        for use in (lambda source: list(source.read("text")), lambda source: source.fingerprint()):
            with pytest.raises(InputError, match=rf"{words} \[RC040\]"):
                use(text(path))


def test_empty_files_give_nothing(tmp_path):
    """An empty file has no piece, and does not merge its neighbours."""
    for name, content in (("a", "one"), ("b", ""), ("c", "two")):
        (tmp_path / name).write_text(content)
    assert gathered(text(tmp_path / "*")) == ["one", "two"]
    assert gathered(text(tmp_path / "b")) == []


@pytest.mark.parametrize("damage", ["cut", "not gzip", "checksum", "empty"])
def test_a_damaged_gz_is_a_clear_error(tmp_path, damage):
    """A file that ends too soon, is not packed at all, or has a wrong sum, cannot be read."""
    raw = gzip.compress(os.urandom(5000))
    broken = {
        "cut": raw[:-2000],
        "not gzip": b"plain text",
        "checksum": raw[:-8] + b"\0" * 8,
        "empty": b"",
    }[damage]
    (tmp_path / "file.gz").write_bytes(broken)
    with pytest.raises(InputError, match=r"file\.gz cannot be read: .*\[RC040\](.|\n)*not packed"):
        gathered(text(tmp_path / "file.gz", encoding="latin-1"))


def test_path_and_paths_exclude_each_other():
    """Exactly one of both is given, and not an empty list."""
    for options in ({}, {"path": "a", "paths": ["b"]}, {"paths": []}):
        with pytest.raises(ValidationError, match="give exactly one of path and paths"):
            TextOptions(**options)


def test_a_fingerprint_follows_the_files(tmp_path):
    """It is the same while nothing changes, and another after an edit or a new file."""
    (tmp_path / "a.txt").write_text("one")
    source = text(tmp_path / "*.txt")
    seen = [source.fingerprint(), source.fingerprint()]
    (tmp_path / "a.txt").write_text("four")
    seen.append(source.fingerprint())
    (tmp_path / "b.txt").write_text("")
    seen.append(source.fingerprint())
    assert seen[0] == seen[1]
    assert len(set(seen)) == 3


ODD = [
    "proj [v2]",
    "in[1].txt",
    "what?.txt",
    "a*b",
    "[!x]",
    "it's",
    'the "new"',
    "deux mots",
    "\U0001f600",
    "{x}",
]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from(ODD), min_size=1, max_size=3),
    st.sampled_from(["*.txt", "**", "?.txt", "[a].txt"]),
)
def test_a_name_that_exists_is_no_pattern(tmp_path_factory, names, pattern):
    """Folders and files may be called as they like; below such a folder a pattern matches as below
    any other.
    """
    folder = tmp_path_factory.mktemp("odd").joinpath(*names)
    folder.mkdir(parents=True)
    (folder / "a.txt").write_text("right")
    (folder / "in[1].txt").write_text("by name")
    (folder / "in1.txt").write_text("by pattern")
    assert gathered(text(folder / "in[1].txt")) == ["by name"]
    found = gathered(text(folder / pattern))
    assert found == (
        ["right"] if len(pattern) > 5 or pattern == "?.txt" else ["right", "by pattern", "by name"]
    )


def test_a_task_in_a_folder_with_brackets_runs_on_its_own_data(task, tmp_path):
    """The folder of a task is never a pattern, and another folder that it would match is not
    read.
    """
    for name, content in (("proj [v2]", "hello"), ("proj v", "wrong"), ("proj 2", "wrong")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "in.txt").write_text(content)
    path = task(
        HELLO,
        ('kind = "inline"\ntext = "hello"', 'kind = "text"\npath = "*.txt"'),
        name="proj [v2]/t.toml",
    )
    assert load_data(resolve(path)).vocabulary.size == 4


@pytest.mark.parametrize("seed", range(5))
def test_patterns_match_as_glob_matches(tmp_path, monkeypatch, seed):
    """In a tree without odd names every pattern gives the files that Python's glob gives, in the
    same order.
    """
    draw = random.Random(seed)
    monkeypatch.chdir(tmp_path)
    for _ in range(25):
        parts = [draw.choice(["a", "b", "ab", ".c"]) for _ in range(draw.randrange(3))]
        folder = tmp_path.joinpath(*parts)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / draw.choice(["x.txt", "y.txt", "xy.md", ".h.txt"])).write_text(str(parts))
    for pattern in (
        "*",
        "**",
        "*/*",
        "**/*.txt",
        "a/**/x*",
        "**/[ab]/*",
        "?/?*.txt",
        "*/../a/*",
        ".c/*",
        "**/.*",
    ):
        for root in ("", f"{tmp_path}/"):
            matches = sorted(glob.glob(root + pattern, recursive=True))
            expected = dict.fromkeys(
                os.path.relpath(path) for path in matches if os.path.isfile(path)
            )
            try:
                found = [str(path) for path in patterns.matching([root + pattern]).files]
            except InputError:
                found = []
            assert [os.path.relpath(path) for path in found] == list(expected)


def test_links_that_lead_in_a_circle_end(tmp_path):
    """A folder that is linked into itself is walked once; a link to itself, and one to nothing, are
    named.
    """
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "inner").mkdir()
    for name, target in (("loop", "."), ("inner/up", ".."), ("inner/round", "../inner")):
        (tmp_path / name).symlink_to(target)
    assert gathered(text(tmp_path / "**" / "*.txt")) == ["a"]
    assert gathered(text(tmp_path / "inner" / "up" / "loop" / "*.txt")) == ["a"]
    cases = (
        ("self.md", "self.md", "cannot be read: Too many"),
        ("gone.md", "no", "link to no, which"),
    )
    for name, target, words in cases:
        (tmp_path / name).symlink_to(target)
        for path in (tmp_path / name, tmp_path / f"{name[:3]}*"):
            with pytest.raises(InputError, match=rf"{name}.*{words}"):
                text(path).fingerprint()


def test_a_file_is_read_once_under_any_name(tmp_path):
    """Two names, links or patterns that lead to one file do not make two of it."""
    (tmp_path / "b.txt").write_text("once")
    (tmp_path / "c.txt").symlink_to("b.txt")
    os.link(tmp_path / "b.txt", tmp_path / "d.txt")
    paths = [str(tmp_path / name) for name in ("*.txt", "b.txt")]
    with pytest.warns(Unsuited, match="come again: c.txt as b.txt, d.txt as b.txt, b.txt$"):
        assert gathered(Text(TextOptions(paths=paths))) == ["once"]


@settings(deadline=None, max_examples=30)
@given(
    paths=st.lists(
        st.sampled_from(["a.txt", "b.txt", "*.txt", "link.txt", "a*", "./a.txt", "c.md"]),
        min_size=1,
        max_size=3,
    )
)
def test_what_is_read_once_though_it_comes_again_is_told(paths, tmp_path_factory):
    """A name given twice is refused; any other overlap of names, links and patterns is warned of
    once, and with none there is no warning.
    """
    folder = tmp_path_factory.mktemp("once")
    for name in ("a.txt", "b.txt", "c.md"):
        (folder / name).write_text(name)
    (folder / "link.txt").symlink_to("b.txt")
    named = [f"{folder}/{path}" for path in paths]
    if len({os.path.normpath(path) for path in named}) < len(named):
        with pytest.raises(ValidationError, match="is named [23] times"):
            TextOptions(paths=named)
        return

    stands_for = {"*.txt": ["a", "b", "b"], "a*": ["a"], "link.txt": ["b"], "./a.txt": ["a"]}
    files = [name for path in paths for name in stands_for.get(path, [path[0]])]
    source = Text(TextOptions(paths=named))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        source.fingerprint()
        found = gathered(source)
        source.fingerprint()
    assert [text[0] for text in found] == list(dict.fromkeys(files))
    assert len(said) == (len(set(files)) < len(files))


@pytest.mark.parametrize(
    ("path", "words"),
    [
        (
            "/no such folder/x.txt",
            "there is no folder /no such folder; a path that does not begin with /",
        ),
        (
            "/no such folder/deep/*.txt",
            "there is no folder /no such folder; a path that does not begin with /",
        ),
        (
            "{here}/x.txt",
            "mend it: a path that does not begin with / is taken from the task file's folder",
        ),
        ("{here}/~/x.txt", "write the path out: ~ is a name like any other"),
        ("{here}/~me/*.txt", "write the path out: ~me is"),
        ("{here}/$HOME/x.txt", "write the path out: .HOME is"),
        ("{here}/https://example.org/x.txt", "an address is not read"),
    ],
)
def test_a_path_that_is_not_there_is_told_why(tmp_path, path, words):
    """The first folder of it that does not exist is named, or what is not expanded."""
    with pytest.raises(InputError, match=rf"\[RC040\](.|\n)*{words}"):
        text(path.format(here=tmp_path)).fingerprint()


def _pipe(path):
    os.mkfifo(path)


def _socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


@pytest.mark.parametrize(
    ("make", "name"), [(_pipe, "a named pipe"), (_socket, "a socket"), (None, "a device")]
)
def test_what_might_never_end_is_not_opened(tmp_path, monkeypatch, make, name):
    """A pipe, a socket or a device is refused by name and in a pattern, of text and of tables,
    before it is opened.
    """
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "in.csv"
    path.symlink_to("/dev/zero") if make is None else make(path)
    for source in (text(path), text(tmp_path / "*.csv")):
        with pytest.raises(
            InputError, match=rf"in.csv is {name}, not a file \[RC040\](.|\n)*to a file first"
        ):
            gathered(source)


@pytest.mark.parametrize("path", ["a\0b", "x" * 5000, "a\0*", "a\nb\x1b[2Jc"])
def test_a_name_that_no_file_can_have(path, tmp_path):
    """It is said so, in letters that can be printed."""
    with pytest.raises(InputError, match=r"\[RC040\]") as caught:
        text(f"{tmp_path}/{path}").fingerprint()
    assert all(line.isprintable() for line in str(caught.value).encode().decode().split("\n"))


def test_a_file_whose_name_is_no_utf8_is_read(tmp_path):
    """A pattern finds it, its fingerprint is text, and an error can be printed."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    with open(path, "wb") as file:
        file.write(b"coffee \xff")
    source = text(tmp_path / "*.txt")
    source.fingerprint().encode()
    assert gathered(text(tmp_path / "*.txt", encoding="latin-1")) == ["coffee \xff"]
    with pytest.raises(InputError) as caught:
        gathered(source)
    assert r"caf\xe9.txt is not utf-8 text" in str(caught.value).encode().decode()


@pytest.mark.parametrize("what", ["open", "listdir"])
def test_what_may_not_be_read_is_named(tmp_path, monkeypatch, what):
    """A file or a folder without permission is an error with its name, and never left out."""
    (tmp_path / "a.txt").write_text("a")

    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files.Path if what == "open" else os, what, refuse)
    with pytest.raises(
        InputError, match=r"(a\.txt cannot be read|cannot be listed): Permission denied \[RC040\]"
    ):
        gathered(text(tmp_path / "*.txt"))


def test_a_missing_file_has_a_nearest(tmp_path):
    """A name that differs by a letter or by case is offered."""
    (tmp_path / "Input.txt").write_text("a")
    with pytest.raises(InputError, match=r"there is no file(.|\n)*did you mean: Input.txt"):
        gathered(text(tmp_path / "inptu.txt"))


def test_a_table_is_one_file(tmp_path):
    """A pattern that gives several tables is refused with their names: none is left out."""
    source = csv_of(tmp_path, "a\n1\n", columns=["a"])
    (tmp_path / "other.csv").write_text("a\n2\n")
    both = type(source)(source.options.model_copy(update={"path": str(tmp_path / "*.csv")}))
    with pytest.raises(
        InputError, match=r"stands for 2 files, and a table is one(.|\n)*other.csv, table.csv"
    ):
        gathered(both, "numbers")


def test_many_files_are_never_open_together(tmp_path):
    """A pattern of more files than a process may open is read to its end."""
    for index in range(300):
        (tmp_path / f"{index:03}").write_text(f"{index} ")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Corpora that were read before keep theirs open.
    few = len(os.listdir("/proc/self/fd")) + 90
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, before[1]))
    try:
        found = gathered(text(tmp_path / "*"))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert found == [f"{index} " for index in range(300)]


# Files that change


@pytest.mark.parametrize("change", ["grow", "shrink", "replace"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_changes_while_it_is_read(tmp_path, monkeypatch, change, packed):
    """What was read of it is neither the old nor the new: that is an error, and no data."""
    monkeypatch.setattr(files, "BLOCK", 16)
    path = tmp_path / ("file.gz" if packed else "file")
    path.write_bytes(gzip.compress(b"one two\n" * 100) if packed else b"one two\n" * 100)
    reader = text(path).read("text")
    next(reader)
    raw = path.read_bytes()
    path.write_bytes({"grow": raw + raw, "shrink": raw[:-20], "replace": raw[::-1]}[change])
    with pytest.raises(InputError, match=r"file(.gz)? (changed while it was read|cannot be read)"):
        list(reader)


@pytest.mark.parametrize("element", ["text", "numbers"])
@pytest.mark.parametrize("moment", ["fit", "encode"])
def test_data_that_changes_between_the_passes(tmp_path, element, moment):
    """A vocabulary that was fitted on other data than it encodes is refused, though each pass was
    whole.
    """
    source = csv_of(tmp_path, "a\n1\n2\n", columns=["a"])
    path = tmp_path / "table.csv"

    class Changing(type(source)):
        def read(self, asked):
            yield from super().read(asked)
            if moment == "fit" or path.stat().st_size == 6:
                path.write_text("a\n1\n2\n3\n")

    vocabulary = Character(CharacterOptions()) if element == "text" else Numeric(NumericOptions())
    with pytest.raises(InputError, match=r"the data changed while it was read \[RC044\]"):
        corpus.build(Changing(source.options), vocabulary)
