"""What the task of a run meant before a key, or a bound, existed.

A run records its whole task, so a key that its task.toml lacks did not exist when it was made. The
run goes on with what was done then, and not with the default of today, which is for new runs.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from recurra.spec.document import Document, Key, Layer
from recurra.spec.schedules import SCHEDULES
from recurra.spec.table import MOST
from recurra.spec.tables import DEFAULT_TARGET, Generation, Sequence, Training

BEFORE: dict[tuple[str, str], Any] = {
    ("sequence", "restart"): 0.0,  # lanes began afresh with each epoch, and at no other window
    ("training", "keep_checkpoints"): 1,  # the last and the best were kept
}
"""The value in force before a key existed, by its table and name."""


def settled(document: Document) -> None:
    """Say what is asked where a task does not.

    The key that said so before targets had a table is dropped.
    """
    sequence = document.table(("sequence",)) or {}
    if sequence.get("target") == DEFAULT_TARGET:
        document.remove(("sequence", "target"))
    if "target" not in document.data:
        layer = Layer("what is asked by default", document.path.parent)
        document.add(layer, {"target": {"kind": DEFAULT_TARGET}})


def complete(document: Document) -> None:
    """Give the task of a run each key that it lacks, at the value in force before there was one."""
    layer = Layer("the version that made the run", document.path.parent)
    for (table, name), value in BEFORE.items():
        keys = document.table((table,)) if table in document.data else {}
        # Where there are no keys, what stands there is no table: told when it is checked.
        if keys is not None and name not in keys:
            document.add(layer, {table: {name: value}})
    _bound(document)


BOUNDED: tuple[tuple[Key, type[BaseModel]], ...] = (
    (("sequence",), Sequence),
    (("training",), Training),
    (("generation",), Generation),
    *((("training", "schedule"), schedule) for schedule in SCHEDULES.values()),
)
"""The tables that hold counts, and their models."""


def _bound(document: Document) -> None:
    """Take `MOST` for each count above it: nothing refused it when the run was made."""
    for key, model in BOUNDED:
        table = document.table(key) or {}
        for name, rule in model.model_fields.items():
            bounds = [getattr(bound, "le", None) for bound in rule.metadata]
            count = table.get(name)
            recorded = not document.layer((*key, name)).override
            if recorded and MOST in bounds and isinstance(count, int) and count > MOST:
                table[name] = MOST
