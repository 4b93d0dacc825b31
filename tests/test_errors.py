"""One family of errors: its codes, its order, what it prints, and the names that it suggests."""

from __future__ import annotations

import ast
import json
import string
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
import recurra_cells
from recurra.errors import (
    CODES,
    InputError,
    Interrupted,
    OtherVersion,
    Place,
    PluginError,
    Problem,
    RecurraError,
    RunError,
    listing,
    nearest,
)

QUICK = settings(deadline=None, max_examples=60)
CORE = Path(recurra.__file__).parent
PLUGINS = Path(recurra_cells.__file__).parents[1]


def codes_in(path: Path) -> Iterator[str]:
    """Give each code that a source file uses: a string that is a code and nothing else, the table
    of codes apart.
    """
    text = path.read_text(encoding="utf-8")
    if "RC" not in text:  # parsed at every start of pytest: no more files than need be
        return
    nodes = list(ast.walk(ast.parse(text)))
    tables = [
        n for n in nodes if isinstance(n, ast.AnnAssign) and getattr(n.target, "id", "") == "CODES"
    ]
    skipped = {id(node) for table in tables for node in ast.walk(table)}
    for node in nodes:
        if (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in skipped
        ):
            if node.value.startswith("RC") and node.value[2:].isdigit():
                yield node.value


USED = {
    code
    for root in (CORE, PLUGINS)
    for path in root.rglob("*.py")
    if "tests" not in path.parts
    for code in codes_in(path)
}


@pytest.mark.parametrize("code", sorted(CODES))
def test_every_code_is_used_and_explained(code: str) -> None:
    """Every code is raised somewhere, and explained in a sentence."""
    assert code in USED
    assert CODES[code].endswith(".") and code not in CODES[code]


@pytest.mark.parametrize("code", sorted(USED))
def test_every_code_that_is_used_is_known(code: str) -> None:
    """No error carries a code that cannot be explained."""
    assert code in CODES


WORDS = st.text(string.ascii_letters + " _.é", max_size=8)
PLACES = st.none() | st.builds(
    Place, WORDS, st.integers(0, 9), st.integers(1, 9), WORDS, st.integers(1, 9)
)
PROBLEMS = st.builds(
    Problem,
    st.sampled_from(sorted(CODES)),
    WORDS.filter(bool),
    WORDS,
    PLACES,
    WORDS,
    WORDS,
    WORDS,
    WORDS,
)


@QUICK
@given(st.lists(PROBLEMS, min_size=1, max_size=5), st.randoms())
def test_an_error_does_not_depend_on_the_order_of_finding(
    problems: list[Problem], random: object
) -> None:
    """Problems are told in the order of their places, whichever was found first."""
    error = InputError(problems)
    places = [
        (p.place.file, p.place.line, p.place.column) if p.place else ("", 0, 0)
        for p in error.problems
    ]
    assert places == sorted(places)
    assert sorted(map(repr, error.problems)) == sorted(map(repr, problems))
    assert str(error) == "\n\n".join(problem.render() for problem in error.problems)


@QUICK
@given(PROBLEMS)
def test_a_message_holds_all_that_is_known(problem: Problem) -> None:
    """The printed form holds the fact, the code, and every field that helps; the record holds the
    same, as JSON.
    """
    text, record = problem.render(), problem.record()
    for field in ("fact", "code", "key", "got", "allowed", "nearest", "cure"):
        assert getattr(problem, field) in text
        assert record[field] == getattr(problem, field)
    assert text.split("\n")[0].endswith(f"[{problem.code}]")
    if problem.place:
        assert text.startswith(str(problem.place))
        assert (record["file"], record["line"]) == (problem.place.file, problem.place.line)
    assert json.loads(json.dumps(record)) == record


def test_each_family_has_its_exit_code() -> None:
    """A failed run exits with 1, wrong input with 2, a plugin with 3, an interruption with 130."""
    codes = {
        error: error.exit_code
        for error in (RecurraError, RunError, InputError, PluginError, Interrupted)
    }
    assert codes == {RecurraError: 1, RunError: 1, InputError: 2, PluginError: 3, Interrupted: 130}
    assert all(issubclass(error, RecurraError) for error in codes)


NAMES = st.lists(
    st.text(string.ascii_lowercase + "_", min_size=5, max_size=12),
    min_size=1,
    max_size=8,
    unique=True,
)


@QUICK
@given(NAMES, st.data())
def test_a_known_name_in_any_case_is_its_own_nearest(names: list[str], data: st.DataObject) -> None:
    """A name differs from itself by nothing, whatever its case."""
    name = data.draw(st.sampled_from(names))
    assert nearest(name.upper(), names) == name


@QUICK
@given(st.text(string.ascii_lowercase, min_size=5, max_size=12), st.data())
def test_one_typing_error_is_forgiven(name: str, data: st.DataObject) -> None:
    """A letter left out, added, changed or swapped with the next still finds the name, and digits
    find none.
    """
    at = data.draw(st.integers(0, len(name) - 2))
    left, right = name[:at], name[at + 1 :]
    letter = data.draw(st.sampled_from(string.ascii_lowercase))
    for typo in (
        left + right,
        left + letter + name[at:],
        left + letter + right,
        left + right[0] + name[at] + right[1:],
    ):
        assert nearest(typo, [name, "12345"]) == name
    assert nearest("67890", [name]) == ""


@QUICK
@given(st.lists(st.text("abc", min_size=1), max_size=30, unique=True), st.integers(1, 30))
def test_a_listing_counts_what_it_leaves_out(names: list[str], limit: int) -> None:
    """A listing is sorted, and shown and left out add up to all."""
    shown, _, rest = listing(names, limit).partition(" and ")
    listed = shown.split(", ") if shown else []
    assert listed == sorted(names)[:limit]
    assert len(listed) + (int(rest.removesuffix(" more")) if rest else 0) == len(names)


def test_a_place_without_a_line_shows_no_excerpt() -> None:
    """An origin that is no file, and a file with nothing to show, have no excerpt."""
    assert Place("-o #1: a=1").excerpt() == "" and str(Place("-o #1: a=1")) == "-o #1: a=1"
    assert Place("t.toml", 1, 1).excerpt() == "" and str(Place("t.toml", 1, 1)) == "t.toml:1:1"


DEEP = """
from functools import cached_property, partial
from recurra.errors import OtherVersion, warn
class Deep:
    @cached_property
    def told(self):
        return sorted([1], key=partial(self.warned))
    def warned(self, one):
        warn("deep", OtherVersion)
def asked(deep=Deep):
    deep().told
"""


def test_a_warning_points_at_the_line_that_called() -> None:
    """Also where Python's own library stands between two lines of recurra: a cached property.

    Where recurra calls code of others, a plugin's say, that warns, it is told there.
    """
    home, parts = Path(recurra.__file__).parent, []
    for place in (str(home / "deep.py"), "theirs.py"):
        names: dict[str, Any] = {}
        exec(compile(DEEP, place, "exec"), names)
        parts.append(names)
    inside, theirs = parts
    with pytest.warns(OtherVersion) as told:
        inside["asked"]()
        inside["asked"](theirs["Deep"])
    line = test_a_warning_points_at_the_line_that_called.__code__.co_firstlineno + 12
    assert (told[0].filename, told[0].lineno) == (__file__, line)
    assert (told[1].filename, told[1].lineno) == ("theirs.py", 9)
