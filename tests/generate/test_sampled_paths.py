"""Paths of numbers: the laws of what is drawn, and of the intervals that are made of it."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch

import recurra
from recurra.errors import InputError, RunError
from recurra.generate.abreast import Start
from recurra.generate.spreads import Answers, Paths
from recurra.job.interval_figures import IntervalScores, without

PHI, SIGMA, TINY = 0.7, 0.5, 1e-2
"""An autoregression of order 1, and the part of a number of which tanh is nearly itself."""
MANY = 20_000
CHANCES = (0.025, 0.1, 0.5, 0.9, 0.975)
TASK = {
    "schema": 1,
    "source": {"kind": "given"},
    "vocabulary": {"kind": "numeric", "scale": "none"},
    "sequence": {"length": 12},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "rnn", "hidden_size": 1},
    "loss": {"kind": "gaussian_nll"},
    "training": {"steps": 1, "batch_size": 2},
    "generation": {"length": 4},
}
SCALED = {"kind": "numeric", "scale": "change", "scale_by": "series"}


def trained(folder, data=None, **tables):
    """Return a run of a task with other tables."""
    if data is None:
        draw = np.random.default_rng(0)
        data = [np.cumsum(draw.normal(size=40)) + 30 for _ in range(3)]
    task = copy.deepcopy(TASK) | tables
    return recurra.run(task, data=data, runs=folder / "runs")


def by_hand(run, phi=PHI):
    """Make a network that says N(phi x, sigma^2) after x."""
    network = run.network
    with torch.no_grad():
        for weight in network.layers[0].parameters():
            weight.zero_()
        network.layers[0].weight_ih.fill_(TINY)
        network.head.weight.copy_(torch.tensor([[phi / TINY], [0.0]]))
        spread = math.log(math.expm1(SIGMA - run.network.loss.options.least))
        network.head.bias.copy_(torch.tensor([0.0, spread]))
    return run


def paths_of(run, count, seed=0):
    """Return what draws so many paths of a run."""
    return Paths(run.network, run.vocabulary, run.covariates, seed, count)


def told(spread, starts, steps, chances=CHANCES):
    """Return the quantiles of each series, `[S, Q, H, F]`."""
    points = [np.zeros((steps, starts[0].history.shape[1]))] * len(starts)
    return np.stack(list(spread.quantiles(starts, points, chances)))


@pytest.fixture(scope="module")
def ar(tmp_path_factory):
    """A network of an autoregression of numbers."""
    return by_hand(trained(tmp_path_factory.mktemp("ar")))


@pytest.fixture(scope="module")
def walk(tmp_path_factory):
    """A network of a walk: of differences that hang on nothing."""
    vocabulary = {"kind": "numeric", "scale": "none", "difference": 1}
    return by_hand(trained(tmp_path_factory.mktemp("walk"), vocabulary=vocabulary), 0.0)


@pytest.fixture(scope="module")
def scaled(tmp_path_factory):
    """A network of series that have a scale each, and differences."""
    vocabulary = {**SCALED, "difference": 1}
    cell = {"kind": "gru", "hidden_size": 4}
    return trained(tmp_path_factory.mktemp("scaled"), vocabulary=vocabulary, cell=cell)


def test_paths_of_an_autoregression_have_its_closed_form(ar):
    last = 1.5
    start = Start(np.array([[0.3], [last]]), name="a")
    drawn = paths_of(ar, MANY).drawn(start, 5)[..., 0]
    for step in range(1, 6):
        mean = PHI**step * last
        deviation = SIGMA * math.sqrt((1 - PHI ** (2 * step)) / (1 - PHI**2))
        own = drawn[:, step - 1]
        assert own.mean() == pytest.approx(mean, abs=5 * deviation / math.sqrt(MANY))
        assert own.std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * MANY))

        # The error of a quantile is sqrt(p (1 - p) / n) by the density there.
        law = NormalDist(mean, deviation)
        quantiles = told(paths_of(ar, MANY), [start], 5)[0, :, step - 1, 0]
        for chance, quantile in zip(CHANCES, quantiles, strict=True):
            exact = law.inv_cdf(chance)
            error = math.sqrt(chance * (1 - chance) / MANY) / law.pdf(exact)
            assert quantile == pytest.approx(exact, abs=5 * error)


def test_steps_of_a_path_hang_together_as_the_autoregression_does(ar):
    start = Start(np.array([[0.0], [0.0]]), name="a")
    drawn = paths_of(ar, MANY).drawn(start, 4)[..., 0]
    noise = drawn[:, 1:] - PHI * drawn[:, :-1]
    assert noise.std(axis=0) == pytest.approx(SIGMA, rel=5 / math.sqrt(2 * MANY))
    apart = np.corrcoef(np.concatenate([drawn[:, :1], noise], axis=1).T)
    assert np.abs(apart - np.eye(4)).max() < 5 / math.sqrt(MANY)


def test_paths_of_differences_are_a_walk(walk):
    start = Start(np.array([[2.0], [5.0], [7.0]]), name="a")
    drawn = paths_of(walk, MANY).drawn(start, 6)[..., 0]
    for step in range(1, 7):
        deviation = SIGMA * math.sqrt(step)
        assert drawn[:, step - 1].mean() == pytest.approx(7, abs=5 * deviation / math.sqrt(MANY))
        assert drawn[:, step - 1].std() == pytest.approx(deviation, rel=5 / math.sqrt(2 * MANY))


def test_a_series_has_its_paths_in_any_company(scaled):
    draw = np.random.default_rng(3)
    sizes = (8, 13, 8, 21, 5)
    starts = [
        Start(np.cumsum(draw.normal(size=(size, 1)), axis=0) + 40, name=f"s{index}")
        for index, size in enumerate(sizes)
    ]
    spread = paths_of(scaled, 30)
    alone = [told(spread, [start], 4)[0] for start in starts]
    assert np.array_equal(told(spread, starts, 4), alone)
    assert np.array_equal(told(spread, starts[::-1], 4), alone[::-1])
    # What was asked before counts as little as what is asked with it.
    list(scaled.generate([3.0, 4.0, 6.0], 300))
    assert np.array_equal(told(spread, starts[2:4], 4), alone[2:4])
    # A shorter horizon is the beginning of a longer one.
    assert np.array_equal(told(spread, starts[:1], 2)[0], alone[0][:, :2])


def test_a_seed_decides_what_is_drawn_and_so_does_the_name(scaled):
    history = np.linspace(10, 20, 9)[:, None] + np.sin(np.arange(9))[:, None]
    one, other = Start(history, name="a"), Start(history, name="b")
    assert np.array_equal(paths_of(scaled, 5).drawn(one, 3), paths_of(scaled, 5).drawn(one, 3))
    seeds = [paths_of(scaled, 5, seed).drawn(one, 3) for seed in (0, 1)]
    assert not (seeds[0] == seeds[1]).any()
    assert not (seeds[0] == paths_of(scaled, 5).drawn(other, 3)).any()
    # More paths leave those that there were, but for rounding.
    more = paths_of(scaled, 9).drawn(one, 3)[:5]
    np.testing.assert_allclose(more, seeds[0], rtol=1e-5)


def test_quantiles_of_paths_never_cross(scaled):
    history = np.cumsum(np.random.default_rng(1).normal(size=(20, 1)), axis=0)
    chances = np.arange(1, 100) / 100
    for count in (99, 100, 357):
        bounds = told(paths_of(scaled, count), [Start(history, name="a")], 4, chances)[0]
        assert (np.diff(bounds, axis=0) >= 0).all()


def test_paths_of_a_series_in_other_units_are_in_these(scaled):
    history = np.cumsum(np.random.default_rng(1).normal(size=(20, 1)), axis=0) + 9
    own = paths_of(scaled, 40).drawn(Start(history, name="a"), 4)
    other = paths_of(scaled, 40).drawn(Start(history * 1e6, name="a"), 4)
    np.testing.assert_allclose(other, own * 1e6, rtol=1e-4)


def test_streams_of_a_session_draw_the_paths(scaled):
    values = [4.0, 6.0, 5.0, 7.0, 9.0, 8.5]
    drawn = paths_of(scaled, 12).drawn(Start(np.array(values)[:, None]), 4)
    session = scaled.session(streams=12).feed(values)
    own = np.stack([session.draw_step() for _ in range(4)], axis=1)
    np.testing.assert_allclose(own, drawn, rtol=1e-5)

    # One stream is the first of many.
    single = scaled.session().feed(values)
    alone = np.stack([single.draw_step() for _ in range(4)], axis=1)
    np.testing.assert_allclose(alone, drawn[:1], rtol=1e-5)


@pytest.mark.parametrize("streams", [1, 3])
def test_a_saved_session_goes_on_with_its_draws(scaled, tmp_path, streams):
    session = scaled.session(streams=streams, seed=5).feed([4.0, 6.0, 5.0, 7.0])
    session.draw_step()
    session.save(tmp_path / "state")
    other = scaled.session(streams=streams).restore(tmp_path / "state")
    twin = session.copy()
    after = [session.draw_step() for _ in range(3)]
    for again in (other, twin):
        assert np.array_equal([again.draw_step() for _ in range(3)], after)
    # What comes next comes on every way.
    fed = [each.feed([7.5, 8.0]).draw_step() for each in (session, other)]
    assert np.array_equal(*fed)


def test_what_is_fed_to_parted_streams_moves_each_from_where_it_stands(walk):
    session = walk.session(streams=4000).feed([1.0, 2.0])
    session.draw_step()
    drawn = session.feed([10.0]).draw_step()
    assert drawn.mean() == pytest.approx(10, abs=5 * SIGMA / math.sqrt(4000))
    assert drawn.std() == pytest.approx(SIGMA, rel=5 / math.sqrt(8000))


def test_a_session_says_how_the_next_number_is_distributed(walk):
    said = walk.session().feed([2.0, 5.0, 7.0]).distribution()
    law = NormalDist(7, SIGMA)
    exact = [law.inv_cdf(chance) for chance in CHANCES]
    np.testing.assert_allclose(said.quantile(CHANCES), [exact], rtol=1e-5)
    assert said.mean() == pytest.approx(7, rel=1e-6)
    assert said.cdf(7.4) == pytest.approx(law.cdf(7.4), rel=1e-5)
    assert said.log_prob([6.1]) == pytest.approx(math.log(law.pdf(6.1)), rel=1e-5)


def test_a_density_is_one_in_the_units_of_the_data(tmp_path):
    vocabulary = {"kind": "numeric", "scale": "standard", "log": True}
    run = trained(tmp_path, vocabulary=vocabulary)
    said = run.session().feed([20.0, 30.0, 25.0]).distribution()
    low, high = said.quantile([1e-9, 1 - 1e-9])[0]
    grid = np.exp(np.linspace(np.log(low), np.log(high), 4001))
    density = np.array([math.exp(said.log_prob(value)[0]) for value in grid])
    assert np.trapezoid(density, grid) == pytest.approx(1, abs=1e-5)
    # A quantile of a logarithm is that of the number; its mean is not.
    assert said.cdf(said.quantile([0.3])[:, 0]) == pytest.approx(0.3, rel=1e-9)
    with pytest.raises(InputError, match="logarithms or powers"):
        said.mean()


def test_each_answer_ahead_is_undone_by_its_origin_alone(tmp_path):
    target = {"kind": "horizon", "length": 4}
    vocabulary = {"kind": "numeric", "scale": "none", "difference": 1}
    run = trained(tmp_path, vocabulary=vocabulary, target=target)
    history = np.array([[3.0], [5.0], [4.0], [8.0]])
    spread = Answers(run.network, run.vocabulary, None, run.outlook)
    bounds = told(spread, [Start(history, name="a")], 4)[0, ..., 0]

    # Each step is told by how far it lies from the last value, not from the step before.
    session = run.session().feed(history[:, 0])
    with torch.no_grad():
        raw = run.network.loss.quantile(session.raw()[0], CHANCES)[:, 0].cpu().numpy()
    np.testing.assert_allclose(bounds.T, 8 + raw, rtol=1e-6)
    said = session.distribution()
    np.testing.assert_allclose(said.quantile(CHANCES)[:, 0].T, bounds, rtol=1e-6)
    assert said.quantile([0.5])[:, 0, 0] == pytest.approx(session.forecast()[:, 0], rel=1e-6)
    assert session.distribution(2).quantile([0.5]).shape == (2, 1, 1)
    with pytest.raises(InputError, match="4 steps at once"):
        session.draw_step()
    with pytest.raises(InputError, match="tells draws apart"):
        run.session(streams=2)


def test_a_draw_beyond_all_numbers_is_an_error_and_reads_nothing(ar):
    session = ar.session(streams=3).feed([1.0])
    wide = copy.deepcopy(ar.network)
    with torch.no_grad():
        wide.head.bias[1] = 3e38
    broken = ar.session(streams=3)
    broken.network = wide
    broken.stepper = type(broken.stepper)(wide)
    broken.feed([1.0])
    with pytest.raises(RunError, match="beyond all numbers"):
        broken.draw_step()
    assert broken.position == session.position == 1

    bounds = told(replace(paths_of(ar, 50), network=wide), [Start(np.ones((1, 1)))], 3)
    assert np.isnan(bounds).all()


def test_a_run_tells_intervals_of_paths_wherever_it_forecasts(scaled):
    rows = [[4.0, 6.0, 5.0, 7.0], [10.0, 30.0, 20.0]]
    frame = scaled.forecast(rows, levels=(80,))
    starts = [Start(np.array(row)[:, None], name=str(at)) for at, row in enumerate(rows, 1)]
    spread = paths_of(scaled, 100, scaled.task.seed)
    exact = told(spread, starts, 4, (0.1, 0.9))
    assert frame["task-lo-80"] == exact[:, 0, :, 0].ravel().tolist()
    assert frame["task-hi-80"] == exact[:, 1, :, 0].ravel().tolist()

    steps = list(scaled.generate(rows[0], levels=(80,)))
    assert [step["lo-80"] for step in steps] == frame["task-lo-80"][:4]
    other = list(scaled.generate(rows[0], levels=(80,), seed=9))
    assert [step["predicted"] for step in other] == [step["predicted"] for step in steps]
    assert all(one["lo-80"] != two["lo-80"] for one, two in zip(other, steps, strict=True))

    with pytest.raises(InputError, match="generation.paths = 1999"):
        scaled.forecast(rows, levels=(99.9,))
    with pytest.raises(InputError, match="tells draws apart"):
        scaled.generate(rows[0], seed=1)
    with pytest.raises(InputError, match="one for all"):
        scaled.session(streams=2).feed(rows[0]).forecast_step()


def test_quantiles_that_were_not_trained_are_refused_where_they_are_told_at_once(tmp_path):
    loss = {"kind": "quantile", "levels": [0.1, 0.5, 0.9]}
    ahead = trained(tmp_path, loss=loss, target={"kind": "horizon", "length": 4})
    assert "task-lo-80" in ahead.forecast([[1.0, 2.0, 3.0]])
    assert "task-lo-95" not in ahead.forecast([[1.0, 2.0, 3.0]])
    with pytest.raises(InputError, match="0.1, 0.5, 0.9 alone"):
        ahead.forecast([[1.0, 2.0, 3.0]], levels=(95,))
    with pytest.raises(InputError, match="0.1, 0.5, 0.9 alone"):
        ahead.session().feed([1.0, 2.0]).distribution().quantile([0.2])

    # Paths are drawn of all that lies between, and beyond.
    following = trained(tmp_path, loss=loss)
    assert "task-lo-95" in following.forecast([[1.0, 2.0, 3.0]])


def test_paths_of_counts_are_counts(tmp_path):
    draw = np.random.default_rng(0)
    data = [draw.poisson(mean, 40).astype(float) for mean in (3, 40, 4000)]
    vocabulary = {"kind": "numeric", "scale": "mean", "scale_by": "series"}
    run = trained(tmp_path, data, loss={"kind": "negative_binomial"}, vocabulary=vocabulary)
    session = run.session(streams=200).feed(data[1])
    drawn = np.concatenate([session.draw_step() for _ in range(3)])
    assert (drawn >= 0).all() and (drawn == np.floor(drawn)).all()
    assert 10 < drawn.mean() < 160
    said = run.session().feed(data[1]).distribution()
    masses = np.exp([said.log_prob(float(count))[0] for count in range(2000)])
    assert masses.sum() == pytest.approx(1, abs=1e-4)
    frame = run.forecast([data[0][:20]], levels=(80,))
    for name in ("task-lo-80", "task-hi-80"):
        assert all(value == int(value) for value in frame[name])


def test_a_loss_of_a_number_alone_draws_nothing(tmp_path):
    run = trained(tmp_path, loss={"kind": "mse"})
    session = run.session().feed([1.0, 2.0])
    for ask in (session.draw_step, session.distribution):
        with pytest.raises(InputError, match="not how it is distributed"):
            ask()
    for asked in ({"streams": 2}, {"seed": 1}):
        with pytest.raises(InputError, match="tells draws apart"):
            run.session(**asked)


@pytest.fixture(scope="module")
def beside(tmp_path_factory):
    """A network that reads covariates beside its series: known ahead, and of the series."""
    draw = np.random.default_rng(5)
    table = {
        "shop": np.repeat(["a", "b"], 40).tolist(),
        "sold": draw.normal(10, 2, 80).tolist(),
        "price": draw.normal(5, 1, 80).tolist(),
        "area": np.repeat([1.0, 3.0], 40).tolist(),
    }
    source = {
        "kind": "given",
        "columns": ["sold"],
        "group": "shop",
        "future_covariates": ["price"],
        "static_covariates": ["area"],
    }
    vocabulary = {"kind": "numeric", "difference": 1}
    cell = {"kind": "gru", "hidden_size": 4}
    folder = tmp_path_factory.mktemp("beside")
    return trained(folder, table, source=source, vocabulary=vocabulary, cell=cell)


def test_paths_read_the_covariates_of_the_steps_to_come(beside, tmp_path):
    values = [9.0, 11.0, 10.0, 12.0]
    prices = [5.0, 4.0, 6.0, 5.5, 3.0, 4.5, 7.0, 5.0]
    static = {"area": 2.0}

    def session(streams, prices=prices):
        begun = beside.session(streams=streams, static_covariates=static)
        return begun.feed(values, {"price": prices})

    many = session(7)
    drawn = np.stack([many.draw_step() for _ in range(4)], axis=1)[..., 0]
    single = session(1)
    alone = np.stack([single.draw_step() for _ in range(4)], axis=1)[..., 0]
    np.testing.assert_allclose(drawn[:1], alone, rtol=1e-5)

    # A price is known before its step, and moves that step and what comes after it.
    dearer = session(7, [*prices[:6], 9.0, prices[7]])
    moved = np.stack([dearer.draw_step() for _ in range(4)], axis=1)[..., 0]
    assert np.array_equal(moved[:, :2], drawn[:, :2])
    assert not (moved[:, 2:] == drawn[:, 2:]).any()

    # What waits for the price of the next step is saved with what each stream drew.
    part = session(7, prices[:5])
    first = part.draw_step()
    with pytest.raises(InputError, match="price"):
        part.draw_step()
    part.save(tmp_path / "state")
    other = beside.session(streams=7, static_covariates=static).restore(tmp_path / "state")
    second = [each.draw_step({"price": prices[5]})[:, 0] for each in (part, other)]
    assert np.array_equal(first[:, 0], drawn[:, 0]) and np.array_equal(*second)
    assert np.array_equal(second[0], drawn[:, 1])

    sequence = {"values": values, "covariates": {"price": prices}, "static_covariates": static}
    (said,) = beside.predict([sequence], levels=(80,))
    steps = beside.generate(
        values, covariates={"price": prices}, static_covariates=static, levels=(80,)
    )
    assert [step["lo-80"] for step in steps] == said["lo-80"]
    paths = np.sort(np.stack([session(100).draw_step() for _ in range(1)])[0, :, 0])
    place = 101 * 0.1 - 1
    low = paths[9] * (1 - place % 1) + paths[10] * (place % 1)
    assert said["lo-80"][0] == pytest.approx(low, rel=1e-5)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"loss": {"kind": "mse"}}, "a number alone"),
        ({"target": {"kind": "horizon", "length": 4}}, "at once"),
    ],
)
def test_paths_are_refused_where_none_are_drawn(tmp_path, changed, told):
    generation = {"length": 4, "paths": 50}
    with pytest.raises(InputError, match=f"no paths are drawn.*{told}") as raised:
        trained(tmp_path, generation=generation, **changed)
    assert raised.value.problems[0].key == "generation.paths"


def test_a_result_has_figures_of_what_ran_freely(tmp_path):
    draw = np.random.default_rng(2)
    data = [np.cumsum(draw.normal(size=40)) + 30 for _ in range(6)]
    sequence = {"length": 12, "split": ["rest", 0, 4], "split_by": "time"}
    vocabulary = {"kind": "numeric", "scale": "none", "difference": 1}
    run = by_hand(trained(tmp_path, data, sequence=sequence, vocabulary=vocabulary), 0.0)
    task = run.task.generation.length, run.task.seed
    figures = run.evaluate("test", data=data, levels=(80,))["forecast"]

    histories = [Start(row[:-4, None], name=str(at)) for at, row in enumerate(data, 1)]
    bounds = told(paths_of(run, 100, task[1]), histories, task[0], (0.1, 0.9))[..., 0]
    came = np.stack([row[-4:] for row in data])
    held = (bounds[:, 0] <= came) & (came <= bounds[:, 1])
    assert figures["metrics"]["coverage_80"] == pytest.approx(held.mean())
    width = (bounds[:, 1] - bounds[:, 0]).mean(axis=0)
    by_step = [row["metrics"] for row in figures["by_step"]]
    assert [row["coverage_80"] for row in by_step] == pytest.approx(held.mean(axis=0))
    assert [row["width_80"] for row in by_step] == pytest.approx(width)
    # Of a walk they widen as it does.
    assert width[3] / width[0] == pytest.approx(2, rel=0.2)


def test_series_of_which_something_is_beyond_all_numbers_are_counted():
    scores = IntervalScores((80.0,), 3, tenths=False)
    sound = np.stack([np.zeros((3, 1)), np.ones((3, 1))])
    ended, none = sound.copy(), np.full_like(sound, np.nan)
    ended[:, 1:] = np.nan
    for quantiles in (sound, ended, none):
        scores.add(quantiles, (0.1, 0.9), np.full((3, 1), 0.5), np.ones(1))
    notes = without(scores)
    assert notes[0].startswith("no intervals of 1 of 3 series")
    assert "1 of 3 series there are no intervals from some step on" in notes[1]
    assert scores.metrics()["coverage_80"] == 1
    assert scores.at(1)["coverage_80"] == 1


def test_a_series_is_drawn_alike_by_its_name_and_by_its_number(scaled):
    draw = np.random.default_rng(0)
    data = [np.cumsum(draw.normal(size=40)) + 30 for _ in range(3)]
    steps = list(scaled.generate(series=2, data=data, levels=(80,)))
    (said,) = list(scaled.predict(data, levels=(80,)))[1:2]
    np.testing.assert_allclose([step["lo-80"] for step in steps], said["lo-80"], rtol=1e-6)
