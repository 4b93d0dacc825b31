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
"""Bound in float32 of what a compiler makes of a step: the same operations, in another order at
most.
"""
GRAPHS = 3
"""How often a step may be compiled for batches of any size: once as it is, and again at most
twice.
"""
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
    graphs, found = [0], []
    with _fresh_compiler():
        step = torch.compile(cell.step, fullgraph=True, backend=_counting(graphs))
        for batch in BATCHES:
            x = subject.x(batch, 1, dtype=SINGLE)[:, 0]
            state = subject.start(cell, batch, dtype=SINGLE)
            found.append(
                Measured(
                    _difference(cell, step, cell.step, x, state),
                    COMPILED,
                    "a step against its graph",
                )
            )
        count = Measured(
            float(graphs[0]), GRAPHS, f"graphs of the step for batches of {BATCHES} rows"
        )
    with _fresh_compiler():
        window = torch.compile(cell.forward, fullgraph=True, backend=_counting(graphs))
        x = subject.x(3, 4, dtype=SINGLE)
        state = subject.start(cell, 3, dtype=SINGLE)
        found.append(
            Measured(
                _difference(cell, window, cell, x, state), COMPILED, "4 steps against their graph"
            )
        )
    farthest = worst([*found, count])
    return farthest if not farthest.passed else worst(found)


@contextmanager
def _fresh_compiler() -> Iterator[None]:
    """Begin and end with nothing compiled."""
    torch.compiler.reset()
    try:
        yield
    finally:
        torch.compiler.reset()


def _counting(graphs: list[int]) -> Callable[..., Any]:
    """Return a backend that counts what it is given; the graph is differentiated ahead of time and
    run as it is.
    """
    from torch._dynamo.backends.registry import lookup_backend  # here, for it is slow to import

    inner = lookup_backend("aot_eager")

    def compile(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        graphs[0] += 1
        return inner(graph, inputs)

    return compile


def _difference(
    cell: Cell[Any], one: Callable[..., Any], other: Callable[..., Any], x: Tensor, state: State
) -> float:
    """Return the gap of outputs, state and the weights' gradients of two forms of one function."""
    found, wanted = _values(cell, one, x, state), _values(cell, other, x, state)
    return gaps(found, wanted, "outputs, state and gradients")


def _values(cell: Cell[Any], run: Callable[..., Any], x: Tensor, state: State) -> list[Tensor]:
    cell.zero_grad()
    y, after = run(x, map_state(torch.clone, state))
    total = torch.stack(
        [value.square().mean() for value in (y, *after) if value.is_floating_point()]
    ).sum()
    if total.requires_grad:
        torch.autograd.backward(total)
    grads = [torch.zeros_like(w) if w.grad is None else w.grad.clone() for w in cell.parameters()]
    return [value.detach() for value in (y, *after, *grads)]


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
    rows = torch.export.Dim("rows", min=1, max=4096)
    x, state = subject.x(3, 1, dtype=SINGLE)[:, 0], subject.start(cell, 3, dtype=SINGLE)
    shapes = {"x_t": {0: rows}, "fields": tuple({0: rows} for _ in state)}
    program = torch.export.export(Step(cell, state), (x, *state), dynamic_shapes=shapes)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    loaded = torch.export.load(file).module()
    found = []
    for batch in (1, 2, 7):
        x, state = (
            subject.x(batch, 1, dtype=SINGLE, salt=2)[:, 0],
            subject.start(cell, batch, dtype=SINGLE),
        )
        y, *after = loaded(x, *state)
        wanted, last = cell.step(x, state)
        value = gaps(
            [y.detach() for y in (y, *after)],
            [y.detach() for y in (wanted, *last)],
            "outputs and state",
        )
        found.append(Measured(value, COMPILED, f"with {batch} rows"))
    return worst(found)


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
