"""What numbers go through behind their scale is undone in every answer, and sees nothing that comes
later.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trials import about, differences, trained, write

import recurra
from recurra.data import blocks
from recurra.data.chain import Chain, in_training, rows_of, transformed
from recurra.data.corpus import collected
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.data.stream import Stream
from recurra.errors import InputError
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra_vocabularies.numeric import Numeric, NumericOptions
from recurra_vocabularies.power import POWERS, backward, forward
from recurra_vocabularies.ranks import Ranks

OPTIONS = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(["max", "mean", "minmax", "robust", "standard"]),
        "scale_by": st.sampled_from(["all", "series"]),
        "box_cox": st.sampled_from(["none", "fit", 0.05, 0.5, 1.0]),
        "difference": st.integers(0, 2),
        "seasonal_difference": st.sampled_from([0, 0, 3, 7]),
    }
)
WAVES = [[10 + 3 * i + (i % 4) * 5 * (1 + s) for i in range(28 + s)] for s in range(3)]


def drawn(seed: int, rows: int, width: int) -> NDArray[np.float64]:
    """Return numbers above 0 that wander."""
    return np.exp(np.random.default_rng(seed).normal(0, 0.3, (rows, width)).cumsum(axis=0))


def chained(options: dict[str, Any], values: NDArray[np.float64]) -> Chain:
    """Return a chain that is fitted on one series."""
    vocabulary = Numeric(NumericOptions(**options))
    vocabulary.fit([values])
    found = Chain(vocabulary)
    store = Store(values, np.array([0]), "")
    found.fit(store, Split(*(np.array([at]) for at in (0, len(values), 0))))
    return found


@settings(max_examples=25)
@given(OPTIONS, st.integers(0, 99), st.integers(1, 3), st.data())
def test_a_series_in_parts_is_the_series_and_comes_back(
    options: dict[str, Any], seed: int, width: int, data: st.DataObject
) -> None:
    """Wherever it is cut a series gives the same, and its rows come back from what was known before
    each of them.
    """
    values = drawn(seed, 40, width)
    chain = chained(options, values)
    rows = chain.scaled(values)
    start = chain.start(rows[:20])
    whole, end = chain.apply(rows, start, 0)
    if not chain:
        assert np.array_equal(whole, rows)
        return
    origins = chain.origins(rows, start)
    assert not whole[: chain.lag].any(), "what has no value is read as 0"

    cut = data.draw(st.integers(0, 40))
    first, between = chain.apply(rows[:cut], start, 0)
    last, after = chain.apply(rows[cut:], between, cut)
    assert np.array_equal(np.concatenate([first, last]), whole)
    assert all(np.array_equal(one, other) for one, other in zip(after, end, strict=True))
    assert np.array_equal(chain.origins(rows[cut:], between), origins[cut:])
    assert np.array_equal(chain.origins(rows[:0], end)[0], origins[-1]), (
        "that of the row which comes next"
    )

    changed = rows.copy()
    changed[cut:] += 1.0
    assert np.array_equal(chain.origins(changed, start)[: cut + 1], origins[: cut + 1]), (
        "nothing is seen too early"
    )

    back = chain.invert(whole, origins[:-1])[chain.lag :]
    assert back == pytest.approx(values[chain.lag :], rel=1e-8)


@settings(max_examples=10)
@given(OPTIONS.filter(lambda options: options["scale_by"] == "all"), st.integers(0, 99))
def test_a_forecast_goes_on_from_what_it_said(options: dict[str, Any], seed: int) -> None:
    """A number that was foreseen is, for all that follows, one that has come."""
    values = drawn(seed, 40, 2)
    chain = chained(options, values)
    stream = Stream(chain)
    stream.read(values)
    for answer in np.random.default_rng(seed).normal(0, 0.1, (4, 2)):
        fresh = Stream(chain)
        fresh.read(values)
        said = stream.undo(answer)
        assert fresh.undo(answer) == pytest.approx(said, rel=1e-9)
        if not said.all():  # less than any number that has such a power
            break
        values = np.concatenate([values, said[None]])


def test_powers_are_those_of_the_greatest_likelihood() -> None:
    """The power that is fitted is the best of a brute force; of the airline's passengers that is
    near 0.15.

    0.148 is what scipy.stats.boxcox finds for them.
    """
    text = (REPOSITORY / "tasks" / "airline.csv").read_text(encoding="utf-8").splitlines()
    passengers = np.array([float(line.split(",")[-1]) for line in text[1:]])
    wanderer = drawn(4, 200, 1)[:, 0]
    values = np.stack(
        [passengers, np.resize(wanderer, len(passengers)), np.full(len(passengers), 7.0)], axis=1
    )

    vocabulary = Numeric(NumericOptions(box_cox="fit"))
    vocabulary.fit([values[:50], values[50:]])
    assert vocabulary.power is not None

    def likelihood(column: NDArray[np.float64], power: float) -> float:
        made = np.log(column) if abs(power) < 1e-12 else (column**power - 1) / power
        return float(-len(column) / 2 * np.log(made.var()) + (power - 1) * np.log(column).sum())

    for feature in (0, 1):
        best = max(POWERS, key=lambda power: likelihood(values[:, feature], power))
        assert vocabulary.power[feature] == pytest.approx(best)
    assert vocabulary.power[0] == pytest.approx(0.15)
    assert vocabulary.power[2] == 1, "a constant has no power"

    made = forward(values, vocabulary.power)
    spread = np.where([True, True, False], made.std(axis=0), 1.0)
    assert vocabulary.encode(values) == pytest.approx((made - made.mean(axis=0)) / spread, abs=1e-9)
    again = Numeric(NumericOptions(box_cox="fit"))
    again.restore(json.loads(json.dumps(vocabulary.save())))
    assert np.array_equal(again.encode(values), vocabulary.encode(values))


@settings(max_examples=30)
@given(
    st.integers(0, 2**16), st.integers(2, 60), st.integers(0, 60), st.sampled_from([1e-3, 1, 1e9])
)
def test_errors_of_what_is_scaled_by_its_change_are_those_of_mase(
    seed: int, rows: int, cut: int, unit: float
) -> None:
    """The distance of two rows of the network is that of the data over its mean change; one that is
    constant has its level.
    """
    values = unit * np.random.default_rng(seed).normal(5, 3, (rows, 2))
    values[:, 1] = 7 * unit
    chain = chained({"scale": "change", "scale_by": "series"}, values)
    start = chain.start(values)
    read, _ = chain.apply(values[:cut], start, 0)
    rest, _ = chain.apply(values[cut:], start, cut)
    read = np.concatenate([read, rest])

    change = np.abs(np.diff(values[:, 0])).mean()
    apart = np.abs(values[0, 0] - values[:, 0]) / change
    assert np.abs(read[0, 0] - read[:, 0]) == pytest.approx(apart, rel=1e-9, abs=1e-9)
    assert read[:, 1] == pytest.approx(np.zeros(rows), abs=1e-9)


@settings(max_examples=40)
@given(st.data(), st.integers(1, 300), st.integers(0, 2**16), st.booleans())
def test_quantiles_hang_on_neither_order_nor_runs(
    data: st.DataObject, rows: int, seed: int, whole: bool
) -> None:
    """They are numpy's, to a 4,096th of what they lie between; of whole numbers exactly."""
    draw = np.random.default_rng(seed)
    values = draw.normal(0, 10.0 ** draw.integers(-3, 9), (rows, 2))
    if whole:
        values = draw.integers(-2000, 2000, (rows, 2)).astype(float)

    once, parts = Ranks(), Ranks()
    once.add(values)
    cut = data.draw(st.integers(0, rows))
    turned = draw.permutation(values)
    parts.add(turned[:cut])
    parts.quantiles([0.5])
    parts.add(turned[cut:])

    shares = [0, 0.25, 0.5, 0.9, 1]
    found = once.quantiles(shares)
    assert np.array_equal(found, parts.quantiles(shares))
    around = [np.quantile(values, shares, axis=0, method=method) for method in ("lower", "higher")]
    bound = np.abs(around).max(axis=0) / (1e12 if whole else 4096)
    wanted = np.quantile(values, shares, axis=0)
    assert (np.abs(found - wanted) <= bound).all()


@settings(max_examples=40)
@given(level=st.floats(1e3, 1e14), seed=st.integers(0, 2**16), cut=st.integers(0, 40))
def test_rounding_chooses_no_power(level: float, seed: int, cut: int) -> None:
    """Of the same numbers in another order and in other pieces the power is the same."""
    draw = np.random.default_rng(seed)
    rows = level + draw.normal(size=(40, 2)) * [1.0, level / 10]

    once, parts = Numeric(NumericOptions(box_cox="fit")), Numeric(NumericOptions(box_cox="fit"))
    once.fit([rows])
    turned = draw.permutation(rows)
    parts.fit([turned[:cut], turned[cut:]])

    assert once.power is not None and parts.power is not None
    assert once.power.tolist() == parts.power.tolist()
    if level > 1e10:
        # Changes so small beside the level are alike whatever the power.
        assert once.power[0] == 1


@settings(max_examples=30)
@given(st.floats(1e-100, 1e100), st.one_of(st.just(0.0), st.floats(0.01, 1)))
def test_a_power_is_undone(value: float, power: float) -> None:
    """x comes back; what is less than any power is that of 0."""
    there = forward(np.array([[value]]), np.array([power]))
    assert backward(there, np.array([power]))[0, 0] == pytest.approx(value, rel=1e-9)
    if power:
        assert backward(-there, np.array([power]))[0, 0] == 0


def test_differences_are_those_made_by_hand(tmp_path: Path) -> None:
    """A network that reads differences says what the same weights say of a file of differences,
    summed up.
    """
    values = np.array(WAVES[0], float)
    ours = recurra.run(
        write(tmp_path, about(SERIES, "inline", values=values.tolist())),
        {"vocabulary.difference": 1, "sequence.split": [20, 4, 4]},
        runs=tmp_path / "runs",
    )
    hand = recurra.run(
        write(tmp_path, about(SERIES, "inline", values=np.diff(values).tolist())),
        {"sequence.split": [19, 4, 4]},
        runs=tmp_path / "hand",
    )
    hand.network.load_state_dict(ours.network.state_dict())
    # The first number has no difference, and is read as 0.
    nothing = hand.vocabulary.decode(np.zeros((1, 1)))
    there = hand.session().feed(nothing).feed(np.diff(values[:24]))
    here = ours.session().feed(values[:24])
    summed = values[23] + np.cumsum([there.forecast_step()[0] for _ in range(4)])
    assert np.array([here.forecast_step()[0] for _ in range(4)]) == pytest.approx(summed, rel=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {"difference": 1},
        {"seasonal_difference": 4},
        {"difference": 2, "scale_by": "series"},
        {"scale_by": "series"},
        {"seasonal_difference": 3, "log": True, "scale": "minmax", "scale_by": "series"},
        {"difference": 1, "scale": "change", "scale_by": "series"},
    ],
    ids=str,
)
def test_what_a_series_is_measured_in_does_not_count(
    options: dict[str, Any], tmp_path: Path
) -> None:
    """What is added to a series is added to its forecast; so it is with a factor, by series or in
    logarithms.
    """
    text = about(SERIES, "inline", series=WAVES)
    changes = {f"vocabulary.{name}": value for name, value in options.items()}
    run = recurra.run(
        write(tmp_path, text), {**changes, "sequence.split_by": "time"}, runs=tmp_path / "runs"
    )
    values = np.array(WAVES[1], float)
    plus, times = (
        (0.0, 3.0) if options.get("log") else (1000.0, 3.0 if "scale_by" in options else 1.0)
    )

    plain, other = run.predict([values.tolist(), (values * times + plus).tolist()], horizon=5)
    assert np.array(other["predicted"]) == pytest.approx(
        np.array(plain["predicted"]) * times + plus, rel=1e-4
    )


def test_figures_are_in_the_units_of_the_data(tmp_path: Path) -> None:
    """The error of a run on differences is that of a brute force with a session, over the elements
    that have one.
    """
    lag = 3 + 1
    text = about(SERIES, "inline", series=[[float(v) for v in wave] for wave in WAVES])
    changes = {
        "vocabulary.difference": 1,
        "vocabulary.seasonal_difference": 3,
        "sequence.split": [1, 1, 1],
    }
    run = recurra.run(
        write(tmp_path, text), {**changes, "generation.length": 0}, runs=tmp_path / "runs"
    )
    data = load_data(resolve(run.path / "task.toml", recorded=True))
    part = data.splits["test"]
    assert len(part) and part.steps == sum(
        high - begin - lag for high, begin in zip(part.high, part.begin, strict=True)
    )

    errors = []
    for low, high in zip(part.low.tolist(), part.high.tolist(), strict=True):
        values = data.store.values[low:high]
        for at in range(lag, len(values)):
            if at > lag:
                session = run.session().feed(values[:at])
            else:
                # A single difference is not enough to go on from, but the network has read it.
                session = run.session().feed_ids(values[:at])
                session.stream.count += 1
            errors.append(abs(float(session.forecast_step()[0]) - float(values[at, 0])))
    metrics = run.result["metrics"]
    assert metrics["mae"] == pytest.approx(np.mean(errors), rel=1e-5)

    spans = [data.store.values[low:high, 0] for low, high in zip(part.low, part.high, strict=True)]
    naive = np.concatenate([np.abs(np.diff(values))[lag - 1 :] for values in spans])
    assert run.result["baselines"]["naive"]["mae"] == pytest.approx(np.mean(naive))


def test_the_scale_of_errors_does_not_hang_on_what_is_read(tmp_path: Path) -> None:
    """mase divides by the same number whether a network reads levels or differences."""
    text = about(SERIES, "inline", values=WAVES[0])
    ratios = []
    for difference in (0, 1, 2):
        run = recurra.run(
            write(tmp_path, text),
            {"vocabulary.difference": difference},
            runs=tmp_path / f"runs{difference}",
        )
        metrics = run.result["metrics"]
        ratios.append(metrics["mae"] / metrics["mase"])
    assert ratios[1:] == pytest.approx([ratios[0]] * 2)


def test_a_session_is_cut_copied_and_saved_anywhere(tmp_path: Path) -> None:
    """Its forecast does not depend on the parts in which a series came, nor on what became of the
    session between.
    """
    changes = {"vocabulary.difference": 1, "vocabulary.seasonal_difference": 3}
    run = recurra.run(
        write(tmp_path, about(SERIES, "inline", values=WAVES[2])), changes, runs=tmp_path / "runs"
    )
    values = np.array(WAVES[2], float)
    whole = run.session().feed(values)
    wanted = [float(whole.forecast_step()[0]) for _ in range(4)]

    session = run.session().feed(values[:2])
    with pytest.raises(InputError, match="3 more steps must come"):
        session.copy().forecast_step()
    session.feed(values[2:9])
    session.save(tmp_path / "state")
    session = recurra.load(run.path).session().restore(tmp_path / "state")
    stranger = session.copy().feed(values[:5])
    session.feed(values[9:])
    stranger.forecast_step()
    found = [float(session.forecast_step()[0]) for _ in range(2)]
    found += [float(session.copy().forecast_step()[0])]
    assert found == pytest.approx(wanted[:3], rel=1e-6)


def test_a_run_goes_on_and_is_opened_with_its_transforms(tmp_path: Path) -> None:
    """Stopped and resumed, the bytes are the same; loaded, so is what it says."""
    changes = {
        "vocabulary.difference": 1,
        "vocabulary.scale_by": "series",
        "vocabulary.box_cox": "fit",
        "sequence.carry": True,
    }
    one = trained(tmp_path / "one", "series", **changes)
    other = trained(tmp_path / "other", "series", [4, 7], **changes)
    assert differences(one, other) == []
    values = [[5.0, 6.0, 8.0, 9.0, 11.0]]
    assert list(recurra.load(one.path).predict(values)) == list(one.predict(values))
    assert recurra.load(one.path).evaluate("test")["metrics"] == one.evaluate("test")["metrics"]


@pytest.mark.parametrize(
    "options", [{"difference": 1}, {"difference": 2}, {"seasonal_difference": 4, "difference": 1}]
)
@pytest.mark.parametrize("by", ["all", "series"])
@pytest.mark.parametrize("scale", ["standard", "minmax", "max", "mean", "robust"])
def test_rounding_becomes_no_signal(options: dict[str, Any], by: str, scale: str) -> None:
    """The differences of a straight line are all alike, and so is what is read of them: nothing is
    made of rounding.
    """
    line = 0.1 + 0.3 * np.arange(40.0)[:, None]
    chain = chained({**options, "scale_by": by, "scale": scale}, line)
    rows = chain.scaled(line)
    read, _ = chain.apply(rows, chain.start(rows), 0)
    assert np.ptp(read[chain.lag :]) < 1e-9


def test_a_label_is_asked_of_what_is_read(tmp_path: Path) -> None:
    """Of differences by series a class is told the same whatever a sequence is measured in."""
    rows = [[float((i * (1 + k % 2)) % 7 + k) for i in range(6 + k % 4)] for k in range(24)]
    text = about(SERIES, "inline", series=rows, labels=[("slow", "fast")[k % 2] for k in range(24)])
    text = text.replace('kind = "mse"', 'kind = "cross_entropy"').replace(
        "[generation]\nlength = 3\n", ""
    )
    text += '\n[target]\nkind = "label"\npooling = "mean"\n'
    run = recurra.run(
        write(tmp_path, text.replace("length = 5\n", "")),
        {"vocabulary.difference": 1, "vocabulary.scale_by": "series", "training.batch_size": 4},
        runs=tmp_path / "runs",
    )
    once = list(run.predict(rows))
    moved = list(run.predict([(np.array(row) * 5 + 100).tolist() for row in rows]))
    for a, b in zip(once, moved, strict=True):
        assert b["p:fast"] == pytest.approx(a["p:fast"], abs=1e-5)
    assert len(list(run.predict([[3.0]]))) == 1, (
        "a sequence too short for a difference has none, and is answered"
    )


def test_a_mapped_corpus_is_transformed_alike(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In memory or in a file, in one block or in many, the rows are the same."""
    values = drawn(1, 300, 2)
    store = Store(values, np.array([0, 80, 83, 200]), "")
    options = {"difference": 1, "seasonal_difference": 5, "scale_by": "series"}
    chain = chained(options, values)
    train = Split(
        *(np.array(at) for at in ([0, 80, 83, 200], [50, 82, 150, 250], [0, 80, 83, 200]))
    )
    wanted = transformed(chain, store, in_training(store, train))
    monkeypatch.setattr(blocks, "BLOCK", 7)
    monkeypatch.setattr(
        "recurra.data.chain.collected", lambda pieces: collected(pieces, in_memory=100)
    )
    found = transformed(chain, store, in_training(store, train))
    assert isinstance(found.values, np.memmap)
    assert np.array_equal(found.values, wanted.values) and np.array_equal(
        found.starts, store.starts
    )

    rows = rows_of(np.asarray(wanted.values), chain.width)
    for begin, end in zip(store.starts, store.ends, strict=True):
        back = chain.invert(rows[begin:end, 0], rows[begin:end, 1:-1])
        assert back[chain.lag :] == pytest.approx(values[begin + chain.lag : end], rel=1e-9)


SHORT = about(SERIES, "inline", values=list(range(1, 21)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"vocabulary.log": True, "vocabulary.box_cox": 0.5}, "leave one of them out"),
        ({"vocabulary.scale": "none", "vocabulary.scale_by": "series"}, "scales no series"),
        ({"vocabulary.box_cox": -1}, "box_cox"),
        ({"vocabulary.difference": 3}, "difference"),
        ({"vocabulary.difference": -1}, "difference"),
        (
            {"vocabulary.seasonal_difference": 12},
            "a window needs an input and a target: 13 elements",
        ),
        (
            {"generation.prompt": [1, 2, 3], "vocabulary.seasonal_difference": 4},
            "2 more steps must come",
        ),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], match: str, tmp_path: Path) -> None:
    """Before anything is trained, with what would do."""
    with pytest.raises(InputError, match=match):
        recurra.run(write(tmp_path, SHORT), changes, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_numbers_without_a_power_are_named(tmp_path: Path) -> None:
    """The place of a number that is not above 0 is told."""
    text = about(SERIES, "inline", values=[*range(1, 12), 0, *range(13, 21)])
    with pytest.raises(
        InputError,
        match=r"the value 0 has no power of Box and Cox: position 11, in the train split",
    ):
        recurra.check(write(tmp_path, text), {"vocabulary.box_cox": "fit"})


def test_a_series_is_scaled_by_what_training_sees_of_it(tmp_path: Path) -> None:
    """Later numbers move no scale; a series that is held out whole has none, and is refused."""
    text = about(SERIES, "inline", series=WAVES)
    path = write(tmp_path, text)
    changes = {"vocabulary.scale_by": "series", "sequence.split": [0.4, 0.3, 0.3]}
    with pytest.raises(
        InputError, match=r"1 of the 1 series of the validation split have no part in training"
    ):
        recurra.check(path, changes)

    one = load_data(resolve(path, {**changes, "sequence.split_by": "time"}))
    later = [wave[:20] + [1e6] * (len(wave) - 20) for wave in WAVES]
    other = load_data(
        resolve(
            write(tmp_path, about(SERIES, "inline", series=later), "b.toml"),
            {**changes, "sequence.split_by": "time"},
        )
    )
    assert one.reader.rows is not None and other.reader.rows is not None
    train = one.splits["train"]
    for low, high in zip(train.low, train.high, strict=True):
        assert np.array_equal(one.reader.rows.values[low:high], other.reader.rows.values[low:high])


def test_a_vocabulary_without_transforms_is_read_as_ever(task: Callable[..., Path]) -> None:
    """Nothing is stored beside its numbers, and it is scaled batch by batch."""
    data = load_data(resolve(task(SERIES), {}))
    assert data.chain is None and data.reader.rows is None and data.lag == 0
    assert copy.copy(Stream(Chain(data.vocabulary))).tensors() == {}
