"""What is said of a whole sequence: its label and its fold.

They are one text each, which the piece carries that starts the sequence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from recurra import Element, Piece, Role

Fold: TypeAlias = Literal["train", "validation", "test"]
"""The split that a sequence is in, where the data says so."""
FOLDS: tuple[str, ...] = get_args(Fold)


def roles(
    offers: tuple[Element, ...], labelled: bool, folded: bool = False
) -> Mapping[Role, tuple[Element, ...]]:
    """Return the columns of a source that reads such elements, with labels and folds or without."""
    columns: dict[Role, tuple[Element, ...]] = {"input": offers}
    if labelled:
        columns["label"] = ("text",)
    if folded:
        columns["fold"] = ("text",)
    return columns


def piece(values: Any, start: bool, label: str | None, fold: str | None = None) -> Piece:
    """Return a piece of a sequence; the one that starts it carries its label and its fold."""
    if not start or (label is None and fold is None):
        return Piece(values, start)

    columns: dict[Role, str] = {}
    if label is not None:
        columns["label"] = label
    if fold is not None:
        columns["fold"] = fold
    return Piece(values, start, columns)
