"""Generation's step: the layers and the head of a network as one kernel.

It is used where it is proved to be what they compute. It is made once a network has made `AFTER`
steps, one symbol at a time: short texts are there before it is.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from recurra.contracts.encoder import StatefulEncoder
from recurra.engine.build import Unbuildable
from recurra.engine.eager import step_by_step
from recurra.engine.fused.block import Blocks
from recurra.engine.fused.record import Unsupported
from recurra.engine.fused.step import LARGEST, Step
from recurra.engine.isolated import isolated
from recurra.engine.recurrence import State, rebuild
from recurra.model.network import Network, States
from recurra.model.table import vectors_of

AFTER = 200
"""Steps that a network makes before a kernel is made for it."""
BOUND = 1e-9
"""How far the kernel may be from the network, in float64."""
STEPS = 2

Beginning: TypeAlias = Literal["ids", "rows", "encoded"]
"""Where a kernel begins: at ids, at the rows of numbers that come, or behind the encoder."""

_stepping: WeakKeyDictionary[Network, Stepper] = WeakKeyDictionary()


@dataclass(slots=True)
class Packed:
    """States as a kernel holds them: the encoder's, and all fields of the layers in one tensor."""

    encoder: State
    layers: Tensor


@dataclass(frozen=True)
class Kernel:
    """A compiled step, where it begins, and what calls it many times."""

    step: Step
    begin: Beginning
    blocks: Blocks | None = None
    """Many steps in one call."""


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
        """Return the outputs `[B, V]` of one step of ids `[B]` or numbers `[B, F]`, `folded`.

        The states after it come with them.
        """
        self.made += 1
        if self.made == AFTER and self.kernel is None and self.objection is None:
            self.kernel, self.objection = isolated(lambda: _proved(network, x.dtype))

        kernel = self.kernel
        if kernel is None or network.training:
            with torch.no_grad():
                output, after = network(x.unsqueeze(1), self.states(states))
            return output[:, 0], after

        # From here on all fields of the layers stay in one tensor.
        states = self.packed(kernel, states)
        state = states.encoder
        if kernel.begin == "encoded":
            with torch.no_grad():
                hidden, state = network.encode(x.unsqueeze(1), state)
            x = hidden[:, 0].to(network.dtype)
        output, after_layers = kernel.step(x, states.layers)
        return network.folded(output), Packed(state, after_layers)

    def packed(self, kernel: Kernel, states: States | Packed) -> Packed:
        """Return states as a kernel takes them."""
        if isinstance(states, Packed):
            return states
        encoder, *layers = states
        return Packed(encoder, kernel.step.packed([field for state in layers for field in state]))

    def states(self, states: States | Packed) -> States:
        """Return states as the network takes them."""
        if not isinstance(states, Packed):
            return states
        assert self.kernel is not None, "states are packed for a kernel"
        fields = self.kernel.step.fields(states.layers)
        return (states.encoder, *_grouped(fields, self.like))


def plain(network: Network) -> Stepper:
    """Return what makes the steps of a network without a kernel, whatever was made before."""
    steps = Stepper(network)
    steps.objection = "what is asked for hangs on no step before"
    return steps


def stepper(network: Network) -> Stepper:
    """Return what makes the steps of a network, with its weights as they are now."""
    steps = _stepping.get(network)
    if steps is None:
        steps = Stepper(network)
        _stepping[network] = steps
    if steps.kernel is not None:
        steps.kernel.step.renew()
    return steps


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
    """Return the kernel for inputs of a type, or why there is none.

    There is one if it equals the network in float64. That is tried wherever it may begin, the best
    place first; where none will do, the last objection counts.
    """
    reads = torch.float64 if reads.is_floating_point else reads
    objection = None
    for begin in _beginnings(network, reads):
        try:
            with torch.no_grad():
                wide = copy.deepcopy(network).double().eval()
                trial = Kernel(_compiled(wide, begin), begin)
                objection = _fault(wide, trial, reads)
                if objection is None:
                    step = _compiled(network, begin)
                    return Kernel(step, begin, _blocks(step, begin)), None
        except (Unsupported, Unbuildable) as error:
            objection = str(error)
        except Exception as error:  # any failure means only that there is no kernel
            objection = f"{type(error).__name__}: {error}"
    return None, objection


def _blocks(step: Step, begin: Beginning) -> Blocks | None:
    """Return what makes many steps in one call, where nothing is done between two of them."""
    if begin == "encoded":
        return None
    try:
        return Blocks(step)
    except Unbuildable:
        return None


def _beginnings(network: Network, reads: torch.dtype) -> list[Beginning]:
    """Return where a kernel may begin, the best first."""
    encoder = network.encoder
    if isinstance(encoder, StatefulEncoder):
        return ["encoded"]
    if reads.is_floating_point:
        return ["rows", "encoded"]

    # At ids the kernel looks up what the encoder gives for each symbol, or what it keeps of it.
    table = encoder.size * encoder.output_size * network.dtype.itemsize
    if table > LARGEST and vectors_of(encoder) is None:
        return ["encoded"]
    return ["ids", "encoded"]


def _compiled(network: Network, begin: Beginning) -> Step:
    """Return the kernel of a network's layers and head, and of its encoder if it begins there."""
    encoder = network.encoder
    states = network.initial_states(1)[1:]
    shapes = [tuple(field.shape[1:]) for field in _fields(states)]

    def through(x: Tensor, fields: Any) -> tuple[Tensor, list[Tensor]]:
        hidden = x.unsqueeze(1)
        if begin == "rows":
            hidden, _ = network.encode(hidden, ())
            hidden = hidden.to(network.dtype)
        y, after = network.through(hidden, _grouped(fields, states))
        return y[:, 0], _fields(after)

    def symbols() -> Tensor:
        vectors = vectors_of(encoder)
        if vectors is not None and vectors.dtype == network.dtype:
            return vectors
        ids = torch.arange(encoder.size).unsqueeze(1)
        encoded, _ = network.encode(ids, ())
        return encoded[:, 0].to(network.dtype)

    # One that is late says what its head will read.
    parts: list[nn.Module] = [*([] if network.late else [network.head]), *network.layers]
    if network.norm is not None:
        parts.append(network.norm)
    if begin != "encoded":
        parts.append(encoder)
    weights: list[Tensor] = []
    for part in parts:
        weights += part.parameters()
        weights += part.buffers()
    # That of a tied head is the encoder's, which may be no part of the kernel.
    tied = not network.late and not any(weight is network.head.weight for weight in weights)
    if tied:
        weights.append(network.head.weight)

    width = encoder.size if begin == "rows" else encoder.output_size
    table = symbols if begin == "ids" else None
    with step_by_step(network.cells):
        return Step(through, weights, width, shapes, table)


def _fault(network: Network, kernel: Kernel, reads: torch.dtype) -> str | None:
    """Return in what a kernel differs from its network, or nothing."""
    generator = torch.Generator().manual_seed(0)
    trial = Stepper(network)
    trial.kernel = kernel
    for rows in (3, 1):
        first, *layers = network.initial_states(rows)
        like = tuple(layers)
        fields = [
            torch.randn(field.shape, generator=generator, dtype=field.dtype)
            for field in _fields(like)
        ]

        # Both go on from the same states, each with its own.
        expected: States = (first, *_grouped(fields, like))
        states: States | Packed = expected
        for _ in range(STEPS):
            x = _random_step(network, rows, reads, generator)
            with step_by_step(network.cells):
                expected_output, expected = network(x.unsqueeze(1), expected)
            output, states = trial(network, x, states)

            right = [expected_output[:, 0], *_fields(expected)]
            own = [output, *_fields(trial.states(states))]
            for one, two in zip(right, own, strict=True):
                gap = _gap(one, two)
                if not gap <= BOUND:
                    return f"its step differs by {gap:.1e} from the network's (allowed {BOUND:.0e})"
    return None


def _random_step(
    network: Network, rows: int, reads: torch.dtype, generator: torch.Generator
) -> Tensor:
    """Return a step of ids `[B]` or numbers `[B, F]`, drawn at random."""
    size = network.encoder.size
    if reads.is_floating_point:
        return torch.randn(rows, size, generator=generator, dtype=reads)
    return torch.randint(size, (rows,), generator=generator)


def _gap(right: Tensor, other: Tensor) -> float:
    """Return how far a tensor is from the right one, for the size of its greatest number."""
    apart = (right - other).abs().max().item()
    size = right.abs().max().item()
    return apart / max(1.0, size)


def _fields(states: States) -> list[Tensor]:
    """Return the fields of all states, one after the other."""
    return [field for state in states for field in state]


def _grouped(fields: list[Tensor], like: States) -> States:
    """Return fields as the states of the layers."""
    rest = iter(fields)
    return tuple(rebuild(state, [next(rest) for _ in state]) for state in like)
