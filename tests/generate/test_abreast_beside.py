"""Forecasts of series with covariates side by side are those of sessions one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.contracts.source import PAST
from recurra.errors import InputError
from recurra.generate import abreast
from recurra.generate.abreast import Start, forecasts
from recurra.generate.companion import Companion
from recurra.generate.loop import numbers
from recurra.generate.session import Session
from recurra.job.build import fresh_network
from recurra.job.data import Data, load_data
from recurra.model.network import Network
from recurra.resolve import resolve

HORIZON = 4
KNOWN = {"future_covariates": ["price", "sky"], "static_covariates": ["area"]}
CALENDAR = {"time": "ds", "calendar": ["month", "weekday"]}
NEXT = {"kind": "next"}
KINDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "future": (KNOWN, NEXT),
    "static": ({"static_covariates": ["area"]}, NEXT),
    "calendar": (CALENDAR | {"static_covariates": ["area"]}, NEXT),
    "future and calendar": (CALENDAR | KNOWN, NEXT),
    "past": (KNOWN | {"past_covariates": ["load"]}, NEXT),
    "at once": (KNOWN | CALENDAR | {"past_covariates": ["load"]}, {"kind": "horizon", "length": 5}),
    "by a decoder": (KNOWN, {"kind": "horizon", "length": 5, "decoder": "cell"}),
}


class Built:
    """The data of a task and its network, whose numbers are not to be printed."""

    def __init__(self, data: Data, network: Network) -> None:
        self.data, self.network = data, network


@pytest.fixture(scope="module", params=KINDS)
def built(request: Any, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Return the data of a task with covariates, and its network as it begins."""
    draw = np.random.default_rng(0)
    lines = ["id,ds,y,price,sky,load,area"]
    for index in range(5):
        days = np.datetime64("2024-01-20") + np.arange(20 + 6 * index)
        lines += [
            f"s{index},{day},{draw.normal()},{draw.normal() * 5},"
            f"{draw.choice(['sun', 'rain'])},{draw.normal()},{index}"
            for day in days
        ]
    path = tmp_path_factory.mktemp("beside") / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    source, target = KINDS[request.param]
    task = {
        "schema": 1,
        "source": {"kind": "csv", "path": str(path), "columns": ["y"], "group": "id", **source},
        "vocabulary": {"kind": "numeric", "difference": 1, "scale_by": "series"},
        "target": target,
        "sequence": {"length": 7, "split": ["rest", 0, 6], "split_by": "time"},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 3},
        "loss": {"kind": "mse"},
        "training": {"batch_size": 2},
        "device": {"kind": "cpu", "path": "eager", "precision": "float64"},
    }
    resolved = resolve(task)
    data = load_data(resolved)
    network, _ = fresh_network(resolved, data)
    return Built(data, network.eval())


def start(data: Data, sequence: int, length: int, ahead: int) -> Start:
    """Return a series up to an origin, with what is known of so many steps after it."""
    companions = data.reader.companions
    assert companions is not None
    first = int(data.store.starts[sequence])
    history = np.asarray(data.store.values[first : first + length])
    beside = companions.stretch(first, first + length, first + length + ahead)
    return Start(history, 0, history, beside)


def alone(data: Data, network: Network, own: Start, steps: int) -> Any:
    """Return the forecast of a session."""
    companions = data.reader.companions
    assert companions is not None
    assert own.beside is not None
    session = Session(
        network,
        data.vocabulary,
        known=own.known,
        outlook=data.reader.outlook,
        companion=Companion.beside(companions.vocabulary, own.beside),
    )
    session.feed_ids(own.history, own.beside)
    return np.stack([*numbers(session, steps)])


def side_by_side(data: Data, network: Network, starts: list[Start], steps: int) -> list[Any]:
    companions = data.reader.companions
    assert companions is not None
    reader = data.reader
    return [
        *forecasts(network, data.vocabulary, starts, steps, reader.outlook, companions.vocabulary)
    ]


@settings(max_examples=8)
@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(3, 14)), min_size=1, max_size=7),
    st.integers(1, 4),
    st.integers(1, HORIZON),
)
def test_each_is_forecast_as_alone(
    built: Built, drawn: list[tuple[int, int]], size: int, steps: int
) -> None:
    """Whatever the lengths, the company and how many steps are asked."""
    data, network = built.data, built.network
    vocabulary = data.reader.companions.vocabulary  # type: ignore[union-attr]
    if PAST in vocabulary.tables and data.reader.outlook is None:
        steps = 1
    starts = [start(data, sequence, length, steps) for sequence, length in drawn]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(abreast, "SERIES", size)

        def alone_no_more(*given: Any) -> None:
            raise AssertionError("nothing is read alone of which enough is known")

        patch.setattr(abreast, "_alone", alone_no_more)
        made = side_by_side(data, network, starts, steps)
    assert len(made) == len(starts)
    for own, found in zip(starts, made, strict=True):
        np.testing.assert_allclose(found, alone(data, network, own, steps), rtol=1e-9, atol=1e-9)


def test_what_is_not_known_is_asked_for_as_by_a_session(built: Built) -> None:
    """Where the covariates of the steps ahead end too early the error is that of a session."""
    data, network = built.data, built.network
    starts = [start(data, 0, 9, HORIZON), start(data, 1, 9, HORIZON - 1)]
    try:
        alone(data, network, starts[1], HORIZON)
    except InputError as error:
        with pytest.raises(InputError) as found:
            side_by_side(data, network, starts, HORIZON)
        assert str(found.value) == str(error)
    else:
        assert len(side_by_side(data, network, starts, HORIZON)) == len(starts)
