"""Training as events: nobody need listen, and what is saved is enough to go on from."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from trials import PROSE, write

import recurra
from recurra.errors import RunError
from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.evaluate import evaluate
from recurra.train.events import Ended, Event, Saved, Updated, Validated
from recurra.train.loop import Trainer

CHANGES: dict[str, Any] = {
    "sequence.carry": True, "cell.dropout": 0.3, "training.accumulate": 2,
    "training.validate_every": 3,
    "training.checkpoint_every": 4, "device": {"kind": "cpu", "path": "eager", "threads": 1},
}  # fmt: skip


def _trainer(folder: Path, **more: Any) -> Trainer:
    """Return a trainer that no folder and nobody hears of."""
    resolved = resolve(write(folder, PROSE), CHANGES | more)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size, data.names)

    def validate() -> dict[str, float]:
        return evaluate(network, data.reader, data.splits["validation"], data.tally()).values()

    return build_trainer(resolved, data, network, validate=validate)


def _weights(trainer: Trainer) -> dict[str, list[Any]]:
    return {name: weight.tolist() for name, weight in trainer.network.state_dict().items()}


def test_training_without_a_folder_is_that_of_a_run(tmp_path: Path) -> None:
    """Whoever takes the events and does nothing with them gets the same weights, to the bit, as a
    run keeps.
    """
    trainer = _trainer(tmp_path)
    events = list(trainer.events())
    run = recurra.run(tmp_path / "task.toml", CHANGES, runs=tmp_path / "runs")
    kept = run.folder.checkpoints.load("last").tensors["weights"]
    assert {name: weight.tolist() for name, weight in kept.items()} == _weights(trainer)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "task.toml"]

    losses = [record["loss"] for record in run.metrics() if record["split"] == "train"]
    assert [e.loss for e in events if isinstance(e, Updated)] == losses
    looks = [record["nats"] for record in run.metrics() if record["split"] == "validation"]
    assert [e.metrics["nats"] for e in events if isinstance(e, Validated)] == looks
    assert isinstance(events[-1], Ended) and events[-1].done and isinstance(events[-2], Saved)


def test_every_saved_state_leads_to_the_same_end(tmp_path: Path) -> None:
    """Whatever was saved, a trainer that takes it back ends with the same weights as one that went
    through.
    """
    trainer = _trainer(tmp_path)
    saved: list[Saved] = [
        copy.deepcopy(event) for event in trainer.events() if isinstance(event, Saved)
    ]
    assert len({event.checkpoint.step for event in saved}) > 3
    for event in saved:
        other = _trainer(tmp_path)
        other.restore(event.checkpoint)
        list(other.events())
        assert _weights(other) == _weights(trainer)


def test_what_is_asked_to_end_saves_and_says_so(tmp_path: Path) -> None:
    """A request to end is met after the update that is being made: the state is saved, and the end
    is not done.
    """
    trainer = _trainer(tmp_path)
    events: list[Event] = []
    trainer.stop_asked = lambda: trainer.progress.step == 5
    events += trainer.events()
    assert isinstance(events[-1], Ended) and not events[-1].done
    assert isinstance(events[-2], Saved) and events[-2].checkpoint.step == 5
    trainer.stop_asked = lambda: False
    list(trainer.events())
    whole = _trainer(tmp_path)
    list(whole.events())
    assert _weights(trainer) == _weights(whole)


@pytest.mark.parametrize("sound", [True, False])
def test_what_goes_wrong_saves_what_was_before(sound: bool, tmp_path: Path) -> None:
    """Before the error of a loss that is not finite comes the state of before, unless that is not
    finite either.
    """
    trainer = _trainer(tmp_path)
    events: list[Event] = []
    with pytest.raises(RunError, match="RC060") as caught:
        for event in trainer.events():
            events.append(event)
            if isinstance(event, Updated) and event.progress.step == 2:
                trainer.network.loss.forward = lambda output, target: output.sum(-1) * float("nan")  # type: ignore[method-assign]
                if not sound:
                    trainer.network.head.bias.data[0] = float("nan")
    if sound:
        assert isinstance(events[-1], Saved) and events[-1].checkpoint.step == 2
        assert all(
            bool(torch.isfinite(w).all()) for w in events[-1].checkpoint.tensors["weights"].values()
        )
        assert "step 3; the weights of step 2 are saved" in str(caught.value)
    else:
        assert isinstance(events[-1], Updated) and "nothing is saved" in str(caught.value)
