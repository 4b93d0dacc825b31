"""Generation's step: the layers and the head of a network as one kernel, where that is proved to be
what they compute.

The kernel is made once a network has made `AFTER` steps, one symbol at a time: short texts are
there before it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from recurra.contracts.encoder import StatefulEncoder
from recurra.engine.build import Unbuildable
from recurra.engine.fused.record import Unsupported
from recurra.engine.fused.step import LARGEST, Step
from recurra.engine.isolated import isolated
from recurra.engine.recurrence import State, rebuild
from recurra.model.network import Network, States

AFTER = 200
"""Steps that a network makes before a kernel is made for it."""
BOUND = 1e-9
"""How far the kernel may be from the network, in float64."""
STEPS = 2

_stepping: WeakKeyDictionary[Network, Stepper] = WeakKeyDictionary()


@dataclass(slots=True)
class Packed:
    """States as a kernel holds them: the encoder's, and all fields of the layers in one tensor."""

    encoder: State
    layers: Tensor


@dataclass(frozen=True)
class Kernel:
    """A compiled step and where it begins: at ids, at the rows of numbers that come, or behind the
    encoder.
    """

    step: Step
    begin: str


class Stepper:
    """Makes the steps of one network, in evaluation mode and without gradients."""

    def __init__(self, network: Network) -> None:
        self.made = 0
        self.kernel: Kernel | None = None
        self.objection = _objection(network)
        self.like = network.initial_states(1)[1:]

    def __call__(
        self, network: Network, x: Tensor, states: States | Packed
    ) -> tuple[Tensor, States | Packed]:
        """Return what a network says after one step of ids `[B]` or numbers `[B, F]`: `[B, V]`, and
        the states then.
        """
        self.made += 1
        if self.made == AFTER and self.kernel is None and self.objection is None:
            self.kernel, self.objection = isolated(lambda: _proved(network, x.dtype))
        kernel = self.kernel
        if kernel is None or network.training:
            with torch.no_grad():
                output, after = network(x.unsqueeze(1), self.states(states))
            return output[:, 0], after
        if not isinstance(states, Packed):
            states = Packed(
                states[0], kernel.step.packed([field for state in states[1:] for field in state])
            )
        state = states.encoder
        if kernel.begin == "encoded":
            with torch.no_grad():
                hidden, state = network.encode(x.unsqueeze(1), state)
            x = hidden[:, 0].to(network.dtype)
        output, layers = kernel.step(x, states.layers)
        return output, Packed(state, layers)

    def states(self, states: States | Packed) -> States:
        """Return states as the network takes them."""
        if self.kernel is None or not isinstance(states, Packed):
            return states  # type: ignore[return-value]
        return (states.encoder, *_grouped(self.kernel.step.fields(states.layers), self.like))


def stepper(network: Network) -> Stepper:
    """Return what makes the steps of a network, with its weights as they are now."""
    found = _stepping.get(network)
    if found is None:
        found = _stepping[network] = Stepper(network)
    if found.kernel is not None:
        found.kernel.step.renew()
    return found


def _objection(network: Network) -> str | None:
    """Return why a network has no kernel for its steps, or nothing."""
    if network.device.type != "cpu":
        return f"kernels are compiled for a CPU, and the weights are on {network.device}"
    if network.narrow or network.dtype not in (torch.float32, torch.float64):
        return "its products are in bfloat16"
    if not network.compiles_steps:
        return "the task names another path"
    return None


def _proved(network: Network, reads: torch.dtype) -> tuple[Kernel | None, str | None]:
    """Return the kernel for inputs of a type, if it equals the network in float64; else why there
    is none.
    """
    reads = torch.float64 if reads.is_floating_point else reads
    objection = None
    for begin in _beginnings(network, reads):
        try:
            with torch.no_grad():
                wide = copy.deepcopy(network).double().eval()
                objection = _fault(wide, Kernel(_compiled(wide, begin), begin), reads)
                if objection is None:
                    return Kernel(_compiled(network, begin), begin), None
        except (Unsupported, Unbuildable) as error:
            objection = str(error)
        except Exception as error:  # any failure means only that there is no kernel
            objection = f"{type(error).__name__}: {error}"
    return None, objection


def _beginnings(network: Network, reads: torch.dtype) -> list[str]:
    """Return where a kernel may begin, the best first."""
    encoder = network.encoder
    if isinstance(encoder, StatefulEncoder):
        return ["encoded"]
    if reads.is_floating_point:
        return ["rows", "encoded"]
    table = encoder.size * encoder.output_size * network.dtype.itemsize
    return ["ids", "encoded"] if table <= LARGEST else ["encoded"]


def _compiled(network: Network, begin: str) -> Step:
    """Return the kernel of a network's layers and head, and of its encoder if it begins before
    that.
    """
    states = network.initial_states(1)[1:]
    shapes = [tuple(field.shape[1:]) for state in states for field in state]

    def through(x: Tensor, fields: Any) -> tuple[Tensor, list[Tensor]]:
        hidden = x.unsqueeze(1)
        if begin == "rows":
            hidden = network.encode(hidden, ())[0].to(network.dtype)
        y, after = network.through(hidden, _grouped(fields, states))
        return y[:, 0], [field for state in after for field in state]

    def symbols() -> Tensor:
        ids = torch.arange(network.encoder.size).unsqueeze(1)
        return network.encode(ids, ())[0][:, 0].to(network.dtype)

    parts = [network.head, *network.layers, *([network.norm] if network.norm is not None else [])]
    parts += [network.encoder] if begin != "encoded" else []
    weights = [t for part in parts for t in (*part.parameters(), *part.buffers())]
    width = network.encoder.size if begin == "rows" else network.encoder.output_size
    with _by_step(network):
        return Step(through, weights, width, shapes, symbols if begin == "ids" else None)


@contextmanager
def _by_step(network: Network) -> Iterator[None]:
    """Let every cell run step by step."""
    paths = [(cell, cell.path, cell.step_path) for cell in network.cells]
    try:
        for cell, _, _ in paths:
            cell.path, cell.step_path = "eager", ""
        yield
    finally:
        for cell, path, single in paths:
            cell.path, cell.step_path = path, single


def _fault(network: Network, kernel: Kernel, reads: torch.dtype) -> str | None:
    """Return in what a kernel differs from its network, or nothing."""
    generator = torch.Generator().manual_seed(0)
    trial = Stepper(network)
    trial.kernel = kernel
    for rows in (3, 1):
        first, *layers = network.initial_states(rows)
        fields = [
            torch.randn(f.shape, generator=generator, dtype=f.dtype)
            for state in layers
            for f in state
        ]
        expected: States = (first, *_grouped(fields, tuple(layers)))
        states: States | Packed = expected
        for _ in range(STEPS):
            if reads.is_floating_point:
                x = torch.randn(rows, network.encoder.size, generator=generator, dtype=reads)
            else:
                x = torch.randint(network.encoder.size, (rows,), generator=generator)
            with _by_step(network):
                want, expected = network(x.unsqueeze(1), expected)
            have, states = trial(network, x, states)
            found = [have, *(field for state in trial.states(states) for field in state)]
            right = [want[:, 0], *(field for state in expected for field in state)]
            for a, b in zip(right, found, strict=True):
                gap = (a - b).abs().max().item() / max(1.0, a.abs().max().item())
                if not gap <= BOUND:
                    return f"its step differs by {gap:.1e} from the network's (allowed {BOUND:.0e})"
    return None


def _grouped(fields: list[Tensor], like: States) -> States:
    """Return fields as the states of the layers."""
    rest = iter(fields)
    return tuple(rebuild(state, [next(rest) for _ in state]) for state in like)
