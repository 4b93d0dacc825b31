"""What a direct horizon reads of the steps ahead, and the decoders that answer them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import recurra
from recurra.data.segments import groups
from recurra.data.splits import everything
from recurra.errors import InputError
from recurra.generate.companion import Companion
from recurra.generate.session import Session
from recurra.job.build import fresh_network
from recurra.job.data import Data, load_data
from recurra.job.run import Run
from recurra.model import decoder as decoders
from recurra.model.network import Network
from recurra.model.stepper import AFTER
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate

AHEAD, STEPS = 4, 24
DECODERS = ("linear", "cell")
ROLES: dict[str, list[str]] = {"future_covariates": ["price", "sky"], "static_covariates": ["area"]}
NAMES = ("id", "y", "price", "sky", "load", "area")


def rows(seed: int = 0, series: int = 3, ahead: int = AHEAD + 2) -> list[list[Any]]:
    """Return the rows of some series, the last with what is known of the steps to come."""
    draw = np.random.default_rng(seed)
    return [
        [
            f"s{index}",
            float(draw.normal()) if step < STEPS + index else None,
            float(draw.normal() * 5 + 9),
            str(draw.choice(["sun", "rain"])),
            float(draw.normal()) if step < STEPS + index else None,
            index * 1.5,
        ]
        for index in range(series)
        for step in range(STEPS + index + ahead)
    ]


def written(path: Path, table: list[list[Any]]) -> str:
    """Write a table as csv; return where it lies."""
    lines = [",".join(NAMES)]
    lines += [",".join("" if cell is None else str(cell) for cell in row) for row in table]
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def task(path: str, decoder: str, source: Any = None, **tables: Any) -> dict[str, Any]:
    """Return a small task of such a table."""
    made: dict[str, Any] = {
        "name": decoder,
        "source": {
            "kind": "csv",
            "path": path,
            "columns": ["y"],
            "group": "id",
            **(ROLES if source is None else source),
        },
        "vocabulary": {"kind": "numeric", "difference": 1},
        "target": {"kind": "horizon", "length": AHEAD, "decoder": decoder},
        "sequence": {"length": 7, "split": [0.7, 0.1, 0.2], "split_by": "time"},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 3},
        "loss": {"kind": "mse"},
        "training": {"steps": 2, "batch_size": 2, "optimizer": {"kind": "sgd", "lr": 0.01}},
        "device": {"kind": "cpu", "path": "eager", "precision": "float64"},
    }
    for name, table in tables.items():
        made[name] = {**made.get(name, {}), **table}
    return made


def untrained(made: dict[str, Any]) -> tuple[Data, Network]:
    """Return the data of a task, and its network as it begins."""
    resolved = resolve(made)
    data = load_data(resolved)
    network, _ = fresh_network(resolved, data)
    return data, network.eval()


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ahead")


@pytest.fixture(scope="module", params=DECODERS)
def run(request: Any, home: Path) -> Run:
    """Return a run with covariates of either decoder."""
    path = written(home / "data.csv", rows())
    return recurra.run(task(path, request.param), runs=home / "runs")


def forecast(run: Run, path: str, horizon: int | None = None) -> dict[str, list[float]]:
    """Return what is said of each series of a file."""
    answers = run.predict(file=path, horizon=horizon)
    return {answer["row"]: answer["predicted"] for answer in answers}


def one_by_one(network: Network, x: Tensor, coming: Tensor | None) -> Tensor:
    """Return the answer `[H, F]` of the last of some steps `[T, D]`, all of it step by step."""
    hidden = x[None]
    for layer in network.layers:
        state = layer.initial_state(1, device=x.device, dtype=x.dtype)
        outputs = []
        for step in hidden[0]:
            output, state = layer.step(step[None], state)
            outputs.append(output)
        hidden = torch.stack(outputs, dim=1)
    left, answers = hidden[0, -1], []

    size = network.loss.output_size
    state = None
    for h in range(AHEAD):
        known = None if coming is None else coming[h]
        if network.decoder is None:
            own = slice(h * size, (h + 1) * size)
            answer = network.head.weight[own] @ left + network.head.bias[own]
            if known is not None:
                assert network.beside is not None
                answer = answer + network.beside.weight[h] @ known
        else:
            cell = network.decoder.cell
            if state is None:
                state = cell.initial_state(1, device=x.device, dtype=x.dtype)
            read = left if known is None else torch.cat([left, known])
            output, state = cell.step(read[None], state)
            answer = network.head(output[0])
        answers.append(answer)
    return torch.stack(answers)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("gru", "eager"),
        pytest.param("lstm", "native", marks=pytest.mark.slow),
        pytest.param("mingru", "scan", marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize("source", [ROLES, {}], ids=["covariates", "alone"])
@pytest.mark.parametrize("decoder", DECODERS)
def test_an_answer_is_that_of_its_origin_alone(
    home: Path, decoder: str, source: dict[str, Any], kind: str, path: str
) -> None:
    """Whatever stands beside an origin in a batch, its answers are those that cell and head give
    one step after the other, from its own past and what the file says of the steps ahead.
    """
    file = written(home / "brute.csv", rows(3, ahead=AHEAD if source else 0))
    made = task(file, decoder, source, cell={"kind": kind, "num_layers": 2})
    made["device"]["path"] = path
    made["vocabulary"] = {"kind": "numeric"}
    data, network = untrained(made)
    companions, split = data.reader.companions, everything(data.store, 1, ahead=AHEAD)
    values = torch.from_numpy(data.vocabulary.encode(data.store.values.copy()))
    known = None
    if companions is not None:
        known = torch.from_numpy(companions.coming(np.array([-1]), len(values))[0])

    seen = 0
    for group in groups(data.reader, split, rows=2, window=5):
        states = None
        for batch in group:
            with torch.no_grad():
                hidden, states = network.hidden(batch.x, states)
                output = network.answer(hidden, batch.ahead())
            for row, step in torch.nonzero(batch.mask.any(dim=-1)).tolist():
                at = int(batch.first[row]) + step
                begin = at - int(batch.position[row]) - step
                x, coming = values[begin : at + 1], None
                if known is not None:
                    area = torch.full((len(x), 1), float(batch.x[row, step, -1]))
                    x = torch.cat([x, known[begin : at + 1], area], dim=1)
                    after = known[at + 1 : at + 1 + AHEAD]
                    coming = torch.zeros(AHEAD, known.shape[1], dtype=torch.float64)
                    coming[: len(after)] = after
                with torch.no_grad():
                    expected = one_by_one(network, x, coming)
                asked = batch.mask[row, step]
                torch.testing.assert_close(output[row, step][asked], expected[asked])
                seen += int(asked.sum())
    lengths = data.store.ends - data.store.starts
    assert seen == sum(min(AHEAD, int(size) - 1 - at) for size in lengths for at in range(size))


@given(data=st.data())
@settings(deadline=None, max_examples=8)
def test_what_is_known_later_moves_nothing(run: Run, home: Path, data: st.DataObject) -> None:
    """A future covariate moves the answer to its own step, and with a cell those after it: none
    before it, none if it lies behind them all, and none of another series.
    """
    path = home / "moved.csv"
    table = rows()
    before = forecast(run, written(path, table))
    series = data.draw(st.integers(0, 2))
    step = data.draw(st.integers(0, AHEAD + 1))
    mine = [row for row in table if row[0] == f"s{series}" and row[1] is None]
    mine[step][2] += 3.0
    after = forecast(run, written(path, table))
    cell = run.network.decoder is not None
    for name, steps in before.items():
        changed = [h for h in range(AHEAD) if after[name][h] != steps[h]]
        expected: list[int] = []
        if name == f"s{series}" and step < AHEAD:
            expected = list(range(step, AHEAD)) if cell else [step]
        assert changed == expected


def test_one_forecast_whoever_makes_it(run: Run, home: Path) -> None:
    """A file of many series and of one, a session told at once, step by step, at the end, or saved
    and restored on the way, what the run recorded, and fewer steps say the same.
    """
    table = rows()
    told = forecast(run, written(home / "same.csv", table))["s2"]
    mine = [row for row in table if row[0] == "s2"]
    alone = forecast(run, written(home / "alone.csv", mine))
    assert alone == {"s2": pytest.approx(told, rel=1e-9)}
    assert run.result["generated"] == pytest.approx(told) == list(run.generate())

    columns = {name: [row[NAMES.index(name)] for row in mine] for name in NAMES}
    past = [value for value in columns["y"] if value is not None]
    names, static = ROLES["future_covariates"], {"area": 3.0}
    whole = {name: columns[name] for name in names}
    at_once = run.session(static_covariates=static).feed(past, whole)
    assert at_once.forecast()[:, 0].tolist() == pytest.approx(told)
    assert at_once.forecast(2)[:, 0].tolist() == pytest.approx(told[:2])
    prompted = run.generate(past, AHEAD, covariates=whole, static_covariates=static)
    assert list(prompted) == pytest.approx(told)

    steps = run.session(static_covariates=static)
    for at, value in enumerate(past):
        steps.feed([value], {name: [columns[name][at]] for name in names})
    steps.save(home / "state.safetensors")
    restored = run.session(static_covariates={"area": 0.0}).restore(home / "state.safetensors")
    later = {name: columns[name][len(past) :][:AHEAD] for name in names}
    for session in (steps, restored, steps.copy()):
        assert session.forecast(covariates=later)[:, 0].tolist() == pytest.approx(told)
        assert np.array_equal(session.forecast(), session.forecast(covariates=later))
    assert steps.expected().shape == (1, AHEAD, 1)


def test_what_is_missing_is_named(run: Run, home: Path) -> None:
    """Of a session, a prompt and a file: which covariates, and how many steps they reach."""
    names = ROLES["future_covariates"]
    session = run.session(static_covariates={"area": 1.0})
    with refusal("nothing has been read"):
        session.forecast()
    session.feed([0.0, 1.0, 2.0], {"price": [1.0, 2.0, 3.0, 4.0], "sky": ["sun"] * 4})
    with refusal("1 of 4 steps", "of step 2 ahead", "price, sky", "steps = 1"):
        session.forecast()
    with refusal("1 of 2 steps can be forecast"):
        session.forecast(2)
    assert session.forecast(1).shape == (1, 1)
    with refusal("'sky' of the steps ahead is missing"):
        session.forecast(covariates={"price": [1.0] * 4})
    with refusal("3 of 4 steps can be forecast"):
        session.forecast(covariates={"price": [1.0] * 3, "sky": ["sun"] * 3})
    with refusal("'price'", "at step 1", "finite number"):
        session.forecast(covariates={"price": [1.0, float("nan")] * 2, "sky": ["sun"] * 4})

    path = written(home / "ends.csv", rows(ahead=3))
    with refusal("row s0", "3 of 4 steps can be forecast", "step 4 ahead", "horizon = 3"):
        forecast(run, path)
    assert len(forecast(run, path, 3)["s1"]) == 3
    with refusal("1 of 4 steps can be forecast", *names):
        list(run.generate(length=AHEAD, data=None, prompt=[1.0, 2.0], static_covariates={
            "area": 1.0}, covariates={"price": [1.0] * 3, "sky": ["sun"] * 3}))  # fmt: skip


def test_the_last_origins_are_asked_what_came(home: Path) -> None:
    """Where nothing is known behind the end of a series, its last origins are asked and measured
    as they are without covariates; what is generated is what can be known, nothing.
    """
    found = {}
    for name, source in {"beside": ROLES, "alone": {}}.items():
        path = written(home / "ends_there.csv", rows(ahead=0))
        data, network = untrained(task(path, "cell", source))
        whole = everything(data.store, 1, ahead=AHEAD)
        found[name] = evaluate(network, data.reader, whole, data.tally()).steps
    assert found["beside"] == found["alone"] > 0
    run = recurra.run(task(path, "linear", ROLES, training={"steps": 1}), runs=home / "runs")
    assert run.result["generated"] == []
    assert run.result["forecast"]["steps"] == AHEAD
    done = run.backtest(folds=1, horizon=2, backtests=home / "backtests")
    assert np.isfinite(done.result["metrics"]["mae"])


def test_a_run_goes_on_bit_by_bit(run: Run, home: Path) -> None:
    """Resumed it is what it would have been; opened it says what it said; both its parts are told
    by `check`.
    """
    decoder = run.resolved.target.decoder
    made = task(str(home / "data.csv"), decoder, training={"steps": 4})
    resumed = recurra.resume(run.path, {"training.steps": 4})
    fresh = recurra.run({**made, "name": "fresh"}, runs=home / "runs")
    for name, weight in fresh.network.state_dict().items():
        assert torch.equal(weight, resumed.network.state_dict()[name])
    opened = recurra.load(run.path)
    assert opened.evaluate("test")["metrics"] == resumed.evaluate("test")["metrics"]

    parts = {part["name"]: part["parameters"] for part in recurra.check(made)["layers"]}
    coming = 1 + 3  # price, and sky: sun, rain, unknown
    if decoder == "linear":
        assert parts["covariates ahead"] == AHEAD * coming
        assert parts["head"] == AHEAD * (3 + 1)
    else:
        assert parts["decoder"] == 3 * 3 * (3 + coming) + 3 * 3 * 3 + 2 * 3 * 3
        assert parts["head"] == 3 + 1


def test_many_origins_are_decoded_in_parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In parts, of which the way back makes each anew, losses and gradients are those of all at
    once; what is not asked is not decoded.
    """
    path = written(home / "parts.csv", rows(5))
    data, network = untrained(task(path, "cell"))
    batch = next(iter(data.feed.epoch(0)))
    places = batch.mask.flatten().nonzero()[::3, 0]
    found = []
    counts: list[int] = []
    network.decoder.register_forward_hook(lambda module, x, y: counts.append(len(y)))
    for held in (decoders.HELD, network.decoder.held * 2):
        monkeypatch.setattr(decoders, "HELD", held)
        network.zero_grad()
        hidden, _ = network.hidden(batch.x)
        losses = network.losses(hidden, batch.y, places, batch.ahead())
        losses.sum().backward()
        found.append([losses, *(weight.grad for weight in network.parameters())])
    for whole, parts in zip(*found, strict=True):
        torch.testing.assert_close(whole, parts)
    origins = len({place // AHEAD for place in places.tolist()})
    assert counts[0] == origins and max(counts[1:]) == 2


@settings(max_examples=5, deadline=None)
@given(st.floats(-0.95, 0.95), st.floats(-2, 2))
def test_an_autoregression_by_hand(home: Path, a: float, c: float) -> None:
    """Of y[t+1] = a y[t] + c price[t+1] a cell that goes on by itself knows every step ahead: the
    state is y less a constant, and a step of it is that equation. A linear head has a^h for it.
    """
    small = 1e-4
    draw = np.random.default_rng(1)
    table, y = [], 0.0
    for _ in range(40):
        price = float(draw.normal())
        y = a * y + c * price
        table.append(["s0", y, price, "sun", 0.0, 1.0])
    path = written(home / "ar.csv", table)
    for decoder in DECODERS:
        made = task(
            path,
            decoder,
            {"future_covariates": ["price"]},
            cell={"kind": "rnn", "hidden_size": 2},
            vocabulary={"kind": "numeric", "scale": "none", "difference": 0},
        )
        data, network = untrained(made)
        with torch.no_grad():
            for weight in network.parameters():
                weight.zero_()
            (first, *rest) = network.cells
            # What is left at an origin is small y.
            weights_of(first, 2, 2)[0][0, 0] = small
            if decoder == "cell":
                # s[h] = a s[h-1] + (a - 1) y + c price[h], which is y[h] - y.
                of_input, of_state = weights_of(rest[0], 3, 2)
                of_input[0, 0], of_input[0, 2] = a - 1, c * small
                of_state[0, 0] = a
                # The second unit hands y on, small.
                of_input[1, 0] = 1.0
                network.head.weight[0] = torch.tensor([1 / small, 1 / small])
            else:
                for h in range(AHEAD):
                    network.head.weight[h, 0] = a ** (h + 1) / small
                    network.beside.weight[h, 0, 0] = c
        tally = evaluate(network, data.reader, everything(data.store, 1, ahead=AHEAD), data.tally())
        steps = {row["ahead"]: row["metrics"]["mae"] for row in tally.detail()["by_step"]}
        if decoder == "cell":
            assert max(steps.values()) < 1e-4
        else:
            # Of the prices between it knows nothing.
            assert steps[1] < 1e-4


def weights_of(cell: Any, inputs: int, hidden: int) -> tuple[Tensor, Tensor]:
    """Return the weights of a plain cell for what it reads and for its state."""
    matrices = [weight for weight in cell.parameters() if weight.dim() == 2]
    of_input = next(w for w in matrices if w.shape == (hidden, inputs))
    of_state = next(w for w in matrices if w.shape == (hidden, hidden) and w is not of_input)
    return of_input, of_state


def test_a_linear_decoder_is_what_it_was(home: Path) -> None:
    """Without covariates of the future it has the head alone, and its name says nothing new."""
    path = written(home / "plain.csv", rows(ahead=0))
    made = task(path, "linear", {"static_covariates": ["area"]})
    _, named = untrained(made)
    del made["target"]["decoder"]
    _, unnamed = untrained(made)
    one, other = named.state_dict(), unnamed.state_dict()
    assert list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)
    rest = [name for name in one if not name.startswith(("layers.", "encoder."))]
    assert rest == ["head.weight", "head.bias"]


def test_past_covariates_reach_the_decoders_by_the_state(home: Path) -> None:
    """Beside those of the future, those of the past end no forecast."""
    path = written(home / "past.csv", rows())
    made = task(path, "cell", {**ROLES, "past_covariates": ["load"]})
    run = recurra.run(made, runs=home / "runs")
    told = forecast(run, path)
    assert {len(steps) for steps in told.values()} == {AHEAD}
    assert run.result["generated"] == pytest.approx(told["s2"])


def test_another_decoder_begins_its_head_anew(run: Run, home: Path) -> None:
    """From a run of the same decoder all goes on; of the other, its answers begin anew."""
    own, weights = run.resolved.target.decoder, recurra.load(run.path).network.state_dict()
    for decoder in DECODERS:
        made = task(str(home / "data.csv"), decoder, training={
            "steps": 1, "optimizer": {"kind": "sgd", "lr": 1e-12}})  # fmt: skip
        begun = recurra.run({**made, "name": "begun"}, start=run.path, runs=home / "runs")
        for name, weight in begun.network.state_dict().items():
            old = weights.get(name)
            taken = old is not None and torch.allclose(weight, old, atol=1e-9)
            assert taken == (decoder == own or name.startswith(("layers.", "encoder.")))


@pytest.mark.parametrize("decoder", [pytest.param("linear", marks=pytest.mark.slow), "cell"])
def test_a_kernel_of_steps_leaves_what_the_network_does(home: Path, decoder: str) -> None:
    """Read one by one, by the compiled step from `AFTER` on, a series with covariates has the
    forecast that it has read at once.
    """
    draw = np.random.default_rng(2)
    table = [
        ["s0", float(value), float(value) * 2 + step % 3, "sun", 0.0, 1.0]
        for step, value in enumerate(draw.normal(size=AFTER + 40))
    ]
    made = task(written(home / "long.csv", table), decoder, device={"path": "auto"})
    data, network = untrained(made)
    outlook, known = data.reader.outlook, data.covariates
    assert known is not None

    columns = {name: [row[NAMES.index(name)] for row in table] for name in NAMES}
    names = ROLES["future_covariates"]
    later = {name: columns[name][:AHEAD] for name in names}
    found = []
    for step in (len(table), 1):
        companion = Companion.of(known, {"area": 1.0})
        session = Session(network, data.vocabulary, outlook=outlook, companion=companion)
        for at in range(0, len(table), step):
            beside = {name: columns[name][at : at + step] for name in names}
            session.feed(columns["y"][at : at + step], beside)
        found.append(session.forecast(covariates=later))
    assert session.stepper.made >= AFTER and session.stepper.kernel is not None
    assert found[1] == pytest.approx(found[0], rel=1e-6, abs=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lru", "mlstm", "gated_delta", "qrnn", "slstm", "rglru"])
def test_any_cell_decodes(home: Path, kind: str) -> None:
    """A cell of any kind can go on, and its forecast is one, whatever is asked beside it."""
    path = written(home / f"{kind}.csv", rows())
    made = task(path, "cell", cell={"kind": kind, "hidden_size": 4}, device={"path": "auto"})
    run = recurra.run(made, runs=home / "runs")
    told = forecast(run, path)
    for name, steps in told.items():
        mine = [row for row in rows() if row[0] == name]
        assert forecast(run, written(home / "one.csv", mine))[name] == pytest.approx(steps)


def test_a_prompt_with_no_covariates_is_refused(run: Run) -> None:
    """A session that reads covariates is told which are missing."""
    with pytest.raises(InputError, match="'price', 'sky' of 1 step are missing"):
        run.session(static_covariates={"area": 1.0}).feed([1.0])


def test_a_trace_holds_what_the_decoder_says(run: Run) -> None:
    """What the head reads in a forecast is the trace of the decoder's cell, with its covariates.

    Where those of the steps ahead are not given there is none; of a window they are those of its
    own steps ahead.
    """
    table = [row for row in rows(5, series=1)]
    columns = dict(zip(NAMES, map(list, zip(*table, strict=True)), strict=True))
    values, future = columns["y"][:STEPS], {name: columns[name] for name in ("price", "sky")}
    whole = {
        "values": values,
        "covariates": future,
        "static_covariates": {"area": columns["area"][0]},
    }
    if run.network.decoder is None:
        assert run.trace(whole).decoder is None
        return
    read: list[Tensor] = []
    hook = run.network.head.register_forward_pre_hook(lambda head, given: read.append(given[0]))
    list(run.predict([whole], horizon=AHEAD))
    hook.remove()
    decoder = run.trace(whole).decoder
    assert decoder is not None and decoder.output.shape == (AHEAD, 3)
    assert np.allclose(decoder.output, read[-1].reshape(-1, AHEAD, 3)[-1].numpy(), atol=1e-12)
    assert np.allclose(decoder.states["h"], decoder.output) and set(decoder.gates) >= {"r", "z"}
    assert decoder.gradients.shape == (0, 0) and decoder.memory() == 0

    few = {name: column[:STEPS] for name, column in future.items()}
    assert run.trace({**whole, "covariates": few}).decoder is None
    part = {
        **whole,
        "values": values[:15],
        "covariates": {name: column[: 15 + AHEAD] for name, column in future.items()},
    }
    window = run.trace(whole, begin=3, steps=12).decoder
    shorter = run.trace(part).decoder
    assert window is not None and shorter is not None
    assert np.allclose(window.output, shorter.output, atol=1e-12)
