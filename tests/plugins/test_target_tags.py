"""One class a step: spans, figures and simple rules against plain loops, and what moves nothing."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import TAGS, about, write

import recurra
from recurra import Examples, InputError
from recurra.data.batches import Batch
from recurra.data.labels import Labels
from recurra.data.segments import groups
from recurra.job.build import build_network
from recurra.job.data import Data, load_data
from recurra.model.network import Network
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate
from recurra_targets import tag_rules
from recurra_targets.spans import SCHEMES, BioesSpans, BioSpans, Spans

PLAIN = {"device.kind": "cpu", "device.precision": "float64", "device.path": "native"}
few = settings(deadline=None, max_examples=25)

# Spans, by the rules of conlleval


def chunks(tags: list[str]) -> set[tuple[int, int, str]]:
    """Return the spans of a sequence, first, last and kind, as conlleval's two tables have them."""
    found = set()
    begun: tuple[int, str] | None = None
    old, old_kind = "O", ""
    for at, tag in enumerate([*tags, "O"]):
        mark, _, kind = tag.partition("-")
        ends = (old, mark) in {
            *(("B", new) for new in "BSO"),
            *(("I", new) for new in "BSO"),
            *(("E", new) for new in "BIESO"),
            *(("S", new) for new in "BIESO"),
        } or (old != "O" and old_kind != kind)
        starts = (old, mark) in {
            *((before, "B") for before in "BIESO"),
            *((before, "S") for before in "BIESO"),
            *((before, after) for before in "ESO" for after in "IE"),
        } or (mark != "O" and old_kind != kind)
        if begun is not None and ends:
            found.add((begun[0], at - 1, begun[1]))
            begun = None
        if starts:
            begun = at, kind
        old, old_kind = mark, kind
    return found


def names_of(marks: str) -> list[str]:
    return sorted(["O", *(f"{mark}-{kind}" for mark in marks for kind in ("x", "y-z"))])


def sure(names: list[str], said: list[str]) -> torch.Tensor:
    """Return outputs that say these tags."""
    return 9.0 * torch.eye(len(names))[[names.index(tag) for tag in said]]


def ids(names: list[str], tags: list[str]) -> torch.Tensor:
    return torch.tensor([names.index(tag) for tag in tags])


@st.composite
def tagged_pairs(draw: Any, marks: str) -> list[tuple[list[str], list[str]]]:
    """Draw sequences: the tags that came and those that were said."""
    tag = st.sampled_from(names_of(marks))
    pairs = []
    for _ in range(draw(st.integers(1, 4))):
        length = draw(st.integers(1, 8))
        row = st.lists(tag, min_size=length, max_size=length)
        came = draw(row)
        said = draw(st.one_of(row, st.just(came)))
        pairs.append((came, said))
    return pairs


def span_truth(pairs: list[tuple[list[str], list[str]]]) -> dict[str, float]:
    true = [len(chunks(came)) for came, _ in pairs]
    told = [len(chunks(said)) for _, said in pairs]
    right = sum(len(chunks(came) & chunks(said)) for came, said in pairs)
    precision = right / sum(told) if sum(told) else 0.0
    recall = right / sum(true) if sum(true) else 0.0
    both = precision + recall
    f1 = 2 * precision * recall / both if both else 0.0
    return {"span_f1": f1, "span_precision": precision, "span_recall": recall}


@pytest.mark.parametrize(("metric", "marks"), [(BioSpans, "BI"), (BioesSpans, "BIES")])
@given(data=st.data())
@settings(deadline=None, max_examples=30)
def test_spans_are_those_of_conlleval(metric: type[Spans], marks: str, data: Any) -> None:
    """Precision, recall and F1 are those of the rules, in whatever parts and order steps come."""
    pairs = data.draw(tagged_pairs(marks))
    names = names_of(marks)
    steps = [
        (row * 100, at, came, said)
        for row, (many, told) in enumerate(pairs)
        for at, (came, said) in enumerate(zip(many, told, strict=True))
    ]
    order = data.draw(st.permutations(steps))
    cut = data.draw(st.integers(0, len(steps)))

    sums = metric(Labels(names))
    for part in (order[:cut], order[cut:]):
        if part:
            rows, places, came, said = map(list, zip(*part, strict=True))
            where = torch.tensor([rows, places]).T
            sums.add_at(sure(names, said), ids(names, came), where)
            sums.values()
    assert sums.values() == pytest.approx(span_truth(pairs))


def test_known_cases_of_spans() -> None:
    """What conlleval's own page and its readers dispute about."""
    assert chunks(["I-x", "I-x", "O"]) == {(0, 1, "x")}
    assert chunks(["B-x", "I-y"]) == {(0, 0, "x"), (1, 1, "y")}
    assert chunks(["B-x", "B-x"]) == {(0, 0, "x"), (1, 1, "x")}
    assert chunks(["B-x", "E-x", "S-x"]) == {(0, 1, "x"), (2, 2, "x")}

    names = ["B-x", "I-x", "O"]
    spans = BioSpans(Labels(names))
    places = torch.tensor([[0, 0], [0, 1], [0, 2], [5, 0], [5, 1]])
    came = ["B-x", "I-x", "O", "I-x", "O"]
    said = ["B-x", "I-x", "I-x", "I-x", "O"]
    spans.add_at(sure(names, said), ids(names, came), places)
    # Two came, two were said; the first ends too late.
    assert spans.values() == {"span_f1": 0.5, "span_precision": 0.5, "span_recall": 0.5}


@given(data=st.data())
@few
def test_without_places_each_step_stands_alone(data: Any) -> None:
    """So it is by `add`, and of steps that no other stands beside."""
    pairs = data.draw(tagged_pairs("BI"))
    names = names_of("BI")
    came = [tag for many, _ in pairs for tag in many]
    said = [tag for _, told in pairs for tag in told]
    alone, apart = BioSpans(Labels(names)), BioSpans(Labels(names))
    alone.add(sure(names, said), ids(names, came))
    places = torch.stack([torch.zeros(len(came)), 2 * torch.arange(len(came))], dim=1).long()
    apart.add_at(sure(names, said), ids(names, came), places)
    truth = span_truth([([one], [other]) for one, other in zip(came, said, strict=True)])
    assert alone.values() == apart.values() == pytest.approx(truth)


def test_nothing_marked_is_found_without_dividing_by_it() -> None:
    """Where no span came and none was said, each figure is 0, and only what was said costs."""
    names = ["B-x", "O"]
    for said, precision in (("O", 0.0), ("B-x", 0.0)):
        spans = BioSpans(Labels(names))
        spans.add(sure(names, [said]), ids(names, ["O"]))
        assert spans.values()["span_precision"] == precision
        assert spans.values()["span_f1"] == spans.values()["span_recall"] == 0.0


@pytest.mark.parametrize(
    ("scheme", "names", "wrong"),
    [
        ("BIO", ["B-x", "E-x", "O"], "'E-x'"),
        ("BIO", ["B", "O"], "'B'"),
        ("BIO", ["B-", "O"], "'B-'"),
        ("BIOES", ["O", "name", "S-x"], "'name'"),
        ("BIOES", ["O-x", "S-x"], "'O-x'"),
        ("BIO", ["a", "b", "c", "d"], "'a', 'b', 'c'"),
    ],
)
def test_tags_of_another_scheme_are_named(scheme: str, names: list[str], wrong: str) -> None:
    """A tag that marks no span as the scheme says is refused, with what is allowed."""
    (metric,) = SCHEMES[scheme]
    with pytest.raises(InputError) as caught:
        metric(Labels(names))
    problem = caught.value.problems[0]
    assert (problem.code, problem.key, problem.got) == ("RC042", "target.scheme", wrong)
    assert "O, B-KIND, I-KIND" in problem.allowed


# Simple rules, against plain loops


def split_of(rows: list[tuple[list[Any], list[int], int]], values: Any, **fields: Any) -> Examples:
    """Return a split of sequences: what is read, their tags, and how many steps are only known."""
    lengths = [len(read) for read, _, _ in rows]
    high = np.cumsum(lengths, dtype=np.int64)
    begin = high - lengths
    low = begin + [known for _, _, known in rows]
    # Tags come under codes of their own, of which the answers tell the classes.
    codes = np.concatenate([[0], *[tags for _, tags, _ in rows]])[1:].astype(np.uint16)
    return Examples(values=values, low=low, high=high, begin=begin, codes=codes, **fields)


CLASSES = np.array([1, 0, 2, -1])
"""The classes of four tags, of which training lacks the last."""


@st.composite
def symbol_splits(draw: Any) -> tuple[Any, Any]:
    """Draw training and held sequences of three symbols, some of which are only read."""
    parts = []
    for held in (False, True):
        rows = []
        for _ in range(draw(st.integers(1, 4))):
            length = draw(st.integers(1, 12))
            read = draw(st.lists(st.integers(0, 2), min_size=length, max_size=length))
            most = 3 if held else 2
            tags = draw(st.lists(st.integers(0, most), min_size=length, max_size=length))
            known = draw(st.integers(0, length - 1)) if held else 0
            rows.append((read, tags, known))
        parts.append(rows)
    return parts[0], parts[1]


def symbols(rows: Any) -> Examples:
    values = np.concatenate([read for read, _, _ in rows]).astype(np.uint8)
    about = {"elements": "symbols", "size": 3, "classes": 3, "answers": CLASSES}
    return split_of(rows, values, **about)


def commonest(tags: list[int]) -> int:
    """Return the commonest class, of equals the first."""
    counts = Counter(tags)
    return min(counts, key=lambda tag: (-counts[tag], tag))


def figures_of(pairs: list[tuple[int, int]]) -> dict[str, float]:
    """Return accuracy, mean recall of what came, mean F1 of what occurs, of (came, said)."""
    recalls, scores = [], []
    for tag in {tag for pair in pairs for tag in pair}:
        right = sum(came == said == tag for came, said in pairs)
        came = sum(one == tag for one, _ in pairs)
        said = sum(one == tag for _, one in pairs)
        if came:
            recalls.append(right / came)
        scores.append(2 * right / (came + said))
    return {
        "accuracy": sum(came == said for came, said in pairs) / len(pairs),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "macro_f1": sum(scores) / len(scores),
    }


def said_by_loops(train: Any, held: Any, longest: int) -> dict[str, list[tuple[int, int]]]:
    """Return what came and what each rule says, by dictionaries of runs of symbols."""
    after: dict[tuple[int, ...], list[int]] = {}
    for read, tags, _ in train:
        for at, tag in enumerate(tags):
            for n in range(longest + 1):
                if n <= at + 1:
                    run = tuple(read[at + 1 - n : at + 1])
                    after.setdefault(run, []).append(int(CLASSES[tag]))

    known = set(after[()])
    found: dict[str, list[tuple[int, int]]] = {}
    for read, tags, first in held:
        for at in range(first, len(read)):
            came = int(CLASSES[tags[at]])
            if came not in known:
                continue
            runs = [tuple(read[at + 1 - n : at + 1]) for n in range(min(longest, at + 1) + 1)]
            shown = [run for run in runs if run in after]
            rules = {
                "majority": after[()],
                "majority a symbol": after[max((run for run in shown if len(run) < 2), key=len)],
                f"window of {longest} symbols": after[max(shown, key=len)],
            }
            for rule, tags_after in rules.items():
                found.setdefault(rule, []).append((came, commonest(tags_after)))
    return found


@given(parts=symbol_splits(), longest=st.sampled_from([1, 2, 8]))
@settings(deadline=None, max_examples=30)
def test_rules_of_symbols_are_plain_dictionaries(parts: Any, longest: int) -> None:
    """Majority, that of a symbol, and the longest run that training shows; unseen tags are out."""
    train, held = parts
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tag_rules, "LONGEST", longest)
        found = tag_rules.tag_rules(symbols(train), symbols(held))
    truth = said_by_loops(train, held, longest)
    assert list(found) == list(truth)
    for rule, pairs in truth.items():
        assert found[rule] == pytest.approx(figures_of(pairs))


@given(parts=symbol_splits(), data=st.data())
@few
def test_rules_are_causal_and_learn_of_training_alone(parts: Any, data: Any) -> None:
    """Cut anywhere, held steps have the same figures; what is not asked may be anything."""
    train, held = parts
    truth = tag_rules.tag_rules(symbols(train), symbols(held))
    whole = symbols(held)

    # Each step alone, with what comes before it in its sequence.
    low = np.concatenate([np.arange(a, b) for a, b in zip(whole.low, whole.high, strict=True)])
    begin = np.repeat(whole.begin, whole.high - whole.low)
    single = Examples(**(vars(whole) | {"low": low, "high": low + 1, "begin": begin}))
    assert tag_rules.tag_rules(symbols(train), single) == truth

    # Tags that are only known, and not asked, teach nothing.
    asked = np.concatenate([np.arange(a, b) for a, b in zip(whole.low, whole.high, strict=True)])
    codes = np.full(len(whole.values), data.draw(st.integers(0, 3)), np.uint16)
    assert whole.codes is not None
    codes[asked] = whole.codes[asked]
    other = Examples(**(vars(whole) | {"codes": codes}))
    assert tag_rules.tag_rules(symbols(train), other) == truth


@given(seed=st.integers(0, 99), width=st.integers(1, 3))
@few
def test_ridge_is_that_of_a_plain_solve(seed: int, width: int) -> None:
    """Of numbers, the class of which a ridge on the step's own numbers says most."""
    draw = np.random.default_rng(seed)
    rows, values = [], []
    for _ in range(2):
        tags = draw.integers(0, 3, 30)
        read = draw.normal(size=(30, width)) + tags[:, None]
        rows.append([(read, tags.tolist(), 0)])
        values.append(read)
    about = {"elements": "numbers", "size": width, "classes": 3, "answers": CLASSES}
    train, held = (split_of(row, read, **about) for row, read in zip(rows, values, strict=True))
    rules = tag_rules.tag_rules(train, held)
    assert list(rules) == ["majority", "ridge"]

    mean, spread = values[0].mean(axis=0), values[0].std(axis=0)
    x, z = ((read - mean) / spread for read in values)
    classes = CLASSES[np.array(rows[0][0][1])]
    line = tag_rules.Ridge(x, np.eye(3)[classes])
    inner = x.T @ x + line.alpha * np.eye(width)
    shares = np.eye(3)[classes]
    weights = np.linalg.solve(inner, x.T @ (shares - shares.mean(axis=0)))
    said = np.argmax(z @ weights + shares.mean(axis=0), axis=1)
    came = CLASSES[np.array(rows[1][0][1])]
    pairs = list(zip(came.tolist(), said.tolist(), strict=True))
    assert rules["ridge"] == pytest.approx(figures_of(pairs))


def test_of_nothing_rules_say_nothing() -> None:
    """An empty split, and one whose tags training lacks, have no figures."""
    train = symbols([([0, 1], [0, 1], 0)])
    held = symbols([([0, 1], [3, 3], 0)])
    empty = np.zeros(0, np.int64)
    none = Examples(**(vars(held) | {"low": empty, "high": empty, "begin": empty}))
    assert tag_rules.tag_rules(train, held) == tag_rules.tag_rules(train, none) == {}


# What is scored, and what moves nothing

LETTERS = "abcd"


def sequences(count: int, longest: int, seed: int = 1) -> tuple[list[str], list[list[str]]]:
    """Return texts with a tag a character: that of the one before it, which a window must see."""
    draw = Random(seed)
    texts = ["".join(draw.choices(LETTERS, k=draw.randint(1, longest))) for _ in range(count)]
    return texts, [[f"t{before}" for before in "_" + text[:-1]] for text in texts]


def task(texts: list[str], tags: list[list[str]], **options: Any) -> str:
    text = about(TAGS, "inline", texts=texts, tags=tags, **options)
    text = text.replace('kind = "category"', 'kind = "character"')
    text = text.replace('scheme = "BIO"\n', "")
    return text.replace("split = [0.6, 0.2, 0.2]\n", "") if "folds" in options else text


def built(folder: Path, text: str = TAGS, **changes: Any) -> tuple[Data, Network]:
    resolved = resolve(write(folder, text), PLAIN | changes)
    data = load_data(resolved)
    return data, build_network(resolved, data.vocabulary.size, answers=data.answers.size)[0]


def scored(batches: Any) -> list[tuple[int, int, int, int]]:
    """Return each scored step: its sequence, its step, what is read, and the class that is asked.

    They are told by `places`, in the order of these.
    """
    found = []
    for batch in batches:
        where = batch.places().tolist()
        read, asked = batch.x[batch.mask].tolist(), batch.y[batch.mask].tolist()
        found += [(*at, x, y) for at, x, y in zip(where, read, asked, strict=True)]
    return sorted(found)


def expected(data: Data, name: Any) -> list[tuple[int, int, int, int]]:
    """Return the same by a loop over the elements of a split."""
    part, store = data.splits[name], data.store
    labels = data.reader.labels
    assert store.tags is not None and labels is not None
    found = []
    for low, high, begin in zip(
        *(x.tolist() for x in (part.low, part.high, part.begin)), strict=True
    ):  # noqa: E501
        for at in range(low, high):
            tag = int(labels[store.tags.codes.values[at]])
            if tag >= 0:
                found.append((begin, at - begin, int(store.values[at]), tag))
    return sorted(found)


WAYS: dict[str, dict[str, Any]] = {
    "whole sequences": {},
    "by position": {"sequence.split_by": "position"},
    "by time": {"sequence.split_by": "time"},
    "carried": {"sequence.carry": True},
    "at once": {"target.causal": False, "sequence.length": 30},
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("rows", "window"), [(1, 4), (3, 7), (64, 512)])
def test_each_tag_is_scored_once(way: str, rows: int, window: int, tmp_path: Path) -> None:
    """Whatever the batch and the window, each step whose tag training shows is asked once."""
    texts, tags = sequences(12, 30)
    tags[11][-1] = tags[7][0] = "never"
    data, _ = built(tmp_path, task(texts, tags), **WAYS[way])
    total = 0
    for name, part in data.splits.items():
        windows = 0 if part.at_once else window
        batches = [one for group in groups(data.reader, part, rows, windows) for one in group]
        truth = expected(data, name)
        assert scored(batches) == truth
        assert part.steps == len(truth) + sum(data.unseen(name).values())
        total += part.steps
    assert total == sum(map(len, texts))


def test_windows_of_an_epoch_hold_each_tag_once(tmp_path: Path) -> None:
    """Training asks what evaluation does, in windows of any length."""
    texts, tags = sequences(12, 30)
    for length in (1, 4, 30):
        data, _ = built(tmp_path, task(texts, tags), **{"sequence.length": length})
        assert scored(data.feed.epoch(0)) == expected(data, "train")
    data, _ = built(tmp_path, task(texts, tags), **WAYS["at once"])
    assert scored(data.feed.epoch(3)) == expected(data, "train")


@pytest.mark.parametrize("bidirectional", [False, True])
def test_figures_hang_on_no_batch(bidirectional: bool, tmp_path: Path) -> None:
    """Figures of any number of rows and any window are the same, spans that windows cut too."""
    draw = Random(2)
    marks = ["O", "B-x", "I-x", "B-y", "I-y"]
    texts = ["".join(draw.choices(LETTERS, k=draw.randint(1, 40))) for _ in range(12)]
    tags = [draw.choices(marks, k=len(text)) for text in texts]
    changes = {"target.scheme": "BIO"}
    if bidirectional:
        changes |= {"target.causal": False, "cell.bidirectional": True, "sequence.length": 40}
    data, network = built(tmp_path, task(texts, tags), **changes)
    part = data.splits["train"]
    truth = evaluate(network, data.reader, part, data.tally()).values()
    assert 0 < truth["span_f1"] < 1
    for rows, window in ((1, 1), (2, 5), (64, 3)):
        tally = evaluate(network, data.reader, part, data.tally(), rows=rows, window=window)
        assert tally.values() == pytest.approx(truth, rel=1e-9)


def outputs(network: Network, batch: Batch) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return network(batch.x, position=batch.position, lengths=batch.lengths)[0]


@given(at=st.integers(0, 8), seed=st.integers(0, 9))
@settings(deadline=None, max_examples=8)
def test_what_comes_later_moves_no_causal_answer(at: int, seed: int, tmp_path_factory: Any) -> None:
    """Other inputs after a step change no output up to it, to the bit."""
    texts, tags = sequences(10, 9)
    data, network = built(tmp_path_factory.mktemp("t"), task(texts, tags))
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(data.vocabulary.size, (3, 10), generator=draw)
    other = x.clone()
    other[:, at + 1 :] = torch.randint(data.vocabulary.size, (3, 9 - at), generator=draw)
    lengths = torch.full((3,), 10)
    one, two = (network.eval()(each, lengths=lengths)[0] for each in (x, other))
    assert torch.equal(one[:, : at + 1], two[:, : at + 1])


def test_both_ways_neither_padding_nor_company_moves_an_answer(tmp_path: Path) -> None:
    """A sequence read both ways alone, among longer ones and in training has the same answers."""
    texts, tags = sequences(6, 9)
    changes = {"target.causal": False, "cell.bidirectional": True, "cell.num_layers": 2}
    text = task(texts, tags).replace("length = 3\n", "")
    data, network = built(tmp_path, text, **changes)
    store, reader = data.store, data.reader
    first, steps = store.starts, store.ends - store.starts
    among = outputs(network, reader.cut(first, steps, first))
    seen_ahead = False
    for row, (start, count) in enumerate(zip(first, steps, strict=True)):
        alone = reader.cut(start[None], count[None], start[None])
        own = outputs(network, alone)[0]
        torch.testing.assert_close(among[row, :count], own, rtol=0, atol=1e-12)
        if count > 1:
            moved = alone.x.clone()
            moved[0, -1] = (moved[0, -1] + 1) % data.vocabulary.size
            seen_ahead |= not torch.equal(outputs(network, alone._replace(x=moved))[0, 0], own[0])
    assert seen_ahead

    # The gradient of a batch is that of its sequences, each alone.
    def gradient(batch: Batch) -> torch.Tensor:
        network.zero_grad()
        output, _ = network(batch.x, position=batch.position, lengths=batch.lengths)
        network.loss(output[batch.mask], batch.y[batch.mask]).sum().backward()
        return torch.cat([weight.grad.flatten() for weight in network.parameters()])  # type: ignore[union-attr]

    together = gradient(reader.cut(first, steps, first))
    ones = [
        gradient(reader.cut(a[None], n[None], a[None])) for a, n in zip(first, steps, strict=True)
    ]
    torch.testing.assert_close(together, sum(ones), rtol=1e-9, atol=1e-12)


def test_the_training_split_alone_is_learned_of(tmp_path: Path) -> None:
    """Tags of other splits move no class, no weight and no rule."""
    texts, tags = sequences(8, 9)
    folds = ["train"] * 4 + ["validation"] * 2 + ["test"] * 2
    strange = [[*own] for own in tags]
    for row in range(4, 8):
        strange[row] = ["never", *["ta"] * (len(texts[row]) - 1)]
    runs = []
    for name, own in (("one", tags), ("other", strange)):
        path = write(tmp_path / name, task(texts, own, folds=folds))
        changes = PLAIN | {"training.steps": 4}
        runs.append(recurra.run(path, changes, runs=tmp_path / name))
    one, other = runs
    assert one.answers.save() == other.answers.save()
    assert "never" not in one.answers.classes  # type: ignore[attr-defined]
    weights = [run.network.state_dict() for run in runs]
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])


# Whole runs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return a run that has learned that a tag is the character before."""
    texts, tags = sequences(60, 12)
    tags[59][-1] = "never"
    folds = ["train"] * 40 + ["validation"] * 10 + ["test"] * 10
    changes = PLAIN | {"training.steps": 60, "cell.hidden_size": 16, "training.optimizer.lr": 0.05}
    changes |= {"sequence.length": 12}
    folder = tmp_path_factory.mktemp("run")
    path = write(folder, task(texts, tags, folds=folds))
    return recurra.run(path, changes, runs=folder / "runs"), texts, tags


def test_predictions_are_the_figures(run: Any) -> None:
    """The figures are those of the predicted tags; an unseen tag is counted, and not scored."""
    trained_run, texts, tags = run
    rows = [(str(row), text) for row, text in enumerate(texts[50:])]
    said = [answer["predicted"] for answer in trained_run.predict([text for _, text in rows])]
    assert [len(one) for one in said] == [len(text) for text in texts[50:]]
    pairs = [
        (came, told)
        for own, answer in zip(tags[50:], said, strict=True)
        for came, told in zip(own, answer, strict=True)
        if came != "never"
    ]
    figures = trained_run.result["metrics"]
    right = sum(came == told for came, told in pairs) / len(pairs)
    assert figures["accuracy"] == pytest.approx(right) and right > 0.9
    truth = figures_of([(came, told) for came, told in pairs])  # type: ignore[misc]
    assert figures["macro_f1"] == pytest.approx(truth["macro_f1"])
    (note,) = trained_run.result["notes"]
    assert note == "1 step of the test split is not scored: training has not shown 'never'"
