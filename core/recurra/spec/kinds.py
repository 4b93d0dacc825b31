"""What becomes of a table's options when a layer gives the table another kind than the layers
below.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from recurra.spec.document import Change, Document, Key


@dataclass(frozen=True)
class Exchange:
    """One kind in place of another: whether an option is of the kind before, and which options both
    share.
    """

    before: Container[str]
    shared: Container[str]

    @classmethod
    def of(cls, before: type[BaseModel], after: type[BaseModel]) -> Exchange:
        """Compare two models: they share the fields of their common bases, and what the later one
        has no default for.

        So `hidden_size`, which all cells have from `CellOptions`, stays when an lstm becomes a gru,
        and `path` stays when a csv source becomes a text; `forget_bias` and `columns` do not.
        """
        bases = [
            base for base in before.__mro__ if base in after.__mro__ and issubclass(base, BaseModel)
        ]
        shared = {name for base in bases for name in base.model_fields}
        needed = {
            name
            for name, rule in after.model_fields.items()
            if rule.is_required() or rule.default is None
        }
        return cls(before.model_fields.keys(), shared | (needed & before.model_fields.keys()))


def settle(
    document: Document, key: Key, exchange: Callable[[Any, Any], Exchange | None]
) -> list[str]:
    """Take out of a table what belongs to a kind that another layer has replaced; return what was
    done, in words.

    `exchange` compares two kinds, and gives None where they are one, or either is not known. What
    was written in the layer of the new kind, or above it, is never touched, nor is a key that
    neither kind has: it is an error.
    """
    notes = []
    for change in document.changes.get(key, []):
        table = document.table(key)
        compared = exchange(change.before, change.after)
        if table is None or compared is None:
            continue
        inherited = [
            name for name in table if name != "kind" and document.inherited((*key, name), change)
        ]
        left_out = [
            name for name in inherited if name in compared.before and name not in compared.shared
        ]
        for name in left_out:
            document.remove((*key, name))
        if left_out:
            stay = [name for name in inherited if name in compared.shared]
            notes.append(_note(document, key, change, stay, left_out))
    return notes


def _note(
    document: Document, key: Key, change: Change, stay: list[str], left_out: list[str]
) -> str:
    """Return what a change of kind did to the options of the layers below."""
    name = ".".join(map(str, key))
    kept = f"{', '.join(stay)} {'stays' if len(stay) == 1 else 'stay'} as before, " if stay else ""
    gone = (
        f"{', '.join(left_out)} of {change.before} {'is' if len(left_out) == 1 else 'are'} left out"
    )
    label = document.layers[change.layer].label
    return f"{name} is {change.after} in place of {change.before} ({label}): {kept}{gone}"
