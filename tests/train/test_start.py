"""A run that starts from another: what it takes is what that run had, or is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import witnesses
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import ANSWERS, LABELS, PROSE, TRIALS, about, trained, write

import recurra
from recurra.errors import InputError, RunError
from recurra.job.run import Run
from recurra.resolve import resolve

PLAIN = {"training.optimizer": {"kind": "sgd", "lr": 0.1}, "sequence.split": [1.0, 0.0, 0.0]}
STILL = {"training.optimizer": {"kind": "sgd", "lr": 0.0}, "training.steps": 1}
LANES = {"sequence.carry": True, "sequence.restart": 0.0}
MORE = "the cat sat on the mat; äöü and the dog sat on the log, and the frog sat in the bog too. "


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return run.folder.checkpoints.load(which).tensors["weights"]


def fine(start: Run, text: str, folder: Path, more: Any = (), **how: Any) -> Run:
    """Train a task from a run."""
    return recurra.run(write(folder, text), {**dict(more)}, start=start.path, runs=folder, **how)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of prose, from which others start."""
    return trained(tmp_path_factory.mktemp("base"), "windows")


@pytest.mark.parametrize("name", ["windows", "series", "labels"])
def test_the_figures_before_an_update_are_the_old_ones(name: str, tmp_path: Path) -> None:
    """At rate 0 a run from another gives its figures, to the last bit, and keeps its weights; it is
    opened, and goes on, without the other.
    """
    run = trained(tmp_path, name)
    new = recurra.run(run.path / "task.toml", STILL, start=run.path, runs=tmp_path / "new")
    before, after = run.evaluate(), new.evaluate()
    assert before["metrics"] == after["metrics"] and before["verdict"] == after["verdict"]
    old = weights(run, "best")
    assert all(torch.equal(weight, old[key]) for key, weight in weights(new).items())
    origin = json.loads((new.path / "origin.json").read_text())
    assert origin["run"] == str(run.path) and len(origin["sha256"]) == 64

    shutil.rmtree(run.path)
    assert recurra.load(new.path).evaluate()["metrics"] == before["metrics"]
    assert recurra.resume(new.path, {"training.steps": 2}).result["steps"] == 2


def test_the_first_update_is_that_of_the_old_run(tmp_path: Path) -> None:
    """Where an epoch has one order, under plain sgd, the first update of a run from another is the
    next one of that run, bit for bit.
    """
    short = trained(tmp_path, "windows", **PLAIN, **LANES, **{"training.steps": None}, **{
        "training.epochs": 2
    })  # fmt: skip
    task = short.path / "task.toml"
    steps = short.result["steps"]
    new = recurra.run(
        task, {"training.steps": 1}, start=short.path, checkpoint="last", runs=tmp_path / "new"
    )
    more = recurra.resume(short.path, {"training.steps": steps + 1})
    ours, theirs = weights(new), weights(more)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_new_symbols_are_refused_by_name_or_added(base: Run, tmp_path: Path) -> None:
    """Three new letters are named with their counts; added, they have rows as drawn, and no bit of
    a row that was there has changed.
    """
    text = about(PROSE, "inline", text=MORE * 2)
    with pytest.raises(InputError, match="RC043") as caught:
        fine(base, text, tmp_path / "a", STILL)
    assert all(f"'{mark}' (2)" in str(caught.value) for mark in "äöü")

    new = fine(base, text, tmp_path / "b", STILL, add_symbols=True)
    before, after = weights(base, "best"), weights(new)
    size = base.vocabulary.size
    assert new.vocabulary.size == size + 3
    assert [new.vocabulary.symbol(i) for i in range(size)] == [
        base.vocabulary.symbol(i) for i in range(size)
    ]
    assert torch.equal(after["head.weight"][:size], before["head.weight"])
    drawn = fine(base, text, tmp_path / "c", STILL, add_symbols=True)
    assert all(torch.equal(after[name], weight) for name, weight in weights(drawn).items())
    assert recurra.load(new.path).evaluate("train")["metrics"]

    skipping = fine(base, text, tmp_path / "d", {**STILL, "vocabulary.unknown": "skip"})
    assert skipping.vocabulary.size == size


EMBEDDED = {"kind": "embedding", "size": 6}
MARKED = [{"kind": "one_hot"}, EMBEDDED, {**EMBEDDED, "tied": True}]


def kept_at(before: torch.Tensor, after: torch.Tensor, at: list[int]) -> bool:
    """Tell whether a tensor stands in another, its rows or columns at some places."""
    axes = [axis for axis in range(before.dim()) if before.shape[axis] != after.shape[axis]]
    moved = after.index_select(axes[0], torch.tensor(at)) if axes else after
    part = before.narrow(axes[0], 0, len(at)) if axes else before
    return torch.equal(moved, part)


@pytest.mark.parametrize("encoder", MARKED)
def test_marks_of_answers_stay_behind_all_symbols(encoder: Any, tmp_path: Path) -> None:
    """Of answers that follow, new symbols take the places of the marks, and these move on with all
    that was learned of them, in what is read and in what is answered.
    """
    asked = {"encoder": encoder}
    base = recurra.run(write(tmp_path, ANSWERS), asked, runs=tmp_path / "runs")
    texts, answers = ["ab", "ba", "abc", "cab", "cb"] * 4, ["ba", "ab", "cba", "bac", "äü"] * 4
    text = about(ANSWERS, "inline", texts=texts, answers=answers)
    with pytest.raises(InputError, match="RC043"):
        fine(base, text, tmp_path / "a", {**asked, **STILL})

    new = fine(base, text, tmp_path / "b", {**asked, **STILL}, add_symbols=True)
    size = base.vocabulary.size
    before, after = weights(base, "best"), weights(new)
    at = [*range(size), size + 2, size + 3]
    assert before.keys() == after.keys() and new.vocabulary.size == size + 2
    assert all(kept_at(weight, after[name], at) for name, weight in before.items())
    assert recurra.load(new.path).evaluate("train")["metrics"]


@pytest.mark.parametrize("encoder", MARKED)
def test_marks_of_answers_come_and_go_with_the_target(encoder: Any, tmp_path: Path) -> None:
    """What has learned to go on learns to answer, with marks as drawn; what answers goes on again,
    without them. With as many new symbols as marks, no size tells them apart: refused.
    """
    plain = {"encoder": encoder, "sequence.split": [1.0, 0.0, 0.0]}
    base = recurra.run(write(tmp_path, PROSE), plain, runs=tmp_path / "runs")
    texts, answers = ["the cat", "a dog", "on the mat", "the log"], ["dog", "cat", "", "o"]
    text = about(ANSWERS, "inline", texts=texts, answers=answers)
    answering = fine(base, text, tmp_path / "a", {**plain, **STILL})
    again = fine(answering, PROSE, tmp_path / "b", {**plain, **STILL})

    one, two, three = (weights(run) for run in (base, answering, again))
    at = [*range(base.vocabulary.size)]
    below = [name for name in one if not name.startswith("head.")]
    assert below and all(kept_at(one[name], two[name], at) for name in below)
    assert all(torch.equal(three[name], one[name]) for name in below)

    wider = about(PROSE, "inline", text=MORE.replace("ü", "") * 2)
    with pytest.raises(InputError, match="RC030"):
        fine(answering, wider, tmp_path / "c", {**plain, **STILL}, add_symbols=True)


@pytest.mark.parametrize(
    ("name", "said"), [("add_symbols", True), ("refit_scale", True), ("checkpoint", "last")]
)
def test_what_is_said_of_no_start_is_refused(name: str, said: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"{name} cannot be followed") as caught:
        recurra.run(write(tmp_path, PROSE), runs=tmp_path / "runs", **{name: said})
    assert caught.value.problems[0].code == "RC080" and caught.value.problems[0].cure
    assert not (tmp_path / "runs").exists()


def test_a_language_model_becomes_a_classifier(base: Run, tmp_path: Path) -> None:
    """Under another target the head begins anew, and all below it is taken."""
    new = fine(base, LABELS, tmp_path, STILL)
    before, after = weights(base, "best"), weights(new)
    layers = [name for name in after if name.startswith("layers.")]
    assert layers and all(torch.equal(after[name], before[name]) for name in layers)
    parts = json.loads((new.path / "origin.json").read_text())["parts"]
    assert "begins anew" in parts["head"]


def test_labels_go_by_their_names(tmp_path: Path) -> None:
    """New classes are refused by name, or added behind those that were there."""
    run = trained(tmp_path, "labels")
    same = {**TRIALS["labels"][1], **STILL, "training.validate_every": 0}
    text = LABELS.replace('labels = [\n    "a"', 'labels = [\n    "A"').replace(
        '"b", "b", "a"', '"A", "A", "a"'
    )
    text = text.replace("split = [0.6, 0.2, 0.2]", "split = [1.0, 0.0, 0.0]")
    with pytest.raises(InputError, match=r"RC043(.|\n)*'A'"):
        fine(run, text, tmp_path / "a", same)
    new = fine(run, text, tmp_path / "b", same, add_symbols=True)
    assert new.answers.save() == {"classes": ["a", "b", "A"]}
    assert torch.equal(weights(new)["head.weight"][:2], weights(run, "best")["head.weight"])


def test_a_scale_is_kept_or_fitted(tmp_path: Path) -> None:
    """Numbers are scaled as the run did, unless they are to be scaled by what is new."""
    run = trained(tmp_path, "series")
    text = SERIES.replace("[1, 2, 3,", "[100, 2, 3,")
    kept = fine(run, text, tmp_path / "a", STILL)
    assert kept.vocabulary.save() == run.vocabulary.save()
    fitted = fine(run, text, tmp_path / "b", STILL, refit_scale=True)
    assert fitted.vocabulary.save() != run.vocabulary.save()
    assert recurra.load(fitted.path).evaluate()["metrics"]


@pytest.mark.parametrize(
    "key, value",
    [
        ("cell.kind", "lstm"),
        ("cell.hidden_size", 7),
        ("cell.num_layers", 2),
        ("cell.reset", "before"),
        ("encoder.kind", "embedding"),
        ("vocabulary.kind", "byte"),
        ("vocabulary.unknown", "token"),
    ],
)
def test_what_does_not_fit_is_refused_with_both_sides(
    key: str, value: Any, base: Run, tmp_path: Path
) -> None:
    """Another cell, width, depth, encoder or vocabulary: the key, what it is and what it was, and
    nothing is written.
    """
    task = base.path / "task.toml"
    if key not in ("cell.reset",) or "reset" in resolve(task).tables()["cell"]:
        with pytest.raises(InputError, match="RC030") as caught:
            recurra.run(task, {key: value}, start=base.path, runs=tmp_path / "runs")
        problem = caught.value.problems[0]
        assert problem.got and problem.allowed and problem.cure and problem.key == key
    assert not (tmp_path / "runs").exists()


def test_dropout_may_differ(base: Run, tmp_path: Path) -> None:
    """An option that changes nothing of what is computed from an input is no hindrance."""
    changes = {**STILL, "cell.dropout": 0.5, "cell.init": "orthogonal"}
    new = recurra.run(base.path / "task.toml", changes, start=base.path, runs=tmp_path)
    assert torch.equal(weights(new)["head.weight"], weights(base, "best")["head.weight"])


def test_what_is_no_run_or_damaged_is_refused(base: Run, tmp_path: Path) -> None:
    """A folder that is no run, a damaged one, one without a checkpoint: as when it is opened."""
    task = base.path / "task.toml"
    with pytest.raises(InputError, match="RC051"):
        recurra.run(task, start=tmp_path / "nothing", runs=tmp_path)
    with pytest.raises(InputError, match="RC080"):
        recurra.run(task, start=base.path, checkpoint="first", runs=tmp_path)
    copy = shutil.copytree(base.path, tmp_path / "copy")
    (copy / "vocabulary.json").write_text("{}")
    with pytest.raises(RunError, match="RC052"):
        recurra.run(task, start=copy, runs=tmp_path / "runs")
    shutil.rmtree(copy / "checkpoints")
    with pytest.raises(InputError, match="RC051"):
        recurra.run(task, start=copy, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_run_of_before_is_a_start(tmp_path: Path) -> None:
    """An old run gives its weights as one of today does."""
    with witnesses.installed(), witnesses.own_warnings_alone():
        path = witnesses.copied("hello_lstm", tmp_path)
        run = recurra.load(path)
        new = recurra.run(path / "task.toml", STILL, start=path, runs=tmp_path / "new")
        assert torch.equal(weights(new)["head.weight"], weights(run, "best")["head.weight"])


@pytest.mark.filterwarnings("ignore::recurra.errors.Unsuited")
@given(first=st.text(min_size=2), second=st.text())
@settings(max_examples=20, deadline=None)
@pytest.mark.parametrize("kind", ["character", "word", "byte"])
def test_symbols_that_are_added_move_none(kind: str, first: str, second: str) -> None:
    """What a vocabulary knew keeps its ids, all of the new text is known, and all that is told of
    the new symbols is how often they come.
    """
    task = {"source": {"kind": "inline", "text": "ab"}, "vocabulary": {"kind": kind}}
    tables = {
        "encoder": {"kind": "one_hot"},
        "cell": {"kind": "rnn"},
        "loss": {"kind": "cross_entropy"},
    }
    vocabulary = resolve({**task, **tables}).parts["vocabulary"].build()
    texts = [text.encode("utf-8", "replace").decode() for text in (first, second)]
    vocabulary.fit([texts[0]])
    before = vocabulary.encode(texts[0]).tolist()
    known = [vocabulary.symbol(i) for i in range(max(before, default=0) + 1)]
    new = vocabulary.add([texts[1]])
    assert vocabulary.encode(texts[0]).tolist() == before
    assert [vocabulary.symbol(i) for i in range(len(known))] == known
    assert vocabulary.decode(vocabulary.encode(texts[1])) == texts[1]
    assert vocabulary.add([texts[1]]) == {} and all(count > 0 for count in new.values())
