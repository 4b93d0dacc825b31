"""Whatever of a task could only fail after training has begun is found before it, by `check` as by
`run`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import HELLO, SERIES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trials import PROSE, about, trained, write

import recurra
from recurra.compatibility import check_compatibility
from recurra.data import blocks
from recurra.errors import InputError, RecurraError
from recurra.job import preflight, scan
from recurra.job.build import build_network
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate

VALUES = [float(value) for value in range(1, 21)]
ALL_ZERO = about(SERIES, "inline", values=[*VALUES[:12], *[0.0] * 8])
"""A series whose validation and test splits hold nothing but zeros."""

RAW = {"vocabulary.scale": "none"}

NEVER: dict[str, tuple[str, dict[str, Any], str]] = {
    "a loss beyond float32": (SERIES, {"source.values": [*VALUES[:19], 1e30]}, "loss"),
    "a number beyond float32": (SERIES, {"source.values": [*VALUES[:19], 1e60]},
        "vocabulary.scale"),
    "a number beyond all squares": (SERIES, {"source.values": [*VALUES[:19], 1e200]}, "source"),
    "changes that float32 loses": (
        SERIES, {"source.values": [1e9 + v / 1e3 for v in VALUES], "vocabulary.scale": "none"},
        "vocabulary.scale"
    ),
    "subnormal numbers": (SERIES, {"source.values": [v * 1e-310 for v in VALUES]},
        "vocabulary.scale"),
    "a monitor that divides by zero": (ALL_ZERO, {"training.monitor": "mape"}, "training.monitor"),
    "a band that divides by zero": (ALL_ZERO, {"expect.mape_below": 5.0}, "expect.mape_below"),
    "a metric of relative errors of zeros": (ALL_ZERO, {"expect.metrics": {"mape": [0.0, 5.0]}},
        "expect.metrics.mape"),
    "a monitor that divides a sum by zero": (ALL_ZERO, {"training.monitor": "wape"},
        "training.monitor"),
    "a metric of a sum of errors of zeros": (ALL_ZERO, {"expect.metrics": {"wape": [0.0, 5.0]}},
        "expect.metrics.wape"),
    "a scaled error of what never changes": (
        SERIES,
        {"source.values": [5.0] * 16 + [1.0, 2.0, 3.0, 4.0], "expect.metrics": {"mase": [0.0,
            5.0]}},
        "expect.metrics.mase",
    ),
    "a metric of another kind": (SERIES, {"expect.metrics": {"accuracy": [0.5, 1.0]}},
        "expect.metrics.accuracy"),
    "a metric that there is not": (HELLO, {"expect.metrics": {"bleu": [0.5, 1.0]}},
        "expect.metrics.bleu"),
    "a metric out of its bounds": (HELLO, {"expect.metrics": {"accuracy": [1.1, 2.0]}},
        "expect.metrics.accuracy"),
    "a perplexity below one": (HELLO, {"expect.metrics": {"perplexity": [0.0, 0.9]}},
        "expect.metrics.perplexity"),
    "a band upside down": (HELLO, {"expect.metrics": {"loss": [0.5, 0.1]}}, "expect.metrics.loss"),
    "an accuracy of numbers": (SERIES, {"expect.accuracy_above": 0.5}, "expect.accuracy_above"),
    "a text of numbers": (SERIES, {"expect.generated": "20"}, "expect.generated"),
    "more numbers than come": (SERIES, {"expect.forecast": [1.0] * 4}, "expect.forecast"),
    "a distance from nothing": (SERIES, {"expect.within": 1.0}, "expect.within"),
    "a percentage of symbols": (HELLO, {"expect.mape_below": 5.0}, "expect.mape_below"),
    "a forecast of symbols": (HELLO, {"expect.forecast": [1.0]}, "expect.forecast"),
    "a monitor of another kind": (SERIES, {"training.monitor": "accuracy"}, "training.monitor"),
    "a choice that nothing is drawn from": (HELLO, {"generation.top_k": 3}, "generation.top_k"),
    "a share that nothing is drawn from": (HELLO, {"generation.top_p": 0.9}, "generation.top_p"),
    "a season of symbols": (HELLO, {"sequence.season": 12}, "sequence.season"),
    "a monitor of no validation": (HELLO, {"training.monitor": "accuracy"}, "training.monitor"),
    "a change that nobody watches": (HELLO, {"training.min_delta": 0.1}, "training.min_delta"),
    "a rhythm of no validation": (HELLO, {"training.validate_every": 2}, "training.validate_every"),
    "a place of no prompt": (SERIES, {"generation.position": 3}, "generation.position"),
    "a place without a clock": (HELLO, {"generation.position": 3}, "generation.position"),
    "a prompt of unknown symbols": (HELLO, {"generation.prompt": "x"}, "generation.prompt"),
    "a prompt of another width": (SERIES, {"generation.prompt": [[1.0, 2.0]]}, "generation.prompt"),
    "losses whose sum is beyond float32": (SERIES, {"source.values": [1.0, 1.5e19] * 10, **RAW},
        "loss"),
    "sizes whose sum is beyond float32": (
        SERIES, {"source.values": [1e38 * (1 + v % 3) for v in VALUES], "loss.kind": "mae", **RAW},
        "loss"
    ),
    "a gradient beyond float32": (
        SERIES,
        {"source.values": [1.0, 1e17] * 10, "cell.kind": "lru", "device.path": "eager", **RAW},
        "vocabulary.scale"
    ),
    "a prompt beyond float32": (
        SERIES, {"generation.prompt": [1e60], "cell.kind": "lru"}, "generation.prompt"
    ),
    "a prompt without logarithm": (
        SERIES, {"vocabulary.log": True, "generation.prompt": [1.0, 0.0]}, "vocabulary.log"
    ),
}  # fmt: skip


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.integers(1, 90), length=st.integers(1, 90))
def test_the_cure_for_too_little_data_is_one(batch: int, length: int, tmp_path: Path) -> None:
    """Where lanes need more than there is, each size that the cure names is enough by itself, or
    both together.
    """
    task = write(tmp_path, PROSE, "carried.toml")
    changes = {"sequence.carry": True, "training.batch_size": batch, "sequence.length": length}
    try:
        resolve(task, changes)
        recurra.check(task, changes)
    except InputError as error:
        (problem,) = error.problems
        cures = [problem.cure] if " and " in problem.cure else problem.cure.split(", or ")
        for cure in cures:
            fitting = {
                name: int(value)
                for name, value in re.findall(r"(batch_size|length) <?= (\d+)", cure)
            }
            more = {
                "training.batch_size": fitting.get("batch_size"),
                "sequence.length": fitting.get("length"),
            }
            recurra.check(task, changes | {key: value for key, value in more.items() if value})


@pytest.mark.parametrize("what", NEVER)
def test_what_never_works_is_told_before_the_first_step(what: str, tmp_path: Path) -> None:
    """`check` and `run` refuse it in the same words, with its key, and nothing is written."""
    text, changes, key = NEVER[what]
    task = write(tmp_path, text)
    told = []
    for verb in (recurra.check, lambda *given: recurra.run(*given, runs=tmp_path / "runs")):
        with pytest.raises(InputError) as caught:
            verb(task, changes)
        told.append(str(caught.value))
        assert key in {problem.key for problem in caught.value.problems}
    assert told[0] == told[1] and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("power", range(2, 20, 3))
@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_numbers_are_refused_before_an_update_or_train(
    power: int, loss: str, tmp_path: Path
) -> None:
    """However large the numbers of a series are, they are refused before the first step, or
    training goes through.
    """
    values = [VALUES[at] * (10.0**power if at % 2 else 1) for at in range(20)]
    changes = {"source.values": values, "loss.kind": loss, "device.path": "eager", **RAW}
    try:
        recurra.run(write(tmp_path, SERIES), changes, runs=tmp_path / "runs")
    except InputError as error:
        assert power > 6 and {problem.code for problem in error.problems} == {"RC042"}  # noqa: PT017
        assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("decoder", ["linear", "cell"])
def test_steep_numbers_are_gone_back_over_whatever_answers(
    decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several steps at once are answered, and gone back over, as an update does it."""
    values = np.sin(np.arange(60.0))
    values[30] = 1e9
    task = {
        "source": {"kind": "given"},
        "vocabulary": {"kind": "numeric", "scale": "none"},
        "sequence": {"length": 6, "split": [0.7, 0.15, 0.15]},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 4},
        "target": {"kind": "horizon", "length": 3, "decoder": decoder},
        "loss": {"kind": "mse"},
        "training": {"steps": 2, "batch_size": 2},
        "generation": {"length": 3},
    }
    recurra.check(task, data=values)
    monkeypatch.setattr(torch.nn.utils, "get_total_norm", lambda _: torch.tensor(torch.inf))
    with pytest.raises(InputError, match="1000000000.0.*gradient beyond all numbers"):
        recurra.check(task, data=values)


@given(at=st.integers(0, 19), other=st.integers(0, 19), value=st.sampled_from([0.0, -3.0]))
@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_number_without_logarithm_is_named_in_every_split(
    at: int, other: int, value: float, tmp_path: Path
) -> None:
    """Wherever values stand that have no logarithm, the first place and its split are named, and
    the others too.
    """
    values = list(VALUES)
    values[at] = values[other] = value
    first, last = sorted((at, other))
    with pytest.raises(InputError) as caught:
        recurra.check(write(tmp_path, SERIES), {"source.values": values, "vocabulary.log": True})
    split = "train" if first < 12 else "validation" if first < 16 else "test"
    said = str(caught.value)
    assert f"{value:g} has no logarithm: position {first}, in the {split} split" in said
    # what the scale learns from is read before the rest
    assert first == last or (first < 12 <= last) or f"so it is at position {last}, in the" in said


@pytest.mark.parametrize("block", [1, 3, 7])
def test_every_element_of_every_split_is_seen_once(
    block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scan passes over the whole corpus in blocks, of any size, in whichever splits it lies."""
    task = write(tmp_path, about(SERIES, "inline", series=[VALUES[:7], VALUES[7:9], VALUES[9:]]))
    resolved = resolve(task, {"sequence.split": [1, 1, 1], "sequence.length": 1})
    data = load_data(resolved)
    seen: list[float] = []
    monkeypatch.setattr(blocks, "BLOCK", block)

    def noted(loss: Any, rows: Any, values: Any, place: Any) -> Any:
        seen.extend(values[:, 0].tolist())
        return np.zeros(len(values))

    monkeypatch.setattr(scan, "_lossy", noted)
    network, _ = build_network(resolved, data.vocabulary.size, data.names)
    preflight.preflight(resolved, data, network)
    assert seen == VALUES


@pytest.mark.parametrize("name", ["dropout", "lanes", "series"])
def test_looking_ahead_changes_no_bit(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights, figures and samples are those of a run that does not look ahead; so is torch's own
    generator.
    """
    before = torch.get_rng_state()
    ahead = trained(tmp_path / "ahead", name)
    assert torch.equal(before, torch.get_rng_state())
    monkeypatch.setattr("recurra.job.fresh.preflight", lambda *given: None)
    blind = trained(tmp_path / "blind", name)
    mine, others = (run.folder.checkpoints.load().tensors["weights"] for run in (ahead, blind))
    assert all(torch.equal(weight, others[key]) for key, weight in mine.items())
    for part in ("metrics", "generated", "verdict"):
        assert ahead.result[part] == blind.result[part]
    assert (ahead.path / "samples.txt").read_bytes() == (blind.path / "samples.txt").read_bytes()


PLUGIN = """
import torch
from recurra import Component, Loss, Options, hookimpl
from recurra_vocabularies.character import Character

class None_(Options):
    pass

class Pointless(Loss):
    def forward(self, output, target):
        return torch.nn.functional.cross_entropy(output, target, reduction="none")
    def point(self, output):
        if output.dim() == 2 and len(output) == 1:
            raise IndexError("one row is not enough")
        return output

class Positive(Loss):
    reads = ("numbers",)
    def forward(self, output, target):
        return ((output - torch.log(target + 2)) ** 2).mean(-1)

class Mute(Character):
    def streamer(self):
        return lambda index: None

@hookimpl
def recurra_components():
    options = "recurra_vocabularies.character:CharacterOptions"
    return [
        Component("loss", "pointless", "late:Pointless", "late:None_", "p"),
        Component("loss", "positive", "late:Positive", "late:None_", "p"),
        Component(kind="vocabulary", name="mute", target="late:Mute", options=options, summary="m"),
    ]
"""


@pytest.mark.parametrize(
    ("text", "changes", "code", "said"),
    [
        (PROSE, {"loss.kind": "pointless"}, "RC071", "one row is not enough"),
        (PROSE, {"vocabulary.kind": "mute"}, "RC071", "Mute"),
        (SERIES, {"loss.kind": "positive", "source.values": [*VALUES[:19], -90.0]}, "RC042",
            "position 19, in the"),
    ],
)  # fmt: skip
def test_a_part_that_fails_late_is_told_early(
    text: str, changes: dict[str, Any], code: str, said: str, tmp_path: Path
) -> None:
    """A component that works in training and fails in a figure, a sample or another split is found
    at once.
    """
    (tmp_path / "late.py").write_text(PLUGIN, encoding="utf-8")
    with pytest.raises(RecurraError) as caught:
        recurra.check(
            write(tmp_path, text), {"plugins.files": [str(tmp_path / "late.py")], **changes}
        )
    assert caught.value.problems[0].code == code and said in str(caught.value)


TABLE = """\
schema = 1
[source]
kind = "csv"
path = "table.csv"
columns = ["x"]
missing = "drop"
"""
CLOCKS = {
    "calendar": {"encoder": {"kind": "calendar", "periods": [4.0]}},
    "season": {"sequence.season": 4},
    "none": {},
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize(
    ("empty", "told"), [({5, 6}, "line 7, line 8"), ({0, 1}, ""), ({28, 29}, ""), (set(), "")]
)
def test_rows_are_left_out_only_where_nobody_counts(
    clock: str, empty: set[int], told: str, tmp_path: Path
) -> None:
    """Under a clock or a season a gap inside a sequence is refused with its rows; at its ends it
    moves nothing.
    """
    rows = "".join(f"{t},{'' if t in empty else t % 7}\n" for t in range(30))
    (tmp_path / "table.csv").write_text(f"t,x\n{rows}", encoding="utf-8")
    _, _, rest = SERIES.partition("\n\n[vocabulary]")
    task = write(tmp_path, f"{TABLE}\n[vocabulary]{rest}")
    if not told or clock == "none":
        recurra.check(task, CLOCKS[clock])
        return
    with pytest.raises(InputError) as caught:
        recurra.check(task, CLOCKS[clock])
    assert (
        caught.value.problems[0].code == "RC014"
        and told in str(caught.value)
        and "2 rows" in str(caught.value)
    )


def test_groups_move_beside_each_other(tmp_path: Path) -> None:
    """Of several sequences the first row counts too: without it one stands elsewhere than the
    others.
    """
    rows = "".join(
        f"{group},{'' if t == 0 and group == 'b' else t}\n" for group in "abc" for t in range(10)
    )
    (tmp_path / "table.csv").write_text(f"g,x\n{rows}", encoding="utf-8")
    _, _, rest = SERIES.partition("\n\n[vocabulary]")
    task = write(tmp_path, f'{TABLE}group = "g"\n\n[vocabulary]{rest}')
    changes = {"sequence.split": [1, 1, 1], **CLOCKS["season"]}
    with pytest.raises(InputError, match="line 12"):
        recurra.check(task, changes)


def test_a_cure_for_moved_data_names_what_to_do(tmp_path: Path) -> None:
    """Data that is gone when a run is evaluated must come back to where it was: a run's paths are
    whole.
    """
    text = tmp_path / "word.txt"
    text.write_text("hello")
    run = recurra.run(
        write(tmp_path, about(HELLO, "text", path="word.txt")), runs=tmp_path / "runs"
    )
    text.unlink()
    for use in (recurra.load(run.path).evaluate, lambda: recurra.resume(run.path)):
        with pytest.raises(InputError) as caught:
            use()
        (problem,) = caught.value.problems
        assert (
            str(text) in problem.fact
            and "bring the data back" in problem.cure
            and "folder" not in problem.cure
        )


@pytest.mark.parametrize("text", [PROSE, SERIES], ids=["symbols", "numbers"])
def test_every_figure_of_a_validation_can_be_monitored(text: str, tmp_path: Path) -> None:
    """What a validation prints is a name that `training.monitor` takes, and there is no other."""
    task = write(tmp_path, text)
    resolved = resolve(task)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size)
    printed = evaluate(network, data.reader, data.splits["validation"], data.tally()).values()
    for name in printed:
        check_compatibility(resolve(task, {"training.monitor": name}))
    with pytest.raises(InputError) as caught:
        check_compatibility(resolve(task, {"training.monitor": "else"}))
    assert set(caught.value.problems[0].allowed.split(", ")) == printed.keys()
