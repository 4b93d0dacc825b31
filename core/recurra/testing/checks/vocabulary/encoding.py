"""Checks of a vocabulary: what is encoded comes back, and what was learned survives being saved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import UnknownSymbol, Values, Vocabulary
from recurra.testing import child
from recurra.testing.answers import demand
from recurra.testing.check import Measured, check
from recurra.testing.hard_data import KNOWN, SURROGATES, TEXTS, joined, numbers
from recurra.testing.measure import EXACT, FLOAT64
from recurra.testing.subjects.vocabulary import VocabularySubject

FEW = 512
"""Symbols that are shown one by one."""


def same(one: Values, other: Values) -> bool:
    """Tell whether two runs of elements are the same, in type too."""
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    return type(one) is type(other) and bool(one == other)


@check("V01", "what is encoded comes back", "vocabulary", firm=True)
def round_trip(subject: VocabularySubject) -> None:
    """decode(encode(s)) == s for what it was fitted on, whatever Unicode that holds: s to the last
    code point.

    Emoji that are joined of several, letters and their accents apart, CR LF, NUL, marks of
    direction, code points beyond the first 65,536, words within tokens. Lone surrogates, which no
    file holds, come back or are refused by a `ValueError` or `UnknownSymbol`. A vocabulary that
    normalises, strips or folds cannot write what it has read. To mend it: keep every code point, or
    declare `lossless` false under the options that make it so.
    """
    subject.yielding("symbols")
    subject.needs_lossless()
    vocabulary, whole = subject.fitted()
    _comes_back(subject, vocabulary, whole, "the whole")
    if subject.reads == "numbers":
        return

    for name, text in TEXTS.items():
        values = text if subject.reads == "text" else [text, text]
        _comes_back(subject, subject.vocabulary(values), values, name)
    # A lone surrogate is no text that a file can hold: it may be refused, and not replaced.
    if subject.reads == "text":
        try:
            vocabulary = subject.vocabulary(SURROGATES)
            vocabulary.encode(SURROGATES)
        except (ValueError, UnknownSymbol):
            return
        _comes_back(subject, vocabulary, SURROGATES, "lone surrogates")


def _comes_back(
    subject: VocabularySubject, vocabulary: Vocabulary[Any], values: Values, name: str
) -> None:
    """Raise `Broken` unless values are what their ids decode to."""
    ids = subject.encoded(vocabulary, values)
    back = vocabulary.decode(ids)
    fact = f"{name}: {_differently(values, back)}"
    demand(same(back, values), fact)
    if subject.reads == "text":
        text = subject.text(vocabulary, ids)
        fact = f"{name}, as it is shown: {_differently(values, text)}"
        demand(text == values, fact)


def _differently(values: Values, back: Values) -> str:
    """Return in words where what came back begins to differ."""
    if type(back) is not type(values):
        return f"{type(values).__name__} comes back as {type(back).__name__}"

    at = len(back)
    for index, (one, other) in enumerate(zip(values, back, strict=False)):
        if one != other:
            at = index
            break
    piece = slice(at, at + 8)
    return f"from element {at}, {values[piece]!r} comes back as {back[piece]!r}"


@check("V02", "ids are whole numbers below the size", "vocabulary", firm=True)
def ids_in_range(subject: VocabularySubject) -> None:
    """Values are encoded as an array `[n]` of integers, 0 <= id < size, and an empty run as `[0]`.

    `size` is above 0 once there was anything to learn from, and stays what it is: the network is
    built by it, and an id beyond it is an error on the CPU and undefined on a GPU. To mend it:
    count the unknown token, and learn in `fit` alone.
    """
    subject.yielding("symbols")
    vocabulary, whole = subject.fitted()
    # The network is built by this size: nothing that is encoded later may change it.
    size = subject.size(vocabulary)
    demand(size > 0, f"the size is {size}")
    for values in [whole, *subject.data()]:
        ids = subject.encoded(vocabulary, values)
        demand(ids.ndim == 1, f"ids have shape {list(ids.shape)}")
        whole_numbers = np.issubdtype(ids.dtype, np.integer)
        demand(whole_numbers or not ids.size, f"ids are {ids.dtype}")
        inside = (ids >= 0) & (ids < size)
        fact = f"ids reach {ids.min(initial=0)} to {ids.max(initial=0)} of {size}"
        demand(bool(np.all(inside)), fact)
        fact = f"nothing is encoded as {len(ids)} ids"
        demand(len(values) > 0 or not len(ids), fact)

    after = subject.size(vocabulary)
    demand(after == size, f"encoding changes the size from {size} to {after}")


@check("V03", "any ids are text", "vocabulary", firm=True)
def any_ids(subject: VocabularySubject) -> None:
    """Every id below the size has a symbol to show, and any sequence of ids decodes to a text.

    A network may give any ids in any order: bytes that are no UTF-8, an unknown token, a half of a
    pair. Generation must not end in an exception there. A symbol whose text can be printed shows
    that text. To mend it: replace what cannot be decoded, as by U+FFFD.
    """
    subject.yielding("symbols")
    vocabulary, _ = subject.fitted()
    for index in range(min(subject.size(vocabulary), FEW)):
        # A symbol is how a person sees an id; its text is what it stands for.
        symbol = vocabulary.symbol(index)
        fact = f"symbol {index} is shown as {type(symbol).__name__}"
        demand(isinstance(symbol, str), fact)
        text = subject.text(vocabulary, np.array([index]))
        if subject.reads != "numbers" and _is_plain(text):
            fact = f"symbol {index}, whose text is {text!r}, is shown as {symbol!r}"
            demand(text in symbol, fact)

    subject.text(vocabulary, _random_ids(subject, vocabulary))
    vocabulary.decode(np.zeros(0, np.int64))


def _is_plain(text: str) -> bool:
    """Tell whether a text can be printed as it is; spaces and U+FFFD may be shown otherwise."""
    odd = {" ", "\ufffd"} & {*text}
    return bool(text) and text.isprintable() and not odd


def _random_ids(subject: VocabularySubject, vocabulary: Vocabulary[Any]) -> NDArray[np.int64]:
    """Return 400 ids as a network may give them."""
    draw = np.random.Generator(np.random.Philox(3))
    return draw.integers(0, subject.size(vocabulary), 400)


@check("V04", "what is saved is all there is", "vocabulary", firm=True)
def saved(subject: VocabularySubject) -> None:
    """`save` gives plain JSON, and `restore` makes of it a vocabulary that is equal in all: ids,
    text, symbols, size.

    A run keeps this beside its weights; with other ids they mean nothing. Nothing of an earlier fit
    may remain. JSON makes text of integer keys, and lists of tuples: what is restored must not
    depend on either. To mend it: save lists and restore every field from them.
    """
    vocabulary, whole = subject.fitted()
    other = _other_data(subject)
    used = subject.vocabulary(*other)
    table = vocabulary.save()

    # One that is new, and one that has learned something else before.
    fresh = subject.restored(subject.vocabulary(), table)
    subject.restored(used, table)
    for again in (fresh, used):
        _equal_in_all(subject, again, vocabulary, whole)
        demand(again.save() == table, "what is restored saves something else")


def _equal_in_all(
    subject: VocabularySubject, again: Vocabulary[Any], vocabulary: Vocabulary[Any], whole: Values
) -> None:
    """Raise `Broken` unless a restored vocabulary answers as the one that was saved."""
    size, restored = subject.size(vocabulary), subject.size(again)
    demand(restored == size, f"a size of {size} is restored as {restored}")

    ids = subject.encoded(vocabulary, whole)
    demand(same(subject.encoded(again, whole), ids), "what is restored encodes otherwise")
    decoded = same(again.decode(ids), vocabulary.decode(ids))
    demand(decoded, "what is restored decodes otherwise")
    texts = subject.text(again, ids) == subject.text(vocabulary, ids)
    demand(texts, "what is restored shows another text")

    symbols = range(min(size, FEW)) if subject.symbols else ()
    equal = all(again.symbol(index) == vocabulary.symbol(index) for index in symbols)
    demand(equal, "what is restored has other symbols")


@check("V06", "a stream gives the text of the whole", "vocabulary", firm=True)
def streams(subject: VocabularySubject) -> None:
    """text(a) + stream(b[0]) + stream(b[1]) + ... == text(a + b), for the ids of a prompt a and of
    what follows it.

    What has been shown is never taken back: for any ids the text so far is where the whole begins.
    A character of several bytes appears when its last one has come. One streamer knows nothing of
    another. To mend it: return from `streamer` a function with a state of its own, that holds back
    what is not whole.
    """
    subject.writing()
    vocabulary, _ = subject.fitted()
    prompt = subject.encoded(vocabulary, subject.data()[0])
    begin = subject.text(vocabulary, prompt)
    for name, hard in TEXTS.items():
        values = hard if subject.reads == "text" else [hard, *TEXTS.values()]
        ids = subject.encoded(vocabulary, values)
        whole = subject.text(vocabulary, np.concatenate([prompt, ids]))
        streamed = begin + _streamed(vocabulary, ids)
        fact = f"{name}: {whole[-40:]!r} is streamed as {streamed[-40:]!r}"
        demand(streamed == whole, fact)

    # Of any ids the end may be held back: half of a character, for one.
    ids = _random_ids(subject, vocabulary)
    whole = subject.text(vocabulary, np.concatenate([prompt, ids]))
    streamed = begin + _streamed(vocabulary, ids)
    fact = "of arbitrary ids something is shown that the whole text does not hold"
    demand(whole.startswith(streamed), fact)


def _streamed(vocabulary: Vocabulary[Any], ids: NDArray[Any]) -> str:
    """Return the text of ids as one streamer gives it, while another one reads something else."""
    mine, other = VocabularySubject.stream(vocabulary), VocabularySubject.stream(vocabulary)
    parts = []
    for index, elsewhere in zip(ids.tolist(), reversed(ids.tolist()), strict=True):
        parts.append(mine(index))
        other(elsewhere)
    texts = all(isinstance(part, str) for part in parts)
    demand(texts, "a streamer gives something that is no text")
    return "".join(parts)


@check("V07", "how the data is cut makes no difference", "vocabulary", firm=True)
def pieces(subject: VocabularySubject) -> Measured:
    """Fitted on a generator of runs, in any pieces, it is what it is when fitted on the whole; and
    so are the ids.

    Pieces of text end with a newline, where sources cut. A corpus larger than memory passes once: a
    `fit` that goes over the runs a second time finds nothing there. Fitted once more, on the same
    or after something else, it has learned from the last data alone. For numbers the scaled values
    agree within 1e-9. To mend it: learn in one pass, by counts and moments that can be merged and
    that begin with `fit`, and encode each value by itself.
    """
    data = subject.data()
    whole = joined(data, subject.reads)
    expected = subject.vocabulary(whole)
    ids = subject.encoded(expected, whole)
    size = subject.size(expected)

    values = []
    for name, vocabulary in _fitted_in_parts(subject, data):
        fitted = subject.size(vocabulary)
        fact = f"{name}: the size is {fitted}, not {size}"
        demand(fitted == size, fact)
        what = f"fitted on {name}"
        if subject.symbols:
            values.append(_apart(subject.encoded(vocabulary, whole), ids, what))
        else:
            # In the data's own units: a deviation of 1 at 1e9 is rounded to 1e-7.
            back = np.asarray(vocabulary.decode(ids))
            right = np.asarray(expected.decode(ids))
            values.append(_apart(back, right, what))

    parts = [subject.encoded(expected, run) for run in data if len(run)]
    axes = next((part.ndim for part in parts if part.ndim != ids.ndim), ids.ndim)
    fact = f"a run has {axes} axes, and the whole has {ids.ndim}"
    demand(axes == ids.ndim, fact)
    values.append(_apart(np.concatenate(parts), ids, "encoded in runs"))
    return Measured(max(values), EXACT if subject.symbols else FLOAT64)


def _fitted_in_parts(
    subject: VocabularySubject, data: list[Values]
) -> Iterator[tuple[str, Vocabulary[Any]]]:
    """Give vocabularies that were fitted on the data, each in another way."""
    yield "runs", subject.vocabulary(*data)
    yield "two runs", subject.vocabulary(*_halves(data, subject))

    # Those that are fitted once more, on a list, have been fitted on this before.
    earlier: dict[str, list[Values]] = {
        "a list": [],
        "the same again": data,
        "something else before": _other_data(subject),
    }
    for name, runs in earlier.items():
        vocabulary = subject.vocabulary(*runs)
        vocabulary.fit([*data])
        yield name, vocabulary


def _other_data(subject: VocabularySubject) -> list[Values]:
    """Return data that has less to learn than the hard runs have."""
    if subject.reads == "numbers":
        return subject.data()[:1]
    return [KNOWN[subject.reads]]


def _halves(data: list[Values], subject: VocabularySubject) -> list[Values]:
    """Return runs put together to two; so few as three stay."""
    if len(data) <= 3:
        return data
    return [joined(data[:3], subject.reads), joined(data[3:], subject.reads)]


def _apart(values: NDArray[Any], expected: NDArray[Any], name: str) -> float:
    """Return the greatest difference, over the greatest value of each feature."""
    fact = f"{name}: the shape is {list(values.shape)}, not {list(expected.shape)}"
    demand(values.shape == expected.shape, fact)
    if not np.issubdtype(expected.dtype, np.floating):
        demand(np.array_equal(values, expected), f"{name}: the ids are others")
        return 0.0
    scale = np.maximum(np.abs(expected).max(axis=0, initial=0), 1e-300)
    difference = np.abs(values - expected) / scale
    return float(difference.max(initial=0))


@check("V08", "numbers come back", "vocabulary", firm=True)
def numbers_come_back(subject: VocabularySubject) -> Measured:
    """decode(encode(x)) is x within 1e-9 of the feature's greatest value, for values that the fit
    has not seen too.

    Rows `[n, F]` give `[n, F]` finite floating-point numbers, for every n and F, 0 rows too, and
    `size` is F. A feature that never changes has deviation 0, and one divided by that is nan, or,
    by rounding, as large as 1e8. To mend it: take 1 for a scale of 0, and tell a constant feature
    by its extremes, not by its variance.
    """
    subject.yielding("numbers")
    subject.needs_lossless()
    # What refuses numbers below 0, as a logarithm must, is asked about others.
    positive = bool(subject.data()[0].min() > 0)
    table = numbers(positive)
    worst = 0.0
    for width in (1, 5):
        vocabulary = subject.vocabulary(table[:30, :width])
        size = subject.size(vocabulary)
        demand(size == width, f"{width} features give a size of {size}")
        # What it was fitted on, what it was not, a row, none, and beyond all of it.
        for rows in (table[:30], table[30:], table[:1], table[:0], table * 1.5):
            values = np.ascontiguousarray(rows[:, :width])
            encoded = subject.encoded(vocabulary, values)
            _are_numbers(encoded, values.shape)
            back = np.asarray(vocabulary.decode(encoded))
            worst = max(worst, _apart(back, values, "decoded"))
    return Measured(worst, FLOAT64)


def _are_numbers(encoded: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Raise `Broken` unless these are finite numbers of this shape.

    Those of the third feature, which never changes, stay small.
    """
    fact = f"numbers {list(shape)} give {list(encoded.shape)}"
    demand(encoded.shape == shape, fact)
    demand(np.issubdtype(encoded.dtype, np.floating), f"numbers become {encoded.dtype}")
    demand(bool(np.isfinite(encoded).all()), "numbers become what is not finite")
    third = np.abs(encoded[:, 2:3])
    constant = float(third.max(initial=0))
    demand(constant < 1e6, f"a feature that never changes becomes {constant:.3g}")


ELSEWHERE = """
import numpy
target, options, runs, reads = argument
model = getattr(load(*options[0]), options[1])
vocabulary = getattr(load(*target[0]), target[1])(model.model_validate_json(options[2]))
runs = [numpy.array(run, float) if reads == "numbers" else run for run in runs]
vocabulary.fit(iter(runs))
tell([vocabulary.encode(run).tolist() for run in runs])
"""


@check("V09", "the same data, the same ids", "vocabulary", firm=True, each=False)
def reproducible(subject: VocabularySubject) -> None:
    """Fitted on the same data in another process it gives the same ids, and using it changes
    neither it nor the data.

    Python gives the elements of a set of strings in an order of its own in every process: ids that
    follow it make two runs of one seed differ. What encoding learns on the way, it would learn from
    the test split. To mend it: sort, or keep the order in which symbols come, and learn in `fit`
    alone.
    """
    data = [run for run in subject.data() if len(run)]
    vocabulary = subject.vocabulary(*data)
    before = repr(vocabulary.save())
    ids = []
    for run in data:
        copied = run.copy() if isinstance(run, np.ndarray) else run[:]
        of_run = subject.encoded(vocabulary, run)
        ids.append(of_run)
        again = vocabulary.encode(run)
        demand(same(again, of_run), "encoded twice, the same run has other ids")
        demand(same(run, copied), "encoding changes its input")

        # A copy is decoded, so that writing on it is seen.
        written_on = of_run.copy()
        vocabulary.decode(written_on)
        demand(same(written_on, of_run), "decoding changes its input")
    demand(repr(vocabulary.save()) == before, "using it changes what it saves")

    here = [of_run.tolist() for of_run in ids]
    demand(_elsewhere(subject, data) == here, "in another process the ids are others")


def _elsewhere(subject: VocabularySubject, data: list[Values]) -> Any:
    """Return the ids that a process with other hashes gives."""
    options = subject.options.model_dump_json()
    target, model = child.places(subject.entry)
    runs = [run.tolist() if isinstance(run, np.ndarray) else run for run in data]
    argument = [target, [*model, options], runs, subject.reads]
    return child.run(ELSEWHERE, argument, PYTHONHASHSEED=child.other_hashes())


@check("V10", "what is shown can be typed", "vocabulary")
def prompts(subject: VocabularySubject) -> None:
    """encode(parse(text(ids))) == ids for plain words: a person can paste back what was generated.

    `parse` makes of a typed prompt what the vocabulary reads: a text, or a list of tokens. To mend
    it: let `parse` undo what `text` does.
    """
    subject.writing()
    subject.needs_lossless()
    words = KNOWN[subject.reads]
    vocabulary = subject.vocabulary(words)
    ids = subject.encoded(vocabulary, words)
    text = subject.text(vocabulary, ids)
    values = vocabulary.parse(text)
    kind = str if subject.reads == "text" else list
    demand(isinstance(values, kind), f"parse gives {type(values).__name__}")
    again = same(vocabulary.encode(values), ids)
    demand(again, f"{text!r} is read back as other ids")
