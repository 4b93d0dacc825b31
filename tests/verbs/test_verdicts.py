"""Bands, verdicts and the report of `check`: what recurra says of a task is true of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HELLO, SERIES
from terminal import command
from trials import PROSE, TRIALS, write

import recurra
from recurra.errors import InputError
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.job.results import broken_bands, verdict
from recurra.resolve import resolve
from recurra.spec.tables import Expect

FOUND = {"metrics": {"loss": 0.5, "accuracy": 0.75, "mape": 20.0}, "beats_baselines": True}
FORECAST = {**FOUND, "forecast": {"metrics": {"mape": 10.0}}}

BANDS: list[tuple[dict[str, Any], dict[str, Any], Any, bool]] = [
    ({"loss_below": 0.51}, FOUND, "", True),
    ({"loss_below": 0.5}, FOUND, "", False),
    ({"accuracy_above": 0.74}, FOUND, "", True),
    ({"accuracy_above": 0.75}, FOUND, "", False),
    ({"accuracy_above": 0.5}, {"metrics": {"loss": 1.0}, "beats_baselines": True}, "", False),
    ({"mape_below": 20.1}, FOUND, [], True),
    ({"mape_below": 20.0}, FOUND, [], False),
    ({"mape_below": 10.1}, FORECAST, [], True),
    ({"mape_below": 9.9}, FORECAST, [], False),
    ({"beats_baselines": True}, FOUND, "", True),
    ({"beats_baselines": False}, FOUND, "", False),
    ({"beats_baselines": True}, {**FOUND, "beats_baselines": False}, "", False),
    ({"beats_baselines": False}, {**FOUND, "beats_baselines": False}, "", True),
    ({"generated": "hello"}, FOUND, "hello", True),
    ({"generated": "hello"}, FOUND, "hella", False),
    ({"generated": "hello"}, FOUND, [1.0], False),
    ({"forecast": [60.0], "within": 2.0}, FOUND, [62.0, 99.0], True),
    ({"forecast": [60.0], "within": 2.0}, FOUND, [62.1, 99.0], False),
    ({"forecast": [60.0, 70.0], "within": 2.0}, FOUND, [60.0], False),
    ({"forecast": [60.0, 70.0], "within": 2.0}, FOUND, [[61.0, 5.0], [71.0, 5.0]], True),
    ({"forecast": [60.0], "within": 2.0}, FOUND, [float("nan")], False),
    ({"forecast": [60.0]}, FOUND, [60.0], True),
    ({"forecast": [60.0]}, FOUND, "60", False),
    ({"loss_below": 0.5}, {"metrics": {"loss": float("nan")}, "beats_baselines": True}, "", False),
    ({"metrics": {"accuracy": [0.75, 1.0]}}, FOUND, "", True),
    ({"metrics": {"accuracy": [0.7, 0.74]}}, FOUND, "", False),
    ({"metrics": {"loss": [0.0, 0.5]}}, FOUND, "", True),
    (
        {"metrics": {"loss": [0.0, 0.5]}},
        {"metrics": {"loss": float("nan")}, "beats_baselines": True},
        "",
        False,
    ),
    ({"metrics": {"mape": [9.0, 11.0]}}, FORECAST, [], True),
    ({"metrics": {"mape": [19.0, 21.0]}}, FORECAST, [], False),
    ({"metrics": {"loss": [0.4, 0.6]}}, FORECAST, [], True),
    ({"metrics": {"rmse": [0.0, 9.0]}}, FOUND, [], False),
    (
        {"metrics": {"mape": [0.0, 99.0]}},
        {**FOUND, "forecast": {"metrics": {"mae": 1.0}}},
        [],
        False,
    ),
    ({"mape_below": 99.0}, {**FOUND, "forecast": {"metrics": {"mae": 1.0}}}, [], False),
    ({}, FOUND, "", True),
]


@pytest.mark.parametrize("bands, found, generated, holds", BANDS)
def test_a_band_holds_or_does_not(
    bands: dict[str, Any], found: Any, generated: Any, holds: bool
) -> None:
    """Each band breaks at its border and holds within, and names its key with what came and what is
    allowed.
    """
    broken = broken_bands(Expect(**bands), found, generated)
    assert not broken if holds else [problem.code for problem in broken] == ["RC062"]
    for problem in broken:
        table, _, name = problem.key.removeprefix("expect.").partition(".")
        assert problem.allowed == str(bands[table][name] if name else bands[table]) and problem.got


@pytest.mark.parametrize("table", ["", "[expect]\n", "[expect]\nmetrics = {}\n"])
def test_nothing_is_held_to_no_band(table: str, task: Callable[..., Path], tmp_path: Path) -> None:
    """`--expect` without a band is refused before anything is written, by `run` and by `resume`,
    for it would check nothing; a band that an override brings is one.
    """
    path, runs = task(f"{HELLO}\n{table}"), tmp_path / "runs"
    recurra.run(path, {"training.steps": 1}, runs=tmp_path / "plain")
    command("run", path, "--runs", runs, "--expect").fails(2, "[expect]", "RC080", "add a band")
    assert not runs.exists()
    with pytest.raises(InputError, match="this task has none"):
        recurra.resume(tmp_path / "plain" / "task", expect=True)
    recurra.run(path, {"training.steps": 1, "expect.loss_below": 99.0}, runs=runs, expect=True)


@pytest.mark.parametrize("expect, code", [("loss_below = 99.0", 0), ("loss_below = 0.0001", 1)])
def test_expect_decides_the_exit_code(
    expect: str, code: int, task: Callable[..., Path], tmp_path: Path
) -> None:
    """`--expect` exits 1 with RC062 where a band is broken, and without it the run is done all the
    same.
    """
    path = task(f"{HELLO}\n[expect]\n{expect}\n")
    ended = command("run", path, "--runs", tmp_path / "runs", "--expect").tidy(code)
    assert ("RC062" in ended.err) == bool(code) and "verdict:" in ended.out
    if code:
        ended.fails(1, "expect.loss_below", "got:", "allowed: 0.0001")
    plain = command("run", path, "--runs", tmp_path / "runs", "--json").tidy(0)
    assert [p["key"] for p in plain.last["broken_bands"]] == (["expect.loss_below"] if code else [])
    command("resume", tmp_path / "runs" / "task", "--expect").tidy(code)


@pytest.mark.parametrize("text", [PROSE, SERIES, HELLO], ids=["prose", "series", "hello"])
def test_the_verdict_compares_with_the_best_baseline(text: str, tmp_path: Path) -> None:
    """The verdict names the lowest baseline, both figures, the true share between them, and a
    trained split.
    """
    run = recurra.run(write(tmp_path, text), runs=tmp_path / "runs")
    found = run.result
    compared = found.get("forecast", found)
    key = "mae" if "forecast" in found else "nats"
    best = min(compared["baselines"].items(), key=lambda item: item[1][key])
    ours, theirs = compared["metrics"][key], best[1][key]
    assert found["best_baseline"] == best[0] and found["beats_baselines"] == (ours < theirs)
    said = found["verdict"]
    assert said.startswith("beats the best" if ours < theirs else "does not beat the best")
    assert best[0] in said and f"{ours:.4g}" in said and f"{theirs:.4g}" in said
    share = f"{abs(theirs - ours) / theirs * 100:.1f} % " if theirs else ""
    told = (
        f"{ours / theirs:.3g} times"
        if theirs and ours > 3 * theirs
        else f"{share}{'below' if ours < theirs else 'above'}"
    )
    assert f"{told} {best[0]}" in said
    assert ("training split itself" in said) == (found["split"] == "train")


@pytest.mark.parametrize("name", TRIALS)
def test_the_report_adds_up(name: str, tmp_path: Path) -> None:
    """Parameters, windows, steps and memory of `check` are those that the run then has."""
    text, changes = TRIALS[name]
    task = write(tmp_path, text)
    report = recurra.check(task, changes)
    resolved = resolve(task, changes)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size, answers=data.answers.size)
    weights = sum(p.numel() for p in network.parameters())
    assert report["parameters"] == weights == sum(layer["parameters"] for layer in report["layers"])
    batches = list(data.feed.epoch(0))
    assert report["training"]["batches_per_epoch"] == len(batches)
    assert report["data"]["splits"]["train"]["windows"] == sum(len(batch.x) for batch in batches)
    scored = sum(batch.scored for batch in batches)
    assert scored <= report["data"]["splits"]["train"]["predicted"]
    assert report["training"]["steps"] == resolved.task.training.steps
    assert report["memory"]["weights"] == 4 * weights
    assert report["memory"]["total"] == sum(
        size for part, size in report["memory"].items() if part != "total"
    )
    assert (
        sum(part["elements"] for part in report["data"]["splits"].values())
        == report["data"]["elements"]
    )
    shapes = dict(map(tuple, report["shapes"]))
    assert (
        shapes["input"][:2] == list(batches[0].x.shape[:2])
        and shapes["head"][-1] == network.head.out_features
    )
    assert report["seconds"] == pytest.approx(
        report["seconds_per_step"] * report["training"]["steps"]
    )
    assert not (tmp_path / "runs").exists(), "check writes nothing"


def test_each_split_is_evaluated_by_its_name(tmp_path: Path) -> None:
    """Test stands for itself, an empty or unknown split is told, and the last of them is the
    default.
    """
    run = recurra.run(
        write(tmp_path, PROSE), {"sequence.split": [0.8, 0.2, 0.0]}, runs=tmp_path / "runs"
    )
    assert run.evaluate()["split"] == run.result["split"] == "validation"
    assert run.evaluate("train")["metrics"] != run.evaluate()["metrics"]
    for split, code in (("test", "RC041"), ("dev", "RC080")):
        with pytest.raises(InputError) as caught:
            run.evaluate(split)  # type: ignore[arg-type]
        assert caught.value.problems[0].code == code


CELL = """\
import torch
from typing import NamedTuple
from recurra import Cell, CellOptions, Component, Loss, Options, hookimpl

class State(NamedTuple):
    h: torch.Tensor

CALLS = [0]

class Bad(Cell):
    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = torch.nn.Linear(input_size + options.hidden_size, options.hidden_size)
    def initial_state(self, batch_size, *, device, dtype):
        return State(torch.zeros(batch_size, self.hidden_size, device=device, dtype=dtype))
    def step(self, x_t, state):
        CALLS[0] += 1
        h = torch.tanh(self.map(torch.cat([x_t, state.h], -1)))
        RESULT

class BadLoss(Loss):
    reads = ("symbols",)
    def forward(self, output, target):
        LOSS

class LossOptions(Options):
    pass

@hookimpl
def recurra_components():
    here = __name__
    return [
        Component("cell", "bad", here + ":Bad", "recurra:CellOptions", "is bad"),
        Component("loss", "bad", here + ":BadLoss", here + ":LossOptions", "is bad"),
    ]
"""
GOOD_STEP = "return h, State(h)"
GOOD_LOSS = 'return torch.nn.functional.cross_entropy(output, target, reduction="none")'
FAULTS = {
    "raises": ('raise RuntimeError("my own fault")', "RuntimeError: my own fault"),
    "raises later": (
        'if CALLS[0] > 20: raise KeyError("later")\n        return h, State(h)', "KeyError: 'later'"
    ),
    "output too narrow": ("return h[:, 1:], State(h)",
        "step gives an output of shape [2, 7], not [B, H] = [2, 8]"),
    "output without batch": ("return h[0], State(h)", "[B, H] = [2, 8]"),
    "output of a sum": ("return h.sum(), State(h)", "[B, H] = [2, 8]"),
    "no state": ("return h", "not the pair (output, state)"),
    "nothing": ("return None", "not the pair (output, state)"),
    "state is no tuple": ("return h, h", "a NamedTuple of tensors"),
    "state too wide": ("return h, State(torch.cat([h, h], -1))",
        "step gives state h of shape [2, 16]"),
    "state of two": ("return h, (h, h)", "a state of 2 fields"),
    "output is no tensor": ("return h.tolist(), State(h)", "of type list, not a tensor"),
}  # fmt: skip


def _with_plugin(folder: Path, step: str, loss: str, kind: str) -> Path:
    write(
        folder, CELL.replace("RESULT", step).replace("LOSS", loss, 1).replace("LOSS", ""), "bad.py"
    )
    text = HELLO.replace('kind = "lstm"', 'kind = "bad"') if kind == "cell" else HELLO
    text = text.replace('kind = "cross_entropy"', 'kind = "bad"') if kind == "loss" else text
    return write(
        folder, text.replace("steps = 3", "steps = 9") + '\n[plugins]\nfiles = ["bad.py"]\n'
    )


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_cell_is_named(name: str, tmp_path: Path) -> None:
    """A cell that raises or gives wrong shapes ends with exit code 3, its name and its file, and no
    traceback.
    """
    step, words = FAULTS[name]
    task = _with_plugin(tmp_path, step, GOOD_LOSS, "cell")
    command("run", task, "--runs", tmp_path / "runs").fails(3, "RC071", "file:bad.py/bad", words)
    if name != "raises later":
        command("check", task).fails(3, "RC071", words)


def test_a_sound_plugin_trains(tmp_path: Path) -> None:
    """The same file with nothing wrong in it runs to its end."""
    for kind in ("cell", "loss"):
        task = _with_plugin(tmp_path / kind, GOOD_STEP, GOOD_LOSS, kind)
        command("run", task, "--runs", tmp_path / "runs").tidy(0)


@pytest.mark.parametrize("loss, words", [
    ("return torch.nn.functional.cross_entropy(output, target)",
        "forward gives of shape [], not [N] = [2]"),
    ("return output", "not [N] = [2]"), ("return 1.0", "of type float"),
    ('raise ValueError("no")', "ValueError: no"),
])  # fmt: skip
def test_a_faulty_loss_is_named(loss: str, words: str, tmp_path: Path) -> None:
    """A loss that takes the mean itself, or gives anything but one number a step, is told before it
    misleads.
    """
    task = _with_plugin(tmp_path, GOOD_STEP, loss, "loss")
    command("run", task, "--runs", tmp_path / "runs").fails(3, "RC071", "file:bad.py/bad", words)
    command("check", task).fails(3, "RC071", words)


def test_a_probe_leaves_no_trace_on_the_weights(tmp_path: Path) -> None:
    """Trying a cell before training changes no weight and leaves no gradient."""
    resolved = resolve(_with_plugin(tmp_path, GOOD_STEP, GOOD_LOSS, "cell"))
    network, _ = build_network(resolved, 4)
    again, _ = build_network(resolved, 4)
    assert all(p.grad is None for p in network.parameters())
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize(("ours", "beats"), [(0.9, True), (0.9985, True), (0.9995, False),
    (1.0, False), (1.0005, False), (1.2, False)])  # fmt: skip
def test_what_lies_within_a_thousandth_is_as_good(ours: float, beats: bool, tmp_path: Path) -> None:
    """A model beats a baseline where its error is smaller by more than a thousandth."""
    resolved = resolve(write(tmp_path, SERIES))
    measured: Any = {"metrics": {"mae": ours}, "baselines": {"naive": {"mae": 1.0}}, "notes": []}
    said = verdict(resolved.target, type(resolved.parts["vocabulary"].build()), measured, 1, "")
    assert said["beats_baselines"] == beats
    assert said["verdict"].startswith("beats" if beats else "does not beat")
    assert ("within a thousandth of naive" in said["verdict"]) == (0 < abs(ours - 1) <= 1e-3)
