"""How laws draw their examples: the same few in every run, or many new ones where they are asked
for.
"""

from __future__ import annotations

from types import SimpleNamespace

import conftest
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


def law(count: int = 5) -> tuple[object, list[int]]:
    """Return a law that draws `count` numbers, and the list of those that it drew."""
    drawn: list[int] = []

    @settings(max_examples=count)
    @given(st.integers())
    def holds(number: int) -> None:
        drawn.append(number)

    return holds, drawn


def test_a_law_draws_the_same_in_every_run(request: pytest.FixtureRequest) -> None:
    """Without `--examples` nothing that a law draws is left to chance, or to an earlier run."""
    if request.config.option.examples is not None:
        pytest.skip("this run draws anew")
    (first, once), (second, again) = law(), law()
    first(), second()
    assert once == again and len(once) == 5
    assert settings.default.database is None and settings.default.deadline is None


def item(function: object, *marks: str) -> SimpleNamespace:
    """Return what the hook sees of a test."""
    own = {*marks}
    return SimpleNamespace(
        function=function,
        marks=own,
        get_closest_marker=own.__contains__,
        add_marker=lambda mark: own.add(mark.name),
    )


def collected(times: int | None, chosen: str, *items: SimpleNamespace) -> None:
    """Collect items under `--examples` and `-m`."""
    option = SimpleNamespace(examples=times, markexpr=chosen)
    conftest.pytest_collection_modifyitems(SimpleNamespace(option=option), [*items])


def test_laws_are_widened_where_many_examples_are_asked_for() -> None:
    """Each quick law once, however many parameters it has; slow ones, and tests of one example,
    stay as they are.
    """
    (quick, of_quick), (slow, of_slow) = law(), law()
    parameters, rare, plain = [item(quick), item(quick)], item(slow, "slow"), item(print)
    collected(3, "slow", *parameters, rare, plain)
    quick(), slow()
    assert (len(of_quick), len(of_slow)) == (15, 5)
    assert [one.marks for one in (*parameters, rare, plain)] == [
        {"slow"},
        {"slow"},
        {"slow"},
        set(),
    ]


def test_a_usual_run_may_ask_for_many_examples() -> None:
    """Then its laws stay quick ones, or `-m 'not slow'` would leave them out."""
    quick, drawn = law()
    alone = item(quick)
    collected(3, "not slow", alone)
    quick()
    assert len(drawn) == 15 and not alone.marks


def test_no_law_is_widened_unasked() -> None:
    """A usual run leaves laws as they are."""
    quick, drawn = law()
    alone = item(quick)
    collected(None, "not slow", alone)
    quick()
    assert len(drawn) == 5 and not alone.marks
