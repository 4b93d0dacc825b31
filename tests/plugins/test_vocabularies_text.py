"""Words by the boundaries of Unicode, pieces of words, and tokens with spaces as a prompt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recurra import InputError, UnknownSymbol
from recurra.cli.values import text_or_tokens
from recurra_vocabularies.bpe import BPE, BPEOptions
from recurra_vocabularies.word import Word, WordOptions

TEXT = "the cat sat on the mat\nthe dog sat on the log\n" * 5


def test_words_end_where_unicode_says():
    """A word is what UAX #29 takes for one, and joined the tokens are the text."""
    pytest.importorskip("regex")
    word = Word(WordOptions(boundaries="unicode"))
    assert word.split("I can't  do 3.14\r\n") == ["I", " can't", " ", " do", " 3.14", "\r", "\n"]
    assert word.split("你好。") == ["你", "好", "。"]
    assert word.split("e\u0301 \U0001f1e9\U0001f1ea") == ["e\u0301", " \U0001f1e9\U0001f1ea"]


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=40))
def test_words_joined_are_the_text(text):
    """Whatever stands there, nothing is lost."""
    pytest.importorskip("regex")
    assert "".join(Word(WordOptions(boundaries="unicode")).split(text)) == text


LETTERS = st.one_of(
    st.sampled_from("ab .'1\n\r\u00a0\u0301\u200d\u3042\u0e01\u2028\u0130\U0001f468"),
    st.characters(codec="utf-8"),
)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.text(LETTERS, max_size=20), min_size=1, max_size=3),
    st.booleans(),
    st.integers(1, 3),
    st.integers(0, 5),
    st.sampled_from(["token", "skip", "error"]),
    st.sampled_from(["simple", "unicode"]),
)
@pytest.mark.filterwarnings("ignore::recurra.Unsuited")
def test_words_that_are_kept_are_the_frequent_ones(
    texts, lowercase, min_count, max_size, unknown, boundaries
):
    """By a count of their own, ties in the order of the alphabet; of the rest stands what the
    policy says, at once, in a stream, and after all was saved.
    """
    pytest.importorskip("regex")
    options = WordOptions(
        boundaries=boundaries, lowercase=lowercase, min_count=min_count, max_size=max_size,
        unknown=unknown,
    )  # fmt: skip
    word = Word(options)
    word.fit(texts)
    parts = [word.split(text) for text in texts]
    counts = {part: sum(parts, []).count(part) for part in sum(parts, [])}
    kept = sorted(counts, key=lambda part: (-counts[part], part))
    kept = [part for part in kept if counts[part] >= min_count][: max_size or None]
    assert word.save()["tokens"] == sorted(kept)

    for text, own in zip(texts, parts, strict=True):
        assert "".join(own) == (text.lower() if lowercase else text)
        if not kept:
            continue
        if unknown == "error" and not {*own} <= {*kept}:
            with pytest.raises(UnknownSymbol) as caught:
                word.encode(text)
            first = next(place for place, part in enumerate(own) if part not in kept)
            assert (caught.value.symbol, caught.value.position) == (own[first], first)
            continue
        mark = "" if unknown == "skip" else word.unknown
        ids, wanted = word.encode(text), "".join(part if part in kept else mark for part in own)
        again = Word(options)
        again.restore(json.loads(json.dumps(word.save())))
        stream = word.streamer()
        assert word.decode(ids) == again.decode(again.encode(text)) == wanted
        assert "".join(map(stream, ids.tolist())) == wanted
        assert max(ids, default=0) < word.size and (not word.lossless or wanted == text)


def test_how_much_is_unknown_is_told_and_kept():
    """2 of 5 words come once; what was saved tells it again, and older runs tell nothing."""
    word = Word(WordOptions(min_count=2))
    word.fit(["a a a b c"])
    (note,) = word.notes()
    assert note == "3 of 5 words are unknown, 60.0%"  # "a" at the beginning has no space
    again = Word(WordOptions(min_count=2))
    again.restore(json.loads(json.dumps(word.save())))
    assert again.notes() == [note]
    again.restore({"tokens": [" a"]})
    assert again.notes() == []


@settings(deadline=None, max_examples=30)
@given(st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_pieces_give_any_text_back(text):
    """Nothing is unknown to bytes, and a tokenizer that was saved cuts as before."""
    pytest.importorskip("tokenizers")
    pieces = BPE(BPEOptions(size=270))
    pieces.fit(TEXT.splitlines(keepends=True))
    ids = pieces.encode(text)
    again = BPE(BPEOptions(size=270))
    again.restore(json.loads(json.dumps(pieces.save())))
    assert pieces.decode(ids) == again.decode(again.encode(text)) == text


def test_a_file_of_pieces_is_taken_and_another_refused(tmp_path):
    """A tokenizer.json is what was learned; a damaged or missing one is told."""
    pytest.importorskip("tokenizers")
    pieces = BPE(BPEOptions(size=270))
    pieces.fit([TEXT])
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(pieces.save()["tokenizer"]), encoding="utf-8")
    given_one = BPE(BPEOptions(path=str(path)))
    given_one.fit(["x"])
    assert given_one.lossless and given_one.save() == pieces.save()

    path.write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match="RC040"):
        given_one.fit(["x"])
    path.unlink()
    with pytest.raises(InputError, match="RC001"):
        given_one.fit(["x"])
    with pytest.raises(ValidationError, match="leave size"):
        BPEOptions(path=str(path), size=300)


CUTS = {
    "bytes": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
    "space first": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True},
    "digits": {"type": "Digits", "individual_digits": True},
    "scripts": {"type": "UnicodeScripts"},
    "marks": {"type": "Punctuation", "behavior": "Isolated"},
    "spaces go": {"type": "WhitespaceSplit"},
    "marks go": {"type": "Punctuation", "behavior": "Removed"},
    "a goes": {
        "type": "Split", "pattern": {"String": "a"}, "behavior": "Removed", "invert": False
    },
    "a stays": {
        "type": "Split", "pattern": {"String": "a"}, "behavior": "Isolated", "invert": False
    },
    "spaces change": {
        "type": "Metaspace", "replacement": "_", "prepend_scheme": "never", "split": True
    },
}  # fmt: skip
"""Ways in which a tokenizer.json cuts a text; some lose a part of it."""
KEEPING = {"bytes", "digits", "scripts", "marks", "a stays"}


def file_of(folder, change):
    """Write the tokenizer.json of pieces that were learned, with a change."""
    pieces = BPE(BPEOptions(size=270))
    pieces.fit([TEXT])
    table = pieces.save()["tokenizer"]
    change(table)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(table), encoding="utf-8")
    return BPE(BPEOptions(path=str(path)))


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.sampled_from([*CUTS]), max_size=3),
    st.sampled_from([None, {"type": "NFC"}, {"type": "Lowercase"}, {"type": "ByteLevel"}]),
    st.text(st.sampled_from("aB _.7\n\u00e9e\u0301\u4e2d\U0001f600"), max_size=12),
)
def test_a_file_that_loses_a_part_of_the_text_says_so(tmp_path_factory, cuts, folds, text):
    """However one cuts or folds: it is refused, or is not lossless, or gives the very text back;
    and one that only cuts is lossless.
    """
    pytest.importorskip("tokenizers")

    def change(table):
        parts = [CUTS[name] for name in cuts]
        table["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": parts} if cuts else None
        table["normalizer"] = folds

    pieces = file_of(tmp_path_factory.mktemp("cuts"), change)
    to_bytes = {"bytes", "space first"} & {*cuts} or (folds or {}).get("type") == "ByteLevel"
    if not to_bytes:
        with pytest.raises(InputError, match="not of bytes"):
            pieces.fit([text, "x"])
        return
    pieces.fit([text, "x"])
    assert pieces.lossless == (folds is None and {*cuts} <= KEEPING and cuts.count("bytes") == 1)
    assert not pieces.lossless or pieces.decode(pieces.encode(text)) == text
    assert bool(pieces.notes()) == (not pieces.lossless)


def test_pieces_of_a_file_that_mean_two_things_are_refused(tmp_path):
    """A token that was added, or a prefix inside words, may be written as other bytes are; what no
    bytes are written as is a symbol by its own letters.
    """
    pytest.importorskip("tokenizers")

    def adding(content):
        def change(table):
            number = table["model"]["vocab"].get(content, len(table["model"]["vocab"]))
            flags = dict.fromkeys(["single_word", "lstrip", "rstrip", "normalized"], False)
            added = {"id": number, "content": content, "special": True, **flags}
            table["added_tokens"].append(added)

        return change

    pieces = file_of(tmp_path, adding("<end>"))
    pieces.fit(["x"])
    ids = pieces.encode("the <end>\n")
    assert pieces.size == 271 and 270 in ids and pieces.decode(ids) == "the <end>\n"
    for content in ("\u00e9", "\u0120"):
        with pytest.raises(InputError, match="added token(.|\n)*RC040"):
            file_of(tmp_path, adding(content)).fit(["x"])
    for prefix in ("##", "\u0120"):
        with pytest.raises(InputError, match="RC040"):
            file_of(tmp_path, lambda t, p=prefix: t["model"].update(continuing_subword_prefix=p))\
                .fit(["x"])  # fmt: skip

    strange = file_of(tmp_path, lambda table: table["model"]["vocab"].update({"\u2581 a": 270}))
    strange.fit(["x"])
    assert strange.size == 271 and strange.symbol(270) == "\u2581 a"


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_damage_to_a_file_of_pieces_is_told(tmp_path_factory, data):
    """Whatever is cut out of it, or put into it: it is read, or refused as it is."""
    pytest.importorskip("tokenizers")
    folder = tmp_path_factory.mktemp("damage")
    pieces = file_of(folder, lambda table: None)
    path = folder / "tokenizer.json"
    raw = path.read_bytes()
    start = data.draw(st.integers(0, len(raw)))
    stop = start + data.draw(st.integers(0, 20))
    put = data.draw(st.sampled_from([b"", b"null", b"-1", b"[]", b'"', b"\xff"]))
    path.write_bytes(raw[:start] + put + raw[stop:])
    try:
        pieces.fit(["x"])
    except InputError as error:
        assert "tokenizer.json" in str(error) and "RC040" in str(error)
    else:
        assert not pieces.lossless or pieces.decode(pieces.encode(TEXT)) == TEXT
    path.write_bytes(b"\xef\xbb\xbf" + raw)
    pieces.fit(["x"])
    assert pieces.decode(pieces.encode(TEXT)) == TEXT


@pytest.mark.parametrize("given_one", [False, True])
def test_pieces_look_beyond_empty_texts(tmp_path, given_one):
    """A first text that is empty is not all of them, and what ends them is told."""
    pytest.importorskip("tokenizers")

    def ending(fault):
        yield ""
        if fault is not None:
            raise fault
        yield "the end"

    fault = InputError.of("RC042", "torn", key="source")
    pieces = file_of(tmp_path, lambda table: None) if given_one else BPE(BPEOptions(size=260))
    pieces.fit(ending(None))
    assert pieces.decode(pieces.encode("the end")) == "the end"
    with pytest.raises(InputError, match="torn"):
        pieces.fit(ending(fault))
    pieces.fit(["", ""])
    assert pieces.size == 0


def test_a_list_of_tokens_is_json_where_tokens_are_read():
    """Text stays text; a list of anything else is refused."""
    assert text_or_tokens('["New York"]', "tokens", "--prompt") == ["New York"]
    assert text_or_tokens('["New York"]', "text", "--prompt") == '["New York"]'
    assert text_or_tokens("[a b", "tokens", "--prompt") == "[a b"
    with pytest.raises(InputError, match="double quotes"):
        text_or_tokens("[1]", "tokens", "--prompt")
