"""The execution paths: what each is, which cells it refuses, and how a window runs on one.

Which path runs this window? From the call of a cell to the answer, each step with its function:

1. `Cell.forward` (contracts/cell.py) takes the path that `cell.path` names. Where that is `auto`,
   it asks `pick` (choice.py), at every call.
2. `pick` mostly finds the answer in `cell.chosen_paths`. A call that is compiled, exported, traced
   or transformed runs eager. Else it makes the `Window` of the call (window.py), the class in which
   all windows that are about as large and run alike have one answer, and asks
   `Choice.of(cell, window)` (choice.py).
3. `Choice.of` asks `PROOFS.refused` (proof.py) which paths are out. One refuses a cell by a
   `Path.refusal` below, for there is no kernel for it, say; or its proof finds a `disagreement`
   with `step`: outputs, states or gradients differ in float64. Each proof is made once a process.
4. A path that is left alone is the answer. Under `RECURRA_MEASURE=0` that is
   `usually_the_fastest` (choice.py), and nothing is measured.
5. Else `TIMINGS.recall` (timings.py) looks up what a step of each path takes here, in this process
   and in the cache folder, under the `question`: all that it depends on. What nobody has measured
   yet `measure` (measure.py) does, on a copy of the cell, in a thread of its own (isolated.py), by
   a race of the paths (race.py); how busy others keep the machine meanwhile is counted (load.py).
6. `fastest` (choice.py) is the answer: the first in the order of `PATHS` that is as fast as the
   best, or nearly.
7. `run` below computes the window on it.

A path by name needs no measurement: `Choice.named` (choice.py) holds it to step 3 alone. What
`recurra check` tells of a layer is a `Choice`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, TypeAlias

from torch import Tensor

from recurra.engine import chunkwise, eager, native, scan
from recurra.engine.recurrence import Recurrence, State, within
from recurra.shapes import Encoded, Flags, Hidden, Lengths

Runner: TypeAlias = Callable[
    [Recurrence, Encoded, State, Flags | None, Lengths | None],
    tuple[Hidden, State],
]
"""Computes a window `[B, T, D]`: cell, inputs, state, resets and lengths to outputs and state."""

Refusal: TypeAlias = Callable[[Recurrence], str | None]
"""Says in a few words why a cell cannot be computed so, or nothing."""


def _never(cell: Recurrence) -> str | None:
    return None


@dataclass(frozen=True)
class Path:
    """A way of computing a window: `run` computes it, `refusal` says why a cell cannot take it.

    `declared`: the author of a cell gives what it rests on, and answers for it; else the engine
    finds it in `step`. `even`: a step costs the same in windows of any length.
    """

    run: Runner
    refusal: Refusal = _never
    declared: bool = True
    even: bool = True


def _needs(method: str, reason: str) -> Refusal:
    """Return what refuses a cell whose `method` gives nothing; `{}` in the reason is its name."""

    def refusal(cell: Recurrence) -> str | None:
        if getattr(cell, method)() is not None:
            return None
        return reason.format(type(cell).__name__)

    return refusal


@cache
def _fused() -> Any:
    """Return the module of compiled kernels, imported when a cell is first asked about."""
    return import_module("recurra.engine.fused")


def _fused_refusal(cell: Recurrence) -> str | None:
    fused = _fused()
    if not hasattr(fused, "refusal"):
        return "this version compiles no kernels"

    try:
        reason: str | None = fused.refusal(cell)
    except Exception as error:
        # `step` may hold anything.
        fault = f"{type(error).__name__}: {error}"
        return f"no kernel can be made of {type(cell).__name__}: {fault}"
    return reason


def _run_fused(
    cell: Recurrence,
    x: Encoded,
    state: State,
    reset: Flags | None,
    lengths: Lengths | None,
) -> tuple[Hidden, State]:
    result: tuple[Hidden, State] = _fused().run(cell, x, state, reset, lengths)
    return result


def run_of_table(
    cell: Recurrence, ids: Tensor, vectors: Tensor, state: State, reset: Flags | None
) -> tuple[Hidden, State] | None:
    """Run the path `fused` over the rows `ids` `[B, T]` of a table of `vectors` `[V, D]`.

    Returns nothing where no kernel can be given that.
    """
    result: tuple[Hidden, State] | None = _fused().run_of_table(cell, ids, vectors, state, reset)
    return result


NO_NATIVE = "torch has no kernel for {}, or for these options"
NO_SCAN = "{} is not a ScanCell: its state does not go on linearly"
NO_CHUNKWISE = "{} has no form of its own over a whole window"

PATHS: dict[str, Path] = {
    "native": Path(native.run, _needs("native", NO_NATIVE)),
    "fused": Path(_run_fused, _fused_refusal, declared=False),
    "scan": Path(scan.run, _needs("scan", NO_SCAN)),
    "chunkwise": Path(chunkwise.run, _needs("chunkwise", NO_CHUNKWISE), even=False),
    "eager": Path(eager.run),
}
"""Every path by name, the usually faster first; `eager` is last, always there and always right."""


def run(
    cell: Recurrence,
    path: str,
    x: Encoded,
    state: State,
    *,
    reset: Flags | None = None,
    lengths: Lengths | None = None,
) -> tuple[Hidden, State]:
    """Execute a recurrence over a window `[B, T, D]` on a path.

    `reset` marks the steps before which a row's state starts afresh. `lengths` says how many steps
    of each row count: after them the row keeps its state and gives zeros, whatever is marked there.
    Returns the outputs `[B, T, H]` and the state after the window.
    """
    if reset is not None and lengths is not None:
        reset = reset & within(lengths, x.shape[1])
    return PATHS[path].run(cell, x, state, reset, lengths)
