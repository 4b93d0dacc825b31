"""The processes that work together: what all of them know, and what one of them does for all."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from processes import environment, together

from recurra import peers
from recurra.bench import processes as bench
from recurra.errors import InputError, RecurraError, RunError
from recurra.testing import child as testing
from recurra.verifying import child as verifying
from recurra.world import World, joined, launched, leads, share, world


@given(st.integers(0, 1000), st.integers(1, 20))
def test_every_row_is_of_one_process(count: int, size: int) -> None:
    """Parts are contiguous, in the order of ranks, whole, and differ by a row at most."""
    parts = [share(count, rank, size) for rank in range(size)]
    assert [row for part in parts for row in range(count)[part]] == list(range(count))
    lengths = [len(range(count)[part]) for part in parts]
    assert lengths == sorted(lengths, reverse=True) and max(lengths) - min(lengths) <= 1


def outcome(make: Callable[[], Any]) -> Any:
    """Return what is made, or what is said of the error."""
    try:
        return make()
    except Exception as error:
        codes = [problem.code for problem in getattr(error, "problems", ())]
        return type(error).__name__, str(error), codes, getattr(error, "told", None)


def failing(rank: int, own: int, error: Exception) -> Any:
    if rank == own:
        raise error
    return f"made by {rank}"


def all_calls(order: Path) -> dict[str, Any]:
    """Be one process, and call all that a world has.

    Each says so often that it lives that it does so while it ends, which is to do no harm.
    """
    peers.BEAT = 0.001
    assert world().size == 1
    with joined() as here, joined() as again:
        assert here is again is world()
        rank = here.rank

        def noted() -> int:
            with order.open("a") as file:
                file.write(f"{rank}\n")
            return rank

        bad = InputError.of("RC013", "so it is not", key="a.b", cure="mend it")
        done = {
            "place": (here.rank, here.size, here.place, here.neighbours, here.first),
            "part": here.part(7),
            "total": here.total(0.1 * (rank + 1), rank, 1e16 if rank == 0 else 1.0),
            "any": [here.any(rank == 1), here.any(False), here.any(True)],
            "gathered": here.gathered({"rank": rank}),
            "told": here.told(["first", rank]),
            "alone": here.alone(lambda: (rank, world().size, world().total(1)[0])),
            "alone wrong": outcome(lambda: here.alone(lambda: failing(rank, 0, bad))),
            "alone broken": outcome(lambda: here.alone(lambda: failing(rank, 0, KeyError("x")))),
            "together": here.together(lambda: rank),
            "together wrong": outcome(lambda: here.together(lambda: failing(rank, 1, bad))),
            "in turn": here.in_turn(noted),
            "in turn wrong": outcome(lambda: here.in_turn(lambda: failing(rank, 0, bad))),
            "in turn broken": outcome(lambda: here.in_turn(lambda: failing(rank, 1, OSError("y")))),
        }
        here.wait()
    assert world().size == 1
    with joined() as later:
        done["later"] = later.total(1)
    return done


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Three processes, and what each of them has seen."""
    folder = tmp_path_factory.mktemp("three")
    return together(3, "test_world", "all_calls", folder, folder / "order")


def test_processes_know_the_same_of_each_other(three: list[dict[str, Any]]) -> None:
    """Sums, flags and values are the same in all, and the first alone does what one does."""
    assert [each["place"] for each in three] == [(r, 3, r, 3, r == 0) for r in range(3)]
    assert [each["part"] for each in three] == [slice(0, 3), slice(3, 5), slice(5, 7)]
    assert len({each["total"] for each in three}) == 1
    assert three[0]["total"][:2] == pytest.approx((0.6, 3), abs=1e-15)
    for each in three:
        assert each["any"] == [True, False, True]
        assert each["gathered"] == [{"rank": 0}, {"rank": 1}, {"rank": 2}]
        assert each["told"] == ["first", 0]
        assert each["alone"] == (0, 1, 1.0)
        assert each["later"] == (3.0,)
    assert [each["together"] for each in three] == [0, 1, 2]


def test_the_first_goes_before_the_others(
    three: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is done in turn is done by the first before any other begins."""
    assert [each["in turn"] for each in three] == [0, 1, 2]
    order = (tmp_path_factory.getbasetemp() / "three0" / "order").read_text().split()
    assert order[0] == "0" and sorted(order) == ["0", "1", "2"]


@pytest.mark.parametrize(("call", "own"), [("alone", 0), ("together", 1), ("in turn", 0)])
def test_an_error_of_one_is_raised_by_all(three: list[dict[str, Any]], call: str, own: int) -> None:
    """It is the same error, with its key and cure, and the one whose it is prints it."""
    errors = [each[f"{call} wrong"] for each in three]
    assert len({error[:2] for error in errors}) == 1
    assert "mend it" in errors[0][1] and "a.b" in errors[0][1]
    assert [error[3] for error in errors] == [rank != own for rank in range(3)]


@pytest.mark.parametrize(
    ("call", "own", "kind"), [("alone", 0, "KeyError"), ("in turn", 1, "OSError")]
)
def test_what_breaks_one_is_told_to_the_others(
    three: list[dict[str, Any]], call: str, own: int, kind: str
) -> None:
    """Another error than recurra's is raised where it is, and named elsewhere (RC064)."""
    for rank, each in enumerate(three):
        name, text, codes, _ = each[f"{call} broken"]
        if rank == own:
            assert name == kind
        else:
            assert name == "RunError" and codes == ["RC064"]
            assert f"process {own} of 3" in text and kind in text


def test_one_alone_is_a_world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without torchrun all that is asked of others is answered at once."""
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as here:
        assert type(here) is World and here.first and launched() == 1
        assert here.total(1, 2.5) == (1.0, 2.5) and here.any(True) and not here.any(False)
        assert here.part(5) == slice(0, 5) and here.gathered("a") == ["a"]
        assert here.alone(lambda: 1) == here.together(lambda: 1) == here.in_turn(lambda: 1) == 1
        with pytest.raises(RecurraError, match="no"):
            here.alone(lambda: failing(0, 0, RunError.of("RC060", "no")))


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ({"WORLD_SIZE": "2"}, "RANK and MASTER_ADDR and MASTER_PORT"),
        ({"WORLD_SIZE": "two"}, "'two'"),
    ],
)
def test_half_of_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch, names: dict[str, str], told: str
) -> None:
    """A number of processes without the way to them is an error, and no lonely run."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=told), joined():
        pass


class Begun(Exception):
    """A process begins."""


@pytest.mark.parametrize(
    "begin",
    [
        lambda folder: testing.run("tell(1)"),
        lambda folder: bench.child("nothing", {}),
        lambda folder: verifying.Child("recurra", ["run"], folder),
    ],
)
def test_what_one_of_several_starts_is_none_of_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, begin: Callable[[Path], Any]
) -> None:
    """A process that proves, measures or checks works by itself: it would join those that others
    start, and train with them what each was to train alone.
    """
    seen: list[dict[str, str]] = []

    def started(*arguments: Any, **options: Any) -> None:
        seen.append(options["env"])
        raise Begun

    own = environment(1, 2, 29500)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(subprocess, "run", started)
    monkeypatch.setattr(subprocess, "Popen", started)
    with pytest.raises(Begun):
        begin(tmp_path)
    (given,) = seen
    assert given["PATH"] == own["PATH"]
    with monkeypatch.context() as patch:
        for name in own.keys() - given.keys():
            patch.delenv(name)
        assert launched() == 1 and leads()


def test_one_process_does_without_the_others_module() -> None:
    """Nothing of torch.distributed is loaded for a process that has nobody to talk to."""
    script = (
        "import sys, recurra.world as w\n"
        "with w.joined() as here: here.total(1); here.wait(); here.alone(lambda: 1)\n"
        "assert not any(name.startswith('torch') for name in sys.modules)"
    )
    bare = {key: value for key, value in os.environ.items() if key != "WORLD_SIZE"}
    subprocess.run([sys.executable, "-c", script], env=bare, check=True)
