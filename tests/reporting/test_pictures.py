"""The pictures of a run: what was recorded is drawn, and what is missing leaves out no more."""

from __future__ import annotations

import csv
import io
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from conftest import REPOSITORY
from pages import quoted, rows, section
from pictured import RESULT, records, run_folder

from recurra.drawing import Picture
from recurra.errors import InputError
from recurra.reporting.page import page
from recurra.reporting.samples import parsed
from recurra.reporting.subjects import SUBJECTS, picture, pictures
from recurra.reporting.view import View, view


def closed() -> Any:
    """Open nothing: the folders here hold no weights."""
    raise InputError.of("RC051", "there is no checkpoint")


def seen(path: Path) -> View:
    """Return the view of a folder made by hand."""
    return view(path, closed)


def table(text: str) -> list[dict[str, str]]:
    """Return the rows of csv by their headings."""
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_curves_are_what_was_recorded(tmp_path: Path) -> None:
    """Each recorded loss, rate, norm and figure stands in the data of the picture, at its step."""
    made = picture(seen(run_folder(tmp_path / "1")), "curves")
    titles = [panel.title for panel in made.panels]
    assert titles == ["Loss", "Learning rate", "Gradient norm", "accuracy, validation"]
    loss, rate, norm, accuracy = (panel.columns() for panel in made.panels)
    told = [record for record in records(40) if record["split"] == "train"]
    assert [c.name for c in loss] == ["updates", "training", "validation"]
    assert list(loss[0].values) == [record["step"] for record in told]
    assert list(loss[1].values) == [record["loss"] for record in told]
    assert [step for step, v in zip(loss[0].values, loss[2].values, strict=True) if v] == [
        10, 20, 30, 40,
    ]  # fmt: skip
    assert list(rate[1].values) == [record["rate"] for record in told]
    assert list(norm[1].values) == [record["gradient_norm"] for record in told]
    assert list(accuracy[1].values) == [0.5] * 4
    assert "best step, 30" in made.svg()
    assert loss[1].unit == "cross entropy"


def test_the_best_step_is_that_of_the_weights_or_of_the_checkpoints(tmp_path: Path) -> None:
    """A run without a result tells it by its index of checkpoints."""
    made = picture(seen(run_folder(tmp_path / "1", result=None)), "curves")
    assert "best step, 30" in made.svg()
    other = run_folder(tmp_path / "2", result={**RESULT, "weights_of_step": 20})
    assert "best step, 20" in picture(seen(other), "curves").svg()


def test_what_is_no_number_is_a_gap_that_is_counted(tmp_path: Path) -> None:
    """A NaN of the records breaks the line, and the panel says how many there are."""
    folder = run_folder(tmp_path / "1", lines=records(40, bad=[7, 8, 9]))
    loss = picture(seen(folder), "curves").panels[0]
    assert "3 values are no finite number: a gap." in loss.remarks()
    assert len(loss.columns()[0].values) == 40


def test_without_validation_the_curves_say_so(tmp_path: Path) -> None:
    """No best step is marked, and the caption warns."""
    folder = run_folder(tmp_path / "1", lines=records(40, validate=0))
    made = picture(seen(folder), "curves")
    assert "There was no validation" in made.caption
    assert "best step" not in made.svg()


def test_a_long_curve_is_thinned_and_keeps_its_spike(tmp_path: Path) -> None:
    """Of 20,000 records about 1,000 are drawn; the highest loss, of one step, is among them."""
    lines = list(records(20_000, validate=0))
    lines[12_345]["loss"] = 77.0
    loss = picture(seen(run_folder(tmp_path / "1", lines=lines)), "curves").panels[0]
    values = [v for v in loss.columns()[1].values if v is not None]
    assert len(values) < 1100 and max(values) == 77.0
    assert "Of 20,000 points" in loss.remarks()


def test_figures_stand_beside_the_baselines(tmp_path: Path) -> None:
    """A row for the model and for each baseline, all digits in the csv; bars of what is judged."""
    made = picture(seen(run_folder(tmp_path / "1")), "figures")
    rows = table(made.csv().partition("\r\n\r\n")[0])
    assert rows == [
        {"": "model", "loss": "1.5", "accuracy": "0.75"},
        {"": "uniform", "loss": "2", "accuracy": "0.25"},
        {"": "unigram", "loss": "1.75", "accuracy": "0.5"},
    ]
    bars = made.panels[1].columns()
    assert bars[0].values == ["model", "unigram", "uniform"]


def test_higher_is_better_sorts_the_bars_the_other_way(tmp_path: Path) -> None:
    """The best is on top, whichever way a figure is read."""
    result = {**RESULT, "judged": "accuracy"}
    result["verdict"] = "0.75 accuracy, above unigram (0.5)"
    made = picture(seen(run_folder(tmp_path / "1", result=result)), "figures")
    assert made.panels[1].title == "accuracy, the test split: higher is better"
    assert made.panels[1].columns()[0].values == ["model", "unigram", "uniform"]


@pytest.mark.parametrize("text", ["", "no heading", "--- step x\na\n"])
def test_what_holds_no_samples_has_none(text: str) -> None:
    """A file that was cut or changed is no fault of the reader."""
    assert parsed(text) == []


def test_samples_keep_their_steps_and_their_lines() -> None:
    """Each sample stands at its step, line ends within it and all."""
    text = "--- step 1\na\nb\n--- step 20\n\n--- step 1000, final\nc  d\n"
    assert parsed(text) == [("1", "a\nb"), ("20", ""), ("1,000, final", "c  d")]


def test_samples_of_numbers_are_lines(tmp_path: Path) -> None:
    """Forecasts at each validation are drawn, not written."""
    folder = run_folder(tmp_path / "1", samples="--- step 1\n1.5\n2\n--- step 2, final\n3\n4\n")
    columns = picture(seen(folder), "samples").panels[0].columns()
    assert [c.name for c in columns] == ["steps ahead", "step 1", "step 2, final"]
    assert list(columns[2].values) == [3, 4]


def test_a_run_without_a_result_has_curves_and_says_what_it_lacks(tmp_path: Path) -> None:
    """Failed, it shows how it went and why it ended; figures are left out with a reason."""
    failed = {"code": "RC060", "fact": "the loss is nan at step 41"}
    folder = run_folder(tmp_path / "1", result=None, failed=failed)
    made = {subject.name: each for subject, each in pictures(seen(folder))}
    assert isinstance(made["curves"], Picture)
    assert "the loss is nan at step 41" in made["curves"].caption
    assert str(made["figures"]) == "it has no result: it is failed"


@pytest.mark.parametrize("damage", ["result", "records", "samples", "index"])
def test_a_damaged_file_leaves_out_what_needs_it_alone(tmp_path: Path, damage: str) -> None:
    """Whatever a file holds instead of what belongs there, the other pictures are drawn."""
    folder = run_folder(tmp_path / "1")
    name = {
        "result": "result.json", "records": "metrics.jsonl", "samples": "samples.txt",
        "index": "checkpoints/index.json",
    }[damage]  # fmt: skip
    for content in (b"\xff\x00", b"[1, {}]", b"{}", b'{"metrics": 3, "baselines": [1]}', b""):
        (folder / name).write_bytes(content)
        made = [each for _, each in pictures(seen(folder))]
        assert sum(isinstance(each, Picture) for each in made) >= 2
        assert not [each for each in made if "could not be drawn" in str(each)]


def test_a_name_that_there_is_not_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    """A misspelt picture is met with the nearest; one that does not apply, with the reason."""
    folder = run_folder(tmp_path / "1", result=None)
    with pytest.raises(InputError, match="no picture 'curve'") as told:
        picture(seen(folder), "curve")
    assert told.value.problems[0].cure == "did you mean curves?"
    with pytest.raises(InputError, match="has no picture of figures: it has no result"):
        picture(seen(folder), "figures")


def test_a_fault_in_one_picture_keeps_no_other_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What fails unforeseen is left out, and named."""

    def broken(view: View) -> Picture:
        raise KeyError("by_step")

    monkeypatch.setattr("recurra.reporting.curves.picture", broken)
    made = {s.name: each for s, each in pictures(seen(run_folder(tmp_path / "1")))}
    assert str(made["curves"]) == "it could not be drawn: KeyError: 'by_step'"
    assert isinstance(made["figures"], Picture)


def test_every_subject_is_there() -> None:
    """Each name is one word of small letters, once, and leads to a function."""
    names = [subject.name for subject in SUBJECTS]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() and name == name.lower() for name in names)
    for subject in SUBJECTS:
        module, _, function = subject.home.partition(":")
        assert callable(getattr(import_module(module), function))


@pytest.mark.parametrize("damaged", [{3}, {1, 7, 44}, set(range(5, 35))], ids=len)
def test_damaged_lines_are_told_with_their_numbers(tmp_path: Path, damaged: set[int]) -> None:
    """How many lines are no records, and which: cut off, of another kind, or no JSON at all."""
    folder = run_folder(tmp_path / "1")
    lines = (folder / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    spoiled = (b"{", b"[]", b"\xff", b'{"step": "3", "split": "train"}', b"", b"x" * (1 << 17))
    for n in damaged:
        lines[n - 1] = spoiled[n % len(spoiled)]
    (folder / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    caption = picture(seen(folder), "curves").caption
    said = [f"{n}" for n in sorted(damaged)][:8]
    if len(damaged) == 1:
        assert "Line 3 of metrics.jsonl is damaged and left out." in caption
    else:
        told = f"{len(damaged)} lines of metrics.jsonl are damaged and left out: {', '.join(said)}"
        assert told in caption
    assert ("more" in caption) == (len(damaged) > 8)


def test_whole_records_tell_no_damage(tmp_path: Path) -> None:
    """No line of a run as it is written is said to be damaged."""
    view = seen(run_folder(tmp_path / "1"))
    assert "damaged" not in picture(view, "curves").caption and not view.damage


def test_a_file_that_holds_no_json_is_told(tmp_path: Path) -> None:
    """One that is not there is not: a run that is not finished has no result."""
    folder = run_folder(tmp_path / "1", result=None)
    (folder / "environment.json").write_text('{"a":')
    view = seen(folder)
    assert view.json("environment.json") == {} == view.json("result.json")
    assert view.damage == ["environment.json cannot be read: it is no JSON."]


def test_why_a_run_cannot_be_opened_comes_with_what_can_be_done(tmp_path: Path) -> None:
    """Whatever needs the opened run says both, as the page does, and `plot` as an error."""
    cure = "bring it back as it was, or run it as it is now with --trust"

    def edited() -> Any:
        raise InputError.of("RC045", "cell.py changed since it was made.", cure=cure)

    made = view(run_folder(tmp_path / "1"), edited)
    left = {s.name: str(each) for s, each in pictures(made) if not isinstance(each, Picture)}
    why = f"the run cannot be opened: cell.py changed since it was made; to mend it: {cure}"
    assert left["states"] == left["lags"] == left["lengths"] == why
    with pytest.raises(InputError) as told:
        picture(made, "states")
    assert told.value.problems[0].cure == cure
    assert cure in page([made]).text


def test_bars_say_which_table_they_are_of(tmp_path: Path) -> None:
    """Of a run with two tables the bars are of the one that the verdict is about."""
    figures = {"mase": 0.5}, {"naive": {"mase": 1.0}}
    own = dict(zip(("metrics", "baselines"), figures, strict=True))
    result = {
        **RESULT, **own, "judged": "mase", "best_baseline": "naive",
        "forecast": {"steps": 12, "metrics": {"mase": 0.7}, "baselines": {"naive": {"mase": 2.0}}},
    }  # fmt: skip
    made = picture(seen(run_folder(tmp_path / "1", result=result)), "figures")
    titles = [panel.title for panel in made.panels]
    assert len(titles) == len(set(titles)) == 3
    tables = [title for title in titles if "better" not in title]
    (bars,) = {*titles} - {*tables}
    assert sum(table[1:] in bars for table in tables) == 1


def test_every_picture_is_told_in_the_documentation() -> None:
    """Each has a row in docs/reports.md, and no row there is of another."""
    text = (REPOSITORY / "docs" / "reports.md").read_text(encoding="utf-8")
    told = [name for row in rows(section(text, "## One page")) for name in quoted(row[0])]
    assert sorted(told) == sorted(subject.name for subject in SUBJECTS)
