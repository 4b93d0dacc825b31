"""Other libraries take turns with recurra, and are compared with it before."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from machines import MACHINE
from terminal import command

from recurra.bench import rival_generation, rival_layers, rival_training, rivals
from recurra.bench.records import Rivals, Setting, Shape, Skipped
from recurra.bench.rivals import (
    Own,
    Race,
    Rival,
    Took,
    agree,
    held,
    python_of,
    race,
    started,
    together,
)
from recurra.engine import load
from recurra.errors import InputError

CORES = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
SCRIPT = """
import sys
sys.path.insert(0, {scripts!r})
from turns import Side, serve

def build(case, arrays):
    if case["fails"]:
        raise ValueError("no such case")
    turns = []
    def turn():
        turns.append(1)
        print("a library that talks")
    return Side(turn, lambda: {{"twice": 2 * arrays["x"], "turns": arrays["x"] * 0 + len(turns)}})

serve(build, {{"version": "1"}})
"""


@pytest.fixture(scope="module")
def rival(tmp_path_factory: pytest.TempPathFactory) -> Rival:
    script = tmp_path_factory.mktemp("rival") / "script.py"
    script.write_text(SCRIPT.format(scripts=str(rivals.SCRIPTS)), encoding="utf-8")
    with Rival("jax", [sys.executable, str(script)], 1) as process:
        yield process


def test_a_rival_computes_and_has_its_turns(rival: Rival, tmp_path: Path) -> None:
    """It reads arrays, gives arrays back, and says what its turns took; what it prints is no answer
    of it.
    """
    assert rival.about == {"version": "1"}
    x = np.arange(3.0)
    side = rival.side("one", {"fails": False}, rivals.stored(str(tmp_path), {"x": x}))
    before = side.answer()
    assert (before["twice"] == 2 * x).all()
    took = side.timed(5)
    assert 0 < took.wall < 1 and 0 <= took.processor < 1
    # Five that are timed, and one before them that finds the caches as others left them.
    assert (side.answer()["turns"] - before["turns"] == 6).all()
    assert rival.processor >= 0


def test_a_rival_that_errs_lives_on(rival: Rival, tmp_path: Path) -> None:
    """An error is raised here with its words; the next question is answered."""
    file = rivals.stored(str(tmp_path), {"x": np.zeros(1)})
    with pytest.raises(RuntimeError, match="jax: ValueError: no such case"):
        rival.side("two", {"fails": True}, file)
    with pytest.raises(RuntimeError, match="KeyError"):
        rival.ask(time="never begun", count=1)
    assert rival.side("two", {"fails": False}, file).timed(1).wall >= 0


@pytest.mark.parametrize(
    ("code", "kind", "words"),
    [
        ("import no_such_library", Skipped, "No module named 'no_such_library'.*onnx onnxruntime"),
        ("raise ValueError('what now')", RuntimeError, "onnxruntime: ValueError: what now"),
        ("import sys; sys.exit(3)", RuntimeError, "exit code 3"),
    ],
)
def test_a_rival_that_does_not_start_says_why(code: str, kind: type, words: str) -> None:
    """A library that is not installed is no failure; whatever else goes wrong is."""
    with pytest.raises(kind, match=words):
        Rival("onnxruntime", [sys.executable, "-S", "-c", code], 1)


def test_a_rival_knows_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python imports there is its own; it has as many threads as it is told."""
    monkeypatch.setenv("PYTHONPATH", "ours")
    monkeypatch.setenv("PYTHONHOME", sys.prefix)
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    with Rival("jax", [sys.executable, "-c", code], 3) as process:
        assert not {"PYTHONPATH", "PYTHONHOME"} & process.about.keys()
        assert process.about["OMP_NUM_THREADS"] == "3"


def test_what_rivals_use_is_not_the_use_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = load.look()
    if seen is None:
        pytest.skip("the system does not tell")
    monkeypatch.setattr(rivals, "look", lambda: seen)
    used = [SimpleNamespace(processor=seconds) for seconds in (1.5, 2.0)]
    assert together(used) == seen._replace(own=seen.own + 3.5)
    monkeypatch.setattr(rivals, "look", lambda: None)
    assert together(used) is None


@pytest.mark.parametrize(("count", "turns"), [(1, 1), (3, 4)])
def test_turns_after_another_side_begin_with_one_that_does_not_count(
    count: int, turns: int
) -> None:
    made: list[int] = []
    side = Own(lambda: made.append(1))
    before = len(made)
    side.timed(count)
    assert len(made) - before == turns


def test_a_bare_loop_is_measured_though_jax_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row says nothing of JAX; that of JAX says what is wrong. Another fault is both's."""
    asked: list[bool] = []
    times = {name: [Took(1, 1)] for name in (rival_training.OURS, rival_training.BARE)}

    def trained(name: str, shape: Shape, setting: Setting, beside: bool) -> rival_layers.Raced:
        asked.append(beside)
        if beside:
            raise ValueError("it is off")
        return rival_layers.Raced(Race(times, None, True), "fused")

    monkeypatch.setattr(rival_training, "_trained", trained)
    shape = Shape(1, 2, 3)
    with_jax = Setting(MACHINE, rivals=Rivals({"jax": Path("python")}))
    for _ in range(2):
        assert rival_training.against_bare("gru", shape, with_jax).ours == [1]
    assert asked == [True, False]
    with pytest.raises(ValueError, match="it is off"):
        rival_training.against_bare("gru", shape, Setting(MACHINE))


def test_what_is_not_named_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an environment, or without the scripts, the row says what to do, and the command
    ends well.
    """
    with pytest.raises(Skipped, match="install onnx onnxruntime, then --onnxruntime FOLDER"):
        started(Rivals(), "onnxruntime", "onnx_generation.py")
    with pytest.raises(Skipped, match="clone of the repository"):
        started(Rivals({"jax": Path("python")}), "jax", "no_such.py")

    from recurra.bench import suite

    monkeypatch.setattr(suite, "examined", lambda: MACHINE)
    for name in ("RECURRA_JAX", "RECURRA_ONNXRUNTIME"):
        monkeypatch.delenv(name, raising=False)
    out = command("bench", "--rows", "13", "--shapes", "S").tidy(0).out
    assert "lstm / jax.lax.scan at S: not measured: jax is not named: python -m venv" in out


def test_a_python_is_named_by_itself_or_its_environment(tmp_path: Path) -> None:
    """Either is taken; what holds no Python is refused, before anything is measured."""
    assert python_of("--jax", None) is None
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.touch()
    assert python_of("--jax", str(tmp_path)) == python_of("--jax", str(python)) == python
    with pytest.raises(InputError, match="--jax: there is no Python"):
        python_of("--jax", str(tmp_path / "bin"))
    command("bench", "--rows", "13", "--jax", str(tmp_path / "nowhere")).fails(2, "RC080")


@given(
    st.lists(st.floats(-100, 100), min_size=1, max_size=5).filter(
        lambda row: max(map(abs, row)) > 1e-3
    ),
    st.floats(0, 3 * rivals.OFF),
)
def test_two_libraries_agree_within_a_share_of_the_norm(row: list[float], away: float) -> None:
    """What is further away is refused, by the name of the array."""
    ours = np.array(row)
    theirs = ours.copy()
    theirs[0] += away * np.linalg.norm(ours)
    share = np.linalg.norm(theirs - ours) / np.linalg.norm(ours)
    assume(abs(share - rivals.OFF) > 1e-9)  # which rounding would decide
    if share <= rivals.OFF:
        agree("a library", {"x": ours}, {"x": theirs, "more": ours})
    else:
        with pytest.raises(ValueError, match="a library .*: x is"):
            agree("a library", {"x": ours}, {"x": theirs})


@pytest.mark.parametrize("theirs", [{}, {"x": np.zeros(2)}, {"x": np.array([1.0, 1.0, np.nan])}])
def test_what_cannot_be_compared_does_not_agree(theirs: dict[str, np.ndarray]) -> None:
    """An array that is missing, of another shape or not a number is refused."""
    with pytest.raises(ValueError, match="a library .*x"):
        agree("a library", {"x": np.ones(3)}, theirs)


def test_all_sides_have_a_turn_in_each_round() -> None:
    """A short turn is repeated until it takes long enough, and a round goes through all sides."""
    asked = []

    class Timed:
        def __init__(self, name: str, seconds: float) -> None:
            self.name, self.seconds = name, seconds

        def timed(self, count: int) -> Took:
            asked.append((self.name, count))
            return Took(self.seconds, self.seconds / 2)

    sides = {"a": Timed("a", 1.0), "b": Timed("b", 0.25)}
    found = race(sides, [], rounds=2, threads=1, least=1.0)
    assert asked == [("a", 1), ("b", 1), *[("a", 1), ("b", 4)] * 2]
    assert found.seconds("b") == [0.125] * 2 and found.by_processor
    asked.clear()
    assert race(sides, [], rounds=9, threads=2, least=0.6).seconds("b") == [0.25] * rivals.FEW
    run_in = [("a", 1), ("a", 1), ("b", math.ceil(rivals.RUN_IN / 0.25)), ("b", 3)]
    assert asked == [("a", 1), ("b", 1), *run_in * rivals.FEW], "several threads run in first"


def test_the_best_of_the_others_counts() -> None:
    """It is the one whose least is the least; seconds are those of a part of a turn, by both
    clocks.
    """
    times = {"us": [Took(4, 2)], "slow": [Took(8, 8)], "fast": [Took(2, 6)]}
    one = Race(times, 0.5, by_processor=True).finding("us", ["slow", "fast"], per=2)
    assert (one.ours, one.other, one.rival, one.load) == ([1.0], [3.0], "fast", 0.5)
    assert one.processor and one.walls == {"ours": [2.0], "other": [1.0]}
    assert Race(times, 0.5, by_processor=False).finding("us", ["slow", "fast"]).ours == [4]


def test_a_race_is_run_once() -> None:
    """Several rows read the same race; where it failed all of them say so."""
    asked = []
    remembered = Rivals()
    assert [remembered.once("a", lambda: asked.append(1) or 7) for _ in range(2)] == [7, 7]
    for _ in range(2):
        with pytest.raises(KeyError):
            remembered.once("b", lambda: asked.append(2) or {}["no such"])
    assert asked == [1, 2]


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinities")
def test_one_thread_is_held_to_one_core() -> None:
    """All cores are there again afterwards, whatever happens; several threads keep them."""
    before = CORES
    assert os.sched_getaffinity(0) == before, "another test has left it otherwise"
    with pytest.raises(KeyError), held(1):
        assert len(os.sched_getaffinity(0)) == 1
        raise KeyError
    assert os.sched_getaffinity(0) == before
    with held(2):
        assert os.sched_getaffinity(0) == before and torch.get_num_threads() == 2


def test_the_core_with_the_least_to_do_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is what each did in the meantime that counts, and not since the machine began."""
    stat = tmp_path / "stat"
    monkeypatch.setattr(load, "STAT", stat)

    def tell(*ticks: int) -> None:
        lines = [f"cpu{core} {each} 0 0 0 0 0 0 0" for core, each in enumerate(ticks)]
        stat.write_text("\n".join(lines), encoding="ascii")

    tell(1000, 10)
    monkeypatch.setattr(rivals.time, "sleep", lambda seconds: tell(1001, 500))
    assert rivals.quietest({0, 1}) == 0


@pytest.mark.parametrize("kind", [*rival_training.MODULES, "mingru"])
def test_the_bare_loop_trains_the_same_network(kind: str, tmp_path: Path) -> None:
    """Torch's own modules, or the same layers, with the weights of a network give its logits."""
    from recurra.bench.tasks import built

    changes = {"cell.kind": kind, "encoder.size": 8, "cell.hidden_size": 8, "cell.num_layers": 2}
    _, network = built(1 << 12, changes)
    x = torch.arange(24).view(3, 8)
    with torch.no_grad():
        ours, theirs = network(x)[0], rival_training.by_hand(network, kind)(x)[0]
    assert torch.allclose(ours, theirs, atol=1e-5)


BESIDE = {
    library: python_of(f"--{library}", os.environ.get(f"RECURRA_{library.upper()}"))
    for library in rivals.PACKAGES
}
"""The environments that whoever runs the tests has named."""


@pytest.mark.slow
@pytest.mark.skipif(None in BESIDE.values(), reason="RECURRA_JAX or RECURRA_ONNXRUNTIME is unset")
def test_jax_and_onnx_runtime_compute_what_recurra_does() -> None:
    """All forms of all cells, of generation and of training give the same, or nothing is timed."""
    setting = Setting(MACHINE, 1, Rivals({k: v for k, v in BESIDE.items() if v is not None}))
    for name in rival_layers.FORMS:
        assert rival_layers.against_jax(name, True, Shape(3, 17, 8), setting).rival
    for name in ("lstm", "gru", "mingru"):
        assert rival_training.against_jax(name, Shape(3, 17, 8), setting).rival
    sides = {
        "jax": rival_generation.jax_named("whole"),
        "onnxruntime": rival_generation.onnx_named("bound"),
    }
    for library, others in sides.items():
        for sampling in (rival_generation.GREEDY, rival_generation.DRAWING):
            match = rival_generation.Match(library, rival_generation.BLOCK, others, sampling)
            assert match.measure(Shape(4, 50, 16), setting).rival in others
