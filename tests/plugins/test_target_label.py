"""One class a sequence: its figures and its simple rules, against plain Python."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra_targets.bayes as bayes
import recurra_targets.rules as rules
import recurra_targets.vectors as vectors
from recurra import Accuracy, Examples
from recurra_targets.bayes import NaiveBayes
from recurra_targets.label import Label
from recurra_targets.measured import LARGEST, REST, Confusion, LogLoss, Pairs
from recurra_targets.options import LabelOptions
from recurra_targets.rules import label_rules
from recurra_targets.vectors import ALPHAS, Ridge, Vectors, nearest
from recurra_vocabularies.category import Category, CategoryOptions

laws = settings(deadline=None, max_examples=25)
LABEL = Label(LabelOptions())


def vocabulary(classes):
    labels = Category(CategoryOptions())
    labels.fit([[f"c{index:04}" for index in range(classes)]])
    return labels


def measure(logits, answers, classes, cuts=()):
    """Return the figures and the confusion of answers that are added in pieces."""
    metrics = [metric(vocabulary(classes)) for metric in LABEL.metrics("symbols")]
    bounds = [0, *sorted(cuts), len(answers)]
    for low, high in zip(bounds, bounds[1:], strict=False):
        for metric in metrics if high > low else ():
            metric.add(logits[low:high], answers[low:high])
    values = {name: value for metric in metrics for name, value in metric.values().items()}
    return values, metrics[1].detail()["confusion"]


def by_hand(came, predicted):
    """Return accuracy, the mean recall of what came, the mean F1 of what occurs."""
    recalls, scores = [], []
    for name in sorted({*came, *predicted}):
        pairs = list(zip(came, predicted, strict=True))
        right = sum(a == b == name for a, b in pairs)
        if name in came:
            recalls.append(right / came.count(name))
        precision = right / predicted.count(name) if name in predicted else 0.0
        recall = right / came.count(name) if name in came else 0.0
        scores.append(2 * precision * recall / (precision + recall) if right else 0.0)
    return {
        "accuracy": sum(a == b for a, b in zip(came, predicted, strict=True)) / len(came),
        "balanced_accuracy": sum(recalls) / len(recalls),
        "macro_f1": sum(scores) / len(scores),
    }


@st.composite
def scored(draw):
    """Draw logits that differ within a row, answers, and where their batches end."""
    classes, count = draw(st.integers(1, 6)), draw(st.integers(1, 30))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 999)))
    logits = 3 * torch.randn(count, classes, generator=generator)
    answers = torch.randint(draw(st.integers(1, classes)), (count,), generator=generator)
    return logits, answers, classes, draw(st.lists(st.integers(0, count), max_size=3))


@laws
@given(case=scored())
def test_figures_are_those_of_plain_python(case):
    """The figures are the written formulas, for any batches of answers, in any order."""
    logits, answers, classes, cuts = case
    values, confusion = measure(logits, answers, classes, cuts)
    came, predicted = answers.tolist(), [row.index(max(row)) for row in logits.tolist()]
    nats = [
        math.log(sum(math.exp(one) for one in row)) - row[answer]
        for row, answer in zip(logits.double().tolist(), came, strict=True)
    ]
    assert values == pytest.approx(by_hand(came, predicted) | {"log_loss": sum(nats) / len(nats)})

    counts = Counter(zip(came, predicted, strict=True))
    assert confusion["classes"] == [f"c{index:04}" for index in range(classes)]
    assert confusion["counts"] == [[counts[a, b] for b in range(classes)] for a in range(classes)]

    turned, same = measure(logits.flip(0), answers.flip(0), classes)
    assert turned == pytest.approx(values, rel=1e-12) and same == confusion


@laws
@given(case=scored(), seed=st.integers(0, 99))
def test_ids_of_classes_mean_nothing(case, seed):
    """Classes numbered otherwise have the same figures, and a confusion numbered otherwise."""
    logits, answers, classes, _ = case
    order = torch.randperm(classes, generator=torch.Generator().manual_seed(seed))
    values, confusion = measure(logits, answers, classes)
    other = torch.empty_like(logits)
    other[:, order] = logits
    moved, permuted = measure(other, order[answers], classes)
    assert moved == pytest.approx(values)
    counts = np.array(permuted["counts"])[np.ix_(order.numpy(), order.numpy())]
    assert counts.tolist() == confusion["counts"]


def test_figures_know_what_is_good():
    """Every figure that is measured is announced, and of the best answer is the best there is."""
    answers = torch.tensor([0, 1, 1, 2])
    best, _ = measure(1e3 * torch.eye(4)[answers], answers, 4)
    metrics = Accuracy, Confusion, LogLoss
    figures = [figure for metric in metrics for figure in metric.figures(Category)]
    assert [figure.name for figure in figures] == list(best)
    for figure in figures:
        assert best[figure.name] == (figure.most if figure.higher else figure.least)
    assert LABEL.judged("symbols", [best, best], 1) == "accuracy"


def test_a_great_confusion_is_shown_in_part():
    """Of more than a hundred classes the commonest stand by themselves, and no answer is lost."""
    classes = LARGEST + 20
    came = np.repeat(np.arange(classes), np.where(np.arange(classes) < 20, 1, 3))
    predicted = np.roll(came, 1)
    confusion = Confusion(vocabulary(classes))
    confusion.pairs.add(came, predicted)
    shown = confusion.detail()["confusion"]
    counts = np.array(shown["counts"])
    assert shown["classes"] == [f"c{index:04}" for index in range(20, classes)] + [REST]
    assert counts.shape == (LARGEST + 1, LARGEST + 1) and counts.sum() == len(came)
    assert counts[:-1].sum(axis=1).tolist() == [3] * LARGEST and counts[-1].sum() == 20
    assert confusion.values()["balanced_accuracy"] == pytest.approx((100 * 2 / 3) / classes)


def examples(sequences, answers, classes, size=None):
    """Return a split of sequences with their classes; of symbols, where `size` counts these."""
    ends = np.cumsum([len(sequence) for sequence in sequences])
    low = ends - [len(sequence) for sequence in sequences]
    values = np.concatenate([np.asarray(sequence) for sequence in sequences])
    kind, size = ("numbers", values.shape[-1]) if size is None else ("symbols", size)
    return Examples(kind, values, low, ends, low, size, classes, np.array(answers))


@st.composite
def splits(draw, kind):
    """Draw a training split, in which every class occurs, and a held one."""
    generator = np.random.default_rng(draw(st.integers(0, 999)))
    classes = draw(st.integers(1, 4))

    def split(count, answers):
        lengths = generator.integers(1, 7, count)
        if kind == "symbols":
            return examples([generator.integers(0, 4, n) for n in lengths], answers, classes, 4)
        return examples([generator.normal(size=(n, 2)) for n in lengths], answers, classes)

    count, asked = draw(st.integers(classes, 12)), draw(st.integers(1, 8))
    train = np.concatenate([np.arange(classes), generator.integers(0, classes, count - classes)])
    held = generator.integers(0, classes, asked)
    return split(count, generator.permutation(train)), split(asked, held)


def replaced(split, **fields):
    return Examples(**(vars(split) | fields))


def said(train, held):
    """Return the classes of held sequences by each rule, and the logs of all chances."""
    lesson = rules.Lesson(list(train.sequences()), train.answers)
    table = {"majority": rules.majority(lesson, train)}
    table |= rules.RULES[train.elements](lesson, train)
    return {name: rule(list(held.sequences())) for name, rule in table.items()}


kinds = pytest.mark.parametrize("kind", ["numbers", "symbols"])


@kinds
@laws
@given(data=st.data())
def test_rules_are_scored_as_models_are(kind, data):
    """The figures of a rule are the formulas of its answers; its chances add up to 1."""
    train, held = data.draw(splits(kind))
    answers = said(train, held)
    figures = label_rules(train, held)
    assert list(figures) == list(answers)
    for name, (predicted, chances) in answers.items():
        truth = by_hand(held.answers.tolist(), predicted.tolist())
        if chances is not None:
            assert np.exp(chances).sum(axis=1) == pytest.approx(np.ones(len(held)))
            truth["log_loss"] = -np.mean(chances[np.arange(len(held)), held.answers])
        assert figures[name] == pytest.approx(truth)
    assert ("log_loss" in figures["majority"]) and math.isfinite(figures["majority"]["log_loss"])


@kinds
@laws
@given(data=st.data())
def test_rules_see_no_held_answer(kind, data):
    """Where held answers are permuted, every rule predicts what it did before."""
    train, held = data.draw(splits(kind))
    with pytest.MonkeyPatch.context() as patch:
        columns = []
        real = Pairs.add

        def add(pairs, came, predicted):
            columns.append(predicted.tolist())
            real(pairs, came, predicted)

        patch.setattr(Pairs, "add", add)
        label_rules(train, held)
        label_rules(train, replaced(held, answers=held.answers[::-1]))
    assert columns[: len(columns) // 2] == columns[len(columns) // 2 :]


@kinds
@laws
@given(data=st.data())
def test_a_class_that_training_lacks_is_not_asked(kind, data):
    """Held sequences of an unknown class change no figure; where all are such, there is none."""
    train, held = data.draw(splits(kind))
    strange = data.draw(st.lists(st.booleans(), min_size=len(held), max_size=len(held)))
    asked = replaced(held, answers=np.where(strange, -1, held.answers))
    figures = label_rules(train, asked)

    rows = np.flatnonzero(~np.array(strange))
    columns = {key: getattr(held, key)[rows] for key in ("low", "high", "begin", "answers")}
    assert figures == label_rules(train, replaced(held, **columns))
    if all(strange):
        assert figures == {}


@laws
@given(data=st.data())
def test_the_order_of_held_sequences_and_their_blocks_change_nothing(data):
    """Answered one by one or all at a time, held sequences have the same figures."""
    train, held = data.draw(splits("symbols"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rules, "ROWS", data.draw(st.integers(1, 3)))
        patch.setattr(rules, "ELEMENTS", data.draw(st.integers(1, 9)))
        pieces = label_rules(train, held)
    whole = label_rules(train, held)
    assert list(pieces) == list(whole)
    for name, figures in whole.items():
        assert pieces[name] == pytest.approx(figures, rel=1e-12)


def longest(sequence, steps):
    """Return a sequence stretched by numpy's own interpolation, column by column."""
    place = np.linspace(0, len(sequence) - 1, steps)
    known = np.arange(len(sequence))
    return np.stack([np.interp(place, known, column) for column in sequence.T], axis=1)


@laws
@given(data=st.data())
def test_the_nearest_is_that_of_brute_force(data):
    """1-NN says the class at the least distance, of stretched and standardised sequences."""
    train, held = data.draw(splits("numbers"))
    steps = max(map(len, train.sequences()))
    known = np.array([longest(one, steps).ravel() for one in train.sequences()])
    asked = np.array([longest(one, steps).ravel() for one in held.sequences()])
    mean, deviation = known.mean(axis=0), known.std(axis=0)
    unit = np.where(deviation > 1e-9, deviation, np.inf)
    known, asked = (known - mean) / unit, (asked - mean) / unit

    def closest(row):
        return min(range(len(known)), key=lambda i: round(math.dist(known[i], row), 9))

    truth = [closest(row) for row in asked]
    predicted, chances = said(train, held)["1-NN"]
    assert predicted.tolist() == train.answers[truth].tolist() and chances is None


@laws
@given(seed=st.integers(0, 999), n=st.integers(2, 8), width=st.integers(1, 10))
def test_ridge_leaves_rows_out_without_leaving_them_out(seed, n, width):
    """The errors in closed form are those of ridges that are solved without the row."""
    generator = np.random.default_rng(seed)
    x, y = generator.normal(size=(n, width)), generator.normal(size=(n, 3))

    def solved(rows, alpha):
        middle, mean = x[rows].mean(axis=0), y[rows].mean(axis=0)
        inner = (x[rows] - middle).T @ (x[rows] - middle) + alpha * np.eye(width)
        weights = np.linalg.solve(inner, (x[rows] - middle).T @ (y[rows] - mean))
        return lambda vectors: (vectors - middle) @ weights + mean

    ridge, losses = Ridge(x, y), {}
    for alpha in ALPHAS:
        errors = [y[i] - solved(np.delete(np.arange(n), i), alpha)(x[i]) for i in range(n)]
        assert ridge.left_out(alpha) == pytest.approx(np.array(errors), rel=1e-5, abs=1e-7)
        losses[alpha] = np.square(errors).sum()
    assert losses[ridge.alpha] == pytest.approx(min(losses.values()))
    truth = solved(np.arange(n), ridge.alpha)(x)
    assert ridge.predict(x) == pytest.approx(truth, rel=1e-5, abs=1e-7)


class ByHand:
    """Naive Bayes with dictionaries."""

    def __init__(self, sequences, answers, n):
        self.n, self.members = n, Counter(answers)
        self.counts = defaultdict(Counter)
        for sequence, answer in zip(sequences, answers, strict=True):
            self.counts[answer].update(self.grams(sequence))
        self.known = {gram for counts in self.counts.values() for gram in counts}

    def grams(self, sequence):
        marked = ["_"] * (self.n - 1) + list(sequence) + ["_"] * (self.n - 1)
        return [tuple(marked[at : at + self.n]) for at in range(len(marked) - self.n + 1)]

    def chances(self, sequence, classes):
        logs = {}
        for name in classes:
            counts = self.counts[name]
            size = sum(counts.values()) + len(self.known)
            share = self.members[name] / sum(self.members.values())
            grams = [gram for gram in self.grams(sequence) if gram in self.known]
            terms = [math.log((counts[gram] + 1) / size) for gram in grams]
            logs[name] = math.log(share) + sum(terms) if share else -math.inf
        top = max(logs.values())
        total = top + math.log(sum(math.exp(log - top) for log in logs.values()))
        return [logs[name] - total for name in classes]


@laws
@given(data=st.data(), n=st.integers(1, 3))
def test_naive_bayes_is_that_of_plain_dictionaries(data, n):
    """Chances are the formula's; a sequence left out is judged by what the others alone teach."""
    train, held = data.draw(splits("symbols"))
    sequences, answers = [one.tolist() for one in train.sequences()], train.answers.tolist()
    learned = NaiveBayes(list(train.sequences()), train.answers, n, 4, train.classes)
    truth = ByHand(sequences, answers, n)
    chances = [truth.chances(one.tolist(), range(train.classes)) for one in held.sequences()]
    assert learned.chances(list(held.sequences())) == pytest.approx(np.array(chances))

    left_out = learned.left_out()
    for row in range(len(answers)) if len(answers) > 1 else ():
        rest = [part[:row] + part[row + 1 :] for part in (sequences, answers)]
        others = ByHand(*rest, n)
        logs = others.chances(sequences[row], range(train.classes))
        assert left_out[row] - np.logaddexp.reduce(left_out[row]) == pytest.approx(logs)


def test_naive_bayes_takes_the_n_that_tells_training_apart():
    """Where classes differ in the order of their symbols alone, pairs are counted."""
    sequences = [np.array(one) for one in ([0, 1] * 4, [1, 0] * 4, [0, 1] * 5, [1, 0] * 5) * 3]
    sequences = [one if index % 2 else np.sort(one) for index, one in enumerate(sequences)]
    split = examples(sequences, [0, 1] * 6, 2, 2)
    figures = label_rules(split, split)
    assert list(figures) == ["majority", "naive bayes 2-gram"]
    assert figures["naive bayes 2-gram"]["accuracy"] == 1
    assert figures["majority"] == pytest.approx(
        {"accuracy": 0.5, "balanced_accuracy": 0.5, "macro_f1": 1 / 3, "log_loss": math.log(2)}
    )


def test_what_is_too_much_is_learned_in_part(monkeypatch):
    """Of many sequences each class keeps its share, long ones are averaged, rare n-grams go."""
    monkeypatch.setattr(rules, "NEIGHBOURS", 10)
    monkeypatch.setattr(rules, "SYMBOLS", 50)
    monkeypatch.setattr(vectors, "DIMENSION", 8)
    monkeypatch.setattr(bayes, "TABLE", 6)

    answers = np.arange(40) % 2
    assert Counter(answers[rules.spaced(answers, 10)].tolist()) == {0: 5, 1: 5}
    rare = np.r_[answers, 2]
    rows = rules.affordable(rules.Lesson([np.zeros(5)] * 41, rare), 3)
    assert set(rare[rows]) == {0, 1, 2} and len(rows) <= 50 / 5 + 3

    generator = np.random.default_rng(0)
    slopes = [(2 * a - 1) * np.arange(9)[:, None] for a in answers]
    rising = [slope + generator.normal(size=(9, 2)) for slope in slopes]
    read = Vectors(rising)
    assert (read.pooled, read.of(rising).shape) == (3, (40, 6))
    numbers = examples(rising, answers, 2)
    symbols = examples([2 * a + generator.integers(0, 2, 5) for a in answers], answers, 2, 4)
    for split in (numbers, symbols):
        for name, figures in label_rules(split, split).items():
            assert figures["accuracy"] == (0.5 if name == "majority" else 1)
    assert len(NaiveBayes(list(symbols.sequences()), answers, 2, 4, 2).known_codes) == 3

    monkeypatch.setattr(rules, "CLASSES", 1)
    assert list(label_rules(symbols, symbols)) == ["majority"]


@pytest.mark.parametrize("unit", [1e-300, 1.0, 1e300])
def test_units_and_constant_columns_change_no_answer(unit):
    """No unit and no constant column changes an answer, near the ends of float64 either."""
    generator = np.random.default_rng(1)
    rows = [generator.normal(size=(n, 2)) for n in (3, 5, 1, 4, 6, 2)]
    plain = examples(rows, [0, 1, 0, 1, 0, 1], 2)
    columns = [np.c_[unit * one, np.full(len(one), unit / 3)] for one in rows]
    other = examples(columns, [0, 1, 0, 1, 0, 1], 2)
    assert label_rules(other, other) == label_rules(plain, plain)
    wild = examples([one * 5e307 for one in rows], plain.answers, 2)
    assert set(label_rules(plain, wild)) == {"majority", "1-NN", "ridge"}


def test_of_equals_the_first_is_nearest():
    """Of several that are equally near, but for rounding, the first is taken."""
    generator = np.random.default_rng(2)
    unit = np.linalg.qr(generator.normal(size=(30, 30)))[0]  # rows of length 1, nearly
    origin = np.zeros((1, 30))
    assert nearest(origin, unit).tolist() == [0]
    assert nearest(origin, np.concatenate([2 * unit, unit])).tolist() == [30]
