"""The scanner against `tomllib`, and against texts whose writer noted where it put each key."""

from __future__ import annotations

import datetime
import json
import sysconfig
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.errors import WINDOW, Place
from recurra.spec.positions import Scanner, line_and_column, locate

QUICK = settings(deadline=None, max_examples=40)

# Two kinds of writer make the texts: tomli_w, and `Writer` below, which draws its style and notes
# each key's place.

NAMES = st.one_of(
    st.sampled_from(["kind", "lr", "a", "b-c", "_", "1979", "-", "true"]),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6),
)
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            '"',
            "'",
            "[x]",
            "a = 1",
            "# no comment",
            "}",
            ",",
            '"""',
            "\\",
            "tab\there",
            "two\nlines",
        ]
    ),
    st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12),
)
SCALARS = st.one_of(
    TEXTS,
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False),
    st.dates(),
    st.times(),
    st.datetimes(
        min_value=datetime.datetime(1, 1, 2), timezones=st.sampled_from([None, datetime.UTC])
    ),
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)
TABLES = st.dictionaries(NAMES, VALUES, max_size=5)


class Writer:
    """Writes tables as a person might, in a style drawn by Hypothesis, and notes the offset of each
    key.
    """

    def __init__(self, draw: Any) -> None:
        self.draw = draw
        self.text = ""
        self.starts: dict[tuple[str | int, ...], int] = {}

    def pick(self, *choices: str) -> str:
        return str(self.draw(st.sampled_from(choices)))

    def put(self, *parts: str) -> None:
        self.text += "".join(parts)

    def gap(self) -> str:
        """Return what may stand between lines."""
        return self.pick("", "", "\n", "  # [a] = 1, {\"'\n", "\n\t\n# ''' not a string\n")

    def key(self, name: str) -> str:
        basic = json.dumps(name, ensure_ascii=self.draw(st.booleans())).replace("\x7f", "\\u007F")
        if any(ord(mark) > 0xFFFF for mark in name):
            # TOML knows no surrogate pairs.
            basic = '"' + "".join(f"\\U{ord(mark):08X}" for mark in name) + '"'
        forms = [basic]
        if name and all(mark.isascii() and (mark.isalnum() or mark in "_-") for mark in name):
            forms.append(name)
        if name.isprintable() and "'" not in name:
            forms.append(f"'{name}'")
        return self.pick(*forms)

    def scalar(self, value: Any) -> str:
        plain = tomli_w.dumps({"v": value}).removeprefix("v = ").rstrip("\n")
        if not isinstance(value, str):
            return plain
        body = plain[1:-1]
        forms = [
            plain,
            f'"""{body}"""',
            f'"""\n{body}"""',
            f'"""\\\n   {body}"""' if body[:1].strip() else plain,
        ]
        if value.replace("\n", "").replace("\t", "").isprintable() and "'" not in value:
            forms += [f"'''\n{value}'''"] + ([f"'{value}'"] if "\n" not in value else [])
        if value and not value.endswith(("\\", '"')) and value.isalnum():
            # One or two quotes may stand before the last three.
            forms += [
                f'"""{value}"""""',
                f"'''{value}'''''",
            ]
        return self.pick(*forms)

    def value(self, value: Any, path: tuple[str | int, ...]) -> None:
        if isinstance(value, dict):
            self.put("{", self.pick("", " "))
            for index, (name, inner) in enumerate(value.items()):
                self.put(", " if index else "")
                self.pair((), name, inner, path)
            self.put(self.pick("", " "), "}")
        elif isinstance(value, list):
            self.put("[", self.gap())
            for index, inner in enumerate(value):
                self.starts[(*path, index)] = len(self.text)
                self.value(inner, (*path, index))
                self.put(
                    self.pick(",", " ,") if index + 1 < len(value) else self.pick("", ","),
                    self.gap(),
                )
            self.put("]")
        else:
            self.put(self.scalar(value))

    def pair(
        self, before: tuple[str, ...], name: str, value: Any, table: tuple[str | int, ...]
    ) -> None:
        start = len(self.text)
        dot = self.pick(".", " . ", "\t.")
        self.put(
            dot.join(self.key(part) for part in (*before, name)), self.pick("=", " = ", "\t=  ")
        )
        path = table
        for part in before:
            path = (*path, part)
            self.starts.setdefault(path, start)
        self.starts[(*path, name)] = start
        self.value(value, (*path, name))

    def table(
        self, data: dict[str, Any], path: tuple[str | int, ...], header: tuple[str, ...]
    ) -> None:
        """Write a table's own pairs first, then the tables inside it under headers."""
        later = []
        for name, value in data.items():
            rows = isinstance(value, list) and value and all(isinstance(row, dict) for row in value)
            if (isinstance(value, dict) or rows) and self.draw(st.booleans()):
                later.append((name, value))
                continue
            nested = isinstance(value, dict) and value and self.draw(st.booleans())
            for inner, held in value.items() if nested else [(name, value)]:
                self.put(self.pick("", "  ", "\t"))
                self.pair((name,) if nested else (), inner, held, path)
                self.put("\n", self.gap())
        for name, value in later:
            double = isinstance(value, list)
            for index, row in enumerate(value if double else [value]):
                inside = (*path, name, index) if double else (*path, name)
                start = len(self.text)
                title = self.pick(".", " . ").join(self.key(part) for part in (*header, name))
                self.put(f"[[{title}]]" if double else f"[{title}]", "\n", self.gap())
                self.starts.setdefault((*path, name), start)
                self.starts[inside] = start
                self.table(row, inside, (*header, name))


@st.composite
def written(draw: Any) -> tuple[str, dict[tuple[str | int, ...], int]]:
    writer = Writer(draw)
    writer.put(writer.gap())
    writer.table(draw(TABLES), (), ())
    return writer.text, writer.starts


def paths(value: Any, path: tuple[str | int, ...] = ()) -> dict[tuple[str | int, ...], Any]:
    """Return every key path of a parsed document, elements of lists among them, with its value."""
    found = {path: value} if path else {}
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, held in inner:
        found |= paths(held, (*path, key))
    return found


def same(one: Any, other: Any) -> bool:
    return repr(one) == repr(other)  # nan is not equal to itself, and 1 is equal to True


def names_of(key: str) -> list[str]:
    """Return the parts of a dotted key, as tomllib reads them."""
    node: Any = tomllib.loads(f"{key} = 0")
    names = []
    while isinstance(node, dict):
        ((name, node),) = node.items()
        names.append(name)
    return names


def check(text: str) -> None:
    """Hold the scanner against tomllib: the same paths, the key at each span, the value in each
    span.
    """
    text = text.replace("\r\n", "\n")
    held = paths(tomllib.loads(text))
    spans = Scanner(text).scan()
    assert set(spans) == set(held)
    for path, span in spans.items():
        key, whole = text[span.start : span.key_end], text[span.start : span.end]
        strings = [part for part in path if isinstance(part, str)]
        if isinstance(path[-1], int) and not (
            isinstance(held[path], dict) and whole.startswith("[")
        ):
            assert same(tomllib.loads(f"v = {whole}")["v"], held[path])
        elif key.startswith("["):
            names = names_of(key.strip("[]"))
            assert names[: len(strings)] == strings
        else:
            names = names_of(key)
            if key == whole:  # a dotted key stands for each table above its last part
                assert any(names[:count] == strings[-count:] for count in range(1, len(names)))
            else:
                assert names == strings[-len(names) :]
                value: Any = tomllib.loads(whole)
                for name in names:
                    value = value[name]
                assert same(value, held[path])


@QUICK
@given(TABLES, st.booleans())
def test_every_path_of_what_tomli_w_writes_is_located(
    tables: dict[str, Any], multiline: bool
) -> None:
    """The scanner finds exactly the paths that tomllib finds, and at each span stand that key and
    that value.
    """
    check(tomli_w.dumps(tables, multiline_strings=multiline))


@QUICK
@given(written())
def test_each_key_is_located_where_the_writer_put_it(
    made: tuple[str, dict[tuple[str | int, ...], int]],
) -> None:
    """In any style of TOML, the place of each key path is the offset at which its key was
    written.
    """
    text, starts = made
    check(text)
    assert {path: span.start for path, span in Scanner(text).scan().items()} == starts


def test_real_files_are_located() -> None:
    """The law holds for the TOML files that are installed on this machine, whoever wrote them."""
    root = Path(__file__).resolve().parents[2]
    found = [root / "pyproject.toml", *(root / "tasks").glob("*.toml")]
    found += list(Path(sysconfig.get_path("purelib")).rglob("*.toml"))[:300]
    read = 0
    for path in found:
        try:
            text = path.read_text(encoding="utf-8")
            tomllib.loads(text)
        except ValueError:
            continue  # test suites ship files that are wrong on purpose
        check(text)
        read += 1
    assert read >= 2


@QUICK
@given(written(), st.lists(NAMES, min_size=1, max_size=3))
def test_a_missing_key_is_located_at_what_holds_it(made: tuple[str, Any], extra: list[str]) -> None:
    """The place of a path that is not there is the place of the longest part of it that is."""
    text, starts = made
    for path in [(), *starts]:
        longer = (*path, *extra)
        known = max(
            (longer[:n] for n in range(len(longer) + 1) if n == 0 or longer[:n] in starts), key=len
        )
        found, span = locate(text, longer)
        assert found == known
        assert (span.start if span else None) == starts.get(known)


@QUICK
@given(st.text(st.sampled_from("ab\n\t\u2028\x85")), st.data())
def test_line_and_column_count_newlines_alone(text: str, data: Any) -> None:
    """Line and column lead back to the offset, by splitting at newlines and at nothing else."""
    offset = data.draw(st.integers(0, len(text)))
    line, column = line_and_column(text, offset)
    lines = text.split("\n")
    assert sum(len(row) + 1 for row in lines[: line - 1]) + column - 1 == offset
    assert column <= len(lines[line - 1]) + 1


@given(st.text(st.sampled_from("abc \t"), max_size=400).filter(bool), st.data())
@QUICK
def test_marks_stand_under_the_span(text: str, data: Any) -> None:
    """The marks of an excerpt begin under the first character of the span, also after tabs and in a
    long line.
    """
    column = data.draw(st.integers(1, len(text)))
    width = data.draw(st.integers(1, len(text) - column + 1))
    shown, marks = Place("t.toml", 7, column, text, width).excerpt().split("\n")
    prefix = shown.index("|") + 2
    lead, under = marks[prefix:].split("^", 1)[0], marks[prefix:].lstrip(" \t")
    span = shown[prefix:][len(lead) : len(lead) + len(under)]
    assert len(shown) - prefix <= WINDOW and set(under) == {"^"}
    assert span == text[column - 1 : column - 1 + len(under)]
    assert len(under) == min(width, len(shown) - prefix - len(lead)), (
        "all of the span that is shown is marked"
    )
    assert lead == "".join(
        "\t" if mark == "\t" else " " for mark in shown[prefix : prefix + len(lead)]
    )


@pytest.mark.parametrize("key", ["a", '"a"', "'a'", '"\\u0061"', "b.a", 'b . "a"'])
def test_a_key_is_found_however_it_is_quoted(key: str) -> None:
    """Quotes and escapes of a key do not change its path."""
    text = f"# first\n {key} = 1 # a\n"
    path = ("b", "a") if "b" in key else ("a",)
    _, span = locate(text, path)
    assert span is not None and text[span.start : span.key_end] == key
