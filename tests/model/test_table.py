"""The first cell over a table of symbols gives what it gives step by step, with its gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recurra import Cell
from recurra.bench.tasks import built
from recurra.engine.choice import Choice
from recurra.model import table
from recurra.model.layers import Bidirectional
from recurra.model.network import Network

CELLS = {"lstm": True, "gru": True, "mingru": True, "sru": True, "qrnn": False, "rglru": False}
"""Of each whether its kernel may be given a table."""
SLOW = ("lstm", "sru", "qrnn")
"""Those that show what the others show."""


def network(kind: str, **changes: Any) -> Network:
    """Return a network of float64 on the path `fused`."""
    sizes = {"encoder.size": 5, "cell.hidden_size": 6, "cell.num_layers": 2}
    _, made = built(1 << 12, {"cell.kind": kind, **sizes, **changes})
    made.double()
    for cell in made.cells:
        cell.path = "fused"
    return made


def of(made: Network, x: Tensor, reset: Tensor | None, states: Any) -> list[Tensor]:
    """Return outputs, states and the gradients of all weights."""
    output, after = made(x, states, reset=reset)
    fields = [field for state in after for field in state]
    factors = torch.arange(output.numel(), dtype=output.dtype).view_as(output).sin()
    value = (output * factors).sum() + sum(field.square().sum() for field in fields)
    gradients = torch.autograd.grad(value, [*made.parameters()], materialize_grads=True)
    return [output, *fields, *gradients]


@pytest.fixture
def used(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each window was looked up."""
    seen: list[bool] = []
    real: Any = getattr(table, "run_of_table")  # noqa: B009

    def noted(*arguments: Any) -> Any:
        found = real(*arguments)
        seen.append(found is not None)
        return found

    monkeypatch.setattr(table, "run_of_table", noted)
    return seen


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind in SLOW)) for kind in CELLS]
)
def test_a_table_gives_what_steps_give(
    kind: str, used: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs, states and every gradient, from the start, from given states and with resets."""
    made = network(kind)
    generator = torch.Generator().manual_seed(7)
    x = torch.randint(made.encoder.size, (6, 30), generator=generator)
    reset = torch.rand(6, 30, generator=generator) < 0.1
    with torch.no_grad():
        _, carried = made(x)
    cases = [(None, None), (reset, None), (reset, carried)]

    found = [of(made, x, *case) for case in cases]
    assert used == [CELLS[kind]] * 3
    monkeypatch.setattr(table, "WORTH", 1 << 40)
    for case, have in zip(cases, found, strict=True):
        for one, other in zip(have, of(made, x, *case), strict=True):
            torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


def test_gradients_of_gradients_go_through_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    made = network("gru")
    x = torch.arange(128).remainder(made.encoder.size).view(2, 64)
    weights = [*made.parameters()]
    found = []
    for worth in (0, 1 << 40):
        monkeypatch.setattr(table, "WORTH", worth)
        loss = made(x)[0].square().mean()
        first = torch.autograd.grad(loss, weights, create_graph=True)
        squares = torch.stack([(g * g).sum() for g in first]).sum()
        found.append(torch.autograd.grad(squares, weights))
    for have, want in zip(*found, strict=True):
        torch.testing.assert_close(have, want, atol=1e-10, rtol=1e-9)


def test_only_a_training_window_of_many_steps_is_looked_up(used: list[bool]) -> None:
    """Of few steps each is encoded by itself, and where there are no gradients."""
    made = network("gru")
    many = torch.zeros(2, made.encoder.size, dtype=torch.long)
    made(many[:, : made.encoder.size // 2])
    with torch.no_grad():
        made(many)
    assert not used
    made(many)
    assert used == [True]


def test_whatever_would_be_passed_over_is_called(used: list[bool]) -> None:
    """A hook on encoder or cell, a `forward` of a subclass of either, another path."""
    made = network("gru")
    x = torch.zeros(2, made.encoder.size, dtype=torch.long)
    calls: list[str] = []
    cell = made.cells[0]
    for module in (made.encoder, cell):
        handle = module.register_forward_hook(lambda *_: calls.append("hook"))
        made(x)
        handle.remove()
    assert calls == ["hook", "hook"]

    for module in (made.encoder, cell):
        kind: Any = type(module)

        def forward(self: nn.Module, *given: Any, kind: Any = kind, **named: Any) -> Any:
            calls.append("forward")
            return kind.forward(self, *given, **named)

        module.__class__ = type("Other", (kind,), {"forward": forward})
        made(x)
        module.__class__ = kind
    assert calls[2:] == ["forward", "forward"]

    cell.path = "eager"
    made(x)
    assert not used
    cell.path = "fused"
    made(x)
    assert used == [True]
    assert isinstance(cell, Cell)


def test_a_hook_within_an_encoder_is_called(used: list[bool]) -> None:
    """One that makes vectors anew, or only sees them; and a `forward` of the object itself."""
    made = network("gru")
    x = torch.zeros(2, made.encoder.size, dtype=torch.long)
    calls: list[str] = []

    def noted(*_: Any) -> None:
        calls.append("hook")

    inner: Any = made.encoder.table
    for register in (inner.register_forward_pre_hook, inner.register_forward_hook):
        handle = register(noted)
        made(x)
        handle.remove()
    handle = nn.modules.module.register_module_full_backward_hook(noted)
    made(x)
    handle.remove()
    assert calls == ["hook", "hook"] and not used

    for module in (made.encoder, made.cells[0]):
        module.forward = module.forward
        made(x)
        del module.forward
    assert not used


def test_what_a_table_gives_is_dropped_as_what_steps_give(
    monkeypatch: pytest.MonkeyPatch, used: list[bool]
) -> None:
    made = network("gru", **{"cell.dropout": 0.5})
    made.noise = None  # so that it is drawn from torch's own stream
    x = torch.arange(2 * made.encoder.size).remainder(made.encoder.size).view(1, -1)
    found = []
    for worth in (0, 1 << 40):
        monkeypatch.setattr(table, "WORTH", worth)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            found.append(made(x)[0])
    torch.testing.assert_close(*found)
    assert used == [True]


def test_narrow_products_and_ids_of_other_axes_are_left_to_the_encoder(used: list[bool]) -> None:
    made = network("gru").float()
    x = torch.zeros(2, made.encoder.size, dtype=torch.long)
    made.narrow = True
    made(x)
    states = made.initial_states(2)
    assert table.looked_up(made.encoder, made.cells[0], x.unsqueeze(2), states[1], None) is None
    assert not used


def test_transforms_of_functions_go_step_by_step() -> None:
    """`torch.func` sees every operation, and finds the gradients that torch does."""
    made = network("gru", **{"cell.num_layers": 1})
    x = torch.arange(2 * made.encoder.size).remainder(made.encoder.size).view(1, -1)
    named = dict(made.named_parameters())

    def value(weights: Any) -> Tensor:
        return torch.func.functional_call(made, weights, (x,))[0].square().sum()

    found = torch.func.grad(value)({name: weight.detach() for name, weight in named.items()})
    wanted = torch.autograd.grad(value(named), [*named.values()])
    for name, want in zip(named, wanted, strict=True):
        torch.testing.assert_close(found[name], want)


@pytest.mark.parametrize("symbol", [-1, 5])
def test_a_symbol_beyond_the_table_is_refused(symbol: int, used: list[bool]) -> None:
    made = network("gru")
    x = torch.zeros(2, made.encoder.size, dtype=torch.long)
    x[1, 1] = symbol if symbol < 0 else made.encoder.size
    with pytest.raises(IndexError):
        made(x)
    assert not used


@pytest.mark.parametrize("shape", [(2, 40), (1, 80), (2, 160), (3, 80), (0, 0)])
def test_a_reset_of_another_shape_is_refused(shape: tuple[int, int]) -> None:
    """A kernel would read beyond a smaller one without a word."""
    made = network("gru", **{"cell.num_layers": 1})
    with pytest.raises(ValueError, match="reset must be"):
        made(torch.zeros(2, 80, dtype=torch.long), reset=torch.zeros(shape, dtype=torch.bool))


@pytest.mark.parametrize("batch", [1, 3])
def test_a_state_of_other_rows_is_refused(batch: int) -> None:
    made = network("gru", **{"cell.num_layers": 1})
    x = torch.zeros(2, 2 * made.encoder.size, dtype=torch.long)
    with pytest.raises(ValueError, match="axis B of state"):
        made(x, made.initial_states(batch))


def test_a_state_stays_where_a_row_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first layer reads ahead, another both ways: the padding of a row moves no state."""
    lower, upper = network("gru"), network("gru", **{"encoder.size": 6})
    ahead, back = upper.cells
    layers = [lower.cells[0], Bidirectional(ahead, back)]
    made = Network(lower.encoder, layers, lower.loss).double()
    x = torch.arange(4 * 40).remainder(made.encoder.size).view(4, 40)
    lengths = torch.tensor([40, 10, 3, 25])

    found = []
    for worth in (0, 1 << 40):
        monkeypatch.setattr(table, "WORTH", worth)
        found.append(made(x, lengths=lengths))
    for one, other in zip(found[0][1], found[1][1], strict=True):
        for have, want in zip(one, other, strict=True):
            torch.testing.assert_close(have, want)
    torch.testing.assert_close(found[0][0], found[1][0])


def test_the_kernel_stands_in_for_torchs_where_a_table_makes_it_the_faster() -> None:
    """It may be slower by what a table saves, and there has to be one that is worth it."""
    made = network("lstm")
    encoder, cell = made.encoder, made.cells[0]
    bound = 1 / (1 - table.SAVED * 5 / 11 * (1 - encoder.size / 1000))

    def path(seconds: float, steps: int = 1000, first: str = "native", of: Any = encoder) -> str:
        choice = Choice(first, seconds={first: 1.0, "fused": seconds})
        return table.preferred(of, cell, choice, 1, steps).path

    assert path(bound - 0.01) == "fused"
    assert path(bound + 0.01) == "native"
    assert path(bound - 0.01, steps=3 * encoder.size) == "native"  # which saves less
    assert path(1.0, steps=2 * encoder.size - 1) == "native"
    assert path(1.0, steps=2 * encoder.size) == "fused"
    assert path(1.0, first="scan") == "scan"
    other = built(1 << 12, {"encoder": {"kind": "one_hot"}})[1].encoder
    assert path(1.0, of=other) == "native"
    kind: Any = type(encoder)
    encoder.__class__ = type("Other", (kind,), {"forward": kind.forward})
    assert path(1.0) == "native"
    encoder.__class__ = kind
    choice = Choice("native", seconds={"native": 1.0, "fused": 1.0}, note="so")
    assert table.preferred(encoder, cell, choice, 1, 1000).note == f"so; {table.BY_TABLE}"
    assert table.preferred(encoder, cell, Choice("native"), 1, 1000).path == "native"
