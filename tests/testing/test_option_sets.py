"""Sets of options: few hold every choice, and each two values stand together in one."""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from liars import entry
from liars.reference import REFERENCE
from pydantic import ValidationError

from recurra import CellOptions, Field, Options, PluginError
from recurra.catalog import Entry, discover
from recurra.testing.option_sets import (
    LIMIT,
    Sets,
    allowed,
    bad_tables,
    pairwise,
    sets_of,
    small,
    values_of,
)


def made(model: type[Options], kind: str = "cell", **changes: Any) -> Entry:
    """Return the reference under an options model of this test."""
    changed = entry(replace(REFERENCE, kind=kind, **changes))
    changed.__dict__["options"] = model  # the property keeps what it loaded
    return changed


class ManyOptions(CellOptions):
    mode: Literal["a", "b", "c"] = Field("a", description="a choice")
    flag: bool = Field(False, description="a switch")
    other: bool = Field(True, description="a switch")
    heads: int = Field(2, ge=1, le=8, description="a small number")
    rank: int = Field(4, ge=1, le=1 << 20, description="a number with a bound that no memory holds")
    leak: float = Field(0.5, gt=0, le=1, description="a real number")
    key_size: int = Field(64, ge=1, description="a width")
    note: str = Field("", description="free text")


def test_the_default_set_is_small() -> None:
    """The first set is the model's defaults, with the sizes made small; it is as large as the
    model's own rules ask.
    """
    assert small(made(ManyOptions), {}) == {"hidden_size": 8, "key_size": 8}
    assert small(made(ManyOptions), {"hidden_size": 7})["hidden_size"] == 7
    seen = []
    for least in (8, 16, 32, 64, 65):

        class Bulky(CellOptions):
            hidden_size: int = Field(128, ge=least, description="width of the state")

        seen.append(small(made(Bulky), {}).get("hidden_size"))
    assert seen == [8, 16, 32, 64, None]


def test_the_mathematics_runs_on_every_choice() -> None:
    """At most four sets hold every choice and the bounds of small integers; real numbers keep their
    defaults.
    """
    checked = sets_of(made(ManyOptions)).checked
    assert len(checked) == LIMIT
    assert {table.get("mode", "a") for table in checked} == {"a", "b", "c"}
    assert {table.get("flag", False) for table in checked} == {True, False}
    assert {table.get("other", True) for table in checked} == {True, False}
    assert {table.get("heads", 2) for table in checked} >= {1, 8}
    assert all(
        {"leak", "note", "num_layers", "dropout", "bidirectional"}.isdisjoint(table)
        for table in checked
    )
    assert all(table["hidden_size"] == 8 for table in checked)


def test_the_corners_hold_every_two_values_together() -> None:
    """Of any two options, every two values stand in one set; the bounds of real numbers too,
    exclusive ones inside.
    """
    corners = sets_of(made(ManyOptions)).corners
    values = {
        "mode": "abc",
        "flag": [True, False],
        "heads": [1, 8],
        "leak": [1e-6, 1.0],
        "hidden_size": [1],
    }
    for (one, some), (other, more) in combinations(values.items(), 2):
        found = {(table[one], table[other]) for table in corners}
        assert found >= {(a, b) for a in some for b in more}, (one, other)
    assert len(corners) < 20


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from("abcdef"), st.lists(st.integers(0, 9), min_size=1, max_size=4, unique=True)
    )
)
def test_pairs_are_covered_with_few_sets(values: dict[str, list[int]]) -> None:
    """A covering by pairs is one: nothing is left out, no set is empty, and it is far smaller than
    all combinations.
    """
    tables = pairwise(values, {"base": 0})
    for one, other in combinations(values, 2):
        wanted = {(a, b) for a in values[one] for b in values[other]}
        assert {(table[one], table[other]) for table in tables} == wanted
    for name, found in values.items():
        assert {table[name] for table in tables} == set(found)
    assert all(set(table) == {"base", *values} for table in tables)
    assert len(tables) <= 4 * 4 * 2


class RivalOptions(CellOptions):
    gated: bool = Field(False, description="a switch")
    mode: Literal["plain", "deep"] = Field(
        "plain", description="a choice that only a gated one has"
    )

    def model_post_init(self, context: Any) -> None:
        if self.mode == "deep" and not self.gated:
            raise ValueError("deep needs gated")


def test_what_the_models_own_rules_refuse_is_left_out_and_counted() -> None:
    """A combination that cannot be is no set; every value that can be is in one."""
    found = sets_of(made(RivalOptions))
    assert found.refused > 0
    assert all(allowed(made(RivalOptions), table) for table in (*found.checked, *found.corners))
    assert {table.get("mode") for table in found.corners} == {"plain", "deep"}


class LonelyOptions(CellOptions):
    one: bool = Field(False, description="a switch")
    two: bool = Field(False, description="a switch")
    three: bool = Field(False, description="a switch")
    four: bool = Field(False, description="a switch")
    five: bool = Field(False, description="a switch")

    def model_post_init(self, context: Any) -> None:
        if sum((self.one, self.two, self.three, self.four, self.five)) > 1:
            raise ValueError("one of them at most")


def test_a_value_that_stands_no_company_is_tried_alone() -> None:
    """Where every combination of a value is refused, it is tried beside the defaults."""
    corners = sets_of(made(LonelyOptions)).corners
    for name in ("one", "two", "three", "four", "five"):
        assert any(table.get(name) for table in corners), name


def test_sets_that_are_given_take_the_place_of_those_that_are_drawn() -> None:
    """Tables of the class face, or else the component's examples, are what is checked, sizes made
    small around them.
    """
    given = sets_of(made(ManyOptions), [{}, {"hidden_size": 7, "mode": "b"}])
    assert given.checked == (
        {"hidden_size": 8, "key_size": 8},
        {"hidden_size": 7, "mode": "b", "key_size": 8},
    )
    shown = sets_of(made(ManyOptions, examples=({"mode": "c"},)))
    assert shown.checked == ({"mode": "c", "hidden_size": 8, "key_size": 8},)
    with pytest.raises(PluginError, match=r"options \{'mode': 'z'\} are refused"):
        sets_of(made(ManyOptions), [{"mode": "z"}])


class NeedyOptions(Options):
    path: str = Field(description="a file")
    mode: Literal["a", "b"] = Field(description="a choice")


def test_an_option_without_a_default_needs_an_example() -> None:
    """What no rule names a value for must come from the author; what a rule names is drawn from
    it.
    """
    with pytest.raises(PluginError, match="`examples`"):
        sets_of(made(NeedyOptions, "source"))
    found = sets_of(made(NeedyOptions, "source", examples=({"path": "x", "mode": "a"},)))
    assert isinstance(found, Sets)
    assert {table["mode"] for table in found.corners} == {"a", "b"}


def test_a_path_of_an_example_is_taken_from_the_modules_folder() -> None:
    """An example names files that lie beside the component's code."""
    from recurra.testing.option_sets import validated

    text = next(e for e in discover().of_kind("source") if e.component.name == "text")
    options = validated(text, {"path": "examples/rhyme.txt"})
    assert (
        Path(options.path)
        == Path(sys.modules[text.target.__module__].__file__).parent / "examples" / "rhyme.txt"
    )
    assert Path(options.path).is_file()


@pytest.mark.parametrize(
    "model", [ManyOptions, RivalOptions, NeedyOptions], ids=lambda model: model.__name__
)
def test_a_strict_model_refuses_every_bad_table(model: type[Options]) -> None:
    """Each table is refused, with an error that names the option it is about; each option is
    tried.
    """
    base = {"path": "x", "mode": "a"} if model is NeedyOptions else {}
    from recurra.contracts.options import validate_options

    tried = set()
    for name, table, why in bad_tables(model, base):
        tried.add(name)
        with pytest.raises(ValidationError) as caught:
            validate_options(model, table, lambda value, field: value)
        assert any(fault["loc"][:1] == (name,) for fault in caught.value.errors()), (
            name,
            table,
            why,
        )
    own = {
        name
        for name in model.model_fields
        if name not in ("num_layers", "dropout", "bidirectional")
    }
    assert tried == {*own, "no_such_option"}


@pytest.mark.parametrize(
    ("rule", "values"),
    [
        ({"type": "integer", "minimum": 2, "maximum": 9, "multipleOf": 4}, [4, 8]),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 4}, [1, 3]),
        ({"type": "integer", "minimum": 1, "maximum": 1 << 20}, [1]),
        ({"type": "integer"}, []),
        ({"type": "number", "minimum": 0, "exclusiveMaximum": 1}, [0.0, 1 - 1e-6]),
        ({"type": "boolean"}, [False, True]),
        ({"const": "only"}, ["only"]),
        ({"enum": ["a", "b"], "type": "string"}, ["a", "b"]),
        ({"anyOf": [{"type": "integer", "minimum": 3}, {"type": "null"}]}, [3]),
        ({"type": "string"}, []),
        ({"type": "array", "items": {"type": "integer"}}, []),
    ],
)
def test_what_a_rule_is_tried_with(rule: dict[str, Any], values: list[Any]) -> None:
    """All of a choice, and the bounds of a number as far as a machine holds them."""
    assert values_of(rule) == values
    assert [type(value) for value in values_of(rule)] == [type(value) for value in values]
