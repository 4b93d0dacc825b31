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
    made = plan(cell, dtype)
    return stages(made, kernel(made.joint))


def stages(planned: Plan, made: Kernel) -> dict[str, object]:
    """Return what each pass made of a cell, from its recorded step to the C."""
    return {
        "record": planned.step,
        "split": planned.parts,
        "gradient": planned.joint,
        **made.stages(),
    }


def stages_of_step(joint: Joint, made: Kernel) -> dict[str, object]:
    """Return what each pass made of one step of a network, which is neither split nor
    differentiated.
    """
    return {"record": joint, **made.stages()}


def dump(name: str, made: Callable[[], Mapping[str, object]]) -> None:
    """Write what each pass made into a folder of its own under `RECURRA_DUMP`; nothing is asked if
    that is not set.
    """
    base = os.environ.get("RECURRA_DUMP")
    if not base:
        return

    texts = {
        f"{place}-{title}": f"{what}\n" for place, (title, what) in enumerate(made().items(), 1)
    }
    digest = hashlib.sha256("".join(texts.values()).encode()).hexdigest()[:8]
    folder = Path(base).expanduser() / f"{name}-{digest}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for title, text in texts.items():
            suffix = "c" if title.endswith("emit") else "txt"
            (folder / f"{title}.{suffix}").write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        warnings.warn(
            f"RECURRA_DUMP: nothing can be written to {folder}: {reason}",
            RuntimeWarning,
            stacklevel=2,
        )
