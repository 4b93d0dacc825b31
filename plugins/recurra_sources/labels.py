"""What is said of a whole sequence, its label, its answer and its fold, and of each element.

The piece carries it that starts the sequence: one text each, or an answer in tokens. Tags are as
many as a piece has elements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from recurra import Element, Piece, Role

Fold: TypeAlias = Literal["train", "validation", "test"]
"""The split that a sequence is in, where the data says so."""
FOLDS: tuple[str, ...] = get_args(Fold)


def roles(
    offers: tuple[Element, ...],
    labelled: bool,
    folded: bool = False,
    answered: bool = False,
    tagged: bool = False,
    timed: bool = False,
) -> Mapping[Role, tuple[Element, ...]]:
    """Return the columns of a source that reads such elements, with those that are there."""
    columns: dict[Role, tuple[Element, ...]] = {"input": offers}
    if labelled:
        columns["label"] = ("text",)
    if answered:
        columns["answer"] = ("text", "tokens")
    if folded:
        columns["fold"] = ("text",)
    if tagged:
        columns["tags"] = ("text",)
    if timed:
        columns["time"] = ("text",)
    return columns


def piece(
    values: Any,
    start: bool,
    label: str | None,
    fold: str | None = None,
    answer: str | list[str] | None = None,
    tags: Sequence[str] | None = None,
    time: str | None = None,
) -> Piece:
    """Return a piece of a sequence; the one that starts it carries what is said of it."""
    said: dict[Role, Any] = {"tags": tags}
    if start:
        said |= {"label": label, "fold": fold, "answer": answer, "time": time}
    columns = {role: value for role, value in said.items() if value is not None}
    return Piece(values, start, columns) if columns else Piece(values, start)
