"""The measured choice of a path: the fastest that is proved, kept on disk, doubted when read, and
felt by nobody.
"""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path as File
from unittest import mock

import pytest
import torch
from hand_made import build
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from recurra import CellOptions
from recurra.engine import choice, eager, measure, paths, proof, race, timings
from recurra.engine.choice import Choice
from recurra.engine.isolated import is_isolated, isolated
from recurra.engine.paths import Path
from recurra.engine.race import Lap
from recurra.engine.recurrence import map_state
from recurra.engine.timings import Timings
from recurra.errors import Unkept
from recurra.randomness import seeded

SLOW = 0.002


def first(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, reset, lengths)


def second(cell, x, state, reset, lengths):
    return eager.run(cell, x, state, reset, lengths)


def lies(cell, x, state, reset, lengths):
    y, final = eager.run(cell, x, state, reset, lengths)
    return y + 1e-6, map_state(lambda field: field + 1e-6, final)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> File:
    """Nothing proved, nothing measured and three honest paths; the folder in which timings are
    kept.
    """
    monkeypatch.delenv("RECURRA_MEASURE")
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    monkeypatch.setattr(
        paths, "PATHS", {"first": Path(first), "second": Path(second), "eager": Path(eager.run)}
    )
    forget(monkeypatch)
    return File(os.environ["RECURRA_CACHE"]) / "paths"


def forget(monkeypatch) -> None:
    """Be as a process that has just begun."""
    monkeypatch.setattr(timings, "TIMINGS", timings.KnownTimings())
    monkeypatch.setattr("recurra.cache._warned", set())


@pytest.fixture
def clock(monkeypatch, cache):
    """A machine on which a step of each path takes what the test says; the runs that were timed."""

    class Clock:
        steps = {"first": 3e-4, "second": 1e-4, "eager": 9e-4}
        runs: list[tuple[str, int, int]] = []
        foreign = 0.0
        waits = 1.0

    def timed(cell, window, draw, name, batch, steps):
        Clock.runs.append((name, batch, steps))
        seconds = Clock.steps[name] * steps
        return Lap(Clock.waits * seconds, seconds)

    class Others:
        def foreign(self):
            return Clock.foreign

    Clock.runs = []
    monkeypatch.setattr(measure, "_timed", timed)
    monkeypatch.setattr(race, "Load", Others)
    monkeypatch.setattr("recurra.engine.load.now", lambda: Clock.foreign)
    return Clock


def window(batch: int = 2, steps: int = 5) -> torch.Tensor:
    return torch.randn(batch, steps, 3, dtype=torch.float64)


@pytest.mark.parametrize("fast", ["first", "second", "eager"])
def test_the_fastest_path_is_taken_and_kept(clock, cache, monkeypatch, fast):
    """Whatever path is the fastest is taken; another process reads it, and measures nothing."""
    clock.steps = {name: 5e-4 for name in paths.PATHS} | {fast: 1e-4}
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {fast} and clock.runs
    clock.runs.clear()
    forget(monkeypatch)
    again = build("leaky", 3, 4)
    again(window())
    assert set(again.chosen_paths.values()) == {fast} and not clock.runs
    assert choice.explain(again, 2, 5).path == fast
    assert len(list(cache.iterdir())) == 1


def test_a_path_by_name_is_forced(clock):
    """A name is taken though another path is faster, and nothing is measured."""
    cell, ran = build("leaky", 3, 4), []
    paths.PATHS["first"] = Path(lambda *given: ran.append(1) or eager.run(*given))
    cell.path = "first"
    cell(window())
    assert ran and not clock.runs and not cell.chosen_paths


def test_single_steps_may_have_a_path_of_their_own(clock):
    """`step_path` is for windows of one step without gradients, and for no other."""
    cell, ran = build("leaky", 3, 4), []
    for name in ("first", "second"):
        paths.PATHS[name] = Path(lambda *given, name=name: ran.append(name) or eager.run(*given))
    cell.path, cell.step_path = "first", "second"
    cell(window(2, 1))
    with torch.no_grad():
        cell(window(2, 2))
        cell(window(2, 1))
    assert ran == ["first", "first", "second"]


@given(
    given=st.dictionaries(
        st.sampled_from(["native", "fused", "scan", "chunkwise", "eager"]),
        st.floats(1e-7, 10),
        min_size=1,
    )
)
def test_a_tie_goes_to_the_earlier_path(given):
    """What is taken is nearly the best, and everything before it is clearly slower; eager alone has
    to win clearly.
    """
    names = [name for name in paths.PATHS if name in given]
    taken = choice.fastest(names, given)
    others = [value for name, value in given.items() if name != "eager"]
    if taken == "eager":
        assert not others or given["eager"] * choice.CLEAR < min(others)
        return
    assert given[taken] <= choice.TIE * min(others)
    assert given[taken] <= choice.TIE * choice.CLEAR * min(given.values())
    assert all(given[name] > choice.TIE * min(others) for name in names[: names.index(taken)])


def test_a_liar_is_never_taken_though_it_is_the_fastest(clock):
    """A path that fails its proof is not even timed; it is explained."""
    paths.PATHS["second"] = Path(lies)
    cell = build("leaky", 3, 4)
    with pytest.warns(RuntimeWarning, match="path second is dropped"):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}
    assert "second" not in {name for name, *_ in clock.runs}
    told = choice.explain(cell, 2, 5)
    assert "differs by" in told.refused["second"] and set(told.seconds) == {"first", "eager"}


def test_a_path_that_refuses_a_cell_says_why_and_is_not_run(clock):
    """A refusal is a few words, and neither proof nor time is spent on the path."""
    ran = []
    paths.PATHS["second"] = Path(lambda *given: ran.append(1), lambda cell: "no C compiler found")
    assert choice.explain(build("leaky", 3, 4), 2, 5).refused == {"second": "no C compiler found"}
    assert not ran


def test_a_timing_on_disk_of_a_path_that_is_no_more_proved_is_not_followed(
    clock, cache, monkeypatch
):
    """What was the fastest yesterday and lies today is dropped."""
    build("leaky", 3, 4)(window())
    forget(monkeypatch)
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    paths.PATHS["second"] = Path(lies)
    cell = build("leaky", 3, 4)
    with pytest.warns(RuntimeWarning, match="dropped"):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}


def test_a_path_that_fails_on_a_window_is_not_taken_there(cache):
    """A path that is proved and cannot run in some type is left out where it fails, and the loop
    runs.
    """

    def no_float32(cell, x, state, reset, lengths):
        if x.dtype == torch.float32:
            raise RuntimeError("no kernel for Float")
        return eager.run(cell, x, state, reset, lengths)

    paths.PATHS = {"first": Path(no_float32), "eager": Path(eager.run)}
    cell = build("leaky", 3, 4, torch.float32)
    cell(window().float())
    assert set(cell.chosen_paths.values()) == {"eager"}
    assert choice.explain(cell, 2, 5).refused == {"first": "it does not run on such a window"}


def with_timings(text: str, **changed: object) -> str:
    held = json.loads(text)
    return json.dumps(held | {"figures": held["figures"] | changed})


WRONG = {
    "empty": lambda text: "",
    "truncated": lambda text: text[: len(text) // 2],
    "no json": lambda text: "\0\0\0",
    "not text": lambda text: b"\xff\xfe\xff",
    "null": lambda text: "null",
    "a number": lambda text: "0",
    "a list": lambda text: "[1, 2]",
    "deeper than can be read": lambda text: "[" * 200_000,
    "deeper within": lambda text: '{"question": {"a": ' + "[" * 200_000,
    "of the format before": lambda text: json.dumps(json.loads(text)["figures"]),
    "another question": lambda text: text.replace('"input_size": 3', '"input_size": 4'),
    "a question that is none": lambda text: json.dumps(json.loads(text) | {"question": [1]}),
    "more than was written": lambda text: json.dumps(json.loads(text) | {"more": 1}),
    "another path": lambda text: text.replace('"second": ', '"warp": '),
    "no timings": lambda text: with_timings(text, seconds={}),
    "timings in a list": lambda text: with_timings(text, seconds=[0.1]),
    "timings that are none": lambda text: with_timings(text, seconds={"eager": "fast"}),
    "a time as text": lambda text: with_timings(text, seconds={"eager": "0.1"}),
    "a time of nothing": lambda text: with_timings(text, seconds={"eager": 0.0}),
    "a time that is no number": lambda text: with_timings(text, seconds={"eager": float("nan")}),
    "a time without end": lambda text: with_timings(text, seconds={"eager": float("inf")}),
    "true": lambda text: with_timings(text, seconds={"eager": True}),
    "null for a time": lambda text: with_timings(text, seconds={"eager": None}),
    "a load below nothing": lambda text: with_timings(text, load=-1.0),
    "a load that is no number": lambda text: with_timings(text, load=float("nan")),
    "a load that is true": lambda text: with_timings(text, load=True),
    "measured too often": lambda text: with_timings(text, times=timings.TIMES + 1),
    "measured a half time": lambda text: with_timings(text, times=1.5),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_file_that_is_not_what_was_written_is_measured_again(clock, cache, monkeypatch, wrong):
    """Whatever stands there, it does no harm, and it is mended."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    text = file.read_text()
    spoilt = WRONG[wrong](text)
    assert spoilt != text
    file.write_bytes(spoilt if isinstance(spoilt, bytes) else spoilt.encode())
    clock.runs.clear()
    forget(monkeypatch)
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and clock.runs
    assert file.read_text() == text and list(cache.iterdir()) == [file]


@pytest.mark.parametrize("kind", ["a folder", "nothing that may be read"])
def test_a_file_that_cannot_be_read_is_measured_again(clock, cache, monkeypatch, kind):
    """A folder stands where the file should, or the file belongs to somebody else."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    clock.runs.clear()
    forget(monkeypatch)
    if kind == "a folder":
        file.unlink()
        (file / "within").mkdir(parents=True)
    else:
        refused = PermissionError(13, "Permission denied")
        monkeypatch.setattr(timings.Path, "read_bytes", lambda path: (_ for _ in ()).throw(refused))
    cell = build("leaky", 3, 4)
    with warnings.catch_warnings(action="ignore", category=Unkept):
        cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and clock.runs


def test_timings_of_a_busy_machine_are_marked_and_made_again(clock, cache, monkeypatch):
    """They are kept with what others used, told, and measured again in a quieter process, but not
    in a busier one.
    """
    clock.foreign = 0.9
    told = choice.explain(build("leaky", 3, 4), 2, 5)
    assert "0.9 cores busy" in told.note
    clock.runs.clear()
    for foreign, again in ((1.5, False), (0.5, False), (0.0, True), (0.0, False)):
        forget(monkeypatch)
        clock.runs.clear()
        clock.foreign = foreign
        told = choice.explain(build("leaky", 3, 4), 2, 5)
        assert bool(clock.runs) == again, foreign
    assert told.note == "" and len(list(cache.iterdir())) == 1


def test_timings_are_made_again_a_few_times_at_most(cache, monkeypatch):
    """A machine that is never quiet does not measure for ever, and the timings of its quietest time
    stay.
    """
    loads = iter([0.9, 0.8, 0.85, 0.7, 0.6, 0.5])
    measured = []

    def measure():
        measured.append(next(loads))
        return Timings(seconds={"first": measured[-1]}, load=measured[-1])

    for _ in range(8):
        forget(monkeypatch)
        found = timings.TIMINGS.recall({"a": 1}, ["first"], measure, lambda: 0.0)
    assert len(measured) == timings.TIMES
    assert found.load == min(measured) and found.seconds == {"first": min(measured)}


def test_a_busy_machine_is_told_by_the_processor(clock):
    """Where others take the cores, it is not the clock that counts; where threads wait for each
    other alone, it is.
    """
    slow = {"first": 1.0, "second": 4.0}

    def runs(name, rows, long):
        return Lap(slow[name] * 1e-4 * long, 1e-4 * long * (1.5 if name == "first" else 1.0))

    clock.foreign = 0.0
    assert (
        choice.fastest(["first", "second"], race.compared(runs, ["first", "second"], 4, 16).seconds)
        == "first"
    )
    clock.foreign = 0.9
    busy = race.compared(runs, ["first", "second"], 4, 16)
    assert choice.fastest(["first", "second"], busy.seconds) == "second" and busy.load == 0.9


def test_a_long_path_beside_it_does_not_hide_who_waits(clock):
    """One path shares its work and waits for a core that is taken; the others, and a slow one, wait
    for nobody.
    """

    def runs(name, rows, long):
        wall, processor = {"alone": (6.0, 5.5), "shared": (8.0, 4.0), "eager": (400.0, 390.0)}[name]
        return Lap(wall * 1e-5 * long, processor * 1e-5 * long)

    names = ["alone", "shared", "eager"]
    clock.foreign = 1.0
    assert choice.fastest(names, race.compared(runs, names, 1, 1024).seconds) == "shared"
    clock.foreign = 0.0
    assert choice.fastest(names, race.compared(runs, names, 1, 1024).seconds) == "alone"


@pytest.mark.parametrize("again", [True, False])
def test_eager_must_win_twice(clock, monkeypatch, again):
    """A race that eager wins is run once more, and it is taken if it wins that one too."""
    races = iter(
        [
            {"first": 3.0, "second": 2.0, "eager": 1.0},
            {"second": 2.0, "eager": 1.0 if again else 1.99},
        ]
    )
    monkeypatch.setattr(race, "compared", lambda *given: Timings(seconds=next(races)))
    cell = build("leaky", 3, 4)
    assert choice.explain(cell, 2, 5).path == ("eager" if again else "second")
    assert next(races, None) is None


def test_a_folder_that_cannot_be_written_is_told_once_and_measured_in_each_process(
    clock, cache, monkeypatch
):
    """One line of warning for any number of cells; within the process nothing is measured twice."""
    cache.parent.write_text("a file where the cache folder should be")
    with pytest.warns(
        RuntimeWarning, match="cannot be written .*measured anew in each process"
    ) as said:
        for hidden in (4, 5):
            build("leaky", 3, hidden)(window())
    assert len(said) == 1
    clock.runs.clear()
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"second"} and not clock.runs


def test_a_full_disk_leaves_nothing_half_written(clock, cache, monkeypatch):
    """A write that fails at its end is cleared away, and told."""

    def full(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.warns(RuntimeWarning, match="No space left"):
        build("leaky", 3, 4)(window())
    assert list(cache.iterdir()) == []


def test_what_another_process_wrote_meanwhile_is_taken(clock, cache, monkeypatch):
    """Two that measure at once agree on the first that was kept."""
    build("leaky", 3, 4)(window())
    (file,) = cache.iterdir()
    theirs = json.loads(
        with_timings(file.read_text(), seconds={"first": 1e-4, "second": 2e-4, "eager": 3e-4})
    )
    file.unlink()
    forget(monkeypatch)
    real = choice.measure

    def slowly(*given):
        found = real(*given)
        file.write_text(json.dumps(theirs))
        return found

    monkeypatch.setattr(choice, "measure", slowly)
    cell = build("leaky", 3, 4)
    cell(window())
    assert set(cell.chosen_paths.values()) == {"first"}
    assert json.loads(file.read_text()) == theirs


CHILD = """
import json, torch
from recurra.engine import timings
timings.TIMES = 1  # what was disturbed is not measured again
torch.set_num_threads(1)
from recurra_cells.gru import GRU
from recurra_cells.options import GRUOptions
cell = GRU(3, GRUOptions(hidden_size=4))
for batch in (1, 16):
    for steps in (2, 32):
        cell(torch.randn(batch, steps, 3))
taken = [([1 << bits - 1 for bits in key[:2]], path) for key, path in cell.chosen_paths.items()]
print(json.dumps(sorted(taken)))
"""


@pytest.mark.slow
def test_processes_at_once_are_harmless(tmp_path):
    """Several that measure the same questions leave whole files alone; a later one takes what
    stands there.
    """
    world = {**os.environ, "RECURRA_CACHE": str(tmp_path / "shared"), "OMP_NUM_THREADS": "1"}
    del world["RECURRA_MEASURE"]
    together = [
        subprocess.Popen(
            [sys.executable, "-c", CHILD], env=world, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert [child.wait() for child in together] == [0, 0]
    for child in together:
        child.stdout.close()
    files = sorted((tmp_path / "shared" / "paths").iterdir())
    before = [file.read_bytes() for file in files]
    answers = [json.loads(text) for text in before]
    best = [
        [
            answer["question"]["window"],
            choice.fastest(answer["question"]["paths"], answer["figures"]["seconds"]),
        ]
        for answer in answers
    ]
    assert len(best) == 4

    later = subprocess.run(
        [sys.executable, "-c", CHILD], env=world, stdout=subprocess.PIPE, check=True
    )
    assert json.loads(later.stdout) == sorted(best)
    assert before == [file.read_bytes() for file in files]


def test_where_no_thread_can_be_started_the_work_is_done_here(monkeypatch):
    """As under a limit of processes; what it raises is raised, and afterwards this is no such
    thread.
    """

    def refuse(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert isolated(is_isolated) and not is_isolated()
    with pytest.raises(ZeroDivisionError):
        isolated(lambda: 1 / 0)
    assert not is_isolated()


def test_what_the_time_depends_on_is_asked_apart(clock, cache):
    """Rows, steps, gradients, resets, lengths, type, autocast, width and options have timings of
    their own.
    """
    cell, x = build("leaky", 3, 4), window()
    reset, lengths = torch.zeros(2, 5, dtype=torch.bool), torch.tensor([5, 3])
    cell(x)
    cell(window(3, 7))  # of the same powers of two
    assert len(list(cache.iterdir())) == 1
    cell(window(4, 5))
    cell(window(2, 8))
    cell(window(2, 1))
    with torch.no_grad():
        cell(x)
    with torch.inference_mode():
        cell(x)
    cell(x, reset=reset)
    cell(x, lengths=lengths)
    with torch.autocast("cpu", torch.bfloat16):
        cell(x)
    build("leaky", 3, 4, torch.float32)(x.float())
    build("leaky", 3, 5)(x)
    assert len(list(cache.iterdir())) == 10


def test_another_number_of_threads_is_another_question(clock, cache):
    """The timings of one thread say nothing of two."""
    cell = build("leaky", 3, 4)
    try:
        for count in (1, 2, 1):
            torch.set_num_threads(count)
            cell(window())
    finally:
        torch.set_num_threads(1)
    assert len(list(cache.iterdir())) == 2


def test_the_window_that_is_timed_is_like_the_call(cache, monkeypatch):
    """Resets, rows of different lengths, type, gradients and autocast of the trial are those of the
    call.
    """
    seen = []

    def looks(cell, x, state, reset, lengths):
        if x.dtype == torch.float32:
            kinds = (
                reset is not None and bool(reset.any()),
                lengths is not None and bool((lengths < x.shape[1]).any()),
            )
            seen.append((x.shape[1], *kinds, torch.is_grad_enabled(),
                torch.is_inference_mode_enabled(),
                         torch.is_autocast_enabled("cpu")))  # fmt: skip
        return eager.run(cell, x, state, reset, lengths)

    paths.PATHS["first"] = Path(looks)
    cell, x = build("leaky", 3, 4, torch.float32), window(4, 8).float()
    reset, lengths = torch.zeros(4, 8, dtype=torch.bool), torch.full((4,), 8)
    cell(x, reset=reset)
    assert (8, True, False, True, False, False) in seen
    seen.clear()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        cell(x, lengths=lengths)
    assert (8, False, True, False, True, True) in seen
    assert all(part[3:] == (False, True, True) for part in seen)
    seen.clear()
    with torch.no_grad():
        cell(x, lengths=lengths, reset=reset)
    assert (8, True, True, False, False, False) in seen
    assert all(part[3:] == (False, False, False) for part in seen)


def test_measuring_disturbs_nothing(cache):
    """Not the global generators, gradients, weights, mode, inputs, hooks, warnings, or what counts
    operations.
    """
    cell = build("gru", 3, 4)
    cell.train()
    counted = []
    cell.register_parameter("unused", torch.nn.Parameter(torch.zeros(1, dtype=torch.float64)))
    for weight in cell.parameters():
        weight.register_hook(lambda grad: counted.append("weight"))
        weight.grad = torch.ones_like(weight)
    wanted = {name: weight.clone() for name, weight in cell.state_dict().items()}
    x = window().requires_grad_()
    random = torch.get_rng_state()
    copied = x.detach().clone()
    saved = []

    def note(tensor):
        saved.append(tensor)
        return tensor

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            FlopCounterMode(display=False) as one,
        ):
            y, _ = cell(x)
        kept = len(saved)
        with (
            torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor),
            FlopCounterMode(display=False) as two,
        ):
            z, _ = cell(x)
    assert cell.chosen_paths and torch.equal(y, z)
    assert len(saved) == 2 * kept and one.get_total_flops() == two.get_total_flops()
    assert not said and not counted and cell.training
    assert torch.equal(random, torch.get_rng_state()) and torch.equal(x, copied) and x.grad is None
    assert all(torch.equal(weight.grad, torch.ones_like(weight)) for weight in cell.parameters())
    assert all(torch.equal(weight, wanted[name]) for name, weight in cell.state_dict().items())
    assert torch.is_grad_enabled()


class Noisy(type(build("leaky", 2, 2))):
    """Draws noise while it trains, warns, and counts what it is asked."""

    def step(self, x_t, state):
        warnings.warn("a step", RuntimeWarning, stacklevel=1)
        y, state = super().step(x_t, state)
        return (y + torch.randn_like(y) if self.training else y), state


def test_a_cell_that_draws_while_it_trains_draws_as_if_nothing_was_measured(cache):
    """The first call in a process gives what any later call from the same seed gives, and warns as
    often.
    """
    with seeded(0, "init"):
        cell = Noisy(3, CellOptions(hidden_size=4)).double().train()
    found, x = [], window()
    for _ in range(2):
        with warnings.catch_warnings(record=True) as said, seeded(1, "dropout"):
            warnings.simplefilter("always")
            found.append((cell(x)[0], torch.get_rng_state()))
        assert len(said) == x.shape[1]
    assert torch.equal(found[0][0], found[1][0]) and torch.equal(found[0][1], found[1][1])


def test_the_first_call_may_stand_in_a_checkpoint(cache):
    """Activation checkpointing counts what is saved, forward and again: proof and measurement do
    not count.
    """
    cell, x = build("gru", 3, 4), window().requires_grad_()
    y = checkpoint(lambda x: cell(x)[0], x, use_reentrant=False)
    (found,) = torch.autograd.grad(y.sum(), x)
    (wanted,) = torch.autograd.grad(cell(x)[0].sum(), x)
    assert torch.equal(found, wanted)


def test_a_cell_in_a_cell_is_not_measured_within_a_proof(clock):
    """A cell that is made of another one is proved and measured alone; the inner one runs eager
    meanwhile.
    """

    class Outer(type(build("leaky", 2, 2))):
        def __init__(self, input_size, options):
            super().__init__(input_size, options)
            self.inner = type(self).__mro__[1](input_size, options)

        def step(self, x_t, state):
            y, state = super().step(x_t, state)
            return y + self.inner(x_t.unsqueeze(1))[0][:, 0], state

    cell = Outer(3, CellOptions(hidden_size=4)).double()
    choice.explain(cell, 2, 5)
    assert not cell.inner.chosen_paths


def transforms(cell, x):
    """Return calls of a cell under what watches or rewrites its operations."""
    weights = dict(cell.named_parameters())
    return {
        "vmap": lambda: torch.vmap(lambda x: cell(x)[0])(x.unsqueeze(0).expand(2, -1, -1, -1))[0],
        "grad": lambda: torch.func.grad(lambda x: cell(x)[0].sum())(x),
        "functional_call": lambda: torch.func.vmap(
            lambda w: torch.func.functional_call(cell, w, (x,))[0]
        )({name: torch.stack([weight, weight]) for name, weight in weights.items()})[0],
        "compile": lambda: torch.compile(lambda x: cell(x)[0], backend="eager", fullgraph=True)(x),
        "jvp": lambda: torch.func.jvp(lambda x: cell(x)[0], (x,), (x,))[0],
        "meta": lambda: copy.deepcopy(cell).to("meta")(x.to("meta"))[0],
    }  # fmt: skip


# The warning is torch's own, for forward derivatives.
@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("kind", ["vmap", "grad", "functional_call", "compile", "jvp", "meta"])
def test_under_a_transform_the_loop_runs_and_nothing_is_measured(cache, monkeypatch, kind):
    """Compilers and transforms of functions see `step`, proved or not, measured or not."""

    def never(*given):
        raise AssertionError("a path was taken")

    cell, x = build("leaky", 3, 4), window()
    wanted = cell(x)[0]  # the paths are proved and measured for the class of this call
    for name in ("first", "second"):
        paths.PATHS[name] = Path(never)
    with monkeypatch.context() as patch:
        patch.setattr(choice, "measure", never)
        found = transforms(cell, x)[kind]()
    torch.compiler.reset()
    if kind not in ("grad", "meta"):
        torch.testing.assert_close(found, wanted)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
def test_forward_mode_and_export_run_the_loop(cache, monkeypatch):
    """So do dual numbers, and a program that is exported, at their first call."""
    monkeypatch.setattr(choice, "measure", lambda *given: pytest.fail("measured"))
    cell, x = build("leaky", 3, 4), window()
    with torch.autograd.forward_ad.dual_level():
        y, _ = cell(torch.autograd.forward_ad.make_dual(x, torch.ones_like(x)))
        assert torch.autograd.forward_ad.unpack_dual(y).tangent is not None
    program = torch.export.export(cell, (x,))
    torch.testing.assert_close(program.module()(x)[0], y)
    assert not cell.chosen_paths


def test_one_path_alone_is_not_measured(clock):
    """There is nothing to choose, and it says so."""
    paths.PATHS = {"eager": Path(eager.run)}
    told = choice.explain(build("leaky", 3, 4), 2, 5)
    assert (told.path, told.seconds, told.note) == (
        "eager",
        {},
        "not measured: the only one",
    ) and not clock.runs


def test_measuring_can_be_turned_off(clock, cache, monkeypatch):
    """`RECURRA_MEASURE=0` takes the first in the order; wide short windows are not torch's kernels'
    business.
    """
    monkeypatch.setenv("RECURRA_MEASURE", "0")
    assert choice.explain(build("leaky", 3, 4), 2, 5).path == "first"
    paths.PATHS = {"native": Path(first), "second": Path(second), "eager": Path(eager.run)}
    wide, narrow = (build("matrix", 3, hidden) for hidden in (choice.WIDE, 8))
    assert [choice.explain(cell, 1, 1, grad=False).path for cell in (wide, narrow)] == [
        "second",
        "native",
    ]
    assert choice.explain(wide, 1, 1).path == "native"
    assert choice.explain(wide, 8, 8, reset=True).path == "second"
    assert not clock.runs and not cache.exists()


@pytest.mark.parametrize(("batch", "steps"), [(0, 5), (2, 0), (0, 0)])
def test_a_window_of_nothing_is_not_measured(clock, batch, steps):
    """It has no rows, or no steps, and no cost."""
    cell = build("leaky", 3, 4)
    assert cell(window(batch, steps))[0].shape == (batch, steps, 4)
    assert not clock.runs and not cell.chosen_paths


@settings(deadline=None, max_examples=50)
@given(
    batch=st.integers(1, 512),
    steps=st.integers(1, 4096),
    costs=st.lists(st.tuples(st.floats(0, 0.08), st.floats(1e-7, 0.02)), min_size=2, max_size=3),
    taken=st.floats(1.0, 3.0),
)
def test_a_race_is_short_and_right(batch, steps, costs, taken):
    """On any machine it ends in time; what a window costs once never counts as a step's; nor does
    what others take.
    """
    spent, real = [0.0], race.now
    names = [f"path {index}" for index in range(len(costs))]
    cost = dict(zip(names, costs, strict=True))

    def runs(name, rows, long):
        once, each = cost[name]
        seconds = once + each * long * rows / batch
        spent[0] += seconds * taken
        return Lap(seconds * taken, seconds)

    class Others:
        def foreign(self):
            return taken - 1

    race.now = lambda: spent[0]
    try:
        with mock.patch.object(race, "Load", Others):
            found = race.compared(runs, names, batch, steps).seconds
    finally:
        race.now = real
    assert spent[0] <= 8.0 * taken
    if not found:
        return
    whole = {name: once + each * steps for name, (once, each) in cost.items()}
    chosen = choice.fastest(names, found)
    assert max(each for _, each in costs) > race.WIDE / 16 or whole[chosen] <= 1.1 * min(
        whole.values()
    )


def test_what_a_window_costs_once_does_not_decide(cache):
    """Packing that takes as long as 30 steps loses no race over 64 of them."""
    cost = {"a": (0.0, 0.006), "b": (0.09, 0.003)}

    def runs(name, rows, long):
        once, each = cost[name]
        return Lap(once + each * long, once + each * long)

    found = race.compared(runs, ["a", "b"], 8, 64).seconds
    assert found["b"] == pytest.approx((0.09 + 0.003 * 64) / 64, rel=0.01)
    assert choice.fastest(["a", "b"], found) == "b"


def test_one_disturbed_run_does_not_decide(cache):
    """A short run that is disturbed once is taken again."""
    calls = {"a": 0, "b": 0}

    def runs(name, rows, long):
        calls[name] += 1
        seconds = (
            {"a": 1e-4, "b": 2e-4}[name]
            * long
            * (50 if name == "a" and calls[name] % 3 == 1 else 1)
        )
        return Lap(seconds, seconds)

    found = race.compared(runs, ["a", "b"], 4, 16).seconds
    assert choice.fastest(["a", "b"], found) == "a"


def test_a_path_that_fails_on_the_whole_window_alone_has_no_time(cache):
    """It may run on a few steps, and not have the memory for all."""

    def runs(name, rows, long):
        if name == "a" and long == 64:
            raise MemoryError
        return Lap(1e-4 * long, 1e-4 * long)

    assert set(race.compared(runs, ["a", "b"], 4, 64).seconds) == {"b"}
    assert race.compared(runs, ["a"], 4, 64).seconds == {}


@given(
    steps=st.fixed_dictionaries({name: st.floats(1e-7, 1e-3) for name in ("native", "fused",
        "eager")}),
    batch=st.integers(1, 64), long=st.integers(1, 100),
)  # fmt: skip
def test_the_measurement_of_a_small_cell_takes_a_moment(steps, batch, long):
    """By a clock that the runs alone move, it ends soon after it has what it needs, and the runs
    are not many.
    """
    seconds, count = 0.0, 0

    def runs(name, rows, long):
        nonlocal seconds, count
        took = steps[name] * long
        seconds, count = seconds + took, count + 1
        return Lap(took, took)

    with mock.patch.object(race, "now", lambda: seconds):
        laps, _ = race.race(runs, [*steps], batch, long)
    assert set(laps) == set(steps)
    each_alone = race.AGAIN * sum(steps.values()) * (2 * long + 20)
    a_round = race.AGAIN * 2 * sum(steps.values()) * long
    assert seconds <= race.MOST + each_alone + a_round
    assert count <= len(steps) * race.AGAIN * (9 + 2 * race.MANY)


def test_a_call_costs_a_look_into_a_table(clock, monkeypatch):
    """Once a class is known, no options are spelt, no file is read, no proof is asked for."""
    cell, x = build("leaky", 3, 4), window()
    cell(x)
    monkeypatch.setattr(Choice, "of", lambda *given: pytest.fail("decided again"))
    cell(x)
    copied = copy.deepcopy(cell)
    copied(x)
