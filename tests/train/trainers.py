"""Trainers that no folder hears of, and the texts that they learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from trials import PROSE, about, write

from recurra.job.build import build_network, build_trainer
from recurra.job.data import load_data
from recurra.resolve import resolve
from recurra.train.loop import Trainer

EVEN = about(PROSE, "inline", text="abcab cabca bcabc abcab c" * 2)  # 49 steps
RAGGED = about(
    PROSE,
    "inline",
    texts=["abc", "a bc abc", "cc", "ab", "bca b", "abcabcabcabc", "a a a", "bb bb b"],
)


def trainer_of(folder: Path, text: str, changes: dict[str, Any]) -> Trainer:
    """Return the trainer of a task, all of whose data is for training."""
    plain = {"sequence.split": [1.0, 0.0, 0.0], "generation.prompt": "a", "device.kind": "cpu"}
    resolved = resolve(write(folder, text), plain | changes)
    data = load_data(resolved)
    network, _ = build_network(resolved, data.vocabulary.size)
    return build_trainer(resolved, data, network)
