"""Tags of what a vocabulary makes several ids of, or leaves out: each goes with its element."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import LABELS, TAGS, about, write

import recurra
from recurra import InputError
from recurra.data import corpus
from recurra.data.known import Known
from recurra.job.data import Data, load_data
from recurra.job.run import Run
from recurra.model import sequences
from recurra.resolve import resolve

PLAIN: dict[str, Any] = {
    "device.kind": "cpu",
    "device.precision": "float64",
    "device.path": "native",
    "target.scheme": None,
    "training.batch_size": 1,
    "sequence.split": [1.0, 0.0, 0.0],
}
ELEMENTS = "abäé漢😀\u0301\n"
NAMES = ["x", "y", "z"]


def task(texts: list[str], tags: list[list[str]], vocabulary: dict[str, str]) -> str:
    """Return a task of texts, each of whose characters has a tag."""
    lines = "\n".join(f'{key} = "{value}"' for key, value in vocabulary.items())
    return about(TAGS, "inline", texts=texts, tags=tags).replace('kind = "category"', lines)


@st.composite
def tagged(draw: Any, elements: str = ELEMENTS, most: int = 4) -> tuple[list[str], list[list[str]]]:
    """Draw texts and their tags; two tags come at least, and the first text holds something."""
    texts = draw(st.lists(st.text(elements, min_size=1, max_size=6), min_size=1, max_size=most))
    texts = [elements[:2], *texts]
    tags = [[draw(st.sampled_from(NAMES)) for _ in text] for text in texts]
    tags[0] = NAMES[:2]
    return texts, tags


def stored(data: Data) -> list[list[tuple[int, str]]]:
    """Return the sequences of a corpus: each id with its tag."""
    tags = data.store.tags
    assert tags is not None
    ids, codes = np.asarray(data.store.values), np.asarray(tags.codes.values)
    spans = zip(data.store.starts.tolist(), data.store.ends.tolist(), strict=True)
    return [
        [(int(ids[at]), tags.names[codes[at]]) for at in range(start, end)] for start, end in spans
    ]


@given(rows=tagged())
@settings(deadline=None, max_examples=15)
def test_the_tag_of_a_character_is_that_of_its_bytes(
    rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each byte of a character has its tag, as a loop over both says."""
    (texts, tags), folder = rows, tmp_path_factory.getbasetemp() / "bytes"
    data = load_data(resolve(write(folder, task(texts, tags, {"kind": "byte"})), PLAIN))
    expected = [
        [(byte, tag) for mark, tag in zip(text, own, strict=True) for byte in mark.encode()]
        for text, own in zip(texts, tags, strict=True)
    ]
    assert stored(data) == expected


def without(texts: list[str], tags: list[list[str]], known: str, policy: str) -> Any:
    """Return what a policy leaves of texts: the symbol of each id, with its tag."""
    kept = []
    for text, own in zip(texts, tags, strict=True):
        row = []
        for mark, tag in zip(text, own, strict=True):
            if mark in known:
                row.append((mark, tag))
            elif policy == "token":
                row.append(("?", tag))
        kept.append(row)
    return [row for row in kept if row]


@given(rows=tagged("aäzq漢"))
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("policy", ["skip", "token"])
def test_tags_stay_with_the_elements_that_are_left(
    policy: str, rows: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """An element that is left out takes its tag away, and one that becomes the unknown keeps it; a
    sequence of which nothing is left is counted.
    """
    (texts, tags), folder = rows, tmp_path_factory.getbasetemp() / policy
    resolved = resolve(
        write(folder, task(texts, tags, {"kind": "character", "unknown": policy})), PLAIN
    )
    vocabulary = resolved.parts["vocabulary"].build()
    vocabulary.fit(["aä"])
    data = load_data(resolved, known=Known("a run", vocabulary))
    symbols = ["a", "ä", "?"]
    found = [[(symbols[id_], tag) for id_, tag in row] for row in stored(data)]
    assert found == without(texts, tags, "aä", policy)
    gone = sum(not any(mark in "aä" for mark in text) for text in texts)
    assert data.store.emptied == (gone if policy == "skip" else 0)


# What a run answers

TEXTS = ["äb", "cä", "bé c", "äé", "bbb", "c"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Return runs that read bytes, and characters of which unknown ones are left out, or one."""
    folder = tmp_path_factory.mktemp("runs")
    tags = [["ascii" if mark.isascii() else "other" for mark in text] for text in TEXTS]
    vocabularies = {
        "byte": {"kind": "byte"},
        "skip": {"kind": "character", "unknown": "skip"},
        "token": {"kind": "character", "unknown": "token"},
    }
    return {
        name: recurra.run(
            write(folder, task(TEXTS, tags, vocabulary), f"{name}.toml"),
            PLAIN | {"training.steps": 3},
            runs=folder,
        )
        for name, vocabulary in vocabularies.items()
    }


def by_hand(run: Run, ids: list[int]) -> list[str]:
    """Return the likeliest class of each step, read one by one with the state carried."""
    network, states, said = run.network.eval(), None, []
    for index in ids:
        with torch.no_grad():
            output, states = network(torch.tensor([[index]]), states)
        said.append(run.answers.symbol(int(output[0, 0].argmax())))
    return said


@given(text=st.text(ELEMENTS, min_size=1, max_size=8))
@settings(deadline=None, max_examples=15)
def test_of_bytes_a_character_is_answered_at_its_last(text: str, runs: dict[str, Run]) -> None:
    """As many tags as characters: what is said where all of one has been read."""
    run = runs["byte"]
    said = by_hand(run, list(text.encode()))
    ends = np.cumsum([len(mark.encode()) for mark in text]) - 1
    (row,) = run.predict([text])
    assert row["predicted"] == [said[end] for end in ends]


@given(text=st.text("bcäzq", max_size=8).map(lambda text: f"b{text}"))
@settings(deadline=None, max_examples=15)
@pytest.mark.parametrize("policy", ["skip", "token"])
def test_what_is_left_out_is_answered_by_nothing(
    policy: str, text: str, runs: dict[str, Run]
) -> None:
    """One answer for each character; all others are those of the text without what is left out."""
    run = runs[policy]
    known = set("".join(TEXTS))
    ids = run.vocabulary.encode(text).tolist()
    said = iter(by_hand(run, ids))
    (row,) = run.predict([text])
    wanted = [next(said) if mark in known or policy == "token" else None for mark in text]
    assert row["predicted"] == wanted and next(said, None) is None


@given(text=st.text("bcä", min_size=2, max_size=9), data=st.data())
@settings(deadline=None, max_examples=15)
def test_what_comes_later_moves_no_tag_that_is_given(
    text: str, data: Any, runs: dict[str, Run]
) -> None:
    """The tags of a beginning are those that it has alone, whatever follows."""
    at = data.draw(st.integers(1, len(text)))
    for name in ("byte", "token"):
        whole, alone = runs[name].predict([text, text[:at]])
        assert whole["predicted"][:at] == alone["predicted"]


@pytest.mark.parametrize("size", [1, 3, 7, 512])
def test_a_long_sequence_is_tagged_in_parts(size: int, runs: dict[str, Run]) -> None:
    """Its steps are read one part after the other, with the state carried."""
    network = runs["byte"].network.eval()
    x = torch.randint(256, (3, 9), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole, _ = network(x)
        parts = sequences.each_step(network, x, torch.tensor([9, 9, 9]), size)
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-12)


def test_a_text_of_more_than_one_part_is_tagged_as_step_by_step(runs: dict[str, Run]) -> None:
    """What is said behind the first part hangs on all that was read."""
    run = runs["token"]
    text = "".join(Random(3).choices("bcäé q", k=sequences.LONGEST + 90))
    (row,) = run.predict([text])
    assert row["predicted"] == by_hand(run, run.vocabulary.encode(text).tolist())


def test_other_data_is_measured_by_the_tags_that_the_run_knows(runs: dict[str, Run]) -> None:
    """The figures are those of what it says; a tag that it does not know is counted and told, and
    scored nowhere.
    """
    run = runs["token"]
    texts = ["äbc", "b", "cbäq"]
    tags = [["other", "new", "ascii"], ["new"], ["other", "ascii", "other", "other"]]
    measured = run.evaluate(None, {"source.texts": texts, "source.tags": tags})
    said = [row["predicted"] for row in run.predict(texts)]
    pairs = [
        (came, told)
        for own, row in zip(tags, said, strict=True)
        for came, told in zip(own, row, strict=True)
        if came != "new"
    ]
    assert 0 < sum(came == told for came, told in pairs) < len(pairs) == 6
    assert measured["predictions"] == len(pairs)
    right = sum(came == told for came, told in pairs) / len(pairs)
    assert measured["metrics"]["accuracy"] == pytest.approx(right)
    assert any(note.startswith("2 steps of all of the data are not") for note in measured["notes"])


def test_a_sequence_of_which_nothing_is_left_is_told(runs: dict[str, Run]) -> None:
    """It is refused where it is to be answered, and counted where it would be measured; of nothing
    else there are no figures.
    """
    run = runs["skip"]
    with pytest.raises(InputError, match="row 2: no symbol of the sequence is in the vocabulary"):
        list(run.predict(["b", "zz"]))
    good, bad = run.predict(["b", "zz"], skip_bad=True)
    assert good["predicted"] and "all were left out" in bad["error"] and "predicted" not in bad

    new = {"source.texts": ["zz", "b", "qb"], "source.tags": [["other"] * 2, ["ascii"], NAMES[:2]]}
    measured = run.evaluate(None, new)
    assert measured["predictions"] == 1
    assert (
        "1 sequence of the data is left out: the vocabulary knows nothing of it"
        in (measured["notes"])
    )
    with pytest.raises(InputError, match="RC043(.|\n)*none of them|none of them(.|\n)*RC043"):
        run.evaluate(None, {"source.texts": ["zz"], "source.tags": [["other"] * 2]})


def test_bad_rows_of_tags_are_skipped(runs: dict[str, Run], tmp_path: Path) -> None:
    """Of a file the others are tagged as alone, and each bad one has its error."""
    source = tmp_path / "rows.jsonl"
    source.write_text('{"w": ["a", "b"], "t": ["O", "P"]}\n' * 3)
    text = about(TAGS, "jsonl", path="rows.jsonl", columns=["w"], tags="t")
    run = recurra.run(write(tmp_path, text), PLAIN | {"training.steps": 1}, runs=tmp_path)
    new = tmp_path / "new.jsonl"
    new.write_text('{"w": ["b", "a"]}\n{"w": ["b", "q"]}\n{"w": []}\n{"w": ["a"]}\n')
    rows = list(run.predict(file=new, skip_bad=True))
    assert [sorted(row.keys() - {"row"}) for row in rows] == [
        ["predicted"],
        ["error"],
        ["error"],
        ["predicted"],
    ]
    assert [rows[0], {**rows[3], "row": "2"}] == list(run.predict([["b", "a"], ["a"]]))
    with pytest.raises(InputError, match="row 2: the sequence holds 'q'"):
        list(run.predict(file=new))


# A corpus in a file

VALUES = LABELS.replace('kind = "label"', 'kind = "value"').replace("cross_entropy", "mse")
VALUES = VALUES.replace('"a", "b", "a", "b", "a"', '"1", "2", "3", "4", "5"', 1)
OF_VALUES = about(
    VALUES, "inline", texts=["aab", "b", "abaa", "ba", "a", "bb", "ab"], labels=list("1234567")
)


@pytest.mark.parametrize("text", [TAGS, LABELS, OF_VALUES], ids=["tags", "labels", "values"])
def test_a_corpus_in_a_file_gives_the_same(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mapped, tags and answers are found as in memory: weights and figures to the last bit."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))
    changes = {"training.steps": 3, "training.batch_size": 1, "device.path": "native"}
    runs = []
    for name, in_memory in (("memory", 1 << 20), ("file", 1)):
        monkeypatch.setattr(
            corpus.build, "__defaults__", (in_memory, *corpus.build.__defaults__[1:])
        )
        run = recurra.run(write(tmp_path, text), changes, runs=tmp_path / name)
        store = load_data(run.resolved).store
        assert isinstance(store.values, np.memmap) == (name == "file")
        if store.tags is not None:
            assert isinstance(store.tags.codes.values, np.memmap) == (name == "file")
        runs.append(run)
    one, other = runs
    assert one.result["metrics"] == other.result["metrics"]
    assert one.result["baselines"] == other.result["baselines"]
    weights = other.network.state_dict()
    assert all(
        torch.equal(weight, weights[key]) for key, weight in one.network.state_dict().items()
    )


def test_what_is_left_out_is_remembered_with_a_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A corpus that is found in the cache still tells how many sequences are not in it."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(corpus.build, "__defaults__", (1, *corpus.build.__defaults__[1:]))
    text = task(["ab", "zz", "q"], [["x", "y"], ["x", "x"], ["y"]], {
        "kind": "character", "unknown": "skip"
    })  # fmt: skip
    resolved = resolve(write(tmp_path, text), PLAIN)
    for _ in range(2):
        vocabulary = resolved.parts["vocabulary"].build()
        vocabulary.fit(["ab"])
        store = load_data(resolved, known=Known("a run", vocabulary)).store
        assert isinstance(store.values, np.memmap) and store.emptied == 2


# Ways of reading


@pytest.mark.parametrize("said", [{}, {"target.causal": True}])
def test_a_causal_target_is_not_read_both_ways(said: dict[str, Any], tmp_path: Path) -> None:
    """It is refused, with the key that would allow it."""
    with pytest.raises(InputError, match="RC031") as caught:
        recurra.check(write(tmp_path, TAGS), {"cell.bidirectional": True, **said})
    problem = caught.value.problems[0]
    assert "must be causal" in problem.fact and problem.key == "cell.bidirectional"
    assert "target.causal = false" in problem.cure


@pytest.mark.parametrize("length", [0, 7, 8, 6, 1])
def test_a_way_back_takes_a_window_that_holds_all(length: int, tmp_path: Path) -> None:
    """A shorter one is refused with what it must be; left out it is that."""
    changes = {"cell.bidirectional": True, "target.causal": False, "sequence.length": length}
    if length in (0, 7, 8):
        resolved = resolve(write(tmp_path, TAGS), changes)
        load_data(resolved)
        assert resolved.task.sequence.length == (length or 7)
        return
    with pytest.raises(InputError, match="the longest has 7 steps") as caught:
        recurra.check(write(tmp_path, TAGS), changes)
    problem = caught.value.problems[0]
    assert (problem.code, problem.key, problem.got) == ("RC031", "sequence.length", str(length))
    assert "sequence.length = 7" in problem.cure
