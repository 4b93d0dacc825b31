"""Cells that are right: every check of the suite must pass on them."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from recurra import Component, Field, GatedCell, GatedOptions, ScanCell
from recurra.contracts.options import CellOptions


class ReferenceOptions(GatedOptions):
    """Options of the reference."""

    nonlinearity: Literal["tanh", "softsign"] = Field(
        "tanh", description="what squashes the proposal"
    )
    inside: bool = Field(
        True, description="whether r weighs the output before, inside f, or what f gives"
    )
    gain: float = Field(1.0, gt=0, le=2, description="what the proposal is multiplied by")


class ReferenceState(NamedTuple):
    """h: the output, [B, H]."""

    h: Tensor


class Reference(GatedCell[ReferenceOptions]):
    """A gated cell with the reset inside the product, or after it.

    z, r = sigmoid(W x + U h + b)
    c = f(g (W x + b + r U h)) or r f(g (W x + b + U h))
    h' = z h + (1 - z) c
    """

    gates = 3
    State = ReferenceState

    def update(self, x: Tensor, h: Tensor, state: ReferenceState) -> ReferenceState:
        z, r = torch.sigmoid(x[:2] + h[:2])
        total = self.options.gain * (x[2] + (r * h[2] if self.options.inside else h[2]))
        squashed = (
            torch.tanh(total) if self.options.nonlinearity == "tanh" else total / (1 + total.abs())
        )
        proposal = squashed if self.options.inside else r * squashed
        return ReferenceState(z * state.h + (1 - z) * proposal)


class ScanReferenceOptions(CellOptions):
    """Options of the scan that is right."""


class ScanReference(ScanCell[ScanReferenceOptions]):
    """a = sigmoid(W x), h' = a h + (1 - a) V x; the output is h' and what the input adds to it."""

    def __init__(self, input_size: int, options: ScanReferenceOptions) -> None:
        super().__init__(input_size, options)
        self.gate = nn.Linear(input_size, self.hidden_size)
        self.proposal = nn.Linear(input_size, self.hidden_size)

    def coefficients(self, x: Tensor) -> tuple[Tensor, Tensor]:
        decay = torch.sigmoid(self.gate(x))
        return decay, (1 - decay) * self.proposal(x)

    def readout(self, h: Tensor, x: Tensor) -> Tensor:
        return h


def cell(name: str, title: str) -> Component:
    """Return a component of this module."""
    home = "liars.reference"
    return Component(
        "cell", name, f"{home}:{title}", f"{home}:{title}Options", "a cell that is right"
    )


REFERENCE = cell("reference", "Reference")
REFERENCES = [REFERENCE, cell("scan_reference", "ScanReference")]
