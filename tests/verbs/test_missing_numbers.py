"""A run over numbers of which some are missing: trained, measured, read back, forecast from."""

from __future__ import annotations

import json
import math
from contextlib import chdir

import numpy as np
import pytest

import recurra
from recurra.cli.values import parse
from recurra.contracts.target import Examples
from recurra.errors import InputError
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train import series

NAN = math.nan
TASK = {
    "vocabulary": {"kind": "numeric", "difference": 1},
    "sequence": {"length": 6, "split": [0.7, 0.15, 0.15], "season": 4},
    "encoder": {"kind": "identity"},
    "cell": {"kind": "gru", "hidden_size": 4},
    "loss": {"kind": "mae"},
    "training": {"steps": 4, "batch_size": 2},
    "generation": {"length": 3},
}
KEEP = {"kind": "given", "missing": "keep"}


def columns(seed=0, share=0.2, count=80):
    """Return two columns of which some is missing."""
    random = np.random.default_rng(seed)
    at = np.arange(count)
    rows = {"a": np.sin(at) + 3, "b": 10 + (at % 4) + random.normal(size=count)}
    for column in rows.values():
        column[random.random(count) < share] = NAN
    return rows


def task(**changes):
    return {**TASK, "source": KEEP, **changes}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    with chdir(tmp_path_factory.mktemp("run")):
        yield recurra.run(task(), data=columns())


def test_a_network_reads_a_mask_and_its_figures_are_of_what_came(run):
    """One number more for each column that lacks some; mae is over what came of the split."""
    assert run.network.encoder.size == 4
    figures = run.evaluate("test", data=columns())
    data = load_data(resolve(task(), data=columns()))
    part = data.splits["test"]
    came = int((~np.isnan(data.store.values[int(part.low[0]) : int(part.high[0])])).sum())
    assert 0 < came < 2 * part.steps
    tally_figures = {key: value for key, value in figures["metrics"].items()}
    assert all(math.isfinite(value) for value in tally_figures.values())


def test_series_side_by_side_are_forecast_as_each_alone(run):
    """What is missing at the end of one series changes nothing of another's forecast."""
    again = recurra.load(run.folder.path, "last")
    rows = [[[1.0, 12.0], [None, 11.0], [2.0, None]], [[3.0, 9.0], [2.0, 8.0], [None, None]]]
    together = [row["predicted"] for row in again.predict(rows, horizon=4)]
    alone = [row["predicted"] for each in rows for row in again.predict([each], horizon=4)]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
    for each, predicted in zip(rows, together, strict=True):
        session = again.session()
        session.feed(each)
        steps = [session.forecast_step() for _ in range(4)]
        np.testing.assert_allclose(steps, predicted, rtol=1e-5)


def test_the_report_tells_what_is_read_beside():
    """The columns that lack numbers in training are named."""
    told = recurra.check(task(), data=columns())["vocabulary"]["notes"]
    assert any("a, b" in note and "observed" in note for note in told)


def test_a_run_read_back_goes_on_from_the_last_observed(run):
    """Fed step by step, saved and restored between, as at once; None and nan are one."""
    rows = [[1.0, 12.0], [None, 11.0], [NAN, None], [2.0, NAN]]
    again = recurra.load(run.folder.path, "last")
    whole = again.session()
    whole.feed(rows)
    parts = again.session()
    for row in rows[:2]:
        parts.feed([row])
    parts.save(run.folder.path / "state")
    other = again.session()
    other.restore(run.folder.path / "state")
    for row in rows[2:]:
        other.feed([row])

    ahead = [whole.forecast_step(), whole.forecast_step()]
    np.testing.assert_allclose([other.forecast_step(), other.forecast_step()], ahead, rtol=1e-5)
    assert np.isfinite(ahead).all()

    # What comes after a missing step is told from the number before it, not from 0.
    frozen = again.session()
    frozen.feed([[5.0, 12.0], [None, None]])
    assert abs(float(frozen.forecast_step()[0]) - 5.0) < 2.0


def test_generation_goes_on_from_data_that_ends_in_nothing(run):
    """What a run keeps to go on from holds what is missing, and `generate` reads it."""
    again = recurra.load(run.folder.path, "last")
    steps = list(again.generate())
    assert len(steps) == 3
    assert np.isfinite(steps).all()


def test_without_anything_missing_the_option_changes_no_bit(tmp_path, monkeypatch):
    """Weights and figures are those of `missing = "error"`; a session may lack numbers all the
    same.
    """
    monkeypatch.chdir(tmp_path)
    whole = columns(share=0.0)
    kept = recurra.run(task(), data=whole)
    plain = recurra.run(task(source={"kind": "given"}), data=whole)
    for name, weight in plain.network.state_dict().items():
        assert (weight == kept.network.state_dict()[name]).all(), name
    figures = [each.evaluate("test", data=whole)["metrics"] for each in (kept, plain)]
    assert figures[0] == figures[1]

    kept.session().feed([[1.0, None]])
    with pytest.raises(InputError, match="list of numbers") as refused:
        plain.session().feed([[1.0, None]])
    assert refused.value.problems[0].code == "RC080"
    with pytest.raises(InputError, match="nothing may be missing"):
        plain.session().feed([[1.0, NAN]])


def test_answers_to_whole_sequences_are_scored_as_ever(tmp_path, monkeypatch):
    """Where steps of what is read may be missing, an update is of the mean over its sequences."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(4)
    numbers = random.normal(size=(12, 4)).round(3)
    rows = [
        f"{place},{step},{a},{b},{c}" for place, (a, b, c, _) in enumerate(numbers) for step in "12"
    ]
    (tmp_path / "rows.csv").write_text("\n".join(["id,x,y,left,right", *rows]) + "\n")
    source = {"kind": "csv", "path": "rows.csv", "columns": ["x", "y"], "group": "id"}
    losses = []
    for missing in ("error", "keep"):
        changed = task(
            source={**source, "label": ["left", "right"], "missing": missing},
            vocabulary={"kind": "numeric"},
            target={"kind": "value"},
            sequence={"split": [0.5, 0.25, 0.25]},
            generation={},
        )
        run = recurra.run(changed)
        lines = (run.folder.path / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["loss"] for line in lines])
    assert losses[0] == losses[1]


def test_markers_and_empty_cells_are_one(tmp_path, monkeypatch):
    """An empty cell, nan, a marker of `na`, null of JSON and None are the same corpus."""
    table = [[1.5, None], [None, 2.5], [3.0, 4.0]] * 5
    forms = {}
    for nothing in ("", "nan", "-999"):
        lines = [",".join(nothing if cell is None else str(cell) for cell in row) for row in table]
        path = tmp_path / f"rows{nothing}.csv"
        path.write_text("\n".join(["a,b", *lines]), encoding="utf-8")
        source = {"kind": "csv", "path": str(path), "columns": ["a", "b"], "na": ["-999"]}
        forms[nothing] = {**source, "missing": "keep"}
    rows = [
        f'{{"a": {"null" if a is None else a}, "b": {"null" if b is None else b}}}'
        for a, b in table
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(rows), encoding="utf-8")
    forms["json"] = {"kind": "jsonl", "path": str(path), "columns": ["a", "b"], "missing": "keep"}

    expected = np.array(table, np.float64)
    for source in forms.values():
        data = load_data(resolve({**TASK, "source": source, "sequence": {"length": 2}}))
        np.testing.assert_array_equal(data.store.values, expected)
        assert data.vocabulary.missing == (0, 1)
        assert data.names() == ["a", "b", "a observed", "b observed"]


def test_steps_that_time_stamps_leave_out_are_missing(tmp_path):
    """`source.gaps = "fill"` puts them in, as steps of which nothing came."""
    path = tmp_path / "days.csv"
    days = [day for day in range(1, 29) if day not in (4, 5, 20)]
    lines = [f"2024-01-{day:02d},{day}" for day in days]
    path.write_text("\n".join(["day,y", *lines]), encoding="utf-8")
    source = {"kind": "csv", "path": str(path), "columns": ["y"], "time": "day"}
    source |= {"gaps": "fill", "missing": "keep"}
    data = load_data(resolve({**TASK, "source": source}))
    expected = [NAN if day in (4, 5, 20) else day for day in range(1, 29)]
    np.testing.assert_array_equal(data.store.values[:, 0], expected)


@pytest.mark.parametrize(
    ("change", "rows", "code", "words"),
    [
        ({}, {"a": [1.0, math.inf] * 9, "b": [NAN, 1.0] * 9}, "RC042", "finite"),
        ({}, {"a": [1.0, 2.0] * 9, "b": [NAN] * 14 + [1.0] * 4}, "RC041", "no number of column"),
        ({}, {"a": [1.0, 2.0] * 7 + [NAN] * 4}, "RC041", "has no step that"),
    ],
)
def test_what_cannot_be_learned_of_is_refused(change, rows, code, words):
    """Infinity with its row, a column of which training has nothing, a held part of nothing."""
    changed = task(sequence={"length": 3, "split": [0.75, 0.25, 0]}, **change)
    changed["vocabulary"] = {"kind": "numeric"}
    with pytest.raises(InputError, match=words) as refused:
        recurra.check(changed, data={name: np.array(column) for name, column in rows.items()})
    assert refused.value.problems[0].code == code


def test_rules_are_fitted_on_what_came():
    """By hand: the mean, the last that came, the line from the first to the last, a season ago; and
    mase by what is one season apart with both there.
    """
    data = load_data(resolve(task(), data=columns(seed=3, share=0.3)))
    train, held = data.examples("train"), data.examples("test")
    rules = series.series_rules(train, held)
    values = np.asarray(data.store.values)
    low, high = int(train.low[0]), int(train.high[0])
    first, end = int(held.low[0]), int(held.high[0])

    def last(at, column):
        while at >= 0 and math.isnan(values[at, column]):
            at -= 1
        return values[at, column] if at >= 0 else 0.0

    said = {"mean": [], "naive": [], "drift": [], "seasonal naive": []}
    scales = []
    for column in range(2):
        own = values[low:high, column]
        at = np.flatnonzero(~np.isnan(own))
        slope = (own[at[-1]] - own[at[0]]) / (at[-1] - at[0])
        past = values[:first, column]
        apart = [abs(past[i] - past[i - 4]) for i in range(4, len(past))]
        scales.append(np.mean([gap for gap in apart if not math.isnan(gap)]))
        for step in range(first, end):
            actual = values[step, column]
            if math.isnan(actual):
                continue
            before = last(step - 1, column)
            said["mean"].append(abs(own[at].mean() - actual))
            said["naive"].append(abs(before - actual))
            said["drift"].append(abs(before + slope - actual))
            said["seasonal naive"].append(abs(last(step - 4, column) - actual))
    for rule, errors in said.items():
        assert rules[rule].metrics()["mae"] == pytest.approx(np.mean(errors)), rule
    assert isinstance(held, Examples)
    np.testing.assert_allclose(held.scale, scales)


def test_a_loss_that_scores_steps_alone_is_refused_where_one_is_partly_missing(tmp_path):
    """It goes on where whole steps are missing, and says which step is the first that is not."""
    plugin = tmp_path / "steps.py"
    plugin.write_text(
        "from recurra import Component, Loss, Options, hookimpl\n"
        "class Steps(Loss[Options]):\n"
        "    reads = ('numbers',)\n"
        "    def forward(self, output, target):\n"
        "        return (output - target).square().mean(dim=-1)\n"
        "@hookimpl\n"
        "def recurra_components():\n"
        "    return [Component(kind='loss', name='steps', target='steps:Steps',"
        " options='recurra:Options', summary='squares', api='1.0')]\n",
        encoding="utf-8",
    )
    changed = task(loss={"kind": "steps"}, plugins={"files": [str(plugin)]})
    with pytest.raises(InputError, match="partly missing") as refused:
        recurra.check(changed, data=columns())
    assert refused.value.problems[0].code == "RC031"

    whole = columns(share=0.0)
    for column in whole.values():
        column[[5, 6, 40, 70]] = NAN
    recurra.check(changed, data=whole)


def test_what_is_written_in_a_task_may_be_missing(tmp_path, monkeypatch):
    """nan of an inline source, of a prompt and of --values, or nothing between two commas."""
    monkeypatch.chdir(tmp_path)
    values = [1.0, NAN, 2.0, 3.0, NAN, 2.0] * 4
    inline = {"kind": "inline", "values": values, "missing": "keep"}
    own = {"sequence": {"length": 4}, "generation": {"prompt": [1.0, NAN, 2.0], "length": 2}}
    written = recurra.run(task(source=inline, **own))
    same = load_data(resolve(task(**own), data=np.array(values)))
    data = load_data(resolve(task(source=inline, **own)))
    np.testing.assert_array_equal(data.store.values, same.store.values)
    assert data.vocabulary.missing == same.vocabulary.missing == (0,)

    again = recurra.load(written.path, "last")
    ahead = list(again.generate())
    assert ahead == list(again.generate(parse("1,nan,2", 1, True)))
    assert ahead == list(again.generate(parse("1,,2", 1, True)))
    assert ahead != list(again.generate([1.0, 2.0]))
    for refused in ("1,,2", "1,nan,2"):
        with pytest.raises(InputError, match="place 2.*nothing may be missing"):
            parse(refused, 1)
    with pytest.raises(InputError, match="step 2 of sequence 1 is nan"):
        recurra.check(task(source={"kind": "inline", "values": values}))
    with pytest.raises(InputError, match="finite"):
        recurra.check(task(source={**inline, "values": [1.0, math.inf] * 9}))
    with pytest.raises(InputError, match="nothing may be missing"):
        recurra.check(task(source={"kind": "inline", "values": [1.0, 2.0] * 9}, **own))
