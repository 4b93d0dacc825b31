"""What is said of a whole sequence, its label and its fold: one text each, which the piece carries
that starts it.
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
    """Return a piece of a sequence; the one that starts it carries its label and its fold, if it
    has such.
    """
    said: dict[Role, str | None] = {"label": label, "fold": fold}
    columns = {role: text for role, text in said.items() if start and text is not None}
    return Piece(values, start, columns) if columns else Piece(values, start)
