"""Figures are about the data and the weights, and about nothing else."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, about, write

import recurra
from recurra.contracts.metric import Metrics
from recurra.data import segments
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.errors import Errors
from recurra.train.evaluate import cold_and_warm, evaluate

CLOSE = {"float64": 1e-9, "float32": 1e-5}


def _built(folder: Path, text: str, changes: dict[str, Any]) -> tuple[Any, Any, Any]:
    prose = {"generation.prompt": "a", "training.batch_size": 1} if "character" in text else {}
    resolved = resolve(write(folder, text), {"device.kind": "cpu", **prose, **changes})
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size)
    return data, network, network.loss


def _brute(data: Any, network: Any, name: str) -> Metrics:
    """Stream each sequence of a split token by token, and score what the split holds of it by the
    formulas.
    """
    part, symbols = data.splits[name], data.vocabulary.yields == "symbols"
    scores: list[torch.Tensor] = []
    right: list[bool] = []
    gaps: list[float] = []
    actual: list[float] = []
    owners: list[int] = []
    losses: list[float] = []
    network.eval()
    for low, high, begin in zip(part.low, part.high, part.begin, strict=True):
        states = None
        for at in range(int(begin), int(high) - 1):
            here, after = (np.asarray(data.store.values[p : p + 1]) for p in (at, at + 1))
            if symbols:
                x = torch.tensor([[int(here[0])]])
            else:
                x = torch.from_numpy(data.vocabulary.encode(here)).to(network.dtype).unsqueeze(0)
            with torch.no_grad():
                output, states = network(x, states)
            if at + 1 < low:
                continue
            if symbols:
                scores.append(torch.log_softmax(output[0, 0].double(), -1)[int(after[0])])
                right.append(int(output[0, 0].argmax()) == int(after[0]))
            else:
                predicted = data.vocabulary.decode(output[0].double().numpy())
                gaps += (predicted - after).ravel().tolist()
                owners.append(int(begin))
                actual += after.ravel().tolist()
                losses.append(
                    float(
                        ((output[0].double().numpy() - data.vocabulary.encode(after)) ** 2).mean()
                    )
                )
    if symbols:
        nats = -float(torch.stack(scores).mean())
        return {
            "loss": nats, "nats": nats, "perplexity": math.exp(nats),
            "bits_per_character": nats / math.log(2),
            "accuracy": sum(right) / len(right),
        }  # fmt: skip
    gap, came = np.array(gaps), np.array(actual)
    some = came != 0
    found = {
        "loss": float(np.mean(losses)), "mae": float(np.abs(gap).mean()),
        "rmse": float(np.sqrt((gap**2).mean())),
    }  # fmt: skip
    if some.any():
        found["mape"] = float(100 * np.abs(gap[some] / came[some]).mean())
    apart = np.abs(came) + np.abs(came + gap)
    shares = np.divide(np.abs(gap), apart, out=np.zeros_like(gap), where=apart > 0)
    found["smape"] = float(200 * shares.mean())
    if some.any():
        found["wape"] = float(100 * np.abs(gap).sum() / np.abs(came).sum())

    # What training sees of a series is its own scale, else that of all of training.
    train, values = data.splits["train"], data.store.values
    changes = {
        int(begin): [
            abs(values[at, 0] - values[at - 1, 0]) for at in range(int(begin) + 1, int(high))
        ]
        for high, begin in zip(train.high, train.begin, strict=True)
    }
    of_all = float(np.mean(sum(changes.values(), [])))
    ratios = []
    for begin in dict.fromkeys(owners):
        own = [abs(gap) for gap, owner in zip(gaps, owners, strict=True) if owner == begin]
        scale = float(np.mean(changes[begin])) if begin in changes else of_all
        if scale > 0:
            ratios.append(float(np.mean(own)) / scale)
    return found | ({"mase": float(np.mean(ratios))} if ratios else {})


words = st.text("abc d", min_size=2, max_size=14)


@given(
    texts=st.one_of(
        st.lists(words, min_size=3, max_size=7), st.text("abc d", min_size=12, max_size=60)
    ),
    cell=st.sampled_from(["rnn", "lstm", "gru"]),
    precision=st.sampled_from(["float64", "float32"]),
    rows=st.integers(1, 6),
    window=st.integers(1, 9),
    length=st.integers(1, 9),
    batch=st.integers(1, 3),
    carry=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_figures_are_those_of_a_plain_loop(
    texts: Any, cell: str, precision: str, rows: int, window: int, length: int, batch: int,
    carry: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Ragged or contiguous splits, any window, rows, batch size and cell: the figures are the plain
    loop's.
    """
    texts = ["a" + t for t in texts] if isinstance(texts, list) else "a" + texts
    kind = "texts" if isinstance(texts, list) else "text"
    changes = {
        "cell.kind": cell, "device.precision": precision,
        "sequence.length": length, "sequence.carry": carry and kind == "text",
        "sequence.split": [0.34, 0.33, 0.33],
        "training.batch_size": 1 if kind == "texts" else min(batch, 2), "device.kind": "cpu",
        "cell.num_layers": 2,
    }  # fmt: skip
    try:
        data, network, _ = _built(
            tmp_path_factory.mktemp("task"), about(PROSE, "inline", **{kind: texts}), changes
        )
    except (
        recurra.InputError
    ) as error:  # a split in which nothing can be predicted, or too little for a batch
        assert error.problems[0].code == "RC041"
        return
    for name, part in data.splits.items():
        found = evaluate(
            network, data.reader, part, data.tally(), rows=rows, window=window
        ).values()
        assert found == pytest.approx(
            _brute(data, network, name), rel=CLOSE[precision], abs=CLOSE[precision]
        )


@given(
    series=st.lists(st.lists(st.integers(-5, 9), min_size=2, max_size=9), min_size=3, max_size=5),
    scale=st.sampled_from(["max", "minmax", "standard", "none"]),
    rows=st.integers(1, 4),
    window=st.integers(1, 7),
)
@settings(max_examples=15, deadline=None)
def test_figures_of_numbers_are_in_the_datas_units(
    series: list[list[int]],
    scale: str,
    rows: int,
    window: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """mae, rmse and mape are those of the plain loop, whatever the scale; a value of 0 counts for
    no percentage.
    """
    changes = {
        "vocabulary.scale": scale, "sequence.split": [len(series) - 2, 1, 1],
        "device.precision": "float64",
    }  # fmt: skip
    text = about(SERIES, "inline", series=[[float(v) for v in row] for row in series])
    data, network, _ = _built(tmp_path_factory.mktemp("task"), text, changes)
    for name, part in data.splits.items():
        found = evaluate(
            network, data.reader, part, data.tally(), rows=rows, window=window
        ).values()
        assert found == pytest.approx(_brute(data, network, name), rel=1e-9, abs=1e-9)


def _steps(data: Any, network: Any, loss: Any, start: int, place: int, stop: int) -> list[float]:
    """Return what each step from a place on costs, read one by one from a start in the same
    sequence.
    """
    begin = int(data.store.begin(np.array([start]))[0])
    states, costs = network.initial_states(1, torch.tensor([start - begin])), []
    for at in range(start, stop):
        here, after = (data.vocabulary.encode(np.asarray(data.store.values[p : p + 1]))
            if data.vocabulary.yields ==
                       "numbers" else np.asarray(data.store.values[p : p + 1]) for p in (at,
                           at + 1))  # fmt: skip
        x, y = (torch.from_numpy(np.asarray(v)) for v in (here, after))
        x, y = (v.long() if v.dtype == torch.uint8 else v.to(network.dtype) for v in (x, y))
        with torch.no_grad():
            output, states = network(x.unsqueeze(0), states)
            if at >= place:
                costs.append(float(loss(output[0], y)))
    return costs


@given(
    texts=st.one_of(st.lists(words, min_size=2, max_size=5), st.text("abc d", min_size=12,
        max_size=60)),
    numbers=st.booleans(), places=st.integers(1, 9), opening=st.integers(1, 5),
    context=st.integers(0, 6),
    rows=st.integers(1, 4), window=st.integers(1, 5),
)  # fmt: skip
@settings(max_examples=15, deadline=None)
def test_cold_and_warm_are_those_of_a_plain_loop(
    texts: Any, numbers: bool, places: int, opening: int, context: int, rows: int, window: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    """Step by step from each place, alone and after what lies before: the means are the same,
    whatever rows or window.

    The places lie evenly over all steps that something comes before besides their own input.
    """
    texts = ["a" + t for t in texts] if isinstance(texts, list) else "a" + texts
    text = about(PROSE, "inline", **{"texts" if isinstance(texts, list) else "text": texts})
    changes: dict[str, Any] = {
        "device.precision": "float64", "sequence.carry": True, "sequence.length": 2,
        "sequence.split": [0.4, 0.3, 0.3],
    }  # fmt: skip
    if numbers:
        rows_of = [
            [float(ord(mark)) for mark in t] for t in ([texts] if isinstance(texts, str) else texts)
        ]
        text = about(SERIES, "inline", series=rows_of)
        changes |= {"encoder": {"kind": "calendar", "periods": [5]}, "training.batch_size": 1}
    try:
        data, network, loss = _built(tmp_path_factory.mktemp("task"), text, changes)
    except (
        recurra.InputError
    ) as error:  # a split in which nothing can be predicted, or too little for a batch
        assert error.problems[0].code == "RC041"
        return

    network.eval()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in (("PLACES", places), ("OPENING", opening), ("CONTEXT", context)):
            patch.setattr(segments, name, value)
        for part in data.splits.values():
            key = "nats" if data.vocabulary.yields == "symbols" else "loss"
            metrics, count = cold_and_warm(
                network, data.reader, part, data.tally, key, rows=rows, window=window
            )  # fmt: skip
            steps = [  # begin of the sequence, input, end
                (int(begin), at, int(high) - 1)
                for low, high, begin in zip(part.low, part.high, part.begin, strict=True)
                for at in range(max(int(low) - 1, int(begin) + 1), int(high) - 1)
            ]
            assert count == min(places, len(steps))
            chosen = [steps[(2 * i + 1) * len(steps) // (2 * count)] for i in range(count)]
            assert len(set(chosen)) == count
            wanted = {}
            for name, before in (("cold", 0), ("warm", context)):
                costs = [
                    cost for begin, at, end in chosen
                    for cost in _steps(data, network, loss, max(begin, at - before), at,
                        min(at + opening, end))
                ]  # fmt: skip
                wanted |= {name: float(np.mean(costs))} if costs else {}
            assert metrics == pytest.approx(wanted, rel=1e-9)


def test_a_long_sequence_in_segments_is_scored_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut into segments that are primed with what comes before, every element is scored once, in
    nearly the same state.

    With as much context as there is, the figures are the very same.
    """
    changes = {"source.text": "abcd dcba " * 12, "device.precision": "float64"}
    data, network, _ = _built(tmp_path, PROSE, changes)
    whole = evaluate(network, data.reader, data.splits["train"], data.tally()).values()
    monkeypatch.setattr(segments, "SEGMENT", 7)
    for context, close in ((1 << 10, 1e-9), (16, 1e-2)):
        monkeypatch.setattr(segments, "CONTEXT", context)
        found = evaluate(
            network, data.reader, data.splits["train"], data.tally(), rows=3, window=5
        ).values()
        assert found == pytest.approx(whole, rel=close)


@pytest.mark.parametrize("name", ["cell.dropout", "loss.label_smoothing"])
def test_what_is_for_training_alone_leaves_figures_alone(name: str, tmp_path: Path) -> None:
    """Dropout and label smoothing change no figure of the same weights, and evaluation leaves
    training on.
    """
    found = []
    for value in (0.0, 0.5):
        data, network, _ = _built(tmp_path, PROSE, {name: value})
        network.train()
        found.append(
            evaluate(network, data.reader, data.splits["validation"], data.tally()).values()
        )
        assert network.training and network.loss.training
    assert found[0] == found[1]


@given(
    st.lists(
        st.tuples(*[st.floats(-1e6, 1e6, allow_subnormal=False)] * 2), min_size=1, max_size=30
    ),
    st.integers(1, 7),
)
@settings(max_examples=100, deadline=None)
def test_errors_add_up_in_any_portions(pairs: list[tuple[float, float]], portion: int) -> None:
    """mae, rmse, mape, smape and wape of portions added up are those of the formulas over all."""
    predicted, actual = (np.array(column) for column in zip(*pairs, strict=True))
    some = np.abs(actual) > 1e-3
    actual = np.where(some, actual, 0.0)
    errors = Errors()
    for at in range(0, len(pairs), portion):
        errors.add(predicted[at : at + portion], actual[at : at + portion])
    gap = predicted - actual
    wanted = {"mae": np.abs(gap).mean(), "rmse": np.sqrt((gap**2).mean())}
    if some.any():
        wanted["mape"] = 100 * np.abs(gap[some] / actual[some]).mean()
        wanted["wape"] = 100 * np.abs(gap).sum() / np.abs(actual).sum()
    wanted["smape"] = np.mean(
        [
            200 * abs(p - a) / (abs(p) + abs(a)) if p or a else 0.0
            for p, a in zip(predicted.tolist(), actual.tolist(), strict=True)
        ]
    )
    assert errors.metrics() == pytest.approx(wanted)
    assert 0 <= errors.metrics()["smape"] <= 200 * (1 + 1e-12)


@given(
    rows=st.lists(st.lists(st.floats(-1e3, 1e3), min_size=6, max_size=6), min_size=1, max_size=12),
    units=st.lists(st.sampled_from([1.0, 1e-6, 1e6]), min_size=3, max_size=3),
    portion=st.integers(1, 5),
    still=st.integers(0, 3),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_each_column_is_measured_in_its_own_units(
    rows: list[list[float]], units: list[float], portion: int, still: int
) -> None:
    """Of several columns each has the figures that it has alone, and mase is the mean of theirs,
    whatever their units; a column that never changed in training has none, and counts for nothing
    there.
    """
    predicted, actual = (np.array(rows)[:, half] * units for half in (slice(0, 3), slice(3, 6)))
    scale = np.where(np.arange(3) < 3 - still, np.array(units) * 2.5, 0.0)
    errors, alone = Errors(scale), [Errors(scale[index : index + 1]) for index in range(3)]
    for at in range(0, len(rows), portion):
        errors.add(predicted[at : at + portion], actual[at : at + portion])
        for index, column in enumerate(alone):
            column.add(predicted[at : at + portion, [index]], actual[at : at + portion, [index]])
    wanted = [column.metrics() for column in alone]
    assert [column.metrics() for column in errors.columns] == wanted
    scaled = [np.abs(gap).mean() / 2.5 for gap in ((predicted - actual) / units).T[: 3 - still]]
    assert errors.metrics().get("mase") == (pytest.approx(np.mean(scaled)) if scaled else None)
    assert ["mase" in metrics for metrics in wanted] == [index < 3 - still for index in range(3)]


def test_no_elements_no_figures() -> None:
    """Nothing scored gives no figure rather than a division by zero."""
    assert Errors().metrics() == {}
