"""Pictures of answers: what they draw is what the run says, counted by other means."""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import ANSWERS, LABELS, PROSE, TAGS, about, write

import recurra
from recurra.drawing import HeatMap, Line, Picture, Plot, Points, Table, Tagged
from recurra.job.run import Run
from recurra.reporting import answers, classes, forecasts, positions
from recurra.reporting.reading import most_wrong
from recurra.reporting.view import Left, View
from recurra.reporting.view import view as view_of

QUICK = {"device.path": "eager", "training.steps": 8, "training.optimizer.lr": 0.05}
HORIZON = 4
LEVELS = [50, 80]
SPELL = '</script><script>alert("x")</script>&<b>'
WORDS = [f"{'ab' * (n % 4)}{'a' * (n % 3)}b" for n in range(30)]


def _series(folder: Path) -> str:
    """Return a task of 24 series with two columns each, of which it reads a file."""
    stream = np.random.default_rng(3)
    rows = ["place,high,low"]
    for series in range(24):
        waves = np.sin(np.arange(12 + series) / 3 + stream.uniform(0, 6, (2, 1)))
        waves += stream.normal(0, 0.2, waves.shape)
        rows += [f"s{series},{high:.4f},{low:.4f}" for high, low in waves.T.tolist()]
    folder.mkdir()
    (folder / "panel.csv").write_text("\n".join(rows) + "\n")
    text = about(SERIES, "csv", path="panel.csv", columns=["high", "low"], group="place")
    more = (
        f'length = {HORIZON}\nlevels = {LEVELS}\n\n[target]\nkind = "horizon"\nlength = {HORIZON}'
    )
    return text.replace('"mse"', '"gaussian_nll"').replace("length = 3\n", more + "\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """Train one of each, briefly."""
    home = tmp_path_factory.mktemp("drawn")
    numbers = [[len(word), word.count("a")] for word in WORDS]
    values = about(LABELS, "inline", texts=WORDS, labels=numbers)
    tasks = {
        "labels": LABELS,
        "tags": TAGS,
        "answers": about(ANSWERS, "inline", texts=WORDS, answers=[w[::-1] for w in WORDS]),
        "prose": about(PROSE, "inline", texts=WORDS).replace('"the "', '"ab"'),
        "series": _series(home / "series"),
        "value": values.replace('"label"', '"value"').replace('"cross_entropy"', '"mse"'),
    }
    runs = {}
    for name, text in tasks.items():
        more = {"training.optimizer": {"kind": "adam", "lr": 0.05}}
        changes = {"device.path": "eager", "training.steps": 8, **more}
        runs[name] = recurra.run(write(home / name, text), changes, runs=home / name / "runs")
    return runs


@pytest.fixture(scope="module")
def views(made: dict[str, Run]) -> dict[str, View]:
    """Give what is looked at, which opens its run once."""
    return {name: seen(run.path) for name, run in made.items()}


def seen(path: Path) -> View:
    """Return the view of a run."""
    return view_of(path, lambda: recurra.load(path))


def changed(view: View, folder: Path, **changes: Any) -> View:
    """Return a view of a copy of a run, whose figures say something else."""
    copy = Path(
        shutil.copytree(view.path, folder / "copy", ignore=shutil.ignore_patterns("*.safe*"))
    )
    (copy / "result.json").write_text(json.dumps(view.result | changes))
    return seen(copy)


def rows_of(panel: Any) -> list[dict[str, Any]]:
    """Return the data of a panel as rows."""
    columns = panel.columns()
    count = max(len(column.values) for column in columns)
    return [{c.name: c.values[at] for c in columns} for at in range(count)]


def plots(picture: Picture) -> list[Plot]:
    return [panel for panel in picture.panels if isinstance(panel, Plot)]


def said_of(run: Run, name: str = "test") -> list[tuple[Any, dict[str, Any]]]:
    """Return the sequences of a split with what the run predicts of each by itself."""
    part = run.split(name)
    return list(zip(part, run.predict([each.values for each in part]), strict=True))


def test_a_confusion_matrix_counts_what_predict_answers(
    made: dict[str, Run], views: dict[str, View]
) -> None:
    """Each pair of what came and what is predicted is counted as often as predict gives it."""
    pairs = Counter((each.said["label"], one["predicted"]) for each, one in said_of(made["labels"]))
    picture = classes.confusion(views["labels"])
    matrix = plots(picture)[0]
    drawn = {(row["came"], row["predicted"]): row["answers"] for row in rows_of(matrix)}
    assert drawn == dict(pairs)

    (mark,) = matrix.marks
    assert isinstance(mark, HeatMap)
    names = list(matrix.x.names or ())
    sums = Counter(each.said["label"] for each, _ in said_of(made["labels"]))
    cells = {
        (came, said): round(mark.cells()[row, column] * sums[came] / 100)
        for row, came in enumerate(names)
        for column, said in enumerate(names)
    }
    assert {pair: count for pair, count in cells.items() if count} == drawn


def test_of_each_tag_the_table_counts_what_predict_answers(
    made: dict[str, Run], views: dict[str, View]
) -> None:
    """Steps are counted as sequences are, and recall and precision are shares of those counts."""
    pairs: Counter[tuple[str, str]] = Counter()
    for each, one in said_of(made["tags"]):
        known = set(made["tags"].answers.symbol(n) for n in range(made["tags"].answers.size))
        steps = zip(each.said["tags"], one["predicted"], strict=True)
        pairs.update((came, said) for came, said in steps if came in known)
    picture = classes.confusion(views["tags"])
    table = next(panel for panel in picture.panels if isinstance(panel, Table))
    for row in rows_of(table):
        name = row["class"]
        came = sum(count for (was, _), count in pairs.items() if was == name)
        said = sum(count for (_, given), count in pairs.items() if given == name)
        right = pairs[name, name]
        assert (row["came"], row["predicted"], row["right"]) == (came, said, right)
        assert row["recall"] == (right / came if came else None)
        assert row["precision"] == (right / said if said else None)


MOOD = """
import recurra
from recurra import Accuracy, Component, Options, Target, hookimpl


class MoodOptions(Options):
    pass


class Mood(Target[MoodOptions]):
    asks, scope = "label", "sequence"

    def metrics(self, elements):
        return (Accuracy,)

    def judged(self, elements, rows, columns):
        return "accuracy"


@hookimpl
def recurra_components():
    home = {"target": f"{__name__}:Mood", "options": f"{__name__}:MoodOptions"}
    return [Component(kind="target", name="mood", summary="moods", **home)]
"""
"""A target of whoever, which measures no confusion."""


def test_a_target_of_others_has_the_pictures_of_its_answers(tmp_path: Path) -> None:
    """What no figures tell is counted anew: its matrix is that of what predict answers."""
    text = LABELS.replace('"label"\npooling = "attention"', '"mood"')
    text = text.replace("schema = 1\n", 'schema = 1\n\n[plugins]\nfiles = ["mood.py"]\n')
    (tmp_path / "mood.py").write_text(MOOD)
    run = recurra.run(write(tmp_path, text), {"device.path": "eager"}, runs=tmp_path / "runs")
    view = seen(run.path)
    assert "confusion" not in view.result
    pairs = Counter((each.said["label"], one["predicted"]) for each, one in said_of(run))
    matrix = plots(classes.confusion(view))[0]
    assert {(r["came"], r["predicted"]): r["answers"] for r in rows_of(matrix)} == dict(pairs)
    drawn = {name for name, made in pictured(view).items() if isinstance(made, Picture)}
    assert drawn == OWN["labels"]


@given(
    classes_of=st.integers(1, 80),
    seed=st.integers(0, 99),
    limit=st.integers(1, 40),
    density=st.sampled_from([0.0, 0.1, 1.0]),
)
@settings(max_examples=25)
def test_classes_that_are_put_together_lose_no_answer(
    classes_of: int, seed: int, limit: int, density: float
) -> None:
    """Sums, and the counts between classes that stand by themselves, are as they were."""
    stream = np.random.default_rng(seed)
    counts = stream.integers(0, 9, (classes_of, classes_of))
    counts *= stream.random(counts.shape) < density
    whole = classes.Confused([f"c{n}" for n in range(classes_of)], counts)
    some = classes.largest(whole, limit)
    assert some.counts.sum() == counts.sum() and len(some.classes) <= limit + 1
    for row, came in enumerate(some.classes[:limit]):
        for column, said in enumerate(some.classes[:limit]):
            assert some.counts[row, column] == counts[int(came[1:]), int(said[1:])]
    if len(some.classes) < classes_of:
        errors = counts - np.diag(np.diag(counts))
        each = errors.sum(axis=0) + errors.sum(axis=1)
        left = {int(name[1:]) for name in some.classes[:limit]}
        assert min(each[sorted(left)]) >= max(np.delete(each, sorted(left)))


@pytest.mark.parametrize("count", [1, 2, 400])
def test_any_number_of_classes_makes_a_picture(
    count: int, views: dict[str, View], tmp_path: Path
) -> None:
    """One class, two, four hundred, most of which never came: a picture of bounded size."""
    counts = np.zeros((count, count), int)
    counts[:, 0] = 1
    found = {"classes": [f"{SPELL}{n}" for n in range(count)], "counts": counts.tolist()}
    picture = classes.confusion(changed(views["labels"], tmp_path, confusion=found))
    text = f"{picture.html()}{picture.svg()}"
    assert "<script" not in text and len(text) < 250_000
    assert sum(row["answers"] for row in rows_of(plots(picture)[0])) == count


@pytest.mark.parametrize(
    "found",
    [
        {"classes": ["a"], "counts": [[1, 2]]},
        {"classes": "ab", "counts": [[1]]},
        {"classes": ["a"], "counts": [["NaN"]]},
        {"classes": [], "counts": []},
        {"classes": ["a"], "counts": [[-1]]},
        [1],
        "text",
    ],
)
def test_a_confusion_that_is_none_is_left_out(
    found: Any, views: dict[str, View], tmp_path: Path
) -> None:
    """What a metric of a plugin calls a confusion may be anything."""
    with pytest.raises(Left):
        classes.confusion(changed(views["labels"], tmp_path, confusion=found))


@pytest.fixture(scope="module")
def foretold(made: dict[str, Run]) -> list[tuple[str, Any, dict[str, Any]]]:
    """Give the series of the test split by their names, with what the run says by itself of their
    last steps.
    """
    run = made["series"]
    part = run.split("test")
    histories = [each.values[:-HORIZON] for each in part]
    told = list(run.predict(histories, horizon=HORIZON, levels=LEVELS))
    return [
        (f"s{each.row}", np.asarray(each.values), one) for each, one in zip(part, told, strict=True)
    ]


def test_coverage_by_steps_ahead_is_counted_as_predict_gives_bounds(
    views: dict[str, View], foretold: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    """At each step the share of values between the bounds, and the mean distance of these."""
    errors, held, wide = plots(forecasts.horizon(views["series"]))
    for step in range(HORIZON):
        came = np.array([values[-HORIZON + step] for _, values, _ in foretold])
        for level in LEVELS:
            low = np.array([one[f"lo-{level}"][step] for *_, one in foretold])
            high = np.array([one[f"hi-{level}"][step] for *_, one in foretold])
            name = f"{level} % interval"
            share = 100 * ((low <= came) & (came <= high)).mean()
            assert rows_of(held)[step][name] == pytest.approx(share)
            assert rows_of(wide)[step][name] == pytest.approx((high - low).mean())
        # Of two columns the error of each is measured by its own scale.
        drawn = rows_of(errors)[step]
        assert drawn["steps ahead"] == step + 1
    row = views["series"].result["forecast"]["by_step"][2]
    assert rows_of(errors)[2]["MASE, the model"] == row["metrics"]["mase"]
    assert {mark.name for mark in held.marks if isinstance(mark, Line)} == {
        f"{level} % interval" for level in LEVELS
    }


def test_a_fan_is_what_predict_says(
    views: dict[str, View], foretold: list[tuple[str, Any, dict[str, Any]]]
) -> None:
    """Points and bounds of each step, and what came before and after it, of each column."""
    known = {name: (values, one) for name, values, one in foretold}
    drawn = plots(forecasts.forecast(views["series"]))
    assert len(drawn) == 2 * min(len(known), forecasts.SERIES)
    for plot in drawn:
        name = plot.title.split(",")[0].removeprefix("Series ")
        column = ["high", "low"].index(plot.title.split(", ")[1].split(" ")[0])
        values, one = known[name]
        rows = rows_of(plot)
        ahead = [row for row in rows if row["step"] > 0]
        shown = [row["came"] for row in rows]
        assert shown == pytest.approx(values[len(values) - len(rows) :, column].tolist())
        assert [row["forecast"] for row in ahead] == pytest.approx(
            [step[column] for step in one["predicted"]], rel=1e-5
        )
        for level in LEVELS:
            for bound, of in (("from", "lo"), ("to", "hi")):
                told = [step[column] for step in one[f"{of}-{level}"]]
                assert [row[f"{level} % {bound}"] for row in ahead] == pytest.approx(told, rel=1e-5)
        line = next(m for m in plot.marks if isinstance(m, Line) and m.name == "came")
        assert np.asarray(line.y).tolist() == shown


def test_without_its_data_a_fan_is_what_the_figures_hold(
    views: dict[str, View], tmp_path: Path
) -> None:
    """The last series, with its bounds and the nearest rule, and why there is no more."""
    view = changed(views["series"], tmp_path)
    picture = forecasts.forecast(view)
    last = view.result["forecast"]["last_series"]
    assert "not shown" in picture.caption
    for column, plot in enumerate(plots(picture)):
        rows = rows_of(plot)
        assert [row["forecast"] for row in rows] == [step[column] for step in last["model"]]
        assert [row["80 % from"] for row in rows] == [step[column] for step in last["lo-80"]]


@pytest.mark.parametrize("bad", ["80 %", None, -3, "nan", [80]])
def test_a_level_that_is_none_leaves_out_its_interval_alone(
    bad: Any, views: dict[str, View], tmp_path: Path
) -> None:
    """What came before, the forecast and the other intervals are drawn as they were."""
    made = views["series"].result["forecast"]
    view = changed(views["series"], tmp_path, forecast={**made, "levels": [bad, 80]})
    shutil.copytree(views["series"].path, view.path, dirs_exist_ok=True, ignore=kept("result.json"))
    picture, whole = forecasts.forecast(view), forecasts.forecast(views["series"])
    assert "left out: " in picture.caption and "not shown" not in picture.caption
    for plot, other in zip(plots(picture), plots(whole), strict=True):
        left = {key for key in rows_of(other)[0] if key.startswith("50 %")}
        assert [{k: v for k, v in row.items() if k not in left} for row in rows_of(other)] == [
            pytest.approx(row, nan_ok=True) for row in rows_of(plot)
        ]


def kept(name: str) -> Any:
    """Return what leaves a file as it is when a folder is copied over another."""
    return shutil.ignore_patterns(name)


@pytest.mark.parametrize("levels", [True, False])
def test_figures_without_numbers_leave_gaps(
    levels: bool, views: dict[str, View], tmp_path: Path
) -> None:
    """NaN, text and what is not there are gaps; without intervals there are none to be drawn."""
    whole = views["series"].result["forecast"]
    steps = [{**row, "metrics": dict(row["metrics"])} for row in whole["by_step"]]
    steps[1]["metrics"] = {"mase": "NaN", "coverage_80": None, "width_80": "Infinity"}
    if not levels:
        kept = ("mase", "mae")
        steps = [{**r, "metrics": {k: r["metrics"].get(k) for k in kept}} for r in steps]
    view = changed(views["series"], tmp_path, forecast={**whole, "by_step": steps})
    drawn = plots(forecasts.horizon(view))
    assert len(drawn) == (3 if levels else 1)
    values = [row["MASE, the model"] for row in rows_of(drawn[0])]
    assert math.isnan(values[1]) and all(map(math.isfinite, [values[0], *values[2:]]))
    for plot in drawn:
        assert "nan" not in plot.drawn().body.lower()


def test_values_are_those_of_predict(made: dict[str, Run], views: dict[str, View]) -> None:
    """Every sequence of the split is a point, at what came and what predict says of it."""
    picture = answers.values(views["value"])
    drawn = [panel for panel in plots(picture) if panel.title.startswith("Answer")]
    pairs = said_of(made["value"])
    for column, plot in enumerate(drawn):
        points = sorted((row["came"], row["answered"]) for row in rows_of(plot))
        said = sorted((each.said["label"][column], one["predicted"][column]) for each, one in pairs)
        assert np.array(points) == pytest.approx(np.array(said), rel=1e-4, abs=1e-4)
        mark = next(mark for mark in plot.marks if isinstance(mark, Points))
        assert sorted(zip(mark.x, mark.y, strict=True)) == points
    table = next(panel for panel in picture.panels if isinstance(panel, Table))
    assert [row["sequence"] for row in rows_of(table)] == [
        each["sequence"] for each in views["value"].result["most_wrong"]
    ]


@pytest.mark.parametrize("name", ["prose", "tags", "series", "labels", "value", "answers"])
def test_figures_by_position_add_up_to_those_of_the_split(
    name: str, made: dict[str, Run], views: dict[str, View]
) -> None:
    """Where each answer is of one stage, the stages together have the figure of the whole split.

    Where a whole sequence is answered, the last stage has it: all of each was read by then.
    """
    view = views[name]
    whole = view.result["metrics"]
    try:
        picture = positions.position(view)
    except Left as left:
        assert name == "answers" and "compare" in str(left)
        return
    plot = plots(picture)[0]
    rows = rows_of(plot)
    key = next(
        key
        for key in ("nats", "accuracy", "mase", "r2", "exact_match")
        if any(
            column.name in (key, key.replace("_", " "), "mean absolute scaled error", "R²")
            for column in plot.columns()
        )
        and key in whole
    )
    values = np.array([row[plot.columns()[2].name] for row in rows])
    counts = np.array([row["answers"] for row in rows])
    line = next(mark for mark in plot.marks if isinstance(mark, Line))
    assert np.asarray(line.y).tolist() == values.tolist()
    if name in ("labels", "value"):
        assert values[-1] == pytest.approx(whole[key], rel=1e-5)
        assert set(counts) == {view.result["predictions"]}
    elif name != "series":
        assert counts.sum() == (
            view.result["predictions"] if name != "answers" else len(made[name].split("test"))
        )
        assert (values * counts).sum() / counts.sum() == pytest.approx(whole[key], rel=1e-5)


def test_accuracy_by_position_is_counted_as_predict_answers(
    made: dict[str, Run], views: dict[str, View]
) -> None:
    """At each step of the sequences of the split, the share of tags that predict gives."""
    right, count = Counter(), Counter()
    for each, one in said_of(made["tags"]):
        for step, (came, said) in enumerate(
            zip(each.said["tags"], one["predicted"], strict=True), 1
        ):
            count[step] += 1
            right[step] += came == said
    drawn = {
        row["steps read, from"]: row["accuracy"]
        for row in rows_of(plots(positions.position(views["tags"]))[0])
    }
    assert drawn == {step: pytest.approx(right[step] / count[step]) for step in count}


def test_tags_are_those_of_the_figures(views: dict[str, View]) -> None:
    """Both texts are what was read; what was predicted otherwise stands out, with what it is."""
    found = views["tags"].result["tagged"]["runs"]
    came, said = answers.tags(views["tags"]).panels
    assert isinstance(came, Tagged) and isinstance(said, Tagged)
    for panel, key in ((came, "came"), (said, "predicted")):
        assert [piece.text for piece in panel.pieces] == [run["read"] for run in found]
        assert [piece.tag for piece in panel.pieces] == [run[key] for run in found]
    wrong = [run["came"] != run["predicted"] for run in found]
    assert [piece.wrong for piece in said.pieces] == wrong and not any(p.wrong for p in came.pieces)


def test_tags_of_numbers_are_lanes(views: dict[str, View], tmp_path: Path) -> None:
    """Where what was read is no text, each run of steps is a line at its tag."""
    found = views["tags"].result["tagged"]
    runs = [{**run, "read": ""} for run in found["runs"]]
    view = changed(views["tags"], tmp_path, tagged={**found, "runs": runs})
    (plot,) = plots(answers.tags(view))
    rows = rows_of(plot)
    assert [(row["came"], row["predicted"]) for row in rows] == [
        (run["came"], run["predicted"]) for run in runs
    ]
    assert [row["to step"] - row["from step"] + 1 for row in rows] == [run["steps"] for run in runs]


def test_surprise_is_the_cost_of_each_symbol(made: dict[str, Run], views: dict[str, View]) -> None:
    """What a session says of each symbol, fed one by one: the chance of the one that came."""
    run = made["prose"]
    (panel,) = answers.surprise(views["prose"]).panels
    assert isinstance(panel, Tagged)
    text = max((str(each.values) for each in run.split("test")), key=len)
    session = run.session().feed(text[0])
    for symbol, piece in zip(text[1:], panel.pieces, strict=True):
        assert piece.text == symbol
        chances = session.chances()[0].double()
        nats = -math.log(chances[int(run.vocabulary.encode(symbol)[0])])
        assert piece.title.startswith(f"{nats:.2f} nats")
        session.feed(symbol)


def test_chances_are_counted_as_predict_gives_them(
    made: dict[str, Run], views: dict[str, View]
) -> None:
    """In each tenth the mean chance of what is predicted, and how often that came."""
    parts: dict[int, list[tuple[float, bool]]] = {}
    for each, one in said_of(made["labels"]):
        chance = max(value for key, value in one.items() if key.startswith("p:"))
        right = one["predicted"] == each.said["label"]
        parts.setdefault(min(int(chance * 10), 9), []).append((chance, right))
    plot = plots(answers.calibration(views["labels"]))[0]
    drawn = [tuple(row.values()) for row in rows_of(plot)]
    told = [
        (np.mean([c for c, _ in of]), np.mean([r for _, r in of]), len(of))
        for _, of in sorted(parts.items())
    ]
    assert np.array(drawn) == pytest.approx(np.array(told), rel=1e-5)


def test_levels_are_those_of_the_figures(views: dict[str, View]) -> None:
    """What intervals held, of forecasts and of what is told step by step."""
    (plot,) = plots(answers.calibration(views["series"]))
    metrics = views["series"].result["forecast"]["metrics"]
    held = {row["level"]: row["held, forecasts"] for row in rows_of(plot)}
    told = {level: share for level, share in held.items() if share is not None}
    assert told == {level: 100 * metrics[f"coverage_{level}"] for level in LEVELS}


def test_completions_are_those_of_the_figures(views: dict[str, View]) -> None:
    """Each prompt with both answers, and what is wrong stands out."""
    found = views["answers"].result["completions"]
    table, text = answers.completions(views["answers"]).panels
    assert isinstance(table, Table) and isinstance(text, Tagged)
    rows = rows_of(table)
    assert [(row["prompt"], row["came"], row["given"]) for row in rows] == [
        (each["prompt"], each["came"], each["predicted"]) for each in found
    ]
    wrong = [
        n for n, each in enumerate(found) if not each["ended"] or each["came"] != each["predicted"]
    ]
    assert list(table.highlight) == wrong
    lines = "".join(piece.text for piece in text.pieces).splitlines()
    assert lines == [f"{each['prompt']} → {each['predicted']}" for each in found]


def test_of_the_most_wrong_what_was_read_is_told(views: dict[str, View]) -> None:
    """Texts stand beside the answers; of a sequence that is not in the data nothing does."""
    view = views["labels"]
    (table,) = most_wrong(view)
    texts = [row["what was read"] for row in rows_of(table)]
    part = view.run.split("test")
    by_row = {each.row + 1: str(each.values) for each in part}
    assert texts == [by_row[each["sequence"]] for each in view.result["most_wrong"]]


DRAWN = [
    classes.confusion,
    answers.calibration,
    answers.tags,
    answers.completions,
    answers.values,
    answers.surprise,
    forecasts.forecast,
    forecasts.horizon,
    positions.position,
]
OWN = {
    "labels": {"confusion", "calibration", "position"},
    "tags": {"confusion", "calibration", "position", "tags"},
    "answers": {"completions", "calibration", "position"},
    "prose": {"surprise", "calibration", "position"},
    "series": {"forecast", "horizon", "calibration", "position"},
    "value": {"values", "position"},
}


def pictured(view: View) -> dict[str, Picture | Left]:
    """Return each picture of a run, or why it has none."""
    made: dict[str, Picture | Left] = {}
    for draw in DRAWN:
        try:
            picture = draw(view)
            made[picture.name] = picture
        except Left as left:
            made[draw.__name__] = left
    return made


@pytest.mark.parametrize("name", OWN)
def test_each_run_has_the_pictures_of_its_answers(name: str, views: dict[str, View]) -> None:
    """And of each other picture a reason why it has none; each is small, and no number is lost."""
    drawn = set()
    for picture in pictured(views[name]).values():
        if isinstance(picture, Left):
            assert str(picture)
            continue
        drawn.add(picture.name)
        assert len(str(picture.html())) < 150_000 and "NaN" not in picture.svg()
    assert drawn == OWN[name]


@pytest.mark.parametrize("name", OWN)
def test_figures_that_are_anything_make_no_crash(
    name: str, views: dict[str, View], tmp_path: Path
) -> None:
    """A result whose parts are text, lists or spells is drawn, or left out with a reason."""

    def spoiled(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: spoiled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [spoiled(each) for each in value]
        return SPELL if isinstance(value, str) else "NaN" if isinstance(value, float) else value

    keys = ("confusion", "most_wrong", "tagged", "completions", "forecast", "by_step", "columns")
    result = views[name].result
    for number, spoil in enumerate((spoiled, lambda value: [value], lambda value: SPELL)):
        own = {key: spoil(result[key]) for key in keys if key in result}
        view = changed(views[name], tmp_path / str(number), **own)
        for draw in DRAWN:
            try:
                text = str(draw(view).html())
            except Left:
                continue
            assert "<script" not in text and "<b>" not in text
