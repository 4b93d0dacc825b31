"""Cells that are right in what they give, and wrong as modules.

They are wrong in gradients, size, copies, compilers, or in use.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from liars import Liar
from liars.values import Honest, LeakyState, Windowed
from recurra import Cell, CellOptions, Component, ScanCell


class CutsItsGate(Honest):
    """C14: what the proposal reads of the state is detached."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t) + self.of_state(state.h.detach()))
        return h, LeakyState(h)


class Steeper(torch.autograd.Function):
    """tanh, and a backward with 1 - |y| for 1 - y * y."""

    @staticmethod
    def forward(ctx, v):
        y = torch.tanh(v)
        ctx.save_for_backward(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        (y,) = ctx.saved_tensors
        return grad * (1 - y.abs())


class WritesItsBackward(Honest):
    """C14: the backward of its tanh is written by hand, and lacks a square."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 0.7 * state.h + 0.3 * Steeper.apply(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


class SkipsSaturation(Windowed):
    """C15: the form over a window has no gradient where its tanh is nearly flat."""

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        self.flat = True
        try:
            return super().window(x, state, reset, live)
        finally:
            del self.flat

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        v = self.of_input(x_t) + self.of_state(state.h)
        if "flat" in vars(self):
            v = torch.where(v.abs() > 1.4, v.detach(), v)
        h = 0.7 * state.h + 0.3 * torch.tanh(v)
        return h, LeakyState(h)


class LearnsOnce(Honest):
    """C16: the slope of its tanh is a constant of the backward; gradients have no gradient."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        v = self.of_input(x_t) + self.of_state(state.h)
        y = torch.tanh(v).detach()
        h = 0.7 * state.h + 0.3 * (y + (v - v.detach()) * (1 - y * y))
        return h, LeakyState(h)


class AveragesLongWindows(ScanCell[CellOptions]):
    """C17: in windows of more than 350 steps one decay stands for all."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.gates = nn.Linear(input_size, 2 * self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, candidate = self.gates(x).chunk(2, dim=-1)
        keep = torch.sigmoid(2 + z)
        if x.shape[1] > 350:
            keep = keep.mean(1, keepdim=True).expand_as(keep)
        return keep, torch.sigmoid(-2 - z) * torch.tanh(candidate)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        return h


class HasALeftover(Honest):
    """C18: a bias that nothing reads."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.bias_hh = nn.Parameter(torch.zeros(self.hidden_size))


class HoldsATensor(Honest):
    """C18: a table is an attribute, and no buffer."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.table = {"powers": [torch.arange(self.hidden_size)]}


class DrawsItsMask(Honest):
    """C19: a mask is drawn at every step, and used in training alone."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x_t, state)
        mask = torch.bernoulli(torch.full_like(h, 0.9))
        h = h * mask if self.training else h
        return h, LeakyState(h)


class SeedsItself(Honest):
    """C19: it begins the same, whatever the run's seed, and so does all that is built after it."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        torch.manual_seed(0)
        super().__init__(input_size, options)


class GrowsATable(Windowed):
    """C20: a table of positions is a buffer that grows to the longest window that was seen."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.register_buffer("positions", torch.arange(4), persistent=False)

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        if x.shape[1] > len(self.positions):
            self.positions = torch.arange(x.shape[1], device=x.device)
        return super().window(x, state, reset, live)


class TiesItsMaps(Honest):
    """C21: two names of one tensor."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.recurrent = nn.Linear(self.hidden_size, self.hidden_size, bias=False)
        self.recurrent.weight = self.of_state.weight


class TurnsItsMap(Honest):
    """C21: a parameter is the transpose of what is in memory."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.of_state.weight = nn.Parameter(self.of_state.weight.detach().t())


class ForgetsItsMask(Honest):
    """C21: a random mask of the recurrent map is not saved."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.register_buffer(
            "mask", (torch.rand(self.hidden_size, self.hidden_size) > 0.5).float(), persistent=False
        )

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        recurrent = functional.linear(state.h, self.of_state.weight * self.mask)
        h = 0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t) + recurrent)
        return h, LeakyState(h)


class HoldsALambda(Honest):
    """C22: its nonlinearity is a lambda."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.squash = lambda v: torch.tanh(v)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 0.7 * state.h + 0.3 * self.squash(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


class BuildsOnTheCPU(Honest):
    """C23: the rates are built at each step, on the CPU."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        rate = torch.full((self.hidden_size,), 0.3, dtype=x_t.dtype)
        h = (1 - rate) * state.h + rate * torch.tanh(self.of_input(x_t) + self.of_state(state.h))
        return h, LeakyState(h)


class TakesAwayWhatItAdds(Honest):
    """C24: the output is shifted and shifted back, which costs bfloat16 all its digits."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = super().step(x_t, state)
        return (h + 100) - 100, after


class StaysInFloat32(Honest):
    """C24: it computes in float32 where its weights are bfloat16, and does not go back."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = super().step(x_t, state)
        return (h.float() if h.dtype == torch.bfloat16 else h), after


class BranchesOnItsState(Honest):
    """C25: asks whether the state is large, and waits for the answer."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = state.h.clamp(-10, 10) if state.h.abs().max() > 10 else state.h
        return super().step(x_t, LeakyState(h))


class Prints(Honest):
    """C25: prints at each step."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        print("step")
        return super().step(x_t, state)


class HasATwinForFew(Honest):
    """C26: a few rows are computed by another formula, which gives the same."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        if x_t.shape[0] < 4:
            h = 0.3 * torch.tanh(self.of_state(state.h) + self.of_input(x_t)) + 0.7 * state.h
            return h, LeakyState(h)
        return super().step(x_t, state)


class Swells(Honest):
    """C27: the state grows by a little less than a per cent at each step."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 1.009 * state.h + 0.3 * torch.tanh(self.of_input(x_t))
        return h, LeakyState(h)

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        del self.of_state


class ClaimsMuch(Honest):
    """C28: claims a long memory, and loses a third at each step."""


class ComparesAllPairs(Windowed):
    """C29: the form over a window sums over all pairs of steps."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        del self.of_state

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 0.7 * state.h + 0.3 * torch.tanh(self.of_input(x_t))
        return h, LeakyState(h)

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        if reset is not None or live is not None:
            return super().window(x, state, reset, live)
        t = torch.arange(x.shape[1], device=x.device)
        since = (t.unsqueeze(1) - t).view(1, len(t), len(t), 1)  # 1 t j 1
        written = 0.3 * torch.tanh(self.of_input(x)).unsqueeze(1)  # B 1 j H
        pairs = torch.where(since >= 0, written * 0.7 ** since.clamp(min=0).to(x.dtype), 0.0)
        y = pairs.sum(2) + 0.7 ** (1 + t).to(x.dtype).unsqueeze(-1) * state.h.unsqueeze(1)
        return y, LeakyState(y[:, -1])


class HasNoMemory(Honest):
    """C30: hardly anything of the state reaches the next one."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = torch.tanh(self.of_input(x_t) + 0.01 * self.of_state(state.h))
        return h, LeakyState(h)


class ShowsLittle(Honest):
    """C31: the output has two degrees of freedom, whatever its width."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.show = nn.Linear(self.hidden_size, 2)
        self.widen = nn.Linear(2, self.hidden_size)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = super().step(x_t, state)
        return self.widen(self.show(h)), after


class FadesWithEachEpoch(Honest):
    """C32: `train()` takes a little off a scale that training alone uses."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.scale = 1.0

    def train(self, mode: bool = True) -> Any:
        self.scale *= 0.99 if mode else 1.0
        return super().train(mode)

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, after = super().step(x_t, state)
        return (h * self.scale if self.training else h), after


class HurriesWithoutGradients(Honest):
    """C32: where no gradients are wanted, tanh is a quotient that is right to two digits."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        v = self.of_input(x_t) + self.of_state(state.h)
        y = torch.tanh(v) if torch.is_grad_enabled() else v * (27 + v * v) / (27 + 9 * v * v)
        h = 0.7 * state.h + 0.3 * y
        return h, LeakyState(h)


def liar(check: str, cell: type[Cell[CellOptions]], *others: str, **more: Any) -> Liar:
    """Return a cell of this module as a liar about a check."""
    name = "".join("_" + c.lower() if c.isupper() else c for c in cell.__name__).lstrip("_")
    summary = (cell.__doc__ or "").removeprefix(f"{check}: ")
    component = Component(
        "cell", name, f"liars.module:{cell.__name__}", "recurra:CellOptions", summary
    )
    return Liar(check, replace(component, **more), frozenset(others))


LIARS = [
    liar("C14", CutsItsGate, lacks=("double_backward",)),
    liar("C14", WritesItsBackward, lacks=("double_backward",)),
    liar("C15", SkipsSaturation, "C35", lacks=("double_backward",)),
    liar("C16", LearnsOnce),
    liar("C17", AveragesLongWindows),
    liar("C18", HasALeftover),
    liar("C18", HoldsATensor),
    liar("C19", DrawsItsMask, "P09"),
    liar("C19", SeedsItself, "P09"),
    liar("C20", GrowsATable),
    liar("C21", TiesItsMaps),
    liar("C21", TurnsItsMap),
    liar("C21", ForgetsItsMask),
    liar("C22", HoldsALambda),
    liar("C23", BuildsOnTheCPU),
    liar("C24", TakesAwayWhatItAdds, "C35"),
    liar("C24", StaysInFloat32),
    liar("C25", BranchesOnItsState, "C23", "C26"),
    liar("C25", Prints, "P09"),
    liar("C26", HasATwinForFew),
    liar("C27", Swells),
    liar("C28", ClaimsMuch, claims=("long_memory",)),
    liar("C29", ComparesAllPairs),
    liar("C30", HasNoMemory),
    liar("C31", ShowsLittle),
    liar("C32", FadesWithEachEpoch),
    liar("C32", HurriesWithoutGradients, "C02", "C14", "C35"),
]
