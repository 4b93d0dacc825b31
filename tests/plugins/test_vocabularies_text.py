"""Words by the boundaries of Unicode, pieces of words, and tokens with spaces as a prompt."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from recurra import InputError
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


def test_a_list_of_tokens_is_json_where_tokens_are_read():
    """Text stays text; a list of anything else is refused."""
    assert text_or_tokens('["New York"]', "tokens", "--prompt") == ["New York"]
    assert text_or_tokens('["New York"]', "text", "--prompt") == '["New York"]'
    assert text_or_tokens("[a b", "tokens", "--prompt") == "[a b"
    with pytest.raises(InputError, match="double quotes"):
        text_or_tokens("[1]", "tokens", "--prompt")
