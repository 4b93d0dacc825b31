"""Streams of random numbers: each its own, all of one seed, and the global generators left as they were."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from recurra.randomness import derive, numpy_stream, seeded, torch_stream

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


def test_a_lent_generator_comes_back_after_a_failure():
    """An error inside `seeded` passes through, and the state is put back."""
    torch.manual_seed(11)
    state = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(1, "init"):
        torch.rand(3)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)
