"""What is read once: the same store and the same vocabulary, and never data that has changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from corpora import Fake
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, about, write

import recurra
from recurra import Piece
from recurra.data.corpus import build
from recurra.data.reads import MOST, once, shared
from recurra.data.store import Store
from recurra.job.data import Data, load_data
from recurra.resolve import resolve
from recurra.trials.trial import Trial, made
from recurra_sources.inline import Inline
from recurra_sources.tables import Csv
from recurra_sources.text import Text
from recurra_vocabularies.character import Character, CharacterOptions

ROWS = "x,y\n" + "".join(f"{step % 7},{step % 5}\n" for step in range(60))
NUMBERS = about(PROSE, "csv", path="rows.csv", columns=["x"]).replace("character", "numeric")
NUMBERS = NUMBERS.replace("one_hot", "identity").replace("cross_entropy", "mse")
NUMBERS = NUMBERS[: NUMBERS.index("\n[generation]")] + "\n[generation]\nlength = 2\n"
WORDS = about(PROSE, "text", path="prose.txt")
SHORT = {"training.steps": 2, "device.path": "eager", "generation.length": 1}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give a list to which each reading of a source from its beginning adds its kind."""
    found: list[str] = []
    for kind in (Csv, Text, Inline):
        monkeypatch.setattr(kind, "read", _counted(kind.read, kind.__name__, found))
    return found


def _counted(read: Callable[..., Any], name: str, found: list[str]) -> Callable[..., Any]:
    def counted(source: Any, element: str) -> Any:
        found.append(name)
        return read(source, element)

    return counted


def tasks(folder: Path) -> dict[str, Path]:
    """Write a task of numbers and one of symbols, with their data."""
    write(folder, ROWS, "rows.csv")
    write(folder, "the cat sat on the mat and the dog sat on the log; " * 4, "prose.txt")
    texts = {"numbers": NUMBERS, "symbols": WORDS}
    return {name: write(folder, text, f"{name}.toml") for name, text in texts.items()}


def said(data: Data) -> dict[str, Any]:
    """Return what training hangs on of data."""
    batch = next(iter(data.feed.epoch(0)))
    return {
        "summary": data.summary(),
        "vocabulary": data.vocabulary.save(),
        "values": np.array(data.store.values).tolist(),
        "x": batch.x.tolist(),
        "gaps": data.source.gaps(),
    }


@pytest.mark.parametrize("kind", ["numbers", "symbols"])
def test_what_is_read_again_is_as_read_anew(kind: str, tmp_path: Path, reads: list[str]) -> None:
    """It is read once, whatever else of the task differs; outside it is read each time."""
    task = tasks(tmp_path)[kind]
    alone = said(load_data(resolve(task)))
    each = len(reads)
    with once():
        first = load_data(resolve(task))
        again = load_data(resolve(task, {"cell.kind": "lstm", "training.steps": 4}))
        with once():
            load_data(resolve(task))
    assert len(reads) == 2 * each and first.store is again.store
    assert said(first) == said(again) == alone
    assert first.vocabulary is not again.vocabulary
    load_data(resolve(task))
    assert len(reads) == 3 * each


@pytest.mark.parametrize("kind", ["numbers", "symbols"])
def test_data_that_has_changed_is_read_anew(kind: str, tmp_path: Path, reads: list[str]) -> None:
    """Between two readings, and while it is read."""
    task = tasks(tmp_path)[kind]
    file = tmp_path / {"numbers": "rows.csv", "symbols": "prose.txt"}[kind]
    with once():
        before = load_data(resolve(task))
        text = file.read_text()
        file.write_text(text + ("3,4\n" if kind == "numbers" else "the hen sat on the sun"))
        after = load_data(resolve(task))
        assert after.store is not before.store
        assert len(after.store) > len(before.store)
    assert said(after) == said(load_data(resolve(task)))


@given(asked=st.lists(st.integers(0, MOST + 2), min_size=1, max_size=20))
@settings(max_examples=20)
def test_the_last_few_are_kept(asked: list[int]) -> None:
    """Those that were used last, by a brute force; others are read anew."""
    recent: list[int] = []

    def ask(number: int) -> None:
        source = Fake([Piece("abc" * (number + 1))])
        vocabulary = Character(CharacterOptions())
        reader, store = shared(
            source, vocabulary, False, lambda: f"{number}", lambda: build(source, vocabulary)
        )
        assert (source.reads == 0) == (number in recent[-MOST:]) == (reader is not source)
        assert len(store) == 3 * (number + 1) and vocabulary.size == 3

    with once():
        for number in asked:
            ask(number)
            recent = [other for other in recent if other != number] + [number]


def test_data_that_changes_while_it_is_read_is_not_kept() -> None:
    """What was read may be half of the one and half of the other."""
    keys = iter(["before", "after", "after", "after", "before", "before"])
    source, vocabulary = Fake([Piece("abc")]), Character(CharacterOptions())
    reads: list[str] = []

    def read() -> Store:
        reads.append("read")
        return build(source, vocabulary)

    with once():
        for count in (1, 2, 3):
            shared(source, vocabulary, False, lambda: next(keys), read)
            assert len(reads) == count
    assert next(keys, None) is None


def test_what_differs_in_reading_is_told_apart(tmp_path: Path) -> None:
    """Another column, another way to read it, another vocabulary: each has its own."""
    task = tasks(tmp_path)["numbers"]
    words = tasks(tmp_path)["symbols"]
    with once():
        one, other = load_data(resolve(task)), load_data(resolve(task, {"source.columns": ["y"]}))
        few = load_data(resolve(words))
        whole = load_data(resolve(words, {"vocabulary.kind": "byte"}))
    assert one.store.fingerprint != other.store.fingerprint
    assert few.store.fingerprint != whole.store.fingerprint


def test_trials_read_once_and_leave_all_as_alone(tmp_path: Path, reads: list[str]) -> None:
    """Two trials after each other in a process read once; a changed file is read between them."""
    task = tasks(tmp_path)["numbers"]

    def outcome(name: str, seed: int) -> dict[str, Any]:
        return made(Trial(name, str(task), str(tmp_path / name), {**SHORT, "seed": seed}))

    alone = outcome("alone", 2)
    each = len(reads)
    with once():
        outcome("first", 1)
        assert outcome("second", 2) == alone and len(reads) == 2 * each
        (tmp_path / "rows.csv").write_text(ROWS + "1,1\n2,2\n")
        changed = outcome("changed", 2)
    assert len(reads) == 3 * each and changed["metrics"] != alone["metrics"]


def test_a_plan_reads_once(tmp_path: Path, reads: list[str]) -> None:
    """However many variants there are, and widths are looked for."""
    from recurra.comparing.planning import Question, planned
    from recurra.comparing.variants import variants_of

    task, cells = tasks(tmp_path)["numbers"], ["gru", "lstm", "rnn"]
    load_data(resolve(task))
    each = len(reads)
    question = Question(variants_of(cells, {}), cells, 2)
    made = planned(task, SHORT, question, lambda lines: None)
    assert len(reads) == 2 * each and len(made.plan.variants) == 3


def test_folds_of_a_backtest_read_once(tmp_path: Path, reads: list[str]) -> None:
    """Each trains a model of its own, of the same data without its end."""
    task = tasks(tmp_path)["numbers"]
    backtests = tmp_path / "backtests"
    recurra.backtest(task, SHORT, folds=2, horizon=2, retrain=True, backtests=backtests)
    assert len([*backtests.glob("*/*/*/*/result.json")]) == 2
    # What is forecast, and what the models are trained on.
    assert len(reads) == 2
