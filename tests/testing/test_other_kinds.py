"""The suite on all kinds but cells: what is right passes, and what is wrong is named."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from liars import (
    beside,
    encoders,
    entry,
    losses,
    sources,
    tags,
    targets,
    trackers,
    vocabularies,
    vocabularies_of_numbers,
)
from safetensors.torch import save_file

from recurra.catalog import discover
from recurra.testing import hard_data
from recurra.testing.check import Broken
from recurra.testing.slopes import SLOPE, slope_gap
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.source import SourceSubject
from recurra.testing.suite import examine, prescribed
from recurra_vocabularies.scaling import Scaling

MODULES = {
    "encoder": encoders,
    "vocabulary": vocabularies,
    "loss": losses,
    "source": sources,
    "target": targets,
    "tracker": trackers,
}
LETTERS = dict(zip(MODULES, "EVLSTK", strict=True))
RIGHT = [
    component
    for module in (*MODULES.values(), vocabularies_of_numbers, tags, beside)
    for component in module.RIGHT
]
LIKE_ROWS = ("right_labelled_rows",)
"""What reads a large file as `right_rows` does, which is tried by default."""
OWN = [
    found
    for kind in MODULES
    for found in discover().of_kind(kind)
    if found.plugin.distribution == "recurra"
]


def ids(kind):
    """Return the checks that are of one kind alone."""
    return [check.id for check in prescribed(kind, "full") if check.id.startswith(LETTERS[kind])]


def verdicts(found, **arguments):
    """Return what became of each check of the component's own kind."""
    report = examine(
        found, "full", only=arguments.pop("only", ids(found.component.kind)), **arguments
    )
    assert not report.missing
    return {record.id: record for record in report.records}


def failing(found, **arguments):
    """Return the checks that do not pass, each with what was said."""
    records = verdicts(found, **arguments).values()
    return {
        record.id: (record.verdict, record.detail)
        for record in records
        if record.verdict not in ("PASS", "N/A")
    }


@pytest.mark.parametrize(
    "component", RIGHT, ids=lambda component: f"{component.kind}-{component.name}"
)
def test_what_is_right_passes(component):
    """Small components that keep their contract fail no check, whatever form they have."""
    own = [id for id in ids(component.kind) if id != "S07" or component.name not in LIKE_ROWS]
    assert failing(entry(component), only=own) == {}


@pytest.mark.slow
@pytest.mark.parametrize("name", LIKE_ROWS)
def test_blocks_do_not_show_in_what_is_read_alike(name):
    """The law that reads a large file, of the components that are left out above."""
    (component,) = [component for component in RIGHT if component.name == name]
    assert failing(entry(component), only=["S07"]) == {}


def of(kind, name):
    """Return a first-party component."""
    return next(
        found for found in OWN if (found.component.kind, found.component.name) == (kind, name)
    )


@pytest.mark.parametrize(
    "table",
    [
        {"label_smoothing": 0.3},
        {"class_weights": {"b": 2.0, "e": 0.5}, "focal": 2.0},
        {"class_weights": "balanced", "focal": 0.5, "label_smoothing": 0.3},
    ],
    ids=str,
)
def test_a_cross_entropy_keeps_the_laws_of_a_loss(table):
    """In training and in evaluation, where labels are not smoothed, with what it learned of the
    answers.
    """
    assert failing(of("loss", "cross_entropy"), sets=[table]) == {}


@pytest.mark.parametrize("frozen", [False, True])
def test_given_vectors_are_saved_like_learned_ones(tmp_path, frozen):
    """Vectors of a file are taken once, and need no file when a run is loaded; frozen ones have no
    gradient.
    """
    path = tmp_path / "vectors.safetensors"
    save_file({"rows": torch.randn(2, 3)}, path, metadata={"symbols": json.dumps(["b", "d"])})
    found = of("encoder", "embedding")
    assert failing(found, sets=[{"size": 3, "vectors": str(path), "frozen": frozen}]) == {}


@pytest.mark.parametrize("changes", [{"lowercase": True}, {"min_count": 3}, {"max_size": 2}])
def test_a_loss_of_words_is_declared(changes):
    """Where words are folded or left out, nothing is said about coming back; every other law
    holds.
    """
    records = verdicts(of("vocabulary", "word"), sets=[changes])
    for name in ("V01", "V10"):
        assert records.pop(name).detail == "it declares that it is not lossless"
    assert {
        name: record.detail for name, record in records.items() if record.verdict == "FAIL"
    } == {}


def test_a_lossless_vocabulary_may_not_be_lossy_in_secret(monkeypatch):
    """A vocabulary that folds case and declares nothing is found out."""
    found = of("vocabulary", "word")
    monkeypatch.setattr(found.target, "lossless", True)
    assert set(failing(found, sets=[{"lowercase": True}])) == {"V01"}


def test_numbers_that_must_be_positive_are_checked_on_such(monkeypatch):
    """A scale of logarithms refuses others by an error of its own, and is checked on those that it
    takes.
    """
    records = verdicts(of("vocabulary", "numeric"), sets=[{"log": True}])
    assert records["V08"].verdict == "PASS"
    monkeypatch.setattr(Scaling, "_check", lambda self, values, names: None)
    with np.errstate(all="ignore"):
        assert "V08" in failing(of("vocabulary", "numeric"), sets=[{"log": True}])


@pytest.fixture
def books(tmp_path):
    """Return a folder of texts: plain, packed, empty, without a last line end, and wide."""
    (tmp_path / "a.txt").write_text("one é two\nthree 世界 lines\n", encoding="utf-8")
    (tmp_path / "b.txt").write_text("", encoding="utf-8")
    (tmp_path / "c.txt").write_text("the last\nwithout an end", encoding="utf-8")
    (tmp_path / "d.txt.gz").write_bytes(gzip.compress("zipped ü\nlines\n".encode()))
    (tmp_path / "wide.txt").write_text("wide\nlines\n", encoding="utf-16")
    return tmp_path


def test_texts_of_all_kinds_are_sources(books):
    """Patterns, empty files, packed ones and several at once keep every law, and grow by a line."""
    sets = [
        {"path": str(books / "*.txt.gz")},
        {"paths": [str(books / "[a-c].txt"), str(books / "d.txt.gz")], "each": "line"},
        {"path": str(books / "**" / "a.txt")},
    ]
    for table in sets:
        records = verdicts(of("source", "text"), sets=[table])
        assert records.pop("S10").detail == "it gives no label"
        assert records.pop("S11").detail == "it gives no answer"
        assert records.pop("S12").detail == "it gives no tags"
        assert records.pop("S13").detail == "it gives no time stamps"
        assert records.pop("S14").detail == "it gives no covariates"
        single = "paths" not in table and "*" not in table["path"]
        assert single == (records["S15"].verdict == "PASS")
        if not single:
            assert records.pop("S15").detail == "its options name no single file"
        assert {
            name: record.detail for name, record in records.items() if record.verdict != "PASS"
        } == {}


def test_a_file_that_cannot_grow_is_not_held_to_it(books):
    """Bytes that are put to the end of UTF-16 are no line of it: the law of blocks does not apply,
    and says why.
    """
    record = verdicts(
        of("source", "text"),
        only=["S07"],
        sets=[{"path": str(books / "wide.txt"), "encoding": "utf-16"}],
    )
    assert record["S07"].verdict == "N/A"
    assert "does not grow by a line" in record["S07"].detail


def test_a_source_whose_options_hold_nothing_to_give_is_broken():
    """All that it offers is refused: there is nothing to check, and that is no pass."""
    found = entry(
        replace(sources.component("RightFile", "FileOptions"), examples=({"path": "no.txt"},))
    )
    assert set(failing(found, only=["S01", "S02", "S03"])) == {"S01", "S02", "S03"}


def test_copies_are_where_the_source_reads_them(books):
    """A source over copies never sees the files that were named."""
    moved = []

    def move(path):
        moved.append(path)
        return Path("elsewhere") / path.name

    found = of("source", "text")
    options = found.options(paths=[str(books / "a.txt"), str(books / "*.gz")])
    subject = SourceSubject(found, options, {"paths": list(options.paths)})
    assert subject.source(move).options.paths == ["elsewhere/a.txt", "elsewhere/*.gz"]
    assert subject.files() == moved == [books / "a.txt", books / "*.gz"]


def test_what_a_component_declares_wrongly_is_broken():
    """`reads` must name what there is."""
    found = entry(encoders.component("Right"))
    subject = EncoderSubject(found, found.options())
    assert subject.reads == ("symbols",)
    with pytest.MonkeyPatch.context() as patch:
        for wrong in ("symbols", (), ("letters",), None):
            patch.setattr(found.target, "reads", wrong)
            with pytest.raises(Broken, match="reads is"):
                _ = subject.reads


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), share=st.floats(0.01, 2))
def test_slopes_tell_right_gradients_from_wrong_ones(seed, share):
    """The gap of a right gradient is rounding; that of one that is off by a share is about that
    share.
    """
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(4, 3, generator=draw, dtype=torch.float64).requires_grad_()
    weight = torch.randn(3, generator=draw, dtype=torch.float64).requires_grad_()
    held = x.detach().clone()

    def right():
        return torch.tanh(x * weight).sum(dim=1)

    def bent():
        found = right()
        return found + share * (found.detach() - found)

    assert slope_gap(right, [x, weight], draw) < SLOPE / 10
    assert slope_gap(bent, [x, weight], draw) > 0.05 * share
    assert torch.equal(x, held)


def test_slopes_see_what_has_no_gradient_at_all():
    """A detached result has gradient 0, which is wrong unless the function is flat."""
    x = torch.randn(5, dtype=torch.float64).requires_grad_()
    draw = torch.Generator().manual_seed(0)
    assert slope_gap(lambda: x.detach().sin(), [x], draw) > 0.1
    assert slope_gap(lambda: torch.zeros(3, dtype=torch.float64), [x], draw) == 0
    assert slope_gap(lambda: x * torch.nan, [x], draw) == float("inf")


@pytest.mark.parametrize("reads", ["text", "tokens", "numbers"])
def test_hard_data_is_hard(reads):
    """Runs hold an empty one, and put together they are the whole; constants, signs and sizes
    differ.
    """
    runs = hard_data.runs(reads)
    assert any(len(run) == 0 for run in runs)
    assert len(hard_data.joined(runs, reads)) == sum(len(run) for run in runs)
    table = hard_data.numbers()
    assert (table[:, 2] == table[0, 2]).all()
    assert (table < 0).any() and (hard_data.numbers(positive=True) > 0).all()
    text = hard_data.joined(hard_data.runs("text"), "text")
    assert all(
        text.encode().decode() == text and part in text
        for part in ("\r\n", "\0", "\u200d", "\u0301", "\U00020000")
    )


NONSENSE = {
    "encoder": ["forward"],
    "loss": ["forward", "point"],
    "vocabulary": ["encode", "decode", "text", "streamer", "save", "size"],
    "source": ["read", "features", "columns"],
    "target": ["metrics", "judged", "baselines", "pooling"],
}


@pytest.mark.parametrize("given", [None, "x", (1, 2)])
@pytest.mark.parametrize(
    ("kind", "method"), [(kind, method) for kind, named in NONSENSE.items() for method in named]
)
def test_nonsense_is_the_components_fault(kind, method, given, monkeypatch):
    """A method that gives something else altogether is a failure, told by its check, and no error
    of the suite.
    """
    found = entry(MODULES[kind].RIGHT[0])
    fake = (
        property(lambda self: given)
        if method in ("size", "pooling")
        else lambda self, *arguments, **named: given
    )
    monkeypatch.setattr(found.target, method, fake)
    # Which take a process of their own.
    checks = [check for check in ids(kind) if check not in ("S04", "V09")]
    assert {verdict for verdict, _ in failing(found, only=checks).values()} == {"FAIL"}
