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
from recurra.resolve import resolve
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
    "dotted": ("".join(f"k{n}{'.a' * 30} = 1\n" for n in range(19_000)), 646),
    "dotted headers": ("".join(f"[k{n}{'.a' * 30}]\n" for n in range(19_000)), 646),
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
    with pytest.raises(InputError, match="larger than 4 MB") as caught:
        read(path)
    assert in_time() and caught.value.problems[0].allowed == "4,194,304 bytes"


@pytest.mark.parametrize(
    "text",
    [
        "".join(f"k{number} = 1\n" for number in range(bounds.KEYS)),
        "[t]\n" + ".".join("a" * bounds.PARTS) + " = 1",
        "a = [" + "1," * (bounds.VALUES - 2) + "]",
        "".join(f"k{number} = [1.5]\n" for number in range(bounds.KEYS // 2)),
        "a = " + "[" * bounds.DEEPEST + "]" * bounds.DEEPEST,
        "a = '" + "[{=,." * 300_000 + "'",
        'a = """' + '\\"[{=,."" \n' * 100_000 + '"""',
        "#" + "[{=,.'" * 300_000,
    ],
    ids=["keys", "names", "elements", "lists", "deep", "text", "lines", "comment"],
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


TASK = """
[source]
kind = "inline"
values = {values}
[vocabulary]
kind = "numeric"
[encoder]
kind = "identity"
[target]
kind = "next"
[cell]
kind = "gru"
[loss]
kind = "mse"
[training]
steps = 1
"""
MANY = 50_000


def listed(element, count=MANY):
    """Return the text of a list of an element, many times."""
    return "[" + ",".join([element] * count) + "]"


@pytest.mark.parametrize(
    "text",
    [
        TASK.format(values=listed('"x"')),
        TASK.format(values=listed('1,"x"', MANY // 2)),
        TASK.format(values=listed("{}", MANY // 2)),
        TASK.format(values=listed('["x"]', MANY // 2)),
        TASK.format(values="[1.0]") + "[plugins]\nfiles = " + listed("1"),
        TASK.format(values="[1.0]") + "[plugins]\nfiles = " + listed('"x.py"'),
        "unset = " + listed("1") + TASK.format(values="[1.0]"),
        TASK.format(values="[1.0]").replace('"gru"', f'"{"g" * 1_000_000}"'),
        TASK.format(values="[1.0]").replace("steps =", f"{'s' * 1_000_000} ="),
        TASK.format(values="[1.0]").replace('kind = "gru"', "stack = " + listed("[]", MANY // 2)),
        TASK.format(values="[1.0]").replace('kind = "gru"', "stack = [{}]\n" + MILLION[:120_000]),
    ],
    ids="texts second tables lists files missing unset kind key layers beside".split(),
)
def test_what_is_wrong_everywhere_is_told_of_the_first(text, tmp_path):
    """A task to the bounds ends in an error of some lines, however much of it is wrong."""
    path = tmp_path / "task.toml"
    path.write_text(text)
    in_time = within(WITHIN)
    with pytest.raises(InputError) as caught:
        resolve(path)
    assert in_time()
    assert 1 <= len(caught.value.problems) <= 1100 and len(str(caught.value)) < 600_000


def test_the_first_wrong_elements_are_told_and_how_many_more(tmp_path):
    """The places are those of the elements, one by one, and the last says that there are more."""
    path = tmp_path / "task.toml"
    path.write_text(TASK.format(values=listed('1,"x"', 5_000)))
    with pytest.raises(InputError) as caught:
        resolve(path)
    told = sorted(caught.value.problems, key=lambda problem: problem.place.column)
    assert [p.key for p in told] == [f"source.values[{n}]" for n in range(1, 200, 2)]
    row = path.read_text().split("\n")[3]
    assert all(row[p.place.column - 1 :].startswith('"x"') for p in told)
    assert "more faults are told once these are mended" in told[-1].cure


def test_a_sound_task_is_not_searched_for_places(tmp_path, monkeypatch):
    """Places are looked for when there is something to tell, which takes as long as reading."""
    monkeypatch.setattr(positions.Scanner, "scan", lambda self: pytest.fail("searched"))
    path = tmp_path / "task.toml"
    path.write_text(TASK.format(values="[1.0, 2.0, 3.0]"))
    assert read(path, ["cell.hidden_size=3"]).data["cell"]["hidden_size"] == 3


elements = st.one_of(
    st.integers(-99, 99).map(str),
    st.sampled_from(["1e9", "nan", "-inf", "true", "1979-05-27 07:32:00", "07:32:00", "0x1f"]),
    st.sampled_from(['"a,b"', "'[1,'", "[ ]", "[1,2 , 3]", "{a = 1}", '["x", 1]']),
)
gaps = st.sampled_from(["", " ", "\n", " # , 1\n", "\t"])


@given(st.lists(st.tuples(gaps, elements, gaps), max_size=8), st.booleans())
def test_each_element_of_a_list_has_its_place(parts, trailing):
    """A list of anything, however it is spaced: the text at each place is that element."""
    comma = "," if trailing and parts else ""
    text = "a = [" + ",".join("".join(part) for part in parts) + comma + "]\nb = 1\n"
    assert len(tomllib.loads(text)["a"]) == len(parts)
    spans = positions.Scanner(text).scan()
    found = [text[s.start : s.end] for key, s in spans.items() if len(key) == 2]
    assert found == [element for _, element, _ in parts]
    assert text[spans["b",].start :] == "b = 1\n"
