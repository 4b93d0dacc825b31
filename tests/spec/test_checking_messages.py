"""A fault of a task names its key, says what is allowed or meant, and is told once."""

from __future__ import annotations

import datetime
import shlex
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO, SERIES
from hypothesis import given
from hypothesis import strategies as st
from problems import QUICK, Write, at, faults

from recurra.catalog import discover
from recurra.compatibility import check_compatibility
from recurra.errors import InputError, RecurraError
from recurra.resolve import resolve
from recurra.spec.checking import dotted, path_of
from recurra.spec.positions import Path as Key
from recurra.spec.reading import parse_override
from recurra.spec.tables import COMPONENT_TABLES

# Messages.


@pytest.mark.parametrize(
    ("change", "key", "code", "said"),
    [
        (("hidden_size = 8", "hidden_size = 0"), "cell.hidden_size", "RC013", "at least 1"),
        (
            ("hidden_size = 8", "hidden_size = 9999999"),
            "cell.hidden_size",
            "RC013",
            "at most 1048576",
        ),
        (('kind = "lstm"', 'kind = "lstn"'), "cell.kind", "RC020", "lstm"),
        (
            ('kind = "lstm"', 'kind = "one_hot"'),
            "cell.kind",
            "RC020",
            "put it in the [encoder] table",
        ),
        (('kind = "lstm"', ""), "cell.kind", "RC010", "gru, indrnn"),
        (('kind = "lstm"', "kind = 3"), "cell.kind", "RC012", "in quotes"),
        (("schema = 1", "schema = 2"), "schema", "RC015", "newer recurra"),
        (("schema = 1", 'schema = "1"'), "schema", "RC012", "an integer"),
        (("schema = 1", "schema = true"), "schema", "RC012", "an integer"),
        (("schema = 1", 'extend = "a.toml"'), "extend", "RC011", "did you mean: extends"),
        (("schema = 1", 'name = "a/b"'), "name", "RC013", "matching"),
        (("steps = 3", 'steps = 3\nschedule = "cosine"'), "training.schedule", "RC012", "a table"),
        (
            ("steps = 3", 'steps = 3\nschedule = { kind = "cosin" }'),
            "training.schedule.kind",
            "RC013",
            '"cosin"',
        ),
        (
            ("steps = 3", 'steps = 3\nschedule = { kind = "cosin" }'),
            "training.schedule.kind",
            "RC013",
            "mean: cosine",
        ),
        (
            ("steps = 3", "steps = 3\nschedule = { final = 0.1 }"),
            "training.schedule.kind",
            "RC010",
            "plateau",
        ),
        (
            ("steps = 3", "steps = 3\nschedule = { kind = 3 }"),
            "training.schedule.kind",
            "RC012",
            "in quotes",
        ),
        (('prompt = "h"', "prompt = 3"), "generation.prompt", "RC012", "a list: text"),
        (
            ('prompt = "h"', 'prompt = ["a", 1]'),
            "generation.prompt[1]",
            "RC012",
            "prompt[1] has the wrong type",
        ),
        (('prompt = "h"', "prompt = [1, inf, 2]"), "generation.prompt[1]", "RC013", "inf"),
        (("length = 4", "length = 4\nsplit = [1, 0]"), "sequence.split", "RC013", "a list of 3"),
        (
            ("length = 4", 'length = 4\nsplit = [1, "a", 0]'),
            "sequence.split[1]",
            "RC012",
            "split[1] has",
        ),
        (
            ("length = 4", 'length = 4\nsplit = ["rest", "rest", 1]'),
            "sequence.split",
            "RC013",
            "only the first",
        ),
        (
            ("length = 4", 'length = 4\nsplit = ["rest", 0.5, 0.5]'),
            "sequence.split",
            "RC013",
            "leave training nothing",
        ),
        (
            ("length = 4", 'length = 4\nsplit = ["rest", -1, 2]'),
            "sequence.split",
            "RC013",
            "below 0",
        ),
        (("[loss]", "[los]"), "loss", "RC010", "loss is missing"),
    ],
)
def test_a_message_helps_to_mend(
    task: Write, change: tuple[str, str], key: str, code: str, said: str
) -> None:
    """A fault names its key and its code, and says what is allowed or meant."""
    text = HELLO.replace(*change, 1)
    assert text != HELLO
    found = faults(task(text))
    problem = at(found, key)
    assert problem.code == code and said in problem.render()
    assert problem.place is not None and problem.place.line
    assert len(found) == (2 if change[0] == "[loss]" else 1), "one fault is told once"


@pytest.mark.parametrize(
    ("values", "key", "allowed"),
    [
        ('[1, 2, "x", 4]', "source.values[2]", "a list: a number"),
        ("[1, 2, 3, -inf]", "source.values[3]", "must be finite"),
        ("[[1, 2], [3, inf]]", "source.values[1][1]", "must be finite"),
        ("[[1, 2], [3, true]]", "source.values[1][1]", "a list: a number"),
        ("true", "source.values", "a list: a number"),
    ],
)
def test_a_fault_inside_a_union_is_told_once_at_its_element(
    task: Write, values: str, key: str, allowed: str
) -> None:
    """Of a value that may have several forms, the form that fits best is judged, and only its
    faults are told.
    """
    text = SERIES.replace(SERIES.split("\n")[4], f"values = {values}")
    (problem,) = faults(task(text))
    assert problem.key == key and allowed in problem.fact + problem.allowed


@QUICK
@given(
    st.lists(st.text("abc_", min_size=1, max_size=4) | st.integers(0, 99), min_size=1, max_size=5)
)
def test_a_key_path_is_written_and_read_back(parts: list[str | int]) -> None:
    """The dotted form of a key path reads back as that path."""
    path = tuple(["k", *parts])
    assert path_of(dotted(path)) == path


# Rules across keys.


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        (HELLO.replace("steps = 3", "steps = 3\nepochs = 2"), "training.steps", "not both"),
        (
            HELLO.replace("length = 4", "length = 4\ncarry = true\nstride = 2", 1),
            "sequence.stride",
            "carry = true",
        ),
        (HELLO.replace('text = "hello"', 'text = "a"\ntexts = ["a"]'), "source", "exactly one"),
        (HELLO.replace('text = "hello"', ""), "source", "exactly one"),
        (
            SERIES.replace("values = [1,", "values = [[1, 2], [1]] #"),
            "source.values",
            "same number of features",
        ),
    ],
)
def test_keys_that_contradict_each_other_are_refused(
    task: Write, text: str, key: str, said: str
) -> None:
    """Keys that cannot stand together are refused at one of them, with the rule."""
    (problem,) = faults(task(text))
    assert (problem.code, problem.key) == ("RC014", key)
    assert said in problem.fact and problem.place is not None and problem.place.line


SHARES = st.lists(st.floats(-2, 2) | st.integers(-3, 30), min_size=3, max_size=3)


@QUICK
@given(
    SHARES
    | st.lists(st.integers(0, 10), min_size=3, max_size=3).map(
        lambda s: [n / max(sum(s), 1) for n in s]
    )
)
def test_a_split_adds_up_or_counts(task: Write, split: list[float]) -> None:
    """A split is three shares that add up to 1, or whole counts; training has some, and none is
    negative.
    """
    sane = split[0] > 0 and min(split) >= 0
    shares, counts = abs(sum(split) - 1) < 1e-6, all(n == int(n) for n in split) and sum(split) > 1
    path = task(HELLO, ("length = 4\n\n[enc", f"length = 4\nsplit = {split}\n\n[enc"))
    if sane and (shares or counts):
        assert resolve(path).task.sequence.counted == (not shares)
    else:
        (problem,) = faults(path)
        assert (problem.code, problem.key, problem.got) == ("RC013", "sequence.split", str(split))


def test_a_stack_stands_alone(task: Write) -> None:
    """Every key beside a stack is refused at its own line, and the layers' own faults are told with
    it.
    """
    text = HELLO.replace(
        'kind = "lstm"', 'stack = [{ kind = "gru", hiden_size = 1 }, 3]\ndropout = 0.5'
    )
    found = faults(task(text))
    expected = ["cell.stack[0].hiden_size", "cell.stack[1]", "cell.dropout", "cell.hidden_size"]
    assert [problem.key for problem in found] == expected
    assert [problem.code for problem in found] == ["RC011", "RC012", "RC011", "RC011"]


@pytest.mark.parametrize(
    ("stack", "code"), [("[]", "RC013"), ('"lstm"', "RC012"), ("{ kind = 'lstm' }", "RC012")]
)
def test_a_stack_is_a_list_of_tables(task: Write, stack: str, code: str) -> None:
    """A stack that is no list of tables, or has none, is refused as such."""
    (problem,) = faults(task(HELLO, ('kind = "lstm"\nhidden_size = 8', f"stack = {stack}")))
    assert (problem.code, problem.key) == (
        code,
        "cell.stack",
    ) and "[[cell.stack]]" in problem.allowed


def test_an_option_of_another_kind_names_both_layers(task: Write) -> None:
    """An option that was written beside a new kind, and is none of its options, is refused with the
    layer of each.
    """
    task(HELLO, ("hidden_size = 8", "forget_bias = 1.0"), name="base.toml")
    path = task('extends = "base.toml"\ntraining.schedule.kind = "plateau"')
    overrides = ["cell.kind=gru", "cell.peephole=true", "training.schedule.final=0.5"]
    first, second = sorted(faults(path, *overrides), key=lambda problem: problem.key)
    assert (
        first.key == "cell.peephole"
        and "-o #1: cell.kind=gru" in first.cure
        and "-o #2" in first.cure
    )
    assert "forget_bias of lstm is left out" in first.cure
    assert (
        second.key == "training.schedule.final"
        and "task.toml" in second.cure
        and "-o #3" in second.cure
    )


ODD = [
    [],
    [[]],
    {"a": []},
    True,
    3,
    0.5,
    "nowhere",
    datetime.date(2020, 1, 1),
    [{"kind": []}],
    10**40,
    "\0",
]
WITH_KIND: list[Key] = [("training", "schedule"), ("training", "optimizer"), ("device",)]
WITH_KIND += [(name,) for name in COMPONENT_TABLES]


@pytest.mark.parametrize("table", WITH_KIND, ids=dotted)
def test_a_kind_of_any_type_is_refused(
    task: Write, monkeypatch: pytest.MonkeyPatch, table: Key
) -> None:
    """Whatever TOML can say stands in place of a kind, or of its whole table, is an error of ours
    that can be shown.
    """
    catalog = discover()
    monkeypatch.setattr("recurra.resolve.discover", lambda files: catalog)
    path = task()
    for value in ODD:
        for key in ((*table, "kind"), table):
            with pytest.raises(RecurraError) as caught:
                resolve(path, {dotted(key): value})
            assert all(problem.record() for problem in caught.value.problems) and str(caught.value)


@pytest.mark.parametrize(
    ("override", "cure"),
    [
        ("generation.prompt=1984", """-o 'generation.prompt="1984"'"""),
        ("name=true", """-o 'name="true"'"""),
        ("source.text=1.50", """-o 'source.text="1.50"'"""),
        ("vocabulary.unknown=1", "in quotes"),
        ("generation.stop=1984", """-o 'generation.stop=["1984"]'"""),
        ("generation.stop=end", """-o 'generation.stop=["end"]'"""),
        ('cell.hidden_size="8"', "-o cell.hidden_size=8"),
        ("sequence.carry=True", "-o sequence.carry=true"),
        ("training.batch_size=1,000", "1,000 is no TOML value"),
        ("device=cpu", """-o 'device.kind="cpu"'"""),
        ('generation.stop=["l", 3]', 'text stands in quotes: "3"'),
        ('training={batch_size="3"}', "training.batch_size = 3"),
        ("training.schedule=cosine", """-o 'training.schedule.kind="cosine"'"""),
    ],
)
def test_an_override_of_the_wrong_type_says_how_it_is_written(
    task: Write, override: str, cure: str
) -> None:
    """Where only quotes or brackets are amiss, the message holds the override as it should be."""
    (problem,) = [
        p for p in faults(task(), override) if p.key.startswith(override.partition("=")[0])
    ]
    assert cure in problem.cure
    if cure.startswith("-o"):  # what it says is read, and means what it says
        written = shlex.split(problem.cure[problem.cure.index("-o ") :])[1]
        assert resolve(task(), [written])


def test_a_bound_of_a_text_is_said(task: Write) -> None:
    """Where a text is too long or too short, the number of characters that it may have is told."""
    assert "at most 100 characters" in at(faults(task(), f"name={'a' * 101}"), "name").allowed
    assert (
        "at least 1 character"
        in at(faults(task(), 'generation.stop=[""]'), "generation.stop[0]").allowed
    )
    huge = at(faults(task(HELLO.replace('"h"', f"[{10**400}]"))), "generation.prompt[0]")
    assert "quotes" not in huge.cure


@pytest.mark.parametrize(
    "override", ["name=2024-01-02", "generation.prompt=2020-01-01T00:00:00", "name=12:30:00"]
)
def test_a_date_in_an_override_is_the_text_that_was_typed(override: str) -> None:
    """No key of the language is a date, so what looks like one is text, as it was typed."""
    key, _, text = override.partition("=")
    tables: Any = parse_override(override)
    for part in key.split("."):
        tables = tables[part]
    assert tables == text


def test_a_fault_of_the_core_does_not_hide_a_local_plugin(task: Write, tmp_path: Path) -> None:
    """A task with a fault elsewhere still finds the components of its own plugin files."""
    (tmp_path / "mine.py").write_text(
        "from recurra import CellOptions, Component, hookimpl\n"
        "@hookimpl\ndef recurra_components():\n"
        "    return [Component('cell', 'mine', 'mine:CellOptions', 'mine:CellOptions', 'a"
        " test')]\n",
        encoding="utf-8",
    )
    text = HELLO.replace('"lstm"', '"mine"').replace("hidden_size", "hiden_size")
    found = faults(task(text + '\n[plugins]\nfiles = ["mine.py"]\n[trainig]\n'))
    assert [problem.key for problem in found] == ["cell.hiden_size", "trainig"]


def test_a_problem_of_a_layer_is_placed_in_its_table(task: Write) -> None:
    """A fault that is found after reading is placed in the layer that it is about."""
    stack = "[[cell.stack]]\nkind = 'gru'\n[[cell.stack]]\nbidirectional = true"
    text = HELLO.replace("[cell]", stack)
    with pytest.raises(InputError) as caught:
        check_compatibility(resolve(task(text)))
    (problem,) = caught.value.problems
    assert problem.key == "cell.stack[1].bidirectional" and problem.place is not None
    assert problem.place.text == "bidirectional = true"


def test_unreadable_text_from_python_is_refused(task: Write) -> None:
    """A mapping of overrides that holds half a character is refused as input."""
    with pytest.raises(InputError) as caught:
        resolve(task(), {"source.text": "a\udc80"})
    assert "cannot be read" in caught.value.problems[0].fact
