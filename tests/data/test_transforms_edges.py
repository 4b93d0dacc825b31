"""What transforms of numbers owe at their edges: short series, odd prompts, other targets, refused
numbers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SERIES
from trials import about, as_before, write

import recurra
from recurra import Transform
from recurra.contracts.transform import Floats
from recurra.data.chain import Chain
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.errors import InputError, RunError, Unverified
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra_vocabularies.numeric import Numeric, NumericOptions

WAVE = [float(100 + 3 * i + (i % 4) * 5 + i * 7 % 5) for i in range(60)]

AHEAD = """\
from recurra import Component, Distance, Options, Target, hookimpl


class AheadOptions(Options):
    pass


class Next(Target[AheadOptions]):
    asks, reach = "input", 1

    def metrics(self, elements):
        return (Distance,)

    def judged(self, elements, rows, columns):
        return "mae"


class Ahead(Next):
    reach = 3


@hookimpl
def recurra_components():
    return [
        Component(
            kind="target", name=name.lower(), summary="numbers",
            target=f"ahead:{name}", options="ahead:AheadOptions",
        )
        for name in ("Next", "Ahead")
    ]
"""


def test_a_warm_prompt_stands_after_the_series(tmp_path: Path) -> None:
    """What is read before a prompt counts: one more number is enough to go on from."""
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    changes = {"vocabulary.difference": 1, "generation.prompt": [290.0], "generation.warm": True}
    run = recurra.run(path, changes, runs=tmp_path / "runs")
    assert len(list(run.generate())) == 3


def test_a_short_last_series_ends_no_run(tmp_path: Path) -> None:
    """Without a prompt there is none to be blamed: generation goes on from a series that is long
    enough, or it is told.

    A task with no transform is sound.
    """
    path = write(tmp_path, about(SERIES, "inline", series=[WAVE, WAVE[3:], [5.0]]))
    recurra.check(path, {"sequence.split_by": "time"})
    recurra.check(path, {"sequence.split_by": "time", "vocabulary.difference": 1})


def test_a_feed_that_is_refused_has_not_been_read(tmp_path: Path) -> None:
    """A session goes on after an error as if the call had not been made."""
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    run = recurra.run(path, {"vocabulary.difference": 1}, runs=tmp_path / "runs")
    session = run.session().feed(WAVE[:10])
    with pytest.raises(InputError):
        session.feed([1e139])
    assert session.feed(WAVE[10:12]).forecast_step() == pytest.approx(
        run.session().feed(WAVE[:12]).forecast_step()
    )


def test_a_number_without_a_logarithm_is_named_where_there_are_differences(tmp_path: Path) -> None:
    """Its place is told in every split."""
    values = [*WAVE[:57], 0.0, *WAVE[58:]]
    path = write(tmp_path, about(SERIES, "inline", values=values))
    with pytest.raises(InputError, match="position 57, in the test split"):
        recurra.check(path, {"vocabulary.log": True, "vocabulary.difference": 1})


def test_series_too_short_to_be_forecast_are_told(tmp_path: Path) -> None:
    """Those that begin with too little to go on from are left out, and a note says how many."""
    series = [
        [float(100 * k + i * i % 7 + i) for i in range(4 if k % 2 else 12)] for k in range(12)
    ]
    changes = {
        "vocabulary.seasonal_difference": 5,
        "sequence.split": [4, 0, 8],
        "training.batch_size": 1,
    }
    run = recurra.run(
        write(tmp_path, about(SERIES, "inline", series=series)), changes, runs=tmp_path / "runs"
    )
    told = run.result["forecast"]
    assert 0 < told["series"] < 8
    assert any(
        note.startswith(f"{8 - told['series']} series were not forecast") for note in told["notes"]
    )


@pytest.mark.parametrize("option", [{"difference": 1}, {"seasonal_difference": 3}])
def test_series_are_forecast_from_the_first_step_that_can_be(
    option: dict[str, int], tmp_path: Path
) -> None:
    """A series no longer than horizon and lag is forecast as far as it goes; none is left out
    without a word.
    """
    series = [[float(100 * k + i * i % 7 + i) for i in range(10)] for k in range(12)]
    changes: dict[str, Any] = {f"vocabulary.{name}": value for name, value in option.items()}
    changes |= {"sequence.split": [0.5, 0.25, 0.25], "generation.length": 9}
    run = recurra.run(
        write(tmp_path, about(SERIES, "inline", series=series)), changes, runs=tmp_path / "runs"
    )
    assert run.result.get("forecast", {}).get("series") == 3


def ahead(tmp_path: Path, kind: str) -> Path:
    """Write a task whose target says numbers that are not read on."""
    (tmp_path / "ahead.py").write_text(AHEAD)
    text = about(SERIES, "inline", values=WAVE).replace("[generation]\nlength = 3\n", "")
    return write(
        tmp_path,
        text + f'[target]\nkind = "file:ahead.py/{kind}"\n[plugins]\nfiles = ["ahead.py"]\n',
    )


def test_answers_to_each_step_are_in_the_units_of_the_data(tmp_path: Path) -> None:
    """What is predicted is what the figures are of, whether or not it can be read on."""
    run = recurra.run(ahead(tmp_path, "next"), {"vocabulary.difference": 1}, runs=tmp_path / "runs")
    (row,) = run.predict([WAVE])
    said = np.array(row["predicted"]).reshape(-1)[47:-1]
    assert np.abs(said - WAVE[48:]).mean() == pytest.approx(run.result["metrics"]["mae"], rel=1e-4)


def test_answers_further_ahead_are_refused(tmp_path: Path) -> None:
    """A difference is undone one step ahead: further on, it would be by what has not come yet."""
    with pytest.raises(InputError, match="3 steps ahead"):
        recurra.check(ahead(tmp_path, "ahead"), {"vocabulary.difference": 1})
    recurra.check(ahead(tmp_path, "ahead"))


def test_the_cure_for_series_with_folds_can_be_done(tmp_path: Path) -> None:
    """`split_by` is refused beside folds, and so is no cure there."""
    text = about(
        SERIES, "inline", series=[WAVE, WAVE[:20], WAVE[2:]], folds=["train", "validation", "test"]
    )
    path = write(tmp_path, text.replace("split = [0.6, 0.2, 0.2]\n", ""))
    with pytest.raises(InputError) as caught:
        recurra.check(path, {"vocabulary.scale_by": "series"})
    assert "split_by" not in caught.value.problems[0].cure


def test_differences_that_are_all_alike_are_told_as_such(tmp_path: Path) -> None:
    """A season that is the same to the bit leaves nothing to learn; another scale changes nothing
    of that.
    """
    path = write(tmp_path, about(SERIES, "inline", values=[float(i % 4) for i in range(40)]))
    with pytest.raises(InputError) as caught:
        recurra.check(path, {"vocabulary.seasonal_difference": 4})
    problem = caught.value.problems[0]
    assert "difference" in problem.fact + problem.key and "standard" not in problem.cure


class Mean(Transform):
    """Numbers less their mean in training, of which each series begins."""

    width = 1
    mean: Floats

    def fit(self, runs: Any) -> None:
        """Learn the mean."""
        self.mean = np.concatenate(list(runs)).mean(axis=0)

    def start(self, known: Floats) -> Floats:
        """Return it."""
        return self.mean[None]

    def apply(self, values: Floats, state: Floats) -> tuple[Floats, Floats]:
        """Take it."""
        return values - state[0], state

    def origins(self, values: Floats, state: Floats) -> Floats:
        """Return it for each row."""
        return np.broadcast_to(state, (len(values) + 1, *state.shape))

    def invert(self, values: Floats, origins: Floats) -> Floats:
        """Add it."""
        return values + origins[:, 0]


def test_a_transform_is_fitted_before_it_is_asked_to_start() -> None:
    """`start` may hang on what `fit` has learned."""
    vocabulary = Numeric(NumericOptions())
    vocabulary.fit([np.array(WAVE)[:, None]])
    chain = Chain(vocabulary)
    chain.steps = (Mean(),)
    store = Store(np.array(WAVE)[:, None], np.array([0]), "")
    chain.fit(store, Split(*(np.array([at]) for at in (0, 40, 0))))


def test_a_series_of_the_task_keeps_its_scale(tmp_path: Path) -> None:
    """Forecasts of a run scale each series by its part in training, as its other figures do, and as
    the page says.
    """
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    run = recurra.run(path, {"vocabulary.scale_by": "series"}, runs=tmp_path / "runs")
    session = run.session().feed(WAVE[:36]).feed(WAVE[36:48])
    wanted = [float(session.forecast_step()[0]) for _ in range(3)]
    found = np.array(run.result["forecast"]["last_series"]["model"])[:, 0]
    assert found.tolist() == pytest.approx(wanted, rel=1e-5)


def test_a_scale_of_its_own_does_not_depend_on_how_a_series_is_fed(tmp_path: Path) -> None:
    """In parts or whole a session says the same, or it is refused before too little is known to
    scale by.
    """
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    run = recurra.run(path, {"vocabulary.scale_by": "series"}, runs=tmp_path / "runs")
    session = run.session()
    try:
        for value in WAVE:
            session.feed([value])
        found = session.forecast_step()
    except InputError:
        return
    assert found == pytest.approx(run.session().feed(WAVE).forecast_step(), rel=1e-5)


def test_every_batch_of_training_has_something_to_learn_from(tmp_path: Path) -> None:
    """No window lies among the steps that have no value."""
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    data = load_data(resolve(path, {"vocabulary.seasonal_difference": 16, "sequence.length": 4}))
    assert all(batch.scored for batch in data.feed.epoch(0))


@pytest.mark.parametrize(
    "damage",
    [
        {"scale": [[]]},
        {"shift": [[1.0]]},
        {"scale": [1.0, 2.0]},
        {"scale": [0.0]},
        {"transforms": []},
    ],
    ids=str,
)
def test_a_scale_that_is_none_is_damage(damage: dict[str, Any], tmp_path: Path) -> None:
    """A run without hashes whose vocabulary is of another shape, or divides by 0, is damaged and
    says so.
    """
    path = write(tmp_path, about(SERIES, "inline", values=WAVE))
    run = recurra.run(path, {"vocabulary.difference": 1}, runs=tmp_path / "runs")
    as_before(run.path)
    saved = json.loads((run.path / "vocabulary.json").read_text())
    (run.path / "vocabulary.json").write_text(json.dumps(saved | damage))
    with pytest.warns(Unverified), pytest.raises(RunError, match="vocabulary.json"):
        recurra.load(run.path)
