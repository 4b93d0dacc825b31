"""Cells that compute the wrong thing, or the right one in the wrong place.

Each breaks one law.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from liars import Liar
from recurra import Cell, CellOptions, Component
from recurra.engine.recurrence import detach, select

TAIL = 3


class LeakyState(NamedTuple):
    """h: the state, [B, H]."""

    h: Tensor


class Honest(Cell[CellOptions]):
    """h_t = 0.7 h_{t-1} + 0.3 tanh(W x_t + U h_{t-1} + b), from zeros; the output is h_t."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.of_input = nn.Linear(input_size, self.hidden_size)
        self.of_state = nn.Linear(self.hidden_size, self.hidden_size, bias=False)

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        return LeakyState(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h = 0.7 * state[0] + 0.3 * torch.tanh(self.of_input(x_t) + self.of_state(state[0]))
        return h, LeakyState(h)


class Windowed(Honest):
    """The same, with a form over a window of its own, which is the loop."""

    def chunkwise(self) -> Any:
        return self.window

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        outputs = []
        for t in range(x.shape[1]):
            if reset is not None:
                state = self.begun(state, x, reset[:, t], t)
            y, stepped = self.step(x[:, t], state)
            state = stepped if live is None else select(live[:, t], stepped, state)
            outputs.append(y)
        return torch.stack(outputs, dim=1), state

    def begun(self, state: Any, x: Tensor, rows: Tensor, t: int) -> Any:
        return select(rows, self.initial_state(x.shape[0], device=x.device, dtype=x.dtype), state)


class ForgetsTheNames(Honest):
    """C01: the state after a step is a plain tuple."""

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x_t, state)
        return h, (h,)


class StacksNothing(Honest):
    """C01: a window of no steps is an error, as an empty `torch.stack` is."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if not x.shape[1]:
            return torch.stack([]), state
        return super().forward(x, state, reset=reset, lengths=lengths)


class CountedState(NamedTuple):
    """h: [B, H]; steps: [B], a number of steps."""

    h: Tensor
    steps: Tensor


class CountsInFloats(Honest):
    """C01: an integer of the state is a real number after the first step."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        (h,) = super().initial_state(batch_size, device=device, dtype=dtype)
        return CountedState(h, torch.zeros(batch_size, device=device, dtype=torch.int32))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x_t, state)
        return h, CountedState(h, state.steps + torch.ones_like(x_t[:, 0]))


class ApproximatesItsWindow(Honest):
    """C02: in float32 the window shows a polynomial of the state.

    It is right to three digits.
    """

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        return (y - 1e-3 * y**3 if y.dtype == torch.float32 else y), after


class ForgetsLongWindows(Windowed):
    """C02: the form works in chunks of 128 steps, and each but the first begins from zeros."""

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        if x.shape[1] <= 128:
            return super().window(x, state, reset, live)
        early, _ = super().window(x[:, :128], state, None, None)
        late, after = super().window(x[:, 128:], LeakyState(torch.zeros_like(state.h)), None, None)
        return torch.cat([early, late], dim=1), after


class TailState(NamedTuple):
    """h: [B, H]; tail: [B, 3, D], the last inputs."""

    h: Tensor
    tail: Tensor


class ForgetsItsTail(Windowed):
    """C03: a convolution over four steps forgets its tail before a short window.

    It takes a window that is shorter than its tail for the start of a sequence.
    """

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.kernel = nn.Parameter(torch.tensor([0.2, -0.3, 0.5]))

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        (h,) = super().initial_state(batch_size, device=device, dtype=dtype)
        return TailState(
            h, torch.zeros(batch_size, TAIL, self.input_size, device=device, dtype=dtype)
        )

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x_t + (self.kernel.unsqueeze(-1) * state.tail).sum(1), state)
        return h, TailState(h, torch.cat([state.tail[:, 1:], x_t.unsqueeze(1)], dim=1))

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        y, after = super().window(x, state, reset, live)
        if x.shape[1] < TAIL:
            after = TailState(
                after.h, torch.cat([torch.zeros_like(after.tail), x], dim=1)[:, -TAIL:]
            )
        return y, after


class ConvolvesByFourier(Windowed):
    """C04: a Fourier transform of the whole window, which is causal but for rounding.

    h_t = 0.7 h_{t-1} + 0.3 tanh(W x_t + b)
    """

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
        steps = x.shape[1]
        decay = 0.7 ** torch.arange(steps, dtype=x.dtype, device=x.device).unsqueeze(-1)  # T 1
        written = torch.fft.rfft(0.3 * torch.tanh(self.of_input(x)), n=2 * steps, dim=1)
        y = torch.fft.irfft(
            written * torch.fft.rfft(decay, n=2 * steps, dim=0), n=2 * steps, dim=1
        )[:, :steps]
        y = y + 0.7 * decay * state.h.unsqueeze(1)
        return y, LeakyState(y[:, -1])


class ScalesByTheBatch(Honest):
    """C05: inputs are brought to a common scale and back, so that nothing overflows.

    All rows have one scale.
    """

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        scale = x_t.detach().abs().max().clamp(min=1.0)
        return super().step(x_t / scale * scale, state)


class SharesPrefixes(Honest):
    """C06: rows with the same state are taken for the same beam.

    The first one's input is taken for that of all.
    """

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        same = (state.h.unsqueeze(1) == state.h.unsqueeze(0)).all(-1) & state.h.any(
            -1, keepdim=True
        )
        same = same | torch.eye(x_t.shape[0], dtype=torch.bool, device=x_t.device)
        return super().step(x_t[same.int().argmax(1)], state)


class DecaysInPadding(Windowed):
    """C07: the form pads with zeros, and steps on."""

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        return super().window(x, state, reset, None)


class PoisonedGradients(Honest):
    """C07: padding is taken out after the step, where its gradient is 0 times NaN."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if lengths is None:
            return super().forward(x, state, reset=reset)
        fresh = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)
        state, outputs = state or fresh, []
        for t in range(x.shape[1]):
            live = t < lengths
            if reset is not None:
                state = select(reset[:, t] & live, fresh, state)
            y, stepped = self.step(x[:, t], state)
            outputs.append(torch.where(live.unsqueeze(-1), y, 0.0))
            state = select(live, stepped, state)
        return torch.stack(outputs, dim=1), state


class CountsFromTheReset(Windowed):
    """C08: the final state is taken too early, where a sequence begins inside the window.

    It is taken so many steps after the start of the window as the sequence has after its reset.
    """

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        if reset is None or live is None:
            return super().window(x, state, reset, live)
        y, _ = super().window(x, state, reset, None)
        begun = (reset.cumsum(1) > 0) | ~reset.any(1, keepdim=True)
        count = (live & begun).sum(1)
        states = torch.cat([state.h.unsqueeze(1), y], dim=1)  # B T+1 H
        return y, LeakyState(states[torch.arange(len(x)), count])


class FadesAtResets(Windowed):
    """C09: a reset is a decay of exp(-30): small, and not nothing."""

    def begun(self, state: Any, x: Tensor, rows: Tensor, t: int) -> Any:
        return select(rows, LeakyState(math.exp(-30) * state.h), state)


class ResetsOnce(Windowed):
    """C09: a row has one reset in a window; of more than one, the first counts."""

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        return super().window(
            x, state, None if reset is None else reset & (reset.cumsum(1) == 1), live
        )


class Learned(Windowed):
    """The same, from a state that is learned: tanh of the bias."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        return LeakyState(
            torch.tanh(self.of_input.bias).to(device=device, dtype=dtype).expand(batch_size, -1)
        )


class ResetsToZeros(Learned):
    """C09: a reset gives zeros, though the cell learns where it starts."""

    def begun(self, state: Any, x: Tensor, rows: Tensor, t: int) -> Any:
        return select(rows, LeakyState(torch.zeros_like(state.h)), state)


class FlaggedState(NamedTuple):
    """h: [B, H]; warm: [B], whether there was a step."""

    h: Tensor
    warm: Tensor


class FlagsInPlace(Honest):
    """C10: that there was a step is noted in the state that was given."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        (h,) = super().initial_state(batch_size, device=device, dtype=dtype)
        return FlaggedState(h, torch.zeros(batch_size, device=device, dtype=torch.bool))

    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        h, _ = super().step(x_t, state)
        return h, FlaggedState(h, state.warm.fill_(True))


class CountsItsCalls(Honest):
    """C10: the module counts its windows."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.calls = 0

    def forward(self, x, state=None, *, reset=None, lengths=None):
        self.calls += 1
        return super().forward(x, state, reset=reset, lengths=lengths)


class AveragesItsInputs(Honest):
    """C10: a buffer follows the mean of the inputs, for nobody."""

    def __init__(self, input_size: int, options: CellOptions) -> None:
        super().__init__(input_size, options)
        self.register_buffer("mean", torch.zeros(input_size))

    def forward(self, x, state=None, *, reset=None, lengths=None):
        if x.shape[1]:
            self.mean.lerp_(x.detach().mean((0, 1)).nan_to_num().to(self.mean), 0.1)
        return super().forward(x, state, reset=reset, lengths=lengths)


class ReadsRawMemory(Honest):
    """C11: it takes for granted that its input is contiguous."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        batch, steps, width = x.shape
        raw = x.as_strided((batch, steps, width), (steps * width, width, 1))
        return super().forward(raw, state, reset=reset, lengths=lengths)


class ViewsItsState(Windowed):
    """C11: the form asks for a state that is contiguous."""

    def window(
        self, x: Tensor, state: Any, reset: Tensor | None, live: Tensor | None
    ) -> tuple[Tensor, Any]:
        return super().window(x, LeakyState(state.h.view(-1).view(state.h.shape)), reset, live)


class RepackagesItsState(Honest):
    """C12: a state that its own step made is detached, so that no backward runs twice."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        made_by = getattr(state and state.h.grad_fn, "name", str)()
        if made_by == "AddBackward0":
            state = detach(state)
        return super().forward(x, state, reset=reset, lengths=lengths)


class DetachesItsStart(Learned):
    """C13: the initial state is made of a weight, and cut from it."""

    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        return detach(super().initial_state(batch_size, device=device, dtype=dtype))


class BeginsWithZeros(Learned):
    """C13: without a state it starts from zeros, and not from its initial state."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        state = LeakyState(x.new_zeros(x.shape[0], self.hidden_size)) if state is None else state
        return super().forward(x, state, reset=reset, lengths=lengths)


class TeachesMoreInFloat32(Honest):
    """C35: in float32 the gradients of a window are a hundredth too large."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        return (y + 1e-2 * (y - y.detach()) if y.dtype == torch.float32 else y), after


class CleansItsWindow(Honest):
    """C35: what is no number in the input of a window is taken for 0, and a step is not so kind."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return super().forward(torch.nan_to_num(x), state, reset=reset, lengths=lengths)


class ClipsItsWindow(Honest):
    """C35: inputs of a window are cut at 9, which no input of the usual size reaches."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        return super().forward(
            torch.where(x.abs() > 9, 9 * x.sign(), x), state, reset=reset, lengths=lengths
        )


class NarrowsItsWindow(Honest):
    """C35: in bfloat16 a window shows a tenth more."""

    def forward(self, x, state=None, *, reset=None, lengths=None):
        y, after = super().forward(x, state, reset=reset, lengths=lengths)
        return (1.1 * y if y.dtype == torch.bfloat16 else y), after


def liar(check: str, cell: type[Honest], *others: str) -> Liar:
    """Return a cell of this module as a liar about a check."""
    name = "".join("_" + c.lower() if c.isupper() else c for c in cell.__name__).lstrip("_")
    summary = (cell.__doc__ or "").removeprefix(f"{check}: ")
    component = Component(
        "cell", name, f"liars.values:{cell.__name__}", "recurra:CellOptions", summary
    )
    return Liar(check, component, frozenset(others))


LIARS = [
    liar("C01", ForgetsTheNames),
    liar("C01", StacksNothing),
    liar("C01", CountsInFloats),
    liar("C02", ApproximatesItsWindow, "C24", "C35"),
    liar("C02", ForgetsLongWindows),
    liar("C03", ForgetsItsTail),
    liar("C04", ConvolvesByFourier),
    liar("C05", ScalesByTheBatch),
    liar("C06", SharesPrefixes),
    liar("C07", DecaysInPadding, "C08", "C35"),
    liar("C07", PoisonedGradients),
    liar("C08", CountsFromTheReset, "C35"),
    liar("C09", FadesAtResets),
    liar("C09", ResetsOnce, "C35"),
    liar("C09", ResetsToZeros, "C08", "C35"),
    liar("C10", FlagsInPlace),
    liar("C10", CountsItsCalls),
    liar("C10", AveragesItsInputs, "C32"),
    liar("C11", ReadsRawMemory),
    liar("C11", ViewsItsState),
    liar("C12", RepackagesItsState),
    liar("C13", DetachesItsStart),
    liar("C13", BeginsWithZeros),
    liar("C35", TeachesMoreInFloat32),
    liar("C35", CleansItsWindow),
    liar("C35", ClipsItsWindow),
    liar("C35", NarrowsItsWindow, "C24"),
]
