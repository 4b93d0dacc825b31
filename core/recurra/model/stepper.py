"""Generation's step: the layers and the head of a network as one kernel, where that is proved to be what they compute.

The kernel is made once a network has made `AFTER` steps, one symbol at a time: short texts are there before it is.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from recurra.engine.apart import apart
from recurra.engine.build import Unbuildable
from recurra.engine.fused.step import Step
from recurra.engine.fused.tape import Unsupported
from recurra.engine.recurrence import rebuild
from recurra.model.network import Network, States

AFTER = 200
"""Steps that a network makes before a kernel is made for it."""
BOUND = 1e-9
"""How far the kernel may be from the network, in float64."""
ROWS, STEPS = 3, 2

_stepping: WeakKeyDictionary[Network, Stepper] = WeakKeyDictionary()


class Stepper:
    """Makes the steps of one network, in evaluation mode and without gradients."""

    def __init__(self, network: Network) -> None:
        self.made = 0
        self.step: Step | None = None
        self.objection = _objection(network)

    def __call__(self, network: Network, hidden: Tensor, states: States) -> tuple[Tensor, States]:
        """Return what `network.through` does for `[B, 1, D]`: outputs `[B, 1, V]`, and the states of the layers."""
        self.made += 1
        if self.made == AFTER and self.objection is None:
            self.step, self.objection = apart(lambda: _proved(network))
        if self.step is None or torch.is_grad_enabled() or network.training:
            return network.through(hidden, states)
        y, fields = self.step(hidden[:, 0], [field for state in states for field in state])
        return y.unsqueeze(1), _grouped(fields, states)


def stepper(network: Network) -> Stepper:
    """Return what makes the steps of a network, with its weights as they are now."""
    found = _stepping.get(network)
    if found is None:
        found = _stepping[network] = Stepper(network)
    if found.step is not None:
        found.step.renew()
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


def _proved(network: Network) -> tuple[Step | None, str | None]:
    """Return the kernel, if it equals the network in float64; else why there is none."""
    try:
        with torch.no_grad():
            wide = copy.deepcopy(network).double().eval()
            fault = _fault(wide, _compiled(wide))
            return (None, fault) if fault else (_compiled(network), None)
    except (Unsupported, Unbuildable) as error:
        return None, str(error)
    except Exception as error:  # any failure means only that there is no kernel
        return None, f"{type(error).__name__}: {error}"


def _compiled(network: Network) -> Step:
    """Return the kernel of a network's layers and head."""
    states = network.initial_states(1)[1:]
    shapes = [tuple(field.shape[1:]) for state in states for field in state]

    def through(x: Tensor, fields: Any) -> tuple[Tensor, list[Tensor]]:
        y, after = network.through(x.unsqueeze(1), _grouped(fields, states))
        return y[:, 0], [field for state in after for field in state]

    parts = [*network.layers, network.head, *([network.norm] if network.norm is not None else [])]
    weights = [t for part in parts for t in (*part.parameters(), *part.buffers())]
    width = network.encoder.output_size
    with _by_step(network):
        return Step(through, weights, width, shapes)


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


def _fault(network: Network, step: Step) -> str | None:
    """Return in what a kernel differs from its network, or nothing."""
    generator = torch.Generator().manual_seed(0)
    states = network.initial_states(ROWS)[1:]
    fields = [torch.randn(f.shape, generator=generator, dtype=f.dtype) for state in states for f in state]
    expected = _grouped(fields, states)
    for _ in range(STEPS):
        x = torch.randn(ROWS, network.encoder.output_size, generator=generator, dtype=torch.float64)
        with _by_step(network):
            want, expected = network.through(x.unsqueeze(1), expected)
        have, fields = step(x, fields)
        pairs = [(want[:, 0], have), *zip([f for state in expected for f in state], fields, strict=True)]
        for a, b in pairs:
            gap = (a - b).abs().max().item() / max(1.0, a.abs().max().item())
            if not gap <= BOUND:
                return f"its step differs by {gap:.1e} from the network's (allowed {BOUND:.0e})"
    return None


def _grouped(fields: list[Tensor], like: States) -> States:
    """Return fields as the states of the layers."""
    rest = iter(fields)
    return tuple(rebuild(state, [next(rest) for _ in state]) for state in like)
