"""Features of time stamps of a task, from the file to the forecast: equal to columns by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
import torch
from safetensors import safe_open

import recurra
from recurra import InputError
from recurra.generate import saved
from recurra.job.run import Run

TRAINED: dict[str, Any] = {
    "cell": {"kind": "rnn", "hidden_size": 3},
    "training": {"steps": 2, "batch_size": 2, "optimizer": {"kind": "sgd", "lr": 0.01}},
    "device": {"kind": "cpu", "path": "native", "precision": "float64"},
    "vocabulary": {"kind": "numeric", "scale": "none"},
    "encoder": {"kind": "identity"},
    "loss": {"kind": "mse"},
    "sequence": {"length": 8, "split": [0.7, 0.1, 0.2], "split_by": "time"},
    "generation": {"length": 5},
}
ZONE = "Europe/Berlin"
CALENDAR: dict[str, Any] = {
    "time": "when",
    "time_zone": ZONE,
    "calendar": ["hour", "weekend"],
    "fourier": {"day": 2, "10 steps": 1},
    "holidays": ["2024-03-31"],
}
NAMES = [f"f{index}" for index in range(10)]
STEPS, AHEAD = 40, 5
SERIES = ("2024-03-30T00:00", "2024-10-26T12:00")
"""Where each series begins: clocks are put forward in the first, and back in the second."""


def refusal(ask: Callable[[], Any]) -> str:
    """Return what is said of something that is refused."""
    with pytest.raises(InputError) as error:
        ask()
    return str(error.value)


def clocks(first: str, count: int) -> list[datetime]:
    """Return what clocks in Berlin show each hour from a time on."""
    begin = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(ZONE)).astimezone(UTC)
    every = (begin + timedelta(hours=step) for step in range(count))
    return [moment.astimezone(ZoneInfo(ZONE)).replace(tzinfo=None) for moment in every]


def by_hand(first: str, count: int) -> np.ndarray:
    """Return the features of each hour from a time on, as a person would compute them."""
    begin = datetime.fromisoformat(first).replace(tzinfo=ZoneInfo(ZONE)).timestamp() // 3600
    rows = []
    for step, moment in enumerate(clocks(first, count)):
        hour = 2 * np.pi * (moment.hour / 24)
        tens = 2 * np.pi * ((begin + step) % 10 / 10)
        day = [wave for k in (1, 2) for wave in (np.sin(k * hour), np.cos(k * hour))]
        weekend, holiday = moment.weekday() > 4, (moment.month, moment.day) == (3, 31)
        waves = [*day, np.sin(tens), np.cos(tens)]
        rows.append([np.sin(hour), np.cos(hour), weekend, *waves, holiday])
    return np.array(rows, np.float64)


def values(series: int) -> list[float]:
    """Return the numbers of a series."""
    return np.random.default_rng(series).normal(size=STEPS).tolist()


def table(ahead: int = 0) -> dict[str, list[Any]]:
    """Return all series, with the features by hand; of steps to come there are these alone."""
    columns: dict[str, list[Any]] = {name: [] for name in ("id", "when", "y", *NAMES)}
    for series, first in enumerate(SERIES):
        count = STEPS + ahead
        columns["id"] += [f"s{series}"] * count
        columns["when"] += [f"{each:%Y-%m-%dT%H:%M}" for each in clocks(first, count)]
        columns["y"] += [*values(series), *[None] * ahead]
        for name, column in zip(NAMES, by_hand(first, count).T, strict=True):
            columns[name] += column.tolist()
    return columns


def written(path: Path, columns: dict[str, list[Any]]) -> str:
    """Write columns as csv; return where they lie."""
    lines = [",".join(columns)]
    rows = zip(*columns.values(), strict=True)
    lines += [
        ",".join("" if cell is None else repr(cell).strip("'") for cell in row) for row in rows
    ]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def made(folder: Path, name: str, columns: dict[str, list[Any]], **source: Any) -> Run:
    """Train a run of a table for two steps."""
    path = written(folder / f"{name}.csv", columns)
    own = {"kind": "csv", "path": path, "columns": ["y"], "group": "id", **source}
    return recurra.run({**TRAINED, "name": name, "source": own}, runs=folder / "runs")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("calendar")


@pytest.fixture(scope="module")
def run(home: Path) -> Run:
    return made(home, "stamped", table(), **CALENDAR)


@pytest.fixture(scope="module")
def hand(home: Path) -> Run:
    return made(home, "hand", table(AHEAD), future_covariates=NAMES)


def test_the_features_are_columns_that_nobody_has_to_write(run: Run, hand: Run, home: Path) -> None:
    """Weights and figures are those of the features by hand as future covariates, to the bit, and
    so are forecasts; but of these the steps to come must be written, and of stamps none.
    """
    for one, other in zip(run.network.parameters(), hand.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert run.result["metrics"] == hand.result["metrics"]
    assert run.result["forecast"]["metrics"] == hand.result["forecast"]["metrics"]
    assert list(run.generate()) == list(hand.generate())

    told = [answer["predicted"] for answer in run.predict(data=table(), horizon=AHEAD)]
    # A step that waits for the columns of the next is read by itself, and may be rounded so.
    for one, other in zip(told, hand.predict(data=table(AHEAD)), strict=True):
        assert one == pytest.approx(other["predicted"], rel=1e-13)
    assert [*run.generate(series="s0")] == told[0] and [*run.generate(length=30)][:5] == told[1]


def test_one_forecast_whoever_makes_it(run: Run, home: Path) -> None:
    """A file, a session that is told when it begins, one that was saved and restored on the way, a
    prompt, a sequence in Python, what the run recorded, and a backtest of that say the same.
    """
    answers = [*run.predict(file=written(home / "new.csv", table()))]
    told = answers[0]["predicted"]
    assert answers[0]["ds"] == [f"{each:%Y-%m-%dT%H:%M}" for each in clocks(SERIES[0], 45)[40:]]
    assert list(run.generate(series=1)) == told
    assert [*run.generate(values(0), time=SERIES[0])] == told
    moment = datetime(2024, 3, 29, 23, tzinfo=UTC)
    for time in (SERIES[0], moment, moment.astimezone(ZoneInfo(ZONE)), clocks(SERIES[0], 1)[0]):
        assert next(run.predict([{"values": values(0), "time": time}]))["predicted"] == told

    session = run.session(time=SERIES[0])
    for number in values(0)[:-1]:
        session.feed([number])
    session.save(home / "state.safetensors")
    again = run.session(time="1999-01-01").restore(home / "state.safetensors")
    again.feed(values(0)[-1:])
    fork = again.copy()
    assert [float(again.forecast_step()[0]) for _ in told] == pytest.approx(told)
    assert float(fork.forecast_step()[0]) == pytest.approx(told[0])
    later = run.session(time=clocks(SERIES[0], 2)[1]).feed(values(0))
    assert float(later.forecast_step()[0]) != pytest.approx(told[0], abs=1e-9)


def test_a_backtest_reads_the_stamps_of_each_cutoff(run: Run, hand: Run) -> None:
    """What is forecast after a cutoff is what the features by hand forecast."""
    shape = {"folds": 2, "horizon": 3}
    one, other = (each.backtest(**shape, backtests=each.path / "b") for each in (run, hand))
    assert one.result["metrics"] == other.result["metrics"]


@pytest.mark.parametrize("kind", ["label", "horizon", "decoder"])
def test_who_asks_otherwise(home: Path, kind: str) -> None:
    """A target of whole sequences reads the features with their own step, as past covariates; one
    that tells several steps at once as future ones, those of each step ahead with its answer.
    """
    stamped, by_columns = table(), table(AHEAD)
    source: dict[str, Any] = {}
    role = "future_covariates"
    shared: dict[str, Any] = {"generation": {"length": 3}}
    shared["target"] = {"kind": "horizon", "length": 3}
    if kind == "decoder":
        shared["target"]["decoder"] = "cell"
    if kind == "label":
        role, by_columns = "past_covariates", table()
        for columns in (stamped, by_columns):
            columns["class"] = ["ab"[name == "s1"] for name in columns["id"]]
            columns["fold"] = ["train"] * len(columns["id"])
        source = {"label": "class", "fold": "fold"}
        shared = {"target": {"kind": "label"}, "loss": {"kind": "cross_entropy"}, "sequence": {}}

    answers = []
    for name, columns, options in (
        ("stamped", stamped, CALENDAR),
        ("columns", by_columns, {role: NAMES}),
    ):
        path = written(home / f"{kind}-{name}.csv", columns)
        own = {"kind": "csv", "path": path, "columns": ["y"], "group": "id", **options, **source}
        task = {**TRAINED, "name": f"{kind}-{name}", "source": own, **shared}
        if kind == "label":
            del task["generation"]
        made = recurra.run(task, runs=home / "runs")
        told = [{**each, "ds": None} for each in made.predict(file=path)]
        answers.append((told, made.result["metrics"], [*made.network.parameters()]))
        if kind != "label":
            assert [*made.generate()] == told[1]["predicted"]
    (one, figures, weights), (other, wanted, by_hand_weights) = answers
    assert one == other and figures == wanted
    assert all(torch.equal(*pair) for pair in zip(weights, by_hand_weights, strict=True))


def test_what_says_no_time_is_refused(run: Run, hand: Run, home: Path) -> None:
    """Each end that reads no file asks for the stamp by name; one that has its own refuses it."""
    for ask in (
        run.session,
        lambda: run.generate([1.0, 2.0]),
        lambda: next(run.predict([[1.0, 2.0]])),
        lambda: next(run.predict([{"values": [1.0, 2.0], "time": None}])),
        lambda: run.hidden([1.0, 2.0]),
    ):
        assert "time=" in refusal(ask)
    for time in ("29/02/2024", "2024-03-31T02:30", 7, [], "2024-02-30", 20240101.5):
        assert str(time) in refusal(lambda time=time: run.session(time=time))
    assert "its own" in refusal(lambda: run.generate(time=SERIES[0]))
    assert "leave time out" in refusal(lambda: hand.session(time=SERIES[0]))
    assert "'time'" in refusal(
        lambda: next(hand.predict([{"values": [1.0], "covariates": {}, "time": SERIES[0]}]))
    )
    path = written(home / "bare.csv", {name: table()[name] for name in ("id", "y")})
    assert "when" in refusal(lambda: next(run.predict(file=path)))


def test_steps_of_another_length_are_refused(run: Run, home: Path) -> None:
    """Stamps that are farther apart, other features and other clocks would mean something else."""
    daily = table()
    for first in (0, STEPS):
        days = [f"2024-{1 + day // 28:02d}-{1 + day % 28:02d}" for day in range(28)]
        daily["when"][first : first + 28] = days
    columns = {
        name: [cell for at, cell in enumerate(cells) if at % STEPS < 28]
        for name, cells in daily.items()
    }
    path = written(home / "daily.csv", columns)
    assert "every day" in refusal(lambda: next(run.predict(file=path)))
    other = {"source.path": path}
    assert "the hour tells no step" in refusal(lambda: run.evaluate("all", other))
    path = written(home / "more.csv", {name: cells[:STEPS] for name, cells in table().items()})
    assert run.evaluate("all", {"source.path": path})["metrics"]
    fewer = {"source.path": path, "source.calendar": ["hour"]}
    assert "reads of time stamps" in refusal(lambda: run.evaluate("all", fewer))
    elsewhere = {"source.path": path, "source.time_zone": "Europe/Vienna"}
    assert "Berlin" in refusal(lambda: run.evaluate("all", elsewhere))
    more = {"source.path": path, "source.holidays": ["2024-01-01"]}
    assert "holidays" in refusal(lambda: run.evaluate("all", more))


def test_a_leap_day_has_a_place_of_its_own(home: Path) -> None:
    """The day of the year runs from the 28th of February over the 29th to the first of March."""
    days = [datetime(2023, 12, 1) + timedelta(days=day) for day in range(130)]
    columns = {"when": [f"{day:%Y-%m-%d}" for day in days], "y": np.arange(130.0).tolist()}
    source = {"kind": "given", "columns": ["y"], "time": "when", "calendar": ["day of year"]}
    made = recurra.run(
        {**TRAINED, "name": "leap", "source": source}, data=columns, runs=home / "runs"
    )
    data = made.data(made.resolved.giving(columns))
    assert data.reader.companions is not None
    read = data.reader.companions.window(np.array([0]), 129)[0]
    lengths = [365 + (day.year % 4 == 0) for day in days[1:]]
    turns = [
        2 * np.pi * (day.timetuple().tm_yday - 1) / length
        for day, length in zip(days[1:], lengths, strict=True)
    ]
    assert np.allclose(read, np.column_stack([np.sin(turns), np.cos(turns)]))


def test_check_says_what_is_read(run: Run, home: Path) -> None:
    """It names each input by which the network is wider."""
    report = recurra.check(str(run.path / "task.toml"))
    (note,) = [note for note in report["data"]["notes"] if "known ahead" in note]
    assert note.endswith(
        "hour sin, hour cos, weekend, day sin 1, day cos 1, day sin 2, day cos 2, 10 steps sin 1,"
        " 10 steps cos 1, holiday"
    )
    assert run.covariates is not None and run.covariates.width == len(NAMES)


def test_a_state_whose_numbers_are_none_is_refused(run: Run, home: Path) -> None:
    """Negative, huge, fractional, of another type, further than any stamp, or of nothing here: each
    is refused in words though the hash is right, and nothing of it is taken.
    """
    path = home / "forged.safetensors"
    run.session(time=SERIES[0]).feed(values(0)).save(path)
    with safe_open(path, "pt") as file:
        about = file.metadata()
        sound = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    since = json.loads(bytes(sound["beside.since"].tolist()))

    def dated(**first: Any) -> dict[str, Any]:
        told = {**since, "place": first.pop("place", 40), "first": {**since["first"], **first}}
        return {"beside.since": torch.tensor([*json.dumps(told).encode()], dtype=torch.uint8)}

    wrong: list[Any] = [-1 << 63, 1 << 63, 1 << 70, 2.7, "3", True, [1], {}]
    forged = [dated(**{name: one}) for name in ("place", *since["first"]) for one in wrong]
    forged += [dated(place=place) for place in (-1, None, 1 << 40)]
    forged += [dated(month=3), dated(day=29), dated(at=0), dated(offset=1 << 40)]
    forged += [{name: torch.zeros(2)} for name in ("more", "beside.more", "trail.0", "stream.0")]
    forged += [{"beside.since": torch.full((1 << 20,), 91, dtype=torch.uint8)}]
    forged += [{f"beside.{name}": torch.tensor(0.5)} for name in ("told", "coming", "static")]
    words = [{"streams": str(1 << 40)}, {"streams": "-1"}, {"position": str(1 << 62)}]
    for told, tensors in [
        *((about, each) for each in forged),
        *(({**about, **w}, {}) for w in words),
    ]:
        saved.write(path, {**told}, sound | tensors)
        session = run.session(time="1999-01-01")
        assert "is a damaged state" in refusal(lambda own=session: own.restore(path)), tensors
        assert session.position == 0 and session.states is None

    saved.write(path, {**about}, sound)
    assert run.session(time=SERIES[1]).restore(path).position == STEPS
