"""A text that holds more than any task does is refused at once, at its place; what is less is read.

The times are those of the processor, and generous: what they keep away is what grows as a square.
"""

from __future__ import annotations

import time
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import InputError
from recurra.spec import bounds, positions
from recurra.spec.overrides import key_of, overriding, toml_or_text
from recurra.spec.reading import read, read_toml

WITHIN = 6.0
"""Seconds of the processor, on a machine that others use; each case takes less than one alone."""

MILLION = "".join(f"k{number} = 1\n" for number in range(150_000))
BEYOND = {
    "keys": (MILLION, 20_001),
    "headers": ("[[t]]\n" * 30_000, 20_001),
    "elements": ("a = [" + "1," * 300_000 + "]", 1),
    "deep": ("x = 1\na = " + "[" * 100_000 + "]" * 100_000, 2),
    "inline": ("a = " + "{a=" * 50_000 + "1" + "}" * 50_000, 1),
    "names": ("x = 1\n\n" + "a." * 50_000 + "b = 1", 3),
    "header": ("[" + "a." * 50_000 + "b]", 1),
}


def within(seconds):
    """Fail if less of the processor's time than this was not enough since."""
    start = time.process_time()
    return lambda: time.process_time() - start < seconds


@pytest.mark.parametrize("case", BEYOND)
def test_what_is_beyond_is_refused_at_its_place(case, tmp_path):
    """The error has the line, what is allowed, and what to do."""
    text, line = BEYOND[case]
    path = tmp_path / "task.toml"
    path.write_text(text)
    in_time = within(WITHIN)
    with pytest.raises(InputError) as caught:
        read(path)
    assert in_time()
    (problem,) = caught.value.problems
    assert (problem.code, problem.place.line) == ("RC003", line)
    assert problem.allowed and problem.cure and len(str(caught.value)) < 3000


def test_a_line_of_a_gigabyte_is_not_read(tmp_path):
    """A file with holes, as large as that, is refused by its size."""
    path = tmp_path / "task.toml"
    with path.open("wb") as file:
        file.write(b"a = '")
        file.truncate(1 << 30)
    in_time = within(WITHIN)
    with pytest.raises(InputError, match="larger than 2 MB") as caught:
        read(path)
    assert in_time() and caught.value.problems[0].allowed == "2,097,152 bytes"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{number} = 1\n" for number in range(bounds.KEYS)),
        "[t]\n" + ".".join("a" * bounds.PARTS) + " = 1",
        "a = [" + "1," * (bounds.VALUES - 2) + "]",
        "a = " + "[" * bounds.DEEPEST + "]" * bounds.DEEPEST,
        "a = '" + "[{=,." * 300_000 + "'",
        'a = """' + '\\"[{=,."" \n' * 100_000 + '"""',
        "#" + "[{=,.'" * 300_000,
    ],
    ids=["keys", "names", "elements", "deep", "text", "lines", "comment"],
)
def test_what_is_within_is_read(text, tmp_path):
    """Up to the bounds, and whatever stands in texts and comments, a file is read as it is."""
    path = tmp_path / "task.toml"
    path.write_text(text)
    in_time = within(WITHIN)
    assert read_toml(path)[1] == tomllib.loads(text)
    read(path)
    assert in_time()


pieces = st.sampled_from(
    ['"', "'", '"""', "'''", "\\", "\n", "#", "a", " ", "=", "[", "]", "{", "}", ",", ".", "1"]
)


@settings(max_examples=300)
@given(st.lists(pieces, max_size=30).map("".join), st.integers(0, 6))
def test_strings_and_comments_are_told_as_the_parser_tells_them(noise, count):
    """Behind any text that is TOML, so many keys are counted as there are, and not one more."""
    text = noise + "\n" + "".join(f"k{number} = 1\n" for number in range(count))
    try:
        tomllib.loads(text)
    except ValueError:
        return
    seen = [match.group() for match in bounds._TOKEN.finditer(text)]
    spans = positions.Scanner(text).scan()
    own = sum(span.key_end < span.end for span in spans.values())
    assert seen.count("=") >= own - sum(isinstance(path[-1], int) for path in spans)
    assert seen.count("=") <= text.count("=")
    last = text.rfind("\nk0 = 1") if count else -1
    if last >= 0:
        assert [match.group() for match in bounds._TOKEN.finditer(text, last)].count("=") == count


def test_overrides_are_bounded_too():
    """What holds too much is text; a key of too many names is none; many of them are compared."""
    in_time = within(WITHIN)
    for value in ("[" * 100_000, "{" + "a=1," * 30_000 + "}", "[" + "1," * 300_000 + "]"):
        assert toml_or_text(value) == value
    assert key_of("a." * 100_000 + "b") == ()
    wide = ["{" + ",".join(f"k{n}={value}" for n in range(9_000)) + "}" for value in (1, 2)]
    overriding([f"a={wide[0]}", f"b={wide[1]}", f"a={wide[0]}"])
    with pytest.raises(InputError, match="contradict"):
        overriding([f"a={wide[0]}", f"b={wide[1]}", f"a={wide[1]}"])
    assert in_time()


def test_a_layer_of_many_tables_replaces_another(tmp_path):
    """Each table that gives way to a value forgets what it held, and no more is looked at."""
    base, over = tmp_path / "base.toml", tmp_path / "task.toml"
    base.write_text("".join(f"[t{number}]\na = 1\n" for number in range(6_000)))
    over.write_text('extends = "base.toml"\n' + "".join(f"t{n} = 1\n" for n in range(6_000)))
    in_time = within(WITHIN)
    document = read(over)
    assert in_time() and len(document.origins) == 6_000
