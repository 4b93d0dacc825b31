"""The paths of a run: the fastest of a machine, told by `check`, recorded, and taken again when it
goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path as File

import pytest
from conftest import HELLO
from trials import as_before, differences, trained

import recurra
from recurra import verbs
from recurra.cache import cache_folder
from recurra.cli import show
from recurra.engine import eager, measure, native, paths, proof, timings
from recurra.engine.paths import Path
from recurra.engine.race import Lap
from recurra.errors import OtherVersion, Unverified


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Give a machine on which each path takes as long as it is said, and whose cache folder is
    empty.
    """

    def be(window: dict[str, float], one: dict[str, float]) -> None:
        def timed(cell, shape, draw, name, batch, steps):
            seconds = (window if shape.grad else one)[name] * steps
            return Lap(seconds, seconds)

        monkeypatch.setattr(measure, "_timed", timed)
        monkeypatch.setattr(timings, "TIMINGS", timings.KnownTimings())
        for file in (cache_folder() / "paths").glob("*.json"):
            file.unlink()

    monkeypatch.delenv("RECURRA_MEASURE")
    monkeypatch.setattr(proof, "PROOFS", proof.Proofs())
    found = {"native": Path(native.run, paths.PATHS["native"].refusal), "eager": Path(eager.run)}
    monkeypatch.setattr(paths, "PATHS", found)
    return be


FAST_KERNEL = {"native": 1e-4, "eager": 9e-4}
FAST_LOOP = {"native": 9e-4, "eager": 1e-4}


def recorded(run: recurra.Run) -> dict[str, list[str]]:
    environment = json.loads((run.path / "environment.json").read_text())
    return {name: environment[name] for name in ("paths", "step_paths")}


def test_a_run_takes_the_fastest_and_records_it(
    machine: Callable[..., None], tmp_path: File
) -> None:
    """Windows of training and single steps have a path each, on every cell of the network."""
    machine(FAST_KERNEL, FAST_LOOP)
    run = trained(tmp_path / "one", "dropout")
    assert recorded(run) == {"paths": ["native"] * 2, "step_paths": ["eager"] * 2}
    assert [(cell.path, cell.step_path) for cell in run.network.cells] == [("native", "eager")] * 2
    machine(FAST_LOOP, FAST_KERNEL)
    other = trained(tmp_path / "other", "dropout")
    assert recorded(other) == {"paths": ["eager"] * 2, "step_paths": ["native"] * 2}


@pytest.mark.parametrize("name", ["windows", "lanes"])
def test_a_run_goes_on_on_its_own_paths(
    name: str, machine: Callable[..., None], tmp_path: File
) -> None:
    """Bit for bit, though another path has become the faster one meanwhile; loaded, it says what
    its result says.
    """
    machine(FAST_KERNEL, FAST_LOOP)
    whole = trained(tmp_path / "whole", name)
    (tmp_path / "cut").mkdir()
    stopped = trained(tmp_path / "cut", name, stops=[5])
    machine(FAST_LOOP, FAST_KERNEL)
    (stopped.path / "result.json").unlink()
    again = recurra.resume(stopped.path)
    assert [cell.path for cell in again.network.cells] == recorded(whole)["paths"] == ["native"]
    assert differences(whole, again) == []
    loaded = recurra.load(whole.path)
    assert [(cell.path, cell.step_path) for cell in loaded.network.cells] == [("native", "eager")]
    assert loaded.evaluate()["metrics"] == whole.result["metrics"]


def test_a_run_whose_path_is_refused_here_goes_on_with_a_warning(
    machine: Callable[..., None], tmp_path: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No path is taken that is not proved on this machine: another one is, and the run says so, and
    why.
    """
    machine(FAST_KERNEL, FAST_LOOP)
    run = trained(tmp_path, "windows")
    monkeypatch.setitem(
        paths.PATHS, "native", Path(native.run, lambda cell: "no kernel on this machine")
    )
    with pytest.warns(
        OtherVersion,
        match="on path native, refused here: no kernel on this machine; on eager it is",
    ):
        again = recurra.resume(run.path)
    assert [cell.path for cell in again.network.cells] == ["eager"]
    assert [cell.path for cell in recurra.load(run.path).network.cells] == ["eager"]


def test_a_run_that_records_one_path_a_cell_is_read(
    machine: Callable[..., None], tmp_path: File
) -> None:
    """Where nothing is said of single steps they take the path of the windows."""
    machine(FAST_KERNEL, FAST_LOOP)
    run = trained(tmp_path, "windows")
    environment = json.loads((run.path / "environment.json").read_text())
    del environment["step_paths"]
    (run.path / "environment.json").write_text(json.dumps(environment))
    as_before(run.path)
    with pytest.warns(Unverified):
        again = recurra.load(run.path)
    assert [(c.path, c.step_path) for c in again.network.cells] == [("native", "native")]


def test_a_path_by_name_is_taken_for_everything(
    machine: Callable[..., None], tmp_path: File
) -> None:
    """`device.path` forces it, slow as it may be."""
    machine(FAST_KERNEL, FAST_KERNEL)
    assert recorded(trained(tmp_path, "windows", **{"device.path": "eager"})) == {
        "paths": ["eager"],
        "step_paths": ["eager"],
    }


def test_a_report_explains_the_path_of_each_layer(
    machine: Callable[..., None], task: Callable[..., File], monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """What each candidate costs, what single steps run on, and why others were refused: as data and
    as text.
    """
    machine(FAST_KERNEL, FAST_LOOP)
    monkeypatch.setitem(paths.PATHS, "fused", Path(eager.run, lambda cell: "no C compiler found"))
    report = verbs.report(task(HELLO))
    found = report.as_data()
    (layer,) = [row for row in found["layers"] if row["name"] == "layer 0"]
    assert layer["path"] == "native" and layer["seconds_per_step"] == pytest.approx(FAST_KERNEL)
    assert layer["one_step"]["path"] == "eager" and layer["one_step"][
        "seconds_per_step"
    ] == pytest.approx(FAST_LOOP)
    assert layer["refused"] == {"fused": "no C compiler found"}
    json.dumps(found)
    show.report(report)
    said = capsys.readouterr().out
    assert "path native" in said and "measured a step: native 100 us, eager 900 us" in said
    assert "one step at a time: eager; measured a step: eager 100 us, native 900 us" in said
    assert "not fused: no C compiler found" in said


def test_a_report_says_why_nothing_was_measured(
    machine: Callable[..., None], task: Callable[..., File], capsys
) -> None:
    """One path alone needs no measurement, and one by name wants none."""
    machine(FAST_KERNEL, FAST_LOOP)
    show.report(verbs.report(task(HELLO, ('"lstm"', '"mgu"'))))
    assert "not measured: the only one" in capsys.readouterr().out
    show.report(verbs.report(task(HELLO), {"device.path": "native"}))
    assert "not measured: device.path is native" in capsys.readouterr().out


def test_resets_in_training_are_measured_as_such(
    machine: Callable[..., None], task, monkeypatch
) -> None:
    """A carried text of several sequences has resets inside its windows; one sequence, or windows,
    have none.
    """
    machine(FAST_KERNEL, FAST_LOOP)
    seen: list[bool] = []
    real = measure._timed
    monkeypatch.setattr(
        measure,
        "_timed",
        lambda cell, shape, *more: (
            seen.append(shape.grad and shape.reset) or real(cell, shape, *more)
        ),
    )
    lines = ('text = "hello"', 'texts = ["hello there", "hello you", "hello all"]')
    for changes, carry, wanted in (
        ([lines], True, True),
        ([], True, False),
        ([lines], False, False),
    ):
        machine_seen = len(seen)
        monkeypatch.setattr(timings, "TIMINGS", timings.KnownTimings())
        for file in (cache_folder() / "paths").glob("*.json"):
            file.unlink()
        recurra.check(
            task(HELLO, *changes),
            {"sequence.carry": carry, "sequence.length": 2, "training.batch_size": 1},
        )
        assert any(seen[machine_seen:]) == wanted
