"""Processes that share a cache, a run or a file: what they leave is whole, and made once."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from together import beside, kill, note, noted, together, until
from trials import PROSE, Stopper, write

import recurra
from recurra import Options, Piece, Source, cache, system
from recurra.data.corpus import build, collected
from recurra.data.kept import passing
from recurra.engine.timings import KnownTimings, Timings
from recurra.errors import InputError, Interrupted, Unguarded, Waiting
from recurra.runs import files
from recurra.runs.backtests import Asked, BacktestFolder
from recurra.runs.checkpoints import Checkpoint, Checkpoints
from recurra.runs.folder import RunFolder
from recurra.testing import certificate
from recurra_vocabularies.character import Character, CharacterOptions

TEXT = "abcabdabe" * 20
KEPT = ["about.json", "made.json", "starts.npy", "values.bin"]
"""The files of a corpus of symbols."""
MANY = 8


class Slow(Source[Options]):
    """Gives a text, and writes down when it is read; if it is stuck it never comes to the end."""

    def __init__(self, log: Path, stuck: bool, text: str) -> None:
        super().__init__(Options())
        self.log, self.stuck, self.text = log, stuck, text

    def read(self, element: str) -> Iterator[Piece]:
        note(self.log, str(os.getpid()))
        time.sleep(1000 if self.stuck else 0.02)
        yield Piece(self.text, True)

    def fingerprint(self) -> str:
        return self.text


def encoded(log: Path, stuck: bool = False, text: str = TEXT, in_memory: int = 8) -> str:
    """Return the ids of the corpus, and what they mean."""
    vocabulary = Character(CharacterOptions())
    store = build(Slow(log, stuck, text), vocabulary, in_memory)
    return json.dumps([np.asarray(store.values).tolist(), vocabulary.save()])


def left() -> list[str]:
    """Return what is in the cache folder, but for the names of entries."""
    names = sorted(path.name for path in cache.cache_folder().rglob("*"))
    return [name for name in names if not re.fullmatch("[0-9a-f]{32}", name)]


def spoil(entry: Path, how: str) -> None:
    if how == "damaged":
        (entry / "values.bin").write_bytes(b"short")
        return
    shutil.rmtree(entry)
    if how == "a file":
        entry.touch()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.mark.parametrize("before", [
    "damaged",
    *(pytest.param(before, marks=pytest.mark.slow) for before in ("nothing", "a file")),
])  # fmt: skip
def test_one_of_many_encodes_a_corpus(log: Path, before: str) -> None:
    """All have the same; one has read it, twice: to learn its symbols, and to encode them."""
    wanted = encoded(log)
    for _ in range(3):
        log.unlink()
        (entry,) = cache.cache_folder().iterdir()
        spoil(entry, before)
        assert together(MANY, lambda _: encoded(log)) == [wanted] * MANY
        assert len(noted(log)) == 2 and left() == KEPT


def test_many_that_encode_what_is_not_kept_do_so_at_once(log: Path) -> None:
    """A corpus that is small is waited for by all once, and by nobody in turn."""
    answers = together(MANY, lambda _: (encoded(log, in_memory=1000), time.monotonic()))
    texts, ends = zip(*answers, strict=True)
    assert {*texts} == {encoded(log, in_memory=1000)} and left() == []
    assert len(noted(log)) == 2 * MANY + 2
    assert max(ends) - min(ends) < MANY * 0.04 + 2


@pytest.mark.parametrize("end", ["killed", "stopped"])
def test_who_was_killed_or_stopped_while_it_encodes_is_not_waited_for(log: Path, end: str) -> None:
    """One of the others takes its place, where it is dead."""
    with beside(lambda: encoded(log, stuck=True)) as pid:
        until(lambda: noted(log))
        if end == "killed":
            kill(pid)
        else:
            os.kill(pid, signal.SIGSTOP)
        answers = together(3, lambda _: encoded(log))
        assert len({*answers}) == 1 and isinstance(answers[0], str)
    readers = {*noted(log)} - {str(pid)}
    assert len(readers) == 1 or end == "stopped"
    assert [name for name in left() if "lock" not in name] == KEPT


def test_numbers_that_many_write_at_once_are_whole(tmp_path: Path) -> None:
    """They have no name before they are written: each writes them, one stays, and all can read."""

    def work(number: int) -> list[float]:
        pieces = (Piece(np.full((10, 1), float(block)), not block) for block in range(40))
        with passing():
            # Some take theirs away again, while others read on.
            store = collected(pieces, in_memory=8)
        return store.spans(np.arange(0, 400, 10), 1)[:, 0, 0].tolist()

    for _ in range(2):
        answers = together(MANY, work)
        assert answers == [[float(block) for block in range(40)]] * MANY


def test_a_question_is_measured_once_and_two_questions_never_at_once(log: Path) -> None:
    """Eight processes ask three questions: three measurements, one after the other."""

    def measuring() -> Timings:
        begun = time.monotonic()
        time.sleep(0.05)
        note(log, f"{begun} {time.monotonic()}")
        return Timings(seconds={"eager": 1.0 + os.getpid()})

    def work(number: int) -> list[Any]:
        known = KnownTimings()
        asked = [{"a": (number + k) % 3} for k in range(3)]
        found = [known.recall(each, ["eager"], measuring, lambda: 0.0) for each in asked]
        return sorted(
            (each["a"], one.seconds["eager"]) for each, one in zip(asked, found, strict=True)
        )

    answers = together(MANY, work)
    assert all(answer == answers[0] for answer in answers), answers
    spans = sorted(tuple(map(float, line.split())) for line in noted(log))
    assert len(spans) == 3
    assert all(one[1] <= other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert not [name for name in left() if name.startswith((".", "part"))]


def test_runs_that_begin_at_once_have_folders_of_their_own(tmp_path: Path) -> None:
    """Each has another number, and none is left out."""
    made = together(MANY, lambda _: RunFolder.create(tmp_path, "task").path.name)
    assert sorted(made, key=int) == [str(number) for number in range(1, MANY + 1)]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A run that was stopped, and what one that was not has left."""
    home = tmp_path_factory.mktemp("stopped")
    # A device would not go on in processes that are forked.
    cpu = {"device.kind": "cpu"}
    whole = recurra.run(write(home, PROSE), cpu, runs=home / "whole")
    with pytest.raises(Interrupted):
        recurra.run(write(home, PROSE), cpu, runs=home / "runs", observer=Stopper([5]))
    (path,) = (home / "runs").glob("*/1")
    return path, {
        name: (whole.path / name).read_bytes() for name in ("metrics.jsonl", "samples.txt")
    }


def test_one_of_many_goes_on_with_a_run(stopped: Any, tmp_path: Path) -> None:
    """Every other one is told so, or comes when it is done; and the run is as if there was one."""
    path, wanted = stopped
    copy = tmp_path / "run"
    shutil.copytree(path, copy)
    answers = together(3, lambda number: recurra.resume(copy).result["steps"])
    told = [answer for answer in answers if answer != 12]
    assert len(told) < 3 and all(isinstance(answer, InputError) for answer in told), answers
    assert all(answer.problems[0].code == "RC055" for answer in told)
    assert {name: (copy / name).read_bytes() for name in wanted} == wanted
    assert not [name for name in os.listdir(copy) if name.startswith(".")]


def test_a_run_is_held_though_its_files_are_written_anew(stopped: Any, tmp_path: Path) -> None:
    """A task that is amended while the run goes on is another file, and the lock is still its."""
    copy = tmp_path / "run"
    shutil.copytree(stopped[0], copy)
    with RunFolder(copy).held():
        RunFolder(copy).records.amend("task.toml", (copy / "task.toml").read_text() + "\n")
        (answer,) = together(1, lambda _: recurra.resume(copy).result)
    assert isinstance(answer, InputError) and answer.problems[0].code == "RC055"


def test_a_run_is_held_to_its_last_line(stopped: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Also while it makes its final figures nobody else goes on with it."""
    from recurra.job import train

    copy = tmp_path / "run"
    shutil.copytree(stopped[0], copy)
    found: list[Any] = []
    real = train.figures

    def figures(*given: Any) -> Any:
        found.extend(together(1, lambda _: recurra.resume(copy).result))
        return real(*given)

    monkeypatch.setattr(train, "figures", figures)
    recurra.resume(copy)
    assert [answer.problems[0].code for answer in found] == ["RC055"]


def checkpoint(step: int) -> Checkpoint:
    tensors = {"weights": {"a": torch.full((64,), float(step))}}
    return Checkpoint(step, tensors, {"step": step})


def test_a_checkpoint_can_be_read_while_others_take_its_place(tmp_path: Path) -> None:
    """Whoever reads has a whole one at any moment, the last or the best."""
    held = Checkpoints(tmp_path / "checkpoints")
    held.create()
    held.save(checkpoint(1), best=True)

    def work(number: int) -> int:
        if number == 0:
            for step in range(2, 20):
                held.save(checkpoint(step), best=step % 3 == 0)
            return 19
        for turn in range(40):
            found = Checkpoints(held.path).load(("last", "best")[turn % 2])
            assert found.state["step"] == found.step == found.tensors["weights"]["a"][0]
        return found.step

    answers = together(3, work)
    assert all(isinstance(answer, int) for answer in answers), answers


def test_records_can_be_verified_while_they_are_amended(stopped: Any, tmp_path: Path) -> None:
    """A hash and its file never disagree for whoever looks."""
    copy = tmp_path / "run"
    shutil.copytree(stopped[0], copy)
    text = (copy / "task.toml").read_text()

    def work(number: int) -> Any:
        records = RunFolder(copy).records
        for turn in range(20):
            if number == 0:
                records.amend("task.toml", text + "\n" * (turn % 5))
            else:
                assert records.verify()
        return None

    assert together(3, work) == [None] * 3


def test_a_backtest_that_another_has_gone_on_with_is_read_again(tmp_path: Path) -> None:
    """Which folds are done is what its folder says once it is held."""
    asked = Asked(folds=2, step=1, horizon=1, retrain=False, model="m", fingerprint="")
    folder = BacktestFolder.create(tmp_path, "task", asked, "")
    late = BacktestFolder.open(folder.path)
    folder.asked = asked.model_copy(update={"done": {"1": "0" * 64}})
    folder._record()
    with late.held():
        late.read_again()
        assert late.asked.done == {"1": "0" * 64}


def test_a_file_that_many_write_is_one_of_theirs(tmp_path: Path) -> None:
    """Answers, sessions and schemas take their name when they are whole."""
    path = tmp_path / "answers"

    def work(number: int) -> set[int]:
        lengths = set()
        for _ in range(30):
            if number < 2:
                with files.streamed(path) as file:
                    for _ in range(50):
                        file.write(f"{number}" * 1000)
            elif path.exists():
                text = path.read_text()
                lengths.add(len(text))
                assert len({*text}) == 1
        return lengths

    answers = together(4, work)
    assert all(isinstance(each, set) and each <= {50_000} for each in answers), answers
    assert os.listdir(tmp_path) == ["answers"]


def test_a_session_can_be_restored_while_others_save_it(stopped: Any, tmp_path: Path) -> None:
    """A state is written whole or not at all."""
    run, path = recurra.load(stopped[0]), tmp_path / "state"
    run.session().feed("the ").save(path)

    def work(number: int) -> None:
        for turn in range(20):
            if number < 2:
                run.session().feed("the cat"[: 3 + turn % 4]).save(path)
            else:
                assert run.session().restore(path).position >= 3

    assert together(4, work) == [None] * 4
    assert os.listdir(tmp_path) == ["state"]


def test_certificates_that_are_written_at_once_are_all_kept(
    tmp_path: Path, monkeypatch: Any
) -> None:
    """Components that stand in one folder share a file."""
    (tmp_path / "cell.py").touch()
    monkeypatch.setattr(certificate, "module_file", lambda *given: tmp_path / "cell.py")

    def work(number: int) -> None:
        component = SimpleNamespace(
            kind="cell", name=f"c{number}", target="cell:C", options="cell:O",
            lacks=(), claims=(), waivers={},
        )  # fmt: skip
        entry = SimpleNamespace(component=component, qualified=f"p/c{number}")
        report = SimpleNamespace(
            missing=0, records=[], suite="1.0", level="full", torch="2", counts={}
        )
        for _ in range(3):
            certificate.write(entry, report)  # type: ignore[arg-type]

    assert together(MANY, work) == [None] * MANY
    given = json.loads((tmp_path / certificate.FILE).read_text())
    assert [*given] == [f"cell/c{number}" for number in range(MANY)]
    assert sorted(os.listdir(tmp_path)) == ["cell.py", certificate.FILE]


def test_a_wait_is_told_after_some_seconds(tmp_path: Path, monkeypatch: Any) -> None:
    """Who waits says for whom, and what that does; patience ends the waiting."""
    lock = tmp_path / "lock"
    monkeypatch.setattr(system, "UNTOLD", 0.05)

    def hold() -> None:
        with system.awaited(lock, "encoding a corpus"):
            time.sleep(1000)

    with beside(hold) as pid:
        until(lambda: lock.exists() and lock.read_text())
        with pytest.warns(Waiting, match=f"waiting for process {pid}: encoding a corpus$") as said:
            with system.awaited(lock, "encoding a corpus", patience=0.3):
                pass
    assert len(said) == 1


def test_a_lock_does_not_wait_for_itself(tmp_path: Path) -> None:
    """What is made while its lock is held may ask for it again."""
    lock = tmp_path / "lock"
    with system.awaited(lock, "a"), system.awaited(lock, "b"):
        assert lock.exists()
    assert not lock.exists()


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    """What a link in a shared folder leads to is neither written nor taken away."""
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "lock").symlink_to("precious")
    with system.awaited(tmp_path / "lock", "a"):
        pass
    assert (tmp_path / "precious").read_text() == "mine" and (tmp_path / "lock").is_symlink()


def test_without_locks_many_work_on_with_a_word(log: Path, monkeypatch: Any) -> None:
    """Each encodes for itself and says once why, and what is kept is whole."""

    def refuse(*given: Any) -> None:
        raise OSError(38, "refused")

    monkeypatch.setattr(system.fcntl, "flock", refuse)
    monkeypatch.setattr(system, "_warned", set())

    def work(_: int) -> tuple[str, int]:
        with pytest.warns(Unguarded, match="cannot be locked .* each makes for itself") as said:
            answer = encoded(log, text=TEXT)
            encoded(log, text=TEXT + "z")
        return answer, len(said)

    answers = together(4, work)
    assert len({*answers}) == 1 and answers[0][1] == 1, answers
    assert left() == 2 * KEPT or sorted(left()) == sorted(2 * KEPT)
