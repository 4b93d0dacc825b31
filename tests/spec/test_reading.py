"""From files and bases to one document: what wins, where it came from, and what is refused."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from conftest import HELLO
from documents import QUICK, TABLES, Write, fault, leaves
from hypothesis import given
from hypothesis import strategies as st

from recurra.errors import InputError
from recurra.resolve import resolve
from recurra.spec.reading import Document, Layer, read


def layered(layers: list[dict[str, Any]]) -> dict[tuple[str, ...], tuple[int, Any]]:
    """Return each leaf with the layer that it comes from: a reference that knows no tables, only
    leaves.
    """
    held: dict[tuple[str, ...], tuple[int, Any]] = {}
    for number, layer in enumerate(layers):
        for path, value in leaves(layer).items():
            above = [path[:depth] for depth in range(len(path))]
            held = {k: v for k, v in held.items() if k not in above and k[: len(path)] != path}
            held[path] = (number, value)
    return held


def leaves_of_one(layers: list[dict[str, Any]]) -> list[tuple[tuple[str, ...], Any]]:
    """Return the leaves of the first layer, if there is one: overrides may not replace each
    other.
    """
    return [pair for layer in layers[:1] for pair in leaves(layer).items()]


# Layers.


@QUICK
@given(st.lists(TABLES, min_size=1, max_size=4))
def test_the_last_layer_to_name_a_leaf_gives_it(layers: list[dict[str, Any]]) -> None:
    """Tables merge deeply, lists and values whole, and each leaf remembers the last layer that gave
    it.
    """
    document = Document(Path("t.toml"))
    for number, data in enumerate(layers):
        document.add(Layer(str(number), Path()), data)
    expected = layered(layers)
    assert leaves(document.data) == {path: value for path, (_, value) in expected.items()}
    assert {path: document.layer(path).label for path in expected} == {
        p: str(n) for p, (n, _) in expected.items()
    }
    assert all(path in expected or path in _tables(document.data) for path in document.origins)


def _tables(data: dict[str, Any], path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    inner = [(key, value) for key, value in data.items() if isinstance(value, dict)]
    return {(*path, key) for key, _ in inner}.union(
        *(_tables(value, (*path, key)) for key, value in inner)
    )


@QUICK
@given(st.lists(TABLES, min_size=2, max_size=4), st.data())
def test_a_chain_of_files_is_its_layers(
    tmp_path: Path, layers: list[dict[str, Any]], data: Any
) -> None:
    """A chain of bases gives what its files, base first, give as layers; and layers above bases are
    overrides.
    """
    files = data.draw(st.integers(1, len(layers)))
    for number, layer in enumerate(layers[:files]):
        base = {"extends": f"{number - 1}.toml"} if number else {}
        (tmp_path / f"{number}.toml").write_text(tomli_w.dumps({**base, **layer}), encoding="utf-8")
    pairs = leaves_of_one(layers[files:])
    overrides = [f"{'.'.join(path)}={json.dumps(value)}" for path, value in pairs]
    document = read(tmp_path / f"{files - 1}.toml", overrides)
    assert leaves(document.data) == {
        path: value for path, (_, value) in layered(layers[: files + 1]).items()
    }


@pytest.mark.parametrize(
    ("chain", "shown"),
    [
        ({"task.toml": "task.toml"}, "task.toml -> task.toml"),
        ({"task.toml": "a.toml", "a.toml": "task.toml"}, "task.toml -> a.toml -> task.toml"),
        (
            {"task.toml": "a.toml", "a.toml": "b.toml", "b.toml": "./a.toml"},
            "task.toml -> a.toml -> b.toml -> a.toml",
        ),
    ],
)
def test_a_circle_of_bases_is_refused(tmp_path: Path, chain: dict[str, str], shown: str) -> None:
    """A chain of bases that comes back to a file is refused, and the message walks the circle."""
    for name, base in chain.items():
        (tmp_path / name).write_text(f'\nextends = "{base}"\n', encoding="utf-8")
    problem = fault(tmp_path / "task.toml")
    assert (problem.code, problem.key) == ("RC004", "extends")
    assert shown in problem.fact
    assert problem.place is not None and (problem.place.line, problem.place.column) == (2, 1)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ('extends = "nowhere.toml"', "RC004", "nowhere.toml"),
        ('extends = "."', "RC004", "is a folder"),
        ('extends = "/dev/zero"', "RC004", "no regular file"),
        ('extends = ""', "RC004", "must name a file"),
        ('extends = "a\\u0000b"', "RC004", "must name a file"),
        (f'extends = "{"x" * 5000}"', "RC004", "does not exist"),
        ("extends = {}", "RC012", "{}"),
        ('extends = "~nobody-has-this-name/a.toml"', "RC004", "~nobody-has-this-name"),
        ("extends = true", "RC012", "true"),
        ('extends = ["a.toml"]', "RC012", '["a.toml"]'),
        ("extends = 2020-01-01", "RC012", "2020-01-01"),
    ],
)
def test_a_base_that_cannot_be_used_is_refused_at_its_line(
    task: Write, line: str, code: str, said: str
) -> None:
    """A missing base, or one that is not a name, is refused at the line that names it."""
    problem = fault(task("# first\n" + line + "\n" + HELLO))
    assert problem.code == code and said in problem.fact + problem.got
    assert problem.place is not None and problem.place.line == 2


def test_a_base_may_be_named_from_home(
    task: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`~` in the name of a base is the user's folder."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "base.toml").write_text(HELLO, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    assert read(task('extends = "~/base.toml"\nseed = 3')).data == {
        **tomllib.loads(HELLO),
        "seed": 3,
    }


def test_a_base_with_a_fault_is_named(task: Write) -> None:
    """A base that is not TOML is reported in its own file, not in the one that extends it."""
    task("a = \n", name="base.toml")
    problem = fault(task('extends = "base.toml"'))
    assert problem.code == "RC003"
    assert (
        problem.place is not None
        and problem.place.file.endswith("base.toml")
        and problem.place.line == 1
    )


# Origins.


@pytest.mark.parametrize("culprit", ["base", "file", "override", "mapping"])
def test_an_error_names_the_layer_that_caused_it(task: Write, culprit: str) -> None:
    """An error stands where the value was written: in the base, in the file, or in an override."""
    good, bad = "hidden_size = 8", "hidden_size = true"
    base = task(HELLO, (good, bad if culprit == "base" else good), name="base.toml")
    own = {"file": f"[cell]\n{bad}", "base": "[training]\nsteps = 1"}.get(
        culprit, f"[cell]\n{good}"
    )
    path = task(f'extends = "base.toml"\n{own}\n')
    overrides: Any = {
        "override": ["seed=1", "cell.hidden_size=true"],
        "mapping": {"cell.hidden_size": True},
    }
    with pytest.raises(InputError) as caught:
        resolve(path, overrides.get(culprit, ()))
    (problem,) = caught.value.problems
    line = HELLO.split("\n").index(good) + 1
    assert (problem.code, problem.key, problem.got) == ("RC012", "cell.hidden_size", "true")
    assert str(problem.place) == {
        "base": f"{base}:{line}:1",
        "file": f"{path}:3:1",
        "override": "-o #2: cell.hidden_size=true",
        "mapping": "override cell.hidden_size",
    }[culprit].replace(str(base), str(path.parent / "base.toml"))


def test_what_is_missing_stands_in_the_file_that_was_named(task: Write) -> None:
    """A table that no layer has is missed in the task file, not in its base."""
    task("seed = 1", name="base.toml")
    path = task('extends = "base.toml"')
    with pytest.raises(InputError) as caught:
        resolve(path, ["name=x"])
    assert {p.code for p in caught.value.problems} == {"RC010"}
    assert {p.place.file for p in caught.value.problems if p.place} == {str(path)}


@pytest.mark.parametrize("where", ["base", "file", "override", "absolute", "home"])
def test_a_path_is_taken_from_the_file_that_names_it(
    task: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """A relative path means the folder of the layer that holds it; for an override, the folder of
    the command.
    """
    for name in ("bases", "here", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    text = HELLO.replace('text = "hello"', 'path = "a.txt"').replace('"inline"', '"text"')
    task(text, name="bases/base.toml")
    own = {"file": "a.txt", "absolute": "/x/a.txt", "home": "~/a.txt"}.get(where)
    path = task('extends = "bases/base.toml"' + (f'\n[source]\npath = "{own}"' if own else ""))
    resolved = resolve(path, ["source.path=a.txt"] if where == "override" else [])
    folder = {"base": "bases", "file": "", "override": "here", "absolute": "/x", "home": "home"}[
        where
    ]
    assert Path(resolved.parts["source"].options.path) == tmp_path / folder / "a.txt"


def test_local_plugin_files_are_anchored_too(
    task: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A missing plugin file is reported at its key, with the path that was tried, and with the
    file's other faults.
    """
    monkeypatch.chdir("/")
    path = task(HELLO + '\n[plugins]\nfiles = ["mine.py"]\n[trainig]\n')
    with pytest.raises(InputError) as caught:
        resolve(path)
    assert [(p.code, p.key) for p in caught.value.problems] == [
        ("RC001", "plugins.files"),
        ("RC011", "trainig"),
    ]
    assert str(tmp_path / "mine.py") in caught.value.problems[0].fact


# Files that are no task.


def test_a_missing_file_and_a_folder_say_so(tmp_path: Path, task: Write) -> None:
    """A path that holds no file is refused with what it is, and with what to name instead."""
    missing, folder = fault(tmp_path / "no.toml"), fault(task().parent)
    assert (missing.code, folder.code) == ("RC001", "RC001")
    assert "does not exist" in missing.fact and "recurra new" in missing.cure
    assert "directory" in folder.fact and "task.toml" in folder.cure


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing but words", "\ufeff"])
def test_an_empty_file_says_what_a_task_needs(task: Write, text: str) -> None:
    """An empty file is one problem that lists the tables of a task, not five missing keys."""
    with pytest.raises(InputError) as caught:
        resolve(task(text))
    (problem,) = caught.value.problems
    assert problem.code == "RC010" and "[source]" in problem.cure and "recurra new" in problem.cure


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 10000,
        "a = " + "[" * 200 + "]" * 200,
        ".".join("a" * 3000) + " = 1",
        "[" + ".".join("b" * 3000) + "]",
    ]
    + [
        "a = 1\na = 2",
        "a.b = 1\na = 2",
        "a = 1\0",
        "a = 1\rb = 2",
        "a = " + "9" * 5000,
        "a = 0x" + "f" * 9000,
    ],
    ids=range(10),
)
def test_a_text_that_is_no_sound_toml_is_refused(tmp_path: Path, text: str) -> None:
    """Nesting without end, keys twice, a NUL, CR alone, endless numbers: each is one error of the
    file.
    """
    path = tmp_path / "task.toml"
    path.write_bytes(text.encode())
    with pytest.raises(InputError) as caught:
        resolve(path)
    assert {problem.code for problem in caught.value.problems} == {"RC003"}


def test_what_never_ends_is_no_task() -> None:
    """A device that gives bytes without end is refused, and not read for ever."""
    assert fault(Path("/dev/zero")).code == "RC001"
    assert fault(Path("a\0b")).code == "RC001"


@QUICK
@given(
    st.text("aé€🂡\n", max_size=12),
    st.booleans(),
    st.sampled_from([b"\xff", b"\xe9t\xe9", b"\xc3", b"\xa0"]),
)
def test_bytes_that_are_not_utf8_are_placed(
    tmp_path: Path, before: str, mark: bool, bad: bytes
) -> None:
    """The first byte that is not UTF-8 is reported at its line and column in characters, and
    shown.
    """
    head = ("\ufeff" if mark else "").encode() + f"# {before}".encode()
    path = tmp_path / "task.toml"
    path.write_bytes(head + bad + b"\nx = 1")
    problem = fault(path)
    lines = f"# {before}".split("\n")
    assert problem.code == "RC002" and problem.place is not None
    assert (problem.place.line, problem.place.column) == (len(lines), len(lines[-1]) + 1)
    assert f"{bad[0]:#04x} at offset {len(head)}" in problem.fact
    assert problem.place.text.startswith(lines[-1] + "\ufffd")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32"])
def test_other_unicode_encodings_are_refused(tmp_path: Path, encoding: str) -> None:
    """A file that an editor saved as UTF-16 or UTF-32 is refused as a file, without a traceback."""
    path = tmp_path / "task.toml"
    path.write_bytes(HELLO.encode(encoding))
    assert fault(path).code in ("RC002", "RC003")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_line_ends_and_byte_order_marks_change_nothing(
    tmp_path: Path, mark: bytes, ends: bytes
) -> None:
    """A byte-order mark and CRLF change neither the tables nor the places of errors."""
    path = tmp_path / "task.toml"
    text = HELLO.replace("hidden_size", "hiden_size")
    path.write_bytes(mark + text.encode().replace(b"\n", ends))
    assert read(path).data == tomllib.loads(text)
    with pytest.raises(InputError) as caught:
        resolve(path)
    (problem,) = caught.value.problems
    line = text.split("\n").index("hiden_size = 8") + 1
    assert problem.place is not None
    assert (problem.place.line, problem.place.column, problem.place.text) == (
        line,
        1,
        "hiden_size = 8",
    )


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("a = 1\nb = \n", 2, 5),
        ("a = 1\n  b 2\n", 2, 5),
        ("# é\u2028\na = 1\na = 2\n", 3, 6),
        ("[a]\n[a]\n", 2, 3),
        ('a = "x', 1, 7),
        ('a = """x\n\n', 1, 9),
        ("a = [1,\n2\n", 2, 2),
        ("a = 01\n", 1, 6),
        ("\u00a0a = 1", 1, 1),
    ],
)
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_a_syntax_error_is_placed(
    task: Write, text: str, line: int, column: int, ends: str
) -> None:
    """A text that is not TOML is refused at the line and column where the reader gave up, with that
    line shown.
    """
    problem = fault(task(text.replace("\n", ends)))
    assert problem.code == "RC003" and problem.place is not None
    assert (problem.place.line, problem.place.column) == (line, column)
    assert problem.place.text == text.split("\n")[line - 1]


@QUICK
@given(st.text(st.sampled_from("ab=[]{}\",'#.\n\r\t \\1é"), max_size=40))
def test_no_text_breaks_the_reader(tmp_path: Path, text: str) -> None:
    """Any text is either read as TOML reads it, or refused as not TOML within its own lines."""
    path = tmp_path / "task.toml"
    path.write_bytes(text.encode())
    try:
        expected = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        problem = fault(path)
        assert problem.code == "RC003" and problem.place is not None
        assert 1 <= problem.place.line <= text.replace("\r\n", "\n").count("\n") + 1
        assert problem.place.text == text.replace("\r\n", "\n").split("\n")[problem.place.line - 1]
    else:
        assert read(path).data == expected


@pytest.mark.parametrize(
    "value",
    [
        "[" * 5000 + "]" * 5000,
        "[" * 260 + "]" * 260,
        "9" * 5000,
        "0x" + "9" * 5000,
        "1e999",
        "[1" + "0" * 400 + "]",
    ],
    ids=["very deep", "deep", "long integer", "long hexadecimal", "infinite", "beyond a float"],
)
def test_monstrous_values_are_refused(task: Write, value: str) -> None:
    """A value that no reader can hold is refused as input, not by a traceback, and not printed
    whole.
    """
    with pytest.raises(InputError) as caught:
        resolve(task(HELLO, ('text = "hello"', f"values = {value}")))
    assert all(
        len(line) < 400
        for problem in caught.value.problems
        for line in problem.render().split("\n")
    )
