"""Vocabularies: decoding gives back what was encoded, ids fit, and what was learned survives being
saved.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra import UnknownSymbol, Unsuited
from recurra.testing.hard_data import SURROGATES, TEXTS
from recurra.train.errors import Errors
from recurra_sources import files
from recurra_vocabularies.byte import Byte, ByteOptions
from recurra_vocabularies.category import Category, CategoryOptions
from recurra_vocabularies.character import Character, CharacterOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions
from recurra_vocabularies.word import Word, WordOptions

laws = settings(deadline=None, max_examples=35)

HARD = {
    **TEXTS,
    "lone surrogates": SURROGATES,
    "one mark": "a",
}
SURROGATES = {"lone surrogates"}

MAKERS = {
    "character": lambda: Character(CharacterOptions()),
    "byte": lambda: Byte(ByteOptions()),
    "word": lambda: Word(WordOptions()),
}
textual = pytest.mark.parametrize("kind", MAKERS)
any_text = st.text(st.characters(codec=None, categories=None), min_size=1, max_size=40)


def fitted(kind, text):
    vocabulary = MAKERS[kind]()
    vocabulary.fit([text])
    return vocabulary


def check_round_trip(kind, text):
    vocabulary = fitted(kind, text)
    ids = vocabulary.encode(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.text(ids) == text
    assert ids.ndim == 1
    assert 0 <= ids.min() and ids.max() < vocabulary.size
    again = MAKERS[kind]()
    again.restore(json.loads(json.dumps(vocabulary.save())))
    assert again.size == vocabulary.size
    assert np.array_equal(again.encode(text), ids)
    assert again.decode(ids) == text


@textual
@pytest.mark.parametrize("name", HARD)
def test_hard_text_comes_back(kind, name):
    """decode(encode(s)) == s, before and after saving, for text that breaks careless code."""
    check_round_trip(kind, HARD[name])


@textual
@laws
@given(text=any_text)
def test_any_text_comes_back(kind, text):
    """decode(encode(s)) == s for every string that Python can hold, lone surrogates too."""
    check_round_trip(kind, text)


@textual
@laws
@given(text=any_text)
def test_ids_are_given_in_pieces_as_in_whole(kind, text):
    """Fitting on pieces learns what the whole does, where no word is cut."""
    cut = next((at for at, mark in enumerate(text) if at and mark in " \n"), len(text))
    vocabulary = MAKERS[kind]()
    vocabulary.fit(iter([text[:cut], text[cut:]]))
    assert vocabulary.save() == fitted(kind, text).save()


@textual
@pytest.mark.parametrize("name", sorted(HARD.keys() - SURROGATES))
def test_a_streamer_gives_what_decoding_gives(kind, name):
    """Ids taken one at a time give the text of all together, and never a part of a character."""
    vocabulary = fitted(kind, HARD[name])
    ids = vocabulary.encode(HARD[name])
    stream = vocabulary.streamer()
    given_out = [stream(index) for index in ids.tolist()]
    assert "".join(given_out) == HARD[name]


@laws
@given(text=st.text(min_size=1, max_size=20))
def test_a_stream_of_bytes_waits_until_a_character_is_whole(text):
    """No replacement mark appears between the bytes of one character."""
    stream = fitted("byte", text).streamer()
    shown = ""
    for value in text.encode():
        shown += stream(value)
        assert text.startswith(shown)
    assert shown == text


def test_bytes_that_are_no_text_become_replacement_marks():
    """A network may give any bytes: they decode to something printable."""
    vocabulary = fitted("byte", "a")
    assert vocabulary.decode(np.array([0xFF, 0x61, 0xC3])) == "\ufffda\ufffd"
    assert vocabulary.size == 256
    assert [vocabulary.symbol(index) for index in (0x41, 0x20, 0x7F, 0)] == [
        "A",
        " ",
        "\\x7f",
        "\\x00",
    ]


# A file of text holds no NUL.
@laws
@given(text=any_text.filter(lambda text: "\0" not in text), limit=st.integers(1, 12))
def test_cutting_the_text_into_blocks_never_changes_the_words(text, limit, tmp_path_factory):
    """However a file is read in blocks, its word tokens are those of the whole text, if it has
    places to cut.
    """
    text = "".join(mark for mark in text if not 0xD800 <= ord(mark) <= 0xDFFF).removeprefix(
        "\ufeff"
    )
    text = " ".join(text)  # a place to cut within every block
    path = tmp_path_factory.mktemp("blocks") / "file.txt"
    path.write_bytes(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "BLOCK", limit)
        blocks = list(files.blocks(path, "utf-8"))
    assert "".join(blocks) == text
    word = Word(WordOptions())
    assert [token for block in blocks for token in word.split(block)] == word.split(text)


@pytest.mark.parametrize("name", sorted(HARD.keys() - SURROGATES - {"byte-order mark", "nul"}))
@pytest.mark.parametrize("limit", [64, 65, 67, 101])
def test_blocks_of_hard_text_keep_its_words(tmp_path, monkeypatch, name, limit):
    """A block ends after a newline or before a space, so that no word, run of spaces or line end is
    cut.
    """
    text = f"{HARD[name]}\n {HARD[name]} " * 20
    path = tmp_path / "file.txt"
    path.write_bytes(text.encode())
    monkeypatch.setattr(files, "BLOCK", limit)
    blocks = list(files.blocks(path, "utf-8"))
    assert len(blocks) > 1
    word = Word(WordOptions())
    assert "".join(blocks) == text
    assert [token for block in blocks for token in word.split(block)] == word.split(text)


def test_lower_case_is_the_declared_loss():
    """Under `lowercase` decoding gives the folded text; the option says that it cannot be
    undone.
    """
    vocabulary = Word(WordOptions(lowercase=True))
    vocabulary.fit(["The Cat the cat"])
    assert vocabulary.decode(vocabulary.encode("THE cat")) == "the cat"
    assert vocabulary.size == len({"the", " the", " cat", "the unknown"})
    assert "cannot undo" in str(WordOptions.model_fields["lowercase"].description)


@laws
@given(text=st.text("ab c.\n", max_size=30), least=st.integers(1, 4), most=st.integers(0, 5))
def test_the_words_that_are_kept_are_the_frequent_ones(text, least, most):
    """No word below `min_count` is kept, and none is left out that is more frequent than one that
    is kept.
    """
    vocabulary = Word(WordOptions(min_count=least, max_size=most))
    vocabulary.fit([text])
    tokens = vocabulary.split(text)
    counts = {token: tokens.count(token) for token in tokens}
    kept, left = set(vocabulary.tokens), counts.keys() - set(vocabulary.tokens)
    assert vocabulary.tokens == sorted(kept)
    assert all(counts[token] >= least for token in kept)
    frequent = [token for token in left if counts[token] >= least]
    assert not frequent or len(kept) == most
    assert max((counts[t] for t in frequent), default=0) <= min(
        (counts[t] for t in kept), default=len(tokens)
    )


UNKNOWN = {
    "character": (
        lambda policy: Character(CharacterOptions(unknown=policy)),
        "abc",
        "axb",
        "a\ufffdb",
        "ab",
        "x",
        1,
    ),
    "word": (
        lambda policy: Word(WordOptions(unknown=policy)),
        "a b c",
        "a x b",
        "a<unknown> b",
        "a b",
        " x",
        1,
    ),
    "category": (
        lambda policy: Category(CategoryOptions(unknown=policy)),
        ["a", "b"],
        ["b", "x", "a"],
        ["b", "<unknown>", "a"],
        ["b", "a"],
        "x",
        1,
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_unknown_follows_the_policy(kind):
    """error names symbol and place; token stands in with one id, the last; skip leaves it out."""
    make, known, values, replaced, skipped, symbol, place = UNKNOWN[kind]
    strict, token, skip = (make(policy) for policy in ("error", "token", "skip"))
    for vocabulary in (strict, token, skip):
        vocabulary.fit([known])
    with pytest.raises(UnknownSymbol) as caught:
        strict.encode(values)
    assert (caught.value.symbol, caught.value.position) == (symbol, place)
    assert token.size == strict.size + 1 == skip.size + 1
    ids = token.encode(values)
    assert ids[place] == token.size - 1
    assert token.decode(ids) == replaced
    assert skip.decode(skip.encode(values)) == skipped
    assert isinstance(token.symbol(token.size - 1), str)


@pytest.mark.parametrize("kind", [*UNKNOWN, "byte"])
def test_nothing_learned_has_no_size(kind):
    """Without any text there are no symbols, not even the unknown one."""
    vocabulary = MAKERS["byte"]() if kind == "byte" else UNKNOWN[kind][0]("token")
    assert vocabulary.size == 0
    vocabulary.fit([])
    assert vocabulary.size == 0


tokens = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=20)


@laws
@given(values=tokens)
def test_categories_come_back(values):
    """Whole tokens, whatever they hold, come back in order; ids follow the order of the names."""
    vocabulary = Category(CategoryOptions())
    vocabulary.fit([values[:3], values[3:]])
    ids = vocabulary.encode(values)
    assert vocabulary.decode(ids) == values
    assert vocabulary.size == len(set(values))
    assert [vocabulary.symbol(index) for index in range(vocabulary.size)] == sorted(set(values))
    again = Category(CategoryOptions())
    again.restore(json.loads(json.dumps(vocabulary.save())))
    assert again.decode(again.encode(values)) == values


def test_a_prompt_of_categories_stands_between_spaces():
    """What a person types is cut at white space, and what is generated is joined by it."""
    vocabulary = Category(CategoryOptions())
    vocabulary.fit([["up", "down"]])
    ids = vocabulary.encode(vocabulary.parse("  up down\tup "))
    assert vocabulary.text(ids) == "up down up"
    stream = vocabulary.streamer()
    assert "".join(stream(index) for index in ids.tolist()) == " up down up"


SCALES = ("max", "mean", "minmax", "none", "robust", "standard")
finite = st.floats(-1e6, 1e6).map(lambda value: round(value, 3))
columns = st.integers(1, 3).flatmap(
    lambda width: st.lists(
        st.lists(finite, min_size=width, max_size=width), min_size=1, max_size=30
    )
)


def numeric(scale, *runs):
    vocabulary = Numeric(NumericOptions(scale=scale))
    vocabulary.fit(runs)
    return vocabulary


def robust(values):
    """Return numpy's median and the width of the middle half, else the deviation."""
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    changes = values.max(0) > values.min(0)
    return middle, np.where(high > low, high - low, np.where(changes, values.std(0), 0))


@pytest.mark.parametrize("scale", SCALES)
@laws
@given(rows=columns, data=st.data())
def test_scales_are_those_of_a_direct_computation(scale, rows, data):
    """Shift and scale of each feature equal numpy's on the whole, though the fit sees it in
    pieces.
    """
    values = np.array(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(values)), max_size=3)))
    pieces = np.split(values, cuts)
    found = numeric(scale, *pieces)
    low, high, mean, deviation = values.min(0), values.max(0), values.mean(0), values.std(0)
    shift, size = {
        "max": (0 * low, np.abs(values).max(0)),
        "mean": (0 * low, np.abs(values).mean(0)),
        "minmax": (low, high - low),
        "robust": robust(values),
        "standard": (mean, np.where(high > low, deviation, 0)),
        "none": (0 * low, np.ones_like(low)),
    }[scale]
    # Numbers of one bin are one for a robust scale.
    bound = 5e-4 if scale == "robust" else 1e-6
    near = {"rtol": bound, "atol": bound * max(1, np.abs(values).max())}
    np.testing.assert_allclose(found.shift, shift, **near)
    np.testing.assert_allclose(found.scale, np.where(size > 0, size, 1), **near)
    assert found.size == values.shape[1]


@pytest.mark.parametrize("scale", SCALES)
@laws
@given(rows=columns, others=columns)
def test_numbers_come_back(scale, rows, others):
    """decode(encode(x)) == x to rounding, also for numbers that the fit has not seen, and after
    saving.
    """
    vocabulary = numeric(scale, np.array(rows))
    for values in (np.array(rows), np.resize(np.array(others), (len(others), vocabulary.size))):
        encoded = vocabulary.encode(values)
        assert np.isfinite(encoded).all()
        bound = 1e-12 * max(
            1, np.abs(values).max(), np.abs(vocabulary.shift).max(), vocabulary.scale.max()
        )
        np.testing.assert_allclose(vocabulary.decode(encoded), values, rtol=1e-9, atol=bound)
        again = Numeric(NumericOptions(scale=scale))
        again.restore(json.loads(json.dumps(vocabulary.save())))
        assert np.array_equal(again.encode(values), encoded)


@pytest.mark.parametrize("scale", SCALES)
@laws
@given(rows=columns)
def test_scaled_numbers_lie_where_the_scale_says(scale, rows):
    """max: within -1..1, mean: of magnitude 1, minmax: within 0..1, standard: mean 0 and
    deviation 1, none: as they were; robust: half of them on each side of 0.
    """
    values = np.array(rows)
    encoded = numeric(scale, values).encode(values)
    changes = values.max(0) > values.min(0)
    if scale == "max":
        assert np.abs(encoded).max() <= 1
    elif scale == "mean":
        magnitude = np.abs(encoded).mean(0)
        np.testing.assert_allclose(magnitude, values.any(0), atol=1e-9)
    elif scale == "robust":
        assert ((encoded >= -1e-3).mean(0) >= 0.5).all() or not changes.all()
    elif scale == "minmax":
        assert encoded.min() >= 0 and encoded.max() <= 1 + 1e-12
    elif scale == "none":
        assert np.array_equal(encoded, values)
    elif (wide := changes & (values.std(0) > 1e-6 * np.abs(values).max())).any():
        np.testing.assert_allclose(encoded.mean(0)[wide], 0, atol=1e-6)
        np.testing.assert_allclose(encoded.std(0)[wide], 1, atol=1e-6)


@pytest.mark.parametrize("scale", ["minmax", "standard"])
@laws
@given(value=st.floats(-1e9, 1e9), count=st.integers(1, 50), cut=st.integers(0, 50))
def test_a_column_that_never_changes_is_zero_with_scale_one(scale, value, count, cut):
    """Rounding gives a constant no deviation: it becomes exactly 0, and a later change keeps its
    own size.
    """
    column = np.full((count, 1), value)
    vocabulary = numeric(scale, column[:cut], column[cut:])
    assert vocabulary.scale.tolist() == [1.0]
    assert not vocabulary.encode(column).any()


def test_zero_is_no_scale():
    """A column of zeros stays what it is under every scale."""
    for scale in SCALES:
        vocabulary = numeric(scale, np.zeros((3, 2)))
        assert vocabulary.scale.tolist() == [1.0, 1.0]
        assert vocabulary.encode(np.array([[0.0, 2.0]])).tolist() == [[0.0, 2.0]]


UNSPACED = {
    "Chinese": "我爱北京天安门，天安门上太阳升。伟大的祖国，我们为你歌唱！",
    "Japanese": "今日は良い天気ですね。散歩に行きましょう。",
    "Thai": "สวัสดีครับ ผมชื่อสมชาย ยินดีที่ได้รู้จัก",
    "Khmer": "ខ្ញុំស្រឡាញ់ប្រទេសកម្ពុជា និងប្រជាជន",
    "Lao": "ມື້ນີ້ອາກາດດີຫຼາຍ ຂ້ອຍມັກ",
    "Burmese": "ကျွန်တော်တို့သည် မြန်မာနိုင်ငံကို ချစ်သည်",
    "Hindi": "मैं हिन्दी में लिखता हूँ और पढ़ता हूँ। यह एक वाक्य है। ",
    "letters and accents apart": "cafe\u0301 de\u0301ja\u0300 vu, e\u0301te\u0301 " * 4,
    "no spaces at all": "ACGT" * 300,
}
SPACED = {
    "English": "It's the world's end -- don't stop; co-operate (really)! ",
    "German": "Donaudampfschifffahrtsgesellschaftskapitän Straßenbahnhaltestelle über Äpfel. ",
    "Korean": "안녕하세요 저는 한국 사람입니다. 오늘은 날씨가 좋아요. ",
    "Russian": "Все счастливые семьи похожи друг на друга. ",
    "Chinese words set apart": "我 爱 北京 天安门 ， 天安门 上 太阳 升 。 ",
    "a few names": (
        "The book names 北京 and 上海 once, and is otherwise in English from its first page to its"
        " last. "
    ),
    "accents composed": "café déjà vu, été naïve Zoë ",
}


@pytest.mark.parametrize("name", UNSPACED)
@pytest.mark.parametrize("lowercase", [False, True])
def test_a_text_without_words_is_told_once(name, lowercase):
    """Where spaces tell no words apart, fitting says so, what it found, and what to do; it learns
    all the same.
    """
    with pytest.warns(Unsuited) as caught:
        vocabulary = Word(WordOptions(lowercase=lowercase))
        vocabulary.fit([UNSPACED[name], UNSPACED[name]])
    assert len(caught) == 1 and 'vocabulary.kind = "character"' in str(caught[0].message)
    assert any(mark.isdigit() for mark in str(caught[0].message)), "it is counted"
    assert vocabulary.decode(vocabulary.encode(UNSPACED[name])) == (
        UNSPACED[name].lower() if lowercase else UNSPACED[name]
    )


@pytest.mark.parametrize("name", SPACED)
def test_a_text_with_words_is_not_spoken_of(name):
    """Text whose words stand apart, in whatever script, gives no warning, and neither does
    encoding.
    """
    vocabulary = Word(WordOptions())
    vocabulary.fit([SPACED[name]] * 20)
    vocabulary.encode(SPACED[name])


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("log", [False, True])
def test_numbers_of_any_size_are_decoded_without_a_warning(scale: str, log: bool) -> None:
    """What a network that has gone wrong gives is infinite in the data's units, and no warning of
    NumPy's.
    """
    vocabulary = Numeric(NumericOptions(scale=scale, log=log))  # type: ignore[arg-type]
    vocabulary.fit([np.array([[1.0], [2.0], [1e140]])])
    values = np.array([[0.0], [1e5], [-1e5], [1e300], [-1e300], [np.inf], [np.nan]])
    decoded = vocabulary.decode(values)
    assert decoded.shape == values.shape and np.isfinite(decoded[0]).all()
    if log:
        assert np.isinf(decoded[3]).all()
    sums = Errors()
    sums.add(decoded, np.ones_like(decoded))
    assert sums.count == len(values)


@given(
    st.lists(
        st.sampled_from(["a", "<unknown>", "<<unknown>>", "\ufffd", "b"]), min_size=1, max_size=6
    )
)
@settings(max_examples=20, deadline=None)
def test_no_two_symbols_have_one_name(tokens: list[str]) -> None:
    """Whatever the data holds, the unknown token's own name too, each symbol has a name of its
    own.
    """
    category, character = (
        Category(CategoryOptions(unknown="token")),
        Character(CharacterOptions(unknown="token")),
    )
    category.fit([tokens])
    character.fit(["".join(tokens)])
    for vocabulary in (category, character):
        names = [vocabulary.symbol(index) for index in range(vocabulary.size)]
        assert len(set(names)) == len(names)
    assert category.decode(category.encode(tokens)) == tokens
    assert category.encode(["else"]).tolist() == [category.size - 1]
