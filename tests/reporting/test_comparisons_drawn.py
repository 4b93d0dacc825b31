"""Pictures of a comparison: what they draw is what its seeds say, computed by other means."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra.comparing.comparison import Comparison, completed
from recurra.comparing.finished import finished
from recurra.comparing.folder import CompareFolder, Direction, Plan, PlannedVariant
from recurra.comparing.pictured import pictures
from recurra.drawing import Bars, Line, Picture, Plot, Points, Table
from recurra.errors import InputError, RunError
from recurra.showing import reported

SPELL = '</script><script>alert("x")</script>&<b>'
Values = dict[str, list[float | None]]


def written(folder: Path, values: Values, rates: list[float] = [], higher: bool = False) -> Path:  # noqa: B006
    """Write a comparison of which every trial is finished; None is a seed that failed."""
    variants = [
        PlannedVariant(
            name=name,
            folder=f"{at}",
            hidden_size=8 + at,
            encoder=10,
            recurrent=100 + at,
            head=20,
            state=16,
            flops=1000 + at,
            memory=1_000_000 * (at + 1),
            error=0.01 * at,
            seconds=0.001 * (at + 1),
            rate=0.1,
            execution={},
        )
        for at, name in enumerate(values)
    ]
    seeds = list(range(len(next(iter(values.values())))))
    plan = Plan(
        task="made",
        match="parameters",
        metric=None,
        figures={"nats": Direction(higher=higher), "loss": Direction(higher=False)},
        monitor="loss",
        seeds=seeds,
        tuning_seed=99,
        rates=rates,
        fingerprint="",
        versions={},
        variants=variants,
    )
    folder.mkdir(parents=True, exist_ok=True)
    made = CompareFolder(folder, plan)
    made.begin()
    for variant, of in zip(variants, values.values(), strict=True):
        for rate in rates:
            outcome = {"state": "done", "metrics": {}, "validation": abs(math.log10(rate) + 1)}
            made.journal.append(f"{variant.folder}/rate-{rate:g}", outcome)
        for seed, value in zip(seeds, of, strict=True):
            outcome = {"state": "failed", "why": "it diverged"}
            if value is not None:
                metrics = {"nats": value}
                outcome = {"state": "done", "metrics": metrics, "judged": "nats", "split": "test"}
            made.journal.append(f"{variant.folder}/seed-{seed}", outcome)
    completed(made, 1, lambda lines: None)
    return folder


@pytest.fixture
def drawn(tmp_path: Path) -> Callable[..., dict[str, Picture]]:
    """Give what draws a comparison of some values, read back from its folder."""

    def draw(values: Values, **more: Any) -> dict[str, Picture]:
        made = finished(written(tmp_path / str(len([*tmp_path.iterdir()])), values, **more))
        return {picture.name: picture for picture in pictures(made)}

    return draw


def rows_of(panel: Any) -> list[dict[str, Any]]:
    """Return the data of a panel as rows."""
    columns = panel.columns()
    return [
        {column.name: column.values[at] for column in columns}
        for at in range(len(columns[0].values))
    ]


def plots(picture: Picture) -> list[Plot]:
    return [panel for panel in picture.panels if isinstance(panel, Plot)]


def marked(plot: Plot, kind: Any, name: str) -> dict[str, list[float]]:
    """Return what a mark holds of each variant, by its name: the places of y are names."""
    names = [name.split("  ", 1)[1] for name in plot.y.names or ()]
    found: dict[str, list[float]] = {}
    for mark in plot.marks:
        if isinstance(mark, kind) and mark.name == name:
            for x, y in zip(np.asarray(mark.x), np.asarray(mark.y), strict=True):
                if math.isfinite(x) and math.isfinite(y):
                    found.setdefault(names[round(y)], []).append(float(x))
    return found


SOME: Values = {
    "lstm": [1.0, 1.1, 0.9, 1.05, 0.95],
    "gru": [0.8, 0.85, 0.7, 0.8, 0.75],
    "rnn": [1.2, 0.9, 1.0, 1.1, 1.3],
    "broken": [0.5, None, 0.5, 0.5, 0.5],
}


def test_what_is_drawn_of_each_variant_is_what_its_seeds_say(
    drawn: Callable[..., dict[str, Picture]],
) -> None:
    """Seeds as points, their mean, and a bootstrap interval that others compute alike."""
    made = drawn(SOME)
    plot = plots(made["means"])[0]
    stream = np.random.default_rng(5)
    rows = {row["variant"]: row for row in rows_of(plot)}
    assert marked(plot, Points, "a seed") == {
        name: [value for value in of if value is not None] for name, of in SOME.items()
    }
    intervals = marked(plot, Line, "95 % interval of the mean")
    means = marked(plot, Points, "mean")
    for name, of in SOME.items():
        row = rows[name]
        assert [row[f"seed {seed}"] for seed in range(5)] == of
        if None in of:
            assert name not in means and name not in intervals and row["mean"] is None
            continue
        seeds = np.array(of, np.float64)
        assert means[name] == [row["mean"]] == pytest.approx([seeds.mean()])
        resampled = seeds[stream.integers(0, 5, (20_000, 5))].mean(axis=1)
        expected = np.quantile(resampled, [0.025, 0.975])
        assert intervals[name] == [row["interval from"], row["interval to"]]
        assert intervals[name] == pytest.approx(expected, abs=0.02)
    assert "no finite number" not in plot.remarks()
    # The best stands on top, and what failed in some seed is last.
    assert [name.split("  ")[1] for name in reversed(plot.y.names or ())] == [
        "gru",
        "lstm",
        "rnn",
        "broken",
    ]

    by_seed = plots(made["means"])[1]
    for mark in by_seed.marks:
        if isinstance(mark, Line):
            of = [math.nan if value is None else value for value in SOME[mark.name]]
            assert np.asarray(mark.y) == pytest.approx(of, nan_ok=True)


def test_chances_are_those_of_all_pairs_of_runs(drawn: Callable[..., dict[str, Picture]]) -> None:
    """Each run of a variant against each of every other, one by one; one that failed is worst."""
    (plot,) = plots(drawn(SOME)["improvement"])
    rows = {row["variant"]: row["better than a run of another"] for row in rows_of(plot)}
    for name, of in SOME.items():
        shares = []
        for other, its in SOME.items():
            if other != name:
                wins = [
                    1.0 if cost(one) < cost(two) else 0.5 if cost(one) == cost(two) else 0.0
                    for one in of
                    for two in its
                ]
                shares.append(sum(wins) / len(wins))
        assert rows[name] == pytest.approx(100 * sum(shares) / len(shares))
    (bars,) = [mark for mark in plot.marks if isinstance(mark, Bars)]
    names = [name.split("  ")[1] for name in plot.y.names or ()]
    assert {names[at]: value for at, value in zip(bars.at, bars.values, strict=True)} == rows


def cost(value: float | None) -> float:
    return math.inf if value is None else value


def test_differences_are_those_seed_by_seed_with_their_verdict(
    drawn: Callable[..., dict[str, Picture]],
) -> None:
    """From the best, in the units of the figure, and red where it is beyond noise."""
    picture = drawn(SOME)["differences"]
    (plot,) = plots(picture)
    rows = {row["variant"]: row for row in rows_of(plot)}
    assert set(rows) == {"lstm", "rnn"}
    for name, row in rows.items():
        apart = np.array(SOME[name], np.float64) - np.array(SOME["gru"], np.float64)
        assert row["difference"] == pytest.approx(apart.mean())
        assert row["from"] < row["difference"] < row["to"]
        beyond = row["from"] > 0
        assert row["verdict"] == ("beyond noise" if beyond else "noise")
        shown = "beyond noise" if beyond else "may be noise"
        assert marked(plot, Points, shown)[name] == [row["difference"]]
        assert marked(plot, Line, shown)[name] == [row["from"], row["to"]]
    (table,) = [panel for panel in picture.panels if isinstance(panel, Table)]
    assert len(table.rows) == 6
    told = {row["pair"]: row["verdict"] for row in rows_of(table)}
    assert told["lstm - broken"] == "failed" and told["lstm - gru"] == "gru is better"


def test_what_is_high_may_be_good(drawn: Callable[..., dict[str, Picture]]) -> None:
    """Of a figure that is better the higher, the highest stands first, and others lie below it."""
    made = drawn({"a": [0.1, 0.2, 0.1, 0.2, 0.15], "b": [0.9, 0.8, 0.9, 0.85, 0.9]}, higher=True)
    (row,) = rows_of(plots(made["differences"])[0])
    assert row["variant"] == "a" and row["difference"] == pytest.approx(-0.72)
    assert "higher is better" in plots(made["means"])[0].x.label


def test_costs_are_those_of_the_plan(drawn: Callable[..., dict[str, Picture]]) -> None:
    """Milliseconds of a step, and the memory of training, of each variant."""
    time, memory, against = plots(drawn(SOME)["costs"])
    order = list(SOME)
    for plot, unit in ((time, "A step of training"), (memory, "Memory of training")):
        for row in rows_of(plot):
            assert row[unit] == pytest.approx(order.index(row["variant"]) + 1)
    points = {mark.name: (mark.x, mark.y) for mark in against.marks if isinstance(mark, Points)}
    assert set(points) == {"lstm", "gru", "rnn"}
    assert points["gru"] == ([pytest.approx(2.0)], [pytest.approx(0.78)])


def test_rates_are_drawn_where_they_were_tried(drawn: Callable[..., dict[str, Picture]]) -> None:
    """What each rate gave on validation; without such there is no picture of them."""
    assert "rates" not in drawn(SOME)
    (plot,) = plots(drawn({"a": [1.0], "b": [2.0]}, rates=[0.01, 0.1, 1.0])["rates"])
    assert [row["learning rate"] for row in rows_of(plot)] == [0.01, 0.1, 1.0]
    assert [row["a"] for row in rows_of(plot)] == pytest.approx([1.0, 0.0, 1.0])


@given(
    count=st.integers(1, 4),
    seeds=st.integers(1, 6),
    seed=st.integers(0, 99),
    failing=st.sampled_from([0.0, 0.3]),
    alike=st.booleans(),
)
@settings(max_examples=10)
def test_any_comparison_makes_pictures(
    count: int,
    seeds: int,
    seed: int,
    failing: float,
    alike: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """One seed or six, some of which failed, all alike or not, one variant alone: no crash.

    No spell of a name becomes a part of a page, and no number that is none a part of a picture.
    """
    stream = np.random.default_rng(seed)
    values: Values = {}
    for at in range(count):
        of = np.round(stream.normal(size=seeds), 3) * (not alike)
        failed = stream.random(seeds) < failing
        failed[0] &= at > 0
        values[f"{SPELL} #{at}"] = [
            None if no else float(value) for value, no in zip(of, failed, strict=True)
        ]
    made = finished(written(tmp_path_factory.mktemp("any"), values))
    for picture in pictures(made):
        text = f"{picture.html()}{picture.svg()}"
        assert "<script" not in text and "<b>" not in text
        assert "nan" not in text.lower() and "inf" not in text.lower().replace("info", "")


def test_forty_variants_make_small_pictures(drawn: Callable[..., dict[str, Picture]]) -> None:
    """Of their 780 pairs those with the best are listed."""
    made = drawn({f"cell {at}": [float(at)] * 5 for at in range(40)})
    table = next(panel for panel in made["differences"].panels if isinstance(panel, Table))
    assert all("cell 0" in row[0] for row in table.rows)
    assert sum(len(str(picture.html())) for picture in made.values()) < 300_000


def test_what_is_not_finished_or_none_is_told(tmp_path: Path) -> None:
    """A folder without a comparison, one that is not finished, and one that is damaged."""
    with pytest.raises(InputError, match="holds no comparison"):
        finished(tmp_path)
    folder = written(tmp_path / "1", {"a": [1.0], "b": [2.0]})
    assert finished(tmp_path).folder == str(folder)
    made = folder / "comparison.json"
    whole = made.read_bytes()
    made.unlink()
    with pytest.raises(InputError, match="not finished") as raised:
        finished(tmp_path)
    assert f"recurra compare {folder}" in str(raised.value)
    told = json.loads(whole)
    for damage in (
        b"",
        b"{}",
        whole[: len(whole) // 2],
        json.dumps({**told, "rows": []}).encode(),
        json.dumps({**told, "rows": [{**told["rows"][0], "name": "c"}]}).encode(),
        json.dumps({**told, "rows": [{**told["rows"][0], "values": "x"}]}).encode(),
    ):
        made.write_bytes(damage)
        with pytest.raises(RunError) as faulty:
            finished(tmp_path)
        assert faulty.value.problems[0].code == "RC052" and str(made) in str(faulty.value)


def test_what_is_read_back_is_what_was_made(tmp_path: Path) -> None:
    """All but where it lies, which is told as it is now."""
    folder = written(tmp_path / "1", SOME)
    moved = folder.rename(tmp_path / "moved")
    made = finished(moved)
    assert isinstance(made, Comparison) and made.folder == str(moved)
    assert made.record() == json.loads((moved / "comparison.json").read_text())


def test_a_comparison_is_one_page(tmp_path: Path) -> None:
    """It holds each picture, its verdict and its data, asks for nothing, and lets no spell in."""
    folder = written(tmp_path / "made" / "1", {**SOME, SPELL: [2.0, 2.1, 2.2, 2.0, 2.1]})
    page = tmp_path / "page.html"
    made = reported(tmp_path / "made", page)
    assert made.pictures == ["means", "differences", "improvement", "costs"] and not made.left_out
    text = page.read_text(encoding="utf-8")
    assert made.bytes == page.stat().st_size < 200_000
    told = finished(folder)
    for words in (told.verdict.split(";")[0].split(",")[0], str(folder), "equal parameters"):
        assert words in text
    assert text.count("<script") == 1 and SPELL not in text
    assert {*re.findall(r"https?://[^\s\"']*", text)} <= {"http://www.w3.org/2000/svg"}
    assert page.read_bytes() == recurra.report(told, tmp_path / "again.html").read_bytes()


def test_a_page_of_many_variants_stays_small(tmp_path: Path) -> None:
    """Where it would be too large, data goes first, and its foot says so."""
    values: Values = {f"{at} {'x' * 400}": [float(at), at + 0.5] for at in range(150)}
    folder = written(tmp_path / "1", values)
    made = reported(folder, tmp_path / "page.html")
    assert made.bytes <= 1_000_000 and "means" in made.pictures


def test_a_comparison_stands_alone_and_whole(tmp_path: Path) -> None:
    """Beside a run, or not finished, it is refused, and no page is written."""
    folder = written(tmp_path / "1", {"a": [1.0], "b": [2.0]})
    page = tmp_path / "page.html"
    with pytest.raises(InputError, match="a page of its own"):
        recurra.report([folder, folder], page)
    (folder / "comparison.json").unlink()
    with pytest.raises(InputError, match="not finished"):
        recurra.report(folder, page)
    assert not page.exists()
