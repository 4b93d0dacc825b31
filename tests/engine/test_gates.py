"""What a step squashes is seen, with its numbers, and called as the code of the cell calls it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from recurra import Cell, CellOptions, GatedCell, GatedOptions, ScanCell, ScanState
from recurra.catalog import discover
from recurra.engine import eager
from recurra.engine.gates import WatchedCell, watched

STEPS = 9


def made(name: str, width: int, **options: Any) -> Cell[Any]:
    """Return a cell that comes with recurra, of random weights."""
    (entry,) = (e for e in discover().of_kind("cell") if e.component.name == name)
    torch.manual_seed(3)
    cell: Cell[Any] = entry.target(width, entry.options(hidden_size=5, **options))
    return cell.double().eval()


def inputs(width: int) -> Tensor:
    stream = torch.Generator().manual_seed(1)
    return torch.randn(1, STEPS, width, generator=stream, dtype=torch.float64)


def traced(cell: Cell[Any], x: Tensor) -> tuple[WatchedCell, Tensor]:
    """Return what was noted of a cell that reads `[1, T, D]`, and its outputs `[T, H]`."""
    with watched([cell]) as (watch,), torch.no_grad():
        y, _ = cell(x)
    return watch, y[0]


def close(one: Any, other: Any) -> bool:
    return np.allclose(np.asarray(one), np.asarray(other), rtol=0, atol=1e-12)


# against references


def test_the_gates_of_an_lstm_are_those_of_its_equations() -> None:
    """i, f, g, o and both states, by hand from the weights that torch's own module has."""
    cell = made("lstm", 3)
    theirs = nn.LSTM(3, 5, batch_first=True).double()
    weights = cell.maps()
    pairs = zip(theirs.parameters(), weights, strict=True)
    with torch.no_grad():
        for own, weight in pairs:
            own.copy_(weight)
        x = inputs(3)
        expected, _ = theirs(x)
    h = c = torch.zeros(5, dtype=torch.float64)
    by_hand: dict[str, list[Tensor]] = {name: [] for name in "ifgo"}
    cs = []
    w_x, w_h, b_x, b_h = theirs.parameters()
    for x_t in x[0]:
        i, f, g, o = (w_x @ x_t + b_x + w_h @ h + b_h).view(4, 5)
        i, f, g, o = torch.sigmoid(i), torch.sigmoid(f), torch.tanh(g), torch.sigmoid(o)
        c = f * c + i * g
        h = o * torch.tanh(c)
        cs.append(c)
        for name, gate in zip("ifgo", (i, f, g, o), strict=True):
            by_hand[name].append(gate)

    watch, y = traced(cell, x)
    gates, states = watch.gates(), watch.states()
    assert set(gates) == {"i", "f", "g", "o", "tanh(c)"}
    for name, values in by_hand.items():
        assert close(gates[name], torch.stack(values).detach())
    assert close(gates["tanh(c)"], torch.stack(cs).tanh().detach())
    assert close(states["c"], torch.stack(cs).detach()) and close(states["h"], expected[0])
    assert close(y, expected[0])
    assert watch.bounds == {"i": (0, 1), "f": (0, 1), "o": (0, 1), "g": (-1, 1), "tanh(c)": (-1, 1)}


def test_the_gates_of_a_gru_are_those_of_its_equations() -> None:
    """r, z and n, by hand from the weights that torch's own module has."""
    cell = made("gru", 4)
    theirs = nn.GRU(4, 5, batch_first=True).double()
    with torch.no_grad():
        for own, weight in zip(theirs.parameters(), cell.maps(), strict=True):
            own.copy_(weight)
        x = inputs(4)
        expected, _ = theirs(x)
        w_x, w_h, b_x, b_h = theirs.parameters()
        h = torch.zeros(5, dtype=torch.float64)
        by_hand = []
        for x_t in x[0]:
            of_x, of_h = (w_x @ x_t + b_x).view(3, 5), (w_h @ h + b_h).view(3, 5)
            r, z = torch.sigmoid(of_x[:2] + of_h[:2])
            n = torch.tanh(of_x[2] + r * of_h[2])
            h = (1 - z) * n + z * h
            by_hand.append((r, z, n))
    watch, _ = traced(cell, x)
    for own, values in zip(watch.gates().values(), zip(*by_hand, strict=True), strict=True):
        assert close(own, torch.stack(values))
    assert list(watch.gates()) == ["r", "z", "n"] and close(watch.states()["h"], expected[0])


@pytest.mark.parametrize("name", [e.component.name for e in discover().of_kind("cell")])
def test_to_be_watched_changes_nothing(name: str) -> None:
    """Outputs and states are those of the loop over `step`, and the cell is as it was."""
    cell = made(name, 3, **({"heads": 5} if name in ("slstm", "mlstm", "gated_delta") else {}))
    x = inputs(3)[:, :4]
    before = set(vars(cell)), cell.path
    with torch.no_grad():
        state = cell.initial_state(1, device=x.device, dtype=x.dtype)
        expected, last = eager.run(cell, x, state, None, None)
    watch, y = traced(cell, x)
    assert close(y, expected[0]) and (set(vars(cell)), cell.path) == before
    for (field, values), own in zip(watch.states().items(), last, strict=True):
        assert close(values[-1], own[0]) and field in type(last)._fields
    for gate, values in watch.gates().items():
        low, high = watch.bounds[gate]
        assert len(values) == 4 and (values >= low).all() and (values <= high).all()


# the names that authors give


class Open(NamedTuple):
    h: Tensor


class Own(Cell[CellOptions]):
    """A cell whose `rule` gives the next state from a share `[B, 2H]` and h."""

    rule: Callable[[Own, Tensor, Tensor], Tensor]

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size + self.hidden_size, 2 * self.hidden_size)
        self.squash = nn.Sigmoid()

    def initial_state(self, batch_size: int, *, device: Any, dtype: Any) -> Open:
        return Open(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: Open) -> tuple[Tensor, Open]:
        both = self.map(torch.cat([x_t, state.h], dim=-1))
        h = type(self).rule(self, both, state.h)
        return h, Open(h)


def both_at_once(self: Own, both: Tensor, h: Tensor) -> Tensor:
    keep, new = torch.sigmoid(both).chunk(2, dim=-1)
    return keep * h + new


def by_method(self: Own, both: Tensor, h: Tensor) -> Tensor:
    keep, new = both.chunk(2, dim=-1)
    return keep.sigmoid() * h + new.tanh()


def by_module(self: Own, both: Tensor, h: Tensor) -> Tensor:
    keep, new = both.chunk(2, dim=-1)
    return self.squash(keep) * h + functional.hardtanh(new)


def in_place(self: Own, both: Tensor, h: Tensor) -> Tensor:
    keep, new = both.chunk(2, dim=-1)
    kept = keep.clone().sigmoid_()
    fresh = torch.clamp(new, -1, 1)
    gates = {"kept": kept * 1, "fresh": fresh}
    kept.zero_()  # what was noted stays
    return gates["kept"] * h + fresh


def helped(self: Own, both: Tensor, h: Tensor) -> Tensor:
    def squashed(values: Tensor) -> Tensor:
        return torch.sigmoid(values)

    keep, new = (squashed(part) for part in both.chunk(2, dim=-1))
    return keep * h + torch.tanh(new + 1)


def weighed(self: Own, both: Tensor, h: Tensor) -> Tensor:
    keep, new = both.chunk(2, dim=-1)
    shares = functional.softmax(keep, dim=-1)
    decay = torch.exp(self.map.bias[:5])  # of weights alone: no gate
    return shares * h + torch.exp(-new.square()) * decay


RULES: dict[Callable[..., Tensor], list[str]] = {
    both_at_once: ["keep", "new"],
    by_method: ["keep", "new"],
    by_module: ["keep", "new"],
    in_place: ["kept", "fresh"],
    helped: ["keep", "new", "tanh(new + 1)"],
    weighed: ["shares", "exp(-new.square())"],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_a_gate_has_the_name_that_its_author_wrote(rule: Callable[..., Tensor]) -> None:
    """By whatever function, method or module of torch it is squashed, alone or with others."""
    kind = type("Ruled", (Own,), {"rule": rule})
    torch.manual_seed(0)
    cell = kind(3, CellOptions(hidden_size=5)).double()
    x = inputs(3)
    watch, y = traced(cell, x)
    gates = watch.gates()
    assert set(gates) == set(RULES[rule])
    h = torch.zeros(1, 5, dtype=torch.float64)
    with torch.no_grad():
        for t, x_t in enumerate(x.unbind(1)):
            keep, new = cell.map(torch.cat([x_t, h], -1)).chunk(2, -1)
            first = keep.softmax(-1) if rule is weighed else keep.sigmoid()
            assert close(gates[RULES[rule][0]][t], first[0])
            (h,) = cell.step(x_t, Open(h))[1]
    assert close(watch.states()["h"], y) and (sys.getprofile() is None)


class Whole(GatedCell[GatedOptions]):
    """All gates squashed at once, `[gates, B, H]`."""

    gates = 3
    State = Open

    def update(self, x: Tensor, h: Tensor, state: Open) -> Open:
        a, b, c = torch.sigmoid(x + h)
        return Open(a * state.h + b - c)


class Scanned(ScanCell[CellOptions]):
    """A scan, whose decay has no name of its own."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.map = nn.Linear(input_size, self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return torch.sigmoid(self.map(x) + 2), self.map(x)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        return h


def test_the_forms_of_a_cell_name_their_gates() -> None:
    """Those of a map of all gates by their parts; the a of a scan by the contract."""
    torch.manual_seed(0)
    gated = Whole(2, GatedOptions(hidden_size=4)).double()
    assert {name: values.shape for name, values in traced(gated, inputs(2))[0].gates().items()} == {
        name: (STEPS, 4) for name in "abc"
    }
    scanned = Scanned(2, CellOptions(hidden_size=4)).double()
    watch, _ = traced(scanned, inputs(2))
    with torch.no_grad():
        expected = torch.sigmoid(scanned.map(inputs(2)[0]) + 2)
    assert list(watch.gates()) == ["a"] and close(watch.gates()["a"], expected)
    assert list(watch.states()) == list(ScanState._fields)


def test_steps_may_differ_in_their_gates() -> None:
    """A gate that only some steps have is nan at the others."""

    def now_and_then(self: Own, both: Tensor, h: Tensor) -> Tensor:
        keep, new = both.chunk(2, dim=-1)
        if float(both[0, 0]) > 0:
            return torch.sigmoid(keep) * h + new
        return h + torch.tanh(new)

    torch.manual_seed(0)
    cell = type("Ruled", (Own,), {"rule": now_and_then})(3, CellOptions(hidden_size=5)).double()
    gates = traced(cell, inputs(3))[0].gates()
    keep, new = np.isnan(gates["keep"]).all(axis=1), np.isnan(gates["new"]).all(axis=1)
    assert 0 < keep.sum() < STEPS and (keep != new).all()


class Torch(Cell[CellOptions]):
    """torch's own cell, whose gates have no names that anybody wrote."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.cell = nn.LSTMCell(input_size, self.hidden_size)

    def initial_state(self, batch_size: int, *, device: Any, dtype: Any) -> Any:
        zeros = torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype)
        return (zeros, zeros.clone())

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, c = self.cell(x_t, tuple(state))
        return h, (h, c)


def test_gates_inside_of_torchs_own_cell_are_seen() -> None:
    """They stand in the order in which torch computes them, called by what squashes them."""
    torch.manual_seed(0)
    cell = Torch(3, CellOptions(hidden_size=5)).double()
    watch, _ = traced(cell, inputs(3))
    values = list(watch.gates().values())
    assert len(values) == 5 and list(watch.states()) == ["0", "1"]
    with torch.no_grad():
        share = cell.cell.weight_ih @ inputs(3)[0, 0] + cell.cell.bias_ih + cell.cell.bias_hh
        i, f, g, o = share.view(4, 5)
    for own, gate in zip(values, (i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()), strict=False):
        assert close(own[0], gate)


def test_an_error_in_a_step_leaves_the_cell_as_it_was() -> None:
    """Its own step, its path and Python's profiler are put back."""

    def failing(self: Own, both: Tensor, h: Tensor) -> Tensor:
        raise ZeroDivisionError

    cell = type("Ruled", (Own,), {"rule": failing})(3, CellOptions(hidden_size=5)).double()
    with pytest.raises(ZeroDivisionError):
        traced(cell, inputs(3))
    assert "step" not in vars(cell) and cell.path == "auto" and sys.getprofile() is None
