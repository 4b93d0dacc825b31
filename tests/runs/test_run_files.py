"""Whatever is read back of a run is what was written there, or an error that names it."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from trials import PROSE, left, trained, write

import recurra
from recurra import system
from recurra.errors import InputError, RecurraError, RunError, Unguarded, Unverified
from recurra.runs import files
from recurra.runs.folder import RunFolder
from recurra.runs.records import HASHES, SEALED, Written

EAGER = {"device.path": "eager"}
DEEP = "[" * 200_000
CONTENTS = [
    b"",
    b"null",
    b"0",
    b'"x"',
    b"[]",
    b"{}",
    b"{",
    DEEP.encode(),
    b"\xff\xfe",
    b'{"a": 1, "a": 2}',
    b"1e999",
]
VALUES = st.sampled_from([None, -1, 0, True, 1.5, "x", "\ud83d", [], {}, [[]], 10**30])


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Give a finished run, made by the first test that asks for it."""
    return cache(lambda: trained(tmp_path_factory.mktemp("whole"), "lanes", **EAGER).path)


@pytest.fixture
def whole(once: Callable[[], Path]) -> Path:
    """Return a finished run, of which tests take copies."""
    return once()


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    """Return a run that may be damaged."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def older(path: Path) -> None:
    """Make a run like those from before there were hashes."""
    (path / HASHES).unlink()
    environment = json.loads((path / "environment.json").read_text())
    environment.pop("format")
    (path / "environment.json").write_text(json.dumps(environment))


def used(path: Path) -> None:
    """Read back all of a run but its data."""
    run = recurra.load(path)
    run.metrics()
    run.generated()


@pytest.mark.parametrize("name", [*SEALED, HASHES])
def test_a_file_that_was_changed_is_refused_by_name(name: str, copy: Path) -> None:
    """Every other byte of a file that is read back is RC052 with its name and a cure, for each
    verb.
    """
    path = copy / name
    text = path.read_bytes()
    middle = len(text) // 2
    for content in (
        text[:-1],
        text + b" ",
        text[:middle] + bytes([text[middle] ^ 1]) + text[middle + 1 :],
    ):
        path.write_bytes(content)
        for verb in (recurra.load, recurra.resume):
            if name == HASHES and content[:-1] in (text, text[:-2]):
                continue  # white space at the end of the hashes says nothing
            with pytest.raises(RunError, match="RC052") as caught:
                verb(copy)
            problem = caught.value.problems[0]
            assert str(copy) in problem.fact and problem.cure


@pytest.mark.parametrize(
    "name", ["plugins.json", "environment.json", "data.json", "vocabulary.json"]
)
@pytest.mark.filterwarnings("ignore::recurra.errors.Unverified")
def test_a_file_without_a_hash_is_held_to_its_model(name: str, copy: Path) -> None:
    """In a run without hashes, what is no JSON or holds no record is named as well."""
    older(copy)
    for content in CONTENTS:
        (copy / name).write_bytes(content)
        if (name, content) == ("plugins.json", b"[]"):
            continue  # of no component
        with pytest.raises(RunError, match="RC052") as caught:
            used(copy)
        assert str(copy / name) in str(caught.value)
    (copy / name).unlink()
    (copy / name).mkdir()
    with pytest.raises(RunError, match="RC052"):
        used(copy)


@given(
    name=st.sampled_from(SEALED[1:]),
    value=VALUES,
    pick=st.randoms(use_true_random=False),
    drop=st.booleans(),
)
@settings(max_examples=12, deadline=None)
def test_no_value_of_a_file_leads_to_a_traceback(
    name: str, value: Any, pick: Any, drop: bool, once: Callable[[], Path]
) -> None:
    """Any value of any key may be exchanged or taken away: a run without hashes is read, or refused
    with a reason.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        copy = once().parent / "drawn"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(once(), copy)
        older(copy)
        held = json.loads((copy / name).read_text())
        place = held[pick.randrange(len(held))] if isinstance(held, list) else held
        key = pick.choice(sorted(place))
        place.pop(key) if drop else place.__setitem__(key, value)
        (copy / name).write_text(json.dumps(held))
        try:
            used(copy)
        except RecurraError as error:
            assert all(problem.code for problem in error.problems)


def test_a_run_from_before_hashes_is_read_and_said_to_be_unverified(copy: Path) -> None:
    """One warning, and the same text and bits; a run that had hashes and lost them is refused."""
    before = recurra.load(copy).generated()
    (copy / HASHES).unlink()
    with pytest.raises(RunError, match=rf"{HASHES}(.|\n)*missing"):
        recurra.load(copy)
    older_run = shutil.copytree(copy, copy.parent / "older")
    (older_run / HASHES).touch()
    older(older_run)
    with pytest.warns(Unverified) as said:
        assert recurra.load(older_run).generated() == before
    assert len(said) == 1


def _rewritten(copy: Path, change: Callable[[Path], None]) -> None:
    """Change a checkpoint's files, and give it the hashes of what they are now."""
    index = json.loads((copy / "checkpoints" / "index.json").read_text())
    folder = copy / "checkpoints" / f"step-{index['last']}"
    change(folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["sha256"] = {
        p.name: files.digest(p) for p in folder.iterdir() if p.name != "manifest.json"
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    index["sha256"][folder.name] = files.digest(folder / "manifest.json")
    (copy / "checkpoints" / "index.json").write_text(json.dumps(index))


def _tensor(file: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        tensors = load_file(folder / f"{file}.safetensors")
        change(tensors)
        save_file(tensors, folder / f"{file}.safetensors")

    return act


def _state(table: str, key: str, value: Any) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        state = json.loads((folder / "state.json").read_text())
        (state[table] if table else state)[key] = value
        (folder / "state.json").write_text(json.dumps(state))

    return act


MISFITS: dict[str, Callable[[Path], None]] = {
    "a header of another length": lambda folder: (
        (folder / "weights.safetensors").write_bytes(b"\xff" * 99) and None
    ),
    "no weights": lambda folder: (folder / "weights.safetensors").unlink(),
    "no streams of random numbers": lambda folder: (folder / "random.safetensors").unlink(),
    "a weight less": _tensor("weights", dict.popitem),
    "a weight of another type": _tensor(
        "weights", lambda t: t.update({"head.bias": t["head.bias"].double()})
    ),
    "moments of another shape": _tensor(
        "optimizer", lambda t: t.update({"0.exp_avg": torch.zeros(2)})
    ),
    "a moment less": _tensor("optimizer", lambda t: t.pop("0.exp_avg")),
    "carried rows of another number": _tensor(
        "carried", lambda t: t.update({k: v[:1] for k, v in t.items()})
    ),
    "a step that is a text": _state("progress", "step", "x"),
    "a batch after the last": _state("progress", "batch", 10**6),
    "no rate": _state("", "rate", None),
    "groups of nothing": _state("optimizer", "groups", []),
    "pending of three": _state("", "pending", [0.0, 0.0, 0.0]),
}


@pytest.mark.parametrize("misfit", MISFITS)
def test_a_checkpoint_that_does_not_fit_is_told_though_its_hashes_do(
    misfit: str, copy: Path
) -> None:
    """Whatever in a checkpoint is not what training needs is RC052 before the first step."""
    _rewritten(copy, MISFITS[misfit])
    index = json.loads((copy / "checkpoints" / "index.json").read_text())
    index["best"] = index["last"]
    index["sha256"] = {f"step-{index['last']}": index["sha256"][f"step-{index['last']}"]}
    (copy / "checkpoints" / "index.json").write_text(json.dumps(index))
    with pytest.raises(RunError, match="RC052"):
        recurra.resume(copy)


def test_what_data_says_cuts_no_samples(copy: Path) -> None:
    """A sample may hold the heading of a sample: rewinding goes by what the checkpoint noted, and
    loses nothing.
    """
    folder = RunFolder(copy)
    (copy / "samples.txt").unlink()
    folder.sample(3, "a\n--- step 900\nb\n--- step 12, final")
    early, noted = (copy / "samples.txt").read_bytes(), folder.settled()["samples.txt"]
    folder.sample(6, "later")
    folder.rewind(3, noted["bytes"])
    assert (copy / "samples.txt").read_bytes() == early
    folder.sample(6, "later")
    folder.rewind(3, None, {"samples.txt": Written.model_validate(noted)})
    assert (copy / "samples.txt").read_bytes() == early


def test_records_that_are_none_are_left_out(copy: Path) -> None:
    """Lines of metrics.jsonl that are damaged take no other line with them."""
    path = copy / "metrics.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(
        b"\n".join([lines[0], b"\xff", DEEP.encode(), b"[1]", b'{"step": "x"}', *lines[1:]])
    )
    assert RunFolder(copy).metrics() == [json.loads(line) for line in lines]


@pytest.mark.parametrize("name", ["ENOSYS", "ENOLCK", "EOPNOTSUPP", "EINVAL", "EBADF"])
def test_without_locks_a_run_trains_with_a_warning(
    name: str, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that has no locks is no other process; what says that another holds it still
    is.
    """
    answer = getattr(errno, name)

    def refuse(*arguments: Any) -> None:
        raise OSError(answer, "refused")

    monkeypatch.setattr(system.fcntl, "flock", refuse)
    monkeypatch.setattr(system, "_warned", set())
    with pytest.warns(Unguarded) as said, RunFolder(copy).held(), RunFolder(copy).held():
        pass
    assert len(said) == 1
    for held in system.ANOTHER_HOLDS:
        answer = held
        with pytest.raises(InputError, match="RC055"), RunFolder(copy).held():
            pass


@pytest.mark.parametrize("name", ["EINVAL", "EROFS", "ENOSYS", "EOPNOTSUPP"])
def test_a_system_without_sync_or_rename_keeps_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sync that the file system does not know is left out, and what cannot be renamed is
    copied.
    """

    def refuse(*arguments: Any) -> None:
        raise OSError(getattr(errno, name), "refused")

    monkeypatch.setattr(system.os, "fsync", refuse)
    if name != "EROFS":
        monkeypatch.setattr(Path, "replace", refuse)
        monkeypatch.setattr(Path, "rename", refuse)
    run = recurra.run(
        write(tmp_path, PROSE), {"training.steps": 2, **EAGER}, runs=tmp_path / "runs"
    )
    assert recurra.load(run.path).generated() == run.result["generated"]


def test_a_home_that_is_none_costs_the_cache_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a home, or with one that cannot be written, a large corpus is encoded, and one line
    says so.
    """
    from recurra.cache import Unkept
    from recurra.data import corpus

    (tmp_path / "file").touch()
    monkeypatch.delenv("RECURRA_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(corpus.build, "__defaults__", (1, *corpus.build.__defaults__[1:]))
    for home in ("", "relative", str(tmp_path / "file")):
        monkeypatch.setenv("HOME", home)
        monkeypatch.setattr("recurra.cache._warned", set())
        with pytest.warns(Unkept, match="anew in each process") as said:
            recurra.check(write(tmp_path, PROSE))
        assert len(said) == 1


@pytest.mark.parametrize(
    "key", ["seen", "output", "random", "state.0.h", "position", "streams", "sha256"]
)
def test_a_saved_state_is_taken_whole_or_not_at_all(key: str, whole: Path, tmp_path: Path) -> None:
    """A state of which anything was exchanged is RC054, and the session is as it was."""
    run = recurra.load(whole)
    run.session(streams=2).feed("the ").save(tmp_path / "state")
    with safe_open(tmp_path / "state", "pt") as file:
        about = file.metadata()
    tensors = load_file(tmp_path / "state")
    for wrong in (torch.zeros(3, 5), torch.full((2, 6), float("nan")), None):
        if key in about:
            save_file(tensors, tmp_path / "odd", metadata={**about, key: "-1"})
        else:
            others = {k: v for k, v in tensors.items() if k != key} | (
                {} if wrong is None else {key: wrong}
            )
            save_file(
                others, tmp_path / "odd", metadata={k: v for k, v in about.items() if k != "sha256"}
            )
        session = run.session()
        with warnings.catch_warnings(), pytest.raises(InputError, match="RC054"):
            warnings.simplefilter("ignore", Unverified)
            session.restore(tmp_path / "odd")
        assert session.position == 0 and session.output is None and session.streams == 1


def test_resuming_a_finished_run_keeps_its_hashes(copy: Path) -> None:
    """A run that goes on is sealed as before: nothing of it is rewritten that has not changed."""
    before = {name: (copy / name).read_bytes() for name in (*SEALED, HASHES)} | left(
        recurra.load(copy)
    )
    again = left(recurra.resume(copy))
    assert {name: (copy / name).read_bytes() for name in (*SEALED, HASHES)} | again == before


@pytest.mark.parametrize("kind", ["file", "link to nothing", "folder"])
def test_a_folder_takes_the_place_of_whatever_bears_its_name(kind: str, tmp_path: Path) -> None:
    """A file, a link or a folder in the way is replaced, and what a link points to is not
    touched.
    """
    work, target = tmp_path / "work", tmp_path / "target"
    work.mkdir()
    (work / "new").touch()
    if kind == "file":
        target.touch()
    elif kind == "folder":
        target.mkdir()
        (target / "old").touch()
    else:
        target.symlink_to(tmp_path / "nowhere")

    system.replace(work, target)
    assert [path.name for path in target.iterdir()] == ["new"] and not target.is_symlink()
    assert not work.exists() and not (tmp_path / "nowhere").exists()


def test_a_path_without_a_name_is_no_file_to_write() -> None:
    """The root of a file system is told as what cannot be written."""
    with pytest.raises(RunError, match="cannot be written"):
        files.write_text(Path("/"), "text")


@pytest.mark.parametrize("kind", ["link", "link to nothing", "pipe", "link to a pipe"])
def test_what_leads_elsewhere_is_written_through(kind: str, tmp_path: Path) -> None:
    """A link, a pipe or a device in the place of a file stays what it is, and the text arrives
    where it leads.
    """
    path, end = tmp_path / "path", tmp_path / "end"
    if kind == "link":
        end.write_text("a text that is longer than the new one")
    if kind.startswith("link"):
        path.symlink_to(end)
    pipe = end if kind.startswith("link") else path
    if kind.endswith("pipe"):
        os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK) if kind.endswith("pipe") else None
    before = path.lstat()

    files.write_text(path, "text")
    assert (path.lstat().st_ino, stat.S_IFMT(path.lstat().st_mode)) == (
        before.st_ino,
        stat.S_IFMT(before.st_mode),
    )
    if reader is None:
        assert end.read_text() == "text"
    else:
        assert os.read(reader, 100) == b"text"
        os.close(reader)


def test_two_that_stream_to_one_file_leave_the_one_that_ended_last(tmp_path):
    """Each writes to a place of its own: no file is ever of both."""
    path = tmp_path / "answers.csv"
    with files.streamed(path) as one:
        one.write("one" * 1000)
        with files.streamed(path) as other:
            other.write("two")
        assert path.read_text() == "two"
        one.write("one")
    assert path.read_text() == "one" * 1001 and list(tmp_path.iterdir()) == [path]


def test_a_stream_that_fails_leaves_what_a_link_leads_to(tmp_path):
    """What was there stays, the link too; once all is written it is replaced."""
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    with pytest.raises(KeyError), files.streamed(link) as file:
        file.write("new")
        raise KeyError
    assert real.read_text() == "old" and link.is_symlink()
    with files.streamed(link) as file:
        file.write("new")
    assert real.read_text() == "new" and link.is_symlink() and len(list(tmp_path.iterdir())) == 2
