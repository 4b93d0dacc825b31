"""Overrides are lines of the task file: what one may say, take away, or hold of Python."""

from __future__ import annotations

import enum
import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tomli_w
import torch
from conftest import HELLO
from documents import QUICK, TABLES, Write, fault, leaves
from hypothesis import given
from hypothesis import strategies as st

from recurra.errors import InputError
from recurra.resolve import resolve
from recurra.spec.document import same
from recurra.spec.reading import Document, Layer, parse_override, read

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
