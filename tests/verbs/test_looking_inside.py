"""What a program sees of a run: its splits, what each layer gives, chances, and how it goes."""

from __future__ import annotations

import threading
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from asked import Made, made_in, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

import recurra
from recurra import InputError, Sampling
from recurra.cli.display import Live, Undisturbed
from recurra.job.data import load_data
from recurra.job.parts import Part
from recurra.resolve import resolve
from recurra.train.events import Progress

GAUSSIAN = """
import torch
from recurra import Component, Loss, Options, hookimpl

class Gaussian(Loss[Options]):
    reads = ("numbers",)

    def __init__(self, size, options):
        super().__init__(size, options)
        self.output_size = 2 * size

    def forward(self, output, target):
        mean, scale = output.chunk(2, -1)
        scale = scale.exp()
        return (scale.log() + ((target - mean) / scale) ** 2 / 2).sum(-1)

    def point(self, output):
        return output.chunk(2, -1)[0]

@hookimpl
def recurra_components():
    return [Component("loss", "gaussian", "gaussian:Gaussian", "recurra:Options", "a deviation")]
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made_in(tmp_path_factory.getbasetemp() / "asked")


# splits


@pytest.mark.parametrize("name", ["prose", "series", "words", "strokes"])
def test_splits_hold_all_of_the_data_once(name: str, made: Made) -> None:
    """Put together, the stretches of the splits are the sequences that the source gives."""
    run = made[name]
    data = load_data(run.resolved)
    parts = [run.split(split) for split in ("train", "validation", "test")]
    assert [len(part) for part in parts] == [len(data.splits[part.name]) for part in parts]
    found: dict[tuple[int, int], Any] = {}
    for part in parts:
        assert list(part.rows) == [example.row for example in part]
        assert len(part[:2]) == min(2, len(part)) == len(part.arrays()[:2])
        for example in part:
            assert (example.row, example.first) not in found
            found[example.row, example.first] = example
    stretches = [found[place] for place in sorted(found)]
    ids = np.concatenate([example.ids for example in stretches])
    assert np.array_equal(ids, np.asarray(data.store.values))
    for example in stretches:
        again = run.vocabulary.encode(example.values)
        same = data.vocabulary.encode(example.ids) if example.ids.ndim > 1 else example.ids
        assert np.array_equal(again, same)


@pytest.mark.parametrize("name", ["words", "strokes"])
def test_a_sequence_has_its_label(name: str, made: Made) -> None:
    """What the data says of a sequence stands beside it, whichever split took it."""
    run = made[name]
    labels = load_data(run.resolved).store.columns["label"]
    for example in (*run.split("train"), *run.split("test")):
        assert example.said["label"] == labels[example.row]


DEALT = {
    "vocabulary": {"kind": "character"},
    "sequence": {"split": [0.6, 0.2, 0.2]},
    "encoder": {"kind": "one_hot"},
    "cell": {"kind": "gru", "hidden_size": 2},
    "loss": {"kind": "cross_entropy"},
    "training": {"steps": 3, "batch_size": 2, "optimizer": {"kind": "adam", "lr": 0.01}},
    "device": {"path": "native"},
}
VALUES = {
    "vocabulary": {"kind": "numeric"},
    "encoder": {"kind": "identity"},
    "loss": {"kind": "mse"},
    "target": {"kind": "value"},
}
SAID: dict[str, tuple[str, dict[str, Any], Any]] = {
    "class": ("label", {"target": {"kind": "label"}}, lambda text: "ab"["a" in text]),
    "tags": ("tags", {"target": {"kind": "tags"}}, lambda text: [*text.upper()]),
    "bytes": (
        "tags",
        {"target": {"kind": "tags"}, "vocabulary": {"kind": "byte"}},
        lambda text: [mark.upper() for mark in text for _ in mark.encode()],
    ),
    "answer": ("answer", {"target": {"kind": "completion"}}, lambda text: text[::-2]),
    "one number": ("label", VALUES, lambda series: float(series[0]) / 3),
    "two numbers": ("label", VALUES, lambda series: [float(series[0]), len(series) / 7]),
}


@pytest.mark.parametrize("kind", SAID)
@given(texts=st.lists(st.text("abé", min_size=1, max_size=5), min_size=12, max_size=16))
@settings(max_examples=4, deadline=None)
def test_splits_say_what_was_given(kind: str, texts: list[str]) -> None:
    """Sequences come as they were given, and beside each what was said of this very one."""
    role, changes, rule = SAID[kind]
    # What is not seen in training would be refused.
    texts = [*texts, *["ab", "bé", "éa"] * 4]
    given_rows: list[Any] = texts
    if changes is VALUES:
        given_rows = [np.array([ord(mark) for mark in text], float) for text in texts]
    beside = [rule(row) for row in given_rows]
    # The tag of an element is that of each of its ids.
    tags = [[mark.upper() for mark in text] for text in texts]
    table = {"input": given_rows, role: tags if role == "tags" else beside}
    resolved = resolve({**DEALT, **changes}, (), data=table)
    data = load_data(resolved)
    rows = []
    for name, split in data.splits.items():
        part = Part(name, split, data.store, data.vocabulary, data.answers)
        for example in part:
            rows.append(example.row)
            values, ids, said = example.values, example.ids, example.said[role]
            if changes is VALUES:
                assert np.array_equal(ids, values)
                values = values[:, 0]
                assert said == pytest.approx(beside[example.row], rel=1e-15)
            else:
                assert np.array_equal(ids, data.vocabulary.encode(values))
                assert said == beside[example.row]
            assert example.first == 0 and np.array_equal(values, given_rows[example.row])
    assert sorted(rows) == list(range(len(texts)))


def test_a_split_that_is_none_is_refused(made: Made) -> None:
    """A name that is no split is told with those that are."""
    with pytest.raises(InputError, match="allowed: train, validation, test"):
        made["prose"].split("tset")  # type: ignore[arg-type]


# hidden states


@pytest.mark.parametrize("name", ["prose", "series", "words", "both"])
def test_hidden_states_are_those_of_each_step(name: str, made: Made) -> None:
    """The last layer's are what the head reads; a causal network gives each step alone the same."""
    run = made[name]
    sequence = run.split("train")[0].values
    layers = run.hidden(sequence)
    widths = [layer.shape[-1] for layer in layers]
    assert len(layers) == len(run.network.stack) and widths[-1] == run.network.head.in_features
    assert all(len(layer) == len(layers[0]) for layer in layers)

    target = run.resolved.target
    if target.causal and target.generates:
        last = torch.from_numpy(layers[-1][-1:]).to(run.network.device)
        output = run.network.answer(last)
        session = run.session().feed(sequence)
        assert torch.allclose(output, session.raw(), atol=1e-5)
        (first, *_) = run.hidden(sequence[:3])
        assert np.allclose(first, layers[0][: len(first)], atol=1e-5)


def test_a_sequence_that_cannot_be_read_has_no_states(made: Made) -> None:
    """An empty one and one of unknown symbols are refused, as a prediction refuses them."""
    with refusal("empty"):
        made["prose"].hidden("")
    with refusal("not in the vocabulary"):
        made["words"].hidden("\u4e16")


# chances, and what the loss reads


def test_the_likeliest_symbols_are_named(made: Made) -> None:
    """Each stands with its chance, the first first; they are those of `chances`."""
    session = made["prose"].session().feed("the ")
    chances = session.chances()[0]
    pairs = session.likeliest(3)
    assert len(pairs) == 3 and [c for _, c in pairs] == sorted((c for _, c in pairs), reverse=True)
    everything = dict(session.likeliest(10**6))
    assert len(everything) == made["prose"].vocabulary.size
    assert sum(everything.values()) == pytest.approx(1, abs=1e-5)
    ((symbol, chance),) = session.likeliest(1)
    assert chance == float(chances.max())
    assert made["prose"].vocabulary.symbol(int(chances.argmax())) == symbol
    with refusal("top cannot be 0"):
        session.likeliest(0)
    with refusal("stream cannot be 1"):
        session.likeliest(stream=1)
    with refusal("chances is for"):
        made["series"].session().feed([[1.0, 2.0]]).likeliest()


def test_sampling_is_of_the_public_face(made: Made) -> None:
    """A session draws as a program says."""
    session = made["prose"].session(seed=3).feed("the ")
    (one,) = session.copy().draw(Sampling(temperature=0.7, top_k=1))
    assert one == int(session.chances()[0].argmax())


def test_what_a_wide_loss_reads_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deviation that the network gives is read beside the mean, also from a saved session."""
    monkeypatch.chdir(tmp_path)
    Path("gaussian.py").write_text(GAUSSIAN, encoding="utf-8")
    task = {
        "plugins": {"files": ["gaussian.py"]},
        "vocabulary": {"kind": "numeric"},
        "sequence": {"length": 4},
        "encoder": {"kind": "identity"},
        "cell": {"kind": "gru", "hidden_size": 4},
        "loss": {"kind": "gaussian"},
        "training": {"steps": 2, "batch_size": 2, "optimizer": {"kind": "adam", "lr": 0.01}},
        "generation": {"length": 2},
        "device": {"path": "native"},
    }
    run = recurra.run(task, data=np.sin(np.arange(30)))
    session = run.session().feed([1.0, 0.5, 0.2])
    raw = session.raw()
    assert raw.shape == (1, 2) and torch.equal(raw[:, :1], session.expected())
    session.save("state")
    again = run.session().restore("state")
    assert torch.equal(again.raw(), raw)
    session.forecast_step()
    again.forecast_step()
    assert torch.equal(again.raw(), session.raw()) and not torch.equal(again.raw(), raw)
    with refusal("nothing has been read"):
        run.session().raw()


# how it goes


def test_progress_shows_how_training_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there is no terminal it prints lines; without it nothing is printed."""
    task = {"extends": "hello_lstm.toml", "training": {"epochs": 5}}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(recurra.__file__).parents[2] / "tasks")
        recurra.run(task, runs=tmp_path)
        assert capsys.readouterr().out == ""
        recurra.run(task, runs=tmp_path, observer=recurra.progress())
    printed = capsys.readouterr().out
    assert printed.startswith("training: 5 steps") and "training ended" in printed


class Failing(Live):
    """A bar that breaks off in training, as a user or a fault does."""

    def stepped(self, progress: Progress) -> None:
        """Break off at the second update."""
        super().stepped(progress)
        if progress.step == 2:
            raise KeyboardInterrupt


def test_a_bar_is_gone_however_training_ends(tmp_path: Path) -> None:
    """No thread goes on drawing it in a program that goes on, and that may use it once more."""
    before = {*threading.enumerate()}
    for bar in (Live(), Failing()):
        observer = Undisturbed(bar)
        for _ in range(2):
            ended = suppress(KeyboardInterrupt) if isinstance(bar, Failing) else nullcontext()
            with ended:
                recurra.run(DEALT, data=["ab"] * 20, runs=tmp_path, observer=observer)
            assert not bar.bar.live.is_started

        # A thread that was told to end does so in its own time.
        for thread in {*threading.enumerate()} - before:
            thread.join(timeout=60)
            assert not thread.is_alive()
