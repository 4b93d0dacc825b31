"""Sequences written in the task file."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import AfterValidator, model_validator

from recurra import Element, Field, InputError, Options, Piece, Role, Source
from recurra_sources import labels
from recurra_sources.labels import Fold
from recurra_sources.names import HALF_CURE, half_pair
from recurra_sources.unfolding import UNITS


def _finite_or_nan(number: float) -> float:
    if math.isinf(number):
        raise ValueError("a number must be finite, or nan where it is missing")
    return number


MayLack = Annotated[float, Field(allow_inf_nan=True), AfterValidator(_finite_or_nan)]
"""A number, or nan, which is one that is missing."""
FORMS: dict[str, Element] = {
    "text": "text",
    "texts": "text",
    "tokens": "tokens",
    "values": "numbers",
    "series": "numbers",
}
"""The options that hold sequences, and what these are made of."""


class InlineOptions(Options):
    """Options of inline: exactly one that holds sequences, and what is said of these."""

    text: str | None = Field(None, description="one sequence of text")
    texts: list[str] | None = Field(None, description="several sequences of text")
    tokens: list[str] | list[list[str]] | None = Field(
        None, description="one sequence of whole tokens, or a list of tokens for each of several"
    )
    values: list[MayLack] | list[list[MayLack]] | None = Field(
        None,
        description="one series: a number a step, or a list of numbers a step for several features",
    )
    series: list[list[MayLack]] | list[list[list[MayLack]]] | None = Field(
        None,
        description=(
            "several series, each as values is one: of one number a step, or of several features"
        ),
    )
    missing: Literal["error", "keep"] = Field(
        "error",
        description=(
            "a number that is nan: refuse it (error), or let it be missing (keep): the network"
            " reads the last one and that it is missing, and is not asked for it"
        ),
    )
    labels: list[str | int | float | list[float]] | None = Field(
        None,
        description=(
            'a label for each sequence, in their order; labels are text, so that 1 and "1" are one;'
            " where numbers answer, a list of numbers for each too"
        ),
    )
    answers: list[str] | list[list[str]] | None = Field(
        None,
        description=(
            "what is to follow each sequence, in their order: texts, or lists of tokens where the"
            " sequences are such; of each it may be nothing"
        ),
    )
    folds: list[Fold] | None = Field(
        None,
        description=(
            "the split that each sequence is in, in their order; sequence.split is then left out"
        ),
    )

    tags: list[str | int | float] | list[list[str | int | float]] | None = Field(
        None,
        description=(
            "a tag for each character, token or step, a list of them for each of several sequences"
        ),
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> InlineOptions:
        names = [name for name in FORMS if getattr(self, name) is not None]
        if len(names) != 1:
            got = names or "none"
            raise ValueError(
                f"give exactly one of text, texts, tokens, values and series; got {got}"
            )
        return self

    @model_validator(mode="after")
    def _steps_have_one_width(self) -> InlineOptions:
        name, sequences = self.content()
        if FORMS[name] != "numbers":
            return self

        widths = set()
        for series in sequences:
            widths |= {len(step) if isinstance(step, list) else 1 for step in series}
        if 0 in widths:
            raise ValueError(f"{name}: every step must have one number or more; one has none")
        if len(widths) > 1:
            raise ValueError(
                f"{name}: every step must have the same number of features; got {sorted(widths)}"
            )
        return self

    @model_validator(mode="after")
    def _no_number_is_missing(self) -> InlineOptions:
        name, sequences = self.content()
        if FORMS[name] != "numbers" or self.missing == "keep":
            return self
        for place, series in enumerate(sequences, 1):
            for step, row in enumerate(series, 1):
                if any(number != number for number in (row if isinstance(row, list) else [row])):
                    where = f"step {step} of sequence {place}"
                    raise ValueError(
                        f'{name}: {where} is nan; missing = "keep" lets numbers be missing'
                    )
        return self

    @model_validator(mode="after")
    def _every_sequence_has_a_label(self) -> InlineOptions:
        if self.labels is None:
            return self

        name, sequences = self.content()
        if len(self.labels) != len(sequences):
            raise ValueError(
                f"labels: give one label for each sequence; got {len(self.labels)}, and {name}"
                f" holds {len(sequences)}"
            )

        for index, (label, sequence) in enumerate(zip(self.labels, sequences, strict=True)):
            if not label if isinstance(label, list) else not str(label).strip():
                raise ValueError(f"labels: labels[{index}] is empty")
            if not sequence:
                where = f"labels[{index}] is {label!r}"
                raise ValueError(f"labels: {where}, and the sequence that it is of is empty")
        return self

    @model_validator(mode="after")
    def _every_sequence_has_an_answer(self) -> InlineOptions:
        if self.answers is None:
            return self

        name, sequences = self.content()
        element = FORMS[name]
        if element == "numbers":
            raise ValueError(f"answers: they follow text or tokens, and {name} holds numbers")
        if len(self.answers) != len(sequences):
            raise ValueError(
                f"answers: give one answer for each sequence; got {len(self.answers)}, and {name}"
                f" holds {len(sequences)}"
            )

        texts = all(isinstance(answer, str) for answer in self.answers)
        if self.answers and texts != (element == "text"):
            form = "a text" if element == "text" else "a list of tokens"
            raise ValueError(f"answers: {name} holds {element}, so each answer must be {form}")
        return self

    @model_validator(mode="after")
    def _every_sequence_has_a_fold(self) -> InlineOptions:
        name, sequences = self.content()
        if self.folds is not None and len(self.folds) != len(sequences):
            raise ValueError(
                f"folds: give one fold for each sequence; got {len(self.folds)}, and {name} holds"
                f" {len(sequences)}"
            )
        return self

    @model_validator(mode="after")
    def _every_element_has_a_tag(self) -> InlineOptions:
        if self.tags is None:
            return self
        name, sequences = self.content()
        tags = self.tags_of_sequences()
        if len(tags) != len(sequences):
            raise ValueError(
                f"tags: give a list of tags for each sequence; got {len(tags)}, and {name} holds"
                f" {len(sequences)}"
            )

        for index, (own, sequence) in enumerate(zip(tags, sequences, strict=True)):
            if len(own) != len(sequence):
                unit = UNITS[FORMS[name]]
                raise ValueError(
                    f"tags: sequence {index + 1} has {len(own)} tags for {len(sequence)} {unit}:"
                    " give each one tag"
                )
            empty = [place for place, tag in enumerate(own) if not tag.strip()]
            if empty:
                raise ValueError(f"tags: tag {empty[0] + 1} of sequence {index + 1} is empty")
        return self

    def tags_of_sequences(self) -> list[list[str]]:
        """Return the tags of each sequence, as text."""
        given: list[Any] = self.tags or []
        nested = any(isinstance(each, list) for each in given)
        lists = given if nested or not given else [given]
        return [[str(tag) for tag in tags] for tags in lists]

    def content(self) -> tuple[str, list[Any]]:
        """Return the option that holds sequences, and these."""
        name = next(name for name in FORMS if getattr(self, name) is not None)
        value = getattr(self, name)
        several = name in ("texts", "series")
        if name == "tokens":
            several = any(isinstance(each, list) for each in value)
        return name, value if several else [value]


class Inline(Source[InlineOptions]):
    """Gives what the task file holds."""

    offers: ClassVar[tuple[Element, ...]] = ("text", "tokens", "numbers")

    @property
    def keeps_missing(self) -> bool:
        """Whether numbers that are missing are given as such."""
        return self.options.missing == "keep"

    def read(self, element: Element) -> Iterator[Piece]:
        """Give each sequence as one piece."""
        name, sequences = self.options.content()
        if sequences and FORMS[name] != element:
            fact = f"the inline source holds {FORMS[name]}, but the vocabulary reads {element}"
            raise InputError.of("RC030", fact, key="source")

        for index, sequence in enumerate(sequences):
            # A sequence of nothing has no piece, but it has its place in the order of labels; one
            # that is answered is there all the same.
            if not sequence and self.options.answers is None:
                continue

            values: Any = sequence if isinstance(sequence, str) else [*sequence]
            if element == "numbers":
                numbers = np.array(sequence, np.float64)
                values = numbers.reshape(len(sequence), -1)
            else:
                _check_whole("".join(sequence))

            folds = self.options.folds
            fold = None if folds is None else folds[index]
            answer, tags = self._answer(index), self._tags(index)
            yield labels.piece(values, True, self._label(index), fold, answer, tags)

    def _answer(self, index: int) -> str | list[str] | None:
        """Return the answer to a sequence, where they have such."""
        if self.options.answers is None:
            return None
        answer = self.options.answers[index]
        _check_whole("".join(answer))
        return answer

    def _tags(self, index: int) -> list[str] | None:
        """Return the tags of a sequence, where they have such."""
        if self.options.tags is None:
            return None
        tags = self.options.tags_of_sequences()[index]
        _check_whole("".join(tags))
        return tags

    def _label(self, index: int) -> str | None:
        """Return the label of a sequence, where they have such.

        Raises `InputError` (RC042) for several numbers where a label is the name of a class.
        """
        if self.options.labels is None:
            return None
        given = self.options.labels[index]
        if isinstance(given, list):
            if self.label_elements != "numbers":
                fact = f"labels[{index}] is a list, and a class is named by one text"
                cure = "give one; several numbers are for a target that answers with them, as value"
                got = repr(given)
                raise InputError.of("RC042", fact, key="source.labels", got=got, cure=cure)
            return " ".join(map(repr, given))
        label = str(given)
        _check_whole(label)
        return label

    def fingerprint(self) -> str:
        """Return a hash of what the task file holds."""
        content = self.options.model_dump_json(exclude=None if self.keeps_missing else {"missing"})
        return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()

    def columns(self) -> Mapping[Role, tuple[Element, ...]]:
        """Return what is read, and what is said of each sequence where there is such."""
        options = self.options
        labelled, folded = options.labels is not None, options.folds is not None
        answered, tagged = options.answers is not None, options.tags is not None
        return labels.roles(self.offers, labelled, folded, answered, tagged)


def _check_whole(text: str) -> None:
    """Raise `InputError` (RC042) for half a surrogate pair, which Python lets a text hold."""
    at = half_pair(text)
    if at is not None:
        fact = f"the inline source holds {ascii(text[at])}, half a surrogate pair"
        raise InputError.of("RC042", fact, key="source", cure=HALF_CURE)
