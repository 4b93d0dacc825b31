"""The series that generation goes on from, chosen by its name or its number."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from asked import ENCODER, Made, made_in, refusal, table
from conftest import SERIES
from hypothesis import given
from hypothesis import strategies as st
from terminal import command
from trials import about, write

import recurra
from recurra.job.elements.numbers import TAIL
from recurra.job.run import Run

LENGTHS = {"long": TAIL + 40, "2": 9, "short one": 5, "s3": 30}
"""How many steps each series has: of the first, more than are read."""


def steps(name: str) -> list[float]:
    """Return the steps of a series."""
    return [float((index * len(name) * 7) % 11) for index in range(LENGTHS[name])]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of groups that reads differences, and knows where each step stands."""
    folder = tmp_path_factory.mktemp("panel")
    rows = [(name, y) for name in LENGTHS for y in steps(name)]
    table(folder / "data.csv", ["place", "high"], rows)
    text = about(SERIES, "csv", path="data.csv", columns=["high"], group="place")
    changes = {
        **ENCODER,
        "device.path": "native",
        "training.steps": 3,
        "sequence.split_by": "sequence",
        "sequence.split": [0.5, 0.0, 0.5],
        "vocabulary": {"kind": "numeric", "difference": 1},
    }
    return recurra.run(write(folder, text), changes, runs=folder / "runs")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


@given(name=st.sampled_from([*LENGTHS]), length=st.integers(0, 4))
def test_a_series_is_gone_on_from_its_end(name: str, length: int, run: Run) -> None:
    """As from its last steps as a prompt, which begins where they stand; by its number too."""
    last = steps(name)[-TAIL - 1 :]
    position = LENGTHS[name] - len(last)
    wanted = list(run.generate(last, length, position=position))
    number = [*LENGTHS].index(name) + 1
    assert list(run.generate(series=name, length=length)) == wanted
    assert list(recurra.load(run.path).generate(series=name, length=length)) == wanted
    if str(number) not in LENGTHS:
        assert list(run.generate(series=number, length=length)) == wanted
        assert list(run.generate(series=np.int64(number), length=length)) == wanted


def test_a_name_goes_before_a_number(run: Run) -> None:
    """The series that is called 2 is also the second; another one is the fourth."""
    assert list(run.generate(series="2")) == list(run.generate(series=2))
    assert list(run.generate(series="4")) == list(run.generate(series="s3"))


def test_without_one_it_is_the_last(run: Run) -> None:
    """As ever, and a prompt of the task gives way to one that is chosen."""
    assert list(run.generate()) == list(run.generate(series="s3"))
    asked = command("generate", run.path, "--series", "short one", "--json").tidy(0).out
    assert json.loads(asked)["generated"] == list(run.generate(series="short one"))


def test_several_columns_and_scales_of_their_own(tmp_path: Path, made: Made) -> None:
    """Rows of several numbers, and series that are scaled each by itself."""
    both = made["series"]
    (answer,) = both.predict(data=_first(both), horizon=3)
    assert list(both.generate(series="s0", length=3)) == answer["predicted"]

    panel = {"id": np.repeat(["a", "b"], 40), "y": np.arange(80.0) % 7 + 1}
    task = {
        "name": "own",
        "source": {"group": "id"},
        "vocabulary": {"kind": "numeric", "scale_by": "series"},
        "sequence": {"length": 8, "split": [0.7, 0.1, 0.2], "split_by": "time"},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "rnn", "hidden_size": 2},
        "loss": {"kind": "mse"},
        "training": {"steps": 1, "batch_size": 1, "optimizer": {"kind": "sgd", "lr": 0.01}},
        "generation": {"length": 2},
        "device": {"path": "native"},
    }
    own = recurra.run(task, data=panel, runs=tmp_path)
    wanted = list(own.generate(panel["y"][:40]))
    assert list(own.generate(series="a")) == wanted
    opened = recurra.load(own.path)
    assert list(opened.generate(series="a", data=panel)) == wanted
    with refusal("is not here", "run.generate(series=..., data=...)", "RC080"):
        opened.generate(series="a")
    with refusal("has changed", "give the data as it was", "RC044"):
        opened.generate(series="a", data={**panel, "y": panel["y"] + 1})


def _first(run: Run) -> dict[str, Any]:
    """Return the rows of the first series of a run."""
    rows = next(iter(run.split("train"))).values
    return {
        "place": ["s0"] * len(rows),
        "high": [row[0] for row in rows],
        "low": [row[1] for row in rows],
    }


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"series": "s33"}, ("no series 's33' among the 4 series", "did you mean: s3")),
        ({"series": 5}, ("no series '5'", "or a number from 1 to 4")),
        ({"series": "0"}, ("no series '0'", "allowed: long, 2, short one, s3")),
        ({"series": True}, ("series cannot be True",)),
        ({"series": ""}, ("series cannot be ''",)),
        ({"series": 1.5}, ("series cannot be 1.5",)),
        ({"series": "s3", "prompt": [1, 2]}, ("a prompt stands in its place", "give one of them")),
        ({"series": "s3", "position": 3}, ("position is that of a prompt, and there is none",)),
        ({"series": "s3", "warm": True}, ("warm reads the end of the last series", "leave warm")),
        ({"series": "s3", "covariates": {"x": [1]}}, ("this run reads no covariates",)),
        ({"data": {}}, ("data is what a series is chosen of, and none is named",)),
    ],
)
def test_what_cannot_be_chosen_is_refused(
    asked: dict[str, Any], words: tuple[str, ...], run: Run
) -> None:
    """Before the first step, with the nearest name."""
    with refusal(*words, "RC080"):
        run.generate(**asked)


def test_symbols_have_no_series(made: Made, run: Run) -> None:
    """They go on from a prompt; and nothing is chosen beside one."""
    command("generate", made["prose"].path, "--series", "1").fails(
        2, "series is for numbers", "give a prompt", "RC080"
    )
    command("generate", run.path, "--series", "s3", "--values", "1,2").fails(
        2, "a prompt stands in its place", "RC080"
    )
    with refusal("nothing is generated where target 'label' is asked"):
        made["words"].generate(series="a")


def test_data_that_is_gone_is_told(run: Run) -> None:
    """With what does without it."""
    data = run.path.parents[2] / "data.csv"
    whole = data.read_bytes()
    try:
        data.write_bytes(whole + b"s3,4\n")
        with refusal("has changed since it was made", "--values", "RC044"):
            run.generate(series="s3")
        data.unlink()
        with refusal("there is no file", "--values", "RC040"):
            run.generate(series="s3")
        assert list(run.generate())
    finally:
        data.write_bytes(whole)
