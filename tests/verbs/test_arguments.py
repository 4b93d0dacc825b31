"""The verbs of Python are as strict as the command line: what is wrong, or would be ignored, is
refused with RC080.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import HELLO, SERIES
from trials import about, write

import recurra
from recurra.errors import InputError, RunError
from recurra.generate import elements
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.run import Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train a run of symbols, one of numbers and one with a clock, and keep the folder and its
    task.
    """
    place = tmp_path_factory.mktemp("made")
    clock = {"encoder": {"kind": "calendar", "periods": [4.0]}}
    one = {"training.steps": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECURRA_CACHE", str(place / "cache"))
        runs = {
            name: recurra.run(write(place / name, text), one | changes, runs=place / name / "runs")
            for name, text, changes in (
                ("text", HELLO, {}),
                ("drawn", HELLO, {"generation.temperature": 1.0}),
                ("number", SERIES, {}),
                ("clock", SERIES, clock),
            )
        }
    return SimpleNamespace(**runs, task=place / "text" / "task.toml", place=place)


GENERATE: dict[str, list[Any]] = {
    "streams": [0, -1, "3", True, 1.5, None, b"1", [1]],
    "seed": [-1, 1 << 63, "3", True, 1.5],
    "position": [-1, "3", True, 1.5],
    "length": [-1, "3", True, 1.5],
    "temperature": [-1.0, "1", True, float("nan"), float("inf")],
    "top_k": [-1, True, 1.5],
    "top_p": [0.0, 1.5, True],
    "stop": ["l", [""], ["\ud83d"], [1]],
    "prompt": [5, b"h", [], "", ["h"], [1.0], {"h": 1}, "h\ud83d"],
    "temprature": [1.0],
}
IGNORED: dict[str, tuple[str, dict[str, Any]]] = {
    "streams of numbers": ("number", {"streams": 3}),
    "a seed of numbers": ("number", {"seed": 3}),
    "a temperature of numbers": ("number", {"temperature": 1.0}),
    "a stop of numbers": ("number", {"stop": ["1"]}),
    "a place without a clock": ("number", {"prompt": [1.0, 2.0], "position": 3}),
    "a place of symbols without a clock": ("text", {"position": 3}),
    "a place without a prompt": ("clock", {"position": 3}),
    "a seed that draws nothing": ("text", {"seed": 3}),
    "a seed of the likeliest": ("drawn", {"seed": 0, "temperature": 0.0}),
    "streams that are all the same": ("text", {"streams": 3}),
    "streams of the likeliest": ("drawn", {"streams": 2, "temperature": 0.0}),
}
NUMBERS = [["1", "2"], [True], [[1.0, 2.0], [3.0]], 5, "1,2", [1.0, None], [1j], {"a": 1},
    [float("nan")], [1e300],
           [10**400], [[[1.0]]], []]  # fmt: skip


def refused(call: Callable[[], Any]) -> None:
    with pytest.raises(InputError) as caught:
        call()
    assert {problem.code for problem in caught.value.problems} == {"RC080"}
    assert "Traceback" not in str(caught.value) and "inhomogeneous" not in str(caught.value)


def test_every_wrong_argument_of_generate_is_refused(made: Any) -> None:
    """A text is no number, True is not 1, and a range ends where it ends: before the first step."""
    for name, values in GENERATE.items():
        for value in values:
            refused(lambda: made.text.generate(**{name: value}))  # noqa: B023


def test_a_sampling_is_as_strict_as_generate(made: Any) -> None:
    """What generate refuses cannot be made into a Sampling; a task may still keep what waits."""
    rules = {"temperature", "top_k", "top_p", "min_p", "repetition_penalty"}
    wrong = {**GENERATE, "min_p": [-0.1, 1.0, "0"], "repetition_penalty": [0.0, True]}
    for name in rules:
        for value in wrong[name]:
            refused(lambda: Sampling(**{"temperature": 1.0, name: value}))  # noqa: B023
    for name, value in (("top_k", 2), ("top_p", 0.5), ("min_p", 0.1)):
        refused(lambda: Sampling(**{name: value}))  # noqa: B023
    rule = Sampling(temperature=np.float64(0.5), top_k=np.int64(1))
    session = made.text.session().feed("hel")
    assert session.copy().draw(rule) == session.copy().draw(Sampling())
    for value in (None, 1.0, "greedy", {"temperature": 1.0}):
        refused(lambda: session.draw(value))  # noqa: B023
    waiting = made.drawn.task.generation.model_copy(update={"temperature": 0.0, "top_k": 3})
    assert elements.sampling(waiting) == Sampling()


def test_a_session_is_fed_ids_that_there_are(made: Any) -> None:
    """Ids read what their symbols read; what is none is refused, and nothing has been read."""
    run: Run = made.text
    ids = run.vocabulary.encode("hel")
    for listed in (ids, ids.tolist(), ids.astype(np.uint8)):
        assert torch.equal(run.session().feed_ids(listed).output, run.session().feed("hel").output)
    session = run.session().feed("he")
    for wrong in ([run.vocabulary.size], [-1], [0.5], [[0, 1]], "hel", [None], [True], 3):
        refused(lambda: session.feed_ids(wrong))  # noqa: B023
    for wrong in ([["a"]], [[1.0, 2.0]], [float("nan")], 3.0):
        refused(lambda: made.number.session().feed_ids(wrong))  # noqa: B023
    assert session.position == 2 and session.feed_ids([]).position == 2


@pytest.mark.parametrize(
    "rows", ["hel", b"hel", 3, {"hel": 1}, {"hel"}, SimpleNamespace(columns=["hel"])]
)
def test_rows_that_are_no_list_of_sequences_are_refused(rows: Any, made: Any) -> None:
    """A text has characters, a table names, and a set no order: none of them is asked about."""
    refused(lambda: made.text.predict(rows))


def test_a_run_stands_for_its_folder(made: Any) -> None:
    """Each verb that takes the folder of a run takes the run, as the one that made it."""
    run: Run = made.text
    opened = recurra.load(run, "last")
    assert opened.path == run.path == recurra.load(opened).path
    assert recurra.resume(opened).path == run.path
    started = recurra.run(made.task, start=opened, runs=made.place / "started")
    assert started.folder.records.origin() is not None


@pytest.mark.parametrize("what", IGNORED)
def test_what_would_be_ignored_is_refused(what: str, made: Any) -> None:
    """An argument that changes nothing here says so, rather than be taken for done."""
    kind, arguments = IGNORED[what]
    refused(lambda: getattr(made, kind).generate(**arguments))


def test_what_decides_a_draw_is_taken_where_one_is_made(made: Any) -> None:
    """Seed and streams count at a temperature above 0, whether the task or the caller names it."""
    for run, sampling in ((made.drawn, {}), (made.text, {"temperature": 1.0})):
        assert list(run.generate(seed=3, streams=1, length=9, **sampling))
        assert {len(texts) for texts in run.generate(seed=3, streams=3, length=9, **sampling)} == {
            3
        }
    assert list(made.text.generate(streams=1, length=3))


def test_a_session_refuses_what_its_run_has_no_use_for(made: Any) -> None:
    """A position without a clock, chances of numbers, a draw of numbers and a forecast of symbols
    are no values.
    """
    for run in (made.text, made.number):
        refused(lambda: run.session(position=5))  # noqa: B023
        assert run.session(position=0).position == 0
    assert made.clock.session(position=5).position == 5
    symbols, numbers = made.text.session().feed("hel"), made.number.session().feed([1.0, 2.0])
    for ask in (numbers.chances, lambda: numbers.draw(Sampling()), symbols.forecast_step):
        refused(ask)
    assert numbers.position == 2 and symbols.position == 3
    assert len(numbers.forecast_step()) == 1 and float(symbols.chances().sum()) == pytest.approx(1)


def test_a_clock_takes_a_place(made: Any) -> None:
    """Where a clock reads it, the place of a prompt is taken, and changes the forecast."""
    early, late = (list(made.clock.generate([1.0, 2.0], position=at)) for at in (np.int64(0), 2))
    assert early != late


def test_prompts_of_numbers_are_numbers(made: Any) -> None:
    """Texts, flags, gaps and steps of other widths are refused in words, and NumPy's numbers are
    taken.
    """
    for prompt in NUMBERS:
        refused(lambda: made.number.generate(prompt))  # noqa: B023
    for prompt in (
        [1, 2],
        [[1.0], [2.0]],
        np.array([1, 2], np.int8),
        np.float32([1, 2]),
        (1.0, 2.0),
    ):
        assert len(list(made.number.generate(prompt, 2))) == 2


@pytest.mark.parametrize("power", [0, 20, 36, 38, 39, 40, 60, 139])
def test_what_follows_a_prompt_is_finite(power: int, made: Any) -> None:
    """However large a number of a prompt is, it is refused, or finite numbers go on from it."""
    prompt = [1.0, -(10.0**power)]
    for read in (
        made.number.generate,
        made.clock.generate,
        lambda given: made.number.session().feed(given),
    ):
        try:
            followed = read(prompt)
        except InputError as error:
            assert power > 38 and error.problems[0].code == "RC080" and "step 1" in str(error)  # noqa: PT017
            continue
        assert power < 40
        if isinstance(followed, Session):
            assert np.isfinite(followed.forecast_step()).all()
        else:
            assert np.isfinite(list(followed)).all()


def test_a_forecast_that_is_not_finite_is_an_error(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither what the network gives nor what it means in the data's units may be infinite or no
    number.
    """
    session = made.number.session().feed([1.0])
    for value in (float("nan"), float("inf")):
        broken = session.copy()
        broken.output = session.output * value
        with pytest.raises(RunError, match="not finite"):
            broken.forecast_step()
    monkeypatch.setattr(made.number.vocabulary, "decode", lambda ids: np.array([np.inf]))
    with pytest.raises(RunError, match="beyond all numbers"):
        session.forecast_step()


def test_sessions_are_as_strict(made: Any) -> None:
    """A session of numbers is one stream, and its arguments are whole numbers."""
    run: Run = made.text
    for name in ("streams", "seed", "position"):
        for value in ("3", True, 1.5, -1):
            refused(lambda: run.session(**{name: value}))  # noqa: B023
    refused(lambda: made.number.session(streams=2))
    refused(lambda: made.number.session(seed=2))
    refused(lambda: run.session().feed("h\ud83d"))
    assert run.session(seed=np.int64(3), streams=np.int8(2)).streams == 2


def test_whole_numbers_end_somewhere(made: Any) -> None:
    """What no tensor can count is refused by each argument that counts, and the largest is said."""
    for name in ("length", "top_k", "streams", "seed"):
        refused(lambda: made.text.generate("h", **{"temperature": 1.0, name: 10**30}))  # noqa: B023
        with pytest.raises(InputError, match=r"at most \d+|to \d+"):
            made.text.generate("h", **{"temperature": 1.0, name: 1 << 63})
    for at in (10**30, 1 << 63, 10**15 + 1):
        refused(lambda: made.clock.generate([1.0, 2.0], position=at))  # noqa: B023
        refused(lambda: made.clock.session(position=at))  # noqa: B023
    assert len(list(made.clock.generate([1.0, 2.0], 2, position=10**15))) == 2


def test_a_wrong_setting_is_shown_with_what_is_allowed(made: Any) -> None:
    """The words are those of a task file: what came, and what may."""
    for name, value in (
        ("temperature", -1.0),
        ("top_p", 2.0),
        ("stop", [""]),
        ("length", "3"),
        ("top_k", 1.5),
    ):
        with pytest.raises(InputError) as caught:
            made.text.generate("h", **{name: value})
        (problem,) = caught.value.problems
        assert problem.key.startswith(name) and problem.got == repr(value) and problem.allowed


@pytest.mark.parametrize("value", ["", "Test", -1, True, ["test"], {}, b"test"])
def test_splits_and_checkpoints_are_named(value: Any, made: Any) -> None:
    """Nothing but one of the names is one of them, not even what is empty."""
    refused(lambda: made.text.evaluate(value))
    refused(lambda: recurra.load(made.text.path, value))


@pytest.mark.parametrize("value", [3, "x", object(), {"started": 1}, recurra])
def test_an_observer_can_watch(value: Any, made: Any) -> None:
    """What lacks a method of those that are called is refused at once, before there is a run."""
    refused(lambda: recurra.run(made.task, runs=made.place / "none", observer=value))
    refused(lambda: recurra.resume(made.text.path, observer=value))
    assert not (made.place / "none").exists()


@pytest.mark.parametrize("value", ["seed=1", b"seed=1", 5, [5], [None], True])
def test_overrides_are_a_table_or_texts(value: Any, made: Any) -> None:
    """One text alone is not a list of its letters."""
    refused(lambda: recurra.check(made.task, value))
    refused(lambda: recurra.run(made.task, value, runs=made.place / "none"))


@pytest.mark.parametrize("value", [None, 5, b"x", ["x"], "nul\0"])
def test_paths_are_paths(value: Any, made: Any) -> None:
    """What names no file is refused by each verb that takes a path."""
    for verb in (recurra.check, recurra.run, recurra.resume, recurra.load):
        refused(lambda: verb(value))  # noqa: B023
    refused(lambda: recurra.run(made.task, runs=value))


def test_a_folder_that_no_file_can_name_is_refused_at_once(made: Any) -> None:
    """Bytes that are no UTF-8 could not be written into the run's own files, which would be known
    after training.
    """
    refused(lambda: recurra.run(made.task, runs=made.place / "\udcff"))
    assert not (made.place / "\udcff").exists()


def test_a_task_that_the_system_cannot_name_is_refused_at_once(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the names of files are no UTF-8, a task whose name they cannot hold is told before it
    trains.
    """
    monkeypatch.setattr("os.fsencode", lambda name: str(name).encode("latin-1"))
    refused(lambda: recurra.run(made.task, {"name": "日本"}, runs=made.place / "latin"))
    assert not (made.place / "latin").exists()


HALF = "a\ud83d"


@pytest.mark.parametrize(
    "key",
    ["source.text", "name", "generation.prompt", "generation.stop", "expect.generated", "cell.kind",
        "training.monitor",
     "plugins.files", "training.optimizer", "device.kind"],
)  # fmt: skip
def test_half_a_pair_is_refused_in_every_key(key: str, made: Any) -> None:
    """A dict from Python can hold what no file can: it is told with its key, before anything else
    is done.
    """
    value: Any = [HALF] if key in ("generation.stop", "plugins.files") else HALF
    value = {"kind": "adam", HALF: 1} if key == "training.optimizer" else value
    with pytest.raises(InputError) as caught:
        recurra.check(made.task, {key: value})
    assert caught.value.problems[0].key.startswith(key) and "U+D83D" in str(caught.value)


def test_a_folder_of_data_that_no_file_can_name_is_refused(tmp_path: Path) -> None:
    """A task in a folder whose name is not UTF-8 is refused where its data would have to be written
    down.
    """
    folder = tmp_path / "\udcff"
    try:
        task = write(folder, about(HELLO, "text", path="word.txt"))
    except OSError:
        pytest.skip("this system takes UTF-8 alone")
    (folder / "word.txt").write_text("hello")
    with pytest.raises(InputError, match="source.path"):
        recurra.check(task)
