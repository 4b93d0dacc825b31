"""Where runs are written, and how they are found again."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, TRIALS, trained, write

import recurra
from recurra.errors import InputError, RunError
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.inspection import inspect


@given(taken=st.sets(st.sampled_from(["1", "2", "7", "007", "10", "x", "3.5", "-4", "²", ".9"])))
@settings(max_examples=30, deadline=None)
def test_a_new_run_takes_the_next_free_number(
    taken: set[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The number of a new run is one above the highest, whatever else lies there, and 1 where there
    is none.
    """
    root = tmp_path_factory.mktemp("root")
    for name in taken:
        (root / "task" / name).mkdir(parents=True)
    highest = max((int(name) for name in taken if name in ("1", "2", "7", "007", "10")), default=0)
    folder = RunFolder.create(root, "task")
    assert folder.path == root / "task" / str(highest + 1)
    assert folder.checkpoints.path.is_dir()


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path: Path) -> None:
    """Twenty runs of one task that begin together never share a number."""
    made: list[str] = []
    begin = threading.Barrier(20)

    def create() -> None:
        begin.wait()
        made.append(RunFolder.create(tmp_path, "task").path.name)

    threads = [threading.Thread(target=create) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(made, key=int) == [str(number) for number in range(1, 21)]


@pytest.mark.parametrize("part", ["", "task"])
def test_a_file_where_runs_should_be_is_told(part: str, tmp_path: Path) -> None:
    """`--runs` naming a file, or a file in the task's place, is RC050 with the folder's name and
    the cure.
    """
    root = tmp_path / "runs"
    place = root / part if part else root
    place.parent.mkdir(exist_ok=True)
    place.write_text("")
    with pytest.raises(InputError, match="RC050") as caught:
        recurra.run(write(tmp_path, PROSE), runs=root)
    assert "--runs" in str(caught.value) and str(root / "task") in str(caught.value)


def test_a_folder_that_may_not_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where permission is denied, it is RC050, before any training."""
    root = tmp_path / "runs"
    root.mkdir(mode=0o555)
    if os.geteuid() == 0:  # to root no mode applies
        real = Path.mkdir

        def denied(self: Path, *arguments: object, **options: object) -> None:
            if root in self.parents:
                raise PermissionError(13, "Permission denied", str(self))
            real(self, *arguments, **options)

        monkeypatch.setattr(Path, "mkdir", denied)
    with pytest.raises(InputError, match="Permission denied") as caught:
        recurra.run(write(tmp_path, PROSE), runs=root)
    assert caught.value.problems[0].code == "RC050" and caught.value.exit_code == 2


def test_nothing_is_written_for_a_task_that_is_wrong(tmp_path: Path) -> None:
    """A task that cannot be trained leaves no folder behind."""
    for changes in (
        {"training.batch_size": 9999},
        {"generation.prompt": "Z"},
        {"encoder.kind": "identity"},
    ):
        with pytest.raises(InputError):
            recurra.run(write(tmp_path, PROSE), changes, runs=tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_tasks_folder_stands_for_its_newest_run(tmp_path: Path) -> None:
    """Newest is the highest number, not the last in the alphabet, and a folder without a task is
    passed over.
    """
    for number in ("2", "9", "10", "11", "x"):
        (tmp_path / number).mkdir()
        if number != "11":
            (tmp_path / number / "task.toml").write_text("")
            (tmp_path / number / "checkpoints").mkdir()
    assert RunFolder.open(tmp_path).path == tmp_path / "10"
    assert RunFolder.open(tmp_path / "2").path == tmp_path / "2"


def test_what_is_no_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder, a file and a place where nothing is are told apart, and the runs that are here are
    named.
    """
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    for path, words in (
        (tmp_path, "is not a run"),
        (tmp_path / "file", "is not a run"),
        (Path("no"), "there is no"),
    ):
        with pytest.raises(InputError, match=words) as caught:
            recurra.load(path)
        assert caught.value.problems[0].code == "RC051" and "recurra run TASK.toml" in str(
            caught.value
        )
    (tmp_path / "runs" / "a" / "3" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "3" / "task.toml").write_text("")
    with pytest.raises(InputError, match=r"runs/a/3"):
        recurra.resume(tmp_path / "nowhere")

    for number in ("2", "10", "copy"):
        left = tmp_path / "elsewhere" / "b" / number / "checkpoints"
        left.mkdir(parents=True)
        (left.parent / "task.toml").write_text("")
    (tmp_path / "elsewhere" / "c" / "copy").mkdir(parents=True)
    (tmp_path / "elsewhere" / "c" / "copy" / "task.toml").write_text("")
    for act in (recurra.resume, inspect):
        with pytest.raises(InputError, match=r"name one in it: \S*elsewhere/b/10$"):
            act(tmp_path / "elsewhere")


@pytest.mark.parametrize(
    "name", ["data.json", "environment.json", "plugins.json", "vocabulary.json"]
)
def test_a_run_that_lacks_a_file_is_told(name: str, tmp_path: Path) -> None:
    """A run whose plain files were lost or garbled says which."""
    run = trained(tmp_path, "windows")
    for content in (None, "{"):
        (run.path / name).unlink() if content is None else (run.path / name).write_text(content)
        for act in (recurra.load, recurra.resume):
            with pytest.raises(RunError, match="RC052") as caught:
                act(run.path)
            assert str(run.path / name) in str(caught.value)


def test_a_write_happens_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file whose replacement fails holds what it held, and no temporary file stays."""
    path = tmp_path / "a.json"
    files.write_json(path, {"a": 1})

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="RC053"):
        files.write_json(path, {"a": 2})
    assert files.read_json(path) == {"a": 1} and list(tmp_path.iterdir()) == [path]


@given(value=st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
))  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_plain_data_is_written_as_strict_json(
    value: object, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is finite reads back equal, and what is not is text, as JSON has no word for it."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    files.write_json(path, value)
    assert files.read_json(path) == files.finite(value)


@pytest.mark.parametrize("name", TRIALS)
def test_a_resolved_task_reads_back_equal(name: str, tmp_path: Path) -> None:
    """The task in a run's folder is the whole task: run again, it gives the same bits."""
    run = trained(tmp_path, name)
    again = recurra.run(run.path / "task.toml", runs=tmp_path / "again")
    assert again.resolved.tables() == run.resolved.tables()
    for name in ("metrics", "generated"):
        assert again.result.get(name) == run.result.get(name)
