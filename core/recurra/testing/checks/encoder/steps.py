"""Checks of an encoder: each step's vector from that step alone, or from a carried state too."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from typing import Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from recurra.contracts.encoder import Encoder, StatefulEncoder
from recurra.engine.recurrence import map_state
from recurra.errors import InputError
from recurra.randomness import seeded
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, NotApplicable, check
from recurra.testing.measure import BFLOAT16, EXACT, ROWS, float32, gap, gaps, worst
from recurra.testing.slopes import SLOPE, slope_gap
from recurra.testing.subjects.encoder import EncoderSubject
from recurra.testing.subjects.reader import SIZE, Reads
from recurra.testing.subjects.subject import SEED

NAMES = [chr(ord("a") + index) for index in range(SIZE)]
"""What symbols, or features, are called."""
REFUSALS = (IndexError, ValueError, RuntimeError)


@check("E01", "shapes are as declared", "encoder", firm=True)
def shapes(subject: EncoderSubject) -> None:
    """Inputs of B rows and T steps give vectors `[B, T, output_size]`, for every B, every size, and
    T = 0 too.

    The first cell is built `output_size` wide before the encoder has seen anything. An encoder that
    squeezes an axis of length 1, or stacks what a loop over the steps gave, works until a batch has
    one row, or a window no step. A state is a NamedTuple of tensors `[B, ...]` that keep their
    shapes and types; no step at all leaves it as it was. To mend it: set `output_size` in the
    constructor, and name every axis of a reshape.
    """
    for kind in subject.reads:
        for size in (1, SIZE):
            encoder = subject.encoder(size)
            width = getattr(encoder, "output_size", None)
            fact = f"output_size is {width!r}"
            demand(isinstance(width, int) and width > 0, fact)
            for batch, steps in ((1, 1), (3, 1), (1, 17), (3, 17), (3, 0)):
                _shaped(subject, encoder, subject.x(kind, batch, steps, size))


def _shaped(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> None:
    """Raise `Broken` unless vectors and state of these inputs have their shapes and types."""
    expected = [*x.shape[:2], encoder.output_size]
    start = subject.fresh(encoder, x)
    y, state = subject.run(encoder, x, start)

    shape = list(y.shape)
    fact = f"inputs {list(x.shape)} give vectors {shape}, not {expected}"
    demand(shape == expected, fact)
    demand(y.is_floating_point(), f"vectors are {y.dtype}")

    before = [(field.shape, field.dtype) for field in start]
    after = [(field.shape, field.dtype) for field in state]
    demand(before == after, f"a state {before} becomes {after}")
    if not x.shape[1]:
        demand(gaps(state, start, "state") == 0, "no step at all changes the state")


@check("E02", "no vector looks where it must not", "encoder", firm=True)
def locality(subject: EncoderSubject) -> Measured:
    """A step's vector depends on that step alone; that of a `StatefulEncoder`, on it and on earlier
    ones.

    y(x with x[t] changed) = y(x) at every other step, and y(x[p]) = y(x)[p] for a permutation p of
    the steps, within 1e-12 in float64; a stateful encoder: y[:t] stays what it is, whatever x[t:]
    becomes. An encoder that looks ahead sees the very symbol that the network is to predict:
    training is splendid, and generation is nonsense. One that counts its steps gives other vectors
    when a sequence is read in windows. In training the same holds, of an encoder that draws nothing
    there. To mend it: pad a convolution on the left alone, take no mean over time, and derive from
    `StatefulEncoder` where the past is needed.
    """
    findings = []
    for kind, encoder, mode in _modes(subject):
        stateful = isinstance(encoder, StatefulEncoder)
        x = subject.x(kind)
        steps = torch.arange(x.shape[1])
        whole, _ = subject.run(encoder, x)
        # One that carries a state may let a change reach what comes later.
        for at in (0, 3, 6):
            untouched = steps < at if stateful else steps != at
            for changed in _changes(subject, kind, x, at, stateful):
                y, _ = subject.run(encoder, changed)
                value = gap(y[:, untouched], whole[:, untouched], "a vector")
                what = f"{mode}, step {at} changed"
                findings.append(Measured(value, ROWS, what))

        if not stateful:
            order = torch.tensor([4, 0, 6, 2, 5, 1, 3])
            y, _ = subject.run(encoder, x[:, order])
            value = gap(y, whole[:, order], "a vector")
            findings.append(Measured(value, ROWS, f"{mode}, steps in another order"))
    return worst(findings)


def _modes(subject: EncoderSubject) -> Iterator[tuple[Reads, Encoder[Any], str]]:
    """Give the encoder for all that it reads: in evaluation, in training unless it draws there."""
    for kind in subject.reads:
        yield kind, subject.encoder(), kind

        encoder = subject.encoder().train()
        with seeded(SEED, "dropout"):
            streams = _streams()
            subject.run(encoder, subject.x(kind))
            drawn = _streams() != streams
        if not drawn:
            yield kind, encoder, f"{kind}, in training"


def _changes(
    subject: EncoderSubject, kind: Reads, x: Tensor, at: int, after: bool
) -> Iterator[Tensor]:
    """Give inputs that differ at step `at`, or from it on `after`."""
    place = slice(at, None) if after else slice(at, at + 1)
    if kind == "symbols":
        others = [(x + 1) % SIZE]
    else:
        others = [subject.x(kind, salt=1), torch.full_like(x, 1e6)]
    for other in others:
        changed = x.clone()
        changed[:, place] = other[:, place]
        yield changed


@check("E03", "rows are independent", "encoder", firm=True)
def rows(subject: EncoderSubject) -> Measured:
    """A row alone gives what it gives in a batch, within 1e-12; another row's values change
    nothing, nan neither.

    A mean or a norm over the batch makes a figure depend on which rows happen to stand side by
    side, and generation, with its one row, differs from training. In training the same holds, of an
    encoder that draws nothing there. To mend it: no operation over the first axis, and `where` in
    place of a product with a mask: 0 times nan is nan.
    """
    findings = []
    for kind, encoder, mode in _modes(subject):
        x = subject.x(kind)
        whole, state = subject.run(encoder, x)
        for row in range(len(x)):
            only = slice(row, row + 1)
            y, after = subject.run(encoder, x[only])
            own = map_state(lambda field: field[only], state)  # noqa: B023
            of_row = gap(y, whole[only], "a row")
            value = max(of_row, gaps(after, own, "state"))
            what = f"{mode}, row {row} alone"
            findings.append(Measured(value, ROWS, what))

        changed = x.clone()
        changed[0] = (x[0] + 1) % SIZE if kind == "symbols" else torch.nan
        y, _ = subject.run(encoder, changed)
        value = gap(y[1:], whole[1:], "a row")
        findings.append(Measured(value, EXACT, f"{mode}, row 0 changed"))
        if isinstance(encoder, StatefulEncoder):
            findings.append(_positions(subject, encoder, x))
    return worst(findings)


def _positions(subject: EncoderSubject, encoder: StatefulEncoder[Any], x: Tensor) -> Measured:
    """Return how states at positions of their own differ from those of rows alone.

    No position at all is 0, where the first row begins.
    """
    places = torch.tensor([0, 5, 1000])
    together = subject.fresh(encoder, x, places)
    apart = [subject.fresh(encoder, x[:1], place) for place in torch.split(places, 1)]
    joined = [torch.cat(fields) for fields in zip(*apart, strict=True)]
    of_rows = gaps(together, joined, "state")

    fresh = subject.fresh(encoder, x)
    without = map_state(lambda field: field[:1], fresh)
    of_first = gaps(apart[0], without, "state")
    return Measured(max(of_rows, of_first), EXACT, "rows at positions")


@check("E04", "a value that is no number stays in its step", "encoder")
def poison(subject: EncoderSubject) -> Measured:
    """A nan at one step reaches no other step of its row; with a state, no earlier step.

    Sources refuse missing values, so that nothing here has to stand for one. But what lies in the
    unused part of a buffer may be anything, and it must not reach a step that is used. To mend it:
    `where` in place of a product with 0.
    """
    if "numbers" not in subject.reads:
        raise NotApplicable("it reads no numbers")
    encoder = subject.encoder()
    x = subject.x("numbers")
    whole, _ = subject.run(encoder, x)

    x[1, 3] = torch.nan
    y, _ = subject.run(encoder, x)
    steps = torch.arange(x.shape[1])
    clean = steps < 3 if isinstance(encoder, StatefulEncoder) else steps != 3
    value = gap(y[1, clean], whole[1, clean], "a vector")
    return Measured(value, EXACT)


@check("E05", "nothing is learned but by gradients", "encoder", firm=True)
def built(subject: EncoderSubject) -> Measured:
    """The same seed builds the same weights, and what passes through changes none, in training
    neither.

    What an encoder learned from whatever passes through, a running mean for one, it would learn
    from the validation and the test split too, and no two evaluations would agree. `prepare` takes
    what comes from outside, such as vectors of a file, and gives the same each time. To mend it:
    scale numbers in the vocabulary, which is fitted on the training split alone.
    """
    values = []
    for kind in subject.reads:
        encoder = prepared(subject.encoder())
        again = prepared(subject.encoder())
        values.append(_difference(encoder, again.state_dict()))

        # A running mean would move here, in training or in evaluation.
        before = _copied(encoder)
        for training in (True, False):
            encoder.train(training)
            subject.run(encoder, subject.x(kind))
            values.append(_difference(encoder, before))
    return Measured(max(values), EXACT)


def prepared(encoder: Encoder[Any], names: list[str] | None = None) -> Encoder[Any]:
    """Prepare an encoder as for a new run.

    One that finds our names in no file of its own stays as it is.
    """
    with suppress(InputError):
        encoder.prepare([*NAMES] if names is None else names)
    return encoder


def _copied(encoder: Encoder[Any]) -> dict[str, Tensor]:
    """Return a copy of what an encoder saves."""
    weights = encoder.state_dict()
    return {name: value.detach().clone() for name, value in weights.items()}


def _difference(encoder: Encoder[Any], expected: dict[str, Tensor]) -> float:
    """Return how far what an encoder saves is from this. Raises `Broken` if the names differ."""
    weights = encoder.state_dict()
    fact = f"what it saves changes from {sorted(expected)} to {sorted(weights)}"
    demand(weights.keys() == expected.keys(), fact)
    differences = [gap(weights[name], value, name) for name, value in expected.items()]
    return max(differences, default=0.0)


@check("E06", "an id out of range is refused", "encoder", firm=True)
def out_of_range(subject: EncoderSubject) -> None:
    """An id below 0, or of `size` and above, raises `IndexError`, `ValueError` or `RuntimeError`.

    A table indexed in Python takes -1 for its last row, and a clamp or a modulo gives some other
    symbol's vector: the fault of a vocabulary that no longer fits its encoder then trains in
    silence. To mend it: use `nn.Embedding` or `one_hot`, which refuse such an id, or compare before
    you look up.
    """
    if "symbols" not in subject.reads:
        raise NotApplicable("it reads no symbols")
    for wrong in (-1, SIZE, SIZE + 100):
        encoder = subject.encoder()
        x = subject.x("symbols")
        x[1, 2] = wrong
        try:
            subject.run(encoder, x)
        except REFUSALS:
            continue
        raise Broken(f"of {SIZE} symbols, id {wrong} is taken for one")


@check("E07", "the same again", "encoder", firm=True)
def deterministic(subject: EncoderSubject) -> Measured:
    """In evaluation the same inputs give the same vectors, whatever came between, and no random
    number is drawn.

    Noise that is drawn and multiplied by 0 still shifts every draw after it: sampled text would
    depend on the encoder. In training, what is drawn follows torch's seed alone. To mend it: draw
    only where `self.training` holds, keep what must last in a `StatefulEncoder`'s state, and
    nothing on the module.
    """
    findings = []
    for kind in subject.reads:
        encoder = subject.encoder()
        x = subject.x(kind)
        streams = _streams()
        first, _ = subject.run(encoder, x)
        subject.run(encoder, subject.x(kind, batch=2, steps=3, salt=1))
        second, _ = subject.run(encoder, x)
        demand(_streams() == streams, "random numbers are drawn in evaluation")
        value = gap(second, first, "a vector")
        findings.append(Measured(value, EXACT, f"{kind}, evaluation"))

        # In training it may draw, from torch's stream alone.
        encoder.train()
        answers = []
        for _ in range(2):
            torch.manual_seed(SEED)
            y, _ = subject.run(encoder, x)
            answers.append(y)
        first, second = answers
        value = gap(first, second, "a vector")
        findings.append(Measured(value, EXACT, f"{kind}, training under one seed"))
    return worst(findings)


def _streams() -> tuple[Any, ...]:
    """Return what tells that a global stream of random numbers was drawn from."""
    _, keys, place, *_ = np.random.get_state()
    return torch.get_rng_state().tolist(), list(keys), place, random.getstate()


@check("E08", "what is saved is all there is", "encoder", firm=True)
def saved(subject: EncoderSubject) -> Measured:
    """Weights written as safetensors make another instance give the very same vectors, bit by bit.

    The other instance is drawn from another seed, and not prepared, as when a run is loaded. A
    random table kept as a plain attribute is not in `state_dict`, so that the loaded model is
    another one; tensors that share memory cannot be written. To mend it: every tensor is a
    parameter or a buffer that is saved, or follows from the options alone.
    """
    values = []
    for kind in subject.reads:
        x = subject.x(kind, dtype=torch.float32)
        encoder = prepared(subject.encoder(dtype=torch.float32))
        written = save(dict(encoder.state_dict()))
        # Drawn from another seed: what is not saved differs.
        again = subject.encoder(dtype=torch.float32, seed=SEED + 1)
        again.load_state_dict(load(written))

        loaded, _ = subject.run(again, x)
        y, _ = subject.run(encoder, x)
        values.append(gap(loaded, y, "a vector"))
    return Measured(max(values), EXACT)


@check("E09", "gradients are slopes", "encoder", firm=True)
def gradients(subject: EncoderSubject) -> Measured:
    """The gradient of the vectors by the weights, and by numbers, is their slope along random
    directions in float64.

    A weight that is detached, or read through `.data`, is never trained; the model learns around it
    and is only worse. A constructor that freezes weights says so by `requires_grad = False`. To
    mend it: compute with the parameter itself.
    """
    values = []
    for kind in subject.reads:
        encoder = subject.encoder()
        x = subject.x(kind, batch=2, steps=4)
        leaves: list[Tensor] = [weight for weight in encoder.parameters() if weight.requires_grad]
        if kind == "numbers":
            leaves.append(x.requires_grad_())
        function = partial(_vectors, subject, encoder, x)
        values.append(slope_gap(function, leaves, subject.generator(2)))
    return Measured(max(values), SLOPE)


def _vectors(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> Tensor:
    """Return the vectors in float64."""
    y, _ = subject.run(encoder, x)
    return y.double()


@check("E10", "types and devices", "encoder")
def types(subject: EncoderSubject) -> Measured:
    """Vectors have the type of the weights, or of the numbers, and stand where these stand; float32
    is near float64.

    On the meta device a tensor made with `torch.arange(n)`, on the CPU, meets one that is not, and
    torch refuses: the error that a GPU would give. Under bfloat16 autocast vectors keep to 2e-2 of
    their own size. To mend it: make tensors with `x.new_zeros` or `device=x.device`, and constants
    as buffers.
    """
    findings = []
    for kind in subject.reads:
        wide = subject.encoder()
        narrow = copy.deepcopy(wide).float()
        x = subject.x(kind)
        single_x = subject.x(kind, dtype=torch.float32)

        y, _ = subject.run(wide, x)
        # Of ids, an encoder without weights has no type to follow.
        typed = kind == "numbers" or next(wide.parameters(), None) is not None
        if typed:
            demand(y.dtype == torch.float64, f"in float64 the vectors are {y.dtype}")
        single, _ = subject.run(narrow, single_x)
        value = gap(single.double(), y.double(), "a vector")
        what = f"{kind}, float32"
        findings.append(Measured(value, float32(x.shape[1]), what))

        if "bfloat16" not in subject.entry.component.lacks:
            with torch.autocast("cpu", torch.bfloat16):
                half, _ = subject.run(narrow, single_x)
            ratio = _rms(half.float() - single) / max(_rms(single), 1e-30)
            findings.append(Measured(ratio, BFLOAT16, f"{kind}, bfloat16 autocast"))

        without_numbers = x if kind == "symbols" else x.float()
        meta, _ = subject.run(narrow.to("meta"), without_numbers.to("meta"))
        fact = f"inputs on the meta device give vectors on {meta.device}"
        demand(meta.device.type == "meta", fact)
    return worst(findings)


def _rms(value: Tensor) -> float:
    """Return the root mean square."""
    return float(value.double().square().mean().sqrt())


@check("E12", "inputs are only read", "encoder", firm=True)
def inputs(subject: EncoderSubject) -> Measured:
    """What is passed in is not changed, and how it lies in memory makes no difference.

    The same tensor is the target of the loss: an encoder that scales its input in place moves what
    is to be predicted. Generation gives one row expanded to many, and evaluation a slice: `view`
    refuses both. Positions, resets and the names that `prepare` is given are others' too. To mend
    it: no method that ends in `_` on an input, and `reshape` in place of `view`.
    """
    values = []
    for kind in subject.reads:
        encoder = subject.encoder()
        x = subject.x(kind)
        expected, _ = subject.run(encoder, x)
        before, version = x.clone(), x._version
        values.append(gap(_raw(encoder, subject, x), expected, "a vector"))
        unwritten = torch.equal(x, before) and x._version == version
        demand(unwritten, f"{kind}: the inputs are changed")

        # Time first, one row for all, a part of a longer window.
        turned = x.transpose(0, 1).contiguous().transpose(0, 1)
        values.append(gap(_raw(encoder, subject, turned), expected, "a vector"))
        spread = x[:1].expand(3, *x.shape[1:])
        of_row, _ = subject.run(encoder, spread)
        values.append(gap(_raw(encoder, subject, spread), of_row, "a vector"))
        longer = torch.cat([x, x], dim=1)
        part = longer[:, : x.shape[1]]
        values.append(gap(_raw(encoder, subject, part), expected, "a vector"))
        _lent(subject, encoder, x)
    return Measured(max(values), ROWS)


def _lent(subject: EncoderSubject, encoder: Encoder[Any], x: Tensor) -> None:
    """Raise `Broken` if names, positions or resets are written on."""
    names = [*NAMES]
    prepared(subject.encoder(), names)
    demand(names == NAMES, "prepare changes the names that it is given")
    if not isinstance(encoder, StatefulEncoder):
        return

    position = torch.arange(3)
    reset = torch.eye(*x.shape[:2], dtype=torch.bool)
    subject.run(encoder, x, subject.fresh(encoder, x, position), reset)
    demand(not position._version, "the positions that are passed in are changed")
    demand(not reset._version, "the resets that are passed in are changed")


def _raw(encoder: Encoder[Any], subject: EncoderSubject, x: Tensor) -> Tensor:
    """Return the vectors of these very inputs, and not of a copy."""
    y: Tensor
    if not isinstance(encoder, StatefulEncoder):
        y = encoder(x)
        return y

    state = subject.fresh(encoder, x)
    before = map_state(torch.clone, state)
    y, _ = encoder.advance(x, state)
    demand(gaps(state, before, "state") == 0, "the state that is passed in is changed")
    return y
