"""Covariates of which some are missing: what came last is read, and beside it whether it came."""

from __future__ import annotations

import math
from contextlib import chdir

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra.data.companions import Companions
from recurra.data.covariate_vocabulary import CovariateVocabulary, Rows
from recurra.data.covariates import Column
from recurra.data.splits import Split
from recurra.data.store import Covariates, Store
from recurra.errors import InputError
from recurra.generate.companion import Companion
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra_vocabularies.numeric import Numeric, NumericOptions

NAN = math.nan
laws = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 10_000)
SKY = ["sun", "rain", "fog"]
ROLES = {
    "columns": ["y"],
    "group": "shop",
    "past_covariates": ["visitors"],
    "future_covariates": ["price", "sky"],
    "static_covariates": ["area", "region"],
}
KEEP = {"kind": "given", "missing": "keep", **ROLES}
TASK = {
    "source": KEEP,
    "vocabulary": {"kind": "numeric"},
    "sequence": {"length": 5, "split": [0.6, 0.2, 0.2], "split_by": "time"},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 3},
    "loss": {"kind": "mae"},
    "training": {"steps": 3, "batch_size": 2},
    "generation": {"length": 1},
}


def shops(seed=0, share=0.3, steps=20, ahead=3):
    """Return three shops, of which some is missing, and what is known of steps to come."""
    random = np.random.default_rng(seed)
    count = 3 * (steps + ahead)

    def holed(column, some=share):
        return [None if random.random() < some else value for value in column]

    step = np.tile(np.arange(steps + ahead), 3)
    come = step < steps
    sold = np.where(come, np.sin(np.arange(count)) + 3, NAN)
    visitors = holed(random.normal(size=count))
    sky = [SKY[at] for at in random.integers(0, 3, count)]
    return {
        "shop": [name for name in "abc" for _ in range(steps + ahead)],
        "y": [None if value != value else value for value in sold.tolist()],
        "visitors": [value if here else None for value, here in zip(visitors, come, strict=True)],
        "price": holed((random.normal(size=count) + 5).tolist()),
        "sky": holed(sky),
        "area": [area for area in (2.0, None if share else 3.0, 4.0) for _ in step[::3]],
        "region": [name for name in ("n", "s", None if share else "s") for _ in step[::3]],
    }


def task(**changes):
    return {**TASK, **changes}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with chdir(tmp_path_factory.mktemp("run")):
        yield recurra.run(task(), data=shops())


# what is read


def beside(seed, ahead=0):
    """Return random covariates of two series as a network reads them, numbers and names."""
    random = np.random.default_rng(seed)
    steps = random.normal(size=(24, 4)) * 3
    steps[:, 3] = random.integers(0, 3, 24)
    steps[random.random(steps.shape) < 0.4] = NAN
    columns = [
        Column("past_covariates", "a", None),
        Column("future_covariates", "b", None),
        Column("future_covariates", "c", None),
        Column("future_covariates", "d", SKY),
        Column("static_covariates", "e", None),
    ]
    starts = np.array([0, 12])
    steps[[3, 15], :3] = 1.0
    static = np.array([[2.0], [NAN]])
    covariates = Covariates(columns, Store(steps, starts, ""), static, {})
    store = Store(np.zeros((24, 1)), starts, "")
    vocabulary = Numeric(NumericOptions())
    vocabulary.missing = ()
    train = Split(store.starts, store.ends, store.starts)
    known = CovariateVocabulary.fitted(covariates, store, train, vocabulary)
    known.ahead = ahead
    return Companions(known, covariates, store).carrying(), steps


def by_hand(known, role, steps, at):
    """Return what is read of a role at a step of the first series, as the docs say it."""
    table, read, number = known.tables[role], [], 0
    first = 0 if role == "past_covariates" else 1
    for index, column in enumerate(table.columns, first):
        came = steps[: at + 1, index]
        if column.categories is not None:
            name = None if math.isnan(came[-1]) else SKY[int(came[-1])]
            read += [float(name == each) for each in column.categories]
            read.append(float(name not in column.categories))
            continue
        numbers, some = table.numbers, came[~np.isnan(came)]
        last = (some[-1] - numbers.shift[number]) / numbers.scale[number] if len(some) else 0.0
        read += [last, float(not math.isnan(came[-1]))] if column.flagged else [last]
        number += 1
    return read


@laws
@given(seed=seeds, ahead=st.sampled_from([0, 3]), first=st.integers(0, 8))
def test_a_window_reads_what_came_last_and_whether_it_came(seed, ahead, first):
    """By hand, wherever a window begins: past, future and steps ahead, names and static ones."""
    companions, steps = beside(seed, ahead)
    known = companions.vocabulary
    window = companions.window(np.array([first]), 3)[0]
    for step, row in enumerate(window, first):
        later = step if ahead else step + 1
        static = [(2.0 - 2.0) / 1.0, 1.0]
        expected = by_hand(known, "past_covariates", steps, step)
        expected += by_hand(known, "future_covariates", steps, later)
        np.testing.assert_allclose(row, expected + static, atol=1e-12)
    coming = companions.coming(np.array([first]), 3)[0]
    if ahead:
        for step, row in enumerate(coming, first + 1):
            expected = by_hand(known, "future_covariates", steps, step)
            np.testing.assert_allclose(row, expected, atol=1e-12)
    # Of the second series nothing static is known, and nothing is taken from the first.
    np.testing.assert_array_equal(companions.window(np.array([12]), 1)[0, 0, -2:], [0.0, 0.0])


@laws
@given(seed=seeds, first=st.integers(0, 8), data=st.data())
def test_a_session_reads_what_a_window_does(seed, first, data):
    """At once, step by step, with the next step asked for between, and saved: the same bits."""
    companions, _ = beside(seed)
    known, count = companions.vocabulary, 12 - first
    rows = companions.stretch(first, 12, 12)
    expected = torch.from_numpy(companions.window(np.array([first]), count)[0, :-1])
    x = torch.zeros(count, 1, dtype=torch.float64)
    assert torch.equal(Companion.beside(known, rows).whole(x, rows)[:, 1:], expected)

    companion, parts = Companion.beside(known, rows), []
    for at in range(count):
        # The covariates of the step itself come again with those of the one after it.
        own = Rows(rows.past[at : at + 1], rows.future[at : at + 2], rows.static)
        companion, read = companion.after(x[at : at + 1], own)
        parts.append(read)
        if data.draw(st.booleans()):
            companion = Companion(known, rows.static).restored(companion.tensors(), 1)
        if companion.pending is not None and not companion.waits and data.draw(st.booleans()):
            companion, read = companion.looked()
            parts.append(read)
    assert torch.equal(torch.cat(parts)[:, 1:], expected)


@laws
@given(seed=seeds, first=st.integers(0, 8))
def test_what_is_ahead_follows_in_its_own_order(seed, first):
    """A step ahead of which a covariate is missing is read as the last one ahead, or before it."""
    companions, _ = beside(seed, ahead=3)
    rows = companions.stretch(first, first + 1, 12)
    companion, _ = Companion.beside(companions.vocabulary, rows).after(
        torch.zeros(1, 1, dtype=torch.float64), rows
    )
    read = companion.ahead_of(3, 3, torch.zeros(1, dtype=torch.float64))
    np.testing.assert_array_equal(read[0].numpy(), companions.coming(np.array([first]), 3)[0])
    # Said anew, they follow what came before the origin.
    again = companion.foreknown({"b": [NAN, None], "c": [None, 4.0], "d": [None, "fog"]})
    said = again.ahead_of(2, 2, torch.zeros(1, dtype=torch.float64))[0].numpy()
    own = companions.window(np.array([first]), 1)[0, 0]
    table = companions.vocabulary.tables["future_covariates"]
    at = table.places().index(0)
    past = companions.vocabulary.width_of("past_covariates")
    assert said[0, at] == said[1, at] == own[past + at]


@laws
@given(seed=seeds, first=st.integers(0, 7))
def test_steps_that_are_said_are_read_as_those_that_came(seed, first):
    """Forecast side by side, the future covariates of several steps stand as in a window."""
    companions, _ = beside(seed)
    rows = companions.stretch(first, first + 1, 12)
    x = torch.zeros(1, 1, dtype=torch.float64)
    companion, _ = Companion.beside(companions.vocabulary, rows).after(x, rows)
    companion, _ = companion.looked()
    said = companion.said(3, x).numpy()
    past = companions.vocabulary.width_of("past_covariates")
    window = companions.window(np.array([first + 1]), 3)[0]
    np.testing.assert_array_equal(said, window[:, past:])


def test_what_lies_under_a_mask_changes_nothing():
    """A masked array holds anything there: what is read and learned is the same, bit for bit."""
    plain, found = shops(), []
    for under in (0.0, 1e9, -7.5):
        data = dict(plain)
        for name in ("visitors", "price"):
            mask = np.array([value is None for value in plain[name]])
            values = np.where(mask, under, np.array(plain[name], np.float64))
            data[name] = np.ma.masked_array(values, mask)
        made = load_data(resolve(task(), data=data))
        spans = np.array([0, 23]), np.array([6, 6]), np.array([1, 24])
        found.append((made.covariates.save(), made.reader.cut(*spans).x))
    for saved, x in found[1:]:
        assert saved == found[0][0]
        assert torch.equal(x, found[0][1])
    numbers = found[0][0]["past_covariates"]["numbers"]
    came = [value for value in plain["visitors"] if value is not None]
    assert min(came) < numbers["shift"][0] < max(came)


# what a run does


def test_the_report_names_what_is_read(run):
    """`NAME observed` stands behind each covariate that lacks some in training."""
    data = load_data(resolve(task(), data=shops()))
    told = recurra.check(task(), data=shops())["vocabulary"]["notes"]
    assert any("visitors, price, area" in note and "observed" in note for note in told)
    assert data.names() == [
        "y",
        *("visitors", "visitors observed", "price", "price observed"),
        *("sky=fog", "sky=rain", "sky=sun", "sky=?"),
        *("area", "area observed", "region=n", "region=s", "region=?"),
    ]
    assert run.network.encoder.size == len(data.names())
    notes = run.evaluate("test", data=shops())["notes"]
    assert any("the sky of" in note and "is missing, and read as unknown" in note for note in notes)


def test_all_that_forecasts_goes_on_from_what_came_last(run, tmp_path):
    """`predict` of a table or of lists, `generate` of a series, a session by hand, saved between,
    say the same.
    """
    again = recurra.load(run.path, "last")
    every = shops()
    rows = [at for at, name in enumerate(every["shop"]) if name == "b"]
    own = {name: [column[at] for at in rows] for name, column in every.items()}
    (first,) = again.predict(data=own, horizon=1)
    (other,) = again.generate(series="b", data=every)
    told = {
        "values": own["y"][:20],
        "covariates": {"visitors": own["visitors"][:20], "price": own["price"], "sky": own["sky"]},
        "static_covariates": {"area": own["area"][0], "region": own["region"][0]},
    }
    (third,) = again.predict([told], horizon=1)
    assert first["predicted"] == third["predicted"] == [pytest.approx(other, rel=1e-6)]

    session = again.session(static_covariates=told["static_covariates"])
    for at, value in enumerate(told["values"]):
        beside = {name: [own[name][at]] for name in ("visitors", "price", "sky")}
        session.feed([value], beside)
        if at == 7:
            session.save(tmp_path / "state")
            session = again.session(static_covariates=told["static_covariates"])
            session.restore(tmp_path / "state")
    ahead = session.forecast_step({"price": own["price"][20], "sky": own["sky"][20]})
    np.testing.assert_allclose(ahead, first["predicted"], rtol=1e-5)


def test_what_a_run_keeps_to_go_on_from_is_read_with_what_came_before(run):
    """Without a prompt, and of other data or by backtest, some covariates missing all along."""
    again = recurra.load(run.path, "last")
    (step,) = again.generate()
    (series,) = again.generate(series="c", data=shops())
    assert step == pytest.approx(series, rel=1e-5)
    other = shops(seed=9, share=0.6)
    figures = again.evaluate("all", data=other)["metrics"]
    assert all(math.isfinite(value) for value in figures.values())


def test_without_anything_missing_the_option_changes_no_bit(tmp_path, monkeypatch):
    """Weights and figures are those of `missing = "error"`; a session may lack some all the same,
    and one of a run without it is told so.
    """
    monkeypatch.chdir(tmp_path)
    # Nothing is missing but the numbers of steps to come.
    whole = shops(share=0.0)
    runs = [
        recurra.run(task(source={**KEEP, "missing": missing}), data=whole)
        for missing in ("keep", "error")
    ]
    for name, weight in runs[1].network.state_dict().items():
        assert torch.equal(weight, runs[0].network.state_dict()[name]), name
    assert len({str(run.evaluate("test", data=whole)["metrics"]) for run in runs}) == 1

    static = {"area": None, "region": "n"}
    beside = {"visitors": [None], "price": [NAN], "sky": [None]}
    ahead = runs[0].session(static_covariates=static).feed([1.0], beside)
    assert np.isfinite(ahead.forecast_step({"price": None, "sky": "sun"})).all()
    with pytest.raises(InputError, match="nothing may be missing"):
        runs[1].session(static_covariates=static)
    session = runs[1].session(static_covariates={"area": 2.0, "region": "n"})
    for lacking in ({"visitors": [NAN]}, {"price": [None]}, {"sky": [None]}):
        given_ = {"visitors": [1.0], "price": [1.0], "sky": ["sun"], **lacking}
        with pytest.raises(InputError, match="nothing may be missing"):
            session.feed([1.0], given_)
    with pytest.raises(InputError, match="nothing may be missing") as refused:
        runs[1].evaluate("all", ["source.missing=keep"], data=shops())
    assert refused.value.problems[0].code == "RC030"


@pytest.mark.parametrize(
    ("name", "cell", "places", "code", "words"),
    [
        ("price", math.inf, [7], "RC042", "row 7"),
        ("visitors", "many", [7], "RC042", "row 7"),
        ("price", None, range(69), "RC041", "no number of the covariate 'price'"),
        ("area", 3.0, [30], "RC042", "nothing at"),
        ("area", None, [7], "RC042", "nothing here"),
    ],
)
def test_what_cannot_be_read_is_refused(name, cell, places, code, words):
    """Infinity and what is no number with the row, what never came, what changes in a series."""
    data = shops()
    data[name] = [cell if at in places else value for at, value in enumerate(data[name])]
    with pytest.raises(InputError, match=words) as refused:
        recurra.check(task(), data=data)
    assert refused.value.problems[0].code == code


def test_a_missing_covariate_is_one_however_it_is_written(tmp_path):
    """An empty cell, nan, a marker of `na`, null and None give the same covariates."""
    data, names = shops(), [*ROLES["columns"], "shop", "visitors", "price", "sky", "area", "region"]
    rows = list(zip(*(data[name] for name in names), strict=True))
    found = [load_data(resolve(task(), data=data))]
    for nothing in ("", "n/a"):
        lines = [",".join(nothing if c is None else f"{c}" for c in row) for row in rows]
        path = tmp_path / f"rows{len(nothing)}.csv"
        path.write_text("\n".join([",".join(names), *lines]), encoding="utf-8")
        source = {**KEEP, "kind": "csv", "path": str(path), "na": ["n/a"]}
        found.append(load_data(resolve(task(source=source))))
    for other in found[1:]:
        assert other.covariates.save() == found[0].covariates.save()
        one, two = other.store.covariates, found[0].store.covariates
        np.testing.assert_array_equal(one.steps.values, two.steps.values)
        np.testing.assert_array_equal(one.static, two.static)
        for place, ahead in two.ahead.items():
            np.testing.assert_array_equal(one.ahead[place], ahead)
