"""The next steps at once: what a run says of them, and what is refused."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import recurra
from recurra.data.outlook import outlook_of
from recurra.data.splits import everything
from recurra.errors import InputError, RecurraError
from recurra.generate.session import Session
from recurra.job.build import build_network
from recurra.job.data import Data, load_data
from recurra.job.run import Run
from recurra.model.network import Network
from recurra.model.stepper import AFTER
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate
from recurra_cells.options import RNNOptions
from recurra_cells.rnn import RNN
from recurra_encoders.identity import Identity
from recurra_encoders.options import IdentityOptions
from recurra_losses.mae import MAE
from recurra_losses.options import MAEOptions

Floats = NDArray[np.float64]
RESIDUALS = ("none", "naive", "drift", "seasonal_naive", "seasonal_drift")
CHAINS: list[dict[str, Any]] = [
    {},
    {"log": True, "difference": 1},
    {"scale_by": "series", "difference": 1, "seasonal_difference": 4},
    {"box_cox": 0.5, "scale": "minmax", "scale_by": "series"},
]


def task(**tables: Any) -> dict[str, Any]:
    """Return a small task of panels, some tables or keys of which are others."""
    made: dict[str, Any] = {
        "schema": 1,
        "vocabulary": {"kind": "numeric"},
        "target": {"kind": "horizon", "length": 5},
        "sequence": {"length": 12, "season": 4, "split_by": "time", "split": [0.8, 0.0, 0.2]},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 5},
        "loss": {"kind": "mae"},
        "training": {"steps": 4, "batch_size": 2},
    }
    for name, table in tables.items():
        made[name] = {**made.get(name, {}), **table}
    return made


def panel(seed: int = 0, count: int = 3, width: int = 1) -> list[Floats]:
    """Return series above 0 with a season of 4."""
    draw = np.random.default_rng(seed)
    series = []
    for index in range(count):
        at = np.arange(30 + 3 * index)[:, None]
        noise = draw.normal(0, 0.05, (len(at), width)).cumsum(axis=0)
        series.append(np.exp(noise + 0.01 * at) * (10 + 2 * (at % 4)))
    return series


def untrained(made: dict[str, Any], series: list[Floats]) -> tuple[Data, Network]:
    """Return the data of a task, and its network as it begins."""
    made["device"] = {"precision": "float64"}
    resolved = resolve(made, data=series)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size)
    return data, network.eval()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return a run of a panel."""
    runs = tmp_path_factory.mktemp("runs")
    made = task(vocabulary={"difference": 1, "scale_by": "series"}, target={"residual": "drift"})
    return recurra.run(made, data=panel(), runs=runs)


@pytest.mark.parametrize("residual", RESIDUALS)
@pytest.mark.parametrize("options", CHAINS, ids=str)
def test_a_forecast_is_what_evaluation_measures(residual: str, options: dict[str, Any]) -> None:
    """What a session says after the history of a series alone are the very numbers that evaluation
    has of that origin, among all others, whatever the window.
    """
    made = task(vocabulary=options, target={"residual": residual, "origin": "last"})
    data, network = untrained(made, panel(2, width=2))
    assert data.chain is not None or not options.get("difference")
    predicted: list[Floats] = []

    class Kept(type(data.tally())):  # type: ignore[misc]
        """Keeps predictions in their own units."""

        def add(self, output: Any, target: Any, loss: Any, undo: Any = None, places: Any = None):
            assert self.undoing is not None
            own, _ = self.undoing(output, undo)
            predicted.append(own.numpy())
            super().add(output, target, loss, undo, places)

    outlook = data.reader.outlook
    assert outlook is not None
    split = data.splits["test"]
    tally = Kept(data.target, data.answers, data.scale, outlook.own, data.scales)
    evaluate(network, data.reader, split, tally, rows=1, window=7)

    # Longer series first, as evaluation reads them.
    found = np.concatenate(predicted)
    order = np.argsort(split.begin - split.first_targets, kind="stable")
    for row in order.tolist():
        begin, first = int(split.begin[row]), int(split.first_targets[row])
        count = min(5, int(split.high[row]) - first)
        known = data.store.values[begin : int(data.splits["train"].high[row])]
        session = Session(network, data.vocabulary, known=known, outlook=outlook)
        for part in np.split(data.store.values[begin:first], [3]):
            session.feed(part)
        assert session.forecast()[:count] == pytest.approx(found[:count], rel=1e-9)
        found = found[count:]
    assert not len(found)


@settings(max_examples=10)
@given(
    st.integers(1, 4), st.integers(1, 3), st.integers(1, 5), st.integers(0, 99), st.integers(1, 3)
)
def test_a_loss_never_knows_how_many_steps_there_are(
    rows: int, width: int, ahead: int, seed: int, wider: int
) -> None:
    """Each step ahead is a row of its own with `output_size` numbers of the head, also where these
    are more than the numbers that are asked.
    """

    class Wide(MAE):
        """Asks for several numbers of each, and takes the first for the answer."""

        def __init__(self) -> None:
            super().__init__(width, MAEOptions())
            self.output_size = wider * width

        def forward(self, output: Any, target: Any) -> Any:
            assert output.shape == (len(target), wider * width)
            return super().forward(self.point(output), target) + output.sum(dim=-1)

        def point(self, output: Any) -> Any:
            return output[..., :width]

    torch.manual_seed(seed)
    cell = RNN(width, RNNOptions(hidden_size=3))
    encoder = Identity(width, IdentityOptions())
    network = Network(encoder, [cell], Wide(), None, ahead)
    x, y = torch.randn(rows, 6, width), torch.randn(rows, 6, ahead, width)
    places = torch.randperm(rows * 6 * ahead)[: rows * 6]
    hidden, _ = network.hidden(x, network.initial_states(rows))
    losses = network.losses(hidden, y, places)
    assert network.head.out_features == ahead * wider * width

    raw = network.head(hidden)
    for loss, place in zip(losses, places.tolist(), strict=True):
        row, rest = divmod(place, 6 * ahead)
        step, h = divmod(rest, ahead)
        own = raw[row, step, h * wider * width : (h + 1) * wider * width]
        expected = (own[:width] - y[row, step, h]).abs().mean() + own.sum()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)


def test_a_kernel_of_steps_says_all_of_them() -> None:
    """Read one by one, with the compiled step from `AFTER` on, a series has the forecast that it
    has read at once.
    """
    series = [np.sin(np.arange(AFTER + 40))[:, None]]
    data, network = untrained(task(target={"residual": "naive"}), series)
    outlook = data.reader.outlook
    whole = Session(network, data.vocabulary, outlook=outlook).feed(series[0])
    by_step = Session(network, data.vocabulary, outlook=outlook)
    for row in series[0]:
        by_step.feed(row[None])
    assert by_step.stepper.made >= AFTER
    assert by_step.forecast() == pytest.approx(whole.forecast(), rel=1e-6, abs=1e-9)


def test_a_session_is_copied_saved_and_restored(run: Run, tmp_path: Path) -> None:
    """In the same state the same is foreseen; foreseeing reads nothing; one of another kind says
    so.
    """
    series = panel(5)[0]
    session = run.session().feed(series)
    said = session.forecast()
    assert said.shape == (5, 1)
    assert np.array_equal(session.forecast(), said)
    assert np.array_equal(session.copy().forecast(), said)

    session.save(tmp_path / "state")
    restored = run.session().restore(tmp_path / "state")
    assert np.array_equal(restored.forecast(), said)
    more = panel(6)[0][:3]
    assert np.array_equal(restored.feed(more).forecast(), session.feed(more).forecast())
    with pytest.raises(InputError, match="answers 5 steps at once"):
        session.forecast_step()


def test_what_is_foreseen_is_one_thing_everywhere(run: Run) -> None:
    """`predict`, `generate` and a session say the same of a series, and fewer steps are the first
    of them; a series alone has what it has among others, but for the rounding of products.
    """
    series = panel(8)
    rows = [each[:, 0].tolist() for each in series]
    answers = [row["predicted"] for row in run.predict(rows)]
    for values, said in zip(rows, answers, strict=True):
        answer, two = (pytest.approx(each, rel=1e-6) for each in (said, said[:2]))
        assert list(run.generate(values)) == answer
        assert run.session().feed(values).forecast()[:, 0].tolist() == answer
        (ahead,) = run.predict([values], horizon=2)
        assert ahead["predicted"] == two


def test_a_larger_series_has_a_larger_forecast(run: Run) -> None:
    """Scaled by series, a series times a power of two has its forecast times that, to the bit, and
    no other moves.
    """
    rows = [each[:, 0] for each in panel(9)]
    plain = [row["predicted"] for row in run.predict([row.tolist() for row in rows])]
    rows[1] = rows[1] * 2.0**20
    larger = [row["predicted"] for row in run.predict([row.tolist() for row in rows])]
    assert larger[1] == [number * 2.0**20 for number in plain[1]]
    assert [larger[0], larger[2]] == [plain[0], plain[2]]


def test_it_stands_beside_next_in_one_task(tmp_path: Path) -> None:
    """With another target alone a task forecasts the same series from the same place, beside the
    same baselines.
    """
    made = task(generation={"length": 5})
    one = recurra.run(made, data=panel(), runs=tmp_path).result
    other = recurra.run({**made, "target": {"kind": "next"}}, data=panel(), runs=tmp_path).result
    mine, theirs = one["forecast"], other["forecast"]
    assert mine["baselines"] == theirs["baselines"]
    assert all(mine[key] == theirs[key] for key in ("steps", "series"))
    assert mine["last_series"]["actual"] == theirs["last_series"]["actual"]
    assert {row["ahead"] for row in one["by_step"]} == {1, 2, 3, 4, 5}
    assert len(one["generated"]) == 5

    # Over all steps ahead the error is the mean of theirs, each as often as it was asked.
    split = load_data(resolve(made, data=panel())).splits["test"]
    asked = [int(np.maximum(split.high - split.low - h, 0).sum()) for h in range(5)]
    errors = [row["metrics"]["mae"] for row in one["by_step"]]
    assert one["metrics"]["mae"] == pytest.approx(np.average(errors, weights=asked), rel=1e-9)
    assert one["predictions"] == sum(asked)

    # So it is with each baseline, of which one is easily made by hand.
    for rule, figures in one["baselines"].items():
        errors = [row["baselines"][rule]["mae"] for row in one["by_step"]]
        assert figures["mae"] == pytest.approx(np.average(errors, weights=asked), rel=1e-9)
    values = load_data(resolve(made, data=panel())).store.values[:, 0]
    spans = list(zip(split.low.tolist(), split.high.tolist(), strict=True))
    for row in one["by_step"]:
        h = row["ahead"]
        gaps = [abs(values[at + h] - values[at]) for a, b in spans for at in range(a - 1, b - h)]
        assert row["baselines"]["naive"]["mae"] == pytest.approx(np.mean(gaps), rel=1e-9)


def test_other_data_is_measured_and_a_run_goes_on(run: Run, tmp_path: Path) -> None:
    """All of other data has figures, and so has a run that is resumed."""
    figures = run.evaluate("all", data=panel(3, count=2))
    assert figures["predictions"] > 0
    assert figures["forecast"]["steps"] == 5
    own = shutil.copytree(run.path, tmp_path / "task" / "1")
    again = recurra.resume(own, {"training.steps": 6}, data=panel())
    assert again.result["steps"] == 6


def test_a_head_is_taken_where_the_same_is_asked(run: Run, tmp_path: Path) -> None:
    """From a run of the same question the head goes on; where other steps are asked, or they are
    added to something else, it begins anew.
    """
    still = {"steps": 1, "optimizer": {"kind": "sgd", "lr": 1e-12}}
    heads = {}
    for name, changes in {
        "same": {},
        "other": {"residual": "naive"},
        "fewer": {"length": 3},
    }.items():
        made = task(
            vocabulary={"difference": 1, "scale_by": "series"},
            target={"residual": "drift", **changes},
            training=still,
        )
        begun = recurra.run(made, data=panel(), start=run.path, runs=tmp_path)
        heads[name] = begun.network.head.weight
    own = run.network.head.weight
    assert torch.allclose(heads["same"], own, atol=1e-6)
    assert not torch.allclose(heads["other"], own, atol=1e-3)
    assert len(heads["fewer"]) == 3


Change = dict[str, Any]
REFUSED: dict[str, tuple[Change, str]] = {
    "season": (
        {"target": {"residual": "seasonal_drift"}, "sequence": {"season": 0}},
        "there is no season",
    ),
    "length": ({"generation": {"length": 6}}, "answers 5 steps, and 6 are to be generated"),
    "carry": (
        {"target": {"origin": "last"}, "sequence": {"carry": True, "split_by": "position"}},
        "one origin a sequence",
    ),
    "both ways": ({"cell": {"bidirectional": True}}, "must be causal"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_read(name: str) -> None:
    """A key that cannot be followed is told with what to do."""
    tables, fact = REFUSED[name]
    with pytest.raises(InputError, match=fact):
        recurra.check(task(**tables), data=panel())


def test_symbols_are_refused() -> None:
    """Of symbols no steps are answered at once."""
    made = task(vocabulary={"kind": "character"}, encoder={"kind": "one_hot"})
    made["source"] = {"kind": "inline", "text": "abcabc" * 20}
    made["loss"] = {"kind": "cross_entropy"}
    made["sequence"] = {"length": 5}
    with pytest.raises(InputError, match="asks for numbers, but vocabulary"):
        recurra.check(made)


@pytest.mark.parametrize(
    "ask",
    [
        lambda run: list(run.generate([1.0, 2.0], 6)),
        lambda run: list(run.predict([[1.0, 2.0]], horizon=6)),
        lambda run: run.backtest(horizon=6),
    ],
)
def test_no_more_steps_are_foreseen_than_are_answered(run: Run, ask: Callable[[Run], Any]) -> None:
    """More steps than `length` are refused, with what to train for them."""
    with pytest.raises(RecurraError, match=r"answers 5 steps, and no more"):
        ask(run)


def test_short_series_are_asked_what_they_hold() -> None:
    """Series shorter than the steps ahead are asked as many as come, one of a single step none."""
    series = [np.arange(1.0, size + 1)[:, None] for size in (1, 2, 3, 4, 9)]
    for origin in ("each", "last"):
        data, network = untrained(task(target={"origin": origin}), [*series, panel()[0]])
        split = everything(data.store, 1, ahead=5, last=origin == "last")
        tally = evaluate(network, data.reader, split, data.tally())
        lengths = [1, 2, 3, 4, 9, 30]
        if origin == "last":
            expected = sum(min(5, size - 1) for size in lengths)
        else:
            expected = sum(min(5, size - 1 - at) for size in lengths for at in range(size - 1))
        assert tally.steps == expected
    assert outlook_of(data.target, data.vocabulary, 4) is not None
