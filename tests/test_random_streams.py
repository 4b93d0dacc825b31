"""Streams of random numbers: each its own, all of one seed, and the global generators left as they
were.
"""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.randomness import (
    FlowingNoise,
    Noise,
    derive,
    numpy_stream,
    philox,
    seeded,
    torch_stream,
    uniforms,
)

NAMES = [("init",), ("shuffle", 0), ("shuffle", 1), ("dropout",), ("sampling",), ("split",)]


def draws(seed, names):
    return (
        tuple(numpy_stream(seed, *names).integers(1 << 60, size=4).tolist()),
        tuple(torch.rand(4, generator=torch_stream(seed, *names)).tolist()),
    )


def test_every_name_and_seed_is_a_stream_of_its_own():
    """The same seed and name draw the same, any other draw something else."""
    found = {(seed, names): draws(seed, names) for seed in (0, 1, 2**62) for names in NAMES}
    assert len({numbers for numbers, _ in found.values()}) == len(found)
    assert len({numbers for _, numbers in found.values()}) == len(found)
    assert all(draws(seed, names) == held for (seed, names), held in found.items())


def test_seeds_fit_every_generator():
    """A derived seed is a non-negative number of 63 bits, whatever the run's seed is."""
    for seed in (0, 1, (1 << 63) - 1):
        assert all(0 <= derive(seed, *names) < 1 << 63 for names in NAMES)


def test_asking_one_stream_more_often_does_not_move_another():
    """A stream's numbers do not depend on what is drawn elsewhere, nor on the global generators."""
    wanted = draws(3, ("dropout",))
    torch_stream(3, "sampling").seed()
    torch.manual_seed(99)
    torch.rand(100)
    assert draws(3, ("dropout",)) == wanted


def test_streams_leave_the_global_generators_alone():
    """Neither making nor using a stream changes what the user's own code would draw."""
    state, numbers = torch.get_rng_state(), np.random.get_state()
    for names in NAMES:
        draws(5, names)
    with seeded(5, "init"):
        torch.rand(10)
    assert torch.equal(torch.get_rng_state(), state)
    after = np.random.get_state()
    assert all(np.array_equal(one, other) for one, other in zip(numbers, after, strict=True))


def test_a_lent_generator_draws_by_seed_and_name():
    """Inside `seeded` the global generator gives the named stream, whatever its state was."""
    found = []
    for before, seed in ((1, 7), (2, 7), (1, 8)):
        torch.manual_seed(before)
        with seeded(seed, "init"):
            found.append(torch.rand(4))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])


def test_the_generator_that_is_seeded_is_the_one_that_is_lent(monkeypatch):
    """torch seeds the present device alone: for the time of it, that is the one whose generator
    comes back.
    """
    lent, present, seeds = [], [0], []

    @contextmanager
    def fork(devices):
        lent.extend(devices)
        yield

    @contextmanager
    def turn(device):
        present.append(device.index)
        yield
        present.pop()

    monkeypatch.setattr(torch.random, "fork_rng", fork)
    monkeypatch.setattr(torch.cuda, "device", turn)
    monkeypatch.setattr(torch.cuda, "manual_seed", lambda seed: seeds.append((present[-1], seed)))
    second = torch.device("cuda:1")
    with seeded(3, "plugins", device=second):
        assert present == [0]
    assert lent == [second] and seeds == [(1, derive(3, "plugins"))]


def test_a_lent_generator_comes_back_after_a_failure():
    """An error inside `seeded` passes through, and the state is put back."""
    torch.manual_seed(11)
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(1, "init"):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        (
            "00000000 00000000 00000000 00000000",
            "00000000 00000000",
            "6627e8d5 e169c58d bc57ac4c 9b00dbd8",
        ),
        (
            "ffffffff ffffffff ffffffff ffffffff",
            "ffffffff ffffffff",
            "408f276d 41c83b0e a20bc7c6 6d5451fd",
        ),
        (
            "243f6a88 85a308d3 13198a2e 03707344",
            "a4093822 299f31d0",
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_gives_the_published_words(counter, key, words):
    """The known answers that the authors of Philox publish with it (Random123, kat_vectors)."""
    numbers = [[int(word, 16) for word in text.split()] for text in (counter, key, words)]
    low, high = numbers[1]
    assert philox(np.array(numbers[0], np.uint32), low | high << 32).tolist() == numbers[2]


places = st.integers(0, 1 << 40)


@given(
    key=st.integers(0, (1 << 63) - 1),
    first=places,
    count=st.integers(1, 9),
    streams=st.integers(1, 9),
)
@settings(max_examples=30, deadline=None)
def test_a_number_hangs_on_its_step_and_stream_alone(key, first, count, streams):
    """Whatever the block and however many streams, the number of a step and a stream is the same,
    and in [0, 1).
    """
    block = uniforms(key, first, count, streams)
    assert block.shape == (count, streams) and (block >= 0).all() and (block < 1).all()
    step, stream = count - 1, streams - 1
    assert uniforms(key, first + step, 1, stream + 1)[0, stream] == block[step, stream]
    assert len(np.unique(block)) == block.size


def test_uniform_numbers_fill_the_unit_evenly():
    """Mean and spread are those of the unit interval, over steps and over streams, and no two rows
    go together.
    """
    block = uniforms(derive(3, "sampling"), 0, 400, 400)
    for axis in (0, 1):
        assert abs(block.mean(axis=axis) - 0.5).max() < 5 * (1 / 12 / 400) ** 0.5
        assert abs(np.corrcoef(block, rowvar=bool(axis)) - np.eye(400)).max() < 6 / 400**0.5
    assert abs(block.var() - 1 / 12) < 1e-3


def test_noise_hangs_on_its_place_alone():
    """What is dropped depends on seed, update, batch and call: not on what was drawn before, nor on
    how x lies.
    """
    x = torch.ones(4, 6, 8)
    found = {}
    noise = Noise(3)
    for place in [(0, 0), (5, 0), (5, 1), (0, 0), (5, 1)]:
        noise.begin(*place)
        for call in range(2):
            kept = noise.mask(x if call else x.transpose(0, 1).contiguous().transpose(0, 1), 0.5)
            assert set(kept.unique().tolist()) == {0.0, 1.0} and kept.shape == x.shape
            assert found.setdefault((*place, call), kept.tolist()) == kept.tolist()
    assert len({str(kept) for kept in found.values()}) == len(found) == 6
    assert noise.state() == {}
    other = Noise(4)
    assert other.mask(x, 0.5).tolist() != found[0, 0, 0]


def test_flowing_noise_goes_on_from_what_was_saved():
    """The noise of before goes on bit for bit from where it stood, wherever it is told to begin."""
    x = torch.ones(5, 7)
    noise = FlowingNoise(3)
    noise.mask(x, 0.5)
    saved = {name: tensor.clone() for name, tensor in noise.state().items()}
    once = noise.mask(x, 0.5)
    noise.begin(0)
    assert not torch.equal(noise.mask(x, 0.5), once)
    noise.restore(saved)
    assert torch.equal(noise.mask(x, 0.5), once)
    assert torch.equal(
        FlowingNoise(3).mask(x, 0.5),
        x.clone().bernoulli_(0.5, generator=torch_stream(3, "dropout")),
    )
