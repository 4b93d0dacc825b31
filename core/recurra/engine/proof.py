"""The proof that a faster path asks of itself, at its first use in a process, in float64 where rounding is 1e-13.

Odd B and T, a start that is not zero, sequences that begin inside the window, rows of different lengths, and two layers
one on the other whose start needs no gradient: each has caught a published library giving wrong numbers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import torch
from torch import Tensor, nn

from recurra.engine import eager
from recurra.engine.recurrence import Recurrence, State, map_state
from recurra.shapes import Encoded, Flags, Hidden, Lengths

BOUND = 1e-9
BATCH, STEPS = 3, 7
WIDEST = 128
ITSELF = "the cell itself fails"
"""How the reason begins where not the path is at fault; who runs the cell will see it."""

Runner = Callable[[Recurrence, Encoded, State, Flags | None, Lengths | None], tuple[Hidden, State]]


def disagreement(cell: Recurrence, runner: Runner) -> str | None:
    """Return how `runner` differs from the eager loop on this cell, or nothing if it equals it."""
    case = "a copy of the cell"
    try:
        # the first use may be an evaluation; what the cell warns of, it will say when it is used
        with warnings.catch_warnings(action="ignore"), torch.inference_mode(False), torch.enable_grad():
            layers = _two_layers(cell)
            for case, x, flags, sizes in _cases(layers):
                try:
                    expected = _trace(layers, eager.run, x, flags, sizes)
                except Exception as error:
                    return f"{ITSELF}: {type(error).__name__}: {error}"
                found = _trace(layers, runner, x, flags, sizes)
                if fault := _difference(expected, found):
                    return f"{fault} on {case}"
    except Exception as error:  # any failure of a fast path means only that it is not used
        return f"it fails on {case}: {type(error).__name__}: {error}"
    return None


def inability(cell: Recurrence, runner: Runner) -> str | None:
    """Return why `runner` cannot run this cell in the type of its weights, or nothing; its numbers are not asked."""
    module = cast(Any, cell)
    weight = next(module.parameters(), torch.zeros(()))
    x = torch.zeros(2, 2, module.input_size, dtype=weight.dtype, device=weight.device)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            runner(cell, x, cell.initial_state(2, device=x.device, dtype=x.dtype), None, None)
    except Exception as error:
        return f"it fails in {str(x.dtype).removeprefix('torch.')}: {type(error).__name__}: {error}"
    return None


def _cases(layers: nn.ModuleList) -> list[tuple[str, Tensor, Flags | None, Lengths | None]]:
    """Return the windows on which both must agree: what each is called, its input, resets and lengths."""
    device = next((weight.device for weight in layers.parameters()), torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, STEPS, cast(Any, layers[0]).input_size, generator=generator, dtype=torch.float64).to(device)
    reset = torch.zeros(BATCH, STEPS, dtype=torch.bool, device=device)
    reset[0, 2] = reset[2, 5] = reset[1, 0] = True
    lengths = torch.tensor([7, 4, 6], device=device)
    return [
        ("a plain window", x, None, None),
        ("resets inside the window", x, reset, None),
        ("rows of different lengths", x, None, lengths),
        ("resets and lengths together", x, reset, lengths),
    ]


def _difference(expected: dict[str, Tensor], found: dict[str, Tensor]) -> str | None:
    """Return the first thing in which a path differs from the eager loop, or nothing."""
    for name, want in expected.items():
        have = found[name]
        if have.shape != want.shape:
            return f"{name} is {tuple(have.shape)}, not {tuple(want.shape)} as from step,"
        gap = (want - have).abs().max().item() / max(1.0, want.abs().max().item())
        if not gap <= BOUND:
            return f"{name} differs by {gap:.1e} from step (allowed {BOUND:.0e})"
    return None


def _two_layers(cell: Recurrence) -> nn.ModuleList:
    """Return a float64 copy of the cell with a second one on top, where its own constructor can build that."""
    module = cast(Any, cell)
    if max(module.input_size, module.output_size) <= WIDEST:
        first = twin(module).double().train(mode=False)
    else:  # the recurrence is the same at any width, and a wide one in float64 would not fit
        first = _built(type(module), min(module.input_size, WIDEST), _narrowed(module.options), module)
    return nn.ModuleList([first, _built(type(module), first.output_size, first.options, module)])


def twin(module: nn.Module) -> Any:
    """Return a copy of a module that calls none of the hooks on it."""
    copied: Any = copy.deepcopy(module)
    for part in copied.modules():
        for hooks in (part._forward_hooks, part._forward_pre_hooks, part._backward_hooks, part._backward_pre_hooks):
            hooks.clear()
    return copied


def _narrowed(options: Any) -> Any:
    """Return the options with the greatest hidden size up to `WIDEST` that they allow, as a number of heads may not."""
    table = options.model_dump()
    for width in range(min(options.hidden_size, WIDEST), 0, -1):
        with suppress(ValueError):
            return type(options).model_validate(table | {"hidden_size": width})
    return options


def _built(kind: Any, width: int, options: Any, like: nn.Module) -> Any:
    """Return a new float64 cell where `like` is, its weights always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return kind(width, options).to(next(like.parameters()).device).double().train(mode=False)


def _drawn(start: Tensor, generator: torch.Generator) -> Tensor:
    """Return a start that is not zero and asks for a gradient; a field that counts stays as it is."""
    if not start.is_floating_point():
        return start
    return torch.randn(start.shape, generator=generator, dtype=start.dtype).to(start.device).requires_grad_()


def _trace(
    layers: nn.ModuleList, runner: Runner, x: Tensor, reset: Tensor | None, lengths: Tensor | None
) -> dict[str, Tensor]:
    """Run both layers forward and backward; return outputs, final states and every gradient, by name."""
    x = x.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    hidden, found = x, dict[str, Tensor]()
    starts: list[Tensor] = []
    for depth, layer in enumerate(layers):
        cell = cast(Recurrence, layer)
        state = cell.initial_state(BATCH, device=x.device, dtype=x.dtype)
        if depth == 0:  # the second layer keeps a start that needs no gradient
            state = map_state(lambda start: _drawn(start, generator), state)
            starts = [start for start in state if start.requires_grad]
        hidden, final = runner(cell, hidden, state, reset, lengths)
        found |= {f"final state {depth}.{index}": value for index, value in enumerate(final)}
    found["the output"] = hidden
    names = [name for name, _ in layers.named_parameters()]
    wanted = [x, *starts, *layers.parameters()]
    labels = ["the input", *[f"start {i}" for i in range(len(starts))], *names]
    total = sum((value * torch.cos(value)).sum() for value in found.values() if value.is_floating_point())
    grads = torch.autograd.grad(cast(Tensor, total), wanted, allow_unused=True)
    for label, value, grad in zip(labels, wanted, grads, strict=True):  # a path that cuts the graph gives no gradient
        found[f"the gradient of {label}"] = torch.zeros_like(value) if grad is None else grad
    return {name: value.detach() for name, value in found.items()}
