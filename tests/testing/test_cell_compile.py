"""What a compiler and an export make of a cell: the same values and gradients, in few graphs."""

from __future__ import annotations

import pytest
import torch
from cells import record
from liars.values import Honest, LeakyState


class Anneals(Honest):
    """A number that is another at each step is a constant of the graph."""

    rate = 0.3

    def step(self, x_t, state):
        self.rate *= 0.9
        h = (1 - self.rate) * state.h + self.rate * torch.tanh(
            self.of_input(x_t) + self.of_state(state.h)
        )
        return h, LeakyState(h)


class LoopsOverRows(Honest):
    """Every number of rows has a graph of its own."""

    def step(self, x_t, state):
        v = torch.stack([self.of_input(row) for row in x_t.unbind()]) + self.of_state(state.h)
        h = 0.7 * state.h + 0.3 * torch.tanh(v)
        return h, LeakyState(h)


class HurriesWhenCompiled(Honest):
    """A compiler is given another formula, which is right to two digits."""

    def step(self, x_t, state):
        v = self.of_input(x_t) + self.of_state(state.h)
        y = v * (27 + v * v) / (27 + 9 * v * v) if torch.compiler.is_compiling() else torch.tanh(v)
        h = 0.7 * state.h + 0.3 * y
        return h, LeakyState(h)


class CutsWhenCompiled(Honest):
    """A compiler is given no gradient of the recurrent map."""

    def step(self, x_t, state):
        recurrent = self.of_state(state.h)
        recurrent = recurrent.detach() if torch.compiler.is_compiling() else recurrent
        h = 0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t) + recurrent)
        return h, LeakyState(h)


@pytest.mark.parametrize(
    ("check", "cell", "verdict"),
    [
        # Its gradients too are others.
        pytest.param("C25", HurriesWhenCompiled, "FAIL", marks=pytest.mark.slow),
        ("C25", CutsWhenCompiled, "FAIL"),
        ("C26", HurriesWhenCompiled, "FAIL"),
        pytest.param("C26", CutsWhenCompiled, "PASS", marks=pytest.mark.slow),
    ],
)
def test_what_is_compiled_and_exported_is_the_same(check, cell, verdict):
    """The compiler is asked for values and gradients, and an exported step for the values of any
    number of rows.
    """
    found = record(check, cell)
    assert found.verdict == verdict, found
    assert verdict == "PASS" or {"C25": "against", "C26": "rows"}[check] in found.detail, (
        found.detail
    )


@pytest.mark.parametrize(("cell", "graphs"), [(LoopsOverRows, 4), (Anneals, None)])
@pytest.mark.slow
def test_a_step_is_not_compiled_again_and_again(cell, graphs):
    """Three graphs are enough for a cell, its number of rows being a symbol, and its numbers being
    constants.
    """
    found = record("C25", cell)
    assert found.verdict == "FAIL"
    assert graphs is None or (found.value, found.bound) == (graphs, 3)
