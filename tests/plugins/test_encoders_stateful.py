"""Encoders that look further than their step, and vectors that come from a file."""

from __future__ import annotations

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch.nn import functional

import recurra
from recurra import InputError
from recurra_encoders.calendar import Calendar
from recurra_encoders.convolution import Convolution
from recurra_encoders.embedding import Embedding
from recurra_encoders.options import CalendarOptions, ConvolutionOptions, EmbeddingOptions

laws = settings(deadline=None, max_examples=40)


def calendar(*periods, harmonics=1, size=1):
    return Calendar(
        size, CalendarOptions(periods=[float(period) for period in periods], harmonics=harmonics)
    )


def state_of(encoder, batch, position=None):
    return encoder.initial_state(
        batch, device=torch.device("cpu"), dtype=torch.float64, position=position
    )


@laws
@given(
    position=st.lists(st.integers(0, 10**9), min_size=2, max_size=2),
    flags=st.lists(st.booleans(), min_size=12, max_size=12),
    cut=st.integers(0, 6),
)
def test_the_calendar_counts_from_the_start_of_each_sequence(position, flags, cut):
    """Every step's waves are those of its own position, also after resets, in two windows as in
    one.
    """
    encoder = calendar(12, 7.5, harmonics=2)
    reset = torch.tensor(flags).view(2, 6)
    x = torch.zeros(2, 6, 1, dtype=torch.float64)
    state = state_of(encoder, 2, torch.tensor(position))
    first, state = encoder.advance(x[:, :cut], state, reset=reset[:, :cut])
    second, state = encoder.advance(x[:, cut:], state, reset=reset[:, cut:])
    found = torch.cat([first, second], dim=1)
    for row in range(2):
        t = position[row]
        for step in range(6):
            t = 0 if reset[row, step] else t
            turns = [math.fmod(k * t / period, 1) for period in (12, 7.5) for k in (1, 2)]
            wanted = [wave(2 * math.pi * turn) for wave in (math.sin, math.cos) for turn in turns]
            assert found[row, step, 1:].tolist() == pytest.approx(wanted, abs=1e-6)
            t += 1
        assert state.position[row] == t


def test_the_calendar_repeats_exactly_after_its_period():
    """After a million cycles the waves are those of the first one."""
    encoder = calendar(24)
    early, _ = encoder.advance(torch.zeros(1, 24, 1), state_of(encoder, 1))
    late, _ = encoder.advance(
        torch.zeros(1, 24, 1), state_of(encoder, 1, torch.tensor([24_000_000]))
    )
    assert (early - late).abs().max() < 1e-6


@pytest.mark.parametrize("how", ["windows", "carry"])
def test_a_task_learns_what_only_the_clock_tells(how, tmp_path, monkeypatch):
    """Windows from the middle, evaluation, and a forecast beyond the end all stand at their own
    position.

    The series jumps once in each period of 9, and a window of 4 steps cannot tell when: only the
    position does.
    """
    monkeypatch.chdir(tmp_path)
    values = [3.0 if t % 9 == 4 else 1.0 for t in range(140)]
    carry = "carry = true" if how == "carry" else "stride = 3"
    (tmp_path / "task.toml").write_text(
        f"""
schema = 1
[source]
kind = "inline"
values = {values}
[vocabulary]
kind = "numeric"
scale = "minmax"
[sequence]
length = 4
{carry}
split = [120, 0, 20]
[encoder]
kind = "calendar"
periods = [9]
harmonics = 4
[cell]
kind = "rnn"
hidden_size = 8
[loss]
kind = "mse"
[training]
steps = 250
batch_size = 6
optimizer = {{ kind = "adam", lr = 0.02 }}
[generation]
length = 10
""",
        encoding="utf-8",
    )
    run = recurra.run("task.toml")
    assert run.result["metrics"]["mae"] < 0.1
    assert run.result["forecast"]["metrics"]["mae"] < 0.1
    wanted = [3.0 if t % 9 == 4 else 1.0 for t in range(140, 150)]
    assert list(recurra.load(run.path).generate()) == pytest.approx(wanted, abs=0.4)
    session = run.session(position=138)
    session.feed([1.0])
    assert session.forecast_step()[0] == pytest.approx(3.0 if 139 % 9 == 4 else 1.0, abs=0.4)


def test_every_lane_reads_its_own_clock(tmp_path, monkeypatch):
    """Lanes that begin in the middle of a series, or meet the start of another, are trained at
    their own positions.
    """
    monkeypatch.chdir(tmp_path)
    values = [[float(100 * which + t) for t in range(33)] for which in range(4)]
    task = (
        f"schema = 1\n[source]\nkind = 'inline'\nseries = {values}\n[vocabulary]\nkind ="
        " 'numeric'\nscale = 'none'\n[sequence]\nlength = 25\ncarry = true\n[encoder]\nkind ="
        " 'calendar'\nperiods = [12]\n[cell]\nkind = 'rnn'\nhidden_size = 3\n[loss]\nkind ="
        " 'mse'\n[training]\nepochs = 2\nbatch_size = 3\n[generation]\nlength = 2\n"
    )
    (tmp_path / "task.toml").write_text(task, encoding="utf-8")
    seen, own = [], Calendar.advance

    def spied(self, x, state, *, reset=None):
        vectors, after = own(self, x, state, reset=reset)
        if self.training and len(x) == 3:
            seen.append(vectors)
        return vectors, after

    monkeypatch.setattr(Calendar, "advance", spied)
    recurra.run("task.toml")
    assert len(seen) >= 4
    for vectors in seen:
        t = vectors[..., 0] % 100  # the series count their own steps
        assert torch.allclose(vectors[..., 1], torch.sin(2 * math.pi * t / 12), atol=1e-5)
        assert torch.allclose(vectors[..., 2], torch.cos(2 * math.pi * t / 12), atol=1e-5)


def test_a_prompt_of_numbers_says_where_it_stands(tmp_path, monkeypatch):
    """The last values given by hand, with their position, forecast what the series' own end
    does.
    """
    monkeypatch.chdir(tmp_path)
    values = [round(math.sin(2 * math.pi * t / 12), 3) + 2 for t in range(90)]
    task = (
        f"schema = 1\n[source]\nkind = 'inline'\nvalues = {values}\n[vocabulary]\nkind ="
        " 'numeric'\n[sequence]\nlength = 20\n[encoder]\nkind = 'calendar'\nperiods ="
        " [12]\n[cell]\nkind = 'rnn'\nhidden_size = 3\n[loss]\nkind = 'mse'\n[training]\nsteps ="
        " 3\n[generation]\nlength = 3\n"
    )
    (tmp_path / "task.toml").write_text(task, encoding="utf-8")
    run = recurra.run("task.toml")
    own = list(run.generate())
    assert list(run.generate(values, position=0)) == pytest.approx(own, rel=1e-6)
    late = list(run.generate(values, position=120_000))  # ten thousand periods later
    assert late == pytest.approx(own, rel=1e-4)
    assert list(run.generate(values, position=5)) != pytest.approx(own, rel=1e-3)


@pytest.mark.parametrize(
    "options", [{"periods": [12, 12]}, {"periods": [12], "harmonics": 7}, {"periods": []}]
)
def test_waves_that_repeat_are_refused(options):
    """A period given twice and a wave above half a period would be columns that say nothing new."""
    with pytest.raises(ValueError, match="periods|harmonics"):
        CalendarOptions(**options)


@pytest.mark.parametrize("symbols", [True, False])
@pytest.mark.parametrize("width", [1, 2, 4])
def test_the_convolution_is_torchs(symbols, width):
    """A causal conv1d over the vectors of the steps, with zeros before the start."""
    encoder = Convolution(6, ConvolutionOptions(size=5, width=width)).double()
    x = torch.arange(14).view(2, 7) % 6 if symbols else torch.randn(2, 7, 6, dtype=torch.float64)
    vectors = encoder.weight[x] if symbols else x @ encoder.weight
    kernel = encoder.map.weight.view(5, width, 5).transpose(1, 2)
    padded = functional.pad(vectors.transpose(1, 2), (width - 1, 0))
    wanted = functional.silu(functional.conv1d(padded, kernel, encoder.map.bias)).transpose(1, 2)
    assert torch.allclose(encoder(x), wanted, atol=1e-12)


@laws
@given(
    cuts=st.lists(st.integers(0, 10), max_size=4),
    flags=st.lists(st.booleans(), min_size=20, max_size=20),
)
def test_the_convolution_is_the_same_however_it_is_cut(cuts, flags):
    """Windows with the tail carried give what one window gives, and a reset is a start of its
    own.
    """
    torch.manual_seed(1)
    encoder = Convolution(6, ConvolutionOptions(size=3, width=4)).double()
    x, reset = torch.arange(20).view(2, 10) % 6, torch.tensor(flags).view(2, 10)
    whole, last = encoder.advance(x, state_of(encoder, 2), reset=reset)
    state, parts = state_of(encoder, 2), []
    edges = [0, *sorted(cuts), 10]
    for start, stop in zip(edges, edges[1:], strict=False):
        part, state = encoder.advance(x[:, start:stop], state, reset=reset[:, start:stop])
        parts.append(part)
    assert torch.allclose(torch.cat(parts, dim=1), whole, atol=1e-12)
    assert torch.allclose(state.tail, last.tail, atol=1e-12)
    for row in range(2):
        begins = [0, *[t for t in range(1, 10) if reset[row, t]], 10]
        for start, stop in zip(begins, begins[1:], strict=False):
            assert torch.allclose(
                encoder(x[row : row + 1, start:stop])[0], whole[row, start:stop], atol=1e-12
            )


def given_vectors(tmp_path, rows, symbols=None, **options):
    """Return an embedding for the symbols a, b, c that starts from a file."""
    path = tmp_path / "vectors.safetensors"
    named = (
        None
        if symbols is None
        else {"symbols": symbols if isinstance(symbols, str) else json.dumps(symbols)}
    )
    save_file({"vectors": rows}, path, metadata=named)
    return Embedding(3, EmbeddingOptions(size=2, vectors=str(path), **options))


def test_given_vectors_are_taken_row_by_row(tmp_path):
    """Without names row i is symbol i, in the type of the weights; frozen vectors have no
    gradient.
    """
    rows = torch.tensor([[1, 2], [3, 4], [5, 6]], dtype=torch.float16)
    encoder = given_vectors(tmp_path, rows, frozen=True)
    encoder.prepare(["a", "b", "c"])
    assert torch.equal(encoder(torch.tensor([[2, 0]])), torch.tensor([[[5.0, 6.0], [1.0, 2.0]]]))
    assert not encoder.table.weight.requires_grad
    assert given_vectors(tmp_path, rows).table.weight.requires_grad


def test_given_vectors_are_found_by_name(tmp_path):
    """With names each symbol takes its own row, wherever it stands; one without a row keeps what
    was drawn.
    """
    encoder = given_vectors(tmp_path, torch.tensor([[1.0, 2], [3, 4], [9, 9]]), ["c", "a", "z"])
    drawn = encoder.table.weight[1].clone()
    encoder.prepare(["a", "b", "c"])
    assert torch.equal(
        encoder.table.weight, torch.stack([torch.tensor([3.0, 4]), drawn, torch.tensor([1.0, 2])])
    )


def test_frozen_vectors_are_all_given(tmp_path):
    """A frozen vector that nobody gave would stay noise for ever, and is refused with its
    symbol.
    """
    encoder = given_vectors(tmp_path, torch.ones(2, 2), ["c", "a"], frozen=True)
    with pytest.raises(InputError, match="1 of 3 symbols have no row in .*: 'b'"):
        encoder.prepare(["a", "b", "c"])


@pytest.mark.parametrize(
    ("rows", "symbols", "said"),
    [
        (torch.zeros(4, 2), None, "holds 4 rows, but there are 3 symbols"),
        (torch.zeros(3, 5), None, "vectors of width 5, but encoder.size is 2"),
        (torch.zeros(6), None, "must hold one matrix"),
        (torch.zeros(3, 2, dtype=torch.long), None, "must hold one matrix"),
        (torch.full((3, 2), math.nan), None, "not finite"),
        (torch.zeros(3, 2), ["a", "b"], "names 2 symbols, but holds 3 rows"),
        (torch.zeros(3, 2), ["x", "y", "z"], "none of the 3 symbols has a row"),
        (torch.zeros(3, 2), [1, 2, 3], "JSON list of names"),
        (torch.zeros(3, 2), "{", "no JSON list"),
        (torch.zeros(3, 2), ["a", "b", "a"], "names 1 symbols twice"),
        (torch.full((3, 2), 1e300, dtype=torch.float64), None, "too large"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(rows, symbols, said, tmp_path):
    """Each misfit of the file is told with both sides."""
    encoder = given_vectors(tmp_path, rows, symbols)
    with pytest.raises(InputError, match=said):
        encoder.prepare(["a", "b", "c"])


def test_a_file_that_is_none_is_refused(tmp_path):
    """A missing file and one of another format are told apart."""
    missing = Embedding(3, EmbeddingOptions(size=2, vectors=str(tmp_path / "none")))
    with pytest.raises(InputError, match="does not exist"):
        missing.prepare(["a", "b", "c"])
    (tmp_path / "text").write_text("no tensors here")
    wrong = Embedding(3, EmbeddingOptions(size=2, vectors=str(tmp_path / "text")))
    with pytest.raises(InputError, match="not a safetensors file"):
        wrong.prepare(["a", "b", "c"])


def test_a_run_keeps_its_vectors_without_the_file(tmp_path, monkeypatch, task):
    """Frozen vectors stay as they were given through training, and the run is loaded where the file
    is gone.
    """
    monkeypatch.chdir(tmp_path)
    rows = torch.randn(4, 3, generator=torch.Generator().manual_seed(2))
    save_file(
        {"vectors": rows},
        tmp_path / "v.safetensors",
        metadata={"symbols": json.dumps(list("ehlo"))},
    )
    path = task()
    path.with_name("v.safetensors").write_bytes((tmp_path / "v.safetensors").read_bytes())
    chosen = {"encoder.kind": "embedding", "encoder.size": 3, "encoder.frozen": True}
    run = recurra.run(path, {**chosen, "encoder.vectors": str(tmp_path / "v.safetensors")})
    (tmp_path / "v.safetensors").unlink()
    loaded = recurra.load(run.path)
    assert torch.equal(loaded.network.encoder.table.weight.cpu(), rows)
    assert next(iter(loaded.generate("h"))) in "ehlo"
