"""`recurra inspect` looks at what is there, and runs none of it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from conftest import HELLO
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

import recurra
from recurra.errors import InputError
from recurra.runs import headers
from recurra.runs.inspection import Inspected, inspect

CELL = """
from recurra import Component, hookimpl

@hookimpl
def recurra_components():
    return [Component("cell", "mine", "recurra_cells.gru:GRU", "recurra_cells.options:GRUOptions",
                      "a gru")]
"""
DEADLY = "import os\nos.mkdir({mark!r})\nraise SystemExit(7)\n"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run of a local plugin, its bundle and a saved session.

    The plugin has become one that leaves a mark wherever it is imported.
    """
    home = tmp_path_factory.mktemp("made")
    (home / "mine.py").write_text(CELL)
    (home / "task.toml").write_text(HELLO)
    changes = {"plugins.files": [str(home / "mine.py")], "cell.kind": "mine"}
    run = recurra.run(home / "task.toml", changes, runs=home / "runs")
    session = run.session()
    session.feed("he")
    session.save(home / "session.safetensors")
    recurra.bundle(run, home / "run.zip")
    (home / "mine.py").write_text(DEADLY.format(mark=str(home / "it ran")))
    return home


def run_of(home: Path) -> Path:
    return home / "runs" / "task" / "1"


def kept(home: Path, found: Inspected) -> None:
    """Check that no plugin code has run, and that the tensors told are those of torch."""
    assert not (home / "it ran").exists()
    from safetensors.torch import load_file

    step = run_of(home) / "checkpoints" / "step-3"
    own = {
        (f"{file.stem}.safetensors", name): (list(tensor.shape), str(tensor.dtype), tensor.nbytes)
        for file in step.glob("*.safetensors")
        for name, tensor in load_file(file).items()
    }
    told = {
        (each.file.rpartition("/")[2], each.name): (each.shape, f"torch.{each.type}", each.bytes)
        for each in found.tensors
    }
    assert told == own


def test_a_run_a_bundle_and_a_checkpoint_are_told(made: Path) -> None:
    """Their tensors are those that torch reads, every hash is good, the plugin is only named."""
    before = set(sys.modules)
    found = inspect(run_of(made).parent)
    assert found.kind == "run" and found.task == "task" and found.faults == []
    kept(made, found)
    (local,) = [need for need in found.needs if need.distribution == "file:mine.py"]
    assert local.components == ["cell file:mine.py/mine"] and local.here is None

    found = inspect(made / "run.zip")
    assert found.kind == "bundle" and found.steps == {"last": 3} and found.faults == []
    assert {file.hash for file in found.files} == {"good"}
    kept(made, found)

    found = inspect(run_of(made) / "checkpoints" / "step-3")
    assert found.kind == "checkpoint" and found.steps == {"last": 3} and found.faults == []
    kept(made, found)
    assert not {name for name in set(sys.modules) - before if "recurra_file" in name}


def test_a_saved_session_is_told(made: Path, tmp_path: Path) -> None:
    """Its hash is good, until a byte of it is another."""
    path = shutil.copy(made / "session.safetensors", tmp_path)
    found = inspect(Path(path))
    assert found.kind == "session" and [file.hash for file in found.files] == ["good"]
    content = bytearray(Path(path).read_bytes())
    content[-1] ^= 1
    Path(path).write_bytes(content)
    found = inspect(Path(path))
    assert [file.hash for file in found.files] == ["changed"] and len(found.faults) == 1


def test_each_file_that_was_changed_is_named(made: Path, tmp_path: Path) -> None:
    """Of a run: one that has a hash, of the folder or of a checkpoint; or one that is gone."""
    for name in (
        "task.toml", "plugins.json", "data.json", "vocabulary.json", "environment.json",
        "checkpoints/step-3/weights.safetensors", "checkpoints/step-3/state.json",
        "checkpoints/step-3/manifest.json",
    ):  # fmt: skip
        for gone in (False, True):
            run = tmp_path / f"{name.replace('/', '-')}-{gone}"
            shutil.copytree(run_of(made), run)
            file = run / name
            file.unlink() if gone else file.write_bytes(file.read_bytes() + b" ")
            if name == "task.toml" and gone:
                with pytest.raises(InputError, match="holds no run"):
                    inspect(run)
                continue
            assert any(name in fault for fault in inspect(run).faults), (name, gone)


def test_what_is_none_of_these_is_refused(tmp_path: Path) -> None:
    """A text, a picture, an empty folder, nothing at all."""
    (tmp_path / "text").write_text("hello")
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    (tmp_path / "empty").mkdir()
    for name in ("text", "picture", "empty", "absent"):
        with pytest.raises(InputError, match="a bundle(.|\n)*RC051|RC051(.|\n)*a bundle"):
            inspect(tmp_path / name)


@given(st.data())
def test_a_header_that_lies_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Whatever is changed of it, it is the same, or refused: no tensor lies outside the file, or
    where another lies.
    """
    path = tmp_path_factory.mktemp("header") / "x.safetensors"
    save_file({"a": torch.zeros(2, 3), "b": torch.ones(4, dtype=torch.int64)}, path)
    good = path.read_bytes()
    length = int.from_bytes(good[:8], "little")
    table = json.loads(good[8 : 8 + length])
    number = st.one_of(st.integers(-1, 60), st.sampled_from([1 << 62, 1 << 70, 1e3, "1", None]))
    name = data.draw(st.sampled_from(["a", "b"]))
    key = data.draw(st.sampled_from(["shape", "data_offsets"]))
    table[name][key] = data.draw(st.lists(number, max_size=3))
    text = json.dumps(table).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + good[8 + length :])
    size = path.stat().st_size
    try:
        found = headers.of_file(path)
    except ValueError:
        return
    place = 8 + len(text)
    for tensor in found.tensors:
        assert tensor.begin == place
        place = tensor.end
    assert place == size


LIES = [
    b"", b"\0" * 7, b"\xff" * 8, (1 << 40).to_bytes(8, "little") + b"{}",
    (2).to_bytes(8, "little") + b"[]", (200_000).to_bytes(8, "little") + b'{"a":' + b"[" * 199_995,
]  # fmt: skip


@pytest.mark.parametrize("content", LIES, ids=range(len(LIES)))
def test_a_header_that_is_none_is_refused(tmp_path: Path, content: bytes) -> None:
    """One that claims to be longer than the file, nests beyond measure, or is no table."""
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        headers.of_file(tmp_path / "x")
