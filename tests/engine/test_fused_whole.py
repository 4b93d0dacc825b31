"""A window of a kernel is one operation of torch, with the gradients of what is before its loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kernels import One, equals_steps, sized, window
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from recurra import Cell, CellOptions
from recurra.engine import eager, fused
from recurra.engine.fused.before import added_up
from recurra.engine.fused.record import Trace
from recurra.engine.fused.subgraph import needed, subgraph
from recurra.engine.onlooker import Onlooker
from recurra_cells.scan_options import SRUOptions
from recurra_cells.sru import SRU


class Read(Cell[CellOptions]):
    """A cell that reads, of its input, what `of` makes of it."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.first = nn.Linear(input_size, self.hidden_size)
        self.second = nn.Linear(self.hidden_size, self.hidden_size)
        self.scale = nn.Parameter(torch.rand(input_size))

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> One:
        return One(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def of(self, x: Tensor) -> Tensor:
        return self.first(x)

    def step(self, x_t: Tensor, state: One) -> tuple[Tensor, One]:
        h = torch.tanh(self.of(x_t) + self.second(state.h))
        return h, One(h)


class Deep(Read):
    def of(self, x: Tensor) -> Tensor:
        return self.second(torch.sigmoid(self.first(x)))


class Scaled(Read):
    def of(self, x: Tensor) -> Tensor:
        return self.first(torch.tanh(x * torch.exp(self.scale)))


class Detached(Read):
    def of(self, x: Tensor) -> Tensor:
        return self.first(x.detach()) + x @ self.first.weight.t() + self.second(self.first.bias)


class Several(Read):
    """The input is read by three products, one of them twice over, and as it is."""

    def of(self, x: Tensor) -> Tensor:
        square = self.second.weight[: x.shape[1], : x.shape[1]]
        there = x @ square
        y = self.first(x) + there.sum(1, keepdim=True)
        return y + self.first(x * self.scale) + there.mean(1, keepdim=True)


def joint(cell: Any) -> Any:
    return fused.KERNELS.bound(cell, torch.float64).compiled.before.joint


@pytest.mark.parametrize("kind", [Scaled, Detached, Several])
def test_what_is_before_the_loop_has_the_gradients_of_the_steps(kind):
    cell = sized(kind, CellOptions())
    assert joint(cell) is not None
    x, state = window(cell)
    reset = torch.zeros(3, 5, dtype=torch.bool)
    reset[1, 2] = True
    equals_steps(cell, x, state, reset=reset, lengths=torch.tensor([5, 3, 0]))


class Seen(TorchDispatchMode):
    """Counts the operations of torch."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


def test_who_looks_on_is_not_kept_from_torchs_compiler():
    """Torch would put round it what imports the compiler."""

    class Plain(Onlooker):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            return func(*args, **(kwargs or {}))

    class Wrapped(TorchDispatchMode):
        __torch_dispatch__ = Plain.__torch_dispatch__

    wrapped = hasattr(Wrapped.__torch_dispatch__, "__wrapped__")
    assert wrapped and not hasattr(Plain.__torch_dispatch__, "__wrapped__")


def test_gradients_of_an_input_that_several_products_read_are_added_up_in_place():
    """SRU's are three, and the input goes past them too: only the first sum is a new tensor."""
    cell = sized(SRU, SRUOptions(), inputs=6)
    x, state = window(cell)
    y, _ = fused.run(cell, x, state, None, None)
    with Seen() as seen:
        torch.autograd.grad(y.sum(), [x, *cell.parameters()])
    assert seen.counts["add"] == 0
    assert seen.counts["addmm"] == 1 and seen.counts["addmm_"] == 2
    assert seen.counts["mm"] == 3
    equals_steps(cell, x, state)


BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": torch.mm,
    "sum": torch.add,
    "twice as much": lambda a, b: torch.add(a, b, alpha=2),
    "as much": torch.mul,
    "turned": lambda a, b: a + b.t(),
    "a row's product": lambda a, b: a + b[:1] @ a,
    "a narrow product": lambda a, b: a + a.float() @ b.float(),
    "rows": lambda a, b: a + b.sum(0, keepdim=True).view(4),
    "columns": lambda a, b: a + b.sum(1, keepdim=True).view(4),
    "all": lambda a, b: a + b.sum((0, 1), keepdim=True).view(1),
}
"""What may be made of two matrices `[4, 4]`."""


PRODUCTS = "product", 0, 1


@example(steps=[PRODUCTS, ("twice as much", 0, 1)], asked=[0])  # a product, and twice another
@example(steps=[PRODUCTS, ("product", 1, 2), ("sum", 1, 0)], asked=[0, 2])  # one is read later
@example(steps=[PRODUCTS, ("sum", 1, 0)], asked=[0, 1])  # the product is read later
@given(
    steps=st.lists(
        st.tuples(st.sampled_from([*BINARY]), st.integers(0, 9), st.integers(0, 9)),
        min_size=1,
        max_size=7,
    ),
    asked=st.lists(st.integers(0, 9), min_size=1, max_size=3),
)
@settings(deadline=None)
def test_what_is_added_up_is_what_was_added(
    steps: list[tuple[str, int, int]], asked: list[int]
) -> None:
    """Any program of products and sums gives the same, no input is changed by it, and no product
    is made twice.
    """
    trace = Trace(13, {})
    generator = torch.Generator().manual_seed(3)
    given_ = [torch.rand(4, 4, generator=generator, dtype=torch.float64) / 4 for _ in range(3)]
    inputs = [trace.input(each) for each in given_]
    made = [*given_]
    with trace:
        for name, one, other in steps:
            made.append(BINARY[name](made[-1 - one % len(made)], made[-1 - other % len(made)]))

    program = trace.program
    outputs = [trace.number(made[-1 - place % len(made)]) for place in asked]
    nodes = needed(program.nodes, outputs)
    plain = subgraph(program, nodes, inputs, outputs)
    added = added_up(program, nodes, outputs)
    joined = subgraph(program, added, inputs, outputs)
    assert sum("mm" in str(node.func) for node in added) <= sum(
        "mm" in str(node.func) for node in nodes
    )
    kept = [each.clone() for each in given_]
    for have, want in zip(joined(13, *given_), plain(13, *kept), strict=True):
        torch.testing.assert_close(have, want)
    assert all(map(torch.equal, given_, kept))


def test_a_gradient_that_nobody_asks_for_is_not_made():
    """Where the input has none there is a product less."""
    cell = sized(Read, CellOptions())
    x, state = window(cell)
    products = []
    for asks in (True, False):
        y, _ = fused.run(cell, x.detach().requires_grad_(asks), state, None, None)
        with Seen() as seen:
            y.sum().backward()
        products.append(seen.counts["mm"] + seen.counts["addmm"])
    assert products[0] == products[1] + 1


def test_narrow_types_go_another_way():
    """A kernel is of float32 or float64, and is given no tensor of another type."""
    cell = sized(Scaled, CellOptions()).bfloat16()
    x, state = window(cell, dtype=torch.bfloat16)
    y, final = fused.run(cell, x, state, None, None)
    wanted, _ = eager.run(cell, x, state, None, None)
    assert y.dtype is torch.bfloat16 and final[0].dtype is torch.bfloat16
    torch.testing.assert_close(y, wanted, atol=0.05, rtol=0.05)
    (gradient,) = torch.autograd.grad(y.sum(), [x])
    assert gradient.dtype is torch.bfloat16 and bool(gradient.isfinite().all())


def test_a_window_is_one_node_of_the_graph():
    """Each leaf is read by it at once; other nodes would cost more than a short loop."""
    cell = sized(Scaled, CellOptions())
    y, final = fused.run(cell, *window(cell), None, None)
    (node,) = {value.grad_fn for value in (y, *final)}
    assert node is not None
    below = {type(other).__name__ for other, _ in node.next_functions if other is not None}
    assert below == {"AccumulateGrad"}


def test_products_that_would_be_made_again_are_left_to_torch():
    """The gradients of a map of a map read what the first gave; and are those of the steps."""
    cell = sized(Deep, CellOptions())
    assert joint(cell) is None
    equals_steps(cell, *window(cell))
    assert joint(sized(Scaled, CellOptions())) is not None


def test_every_part_of_the_gradients_is_that_of_the_whole():
    """Whichever of input, weights and start ask for one, and nothing else is given any."""
    cell = sized(Scaled, CellOptions())
    x, state = window(cell, batch=2, steps=3)
    every = [x, *state, *cell.parameters()]
    y, final = fused.run(cell, x, state, None, None)
    whole = torch.autograd.grad((y * final[0].unsqueeze(1)).sum(), every)

    for mask in product([True, False], repeat=len(every)):
        for leaf, asks in zip(every, mask, strict=True):
            leaf.requires_grad_(asks)
        y, final = fused.run(cell, x, state, None, None)
        asking = [leaf for leaf, asks in zip(every, mask, strict=True) if asks]
        if not asking:
            assert not y.requires_grad
            continue
        found = iter(torch.autograd.grad((y * final[0].unsqueeze(1)).sum(), asking))
        for gradient, asks in zip(whole, mask, strict=True):
            assert not asks or torch.equal(next(found), gradient)


def test_gradients_of_gradients_go_through_what_is_before_the_loop():
    cell = sized(Scaled, CellOptions())
    x, state = window(cell, batch=2, steps=3)
    wanted = [x, *state, *cell.parameters()]
    found = []
    for runner in (fused.run, eager.run):
        y, _ = runner(cell, x, state, None, None)
        first = torch.autograd.grad((y * y * y).sum(), wanted, create_graph=True)
        found.append(torch.autograd.grad(sum((g * g).sum() for g in first), wanted))
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, atol=1e-10, rtol=1e-10)


def test_under_autocast_torch_makes_the_products():
    """In bfloat16, forward and back, as it makes those of its own operations."""
    cell = sized(Scaled, CellOptions()).float()
    x, state = window(cell, dtype=torch.float32)
    plain, _ = fused.run(cell, x, state, None, None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = fused.run(cell, x, state, None, None)
    assert y.grad_fn is not None and type(y.grad_fn).__name__ != "_WindowBackward"
    assert type(plain.grad_fn).__name__ == "_WindowBackward"
    assert 0 < (plain - y).abs().max() < 0.1
