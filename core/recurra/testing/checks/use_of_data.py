"""What a vocabulary and a source owe to those who use them.

Nothing is learned, shared or mixed up on the way. The checks came in with version 1.1 of the suite.
"""

from __future__ import annotations

import gc
import json
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recurra.contracts.source import Piece, Source
from recurra.contracts.vocabulary import Element, UnknownSymbol, Values, Vocabulary
from recurra.errors import InputError
from recurra.testing.answers import demand
from recurra.testing.belongings import changed, owned, shared
from recurra.testing.check import Measured, check
from recurra.testing.checks.source.pieces import listed
from recurra.testing.checks.vocabulary.encoding import same
from recurra.testing.hard_data import KNOWN, STRANGE, joined
from recurra.testing.isolation import empty_folder
from recurra.testing.measure import EXACT, FLOAT64, worst
from recurra.testing.readings import equal
from recurra.testing.subjects.source import SourceSubject
from recurra.testing.subjects.vocabulary import VocabularySubject

SINCE = "1.1"
FEW = 64
"""Symbols, and ids, that are asked for one by one."""
MANY = 256
"""Runs of which most must be forgotten: more than twice what a cache of usual size may hold."""
LONG = 75_000
"""Elements of long data: more than 2 ** 16."""


@check("V11", "using it teaches it nothing", "vocabulary", firm=True, since=SINCE)
def learns_in_fit_alone(subject: VocabularySubject) -> None:
    """After `fit` nothing changes it: not what it has never seen, not any ids, nor another
    vocabulary beside it.

    It encodes what is unknown, decodes ids at random, streams, shows symbols, reads a prompt,
    saves, twice, and another instance is fitted on other data and one restored; then its size, what
    it saves, and every answer are those of before. A network is built by the size, and its weights
    belong to the ids: one that adds a new symbol to itself while it encodes the test split has ids
    for which there is no row, and answers otherwise to each user. One that keeps each run that it
    encodes holds a corpus that is larger than memory. To mend it: learn in `fit` and `restore`
    alone, keep tables on the instance, never on the class, and bound what is kept of earlier
    answers.
    """
    vocabulary, whole = subject.fitted()
    before = _answers(subject, vocabulary, whole)
    tables = shared(type(vocabulary))
    _used(subject, vocabulary)

    # What stands on the class is everybody's.
    name = changed(tables, shared(type(vocabulary)), opaque=False)
    demand(not name, f"using it changes {name}, which all share")
    after = _answers(subject, vocabulary, whole)
    for name, answer in before.items():
        demand(same(answer, after[name]), f"using it changes {name}")
    _keeps_no_run(subject)


def _keeps_no_run(subject: VocabularySubject) -> None:
    """Raise `Broken` if most of many short runs are still held once they are encoded."""
    if subject.reads == "numbers":
        data = subject.data()
        vocabulary = subject.vocabulary(*data)
        runs = [data[-1][:2].copy() for _ in range(MANY)]
    else:
        vocabulary = subject.vocabulary(KNOWN[subject.reads])
        runs = [_spelt(subject, number) for number in range(MANY)]

    # Whoever keeps a run counts as one more that refers to it.
    before = [sys.getrefcount(run) for run in runs]
    for run in runs:
        vocabulary.encode(run)
    gc.collect(0)
    after = [sys.getrefcount(run) for run in runs]
    more = [many for few, many in zip(before, after, strict=True) if many > few]
    fact = f"of {MANY} runs that it has encoded it keeps {len(more)}"
    demand(len(more) <= MANY // 2, fact)


def _spelt(subject: VocabularySubject, number: int) -> Values:
    """Return a run that is another one for each number, of symbols that `KNOWN` holds."""
    lines: list[Values] = [["one"], ["two"]]
    if subject.reads == "text":
        lines = ["one two\n", "three, two\n"]
    # The number in binary, with the two lines for its digits.
    digits = [number >> place & 1 for place in range(8)]
    return joined([lines[digit] for digit in digits], subject.reads)


def _answers(
    subject: VocabularySubject, vocabulary: Vocabulary[Any], whole: Values
) -> dict[str, Any]:
    """Return what can be asked of a vocabulary, each answer by what it is."""
    ids = subject.encoded(vocabulary, whole)
    size = subject.size(vocabulary)
    answers = {
        "its size": size,
        "what it saves": json.dumps(vocabulary.save()),
        "the ids of what it was fitted on": ids,
        "what ids decode to": vocabulary.decode(ids),
    }
    outcomes = [_outcome(subject, vocabulary, values) for values in _strange(subject)]
    answers["what it says of the unknown"] = outcomes
    if subject.symbols:
        answers["the text of ids"] = subject.text(vocabulary, ids)
        symbols = [vocabulary.symbol(index) for index in range(min(FEW, size))]
        answers["its symbols"] = symbols
    return answers


def _strange(subject: VocabularySubject) -> list[Values]:
    """Return what a vocabulary that was fitted on the hard runs has not seen."""
    if subject.reads == "numbers":
        return [run[:3] * 7.0 for run in subject.data() if len(run)]

    # The fit has seen much of Unicode: these stand in none of the hard runs.
    unseen: list[Values] = [["\u3042"], ["\u0416", "\u3042"]]
    if subject.reads == "text":
        unseen = ["\u3042\u3044", "\u0416"]
    return [*STRANGE[subject.reads], *unseen]


def _outcome(subject: VocabularySubject, vocabulary: Vocabulary[Any], values: Values) -> Any:
    """Return the ids of values as a list, or that they are refused."""
    try:
        return subject.encoded(vocabulary, values).tolist()
    except (UnknownSymbol, InputError, ValueError) as error:
        return type(error).__name__


def _used(subject: VocabularySubject, vocabulary: Vocabulary[Any]) -> None:
    """Ask a vocabulary for all that it can do, and another one to learn something else."""
    for values in _strange(subject):
        _outcome(subject, vocabulary, values)
    ids = _drawn(subject, vocabulary)
    vocabulary.decode(ids)
    for _ in range(2):
        json.dumps(vocabulary.save())

    if subject.symbols:
        stream = subject.stream(vocabulary)
        for index in ids.tolist():
            stream(index)
            vocabulary.symbol(index)
        if subject.reads != "numbers":
            vocabulary.parse("one day\n")

    # Another instance learns something else, and a third takes that over.
    data = subject.data()[:1] if subject.reads == "numbers" else [KNOWN[subject.reads]]
    other = subject.vocabulary(*data)
    subject.restored(subject.vocabulary(), other.save())


def _drawn(
    subject: VocabularySubject, vocabulary: Vocabulary[Any], count: int = FEW
) -> NDArray[Any]:
    """Return ids, or scaled numbers, as a network may give them."""
    draw = np.random.Generator(np.random.Philox(11))
    size = subject.size(vocabulary)
    if subject.symbols:
        return draw.integers(0, size, count)
    return draw.normal(0, 2, (count, size))


@check("V12", "what it takes and gives stays its caller's", "vocabulary", since=SINCE)
def shares_nothing(subject: VocabularySubject) -> None:
    """Whoever writes on what was passed in, or on an answer, changes nothing: not the vocabulary,
    not the data.

    The runs that it was fitted on, values and their ids, ids and what they decode to, and what it
    was restored from are all written on afterwards, and asked again it answers the same. `size` is
    an `int` of Python, which JSON can say. A table that is handed out is changed by the first user
    who scales it in place; a view of the data that is handed out changes the data. To mend it: copy
    what is kept, and return new arrays and lists.
    """
    data = subject.data()
    own = [_copied(run) for run in data]
    vocabulary = subject.vocabulary(*own)
    size = vocabulary.size
    fact = f"the size is a {type(size).__name__}, not an int"
    demand(type(size) is int, fact)

    whole = next(run for run in data if len(run))
    expected = subject.encoded(vocabulary, whole).copy()
    back = _copied(vocabulary.decode(expected))

    def answers_as_before(what: str, instance: Vocabulary[Any] = vocabulary) -> None:
        ids = subject.encoded(instance, whole)
        demand(same(ids, expected), f"{what} changes it")

    def decodes_as_before(what: str) -> None:
        demand(same(vocabulary.decode(expected), back), f"{what} changes it")

    # Each thing that was passed in or out is written on, and then it is asked again.
    for run in own:
        _spoilt(run)
    answers_as_before("writing on what it was fitted on")

    values = _copied(whole)
    _spoilt(vocabulary.encode(values))
    demand(same(values, whole), "its answer is a view of what it encodes")
    answers_as_before("writing on ids that it gave")

    ids = expected.copy()
    _spoilt(vocabulary.decode(ids))
    demand(same(ids, expected), "what it decodes to is a view of the ids")
    decodes_as_before("writing on what it decoded")

    own_saved = vocabulary.save()
    demand(isinstance(own_saved, dict), f"save gives {type(own_saved).__name__}, not a dict")
    for part in own_saved.values():
        _spoilt(part)
    answers_as_before("writing on what it saves")
    decodes_as_before("writing on what it saves")

    saved = json.loads(json.dumps(vocabulary.save()))
    again = subject.vocabulary()
    again.restore(saved)
    for part in saved.values():
        _spoilt(part)
    answers_as_before("writing on what it was restored from", again)


def _copied(values: Values) -> Values:
    """Return a copy of text, a list or an array."""
    return values.copy() if isinstance(values, np.ndarray | list) else values


def _spoilt(values: Any) -> None:
    """Write on an array, on a list or on a table and its columns, where that can be written on."""
    if isinstance(values, np.ndarray) and values.flags.writeable:
        values[...] = 0 if np.issubdtype(values.dtype, np.integer) else -1.5
    elif isinstance(values, (list, dict)):
        for part in values.values() if isinstance(values, dict) else ():
            _spoilt(part)
        values.clear()


@check("V14", "long data is all there", "vocabulary", firm=True, each=False, since=SINCE)
def long_data(subject: VocabularySubject) -> Measured:
    """A run that is repeated to more than 75,000 elements has its ids as often, and they decode to
    all of it.

    A bound that short data never meets cuts the corpus, a counter of 16 bits begins anew, and
    nothing tells of it but a network that has seen less. To mend it: bound nothing by a number of
    elements.
    """
    vocabulary, whole = subject.fitted()
    once = subject.encoded(vocabulary, whole)
    times = LONG // min(len(whole), len(once)) + 1
    long = joined([whole] * times, subject.reads)
    expected = np.concatenate([once] * times)
    ids = subject.encoded(vocabulary, long)
    fact = f"{len(long):,} elements have {len(ids):,} ids, not {len(expected):,}"
    demand(ids.shape == expected.shape, fact)

    if not subject.symbols:
        part = np.asarray(vocabulary.decode(once))
        back = np.asarray(vocabulary.decode(expected))
        of_ids = _relative(ids, expected)
        of_values = _relative(back, np.concatenate([part] * times))
        return Measured(max(of_ids, of_values), FLOAT64)

    # To the last one: a counter that begins anew is wrong only far behind.
    equal_ids = np.array_equal(ids, expected)
    demand(equal_ids, f"{len(long):,} elements have other ids than their parts")
    if vocabulary.lossless:
        part, back = vocabulary.decode(once), vocabulary.decode(expected)
        alike = type(part) is type(back) is type(whole)
        demand(alike, f"ids decode to {type(back).__name__}")
        right = same(back, joined([part] * times, subject.reads))
        counts = f"{len(expected):,} ids decode to {len(back):,} elements"
        demand(right, f"{counts}, and not to what their parts do")
    return Measured(0.0, EXACT)


def _relative(values: NDArray[Any], expected: NDArray[Any]) -> float:
    """Return the greatest difference, over each feature's greatest value."""
    fact = f"long data has shape {list(values.shape)}, not {list(expected.shape)}"
    demand(values.shape == expected.shape, fact)
    scale = np.maximum(np.abs(expected).max(axis=0), 1e-300)
    difference = np.abs(values - expected) / scale
    return float(difference.max())


@check("V13", "ids mean the same in any company", "vocabulary", since=SINCE)
def company(subject: VocabularySubject) -> Measured:
    """What ids decode to depends on them alone: not on their integer type, their layout, or on who
    stands beside them.

    The same ids as int64 and int32, every second of an array, and backwards twice; of tokens, each
    id alone; of numbers, in float32 too, each row alone, in rows and in columns of memory, and
    always finite. Generation decodes one id at a time, evaluation many at once, and a file of ids
    has the smallest type that holds them. To mend it: index with `np.asarray(ids)`, read no raw
    memory, and take no mean, extreme or shape of what is decoded.
    """
    vocabulary, _ = subject.fitted()
    drawn = _drawn(subject, vocabulary)
    expected = vocabulary.decode(drawn)
    layouts = {
        "every second of an array": np.repeat(drawn, 2, axis=0)[::2],
        "backwards twice": np.ascontiguousarray(drawn[::-1])[::-1],
        "column by column": np.asfortranarray(drawn),
    }
    if not subject.symbols:
        return _numbers_in_company(vocabulary, drawn, expected, layouts)

    # The same ids, which only lie otherwise, are of another type, or stand alone.
    for name, ids in layouts.items():
        decoded = vocabulary.decode(ids)
        demand(same(decoded, expected), f"ids that lie in memory {name} decode otherwise")
    narrow = vocabulary.decode(drawn.astype(np.int32))
    demand(same(narrow, expected), "ids as int32 decode otherwise than as int64")

    if subject.reads == "tokens":
        alone: list[str] = []
        for place in range(len(drawn)):
            alone.extend(vocabulary.decode(drawn[place : place + 1]))
        demand(expected == alone, "an id alone decodes otherwise than in a run")
    return Measured(0.0, EXACT)


def _numbers_in_company(
    vocabulary: Vocabulary[Any],
    drawn: NDArray[Any],
    expected: NDArray[Any],
    layouts: dict[str, NDArray[Any]],
) -> Measured:
    """Return how far numbers are from what is `expected` when they lie or stand otherwise.

    That is over each feature's greatest value.
    """
    finite = bool(np.isfinite(expected).all())
    demand(finite, "numbers that a network may give decode to what is not finite")
    scale = np.maximum(np.abs(expected).max(axis=0, initial=0), 1e-300)

    def apart(decoded: NDArray[Any], like: NDArray[Any] = expected) -> float:
        difference = np.abs(decoded - like) / scale
        return float(difference.max(initial=0))

    findings = []
    for name, ids in layouts.items():
        findings.append(Measured(apart(vocabulary.decode(ids)), FLOAT64, name))

    rows = [vocabulary.decode(drawn[place : place + 1]) for place in range(len(drawn))]
    alone = np.concatenate(rows)
    findings.append(Measured(apart(alone), FLOAT64, "each row alone"))

    # The numbers themselves are rounded: both sides begin with those of float32.
    single = drawn.astype(np.float32)
    exact = vocabulary.decode(single.astype(np.float64))
    value = apart(vocabulary.decode(single), exact)
    findings.append(Measured(value, FLOAT64, "in float32"))
    return worst(findings)


@check("S09", "asking it changes nothing", "source", firm=True, since=SINCE)
def asked_in_any_order(subject: SourceSubject) -> None:
    """In whatever order it is asked, from whatever folder, it answers the same; and nobody can
    write on its data.

    One instance tells its fingerprint and features before, between and after reading, whole and in
    part; its options stay as they are, and what it holds does not grow; it is read with another
    current folder than it was built in; arrays and lists that it gave, names and gaps too, are
    written on, and it gives the same again. Names that are known only after the file was read are
    missing where the table is headed, and a cached array that one reader scales in place is scaled
    for all. To mend it: give each answer from the options, look nothing up from the current folder,
    and yield copies of what is kept.
    """
    for element, pieces in subject.given():
        source = subject.source()
        options = source.options.model_dump_json()
        listed(source.features(), "features")
        fingerprint, features = source.fingerprint(), [*source.features()]

        # In part, whole and again: after each, it is asked what it said before.
        next(iter(subject.reader(source, element)), None)
        _unmoved(source, fingerprint, features, "reading a piece")
        _same_elsewhere(subject, source, element, pieces)
        _unmoved(source, fingerprint, features, "reading")

        _keeps_no_more(source, element)
        listed(source.gaps(), "gaps")
        gaps = [*source.gaps()]
        for names in (source.features(), source.gaps()):
            _spoilt(names)
        _unmoved(source, fingerprint, features, "writing on its answers")
        demand(source.gaps() == gaps, "writing on the gaps that it gave changes them")

        again = subject.pieces(source, element)
        equal(again, pieces, f"{element}, after its pieces were written on")
        demand(source.gaps() == gaps, "reading it again changes its gaps")
        demand(source.options.model_dump_json() == options, "reading changes its options")


def _same_elsewhere(
    subject: SourceSubject, source: Source[Any], element: Element, pieces: list[Piece]
) -> None:
    """Raise `Broken` if a source gives something else when another folder is the current one."""
    with empty_folder():
        equal(subject.pieces(source, element), pieces, f"{element}, read in another folder")


def _keeps_no_more(source: Source[Any], element: Element) -> None:
    """Raise `Broken` if reading once more changes what a source holds.

    All that it gives is written on.
    """
    before = owned(source)
    for piece in list(source.read(element)):
        _spoilt(piece.values)
        for said in piece.columns.values():
            _spoilt(said)
        _spoilt(piece.columns)
    name = changed(before, owned(source), opaque=False)
    demand(not name, f"reading it once more changes {name}")


def _unmoved(source: Source[Any], fingerprint: str, features: list[str], what: str) -> None:
    """Raise `Broken` if something changed a source's fingerprint or the names of its features."""
    demand(source.fingerprint() == fingerprint, f"{what} changes its fingerprint")
    demand(source.features() == features, f"{what} changes the names of its features")
