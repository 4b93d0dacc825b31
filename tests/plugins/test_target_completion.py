"""The answer that follows: what is scored, what is given freely, and what simple rules know."""

from __future__ import annotations

import csv
import json
import math
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional
from trials import ANSWERS, about, trained, write

import recurra
from recurra import Examples, InputError
from recurra.data import corpus
from recurra.data.segments import segments
from recurra.errors import RunError
from recurra.job.build import build_network, build_trainer
from recurra.job.data import Data, load_data
from recurra.model.completion import completions
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.train.evaluate import Completed, complete, evaluate
from recurra_targets import completion_rules
from recurra_targets.answers import Answers, edits

IDS = st.lists(st.integers(0, 3), max_size=6)
PLAIN = {"device.kind": "cpu", "device.precision": "float64", "device.path": "native"}


def ids(symbols: list[int]) -> Any:
    return np.array(symbols, np.int64)


def reversing(count: int, longest: int = 4) -> tuple[list[str], list[str]]:
    """Return strings, some of them empty, and each read backwards."""
    draw = Random(1)
    texts = ["".join(draw.choices("abc", k=draw.randint(0, longest))) for _ in range(count)]
    return texts, [text[::-1] for text in texts]


def task(texts: list[str], answers: list[str], folds: list[str] | None = None) -> str:
    options = {} if folds is None else {"folds": folds}
    text = about(ANSWERS, "inline", texts=texts, answers=answers, **options)
    return text if folds is None else text.replace("split = [0.6, 0.2, 0.2]\n", "")


def built(folder: Path, text: str = ANSWERS, **changes: Any) -> tuple[Data, Network]:
    resolved = resolve(write(folder, text), PLAIN | changes)
    data = load_data(resolved)
    return data, build_network(resolved, data.vocabulary.size, answers=data.answers.size)[0]


# Measures and rules


def levenshtein(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """Return the distance as it is defined."""

    @cache
    def away(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        same = one[i - 1] == other[j - 1]
        return min(away(i - 1, j) + 1, away(i, j - 1) + 1, away(i - 1, j - 1) + (not same))

    return away(len(one), len(other))


@given(IDS, st.lists(IDS, min_size=1, max_size=4))
def test_edits_are_those_of_the_definition(one: list[int], others: list[list[int]]) -> None:
    """Each distance is the fewest symbols put in, taken out or changed."""
    found = edits(ids(one), [ids(other) for other in others])
    assert found.tolist() == [levenshtein(tuple(one), tuple(other)) for other in others]


@given(st.lists(st.tuples(IDS, st.booleans(), IDS), min_size=1))
def test_figures_of_answers_are_counted(rows: list[tuple[list[int], bool, list[int]]]) -> None:
    """An answer is right where it is the same and has ended; edits are for each right symbol."""
    sums = Answers()
    for said, ended, came in rows:
        sums.add(ids(said), ended, ids(came))
    right = sum(ended and said == came for said, ended, came in rows)
    distance = sum(levenshtein(tuple(said), tuple(came)) for said, _, came in rows)
    symbols = max(sum(len(came) for *_, came in rows), 1)
    expected = {"exact_match": right / len(rows), "edit_distance": distance / symbols}
    assert sums.metrics() == pytest.approx(expected)


def examples(rows: list[tuple[list[int], list[int]]]) -> Examples:
    """Return prompts of ids below 4 and their answers, between the marks 4 and 5."""
    parts = [[*prompt, 4, *answer, 5] for prompt, answer in rows]
    high = np.cumsum([len(part) for part in parts], dtype=np.int64)
    begin = high - [len(part) for part in parts]
    low = high - [len(answer) + 1 for _, answer in rows]
    values = ids([symbol for part in parts for symbol in part])
    return Examples("symbols", values, low, high, begin, 6, 6)


ROWS = st.lists(st.tuples(IDS, IDS), min_size=1, max_size=6)


@settings(max_examples=50)
@given(ROWS, ROWS)
def test_rules_say_what_training_says(train: Any, held: Any) -> None:
    """The most frequent answer, and that of the first nearest prompt, by the definition."""
    answers = [answer for _, answer in train]
    frequent = max(answers, key=answers.count)

    def nearest(prompt: list[int]) -> list[int]:
        return min(train, key=lambda row: levenshtein(tuple(row[0]), tuple(prompt)))[1]

    expected = {}
    for name, rule in {
        "most frequent answer": lambda _: frequent,
        "nearest prompt": nearest,
    }.items():
        sums = Answers()
        for prompt, came in held:
            sums.add(ids(rule(prompt)), True, ids(came))
        expected[name] = sums.metrics()
    assert completion_rules.completion_rules(examples(train), examples(held)) == expected


def test_a_rule_that_knows_a_part_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where comparing all would be too dear, some prompts are known, and their number is said."""
    monkeypatch.setattr(completion_rules, "CELLS", 1)
    rows = [([index % 4], [index % 3]) for index in range(50)]
    rules = completion_rules.completion_rules(examples(rows), examples(rows[:5]))
    assert list(rules) == ["most frequent answer", "nearest of 20 prompts"]

    monkeypatch.setattr(completion_rules, "ASKED", 3)
    rules = completion_rules.completion_rules(examples(rows), examples(rows[:5]))
    assert list(rules) == ["most frequent answer, 3 asked", "nearest of 20 prompts, 3 asked"]


# What is asked


def test_each_symbol_of_an_answer_is_scored_once(tmp_path: Path) -> None:
    """Symbols and end of each answer are scored, and no prompt: in evaluation and in training."""
    data, network = built(tmp_path)
    texts = ANSWERS.split("answers = ")[1].split("\n")[0]
    answers = json.loads(texts)
    total = sum(len(answer) + 1 for answer in answers)
    parts = data.splits.values()
    tallies = [evaluate(network, data.reader, part, data.tally()) for part in parts]
    assert sum(tally.steps for tally in tallies) == total
    epoch = list(data.feed.epoch(0))
    assert sum(batch.scored for batch in epoch) == data.splits["train"].steps
    assert sum(len(batch.x) for batch in epoch) == len(data.splits["train"]) == data.feed.count
    begin, end = data.answers.marks
    for batch in epoch:
        assert not (batch.x == end).any()
        assert ((batch.x == begin).sum(dim=1) == 1).all()
        # From the mark on a row is scored to its end.
        scored = (batch.x == begin).cumsum(dim=1) > 0
        ends = torch.cumsum(batch.y == end, dim=1) - (batch.y == end).long() == 0
        assert torch.equal(batch.mask, scored & ends)


@pytest.mark.parametrize(
    "settings", [{"rows": 1}, {"rows": 3, "window": 2}, {"rows": 5, "window": 1}]
)
def test_figures_hang_on_no_window(settings: dict[str, int], tmp_path: Path) -> None:
    """Nor on how many sequences are read side by side."""
    data, network = built(tmp_path)
    train = data.splits["train"]
    whole = evaluate(network, data.reader, train, data.tally()).values()
    other = evaluate(network, data.reader, train, data.tally(), **settings).values()
    assert other == pytest.approx(whole, rel=1e-10)


def test_no_answer_is_cut(tmp_path: Path) -> None:
    """However long it is, it is read from the first step of its prompt."""
    texts = ["ab" * 3000, "a"]
    data, _ = built(tmp_path, task(texts, ["b" * 9000, "b"], ["train", "train"]),
                    **{"training.batch_size": 1})  # fmt: skip
    start, target, stop, _ = segments(data.splits["train"])
    assert start.tolist() == [0, 6000 + 9000 + 2]
    assert target.tolist() == [6001, 6000 + 9000 + 4]
    assert stop.tolist() == [6000 + 9000 + 2, 6000 + 9000 + 2 + 4]
    assert data.feed.length == 3


@pytest.mark.parametrize("length", [1, 2, 3, 100])
def test_the_loss_of_an_update_hangs_on_no_length(length: int, tmp_path: Path) -> None:
    """Windows change how far gradients go back, and not what is measured."""
    shares, gradients = [], []
    for own in (0, length):
        text = ANSWERS.replace("length = 3", f"length = {own}")
        resolved = resolve(write(tmp_path, text), PLAIN)
        data = load_data(resolved)
        network, _ = build_network(resolved, data.vocabulary.size, answers=data.answers.size)
        trainer = build_trainer(resolved, data, network)
        batch = next(iter(data.feed.epoch(0)))
        shares.append(float(trainer.passes.backward(batch, batch.scored)))
        gradients.append(network.cells[0].weight_ih.grad.clone())

        with torch.no_grad():
            output, _ = network(batch.x)
        mean = functional.cross_entropy(output[batch.mask], batch.y[batch.mask])
        assert shares[-1] == pytest.approx(float(mean), rel=1e-12)
    assert shares[0] == pytest.approx(shares[1], rel=1e-12)
    assert torch.allclose(*gradients, rtol=1e-9) == (length == 100)


def test_bits_of_a_window_are_those_of_a_plain_step(tmp_path: Path) -> None:
    """Where a window holds all, an update is that of the plain mean over the scored steps."""
    resolved = resolve(write(tmp_path, ANSWERS.replace("length = 3", "length = 0")), PLAIN)
    data = load_data(resolved)
    longest = max(data.store.ends - data.store.starts) - 1
    assert resolved.task.sequence.length == data.feed.length == longest


# What is given freely


def plainly(network: Network, prompt: list[int], marks: Any, limit: int) -> list[int]:
    """Return the answer to one prompt, where all is read again for each symbol."""
    read, answer = [*prompt, marks.begin], []
    for _ in range(limit + 1):
        with torch.no_grad():
            output, _ = network(torch.tensor([read]))
        chances = output[0, -1].clone()
        chances[marks.begin] = -math.inf
        symbol = int(chances.argmax())
        if symbol == marks.end:
            return [*answer, symbol]
        answer.append(symbol)
        read.append(symbol)
    return answer[:limit]


@pytest.mark.parametrize("limit", [0, 1, 5])
@pytest.mark.parametrize("rows", [1, 3, 64])
def test_answers_are_those_of_reading_all_again(rows: int, limit: int, tmp_path: Path) -> None:
    """Side by side, with states carried: the same as one by one, and no answer begins anew."""
    data, network = built(tmp_path)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        network.head.bias[data.answers.marks.begin] = 100.0
    draw = Random(0)
    prompts = [[draw.randrange(3) for _ in range(draw.randint(0, 9))] for _ in range(20)]
    marks = data.answers.marks
    found = completions(network, [ids(prompt) for prompt in prompts], marks, limit, rows=rows)
    expected = [plainly(network, prompt, marks, limit) for prompt in prompts]
    assert [answer.tolist() for answer in found] == expected
    assert len({len(answer) for answer in expected}) > (limit > 1)


def test_a_long_prompt_is_read_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of a prompt are read one after the other, with the state carried."""
    from recurra.model import sequences

    data, network = built(tmp_path)
    prompts = [ids([0, 1, 2] * 5), ids([1] * 16)]
    whole = completions(network, prompts, data.answers.marks, 4)
    monkeypatch.setattr(sequences, "LONGEST", 4)
    parts = completions(network, prompts, data.answers.marks, 4)
    assert all(map(np.array_equal, whole, parts))


def test_what_is_not_finite_answers_nothing(tmp_path: Path) -> None:
    """An answer of a network that has gone wrong would be no answer."""
    data, network = built(tmp_path)
    with torch.no_grad():
        network.head.bias[0] = math.nan
    with pytest.raises(RunError, match="not finite, so nothing can be answered"):
        completions(network, [ids([0])], data.answers.marks, 4)


def test_answers_in_the_data_change_none_that_is_given(tmp_path: Path) -> None:
    """What a network answers hangs on the prompts alone, not on how long the right answers are."""
    found = []
    for answers in (["a", "bb", "c"], ["abc" * 9, "", "bc"]):
        text = task(["ab", "bca", "c"], answers, ["train", "train", "test"])
        data, network = built(tmp_path, text, **{"training.batch_size": 1})
        seen: list[Completed] = []
        complete(network, data.store, data.splits["train"], data.tally(), data.answers.marks, 7,
                 watch=seen.append)  # fmt: skip
        found.append([completed.given.tolist() for completed in seen])
    assert found[0] == found[1]


# Runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    texts, answers = reversing(240)
    changes = {"training.steps": 150, "training.batch_size": 16, "cell.hidden_size": 24,
               "sequence.length": 0, "device.path": "native",
               "training.monitor": "exact_match", "training.validate_every": 50}  # fmt: skip
    return recurra.run(write(folder, task(texts, answers)), changes, runs=folder / "runs")


def test_a_run_learns_and_its_predictions_are_its_figures(run: Any) -> None:
    """The share of right predictions of the split's prompts, one by one, is the figure."""
    assert run.result["metrics"]["exact_match"] > 0.6
    loaded = recurra.load(run.path)
    assert loaded.evaluate()["metrics"] == pytest.approx(run.result["metrics"], rel=1e-6)

    texts, answers = reversing(240)
    data = load_data(run.resolved)
    rows = data.store.sequence(data.splits["test"].begin).tolist()
    alone = [list(loaded.predict([texts[row]]))[0] for row in rows]
    together = list(loaded.predict([texts[row] for row in rows]))
    said = [row["predicted"] for row in together]
    assert [row["predicted"] for row in alone] == said
    right = [row["ended"] and row["predicted"] == answers[place]
             for place, row in zip(rows, together, strict=True)]  # fmt: skip
    assert sum(right) / len(right) == run.result["metrics"]["exact_match"]


def test_a_run_shows_prompts_with_their_answers(run: Any) -> None:
    """Some of the split are shown: the prompt, the right answer and what the model says."""
    texts, answers = reversing(240)
    shown = run.result["completions"]
    assert len(shown) == 5
    for completion in shown:
        row = completion["sequence"] - 1
        assert (completion["prompt"], completion["came"]) == (texts[row], answers[row])
        (said,) = run.predict([texts[row]])
        assert (completion["predicted"], completion["ended"]) == (said["predicted"], said["ended"])


def test_validation_generates_only_where_it_is_watched(run: Any, tmp_path: Path) -> None:
    """A figure of free answers is made at a validation if it is the one that is monitored."""
    watched = [row for row in run.metrics() if row["split"] == "validation"]
    assert all({"exact_match", "edit_distance", "nats"} <= row.keys() for row in watched)
    plain = recurra.run(write(tmp_path, ANSWERS), {"training.steps": 4}, runs=tmp_path / "runs")
    rows = [row for row in plain.metrics() if row["split"] == "validation"]
    assert rows and not any("exact_match" in row for row in rows[:-1])
    assert "exact_match" in plain.result["metrics"]


def test_answers_of_other_splits_move_no_weight(tmp_path: Path) -> None:
    """Other right answers, held out, change figures and neither weights nor what is given."""
    texts, answers = reversing(30)
    folds = ["train"] * 20 + ["validation"] * 5 + ["test"] * 5
    turned = [*answers[:20], *("cab"[: len(answer)] for answer in answers[20:])]
    runs = [
        recurra.run(
            write(tmp_path, task(texts, each, folds), f"{index}.toml"),
            {"training.steps": 8},
            runs=tmp_path / "runs",
        )  # fmt: skip
        for index, each in enumerate((answers, turned))
    ]
    weights, others = (run.folder.checkpoints.load("last").tensors["weights"] for run in runs)
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())


def test_a_file_is_answered_row_by_row(run: Any, tmp_path: Path) -> None:
    """Inline data is answered from rows; a run of a table reads another one, empty texts too."""
    texts, answers = reversing(40)
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["p", "a"], *zip(texts, answers, strict=True)])
    text = about(ANSWERS, "csv", path="table.csv", columns=["p"], answer="a")
    trial = recurra.run(write(tmp_path, text), {"training.steps": 2}, runs=tmp_path / "runs")
    path.write_text('p\nab\n""\nxyz\n')
    with pytest.raises(InputError, match="row 3: the sequence holds 'x'"):
        list(trial.predict(file=path))
    rows = list(trial.predict(file=path, skip_bad=True))
    assert [row["row"] for row in rows] == ["1", "2", "3"]
    assert rows[:2] == [
        {**row, "row": str(n)} for n, row in enumerate(trial.predict(["ab", ""]), 1)
    ]
    assert "'x'" in rows[2]["error"]


def test_tokens_are_answered_by_tokens(tmp_path: Path) -> None:
    """A vocabulary of tokens knows those of both columns; empty answers are answers."""
    tokens = [["a b", "c"], ["c"], ["d"], ["a b"]]
    answers: list[list[str]] = [["x"], [], ["x", "y z"], []]
    text = about(ANSWERS, "inline", tokens=tokens, answers=answers)
    text = text.replace('"character"', '"category"').replace("[0.6, 0.2, 0.2]", "[1, 0, 0]")
    run = recurra.run(
        write(tmp_path, text),
        {"training.steps": 60, "cell.hidden_size": 16, "sequence.length": 0},
        runs=tmp_path / "runs",
    )
    assert run.vocabulary.size == 5
    assert run.result["metrics"]["exact_match"] == 1.0
    assert [row["predicted"] for row in run.predict(tokens)] == ["x", "", "x y z", ""]


def test_an_answer_that_does_not_end_is_wrong(tmp_path: Path) -> None:
    """It is given up after as many symbols as the target says, and that is told."""
    data, network = built(tmp_path, **{"target.longest": 3})
    assert data.limit == 3
    with torch.no_grad():
        network.head.weight.zero_()
        network.head.bias.zero_()
        network.head.bias[0] = 1.0
    tally = evaluate(network, data.reader, data.splits["train"], data.tally())
    seen: list[Completed] = []
    marks = data.answers.marks
    complete(network, data.store, data.splits["train"], tally, marks, data.limit, watch=seen.append)
    assert all(completed.given.tolist() == [0, 0, 0] for completed in seen)
    assert tally.values()["exact_match"] == 0.0


def test_a_resumed_run_is_the_same(tmp_path: Path) -> None:
    """Stopped after some steps and resumed, every bit is the same."""
    runs = [trained(tmp_path / name, "answers", stops) for name, stops in
            (("whole", ()), ("stopped", (2, 7)))]  # fmt: skip
    weights, others = (run.folder.checkpoints.load("last").tensors["weights"] for run in runs)
    assert all(torch.equal(weight, others[name]) for name, weight in weights.items())
    assert runs[0].result["metrics"] == runs[1].result["metrics"]


def test_a_corpus_in_a_file_gives_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers are found in a mapped corpus as in one in memory."""
    monkeypatch.setenv("RECURRA_CACHE", str(tmp_path / "cache"))
    memory, _ = built(tmp_path)
    monkeypatch.setattr(corpus.build, "__defaults__", (1, *corpus.build.__defaults__[1:]))
    mapped, _ = built(tmp_path)
    assert isinstance(mapped.store.values, np.memmap)
    for name, part in memory.splits.items():
        other = mapped.splits[name]
        assert part.low.tolist() == other.low.tolist()
        assert part.high.tolist() == other.high.tolist()


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sequence.carry": True}, "target 'completion' takes a sequence with its answer as a"),
        ({"sequence.stride": 2}, "stride has no use"),
        ({"sequence.season": 2}, "season has no use"),
        ({"sequence.split_by": "time"}, "and split_by = 'time' would cut it"),
        ({"cell.bidirectional": True}, "target 'completion' must be causal"),
        ({"generation.length": 5}, "it answers whole prompts, and goes on with none"),
        ({"loss": {"kind": "mse"}}, "loss 'mse' takes numbers"),
        ({"training.monitor": "accuracy"}, r"no such metric(.|\n)*exact_match"),
        ({"expect.accuracy_above": 0.5}, "accuracy_above speaks of what is not here"),
        ({"target.longest": -1}, "at least 0"),
        ({"target.longest": "9"}, "an integer"),
        ({"training.batch_size": 99}, "the training split holds 9 sequences, and one batch takes"),
    ],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(
    changes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    """Each key that does not fit is named, with the reason."""
    with pytest.raises(InputError, match=words):
        recurra.check(write(tmp_path, ANSWERS), changes)


def test_data_without_answers_is_refused(tmp_path: Path) -> None:
    """The source must give what is asked; numbers are no answer."""
    text = about(ANSWERS, "inline", texts=["ab"])
    with pytest.raises(InputError, match="asks for an answer, and this inline source gives"):
        recurra.check(write(tmp_path, text))
    numbers = about(ANSWERS, "inline", series=[[1.0, 2.0]], answers=["a"])
    with pytest.raises(InputError, match="answers: they follow text or tokens"):
        recurra.check(write(tmp_path, numbers))
    numbers = about(ANSWERS, "inline", series=[[1.0, 2.0]]).replace("character", "numeric")
    with pytest.raises(InputError, match="answers with symbols, but vocabulary 'numeric' gives"):
        recurra.check(write(tmp_path, numbers.replace('"one_hot"', '"identity"')))


def test_nothing_goes_on_from_a_prompt(run: Any) -> None:
    """A session and a generation are refused, and say what answers."""
    for call in (run.session, lambda: run.generate("ab")):
        with pytest.raises(InputError, match="it answers whole prompts(.|\n)*recurra predict"):
            call()
    with pytest.raises(InputError, match="horizon is for what goes on"):
        run.predict(["ab"], horizon=3)
