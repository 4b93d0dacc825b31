"""The store: the same values from memory and from disk, encoded once, whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import Fake
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import InputError, Options, Piece, RecurraError, SymbolOptions
from recurra.data import kept
from recurra.data.corpus import build, cache_folder
from recurra_sources.text import Text, TextOptions
from recurra_vocabularies.byte import Byte, ByteOptions
from recurra_vocabularies.category import Category, CategoryOptions
from recurra_vocabularies.character import Character, CharacterOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions
from recurra_vocabularies.word import Word, WordOptions

pieces = st.lists(st.tuples(st.text("abc \n", max_size=6), st.booleans()), min_size=1, max_size=8)


def characters(unknown: str = "error") -> Character:
    return Character(CharacterOptions(unknown=unknown))


def parts() -> list[Path]:
    return list(cache_folder().glob("part-*"))


@settings(deadline=None, max_examples=40)
@given(pieces=pieces, limit=st.integers(0, 12), numbers=st.booleans())
def test_memory_and_disk_hold_the_same(pieces, limit, numbers):
    """Values, starts and fingerprint do not depend on whether the corpus is held in memory or
    mapped.
    """
    if not any(text for text, _ in pieces):
        return
    if numbers:
        steps = [np.array([[ord(mark), 0.5] for mark in text]).reshape(-1, 2) for text, _ in pieces]
        given_in = [Piece(values, start) for values, (_, start) in zip(steps, pieces, strict=True)]
    else:
        given_in = [Piece(text, start) for text, start in pieces]
    with pytest.MonkeyPatch.context() as patch:
        found = []
        for index, bound in enumerate((1 << 20, limit)):
            patch.setenv(
                "RECURRA_CACHE", f"{os.environ['RECURRA_CACHE']}-{index}-{os.urandom(6).hex()}"
            )
            vocabulary = Numeric(NumericOptions()) if numbers else characters()
            found.append(build(Fake(given_in), vocabulary, bound))
    held, mapped = found
    assert type(held.values) is np.ndarray
    assert isinstance(mapped.values, np.memmap) == (held.values.size > limit)
    assert np.array_equal(held.values, mapped.values)
    assert held.values.dtype == mapped.values.dtype
    assert np.array_equal(held.starts, mapped.starts)
    assert held.fingerprint == mapped.fingerprint
    joined = "".join(text for text, _ in pieces)
    if numbers:
        assert held.values[:, 0].tolist() == [ord(mark) for mark in joined]
    else:
        assert vocabulary.decode(np.asarray(mapped.values)) == joined
    begun = {0} | {
        sum(len(text) for text, _ in pieces[:index])
        for index, (_, start) in enumerate(pieces)
        if start
    }
    assert held.starts.tolist() == sorted(at for at in begun if at < len(joined))


def test_the_fingerprint_tells_content_and_cuts_apart():
    """The same elements in other sequences, or other elements, have another fingerprint."""
    held = [
        build(Fake(content), characters()).fingerprint
        for content in (
            [Piece("ab")],
            [Piece("a"), Piece("b", False)],
            [Piece("a"), Piece("b")],
            [Piece("aa")],
        )
    ]
    assert held[0] == held[1]
    assert len(set(held)) == 3


def test_a_sequence_that_begins_with_unknown_symbols_still_begins():
    """A start whose own piece is left out whole passes to the next piece, so that two sequences
    never merge.
    """
    vocabulary = characters("skip")
    vocabulary.fit(["ab"])
    vocabulary.fit = lambda runs: [None for _ in runs]  # keeps what it knows
    for limit in (1 << 20, 1):
        store = build(
            Fake([Piece("ab"), Piece("??"), Piece("b", False), Piece("a", False)]),
            vocabulary,
            limit,
        )
        assert store.starts.tolist() == [0, 2]
        assert np.asarray(store.values).tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    "vocabulary", [characters, lambda: Word(WordOptions()), lambda: Byte(ByteOptions())]
)
def test_a_large_corpus_is_encoded_once(vocabulary):
    """The second build reads nothing of the source, and knows the same symbols."""
    source = Fake([Piece("to be, or not\n"), Piece("to be\n")])
    first, second = vocabulary(), vocabulary()
    one = build(source, first, 3)
    reads = source.reads
    two = build(source, second, 3)
    assert source.reads == reads > 0
    assert np.array_equal(one.values, two.values)
    assert np.array_equal(one.starts, two.starts)
    assert one.fingerprint == two.fingerprint
    assert first.save() == second.save()
    assert second.size > 0


def test_what_is_asked_decides_which_cached_corpus_is_taken():
    """Another mark of the source, or other options of the vocabulary, is another corpus."""
    build(Fake([Piece("abcabc")], "1"), characters(), 1)
    other = Fake([Piece("xyzxyz")], "2")
    assert build(other, characters(), 1).values.tolist() == [0, 1, 2, 0, 1, 2]
    assert other.reads
    again = Fake([Piece("abcabc")], "1")
    vocabulary = characters("token")
    build(again, vocabulary, 1)
    assert again.reads
    assert vocabulary.size == 4


def test_a_changed_file_is_read_again(tmp_path):
    """The cache follows the file: an edit of the same length is seen."""
    path = tmp_path / "book.txt"
    path.write_text("aaaa")
    os.utime(path, ns=(1, 1))
    source = Text(TextOptions(path=str(path)))
    build(source, characters(), 1)
    path.write_text("abab")
    vocabulary = characters()
    store = build(source, vocabulary, 1)
    assert vocabulary.decode(np.asarray(store.values)) == "abab"


@pytest.mark.parametrize("damage", ["about.json", "values.bin", "starts.npy", "cut", "garbage"])
def test_a_damaged_cache_is_built_again(damage):
    """What is missing or cut short in the cache folder is never mapped: the source is read
    again.
    """
    source = Fake([Piece("abcabcabc")])
    wanted = build(source, characters(), 1).values.tolist()
    (folder,) = cache_folder().iterdir()
    if damage == "cut":
        os.truncate(folder / "values.bin", 4)
    elif damage == "garbage":
        (folder / "about.json").write_text('{"dtype": "|u1", "sha')
    else:
        (folder / damage).unlink()
    reads = source.reads
    assert build(source, characters(), 1).values.tolist() == wanted
    assert source.reads > reads


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_a_disk_that_fills_up_leaves_nothing_behind(monkeypatch, after):
    """A write that fails half way is a clear error; no part of the corpus stays, and a later build
    is whole.
    """
    count = 0
    write_text, save = Path.write_text, np.save

    def full(function):
        def write(*arguments, **more):
            nonlocal count
            count += 1
            if count > after:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return function(*arguments, **more)

        return write

    class Full(np.ndarray):
        tofile = full(np.ndarray.tofile)

    real = np.ascontiguousarray
    source = Fake([Piece("abc"), Piece("cba")])
    with monkeypatch.context() as patch:
        patch.setattr(np, "ascontiguousarray", lambda values: real(values).view(Full))
        patch.setattr(np, "save", full(save))
        patch.setattr(Path, "write_text", full(write_text))
        with pytest.raises(
            RecurraError, match=r"cannot take the encoded corpus: No space left(.|\n)*RC053"
        ) as caught:
            build(source, characters(), 2)
    assert caught.value.exit_code == 1
    assert list(cache_folder().iterdir()) == []
    assert build(source, characters(), 2).values.tolist() == [0, 1, 2, 2, 1, 0]
    assert parts() == []


def test_a_source_that_fails_half_way_leaves_nothing_behind():
    """An error of the source is passed on as it is, and the half-written corpus is removed."""

    class Broken(Fake):
        def read(self, element):
            yield from super().read(element)
            if self.reads > 1:  # the first reading fits the vocabulary
                raise InputError.of("RC042", "row 7 is torn")

    with pytest.raises(InputError, match="row 7 is torn"):
        build(Broken([Piece("abc"), Piece("cba")]), characters(), 2)
    assert list(cache_folder().iterdir()) == []


def test_a_cache_folder_that_cannot_be_made_is_named(tmp_path, monkeypatch):
    """The error names the folder and the variable that moves it; a small corpus needs no folder at
    all.
    """
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "file" / "cache"))
    source = Fake([Piece("abcabc")])
    with pytest.raises(
        InputError, match=r"file/cache cannot be written(.|\n)*RC050(.|\n)*RECURRA_CACHE"
    ):
        build(source, characters(), 1)
    assert len(build(source, characters())) == 6


@pytest.mark.parametrize("given_in", [[], [Piece("")], [Piece(""), Piece("", False)]])
@pytest.mark.parametrize(
    "vocabulary", [characters, lambda: Word(WordOptions()), lambda: Byte(ByteOptions())]
)
def test_nothing_at_all_is_an_error(given_in, vocabulary):
    """A source without one element is refused."""
    with pytest.raises(InputError, match=r"gives no elements at all \[RC041\]"):
        build(Fake(given_in), vocabulary())


@pytest.mark.parametrize("unknown", ["error", "skip"])
def test_a_vocabulary_that_keeps_nothing_is_not_an_empty_source(unknown):
    """Where the source gives elements, the vocabulary is named, and what it may keep."""
    with pytest.raises(
        InputError, match=r"vocabulary: .* keeps none of them(.|\n)*RC041(.|\n)*come less often"
    ):
        build(Fake([Piece("one two two")]), Word(WordOptions(min_count=100, unknown=unknown)))


def test_no_numbers_is_an_error():
    """A series without one step is refused."""
    with pytest.raises(InputError, match="RC041"):
        build(Fake([]), Numeric(NumericOptions()))


@pytest.mark.parametrize(
    ("vocabulary", "known", "given_in", "position", "symbol"),
    [
        (Character, "abc ", ["ab", "", "cab", "cxb"], 6, "'x'"),
        (Word, "a bb ccc bb a", ["a bb", " ccc", " a bb x"], 5, "' x'"),
        (Category, ["up", "down"], [["up", "down"], ["up"], ["up", "left"]], 4, "'left'"),
    ],
)
@pytest.mark.parametrize("limit", [1, 1 << 20])
def test_an_unknown_symbol_is_counted_over_the_pieces(
    vocabulary, known, given_in, position, symbol, limit
):
    """The error gives the place in units of the vocabulary, from the start of the corpus."""
    options = {Character: CharacterOptions, Word: WordOptions, Category: CategoryOptions}[
        vocabulary
    ]
    made = vocabulary(options(unknown="error"))
    made.fit([known])
    made.fit = lambda runs: [None for _ in runs]
    source = Fake([Piece(values, index == 0) for index, values in enumerate(given_in)])
    with pytest.raises(
        InputError, match=rf"the source holds {symbol} .*at position {position},(.|\n)*RC043"
    ):
        build(source, made, limit)


def test_ids_take_the_smallest_type_that_holds_them():
    """255 and 256 symbols fit a byte, 257 do not."""
    for size, dtype in ((255, np.uint8), (256, np.uint8), (257, np.uint16)):
        text = "".join(map(chr, range(0x4E00, 0x4E00 + size)))
        store = build(Fake([Piece(text)]), characters())
        assert store.values.dtype == dtype
        assert store.values.tolist() == list(range(size))


def test_a_corpus_larger_than_memory_passes_through():
    """A hundred times the text needs the same memory, give or take what bookkeeping there is."""

    class Endless(Fake):
        def __init__(self, blocks):
            super().__init__([], str(blocks))
            self.blocks = blocks

        def read(self, element):
            for index in range(self.blocks):
                yield Piece(f"{index % 10:05}" * 4000, index == 0)

    peaks = []
    for blocks in (5, 500):  # 100 kB and 10 MB of text
        vocabulary = Byte(ByteOptions())
        tracemalloc.start()
        store = build(Endless(blocks), vocabulary, 20_000)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(store) == blocks * 20_000
    assert peaks[1] < peaks[0] + 100_000, peaks


def test_options_of_the_base_are_strict():
    """Nothing is taken for something else, and no key is left unread."""
    for model, table in (
        (Options, {"x": 1}),
        (SymbolOptions, {"unknown": "maybe"}),
        (WordOptions, {"min_count": "2"}),
    ):
        with pytest.raises(ValueError, match="1 validation error"):
            model.model_validate(table)


def _lies(folder: Path, change: Any) -> None:
    """Change a corpus of the cache, and what vouches for it, as a liar would."""
    about = json.loads((folder / "about.json").read_text())
    del about["sha256"]
    change(folder, about)
    about["sha256"] = kept._hashes(folder, about)
    (folder / "about.json").write_text(json.dumps(about))


def _headed(folder: Path, shape: str, kind: str = "<i8") -> None:
    """Write starts whose heading says another shape or type than what follows."""
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}"
    text = text.ljust(117) + "\n"
    (folder / "starts.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00" + text.encode() + bytes(16))


LIES: dict[str, Any] = {
    "a shape beyond the file": lambda folder, about: _headed(folder, "(1000000000000,)"),
    "a shape beyond all numbers": lambda folder, about: _headed(folder, f"({1 << 70},)"),
    "a shape of nothing": lambda folder, about: _headed(folder, "()"),
    "a shape below nothing": lambda folder, about: _headed(folder, "(-1,)"),
    "starts that are none": lambda folder, about: _headed(folder, "(2,)", "<f8"),
    "starts of objects": lambda folder, about: _headed(folder, "(2,)", "|O"),
    "starts in a circle": lambda folder, about: np.save(folder / "starts.npy", np.array([0, 5, 2])),
    "a start behind the end": lambda folder, about: np.save(
        folder / "starts.npy", np.array([0, 1 << 40])
    ),
    "more values": lambda folder, about: about.update(shape=[1 << 60]),
    "wider values": lambda folder, about: about.update(shape=[3, 10]),
    "another type": lambda folder, about: about.update(dtype="<f8"),
    "columns of others": lambda folder, about: about.update(columns={"label": ["a"] * 99}),
    "tags of nothing": lambda folder, about: (
        (folder / kept.CODES).write_bytes(b"\0\0"),
        about.update(tag_names=["a"]),
    ),
    "covariates of no kind": lambda folder, about: about.update(
        covariates={"columns": [[[], {}, None]], "static": [], "ahead": {}}
    ),
    "covariates of elsewhere": lambda folder, about: about.update(
        covariates={"columns": [], "static": [[1.0]] * 7, "ahead": {"-5": [[0.0], []]}}
    ),
    "another vocabulary": lambda folder, about: about.update(vocabulary={"symbols": [1, [], None]}),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_corpus_that_lies_is_encoded_anew(lie: str, tmp_path: Path) -> None:
    """Whatever its headings say, and though its hashes vouch for it, in little memory."""
    path = tmp_path / "a.txt"
    path.write_text("abcabcabcabcabc" * 2)
    made = []
    for turn in range(2):
        if turn:
            (entry,) = [each.parent for each in cache_folder().glob("*/about.json")]
            _lies(entry, LIES[lie])
            tracemalloc.start()
        source = Text(TextOptions(path=str(path)))
        store = build(source, characters(), 4, "a")
        made.append((store.values.tolist(), store.starts.tolist(), store.fingerprint))
        if turn:
            assert tracemalloc.get_traced_memory()[1] < 1 << 26
            tracemalloc.stop()
    assert made[0] == made[1]
