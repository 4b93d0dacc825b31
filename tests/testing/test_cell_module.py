"""What the checks of a cell as a module see and let pass: random numbers, size, copies, devices and
types.
"""

from __future__ import annotations

import functools
import threading
from typing import NamedTuple

import numpy as np
import pytest
import torch
from cells import REPORTED, SMALL, KeepsItsPast, Mean, Turning, named, record, records
from liars.module import LIARS
from liars.values import Honest, LeakyState, Learned, Windowed
from torch import nn

from recurra import Cell, CellOptions
from recurra.catalog import discover
from recurra.testing.check import Measured
from recurra.testing.suite import all_checks, examine

CORE = [f"C{number}" for number in range(14, 25)]
QUICK = [name for name in CORE if name != "C21"]  # C21 starts a process
FULL = [f"C{number}" for number in range(25, 33)]
LONG = ["C29", "C30"]
"""Checks of them that run a cell for long: what it costs, and whether it learns."""


# Cells that are right


class MatrixState(NamedTuple):
    memory: torch.Tensor
    steps: torch.Tensor


class Outer(Cell[CellOptions]):
    """A sum of outer products `[B, D, H]` and a number of steps; the output is wider than
    `hidden_size`.
    """

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.output_size = self.hidden_size + 1
        self.key = nn.Linear(input_size, input_size)
        self.value = nn.Linear(input_size, self.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        memory = torch.zeros(
            batch_size, self.input_size, self.hidden_size, device=device, dtype=dtype
        )
        return MatrixState(memory, torch.zeros(batch_size, device=device, dtype=torch.long))

    def step(self, x_t, state):
        key, value = torch.sigmoid(self.key(x_t)), torch.tanh(self.value(x_t))
        memory = 0.9 * state.memory + key.unsqueeze(-1) * value.unsqueeze(1)
        steps = state.steps + 1
        y = torch.einsum("bd,bdh->bh", torch.tanh(x_t), memory)
        return torch.cat([y, (1 / steps).to(y.dtype).unsqueeze(-1)], dim=-1), MatrixState(
            memory, steps
        )


def passes(found):
    """Rounding is a tenth of what is allowed, at most; but learning stops when it is good
    enough.
    """
    for one in found.values():
        assert one.verdict in ("PASS", "N/A"), one
        if one.id not in ("C24", "C25", "C29", "C31"):
            assert Measured(one.value, one.bound).margin <= 0.1, one


@pytest.mark.parametrize(
    "cell", [Windowed, Learned, Outer, Turning, Mean], ids=lambda cell: cell.__name__
)
def test_a_right_cell_passes_with_room_to_spare(cell):
    """Matrices, counters, learned starts, complex scans, forms over a window and cells without
    weights.
    """
    passes(records(cell, QUICK, "full"))


@pytest.mark.parametrize(
    "cell",
    [
        Windowed,
        *(pytest.param(cell, marks=pytest.mark.slow) for cell in (Learned, Outer, Turning, Mean)),
    ],
)
@pytest.mark.slow
def test_a_right_cell_passes_in_full(cell):
    """It compiles, stays within bounds, learns and costs what it should."""
    found = records(cell, FULL + REPORTED, "full")
    passes(found)
    assert (found["C31"].verdict == "N/A") == (cell is Mean)


class Single(Honest):
    """It computes in float32 alone, and has one call."""

    def forward(self, x, state=None):
        if x.dtype == torch.float64:
            raise TypeError("no float64")
        return super().forward(x, state)


def test_what_a_cell_lacks_is_not_asked_of_it():
    """Slopes need float64; all else runs in the types that there are."""
    found = records(Single, [*QUICK, "C28"], "full", lacks=("float64", "resets", "lengths"))
    assert {name for name, one in found.items() if one.verdict == "N/A"} == {"C14", "C16", "C17"}
    assert {one.verdict for one in found.values()} == {"PASS", "N/A"}
    found = records(Honest, ["C16", "C26"], "full", lacks=("double_backward", "export"))
    assert [one.detail for one in found.values()] == ["it lacks double_backward", "it lacks export"]


# Liars


@pytest.mark.parametrize(
    "liar",
    [
        pytest.param(
            one, id=one.component.name, marks=[pytest.mark.slow] if one.check in LONG else []
        )
        for one in LIARS
        if one.check in FULL
    ],
)
def test_a_liar_fails_its_check(liar):
    """With a line that tells what is wrong."""
    (found,) = examine(liar.entry, "full", only=[liar.check]).records
    assert found.verdict == "FAIL"
    assert 0 < len(found.detail) < 500


def test_every_check_has_a_liar_that_fails_it_alone():
    """A branch on a value is wrong on a device, in a compiler and in an export at once, and a print
    in any use.
    """
    alone = {liar.check for liar in LIARS if not liar.others - {"C35", "P09"}}
    assert alone == {*CORE, *FULL}


@pytest.mark.parametrize("name", CORE + FULL + REPORTED)
def test_every_check_says_its_law_and_how_to_mend_what_breaks_it(name):
    check = all_checks()[name]
    law, _, rest = check.text.partition("\n\n")
    assert "\n" not in law and law.endswith(".")
    assert name in REPORTED or "To mend it: " in " ".join(rest.split())
    assert check.level == ("core" if name in CORE else "full")
    assert check.firm == (name in ("C14", "C15", "C19", "C21", "C22", "C23"))


# Random numbers and size


class HasItsOwnGenerator(Honest):
    """Noise in training comes from a generator that nobody seeds."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.noise = torch.Generator()

    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        h = h + 0.1 * torch.randn(h.shape, generator=self.noise) if self.training else h
        return h, LeakyState(h)


class DrawsFromNumpy(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.of_state.weight.data.mul_(float(np.random.rand()) + 0.5)


class ShiftsNumpy(Honest):
    """A number is drawn, and not used."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        np.random.rand()


class DropsOut(Honest):
    """Drops in training, with torch's own generator, as it should."""

    def step(self, x_t, state):
        h, _ = super().step(x_t, state)
        h = nn.functional.dropout(h, 0.2, self.training)
        return h, LeakyState(h)


def test_randomness_is_the_engines():
    named("C19", HasItsOwnGenerator, "in training")
    named("C19", DrawsFromNumpy, "numpy")
    named("C19", ShiftsNumpy, "numpy")
    assert record("C19", DropsOut).verdict == "PASS"


class MakesItsWeightLate(Honest):
    """A weight is made at the first call."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if not hasattr(self, "gain"):
            self.gain = nn.Parameter(torch.ones(()))
        return super().forward(x, state, reset=reset, lengths=lengths)


class CountsItsBuilds(Honest):
    """Each instance is one unit wider than the last."""

    built = 0

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        CountsItsBuilds.built += 1
        self.register_buffer("more", torch.zeros(CountsItsBuilds.built))


def test_sizes_depend_on_nothing_else():
    found = record("C20", KeepsItsPast)
    assert (found.verdict, found.value) == ("FAIL", 70 * 5 * 4)
    named("C20", MakesItsWeightLate, "gain")
    named("C20", CountsItsBuilds, "second cell", "more")
    told = record("C20", Outer).detail  # two maps with biases; a matrix of float32 and a counter
    assert told == f"{30 + 48} parameters, {5 * 8 * 4 + 8} bytes of state a row"


# Copies


PLUGIN = """
import torch
from recurra import Cell, CellOptions, Component, hookimpl
from typing import NamedTuple

class State(NamedTuple):
    h: torch.Tensor

class Local(Cell[CellOptions]):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = torch.nn.Linear(input_size + self.hidden_size, self.hidden_size)
        self.register_buffer("mask", torch.rand(self.hidden_size), persistent=PERSISTENT)

    def initial_state(self, batch_size, *, device, dtype):
        return State(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t, state):
        h = self.mask * torch.tanh(self.map(torch.cat([x_t, state.h], dim=-1)))
        return h, State(h)

@hookimpl
def recurra_components():
    return [Component("cell", "local", "mine:Local", "recurra:CellOptions", "a cell of a file")]
"""


@pytest.mark.parametrize(
    ("persistent", "verdict"),
    [("True", "PASS"), pytest.param("False", "FAIL", marks=pytest.mark.slow)],
)
def test_a_cell_of_a_local_file_is_loaded_elsewhere(tmp_path, persistent, verdict):
    """The other process knows the file alone; what is not saved there is other."""
    file = tmp_path / "mine.py"
    file.write_text(PLUGIN.replace("PERSISTENT", persistent))
    (found,) = examine(discover([file]).find("cell", "local"), sets=SMALL, only=["C21"]).records
    assert found.verdict == verdict, found


class HasALock(Honest):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.lock = threading.Lock()


class CapturesItsWeight(Honest):
    """The recurrent map is bound to its weight when it is built."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.recurrent = functools.partial(nn.functional.linear, weight=self.of_state.weight)

    def step(self, x_t, state):
        h = 0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t) + self.recurrent(state.h))
        return h, LeakyState(h)


class RemembersItsLastOutput(Honest):
    """The last output stays on the module, with its graph."""

    def step(self, x_t, state):
        h, after = super().step(x_t, state)
        self.last = h
        return h, after


class SharesItsWeights(Honest):
    """A copy is the cell itself."""

    def __deepcopy__(self, memo):
        return self


def test_what_cannot_be_copied_is_told():
    named("C22", HasALock, "a deep copy cannot be made")
    named("C22", RemembersItsLastOutput, "a deep copy cannot be made")
    named("C22", CapturesItsWeight, "functional_call")
    named("C22", SharesItsWeights, "the cell, after a deep copy was changed")


# Devices, types and compilers


class CountsOnTheCPU(Honest):
    """The number of steps is always on the CPU, and nothing mixes it with the rest."""

    def initial_state(self, batch_size, *, device, dtype):
        (h,) = super().initial_state(batch_size, device=device, dtype=dtype)
        return MatrixState(h, torch.zeros(batch_size, dtype=torch.long))

    def step(self, x_t, state):
        h, _ = super().step(x_t, LeakyState(state.memory))
        return h, MatrixState(h, state.steps + 1)


def test_a_tensor_on_another_device_is_told():
    named("C23", CountsOnTheCPU, "cpu", "meta")


class KeepsItsStateWide(Honest):
    """The output has the type of the weights, and the state is float32 after a step."""

    def step(self, x_t, state):
        h, _ = super().step(x_t, LeakyState(state.h.to(x_t.dtype)))
        return h, LeakyState(h.float() if h.dtype == torch.bfloat16 else h)


class Halves(Honest):
    """In float32 it computes in bfloat16."""

    def step(self, x_t, state):
        v = self.of_input(x_t) + self.of_state(state.h)
        v = v.bfloat16().float() if v.dtype == torch.float32 else v
        h = 0.7 * state.h + 0.3 * torch.tanh(v)
        return h, LeakyState(h)


class Interpolates(Honest):
    """`torch.lerp` does not mix types, and under autocast it would have to."""

    def step(self, x_t, state):
        h = torch.lerp(state.h, torch.tanh(self.of_input(x_t) + self.of_state(state.h)), 0.3)
        return h, LeakyState(h)


def test_types_and_autocast():
    named("C24", Halves, "float32 against float64")
    named("C24", KeepsItsStateWide, "field 0 of the state", "float32", "not torch.bfloat16")
    named("C24", Interpolates, "RuntimeError")
    assert record("C24", Interpolates, lacks=("bfloat16",)).verdict == "PASS"
