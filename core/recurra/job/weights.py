"""What the columns of an answer weigh in the loss, as `[loss.columns.NAME]` says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recurra.contracts.loss import Loss
from recurra.contracts.options import LossColumn, LossOptions
from recurra.errors import InputError, listing, nearest
from recurra.job.elements import ELEMENTS
from recurra.model.scoring import scores_elements
from recurra.resolved import Resolved
from recurra.spec.spelling import dotted

KEY = ("loss", "columns")


def column_weights(
    resolved: Resolved, loss: Loss[Any], features: Sequence[str]
) -> tuple[float, ...]:
    """Return the weight of each column, of mean 1; none where a task gives none.

    `features` are the names of the columns, in order; without any they are 0, 1 and so on. Raises
    `InputError` (RC013, RC031) for a name that is none of them, for weights of which all are 0, and
    where nothing has columns to weigh.
    """
    options = resolved.parts["loss"].options
    table = options.columns if isinstance(options, LossOptions) else None
    if not table:
        return ()
    features = features or [str(index) for index in range(loss.size)]
    with resolved.placing():
        _check(resolved, loss, features, table)
        weights = [table[name].weight if name in table else 1.0 for name in features]
        total = sum(weights)
        if not total:
            fact = "every column weighs 0: nothing is left to learn"
            cure = "give one of them a weight above 0"
            raise InputError.of("RC013", fact, key=dotted(KEY), cure=cure)
    return tuple(weight * len(weights) / total for weight in weights)


def _check(
    resolved: Resolved, loss: Loss[Any], features: Sequence[str], table: dict[str, LossColumn]
) -> None:
    """Refuse a table that says nothing of what is answered."""
    key, cure = dotted(KEY), "leave loss.columns out"
    forecast = ELEMENTS[resolved.answers.yields].forecast
    if resolved.target.asks != "input" or not forecast:
        fact = "the answers are no columns of numbers that are read, and nothing can be weighed"
        raise InputError.of("RC031", fact, key=key, cure=cure)
    if not scores_elements(loss):
        name = resolved.parts["loss"].entry.component.name
        fact = f"loss {name!r} gives a step one number, and its columns cannot weigh otherwise"
        raise InputError.of("RC031", fact, key=key, cure=f"{cure}, or take mse, mae or huber")

    for name in table:
        if name not in features:
            fact = f"there is no column {name!r} among those that are predicted"
            close = nearest(name, features)
            place = dotted((*KEY, name))
            raise InputError.of("RC013", fact, key=place, allowed=listing(features), nearest=close)
