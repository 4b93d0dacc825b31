"""Covariates of a task, from the file to the forecast: who reads what, and who does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import command

import recurra
from recurra.job.run import Run

TRAINED: dict[str, Any] = {
    "cell": {"kind": "rnn", "hidden_size": 3},
    "training": {"steps": 2, "batch_size": 2, "optimizer": {"kind": "sgd", "lr": 0.01}},
    "device": {"kind": "cpu", "path": "native", "precision": "float64"},
    "vocabulary": {"kind": "numeric"},
    "encoder": {"kind": "identity"},
    "loss": {"kind": "mse"},
    "sequence": {"length": 8, "split": [0.7, 0.1, 0.2], "split_by": "time"},
    "generation": {"length": 4},
}
NAMES = ("id", "y", "price", "sky", "load", "area", "kind")
FUTURE, PAST, STATIC = ["price", "sky"], ["load"], ["area", "kind"]
ROLES = {"future_covariates": FUTURE, "static_covariates": STATIC}
AHEAD, STEPS = 5, 30


def rows(seed: int = 0, series: int = 3, ahead: int = AHEAD) -> list[list[Any]]:
    """Return the rows of some series, the last with what is known of the steps to come."""
    stream = np.random.default_rng(seed)
    return [
        [
            f"s{index}",
            float(stream.normal()) if step < STEPS else None,
            float(stream.normal() * 5 + 9),
            str(stream.choice(["sun", "rain"])),
            float(stream.normal()) if step < STEPS else None,
            index * 1.5,
            "AB"[index % 2],
        ]
        for index in range(series)
        for step in range(STEPS + ahead)
    ]


def written(path: Path, table: list[list[Any]]) -> str:
    """Write a table as csv; return where it lies."""
    lines = [",".join(NAMES)]
    lines += [",".join("" if cell is None else str(cell) for cell in row) for row in table]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def made(folder: Path, name: str, table: list[list[Any]], **source: Any) -> Run:
    """Train a run of a table for two steps."""
    told = {"kind": "csv", "path": written(folder / f"{name}.csv", table), "columns": ["y"]}
    task = {**TRAINED, "name": name, "source": {**told, "group": "id", **source}}
    length = 1 if "past_covariates" in source else 4
    return recurra.run({**task, "generation": {"length": length}}, runs=folder / "runs")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("covariates")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return made(home, "run", rows(), **ROLES)


def forecast(run: Run, path: str, horizon: int | None = None) -> dict[str, list[float]]:
    """Return what is said of each series of a file."""
    answers = run.predict(file=path, horizon=horizon)
    return {answer["row"]: answer["predicted"] for answer in answers}


def test_one_forecast_whoever_makes_it(run: Run, home: Path) -> None:
    """A file, a session that is told step by step, one that is told at once, one that was saved
    and restored on the way, and what the run recorded of its own data say the same.
    """
    table = rows()
    told = forecast(run, written(home / "same.csv", table))
    assert run.result["generated"] == pytest.approx(told["s2"]) and len(told["s2"]) == 4
    assert list(run.generate()) == pytest.approx(told["s2"])

    mine = [row for row in table if row[0] == "s2"]
    columns = {name: [row[NAMES.index(name)] for row in mine] for name in NAMES}
    past, static = columns["y"][:STEPS], {"area": 3.0, "kind": "A"}
    known = {name: columns[name][:STEPS] for name in FUTURE}
    whole = {name: columns[name] for name in FUTURE}

    at_once = run.session(static_covariates=static).feed(past, whole)
    assert [float(at_once.forecast_step()[0]) for _ in range(4)] == pytest.approx(told["s2"])
    prompted = run.generate(past, 4, covariates=whole, static_covariates=static)
    assert list(prompted) == pytest.approx(told["s2"])

    step_by_step = run.session(static_covariates=static)
    for at in range(STEPS):
        step_by_step.feed([past[at]], {name: [known[name][at]] for name in FUTURE})
    for ahead in range(4):
        step_by_step.save(home / "state.safetensors")
        again = run.session(static_covariates={"area": 0.0, "kind": "B"})
        again.restore(home / "state.safetensors")
        now = {name: columns[name][STEPS + ahead] for name in FUTURE}
        value = float(step_by_step.forecast_step(now)[0])
        assert value == pytest.approx(told["s2"][ahead])
        assert float(again.forecast_step(now)[0]) == value


def beside(table: list[list[Any]], series: str) -> dict[str, Any]:
    """Return a series of a table as a sequence that is listed with its covariates."""
    own = [row for row in table if row[0] == series]
    columns = {name: [row[NAMES.index(name)] for row in own] for name in NAMES}
    return {
        "values": [y for y in columns["y"] if y is not None],
        "covariates": {name: columns[name] for name in FUTURE},
        "static_covariates": {name: columns[name][0] for name in STATIC},
    }


@given(series=st.sampled_from(["s0", "s1", "s2"]), length=st.integers(0, AHEAD))
@settings(deadline=None, max_examples=10)
def test_a_series_is_gone_on_from_with_what_is_known_ahead(
    run: Run, series: str, length: int
) -> None:
    """One that is chosen of the data, listed, at hand or prompted: all forecast the same."""
    table = rows()
    told = list(run.generate(series=series, length=length))
    given = beside(table, series)
    prompt = [given["values"], length]
    aside = {name: given[name] for name in ("covariates", "static_covariates")}
    assert list(run.generate(*prompt, **aside)) == pytest.approx(told)
    if not length:
        return
    (listed,) = run.predict([given], horizon=length)
    assert listed["predicted"] == pytest.approx(told)
    columns = {name: [row[at] for row in table] for at, name in enumerate(NAMES)}
    columns["y"] = [float("nan") if y is None else y for y in columns["y"]]
    at_hand = {answer["row"]: answer for answer in run.predict(data=columns, horizon=length)}
    assert at_hand[series]["predicted"] == pytest.approx(told)
    frame = run.forecast([given], horizon=length)
    assert frame["run"] == pytest.approx(told)


def test_the_first_step_whose_covariates_are_not_known_is_named(home: Path) -> None:
    """By its stamp, where there is one: of a series that is chosen, and of one in a file."""
    table = [row[:] for row in rows(ahead=2)]
    for at, row in enumerate(table):
        row[5] = f"{2020 + (at % (STEPS + 2) + 7) // 12}-{(at % (STEPS + 2) + 7) % 12 + 1:02}"
    run = made(home, "stamped", table, future_covariates=["price"], time="area")
    with refusal("2 of 3 steps", "of step 3 ahead, 2023-04, the future covariates", "price"):
        run.generate(series="s1", length=3)
    with refusal("row s0", "of step 3 ahead, 2023-04, the future covariates", "horizon = 2"):
        forecast(run, str(home / "stamped.csv"), 3)
    with refusal("0 of 1 steps", "of step 1 ahead the future"):
        run.generate([1.0], 1, covariates={"price": [2.0]})


def test_what_is_read_and_when_is_told(home: Path) -> None:
    """`check` lists covariates and frequency, `run` tells the frequency, forecasts have stamps."""
    table = rows()
    for at, row in enumerate(table):
        row[0] = f"s{at // (STEPS + AHEAD)}"
        row[4] = f"2024-01-{at % (STEPS + AHEAD) + 1:02}"
        if row[4] > "2024-01-31":
            row[4] = f"2024-02-{at % (STEPS + AHEAD) - 30:02}"
    (home / "told").mkdir()
    written(home / "told" / "told.csv", table)
    source = {"kind": "csv", "path": "told.csv", "columns": ["y"], "group": "id", "time": "load"}
    given = {**TRAINED, "name": "told", "source": {**source, **ROLES}}
    lines = [f"{name} = {_toml(part)}" for name, part in given.items()]
    task = home / "told" / "told.toml"
    task.write_text("schema = 1\n" + "\n".join(lines) + "\n")

    often = "a time stamp every day, the first series from 2024-01-01 to 2024-01-30"
    told = command("check", task).tidy(0).out
    assert often in told and "90 elements in 3 sequences" in told
    assert "4, read as 8 numbers a step" in told
    assert "price (numbers), sky (2 categories)" in told
    assert "area (numbers), kind (2 categories)" in told
    ran = command("run", task, "--runs", home / "told" / "runs").tidy(0).out
    assert often in ran and "next:      2024-01-31 " in ran
    figures = recurra.load(home / "told" / "runs" / "told").evaluate("test")["forecast"]
    assert figures["ds"] == ["2024-01-25", "2024-01-26", "2024-01-27", "2024-01-28"]
    assert all(stamp in ran for stamp in figures["ds"])


def _toml(part: Any) -> str:
    """Return a table, a list or a value as TOML has it in a line."""
    if isinstance(part, dict):
        return "{ " + ", ".join(f"{name} = {_toml(each)}" for name, each in part.items()) + " }"
    return json.dumps(part)


def test_what_is_listed_with_covariates_is_checked(run: Run) -> None:
    """What is missing, what nothing reads, what is not of as many steps; others are answered."""
    whole = beside(rows(), "s1")
    price, sky = (whole["covariates"][name] for name in FUTURE)
    wrong = {
        "this run reads covariates": whole["values"],
        "key 'values' of the sequence is missing": {"covariates": {}},
        "key 'price' is none that is read here": {**whole, "price": price},
        "covariates 'price', 'sky' of the sequence are missing": {"values": [1.0]},
        "covariate 'sky' of the sequence is missing": {**whole, "covariates": {"price": price}},
        "static covariate 'kind'": {**whole, "static_covariates": {"area": 1.0}},
        "must be a dict of names": {**whole, "static_covariates": [1.0]},
        "9 values for 30 steps": {**whole, "covariates": {"price": price[:9], "sky": sky[:9]}},
        "not of as many steps each": {**whole, "covariates": {"price": price[:9], "sky": sky}},
        "at step 1": {**whole, "covariates": {"price": [9.0, None, *price[2:]], "sky": sky}},
    }
    for words, sequence in wrong.items():
        with refusal("row 1", words, "RC080"):
            list(run.predict([sequence]))
    told = [*run.predict([*wrong.values(), whole], skip_bad=True)]
    for words, answer in zip(wrong, told, strict=False):
        assert words in answer["error"]
    assert told[-1]["predicted"] == pytest.approx(list(run.generate(series="s1")))

    (layer,) = run.hidden({**whole, "covariates": {"price": price[:30], "sky": sky[:30]}})
    assert layer.shape == (29, 3) and run.hidden(whole)[0].shape == (30, 3)
    with refusal("this run reads covariates"):
        run.hidden(whole["values"])


def test_what_stands_before_a_prompt_has_covariates_of_its_own(run: Run) -> None:
    """A warm prompt goes on from the last series, whose static covariates are known; what does
    not go with what is refused.
    """
    last = beside(rows(), "s2")
    values = [*last["values"], 0.5, -0.5]
    aside = {"price": [4.0, 5.0, 6.0], "sky": ["sun", "rain", "sun"]}
    whole = {name: [*last["covariates"][name][:STEPS], *aside[name]] for name in FUTURE}
    static = last["static_covariates"]
    wanted = list(run.generate(values, 1, covariates=whole, static_covariates=static))
    warm = run.generate([0.5, -0.5], 1, warm=True, covariates=aside)
    assert list(warm) == pytest.approx(wanted)

    with refusal("has its own"):
        run.generate([0.5], 1, warm=True, covariates=aside, static_covariates=static)
    for asked in ({"series": "s1"}, {}):
        with refusal("covariates stand beside a prompt", "RC080"):
            run.generate(covariates=aside, **asked)
        with refusal("static covariates are those of a series that is prompted"):
            run.generate(static_covariates=static, **asked)


@given(data=st.data())
@settings(deadline=None, max_examples=15)
def test_what_comes_later_moves_nothing(run: Run, home: Path, data: st.DataObject) -> None:
    """A future covariate of step k moves no forecast of a step before it, and may move its own; a
    static one, or any number, moves its own series alone.
    """
    path = home / "moved.csv"
    table = rows()
    before = forecast(run, written(path, table), AHEAD)
    series = data.draw(st.integers(0, 2))
    step = data.draw(st.integers(0, AHEAD - 1))
    at = series * (STEPS + AHEAD) + STEPS + step

    table[at][2] += 3.0
    after = forecast(run, written(path, table), AHEAD)
    for name, steps in before.items():
        own = name == f"s{series}"
        same = step if own else AHEAD
        assert after[name][:same] == steps[:same]
        assert (after[name] != steps) == own

    table = rows()
    for row in table:
        if row[0] == f"s{series}":
            row[5] += 1.0
    after = forecast(run, written(path, table), AHEAD)
    assert {name for name in before if after[name] != before[name]} == {f"s{series}"}


def test_a_past_covariate_moves_its_own_step_and_later_ones(home: Path) -> None:
    """What stands beside the last step moves the forecast of the next; beside none, none."""
    run = made(home, "past", rows(ahead=0), past_covariates=PAST)
    session = run.session()
    values, load = [0.1, 0.2, 0.3], [1.0, 2.0, 3.0]
    session.feed(values[:2], {"load": load[:2]})
    expected = session.expected().clone()
    for other in (3.0, 9.0):
        own = session.copy().feed(values[2:], {"load": [other]})
        assert torch.equal(session.expected(), expected)
        assert not torch.equal(own.expected(), expected)

    first = session.forecast_step()
    with refusal("nobody knows the past covariates of a step that is forecast: load"):
        session.forecast_step()
    assert np.isfinite(first).all() and len(session.feed([0.0], {"load": [0.0]}).forecast_step())
    with refusal("2 steps", "past covariates", "load"):
        run.generate(length=2)


def hand_made(run: Run, role: str) -> None:
    """Let a network answer with 3 c + 2 of its covariate c, but for 1e-9 of it."""
    network: Any = run.network
    table = run.covariates.tables[role]
    shift, scale = table.numbers.shift[0], table.numbers.scale[0]
    own_shift, own_scale = run.vocabulary.shift[0], run.vocabulary.scale[0]
    small = 1e-4
    with torch.no_grad():
        for weight in network.parameters():
            weight.zero_()
        (cell,) = network.cells
        by_width = [w for w in cell.parameters() if w.dim() == 2 and w.shape[1] == 2]
        by_width[0][0, 1] = small
        network.head.weight[0, 0] = 3 * scale / own_scale / small
        network.head.bias[0] = (3 * shift + 2 - own_shift) / own_scale


def test_a_series_of_its_own_covariate_is_known_by_it_alone(home: Path) -> None:
    """Of y[t] = 3 c[t] + 2 a network that reads c[t] before y[t] makes no error, and one that reads
    it after makes that of a guess.
    """
    table = rows(series=2, ahead=0)
    for row in table:
        row[1] = 3 * row[2] + 2
    errors = {}
    for role in ("future_covariates", "past_covariates"):
        run = made(home, role[:4], table, **{role: ["price"]})
        hand_made(run, role)
        errors[role] = run.evaluate("test")["metrics"]["rmse"]
    spread = np.std([row[1] for row in table])
    assert errors["future_covariates"] < 1e-5
    assert errors["past_covariates"] > spread / 2


def test_covariates_that_say_nothing_change_nothing(home: Path) -> None:
    """With covariates that are always 0, whose weights are 0, figures and forecasts are those of a
    run without them.
    """
    table = rows()
    for row in table:
        row[2] = row[5] = 0.0
    plain_rows = [row for row in table if row[1] is not None]
    plain = made(home, "plain", plain_rows)
    beside = made(home, "zeros", table, future_covariates=["price"], static_covariates=["area"])

    weights, own = plain.network.state_dict(), beside.network.state_dict()
    for name, weight in weights.items():
        fresh = torch.zeros_like(own[name])
        fresh[tuple(slice(size) for size in weight.shape)] = weight
        own[name] = fresh
    beside.network.load_state_dict(own)
    one, other = (each.evaluate("test") for each in (plain, beside))
    assert other["metrics"] == pytest.approx(one["metrics"], rel=1e-9)
    assert other["forecast"]["metrics"] == pytest.approx(one["forecast"]["metrics"], rel=1e-9)
    assert other["baselines"] == one["baselines"]


def test_a_category_that_training_has_not_shown_is_told(run: Run, home: Path) -> None:
    """In the held out part, or in new data, it is counted and named, and read; a series of it is
    forecast.
    """
    table = rows()
    table[-AHEAD - 2][3] = "fog"
    own = made(home, "fog", table, **ROLES)
    figures = own.evaluate("test")
    (note,) = [note for note in figures["notes"] if "unknown" in note]
    assert "sky of 1 step of the test split" in note and "'fog'" in note

    for row in table:
        row[6] = "C"
    other = run.evaluate(overrides=[f"source.path={written(home / 'other.csv', table)}"])
    told = " ".join(other["notes"])
    assert "kind of 3 sequences" in told and "'C'" in told and "'fog'" in told
    with pytest.warns(recurra.Unsuited) as warned:
        assert len(forecast(run, str(home / "other.csv"))) == 3
    told = sorted(str(each.message) for each in warned)
    assert len(told) == 2  # once of each covariate, whatever comes
    assert "the kind of s0 is 'C', which training has not shown" in told[0]
    assert "the sky of s2 is 'fog', which training has not shown" in told[1]


def test_a_run_is_opened_and_resumed_with_its_covariates(run: Run, home: Path) -> None:
    """What it says after being read back is what it said; figures and forecasts alike."""
    opened = recurra.load(run.path)
    assert list(opened.generate()) == list(run.generate())
    assert opened.evaluate("test")["metrics"] == run.evaluate("test")["metrics"]
    resumed = recurra.resume(run.path, {"training.steps": 3})
    fresh = recurra.run(
        {**TRAINED, "name": "fresh", "source": {
            "kind": "csv", "path": str(home / "run.csv"), "columns": ["y"], "group": "id", **ROLES},
            "training": {**TRAINED["training"], "steps": 3}}, runs=home / "runs")  # fmt: skip
    for name, weight in fresh.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name])
    started = recurra.run(
        str(run.path / "task.toml"), {"name": "start"}, start=run, runs=home / "runs"
    )
    assert started.covariates.save() == run.covariates.save()
    assert (
        started.evaluate("test")["metrics"]
        == recurra.load(started.path).evaluate("test")["metrics"]
    )


def test_what_is_missing_is_named(run: Run, home: Path) -> None:
    """Of a session, of a prompt and of a file: which covariate, of which step or series."""
    with refusal("static covariate 'kind' of the series is missing"):
        run.session(static_covariates={"area": 1.0})
    session = run.session(static_covariates={"area": 1.0, "kind": "A"})
    with refusal("covariate 'sky' of 2 steps is missing"):
        session.feed([0.0, 1.0], {"price": [1.0, 2.0]})
    with refusal("'wind' is none that is read here", "price, sky"):
        session.feed([0.0], {"price": [1.0], "sky": ["sun"], "wind": [0.0]})
    with refusal("price", "1 value for 2 steps"):
        session.feed([0.0, 1.0], {"price": [1.0], "sky": ["sun"]})
    with refusal("'price'", "at step 1", "finite number"):
        session.feed([0.0, 1.0], {"price": [1.0, float("nan")], "sky": ["sun", "sun"]})

    session.feed([0.0, 1.0], {"price": [1.0, 2.0], "sky": ["sun", "rain"]})
    with refusal("future covariates of the next step are not known: price, sky"):
        session.expected()
    with refusal("future covariate 'sky' of the next step is missing"):
        session.forecast_step({"price": 3.0})
    assert np.isfinite(session.forecast_step({"price": 3.0, "sky": "fog"})).all()

    path = written(home / "ends.csv", rows(ahead=3))
    with refusal("row s0", "3 of 4 steps", "of step 4 ahead", "price, sky", "horizon = 3"):
        forecast(run, path)
    assert len(forecast(run, path, 3)["s1"]) == 3
    with refusal("5 of 9 steps can be forecast", "step 6 ahead", "length = 5"):
        run.generate(length=9)
    with refusal("reads covariates, and the sequence has none"):
        next(run.predict([[1.0, 2.0]]))


def test_a_session_takes_names_and_never_two_values_of_a_step(run: Run, home: Path) -> None:
    """What is no dict of names is refused, by whoever takes covariates; a step that was asked for
    is read with what was known of it, and other covariates of it are refused and not left out, of
    a session that was saved too.
    """
    static: Any = {"area": 1.0, "kind": "A"}
    session = run.session(static_covariates=static)
    known = {"price": [1.0, 5.0], "sky": ["sun", "rain"]}
    wrong: Any = [1.0, 2.0]
    for asked in (
        lambda: run.session(static_covariates=wrong),
        lambda: session.feed([1.0], wrong),
        lambda: session.forecast_step(wrong),
        lambda: run.generate([1.0], 1, covariates=wrong, static_covariates=static),
        lambda: run.generate([1.0], 1, covariates=known, static_covariates=wrong),
    ):
        with refusal("must be a dict of names", "[1.0, 2.0]", "RC080"):
            asked()

    session.feed([0.5], known)
    session.expected()
    own, other = {"price": 5.0, "sky": "rain"}, {"price": 6.0, "sky": "rain"}
    assert session.copy().forecast_step(own) == session.copy().forecast_step()
    listed, others = ({name: [each] for name, each in part.items()} for part in (own, other))
    fed = session.copy().feed([0.1], listed)
    assert fed.copy().forecast_step(own) == session.copy().feed([0.1], listed).forecast_step(own)
    before = session.copy().forecast_step()
    for asked in (
        lambda: session.forecast_step(other),
        lambda: session.feed([0.1], others),
    ):
        with refusal("were read already", "price, sky", "session.copy()"):
            asked()
    session.save(home / "looked")
    again = run.session(static_covariates=static).restore(home / "looked")
    with refusal("were read already", "price, sky"):
        again.feed([0.1], others)
    assert again.feed([0.1], listed).forecast_step(own) == fed.forecast_step(own)
    assert session.forecast_step() == before, "what is refused changes nothing"


def test_a_task_that_cannot_know_its_covariates_is_refused(home: Path) -> None:
    """Past ones of steps that are forecast, and future ones of a step that is answered itself."""
    with refusal("generation.length", "nobody knows the past covariates"):
        recurra.check({**TRAINED, "name": "x", "source": {
            "kind": "csv", "path": written(home / "x.csv", rows()), "columns": ["y"],
            "group": "id", "past_covariates": PAST}})  # fmt: skip
    task = {key: part for key, part in TRAINED.items() if key != "generation"}
    with refusal("source.future_covariates", "asks nothing of a step to come"):
        recurra.check({**task, "name": "x", "target": {"kind": "value"},
            "sequence": {"split": [0.5, 0.5, 0.0]}, "source": {
            "kind": "csv", "path": str(home / "x.csv"), "columns": ["y"], "group": "id",
            "label": "area", "future_covariates": FUTURE}})  # fmt: skip


def test_a_direct_horizon_needs_no_past_of_what_it_says(home: Path) -> None:
    """Several steps at once are told from past covariates alone, by whoever asks for them."""
    path = written(home / "direct.csv", rows(ahead=0))
    source = {"kind": "csv", "path": path, "columns": ["y"], "group": "id"}
    task = {**TRAINED, "name": "direct", "source": {**source, "past_covariates": PAST}}
    run = recurra.run({**task, "target": {"kind": "horizon", "length": 4}}, runs=home / "runs")
    told = forecast(run, path)["s2"]
    assert len(told) == 4 and run.result["generated"] == pytest.approx(told)
    assert list(run.generate()) == pytest.approx(told)
