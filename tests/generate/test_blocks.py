"""Many steps in one call: those of the loop in Python, to the bit, whatever ends a call."""

from __future__ import annotations

import math
import shutil
import time
from dataclasses import replace
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recurra.engine.build import Unbuildable
from recurra.engine.fused import block
from recurra.engine.fused import step as stepping
from recurra.engine.fused.block import picked
from recurra.errors import InputError, RunError
from recurra.generate import blocks
from recurra.generate.draws import PlacedDraws
from recurra.generate.sampling import Sampling, powers
from recurra.generate.session import Session
from recurra.model import stepper as steppers
from recurra.model.network import Network
from recurra.model.stepper import stepper
from recurra.randomness import seeded
from recurra_cells.lstm import LSTM
from recurra_cells.options import LSTMOptions
from recurra_encoders.embedding import Embedding
from recurra_encoders.linear import Linear
from recurra_encoders.options import EmbeddingOptions, LinearOptions
from recurra_losses.cross_entropy import CrossEntropy
from recurra_losses.gaussian_nll import GaussianNLL
from recurra_losses.mse import MSE
from recurra_losses.options import (
    CrossEntropyOptions,
    GaussianNLLOptions,
    MSEOptions,
    QuantileOptions,
)
from recurra_losses.quantile import Quantile
from recurra_vocabularies.character import Character, CharacterOptions
from recurra_vocabularies.numeric import Numeric, NumericOptions

SYMBOLS = 11

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))),
    reason="without a compiler there is no such loop",
)

RULES = st.builds(
    Sampling,
    temperature=st.sampled_from([5e-324, 1e-40, 0.3, 1.0, 2.5, 1e300]),
    top_k=st.integers(0, SYMBOLS + 1),
    top_p=st.just(1.0) | st.floats(1e-300, 1.0),
    min_p=st.just(0.0) | st.floats(0.0, 0.9),
    repetition_penalty=st.sampled_from([1.0, 1e-300, 0.5, 1.7, 1e300]),
) | st.builds(Sampling, repetition_penalty=st.sampled_from([1.0, 0.2, 3.0]))
STOPS = st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=3), max_size=3)


def network(symbols=SYMBOLS, width=6, dtype=torch.float32):
    with seeded(0):
        encoder = Embedding(symbols, EmbeddingOptions(size=width))
        cells = [LSTM(width, LSTMOptions(hidden_size=width)) for _ in range(2)]
        loss = CrossEntropy(symbols, CrossEntropyOptions())
        made = Network(encoder, cells, loss).to(dtype).eval()
    with torch.no_grad():
        made.head.weight.mul_(4)
    return made


def vocabulary(symbols=SYMBOLS):
    made = Character(CharacterOptions())
    made.fit(["".join(chr(0x10000 + place) for place in range(symbols))])
    return made


def compiled(made, begin="ids"):
    """Return a network whose steps are compiled by now."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steppers, "AFTER", 1)
        session = Session(made, vocabulary(made.encoder.size)).feed_ids(np.array([0]))
        session.draw(Sampling())
    kernel = stepper(made).kernel
    assert kernel is not None and kernel.begin == begin
    return made


WIDE = pytest.param(torch.float64, marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=[torch.float32, WIDE], ids=str)
def quick(request):
    made = compiled(network(dtype=request.param))
    assert session(made)._loops("ids") is not None, "the loop in C is there, and draws the same"
    return made


@pytest.fixture
def short(monkeypatch):
    """Let a call make one step alone."""
    monkeypatch.setattr(block, "SECONDS", 0.0)


def session(made, streams=1, seed=3):
    return Session(made, vocabulary(made.encoder.size), seed, streams).feed_ids(np.array([1, 2, 1]))


def by_steps(made, streams, length, sampling, stops=(), seed=3):
    """Return the symbols of the loop in Python, and the session after it: the kernel's steps one by
    one, drawn from by numpy, and sequences looked for in all that has come.
    """
    own = session(made, streams, seed)
    own._can_loop, own._looked = False, stepper(made).kernel
    drawn: list[list[int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "_alike", lambda dtype: False)
        while len(drawn) < length:
            drawn.append(own.draw(sampling).tolist())
            streams_over = [
                any(
                    text[at : at + len(stop)] == list(stop)
                    for stop in stops
                    for at in range(len(text) - len(stop) + 1)
                )
                for text in map(list, zip(*drawn, strict=True))
            ]
            if all(streams_over):
                break
    return drawn, own


def same(one, two):
    """Check that two sessions stand at the same place, to the bit, and draw the same next."""
    assert one.position == two.position and one.draws.state().tolist() == two.draws.state().tolist()
    assert torch.equal(one.seen.expand(one.streams, -1), two.seen.expand(two.streams, -1))
    assert torch.equal(one.expected(), two.expected())
    for first, second in zip(one.states, two.states, strict=True):
        assert all(map(torch.equal, first, second))


@given(
    rule=RULES, stops=STOPS, streams=st.sampled_from([1, 2, 5]), length=st.integers(0, 25),
    seed=st.integers(0, 999), at_once=st.sampled_from([0.0, 1.0]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_symbols_are_those_of_the_loop_in_python(
    rule: Sampling, stops: Any, streams: int, length: int, seed: int, at_once: float, quick: Any
) -> None:
    """With every rule, penalty, sequence and number of streams, in blocks of one step and of all:
    the same symbols, and the same session behind them.
    """
    wanted, behind = by_steps(quick, streams, length, rule, stops, seed)
    own = session(quick, streams, seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "SECONDS", at_once)
        found = [ids.tolist() for ids in own.draw_many(length, rule, stops)]
    assert found == wanted
    if length:
        same(own, behind)


def test_a_thousand_symbols_are_those_of_the_loop_in_python(quick: Any) -> None:
    """Also where rounding has a thousand steps to grow in, and blocks end when their time does."""
    rule = Sampling(temperature=1.3, top_k=8, top_p=0.95, repetition_penalty=1.1)
    own = session(quick, 3)
    wanted, behind = by_steps(quick, 3, 1000, rule)
    assert [ids.tolist() for ids in own.draw_many(1000, rule)] == wanted
    same(own, behind)
    assert len({tuple(ids) for ids in wanted}) > 100


@given(
    values=st.lists(st.floats(-4, 4, width=32) | st.sampled_from([0.0, -0.0, 1e-45, 3e38, -3e38]),
        min_size=1, max_size=9),
    rule=RULES, marks=st.lists(st.booleans(), min_size=9, max_size=9),
    step=st.integers(0, 1 << 40), key=st.integers(0, (1 << 63) - 1),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_c_draws_what_numpy_draws(
    values: list[float], rule: Sampling, marks: list[bool], step: int, key: int
) -> None:
    """Bit for bit there is one definition: ties, what is too cold or too hot, what has a chance of
    nothing at all.
    """
    row, seen = torch.tensor([values] * 3), torch.tensor([marks[: len(values)]] * 3)
    wanted = rule.pick(row, seen, PlacedDraws(key, step)).tolist()
    assert picked(rule.rule(key), row, seen, step).tolist() == wanted


@given(
    seed=st.integers(0, 999), symbols=st.sampled_from([127, 128, 129, 300, 2000]),
    spread=st.sampled_from([0.0, 1e-3, 1.0, 30.0, 1e30]), grid=st.booleans(), rule=RULES,
    top_k=st.sampled_from([0, 1, 3, 100, 129, 1500]),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_c_ranks_many_symbols_as_numpy_does(
    seed: int, symbols: int, spread: float, grid: bool, rule: Sampling, top_k: int
) -> None:
    """Few are compared with each other, many sorted into boxes: near and far from each other, with
    ties and without, and where most have a chance of nothing.
    """
    logits = spread * torch.randn(2, symbols, generator=torch.Generator().manual_seed(seed))
    if grid:
        logits = (logits * 2).round() / 2
    if rule.temperature:
        rule = replace(rule, top_k=top_k)
    seen = torch.zeros(2, symbols, dtype=torch.bool)
    wanted = rule.pick(logits, seen, PlacedDraws(seed, 5)).tolist()
    assert picked(rule.rule(seed), logits, seen, 5).tolist() == wanted


@given(x=st.floats(-750, 0))
@settings(max_examples=100, deadline=None)
def test_powers_are_those_of_e(x: float) -> None:
    """Beside the system's own: two units in the last place, 1 at 0, and 0 below -700."""
    found = float(powers(np.array([x]))[0])
    assert found == (0.0 if x < -700 else pytest.approx(math.exp(x), rel=2**-51, abs=0))
    assert float(powers(np.array([0.0]))[0]) == 1


@pytest.mark.parametrize("given_steps", [0, 1, 7])
def test_who_breaks_off_has_read_what_was_given(given_steps: int, quick: Any) -> None:
    """An iterator that is closed leaves the session behind the last symbol that it gave."""
    rule, own = Sampling(temperature=1.0, repetition_penalty=1.5), session(quick, 2)
    drawn = own.draw_many(400, rule)
    found = [ids.tolist() for ids in islice(drawn, given_steps)]
    drawn.close()
    wanted, behind = by_steps(quick, 2, given_steps, rule)
    assert found == wanted
    same(own, behind)
    if given_steps:
        assert own.draw(rule).tolist() == behind.draw(rule).tolist()


LOOKS = {
    "nothing": lambda own: None,
    "expected": lambda own: own.expected(),
    "chances": lambda own: own.chances(),
    "output": lambda own: own.output,
    "raw": lambda own: own.raw(),
    "seen": lambda own: own.seen,
    "states": lambda own: own.states,
    "copy": lambda own: own.copy(),
    "feed": lambda own: own.feed_ids(np.array([2])),
    "many": lambda own: list(own.draw_many(2, Sampling())),
}  # fmt: skip
"""What is done between two draws; some of it holds what the session is made of."""


@given(
    looks=st.lists(st.sampled_from(sorted(LOOKS)) | st.just("nothing"), max_size=12),
    rules=st.lists(RULES, min_size=1, max_size=2), streams=st.sampled_from([1, 3]),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_what_somebody_holds_stays_as_it_was(
    looks: list[str], rules: list[Sampling], streams: int, quick: Any
) -> None:
    """Symbols drawn one by one write to what the last draw has made: never to what was looked at,
    and whatever was done in between they are those of the loop in Python.
    """
    own, other = session(quick, streams), session(quick, streams)
    other._can_loop, other._looked = False, stepper(quick).kernel
    held = []
    for place, look in enumerate(looks):
        rule = rules[place % len(rules)]
        for _ in range(3):
            assert own.draw(rule).tolist() == other.draw(rule).tolist()
        seen = LOOKS[look](own)
        if look in ("feed", "many"):
            LOOKS[look](other)
        elif look == "copy":
            held.append((seen.expected, seen.expected().clone()))
        elif look == "states":
            held += [(lambda f=f: f, f.clone()) for state in seen for f in state]
        elif look != "nothing":
            held.append((lambda seen=seen: seen, seen.clone()))
        seen = None  # each is held once
    assert all(torch.equal(look(), was) for look, was in held)
    same(own, other)


def test_a_draw_that_is_broken_off_has_been_read_or_not(quick: Any, monkeypatch: Any) -> None:
    """Ctrl-C is heard once C has drawn: the symbol counts as read, and none is drawn twice."""
    rule = Sampling(temperature=1.0)
    own, (_, behind) = session(quick), by_steps(quick, 1, 4, rule)
    for _ in range(3):
        own.draw(rule)
    steps = stepper(quick).kernel.blocks.steps

    def broken_off(*arguments: Any) -> None:
        steps(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(stepper(quick).kernel.blocks, "steps", broken_off)
    with pytest.raises(KeyboardInterrupt):
        own.draw(rule)
    same(own, behind)


@pytest.mark.usefixtures("short")
def test_each_symbol_is_there_as_it_comes(quick: Any) -> None:
    """What is given is not held back for what comes later; a copy made in between goes on as the
    session does.
    """
    rule, own = Sampling(temperature=1.0), session(quick)
    wanted, _ = by_steps(quick, 1, 9, rule)
    for place, ids in enumerate(own.draw_many(8, rule)):
        assert own.position == 3 + place + 1 and ids.tolist() == wanted[place]
        assert own.copy().draw(rule).tolist() == wanted[place + 1]


@pytest.mark.parametrize("streams", [1, 3])
def test_a_change_of_weights_between_two_calls_is_seen(streams: int) -> None:
    """A weight that is changed in place counts from the next call on."""
    made = compiled(network())
    own, other = session(made, streams), session(made, streams)
    other._can_loop, other._looked = False, stepper(made).kernel
    rule = Sampling(temperature=0.8)
    for _ in range(2):
        found = [ids.tolist() for ids in own.draw_many(12, rule)]
        assert found == [other.draw(rule).tolist() for _ in range(12)]
        same(own, other)
        before = own.expected().clone()
        with torch.no_grad():
            made.head.weight.mul_(-1)
            made.encoder.table.weight.add_(0.5)
        own.draw(rule), other.draw(rule)
        assert torch.equal(own.expected(), other.expected())
        assert not torch.allclose(own.expected(), before)
        fresh = network()  # whose steps are torch's
        fresh.load_state_dict(made.state_dict())
        two = [session(each, streams) for each in (made, fresh)]
        assert two[0].draw(Sampling()).tolist() == two[1].draw(Sampling()).tolist()
        torch.testing.assert_close(two[0].expected(), two[1].expected())


@pytest.mark.parametrize("at", [0, 5])
def test_one_stream_that_is_no_number_is_named_and_touches_no_other(at: int, quick: Any) -> None:
    """Of 256 streams the error tells which, after all symbols that came before; the others have
    drawn, and hold, what they would have without it.
    """
    rule, streams, ill = Sampling(temperature=1.0), 256, 77
    healthy, own = session(quick, streams), session(quick, streams)
    wanted = [ids.tolist() for ids in healthy.draw_many(at + 1, rule)]

    found = [ids.tolist() for ids in own.draw_many(at, rule)]
    own._part()
    carried = stepper(quick).packed(stepper(quick).kernel, own._carried)
    for field in stepper(quick).kernel.step.fields(carried.layers):
        field[ill] = math.nan
    own._carried = carried
    with pytest.raises(RunError, match="in stream 77 of 0 to 255, so nothing can be drawn"):
        for ids in own.draw_many(40, rule):
            found.append(ids.tolist())
    assert found == wanted
    others = [stream for stream in range(streams) if stream != ill]
    assert torch.equal(own.expected()[others], healthy.expected()[others])
    assert own.position == healthy.position
    with pytest.raises(RunError, match="in stream 77"):
        own.draw(rule)


def test_a_call_ends_in_time_to_be_interrupted(quick: Any) -> None:
    """Whatever is asked for, a call ends within 50 ms: no later can Ctrl-C be heard."""
    own = session(quick)
    drawn = own.draw_many(10**9, Sampling(temperature=1.0))
    for _ in range(3):
        start, before = time.thread_time(), own.position
        next(drawn)
        while own.position == before:
            next(drawn)
        assert time.thread_time() - start < 0.05
        list(islice(drawn, own.position - before - 1))
    drawn.close()


def test_many_streams() -> None:
    """10,000 of them: what numpy draws of the same logits."""
    made = compiled(network(symbols=5, width=2))
    rule = Sampling(temperature=1.0, top_p=0.9)
    own = session(made, 10_000)
    found = [ids.tolist() for ids in own.draw_many(2, rule)]
    wanted, behind = by_steps(made, 10_000, 2, rule)
    assert found == wanted
    same(own, behind)


@pytest.mark.parametrize("threads", [1, 2])
def test_streams_are_the_same_however_many_are_made_at_a_time(
    threads: int, quick: Any, monkeypatch: Any
) -> None:
    """Parts of 8 rows and a rest, and all at once: the same symbols, to the bit, also step by step;
    and each stream is as it would be alone in its part.
    """
    rule, count = Sampling(temperature=1.2, top_p=0.9), 29
    monkeypatch.setattr(stepping, "LIGHT", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = session(quick, count)
        wanted = [ids.tolist() for ids in whole.draw_many(9, rule)]
        monkeypatch.setattr(stepping, "PART", 8 // threads)
        stepper(quick).kernel.step.renew()
        parts = session(quick, count)
        assert [ids.tolist() for ids in parts.draw_many(9, rule)] == wanted
        same(parts, whole)
        found, behind = by_steps(quick, count, 9, rule)
        assert found == wanted
        same(parts, behind)
    finally:
        torch.set_num_threads(before)
        stepper(quick).kernel.step.renew()


@pytest.fixture
def parted(quick, monkeypatch):
    """Let calls end within a step, after 8 streams each; the calls that are made."""
    for module, name, value in ((block, "LONG", 0), (block, "SECONDS", -1), (stepping, "PART", 8)):
        monkeypatch.setattr(module, name, value)
    step, calls = stepper(quick).kernel.blocks, []
    step.step.renew()
    make = step.steps
    monkeypatch.setattr(step, "steps", lambda *given: calls.append(given) or make(*given))
    yield calls
    step.step.renew()


@pytest.mark.usefixtures("parted")
@given(rule=RULES, stops=STOPS, streams=st.sampled_from([1, 8, 29]), seed=st.integers(0, 99))
@settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_step_in_several_calls_is_that_step(
    rule: Sampling, stops: Any, streams: int, seed: int, quick: Any
) -> None:
    """Rows that are looked at, drawn for and read in calls of their own: the same symbols."""
    wanted, behind = by_steps(quick, streams, 6, rule, stops, seed)
    own = session(quick, streams, seed)
    assert [ids.tolist() for ids in own.draw_many(6, rule, stops)] == wanted
    same(own, behind)


def test_who_breaks_off_within_a_step_has_not_read_it(quick: Any, parted: Any) -> None:
    """Ctrl-C between two calls of a step: all streams are where they were, and draw the same."""
    rule, count = Sampling(temperature=1.0, repetition_penalty=1.3), 29
    wanted, behind = by_steps(quick, count, 6, rule)
    own = session(quick, count)
    own.draw(rule)
    within = len(parted)
    assert within >= 9, "four parts are looked at, drawn for and read"
    make = stepper(quick).kernel.blocks.steps
    for drawn, last in enumerate([1, within // 3, within // 2, within - 1], 1):

        def broken_off(*given: Any, at: int = len(parted) + last) -> Any:
            if len(parted) == at:
                raise KeyboardInterrupt
            return make(*given)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stepper(quick).kernel.blocks, "steps", broken_off)
            with pytest.raises(KeyboardInterrupt):
                own.draw(rule)
        assert own.draw(rule).tolist() == wanted[drawn]
    assert own.draw(rule).tolist() == wanted[5]
    same(own, behind)


@pytest.mark.slow
@pytest.mark.parametrize("largest", [steppers.LARGEST, 1 << 20])
def test_many_symbols(largest: int, monkeypatch: Any) -> None:
    """A vocabulary of 200,000: what numpy draws of the same logits, also where a table of products
    would be too large.
    """
    monkeypatch.setattr(steppers, "LARGEST", largest)
    monkeypatch.setattr(stepping, "LARGEST", largest)
    made = compiled(network(symbols=200_000, width=2))
    rule = Sampling(temperature=0.5, top_k=40, top_p=0.9, repetition_penalty=1.2)
    own = session(made, 2)
    assert own._loops("ids") is not None and stepper(made).kernel.step.hoists == (largest > 1 << 20)
    found = [ids.tolist() for ids in own.draw_many(3, rule)]
    wanted, behind = by_steps(made, 2, 3, rule)
    assert found == wanted
    same(own, behind)


def test_without_a_compiler_the_loop_in_python_draws_the_same(monkeypatch: Any) -> None:
    """The first is the network's own steps, which another kernel would round otherwise: what draws
    from them is the same.
    """

    def none(double: bool) -> Any:
        raise Unbuildable("no C compiler was found")

    rule = Sampling(temperature=0.9, top_k=6)
    made = compiled(network())
    with_it = [ids.tolist() for ids in session(made).draw_many(60, rule, [[1, 2, 3, 4]])]
    monkeypatch.setattr(block, "drawing", none)
    monkeypatch.setattr(blocks, "_alike", blocks._alike.__wrapped__)
    made = compiled(network())
    assert stepper(made).kernel.blocks is None
    assert [ids.tolist() for ids in session(made).draw_many(60, rule, [[1, 2, 3, 4]])] == with_it


def test_a_loop_that_draws_otherwise_is_not_used(quick: Any, monkeypatch: Any) -> None:
    """One id off in what C draws, and numpy draws."""
    honest = blocks.picked

    def lying(*arguments: Any) -> Any:
        return honest(*arguments) ^ 1

    monkeypatch.setattr(blocks, "picked", lying)
    monkeypatch.setattr(blocks, "_alike", blocks._alike.__wrapped__)
    rule = Sampling(temperature=1.0)
    found = [ids.tolist() for ids in session(quick).draw_many(5, rule)]
    assert found == by_steps(quick, 1, 5, rule)[0]
    assert not blocks._alike(torch.float32)


def test_what_cannot_be_drawn_is_refused(quick: Any) -> None:
    """Before anything is drawn, and before the first step is asked for; in training the network
    steps by itself.
    """
    own = session(quick)
    for stop in ([[]], [[SYMBOLS]], [[-1]], ["ab"], [[0.5]], [3]):
        with pytest.raises(InputError):
            own.draw_many(3, Sampling(), stop)  # type: ignore[arg-type]
    for length in (-1, 1.5, True):
        with pytest.raises(InputError):
            own.draw_many(length, Sampling())  # type: ignore[arg-type]
    with pytest.raises(InputError):
        own.draw_many(3, 1.0)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nothing has been read"):
        next(Session(quick, vocabulary()).draw_many(3, Sampling()))
    same(own, session(quick))

    quick.train()
    try:
        assert own._loops("ids") is None
    finally:
        quick.eval()


def test_sequences_are_found_across_calls(quick: Any) -> None:
    """A sequence of which one call has drawn the beginning and the next one the end."""
    rule = Sampling(temperature=1.0)
    wanted, _ = by_steps(quick, 1, 40, rule)
    whole = [ids[0] for ids in wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(block, "MOST", 4)
        for end in (4, 5, 6, 7):
            stop = whole[:end]
            found = [int(ids[0]) for ids in session(quick).draw_many(40, rule, [stop])]
            assert found == stop


def test_rules_of_a_kernel_are_those_of_sampling() -> None:
    """Each field of a rule is told, within what float32 can hold."""
    rule = Sampling(temperature=0.5, top_k=2, top_p=0.9, min_p=0.1, repetition_penalty=1e-300)
    told = rule.rule(9)
    assert (told.temperature, told.top_k, told.top_p, told.min_p) == (0.5, 2, 0.9, 0.1)
    assert told.penalty == torch.finfo(torch.float32).tiny and told.key == 9
    assert replace(rule, temperature=1e-320).rule(9).temperature > 0


def of_numbers(loss, missing=None, features=2):
    """Return a network of numbers whose steps are compiled, and its vocabulary."""
    vocabulary = Numeric(NumericOptions(difference=1))
    vocabulary.missing = missing
    vocabulary.fit([np.random.default_rng(0).normal(size=(40, features)).cumsum(axis=0)])
    width = features + len(vocabulary.missing or ())
    with seeded(0):
        encoder = Linear(width, LinearOptions(size=4))
        cells = [LSTM(4, LSTMOptions(hidden_size=5))]
        made = Network(encoder, cells, loss(features)).eval()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(steppers, "AFTER", 1)
        started(made, vocabulary).forecast_step()
    assert stepper(made).kernel is not None and stepper(made).kernel.begin == "rows"
    return made, vocabulary


def started(made, vocabulary):
    rows = np.arange(6 * vocabulary.size, dtype=np.float64).reshape(6, -1) % 5
    return Session(made, vocabulary).feed(rows)


NUMBERS = [
    pytest.param(lambda features: MSE(features, MSEOptions()), None, True, id="mse"),
    pytest.param(
        lambda features: GaussianNLL(features, GaussianNLLOptions()), (1,), True, id="gaussian_nll"
    ),
    pytest.param(
        lambda features: Quantile(features, QuantileOptions()), None, False, id="quantile",
        marks=pytest.mark.slow,
    ),
]  # fmt: skip
"""Losses, the columns of which numbers may be missing, and whether an output begins with what is
fed back.
"""


@pytest.mark.parametrize(("loss", "missing", "loops"), NUMBERS)
def test_numbers_are_those_that_are_fed_back_one_by_one(
    loss: Any, missing: Any, loops: bool, monkeypatch: Any
) -> None:
    """Numbers fed back in a loop in C are those of the steps, to the bit, and so is the session
    behind them, wherever it is left.
    """
    made, vocabulary = of_numbers(loss, missing)
    other, behind = started(made, vocabulary), started(made, vocabulary)
    wanted = [other.forecast_step().tolist() for _ in range(30)]
    for _ in range(7):
        behind.forecast_step()
    for at_once in (0.0, 1.0):
        monkeypatch.setattr(block, "SECONDS", at_once)
        own = started(made, vocabulary)
        assert [row.tolist() for row in own.forecast_many(30)] == wanted
        same(own, other)
        assert (own._loops("rows") is not None) == loops

        own = started(made, vocabulary)
        drawn = own.forecast_many(30)
        assert [row.tolist() for row in islice(drawn, 7)] == wanted[:7]
        drawn.close()
        same(own, behind)
        assert own.forecast_step().tolist() == wanted[7]


HELD = {
    "nothing": lambda own: None,
    "expected": lambda own: own.expected(),
    "output": lambda own: own.output,
    "part of the output": lambda own: own.output[0],
    "raw": lambda own: own.raw(),
    "states": lambda own: own.states[-1][0],
    "copy": lambda own: own.copy().expected(),
    "feed": lambda own: own.feed([[1.0, 2.0]]).output,
    "many": lambda own: (list(own.forecast_many(2)), own.output)[1],
}  # fmt: skip
"""What is done between two forecasts, and what is held of it."""


@given(looks=st.lists(st.sampled_from(sorted(HELD)), max_size=8))
@settings(max_examples=20, deadline=None)
def test_what_somebody_holds_of_numbers_stays_as_it_was(
    looks: list[str], fed_back: list[Any]
) -> None:
    """Numbers fed back one by one write to what the last step has made: never to what was looked
    at, and they are those of steps from Python.
    """
    for made, vocabulary in fed_back:
        own, other = started(made, vocabulary), started(made, vocabulary)
        other._can_loop, other._looked = False, stepper(made).kernel
        held = []
        for look in looks:
            for _ in range(3):
                assert own.forecast_step().tolist() == other.forecast_step().tolist()
            if (seen := HELD[look](own)) is not None:
                held.append((seen, seen.clone()))
            seen = HELD[look](other)
        assert all(torch.equal(seen, was) for seen, was in held)
        same(own, other)


@pytest.fixture(scope="module")
def fed_back():
    """Networks whose output is what is fed back, and begins with it."""
    return [
        of_numbers(loss, missing) for loss, missing in (each.values[:2] for each in NUMBERS[:2])
    ]


def test_numbers_one_by_one_go_on_where_only_their_point_is_a_number(fed_back: list[Any]) -> None:
    """A deviation that is none is nobody's who asks for points, and is told to whoever asks for it;
    weights that change in between are seen.
    """
    made, vocabulary = fed_back[1]
    own, other = started(made, vocabulary), started(made, vocabulary)
    other._can_loop, other._looked = False, stepper(made).kernel
    was = made.head.bias.clone()
    for bias in (was, was + 1, was * math.nan, was):
        with torch.no_grad():
            made.head.bias[2:] = bias[2:]
        for _ in range(3):
            assert own.forecast_step().tolist() == other.forecast_step().tolist()
        assert torch.equal(own.raw(), other.raw()) or bias[2].isnan()
    same(own, other)


def test_numbers_that_are_none_are_told_where_they_are() -> None:
    """What comes before is given, and then the error of the step, as step by step."""
    made, vocabulary = of_numbers(lambda features: MSE(features, MSEOptions()))
    own, other = started(made, vocabulary), started(made, vocabulary)
    with torch.no_grad():
        made.head.bias[1] = math.nan
    found, wanted = [], []
    for rows, steps in ((found, own.forecast_many(9)), (wanted, each_step(other, 9))):
        with pytest.raises(RunError, match="not finite, so nothing can be forecast"):
            rows.extend(row.tolist() for row in steps)
    assert found == wanted and len(found) == 1
    assert own.position == other.position


def each_step(session, count):
    return (session.forecast_step() for _ in range(count))
