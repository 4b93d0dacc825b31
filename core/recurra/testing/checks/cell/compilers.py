"""What compilers make of a cell: torch.compile and torch.export."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from recurra.contracts.cell import Cell
from recurra.engine.recurrence import State, map_state, rebuild
from recurra.testing.check import Measured, check
from recurra.testing.measure import gaps, worst
from recurra.testing.subjects.cell import CellSubject

SINGLE = torch.float32
COMPILED = 1e-6
"""Bound in float32 of what a compiler makes of a step: the same operations, reordered at most."""
GRAPHS = 3
"""How often a step may be compiled for batches of any size: once as it is, twice more at most."""
BATCHES = (3, 5, 9, 4)


@check("C25", "it compiles whole", "cell", level="full", each=False)
def compiles(subject: CellSubject) -> Measured:
    """`torch.compile(step, fullgraph=True)` takes the step as one graph, and so it does a window of
    4 steps.

    Outputs, state and gradients are within 1e-6 of what they are without it, in float32; over
    batches of 3, 5, 9 and 4 rows the step is compiled three times at most. The graph is captured
    and differentiated; no code is generated, so that no compiler is needed here. A branch on a
    tensor's value, `.item()`, a print or a call into numpy's random numbers breaks the graph, and a
    Python number that changes from call to call compiles it anew each time. To mend it: choose by
    `torch.where`, and keep `step` a function of tensors.
    """
    cell = subject.cell(dtype=SINGLE)
    graphs = [0]
    findings = []

    with _fresh_compiler():
        step = torch.compile(cell.step, fullgraph=True, backend=_counting(graphs))
        for batch in BATCHES:
            x = subject.x(batch, 1, dtype=SINGLE)[:, 0]
            state = subject.start(cell, batch, dtype=SINGLE)
            value = _difference(cell, step, cell.step, x, state)
            findings.append(Measured(value, COMPILED, "a step against its graph"))
        # Read here, before the window's graphs are counted too.
        what = f"graphs of the step for batches of {BATCHES} rows"
        count = Measured(float(graphs[0]), GRAPHS, what)

    with _fresh_compiler():
        window = torch.compile(cell.forward, fullgraph=True, backend=_counting(graphs))
        x = subject.x(3, 4, dtype=SINGLE)
        state = subject.start(cell, 3, dtype=SINGLE)
        value = _difference(cell, window, cell, x, state)
        findings.append(Measured(value, COMPILED, "4 steps against their graph"))

    # A count within its bound says nothing of margins: the differences do.
    farthest = worst([*findings, count])
    return worst(findings) if farthest.passed else farthest


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Begin and end with nothing compiled."""
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def _counting(graphs: list[int]) -> Callable[..., Any]:
    """Return a backend that counts its graphs in `graphs[0]`.

    A graph is differentiated ahead of time and run as it is.
    """
    # Here, for it is slow to import.
    from torch._dynamo.backends.registry import lookup_backend

    inner = lookup_backend("aot_eager")

    def compile(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs[0] += 1
        return inner(graph, inputs)

    return compile


def _difference(
    cell: Cell[Any], one: Callable[..., Any], other: Callable[..., Any], x: Tensor, state: State
) -> float:
    """Return the gap of outputs, state and the weights' gradients of two forms of one function."""
    values = _values(cell, one, x, state)
    expected = _values(cell, other, x, state)
    return gaps(values, expected, "outputs, state and gradients")


def _values(cell: Cell[Any], run: Callable[..., Any], x: Tensor, state: State) -> list[Tensor]:
    """Return outputs, state and the weights' gradients, zeros where there is none."""
    cell.zero_grad()
    y, after = run(x, map_state(torch.clone, state))
    answers = [y, *after]
    means = [value.square().mean() for value in answers if value.is_floating_point()]
    total = torch.stack(means).sum()
    if total.requires_grad:
        torch.autograd.backward(total)

    gradients = []
    for weight in cell.parameters():
        zero = torch.zeros_like(weight)
        gradients.append(zero if weight.grad is None else weight.grad.clone())
    return [value.detach() for value in [*answers, *gradients]]


@check("C26", "it can be exported", "cell", level="full", each=False)
def exports(subject: CellSubject) -> Measured:
    """`torch.export` takes the step for any number of rows; saved and loaded, it gives the same
    within 1e-6.

    Exported with 3 rows and a symbol for their number, it is saved, loaded, and run with 1, 2 and
    7. An exported step runs without Python and without this package. A branch on the batch's size,
    or `int(x.shape[0])`, ties the program to one size. To mend it: let shapes follow from
    `x_t.shape[0]`, or declare `lacks = ("export",)`.
    """
    subject.needs("export")
    cell = subject.cell(dtype=SINGLE)
    x = subject.x(3, 1, dtype=SINGLE)[:, 0]
    state = subject.start(cell, 3, dtype=SINGLE)

    # The number of rows is a symbol: the program must hold for every one.
    rows = torch.export.Dim("rows", min=1, max=4096)
    by_rows = {0: rows}
    shapes = {"x_t": by_rows, "fields": tuple(by_rows for _ in state)}
    program = torch.export.export(Step(cell, state), (x, *state), dynamic_shapes=shapes)
    loaded = _saved_and_loaded(program)

    findings = []
    for batch in (1, 2, 7):
        x = subject.x(batch, 1, dtype=SINGLE, salt=2)[:, 0]
        state = subject.start(cell, batch, dtype=SINGLE)
        answers = loaded(x, *state)
        y, after = cell.step(x, state)
        values = [value.detach() for value in answers]
        expected = [value.detach() for value in (y, *after)]
        value = gaps(values, expected, "outputs and state")
        findings.append(Measured(value, COMPILED, f"with {batch} rows"))
    return worst(findings)


def _saved_and_loaded(program: torch.export.ExportedProgram) -> nn.Module:
    """Return what comes back of an exported program by way of a file."""
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    return torch.export.load(file).module()


class Step(nn.Module):
    """A cell's step as a function of plain tensors, for programs that know no cell's state."""

    def __init__(self, cell: Cell[Any], like: State) -> None:
        super().__init__()
        self.cell = cell
        self.like = like

    def forward(self, x_t: Tensor, *fields: Tensor) -> tuple[Tensor, ...]:
        """Return the output `[B, H]` and the fields of the state after the step."""
        y, state = self.cell.step(x_t, rebuild(self.like, list(fields)))
        return (y, *state)
