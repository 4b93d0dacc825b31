"""Columns with options of their own are scaled, and transformed, as if each stood alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from trials import about, write

import recurra
from recurra.catalog import discover
from recurra.data.chain import Chain
from recurra.data.splits import Split
from recurra.data.store import Store
from recurra.data.stream import Stream
from recurra.errors import InputError
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.testing.checks.vocabulary.transforms import transformed as holds
from recurra.testing.option_sets import validated
from recurra.testing.subjects.vocabulary import VocabularySubject
from recurra.train.metrics import Distance
from recurra_vocabularies.numeric import Numeric, NumericOptions

Numbers = NDArray[np.float64]

NAMES = ["sold", "a b", "2020"]
OWN = st.fixed_dictionaries(
    {},
    optional={
        "scale": st.sampled_from(["max", "mean", "minmax", "none", "robust", "standard"]),
        "scale_by": st.just("all"),
        "box_cox": st.sampled_from(["none", "fit", 0.05, 0.5, 0.0]),
        "difference": st.integers(0, 2),
        "seasonal_difference": st.sampled_from([0, 3, 7]),
    },
)
WHOLE = st.fixed_dictionaries(
    {
        "scale": st.sampled_from(["max", "minmax", "robust", "standard"]),
        "scale_by": st.sampled_from(["all", "series"]),
        "difference": st.integers(0, 1),
        "seasonal_difference": st.sampled_from([0, 5]),
    },
    optional={"log": st.booleans()},
)
SPANS = ([0, 40], [40, 100])
"""Between which rows training sees two series, of which the second goes on."""


def drawn(seed: int, width: int) -> Numbers:
    """Return two series of numbers above 0 that wander, one behind the other."""
    draw = np.random.default_rng(seed)
    units = 10.0 ** draw.integers(-3, 6, width)
    return np.exp(draw.normal(0, 0.3, (120, width)).cumsum(axis=0)) * units


def chained(options: dict[str, Any], values: Numbers, names: list[str]) -> Chain:
    """Return a chain that is fitted on two series, of which the task knows the names of columns."""
    vocabulary = Numeric(NumericOptions.model_validate_json(json.dumps(options)))
    vocabulary.prepare(names)
    vocabulary.fit(values[low:high] for low, high in SPANS)
    low, high = (np.array([span[end] for span in SPANS]) for end in (0, 1))
    chain = Chain(vocabulary)
    chain.fit(Store(values, low, ""), Split(low, high, low))
    return chain


def origins_of(chain: Chain, rows: Numbers, states: list[Numbers]) -> Numbers:
    """Return the origins of rows, of which there are none without a transform."""
    return chain.origins(rows, states) if chain else np.zeros((len(rows) + 1, 0, rows.shape[1]))


def merged(whole: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Return what holds of a column, as the page of tasks says it."""
    options = {**whole, **own}
    if "box_cox" in own:
        options.pop("log", None)
    if own.get("scale") == "none" and "scale_by" not in own:
        options["scale_by"] = "all"
    return options


def allowed(options: dict[str, Any]) -> bool:
    """Tell whether options may stand beside each other."""
    return options["scale"] != "none" or options["scale_by"] == "all"


@settings(max_examples=20)
@given(WHOLE, st.lists(OWN, min_size=2, max_size=3), st.integers(0, 99), st.integers(0, 60))
def test_columns_are_what_each_is_alone(
    whole: dict[str, Any], own: list[dict[str, Any]], seed: int, cut: int
) -> None:
    """To the bit: scaled, transformed, told by origins and undone, in one piece or in two, and
    foreseen by a session.
    """
    each = [merged(whole, column) for column in own]
    if not all(map(allowed, each)):
        return
    names = NAMES[: len(own)]
    values = drawn(seed, len(own))
    columns = dict(zip(names, own, strict=True))
    chain = chained({**whole, "columns": columns}, values, names)
    alone = [
        chained(options, values[:, [place]].copy(), ["x"]) for place, options in enumerate(each)
    ]
    assert chain.lag == max(one.lag for one in alone), "the greatest lag holds for all"
    if len({json.dumps(options, sort_keys=True) for options in each}) < len(each):
        # Those that are alike are reckoned with together, in another order of sums.
        near = {"rtol": 1e-9, "atol": 1e-9}
    else:
        near = {"rtol": 0, "atol": 0}

    rows, known = chain.scaled(values[40:]), chain.scaled(values[40:70])
    start = chain.start(known)
    first, between = chain.apply(rows[:cut], start, 0)
    last, after = chain.apply(rows[cut:], between, cut)
    read = np.concatenate([first, last])
    origins, ahead = origins_of(chain, rows, start), chain.origins_ahead(between, 4)
    answers = np.random.default_rng(seed).normal(0, 0.1, (4, len(own)))
    foreseen = chain.undone(answers, ahead)
    told, undone = chain.against(rows, origins[:-1]), chain.invert(read, origins[:-1])

    for place, one in enumerate(alone):
        column = [place]
        own_rows = one.scaled(values[40:, column])
        begin = one.start(one.scaled(values[40:70, column]))
        alike = np.testing.assert_allclose
        alike(rows[:, column], own_rows, **near)
        own_read, _ = one.apply(own_rows, begin, 0)
        own_first, own_between = one.apply(own_rows[:cut], begin, 0)
        alike(first[chain.lag :, column], own_first[chain.lag :], **near)
        alike(read[chain.lag :, column], own_read[chain.lag :], **near)
        own_origins = origins_of(one, own_rows, begin)[:-1]
        alike(told[chain.lag :, column], one.against(own_rows, own_origins)[chain.lag :], **near)
        alike(undone[chain.lag :, column], one.invert(own_read, own_origins)[chain.lag :], **near)
        own_ahead = one.origins_ahead(own_between, 4)
        alike(foreseen[:, column], one.undone(answers[:, column], own_ahead), **near)
        alike(chain.vocabulary.decode(rows)[:, column], one.vocabulary.decode(own_rows), **near)

    stream = Stream(chain, values[40:70])
    streams = [Stream(one, values[40:70, [place]]) for place, one in enumerate(alone)]
    for part in (values[40:63], values[63:]):
        stream.read(part)
        for place, own_stream in enumerate(streams):
            own_stream.read(part[:, [place]])
    for answer in answers:
        said = [one.undo(answer[[place]])[0] for place, one in enumerate(streams)]
        np.testing.assert_allclose(stream.undo(answer), said, **near)
    assert len(after) == len(start)


@settings(max_examples=20)
@given(WHOLE, st.integers(0, 99), st.booleans())
def test_what_is_said_of_each_is_what_is_said_once(
    whole: dict[str, Any], seed: int, all_of_them: bool
) -> None:
    """Options of every column are those of all, to the bit; so are those of one that says the same
    again.
    """
    values = drawn(seed, 3)
    once = chained(whole, values, NAMES)
    named = NAMES if all_of_them else NAMES[1:2]
    rest = {} if all_of_them else whole
    each = chained({**rest, "columns": dict.fromkeys(named, whole)}, values, NAMES)
    rows = once.scaled(values)
    assert np.array_equal(rows, each.scaled(values))
    start, other = once.start(rows[:50]), each.start(rows[:50])
    assert all(np.array_equal(a, b) for a, b in zip(start, other, strict=True))
    if once:
        assert np.array_equal(once.apply(rows, start, 0)[0], each.apply(rows, other, 0)[0])
        assert np.array_equal(once.origins(rows, start), each.origins(rows, other))
    assert once.width == each.width, "nothing is carried twice"

    again = Numeric(each.vocabulary.options)
    again.restore(json.loads(json.dumps(each.vocabulary.save())))
    assert again.save() == each.vocabulary.save()
    assert np.array_equal(again.encode(values), rows)


@pytest.mark.parametrize(
    "table",
    [
        {"columns": {"0": {"difference": 1, "box_cox": "fit"}, "1": {"seasonal_difference": 9}}},
        {"difference": 2, "columns": {"1": {"difference": 0, "scale_by": "series"}}},
        {
            "log": True,
            "columns": {"0": {"box_cox": "fit", "scale": "none"}, "1": {"difference": 1}},
        },
        {
            "scale": "change",
            "scale_by": "series",
            "columns": {"1": {"scale": "robust", "scale_by": "all", "seasonal_difference": 4}},
        },
    ],
    ids=str,
)
def test_the_contract_holds_by_column(table: dict[str, Any]) -> None:
    """A series goes through the transforms of its columns and comes back; nothing is told by what
    comes later, and all is saved.
    """
    entry = discover().find("vocabulary", "numeric")
    holds(VocabularySubject(entry, validated(entry, table), table))


PANEL = [[[10.0 + 3 * i + (i % 4), 5e-3 * 1.1**i * (2 + i % 3)] for i in range(30)]]
"""Two columns of other units: a line, and what grows by a tenth each step."""


def panel(tmp_path: Path, lines: str = "") -> Path:
    """Return a task of two named columns in a file."""
    rows = "\n".join(f"{a},{b},{1 + i % 5}" for i, (a, b) in enumerate(PANEL[0]))
    (tmp_path / "panel.csv").write_text(f"level,growth,price\n{rows}\n")
    text = about(SERIES, "csv", path="panel.csv", columns=["level", "growth"])
    return write(tmp_path, text.replace("[sequence]", f"{lines}\n[sequence]", 1))


OF_TWO = """
[vocabulary.columns.level]
difference = 1
[vocabulary.columns."growth"]
log = true
seasonal_difference = 3
scale = "minmax"
"""


def test_a_run_says_all_in_the_units_of_its_columns(tmp_path: Path) -> None:
    """What is added to one column, or the factor of another, is in its forecasts alone; opened
    again, saved or cut, the run says the same.
    """
    run = recurra.run(panel(tmp_path, OF_TWO), runs=tmp_path / "runs")
    values = np.array(PANEL[0])
    moved = values * [1.0, 1000.0] + [500.0, 0.0]
    plain, other = run.predict([values.tolist(), moved.tolist()], horizon=4)
    wanted = np.array(plain["predicted"]) * [1.0, 1000.0] + [500.0, 0.0]
    assert np.array(other["predicted"]) == pytest.approx(wanted, rel=1e-4)

    again = recurra.load(run.path)
    assert list(again.predict([values.tolist(), moved.tolist()], horizon=4)) == [plain, other]
    assert again.evaluate("test")["metrics"] == run.evaluate("test")["metrics"]
    session = run.session().feed(values[:11])
    session.save(tmp_path / "state")
    session = again.session().restore(tmp_path / "state").feed(values[11:])
    said = [session.forecast_step().tolist() for _ in range(4)]
    assert np.array(said) == pytest.approx(np.array(plain["predicted"]), rel=1e-6)

    low = tmp_path / "low.csv"
    low.write_text("level,growth\n" + "1,1\n" * 9 + "1,0\n" * 9)
    with pytest.raises(InputError, match=r"log: the value 0 of column 'growth' .*: position 9;"):
        run.evaluate("all", {"source.path": str(low)})

    told = recurra.check(panel(tmp_path, OF_TWO))["vocabulary"]
    assert told["notes"] == ["growth: x is log x"]
    assert [step.split(":")[0] for step in told["transforms"]] == ["level"] * 2 + ["growth"] * 2


def test_a_covariate_has_a_scale_of_its_own(tmp_path: Path) -> None:
    """Its power and scale are those that its column says, the others' those of the task; the
    columns that are predicted are read as without it.
    """
    changes = {"source.past_covariates": ["price"], "generation.length": 1}
    own = {f"vocabulary.columns.price.{key}": of for key, of in (("log", True), ("scale", "max"))}
    path = panel(tmp_path, OF_TWO)
    data = load_data(resolve(path, {**changes, **own}))
    usual = load_data(resolve(path, changes))
    seen = data.splits["train"].elements
    price = np.array([1.0 + i % 5 for i in range(30)])[:, None]

    def read(loaded: Any) -> Numbers:
        table = loaded.covariates.tables["past_covariates"]
        return np.asarray(table.encode(price))

    assert read(data) == pytest.approx(np.log(price) / np.log(price[:seen]).max())
    assert read(usual) == pytest.approx((price - price[:seen].mean()) / price[:seen].std())
    assert data.vocabulary.save()["shift"] == usual.vocabulary.save()["shift"]

    run = recurra.run(path, {**changes, **own}, runs=tmp_path / "runs")
    assert recurra.load(run.path).evaluate("test")["metrics"] == run.evaluate("test")["metrics"]


@pytest.mark.parametrize(
    ("lines", "changes", "match"),
    [
        (
            "[vocabulary.columns.levle]\nlog = true",
            {},
            r"task.toml:11:1 vocabulary.columns.levle: there is no column of numbers 'levle'"
            r"(.|\n)*allowed: level, growth(.|\n)*did you mean: level",
        ),
        (
            'columns = { growth = { scale = "chnage" } }',
            {},
            r"task.toml:11:\d+ vocabulary.columns.growth.scale: (.|\n)*did you mean: change",
        ),
        (
            "[vocabulary.columns.growth]\nlag = 3",
            {},
            r"task.toml:12:1 vocabulary.columns.growth.lag(.|\n)*allowed: box_cox, difference, log",
        ),
        (
            "[vocabulary.columns.growth]\nlog = true",
            {"vocabulary.columns.growth.box_cox": 0.5},
            "task.toml:11:1 vocabulary.columns.growth: log and box_cox both stand first",
        ),
        (
            "log = true",
            {"vocabulary.columns.level.scale_by": "series", "vocabulary.columns.level.log": 3},
            "vocabulary.columns.level.log: log has the wrong type",
        ),
        (
            'scale = "none"',
            {"vocabulary.columns.level.scale_by": "series"},
            'level.scale_by: scale = "none" scales no series',
        ),
        (
            "",
            {"vocabulary.columns.a.b.log": True},
            r"vocabulary.columns.a.b(.|\n)*there is no key 'b' here",
        ),
        ("", {'vocabulary.columns."a.b".log': True}, r'columns."a.b"(.|\n)*no column of numbers'),
        (
            "",
            {"vocabulary.columns.price.log": True},
            "'price' to have options of its own(.|\n)*allowed: level, growth",
        ),
        (
            "",
            {"source.past_covariates": ["price"], "vocabulary.columns.price.difference": 1},
            r"vocabulary.columns.price.difference: 'price' is only read, as a covariate",
        ),
    ],
)
def test_what_a_column_cannot_say_is_refused(
    lines: str, changes: dict[str, Any], match: str, tmp_path: Path
) -> None:
    """At its place, with what would do."""
    path = panel(tmp_path, lines)
    with pytest.raises(InputError, match=match):
        recurra.check(path, {"generation.length": 1, **changes})


def test_columns_without_names_have_places(tmp_path: Path) -> None:
    """They are called 0, 1 and so on, and an error says so."""
    path = write(tmp_path, about(SERIES, "inline", series=PANEL))
    told = recurra.check(path, {"vocabulary.columns.1.difference": 1})["vocabulary"]
    assert told["transforms"][0] == "feature 1: difference to the step before"
    with pytest.raises(InputError, match=r"by their places, from 0 on(.|\n)*allowed: 0, 1"):
        recurra.check(path, {"vocabulary.columns.2.difference": 1})


def test_layers_say_more_of_a_column_or_less(tmp_path: Path) -> None:
    """A base's options of a column stay under a file's and an override's, until one unsets them."""
    panel(tmp_path, OF_TWO)
    path = tmp_path / "over.toml"
    path.write_text(
        'schema = 1\nextends = "task.toml"\nunset = ["vocabulary.columns.growth.log"]\n'
        "[vocabulary.columns.growth]\ndifference = 2\n"
    )
    resolved = resolve(path, ["vocabulary.columns.growth.box_cox=fit"])
    columns = resolved.tables()["vocabulary"]["columns"]
    assert columns == {
        "level": {"difference": 1},
        "growth": {"seasonal_difference": 3, "scale": "minmax", "difference": 2, "box_cox": "fit"},
    }
    bare = resolve(path, ['unset=["vocabulary.columns"]'])
    assert "columns" not in bare.tables()["vocabulary"]


@pytest.mark.parametrize("options", [{"log": True}, {"box_cox": "fit"}, {"box_cox": 0.5}], ids=str)
@pytest.mark.parametrize("by", ["columns.growth.", ""])
def test_a_number_without_a_power_is_named_with_its_column(
    options: dict[str, Any], by: str, tmp_path: Path
) -> None:
    """The row, the column, and how this column is left as it is."""
    changes = {f"vocabulary.{by}{name}": value for name, value in options.items()}
    path = panel(tmp_path)
    rows = (tmp_path / "panel.csv").read_text().splitlines()
    rows[8] = "31,-2.5,1"
    (tmp_path / "panel.csv").write_text("\n".join(rows))
    match = r"the value -2.5 of column 'growth' has no .*: position 7, in the train(.|\n)*"
    cure = f"leave {next(iter(options))} out" if by else "set vocabulary.columns.growth."
    with pytest.raises(InputError, match=match + cure):
        recurra.check(path, changes)


@pytest.mark.parametrize(("role", "row"), [("past", 4), ("past", 28), ("static", 0)])
def test_a_covariate_without_a_logarithm_is_named_with_its_row(
    role: str, row: int, tmp_path: Path
) -> None:
    """In training and behind it, of steps and of whole series, at the option that asks for it."""
    path = panel(tmp_path)
    rows = (tmp_path / "panel.csv").read_text().splitlines()
    price = "0" if role == "static" else "2"
    for at in range(1, len(rows)):
        mine = "0" if at == row + 1 else price
        rows[at] = ",".join([*rows[at].split(",")[:2], mine])
    (tmp_path / "panel.csv").write_text("\n".join(rows))
    changes = {
        f"source.{role}_covariates": ["price"],
        "generation.length": 1,
        "vocabulary.columns.price.log": True,
    }
    where = "sequence 1" if role == "static" else f"position {row}"
    with pytest.raises(InputError, match=f"price.log: the value 0 of column 'price' .*: {where}"):
        recurra.check(path, changes)


def test_covariates_beside_a_scale_of_each_series_are_scaled_by_training(tmp_path: Path) -> None:
    """A scale that is of series alone is none for them: they have mean 0 and deviation 1."""
    changes = {
        "source.past_covariates": ["price"],
        "generation.length": 1,
        "vocabulary.scale": "change",
        "vocabulary.scale_by": "series",
    }
    told = recurra.check(panel(tmp_path), changes)["vocabulary"]["beside"]
    price = np.array([1.0 + i % 5 for i in range(18)])
    assert told == [f"price: (x - {price.mean():g}) / {price.std():g}"]


def test_a_zero_is_one_beside_a_column_of_logarithms() -> None:
    """No error is divided by it, as in a vocabulary of that column alone."""
    values = np.array([[0.0, 1.0], [4.0, 2.0], [0.0, 3.0], [7.0, 5.0]])
    sums = []
    for columns, options in (([0, 1], {"columns": {"1": {"log": True}}}), ([0], {})):
        vocabulary = Numeric(NumericOptions.model_validate(options))
        vocabulary.fit([values[:, columns]])
        scaled = torch.from_numpy(vocabulary.encode(values[:, columns]))
        errors = Distance(vocabulary)
        errors.add(scaled + 0.25, scaled)
        sums.append(errors.columns()[0].metrics() if len(columns) > 1 else errors.values())
    assert sums[0]["mape"] == pytest.approx(sums[1]["mape"], rel=1e-9)


def test_each_column_finds_its_own_power() -> None:
    """It is the one that it finds alone, whatever the others are."""
    draw = np.random.default_rng(3)
    values = np.stack([np.exp(draw.normal(0, 1, 400)), 50 + draw.normal(0, 1, 400) ** 2], axis=1)
    both = Numeric(NumericOptions.model_validate({"columns": {"0": {"box_cox": "fit"}}}))
    both.fit([values])
    alone = Numeric(NumericOptions(box_cox="fit"))
    alone.fit([values[:, :1]])
    assert both.power is not None and alone.power is not None
    assert both.power[0] == alone.power[0] < 0.2
    assert np.isnan(both.power[1])
    each = Numeric(NumericOptions.model_validate({"columns": {"1": {"box_cox": "fit"}}}))
    each.fit([values])
    assert each.save()["power"][0] is None
