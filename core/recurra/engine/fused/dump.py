"""What every pass made of a cell, as files: `RECURRA_DUMP=FOLDER` keeps them, to be looked at."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from recurra.engine.fused.gradient import Joint
from recurra.engine.fused.kernel import Kernel, kernel
from recurra.engine.fused.plan import Plan, plan
from recurra.engine.recurrence import Recurrence


def passes(cell: Recurrence, dtype: torch.dtype = torch.float32) -> dict[str, object]:
    """Return what each pass makes of a cell, by the name of the pass; printed, each can be read.

    Raises `Unsupported` for a cell of which no kernel can be made.
    """
    planned = plan(cell, dtype)
    return stages(planned, kernel(planned.joint))


def stages(planned: Plan, loop_kernel: Kernel) -> dict[str, object]:
    """Return what each pass made of a cell, from its recorded step to the C."""
    return {
        "record": planned.step,
        "split": planned.parts,
        "gradient": planned.joint,
        **loop_kernel.stages(),
    }


def stages_of_step(joint: Joint, step_kernel: Kernel) -> dict[str, object]:
    """Return what each pass made of one step of a network; it is not split or differentiated."""
    return {"record": joint, **step_kernel.stages()}


def dump(name: str, stages: Callable[[], Mapping[str, object]]) -> None:
    """Write what each pass made into a folder of its own under `RECURRA_DUMP`.

    If that is not set, the stages are not asked for.
    """
    base = os.environ.get("RECURRA_DUMP")
    if not base:
        return

    texts: dict[str, str] = {}
    for place, (title, result) in enumerate(stages().items(), 1):
        suffix = "c" if title == "emit" else "txt"
        texts[f"{place}-{title}.{suffix}"] = f"{result}\n"

    # Kernels of one name differ by their text: the same cell at two sizes has two folders.
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:8]
    folder = Path(base).expanduser() / f"{name}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file_name, text in texts.items():
            (folder / file_name).write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        message = f"RECURRA_DUMP: nothing can be written to {folder}: {reason}"
        warnings.warn(message, RuntimeWarning, stacklevel=2)
