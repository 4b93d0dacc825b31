"""The passes that make a kernel can be read, and a kernel is given what its layout says."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from torch import nn

from recurra import Cell, CellOptions
from recurra.catalog import discover
from recurra.engine import build, fused
from recurra.engine.fused.c_operations import WRITTEN
from recurra.engine.fused.dump import dump, passes
from recurra.engine.fused.layout import DECLARED, IN_C, Arguments, Group, Layout
from recurra.engine.fused.operations import ELEMENTWISE
from recurra.engine.fused.record import Unsupported
from recurra.engine.fused.step import Step
from recurra.engine.proof import disagreement

PASSES = ["record", "split", "gradient", "vectors", "schedule", "layout", "emit"]


def cell(name="gru", hidden_size=3):
    """Return a new cell of two inputs."""
    entry = discover().find("cell", name)
    return entry.target(2, entry.options(hidden_size=hidden_size))


def test_the_worked_example_is_what_happens():
    """The folder's docstring, a GRU from its step to C, is run as it stands."""
    found = doctest.testmod(fused, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert found.failed == 0 and found.attempted >= 10


def test_the_files_are_the_passes():
    """Each pass that the docstring names has a file, or is made by those that it names."""
    folder = Path(fused.__file__).parent
    named = re.findall(r"^    (\w+)  +", fused.__doc__, re.M)
    assert named[: len(PASSES)] == PASSES
    in_brackets = re.findall(r"`(\w+)`", fused.__doc__)
    files = {path.stem for path in folder.glob("*.py")}
    assert {
        "record",
        "split",
        "gradient",
        "vectors",
        "lower",
        "schedule",
        "layout",
        "emit_c",
    } <= files
    assert {
        "lower",
        "shape_rules",
        "arithmetic_rules",
        "emit_c",
        "plan",
        "kernel",
        "window",
        "step",
    } <= {*in_brackets}


def test_every_pass_says_what_it_made():
    """Nothing is printed as an object's address, and each value that is read was made, or is said
    to come in.
    """
    made = {name: str(what) for name, what in passes(cell()).items()}
    assert list(made) == PASSES
    assert not any(" object at 0x" in text for text in made.values())
    for name in ("record", "gradient"):
        known = set()
        for line in made[name].splitlines():
            left, sign, right = line.partition(" = ")
            if sign:
                assert set(re.findall(r"\bv\d+\b", right)) <= known, line
            known |= set(re.findall(r"\bv\d+\b", left))


def test_a_dump_holds_every_pass_of_every_kernel(tmp_path, monkeypatch):
    """One folder a kernel, of a cell or of a step, with a file a pass in their order; the C is what
    is compiled.
    """
    monkeypatch.setenv("RECURRA_DUMP", str(tmp_path / "dump"))
    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    sources = []
    library = fused.library
    monkeypatch.setattr(
        fused, "library", lambda source, of: (sources.append(source), library(source, of))[1]
    )
    assert fused.refusal(cell()) is None
    (folder,) = (tmp_path / "dump").iterdir()
    assert folder.name.startswith("GRU-float32-")
    files = [
        f"{place}-{name}.{'c' if name == 'emit' else 'txt'}" for place, name in enumerate(PASSES, 1)
    ]
    assert sorted(path.name for path in folder.iterdir()) == files
    assert (folder / "7-emit.c").read_text() == f"{sources[0]}\n"

    weights = [torch.randn(2, 2)]
    Step(lambda x, state: (x @ weights[0] + state[0], [state[0]]), weights, 2, [(2,)])
    (step,) = (path for path in (tmp_path / "dump").iterdir() if path.name.startswith("step-"))
    assert sorted(path.name.split(".")[0][2:] for path in step.iterdir()) == sorted(
        [PASSES[0], *PASSES[3:]]
    )


def test_a_dump_that_cannot_be_written_is_told_and_stops_nothing(tmp_path, monkeypatch):
    """The kernel is there all the same."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECURRA_DUMP", str(tmp_path / "file"))
    monkeypatch.setattr(fused, "KERNELS", fused.Kernels())
    with pytest.warns(RuntimeWarning, match="RECURRA_DUMP: nothing can be written to"):
        assert fused.refusal(cell()) is None


def test_nothing_is_dumped_unasked(tmp_path, monkeypatch):
    """Without a folder, or with an empty name, no file is written."""
    monkeypatch.chdir(tmp_path)
    for value in (None, ""):
        monkeypatch.delenv("RECURRA_DUMP", raising=False)
        if value is not None:
            monkeypatch.setenv("RECURRA_DUMP", value)
        dump("cell", lambda: {"record": "text"})
    assert list(tmp_path.iterdir()) == []


def test_c_writes_every_operation():
    """What may be lowered is what can be written, no more and no less."""
    others = {"sigmoid_of_decay", "log1p_of_decay"}  # other ways to write some of them
    assert set(WRITTEN) == ELEMENTWISE | others


SLOW = pytest.mark.slow
ELEMENTWISE_CELLS = [
    pytest.param(entry.component.name, marks=() if entry.component.name == "minlstm" else SLOW)
    for entry in discover().of_kind("cell")
]


@pytest.mark.parametrize("name", ELEMENTWISE_CELLS)
def test_every_elementwise_loop_becomes_vectors(name, tmp_path):
    """A branch anywhere in it, be it a clamp of an exponential, would leave it to go one by one."""
    compiler = build.compilers()
    version = subprocess.run([*compiler, "--version"], capture_output=True, text=True).stdout
    if "Free Software Foundation" not in version:
        pytest.skip("only gcc tells which loops it has made vectors of")
    try:
        made = passes(cell(name, 64))["emit"]
    except Unsupported as error:
        pytest.skip(str(error))

    text = tmp_path / "kernel.c"
    text.write_text(made)
    # Other tests build kernels in haste.
    flags = ["-O3", *(f for f in build.SETS[0] if f != "-shared" and not f.startswith("-O"))]
    report = subprocess.run(
        [*compiler, *flags, "-S", "-fopt-info-vec-optimized", str(text), "-o", os.devnull],
        capture_output=True, text=True, check=True,
    ).stderr  # fmt: skip

    lines = made.splitlines()
    vectors = {int(n) for n in re.findall(r":(\d+):\d+: optimized: loop vectorized", report)}
    ends = {}
    for at, line in enumerate(lines, start=1):
        if line.startswith('_Pragma("omp simd'):
            ends[at] = next(n for n in range(at, len(lines)) if lines[n] == "}")
    assert ends, "a cell that computes nothing"
    alone = [at for at, end in ends.items() if not vectors.intersection(range(at, end + 1))]
    assert not alone, [lines[at : at + 3] for at in alone]


def test_arguments_are_declared_in_the_order_of_a_call():
    """The C of a function names its arguments as a call packs them: pointers are pointers, numbers
    are long.
    """
    assert list(IN_C) == list(Arguments._fields)
    assert DECLARED == ", ".join(text for text, _ in IN_C.values())
    for text, passed in IN_C.values():
        assert ("*" in text) == (passed is fused.window.ctypes.c_void_p), text


def test_a_pointer_stands_where_the_c_reads_it():
    """Packed by name, each tensor lies at the place that the layout, and so the C, gives it."""
    layout = Layout((Group("seq", [3, 4], "step"), Group("state", [2], "row")), ())
    given = {name: [torch.zeros(1) for _ in range(count)] for name, count in
             {"state": 1, "packed": 1, "seq": 2, "own": 1}.items()}  # fmt: skip
    packed = layout.pointers(given)
    assert len(packed) == 5
    for name, tensors in given.items():
        for index, tensor in enumerate(tensors):
            assert packed[layout.place(name, index)] == tensor.data_ptr()


@pytest.mark.parametrize("change", [
    lambda given: given["seq"].pop(),
    lambda given: given["state"].append(torch.zeros(1)),
    lambda given: given.pop("own"),
])  # fmt: skip
def test_what_is_not_laid_out_is_refused(change):
    """A tensor too few, too many, or without a name is an error before anything is read."""
    layout = Layout((Group("seq", [3, 4], "step"), Group("state", [2], "row")), ())
    one = torch.zeros(1)
    given = {"seq": [one] * 2, "state": [one], "own": [one], "packed": [one]}
    change(given)
    with pytest.raises((ValueError, KeyError)):
        layout.pointers(given)


class CellState(NamedTuple):
    c: torch.Tensor


class ShowsItsGate(Cell[CellOptions]):
    """An LSTM without h: of the three gates that are made together, the output alone reads one."""

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.of_input = nn.Linear(input_size, 3 * self.hidden_size)
        self.of_state = nn.Linear(self.hidden_size, 3 * self.hidden_size)

    def initial_state(self, batch_size, *, device, dtype):
        return CellState(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t, state):
        f, g, o = (self.of_input(x_t) + self.of_state(state.c)).chunk(3, dim=-1)
        c = torch.sigmoid(f) * state.c + torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), CellState(c)


def test_what_the_output_alone_reads_of_the_loop_is_computed_in_it():
    """A part of a value of the loop that the next state does not need is there for the output."""
    made = ShowsItsGate(3, CellOptions(hidden_size=4)).double()
    assert fused.refusal(made) is None and disagreement(made, fused.run) is None


def test_what_cannot_be_compiled_is_refused_by_every_way_in():
    """`passes` raises what stands in the way."""

    class Draws(type(cell())):
        def step(self, x_t, state):
            y, after = super().step(x_t, state)
            return y + torch.rand_like(y), after

    made = cell()
    made.__class__ = Draws
    with pytest.raises(Unsupported, match="random"):
        passes(made)


@pytest.mark.slow
@pytest.mark.parametrize("name", [e.component.name for e in discover().of_kind("cell")])
def test_a_kernel_has_the_same_text_in_every_process(name, tmp_path):
    """Made once more, and in a process of its own, a cell's passes print the same."""
    try:
        made = {title: str(what) for title, what in passes(cell(name, 4)).items()}
    except Unsupported as error:
        pytest.skip(str(error))
    assert {title: str(what) for title, what in passes(cell(name, 4)).items()} == made
    code = (
        "from recurra.catalog import discover; from recurra.engine import fused;e ="
        f" discover().find('cell', {name!r}); fused.refusal(e.target(2, e.options(hidden_size=4)))"
    )
    world = {**os.environ, "RECURRA_DUMP": str(tmp_path / "dump")}
    subprocess.run([sys.executable, "-c", code], check=True, env=world)
    (folder,) = (tmp_path / "dump").iterdir()
    assert (folder / "7-emit.c").read_text() == made["emit"] + "\n"
