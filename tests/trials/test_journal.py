"""The journal of trials, cut and damaged anywhere; the pool, whose processes crash."""

from __future__ import annotations

import sys
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recurra.errors import InputError
from recurra.trials.journal import Journal
from recurra.trials.pool import Pool, Worker
from recurra.trials.trial import Trial

OUTCOMES = st.dictionaries(
    st.text(max_size=5), st.one_of(st.none(), st.integers(), st.text(max_size=8)), max_size=3
)


@given(outcomes=st.lists(OUTCOMES, min_size=1, max_size=4), data=st.data())
@settings(max_examples=12)
def test_a_journal_that_is_cut_anywhere_holds_its_whole_lines(
    outcomes: list[dict[str, object]],
    data: st.DataObject,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Killed within a line it has those before it, and what is appended next is whole."""
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    ends = [0]
    for number, outcome in enumerate(outcomes):
        journal.append(str(number), outcome)
        ends.append(path.stat().st_size)
    cut = data.draw(st.integers(0, ends[-1]))
    path.write_bytes(path.read_bytes()[:cut])

    whole = sum(end <= cut for end in ends[1:])
    expected = {str(number): outcomes[number] for number in range(whole)}
    assert journal.read() == expected
    journal.append("next", {"state": "done"})
    assert journal.read() == expected | {"next": {"state": "done"}}


@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
@settings(max_examples=12)
def test_a_damaged_line_takes_no_other_with_it(
    place: int, byte: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One byte that is another costs at most the lines that it touches."""
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    for number in range(5):
        journal.append(str(number), {"figure": number / 7})
    content = bytearray(path.read_bytes())
    content[place % len(content)] = byte
    path.write_bytes(content)
    right = [name for name, one in journal.read().items() if one == {"figure": int(name) / 7}]
    assert len(right) >= 3


PLAYED = """
import json, os, sys
for line in sys.stdin:
    trial = json.loads(line)
    print("hello", file=sys.stderr)
    if trial["name"] == "crashes" or (trial["name"] == "once" and not os.path.exists(trial["home"])):
        open(trial["home"], "w").close()
        os.abort()
    if trial["name"] == "wrong":
        problem = dict.fromkeys(["key", "file", "got", "allowed", "nearest", "cure"], "")
        problem |= {"code": "RC040", "fact": "no such data"}
        print(json.dumps({"error": [problem], "exit_code": 2}), flush=True)
    else:
        print(json.dumps({"outcome": {"state": "done", "pid": os.getpid()}}), flush=True)
"""  # noqa: E501


class Played(Worker):
    """A process that plays a worker, and crashes where the name of a trial says so."""

    begun: list[Popen[bytes]] = []

    def _begun(self) -> Popen[bytes]:
        with self.log.open("ab") as log:
            process = Popen([sys.executable, "-c", PLAYED], stdin=PIPE, stdout=PIPE, stderr=log)
        Played.begun.append(process)
        return process


def played(jobs: int, folder: Path) -> Pool:
    """Return a pool of such processes."""
    Played.begun.clear()
    return Pool([Played(folder / f"worker-{number}.log") for number in range(jobs)])


def test_every_trial_is_made_once_and_crashes_count(tmp_path: Path) -> None:
    """One that crashes twice has failed, one that crashes once has not, and no process stays."""
    names = ["a", "crashes", "once", *"bcdefg"]
    with played(3, tmp_path) as pool:
        trials = [Trial(name, "", str(tmp_path / name)) for name in names]
        made = [(trial.name, outcome) for trial, outcome in pool.each(trials)]
    assert sorted(name for name, _ in made) == sorted(names)
    outcomes = dict(made)
    assert [name for name, each in made if each["state"] == "failed"] == ["crashes"]
    assert "hello" in outcomes["crashes"]["why"]
    assert all(process.poll() is not None for process in Played.begun)


def test_a_fault_that_is_no_trials_own_ends_all(tmp_path: Path) -> None:
    """The error of the process is raised here, with its code, and no process stays."""
    trials = [Trial(name, "", str(tmp_path / name)) for name in ("a", "wrong", "b")]
    with pytest.raises(InputError, match="no such data.*RC040"), played(1, tmp_path) as pool:
        list(pool.each(trials))
    assert all(process.poll() is not None for process in Played.begun)


def test_a_pool_that_is_left_early_leaves_no_process(tmp_path: Path) -> None:
    """Whoever is interrupted between two trials leaves nothing running, and nothing begins anew."""
    trials = [Trial(str(number), "", str(tmp_path / str(number))) for number in range(50)]
    with pytest.raises(KeyboardInterrupt), played(2, tmp_path) as pool:
        for _ in pool.each(trials):
            raise KeyboardInterrupt
    assert all(process.poll() is not None for process in Played.begun)
