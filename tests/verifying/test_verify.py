"""What is compared of two runs, when a run is killed, and what the command makes of it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import HELLO, REPOSITORY
from forks import Forked, proved, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import block
from safetensors.torch import load_file, save_file
from terminal import command
from trials import PROSE, trained, write

import recurra
from recurra.errors import InputError, RunError
from recurra.runs.comparing import CLOCKS, compare
from recurra.verifying import proof
from recurra.verifying.kills import TURNS, WORDS, drawn, stage
from recurra.verifying.phases import ORDER, Following, Mark, Moment


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a run that has all that is compared: early stopping, carried states and samples."""
    run = trained(tmp_path_factory.mktemp("made"), "lanes", **{"training.validate_every": 4})
    return Path(run.path)


@pytest.fixture
def twin(made: Path, tmp_path: Path) -> Path:
    """Give a copy of the run."""
    return Path(shutil.copytree(made, tmp_path / "twin"))


def test_a_copy_is_equal_and_all_of_it_is_counted(made: Path, twin: Path) -> None:
    """Every file of a run is compared, and its tensors by what they are of."""
    compared = compare(made, twin)
    assert not compared.differences
    assert compared.files == sum(path.is_file() for path in made.rglob("*"))
    assert set(compared.tensors) == {"weights", "optimizer", "carried", "random"}
    weights = [load_file(path) for path in made.rglob("weights.safetensors")]
    sizes = (t.numel() * t.element_size() for held in weights for t in held.values())
    assert compared.tensor_bytes["weights"] == sum(sizes)
    assert compared.records == len((made / "metrics.jsonl").read_text().splitlines())
    assert compared.samples == 4


@given(data=st.data())
@settings(max_examples=15)
def test_one_byte_that_differs_is_found(
    data: st.DataObject, made: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever byte of whatever file is another, the file is named, as is one that is gone."""
    twin = Path(shutil.copytree(made, tmp_path_factory.mktemp("flipped") / "twin"))
    files = [path.relative_to(twin) for path in sorted(twin.rglob("*")) if path.is_file()]
    name = data.draw(st.sampled_from([path for path in files if path.name not in CLOCKS]))
    content = bytearray((twin / name).read_bytes())
    place = data.draw(st.integers(0, len(content)))
    if place == len(content):
        (twin / name).unlink()
    elif name.suffix == ".safetensors" and place < 8 + int.from_bytes(content[:8], "little"):
        return  # its header: no tensor can be read of it, and so no run goes on from it
    else:
        content[place] ^= 1
        (twin / name).write_bytes(content)
    found = {difference.file for difference in compare(made, twin).differences}
    assert found == {name.as_posix()}


def test_a_clock_is_no_difference_and_what_stands_beside_it_is(made: Path, twin: Path) -> None:
    """Of files that hold a clock, that alone may be another."""
    for path in sorted(twin.rglob("*.json")):
        if path.name in ("state.json", "result.json"):
            table = json.loads(path.read_text())
            inner = table["progress"] if path.name == "state.json" else table
            inner["seconds"] += 1.0
            if path.name == "state.json":
                table["pace"][0][2] += 1.0
            path.write_text(json.dumps(table))
    assert not compare(made, twin).differences

    path = twin / "result.json"
    table = json.loads(path.read_text())
    path.write_text(json.dumps(table | {"steps": 13}))
    (difference,) = compare(made, twin).differences
    shown = (difference.file, difference.what, difference.reference, difference.resumed)
    assert shown == ("result.json", "steps", "12", "13")


@given(index=st.integers(0, 6 * 5 - 1))
@settings(max_examples=5)
def test_the_first_element_that_differs_is_named(
    index: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Of a tensor the index is told, and both values; a nan is equal to the same bits of a nan."""
    folder = tmp_path_factory.mktemp("tensors")
    own = torch.arange(30.0).reshape(6, 5)
    own[0, 0] = float("nan")
    its = own.clone()
    its.view(-1)[index] = -1.5
    its.view(-1)[index + 1 :] += 1
    for name, tensor in (("one", own), ("other", its)):
        (folder / name).mkdir()
        save_file({"w": tensor}, folder / name / "weights.safetensors")
    (difference,) = compare(folder / "one", folder / "other").differences
    assert difference.what == f"tensor w {[index // 5, index % 5]}"
    assert difference.resumed == "-1.5"


lives = st.lists(
    st.tuples(st.sampled_from(range(len(ORDER))), st.floats(0.001, 9)), min_size=3, max_size=40
)


@given(phases=lives, count=st.integers(1, 30), seed=st.integers(0, 99))
@settings(max_examples=30)
def test_kills_fall_in_every_stage_in_an_order_that_a_run_can_meet(
    phases: list[tuple[int, float]], count: int, seed: int
) -> None:
    """Each stage of a life gets its share, and each kill lies within it; the same seed draws them
    again.
    """
    marks, at = [], 100.0
    for step, (rank, length) in enumerate(phases, 1):
        marks.append(Mark(Moment(1, step, rank), at))
        at += length
    kills = drawn(marks, 90.0, at, count, seed)
    assert kills == drawn(marks, 90.0, at, count, seed) and len(kills) == count
    late = [kill.after for kill in kills if kill.after]
    assert late == sorted(late)
    saved = [mark.moment for mark in marks if mark.moment.phase == "checkpoint"]
    assert not saved or all(moment > saved[0] for moment in late)

    by_moment = {mark.moment: mark for mark in marks}
    ends = dict(zip(by_moment, [*(mark.at for mark in marks[1:]), at], strict=True))
    for kill in kills:
        if kill.after is None:
            assert 0 <= kill.seconds <= 10
        else:
            assert by_moment[kill.after].at + kill.seconds <= ends[kill.after] + 1e-9
    found = {stage(by_moment[k.after]) if k.after else "start" for k in kills}
    usable = {stage(m) for m in marks if not saved or m.moment > saved[0]} | {"start"}
    if count >= len(TURNS):
        assert found == usable


def test_a_line_that_is_cut_off_waits_for_its_end(tmp_path: Path) -> None:
    """What a process has half written is no mark yet."""
    path = tmp_path / "phases"
    following = Following(path)
    assert not list(following.new())
    path.write_bytes(b"1 2 3 4.5\n1 2")
    assert list(following.new()) == [Mark(Moment(1, 2, 3), 4.5)]
    with path.open("ab") as file:
        file.write(b" 4 5.5\n")
    assert list(following.new()) == [Mark(Moment(1, 2, 4), 5.5)]


def test_a_run_killed_in_every_stage_is_the_run_that_never_stopped(tmp_path: Path) -> None:
    """Real kills, at a start, between updates, inside validations, checkpoints and the end."""
    changes = {
        "sequence.carry": True,
        "cell.dropout": 0.3,
        "training.steps": 15,
        "training.validate_every": 5,
    }
    verified, lines = proved(tmp_path, tables(tmp_path, PROSE, **changes), kills=5)
    assert verified.proved and not verified.causes, verified
    assert len(verified.kills) == 5 and verified.resumed >= 3
    assert len({kill.phase for kill in verified.kills}) >= 3
    assert len(lines) == 1 + len(verified.kills)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command fork its processes."""
    init = proof.Proof.__init__

    def forking(self: proof.Proof, *arguments: Any) -> None:
        init(self, *arguments, begin=Forked)

    monkeypatch.setattr(proof.Proof, "__init__", forking)


def test_the_command_prints_what_was_compared(forked: None, empty: Path) -> None:
    """It tells beforehand what it changes, and where kills fell."""
    write(empty, HELLO)
    ended = command(
        "verify", "task.toml", "--steps", "9", "-o", "training.steps=900", "--kills", "1",
        "--runs", "kept"
    ).tidy(0)  # fmt: skip
    for word in (
        "9 updates, left alone, then again, killed 1 time",
        "training.steps: 9 of 900 updates",
        "training.checkpoint_every: 1, which changes no bit",
        "kill 1 of 1",
        "weights 12 tensors",
        "verdict:   equal, bit for bit",
    ):
        assert word in ended.out, ended.out
    assert not (empty / "runs").exists() and "kept:      kept/task/1" in ended.out
    assert sorted(path.name for path in (empty / "kept" / "task" / "1").iterdir()) == [
        "killed-1", "logs", "reference", "task.toml",
    ]  # fmt: skip

    # The page shows the very lines, but for numbers.
    page = block("", "100 updates, left alone").replace("hello_lstm:", "task:")
    lines = set(map(alike, ended.out.splitlines()))
    assert [line for line in map(alike, page.splitlines()) if line not in lines] == []


def alike(line: str) -> str:
    """Return a line without its numbers, and one of a kill without where that fell."""
    where = rf"({'|'.join(WORDS.values())})(, at step \d+)?"
    went = r"(resumed from step \d+|nothing was saved yet: begun again)"
    if re.fullmatch(rf"kill \d+ of \d+: after [\d.]+ s, {where}; {went}", line):
        return "kill"
    return " ".join(re.sub(r"[\d.,]+ ?(times?|tensors?|s|runs?)?", "# ", line).split())


def test_an_error_of_the_task_is_told_as_by_a_run(forked: None, empty: Path) -> None:
    """What no run can do is refused before one begins, or told as the run tells it."""
    write(empty, HELLO)
    command("verify", "task.toml", "-o", "cell.hiden_size=1").fails(2, "RC011", "hidden_size")
    huge = ["-o", 'training.optimizer={kind="sgd",lr=1e38}', "-o", "training.steps=30"]
    command("verify", "task.toml", *huge).fails(1, "RC060")


def test_data_given_in_python_is_refused(empty: Path) -> None:
    """What only this process holds can be read by no other."""
    task = write(empty, HELLO, "task.toml")
    with pytest.raises(InputError, match="in this process alone") as caught:
        recurra.verify(task, {"source.kind": "given"})
    assert caught.value.problems[0].code == "RC080"


def test_ctrl_c_leaves_no_process_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Interrupted while a process trains, a proof ends it, and clears its folder away."""
    begun: list[Forked] = []

    class Interrupted(Forked):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            begun.append(self)

    def sleep(seconds: float) -> None:
        if begun[-1].phases.marks:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("recurra.verifying.child.time.sleep", sleep)
    task = tables(tmp_path, PROSE, **{"training.steps": 100_000})
    made = proof.Proof(proof.Shortened(task, 100_000, []), "task", None, Interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.made(1, 0, print)
    (child,) = begun
    assert child.process.returncode == -signal.SIGKILL
    with pytest.raises(ProcessLookupError):
        os.kill(child.process.pid, 0)
    assert not made.folder.exists()


def test_a_process_that_crashes_is_told_with_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What ends without an error of recurra's is no proof of anything."""

    def crash(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("out of cheese")

    task = tables(tmp_path, HELLO)
    monkeypatch.setattr("recurra.verbs.run", crash)
    with pytest.raises(RunError, match="out of cheese") as caught:
        proved(tmp_path, task)
    assert caught.value.problems[0].code == "RC065"


def test_a_full_disk_is_told_though_the_process_could_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process says of a full disk is lost where its words are to lie on that disk."""

    def crash(*arguments: Any, **options: Any) -> None:
        raise RuntimeError

    monkeypatch.setattr("recurra.verbs.run", crash)
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(RunError, match="no space left") as caught:
        proved(tmp_path, tables(tmp_path, HELLO))
    assert caught.value.problems[0].code == "RC053"


QUICK = {"counting"}
"""The shipped task that is proved by default."""
LESS: dict[str, dict[str, Any]] = {
    "python_docs": {
        "sequence.length": 4,
        "cell.hidden_size": 8,
        "sequence.split": [0.99, 0.01, 0.0],
        "generation.length": 5,
    }
}
"""What makes a task quick whose data is large."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(path.stem, marks=[] if path.stem in QUICK else [pytest.mark.slow])
        for path in sorted((REPOSITORY / "tasks").glob("*.toml"))
    ],
)
def test_every_shipped_task_is_proved(name: str, forked: None) -> None:
    """Killed in each of its stages, 30 updates of a shipped task leave what they leave unkilled."""
    task = REPOSITORY / "tasks" / f"{name}.toml"
    kills = 1 if name in QUICK else 5
    verified = recurra.verify(task, LESS.get(name, {}), kills=kills, steps=30)
    assert verified.proved and len(verified.kills) == kills, verified


def test_the_command_tells_as_json_what_it_prints(forked: None, empty: Path) -> None:
    """A proof that kept nothing leaves nothing."""
    write(empty, HELLO)
    told = command("verify", "task.toml", "--kills", "1", "--json").tidy(0).last
    assert told["proved"] and told["equal"] and told["updates"] == 3
    assert told["folder"] is None and len(told["kills"]) == 1
    assert [path.name for path in empty.iterdir()] == ["task.toml"]
