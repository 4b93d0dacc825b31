"""From files, bases and overrides to one document: what wins, where it came from, and what is
refused.
"""

from __future__ import annotations

import enum
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from conftest import HELLO
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.errors import InputError, Problem
from recurra.resolve import resolve
from recurra.spec.document import same
from recurra.spec.reading import Document, Layer, parse_override, read

QUICK = settings(
    deadline=None, max_examples=35, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
Write = Callable[..., Path]
Leaves = dict[tuple[str, ...], Any]

KEYS = st.sampled_from("abc")
LEAVES = st.one_of(
    st.integers(0, 9), st.text("xyz", max_size=2), st.lists(st.integers(0, 9), max_size=3)
)
TABLES = st.recursive(
    st.dictionaries(KEYS, LEAVES, min_size=1, max_size=3),
    lambda inner: st.dictionaries(KEYS, LEAVES | inner, min_size=1, max_size=3),
    max_leaves=8,
)


def fault(path: Path, *overrides: str) -> Problem:
    """Return the one problem of a task that must not be read."""
    with pytest.raises(InputError) as caught:
        read(path, overrides)
    assert len(caught.value.problems) == 1
    return caught.value.problems[0]


def leaves(value: Any, path: tuple[str, ...] = ()) -> Leaves:
    if not isinstance(value, dict):
        return {path: value}
    return {
        found: leaf
        for key, inner in value.items()
        for found, leaf in leaves(inner, (*path, key)).items()
    }


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


# Overrides.

PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=10)


@QUICK
@given(
    st.lists(st.text("ab-_1", min_size=1, max_size=4), min_size=1, max_size=4),
    st.one_of(
        st.integers(),
        st.booleans(),
        st.floats(allow_nan=False),
        PLAIN,
        st.lists(st.integers(), max_size=3),
    ),
    st.booleans(),
    st.sampled_from(["", " "]),
)
def test_an_override_is_the_line_of_a_task_file(
    keys: list[str], value: Any, quoted: bool, gap: str
) -> None:
    """`key=value` gives exactly what the same line gives in a file, whatever the quotes and the
    spaces.
    """
    name = ".".join(f'"{key}"' if quoted else key for key in keys)
    line = tomli_w.dumps({"v": value}).removeprefix("v = ").strip()
    if "\n" not in line:
        assert parse_override(f"{name}{gap}={gap}{line}") == tomllib.loads(f"{name} = {line}")


@QUICK
@given(PLAIN)
def test_what_is_not_toml_is_text(value: str) -> None:
    """A value that means nothing in TOML is taken as text, without the spaces before it."""
    try:
        expected = tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        expected = value.lstrip()
    assert repr(parse_override(f"a.b={value}")) == repr({"a": {"b": expected}})


@pytest.mark.parametrize(
    ("text", "tables"),
    [
        ("a=b=c", {"a": "b=c"}),
        ("a=", {"a": ""}),
        ("a==", {"a": "="}),
        ("a='x'", {"a": "x"}),
        ('a."b.c".d=1', {"a": {"b.c": {"d": 1}}}),
        ('"a=b"=1', {"a=b": 1}),
        ("'a = b'.c = 1", {"a = b": {"c": 1}}),
        ("a={b = 1}", {"a": {"b": 1}}),
        ("a=1\nb = 2", {"a": "1\nb = 2"}),
        ("a=" + "[" * 5000, {"a": "[" * 5000}),
        ("a=" + "9" * 5000, {"a": "9" * 5000}),
    ],
)
def test_an_override_ends_at_its_first_equals_sign(text: str, tables: dict[str, Any]) -> None:
    """The key ends at the first equals sign outside quotes; all the rest is the value."""
    assert parse_override(text) == tables


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "=1",
        " = 1",
        "a b=1",
        "a.=1",
        ".a=1",
        "a..b=1",
        "[a]=1",
        "[a]#=1",
        "#=1",
        "é=1",
        '"\\q"=1',
    ]
    + [
        "cell.stack[0].hidden_size=1",
        "name=\udcff",
        "\udcff=1",
        "extends=base.toml",
        "extends.a=1",
    ],
)
def test_a_bad_override_is_refused_by_its_number(task: Write, text: str) -> None:
    """An override that is not key=value is refused, and the message shows which one it is."""
    problem = fault(task(), "seed=1", text)
    assert problem.code == "RC005"
    assert str(problem.place) == f"-o #2: {text}"


@pytest.mark.parametrize("name", ["", "a b", "a=1\nb", "[a]", "a = 0, b", "a #"])
def test_a_bad_key_of_a_mapping_is_refused_by_its_name(task: Write, name: str) -> None:
    """A mapping's key that is no TOML key is refused, and named."""
    with pytest.raises(InputError) as caught:
        read(task(), {name: 1})
    assert (
        caught.value.problems[0].code == "RC005"
        and str(caught.value.problems[0].place) == f"override {name}"
    )


@QUICK
@given(TABLES, TABLES)
def test_no_override_takes_the_place_of_another(
    task: Write, first: dict[str, Any], second: dict[str, Any]
) -> None:
    """Two overrides are merged, or both are named: neither is dropped without a word, in any
    order.
    """
    one, other = leaves(first), leaves(second)
    fits = all(
        path[: len(held)] != held[: len(path)] or (path == held and value == other[held])
        for path, value in one.items()
        for held in other
    )
    path = task("z = 0")
    for pair in ([one, other], [other, one]):
        texts = [
            f"{'.'.join(key)}={json.dumps(value)}"
            for tables in pair
            for key, value in tables.items()
        ]
        if fits:
            assert leaves(read(path, texts).data) == {("z",): 0} | one | other
        else:
            with pytest.raises(InputError) as caught:
                read(path, texts)
            assert {problem.code for problem in caught.value.problems} == {"RC014"}
            assert all(str(problem.place) in problem.fact for problem in caught.value.problems)


@pytest.mark.parametrize(
    "texts",
    [
        ["device=cuda", "device.threads=1"],
        ["training.steps=5", "training.epochs=2"],
        ["cell.hidden_size=1"] * 2,
    ]
    + [["device.threads=1", "device=cuda"], ["optimizer=adam", "training.optimizer=sgd"]],
)
def test_overrides_that_cannot_both_hold_are_refused(task: Write, texts: list[str]) -> None:
    """What one override says, in a table or in place of one, no other may drop; the same thing
    twice is no harm.
    """
    if texts[0] == texts[1]:
        assert read(task(), texts).data["cell"]["hidden_size"] == 1
        return
    with pytest.raises(InputError) as caught:
        resolve(task(), texts)
    assert {p.code for p in caught.value.problems} <= {"RC011", "RC012", "RC014"}


@pytest.mark.parametrize(
    "value", ["nan", "[nan]", "{ a = nan }", "[[1, nan], 2]", "true", "1.5", '"x"']
)
def test_a_value_is_the_same_as_itself(task: Write, value: str) -> None:
    """Whatever stands in two layers or two overrides is one value, nan too, and is not taken for a
    change.
    """
    key = ("training", "clip_norm")
    document = read(task(), [f"training.clip_norm={value}"] * 2)
    assert "clip_norm" in document.data["training"] and document.layer(key).override

    document = Document(Path("t.toml"))
    for _ in range(2):
        document.add(Layer("layer", Path()), tomllib.loads(f"[device]\nkind = {value}"))
    assert not document.changes and same(*(tomllib.loads(f"v = {value}")["v"] for _ in range(2)))
    assert not same(1, True) and not same(1, 1.0) and not same([1.0], [float("nan")])


@pytest.mark.parametrize(
    "table", ["device", "cell", "source", "training.schedule", "training.optimizer"]
)
@pytest.mark.parametrize("where", ["file", "override", "both"])
def test_a_kind_that_is_no_number_is_told(task: Write, table: str, where: str) -> None:
    """nan as a kind is told at its place, in a file, in an override, and in both."""
    base = tomllib.loads(HELLO)
    node: Any = base
    for part in table.split("."):
        node = node.setdefault(part, {})
    node["kind"] = float("nan")
    path = task(tomli_w.dumps(base) if where != "override" else HELLO)
    with pytest.raises(InputError) as caught:
        resolve(path, [] if where == "file" else [f"{table}.kind=nan"])
    assert f"{table}.kind" in {problem.key for problem in caught.value.problems}
    assert {problem.code for problem in caught.value.problems} == {"RC012"}


def test_a_key_in_what_the_file_has_as_a_value_is_refused(task: Write) -> None:
    """An override of one key inside a table does not hide that the file has no table there."""
    problem = fault(
        task(f'device = "cuda"\n{HELLO.removeprefix("schema = 1")}'), "device.threads=1"
    )
    assert (problem.code, problem.key) == ("RC012", "device") and "-o #1" in problem.fact
    assert problem.place is not None and problem.place.line == 1


# What is taken away.


@QUICK
@given(TABLES, TABLES, st.data())
def test_unset_takes_away_what_the_layers_below_have(
    task: Write, base: Any, own: Any, data: Any
) -> None:
    """A key that is unset is gone with all that it holds, and what its own file says of it then
    stands alone.
    """
    paths = sorted({path[:depth] for path in leaves(base) for depth in range(1, len(path) + 1)})
    gone = data.draw(st.sampled_from(paths))
    task(tomli_w.dumps(base), name="base.toml")
    text = tomli_w.dumps({"extends": "base.toml", "unset": [".".join(gone)], **own})
    left = {path: value for path, value in leaves(base).items() if path[: len(gone)] != gone}
    tables = Document(Path("t.toml"))
    for number, held in enumerate([left, leaves(own)]):
        for path, value in held.items():
            nested: Any = value
            for part in reversed(path):
                nested = {part: nested}
            tables.add(Layer(str(number), Path()), nested)
    assert leaves(read(task(text)).data).items() >= leaves(tables.data).items()
    assert (
        leaves(read(task('extends = "base.toml"'), [f"unset={'.'.join(gone)}"]).data).items()
        >= left.items()
    )
    assert gone not in leaves(read(task('extends = "base.toml"'), {"unset": [".".join(gone)]}).data)


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ('"cell.hiden_size"', "RC011"),
        ("[1]", "RC012"),
        ("{}", "RC012"),
        ('"cell[0]"', "RC013"),
        ('[""]', "RC013"),
    ],
)
def test_a_key_that_cannot_be_unset_is_refused(task: Write, value: str, code: str) -> None:
    """`unset` names keys that the layers below have, and says which is meant."""
    task(name="base.toml")
    problem = fault(task(f'extends = "base.toml"\nunset = {value}'))
    assert (
        (problem.code, problem.key) == (code, "unset")
        and problem.place is not None
        and problem.place.line == 2
    )
    assert problem.nearest == ("cell.hidden_size" if code == "RC011" else "")


# Values of Python.


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.int64(7), 7), (np.float32(0.5), 0.5), (np.bool_(True), True),
        (np.array([1, 2]), [1, 2]),
        (torch.tensor(0.5), 0.5), (torch.tensor([[1], [2]]), [[1], [2]]), (("a", "b"), ["a", "b"]),
        (Path("x/y"), "x/y"), (Colour.RED, "red"), ({"a": (np.int8(1),)}, {"a": [1]}), (None, None),
    ],
)  # fmt: skip
def test_a_value_of_python_is_taken_as_toml_has_it(task: Write, value: Any, plain: Any) -> None:
    """Numbers, arrays and paths of Python stand in overrides as what TOML would say for them, of
    plain types.
    """
    held = read(task(), {"x.y": value}).data["x"]["y"]
    assert repr(held) == repr(plain)


def _circle() -> list[Any]:
    circle: list[Any] = []
    circle.append(circle)
    return circle


@pytest.mark.parametrize(
    "value",
    [
        {"a"},
        lambda: 1,
        object(),
        1j,
        b"x",
        int,
        {1: 2},
        [[{"a": {1}}]],
        _circle(),
        torch.empty(1, device="meta"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_meaning_in_toml_is_refused(task: Write, value: Any) -> None:
    """What TOML cannot say is refused by the name of the override, with what may stand there."""
    with pytest.raises(InputError) as caught:
        read(task(), {"cell.hidden_size": value})
    (problem,) = caught.value.problems
    assert (problem.code, problem.key) == ("RC012", "cell.hidden_size")
    assert "TOML" in problem.allowed and len(problem.got) <= 80


def test_one_text_is_one_override(task: Write) -> None:
    """A text in place of a list of them is not taken letter by letter."""
    assert read(task(), "cell.hidden_size=3").data["cell"]["hidden_size"] == 3
    assert read(task(), None).data == read(task()).data


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
