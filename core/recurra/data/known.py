"""What data is read with that a run has learned: it is not learned anew of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import Vocabulary
from recurra.data.answers import Answers, counted
from recurra.data.covariate_vocabulary import CovariateVocabulary
from recurra.data.labels import Labels
from recurra.data.splits import Split
from recurra.data.store import Tags
from recurra.errors import InputError

SHOWN = 8
"""New symbols, or labels, that a message names."""

New: TypeAlias = Literal["refused", "added", "unseen"]
"""What becomes of labels of training that a run does not know."""


@dataclass(frozen=True)
class Known:
    """A vocabulary, and answers, that are taken as they are; one that is not there is learned.

    `owner` is the run that they are of, in words. What it knows of `covariates` is taken with its
    vocabulary.
    """

    owner: str = ""
    vocabulary: Vocabulary[Any] | None = None
    answers: Answers | None = None
    new: New = "unseen"
    covariates: CovariateVocabulary | None = None

    @property
    def categories(self) -> frozenset[str] | None:
        """The covariates that are names of categories, where that is known."""
        return None if self.covariates is None else self.covariates.categories

    def answered(
        self, answers: Any, column: list[str], train: NDArray[np.int64]
    ) -> tuple[Answers, NDArray[Any]]:
        """Return its answers, and a column of them as ids `[n]` or scaled numbers `[n, F]`.

        Raises `InputError` (RC030, RC042, RC043) for what they lack.
        """
        values = answers.read(column)
        answers.fits(values, self.owner)
        if self.new != "unseen":
            added = answers.meet([values[row] for row in train.tolist()], self.owner)
            if added and self.new == "refused":
                raise unknown(self.owner, added, "label", "target")
        return answers, answers.encode(values)

    def tagged(self, labels: Labels, tags: Tags, train: Split) -> tuple[Labels, NDArray[np.int64]]:
        """Return its classes, and of each tag its id. Raises `InputError` (RC043)."""
        if self.new != "unseen":
            counts = dict(zip(tags.names, counted(tags, train).tolist(), strict=True))
            met = labels.meet([name for name, count in counts.items() if count], self.owner)
            if met and self.new == "refused":
                raise unknown(self.owner, {name: counts[name] for name in met}, "tag", "target")
        return labels, labels.encode(tags.names)


def unknown(owner: str, new: Mapping[str, int], noun: str, key: str) -> InputError:
    """Return the error of symbols, or labels, that a run does not know."""
    count = f"1 {noun}" if len(new) == 1 else f"{len(new):,} {noun}s"
    fact = f"{owner} does not know {count} of this data, {sum(new.values()):,} in all"
    cure = "give them rows of their own with --add-symbols (add_symbols=True), or leave them out"
    return InputError.of("RC043", fact, key=key, got=listed(new), cure=cure)


def listed(new: Mapping[str, int]) -> str:
    """Return the most frequent of some symbols, with how often each comes."""
    by_frequency = sorted(new, key=lambda name: (-new[name], name))
    text = ", ".join(f"{name!r} ({new[name]:,})" for name in by_frequency[:SHOWN])
    more = len(new) - SHOWN
    return f"{text} and {more:,} more" if more > 0 else text
