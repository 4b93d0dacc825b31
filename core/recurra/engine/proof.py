"""The proof that a path asks of itself, and what this process has proved (step 3 of paths.py).

A path is compared with the loop over `step` at its first use in a process, in float64 where
rounding is 1e-13. Odd B and T, a start that is not zero, sequences that begin inside the window,
rows of different lengths, and two layers one on the other whose start needs no gradient: each has
caught a published library giving wrong numbers.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from recurra.engine import eager, paths
from recurra.engine.isolated import isolated
from recurra.engine.paths import Runner
from recurra.engine.recurrence import Recurrence, first_weight, map_state
from recurra.shapes import Flags, Lengths

BOUND = 1e-9
BATCH, STEPS = 3, 7
WIDEST = 128
ITSELF = "the cell itself fails"
"""How the reason begins where not the path is at fault; who runs the cell will see it."""
EVERYWHERE = (torch.float32, torch.float64)
"""The types that every kernel has; in others a path that is proved may still not run."""


class Proofs:
    """What is known of each cell and path: that it is proved, or why it cannot run there.

    An objection is a path's own refusal, or the failure of its proof, which is made once.
    """

    def __init__(self) -> None:
        # By a cell's identity and the path; None: proved.
        self._failures: dict[object, str | None] = {}

    def refused(self, cell: Recurrence) -> dict[str, str]:
        """Return the paths that a cell cannot run on, with the reasons; the others are proved."""
        objections = {path: self.objection(cell, path) for path in paths.PATHS}
        return {path: reason for path, reason in objections.items() if reason is not None}

    def proved(self, cell: Recurrence) -> list[str]:
        """Return the paths that a cell can run on, in their order: all that are not refused."""
        refused = self.refused(cell)
        return [path for path in paths.PATHS if path not in refused]

    def accepting(self, cell: Recurrence) -> list[str]:
        """Return the paths that do not refuse a cell, for a contract to check.

        Those that its author declares are among them, right or wrong; of the others those proved.
        """
        accepting = []
        for name, path in paths.PATHS.items():
            if path.declared:
                reason = path.refusal(cell)
            else:
                reason = self.objection(cell, name, warn=False)
            if reason is None:
                accepting.append(name)
        return accepting

    def objection(self, cell: Recurrence, path: str, *, warn: bool = True) -> str | None:
        """Return why a cell cannot run on a path, or nothing; warn if its proof fails."""
        if path == "eager":
            return None
        if path not in paths.PATHS:
            return f"this version has no path called {path}"
        if refusal := paths.PATHS[path].refusal(cell):
            return refusal
        if first_weight(cell).is_meta:
            return "without values nothing is proved"
        return self._failure(cell, path, warn)

    def _failure(self, cell: Recurrence, path: str, warn: bool) -> str | None:
        """Return how a path fails its proof, or in the type of the weights; nothing if it holds."""
        runner = paths.PATHS[path].run
        weight = first_weight(cell)
        width = getattr(cell, "input_size", 0)

        # Options may hold lists, which have no hash.
        options = repr(getattr(cell, "options", None))
        identity = (type(cell), width, options, weight.device.type, path)

        if identity not in self._failures:
            reason = isolated(partial(disagreement, cell, runner))
            self._failures[identity] = reason
            if reason and warn and not reason.startswith(ITSELF):
                text = f"{type(cell).__name__}: path {path} is dropped: {reason}"
                warnings.warn(text, RuntimeWarning, stacklevel=3)

        failure = self._failures[identity]
        if failure is not None or weight.dtype in EVERYWHERE:
            return failure

        # It is proved in float64; that there is a kernel for this type is another question.
        in_this_type = (*identity, weight.dtype)
        if in_this_type not in self._failures:
            self._failures[in_this_type] = isolated(partial(inability, cell, runner))
        return self._failures[in_this_type]


PROOFS = Proofs()
"""The proofs of this process."""


class Case(NamedTuple):
    """A window on which a path must agree with the loop over `step`."""

    name: str
    x: Tensor  # B T D
    reset: Flags | None
    lengths: Lengths | None


def disagreement(cell: Recurrence, runner: Runner) -> str | None:
    """Return how `runner` differs from the eager loop on this cell, or nothing if it equals it."""
    place = "a copy of the cell"
    try:
        # The first use may be an evaluation; what the cell warns of, it will say when it is used.
        with (
            warnings.catch_warnings(action="ignore"),
            torch.inference_mode(False),
            torch.enable_grad(),
        ):
            layers = _two_layers(cell)
            for case in _cases(layers):
                place = case.name
                try:
                    expected = _trace(layers, eager.run, case)
                except Exception as error:
                    return f"{ITSELF}: {type(error).__name__}: {error}"

                computed = _trace(layers, runner, case)
                if fault := _difference(expected, computed):
                    return f"{fault} on {place}"
    except Exception as error:
        # Any failure of a fast path means only that it is not used.
        return f"it fails on {place}: {type(error).__name__}: {error}"
    return None


def inability(cell: Recurrence, runner: Runner) -> str | None:
    """Return why `runner` cannot run this cell in the type of its weights, or nothing.

    Its numbers are not asked.
    """
    weight = first_weight(cell)
    x = torch.zeros(2, 2, cell.input_size, dtype=weight.dtype, device=weight.device)
    try:
        with warnings.catch_warnings(action="ignore"), torch.no_grad():
            state = cell.initial_state(2, device=x.device, dtype=x.dtype)
            runner(cell, x, state, None, None)
    except Exception as error:
        name = str(x.dtype).removeprefix("torch.")
        return f"it fails in {name}: {type(error).__name__}: {error}"
    return None


def _cases(layers: list[Recurrence]) -> Iterator[Case]:
    """Give the windows on which both must agree."""
    devices = [weight.device for cell in layers for weight in cell.parameters()]
    device = devices[0] if devices else torch.device("cpu")
    width = layers[0].input_size
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(BATCH, STEPS, width, generator=generator, dtype=torch.float64)
    x = x.to(device)

    reset = torch.zeros(BATCH, STEPS, dtype=torch.bool, device=device)
    reset[0, 2] = True
    reset[1, 0] = True
    reset[2, 5] = True
    lengths = torch.tensor([7, 4, 6], device=device)

    yield Case("a plain window", x, None, None)
    yield Case("resets inside the window", x, reset, None)
    yield Case("rows of different lengths", x, None, lengths)
    yield Case("resets and lengths together", x, reset, lengths)


def _difference(expected: dict[str, Tensor], computed: dict[str, Tensor]) -> str | None:
    """Return the first thing in which a path differs from the eager loop, or nothing."""
    for name, right in expected.items():
        value = computed[name]
        if value.shape != right.shape:
            return f"{name} is {tuple(value.shape)}, not {tuple(right.shape)} as from step,"

        # Put so that nan is a difference.
        distance = (right - value).abs().max().item()
        gap = distance / max(1.0, right.abs().max().item())
        if not gap <= BOUND:
            return f"{name} differs by {gap:.1e} from step (allowed {BOUND:.0e})"
    return None


def _two_layers(cell: Recurrence) -> list[Recurrence]:
    """Return a float64 copy of the cell, and a second one on top that its constructor builds."""
    kind = type(cell)
    if max(cell.input_size, cell.output_size) <= WIDEST:
        first = twin(cell).double().train(mode=False)
    else:
        # The recurrence is the same at any width, and a wide one in float64 would not fit.
        width = min(cell.input_size, WIDEST)
        first = _built(kind, width, _narrowed(cell.options), cell)

    second = _built(kind, first.output_size, first.options, cell)
    return [first, second]


def twin(cell: Recurrence) -> Any:
    """Return a copy of a cell that calls none of the hooks on it."""
    copied: Any = copy.deepcopy(cell)
    for part in copied.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
        part._backward_hooks.clear()
        part._backward_pre_hooks.clear()
    return copied


def _narrowed(options: Any) -> Any:
    """Return the options with the greatest hidden size up to `WIDEST` that they allow.

    Two heads allow no odd one.
    """
    table = options.model_dump()
    for width in range(min(options.hidden_size, WIDEST), 0, -1):
        with suppress(ValueError):
            return type(options).model_validate(table | {"hidden_size": width})
    return options


def _built(kind: Any, width: int, options: Any, like: Recurrence) -> Any:
    """Return a new float64 cell where `like` is, its weights always the same."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        cell = kind(width, options)
        weight = next(like.parameters())
        return cell.to(weight.device).double().train(mode=False)


def _drawn(start: Tensor, generator: torch.Generator) -> Tensor:
    """Return a start that is not zero and asks for a gradient; a field that counts stays so."""
    if not start.is_floating_point():
        return start
    drawn = torch.randn(start.shape, generator=generator, dtype=start.dtype)
    return drawn.to(start.device).requires_grad_()


def _trace(layers: list[Recurrence], runner: Runner, case: Case) -> dict[str, Tensor]:
    """Run both layers forward and back; return outputs, final states and gradients, by name."""
    x = case.x.clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    results: dict[str, Tensor] = {}
    starts: list[Tensor] = []

    hidden = x
    for depth, cell in enumerate(layers):
        state = cell.initial_state(BATCH, device=x.device, dtype=x.dtype)
        # The second layer keeps a start that needs no gradient.
        if depth == 0:
            state = map_state(lambda start: _drawn(start, generator), state)
            starts = [start for start in state if start.requires_grad]

        hidden, final = runner(cell, hidden, state, case.reset, case.lengths)
        for index, value in enumerate(final):
            results[f"final state {depth}.{index}"] = value
    results["the output"] = hidden

    # What the gradients are of, by name.
    sources = {"the input": x}
    for index, start in enumerate(starts):
        sources[f"start {index}"] = start
    for depth, cell in enumerate(layers):
        for name, weight in cell.named_parameters():
            sources[f"{depth}.{name}"] = weight

    # A score whose gradient differs from number to number.
    numbers = [value for value in results.values() if value.is_floating_point()]
    score: Any = sum((value * torch.cos(value)).sum() for value in numbers)
    grads = torch.autograd.grad(score, list(sources.values()), allow_unused=True)

    # A path that cuts the graph gives no gradient.
    for (name, source), grad in zip(sources.items(), grads, strict=True):
        results[f"the gradient of {name}"] = torch.zeros_like(source) if grad is None else grad
    return {name: value.detach() for name, value in results.items()}
