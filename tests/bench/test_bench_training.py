"""The bare loop trains as the engine does, and the two are timed apart."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from machines import SETTING

from recurra.bench import training
from recurra.bench.clock import WARM
from recurra.bench.records import Shape
from recurra.bench.tasks import SYMBOLS, resolved, write_text
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.train.events import Progress

TINY = Shape(3, 5, 4)
STEPS = 6


def test_the_bare_loop_trains_as_the_engine_does() -> None:
    """On the same windows both come to the same weights: the ratio of their times is that of the
    same work.
    """
    changes = {
        "sequence.length": TINY.steps, "training.batch_size": TINY.batch, "training.steps": STEPS,
        "device.precision": "float64", "device.kind": "cpu", "cell.hidden_size": 4,
        "encoder.size": 4,
    }  # fmt: skip
    with resolved(STEPS * TINY.batch * TINY.steps + 1, changes) as (task, _):
        data = load_data(task)
        network = build_network(task, data.vocabulary.size, data.names)[0]
        network.head.weight.data *= 50  # so that gradients are longer than clipping lets them be
        bare = training.Bare(copy.deepcopy(network).train(), torch.zeros(9, dtype=torch.long), TINY)
        before = copy.deepcopy(network.state_dict())
        list(build_trainer(task, data, network).events())
        for batch in data.feed.epoch(0):
            assert batch.x.shape == (TINY.batch, TINY.steps)
            bare.update(batch.x, batch.y)
    moved = [(new - before[name]).abs().max() for name, new in network.state_dict().items()]
    assert max(moved) > 1e-3
    for name, weight in bare.network.state_dict().items():
        torch.testing.assert_close(weight, network.state_dict()[name], rtol=1e-9, atol=1e-9)


def test_each_is_charged_for_its_own_steps() -> None:
    """A step of the engine's that takes 3 and one by hand that takes 2 come out as 3 and 2,
    whatever is between.
    """
    now = 0.0

    class Slow:
        def step(self) -> None:
            nonlocal now
            now += 2.0

    turns = training.Turns(Slow(), 4, clock=lambda: now, least=12.0)
    steps = 0
    while not turns.done:
        now, steps = now + 3.0, steps + 1
        turns.stepped(Progress())
    assert (turns.ours, turns.others) == ([3.0] * 4, [2.0] * 4)
    assert steps == WARM + 4 * 6


def test_a_turn_warms_up_both() -> None:
    """The first turn, in which kernels are built, is in no figure."""
    now = 0.0

    class Slow:
        first = True

        def step(self) -> None:
            nonlocal now
            now += 99.0 if self.first else 1.0
            self.first = False

    turns = training.Turns(Slow(), 2, clock=lambda: now, least=4.0)
    now = 1000.0
    while not turns.done:
        turns.stepped(Progress())
        now += 1.0
    assert turns.others == [1.0, 1.0]
    assert max(turns.ours) == 1.0


def test_a_loop_by_hand_need_not_be_deterministic() -> None:
    """Inside, torch's demand for determinism is off; after it, whatever happens, it is as it
    was.
    """
    torch.set_deterministic_debug_mode("error")
    try:
        with pytest.raises(ZeroDivisionError), training.plain():
            assert torch.get_deterministic_debug_mode() == 0
            _ = 1 / 0
        assert torch.get_deterministic_debug_mode() == 2
    finally:
        torch.set_deterministic_debug_mode("default")


def test_the_row_measures_pairs_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole engine runs beside the bare loop; its folder is gone after, and determinism as it
    was.
    """
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    found = training.engine_against_bare(TINY, SETTING)
    assert len(found.ours) == len(found.other) == 2 and min(found.ours + found.other) > 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert torch.get_deterministic_debug_mode() == 0


@pytest.mark.parametrize("size", [1, 64, 65, 1000, 4096])
def test_the_text_is_as_long_as_was_asked(size: int, tmp_path: Path) -> None:
    """A text has as many bytes as asked for, drawn from the symbols, and all of them once there is
    room.
    """
    write_text(tmp_path / "text.txt", size, block=100)
    text = (tmp_path / "text.txt").read_bytes().decode("ascii")
    assert len(text) == size and set(text) <= set(SYMBOLS)
    assert size < len(SYMBOLS) or set(text) == set(SYMBOLS)
