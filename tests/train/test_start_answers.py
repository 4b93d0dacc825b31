"""A run that starts from another, where the answers are classes, numbers or symbols that follow."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import ANSWERS, LABELS, PROSE, TAGS, about, write

import recurra
from recurra.errors import InputError, RunError
from recurra.job.run import Run

WHOLE = {
    "training.optimizer": {"kind": "sgd", "lr": 0.1},
    "training.steps": 2,
    "training.batch_size": 4,
    "sequence.split": [1.0, 0.0, 0.0],
    "device.path": "native",
    "device.precision": "float64",
}
"""Each batch is all there is: whichever order an epoch has, an update is the same."""
STILL = {"training.optimizer": {"kind": "sgd", "lr": 0.0}, "training.steps": 1}

LETTERS = ["ab", "ba", "aab", "b"]
RULED = {
    "tags": about(
        TAGS.replace('scheme = "BIO"\n', "").replace('"category"', '"character"'),
        "inline",
        texts=LETTERS,
        tags=[[f"t{mark}" for mark in text] for text in LETTERS],
    ).replace("length = 3", "length = 4"),
    "labels": about(LABELS, "inline", texts=LETTERS, labels=["m", "n", "m", "n"]),
    "values": about(
        LABELS.replace('kind = "label"', 'kind = "value"').replace("cross_entropy", "mse"),
        "inline",
        texts=LETTERS,
        labels=["1", "2", "4", "8"],
    ),
    "answers": about(ANSWERS, "inline", texts=LETTERS, answers=["b", "a", "", "ab"]).replace(
        "length = 3", "length = 8"
    ),
}
"""Four sequences of each target, all of which one batch holds."""
CLASSES = {"tags": ("tags", ["ta", "tb"]), "labels": ("labels", ["m", "n"])}


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Return a run of each, from which others start."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        name: recurra.run(write(folder, text, f"{name}.toml"), WHOLE, runs=folder)
        for name, text in RULED.items()
    }


def weights(run: Run, which: str = "last") -> dict[str, torch.Tensor]:
    return run.folder.checkpoints.load(which).tensors["weights"]


def parts(run: Run) -> dict[str, str]:
    """Return what a run says that it has taken."""
    found: dict[str, str] = json.loads((run.path / "origin.json").read_text())["parts"]
    return found


def fine(start: Run, text: str, folder: Path, more: Any = (), **how: Any) -> Run:
    """Train a task from the last weights of a run."""
    changes = {**WHOLE, **dict(more)}
    how = {"checkpoint": "last", **how}
    return recurra.run(write(folder, text), changes, start=start.path, runs=folder / "new", **how)


@pytest.mark.parametrize("name", RULED)
def test_the_first_update_goes_on(name: str, bases: dict[str, Run], tmp_path: Path) -> None:
    """Where nothing else has changed, it is the next one of the run that it starts from: of classes
    at each step and of whole sequences, of numbers, and of answers that follow.
    """
    base = bases[name]
    new = fine(base, RULED[name], tmp_path, {"training.steps": 1})
    more = recurra.run(
        write(tmp_path, RULED[name]), {**WHOLE, "training.steps": 3}, runs=tmp_path / "more"
    )
    before, ours, theirs = weights(base), weights(new), weights(more)
    for key, weight in theirs.items():
        torch.testing.assert_close(ours[key], weight, rtol=1e-12, atol=1e-13)
    assert any(not torch.allclose(before[key], weight) for key, weight in theirs.items())


def renamed(name: str, names: list[Any]) -> str:
    """Return a task whose answers have other names."""
    _, classes = CLASSES[name]
    text = RULED[name]
    for old, new in zip(classes, names, strict=True):
        text = text.replace(json.dumps(old), json.dumps(f"<{new}>"))
    for new in names:
        text = text.replace(json.dumps(f"<{new}>"), json.dumps(new))
    return text


def more_classes(name: str, new: str) -> str:
    """Return a task in which some of a class have become another."""
    _, (_, second) = CLASSES[name]
    head, _, tail = RULED[name].rpartition(json.dumps(second))
    return f"{head}{json.dumps(new)}{tail}"


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("new", ["A", "zz", "mm"])
def test_a_class_that_is_new_is_refused_or_stands_behind(
    name: str, new: str, bases: dict[str, Run], tmp_path: Path
) -> None:
    """Whatever its name is sorted before, those that were known keep their ids and rows, bit for
    bit, and what they say of a sequence; its own row is drawn, and learned.
    """
    base = bases[name]
    _, classes = CLASSES[name]
    text = more_classes(name, new)
    noun = {"tags": "tag", "labels": "label"}[name]
    with pytest.raises(InputError, match=f"does not know 1 {noun} of this data") as caught:
        fine(base, text, tmp_path / "a")
    problem = caught.value.problems[0]
    assert (problem.code, problem.got) == ("RC043", f"{new!r} (1)") and "--add-symbols" in (
        problem.cure
    )
    assert not (tmp_path / "a" / "new").exists()

    run = fine(base, text, tmp_path / "b", STILL, add_symbols=True)
    assert run.answers.save() == {"classes": [*classes, new]}
    before, after = weights(base), weights(run)
    assert all(torch.equal(after[key][: len(weight)], weight) for key, weight in before.items())
    assert after["head.weight"][2].abs().sum() > 0
    assert "drawn anew" in parts(run)["head"]
    assert recurra.load(run.path).evaluate("train")["predictions"] > 0

    learned = fine(base, text, tmp_path / "c", {"training.steps": 1}, add_symbols=True)
    assert not torch.equal(weights(learned)["head.weight"][2], after["head.weight"][2])


@pytest.mark.parametrize("name", CLASSES)
def test_classes_go_by_their_names(name: str, bases: dict[str, Run], tmp_path: Path) -> None:
    """Named the other way round in the data, or some of them absent, each keeps its own row; the
    figures are those of the run on the same data.
    """
    base = bases[name]
    _, classes = CLASSES[name]
    for number, names in enumerate((classes[::-1], [classes[1], classes[1]])):
        text = renamed(name, names)
        run = fine(base, text, tmp_path / str(number), STILL)
        assert run.answers.save() == base.answers.save()
        after = weights(run)
        assert all(torch.equal(after[key], weight) for key, weight in weights(base).items())


@pytest.mark.parametrize("name", ["tags", "labels", "values"])
def test_symbols_are_added_beside_answers(name: str, bases: dict[str, Run], tmp_path: Path) -> None:
    """Symbols that are read grow, and what is answered stays: no bit of the head has changed."""
    base = bases[name]
    text = RULED[name].replace('"aab"', '"aAb"')
    with pytest.raises(InputError, match=r"does not know 1 symbol(.|\n)*'A' \(1\)"):
        fine(base, text, tmp_path / "a")
    run = fine(base, text, tmp_path / "b", STILL, add_symbols=True)
    before, after = weights(base), weights(run)
    assert run.vocabulary.size == base.vocabulary.size + 1
    for key, weight in before.items():
        same = after[key] if after[key].shape == weight.shape else after[key][..., :2]
        assert torch.equal(same, weight), key
    assert run.answers.save() == base.answers.save()


def test_numbers_that_answer_keep_their_scale(bases: dict[str, Run], tmp_path: Path) -> None:
    """Unless they are to be scaled anew; of another width they are refused, and then begin anew."""
    base = bases["values"]
    text = RULED["values"].replace('"8"', '"80"')
    kept = fine(base, text, tmp_path / "a", STILL)
    assert kept.answers.save() == base.answers.save()
    fitted = fine(base, text, tmp_path / "b", STILL, refit_scale=True)
    assert fitted.answers.save() != base.answers.save()
    assert torch.equal(weights(fitted)["head.weight"], weights(base)["head.weight"])

    wide = RULED["values"].replace('["1", "2", "4", "8"]', '["1 0", "2 1", "4 0", "8 1"]')
    with pytest.raises(InputError, match="by 1 number, and this data by 2") as caught:
        fine(base, wide, tmp_path / "c")
    assert caught.value.problems[0].code == "RC030"
    anew = fine(base, wide, tmp_path / "d", STILL, refit_scale=True)
    assert parts(anew)["head"] == "begins anew: it gives other numbers for an answer"


@pytest.mark.parametrize("wide", [True, False])
def test_numbers_of_another_width_are_not_measured(
    wide: bool, bases: dict[str, Run], tmp_path: Path
) -> None:
    """More or fewer numbers than a run gives are refused, and not compared with what it gives."""
    run = bases["values"]
    labels = ["1 1", "2 1"] if wide else ["1", "2"]
    if not wide:
        text = RULED["values"].replace('["1", "2", "4", "8"]', '["1 0", "2 1", "4 0", "8 1"]')
        run = recurra.run(write(tmp_path, text), WHOLE, runs=tmp_path)
    with pytest.raises(InputError, match="answers a sequence by") as caught:
        run.evaluate(None, {"source.texts": ["ab", "a"], "source.labels": labels})
    assert caught.value.problems[0].code == "RC030"


def test_heads_of_what_comes_next_are_taken(tmp_path: Path) -> None:
    """What goes on and what answers are both asked for the next symbol: rows go by the symbols,
    also where new ones have come, and the marks are drawn or left.
    """
    plain = {**WHOLE, "training.batch_size": 2}
    base = recurra.run(write(tmp_path, PROSE), plain, runs=tmp_path / "runs")
    size = base.vocabulary.size
    text = about(ANSWERS, "inline", texts=["the cat", "a dog Q"], answers=["dog", ""])
    two = {"training.batch_size": 2, **STILL}
    answering = fine(base, text, tmp_path / "a", two, add_symbols=True)
    again = fine(answering, PROSE, tmp_path / "b", two)
    assert answering.vocabulary.size == size + 1

    one, other, third = (weights(run) for run in (base, answering, again))
    for key in ("head.weight", "head.bias"):
        assert torch.equal(other[key][:size], one[key]) and len(other[key]) == size + 3
        assert torch.equal(third[key], other[key][: size + 1])
    assert parts(answering)["head"].endswith("drawn anew")
    assert parts(again)["head"].endswith("weights taken")


def test_another_pooling_begins_anew(bases: dict[str, Run], tmp_path: Path) -> None:
    """Its weights, if it has any, are drawn: that is told, and the head is taken."""
    plain = RULED["labels"].replace("attention", "last")
    base = recurra.run(write(tmp_path, plain), WHOLE, runs=tmp_path / "base")
    run = fine(base, RULED["labels"], tmp_path, STILL)
    assert parts(run)["pool"] == "begins anew: the other has no such weights"
    assert torch.equal(weights(run)["head.weight"], weights(base)["head.weight"])
    back = fine(run, plain, tmp_path / "back", STILL)
    assert "pool" not in parts(back)
    assert torch.equal(weights(back)["head.weight"], weights(base)["head.weight"])


@pytest.mark.parametrize("other", ["tags", "values", "answers"])
def test_a_head_of_another_question_begins_anew(
    other: str, bases: dict[str, Run], tmp_path: Path
) -> None:
    """A class of a sequence is no class of a step, though both have a name: that is told."""
    run = fine(bases["labels"], RULED[other], tmp_path, STILL)
    assert parts(run)["head"].startswith("begins anew: the target is recurra/")
    assert not torch.equal(weights(run)["head.weight"][:2], weights(bases["labels"])["head.weight"])


@pytest.mark.parametrize("name", ["labels", "values", "answers"])
def test_bad_rows_are_skipped(name: str, bases: dict[str, Run]) -> None:
    """Each has its error, and all others are answered as they are alone; an empty sequence is bad
    where it is answered once, and a prompt where an answer follows.
    """
    run, rows = bases[name], ["ab", "aqb", "", "b"]
    bad = {"2": "holds 'q'"} | ({} if name == "answers" else {"3": "the sequence is empty"})
    found = list(run.predict(rows, skip_bad=True))
    for row, text in zip(found, rows, strict=True):
        if row["row"] in bad:
            assert bad[row["row"]] in row["error"] and set(row) == {"row", "error"}
        else:
            (alone,) = run.predict([text])
            for key, value in {**alone, "row": row["row"]}.items():
                text_or_flag = isinstance(value, str | bool)
                assert row[key] == (value if text_or_flag else pytest.approx(value, rel=1e-9))
            assert row.keys() == alone.keys()
    for number, fact in bad.items():
        with pytest.raises(InputError, match=f"row 1: .*{fact}"):
            list(run.predict([rows[int(number) - 1]]))


@pytest.mark.parametrize("name", ["weights.safetensors", "state.json", "manifest.json"])
def test_a_damaged_checkpoint_starts_no_run(
    name: str, bases: dict[str, Run], tmp_path: Path
) -> None:
    """It is named, and nothing is written: no other weights take its place without a word."""
    copy = shutil.copytree(bases["tags"].path, tmp_path / "copy")
    for path in (copy / "checkpoints").rglob(name):
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RunError, match="RC052(.|\n)*checkpoints|checkpoints(.|\n)*RC052"):
        recurra.run(
            write(tmp_path, RULED["tags"]),
            WHOLE,
            start=copy,
            checkpoint="last",
            runs=tmp_path / "r",
        )
    assert not (tmp_path / "r").exists()


def test_a_prompt_of_which_nothing_is_left_is_an_empty_one(tmp_path: Path) -> None:
    """So training and figures have it, so `predict` answers, and a note says so."""
    policy = ANSWERS.replace('kind = "character"', 'kind = "character"\nunknown = "skip"')
    base = recurra.run(
        write(tmp_path, about(policy, "inline", texts=LETTERS, answers=["b", "a", "", "ab"])),
        WHOLE,
        runs=tmp_path / "base",
    )
    runs = []
    for name, prompt in (("unknown", "zq"), ("empty", "")):
        text = about(policy, "inline", texts=["ab", prompt, "b", "a"], answers=list("abab"))
        runs.append(fine(base, text, tmp_path / name))
    one, other = runs
    assert all(torch.equal(weights(one)[key], weight) for key, weight in weights(other).items())
    assert one.result["metrics"] == other.result["metrics"]
    note = "1 prompt of the data is read as empty: the vocabulary knows nothing of it"
    assert one.result["notes"] == [*other.result["notes"], note]

    unknown, empty = one.predict(["zq", ""])
    assert {**unknown, "row": "2"} == empty
    assert list(one.predict(["zq", ""], skip_bad=True)) == [unknown, empty]


def test_the_marks_of_answers_are_no_symbols(tmp_path: Path) -> None:
    """Tokens that are called as they are have names of their own, and what never is an answer is
    not weighed; a text that holds such a name is one.
    """
    tokens = [["<answer begins>", "a"], ["b"], ["a"], ["b", "a"]]
    answers: list[list[str]] = [["<answer ends>"], ["<answer begins>"], [], ["a"]]
    text = about(ANSWERS, "inline", tokens=tokens, answers=answers)
    text = text.replace('"character"', '"category"')
    learning = {"training.steps": 80, "training.optimizer": {"kind": "adam", "lr": 0.05}}
    run = recurra.run(write(tmp_path, text), {**WHOLE, **learning}, runs=tmp_path)
    assert run.result["metrics"]["exact_match"] == 1.0
    assert [row["predicted"] for row in run.predict(tokens)] == [" ".join(one) for one in answers]
    names = [run.answers.symbol(index) for index in range(run.answers.size)]
    assert len(set(names)) == len(names)

    weighed = {**WHOLE, "training.steps": 1, "loss.class_weights": {"<answer begins>": 4.0}}
    loss = recurra.run(write(tmp_path, text), weighed, runs=tmp_path / "w").network.loss
    heavy = loss.save()["weights"]
    assert heavy.index(max(heavy)) == names.index("<answer begins>") < run.answers.marks.begin
    with pytest.raises(InputError, match="is no class") as caught:
        recurra.check(write(tmp_path, ANSWERS), {"loss.class_weights": {"<answer begins>": 2.0}})
    assert caught.value.problems[0].allowed == "'a', 'b', 'c', '<answer ends>'"
