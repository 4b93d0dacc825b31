"""What becomes of a table's options when a layer gives the table another kind."""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from recurra.spec.document import Change, Document, Key


@dataclass(frozen=True)
class Exchange:
    """One kind in place of another: the options of the kind before, and those that both share."""

    before: Container[str]
    shared: Container[str]

    @classmethod
    def of(cls, before: type[BaseModel], after: type[BaseModel]) -> Exchange:
        """Compare the models of two kinds.

        They share the fields of their common bases, and what the later one has no default for. So
        `hidden_size`, which all cells have from `CellOptions`, stays when an lstm becomes a gru,
        and `path` stays when a csv source becomes a text; `forget_bias` and `columns` do not.
        """
        shared: set[str] = set()
        for base in before.__mro__:
            if issubclass(base, BaseModel) and issubclass(after, base):
                shared |= base.model_fields.keys()

        options = before.model_fields.keys()
        for name, rule in after.model_fields.items():
            needed = rule.is_required() or rule.default is None
            if needed and name in options:
                shared.add(name)
        return cls(options, shared)


def settle(
    document: Document, key: Key, exchange: Callable[[Any, Any], Exchange | None]
) -> list[str]:
    """Take out of a table what belongs to a kind that another layer has replaced.

    Returns what was done, in words. `exchange` compares two kinds, and gives None where they are
    one, or either is not known. What was written in the layer of the new kind, or above it, is
    never touched, nor is a key that neither kind has: it is an error.
    """
    notes = []
    for change in document.changes.get(key, []):
        table = document.table(key)
        compared = exchange(change.before, change.after)
        if table is None or compared is None:
            continue

        # Only what the layers below have said is in question.
        stay: list[str] = []
        left_out: list[str] = []
        for name in table:
            if name == "kind" or not document.inherited((*key, name), change):
                continue
            if name in compared.shared:
                stay.append(name)
            elif name in compared.before:
                left_out.append(name)

        for name in left_out:
            document.remove((*key, name))
        if left_out:
            notes.append(_note(document, key, change, stay, left_out))
    return notes


def _note(
    document: Document, key: Key, change: Change, stay: list[str], left_out: list[str]
) -> str:
    """Return what a change of kind did to the options of the layers below."""
    table = ".".join(map(str, key))
    label = document.layers[change.layer].label
    note = f"{table} is {change.after} in place of {change.before} ({label}): "
    if stay:
        verb = "stays" if len(stay) == 1 else "stay"
        note += f"{', '.join(stay)} {verb} as before, "
    verb = "is" if len(left_out) == 1 else "are"
    return f"{note}{', '.join(left_out)} of {change.before} {verb} left out"
