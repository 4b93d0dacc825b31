"""What may stand where something else belongs: values of each type, and damaged texts."""

from __future__ import annotations

import copy
import datetime as dates
import math
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Path = tuple[str | int, ...]

TEXTS = [
    "", " ", "x", "auto", "none", "lstm", "1", "true", "../x", "a/b", ".", "~", "$HOME",
    "%s {} {0}", "\x00", "\u202e",
    "é", "e\u0301", "\U0001f40d", "\ufeffx", "x\ny", "x" * 5000,
]  # fmt: skip
NUMBERS = [0, 1, -1, 2, 3, 7, 100, 1 << 31, (1 << 63) - 1, 1 << 64, 10**30]
FLOATS = [0.0, -0.0, 0.5, 1.0, 1.5, -2.5, 1e-320, 1e300, -1e308, math.inf, -math.inf, math.nan]
MOMENTS = [
    dates.datetime(2024, 2, 29, 12, 30, tzinfo=dates.timezone.utc),  # noqa: UP017
    dates.datetime(1, 1, 1),
    dates.date(9999, 12, 31),
    dates.time(23, 59, 59, 999999),
]
LISTS: list[Any] = [
    [],
    [0],
    [1.5],
    ["x"],
    [True],
    [1, "x", True, {}],
    [[1, 2], [3]],
    [[]],
    [{}],
    ["x"] * 300,
]
TABLES: list[Any] = [
    {},
    {"kind": "x"},
    {"kind": {}},
    {"kind": []},
    {"kind": 1},
    {"": 1},
    {"a": {"b": {"c": []}}},
]


def deep(levels: int) -> list[Any]:
    """Return a list in a list in a list."""
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


PLAIN: list[Any] = [*NUMBERS, *FLOATS, *TEXTS, True, False, *LISTS, *TABLES, deep(50)]
TOML: list[Any] = [*PLAIN, *MOMENTS]
JSON: list[Any] = [*PLAIN, None, -(1 << 63), "\ud83d", deep(500)]


def walk(value: Any, path: Path = ()) -> Iterator[Path]:
    """Give the path of every value inside: of tables, lists, and what is in them."""
    inner: Any = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in inner:
        yield (*path, key)
        yield from walk(item, (*path, key))


def at(value: Any, path: Path) -> Any:
    """Return what stands at a path."""
    for key in path:
        value = value[key]
    return value


def changed(value: Any, path: Path, change: Callable[[Any, Any], None]) -> Any:
    """Return a copy that `change` has been made to.

    It changes the table or list that holds the last key of a path.
    """
    value = copy.deepcopy(value)
    change(at(value, path[:-1]), path[-1])
    return value


def replaced(new: Any) -> Callable[[Any, Any], None]:
    """Return what puts another value in the place of one."""

    def change(holder: Any, key: Any) -> None:
        holder[key] = new

    return change


def removed(holder: Any, key: Any) -> None:
    """Take a key away, or an item of a list."""
    del holder[key]


def renamed(name: str) -> Callable[[Any, Any], None]:
    """Return what gives a value another name, or puts it into a list once more."""

    def change(holder: Any, key: Any) -> None:
        if isinstance(holder, list):
            holder.insert(key, holder[key])
        else:
            holder[name] = holder.pop(key)

    return change


def kin(value: Any) -> list[Any]:
    """Return values that are near one: of another sign, size, type or number."""
    near: list[Any] = [[value], {"kind": value}, str(value)]
    if isinstance(value, bool):
        near += [not value, int(value)]
    elif isinstance(value, int | float):
        near += [-value, value + 1, value - 1, value * 2, float(value), value * 1000]
    elif isinstance(value, str):
        near += [value.upper(), value[:-1], value + "x", value + "\x00", value.replace("/", "//")]
    elif isinstance(value, list):
        near += [value[:-1], value * 2, value[::-1], [*value, None]]
    return near


def disturbed(random: Random, value: Any, pool: list[Any]) -> tuple[Any, str]:
    """Return plain data with one value changed, and what was done.

    The value is replaced, taken away, or named otherwise.
    """
    paths = list(walk(value))
    if not paths or random.random() < 0.05:
        new = random.choice(pool)
        return new, f"all of it is {new!r:.80}"

    path = random.choice(paths)
    where = ".".join(map(str, path))

    draw = random.random()
    if draw < 0.15:
        return changed(value, path, removed), f"{where} is taken away"
    if draw < 0.25:
        name = random.choice([f"{path[-1]}x", str(path[-1]).upper(), *TEXTS[:6]])
        return changed(value, path, renamed(name)), f"{where} is called {name!r:.80}"

    new = random.choice(kin(at(value, path)) if draw < 0.45 else pool)
    return changed(value, path, replaced(new)), f"{where} is {new!r:.80}"


ODD = [
    "\x00", "\t", "\r", "\n", "\ufeff", "\u2028", "\u202e", "\U0001f40d", "é", '"', '"""', "'",
    "\\", "\\u", "[", "]",
    "[[", "{", "}", "=", ".", ",", "#", "-", "+", "_", "0x", "0", "9" * 30, "1e999", "nan", "true",
    "\\ud800",
]  # fmt: skip


def scribbled(random: Random, text: str) -> str:
    """Return a text with some characters dropped, doubled, put in, or changed."""
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(text) + 1)
        end = min(len(text), place + random.choice([1, 1, 1, 2, 8, 60]))
        middle = random.choice(
            ["", random.choice(ODD), text[place:end] * 2, text[place:end].swapcase(), ODD[0]]
        )
        text = text[:place] + middle + text[end if random.random() < 0.7 else place :]
    return text


def shuffled(random: Random, text: str, others: list[str]) -> str:
    """Return a text with some lines dropped, doubled, swapped, joined, or from another text."""
    lines = text.split("\n")
    for _ in range(random.randint(1, 3)):
        if not lines:
            break

        one, other = random.randrange(len(lines)), random.randrange(len(lines))
        what = random.choice(["drop", "double", "swap", "join", "foreign", "join with a space"])
        if what == "drop":
            del lines[one]
        elif what == "double":
            lines.insert(other, lines[one])
        elif what == "swap":
            lines[one], lines[other] = lines[other], lines[one]
        elif what == "foreign":
            lines.insert(one, random.choice(random.choice(others).split("\n")))
        else:
            lines[one : one + 2] = ["" if what == "join" else " ".join(lines[one : one + 2])] or [
                ""
            ]
    return "\n".join(lines)


def corrupted(random: Random, raw: bytes) -> tuple[bytes, str]:
    """Return bytes cut, flipped, mixed with others, or replaced whole, and what was done."""
    size = len(raw)
    place = random.randrange(size + 1)
    flipped = bytearray(raw)
    if flipped:
        flipped[min(place, size - 1)] ^= 1 << random.randrange(8)

    ways: list[tuple[bytes, str]] = [
        (raw[:place], f"cut to {place} of {size} bytes"),
        (raw[place:], f"without its first {place} of {size} bytes"),
        (b"", "empty"),
        (bytes(flipped), f"a bit of byte {place} of {size} flipped"),
        (bytes(flipped), f"a bit of byte {place} of {size} flipped"),
        (raw[:place] + b"\x00" * 8 + raw[place + 8 :], f"zeros at byte {place} of {size}"),
        (raw[:place] + b"\xff\xfe\x80" + raw[place:], f"no UTF-8 at byte {place} of {size}"),
        (raw + raw, "twice"),
        (raw + b"\x00garbage", "with more behind it"),
        (b"\xef\xbb\xbf" + raw, "with a mark of byte order"),
        (raw.replace(b"\n", b"\r\n"), "with other ends of lines"),
        (random.randbytes(64), "random bytes"),
        (b"[" * 200_000, "200,000 brackets"),
        (b'{"a":' * 100_000, "100,000 objects"),
        (b"9" * 10_000, "a number of 10,000 digits"),
        (b"\x00" * size, "all zeros"),
    ]
    return random.choice(ways)
