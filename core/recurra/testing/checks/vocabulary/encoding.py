"""Checks of a vocabulary: what is encoded comes back, and what was learned survives being saved."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.vocabulary import UnknownSymbol, Values, Vocabulary
from recurra.errors import PluginError
from recurra.testing import child
from recurra.testing.answers import demand
from recurra.testing.check import Broken, Measured, check
from recurra.testing.hard_data import KNOWN, STRANGE, SURROGATES, TEXTS, joined, numbers
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
    for name, text in TEXTS.items() if subject.reads != "numbers" else ():
        values = text if subject.reads == "text" else [text, text]
        _comes_back(subject, subject.vocabulary(values), values, name)
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
    ids = subject.encoded(vocabulary, values)
    found = vocabulary.decode(ids)
    demand(same(found, values), f"{name}: {_differently(values, found)}")
    if subject.reads == "text":
        shown = subject.text(vocabulary, ids)
        demand(shown == values, f"{name}, as it is shown: {_differently(values, shown)}")


def _differently(values: Values, found: Values) -> str:
    """Return in words where what came back begins to differ."""
    if type(found) is not type(values):
        return f"{type(values).__name__} comes back as {type(found).__name__}"
    at = next(
        (i for i, (one, other) in enumerate(zip(values, found, strict=False)) if one != other),
        len(found),
    )
    return f"from element {at}, {values[at : at + 8]!r} comes back as {found[at : at + 8]!r}"


@check("V02", "ids are whole numbers below the size", "vocabulary", firm=True)
def ids_in_range(subject: VocabularySubject) -> None:
    """Values are encoded as an array `[n]` of integers, 0 <= id < size, and an empty run as `[0]`.

    `size` is above 0 once there was anything to learn from, and stays what it is: the network is
    built by it, and an id beyond it is an error on the CPU and undefined on a GPU. To mend it:
    count the unknown token, and learn in `fit` alone.
    """
    subject.yielding("symbols")
    vocabulary, whole = subject.fitted()
    size = subject.size(vocabulary)
    demand(size > 0, f"the size is {size}")
    for values in [whole, *subject.data()]:
        ids = subject.encoded(vocabulary, values)
        demand(ids.ndim == 1, f"ids have shape {list(ids.shape)}")
        demand(np.issubdtype(ids.dtype, np.integer) or not ids.size, f"ids are {ids.dtype}")
        demand(
            bool(np.all((ids >= 0) & (ids < size))),
            f"ids reach {ids.min(initial=0)} to {ids.max(initial=0)} of {size}",
        )
        demand(len(values) > 0 or not len(ids), f"nothing is encoded as {len(ids)} ids")
    demand(
        subject.size(vocabulary) == size,
        f"encoding changes the size from {size} to {subject.size(vocabulary)}",
    )


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
        shown = vocabulary.symbol(index)
        demand(isinstance(shown, str), f"symbol {index} is shown as {type(shown).__name__}")
        text = subject.text(vocabulary, np.array([index]))
        plain = (
            text.isprintable()
            and bool(text)
            and not {" ", "\ufffd"} & {*text}
            and subject.reads != "numbers"
        )
        demand(
            not plain or text in shown,
            f"symbol {index}, whose text is {text!r}, is shown as {shown!r}",
        )
    subject.text(vocabulary, _random_ids(subject, vocabulary))
    vocabulary.decode(np.zeros(0, np.int64))


def _random_ids(
    subject: VocabularySubject, vocabulary: Vocabulary[Any], count: int = 400
) -> NDArray[np.int64]:
    draw = np.random.Generator(np.random.Philox(3))
    return draw.integers(0, subject.size(vocabulary), count)


@check("V04", "what is saved is all there is", "vocabulary", firm=True)
def saved(subject: VocabularySubject) -> None:
    """`save` gives plain JSON, and `restore` makes of it a vocabulary that is equal in all: ids,
    text, symbols, size.

    A run keeps this beside its weights; with other ids they mean nothing. Nothing of an earlier fit
    may remain. JSON makes text of integer keys, and lists of tuples: what is restored must not
    depend on either. To mend it: save lists and restore every field from them.
    """
    vocabulary, whole = subject.fitted()
    used = subject.vocabulary(
        *(subject.data()[:1] if subject.reads == "numbers" else [KNOWN[subject.reads]])
    )
    text = vocabulary.save()
    for again in (
        subject.restored(subject.vocabulary(), text),
        subject.restored(used, text),
    ):
        demand(
            subject.size(again) == subject.size(vocabulary),
            f"a size of {subject.size(vocabulary)} is restored as {subject.size(again)}",
        )
        ids = subject.encoded(vocabulary, whole)
        demand(same(subject.encoded(again, whole), ids), "what is restored encodes otherwise")
        demand(
            same(again.decode(ids), vocabulary.decode(ids)), "what is restored decodes otherwise"
        )
        demand(
            subject.text(again, ids) == subject.text(vocabulary, ids),
            "what is restored shows another text",
        )
        symbols = range(min(subject.size(vocabulary), FEW)) if subject.symbols else ()
        demand(
            all(again.symbol(i) == vocabulary.symbol(i) for i in symbols),
            "what is restored has other symbols",
        )
        demand(again.save() == text, "what is restored saves something else")


@check("V05", "what is unknown follows the policy", "vocabulary", each=False)
def unknown(subject: VocabularySubject) -> None:
    """A symbol that was not there to learn from raises `UnknownSymbol`, has the one unknown id, or
    is left out.

    By the option `unknown`: "error" names the symbol and its place among the ids; "token" gives
    every such symbol the same id, which no other has; "skip" gives the ids of the rest. Without
    that option it encodes what it can, and raises `UnknownSymbol` for the rest. A symbol that
    quietly becomes another one is a fault that nobody sees. To mend it: let the options be
    `SymbolOptions`, and keep all three.
    """
    subject.writing()
    if "unknown" not in subject.entry.options.model_fields:
        _tolerated(subject, subject.vocabulary(KNOWN[subject.reads]))
        return
    strict, token, skip = (_under(subject, policy) for policy in ("error", "token", "skip"))
    before, after = (
        ("one two\n", "\none\n") if subject.reads == "text" else (["one", "two"], ["one"])
    )
    strange, other = STRANGE[subject.reads]
    values = joined([before, strange, after], subject.reads)
    place = None
    if token is not None:
        mark = subject.encoded(token, strange)
        demand(
            len(mark) > 0 and same(mark, subject.encoded(token, other)),
            '"token": two unknown symbols have different ids',
        )
        taken = token.lossless and np.isin(mark, subject.encoded(token, KNOWN[subject.reads])).any()
        demand(not taken, '"token": a symbol that is known has the unknown id')
        wanted = np.concatenate(
            [subject.encoded(token, before), mark, subject.encoded(token, after)]
        )
        demand(
            same(subject.encoded(token, values), wanted),
            '"token": an unknown symbol changes the ids of others',
        )
        place = int((wanted == mark[0]).argmax())
    if skip is not None:
        wanted = np.concatenate([subject.encoded(skip, before), subject.encoded(skip, after)])
        demand(
            same(subject.encoded(skip, values), wanted), '"skip": the ids are not those of the rest'
        )
    if strict is not None:
        _refused(strict, values, place)


def _under(subject: VocabularySubject, policy: str) -> Vocabulary[Any] | None:
    """Return a vocabulary under a policy, or none if its options do not know that one."""
    try:
        return subject.vocabulary(KNOWN[subject.reads], unknown=policy)
    except PluginError:
        return None


def _refused(vocabulary: Vocabulary[Any], values: Values, place: int | None) -> None:
    try:
        vocabulary.encode(values)
    except UnknownSymbol as error:
        demand(
            isinstance(error.symbol, str) and bool(error.symbol),
            f"the unknown symbol is {error.symbol!r}",
        )
        right = place is None or error.position == place
        demand(
            right, f"the unknown symbol stands at {place}, and is told to stand at {error.position}"
        )
        return
    raise Broken('"error": an unknown symbol is encoded as if it were known')


def _tolerated(subject: VocabularySubject, vocabulary: Vocabulary[Any]) -> None:
    for values in STRANGE[subject.reads]:
        try:
            ids = subject.encoded(vocabulary, values)
        except UnknownSymbol:
            continue
        back = vocabulary.decode(ids)
        demand(same(back, values) or not vocabulary.lossless, f"{values!r} is encoded as {back!r}")


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
    for name, hard in TEXTS.items():
        ids = subject.encoded(
            vocabulary, hard if subject.reads == "text" else [hard, *TEXTS.values()]
        )
        whole = subject.text(vocabulary, np.concatenate([prompt, ids]))
        shown = subject.text(vocabulary, prompt) + _streamed(vocabulary, ids)
        demand(shown == whole, f"{name}: {whole[-40:]!r} is streamed as {shown[-40:]!r}")
    ids = _random_ids(subject, vocabulary)
    whole, shown = (
        subject.text(vocabulary, np.concatenate([prompt, ids])),
        subject.text(vocabulary, prompt) + _streamed(vocabulary, ids),
    )
    demand(
        whole.startswith(shown),
        "of arbitrary ids something is shown that the whole text does not hold",
    )


def _streamed(vocabulary: Vocabulary[Any], ids: NDArray[Any]) -> str:
    """Return the text of ids as one streamer gives it, while another one reads something else."""
    mine, other = VocabularySubject.stream(vocabulary), VocabularySubject.stream(vocabulary)
    parts = []
    for index, elsewhere in zip(ids.tolist(), reversed(ids.tolist()), strict=True):
        parts.append(mine(index))
        other(elsewhere)
    demand(
        all(isinstance(part, str) for part in parts), "a streamer gives something that is no text"
    )
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
    wanted = subject.vocabulary(whole)
    ids, gaps = subject.encoded(wanted, whole), []
    other = data[:1] if subject.reads == "numbers" else [KNOWN[subject.reads]]
    cuts: dict[str, tuple[list[Values], list[list[Values]]]] = {
        "runs": (data, []),
        "two runs": (_halves(data, subject), []),
        "a list": ([], [data]),
        "the same again": (data, [data]),
        "something else before": (other, [data]),
    }
    for name, (cut, lists) in cuts.items():
        found = subject.vocabulary(*cut)
        for again in lists:
            found.fit([*again])
        demand(
            subject.size(found) == subject.size(wanted),
            f"{name}: the size is {subject.size(found)}, not {subject.size(wanted)}",
        )
        if subject.symbols:
            gaps.append(_apart(subject.encoded(found, whole), ids, f"fitted on {name}"))
        else:  # in the data's own units: a deviation of 1 at 1e9 is rounded to 1e-7
            gaps.append(
                _apart(
                    np.asarray(found.decode(ids)),
                    np.asarray(wanted.decode(ids)),
                    f"fitted on {name}",
                )
            )
    apart = [subject.encoded(wanted, run) for run in data if len(run)]
    flat = next((part.ndim for part in apart if part.ndim != ids.ndim), ids.ndim)
    demand(flat == ids.ndim, f"a run has {flat} axes, and the whole has {ids.ndim}")
    gaps.append(_apart(np.concatenate(apart), ids, "encoded in runs"))
    return Measured(max(gaps), EXACT if subject.symbols else FLOAT64)


def _halves(data: list[Values], subject: VocabularySubject) -> list[Values]:
    return (
        [joined(data[:3], subject.reads), joined(data[3:], subject.reads)]
        if len(data) > 3
        else data
    )


def _apart(found: NDArray[Any], wanted: NDArray[Any], name: str) -> float:
    """Return the greatest difference, over the greatest value of each feature."""
    demand(
        found.shape == wanted.shape,
        f"{name}: the shape is {list(found.shape)}, not {list(wanted.shape)}",
    )
    if not np.issubdtype(wanted.dtype, np.floating):
        demand(np.array_equal(found, wanted), f"{name}: the ids are others")
        return 0.0
    scale = np.maximum(np.abs(wanted).max(axis=0, initial=0), 1e-300)
    return float((np.abs(found - wanted) / scale).max(initial=0))


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
    positive = bool(subject.data()[0].min() > 0)
    table, worst = numbers(positive), 0.0
    for width in (1, 5):
        vocabulary = subject.vocabulary(table[:30, :width])
        demand(
            subject.size(vocabulary) == width,
            f"{width} features give a size of {subject.size(vocabulary)}",
        )
        for rows in (table[:30], table[30:], table[:1], table[:0], table * 1.5):
            values = np.ascontiguousarray(rows[:, :width])
            encoded = subject.encoded(vocabulary, values)
            demand(
                encoded.shape == values.shape,
                f"numbers {list(values.shape)} give {list(encoded.shape)}",
            )
            demand(np.issubdtype(encoded.dtype, np.floating), f"numbers become {encoded.dtype}")
            demand(bool(np.isfinite(encoded).all()), "numbers become what is not finite")
            constant = np.abs(encoded[:, 2:3]).max(initial=0) if rows is not table else 0.0
            demand(float(constant) < 1e6, f"a feature that never changes becomes {constant:.3g}")
            worst = max(worst, _apart(np.asarray(vocabulary.decode(encoded)), values, "decoded"))
    return Measured(worst, FLOAT64)


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
        held = run.copy() if isinstance(run, np.ndarray) else run[:]
        ids.append(subject.encoded(vocabulary, run))
        demand(same(vocabulary.encode(run), ids[-1]), "encoded twice, the same run has other ids")
        demand(same(run, held), "encoding changes its input")
        kept = ids[-1].copy()
        vocabulary.decode(kept)
        demand(same(kept, ids[-1]), "decoding changes its input")
    demand(repr(vocabulary.save()) == before, "using it changes what it saves")
    demand(
        _elsewhere(subject, data) == [run.tolist() for run in ids],
        "in another process the ids are others",
    )


def _elsewhere(subject: VocabularySubject, data: list[Values]) -> Any:
    """Return the ids that a process with other hashes gives."""
    component, options = subject.entry.component, subject.options.model_dump_json()
    names = [name.partition(":")[2] for name in (component.target, component.options)]
    places = [child.origin(subject.entry, name) for name in (component.target, component.options)]
    sent = [run.tolist() if isinstance(run, np.ndarray) else run for run in data]
    argument = [[places[0], names[0]], [places[1], names[1], options], sent, subject.reads]
    return child.run(
        ELSEWHERE, argument, PYTHONHASHSEED="2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    )


@check("V10", "what is shown can be typed", "vocabulary")
def prompts(subject: VocabularySubject) -> None:
    """encode(parse(text(ids))) == ids for plain words: a person can paste back what was generated.

    `parse` makes of a typed prompt what the vocabulary reads: a text, or a list of tokens. To mend
    it: let `parse` undo what `text` does.
    """
    subject.writing()
    subject.needs_lossless()
    vocabulary = subject.vocabulary(KNOWN[subject.reads])
    ids = subject.encoded(vocabulary, KNOWN[subject.reads])
    values = vocabulary.parse(subject.text(vocabulary, ids))
    demand(
        isinstance(values, str if subject.reads == "text" else list),
        f"parse gives {type(values).__name__}",
    )
    demand(
        same(vocabulary.encode(values), ids),
        f"{subject.text(vocabulary, ids)!r} is read back as other ids",
    )
