"""Figures of distributions: their formulas by brute force, and what does not change them."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.cli.printing import in_short
from recurra.contracts.distribution import DECILES
from recurra.train.metrics import Tally
from recurra.train.spread import Spread, intervals, levels_of, spread_figures
from recurra_losses.gaussian_nll import GaussianNLL
from recurra_losses.mae import MAE
from recurra_losses.options import GaussianNLLOptions, MAEOptions, QuantileOptions
from recurra_losses.quantile import Quantile
from recurra_targets.next import Next
from recurra_targets.options import NextOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions

LEVELS = (0.05, 0.1, 0.5, 0.9, 0.95)
M1 = Path(__file__).parents[2] / "tasks" / "m1_yearly.csv.gz"
laws = settings(deadline=None, max_examples=20)


def drawn(seed, steps, columns):
    generator = np.random.default_rng(seed)
    quantiles = np.sort(generator.normal(size=(steps, columns, len(LEVELS))), axis=-1)
    actual = generator.normal(size=(steps, columns))
    actual[generator.random(actual.shape) < 0.2] = np.nan
    actual[0] = 1.5
    return quantiles, actual


def brute(quantiles, actual):
    """Return the figures of one column, number after number."""
    rows = [(q, y) for q, y in zip(quantiles.tolist(), actual.tolist(), strict=True) if y == y]
    pinballs = {
        level: [max(level * (y - q[i]), (level - 1) * (y - q[i])) for q, y in rows]
        for i, level in enumerate(LEVELS)
    }
    size = sum(abs(y) for _, y in rows)
    figures = {
        "crps": np.mean([2 * np.mean([pinballs[p][r] for p in LEVELS]) for r in range(len(rows))]),
        "wql": np.mean([2 * sum(pinballs[p]) / size for p in LEVELS]),
    }
    for name, low, high, share in (("90", 0, 4, 0.1), ("80", 1, 3, 0.2)):
        figures[f"coverage_{name}"] = np.mean([q[low] <= y <= q[high] for q, y in rows])
        figures[f"width_{name}"] = np.mean([q[high] - q[low] for q, y in rows])
        costs = []
        for q, y in rows:
            cost = q[high] - q[low]
            if y < q[low]:
                cost += 2 / share * (q[low] - y)
            if y > q[high]:
                cost += 2 / share * (y - q[high])
            costs.append(cost)
        figures[f"winkler_{name}"] = np.mean(costs)
    for level, name in zip(LEVELS, ("5", "10", "50", "90", "95"), strict=True):
        figures[f"pinball_{name}"] = np.mean(pinballs[level])
    return figures


@laws
@given(seed=st.integers(0, 999), steps=st.integers(1, 12), columns=st.integers(1, 3), cut=st.data())
def test_figures_are_their_formulas_however_they_come(seed, steps, columns, cut):
    """Column by column by brute force, of all the mean; in two parts as at once."""
    quantiles, actual = drawn(seed, steps, columns)
    at = cut.draw(st.integers(0, steps))
    spread = Spread(LEVELS)
    for part in (slice(0, at), slice(at, steps)):
        spread.add_quantiles(quantiles[part], actual[part])
    expected = [brute(quantiles[:, column], actual[:, column]) for column in range(columns)]
    for found, figures in zip(spread.columns(), expected, strict=True):
        assert found == pytest.approx(figures)
    means = {name: np.mean([figures[name] for figures in expected]) for name in expected[0]}
    assert spread.values() == pytest.approx(means)


def test_what_never_came_enters_nothing():
    """A column without a value is left out, and so is a share of nothing."""
    quantiles, actual = drawn(0, 5, 2)
    actual[:, 1] = np.nan
    spread = Spread(LEVELS)
    spread.add_quantiles(quantiles, actual)
    assert spread.columns()[1] == {}
    assert spread.values() == pytest.approx(spread.columns()[0])
    nothing = Spread(LEVELS)
    nothing.add_quantiles(quantiles, np.zeros((5, 2)))
    assert "wql" not in nothing.values() and "crps" in nothing.values()


def test_the_published_figure_of_the_naive_forecast_of_m1():
    """Its quantiles are one number: 0.209296, as in the tables of Chronos's evaluation."""
    rows = np.genfromtxt(
        gzip.open(M1, "rt"), delimiter=",", dtype=None, names=True, encoding="utf-8"
    )
    values = np.asarray(rows["y"], np.float64)
    spread = Spread(DECILES)
    for name in np.unique(rows["unique_id"]):
        series = values[rows["unique_id"] == name]
        quantiles = np.full((6, 1, len(DECILES)), series[-7])
        spread.add_quantiles(quantiles, series[-6:, None])
    assert spread.values()["wql"] == pytest.approx(0.209296, abs=5e-7)


def tally(vocabulary):
    return Tally(Next(NextOptions()), vocabulary)


def numeric(values, **options):
    vocabulary = Numeric(NumericOptions(**options))
    vocabulary.fit([values])
    return vocabulary


@pytest.mark.parametrize("options", [{}, {"scale": "minmax"}, {"log": True}], ids=str)
def test_figures_are_in_the_datas_own_units(options):
    """As those of quantiles that were brought there; what is known of them is what is added."""
    generator = np.random.default_rng(3)
    values = np.exp(generator.normal(size=(60, 2))) * [5.0, 0.01]
    vocabulary = numeric(values, **options)
    loss = GaussianNLL(2, GaussianNLLOptions())
    output = torch.from_numpy(generator.normal(size=(60, 4)))
    target = torch.from_numpy(vocabulary.encode(values))

    found = tally(vocabulary)
    found.add(output[:40], target[:40], loss)
    found.add(output[40:], target[40:], loss)
    quantiles = np.stack(
        [vocabulary.decode(loss.quantile(output, [level])[..., 0].numpy()) for level in DECILES],
        axis=-1,
    )
    expected = Spread(DECILES)
    expected.add_quantiles(quantiles, values)
    names = {"crps"}
    metrics, wanted = found.values(), expected.values()
    assert {n: metrics[n] for n in wanted if n not in names} == pytest.approx(
        {n: wanted[n] for n in wanted if n not in names}
    )
    if options.get("log"):
        assert metrics["crps"] == pytest.approx(wanted["crps"])
    else:
        # The closed form, in own units, is the integral over all levels.
        every = [(step + 0.5) / 2000 for step in range(2000)]
        costs = 0.0
        for level in every:
            error = values - vocabulary.decode(loss.quantile(output, [level])[..., 0].numpy())
            costs += 2 * np.maximum(level * error, (level - 1) * error).mean() / len(every)
        assert metrics["crps"] == pytest.approx(costs, rel=1e-3)
    assert [c["wql"] for c in found.columns()] == pytest.approx(
        [c["wql"] for c in expected.columns()]
    )


def test_every_figure_is_known_beforehand():
    """What a task may name is what a split then has, of any levels; of no distribution nothing."""
    assert levels_of(MAE(1, MAEOptions())) == spread_figures(()) == ()
    for levels in ([0.5], [0.1, 0.9], [0.025, 0.5, 0.7, 0.975]):
        loss = Quantile(1, QuantileOptions(levels=levels))
        vocabulary = numeric(np.arange(9.0)[:, None])
        sums = tally(vocabulary)
        sums.add(torch.zeros(3, loss.output_size), torch.ones(3, 1), loss)
        known = [figure.name for figure in spread_figures(levels_of(loss))]
        metrics = sums.values()
        assert known == [name for name in metrics if name in known]
        assert {*known} == {*metrics} - {*tally_of_mae(vocabulary)}
        assert len([name for name in in_short(metrics) if name.startswith("coverage")]) <= 1
    assert "coverage_95" in {figure.name for figure in spread_figures(levels_of(loss))}


def tally_of_mae(vocabulary):
    sums = tally(vocabulary)
    sums.add(torch.zeros(3, 1), torch.ones(3, 1), MAE(1, MAEOptions()))
    return sums.values()


def test_an_interval_is_the_better_the_nearer_it_holds_its_share():
    """Too wide is as bad as too narrow; intervals lie alike about the median, widest first."""
    (figure,) = [f for f in spread_figures(DECILES) if "coverage_80" == f.name]
    assert figure.cost(0.8) == 0
    assert figure.cost(0.7) == pytest.approx(figure.cost(0.9))
    assert intervals([0.05, 0.1, 0.5, 0.9]) == [(1, 3)]
    assert intervals(DECILES) == [(0, 8), (1, 7), (2, 6), (3, 5)]
