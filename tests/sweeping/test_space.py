"""Spaces that are wrong, each told at its place before there is any trial; what one draws from."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trials import PROSE, write

import recurra
from recurra.errors import InputError
from recurra.sweeping.space import read_space

samplers = pytest.importorskip("recurra.sweeping.samplers", reason="optuna", exc_type=ImportError)

WRONG = {
    "cell.hiden_size = [3, 4]": ("2:1", "RC011", "did you mean: hidden_size"),
    "cel.hidden_size = [3, 4]": ("2:1", "RC011", "did you mean: cell"),
    "cell.hidden_size = { low = 5, high = 5 }": ("2:31", "RC014", "the range is empty"),
    "cell.hidden_size = { low = 9, high = 5 }": ("2:31", "RC014", "5 is not above 9"),
    "training.optimizer.lr = { low = 0, high = 1, log = true }": ("2:27", "RC014", "above 0"),
    "training.optimizer.lr = { low = 0.0, high = inf }": ("2:38", "RC013", "high"),
    'cell.hidden_size = { low = 1, high = "9" }': ("2:31", "RC012", "wrong type"),
    "cell.hidden_size = { low = 1, high = 9, step = 20 }": ("2:41", "RC014", "wider"),
    "cell.hidden_size = { low = 1, high = 9, lag = 2 }": ("2:41", "RC011", "log"),
    "cell.hidden_size = { low = 1.5, high = 9.0 }": ("2:1", "RC012", "an integer"),
    "cell.hidden_size = { low = 0, high = 9 }": ("2:1", "RC013", "at least 1"),
    "cell.hidden_size = 5": ("2:1", "RC012", "nothing to vary"),
    "": ("1:1", "RC013", "varies no key"),
    "cell.hidden_size = []": ("2:1", "RC013", "0 values"),
    "cell.hidden_size = [5]": ("2:1", "RC013", "no choice"),
    "cell.hidden_size = [5, 5]": ("2:1", "RC013", "twice"),
    'cell.hidden_size = [5, "six"]': ("2:1", "RC012", '"six"'),
    'cell.kind = ["gru", "lstn"]': ("2:1", "RC020", "lstm"),
    'cell.kind = ["gru", "lstm"]\ncell.forget_bias = [0.0, 1.0]': ("3:1", "RC011", "when"),
    "cell.forget_bias = { choices = [0.0, 1.0], when = { cell.kind = 1 } }": (
        "2:44",
        "RC013",
        "decides nothing",
    ),
    "training.schedule.patience = [1, 2]": ("2:1", "RC010", "kind is missing"),
    "seed = [1, 2]": ("2:1", "RC013", "seeds"),
    "sequence.split = [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]]": ("2:1", "RC013", "other data"),
    'source.text = ["a", "b"]': ("2:1", "RC013", "other data"),
    'loss.kind = ["cross_entropy", "focal"]': ("2:1", "RC014", "nats"),
}


@pytest.mark.parametrize(("line", "told"), WRONG.items(), ids=range(len(WRONG)))
def test_what_is_wrong_is_told_at_its_place(
    line: str, told: tuple[str, str, str], tmp_path: Path
) -> None:
    """With file, line and column, what is allowed or what to do; and nothing is written."""
    space = write(tmp_path, f"[space]\n{line}\n", "space.toml")
    with pytest.raises(InputError) as error:
        recurra.sweep(write(tmp_path, PROSE), space, sweeps=tmp_path / "sweeps")
    place, code, words = told
    text = str(error.value)
    assert f"{space}:{place} " in text and f"[{code}]" in text and words in text, text
    assert "override" not in text and '"."' not in text, text
    assert not (tmp_path / "sweeps").exists()


@pytest.mark.parametrize(
    ("head", "place", "words"),
    [
        ("trails = 3", "1:1", "did you mean: trials"),
        ("trials = 0", "1:1", "at least 1"),
        ('sampler = { kind = "tpa" }', "1:13", "did you mean: tpe"),
        ('sampler = { kind = "random", startup = 3 }', "1:30", "startup"),
        ('pruner = { kind = "wilcoxon" }\nseeds = 2', "2:1", "3 of them"),
        ('metrics = ["nats", "loss"]\npruner = { kind = "asha" }', "2:1", "several metrics"),
        ('metrics = ["nat"]', "1:1", "did you mean: nats"),
        ('metrics = ["nats", "nats"]', "1:1", "twice"),
        ('metrics = ["seconds"]\npruner = { kind = "asha" }', "2:1", "no figure of validation"),
        ('sampler = { kind = "grid" }', "3:1", "without number"),
    ],
)
def test_what_is_wrong_with_the_rest_is_told_as_well(
    head: str, place: str, words: str, tmp_path: Path
) -> None:
    """Samplers, pruners and metrics are checked as a task is."""
    text = f"{head}\n[space]\ntraining.optimizer.lr = {{ low = 0.1, high = 1.0 }}\n"
    space = write(tmp_path, text, "space.toml")
    with pytest.raises(InputError) as error:
        recurra.sweep(write(tmp_path, PROSE), space)
    assert f"{space}:{place} " in str(error.value) and words in str(error.value), str(error.value)


def test_all_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """One error has all keys."""
    lines = "[space]\ncell.hiden_size = [3, 4]\nseed = [1, 2]\ntraining.batch_size = [0, 1]\n"
    space = write(tmp_path, lines, "space.toml")
    with pytest.raises(InputError) as error:
        recurra.sweep(write(tmp_path, PROSE), space)
    assert [problem.place.line for problem in error.value.problems if problem.place] == [2, 3, 4]


def test_a_task_without_validation_is_refused(tmp_path: Path) -> None:
    """Nothing would tell which trial is best."""
    task = write(tmp_path, PROSE.replace("[0.7, 0.2, 0.1]", "[0.9, 0.0, 0.1]"))
    with pytest.raises(InputError, match="this task has none"):
        recurra.sweep(task, {"space": {"training.batch_size": [1, 2]}}, sweeps=tmp_path / "s")
    assert not (tmp_path / "s").exists()


RANGES = st.one_of(
    st.tuples(st.integers(-50, 50), st.integers(1, 40), st.none() | st.integers(1, 60)).map(
        lambda t: {"low": t[0], "high": t[0] + t[1], "step": t[2] and min(t[2], t[1])}
    ),
    st.tuples(st.floats(-5, 5), st.floats(0.1, 9), st.none() | st.floats(0.01, 0.1)).map(
        lambda t: {"low": t[0], "high": t[0] + t[1], "step": t[2]}
    ),
    st.tuples(st.integers(1, 50), st.integers(1, 90)).map(
        lambda t: {"low": t[0], "high": t[0] + t[1], "log": True}
    ),
    st.tuples(st.floats(1e-6, 1), st.floats(1.5, 1e4)).map(
        lambda t: {"low": t[0], "high": t[0] * t[1], "log": True}
    ),
)


@given(table=RANGES, share=st.floats(0, 1, exclude_max=True))
@settings(max_examples=30)
def test_what_is_drawn_lies_in_its_range_as_optuna_sees_it(
    table: dict[str, Any], share: float
) -> None:
    """The ends are reached, every number between them that has its turn, and nothing else."""
    plain = {key: value for key, value in table.items() if value is not None}
    (domain,) = read_space({"space": {"a.b": plain}}).domains
    known = samplers.distribution(domain)
    for at in (0.0, share, math.nextafter(1, 0)):
        value = domain.at_share(at)
        assert table["low"] <= value <= table["high"]
        inside = samplers.internal(domain, value)
        assert known._contains(known.to_internal_repr(inside))
        assert samplers.external(domain, inside) == value
    assert domain.at_share(0.0) == table["low"]
    if isinstance(table["low"], int):
        shares = [number / 1000 for number in range(1000)]
        every = {domain.at_share(at) for at in shares}
        assert len(every) == domain.count and all(isinstance(each, int) for each in every)


def test_a_sequence_leaves_no_gaps() -> None:
    """Of 16 points of a scrambled Sobol sequence each sixteenth of each key has one."""
    tables = {"a": {"low": 0.0, "high": 1.0}, "b": {"low": 1.0, "high": 65536.0, "log": True}}
    spaced = read_space({"sampler": {"kind": "qmc"}, "seed": 3, "space": tables})
    sampler = samplers.Counted(spaced.space, spaced.domains)
    points = [sampler.point(number) for number in range(16)]
    assert sorted(int(16 * point["a"]) for point in points) == list(range(16))
    assert sorted(int(math.log2(point["b"])) for point in points) == list(range(16))
