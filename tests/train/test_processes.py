"""Several processes train one network as one process does, and go on with what others began."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import chdir
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sharing
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from processes import together
from sharing import TOGETHER, begun, held

from recurra.data.batches import Batch, Whole
from recurra.job.build import build_trainer, fresh_network
from recurra.job.data import load_data
from recurra.randomness import Noise, seeded
from recurra.resolve import resolve
from recurra.train.events import Updated
from recurra.train.joint import Agreed, Joint
from recurra.world import World, share

QUICK = {2: ["everything", "answers", "decoder"], 3: ["labels", "missing"]}
"""Tasks that so many processes train by default; the others are slow ones."""
SLOW = {size: [name for name in TOGETHER if name not in names] for size, names in QUICK.items()}


class One(World):
    """One of several processes, seen by itself."""

    def __init__(self, rank: int, size: int) -> None:
        self.rank, self.size = rank, size


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder for all runs of one process, which reads no environment of several."""
    folder = tmp_path_factory.mktemp("one")
    sharing.prepare(folder)
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
            patch.delenv(name, raising=False)
        yield folder


@pytest.fixture(scope="module")
def alone(place: Path) -> Any:
    """Give what one process leaves of a task."""

    @cache
    def made(name: str) -> dict[str, Any]:
        run = begun(name, place / "runs")
        assert run is not None
        return held(run)

    return made


class Launches:
    """What two and three processes have done, one launch each, and a run that went from 1 to 2 to 3
    to 1.
    """

    def __init__(self, place: Path, names: dict[int, list[str]]) -> None:
        chained = place / "chained"
        assert begun("everything", chained, 3) is None
        self.names = names
        self.folders = {size: place / f"{size} processes" for size in names}
        self.of = {
            size: together(
                size,
                "sharing",
                "trial",
                folder,
                names[size],
                (chained, 3 * size),
                [2, 7] if "everything" in names[size] else [],
            )
            for size, folder in self.folders.items()
        }
        last = sharing.gone_on("everything", chained)
        assert last is not None
        self.chained = held(last)


@pytest.fixture(scope="module")
def launches(place: Path) -> Launches:
    """Two and three processes that train the quick tasks."""
    return Launches(place, QUICK)


@pytest.fixture(scope="module")
def slow_launches(place: Path) -> Launches:
    """Two and three processes that train the others."""
    (place / "slow").mkdir()
    return Launches(place / "slow", SLOW)


def apart(one: dict[str, Any], other: dict[str, Any]) -> float:
    """Return by how much two runs differ at most, in weights, moments, carried states, figures."""
    assert one["tensors"].keys() == other["tensors"].keys()
    assert one["progress"].items() >= {"step": other["progress"]["step"]}.items()
    assert {k: v for k, v in one["progress"].items() if k != "rate"} == {
        k: v for k, v in other["progress"].items() if k != "rate"
    }
    assert [len(record) for record in one["records"]] == [len(r) for r in other["records"]]
    # What a plugin draws from torch's own generator hangs on the process.
    gaps = [
        float((tensor.double() - other["tensors"][name].double()).abs().max())
        for name, tensor in one["tensors"].items()
        if tensor.numel() and not name.startswith("random.")
    ]
    figures = [
        abs(value - mate[name])
        for record, mate in zip(one["records"], other["records"], strict=True)
        for name, value in record.items()
        if isinstance(value, float)
    ]
    result, mate = one["result"]["metrics"], other["result"]["metrics"]
    assert result.keys() == mate.keys()
    return max(gaps + figures + [abs(result[name] - mate[name]) for name in result])


QUICK_ONES = [(size, name) for size, names in QUICK.items() for name in names]


@pytest.mark.parametrize(("size", "name"), QUICK_ONES)
def test_figures_are_those_of_one_process(
    name: str, size: int, alone: Any, launches: Launches
) -> None:
    """Weights, moments, carried states, figures and samples are equal, but for rounding."""
    for done in launches.of[size]:
        assert apart(alone(name), done["done"][name]) < 1e-9
        assert done["done"][name]["samples"] == alone(name)["samples"]


@pytest.mark.slow
@pytest.mark.parametrize("size", SLOW)
def test_so_are_those_of_every_task(size: int, alone: Any, slow_launches: Launches) -> None:
    """Each feed, target and layer is trained so, by two processes and by three."""
    for name in SLOW[size]:
        test_figures_are_those_of_one_process(name, size, alone, slow_launches)
    test_one_process_writes(slow_launches)
    test_a_run_goes_on_at_another_number(alone, slow_launches)


def test_a_run_goes_on_at_another_number(alone: Any, launches: Launches) -> None:
    """From one process to two, to three and to one: the run that never changed."""
    assert apart(alone("everything"), launches.chained) < 1e-9
    assert alone("everything")["samples"] == launches.chained["samples"]


def bits_are_equal(first: dict[str, Any]) -> None:
    """Compare a run that was stopped with one that was not."""
    whole, broken = first["done"]["everything"], first["broken"]
    for name, tensor in whole["tensors"].items():
        assert torch.equal(tensor, broken["tensors"][name]), name
    assert whole["records"] == broken["records"] and whole["samples"] == broken["samples"]


def test_bits_are_equal_where_the_number_stays(launches: Launches) -> None:
    """Stopped by a signal that one process hears, and resumed, a run is the unbroken one."""
    bits_are_equal(launches.of[2][0])


@pytest.mark.slow
def test_bits_of_three_processes_are_equal(slow_launches: Launches) -> None:
    """So it is with more of them."""
    bits_are_equal(slow_launches.of[3][0])


def test_one_process_writes(launches: Launches) -> None:
    """There is one folder a run, and all processes have the same result."""
    for size, all_done in launches.of.items():
        names = launches.names[size]
        assert len(all_done) == size
        runs = len(names) + ("everything" in names)
        assert len(list(launches.folders[size].rglob("task.toml"))) == runs
        for name in names:
            first, *others = (done["done"][name]["result"] for done in all_done)
            # A figure may be no number.
            assert all(repr(other) == repr(first) for other in others)


@pytest.mark.parametrize("size", [2, 3])
def test_gradients_are_sums_and_what_nobody_reached_has_none(size: int, launches: Launches) -> None:
    """Whatever passes a process makes, with or without a loss, the sum is that of all."""
    first, second = launches.of[size][0]["gradients"]
    ranks = [rank for rank in range(size) if rank != 1]
    # d/dw of w^2 (rank + 1) at 1, and 7 of the last process; of w^2 size at 2, and 1.
    of_first = 2.0 * sum(rank + 1 for rank in ranks) + 7
    of_second = 4.0 * size + 1
    for made, third in ((first, 5.0), (second, None)):
        assert torch.equal(made[0], torch.full((3,), of_first).double())
        assert torch.equal(made[1], torch.full((3,), of_second).double())
        assert (
            made[2] is None
            if third is None
            else torch.equal(made[2], torch.full((3,), third).double())
        )
    for done in launches.of[size]:
        for made, same in zip(done["gradients"], (first, second), strict=True):
            for one, other in zip(made, same, strict=True):
                assert one is None is other or torch.equal(one, other)


@pytest.mark.parametrize("name", sorted(TOGETHER))
def test_no_row_is_lost_or_seen_twice(name: str, place: Path) -> None:
    """What the processes have of a batch is, put together, the batch: of any number, from any
    batch on, padded as it is and no more.
    """
    resolved = resolve(sharing.tables(name), TOGETHER[name][1])
    feed = load_data(resolved).feed
    # Lanes are no fewer than processes; of a batch a process may have no row.
    for size in (2, 3, feed.batch_size + (0 if feed.carried else 2)):
        parts = [type(feed)(**{**vars(feed), "world": One(rank, size)}) for rank in range(size)]
        for epoch, skip in ((0, 0), (1, 1)):
            skip = min(skip, feed.batches - 1)
            whole = list(feed.epoch(epoch, skip))
            shared = [list(part.epoch(epoch, skip)) for part in parts]
            assert {len(part) for part in shared} == {len(whole)}
            for batch, *own in zip(whole, *shared, strict=True):
                assert sum(part.scored for part in own) == batch.scored
                same(batch, own)


def same(batch: Batch | Whole, own: list[Batch | Whole]) -> None:
    """Compare a batch with its parts, tensor by tensor."""
    filled = [part for part in own if len(part.x)]
    for field in batch._fields:
        value = getattr(batch, field)
        if field == "among":
            assert all(torch.equal(part.among, batch.steps) for part in filled)
        elif len(value):
            made = torch.cat([getattr(part, field) for part in filled])
            torch.testing.assert_close(made, value, rtol=0, atol=0, equal_nan=True)


@given(
    rows=st.integers(1, 9),
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=2),
    size=st.integers(1, 4),
    calls=st.integers(0, 2),
)
@settings(max_examples=60)
def test_noise_is_that_of_all_rows(rows: int, shape: list[int], size: int, calls: int) -> None:
    """Each process drops what would be dropped of its rows if all were here."""
    x = torch.ones(rows, *shape)

    def drawn(part: slice) -> torch.Tensor:
        noise = Noise(3)
        noise.begin(5, 1)
        if size > 1:
            noise.among(rows, part.start)
        noise.skip(calls)
        return torch.cat([noise.mask(x[part], 0.4), noise.mask(x[part], 0.7)], dim=1)

    whole = Noise(3)
    whole.begin(5, 1)
    for _ in range(calls):
        whole.mask(x, 0.1)
    expected = torch.cat([whole.mask(x, 0.4), whole.mask(x, 0.7)], dim=1)
    parts = [share(rows, rank, size) for rank in range(size)]
    made = [drawn(part) for part in parts if part.start < part.stop]
    assert torch.equal(torch.cat(made), expected)


class Lone(Joint):
    """Adds up nothing: the gradients of one process by itself."""

    def __init__(self, weights: Any, world: World) -> None:
        self.weights, self.reached = weights, []

    def close(self) -> None:
        """Leave."""

    def backward(self, value: Any, last: bool) -> None:
        """Go back."""
        torch.autograd.backward(value)

    def agree(self, loss: float, stop: bool, late: bool, signal: int | None = None) -> Agreed:
        """Agree with oneself."""
        return Agreed(loss, False, False)


def test_what_a_plugin_draws_hangs_on_process_and_update(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where several processes go on, each draws what it would have drawn, though a checkpoint is
    that of the first; and for its own rows it draws what no other does.
    """
    monkeypatch.setattr("recurra.train.joint.Joint", Lone)
    resolved = resolve(sharing.tables("windows"), TOGETHER["windows"][1])
    data = load_data(resolved)

    def drawn(rank: int, before: Any = None) -> tuple[list[list[float]], list[Any]]:
        network, _ = fresh_network(resolved, data)
        made: list[list[float]] = []
        saved = []
        hidden = network.hidden

        def noisy(x: torch.Tensor, *arguments: Any, **options: Any) -> Any:
            # As many as there are rows, which differ from process to process.
            made[-1] += torch.rand(len(x)).tolist()
            return hidden(x, *arguments, **options)

        monkeypatch.setattr(network, "hidden", noisy)
        with seeded(resolved.task.seed, "plugins"):
            trainer = build_trainer(resolved, data, network)
            trainer.world = One(rank, 3)
            trainer.__post_init__()
            if before is not None:
                trainer.restore(before)
            made.append([])
            for event in trainer.events():
                if isinstance(event, Updated):
                    saved.append(trainer.state())
                    made.append([])
        return made[:-1], saved

    first, saved = drawn(0)
    last, _ = drawn(2)
    assert [len(numbers) for numbers in first] != [len(numbers) for numbers in last]
    assert not {*sum(first, [])} & {*sum(last, [])}
    for rank, whole in ((0, first), (2, last)):
        again, _ = drawn(rank, saved[4])
        assert again == whole[5:] and again


def test_noise_of_one_process_has_not_changed() -> None:
    """Scheme 2 is what it was: numpy's Philox under the key of the place, row after row."""
    noise = Noise(7)
    noise.begin(2)
    mask = noise.mask(torch.ones(3, 4), 0.5)
    assert mask.dtype == torch.float32 and os.environ.get("WORLD_SIZE") is None
    key = __import__("recurra.randomness", fromlist=["derive"]).derive(7, "dropout", 2, 0, 0)
    numbers = np.random.Generator(np.random.Philox(key=key)).random((3, 4), np.float32)
    assert np.array_equal(mask.numpy(), (numbers >= 0.5).astype(np.float32))
