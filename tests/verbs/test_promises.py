"""What a run promises beyond its figures: its data, its random numbers, its checkpoints, and losses
of any width.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HELLO, SERIES
from trials import PROSE, Stopper, write

import recurra
from recurra.catalog.local import digest
from recurra.errors import InputError, Interrupted, OtherVersion, PluginError, RunError
from recurra.runs import files
from recurra.runs.checkpoints import Checkpoints
from recurra.train import loop

PLUGIN = '''
import torch
from recurra import CellOptions, Component, Loss, Options, hookimpl
from recurra_cells.gru import GRU

class Noisy(GRU):
    """Drops its input by torch's own generator."""
    def native(self):
        return None
    def step(self, x_t, state):
        return super().step(torch.nn.functional.dropout(x_t, 0.3, self.training), state)

class Empty(Options):
    pass

class Warm(Loss):
    """Has a weight of its own, which a loss must not."""
    def __init__(self, size, options):
        super().__init__(size, options)
        self.heat = torch.nn.Parameter(torch.ones(()))
    def forward(self, output, target):
        return torch.nn.functional.cross_entropy(output * self.heat, target, reduction="none")

class Gaussian(Loss):
    """Mean and logarithm of the deviation of every feature: twice as wide as what it predicts."""
    reads = ("numbers",)
    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = 2 * size
    def forward(self, output, target):
        mean, log = output.chunk(2, dim=-1)
        return (log + 0.5 * ((target - mean) / log.exp()) ** 2).mean(-1)
    def point(self, output):
        return output.chunk(2, dim=-1)[0]

class Counted(Gaussian):
    """Tells how often it was built, and keeps a table that follows from nothing it has learned."""
    built = 0
    def __init__(self, size, options):
        super().__init__(size, options)
        type(self).built += 1
        self.register_buffer("share", torch.full((size,), 0.5))
        self.register_buffer("same", self.share)
        self.register_buffer("late", None)
    def forward(self, output, target):
        self.late = output.detach().mean()
        return super().forward(output, target) * self.share.sum()

class Ends(Gaussian):
    """Asks an iterator for more than it has, once it is trained."""
    def forward(self, output, target):
        return super().forward(output, target) * (next(iter(())) if self.training else 1)

@hookimpl
def recurra_components():
    return [
        Component(kind="loss", name="ends", target="odd:Ends", options="odd:Empty", summary="e"),
        Component("loss", "counted", "odd:Counted", "odd:Empty", "c"),
        Component(kind="cell", name="noisy", target="odd:Noisy",
                  options="recurra_cells.options:GRUOptions", summary="n"),
        Component(kind="loss", name="warm", target="odd:Warm", options="odd:Empty", summary="w"),
        Component("loss", "gaussian", "odd:Gaussian", "odd:Empty", "g"),
    ]
'''


@pytest.fixture
def odd(tmp_path: Path) -> dict[str, Any]:
    """Return the overrides of a task that loads the plugin above."""
    (tmp_path / "odd.py").write_text(PLUGIN, encoding="utf-8")
    return {"plugins.files": [str(tmp_path / "odd.py")]}


def weights(run: recurra.job.run.Run) -> dict[str, torch.Tensor]:
    return run.folder.checkpoints.load().tensors["weights"]


def test_data_edited_into_the_same_ids_is_other_data(tmp_path: Path) -> None:
    """Ids alone do not tell a corpus: "hallo" has those of "hello", and figures of it would be
    nonsense.
    """
    text = tmp_path / "word.txt"
    text.write_text("hello")
    task = write(
        tmp_path,
        HELLO.replace('kind = "inline"\ntext = "hello"', f'kind = "text"\npath = "{text}"'),
    )
    run = recurra.run(task, runs=tmp_path / "runs")
    text.write_text("hallo")
    for use in (recurra.load(run.path).evaluate, lambda: recurra.resume(run.path)):
        with pytest.raises(InputError, match="RC044"):
            use()


def test_noise_of_a_plugin_is_seeded_and_resumed(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A cell that draws from torch's own generator gives the same bits for the same seed, stopped
    or not.
    """
    task, changes = write(tmp_path, PROSE), {**odd, "cell.kind": "noisy"}
    before = torch.get_rng_state()
    whole = recurra.run(task, changes, runs=tmp_path / "whole")
    assert torch.equal(before, torch.get_rng_state())
    again = recurra.run(task, changes, runs=tmp_path / "again")
    other = recurra.run(task, {**changes, "seed": 1}, runs=tmp_path / "other")
    with pytest.raises(Interrupted):
        recurra.run(task, changes, runs=tmp_path / "parts", observer=Stopper([5]))
    parts = recurra.resume(tmp_path / "parts" / "task")
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(again)[name]) and torch.equal(
            weight, weights(parts)[name]
        )
    assert any(
        not torch.equal(weight, weights(other)[name]) for name, weight in weights(whole).items()
    )


def test_a_loss_with_weights_is_refused(tmp_path: Path, odd: dict[str, Any]) -> None:
    """Weights of a loss would be neither trained nor saved, so there may be none."""
    with pytest.raises(PluginError, match=r"warm(.|\n)*no parameters(.|\n)*RC071"):
        recurra.check(write(tmp_path, HELLO), {**odd, "loss.kind": "warm"})


def test_a_run_has_one_loss(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A loss is built once for a run, whatever it does, and none of its tensors is saved, whenever
    it came.
    """
    changes = {
        **odd,
        "loss.kind": "counted",
        "training.validate_every": 5,
        "device.precision": "float64",
    }
    task = write(tmp_path, SERIES)
    run = recurra.run(task, changes, runs=tmp_path / "runs")
    loss = run.network.loss
    assert type(loss).built == 1 and loss.share.dtype == torch.float32  # as it was made
    assert not any(name.startswith("loss") for name in weights(run))
    opened = recurra.load(run.path)
    assert type(opened.network.loss).built == 1  # of a module that was loaded anew
    assert opened.evaluate()["metrics"] == run.result["metrics"]
    assert type(opened.network.loss).built == 1
    built = type(recurra.resume(run.path).network.loss).built
    assert built == 1


def test_an_iterator_that_ends_is_its_plugins_fault(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A StopIteration in training ends no training: it is told with the place in the plugin."""
    with pytest.raises(
        PluginError, match=r"loss file:odd.py/ends .*odd\.py:\d+\) failed(.|\n)*RC071"
    ):
        recurra.run(write(tmp_path, SERIES), {**odd, "loss.kind": "ends"}, runs=tmp_path / "runs")


def test_a_loss_may_be_wider_than_what_it_predicts(tmp_path: Path, odd: dict[str, Any]) -> None:
    """A distribution has more numbers a step than the series; figures and forecasts are of its best
    guess.
    """
    changes = {
        **odd,
        "loss.kind": "gaussian",
        "training.steps": 200,
        "training.optimizer": {"kind": "adam", "lr": 0.01},
    }
    run = recurra.run(write(tmp_path, SERIES), changes, runs=tmp_path / "runs")
    assert run.network.head.out_features == 2
    assert run.result["metrics"]["mae"] < 4
    assert len(run.result["generated"]) == 3 and all(
        10 < value < 30 for value in run.result["generated"]
    )
    assert recurra.load(run.path).evaluate()["metrics"] == pytest.approx(run.result["metrics"])


def test_a_long_run_without_validation_is_saved_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing else asks for a checkpoint, time does."""
    saved: list[int] = []
    real = Checkpoints.save
    monkeypatch.setattr(Checkpoints, "save", lambda *a: (saved.append(a[1].step), real(*a)))
    monkeypatch.setattr(loop, "EVERY", 0.0)
    recurra.run(write(tmp_path, HELLO), runs=tmp_path / "runs")
    assert set(saved) == {1, 2, 3}


def test_two_processes_do_not_train_one_run(tmp_path: Path) -> None:
    """While a run is trained nobody else may resume it; after that, anybody may."""
    with pytest.raises(Interrupted):
        recurra.run(write(tmp_path, PROSE), runs=tmp_path / "runs", observer=Stopper([5]))
    path = next((tmp_path / "runs").glob("*/1"))
    code = "import recurra, sys; recurra.resume(sys.argv[1])"
    with recurra.load(path).folder.held():
        done = subprocess.run(
            [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
        )
        assert "RC055" in done.stderr and done.returncode
    assert recurra.resume(path).result["steps"] == 12


def test_a_kill_during_the_first_checkpoint_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that the index does not name yet was never promised: there is none, and none is
    damaged.
    """
    write_json = files.write_json

    def killed(path: Path, content: Any, *more: Any) -> None:
        if path.name == "index.json" and content:
            raise RunError.of("RC053", "killed")
        write_json(path, content, *more)

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_json", killed)
        with pytest.raises(RunError, match="killed"):
            recurra.run(write(tmp_path, HELLO), runs=tmp_path / "runs")
    with pytest.raises(InputError, match=r"no whole checkpoint(.|\n)*RC051"):
        recurra.resume(tmp_path / "runs" / "task")


def test_what_another_version_encoded_is_not_taken(tmp_path: Path) -> None:
    """The cache knows a corpus by its components and their versions, not by the names of their
    classes.
    """
    from recurra.data.corpus import build, cache_folder
    from recurra_sources.inline import Inline, InlineOptions
    from recurra_vocabularies.character import Character, CharacterOptions

    for version in ("1.0", "1.0", "1.1"):
        build(
            Inline(InlineOptions(text="hello")),
            Character(CharacterOptions()),
            2,
            identity=f"odd/character@{version}",
        )
    assert (
        len(
            [
                entry
                for entry in cache_folder().iterdir()
                if json.loads((entry / "about.json").read_text())
            ]
        )
        == 2
    )


def test_a_plugin_file_that_changed_is_told(tmp_path: Path, odd: dict[str, Any]) -> None:
    """It runs only where the user says so, who is told what would run: path, size and both hashes.

    Nothing of it is imported before that.
    """
    run = recurra.run(write(tmp_path, HELLO), {**odd, "cell.kind": "noisy"}, runs=tmp_path / "runs")
    text = PLUGIN.replace("0.3", "0.4")
    mark = tmp_path / "it ran"
    (tmp_path / "odd.py").write_text(
        f"import os\nos.makedirs({str(mark)!r}, exist_ok=True)\n{text}", encoding="utf-8"
    )
    before = (run.path / "plugins.json").read_bytes()
    recorded = json.loads(before)[-1]["version"]
    for use in (recurra.load, recurra.resume):
        with pytest.raises(InputError, match=r"odd.py changed since(.|\n)*RC045") as refused:
            use(run.path)
        size = (tmp_path / "odd.py").stat().st_size
        for told in (f"{size:,} bytes", digest(tmp_path / "odd.py"), recorded, "less ", "--trust"):
            assert told in str(refused.value)
    assert not mark.exists() and (run.path / "plugins.json").read_bytes() == before

    with pytest.warns(OtherVersion, match=r"odd.py changed since"):
        assert recurra.load(run.path, trust=True).prompt() == "h"
    assert mark.exists() and (run.path / "plugins.json").read_bytes() == before
    recurra.resume(run.path, changed_plugins=True)  # as it was called before
    assert recurra.load(run.path).prompt() == "h"  # a warning would be an error here


def test_weights_of_another_network_are_told(tmp_path: Path) -> None:
    """A task.toml that was edited after the run is refused by its hash; without one, its weights no
    longer fit.
    """
    run = recurra.run(write(tmp_path, HELLO), runs=tmp_path / "runs")
    task = run.path / "task.toml"
    text = task.read_text().replace("hidden_size = 8", "hidden_size = 9")
    task.write_text(text)
    for use in (recurra.load, recurra.resume):
        with pytest.raises(RunError, match=r"task.toml is damaged or was changed(.|\n)*RC052"):
            use(run.path)
    run.folder.records.seal()
    for use in (recurra.load, recurra.resume):
        with pytest.raises(RunError, match=r"do not fit(.|\n)*RC052"):
            use(run.path)


@pytest.mark.parametrize(
    "wrong", ["initial_state(self, batch_size)", "step(self, x_t)", "step(self, x_t, state, more)"]
)
def test_a_method_with_other_arguments_is_the_plugins_fault(
    wrong: str, tmp_path: Path, odd: dict[str, Any]
) -> None:
    """A method that the engine cannot call is told with the plugin's name."""
    method = wrong.split("(")[0]
    text = f"{PLUGIN}\ndef {wrong}:\n    return None\n\nNoisy.{method} = {method}\n"
    (tmp_path / "odd.py").write_text(text, encoding="utf-8")
    with pytest.raises(PluginError, match=r"noisy(.|\n)*argument(.|\n)*RC071"):
        recurra.check(write(tmp_path, HELLO), {**odd, "cell.kind": "noisy"})


@pytest.mark.parametrize("keep", [1, 2])
def test_resume_goes_back_to_the_one_before_if_the_last_is_damaged(
    keep: int, tmp_path: Path
) -> None:
    """A damaged checkpoint is refused, and the latest that is whole offered.

    Going on from that comes to the same as never having stopped.
    """
    whole = recurra.run(
        write(tmp_path, PROSE), {"training.validate_every": 2}, runs=tmp_path / "whole"
    )
    changes = {"training.validate_every": 2, "training.checkpoint_every": 1}
    changes["training.keep_checkpoints"] = keep
    with pytest.raises(Interrupted):
        recurra.run(write(tmp_path, PROSE), changes, runs=tmp_path / "parts", observer=Stopper([5]))
    folder = next((tmp_path / "parts").glob("*/1"))
    index = json.loads((folder / "checkpoints" / "index.json").read_text())
    assert index["last"] != index["best"]
    damaged = folder / "checkpoints" / f"step-{index['last']}" / "weights.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    with pytest.raises(RunError, match=r"step-5(.|\n)*weights(.|\n)*RC052") as caught:
        recurra.resume(folder)
    before = 4 if keep == 2 else index["best"]
    assert f"`recurra resume {folder} --checkpoint {before}` goes on" in str(caught.value)
    assert recurra.load(folder, before).folder.checkpoints.steps()[0] == 5
    parts = recurra.resume(folder, checkpoint=before)
    assert parts.folder.checkpoints.steps()[0] == parts.result["steps"]
    for name, weight in weights(whole).items():
        assert torch.equal(weight, weights(parts)[name])


@pytest.mark.parametrize(("given", "base"), [("steps", "epochs"), ("epochs", "steps")])
def test_one_length_of_training_takes_the_place_of_the_other(
    given: str, base: str, tmp_path: Path
) -> None:
    """An override of steps need not know that the file counts in epochs, nor the reverse; both at
    once contradict.
    """
    task = write(tmp_path, HELLO.replace("steps = 3", f"{base} = 3"))
    assert recurra.check(task, [f"training.{given}=2"])["training"]["steps"] == 2
    with pytest.raises(InputError, match="epochs or steps"):
        recurra.check(task, {"training": {"steps": 2, "epochs": 2}})


def test_a_stack_takes_the_place_of_a_cell(tmp_path: Path) -> None:
    """A file may stack other cells over a base with one cell, and one cell over a base with a
    stack.
    """
    write(tmp_path, HELLO, "one.toml")
    stacked = (
        'extends = "one.toml"\n[[cell.stack]]\nkind = "rnn"\nhidden_size = 4\n[[cell.stack]]\nkind'
        ' = "gru"\n'
    )
    two = recurra.check(write(tmp_path, stacked, "two.toml"))
    assert [layer["name"] for layer in two["layers"]] == ["encoder", "layer 0", "layer 1", "head"]
    back = recurra.check(
        write(tmp_path, 'extends = "two.toml"\n[cell]\nkind = "rnn"\n', "back.toml")
    )
    assert back["components"]["cell"] == "recurra/rnn" and len(back["layers"]) == 3
