"""Answers beside sequences: what a file says follows each, also where that is nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sheets import Sheet, csv_of, gathered, jsonl_of

from recurra import InputError, Piece, PluginError
from recurra.data.corpus import build
from recurra.data.intake import pieces
from recurra_sources.inline import Inline, InlineOptions
from recurra_vocabularies.category import Category, CategoryOptions
from recurra_vocabularies.character import Character, CharacterOptions

WORDS = st.text('ab\u00e9," \n', max_size=4)


@pytest.fixture(params=["csv", "jsonl"])
def sheet(request, tmp_path):
    return Sheet(tmp_path, request.param)


def answered(source, element="text"):
    """Return the sequences of a source, each with its answer; the piece that starts one has it."""
    answers = []
    for _, start, columns in source.read(element):
        assert set(columns) == ({"answer"} if start else set())
        answers += columns.values()
    return list(zip(gathered(source, element), answers, strict=True))


def inline(**options):
    return Inline(InlineOptions(**options))


def corpus(source, vocabulary):
    """Return the store of a source with its answers."""
    return build(source, vocabulary, roles=("answer",))


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1))
def test_a_row_is_a_prompt_and_its_answer(tmp_path_factory, rows):
    """Each row of text is a sequence with its answer, to the character; either may be empty."""
    import csv
    import json

    path = tmp_path_factory.mktemp("t") / "table.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([["p", "a"], *rows])
    source = csv_of(path.parent, path.read_bytes().decode(), columns=["p"], answer="a")
    assert answered(source) == rows
    lines = [json.dumps({"p": prompt, "a": answer}) for prompt, answer in rows]
    assert answered(jsonl_of(path.parent, *lines, columns=["p"], answer="a")) == rows


def test_tokens_of_an_answer_stand_in_a_list_or_between_spaces(tmp_path):
    """An answer in tokens is read as its sequence is, and may hold none."""
    source = jsonl_of(
        tmp_path,
        '{"p": "a b", "a": ["x y", "z"]}',
        '{"p": ["a"], "a": " c  d "}',
        '{"p": ["a"], "a": []}',
        columns=["p"],
        answer="a",
    )
    expected = [(["a", "b"], ["x y", "z"]), (["a"], ["c", "d"]), (["a"], [])]
    assert answered(source, "tokens") == expected


def test_rows_of_a_group_share_an_answer(sheet):
    """The rows of a group are one sequence with one answer; two answers are refused by place."""
    sheet.write(["g", "p", "a"], [["1", "x", "u"], ["1", "y", "u"], ["2", "z", "v"]])
    source = sheet.source(["p"], group="g", answer="a")
    assert answered(source) == [("x\ny", "u"), ("z", "v")]
    assert answered(source, "tokens") == [(["x", "y"], ["u"]), (["z"], ["v"])]
    sheet.write(["g", "p", "a"], [["1", "x", "u"], ["1", "y", "w"]])
    with pytest.raises(InputError, match="group '1' has the answer 'w' here, and 'u' at"):
        answered(source)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('{"p": "x", "a": null}', "line 2, column a: nothing"),
        ('{"p": "x"}', "has no column 'a'"),
        ('{"p": "x", "a": ["y"]}', r"line 2, column a: \['y'\] is not text"),
        ('{"p": "x", "a": "\\ud800"}', "half a surrogate pair"),
        ('{"p": null, "a": "y"}', "line 2, column p: nothing"),
    ],
)
def test_what_is_no_answer_has_a_line(tmp_path, line, words):
    """An answer that is absent is no empty one: the row is named, and what it lacks."""
    source = jsonl_of(tmp_path, '{"p": "x", "a": "y"}', line, columns=["p"], answer="a")
    with pytest.raises(InputError, match=words):
        answered(source)


def test_a_row_that_is_too_short_has_no_answer(tmp_path):
    """In a csv file an empty cell is an empty answer, and no cell is none."""
    with pytest.raises(InputError, match=r"table.csv:3: the row has 1 cell"):
        answered(csv_of(tmp_path, "p,a\nx,\nz\n", columns=["p"], answer="a"))
    source = csv_of(tmp_path, "p,a\nx,\nz\n", columns=["p"], answer="a", missing="drop")
    assert answered(source) == [("x", "")]
    assert answered(source, "tokens") == [(["x"], [])]


@pytest.mark.parametrize("token", ["1.5", "[]", '" "', "null"])
def test_what_is_no_list_of_tokens_has_a_line(tmp_path, token):
    """A list of an answer holds tokens alone; a number is one, as it is written."""
    line = f'{{"p": ["x"], "a": ["y", {token}]}}'
    source = jsonl_of(tmp_path, line, columns=["p"], answer="a")
    if token == "1.5":
        assert answered(source, "tokens") == [(["x"], ["y", "1.5"])]
        return
    with pytest.raises(InputError, match="column a: .* is no list of tokens"):
        answered(source, "tokens")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": ["a"], "answer": "a"}, "answer: 'a' is one of the columns that are read too"),
        ({"columns": ["p"], "answer": "g", "group": "g"}, "answer: 'g' is the group too"),
        ({"columns": ["p"], "answer": "l", "label": "l"}, "answer: 'l' is the label too"),
    ],
)
def test_an_answer_is_a_column_by_itself(sheet, options, words):
    """An answer that is something else as well would give itself away."""
    with pytest.raises(ValidationError, match=words):
        sheet.source(**options)


def test_another_file_needs_no_answers(sheet):
    """A file to be answered is read row by row, and a text in it may be empty."""
    sheet.write(["p", "a"], [["x", "y"]])
    source = sheet.source(["p"], answer="a")
    sheet.write(["p"], [["u"], [""], ["v w"]])
    assert gathered(source.over(str(sheet.path))) == ["u", "", "v w"]


def test_inline_gives_an_answer_to_each_sequence():
    """Answers stand beside texts or tokens in their order."""
    assert answered(inline(texts=["a", ""], answers=["", "b"])) == [("a", ""), ("", "b")]
    assert answered(inline(text="a", answers=["b"])) == [("a", "b")]
    source = inline(tokens=[["a", "b"], []], answers=[[], ["c"]])
    assert answered(source, "tokens") == [(["a", "b"], []), ([], ["c"])]
    assert source.columns()["answer"] == ("text", "tokens")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"texts": ["a", "b"], "answers": ["c"]}, "answers: give one answer for each sequence"),
        ({"texts": ["a"], "answers": [["c"]]}, "answers: texts holds text, so each .* a text"),
        ({"tokens": [["a"]], "answers": ["c"]}, "each answer must be a list of tokens"),
        ({"values": [1.0], "answers": ["c"]}, "answers: they follow text or tokens"),
        ({"texts": ["a"], "answers": [None]}, "answers"),
    ],
)
def test_inline_refuses_answers_that_do_not_fit(options, words):
    """Each sequence has one answer of its own elements."""
    with pytest.raises(ValidationError, match=words):
        inline(**options)


# What is stored


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1))
def test_a_sequence_is_stored_with_its_answer_between_two_marks(rows):
    """Prompt, mark, answer, mark: the ids of a plain reading, of one vocabulary over both."""
    prompts, answers = map(list, zip(*rows, strict=True))
    if not "".join(prompts + answers):
        return
    vocabulary = Character(CharacterOptions())
    store = corpus(inline(texts=prompts, answers=answers), vocabulary)
    symbols = sorted(set("".join(prompts + answers)))
    begin, end = len(symbols), len(symbols) + 1
    expected = []
    for prompt, answer in rows:
        ids = [[symbols.index(mark) for mark in text] for text in (prompt, answer)]
        expected.append([*ids[0], begin, *ids[1], end])
    spans = zip(store.starts, store.ends, strict=True)
    assert [store.values[low:high].tolist() for low, high in spans] == expected
    assert vocabulary.size == len(symbols)
    assert not store.columns


def test_ids_of_marks_fit_where_symbols_fill_a_byte(tmp_path, monkeypatch):
    """255 symbols and two marks take more than a byte; so they do when they are read again."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    text = "".join(chr(0x4E00 + index) for index in range(255))
    stores = []
    for _ in range(2):
        vocabulary = Character(CharacterOptions())
        source = inline(texts=[text], answers=[text[::-1]])
        stores.append(build(source, vocabulary, in_memory=1, roles=("answer",)))
    for store in stores:
        assert store.values.dtype == np.uint16
        assert store.values.max() == 256
    assert stores[1].symbols == 257


def test_a_corpus_with_answers_is_another_than_one_without(tmp_path, monkeypatch):
    """The file of the cache is not taken for that of the same source without answers."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path))
    source = inline(texts=["ab"], answers=["ba"])
    with_answers = build(source, Character(CharacterOptions()), in_memory=1, roles=("answer",))
    without = build(source, Character(CharacterOptions()), in_memory=1)
    assert without.values.tolist() == [0, 1]
    assert with_answers.values.tolist() == [0, 1, 2, 1, 0, 3]
    assert with_answers.fingerprint != without.fingerprint


def test_a_token_that_looks_like_a_mark_is_a_token():
    """Marks are ids, which no text spells."""
    vocabulary = Category(CategoryOptions())
    names = ["<answer begins>", "<answer ends>"]
    store = corpus(inline(tokens=[names], answers=[names[::-1]]), vocabulary)
    assert store.values.tolist() == [0, 1, 2, 1, 0, 3]


@pytest.mark.parametrize(
    ("element", "answer", "words"),
    [
        ("text", None, "the answer to sequence 1 is nothing, not str"),
        ("text", ["a"], "the answer to sequence 1 is list, not str"),
        ("tokens", "a", "the answer to sequence 1 is str, not a list of str"),
        ("tokens", [1], "the answer to sequence 1 holds int, not str"),
    ],
)
def test_a_source_that_gives_no_answer_is_named(element, answer, words):
    """What is of a wrong type is the plugin's fault."""

    class Wrong(Inline):
        def read(self, element):
            yield Piece("a" if element == "text" else ["a"], True, {"answer": answer})

    source = Wrong(InlineOptions(text="a"))
    with pytest.raises(PluginError, match=words):
        list(pieces(source, element, "a source", ("answer",)))


def test_an_answer_with_a_broken_text_is_the_datas_fault():
    """Half of a surrogate pair is found, and the sequence is told."""

    class Wrong(Inline):
        def read(self, element):
            yield Piece("a", True, {"answer": "x\ud800"})

    with pytest.raises(InputError, match=r"half of a surrogate pair .* the answer, in sequence 1"):
        list(pieces(Wrong(InlineOptions(text="a")), "text", "a source", ("answer",)))
