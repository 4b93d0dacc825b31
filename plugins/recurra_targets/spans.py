"""Spans that tags mark, such as names of several words, by the rules of conlleval.

A tag is O, or a mark and a kind: B-PER begins a span, I-PER goes on, and in BIOES E-PER ends one
and S-PER is one alone. conlleval (Tjong Kim Sang & Buchholz 2000, www.cnts.ua.ac.be/conll2000)
reads spans of whatever comes: I-PER after O, or after another kind, begins one too.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from recurra import Figure, InputError, Metric, Metrics, Vocabulary

OUTSIDE = "O"
SHOWN = 3
"""Tags that an error names."""

Ints = NDArray[np.int64]


class Marks:
    """The marks and kinds of some tags, and where spans begin and end among them."""

    def __init__(self, names: list[str]) -> None:
        kinds = [name.partition("-")[2] for name in names]
        numbers = {kind: number for number, kind in enumerate(dict.fromkeys(kinds))}
        # Behind the last tag stands what is before and after all sequences.
        self.marks = np.array([name.partition("-")[0] for name in names] + [OUTSIDE])
        self.kinds = np.array([numbers[kind] for kind in kinds] + [-1], np.int64)

    def spans(self, tags: Ints, sequence: Ints) -> tuple[Ints, Ints, Ints]:
        """Return first step, last step and kind of each span of tags `[N]`, in order.

        Steps that follow each other are of one `sequence` if they have the same number.
        """
        if not len(tags):
            return tags, tags, tags
        inside = np.append(sequence[1:] == sequence[:-1], False)
        none = len(self.marks) - 1
        after = np.where(inside, np.append(tags[1:], none), none)
        before = np.append(none, np.where(inside, tags, none)[:-1])

        first = np.flatnonzero(self._begins(before, tags))
        last = np.flatnonzero(self._ends(tags, after))
        return first, last, self.kinds[tags[first]]

    def _begins(self, before: Ints, here: Ints) -> NDArray[np.bool_]:
        """Return where a span begins: the rules of conlleval's startOfChunk."""
        old, new = self.marks[before], self.marks[here]
        after_end = np.isin(old, ["E", "S", OUTSIDE]) & np.isin(new, ["E", "I"])
        other = (new != OUTSIDE) & (self.kinds[before] != self.kinds[here])
        return np.asarray(np.isin(new, ["B", "S"]) | after_end | other)

    def _ends(self, here: Ints, after: Ints) -> NDArray[np.bool_]:
        """Return where a span ends: the rules of conlleval's endOfChunk."""
        old, new = self.marks[here], self.marks[after]
        before_begin = np.isin(old, ["B", "I"]) & np.isin(new, ["B", "S", OUTSIDE])
        other = (old != OUTSIDE) & (self.kinds[here] != self.kinds[after])
        return np.asarray(np.isin(old, ["E", "S"]) | before_begin | other)


def span_counts(marks: Marks, came: Ints, said: Ints, sequence: Ints) -> tuple[int, int, int]:
    """Return how many spans came, were said, and are right: the same steps, and the same kind."""
    true = set(zip(*(part.tolist() for part in marks.spans(came, sequence)), strict=True))
    told = set(zip(*(part.tolist() for part in marks.spans(said, sequence)), strict=True))
    return len(true), len(told), len(true & told)


def span_figures(came: int, said: int, right: int) -> Metrics:
    """Return precision, recall and their harmonic mean, each 0 where it would be of nothing."""
    return {
        "span_f1": 2 * right / (came + said) if came + said else 0.0,
        "span_precision": right / said if said else 0.0,
        "span_recall": right / came if came else 0.0,
    }


class Spans(Metric):
    """How many of the spans that tags mark were found, whole and of the right kind.

    Where an answer stands is told by its places; without these each stands alone.
    """

    ALLOWED: ClassVar[tuple[str, ...]] = ()
    FIGURES = (
        Figure("span_f1", higher=True, most=1.0, title="span F1"),
        Figure("span_precision", higher=True, most=1.0),
        Figure("span_recall", higher=True, most=1.0),
    )

    def __init__(
        self,
        vocabulary: Vocabulary[Any],
        scale: NDArray[np.float64] | None = None,
    ) -> None:
        super().__init__(vocabulary)
        names = [vocabulary.symbol(index) for index in range(vocabulary.size)]
        wrong = [name for name in names if not self._sound(name)]
        if wrong:
            shown = ", ".join(map(repr, wrong[:SHOWN]))
            marks = ", ".join(f"{mark}-KIND" for mark in self.ALLOWED)
            raise InputError.of(
                "RC042",
                "these tags do not mark spans as target.scheme says",
                key="target.scheme",
                got=shown,
                allowed=f"{OUTSIDE}, {marks}",
                cure="leave scheme out, or mend the tags",
            )
        self.marks = Marks(names)
        self.parts: list[tuple[Ints, Ints, Ints]] = []
        self.alone: Counter[tuple[int, int]] = Counter()

    @classmethod
    def _sound(cls, name: str) -> bool:
        """Tell whether a tag is one of the scheme."""
        mark, _, kind = name.partition("-")
        return name == OUTSIDE or (mark in cls.ALLOWED and bool(kind))

    @staticmethod
    def figures(vocabulary: type[Vocabulary[Any]]) -> tuple[Figure, ...]:
        """Return F1, and what it is the mean of."""
        return Spans.FIGURES

    def add(self, output: Tensor, target: Tensor) -> None:
        """Add logits `[N, C]` and ids `[N]` of steps that each stand alone."""
        said = output.argmax(dim=-1)
        self.alone.update(zip(target.tolist(), said.tolist(), strict=True))

    def add_at(self, output: Tensor, target: Tensor, places: Tensor) -> None:
        """Add logits `[N, C]` and ids `[N]` at places `[N, 2]`: which sequence, and which step."""
        said = output.argmax(dim=-1)
        part = (places.cpu().numpy(), target.cpu().numpy(), said.cpu().numpy())
        self.parts.append(part)

    def merge(self, other: Self) -> None:
        """Add the steps of others."""
        self.parts += other.parts
        self.alone.update(other.alone)

    def values(self) -> Metrics:
        """Return the figures.

        A step that is not scored stands between those beside it, as the end of a sequence does.
        """
        counts = np.zeros(3, np.int64)
        if self.parts:
            places, came, said = (np.concatenate(part) for part in zip(*self.parts, strict=True))
            order = np.lexsort((places[:, 1], places[:, 0]))
            places = places[order]
            # Steps that follow each other in one sequence have one number.
            gap = np.diff(places[:, 1]) != 1
            new = np.append(True, gap | (np.diff(places[:, 0]) != 0))
            counts += span_counts(self.marks, came[order], said[order], np.cumsum(new))

        for (came_tag, said_tag), times in self.alone.items():
            one = np.zeros(1, np.int64)
            pair = one + came_tag, one + said_tag
            counts += times * np.array(span_counts(self.marks, *pair, one))
        return span_figures(*counts.tolist())


class BioSpans(Spans):
    """The spans of BIO."""

    ALLOWED: ClassVar[tuple[str, ...]] = ("B", "I")


class BioesSpans(Spans):
    """The spans of BIOES."""

    ALLOWED: ClassVar[tuple[str, ...]] = ("B", "I", "E", "S")


SCHEMES: Mapping[str | None, tuple[type[Spans], ...]] = {
    None: (),
    "BIO": (BioSpans,),
    "BIOES": (BioesSpans,),
}
"""What measures spans, by how tags mark them."""
