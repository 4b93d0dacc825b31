"""A run becomes one file, and comes out of it again, bit for bit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from conftest import HELLO, SERIES
from trials import Stopper, write

import recurra
from recurra.errors import (
    InputError,
    Interrupted,
    OtherVersion,
    PluginError,
    RecurraError,
    RunError,
)
from recurra.runs import archive

VALIDATED = {"sequence.split": [0.5, 0.25, 0.25], "source.text": "hello world, " * 6}
CELL = """
from typing import NamedTuple

import torch
from recurra import Component, GatedCell, GatedOptions, hookimpl

{first}

class UnitState(NamedTuple):
    h: torch.Tensor


class Unit(GatedCell[GatedOptions]):
    gates = 2
    State = UnitState

    def update(self, x, h, state):
        z, n = x + h
        z = torch.sigmoid(z)
        return UnitState(z * state.h + (1 - z) * torch.tanh(n))


@hookimpl
def recurra_components():
    return [Component("cell", "unit", "unit:Unit", "recurra:GatedOptions", "one gate")]
"""


def again(bundle: Path, place: Path, **more: Any) -> Any:
    """Train a bundle again, which must pass with the same bits."""
    found = recurra.reproduce(bundle, runs=place, **more)
    assert (found.level, found.reasons) == ("bits", []), found
    assert found.passed and found.same_bits, found.compared.differences
    return found


def forged(bundle: Path, **changes: bytes | None) -> Path:
    """Return a bundle that is whole, and in which entries are others: what a liar would make.

    An entry is named by its last part, and the hashes that vouch for it are made anew.
    """
    with zipfile.ZipFile(bundle) as file:
        contents = {name: file.read(name) for name in file.namelist()}
    about = json.loads(contents.pop("manifest.json"))
    del about["entries"]
    for key, content in changes.items():
        if key == "about":
            about |= json.loads(content or b"{}")
            continue
        (name,) = [name for name in contents if name.rpartition("/")[2].split(".")[0] == key]
        assert content is not None
        contents[name] = content
    vouch(contents)
    hashes = json.loads(contents["run/hashes.json"])
    for name in hashes["sha256"]:
        hashes["sha256"][name] = [sha256(contents[f"run/{name}"]).hexdigest()]
    contents["run/hashes.json"] = json.dumps(hashes).encode()
    path = bundle.with_name(f"forged-{len(list(bundle.parent.glob('forged*')))}.zip")
    archive.write(path, about, contents)
    return path


def vouch(contents: dict[str, bytes]) -> None:
    """Make the hashes of the checkpoints anew."""
    index = json.loads(contents["run/checkpoints/index.json"])
    for step in index["sha256"]:
        name = f"run/checkpoints/{step}/manifest.json"
        manifest = json.loads(contents[name])
        for file in manifest["sha256"]:
            content = contents[f"run/checkpoints/{step}/{file}"]
            manifest["sha256"][file] = sha256(content).hexdigest()
        contents[name] = json.dumps(manifest).encode()
        index["sha256"][step] = sha256(contents[name]).hexdigest()
    contents["run/checkpoints/index.json"] = json.dumps(index).encode()


def entry(bundle: Path, key: str) -> bytes:
    with zipfile.ZipFile(bundle) as file:
        (name,) = [each for each in file.namelist() if each.rpartition("/")[2] == key]
        return file.read(name)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run of text that was validated."""
    home = tmp_path_factory.mktemp("plain")
    run = recurra.run(write(home, HELLO), VALIDATED, runs=home / "runs")
    return recurra.bundle(run, home / "plain.zip")


def test_a_run_is_trained_again_from_one_file(plain: Path, tmp_path: Path) -> None:
    """All bits are the same, and a bundle of the same run is the same, byte for byte."""
    found = again(plain, tmp_path)
    assert found.compared.tensors["weights"] and found.compared.figures and found.compared.records
    opened = recurra.load(found.run)
    before = plain.read_bytes()
    home = plain.parent / "runs" / "task" / "1"
    assert recurra.bundle(home, tmp_path / "x.zip").read_bytes() == before
    # The run of a bundle is a run like any other.
    assert recurra.bundle(opened, tmp_path / "y.zip").is_file()


def test_the_code_of_a_bundle_runs_when_the_user_says_so(tmp_path: Path) -> None:
    """Not one line of it before; then the bits are the same, of a file that nobody else has."""
    mark = tmp_path / "it ran"
    text = CELL.format(first=f"import os\nos.makedirs({str(mark)!r}, exist_ok=True)")
    (tmp_path / "unit.py").write_text(text)
    changes = {"plugins.files": [str(tmp_path / "unit.py")], "cell.kind": "unit"}
    run = recurra.run(write(tmp_path, HELLO), changes, runs=tmp_path / "runs")
    bundle = recurra.bundle(run, tmp_path / "run.zip")
    (tmp_path / "unit.py").unlink()
    mark.rmdir()

    with pytest.raises(InputError, match=r"code of its own(.|\n)*RC046") as refused:
        recurra.reproduce(bundle, runs=tmp_path / "new")
    size, digest = len(text.encode()), sha256(text.encode()).hexdigest()
    for told in ("plugins/1/unit.py", f"{size} bytes", digest, digest[:12], "unzip -p", "--trust"):
        assert told in str(refused.value)
    assert not mark.exists() and not (tmp_path / "new").exists()

    found = again(bundle, tmp_path / "new", trust=True)
    assert mark.exists()
    assert recurra.load(found.run).resolved.cells[0].entry.qualified == "file:unit.py/unit"

    # A bundle may name code as well, and hold none of it.
    outside = write(tmp_path, text, "unit.py")
    mark.rmdir()
    named = entry(bundle, "task.toml")
    stray = forged(bundle, about=json.dumps({"places": []}).encode(), task=named)
    for trust in (False, True):
        with pytest.raises(InputError, match=r"RC046|RC056"):
            recurra.reproduce(stray, runs=tmp_path / "stray", trust=trust)
    assert not mark.exists() and outside.exists() and not list((tmp_path / "stray").rglob("*.py"))


def test_a_plugin_that_was_edited_is_no_part_of_a_bundle(tmp_path: Path) -> None:
    """A bundle holds what the run was made with, or there is none."""
    (tmp_path / "unit.py").write_text(CELL.format(first=""))
    changes = {"plugins.files": [str(tmp_path / "unit.py")], "cell.kind": "unit"}
    run = recurra.run(write(tmp_path, HELLO), changes, runs=tmp_path / "runs")
    (tmp_path / "unit.py").write_text(CELL.format(first="# another"))
    with pytest.raises(InputError, match="RC045"):
        recurra.bundle(run, tmp_path / "run.zip")
    weights = run.path / "checkpoints" / "step-3" / "weights.safetensors"
    (tmp_path / "unit.py").write_text(CELL.format(first=""))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\1")
    with pytest.raises(RunError, match="RC052"):
        recurra.bundle(run, tmp_path / "run.zip")
    assert not (tmp_path / "run.zip").exists()


def test_a_run_that_was_interrupted_is_trained_up_to_there(tmp_path: Path) -> None:
    """Also where it was in the middle of nothing: its state is that of the step."""
    changes = {**VALIDATED, "training.steps": 9}
    with pytest.raises(Interrupted):
        recurra.run(write(tmp_path, HELLO), changes, runs=tmp_path / "runs", observer=Stopper([5]))
    bundle = recurra.bundle(tmp_path / "runs" / "task", tmp_path / "run.zip")
    found = again(bundle, tmp_path / "new")
    assert list(Path(found.run).glob("checkpoints/step-5")) and found.compared.tensors["weights"]
    assert recurra.resume(found.run).result["steps"] == 9


def test_what_changed_on_the_way_changes_again(tmp_path: Path) -> None:
    """More steps, at another rate, from the steps at which they were asked for."""
    home = tmp_path / "runs"
    path = write(tmp_path, HELLO.replace("steps = 3", "epochs = 1"))
    run = recurra.run(path, VALIDATED, runs=home)
    done = run.result["steps"]
    recurra.resume(run, {"training.steps": done + 4, "training.optimizer.lr": 0.02})
    more = {"training.steps": done + 9, "training.schedule.kind": "cosine"}
    with pytest.raises(Interrupted):
        recurra.resume(run, more, observer=Stopper([done + 7]))
    again(recurra.bundle(run, tmp_path / "stopped.zip"), tmp_path / "stopped")
    recurra.resume(run)
    found = again(recurra.bundle(run, tmp_path / "whole.zip"), tmp_path / "whole")
    assert list(Path(found.run).glob(f"checkpoints/step-{done + 9}"))


def test_a_run_that_starts_from_another_brings_it(plain: Path, tmp_path: Path) -> None:
    """Its weights and its symbols, new ones too; where it is gone, there is no bundle."""
    first = tmp_path / "runs" / "task" / "1"
    shutil.copytree(plain.parent / "runs" / "task" / "1", first)
    changes = {"source.text": "hello worlds; "}
    run = recurra.run(
        write(tmp_path, HELLO), changes, start=first, add_symbols=True, runs=tmp_path / "runs"
    )
    bundle = recurra.bundle(run, tmp_path / "run.zip")
    shutil.rmtree(first)
    again(bundle, tmp_path / "new")
    with pytest.raises(InputError, match=r"which is gone(.|\n)*RC051"):
        recurra.bundle(run, tmp_path / "other.zip")


def test_data_that_a_program_gave_is_given_again(tmp_path: Path) -> None:
    """Only who has it can; other data is told."""
    numbers = [float(number % 7) for number in range(40)]
    tables = SERIES.replace("values = [" + SERIES.partition("values = [")[2].partition("\n")[0], "")
    task = write(tmp_path, tables.replace('kind = "inline"', 'kind = "given"'))
    run = recurra.run(task, data=numbers, runs=tmp_path / "runs")
    bundle = recurra.bundle(run, tmp_path / "run.zip")
    with pytest.raises(InputError, match="given by a program"):
        recurra.bundle(run, tmp_path / "x.zip", with_data=True)
    with pytest.raises(InputError, match=r"give it again(.|\n)*data="):
        recurra.reproduce(bundle, runs=tmp_path / "new")
    with pytest.raises(InputError, match=r"not what the run(.|\n)*RC044|RC044(.|\n)*not what"):
        recurra.reproduce(bundle, data=[*numbers[:-1], 9.0], runs=tmp_path / "new")
    assert not list((tmp_path / "new").rglob("*.json"))
    again(bundle, tmp_path / "new", data=numbers)


def test_a_file_that_is_no_bundle_is_not_replaced(plain: Path, tmp_path: Path) -> None:
    """Neither one of the run, nor any other, nor a bundle of another run; its own is."""
    home = Path(shutil.copytree(plain.parent / "runs" / "task" / "1", tmp_path / "1"))
    for place in (home / "task.toml", write(tmp_path, "dear diary", "diary.txt"), tmp_path):
        before = place.read_bytes() if place.is_file() else b""
        with pytest.raises(InputError, match=r"is no bundle, and would be lost(.|\n)*RC080"):
            recurra.bundle(home, place)
        assert place.is_dir() or place.read_bytes() == before
    for _ in range(2):
        assert recurra.bundle(home, tmp_path / "x.zip").read_bytes() == plain.read_bytes()
    other = recurra.run(write(tmp_path, HELLO), {"seed": 7}, runs=tmp_path / "other")
    with pytest.raises(InputError, match=r"x\.zip holds another run(.|\n)*RC080"):
        recurra.bundle(other, tmp_path / "x.zip")
    assert (tmp_path / "x.zip").read_bytes() == plain.read_bytes()


def test_data_comes_along_or_is_known_again(tmp_path: Path) -> None:
    """Files of a pattern, whose folders say their labels; without them others are refused."""
    for label in ("ham", "spam"):
        for number in range(4):
            write(tmp_path / "mail" / label, f"{label} {number} {label * number}", f"{number}.txt")
    text = HELLO.replace('kind = "inline"\ntext = "hello"', 'kind = "text"\npath = "mail/*/*.txt"')
    text = text.replace('[generation]\nprompt = "h"\nlength = 4\n', "")
    text += '\n[target]\nkind = "label"\n'
    changes = {"source.labels": "folder", "sequence.split": [0.5, 0.25, 0.25]}
    run = recurra.run(write(tmp_path, text), changes, runs=tmp_path / "runs")
    with_data = recurra.bundle(run, tmp_path / "with.zip", with_data=True)
    without = recurra.bundle(run, tmp_path / "without.zip")
    shutil.move(tmp_path / "mail", tmp_path / "moved")
    again(with_data, tmp_path / "new")

    with pytest.raises(InputError, match=r"source.path=(.|\n)*--with-data"):
        recurra.reproduce(without, runs=tmp_path / "new")
    moved = {"source.path": str(tmp_path / "moved" / "*" / "*.txt")}
    again(without, tmp_path / "new", overrides=moved)
    (tmp_path / "moved" / "ham" / "1.txt").write_text("other")
    with pytest.raises(InputError, match=r"RC044") as refused:
        recurra.reproduce(without, moved, runs=tmp_path / "new")
    assert "ham/0.txt" in str(refused.value)
    with pytest.raises(InputError, match=r"training.steps: where a run is reproduced(.|\n)*RC080"):
        recurra.reproduce(without, {"training.steps": 4}, runs=tmp_path / "new")
    with pytest.raises(InputError, match="RC040"):
        recurra.bundle(run, tmp_path / "x.zip", with_data=True)


@pytest.fixture
def liar(plain: Path) -> Iterator[Callable[..., Path]]:
    """Forge bundles, and take them away again."""
    yield lambda **changes: forged(plain, **changes)
    for path in plain.parent.glob("forged-*"):
        path.unlink()


def test_one_bit_is_told(plain: Path, tmp_path: Path, liar: Callable[..., Path]) -> None:
    """A bundle whose weights, records or figures are not those that come out fails, by name."""
    weights = bytearray(entry(plain, "weights.safetensors"))
    weights[-1] ^= 1
    metrics = entry(plain, "metrics.jsonl").replace(b'"tokens": 4', b'"tokens": 5', 1)
    result = json.loads(entry(plain, "result.json"))
    result["metrics"]["loss"] *= 1 + 1e-15
    for change, told in (
        ({"weights": bytes(weights)}, "checkpoints/step-3/weights.safetensors: tensor "),
        ({"metrics": metrics}, "metrics.jsonl: line 1 tokens: 5 in the bundle, 4 here"),
        ({"result": json.dumps(result).encode()}, "result.json: metrics.loss: "),
    ):
        found = recurra.reproduce(liar(**change), runs=tmp_path)
        assert not found.passed and found.level == "bits"
        said = [each.told("in the bundle", "here") for each in found.compared.differences]
        assert len(said) == 1 and said[0].startswith(told), (change, said)


def test_elsewhere_the_figures_are_held(
    plain: Path, tmp_path: Path, liar: Callable[..., Path]
) -> None:
    """Under another torch, threads or processor the level is that of figures, and says why."""
    environment = json.loads(entry(plain, "environment.json"))
    result = json.loads(entry(plain, "result.json"))
    elsewhere = {"torch": "1.0", "cpu": "another", "numpy": "1.0", "processes": 4}
    other = json.dumps({**environment, **elsewhere}).encode()
    found = recurra.reproduce(liar(environment=other), runs=tmp_path)
    assert found.level == "figures" and found.passed and found.same_bits
    for key, value in elsewhere.items():
        assert [reason for reason in found.reasons if reason.startswith(f"{key} {value}, here")]
    alone = {key: value for key, value in environment.items() if key != "processes"}
    found = recurra.reproduce(liar(environment=json.dumps(alone).encode()), runs=tmp_path)
    assert found.level == "bits" and found.passed  # a run of before was made by one process
    result["metrics"]["loss"] *= 1.2
    beyond = liar(environment=other, result=json.dumps(result).encode())
    assert not recurra.reproduce(beyond, runs=tmp_path).passed
    assert recurra.reproduce(beyond, runs=tmp_path, tolerance=0.25).passed


def test_a_plugin_that_is_not_here_is_named(
    plain: Path, tmp_path: Path, liar: Callable[..., Path]
) -> None:
    """By distribution and version, with what installs it; another version is told."""
    plugins = entry(plain, "plugins.json")
    other = plugins.replace(
        b'"distribution": "recurra",\n    "version": "0.1.0"',
        b'"distribution": "recurra-gone",\n    "version": "7.1"', 1
    )  # fmt: skip
    assert other != plugins
    with pytest.raises(PluginError, match=r"recurra-gone 7.1(.|\n)*pip install recurra-gone==7.1"):
        recurra.reproduce(liar(plugins=other), runs=tmp_path)
    newer = plugins.replace(b'"version": "0.1.0"', b'"version": "0.0.9"')
    with pytest.warns(OtherVersion, match=r"recurra 0.0.9 \(now 0.1.0\)"):
        found = recurra.reproduce(liar(plugins=newer), runs=tmp_path)
    assert found.level == "figures" and found.passed


@pytest.mark.parametrize("task", ["../../out", "", "a/b", "."])
def test_no_bundle_says_where_it_is_unpacked(
    plain: Path, tmp_path: Path, liar: Callable[..., Path], task: str
) -> None:
    """The name of its task is that of a folder, and leads nowhere else."""
    about = json.dumps({"task": task}).encode()
    with pytest.raises(InputError, match="RC056"):
        recurra.reproduce(liar(about=about), runs=tmp_path / "in" / "runs")
    assert not list(tmp_path.rglob("*"))


def test_the_command_says_pass_or_fail(
    plain: Path, tmp_path: Path, liar: Callable[..., Path], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """By its exit code, and in words: the level, why, what was compared, what is promised."""
    from recurra.cli.main import _called

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["recurra", *arguments])
        code = _called(as_json=False)
        return code, capsys.readouterr().out

    monkeypatch.chdir(tmp_path)
    code, said = call("reproduce", str(plain))
    assert code == 0 and "level:     bits" in said and "pass:" in said and "promise:" in said
    weights = bytearray(entry(plain, "weights.safetensors"))
    weights[-1] ^= 1
    code, said = call("reproduce", str(liar(weights=bytes(weights))))
    assert code == 1 and "FAIL:" in said
    assert "differs:   checkpoints/step-3/weights.safetensors: tensor " in said
    code, said = call("bundle", "runs/task", "-o", "out.zip")
    assert code == 0 and Path("out.zip").is_file()
    code, said = call("inspect", "out.zip")
    assert code == 0 and "a bundle of task task" in said and "step-3 weights head" in said


ODD_PLACES: list[dict[str, Any]] = [
    {"table": "source", "key": "text", "path": "x", "entry": "plugins/1/x.py"},
    {"table": "plugins", "key": "files", "path": "x", "entry": "data/1/x.py"},
    {"table": "plugins", "key": "files", "path": "x", "entry": "plugins/../../x.py"},
    {"table": "source.text.no", "key": "text", "path": "x", "entry": "data/1/x"},
    {"table": "cell.stack.7", "key": "text", "path": "x", "entry": "data/1/x"},
    {"table": "", "key": "", "path": 7, "entry": "data/1/x"},
]


@pytest.mark.parametrize("place", ODD_PLACES, ids=range(len(ODD_PLACES)))
def test_a_manifest_that_lies_is_refused(
    plain: Path, tmp_path: Path, liar: Callable[..., Path], place: dict[str, Any]
) -> None:
    """What it says of paths leads nowhere, and takes nothing for code that is none."""
    about = json.dumps({"places": [place]}).encode()
    try:
        found = recurra.reproduce(liar(about=about), runs=tmp_path / "runs")
    except InputError as error:
        assert error.problems[0].code == "RC056"
        assert not list(tmp_path.rglob("*.json"))
    else:
        # A place that no table has changes nothing.
        assert found.passed and place["table"].startswith("cell")


FILES = ["metrics", "result", "data", "vocabulary", "environment", "task", "state"]


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"metrics": 7}', b"\xff"], ids=range(5))
@pytest.mark.slow
def test_a_file_that_is_none_is_told(
    plain: Path, tmp_path: Path, liar: Callable[..., Path], name: str, content: bytes
) -> None:
    """Whatever a bundle holds, what comes is an error of recurra's, or a verdict."""
    try:
        recurra.reproduce(liar(**{name: content}), runs=tmp_path / "runs")
    except RecurraError:
        pass


@pytest.mark.slow
def test_a_bundle_goes_through_an_empty_world(tmp_path: Path) -> None:
    """Another process, with a cache of its own, in another folder, gets the same bits."""
    (tmp_path / "unit.py").write_text(CELL.format(first=""))
    changes = {"plugins.files": [str(tmp_path / "unit.py")], "cell.kind": "unit"}
    run = recurra.run(write(tmp_path, HELLO), changes, runs=tmp_path / "runs")
    recurra.bundle(run, tmp_path / "run.zip")
    shutil.rmtree(tmp_path / "runs")
    (tmp_path / "unit.py").unlink()
    line = [sys.executable, "-m", "recurra", "reproduce", "run.zip", "--trust", "--json"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["same_bits"]
