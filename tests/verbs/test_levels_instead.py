"""A level that no spread can give is refused with levels that it can."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recurra.errors import InputError
from recurra.generate.foretold import chosen


class Known:
    """A spread that knows the quantiles of some per cents alone."""

    steps = 0

    def __init__(self, known: set[float]) -> None:
        self.known = known

    def lacks(self, chance: float) -> str:
        near = any(math.isclose(100 * chance, own, abs_tol=1e-6) for own in self.known)
        return "" if near else "it is not known"

    def quantiles(self, *_: object) -> list[object]:
        raise AssertionError("nothing is foretold")


@given(st.sets(st.integers(1, 49), max_size=4), st.integers(1, 99))
def test_what_the_cure_names_can_be_asked_for(lower: set[int], level: int) -> None:
    """Every level that is told can be given, and none that can is left out."""
    spread = Known({float(own) for p in lower for own in (p, 100 - p)})
    able = sorted(100 - 2 * p for p in lower)
    if level in able:
        assert chosen(spread, (level,)) is not None
        return
    with pytest.raises(InputError) as error:
        chosen(spread, (level,))
    (problem,) = error.value.problems
    cure = problem.cure or ""
    told = [int(word) for word in cure.replace(",", "").split() if word.isdigit()]
    assert told == able
    assert (cure == "ask for no levels") == (not able)
