"""What enters is checked where it enters: the first value that could not be used later is named at
once.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from corpora import Fake
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recurra import InputError, Piece, PluginError, RecurraError, Vocabulary
from recurra.contracts.source import PAST
from recurra.data import intake
from recurra.data.corpus import build
from recurra.data.intake import LARGEST
from recurra_vocabularies.byte import Byte, ByteOptions
from recurra_vocabularies.category import Category, CategoryOptions
from recurra_vocabularies.character import Character, CharacterOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions

laws = settings(deadline=None, max_examples=25)
MAKERS: dict[str, Any] = {
    "text": lambda: Byte(ByteOptions()),
    "tokens": lambda: Category(CategoryOptions()),
    "numbers": lambda: Numeric(NumericOptions()),
}


def refusal(
    pieces: list[Any], element: str, vocabulary: Vocabulary[Any] | None = None
) -> RecurraError:
    with pytest.raises(RecurraError) as caught:
        build(
            Fake(pieces), vocabulary or MAKERS[element](), owners=("odd/source", "odd/vocabulary")
        )
    return caught.value


@laws
@given(
    before=st.text(max_size=9),
    after=st.text(max_size=9),
    half=st.integers(0xD800, 0xDFFF),
    tokens=st.booleans(),
)
@example("", "", 0xD83D, False)
def test_half_a_pair_is_refused_at_its_place(
    before: str, after: str, half: int, tokens: bool
) -> None:
    """Wherever half of a surrogate pair stands, in text or in a token, it is refused with its
    position.
    """
    whole = [
        Piece(["x", "y"] if tokens else "xy"),
        Piece(["a", "b"] if tokens else before + "ab", False),
    ]
    build(Fake(whole), MAKERS["tokens" if tokens else "text"]())
    broken = Piece([before, before + chr(half) + after] if tokens else before + chr(half) + after)
    error = refusal([whole[0], broken], "tokens" if tokens else "text")
    assert isinstance(error, InputError) and error.problems[0].code == "RC042"
    at = 2 + 1 if tokens else 2 + len(before)
    assert (
        f"U+{half:04X}" in str(error)
        and f"position {at}," in str(error)
        and "in sequence 2" in str(error)
    )


@laws
@given(
    value=st.sampled_from([np.nan, np.inf, -np.inf, 1e300, -2 * LARGEST]),
    row=st.integers(0, 5), column=st.integers(0, 1),
)  # fmt: skip
def test_a_number_that_no_figure_holds_is_refused_at_its_place(
    value: float, row: int, column: int
) -> None:
    """What is not finite, or has squares that cannot be added up, is named by position and
    feature.
    """
    rows = np.ones((6, 2))
    rows[row, column] = value
    error = refusal([Piece(np.ones((3, 2))), Piece(rows, False)], "numbers")
    assert isinstance(error, InputError) and error.problems[0].code == "RC042"
    assert f"position {3 + row}, feature {column}, in sequence 1" in str(error)


PIECES: dict[str, tuple[str, Any]] = {
    "bytes for text": ("text", Piece(b"ab")),
    "a list for text": ("text", Piece(["a", "b"])),
    "None for text": ("text", Piece(None)),
    "a text for a piece": ("text", "ab"),
    "a pair for a piece": ("text", ("ab", True)),
    "a text for tokens": ("tokens", Piece("ab")),
    "a number among tokens": ("tokens", Piece(["a", 1])),
    "None among tokens": ("tokens", Piece(["a", None])),
    "one axis of numbers": ("numbers", Piece(np.ones(4))),
    "three axes of numbers": ("numbers", Piece(np.ones((4, 1, 1)))),
    "flags for numbers": ("numbers", Piece(np.ones((4, 1), bool))),
    "complex numbers": ("numbers", Piece(np.ones((4, 1), complex))),
    "objects for numbers": ("numbers", Piece(np.array([[1.0], [None]]))),
    "texts for numbers": ("numbers", Piece(np.array([["1"], ["2"]]))),
    "ragged numbers": ("numbers", Piece([[1.0], [1.0, 2.0]])),
}


@pytest.mark.parametrize("what", PIECES)
def test_what_is_no_piece_of_its_kind_is_the_sources_fault(what: str) -> None:
    """A wrong type or shape is told with the source's name, and never becomes something else."""
    element, piece = PIECES[what]
    error = refusal([piece], element)
    assert isinstance(error, PluginError) and error.problems[0].code == "RC071"
    assert "odd/source" in str(error)


def test_rows_have_one_width() -> None:
    """A later piece of another width is refused, not broadcast."""
    error = refusal([Piece(np.ones((2, 2))), Piece(np.ones((1, 3)))], "numbers")
    assert (
        isinstance(error, PluginError)
        and "2 numbers" in str(error)
        and "position 2 3" in str(error)
    )


@pytest.mark.parametrize("dtype", [np.float32, np.int8, np.uint64])
def test_numbers_of_every_real_type_are_taken(dtype: Any) -> None:
    """Whole numbers and narrow floats are numbers."""
    assert (
        build(Fake([Piece(np.ones((3, 2), dtype))]), MAKERS["numbers"]()).values.dtype == np.float64
    )


@pytest.mark.parametrize("fold", ["dev", "Test", "train\n", ""])
def test_a_fold_that_is_no_split_is_refused_by_its_sequence(fold: str) -> None:
    """Whatever source gives it; one that it does not give is the source's fault, and one that
    nobody reads is none.
    """
    whole = Piece("ab", True, {"fold": "train"})
    with pytest.raises(InputError, match=r"the fold of sequence 2 is(.|\n)*RC042"):
        build(Fake([whole, Piece("ba", True, {"fold": fold})]), MAKERS["text"](), roles=("fold",))
    with pytest.raises(PluginError, match=r"the fold of sequence 2 is nothing(.|\n)*RC071"):
        build(Fake([whole, Piece("ba")]), MAKERS["text"](), roles=("fold",))
    store = build(
        Fake([whole, Piece("b", False), Piece("ba", True, {"fold": "test"})]),
        MAKERS["text"](),
        roles=("fold",),
    )
    assert store.columns == {"fold": ["train", "test"]}
    bare = [
        build(Fake([Piece("ab", True, said), Piece("ba")]), MAKERS["text"]())
        for said in ({}, {"fold": fold})
    ]
    assert bare[0].columns == bare[1].columns == {} and bare[0].fingerprint == bare[1].fingerprint


class Odd(Character):
    """A vocabulary that gives whatever it is told to."""

    given: Any = None
    kept: Any = None

    def encode(self, values: str) -> Any:
        return super().encode(values) if self.given is None else self.given

    def save(self) -> Any:
        return super().save() if self.kept is None else self.kept


ENCODED: dict[str, Any] = {
    "an id that there is not": np.array([0, 2]),
    "a negative id": np.array([-1]),
    "floats": np.array([0.0, 1.0]),
    "flags": np.array([True, False]),
    "two axes": np.array([[0, 1]]),
    "text": "ab",
}
SAVED: dict[str, Any] = {
    "a set": {"points": {1}}, "bytes": {"points": b"a"}, "nan": {"x": float("nan")},
    "half a pair": {"x": "\ud800"}, "a list": [1], "an array": {"x": np.ones(1)},
}  # fmt: skip


@pytest.mark.parametrize("what", [*ENCODED, *SAVED])
def test_what_a_vocabulary_gives_is_held_to_its_contract(what: str) -> None:
    """Ids that have no row and what JSON cannot hold are told with the vocabulary's name, before
    they are used.
    """
    vocabulary = Odd(CharacterOptions())
    vocabulary.given, vocabulary.kept = ENCODED.get(what), SAVED.get(what)
    error = refusal([Piece("ab")], "text", vocabulary)
    assert isinstance(error, PluginError) and error.problems[0].code == "RC071"
    assert "odd/vocabulary" in str(error)


@given(lengths=st.lists(st.integers(1, 4), min_size=1, max_size=4), pick=st.integers(0, 99))
@laws
def test_a_number_of_a_given_file_is_placed_in_its_own_sequence(lengths, pick):
    """Each sequence of a given file is judged by itself: the place of a fault is told as it lies in
    it, whatever came before that, for what is read and for a covariate alike.
    """
    row = pick % len(lengths)
    at = pick % lengths[row]
    for spoiled in ("values", "covariate"):
        made = []
        for index, length in enumerate(lengths):
            values, beside = np.ones((length, 1)), np.ones(length)
            if index == row:
                (values[:, 0] if spoiled == "values" else beside)[at] = 1e300
            made.append(Piece(values, True, {PAST: {"load": beside}}))
        found = [*intake.pieces(Fake(made), "numbers", "a/source", (PAST,), given=True)]
        wrong = [index for index, piece in enumerate(found) if isinstance(piece.values, InputError)]
        assert wrong == [row]
        assert re.search(rf"1e\+300 .*at position {at}\b", str(found[row].values))
