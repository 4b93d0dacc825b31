"""A proof fails where something of a run is in no checkpoint, and says what that is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from forks import proved, tables
from planted import COUNTER, FORGETFUL, MOVING
from trials import PROSE, write

from recurra.verifying.proof import Verified

SMALL = {
    "training.steps": 12,
    "training.checkpoint_every": 3,
    "device.path": "eager",
    "generation.prompt": "a",
}


def outcome(folder: Path, plugin: str, kills: int = 1, **parts: dict[str, Any]) -> Verified:
    """Prove a task in which a file of a plugin has a part; this process does not load it."""
    task = tables(folder, PROSE, **SMALL)
    file = write(folder, plugin, "liar.py")
    verified, _ = proved(folder, {**task, "plugins": {"files": [str(file)]}, **parts}, kills)
    return verified


def cell(kind: str) -> dict[str, Any]:
    """Return the table of a cell of the planted file."""
    return {"kind": kind, "hidden_size": 6}


def test_a_hidden_counter_is_caught_and_named(tmp_path: Path) -> None:
    """A cell that counts its steps goes on otherwise: where it does is told, and what it keeps."""
    verified = outcome(tmp_path, COUNTER, cell=cell("counter"))
    assert not verified.equal and not verified.proved and verified.resumed == 1
    first = verified.compared.differences[0]
    assert first.file == "metrics.jsonl" and "loss" in first.what
    assert first.step is not None and first.step > verified.kills[0].saved
    (cause,) = verified.causes
    assert "cell file:liar.py/counter: layers.0.calls" in cause and "register_buffer" in cause
    assert verified.folder is not None and Path(verified.folder, "logs").is_dir()


def test_a_stream_that_is_dropped_is_caught_and_named(tmp_path: Path) -> None:
    """A cell that draws from its own generator draws other numbers once it is resumed."""
    verified = outcome(tmp_path, COUNTER, cell=cell("noisy"))
    assert not verified.equal
    assert any("own is a stream of random numbers" in cause for cause in verified.causes)


def test_the_same_cell_without_a_lie_is_proved(tmp_path: Path) -> None:
    """What tells the liars is what they keep: their honest twin is equal, and nothing is found."""
    verified = outcome(tmp_path, COUNTER, cell=cell("honest"))
    assert verified.proved and not verified.causes


def test_an_optimizer_that_is_not_restored_is_caught_and_named(tmp_path: Path) -> None:
    """Where a checkpoint's state of the optimizer is dropped, the weights go another way."""
    verified = outcome(tmp_path, FORGETFUL)
    assert not verified.equal
    assert any("state of the optimizer is saved and not restored" in c for c in verified.causes)


@pytest.mark.parametrize(
    "says", [pytest.param("str(os.getpid())", marks=pytest.mark.slow), "'always the same'"]
)
def test_a_source_that_moves_is_caught_and_named(says: str, tmp_path: Path) -> None:
    """Data that is other data when it is opened again is refused (RC044), or found to differ."""
    source = {"kind": "moving"}
    verified = outcome(tmp_path, MOVING.replace("FINGERPRINT", says), source=source)
    assert not verified.equal
    told = verified.refused or str(verified.compared.differences[0])
    assert "RC044" in told or "data.json" in told
    assert any("gives other data" in cause for cause in verified.causes)
