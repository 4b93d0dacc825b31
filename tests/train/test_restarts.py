"""Lanes that begin afresh in the midst of a corpus: each row is trained as if alone, in the state
that it has.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SERIES
from torch import Tensor
from trainers import trainer_of
from trials import PROSE, Stopper, about, as_before, differences, trained, write

import recurra
from recurra.errors import Interrupted, Unverified
from recurra.train.loop import Trainer

LEARNED = """\
import torch
from typing import NamedTuple
from recurra import Cell, CellOptions, Component, hookimpl

class Two(NamedTuple):
    h: torch.Tensor
    count: torch.Tensor

class Learned(Cell[CellOptions]):
    '''A plain unit whose first state is learned, with a counter of whole numbers beside it.'''

    def __init__(self, input_size, options):
        super().__init__(input_size, options)
        self.map = torch.nn.Linear(input_size + self.hidden_size, self.hidden_size)
        self.start = torch.nn.Parameter(torch.linspace(-1, 1, self.hidden_size))

    def initial_state(self, batch_size, *, device, dtype):
        count = torch.full((batch_size,), 3, device=device)
        return Two(self.start.to(device, dtype).expand(batch_size, -1), count)

    def step(self, x_t, state):
        clock = 0.1 * torch.sin(state.count).unsqueeze(-1)
        h = torch.tanh(self.map(torch.cat([x_t, state.h], dim=-1)) + clock)
        return h, Two(h, state.count + 1)

@hookimpl
def recurra_components():
    target = __name__ + ":Learned"
    return [Component("cell", "learned", target, "recurra:CellOptions", "learns its first state")]
"""

ONE = about(PROSE, "inline", text="the cat sat on the mat and the dog on the log. " * 2)
SEVERAL = about(
    PROSE,
    "inline",
    texts=["the cat", "a dog on a log and a frog", "it", "she sat on the mat, then on it"],
)
SERIES_OF_THREE = about(
    SERIES, "inline", series=[[float(t % 7 + s) for t in range(20)] for s in range(3)]
)

CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "native": (ONE, {"cell.kind": "lstm", "cell.num_layers": 2}),
    "fused": (SEVERAL, {"cell.kind": "gru"}),
    "scan": (SEVERAL, {"cell.kind": "mingru"}),
    "chunkwise": (ONE, {"cell.kind": "mlstm", "cell.heads": 2}),
    "eager": (SEVERAL, {"cell.kind": "learned", "encoder.kind": "convolution"}),
    "auto": (
        SERIES_OF_THREE,
        {"encoder": {"kind": "calendar", "periods": [7]}, "cell.kind": "rnn"},
    ),
}
"""By path: cells of each form, several fields of state, sequences that begin inside windows,
encoders with a state.
"""

SHARED = {
    "sequence.carry": True, "sequence.length": 5, "training.batch_size": 3,
    "training.accumulate": 2,
    "training.steps": 6, "training.optimizer": {"kind": "sgd", "lr": 0.3},
    "device.precision": "float64",
}  # fmt: skip


def _built(folder: Path, path: str, **more: Any) -> Trainer:
    text, changes = CASES[path]
    files = [str(write(folder, LEARNED, "learned.py"))] if path == "eager" else []
    prompt = [1.0] if "numeric" in text else "t"
    trainer: Trainer = trainer_of(
        folder,
        text,
        {
            **SHARED,
            "plugins.files": files,
            "generation.prompt": prompt,
            "device.path": path,
            **changes,
            **more,
        },
    )
    return trainer


def _by_hand(trainer: Trainer) -> tuple[dict[str, Tensor], int, int]:
    """Train a copy row by row; return its weights, and how many rows began afresh in the midst and
    how many went on.
    """
    network, loss = copy.deepcopy(trainer.network), trainer.network.loss
    weights = torch.optim.SGD(network.parameters(), lr=0.3)
    restarts = kept = step = epoch = 0
    while step < 6:
        batches = list(trainer.feed.epoch(epoch))
        states: list[Any] = [None] * 3
        for at in range(0, len(batches), 2):
            group = batches[at : at + 2]
            scored = max(sum(int(batch.mask.sum()) for batch in group), 1)
            weights.zero_grad()
            for index, batch in enumerate(group, at):
                for row in range(3):
                    reset = batch.reset[row : row + 1].clone()
                    if batch.fresh[row]:
                        states[row], reset[:, 0] = None, False
                        restarts += index > 0
                    kept += not batch.fresh[row]
                    x, position = batch.x[row : row + 1], batch.position[row : row + 1]
                    output, after = network(x, states[row], reset=reset, position=position)
                    states[row] = tuple(
                        type(s)(*(f.detach() for f in s)) if s else s for s in after
                    )
                    if (mask := batch.mask[row]).any():
                        (loss(output[0][mask], batch.y[row][mask]).sum() / scored).backward()
            weights.step()
            step += 1
            if step == 6:
                break
        epoch += 1
    return dict(network.state_dict()), restarts, kept


@pytest.mark.parametrize("chance", [0.4, 1.0])
@pytest.mark.parametrize("path", CASES)
def test_each_row_is_trained_as_if_alone(path: str, chance: float, tmp_path: Path) -> None:
    """Weights are those of rows read one by one: a fresh one from the first state at its own
    position, others carried.

    With chance 1 every window is thus an independent one, at the position where it stands.
    """
    trainer = _built(tmp_path, path, **{"sequence.restart": chance})
    start = {name: weight.clone() for name, weight in trainer.network.state_dict().items()}
    weights, restarts, kept = _by_hand(trainer)
    assert restarts > 3 and (kept > 3 if chance < 1 else kept == 0)
    list(trainer.events())
    for name, weight in trainer.network.state_dict().items():
        torch.testing.assert_close(weight, weights[name], rtol=1e-8, atol=1e-10)
        if name.endswith("start"):
            assert not torch.equal(weight, start[name]), "a first state that is learned must learn"


@pytest.mark.parametrize("path", CASES)
def test_a_fresh_row_changes_no_other_row(path: str, tmp_path: Path) -> None:
    """Outputs, states and the gradients of the other rows are the same to the bit, whether a row is
    fresh or not.
    """
    trainer = _built(tmp_path, path, **{"sequence.restart": 0.0})
    first, second = list(trainer.feed.epoch(0))[:2]
    _, trainer.passes.carried = trainer.network(first.x, None, position=first.position)
    found = []
    for fresh in ([False] * 3, [False, True, False]):
        states = trainer.passes.begun(second._replace(fresh=torch.tensor(fresh)))
        output, after = trainer.network(second.x, states, position=second.position)
        found.append([output, *(field for state in after for field in state)])
    others = torch.tensor([0, 2])
    for one, other in zip(*found, strict=True):
        assert torch.equal(one[others], other[others])
    assert not torch.equal(found[0][0][1], found[1][0][1]), "the row itself must begin anew"


def test_nothing_is_drawn_at_chance_0(tmp_path: Path) -> None:
    """Without restarts the states of a window are those that the one before ended with, all of an
    epoch's.
    """
    trainer = _built(tmp_path, "native", **{"sequence.restart": 0.0})
    fresh = [batch.fresh for epoch in (0, 1) for batch in trainer.feed.epoch(epoch)]
    assert all(bool(flags.all()) for flags in fresh[:: trainer.feed.batches])
    assert sum(int(flags.sum()) for flags in fresh) == 2 * 3


def test_a_run_without_the_key_goes_on_without_restarts(tmp_path: Path) -> None:
    """A run whose task.toml was written before there was `restart` resumes as it was, not with
    today's default.
    """
    never = trained(tmp_path / "never", "lanes", **{"sequence.restart": 0.0})
    text = (never.path / "task.toml").read_text()
    assert "restart = 0.0\n" in text

    cut = tmp_path / "cut"
    with pytest.raises(Interrupted):
        trained_until(cut, 5, {"sequence.restart": 0.0})
    path = cut / "runs" / "task" / "1"
    old = (path / "task.toml").read_text().replace("restart = 0.0\n", "")
    (path / "task.toml").write_text(old)
    as_before(path)
    with pytest.warns(Unverified):
        again = recurra.resume(path)
    assert again.task.sequence.restart == 0.0
    assert [
        name
        for name in differences(never, again)
        if name not in ("task.toml", "hashes.json", "environment.json")
    ] == []
    assert differences(never, trained(tmp_path / "now", "lanes", **{"sequence.restart": 0.5})) != []


def trained_until(folder: Path, step: int, changes: dict[str, Any]) -> None:
    """Train the trial of lanes up to a step, at which it is interrupted."""
    task = write(folder, PROSE)
    more = {"sequence.carry": True, "cell.kind": "lstm", **changes}
    recurra.run(task, more, runs=folder / "runs", observer=Stopper([step]))
