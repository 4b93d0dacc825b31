"""Reading, drawing, copying, saving: what a session says depends on what it has read, and on
nothing else.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import SERIES
from hypothesis import given, settings
from hypothesis import strategies as st
from terminal import world
from trials import PROSE, about, write

import recurra
from recurra.errors import InputError
from recurra.generate import loop
from recurra.generate import session as sessions
from recurra.generate.sampling import Sampling
from recurra.generate.session import Session
from recurra.job.run import Run
from recurra.model.stepper import AFTER
from recurra_vocabularies.byte import Byte, ByteOptions
from recurra_vocabularies.category import Category, CategoryOptions
from recurra_vocabularies.character import Character, CharacterOptions


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Train each kind of run once."""
    place = tmp_path_factory.mktemp("made")
    tasks = {
        "text": (PROSE, {"cell.kind": "lstm", "cell.num_layers": 2}),
        "byte": (
            about(PROSE, "inline", text="tëxt ☃ 🦀 ünd mehr ☃☃ the 🦀"),
            {"vocabulary.kind": "byte"},
        ),
        "token": (
            about(PROSE, "inline", tokens=["up", "down", "up", "left", "right"] * 4),
            {
                "vocabulary.kind": "category",
                "generation.prompt": "up down",
                "sequence.split": [1.0, 0.0, 0.0],
            },
        ),
        "number": (SERIES, {}),
        "pair": (
            about(SERIES, "inline", values=[[float(i), float(i * i % 7)] for i in range(20)]),
            {"vocabulary.scale": "minmax"},
        ),
    }
    return SimpleNamespace(**{
        name: recurra.run(write(place / name, text), {"device.kind": "cpu", **changes},
            runs=place / name / "runs")
        for name, (text, changes) in tasks.items()
    })  # fmt: skip


SYMBOLS = ["text", "byte", "token"]


@given(data=st.data(), text=st.text("abcdeghlnort ,.", max_size=30))
@settings(max_examples=15, deadline=None)
def test_portions_do_not_matter(data: st.DataObject, text: str, made: Any) -> None:
    """A text read whole, in portions or letter by letter makes the same next distribution."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    parts = [text[a:b] for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    whole, portions = made.text.session().feed("t" + text), made.text.session().feed("t")
    for part in parts:
        portions.feed(part)
    torch.testing.assert_close(whole.chances(), portions.chances(), rtol=1e-4, atol=1e-6)
    assert whole.position == portions.position == len(text) + 1
    assert torch.equal(whole.seen, portions.seen)


def test_a_prompt_longer_than_a_call_is_read_whole(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many steps go through the network in one call, all of a prompt is read."""
    whole = made.text.session().feed("the cat sat on the mat").chances()
    monkeypatch.setattr(sessions, "CHUNK", 3)
    portions = made.text.session().feed("the cat sat on the mat").chances()
    torch.testing.assert_close(portions, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", SYMBOLS)
def test_a_session_is_what_generation_does(name: str, made: Any) -> None:
    """Generating is feeding the prompt and drawing step by step, from the same seed."""
    run: Run = getattr(made, name)
    session = run.session(seed=5).feed(run.task.generation.prompt)
    text_of = run.vocabulary.streamer()
    drawn = "".join(text_of(int(session.draw(Sampling(temperature=1.0))[0])) for _ in range(30))
    assert "".join(run.generate(length=30, seed=5, temperature=1.0)) == drawn


@pytest.mark.parametrize("name", SYMBOLS)
def test_the_same_seed_gives_the_same_text(name: str, made: Any) -> None:
    """One seed, one text; other seeds, others."""
    run = getattr(made, name)
    texts = ["".join(run.generate(length=40, seed=seed, temperature=1.0)) for seed in (1, 1, 2, 3)]
    assert texts[0] == texts[1] and len(set(texts)) == 3


@pytest.mark.parametrize("name", SYMBOLS)
def test_greedy_streams_are_greedy_single_streams(name: str, made: Any) -> None:
    """Side by side, greedy streams all say what one of them says alone; drawn ones differ from each
    other.
    """
    run = getattr(made, name)
    alone = "".join(run.generate(length=12, temperature=0.0))
    for temperature, kinds in ((0.0, {alone}), (1.5, None)):
        session = run.session(streams=4).feed(run.prompt())
        steps = list(loop.symbols(session, 12, Sampling(temperature=temperature), []))
        texts = ["".join(parts) for parts in zip(*steps, strict=True)]
        assert len(texts) == 4
        assert set(texts) == kinds if kinds else len(set(texts)) > 1


def test_a_copy_goes_its_own_way(made: Any) -> None:
    """A copy draws what the original would have drawn, and neither disturbs the other."""
    rule = Sampling(temperature=1.0)
    session = made.text.session(seed=3).feed("the ")
    copy, untouched = session.copy(), session.copy()
    read = session.seen.clone()
    ahead = [int(session.draw(rule)[0]) for _ in range(20)]
    assert [int(copy.draw(rule)[0]) for _ in range(20)] == ahead
    assert untouched.position == 4 and session.position == 24
    assert torch.equal(untouched.seen, read) and not torch.equal(session.seen, read)
    assert [int(untouched.draw(rule)[0]) for _ in range(20)] == ahead
    assert torch.equal(session.seen, copy.seen)


def test_a_session_does_not_grow(made: Any) -> None:
    """What a session holds is as large after a thousand symbols as after one."""

    def size(session: Session) -> int:
        tensors = [field for state in session.states for field in state] + [
            session.output,
            session.seen,
        ]
        return sum(
            {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values()
        )

    session = made.text.session().feed("t")
    small = size(session)
    session.feed("the cat " * 200)
    assert size(session) == small
    for _ in range(2 * AFTER):  # before there is a kernel for its steps, and then
        session.draw(Sampling())
    assert size(session) == small
    assert session.position == 1 + 1600 + 2 * AFTER


CHILD = """\
import sys, recurra
from recurra.generate.sampling import Sampling
run = recurra.load(sys.argv[1])
session = run.session(seed=99).restore(sys.argv[2])
rule = Sampling(temperature=1.0)
print(session.position, [int(i) for _ in range(25) for i in session.draw(rule)])
"""


def test_a_saved_session_goes_on_in_another_process(made: Any, tmp_path: Path) -> None:
    """Saved, and restored in a new process over the same run, a session draws what it would have
    drawn.
    """
    run, rule = recurra.load(made.text.path), Sampling(temperature=1.0)
    session = run.session(seed=3, streams=2).feed("the ")
    session.draw(rule)
    session.save(tmp_path / "state")
    ahead = [int(i) for _ in range(25) for i in session.draw(rule)]
    line = [sys.executable, "-c", CHILD, str(run.path), str(tmp_path / "state")]
    done = subprocess.run(
        line, capture_output=True, text=True, check=True, timeout=120, env=world()
    )
    assert done.stdout.strip() == f"5 {ahead}"


@pytest.mark.parametrize("name", ["text", "number"])
def test_a_session_that_has_read_nothing_is_saved_too(name: str, made: Any, tmp_path: Path) -> None:
    """A new session round-trips, and still says that nothing was read."""
    run = getattr(made, name)
    run.session().save(tmp_path / "state")
    restored = run.session().restore(tmp_path / "state")
    with pytest.raises(InputError, match="nothing has been read"):
        restored.expected()


def test_a_state_of_another_run_is_refused(made: Any, tmp_path: Path) -> None:
    """A state is nothing to other weights, another vocabulary or a damaged file (RC054)."""
    session = made.text.session().feed("the ")
    session.save(tmp_path / "state")
    (tmp_path / "junk").write_bytes(b"junk")
    raw = (tmp_path / "state").read_bytes()
    (tmp_path / "short").write_bytes(raw[: len(raw) // 2])
    cases = [
        (made.byte, "state"),
        (made.number, "state"),
        *((made.text, n) for n in ("junk", "short", "none")),
    ]
    for run, name in [*cases, (made.text, ".")]:
        other = run.session()
        with pytest.raises(InputError) as caught:
            other.restore(tmp_path / name)
        assert caught.value.problems[0].code == "RC054"
        assert other.position == 0 and other.output is None, "a refused state changes nothing"


@given(ids=st.lists(st.integers(0, 255), max_size=60))
@settings(max_examples=200, deadline=None)
def test_bytes_never_give_broken_text(ids: list[int], made: Any) -> None:
    """Whatever bytes a network draws, the pieces are text that UTF-8 can hold, and whole characters
    come whole.
    """
    text_of = made.byte.vocabulary.streamer()
    pieces = [text_of(index) for index in ids]
    "".join(pieces).encode("utf-8")
    assert bytes(ids).decode("utf-8", "replace").startswith("".join(pieces))


def test_bytes_of_a_character_wait_for_each_other(made: Any) -> None:
    """A snowman of three bytes comes with its third."""
    text_of = made.byte.vocabulary.streamer()
    assert [text_of(index) for index in "a☃b".encode()] == ["a", "", "", "☃", "b"]


class Parrot:
    """A session that says a given text, whatever it is asked."""

    streams = 1

    def __init__(self, run: Any, text: str) -> None:
        self.vocabulary = run.vocabulary
        self.ids = list(run.vocabulary.encode(text))

    def draw_many(self, length: int, sampling: Sampling, stop: Any) -> Any:
        for _ in range(length):
            yield np.array([self.ids.pop(0)])


@given(
    text=st.text("abc", min_size=1, max_size=25),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
)
@settings(max_examples=300, deadline=None)
def test_a_stop_text_ends_before_it_begins(text: str, stops: list[str], made: Any) -> None:
    """The joined pieces are the text up to where the first stop text to be complete begins; without
    one, all of it.
    """
    known = {letter: "the"[i] for i, letter in enumerate("abc")}
    said = "".join(known[letter] for letter in text)
    stops = ["".join(known[letter] for letter in stop) for stop in stops]
    ends = [said[:n] for n in range(1, len(said) + 1) if any(stop in said[:n] for stop in stops)]
    wanted = said
    if ends:
        wanted = ends[0][: min(at for at in (ends[0].find(stop) for stop in stops) if at >= 0)]
    parrot: Any = Parrot(made.text, said)
    pieces = [parts[0] for parts in loop.symbols(parrot, len(said), Sampling(), stops)]
    assert "".join(pieces) == wanted
    assert not any(stop in "".join(pieces) for stop in stops)
    assert len(parrot.ids) == len(said) - (len(ends[0]) if ends else len(said)), (
        "nothing is drawn after the stop"
    )


@pytest.mark.parametrize(
    ("vocabulary", "said"),
    [
        (Character(CharacterOptions()), "a\ud800ba\ud800\ud800a"),
        (Byte(ByteOptions()), "a☃b☃☃é☃"),
        (Category(CategoryOptions()), ["a", "b b", "a", "a", "b b"]),
    ],
    ids=["characters", "bytes", "tokens"],
)
def test_what_comes_again_has_the_text_that_it_had(vocabulary: Any, said: Any) -> None:
    """Symbol by symbol it is what the vocabulary gives for one after the other; half of a surrogate
    pair is U+FFFD each time.
    """
    vocabulary.fit([said])
    parrot: Any = Parrot(SimpleNamespace(vocabulary=vocabulary), said)
    text_of, ids = vocabulary.streamer(), list(parrot.ids)
    wanted = [text_of(int(index)).replace("\ud800", "\ufffd") for index in ids]
    pieces = [parts[0] for parts in loop.symbols(parrot, len(ids), Sampling(), [])]
    assert pieces == [*wanted, ""]


def test_certain_text_is_not_held_back(made: Any) -> None:
    """Only what may begin a stop text waits; the rest comes at once, and what waited in vain comes
    at the end.
    """
    parrot: Any = Parrot(made.text, "that th")
    pieces = [parts[0] for parts in loop.symbols(parrot, 7, Sampling(), ["the"])]
    assert pieces == ["", "", "tha", "", "t ", "", "", "th"]


def test_an_empty_stop_text_stops_nothing(made: Any) -> None:
    """A stop text without a letter is left out."""
    parrot: Any = Parrot(made.text, "the")
    assert "".join(p[0] for p in loop.symbols(parrot, 3, Sampling(), [""])) == "the"


@pytest.mark.parametrize("name", ["number", "pair"])
def test_a_forecast_is_scaled_fed_back_and_scaled_again(name: str, made: Any) -> None:
    """Numbers are read in the data's units, fed back in the network's, and given in the data's."""
    run = getattr(made, name)
    prompt = [[3.0, 4.0], [5.0, 6.0]] if name == "pair" else [3.0, 5.0]
    scaled = [
        np.asarray(run.vocabulary.encode(np.array([row]).reshape(1, -1)), np.float32)[0]
        for row in prompt
    ]
    states, wanted = None, []
    for _ in range(6):
        with torch.no_grad():
            for row in scaled:
                output, states = run.network(torch.from_numpy(row)[None, None], states)
        scaled = [output[0, 0].numpy()]
        wanted.append(run.vocabulary.decode(scaled[0].astype(np.float64)).tolist())
    found = [value if isinstance(value, list) else [value] for value in run.generate(prompt, 6)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)


@pytest.mark.parametrize("run, prompt, words", [
    ("text", "the Q", "'Q' (U+0051) at position 4"), ("token", "up sideways", "'sideways'"),
    ("text", "", "nothing has been read"), ("token", "  ", "nothing has been read"),
    ("number", [], "nothing has been read"), ("pair", [], "nothing has been read"),
    ("text", [1.0, 2.0], "must be text"), ("text", ["t", "h"], "must be text"),
    ("token", [1.0], "must be text"),
    ("text", 7, "must be text"), ("number", "7", "a list of them"),
    ("number", ["a"], "list of numbers"),
    ("number", [[1.0, 2.0]], "takes 1 numbers, but each of the prompt has 2"),
    ("pair", [1.0, 2.0], "takes 2 numbers, but each of the prompt has 1"),
    ("pair", [[1.0, 2.0], [3.0]], "list of numbers, 2 a step"),
    ("pair", [[[1.0, 2.0]]], "takes 2 numbers"),
    ("number", [1.0, float("nan")], "not finite"), ("pair", [[1.0, float("inf")]], "not finite"),
    ("number", {"a": 1}, "list of numbers"),
])  # fmt: skip
def test_a_prompt_that_cannot_be_read_is_told_before_the_first_step(
    run: str, prompt: Any, words: str, made: Any
) -> None:
    """Wrong symbols, kinds, widths and numbers are errors of the input, raised by `generate`
    itself.
    """
    with pytest.raises(InputError) as caught:
        getattr(made, run).generate(prompt, 3)
    assert words in str(caught.value)
    assert caught.value.problems[0].code == ("RC043" if "'" in words else "RC080")


@pytest.mark.parametrize("text, prompt", [
    (PROSE, "Q"), (PROSE, ""), (PROSE, ["t"]), (PROSE, [1.0]), (SERIES, "7"),
    (SERIES, [[1.0, 2.0]]), (SERIES, []),
])  # fmt: skip
def test_a_tasks_prompt_is_checked_before_training(text: str, prompt: Any, tmp_path: Path) -> None:
    """What `generate` would refuse, `check` and `run` refuse before the first step."""
    task = write(tmp_path, text)
    for act in (recurra.check, lambda *a: recurra.run(*a, runs=tmp_path / "runs")):
        with pytest.raises(InputError) as caught:
            act(task, {"generation.prompt": prompt})
        assert caught.value.problems[0].code in ("RC043", "RC080")
    assert not (tmp_path / "runs").exists()


def test_skipped_symbols_leave_no_prompt(tmp_path: Path) -> None:
    """Under unknown = "skip", a prompt of unknown symbols alone is an empty one."""
    with pytest.raises(InputError, match="no symbol of the prompt is in the vocabulary"):
        recurra.check(
            write(tmp_path, PROSE), {"vocabulary.unknown": "skip", "generation.prompt": "QQ"}
        )


@pytest.mark.parametrize("changes, words", [
    ({"temperature": -1.0}, "temperature"), ({"top_p": 0.0}, "top_p"), ({"top_k": -1}, "top_k"),
    ({"min_p": 1.0}, "min_p"), ({"repetition_penalty": 0.0}, "repetition_penalty"),
    ({"nonsense": 1}, "nonsense"),
    ({"temperature": 0.0, "top_k": 3}, "top_k narrows"),
    ({"temperature": 0.0, "min_p": 0.1}, "min_p narrows"),
])  # fmt: skip
def test_settings_that_cannot_be_used_are_named(
    changes: dict[str, Any], words: str, made: Any
) -> None:
    """A setting out of bounds, or unknown, is told by its name (RC080)."""
    with pytest.raises(InputError, match=words) as caught:
        made.text.generate("the", 3, **changes)
    assert caught.value.problems[0].code == "RC080"
    with pytest.raises(InputError, match="numbers are forecast"):
        made.number.generate(length=3, temperature=1.0)


def test_without_a_prompt_generation_goes_on_from_the_data(tmp_path: Path) -> None:
    """A series goes on from its end, a text from its first symbols."""
    run = recurra.run(write(tmp_path, SERIES), runs=tmp_path / "runs")
    np.testing.assert_allclose(
        list(run.generate(length=3)), list(run.generate([float(v) for v in range(1, 21)], 3))
    )
    text = PROSE.replace('prompt = "the "\n', "")
    prose = recurra.run(write(tmp_path / "prose", text), runs=tmp_path / "prose" / "runs")
    assert prose.prompt() == "the cat sat on the mat and the d"
    assert "".join(prose.generate(length=9)) == "".join(prose.generate(prose.prompt(), 9))


def test_no_length_gives_nothing(made: Any) -> None:
    """A length of 0 gives no symbol and no number."""
    assert (
        "".join(made.text.generate("the", 0)) == "" and list(made.number.generate([1.0], 0)) == []
    )


SPACED = about(PROSE, "inline", tokens=["New York", "Bonn", "New York", "Rome", "a  b"] * 3)


@pytest.mark.parametrize(
    ("prompt", "named"), [("New York", "New York"), ("Bonn a  b", "a  b"), ("Paris", "")]
)
def test_a_prompt_that_is_cut_at_its_spaces_says_how_it_is_given(
    prompt: str, named: str, tmp_path: Path
) -> None:
    """The cure is a list where a token with spaces was meant, and it works; the place is that of
    the prompt.
    """
    task = write(tmp_path, SPACED)
    changes = {"vocabulary.kind": "category", "sequence.split": [1.0, 0.0, 0.0]}
    with pytest.raises(InputError) as caught:
        recurra.check(task, {**changes, "generation.prompt": prompt})
    (problem,) = caught.value.problems
    assert (problem.code, problem.key) == ("RC043", "generation.prompt")
    assert str(problem.place) == "override generation.prompt"
    assert (f'prompt = ["{named}"]' in problem.cure) == bool(named)
    if named:
        recurra.check(task, {**changes, "generation.prompt": [named]})


def test_a_session_says_that_all_was_left_out(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty prompt and one of unknown symbols alone are told apart."""
    monkeypatch.setattr(made.text.vocabulary, "encode", lambda values: np.zeros(0, np.int64))
    with pytest.raises(InputError, match="no symbol of the prompt"):
        made.text.session().feed("xyz").expected()
    with pytest.raises(InputError, match="nothing has been read"):
        made.text.session().feed("").expected()


@pytest.mark.parametrize("name", SYMBOLS)
def test_the_first_of_several_streams_is_the_one_alone(name: str, made: Any) -> None:
    """However many streams there are, each draws its own, and the first what it would draw without
    the others.
    """
    run = getattr(made, name)
    rule = Sampling(temperature=1.0)
    alone, several = (
        run.session(seed=3).feed(run.prompt()),
        run.session(seed=3, streams=5).feed(run.prompt()),
    )
    ids = [several.draw(rule).tolist() for _ in range(20)]
    assert [row[0] for row in ids] == [int(alone.draw(rule)[0]) for _ in ids]
    assert len(set(zip(*ids, strict=True))) == 5
