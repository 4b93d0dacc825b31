"""The contract of a cell: how to start, and one step."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from recurra.contracts.options import CellOptions
from recurra.engine import choice, paths
from recurra.engine.recurrence import Form, Native, Scan, State
from recurra.shapes import Encoded, Flags, Hidden, Lengths

O = TypeVar("O", bound=CellOptions)  # noqa: E741


class Cell(nn.Module, ABC, Generic[O]):
    """A recurrence over a sequence, one layer of it.

    `step` is the specification: a pure function of its input and its state, with nothing hidden on
    the module. The engine may compute the same thing another way, and does so only after proving
    that it is the same. The output is `output_size` wide, `hidden_size` unless the cell says
    otherwise.

    `path` names the execution path; under `auto` each class of windows takes the fastest that is
    proved, as `chosen_paths` records. Beside a path by name, `step_path` may name another one for
    windows of one step without gradients.
    """

    def __init__(self, input_size: int, options: O) -> None:
        super().__init__()
        self.input_size = input_size
        self.hidden_size = options.hidden_size
        self.output_size = options.hidden_size
        self.options = options
        self.path = "auto"
        self.step_path = ""
        self.chosen_paths: dict[Any, str] = {}

    @abstractmethod
    def initial_state(self, batch_size: int, *, device: torch.device, dtype: torch.dtype) -> Any:
        """Return the state before the first step: a NamedTuple of `[B, ...]` tensors."""

    @abstractmethod
    def step(self, x_t: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Return the output `[B, H]` and the next state for one input `[B, D]`."""

    def native(self) -> Native | None:
        """Return the map to torch's own kernel for this recurrence, where a cell declares one."""
        return None

    def scan(self) -> Scan | None:
        """Return the linear recurrence that this is; a `ScanCell` is one."""
        return None

    def chunkwise(self) -> Form | None:
        """Return the cell's own form over a whole window, such as a chunkwise one.

        It is called with inputs `[B, T, D]`, the state, `reset` flags `[B, T]` or None, and `live`
        flags `[B, T]` or None: a step that is not live keeps the state of its row. It returns
        outputs and the state after the window.
        """
        return None

    def forward(
        self,
        x: Encoded,
        state: State | None = None,
        *,
        reset: Flags | None = None,
        lengths: Lengths | None = None,
    ) -> tuple[Hidden, State]:
        """Run over a window `[B, T, D]`; return the outputs `[B, T, H]` and the state after it.

        `reset` marks steps before which a row starts afresh; `lengths` says how many steps of each
        row count: after them the row keeps its state and gives zeros. Raises `ValueError` that
        names the axis if a shape does not fit.
        """
        self._check_shapes(x, state, reset, lengths)
        if state is None:
            state = self.initial_state(x.shape[0], device=x.device, dtype=x.dtype)

        # A single step without gradients is one of generation, for which another path may be set.
        path = self.path
        if path == "auto":
            path = choice.pick(self, x, reset, lengths)
        elif self.step_path and x.shape[1] == 1 and not torch.is_grad_enabled():
            path = self.step_path
        return paths.run(self, path, x, state, reset=reset, lengths=lengths)

    def _check_shapes(
        self, x: Tensor, state: State | None, reset: Tensor | None, lengths: Tensor | None
    ) -> None:
        """Raise `ValueError` that names the axis if a shape does not fit."""
        name = type(self).__name__
        if x.dim() != 3:
            raise ValueError(
                f"{name}: the input must be [B, T, D], batch first; got {tuple(x.shape)}"
            )
        batch, steps, width = x.shape
        if width != self.input_size:
            raise ValueError(
                f"{name}: axis D of the input is {width}, but the cell was built for"
                f" {self.input_size}"
            )

        # A state may be any tuple: the fields of one without names are counted.
        for index, field in enumerate(state or ()):
            if field.shape[0] != batch:
                label = getattr(state, "_fields", range(99))[index]
                raise ValueError(
                    f"{name}: axis B of state {label} is {field.shape[0]}, but that of the input is"
                    f" {batch}"
                )

        if reset is not None and reset.shape != (batch, steps):
            raise ValueError(
                f"{name}: reset must be [B, T] = {(batch, steps)}; got {tuple(reset.shape)}"
            )
        if lengths is not None and lengths.shape != (batch,):
            raise ValueError(
                f"{name}: lengths must be [B] = {(batch,)}; got {tuple(lengths.shape)}"
            )
